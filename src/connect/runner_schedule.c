/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs. One begins when the schedule, the user or a resumed pause says so, with a plan; it is over when no part of it is left that gave
 * SOURCE_MORE or waits for its next try. What it has found then sets the next interval. A run beside the schedule
 * (runs.h) is one run, and who asked for it is told when it is over.
 */
#include "connect/runner_inner.h"

#define LONGEST_SLEEP_MS 60000 /* the wall clock may be set meanwhile */

struct schedule_now runner_now(const struct runner *r)
{
	const struct sys_ops *ops = r->shared->sys->ops;
	void *self = r->shared->sys->self;
	int64_t elapsed = ops->elapsed_ns ? ops->elapsed_ns(self) : ops->monotonic_ns(self);

	return (struct schedule_now){.wall_ms = ops->wall_ns(self) / RUNNER_MS,
				     .elapsed_ms = elapsed / RUNNER_MS};
}

/* A run beside the schedule begins once, now. */
int runner_make_schedule(struct runner *r, struct fault *fault)
{
	static const struct schedule_options once = {.kind = SCHEDULE_MANUAL};

	if (r->run)
		return schedule_new(&once, &r->schedule, fault);
	return source_schedule(r->conf, r->type, r->shared->sys, &r->schedule, &r->zone, fault);
}

void runner_tell_over(struct runner *r, const struct fault *fault)
{
	if (!r->run || r->run_over)
		return;
	r->run_over = true;
	r->run->over(r->run->ctx, fault);
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
	runner_save_at_times(r);
	box_list_empty(&r->spare, r->home->boxes); /* thousands wait for their minute, and hold none */
	runner_show_state(r);
	runner_tell_over(r, NULL);
}

void runner_break_off_run(struct runner *r)
{
	if (!r->run_active)
		return;
	schedule_end(r->schedule, &r->slot, runner_now(r));
	r->run_active = false;
}

bool runner_is_quiet(const struct runner *r)
{
	return r->calls == 0 && r->busy == 0 && !r->ready && r->entered == 0 && !r->plan_running &&
	       !r->plan_wanted;
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

void runner_look_at_schedule(struct runner *r)
{
	int64_t wait;

	if (r->run_active && runner_is_quiet(r) && !waits_for_try(r))
		end_run(r);
	if (r->run_once && !r->run_active) {
		r->run_once = false;
		begin_run(r);
		return;
	}
	wait = schedule_wait(r->schedule, &r->slot, runner_now(r));
	runner_show_next(r, wait);
	if (wait == 0) {
		begin_run(r);
		return;
	}
	if (wait == SCHEDULE_NEVER)
		return;
	if (wait > LONGEST_SLEEP_MS)
		wait = LONGEST_SLEEP_MS;
	loop_timer_set(r->home->loop, &r->timer, wait * RUNNER_MS);
}
