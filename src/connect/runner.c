/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a source at work: made, opened, paused and resumed, stopped. Everything that happens to it is noted where it happens, and asks for the
 * end of the turn (runner_kick_later); there either what can begin is begun (runner_begin.c) or, once it is to stop, what still runs is
 * awaited. So no callback runs inside another, and the order in which things end does not matter.
 */
#include "connect/runner_inner.h"

#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "conf/redact.h"
#include "obs/say.h"

/* ---- the turn ---- */

static void finish_stop(struct runner *r);

static void on_turn(void *ctx)
{
	struct runner *r = ctx;

	if (r->stopping)
		finish_stop(r); /* behind which it may be gone */
	else if (r->opened)
		runner_begin(r);
}

void runner_kick_later(struct runner *r)
{
	loop_at_turn_end(r->home->loop, &r->turn);
}

static void on_timer(void *ctx)
{
	runner_kick_later(ctx);
}

static void on_hold_over(void *ctx)
{
	runner_plan_hold_over(ctx);
	runner_kick_later(ctx);
}

/* ---- wakes from any thread ---- */

static void on_part_wake(struct source_part *source)
{
	struct part *p = (struct part *)source;

	if (!atomic_exchange(&p->woken, true))
		loop_post(p->runner->home->loop, &p->wake);
}

static void on_again(struct loop *loop, struct loop_msg *msg)
{
	struct runner *r = (struct runner *)(void *)((uint8_t *)msg - offsetof(struct runner, again));

	(void)loop;
	atomic_store(&r->plan_again, false);
	r->plan_wanted = true;
	runner_kick_later(r);
}

static void on_plan_again(struct source *source)
{
	struct runner *r = (struct runner *)source;

	if (!atomic_exchange(&r->plan_again, true))
		loop_post(r->home->loop, &r->again);
}

/* ---- made and freed ---- */

static const struct source_ops runner_ops = {.wake = on_part_wake,
					     .plan_again = on_plan_again,
					     .warn = runner_show_warning};

int runner_new(const struct runner_shared *shared, const struct runner_loop *home, struct conf_source *source,
	       struct runner **out)
{
	struct runner *r = mem_zalloc(1, sizeof(*r));
	const char *const *secrets = NULL;

	if (!r)
		return ERR_NOMEM;
	arena_init(&r->arena, 256, 1u << 20);
	if (table_init(&r->table) ||
	    redact_secrets(source->kind, source->settings, &r->arena, &secrets, &r->source.secret_count)) {
		table_fini(&r->table);
		arena_fini(&r->arena);
		mem_free(r);
		return ERR_NOMEM;
	}
	r->source.secrets = secrets;
	r->source.ops = &runner_ops;
	r->shared = shared;
	r->home = home;
	r->conf = conf_source_ref(source);
	r->type = source_type_of(source->kind);
	r->name = source->name;
	r->rate = source->rate_per_second;
	r->ready_end = &r->ready;
	r->found_ms = -1;
	r->shown.lag_records = r->shown.lag_ms = -1;
	r->turn = (struct loop_turn){.run = on_turn, .ctx = r};
	r->again.run = on_again;
	loop_timer_init(&r->timer, on_timer, r);
	loop_timer_init(&r->hold, on_hold_over, r);
	(void)pthread_mutex_init(&r->lock, NULL);
	*out = r;
	return 0;
}

void runner_set_run(struct runner *r, const struct runner_run *run)
{
	CHECK(!r->started);
	r->run = run;
	r->name = run->name;
	if (run->rate_per_second > 0)
		r->rate = run->rate_per_second;
}

void runner_free(struct runner *r)
{
	if (!r)
		return;
	CHECK(!r->started || r->closed);
	while (r->parts)
		part_free(r->parts);
	box_list_empty(&r->spare, r->home->boxes);
	schedule_free(r->schedule);
	zone_free(r->zone);
	source_checkpoint_free(&r->plan_checkpoint);
	mem_free(r->warnings);
	table_fini(&r->table);
	(void)pthread_mutex_destroy(&r->lock);
	conf_source_unref(r->conf);
	arena_fini(&r->arena);
	mem_free(r);
}

struct conf_source *runner_source(const struct runner *r)
{
	return r->conf;
}

const struct runner_loop *runner_home(const struct runner *r)
{
	return r->home;
}

/* ---- started ---- */

static void broken(struct runner *r, const char *why)
{
	char text[RUNNER_TEXT_MAX];
	struct fault fault = {0};

	snprintf(text, sizeof(text), "%s", why);
	source_redact(&r->source, text);
	r->broken = true;
	runner_show_broken(r, text);
	say(SAY_ERROR, "source_broken", "%s source=%s", text, r->name);
	(void)fault_set(&fault, ERR_BAD_PARAMETER, "%s", text);
	runner_tell_over(r, &fault);
}

