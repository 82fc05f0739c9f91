/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of sys.h over disk.c: handles, locks, faults, clocks, and the trace.
 * Each call first asks the driver (on_call), then the faults, then the disk, and
 * is noted in the trace and its hash with what it gave.
 *
 * All chance comes from one generator in the order of the calls. Nothing here
 * looks at an address, the time or the environment.
 */
#include "sys/sim/sim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "sys/sim/disk.h"

#define HANDLES_MAX 256u
#define HANDLE_FIRST 3
#define START_WALL_NS 1700000000000000000
#define CALL_NS 2000
#define SLOW_NS 10000000000
#define DRIFT_ONE_IN 32u

struct handle {
	bool used, read_only, direct, locked;
	uint32_t file;
};

struct sim {
	struct sim_options options;
	struct sys sys;
	struct disk disk;
	struct rand rand;
	struct sim_faults faults;
	struct handle handles[HANDLES_MAX];
	struct {
		uint64_t nth;
		int err;
	} planned[SIM_CALLS];
	int64_t monotonic_ns, wall_offset_ns;
	uint64_t hash;
	struct sim_stats stats;
};

/* ---- the trace ---- */

static const char *const call_names[SIM_CALLS] = {"open",     "read",    "write",    "sync",
						  "sync_dir", "sync_fs", "truncate", "allocate",
						  "stat",     "rename",  "unlink",   "mkdir",
						  "rmdir",    "list",    "lock",     "other"};

static void mix(struct sim *sim, uint64_t v)
{
	sim->hash = (sim->hash ^ v) * 0x9e3779b97f4a7c15u;
	sim->hash ^= sim->hash >> 29;
}

static void mix_text(struct sim *sim, const char *text)
{
	mix(sim, crc32c(0, text, strlen(text)));
}

__attribute__((format(printf, 2, 3))) static void trace(struct sim *sim, const char *format, ...)
{
	char line[700];
	va_list args;

	if (!sim->options.trace)
		return;
	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	sim->options.trace(sim->options.ctx, line);
}

/* What a call gave; `a` and `b` are its numbers. Gives it on. */
static int64_t note(struct sim *sim, enum sim_call call, const char *what, uint64_t a, uint64_t b, int64_t rc)
{
	mix(sim, (uint64_t)call);
	mix_text(sim, what);
	mix(sim, a);
	mix(sim, b);
	mix(sim, (uint64_t)rc);
	if (sim->options.trace)
		trace(sim, "%lld %s %s %llu %llu = %lld", (long long)(sim->monotonic_ns / 1000),
		      call_names[call], what, (unsigned long long)a, (unsigned long long)b, (long long)rc);
	return rc;
}

/* ---- chance ---- */

static bool one_in(struct sim *sim, uint32_t n)
{
	return n && rand_below(&sim->rand, n) == 0;
}

static int planned_failure(struct sim *sim, enum sim_call call)
{
	if (sim->planned[call].nth == 0 || --sim->planned[call].nth)
		return 0;
	return -sim->planned[call].err;
}

static bool may_grow(enum sim_call call)
{
	return call == SIM_WRITE || call == SIM_ALLOCATE || call == SIM_MKDIR || call == SIM_OPEN ||
	       call == SIM_RENAME;
}

/* Before every call: 0, or how it fails. */
static int begin(struct sim *sim, enum sim_call call)
{
	int rc;

	if (sim->options.on_call)
		sim->options.on_call(sim->options.ctx, call);
	sim->stats.calls++;
	sim->monotonic_ns += CALL_NS + (int64_t)rand_below(&sim->rand, CALL_NS);
	if (one_in(sim, sim->faults.drift_one_in ? sim->faults.drift_one_in : DRIFT_ONE_IN))
		disk_drift(&sim->disk);
	if (one_in(sim, sim->faults.slow_one_in))
		sim->monotonic_ns += (int64_t)rand_below(&sim->rand, SLOW_NS);
	rc = planned_failure(sim, call);
	if (rc == 0 && (sim->faults.calls >> call & 1) && one_in(sim, sim->faults.fail_one_in))
		rc = may_grow(call) && rand_below(&sim->rand, 2) ? -ENOSPC : -EIO;
	sim->stats.failures += rc != 0;
	return rc;
}

/* ---- handles ---- */

static struct handle *handle_of(struct sim *sim, int fd)
{
	CHECK(fd >= HANDLE_FIRST && fd < HANDLE_FIRST + (int)HANDLES_MAX);
	CHECK(sim->handles[fd - HANDLE_FIRST].used); /* whoever uses a closed handle has a bug */
	return &sim->handles[fd - HANDLE_FIRST];
}

