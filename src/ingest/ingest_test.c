/* SPDX-License-Identifier: Apache-2.0 */
/* The door over a real log in a temporary directory: bodies in, answers as text, records read back. */
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

static void on_wake(void *ctx)
{
	(void)ctx; /* the tests run the port all the time */
}

static void make_topic(const char *name, uint32_t partitions)
{
	struct topic_config config = plain;

	config.partitions = partitions;
	(void)topics_world_create(w.log, w.topics, name, &config);
}

/* A disk on which nothing can be read without waiting, so that keys in runs go to the other thread. */
static int64_t read_never(void *self, int fd, void *bytes, size_t n, uint64_t at)
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

static const struct sys *slow_disk(void)
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

static int run_blocking(void *ctx, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
	(void)ctx;
	if (pool_is_full || job_count == 8)
		return ERR_OVERLOADED;
	jobs[job_count++] = (struct job){.run = run, .done = done, .arg = arg};
	return 0;
}

static void *job_main(void *arg)
{
	struct job *job = arg;

	job->run(job->arg);
	return NULL;
}

static void run_jobs(void)
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

static int set_up_on(const struct sys *sys)
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

static int set_up(void **state)
{
	(void)state;
	return set_up_on(sys_kernel());
}

static int set_up_slow(void **state)
{
	(void)state;
	pool_is_full = false;
	return set_up_on(slow_disk());
}

static int tear_down(void **state)
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

static bool header_at(void *ctx, uint32_t number, struct slice *name, struct slice *value)
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

static void on_done(struct ingest_request *r)
{
	struct post *p = r->ctx;

	assert_false(p->done);
	p->done = true;
	ingest_answer_json(&r->result, &p->answer);
}

static void on_released(struct ingest_request *r)
{
	struct post *p = r->ctx;

	assert_true(p->done && !p->released);
	p->released = true;
}

static struct post *post_new(const char *topic, const char *type, const char *body)
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

static void post_free(struct post *p)
{
	buf_fini(&p->answer);
	arena_fini(&p->arena);
	free(p);
}

static void option(struct post *p, const char *name, const char *value)
{
	assert_int_equal(ingest_option(&p->r, slice_str(name), slice_str(value), NULL), 0);
}

static void start(struct post *p)
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

static void settle(struct post *p)
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

static void check_answer(struct post *p, int status, const char *answer)
{
	start(p);
	settle(p);
	assert_int_equal(buf_append_byte(&p->answer, 0), 0);
	if (ingest_status_of(&p->r.result) != status || strcmp((char *)p->answer.ptr, answer) != 0)
		fail_msg("%d %s", ingest_status_of(&p->r.result), (char *)p->answer.ptr);
	post_free(p);
}

static void expect(const char *topic, const char *type, const char *body, int status, const char *answer)
{
	check_answer(post_new(topic, type, body), status, answer);
}

/* ---- reading back ---- */

static struct log_view view;

/* The record at an offset; its slices last until the next call. */
static struct batch_record stored(const char *topic, uint32_t partition, int64_t offset)
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

static void drop_view(void)
{
	if (view.blob)
		blob_unref(view.blob);
	view.blob = NULL;
}

static int64_t end_of(const char *topic, uint32_t partition)
{
	struct partition_range range;

	partition_range(topic_partition(topics_find(w.topics, slice_str(topic)), partition), &range);
	return range.end;
}

static void expect_headers(struct batch_record record, const char *const *want)
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

/* ---- one record ---- */

static void json_is_stored_as_it_came(void **state)
{
	struct batch_record record;
	struct post *p;

	(void)state;
	expect("t", "application/json", "{ \"a\" : 1.50 }\n", 200, OK_ONE("0"));
	p = post_new("t", "Application/JSON; charset=utf-8", "1");
	option(p, "key", "k");
	check_answer(p, 200, OK_ONE("1"));
	record = stored("t", 0, 0);
	assert_true(slice_eq_str(record.value, "{ \"a\" : 1.50 }\n") && !record.key.ptr &&
		    record.header_count == 0);
	record = stored("t", 0, 1);
	assert_true(slice_eq_str(record.value, "1") && slice_eq_str(record.key, "k"));
	drop_view();
	expect("t", "application/json", "{\"a\":}", 400,
	       "{\"status\":400,\"title\":\"The JSON is not well formed\",\"detail\":\"The body is not well-formed JSON "
	       "at byte 6: expected a value\",\"code\":\"invalid_json\"}");
	assert_int_equal(end_of("t", 0), 2);
}

static void other_types_are_bytes(void **state)
{
	struct post *p = post_new("t", NULL, "");

	(void)state;
	check_answer(p, 200, OK_ONE("0"));
	expect("t", "text/plain", "{", 200, OK_ONE("1"));
	p = post_new("t", "image/png", "");
	p->r.body = slice_make("\0\xff", 2);
	check_answer(p, 200, OK_ONE("2"));
	assert_true(stored("t", 0, 0).value.ptr && stored("t", 0, 0).value.len == 0);
	assert_true(slice_eq(stored("t", 0, 2).value, slice_make("\0\xff", 2)));
	drop_view();
}

static void a_record_over_the_limit_is_413(void **state)
{
	char body[1002];

	(void)state;
	memset(body, '1', sizeof(body));
	body[1001] = 0;
	expect("t", "application/json", body, 413,
	       "{\"status\":413,\"title\":\"A record is over the limit\",\"detail\":\"The record has 1001 bytes: at most "
	       "1000 are allowed\",\"code\":\"record_too_large\"}");
	body[1000] = 0;
	expect("t", "application/json", body, 200, OK_ONE("0"));
}

static void a_body_over_the_limit_is_413(void **state)
{
	char *body = calloc(1, 20002);

	(void)state;
	memset(body, '\n', 20001);
	expect("t", "application/x-ndjson", body, 413,
	       "{\"status\":413,\"title\":\"The body is over the limit\",\"detail\":\"The body has 20001 bytes: at most "
	       "20000 are allowed\",\"code\":\"body_too_large\"}");
	body[20000] = 0;
	expect("t", "application/x-ndjson", body, 200,
	       "{\"topic\":\"t\",\"accepted\":0,\"duplicates\":0,\"rejected\":0,\"offsets\":[]}");
	free(body);
}

static void ack_none_is_answered_on_entering(void **state)
{
	struct post *p = post_new("t", "application/x-ndjson", "1\n2\n3\n");

	(void)state;
	option(p, "ack", "none");
	start(p);
	ingest_flush(w.queue);
	assert_true(p->done && !p->released);
	settle(p);
	assert_int_equal(ingest_status_of(&p->r.result), 202);
	assert_true(slice_eq_str(buf_slice(&p->answer), "{\"topic\":\"t\",\"entered\":3}"));
	post_free(p);
	/* Released once it is written; readers see it when it is durable. */
	for (int i = 0; i < 20000 && end_of("t", 0) != 3; i++)
		(void)usleep(200);
	assert_int_equal(end_of("t", 0), 3);
}

