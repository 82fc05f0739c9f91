/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_ANSWER_H
#define WEIR_SERVE_HTTP_ANSWER_H

#include "serve/http/session.h"

/* Answers, given in any order, that leave in the order of the requests. */

/* What an answer is made of; borrowed. */
struct answer {
	int status;
	struct slice content_type;
	struct slice body;
	struct blob *blob; /* shares body, which is a part of it; NULL: body is copied */
};

/* Gives the answer: written where it is its turn, else kept. Ends x. */
void answer_give(struct exchange *x, const struct answer *answer);

/* As exchange_forget and exchange_abort. */
void answer_forget(struct exchange *x);
void answer_abort(struct exchange *x);

/* ---- for stream.c ---- */

/* Tells the observer. */
void answer_observe(const struct exchange *x, int status);

/* The head of an answer, its framing left open. */
struct http_answer answer_head(struct exchange *x, int status, struct slice content_type);

/* Writes a head without a body; x is the first of its session. As conn_write. */
int answer_write_head(struct exchange *x, const struct http_answer *head);

/* The first of the queue has been written, with this result: ends it, what comes next may follow. */
void answer_written(struct session *s, int result);

/* The last answer of a connection is the one to close it with, where weir stops. */
void answer_close_if_draining(struct exchange *x);

/* x, out of its queue, is done: its memory goes back, unless its handler still runs. */
void answer_retire(struct http_loop *ctx, struct exchange *x);

#endif
