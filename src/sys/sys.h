/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SYS_SYS_H
#define WEIR_SYS_SYS_H

#include <sys/uio.h>

#include "base/slice.h"

/*
 * Files and clocks as one table of functions, so that the whole core runs over
 * the kernel or over a simulated disk and clock. Nothing above this folder
 * calls the kernel for a file or the time directly.
 *
 * Every function gives 0 or more on success and -errno on failure. Paths are
 * NUL terminated and relative to the directory of the process. EINTR and short
 * transfers are handled inside: read and write either do all of it, or fail
 * (reads stop at the end of the file and give what there was).
 */
struct sys_ops;

struct sys {
	const struct sys_ops *ops;
	void *self; /* the implementation's */
};

enum sys_open_flags {
	SYS_READ = 1,      /* read only; otherwise read and write */
	SYS_CREATE = 2,    /* create where missing */
	SYS_EXCLUSIVE = 4, /* with SYS_CREATE: fail with -EEXIST */
	SYS_TRUNCATE = 8,
};

struct sys_stat {
	uint64_t bytes;
	bool is_dir;
};

/* Called for each entry of a directory but . and ..; a non-zero result stops. */
typedef int sys_list_fn(void *ctx, const char *name);

struct sys_ops {
	int (*open)(void *self, const char *path, int flags); /* gives a handle */
	void (*close)(void *self, int fd);
	int64_t (*pread)(void *self, int fd, void *bytes, size_t n, uint64_t at);
	/* Only what needs no wait for the disk: -EAGAIN where it would (RWF_NOWAIT). */
	int64_t (*pread_nowait)(void *self, int fd, void *bytes, size_t n, uint64_t at);
	int (*pwritev)(void *self, int fd, const struct iovec *iov, int count, uint64_t at);
	int (*fdatasync)(void *self, int fd);
	int (*fsync)(void *self, int fd);
	int (*sync_dir)(void *self, const char *path);
	int (*sync_fs)(void *self, int fd);
	int (*truncate)(void *self, int fd, uint64_t bytes);
	int (*allocate)(void *self, int fd, uint64_t at, uint64_t bytes); /* fallocate, size grows */
	/* Starts write-back of a range without waiting (sync_file_range WRITE). */
	int (*write_back)(void *self, int fd, uint64_t at, uint64_t bytes);
	/*
	 * From now on writes go past the page cache, or (off) through it. Memory,
	 * length and position of a direct write are multiples of 4096, or it may
	 * give -EINVAL. May be NULL; -EINVAL or -EOPNOTSUPP where that cannot be.
	 */
	int (*set_direct)(void *self, int fd, bool on);
	int (*stat)(void *self, const char *path, struct sys_stat *out);
	int (*rename)(void *self, const char *from, const char *to);
	/*
	 * A second name for a file, which must not be there yet. May be NULL; -EXDEV,
	 * -EPERM, -EMLINK or -EOPNOTSUPP where that cannot be: then it is to be copied.
	 */
	int (*link)(void *self, const char *from, const char *to);
	int (*unlink)(void *self, const char *path);
	int (*mkdir)(void *self, const char *path); /* 0 also where it is there */
	int (*rmdir)(void *self, const char *path);
	int (*list)(void *self, const char *path, sys_list_fn *fn, void *ctx);
	/* Locks a file for this process; -EWOULDBLOCK and *holder (pid or 0) where another holds it. */
	int (*lock)(void *self, int fd, int *holder);
	int (*space)(void *self, const char *path, uint64_t *free_bytes, uint64_t *total_bytes);
	int64_t (*wall_ns)(void *self);      /* since 1970 */
	int64_t (*monotonic_ns)(void *self); /* never goes back */
	/* The same, but goes on while the machine sleeps. NULL: as monotonic_ns. */
	int64_t (*elapsed_ns)(void *self);
	int (*random)(void *self, void *bytes, size_t n); /* secrets and UUIDs */
};

/* The kernel's. One for the process, borrowed for ever. */
const struct sys *sys_kernel(void);

static inline int64_t sys_wall_ms(const struct sys *sys)
{
	return sys->ops->wall_ns(sys->self) / 1000000;
}

static inline int64_t sys_monotonic_ns(const struct sys *sys)
{
	return sys->ops->monotonic_ns(sys->self);
}

/* The text of a -errno, for messages. */
const char *sys_error_text(int negative_errno);

#endif
