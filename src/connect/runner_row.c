/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source's own row of state: whether it is paused, its counts, the plan's checkpoint, where the schedule stands and what it has learned. It
 * is written with what changes anyway, a plan or the last batch of a part in a run; by itself where somebody pauses the source, at
 * a clean stop, and where runs that bring nothing have let it grow old. A run beside the schedule begins once, so
 * its position is worth no commit.
 */
#include "connect/row_commit.h"
#include "connect/runner_inner.h"

#define SAVE_MS 3600000 /* how old the saved position of the schedule may be */

/* ---- writing it ---- */

int runner_own_row(struct runner *r, const struct source_checkpoint *plan, const struct ingest_rows *added,
		   struct buf *row, size_t *key_bytes, bool *paused)
{
	uint8_t slot[SCHEDULE_STATE_BYTES], habits[ADAPTIVE_STATE_BYTES];
	struct source_row_key key = {'s', slice_str(r->name), slice_null()};
	struct source_state_row own = {.flags = r->paused ? SOURCE_ROW_PAUSED : 0, .plan = *plan};

	*paused = r->paused;
	schedule_save(r->schedule, &r->slot, slot);
	own.schedule = slice_make(slot, sizeof(slot));
	if (r->conf->every_max_ms) {
		adaptive_save(&r->adaptive, habits);
		own.adaptive = slice_make(habits, sizeof(habits));
	}
	runner_put_counts(r, &own);
	own.records += added ? added->accepted : 0;
	own.dead += added ? added->dead_count : 0;
	(void)source_row_put_key(row, &key);
	*key_bytes = row->len;
	return source_row_put_state(row, &own);
}

int runner_save(struct runner *r, const struct state_done *done)
{
	size_t key_bytes;
	struct buf row;
	bool paused;
	int rc;

	buf_init(&row, STATE_ROW_BYTES_MAX);
	rc = runner_own_row(r, &r->plan_checkpoint, NULL, &row, &key_bytes, &paused);
	if (rc == 0)
		rc = row_commit(r->shared, slice_make(row.ptr, key_bytes),
				slice_from(buf_slice(&row), key_bytes), true, done);
	if (rc == 0)
		runner_saved(r, paused);
	buf_fini(&row);
	return rc;
}

void runner_saved(struct runner *r, bool paused)
{
	r->saved_ns = loop_now(r->home->loop);
	r->saved_in_run = true;
	r->unsaved = paused != r->paused;
	if (r->unsaved) /* somebody paused or resumed it meanwhile, and was told so */
		(void)runner_save(r, NULL);
}

/*
 * A run that brought nothing made no commit, and its position would be lost: it is saved with the next batch, at a clean
 * stop, and by a commit of its own once an hour, or where the next run is an hour away.
 */
void runner_save_at_times(struct runner *r)
{
	int64_t wait = schedule_wait(r->schedule, &r->slot, runner_now(r));
	int64_t now = loop_now(r->home->loop);
	int err;
	bool far = wait != SCHEDULE_NEVER && wait >= SAVE_MS;

	if (r->run || (r->saved_ns && !far && now - r->saved_ns < SAVE_MS * RUNNER_MS))
		return;
	if (r->unsaved && log_accepts(r->shared->log, &err))
		(void)runner_save(r, NULL);
}

/* ---- reading what an earlier life has left ---- */

struct loading {
	struct runner *runner;
	int err;
};

static int load_part(void *ctx, struct slice key, struct slice value)
{
	struct loading *l = ctx;
	struct source_row_key name;
	struct source_part_row row;

	l->err = source_row_read_key(key, &name);
	if (l->err == 0)
		l->err = source_row_read_part(value, &row);
	if (l->err == 0 && !part_new(l->runner, name.part, name.part, &row))
		l->err = ERR_NOMEM;
	return l->err;
}

static int load_own(struct runner *r, struct slice value, struct slice *schedule, struct slice *adaptive)
{
	struct source_state_row row;
	int rc = source_row_read_state(value, &row);

	if (rc)
		return rc;
	r->saved_ns = loop_now(r->home->loop);
	r->paused = r->paused || (row.flags & SOURCE_ROW_PAUSED);
	runner_take_counts(r, &row);
	*schedule = row.schedule;
	*adaptive = row.adaptive;
	return source_checkpoint_copy(&r->plan_checkpoint, row.plan);
}

/* The source's own row is written with the last batch of a run, those of parts with each. */
static void count_known(struct runner *r)
{
	uint64_t sum = 0;

	for (const struct part *p = r->parts; p; p = p->sibling)
		sum += p->records;
	runner_know_records(r, sum);
}

int runner_load_rows(struct runner *r)
{
	struct source_row_key own = {'s', slice_str(r->name), slice_null()};
	struct source_row_key part = {'p', slice_str(r->name), slice_null()};
	struct slice schedule = slice_null(), adaptive = slice_null(), value;
	struct loading loading = {.runner = r};
	struct buf key;

	buf_init(&key, 1024);
	log_enter_begin(r->shared->log);
	loading.err = source_row_put_key(&key, &own); /* without memory no row would be found */
	value = loading.err ? slice_null() : source_rows_find(r->shared->rows, buf_slice(&key));
	if (value.ptr)
		loading.err = load_own(r, value, &schedule, &adaptive);
	buf_clear(&key);
	if (loading.err == 0)
		loading.err = source_row_put_key(&key, &part);
	if (loading.err == 0)
		(void)source_rows_each(r->shared->rows, buf_slice(&key), load_part, &loading);
	count_known(r);
	schedule_start(r->schedule, &r->slot, schedule, runner_now(r));
	if (r->conf->every_max_ms) {
		adaptive_init(&r->adaptive, r->conf->every_min_ms, r->conf->every_max_ms);
		(void)adaptive_load(&r->adaptive, adaptive.ptr, adaptive.len);
	}
	log_enter_end(r->shared->log);
	buf_fini(&key);
	return loading.err;
}
