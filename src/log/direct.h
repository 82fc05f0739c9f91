/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_DIRECT_H
#define WEIR_LOG_DIRECT_H

#include "log/files.h"

/*
 * Writing to a file past the page cache: memory that such writes need, and
 * whether the file system takes them. One thread's.
 */
struct direct {
	uint8_t *aligned; /* DIRECT_BYTES, NULL until the first write */
	bool refused;     /* the file system does not do it: not asked again */
};

#define DIRECT_ALIGN 4096u
#define DIRECT_BYTES (512u << 10)

void direct_fini(struct direct *d);

/* The last edge of a page at or before that place of a file. */
static inline uint64_t direct_edge(uint64_t at)
{
	return at & ~(uint64_t)(DIRECT_ALIGN - 1);
}

/*
 * Writes all of the vector at `at`: whole pages of the file past the cache, what is left at
 * both ends through it (`cached`, pinned by the caller). So no page is ever written both ways
 * within one call, and what the cache holds stays the same as the file. `slot` and `path` are of a
 * second handle of the same file. 0 or -errno; an error may leave a part written. -EOPNOTSUPP:
 * this file system, or this system, does not do it.
 */
int direct_write(struct direct *d, struct files *files, struct file_slot *slot, const char *path, int cached,
		 const struct iovec *iov, int count, uint64_t at);

#endif
