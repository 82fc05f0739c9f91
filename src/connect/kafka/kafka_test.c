/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The type against the cluster that librdkafka brings for tests: answers of a broker by order, and failures of it. What
 * such a cluster has not (deleted topics, old offsets, logins) is in tests/e2e/source_kafka_suite.py, against brokers.
 */
#include "connect/kafka/kafka.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/sanitized.h"
#include "connect/kafka/mark.h"
#include "connect/source_test.h"

#define API_FETCH 1
#define API_METADATA 3

static struct {
	rd_kafka_t *owner, *producer;
	rd_kafka_mock_cluster_t *cluster;
} far;

static rd_kafka_t *producer_new(const char *brokers)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[200];

	if (brokers)
		assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof(why)), 0);
	assert_int_equal(rd_kafka_conf_set(conf, "linger.ms", "0", why, sizeof(why)), 0);
	return rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
}

static int set_up(void **state)
{
	(void)state;
	far.owner = producer_new(NULL);
	far.cluster = rd_kafka_mock_cluster_new(far.owner, 1);
	far.producer = producer_new(rd_kafka_mock_cluster_bootstraps(far.cluster));
	return rd_kafka_mock_topic_create(far.cluster, "a", 2, 1) ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	rd_kafka_destroy(far.producer);
	rd_kafka_mock_cluster_destroy(far.cluster);
	rd_kafka_destroy(far.owner);
	return 0;
}

