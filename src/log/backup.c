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

#include "base/crc32c.h"
#include "log/checkpoint.h"

/* ---- taking ---- */

/* Linked where that can be; then the name in the backup is read, so that the sum is of what is there. */
static int take_file(struct backup *b, const struct backup_file *f)
{
	const struct sys *sys = b->options.sys;
	char from[BACKUP_PATH_BYTES], to[BACKUP_PATH_BYTES];
	uint32_t crc;
	int rc = backup_make_folders(b, b->options.dir, f->path);

	if (rc)
		return rc;
	(void)snprintf(from, sizeof(from), "%.600s/%s", b->options.data, f->path);
	(void)snprintf(to, sizeof(to), "%.600s/%s", b->options.dir, f->path);
	if (f->how == BACKUP_LINK && sys->ops->link && sys->ops->link(sys->self, from, to) == 0) {
		b->result.linked++;
		rc = backup_sum_file(b, to, f->bytes, &crc);
	} else {
		rc = backup_copy_file(b, from, to, f->bytes, &crc);
	}
	return rc ? rc : backup_put_line(b, f->path, f->bytes, crc);
}

static int put_checkpoint(struct backup *b)
{
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0 && b->checkpoint.len; i++)
		rc = backup_put_file(b, i ? "CHECKPOINT.b" : "CHECKPOINT.a", buf_slice(&b->checkpoint));
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
		return backup_io_fault(b, "make", path, fd);
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
	(void)snprintf(path, sizeof(path), "%.600s/" BACKUP_MANIFEST, b->options.dir);
	(void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	fd = sys->ops->open(sys->self, temporary, SYS_CREATE | SYS_TRUNCATE);
	if (fd < 0)
		return backup_io_fault(b, "make", temporary, fd);
	rc = backup_write_at(b, fd, temporary, b->manifest.ptr, b->manifest.len, 0);
	if (rc == 0 && (rc = sys->ops->sync_fs(sys->self, fd)))
		rc = backup_io_fault(b, "sync the file system of", temporary, rc);
	if (rc == 0 && (rc = sys->ops->fsync(sys->self, fd)))
		rc = backup_io_fault(b, "sync", temporary, rc);
	sys->ops->close(sys->self, fd);
	if (rc)
		return rc;
	rc = sys->ops->rename(sys->self, temporary, path);
	if (rc == 0)
		rc = sys->ops->sync_dir(sys->self, b->options.dir);
	return rc ? backup_io_fault(b, "name", path, rc) : 0;
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
			rc = backup_io_fault(b, "make", path, rc);
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
	return rc ? backup_io_fault(b, "lock", path, rc) : 0;
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
