/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_ARENA_H
#define WEIR_BASE_ARENA_H

#include "base/budget.h"
#include "base/slice.h"

/*
 * Memory that is freed all at once. A connection keeps one and resets it when
 * its requests are answered; the first chunk stays, so that a request of usual
 * size calls no allocator. The sum of all chunks never exceeds bytes_max.
 */
struct arena_chunk;

struct arena {
	struct arena_chunk *chunks; /* newest first */
	struct arena_chunk *spare;  /* of usual size, kept for the next ones */
	size_t used;                /* of the newest chunk */
	size_t chunk_bytes;         /* size of a usual chunk */
	size_t bytes;               /* held in all chunks, spare ones too */
	size_t bytes_max;
	struct budget_share *share; /* told of what is held; NULL: nobody */
};

/* An empty arena. Allocates nothing until asked. */
void arena_init(struct arena *a, size_t chunk_bytes, size_t bytes_max);

/* From now on `share` (kept; NULL: nobody) is told of every byte that is held; the one before is told that none is. */
void arena_charge(struct arena *a, struct budget_share *share);

/* Frees everything. The arena is as after arena_init, and is charged as before. */
void arena_fini(struct arena *a);

/* Forgets everything, keeps one chunk of usual size. */
void arena_reset(struct arena *a);

/* The same, but keeps chunks of usual size up to so many bytes, one at least: for who fills much of it again and again. */
void arena_reset_keep(struct arena *a, size_t bytes);

/* n bytes aligned to 16, uninitialised, or NULL past bytes_max or without memory. */
void *arena_alloc(struct arena *a, size_t n);

/* Zeroed memory for count items; NULL also where the product overflows. */
void *arena_zalloc(struct arena *a, size_t count, size_t size);

/* A copy of s in the arena; ptr NULL where there is no room (an empty s gives a non-NULL ptr). */
struct slice arena_copy(struct arena *a, struct slice s);

#endif
