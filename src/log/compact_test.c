/* SPDX-License-Identifier: Apache-2.0 */
/* What stays and what goes, and when; what readers meet meanwhile. */
#include "log/compact_world_test.h"

static void the_last_of_each_key_stays_where_it_was(void **state)
{
	struct fixture *f = *state;
	struct partition_range range;

	append_many(f, 600, 20);
	assert_int_equal(check(f, false), 0);
	maintain(f);
	partition_range(f->p, &range);
	assert_true(range.clean > 400);
	assert_int_equal(keys_twice(f), 0);
	assert_true(check(f, false) > 350);
	assert_true(stats_of(f).compactions >= 1);
	assert_true(stats_of(f).compacted_records > 350);
	close_log(f);
	open_log(f);
	assert_int_equal(keys_twice(f), 0);
	assert_true(check(f, false) > 350);
	append_many(f, 600, 20);
	maintain(f);
	assert_int_equal(keys_twice(f), 0);
	verify(f);
}

static void small_segments_become_one(void **state)
{
	struct fixture *f = *state;
	uint32_t before;

	append_many(f, 3000, 5);
	before = f->p->segment_count;
	maintain(f);
	assert_true(before > 20);
	assert_true(f->p->segment_count < 4);
	assert_int_equal(keys_twice(f), 0);
	(void)check(f, false);
	verify(f);
	assert_true(f->p->segment_count < 8);
	(void)check(f, false);
}

static void a_map_that_is_too_small_takes_several_passes(void **state)
{
	struct fixture *f = *state;

	f->options.compaction_bytes_max = 1; /* the least: 1536 keys */
	close_log(f);
	open_log(f);
	for (int32_t i = 0; i < 2; i++)
		for (int32_t key = 0; key < 4000; key += 50) {
			struct known k[50];
			for (int32_t j = 0; j < 50; j++)
				k[j] = (struct known){.key = key + j};
			append(f, k, 50);
		}
	roll(f);
	maintain(f);
	assert_true(stats_of(f).compactions >= 3);
	assert_int_equal(keys_twice(f), 0);
	assert_int_equal(check(f, false), 4000);
}

static void tombstones_stay_for_their_time(void **state)
{
	struct fixture *f = *state;
	static struct seen_offsets seen;

	append_one(f, 1, false);
	append(f, (struct known[]){{.key = 2}, {.key = 1, .tombstone = true}, {.key = 3}}, 3);
	append_one(f, 2, true);
	roll(f);
	clock_ns += 10 * DAY_MS * 1000000;
	maintain(f); /* their time begins now, however old they are */
	assert_int_equal(check(f, false), 2);
	clock_ns += (DAY_MS - 1000) * 1000000;
	maintain(f);
	assert_int_equal(check(f, false), 2);
	verify(f);
	clock_ns += 2000 * 1000000ll;
	maintain(f);
	assert_int_equal(check(f, true), 4);
	assert_int_equal(stats_of(f).compacted_tombstones, 2);
	read_all(f, 0, &seen);
	assert_true(seen.there[3] && seen.count == 1);
	verify(f);
	assert_int_equal(check(f, true), 4);
}

static void records_without_a_key_stay(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 50; i++) {
		append_one(f, -1, false);
		append_one(f, 1, false);
	}
	roll(f);
	maintain(f);
	assert_int_equal(check(f, false), 49);
}

static void the_segment_that_is_written_to_is_left_alone_until_its_time(void **state)
{
	struct fixture *f = *state;

	f->topic.max_lag_ms = HOUR_MS;
	partition_configure(f->p, &f->topic);
	append_one(f, 1, false);
	append_one(f, 1, false);
	maintain(f);
	assert_int_equal(check(f, false), 0);
	clock_ns += (HOUR_MS + 1) * 1000000ll;
	maintain(f);
	assert_int_equal(check(f, false), 1);
	append_one(f, 1, false);
	maintain(f);
	assert_int_equal(check(f, false), 1);
	clock_ns += (HOUR_MS + 1) * 1000000ll;
	maintain(f);
	assert_int_equal(check(f, false), 2);
	verify(f);
	assert_int_equal(check(f, false), 2);
}

