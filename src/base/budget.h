/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_BUDGET_H
#define WEIR_BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A bound on memory that grows with what clients do, shared by all loops. It
 * only counts; who holds memory says so, and who begins something new asks first.
 *
 * A loop has a share, which takes from the budget in steps: counting a connection
 * or a request is an addition on the loop's own cache line, and an atomic one only
 * every step. So `used` is too high by at most two steps a loop, and never too low.
 * Bytes that pass from thread to thread (blobs) are counted in `used` itself.
 *
 * Work that was begun is never refused for it: what that needs is added, also past
 * the bound, and nothing new begins until it is below again. Rejected: to let each
 * allocation fail at the bound, since a request that fails half way has cost its time
 * and memory for nothing, and its answer needs memory too.
 */
struct budget {
	_Atomic int64_t used; /* may be the gauge of a blob */
	_Atomic int64_t bytes_max;
	int64_t step;
};

/* Of one thread. */
struct budget_share {
	struct budget *budget; /* NULL: nothing is bounded */
	int64_t used, taken;   /* taken: of the budget, at least used */
	int64_t slack;         /* taken may be so much more */
};

/* For so many shares. */
void budget_init(struct budget *b, int64_t bytes_max, uint32_t shares);

/* Any thread, at any time. */
void budget_set_max(struct budget *b, int64_t bytes_max);
int64_t budget_used(const struct budget *b);

/* budget NULL: no bound. */
void budget_share_init(struct budget_share *s, struct budget *budget);

/* What budget_add and budget_sub do at a step. */
void budget_settle(struct budget_share *s);

/* So many bytes are held from now on. */
static inline void budget_add(struct budget_share *s, size_t bytes)
{
	s->used += (int64_t)bytes;
	if (s->used > s->taken)
		budget_settle(s);
}

/* They are not any more. */
static inline void budget_sub(struct budget_share *s, size_t bytes)
{
	s->used -= (int64_t)bytes;
	if (s->taken - s->used > s->slack)
		budget_settle(s);
}

/* Bytes that are left; negative past the bound, INT64_MAX without one. */
static inline int64_t budget_left(const struct budget_share *s)
{
	const struct budget *b = s->budget;

	if (!b)
		return INT64_MAX;
	return atomic_load_explicit(&b->bytes_max, memory_order_relaxed) -
	       atomic_load_explicit(&b->used, memory_order_relaxed) + s->taken - s->used;
}

/* Nothing new may begin. */
static inline bool budget_is_full(const struct budget_share *s)
{
	return budget_left(s) <= 0;
}

/* budget_add, where that stays within the bound. */
static inline bool budget_charge(struct budget_share *s, size_t bytes)
{
	if (bytes > INT64_MAX / 2 || budget_left(s) < (int64_t)bytes)
		return false;
	budget_add(s, bytes);
	return true;
}

/*
 * How much may be queued for one peer that takes its time, at most `most`, at
 * least one byte: a part of what is left of the budget's first half. So any number
 * of them together come to a halt at half of it, and the rest is for others.
 */
size_t budget_credit(const struct budget_share *s, size_t most);

/*
 * Whether work that needs so many bytes more, and holds `own` of those that are
 * counted, may begin: where they are left, or where next to nobody else holds any, so
 * that nothing which other limits allow is refused for ever.
 */
bool budget_admits(const struct budget_share *s, size_t bytes, size_t own);

#endif
