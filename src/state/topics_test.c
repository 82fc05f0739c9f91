/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/wire.h"
#include "state/topics_world_test.h"
#include "sys/test_dir.h"

static const struct topic_config plain = {.partitions = 1,
					  .retention_ms = 1000,
					  .retention_bytes = -1,
					  .idempotency_ttl_ms = 1000};

struct world {
	char dir[TEST_DIR_BYTES];
	struct log *log;
	struct state *state;
	struct topics *topics;
};

static void up(struct world *w)
{
	struct log_options options = {.sys = sys_kernel(), .dir = w->dir, .journal_file_bytes = 1u << 22};
	struct fault fault = {0};

	topics_world_open(&options, &plain, true, &w->log, &w->state, &w->topics);
	topics_world_load(w->state, w->topics);
	assert_int_equal(log_start(w->log, &fault), 0);
}

static void down(struct world *w)
{
	assert_int_equal(log_stop(w->log, NULL), 0);
	topics_free(w->topics);
	state_free(w->state);
	log_close(w->log);
}

static struct topic *create(struct world *w, const char *name, uint32_t partitions)
{
	struct topic_config config = plain;

	config.partitions = partitions;
	return topics_world_create(w->log, w->topics, name, &config);
}

static void topics_survive_a_restart(void **state)
{
	struct world w;
	struct topic_config config;
	struct topic *topic;
	struct topic_id id;
	int deleted, changed, refused;

	(void)state;
	assert_true(test_dir_make(w.dir, "topics-test"));
	up(&w);
	id = create(&w, "orders", 4)->id;
	topic = create(&w, "gone", 1);
	log_enter_begin(w.log);
	deleted = topics_delete(w.topics, topic, NULL);
	topic = topics_find(w.topics, slice_str("gone"));
	topic_config(w.topics, topics_find(w.topics, slice_str("orders")), &config);
	config.partitions = 6;
	changed = topics_change(w.topics, topics_find(w.topics, slice_str("orders")), &config, false, NULL,
				NULL);
	config.partitions = 5;
	refused = topics_change(w.topics, topics_find(w.topics, slice_str("orders")), &config, false, NULL,
				NULL);
	log_enter_end(w.log);
	assert_int_equal(deleted, 0);
	assert_null(topic);
	assert_int_equal(changed, 0);
	assert_int_equal(refused, ERR_BAD_TOPIC_CONFIG);
	for (int round = 0; round < 2; round++) {
		down(&w);
		up(&w);
		topic = topics_find(w.topics, slice_str("orders"));
		assert_non_null(topic);
		assert_true(topic_id_eq(&topic->id, &id));
		assert_int_equal(topic->partition_count, 6);
		assert_non_null(topic_partition(topic, 5));
		assert_null(topic_partition(topic, 6));
		assert_null(topics_find(w.topics, slice_str("gone")));
	}
	down(&w);
	assert_true(test_dir_remove(w.dir));
}

static void a_long_state_is_written_again_shorter(void **state)
{
	struct world w;
	struct partition_range range;
	struct topic *topic;
	char name[32];

	(void)state;
	assert_true(test_dir_make(w.dir, "topics-test"));
	up(&w);
	(void)create(&w, "kept", 2);
	for (int i = 0; i < 3000; i++) {
		(void)snprintf(name, sizeof(name), "t%d", i);
		topic = create(&w, name, 1);
		assert_int_equal(topics_world_delete(w.log, w.topics, topic), 0);
	}
	for (int round = 0; round < 2;
	     round++) { /* what was too fast for the disk above is done at the next start */
		down(&w);
		up(&w);
		log_enter_begin(w.log);
		state_tidy(w.state);
		log_enter_end(w.log);
	}
	partition_range(log_internal(w.log), &range);
	assert_true(range.end - range.start < 3000);
	assert_int_equal(topics_count(w.topics), 1);
	assert_int_equal(topics_find(w.topics, slice_str("kept"))->partition_count, 2);
	down(&w);
	assert_true(test_dir_remove(w.dir));
}

/* A row that an earlier version has written: 1 ends behind from_file, 2 behind recompress_after, 3 behind segment_bytes. */
static struct slice old_row(uint8_t version, uint8_t *bytes)
{
	uint8_t *at = wire_put_u8(bytes, version);

