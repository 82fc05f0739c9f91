/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_QUEUE_H
#define WEIR_SERVE_HTTP_QUEUE_H

#include "serve/http/server.h"

/*
 * The exchanges of one connection in the order of their requests, which is that
 * of their answers, and how much of them may be in flight. It knows no connection.
 * Inline, since each of these is a few instructions of every request.
 */
struct queue {
	struct exchange *first, **last;
	uint32_t count;
	uint32_t unsafe; /* of them, those that may change something */
	size_t bytes;    /* of arenas and bodies, counted when a request is whole */
};

/* Changes nothing (RFC 9110 section 9.2.1). */
static inline bool queue_is_safe(const struct exchange *x)
{
	enum http_method method = x->request.method;

	return method == HTTP_GET || method == HTTP_HEAD || method == HTTP_OPTIONS;
}

static inline void queue_init(struct queue *q)
{
	*q = (struct queue){.last = &q->first};
}

/* Keeps: x is the last from now on. */
static inline void queue_add(struct queue *q, struct exchange *x)
{
	x->next = NULL;
	*q->last = x;
	q->last = &x->next;
	q->count++;
	q->unsafe += !queue_is_safe(x);
}

/* x counts against the bound from now on, with the memory that it has. */
static inline void queue_count_bytes(struct queue *q, struct exchange *x)
{
	x->counted = x->own_arena.bytes + x->collected.cap;
	q->bytes += x->counted;
}

/* Takes the first out, which there must be, and gives it. */
static inline struct exchange *queue_take(struct queue *q)
{
	struct exchange *x = q->first;

	q->first = x->next;
	if (!q->first)
		q->last = &q->first;
	q->count--;
	q->unsafe -= !queue_is_safe(x);
	q->bytes -= x->counted;
	return x;
}

/* Whether another request may be taken, as far as those before it go. */
static inline bool queue_has_room(const struct queue *q, const struct http_options *o)
{
	if (q->first && q->first->route && q->first->route->flags & ROUTE_ALONE)
		return false;
	return q->count < o->in_flight_max && q->bytes < o->in_flight_bytes_max;
}

/*
 * Whether x, not yet in the queue, has to wait for those that are. Requests of one
 * connection are worked on side by side, with two exceptions: a stream waits for
 * all before it, and a read waits for the writes before it, so that it sees them
 * (RFC 9112 section 9.3.2 allows side by side for safe methods alone).
 */
static inline bool queue_must_wait(const struct queue *q, const struct exchange *x, const struct route *route)
{
	return (route->flags & ROUTE_ALONE && q->first) || (q->unsafe > 0 && queue_is_safe(x));
}

#endif
