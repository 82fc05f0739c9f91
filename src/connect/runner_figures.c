/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is shown of a source at work: a copy under a lock of its own, so that whoever looks, from any thread, holds up nobody. Counts
 * of pulls are added as they come, of records when they are durable; what is a sum over the parts is made when something was decided.
 */
#include <stdio.h>

#include "base/mem.h"
#include "connect/runner_inner.h"
#include "obs/say.h"

#define SHOW_NS (250 * RUNNER_MS)

static void lock(struct runner *r)
{
	(void)pthread_mutex_lock(&r->lock);
}

static void unlock(struct runner *r)
{
	(void)pthread_mutex_unlock(&r->lock);
}

void runner_figures(struct runner *r, struct runner_figures *out)
{
	lock(r);
	*out = r->shown;
	unlock(r);
}

void runner_warnings(struct runner *r, void (*fn)(void *ctx, const char *text), void *ctx)
{
	lock(r);
	for (uint32_t i = 0; i < r->shown.warning_count; i++)
		fn(ctx, r->warnings[i]);
	unlock(r);
}

/* ---- the state, and sums over the parts ---- */

static enum runner_state state_of(const struct runner *r)
{
	if (r->broken)
		return RUNNER_BROKEN;
	if (r->closed)
		return RUNNER_STOPPED;
	if (r->paused)
		return RUNNER_PAUSED;
	if (!r->opened)
		return r->shown.state;
	for (const struct part *p = r->parts; p; p = p->sibling)
		if (p->phase == PART_HELD)
			return RUNNER_HELD;
	return r->failures ? RUNNER_FAILING : RUNNER_RUNNING;
}

void runner_show_state(struct runner *r)
{
	struct runner_figures f = {.lag_records = -1, .lag_ms = -1};

	for (const struct part *p = r->parts; p; p = p->sibling) {
		f.parts++;
		f.parts_done += p->done;
		if (p->total || r->run) {
			f.done += p->done_units;
			f.total += p->total;
		}
		if (p->lag_records >= 0)
			f.lag_records = (f.lag_records < 0 ? 0 : f.lag_records) + p->lag_records;
		if (p->lag_ms > f.lag_ms)
			f.lag_ms = p->lag_ms;
	}
	lock(r);
	r->shown.state = state_of(r);
	if (r->parts_go) {
		unlock(r);
		return;
	}
	r->shown.parts = f.parts;
	r->shown.parts_done = f.parts_done;
	r->shown.done = f.done;
	r->shown.total = f.total;
	r->shown.lag_records = f.lag_records;
	r->shown.lag_ms = f.lag_ms;
	r->shown.failures = r->failures;
	r->shown.interval_ms = r->slot.interval_ms;
	unlock(r);
}

void runner_show_parts_go(struct runner *r)
{
	r->parts_go = true;
}

void runner_show_state_at_times(struct runner *r)
{
	int64_t now = loop_now(r->home->loop);

	if (now - r->shown_ns <= SHOW_NS)
		return;
	r->shown_ns = now;
	runner_show_state(r);
}

/* The next run, or while it fails the next try, whichever comes first; neither before the source lets itself be asked. */
void runner_show_next(struct runner *r, int64_t wait_ms)
{
	int64_t now = loop_now(r->home->loop), wall_ms = runner_now(r).wall_ms;
	int64_t at = wait_ms == SCHEDULE_NEVER ? INT64_MAX : now + wait_ms * RUNNER_MS;

	if (r->try_at > now && r->try_at < at)
		at = r->try_at;
	if (r->open_until > now && (at < r->open_until || (at == INT64_MAX && r->run_active)))
		at = r->open_until;

	lock(r);
	r->shown.next_ms = at == INT64_MAX ? 0 : wall_ms + (at - now) / RUNNER_MS;
	unlock(r);
}

/* ---- counts ---- */

void runner_show_pull(struct runner *r, const struct source_call *call)
{
	lock(r);
	r->shown.pulls++;
	r->shown.requests += call->requests;
	r->shown.bytes_read += call->bytes_read;
	unlock(r);
}

/* A row of state is durable together with all that entered before it. */
void runner_count_entered(struct runner *r, const struct ingest_rows *entry)
{
	r->entered_records += entry->accepted;
	r->entered_dead += entry->dead_count;
}

void runner_show_durable(struct runner *r, const struct ingest_rows *entry)
{
	lock(r);
	r->shown.records += entry->accepted;
	r->shown.duplicates += entry->duplicates;
	r->shown.dead += entry->dead_count;
	unlock(r);
}

void runner_put_counts(struct runner *r, struct source_state_row *row)
{
	row->records = r->entered_records;
	row->dead = r->entered_dead;
	lock(r);
	row->success_ms = r->shown.success_ms;
	unlock(r);
}

void runner_take_counts(struct runner *r, const struct source_state_row *row)
{
	r->entered_records = row->records;
	r->entered_dead = row->dead;
	lock(r);
	r->shown.records = row->records;
	r->shown.dead = row->dead;
	r->shown.success_ms = row->success_ms;
	unlock(r);
}

void runner_know_records(struct runner *r, uint64_t at_least)
{
	if (r->entered_records >= at_least)
		return;
	r->entered_records = at_least;
	lock(r);
	r->shown.records = at_least;
	unlock(r);
}

/* ---- how it went ---- */

void runner_show_success(struct runner *r, bool was_failing)
{
	int64_t now = runner_now(r).wall_ms;

	lock(r);
	r->shown.success_ms = now;
	if (was_failing)
		r->shown.error[0] = 0;
	unlock(r);
}

void runner_show_failure(struct runner *r, const struct part *part, const char *text)
{
	struct slice title = part ? part->source.title : slice_null();
	int64_t now = runner_now(r).wall_ms;
	int length = title.len > 90 ? 90 : (int)title.len;

	lock(r);
	r->shown.errors++;
	r->shown.error_ms = now;
	snprintf(r->shown.error, RUNNER_TEXT_MAX, "%.*s%s%.400s", length,
		 length ? (const char *)title.ptr : "", length ? ": " : "", text);
	unlock(r);
}

void runner_show_broken(struct runner *r, const char *text)
{
	int64_t now = runner_now(r).wall_ms;

	lock(r);
	r->shown.state = RUNNER_BROKEN;
	r->shown.error_ms = now;
	snprintf(r->shown.error, RUNNER_TEXT_MAX, "%s", text);
	unlock(r);
}

void runner_show_warning(struct source *source, const char *text)
{
	struct runner *r = (struct runner *)source;
	struct runner_figures *f = &r->shown;
	bool known = false;

	lock(r);
	if (!r->warnings)
		r->warnings = mem_zalloc(RUNNER_WARNINGS_MAX, RUNNER_TEXT_MAX);
	for (uint32_t i = 0; i < f->warning_count; i++)
		known = known || strcmp(r->warnings[i], text) == 0;
	if (!known && r->warnings && f->warning_count < RUNNER_WARNINGS_MAX)
		snprintf(r->warnings[f->warning_count++], RUNNER_TEXT_MAX, "%s", text);
	unlock(r);
	if (!known)
		say(SAY_WARNING, "source_warning", "%s source=%s", text, r->name);
}