static void options_are_strict(void **state)
{
	static const struct {
		const char *name, *value;
		int rc;
		const char *text;
	} rows[] = {
		{"ack", "all", ERR_BAD_PARAMETER, "ack is durable or none"},
		{"on_error", "", ERR_BAD_PARAMETER, "on_error is reject, skip or dead"},
		{"results", "x", ERR_BAD_PARAMETER, "results is ranges or records"},
		{"partition", "-1", ERR_BAD_PARAMETER, "partition is a whole number from 0 on"},
		{"partition", "99999999999", ERR_BAD_PARAMETER, "partition is a whole number from 0 on"},
		{"keys", "x", ERR_UNKNOWN_PARAMETER,
		 "Known parameters are key, partition, ack, on_error and results"},
	};
	struct post *p = post_new("t", NULL, "");

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fault fault;
		assert_int_equal(ingest_option(&p->r, slice_str(rows[i].name), slice_str(rows[i].value),
					       &fault),
				 rows[i].rc);
		assert_string_equal(fault.text, rows[i].text);
	}
	post_free(p);
}

/* ---- topics and partitions ---- */

static void a_topic_is_made_on_use(void **state)
{
	(void)state;
	expect("fresh", NULL, "x", 200,
	       "{\"topic\":\"fresh\",\"accepted\":1,\"duplicates\":0,\"rejected\":0,"
	       "\"offsets\":[{\"partition\":0,\"first\":0,\"last\":0}]}");
	assert_non_null(topics_find(w.topics, SLICE_LIT("fresh")));
	expect("wrong", "application/json", "{", 400,
	       "{\"status\":400,\"title\":\"The JSON is not well formed\",\"detail\":\"The body is not well-formed JSON "
	       "at byte 2: expected a member name in quotes\",\"code\":\"invalid_json\"}");
	assert_null(topics_find(w.topics, SLICE_LIT("wrong")));
	topics_set_defaults(w.topics, &plain, false);
	expect("other", NULL, "x", 404,
	       "{\"status\":404,\"title\":\"The topic does not exist\",\"detail\":\"The topic does not exist and topics "
	       "are not created on use\",\"code\":\"unknown_topic\"}");
}

static int code_of(const char *topic)
{
	struct post *p = post_new(topic, NULL, "x");
	int rc;

	start(p);
	settle(p);
	rc = p->r.result.err;
	post_free(p);
	return rc;
}

static void bad_and_inner_names_are_refused(void **state)
{
	(void)state;
	assert_int_equal(code_of("a b"), ERR_BAD_TOPIC);
	assert_int_equal(code_of(""), ERR_BAD_TOPIC);
	assert_int_equal(code_of("__weir_inner"), ERR_FORBIDDEN);
	assert_int_equal(code_of("__consumer_offsets"), ERR_FORBIDDEN);
	assert_int_equal(code_of("_schemas"), 0);
}

static void keys_choose_the_partition_as_kafka_does(void **state)
{
	uint32_t want = hash_partition(SLICE_LIT("customer-7"), 4);
	char answer[200];
	struct post *p;

	(void)state;
	(void)snprintf(answer, sizeof(answer),
		       "{\"topic\":\"four\",\"accepted\":2,\"duplicates\":0,\"rejected\":0,"
		       "\"offsets\":[{\"partition\":%u,\"first\":0,\"last\":1}]}",
		       want);
	p = post_new("four", "application/x-ndjson", "1\n2");
	option(p, "key", "customer-7");
	check_answer(p, 200, answer);
	p = post_new("four", NULL, "x");
	option(p, "partition", "1");
	option(p, "key", "customer-7");
	assert_int_not_equal(want, 1);
	check_answer(p, 200,
		     "{\"topic\":\"four\",\"accepted\":1,\"duplicates\":0,\"rejected\":0,"
		     "\"offsets\":[{\"partition\":1,\"first\":0,\"last\":0}]}");
	p = post_new("four", NULL, "x");
	option(p, "partition", "4");
	check_answer(
		p, 400,
		"{\"status\":400,\"title\":\"The partition is out of range\",\"detail\":\"Partition 4 is out "
		"of range: the topic has 4, from 0 on\",\"code\":\"partition_out_of_range\"}");
}

static void keyless_records_go_round(void **state)
{
	(void)state;
	expect("four", "application/x-ndjson", "1\n2\n3\n4\n5\n6\n", 200,
	       "{\"topic\":\"four\",\"accepted\":6,\"duplicates\":0,\"rejected\":0,\"offsets\":["
	       "{\"partition\":0,\"first\":0,\"last\":1},{\"partition\":1,\"first\":0,\"last\":1},"
	       "{\"partition\":2,\"first\":0,\"last\":0},{\"partition\":3,\"first\":0,\"last\":0}]}");
	expect("four", NULL, "7", 200,
	       "{\"topic\":\"four\",\"accepted\":1,\"duplicates\":0,\"rejected\":0,\"offsets\":["
	       "{\"partition\":2,\"first\":1,\"last\":1}]}");
}

/* ---- NDJSON ---- */

static void a_bad_line_refuses_the_whole(void **state)
{
	struct post *p;

	(void)state;
	expect("t", "application/x-ndjson", "{\"a\":1}\n\n{\"b\":\n3\n", 422,
	       "{\"status\":422,\"title\":\"Records of the batch were refused\",\"detail\":\"1 of 3 records were refused "
	       "and nothing was stored: see errors\",\"code\":\"invalid_batch\",\"errors\":[{\"index\":1,\"line\":3,"
	       "\"code\":\"invalid_json\",\"detail\":\"at byte 6: expected a value\"}]}");
	assert_int_equal(end_of("t", 0), 0);
	p = post_new("t", "application/x-ndjson", "{\"a\":1}\n\n{\"b\":\n3\n");
	option(p, "on_error", "skip");
	option(p, "results", "records");
	check_answer(
		p, 200,
		"{\"topic\":\"t\",\"accepted\":2,\"duplicates\":0,\"rejected\":1,"
		"\"offsets\":[{\"partition\":0,\"first\":0,\"last\":1}],\"results\":["
		"{\"index\":0,\"partition\":0,\"offset\":0,\"status\":\"accepted\"},"
		"{\"index\":1,\"status\":\"rejected\"},"
		"{\"index\":2,\"partition\":0,\"offset\":1,\"status\":\"accepted\"}],"
		"\"errors\":[{\"index\":1,\"line\":3,\"code\":\"invalid_json\",\"detail\":\"at byte 6: expected a value\"}]}");
	p = post_new("t", "application/x-ndjson", "{\n}\n");
	option(p, "on_error", "skip");
	start(p);
	settle(p);
	assert_int_equal(p->r.result.err, ERR_BAD_BATCH);
	assert_int_equal(p->r.result.error_count, 2);
	post_free(p);
	assert_true(slice_eq_str(stored("t", 0, 1).value, "3"));
	drop_view();
}

