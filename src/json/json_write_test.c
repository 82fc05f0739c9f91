/* SPDX-License-Identifier: Apache-2.0 */
#include "json/json_write.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/rand.h"
#include "json/json.h"

static void places_commas(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	json_put_open(&b, '{');
	json_put_member_string(&b, "topic", SLICE_LIT("t,{["));
	json_put_member_i64(&b, "n", -3);
	json_put_member_u64(&b, "m", UINT64_MAX);
	json_put_member_bool(&b, "ok", true);
	json_put_member_known(&b, "lag", 0);
	json_put_member_known(&b, "never", -1);
	json_put_member_text(&b, "text", SLICE_LIT(""));
	json_put_member_text(&b, "none", slice_null());
	json_put_name(&b, "empty");
	json_put_open(&b, '[');
	json_put_close(&b, ']');
	json_put_name_slice(&b, SLICE_LIT("a\"b"));
	json_put_open(&b, '[');
	for (int i = 0; i < 2; i++) {
		json_put_item(&b);
		json_put_open(&b, '{');
		json_put_name(&b, "x");
		json_put_null(&b);
		json_put_name(&b, "y");
		json_put_raw(&b, SLICE_LIT("[1, 2]"));
		json_put_close(&b, '}');
	}
	json_put_item(&b);
	json_put_cstr(&b, "s");
	json_put_close(&b, ']');
	json_put_close(&b, '}');
	assert_int_equal(buf_status(&b), 0);
	assert_true(slice_eq_str(buf_slice(&b),
				 "{\"topic\":\"t,{[\",\"n\":-3,\"m\":18446744073709551615,\"ok\":true,"
				 "\"lag\":0,\"never\":null,\"text\":\"\",\"none\":null,\"empty\":[],"
				 "\"a\\\"b\":[{\"x\":null,\"y\":[1, 2]},{\"x\":null,\"y\":[1, 2]},\"s\"]}"));
	assert_int_equal(json_valid(buf_slice(&b), NULL), 0);
	buf_fini(&b);
}

static void escapes_and_back(void **state)
{
	struct arena arena;
	struct rand r;
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	arena_init(&arena, 4096, 1 << 20);
	rand_seed(&r, 11);
	for (int i = 0; i < 20000; i++) {
		uint8_t text[70];
		size_t n = rand_below(&r, sizeof(text));
		struct slice back;
		for (size_t k = 0; k < n; k++)
			text[k] =
				(uint8_t)(rand_below(&r, 8) ? 'a' + rand_below(&r, 26) : rand_below(&r, 128));
		buf_clear(&b);
		arena_reset(&arena);
		json_put_string(&b, slice_make(text, n));
		assert_int_equal(json_valid(buf_slice(&b), NULL), 0);
		assert_int_equal(json_text(buf_slice(&b), &arena, &back), 0);
		assert_true(slice_eq(back, slice_make(text, n)));
	}
	buf_clear(&b);
	json_put_string(&b, slice_make("\0\x1f\"\\\b\f\n\r\t\x7f/\xc3\xa9", 13));
	assert_true(slice_eq_str(buf_slice(&b), "\"\\u0000\\u001f\\\"\\\\\\b\\f\\n\\r\\t\x7f/\xc3\xa9\""));
	arena_fini(&arena);
	buf_fini(&b);
}

static void replaces_what_is_not_utf8(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	json_put_string_lossy(&b, SLICE_LIT("a\xff\xc3\xa9\xe2\x82\n\xed\xa0\x80z"));
	assert_true(slice_eq_str(
		buf_slice(&b),
		"\"a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\\n\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\""));
	assert_int_equal(json_valid(buf_slice(&b), NULL), 0);
	buf_clear(&b);
	json_put_string_lossy(&b, SLICE_LIT("caf\xc3\xa9\""));
	assert_true(slice_eq_str(buf_slice(&b), "\"caf\xc3\xa9\\\"\""));
	buf_fini(&b);
}

static void writes_doubles_that_read_back(void **state)
{
	static const double values[] = {0, -0.0, 0.1, 1e21, 1.5e-7, 123456789.25, 1e308, 5e-324, -2};
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct json_value v = {.kind = JSON_NUMBER};
		double back;
		buf_clear(&b);
		json_put_double(&b, values[i]);
		assert_int_equal(json_valid(buf_slice(&b), NULL), 0);
		v.raw = buf_slice(&b);
		assert_int_equal(json_double(v, &back), 0);
		assert_true(back == values[i]);
	}
	buf_clear(&b);
	json_put_double(&b, INFINITY);
	assert_true(slice_eq_str(buf_slice(&b), "null"));
	buf_fini(&b);
}

static void keeps_the_first_error(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 8);
	json_put_open(&b, '{');
	json_put_member_string(&b, "name", SLICE_LIT("too long for it"));
	json_put_close(&b, '}');
	assert_int_equal(buf_status(&b), ERR_LIMIT);
	assert_true(b.len <= 8);
	buf_fini(&b);
}

static void bytes_are_a_string_of_base64(void **state)
{
	static const struct {
		struct slice bytes;
		const char *text;
	} cases[] = {
		{SLICE_LIT(""), "\"\""},
		{SLICE_LIT("\0"), "\"AA==\""},
		{SLICE_LIT("\xff\xfe\xfd"), "\"//79\""},
	};
	struct buf b;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		buf_init(&b, 64);
		json_put_base64(&b, cases[i].bytes);
		assert_true(slice_eq_str(buf_slice(&b), cases[i].text));
		buf_fini(&b);
	}
	buf_init(&b, 5); /* no room for the quotes */
	json_put_base64(&b, SLICE_LIT("abc"));
	assert_int_equal(buf_status(&b), ERR_LIMIT);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_commas),
		cmocka_unit_test(escapes_and_back),
		cmocka_unit_test(replaces_what_is_not_utf8),
		cmocka_unit_test(bytes_are_a_string_of_base64),
		cmocka_unit_test(writes_doubles_that_read_back),
		cmocka_unit_test(keeps_the_first_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
