/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "connect/window.h"

static struct source_window window_of(const char *from, const char *to)
{
	static char memory[200];
	struct source_window w;

	window_set(&w, from ? slice_str(from) : slice_null(), to ? slice_str(to) : slice_null(), memory);
	return w;
}

static void times_are_moments(void **state)
{
	struct source_window w = window_of("2026-01-31T12:00:00Z", "@1767225600000");

	(void)state;
	assert_true(w.from_ms == 1769860800000 && w.to_ms == 1767225600000);
	assert_true(slice_eq_str(w.from, "2026-01-31T12:00:00Z") && slice_eq_str(w.to, "@1767225600000"));
}

static void what_is_no_time_is_a_bound_all_the_same(void **state)
{
	static const char *const keys[] = {
		"1767225600000",
		"-5",
		"key",
		"",
		"@",
		"@earliest",
		"earliest",
		"latest",
		"2026-01-31T12:00:00Z and a text that is longer than any time that there may be"};

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct source_window w = window_of(keys[i], keys[i]);
		assert_true(w.from_ms == INT64_MIN && w.to_ms == INT64_MAX);
		assert_true(w.from.ptr && slice_eq_str(w.from, keys[i]) && slice_eq_str(w.to, keys[i]));
	}
}

static void an_open_side_stays_open(void **state)
{
	struct source_window w = window_of(NULL, "@5");

	(void)state;
	assert_null(w.from.ptr);
	assert_true(w.from_ms == INT64_MIN && w.to_ms == 5);
	w = window_of("@5", NULL);
	assert_null(w.to.ptr);
	assert_true(w.from_ms == 5 && w.to_ms == INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_are_moments),
		cmocka_unit_test(what_is_no_time_is_a_bound_all_the_same),
		cmocka_unit_test(an_open_side_stays_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
