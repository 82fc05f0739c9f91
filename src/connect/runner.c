/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source at work. What can begin is begun in one place, runner_kick, at the end of a turn in which anything
 * changed; everything else only notes what has happened and asks for it. So no callback runs inside
 * another, and the order in which things end does not matter.
 *
 * Failures: each part waits before its next try, longer with each failure of it. Where the source as a whole keeps
 * failing (CIRCUIT calls in a row, of whatever part) the circuit opens: nothing is asked until a wait
 * is over, then one call alone, and its success closes it.
 */
#include "connect/runner_inner.h"

#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "connect/redact.h"
#include "connect/row_commit.h"
#include "obs/say.h"

#define CIRCUIT 5u
#define SAID_NS (600 * RUNNER_NS) /* how often the log is told of a failure that goes on */
#define ENTERED_MAX 2u
#define LOG_FULL_NS (250 * RUNNER_MS)
#define MEMORY_FULL_NS (50 * RUNNER_MS)
#define LOG_LAGS_NS (2 * RUNNER_MS)
#define CROWDED_NS (1000 * RUNNER_MS)
#define SAVE_MS 3600000        /* how old the saved position of the schedule may be */
#define LONGEST_SLEEP_MS 60000 /* the wall clock may be set meanwhile */

/* ---- figures ---- */

static void lock(struct runner *r)
{
	(void)pthread_mutex_lock(&r->lock);
}

static void unlock(struct runner *r)
{
	(void)pthread_mutex_unlock(&r->lock);
}

struct conf_source *runner_source(const struct runner *r)
{
	return r->conf;
}