/* Without headers, and without waiting for it: what is put so comes in one batch. */
static void put_bare(const char *topic, int32_t partition, const char *value)
{
	assert_int_equal(rd_kafka_producev(far.producer, RD_KAFKA_V_TOPIC(topic),
					   RD_KAFKA_V_PARTITION(partition),
					   RD_KAFKA_V_VALUE((void *)(uintptr_t)value, strlen(value)),
					   RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
			 0);
}

/* A value NULL is a tombstone. */
static void put(const char *topic, int32_t partition, const char *key, const char *value)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(2);

	(void)rd_kafka_header_add(headers, "h", 1, "v", 1);
	(void)rd_kafka_header_add(headers, "none", 4, NULL, 0);
	assert_int_equal(
		rd_kafka_producev(far.producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
				  RD_KAFKA_V_KEY(key, key ? strlen(key) : 0),
				  RD_KAFKA_V_VALUE((void *)(uintptr_t)value, value ? strlen(value) : 0),
				  RD_KAFKA_V_TIMESTAMP(1700000000000), RD_KAFKA_V_HEADERS(headers),
				  RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
		0);
	assert_int_equal(rd_kafka_flush(far.producer, 20000), 0);
}

static void open_it(struct source_test *t, const char *more)
{
	char yaml[600];

	(void)snprintf(yaml, sizeof(yaml), "brokers: ['%s']\n%s",
		       rd_kafka_mock_cluster_bootstraps(far.cluster), more);
	source_test_open(t, &source_kafka, yaml);
}

/* Pulls until so many records are there, as the machinery does: again when the part is woken. */
static void pull_until(struct source_test *t, const char *part, uint32_t records)
{
	struct source_test_part *p = source_test_part(t, slice_str(part));

	for (;;) {
		uint32_t woken = atomic_load(&p->woken);
		enum source_end end = source_test_pull(t, part, 0);
		if (t->record_count >= records)
			return;
		if (end == SOURCE_FAILED)
			fail_msg("%s", t->fault.text);
		if (end == SOURCE_WAIT)
			source_test_await(p, woken + 1);
	}
}

static void records_come_as_they_are_and_each_once(void **state)
{
	struct source_test t;

	(void)state;
	put("a", 1, "k", "one");
	put("a", 1, NULL, "two");
	put("a", 1, "k", NULL);
	open_it(&t, "topics: [a]\n");
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	assert_int_equal(t.part_count, 2);
	pull_until(&t, "a/1", 3);
	assert_string_equal(source_test_value(&t, 0), "one");
	assert_string_equal(source_test_key(&t, 0), "k");
	assert_int_equal(t.records[0].header_count, 2);
	assert_int_equal(t.records[0].timestamp_ms, 1700000000000);
	assert_int_equal(t.records[0].partition, -1);
	assert_null(t.records[1].key.ptr);
	assert_null(t.records[2].value.ptr);
	source_test_crash(&t);
	put("a", 1, "k", "four");
	pull_until(&t, "a/1", 4);
	assert_int_equal(t.record_count, 4);
	assert_string_equal(source_test_value(&t, 3), "four");
	assert_int_equal(t.batch.lag_records, 0);
	source_test_close(&t);
}

static void records_with_headers_keep_them_among_those_without(void **state)
{
	struct source_test t;

	(void)state;
	for (int i = 0; i < 100; i++) {
		put_bare("a", 0, "bare");
		put_bare("a", 0, "");
		put("a", 0, i % 2 ? "k" : NULL, "with");
	}
	open_it(&t, "topics: [a]\n");
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	pull_until(&t, "a/0", 300);
	for (uint32_t i = 0; i < 300; i++) {
		assert_string_equal(source_test_value(&t, i), i % 3 == 2 ? "with" : i % 3 ? "" : "bare");
		assert_int_equal(t.records[i].header_count, i % 3 == 2 ? 2 : 0);
	}
	source_test_close(&t);
}

/* What was fetched and does not fit the credit is neither lost nor kept without a bound. */
static void a_small_credit_takes_all_of_it_in_pieces(void **state)
{
	struct source_test t;
	char value[16];

	(void)state;
	for (int i = 0; i < 300; i++) {
		(void)snprintf(value, sizeof(value), "%d", i);
		put("a", 0, "k", value);
	}
	open_it(&t, "topics: [a]\nkeep_partitions: true\nkeep_topics: true\n");
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	for (int tries = 0; t.record_count < 300; tries++) {
		assert_true(tries < 20000);
		struct source_test_part *p = source_test_part(&t, SLICE_LIT("a/0"));
		uint32_t woken = atomic_load(&p->woken), before = t.record_count;
		enum source_end end = source_test_pull(&t, "a/0", 7);
		assert_true(t.record_count - before <= 7);
		assert_int_not_equal(end, SOURCE_FAILED);
		if (end == SOURCE_WAIT && t.record_count < 300)
			source_test_await(p, woken + 1);
		if (tries % 10 == 9)
			source_test_crash(&t);
	}
	assert_int_equal(t.record_count, 300);
	for (uint32_t i = 0; i < 300; i++) {
		(void)snprintf(value, sizeof(value), "%u", i);
		assert_string_equal(source_test_value(&t, i), value);
		assert_int_equal(t.records[i].partition, 0);
		assert_true(slice_eq_str(t.records[i].topic, "a"));
	}
	source_test_close(&t);
}

static void latest_begins_at_the_end_but_what_is_new_at_its_beginning(void **state)
{
	struct source_test t;

	(void)state;
	put("a", 0, "k", "old");
	open_it(&t, "pattern: '[ab]'\nstart: latest\n");
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	assert_int_equal(t.part_count, 2);
	put("a", 0, "k", "new");
	assert_int_equal(rd_kafka_mock_topic_create(far.cluster, "b", 1, 1), 0);
	assert_int_equal(rd_kafka_mock_topic_create(far.cluster, "ab", 1, 1), 0);
	put("b", 0, "k", "first");
	pull_until(&t, "a/0", 1);
	assert_string_equal(source_test_value(&t, 0), "new");
	source_test_crash(&t);
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	assert_int_equal(t.part_count, 3);
	pull_until(&t, "b/0", 2);
	assert_string_equal(source_test_value(&t, 1), "first");
	source_test_close(&t);
}

/* A batch that was thrown away, a reset: the feed is at another place than the checkpoint. */
static void a_feed_goes_where_the_checkpoint_stands(void **state)
{
	struct source_test t;
	struct source_test_part *p;
	uint8_t bytes[KAFKA_MARK_BYTES];

	(void)state;
	put("a", 0, "k", "one");
	put("a", 0, "k", "two");
	open_it(&t, "topics: [a]\n");
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	p = source_test_part(&t, SLICE_LIT("a/0"));
	while (t.record_count == 0)
		(void)source_test_pull(&t, "a/0", 1);
	memcpy(bytes, p->part.checkpoint.bytes.ptr, sizeof(bytes));
	pull_until(&t, "a/0", 2);
	source_test_set_checkpoint(p, KAFKA_MARK_VERSION, slice_make(bytes, sizeof(bytes)));
	pull_until(&t, "a/0", 3);
	assert_string_equal(source_test_value(&t, 2), "two");
	source_test_close(&t);
}

/* Numbers from 0 on. */
static void put_numbers(int32_t partition, int count)
{
	char value[16];

	for (int i = 0; i < count; i++) {
		int n = snprintf(value, sizeof(value), "%d", i);
		assert_int_equal(rd_kafka_producev(far.producer, RD_KAFKA_V_TOPIC("a"),
						   RD_KAFKA_V_PARTITION(partition),
						   RD_KAFKA_V_VALUE(value, (size_t)n),
						   RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
				 0);
	}
	assert_int_equal(rd_kafka_flush(far.producer, 20000), 0);
}

/* One part as the machinery pulls it: where it has more, or was woken since. False: neither. */
static bool pull_if_due(struct source_test *t, const char *name, uint32_t *woken, enum source_end *end)
{
	struct source_test_part *p = source_test_part(t, slice_str(name));
	uint32_t now = atomic_load(&p->woken);

	if (*end != SOURCE_MORE && now == *woken)
		return false;
	*woken = now;
	*end = source_test_pull(t, name, 90);
	assert_int_not_equal(*end, SOURCE_FAILED);
	return true;
}

/*
 * One queue for all: what is another partition's waits for it, in order, and it is woken. With the least memory, so that the lists of
 * the feeds are full again and again.
 */
static void what_a_pull_meets_of_others_is_kept_for_them(void **state)
{
	struct source_test t;
	char value[16];
	const char *names[] = {"a/0", "a/1"};
	uint32_t woken[2] = {0}, next[2] = {0}, seen = 0, idle = 0, pulls = 0;
	enum source_end end[2] = {SOURCE_MORE, SOURCE_MORE};

	(void)state;
	put_numbers(0, 3000);
	put_numbers(1, 3000);
	open_it(&t, "topics: [a]\nmemory: 1MiB\nkeep_partitions: true\n");
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	for (uint32_t turn = 1; t.record_count < 6000; turn++) {
		bool did = pull_if_due(&t, names[turn % 2], &woken[turn % 2], &end[turn % 2]);
		idle = did ? 0 : idle + 1;
		if (idle > 1)
			(void)usleep(1000);
		assert_true(idle < 20000);
		pulls += did;
		if (did && pulls % 50 == 0) {
			source_test_crash(&t);
			end[0] = end[1] = SOURCE_MORE;
		}
	}
	for (; seen < t.record_count; seen++) {
		int32_t part = t.records[seen].partition;
		(void)snprintf(value, sizeof(value), "%u", next[part]++);
		assert_string_equal(source_test_value(&t, seen), value);
	}
	assert_int_equal(next[0], 3000);
	assert_int_equal(next[1], 3000);
	source_test_close(&t);
}

static void failures_are_named_and_sorted(void **state)
{
	struct source_test t;

	(void)state;
	open_it(&t, "topics: [a]\n");
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	put("a", 0, "k", "one");
	rd_kafka_mock_push_request_errors(far.cluster, API_FETCH, 1,
					  RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	struct source_test_part *p = source_test_part(&t, SLICE_LIT("a/0"));
	while (source_test_pull(&t, "a/0", 0) == SOURCE_WAIT)
		source_test_await(p, 1);
	assert_int_equal(t.failure, SOURCE_FINAL);
	assert_non_null(strstr(t.fault.text, "a/0"));
	pull_until(&t, "a/0", 1);
	assert_int_equal(t.record_count, 1);
	source_test_close(&t);
}

static void a_checkpoint_of_a_later_version_is_final(void **state)
{
	struct source_test t;

	(void)state;
	open_it(&t, "topics: [a]\n");
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	source_test_set_checkpoint(source_test_part(&t, SLICE_LIT("a/0")), KAFKA_MARK_VERSION + 1,
				   SLICE_LIT("x"));
	assert_int_equal(source_test_pull(&t, "a/0", 0), SOURCE_FAILED);
	assert_int_equal(t.failure, SOURCE_FINAL);
	source_test_set_checkpoint(source_test_part(&t, SLICE_LIT("a/0")), KAFKA_MARK_VERSION,
				   SLICE_LIT("x"));
	assert_int_equal(source_test_pull(&t, "a/0", 0), SOURCE_FAILED);
	source_test_close(&t);
}

static void nobody_there_is_told_with_the_address(void **state)
{
	struct source_test t;

	(void)state;
	source_test_open(&t, &source_kafka, "brokers: ['127.0.0.1:1']\ntopics: [a]\ntimeout: 2s\n");
	assert_int_equal(source_test_plan(&t), SOURCE_FAILED);
	assert_int_equal(t.failure, SOURCE_TRANSIENT);
	if (!strstr(t.fault.text, "127.0.0.1:1") || !strstr(t.fault.text, "refused"))
		fail_msg("%s", t.fault.text);
	source_test_close(&t);
}

static void tls_that_cannot_be_is_named(void **state)
{
	struct source_test t;

	(void)state;
	source_test_open(
		&t, &source_kafka,
		"brokers: ['127.0.0.1:1']\ntopics: [a]\ntls: {enabled: true, ca: /nonexistent.pem}\n");
	assert_int_equal(source_test_plan(&t), SOURCE_FAILED);
	assert_int_equal(t.failure, SOURCE_FINAL);
	if (!strstr(t.fault.text, "ssl.ca.location"))
		fail_msg("%s", t.fault.text);
	source_test_close(&t);
	open_it(&t, "topics: [a]\ntls: {enabled: true}\ntimeout: 2s\n");
	assert_int_equal(source_test_plan(&t), SOURCE_FAILED);
	if (!strstr(t.fault.text, "SSL"))
		fail_msg("%s", t.fault.text);
	source_test_close(&t);
}

static void a_guarded_source_reaches_no_private_address(void **state)
{
	struct source_test t;

	(void)state;
	source_test_setup(&t);
	t.guarded = true;
	assert_int_equal(source_test_try(&t, &source_kafka,
					 "brokers: ['127.0.0.1:1']\ntopics: [a]\ntimeout: 2s\n"),
			 0);
	assert_int_equal(source_test_plan(&t), SOURCE_FAILED);
	assert_int_equal(t.failure, SOURCE_FINAL);
	if (!strstr(t.fault.text, "may not reach"))
		fail_msg("%s", t.fault.text);
	source_test_close(&t);
	source_test_setup(&t);
	t.guarded = true;
	assert_int_not_equal(
		source_test_try(&t, &source_kafka,
				"brokers: ['127.0.0.1:1']\ntopics: [a]\ntls: {enabled: true, ca: /x}\n"),
		0);
	assert_non_null(strstr(t.fault.text, "no files"));
	source_test_close(&t);
}

/* A run beside the schedule: what is there when it begins, and no more. */
static void a_run_ends_where_the_partition_ended(void **state)
{
	struct source_test t;
	enum source_end end = SOURCE_MORE;
	char yaml[300];

	(void)state;
	for (int i = 0; i < 5; i++)
		put("a", 0, "k", "one");
	source_test_setup(&t);
	t.with_window = true;
	t.window = (struct source_window){.from_ms = INT64_MIN, .to_ms = INT64_MAX};
	(void)snprintf(yaml, sizeof(yaml), "brokers: ['%s']\ntopics: [a]\nstart: latest\n",
		       rd_kafka_mock_cluster_bootstraps(far.cluster));
	assert_int_equal(source_test_try(&t, &source_kafka, yaml), 0);
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	assert_int_equal(source_test_part(&t, SLICE_LIT("a/0"))->total, 5);
	put("a", 0, "k", "later");
	put("a", 1, "k", "later");
	for (int i = 0; end != SOURCE_DONE && i < 1000; i++) {
		struct source_test_part *p = source_test_part(&t, SLICE_LIT("a/0"));
		uint32_t woken = atomic_load(&p->woken);
		end = source_test_pull(&t, "a/0", 2);
		if (i == 2) {
			source_test_crash(&t);
			assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
		} else if (end == SOURCE_WAIT) {
			source_test_await(p, woken + 1);
		}
		assert_int_not_equal(end, SOURCE_FAILED);
	}
	assert_int_equal(end, SOURCE_DONE);
	assert_int_equal(t.record_count, 5);
	assert_int_equal(source_test_pull(&t, "a/1", 2), SOURCE_DONE);
	assert_int_equal(t.record_count, 5);
	source_test_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(records_come_as_they_are_and_each_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(records_with_headers_keep_them_among_those_without, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_small_credit_takes_all_of_it_in_pieces, set_up, tear_down),
		cmocka_unit_test_setup_teardown(latest_begins_at_the_end_but_what_is_new_at_its_beginning,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_feed_goes_where_the_checkpoint_stands, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_run_ends_where_the_partition_ended, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_a_pull_meets_of_others_is_kept_for_them, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(failures_are_named_and_sorted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_checkpoint_of_a_later_version_is_final, set_up, tear_down),
		cmocka_unit_test(nobody_there_is_told_with_the_address),
		cmocka_unit_test_setup_teardown(tls_that_cannot_be_is_named, set_up, tear_down),
		cmocka_unit_test(a_guarded_source_reaches_no_private_address),
	};

	/* librdkafka starts its threads with thrd_create, which ThreadSanitizer of gcc 12 does not know: it ends in the first one. */
	return SANITIZED_THREAD ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
