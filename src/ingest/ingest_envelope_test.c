/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies that say more than a value: the batch envelope and CloudEvents. */
#include "ingest/ingest_post_test.h"

/* ---- the batch envelope ---- */

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(an_envelope_says_everything_of_a_record),
		CASE(an_envelope_names_each_bad_record),
		CASE(a_compacted_topic_takes_no_record_without_a_key),
		CASE(a_broken_envelope_is_400),
		CASE(events_come_in_three_modes),
		CASE(bad_events_are_422),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
