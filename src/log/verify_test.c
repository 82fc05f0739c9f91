/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verification, repair and backups over a disk in memory. Each repair is also
 * tried with its n-th call of each kind failing and the power going there; the
 * next repair must come to the same end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "log/backup.h"
#include "log/frame.h"
#include "log/journal.h"
#include "log/log.h"
#include "log/log_world_test.h"
#include "log/verify.h"
#include "proto/batch/batch.h"
#include "sys/sim/sim.h"

#define DIR "data"
#define RECORDS 120
#define BEHIND 20 /* of them, behind the checkpoint */
#define VALUE_BYTES 600

static const struct topic_id topic = {{7}};
static const struct partition_options keep_all = {.retention_ms = -1, .retention_bytes = -1};

struct world {
	struct sim *sim;
	struct log *log;
	struct log_port *port;
	struct partition *partitions[2];
	uint32_t done;
	/* what the last walk told */
	struct verify_result result;
	char first[300];
	int64_t lost; /* offsets of the faults */
};

static void on_wake(void *ctx)
{
	(void)ctx;
}

static int open_log(struct world *w, const char *dir)
{
	struct log_options o = {.sys = sim_sys(w->sim),
				.dir = dir,
				.journal_file_bytes = 256u << 10,
				.segment_bytes = 16u << 10,
				.steps = true};
	struct fault fault = {0};
	int rc = log_open(&o, &w->log, &fault);

	if (rc)
		return rc;
	assert_int_equal(log_port_new(w->log, on_wake, w, &w->port), 0);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(partition_open(w->log, &topic, i, &keep_all, &w->partitions[i]), 0);
	assert_int_equal(log_start(w->log, NULL), 0);
	return 0;
}

static void on_done(struct log_commit *c)
{
	(void)c;
}

/* The value of a record says where it stands. */
static void value_of(uint32_t partition, int64_t offset, char *out)
{
	memset(out, 'x', VALUE_BYTES);
	(void)snprintf(out, VALUE_BYTES, "%u:%lld", partition, (long long)offset);
}

static void append(struct world *w, int64_t offset)
{
	static char values[2][VALUE_BYTES];
	struct log_record records[2];
	struct log_commit c = {.records = records, .record_count = 2, .port = w->port, .on_done = on_done};

	for (uint32_t i = 0; i < 2; i++) {
		value_of(i, offset, values[i]);
		records[i] = (struct log_record){.partition = w->partitions[i],
						 .timestamp_ms = 1000 + offset,
						 .value = slice_make(values[i], VALUE_BYTES)};
	}
	assert_int_equal(log_world_enter(w->log, &c), 0);
	assert_int_equal(log_step(w->log, LOG_STEP_COMMIT), 1);
	log_port_run(w->port);
}

/* Sealed segments, one that is appended to, groups behind the checkpoint; then the process is killed. */
static void fill(struct world *w, bool move_all)
{
	struct fault fault = {0};

	assert_int_equal(open_log(w, DIR), 0);
	for (int64_t i = 0; i < RECORDS; i++) {
		append(w, i);
		while ((move_all || i < RECORDS - BEHIND) && log_step(w->log, LOG_STEP_MOVE) > 0)
			;
		if (i == RECORDS - BEHIND - 1)
			assert_int_equal(log_checkpoint(w->log, &fault), 0);
	}
	log_close(w->log);
	sim_cut(w->sim, SIM_CUT_KEEP);
}

static void make(struct world *w, uint64_t seed)
{
	struct sim_options o = {.seed = seed, .pages_max = 2048, .files_max = 128};

	*w = (struct world){0};
	assert_int_equal(sim_new(&o, &w->sim), 0);
}

static void on_fault(void *ctx, const struct verify_fault *f)
{
	struct world *w = ctx;

	if (f->harmless)
		return;
	if (!w->first[0])
		(void)snprintf(w->first, sizeof(w->first), "%.120s: %.150s", f->file, f->text);
	w->lost += f->offset_to - f->offset_from;
}

static int walk(struct world *w, const char *dir, bool repair)
{
	struct verify_options o = {
		.sys = sim_sys(w->sim), .dir = dir, .repair = repair, .on_fault = on_fault, .ctx = w};
	struct fault fault = {0};

	w->first[0] = '\0';
	w->lost = 0;
	return log_verify(&o, &w->result, &fault);
}

