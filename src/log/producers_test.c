/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "log/log_world_test.h"
#include "log/backup.h"
#include "log/log.h"
#include "log/producer_table.h"
#include "log/producers.h"
#include "log/verify.h"
#include "proto/batch/batch.h"
#include "sys/test_dir.h"

static const struct topic_id topic_a = {{1}};

#define BATCH_BYTES 1024u
#define COMMITS_MAX 4096u

struct entered {
	struct log_commit commit;
	struct log_record record;
	uint8_t batch[BATCH_BYTES];
	bool done;
};

struct fixture {
	char dir[TEST_DIR_BYTES];
	struct log_options options;
	struct partition_options keep;
	struct log *log;
	struct log_port *port;
	struct partition *p;
	struct entered *entered[COMMITS_MAX];
	uint32_t entered_count;
	uint32_t woken;
};

static void on_wake(void *ctx)
{
	(void)ctx;
}

static void begin_log(struct fixture *f)
{
	assert_int_equal(partition_open(f->log, &topic_a, 0, &f->keep, &f->p), 0);
	assert_int_equal(log_start(f->log, NULL), 0);
}

static void open_log(struct fixture *f)
{
	f->options.sys = sys_kernel();
	f->options.dir = f->dir;
	f->options.steps = true;
	log_world_open(&f->options, on_wake, f, &f->log, &f->port);
	begin_log(f);
}

/* What has entered becomes durable, and is told. */
static void settle(struct fixture *f)
{
	while (log_step(f->log, LOG_STEP_COMMIT))
		;
	log_port_run(f->port);
}

static void free_entered(struct fixture *f)
{
	for (uint32_t i = 0; i < f->entered_count; i++)
		free(f->entered[i]);
	f->entered_count = 0;
}

/* As after a kill: what was durable is in the journal, and nothing was written behind it. */
static void crash(struct fixture *f)
{
	settle(f);
	log_close(f->log);
	free_entered(f);
	open_log(f);
}

static void stop(struct fixture *f)
{
	log_world_close(&f->log, f->port);
	free_entered(f);
}

static void restart(struct fixture *f)
{
	stop(f);
	open_log(f);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || !test_dir_make(f->dir, "producers-test"))
		return -1;
	f->options.journal_file_bytes = 4u << 20;
	f->options.segment_bytes = 1u << 20;
	f->keep = (struct partition_options){.retention_ms = -1, .retention_bytes = -1};
	*state = f;
	open_log(f);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	stop(f);
	(void)test_dir_remove(f->dir);
	free(f);
	return 0;
}

/* ---- batches ---- */

struct wanted {
	int64_t id;
	int16_t epoch;
	int32_t sequence;
	uint32_t count; /* 0: 1 */
	bool transactional;
	int64_t timestamp_ms;
};

static size_t make_batch(uint8_t *to, const struct wanted *w)
{
	uint32_t count = w->count ? w->count : 1;
	struct batch_build b;
	struct batch_head head;

	batch_build_start(&b, to, 0);
	for (uint32_t i = 0; i < count; i++)
		batch_build_put(&b, &(struct batch_record){.timestamp = 1000 + i, .value = SLICE_LIT("v")});
	assert_int_equal(batch_head_read(batch_build_finish(&b), &head), 0);
	head.producer_id = w->id;
	head.producer_epoch = w->epoch;
	head.base_sequence = w->sequence;
	head.attributes = w->transactional ? BATCH_IS_TRANSACTIONAL : 0;
	batch_head_put(to, &head);
	return head.bytes;
}

static void on_done(struct log_commit *c)
{
	((struct entered *)c)->done = true;
}

static struct entered *new_entered(struct fixture *f)
{
	struct entered *e = calloc(1, sizeof(*e));

	assert_true(e && f->entered_count < COMMITS_MAX);
	f->entered[f->entered_count++] = e;
	e->commit.records = &e->record;
	e->commit.record_count = 1;
	e->commit.port = f->port;
	e->commit.on_done = on_done;
	return e;
}

static struct entered *prepare(struct fixture *f, const struct wanted *w)
{
	struct entered *e = new_entered(f);
	size_t bytes = make_batch(e->batch, w);

