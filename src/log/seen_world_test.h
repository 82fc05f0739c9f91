/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_SEEN_WORLD_TEST_H
#define WEIR_LOG_SEEN_WORLD_TEST_H

/*
 * For the tests of idempotency keys: a folder and a seen for each test, on the kernel's files; a page is in memory or
 * not as a test says. A number stands for a key, for its answer and for what is expected of it later.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/seen_inner.h"
#include "sys/test_dir.h"

#define DAY 86400000ll

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

static inline int64_t read_nowait(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	void (*hook)(struct fixture * f) = atomic_exchange(&meanwhile, NULL);

	if (hook)
		hook(meanwhile_of);
	if (pages_are_cold)
		return -EAGAIN;
	return sys_kernel()->ops->pread(self, fd, bytes, n, at);
}

static inline int64_t now(void)
{
	return sys_wall_ms(sys_kernel());
}

static inline void open_seen(struct fixture *f)
{
	struct fault fault = {.text = ""};
	int err = seen_open(&f->options, &f->seen, &fault);

	if (err)
		fail_msg("seen_open: %d %s", err, fault.text);
}

static inline void reopen(struct fixture *f)
{
	seen_close(f->seen);
	open_seen(f);
}

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	seen_close(f->seen);
	(void)test_dir_remove(f->root);
	free(f);
	return 0;
}

static inline struct seen_key key_of(struct fixture *f, uint64_t number, int64_t expires_ms)
{
	struct seen_key k = {.payload = 7, .expires_ms = expires_ms};

	k.fingerprint =
		seen_fingerprint(f->seen, SLICE_LIT("0123456789abcdef"), slice_make(&number, sizeof(number)));
	return k;
}

static inline struct seen_range range_of(uint64_t number)
{
	return (struct seen_range){.first = (int64_t)number * 10,
				   .partition = (uint32_t)number % 7,
				   .count = (uint32_t)number % 5 + 1};
}

/* Claims a key that must be new and settles it. */
static inline void remember(struct fixture *f, uint64_t number, int64_t expires_ms, uint64_t sequence)
{
	struct seen_key k = key_of(f, number, expires_ms);
	struct seen_range r = range_of(number);
	struct seen_claim claim;

	assert_int_equal(seen_claim(f->seen, &k, now(), &claim, NULL, NULL), SEEN_NEW);
	assert_null(seen_settle(f->seen, &claim, sequence, &r, 1));
}

/* Asks without leaving a claim behind. */
static inline int look(struct fixture *f, const struct seen_key *k, int64_t at_ms, struct seen_answer *answer)
{
	struct seen_claim claim;
	int verdict = seen_claim(f->seen, k, at_ms, &claim, answer, NULL);

	if (verdict == SEEN_READ)
		verdict = seen_read(f->seen, k, at_ms, &claim, answer, NULL);
	if (verdict == SEEN_NEW)
		assert_null(seen_release(f->seen, &claim));
	return verdict;
}

static inline void expect_remembered(struct fixture *f, uint64_t number)
{
	struct seen_key k = key_of(f, number, now() + DAY);
	struct seen_range got = {.first = -1}, want = range_of(number);
	struct seen_answer answer = {.ranges = &got, .ranges_max = 1};

	assert_int_equal(look(f, &k, now(), &answer), SEEN_DUPLICATE);
	assert_int_equal(answer.range_count, 1);
	assert_memory_equal(&got, &want, sizeof(got));
}

static inline void expect_new(struct fixture *f, uint64_t number)
{
	struct seen_key k = key_of(f, number, now() + DAY);

	assert_int_equal(look(f, &k, now(), NULL), SEEN_NEW);
}

static inline void checkpoint(struct fixture *f, uint64_t sequence)
{
	struct fault fault = {.text = ""};

	if (seen_checkpoint(f->seen, sequence, &fault) != 0)
		fail_msg("seen_checkpoint: %s", fault.text);
}

static inline void step_until_idle(struct fixture *f, int64_t at_ms)
{
	struct fault fault = {.text = ""};
	int got;

	for (int i = 0; (got = seen_step(f->seen, at_ms, &fault)) != 0; i++) {
		if (got < 0 || i > 100000)
			fail_msg("seen_step: %d %s", got, fault.text);
	}
}

static inline struct seen_stats stats(struct fixture *f)
{
	struct seen_stats st;

	seen_stats(f->seen, &st);
	return st;
}

static char found_path[512];
static uint32_t found_count;
static const char *wanted_end;

static inline int find_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
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
static inline uint32_t files_ending(struct fixture *f, const char *end)
{
	found_count = 0;
	wanted_end = end;
	(void)nftw(f->root, find_one, 16, FTW_PHYS);
	return found_count;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
