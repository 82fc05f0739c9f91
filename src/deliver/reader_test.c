/* SPDX-License-Identifier: Apache-2.0 */
/* What a reader gives, when it is called, and what it costs. */
#include "deliver/reader_world_test.h"

static void a_reader_gets_what_is_there_and_is_called_for_more(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct reader *old, *fresh;

	for (int i = 0; i < 10; i++)
		produce(w, t, 0, i);
	old = open_at(w, "t", &earliest);
	fresh = open_at(w, "t", &latest);
	assert_pulls(w, old, 0, 9);
	assert_pulls(w, fresh, 0, -1);
	assert_int_equal(w->calls, 0);
	produce(w, t, 0, 10);
	assert_int_equal(w->calls, 2);
	assert_pulls(w, old, 10, 10);
	assert_pulls(w, fresh, 10, 10);
	turn_loop(w);
	assert_int_equal(w->calls, 2);
	test_close(old);
	test_close(fresh);
}

static void a_thousand_readers_stand_behind_one_watch(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 4);
	static struct reader *readers[1000];
	struct hub_stats stats;

	for (int i = 0; i < 1000; i++) {
		readers[i] = open_at(w, "t", &latest);
		assert_pulls(w, readers[i], 0, -1);
	}
	hub_stats(w->hub, &stats);
	assert_int_equal(stats.watches, 4);
	assert_int_equal(stats.readers, 1000);
	produce_to(w, t, 0, 4, 7, slice_null(), -1);
	assert_int_equal(w->calls, 1000);
	for (int i = 0; i < 1000; i++) {
		int numbers[8], count;
		assert_int_equal(pull_all(w, readers[i], numbers, &count), READER_END);
		assert_int_equal(count, 4);
		test_close(readers[i]);
	}
	hub_stats(w->hub, &stats);
	assert_int_equal(stats.watches, 0);
	assert_int_equal(stats.readers, 0);
}

static void a_reader_is_small(void **state)
{
	struct world *w = *state;
	struct reader *r;

	(void)create(w, "t", 1);
	r = open_at(w, "t", &latest);
	assert_pulls(w, r, 0, -1);
	assert_null(r->extra);
	assert_null(r->fetch);
	assert_true(r->places == &r->one);
	assert_true(sizeof(struct reader) <= 224);
	assert_true(sizeof(struct reader_place) <= 64);
	test_close(r);
}

static void what_was_not_consumed_comes_again(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct reader_view view;
	struct reader *r;
	int numbers[64];

	for (int i = 0; i < 3; i++)
		produce_to(w, t, 0, 1, i, slice_null(), -1);
	r = open_at(w, "t", &earliest);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_BATCH);
	reader_view_release(&view);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_BATCH);
	assert_int_equal(view.from, 0);
	assert_int_equal(numbers_of(r, &view, numbers), view.next_offset);
	reader_consumed(r, 1);
	reader_view_release(&view);
	assert_false(reader_caught_up(r));
	assert_int_equal(cursor_of(w, r).places[0].offset, 1);
	assert_pulls(w, r, 1, 2);
	assert_true(reader_caught_up(r));
	test_close(r);
}

static void partitions_take_turns(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 3);
	struct reader_view view;
	struct reader *r;
	uint32_t seen[6];

	for (int i = 0; i < 20; i++)
		produce(w, t, 0, i);
	produce(w, t, 1, 100);
	produce(w, t, 2, 200);
	r = open_at(w, "t", &earliest);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(reader_next(r, 1, &view), READER_BATCH);
		seen[i] = view.number;
		reader_consumed(r, view.next_offset);
		reader_view_release(&view);
	}
	assert_int_equal(seen[0], 0);
	assert_int_equal(seen[1], 1);
	assert_int_equal(seen[2], 2);
	assert_int_equal(seen[3], 0);
	test_close(r);
}

static void a_topic_is_waited_for_and_grows_and_goes(void **state)
{
	struct world *w = *state;
	struct reader *r = open_at(w, "later", &latest);
	struct topic_config config = plain;
	struct topic *t;
	struct buf text;
	struct reader_view view;

	buf_init(&text, 100);
	assert_true(reader_waits(r));
	assert_pulls(w, r, 0, -1);
	assert_int_equal(reader_cursor(r, &text), 0);
	assert_true(slice_eq_str(buf_slice(&text), "earliest"));
	t = create(w, "later", 1);
	produce(w, t, 0, 1);
	assert_false(reader_waits(r));
	assert_true(reader_single(r));
	assert_pulls(w, r, 1, 1);
	config.partitions = 3;
	assert_int_equal(topics_world_change(w->log, w->topics, t, &config), 0);
	produce(w, t, 2, 2);
	assert_false(reader_single(r));
	assert_pulls(w, r, 2, 2);
	produce(w, t, 0, 3);
	assert_pulls(w, r, 3, 3);
	assert_int_equal(cursor_of(w, r).place_count, 3);
	w->calls = 0;
	assert_int_equal(topics_world_delete(w->log, w->topics, t), 0);
	while (w->calls == 0)
		await_turn(w);
	assert_int_equal(reader_next(r, 100, &view), ERR_UNKNOWN_TOPIC);
	test_close(r);
	buf_fini(&text);
}

