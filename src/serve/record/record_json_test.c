/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/mem.h"
#include "base/rand.h"
#include "json/json.h"
#include "serve/record/record_json.h"

static const struct record_origin origin = {.topic = {(const uint8_t *)"orders", 6}, .partition = 3};

static void assert_text(const struct batch_record *r, const char *expected)
{
	struct buf to;

	buf_init(&to, 1 << 20);
	assert_int_equal(record_json(&to, &origin, r), 0);
	(void)buf_append_byte(&to, '\0');
	assert_string_equal((const char *)to.ptr, expected);
	assert_int_equal(json_valid(slice_make(to.ptr, to.len - 1), NULL), 0);
	buf_fini(&to);
}

static struct batch_record plain(const char *value)
{
	return (struct batch_record){.offset = 41, .timestamp = 1700000000123, .value = slice_str(value)};
}

#define HEAD "{\"topic\":\"orders\",\"partition\":3,\"offset\":41,\"timestamp\":1700000000123"

static void values_come_as_they_were_stored(void **state)
{
	struct batch_record r = plain("{\"b\": 1.0,\n \"a\":\t[1e5, \"\\u00e9\"]} ");

	(void)state;
	assert_text(&r, HEAD
		    ",\"key\":null,\"headers\":{},\"value\":{\"b\": 1.0,\n \"a\":\t[1e5, \"\\u00e9\"]} }");
	r = plain("null");
	assert_text(&r, HEAD ",\"key\":null,\"headers\":{},\"value\":null}");
	r = plain(NULL);
	assert_text(&r, HEAD ",\"key\":null,\"headers\":{},\"value\":null,\"tombstone\":true}");
	r = plain("");
	assert_text(&r, HEAD ",\"key\":null,\"headers\":{},\"value_text\":\"\"}");
	r = plain("hello \"w\"\n\xc3\xa9 \x01");
	assert_text(&r, HEAD
		    ",\"key\":null,\"headers\":{},\"value_text\":\"hello \\\"w\\\"\\n\xc3\xa9 \\u0001\"}");
	r = plain("\xff\xfe");
	assert_text(&r, HEAD ",\"key\":null,\"headers\":{},\"value_base64\":\"//4=\"}");
	r = plain("{\"a\":\"\xff\"}");
	assert_text(&r, HEAD ",\"key\":null,\"headers\":{},\"value_base64\":\"eyJhIjoi/yJ9\"}");
}

static void keys_are_text_or_base64(void **state)
{
	struct batch_record r = plain("1");

	(void)state;
	r.key = SLICE_LIT("k\"1");
	assert_text(&r, HEAD ",\"key\":\"k\\\"1\",\"headers\":{},\"value\":1}");
	r.key = SLICE_LIT("");
	assert_text(&r, HEAD ",\"key\":\"\",\"headers\":{},\"value\":1}");
	r.key = SLICE_LIT("\x80");
	assert_text(&r, HEAD ",\"key_base64\":\"gA==\",\"headers\":{},\"value\":1}");
}

static uint8_t *put(uint8_t *at, struct batch_record *r, struct slice name, struct slice value)
{
	r->header_count++;
	return batch_header_put(at, name, value);
}

static void repeated_headers_are_arrays(void **state)
{
	struct batch_record r = plain("1");
	uint8_t bytes[256];
	uint8_t *at = bytes;

	(void)state;
	at = put(at, &r, SLICE_LIT("a"), SLICE_LIT("1"));
	at = put(at, &r, SLICE_LIT("b"), SLICE_LIT("\xff"));
	at = put(at, &r, SLICE_LIT("a"), slice_null());
	at = put(at, &r, SLICE_LIT("\xfe"), SLICE_LIT("x\n"));
	at = put(at, &r, SLICE_LIT("a"), SLICE_LIT(""));
	r.headers = slice_make(bytes, (size_t)(at - bytes));
	assert_text(&r, HEAD ",\"key\":null,\"headers\":{\"a\":[\"1\",null,\"\"],\"b\":{\"base64\":\"/w==\"},"
			     "\"\xef\xbf\xbd\":\"x\\n\"},\"value\":1}");
	r.header_count++;
	{
		struct buf to;
		buf_init(&to, 4096);
		assert_int_equal(record_json(&to, &origin, &r), ERR_MALFORMED);
		buf_fini(&to);
	}
}

static void many_headers_take_no_square_of_time(void **state)
{
	enum { COUNT = 60000 };
	struct batch_record r = plain("1");
	uint8_t *bytes = mem_alloc(COUNT * 16);
	uint8_t *at = bytes;
	struct buf to;
	char name[16];

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		int n = snprintf(name, sizeof(name), "h%d", i % (COUNT / 2));
		at = put(at, &r, slice_make(name, (size_t)n), SLICE_LIT("v"));
	}
	r.headers = slice_make(bytes, (size_t)(at - bytes));
	buf_init(&to, 1 << 24);
	assert_int_equal(record_json(&to, &origin, &r), 0);
	assert_int_equal(json_valid(buf_slice(&to), NULL), 0);
	assert_non_null(memmem(to.ptr, to.len, "\"h17\":[\"v\",\"v\"],", 16));
	buf_fini(&to);
	mem_free(bytes);
}

static void any_bytes_make_well_formed_json(void **state)
{
	struct rand rand;
	struct buf to;

	(void)state;
	rand_seed(&rand, 3);
	buf_init(&to, 1 << 20);
	for (int round = 0; round < 20000; round++) {
		uint8_t bytes[3][24], headers[512];
		uint8_t *at = headers;
		struct batch_record r = plain("");
		for (int i = 0; i < 3; i++)
			for (size_t j = 0; j < sizeof(bytes[i]); j++)
				bytes[i][j] = rand_below(&rand, 3) ?
						      (uint8_t) "{}[]\",:0e-\\ntrue "[rand_below(&rand, 17)] :
						      (uint8_t)rand_next(&rand);
		r.key = slice_make(bytes[0], rand_below(&rand, 24));
		r.value = slice_make(bytes[1], rand_below(&rand, 24));
		for (uint64_t n = rand_below(&rand, 15); n > 0; n--)
			at = put(at, &r, slice_make(bytes[2], rand_below(&rand, 4)),
				 slice_make(bytes[2] + 4, rand_below(&rand, 20)));
		r.headers = slice_make(headers, (size_t)(at - headers));
		buf_clear(&to);
		assert_int_equal(record_json(&to, &origin, &r), 0);
		assert_int_equal(json_valid(buf_slice(&to), NULL), 0);
	}
	buf_fini(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_come_as_they_were_stored),
		cmocka_unit_test(keys_are_text_or_base64),
		cmocka_unit_test(repeated_headers_are_arrays),
		cmocka_unit_test(many_headers_take_no_square_of_time),
		cmocka_unit_test(any_bytes_make_well_formed_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
