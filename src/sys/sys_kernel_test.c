/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "sys/sys.h"

static const struct sys_ops *ops;
static char dir[64];

static const char *path_of(const char *name)
{
	static char path[2][256];
	static int turn;

	turn = !turn;
	(void)snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
	return path[turn];
}

static int open_file(const char *name, int flags)
{
	int fd = ops->open(NULL, path_of(name), flags);

	assert_true(fd >= 0);
	return fd;
}

static void open_flags_mean_what_they_say(void **state)
{
	struct sys_stat st;
	char byte = 'x';
	struct iovec iov = {&byte, 1};
	int fd;

	(void)state;
	assert_int_equal(ops->open(NULL, path_of("flags"), SYS_READ), -ENOENT);
	fd = open_file("flags", SYS_CREATE | SYS_EXCLUSIVE);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(ops->pwritev(NULL, fd, &iov, 1, 9), 0);
	ops->close(NULL, fd);
	assert_int_equal(ops->open(NULL, path_of("flags"), SYS_CREATE | SYS_EXCLUSIVE), -EEXIST);
	fd = open_file("flags", SYS_READ);
	assert_int_equal(ops->pwritev(NULL, fd, &iov, 1, 0), -EBADF);
	ops->close(NULL, fd);
	assert_int_equal(ops->stat(NULL, path_of("flags"), &st), 0);
	assert_int_equal(st.bytes, 10);
	assert_false(st.is_dir);
	ops->close(NULL, open_file("flags", SYS_TRUNCATE));
	assert_int_equal(ops->stat(NULL, path_of("flags"), &st), 0);
	assert_int_equal(st.bytes, 0);
}

static void vectors_past_the_kernels_limit_are_written_whole(void **state)
{
	enum { PIECES = 2500 };
	static uint8_t bytes[PIECES * 3], back[PIECES * 3 + 100];
	static struct iovec iov[PIECES];
	int fd = open_file("vector", SYS_CREATE);

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	for (size_t i = 0, at = 0; i < PIECES; i++) {
		size_t n = i % 4; /* some are empty */

		if (i == PIECES - 1)
			n = sizeof(bytes) - at;
		iov[i] = (struct iovec){bytes + at, n};
		at += n;
	}
	assert_int_equal(ops->pwritev(NULL, fd, iov, PIECES, 50), 0);
	assert_int_equal(ops->pread(NULL, fd, back, sizeof(back), 50), sizeof(bytes));
	assert_memory_equal(back, bytes, sizeof(bytes));
	assert_int_equal(ops->pread(NULL, fd, back, sizeof(back), 1 << 20), 0);
	ops->close(NULL, fd);
}

static void nowait_gives_the_bytes_or_says_again(void **state)
{
	char text[] = "cached", back[32];
	struct iovec iov = {text, 6};
	int fd = open_file("nowait", SYS_CREATE);
	int64_t got;

	(void)state;
	assert_int_equal(ops->pwritev(NULL, fd, &iov, 1, 0), 0);
	got = ops->pread_nowait(NULL, fd, back, sizeof(back), 0);
	assert_true(got == 6 || got == -EAGAIN);
	if (got == 6)
		assert_memory_equal(back, "cached", 6);
	ops->close(NULL, fd);
}

static void allocation_grows_the_file(void **state)
{
	struct sys_stat st;
	int fd = open_file("room", SYS_CREATE);
	int rc = ops->allocate(NULL, fd, 0, 1 << 20);

	(void)state;
	if (rc != -EOPNOTSUPP) {
		assert_int_equal(rc, 0);
		assert_int_equal(ops->stat(NULL, path_of("room"), &st), 0);
		assert_int_equal(st.bytes, 1 << 20);
	}
	assert_int_equal(ops->truncate(NULL, fd, 100), 0);
	assert_int_equal(ops->stat(NULL, path_of("room"), &st), 0);
	assert_int_equal(st.bytes, 100);
	assert_int_equal(ops->write_back(NULL, fd, 0, 100), 0);
	assert_int_equal(ops->fdatasync(NULL, fd), 0);
	assert_int_equal(ops->fsync(NULL, fd), 0);
	assert_int_equal(ops->sync_fs(NULL, fd), 0);
	ops->close(NULL, fd);
}

