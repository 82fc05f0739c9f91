/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/deadline.h"

void deadline_init(struct deadline *d, void (*on_expire)(void *ctx), void *ctx, int64_t now)
{
	*d = (struct deadline){.out_at_ns = now, .out_bytes = UINT64_MAX};
	loop_timer_init(&d->timer, on_expire, ctx);
}

int64_t deadline_of_output(struct deadline *d, const struct conn *c, int64_t now, int64_t timeout_ns)
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

void deadline_set(struct deadline *d, struct loop *loop, int64_t now, int64_t at_ns)
{
	if (d->timer_at_ns && d->timer_at_ns <= at_ns)
		return;
	d->timer_at_ns = at_ns;
	loop_timer_set(loop, &d->timer, at_ns > now ? at_ns - now : 1);
}

void deadline_rest(struct deadline *d, struct loop *loop)
{
	if (d->timer_at_ns == 0)
		return;
	d->timer_at_ns = 0;
	loop_timer_stop(loop, &d->timer);
}

void deadline_expired(struct deadline *d)
{
	d->timer_at_ns = 0;
}
