/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <errno.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rand.h"
#include "log/seen_inner.h"
#include "sys/test_dir.h"

#define DAY 86400000ll

/* ---- a folder and a seen for each test ---- */

struct fixture {
	char root[TEST_DIR_BYTES];
	char dir[TEST_DIR_BYTES + 8];
	struct sys sys;
	struct sys_ops ops;
	struct seen *seen;
	struct seen_options options;
	int64_t soon; /* in some three days, and all of it in one bucket */
};

/* The kernel's files, but a page is never in memory unless a test says so. */
static _Atomic bool pages_are_cold;
static void (*_Atomic meanwhile)(struct fixture *f); /* once, while a page is read */
static struct fixture *meanwhile_of;

static int64_t read_nowait(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	void (*hook)(struct fixture * f) = atomic_exchange(&meanwhile, NULL);

	if (hook)
		hook(meanwhile_of);
	if (pages_are_cold)
		return -EAGAIN;
	return sys_kernel()->ops->pread(self, fd, bytes, n, at);
}

static int64_t now(void)
{
	return sys_wall_ms(sys_kernel());
}

static void open_seen(struct fixture *f)
{
	struct fault fault = {.text = ""};
	int err = seen_open(&f->options, &f->seen, &fault);

	if (err)
		fail_msg("seen_open: %d %s", err, fault.text);
}

static void reopen(struct fixture *f)
{
	seen_close(f->seen);
	open_seen(f);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_true(test_dir_make(f->root, "seen-test"));
	(void)snprintf(f->dir, sizeof(f->dir), "%s/seen", f->root);
	f->ops = *sys_kernel()->ops;
	f->ops.pread_nowait = read_nowait;
	f->sys = (struct sys){.ops = &f->ops, .self = sys_kernel()->self};
	f->options = (struct seen_options){.sys = &f->sys, .dir = f->dir};
	f->soon = (now() / DAY + 3) * DAY - 1000;
	pages_are_cold = false;
	open_seen(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	seen_close(f->seen);
	(void)test_dir_remove(f->root);
	free(f);
	return 0;
}

/* ---- short words ---- */

static struct seen_key key_of(struct fixture *f, uint64_t number, int64_t expires_ms)
{
	struct seen_key k = {.payload = 7, .expires_ms = expires_ms};

	k.fingerprint =
		seen_fingerprint(f->seen, SLICE_LIT("0123456789abcdef"), slice_make(&number, sizeof(number)));
	return k;
}

static struct seen_range range_of(uint64_t number)
{
	return (struct seen_range){.first = (int64_t)number * 10,
				   .partition = (uint32_t)number % 7,
				   .count = (uint32_t)number % 5 + 1};
}

/* Claims a key that must be new and settles it. */
static void remember(struct fixture *f, uint64_t number, int64_t expires_ms, uint64_t sequence)
{
	struct seen_key k = key_of(f, number, expires_ms);
	struct seen_range r = range_of(number);
	struct seen_claim claim;

	assert_int_equal(seen_claim(f->seen, &k, now(), &claim, NULL, NULL), SEEN_NEW);
	assert_null(seen_settle(f->seen, &claim, sequence, &r, 1));
}

/* Asks without leaving a claim behind. */
static int look(struct fixture *f, const struct seen_key *k, int64_t at_ms, struct seen_answer *answer)
{
	struct seen_claim claim;
	int verdict = seen_claim(f->seen, k, at_ms, &claim, answer, NULL);

	if (verdict == SEEN_READ)
		verdict = seen_read(f->seen, k, at_ms, &claim, answer, NULL);
	if (verdict == SEEN_NEW)
		assert_null(seen_release(f->seen, &claim));
	return verdict;
}

static void expect_remembered(struct fixture *f, uint64_t number)
{
	struct seen_key k = key_of(f, number, now() + DAY);
	struct seen_range got = {.first = -1}, want = range_of(number);
	struct seen_answer answer = {.ranges = &got, .ranges_max = 1};

	assert_int_equal(look(f, &k, now(), &answer), SEEN_DUPLICATE);
	assert_int_equal(answer.range_count, 1);
	assert_memory_equal(&got, &want, sizeof(got));
}

static void expect_new(struct fixture *f, uint64_t number)
{
	struct seen_key k = key_of(f, number, now() + DAY);

	assert_int_equal(look(f, &k, now(), NULL), SEEN_NEW);
}

static void checkpoint(struct fixture *f, uint64_t sequence)
{
	struct fault fault = {.text = ""};

	if (seen_checkpoint(f->seen, sequence, &fault) != 0)
		fail_msg("seen_checkpoint: %s", fault.text);
}

static void step_until_idle(struct fixture *f, int64_t at_ms)
{
	struct fault fault = {.text = ""};
	int got;

	for (int i = 0; (got = seen_step(f->seen, at_ms, &fault)) != 0; i++) {
		if (got < 0 || i > 100000)
			fail_msg("seen_step: %d %s", got, fault.text);
	}
}

static struct seen_stats stats(struct fixture *f)
{
	struct seen_stats st;

	seen_stats(f->seen, &st);
	return st;
}

/* ---- files ---- */

static char found_path[512];
static uint32_t found_count;
static const char *wanted_end;

static int find_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	size_t n = strlen(path), m = strlen(wanted_end);

	(void)st;
	(void)ftw;
	if (flag == FTW_F && n >= m && strcmp(path + n - m, wanted_end) == 0) {
		found_count++;
		(void)snprintf(found_path, sizeof(found_path), "%s", path);
	}
	return 0;
}

