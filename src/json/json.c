/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cursor: a place in a document and a bit for each level around it, which
 * says whether a comma is due. Values are checked by json_scan as they are
 * passed, so that walking an envelope of a thousand records looks at each byte
 * once and the bytes of every value are the ones that were sent.
 */
#include "json/json.h"

#include <stdio.h>

#include "base/check.h"
#include "json/json_scan.h"
#include "json/json_simd.h"

void json_error_text(const struct json_error *error, char *text, size_t bytes_max)
{
	(void)snprintf(text, bytes_max, "at byte %zu: %s", error->at + 1, error->what ? error->what : "");
}

int json_valid(struct slice doc, struct json_error *error)
{
	struct json_scan s;
	struct slice inner;
	int rc;

	s.start = doc.ptr;
	s.end = doc.len ? doc.ptr + doc.len : doc.ptr;
	s.utf8_end = s.end;
	s.depth = 0;
	s.utf8 = JSON_UTF8_UNASKED;
	rc = json_scan_document(&s, &inner);
	if (rc && error)
		*error = s.error;
	return rc;
}

bool json_utf8_valid(struct slice s)
{
	return json_simd_utf8(s.ptr, s.len);
}

/* ---- the cursor ---- */

void json_cursor_init(struct json_cursor *c, struct slice doc)
{
	c->start = c->at = doc.ptr;
	c->end = doc.len ? doc.ptr + doc.len : doc.ptr;
	c->depth = 0;
	c->utf8 = JSON_UTF8_UNASKED;
	c->status = 0;
	c->error = (struct json_error){0};
}

size_t json_offset(const struct json_cursor *c)
{
	return (size_t)(c->at - c->start);
}

static int fail_at(struct json_cursor *c, const uint8_t *at, const char *what)
{
	if (c->status == 0) {
		c->status = ERR_BAD_JSON;
		c->error.at = (size_t)(at - c->start);
		c->error.what = what;
	}
	return c->status;
}

int json_refuse(struct json_cursor *c, struct json_value value, const char *what)
{
	return fail_at(c, value.raw.ptr, what);
}

static void begin_scan(const struct json_cursor *c, struct json_scan *s)
{
	s->start = c->start;
	s->end = s->utf8_end = c->end;
	s->depth = c->depth;
	s->utf8 = c->utf8;
}

/* Takes over what a scan found: the place behind it, or its error. */
static int end_scan(struct json_cursor *c, const struct json_scan *s, const uint8_t *at)
{
	c->utf8 = s->utf8;
	if (!at)
		return fail_at(c, c->start + s->error.at, s->error.what);
	c->at = at;
	return 0;
}

static enum json_kind kind_of(uint8_t first)
{
	switch (first) {
	case '{':
		return JSON_OBJECT;
	case '[':
		return JSON_ARRAY;
	case '"':
		return JSON_STRING;
	case 't':
	case 'f':
		return JSON_BOOL;
	case 'n':
		return JSON_NULL;
	default:
		return JSON_NUMBER;
	}
}

/* Steps to the first byte of the next value; false with an error where there is none. */
static bool reach_value(struct json_cursor *c)
{
	if (c->status)
		return false;
	c->at = json_scan_blanks(c->at, c->end);
	if (c->at < c->end)
		return true;
	fail_at(c, c->at, "expected a value");
	return false;
}

enum json_kind json_peek(struct json_cursor *c)
{
	return reach_value(c) ? kind_of(*c->at) : JSON_NULL;
}

int json_take(struct json_cursor *c, struct json_value *out)
{
	struct json_scan s;
	const uint8_t *begin;
	const uint8_t *at;

	if (out)
		*out = (struct json_value){.kind = JSON_NULL};
	if (c->status)
		return c->status;
	begin_scan(c, &s);
	at = json_scan_value(&s, c->at, &begin);
	if (end_scan(c, &s, at))
		return c->status;
	if (out) {
		out->kind = kind_of(*begin);
		out->raw = slice_make(begin, (size_t)(at - begin));
	}
	return 0;
}

int json_skip(struct json_cursor *c)
{
	return json_take(c, NULL);
}

static int begin_level(struct json_cursor *c, uint8_t bracket, const char *what)
{
	if (!reach_value(c))
		return c->status;
	if (*c->at != bracket)
		return fail_at(c, c->at, what);
	if (c->depth == JSON_DEPTH_MAX)
		return fail_at(c, c->at, "arrays and objects are nested more than 512 deep");
	c->fresh[c->depth / 64] |= (uint64_t)1 << (c->depth % 64);
	c->depth++;
	c->at++;
	return 0;
}

/*
 * At the end of the level, or in front of its next name or item. The comma is
 * stepped over where one is due.
 */
static bool next_in_level(struct json_cursor *c, uint8_t bracket, const char *what)
{
	uint64_t *word;
	uint64_t bit;

	if (c->status)
		return false;
	CHECK(c->depth > 0);
	word = &c->fresh[(c->depth - 1) / 64];
	bit = (uint64_t)1 << ((c->depth - 1) % 64);
	c->at = json_scan_blanks(c->at, c->end);
	if (c->at < c->end && *c->at == bracket) {
		c->at++;
		c->depth--;
		return false;
	}
	if (*word & bit) {
		*word &= ~bit;
		return true;
	}
	if (c->at == c->end || *c->at != ',') {
		fail_at(c, c->at, what);
		return false;
	}
	c->at = json_scan_blanks(c->at + 1, c->end);
	return true;
}

int json_object_begin(struct json_cursor *c)
{
	return begin_level(c, '{', "expected an object");
}

