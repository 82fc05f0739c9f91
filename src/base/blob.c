/* SPDX-License-Identifier: Apache-2.0 */
#include "base/blob.h"

#include "base/blob_pool.h"
#include "base/check.h"
#include "base/mem.h"

struct blob *blob_new(size_t cap, _Atomic int64_t *gauge)
{
	struct blob *b;

	if (cap > SIZE_MAX - sizeof(*b) - 64)
		return NULL;
	b = mem_aligned(64, sizeof(*b) + cap);
	if (!b)
		return NULL;
	atomic_init(&b->refs, 1);
	b->flags = 0;
	b->len = 0;
	b->cap = cap;
	b->gauge = gauge;
	b->pool = NULL;
	if (gauge)
		atomic_fetch_add_explicit(gauge, (int64_t)cap, memory_order_relaxed);
	return b;
}

struct blob *blob_ref(struct blob *b)
{
	uint32_t before = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);

	CHECK(before > 0 && before < UINT32_MAX);
	return b;
}

void blob_unref(struct blob *b)
{
	if (!b)
		return;
	if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (b->gauge)
		atomic_fetch_sub_explicit(b->gauge, (int64_t)b->cap, memory_order_relaxed);
	if (b->pool)
		blob_pool_give(b);
	else
		mem_free(b);
}