	assert_true(bytes <= BATCH_BYTES);
	e->record = (struct log_record){.partition = f->p,
					.timestamp_ms = 5,
					.value = slice_make(e->batch, bytes),
					.batch_records = w->count ? w->count : 1};
	return e;
}

static int ask(struct fixture *f, const struct wanted *w, struct producer_answer *answer,
	       struct log_waiter *waiter)
{
	uint8_t bytes[BATCH_BYTES];
	struct batch_head head;
	int verdict;

	assert_int_equal(batch_head_read(slice_make(bytes, make_batch(bytes, w)), &head), 0);
	log_enter_begin(f->log);
	verdict = producer_check(f->p, &head, answer, waiter);
	log_enter_end(f->log);
	return verdict;
}

static int verdict_of(struct fixture *f, struct wanted w)
{
	struct producer_answer answer;

	return ask(f, &w, &answer, NULL);
}

static struct entered *enter(struct fixture *f, struct wanted w)
{
	struct entered *e = prepare(f, &w);

	assert_int_equal(verdict_of(f, w), PRODUCER_NEXT);
	log_enter_begin(f->log);
	assert_int_equal(log_enter(f->log, &e->commit), 0);
	log_enter_end(f->log);
	return e;
}

static int64_t put(struct fixture *f, struct wanted w)
{
	struct entered *e = enter(f, w);

	settle(f);
	assert_true(e->done);
	return e->record.offset;
}

static int64_t mark(struct fixture *f, int64_t id, int16_t epoch, bool commit)
{
	struct entered *e = new_entered(f);
	struct batch_marker m = {.producer_id = id,
				 .producer_epoch = epoch,
				 .commit = commit,
				 .coordinator_epoch = 3};

	(void)batch_put_marker(e->batch, &m);
	e->record = (struct log_record){.partition = f->p,
					.value = slice_make(e->batch, BATCH_MARKER_BYTES),
					.batch_records = 1};
	log_enter_begin(f->log);
	assert_int_equal(log_enter(f->log, &e->commit), 0);
	log_enter_end(f->log);
	settle(f);
	return e->record.offset;
}

static int64_t offset_of(struct fixture *f, struct wanted w)
{
	struct producer_answer answer;

	assert_int_equal(ask(f, &w, &answer, NULL), PRODUCER_REPEATED);
	return answer.offset;
}

static int64_t stable(struct fixture *f)
{
	struct partition_range range;

	partition_range(f->p, &range);
	return range.stable;
}

static int64_t end(struct fixture *f)
{
	struct partition_range range;

	partition_range(f->p, &range);
	return range.end;
}

static bool hides(struct fixture *f, int64_t offset)
{
	struct log_view view;
	struct batch_head head;
	bool result;

	assert_int_equal(log_read_wait(f->p, offset, 1, &view), LOG_READ_OK);
	assert_int_equal(batch_check(view.batches, &head), 0);
	assert_int_equal(head.base_offset, offset);
	result = partition_hides(f->p, &head);
	blob_unref(view.blob);
	return result;
}

/* ---- whole batches in a commit ---- */

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
	log_enter_begin(f->log);
	assert_int_equal(log_enter(f->log, &all->commit), 0);
	log_enter_end(f->log);
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
	log_enter_begin(f->log);
	assert_int_equal(log_enter(f->log, &e->commit), 0);
	log_enter_end(f->log);
	settle(f);
	assert_true(e->record.timestamp_ms >= first_ms);
	assert_int_equal(log_read_wait(f->p, 4, 1, &view), LOG_READ_OK);
	assert_int_equal(batch_check(view.batches, &head), 0);
	assert_true(head.attributes & BATCH_TIME_IS_APPEND);
	blob_unref(view.blob);
}

/* ---- sequences ---- */

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
	log_enter_begin(f->log);
	assert_int_equal(log_enter(f->log, &e->commit), ERR_CONFLICT);
	log_enter_end(f->log);
	settle(f);
	assert_int_equal(end(f), 1);
	log_stats(f->log, &stats);
	assert_int_equal(stats.producers, 1);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 31, .sequence = 5}), PRODUCER_NEXT);
	/* A batch whose head is not that of its bytes. */
	other->record.batch_records = 2;
	log_enter_begin(f->log);
	assert_int_equal(log_enter(f->log, &other->commit), ERR_MALFORMED);
	log_enter_end(f->log);
}

