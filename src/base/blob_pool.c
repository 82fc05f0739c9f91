/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	block                      | page
 *	┌──────────────────┬───────┬──────────────┬─────
 *	│ nothing          │ blob  │ bytes        │ …
 *	└──────────────────┴───────┴──────────────┴─────
 *
 * The list of kept blobs is short (large blobs, few megabytes), so it is walked. The
 * one that was given last is tried first: its pages are still in the processor's caches.
 */
#include "base/blob_pool.h"

#include <pthread.h>

#include "base/check.h"
#include "base/mem.h"

struct blob_pool {
	pthread_mutex_t lock;
	struct blob *kept; /* given last first */
	size_t kept_bytes, kept_max;
	size_t out; /* blobs in use */
	bool closed;
};

_Static_assert(sizeof(struct blob) == offsetof(struct blob, bytes), "the bytes begin behind the blob");

static void *block_of(struct blob *b)
{
	return b->bytes - BLOB_PAGE;
}

struct blob_pool *blob_pool_new(size_t kept_max)
{
	struct blob_pool *pool = mem_zalloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->kept_max = kept_max;
	(void)pthread_mutex_init(&pool->lock, NULL);
	return pool;
}

static void free_all(struct blob *list)
{
	while (list) {
		struct blob *next = list->next;

		mem_free_pages(block_of(list), BLOB_PAGE + list->cap);
		list = next;
	}
}

static void end(struct blob_pool *pool)
{
	(void)pthread_mutex_destroy(&pool->lock);
	mem_free(pool);
}

static struct blob *take_kept(struct blob_pool *pool, size_t cap)
{
	struct blob **at = &pool->kept, *b;

	while (*at && ((*at)->cap < cap || (*at)->cap / 2 > cap))
		at = &(*at)->next;
	b = *at;
	if (b) {
		*at = b->next;
		pool->kept_bytes -= b->cap;
	}
	return b;
}

/*
 * Few sizes, four to eight to each doubling: what one has given back fits the next. Pages behind what is used are never touched.
 */
static size_t round_up(size_t cap)
{
	size_t step = BLOB_PAGE;

	while (step * 8 <= cap)
		step *= 2;
	return (cap + step - 1) & ~(step - 1);
}

static struct blob *make(size_t cap)
{
	uint8_t *block;
	struct blob *b;

	if (cap > SIZE_MAX / 2)
		return NULL;
	cap = round_up(cap);
	block = mem_pages(BLOB_PAGE + cap);
	if (!block)
		return NULL;
	b = (struct blob *)(void *)(block + BLOB_PAGE - sizeof(*b));
	b->cap = cap;
	return b;
}

struct blob *blob_pool_take(struct blob_pool *pool, size_t cap)
{
	struct blob *b;

	(void)pthread_mutex_lock(&pool->lock);
	b = take_kept(pool, cap);
	pool->out++;
	(void)pthread_mutex_unlock(&pool->lock);
	if (!b)
		b = make(cap);
	if (!b) {
		(void)pthread_mutex_lock(&pool->lock);
		pool->out--;
		(void)pthread_mutex_unlock(&pool->lock);
		return NULL;
	}
	atomic_init(&b->refs, 1);
	b->flags = 0;
	b->len = 0;
	b->gauge = NULL;
	b->pool = pool;
	b->next = NULL;
	return b;
}

/* What is kept beyond the bound, given longest ago, taken off. */
static struct blob *cut_off(struct blob_pool *pool)
{
	struct blob **at = &pool->kept, *rest;
	size_t sum = 0;

	while (*at && sum + (*at)->cap <= pool->kept_max) {
		sum += (*at)->cap;
		at = &(*at)->next;
	}
	rest = *at;
	*at = NULL;
	pool->kept_bytes = sum;
	return rest;
}

void blob_pool_give(struct blob *b)
{
	struct blob_pool *pool = b->pool;
	struct blob *rest;
	bool last;

	(void)pthread_mutex_lock(&pool->lock);
	if (b->cap > pool->kept_max) {
		b->next = NULL;
		rest = b;
	} else {
		b->next = pool->kept;
		pool->kept = b;
		pool->kept_bytes += b->cap;
		rest = pool->kept_bytes > pool->kept_max ? cut_off(pool) : NULL;
	}
	pool->out--;
	last = pool->closed && pool->out == 0;
	(void)pthread_mutex_unlock(&pool->lock);
	free_all(rest);
	if (last)
		end(pool);
}

void blob_pool_trim(struct blob_pool *pool)
{
	struct blob *list;

	(void)pthread_mutex_lock(&pool->lock);
	list = pool->kept;
	pool->kept = NULL;
	pool->kept_bytes = 0;
	(void)pthread_mutex_unlock(&pool->lock);
	free_all(list);
}

void blob_pool_close(struct blob_pool *pool)
{
	bool last;

	if (!pool)
		return;
	blob_pool_trim(pool);
	(void)pthread_mutex_lock(&pool->lock);
	pool->closed = true;
	pool->kept_max = 0;
	last = pool->out == 0;
	(void)pthread_mutex_unlock(&pool->lock);
	if (last)
		end(pool);
}
