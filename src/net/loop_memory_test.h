/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_LOOP_MEMORY_TEST_H
#define WEIR_NET_LOOP_MEMORY_TEST_H

#include "net/net.h"

/*
 * What a loop is without sockets: messages, ends of a turn and timers, in place of net/loop.c. Included by one file of
 * a program, for a simulator or a fuzz target: it says what a struct loop is, with a struct loop_memory as its first
 * member, what loop_now() gives, and when which of the functions below are called. One thread.
 */
struct loop_memory {
	struct loop_msg *msg_first, **msg_last;
	struct loop_turn *turn_first, **turn_last;
	struct loop_timer *timers;
};

static inline struct loop_memory *loop_memory_of(struct loop *loop)
{
	return (struct loop_memory *)loop;
}

static inline void loop_memory_init(struct loop_memory *m)
{
	*m = (struct loop_memory){0};
	m->msg_last = &m->msg_first;
	m->turn_last = &m->turn_first;
}

/* ---- what net.h declares ---- */

void loop_post(struct loop *loop, struct loop_msg *msg)
{
	struct loop_memory *m = loop_memory_of(loop);

	msg->next = NULL;
	*m->msg_last = msg;
	m->msg_last = &msg->next;
}

void loop_at_turn_end(struct loop *loop, struct loop_turn *turn)
{
	struct loop_memory *m = loop_memory_of(loop);

	if (turn->queued)
		return;
	turn->queued = true;
	turn->next = NULL;
	*m->turn_last = turn;
	m->turn_last = &turn->next;
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
	struct loop_memory *m = loop_memory_of(loop);

	loop_timer_stop(loop, t);
	t->at_ns = loop_now(loop) + after_ns;
	t->next = m->timers;
	if (t->next)
		t->next->prev = &t->next;
	t->prev = &m->timers;
	m->timers = t;
}

/* ---- turns ---- */

/* Runs the messages that are there. False: there were none. */
static inline bool loop_memory_run_messages(struct loop *loop)
{
	struct loop_memory *m = loop_memory_of(loop);
	struct loop_msg *next, *msg = m->msg_first;
	bool some = msg != NULL;

	m->msg_first = NULL;
	m->msg_last = &m->msg_first;
	for (; msg; msg = next) {
		next = msg->next;
		msg->run(loop, msg);
	}
	return some;
}

/* Runs what waits for the end of the turn. False: nothing did. */
static inline bool loop_memory_run_turns(struct loop *loop)
{
	struct loop_memory *m = loop_memory_of(loop);
	struct loop_turn *next, *turn = m->turn_first;
	bool some = turn != NULL;

	m->turn_first = NULL;
	m->turn_last = &m->turn_first;
	for (; turn; turn = next) {
		next = turn->next;
		turn->queued = false;
		turn->run(turn->ctx);
	}
	return some;
}

/* The first timer that is due by then, or NULL. */
static inline struct loop_timer *loop_memory_due(const struct loop_memory *m, int64_t until)
{
	struct loop_timer *first = NULL;

	for (struct loop_timer *t = m->timers; t; t = t->next)
		if (t->at_ns <= until && (!first || t->at_ns < first->at_ns))
			first = t;
	return first;
}

#endif
