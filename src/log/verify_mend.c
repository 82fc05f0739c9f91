/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two steps that every repair is made of: keep the old file in the
 * quarantine, then put a new one in its place. Neither deletes a byte, and after
 * each of the calls below the directory is one that a repair can begin with: the
 * copy is synced and named in the manifest before the old name is taken over, and
 * the new file is whole before it gets it.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "log/verify_inner.h"

#define COPY_BYTES (1u << 20)

int verify_failed(struct verify *v, const char *what, const char *path, int rc)
{
	int err = rc == -ENOSPC || rc == -EDQUOT ? ERR_DISK_FULL : rc == -ENOMEM ? ERR_NOMEM : ERR_IO;

	return fault_set(v->fault, err, "cannot %s %s: %s", what, path, sys_error_text(rc));
}

/* ---- new files ---- */

int verify_new_open(struct verify *v, struct verify_new *n, const char *path)
{
	*n = (struct verify_new){.fd = -1};
	(void)snprintf(n->path, sizeof(n->path), "%s", path);
	(void)snprintf(n->temporary, sizeof(n->temporary), "%s.mend", path);
	n->fd = v->sys->ops->open(v->sys->self, n->temporary, SYS_CREATE | SYS_TRUNCATE);
	return n->fd < 0 ? verify_failed(v, "make", n->temporary, n->fd) : 0;
}

int verify_new_put(struct verify *v, struct verify_new *n, struct slice bytes)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes.ptr, .iov_len = bytes.len};
	int rc = bytes.len ? v->sys->ops->pwritev(v->sys->self, n->fd, &iov, 1, n->bytes) : 0;

	n->bytes += bytes.len;
	return rc ? verify_failed(v, "write", n->temporary, rc) : 0;
}

int verify_new_copy(struct verify *v, struct verify_new *n, int from, uint64_t at, uint64_t bytes)
{
	uint8_t *piece = mem_alloc(COPY_BYTES);
	int rc = piece ? 0 : verify_failed(v, "copy to", n->temporary, -ENOMEM);

	while (bytes > 0 && rc == 0) {
		size_t want = bytes < COPY_BYTES ? (size_t)bytes : COPY_BYTES;
		int64_t got = v->sys->ops->pread(v->sys->self, from, piece, want, at);
		if (got <= 0)
			rc = verify_failed(v, "read what goes to", n->temporary, got < 0 ? (int)got : -EIO);
		else
			rc = verify_new_put(v, n, slice_make(piece, (size_t)got));
		at += got > 0 ? (uint64_t)got : 0;
		bytes -= got > 0 ? (uint64_t)got : 0;
	}
	mem_free(piece);
	return rc;
}

static int sync_above(struct verify *v, const char *path)
{
	char above[VERIFY_PATH_BYTES];
	char *slash;
	int rc;

	(void)snprintf(above, sizeof(above), "%s", path);
	slash = strrchr(above, '/');
	if (slash)
		*slash = '\0';
	rc = v->sys->ops->sync_dir(v->sys->self, slash ? above : ".");
	return rc ? verify_failed(v, "sync the folder of", path, rc) : 0;
}

int verify_new_finish(struct verify *v, struct verify_new *n)
{
	int rc = v->sys->ops->fsync(v->sys->self, n->fd);

	v->sys->ops->close(v->sys->self, n->fd);
	n->fd = -1;
	if (rc == 0)
		rc = v->sys->ops->rename(v->sys->self, n->temporary, n->path);
	if (rc)
		return verify_failed(v, "put in place", n->path, rc);
	return sync_above(v, n->path);
}

void verify_new_drop(struct verify *v, struct verify_new *n)
{
	if (n->fd >= 0)
		v->sys->ops->close(v->sys->self, n->fd);
	n->fd = -1;
	(void)v->sys->ops->unlink(v->sys->self, n->temporary);
}

int verify_new_write(struct verify *v, struct verify_new *n, struct slice bytes)
{
	int rc = verify_new_put(v, n, bytes);

	if (rc == 0)
		return verify_new_finish(v, n);
	verify_new_drop(v, n);
	return rc;
}

/* ---- the quarantine ---- */

static int make_dir(struct verify *v, const char *path)
{
	int rc = v->sys->ops->mkdir(v->sys->self, path);

	return rc ? verify_failed(v, "make", path, rc) : sync_above(v, path);
}

