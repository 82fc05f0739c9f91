/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rand.h"
#include "sys/sim/sim.h"

static struct sim *sim;
static const struct sys_ops *ops;
static void *self;

static int set_up(void **state)
{
	(void)state;
	if (sim_new(&(struct sim_options){.seed = 1, .pages_max = 2048}, &sim))
		return -1;
	ops = sim_sys(sim)->ops;
	self = sim_sys(sim)->self;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	sim_free(sim);
	return 0;
}

/* Nothing drifts, so that what a test says of one page is sure. */
static void keep_still(uint64_t seed)
{
	sim_reset(sim, seed);
	sim_set_faults(sim, &(struct sim_faults){.drift_one_in = UINT32_MAX});
}

static int open_new(const char *path)
{
	int fd = ops->open(self, path, SYS_CREATE);

	assert_true(fd >= 0);
	return fd;
}

static int put(int fd, const void *bytes, size_t n, uint64_t at)
{
	struct iovec iov = {(void *)(uintptr_t)bytes, n};

	return ops->pwritev(self, fd, &iov, 1, at);
}

static int64_t get(const char *path, void *bytes, size_t n)
{
	int fd = ops->open(self, path, SYS_READ);
	int64_t got;

	if (fd < 0)
		return fd;
	got = ops->pread(self, fd, bytes, n, 0);
	ops->close(self, fd);
	return got;
}

static void it_is_a_file_system(void **state)
{
	struct sys_stat st;
	char bytes[16] = {0};
	int fd;

	(void)state;
	keep_still(1);
	assert_int_equal(ops->open(self, "d/a", SYS_CREATE), -ENOENT);
	assert_int_equal(ops->mkdir(self, "d"), 0);
	assert_int_equal(ops->mkdir(self, "d"), 0);
	fd = open_new("d/a");
	assert_int_equal(put(fd, "hello", 5, 4094), 0); /* over the border of a page */
	assert_int_equal(ops->pread(self, fd, bytes, 16, 4092), 7);
	assert_memory_equal(bytes, "\0\0hello", 7);
	assert_int_equal(ops->truncate(self, fd, 4096), 0);
	assert_int_equal(ops->truncate(self, fd, 4099), 0);
	assert_int_equal(ops->pread(self, fd, bytes, 16, 4094), 5);
	assert_memory_equal(bytes, "he\0\0\0", 5);
	ops->close(self, fd);
	assert_int_equal(ops->rmdir(self, "d"), -ENOTEMPTY);
	assert_int_equal(ops->rename(self, "d/a", "d/a"), 0);
	assert_int_equal(ops->rename(self, "d/a", "d/b"), 0);
	assert_int_equal(ops->stat(self, "d/a", &st), -ENOENT);
	assert_int_equal(ops->stat(self, "d/b", &st), 0);
	assert_int_equal(st.bytes, 4099);
	assert_int_equal(ops->open(self, "d/b", SYS_CREATE | SYS_EXCLUSIVE), -EEXIST);
	assert_int_equal(ops->unlink(self, "d/b"), 0);
	assert_int_equal(ops->rmdir(self, "d"), 0);
	assert_int_equal(ops->stat(self, "d", &st), -ENOENT);
}

static void what_was_not_synced_is_forgotten(void **state)
{
	char bytes[16];
	int fd;

	(void)state;
	keep_still(2);
	fd = open_new("a");
	assert_int_equal(put(fd, "first", 5, 0), 0);
	assert_int_equal(ops->fdatasync(self, fd), 0);
	assert_int_equal(ops->sync_dir(self, "."), 0); /* the root, as "" is */
	assert_int_equal(put(fd, "FIRST and more", 14, 0), 0);
	assert_int_equal(get("a", bytes, 16), 14);
	sim_cut(sim, SIM_CUT_LOSE);
	assert_int_equal(get("a", bytes, 16), 5);
	assert_memory_equal(bytes, "first", 5);
	fd = open_new("b"); /* its bytes are synced, its name is not */
	assert_int_equal(put(fd, "x", 1, 0), 0);
	assert_int_equal(ops->fsync(self, fd), 0);
	sim_cut(sim, SIM_CUT_LOSE);
	assert_int_equal(get("b", bytes, 16), -ENOENT);
	fd = open_new("c");
	sim_cut(sim, SIM_CUT_KEEP);
	assert_int_equal(get("c", bytes, 16), 0);
	sim_cut(sim, SIM_CUT_LOSE); /* a kill has made nothing durable */
	assert_int_equal(get("c", bytes, 16), -ENOENT);
}

