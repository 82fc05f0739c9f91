/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SYS_TEST_DIR_H
#define WEIR_SYS_TEST_DIR_H

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * For tests and fuzz targets only: a folder, or a file, of their own for what they write. Whoever kills them
 * sets TMPDIR to a folder that it removes.
 */

#define TEST_DIR_BYTES 128u

static inline void test_dir_template(char *out, const char *name)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(out, TEST_DIR_BYTES, "%s/weir-%s-XXXXXX", tmp && *tmp ? tmp : "/tmp", name);
}

/* Makes $TMPDIR/weir-NAME-XXXXXX (/tmp without TMPDIR) and puts its path in out[TEST_DIR_BYTES]. */
static inline bool test_dir_make(char *out, const char *name)
{
	test_dir_template(out, name);
	return mkdtemp(out) != NULL;
}

/* Makes an empty file of such a name. */
static inline bool test_dir_make_file(char *out, const char *name)
{
	int fd;

	test_dir_template(out, name);
	fd = mkstemp(out);
	return fd >= 0 && close(fd) == 0;
}

static inline int test_dir_remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* Removes it with all that is in it. */
static inline bool test_dir_remove(const char *path)
{
	return nftw(path, test_dir_remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0;
}

#endif