/* DATA/quarantine/20260131T235959.123Z, made with the first file. */
static int open_quarantine(struct verify *v)
{
	int64_t now_ms = sys_wall_ms(v->sys);
	time_t seconds = (time_t)(now_ms / 1000);
	char path[VERIFY_PATH_BYTES];
	struct tm tm;
	int rc;

	if (v->quarantine[0])
		return 0;
	(void)gmtime_r(&seconds, &tm);
	(void)snprintf(path, sizeof(path), "%s/quarantine", v->options->dir);
	rc = make_dir(v, path);
	if (rc)
		return rc;
	(void)snprintf(v->quarantine, sizeof(v->quarantine), "%.500s/%04d%02d%02dT%02d%02d%02d.%03dZ", path,
		       tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		       (int)(now_ms % 1000));
	buf_init(&v->manifest, 256u << 20);
	(void)buf_append_str(&v->manifest,
			     "# file\tposition\tbytes\tfirst offset\toffset behind\twhat was wrong with it\n");
	(void)snprintf(v->out->quarantine, sizeof(v->out->quarantine), "%s", v->quarantine);
	return make_dir(v, v->quarantine);
}

static int write_manifest(struct verify *v, const char *name, uint64_t position, uint64_t bytes, int64_t from,
			  int64_t to, const char *reason)
{
	struct verify_new n;
	char path[VERIFY_PATH_BYTES];
	int rc;

	if (buf_appendf(&v->manifest, "%s\t%llu\t%llu\t%lld\t%lld\t%s\n", name, (unsigned long long)position,
			(unsigned long long)bytes, (long long)from, (long long)to, reason))
		return verify_failed(v, "write the manifest of", v->quarantine, -ENOMEM);
	(void)snprintf(path, sizeof(path), "%s/MANIFEST", v->quarantine);
	rc = verify_new_open(v, &n, path);
	return rc ? rc : verify_new_write(v, &n, buf_slice(&v->manifest));
}

/* The folders of `name` below the quarantine. */
static int make_folders(struct verify *v, const char *name)
{
	char path[VERIFY_PATH_BYTES];
	int rc = 0;

	for (const char *slash = strchr(name, '/'); slash && rc == 0; slash = strchr(slash + 1, '/')) {
		(void)snprintf(path, sizeof(path), "%s/%.*s", v->quarantine, (int)(slash - name), name);
		rc = make_dir(v, path);
	}
	return rc;
}

static int copy_file(struct verify *v, const char *from, const char *to)
{
	struct verify_new n;
	struct sys_stat st;
	int fd, rc;

	rc = v->sys->ops->stat(v->sys->self, from, &st);
	fd = rc ? rc : v->sys->ops->open(v->sys->self, from, SYS_READ);
	if (fd < 0)
		return verify_failed(v, "open", from, fd);
	rc = verify_new_open(v, &n, to);
	if (rc == 0) {
		rc = verify_new_copy(v, &n, fd, 0, st.bytes);
		if (rc)
			verify_new_drop(v, &n);
		else
			rc = verify_new_finish(v, &n);
	}
	v->sys->ops->close(v->sys->self, fd);
	return rc;
}

static int link_file(struct verify *v, const char *from, const char *to)
{
	int rc = v->sys->ops->link ? v->sys->ops->link(v->sys->self, from, to) : -EOPNOTSUPP;

	if (rc == 0)
		return sync_above(v, to);
	if (rc == -EXDEV || rc == -EPERM || rc == -EMLINK || rc == -EOPNOTSUPP)
		return copy_file(v, from, to);
	return verify_failed(v, "link", to, rc);
}

int verify_set_aside(struct verify *v, const char *path, bool may_link, uint64_t position, uint64_t bytes,
		     int64_t from, int64_t to, const char *reason)
{
	const char *name = path + strlen(v->options->dir) + 1;
	char kept[VERIFY_PATH_BYTES];
	struct sys_stat st;
	int rc = open_quarantine(v);

	if (rc == 0)
		rc = make_folders(v, name);
	if (rc)
		return rc;
	(void)snprintf(kept, sizeof(kept), "%s/%s", v->quarantine, name);
	if (v->sys->ops->stat(v->sys->self, path, &st) == 0 &&
	    v->sys->ops->stat(v->sys->self, kept, &st) == -ENOENT)
		rc = may_link ? link_file(v, path, kept) : copy_file(v, path, kept);
	if (rc == 0)
		rc = write_manifest(v, name, position, bytes, from, to, reason);
	return rc;
}
