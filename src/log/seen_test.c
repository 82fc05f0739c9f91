/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a key: new, in flight, a duplicate, another payload. */
#include "base/mem.h"
#include "log/seen_world_test.h"

static void a_key_is_new_then_in_flight_then_a_duplicate(void **state)
{
	struct fixture *f = *state;
	struct seen_key k = key_of(f, 1, now() + DAY);
	struct seen_range r = range_of(1), got = {.first = -1};
	struct seen_answer answer = {.ranges = &got, .ranges_max = 1};
	struct seen_claim claim, other;

	assert_int_equal(seen_claim(f->seen, &k, now(), &claim, &answer, NULL), SEEN_NEW);
	assert_int_equal(seen_claim(f->seen, &k, now(), &other, &answer, NULL), SEEN_IN_FLIGHT);
	assert_null(seen_settle(f->seen, &claim, 1, &r, 1));
	assert_int_equal(seen_claim(f->seen, &k, now(), &other, &answer, NULL), SEEN_DUPLICATE);
	assert_int_equal(answer.range_count, 1);
	assert_memory_equal(&got, &r, sizeof(r));
}

static void another_payload_is_reuse_and_payload_zero_is_any(void **state)
{
	struct fixture *f = *state;
	struct seen_key k = key_of(f, 1, now() + DAY), any = key_of(f, 2, now() + DAY);
	struct seen_range r = range_of(1);
	struct seen_claim claim;

	any.payload = 0;
	for (int stored = 0; stored < 2; stored++) {
		if (!stored) {
			remember(f, 1, f->soon, 1);
			assert_int_equal(seen_claim(f->seen, &any, now(), &claim, NULL, NULL), SEEN_NEW);
			assert_null(seen_settle(f->seen, &claim, 1, &r, 1));
		}
		k.payload = 8;
		assert_int_equal(look(f, &k, now(), NULL), SEEN_REUSED);
		k.payload = 0;
		assert_int_equal(look(f, &k, now(), NULL), SEEN_DUPLICATE);
		any.payload = 99;
		assert_int_equal(look(f, &any, now(), NULL), SEEN_DUPLICATE);
		checkpoint(f, 1); /* and the same from a run */
		assert_int_equal(stats(f).keys_table, 0);
	}
}

static void hashes_depend_on_scope_key_and_order(void **state)
{
	struct fixture *f = *state;
	struct hash128 a = seen_fingerprint(f->seen, SLICE_LIT("ab"), SLICE_LIT("c"));
	struct hash128 b = seen_fingerprint(f->seen, SLICE_LIT("a"), SLICE_LIT("bc"));
	uint64_t one = seen_payload(f->seen, 0, SLICE_LIT("x"));
	uint64_t xy = seen_payload(f->seen, one, SLICE_LIT("y"));
	uint64_t yx = seen_payload(f->seen, seen_payload(f->seen, 0, SLICE_LIT("y")), SLICE_LIT("x"));

	assert_true(a.hi != b.hi && a.lo != b.lo);
	assert_true(one != 0 && xy != yx);
	reopen(f);
	assert_true(seen_fingerprint(f->seen, SLICE_LIT("ab"), SLICE_LIT("c")).hi == a.hi);
	assert_true(seen_payload(f->seen, 0, SLICE_LIT("x")) == one);
}

static void waiters_come_back_oldest_first(void **state)
{
	struct fixture *f = *state;
	struct seen_waiter w[3] = {{.owner = "a"}, {.owner = "b"}, {.owner = "c"}}, *list;
	struct seen_key k = key_of(f, 1, now() + DAY);
	struct seen_range r = range_of(1);
	struct seen_claim claim, other;

	for (int settled = 0; settled < 2; settled++) {
		assert_int_equal(seen_claim(f->seen, &k, now(), &claim, NULL, NULL), SEEN_NEW);
		for (int i = 0; i < 3; i++)
			assert_int_equal(seen_claim(f->seen, &k, now(), &other, NULL, &w[i]), SEEN_IN_FLIGHT);
		list = settled ? seen_settle(f->seen, &claim, 1, &r, 1) : seen_release(f->seen, &claim);
		for (int i = 0; i < 3; i++, list = list->next)
			assert_ptr_equal(list, &w[i]);
		assert_null(list);
	}
	assert_int_equal(look(f, &k, now(), NULL), SEEN_DUPLICATE);
}

