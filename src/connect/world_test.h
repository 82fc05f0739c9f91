/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_WORLD_TEST_H
#define WEIR_CONNECT_WORLD_TEST_H

/*
 * For the tests of the machinery: a real log in a temporary directory, a loop in a thread, a pool of
 * threads that may wait, and sources on them. The test's thread is none of these: what it does
 * to a runner it does on the loop (world_do).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "conf/world.h"
#include "connect/runner.h"
#include "net/jobs.h"
#include "proto/batch/batch.h"
#include "sys/test_dir.h"

struct world {
	char dir[TEST_DIR_BYTES];
	struct log *log;
	struct state *state;
	struct topics *topics;
	struct source_rows *rows;
	struct ingest *ingest;
	struct ingest_queue *queue;
	struct log_port *port;
	struct loop *loop;
	struct loop_waker *waker;
	struct loop_turn flush;
	struct jobs *jobs;
	pthread_t thread;
	struct runner_shared shared;
	struct runner_loop home;
	_Atomic int64_t held;
	_Atomic bool deaf; /* nothing is told to be durable: what has entered stays on its way */
};

static inline void world_flush(void *ctx)
{
	struct world *w = ctx;

	ingest_flush(w->queue);
}

static inline void world_want_flush(void *ctx)
{
	struct world *w = ctx;

	loop_at_turn_end(w->loop, &w->flush);
}

static inline void world_run_port(void *ctx)
{
	struct world *w = ctx;

	if (atomic_load(&w->deaf))
		return;
	log_port_run(w->port);
	ingest_look(w->queue);
}

static inline void world_wake(void *ctx)
{
	struct world *w = ctx;

	loop_waker_wake(w->waker);
}

static inline int world_blocking(void *ctx, struct loop *loop, void (*run)(void *arg),
				 void (*done)(void *arg), void *arg)
{
	struct world *w = ctx;

	return jobs_ask(w->jobs, loop, run, done, arg);
}

static inline int world_read_keys(void *ctx, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
	struct world *w = ctx;

	return jobs_ask(w->jobs, w->loop, run, done, arg);
}

static inline void *world_thread(void *ctx)
{
	struct world *w = ctx;

	loop_run(w->loop);
	return NULL;
}

static inline void world_open_log(struct world *w, uint64_t entered_max)
{
	const struct topic_config defaults = {.partitions = 1,
					      .retention_ms = -1,
					      .retention_bytes = -1,
					      .idempotency_ttl_ms = 600000,
					      .compaction_dirty_percent = 50,
					      .max_message_bytes = TOPIC_MESSAGE_BYTES};
	struct log_options options = {.sys = sys_kernel(),
				      .dir = w->dir,
				      .journal_file_bytes = 1u << 22,
				      .entered_bytes_max = entered_max};
	struct fault fault = {0};

	if (log_open(&options, &w->log, &fault))
		fail_msg("%s", fault.text);
	assert_int_equal(state_new(w->log, &w->state), 0);
	assert_int_equal(topics_new(w->log, w->state, &defaults, true, &w->topics), 0);
	assert_int_equal(source_rows_new(w->state, &w->rows), 0);
	if (state_load(w->state, &fault) || topics_ready(w->topics, &fault) || log_start(w->log, &fault))
		fail_msg("%s", fault.text);
}

/* Opens what is in w->dir, and begins. */
static inline void world_begin(struct world *w, uint64_t entered_max)
{
	struct loop_options loop = {.sys = sys_kernel()};
	struct ingest_options ingest = {.sys = sys_kernel()};
	struct ingest_queue_options queue = {.run_blocking = world_read_keys,
					     .want_flush = world_want_flush,
					     .ctx = w};

	world_open_log(w, entered_max);
	assert_int_equal(loop_new(&loop, &w->loop), 0);
	assert_int_equal(loop_waker_new(w->loop, world_run_port, w, &w->waker), 0);
	assert_int_equal(log_port_new(w->log, world_wake, w, &w->port), 0);
	assert_int_equal(jobs_new(3, &w->jobs), 0);
	ingest.log = w->log;
	ingest.topics = w->topics;
	assert_int_equal(ingest_new(&ingest, &w->ingest), 0);
	queue.ingest = w->ingest;
	queue.port = w->port;
	assert_int_equal(ingest_queue_new(&queue, &w->queue), 0);
	w->flush = (struct loop_turn){.run = world_flush, .ctx = w};
	w->home = (struct runner_loop){.loop = w->loop,
				       .port = w->port,
				       .queue = w->queue,
				       .boxes = runner_boxes_new()};
	w->shared = (struct runner_shared){.sys = sys_kernel(),
					   .log = w->log,
					   .state = w->state,
					   .topics = w->topics,
					   .ingest = w->ingest,
					   .rows = w->rows,
					   .run_blocking = world_blocking,
					   .ctx = w,
					   .held_bytes = &w->held};
	assert_int_equal(pthread_create(&w->thread, NULL, world_thread, w), 0);
}

/* Everything but the directory. */
static inline void world_end(struct world *w)
{
	struct fault fault;

	jobs_free(w->jobs);
	loop_stop(w->loop);
	pthread_join(w->thread, NULL);
	assert_int_equal(log_stop(w->log, &fault), 0);
	log_port_run(w->port);
	ingest_queue_free(w->queue);
	ingest_free(w->ingest);
	log_port_free(w->port);
	loop_waker_free(w->waker);
	loop_free(w->loop);
	topics_free(w->topics);
	state_free(w->state);
	runner_boxes_free(w->home.boxes);
	source_rows_free(w->rows);
	log_close(w->log);
}

