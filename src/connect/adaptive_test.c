/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/adaptive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "connect/arrivals_test.h"

#define T0 ARRIVALS_EPOCH_MS

/* Requests of one for the same staleness, to those of the best fixed interval. */
static double ratio(struct arrivals *a)
{
	struct polling p;

	poll_adaptively(a, 1000, 600000, true, &p);
	compare_fixed(a, &p);
	arrivals_fini(a);
	return p.requests / p.fixed_requests;
}

static void expect(const char *name, double is, double most)
{
	if (is > most)
		fail_msg("%s: %.3f times the requests of a fixed interval, over %.2f", name, is, most);
}

static void never_much_worse_than_the_best_fixed_interval(void **state)
{
	static const double rates[] = {1, 0.1, 1 / 60.0, 1 / 600.0, 1 / 3600.0};
	struct arrivals a;

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		arrivals_init(&a, rates[i] > 0.5 ? 1 : rates[i] < 0.01 ? 200 : 7, 11 + i);
		arrivals_poisson(&a, rates[i]);
		expect("Poisson", ratio(&a), 1.05);
	}
	for (int i = 0; i < 8; i++) {
		double every = (double[]){5, 20, 77, 300}[i % 4];
		arrivals_init(&a, 7, 21);
		arrivals_steady(&a, every, every * i / 8);
		expect("steady", ratio(&a), 1.05);
	}
	arrivals_init(&a, 28, 31);
	arrivals_clumps(&a, 60, 7);
	expect("clumps", ratio(&a), 1.05);
	arrivals_init(&a, 28, 32);
	arrivals_clumps(&a, 300, 100);
	expect("large clumps", ratio(&a), 1.05);
}

static void much_better_where_arrivals_vary(void **state)
{
	struct arrivals a;

	(void)state;
	arrivals_init(&a, 14, 41);
	arrivals_office(&a, 0.05, 1 / 900.0);
	expect("office hours", ratio(&a), 0.6);
	arrivals_init(&a, 14, 42);
	arrivals_day(&a, 0.1, 3);
	expect("a day's rhythm", ratio(&a), 0.6);
	arrivals_init(&a, 14, 43);
	arrivals_bursts(&a, 7200, 120, 420, 1, 1 / 1800.0);
	expect("bursts", ratio(&a), 0.6);
	arrivals_init(&a, 14, 44);
	arrivals_bursts(&a, 43200, 600, 2400, 0.2, 1 / 1800.0);
	expect("long bursts", ratio(&a), 0.6);
}

static void silence_is_polled_seldom(void **state)
{
	struct adaptive a;
	int64_t now = T0, since, polls = 0;

	(void)state;
	adaptive_init(&a, 1000, 600000);
	adaptive_found(&a, now, now - 60000, 600); /* busy */
	for (int i = 0; i < 100; i++) {
		since = now;
		now += adaptive_wait(&a, now);
		adaptive_found(&a, now, since, (now - since) / 100);
	}
	assert_int_equal(adaptive_wait(&a, now), 1000);
	for (int64_t end = now + 86400000; now < end; polls++) {
		since = now;
		now += adaptive_wait(&a, now);
		adaptive_found(&a, now, since, 0);
	}
	assert_true(adaptive_wait(&a, now) > 180000);
	assert_true(polls < 86400 / 40); /* of those that were made while it was busy */
}

/* One poll that finds much is enough to look again soon, and a few polls to be at full speed. */
static void a_burst_is_followed_within_a_few_polls(void **state)
{
	struct adaptive a;
	int64_t now = T0, since, wait = 0;

	(void)state;
	adaptive_init(&a, 1000, 600000);
	for (int i = 0; i < 300; i++) {
		since = now;
		now += adaptive_wait(&a, now);
		adaptive_found(&a, now, since, i % 3 == 0);
	}
	int64_t quiet = adaptive_wait(&a, now);
	assert_true(quiet > 120000);
	for (int i = 0; i < 4; i++) {
		since = now;
		now += adaptive_wait(&a, now);
		adaptive_found(&a, now, since, (now - since) / 500);
		wait = adaptive_wait(&a, now);
		assert_true(wait < quiet / 2);
	}
	assert_true(wait < quiet / 5);
}

/* An unchanged answer counts: of two that found the same, who asked more often and in vain waits longer. */
static void unchanged_answers_are_evidence(void **state)
{
	struct adaptive asked, fresh;

	(void)state;
	adaptive_init(&asked, 1000, 600000);
	fresh = asked;
	adaptive_found(&asked, T0, T0 - 10000, 1);
	adaptive_found(&fresh, T0, T0 - 10000, 1);
	for (int i = 1; i <= 20; i++)
		adaptive_found(&asked, T0 + i * 10000, T0 + (i - 1) * 10000, 0);
	assert_true(adaptive_wait(&asked, T0 + 200000) > 2 * adaptive_wait(&fresh, T0));
}

/* Where only "changed" is known, the rate is found all the same. */
static void something_uncounted_is_enough(void **state)
{
	struct arrivals a;
	struct polling p;

	(void)state;
	arrivals_init(&a, 14, 51);
	arrivals_poisson(&a, 1 / 60.0);
	poll_adaptively(&a, 1000, 600000, false, &p);
	assert_true(p.requests > a.length / 120 && p.requests < a.length / 20);
	compare_fixed(&a, &p);
	arrivals_fini(&a);
	expect("uncounted", p.requests / p.fixed_requests, 1.05);
}

