/* SPDX-License-Identifier: Apache-2.0 */
/* Keys on disk: runs, how they are read, merged and let go of. */
#include "log/seen_world_test.h"

static void keys_survive_checkpoint_and_restart(void **state)
{
	struct fixture *f = *state;
	const uint64_t count = 20000;

	for (uint64_t i = 0; i < count; i++)
		remember(f, i, f->soon + (int64_t)i * 10000, i);
	checkpoint(f, count / 2); /* keys of later groups stay */
	assert_int_equal(stats(f).keys_table, count / 2 - 1);
	assert_int_equal(stats(f).keys_runs, count / 2 + 1);
	assert_true(stats(f).buckets > 1);
	for (uint64_t i = 0; i < count; i++)
		expect_remembered(f, i);
	checkpoint(f, count);
	assert_int_equal(stats(f).keys_table, 0);
	for (int round = 0; round < 2; round++) {
		for (uint64_t i = 0; i < count; i++)
			expect_remembered(f, i);
		for (uint64_t i = count; i < 2 * count; i++)
			expect_new(f, i);
		reopen(f);
	}
	for (uint64_t i = count; i < 2 * count; i++)
		expect_new(f, i);
	/* A filter lets few through: 0.25 % a run. */
	assert_true(stats(f).filter_hits_false < count * stats(f).runs / 100);
}

static void what_was_not_in_a_checkpoint_is_forgotten_and_can_be_restored(void **state)
{
	struct fixture *f = *state;
	struct seen_range r = range_of(1), later = range_of(2);
	struct seen_key k;

	remember(f, 1, f->soon, 1);
	reopen(f);
	expect_new(f, 1);
	k = key_of(f, 1, now() + DAY);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(seen_restore(f->seen, &k, 1, &r, 1), 0);
		assert_int_equal(stats(f).keys_table, 1);
		expect_remembered(f, 1);
	}
	checkpoint(f, 1);
	assert_int_equal(seen_restore(f->seen, &k, 1, &r, 1), 0);
	expect_remembered(f, 1);
	checkpoint(f, 1);
	expect_remembered(f, 1);
	/* The same key, remembered again after it had expired, wins. */
	assert_int_equal(seen_restore(f->seen, &k, 1, &r, 1), 0);
	k.expires_ms += DAY;
	assert_int_equal(seen_restore(f->seen, &k, 2, &later, 1), 0);
	k.expires_ms -= DAY;
	assert_int_equal(seen_restore(f->seen, &k, 1, &r, 1), 0);
	assert_int_equal(look(f, &k, k.expires_ms + 1, NULL), SEEN_DUPLICATE);
}

static void a_key_in_flight_is_never_written(void **state)
{
	struct fixture *f = *state;
	struct seen_key k = key_of(f, 1, now() + DAY);
	struct seen_range r = range_of(1);
	struct seen_claim claim;

	assert_int_equal(seen_claim(f->seen, &k, now(), &claim, NULL, NULL), SEEN_NEW);
	remember(f, 2, f->soon, 5);
	checkpoint(f, UINT64_MAX);
	assert_int_equal(stats(f).keys_runs, 1);
	assert_null(seen_settle(f->seen, &claim, 6, &r, 1));
	expect_remembered(f, 1);
	reopen(f);
	expect_new(f, 1);
	expect_remembered(f, 2);
}

static void a_cold_page_is_read_by_who_may_wait(void **state)
{
	struct fixture *f = *state;
	struct seen_key k = key_of(f, 1, now() + DAY);
	struct seen_range got;
	struct seen_answer answer = {.ranges = &got, .ranges_max = 1};
	struct seen_claim claim;

	remember(f, 1, f->soon, 1);
	checkpoint(f, 1);
	pages_are_cold = true;
	assert_int_equal(seen_claim(f->seen, &k, now(), &claim, &answer, NULL), SEEN_READ);
	assert_int_equal(seen_read(f->seen, &k, now(), &claim, &answer, NULL), SEEN_DUPLICATE);
	assert_int_equal(got.first, 10);
}

