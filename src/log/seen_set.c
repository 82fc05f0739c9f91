/* SPDX-License-Identifier: Apache-2.0 */
#include "log/seen_set.h"

#include "base/mem.h"

static bool is_among(const struct seen_run *r, struct seen_run *const *runs, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (runs[i] == r)
			return true;
	}
	return false;
}

static void put_run(struct seen_set *set, struct seen_run *r)
{
	set->runs[set->count] = seen_run_ref(r);
	set->views[set->count] = (struct seen_view){r->filter.bits, r->filter.blocks, r->end_ms};
	set->count++;
}

struct seen_set *seen_set_new(const struct seen_set *old, struct seen_run *const *drop, uint32_t drop_count,
			      struct seen_run *const *add, uint32_t add_count)
{
	size_t max = (old ? old->count : 0) + (size_t)add_count;
	struct seen_set *set =
		mem_zalloc(1, sizeof(*set) + max * (sizeof(set->views[0]) + sizeof(set->runs[0])));

	if (!set)
		return NULL;
	atomic_init(&set->refs, 1);
	set->runs = (struct seen_run **)(void *)(set->views + max);
	for (uint32_t i = 0; i < add_count; i++)
		put_run(set, add[i]);
	for (uint32_t i = 0; old && i < old->count; i++) {
		if (!is_among(old->runs[i], drop, drop_count))
			put_run(set, old->runs[i]);
	}
	return set;
}

struct seen_set *seen_set_ref(struct seen_set *set)
{
	atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
	return set;
}

void seen_set_unref(struct seen_set *set)
{
	if (atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (uint32_t i = 0; i < set->count; i++)
		seen_run_unref(set->runs[i]);
	mem_free(set);
}
