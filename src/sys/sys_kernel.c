/* SPDX-License-Identifier: Apache-2.0 */
#include "sys/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/*
 * The kernel's files and clocks. Each function is the system call of its name
 * with EINTR and short transfers made whole, and -errno for a result.
 *
 * The lock is flock(2) with the holder's pid as text in the file. A classic
 * POSIX lock would name its holder by F_GETLK, but it belongs to the process:
 * a second open in the same process gets it too, and closing that one drops it.
 * An open-file-description lock refuses the second open but names nobody. flock
 * belongs to the open file as well, and ends with it however the process ends;
 * the text is only for the message and is never believed to be a lock.
 */

static int kernel_open(void *self, const char *path, int flags)
{
	int how = O_CLOEXEC | ((flags & SYS_READ) ? O_RDONLY : O_RDWR);
	int fd;

	(void)self;
	if (flags & SYS_CREATE)
		how |= O_CREAT;
	if (flags & SYS_EXCLUSIVE)
		how |= O_EXCL;
	if (flags & SYS_TRUNCATE)
		how |= O_TRUNC;
	do
		fd = open(path, how, 0640);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

static void kernel_close(void *self, int fd)
{
	(void)self;
	(void)close(fd); /* after EINTR the descriptor is gone on Linux: never twice */
}

static int64_t kernel_pread(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	size_t done = 0;

	(void)self;
	while (done < n) {
		ssize_t got = pread(fd, (char *)bytes + done, n - done, (off_t)(at + done));

		if (got == 0)
			break;
		if (got > 0)
			done += (size_t)got;
		else if (errno != EINTR)
			return -errno;
	}
	return (int64_t)done;
}

static int64_t kernel_pread_nowait(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	size_t done = 0;

	(void)self;
	while (done < n) {
		struct iovec iov = {(char *)bytes + done, n - done};
		ssize_t got = preadv2(fd, &iov, 1, (off_t)(at + done), RWF_NOWAIT);

		if (got == 0)
			break;
		if (got > 0)
			done += (size_t)got;
		else if (errno == EOPNOTSUPP || errno == ENOSYS)
			return -EAGAIN; /* a file system that cannot tell: it may wait */
		else if (errno != EINTR)
			return -errno;
	}
	return (int64_t)done;
}

/* One call; after a short one the torn piece is written alone, so that the vector needs no copy. */
static ssize_t write_some(int fd, const struct iovec *iov, int count, size_t skip, uint64_t at)
{
	if (skip)
		return pwrite(fd, (const char *)iov->iov_base + skip, iov->iov_len - skip, (off_t)at);
	return pwritev(fd, iov, count < IOV_MAX ? count : IOV_MAX, (off_t)at);
}

static int kernel_pwritev(void *self, int fd, const struct iovec *iov, int count, uint64_t at)
{
	size_t skip = 0; /* bytes of *iov that are written */

	(void)self;
	while (count > 0) {
		ssize_t put;

		if (skip == iov->iov_len) {
			iov++;
			count--;
			skip = 0;
			continue;
		}
		put = write_some(fd, iov, count, skip, at);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? -errno : -EIO;
		at += (uint64_t)put;
		skip += (size_t)put;
		while (count > 0 && skip >= iov->iov_len) {
			skip -= iov->iov_len;
			iov++;
			count--;
		}
	}
	return 0;
}

static int kernel_fdatasync(void *self, int fd)
{
	int rc;

	(void)self;
	do
		rc = fdatasync(fd);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static int kernel_fsync(void *self, int fd)
{
	int rc;

	(void)self;
	do
		rc = fsync(fd);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static int kernel_sync_dir(void *self, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = kernel_fsync(self, fd);
	kernel_close(self, fd);
	return rc;
}

static int kernel_sync_fs(void *self, int fd)
{
	(void)self;
	return syncfs(fd) < 0 ? -errno : 0;
}

static int kernel_truncate(void *self, int fd, uint64_t bytes)
{
	int rc;

	(void)self;
	do
		rc = ftruncate(fd, (off_t)bytes);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

/* fallocate and not posix_fallocate, which would write zeros byte by byte where the file system cannot. */
static int kernel_allocate(void *self, int fd, uint64_t at, uint64_t bytes)
{
	int rc;

	(void)self;
	do
		rc = fallocate(fd, 0, (off_t)at, (off_t)bytes);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return errno == ENOSYS ? -EOPNOTSUPP : -errno;
	return 0;
}

static int kernel_set_direct(void *self, int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	(void)self;
	if (flags < 0)
		return -errno;
	flags = on ? flags | O_DIRECT : flags & ~O_DIRECT;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

static int kernel_write_back(void *self, int fd, uint64_t at, uint64_t bytes)
{
	(void)self;
	if (sync_file_range(fd, (off_t)at, (off_t)bytes, SYNC_FILE_RANGE_WRITE) < 0)
		return -errno;
	return 0;
}

static int kernel_stat(void *self, const char *path, struct sys_stat *out)
{
	struct stat st;

	(void)self;
	if (stat(path, &st) < 0)
		return -errno;
	out->bytes = (uint64_t)st.st_size;
	out->is_dir = S_ISDIR(st.st_mode);
	return 0;
}

static int kernel_rename(void *self, const char *from, const char *to)
{
	(void)self;
	return rename(from, to) < 0 ? -errno : 0;
}

static int kernel_link(void *self, const char *from, const char *to)
{
	(void)self;
	return link(from, to) < 0 ? -errno : 0;
}

static int kernel_unlink(void *self, const char *path)
{
	(void)self;
	return unlink(path) < 0 ? -errno : 0;
}

static int kernel_mkdir(void *self, const char *path)
{
	struct sys_stat st;

	if (mkdir(path, 0750) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	return kernel_stat(self, path, &st) == 0 && st.is_dir ? 0 : -EEXIST;
}

static int kernel_rmdir(void *self, const char *path)
{
	(void)self;
	return rmdir(path) < 0 ? -errno : 0;
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static int kernel_list(void *self, const char *path, sys_list_fn *fn, void *ctx)
{
	DIR *dir = opendir(path);
	int rc = 0;

	(void)self;
	if (!dir)
		return -errno;
	while (rc == 0) {
		struct dirent *entry;

		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			rc = -errno;
			break;
		}
		if (!is_dots(entry->d_name))
			rc = fn(ctx, entry->d_name);
	}
	(void)closedir(dir);
	return rc;
}

/* The pid that a holder has left in the file, 0 where there is none. */
static int read_holder(int fd)
{
	char text[16];
	ssize_t got = pread(fd, text, sizeof(text), 0);
	struct slice digits = slice_make(text, got > 0 ? (size_t)got : 0);
	uint64_t pid;

	if (digits.len && digits.ptr[digits.len - 1] == '\n')
		digits.len--;
	return slice_to_u64(digits, &pid) && pid <= INT_MAX ? (int)pid : 0;
}

static int kernel_lock(void *self, int fd, int *holder)
{
	char text[16];
	struct iovec iov = {text, 0};
	int rc;

	*holder = 0;
	do
		rc = flock(fd, LOCK_EX | LOCK_NB);
	while (rc < 0 && errno == EINTR);
	if (rc < 0) {
		rc = -errno;
		if (rc == -EWOULDBLOCK)
			*holder = read_holder(fd);
		return rc;
	}
	iov.iov_len = (size_t)snprintf(text, sizeof(text), "%d\n", (int)getpid());
	rc = kernel_truncate(self, fd, 0);
	return rc < 0 ? rc : kernel_pwritev(self, fd, &iov, 1, 0);
}

static int kernel_space(void *self, const char *path, uint64_t *free_bytes, uint64_t *total_bytes)
{
	struct statvfs st;
	int rc;

	(void)self;
	do
		rc = statvfs(path, &st);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return -errno;
	*free_bytes = (uint64_t)st.f_bavail * st.f_frsize; /* what a process that is not root may use */
	*total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
	return 0;
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t kernel_wall_ns(void *self)
{
	(void)self;
	return clock_ns(CLOCK_REALTIME);
}

static int64_t kernel_monotonic_ns(void *self)
{
	(void)self;
	return clock_ns(CLOCK_MONOTONIC);
}

static int64_t kernel_elapsed_ns(void *self)
{
	(void)self;
	return clock_ns(CLOCK_BOOTTIME);
}

static int kernel_random(void *self, void *bytes, size_t n)
{
	size_t done = 0;

	(void)self;
	while (done < n) {
		ssize_t got = getrandom((char *)bytes + done, n - done, 0);

		if (got > 0)
			done += (size_t)got;
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static const struct sys_ops kernel_ops = {
	.open = kernel_open,
	.close = kernel_close,
	.pread = kernel_pread,
	.pread_nowait = kernel_pread_nowait,
	.pwritev = kernel_pwritev,
	.fdatasync = kernel_fdatasync,
	.fsync = kernel_fsync,
	.sync_dir = kernel_sync_dir,
	.sync_fs = kernel_sync_fs,
	.truncate = kernel_truncate,
	.allocate = kernel_allocate,
	.write_back = kernel_write_back,
	.set_direct = kernel_set_direct,
	.stat = kernel_stat,
	.rename = kernel_rename,
	.link = kernel_link,
	.unlink = kernel_unlink,
	.mkdir = kernel_mkdir,
	.rmdir = kernel_rmdir,
	.list = kernel_list,
	.lock = kernel_lock,
	.space = kernel_space,
	.wall_ns = kernel_wall_ns,
	.monotonic_ns = kernel_monotonic_ns,
	.elapsed_ns = kernel_elapsed_ns,
	.random = kernel_random,
};

const struct sys *sys_kernel(void)
{
	static const struct sys kernel = {.ops = &kernel_ops};

	return &kernel;
}

const char *sys_error_text(int negative_errno)
{
	const char *text = strerrordesc_np(-negative_errno);

	return text ? text : "unknown error";
}
