/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net_test.h"

/* Messages between loops, wakers, and the end of a turn. */

enum { POSTS = 20000 };
struct numbered {
	struct loop_msg msg;
	int64_t sender, number;
};
static struct numbered posts[2][POSTS];
static int64_t next_number[2];

static void take_numbered(struct loop *loop, struct loop_msg *msg)
{
	struct numbered *n = (struct numbered *)msg;

	(void)loop;
	if (next_number[n->sender]++ != n->number)
		atomic_fetch_add(&seen.errors, 1);
	atomic_fetch_add(&seen.bytes, 1);
}

struct sender {
	struct loop *loop;
	int64_t number;
};

static void *post_all(void *arg)
{
	struct sender *sender = arg;

	for (int64_t i = 0; i < POSTS; i++) {
		struct numbered *n = &posts[sender->number][i];

		*n = (struct numbered){.msg.run = take_numbered, .sender = sender->number, .number = i};
		loop_post(sender->loop, &n->msg);
		if (i % 1000 == 0)
			nap_ms(1); /* lets the loop fall asleep now and then */
	}
	return NULL;
}

static void messages_arrive_once_and_in_order(void **state)
{
	struct sender senders[2];
	pthread_t threads[2];
	struct server s;

	(void)state;
	make_loops(&s, 1);
	next_number[0] = 0;
	next_number[1] = 0;
	run_loops(&s);
	for (int i = 0; i < 2; i++) {
		senders[i] = (struct sender){s.loops[0], i};
		assert_int_equal(pthread_create(&threads[i], NULL, post_all, &senders[i]), 0);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	await(&seen.bytes, 2 * POSTS);
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

static void pass_on(struct loop *loop, struct loop_msg *msg)
{
	struct loop **other = loop_owner(loop);

	if (atomic_fetch_add(&seen.bytes, 1) < 1000)
		loop_post(*other, msg); /* owned by whoever gets it */
}

static void a_message_goes_back_and_forth_between_loops(void **state)
{
	struct loop_msg msg = {.run = pass_on};
	struct server s;

	(void)state;
	make_loops(&s, 2);
	loop_set_owner(s.loops[0], &s.loops[1]);
	loop_set_owner(s.loops[1], &s.loops[0]);
	loop_post(s.loops[0], &msg); /* before they run */
	run_loops(&s);
	await(&seen.bytes, 1001);
	stop(&s);
}

static void count_wake(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&seen.drained, 1);
}

static void be_busy(struct loop *loop, void *arg)
{
	(void)loop;
	for (int i = 0; i < 1000; i++)
		loop_waker_wake(arg);
}

static void many_wakes_are_one_run(void **state)
{
	struct loop_waker *w;
	struct server s;

	(void)state;
	make_loops(&s, 1);
	assert_int_equal(loop_waker_new(s.loops[0], count_wake, NULL, &w), 0);
	run_loops(&s);
	loop_waker_wake(w);
	await(&seen.drained, 1);
	on_loop(s.loops[0], be_busy, w);
	await(&seen.drained, 2);
	assert_int_equal(turns_during(s.loops[0], 50), 0);
	assert_int_equal(atomic_load(&seen.drained), 2);
	for (int i = 0; i < POSTS; i++) { /* a race with falling asleep: the last wake is never lost */
		int64_t before = atomic_load(&seen.drained);

		loop_waker_wake(w);
		for (int tries = 0; tries < 20000000 && atomic_load(&seen.drained) == before; tries++)
			(void)sched_yield();
		assert_true(atomic_load(&seen.drained) > before);
	}
	loop_stop(s.loops[0]);
	assert_int_equal(pthread_join(s.threads[0], NULL), 0);
	loop_waker_wake(w); /* after the end: nothing, and nothing lost */
	loop_waker_free(w);
	loop_free(s.loops[0]);
}

struct hook {
	struct loop_turn turn;
	struct loop *loop;
	_Atomic int64_t runs;
};

static void run_hook(void *ctx)
{
	struct hook *h = ctx;

	atomic_fetch_add(&h->runs, 1);
}

static void ask_for_turn_end(struct loop *loop, void *arg)
{
	struct hook *h = arg;

	h->turn.run = run_hook;
	h->turn.ctx = h;
	for (int i = 0; i < 10; i++)
		loop_at_turn_end(loop, &h->turn);
	if (atomic_load(&h->runs))
		atomic_fetch_add(&seen.errors, 1);
}

static void the_end_of_a_turn_is_told_once(void **state)
{
	struct hook h = {0};
	struct server s;

	(void)state;
	make_loops(&s, 1);
	run_loops(&s);
	on_loop(s.loops[0], ask_for_turn_end, &h);
	await(&h.runs, 1);
	assert_int_equal(turns_during(s.loops[0], 50), 0);
	assert_int_equal(atomic_load(&h.runs), 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_arrive_once_and_in_order),
		cmocka_unit_test(a_message_goes_back_and_forth_between_loops),
		cmocka_unit_test(many_wakes_are_one_run),
		cmocka_unit_test(the_end_of_a_turn_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
