/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan (which files, how long, copied or linked), then the taking. The plan is
 * made from the checkpoint on disk, so that a running weir and a directory at rest are
 * backed up by the same code; what differs is who sees to it that nothing changes
 * between the two.
 *
 * The manifest is text, a line a file, with the checksum of its own lines at its end:
 * a person can read it, and a cut one is not taken for whole.
 */
#include "log/backup_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "log/checkpoint.h"
#include "log/frame.h"
#include "log/journal.h"
#include "log/producer_file.h"
#include "log/segment.h"

#define PIECE_BYTES (1u << 20)
#define MANIFEST "BACKUP"
#define MANIFEST_HEAD "weir backup 1\n"
#define MANIFEST_BYTES_MAX (1u << 30)

/* ---- errors and memory ---- */

static int io_fault(struct backup *b, const char *what, const char *path, int rc)
{
	int err = rc == -ENOSPC || rc == -EDQUOT ? ERR_DISK_FULL : rc == -ENOMEM ? ERR_NOMEM : ERR_IO;

	return fault_set(b->fault, err, "cannot %s %s: %s", what, path, sys_error_text(rc));
}

int backup_init(struct backup *b, const struct backup_options *options, struct fault *fault)
{
	*b = (struct backup){.options = *options, .fault = fault};
	fault->err = 0;
	buf_init(&b->manifest, MANIFEST_BYTES_MAX);
	buf_init(&b->checkpoint, 1);
	b->bytes = mem_alloc(PIECE_BYTES);
	return b->bytes ? 0 : fault_set(fault, ERR_NOMEM, "no memory for a backup");
}

void backup_fini(struct backup *b)
{
	for (uint32_t i = 0; i < b->file_count; i++)
		mem_free(b->files[i].path);
	mem_free(b->files);
	mem_free(b->bytes);
	buf_fini(&b->manifest);
	buf_fini(&b->checkpoint);
}

static int progress(struct backup *b, uint64_t bytes)
{
	b->done += bytes;
	if (b->options.on_progress && b->options.on_progress(b->options.ctx, b->done, b->total))
		return fault_set(b->fault, ERR_CANCELLED, "it was stopped before its end");
	return 0;
}

/* ---- the target ---- */

static int find_any(void *ctx, const char *name)
{
	(void)snprintf(ctx, 200, "%.199s", name);
	return 1;
}

int backup_make_target(struct backup *b, const char *dir)
{
	const struct sys *sys = b->options.sys;
	char found[200] = "", above[BACKUP_PATH_BYTES];
	char *slash;
	int rc = sys->ops->mkdir(sys->self, dir);

	if (rc == -EEXIST)
		return fault_set(b->fault, ERR_NOT_EMPTY, "%s is there and no directory", dir);
	if (rc == 0)
		rc = sys->ops->list(sys->self, dir, find_any, found);
	if (rc > 0)
		return fault_set(b->fault, ERR_NOT_EMPTY,
				 "%s is not empty (it holds %s): a directory is needed that is new or empty",
				 dir, found);
	(void)snprintf(above, sizeof(above), "%s", dir);
	slash = strrchr(above, '/');
	if (slash && slash != above)
		*slash = '\0';
	if (rc == 0)
		rc = sys->ops->sync_dir(sys->self, !slash ? "." : slash == above ? "/" : above);
	return rc && rc != -EACCES ? io_fault(b, "make", dir, rc) : 0;
}

/* The folders above dir/path; one that was just made is not asked for again. */
static int make_folders(struct backup *b, const char *dir, const char *path)
{
	const struct sys *sys = b->options.sys;
	char folder[BACKUP_PATH_BYTES];
	const char *last = strrchr(path, '/');
	int rc = 0;

	if (!last)
		return 0;
	(void)snprintf(folder, sizeof(folder), "%.600s/%.*s", dir, (int)(last - path), path);
	if (strcmp(folder, b->made) == 0)
		return 0;
	for (const char *slash = strchr(path, '/'); slash && rc == 0; slash = strchr(slash + 1, '/')) {
		(void)snprintf(folder, sizeof(folder), "%.600s/%.*s", dir, (int)(slash - path), path);
		rc = sys->ops->mkdir(sys->self, folder);
	}
	(void)snprintf(b->made, sizeof(b->made), "%s", folder);
	return rc ? io_fault(b, "make", folder, rc) : 0;
}

