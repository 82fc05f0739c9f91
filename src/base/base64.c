/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three bytes to four characters and back, by table. The decoding table takes
 * both alphabets' letters alike and differs only in the last two, so it is one
 * table of 256 with a fix-up per form rather than two. What is not a letter has
 * the bit 0x80 set: four looked-up values are or-ed and tested once.
 */
#include "base/base64.h"

#include "base/err.h"

static const char letters[2][65] = {
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

/* The value of a letter plus one, so that what is not named is zero. */
static const uint8_t value_plus_one[256] = {
	['A'] = 1, 2,  3,  4,  5,          6,  7,  8,  9,  10, 11,         12, 13, 14, 15, 16,
	17,        18, 19, 20, 21,         22, 23, 24, 25, 26, ['a'] = 27, 28, 29, 30, 31, 32,
	33,        34, 35, 36, 37,         38, 39, 40, 41, 42, 43,         44, 45, 46, 47, 48,
	49,        50, 51, 52, ['0'] = 53, 54, 55, 56, 57, 58, 59,         60, 61, 62,
};

size_t base64_encoded_len(enum base64_form form, size_t n)
{
	size_t rest = n % 3;

	if (form == BASE64_STANDARD)
		return (n + 2) / 3 * 4;
	return n / 3 * 4 + (rest ? rest + 1 : 0);
}

size_t base64_encode(enum base64_form form, struct slice bytes, char *text)
{
	const char *letter = letters[form];
	const uint8_t *at = bytes.ptr;
	size_t left = bytes.len;
	char *to = text;

	for (; left >= 3; left -= 3, at += 3) {
		uint32_t bits = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
		*to++ = letter[bits >> 18];
		*to++ = letter[bits >> 12 & 63];
		*to++ = letter[bits >> 6 & 63];
		*to++ = letter[bits & 63];
	}
	if (left) {
		uint32_t bits = (uint32_t)at[0] << 16 | (left == 2 ? (uint32_t)at[1] << 8 : 0);
		*to++ = letter[bits >> 18];
		*to++ = letter[bits >> 12 & 63];
		if (left == 2)
			*to++ = letter[bits >> 6 & 63];
		for (size_t pad = left; form == BASE64_STANDARD && pad < 3; pad++)
			*to++ = '=';
	}
	return (size_t)(to - text);
}

size_t base64_decoded_max(size_t n)
{
	return n / 4 * 3 + n % 4;
}

/* 0 to 63, or a number with 0x80 set. */
static uint32_t letter_value(enum base64_form form, uint8_t c)
{
	uint8_t v = value_plus_one[c];

	if (v)
		return (uint32_t)v - 1;
	if (c == (uint8_t)letters[form][62])
		return 62;
	if (c == (uint8_t)letters[form][63])
		return 63;
	return 0x80;
}

/* The last two or three letters: one or two bytes, the bits past them zero. */
static int decode_rest(enum base64_form form, struct slice rest, uint8_t *to, size_t *count)
{
	uint32_t a, b, c = 0;

	if (rest.len < 2)
		return ERR_MALFORMED;
	a = letter_value(form, rest.ptr[0]);
	b = letter_value(form, rest.ptr[1]);
	if (rest.len == 3)
		c = letter_value(form, rest.ptr[2]);
	if ((a | b | c) & 0x80)
		return ERR_MALFORMED;
	if (rest.len == 2 ? b & 15 : c & 3)
		return ERR_MALFORMED;
	to[0] = (uint8_t)(a << 2 | b >> 4);
	if (rest.len == 3)
		to[1] = (uint8_t)(b << 4 | c >> 2);
	*count = rest.len - 1;
	return 0;
}

/* Takes off the padding, which is there exactly where it must be. */
static int strip_padding(struct slice *text)
{
	if (text->len % 4)
		return ERR_MALFORMED;
	for (int pad = 0; pad < 2 && text->len && text->ptr[text->len - 1] == '='; pad++)
		text->len--;
	return 0;
}

int base64_decode(enum base64_form form, struct slice text, uint8_t *bytes, size_t *len)
{
	uint8_t *to = bytes;
	size_t count = 0;

	if (form == BASE64_STANDARD && strip_padding(&text))
		return ERR_MALFORMED;
	for (; text.len >= 4; text = slice_from(text, 4)) {
		uint32_t a = letter_value(form, text.ptr[0]), b = letter_value(form, text.ptr[1]);
		uint32_t c = letter_value(form, text.ptr[2]), d = letter_value(form, text.ptr[3]);
		if ((a | b | c | d) & 0x80)
			return ERR_MALFORMED;
		*to++ = (uint8_t)(a << 2 | b >> 4);
		*to++ = (uint8_t)(b << 4 | c >> 2);
		*to++ = (uint8_t)(c << 6 | d);
	}
	if (text.len && decode_rest(form, text, to, &count))
		return ERR_MALFORMED;
	*len = (size_t)(to - bytes) + count;
	return 0;
}
