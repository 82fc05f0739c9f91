/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_SERVER_H
#define WEIR_SERVE_HTTP_SERVER_H

#include "serve/http/exchange.h"

/*
 * What all connections of the HTTP listener share: the options, the compiled
 * routes, and one context a loop (date, pool of exchanges, counters). Immutable
 * after start but for the contexts, each of which belongs to its loop's thread.
 *
 * Memory that grows with what clients do is counted in each loop's share of the
 * budget (loop_share): sessions, exchanges with their arenas, bodies. With the budget
 * full, requests for a ROUTE_BOUNDED route are refused, bodies are not collected on, and a
 * connection has one request in flight.
 */

/* Called on the loops' threads. Any member may be NULL. Must be quick and must not call back. */
struct http_observer {
	void *ctx;
	/* An answer was given. route is NULL where none was found. latency_ns is from whole head to answer. */
	void (*answered)(void *ctx, uint32_t loop, const struct route *route, enum http_method method,
			 int status, int64_t latency_ns);
	/* A request was refused with this error, by the session or by a handler's exchange_problem. */
	void (*refused)(void *ctx, uint32_t loop, int err);
	void (*spared)(void *ctx, uint32_t loop,
		       uint32_t count); /* connections cut to make room; may be NULL */
	/* +1 and -1. */
	void (*connections)(void *ctx, uint32_t loop, int change);
};

/* Zero members stand for the defaults named here. All pointers are borrowed for the server's life. */
struct http_options {
	const struct sys *sys;
	const struct route *const *routes;
	size_t route_count;
	uint32_t loops; /* contexts to make: loop_number() is below it; 0: 1 */
	void *app;      /* given to handlers */

	/* Sets x->client, or gives ERR_UNAUTHORIZED, ERR_FORBIDDEN …; *detail may be set to a static sentence. NULL: everybody may do everything. */
	int (*authorize)(void *app, struct exchange *x, const char **detail);
	bool credentials; /* some are configured: the Host check is off */

	const char *const *
		hosts; /* allowed Host names besides loopback ones, for every port or with the one; NULL at the end */
	const char *const *
		origins; /* allowed foreign Origins, exact ("https://app.example"), or "*"; NULL at the end */
	bool cors;       /* answer preflights and add Access-Control-* for allowed origins */

	struct http_limits head;
	uint64_t small_body_max; /* 64 KiB */
	uint64_t large_body_max; /* 16 MiB */
	uint32_t in_flight_max;  /* requests of one connection, 64 */
	size_t in_flight_bytes_max; /* memory of the requests of one connection past which no further is taken, 4 MiB */
	size_t output_max; /* unsent bytes of one connection past which it is cut, 448 MiB: more than a record */
	size_t stream_bytes_max;   /* credit of a stream, 1 MiB; less as the budget fills (budget_credit) */
	size_t exchange_bytes_max; /* arena of one exchange without its body, 64 MiB */

	int64_t head_timeout_ns;  /* from the first byte of a head to its end, 10 s */
	int64_t body_grace_ns;    /* then the body must keep up with body_rate, 10 s */
	uint64_t body_rate;       /* bytes a second, 1000 */
	int64_t idle_timeout_ns;  /* between requests, 75 s */
	int64_t write_timeout_ns; /* no byte of waiting output taken by the peer, 60 s */
	int64_t linger_ns;        /* after a refusal: read and discard, 2 s */

	struct http_observer observer;
};

/* Returns owned; ERR_NOMEM, ERR_BAD_PARAMETER with *fault. */
int http_server_new(const struct http_options *options, struct http_server **out, struct fault *fault);

/* After the loops have ended. */
void http_server_free(struct http_server *s);

/* For listener_options.on_accept and on_refuse, with the server as ctx. */
int http_server_accept(void *server, struct conn *c);
void http_server_refuse(void *server, struct conn *c);

/*
 * From any thread: from now on every answer closes its connection and idle
 * connections are closed at their next deadline or, at once, by http_server_close_idle on their loop.
 */
void http_server_drain(struct http_server *s);
void http_server_close_idle(struct http_server *s, struct loop *loop);

/*
 * For a listener at its cap (listener_options.on_full): cuts connections of this loop that
 * wait for a request, those that never sent one first and the longest waiting first. How many.
 */
uint32_t http_server_spare(void *server, struct loop *loop);
bool http_server_draining(const struct http_server *s);

/* Connections of a loop, upgraded ones too. On that loop. */
uint32_t http_server_connections(const struct http_server *s, const struct loop *loop);

/* The new owner of an upgraded connection tells that it has closed. On its loop. */
void http_server_upgraded_closed(struct http_server *s, struct loop *loop);

const struct http_options *http_server_options(const struct http_server *s);

#endif