static void names_change_when_their_directory_is_synced(void **state)
{
	char bytes[4];

	(void)state;
	keep_still(3);
	assert_int_equal(ops->mkdir(self, "d"), 0);
	ops->close(self, open_new("d/a"));
	assert_int_equal(ops->sync_dir(self, "d"), 0);
	sim_cut(sim, SIM_CUT_LOSE);
	assert_int_equal(get("d/a", bytes, 4), -ENOENT); /* the directory itself had no durable name */
	assert_int_equal(ops->mkdir(self, "d"), 0);
	assert_int_equal(ops->sync_dir(self, ""), 0);
	ops->close(self, open_new("d/a"));
	assert_int_equal(ops->sync_dir(self, "d"), 0);
	assert_int_equal(ops->rename(self, "d/a", "d/b"), 0);
	sim_cut(sim, SIM_CUT_LOSE);
	assert_int_equal(get("d/a", bytes, 4), 0);
	assert_int_equal(get("d/b", bytes, 4), -ENOENT);
	assert_int_equal(ops->unlink(self, "d/a"), 0);
	sim_cut(sim, SIM_CUT_LOSE);
	assert_int_equal(get("d/a", bytes, 4), 0);
	assert_int_equal(ops->unlink(self, "d/a"), 0);
	assert_int_equal(ops->sync_dir(self, "d"), 0);
	sim_cut(sim, SIM_CUT_LOSE);
	assert_int_equal(get("d/a", bytes, 4), -ENOENT);
}

static void a_rename_leaves_one_name_of_the_two(void **state)
{
	char bytes[4];
	uint32_t olds = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++) {
		bool is_old;
		keep_still(seed);
		ops->close(self, open_new("a"));
		assert_int_equal(ops->sync_dir(self, ""), 0);
		assert_int_equal(ops->rename(self, "a", "b"), 0);
		sim_cut(sim, SIM_CUT_CHANCE);
		is_old = get("a", bytes, 4) == 0;
		assert_int_equal(get("b", bytes, 4), is_old ? -ENOENT : 0);
		olds += is_old;
	}
	assert_in_range(olds, 20, 80);
}

static void chance_keeps_loses_and_tears(void **state)
{
	static uint8_t before[4096], after[4096], now[4096];
	uint32_t kept = 0, lost = 0, by_bytes = 0, by_sectors = 0;

	(void)state;
	memset(before, 'a', sizeof(before));
	memset(after, 'b', sizeof(after));
	for (uint64_t seed = 0; seed < 400; seed++) {
		size_t changes = 0, at_sector = 0;
		int fd;
		keep_still(seed);
		fd = open_new("a");
		assert_int_equal(put(fd, before, sizeof(before), 0), 0);
		assert_int_equal(ops->fsync(self, fd), 0);
		assert_int_equal(ops->sync_dir(self, ""), 0);
		assert_int_equal(put(fd, after, sizeof(after), 0), 0);
		sim_cut(sim, SIM_CUT_CHANCE);
		assert_int_equal(get("a", now, sizeof(now)), sizeof(now));
		for (size_t i = 1; i < sizeof(now); i++) {
			changes += now[i] != now[i - 1];
			at_sector += now[i] != now[i - 1] && i % 512 == 0;
		}
		kept += changes == 0 && now[0] == 'b';
		lost += changes == 0 && now[0] == 'a';
		by_sectors += changes > 1 && at_sector == changes;
		by_bytes += changes == 1 && at_sector == 0;
	}
	assert_true(kept > 40 && lost > 40 && by_bytes > 20 && by_sectors > 20);
}

static void a_file_that_grew_ends_anywhere(void **state)
{
	static uint8_t bytes[5000];
	uint32_t old = 0, whole = 0, between = 0;

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct sys_stat st;
		int fd;
		keep_still(seed);
		fd = open_new("a");
		assert_int_equal(put(fd, bytes, 100, 0), 0);
		assert_int_equal(ops->fsync(self, fd), 0);
		assert_int_equal(ops->sync_dir(self, ""), 0);
		assert_int_equal(put(fd, bytes, sizeof(bytes), 0), 0);
		sim_cut(sim, SIM_CUT_CHANCE);
		assert_int_equal(ops->stat(self, "a", &st), 0);
		assert_in_range(st.bytes, 100, sizeof(bytes));
		old += st.bytes == 100;
		whole += st.bytes == sizeof(bytes);
		between += st.bytes > 100 && st.bytes < sizeof(bytes);
	}
	assert_true(old > 20 && whole > 20 && between > 20);
}