/* ---- files ---- */

static int write_at(struct backup *b, int fd, const char *path, const void *bytes, size_t n, uint64_t at)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	int rc = n ? b->options.sys->ops->pwritev(b->options.sys->self, fd, &iov, 1, at) : 0;

	if (rc == 0 && n >= PIECE_BYTES)
		(void)b->options.sys->ops->write_back(b->options.sys->self, fd, at, n);
	return rc ? io_fault(b, "write", path, rc) : 0;
}

/* Reads so many bytes, writes them where to >= 0, and sums them up. */
static int pass_on(struct backup *b, int from, const char *path, int to, uint64_t bytes, uint32_t *crc)
{
	const struct sys *sys = b->options.sys;
	int rc = 0;

	*crc = 0;
	for (uint64_t at = 0; at < bytes && rc == 0;) {
		size_t want = bytes - at < PIECE_BYTES ? (size_t)(bytes - at) : PIECE_BYTES;
		int64_t got = sys->ops->pread(sys->self, from, b->bytes, want, at);
		if (got < 0)
			return io_fault(b, "read", path, (int)got);
		if (got == 0)
			return fault_set(b->fault, ERR_CORRUPT, "%s has %llu bytes, %llu are wanted", path,
					 (unsigned long long)at, (unsigned long long)bytes);
		*crc = crc32c(*crc, b->bytes, (size_t)got);
		if (to >= 0)
			rc = write_at(b, to, path, b->bytes, (size_t)got, at);
		at += (uint64_t)got;
		if (rc == 0)
			rc = progress(b, (uint64_t)got);
	}
	return rc;
}

static int copy_file(struct backup *b, const char *from, const char *to, uint64_t bytes, uint32_t *crc)
{
	const struct sys *sys = b->options.sys;
	int in = sys->ops->open(sys->self, from, SYS_READ);
	int out, rc;

	if (in < 0)
		return io_fault(b, "open", from, in);
	out = sys->ops->open(sys->self, to, SYS_CREATE | SYS_EXCLUSIVE);
	rc = out < 0 ? io_fault(b, "make", to, out) : pass_on(b, in, from, out, bytes, crc);
	if (out >= 0)
		sys->ops->close(sys->self, out);
	sys->ops->close(sys->self, in);
	return rc;
}

static int sum_file(struct backup *b, const char *path, uint64_t bytes, uint32_t *crc)
{
	const struct sys *sys = b->options.sys;
	int in = sys->ops->open(sys->self, path, SYS_READ);
	int rc;

	if (in < 0)
		return io_fault(b, "open", path, in);
	rc = pass_on(b, in, path, -1, bytes, crc);
	sys->ops->close(sys->self, in);
	return rc;
}

static int put_line(struct backup *b, const char *path, uint64_t bytes, uint32_t crc)
{
	b->result.files++;
	b->result.bytes += bytes;
	if (buf_appendf(&b->manifest, "file %llu %08x %s\n", (unsigned long long)bytes, crc, path))
		return fault_set(b->fault, ERR_NOMEM, "no memory for the manifest");
	return 0;
}

/* A file that is made here, from memory. */
static int put_file(struct backup *b, const char *path, struct slice bytes)
{
	const struct sys *sys = b->options.sys;
	char to[BACKUP_PATH_BYTES];
	int fd, rc = make_folders(b, b->options.dir, path);

	if (rc)
		return rc;
	(void)snprintf(to, sizeof(to), "%.600s/%s", b->options.dir, path);
	fd = sys->ops->open(sys->self, to, SYS_CREATE | SYS_TRUNCATE);
	if (fd < 0)
		return io_fault(b, "make", to, fd);
	rc = write_at(b, fd, to, bytes.ptr, bytes.len, 0);
	sys->ops->close(sys->self, fd);
	return rc ? rc : put_line(b, path, bytes.len, crc32c(0, bytes.ptr, bytes.len));
}

/* ---- the plan ---- */

static int add_file(struct backup *b, const char *path, uint64_t bytes, enum backup_how how)
{
	if (b->file_count == b->file_cap) {
		uint32_t cap = b->file_cap ? b->file_cap * 2 : 64;
		struct backup_file *grown = mem_realloc(b->files, cap * sizeof(*grown));
		if (!grown)
			return fault_set(b->fault, ERR_NOMEM, "no memory for a backup");
		b->files = grown;
		b->file_cap = cap;
	}
	b->files[b->file_count] = (struct backup_file){.bytes = bytes, .how = how};
	b->files[b->file_count].path = mem_strndup(path, strlen(path));
	if (!b->files[b->file_count].path)
		return fault_set(b->fault, ERR_NOMEM, "no memory for a backup");
	b->file_count++;
	b->total += bytes;
	return 0;
}

