/* SPDX-License-Identifier: Apache-2.0 */
/* A backup is brought back, or looked over: line by line of its manifest. */
#include "log/backup_inner.h"

#include <errno.h>
#include <stdio.h>

#include "base/crc32c.h"

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
		return backup_io_fault(b, "open", path, fd);
	if (st.bytes > BACKUP_MANIFEST_BYTES_MAX || buf_reserve(&b->manifest, st.bytes + 1))
		rc = fault_set(b->fault, ERR_NOMEM, "no memory for %s", path);
	else
		got = sys->ops->pread(sys->self, fd, b->manifest.ptr, st.bytes, 0);
	sys->ops->close(sys->self, fd);
	if (got < 0)
		return backup_io_fault(b, "read", path, (int)got);
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
	       memcmp(m->ptr, BACKUP_MANIFEST_HEAD, sizeof(BACKUP_MANIFEST_HEAD) - 1) == 0;
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
		return backup_io_fault(b, "look at", from, rc);
	if (st.bytes != line->bytes)
		return fault_set(b->fault, ERR_CORRUPT, "%s has %llu bytes, its manifest says %llu", from,
				 (unsigned long long)st.bytes, (unsigned long long)line->bytes);
	rc = backup_make_folders(b, b->options.data, line->path);
	if (rc == 0)
		rc = backup_copy_file(b, from, to, line->bytes, &crc);
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
		return backup_io_fault(b, "make", path, fd);
	rc = sys->ops->sync_fs(sys->self, fd);
	sys->ops->close(sys->self, fd);
	if (rc == 0)
		rc = sys->ops->sync_dir(sys->self, b->options.data);
	return rc ? backup_io_fault(b, "sync the file system of", b->options.data, rc) : 0;
}

static int restore(struct backup *b)
{
	char path[BACKUP_PATH_BYTES];
	int rc;

	(void)snprintf(path, sizeof(path), "%.600s/" BACKUP_MANIFEST, b->options.dir);
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

	(void)snprintf(path, sizeof(path), "%.600s/" BACKUP_MANIFEST, dir);
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
