/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loaded before libc (LD_PRELOAD), it stands between weir and the calls that may
 * fail, and does what a page of memory shared with the test says: count, fail,
 * write less, wait, hold until it is let go, kill before or after, or kill in the
 * middle of a write. The test changes the page while weir runs.
 *
 * strace can inject most of that too, but counts each thread alone, cannot tear
 * a write, and a short result that it makes up is a lie: the bytes it claims were
 * never written. Here a short write really writes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The same order as OPS in faults.py. */
enum op {
	OP_PWRITE,
	OP_FDATASYNC,
	OP_FSYNC,
	OP_RENAME,
	OP_TRUNCATE,
	OP_UNLINK,
	OP_ALLOCATE,
	OP_OPEN,
	OP_PREAD,
	OP_MKDIR,
	OP_RMDIR,
	OP_SYNCFS,
	OP_RECV,
	OP_SEND,
	OP_MEMORY,
	OP_THREAD,
	OP_EVENTFD,
	OP_EPOLL,
	OP_WATCH,
	OP_SOCKET,
	OP_LISTEN,
	OP_ACCEPT,
	OP_MAP,
	OP_INOTIFY,
};

static const char *const op_names[] = {"pwrite",   "fdatasync", "fsync",  "rename", "truncate", "unlink",
				       "allocate", "open",      "pread",  "mkdir",  "rmdir",    "syncfs",
				       "recv",     "send",      "memory", "thread", "eventfd",  "epoll",
				       "watch",    "socket",    "listen", "accept", "map",      "inotify"};

enum action {
	ACT_COUNT,
	ACT_KILL_BEFORE,
	ACT_KILL_AFTER,
	ACT_FAIL,
	ACT_TEAR,
	ACT_SHORT,
	ACT_DELAY,
	ACT_HOLD
};

struct rule {
	_Atomic uint32_t armed;
	uint32_t ops; /* a bit an op */
	uint32_t action;
	int32_t error;
	uint64_t when;   /* the first that is hit, from 1 */
	uint64_t times;  /* so many from then on, 0: all */
	uint64_t every;  /* of those each n-th */
	uint64_t amount; /* bytes written, or milliseconds of delay */
	char thread[16]; /* only calls of threads whose name begins so */
	char path[96];   /* only files whose path has this in it */
	_Atomic uint64_t count, hits;
};

struct page {
	_Atomic int64_t wall_shift_ns;
	_Atomic uint32_t tracing, unused;
	struct rule rules[4];
};

static struct page *page;
static int trace_fd = -1;
static uintptr_t own_from, own_to; /* the program's own code */

#define REAL(name, ...)                \
	static __typeof__(name) *real; \
	if (!real)                     \
	real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int note_program(struct dl_phdr_info *info, size_t size, void *ctx)
{
	(void)size;
	(void)ctx;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
			continue;
		own_from = info->dlpi_addr + p->p_vaddr;
		own_to = own_from + p->p_memsz;
	}
	return 1; /* the first is the program */
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("FAULT_PAGE"), *trace = getenv("FAULT_TRACE");
	int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
	void *at;

	(void)dl_iterate_phdr(note_program, NULL);
	if (trace)
		trace_fd = (int)syscall(SYS_openat, AT_FDCWD, trace,
					O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	at = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)syscall(SYS_close, fd);
	if (at != MAP_FAILED)
		page = at;
}

static void path_of(int fd, char *out, size_t size)
{
	char link[40];
	long n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = syscall(SYS_readlinkat, AT_FDCWD, link, out, size - 1);
	out[n > 0 ? n : 0] = '\0';
}

static void trace(enum op op, const char *thread, const char *path)
{
	char line[700];
	int n;

	if (trace_fd < 0 || !atomic_load(&page->tracing))
		return;
	n = snprintf(line, sizeof(line), "%s %s %s\n", op_names[op], thread, path);
	(void)syscall(SYS_write, trace_fd, line, (size_t)n);
}

