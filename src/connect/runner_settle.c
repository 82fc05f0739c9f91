/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done at the source once a batch is durable: in the box that has brought it, before the part is pulled again. It is due once
 * more, in a box of its own, for what was found at the start, as a crash may have come between the two, and where it failed.
 */
#include "connect/runner_inner.h"

static enum source_end settle(void *ctx)
{
	struct box *b = ctx;
	struct runner *r = b->part->runner;

	return r->type->settle(r->self, &b->part->source, &b->settle);
}

static void on_settle_done(struct source_call *call, enum source_end end)
{
	struct box *b = (struct box *)(void *)((uint8_t *)call - offsetof(struct box, settle));

	runner_call_end(&b->call, end);
}

static void on_settle_ended(void *ctx, enum source_end end)
{
	struct box *b = ctx;
	struct part *p = b->part;

	if (end != SOURCE_FAILED) {
		p->opened_settle = false;
		if (b->settle.again)
			b->end = p->done ? SOURCE_DONE : SOURCE_MORE;
		runner_succeeded(p->runner, &b->settle.call);
		box_finished(b);
		return;
	}
	/* What is to be done at the source comes before anything else is pulled. */
	p->opened_settle = true;
	p->done = p->done || b->end == SOURCE_DONE;
	b->end = SOURCE_FAILED;
	box_finished(b);
}

/* Nothing of it enters. */
static struct box *take_empty_box(struct part *p)
{
	struct box *b = part_take_box(p);

	if (!b)
		return NULL;
	ingest_rows_again(&b->entry, NULL, NULL, NULL);
	b->end = SOURCE_IDLE;
	return b;
}

void part_settle(struct part *p, bool again)
{
	struct runner *r = p->runner;
	struct box *b = p->box ? p->box : take_empty_box(p);

	if (!b)
		return;
	p->phase = PART_SETTLING;
	b->settle.again = again;
	b->settle.checkpoint = p->source.checkpoint;
	source_call_init(&b->settle.call, &r->source, on_settle_done);
	b->call = (struct runner_call){
		.runner = r, .call = &b->settle.call, .make = settle, .ended = on_settle_ended, .ctx = b};
	runner_call_begin(&b->call);
}
