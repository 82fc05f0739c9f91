/* SPDX-License-Identifier: Apache-2.0 */
#include "json/json_write.h"

#include <math.h>

#include "base/base64.h"
#include "base/utf8.h"
#include "json/json_simd.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

void json_put_open(struct buf *b, char bracket)
{
	(void)buf_append_byte(b, (uint8_t)bracket);
}

void json_put_close(struct buf *b, char bracket)
{
	(void)buf_append_byte(b, (uint8_t)bracket);
}

void json_put_item(struct buf *b)
{
	uint8_t last = b->len ? b->ptr[b->len - 1] : '[';

	if (last != '[' && last != '{' && last != ':')
		(void)buf_append_byte(b, ',');
}

void json_put_name(struct buf *b, const char *name)
{
	size_t len = strlen(name);

	json_put_item(b);
	if (buf_reserve(b, len + 3))
		return;
	b->ptr[b->len] = '"';
	memcpy(b->ptr + b->len + 1, name, len);
	memcpy(b->ptr + b->len + 1 + len, "\":", 2);
	b->len += len + 3;
}

void json_put_name_slice(struct buf *b, struct slice name)
{
	json_put_item(b);
	json_put_string(b, name);
	(void)buf_append_byte(b, ':');
}

/* Bytes from the front that need no escape. */
static size_t plain_run(const uint8_t *at, size_t n)
{
	size_t i = 0;

#ifdef __SSE2__
	for (; i + 16 <= n; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)(at + i));
		__m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
		__m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
					   _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
		unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(hit, low));
		if (mask)
			return i + (size_t)__builtin_ctz(mask);
	}
#endif
	while (i < n && at[i] >= 0x20 && at[i] != '"' && at[i] != '\\')
		i++;
	return i;
}

static void put_escape(struct buf *b, uint8_t c)
{
	static const char hex[] = "0123456789abcdef";
	static const char from[] = "\"\\\b\f\n\r\t";
	static const char to[] = "\"\\bfnrt";
	const char *found = c ? strchr(from, c) : NULL;
	uint8_t text[6] = {'\\', 'u', '0', '0', (uint8_t)hex[c >> 4], (uint8_t)hex[c & 15]};

	if (found) {
		text[1] = (uint8_t)to[found - from];
		(void)buf_append(b, text, 2);
	} else {
		(void)buf_append(b, text, sizeof(text));
	}
}

static void put_escaped(struct buf *b, struct slice text)
{
	for (size_t i = 0; i < text.len;) {
		size_t run = plain_run(text.ptr + i, text.len - i);
		(void)buf_append(b, text.ptr + i, run);
		i += run;
		if (i < text.len)
			put_escape(b, text.ptr[i++]);
	}
}

void json_put_string(struct buf *b, struct slice text)
{
	if (buf_reserve(b, text.len + 2))
		return;
	b->ptr[b->len++] = '"';
	put_escaped(b, text);
	(void)buf_append_byte(b, '"');
}

void json_put_cstr(struct buf *b, const char *text)
{
	json_put_string(b, slice_str(text));
}

/* The longest well-formed piece from the front. */
static size_t utf8_run(struct slice s)
{
	size_t good = 0;
	uint32_t state = 0;

	for (size_t i = 0; i < s.len && state != UTF8_BAD; i++) {
		state = utf8_feed(state, slice_make(s.ptr + i, 1));
		if (state == 0)
			good = i + 1;
	}
	return good;
}

void json_put_string_lossy(struct buf *b, struct slice text)
{
	if (json_simd_utf8(text.ptr, text.len)) {
		json_put_string(b, text);
		return;
	}
	(void)buf_append_byte(b, '"');
	while (text.len) {
		size_t run = utf8_run(text);
		put_escaped(b, slice_make(text.ptr, run));
		text = slice_from(text, run);
		if (text.len) {
			(void)buf_append(b, "\xef\xbf\xbd", 3);
			text = slice_from(text, 1);
		}
	}
	(void)buf_append_byte(b, '"');
}

void json_put_base64(struct buf *b, struct slice bytes)
{
	if (buf_reserve(b, base64_encoded_len(BASE64_STANDARD, bytes.len) + 2))
		return;
	b->ptr[b->len++] = '"';
	b->len += base64_encode(BASE64_STANDARD, bytes, (char *)b->ptr + b->len);
	b->ptr[b->len++] = '"';
}

void json_put_raw(struct buf *b, struct slice json)
{
	(void)buf_append_slice(b, json);
}

void json_put_i64(struct buf *b, int64_t value)
{
	(void)buf_append_i64(b, value);
}

void json_put_u64(struct buf *b, uint64_t value)
{
	(void)buf_append_u64(b, value);
}

void json_put_bool(struct buf *b, bool value)
{
	(void)buf_append_str(b, value ? "true" : "false");
}

void json_put_null(struct buf *b)
{
	(void)buf_append(b, "null", 4);
}

void json_put_double(struct buf *b, double value)
{
	char text[32];

	if (isfinite(value))
		(void)buf_append(b, text, json_double_print(value, text));
	else
		json_put_null(b);
}

void json_put_member_string(struct buf *b, const char *name, struct slice text)
{
	json_put_name(b, name);
	json_put_string(b, text);
}

void json_put_member_i64(struct buf *b, const char *name, int64_t value)
{
	json_put_name(b, name);
	json_put_i64(b, value);
}

void json_put_member_u64(struct buf *b, const char *name, uint64_t value)
{
	json_put_name(b, name);
	json_put_u64(b, value);
}

void json_put_member_bool(struct buf *b, const char *name, bool value)
{
	json_put_name(b, name);
	json_put_bool(b, value);
}

void json_put_member_known(struct buf *b, const char *name, int64_t value)
{
	json_put_name(b, name);
	if (value >= 0)
		json_put_i64(b, value);
	else
		json_put_null(b);
}

void json_put_member_text(struct buf *b, const char *name, struct slice text)
{
	json_put_name(b, name);
	if (text.ptr)
		json_put_string_lossy(b, text);
	else
		json_put_null(b);
}
