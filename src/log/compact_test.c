/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compaction over a real directory, by steps and with a clock of the test's own. What was
 * appended is remembered, and what is read afterwards compared with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "log/core.h"
#include "log/log_world_test.h"
#include "log/offset_map.h"
#include "log/producers.h"
#include "log/verify.h"
#include "proto/batch/batch.h"
#include "sys/test_dir.h"

#define OFFSETS_MAX 20000u
#define HOUR_MS 3600000
#define DAY_MS (24ll * HOUR_MS)

static const struct topic_id topic_a = {{1}};
static const struct partition_options compacted = {.retention_ms = -1,
						   .retention_bytes = -1,
						   .segment_bytes = 2000,
						   .compact = true,
						   .dirty_percent = 50,
						   .max_lag_ms = -1,
						   .tombstone_ms = DAY_MS};

struct known {
	int32_t key; /* -1: none */
	bool tombstone;
};

struct fixture {
	char dir[TEST_DIR_BYTES];
	struct log_options options;
	struct sys_ops ops;
	struct sys sys;
	struct log *log;
	struct log_port *port;
	struct partition *p;
	struct partition_options topic;
	struct known known[OFFSETS_MAX];
	int64_t count; /* appended */
};

static int64_t clock_ns;

static int64_t test_wall(void *self)
{
	(void)self;
	return clock_ns;
}

/* Nothing has to wait for the checkpoint before to be long past. */
static int64_t test_monotonic(void *self)
{
	static int64_t now_ns;

	(void)self;
	return now_ns += 1000000000;
}

static void on_wake(void *ctx)
{
	(void)ctx;
}

static void open_log(struct fixture *f)
{
	f->options.dir = f->dir;
	log_world_open(&f->options, on_wake, f, &f->log, &f->port);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &f->topic, &f->p), 0);
	assert_int_equal(log_start(f->log, NULL), 0);
}

static void close_log(struct fixture *f)
{
	log_world_close(f->log, f->port);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || !test_dir_make(f->dir, "compact-test"))
		return -1;
	f->ops = *sys_kernel()->ops;
	f->ops.wall_ns = test_wall;
	f->ops.monotonic_ns = test_monotonic;
	f->sys = (struct sys){.ops = &f->ops, .self = sys_kernel()->self};
	clock_ns = 1700000000000 * 1000000ll;
	f->topic = compacted;
	f->options = (struct log_options){.sys = &f->sys,
					  .clock_hold_ms = -1, /* the test's clock jumps */
					  .journal_file_bytes = 1u << 20,
					  .tail_bytes_max = 1,
					  .steps = true};
	open_log(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	close_log(f);
	(void)test_dir_remove(f->dir);
	free(f);
	return 0;
}

/* ---- writing ---- */

static void on_done(struct log_commit *c)
{
	*(bool *)(void *)(c + 1) = true;
}

struct pending {
	struct log_commit commit;
	bool done;
};

static void settle(struct fixture *f)
{
	while (log_step(f->log, LOG_STEP_COMMIT) > 0)
		;
	while (log_step(f->log, LOG_STEP_MOVE) > 0)
		;
	log_port_run(f->port);
}

/* Several records in one batch: value "offset", so what is read says whether it is right. */
static void append(struct fixture *f, const struct known *records, uint32_t count)
{
	struct pending pending = {0};
	struct log_record r[64];
	char keys[64][16], values[64][64];

	assert_true(count <= 64 && f->count + count < OFFSETS_MAX);
	for (uint32_t i = 0; i < count; i++) {
		int n = snprintf(values[i], sizeof(values[i]), "%lld", (long long)f->count + i);
		int k = snprintf(keys[i], sizeof(keys[i]), "k%d", records[i].key);
		r[i] = (struct log_record){.partition = f->p,
					   .timestamp_ms = -1,
					   .key = slice_make(keys[i], (size_t)k),
					   .value = slice_make(values[i], (size_t)n)};
		if (records[i].key < 0)
			r[i].key = slice_null();
		if (records[i].tombstone)
			r[i].value = slice_null();
		f->known[f->count + i] = records[i];
	}
	f->count += count;
	pending.commit =
		(struct log_commit){.records = r, .record_count = count, .port = f->port, .on_done = on_done};
	log_enter_begin(f->log);
	assert_int_equal(log_enter(f->log, &pending.commit), 0);
	log_enter_end(f->log);
	settle(f);
	assert_true(pending.done);
}