static int new_handle(struct sim *sim, uint32_t file, int flags)
{
	for (uint32_t i = 0; i < HANDLES_MAX; i++) {
		struct handle *h = &sim->handles[i];
		if (h->used)
			continue;
		*h = (struct handle){.used = true, .read_only = flags & SYS_READ, .file = file};
		disk_ref(&sim->disk, file);
		return HANDLE_FIRST + (int)i;
	}
	return -EMFILE;
}

static int open_file(struct sim *sim, const char *path, int flags)
{
	const char *name;
	int file = disk_find(&sim->disk, path);
	int dir;

	if (file == -ENOENT && (flags & SYS_CREATE)) {
		dir = disk_parent(&sim->disk, path, &name);
		if (dir < 0)
			return dir;
		if (sim->disk.bytes_max < disk_used(&sim->disk) + DISK_PAGE)
			return -ENOSPC;
		file = disk_create(&sim->disk, (uint32_t)dir, name, false);
	} else if (file >= 0 && (flags & SYS_CREATE) && (flags & SYS_EXCLUSIVE)) {
		return -EEXIST;
	}
	if (file < 0)
		return file;
	if (sim->disk.files[file].is_dir)
		return -EISDIR;
	if ((flags & SYS_TRUNCATE) && sim->disk.files[file].live_bytes)
		(void)disk_resize(&sim->disk, (uint32_t)file, 0);
	return new_handle(sim, (uint32_t)file, flags);
}

static int sim_open(void *self, const char *path, int flags)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_OPEN);

	if (rc == 0)
		rc = open_file(sim, path, flags);
	return (int)note(sim, SIM_OPEN, path, (uint64_t)flags, 0, rc);
}

static void close_handle(struct sim *sim, struct handle *h)
{
	uint32_t file = h->file;

	*h = (struct handle){0};
	disk_unref(&sim->disk, file);
}

static void sim_close(void *self, int fd)
{
	struct sim *sim = self;

	(void)begin(sim, SIM_OTHER);
	close_handle(sim, handle_of(sim, fd));
	(void)note(sim, SIM_OTHER, "close", (uint64_t)fd, 0, 0);
}

/* ---- contents ---- */

static int64_t sim_pread(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	struct sim *sim = self;
	int64_t rc = begin(sim, SIM_READ);
	struct handle *h = handle_of(sim, fd);

	if (rc == 0) {
		rc = (int64_t)disk_read(&sim->disk, h->file, bytes, n, at);
		mix(sim, crc32c(0, bytes, (size_t)rc));
	}
	return note(sim, SIM_READ, "pread", (uint64_t)fd, at, rc);
}

static int64_t sim_pread_nowait(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	struct sim *sim = self;

	if (one_in(sim, sim->faults.cold_one_in))
		return note(sim, SIM_READ, "pread_nowait", (uint64_t)fd, at, -EAGAIN);
	return sim_pread(self, fd, bytes, n, at);
}

static int check_direct(const struct iovec *iov, int count, uint64_t at)
{
	uint64_t all = at;

	for (int i = 0; i < count; i++)
		all |= (uint64_t)(uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return all % DISK_PAGE ? -EINVAL : 0;
}

/* As much as `limit` of it; the rest is as if never asked for. */
static int write_some(struct sim *sim, uint32_t file, const struct iovec *iov, int count, uint64_t at,
		      uint64_t limit)
{
	int rc = 0;

	for (int i = 0; i < count && rc == 0 && limit; i++) {
		size_t n = iov[i].iov_len < limit ? iov[i].iov_len : (size_t)limit;
		size_t done;
		rc = disk_write(&sim->disk, file, iov[i].iov_base, n, at, &done);
		mix(sim, crc32c(0, iov[i].iov_base, done));
		at += done;
		limit -= done;
		sim->stats.bytes_written += done;
	}
	return rc;
}

static uint64_t sum_of(const struct iovec *iov, int count)
{
	uint64_t sum = 0;

	for (int i = 0; i < count; i++)
		sum += iov[i].iov_len;
	return sum;
}

static int sim_pwritev(void *self, int fd, const struct iovec *iov, int count, uint64_t at)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_WRITE);
	struct handle *h = handle_of(sim, fd);
	uint64_t bytes = sum_of(iov, count);

	sim->stats.writes++;
	if (h->read_only)
		rc = -EBADF;
	else if (h->direct && check_direct(iov, count, at))
		rc = -EINVAL;
	else if (rc)
		(void)write_some(sim, h->file, iov, count, at, rand_below(&sim->rand, bytes + 1));
	else
		rc = write_some(sim, h->file, iov, count, at, UINT64_MAX);
	return (int)note(sim, SIM_WRITE, h->direct ? "pwritev direct" : "pwritev", (uint64_t)fd << 32 | bytes,
			 at, rc);
}

