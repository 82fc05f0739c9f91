/* SPDX-License-Identifier: Apache-2.0 */
/* Idempotency: duplicates, keys in flight, keys on disk. */
#include "ingest/ingest_post_test.h"

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

#define HALF_KNOWN \
	"{\"records\":[{\"value\":\"new %s\",\"idempotency_key\":\"%s\"},{\"value\":0,\"idempotency_key\":\"known\"}]}"

/* A new record under a key of its own, and one whose key must be looked up on the disk. */
static struct post *half_known(const char *key, const void *lane)
{
	static char bodies[4][200];
	static uint32_t turn;
	char *body = bodies[turn++ % 4];
	struct post *p;

	(void)snprintf(body, sizeof(bodies[0]), HALF_KNOWN, key, key);
	p = post_new("t", BATCH, body);
	p->r.lane = lane;
	start(p);
	return p;
}

static struct post *plain_post(const void *lane)
{
	struct post *p = post_new("t", "text/plain", "x");

	p->r.lane = lane;
	start(p);
	return p;
}

static int64_t offset_of(const struct post *p)
{
	assert_int_equal(p->r.result.accepted, 1);
	return p->r.result.ranges[p->r.result.range_count - 1].last;
}

/* What comes behind a request that waits for the disk waits with it; other connections do not. */
static void requests_of_a_lane_enter_in_their_order(void **state)
{
	static const char lanes[2];
	struct post *a, *b, *c, *d, *other;
	struct fault fault;

	(void)state;
	expect("t", BATCH, "{\"records\":[{\"value\":0,\"idempotency_key\":\"known\"}]}", 200, OK_ONE("0"));
	assert_int_equal(log_checkpoint(w.log, &fault), 0);
	a = half_known("a", &lanes[0]);
	b = plain_post(&lanes[0]);
	ingest_flush(w.queue);
	c = half_known("c", &lanes[0]);
	d = plain_post(&lanes[0]);
	other = plain_post(&lanes[1]);
	ingest_flush(w.queue);
	assert_int_equal(job_count, 1); /* c does not claim before a has entered */
	settle(d);
	settle(other);
	assert_true(a->released && b->released && c->released);
	assert_int_equal(offset_of(other), 1);
	assert_int_equal(offset_of(a), 2);
	assert_int_equal(offset_of(b), 3);
	assert_int_equal(offset_of(c), 4);
	assert_int_equal(offset_of(d), 5);
	post_free(a);
	post_free(b);
	post_free(c);
	post_free(d);
	post_free(other);
}

/* Refused for want of a thread, and behind a key that is on its way: what stands behind goes on. */
static void a_lane_goes_on_behind_a_refusal(void **state)
{
	static const char lane;
	struct post *a, *b, *c;
	struct fault fault;

	(void)state;
	expect("t", BATCH, "{\"records\":[{\"value\":0,\"idempotency_key\":\"known\"}]}", 200, OK_ONE("0"));
	assert_int_equal(log_checkpoint(w.log, &fault), 0);
	pool_is_full = true;
	a = half_known("a", &lane);
	b = plain_post(&lane);
	settle(b);
	assert_true(a->released);
	assert_int_equal(a->r.result.err, ERR_OVERLOADED);
	assert_int_equal(offset_of(b), 1);
	post_free(a);
	post_free(b);
	a = keyed("same", NULL, "x");
	a->r.lane = &lane;
	start(a);
	b = keyed("same", NULL, "x");
	b->r.lane = &lane;
	start(b);
	c = plain_post(&lane);
	settle(c);
	assert_true(a->released && b->released);
	assert_int_equal(b->r.result.duplicates, 1);
	assert_int_equal(offset_of(c), offset_of(a) + 1);
	assert_int_equal(ingest_in_flight(w.queue), 0);
	post_free(a);
	post_free(b);
	post_free(c);
}

#define SLOW_CASE(name) cmocka_unit_test_setup_teardown(name, set_up_slow, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_key_makes_the_second_a_duplicate),
		CASE(a_bad_key_is_400),
		CASE(a_body_under_one_key_is_one_unit),
		CASE(records_of_a_batch_have_keys_of_their_own),
		CASE(a_key_in_flight_is_waited_for),
		CASE(batches_that_share_keys_crosswise_both_end),
		CASE(keys_survive_a_checkpoint),
		SLOW_CASE(keys_on_a_slow_disk_are_read_elsewhere),
		SLOW_CASE(requests_of_a_lane_enter_in_their_order),
		SLOW_CASE(a_lane_goes_on_behind_a_refusal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