static void append_one(struct fixture *f, int32_t key, bool tombstone)
{
	append(f, &(struct known){.key = key, .tombstone = tombstone}, 1);
}

/* Batches of several sizes over `keys` keys. */
static void append_many(struct fixture *f, uint32_t count, uint32_t keys)
{
	uint32_t seed = (uint32_t)f->count + 7;

	for (uint32_t i = 0; i < count;) {
		struct known k[8];
		uint32_t n = 1 + seed % 8;
		for (uint32_t j = 0; j < n; j++) {
			seed = seed * 1664525u + 1013904223u;
			k[j] = (struct known){.key = (int32_t)(seed >> 8 & 0xffff) % (int32_t)keys};
		}
		append(f, k, n);
		i += n;
	}
}

/* Closes the segment that is written to. */
static void roll(struct fixture *f)
{
	assert_int_equal(mover_roll(f->p), 0);
}

static void maintain(struct fixture *f)
{
	for (int i = 0; i < 100000; i++)
		if (log_step(f->log, LOG_STEP_MAINTAIN) <= 0)
			return;
	fail_msg("maintenance does not come to rest");
}

static struct log_stats stats_of(struct fixture *f)
{
	struct log_stats st;

	log_stats(f->log, &st);
	return st;
}

/* ---- reading ---- */

struct seen_offsets {
	bool there[OFFSETS_MAX];
	uint32_t count;
	int64_t gaps; /* offsets told as gaps */
};

static uint32_t packed_batches; /* that were read so far */

static void read_batches(struct fixture *f, struct slice rest, int64_t *at, struct seen_offsets *out)
{
	struct codec *codec;
	struct slice plain;
	struct buf bytes;

	assert_int_equal(codec_new(&codec), 0);
	buf_init(&bytes, BATCH_PLAIN_BYTES_MAX);
	while (rest.len) {
		struct batch_head head;
		struct batch_walk walk;
		struct batch_record r;
		char text[32];
		assert_int_equal(batch_check(rest, &head), 0);
		assert_int_equal(batch_inflate(codec, rest, &bytes, &plain), 0);
		assert_int_equal(batch_walk_start(&walk, plain), 0);
		packed_batches += batch_codec(&head) == BATCH_ZSTD;
		while (batch_walk_next(&walk, &r) == 1) {
			const struct known *k = &f->known[r.offset];
			if (r.offset < *at)
				continue;
			assert_true(r.offset < f->count);
			(void)snprintf(text, sizeof(text), "%lld", (long long)r.offset);
			assert_true(k->tombstone ? !r.value.ptr : slice_eq_str(r.value, text));
			(void)snprintf(text, sizeof(text), "k%d", k->key);
			assert_true(k->key < 0 ? !r.key.ptr : slice_eq_str(r.key, text));
			assert_true(r.timestamp >= 1700000000000 && r.timestamp <= clock_ns / 1000000);
			*at = r.offset + 1;
			out->there[r.offset] = true;
			out->count++;
		}
		*at = batch_last_offset(&head) + 1;
		rest = slice_from(rest, head.bytes);
	}
	codec_free(codec);
	buf_fini(&bytes);
}

static void read_all(struct fixture *f, int64_t from, struct seen_offsets *out)
{
	struct log_view view;
	int64_t at = from;
	int rc;

	memset(out, 0, sizeof(*out));
	while ((rc = log_read_wait(f->p, at, 1000, &view)) == LOG_READ_OK) {
		if (view.gap.from != view.gap.to) {
			assert_int_equal(view.gap.from, at);
			out->gaps += view.gap.to - view.gap.from;
			at = view.gap.to;
			continue;
		}
		read_batches(f, view.batches, &at, out);
		assert_int_equal(at, view.next_offset);
		blob_unref(view.blob);
	}
	assert_int_equal(rc, LOG_READ_END);
	assert_int_equal(at, f->count);
}