static void several_ranges_come_back_whole(void **state)
{
	struct fixture *f = *state;
	static const uint32_t counts[] = {0, 2, 3, 255, 256, 1000, SEEN_RANGES_MAX};
	static struct seen_range ranges[SEEN_RANGES_MAX], got[SEEN_RANGES_MAX];
	enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };
	struct seen_claim claim;

	for (uint32_t i = 0; i < SEEN_RANGES_MAX; i++)
		ranges[i] = range_of(i);
	for (uint64_t i = 0; i < COUNTS; i++) {
		struct seen_key k = key_of(f, i, f->soon);

		assert_int_equal(seen_claim(f->seen, &k, now(), &claim, NULL, NULL), SEEN_NEW);
		assert_null(seen_settle(f->seen, &claim, 1, ranges, counts[i]));
	}
	remember(f, 100, f->soon, 1);
	for (int round = 0; round < 4; round++) {
		for (uint64_t i = 0; i < COUNTS; i++) {
			struct seen_key k = key_of(f, i, now() + DAY);
			struct seen_answer answer = {.ranges = got, .ranges_max = SEEN_RANGES_MAX};

			memset(got, 0, sizeof(got));
			assert_int_equal(look(f, &k, now(), &answer), SEEN_DUPLICATE);
			assert_int_equal(answer.range_count, counts[i]);
			assert_memory_equal(got, ranges, counts[i] * sizeof(ranges[0]));
			answer.ranges_max = 1;
			assert_int_equal(look(f, &k, now(), &answer), SEEN_DUPLICATE);
			assert_int_equal(answer.range_count, counts[i]);
		}
		expect_remembered(f, 100);
		if (round == 0)
			checkpoint(f, 1);
		if (round == 1)
			reopen(f);
		if (round == 2) { /* through a merge */
			for (uint64_t i = 0; i < 3; i++) {
				remember(f, 200 + i, f->soon, 2);
				checkpoint(f, 2);
			}
			step_until_idle(f, now());
			assert_int_equal(stats(f).runs, 1);
		}
	}
}

static void runs_merge_within_their_bucket(void **state)
{
	struct fixture *f = *state;
	int64_t ends[2] = {f->soon, f->soon + 20 * DAY};

	for (uint64_t i = 0; i < 64; i++) {
		for (uint64_t j = 0; j < 20; j++)
			remember(f, i * 20 + j, ends[j % 2], i);
		checkpoint(f, i);
		step_until_idle(f, now());
	}
	assert_int_equal(stats(f).buckets, 2);
	assert_int_equal(stats(f).keys_runs, 64 * 20);
	assert_true(stats(f).runs <= 6);
	assert_int_equal(files_ending(f, ".run"), stats(f).runs);
	assert_int_equal(files_ending(f, ".tmp"), 0);
	for (uint64_t i = 0; i < 64 * 20; i++)
		expect_remembered(f, i);
	reopen(f);
	for (uint64_t i = 0; i < 64 * 20; i++)
		expect_remembered(f, i);
}

static void a_merge_keeps_the_later_of_two_answers(void **state)
{
	struct fixture *f = *state;
	struct seen_range old = range_of(1), new = range_of(2), got;
	struct seen_answer answer = {.ranges = &got, .ranges_max = 1};
	struct seen_key k = key_of(f, 1, f->soon - 1000);

	for (uint64_t i = 0; i < 4; i++) {
		/* The later one stands in neither the first nor the last run. */
		k.expires_ms = f->soon - (i == 1 ? 500 : 1000);
		assert_int_equal(seen_restore(f->seen, &k, i, i == 1 ? &new : &old, 1), 0);
		checkpoint(f, i);
	}
	step_until_idle(f, now());
	assert_int_equal(stats(f).runs, 1);
	assert_int_equal(stats(f).keys_runs, 1);
	assert_int_equal(look(f, &k, f->soon - 700, &answer), SEEN_DUPLICATE);
	assert_memory_equal(&got, &new, sizeof(got));
}

static void move_into_a_run(struct fixture *f)
{
	struct seen_key k = key_of(f, 1, f->soon + DAY);
	struct seen_range r = range_of(2);
	struct seen_claim claim;

	assert_int_equal(seen_claim(f->seen, &k, f->soon, &claim, NULL, NULL), SEEN_NEW);
	assert_null(seen_settle(f->seen, &claim, 2, &r, 1));
	checkpoint(f, 2);
	step_until_idle(f, now());
	assert_int_equal(stats(f).keys_table, 0);
}

static void drop_all(struct fixture *f)
{
	step_until_idle(f, f->soon + 300 * DAY);
	assert_int_equal(stats(f).runs, 0);
}