static void who_was_fenced_is_refused_in_every_partition(void **state)
{
	struct fixture *f = *state;

	(void)put(f, (struct wanted){.id = 8, .epoch = 1});
	log_enter_begin(f->log);
	assert_int_equal(producer_fence(f->log, 8, 2), 0);
	assert_int_equal(producer_fence(f->log, 77, 2), 0);
	assert_int_equal(producer_fence(f->log, 77, 1), 0); /* never lower */
	log_enter_end(f->log);
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

/* ---- transactions ---- */

static struct wanted in_txn(int64_t id, int32_t sequence)
{
	return (struct wanted){.id = id, .sequence = sequence, .transactional = true};
}

static void the_last_stable_offset_waits_for_the_oldest_open_transaction(void **state)
{
	struct fixture *f = *state;
	struct producer_answer answer;
	struct producer_info open[4];
	struct wanted next = in_txn(1, 0);

	assert_int_equal(put(f, (struct wanted){.id = -1, .epoch = -1, .sequence = -1}), 0);
	assert_int_equal(stable(f), 1);
	assert_int_equal(ask(f, &next, &answer, NULL), PRODUCER_NEXT);
	assert_true(answer.opens);
	assert_int_equal(put(f, next), 1);
	next.sequence = 1;
	assert_int_equal(ask(f, &next, &answer, NULL), PRODUCER_NEXT);
	assert_false(answer.opens);
	assert_int_equal(put(f, in_txn(2, 0)), 2);
	assert_int_equal(put(f, next), 3);
	assert_int_equal(stable(f), 1);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 1, .sequence = 2}), PRODUCER_BAD_STATE);
	assert_int_equal(partition_open_transactions(f->p, open, 4), 2);
	assert_int_equal(open[0].producer_id, 1);
	assert_int_equal(open[0].open_offset, 1);
	assert_int_equal(open[0].last_sequence, 1);
	assert_int_equal(open[1].open_offset, 2);
	for (int round = 0; round < 2; round++) {
		if (round == 0)
			crash(f);
		else
			restart(f);
		assert_int_equal(stable(f), 1);
		assert_int_equal(partition_open_transactions(f->p, open, 4), 2);
		assert_int_equal(open[1].open_offset, 2);
	}
	assert_int_equal(mark(f, 1, 0, true), 4);
	assert_int_equal(stable(f), 2);
	assert_int_equal(mark(f, 2, 0, false), 5);
	assert_int_equal(stable(f), 6);
	assert_int_equal(partition_open_transactions(f->p, open, 4), 0);
	assert_int_equal(partition_producers(f->p, open, 4), 2);
	assert_int_equal(open[0].coordinator_epoch, 3);
}

