/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_BENCH_PUSH_H
#define WEIR_CLI_BENCH_PUSH_H

#include "cli/bench.h"
#include "cli/bench_loop.h"

/*
 * Connections that send one request again and again, each with so many in
 * flight. The request is written once and copied; what differs in each (its key,
 * its time) are digits at fixed places.
 *
 * With a rate the requests have times of their own, and latency counts from
 * those: a server that stalls is charged for the requests that it kept from
 * being sent too ("coordinated omission" otherwise). Without one it counts from
 * when the request was handed to the socket's buffer.
 */
struct bench_push_options {
	struct slice target, content_type, body;
	uint32_t connections, in_flight;
	uint32_t records;      /* in a request */
	uint64_t bytes;        /* of payload in a request */
	uint64_t rate;         /* records a second; 0: as fast as they are answered */
	uint64_t requests_max; /* with a rate: so many and no more; 0: any number */
	const char *key;       /* begins each request's own Idempotency-Key; NULL: none */
	size_t stamp_at;       /* where in the body 20 digits of bench_now_ns go; SIZE_MAX: nowhere */
	uint32_t index;        /* of the first connection, in the loop */
};

struct bench_push_conn {
	struct client_conn conn;
	struct client_reply reply;
	int64_t *begun_ns; /* a ring of in_flight */
	uint32_t first, count;
	int64_t paused_until_ns; /* the server said "later" */
	bool writing;
};

struct bench_push {
	struct bench_push_options options;
	const struct client_url *url;
	struct bench_loop *loop;
	struct bench_figures *figures;
	struct bench_push_conn *conns;
	int64_t *begun_ns; /* of all connections */
	struct buf request;
	size_t key_at, stamp_at; /* digits in it; SIZE_MAX: none */
	uint64_t sent;           /* requests */
	uint32_t waiting;        /* of these, without answer */
	uint32_t paused, turn;
	int64_t started_ns; /* the first request */
	int64_t ended_ns;   /* the last answer, or when it was stopped */
	bool stuck;         /* a request is due and every connection is full or paused */
	bool stopping;      /* answers are taken, nothing is sent */
};

/* Connects and sends nothing yet. Borrows all slices, url, loop and figures until bench_push_close. Errors with *fault. */
int bench_push_open(struct bench_push *p, const struct bench_push_options *options,
		    const struct client_url *url, struct bench_loop *loop, struct bench_figures *figures,
		    struct fault *fault);
void bench_push_close(struct bench_push *p);

/* Sends what is due now. ERR_NOMEM, ERR_LIMIT, ERR_IO (a connection cannot be had again) with *fault. */
int bench_push_send(struct bench_push *p, struct fault *fault);

/* Nothing is to be sent from now on. May be called again. */
void bench_push_stop(struct bench_push *p);

/* Not all of requests_max are sent. */
bool bench_push_owes(const struct bench_push *p);

/* When bench_push_send is to be called next, or until_ns where that is sooner. */
int64_t bench_push_due(const struct bench_push *p, int64_t until_ns);

/* Something is to be read or written of the connection with that index. As bench_push_send. */
int bench_push_event(struct bench_push *p, uint32_t index, struct fault *fault);

#endif
