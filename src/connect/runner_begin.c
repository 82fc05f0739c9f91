/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may begin now: first a plan where one is wanted, alone, then pulls of parts that are ready, as many at once as `parallel` says. The one
 * place where either begins. What may not begin yet is looked at again when the timer says, or when something has ended.
 */
#include "connect/runner_inner.h"
#include "obs/say.h"

/* What may be on its way to the disk: two batches of a part always, more while they, and those of all parts, hold less than this. */
#define ENTERED_ALWAYS 2u
#define ENTERED_PART_BYTES ((size_t)8 << 20)
#define ENTERED_BYTES ((size_t)16 << 20)
#define LOG_FULL_NS (250 * RUNNER_MS)
#define MEMORY_FULL_NS (50 * RUNNER_MS)
#define LOG_LAGS_NS (2 * RUNNER_MS)
#define CROWDED_NS (1000 * RUNNER_MS)
#define REST_AGAIN_NS (100 * RUNNER_MS)

/* 0, or how long to wait before the log, the memory or a limit lets anything be pulled, ns. */
static int64_t must_wait(struct runner *r)
{
	int64_t now = loop_now(r->home->loop);
	int err;

	if (r->open_until > now)
		return r->open_until - now;
	if (r->rate_free_ns > now)
		return r->rate_free_ns - now;
	if (!log_accepts(r->shared->log, &err))
		return LOG_FULL_NS + (int64_t)rand_below(&r->rand, LOG_FULL_NS);
	if (log_lags(r->shared->log)) /* what is read faster than segments are written only fills memory */
		return LOG_LAGS_NS;
	if (r->shared->held_bytes && r->shared->held_bytes_max &&
	    atomic_load(r->shared->held_bytes) > r->shared->held_bytes_max)
		return MEMORY_FULL_NS;
	if (runner_boxes_crowded(r->home->boxes, now))
		return 1 + (int64_t)rand_below(&r->rand, CROWDED_NS);
	return 0;
}

/* ---- pulls ---- */

/* Of a type whose parts hold connections no other part begins while as many are under way. */
static bool may_begin(const struct runner *r, const struct part *p)
{
	return !(r->type->flags & SOURCE_HOLDS) || p->begun || r->begun < runner_parallel(r);
}

/* A sync takes as long as several pulls, and what has entered is never taken back: so many need not be waited for. */
static bool disk_is_behind(const struct runner *r, const struct part *p)
{
	if (p->entered < ENTERED_ALWAYS)
		return false;
	return p->entered >= RUNNER_ENTERED_MAX || p->entered_bytes >= ENTERED_PART_BYTES ||
	       r->entered_bytes >= ENTERED_BYTES;
}

static void begin_pulls(struct runner *r)
{
	struct part *later = NULL, **end = &later;
	int64_t wait = 0;

	while (r->ready && r->busy < runner_parallel(r) && may_begin(r, r->ready) &&
	       (wait = must_wait(r)) == 0) {
		struct part *p = part_take_ready(r);
		if (p->gone) { /* since it was ready a plan has left it out: its row has gone, too */
			p->phase = PART_RESTS;
			part_drop(p);
			continue;
		}
		if (!disk_is_behind(r, p)) {
			part_pull(p);
			continue;
		}
		/* When a batch is durable the turn comes again. */
		p->next = NULL;
		*end = p;
		end = &p->next;
	}
	if (later) {
		*end = r->ready;
		if (!r->ready)
			r->ready_end = end;
		r->ready = later;
	}
	if (wait)
		loop_timer_set(r->home->loop, &r->hold, wait);
}

/* ---- plans ---- */

/*
 * Not while a batch is on its way into the log: its rows say what was before the plan, and would take back what the plan
 * has removed and marked.
 */
static bool plan_may_begin(const struct runner *r)
{
	return r->plan_wanted && !r->plan && r->calls == 0 && r->busy == 0 &&
	       loop_now(r->home->loop) >= r->plan_retry_at;
}

static void begin_plan(struct runner *r)
{
	int64_t wait = must_wait(r);

	if (wait)
		loop_timer_set(r->home->loop, &r->hold, wait);
	else
		runner_plan(r);
}

/* All parts are done: there may be others behind them, once. */
static bool all_done(const struct runner *r)
{
	for (const struct part *p = r->parts; p; p = p->sibling)
		if (!p->done)
			return false;
	return r->parts != NULL;
}

/* ---- the turn ---- */

static void rest(void *ctx)
{
	struct runner *r = ctx;

	r->type->rest(r->self);
}

static void say_cut(struct runner *r)
{
	uint32_t cut = atomic_exchange(&r->source.cut, 0);

	if (cut)
		say(SAY_INFO, "peers_cut",
		    "paused: nothing is kept open at the source source=%s connections=%u", r->name, cut);
}

static void rested(void *ctx)
{
	struct runner *r = ctx;

	r->calls--;
	say_cut(r);
	runner_kick_later(r);
}

/* Its parts are dropped, or were never pulled. */
static void rest_type(struct runner *r)
{
	r->rested = true;
	if (!r->type->rest) {
		say_cut(r);
		return;
	}
	r->calls++;
	if (!(r->type->flags & SOURCE_BLOCKS)) {
		rest(r);
		rested(r);
	} else if (r->shared->run_blocking(r->shared->ctx, r->home->loop, rest, rested, r)) {
		r->calls--;
		r->rested = false;
		loop_timer_set(r->home->loop, &r->hold, REST_AGAIN_NS);
	}
}

/* Paused: nothing is kept open at the source, by parts that are to be pulled neither. */
static void let_go(struct runner *r)
{
	if (r->calls || r->busy)
		return;
	part_unready(r);
	for (struct part *p = r->parts; p; p = p->sibling) {
		p->waits = false;
		if (p->source.state)
			part_drop(p);
	}
	if (!r->rested && r->calls == 0)
		rest_type(r);
	runner_show_state(r);
}

void runner_begin(struct runner *r)
{
	if (r->paused) {
		let_go(r);
		return;
	}
	if (r->some_done && runner_is_quiet(r)) {
		r->some_done = false;
		r->plan_wanted = r->type->plan && all_done(r);
	}
	runner_look_at_schedule(r);
	if (plan_may_begin(r))
		begin_plan(r);
	else if (r->plan_wanted && r->plan_retry_at > loop_now(r->home->loop))
		loop_timer_set(r->home->loop, &r->hold, r->plan_retry_at - loop_now(r->home->loop));
	if (!r->plan_running && !r->plan_wanted)
		begin_pulls(r);
}