/* The rule that this call falls under, or NULL. Either a descriptor or a path. */
static struct rule *decide(enum op op, int fd, const char *path)
{
	char name[512] = "", thread[16] = "";
	struct rule *hit = NULL;
	bool wanted = false;

	if (!page)
		return NULL;
	for (int i = 0; i < 4; i++)
		wanted |= atomic_load(&page->rules[i].armed) && (page->rules[i].ops >> op & 1);
	if (!wanted)
		return NULL;
	if (path)
		(void)snprintf(name, sizeof(name), "%s", path);
	else if (fd >= 0)
		path_of(fd, name, sizeof(name));
	(void)prctl(PR_GET_NAME, thread);
	for (int i = 0; i < 4; i++) {
		struct rule *r = &page->rules[i];
		uint64_t n;
		if (!atomic_load(&r->armed) || !(r->ops >> op & 1) ||
		    strncmp(thread, r->thread, strlen(r->thread)) != 0 || !strstr(name, r->path))
			continue;
		n = atomic_fetch_add(&r->count, 1) + 1;
		trace(op, thread, name);
		if (n < r->when || (r->times && n >= r->when + r->times) ||
		    (r->every > 1 && (n - r->when) % r->every))
			continue;
		if (r->action != ACT_COUNT && !hit) {
			hit = r;
			atomic_fetch_add(&r->hits, 1);
		}
	}
	return hit;
}

static void die(void)
{
	(void)syscall(SYS_kill, getpid(), SIGKILL);
	for (;;)
		(void)syscall(SYS_pause);
}

/* Until the test takes the rule back. One that is made in its place counts anew. */
static void hold(const struct rule *r)
{
	const struct timespec step = {.tv_nsec = 1000000};
	uint64_t hits = atomic_load(&r->hits);

	while (atomic_load(&r->armed) && atomic_load(&r->hits) >= hits)
		(void)syscall(SYS_nanosleep, &step, NULL);
}

/* Before the call: 1 where the call is not made and errno is set. */
static int before(const struct rule *r)
{
	struct timespec t;

	if (!r)
		return 0;
	if (r->action == ACT_KILL_BEFORE)
		die();
	if (r->action == ACT_HOLD)
		hold(r);
	if (r->action == ACT_DELAY || (r->action == ACT_FAIL && r->amount)) {
		t = (struct timespec){.tv_sec = (time_t)(r->amount / 1000),
				      .tv_nsec = (long)(r->amount % 1000) * 1000000};
		(void)syscall(SYS_nanosleep, &t, NULL);
	}
	if (r->action != ACT_FAIL)
		return 0;
	errno = r->error;
	return 1;
}

static void after(const struct rule *r)
{
	if (r && (r->action == ACT_KILL_AFTER || r->action == ACT_TEAR))
		die();
}

static size_t at_most(const struct rule *r, size_t n)
{
	bool less = r && (r->action == ACT_TEAR || r->action == ACT_SHORT) && r->amount < n;

	return less ? (size_t)r->amount : n;
}

/* ---- files ---- */

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
	struct rule *r = decide(OP_PWRITE, fd, NULL);
	ssize_t put;

	if (before(r))
		return -1;
	put = syscall(SYS_pwrite64, fd, bytes, at_most(r, n), at);
	after(r);
	return put;
}

/* Less than all of a vector is written piece by piece, so that even a direct write can be torn. */
static ssize_t write_part(int fd, const struct iovec *iov, int count, size_t n, off64_t at)
{
	size_t done = 0;

	for (int i = 0; i < count && done < n; i++) {
		size_t piece = iov[i].iov_len < n - done ? iov[i].iov_len : n - done;
		int flags = fcntl(fd, F_GETFL);
		long put;
		(void)syscall(SYS_fcntl, fd, F_SETFL, flags & ~O_DIRECT);
		put = syscall(SYS_pwrite64, fd, iov[i].iov_base, piece, at + (off64_t)done);
		(void)syscall(SYS_fcntl, fd, F_SETFL, flags);
		if (put < 0)
			return done ? (ssize_t)done : -1;
		done += (size_t)put;
	}
	return (ssize_t)done;
}

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t at)
{
	struct rule *r = decide(OP_PWRITE, fd, NULL);
	size_t sum = 0;
	ssize_t put;

	if (before(r))
		return -1;
	for (int i = 0; i < count; i++)
		sum += iov[i].iov_len;
	if (at_most(r, sum) < sum)
		put = write_part(fd, iov, count, at_most(r, sum), at);
	else
		put = syscall(SYS_pwritev, fd, iov, count, at, 0);
	after(r);
	return put;
}