/* How long a file of the data directory is; negative where it is not there. */
static int64_t size_of(struct backup *b, const char *path)
{
	char full[BACKUP_PATH_BYTES];
	struct sys_stat st;
	int rc;

	(void)snprintf(full, sizeof(full), "%.600s/%.300s", b->options.data, path);
	rc = b->options.sys->ops->stat(b->options.sys->self, full, &st);
	return rc ? rc : (int64_t)st.bytes;
}

static int add_if_there(struct backup *b, const char *path)
{
	int64_t bytes = size_of(b, path);

	return bytes < 0 ? 0 : add_file(b, path, (uint64_t)bytes, BACKUP_COPY);
}

struct planner {
	struct backup *b;
	struct checkpoint_partition partition;
	char bucket[300];
};

static int plan_partition(void *ctx, const struct checkpoint_partition *p)
{
	struct planner *plan = ctx;

	plan->partition = *p;
	return 0;
}

static int plan_segment(void *ctx, const struct checkpoint_segment *s)
{
	struct planner *plan = ctx;
	struct backup *b = plan->b;
	char path[200], id[37], name[SEGMENT_NAME_BYTES];
	int64_t bytes;
	int rc;

	topic_id_text(&plan->partition.topic, id);
	segment_file_name(s->base, s->revision, SEGMENT_LOG, name);
	(void)snprintf(path, sizeof(path), "topics/%s/%u/%s", id, plan->partition.number, name);
	bytes = size_of(b, path);
	if (bytes < (int64_t)s->bytes)
		return fault_set(b->fault, ERR_CORRUPT,
				 "%s/%s has %lld bytes, the checkpoint says %llu: `weir verify` tells more",
				 b->options.data, path, (long long)(bytes < 0 ? 0 : bytes),
				 (unsigned long long)s->bytes);
	rc = add_file(b, path, s->bytes, s->last || bytes != (int64_t)s->bytes ? BACKUP_COPY : BACKUP_LINK);
	for (int i = 0; i < 2 && rc == 0 && !s->last; i++) {
		segment_file_name(s->base, s->revision, i ? SEGMENT_TIMEINDEX : SEGMENT_INDEX, name);
		(void)snprintf(path, sizeof(path), "topics/%s/%u/%s", id, plan->partition.number, name);
		rc = add_if_there(b, path);
	}
	return rc;
}

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

static int plan_run(void *ctx, const char *name)
{
	struct planner *plan = ctx;
	char path[BACKUP_PATH_BYTES];

	if (!ends_with(name, ".run"))
		return 0;
	(void)snprintf(path, sizeof(path), "seen/%.200s/%.200s", plan->bucket, name);
	return add_if_there(plan->b, path);
}

static int plan_bucket(void *ctx, const char *name)
{
	struct planner *plan = ctx;
	struct planner inner = {.b = plan->b};
	char full[BACKUP_PATH_BYTES];
	int64_t end_ms;
	int rc;

	if (!slice_to_i64(slice_str(name), &end_ms))
		return 0;
	(void)snprintf(inner.bucket, sizeof(inner.bucket), "%.200s", name);
	(void)snprintf(full, sizeof(full), "%.600s/seen/%.200s", plan->b->options.data, name);
	rc = plan->b->options.sys->ops->list(plan->b->options.sys->self, full, plan_run, &inner);
	return rc == -ENOTDIR ? 0 : rc;
}

static int plan_seen(struct backup *b)
{
	struct planner plan = {.b = b};
	char full[BACKUP_PATH_BYTES];
	int rc = add_if_there(b, "FORMAT"); /* the journal's key is in it */

	(void)snprintf(full, sizeof(full), "%.600s/seen", b->options.data);
	if (rc == 0)
		rc = add_if_there(b, "seen/secret");
	if (rc == 0)
		rc = b->options.sys->ops->list(b->options.sys->self, full, plan_bucket, &plan);
	if (rc && !b->fault->err)
		return io_fault(b, "read", full, rc);
	return rc;
}

