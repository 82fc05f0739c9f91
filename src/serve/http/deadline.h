/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_DEADLINE_H
#define WEIR_SERVE_HTTP_DEADLINE_H

#include "net/net.h"

/*
 * The one timer of a session, and since when its peer has taken no output. It
 * costs the hot path no more than a comparison: the timer stays armed while
 * requests come and go; when it fires, the session computes the deadline that
 * counts then, and the timer moves there. Which deadline counts is not known here.
 */
struct deadline {
	struct loop_timer timer;
	int64_t timer_at_ns; /* 0: not armed */
	int64_t out_at_ns;   /* when output was last seen to move */
	uint64_t out_bytes;  /* what had left then; UINT64_MAX: not looked at yet */
};

/* on_expire is given ctx; it calls deadline_expired first. */
void deadline_init(struct deadline *d, void (*on_expire)(void *ctx), void *ctx, int64_t now);

/* When c is given up whose peer takes no output, seen from now; 0: none waits. */
static inline int64_t deadline_of_output(struct deadline *d, const struct conn *c, int64_t now,
					 int64_t timeout_ns)
{
	uint64_t out;

	if (conn_pending(c) == 0) {
		d->out_at_ns = now;
		return 0;
	}
	out = conn_bytes_out(c);
	if (out != d->out_bytes) {
		d->out_bytes = out;
		d->out_at_ns = now;
	}
	return d->out_at_ns + timeout_ns;
}

/* Arms the timer where it would fire after at_ns. */
static inline void deadline_set(struct deadline *d, struct loop *loop, int64_t now, int64_t at_ns)
{
	if (d->timer_at_ns && d->timer_at_ns <= at_ns)
		return;
	d->timer_at_ns = at_ns;
	loop_timer_set(loop, &d->timer, at_ns > now ? at_ns - now : 1);
}

/* Takes the timer back. Who is about to answer leaves it: the next request needs it. */
void deadline_rest(struct deadline *d, struct loop *loop);

/* The timer has fired. */
void deadline_expired(struct deadline *d);

#endif