static void a_key_expires_in_the_table_and_in_a_run(void **state)
{
	struct fixture *f = *state;
	int64_t end = now() + DAY;
	struct seen_key k = key_of(f, 1, end);
	struct seen_claim claim;
	struct seen_range r = range_of(3);

	remember(f, 1, end, 1);
	assert_int_equal(look(f, &k, end - 1, NULL), SEEN_DUPLICATE);
	checkpoint(f, 1);
	assert_int_equal(look(f, &k, end - 1, NULL), SEEN_DUPLICATE);
	assert_int_equal(look(f, &k, end, NULL), SEEN_NEW);
	/* Remembered anew, with the expired one still in its run. */
	k.expires_ms = end + DAY;
	assert_int_equal(seen_claim(f->seen, &k, end, &claim, NULL, NULL), SEEN_NEW);
	assert_null(seen_settle(f->seen, &claim, 2, &r, 1));
	assert_int_equal(look(f, &k, end, NULL), SEEN_DUPLICATE);
	checkpoint(f, 2);
	assert_int_equal(look(f, &k, end, NULL), SEEN_DUPLICATE);
	assert_int_equal(look(f, &k, end + DAY, NULL), SEEN_NEW);
	/* And in the table: the slot is taken over. */
	remember(f, 2, end, 3);
	k = key_of(f, 2, end + DAY);
	assert_int_equal(seen_claim(f->seen, &k, end, &claim, NULL, NULL), SEEN_NEW);
	assert_null(seen_settle(f->seen, &claim, 4, &r, 1));
	assert_int_equal(stats(f).keys_table, 1);
}

static void the_table_has_a_bound(void **state)
{
	struct fixture *f = *state;
	struct seen_claim claim;
	struct seen_range r = range_of(1);
	uint64_t n = 0;
	int verdict;

	f->options.table_bytes_max = 2 << 20;
	reopen(f);
	for (;; n++) {
		struct seen_key k = key_of(f, n, now() + DAY);

		verdict = seen_claim(f->seen, &k, now(), &claim, NULL, NULL);
		if (verdict != SEEN_NEW)
			break;
		assert_null(seen_settle(f->seen, &claim, 1, &r, 1));
	}
	assert_int_equal(verdict, ERR_OVERLOADED);
	assert_true(n > 8000 && n < 32768);
	assert_true(seen_wants_checkpoint(f->seen));
	assert_true(stats(f).bytes_memory < (2 << 20) + (1 << 18));
	checkpoint(f, 1);
	assert_int_equal(stats(f).keys_table, 0);
	expect_new(f, n);
}

static void no_memory_is_a_refusal(void **state)
{
	struct fixture *f = *state;
	struct seen_key k = key_of(f, 1, now() + DAY);
	struct seen_claim claim;

	mem_fail_at(1);
	assert_int_equal(seen_claim(f->seen, &k, now(), &claim, NULL, NULL), ERR_NOMEM);
	mem_fail_at(0);
	expect_new(f, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_key_is_new_then_in_flight_then_a_duplicate),
		TEST(another_payload_is_reuse_and_payload_zero_is_any),
		TEST(hashes_depend_on_scope_key_and_order),
		TEST(waiters_come_back_oldest_first),
		TEST(a_key_expires_in_the_table_and_in_a_run),
		TEST(the_table_has_a_bound),
		TEST(no_memory_is_a_refusal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
