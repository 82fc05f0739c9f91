/* SPDX-License-Identifier: Apache-2.0 */
/* Boxes are used again, few of them, and none that is large; a crowd is counted and forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "connect/runner_box.h"

static struct box *take_box(struct box_list *spare, struct runner_boxes *boxes)
{
	struct box *b = box_take(spare, boxes);

	assert_non_null(b);
	return b;
}

static struct runner_boxes *make_boxes(void)
{
	struct runner_boxes *boxes = runner_boxes_new();

	assert_non_null(boxes);
	return boxes;
}

static void those_used_last_are_used_first(void **state)
{
	struct box_list spare = {0};
	struct box *first = take_box(&spare, NULL), *second = take_box(&spare, NULL);

	(void)state;
	assert_ptr_not_equal(first, second);
	box_give_back(first, &spare, 2, NULL);
	box_give_back(second, &spare, 2, NULL);
	assert_int_equal(spare.count, 2);
	assert_ptr_equal(take_box(&spare, NULL), second);
	assert_ptr_equal(take_box(&spare, NULL), first);
	assert_int_equal(spare.count, 0);
	box_give_back(first, &spare, 0, NULL);
	box_give_back(second, &spare, 0, NULL);
}

static void the_loop_keeps_a_few_for_whoever_comes(void **state)
{
	struct runner_boxes *boxes = make_boxes();
	struct box_list spare = {0}, other = {0};
	struct box *taken[9];
	uint32_t kept = 0;

	(void)state;
	for (int i = 0; i < 9; i++)
		taken[i] = take_box(&spare, boxes);
	for (int i = 0; i < 9; i++)
		box_give_back(taken[i], &spare, 3, boxes);
	assert_int_equal(spare.count, 3);
	box_list_empty(&spare, boxes);
	assert_null(spare.first);
	for (int i = 0; i < 9; i++) {
		uint64_t before = mem_calls();
		taken[i] = take_box(&other, boxes);
		kept += mem_calls() == before;
	}
	assert_int_equal(kept, 4);
	for (int i = 0; i < 9; i++)
		box_give_back(taken[i], &other, 0, boxes);
	runner_boxes_free(boxes);
}

static void what_is_large_is_given_back(void **state)
{
	struct runner_boxes *boxes = make_boxes();
	struct box_list spare = {0};
	struct box *b = take_box(&spare, boxes);
	uint64_t before;

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_non_null(source_alloc(&b->batch, 200u << 10));
	box_give_back(b, &spare, 0, boxes);
	before = mem_calls();
	b = take_box(&spare, boxes);
	assert_true(mem_calls() > before);
	box_give_back(b, &spare, 0, boxes);
	before = mem_calls();
	b = take_box(&spare, boxes);
	assert_int_equal(mem_calls(), before);
	box_give_back(b, &spare, 0, NULL);
	runner_boxes_free(boxes);
}

static void a_box_comes_back_empty(void **state)
{
	struct box_list spare = {0};
	struct box *b = take_box(&spare, NULL);
	struct source_record r = SOURCE_RECORD_INIT;
	_Atomic int64_t held = 0;

	(void)state;
	r.value = SLICE_LIT("x");
	assert_int_equal(source_add(&b->batch, &r), 0);
	assert_int_equal(source_mark(&b->batch, 1, SLICE_LIT("place")), 0);
	assert_int_equal(source_checkpoint_copy(&b->checkpoint,
						(struct source_checkpoint){SLICE_LIT("place"), 1}),
			 0);
	box_count_held(b, source_batch_held(&b->batch), &held);
	assert_true(atomic_load(&held) > 0);
	box_count_held(b, 0, &held);
	box_give_back(b, &spare, 1, NULL);
	assert_int_equal(atomic_load(&held), 0);
	assert_ptr_equal(take_box(&spare, NULL), b);
	assert_int_equal(b->batch.record_count, 0);
	assert_false(b->batch.inner->marked);
	assert_null(b->checkpoint.bytes.ptr);
	assert_null(b->part);
	box_give_back(b, &spare, 0, NULL);
}

static void no_memory_gives_no_box(void **state)
{
	struct box_list spare = {0};
	struct box *b = NULL;

	(void)state;
	for (uint64_t nth = 1; !b; nth++) {
		mem_fail_at(nth);
		b = box_take(&spare, NULL);
		mem_fail_at(0);
		assert_true(nth < 100);
	}
	box_give_back(b, &spare, 0, NULL);
}

static void a_crowd_passes(void **state)
{
	struct runner_boxes *boxes = make_boxes();
	int64_t now = 10 * BOXES_CROWD_NS;

	(void)state;
	assert_false(runner_boxes_crowded(NULL, now));
	assert_false(runner_boxes_crowded(boxes, now));
	for (uint32_t i = 0; i < BOXES_CROWD; i++) {
		assert_false(runner_boxes_crowded(boxes, now));
		runner_boxes_began(boxes);
	}
	assert_true(runner_boxes_crowded(boxes, now));
	runner_boxes_ended(boxes, now); /* one of them: there is room for another */
	assert_false(runner_boxes_crowded(boxes, now + 1));
	runner_boxes_began(boxes);
	assert_true(runner_boxes_crowded(boxes, now + BOXES_CROWD_NS - 1));
	/* Those that hang count no more, neither then nor when they end. */
	now += BOXES_CROWD_NS;
	assert_false(runner_boxes_crowded(boxes, now));
	for (uint32_t i = 0; i < BOXES_CROWD; i++)
		runner_boxes_began(boxes);
	runner_boxes_ended(boxes, now - 1);
	assert_true(runner_boxes_crowded(boxes, now));
	runner_boxes_free(boxes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(those_used_last_are_used_first),
		cmocka_unit_test(the_loop_keeps_a_few_for_whoever_comes),
		cmocka_unit_test(what_is_large_is_given_back),
		cmocka_unit_test(a_box_comes_back_empty),
		cmocka_unit_test(no_memory_gives_no_box),
		cmocka_unit_test(a_crowd_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
