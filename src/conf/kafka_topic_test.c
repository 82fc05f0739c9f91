/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "conf/kafka_topic.h"
#include "conf/setting.h"

static void defaults(struct conf_topic *topic)
{
	conf_topic_init(topic);
	topic->segment_bytes = 256 << 20;
}

/* Sets, and gives what is told then; the refusal where it is not taken. */
static const char *set(struct conf_topic *topic, const char *name, const char *value)
{
	static char text[600];
	const struct kafka_topic_row *row = kafka_topic_find(slice_str(name));
	struct fault fault = {0};
	struct buf out;

	if (!row) {
		(void)kafka_topic_unknown(slice_str(name), &fault);
		(void)snprintf(text, sizeof(text), "%s", fault.text);
		return text;
	}
	if (kafka_topic_set(row, topic, slice_str(value), &fault)) {
		(void)snprintf(text, sizeof(text), "%s", fault.text);
		return text;
	}
	buf_init(&out, 500);
	assert_int_equal(kafka_topic_text(row, topic, &out), 0);
	(void)snprintf(text, sizeof(text), "%.*s", (int)out.len, out.ptr ? (const char *)out.ptr : "");
	buf_fini(&out);
	return text;
}

static void every_row_is_sound(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < kafka_topic_count; i++) {
		const struct kafka_topic_row *row = &kafka_topic_table[i];
		struct buf out;
		assert_ptr_equal(kafka_topic_find(slice_str(row->name)), row);
		if (i) /* in order of name */
			assert_true(strcmp(kafka_topic_table[i - 1].name, row->name) < 0);
		if (row->key)
			assert_non_null(setting_find(SETTING_TOPIC, slice_str(row->key)));
		else
			assert_non_null(row->fixed);
		buf_init(&out, 400);
		assert_int_equal(kafka_topic_expected(row, &out), 0);
		assert_true(out.len > 0);
		buf_fini(&out);
	}
}

/* Told, set again and told: the same, and no other setting is touched. */
static void every_row_round_trips(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < kafka_topic_count; i++) {
		const struct kafka_topic_row *row = &kafka_topic_table[i];
		struct conf_topic topic, again;
		struct buf text;
		defaults(&topic);
		for (int round = 0; round < 2; round++) {
			again = topic;
			buf_init(&text, 500);
			assert_int_equal(kafka_topic_text(row, &topic, &text), 0);
			if (kafka_topic_set(row, &again, text.len ? buf_slice(&text) : SLICE_LIT(""), NULL))
				fail_msg("%s does not take what it tells: %.*s", row->name, (int)text.len,
					 (const char *)text.ptr);
			assert_memory_equal(&again, &topic, sizeof(topic));
			buf_fini(&text);
			/* The second time with everything without a bound. */
			topic.retention_ms = topic.retention_bytes = topic.compaction_max_lag_ms = -1;
			topic.cleanup = CONF_CLEANUP_COMPACT_DELETE;
			topic.timestamps = CONF_TIMESTAMPS_APPEND;
			topic.compaction_dirty_percent = 7;
		}
	}
}

static void a_row_changes_its_setting_alone(void **state)
{
	static const char *const values[][2] = {
		{"cleanup.policy", "compact"},
		{"delete.retention.ms", "5"},
		{"max.compaction.lag.ms", "5"},
		{"max.message.bytes", "5"},
		{"message.timestamp.type", "LogAppendTime"},
		{"min.cleanable.dirty.ratio", "0.05"},
		{"min.compaction.lag.ms", "5"},
		{"retention.bytes", "5"},
		{"retention.ms", "5"},
		{"segment.bytes", "5000"},
	};
	uint32_t settings = 0;

	(void)state;
	for (uint32_t i = 0; i < kafka_topic_count; i++)
		settings += kafka_topic_table[i].key != NULL;
	assert_int_equal(settings, sizeof(values) / sizeof(values[0]) + 1); /* and flush.messages */
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		const struct kafka_topic_row *row = kafka_topic_find(slice_str(values[i][0]));
		struct conf_topic topic, plain;
		defaults(&topic);
		plain = topic;
		assert_string_equal(set(&topic, values[i][0], values[i][1]), values[i][1]);
		for (uint32_t k = 0; k < kafka_topic_count; k++)
			assert_int_equal(kafka_topic_same(&kafka_topic_table[k], &topic, &plain),
					 &kafka_topic_table[k] != row);
		kafka_topic_reset(row, &topic, &plain);
		assert_memory_equal(&topic, &plain, sizeof(topic));
	}
}

struct kafka_try {
	const char *name, *value, *told;
};

