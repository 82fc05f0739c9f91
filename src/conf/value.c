/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words to numbers and back. No strtod and no locale: numbers are kept as whole
 * digits with a power of ten, so that 1.5GiB is exact and 0.1B is refused.
 */
#include "conf/value.h"

struct unit {
	const char *name;
	int64_t factor;
};

/* Falling, as they may follow each other in 1h30m. */
static const struct unit durations[] = {
	{"w", 604800000}, {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};

static const struct unit sizes[] = {
	{"TiB", (int64_t)1 << 40}, {"GiB", 1 << 30},      {"MiB", 1 << 20},
	{"KiB", 1 << 10},          {"TB", 1000000000000}, {"GB", 1000000000},
	{"MB", 1000000},           {"kB", 1000},          {"B", 1},
};

#define DURATION_COUNT (sizeof(durations) / sizeof(durations[0]))
#define SIZE_COUNT (sizeof(sizes) / sizeof(sizes[0]))
#define DURATION_MAX ((int64_t)10000 * 366 * 86400000)
#define SIZE_MAX_BYTES ((int64_t)1 << 62)

/* A decimal number: digits / scale. */
struct decimal {
	int64_t digits;
	int64_t scale;
};

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool take_digit(struct decimal *d, uint8_t c, bool fraction)
{
	if (d->digits > (INT64_MAX - 9) / 10 || d->scale > 100000000)
		return false;
	d->digits = d->digits * 10 + (c - '0');
	if (fraction)
		d->scale *= 10;
	return true;
}

/* Digits with at most one fraction from *at on; both sides of the point need a digit. */
static bool take_decimal(struct slice text, size_t *at, struct decimal *out)
{
	bool fraction = false;
	size_t i = *at;

	*out = (struct decimal){.digits = 0, .scale = 1};
	if (i >= text.len || !is_digit(text.ptr[i]))
		return false;
	for (; i < text.len; i++) {
		if (text.ptr[i] == '.' && !fraction && i + 1 < text.len && is_digit(text.ptr[i + 1])) {
			fraction = true;
			continue;
		}
		if (!is_digit(text.ptr[i]))
			break;
		if (!take_digit(out, text.ptr[i], fraction))
			return false;
	}
	*at = i;
	return true;
}

/* value * factor, whole or not at all. */
static bool scaled(struct decimal value, int64_t factor, int64_t max, int64_t *out)
{
	int64_t product;

	if (__builtin_mul_overflow(value.digits, factor, &product) || product % value.scale != 0)
		return false;
	*out = product / value.scale;
	return *out <= max;
}

/* The letters from *at on. */
static struct slice take_letters(struct slice text, size_t *at)
{
	size_t from = *at;

	while (*at < text.len && ((text.ptr[*at] | 0x20) >= 'a' && (text.ptr[*at] | 0x20) <= 'z'))
		(*at)++;
	return slice_make(text.ptr + from, *at - from);
}

bool conf_parse_duration(struct slice text, int64_t *ms)
{
	size_t at = 0, unit = 0;
	int64_t sum = 0, part;
	struct decimal value;

	text = slice_trim(text);
	if (slice_eq_str(text, "0")) {
		*ms = 0;
		return true;
	}
	do {
		if (!take_decimal(text, &at, &value))
			return false;
		struct slice name = take_letters(text, &at);
		while (unit < DURATION_COUNT && !slice_eq_str(name, durations[unit].name))
			unit++;
		if (unit == DURATION_COUNT || !scaled(value, durations[unit].factor, DURATION_MAX, &part))
			return false;
		sum += part;
		unit++; /* the next must be smaller */
	} while (at < text.len && sum <= DURATION_MAX);
	if (sum > DURATION_MAX)
		return false;
	*ms = sum;
	return true;
}

bool conf_parse_size(struct slice text, int64_t *bytes)
{
	struct decimal value;
	size_t at = 0;
	int64_t result;

	text = slice_trim(text);
	if (!take_decimal(text, &at, &value))
		return false;
	while (at < text.len && text.ptr[at] == ' ')
		at++;
	struct slice name = take_letters(text, &at);
	if (at != text.len)
		return false;
	if (name.len == 0)
		name = SLICE_LIT("B");
	for (size_t i = 0; i < SIZE_COUNT; i++) {
		if (!slice_eq_nocase(name, slice_str(sizes[i].name)))
			continue;
		if (!scaled(value, sizes[i].factor, SIZE_MAX_BYTES, &result))
			return false;
		*bytes = result;
		return true;
	}
	return false;
}

int conf_format_duration(struct buf *out, int64_t ms)
{
	if (ms == 0)
		return buf_append_str(out, "0");
	for (size_t i = 1; i < DURATION_COUNT; i++) /* weeks are read, not written */
		if (ms % durations[i].factor == 0)
			return buf_appendf(out, "%lld%s", (long long)(ms / durations[i].factor),
					   durations[i].name);
	return buf_status(out);
}

int conf_format_size(struct buf *out, int64_t bytes)
{
	for (size_t i = 0; i < 4 && bytes > 0; i++) /* the binary ones */
		if (bytes % sizes[i].factor == 0)
			return buf_appendf(out, "%lld%s", (long long)(bytes / sizes[i].factor),
					   sizes[i].name);
	return buf_append_i64(out, bytes);
}

/* ---- names ---- */

#define NAME_MAX_BYTES 64u

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* Optimal string alignment: three rows of the matrix, two names of at most 64 bytes. */
uint32_t conf_distance(struct slice a, struct slice b, uint32_t max)
{
	uint32_t rows[3][NAME_MAX_BYTES + 1];

	if (a.len > NAME_MAX_BYTES || b.len > NAME_MAX_BYTES)
		return max + 1;
	for (uint32_t j = 0; j <= b.len; j++)
		rows[0][j] = j;
	for (uint32_t i = 1; i <= a.len; i++) {
		uint32_t *now = rows[i % 3], *one = rows[(i + 2) % 3], *two = rows[(i + 1) % 3];
		now[0] = i;
		for (uint32_t j = 1; j <= b.len; j++) {
			uint32_t cost = a.ptr[i - 1] != b.ptr[j - 1];
			now[j] = least(least(one[j] + 1, now[j - 1] + 1), one[j - 1] + cost);
			if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1])
				now[j] = least(now[j], two[j - 2] + 1);
		}
	}
	uint32_t distance = rows[a.len % 3][b.len];
	return distance > max ? max + 1 : distance;
}