static int sync_handle(struct sim *sim, int fd, const char *what)
{
	int rc = begin(sim, SIM_SYNC);
	struct handle *h = handle_of(sim, fd);

	sim->stats.syncs++;
	if (rc)
		disk_sync_in_part(&sim->disk, h->file);
	else
		disk_sync(&sim->disk, h->file);
	return (int)note(sim, SIM_SYNC, what, (uint64_t)fd, 0, rc);
}

static int sim_fdatasync(void *self, int fd)
{
	return sync_handle(self, fd, "fdatasync");
}

static int sim_fsync(void *self, int fd)
{
	return sync_handle(self, fd, "fsync");
}

static int sim_sync_dir(void *self, const char *path)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_SYNC_DIR);
	int dir = disk_find(&sim->disk, path);

	sim->stats.syncs++;
	if (rc == 0)
		rc = dir < 0 ? dir : sim->disk.files[dir].is_dir ? 0 : -ENOTDIR;
	if (rc == 0)
		disk_sync_dir(&sim->disk, (uint32_t)dir);
	return (int)note(sim, SIM_SYNC_DIR, path, 0, 0, rc);
}

static int sim_sync_fs(void *self, int fd)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_SYNC_FS);

	(void)handle_of(sim, fd);
	sim->stats.syncs++;
	if (rc == 0)
		disk_sync_all(&sim->disk);
	return (int)note(sim, SIM_SYNC_FS, "syncfs", (uint64_t)fd, 0, rc);
}

static int sim_truncate(void *self, int fd, uint64_t bytes)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_TRUNCATE);
	struct handle *h = handle_of(sim, fd);

	if (rc == 0 && sim->disk.files[h->file].live_bytes != bytes)
		rc = disk_resize(&sim->disk, h->file, bytes);
	return (int)note(sim, SIM_TRUNCATE, "ftruncate", (uint64_t)fd, bytes, rc);
}

static int sim_allocate(void *self, int fd, uint64_t at, uint64_t bytes)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_ALLOCATE);
	struct handle *h = handle_of(sim, fd);

	if (rc == 0 && disk_used(&sim->disk) + bytes > sim->disk.bytes_max)
		rc = -ENOSPC;
	if (rc == 0 && at + bytes > sim->disk.files[h->file].live_bytes)
		rc = disk_resize(&sim->disk, h->file, at + bytes);
	return (int)note(sim, SIM_ALLOCATE, "fallocate", (uint64_t)fd, at + bytes, rc);
}

static int sim_write_back(void *self, int fd, uint64_t at, uint64_t bytes)
{
	(void)self;
	(void)fd;
	(void)at;
	(void)bytes;
	return 0; /* pages drift to the disk all the time */
}

static int sim_set_direct(void *self, int fd, bool on)
{
	struct sim *sim = self;

	handle_of(sim, fd)->direct = on;
	return (int)note(sim, SIM_OTHER, "direct", (uint64_t)fd, on, 0);
}

/* ---- names ---- */

static int sim_stat(void *self, const char *path, struct sys_stat *out)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_STAT);
	int file = disk_find(&sim->disk, path);

	if (rc == 0 && file < 0)
		rc = file;
	if (rc == 0) {
		out->bytes = sim->disk.files[file].live_bytes;
		out->is_dir = sim->disk.files[file].is_dir;
	}
	return (int)note(sim, SIM_STAT, path, 0, 0, rc);
}

static int rename_file(struct sim *sim, const char *from, const char *to)
{
	const char *name, *to_name;
	int dir = disk_parent(&sim->disk, from, &name);
	int to_dir = disk_parent(&sim->disk, to, &to_name);

	if (dir < 0 || to_dir < 0)
		return dir < 0 ? dir : to_dir;
	return disk_rename(&sim->disk, (uint32_t)dir, name, (uint32_t)to_dir, to_name);
}

static int sim_rename(void *self, const char *from, const char *to)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_RENAME);

	if (rc == 0)
		rc = rename_file(sim, from, to);
	mix_text(sim, to);
	trace(sim, "  to %s", to);
	return (int)note(sim, SIM_RENAME, from, 0, 0, rc);
}

