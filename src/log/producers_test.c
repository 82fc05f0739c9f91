/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of producers in a commit, and their sequences: what enters, is a repeat, or is refused. */
#include "log/core.h"
#include "log/producers_world_test.h"

static void a_batch_is_stored_as_it_came_between_single_records(void **state)
{
	struct fixture *f = *state;
	struct log_record records[3];
	struct log_commit commit = {.records = records,
				    .record_count = 3,
				    .port = f->port,
				    .on_done = on_done};
	struct entered *all = new_entered(f);
	uint8_t batch[BATCH_BYTES], was[BATCH_BYTES];
	size_t bytes = make_batch(batch, &(struct wanted){.id = -1, .epoch = -1, .sequence = -1, .count = 5});
	struct log_view view;
	struct batch_head head;

	memcpy(was, batch, bytes);
	for (uint32_t i = 0; i < 3; i++)
		records[i] = (struct log_record){.partition = f->p,
						 .timestamp_ms = 7,
						 .value = SLICE_LIT("single")};
	records[1].value = slice_make(batch, bytes);
	records[1].batch_records = 5;
	all->commit = commit;
	assert_int_equal(log_world_enter(f->log, &all->commit), 0);
	settle(f);
	assert_int_equal(records[0].offset, 0);
	assert_int_equal(records[1].offset, 1);
	assert_int_equal(records[1].timestamp_ms, -1);
	assert_int_equal(records[2].offset, 6);
	for (int round = 0; round < 3; round++) {
		assert_int_equal(end(f), 7);
		assert_int_equal(log_read_wait(f->p, 3, 1, &view), LOG_READ_OK);
		assert_int_equal(batch_check(view.batches, &head), 0);
		assert_int_equal(head.base_offset, 1);
		assert_int_equal(head.count, 5);
		assert_int_equal(head.bytes, bytes);
		assert_memory_equal(view.batches.ptr + 8, was + 8,
				    bytes - 8); /* the base offset alone is new */
		assert_int_equal(view.next_offset, 6);
		blob_unref(view.blob);
		assert_int_equal(log_read_wait(f->p, 6, 1, &view), LOG_READ_OK);
		assert_int_equal(view.next_offset, 7);
		blob_unref(view.blob);
		if (round == 0)
			crash(f);
		else
			restart(f);
	}
}

static void where_the_log_gives_the_time_a_batch_bears_it(void **state)
{
	struct fixture *f = *state;
	struct log_view view;
	struct batch_head head;
	struct entered *e;
	int64_t first_ms;

	f->keep.append_time = true;
	partition_configure(f->p, &f->keep);
	e = enter(f, (struct wanted){.id = 9, .count = 3});
	settle(f);
	first_ms = e->record.timestamp_ms;
	assert_true(first_ms > 1000000);
	e = enter(f, (struct wanted){.id = 9, .sequence = 3});
	settle(f);
	assert_true(e->record.timestamp_ms >= first_ms);
	assert_int_equal(log_read_wait(f->p, 0, 1, &view), LOG_READ_OK);
	assert_int_equal(batch_check(view.batches, &head), 0);
	assert_int_equal(head.max_timestamp, first_ms);
	assert_true(head.attributes & BATCH_TIME_IS_APPEND);
	assert_int_equal(head.producer_id, 9);
	blob_unref(view.blob);
	/* A single record likewise. */
	e = new_entered(f);
	e->record = (struct log_record){.partition = f->p, .timestamp_ms = 5, .value = SLICE_LIT("x")};
	assert_int_equal(log_world_enter(f->log, &e->commit), 0);
	settle(f);
	assert_true(e->record.timestamp_ms >= first_ms);
	assert_int_equal(log_read_wait(f->p, 4, 1, &view), LOG_READ_OK);
	assert_int_equal(batch_check(view.batches, &head), 0);
	assert_true(head.attributes & BATCH_TIME_IS_APPEND);
	blob_unref(view.blob);
}

