/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's time is the log's (log_now_ms), the timer's the machine's. They may part when a
 * clock is set, so the timer is never armed for longer than an hour.
 */
#include "serve/txn_clock.h"

#include "base/mem.h"

#define MS 1000000ll
#define ARMED_MAX_MS (3600 * 1000)

struct txn_clock {
	struct app *app;
	struct loop *loop;
	struct loop_timer timer;
	struct loop_msg msg; /* the first look, on the loop */
};

static void arm(struct txn_clock *c)
{
	int64_t at_ms = txns_deadline_ms(c->app->txns);
	int64_t wait_ms = at_ms - log_now_ms(c->app->log);

	if (at_ms == INT64_MAX)
		return;
	if (wait_ms > ARMED_MAX_MS)
		wait_ms = ARMED_MAX_MS;
	loop_timer_set(c->loop, &c->timer, wait_ms > 0 ? wait_ms * MS : 0);
}

static void on_timer(void *ctx)
{
	struct txn_clock *c = ctx;

	txns_tick(c->app->txns, log_now_ms(c->app->log));
	arm(c);
}

static void on_deadline(void *ctx)
{
	arm(ctx);
}

static void on_started(struct loop *loop, struct loop_msg *msg)
{
	struct txn_clock *c = (struct txn_clock *)((char *)msg - offsetof(struct txn_clock, msg));

	(void)loop;
	on_timer(c);
}

int txn_clock_new(struct app *app, struct loop *home, struct txn_clock **out)
{
	struct txn_clock *c = mem_zalloc(1, sizeof(*c));

	if (!c)
		return ERR_NOMEM;
	c->app = app;
	c->loop = home;
	loop_timer_init(&c->timer, on_timer, c);
	txns_start(app->txns, app_loop(app, home)->port, loop_share(home));
	txns_watch(app->txns, on_deadline, c);
	c->msg.run = on_started;
	loop_post(home, &c->msg);
	*out = c;
	return 0;
}

void txn_clock_free(struct txn_clock *c)
{
	mem_free(c);
}