static void what_is_too_young_is_safe(void **state)
{
	struct fixture *f = *state;

	f->topic.min_lag_ms = HOUR_MS;
	partition_configure(f->p, &f->topic);
	append_one(f, 1, false);
	append_one(f, 1, false);
	roll(f);
	clock_ns += HOUR_MS / 2 * 1000000ll;
	append_one(f, 1, false);
	append_one(f, 1, false);
	roll(f);
	maintain(f);
	assert_int_equal(check(f, false), 0);
	clock_ns += HOUR_MS / 2 * 1000000ll - 1000000;
	maintain(f);
	assert_int_equal(check(f, false), 0);
	clock_ns +=
		2 *
		1000000ll; /* the first segment is old enough: its last record stays, as the pass looks no further */
	maintain(f);
	assert_int_equal(check(f, false), 1);
	clock_ns += HOUR_MS / 2 * 1000000ll;
	maintain(f);
	assert_int_equal(check(f, false), 3);
	verify(f);
	assert_int_equal(check(f, false), 3);
}

static void a_clean_partition_is_not_compacted_again(void **state)
{
	struct fixture *f = *state;
	uint64_t passes;

	append_many(f, 600, 20);
	maintain(f);
	passes = stats_of(f).compactions;
	maintain(f);
	clock_ns += DAY_MS * 1000000;
	maintain(f);
	assert_int_equal(stats_of(f).compactions, passes);
	append_many(f, 20, 3);
	roll(f);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	maintain(f); /* less than half is dirty */
	(void)check(f, false);
}

static void what_changes_nothing_is_not_written(void **state)
{
	struct fixture *f = *state;

	for (int32_t i = 0; i < 25; i++)
		append_one(f, i, false);
	roll(f);
	maintain(f);
	assert_int_equal(stats_of(f).compactions, 1);
	assert_int_equal(stats_of(f).rewritten_segments, 0);
	assert_int_equal(check(f, false), 0);
}

/* A reader that holds a segment, or comes back by offset, never meets a gap. */
static void a_reader_goes_on_while_its_segment_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct segment *held;
	struct segment_read r;
	static struct seen_offsets seen;
	int64_t at = 0;

	f->options.files_max = 1;
	close_log(f);
	open_log(f);
	append_many(f, 600, 20);
	held = segment_ref(f->p->segments[1]);
	assert_int_equal(segment_read(held, held->base, 100, true, &r), 0);
	blob_unref(r.blob);
	while (log_step(f->log, LOG_STEP_MAINTAIN) > 0) {
		struct log_view view;
		if (log_read_wait(f->p, at, 300, &view) != LOG_READ_OK)
			continue;
		assert_int_equal(view.gap.from, view.gap.to);
		at = view.next_offset;
		blob_unref(view.blob);
	}
	assert_true(atomic_load(&held->replaced));
	segment_unref(held);
	read_all(f, 0, &seen);
	assert_int_equal(seen.gaps, 0);
}

/* The reader asks by offset and the segment's file is gone before it is opened. */
static void files_that_are_gone_are_no_damage_where_they_were_replaced(void **state)
{
	struct fixture *f = *state;
	struct segment *old;
	struct segment_read r;

	append_many(f, 600, 20);
	old = segment_ref(f->p->segments[0]);
	maintain(f);
	assert_true(atomic_load(&old->replaced));
	files_forget(f->log->files, &old->file);
	assert_int_equal(segment_read(old, old->base, 100, true, &r), 0);
	assert_true(r.gap_from != r.gap_to);
	segment_unref(old);
	(void)check(f, false);
}

