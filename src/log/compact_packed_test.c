/* SPDX-License-Identifier: Apache-2.0 */
/* Recompression. */
#include "log/compact_world_test.h"

/* Batches that are worth it. */
static void append_large(struct fixture *f, uint32_t batches, uint32_t keys)
{
	for (uint32_t i = 0; i < batches; i++) {
		struct known k[60];
		for (uint32_t j = 0; j < 60; j++)
			k[j] = (struct known){.key = (int32_t)((i * 60 + j) * 7 % keys)};
		append(f, k, 60);
	}
}

static uint64_t bytes_of(const struct fixture *f)
{
	struct partition_range range;

	partition_range(f->p, &range);
	return range.bytes;
}

static void old_segments_are_compressed_and_read_as_before(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	f->topic.compact = false;
	f->topic.recompress_ms = 2 * HOUR_MS;
	partition_configure(f->p, &f->topic);
	append_large(f, 20, 1000);
	roll(f);
	clock_ns += HOUR_MS * 1000000ll;
	append_large(f, 10, 1000); /* too young */
	roll(f);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	maintain(f);
	before = bytes_of(f);
	clock_ns += HOUR_MS * 1000000ll;
	maintain(f);
	packed_batches = 0;
	assert_int_equal(check(f, false), 0);
	assert_int_equal(packed_batches, 20);
	assert_true(bytes_of(f) < before * 3 / 4);
	assert_true(stats_of(f).rewritten_segments > 5);
	verify(f);
	packed_batches = 0;
	assert_int_equal(check(f, false), 0);
	assert_int_equal(packed_batches, 20);
}

static void what_does_not_compress_is_looked_at_once(void **state)
{
	struct fixture *f = *state;
	uint64_t read;

	f->topic.compact = false;
	f->topic.recompress_ms = HOUR_MS;
	partition_configure(f->p, &f->topic);
	for (int i = 0; i < 60; i++)
		append_one(f, i, false);
	roll(f);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	clock_ns += (HOUR_MS + 1) * 1000000ll;
	maintain(f);
	read = stats_of(f).rewrite_read_bytes;
	assert_true(read > 0);
	assert_int_equal(stats_of(f).rewritten_segments, 0);
	verify(f);
	append_one(f, 1, false);
	roll(f);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	maintain(f);
	assert_true(stats_of(f).rewrite_read_bytes <
		    read); /* counted from the start: the last segment, if any */
	assert_int_equal(check(f, false), 0);
}

static void compressed_batches_are_compacted(void **state)
{
	struct fixture *f = *state;

	f->topic.recompress_ms = HOUR_MS;
	f->topic.compact = false;
	partition_configure(f->p, &f->topic);
	append_large(f, 20, 200);
	append(f, (struct known[]){{.key = 3, .tombstone = true}, {.key = 4, .tombstone = true}}, 2);
	append_large(f, 1, 2);
	roll(f);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	clock_ns += (HOUR_MS + 1) * 1000000ll;
	maintain(f);
	assert_int_equal(check(f, false), 0);
	f->topic.compact = true;
	partition_configure(f->p, &f->topic);
	maintain(f);
	assert_int_equal(keys_twice(f), 0);
	packed_batches = 0;
	assert_true(check(f, false) > 900);
	assert_true(packed_batches > 0);
	clock_ns += 2 * DAY_MS * 1000000;
	maintain(f);
	assert_int_equal(stats_of(f).compacted_tombstones, 2);
	(void)check(f, true);
	verify(f);
	(void)check(f, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(old_segments_are_compressed_and_read_as_before),
		TEST(what_does_not_compress_is_looked_at_once),
		TEST(compressed_batches_are_compacted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