static void too_many_records_are_413(void **state)
{
	char body[103];

	(void)state;
	for (int i = 0; i < 51; i++)
		memcpy(body + 2 * i, "1\n", 2);
	body[102] = 0;
	expect("t", "application/x-ndjson", body, 413,
	       "{\"status\":413,\"title\":\"The request has more records than allowed\",\"detail\":\"The request has more "
	       "than 50 records\",\"code\":\"too_many_records\"}");
	body[100] = 0;
	expect("t", "application/x-ndjson", body, 200,
	       "{\"topic\":\"t\",\"accepted\":50,\"duplicates\":0,\"rejected\":0,"
	       "\"offsets\":[{\"partition\":0,\"first\":0,\"last\":49}]}");
}

/* ---- the batch envelope ---- */

#define BATCH "application/vnd.weir.batch+json"

static void an_envelope_says_everything_of_a_record(void **state)
{
	static const char *const headers[] = {"h",   "v", "n", NULL, "b", "hi", "b", "x", "idempotency-key",
					      "i-1", NULL};
	struct batch_record record;

	(void)state;
	expect("four", BATCH,
	       "{\"records\":[{\"key\":\"\\u006b\",\"value\": {\"x\" : 1} ,\"partition\":2,\"timestamp\":1234,"
	       "\"headers\":{\"h\":\"v\",\"n\":null,\"b\":[{\"base64\":\"aGk=\"},\"x\"]},\"idempotency_key\":\"i-1\"},"
	       "{\"value_text\":\"a\\nb\",\"partition\":2},{\"value_base64\":\"AP8=\",\"partition\":2},"
	       "{\"tombstone\":true,\"key_base64\":\"/w==\",\"partition\":2},{\"value\":null,\"partition\":2}]}",
	       200,
	       "{\"topic\":\"four\",\"accepted\":5,\"duplicates\":0,\"rejected\":0,"
	       "\"offsets\":[{\"partition\":2,\"first\":0,\"last\":4}]}");
	record = stored("four", 2, 0);
	assert_true(slice_eq_str(record.key, "k") && slice_eq_str(record.value, "{\"x\" : 1}"));
	assert_int_equal(record.timestamp, 1234);
	expect_headers(record, headers);
	assert_true(slice_eq_str(stored("four", 2, 1).value, "a\nb"));
	assert_true(slice_eq(stored("four", 2, 2).value, slice_make("\0\xff", 2)));
	record = stored("four", 2, 3);
	assert_true(!record.value.ptr && slice_eq(record.key, slice_make("\xff", 1)));
	assert_true(slice_eq_str(stored("four", 2, 4).value, "null"));
	drop_view();
}

static void an_envelope_names_each_bad_record(void **state)
{
	struct post *p = post_new(
		"four", BATCH,
		"{\"records\":[7,{},{\"value\":1,\"value_text\":\"x\"},{\"value\":1,\"partition\":4},{\"value\":1,\"nope\":2},"
		"{\"value\":1,\"idempotency_key\":\"\"},{\"value\":1,\"headers\":[]},{\"value\":1}]}");

	(void)state;
	option(p, "on_error", "skip");
	check_answer(
		p, 200,
		"{\"topic\":\"four\",\"accepted\":1,\"duplicates\":0,\"rejected\":7,"
		"\"offsets\":[{\"partition\":0,\"first\":0,\"last\":0}],\"errors\":["
		"{\"index\":0,\"code\":\"invalid_record\",\"detail\":\"the record is not an object\"},"
		"{\"index\":1,\"code\":\"invalid_record\",\"detail\":\"the record needs value, value_text, value_base64 or "
		"\\\"tombstone\\\":true\"},"
		"{\"index\":2,\"code\":\"invalid_record\",\"detail\":\"the value comes twice, in one form or another\"},"
		"{\"index\":3,\"code\":\"partition_out_of_range\",\"detail\":\"partition 4 is out of range: the topic has 4, from 0 on\"},"
		"{\"index\":4,\"code\":\"invalid_record\",\"detail\":\"\\\"nope\\\" is not a member of a record: key, value, headers, "
		"partition, idempotency_key, timestamp are, and key_base64, value_text, value_base64, tombstone\"},"
		"{\"index\":5,\"code\":\"invalid_idempotency_key\",\"detail\":\"The idempotency key is empty: expected 1 to 256 "
		"bytes\"},"
		"{\"index\":6,\"code\":\"invalid_record\",\"detail\":\"headers is not an object\"}]}");
}

static void make_compacted(const char *name)
{
	struct topic_config config = plain;

	config.cleanup = TOPIC_COMPACT;
	(void)topics_world_create(w.log, w.topics, name, &config);
}

static void a_compacted_topic_takes_no_record_without_a_key(void **state)
{
	struct post *p;

	(void)state;
	make_compacted("c");
	expect("c", NULL, "1", 422,
	       "{\"status\":422,\"title\":\"Records of a compacted topic need a key\",\"detail\":\"Topic c is compacted: "
	       "each of its records needs a key, and this one has none\",\"code\":\"key_required\"}");
	expect("c", "application/x-ndjson", "1\n2\n", 422,
	       "{\"status\":422,\"title\":\"Records of a compacted topic need a key\",\"detail\":\"Topic c is compacted: "
	       "each of its records needs a key, and these have none\",\"code\":\"key_required\"}");
	p = post_new("c", "application/x-ndjson", "1\n2\n");
	option(p, "key", "");
	check_answer(p, 200,
		     "{\"topic\":\"c\",\"accepted\":2,\"duplicates\":0,\"rejected\":0,\"offsets\":["
		     "{\"partition\":0,\"first\":0,\"last\":1}]}");
	/* The idempotency key of what is refused is free again, a repeat of it in the body is refused with it. */
	for (int i = 0; i < 2; i++) {
		p = post_new(
			"c", BATCH,
			"{\"records\":[{\"value\":1,\"key\":\"k\"},{\"value\":2,\"idempotency_key\":\"i\"},"
			"{\"value\":2,\"idempotency_key\":\"i\"},{\"value\":3,\"idempotency_key\":\"j\",\"key\":\"k\"}]}");
		option(p, "on_error", "skip");
		option(p, "results", "records");
		check_answer(
			p, 200,
			i == 0 ?
				"{\"topic\":\"c\",\"accepted\":2,\"duplicates\":0,\"rejected\":2,\"offsets\":["
				"{\"partition\":0,\"first\":2,\"last\":3}],\"results\":["
				"{\"index\":0,\"partition\":0,\"offset\":2,\"status\":\"accepted\"},"
				"{\"index\":1,\"status\":\"rejected\"},{\"index\":2,\"status\":\"rejected\"},"
				"{\"index\":3,\"partition\":0,\"offset\":3,\"status\":\"accepted\"}],\"errors\":["
				"{\"index\":1,\"code\":\"key_required\",\"detail\":\"the topic is compacted: the record needs a key\"},"
				"{\"index\":2,\"code\":\"key_required\",\"detail\":\"the topic is compacted: the record needs a key\"}]}" :
				"{\"topic\":\"c\",\"accepted\":1,\"duplicates\":1,\"rejected\":2,\"offsets\":["
				"{\"partition\":0,\"first\":3,\"last\":4}],\"results\":["
				"{\"index\":0,\"partition\":0,\"offset\":4,\"status\":\"accepted\"},"
				"{\"index\":1,\"status\":\"rejected\"},{\"index\":2,\"status\":\"rejected\"},"
				"{\"index\":3,\"partition\":0,\"offset\":3,\"status\":\"duplicate\"}],\"errors\":["
				"{\"index\":1,\"code\":\"key_required\",\"detail\":\"the topic is compacted: the record needs a key\"},"
				"{\"index\":2,\"code\":\"key_required\",\"detail\":\"the topic is compacted: the record needs a key\"}]}");
	}
	expect("c", BATCH, "{\"records\":[{\"value\":1,\"key\":\"k\"},{\"value\":2}]}", 422,
	       "{\"status\":422,\"title\":\"Records of the batch were refused\",\"detail\":\"1 of 2 records were refused and "
	       "nothing was stored: see errors\",\"code\":\"invalid_batch\",\"errors\":[{\"index\":1,\"code\":"
	       "\"key_required\",\"detail\":\"the topic is compacted: the record needs a key\"}]}");
	/* A tombstone has a key and no value. */
	expect("c", BATCH, "{\"records\":[{\"tombstone\":true,\"key\":\"k\"}]}", 200,
	       "{\"topic\":\"c\",\"accepted\":1,\"duplicates\":0,\"rejected\":0,\"offsets\":["
	       "{\"partition\":0,\"first\":5,\"last\":5}]}");
}

