/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "connect/http/position.h"

static void is_read_as_it_was_written(void **state)
{
	const struct position p = {.running = true,
				   .page = 3,
				   .offset = 20,
				   .pages = 2,
				   .skip = 7,
				   .skip_hash = UINT64_MAX,
				   .body_hash = 1,
				   .from_ms = -5,
				   .to_ms = INT64_MAX,
				   .cursor = SLICE_LIT("a\"b\xc3\xa9"),
				   .next = SLICE_LIT("http://h/?x"),
				   .last = SLICE_LIT("9"),
				   .last_now = SLICE_LIT(""),
				   .etag = SLICE_LIT("\"e\"")};
	struct position q;
	struct arena arena;
	struct buf one, two;

	(void)state;
	arena_init(&arena, 1024, 65536);
	buf_init(&one, 65536);
	buf_init(&two, 65536);
	assert_int_equal(position_write(&p, &one), 0);
	assert_int_equal(position_read(buf_slice(&one), &arena, &q, NULL), 0);
	assert_int_equal(position_write(&q, &two), 0);
	assert_true(slice_eq(buf_slice(&one), buf_slice(&two)));
	assert_int_equal(q.skip_hash, UINT64_MAX);
	assert_true(slice_eq(q.cursor, p.cursor));
	assert_non_null(q.last_now.ptr);
	assert_null(q.modified.ptr);
	buf_fini(&one);
	buf_fini(&two);
	arena_fini(&arena);
}

static void what_is_none_is_refused(void **state)
{
	static const char *const rows[] = {"{",
					   "[]",
					   "{\"page\":-1}",
					   "{\"page\":\"1\"}",
					   "{\"other\":1}",
					   "{\"cursor\":1}",
					   "{\"running\":1}",
					   "{} {}"};
	struct position p;
	struct arena arena;
	struct fault fault;

	(void)state;
	arena_init(&arena, 1024, 65536);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(position_read(slice_str(rows[i]), &arena, &p, &fault), ERR_CORRUPT);
	assert_int_equal(position_read(slice_null(), &arena, &p, &fault), 0);
	assert_false(p.running);
	arena_fini(&arena);
}

static void values_are_ordered(void **state)
{
	static const struct {
		const char *a, *b;
		bool greater;
	} rows[] = {{"10", "9", true},     {"9", "10", false},
		    {"1.5", "1.25", true}, {"2e3", "1999", true},
		    {"a", "b", false},     {"2026-01-02", "2026-01-01", true},
		    {"7", "7", false},     {"9007199254740993", "9007199254740992", true},
		    {"-1", "-2", true},    {"b", "10", true},
		    {"x", NULL, true},     {NULL, "x", false},
		    {NULL, NULL, false}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(position_greater(slice_str(rows[i].a), slice_str(rows[i].b)),
				 rows[i].greater);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_read_as_it_was_written),
		cmocka_unit_test(what_is_none_is_refused),
		cmocka_unit_test(values_are_ordered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
