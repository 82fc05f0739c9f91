/* SPDX-License-Identifier: Apache-2.0 */
/* Records as they come, topics and partitions, NDJSON, codings; memory that fails. */
#include "ingest/ingest_post_test.h"

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
		CASE(an_unknown_coding_is_415),
		CASE(a_websocket_record_has_headers_and_time),
		CASE(a_small_record_takes_no_memory_of_its_own),
		CASE(every_allocation_may_fail),
		CASE(counts_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