ssize_t pread64(int fd, void *bytes, size_t n, off64_t at)
{
	struct rule *r = decide(OP_PREAD, fd, NULL);

	return before(r) ? -1 : syscall(SYS_pread64, fd, bytes, at_most(r, n), at);
}

ssize_t preadv64v2(int fd, const struct iovec *iov, int count, off64_t at, int flags)
{
	struct rule *r = decide(OP_PREAD, fd, NULL);

	return before(r) ? -1 : syscall(SYS_preadv2, fd, iov, count, at, 0, flags);
}

#define ONE_FD(name, op)                               \
	int name(int fd)                               \
	{                                              \
		struct rule *r = decide(op, fd, NULL); \
		int rc;                                \
		if (before(r))                         \
			return -1;                     \
		rc = (int)syscall(SYS_##name, fd);     \
		after(r);                              \
		return rc;                             \
	}

ONE_FD(fdatasync, OP_FDATASYNC)
ONE_FD(fsync, OP_FSYNC)
ONE_FD(syncfs, OP_SYNCFS)

int ftruncate64(int fd, off64_t bytes)
{
	struct rule *r = decide(OP_TRUNCATE, fd, NULL);
	int rc;

	if (before(r))
		return -1;
	rc = (int)syscall(SYS_ftruncate, fd, bytes);
	after(r);
	return rc;
}

int fallocate64(int fd, int mode, off64_t at, off64_t bytes)
{
	struct rule *r = decide(OP_ALLOCATE, fd, NULL);
	int rc;

	if (before(r))
		return -1;
	rc = (int)syscall(SYS_fallocate, fd, mode, at, bytes);
	after(r);
	return rc;
}

int rename(const char *from, const char *to)
{
	struct rule *r = decide(OP_RENAME, -1, to);
	int rc;

	if (before(r))
		return -1;
	rc = (int)syscall(SYS_rename, from, to);
	after(r);
	return rc;
}

#define ONE_PATH(name, op)                             \
	int name(const char *path)                     \
	{                                              \
		struct rule *r = decide(op, -1, path); \
		int rc;                                \
		if (before(r))                         \
			return -1;                     \
		rc = (int)syscall(SYS_##name, path);   \
		after(r);                              \
		return rc;                             \
	}

ONE_PATH(unlink, OP_UNLINK)
ONE_PATH(rmdir, OP_RMDIR)

int mkdir(const char *path, mode_t mode)
{
	struct rule *r = decide(OP_MKDIR, -1, path);
	int rc;

	if (before(r))
		return -1;
	rc = (int)syscall(SYS_mkdir, path, mode);
	after(r);
	return rc;
}

int open64(const char *path, int flags, ...)
{
	struct rule *r = decide(OP_OPEN, -1, path);
	va_list args;
	int mode, rc;

	va_start(args, flags);
	mode = va_arg(args, int);
	va_end(args);
	if (before(r))
		return -1;
	rc = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	after(r);
	return rc;
}

/* An instance (the path of a rule is "init"), or a watch. */
int inotify_init1(int flags)
{
	return before(decide(OP_INOTIFY, -1, "init")) ? -1 : (int)syscall(SYS_inotify_init1, flags);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	return before(decide(OP_INOTIFY, -1, path)) ? -1 :
						      (int)syscall(SYS_inotify_add_watch, fd, path, mask);
}

/* ---- sockets ---- */

ssize_t recv(int fd, void *bytes, size_t n, int flags)
{
	struct rule *r = decide(OP_RECV, fd, NULL);

	return before(r) ? -1 : syscall(SYS_recvfrom, fd, bytes, at_most(r, n), flags, NULL, NULL);
}

ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
	struct rule *r = decide(OP_SEND, fd, NULL);

	return before(r) ? -1 : syscall(SYS_sendto, fd, bytes, at_most(r, n), flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct rule *r = decide(OP_SEND, fd, NULL);

	if (before(r))
		return -1;
	if (r && r->action == ACT_SHORT && msg->msg_iovlen > 0)
		return syscall(SYS_sendto, fd, msg->msg_iov[0].iov_base, at_most(r, msg->msg_iov[0].iov_len),
			       flags, NULL, 0);
	return syscall(SYS_sendmsg, fd, msg, flags);
}

int socket(int domain, int type, int protocol)
{
	return before(decide(OP_SOCKET, -1, NULL)) ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

int listen(int fd, int backlog)
{
	return before(decide(OP_LISTEN, -1, NULL)) ? -1 : (int)syscall(SYS_listen, fd, backlog);
}

int accept4(int fd, struct sockaddr *peer, socklen_t *n, int flags)
{
	return before(decide(OP_ACCEPT, -1, NULL)) ? -1 : (int)syscall(SYS_accept4, fd, peer, n, flags);
}

/* ---- what threads and loops are made of ---- */

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	REAL(pthread_create);
	struct rule *r = decide(OP_THREAD, -1, NULL);

	return before(r) ? r->error : real(thread, attr, run, arg);
}

int eventfd(unsigned int count, int flags)
{
	return before(decide(OP_EVENTFD, -1, NULL)) ? -1 : (int)syscall(SYS_eventfd2, count, flags);
}

int epoll_create1(int flags)
{
	return before(decide(OP_EPOLL, -1, NULL)) ? -1 : (int)syscall(SYS_epoll_create1, flags);
}

/* Only what takes memory of the kernel: neither a change can fail for want of it, nor what is there already. */
int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	int rc = (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);

	if (rc == 0 && op == EPOLL_CTL_ADD && before(decide(OP_WATCH, -1, NULL))) {
		int error = errno;
		(void)syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_DEL, fd, event);
		errno = error;
		return -1;
	}
	return rc;
}

