/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_EXCHANGE_H
#define WEIR_SERVE_HTTP_EXCHANGE_H

#include "base/blob.h"
#include "net/net.h"
#include "serve/http/route.h"

/*
 * One request and its answer: all that a handler gets and does. An exchange
 * belongs to one loop. The session gives answers to the peer in the order of
 * the requests, whatever the order in which they are given here.
 *
 * Life. A handler answers at once, or gives EXCHANGE_PENDING and keeps the
 * pointer. Exactly one of exchange_answer*, exchange_problem, exchange_upgrade or
 * exchange_stream_end ends it; the pointer is dead after that call (but for the handler that is still
 * running: what it borrowed lives until it returns). A pending exchange stays
 * alive when its peer has gone: it may be in the log's hands. Then its answer
 * goes nowhere, but must still be given.
 *
 * Everything below runs on x->loop. No handler or callback is run inside these calls.
 */
struct http_server;
struct session;

typedef void exchange_fn(struct exchange *x);

struct exchange {
	/* What came. Read only; all bytes live until the exchange ends. */
	struct http_request request; /* method, path, query, headers … */
	struct slice
		body; /* whole and without chunks; at least EXCHANGE_BODY_PADDING bytes behind it may be read; ptr is never NULL */
	const struct route *route;
	struct slice param[ROUTE_PARAMS_MAX];
	uint32_t params;

	/* Where it is. */
	struct arena *arena; /* the exchange's own: freed when it ends */
	struct loop *loop;
	struct http_server *server;
	void *app;          /* http_options.app */
	const void *client; /* what http_options.authorize set; NULL: nobody in particular */
	int64_t started_ns; /* loop_now when the request was whole, or what it waited for was there */

	/* The handler's. */
	void *user;
	/*
	 * Set it before giving EXCHANGE_PENDING or starting a stream to be told, once, that the peer has
	 * gone. The exchange may be ended inside. Without it a lost peer is noticed at the answer.
	 */
	exchange_fn *on_cancel;
	/*
	 * Told, once, that the peer will send no more: most likely it has gone, but it may still read.
	 * For who waits long: answer at once. See exchange_ended.
	 */
	exchange_fn *on_end;

	/* The session's: nobody else looks at these. */
	struct exchange *next;
	struct session *session; /* NULL once the peer has gone */
	struct slice *query;     /* by place in route->query; NULL: none was sent */
	struct http_header *added;
	struct arena own_arena;
	struct buf collected; /* a body that does not come at once */
	size_t charged;       /* bytes of it, in the budget */
	uint64_t body_max;
	size_t counted;      /* bytes, against the bound of the connection */
	struct slice stored; /* an answer that waits for its turn */
	struct blob *blob;   /* and its body, where that is shared */
	struct slice blob_part;
	exchange_fn *on_room;
	int status;
	uint8_t added_count;
	uint8_t stage; /* enum exchange_stage */
	bool in_handler;
	bool close;   /* the connection ends with this answer */
	bool chunked; /* the stream's framing */
	bool cut;     /* the answer could not be kept: the connection is cut at its turn */
	bool continue_due;
	bool cors;       /* a foreign, allowed Origin */
	bool long_lived; /* a stream, or parked */
};

#define EXCHANGE_BODY_PADDING 64u

/* ---- asking ---- */

/* A path parameter by its name in the pattern. CHECKs that there is one. */
struct slice exchange_param(const struct exchange *x, const char *name);

/*
 * A query parameter, decoded ('+' is a space). 1 and *value, 0 and the null
 * slice where it was not sent. The name must be one of the route's. That all
 * parameters are known, well-formed and given once was checked before the handler ran.
 */
int exchange_query(const struct exchange *x, const char *name, struct slice *value);

/* A request field: 1 and *value, 0 and null, ERR_BAD_HEADER where it is repeated. Any case. */
int exchange_header(const struct exchange *x, struct slice name, struct slice *value);

/* address:port of the peer; "" once it has gone. */
void exchange_peer(const struct exchange *x, struct conn_peer *out);

/* True once the peer has gone: what is still to do may be left out. */
bool exchange_cancelled(const struct exchange *x);

/*
 * Tells that the answer may be long in coming: called by a handler that is about
 * to give EXCHANGE_PENDING to wait for what may never happen. The connection then
 * wakes nobody meanwhile. Not for who waits for the disk: it costs a little.
 */
void exchange_park(struct exchange *x);

/* True once the peer will send no more (on_end is not called any more). */
bool exchange_ended(const struct exchange *x);

