/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict checker for RFC 8259 in one pass over the bytes: no tree, no tape,
 * no allocation, exact place of the first fault. Nesting is a bit a level.
 *
 * Strings are most of real documents, so they go 16 bytes a step: one compare
 * finds the quote, one the backslash, one signed compare both control
 * characters and bytes outside ASCII. The first byte outside ASCII makes one
 * vectorised look at UTF-8 over all the rest (of the whole body, where the
 * document is a line of one); when that is good no string is looked at again.
 * When it is bad, each string is checked by itself to find the exact place.
 *
 * Rejected: simdjson for checking. Its DOM builds a tape and index of 14 bytes a
 * byte of capacity, tells no position, refuses what the grammar allows (half a
 * surrogate pair), and on documents of some hundred bytes is no faster than
 * this (docs/internals/json.md has the figures). It serves for UTF-8, and as the
 * other opinion in the fuzz target.
 */
#include "json/json_scan.h"

#include <string.h>

#include "base/utf8.h"
#include "json/json_simd.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

const uint8_t *json_scan_fail(struct json_scan *s, const uint8_t *at, const char *what)
{
	s->error.at = (size_t)(at - s->start);
	s->error.what = what;
	return NULL;
}

/* 1: may stand in a string unseen; bytes outside ASCII are looked at. */
static inline bool is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* The first byte from at on that is a quote, a backslash, a control character or (unless known good) not ASCII. */
static inline const uint8_t *skip_plain(const uint8_t *at, const uint8_t *end, bool utf8_good)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"');
	const __m128i backslash = _mm_set1_epi8('\\');

	for (; end - at >= 16; at += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)at);
		__m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash));
		__m128i low = utf8_good ? _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v) :
					  _mm_cmplt_epi8(v, _mm_set1_epi8(0x20));
		unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(hit, low));
		if (mask)
			return at + __builtin_ctz(mask);
	}
#endif
	while (at < end && (is_plain(*at) || (utf8_good && *at >= 0x80)))
		at++;
	return at;
}

/* Length of the well-formed sequence at `at`, 0 where there is none. Cold. */
static size_t sequence_len(const uint8_t *at, const uint8_t *end)
{
	for (size_t n = 2; n <= 4 && n <= (size_t)(end - at); n++)
		if (utf8_valid(slice_make(at, n)))
			return n;
	return 0;
}

/* At a byte outside ASCII: looks at all that follows once, else steps over one sequence. */
static const uint8_t *scan_wide(struct json_scan *s, const uint8_t *at)
{
	size_t n;

	if (s->utf8 == JSON_UTF8_UNASKED) {
		bool good = json_simd_utf8(at, (size_t)(s->utf8_end - at));
		s->utf8 = good ? JSON_UTF8_GOOD : JSON_UTF8_BAD;
	}
	if (s->utf8 == JSON_UTF8_GOOD)
		return at;
	n = sequence_len(at, s->end);
	return n ? at + n : json_scan_fail(s, at, "the bytes are not UTF-8");
}