/* Everything is as it was, or told as a gap; gives how many are told. */
static int64_t read_all(struct world *w, uint32_t partition)
{
	struct log_view view;
	char value[VALUE_BYTES];
	int64_t at = 0, gaps = 0;
	int rc;

	while ((rc = log_read_wait(w->partitions[partition], at, 4096, &view)) == LOG_READ_OK) {
		struct slice rest = view.batches;
		gaps += view.gap.to - view.gap.from;
		while (rest.len) {
			struct batch_walk each;
			struct batch_record r;
			assert_int_equal(batch_walk_start(&each, rest), 0);
			while (batch_walk_next(&each, &r) == 1) {
				value_of(partition, r.offset, value);
				assert_memory_equal(r.value.ptr, value, VALUE_BYTES);
			}
			rest = slice_from(rest, each.head.bytes);
		}
		assert_true(view.next_offset > at);
		at = view.next_offset;
		blob_unref(view.blob);
	}
	assert_int_equal(rc, LOG_READ_END);
	assert_int_equal(at, RECORDS);
	return gaps;
}

/* ---- damage ---- */

static void segment_name(uint32_t partition, int64_t base, const char *ending, char *out)
{
	char id[37];

	topic_id_text(&topic, id);
	(void)snprintf(out, 200, DIR "/topics/%s/%u/%020lld.%s", id, partition, (long long)base, ending);
}

static int find_last(void *ctx, const char *name)
{
	char *last = ctx;

	if (strlen(name) == 24 && strcmp(name + 20, ".log") == 0 && strcmp(name, last) > 0)
		(void)snprintf(last, 64, "%s", name);
	return 0;
}

static void flip(struct world *w, const char *path, uint64_t byte)
{
	assert_int_equal(sim_flip(w->sim, path, byte * 8 + 3), 0);
}

static void hurt_sealed(struct world *w)
{
	char path[200];

	segment_name(0, 0, "log", path);
	flip(w, path, 900);
}

static void hurt_index(struct world *w)
{
	char path[200];

	segment_name(1, 0, "index", path);
	flip(w, path, 13);
}

static void hurt_times(struct world *w)
{
	char path[200];

	segment_name(1, 0, "timeindex", path);
	flip(w, path, 18);
}

static void remove_sealed(struct world *w)
{
	char path[200];

	segment_name(1, 0, "log", path);
	assert_int_equal(sim_sys(w->sim)->ops->unlink(sim_sys(w->sim)->self, path), 0);
}

static void hurt_active(struct world *w)
{
	char dir[200], path[300], last[64] = "", id[37];

	topic_id_text(&topic, id);
	(void)snprintf(dir, sizeof(dir), DIR "/topics/%s/0", id);
	assert_int_equal(sim_sys(w->sim)->ops->list(sim_sys(w->sim)->self, dir, find_last, last), 0);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, last);
	flip(w, path, 300);
}

static void hurt_checkpoint(struct world *w)
{
	flip(w, DIR "/CHECKPOINT.a", 60);
}

/* Of 2 it makes 3. */
static void hurt_version(struct world *w)
{
	assert_int_equal(sim_flip(w->sim, DIR "/CHECKPOINT.a", 7 * 8), 0);
}

static void hurt_both_copies(struct world *w)
{
	flip(w, DIR "/CHECKPOINT.a", 60);
	flip(w, DIR "/CHECKPOINT.b", 13);
	flip(w, DIR "/CHECKPOINT.b", 130);
}

static void hurt_one_copy_and_cut_the_other(struct world *w)
{
	const struct sys *sys = sim_sys(w->sim);
	int fd = sys->ops->open(sys->self, DIR "/CHECKPOINT.b", 0);

	assert_true(fd >= 0);
	assert_int_equal(sys->ops->truncate(sys->self, fd, 300), 0);
	assert_int_equal(sys->ops->fsync(sys->self, fd), 0); /* or a power loss mends it */
	sys->ops->close(sys->self, fd);
	flip(w, DIR "/CHECKPOINT.a", 60);
}

static void hurt_both_copies_and_a_segment(struct world *w)
{
	hurt_both_copies(w);
	hurt_sealed(w);
}

struct group {
	struct world *w;
	uint64_t sequence, at;
	char path[128];
};

