/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "cli/bench_latency.h"

static struct bench_latency l;

static int clear(void **state)
{
	(void)state;
	memset(&l, 0, sizeof(l));
	return 0;
}

static void none_is_zero(void **state)
{
	(void)state;
	assert_int_equal(bench_latency_at(&l, 50000), 0);
}

static void small_values_are_exact(void **state)
{
	(void)state;
	for (int64_t i = 1; i <= 100; i++)
		bench_latency_add(&l, i);
	assert_int_equal(bench_latency_at(&l, 1000), 1);
	assert_int_equal(bench_latency_at(&l, 50000), 50);
	assert_int_equal(bench_latency_at(&l, 99000), 99);
	assert_int_equal(bench_latency_at(&l, 99900), 100);
}

static void a_percentile_is_never_below_and_hardly_above(void **state)
{
	(void)state;
	for (int64_t value = 1; value > 0 && value < INT64_MAX / 3; value = value * 3 + 1) {
		clear(NULL);
		bench_latency_add(&l, value);
		bench_latency_add(&l, INT64_MAX);
		int64_t got = bench_latency_at(&l, 50000);
		assert_true(got >= value);
		assert_true(got - value <= value / 64);
		assert_int_equal(bench_latency_at(&l, 100000), INT64_MAX);
	}
}

static void the_largest_is_exact_and_a_clock_that_slips_counts_as_zero(void **state)
{
	(void)state;
	bench_latency_add(&l, -5);
	bench_latency_add(&l, 1234567);
	assert_int_equal(l.count, 2);
	assert_int_equal(bench_latency_at(&l, 50000), 0);
	assert_int_equal(bench_latency_at(&l, 99000), 1234567);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(none_is_zero, clear),
		cmocka_unit_test_setup(small_values_are_exact, clear),
		cmocka_unit_test_setup(a_percentile_is_never_below_and_hardly_above, clear),
		cmocka_unit_test_setup(the_largest_is_exact_and_a_clock_that_slips_counts_as_zero, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