void *mmap64(void *at, size_t n, int prot, int flags, int fd, off64_t from)
{
	if (before(decide(OP_MAP, -1, NULL)))
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, at, n, prot, flags, fd, from);
}

/* ---- the clock ---- */

int clock_gettime(clockid_t clock, struct timespec *t)
{
	REAL(clock_gettime);
	int rc = real(clock, t);
	int64_t shift = page ? atomic_load(&page->wall_shift_ns) : 0;

	if (rc || shift == 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
		return rc;
	t->tv_sec += shift / 1000000000;
	t->tv_nsec += shift % 1000000000;
	if (t->tv_nsec < 0) {
		t->tv_nsec += 1000000000;
		t->tv_sec--;
	}
	if (t->tv_nsec >= 1000000000) {
		t->tv_nsec -= 1000000000;
		t->tv_sec++;
	}
	return rc;
}

/* ---- memory: only what the program itself asks for, not its libraries ---- */

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *old, size_t n);
extern void *__libc_memalign(size_t align, size_t n);

static int refused(const void *caller)
{
	uintptr_t at = (uintptr_t)caller;

	return page && at >= own_from && at < own_to && before(decide(OP_MEMORY, -1, NULL));
}

void *malloc(size_t n)
{
	return refused(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
}

void *calloc(size_t count, size_t n)
{
	return refused(__builtin_return_address(0)) ? NULL : __libc_calloc(count, n);
}

void *realloc(void *old, size_t n)
{
	return refused(__builtin_return_address(0)) ? NULL : __libc_realloc(old, n);
}

int posix_memalign(void **out, size_t align, size_t n)
{
	*out = refused(__builtin_return_address(0)) ? NULL : __libc_memalign(align, n);
	return *out ? 0 : ENOMEM;
}
