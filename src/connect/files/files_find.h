/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_FILES_FILES_FIND_H
#define WEIR_CONNECT_FILES_FILES_FIND_H

#include "base/arena.h"
#include "base/err.h"
#include "conf/conf.h"

/*
 * Which files there are, and which of them are the same as before. A file is known by device, inode
 * and a hash of its first bytes: renaming it changes nothing, and another file under its old
 * name, or on its old inode, is another.
 */
#define FILES_NAME_BYTES 64u /* of an identity as text, with its NUL */
#define FILES_FOUND_MAX 100000u

struct files_found {
	const char *path;
	uint64_t bytes, device, inode;
	int64_t modified_ms;
	bool compressed;
};

/* Is an identity known? */
typedef bool files_known_fn(void *ctx, const char *identity);

/*
 * Regular files that fit one of the patterns (globs; a directory stands for what is in it), without hidden
 * ones, those that are named as unfinished ones are (.tmp, .part, ~), empty ones, and those twice. In the
 * arena. 0; ERR_LIMIT, ERR_NOMEM, ERR_IO with *fault.
 */
int files_find(const struct conf_list *patterns, struct arena *arena, struct files_found **out,
	       uint32_t *count, struct fault *fault);

/*
 * The identity of a file: the one that is known already, of however many of its first bytes, else one of as many
 * as there are (up to 1024). False where it is gone or cannot be read: errno says why.
 */
bool files_identify(const struct files_found *file, files_known_fn *known, void *ctx, char *out);

/* Is it named as writers name what they are not through with, or hidden? */
bool files_is_unfinished(const char *path);

/* Does a file, of whatever path, still have this identity? */
bool files_is(const char *path, const char *identity);

/* Of a part's name, IDENTITY or IDENTITY@PLACE, how much is the identity. */
size_t files_identity_bytes(const char *name);

/* Is a file that is open still the one of a part of this name? */
bool files_is_open(int fd, const char *name);

#endif
