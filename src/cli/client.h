/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_CLIENT_H
#define WEIR_CLI_CLIENT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/rand.h"
#include "cli/args.h"
#include "proto/http/http.h"

/*
 * A client of the daemon over one plain socket that never blocks but in
 * client_open and client_wait. It knows HTTP and problem documents, not what
 * the requests mean. One thread.
 */

/* ---- where the daemon is ---- */

struct client_url {
	char host[256]; /* without brackets */
	char port[6];
	char authority[280]; /* for Host */
};

/* http://HOST[:PORT][/]; ERR_BAD_PARAMETER with *fault for anything else. */
int client_url_parse(const char *text, struct client_url *out, struct fault *fault);

/* From --server, WEIR_SERVER or the default. */
int client_url_of(const struct args *args, struct client_url *out, struct fault *fault);

/* ---- time ---- */

int64_t client_now_ms(void); /* monotonic */

/* Waits between tries: doubling from 100 ms to 5 s, with jitter of half. */
struct client_backoff {
	struct rand rand;
	uint32_t tries;
};
void client_backoff_init(struct client_backoff *b);
int64_t client_backoff_next(struct client_backoff *b); /* milliseconds */
void client_backoff_reset(struct client_backoff *b);

/* ---- a connection ---- */

struct client_conn {
	int fd;         /* -1: not connected */
	struct buf in;  /* read and not yet looked at */
	struct buf out; /* to be written */
	bool ended;     /* the peer will send no more */
};

#define CLIENT_OUT_MAX (128u << 20)

/* Not connected; to be ended with client_conn_fini. */
void client_conn_init(struct client_conn *c);
void client_conn_fini(struct client_conn *c);

/* Connects; waits for at most timeout_ms. ERR_IO with *fault. */
int client_open(struct client_conn *c, const struct client_url *url, int64_t timeout_ms, struct fault *fault);

/* Closes and forgets what was read and what was to be written. */
void client_shut(struct client_conn *c);

/* Writes what the socket takes. 0 or ERR_IO. */
int client_write(struct client_conn *c);

/* Reads some of what is there. 0 (see c->ended), ERR_IO, ERR_NOMEM. */
int client_read(struct client_conn *c);

/* Waits until there is something to read (or to write, where there is something to be written). 0 at the deadline, 1, ERR_IO. */
int client_wait(struct client_conn *c, int64_t deadline_ms);

/* ---- answers ---- */

/* One answer at a time. The fields from status on hold from the head's end on. */
struct client_reply {
	struct http_header list[HTTP_HEADERS_MAX];
	struct http_scan scan;
	struct http_body body;
	bool in_body;
	int status;
	bool keep_alive;
	bool replayed;          /* Idempotent-Replayed: true */
	int64_t retry_after_ms; /* -1: the answer did not say */
	struct buf content;
};

void client_reply_init(struct client_reply *r, size_t content_bytes_max);
void client_reply_fini(struct client_reply *r);

/*
 * Takes the head of an answer to `method` off c->in; skips 1xx. 1 when it is
 * whole (then in_body is true), 0 where more must be read, ERR_PROTOCOL with
 * *fault, ERR_IO where the peer ended before.
 */
int client_reply_head(struct client_reply *r, struct client_conn *c, enum http_method method,
		      struct fault *fault);

/* A piece of the body: 1 and *piece (borrowed until the next call), 2 at its end, 0 for more, errors as above. */
int client_reply_piece(struct client_reply *r, struct client_conn *c, struct slice *piece,
		       struct fault *fault);

/* Head and body: 1 when whole, the body in r->content. */
int client_reply_whole(struct client_reply *r, struct client_conn *c, enum http_method method,
		       struct fault *fault);

/* What a problem document says; empty where it says nothing. */
struct client_problem {
	char code[64];
	char detail[504];
	char cursor[2048]; /* 410: where to go on */
};
void client_problem_of(struct slice content, struct client_problem *out);

/* True for 429, 503 and 507: the same request may succeed later. */
bool client_may_retry(int status);

/* ---- one request ---- */

struct client_call {
	enum http_method method;
	struct slice target;
	struct slice content_type; /* null: no body */
	struct slice body;
};

/*
 * One request over a connection of its own; the answer, whatever its status, is
 * in *r (client_reply_init'ed). Waits at most 60 s for it. ERR_IO, ERR_PROTOCOL,
 * ERR_LIMIT, ERR_NOMEM with *fault.
 */
int client_call(const struct client_url *url, const struct client_call *call, struct client_reply *r,
		struct fault *fault);

/* Appends "?" or "&" as needed, name, "=", the value encoded. */
void client_query(struct buf *target, const char *name, struct slice value);

#endif