static void a_failed_sync_is_not_made_good_by_the_next(void **state)
{
	uint32_t lost = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		char byte = 0;
		int fd;
		keep_still(seed);
		fd = open_new("a");
		assert_int_equal(put(fd, "a", 1, 0), 0);
		assert_int_equal(ops->fsync(self, fd), 0);
		assert_int_equal(ops->sync_dir(self, ""), 0);
		assert_int_equal(put(fd, "b", 1, 0), 0);
		sim_fail_at(sim, SIM_SYNC, 1, EIO);
		assert_int_equal(ops->fdatasync(self, fd), -EIO);
		assert_int_equal(ops->fdatasync(self, fd), 0);
		assert_int_equal(get("a", &byte, 1), 1);
		assert_int_equal(byte, 'b'); /* the cache has it all the same */
		sim_cut(sim, SIM_CUT_LOSE);
		assert_int_equal(get("a", &byte, 1), 1);
		lost += byte == 'a';
	}
	assert_in_range(lost, 5, 45);
}

static void calls_fail_when_told(void **state)
{
	char bytes[8] = {0};
	uint64_t free_bytes, total;
	int fd;

	(void)state;
	keep_still(5);
	fd = open_new("a");
	sim_fail_at(sim, SIM_WRITE, 2, ENOSPC);
	assert_int_equal(put(fd, "one", 3, 0), 0);
	assert_int_equal(put(fd, "two", 3, 3), -ENOSPC);
	assert_int_equal(put(fd, "two", 3, 3), 0);
	sim_fail_at(sim, SIM_READ, 1, EIO);
	assert_int_equal(ops->pread(self, fd, bytes, 8, 0), -EIO);
	assert_int_equal(ops->pread(self, fd, bytes, 8, 0), 6);
	assert_int_equal(sim_flip(sim, "a", 8), 0);
	assert_int_equal(ops->pread(self, fd, bytes, 8, 0), 6);
	assert_memory_equal(bytes, "ootwo", 2);
	assert_int_equal(sim_flip(sim, "a", 48), -EINVAL);
	sim_set_space(sim, 8192);
	assert_int_equal(put(fd, "x", 1, 4096), 0);
	assert_int_equal(put(fd, "x", 1, 8192), -ENOSPC);
	assert_int_equal(put(fd, "y", 1, 4096), 0); /* what is there already needs no room */
	assert_int_equal(ops->space(self, "", &free_bytes, &total), 0);
	assert_int_equal(free_bytes, 0);
	assert_int_equal(ops->set_direct(self, fd, true), 0);
	assert_int_equal(put(fd, "z", 1, 0), -EINVAL);
}

static void locks_end_with_their_handle(void **state)
{
	int one, two, holder;

	(void)state;
	keep_still(6);
	one = open_new("LOCK");
	two = open_new("LOCK");
	assert_int_equal(ops->lock(self, one, &holder), 0);
	assert_int_equal(ops->lock(self, two, &holder), -EWOULDBLOCK);
	ops->close(self, one);
	assert_int_equal(ops->lock(self, two, &holder), 0);
	sim_cut(sim, SIM_CUT_KEEP);
	assert_int_equal(ops->lock(self, open_new("LOCK"), &holder), 0);
}

static void the_wall_clock_jumps_and_the_other_does_not(void **state)
{
	int64_t wall, monotonic;

	(void)state;
	keep_still(7);
	wall = ops->wall_ns(self);
	monotonic = ops->monotonic_ns(self);
	sim_jump(sim, -5000000000);
	assert_int_equal(ops->wall_ns(self), wall - 5000000000);
	sim_pass(sim, 7);
	assert_int_equal(ops->wall_ns(self), wall - 5000000000 + 7);
	assert_int_equal(ops->monotonic_ns(self), monotonic + 7);
}

/* ---- one seed, one trace ---- */

static char *traces[2];
static size_t trace_bytes[2];

static void keep_line(void *ctx, const char *line)
{
	int which = *(int *)ctx;
	size_t n = strlen(line);

	traces[which] = realloc(traces[which], trace_bytes[which] + n + 1);
	memcpy(traces[which] + trace_bytes[which], line, n);
	traces[which][trace_bytes[which] + n] = '\n';
	trace_bytes[which] += n + 1;
}