const struct runner_loop *runner_home(const struct runner *r)
{
	return r->home;
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

/* Parts are few, or change together: they are counted when something was decided, not for each pull. */
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
	if (r->stopping) { /* the parts go: what was known of them stays */
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

static void on_warn(struct source *source, const char *text)
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

/* ---- rows of the source itself ---- */

int runner_state_row(struct runner *r, const struct source_checkpoint *plan, const struct ingest_rows *added,
		     struct buf *key, struct buf *value)
{
	uint8_t slot[SCHEDULE_STATE_BYTES], habits[ADAPTIVE_STATE_BYTES];
	struct source_row_key name = {'s', slice_str(r->name), slice_null()};
	struct source_state_row row = {.flags = r->paused ? SOURCE_ROW_PAUSED : 0, .plan = *plan};

	schedule_save(r->schedule, &r->slot, slot);
	row.schedule = slice_make(slot, sizeof(slot));
	if (r->conf->every_max_ms) {
		adaptive_save(&r->adaptive, habits);
		row.adaptive = slice_make(habits, sizeof(habits));
	}
	lock(r);
	row.records = r->shown.records + (added ? added->accepted : 0);
	row.dead = r->shown.dead + (added ? added->dead_count : 0);
	row.success_ms = r->shown.success_ms;
	unlock(r);
	(void)source_row_put_key(key, &name);
	(void)source_row_put_state(value, &row);
	return buf_status(key) ? buf_status(key) : buf_status(value);
}

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

static int load_state(struct runner *r, struct slice value, struct slice *schedule, struct slice *adaptive)
{
	struct source_state_row row;
	int rc = source_row_read_state(value, &row);

	if (rc)
		return rc;
	r->saved_ns = loop_now(r->home->loop);
	r->paused = r->paused || (row.flags & SOURCE_ROW_PAUSED);
	lock(r);
	r->shown.records = row.records;
	r->shown.dead = row.dead;
	r->shown.success_ms = row.success_ms;
	unlock(r);
	*schedule = row.schedule;
	*adaptive = row.adaptive;
	if (!row.plan.bytes.ptr)
		return 0;
	r->plan_bytes = mem_alloc(row.plan.bytes.len + 1);
	if (!r->plan_bytes)
		return ERR_NOMEM;
	memcpy(r->plan_bytes, row.plan.bytes.ptr, row.plan.bytes.len);
	r->plan_checkpoint =
		(struct source_checkpoint){slice_make(r->plan_bytes, row.plan.bytes.len), row.plan.version};
	return 0;
}

/* The source's own row is written with the last batch of a run, those of parts with each. */
static void count_known(struct runner *r)
{
	uint64_t sum = 0;

	for (const struct part *p = r->parts; p; p = p->sibling)
		sum += p->records;
	lock(r);
	if (r->shown.records < sum)
		r->shown.records = sum;
	unlock(r);
}

/* What an earlier life has left. */
static int load_rows(struct runner *r)
{
	struct source_row_key state = {'s', slice_str(r->name), slice_null()};
	struct source_row_key part = {'p', slice_str(r->name), slice_null()};
	struct slice schedule = slice_null(), adaptive = slice_null(), value;
	struct loading loading = {.runner = r};
	struct buf key;

	buf_init(&key, 1024);
	log_enter_begin(r->shared->log);
	loading.err = source_row_put_key(&key, &state); /* without memory no row would be found */
	value = loading.err ? slice_null() : source_rows_find(r->shared->rows, buf_slice(&key));
	if (value.ptr)
		loading.err = load_state(r, value, &schedule, &adaptive);
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

/* ---- the schedule ---- */

struct schedule_now runner_now(const struct runner *r)
{
	const struct sys_ops *ops = r->shared->sys->ops;
	void *self = r->shared->sys->self;
	int64_t elapsed = ops->elapsed_ns ? ops->elapsed_ns(self) : ops->monotonic_ns(self);

	return (struct schedule_now){.wall_ms = ops->wall_ns(self) / RUNNER_MS,
				     .elapsed_ms = elapsed / RUNNER_MS};
}

static void begin_run(struct runner *r)
{
	schedule_begin(r->schedule, &r->slot, runner_now(r));
	r->run_active = true;
	r->run_failed = false;
	r->run_records = 0;
	r->saved_in_run = false;
	r->plan_wanted = true;
}

static int enter_state(struct runner *r);

/*
 * A run that brought nothing made no commit, and its position would be lost: it is saved with the next batch, at a clean
 * stop, and by a commit of its own once an hour, or where the next run is an hour away.
 */
static void save_position(struct runner *r)
{
	int64_t wait = schedule_wait(r->schedule, &r->slot, runner_now(r));
	int64_t now = loop_now(r->home->loop);
	int err;
	bool far = wait != SCHEDULE_NEVER && wait >= SAVE_MS;

	if (r->run || (r->saved_ns && !far && now - r->saved_ns < SAVE_MS * RUNNER_MS))
		return;
	if (r->unsaved && log_accepts(r->shared->log, &err))
		(void)enter_state(r);
}

/* Between runs a source holds no memory of batches: thousands wait for their minute. */
static void let_memory_go(struct runner *r)
{
	while (r->spare) {
		struct box *b = r->spare;

		r->spare = b->next;
		box_keep(r, b);
	}
	r->spare_count = 0;
}

static void tell_over(struct runner *r, const struct fault *fault)
{
	if (!r->run || r->run_over)
		return;
	r->run_over = true;
	r->run->over(r->run->ctx, fault);
}

/* Nothing of the run is left: what it has found says when the next one comes. */
static void end_run(struct runner *r)
{
	struct schedule_now now = runner_now(r);

	r->run_active = false;
	r->unsaved = r->unsaved || !r->saved_in_run;
	if (r->conf->every_max_ms) {
		if (!r->run_failed) {
			adaptive_found(&r->adaptive, now.wall_ms, r->found_ms, (int64_t)r->run_records);
			r->found_ms = now.wall_ms;
		}
		schedule_set_interval(r->schedule, &r->slot, adaptive_wait(&r->adaptive, now.wall_ms));
	}
	schedule_end(r->schedule, &r->slot, now);
	save_position(r);
	let_memory_go(r);
	runner_show_state(r);
	tell_over(r, NULL);
}

static bool is_quiet(const struct runner *r)
{
	return r->calls == 0 && r->busy == 0 && !r->ready && !r->plan_running && !r->plan_wanted;
}

/*
 * Parts that failed try again within the same run. What streams has no end of its own; of a run beside the schedule it has,
 * and a part that waits for more is not through.
 */
static bool waits_for_try(const struct runner *r)
{
	bool streams = r->type->flags & SOURCE_STREAMS;

	for (const struct part *p = r->parts; p; p = p->sibling)
		if ((p->timer.prev && (r->run || !streams)) || (r->run && p->waits && !p->gone))
			return true;
	return false;
}

/* True where a run begins now; else the timer is set for the next. */
static bool look_at_schedule(struct runner *r)
{
	int64_t wait;

	if (r->run_active && is_quiet(r) && !waits_for_try(r))
		end_run(r);
	if (r->run_once && !r->run_active) {
		r->run_once = false;
		begin_run(r);
		return true;
	}
	wait = schedule_wait(r->schedule, &r->slot, runner_now(r));
	lock(r);
	r->shown.next_ms = wait == SCHEDULE_NEVER ? 0 : runner_now(r).wall_ms + wait;
	unlock(r);
	if (wait == 0) {
		begin_run(r);
		return true;
	}
	if (wait == SCHEDULE_NEVER)
		return false;
	if (wait > LONGEST_SLEEP_MS)
		wait = LONGEST_SLEEP_MS;
	loop_timer_set(r->home->loop, &r->timer, wait * RUNNER_MS);
	return false;
}

/* ---- successes and failures ---- */

static void obey_limits(struct runner *r, const struct source_call *call)
{
	int64_t now = loop_now(r->home->loop);

	if (call->not_before_ms > 0 && r->open_until < now + call->not_before_ms * RUNNER_MS)
		r->open_until = now + call->not_before_ms * RUNNER_MS;
	if (r->conf->every_max_ms && call->quota_left >= 0)
		adaptive_limited(&r->adaptive, runner_now(r).wall_ms, -1, call->quota_left,
				 call->quota_reset_ms);
}

void runner_succeeded(struct runner *r, const struct source_call *call)
{
	bool was_failing = r->failures > 0;

	r->failures = 0;
	r->open_until = 0;
	obey_limits(r, call);
	lock(r);
	r->shown.success_ms = runner_now(r).wall_ms;
	if (was_failing)
		r->shown.error[0] = 0;
	unlock(r);
	if (was_failing) {
		say(SAY_INFO, "source_recovered", "the source answers again source=%s", r->name);
		runner_show_state(r);
	}
}

/* Exponential, with full jitter: anything up to the bound, so that many sources do not come back as one. */
static int64_t backoff(struct runner *r, uint32_t failures, enum source_failure failure)
{
	int64_t bound = r->conf->retry_min_ms;

	for (uint32_t i = 1; i < failures && bound < r->conf->retry_max_ms; i++)
		bound *= 2;
	if (failure == SOURCE_FINAL || bound > r->conf->retry_max_ms)
		bound = r->conf->retry_max_ms;
	return (1 + (int64_t)rand_below(&r->rand, (uint64_t)bound)) * RUNNER_MS;
}

/* The first, the one that opens the circuit, another reason than before, and again at times while it goes on. */
static bool is_worth_a_line(struct runner *r, const char *text)
{
	static const struct hash_key key = {.k0 = 0x73616964, .k1 = 0x74657874};
	uint64_t hash = hash_sip13(&key, slice_str(text));
	int64_t now = loop_now(r->home->loop);

	if (r->failures != 1 && r->failures != CIRCUIT && hash == r->said_hash && now - r->said_ns < SAID_NS)
		return false;
	r->said_hash = hash;
	r->said_ns = now;
	return true;
}

static void show_failure(struct runner *r, const struct part *part, const struct source_call *call,
			 int64_t wait)
{
	const char *name = part && part->source.title.len ? (const char *)part->source.title.ptr : "";
	int length = part ? (int)part->source.title.len : 0;

	lock(r);
	r->shown.errors++;
	r->shown.error_ms = runner_now(r).wall_ms;
	r->shown.next_ms = r->shown.error_ms + wait / RUNNER_MS;
	snprintf(r->shown.error, RUNNER_TEXT_MAX, "%.*s%s%.400s", length > 90 ? 90 : length, name,
		 length ? ": " : "", call->fault.text);
	unlock(r);
	if (is_worth_a_line(r, call->fault.text))
		say(SAY_WARNING, "source_failed", "%s source=%s part=%.*s failures=%u next_try_ms=%lld",
		    call->fault.text, r->name, length, name, r->failures, (long long)(wait / RUNNER_MS));
	runner_show_state(r);
}

int64_t runner_failed(struct runner *r, struct part *part, const struct source_call *call)
{
	uint32_t tries = part ? ++part->failures : r->failures + 1;
	int64_t wait;

	if (source_cancelled(call))
		return RUNNER_MS;
	r->failures++;
	r->run_failed = true;
	wait = backoff(r, tries, call->failure);
	if (wait < call->not_before_ms * RUNNER_MS)
		wait = call->not_before_ms * RUNNER_MS;
	if (r->failures >= CIRCUIT || call->failure == SOURCE_FINAL)
		r->open_until = loop_now(r->home->loop) + wait;
	obey_limits(r, call);
	show_failure(r, part, call, wait);
	if (call->failure == SOURCE_FINAL)
		tell_over(r, &call->fault);
	return wait;
}

/* ---- beginning ---- */

static struct part *take_ready(struct runner *r)
{
	struct part *p = r->ready;

	r->ready = p->next;
	if (!r->ready)
		r->ready_end = &r->ready;
	return p;
}

/* How many parts may be pulled at once now: one where the circuit is half open. */
static uint32_t parallel(const struct runner *r)
{
	return r->failures >= CIRCUIT ? 1 : (uint32_t)r->conf->parallel;
}

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
	if (runner_is_crowded(r))
		return 1 + (int64_t)rand_below(&r->rand, CROWDED_NS);
	return 0;
}

/* Of a type whose parts hold connections no other part begins while as many are under way. */
static bool may_begin(const struct runner *r, const struct part *p)
{
	return !(r->type->flags & SOURCE_HOLDS) || p->begun || r->begun < parallel(r);
}

static void begin_pulls(struct runner *r)
{
	struct part *later = NULL, **end = &later;
	int64_t wait = 0;

	while (r->ready && r->busy < parallel(r) && may_begin(r, r->ready) && (wait = must_wait(r)) == 0) {
		struct part *p = take_ready(r);
		if (p->gone) { /* since it was ready a plan has left it out: its row has gone, too */
			p->phase = PART_RESTS;
			part_drop(p);
			continue;
		}
		if (p->entered < ENTERED_MAX) {
			part_pull(p);
			continue;
		}
		/* The disk is behind: when a batch of it is durable the turn comes again. */
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

/*
 * Not while a batch is on its way into the log: its rows say what was before the plan, and would take back what the plan
 * has removed and marked.
 */
static bool plan_may_begin(const struct runner *r)
{
	return r->plan_wanted && !r->plan && r->calls == 0 && r->busy == 0 &&
	       loop_now(r->home->loop) >= r->plan_retry_at;
}

/* All parts are done: there may be others behind them, once. */
static bool all_done(const struct runner *r)
{
	for (const struct part *p = r->parts; p; p = p->sibling)
		if (!p->done)
			return false;
	return r->parts != NULL;
}

/* Paused: nothing is kept open at the source. */
static void let_go(struct runner *r)
{
	if (r->calls || r->busy)
		return;
	for (struct part *p = r->parts; p; p = p->sibling) {
		p->waits = false;
		if (p->source.state)
			part_drop(p);
	}
	runner_show_state(r);
}

static void finish_stop(struct runner *r);

void runner_kick(struct runner *r)
{
	int64_t wait;

	if (r->stopping) {
		finish_stop(r);
		return;
	}
	if (!r->opened)
		return;
	if (r->paused) {
		let_go(r);
		return;
	}
	if (r->some_done && is_quiet(r)) {
		r->some_done = false;
		r->plan_wanted = r->type->plan && all_done(r);
	}
	(void)look_at_schedule(r);
	if (plan_may_begin(r)) {
		wait = must_wait(r);
		if (wait)
			loop_timer_set(r->home->loop, &r->hold, wait);
		else
			runner_plan(r);
	} else if (r->plan_wanted && r->plan_retry_at > loop_now(r->home->loop)) {
		loop_timer_set(r->home->loop, &r->hold, r->plan_retry_at - loop_now(r->home->loop));
	}
	if (!r->plan_running && !r->plan_wanted)
		begin_pulls(r);
}

static void on_turn(void *ctx)
{
	runner_kick(ctx); /* which may be gone behind this */
}

static void kick_later(void *ctx)
{
	struct runner *r = ctx;

	loop_at_turn_end(r->home->loop, &r->turn);
}

static void on_hold_over(void *ctx)
{
	runner_plan_hold_over(ctx);
	kick_later(ctx);
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
	kick_later(r);
}

static void on_plan_again(struct source *source)
{
	struct runner *r = (struct runner *)source;

	if (!atomic_exchange(&r->plan_again, true))
		loop_post(r->home->loop, &r->again);
}

/* ---- life ---- */

static const struct source_ops runner_ops = {.wake = on_part_wake,
					     .plan_again = on_plan_again,
					     .warn = on_warn};

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
	loop_timer_init(&r->timer, kick_later, r);
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
	let_memory_go(r);
	schedule_free(r->schedule);
	zone_free(r->zone);
	mem_free(r->plan_bytes);
	mem_free(r->warnings);
	table_fini(&r->table);
	(void)pthread_mutex_destroy(&r->lock);
	conf_source_unref(r->conf);
	arena_fini(&r->arena);
	mem_free(r);
}

static void broken(struct runner *r, const char *text)
{
	struct fault fault = {0};

	r->broken = true;
	lock(r);
	r->shown.state = RUNNER_BROKEN;
	r->shown.error_ms = runner_now(r).wall_ms;
	snprintf(r->shown.error, RUNNER_TEXT_MAX, "%s", text);
	source_redact(&r->source, r->shown.error);
	unlock(r);
	say(SAY_ERROR, "source_broken", "%s source=%s", r->shown.error, r->name);
	(void)fault_set(&fault, ERR_BAD_PARAMETER, "%s", r->shown.error);
	tell_over(r, &fault);
}

static int open_type(struct runner *r, struct fault *fault)
{
	struct source_setup setup = {.source = &r->source,
				     .name = r->conf->name,
				     .topic = r->conf->topic,
				     .settings = r->conf->settings,
				     .sys = r->shared->sys,
				     .log = r->shared->log,
				     .topics = r->shared->topics,
				     .loop = r->home->loop,
				     .window = r->run ? r->run->window : NULL,
				     .guarded = r->conf->guarded};

	return source_open(r->type, &setup, &r->self, fault);
}

/* A run beside the schedule begins once, now. */
static int make_schedule(struct runner *r, struct fault *fault)
{
	static const struct schedule_options once = {.kind = SCHEDULE_MANUAL};

	if (r->run)
		return schedule_new(&once, &r->schedule, fault);
	return source_schedule(r->conf, r->type, r->shared->sys, &r->schedule, &r->zone, fault);
}

void runner_start(struct runner *r)
{
	static const struct hash_key key = {.k0 = 0x72756e6e6572, .k1 = 7};
	struct fault fault = {0};
	int rc;

	r->started = true;
	rand_seed(&r->rand,
		  hash_sip13(&key, slice_str(r->name)) ^ (uint64_t)sys_monotonic_ns(r->shared->sys));
	rc = make_schedule(r, &fault);
	if (rc == 0)
		rc = load_rows(r);
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
	kick_later(r);
}

/* The source's own row, in a commit of its own. */
static int enter_state(struct runner *r)
{
	struct buf key, value;
	int rc;

	buf_init(&key, 1024);
	buf_init(&value, STATE_ROW_BYTES_MAX);
	rc = runner_state_row(r, &r->plan_checkpoint, NULL, &key, &value);
	if (rc == 0)
		rc = row_commit(r->shared, buf_slice(&key), buf_slice(&value), true, NULL);
	if (rc == 0)
		runner_saved(r, r->paused);
	buf_fini(&key);
	buf_fini(&value);
	return rc;
}

void runner_saved(struct runner *r, bool paused)
{
	r->saved_ns = loop_now(r->home->loop);
	r->saved_in_run = true;
	r->unsaved = paused != r->paused;
	if (r->unsaved) /* somebody paused or resumed it meanwhile, and was told so */
		(void)enter_state(r);
}

int runner_pause(struct runner *r, bool paused)
{
	bool was = r->paused;
	int rc;

	r->paused = paused;
	rc = r->opened ? enter_state(r) : 0;
	if (rc) {
		r->paused = was;
		return rc;
	}
	if (paused)
		runner_cancel_pulls(r);
	else
		r->run_once = r->run_once || r->run_active || (r->type->flags & SOURCE_STREAMS);
	if (was && !paused && r->run_active) {
		schedule_end(r->schedule, &r->slot, runner_now(r));
		r->run_active = false;
	}
	runner_show_state(r);
	kick_later(r);
	return 0;
}

void runner_run(struct runner *r)
{
	r->run_once = true;
	r->open_until = 0;
	r->plan_retry_at = 0;
	kick_later(r);
}

/* ---- stopping ---- */

static void stopped(void *ctx)
{
	struct runner *r = ctx;

	r->closed = r->ended = true;
	runner_show_state(r);
	kick_later(r);
}

/* Only when nothing of it is in a list of the loop any more: it may be freed, and another made in its place, behind this. */
static void tell_stopped(struct runner *r)
{
	if (r->told || atomic_load(&r->plan_again))
		return;
	r->told = true;
	r->on_stopped(r->stopped_ctx);
}

static void close_blocking(void *ctx)
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
		   r->shared->run_blocking(r->shared->ctx, r->home->loop, close_blocking, stopped, r)) {
		close_blocking(r);
		stopped(r);
	}
}

void runner_stop(struct runner *r, void (*done)(void *ctx), void *ctx)
{
	CHECK(!r->stopping);
	r->stopping = true;
	r->on_stopped = done;
	r->stopped_ctx = ctx;
	if (r->opened && r->unsaved && !r->run)
		(void)enter_state(r);
	runner_cancel_pulls(r);
	if (r->plan_running && r->plan) {
		atomic_store(&r->plan->plan.plan.call.cancelled, true);
		if (r->type->cancel && r->calls)
			r->type->cancel(r->self, NULL);
	}
	kick_later(r);
}