struct source_setup runner_setup(const struct runner_shared *shared, const struct runner_loop *home,
				 const struct conf_source *conf, struct source *source)
{
	return (struct source_setup){.source = source,
				     .name = conf->name,
				     .topic = conf->topic,
				     .settings = conf->settings,
				     .sys = shared->sys,
				     .log = shared->log,
				     .topics = shared->topics,
				     .loop = home->loop,
				     .guarded = conf->guarded};
}

static int open_type(struct runner *r, struct fault *fault)
{
	struct source_setup setup = runner_setup(r->shared, r->home, r->conf, &r->source);

	setup.window = r->run ? r->run->window : NULL;
	return source_open(r->type, &setup, &r->self, fault);
}

void runner_start(struct runner *r)
{
	static const struct hash_key key = {.k0 = 0x72756e6e6572, .k1 = 7};
	struct fault fault = {0};
	int rc;

	r->started = true;
	rand_seed(&r->rand,
		  hash_sip13(&key, slice_str(r->name)) ^ (uint64_t)sys_monotonic_ns(r->shared->sys));
	rc = runner_make_schedule(r, &fault);
	if (rc == 0)
		rc = runner_load_rows(r);
	r->loaded = rc == 0;
	if (rc && !fault.text[0])
		fault_set(&fault, rc, "what it has read so far cannot be read: %s", err_row(rc)->sentence);
	if (rc == 0)
		rc = open_type(r, &fault);
	if (rc) {
		broken(r, fault.text[0] ? fault.text : err_row(rc)->sentence);
		return;
	}
	r->opened = true;
	if (r->run || (r->type->flags & SOURCE_STREAMS))
		r->run_once = true;
	runner_show_state(r);
	runner_kick_later(r);
}

/* ---- asked by the user ---- */

int runner_pause(struct runner *r, bool paused, const struct state_done *done)
{
	bool was = r->paused;
	int rc;

	r->paused = paused;
	rc = r->loaded ? runner_save(r, done) : ERR_CONFLICT;
	if (rc) {
		r->paused = was;
		return rc;
	}
	if (paused && !was)
		atomic_store(&r->source.cut, 0); /* of parts that had ended */
	r->rested = r->rested && paused;
	if (paused)
		runner_cancel_pulls(r);
	else
		r->run_once = r->run_once || r->run_active || (r->type->flags & SOURCE_STREAMS);
	if (!paused)
		part_want_again(r);
	if (was && !paused)
		runner_break_off_run(r);
	runner_show_state(r);
	runner_kick_later(r);
	return 0;
}

void runner_run(struct runner *r)
{
	r->run_once = true;
	r->open_until = r->try_at = 0;
	r->plan_retry_at = 0;
	runner_kick_later(r);
}

/* ---- stopped ---- */

static void stopped(void *ctx)
{
	struct runner *r = ctx;

	r->closed = r->ended = true;
	runner_show_state(r);
	runner_kick_later(r);
}

/* Only when nothing of it is in a list of the loop any more: it may be freed, and another made in its place, behind this. */
static void tell_stopped(struct runner *r)
{
	if (r->told || atomic_load(&r->plan_again))
		return;
	r->told = true;
	r->on_stopped(r->stopped_ctx);
}

static void close_type(void *ctx)
{
	struct runner *r = ctx;

	r->type->close(r->self);
}

static bool parts_are_gone(struct runner *r)
{
	struct part *next;

	for (struct part *p = r->parts; p; p = next) {
		next = p->sibling;
		p->gone = true;
		loop_timer_stop(r->home->loop, &p->timer);
		if (p->phase == PART_READY)
			p->phase = PART_RESTS;
		part_drop(p);
	}
	return !r->parts;
}

static void give_up_held(struct runner *r)
{
	for (struct part *p = r->parts; p; p = p->sibling)
		if (p->phase == PART_HELD)
			part_try_again(p);
	runner_plan_hold_over(r);
}

static void finish_stop(struct runner *r)
{
	if (r->ended) {
		tell_stopped(r);
		return;
	}
	r->ready = NULL;
	r->ready_end = &r->ready;
	give_up_held(r);
	if (r->closed || r->calls || r->busy || r->plan || atomic_load(&r->plan_again) || !parts_are_gone(r))
		return;
	if (r->calls) /* a drop has begun */
		return;
	r->closed = true;
	loop_timer_stop(r->home->loop, &r->timer);
	loop_timer_stop(r->home->loop, &r->hold);
	if (!r->opened) {
		stopped(r);
	} else if (!(r->type->flags & SOURCE_BLOCKS) ||
		   r->shared->run_blocking(r->shared->ctx, r->home->loop, close_type, stopped, r)) {
		close_type(r);
		stopped(r);
	}
}

void runner_stop(struct runner *r, void (*done)(void *ctx), void *ctx)
{
	CHECK(!r->stopping);
	r->stopping = true;
	r->on_stopped = done;
	r->stopped_ctx = ctx;
	runner_show_parts_go(r);
	if (r->opened && r->unsaved && !r->run)
		(void)runner_save(r, NULL);
	runner_cancel_pulls(r);
	runner_plan_cancel(r);
	runner_kick_later(r);
}