static void what_was_aborted_and_all_markers_are_hidden(void **state)
{
	struct fixture *f = *state;
	struct aborted_txn txns[4];

	assert_int_equal(put(f, in_txn(1, 0)), 0);
	assert_int_equal(put(f, in_txn(2, 0)), 1);
	assert_int_equal(put(f, (struct wanted){.id = 3}), 2);
	assert_int_equal(put(f, in_txn(1, 1)), 3);
	assert_int_equal(mark(f, 1, 0, false), 4);
	assert_int_equal(mark(f, 2, 0, true), 5);
	assert_int_equal(put(f, in_txn(1, 2)), 6);
	assert_int_equal(mark(f, 1, 0, true), 7);
	assert_int_equal(put(f, in_txn(2, 1)), 8);
	assert_int_equal(mark(f, 2, 1, false), 9);  /* with the next epoch, as a coordinator that gives up */
	assert_int_equal(mark(f, 2, 1, false), 10); /* ends nothing */
	for (int round = 0; round < 4; round++) {
		static const bool hidden[] = {true,  false, false, true, true, true,
					      false, true,  true,  true, true};
		for (int64_t at = 0; at < 11; at++)
			assert_int_equal(hides(f, at), hidden[at]);
		assert_int_equal(partition_aborted(f->p, 0, 11, txns, 4), 2);
		assert_true(txns[0].producer_id == 1 && txns[0].first == 0 && txns[0].last == 4);
		assert_true(txns[1].producer_id == 2 && txns[1].first == 8 && txns[1].last == 9);
		assert_int_equal(partition_aborted(f->p, 5, 11, txns, 4), 1);
		assert_int_equal(txns[0].first, 8);
		assert_int_equal(partition_aborted(f->p, 0, 8, txns, 4), 1);
		assert_int_equal(partition_aborted(f->p, 5, 8, txns, 4), 0);
		assert_int_equal(partition_aborted(f->p, 0, 11, txns, 0), 2);
		assert_int_equal(verdict_of(f, in_txn(2, 2)), PRODUCER_OLD_EPOCH);
		assert_int_equal(verdict_of(f, (struct wanted){.id = 2, .epoch = 1, .sequence = 2}),
				 PRODUCER_OUT_OF_ORDER);
		assert_int_equal(verdict_of(f, (struct wanted){.id = 2, .epoch = 1}), PRODUCER_NEXT);
		if (round == 0)
			crash(f);
		else
			restart(f);
	}
}

/* Entered and not yet durable: what comes behind is decided by it already. */
static void a_marker_in_flight_ends_the_transaction_for_who_comes_behind(void **state)
{
	struct fixture *f = *state;
	struct entered *e = new_entered(f);
	struct batch_marker m = {.producer_id = 1, .commit = true};
	struct producer_answer answer;
	struct wanted next = in_txn(1, 1);

	(void)enter(f, in_txn(1, 0));
	(void)batch_put_marker(e->batch, &m);
	e->record = (struct log_record){.partition = f->p,
					.value = slice_make(e->batch, BATCH_MARKER_BYTES),
					.batch_records = 1};
	log_enter_begin(f->log);
	assert_int_equal(log_enter(f->log, &e->commit), 0);
	log_enter_end(f->log);
	assert_int_equal(ask(f, &next, &answer, NULL), PRODUCER_NEXT);
	assert_true(answer.opens);
	(void)enter(f, next);
	settle(f);
	assert_int_equal(stable(f), 2);
	assert_int_equal(end(f), 3);
}

/* ---- over a restart ---- */

/* The one file that there is: its path, or "" */
static void find_file(struct fixture *f, char *path, size_t size)
{
	char pattern[TEST_DIR_BYTES + 40];
	glob_t found = {0};

	(void)snprintf(pattern, sizeof(pattern), "%s/PRODUCERS.*", f->dir);
	path[0] = '\0';
	if (glob(pattern, 0, NULL, &found) == 0) {
		assert_int_equal(found.gl_pathc, 1);
		(void)snprintf(path, size, "%s", found.gl_pathv[0]);
	}
	globfree(&found);
}

static void a_checkpoint_takes_along_what_is_known_in_one_file(void **state)
{
	struct fixture *f = *state;
	char first[TEST_DIR_BYTES + 60], second[TEST_DIR_BYTES + 60];

	(void)put(f, (struct wanted){.id = -1, .epoch = -1, .sequence = -1});
	restart(f);
	find_file(f, first, sizeof(first));
	assert_string_equal(first, ""); /* who has no such producers has no such file */
	(void)put(f, (struct wanted){.id = 1});
	restart(f);
	find_file(f, first, sizeof(first));
	assert_string_not_equal(first, "");
	(void)put(f, (struct wanted){.id = -1, .epoch = -1, .sequence = -1});
	restart(f);
	find_file(f, second, sizeof(second));
	assert_string_equal(first, second); /* nothing came that it would have to hold */
	(void)put(f, (struct wanted){.id = 1, .sequence = 1});
	restart(f);
	find_file(f, second, sizeof(second));
	assert_string_not_equal(first, second);
	assert_int_equal(offset_of(f, (struct wanted){.id = 1}), 1);
	assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = 1}), 3);
}

