/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_SESSION_H
#define WEIR_SERVE_KAFKA_SESSION_H

#include "proto/kafka/kafka_frame.h"
#include "serve/kafka/call.h"
#include "serve/kafka/login.h"
#include "serve/kafka/server.h"

/*
 * A connection of the Kafka port, and what all of a loop share. Only the server,
 * the session and the calls look inside.
 *
 * Calls stand in the list in the order of their requests, from when they begin
 * to when their answer is written. The last one may be waiting to begin: while one does,
 * and while too much is in flight, nothing more is read.
 */
struct kafka_loop {
	struct kafka_server *server;
	struct loop *loop; /* NULL until its first connection */
	struct kafka_session *sessions;
	struct kafka_session *ahead; /* goes on with the budget full; or NULL */
	struct kafka_call *pool;
	uint32_t number, pool_count;
};

struct kafka_server {
	struct kafka_server_options options;
	struct login *login; /* NULL: nobody has to */
	_Atomic bool draining;
	uint32_t loop_count;
	struct kafka_loop *loops;
};

struct kafka_session {
	struct kafka_loop *ctx;
	struct kafka_session *next, **prev; /* of the loop */
	struct conn *conn;                  /* NULL: closed; the session waits for its calls */
	struct kafka_framer framer;
	struct kafka_call *first, *last;
	struct kafka_call *waiting; /* to begin: the last of the list; or NULL */
	uint32_t running;           /* begun and not ended */
	size_t bytes;               /* of their frames */
	size_t charged;             /* of the framer, in the budget */
	struct loop_turn turn;      /* goes on with what was stopped */
	struct loop_timer timer;
	int64_t timer_at_ns; /* 0: not armed */
	int64_t last_ns;     /* when a request came or was answered */
	int64_t out_at_ns;   /* since when answers wait and nothing was taken; 0: none wait */
	uint64_t out_bytes;
	bool stopped; /* reading: until there is room again */
	bool ending;  /* no more requests: closed when all is answered */
	bool closing;
	bool leaving; /* weir stops: who has its answers owes nothing */
	bool said;    /* why it is closed */
	struct login_state login;
	char local[64], peer[64];
};

/* Makes the session of a connection. ERR_NOMEM. */
int kafka_session_start(struct kafka_loop *ctx, struct conn *c);

/* No more requests: closed when all is answered. */
void kafka_session_leave(struct kafka_session *s);

/* A handler: likewise, with a line in the log that says why (borrowed). The call itself is answered after this. */
void kafka_session_refuse(struct kafka_session *s, const char *why);

/* call.c: from the pool of the loop, with the bytes of the frame. NULL: no memory. */
struct kafka_call *kafka_call_take(struct kafka_session *s, struct slice frame);
void kafka_call_release(struct kafka_call *call);
/* Reads the request and runs its handler, here or on the home loop. */
void kafka_call_begin(struct kafka_call *call);

/* session.c: the call has ended, on the session's loop. */
void kafka_session_ended(struct kafka_session *s);

enum kafka_call_end {
	KAFKA_CALL_OPEN, /* waits, or runs */
	KAFKA_CALL_ANSWERED,
	KAFKA_CALL_SILENT,
	KAFKA_CALL_FAILED,
};

#endif