/* Looks through a file of the journal for the group; each begins a block. */
static int find_group(void *ctx, const char *name)
{
	struct group *g = ctx;
	const struct sys *sys = sim_sys(g->w->sim);
	uint8_t head[FRAME_HEAD_BYTES];
	struct frame_head found;
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), DIR "/journal/%.60s", name);
	fd = sys->ops->open(sys->self, path, SYS_READ);
	assert_true(fd >= 0);
	for (uint64_t at = 0; sys->ops->pread(sys->self, fd, head, sizeof(head), at) == sizeof(head);
	     at += FRAME_ALIGN) {
		if (frame_head_read(slice_make(head, sizeof(head)), &found) ||
		    found.sequence != g->sequence || found.generation != journal_generation_of(name))
			continue;
		g->at = at;
		(void)snprintf(g->path, sizeof(g->path), "%s", path);
	}
	sys->ops->close(sys->self, fd);
	return 0;
}

static void hurt_journal(struct world *w)
{
	struct group g = {.w = w, .sequence = RECORDS - BEHIND + 5};

	assert_int_equal(sim_sys(w->sim)->ops->list(sim_sys(w->sim)->self, DIR "/journal", find_group, &g),
			 0);
	assert_true(g.path[0]);
	flip(w, g.path, g.at + 100);
}

static void hurt_journal_and_segment(struct world *w)
{
	hurt_journal(w);
	hurt_active(w);
}

static const struct damage {
	const char *name;
	void (*hurt)(struct world *w);
	bool move_all; /* else the journal alone has the last records */
	int64_t lost;  /* of both partitions together; -1: whatever was told */
} damages[] = {
	{"a sealed segment", hurt_sealed, false, 1},
	{"an index", hurt_index, false, 0},
	{"a time index", hurt_times, false, 0},
	{"a segment that is gone", remove_sealed, false, -1},
	{"the segment that is appended to", hurt_active, false, 1},
	{"a copy of the checkpoint", hurt_checkpoint, false, 0},
	{"the version of a copy of the checkpoint", hurt_version, false, 0},
	{"both copies of the checkpoint, in different places", hurt_both_copies, false, 0},
	{"a copy of the checkpoint, and the other one cut", hurt_one_copy_and_cut_the_other, false, 0},
	{"both copies of the checkpoint and a segment", hurt_both_copies_and_a_segment, false, 1},
	{"a group of the journal", hurt_journal, false, 2},
	{"a group of the journal that segments have", hurt_journal, true, 0},
	{"a group of the journal and a segment", hurt_journal_and_segment, false, 3},
};

/* What was moved behind the checkpoint is not synced: after a power loss the journal alone had it. */
static void check_mended(struct world *w, const struct damage *d, bool power_went)
{
	int64_t gaps;

	assert_int_equal(walk(w, DIR, false), 0);
	if (w->result.faults)
		fail_msg("%s: after the repair: %s", d->name, w->first);
	if (open_log(w, DIR))
		fail_msg("%s: after the repair a start refuses", d->name);
	gaps = read_all(w, 0) + read_all(w, 1);
	if (d->lost >= 0 && gaps != d->lost && !(power_went && d->move_all))
		fail_msg("%s: %lld offsets are lost, not %lld", d->name, (long long)gaps, (long long)d->lost);
	log_close(w->log);
}

static void what_was_damaged_is_found_and_mended(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		const struct damage *d = &damages[i];
		struct world w;
		make(&w, 11 + i);
		fill(&w, d->move_all);
		assert_int_equal(walk(&w, DIR, false), 0);
		if (w.result.faults)
			fail_msg("before the damage: %s", w.first);
		d->hurt(&w);
		assert_int_equal(walk(&w, DIR, false), 0);
		if (w.result.faults + w.result.harmless == 0)
			fail_msg("%s: not found", d->name);
		if (d->lost >= 0 && w.lost != d->lost)
			fail_msg("%s: %lld offsets are told as lost, not %lld", d->name, (long long)w.lost,
				 (long long)d->lost);
		assert_int_equal(walk(&w, DIR, true), 0);
		assert_true(w.result.mended > 0);
		check_mended(&w, d, false);
		sim_free(w.sim);
	}
}