bool json_object_next(struct json_cursor *c, struct slice *name)
{
	struct json_scan s;
	const uint8_t *begin;
	const uint8_t *at;

	if (!next_in_level(c, '}', "expected ',' or '}' after a member"))
		return false;
	if (c->at == c->end || *c->at != '"') {
		fail_at(c, c->at, "expected a member name in quotes");
		return false;
	}
	begin = c->at;
	begin_scan(c, &s);
	at = json_scan_string(&s, begin);
	if (end_scan(c, &s, at))
		return false;
	*name = slice_make(begin, (size_t)(at - begin));
	c->at = json_scan_blanks(c->at, c->end);
	if (c->at == c->end || *c->at != ':') {
		fail_at(c, c->at, "expected ':' after a member name");
		return false;
	}
	c->at++;
	return true;
}

int json_array_begin(struct json_cursor *c)
{
	return begin_level(c, '[', "expected an array");
}

bool json_array_next(struct json_cursor *c)
{
	return next_in_level(c, ']', "expected ',' or ']' after an item");
}

int json_end(struct json_cursor *c)
{
	if (c->status)
		return c->status;
	CHECK(c->depth == 0);
	c->at = json_scan_blanks(c->at, c->end);
	return c->at == c->end ? 0 : fail_at(c, c->at, "expected nothing after the document");
}

/* ---- values ---- */

static uint32_t hex_value(const uint8_t *at)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++) {
		uint32_t c = at[i];
		v = v << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return v;
}

static size_t put_character(uint8_t *to, uint32_t c)
{
	if (c < 0x80) {
		to[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (uint8_t)(0xc0 | c >> 6);
		to[1] = (uint8_t)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (uint8_t)(0xe0 | c >> 12);
		to[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		to[2] = (uint8_t)(0x80 | (c & 0x3f));
		return 3;
	}
	to[0] = (uint8_t)(0xf0 | c >> 18);
	to[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
	to[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	to[3] = (uint8_t)(0x80 | (c & 0x3f));
	return 4;
}

/* A \u escape at `at` (pairs too, RFC 8259 section 7): bytes read, 0 for half a pair. *c the character. */
static size_t read_unicode(const uint8_t *at, const uint8_t *end, uint32_t *c)
{
	uint32_t low;

	*c = hex_value(at + 2);
	if (*c < 0xd800 || *c > 0xdfff)
		return 6;
	if (*c > 0xdbff || end - at < 12 || at[6] != '\\' || at[7] != 'u')
		return 0;
	low = hex_value(at + 8);
	if (low < 0xdc00 || low > 0xdfff)
		return 0;
	*c = 0x10000 + ((*c - 0xd800) << 10) + (low - 0xdc00);
	return 12;
}

static uint8_t plain_escape(uint8_t c)
{
	switch (c) {
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	default:
		return c;
	}
}

/* Undoes the escapes of a checked string's inside; `to` has room for as many bytes. False for half a pair. */
static bool undo_escapes(struct slice inside, uint8_t *to, size_t *len)
{
	const uint8_t *at = inside.ptr;
	const uint8_t *end = inside.ptr + inside.len;
	uint8_t *out = to;

	while (at < end) {
		const uint8_t *mark = memchr(at, '\\', (size_t)(end - at));
		size_t run = (size_t)((mark ? mark : end) - at);
		memcpy(out, at, run);
		out += run;
		at += run;
		if (at == end)
			break;
		if (at[1] == 'u') {
			uint32_t c;
			size_t n = read_unicode(at, end, &c);
			if (n == 0)
				return false;
			out += put_character(out, c);
			at += n;
		} else {
			*out++ = plain_escape(at[1]);
			at += 2;
		}
	}
	*len = (size_t)(out - to);
	return true;
}

/* Without the quotes. */
static struct slice inside_of(struct slice raw)
{
	CHECK(raw.len >= 2 && raw.ptr[0] == '"');
	return slice_make(raw.ptr + 1, raw.len - 2);
}

int json_text(struct slice raw, struct arena *arena, struct slice *out)
{
	struct slice inside = inside_of(raw);
	uint8_t *to;
	size_t len;

	*out = inside;
	if (inside.len == 0 || !memchr(inside.ptr, '\\', inside.len))
		return 0;
	to = arena_alloc(arena, inside.len);
	if (!to)
		return ERR_NOMEM;
	if (!undo_escapes(inside, to, &len))
		return ERR_BAD_JSON;
	*out = slice_make(to, len);
	return 0;
}

bool json_name_is(struct slice raw, const char *text)
{
	struct slice inside = inside_of(raw);
	uint8_t undone[64 * 6];
	size_t len;

	if (inside.len == 0 || !memchr(inside.ptr, '\\', inside.len))
		return slice_eq_str(inside, text);
	if (inside.len > sizeof(undone) || !undo_escapes(inside, undone, &len))
		return false;
	return slice_eq_str(slice_make(undone, len), text);
}

int json_i64(struct json_value v, int64_t *out)
{
	if (v.kind == JSON_NUMBER && slice_to_i64(v.raw, out))
		return 0;
	return ERR_BAD_JSON;
}

int json_u64(struct json_value v, uint64_t *out)
{
	if (v.kind == JSON_NUMBER && slice_to_u64(v.raw, out))
		return 0;
	return ERR_BAD_JSON;
}

int json_double(struct json_value v, double *out)
{
	if (v.kind == JSON_NUMBER && json_double_parse(v.raw.ptr, v.raw.len, out))
		return 0;
	return ERR_BAD_JSON;
}

int json_bool(struct json_value v, bool *out)
{
	if (v.kind != JSON_BOOL)
		return ERR_BAD_JSON;
	*out = v.raw.ptr[0] == 't';
	return 0;
}