static void a_broken_envelope_is_400(void **state)
{
	static const struct {
		const char *body, *code;
	} rows[] = {
		{"{\"records\":[{\"value\":1}", "invalid_json"},
		{"[]", "malformed_request"},
		{"", "invalid_json"},
		{"{\"records\":{}}", "malformed_request"},
		{"{}", "malformed_request"},
		{"{\"record\":[]}", "malformed_request"},
		{"{\"records\":[],\"records\":[]}", "malformed_request"},
		{"{\"records\":[{\"value\":1}]}x", "invalid_json"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct post *p = post_new("t", BATCH, rows[i].body);
		start(p);
		settle(p);
		assert_int_equal(ingest_status_of(&p->r.result), 400);
		assert_string_equal(err_row(p->r.result.err)->code, rows[i].code);
		post_free(p);
	}
	expect("t", BATCH, "{\"records\":[]}", 200,
	       "{\"topic\":\"t\",\"accepted\":0,\"duplicates\":0,\"rejected\":0,\"offsets\":[]}");
	assert_int_equal(end_of("t", 0), 0);
}

/* ---- idempotency ---- */

static struct post *keyed(const char *key, const char *type, const char *body)
{
	struct post *p = post_new("t", type, body);

	p->r.idempotency_header = slice_str(key);
	return p;
}

#define REUSED                                                                                                              \
	"{\"status\":422,\"title\":\"The idempotency key was used with another payload\",\"detail\":\"The idempotency key " \
	"was used for another payload: send a new key with a new payload\",\"code\":\"idempotency_key_reused\"}"

static void a_key_makes_the_second_a_duplicate(void **state)
{
	static const char *const headers[] = {"idempotency-key", "a\"b", NULL};
	struct post *p;

	(void)state;
	check_answer(keyed("\"a\\\"b\"", "application/json", "{\"n\":1}"), 200, OK_ONE("0"));
	p = keyed("\"a\\\"b\"", "application/json", "{\"n\":1}");
	option(p, "results", "records");
	start(p);
	settle(p);
	assert_true(p->r.result.replayed);
	assert_true(slice_eq_str(
		buf_slice(&p->answer),
		"{\"topic\":\"t\",\"accepted\":0,\"duplicates\":1,\"rejected\":0,"
		"\"offsets\":[{\"partition\":0,\"first\":0,\"last\":0}],"
		"\"results\":[{\"index\":0,\"partition\":0,\"offset\":0,\"status\":\"duplicate\"}]}"));
	post_free(p);
	expect_headers(stored("t", 0, 0), headers);
	drop_view();
	check_answer(keyed("\"a\\\"b\"", "application/json", "{\"n\":2}"), 422, REUSED);
	p = keyed("\"a\\\"b\"", "application/json", "{\"n\":1}");
	option(p, "key", "k");
	check_answer(p, 422, REUSED);
	/* The path says the same key, bare; another topic has keys of its own. */
	p = post_new("t", "application/json", "{\"n\":1}");
	p->r.idempotency_path = SLICE_LIT("a\"b");
	check_answer(p, 200, OK_TWICE("0"));
	p = post_new("four", "application/json", "{\"n\":9}");
	p->r.idempotency_path = SLICE_LIT("a\"b");
	check_answer(p, 200,
		     "{\"topic\":\"four\",\"accepted\":1,\"duplicates\":0,\"rejected\":0,"
		     "\"offsets\":[{\"partition\":0,\"first\":0,\"last\":0}]}");
	assert_int_equal(end_of("t", 0), 1);
}

static void a_bad_key_is_400(void **state)
{
	static const char *const keys[] = {"", "\"\"", "\"a", "\"a\"b", "\"a\\n\"", "a\tb", "\xff"};
	char key[300];

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct post *p = keyed(keys[i], NULL, "x");
		start(p);
		assert_int_equal(p->r.result.err, ERR_BAD_KEY);
		post_free(p);
	}
	memset(key, 'k', sizeof(key));
	key[257] = 0;
	check_answer(
		keyed(key, NULL, "x"), 400,
		"{\"status\":400,\"title\":\"The idempotency key is not valid\",\"detail\":\"The idempotency key has 257 "
		"bytes: at most 256 are allowed\",\"code\":\"invalid_idempotency_key\"}");
	key[256] = 0;
	check_answer(keyed(key, NULL, "x"), 200, OK_ONE("0"));
}

static void a_body_under_one_key_is_one_unit(void **state)
{
	struct post *p;

	(void)state;
	check_answer(keyed("u", "application/x-ndjson", "1\n2\n3\n"), 200,
		     "{\"topic\":\"t\",\"accepted\":3,\"duplicates\":0,\"rejected\":0,"
		     "\"offsets\":[{\"partition\":0,\"first\":0,\"last\":2}]}");
	p = keyed("u", "application/x-ndjson", "1\n2\n3\n");
	option(p, "results", "records");
	check_answer(p, 200,
		     "{\"topic\":\"t\",\"accepted\":0,\"duplicates\":3,\"rejected\":0,"
		     "\"offsets\":[{\"partition\":0,\"first\":0,\"last\":2}],\"results\":["
		     "{\"index\":0,\"partition\":0,\"offset\":0,\"status\":\"duplicate\"},"
		     "{\"index\":1,\"partition\":0,\"offset\":1,\"status\":\"duplicate\"},"
		     "{\"index\":2,\"partition\":0,\"offset\":2,\"status\":\"duplicate\"}]}");
	check_answer(keyed("u", "application/x-ndjson", "1\n2\n"), 422, REUSED);
	p = post_new("four", "application/x-ndjson", "1\n2\n3\n4\n5\n");
	p->r.idempotency_header = SLICE_LIT("u");
	check_answer(p, 200,
		     "{\"topic\":\"four\",\"accepted\":5,\"duplicates\":0,\"rejected\":0,\"offsets\":["
		     "{\"partition\":0,\"first\":0,\"last\":1},{\"partition\":1,\"first\":0,\"last\":0},"
		     "{\"partition\":2,\"first\":0,\"last\":0},{\"partition\":3,\"first\":0,\"last\":0}]}");
	p = post_new("four", "application/x-ndjson", "1\n2\n3\n4\n5\n");
	p->r.idempotency_header = SLICE_LIT("u");
	check_answer(p, 200,
		     "{\"topic\":\"four\",\"accepted\":0,\"duplicates\":5,\"rejected\":0,\"offsets\":["
		     "{\"partition\":0,\"first\":0,\"last\":1},{\"partition\":1,\"first\":0,\"last\":0},"
		     "{\"partition\":2,\"first\":0,\"last\":0},{\"partition\":3,\"first\":0,\"last\":0}]}");
	assert_int_equal(end_of("four", 0), 2);
}