/* Only files, or only empty directories. */
static int remove_name(struct sim *sim, const char *path, bool is_dir)
{
	const char *name;
	int dir = disk_parent(&sim->disk, path, &name);
	int file = disk_find(&sim->disk, path);

	if (dir < 0 || file < 0)
		return dir < 0 ? dir : file;
	if (sim->disk.files[file].is_dir != is_dir)
		return is_dir ? -ENOTDIR : -EISDIR;
	if (is_dir && !disk_is_empty(&sim->disk, (uint32_t)file))
		return -ENOTEMPTY;
	return disk_unlink(&sim->disk, (uint32_t)dir, name);
}

static int sim_unlink(void *self, const char *path)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_UNLINK);

	if (rc == 0)
		rc = remove_name(sim, path, false);
	return (int)note(sim, SIM_UNLINK, path, 0, 0, rc);
}

static int sim_rmdir(void *self, const char *path)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_RMDIR);

	if (rc == 0)
		rc = remove_name(sim, path, true);
	return (int)note(sim, SIM_RMDIR, path, 0, 0, rc);
}

static int make_dir(struct sim *sim, const char *path)
{
	const char *name;
	int dir, file = disk_find(&sim->disk, path);

	if (file >= 0)
		return sim->disk.files[file].is_dir ? 0 : -EEXIST;
	dir = disk_parent(&sim->disk, path, &name);
	if (dir < 0)
		return dir;
	file = disk_create(&sim->disk, (uint32_t)dir, name, true);
	return file < 0 ? file : 0;
}

static int sim_mkdir(void *self, const char *path)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_MKDIR);

	if (rc == 0)
		rc = make_dir(sim, path);
	return (int)note(sim, SIM_MKDIR, path, 0, 0, rc);
}

/*
 * The names at the time of the call, in an order that hangs on the seed, so that
 * the callback may unlink what it is given.
 */
static int list_dir(struct sim *sim, uint32_t dir, sys_list_fn *fn, void *ctx)
{
	char(*names)[DISK_NAME_MAX + 1];
	uint32_t count = 0;
	int rc = 0;

	names = mem_alloc((sim->disk.live.count + 1) * sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (uint32_t i = 0; i < sim->disk.live.count; i++)
		if (sim->disk.live.row[i].dir == dir)
			memcpy(names[count++], sim->disk.live.row[i].text, sizeof(names[0]));
	for (uint32_t left = count; left && rc == 0; left--) {
		uint32_t pick = (uint32_t)rand_below(&sim->rand, left);
		rc = fn(ctx, names[pick]);
		memmove(names[pick], names[left - 1], sizeof(names[0]));
	}
	mem_free(names);
	return rc;
}

static int sim_list(void *self, const char *path, sys_list_fn *fn, void *ctx)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_LIST);
	int dir = disk_find(&sim->disk, path);

	if (rc == 0)
		rc = dir < 0 ? dir : sim->disk.files[dir].is_dir ? 0 : -ENOTDIR;
	(void)note(sim, SIM_LIST, path, 0, 0, rc);
	return rc ? rc : list_dir(sim, (uint32_t)dir, fn, ctx);
}

static int sim_lock(void *self, int fd, int *holder)
{
	struct sim *sim = self;
	int rc = begin(sim, SIM_LOCK);
	struct handle *h = handle_of(sim, fd);

	*holder = 0;
	for (uint32_t i = 0; i < HANDLES_MAX && rc == 0; i++)
		if (sim->handles[i].locked && sim->handles[i].file == h->file && &sim->handles[i] != h)
			rc = -EWOULDBLOCK;
	if (rc == 0)
		h->locked = true;
	return (int)note(sim, SIM_LOCK, "flock", (uint64_t)fd, 0, rc);
}

static int sim_space(void *self, const char *path, uint64_t *free_bytes, uint64_t *total_bytes)
{
	struct sim *sim = self;
	uint64_t used = disk_used(&sim->disk);

	(void)path;
	*total_bytes = sim->disk.bytes_max;
	*free_bytes = used < *total_bytes ? *total_bytes - used : 0;
	return 0;
}

/* ---- clocks and chance ---- */

static int64_t sim_wall_ns(void *self)
{
	const struct sim *sim = self;

	return START_WALL_NS + sim->monotonic_ns + sim->wall_offset_ns;
}

static int64_t sim_monotonic_ns(void *self)
{
	return ((const struct sim *)self)->monotonic_ns;
}