/* What entered between the look at the last durable group and the look at the partition is in both. */
static void a_batch_is_not_counted_twice_by_checkpoint_and_journal(void **state)
{
	struct fixture *f = *state;
	struct fault fault = {0};

	for (int32_t i = 0; i < 3; i++)
		(void)put(f, (struct wanted){.id = 1, .sequence = i});
	assert_int_equal(log_checkpoint(f->log, &fault), 0);
	(void)put(f, in_txn(2, 0));
	for (int32_t i = 3; i < 6; i++)
		(void)put(f, (struct wanted){.id = 1, .sequence = i});
	(void)mark(f, 2, 0, false);
	crash(f);
	crash(f);
	for (int32_t i = 1; i < 3; i++)
		assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = i}), i);
	for (int32_t i = 3; i < 6; i++)
		assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = i}), i + 1);
	assert_int_equal(partition_aborted(f->p, 0, 100, NULL, 0), 1);
	assert_int_equal(stable(f), 8);
}

/* A group that became durable while the checkpoint was being made is in the file and in the journal. */
static void what_the_file_has_is_not_taken_from_the_journal_again(void **state)
{
	static const struct hash_key key = {1, 2};
	struct producer_counts counts = {0};
	struct producer_table table;
	uint8_t bytes[BATCH_BYTES];
	struct batch_head head;
	struct slice batch;

	(void)state;
	producer_table_init(&table, &counts, &key);
	table.from = 11;
	batch = slice_make(bytes, make_batch(bytes, &(struct wanted){.id = 3, .transactional = true}));
	for (int64_t at = 10; at < 12; at++) {
		batch_place(bytes, at);
		assert_int_equal(batch_head_read(batch, &head), 0);
		assert_int_equal(producer_table_apply(&table, &head, batch, 1), 0);
		assert_int_equal(table.count, at == 11);
	}
	assert_int_equal(table.open_first->state.open_offset, 11);
	assert_int_equal(table.open_first->state.batch_count, 1);
	producer_table_fini(&table);
}

static void damage(const char *path, bool remove)
{
	FILE *file = remove ? NULL : fopen(path, "r+b");

	if (remove) {
		assert_int_equal(unlink(path), 0);
		return;
	}
	assert_non_null(file);
	assert_int_equal(fseek(file, 40, SEEK_SET), 0);
	assert_int_equal(fputc(0x55, file), 0x55);
	assert_int_equal(fclose(file), 0);
}

static void a_file_that_is_gone_or_broken_is_made_anew_from_the_segments(void **state)
{
	struct fixture *f = *state;
	char path[TEST_DIR_BYTES + 60];

	for (int32_t i = 0; i < 7; i++)
		(void)put(f, (struct wanted){.id = 1, .sequence = i});
	(void)put(f, in_txn(2, 0));
	(void)mark(f, 2, 0, false);
	(void)put(f, in_txn(3, 0));
	for (int round = 0; round < 2; round++) {
		stop(f);
		find_file(f, path, sizeof(path));
		damage(path, round);
		open_log(f);
		assert_int_equal(verdict_of(f, (struct wanted){.id = 1, .sequence = 1}),
				 PRODUCER_OUT_OF_ORDER);
		for (int32_t i = 2; i < 7; i++)
			assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = i}), i);
		assert_int_equal(partition_aborted(f->p, 0, 100, NULL, 0), 1);
		assert_int_equal(stable(f), 9);
	}
	restart(f);
	find_file(f, path, sizeof(path));
	assert_string_not_equal(path, "");
	assert_int_equal(stable(f), 9);
}

/* ---- a disk whose n-th read of a segment fails ---- */

#define FDS 1024

static struct {
	bool is_segment[FDS];
	uint32_t reads, fail_at;
} disk;

static int open_noted(void *self, const char *path, int flags)
{
	int fd = sys_kernel()->ops->open(self, path, flags);
	size_t n = strlen(path);

	if (fd >= 0) {
		assert_true(fd < FDS);
		disk.is_segment[fd] = n > 4 && strcmp(path + n - 4, ".log") == 0;
	}
	return fd;
}

static int64_t read_or_fail(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	if (disk.is_segment[fd] && ++disk.reads == disk.fail_at)
		return -EIO;
	return sys_kernel()->ops->pread(self, fd, bytes, n, at);
}

