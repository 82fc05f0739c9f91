/* SPDX-License-Identifier: Apache-2.0 */
/* The lower bound: what may raise it, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "connect/sql/mark.h"

static struct sql_mark mark;

static int set_up(void **state)
{
	(void)state;
	sql_mark_init(&mark);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	sql_mark_fini(&mark);
	return 0;
}

static struct sql_point at(const char *value)
{
	struct sql_point p = {.count = 1};

	p.values[0] = slice_str(value);
	p.kinds[0] = SQL_INTEGER;
	return p;
}

static void remember(uint64_t stood, const char *top)
{
	struct sql_point p = at(top);

	assert_int_equal(sql_mark_remember(&mark, stood, &p), 0);
}

static void await(uint64_t stood, const char *top, const char *open)
{
	struct sql_point p = at(top);

	assert_int_equal(sql_mark_await(&mark, stood, &p, slice_str(open)), 0);
}

/* "" where there is none. */
static void expect_low(uint64_t closed, const char *low)
{
	assert_int_equal(sql_mark_raise(&mark, closed), 0);
	assert_int_equal(mark.has_low, *low != 0);
	if (*low)
		assert_true(slice_eq_str(mark.low.values[0], low));
}

static void a_value_counts_when_the_transactions_of_the_question_behind_it_have_ended(void **state)
{
	(void)state;
	remember(10, "100");
	remember(12, "120");
	remember(15, "150");
	expect_low(11, "");
	expect_low(12, "100");
	expect_low(14, "100");
	expect_low(15, "120");
}

static void a_transaction_without_a_number_holds_the_bound_back(void **state)
{
	(void)state;
	await(10, "100", "3/7 4/1");
	await(12, "120", "3/7 5/1");
	await(15, "150", "3/7");
	expect_low(1000, "");
	await(18, "170", "3/77 13/7"); /* others: it has ended, and may have taken 16 meanwhile */
	expect_low(1000, "");
	await(20, "180", "9/1");
	expect_low(19, "");
	expect_low(20, "100");
	await(25, "190", ""); /* the next wait is for 9/1 alone, with the value of its question */
	await(26, "195", "");
	expect_low(26, "180");
}

static void names_are_whole(void **state)
{
	(void)state;
	await(1, "10", "1/2 11/2 1/21 31/2");
	await(2, "11", "11/2 1/21");
	assert_true(slice_eq_str(buf_slice(&mark.open), "11/2 1/21"));
	await(3, "12", "1/211 111/2 1/2");
	assert_int_equal(mark.open.len, 0);
}

static void too_many_are_not_waited_for(void **state)
{
	static char many[SQL_OPEN_MAX + 8];

	(void)state;
	memset(many, '1', sizeof(many) - 1);
	await(1, "10", many);
	await(2, "20", "");
	await(3, "30", "");
	expect_low(3, "20");
}

static void a_checkpoint_has_all_of_it(void **state)
{
	struct sql_reader reader, again;
	struct sql_mark read;
	struct buf bytes;

	(void)state;
	sql_reader_init(&reader);
	sql_reader_init(&again);
	sql_mark_init(&read);
	buf_init(&bytes, SOURCE_CHECKPOINT_MAX);
	mark.horizon = 7;
	mark.ceiling = 9;
	remember(10, "100");
	remember(12, "120");
	mark.has_top = false;
	await(12, "120", "3/7 4/1");
	assert_int_equal(sql_mark_write(&mark, &reader, &bytes), 0);
	assert_true(sql_mark_read(&read, &again, buf_slice(&bytes)));
	assert_int_equal(read.horizon, 7);
	assert_int_equal(read.ceiling, 9);
	assert_int_equal(read.past_count, 1);
	assert_true(read.has_top);
	assert_true(slice_eq_str(read.top.values[0], "120"));
	assert_true(slice_eq_str(buf_slice(&read.open), "3/7 4/1"));
	for (size_t n = 0; n < bytes.len; n++) {
		struct sql_mark cut;
		struct sql_reader nobody;
		sql_mark_init(&cut);
		sql_reader_init(&nobody);
		assert_false(sql_mark_read(&cut, &nobody, slice_make(bytes.ptr, n)));
		sql_mark_fini(&cut);
		buf_fini(&nobody.place_memory);
	}
	sql_mark_fini(&read);
	buf_fini(&bytes);
}