/* Number of files with this ending; the last one is in found_path. */
static uint32_t files_ending(struct fixture *f, const char *end)
{
	found_count = 0;
	wanted_end = end;
	(void)nftw(f->root, find_one, 16, FTW_PHYS);
	return found_count;
}

static void flip_byte(const char *path, long at)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	(void)close(fd);
}

/* ---- verdicts ---- */

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

/* ---- runs ---- */

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

static void leftovers_of_a_crash_are_removed(void **state)
{
	struct fixture *f = *state;
	char path[600];
	FILE *file;

	remember(f, 1, f->soon, 1);
	checkpoint(f, 1);
	seen_close(f->seen);
	assert_int_equal(files_ending(f, ".run"), 1);
	(void)snprintf(path, sizeof(path), "%s.tmp", found_path);
	file = fopen(path, "w");
	assert_non_null(file);
	(void)fputs("half a run", file);
	(void)fclose(file);
	(void)snprintf(path, sizeof(path), "%s/123456", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/notes", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	open_seen(f);
	assert_int_equal(files_ending(f, ".tmp"), 0);
	assert_int_equal(access(path, F_OK), 0); /* not weir's: left alone */
	(void)snprintf(path, sizeof(path), "%s/123456", f->dir);
	assert_int_not_equal(access(path, F_OK), 0);
	expect_remembered(f, 1);
}

static void damage_is_named_and_never_a_wrong_answer(void **state)
{
	struct fixture *f = *state;
	/* Somewhere in the header, the entries, the filter, the fences. */
	static const struct {
		long at;
		bool at_open;
	} places[] = {
		{20, true},           {39, true}, /* 116 keys in place of 100: so many would fit as well */
		{4096 + 1000, false}, {3 * 4096 + 3, true}, {4 * 4096 + 1, true},
	};
	struct fault fault;
	struct seen_claim claim;
	struct seen_key k;
	char path[512];

	for (uint64_t i = 0; i < 100; i++)
		remember(f, i, f->soon, 1);
	checkpoint(f, 1);
	assert_int_equal(files_ending(f, ".run"), 1);
	(void)snprintf(path, sizeof(path), "%s", found_path);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int err;

		seen_close(f->seen);
		f->seen = NULL;
		flip_byte(path, places[i].at);
		memset(&fault, 0, sizeof(fault));
		err = seen_open(&f->options, &f->seen, &fault);
		if (places[i].at_open) {
			assert_int_equal(err, ERR_CORRUPT);
			assert_non_null(strstr(fault.text, path));
		} else {
			uint32_t damaged = 0;

			assert_int_equal(err, 0);
			for (uint64_t j = 0; j < 100; j++) {
				k = key_of(f, j, now() + DAY);
				if (seen_claim(f->seen, &k, now(), &claim, NULL, NULL) == SEEN_DUPLICATE)
					continue; /* on the other page */
				assert_int_equal(seen_read(f->seen, &k, now(), &claim, NULL, NULL),
						 ERR_CORRUPT);
				damaged++;
			}
			assert_int_equal(damaged, 85);
			seen_fault(f->seen, &fault);
			assert_non_null(strstr(fault.text, path));
		}
		flip_byte(path, places[i].at);
		if (err)
			open_seen(f);
	}
	for (uint64_t i = 0; i < 100; i++)
		expect_remembered(f, i);
}

