/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/hash.h"
#include "base/rand.h"
#include "base/utf8.h"
#include "base/wire.h"

static void crc32c_matches_published_vectors(void **state)
{
	uint8_t zeros[32] = {0};

	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(crc32c(0, zeros, sizeof(zeros)), 0x8a9136aau);
	assert_int_equal(crc32c(0, "", 0), 0);
}

static void crc32c_forms_agree_at_every_length(void **state)
{
	static uint8_t bytes[4096];
	struct rand r;

	(void)state;
	rand_seed(&r, 1);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)rand_next(&r);
	for (size_t n = 0; n < sizeof(bytes); n += 1 + n / 64) {
		uint32_t whole = crc32c(0, bytes, n);
		assert_int_equal(whole, crc32c_portable(0, bytes, n));
		assert_int_equal(whole, crc32c(crc32c(0, bytes, n / 3), bytes + n / 3, n - n / 3));
	}
}

static void murmur2_matches_kafka(void **state)
{
	(void)state;
	/* Values from the test of Kafka's own Utils.murmur2. */
	assert_int_equal((int32_t)hash_murmur2(SLICE_LIT("21")), -973932308);
	assert_int_equal((int32_t)hash_murmur2(SLICE_LIT("foobar")), -790332482);
	assert_int_equal((int32_t)hash_murmur2(SLICE_LIT("a-little-bit-long-string")), -985981536);
	assert_int_equal((int32_t)hash_murmur2(SLICE_LIT("abc")), 479470107);
}

static void sip24_128_matches_reference(void **state)
{
	/* Key 00..0f, empty input: first vector of the reference implementation. */
	struct hash_key key = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
	struct hash128 h = hash_sip24_128(&key, slice_make("", 0));

	(void)state;
	assert_true(h.lo == 0xe6a825ba047f81a3u);
	assert_true(h.hi == 0x930255c71472f66du);
}

static void utf8_refuses_what_the_standard_refuses(void **state)
{
	(void)state;
	assert_true(utf8_valid(SLICE_LIT("plain ascii, long enough")));
	assert_true(utf8_valid(SLICE_LIT("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80")));
	assert_false(utf8_valid(SLICE_LIT("\xc0\x80")));
	assert_false(utf8_valid(SLICE_LIT("\xed\xa0\x80")));
	assert_false(utf8_valid(SLICE_LIT("\xf4\x90\x80\x80")));
	assert_false(utf8_valid(SLICE_LIT("\xe2\x82")));
	assert_false(utf8_valid(SLICE_LIT("\x80")));
}

static void a_uvarint_of_32_bits_has_at_most_five_bytes(void **state)
{
	static const struct {
		struct slice bytes;
		bool good;
		uint32_t value;
	} rows[] = {
		{SLICE_LIT("\0"), true, 0},
		{SLICE_LIT("\x7f"), true, 127},
		{SLICE_LIT("\x80\x01"), true, 128},
		{SLICE_LIT("\x81\x80\x80\x80\0"), true, 1}, /* longer than it needs to be */
		{SLICE_LIT("\xff\xff\xff\xff\x0f"), true, UINT32_MAX},
		{SLICE_LIT("\xff\xff\xff\xff\x10"), false, 0},
		{SLICE_LIT("\x80\x80\x80\x80\x80\0"), false, 0},
		{SLICE_LIT("\xff\xff\xff\xff"), false, 0},
		{SLICE_LIT(""), false, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct wire_reader r = wire_reader_make(rows[i].bytes);
		assert_int_equal(wire_uvarint32(&r), rows[i].value);
		assert_int_equal(r.bad, !rows[i].good);
	}
}

static void a_double_keeps_its_bits(void **state)
{
	static const double values[] = {0, -0.0, 1.5, -1e300, 5e-324, __builtin_inf()};
	uint8_t bytes[8];

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct wire_reader r = wire_reader_make(slice_make(bytes, sizeof(bytes)));
		double v;
		assert_ptr_equal(wire_put_f64(bytes, values[i]), bytes + sizeof(bytes));
		v = wire_f64(&r);
		assert_memory_equal(&v, &values[i], sizeof(v));
		(void)wire_f64(&r);
		assert_true(r.bad);
	}
	wire_put_f64(bytes, 1.5);
	assert_memory_equal(bytes, "\x3f\xf8\0\0\0\0\0\0", 8);
}

static void wire_round_trips_and_stays_within_its_end(void **state)
{
	const int64_t values[] = {0, 1, -1, 63, -64, 64, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
	uint8_t bytes[16];

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		uint8_t *end = wire_put_varint(bytes, values[i]);
		struct wire_reader r = wire_reader_make(slice_make(bytes, (size_t)(end - bytes)));
		assert_int_equal(end - bytes, wire_varint_len(values[i]));
		assert_true(wire_varint(&r) == values[i]);
		assert_false(r.bad);
		(void)wire_u8(&r);
		assert_true(r.bad);
	}
}

static uint8_t small(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* Every pair of bytes at every place of every length that takes another path. */
static void names_are_compared_as_byte_by_byte(void **state)
{
	uint8_t a[17], b[17];

	(void)state;
	memset(a, 'x', sizeof(a));
	memset(b, 'X', sizeof(b));
	for (size_t len = 1; len <= sizeof(a); len++) {
		for (size_t at = 0; at < len; at++) {
			for (unsigned pair = 0; pair < 65536; pair++) {
				a[at] = (uint8_t)(pair & 255);
				b[at] = (uint8_t)(pair >> 8);
				if (slice_eq_nocase(slice_make(a, len), slice_make(b, len)) !=
				    (small(a[at]) == small(b[at])))
					fail_msg("bytes %u and %u at %zu of %zu", a[at], b[at], at, len);
			}
			a[at] = 'x';
			b[at] = 'X';
		}
	}
}

static void what_is_cut_has_a_rest_where_the_byte_stands(void **state)
{
	struct slice text = SLICE_LIT("a,,b"), first;

	(void)state;
	first = slice_cut(text, ',', &text);
	assert_true(slice_eq_str(first, "a") && slice_eq_str(text, ",b"));
	first = slice_cut(text, ',', &text);
	assert_true(first.ptr && first.len == 0 && slice_eq_str(text, "b"));
	first = slice_cut(text, ',', &text);
	assert_true(slice_eq_str(first, "b") && !text.ptr);
	first = slice_cut(SLICE_LIT("b,"), ',', &text);
	assert_true(slice_eq_str(first, "b") && text.ptr && text.len == 0);
	assert_null(slice_cut(slice_null(), ',', &text).ptr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_matches_published_vectors),
		cmocka_unit_test(crc32c_forms_agree_at_every_length),
		cmocka_unit_test(murmur2_matches_kafka),
		cmocka_unit_test(sip24_128_matches_reference),
		cmocka_unit_test(names_are_compared_as_byte_by_byte),
		cmocka_unit_test(what_is_cut_has_a_rest_where_the_byte_stands),
		cmocka_unit_test(utf8_refuses_what_the_standard_refuses),
		cmocka_unit_test(wire_round_trips_and_stays_within_its_end),
		cmocka_unit_test(a_uvarint_of_32_bits_has_at_most_five_bytes),
		cmocka_unit_test(a_double_keeps_its_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