/* ---- columns ---- */

static void scan(const char *columns, const char *top, uint64_t stood)
{
	struct sql_point p = at(top);

	assert_int_equal(sql_mark_columns(&mark, slice_str(columns), &p, stood), 0);
}

static void rows_of_before_a_change_keep_their_columns_until_the_bound_is_past_them(void **state)
{
	(void)state;
	remember(5, "10");
	scan("aaaabbbb", "10", 5);
	assert_int_equal(mark.former_count, 0);
	remember(10, "20");
	scan("aaaabbbbcccc", "20", 10);
	assert_int_equal(mark.former_count, 1);
	assert_true(slice_eq_str(buf_slice(&mark.formers[0].columns), "aaaabbbb"));
	assert_true(slice_eq_str(mark.formers[0].until.values[0], "20"));
	remember(20, "30");
	scan("aaaacccc", "30", 20);
	assert_int_equal(mark.former_count, 2);
	remember(30, "40");
	expect_low(20, "20"); /* rows of 20 are read again: they are not past it */
	assert_int_equal(mark.former_count, 2);
	remember(40, "50");
	expect_low(30, "30");
	assert_int_equal(mark.former_count, 1);
	assert_true(slice_eq_str(buf_slice(&mark.formers[0].columns), "aaaabbbbcccc"));
	expect_low(40, "40");
	assert_int_equal(mark.former_count, 0);
}

static void of_many_changes_the_newest_are_kept_and_written(void **state)
{
	struct sql_reader r, again;
	struct sql_mark read;
	char columns[] = "aaaa", top[] = "a";
	struct buf bytes;

	(void)state;
	for (uint64_t i = 0; i < 12; i++, columns[0]++, top[0]++)
		scan(columns, top, i);
	assert_int_equal(mark.former_count, SQL_FORMERS_MAX);
	assert_true(slice_eq_str(buf_slice(&mark.formers[0].columns), "daaa"));
	assert_true(slice_eq_str(mark.formers[SQL_FORMERS_MAX - 1].until.values[0], "l"));
	sql_reader_init(&r);
	sql_reader_init(&again);
	sql_mark_init(&read);
	buf_init(&bytes, SOURCE_CHECKPOINT_MAX);
	assert_int_equal(sql_mark_write(&mark, &r, &bytes), 0);
	assert_true(sql_mark_read(&read, &again, buf_slice(&bytes)));
	assert_int_equal(read.former_count, SQL_FORMERS_MAX);
	assert_true(slice_eq_str(buf_slice(&read.columns), "laaa"));
	for (uint32_t i = 0; i < SQL_FORMERS_MAX; i++) {
		assert_true(
			slice_eq(buf_slice(&read.formers[i].columns), buf_slice(&mark.formers[i].columns)));
		assert_true(sql_point_eq(&read.formers[i].until, &mark.formers[i].until));
		assert_int_equal(read.formers[i].stood, mark.formers[i].stood);
	}
	buf_fini(&bytes);
	sql_mark_fini(&read);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_value_counts_when_the_transactions_of_the_question_behind_it_have_ended),
		TEST(a_transaction_without_a_number_holds_the_bound_back),
		TEST(names_are_whole),
		TEST(too_many_are_not_waited_for),
		TEST(a_checkpoint_has_all_of_it),
		TEST(rows_of_before_a_change_keep_their_columns_until_the_bound_is_past_them),
		TEST(of_many_changes_the_newest_are_kept_and_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