static void records_of_a_batch_have_keys_of_their_own(void **state)
{
	struct post *p;

	(void)state;
	expect("t", BATCH,
	       "{\"records\":[{\"value\":1,\"idempotency_key\":\"a\"},{\"value\":2,\"idempotency_key\":\"b\"}]}",
	       200,
	       "{\"topic\":\"t\",\"accepted\":2,\"duplicates\":0,\"rejected\":0,"
	       "\"offsets\":[{\"partition\":0,\"first\":0,\"last\":1}]}");
	p = post_new(
		"t", BATCH,
		"{\"records\":[{\"value\":9},{\"value\":2,\"idempotency_key\":\"b\"},{\"value\":3,\"idempotency_key\":\"c\"},"
		"{\"value\":3,\"idempotency_key\":\"c\"}]}");
	option(p, "results", "records");
	check_answer(p, 200,
		     "{\"topic\":\"t\",\"accepted\":2,\"duplicates\":2,\"rejected\":0,"
		     "\"offsets\":[{\"partition\":0,\"first\":1,\"last\":3}],\"results\":["
		     "{\"index\":0,\"partition\":0,\"offset\":2,\"status\":\"accepted\"},"
		     "{\"index\":1,\"partition\":0,\"offset\":1,\"status\":\"duplicate\"},"
		     "{\"index\":2,\"partition\":0,\"offset\":3,\"status\":\"accepted\"},"
		     "{\"index\":3,\"partition\":0,\"offset\":3,\"status\":\"duplicate\"}]}");
	/* Another payload: the whole batch, or that record where the rest may go. */
	expect("t", BATCH, "{\"records\":[{\"value\":7},{\"value\":8,\"idempotency_key\":\"a\"}]}", 422,
	       "{\"status\":422,\"title\":\"Records of the batch were refused\",\"detail\":\"1 of 2 records were refused and "
	       "nothing was stored: see errors\",\"code\":\"invalid_batch\",\"errors\":[{\"index\":1,"
	       "\"code\":\"idempotency_key_reused\",\"detail\":\"the idempotency key was used for another payload\"}]}");
	p = post_new(
		"t", BATCH,
		"{\"records\":[{\"value\":8,\"idempotency_key\":\"a\"},{},{\"value\":4,\"idempotency_key\":\"d\"},"
		"{\"value\":5,\"idempotency_key\":\"d\"}]}");
	option(p, "on_error", "skip");
	check_answer(
		p, 200,
		"{\"topic\":\"t\",\"accepted\":1,\"duplicates\":0,\"rejected\":3,"
		"\"offsets\":[{\"partition\":0,\"first\":4,\"last\":4}],\"errors\":["
		"{\"index\":0,\"code\":\"idempotency_key_reused\",\"detail\":\"the idempotency key was used for another payload\"},"
		"{\"index\":1,\"code\":\"invalid_record\",\"detail\":\"the record needs value, value_text, value_base64 or "
		"\\\"tombstone\\\":true\"},"
		"{\"index\":3,\"code\":\"idempotency_key_reused\",\"detail\":\"the idempotency key was used for another payload\"}]}");
	p = post_new(
		"t", BATCH,
		"{\"records\":[{\"value\":8,\"idempotency_key\":\"a\"},{\"value\":8,\"idempotency_key\":\"a\"},"
		"{\"value\":1,\"idempotency_key\":\"a\"}]}");
	start(p);
	settle(p);
	assert_int_equal(p->r.result.error_count, 3);
	post_free(p);
	p = post_new(
		"t", BATCH,
		"{\"records\":[{\"value\":8,\"idempotency_key\":\"a\"},{\"value\":8,\"idempotency_key\":\"a\"},"
		"{\"value\":2,\"idempotency_key\":\"b\"}]}");
	option(p, "on_error", "skip");
	start(p);
	settle(p);
	assert_int_equal(p->r.result.rejected, 2);
	assert_int_equal(p->r.result.duplicates, 1);
	post_free(p);
	/* What was refused left no key behind. */
	expect("t", BATCH,
	       "{\"records\":[{\"value\":1,\"idempotency_key\":\"a\"},{\"value\":4,\"idempotency_key\":\"d\"}]}",
	       200,
	       "{\"topic\":\"t\",\"accepted\":0,\"duplicates\":2,\"rejected\":0,"
	       "\"offsets\":[{\"partition\":0,\"first\":0,\"last\":0},{\"partition\":0,\"first\":4,\"last\":4}]}");
	p = keyed("u", BATCH, "{\"records\":[{\"value\":1,\"idempotency_key\":\"z\"}]}");
	start(p);
	assert_int_equal(p->r.result.err, ERR_BAD_BATCH);
	assert_int_equal(p->r.result.errors[0].err, ERR_BAD_KEY);
	post_free(p);
}

/* Both of one turn and one that is on its way to the disk. */
static void a_key_in_flight_is_waited_for(void **state)
{
	struct post *a = keyed("k", NULL, "x"), *b = keyed("k", NULL, "x"), *c = keyed("k", NULL, "y");

	(void)state;
	start(a);
	start(b);
	ingest_flush(w.queue);
	start(c);
	ingest_flush(w.queue);
	assert_false(a->done || b->done || c->done);
	assert_int_equal(ingest_in_flight(w.queue), 3);
	settle(a);
	settle(b);
	settle(c);
	assert_true(slice_eq_str(buf_slice(&a->answer), OK_ONE("0")));
	assert_true(slice_eq_str(buf_slice(&b->answer), OK_TWICE("0")));
	assert_true(slice_eq_str(buf_slice(&c->answer), REUSED));
	assert_int_equal(ingest_in_flight(w.queue), 0);
	post_free(a);
	post_free(b);
	post_free(c);
}

