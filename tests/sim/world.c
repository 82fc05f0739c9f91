/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

void world_say(const struct world *w, const char *format, ...)
{
	va_list args;

	if (!w->tracing)
		return;
	va_start(args, format);
	(void)vprintf(format, args);
	va_end(args);
	(void)putchar('\n');
}

/* Before each call of the disk: the power may go, and a task may make way. */
static void on_call(void *ctx, enum sim_call call)
{
	struct world *w = ctx;

	if (w->crash_in && (w->crash_calls >> call & 1) && --w->crash_in == 0)
		machine_off();
	if (task_current() != TASK_NONE && w->profile.yields && rand_below(&w->rand, w->profile.yields) == 0)
		task_yield();
}

static void on_trace(void *ctx, const char *line)
{
	const struct world *w = ctx;

	if (w->tracing)
		(void)printf("  %s\n", line);
}

void faults_set(struct world *w, bool on)
{
	struct sim_faults none = {.cold_one_in = w->profile.faults.cold_one_in};

	w->faults_on = on && w->profile.faults.fail_one_in;
	sim_set_faults(w->sim, on ? &w->profile.faults : &none);
}

void allocs_set(struct world *w, bool on)
{
	machine_fail_alloc(on && w->profile.allocs ? 1 + below(w, 2 * w->profile.allocs) : 0);
}

/*
 * What has entered must become durable or the process ends: these say so, and
 * nothing else may fail for want of memory.
 */
static void on_check(void *ctx, const char *cond)
{
	static const char *const ends[] = {"list", "set_trims(s, trims, partitions) == 0", "rc == 0"};
	struct world *w = ctx;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		if (w->life_failed_allocs != machine_failed_allocs() && strcmp(cond, ends[i]) == 0) {
			world_say(w, "the process ends: %s", cond);
			w->fatals++;
			machine_off();
		}
	}
}

static void choose_profile(struct world *w)
{
	static const uint64_t journal_bytes[] = {16384, 65536, 262144};
	static const uint64_t segment_bytes[] = {1500, 8192, 65536};
	static const uint64_t tail_bytes[] = {1, 30000, 1 << 20};
	static const uint32_t direct_bytes[] = {1, 5000, 0};
	struct profile *p = &w->profile;

	*p = (struct profile){.sends = 4 + below(w, 30),
			      .commits = 2 + below(w, 20),
			      .moves = below(w, 10),
			      .maintains = below(w, 8),
			      .consumers = below(w, 20),
			      .changes = below(w, 3),
			      .clock = below(w, 4),
			      .space = chance(w, 4) ? 1 + below(w, 3) : 0,
			      .yields = chance(w, 3) ? 0 : 1 + below(w, 6),
			      .journal_file_bytes = journal_bytes[below(w, 3)],
			      .segment_bytes = segment_bytes[below(w, 3)],
			      .tail_bytes = tail_bytes[below(w, 3)],
			      .direct_bytes = direct_bytes[w->seed % 3],
			      .steps = 20u << below(w, 6),
			      .lives = 2 + below(w, 12),
			      .small_files = chance(w, 3),
			      .auto_create = chance(w, 2),
			      .slack = chance(w, 2) ? 2 + below(w, 40) : 1000,
			      .rewrite_rate = chance(w, 2) ? 0 : 1000u << below(w, 10),
			      .rot = chance(w, 4) ? 1 + below(w, 3) : 0,
			      .allocs = chance(w, 5) ? 20u << below(w, 6) : 0};
	p->compacting = chance(w, 2);
	if (p->compacting) {
		p->maintains += 10;
		p->moves += 3;
		p->segment_bytes = 1000 + below(w, 2000);
		p->steps *= 2;
	}
	p->dirty_percent = 1 + below(w, 80);
	p->max_lag_ms = chance(w, 3) ? -1 : 1 + (int64_t)below(w, 4000);
	p->tombstone_ms = chance(w, 2) ? (int64_t)below(w, 3) : (int64_t)below(w, 1u << 22);
	p->compaction_bytes = 1;
	p->recompress_ms = chance(w, 2) ? 1 + (int64_t)below(w, 200) : 0;
	p->faults.cold_one_in = chance(w, 2) ? 2 + below(w, 5) : 0;
	p->faults.drift_one_in = 1u << below(w, 12);
	if (chance(w, 3)) {
		p->faults.calls = chance(w, 2) ? ~0u : 1u << below(w, SIM_CALLS);
		p->faults.fail_one_in = 20u << below(w, 7);
		p->faults.slow_one_in = chance(w, 2) ? 50 : 0;
	}
}

