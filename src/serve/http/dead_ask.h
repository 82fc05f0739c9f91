/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_DEAD_ASK_H
#define WEIR_SERVE_HTTP_DEAD_ASK_H

#include "serve/http/dead_scan.h"
#include "serve/http/exchange.h"

/*
 * What the requests for dead letters have in common: a topic and a selection of its letters by query
 * parameters, which are looked up on a thread that may wait; then the request goes on, on its loop.
 */
struct dead_ask {
	struct exchange *x;
	struct app *app;
	struct topic *dead;  /* the topic of dead letters; NULL: there is none (yet) */
	struct slice parent; /* the topic that they were meant for */
	struct dead_scan scan;
	bool dry_run;
	bool by_id; /* ids were given */
	struct buf out;
	void (*then)(struct dead_ask *a); /* on the loop, with the scan done */
};

#define DEAD_LIST_QUERY "state", "code", "from", "to", "pointer", "value", "ids", "limit", "after"
#define DEAD_CHANGE_QUERY "code", "from", "to", "pointer", "value", "ids", "all", "limit", "after", "dry_run"

/*
 * Reads topic and selection. `a` is the beginning of the caller's object of `bytes`, made here. 0 and *out; else
 * the exchange is answered with what is wrong (0, *out NULL), or a negative error.
 */
int dead_ask_new(struct exchange *x, size_t bytes, struct dead_ask **out);

/* The one letter that the path names, in place of a selection. */
int dead_ask_one(struct exchange *x, size_t bytes, struct dead_ask **out);

/* Goes; `then` comes on the loop; where there is no topic to look at inside this call, and must answer. Gives what a handler gives. */
int dead_ask_go(struct dead_ask *a, void (*then)(struct dead_ask *a));

/* Answers with a->out and frees, or with the problem. */
void dead_ask_answer(struct dead_ask *a, int status);
void dead_ask_problem(struct dead_ask *a, int err, const char *text);

/* An answered problem where the scan has failed: true, and `a` is gone. */
bool dead_ask_failed(struct dead_ask *a);

/* Appends "next": where the next page begins, or null. */
void dead_ask_put_next(struct dead_ask *a);

/* Of ids that were given: was there a letter? For those that were not, fn is called. */
void dead_ask_each_unknown(const struct dead_ask *a, void (*fn)(struct buf *out, int64_t id),
			   struct buf *out);

#endif