/* Where it is gone a start makes it anew from the segments. */
static int plan_producers(struct backup *b, uint32_t number)
{
	char name[PRODUCER_FILE_NAME_BYTES];

	producer_file_name(number, name);
	return number && number != CHECKPOINT_PRODUCERS_UNKNOWN ? add_if_there(b, name) : 0;
}

static int plan_segments(struct backup *b, uint64_t *sequence)
{
	struct planner plan = {.b = b};
	struct checkpoint_sink sink = {.partition = plan_partition, .segment = plan_segment, .ctx = &plan};
	struct checkpoint_found found = {0};
	uint64_t number;
	int rc;

	buf_fini(&b->checkpoint);
	rc = checkpoint_read(b->options.sys, b->options.data, &b->checkpoint, &found, b->fault);
	*sequence = 0;
	if (rc == 1) {
		buf_clear(&b->checkpoint);
		return 0; /* there is none yet: the journal has everything */
	}
	if (rc == 0)
		rc = checkpoint_walk(buf_slice(&b->checkpoint), &number, sequence, &sink);
	if (rc == 0)
		rc = plan_producers(b, checkpoint_producers(buf_slice(&b->checkpoint)));
	if (rc && !b->fault->err)
		return fault_set(b->fault, ERR_CORRUPT, "the checkpoint in %s cannot be read",
				 b->options.data);
	return rc;
}

/* ---- the journal ---- */

struct generations {
	uint64_t list[4096];
	uint32_t count;
};

static int add_generation(void *ctx, const char *name)
{
	struct generations *g = ctx;
	uint64_t generation = journal_generation_of(name);

	if (generation && g->count < 4096)
		g->list[g->count++] = generation;
	return 0;
}

static int by_number(const void *x, const void *y)
{
	const uint64_t *a = x, *b = y;

	return *a < *b ? -1 : *a > *b;
}

struct groups {
	struct backup *b;
	struct buf file; /* of the one that is read: its groups up to the last wanted */
	struct buf frame;
	uint64_t expect, until;
	bool wanted; /* the file holds one */
};

/* The group at `at`, whole and of this generation, into g->frame: 0, 1 none, ERR_*. */
static int read_group(struct groups *g, int fd, const char *path, uint64_t generation, uint64_t at,
		      struct frame_head *head)
{
	const struct sys *sys = g->b->options.sys;
	int64_t got;

	buf_clear(&g->frame);
	if (buf_reserve(&g->frame, FRAME_ALIGN))
		return fault_set(g->b->fault, ERR_NOMEM, "no memory for a group");
	got = sys->ops->pread(sys->self, fd, g->frame.ptr, FRAME_ALIGN, at);
	if (got < 0)
		return io_fault(g->b, "read", path, (int)got);
	if (frame_head_read(slice_make(g->frame.ptr, (size_t)got), head) || head->generation != generation)
		return 1;
	if (buf_reserve(&g->frame, head->bytes))
		return fault_set(g->b->fault, ERR_NOMEM, "no memory for a group");
	got = sys->ops->pread(sys->self, fd, g->frame.ptr, head->bytes, at);
	if (got < 0)
		return io_fault(g->b, "read", path, (int)got);
	g->frame.len = (size_t)got;
	return frame_check(buf_slice(&g->frame), head) ? 1 : 0;
}

/* All its groups up to the last that is wanted; the file is made only where there is one. */
static int take_groups(struct groups *g, uint64_t generation)
{
	const struct sys *sys = g->b->options.sys;
	static const uint8_t zeros[FRAME_ALIGN];
	char path[BACKUP_PATH_BYTES], name[40];
	struct frame_head head;
	uint64_t at = 0;
	int fd, rc;

	(void)snprintf(name, sizeof(name), "journal/%016llx.wal", (unsigned long long)generation);
	(void)snprintf(path, sizeof(path), "%.600s/%s", g->b->options.data, name);
	fd = sys->ops->open(sys->self, path, SYS_READ);
	if (fd == -ENOENT)
		return 0; /* it has another name now: none of its groups was wanted, or one will be missed */
	if (fd < 0)
		return io_fault(g->b, "open", path, fd);
	buf_clear(&g->file);
	g->wanted = false;
	while ((rc = read_group(g, fd, path, generation, at, &head)) == 0 && head.sequence <= g->until &&
	       head.sequence <= g->expect) {
		size_t padding = (size_t)(FRAME_ALIGN - head.bytes % FRAME_ALIGN) % FRAME_ALIGN;
		if (head.sequence == g->expect) {
			g->expect++;
			g->wanted = true;
		}
		(void)buf_append_slice(&g->file, buf_slice(&g->frame));
		if (buf_append(&g->file, zeros, padding))
			rc = fault_set(g->b->fault, ERR_NOMEM, "no memory for a backup of the journal");
		at += head.bytes + padding;
		if (rc)
			break;
	}
	sys->ops->close(sys->self, fd);
	if (rc < 0)
		return rc;
	return g->wanted ? put_file(g->b, name, buf_slice(&g->file)) : 0;
}

