/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/group_clock.h"

#include "base/mem.h"

struct group_clock {
	struct app *app;
	struct loop *loop;
	struct loop_timer timer;
	struct app_guest guest;
	struct loop_msg msg; /* the beginning, on the loop */
	bool begun;
};

static void arm(struct group_clock *c)
{
	int64_t next = groups_next_ns(c->app->groups), now = loop_now(c->loop);

	if (next != INT64_MAX)
		loop_timer_set(c->loop, &c->timer, next > now ? next - now : 0);
}

static void on_timer(void *ctx)
{
	struct group_clock *c = ctx;

	groups_run(c->app->groups, loop_now(c->loop));
	arm(c);
}

static void on_sooner(void *ctx)
{
	struct group_clock *c = ctx;

	if (c->begun)
		arm(c);
}

static void on_leave(void *ctx)
{
	struct group_clock *c = ctx;

	groups_stop(c->app->groups);
	loop_timer_stop(c->loop, &c->timer);
}

static void on_begun(struct loop *loop, struct loop_msg *msg)
{
	struct group_clock *c = (struct group_clock *)((char *)msg - offsetof(struct group_clock, msg));

	c->begun = true;
	app_guest_add(app_loop(c->app, loop), &c->guest);
	on_timer(c);
}

int group_clock_new(struct app *app, struct loop *home, struct group_clock **out)
{
	struct group_clock *c = mem_zalloc(1, sizeof(*c));

	if (!c)
		return ERR_NOMEM;
	c->app = app;
	c->loop = home;
	c->guest = (struct app_guest){.leave = on_leave, .ctx = c};
	loop_timer_init(&c->timer, on_timer, c);
	groups_watch(app->groups, on_sooner, c);
	groups_start(app->groups, app_loop(app, home)->port, loop_share(home), sys_monotonic_ns(app->sys));
	c->msg.run = on_begun;
	loop_post(home, &c->msg);
	*out = c;
	return 0;
}

void group_clock_free(struct group_clock *c)
{
	mem_free(c);
}