static bool is_hex(uint8_t c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* At a backslash. */
static const uint8_t *scan_escape(struct json_scan *s, const uint8_t *at)
{
	if (s->end - at < 2)
		return json_scan_fail(s, s->end, "the string is not ended");
	if (at[1] != 'u') {
		if (at[1] != 0 && strchr("\"\\/bfnrt", at[1]))
			return at + 2;
		return json_scan_fail(s, at, "expected one of \" \\ / b f n r t u after a backslash");
	}
	for (int i = 2; i < 6; i++)
		if (at + i >= s->end || !is_hex(at[i]))
			return json_scan_fail(s, at, "expected four hexadecimal digits after \\u");
	return at + 6;
}

const uint8_t *json_scan_string(struct json_scan *s, const uint8_t *at)
{
	const uint8_t *end = s->end;

	at++;
	for (;;) {
		at = skip_plain(at, end, s->utf8 == JSON_UTF8_GOOD);
		if (at == end)
			return json_scan_fail(s, at, "the string is not ended");
		if (*at == '"')
			return at + 1;
		if (*at == '\\')
			at = scan_escape(s, at);
		else if (*at >= 0x80)
			at = scan_wide(s, at);
		else
			at = json_scan_fail(s, at, "a control character in a string must be escaped");
		if (!at)
			return NULL;
	}
}

static inline bool is_digit(uint8_t c)
{
	return (uint8_t)(c - '0') < 10;
}

/* One digit or more. */
static inline const uint8_t *scan_digits(struct json_scan *s, const uint8_t *at)
{
	if (at == s->end || !is_digit(*at))
		return json_scan_fail(s, at, "expected a digit");
	do
		at++;
	while (at < s->end && is_digit(*at));
	return at;
}

/* RFC 8259 section 6: [ minus ] int [ frac ] [ exp ] */
static const uint8_t *scan_number(struct json_scan *s, const uint8_t *at)
{
	if (*at == '-')
		at++;
	if (at < s->end && *at == '0') {
		at++;
		if (at < s->end && is_digit(*at))
			return json_scan_fail(s, at, "a number must not begin with 0");
	} else {
		at = scan_digits(s, at);
	}
	if (at && at < s->end && *at == '.')
		at = scan_digits(s, at + 1);
	if (at && at < s->end && (*at | 0x20) == 'e') {
		at++;
		if (at < s->end && (*at == '+' || *at == '-'))
			at++;
		at = scan_digits(s, at);
	}
	return at;
}

static const uint8_t *scan_word(struct json_scan *s, const uint8_t *at, const char *word, size_t len)
{
	if ((size_t)(s->end - at) >= len && memcmp(at, word, len) == 0)
		return at + len;
	return json_scan_fail(s, at, "expected true, false or null");
}

static inline const uint8_t *scan_scalar(struct json_scan *s, const uint8_t *at)
{
	switch (*at) {
	case '"':
		return json_scan_string(s, at);
	case '-':
	case '0':
	case '1':
	case '2':
	case '3':
	case '4':
	case '5':
	case '6':
	case '7':
	case '8':
	case '9':
		return scan_number(s, at);
	case 't':
		return scan_word(s, at, "true", 4);
	case 'f':
		return scan_word(s, at, "false", 5);
	case 'n':
		return scan_word(s, at, "null", 4);
	default:
		return json_scan_fail(s, at, "expected a value");
	}
}

/* A member's name and the colon behind it; blanks before are stepped over. */
static inline const uint8_t *scan_name(struct json_scan *s, const uint8_t *at)
{
	at = json_scan_blanks(at, s->end);
	if (at == s->end || *at != '"')
		return json_scan_fail(s, at, "expected a member name in quotes");
	at = json_scan_string(s, at);
	if (!at)
		return NULL;
	at = json_scan_blanks(at, s->end);
	if (at == s->end || *at != ':')
		return json_scan_fail(s, at, "expected ':' after a member name");
	return at + 1;
}

/* The levels inside the value: a bit each, 1 for an object. */
struct levels {
	uint64_t bits[JSON_DEPTH_MAX / 64];
	uint32_t count;
};

static inline void push_level(struct levels *l, bool object)
{
	uint64_t bit = (uint64_t)1 << (l->count % 64);
	uint64_t *word = &l->bits[l->count / 64];

	*word = object ? *word | bit : *word & ~bit;
	l->count++;
}

static inline bool in_object(const struct levels *l)
{
	return l->bits[(l->count - 1) / 64] >> ((l->count - 1) % 64) & 1;
}

/*
 * Behind a value: closes levels as far as brackets say. *more where a comma
 * asks for another value (its name is stepped over).
 */
static inline const uint8_t *after_value(struct json_scan *s, struct levels *l, const uint8_t *at, bool *more)
{
	while (l->count) {
		bool object = in_object(l);
		at = json_scan_blanks(at, s->end);
		if (at < s->end && *at == ',') {
			*more = true;
			return object ? scan_name(s, at + 1) : at + 1;
		}
		if (at == s->end || *at != (object ? '}' : ']'))
			return json_scan_fail(s, at,
					      object ? "expected ',' or '}' after a member" :
						       "expected ',' or ']' after an item");
		at++;
		l->count--;
	}
	*more = false;
	return at;
}

/* At '{' or '[': one level more. *more where a value follows. */
static inline const uint8_t *open_level(struct json_scan *s, struct levels *l, const uint8_t *at, bool *more)
{
	bool object = *at == '{';
	const uint8_t *inside = json_scan_blanks(at + 1, s->end);

	if (s->depth + l->count >= JSON_DEPTH_MAX)
		return json_scan_fail(s, at, "arrays and objects are nested more than 512 deep");
	*more = inside == s->end || *inside != (object ? '}' : ']');
	if (!*more)
		return inside + 1;
	push_level(l, object);
	return object ? scan_name(s, inside) : inside;
}

const uint8_t *json_scan_value(struct json_scan *s, const uint8_t *at, const uint8_t **begin)
{
	struct levels l;
	bool more = true;

	l.count = 0;
	at = json_scan_blanks(at, s->end);
	*begin = at;
	while (at && more) {
		at = json_scan_blanks(at, s->end);
		if (at == s->end)
			return json_scan_fail(s, at, "expected a value");
		more = false;
		if (*at == '{' || *at == '[')
			at = open_level(s, &l, at, &more);
		else
			at = scan_scalar(s, at);
		if (at && !more)
			at = after_value(s, &l, at, &more);
	}
	return at;
}

int json_scan_document(struct json_scan *s, struct slice *doc)
{
	const uint8_t *begin;
	const uint8_t *at = json_scan_value(s, s->start, &begin);

	if (!at)
		return ERR_BAD_JSON;
	*doc = slice_make(begin, (size_t)(at - begin));
	at = json_scan_blanks(at, s->end);
	if (at == s->end)
		return 0;
	json_scan_fail(s, at, "expected nothing after the document");
	return ERR_BAD_JSON;
}
