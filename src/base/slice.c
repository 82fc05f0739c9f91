/* SPDX-License-Identifier: Apache-2.0 */
#include "base/slice.h"

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static uint64_t load(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

#define EACH(byte) ((uint64_t)(byte)*0x0101010101010101u)

/* Eight bytes at once: 0x20 where one is in A to Z. No carry leaves a byte, as its high bit is put aside. */
static uint64_t case_bits(uint64_t word)
{
	uint64_t low = word & EACH(0x7f);
	uint64_t from_a = low + EACH(0x80 - 'A');
	uint64_t above_z = low + EACH(0x7f - 'Z');

	return ((from_a & ~above_z & ~word) & EACH(0x80)) >> 2;
}

static bool words_differ(const uint8_t *a, const uint8_t *b)
{
	uint64_t x = load(a), y = load(b);

	return x != y && (x | case_bits(x)) != (y | case_bits(y));
}

bool slice_eq_nocase(struct slice a, struct slice b)
{
	size_t i = 0;

	if (a.len != b.len)
		return false;
	for (; i + 8 <= a.len; i += 8)
		if (words_differ(a.ptr + i, b.ptr + i))
			return false;
	if (i < a.len && a.len >= 8)
		return !words_differ(a.ptr + a.len - 8, b.ptr + a.len - 8);
	for (; i < a.len; i++)
		if (a.ptr[i] != b.ptr[i] && lower(a.ptr[i]) != lower(b.ptr[i]))
			return false;
	return true;
}

bool slice_starts(struct slice s, struct slice prefix)
{
	return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

struct slice slice_cut(struct slice s, char at, struct slice *rest)
{
	const uint8_t *found = s.len ? memchr(s.ptr, at, s.len) : NULL;
	size_t n = found ? (size_t)(found - s.ptr) : s.len;

	*rest = found ? slice_from(s, n + 1) : slice_null();
	return slice_make(s.ptr, n);
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
	while (s.len > 0 && is_blank(s.ptr[0])) {
		s.ptr++;
		s.len--;
	}
	while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

bool slice_to_u64(struct slice s, uint64_t *out)
{
	uint64_t value = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t digit = (uint8_t)(s.ptr[i] - '0');
		if (digit > 9)
			return false;
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			return false;
	}
	*out = value;
	return true;
}

bool slice_to_i64(struct slice s, int64_t *out)
{
	bool negative = s.len > 0 && s.ptr[0] == '-';
	uint64_t magnitude;

	if (!slice_to_u64(negative ? slice_from(s, 1) : s, &magnitude))
		return false;
	if (magnitude > (uint64_t)INT64_MAX + (negative ? 1u : 0u))
		return false;
	*out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
	return true;
}

int slice_cmp(struct slice a, struct slice b)
{
	size_t shared = a.len < b.len ? a.len : b.len;
	int order = shared ? memcmp(a.ptr, b.ptr, shared) : 0;

	if (order != 0)
		return order;
	return a.len < b.len ? -1 : a.len > b.len;
}
