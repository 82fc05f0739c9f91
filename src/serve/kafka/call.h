/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_CALL_H
#define WEIR_SERVE_KAFKA_CALL_H

#include "base/arena.h"
#include "proto/kafka/kafka_api.h"
#include "serve/app.h"

/*
 * A request of a Kafka client, from its frame to its answer: what a handler gets.
 * A file of this folder is a request (or two that are one idea) and ends with
 *
 *	const struct kafka_handler kafka_handle_metadata = {.run = run_metadata};
 *
 * Every API of kafka_api.def has one (handlers.c).
 *
 * run() finds the request read, in call->request, and must see to it that the call
 * is ended, now or later, by exactly one of kafka_call_answer, kafka_call_silent and
 * kafka_call_fail. A client that has gone meanwhile is nothing to a handler: it
 * answers as always. It must not be kept waiting for ever: a call that parks
 * (a fetch, a join) is ended at once when `leave` of its guest is called (app.h).
 *
 * Requests of one connection are begun in order and one at a time, as Kafka does
 * it, but for those whose handler says `together`: any number of the same API
 * in a row run at once. Answers leave in the order of requests in any case.
 */
struct kafka_session;
struct kafka_call;

struct kafka_handler {
	void (*run)(struct kafka_call *call);
	bool together; /* the next one may begin before this one is answered */
	bool anybody;  /* also where a login is wanted and has not been: ApiVersions, Sasl* */
	/*
	 * Runs on the home loop, where coordinators live (groups, transactions): they have
	 * one thread and need no lock. The call is moved there and back.
	 */
	bool home;
};

struct kafka_call {
	struct kafka_header header; /* its slices are views of the frame, which lives as long as the call */
	const struct kafka_handler *handler;
	const void *request; /* the struct of its API: cast it */
	struct arena arena;  /* of the call, bounded; counted in the budget */
	struct app *app;
	struct loop *loop; /* on which it is now; only there may it be touched */
	void *state;       /* the handler's */
	/*
	 * The handler's, while the call is parked on its connection's loop: told to leave when
	 * the client has gone too, so that nobody waits for nobody. NULL: it is not, or may not be woken.
	 */
	struct app_guest *parked;

	/* the session's from here on */
	struct kafka_session *session;
	struct kafka_call *next;
	struct loop_msg msg;
	struct buf frame;
	struct slice body;
	void *response;
	const void *answer;
	struct kafka_cuts *cuts;
	const char *why;
	size_t charged;
	int64_t came_ns;
	uint8_t outcome; /* enum kafka_call_end */
	uint8_t end;     /* the same, once the call is back on its connection's loop */
};

/* Zeroed memory of the call, or an array of structs of the layout with Kafka's defaults; NULL: no memory. */
void *kafka_call_new(struct kafka_call *call, size_t bytes);
void *kafka_call_array(struct kafka_call *call, const struct kafka_layout *layout, size_t count);

/* The struct of the API's answer, every field at its default when the handler begins. */
void *kafka_call_response(struct kafka_call *call);

/*
 * The answer; the struct and what it points to is memory of the call, static, or
 * otherwise there until the answer is written: on the connection's loop, later
 * in this turn or the next one. On the loop on which the call is; after it the call is gone.
 */
void kafka_call_answer(struct kafka_call *call, const void *response);

/*
 * An answer with records that lie elsewhere (kafka_layout.h): `cuts` is memory of the call,
 * the sources are `struct kafka_source`. What holds them is let go when they were written or dropped.
 */
void kafka_call_answer_cuts(struct kafka_call *call, const void *response, struct kafka_cuts *cuts);

/* Records of a response: a part of a blob or of a file, whose reference goes to the call with the answer. */
struct kafka_source {
	struct blob *blob;
	struct slice part;     /* of a file len alone counts */
	struct file_ref *file; /* NULL: a blob */
	uint64_t file_at;
	struct kafka_source *next; /* the records go on there */
};

/* There is no answer: Produce with acks=0 that went well. */
void kafka_call_silent(struct kafka_call *call);

/* The connection closes, after what was to be answered before; `why` is a static phrase for the log,
 * NULL: nothing is said. */
void kafka_call_fail(struct kafka_call *call, const char *why);

/* ---- what the connection knows ---- */

/* Who has logged in; empty before, and where nobody has to. Borrowed: of the call. */
struct slice kafka_call_user(const struct kafka_call *call);

/* HOST and port that the client reached or that are configured as the advertised ones. Borrowed: of the call. */
void kafka_call_address(const struct kafka_call *call, struct slice *host, int32_t *port);

/* The client's address, for answers and lines of the log: "127.0.0.1". Borrowed: of the call. */
struct slice kafka_call_peer(const struct kafka_call *call);

/* ---- what many handlers need ---- */

/* Kafka's code for one of weir's errors (err_row), as it stands in responses. 0 for 0. */
int16_t kafka_code(int err);

#endif