/* Anywhere in a life, and often enough while it opens; or where something is written and not yet synced. */
static uint64_t choose_crash(struct world *w)
{
	static const uint32_t kinds[] = {1u << SIM_SYNC,     1u << SIM_SYNC_DIR,
					 1u << SIM_RENAME,   1u << SIM_UNLINK,
					 1u << SIM_TRUNCATE, 1u << SIM_SYNC | 1u << SIM_SYNC_DIR};

	w->crash_calls = ~0u;
	if (chance(w, 4))
		return 0;
	if (chance(w, 2)) {
		w->crash_calls = kinds[below(w, 6)];
		return 1 + below(w, 20);
	}
	return 1 + rand_below(&w->rand, chance(w, 3) ? 60 : w->profile.steps * 8);
}

static void live(struct world *w)
{
	w->rot.told_gap = w->rot.undone = false;
	w->life_failed_allocs = machine_failed_allocs();
	machine_run(life_run, w);
	w->failed_allocs += machine_failed_allocs() - w->life_failed_allocs;
	clients_forget(w);
	producers_forget(w);
	members_forget(w);
	sources_forget(w);
	consumers_forget(w);
}

static int check_journal_file(void *ctx, const char *name)
{
	struct world *w = ctx;
	const struct sys *sys = sim_sys(w->sim);
	struct sys_stat st;
	char path[100];

	(void)snprintf(path, sizeof(path), "data/journal/%.40s", name);
	if (strstr(name, ".wal") && sys->ops->stat(sys->self, path, &st) == 0 &&
	    st.bytes < w->profile.journal_file_bytes)
		model_fail("%s has its name and not its length: %llu bytes", path,
			   (unsigned long long)st.bytes);
	return 0;
}

/* A file of the journal has all its bytes before it has its name; a shorter one is told as damage. */
static void check_journal_files(struct world *w)
{
	const struct sys *sys = sim_sys(w->sim);

	w->crash_in = 0;
	faults_set(w, false);
	(void)sys->ops->list(sys->self, "data/journal", check_journal_file, w);
}

/* Sometimes the disk is as good as full before weir starts. */
static void set_space(struct world *w)
{
	struct sim_stats stats;

	sim_stats(w->sim, &stats);
	sim_set_space(w->sim, w->profile.space && w->first_boot_done && chance(w, 3) ?
				      stats.bytes_used + below(w, 20000) :
				      1u << 30);
}

static uint64_t life_failures(const struct world *w)
{
	struct sim_stats stats;

	sim_stats(w->sim, &stats);
	return stats.failures - w->failures_before;
}

static void run_life(struct world *w)
{
	struct sim_stats stats;

	w->down_cleanly = false;
	set_space(w);
	w->crash_in = w->first_boot_done || chance(w, 2) ? choose_crash(w) : 0;
	sim_stats(w->sim, &stats);
	w->failures_before = stats.failures;
	w->lives++;
	faults_set(w, true);
	live(w);
	if (w->down_cleanly) {
		w->clean_stops++;
		sim_cut(w->sim, chance(w, 2) ? SIM_CUT_LOSE : SIM_CUT_CHANCE);
	} else {
		w->crashes++;
		/* After a sync that failed rather a kill: then what the cache has alone is relied on. */
		sim_cut(w->sim, chance(w, life_failures(w) ? 2 : 4) ? SIM_CUT_KEEP :
				chance(w, 4)                        ? SIM_CUT_LOSE :
								      SIM_CUT_CHANCE);
	}
	sim_set_space(w->sim, 1u << 30);
	model_power_cut(&w->model);
	check_journal_files(w);
	producers_strike(w);
	if (w->profile.rot && w->first_boot_done && chance(w, w->profile.rot)) {
		w->crash_in = 0;
		faults_set(w, false);
		rot_strike(w);
	}
}

void world_run(struct world *w, uint64_t seed)
{
	w->seed = seed;
	rand_seed(&w->rand, seed);
	if (!w->sim) {
		struct sim_options o = {.on_call = on_call,
					.files_max = 8192,
					.ctx = w,
					.trace = w->tracing ? on_trace : NULL};
		CHECK(sim_new(&o, &w->sim) == 0);
		machine_set_on_check(on_check, w);
	}
	sim_reset(w->sim, seed);
	model_reset(&w->model);
	memset(w->consumers, 0, sizeof(w->consumers));
	producers_reset(w);
	members_reset(w);
	w->first_boot_done = false;
	w->rot.pending = w->rot.cut_off = false;
	w->rot.file_count = 0;
	choose_profile(w);
	if (sources_are_on(w)) {
		w->profile.auto_create = true; /* of their topics */
		sources_reset(w);
	}
	world_say(w, "seed %llu", (unsigned long long)seed);
	for (uint32_t i = 0; i < w->profile.lives; i++)
		run_life(w);
	/* Once more without any accident: the last crash is judged too. */
	w->profile.faults = (struct sim_faults){0};
	w->profile.steps = 1;
	w->profile.allocs = 0;
	w->crash_in = 0;
	faults_set(w, false);
	do {
		live(w);
		sim_cut(w->sim, SIM_CUT_LOSE);
		model_power_cut(&w->model);
	} while (w->rot.undone);
}