/* ---- answering ---- */

/*
 * Adds a field to the answer. Copies both. Ignored (and counted) without memory.
 * ERR_BAD_HEADER where the name is no token or the value would break the framing.
 */
int exchange_add_header(struct exchange *x, struct slice name, struct slice value);

/*
 * Answers and ends. `body` is copied or written before return; with HEAD it is left out and its length is
 * told (not so with the null slice, for a body that was not made). `content_type` is borrowed, NULL for none. Status 204 and 304 have no
 * body. Always gives 0, so that a handler may return it.
 */
int exchange_answer(struct exchange *x, int status, const char *content_type, struct slice body);

/* The same for a part of a blob, which is shared, not copied. */
int exchange_answer_blob(struct exchange *x, int status, const char *content_type, struct blob *blob,
			 struct slice part);

/* Answers with a JSON document, and the line end behind it. ERR_NOMEM, and nothing is answered, where the buffer has failed. */
int exchange_answer_json(struct exchange *x, int status, struct buf *json);

/*
 * Answers with application/problem+json for an error and ends: title, status and code from err.def,
 * `detail` from the format (what was wrong, what would be right; cut at 500
 * bytes, bytes that are not UTF-8 replaced). format NULL: the title again. 429, 503
 * and 507 get Retry-After: 1 where no such field was added. Always gives 0.
 */
int exchange_problem(struct exchange *x, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * The same with more members of the problem object: `members` is JSON text without braces, such as
 * "errors":[…], copied; null for none.
 */
int exchange_problem_with(struct exchange *x, int err, struct slice members, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* A problem: what a fault says, which has an err; its error's sentence where it has no text. */
int exchange_refuse(struct exchange *x, const struct fault *fault);

/* Lets the arena grow by what a problem needs, where the request has used it up: answer one of your own only behind this. */
void exchange_make_room(struct exchange *x);

/*
 * What is left of a request begins now: the time that it waited by its own wish
 * (a long poll) is none that weir took, and is not told as such.
 */
void exchange_waited(struct exchange *x);

/* In on_cancel, in place of an answer: there is nobody to answer, and nothing that was answered. */
void exchange_forget(struct exchange *x);

/*
 * Ends the exchange and its connection without an answer: for what was done and
 * cannot be told, since a refusal would be a lie. Answers before it still leave.
 */
void exchange_abort(struct exchange *x);

/* ---- streams ---- */

/*
 * Starts an answer without a known length, for SSE. Only on ROUTE_ALONE routes.
 * The head is sent; then write, and end. on_room is called when everything
 * written has left and there is credit again (never inside a call). With HEAD nothing of the body is sent: end at once.
 * Chunked for HTTP/1.1, until close for HTTP/1.0.
 * 0, or ERR_CANCELLED where the peer has gone (end it).
 */
int exchange_stream_start(struct exchange *x, int status, const char *content_type, exchange_fn *on_room);

/*
 * Writes a piece: copies, or shares the blob. 0; ERR_CANCELLED where the peer
 * has gone; ERR_LIMIT, ERR_NOMEM: end the stream. Writing past the credit is
 * allowed (bounded by http_options.output_max); asking first is the way to backpressure.
 */
int exchange_stream_write(struct exchange *x, struct slice bytes);
int exchange_stream_write_blob(struct exchange *x, struct blob *blob, struct slice part);

/*
 * Bytes that may be written now: http_options.stream_bytes_max, or less as the budget
 * fills, less what has not left. 0: wait for on_room.
 */
size_t exchange_stream_room(const struct exchange *x);

/* Ends the stream (final chunk) and the exchange. */
void exchange_stream_end(struct exchange *x);

/* Ends it by cutting the connection, so that the client cannot take it for whole. */
void exchange_stream_abort(struct exchange *x);

/* ---- upgrades ---- */

/*
 * Answers 101 with Upgrade: `protocol`, Connection: Upgrade and the added fields, ends the
 * exchange and hands the connection to `session` with `ctx`: what the peer has
 * sent behind the head comes to its on_bytes first. Only on ROUTE_ALONE routes.
 * 0 and *conn (the new session's from now on; count it closed with http_server_upgraded_closed);
 * ERR_CANCELLED where the peer has gone (then the exchange is still to be ended, `ctx` still the caller's).
 */
int exchange_upgrade(struct exchange *x, const char *protocol, const struct conn_session *session, void *ctx,
		     struct conn **conn);

#endif