static const struct kafka_try tries[] = {
	/* what Kafka Streams and Connect send */
	{"cleanup.policy", "compact,delete", "compact,delete"},
	{"cleanup.policy", "delete, compact", "compact,delete"},
	{"segment.bytes", "52428800", "52428800"},
	{"retention.ms", "-1", "-1"},
	{"message.timestamp.type", "CreateTime", "CreateTime"},
	{"min.compaction.lag.ms", "9223372036854775807", "3153600000000"},
	{"min.insync.replicas", "1", "1"},
	{"unclean.leader.election.enable", "false", "false"},
	/* bounds */
	{"retention.ms", "0", "1"},
	{"retention.ms", " 86400000 ", "86400000"},
	{"retention.ms", "9223372036854775807", "-1"},
	{"retention.bytes", "0", "1"},
	{"max.compaction.lag.ms", "9223372036854775807", "9223372036854775807"},
	{"segment.bytes", "14", "1024"},
	{"segment.bytes", "2147483647", "1073741824"},
	{"min.cleanable.dirty.ratio", "0", "0.01"},
	{"min.cleanable.dirty.ratio", "1", "1.0"},
	{"min.cleanable.dirty.ratio", "5e-1", "0.5"},
	/* taken, and what is in force is told */
	{"compression.type", "zstd", "producer"},
	{"preallocate", "TRUE", "false"},
	{"segment.ms", "3600000", "9223372036854775807"},
	{"message.format.version", "2.8-IV0", "3.0-IV1"},
	{"flush.messages", "10000", "1"},
	{"leader.replication.throttled.replicas", "0:0,1:0", ""},
	/* refused */
	{"retention.ms", "7d",
	 "Invalid value 7d for configuration retention.ms: expected a whole number from -1, -1 being without a bound"},
	{"retention.ms", "-2",
	 "Invalid value -2 for configuration retention.ms: expected a whole number from -1, -1 being without a bound"},
	{"retention.ms", "9223372036854775808",
	 "Invalid value 9223372036854775808 for configuration retention.ms: expected a whole number from -1, -1 being without a bound"},
	{"cleanup.policy", "",
	 "Invalid value  for configuration cleanup.policy: expected compact, delete, or both with a comma between them"},
	{"cleanup.policy", "compact,,delete",
	 "Invalid value compact,,delete for configuration cleanup.policy: expected compact, delete, or both with a comma between them"},
	{"message.timestamp.type", "append",
	 "Invalid value append for configuration message.timestamp.type: expected CreateTime or LogAppendTime"},
	{"min.cleanable.dirty.ratio", "1.5",
	 "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: expected a number from 0 to 1, such as 0.5"},
	{"min.cleanable.dirty.ratio", "nan",
	 "Invalid value nan for configuration min.cleanable.dirty.ratio: expected a number from 0 to 1, such as 0.5"},
	{"max.message.bytes", "100000000",
	 "Invalid value 100000000 for configuration max.message.bytes: expected a whole number from 0 to 33554432"},
	{"min.insync.replicas", "2",
	 "Invalid value 2 for configuration min.insync.replicas: expected 1, the only value that weir has for it"},
	{"compression.type", "brotli",
	 "Invalid value brotli for configuration compression.type: expected producer, uncompressed, gzip, snappy, lz4 or zstd"},
	{"message.format.version", "0.10.2",
	 "Invalid value 0.10.2 for configuration message.format.version: expected 0.11.0 or a later version, such as 3.0-IV1"},
	{"retention.msec", "1", "Unknown topic config name: retention.msec; did you mean retention.ms?"},
	{"durability", "os", "Unknown topic config name: durability"},
};

static void values_are_taken_as_kafka_means_them(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		struct conf_topic topic;
		defaults(&topic);
		assert_string_equal(set(&topic, tries[i].name, tries[i].value), tries[i].told);
	}
}

static void flush_messages_of_one_is_fsync(void **state)
{
	struct conf_topic topic;

	(void)state;
	defaults(&topic);
	topic.durability = CONF_DURABILITY_OS;
	assert_string_equal(set(&topic, "flush.messages", "9223372036854775807"), "9223372036854775807");
	assert_int_equal(topic.durability, CONF_DURABILITY_OS);
	assert_string_equal(set(&topic, "flush.messages", "1"), "1");
	assert_int_equal(topic.durability, CONF_DURABILITY_FSYNC);
	assert_string_equal(set(&topic, "flush.messages", "9223372036854775807"), "1"); /* never weaker */
}

static void lists_grow_and_shrink(void **state)
{
	const struct kafka_topic_row *row = kafka_topic_find(SLICE_LIT("cleanup.policy"));
	struct fault fault = {0};
	struct conf_topic topic;

	(void)state;
	defaults(&topic);
	assert_int_equal(kafka_topic_append(row, &topic, SLICE_LIT("compact"), &fault), 0);
	assert_int_equal(topic.cleanup, CONF_CLEANUP_COMPACT_DELETE);
	assert_int_equal(kafka_topic_append(row, &topic, SLICE_LIT("compact"), &fault), 0);
	assert_int_equal(kafka_topic_subtract(row, &topic, SLICE_LIT("delete"), &fault), 0);
	assert_int_equal(topic.cleanup, CONF_CLEANUP_COMPACT);
	assert_int_equal(kafka_topic_subtract(row, &topic, SLICE_LIT("delete"), &fault), 0);
	assert_int_equal(kafka_topic_subtract(row, &topic, SLICE_LIT("compact"), &fault),
			 ERR_BAD_TOPIC_CONFIG);
	assert_int_equal(topic.cleanup, CONF_CLEANUP_COMPACT);
	assert_int_equal(kafka_topic_append(row, &topic, SLICE_LIT("x"), &fault), ERR_BAD_TOPIC_CONFIG);
	assert_int_equal(kafka_topic_append(kafka_topic_find(SLICE_LIT("retention.ms")), &topic,
					    SLICE_LIT("1"), &fault),
			 ERR_BAD_TOPIC_CONFIG);
	assert_string_equal(fault.text,
			    "Can't APPEND to or SUBTRACT from key retention.ms because its type is not LIST");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_sound),
		cmocka_unit_test(every_row_round_trips),
		cmocka_unit_test(a_row_changes_its_setting_alone),
		cmocka_unit_test(values_are_taken_as_kafka_means_them),
		cmocka_unit_test(flush_messages_of_one_is_fsync),
		cmocka_unit_test(lists_grow_and_shrink),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
