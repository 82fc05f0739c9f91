/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "sys/sys.h"

static const struct sys_ops *ops;
static char dir[64];

/*
 * libc's, as this program has them: they count, and writes can be cut short or
 * interrupted. Nothing else could tell a sync that is not called from one that is.
 */
static struct {
	int fdatasyncs, fsyncs, syncfses;
	int interrupt_one_in; /* 0: never */
	size_t write_max;     /* 0: no bound */
	int calls;
} libc;

static bool is_interrupted(void)
{
	if (libc.interrupt_one_in == 0 || ++libc.calls % libc.interrupt_one_in)
		return false;
	errno = EINTR;
	return true;
}

int fdatasync(int fd)
{
	libc.fdatasyncs++;
	return is_interrupted() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	libc.fsyncs++;
	return is_interrupted() ? -1 : (int)syscall(SYS_fsync, fd);
}

int syncfs(int fd)
{
	libc.syncfses++;
	return (int)syscall(SYS_syncfs, fd);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
	if (is_interrupted())
		return -1;
	if (libc.write_max && n > libc.write_max)
		n = libc.write_max;
	return syscall(SYS_pwrite64, fd, bytes, n, at);
}

/* A vector that is over the bound is cut within it: as much of the first pieces as fits. */
ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	size_t sum = 0;
	int whole = 0;

	if (is_interrupted())
		return -1;
	while (libc.write_max && whole < count && sum + iov[whole].iov_len <= libc.write_max)
		sum += iov[whole++].iov_len;
	if (libc.write_max && whole == 0)
		return pwrite(fd, iov->iov_base, iov->iov_len, at);
	return syscall(SYS_pwritev, fd, iov, libc.write_max ? whole : count, at, 0);
}

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

static void fill_pieces(char *bytes, size_t piece, struct iovec *iov, int count)
{
	for (size_t i = 0; i < piece * (size_t)count; i++)
		bytes[i] = (char)('a' + i % 23);
	for (int i = 0; i < count; i++)
		iov[i] = (struct iovec){bytes + (size_t)i * piece, piece};
}

static void short_and_interrupted_writes_are_gone_on_with(void **state)
{
	char bytes[700], back[700];
	struct iovec iov[7];

	(void)state;
	fill_pieces(bytes, 100, iov, 7);
	for (size_t max = 1; max <= 250; max += 7) {
		int fd = open_file("short", SYS_CREATE | SYS_TRUNCATE);
		libc.write_max = max;
		libc.interrupt_one_in = 3;
		assert_int_equal(ops->pwritev(NULL, fd, iov, 7, 11), 0);
		libc.write_max = 0;
		libc.interrupt_one_in = 0;
		assert_int_equal(ops->pread(NULL, fd, back, sizeof(back), 11), sizeof(back));
		assert_memory_equal(back, bytes, sizeof(back));
		ops->close(NULL, fd);
	}
}

static void each_sync_is_the_kernels_and_outlasts_a_signal(void **state)
{
	int fd = open_file("short", SYS_CREATE);

	(void)state;
	memset(&libc, 0, sizeof(libc));
	assert_int_equal(ops->fdatasync(NULL, fd), 0);
	assert_int_equal(libc.fdatasyncs, 1);
	assert_int_equal(ops->fsync(NULL, fd), 0);
	assert_int_equal(libc.fsyncs, 1);
	assert_int_equal(ops->sync_dir(NULL, dir), 0);
	assert_int_equal(libc.fsyncs, 2);
	assert_int_equal(ops->sync_fs(NULL, fd), 0);
	assert_int_equal(libc.syncfses, 1);
	libc.interrupt_one_in = 2;
	assert_int_equal(ops->fdatasync(NULL, fd), 0);
	assert_int_equal(ops->fdatasync(NULL, fd), 0);
	assert_int_equal(libc.fdatasyncs, 4);
	libc.interrupt_one_in = 0;
	ops->close(NULL, fd);
	assert_int_equal(ops->fdatasync(NULL, fd), -EBADF);
	assert_int_equal(ops->fsync(NULL, fd), -EBADF);
	assert_int_equal(ops->sync_dir(NULL, path_of("none")), -ENOENT);
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
	static const char *const names[] = {"flags", "vector", "nowait", "room", "LOCK", "short"};

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
		cmocka_unit_test(short_and_interrupted_writes_are_gone_on_with),
		cmocka_unit_test(each_sync_is_the_kernels_and_outlasts_a_signal),
		cmocka_unit_test(nowait_gives_the_bytes_or_says_again),
		cmocka_unit_test(allocation_grows_the_file),
		cmocka_unit_test(a_second_open_of_the_same_process_does_not_get_the_lock),
		cmocka_unit_test(another_process_is_told_the_holders_pid),
		cmocka_unit_test(directories_are_made_listed_and_removed),
		cmocka_unit_test(clocks_random_and_space_give_something),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
