/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maintenance in pieces: what is dead is closed, what is over is dropped, what
 * is many is merged, in this order. Nothing here holds a lock that a lookup
 * takes but for the moment in seen_publish().
 */
#include "base/mem.h"
#include "log/seen_inner.h"

#define STEP_ENTRIES 262144u

/* Unlinks runs that no lookup will find any more, and their folders where they are empty now. */
static int unlink_runs(struct seen *s, struct seen_run *const *runs, uint32_t count, struct fault *fault)
{
	char folder[SEEN_PATH_MAX];
	int err = 0;

	for (uint32_t i = 0; i < count; i++) {
		int got = s->sys->ops->unlink(s->sys->self, runs[i]->path);

		if (got < 0)
			err = fault_set(fault, ERR_IO, "%s: removing: %s", runs[i]->path,
					sys_error_text(got));
		/* Synced before its bytes are cut off, so that no crash brings back a part of it. */
		if (got < 0 || !seen_bucket_path(s, runs[i]->end_ms, folder))
			continue;
		got = s->sys->ops->sync_dir(s->sys->self, folder);
		runs[i]->unlinked = got == 0;
		(void)s->sys->ops->rmdir(s->sys->self, folder); /* only where it is empty */
	}
	return err;
}

/* Replaces runs in the set by one or none, and removes their files. */
static int replace(struct seen *s, struct seen_run *const *runs, uint32_t count, struct seen_run *by,
		   struct fault *fault)
{
	struct seen_set *set = seen_set_new(atomic_load(&s->set), runs, count, &by, by ? 1 : 0);
	int err;

	if (!set)
		return fault_set(fault, ERR_NOMEM, "%s: no memory for maintenance", s->dir);
	for (uint32_t i = 0; i < count; i++)
		(void)seen_run_ref(runs[i]);
	seen_publish(s, set);
	err = unlink_runs(s, runs, count, fault);

	for (uint32_t i = 0; i < count; i++)
		seen_run_unref(runs[i]);
	return err;
}

/* ---- dropping ---- */

static bool is_of_merge(const struct seen *s, int64_t end_ms)
{
	const struct seen_choice *choice = s->merge ? seen_merge_choice(s->merge) : NULL;

	for (uint32_t i = 0; choice && i < choice->count; i++) {
		if (choice->runs[i]->end_ms == end_ms)
			return true;
	}
	return false;
}

/* Drops the bucket that ended first, where one has. 1 where it did. */
static int drop_expired(struct seen *s, int64_t now_ms, struct fault *fault)
{
	struct seen_set *set = atomic_load(&s->set);
	struct seen_run **runs;
	uint32_t count = 0;
	int64_t end_ms = now_ms;
	bool found = false;
	int err;

	for (uint32_t i = 0; i < set->count; i++) {
		if (set->runs[i]->end_ms <= end_ms) {
			end_ms = set->runs[i]->end_ms;
			found = true;
		}
	}
	if (!found)
		return 0;
	if (is_of_merge(s, end_ms)) {
		seen_merge_abort(s->merge);
		s->merge = NULL;
	}
	runs = mem_zalloc(set->count, sizeof(struct seen_run *));
	if (!runs)
		return fault_set(fault, ERR_NOMEM, "%s: no memory for maintenance", s->dir);
	for (uint32_t i = 0; i < set->count; i++) {
		if (set->runs[i]->end_ms == end_ms)
			runs[count++] = set->runs[i];
	}
	err = replace(s, runs, count, NULL, fault);
	mem_free(runs);
	return err ? err : 1;
}

/* ---- merging ---- */

static int start_merge(struct seen *s, const struct seen_choice *choice, struct fault *fault)
{
	struct seen_writer_options o;
	struct seen_place place;
	int err = seen_new_run(s, choice->end_ms, &place, &o, fault);

	if (err)
		return err;
	return seen_merge_start(choice, &o, &s->merge, fault);
}

static int finish_merge(struct seen *s, struct fault *fault)
{
	struct seen_choice choice = *seen_merge_choice(s->merge);
	struct seen_merge *m = s->merge;
	struct seen_run *run;
	int err;

	s->merge = NULL;
	/* The set holds the inputs beyond the end of the merge. */
	err = seen_merge_finish(m, &run, fault);
	if (err)
		return err;
	err = replace(s, choice.runs, choice.count, run, fault);
	seen_run_unref(run);
	return err;
}

static int merge_piece(struct seen *s, struct fault *fault)
{
	int got = seen_merge_step(s->merge, STEP_ENTRIES, fault);

	if (got < 0) {
		seen_merge_abort(s->merge);
		s->merge = NULL;
		return got;
	}
	if (got == 0) {
		int err = finish_merge(s, fault);

		return err ? err : 1;
	}
	return 1;
}

static int merge_some(struct seen *s, struct fault *fault)
{
	struct seen_choice choice;
	int err;

	if (s->merge)
		return merge_piece(s, fault);
	if (!seen_merge_choose(atomic_load(&s->set), s->files_max, s->checkpoint, &choice))
		return 0;
	err = start_merge(s, &choice, fault);
	return err ? err : 1;
}

static int step(struct seen *s, int64_t now_ms, struct fault *fault)
{
	int got;

	if (seen_yard_step(&s->yard))
		return 1;
	got = drop_expired(s, now_ms, fault);
	return got ? got : merge_some(s, fault);
}

int seen_step(struct seen *s, int64_t now_ms, struct fault *fault)
{
	int got;

	pthread_mutex_lock(&s->maintenance);
	got = step(s, now_ms, fault);
	pthread_mutex_unlock(&s->maintenance);
	return got;
}