static void what_the_source_says_is_obeyed(void **state)
{
	struct adaptive a;

	(void)state;
	adaptive_init(&a, 1000, 10000);
	adaptive_limited(&a, T0, 3600000, -1, -1);
	assert_int_equal(adaptive_wait(&a, T0), 3600000);
	assert_int_equal(adaptive_wait(&a, T0 + 1800000), 1800000);
	assert_true(adaptive_wait(&a, T0 + 3600000) <= 10000);
	/* A shorter one later takes nothing back. */
	adaptive_limited(&a, T0 + 1000, 5000, -1, -1);
	assert_int_equal(adaptive_wait(&a, T0 + 1000), 3599000);

	/* Two requests for the next minute: one each half; then as before. */
	adaptive_init(&a, 1000, 10000);
	int64_t plain = adaptive_wait(&a, T0);
	assert_true(plain <= 10000);
	adaptive_limited(&a, T0, -1, 2, 60000);
	assert_int_equal(adaptive_wait(&a, T0), 30000);
	assert_int_equal(adaptive_wait(&a, T0 + 45000), 15000);
	assert_true(adaptive_wait(&a, T0 + 60000) <= 10000);
	adaptive_limited(&a, T0, -1, 0, 60000);
	assert_int_equal(adaptive_wait(&a, T0 + 1000), 59000);
	adaptive_limited(&a, T0 + 70000, -1, 1000, 60000);
	assert_true(adaptive_wait(&a, T0 + 70000) <= 10000);
	/* Absurd ones do no harm. */
	adaptive_limited(&a, T0, INT64_MAX, INT64_MAX, INT64_MAX);
	assert_true(adaptive_wait(&a, T0) >= 1000);
}

static void a_backlog_is_no_evidence(void **state)
{
	struct adaptive a, b;

	(void)state;
	adaptive_init(&a, 1000, 600000);
	b = a;
	adaptive_found(&a, T0, -1, 5000000);
	adaptive_found(&a, T0, T0, 100);
	adaptive_found(&a, T0, T0 + 5, 100); /* the clock went back */
	assert_int_equal(adaptive_wait(&a, T0), adaptive_wait(&b, T0));
}

/* Whatever is found, the wait is within the bounds and no number leaves its range. */
static void any_history_gives_a_wait_within_bounds(void **state)
{
	uint8_t saved[ADAPTIVE_STATE_BYTES];
	struct rand r;

	(void)state;
	rand_seed(&r, 61);
	for (int round = 0; round < 200; round++) {
		int64_t min = 1 + (int64_t)rand_below(&r, 100000),
			max = min + (int64_t)rand_below(&r, 1ull << rand_below(&r, 40));
		struct adaptive a, b;
		int64_t now = T0;
		adaptive_init(&a, min, max);
		for (int i = 0; i < 100; i++) {
			int64_t since = now;
			now += 1 + (int64_t)rand_below(&r, 1ull << rand_below(&r, 36));
			int64_t count =
				rand_below(&r, 3) ? (int64_t)rand_below(&r, 1ull << rand_below(&r, 50)) : 0;
			adaptive_found(&a, now, since, rand_below(&r, 20) ? count : ADAPTIVE_UNCOUNTED);
			int64_t wait = adaptive_wait(&a, now);
			if (wait < min || wait > max)
				fail_msg("waits %lld, between %lld and %lld", (long long)wait, (long long)min,
					 (long long)max);
		}
		double sure, rate = adaptive_rate(&a, now, &sure);
		assert_true(rate > 0 && rate < 1e16 && sure > 0);
		adaptive_save(&a, saved);
		adaptive_init(&b, min, max);
		assert_true(adaptive_load(&b, saved, sizeof(saved)));
		assert_int_equal(adaptive_wait(&a, now), adaptive_wait(&b, now));
	}
}

static void rubbish_is_not_loaded(void **state)
{
	uint8_t saved[ADAPTIVE_STATE_BYTES + 1] = {0};
	struct adaptive a, b;
	struct rand r;

	(void)state;
	rand_seed(&r, 71);
	adaptive_init(&a, 1000, 60000);
	adaptive_save(&a, saved);
	assert_false(adaptive_load(&a, saved, 0));
	assert_false(adaptive_load(&a, saved, sizeof(saved)));
	assert_false(adaptive_load(&a, saved, ADAPTIVE_STATE_BYTES - 8));
	for (int i = 0; i < 20000; i++) {
		uint8_t bytes[ADAPTIVE_STATE_BYTES];
		memcpy(bytes, saved, sizeof(bytes));
		for (int n = 0; n < 3; n++)
			bytes[rand_below(&r, sizeof(bytes))] = (uint8_t)rand_next(&r);
		b = a;
		(void)adaptive_load(&b, bytes, sizeof(bytes));
		adaptive_found(&b, T0 + 5000, T0, 3);
		int64_t wait = adaptive_wait(&b, T0 + 5000);
		assert_true(wait >= 1000 && wait <= 60000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(never_much_worse_than_the_best_fixed_interval),
		cmocka_unit_test(much_better_where_arrivals_vary),
		cmocka_unit_test(silence_is_polled_seldom),
		cmocka_unit_test(a_burst_is_followed_within_a_few_polls),
		cmocka_unit_test(unchanged_answers_are_evidence),
		cmocka_unit_test(something_uncounted_is_enough),
		cmocka_unit_test(what_the_source_says_is_obeyed),
		cmocka_unit_test(a_backlog_is_no_evidence),
		cmocka_unit_test(any_history_gives_a_wait_within_bounds),
		cmocka_unit_test(rubbish_is_not_loaded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
