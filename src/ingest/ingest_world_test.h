/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_INGEST_WORLD_TEST_H
#define WEIR_INGEST_INGEST_WORLD_TEST_H

/*
 * The door over a real log in a temporary directory: bodies in, answers as text, records read back. For the tests of
 * ingest alone.
 */
#include "ingest/ingest.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "ingest/dead.h"
#include "proto/batch/batch.h"
#include "state/topics_world_test.h"
#include "sys/test_dir.h"

static const struct topic_config plain = {
	.partitions = 1,
	.retention_ms = -1,
	.retention_bytes = -1,
	.idempotency_ttl_ms = 600000,
};

struct world {
	struct metrics *metrics;
	char dir[TEST_DIR_BYTES];
	struct log *log;
	struct state *state;
	struct topics *topics;
	struct log_port *port;
	struct ingest *ingest;
	struct ingest_queue *queue;
};

static struct world w;

static inline void on_wake(void *ctx)
{
	(void)ctx; /* the tests run the port all the time */
}

static inline void make_topic(const char *name, uint32_t partitions)
{
	struct topic_config config = plain;

	config.partitions = partitions;
	(void)topics_world_create(w.log, w.topics, name, &config);
}

/* A disk on which nothing can be read without waiting, so that keys in runs go to the other thread. */
static inline int64_t read_never(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	(void)self;
	(void)fd;
	(void)bytes;
	(void)n;
	(void)at;
	return -EAGAIN;
}

static struct sys_ops slow_ops;
static struct sys slow_sys;

static inline const struct sys *slow_disk(void)
{
	slow_sys = *sys_kernel();
	slow_ops = *slow_sys.ops;
	slow_ops.pread_nowait = read_never;
	slow_sys.ops = &slow_ops;
	return &slow_sys;
}

/* One job at a time, run on a thread of its own and joined by the test. */
struct job {
	void (*run)(void *arg);
	void (*done)(void *arg);
	void *arg;
};

static struct job jobs[8];
static uint32_t job_count;
static bool pool_is_full;

static inline int run_blocking(void *ctx, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
	(void)ctx;
	if (pool_is_full || job_count == 8)
		return ERR_OVERLOADED;
	jobs[job_count++] = (struct job){.run = run, .done = done, .arg = arg};
	return 0;
}

static inline void *job_main(void *arg)
{
	struct job *job = arg;

	job->run(job->arg);
	return NULL;
}

static inline void run_jobs(void)
{
	for (uint32_t i = 0; i < job_count; i++) {
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, job_main, &jobs[i]), 0);
		(void)pthread_join(thread, NULL);
	}
	for (uint32_t i = 0; i < job_count; i++)
		jobs[i].done(jobs[i].arg);
	job_count = 0;
}

static inline int set_up_on(const struct sys *sys)
{
	struct log_options options = {.sys = sys, .dir = w.dir, .journal_file_bytes = 1u << 22};
	struct ingest_options ingest = {.sys = sys_kernel()};
	struct ingest_queue_options queue = {.run_blocking = sys == sys_kernel() ? NULL : run_blocking};
	struct metrics_options metrics = {.sys = sys_kernel(), .version = "test"};
	struct fault fault = {0};

	assert_true(test_dir_make(w.dir, "ingest-test"));
	topics_world_open(&options, &plain, true, &w.log, &w.state, &w.topics);
	topics_world_load(w.state, w.topics);
	assert_int_equal(log_start(w.log, &fault), 0);
	assert_int_equal(log_port_new(w.log, on_wake, NULL, &w.port), 0);
	ingest.log = w.log;
	ingest.topics = w.topics;
	ingest.limits = (struct ingest_limits){.record_bytes_max = 1000,
					       .body_bytes_max = 20000,
					       .records_max = 50,
					       .header_bytes_max = 600};
	assert_int_equal(ingest_new(&ingest, &w.ingest), 0);
	queue.ingest = w.ingest;
	queue.port = w.port;
	assert_int_equal(metrics_new(&metrics, &w.metrics), 0);
	queue.shard = metrics_shard_new(w.metrics);
	assert_int_equal(ingest_queue_new(&queue, &w.queue), 0);
	make_topic("t", 1);
	make_topic("four", 4);
	return 0;
}

static inline int set_up(void **state)
{
	(void)state;
	return set_up_on(sys_kernel());
}

static inline int set_up_slow(void **state)
{
	(void)state;
	pool_is_full = false;
	return set_up_on(slow_disk());
}

static inline int tear_down(void **state)
{
	struct fault fault;

	(void)state;
	ingest_queue_free(w.queue);
	ingest_free(w.ingest);
	metrics_free(w.metrics);
	assert_int_equal(log_stop(w.log, &fault), 0);
	log_port_free(w.port);
	topics_free(w.topics);
	state_free(w.state);
	log_close(w.log);
	return test_dir_remove(w.dir) ? 0 : -1;
}

/* ---- posting ---- */

struct post {
	struct ingest_request r;
	struct arena arena;
	struct buf answer;
	bool done, released;
	const char *const *headers; /* name, value, …, NULL */
};

static inline bool header_at(void *ctx, uint32_t number, struct slice *name, struct slice *value)
{
	const char *const *headers = ctx;

	for (uint32_t i = 0; i < number; i++)
		if (!headers[2 * i])
			return false;
	if (!headers[2 * number])
		return false;
	*name = slice_str(headers[2 * number]);
	*value = slice_str(headers[2 * number + 1]);
	return true;
}

