/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_MADE_H
#define WEIR_CONNECT_MADE_H

#include "connect/runner.h"

/*
 * Sources that are made over the API: their keys as they were sent, in a row of state, and what that says. They have
 * the keys of the file, but no ${env:…} and no ${file:…}, and are guarded: who made them may not see this machine.
 */
#define MADE_BYTES_MAX 65536u

/* Reads the keys. Returns owned. 0; ERR_BAD_CONFIG with what is wrong in *why (appended); ERR_NOMEM. Any thread. */
int made_read(const struct conf_kinds *kinds, const char *name, struct slice text, struct conf_source **out,
	      struct buf *why);

/* Enters the row, or with text.ptr NULL that it goes. done as for state_put. 0, or what log_enter gives. Any thread. */
int made_put(const struct runner_shared *shared, const char *name, struct slice text,
	     const struct state_done *done);

/* Each row that there is, until fn gives non-zero, which it gives. fn may not change rows. Takes the entry lock. */
int made_each(const struct runner_shared *shared, int (*fn)(void *ctx, struct slice name, struct slice text),
	      void *ctx);

#endif