static int64_t would_wait(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	(void)self;
	(void)fd;
	(void)bytes;
	(void)n;
	(void)at;
	return -EAGAIN;
}

static void cold_records_come_from_disk_without_waiting(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 2);
	struct reader_view view;
	struct reader *r;
	int numbers[4096], count;

	for (int i = 0; i < 50; i++)
		produce_to(w, t, 0, 2, i, slice_null(), -1);
	down(w);
	w->ops.pread_nowait = would_wait;
	up(w);
	r = open_at(w, "t", &earliest);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_WAIT);
	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	assert_int_equal(count, 100);
	test_close(r);
	/* Closed while the disk works: its read comes to nobody. */
	r = open_at(w, "t", &earliest);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_WAIT);
	test_close(r);
	r = open_at(w, "t", &earliest);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_WAIT);
	while (w->hub->fetches)
		await_turn(w);
	test_close(r);
	/* And the hub goes with one that nobody took. */
	r = open_at(w, "t", &earliest);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_WAIT);
	test_close(r);
}

static void close_victim(void *ctx, struct reader *r)
{
	struct world *w = ctx;

	w->calls++;
	test_close(r == w->victims[0] ? w->victims[1] : w->victims[0]);
	test_close(r);
}

static void a_reader_that_is_called_may_close_another(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct slice name = SLICE_LIT("t");
	struct reader_options o = options_for(w, &name, 1, &latest);

	o.on_ready = close_victim;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(test_open(w->hub, &o, &w->victims[i], NULL), 0);
		assert_pulls(w, w->victims[i], 0, -1);
	}
	produce(w, t, 0, 1);
	assert_int_equal(w->calls, 1);
	assert_int_equal(w->hub->stats.readers, 0);
	assert_int_equal(w->hub->stats.watches, 0);
}

static void a_poll_starts_no_watch_until_it_waits(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct slice name = SLICE_LIT("t");
	struct reader_options o = options_for(w, &name, 1, &earliest);
	struct reader *r;
	struct hub_stats stats;

	o.watch = false;
	assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
	assert_pulls(w, r, 0, -1);
	produce(w, t, 0, 0);
	hub_stats(w->hub, &stats);
	assert_int_equal(stats.watches, 0);
	assert_int_equal(w->calls, 0);
	assert_int_equal(reader_watch(r), 0);
	assert_pulls(w, r, 0, 0);
	hub_stats(w->hub, &stats);
	assert_int_equal(stats.watches, 1);
	produce(w, t, 0, 1);
	assert_int_equal(w->calls, 1);
	assert_pulls(w, r, 1, 1);
	test_close(r);
}

static void without_memory_an_opening_fails_whole(void **state)
{
	struct world *w = *state;
	struct slice names[2] = {SLICE_LIT("t"), SLICE_LIT("missing")};
	struct reader_options o = options_for(w, names, 2, &earliest);
	struct hub_stats stats;
	struct reader *r;
	int rc = ERR_NOMEM;

	(void)create(w, "t", 4);
	o.key = SLICE_LIT("k");
	for (uint64_t nth = 1; rc == ERR_NOMEM; nth++) {
		assert_true(nth < 20);
		mem_fail_at(nth);
		rc = test_open(w->hub, &o, &r, NULL);
		mem_fail_at(0);
		hub_stats(w->hub, &stats);
		assert_int_equal(stats.readers, rc == 0);
	}
	assert_int_equal(rc, 0);
	test_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_reader_gets_what_is_there_and_is_called_for_more),
		TEST(a_thousand_readers_stand_behind_one_watch),
		TEST(a_reader_is_small),
		TEST(what_was_not_consumed_comes_again),
		TEST(partitions_take_turns),
		TEST(a_topic_is_waited_for_and_grows_and_goes),
		TEST(cold_records_come_from_disk_without_waiting),
		TEST(a_reader_that_is_called_may_close_another),
		TEST(a_poll_starts_no_watch_until_it_waits),
		TEST(without_memory_an_opening_fails_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
