/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/http/fields.h"

#define DAY_MS 86400000LL

static void skip_blanks(struct slice *s)
{
	while (s->len > 0 && (s->ptr[0] == ' ' || s->ptr[0] == '\t'))
		*s = slice_from(*s, 1);
}

/* A token up to one of the ends or a blank, or the inside of a quoted string (escapes stay). Moves on. */
static struct slice take_word(struct slice *s, const char *ends)
{
	size_t n = 0;
	bool quoted = s->len > 0 && s->ptr[0] == '"';
	struct slice word;

	if (quoted) {
		*s = slice_from(*s, 1);
		while (n < s->len && s->ptr[n] != '"')
			n += s->ptr[n] == '\\' && n + 1 < s->len ? 2 : 1;
		word = slice_make(s->ptr, n);
		*s = slice_from(*s, n + 1);
		return word;
	}
	while (n < s->len && s->ptr[n] != ' ' && s->ptr[n] != '\t' &&
	       (!s->ptr[n] || !strchr(ends, s->ptr[n])))
		n++;
	word = slice_make(s->ptr, n);
	*s = slice_from(*s, n);
	return word;
}

/* The next `;name` or `;name=value`; false where none follows. */
static bool take_parameter(struct slice *s, struct slice *name, struct slice *value)
{
	skip_blanks(s);
	if (s->len == 0 || s->ptr[0] != ';')
		return false;
	*s = slice_from(*s, 1);
	skip_blanks(s);
	*name = take_word(s, ";,=");
	*value = slice_null();
	skip_blanks(s);
	if (s->len > 0 && s->ptr[0] == '=') {
		*s = slice_from(*s, 1);
		skip_blanks(s);
		*value = take_word(s, ";,");
	}
	return true;
}

/* Past the comma before the next element of a list; false at the end. What should not be there is passed. */
static bool next_element(struct slice *s)
{
	skip_blanks(s);
	while (s->len > 0 && s->ptr[0] != ',')
		*s = slice_from(*s, 1);
	while (s->len > 0 && (s->ptr[0] == ',' || s->ptr[0] == ' ' || s->ptr[0] == '\t'))
		*s = slice_from(*s, 1);
	return s->len > 0;
}

/* One of the blank-separated relation types is next. */
static bool is_next(struct slice rel)
{
	while (rel.len > 0) {
		size_t n = 0;

		while (n < rel.len && rel.ptr[n] != ' ')
			n++;
		if (slice_eq_nocase(slice_make(rel.ptr, n), SLICE_LIT("next")))
			return true;
		rel = slice_from(rel, n + 1);
	}
	return false;
}

bool fields_link_next(struct slice link, struct slice *target)
{
	skip_blanks(&link);
	do {
		struct slice name, value, url;
		const uint8_t *end;
		bool found = false, seen = false;

		if (link.len == 0 || link.ptr[0] != '<')
			continue;
		end = memchr(link.ptr, '>', link.len);
		if (!end)
			return false;
		url = slice_make(link.ptr + 1, (size_t)(end - link.ptr) - 1);
		link = slice_from(link, url.len + 2);
		while (take_parameter(&link, &name, &value)) {
			if (seen || !slice_eq_nocase(name, SLICE_LIT("rel")))
				continue;
			seen = true; /* the first counts (section 3.3) */
			found = is_next(value);
		}
		if (found) {
			*target = slice_trim(url);
			return true;
		}
	} while (next_element(&link));
	return false;
}

/* As long as nobody waits for a quota: the number is something else, a time of day for one. */
static int64_t believed(int64_t reset_ms)
{
	return reset_ms > 400 * DAY_MS ? -1 : reset_ms;
}

/* `remaining=2`: a member as drafts 3 to 7 have it, for the one quota that they tell of. */
static void take_member(struct slice *s, struct slice name, struct fields_quota *out)
{
	struct slice number;
	uint64_t n;

	skip_blanks(s);
	if (s->len == 0 || s->ptr[0] != '=')
		return;
	*s = slice_from(*s, 1);
	skip_blanks(s);
	number = take_word(s, ";,");
	if (!slice_to_u64(number, &n) || n > INT32_MAX)
		return;
	if (slice_eq_str(name, "remaining"))
		out->left = (int64_t)n;
	else if (slice_eq_str(name, "reset"))
		out->reset_ms = believed((int64_t)n * 1000);
}

/* Of two that are used up the one that is new last. */
static bool is_tighter(struct fields_quota a, struct fields_quota b)
{
	if (a.left < 0 || b.left < 0)
		return a.left >= 0;
	return a.left < b.left || (a.left == b.left && a.reset_ms > b.reset_ms);
}

bool fields_rate_limit(struct slice value, struct fields_quota *out)
{
	struct fields_quota best = {-1, -1}, flat = {-1, -1};

	skip_blanks(&value);
	do {
		struct fields_quota q = {-1, -1};
		struct slice name, number;

		take_member(&value, take_word(&value, ";,="), &flat);
		while (take_parameter(&value, &name, &number)) {
			uint64_t n;

			if (!slice_to_u64(number, &n) || n > INT32_MAX)
				continue;
			if (slice_eq_str(name, "r"))
				q.left = (int64_t)n;
			else if (slice_eq_str(name, "t"))
				q.reset_ms = believed((int64_t)n * 1000);
		}
		if (is_tighter(q, best))
			best = q;
	} while (next_element(&value));
	if (is_tighter(flat, best))
		best = flat;
	if (best.left < 0)
		return false;
	*out = best;
	return true;
}

void fields_rate_habit(struct slice remaining, struct slice reset, int64_t wall_ms, struct fields_quota *out)
{
	uint64_t n;

	*out = (struct fields_quota){-1, -1};
	if (slice_to_u64(slice_trim(remaining), &n) && n <= INT32_MAX)
		out->left = (int64_t)n;
	if (!slice_to_u64(slice_trim(reset), &n) || n > 100000000000000ull)
		return;
	out->reset_ms = n > 1000000000000ull ? (int64_t)n - wall_ms :
			n > 1000000000ull    ? (int64_t)n * 1000 - wall_ms :
					       (int64_t)n * 1000;
	if (out->reset_ms < 0)
		out->reset_ms = 0;
	out->reset_ms = believed(out->reset_ms);
}
