/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is looked at as text, from left to right: the value behind a name that is secret goes, and so does who is named in a URL; a line
 * below such a name (a list, a text of several lines) goes whole. That needs no tree, as lines with a mistake of YAML in them are
 * shown too. Where there is a tree, what it says of values that stand in this line is covered besides: it knows the kind of
 * a source, and so that `url` is secret in one and not in another.
 *
 * Rather too much is covered than too little: who reads the message has the file.
 *
 * Rejected: by the tree alone (there is none for a line that is not YAML, and none for a key that is misspelt), and by leaving lines with
 * secrets out (the caret below them is what most messages are read for).
 */
#include "conf/cover.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "conf/cover_tables.h"

#define LINES_BACK_MAX 5000u
#define STARS "***"

/* ---- a line ---- */

struct looking {
	const struct cover *cover;
	struct slice line;
	uint8_t *mask; /* a byte for each of the line's: not to be shown */
};

static bool is_name_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
	       c == '-' || c == '.';
}

static size_t skip(struct slice line, size_t at, const char *bytes)
{
	while (at < line.len && strchr(bytes, line.ptr[at]) && line.ptr[at])
		at++;
	return at;
}

static size_t skip_to(struct slice line, size_t at, const char *bytes)
{
	while (at < line.len && !(strchr(bytes, line.ptr[at]) && line.ptr[at]))
		at++;
	return at;
}

static void hide(struct looking *l, size_t from, size_t to)
{
	while (to > from && (l->line.ptr[to - 1] == ' ' || l->line.ptr[to - 1] == '\\'))
		to--;
	if (to > from && !cover_is_reference(slice_make(l->line.ptr + from, to - from)))
		memset(l->mask + from, 1, to - from);
}

/* Behind the quote that ends what begins at `at`, in YAML's ways: '' and \" are of the text. */
static size_t end_of_quoted(struct slice line, size_t at, uint8_t quote)
{
	for (; at < line.len; at++) {
		if (quote == '"' && line.ptr[at] == '\\')
			at++;
		else if (line.ptr[at] == quote && at + 1 < line.len && quote == '\'' &&
			 line.ptr[at + 1] == quote)
			at++;
		else if (line.ptr[at] == quote)
			return at;
	}
	return line.len;
}

static size_t end_of_brackets(struct slice line, size_t at)
{
	int depth = 0;

	for (; at < line.len; at++) {
		depth += line.ptr[at] == '[' || line.ptr[at] == '{';
		depth -= line.ptr[at] == ']' || line.ptr[at] == '}';
		if (depth == 0)
			return at + 1;
	}
	return line.len;
}

/* Where we are in YAML's own quotes and brackets. */
struct where {
	uint8_t quote;
	int depth;
	bool pair; /* the name before was followed by = */
};

/* Hides the value that begins at `at`, and gives its end. */
static size_t hide_value(struct looking *l, size_t at, const struct where *w)
{
	struct slice line = l->line;
	size_t end;
	uint8_t c = at < line.len ? line.ptr[at] : 0;

	if ((c == '"' || c == '\'') && c != w->quote) {
		end = w->quote ? skip_to(line, at + 1, c == '"' ? "\"" : "'") :
				 end_of_quoted(line, at + 1, c);
		hide(l, at + 1, end);
		return end < line.len ? end + 1 : end;
	}
	if ((c == '[' || c == '{') && !w->quote) {
		end = end_of_brackets(line, at);
		hide(l, at, end);
		return end;
	}
	if (c == '{' || c == '|' || c == '>') /* a name of a template; a text below */
		return at;
	if (w->pair)
		end = skip_to(line, at, " &\"',;}#");
	else if (w->quote)
		end = skip_to(line, at, w->quote == '"' ? "\"&,;}" : "'&,;}\"");
	else
		end = w->depth > 0 && memcmp(line.ptr + at, "${", line.len - at > 1 ? 2 : 0) != 0 ?
			      skip_to(line, at, ",]}") :
		      w->depth > 0 ? skip_to(line, at, ",]") :
				     line.len;
	hide(l, at, end);
	return end;
}

