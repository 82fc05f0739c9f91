/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_SESSION_H
#define WEIR_SERVE_HTTP_SESSION_H

#include "serve/http/deadline.h"
#include "serve/http/intake.h"
#include "serve/http/private.h"
#include "serve/http/queue.h"

/*
 * One HTTP/1.1 connection on the server's side. Its parts are nouns of their own: what
 * is read (intake), the requests in flight (queue), the one timer (deadline).
 * What is given to the peer is answer.h's and stream.h's. Handlers see none of it, but exchanges.
 *
 * Everything on the connection's loop.
 */
struct session {
	struct http_loop *ctx;
	struct conn *conn; /* NULL: handed over */
	struct session *next, **prev;
	struct queue queue;
	struct intake intake;
	struct deadline deadline;
	/* session.c's: nobody else looks at these. */
	bool inside;  /* on_bytes is running: the session must not be freed */
	bool dead;    /* free it when on_bytes returns */
	bool closing; /* the connection was told to close; on_closed is to come */
	bool leaving; /* weir stops, and the peer has nothing left to send */
};

static inline const struct http_options *session_options(const struct session *s)
{
	return &s->ctx->server->options;
}

/* Starts a session on c. 0 or ERR_NOMEM. */
int session_start(struct http_loop *ctx, struct conn *c);

/* Closes those of a loop that wait for a request. */
void session_close_idle(struct http_loop *ctx);

/* The connection, NULL once it has gone or is being closed. */
static inline struct conn *session_conn(const struct session *s)
{
	return s->closing ? NULL : s->conn;
}

/* The first of the queue has been answered, and the connection stays: what follows may go on. */
void session_settle(struct session *s);

/* What is waited for may have changed: arms the timer where that is needed. */
void session_watch(struct session *s);

/* weir stops: no further request is taken. False where one is on its way. */
bool session_leave(struct session *s);

/* Closes when what was written has left, then reads and discards for linger_ns at most. */
void session_close(struct session *s, int64_t linger_ns);

/* Closes at once. */
void session_cut(struct session *s);

/* Gives the connection, which has nothing in flight, to another session. */
struct conn *session_hand_over(struct session *s, const struct conn_session *to, void *ctx);

#endif
