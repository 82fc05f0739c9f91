/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/runner_call.h"

#include "connect/runner_inner.h"

static void make_there(void *arg)
{
	struct runner_call *c = arg;

	c->end = c->make(c->ctx);
}

static void made_there(void *arg)
{
	struct runner_call *c = arg;

	runner_call_end(c, c->end);
}

void runner_call_begin(struct runner_call *c)
{
	struct runner *r = c->runner;

	r->calls++;
	if (!(r->type->flags & SOURCE_BLOCKS)) {
		c->end = c->make(c->ctx);
		if (c->end != SOURCE_LATER)
			runner_call_end(c, c->end);
	} else if (r->shared->run_blocking(r->shared->ctx, r->home->loop, make_there, made_there, c)) {
		source_fail(c->call, SOURCE_TRANSIENT, "no worker is free for the source");
		runner_call_end(c, SOURCE_FAILED);
	}
}

void runner_call_end(struct runner_call *c, enum source_end end)
{
	c->runner->calls--;
	c->ended(c->ctx, end);
}