static void a_run_without_its_secret_is_refused(void **state)
{
	struct fixture *f = *state;
	struct fault fault;

	remember(f, 1, f->soon, 1);
	checkpoint(f, 1);
	seen_close(f->seen);
	f->seen = NULL;
	assert_int_equal(files_ending(f, "secret"), 1);
	flip_byte(found_path, 12);
	assert_int_equal(seen_open(&f->options, &f->seen, &fault), ERR_CORRUPT);
	assert_int_equal(unlink(found_path), 0);
	assert_int_equal(seen_open(&f->options, &f->seen, &fault), ERR_CORRUPT);
	assert_non_null(strstr(fault.text, "secret"));
}

static void a_damaged_run_is_left_out_of_merges(void **state)
{
	struct fixture *f = *state;
	struct fault fault;

	for (uint64_t i = 0; i < 4; i++) {
		remember(f, i, f->soon, i);
		checkpoint(f, i);
	}
	assert_int_equal(files_ending(f, ".run"), 4);
	flip_byte(found_path, 4096 + 20);
	while (seen_step(f->seen, now(), &fault) > 0)
		;
	assert_int_equal(fault.err, ERR_CORRUPT);
	assert_non_null(strstr(fault.text, found_path));
	step_until_idle(f, now());
	assert_int_equal(files_ending(f, ".tmp"), 0);
	flip_byte(found_path, 4096 + 20);
	for (uint64_t i = 0; i < 4; i++)
		expect_remembered(f, i);
}

/* ---- failing calls ---- */

static int failing_fsync(void *self, int fd)
{
	(void)self;
	(void)fd;
	return -EIO;
}

static void a_checkpoint_that_fails_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct fault fault;

	for (uint64_t i = 0; i < 100; i++)
		remember(f, i, f->soon, 1);
	f->ops.fsync = failing_fsync;
	assert_int_equal(seen_checkpoint(f->seen, 1, &fault), ERR_IO);
	assert_int_equal(files_ending(f, ".tmp"), 0);
	f->ops.fsync = sys_kernel()->ops->fsync;
	assert_int_equal(stats(f).keys_table, 100);
	assert_int_equal(stats(f).runs, 0);
	for (uint64_t n = 1;; n++) {
		mem_fail_at(n);
		int err = seen_checkpoint(f->seen, 1, &fault);

		mem_fail_at(0);
		if (err == 0)
			break;
		assert_int_equal(err, ERR_NOMEM);
		assert_int_equal(files_ending(f, ".run") + files_ending(f, ".tmp"), 0);
		for (uint64_t i = 0; i < 100; i++)
			expect_remembered(f, i);
	}
	assert_int_equal(stats(f).keys_table, 0);
	reopen(f);
	for (uint64_t i = 0; i < 100; i++)
		expect_remembered(f, i);
}

static void opening_without_memory_fails_clean(void **state)
{
	struct fixture *f = *state;
	struct fault fault;

	remember(f, 1, f->soon, 1);
	checkpoint(f, 1);
	seen_close(f->seen);
	f->seen = NULL;
	for (uint64_t n = 1;; n++) {
		mem_fail_at(n);
		int err = seen_open(&f->options, &f->seen, &fault);

		mem_fail_at(0);
		if (err == 0)
			break;
		assert_int_equal(err, ERR_NOMEM);
	}
	expect_remembered(f, 1);
}

/* ---- against a model ---- */

enum { MODEL_KEYS = 3000 };

struct model {
	int64_t expires[MODEL_KEYS]; /* 0: unknown */
	uint64_t answer[MODEL_KEYS];
	uint64_t sequence[MODEL_KEYS];
	bool in_flight[MODEL_KEYS];
	struct seen_claim claims[MODEL_KEYS];
};

static uint32_t model_ranges(uint64_t answer, struct seen_range *out)
{
	uint32_t count = answer % 10 == 0 ? (uint32_t)(answer / 10 % 400) : 1;

	for (uint32_t i = 0; i < count; i++)
		out[i] = range_of(answer + i);
	return count;
}

