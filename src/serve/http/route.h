/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_ROUTE_H
#define WEIR_SERVE_HTTP_ROUTE_H

#include "proto/http/http.h"

/*
 * What the server answers, as const tables: one row a resource and set of
 * methods, written above its handler, gathered in one list for the server.
 *
 *	static const char *const produce_query[] = {"key", "partition", "ack", NULL};
 *	const struct route route_produce = {
 *		.methods = HTTP_BIT(HTTP_POST),
 *		.pattern = "/v1/topics/{topic}/records",
 *		.query = produce_query,
 *		.body = ROUTE_BODY_LARGE,
 *		.handle = on_produce,
 *	};
 */
struct exchange;

/*
 * Called on the connection's loop when the request is whole.
 *
 *	0                 answered (what exchange_answer and its like give)
 *	EXCHANGE_PENDING  will be answered later, on the same loop, by whoever keeps the exchange
 *	a negative ERR_*  answer with that error and its sentence
 */
typedef int exchange_handler_fn(struct exchange *x);

#define EXCHANGE_PENDING 1

enum route_body {
	ROUTE_BODY_NONE,  /* any content is refused */
	ROUTE_BODY_SMALL, /* up to http_options.small_body_max (64 KiB) */
	ROUTE_BODY_LARGE, /* up to http_options.large_body_max (16 MiB) */
};

enum route_flags {
	/*
	 * For streams and upgrades: handled only when all earlier answers of the
	 * connection have been given, and nothing further is read until it ends.
	 */
	ROUTE_ALONE = 1,
	/* Takes `access_token` in the query besides Authorization (SSE and WebSocket). */
	ROUTE_QUERY_TOKEN = 2,
	/* Answers anybody: no authorisation (health, the page). Origin and Host are still checked. */
	ROUTE_OPEN = 4,
	/* No body is as good as an empty one: neither length nor chunks are asked for (curl -X PUT sends none). */
	ROUTE_BODY_OPTIONAL = 8,
	/* Takes memory for as long as its client likes: 503 where the budget is full. The others go on. */
	ROUTE_BOUNDED = 16,
};

#define ROUTE_PARAMS_MAX 4u

struct route {
	uint32_t methods;         /* HTTP_BIT(...); HTTP_GET includes HEAD */
	const char *pattern;      /* segments, "{name}" takes any non-empty one */
	const char *const *query; /* allowed query parameters, NULL at the end; NULL: none. At most 32 */
	enum route_body body;
	uint32_t flags;
	exchange_handler_fn *handle;
};

/* ---- matching ---- */

struct route_table;

/*
 * Compiles the rows (borrowed for ever). Returns owned; ERR_NOMEM;
 * ERR_BAD_PARAMETER with *fault where two rows claim the same path and method,
 * or a pattern is malformed.
 */
int route_table_new(const struct route *const *routes, size_t count, struct route_table **out,
		    struct fault *fault);
void route_table_free(struct route_table *t);

struct route_match {
	const struct route *route; /* with a result of 0 */
	uint32_t methods;          /* allowed on this path, where the path is known */
	uint32_t params;
	struct slice param[ROUTE_PARAMS_MAX]; /* decoded, in the order of the pattern */
};

/*
 * Finds the row for a path and method. A literal segment wins over a parameter.
 * 0; ERR_NOT_FOUND; ERR_METHOD with m->methods; ERR_MALFORMED (the path does
 * not decode); ERR_NOMEM. Parameters are in `a` or in `path`.
 */
int route_find(const struct route_table *t, enum http_method method, struct slice path, struct arena *a,
	       struct route_match *m);

/* The place of a parameter in the pattern, -1 where it has none of that name. */
int route_param_index(const struct route *r, const char *name);

#endif
