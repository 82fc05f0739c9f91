/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_BLOB_POOL_H
#define WEIR_BASE_BLOB_POOL_H

#include "base/blob.h"

/*
 * Large blobs that are used again, since new memory costs more than what is copied into it: each
 * new page is a fault, and is cleared first. Their bytes begin at a page and fill whole pages, as direct
 * writes want it. Any thread.
 */
struct blob_pool;

#define BLOB_PAGE 4096u

/* Keeps at most so many bytes of blobs that nobody uses. Returns owned, or NULL. */
struct blob_pool *blob_pool_new(size_t kept_max);

/* As blob_new, of a kept one where one fits that is at most twice as large. NULL: no memory. */
struct blob *blob_pool_take(struct blob_pool *pool, size_t cap);

/* Lets go of what is kept. */
void blob_pool_trim(struct blob_pool *pool);

/* Takes: nothing is kept any more, and the pool ends with the last of its blobs. NULL is allowed. */
void blob_pool_close(struct blob_pool *pool);

/* Of blob_unref alone: the last reference is gone. */
void blob_pool_give(struct blob *b);

#endif