/* Crosswise keys of two batches in one turn must not lock each other out. */
static void batches_that_share_keys_crosswise_both_end(void **state)
{
	struct post *a = post_new(
		"t", BATCH,
		"{\"records\":[{\"value\":1,\"idempotency_key\":\"a\"},{\"value\":2,\"idempotency_key\":\"b\"}]}");
	struct post *b = post_new(
		"t", BATCH,
		"{\"records\":[{\"value\":2,\"idempotency_key\":\"b\"},{\"value\":3,\"idempotency_key\":\"c\"},"
		"{\"value\":1,\"idempotency_key\":\"a\"}]}");

	(void)state;
	start(a);
	start(b);
	settle(a);
	settle(b);
	assert_int_equal(a->r.result.accepted, 2);
	assert_int_equal(b->r.result.accepted, 1);
	assert_int_equal(b->r.result.duplicates, 2);
	assert_int_equal(end_of("t", 0), 3);
	post_free(a);
	post_free(b);
}

/* Keys that stand in runs on disk by now. */
static void keys_survive_a_checkpoint(void **state)
{
	struct fault fault;
	struct post *p;

	(void)state;
	check_answer(keyed("k", NULL, "x"), 200, OK_ONE("0"));
	expect("t", BATCH,
	       "{\"records\":[{\"value\":1,\"idempotency_key\":\"a\"},{\"value\":2,\"idempotency_key\":\"b\"}]}",
	       200,
	       "{\"topic\":\"t\",\"accepted\":2,\"duplicates\":0,\"rejected\":0,"
	       "\"offsets\":[{\"partition\":0,\"first\":1,\"last\":2}]}");
	assert_int_equal(log_checkpoint(w.log, &fault), 0);
	check_answer(keyed("k", NULL, "x"), 200, OK_TWICE("0"));
	check_answer(keyed("k", NULL, "y"), 422, REUSED);
	p = post_new(
		"t", BATCH,
		"{\"records\":[{\"value\":0,\"idempotency_key\":\"n\"},{\"value\":2,\"idempotency_key\":\"b\"}]}");
	check_answer(p, 200,
		     "{\"topic\":\"t\",\"accepted\":1,\"duplicates\":1,\"rejected\":0,"
		     "\"offsets\":[{\"partition\":0,\"first\":2,\"last\":3}]}");
}

/* The same where reading a run must wait: the answer comes by way of the other thread. */
static void keys_on_a_slow_disk_are_read_elsewhere(void **state)
{
	struct post *p, *other;
	struct fault fault;

	(void)state;
	check_answer(keyed("k", "application/x-ndjson", "1\n2\n"), 200,
		     "{\"topic\":\"t\",\"accepted\":2,\"duplicates\":0,\"rejected\":0,"
		     "\"offsets\":[{\"partition\":0,\"first\":0,\"last\":1}]}");
	expect("t", BATCH,
	       "{\"records\":[{\"value\":1,\"idempotency_key\":\"a\"},{\"value\":2,\"idempotency_key\":\"b\"}]}",
	       200,
	       "{\"topic\":\"t\",\"accepted\":2,\"duplicates\":0,\"rejected\":0,"
	       "\"offsets\":[{\"partition\":0,\"first\":2,\"last\":3}]}");
	assert_int_equal(log_checkpoint(w.log, &fault), 0);
	p = keyed("k", "application/x-ndjson", "1\n2\n");
	start(p);
	ingest_flush(w.queue);
	assert_int_equal(job_count, 1);
	settle(p);
	assert_true(p->r.result.replayed && p->r.result.duplicates == 2);
	post_free(p);
	check_answer(keyed("k", "application/x-ndjson", "1\n"), 422, REUSED);
	/* Both ask for b; the first claims n while it reads, the second waits for it. */
	p = post_new(
		"t", BATCH,
		"{\"records\":[{\"value\":0,\"idempotency_key\":\"n\"},{\"value\":2,\"idempotency_key\":\"b\"}]}");
	other = post_new(
		"t", BATCH,
		"{\"records\":[{\"value\":2,\"idempotency_key\":\"b\"},{\"value\":0,\"idempotency_key\":\"n\"}]}");
	start(p);
	start(other);
	settle(p);
	settle(other);
	assert_int_equal(p->r.result.accepted + other->r.result.accepted, 1);
	assert_int_equal(p->r.result.duplicates + other->r.result.duplicates, 3);
	assert_int_equal(end_of("t", 0), 5);
	post_free(p);
	post_free(other);
	pool_is_full = true;
	p = keyed("k", "application/x-ndjson", "1\n2\n");
	start(p);
	settle(p);
	assert_int_equal(p->r.result.err, ERR_OVERLOADED);
	post_free(p);
}

/* ---- CloudEvents ---- */

#define EVENT "\"specversion\":\"1.0\",\"source\":\"/s\",\"type\":\"t\""

static void events_come_in_three_modes(void **state)
{
	static const char *const binary[] = {"Host",    "x",     "ce-specversion",  "1.0",
					     "ce-id",   "1",     "ce-source",       "/s",
					     "ce-type", "t%20u", "ce-partitionkey", "pk",
					     NULL};
	static const char *const stored_binary[] = {"ce_specversion",
						    "1.0",
						    "ce_id",
						    "1",
						    "ce_source",
						    "/s",
						    "ce_type",
						    "t u",
						    "ce_partitionkey",
						    "pk",
						    "content-type",
						    "text/plain",
						    "idempotency-key",
						    "/s 1",
						    NULL};
	struct batch_record record;
	struct post *p = post_new("t", "text/plain", "body");

	(void)state;
	p->headers = binary;
	check_answer(p, 200, OK_ONE("0"));
	record = stored("t", 0, 0);
	assert_true(slice_eq_str(record.value, "body") && slice_eq_str(record.key, "pk"));
	expect_headers(record, stored_binary);
	/* The same id is a duplicate, whatever the payload and the mode. */
	expect("t", "application/cloudevents+json", "{" EVENT ",\"id\":\"1\",\"data\":{\"a\" :1}}", 200,
	       OK_TWICE("0"));
	expect("t", "application/cloudevents+json", "{" EVENT ",\"id\":\"2\",\"data\":{\"a\" :1}}", 200,
	       OK_ONE("1"));
	assert_true(slice_eq_str(stored("t", 0, 1).value, "{\"a\" :1}"));
	expect("t", "application/cloudevents-batch+json",
	       "[{" EVENT ",\"id\":\"2\"},{" EVENT ",\"id\":\"3\"},{" EVENT ",\"id\":\"3\",\"data\":7}]", 200,
	       "{\"topic\":\"t\",\"accepted\":1,\"duplicates\":2,\"rejected\":0,"
	       "\"offsets\":[{\"partition\":0,\"first\":1,\"last\":2}]}");
	assert_null(stored("t", 0, 2).value.ptr);
	drop_view();
}