/* A name from `from` to `at`: hides its value where it is secret. Gives where to go on. */
static size_t on_name(struct looking *l, size_t from, size_t at, struct where *w)
{
	struct slice line = l->line, name = slice_make(line.ptr + from, at - from);
	size_t behind = at, next;
	bool scheme = slice_eq_nocase(name, SLICE_LIT("bearer")) || slice_eq_nocase(name, SLICE_LIT("basic"));

	if (scheme && at < line.len && line.ptr[at] == ' ') {
		next = skip_to(line, at + 1, " \"',]}");
		if (next - at > 4)
			hide(l, at + 1, next);
		return next;
	}
	behind = skip(line, at, "\\\"'");
	next = skip(line, behind, " \t");
	if (next >= line.len || (line.ptr[next] != ':' && line.ptr[next] != '=') ||
	    !cover_is_secret_name(l->cover, name))
		return at;
	if (w->quote && memchr(line.ptr + at, w->quote, behind - at))
		w->quote = 0; /* the name itself was quoted */
	w->pair = line.ptr[next] == '=';
	next = skip(line, next + 1, " \t");
	if (w->quote)
		next = skip(line, next, "\\");
	return hide_value(l, next, w);
}

static void hide_user(struct looking *l, size_t at)
{
	size_t end = redact_end_of_user(l->line, at);

	if (end > at)
		hide(l, at, end);
}

static void look_along(struct looking *l)
{
	struct slice line = l->line;
	struct where w = {0};

	for (size_t i = 0; i < line.len;) {
		uint8_t c = line.ptr[i];
		size_t end = i;
		if (is_name_byte(c)) {
			while (end < line.len && is_name_byte(line.ptr[end]))
				end++;
			i = on_name(l, i, end, &w);
			continue;
		}
		if (line.len - i > 3 && memcmp(line.ptr + i, "://", 3) == 0)
			hide_user(l, i + 3);
		if (w.quote && c == '\\' && w.quote == '"')
			i++;
		else if (c == w.quote)
			w.quote = 0;
		else if (!w.quote && (c == '"' || c == '\''))
			w.quote = c;
		else if (!w.quote)
			w.depth += (c == '[' || c == '{') - (c == ']' || c == '}');
		i++;
	}
}

/* ---- lines above ---- */

static struct slice line_at(struct slice text, uint32_t line)
{
	for (uint32_t n = 1; n < line; n++) {
		const uint8_t *end = text.len ? memchr(text.ptr, '\n', text.len) : NULL;
		if (!end)
			return slice_null();
		text = slice_from(text, (size_t)(end - text.ptr) + 1);
	}
	const uint8_t *end = text.len ? memchr(text.ptr, '\n', text.len) : NULL;
	size_t n = end ? (size_t)(end - text.ptr) : text.len;
	if (n > 0 && text.ptr[n - 1] == '\r')
		n--;
	return slice_make(text.ptr, n > COVER_LINE_MAX ? COVER_LINE_MAX : n);
}

/* The line before the one that begins at `at`; false where it is the first. */
static bool line_before(struct slice text, size_t *at, struct slice *line)
{
	size_t end = *at, from;

	if (end == 0)
		return false;
	for (from = --end; from > 0 && text.ptr[from - 1] != '\n';)
		from--;
	*at = from;
	*line = slice_make(text.ptr + from, end - from);
	return true;
}

/* The last name of the line that a colon follows. */
static struct slice last_key(struct slice line)
{
	struct slice key = slice_null();

	for (size_t i = 0; i < line.len; i++) {
		size_t from = i, next;
		while (i < line.len && is_name_byte(line.ptr[i]))
			i++;
		if (i == from)
			continue;
		next = skip(line, skip(line, i, "\"'"), " \t");
		if (next < line.len && line.ptr[next] == ':' &&
		    (next + 1 == line.len || strchr(" \t\r[{\"'", line.ptr[next + 1])))
			key = slice_make(line.ptr + from, i - from);
	}
	return key;
}

