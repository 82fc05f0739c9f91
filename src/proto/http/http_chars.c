/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/http/http_chars.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/*
 * The tables are written out, sixteen bytes a row, and http_test.c holds them to the
 * definitions of the RFCs character by character. A computed table would need
 * an initialiser that runs before everything else.
 */
const uint8_t http_chars[256] = {
	32, 32, 32, 32, 32, 32, 32, 32, 32, 0,  32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32,
	32, 32, 32, 32, 32, 32, 32, 32, 0,  11, 0,  1,  11, 11, 11, 11, 10, 10, 11, 11, 10, 15, 15, 2,
	31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 2,  10, 0,  10, 0,  2,  2,  15, 15, 15, 15, 15, 15, 15,
	15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 2,  0,  2,  1,  15,
	1,  15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
	15, 15, 15, 2,  3,  2,  15, 32, 0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
	0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
	0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
	0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
	0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
	0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
};

const uint8_t http_hex[256] = {
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   255, 255,
	255, 255, 255, 255, 255, 10,  11,  12,  13,  14,  15,  255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 10,  11,  12,
	13,  14,  15,  255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
};

static const uint8_t *find_control_slow(const uint8_t *at, const uint8_t *end)
{
	while (at < end && !http_is(*at, HTTP_FORBIDDEN))
		at++;
	return at;
}

#ifdef __SSE2__
const uint8_t *http_find_control(const uint8_t *at, const uint8_t *end)
{
	const __m128i low = _mm_set1_epi8(0x1f);
	const __m128i tab = _mm_set1_epi8(0x09);
	const __m128i del = _mm_set1_epi8(0x7f);

	while (end - at >= 16) {
		__m128i x = _mm_loadu_si128((const __m128i *)(const void *)at);
		__m128i control = _mm_cmpeq_epi8(_mm_min_epu8(x, low), x);
		__m128i found = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(x, tab), control),
					     _mm_cmpeq_epi8(x, del));
		unsigned mask = (unsigned)_mm_movemask_epi8(found);

		if (mask)
			return at + __builtin_ctz(mask);
		at += 16;
	}
	return find_control_slow(at, end);
}
#else
/* Bytes of x that are below n (n <= 128) have their top bit set in the result; later bytes may be wrong. */
static uint64_t bytes_below(uint64_t x, uint8_t n)
{
	return (x - 0x0101010101010101u * n) & ~x & 0x8080808080808080u;
}

const uint8_t *http_find_control(const uint8_t *at, const uint8_t *end)
{
	/* A word in which something may be a control (tab among them) is looked at byte by byte. */
	while (end - at >= 8) {
		uint64_t x;

		memcpy(&x, at, sizeof(x));
		if (bytes_below(x, 0x20) | bytes_below(x ^ 0x7f7f7f7f7f7f7f7fu, 1)) {
			const uint8_t *hit = find_control_slow(at, at + 8);
			if (hit < at + 8)
				return hit;
		}
		at += 8;
	}
	return find_control_slow(at, end);
}
#endif