static void a_read_notices_what_happened_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct seen_key k = key_of(f, 1, f->soon + DAY);
	struct seen_range got;
	struct seen_answer answer = {.ranges = &got, .ranges_max = 1};

	/* Its run says yes, but the key is over there; while the page is read it comes into another run. */
	remember(f, 1, f->soon, 1);
	checkpoint(f, 1);
	meanwhile_of = f;
	meanwhile = move_into_a_run;
	assert_int_equal(look(f, &k, f->soon, &answer), SEEN_DUPLICATE);
	assert_null(meanwhile);
	assert_int_equal(got.first, 20);
	/* The run goes away under the reader, who holds it. */
	meanwhile = drop_all;
	assert_int_equal(look(f, &k, f->soon, &answer), SEEN_DUPLICATE);
	assert_int_equal(look(f, &k, f->soon, &answer), SEEN_NEW);
}

static void files_stay_below_their_bound(void **state)
{
	struct fixture *f = *state;

	f->options.files_max = 5;
	f->options.bucket_ms = DAY;
	reopen(f);
	for (uint64_t i = 0; i < 12; i++)
		remember(f, i, f->soon + DAY * (int64_t)i, 1);
	checkpoint(f, 1);
	assert_int_equal(stats(f).runs, 12);
	step_until_idle(f, now());
	assert_int_equal(stats(f).runs, 5);
	for (uint64_t i = 0; i < 12; i++)
		expect_remembered(f, i);
}

static void an_expired_bucket_goes_whole_and_only_by_the_clock_of_the_step(void **state)
{
	struct fixture *f = *state;
	int64_t far = f->soon + 27 * DAY, near = (now() / 3600000 + 12) * 3600000 - 1000;
	struct seen_key k;

	for (uint64_t i = 0; i < 1000; i++)
		remember(f, i, near, 1);
	for (uint64_t i = 1000; i < 1100; i++)
		remember(f, i, far, 1);
	checkpoint(f, 1);
	assert_int_equal(stats(f).buckets, 2);
	step_until_idle(f, now());
	assert_int_equal(stats(f).buckets, 2);
	/* A lookup with a clock that jumped loses nothing. */
	k = key_of(f, 5, f->soon);
	assert_int_equal(look(f, &k, now() + 300 * DAY, NULL), SEEN_NEW);
	expect_remembered(f, 5);
	step_until_idle(f, now() + 2 * DAY);
	assert_int_equal(stats(f).buckets, 1);
	assert_int_equal(files_ending(f, ".run"), 1);
	expect_new(f, 5);
	expect_remembered(f, 1005);
	reopen(f);
	expect_remembered(f, 1005);
	step_until_idle(f, far + 10 * DAY);
	assert_int_equal(stats(f).runs, 0);
	assert_int_equal(files_ending(f, "secret"), 1);
}

static char last_removed[300];
static uint32_t removed_durably;

static int unlink_noted(void *self, const char *path)
{
	(void)snprintf(last_removed, sizeof(last_removed), "%s", path);
	return sys_kernel()->ops->unlink(self, path);
}

static int sync_dir_noted(void *self, const char *path)
{
	removed_durably += strncmp(last_removed, path, strlen(path)) == 0;
	return sys_kernel()->ops->sync_dir(self, path);
}

/* Its bytes go piece by piece then; a name that came back would have a part of them. */
static void the_removal_of_a_run_is_synced(void **state)
{
	struct fixture *f = *state;
	int64_t near = (now() / 3600000 + 12) * 3600000 - 1000;

	remember(f, 1, near, 1);
	checkpoint(f, 1);
	f->ops.unlink = unlink_noted;
	f->ops.sync_dir = sync_dir_noted;
	last_removed[0] = '\0';
	removed_durably = 0;
	step_until_idle(f, now() + 2 * DAY);
	assert_int_equal(files_ending(f, ".run"), 0);
	assert_int_equal(removed_durably, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(keys_survive_checkpoint_and_restart),
		TEST(what_was_not_in_a_checkpoint_is_forgotten_and_can_be_restored),
		TEST(a_key_in_flight_is_never_written),
		TEST(a_cold_page_is_read_by_who_may_wait),
		TEST(several_ranges_come_back_whole),
		TEST(runs_merge_within_their_bucket),
		TEST(a_merge_keeps_the_later_of_two_answers),
		TEST(a_read_notices_what_happened_meanwhile),
		TEST(files_stay_below_their_bound),
		TEST(an_expired_bucket_goes_whole_and_only_by_the_clock_of_the_step),
		TEST(the_removal_of_a_run_is_synced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