static int64_t last_of(const struct fixture *f, int32_t key)
{
	for (int64_t i = f->count; i-- > 0;)
		if (f->known[i].key == key)
			return i;
	return -1;
}

/* What is missing has a later record of its key, or is an expired tombstone where `expired` says so. */
static uint32_t check(struct fixture *f, bool expired)
{
	static struct seen_offsets seen;
	uint32_t missing = 0;

	read_all(f, 0, &seen);
	assert_int_equal(seen.gaps, 0);
	for (int64_t i = 0; i < f->count; i++) {
		const struct known *k = &f->known[i];
		bool last = k->key < 0 || last_of(f, k->key) == i;
		missing += !seen.there[i];
		if (last && !(k->tombstone && expired) && !seen.there[i])
			fail_msg("offset %lld, the last of key %d, is gone", (long long)i, k->key);
	}
	return missing;
}

static uint64_t keys_twice(struct fixture *f)
{
	static struct seen_offsets seen;
	uint64_t twice = 0;
	struct partition_range range;

	partition_range(f->p, &range);
	read_all(f, 0, &seen);
	for (int64_t i = 0; i < range.clean; i++) {
		int64_t last = range.clean;
		while (last-- > 0 && f->known[last].key != f->known[i].key)
			;
		twice += seen.there[i] && f->known[i].key >= 0 && last != i;
	}
	return twice;
}

static void verify(struct fixture *f);

/* ---- tests ---- */

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

static void on_fault(void *ctx, const struct verify_fault *fault)
{
	uint32_t *faults = ctx;

	if (fault->harmless && strstr(fault->text, "set aside"))
		return; /* told, and no fault */
	(*faults)++;
	print_message("%s at %llu: %s\n", fault->file, (unsigned long long)fault->position, fault->text);
}

/* Stops, verifies, opens again. */
static void verify(struct fixture *f)
{
	uint32_t faults = 0;
	struct verify_options o = {.sys = &f->sys, .dir = f->dir, .on_fault = on_fault, .ctx = &faults};
	struct verify_result result;
	struct fault fault = {0};

	close_log(f);
	assert_int_equal(log_verify(&o, &result, &fault), 0);
	assert_int_equal(faults, 0);
	open_log(f);
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

static void write_at(struct fixture *f, const struct segment *s, uint64_t at, const void *bytes, size_t n)
{
	char path[SEGMENT_PATH_BYTES];
	int fd;

	(void)f;
	segment_path(s, SEGMENT_LOG, path);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, (off_t)at), (ssize_t)n);
	close(fd);
}

static void damage_is_left_where_it_is(void **state)
{
	struct fixture *f = *state;
	static struct seen_offsets seen;
	int64_t base, gaps;

	append_one(f, 77, false);
	append_many(f, 600, 20);
	append_one(f, 77, true);
	roll(f);
	base = f->p->segments[2]->base;
	write_at(f, f->p->segments[2], 70, "\xff", 1);
	read_all(f, 0, &seen);
	gaps = seen.gaps;
	assert_true(gaps > 0);
	maintain(f);
	clock_ns += 2 * DAY_MS * 1000000;
	maintain(f);
	assert_int_equal(f->p->segments[1]->base, base);
	assert_int_equal(f->p->segments[1]->revision, 0);
	read_all(f, 0, &seen);
	assert_int_equal(seen.gaps, gaps);
	for (int32_t key = 0; key < 20; key++)
		assert_true(seen.there[last_of(f, key)]);
	assert_true(seen.there[last_of(f, 77)]); /* what it hides may be in what cannot be read */
}

