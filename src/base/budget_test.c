/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "base/arena.h"
#include "base/blob.h"
#include "base/mem.h"
#include "base/rand.h"

enum { MAX = 1 << 20, SHARES = 4 };

static void what_is_held_is_known_within_two_steps_a_share(void **state)
{
	struct budget_share s[SHARES];
	int64_t held[SHARES] = {0};
	struct budget b;
	struct rand r;

	(void)state;
	rand_seed(&r, 7);
	budget_init(&b, MAX, SHARES);
	assert_true(b.step > 0 && b.step * SHARES * 2 <= MAX / 8);
	for (int i = 0; i < SHARES; i++)
		budget_share_init(&s[i], &b);
	for (int i = 0; i < 100000; i++) {
		uint32_t at = (uint32_t)rand_below(&r, SHARES);
		int64_t n = (int64_t)rand_below(&r, 9000), sum = 0;

		if (rand_below(&r, 2) && held[at] >= n) {
			budget_sub(&s[at], (size_t)n);
			held[at] -= n;
		} else {
			budget_add(&s[at], (size_t)n);
			held[at] += n;
		}
		for (int k = 0; k < SHARES; k++)
			sum += held[k];
		assert_true(budget_used(&b) >= sum);
		assert_true(budget_used(&b) <= sum + 2 * b.step * SHARES);
		assert_true(budget_left(&s[at]) <= MAX - sum);
	}
	for (int k = 0; k < SHARES; k++)
		budget_sub(&s[k], (size_t)held[k]);
	for (int k = 0; k < SHARES; k++)
		budget_settle(&s[k]);
	assert_int_equal(budget_used(&b), 0);
}

static void what_was_begun_goes_on_past_the_bound_and_nothing_new_begins(void **state)
{
	struct budget_share s, other;
	struct budget b;

	(void)state;
	budget_init(&b, MAX, 2);
	budget_share_init(&s, &b);
	budget_share_init(&other, &b);
	assert_true(budget_charge(&s, MAX));
	assert_false(budget_charge(&s, 1));
	assert_true(budget_is_full(&s));
	assert_true(budget_is_full(&other));
	budget_add(&s, 5);
	assert_int_equal(budget_left(&s), -5);
	budget_sub(&s, 5);
	budget_sub(&s, MAX / 2);
	assert_false(budget_is_full(&other));
	assert_true(budget_charge(&other, MAX / 4));
	assert_false(budget_charge(&other, SIZE_MAX));
	budget_set_max(&b, MAX / 4);
	assert_true(budget_is_full(&other));
	budget_set_max(&b, MAX);
	assert_false(budget_is_full(&other));
}

static void credits_come_to_a_halt_at_half(void **state)
{
	struct budget_share s;
	struct budget b;
	size_t n;

	(void)state;
	budget_init(&b, 256 * MAX, 1);
	budget_share_init(&s, &b);
	assert_int_equal(budget_credit(&s, MAX), MAX);
	for (int i = 0; i < 10000; i++)
		budget_add(&s, budget_credit(&s, MAX));
	n = budget_credit(&s, MAX);
	assert_true(n >= 1 && n < 1000);
	assert_true(s.used > 120 * MAX && s.used <= 128 * MAX + 10000);
	budget_add(&s, 200 * MAX);
	assert_int_equal(budget_credit(&s, MAX), 1);
	budget_share_init(&s, NULL);
	assert_int_equal(budget_credit(&s, MAX), MAX);
	assert_true(budget_charge(&s, 1 << 30));
	assert_false(budget_is_full(&s));
	budget_sub(&s, 1 << 30);
}

static void an_arena_tells_what_it_holds(void **state)
{
	struct budget_share s;
	struct budget b;
	struct arena a;

	(void)state;
	budget_init(&b, MAX, 1);
	budget_share_init(&s, &b);
	arena_init(&a, 1000, MAX);
	assert_non_null(arena_alloc(&a, 10));
	arena_charge(&a, &s);
	assert_int_equal(s.used, 1000);
	assert_non_null(arena_alloc(&a, 5000));
	assert_int_equal(s.used, a.bytes);
	arena_reset(&a);
	assert_int_equal(s.used, 1000);
	arena_charge(&a, NULL);
	assert_int_equal(s.used, 0);
	arena_charge(&a, &s);
	arena_fini(&a);
	assert_int_equal(s.used, 0);
	assert_non_null(arena_alloc(&a, 10));
	assert_int_equal(s.used, 1000);
	arena_fini(&a);
}

static void an_arena_that_is_filled_again_and_again_asks_for_nothing(void **state)
{
	uint64_t calls = 0;
	struct arena a;

	(void)state;
	arena_init(&a, 1000, MAX);
	for (int round = 0; round < 3; round++) {
		calls = mem_calls();
		for (int i = 0; i < 8; i++) {
			void *bytes = arena_alloc(&a, 900);

			assert_non_null(bytes);
			memset(bytes, round, 900);
		}
		assert_int_equal(a.bytes, 8000);
		arena_reset_keep(&a, 8500);
		assert_int_equal(a.bytes, 8000);
	}
	assert_int_equal(mem_calls(), calls);
	assert_non_null(arena_alloc(&a, 5000)); /* which no spare one has room for */
	assert_non_null(arena_alloc(&a, 900));
	assert_int_equal(a.bytes, 8000 + 5008);
	arena_reset_keep(&a, 3000);
	assert_int_equal(a.bytes, 3000);
	arena_reset(&a);
	assert_int_equal(a.bytes, 1000);
	arena_fini(&a);
	assert_int_equal(a.bytes, 0);
}

static void *drop(void *blob)
{
	blob_unref(blob);
	return NULL;
}

static void a_blob_counts_once_and_until_the_last_has_let_go(void **state)
{
	struct budget b;
	struct blob *blob;
	pthread_t thread;

	(void)state;
	budget_init(&b, MAX, 1);
	blob = blob_new(3000, &b.used);
	assert_int_equal(budget_used(&b), 3000);
	(void)blob_ref(blob);
	assert_int_equal(pthread_create(&thread, NULL, drop, blob), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(budget_used(&b), 3000);
	blob_unref(blob);
	assert_int_equal(budget_used(&b), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_held_is_known_within_two_steps_a_share),
		cmocka_unit_test(what_was_begun_goes_on_past_the_bound_and_nothing_new_begins),
		cmocka_unit_test(credits_come_to_a_halt_at_half),
		cmocka_unit_test(an_arena_tells_what_it_holds),
		cmocka_unit_test(an_arena_that_is_filled_again_and_again_asks_for_nothing),
		cmocka_unit_test(a_blob_counts_once_and_until_the_last_has_let_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