/* Calls of every kind, chosen by a generator of their own, with faults and cuts. */
static void do_something(struct sim *s, uint64_t seed, uint32_t steps)
{
	const struct sys *sys = sim_sys(s);
	struct rand r;

	rand_seed(&r, seed);
	sim_set_faults(s, &(struct sim_faults){.calls = ~0u, .fail_one_in = 10, .slow_one_in = 50});
	for (uint32_t i = 0; i < steps; i++) {
		char path[2][16], bytes[6000];
		struct iovec iov = {bytes, (size_t)rand_below(&r, sizeof(bytes))};
		int fd;
		memset(bytes, (int)rand_below(&r, 256), sizeof(bytes));
		(void)snprintf(path[0], 16, "d%d/f%d", (int)rand_below(&r, 2), (int)rand_below(&r, 5));
		(void)snprintf(path[1], 16, "d%d/f%d", (int)rand_below(&r, 2), (int)rand_below(&r, 5));
		(void)sys->ops->mkdir(sys->self, rand_below(&r, 2) ? "d0" : "d1");
		fd = sys->ops->open(sys->self, path[0], SYS_CREATE);
		if (fd >= 0) {
			(void)sys->ops->pwritev(sys->self, fd, &iov, 1, rand_below(&r, 9000));
			if (rand_below(&r, 2))
				(void)sys->ops->fdatasync(sys->self, fd);
			(void)sys->ops->truncate(sys->self, fd, rand_below(&r, 9000));
			(void)sys->ops->pread(sys->self, fd, bytes, sizeof(bytes), 0);
			sys->ops->close(sys->self, fd);
		}
		if (rand_below(&r, 4) == 0)
			(void)sys->ops->rename(sys->self, path[0], path[1]);
		if (rand_below(&r, 4) == 0)
			(void)sys->ops->unlink(sys->self, path[1]);
		if (rand_below(&r, 3) == 0)
			(void)sys->ops->sync_dir(sys->self, "d0");
		if (rand_below(&r, 10) == 0)
			(void)sys->ops->sync_dir(sys->self, "");
		if (rand_below(&r, 20) == 0)
			sim_cut(s, (enum sim_cut)rand_below(&r, 3));
	}
}

static void the_same_seed_gives_the_same_trace(void **state)
{
	uint64_t hashes[2];

	(void)state;
	for (int which = 0; which < 2; which++) {
		struct sim *s;
		struct sim_options o = {.seed = 42, .trace = keep_line, .ctx = &which};
		assert_int_equal(sim_new(&o, &s), 0);
		if (which == 1) { /* also after another life */
			do_something(s, 99, 100);
			sim_reset(s, 42);
			trace_bytes[1] = 0;
		}
		do_something(s, 7, 500);
		hashes[which] = sim_hash(s);
		sim_free(s);
	}
	assert_true(trace_bytes[0] > 10000);
	assert_int_equal(trace_bytes[0], trace_bytes[1]);
	assert_memory_equal(traces[0], traces[1], trace_bytes[0]);
	assert_int_equal(hashes[0], hashes[1]);
	sim_reset(sim, 43);
	do_something(sim, 7, 500);
	assert_int_not_equal(hashes[0], sim_hash(sim));
	free(traces[0]);
	free(traces[1]);
}

static void all_pages_come_back(void **state)
{
	struct sim_stats stats;

	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		sim_reset(sim, seed);
		do_something(sim, seed, 200);
		sim_set_faults(sim, &(struct sim_faults){0});
		sim_cut(sim, SIM_CUT_KEEP);
		for (int i = 0; i < 10; i++) {
			char path[16];
			(void)snprintf(path, sizeof(path), "d%d/f%d", i / 5, i % 5);
			(void)ops->unlink(self, path);
		}
		(void)ops->sync_dir(self, "d0");
		(void)ops->sync_dir(self, "d1");
		sim_cut(sim, SIM_CUT_LOSE);
		sim_stats(sim, &stats);
		assert_int_equal(stats.bytes_used, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_a_file_system),
		cmocka_unit_test(what_was_not_synced_is_forgotten),
		cmocka_unit_test(names_change_when_their_directory_is_synced),
		cmocka_unit_test(a_rename_leaves_one_name_of_the_two),
		cmocka_unit_test(chance_keeps_loses_and_tears),
		cmocka_unit_test(a_file_that_grew_ends_anywhere),
		cmocka_unit_test(a_failed_sync_is_not_made_good_by_the_next),
		cmocka_unit_test(calls_fail_when_told),
		cmocka_unit_test(locks_end_with_their_handle),
		cmocka_unit_test(the_wall_clock_jumps_and_the_other_does_not),
		cmocka_unit_test(the_same_seed_gives_the_same_trace),
		cmocka_unit_test(all_pages_come_back),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