/* As a repair writes them: a gap for readers, kept by compaction, and no line that calls it damage again. */
static void lost_records_are_told_as_a_gap_and_stay_lost(void **state)
{
	struct fixture *f = *state;
	static struct seen_offsets seen;
	uint8_t bytes[BATCH_HEAD_BYTES];
	struct segment *s;
	struct batch_head head;
	struct slice batch;
	struct segment_scan *scan;
	uint64_t at = 0;
	uint32_t lost = 0;

	for (int i = 0; i < 60; i++)
		append_one(f, i % 7, false);
	roll(f);
	s = f->p->segments[0];
	/* Every record is a batch here, of more than a head: what is behind the head would be damage. */
	assert_int_equal(segment_scan_open(s, &scan), 0);
	while (segment_scan_next(scan, &head, &batch) == 0 && head.base_offset < 3)
		at += head.bytes;
	segment_scan_close(scan);
	(void)batch_put_empty(bytes, 3, 3, BATCH_LOST, 5);
	{ /* the rest moves up */
		char path[SEGMENT_PATH_BYTES], rest[4096];
		ssize_t n;
		int fd;
		segment_path(s, SEGMENT_LOG, path);
		fd = open(path, O_RDWR);
		n = pread(fd, rest, sizeof(rest), (off_t)(at + head.bytes));
		assert_int_equal(pwrite(fd, bytes, sizeof(bytes), (off_t)at), (ssize_t)sizeof(bytes));
		assert_int_equal(pwrite(fd, rest, (size_t)n, (off_t)(at + sizeof(bytes))), n);
		assert_int_equal(ftruncate(fd, (off_t)(at + sizeof(bytes)) + n), 0);
		close(fd);
		atomic_store(&s->bytes, at + sizeof(bytes) + (uint64_t)n);
		segment_path(s, SEGMENT_INDEX, path);
		(void)unlink(path);
	}
	for (int pass = 0; pass < 3; pass++) {
		read_all(f, 0, &seen);
		assert_int_equal(seen.gaps, 1);
		assert_false(seen.there[3]);
		maintain(f);
		lost += f->p->segments[0]->revision;
	}
	assert_true(lost > 0);
	verify(f);
	read_all(f, 0, &seen);
	assert_int_equal(seen.gaps, 1);
	read_all(f, 3, &seen);
	assert_int_equal(seen.gaps, 1);
	read_all(f, 4, &seen);
	assert_int_equal(seen.gaps, 0);
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

static int no_room(void *self, int fd, const struct iovec *iov, int count, uint64_t at)
{
	(void)self;
	(void)fd;
	(void)iov;
	(void)count;
	(void)at;
	return -ENOSPC;
}

static uint32_t files_in(const struct fixture *f)
{
	char command[200], text[32] = "";
	FILE *out;

	(void)snprintf(command, sizeof(command), "find %s/topics -name '*.log' | wc -l", f->dir);
	out = popen(command, "r");
	assert_non_null(out);
	assert_non_null(fgets(text, sizeof(text), out));
	(void)pclose(out);
	return (uint32_t)atoi(text);
}

static void a_failure_leaves_what_was_and_is_tried_again(void **state)
{
	struct fixture *f = *state;
	uint32_t files;

	append_many(f, 600, 20);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	while (!f->log->compaction)
		assert_true(log_step(f->log, LOG_STEP_MAINTAIN) > 0);
	files = files_in(f);
	f->ops.pwritev = no_room;
	while (log_step(f->log, LOG_STEP_MAINTAIN) > 0)
		;
	f->ops.pwritev = sys_kernel()->ops->pwritev;
	assert_null(f->log->compaction);
	assert_int_equal(files_in(f), files);
	assert_int_equal(check(f, false), 0);
	f->p->retry_ns = 0;
	maintain(f);
	assert_true(check(f, false) > 350);
	/* One file a segment, and none for the empty one that is written to next. */
	assert_true(files_in(f) <= f->p->segment_count);
}

static void without_memory_nothing_is_lost(void **state)
{
	struct fixture *f = *state;

	for (uint64_t nth = 1; nth < 120; nth++) {
		append_many(f, 30, 5);
		roll(f);
		f->p->retry_ns = 0;
		mem_fail_at(nth);
		for (int i = 0; i < 20; i++)
			(void)log_step(f->log, LOG_STEP_MAINTAIN);
		mem_fail_at(0);
		if (nth % 20 == 0)
			(void)check(f, false);
	}
	f->p->retry_ns = 0;
	maintain(f);
	assert_int_equal(keys_twice(f), 0);
	verify(f);
	(void)check(f, false);
}

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

/* ---- transactions ---- */

/* One record of this key and producer, in its transaction; gives its offset. */
static int64_t append_undecided(struct fixture *f, int64_t producer, int32_t sequence, const char *key)
{
	struct pending pending = {0};
	struct log_record r = {.partition = f->p, .batch_records = 1};
	uint8_t bytes[200];
	struct batch_build b;
	struct batch_head head;

	batch_build_start(&b, bytes, 0);
	batch_build_put(&b, &(struct batch_record){.timestamp = clock_ns / 1000000,
						   .key = slice_str(key),
						   .value = SLICE_LIT("undecided")});
	assert_int_equal(batch_head_read(batch_build_finish(&b), &head), 0);
	head.producer_id = producer;
	head.producer_epoch = 0;
	head.base_sequence = sequence;
	head.attributes = BATCH_IS_TRANSACTIONAL;
	batch_head_put(bytes, &head);
	r.value = slice_make(bytes, head.bytes);
	pending.commit =
		(struct log_commit){.records = &r, .record_count = 1, .port = f->port, .on_done = on_done};
	log_enter_begin(f->log);
	assert_int_equal(log_enter(f->log, &pending.commit), 0);
	log_enter_end(f->log);
	settle(f);
	f->count++;
	return r.offset;
}

static int64_t append_marker(struct fixture *f, int64_t producer, bool commit)
{
	struct pending pending = {0};
	struct log_record r = {.partition = f->p, .batch_records = 1};
	struct batch_marker m = {.producer_id = producer,
				 .commit = commit,
				 .timestamp_ms = clock_ns / 1000000};
	uint8_t bytes[BATCH_MARKER_BYTES];

	(void)batch_put_marker(bytes, &m);
	r.value = slice_make(bytes, sizeof(bytes));
	pending.commit =
		(struct log_commit){.records = &r, .record_count = 1, .port = f->port, .on_done = on_done};
	log_enter_begin(f->log);
	assert_int_equal(log_enter(f->log, &pending.commit), 0);
	log_enter_end(f->log);
	settle(f);
	f->count++;
	return r.offset;
}

/* 'r' a record, 'm' a marker, 'h' a record of an aborted transaction, '.' nothing. */
static char what_is_at(struct fixture *f, int64_t offset)
{
	struct log_view view;
	struct batch_head head;
	char what;

	assert_int_equal(log_read_wait(f->p, offset, 1, &view), LOG_READ_OK);
	assert_int_equal(batch_check(view.batches, &head), 0);
	what = batch_is_empty(&head) ? '.' : batch_is_control(&head) ? 'm' : 'r';
	if (what == 'r' && partition_hides(f->p, &head))
		what = 'h';
	blob_unref(view.blob);
	return what;
}

static void pass(struct fixture *f)
{
	append_one(f, 1000 + (int32_t)f->count, false); /* so that there is something to do */
	roll(f);
	maintain(f);
}

static void what_was_aborted_goes_and_markers_go_when_they_decide_nothing(void **state)
{
	struct fixture *f = *state;
	int64_t aborted, kept, markers[2];

	kept = append_undecided(f, 1, 0, "a");
	aborted = append_undecided(f, 2, 0, "a"); /* later, but it never was */
	markers[0] = append_marker(f, 2, false);
	markers[1] = append_marker(f, 1, true);
	assert_int_equal(what_is_at(f, aborted), 'h');
	pass(f);
	assert_int_equal(what_is_at(f, kept), 'r');
	assert_int_equal(what_is_at(f, aborted), '.');
	assert_int_equal(what_is_at(f, markers[0]), 'm');
	assert_int_equal(what_is_at(f, markers[1]), 'm');
	assert_int_equal(partition_aborted(f->p, 0, 100, NULL, 0), 1);
	/* Forgotten at the second look behind the pass, so that who has read it before knows. */
	for (int i = 0; i < 2; i++) {
		clock_ns += HOUR_MS * 1000000ll;
		maintain(f);
	}
	assert_int_equal(partition_aborted(f->p, 0, 100, NULL, 0), 0);
	append_many(f, 40, 2);
	pass(f);
	assert_int_equal(what_is_at(f, markers[0]), '.');
	assert_int_equal(what_is_at(f, markers[1]), '.');
	assert_int_equal(what_is_at(f, kept), 'r');
}

static void nothing_is_compacted_from_an_open_transaction_on(void **state)
{
	struct fixture *f = *state;
	uint64_t passes;
	int64_t open;

	append_one(f, 1, false);
	append_one(f, 1, false);
	roll(f);
	open = append_undecided(f, 7, 0, "k1");
	append_one(f, 1, false);
	append_one(f, 1, false);
	roll(f);
	maintain(f);
	assert_int_equal(what_is_at(f, 0), '.');
	assert_int_equal(what_is_at(f, 1),
			 'r'); /* though a later one has its key: that is behind what is open */
	assert_int_equal(what_is_at(f, open), 'r');
	assert_int_equal(what_is_at(f, open + 1), 'r');
	passes = stats_of(f).compactions;
	for (int i = 0; i < 3; i++) {
		clock_ns += HOUR_MS * 1000000ll;
		maintain(f);
	}
	assert_int_equal(stats_of(f).compactions, passes); /* and it does not try for ever */
	(void)append_marker(f, 7, false);
	pass(f);
	assert_int_equal(what_is_at(f, 1), '.');
	assert_int_equal(what_is_at(f, open), '.');
	assert_int_equal(what_is_at(f, open + 1), '.');
	assert_int_equal(what_is_at(f, open + 2), 'r');
}

static void a_file_of_producers_that_is_gone_is_made_anew_from_what_was_compacted(void **state)
{
	struct fixture *f = *state;
	struct partition_range range;
	char command[160];
	int64_t later;

	(void)append_undecided(f, 1, 0, "a");
	(void)append_marker(f, 1, true);
	(void)append_undecided(f, 2, 0, "b");
	(void)append_marker(f, 2, false);
	pass(f);
	for (int i = 0; i < 2; i++) {
		clock_ns += HOUR_MS * 1000000ll;
		maintain(f);
	}
	pass(f);
	later = append_undecided(f, 3, 5, "c");
	close_log(f);
	(void)snprintf(command, sizeof(command), "rm %s/PRODUCERS.*", f->dir);
	assert_int_equal(system(command), 0);
	open_log(f);
	partition_range(f->p, &range);
	assert_int_equal(range.stable, later);
	assert_int_equal(what_is_at(f, 0), 'r');
	(void)append_undecided(f, 1, 77, "a"); /* what it had written is not known any more */
	(void)append_undecided(f, 3, 6, "c");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_knows_the_last_offset_of_many_keys),
		TEST(the_last_of_each_key_stays_where_it_was),
		TEST(what_was_aborted_goes_and_markers_go_when_they_decide_nothing),
		TEST(nothing_is_compacted_from_an_open_transaction_on),
		TEST(a_file_of_producers_that_is_gone_is_made_anew_from_what_was_compacted),
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
		TEST(damage_is_left_where_it_is),
		TEST(lost_records_are_told_as_a_gap_and_stay_lost),
		TEST(times_are_found_where_records_are_gone),
		TEST(a_failure_leaves_what_was_and_is_tried_again),
		TEST(without_memory_nothing_is_lost),
		TEST(old_segments_are_compressed_and_read_as_before),
		TEST(what_does_not_compress_is_looked_at_once),
		TEST(compressed_batches_are_compacted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
