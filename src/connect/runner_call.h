/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_RUNNER_CALL_H
#define WEIR_CONNECT_RUNNER_CALL_H

#include "connect/runner.h"

/*
 * A plan, a pull or a settling under way: made on the loop or, of a type that blocks, on a thread that may wait, and ended on
 * the loop once, whichever it was. Its memory is the caller's until then.
 */
struct runner_call {
	struct runner *runner;
	struct source_call *call;                      /* what the type sees of it */
	enum source_end (*make)(void *ctx);            /* calls the type */
	void (*ended)(void *ctx, enum source_end end); /* on the loop; perhaps inside runner_call_begin */
	void *ctx;
	enum source_end end; /* what make gave */
};

/* On the loop. */
void runner_call_begin(struct runner_call *c);

/* The type has said source_done. On the loop. */
void runner_call_end(struct runner_call *c, enum source_end end);

#endif
