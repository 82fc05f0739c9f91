/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rand.h"
#include "log/marks.h"

static struct mark at(uint32_t offset, uint32_t position)
{
	return (struct mark){.offset = offset, .position = position};
}

static void a_stretch_that_grows_is_given_out_from_mark_to_mark(void **state)
{
	struct marks m = {0};
	struct mark from, to;
	uint32_t next;

	(void)state;
	assert_false(marks_find(&m, 0, UINT32_MAX, 1 << 20, &from, &to, &next));
	assert_int_equal(next, UINT32_MAX);
	for (uint32_t i = 0; i < 100; i++)
		marks_note(&m, at(i, i * 10000), at(i + 1, (i + 1) * 10000));
	assert_int_equal(m.count, 100 / 7 + 2); /* every 70 000 bytes, the beginning and the end */
	assert_true(marks_find(&m, 0, UINT32_MAX, 200000, &from, &to, &next));
	assert_int_equal(from.position, 0);
	assert_int_equal(to.offset, 14);
	assert_int_equal(to.position, 140000);
	/* Between two marks it says where the next one is. */
	assert_false(marks_find(&m, 5, UINT32_MAX, 200000, &from, &to, &next));
	assert_int_equal(next, 7);
	/* Not behind the limit, and not more than fits. */
	assert_true(marks_find(&m, 7, 20, 1 << 20, &from, &to, &next));
	assert_int_equal(to.offset, 14);
	assert_false(marks_find(&m, 7, 13, 1 << 20, &from, &to, &next));
	assert_false(marks_find(&m, 7, UINT32_MAX, 69999, &from, &to, &next));
	assert_false(marks_find(&m, 100, UINT32_MAX, 1 << 20, &from, &to, &next));
	marks_fini(&m);
}

static void what_is_apart_begins_anew(void **state)
{
	struct marks m = {0};
	struct mark from, to;
	uint32_t next;

	(void)state;
	marks_note(&m, at(10, 100000), at(20, 300000));
	marks_note(&m, at(10, 100000), at(12, 150000)); /* known */
	assert_int_equal(m.count, 2);
	assert_false(marks_find(&m, 0, UINT32_MAX, 1 << 20, &from, &to, &next));
	assert_int_equal(next, 10);
	marks_note(&m, at(30, 500000), at(40, 600000));
	assert_false(marks_find(&m, 10, UINT32_MAX, 1 << 20, &from, &to, &next));
	assert_true(marks_find(&m, 30, UINT32_MAX, 1 << 20, &from, &to, &next));
	assert_int_equal(to.position, 600000);
	marks_fini(&m);
}

/* Whatever is noted, what is given out begins and ends between two batches and is all noted. */
static void nothing_is_given_out_that_was_not_noted(void **state)
{
	enum { BATCHES = 300 };
	uint32_t positions[BATCHES + 1] = {0};
	struct rand r;

	(void)state;
	rand_seed(&r, 5);
	for (int i = 0; i < BATCHES; i++)
		positions[i + 1] = positions[i] + 61 + (uint32_t)rand_below(&r, 40000);
	for (int round = 0; round < 200; round++) {
		bool noted[BATCHES] = {0};
		struct marks m = {0};
		for (int i = 0; i < 10; i++) {
			uint32_t b = (uint32_t)rand_below(&r, BATCHES), n = (uint32_t)rand_below(&r, 60);
			for (; b < BATCHES && n-- > 0; b++) {
				noted[b] = true;
				marks_note(&m, at(b, positions[b]), at(b + 1, positions[b + 1]));
			}
		}
		for (uint32_t offset = 0; offset < BATCHES; offset++) {
			size_t most = rand_below(&r, 500000);
			uint32_t limit = (uint32_t)rand_below(&r, BATCHES + 1), next;
			struct mark from, to;
			if (!marks_find(&m, offset, limit, most, &from, &to, &next))
				continue;
			assert_int_equal(from.offset, offset);
			assert_true(to.offset > offset && to.offset <= limit);
			assert_int_equal(from.position, positions[offset]);
			assert_int_equal(to.position, positions[to.offset]);
			assert_true(to.position - from.position <= most);
			for (uint32_t b = offset; b < to.offset; b++)
				assert_true(noted[b]);
		}
		marks_fini(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stretch_that_grows_is_given_out_from_mark_to_mark),
		cmocka_unit_test(what_is_apart_begins_anew),
		cmocka_unit_test(nothing_is_given_out_that_was_not_noted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