/* Half of it known would be a repeat stored twice, and a transaction that never ends. */
static void what_cannot_be_read_while_it_is_made_anew_is_not_passed_over(void **state)
{
	static struct sys_ops ops;
	static struct sys sys;
	struct fixture *f = *state;
	char path[TEST_DIR_BYTES + 60];
	uint32_t refused = 0;

	ops = *sys_kernel()->ops;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	ops.open = open_noted;
	ops.pread = read_or_fail;
	(void)put(f, in_txn(2, 0));
	(void)put(f, (struct wanted){.id = 1});
	stop(f);
	f->options.sys = &sys;
	for (disk.fail_at = 1, disk.reads = 1; disk.reads >= disk.fail_at; disk.fail_at++) {
		find_file(f, path, sizeof(path));
		if (path[0])
			damage(path, true);
		disk.reads = 0;
		if (log_open(&f->options, &f->log, NULL)) {
			f->log = NULL;
			refused++;
			continue;
		}
		begin_log(f);
		assert_int_equal(offset_of(f, (struct wanted){.id = 1}), 1);
		assert_int_equal(stable(f), 0);
		log_close(f->log);
		f->log = NULL;
	}
	assert_true(refused > 0);
}

static void on_fault(void *ctx, const struct verify_fault *fault)
{
	uint32_t *named = ctx;

	if (!fault->harmless && strstr(fault->file, "PRODUCERS."))
		(*named)++;
}

static struct verify_result verify(struct fixture *f, bool repair, uint32_t *named)
{
	struct verify_options o = {
		.sys = sys_kernel(), .dir = f->dir, .repair = repair, .on_fault = on_fault, .ctx = named};
	struct verify_result result;
	struct fault fault = {0};

	*named = 0;
	if (log_verify(&o, &result, &fault))
		fail_msg("%s", fault.text);
	return result;
}

static void verify_names_the_file_and_repair_has_it_made_anew(void **state)
{
	struct fixture *f = *state;
	struct verify_result result;
	char path[TEST_DIR_BYTES + 60];
	uint32_t named;

	(void)put(f, in_txn(2, 0));
	(void)mark(f, 2, 0, false);
	(void)put(f, (struct wanted){.id = 1, .sequence = 4});
	stop(f);
	assert_int_equal(verify(f, false, &named).faults, 0);
	find_file(f, path, sizeof(path));
	damage(path, false);
	result = verify(f, false, &named);
	assert_int_equal(result.faults, 1);
	assert_int_equal(named, 1);
	result = verify(f, true, &named);
	assert_int_equal(named, 1);
	assert_int_equal(result.mended, 1);
	assert_int_equal(verify(f, false, &named).faults, 0);
	open_log(f);
	assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = 4}), 2);
	assert_int_equal(partition_aborted(f->p, 0, 100, NULL, 0), 1);
	restart(f);
	assert_int_equal(partition_aborted(f->p, 0, 100, NULL, 0), 1);
}

static void a_backup_takes_the_file_along(void **state)
{
	struct fixture *f = *state;
	char backup[TEST_DIR_BYTES + 20], restored[TEST_DIR_BYTES + 20], was[TEST_DIR_BYTES];
	struct backup_options o = {.sys = sys_kernel(), .data = f->dir, .dir = backup};
	struct backup_result result;
	struct fault fault = {0};

	(void)snprintf(backup, sizeof(backup), "%s/backup", f->dir);
	(void)snprintf(restored, sizeof(restored), "%s/restored", f->dir);
	(void)put(f, (struct wanted){.id = 1, .sequence = 4});
	(void)put(f, in_txn(2, 0));
	stop(f);
	if (backup_offline(&o, &result, &fault))
		fail_msg("%s", fault.text);
	o.data = restored;
	if (backup_restore(&o, &result, &fault))
		fail_msg("%s", fault.text);
	memcpy(was, f->dir, sizeof(was));
	memcpy(f->dir, restored, sizeof(f->dir));
	open_log(f);
	find_file(f, restored, sizeof(restored));
	assert_string_not_equal(restored, "");
	assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = 4}), 0);
	assert_int_equal(stable(f), 1);
	stop(f);
	memcpy(f->dir, was, sizeof(was));
	open_log(f);
}

