/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop that sources are at home on, as far as they use it, in place of net/loop.c: messages, timers and the
 * end of a turn, without sockets. A turn is one call, and its time is the simulated disk's.
 */
#include <stddef.h>

#include "net/net.h"
#include "world.h"

struct loop {
	const struct sys *sys;
	struct loop_turn *first, **last;
	struct loop_msg *messages, **messages_last;
	struct loop_timer *timers;
};

static struct loop only;

struct loop *world_loop(const struct sys *sys)
{
	only = (struct loop){.sys = sys};
	only.last = &only.first;
	only.messages_last = &only.messages;
	return &only;
}

int64_t loop_now(const struct loop *loop)
{
	return sys_monotonic_ns(loop->sys);
}

void loop_at_turn_end(struct loop *loop, struct loop_turn *turn)
{
	if (turn->queued)
		return;
	turn->queued = true;
	turn->next = NULL;
	*loop->last = turn;
	loop->last = &turn->next;
}

void loop_post(struct loop *loop, struct loop_msg *msg)
{
	msg->next = NULL;
	*loop->messages_last = msg;
	loop->messages_last = &msg->next;
}

void loop_timer_init(struct loop_timer *t, void (*run)(void *ctx), void *ctx)
{
	*t = (struct loop_timer){.run = run, .ctx = ctx};
}

void loop_timer_stop(struct loop *loop, struct loop_timer *t)
{
	(void)loop;
	if (!t->prev)
		return;
	*t->prev = t->next;
	if (t->next)
		t->next->prev = t->prev;
	t->prev = NULL;
}

void loop_timer_set(struct loop *loop, struct loop_timer *t, int64_t after_ns)
{
	loop_timer_stop(loop, t);
	t->at_ns = loop_now(loop) + after_ns;
	t->next = loop->timers;
	t->prev = &loop->timers;
	if (t->next)
		t->next->prev = &t->next;
	loop->timers = t;
}

int64_t world_loop_wait(const struct loop *loop)
{
	int64_t first = -1, now = loop_now(loop);

	if (loop->first || loop->messages)
		return 0;
	for (const struct loop_timer *t = loop->timers; t; t = t->next)
		if (first < 0 || t->at_ns < first)
			first = t->at_ns;
	return first < 0 ? -1 : first > now ? first - now : 0;
}

static void run_messages(struct loop *loop)
{
	struct loop_msg *m = loop->messages, *next;

	loop->messages = NULL;
	loop->messages_last = &loop->messages;
	for (; m; m = next) {
		next = m->next;
		m->run(loop, m);
	}
}

/* One by one, as each may stop others. Those that were set meanwhile are not due. */
static void run_timers(struct loop *loop)
{
	int64_t now = loop_now(loop);
	struct loop_timer *due;

	do {
		due = NULL;
		for (struct loop_timer *t = loop->timers; t; t = t->next)
			if (t->at_ns <= now && (!due || t->at_ns < due->at_ns))
				due = t;
		if (due) {
			loop_timer_stop(loop, due);
			due->run(due->ctx);
		}
	} while (due);
}

void world_loop_turn(struct loop *loop)
{
	struct loop_turn *turn, *next;

	run_messages(loop);
	run_timers(loop);
	turn = loop->first;
	loop->first = NULL;
	loop->last = &loop->first;
	for (; turn; turn = next) {
		next = turn->next;
		turn->queued = false;
		turn->run(turn->ctx);
	}
}
