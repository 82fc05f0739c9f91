/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "connect/http/fields.h"

static void links_are_read(void **state)
{
	static const char *const rows[][2] = {
		{"<https://h/?p=2>; rel=\"next\"", "https://h/?p=2"},
		{"</a>; rel=prev, </b>; rel=next", "/b"},
		{"</a>; rel=\"last NEXT\"", "/a"},
		{"</a,b;c>;title=\"x, <y>; rel=next\" ; Rel = next", "/a,b;c"},
		{"</a>; rel=prev; rel=next, </b>; rel=\"next\"", "/b"}, /* the first rel of a link counts */
		{"</a>", NULL},
		{"</a>; rel=nextish", NULL},
		{"<no end; rel=next", NULL},
		{"", NULL},
		{"junk, </a>; rel=next", "/a"},
	};
	struct slice target;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool found = fields_link_next(slice_str(rows[i][0]), &target);

		assert_int_equal(found, rows[i][1] != NULL);
		if (found)
			assert_true(slice_eq_str(target, rows[i][1]));
	}
}

static void quotas_are_read(void **state)
{
	struct fields_quota q;

	(void)state;
	assert_true(fields_rate_limit(SLICE_LIT("\"default\";r=50;t=30"), &q));
	assert_int_equal(q.left, 50);
	assert_int_equal(q.reset_ms, 30000);
	assert_true(fields_rate_limit(SLICE_LIT("\"day\";r=900;t=80000, \"burst\";r=0;pk=:YQ==:;t=3"), &q));
	assert_int_equal(q.left, 0);
	assert_int_equal(q.reset_ms, 3000);
	assert_true(fields_rate_limit(SLICE_LIT("a;r=7"), &q));
	assert_int_equal(q.reset_ms, -1);
	assert_false(fields_rate_limit(SLICE_LIT("\"default\";t=30"), &q));
	/* Of two that are used up the later one, whichever stands first. */
	assert_true(fields_rate_limit(SLICE_LIT("a;r=0;t=60, b;r=0;t=3"), &q));
	assert_int_equal(q.reset_ms, 60000);
	assert_true(fields_rate_limit(SLICE_LIT("a;r=0;t=3, b;r=0;t=60"), &q));
	assert_int_equal(q.reset_ms, 60000);
	/* Drafts 3 to 7. */
	assert_true(fields_rate_limit(SLICE_LIT("limit=100, remaining=50,reset=30"), &q));
	assert_int_equal(q.left, 50);
	assert_int_equal(q.reset_ms, 30000);
	assert_true(fields_rate_limit(SLICE_LIT("limit=100;w=60, remaining=0"), &q));
	assert_int_equal(q.left, 0);
	assert_int_equal(q.reset_ms, -1);
	assert_false(fields_rate_limit(SLICE_LIT("limit=100, reset=50"), &q));
	/* A time of day where seconds from now belong: nobody waits half a century. */
	assert_true(fields_rate_limit(SLICE_LIT("a;r=0;t=1795282260"), &q));
	assert_int_equal(q.reset_ms, -1);
	assert_true(fields_rate_limit(SLICE_LIT("remaining=0, reset=1795282260"), &q));
	assert_int_equal(q.reset_ms, -1);
	assert_false(fields_rate_limit(SLICE_LIT("limit=100, remaining=many"), &q));
	assert_false(fields_rate_limit(slice_null(), &q));
}

static void old_habits_are_read(void **state)
{
	struct fields_quota q;

	(void)state;
	fields_rate_habit(SLICE_LIT(" 5 "), SLICE_LIT("30"), 1795282200250, &q);
	assert_int_equal(q.left, 5);
	assert_int_equal(q.reset_ms, 30000);
	fields_rate_habit(SLICE_LIT("0"), SLICE_LIT("1795282260"), 1795282200250, &q);
	assert_int_equal(q.reset_ms, 59750);
	fields_rate_habit(SLICE_LIT("0"), SLICE_LIT("1795282200000"), 1795282200250, &q);
	assert_int_equal(q.reset_ms, 0);
	fields_rate_habit(slice_null(), SLICE_LIT("soon"), 0, &q);
	assert_int_equal(q.left, -1);
	assert_int_equal(q.reset_ms, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links_are_read),
		cmocka_unit_test(quotas_are_read),
		cmocka_unit_test(old_habits_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
