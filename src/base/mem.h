/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_MEM_H
#define WEIR_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/*
 * The one way to the allocator. Everything may fail: NULL means that this
 * request, start-up step or connection is refused, never that the daemon ends.
 * Tests count the calls and let the n-th fail.
 */

/* Returns owned, uninitialised bytes, or NULL. n of 0 gives a unique pointer. */
void *mem_alloc(size_t n) __attribute__((malloc, warn_unused_result));

/* Returns owned, zeroed memory for count items of size bytes; checks overflow. */
void *mem_zalloc(size_t count, size_t size) __attribute__((malloc, warn_unused_result));

/* As realloc: on NULL the old block is still owned by the caller. */
void *mem_realloc(void *ptr, size_t n) __attribute__((warn_unused_result));

/* Returns owned memory aligned to `align` (a power of two), or NULL. */
void *mem_aligned(size_t align, size_t n) __attribute__((malloc, warn_unused_result));

/* Takes; NULL is allowed. */
void mem_free(void *ptr);

/* Returns owned whole pages, uninitialised, straight from the kernel, for what is large and comes and goes: it leaves no gaps in a heap. NULL as above. */
void *mem_pages(size_t n) __attribute__((malloc, warn_unused_result));

/* Takes what mem_pages gave, with its n. NULL is allowed. */
void mem_free_pages(void *ptr, size_t n);

/* Returns an owned NUL-terminated copy of n bytes. */
char *mem_strndup(const void *text, size_t n) __attribute__((warn_unused_result));

/*
 * Once, at the start of a process whose memory is bounded: large blocks are given back
 * to the kernel when they are freed, and so are the ends of heaps. Otherwise the
 * allocator learns from the first large block that such come again, and keeps them.
 */
void mem_give_back(void);

/*
 * Gives pages that lie free between blocks back to the kernel, where they are many. A walk over
 * what is free, under the allocator's locks: for a thread in the background, every few seconds at most.
 */
void mem_trim(void);

/* For tests: fails the n-th call from now (1 = the next), 0 switches off. */
void mem_fail_at(uint64_t nth);

/* For tests: calls of mem_alloc, mem_zalloc, mem_realloc, mem_aligned and mem_pages so far. */
uint64_t mem_calls(void);

#endif