static uint8_t folded(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (uint8_t)(c | 0x20);
	return c;
}

/* Copies without case and separators, so that maxConnections meets max_connections. */
static struct slice fold(struct slice text, uint8_t out[NAME_MAX_BYTES])
{
	size_t n = 0;

	for (size_t i = 0; i < text.len && n < NAME_MAX_BYTES; i++)
		if (text.ptr[i] != '-' && text.ptr[i] != '_')
			out[n++] = folded(text.ptr[i]);
	return slice_make(out, n);
}

/* The one name that begins with the text; NULL where there are none or several. */
static const char *begins_with(struct slice text, const char *const *names, size_t count)
{
	uint8_t bytes[NAME_MAX_BYTES];
	const char *found = NULL;

	for (size_t i = 0; i < count && text.len >= 3; i++) {
		if (!slice_starts(fold(slice_str(names[i]), bytes), text))
			continue;
		if (found)
			return NULL;
		found = names[i];
	}
	return found;
}

const char *conf_nearest(struct slice text, const char *const *names, size_t count)
{
	uint8_t left_bytes[NAME_MAX_BYTES], right_bytes[NAME_MAX_BYTES];
	const char *best = NULL;

	if (text.len == 0 || text.len > NAME_MAX_BYTES)
		return NULL;
	uint32_t allowed = (uint32_t)text.len / 3;
	allowed = allowed < 1 ? 1 : allowed > 3 ? 3 : allowed;
	uint32_t best_distance = allowed + 1;
	struct slice left = fold(text, left_bytes);
	for (size_t i = 0; i < count; i++) {
		struct slice right = fold(slice_str(names[i]), right_bytes);
		uint32_t distance = conf_distance(left, right, allowed);
		if (distance < best_distance && distance < right.len) {
			best_distance = distance;
			best = names[i];
		}
	}
	return best ? best : begins_with(left, names, count);
}

