/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash is of the largest power of two of first bytes, up to 1024, that the file had when it was first seen. A file
 * that has grown since is found again by asking for smaller ones, so that no length has to be remembered.
 */
#include "connect/files/files_find.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "sys/sys.h"

enum { PREFIX_MAX = 1024 };

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n >= m && strcmp(name + n - m, end) == 0;
}

bool files_is_unfinished(const char *path)
{
	static const char *const ends[] = {".tmp",        ".part",     ".partial", ".swp",
					   ".crdownload", ".filepart", "~"};
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (ends_with(name, ends[i]))
			return true;
	return name[0] == '.';
}

static bool look_at(const char *path, struct files_found *out)
{
	struct stat st;

	if (files_is_unfinished(path) || stat(path, &st) != 0 || !S_ISREG(st.st_mode) || !st.st_size)
		return false;
	*out = (struct files_found){.path = path,
				    .bytes = (uint64_t)st.st_size,
				    .device = (uint64_t)st.st_dev,
				    .inode = (uint64_t)st.st_ino,
				    .modified_ms =
					    (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000,
				    .compressed = ends_with(path, ".gz") || ends_with(path, ".zst")};
	return true;
}

/* By inode, then path: what two patterns found comes together. */
static int compare_inodes(const void *a, const void *b)
{
	const struct files_found *x = a, *y = b;

	if (x->device != y->device)
		return x->device < y->device ? -1 : 1;
	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return strcmp(x->path, y->path);
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(((const struct files_found *)a)->path, ((const struct files_found *)b)->path);
}

static uint32_t without_doubles(struct files_found *list, uint32_t count)
{
	uint32_t kept = 0;

	qsort(list, count, sizeof(list[0]), compare_inodes);
	for (uint32_t i = 0; i < count; i++)
		if (!kept || list[kept - 1].device != list[i].device || list[kept - 1].inode != list[i].inode)
			list[kept++] = list[i];
	qsort(list, kept, sizeof(list[0]), compare_paths);
	return kept;
}

/* Adds what fits one pattern to g. */
static int expand(const char *pattern, glob_t *g, bool more, struct fault *fault)
{
	char within[4096];
	struct stat st;
	int rc;

	if (stat(pattern, &st) == 0 && S_ISDIR(st.st_mode)) {
		if (snprintf(within, sizeof(within), "%s/*", pattern) >= (int)sizeof(within))
			return fault_set(fault, ERR_LIMIT, "the path %.60s... is too long", pattern);
		pattern = within;
	}
	rc = glob(pattern, GLOB_NOSORT | (more ? GLOB_APPEND : 0), NULL, g);
	if (rc == GLOB_NOSPACE)
		return ERR_NOMEM;
	if (rc == GLOB_ABORTED)
		return fault_set(fault, ERR_IO, "%s cannot be listed: %s", pattern, sys_error_text(-errno));
	return 0;
}

static int take_found(const glob_t *g, struct arena *arena, struct files_found **out, uint32_t *count,
		      struct fault *fault)
{
	struct files_found *list = arena_zalloc(arena, g->gl_pathc + 1, sizeof(list[0]));
	uint32_t n = 0;

	if (!list)
		return ERR_NOMEM;
	for (size_t i = 0; i < g->gl_pathc; i++) {
		if (!look_at(g->gl_pathv[i], &list[n]))
			continue;
		if (n == FILES_FOUND_MAX)
			return fault_set(fault, ERR_LIMIT, "more than %u files fit the paths",
					 FILES_FOUND_MAX);
		size_t len = strlen(g->gl_pathv[i]) + 1;
		struct slice copy = arena_copy(arena, slice_make(g->gl_pathv[i], len));
		if (!copy.ptr)
			return ERR_NOMEM;
		list[n++].path = (const char *)copy.ptr;
	}
	*count = without_doubles(list, n);
	*out = list;
	return 0;
}

int files_find(const struct conf_list *patterns, struct arena *arena, struct files_found **out,
	       uint32_t *count, struct fault *fault)
{
	glob_t g = {0};
	int rc = 0;

	for (uint32_t i = 0; !rc && i < patterns->count; i++)
		rc = expand(patterns->items[i], &g, i > 0, fault);
	if (!rc)
		rc = take_found(&g, arena, out, count, fault);
	globfree(&g);
	return rc;
}

/* ---- identity ---- */

static void write_identity(uint64_t device, uint64_t inode, const uint8_t *prefix, size_t n, char *out)
{
	static const struct hash_key key = {0x77656972, 0x66696c65};

	(void)snprintf(out, FILES_NAME_BYTES, "%llx-%llx-%zu-%016llx", (unsigned long long)device,
		       (unsigned long long)inode, n,
		       (unsigned long long)hash_sip13(&key, slice_make(prefix, n)));
}

/* The beginning of a file; how much of it, 0 where there is none. */
static size_t read_prefix_of(int fd, uint8_t *prefix, struct stat *st)
{
	ssize_t n = -1;

	if (fstat(fd, st) == 0)
		n = pread(fd, prefix, PREFIX_MAX, 0);
	return n > 0 ? (size_t)n : 0;
}

static size_t read_prefix(const char *path, uint8_t *prefix, struct stat *st)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t n;

	if (fd < 0)
		return 0;
	n = read_prefix_of(fd, prefix, st);
	close(fd);
	errno = 0;
	return n;
}

bool files_identify(const struct files_found *file, files_known_fn *known, void *ctx, char *out)
{
	uint8_t prefix[PREFIX_MAX];
	struct stat st;
	size_t n = read_prefix(file->path, prefix, &st), most = 1;

	if (!n || (uint64_t)st.st_ino != file->inode || (uint64_t)st.st_dev != file->device)
		return false;
	while (most * 2 <= n)
		most *= 2;
	for (size_t bytes = most; bytes > 0; bytes /= 2) {
		write_identity(file->device, file->inode, prefix, bytes, out);
		if (known(ctx, out))
			return true;
	}
	write_identity(file->device, file->inode, prefix, most, out);
	return true;
}

static bool fits(const uint8_t *prefix, size_t n, const struct stat *st, struct slice identity)
{
	char now[FILES_NAME_BYTES];

	for (size_t bytes = 1; bytes <= n && bytes <= PREFIX_MAX; bytes *= 2) {
		write_identity((uint64_t)st->st_dev, (uint64_t)st->st_ino, prefix, bytes, now);
		if (slice_eq_str(identity, now))
			return true;
	}
	return false;
}

bool files_is(const char *path, const char *identity)
{
	uint8_t prefix[PREFIX_MAX];
	struct stat st;
	size_t n = read_prefix(path, prefix, &st);

	return fits(prefix, n, &st, slice_str(identity));
}

size_t files_identity_bytes(const char *name)
{
	return strcspn(name, "@");
}

bool files_is_open(int fd, const char *name)
{
	uint8_t prefix[PREFIX_MAX];
	struct stat st;
	size_t n = read_prefix_of(fd, prefix, &st);

	return fits(prefix, n, &st, slice_make(name, files_identity_bytes(name)));
}
