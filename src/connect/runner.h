/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_RUNNER_H
#define WEIR_CONNECT_RUNNER_H

#include "base/rand.h"
#include "connect/adaptive.h"
#include "connect/inner.h"
#include "connect/schedule.h"
#include "connect/source_row.h"
#include "ingest/ingest_rows.h"
#include "net/net.h"
#include "state/source_rows.h"

/*
 * One source at work: when it is asked, which parts are pulled, what becomes of what they bring. Everything
 * happens on the loop that the source belongs to, but for the calls of types that block. For the files of this folder.
 */
struct runner;

/* What all sources share; the daemon's. */
struct runner_shared {
	const struct sys *sys;
	struct log *log;
	struct state *state;
	struct topics *topics;
	struct ingest *ingest;
	struct source_rows *rows;
	const struct conf_kinds *kinds; /* types, for sources that are made over the API; NULL: none */
	/* Runs `run(arg)` on a thread that may wait, then `done(arg)` on the loop. 0, or ERR_* with neither called. */
	int (*run_blocking)(void *ctx, struct loop *loop, void (*run)(void *arg), void (*done)(void *arg),
			    void *arg);
	/* Letters of this topic are durable; on the loop. NULL: nobody wants to know. */
	void (*on_dead)(void *ctx, struct slice topic);
	void *ctx;
	_Atomic int64_t *held_bytes; /* memory of batches is counted here; NULL: nowhere */
	int64_t held_bytes_max;      /* past it no pull begins; 0: no bound */
};

/*
 * Memory of batches that was used and is kept for the next pull, of whichever source of the loop: thousands that are polled
 * once a minute each share a few. Made anywhere, then the loop's alone; freed when all runners are.
 */
struct runner_boxes;
struct runner_boxes *runner_boxes_new(void); /* NULL: no memory */
void runner_boxes_free(struct runner_boxes *boxes);

/* What belongs to a loop. */
struct runner_loop {
	struct loop *loop;
	struct log_port *port; /* tells it what is durable */
	struct ingest_queue *queue;
	struct runner_boxes *boxes;  /* NULL: nothing is kept between runs */
	struct metrics_shard *shard; /* may be NULL */
};

enum runner_state {
	RUNNER_STARTING,
	RUNNER_RUNNING,
	RUNNER_PAUSED,
	RUNNER_FAILING, /* calls fail; tried again at next_try_ms */
	RUNNER_BROKEN,  /* it could not be opened */
	RUNNER_HELD,    /* the log takes nothing at present */
	RUNNER_STOPPED,
};

#define RUNNER_WARNINGS_MAX 8u
#define RUNNER_TEXT_MAX 504u

/* As it is shown: a copy. */
struct runner_figures {
	enum runner_state state;
	uint64_t pulls, requests, bytes_read, records, dead, duplicates, errors;
	uint64_t parts, parts_done;
	uint64_t done, total;         /* of all parts whose total is known */
	int64_t lag_records, lag_ms;  /* -1: not known */
	int64_t success_ms, error_ms; /* wall clock; 0: never */
	int64_t next_ms;              /* when it is asked next; 0: not known, or by itself */
	int64_t interval_ms;          /* 0: none */
	uint32_t failures;            /* in a row */
	char error[RUNNER_TEXT_MAX];  /* the last; empty: none, or it has gone */
	uint32_t warning_count;
};

/* Borrows shared and home for its life; shares the source. Any thread. ERR_NOMEM. */
int runner_new(const struct runner_shared *shared, const struct runner_loop *home, struct conf_source *source,
	       struct runner **out);

/* A run beside the schedule (runs.h): a window of the source, read once, under a name of its own. */
struct runner_run {
	const char *name;                   /* of its rows of state */
	const struct source_window *window; /* what of the source */
	int64_t rate_per_second;            /* records; -1: as the source has it */
	/* On the loop, once: nothing is left to read; or, with a fault, it cannot go on without somebody. runner_stop is not to be called inside. */
	void (*over)(void *ctx, const struct fault *fault);
	void *ctx;
};

/* Before runner_start: it is no source of the schedule, but this run. Borrows for its life. */
void runner_set_run(struct runner *r, const struct runner_run *run);

/* Opens and begins. On the loop. */
void runner_start(struct runner *r);

/* On the loop: calls end, batches that are entered become durable, the type is closed; then done. Once. */
void runner_stop(struct runner *r, void (*done)(void *ctx), void *ctx);

/* After runner_stop's done, or where runner_start never ran. Any thread. */
void runner_free(struct runner *r);

/*
 * On the loop. Entered as state, and done is told when that is on disk: then it outlives a restart; what a pull has marked is
 * kept. 0; ERR_CONFLICT: what it has read so far could not be read, so there is nothing to note it in; or what log_enter gives.
 */
int runner_pause(struct runner *r, bool paused, const struct state_done *done);

/* On the loop: a run, now. */
void runner_run(struct runner *r);

/*
 * What a type is opened with, for who opens one on this loop: a runner, or a test beside it (probe.h). Without what is theirs alone,
 * window and test. Borrows all.
 */
struct source_setup runner_setup(const struct runner_shared *shared, const struct runner_loop *home,
				 const struct conf_source *conf, struct source *source);

struct conf_source *runner_source(const struct runner *r);
const struct runner_loop *runner_home(const struct runner *r);

/* Gives each warning to fn, which must be quick. Any thread. */
void runner_warnings(struct runner *r, void (*fn)(void *ctx, const char *text), void *ctx);

/* Any thread. */
void runner_figures(struct runner *r, struct runner_figures *out);

#endif