static void model_ask(struct fixture *f, struct model *m, uint64_t n, int64_t at, int64_t ttl)
{
	static struct seen_range got[400], want[400];
	struct seen_answer answer = {.ranges = got, .ranges_max = 400};
	struct seen_key k = key_of(f, n, at + ttl);
	struct seen_claim claim;
	int verdict = seen_claim(f->seen, &k, at, &claim, &answer, NULL);

	if (verdict == SEEN_READ)
		verdict = seen_read(f->seen, &k, at, &claim, &answer, NULL);
	if (m->in_flight[n]) {
		assert_int_equal(verdict, SEEN_IN_FLIGHT);
	} else if (m->expires[n] > at) {
		uint32_t count = model_ranges(m->answer[n], want);

		assert_int_equal(verdict, SEEN_DUPLICATE);
		assert_int_equal(answer.range_count, count);
		assert_memory_equal(got, want, count * sizeof(want[0]));
	} else {
		assert_int_equal(verdict, SEEN_NEW);
		m->claims[n] = claim;
		m->in_flight[n] = true;
	}
}

static void model_end(struct fixture *f, struct model *m, uint64_t n, uint64_t sequence, bool settle)
{
	static struct seen_range ranges[400];

	if (!m->in_flight[n])
		return;
	m->in_flight[n] = false;
	if (!settle) {
		assert_null(seen_release(f->seen, &m->claims[n]));
		m->expires[n] = 0; /* its predecessor, if any, was over */
		return;
	}
	m->expires[n] = m->claims[n].key.expires_ms;
	m->answer[n] = sequence;
	m->sequence[n] = sequence;
	assert_null(seen_settle(f->seen, &m->claims[n], sequence, ranges, model_ranges(sequence, ranges)));
}

/* As the log does: what is in flight is gone, what no checkpoint wrote comes from the journal. */
static void model_restart(struct fixture *f, struct model *m, uint64_t durable)
{
	static struct seen_range ranges[400];

	reopen(f);
	for (uint64_t n = 0; n < MODEL_KEYS; n++) {
		if (m->in_flight[n])
			m->expires[n] = 0;
		m->in_flight[n] = false;
		if (m->expires[n] && m->sequence[n] > durable) {
			struct seen_key k = key_of(f, n, m->expires[n]);

			assert_int_equal(seen_restore(f->seen, &k, m->sequence[n], ranges,
						      model_ranges(m->answer[n], ranges)),
					 0);
		}
	}
}

static void run_model(struct fixture *f, uint64_t seed)
{
	struct model *m = calloc(1, sizeof(*m));
	uint64_t sequence = 1, durable = 0;
	int64_t at = now();
	struct fault fault;
	struct rand r;

	rand_seed(&r, seed);
	for (int i = 0; i < 30000; i++) {
		uint64_t what = rand_below(&r, 1000), n = rand_below(&r, MODEL_KEYS);

		if (what < 500)
			model_ask(f, m, n, at, 1 + (int64_t)rand_below(&r, 40) * (DAY / 10));
		else if (what < 980)
			model_end(f, m, n, sequence++, what < 930);
		else if (what < 985)
			at += (int64_t)rand_below(&r, 3600000);
		else if (what < 990)
			checkpoint(f, durable = sequence - rand_below(&r, 100) % sequence);
		else if (what < 998)
			assert_true(seen_step(f->seen, at, &fault) >= 0);
		else if (what == 998)
			pages_are_cold = !pages_are_cold;
		else
			model_restart(f, m, durable);
	}
	free(m);
}

static void behaves_as_a_plain_map_does(void **state)
{
	struct fixture *f = *state;

	for (uint64_t seed = 1; seed <= 6; seed++) {
		print_message("seed %llu\n", (unsigned long long)seed);
		run_model(f, seed);
		seen_close(f->seen);
		(void)test_dir_remove(f->dir);
		open_seen(f);
	}
}

/* ---- threads ---- */

enum { RACE_KEYS = 20000, RACERS = 3 };

struct race {
	struct fixture *f;
	_Atomic uint32_t winners[RACE_KEYS];
	_Atomic uint64_t sequence;
	_Atomic bool stop;
};

