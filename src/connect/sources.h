/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SOURCES_H
#define WEIR_CONNECT_SOURCES_H

#include "connect/runner.h"
#include "connect/runs.h"

/*
 * All sources of a weir: which there are, and what is asked of them from outside. A source belongs
 * to one loop, by its name, so that many are spread; what is asked is done there.
 *
 *	sources_new      before state_load
 *	sources_begin    once there are loops
 *	sources_apply    what the configuration names; again at each reload
 *	sources_stop     while the loops still run
 */
struct sources;

/* Registers its table of state. */
int sources_new(struct state *state, struct sources **out);
void sources_free(struct sources *s); /* stopped, or never begun */

/* Copies both; home[i] is of loop i. shared->rows is set here. ERR_NOMEM. */
int sources_begin(struct sources *s, const struct runner_shared *shared, const struct runner_loop *home,
		  uint32_t loops);

/*
 * Starts what is new, begins those anew whose settings have changed, stops what is no longer named (what they have read
 * stays known). Main thread; loops may not run yet. ERR_NOMEM: some of it was done.
 */
int sources_apply(struct sources *s, struct conf_source *const *list, uint32_t count);

/* Ends them all. sources_stopped says when that is so. Main thread, once. */
void sources_stop(struct sources *s);
bool sources_stopped(struct sources *s);

/* ---- watching ---- */

struct sources_view {
	struct conf_source *source; /* borrowed for the call */
	bool from_file;             /* else it was made over the API */
	struct runner_figures figures;
};

/* Each source in order of name, until fn gives false. fn must be quick. Any thread. */
void sources_each(struct sources *s, bool (*fn)(void *ctx, const struct sources_view *view), void *ctx);

/* 0 and the name's; ERR_UNKNOWN_SOURCE. conf_source_unref(out->source) is the caller's. Any thread. */
int sources_find(struct sources *s, struct slice name, struct sources_view *out);

/* Each warning of a source. Any thread. */
void sources_each_warning(struct sources *s, struct slice name, void (*fn)(void *ctx, const char *text),
			  void *ctx);

/* Parts as state has them, in no order: at most `most`. fn gives false to stop. Any thread. */
void sources_each_part(struct sources *s, struct slice name, uint32_t most,
		       bool (*fn)(void *ctx, struct slice part, const struct source_part_row *row),
		       void *ctx);

/* Runs beside the schedule, from the first on, until fn gives false. ERR_UNKNOWN_SOURCE. Any thread. */
int sources_each_run(struct sources *s, struct slice name, bool (*fn)(void *ctx, const struct run_view *view),
		     void *ctx);

/* ---- asking ---- */

enum sources_ask {
	SOURCES_PAUSE, /* outlives a restart */
	SOURCES_RESUME,
	SOURCES_RUN,   /* a run of the schedule, now */
	SOURCES_RESET, /* forgets how far it has read: it begins at the beginning */
	SOURCES_TEST,  /* fetches some rows, beside what runs, and stores nothing: `out` gets a JSON object */
	SOURCES_MAKE,  /* sources_put's own */
	SOURCES_DELETE,    /* one that was made over the API, with how far it has read */
	SOURCES_RUN_BEGIN, /* a run beside the schedule: runs.h */
	SOURCES_RUN_CANCEL,
	SOURCES_RUN_RESUME,
};

struct sources_request {
	enum sources_ask ask;
	uint32_t records;                        /* of a test: at most; 0: 10 */
	struct buf *out;                         /* of a test */
	bool created;                            /* of sources_put: it is new */
	struct runs_request run;                 /* of SOURCES_RUN_…: id, from, to, rate */
	void (*done)(struct sources_request *r); /* on the source's loop; not inside sources_ask */
	void *ctx;
	struct fault fault; /* err 0: it was done */
	/* Sources' own. */
	struct loop_msg msg;
	struct entry *entry;
	struct conf_source *conf;
};

/* 0: done will be called. ERR_UNKNOWN_SOURCE, ERR_SHUTTING_DOWN: it will not. The request stays until done. Any thread. */
int sources_ask(struct sources *s, struct slice name, struct sources_request *r);

/*
 * Makes a source, or changes one that was made so. text: its keys, JSON or YAML, of up to MADE_BYTES_MAX bytes; copied. done comes when
 * it is durable, on the source's loop. ERR_BAD_CONFIG, ERR_MANAGED_BY_FILE, ERR_LIMIT with *fault; as sources_ask. Any thread.
 */
int sources_put(struct sources *s, struct slice name, struct slice text, struct sources_request *r,
		struct fault *fault);

/* The name of a state: "running", "paused", … */
const char *runner_state_name(enum runner_state state);

#endif
