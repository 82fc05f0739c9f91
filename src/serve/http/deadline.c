/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/deadline.h"

void deadline_init(struct deadline *d, void (*on_expire)(void *ctx), void *ctx, int64_t now)
{
	*d = (struct deadline){.out_at_ns = now, .out_bytes = UINT64_MAX};
	loop_timer_init(&d->timer, on_expire, ctx);
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
