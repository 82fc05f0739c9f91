/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_PRIVATE_H
#define WEIR_SERVE_HTTP_PRIVATE_H

#include <stdatomic.h>

#include "serve/http/server.h"

/* What the files of this folder share. Nobody outside includes it. */

/* ---- server.c ---- */

/* One a loop, touched by its thread alone. */
struct http_loop {
	_Alignas(64) struct http_server *server;
	struct exchange *pool; /* free ones, each with a chunk of arena */
	struct session *sessions;
	uint32_t number;
	uint32_t pool_count;
	uint32_t connections; /* upgraded ones too */
	bool dated;
	int64_t spare_again_ns; /* not before is looked for connections to spare */
	int64_t dated_at_ns;    /* loop_now when the date was made */
	uint8_t date[HTTP_DATE_BYTES];
	struct http_header scratch[HTTP_HEADERS_MAX]; /* for the head being parsed */
};

struct http_server {
	struct http_options options;
	struct route_table *routes;
	_Atomic bool draining;
	struct http_loop *loops;
};

/* The date for answers; made anew at most four times a second. */
struct slice http_loop_date(struct http_loop *ctx, struct loop *loop);

/* A zeroed exchange with an empty arena, counted in the loop's share; or NULL. Give it back with exchange_release. */
struct exchange *exchange_take(struct http_loop *ctx, struct loop *loop);

/* Takes: all memory of the exchange goes back. */
void exchange_release(struct http_loop *ctx, struct exchange *x);

struct http_loop *http_loop_of(struct http_server *server, const struct loop *loop);

/* A connection more, or less. */
void http_loop_count(struct http_loop *ctx, int change);

/* Counts the collected body in the budget; false where that would be over. */
bool exchange_charge(struct exchange *x, size_t bytes);

/* ---- policy.c: Origin, Host and CORS (contract 2) ---- */

/*
 * 0, or ERR_FORBIDDEN_ORIGIN, ERR_FORBIDDEN_HOST with *detail. Sets x->cors where the
 * Origin is foreign and allowed and CORS is on.
 */
int policy_check(const struct http_options *options, struct exchange *x, const char **detail);

/* True for a CORS preflight of an allowed Origin; policy_preflight answers it for a path that takes `methods`. */
bool policy_is_preflight(const struct exchange *x);
void policy_preflight(struct exchange *x, uint32_t methods);

/* The field lines for an answer to an allowed foreign Origin, added to x. */
void policy_cors(struct exchange *x);

/* ---- query.c ---- */

/*
 * Decodes the query into x->query. 0; ERR_UNKNOWN_PARAMETER, ERR_BAD_PARAMETER,
 * ERR_MALFORMED, ERR_NOMEM with *detail, which lives as long as x.
 */
int query_parse(struct exchange *x, const char **detail);

/* "GET, HEAD, POST" into room for 64 bytes. */
struct slice methods_text(uint32_t methods, char *room);

/* ---- where an exchange stands ---- */

enum exchange_stage {
	EXCHANGE_COMING,   /* head there, body on its way */
	EXCHANGE_OPEN,     /* the handler's */
	EXCHANGE_STREAM,   /* the handler's, its head is sent */
	EXCHANGE_ANSWERED, /* the answer waits for its turn */
	EXCHANGE_DONE,     /* nothing is left to do but to wait for the handler to return */
};

#endif
