/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "connect/kafka/mark.h"

static void a_checkpoint_is_read_as_it_was_written(void **state)
{
	static const struct kafka_mark marks[] = {
		{KAFKA_NOWHERE, {KAFKA_NOWHERE, 0}, {KAFKA_NOWHERE, 0}},
		{0, {KAFKA_NOWHERE, 0}, {KAFKA_NOWHERE, 0}},
		{8, {7, 0xfedcba9876543210}, {0, 5}},
		{INT64_MAX, {INT64_MAX - 1, UINT64_MAX}, {KAFKA_NOWHERE, 0}},
	};
	uint8_t bytes[KAFKA_MARK_BYTES];
	struct kafka_mark m;

	(void)state;
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		kafka_mark_write(&marks[i], bytes);
		assert_true(kafka_mark_read(slice_make(bytes, sizeof(bytes)), &m));
		assert_int_equal(m.next, marks[i].next);
		assert_int_equal(m.last.offset, marks[i].last.offset);
		assert_int_equal(m.last.print, marks[i].last.print);
		assert_int_equal(m.first.offset, marks[i].first.offset);
		assert_int_equal(m.first.print, marks[i].first.print);
	}
}

static void what_is_no_checkpoint_is_refused(void **state)
{
	static const struct kafka_mark marks[] = {
		{-2, {KAFKA_NOWHERE, 0}, {KAFKA_NOWHERE, 0}},
		{8, {8, 0}, {KAFKA_NOWHERE, 0}},
		{8, {-2, 0}, {KAFKA_NOWHERE, 0}},
		{8, {7, 0}, {9, 0}},
		{KAFKA_NOWHERE, {0, 0}, {KAFKA_NOWHERE, 0}},
	};
	uint8_t bytes[KAFKA_MARK_BYTES] = {0};
	struct kafka_mark m;

	(void)state;
	assert_false(kafka_mark_read(slice_make(bytes, sizeof(bytes) - 1), &m));
	assert_false(kafka_mark_read(slice_null(), &m));
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		kafka_mark_write(&marks[i], bytes);
		if (kafka_mark_read(slice_make(bytes, sizeof(bytes)), &m))
			fail_msg("%zu", i);
	}
}

static void prints_differ_where_records_do(void **state)
{
	struct slice a = SLICE_LIT("a"), b = SLICE_LIT("b"), none = slice_null(), empty = slice_make("", 0);
	uint64_t prints[] = {kafka_print(a, b, 1),     kafka_print(b, a, 1),     kafka_print(a, b, 2),
			     kafka_print(none, b, 1),  kafka_print(empty, b, 1), kafka_print(a, none, 1),
			     kafka_print(a, empty, 1), kafka_print(a, b, -1)};

	(void)state;
	for (size_t i = 0; i < sizeof(prints) / sizeof(prints[0]); i++)
		for (size_t k = 0; k < i; k++)
			assert_int_not_equal(prints[i], prints[k]);
	assert_int_equal(prints[0], kafka_print(a, b, 1));
	/* It stands in checkpoints: another value would have every topic made anew. */
	assert_int_equal(prints[0], 0xbd90cd24bf7dd05b);
}

static void names_of_a_plan_are_found_again(void **state)
{
	struct kafka_past past;
	struct buf out;

	(void)state;
	assert_true(kafka_past_read(slice_null(), &past));
	assert_false(past.is);
	assert_false(kafka_past_read(SLICE_LIT("1234567"), &past));
	buf_init(&out, 1000);
	assert_int_equal(kafka_past_write(77, SLICE_LIT("orders\nb.c\n"), &out), 0);
	assert_true(kafka_past_read(buf_slice(&out), &past));
	assert_true(past.is);
	assert_int_equal(past.settings, 77);
	assert_true(kafka_past_has(&past, SLICE_LIT("orders")));
	assert_true(kafka_past_has(&past, SLICE_LIT("b.c")));
	assert_false(kafka_past_has(&past, SLICE_LIT("order")));
	assert_false(kafka_past_has(&past, SLICE_LIT("")));
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_checkpoint_is_read_as_it_was_written),
		cmocka_unit_test(what_is_no_checkpoint_is_refused),
		cmocka_unit_test(prints_differ_where_records_do),
		cmocka_unit_test(names_of_a_plan_are_found_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
