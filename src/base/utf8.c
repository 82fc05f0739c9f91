/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state holds how many continuation bytes are awaited (bits 0-1) and the
 * range allowed for the next one (bits 8-15 low, 16-23 high), which is how the
 * well-formed table of the Unicode standard (3-7) excludes overlong forms,
 * surrogates and what is past U+10FFFF. Runs of ASCII go eight bytes a step.
 */
#include "base/utf8.h"

static uint32_t await(uint32_t count, uint32_t low, uint32_t high)
{
	return count | low << 8 | high << 16;
}

static uint32_t on_lead(uint8_t c)
{
	if (c < 0x80)
		return 0;
	if (c >= 0xc2 && c <= 0xdf)
		return await(1, 0x80, 0xbf);
	if (c == 0xe0)
		return await(2, 0xa0, 0xbf);
	if (c == 0xed)
		return await(2, 0x80, 0x9f);
	if (c >= 0xe1 && c <= 0xef)
		return await(2, 0x80, 0xbf);
	if (c == 0xf0)
		return await(3, 0x90, 0xbf);
	if (c >= 0xf1 && c <= 0xf3)
		return await(3, 0x80, 0xbf);
	if (c == 0xf4)
		return await(3, 0x80, 0x8f);
	return UTF8_BAD;
}

static uint32_t on_continuation(uint32_t state, uint8_t c)
{
	uint32_t left = (state & 3) - 1;

	if (c < (state >> 8 & 0xff) || c > (state >> 16 & 0xff))
		return UTF8_BAD;
	return left ? await(left, 0x80, 0xbf) : 0;
}

static size_t skip_ascii(const uint8_t *at, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8) {
		uint64_t word;
		memcpy(&word, at + i, 8);
		if (word & 0x8080808080808080u)
			break;
	}
	return i;
}

uint32_t utf8_feed(uint32_t state, struct slice s)
{
	for (size_t i = 0; i < s.len && state != UTF8_BAD;) {
		if (state == 0) {
			i += skip_ascii(s.ptr + i, s.len - i);
			if (i < s.len)
				state = on_lead(s.ptr[i++]);
		} else {
			state = on_continuation(state, s.ptr[i++]);
		}
	}
	return state;
}

bool utf8_valid(struct slice s)
{
	return utf8_feed(0, s) == 0;
}
