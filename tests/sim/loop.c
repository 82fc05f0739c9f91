/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop that sources are at home on, as far as they use it, in place of net/loop.c: messages, timers and the
 * end of a turn, without sockets. A turn is one call, and its time is the simulated disk's.
 */
#include <stddef.h>

#include "net/loop_memory_test.h"
#include "world.h"

struct loop {
	struct loop_memory memory; /* first */
	const struct sys *sys;
};

static struct loop only;

struct loop *world_loop(const struct sys *sys)
{
	only = (struct loop){.sys = sys};
	loop_memory_init(&only.memory);
	return &only;
}

int64_t loop_now(const struct loop *loop)
{
	return sys_monotonic_ns(loop->sys);
}

int64_t world_loop_wait(const struct loop *loop)
{
	int64_t first = -1, now = loop_now(loop);

	if (loop->memory.turn_first || loop->memory.msg_first)
		return 0;
	for (const struct loop_timer *t = loop->memory.timers; t; t = t->next)
		if (first < 0 || t->at_ns < first)
			first = t->at_ns;
	return first < 0 ? -1 : first > now ? first - now : 0;
}

/* One by one, as each may stop others. Those that were set meanwhile are not due. */
static void run_timers(struct loop *loop)
{
	int64_t now = loop_now(loop);
	struct loop_timer *due;

	while ((due = loop_memory_due(&loop->memory, now))) {
		loop_timer_stop(loop, due);
		due->run(due->ctx);
	}
}

void world_loop_turn(struct loop *loop)
{
	(void)loop_memory_run_messages(loop);
	run_timers(loop);
	(void)loop_memory_run_turns(loop);
}
