/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_INGEST_POST_TEST_H
#define WEIR_INGEST_INGEST_POST_TEST_H

/* Bodies in, answers as text, records read back; with a disk that must be waited for where a test wants that. */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/mem.h"
#include "ingest/dead.h"
#include "ingest/ingest_world_test.h"
#include "proto/batch/batch.h"

static const struct topic_config plain = {
	.partitions = 1,
	.retention_ms = -1,
	.retention_bytes = -1,
	.idempotency_ttl_ms = 600000,
};

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
	const struct ingest_limits limits = {.record_bytes_max = 1000,
					     .body_bytes_max = 20000,
					     .records_max = 50,
					     .header_bytes_max = 600};

	world_open((struct log_options){.sys = sys}, &plain, &limits);
	world_queue((struct ingest_queue_options){.run_blocking = sys == sys_kernel() ? NULL : run_blocking});
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
	struct batch_record record;
	struct batch_walk walk;

	if (view.blob)
		blob_unref(view.blob);
	view.blob = NULL;
	assert_int_equal(log_read_wait(part(topic, partition), offset, 1u << 20, &view), LOG_READ_OK);
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

#endif