static void a_repair_that_fails_at_any_call_and_loses_power_is_simply_run_again(void **state)
{
	static const enum sim_call kinds[] = {SIM_OPEN,     SIM_WRITE,  SIM_SYNC,
					      SIM_SYNC_DIR, SIM_RENAME, SIM_MKDIR};
	uint32_t tried = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
			bool failed = true;
			for (uint64_t n = 1; failed; n++) {
				const struct damage *d = &damages[i];
				struct world w;
				struct sim_stats st;
				make(&w, 100 * i + 10 * k + n);
				fill(&w, d->move_all);
				d->hurt(&w);
				sim_fail_at(w.sim, kinds[k], n, EIO);
				(void)walk(&w, DIR, true);
				sim_stats(w.sim, &st);
				failed = st.failures > 0;
				sim_fail_at(w.sim, kinds[k], 0, 0);
				sim_cut(w.sim, n % 2 ? SIM_CUT_CHANCE : SIM_CUT_LOSE);
				if (walk(&w, DIR, true))
					fail_msg("%s: the second repair fails (call %d, %llu)", d->name,
						 (int)kinds[k], (unsigned long long)n);
				check_mended(&w, d, true);
				sim_free(w.sim);
				tried++;
			}
		}
	}
	assert_true(tried > 100);
}

/* What is damaged in both copies is not guessed, and nothing is touched. */
static void copies_that_are_damaged_in_the_same_place_stay_as_they_are(void **state)
{
	struct world w;

	(void)state;
	make(&w, 77);
	fill(&w, false);
	flip(&w, DIR "/CHECKPOINT.a", 60);
	flip(&w, DIR "/CHECKPOINT.b", 60);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(walk(&w, DIR, round == 1), 0);
		assert_true(w.result.faults > 0);
		assert_int_equal(w.result.mended, 0);
		assert_int_equal(open_log(&w, DIR), ERR_CORRUPT);
	}
	sim_free(w.sim);
}

/* ---- backups ---- */

static void a_backup_at_rest_holds_what_the_journal_has_and_is_restored(void **state)
{
	struct backup_options o = {.data = DIR, .dir = "backup"};
	struct backup_result result;
	struct fault fault = {0};
	struct world w;

	(void)state;
	make(&w, 5);
	fill(&w, false);
	o.sys = sim_sys(w.sim);
	if (backup_offline(&o, &result, &fault))
		fail_msg("%s", fault.text);
	sim_cut(w.sim, SIM_CUT_LOSE);
	assert_int_equal(walk(&w, "backup", false), 0);
	assert_int_equal(w.result.faults, 0);
	assert_int_equal(backup_offline(&o, &result, &fault), ERR_NOT_EMPTY);
	o.data = "restored";
	if (backup_restore(&o, &result, &fault))
		fail_msg("%s", fault.text);
	sim_cut(w.sim, SIM_CUT_LOSE);
	assert_int_equal(open_log(&w, "restored"), 0);
	assert_int_equal(read_all(&w, 0) + read_all(&w, 1), 0);
	log_close(w.log);
	sim_free(w.sim);
}

static void a_backup_or_restore_that_ends_early_is_not_taken_for_one(void **state)
{
	struct world w;

	(void)state;
	for (uint64_t n = 1; n < 60; n++) {
		struct backup_options o = {.data = DIR, .dir = "backup"};
		struct backup_result result;
		struct fault fault = {0};
		int rc;
		make(&w, n);
		fill(&w, false);
		o.sys = sim_sys(w.sim);
		sim_fail_at(w.sim, n % 2 ? SIM_WRITE : SIM_OPEN, n / 2, EIO);
		rc = backup_offline(&o, &result, &fault);
		sim_cut(w.sim, SIM_CUT_CHANCE);
		o.data = "restored";
		if (rc) {
			assert_true(backup_restore(&o, &result, &fault) != 0);
		} else {
			sim_fail_at(w.sim, n % 2 ? SIM_WRITE : SIM_OPEN, n / 3, EIO);
			rc = backup_restore(&o, &result, &fault);
			sim_fail_at(w.sim, n % 2 ? SIM_WRITE : SIM_OPEN, 0, 0);
			sim_cut(w.sim, SIM_CUT_CHANCE);
			if (rc == 0) {
				assert_int_equal(open_log(&w, "restored"), 0);
				assert_int_equal(read_all(&w, 0) + read_all(&w, 1), 0);
				log_close(w.log);
			}
		}
		sim_free(w.sim);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_damaged_is_found_and_mended),
		cmocka_unit_test(a_repair_that_fails_at_any_call_and_loses_power_is_simply_run_again),
		cmocka_unit_test(copies_that_are_damaged_in_the_same_place_stay_as_they_are),
		cmocka_unit_test(a_backup_at_rest_holds_what_the_journal_has_and_is_restored),
		cmocka_unit_test(a_backup_or_restore_that_ends_early_is_not_taken_for_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