static int take_journal(struct backup *b, uint64_t after, uint64_t until)
{
	struct generations *g = mem_zalloc(1, sizeof(*g));
	struct groups groups = {.b = b, .expect = after + 1, .until = until};
	char full[BACKUP_PATH_BYTES];
	int rc;

	if (!g)
		return fault_set(b->fault, ERR_NOMEM, "no memory for a backup");
	buf_init(&groups.file, 1u << 31);
	buf_init(&groups.frame, FRAME_BYTES_MAX + FRAME_ALIGN);
	(void)snprintf(full, sizeof(full), "%.600s/journal", b->options.data);
	rc = b->options.sys->ops->list(b->options.sys->self, full, add_generation, g);
	if (rc)
		rc = io_fault(b, "read", full, rc);
	if (g->count > 1)
		qsort(g->list, g->count, sizeof(*g->list), by_number);
	for (uint32_t i = 0; i < g->count && rc == 0; i++)
		rc = take_groups(&groups, g->list[i]);
	if (rc == 0 && until != UINT64_MAX && groups.expect <= until)
		rc = fault_set(b->fault, ERR_CORRUPT, "%s: group %llu is not there, though it is durable",
			       full, (unsigned long long)groups.expect);
	b->result.sequence = groups.expect - 1;
	buf_fini(&groups.file);
	buf_fini(&groups.frame);
	mem_free(g);
	return rc;
}

int backup_plan(struct backup *b, uint64_t until)
{
	uint64_t sequence;
	int rc = plan_segments(b, &sequence);

	(void)buf_append_str(&b->manifest, MANIFEST_HEAD);
	if (rc == 0)
		rc = take_journal(b, sequence, until);
	if (rc == 0)
		rc = plan_seen(b);
	return rc;
}

/* ---- taking ---- */

/* Linked where that can be; then the name in the backup is read, so that the sum is of what is there. */
static int take_file(struct backup *b, const struct backup_file *f)
{
	const struct sys *sys = b->options.sys;
	char from[BACKUP_PATH_BYTES], to[BACKUP_PATH_BYTES];
	uint32_t crc;
	int rc = make_folders(b, b->options.dir, f->path);

	if (rc)
		return rc;
	(void)snprintf(from, sizeof(from), "%.600s/%s", b->options.data, f->path);
	(void)snprintf(to, sizeof(to), "%.600s/%s", b->options.dir, f->path);
	if (f->how == BACKUP_LINK && sys->ops->link && sys->ops->link(sys->self, from, to) == 0) {
		b->result.linked++;
		rc = sum_file(b, to, f->bytes, &crc);
	} else {
		rc = copy_file(b, from, to, f->bytes, &crc);
	}
	return rc ? rc : put_line(b, f->path, f->bytes, crc);
}

static int put_checkpoint(struct backup *b)
{
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0 && b->checkpoint.len; i++)
		rc = put_file(b, i ? "CHECKPOINT.b" : "CHECKPOINT.a", buf_slice(&b->checkpoint));
	return rc;
}

/* So that it can be verified, and locked, like any data directory. */
static int put_lock(struct backup *b)
{
	char path[BACKUP_PATH_BYTES];
	int fd;

	(void)snprintf(path, sizeof(path), "%.600s/LOCK", b->options.dir);
	fd = b->options.sys->ops->open(b->options.sys->self, path, SYS_CREATE);
	if (fd < 0)
		return io_fault(b, "make", path, fd);
	b->options.sys->ops->close(b->options.sys->self, fd);
	return 0;
}

