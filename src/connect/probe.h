/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_PROBE_H
#define WEIR_CONNECT_PROBE_H

#include "connect/runner.h"

/*
 * `weir source test`: a source of its own beside the one at work, that is opened, planned and pulled once, and
 * shows what came of it. Nothing is entered, no checkpoint moves, and its type knows that it is a test.
 *
 *	{"source":"s","parts":[{"part":"a"}],"records":[{"topic":…,"key":…,"value":…}],
 *	 "dead":[…],"warnings":[…],"more":true}   and "error" where a call failed
 *
 * On the loop. Borrows shared and home, shares the source; *out stays until done, which is called on the loop, never inside
 * this call. 0 or ERR_NOMEM.
 */
int probe_start(const struct runner_shared *shared, const struct runner_loop *home,
		struct conf_source *source, uint32_t records, struct buf *out, void (*done)(void *ctx),
		void *ctx);

#endif