static void *run_racer(void *arg)
{
	struct race *race = arg;

	for (uint64_t i = 0; i < RACE_KEYS; i++) {
		struct seen_key k = key_of(race->f, i, now() + DAY);
		struct seen_range r = range_of(i), got = {.first = -1};
		struct seen_answer answer = {.ranges = &got, .ranges_max = 1};
		struct seen_claim claim;
		int verdict = seen_read(race->f->seen, &k, now(), &claim, &answer, NULL);

		if (verdict == SEEN_NEW && i % 16 == 3 && atomic_load(&race->winners[i]) == 0 &&
		    (claim.key.fingerprint.lo & 1)) {
			(void)seen_release(race->f->seen, &claim);
			verdict = seen_read(race->f->seen, &k, now(), &claim, &answer, NULL);
		}
		if (verdict == SEEN_NEW) {
			atomic_fetch_add(&race->winners[i], 1);
			(void)seen_settle(race->f->seen, &claim, atomic_fetch_add(&race->sequence, 1), &r, 1);
		} else if (verdict == SEEN_DUPLICATE) {
			CHECK(got.first == r.first);
		} else {
			CHECK(verdict == SEEN_IN_FLIGHT);
		}
	}
	return NULL;
}

static void *run_maintenance(void *arg)
{
	struct race *race = arg;
	struct fault fault;

	while (!atomic_load(&race->stop)) {
		CHECK(seen_checkpoint(race->f->seen, atomic_load(&race->sequence), &fault) == 0);
		for (int i = 0; i < 4; i++)
			CHECK(seen_step(race->f->seen, now(), &fault) >= 0);
	}
	return NULL;
}

static void threads_that_claim_the_same_keys_agree(void **state)
{
	struct race *race = calloc(1, sizeof(*race));
	pthread_t racers[RACERS], keeper;

	race->f = *state;
	race->sequence = 1;
	assert_int_equal(pthread_create(&keeper, NULL, run_maintenance, race), 0);
	for (int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&racers[i], NULL, run_racer, race), 0);
	for (int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_join(racers[i], NULL), 0);
	atomic_store(&race->stop, true);
	assert_int_equal(pthread_join(keeper, NULL), 0);
	for (uint64_t i = 0; i < RACE_KEYS; i++) {
		assert_int_equal(race->winners[i], 1);
		expect_remembered(race->f, i);
	}
	free(race);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_FOLDER(a_key_is_new_then_in_flight_then_a_duplicate),
		IN_FOLDER(another_payload_is_reuse_and_payload_zero_is_any),
		IN_FOLDER(hashes_depend_on_scope_key_and_order),
		IN_FOLDER(waiters_come_back_oldest_first),
		IN_FOLDER(a_key_expires_in_the_table_and_in_a_run),
		IN_FOLDER(the_table_has_a_bound),
		IN_FOLDER(no_memory_is_a_refusal),
		IN_FOLDER(keys_survive_checkpoint_and_restart),
		IN_FOLDER(what_was_not_in_a_checkpoint_is_forgotten_and_can_be_restored),
		IN_FOLDER(a_key_in_flight_is_never_written),
		IN_FOLDER(a_cold_page_is_read_by_who_may_wait),
		IN_FOLDER(several_ranges_come_back_whole),
		IN_FOLDER(runs_merge_within_their_bucket),
		IN_FOLDER(a_merge_keeps_the_later_of_two_answers),
		IN_FOLDER(a_read_notices_what_happened_meanwhile),
		IN_FOLDER(files_stay_below_their_bound),
		IN_FOLDER(an_expired_bucket_goes_whole_and_only_by_the_clock_of_the_step),
		IN_FOLDER(the_removal_of_a_run_is_synced),
		IN_FOLDER(leftovers_of_a_crash_are_removed),
		IN_FOLDER(damage_is_named_and_never_a_wrong_answer),
		IN_FOLDER(a_run_without_its_secret_is_refused),
		IN_FOLDER(a_damaged_run_is_left_out_of_merges),
		IN_FOLDER(a_checkpoint_that_fails_changes_nothing),
		IN_FOLDER(opening_without_memory_fails_clean),
		IN_FOLDER(behaves_as_a_plain_map_does),
		IN_FOLDER(threads_that_claim_the_same_keys_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