/* Under another name, with everything before it on disk: who finds it finds all of it. */
static int write_manifest(struct backup *b)
{
	const struct sys *sys = b->options.sys;
	char path[BACKUP_PATH_BYTES], temporary[BACKUP_PATH_BYTES + 8];
	int fd, rc;

	(void)buf_appendf(&b->manifest, "sequence %llu\ntaken %lld\n", (unsigned long long)b->result.sequence,
			  (long long)sys_wall_ms(sys));
	if (buf_appendf(&b->manifest, "end %08x\n", crc32c(0, b->manifest.ptr, b->manifest.len)))
		return fault_set(b->fault, ERR_NOMEM, "no memory for the manifest");
	(void)snprintf(path, sizeof(path), "%.600s/" MANIFEST, b->options.dir);
	(void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	fd = sys->ops->open(sys->self, temporary, SYS_CREATE | SYS_TRUNCATE);
	if (fd < 0)
		return io_fault(b, "make", temporary, fd);
	rc = write_at(b, fd, temporary, b->manifest.ptr, b->manifest.len, 0);
	if (rc == 0 && (rc = sys->ops->sync_fs(sys->self, fd)))
		rc = io_fault(b, "sync the file system of", temporary, rc);
	if (rc == 0 && (rc = sys->ops->fsync(sys->self, fd)))
		rc = io_fault(b, "sync", temporary, rc);
	sys->ops->close(sys->self, fd);
	if (rc)
		return rc;
	rc = sys->ops->rename(sys->self, temporary, path);
	if (rc == 0)
		rc = sys->ops->sync_dir(sys->self, b->options.dir);
	return rc ? io_fault(b, "name", path, rc) : 0;
}

int backup_take(struct backup *b)
{
	const struct sys *sys = b->options.sys;
	char path[BACKUP_PATH_BYTES];
	int rc = put_lock(b);

	/* Folders that a start expects, even where nothing goes into them. */
	for (int i = 0; i < 3 && rc == 0; i++) {
		(void)snprintf(path, sizeof(path), "%.600s/%s", b->options.dir,
			       i == 0 ? "topics" :
			       i == 1 ? "journal" :
					"seen");
		rc = sys->ops->mkdir(sys->self, path);
		if (rc)
			rc = io_fault(b, "make", path, rc);
	}
	for (uint32_t i = 0; i < b->file_count && rc == 0; i++)
		rc = take_file(b, &b->files[i]);
	if (rc == 0)
		rc = put_checkpoint(b);
	return rc ? rc : write_manifest(b);
}

/* ---- at rest ---- */

static int lock_data(struct backup *b, int *fd)
{
	const struct sys *sys = b->options.sys;
	char path[BACKUP_PATH_BYTES];
	int holder = 0, rc;

	(void)snprintf(path, sizeof(path), "%.600s/LOCK", b->options.data);
	*fd = sys->ops->open(sys->self, path, 0);
	if (*fd < 0)
		return fault_set(b->fault, ERR_IO, "%s is no data directory: cannot open %s: %s",
				 b->options.data, path, sys_error_text(*fd));
	rc = sys->ops->lock(sys->self, *fd, &holder);
	if (rc == -EWOULDBLOCK)
		return fault_set(
			b->fault, ERR_IN_USE,
			"%s is in use by process %d: leave out --data, and it is asked for the backup",
			b->options.data, holder);
	return rc ? io_fault(b, "lock", path, rc) : 0;
}

int backup_offline(const struct backup_options *options, struct backup_result *out, struct fault *fault)
{
	struct backup b;
	int fd = -1;
	int rc = backup_init(&b, options, fault);

	if (rc == 0)
		rc = lock_data(&b, &fd);
	if (rc == 0)
		rc = backup_make_target(&b, options->dir);
	if (rc == 0)
		rc = backup_plan(&b, UINT64_MAX);
	if (rc == 0)
		rc = backup_take(&b);
	*out = b.result;
	if (fd >= 0)
		options->sys->ops->close(options->sys->self, fd);
	backup_fini(&b);
	return rc;
}

/* ---- restore ---- */

static int load_manifest(struct backup *b, const char *path)
{
	const struct sys *sys = b->options.sys;
	struct sys_stat st;
	int64_t got = 0;
	int fd, rc = sys->ops->stat(sys->self, path, &st);

	if (rc == -ENOENT)
		return fault_set(b->fault, ERR_NOT_FOUND,
				 "%s is missing: %s is no backup, or one that did not end", path,
				 b->options.dir);
	fd = rc ? rc : sys->ops->open(sys->self, path, SYS_READ);
	if (fd < 0)
		return io_fault(b, "open", path, fd);
	if (st.bytes > MANIFEST_BYTES_MAX || buf_reserve(&b->manifest, st.bytes + 1))
		rc = fault_set(b->fault, ERR_NOMEM, "no memory for %s", path);
	else
		got = sys->ops->pread(sys->self, fd, b->manifest.ptr, st.bytes, 0);
	sys->ops->close(sys->self, fd);
	if (got < 0)
		return io_fault(b, "read", path, (int)got);
	b->manifest.len = (size_t)got;
	return rc;
}

/* "end CRC" is its last line, and right. */
static bool manifest_is_whole(const struct buf *m)
{
	char end[20];
	size_t body = m->len > 13 ? m->len - 13 : 0;

	(void)snprintf(end, sizeof(end), "end %08x\n", crc32c(0, m->ptr, body));
	return body > 0 && memcmp(m->ptr + body, end, 13) == 0 &&
	       memcmp(m->ptr, MANIFEST_HEAD, sizeof(MANIFEST_HEAD) - 1) == 0;
}

struct line {
	uint64_t bytes;
	uint32_t crc;
	char path[BACKUP_PATH_BYTES - 640];
};

/* Up to the next space, which is taken too. */
static struct slice take_word(struct slice *rest)
{
	const uint8_t *end = rest->len ? memchr(rest->ptr, ' ', rest->len) : NULL;
	size_t n = end ? (size_t)(end - rest->ptr) : rest->len;
	struct slice word = slice_make(rest->ptr, n);

	*rest = slice_from(*rest, end ? n + 1 : n);
	return word;
}

static bool read_crc(struct slice text, uint32_t *out)
{
	*out = 0;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
		*out = *out << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	return text.len == 8;
}

/* Takes a line off: 1 a file, 0 another line, ERR_CORRUPT. A path stays within the backup. */
static int next_line(struct slice *rest, struct line *out)
{
	const uint8_t *end = memchr(rest->ptr, '\n', rest->len);
	size_t n = end ? (size_t)(end - rest->ptr) : rest->len;
	struct slice text = slice_make(rest->ptr, n);

	*rest = slice_from(*rest, end ? n + 1 : n);
	if (!slice_eq_str(take_word(&text), "file"))
		return 0;
	if (!slice_to_u64(take_word(&text), &out->bytes) || !read_crc(take_word(&text), &out->crc) ||
	    text.len == 0 || text.len >= sizeof(out->path) || text.ptr[0] == '/')
		return ERR_CORRUPT;
	memcpy(out->path, text.ptr, text.len);
	out->path[text.len] = '\0';
	return strstr(out->path, "..") ? ERR_CORRUPT : 1;
}

static bool is_checkpoint(const struct line *line)
{
	return strncmp(line->path, "CHECKPOINT.", 11) == 0;
}

static int restore_file(struct backup *b, const struct line *line)
{
	char from[BACKUP_PATH_BYTES], to[BACKUP_PATH_BYTES];
	struct sys_stat st;
	uint32_t crc;
	int rc;

	(void)snprintf(from, sizeof(from), "%.600s/%s", b->options.dir, line->path);
	(void)snprintf(to, sizeof(to), "%.600s/%s", b->options.data, line->path);
	rc = b->options.sys->ops->stat(b->options.sys->self, from, &st);
	if (rc)
		return io_fault(b, "look at", from, rc);
	if (st.bytes != line->bytes)
		return fault_set(b->fault, ERR_CORRUPT, "%s has %llu bytes, its manifest says %llu", from,
				 (unsigned long long)st.bytes, (unsigned long long)line->bytes);
	rc = make_folders(b, b->options.data, line->path);
	if (rc == 0)
		rc = copy_file(b, from, to, line->bytes, &crc);
	if (rc == 0 && crc != line->crc)
		return fault_set(b->fault, ERR_CORRUPT,
				 "%s is damaged: its checksum is %08x, its manifest says %08x", from, crc,
				 line->crc);
	b->result.files++;
	b->result.bytes += line->bytes;
	return rc;
}

static int each_line(struct backup *b, bool checkpoints, int (*fn)(struct backup *b, const struct line *line))
{
	struct slice rest = buf_slice(&b->manifest);
	struct line line;
	int rc = 0;

	while (rest.len && rc == 0) {
		rc = next_line(&rest, &line);
		if (rc == 1)
			rc = is_checkpoint(&line) == checkpoints ? fn(b, &line) : 0;
		else if (rc < 0)
			rc = fault_set(b->fault, ERR_CORRUPT,
				       "the manifest of %s holds a line that cannot be read", b->options.dir);
	}
	return rc;
}

static int sum_line(struct backup *b, const struct line *line)
{
	b->total += line->bytes;
	return 0;
}

static int sync_all(struct backup *b)
{
	const struct sys *sys = b->options.sys;
	char path[BACKUP_PATH_BYTES];
	int fd, rc;

	(void)snprintf(path, sizeof(path), "%.600s/LOCK", b->options.data);
	fd = sys->ops->open(sys->self, path, SYS_CREATE);
	if (fd < 0)
		return io_fault(b, "make", path, fd);
	rc = sys->ops->sync_fs(sys->self, fd);
	sys->ops->close(sys->self, fd);
	if (rc == 0)
		rc = sys->ops->sync_dir(sys->self, b->options.data);
	return rc ? io_fault(b, "sync the file system of", b->options.data, rc) : 0;
}

static int restore(struct backup *b)
{
	char path[BACKUP_PATH_BYTES];
	int rc;

	(void)snprintf(path, sizeof(path), "%.600s/" MANIFEST, b->options.dir);
	rc = load_manifest(b, path);
	if (rc == 0 && !manifest_is_whole(&b->manifest))
		rc = fault_set(b->fault, ERR_CORRUPT, "%s is damaged: it does not end with its own checksum",
			       path);
	if (rc == 0)
		rc = each_line(b, false, sum_line);
	if (rc == 0)
		rc = each_line(b, true, sum_line);
	if (rc == 0)
		rc = backup_make_target(b, b->options.data);
	for (int last = 0; last < 2 && rc == 0; last++) {
		rc = each_line(b, last, restore_file);
		if (rc == 0)
			rc = sync_all(b);
	}
	return rc;
}

int backup_restore(const struct backup_options *options, struct backup_result *out, struct fault *fault)
{
	struct backup b;
	int rc = backup_init(&b, options, fault);

	if (rc == 0)
		rc = restore(&b);
	*out = b.result;
	backup_fini(&b);
	return rc;
}

/* ---- checking ---- */

struct checker {
	struct backup b; /* first: lines come with it */
	void (*tell)(void *ctx, const char *path, const char *text);
	void *ctx;
};

static int check_line(struct backup *b, const struct line *line)
{
	struct checker *c = (struct checker *)b;
	char path[BACKUP_PATH_BYTES], text[100];
	struct sys_stat st;
	int rc;

	(void)snprintf(path, sizeof(path), "%.600s/%s", b->options.dir, line->path);
	rc = b->options.sys->ops->stat(b->options.sys->self, path, &st);
	if (rc)
		c->tell(c->ctx, path, "is missing, though the manifest of the backup names it");
	else if (st.bytes != line->bytes) {
		(void)snprintf(text, sizeof(text), "has %llu bytes, the manifest of the backup says %llu",
			       (unsigned long long)st.bytes, (unsigned long long)line->bytes);
		c->tell(c->ctx, path, text);
	}
	return 0;
}

int backup_check(const struct sys *sys, const char *dir,
		 void (*tell)(void *ctx, const char *path, const char *text), void *ctx, struct fault *fault)
{
	struct backup_options options = {.sys = sys, .dir = dir};
	struct checker c = {.tell = tell, .ctx = ctx};
	char path[BACKUP_PATH_BYTES];
	int rc = backup_init(&c.b, &options, fault);

	(void)snprintf(path, sizeof(path), "%.600s/" MANIFEST, dir);
	if (rc == 0)
		rc = load_manifest(&c.b, path);
	if (rc == ERR_NOT_FOUND) {
		fault->err = 0;
		rc = 0;
	} else if (rc == 0 && !manifest_is_whole(&c.b.manifest)) {
		tell(ctx, path, "is damaged: it does not end with its own checksum");
	} else if (rc == 0) {
		rc = each_line(&c.b, false, check_line);
		if (rc == 0)
			rc = each_line(&c.b, true, check_line);
	}
	backup_fini(&c.b);
	return rc;
}