static void what_is_trimmed_deleted_or_expired_meanwhile_stays_so(void **state)
{
	struct fixture *f = *state;
	struct partition_range range;
	static struct seen_offsets seen;

	append_many(f, 600, 20);
	roll(f);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	while (!f->log->compaction)
		assert_true(log_step(f->log, LOG_STEP_MAINTAIN) > 0);
	partition_trim(f->p, 300);
	maintain(f);
	partition_range(f->p, &range);
	assert_int_equal(range.start, 300);
	read_all(f, 300, &seen);
	assert_int_equal(seen.gaps, 0);
	append_many(f, 600, 20);
	roll(f);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	while (!f->log->compaction)
		assert_true(log_step(f->log, LOG_STEP_MAINTAIN) > 0);
	partition_drop(f->p);
	maintain(f);
	assert_null(f->log->compaction);
	assert_int_equal(f->p->segment_count, 0);
}

static void times_are_found_where_records_are_gone(void **state)
{
	struct fixture *f = *state;
	static struct seen_offsets seen;
	int64_t times[200], offset, expect;

	for (int i = 0; i < 200; i++) {
		times[i] = clock_ns / 1000000;
		append_one(f, i % 9, false);
		clock_ns += 1000000000;
	}
	roll(f);
	maintain(f);
	assert_true(check(f, false) > 150);
	read_all(f, 0, &seen);
	for (int i = 0; i < 200; i++) {
		for (expect = i; expect < 200 && !seen.there[expect]; expect++)
			;
		assert_int_equal(log_find_wait(f->p, times[i], &offset), 0);
		assert_int_equal(offset, expect);
	}
}

static void a_map_knows_the_last_offset_of_many_keys(void **state)
{
	struct hash_key secret = {1, 2};
	struct offset_map *m;
	char key[16];

	(void)state;
	assert_int_equal(offset_map_new(&secret, 10000, 1u << 20, &m), 0);
	for (int64_t i = 0; i < 30000; i++) {
		int n = snprintf(key, sizeof(key), "%lld", (long long)i % 10000);
		assert_true(offset_map_put(m, slice_make(key, (size_t)n), i));
	}
	assert_int_equal(offset_map_count(m), 10000);
	for (int64_t i = 0; i < 10000; i++) {
		int n = snprintf(key, sizeof(key), "%lld", (long long)i);
		assert_int_equal(offset_map_find(m, slice_make(key, (size_t)n)), 20000 + i);
	}
	assert_int_equal(offset_map_find(m, SLICE_LIT("10000")), -1);
	assert_int_equal(offset_map_find(m, SLICE_LIT("")), -1);
	offset_map_free(m);
	assert_int_equal(offset_map_new(&secret, 1000000, 50000, &m), 0);
	for (uint64_t i = 0; i < 1536; i++) {
		int n = snprintf(key, sizeof(key), "%llu", (unsigned long long)i);
		assert_true(offset_map_put(m, slice_make(key, (size_t)n), 5));
	}
	assert_false(offset_map_put(m, SLICE_LIT("one more"), 5));
	assert_true(offset_map_put(m, SLICE_LIT("77"), 6));
	offset_map_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_knows_the_last_offset_of_many_keys),
		TEST(the_last_of_each_key_stays_where_it_was),
		TEST(small_segments_become_one),
		TEST(a_map_that_is_too_small_takes_several_passes),
		TEST(tombstones_stay_for_their_time),
		TEST(records_without_a_key_stay),
		TEST(the_segment_that_is_written_to_is_left_alone_until_its_time),
		TEST(what_is_too_young_is_safe),
		TEST(a_clean_partition_is_not_compacted_again),
		TEST(what_changes_nothing_is_not_written),
		TEST(a_reader_goes_on_while_its_segment_is_replaced),
		TEST(files_that_are_gone_are_no_damage_where_they_were_replaced),
		TEST(what_is_trimmed_deleted_or_expired_meanwhile_stays_so),
		TEST(times_are_found_where_records_are_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
