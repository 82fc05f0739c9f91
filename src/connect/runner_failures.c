/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each part waits before its next try, longer with each failure of it. Where the source as a whole keeps failing (CIRCUIT calls in a row,
 * of whatever part) the circuit opens: nothing is asked until a wait is over, then one call alone, and its success closes it. What the
 * source itself says of its limits moves the next call further out, never nearer.
 */
#include "base/hash.h"
#include "connect/runner_inner.h"
#include "obs/say.h"

#define CIRCUIT 5u
#define SAID_NS (600 * RUNNER_NS) /* how often the log is told of a failure that goes on */

uint32_t runner_parallel(const struct runner *r)
{
	return r->failures >= CIRCUIT ? 1 : (uint32_t)r->conf->parallel;
}

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
	r->open_until = r->try_at = 0;
	obey_limits(r, call);
	runner_show_success(r, was_failing);
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

static void tell_failure(struct runner *r, const struct part *part, const char *text, int64_t wait)
{
	struct slice title = part ? part->source.title : SLICE_LIT("");

	runner_show_failure(r, part, text);
	if (is_worth_a_line(r, text) &&
	    !say(SAY_WARNING, "source_failed", "%s source=%s part=%.*s failures=%u next_try_ms=%lld", text,
		 r->name, (int)title.len, (const char *)title.ptr, r->failures,
		 (long long)(wait / RUNNER_MS)))
		r->said_hash = 0; /* held back, since many fail at once: with the next failure, then */
	runner_show_state(r);
}

/* Of several parts that fail the one that is tried first. */
static void note_try(struct runner *r, int64_t wait)
{
	int64_t now = loop_now(r->home->loop);

	if (r->try_at <= now || r->try_at > now + wait)
		r->try_at = now + wait;
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
	note_try(r, wait);
	obey_limits(r, call);
	tell_failure(r, part, call->fault.text, wait);
	if (call->failure == SOURCE_FINAL)
		runner_tell_over(r, &call->fault);
	return wait;
}