static void bad_events_are_422(void **state)
{
	struct post *p;

	(void)state;
	expect("t", "application/cloudevents+json", "{" EVENT "}", 422,
	       "{\"status\":422,\"title\":\"The CloudEvent is not valid\",\"detail\":\"The required attribute 'id' is missing\","
	       "\"code\":\"invalid_cloudevent\"}");
	expect("t", "application/cloudevents+json", "{" EVENT, 400,
	       "{\"status\":400,\"title\":\"The JSON is not well formed\",\"detail\":\"The body is not well-formed JSON at byte "
	       "46: expected ',' or '}' after a member\",\"code\":\"invalid_json\"}");
	expect("t", "application/cloudevents+avro", "x", 415,
	       "{\"status\":415,\"title\":\"The media type is not supported\",\"detail\":\"CloudEvents are taken as "
	       "application/cloudevents+json, application/cloudevents-batch+json or with ce-* headers\","
	       "\"code\":\"unsupported_media_type\"}");
	p = post_new("t", "application/cloudevents-batch+json", "[{" EVENT ",\"id\":\"1\"},5]");
	option(p, "on_error", "skip");
	check_answer(p, 200,
		     "{\"topic\":\"t\",\"accepted\":1,\"duplicates\":0,\"rejected\":1,"
		     "\"offsets\":[{\"partition\":0,\"first\":0,\"last\":0}],\"errors\":[{\"index\":1,"
		     "\"code\":\"invalid_cloudevent\",\"detail\":\"An event is not an object\"}]}");
}

/* ---- the rest ---- */

static void an_unknown_coding_is_415(void **state)
{
	struct post *p = post_new("t", NULL, "x");

	(void)state;
	p->r.content_encoding = SLICE_LIT("br");
	check_answer(
		p, 415,
		"{\"status\":415,\"title\":\"The media type is not supported\",\"detail\":\"The Content-Encoding is "
		"not supported: gzip and zstd are\",\"code\":\"unsupported_media_type\"}");
	p = post_new("t", NULL, "not gzip");
	p->r.content_encoding = SLICE_LIT("gzip");
	start(p);
	assert_int_equal(p->r.result.err, ERR_BAD_ENCODING);
	assert_int_equal(ingest_status_of(&p->r.result), 400);
	post_free(p);
}

static void a_websocket_record_has_headers_and_time(void **state)
{
	static const char *const headers[] = {"h", "v", "idempotency-key", "k", NULL};
	struct post *p = post_new("t", NULL, "x");
	uint8_t encoded[16];

	(void)state;
	p->r.record_headers =
		slice_make(encoded,
			   (size_t)(batch_header_put(encoded, SLICE_LIT("h"), SLICE_LIT("v")) - encoded));
	p->r.record_header_count = 1;
	p->r.timestamp_ms = 77;
	p->r.idempotency_path = SLICE_LIT("k");
	start(p);
	settle(p);
	assert_int_equal(p->r.result.accepted, 1);
	post_free(p);
	expect_headers(stored("t", 0, 0), headers);
	assert_int_equal(stored("t", 0, 0).timestamp, 77);
	drop_view();
}

/* Threads of the log allocate, too: one request of many that met none of theirs is proof enough. */
static void a_small_record_takes_no_memory_of_its_own(void **state)
{
	uint64_t least = UINT64_MAX;

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct post *p = post_new("t", "application/json", "{\"a\":1}");
		uint64_t calls;
		assert_non_null(arena_alloc(&p->arena, 1)); /* the first chunk is the connection's */
		calls = mem_calls();
		assert_int_equal(ingest_start(w.queue, &p->r), 0);
		calls = mem_calls() - calls;
		least = calls < least ? calls : least;
		settle(p);
		post_free(p);
	}
	assert_int_equal(least, 0);
}

/* Wherever memory ends, the request is refused or whole, and the door goes on. */
static void every_allocation_may_fail(void **state)
{
	static const char body[] =
		"{\"records\":[{\"value\":1,\"idempotency_key\":\"a\",\"key\":\"\\n\"},{\"value\":2}]}";
	struct fault fault;
	struct post *p;
	bool failed = false;

	(void)state;
	assert_int_equal(log_checkpoint(w.log, &fault), 0); /* the log's threads are at rest */
	for (uint64_t n = 1; n <= 12; n++) {
		p = post_new("t", BATCH, body);
		p->arena.chunk_bytes = 64; /* nearly every allocation of the arena is one of memory */
		mem_fail_at(n);
		start(p);
		mem_fail_at(0);
		settle(p);
		assert_true(p->r.result.err == 0 || p->r.result.err == ERR_NOMEM);
		failed = failed || p->r.result.err;
		post_free(p);
	}
	assert_true(failed);
	p = post_new("t", BATCH, body);
	start(p);
	settle(p);
	assert_int_equal(p->r.result.err, 0);
	post_free(p);
}

static void counts_are_kept(void **state)
{
	(void)state;
	expect("t", NULL, "xy", 200, OK_ONE("0"));
	check_answer(
		keyed("", NULL, "x"), 400,
		"{\"status\":400,\"title\":\"The idempotency key is not valid\",\"detail\":\"The idempotency key is empty: "
		"expected 1 to 256 bytes\",\"code\":\"invalid_idempotency_key\"}");
	assert_int_equal(metrics_read(w.metrics, METRIC_INGEST_REQUESTS, ENTRY_HTTP), 1);
	assert_int_equal(metrics_read(w.metrics, METRIC_INGEST_RECORDS, ENTRY_HTTP), 1);
	assert_int_equal(metrics_read(w.metrics, METRIC_INGEST_BYTES, ENTRY_HTTP), 2);
	assert_int_equal(metrics_read(w.metrics, METRIC_INGEST_IN_FLIGHT, ENTRY_HTTP), 0);
	assert_int_equal(metrics_read(w.metrics, METRIC_REFUSALS, metric_code(ERR_BAD_KEY)), 1);
}

/* ---- on_error=dead ---- */

static struct post *dead_post(const char *topic, const char *type, const char *body)
{
	struct post *p = post_new(topic, type, body);

	option(p, "on_error", "dead");
	return p;
}

static struct dead_letter letter_at(const char *topic, int64_t offset)
{
	struct batch_record r = stored(topic, 0, offset);
	struct dead_letter d;

	dead_letter_read(&r, &d);
	assert_int_equal(d.from, DEAD_FROM_DOOR);
	assert_true(slice_eq_str(d.name, "http"));
	return d;
}

static void bad_lines_are_set_aside(void **state)
{
	struct post *p = dead_post("t", "application/x-ndjson", "1\nx y\n2\n{\n");
	struct dead_letter d;

	(void)state;
	option(p, "key", "k");
	option(p, "results", "records");
	check_answer(
		p, 200,
		"{\"topic\":\"t\",\"accepted\":2,\"duplicates\":0,\"rejected\":2,"
		"\"offsets\":[{\"partition\":0,\"first\":0,\"last\":1}],\"results\":["
		"{\"index\":0,\"partition\":0,\"offset\":0,\"status\":\"accepted\"},"
		"{\"index\":1,\"status\":\"rejected\"},"
		"{\"index\":2,\"partition\":0,\"offset\":1,\"status\":\"accepted\"},"
		"{\"index\":3,\"status\":\"rejected\"}],\"errors\":["
		"{\"index\":1,\"line\":2,\"code\":\"invalid_json\",\"detail\":\"at byte 1: expected a value\"},"
		"{\"index\":3,\"line\":4,\"code\":\"invalid_json\",\"detail\":\"at byte 2: expected a member name in quotes\"}],"
		"\"dead\":{\"topic\":\"t.dead\",\"records\":2,\"first\":0,\"last\":1}}");
	d = letter_at("t.dead", 0);
	assert_true(slice_eq_str(d.value, "x y") && slice_eq_str(d.key, "k"));
	assert_true(slice_eq_str(d.code, "invalid_json") && slice_eq_str(d.form, "application/json"));
	assert_true(slice_eq_str(d.place, "line 2 of the request") && slice_eq_str(d.topic, "t"));
	assert_true(slice_eq_str(d.text, "at byte 1: expected a value"));
	d = letter_at("t.dead", 1);
	assert_true(slice_eq_str(d.value, "{") && slice_eq_str(d.place, "line 4 of the request"));
	drop_view();
}