/* Does the line stand below a key whose value is secret? Above it are the lines with less and less before them. */
static bool is_below_secret(const struct cover *c, struct slice line)
{
	size_t at = (size_t)(line.ptr - c->text.ptr), indent = skip(line, 0, " ");
	bool item = indent < line.len && line.ptr[indent] == '-';
	struct slice above;

	for (uint32_t n = 0; n < LINES_BACK_MAX && line_before(c->text, &at, &above); n++) {
		size_t before = skip(above, 0, " ");
		bool other = before < above.len && above.ptr[before] == '-';
		if (before == above.len || above.ptr[before] == '#' || above.ptr[before] == '\r')
			continue;
		if (before > indent || (before == indent && !(item && !other)))
			continue;
		struct slice key = last_key(above);
		if (key.ptr && cover_is_secret_name(c, key))
			return true;
		indent = before;
		item = other;
		if (indent == 0 && !item)
			return false;
	}
	return false;
}

/* ---- putting together ---- */

static void hide_found(struct looking *l, const struct redact_found *found)
{
	for (uint32_t i = 0; i < found->count; i++) {
		size_t n = strlen(found->list[i]), from = 0;
		const uint8_t *at;
		while (from < l->line.len &&
		       (at = memmem(l->line.ptr + from, l->line.len - from, found->list[i], n))) {
			from = (size_t)(at - l->line.ptr) + n;
			memset(l->mask + from - n, 1, n);
		}
	}
}

/* What is hidden becomes three stars, however long it is. */
static size_t put_line(const struct looking *l, char *out, size_t room, uint32_t *column)
{
	uint32_t character = 0, shown = 0, wanted = *column;
	size_t n = 0;

	for (size_t i = 0; i < l->line.len; i++) {
		bool begins = (l->line.ptr[i] & 0xc0) != 0x80,
		     stars = l->mask[i] && (i == 0 || !l->mask[i - 1]);
		size_t bytes = stars ? strlen(STARS) : !l->mask[i];
		if (n + bytes >= room)
			break;
		character += begins;
		if (stars)
			memcpy(out + n, STARS, bytes);
		else if (bytes)
			out[n] = (char)l->line.ptr[i];
		if (begins && character == wanted)
			*column = l->mask[i] && !stars ? shown - (uint32_t)strlen(STARS) + 1 : shown + 1;
		shown += stars ? (uint32_t)strlen(STARS) : !l->mask[i] && begins;
		n += bytes;
	}
	if (wanted > character)
		*column = shown + wanted - character;
	for (uint32_t cut = 0; cut < 4 && n && !utf8_valid(slice_make(out, n)); cut++)
		n--; /* cut within a character */
	n = utf8_valid(slice_make(out, n)) ? n : 0;
	out[n] = 0;
	return n;
}

size_t cover_line(const struct cover *c, uint32_t line, char *out, size_t room, uint32_t *column)
{
	uint8_t mask[COVER_LINE_MAX] = {0};
	struct looking l = {.cover = c, .line = line_at(c->text, line), .mask = mask};
	struct redact_found found = {0};
	struct arena arena;
	size_t from;

	*out = 0;
	if (!line || !l.line.len)
		return 0;
	arena_init(&arena, 1024, 1u << 20);
	found.arena = &arena;
	look_along(&l);
	if (is_below_secret(c, l.line)) {
		from = skip(l.line, 0, " -");
		hide(&l, from, l.line.len);
	}
	cover_gather(c, line, &found);
	hide_found(&l, &found);
	arena_fini(&arena);
	return put_line(&l, out, room, column);
}

size_t cover_sentence(const struct cover *c, uint32_t line, char *text, size_t n)
{
	struct redact_found found = {0};
	struct arena arena;

	arena_init(&arena, 1024, 1u << 20);
	found.arena = &arena;
	cover_gather(c, line, &found);
	n = redact_secrets_in(found.list, found.count, text, n);
	arena_fini(&arena);
	text[n] = 0;
	return n;
}

void cover_value(struct slice value, bool secret, char *out, size_t room)
{
	struct redact_found found = {0};
	char text[COVER_LINE_MAX];
	struct arena arena;
	size_t n = value.len < sizeof(text) ? value.len : sizeof(text);

	if (secret && !cover_is_reference(value)) {
		(void)snprintf(out, room, STARS);
		return;
	}
	arena_init(&arena, 1024, 1u << 20);
	found.arena = &arena;
	if (n)
		memcpy(text, value.ptr, n);
	if (!cover_is_reference(value))
		redact_look_at(&found, false, slice_null(), value);
	n = redact_secrets_in(found.list, found.count, text, n);
	arena_fini(&arena);
	(void)snprintf(out, room, "%.*s", (int)n, text);
}
