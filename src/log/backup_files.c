/* SPDX-License-Identifier: Apache-2.0 */
/* What plan, taking and restoring of a backup share: its memory, its folders, files copied with their sums. */
#include "log/backup_inner.h"

#include <errno.h>
#include <stdio.h>

#include "base/crc32c.h"
#include "base/mem.h"

#define PIECE_BYTES (1u << 20)

int backup_io_fault(struct backup *b, const char *what, const char *path, int rc)
{
	int err = rc == -ENOSPC || rc == -EDQUOT ? ERR_DISK_FULL : rc == -ENOMEM ? ERR_NOMEM : ERR_IO;

	return fault_set(b->fault, err, "cannot %s %s: %s", what, path, sys_error_text(rc));
}

int backup_init(struct backup *b, const struct backup_options *options, struct fault *fault)
{
	*b = (struct backup){.options = *options, .fault = fault};
	fault->err = 0;
	buf_init(&b->manifest, BACKUP_MANIFEST_BYTES_MAX);
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
	return rc && rc != -EACCES ? backup_io_fault(b, "make", dir, rc) : 0;
}

/* The folders above dir/path; one that was just made is not asked for again. */
int backup_make_folders(struct backup *b, const char *dir, const char *path)
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
	return rc ? backup_io_fault(b, "make", folder, rc) : 0;
}

/* ---- files ---- */

int backup_write_at(struct backup *b, int fd, const char *path, const void *bytes, size_t n, uint64_t at)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	int rc = n ? b->options.sys->ops->pwritev(b->options.sys->self, fd, &iov, 1, at) : 0;

	if (rc == 0 && n >= PIECE_BYTES)
		(void)b->options.sys->ops->write_back(b->options.sys->self, fd, at, n);
	return rc ? backup_io_fault(b, "write", path, rc) : 0;
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
			return backup_io_fault(b, "read", path, (int)got);
		if (got == 0)
			return fault_set(b->fault, ERR_CORRUPT, "%s has %llu bytes, %llu are wanted", path,
					 (unsigned long long)at, (unsigned long long)bytes);
		*crc = crc32c(*crc, b->bytes, (size_t)got);
		if (to >= 0)
			rc = backup_write_at(b, to, path, b->bytes, (size_t)got, at);
		at += (uint64_t)got;
		if (rc == 0)
			rc = progress(b, (uint64_t)got);
	}
	return rc;
}

int backup_copy_file(struct backup *b, const char *from, const char *to, uint64_t bytes, uint32_t *crc)
{
	const struct sys *sys = b->options.sys;
	int in = sys->ops->open(sys->self, from, SYS_READ);
	int out, rc;

	if (in < 0)
		return backup_io_fault(b, "open", from, in);
	out = sys->ops->open(sys->self, to, SYS_CREATE | SYS_EXCLUSIVE);
	rc = out < 0 ? backup_io_fault(b, "make", to, out) : pass_on(b, in, from, out, bytes, crc);
	if (out >= 0)
		sys->ops->close(sys->self, out);
	sys->ops->close(sys->self, in);
	return rc;
}

int backup_sum_file(struct backup *b, const char *path, uint64_t bytes, uint32_t *crc)
{
	const struct sys *sys = b->options.sys;
	int in = sys->ops->open(sys->self, path, SYS_READ);
	int rc;

	if (in < 0)
		return backup_io_fault(b, "open", path, in);
	rc = pass_on(b, in, path, -1, bytes, crc);
	sys->ops->close(sys->self, in);
	return rc;
}

int backup_put_line(struct backup *b, const char *path, uint64_t bytes, uint32_t crc)
{
	b->result.files++;
	b->result.bytes += bytes;
	if (buf_appendf(&b->manifest, "file %llu %08x %s\n", (unsigned long long)bytes, crc, path))
		return fault_set(b->fault, ERR_NOMEM, "no memory for the manifest");
	return 0;
}

/* A file that is made here, from memory. */
int backup_put_file(struct backup *b, const char *path, struct slice bytes)
{
	const struct sys *sys = b->options.sys;
	char to[BACKUP_PATH_BYTES];
	int fd, rc = backup_make_folders(b, b->options.dir, path);

	if (rc)
		return rc;
	(void)snprintf(to, sizeof(to), "%.600s/%s", b->options.dir, path);
	fd = sys->ops->open(sys->self, to, SYS_CREATE | SYS_TRUNCATE);
	if (fd < 0)
		return backup_io_fault(b, "make", to, fd);
	rc = backup_write_at(b, fd, to, bytes.ptr, bytes.len, 0);
	sys->ops->close(sys->self, fd);
	return rc ? rc : backup_put_line(b, path, bytes.len, crc32c(0, bytes.ptr, bytes.len));
}
