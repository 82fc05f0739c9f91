/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_RUNS_H
#define WEIR_CONNECT_RUNS_H

#include "connect/runner.h"

/*
 * Runs of a source beside its schedule: a window of what there is, read once (`weir source run NAME --from … --to …`).
 * A run is a runner of its own, with parts and checkpoints of its own, so neither knows of the other, and it
 * goes on after a restart where it was. For sources.c: the list of one source, on its loop.
 */
struct runs;

enum run_state {
	RUN_RUNNING,
	RUN_DONE,
	RUN_CANCELLED, /* by the user; may be resumed */
	RUN_FAILED,    /* somebody must change something; may be resumed */
};

/* "running", … */
const char *run_state_name(enum run_state state);

#define RUNS_KEPT 32u  /* a source remembers so many; past it the oldest that has ended is forgotten */
#define RUNS_ACTIVE 4u /* and so many at once */

struct run_view {
	uint64_t id; /* from 1 on */
	enum run_state state;
	struct slice from, to; /* ptr NULL: open */
	int64_t rate;          /* -1: as the source has it */
	int64_t begun_ms, ended_ms;
	uint64_t records, dead, errors;
	uint64_t parts, parts_done;
	uint64_t done,
		total; /* rows read, stored or known already, or what the type counts; total 0: not known */
	const char *error;        /* the last; empty: none */
	enum runner_state runner; /* while it runs */
};

/* Borrows shared, home and name for its life. NULL: no memory. */
struct runs *runs_new(const struct runner_shared *shared, const struct runner_loop *home, const char *name);
void runs_free(struct runs *rs); /* idle */

/* A run of an earlier life, from its row. Before the loop knows of it. 0, ERR_CORRUPT, ERR_NOMEM. */
int runs_load(struct runs *rs, struct slice id, struct slice row);

/* The source as it is from now on: what runs begins anew with it, where it was. NULL: it is gone, or weir stops. On the loop. */
void runs_apply(struct runs *rs, struct conf_source *conf);

/* Forgets all runs; none is at work. On the loop. */
void runs_forget(struct runs *rs);

/* Something of a run is at work. Any thread. */
bool runs_busy(const struct runs *rs);

enum runs_ask {
	RUNS_BEGIN,
	RUNS_CANCEL, /* and the row stays; of one that has ended: it is forgotten */
	RUNS_RESUME,
};

struct runs_request {
	uint64_t id;           /* RUNS_BEGIN: set */
	struct slice from, to; /* RUNS_BEGIN: ptr NULL: open; borrowed until done */
	int64_t rate;          /* RUNS_BEGIN: records a second; -1 */
	struct fault *fault;
	void (*done)(struct runs_request *r); /* on the loop, when it is durable; perhaps inside runs_ask */
};

/* On the loop. */
void runs_ask(struct runs *rs, enum runs_ask ask, struct runs_request *r);

/* From the first to the last, until fn gives false. fn must be quick. Any thread. */
void runs_each(struct runs *rs, bool (*fn)(void *ctx, const struct run_view *view), void *ctx);

#endif
