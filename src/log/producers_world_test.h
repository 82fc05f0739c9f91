/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_PRODUCERS_WORLD_TEST_H
#define WEIR_LOG_PRODUCERS_WORLD_TEST_H

/*
 * For the tests of producers and transactions: a log by steps on a real directory, one partition, and batches as
 * producers write them, in one line each. It is killed, stopped and opened again as a test says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "log/log_world_test.h"
#include "log/producers.h"
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

static inline void on_wake(void *ctx)
{
	(void)ctx;
}

static inline void begin_log(struct fixture *f)
{
	assert_int_equal(partition_open(f->log, &topic_a, 0, &f->keep, &f->p), 0);
	assert_int_equal(log_start(f->log, NULL), 0);
}

static inline void open_log(struct fixture *f)
{
	f->options.sys = sys_kernel();
	f->options.dir = f->dir;
	f->options.steps = true;
	log_world_open(&f->options, on_wake, f, &f->log, &f->port);
	begin_log(f);
}

/* What has entered becomes durable, and is told. */
static inline void settle(struct fixture *f)
{
	while (log_step(f->log, LOG_STEP_COMMIT))
		;
	log_port_run(f->port);
}

static inline void free_entered(struct fixture *f)
{
	for (uint32_t i = 0; i < f->entered_count; i++)
		free(f->entered[i]);
	f->entered_count = 0;
}

/* As after a kill: what was durable is in the journal, and nothing was written behind it. */
static inline void crash(struct fixture *f)
{
	settle(f);
	log_close(f->log);
	free_entered(f);
	open_log(f);
}

static inline void stop(struct fixture *f)
{
	log_world_close(&f->log, f->port);
	free_entered(f);
}

static inline void restart(struct fixture *f)
{
	stop(f);
	open_log(f);
}

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	stop(f);
	(void)test_dir_remove(f->dir);
	free(f);
	return 0;
}

struct wanted {
	int64_t id;
	int16_t epoch;
	int32_t sequence;
	uint32_t count; /* 0: 1 */
	bool transactional;
	int64_t timestamp_ms;
};

static inline size_t make_batch(uint8_t *to, const struct wanted *w)
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

static inline void on_done(struct log_commit *c)
{
	((struct entered *)c)->done = true;
}

static inline struct entered *new_entered(struct fixture *f)
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

static inline struct entered *prepare(struct fixture *f, const struct wanted *w)
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

static inline int ask(struct fixture *f, const struct wanted *w, struct producer_answer *answer,
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

static inline int verdict_of(struct fixture *f, struct wanted w)
{
	struct producer_answer answer;

	return ask(f, &w, &answer, NULL);
}

static inline struct entered *enter(struct fixture *f, struct wanted w)
{
	struct entered *e = prepare(f, &w);

	assert_int_equal(verdict_of(f, w), PRODUCER_NEXT);
	assert_int_equal(log_world_enter(f->log, &e->commit), 0);
	return e;
}

static inline int64_t put(struct fixture *f, struct wanted w)
{
	struct entered *e = enter(f, w);

	settle(f);
	assert_true(e->done);
	return e->record.offset;
}

static inline int64_t mark(struct fixture *f, int64_t id, int16_t epoch, bool commit)
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
	assert_int_equal(log_world_enter(f->log, &e->commit), 0);
	settle(f);
	return e->record.offset;
}

static inline int64_t offset_of(struct fixture *f, struct wanted w)
{
	struct producer_answer answer;

	assert_int_equal(ask(f, &w, &answer, NULL), PRODUCER_REPEATED);
	return answer.offset;
}

static inline int64_t stable(struct fixture *f)
{
	struct partition_range range;

	partition_range(f->p, &range);
	return range.stable;
}

static inline int64_t end(struct fixture *f)
{
	struct partition_range range;

	partition_range(f->p, &range);
	return range.end;
}

static inline struct wanted in_txn(int64_t id, int32_t sequence)
{
	return (struct wanted){.id = id, .sequence = sequence, .transactional = true};
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
