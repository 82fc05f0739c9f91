/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_COMPACT_WORLD_TEST_H
#define WEIR_LOG_COMPACT_WORLD_TEST_H

/*
 * For the tests of compaction alone: over a real directory, by steps and with a clock of the test's own. What was
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

static inline int64_t test_wall(void *self)
{
	(void)self;
	return clock_ns;
}

/* Nothing has to wait for the checkpoint before to be long past. */
static inline int64_t test_monotonic(void *self)
{
	static int64_t now_ns;

	(void)self;
	return now_ns += 1000000000;
}

static inline void on_wake(void *ctx)
{
	(void)ctx;
}

static inline void open_log(struct fixture *f)
{
	f->options.dir = f->dir;
	log_world_open(&f->options, on_wake, f, &f->log, &f->port);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &f->topic, &f->p), 0);
	assert_int_equal(log_start(f->log, NULL), 0);
}

static inline void close_log(struct fixture *f)
{
	log_world_close(&f->log, f->port);
}

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	close_log(f);
	(void)test_dir_remove(f->dir);
	free(f);
	return 0;
}

/* ---- writing ---- */

static inline void on_done(struct log_commit *c)
{
	*(bool *)(void *)(c + 1) = true;
}

struct pending {
	struct log_commit commit;
	bool done;
};

static inline void settle(struct fixture *f)
{
	while (log_step(f->log, LOG_STEP_COMMIT) > 0)
		;
	while (log_step(f->log, LOG_STEP_MOVE) > 0)
		;
	log_port_run(f->port);
}

/* Several records in one batch: value "offset", so what is read says whether it is right. */
static inline void append(struct fixture *f, const struct known *records, uint32_t count)
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
	assert_int_equal(log_world_enter(f->log, &pending.commit), 0);
	settle(f);
	assert_true(pending.done);
}

static inline void append_one(struct fixture *f, int32_t key, bool tombstone)
{
	append(f, &(struct known){.key = key, .tombstone = tombstone}, 1);
}

/* Batches of several sizes over `keys` keys. */
static inline void append_many(struct fixture *f, uint32_t count, uint32_t keys)
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
static inline void roll(struct fixture *f)
{
	assert_int_equal(mover_roll(f->p), 0);
}

static inline void maintain(struct fixture *f)
{
	for (int i = 0; i < 100000; i++)
		if (log_step(f->log, LOG_STEP_MAINTAIN) <= 0)
			return;
	fail_msg("maintenance does not come to rest");
}

static inline struct log_stats stats_of(struct fixture *f)
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

static inline void read_batches(struct fixture *f, struct slice rest, int64_t *at, struct seen_offsets *out)
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

static inline void read_all(struct fixture *f, int64_t from, struct seen_offsets *out)
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

static inline int64_t last_of(const struct fixture *f, int32_t key)
{
	for (int64_t i = f->count; i-- > 0;)
		if (f->known[i].key == key)
			return i;
	return -1;
}

/* What is missing has a later record of its key, or is an expired tombstone where `expired` says so. */
static inline uint32_t check(struct fixture *f, bool expired)
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

static inline uint64_t keys_twice(struct fixture *f)
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

static inline void on_fault(void *ctx, const struct verify_fault *fault)
{
	uint32_t *faults = ctx;

	if (fault->harmless && strstr(fault->text, "set aside"))
		return; /* told, and no fault */
	(*faults)++;
	print_message("%s at %llu: %s\n", fault->file, (unsigned long long)fault->position, fault->text);
}

/* Stops, verifies, opens again. */
static inline void verify(struct fixture *f)
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
