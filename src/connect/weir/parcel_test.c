/* SPDX-License-Identifier: Apache-2.0 */
/* What is sent is read at the other side as it was. */
#include "connect/weir/parcel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "ingest/envelope.h"

static struct slice encode_headers(struct arena *arena)
{
	static const struct {
		struct slice name, value;
	} list[] = {
		{SLICE_LIT("a"), SLICE_LIT("1")},
		{SLICE_LIT("a"), SLICE_LIT("2")},
		{SLICE_LIT("b\"q"), SLICE_LIT("\xff")},
		{SLICE_LIT("n"), {NULL, 0}},
	};
	struct headers h;
	struct slice out;

	headers_clear(&h);
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		assert_int_equal(headers_add(&h, list[i].name, list[i].value), 0);
	assert_int_equal(headers_encode(&h, arena, &out), 0);
	return out;
}

static bool same(struct slice a, struct slice b)
{
	return (a.ptr != NULL) == (b.ptr != NULL) && slice_eq(a, b);
}

static void records_come_out_as_they_went_in(void **state)
{
	static const struct slice values[] = {
		SLICE_LIT("{\"a\": [1, 2]}"),
		SLICE_LIT(" 1 "),
		SLICE_LIT("text \"q\" \n"),
		SLICE_LIT("\xff\x00"),
		SLICE_LIT(""),
		SLICE_LIT("\"s\""),
		{NULL, 0},
		SLICE_LIT("{"),
		SLICE_LIT("null"),
	};
	static const struct slice keys[] = {SLICE_LIT("k"), SLICE_LIT("\xfe"), {NULL, 0}, SLICE_LIT("")};
	const uint32_t count = sizeof(values) / sizeof(values[0]) * 4;
	struct headers headers;
	struct envelope e = {.headers = &headers};
	struct json_cursor c;
	struct slice name, encoded, again;
	struct arena arena;
	struct buf out;
	uint32_t n = 0;

	(void)state;
	arena_init(&arena, 4096, 1u << 20);
	buf_init(&out, 1u << 20);
	encoded = encode_headers(&arena);
	parcel_begin(&out);
	for (uint32_t i = 0; i < count; i++) {
		struct batch_record r = {.offset = i,
					 .timestamp = 1000 + i,
					 .key = keys[i % 4],
					 .value = values[i / 4]};
		r.headers = i % 2 ? encoded : slice_null();
		r.header_count = i % 2 ? 4 : 0;
		parcel_add(&out, &r, "p/");
	}
	parcel_end(&out);
	assert_int_equal(buf_status(&out), 0);
	json_cursor_init(&c, buf_slice(&out));
	json_object_begin(&c);
	assert_true(json_object_next(&c, &name) && json_name_is(name, "records"));
	json_array_begin(&c);
	for (; json_array_next(&c); n++) {
		char key[16];
		assert_int_equal(envelope_read(&e, ENVELOPE_BATCH, &c, &arena), 0);
		assert_true(same(e.key, keys[n % 4]) && same(e.value, values[n / 4]));
		assert_int_equal(e.timestamp_ms, 1000 + n);
		(void)snprintf(key, sizeof(key), "p/%u", n);
		assert_true(slice_eq_str(e.idempotency_key, key));
		assert_int_equal(headers.count, n % 2 ? 4 : 0);
		assert_int_equal(headers_encode(&headers, &arena, &again), 0);
		assert_true(n % 2 == 0 || slice_eq(again, encoded));
	}
	assert_false(json_object_next(&c, &name));
	assert_int_equal(json_end(&c), 0);
	assert_int_equal(n, count);
	buf_fini(&out);
	arena_fini(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_come_out_as_they_went_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