static inline void on_done(struct ingest_request *r)
{
	struct post *p = r->ctx;

	assert_false(p->done);
	p->done = true;
	ingest_answer_json(&r->result, &p->answer);
}

static inline void on_released(struct ingest_request *r)
{
	struct post *p = r->ctx;

	assert_true(p->done && !p->released);
	p->released = true;
}

static inline struct post *post_new(const char *topic, const char *type, const char *body)
{
	struct post *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	arena_init(&p->arena, 4096, 8u << 20);
	buf_init(&p->answer, 1u << 20);
	ingest_request_init(&p->r, &p->arena, on_done, p);
	p->r.on_released = on_released;
	p->r.topic = slice_str(topic);
	p->r.content_type = slice_str(type);
	p->r.body = slice_str(body);
	return p;
}

static inline void post_free(struct post *p)
{
	buf_fini(&p->answer);
	arena_fini(&p->arena);
	free(p);
}

static inline void option(struct post *p, const char *name, const char *value)
{
	assert_int_equal(ingest_option(&p->r, slice_str(name), slice_str(value), NULL), 0);
}

static inline void start(struct post *p)
{
	char *body = malloc(p->r.body.len + 1);
	int rc;

	/* The body is gone after the start, as with a buffer of the network. */
	assert_non_null(body);
	memcpy(body, p->r.body.ptr, p->r.body.len);
	p->r.body.ptr = (uint8_t *)body;
	if (p->headers) {
		p->r.header = header_at;
		p->r.header_ctx = (void *)(uintptr_t)p->headers;
	}
	rc = ingest_start(w.queue, &p->r);
	memset(body, 'X', p->r.body.len);
	free(body);
	assert_false(p->done);
	if (rc) {
		assert_int_equal(p->r.result.err, rc);
		on_done(&p->r);
		p->released = true;
	}
}

static inline void settle(struct post *p)
{
	for (int i = 0; i < 20000 && !p->released; i++) {
		ingest_flush(w.queue);
		log_port_run(w.port);
		run_jobs();
		if (!p->released)
			(void)usleep(200);
	}
	assert_true(p->done && p->released);
}

static inline void check_answer(struct post *p, int status, const char *answer)
{
	start(p);
	settle(p);
	assert_int_equal(buf_append_byte(&p->answer, 0), 0);
	if (ingest_status_of(&p->r.result) != status || strcmp((char *)p->answer.ptr, answer) != 0)
		fail_msg("%d %s", ingest_status_of(&p->r.result), (char *)p->answer.ptr);
	post_free(p);
}

static inline void expect(const char *topic, const char *type, const char *body, int status,
			  const char *answer)
{
	check_answer(post_new(topic, type, body), status, answer);
}

/* ---- reading back ---- */

static struct log_view view;

/* The record at an offset; its slices last until the next call. */
static inline struct batch_record stored(const char *topic, uint32_t partition, int64_t offset)
{
	struct partition *p = topic_partition(topics_find(w.topics, slice_str(topic)), partition);
	struct batch_record record;
	struct batch_walk walk;

	if (view.blob)
		blob_unref(view.blob);
	view.blob = NULL;
	assert_int_equal(log_read_wait(p, offset, 1u << 20, &view), LOG_READ_OK);
	assert_int_equal(batch_walk_start(&walk, view.batches), 0);
	while (batch_walk_next(&walk, &record) == 1)
		if (record.offset == offset)
			return record;
	fail_msg("no record at %lld", (long long)offset);
	return record;
}

static inline void drop_view(void)
{
	if (view.blob)
		blob_unref(view.blob);
	view.blob = NULL;
}

static inline int64_t end_of(const char *topic, uint32_t partition)
{
	struct partition_range range;

	partition_range(topic_partition(topics_find(w.topics, slice_str(topic)), partition), &range);
	return range.end;
}

static inline void expect_headers(struct batch_record record, const char *const *want)
{
	struct slice headers = record.headers;
	struct slice name, value;
	uint32_t n = 0;

	while (batch_header_next(&headers, &name, &value) == 1) {
		assert_non_null(want[2 * n]);
		if (!slice_eq_str(name, want[2 * n]) ||
		    !slice_eq_str(value, want[2 * n + 1] ? want[2 * n + 1] : ""))
			fail_msg("header %u: %.*s=%.*s", n, (int)name.len, name.ptr, (int)value.len,
				 value.ptr);
		n++;
	}
	assert_null(want[2 * n]);
	assert_int_equal(n, record.header_count);
}

#define OK_ONE(first)                                                      \
	"{\"topic\":\"t\",\"accepted\":1,\"duplicates\":0,\"rejected\":0," \
	"\"offsets\":[{\"partition\":0,\"first\":" first ",\"last\":" first "}]}"
#define OK_TWICE(first)                                                    \
	"{\"topic\":\"t\",\"accepted\":0,\"duplicates\":1,\"rejected\":0," \
	"\"offsets\":[{\"partition\":0,\"first\":" first ",\"last\":" first "}]}"

static inline struct post *keyed(const char *key, const char *type, const char *body)
{
	struct post *p = post_new("t", type, body);

	p->r.idempotency_header = slice_str(key);
	return p;
}

#define BATCH "application/vnd.weir.batch+json"

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