static void a_repeat_of_the_last_five_is_answered_and_others_are_refused(void **state)
{
	struct fixture *f = *state;
	int32_t sequence = 0;

	for (int i = 0; i < 7; i++, sequence += 10)
		assert_int_equal(put(f, (struct wanted){.id = 1, .sequence = sequence, .count = 10}),
				 sequence);
	for (int round = 0; round < 3; round++) {
		for (int32_t old = 0; old < 20; old += 10)
			assert_int_equal(verdict_of(f,
						    (struct wanted){.id = 1, .sequence = old, .count = 10}),
					 PRODUCER_OUT_OF_ORDER);
		for (int32_t old = 20; old < 70; old += 10)
			assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = old, .count = 10}),
					 old);
		/* Not the same batch: other bounds. */
		assert_int_equal(verdict_of(f, (struct wanted){.id = 1, .sequence = 60, .count = 9}),
				 PRODUCER_OUT_OF_ORDER);
		assert_int_equal(verdict_of(f, (struct wanted){.id = 1, .sequence = 71}),
				 PRODUCER_OUT_OF_ORDER);
		assert_int_equal(verdict_of(f, (struct wanted){.id = 1, .sequence = 70}), PRODUCER_NEXT);
		if (round == 0)
			crash(f);
		else
			restart(f);
	}
}

static void an_unknown_producer_may_begin_anywhere_and_a_new_epoch_at_zero(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, (struct wanted){.id = 4, .epoch = 2, .sequence = 700}), 0);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 4, .epoch = 3, .sequence = 701}),
			 PRODUCER_OUT_OF_ORDER);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 4, .epoch = 1, .sequence = 701}),
			 PRODUCER_OLD_EPOCH);
	assert_int_equal(put(f, (struct wanted){.id = 4, .epoch = 3}), 1);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 4, .epoch = 2, .sequence = 700}),
			 PRODUCER_OLD_EPOCH);
	assert_int_equal(offset_of(f, (struct wanted){.id = 4, .epoch = 3}), 1);
}

static void sequences_begin_again_at_zero_behind_the_highest(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, (struct wanted){.id = 5, .sequence = INT32_MAX - 1, .count = 3}), 0);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 5, .sequence = 2}), PRODUCER_OUT_OF_ORDER);
	assert_int_equal(put(f, (struct wanted){.id = 5, .sequence = 1}), 3);
	assert_int_equal(put(f, (struct wanted){.id = 6, .sequence = INT32_MAX}), 4);
	assert_int_equal(put(f, (struct wanted){.id = 6, .sequence = 0}), 5);
	crash(f);
	assert_int_equal(offset_of(f, (struct wanted){.id = 5, .sequence = INT32_MAX - 1, .count = 3}), 0);
}

static void on_waiter(void *ctx, struct seen_waiter *waiter)
{
	struct fixture *f = ctx;

	(void)waiter;
	f->woken++;
}

static void a_repeat_of_what_is_in_flight_waits_for_it(void **state)
{
	struct fixture *f = *state;
	struct wanted first = {.id = 2, .count = 4}, second = {.id = 2, .sequence = 4};
	struct log_waiter waiters[2];
	struct producer_answer answer;

	f->woken = 0;
	for (int i = 0; i < 2; i++)
		log_waiter_init(&waiters[i], f->port, on_waiter, f);
	(void)enter(f, first);
	(void)enter(f, second);
	assert_int_equal(ask(f, &first, &answer, &waiters[0]), PRODUCER_IN_FLIGHT);
	assert_int_equal(ask(f, &second, &answer, &waiters[1]), PRODUCER_IN_FLIGHT);
	log_port_run(f->port);
	assert_int_equal(f->woken, 0);
	settle(f);
	assert_int_equal(f->woken, 2);
	assert_int_equal(offset_of(f, first), 0);
	assert_int_equal(offset_of(f, second), 4);
}

/* The committer publishes while the next batch of the same producer is being entered. */
static void what_is_published_while_the_next_one_enters_leaves_its_place(void **state)
{
	struct fixture *f = *state;
	struct entered *second;

	(void)enter(f, (struct wanted){.id = 7, .sequence = 0});
	second = prepare(f, &(struct wanted){.id = 7, .sequence = 1});
	assert_int_equal(producers_reserve(&second->commit), 0);
	settle(f); /* the first */
	producers_note(&second->commit);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 7, .sequence = 0}), PRODUCER_REPEATED);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 7, .sequence = 1}), PRODUCER_IN_FLIGHT);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 7, .sequence = 2}), PRODUCER_NEXT);
}

/* Two batches, of which the second is refused: with others in flight, and with none. */
static void what_does_not_enter_leaves_no_trace(void **state)
{
	struct fixture *f = *state;
	const struct producer *pr;
	struct log_commit both;
	struct log_record records[2];

	for (int64_t id = 1; id <= 2; id++) {
		if (id == 1)
			(void)enter(f, (struct wanted){.id = id, .sequence = 0});
		both = prepare(f, &(struct wanted){.id = id, .sequence = id == 1})->commit;
		records[0] = both.records[0];
		records[1] = prepare(f, &(struct wanted){.id = 1, .sequence = 9})->record;
		both.records = records;
		both.record_count = 2;
		assert_int_equal(producers_reserve(&both), ERR_CONFLICT);
	}
	assert_null(producer_table_find(&f->p->producers, 2));
	pr = producer_table_find(&f->p->producers, 1);
	assert_int_equal(pr->flight->count, 1);
	settle(f);
	assert_null(pr->flight);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 1, .sequence = 1}), PRODUCER_NEXT);
}

