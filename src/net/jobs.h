/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_JOBS_H
#define WEIR_NET_JOBS_H

#include "net/net.h"

/*
 * A few threads that may wait for a disk on behalf of loops, which may not.
 * Work is done in order of arrival; what is to follow runs on the loop.
 */
struct jobs;

/* Starts the threads. Returns owned; ERR_NOMEM. */
int jobs_new(uint32_t threads, struct jobs **out);

/* Does what was asked for, then ends the threads. The loops may have ended: then `done` does not run. */
void jobs_free(struct jobs *j);

/* `run(arg)` on a thread, then `done(arg)` on `loop`. 0; ERR_OVERLOADED past 16 384 waiting, ERR_NOMEM: neither is called. */
int jobs_ask(struct jobs *j, struct loop *loop, void (*run)(void *arg), void (*done)(void *arg), void *arg);

#endif
