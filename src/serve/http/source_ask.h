/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_SOURCE_ASK_H
#define WEIR_SERVE_HTTP_SOURCE_ASK_H

#include "connect/sources.h"
#include "serve/http/exchange.h"

struct source_ask;

/* Answers, and gives 0; or an error, which is answered then. */
typedef int source_ask_fn(struct exchange *x, struct source_ask *a);

/*
 * What a request asks of a source, named by its first parameter, and the way there and back: it is done on the source's
 * loop and answered on that of the exchange. A source that refuses is answered here.
 */
struct source_ask {
	struct sources_request request;
	struct buf out; /* for who has much to say */

	/* source_ask.c's. */
	struct exchange *x;
	struct loop_msg back;
	source_ask_fn *answer;
};

/* answer: on the exchange's loop, once it was done. Returns owned, for one of the two below. NULL: no memory. */
struct source_ask *source_ask_new(struct exchange *x, enum sources_ask what, source_ask_fn *answer);

/* Takes. What a handler returns. */
int source_ask_go(struct source_ask *a);

/* Likewise, for a source that is made of the request's body. */
int source_ask_put(struct source_ask *a);

/* Answers 204: an answer of who has nothing to say. */
int source_ask_done(struct exchange *x, struct source_ask *a);

/* Answers that there is none of this name. */
int source_unknown(struct exchange *x);

/* A member that is a time in ms; 0, it never was: null. */
void source_put_time(struct buf *out, const char *name, int64_t ms);

#endif