static int sim_random(void *self, void *bytes, size_t n)
{
	struct sim *sim = self;

	for (size_t i = 0; i < n; i++)
		((uint8_t *)bytes)[i] = (uint8_t)rand_next(&sim->rand);
	return 0;
}

static const struct sys_ops sim_ops = {
	.open = sim_open,
	.close = sim_close,
	.pread = sim_pread,
	.pread_nowait = sim_pread_nowait,
	.pwritev = sim_pwritev,
	.fdatasync = sim_fdatasync,
	.fsync = sim_fsync,
	.sync_dir = sim_sync_dir,
	.sync_fs = sim_sync_fs,
	.truncate = sim_truncate,
	.allocate = sim_allocate,
	.write_back = sim_write_back,
	.set_direct = sim_set_direct,
	.stat = sim_stat,
	.rename = sim_rename,
	.unlink = sim_unlink,
	.mkdir = sim_mkdir,
	.rmdir = sim_rmdir,
	.list = sim_list,
	.lock = sim_lock,
	.space = sim_space,
	.wall_ns = sim_wall_ns,
	.monotonic_ns = sim_monotonic_ns,
	.random = sim_random,
};

/* ---- driving it ---- */

int sim_new(const struct sim_options *options, struct sim **out)
{
	struct sim *sim = mem_zalloc(1, sizeof(*sim));

	if (!sim)
		return -ENOMEM;
	sim->options = *options;
	sim->sys = (struct sys){.ops = &sim_ops, .self = sim};
	if (disk_init(&sim->disk, options, &sim->rand, &sim->stats)) {
		mem_free(sim);
		return -ENOMEM;
	}
	rand_seed(&sim->rand, options->seed);
	sim->hash = options->seed;
	*out = sim;
	return 0;
}

void sim_free(struct sim *sim)
{
	if (!sim)
		return;
	disk_fini(&sim->disk);
	mem_free(sim);
}

void sim_reset(struct sim *sim, uint64_t seed)
{
	memset(sim->handles, 0, sizeof(sim->handles));
	memset(sim->planned, 0, sizeof(sim->planned));
	sim->faults = (struct sim_faults){0};
	sim->stats = (struct sim_stats){0};
	sim->monotonic_ns = sim->wall_offset_ns = 0;
	disk_reset(&sim->disk);
	rand_seed(&sim->rand, seed);
	sim->hash = sim->options.seed = seed;
}

const struct sys *sim_sys(struct sim *sim)
{
	return &sim->sys;
}

void sim_cut(struct sim *sim, enum sim_cut how)
{
	for (uint32_t i = 0; i < HANDLES_MAX; i++)
		if (sim->handles[i].used)
			close_handle(sim, &sim->handles[i]);
	disk_cut(&sim->disk, how);
	sim->stats.cuts++;
	mix(sim, (uint64_t)how);
	trace(sim, "%lld the power goes (%s)", (long long)(sim->monotonic_ns / 1000),
	      how == SIM_CUT_KEEP ? "a kill: all is kept" :
	      how == SIM_CUT_LOSE ? "all that was not synced is lost" :
				    "chance decides");
}

void sim_set_faults(struct sim *sim, const struct sim_faults *faults)
{
	sim->faults = *faults;
}

void sim_fail_at(struct sim *sim, enum sim_call call, uint64_t nth, int err)
{
	sim->planned[call].nth = nth;
	sim->planned[call].err = err;
}

int sim_flip(struct sim *sim, const char *path, uint64_t bit)
{
	int file = disk_find(&sim->disk, path);

	if (file < 0)
		return file;
	mix(sim, bit);
	trace(sim, "%lld flip %s %llu", (long long)(sim->monotonic_ns / 1000), path, (unsigned long long)bit);
	return sim->disk.files[file].is_dir ? -EISDIR : disk_flip(&sim->disk, (uint32_t)file, bit);
}

void sim_set_space(struct sim *sim, uint64_t bytes)
{
	sim->disk.bytes_max = bytes;
}

void sim_pass(struct sim *sim, int64_t ns)
{
	CHECK(ns >= 0);
	sim->monotonic_ns += ns;
}

void sim_jump(struct sim *sim, int64_t ns)
{
	sim->wall_offset_ns += ns;
}

void sim_stats(const struct sim *sim, struct sim_stats *out)
{
	*out = sim->stats;
	out->bytes_used = disk_used(&sim->disk);
}

uint64_t sim_hash(const struct sim *sim)
{
	return sim->hash;
}