/* ---- on the loop ---- */

struct world_job {
	struct loop_msg msg;
	void (*run)(void *ctx);
	void *ctx;
	sem_t done;
};

static inline void world_job_run(struct loop *loop, struct loop_msg *msg)
{
	struct world_job *job = (struct world_job *)msg;

	(void)loop;
	job->run(job->ctx);
	sem_post(&job->done);
}

/* Runs it there and waits until it has run. */
static inline void world_do(struct world *w, void (*run)(void *ctx), void *ctx)
{
	struct world_job job = {.msg = {.run = world_job_run}, .run = run, .ctx = ctx};

	sem_init(&job.done, 0, 0);
	loop_post(w->loop, &job.msg);
	while (sem_wait(&job.done) != 0)
		;
	sem_destroy(&job.done);
}

/* From now on, or not any more: see world.deaf. */
static inline void world_be_deaf(struct world *w, bool deaf)
{
	atomic_store(&w->deaf, deaf);
	if (!deaf)
		world_do(w, world_run_port, w);
}

/* ---- sources ---- */

/* A source as the file would name it; keys is YAML, indented by four. */
static inline struct conf_source *world_source(const struct source_type *type, const char *keys)
{
	const struct conf_kind *list[] = {&type->kind};
	const struct conf_kinds kinds = {.list = list, .count = 1};
	struct conf_world surroundings = *conf_world_process();
	struct conf_problems problems;
	struct conf_source *source;
	struct conf *conf;
	struct buf text;

	surroundings.kinds = &kinds;
	buf_init(&text, 1u << 20);
	buf_appendf(&text, "sources:\n  - name: s\n    type: %s\n    topic: t\n%s", type->kind.name, keys);
	conf_problems_init(&problems);
	if (conf_load_text(buf_slice(&text), "f", &surroundings, &conf, &problems)) {
		buf_clear(&text);
		conf_problems_text(&problems, false, &text);
		buf_append_byte(&text, 0);
		fail_msg("%s", (char *)text.ptr);
	}
	source = conf_source_ref(conf->sources[0]);
	conf_free(conf);
	conf_problems_fini(&problems);
	buf_fini(&text);
	return source;
}

static inline void world_start_it(void *ctx)
{
	runner_start(ctx);
}

static inline struct runner *world_start(struct world *w, const struct source_type *type, const char *keys)
{
	struct conf_source *source = world_source(type, keys);
	struct runner *r;

	assert_int_equal(runner_new(&w->shared, &w->home, source, &r), 0);
	conf_source_unref(source);
	world_do(w, world_start_it, r);
	return r;
}

struct world_stopping {
	struct runner *runner;
	sem_t done;
};

static inline void world_stopped(void *ctx)
{
	sem_post(&((struct world_stopping *)ctx)->done);
}

static inline void world_stop_it(void *ctx)
{
	struct world_stopping *s = ctx;

	runner_stop(s->runner, world_stopped, s);
}

static inline void world_stop(struct world *w, struct runner *r)
{
	struct world_stopping s = {.runner = r};

	sem_init(&s.done, 0, 0);
	world_do(w, world_stop_it, &s);
	while (sem_wait(&s.done) != 0)
		;
	/* The last callback has returned when the loop does something else. */
	world_do(w, world_want_flush, w);
	runner_free(r);
	sem_destroy(&s.done);
}

static inline void world_nap(void)
{
	struct timespec ms = {0, 1000000};

	(void)nanosleep(&ms, NULL);
}

/* Waits until so many records of the source are durable. Far too long is a failure. */
static inline void world_await(struct runner *r, uint64_t records)
{
	struct runner_figures f;

	for (int i = 0; i < 30000; i++) {
		runner_figures(r, &f);
		if (f.records >= records)
			return;
		world_nap();
	}
	fail_msg("%llu of %llu records, state %d, error %s", (unsigned long long)f.records,
		 (unsigned long long)records, f.state, f.error);
}

/* ---- the log ---- */

/* Every record of partition 0 of a topic: fn gets them in order. Their number. */
static inline uint32_t world_read(struct world *w, const char *name,
				  void (*fn)(void *ctx, const struct batch_record *r), void *ctx)
{
	struct topic *topic = topics_find(w->topics, slice_str(name));
	struct partition_range range;
	struct log_view view;
	uint32_t count = 0;

	if (!topic)
		return 0;
	partition_range(topic_partition(topic, 0), &range);
	for (int64_t at = range.start; at < range.end; at = view.next_offset) {
		assert_int_equal(log_read_wait(topic_partition(topic, 0), at, 1u << 20, &view), 0);
		for (struct slice rest = view.batches; rest.len;) {
			struct batch_walk walk;
			struct batch_record r;
			assert_int_equal(batch_walk_start(&walk, rest), 0);
			while (batch_walk_next(&walk, &r) == 1) {
				if (r.offset < at)
					continue;
				count++;
				if (fn)
					fn(ctx, &r);
			}
			rest = slice_from(rest, walk.head.bytes);
		}
		blob_unref(view.blob);
	}
	return count;
}

#endif