	at = wire_put_u8(at, 3);
	at = wire_put_bytes(at, SLICE_LIT("old"));
	at = wire_put_u64(at, 1000); /* created */
	at = wire_put_u32(at, 2);
	at = wire_put_u64(at, 5000); /* retention */
	at = wire_put_u64(at, (uint64_t)-1);
	at = wire_put_u8(at, TOPIC_OS);
	at = wire_put_u8(at, TOPIC_COMPACT);
	at = wire_put_u64(at, 7000); /* idempotency.ttl */
	at = wire_put_u8(at, 1);     /* from the file */
	if (version == 1)
		return slice_make(bytes, (size_t)(at - bytes));
	at = wire_put_u32(at, 30);
	at = wire_put_u64(at, 40);
	at = wire_put_u64(at, 50);
	at = wire_put_u64(at, 60);
	if (version == 2)
		return slice_make(bytes, (size_t)(at - bytes));
	at = wire_put_u64(at, 70);
	at = wire_put_u8(at, TOPIC_APPEND_TIME);
	at = wire_put_u32(at, 80);
	at = wire_put_u64(at, 90);
	return slice_make(bytes, (size_t)(at - bytes));
}

static void rows_of_earlier_versions_are_read(void **state)
{
	struct topic_config c;
	struct topic_id id;
	struct slice name;
	uint8_t bytes[128];

	(void)state;
	for (uint8_t version = 1; version <= 3; version++) {
		struct slice row = old_row(version, bytes);
		assert_int_equal(topic_row_read(SLICE_LIT("0123456789abcdef"), row, &id, &name, &c), 0);
		assert_true(slice_eq_str(name, "old"));
		assert_int_equal(c.durability, TOPIC_OS);
		assert_int_equal(c.cleanup, TOPIC_COMPACT);
		assert_int_equal(c.compaction_dirty_percent, version == 1 ? 50 : 30);
		assert_int_equal(c.recompress_after_ms, version == 1 ? 0 : 60);
		assert_int_equal(c.timestamps, version < 3 ? TOPIC_CREATE_TIME : TOPIC_APPEND_TIME);
		assert_int_equal(c.max_message_bytes, version < 3 ? TOPIC_MESSAGE_BYTES : 80);
		assert_int_equal(c.segment_bytes, version < 3 ? 0 : 90);
		assert_int_equal(c.compaction_min_lag_ms, version < 3 ? 0 : 70);
		assert_int_equal(c.dead_retention_ms, TOPIC_DEAD_RETENTION_MS);
		assert_int_equal(c.dead_max_bytes, TOPIC_DEAD_MAX_BYTES);
		row.len--;
		assert_int_equal(topic_row_read(SLICE_LIT("0123456789abcdef"), row, &id, &name, &c),
				 ERR_CORRUPT);
	}
}

static void settings_survive_a_restart(void **state)
{
	struct topic_config config = plain;
	struct topic *topic;
	struct world w;

	(void)state;
	config.timestamps = TOPIC_APPEND_TIME;
	config.max_message_bytes = 3000000;
	config.segment_bytes = 1u << 20;
	config.compaction_min_lag_ms = 77;
	config.dead_retention_ms = 78;
	config.dead_max_bytes = 79;
	assert_true(test_dir_make(w.dir, "topics-test"));
	up(&w);
	log_enter_begin(w.log);
	int err = topics_create(w.topics, SLICE_LIT("t"), &config, true, NULL, &topic, NULL);
	log_enter_end(w.log);
	assert_int_equal(err, 0);
	down(&w);
	up(&w);
	topic_config(w.topics, topics_find(w.topics, SLICE_LIT("t")), &config);
	assert_int_equal(config.timestamps, TOPIC_APPEND_TIME);
	assert_int_equal(config.max_message_bytes, 3000000);
	assert_int_equal(config.segment_bytes, 1u << 20);
	assert_int_equal(config.compaction_min_lag_ms, 77);
	assert_int_equal(config.dead_retention_ms, 78);
	assert_int_equal(config.dead_max_bytes, 79);
	down(&w);
	assert_true(test_dir_remove(w.dir));
}

static void names_are_checked(void **state)
{
	(void)state;
	assert_int_equal(topic_name_check(slice_str("a.b-c_9"), NULL), 0);
	assert_int_equal(topic_name_check(slice_str(""), NULL), ERR_BAD_TOPIC);
	assert_int_equal(topic_name_check(slice_str("a/b"), NULL), ERR_BAD_TOPIC);
	assert_int_equal(topic_name_check(slice_str(".."), NULL), ERR_BAD_TOPIC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(topics_survive_a_restart),
		cmocka_unit_test(a_long_state_is_written_again_shorter),
		cmocka_unit_test(rows_of_earlier_versions_are_read),
		cmocka_unit_test(settings_survive_a_restart),
		cmocka_unit_test(names_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