static void what_is_before_the_log_start_is_forgotten_and_sequences_are_not(void **state)
{
	struct fixture *f = *state;
	struct log_stats stats;

	(void)put(f, in_txn(1, 0));
	(void)mark(f, 1, 0, false);
	(void)put(f, in_txn(2, 0));
	(void)put(f, (struct wanted){.id = 3});
	partition_trim(f->p, 3);
	restart(f);
	log_stats(f->log, &stats);
	assert_int_equal(stats.aborted_transactions, 0);
	assert_int_equal(stats.open_transactions, 1);
	assert_int_equal(stable(f), 3); /* of a transaction that began before it */
	assert_int_equal(offset_of(f, (struct wanted){.id = 3}), 3);
	assert_int_equal(mark(f, 2, 0, true), 4);
	assert_int_equal(stable(f), 5);
}

/* Against one that looks at everything. */
static void many_transactions_are_found_again(void **state)
{
	enum { PRODUCERS = 7, STEPS = 900 };
	struct fixture *f = *state;
	struct aborted_txn all[STEPS], found[STEPS];
	int64_t open[PRODUCERS];
	int32_t sequences[PRODUCERS] = {0};
	uint32_t count = 0, seed = 12345;

	for (int i = 0; i < PRODUCERS; i++)
		open[i] = -1;
	for (int step = 0; step < STEPS; step++) {
		uint32_t who = (seed = seed * 1664525 + 1013904223) >> 16;
		uint32_t id = who % PRODUCERS;
		if (open[id] >= 0 && who % 3 == 0) {
			int64_t at = mark(f, id, 0, who % 2);
			if (who % 2 == 0)
				all[count++] = (struct aborted_txn){id, open[id], at};
			open[id] = -1;
		} else {
			int64_t at = put(f, in_txn(id, sequences[id]++));
			if (open[id] < 0)
				open[id] = at;
		}
	}
	restart(f);
	for (int64_t from = 0; from < STEPS; from += 13) {
		for (int64_t to = from + 1; to < STEPS; to += 97) {
			uint32_t n = 0, got = partition_aborted(f->p, from, to, found, STEPS);
			for (uint32_t i = 0; i < count; i++) {
				if (all[i].last < from || all[i].first >= to)
					continue;
				assert_true(n < got);
				assert_memory_equal(&all[i], &found[n], sizeof(all[i]));
				n++;
			}
			assert_int_equal(n, got);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_batch_is_stored_as_it_came_between_single_records),
		TEST(where_the_log_gives_the_time_a_batch_bears_it),
		TEST(a_repeat_of_the_last_five_is_answered_and_others_are_refused),
		TEST(an_unknown_producer_may_begin_anywhere_and_a_new_epoch_at_zero),
		TEST(sequences_begin_again_at_zero_behind_the_highest),
		TEST(a_repeat_of_what_is_in_flight_waits_for_it),
		TEST(a_batch_that_is_not_next_does_not_enter),
		TEST(who_was_fenced_is_refused_in_every_partition),
		TEST(many_producers_are_told_apart),
		TEST(more_producers_than_are_remembered_are_refused_for_now),
		TEST(the_last_stable_offset_waits_for_the_oldest_open_transaction),
		TEST(what_was_aborted_and_all_markers_are_hidden),
		TEST(a_marker_in_flight_ends_the_transaction_for_who_comes_behind),
		TEST(a_checkpoint_takes_along_what_is_known_in_one_file),
		TEST(a_batch_is_not_counted_twice_by_checkpoint_and_journal),
		cmocka_unit_test(what_the_file_has_is_not_taken_from_the_journal_again),
		TEST(a_file_that_is_gone_or_broken_is_made_anew_from_the_segments),
		TEST(what_cannot_be_read_while_it_is_made_anew_is_not_passed_over),
		TEST(verify_names_the_file_and_repair_has_it_made_anew),
		TEST(a_backup_takes_the_file_along),
		TEST(what_is_before_the_log_start_is_forgotten_and_sequences_are_not),
		TEST(many_transactions_are_found_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
