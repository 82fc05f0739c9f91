/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net_test.h"

/* Timers: the wheel, over many rounds, and that an idle loop stays silent. */

static _Atomic int64_t fired;
static char order[16];
static int64_t set_at, fired_after[4];

struct named_timer {
	struct loop_timer timer;
	struct loop *loop;
	int64_t after_ns;
	char name;
};
static struct named_timer timers[4];

static void note_timer(void *ctx)
{
	struct named_timer *t = ctx;
	int64_t n = atomic_load(&fired);

	order[n] = t->name;
	fired_after[n] = loop_now(t->loop) - set_at - t->after_ns;
	atomic_store(&fired, n + 1);
	if (t->name == 'a') { /* moves one, stops one, arms itself */
		t->name = 'z';
		timers[3].after_ns = loop_now(t->loop) - set_at + 100 * MS;
		loop_timer_set(t->loop, &timers[3].timer, 100 * MS);
		loop_timer_stop(t->loop, &timers[1].timer);
		loop_timer_stop(t->loop, &timers[1].timer);
		t->after_ns = loop_now(t->loop) - set_at + 400 * MS;
		loop_timer_set(t->loop, &t->timer, 400 * MS);
	}
}

static void set_timers(struct loop *loop, void *arg)
{
	static const int64_t after_ms[4] = {10, 600, 300, 90000000};

	(void)arg;
	set_at = loop_now(loop);
	for (int i = 0; i < 4; i++) {
		timers[i] = (struct named_timer){.loop = loop,
						 .after_ns = after_ms[i] * MS,
						 .name = (char)('a' + i)};
		loop_timer_init(&timers[i].timer, note_timer, &timers[i]);
		loop_timer_set(loop, &timers[i].timer, timers[i].after_ns);
	}
	if (atomic_load(&fired))
		atomic_fetch_add(&seen.errors, 1);
}

static void timers_fire_in_order_move_and_stop(void **state)
{
	struct server s;

	(void)state;
	atomic_store(&fired, 0);
	make_loops(&s, 1);
	run_loops(&s);
	on_loop(s.loops[0], set_timers, NULL);
	await(&fired, 4);
	nap_ms(300);
	assert_int_equal(atomic_load(&fired), 4);
	assert_memory_equal(order, "adcz", 4);
	for (int i = 0; i < 4; i++)
		assert_true(fired_after[i] >= 0); /* never early */
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

enum { FAR_TIMERS = 10000 };
static struct loop_timer far_timers[FAR_TIMERS];

static void never(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&seen.errors, 1);
}

static void set_far_timers(struct loop *loop, void *arg)
{
	(void)arg;
	for (int i = 0; i < FAR_TIMERS; i++) {
		loop_timer_init(&far_timers[i], never, NULL);
		loop_timer_set(loop, &far_timers[i], (60000 + i * 50) * MS); /* past a round too */
	}
}

static void stop_far_timers(struct loop *loop, void *arg)
{
	(void)arg;
	for (int i = 0; i < FAR_TIMERS; i++)
		loop_timer_stop(loop, &far_timers[i]);
}

static void an_idle_loop_does_not_tick(void **state)
{
	struct server s;

	(void)state;
	make_loops(&s, 1);
	run_loops(&s);
	assert_int_equal(turns_during(s.loops[0], 300), 0);
	on_loop(s.loops[0], set_far_timers, NULL);
	assert_int_equal(turns_during(s.loops[0], 500), 0);
	on_loop(s.loops[0], stop_far_timers, NULL);
	assert_int_equal(turns_during(s.loops[0], 300), 0);
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

static void count_fired(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&fired, 1);
}

static void set_timer(struct loop *loop, void *arg)
{
	(void)arg;
	loop_timer_init(&far_timers[0], never, NULL);
	loop_timer_set(loop, &far_timers[0], 300 * MS);
}

static void stop_timer(struct loop *loop, void *arg)
{
	(void)arg;
	loop_timer_stop(loop, &far_timers[0]);
}

static void set_another_timer(struct loop *loop, void *arg)
{
	(void)arg;
	loop_timer_init(&far_timers[1], count_fired, NULL);
	loop_timer_set(loop, &far_timers[1], 1000 * MS);
}

static void a_timer_that_was_stopped_wakes_nobody(void **state)
{
	struct server s;

	(void)state;
	make_loops(&s, 1);
	run_loops(&s);
	atomic_store(&fired, 0);
	on_loop(s.loops[0], set_timer, NULL);
	on_loop(s.loops[0], stop_timer, NULL);
	assert_int_equal(turns_during(s.loops[0], 500), 0); /* none is left */
	on_loop(s.loops[0], set_timer, NULL);
	on_loop(s.loops[0], set_another_timer, NULL);
	on_loop(s.loops[0], stop_timer, NULL);
	assert_int_equal(turns_during(s.loops[0], 500), 0); /* a later one is */
	await(&fired, 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

/* A clock that the test moves: rounds of the wheel without waiting for them. */
static int64_t false_now;

static int64_t false_clock(void *self)
{
	(void)self;
	return false_now;
}

/* Whatever the jump, an earlier tick comes before a later one. */
static void count_in_order(void *ctx)
{
	static int64_t last;
	int64_t tick = (((struct loop_timer *)ctx)->at_ns + 64 * MS - 1) / (64 * MS);

	if (tick < last)
		atomic_fetch_add(&seen.errors, 1);
	last = tick;
	atomic_fetch_add(&seen.drained, 1);
}

static void jump_and_ring(struct loop *loop, void *arg)
{
	static struct loop_timer kick;

	false_now += *(int64_t *)arg;
	(void)loop_now_fresh(loop);
	loop->wheel.wake_tick = INT64_MAX; /* the alarm goes by the real clock: set it anew */
	loop_timer_init(&kick, count_drained, NULL);
	loop_timer_set(loop, &kick, 0); /* due in the next tick at the latest */
	false_now += 70 * MS;
}

static void many_timers_over_many_rounds_fire_each_at_its_time(void **state)
{
	static struct named_timer many[500];
	static struct sys_ops ops;
	struct sys sys = {.ops = &ops};
	struct loop_options options = {.sys = &sys};
	struct server s;
	int64_t step = 40000 * MS;

	(void)state;
	ops = *sys_kernel()->ops;
	ops.monotonic_ns = false_clock;
	false_now = 1000000 * MS;
	make_loops(&s, 0);
	s.count = 1;
	assert_int_equal(loop_new(&options, &s.loops[0]), 0);
	atomic_store(&fired, 0);
	for (int i = 0; i < 500; i++) { /* up to 1 000 s: four rounds */
		loop_timer_init(&many[i].timer, count_in_order, &many[i].timer);
		loop_timer_set(s.loops[0], &many[i].timer, (i * 7919 % 500) * 2000 * MS + MS);
	}
	run_loops(&s);
	for (int64_t jumps = 1; jumps <= 26; jumps++) {
		int64_t passed, due;

		on_loop(s.loops[0], jump_and_ring, &step);
		passed = false_now - 1000000 * MS;
		due = (passed - MS) / (2000 * MS) + 1;
		await(&seen.drained, (due > 500 ? 500 : due) + jumps); /* and one kick each */
	}
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_order_move_and_stop),
		cmocka_unit_test(an_idle_loop_does_not_tick),
		cmocka_unit_test(a_timer_that_was_stopped_wakes_nobody),
		cmocka_unit_test(many_timers_over_many_rounds_fire_each_at_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
