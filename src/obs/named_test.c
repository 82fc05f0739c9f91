/* SPDX-License-Identifier: Apache-2.0 */
/* Series of named things: bounded in number, and none of their sums lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "obs/named.h"

static char text[1 << 20];

static void put_some(void *ctx, struct named *n)
{
	uint32_t count = *(uint32_t *)ctx;
	char name[24];

	for (uint32_t i = 0; i < count; i++) {
		int64_t values[NAMED_COUNT];
		for (uint32_t m = 0; m < NAMED_COUNT; m++)
			values[m] = i;
		if (i % 2)
			values[NAMED_LAG_RECORDS] = NAMED_UNKNOWN;
		values[NAMED_SUCCESS] = (int64_t)(2000 + i) * 1000000000 + 5000000;
		snprintf(name, sizeof(name), "s%u", i);
		named_put(n, slice_str(name), i % 3 ? "running" : "failing", values);
	}
}

static void write_some(uint32_t count)
{
	struct buf out;

	buf_init(&out, sizeof(text));
	assert_int_equal(named_write(put_some, &count, &out), 0);
	memcpy(text, out.ptr, out.len);
	text[out.len] = 0;
	buf_fini(&out);
}

static uint32_t series(void)
{
	uint32_t n = 0;

	for (const char *at = text; *at; at = strchr(at, '\n') + 1)
		n += *at != '#';
	return n;
}

static void expect(const char *line)
{
	if (!strstr(text, line))
		fail_msg("no line %s", line);
}

static void each_has_its_series(void **state)
{
	(void)state;
	write_some(3);
	expect("\nweir_source_pulls_total{source=\"s2\"} 2\n");
	expect("\nweir_source_state{source=\"s0\",state=\"failing\"} 1\n");
	expect("\nweir_source_state{source=\"s2\",state=\"running\"} 1\n");
	expect("\nweir_source_last_success_timestamp_seconds{source=\"s1\"} 2001.005\n");
	assert_null(strstr(text, "weir_source_lag_records{source=\"s1\"}"));
	assert_null(strstr(text, NAMED_REST));
}

static void past_the_bound_they_are_folded_into_one(void **state)
{
	uint32_t at_bound;

	(void)state;
	write_some(NAMED_MAX);
	at_bound = series();
	assert_null(strstr(text, NAMED_REST));
	write_some(NAMED_MAX + 4); /* 1000 … 1003 */
	assert_int_equal(series(), at_bound + NAMED_COUNT + 1);
	expect("weir_source_pulls_total{source=\"(other)\"} 4006\n");
	expect("weir_source_lag_records{source=\"(other)\"} 2002\n");
	expect("weir_source_last_success_timestamp_seconds{source=\"(other)\"} 3000.005\n");
	expect("weir_source_state{source=\"(other)\",state=\"running\"} 3\n");
	expect("weir_source_state{source=\"(other)\",state=\"failing\"} 1\n");
	write_some(NAMED_MAX * 2);
	assert_int_equal(series(), at_bound + NAMED_COUNT + 1);
}

static void without_any_there_are_only_heads(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, sizeof(text));
	assert_int_equal(named_write(NULL, NULL, &out), 0);
	memcpy(text, out.ptr, out.len);
	text[out.len] = 0;
	assert_int_equal(series(), 0);
	expect("# TYPE weir_source_errors_total counter\n");
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_has_its_series),
		cmocka_unit_test(past_the_bound_they_are_folded_into_one),
		cmocka_unit_test(without_any_there_are_only_heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