static void a_second_open_of_the_same_process_does_not_get_the_lock(void **state)
{
	int first = open_file("LOCK", SYS_CREATE), second = open_file("LOCK", SYS_CREATE);
	int holder = -1;

	(void)state;
	assert_int_equal(ops->lock(NULL, first, &holder), 0);
	assert_int_equal(ops->lock(NULL, second, &holder), -EWOULDBLOCK);
	assert_int_equal(holder, getpid());
	ops->close(NULL, first);
	assert_int_equal(ops->lock(NULL, second, &holder), 0);
	ops->close(NULL, second);
}

static void another_process_is_told_the_holders_pid(void **state)
{
	int fd = open_file("LOCK", SYS_CREATE), holder = -1, status = -1;
	pid_t parent = getpid(), child;

	(void)state;
	assert_int_equal(ops->lock(NULL, fd, &holder), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		int again = ops->open(NULL, path_of("LOCK"), 0);
		bool refused = ops->lock(NULL, again, &holder) == -EWOULDBLOCK;

		_exit(refused && holder == parent ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	ops->close(NULL, fd);
}

static int count_entry(void *ctx, const char *name)
{
	assert_string_not_equal(name, "..");
	return ++*(int *)ctx == 2 ? 77 : 0;
}

static void directories_are_made_listed_and_removed(void **state)
{
	struct sys_stat st;
	int seen = 0;

	(void)state;
	assert_int_equal(ops->mkdir(NULL, path_of("d")), 0);
	assert_int_equal(ops->mkdir(NULL, path_of("d")), 0);
	assert_int_equal(ops->stat(NULL, path_of("d"), &st), 0);
	assert_true(st.is_dir);
	ops->close(NULL, open_file("d/a", SYS_CREATE));
	assert_int_equal(ops->mkdir(NULL, path_of("d/a")), -EEXIST);
	assert_int_equal(ops->list(NULL, path_of("d"), count_entry, &seen), 0);
	assert_int_equal(seen, 1);
	ops->close(NULL, open_file("d/b", SYS_CREATE));
	ops->close(NULL, open_file("d/c", SYS_CREATE));
	seen = 0;
	assert_int_equal(ops->list(NULL, path_of("d"), count_entry, &seen), 77);
	assert_int_equal(ops->rename(NULL, path_of("d/c"), path_of("d/b")), 0);
	assert_int_equal(ops->sync_dir(NULL, path_of("d")), 0);
	assert_int_equal(ops->sync_dir(NULL, path_of("none")), -ENOENT);
	assert_int_equal(ops->rmdir(NULL, path_of("d")), -ENOTEMPTY);
	assert_int_equal(ops->unlink(NULL, path_of("d/a")), 0);
	assert_int_equal(ops->unlink(NULL, path_of("d/b")), 0);
	assert_int_equal(ops->rmdir(NULL, path_of("d")), 0);
}

static void clocks_random_and_space_give_something(void **state)
{
	uint8_t a[64] = {0}, b[64] = {0};
	uint64_t free_bytes = 0, total_bytes = 0;
	int64_t before = ops->monotonic_ns(NULL);

	(void)state;
	assert_true(ops->monotonic_ns(NULL) >= before);
	assert_true(sys_wall_ms(sys_kernel()) > 1600000000000);
	assert_int_equal(ops->random(NULL, a, sizeof(a)), 0);
	assert_int_equal(ops->random(NULL, b, sizeof(b)), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(ops->space(NULL, dir, &free_bytes, &total_bytes), 0);
	assert_true(total_bytes > 0 && free_bytes <= total_bytes);
	assert_string_equal(sys_error_text(-ENOENT), "No such file or directory");
	assert_string_equal(sys_error_text(-99999), "unknown error");
}

static int make_dir(void **state)
{
	(void)state;
	ops = sys_kernel()->ops;
	(void)snprintf(dir, sizeof(dir), "sys-test-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const names[] = {"flags", "vector", "nowait", "room", "LOCK"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlink(path_of(names[i]));
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(open_flags_mean_what_they_say),
		cmocka_unit_test(vectors_past_the_kernels_limit_are_written_whole),
		cmocka_unit_test(nowait_gives_the_bytes_or_says_again),
		cmocka_unit_test(allocation_grows_the_file),
		cmocka_unit_test(a_second_open_of_the_same_process_does_not_get_the_lock),
		cmocka_unit_test(another_process_is_told_the_holders_pid),
		cmocka_unit_test(directories_are_made_listed_and_removed),
		cmocka_unit_test(clocks_random_and_space_give_something),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
