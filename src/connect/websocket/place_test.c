/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "connect/websocket/place.h"

static void a_place_is_read_as_it_was_written(void **state)
{
	static const struct place places[] = {
		{.at_ms = 0},
		{.at_ms = 1700000000000},
		{.at_ms = 5, .last = {(const uint8_t *)"a\"\n\xc3\xa9", 5}},
		{.at_ms = 5, .last = {(const uint8_t *)"", 0}},
	};
	struct fault fault = {0};
	struct arena arena;
	struct place got;
	struct buf out;

	(void)state;
	arena_init(&arena, 1024, 65536);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		buf_init(&out, 4096);
		assert_int_equal(place_write(&places[i], &out), 0);
		assert_int_equal(place_read(buf_slice(&out), &arena, &got, &fault), 0);
		assert_int_equal(got.at_ms, places[i].at_ms);
		assert_int_equal(got.last.ptr == NULL, places[i].last.ptr == NULL);
		assert_true(slice_eq(got.last, places[i].last));
		buf_fini(&out);
	}
	arena_fini(&arena);
}

static void nothing_is_the_beginning(void **state)
{
	struct fault fault = {0};
	struct arena arena;
	struct place got;

	(void)state;
	arena_init(&arena, 1024, 65536);
	assert_int_equal(place_read(slice_null(), &arena, &got, &fault), 0);
	assert_true(got.at_ms == 0 && !got.last.ptr);
	arena_fini(&arena);
}

static void what_is_no_place_is_an_error(void **state)
{
	static const char *const bad[] = {"x", "[]", "{\"at\":\"1\"}", "{\"at\":1", "{\"last\":1}", "{} 1"};
	struct arena arena;
	struct place got;

	(void)state;
	arena_init(&arena, 1024, 65536);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct fault fault = {0};

		assert_int_equal(place_read(slice_str(bad[i]), &arena, &got, &fault), ERR_CORRUPT);
		assert_true(fault.text[0] != '\0');
	}
	arena_fini(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_place_is_read_as_it_was_written),
		cmocka_unit_test(nothing_is_the_beginning),
		cmocka_unit_test(what_is_no_place_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