/* ---- shapes ---- */

static bool is_letter_or_digit(uint8_t c)
{
	return is_digit(c) || (folded(c) >= 'a' && folded(c) <= 'z');
}

static bool all_of(struct slice s, const char *others)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_letter_or_digit(s.ptr[i]) && (s.ptr[i] == 0 || !strchr(others, s.ptr[i])))
			return false;
	return true;
}

static bool is_port(struct slice s)
{
	uint64_t port;

	return s.len <= 5 && slice_to_u64(s, &port) && port <= 65535;
}

/* Takes [..] or a name; gives what follows, or false. */
static bool take_host(struct slice s, struct slice *rest)
{
	size_t n = 0;

	if (s.len > 0 && s.ptr[0] == '[') {
		const uint8_t *end = memchr(s.ptr, ']', s.len);
		if (!end)
			return false;
		size_t inner = (size_t)(end - s.ptr) - 1;
		*rest = slice_from(s, inner + 2);
		return inner >= 2 && inner <= 64 && all_of(slice_make(s.ptr + 1, inner), ":.%");
	}
	while (n < s.len && s.ptr[n] != ':')
		n++;
	*rest = slice_from(s, n);
	return n <= 253 && all_of(slice_make(s.ptr, n), ".-_");
}

bool conf_is_address(struct slice text)
{
	struct slice rest;

	if (slice_starts(text, SLICE_LIT("*:")))
		return is_port(slice_from(text, 2));
	return take_host(text, &rest) && rest.len > 1 && rest.ptr[0] == ':' && is_port(slice_from(rest, 1));
}

bool conf_is_peer(struct slice text)
{
	struct slice rest;
	uint64_t port;

	if (text.len == 0 || text.ptr[0] == ':' || !take_host(text, &rest) || rest.len < 2 ||
	    rest.ptr[0] != ':')
		return false;
	return is_port(slice_from(rest, 1)) && slice_to_u64(slice_from(rest, 1), &port) && port > 0;
}

bool conf_is_user(struct slice text)
{
	const uint8_t *colon = text.len ? memchr(text.ptr, ':', text.len) : NULL;

	return colon && colon > text.ptr && colon + 1 < text.ptr + text.len && !memchr(text.ptr, 0, text.len);
}

bool conf_is_host(struct slice text)
{
	struct slice rest;

	if (text.len == 0 || text.ptr[0] == ':' || !take_host(text, &rest))
		return false;
	return rest.len == 0 || (rest.ptr[0] == ':' && is_port(slice_from(rest, 1)));
}

bool conf_is_origin(struct slice text)
{
	if (slice_eq_str(text, "*") || slice_eq_str(text, "null"))
		return true;
	for (size_t i = 1; i + 3 <= text.len; i++)
		if (memcmp(text.ptr + i, "://", 3) == 0)
			return all_of(slice_make(text.ptr, i), "+-.") &&
			       conf_is_host(slice_from(text, i + 3));
	return false;
}

bool conf_is_topic_name(struct slice text)
{
	if (text.len == 0 || text.len > 249 || slice_eq_str(text, ".") || slice_eq_str(text, ".."))
		return false;
	return all_of(text, "._-");
}

bool conf_is_header_name(struct slice text)
{
	return text.len > 0 && all_of(text, "!#$%&'*+-.^_`|~");
}