/* What was not asked for, and is not right, does not enter, and nothing of its commit is left. */
static void a_batch_that_is_not_next_does_not_enter(void **state)
{
	struct fixture *f = *state;
	struct log_record records[2];
	struct entered *e = new_entered(f), *other = prepare(f, &(struct wanted){.id = 31});
	struct log_stats stats;

	(void)put(f, (struct wanted){.id = 30});
	records[0] = other->record;
	records[1] = prepare(f, &(struct wanted){.id = 30, .sequence = 7})->record;
	e->commit.records = records;
	e->commit.record_count = 2;
	assert_int_equal(log_world_enter(f->log, &e->commit), ERR_CONFLICT);
	settle(f);
	assert_int_equal(end(f), 1);
	log_stats(f->log, &stats);
	assert_int_equal(stats.producers, 1);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 31, .sequence = 5}), PRODUCER_NEXT);
	/* A batch whose head is not that of its bytes. */
	other->record.batch_records = 2;
	assert_int_equal(log_world_enter(f->log, &other->commit), ERR_MALFORMED);
}

static int fence(struct fixture *f, int64_t id, int16_t epoch)
{
	log_enter_begin(f->log);
	int err = producer_fence(f->log, id, epoch);
	log_enter_end(f->log);
	return err;
}

static void who_was_fenced_is_refused_in_every_partition(void **state)
{
	struct fixture *f = *state;

	(void)put(f, (struct wanted){.id = 8, .epoch = 1});
	assert_int_equal(fence(f, 8, 2), 0);
	assert_int_equal(fence(f, 77, 2), 0);
	assert_int_equal(fence(f, 77, 1), 0); /* never lower */
	assert_int_equal(verdict_of(f, (struct wanted){.id = 8, .epoch = 1, .sequence = 1}),
			 PRODUCER_OLD_EPOCH);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 8, .epoch = 1}), PRODUCER_OLD_EPOCH);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 8, .epoch = 2}), PRODUCER_NEXT);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 77, .epoch = 1}), PRODUCER_OLD_EPOCH);
	log_enter_begin(f->log);
	producer_unfence(f->log, 77);
	log_enter_end(f->log);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 77, .epoch = 1}), PRODUCER_NEXT);
}

static void many_producers_are_told_apart(void **state)
{
	struct fixture *f = *state;
	struct log_stats stats;

	for (int64_t id = 0; id < 500; id++)
		assert_int_equal(put(f, (struct wanted){.id = id, .sequence = (int32_t)id}), id);
	restart(f);
	for (int64_t id = 0; id < 500; id++)
		assert_int_equal(offset_of(f, (struct wanted){.id = id, .sequence = (int32_t)id}), id);
	assert_int_equal(partition_producers(f->p, NULL, 0), 500);
	log_stats(f->log, &stats);
	assert_int_equal(stats.producers, 500);
}

static void more_producers_than_are_remembered_are_refused_for_now(void **state)
{
	struct fixture *f = *state;

	stop(f);
	f->options.producers_max = 4;
	open_log(f);
	for (int64_t id = 0; id < 4; id++)
		(void)put(f, (struct wanted){.id = id});
	assert_int_equal(verdict_of(f, (struct wanted){.id = 4}), ERR_OVERLOADED);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 3, .sequence = 1}), PRODUCER_NEXT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_batch_is_stored_as_it_came_between_single_records),
		TEST(where_the_log_gives_the_time_a_batch_bears_it),
		TEST(a_repeat_of_the_last_five_is_answered_and_others_are_refused),
		TEST(an_unknown_producer_may_begin_anywhere_and_a_new_epoch_at_zero),
		TEST(sequences_begin_again_at_zero_behind_the_highest),
		TEST(a_repeat_of_what_is_in_flight_waits_for_it),
		TEST(what_is_published_while_the_next_one_enters_leaves_its_place),
		TEST(what_does_not_enter_leaves_no_trace),
		TEST(a_batch_that_is_not_next_does_not_enter),
		TEST(who_was_fenced_is_refused_in_every_partition),
		TEST(many_producers_are_told_apart),
		TEST(more_producers_than_are_remembered_are_refused_for_now),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
