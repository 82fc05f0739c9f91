/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_BLOB_H
#define WEIR_BASE_BLOB_H

#include <stdatomic.h>

#include "base/slice.h"

/*
 * Reference-counted bytes that are immutable once they are shared. The last
 * unref, on whichever thread, frees them. A blob may tell somebody how much
 * memory it holds: `gauge`, where set, has cap added at birth and taken away at
 * death, so that a budget can be kept without asking who still holds what.
 */
struct blob {
	_Atomic uint32_t refs;
	uint32_t flags; /* the maker's */
	size_t len;     /* bytes in use; set by the maker before sharing */
	size_t cap;
	_Atomic int64_t *gauge;
	struct blob_pool *pool; /* where it goes in the end (blob_pool.h); NULL: to the allocator */
	struct blob *next;      /* the pool's */
	_Alignas(64) uint8_t bytes[];
};

/* Returns an owned blob (one reference) with room for cap bytes, len 0; or NULL. */
struct blob *blob_new(size_t cap, _Atomic int64_t *gauge);

/* Shares: adds a reference and gives the same blob. */
struct blob *blob_ref(struct blob *b);

/* Takes a reference; NULL is allowed. */
void blob_unref(struct blob *b);

static inline struct slice blob_slice(const struct blob *b)
{
	return (struct slice){.ptr = b->bytes, .len = b->len};
}

#endif