/* What only the state tells, too: a key that was used for something else. */
static void bad_records_of_a_batch_are_set_aside(void **state)
{
	static const char type[] = "application/vnd.weir.batch+json";
	struct dead_letter d;

	(void)state;
	check_answer(dead_post("t", type, "{\"records\":[{\"value\":1,\"idempotency_key\":\"a\"}]}"), 200,
		     "{\"topic\":\"t\",\"accepted\":1,\"duplicates\":0,\"rejected\":0,"
		     "\"offsets\":[{\"partition\":0,\"first\":0,\"last\":0}]}");
	check_answer(
		dead_post("t", type,
			  "{\"records\":[{\"value\":2,\"idempotency_key\":\"a\"}, {\"what\":3} ,"
			  "{\"value\":4,\"idempotency_key\":\"b\"}]}"),
		200,
		"{\"topic\":\"t\",\"accepted\":1,\"duplicates\":0,\"rejected\":2,"
		"\"offsets\":[{\"partition\":0,\"first\":1,\"last\":1}],\"errors\":["
		"{\"index\":0,\"code\":\"idempotency_key_reused\",\"detail\":\"the idempotency key was used for another payload\"},"
		"{\"index\":1,\"code\":\"invalid_record\",\"detail\":\"\\\"what\\\" is not a member of a record: key, value, headers, partition, "
		"idempotency_key, timestamp are, and key_base64, value_text, value_base64, tombstone\"}],"
		"\"dead\":{\"topic\":\"t.dead\",\"records\":2,\"first\":0,\"last\":1}}");
	d = letter_at("t.dead", 0);
	assert_true(slice_eq_str(d.value, "{\"value\":2,\"idempotency_key\":\"a\"}"));
	assert_true(slice_eq_str(d.code, "idempotency_key_reused") && slice_eq_str(d.form, type));
	d = letter_at("t.dead", 1);
	assert_true(slice_eq_str(d.value, "{\"what\":3}"));
	assert_true(slice_eq_str(d.place, "record 1 of the request"));
	drop_view();
}

static void a_bad_document_is_set_aside(void **state)
{
	struct post *p = dead_post("t", "application/json", "{\"a\":");
	struct dead_letter d;

	(void)state;
	p->r.idempotency_header = SLICE_LIT("id");
	check_answer(
		p, 200,
		"{\"topic\":\"t\",\"accepted\":0,\"duplicates\":0,\"rejected\":1,\"offsets\":[],\"errors\":["
		"{\"index\":0,\"code\":\"invalid_json\",\"detail\":\"The body is not well-formed JSON at byte 6: expected a value\"}],"
		"\"dead\":{\"topic\":\"t.dead\",\"records\":1,\"first\":0,\"last\":0}}");
	d = letter_at("t.dead", 0);
	assert_true(slice_eq_str(d.value, "{\"a\":") && slice_eq_str(d.idempotency_key, "id"));
	assert_true(slice_eq_str(d.form, "application/json") && !d.place.ptr);
	expect("t", "application/json", "{\"a\":", 400,
	       "{\"status\":400,\"title\":\"The JSON is not well formed\",\"detail\":\"The body is not "
	       "well-formed JSON at byte 6: expected a value\",\"code\":\"invalid_json\"}");
	drop_view();
}

static void a_unit_that_comes_again_leaves_no_letters_again(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct post *p = dead_post("t", "application/x-ndjson", "1\n{\n");
		p->r.idempotency_header = SLICE_LIT("unit");
		start(p);
		settle(p);
		assert_int_equal(p->r.result.err, 0);
		assert_int_equal(p->r.result.dead_count, i == 0);
		assert_int_equal(p->r.result.duplicates, i);
		post_free(p);
	}
	assert_int_equal(end_of("t.dead", 0), 1);
}

static void without_a_place_for_letters_nothing_is_stored(void **state)
{
	char name[250];
	struct post *p;

	(void)state;
	memset(name, 'n', sizeof(name));
	name[245] = 0; /* with the suffix one too long */
	p = dead_post(name, "application/x-ndjson", "1\n{\n");
	start(p);
	settle(p);
	assert_int_equal(p->r.result.err, ERR_BAD_TOPIC);
	assert_int_equal(end_of(name, 0), 0);
	post_free(p);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(json_is_stored_as_it_came),
		CASE(other_types_are_bytes),
		CASE(a_record_over_the_limit_is_413),
		CASE(a_body_over_the_limit_is_413),
		CASE(ack_none_is_answered_on_entering),
		CASE(options_are_strict),
		CASE(a_topic_is_made_on_use),
		CASE(bad_and_inner_names_are_refused),
		CASE(keys_choose_the_partition_as_kafka_does),
		CASE(keyless_records_go_round),
		CASE(a_bad_line_refuses_the_whole),
		CASE(too_many_records_are_413),
		CASE(an_envelope_says_everything_of_a_record),
		CASE(an_envelope_names_each_bad_record),
		CASE(a_compacted_topic_takes_no_record_without_a_key),
		CASE(a_broken_envelope_is_400),
		CASE(a_key_makes_the_second_a_duplicate),
		CASE(a_bad_key_is_400),
		CASE(a_body_under_one_key_is_one_unit),
		CASE(records_of_a_batch_have_keys_of_their_own),
		CASE(a_key_in_flight_is_waited_for),
		CASE(batches_that_share_keys_crosswise_both_end),
		CASE(keys_survive_a_checkpoint),
		CASE(bad_lines_are_set_aside),
		CASE(bad_records_of_a_batch_are_set_aside),
		CASE(a_bad_document_is_set_aside),
		CASE(a_unit_that_comes_again_leaves_no_letters_again),
		CASE(without_a_place_for_letters_nothing_is_stored),
		cmocka_unit_test_setup_teardown(keys_on_a_slow_disk_are_read_elsewhere, set_up_slow,
						tear_down),
		CASE(events_come_in_three_modes),
		CASE(bad_events_are_422),
		CASE(an_unknown_coding_is_415),
		CASE(a_websocket_record_has_headers_and_time),
		CASE(a_small_record_takes_no_memory_of_its_own),
		CASE(every_allocation_may_fail),
		CASE(counts_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
