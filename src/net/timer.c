/* SPDX-License-Identifier: Apache-2.0 */
#include "base/check.h"
#include "net/net_private.h"

/*
 * A hashed wheel: slot = due tick modulo 4096, a doubly linked list a slot, a
 * bit for each slot that is not empty. Setting and stopping touch one list.
 * The loop's one libuv timer (the alarm) is set for the first used slot, so
 * that an empty wheel never ticks and one with far deadlines sleeps until the
 * first. When deadlines move on, the alarm stays where it is: cheaper than to set
 * it with each. Only if nothing at all is left in its slot when the loop goes to
 * sleep it is moved, so that no sleeper is woken for nothing.
 *
 * A timer more than a round away is met once a round and left. A hierarchical
 * wheel would save that and cost moves between levels; a heap (libuv's own
 * timers) costs O(log n) for each of the many deadlines that never expire.
 */

static bool is_head_of_slot(const struct wheel *w, struct loop_timer **place)
{
	return place >= w->slots && place < w->slots + WHEEL_SLOTS;
}

static void mark_slot(struct wheel *w, size_t slot, bool used)
{
	uint64_t bit = 1ull << (slot % 64);

	if (used)
		w->used[slot / 64] |= bit;
	else
		w->used[slot / 64] &= ~bit;
}

static void link_timer(struct loop_timer **head, struct loop_timer *t)
{
	t->next = *head;
	t->prev = head;
	if (t->next)
		t->next->prev = &t->next;
	*head = t;
}

static void unlink_timer(struct wheel *w, struct loop_timer *t)
{
	*t->prev = t->next;
	if (t->next)
		t->next->prev = t->prev;
	else if (is_head_of_slot(w, t->prev))
		mark_slot(w, (size_t)(t->prev - w->slots), false);
	t->prev = NULL;
	t->next = NULL;
}

/* Slots from `from` on, round the wheel, until a used one; WHEEL_SLOTS where none is. */
static uint32_t distance_to_used(const struct wheel *w, uint32_t from)
{
	uint32_t word = from / 64, bit = from % 64;
	uint64_t bits = w->used[word] >> bit;

	if (bits)
		return (uint32_t)__builtin_ctzll(bits);
	for (uint32_t i = 1; i <= WHEEL_SLOTS / 64; i++) {
		bits = w->used[(word + i) % (WHEEL_SLOTS / 64)];
		if (i == WHEEL_SLOTS / 64)
			bits &= (1ull << bit) - 1;
		if (bits)
			return i * 64 - bit + (uint32_t)__builtin_ctzll(bits);
	}
	return WHEEL_SLOTS;
}

/* The earliest tick after w->tick whose slot is used; the wheel is not empty. */
static int64_t first_used_tick(const struct wheel *w)
{
	int64_t next = w->tick + 1;

	return next + distance_to_used(w, (uint32_t)((uint64_t)next % WHEEL_SLOTS));
}

static void on_alarm(uv_timer_t *alarm);

/* libuv counts whole milliseconds of its own clock: one more, so that the alarm is never early. */
static void set_alarm(struct loop *loop, int64_t tick)
{
	int64_t wait_ns = tick * WHEEL_TICK_NS - loop_now_fresh(loop);
	uint64_t wait_ms = wait_ns > 0 ? (uint64_t)wait_ns / 1000000 + 1 : 0;

	loop->wheel.wake_tick = tick;
	uv_update_time(&loop->uv);
	CHECK(uv_timer_start(&loop->wheel.alarm, on_alarm, wait_ms, 0) == 0);
}

/* Moves what is due from a slot to the end of the list at *last; gives the new end. */
static struct loop_timer **take_due(struct wheel *w, size_t slot, int64_t now, struct loop_timer **last)
{
	struct loop_timer *t = w->slots[slot], *next, **end = last;

	for (; t; t = next) {
		next = t->next;
		if (t->at_ns > now)
			continue; /* of a later round */
		unlink_timer(w, t);
		link_timer(last, t); /* slots hold the newest first: this turns them round */
		if (!t->next)
			end = &t->next;
	}
	return end;
}

static void take_all_due(struct wheel *w, int64_t now)
{
	struct loop_timer **last = &w->firing;
	int64_t target = now / WHEEL_TICK_NS;
	int64_t at = target - w->tick > (int64_t)WHEEL_SLOTS ? target - (int64_t)WHEEL_SLOTS : w->tick;

	for (at++; at <= target; at++) {
		at += distance_to_used(w, (uint32_t)((uint64_t)at % WHEEL_SLOTS));
		if (at > target)
			break;
		last = take_due(w, (size_t)((uint64_t)at % WHEEL_SLOTS), now, last);
	}
	if (target > w->tick)
		w->tick = target;
}

static void on_alarm(uv_timer_t *alarm)
{
	struct loop *loop = alarm->data;
	struct wheel *w = &loop->wheel;
	struct loop_timer *t;

	loop_is_awake(loop);
	w->wake_tick = INT64_MAX;
	take_all_due(w, loop_now_fresh(loop));
	while ((t = w->firing)) {
		unlink_timer(w, t);
		w->count--;
		t->run(t->ctx);
	}
	if (w->count > 0 && !loop->stopping) {
		int64_t tick = first_used_tick(w);

		if (tick < w->wake_tick)
			set_alarm(loop, tick);
	}
}

void wheel_before_sleep(struct loop *loop)
{
	struct wheel *w = &loop->wheel;

	if (w->wake_tick == INT64_MAX || w->slots[(uint64_t)w->wake_tick % WHEEL_SLOTS])
		return;
	if (w->count > 0) {
		set_alarm(loop, first_used_tick(w));
		return;
	}
	w->wake_tick = INT64_MAX;
	(void)uv_timer_stop(&w->alarm);
}

void wheel_init(struct loop *loop)
{
	CHECK(uv_timer_init(&loop->uv, &loop->wheel.alarm) == 0);
	loop->wheel.alarm.data = loop;
	loop->wheel.wake_tick = INT64_MAX;
}

void loop_timer_init(struct loop_timer *t, void (*run)(void *ctx), void *ctx)
{
	*t = (struct loop_timer){.run = run, .ctx = ctx};
}

void loop_timer_set(struct loop *loop, struct loop_timer *t, int64_t after_ns)
{
	struct wheel *w = &loop->wheel;
	int64_t now = loop_now(loop), tick;
	size_t slot;

	loop_timer_stop(loop, t);
	if (w->count == 0 && now / WHEEL_TICK_NS > w->tick)
		w->tick = now / WHEEL_TICK_NS; /* nothing was due meanwhile */
	if (after_ns < 0)
		after_ns = 0;
	if (after_ns > INT64_MAX / 2 - now)
		after_ns = INT64_MAX / 2 - now;
	t->at_ns = now + after_ns;
	tick = (t->at_ns + WHEEL_TICK_NS - 1) / WHEEL_TICK_NS;
	if (tick <= w->tick)
		tick = w->tick + 1;
	slot = (size_t)((uint64_t)tick % WHEEL_SLOTS);
	link_timer(&w->slots[slot], t);
	mark_slot(w, slot, true);
	w->count++;
	if (tick < w->wake_tick && !loop->stopping)
		set_alarm(loop, tick);
}

void loop_timer_stop(struct loop *loop, struct loop_timer *t)
{
	if (!t->prev)
		return;
	unlink_timer(&loop->wheel, t);
	loop->wheel.count--;
}
