/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part from one pull to the next:
 *
 *	RESTS ──► READY ──► PULLING ──► ENTERING ──► RESTS or READY
 *	                                 │    ▲  └──► SETTLING (durable first) ──► …
 *	                                 ▼    │
 *	                                 HELD: the log refused
 *
 * The next pull begins when the batch has entered; the box with its memory stays until it is durable. So many may be on
 * their way (runner_begin.c), so that a slow disk holds the source back and not the memory.
 */
#include "connect/runner_inner.h"

#define EMPTY_AGAIN_NS (10 * RUNNER_MS) /* a pull that brought nothing and says there is more */
#define NO_MEMORY_NS (100 * RUNNER_MS)

/* ---- boxes of a source ---- */

struct box *part_take_box(struct part *p)
{
	struct runner *r = p->runner;
	struct box *b = box_take(&r->spare, r->home->boxes);

	if (!b) {
		p->phase = PART_RESTS;
		loop_timer_set(r->home->loop, &p->timer, NO_MEMORY_NS);
		return NULL;
	}
	b->part = p;
	p->box = b;
	p->wanted = false;
	r->busy++;
	return b;
}

void box_put_away(struct runner *r, struct box *b)
{
	box_count_held(b, 0, r->shared->held_bytes);
	box_give_back(b, &r->spare, r->run_active ? (uint32_t)r->conf->parallel + RUNNER_ENTERED_MAX : 0,
		      r->home->boxes);
}

/* ---- pulling ---- */

static enum source_end pull(void *ctx)
{
	struct box *b = ctx;
	struct runner *r = b->part->runner;

	return r->type->pull(r->self, &b->part->source, &b->batch);
}

static void on_pull_done(struct source_call *call, enum source_end end)
{
	runner_call_end(&((struct box *)(void *)call)->call, end);
}

bool box_has_something(const struct box *b)
{
	return b->batch.record_count || b->batch.dead_count || b->batch.inner->marked ||
	       b->end == SOURCE_DONE;
}

static void on_pull_ended(void *ctx, enum source_end end)
{
	struct box *b = ctx;
	struct part *p = b->part;
	struct runner *r = p->runner;

	b->end = source_batch_close(&b->batch, end);
	runner_boxes_ended(r->home->boxes, b->began_ns);
	box_count_held(b, box_bytes(b), r->shared->held_bytes);
	runner_show_pull(r, &b->batch.call);
	p->lag_records = b->batch.lag_records;
	p->lag_ms = b->batch.lag_ms;
	if (b->end != SOURCE_FAILED)
		runner_succeeded(r, &b->batch.call);
	if (box_has_something(b))
		box_enter(b);
	else
		box_finished(b);
}

static void give_credit(const struct runner *r, struct source_batch *b)
{
	struct ingest_limits limits;
	int64_t records = r->conf->batch_records;

	/* A rate below a batch a second: a second's worth at most, of all parts that are read at once, so that it is even. */
	if (r->rate > 0 && records > r->rate / r->conf->parallel)
		records = r->rate >= r->conf->parallel ? r->rate / r->conf->parallel : 1;
	ingest_get_limits(r->shared->ingest, &limits);
	b->records_max = (uint32_t)records;
	b->bytes_max = (size_t)r->conf->batch_bytes;
	b->value_bytes_max = limits.record_bytes_max;
	b->test = false;
}

void part_pull(struct part *p)
{
	struct runner *r = p->runner;
	struct box *b;

	if (p->opened_settle) {
		part_settle(p, true);
		return;
	}
	b = part_take_box(p);
	if (!b)
		return;
	p->phase = PART_PULLING;
	part_set_begun(p, r->type->flags & SOURCE_HOLDS);
	b->began_ns = loop_now(r->home->loop);
	runner_boxes_began(r->home->boxes);
	source_call_init(&b->batch.call, &r->source, on_pull_done);
	give_credit(r, &b->batch);
	b->call = (struct runner_call){
		.runner = r, .call = &b->batch.call, .make = pull, .ended = on_pull_ended, .ctx = b};
	runner_call_begin(&b->call);
}

void runner_cancel_pulls(struct runner *r)
{
	for (struct part *p = r->parts; p; p = p->sibling) {
		if (p->phase != PART_PULLING && p->phase != PART_SETTLING)
			continue;
		if (!p->box)
			continue;
		atomic_store(&p->box->batch.call.cancelled, true);
		atomic_store(&p->box->settle.call.cancelled, true);
		if (r->type->cancel && r->calls)
			r->type->cancel(r->self, &p->source);
	}
}

/* ---- after it ---- */

/* Where the part goes on, once its batch has entered and was settled. */
static void go_on(struct part *p, const struct box *b)
{
	struct runner *r = p->runner;

	p->phase = PART_RESTS;
	if (b->end != SOURCE_MORE)
		part_set_begun(p, false);
	if (b->end == SOURCE_FAILED) {
		int64_t wait = runner_failed(r, p, b->call.call);
		if (!r->stopping)
			loop_timer_set(r->home->loop, &p->timer, wait);
		return;
	}
	p->failures = 0;
	p->done = b->end == SOURCE_DONE;
	p->waits = b->end == SOURCE_WAIT;
	r->some_done = r->some_done || p->done;
	if (p->done && !p->gone)
		part_drop(p);
	else if (b->end == SOURCE_MORE && !box_has_something(b))
		loop_timer_set(r->home->loop, &p->timer, EMPTY_AGAIN_NS);
	else if (b->end == SOURCE_MORE || p->wanted)
		part_want(p);
	else if (b->end == SOURCE_IDLE && (r->type->flags & SOURCE_STREAMS))
		loop_timer_set(r->home->loop, &p->timer, RUNNER_NS);
	p->wanted = false;
}

void box_finished(struct box *b)
{
	struct part *p = b->part;
	struct runner *r = p->runner;

	p->box = NULL;
	r->busy--;
	go_on(p, b);
	if (!b->entry.busy)
		box_put_away(r, b);
	runner_kick_later(r);
}
