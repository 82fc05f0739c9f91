/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include "base/mem.h"

#define ARENA_ALIGN 16u

struct arena_chunk {
	struct arena_chunk *next;
	size_t cap;
	_Alignas(ARENA_ALIGN) uint8_t bytes[];
};

void arena_init(struct arena *a, size_t chunk_bytes, size_t bytes_max)
{
	*a = (struct arena){.chunk_bytes = chunk_bytes, .bytes_max = bytes_max};
}

void arena_charge(struct arena *a, struct budget_share *share)
{
	if (a->share)
		budget_sub(a->share, a->bytes);
	a->share = share;
	if (share)
		budget_add(share, a->bytes);
}

static void tell_change(struct arena *a, size_t before)
{
	if (!a->share || a->bytes == before)
		return;
	if (a->bytes > before)
		budget_add(a->share, a->bytes - before);
	else
		budget_sub(a->share, before - a->bytes);
}

static void free_chunks(struct arena_chunk *chunk)
{
	while (chunk) {
		struct arena_chunk *next = chunk->next;
		mem_free(chunk);
		chunk = next;
	}
}

void arena_fini(struct arena *a)
{
	size_t before = a->bytes;

	free_chunks(a->chunks);
	free_chunks(a->spare);
	a->chunks = a->spare = NULL;
	a->used = 0;
	a->bytes = 0;
	tell_change(a, before);
}

/* Those of usual size, as many as there is room for; the rest is freed. */
static void keep_chunks(struct arena *a, struct arena_chunk *chunk, size_t bytes)
{
	while (chunk) {
		struct arena_chunk *next = chunk->next;
		if (chunk->cap == a->chunk_bytes && (!a->bytes || a->bytes + chunk->cap <= bytes)) {
			chunk->next = a->spare;
			a->spare = chunk;
			a->bytes += chunk->cap;
		} else {
			mem_free(chunk);
		}
		chunk = next;
	}
}

void arena_reset_keep(struct arena *a, size_t bytes)
{
	struct arena_chunk *used = a->chunks, *spare = a->spare;
	size_t before = a->bytes;

	a->chunks = a->spare = NULL;
	a->used = 0;
	a->bytes = 0;
	keep_chunks(a, used, bytes);
	keep_chunks(a, spare, bytes);
	tell_change(a, before);
}

void arena_reset(struct arena *a)
{
	arena_reset_keep(a, 0);
}

static bool use_spare(struct arena *a, size_t n)
{
	struct arena_chunk *chunk = a->spare;

	if (!chunk || n > chunk->cap)
		return false;
	a->spare = chunk->next;
	chunk->next = a->chunks;
	a->chunks = chunk;
	a->used = 0;
	return true;
}

static bool add_chunk(struct arena *a, size_t n)
{
	size_t cap = n > a->chunk_bytes ? n : a->chunk_bytes;
	struct arena_chunk *chunk;

	if (use_spare(a, n))
		return true;
	if (cap > a->bytes_max || a->bytes > a->bytes_max - cap)
		cap = n;
	if (cap > a->bytes_max || a->bytes > a->bytes_max - cap)
		return false;
	chunk = mem_alloc(sizeof(*chunk) + cap);
	if (!chunk)
		return false;
	chunk->cap = cap;
	chunk->next = a->chunks;
	a->chunks = chunk;
	a->used = 0;
	a->bytes += cap;
	tell_change(a, a->bytes - cap);
	return true;
}

void *arena_alloc(struct arena *a, size_t n)
{
	void *ptr;

	if (n > SIZE_MAX - ARENA_ALIGN)
		return NULL;
	n = n ? (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1) : ARENA_ALIGN;
	if (!a->chunks || a->chunks->cap - a->used < n)
		if (!add_chunk(a, n))
			return NULL;
	ptr = a->chunks->bytes + a->used;
	a->used += n;
	return ptr;
}

void *arena_zalloc(struct arena *a, size_t count, size_t size)
{
	size_t n;
	void *ptr;

	if (__builtin_mul_overflow(count, size, &n))
		return NULL;
	ptr = arena_alloc(a, n);
	if (ptr)
		memset(ptr, 0, n);
	return ptr;
}

struct slice arena_copy(struct arena *a, struct slice s)
{
	uint8_t *ptr = arena_alloc(a, s.len);

	if (!ptr)
		return slice_null();
	if (s.len)
		memcpy(ptr, s.ptr, s.len);
	return slice_make(ptr, s.len);
}
