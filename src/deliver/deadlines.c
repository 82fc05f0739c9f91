/* SPDX-License-Identifier: Apache-2.0 */
#include "deliver/deadlines.h"

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"

int deadlines_reserve(struct deadlines *d, uint32_t more)
{
	struct deadline **grown;
	uint32_t cap = d->cap ? d->cap : 64;

	while (cap < d->reserved + more)
		cap *= 2;
	if (cap > d->cap) {
		grown = mem_realloc(d->heap, cap * sizeof(struct deadline *));
		if (!grown)
			return ERR_NOMEM;
		d->heap = grown;
		d->cap = cap;
	}
	d->reserved += more;
	return 0;
}

void deadlines_release(struct deadlines *d, uint32_t fewer)
{
	CHECK(d->reserved >= fewer);
	d->reserved -= fewer;
}

void deadlines_fini(struct deadlines *d)
{
	mem_free(d->heap);
	*d = (struct deadlines){0};
}

static void put(struct deadlines *d, uint32_t at, struct deadline *t)
{
	d->heap[at] = t;
	t->place = at + 1;
}

static void rise(struct deadlines *d, uint32_t at, struct deadline *t)
{
	while (at > 0 && d->heap[(at - 1) / 2]->at_ns > t->at_ns) {
		put(d, at, d->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	put(d, at, t);
}

static void sink(struct deadlines *d, uint32_t at, struct deadline *t)
{
	for (;;) {
		uint32_t child = 2 * at + 1;
		if (child + 1 < d->count && d->heap[child + 1]->at_ns < d->heap[child]->at_ns)
			child++;
		if (child >= d->count || d->heap[child]->at_ns >= t->at_ns)
			break;
		put(d, at, d->heap[child]);
		at = child;
	}
	put(d, at, t);
}

void deadline_clear(struct deadlines *d, struct deadline *t)
{
	struct deadline *last;
	uint32_t at = t->place - 1;

	if (!t->place)
		return;
	t->place = 0;
	last = d->heap[--d->count];
	if (last == t)
		return;
	if (at > 0 && d->heap[(at - 1) / 2]->at_ns > last->at_ns)
		rise(d, at, last);
	else
		sink(d, at, last);
}

void deadline_set(struct deadlines *d, struct deadline *t, int64_t at_ns)
{
	deadline_clear(d, t);
	CHECK(d->count < d->reserved);
	t->at_ns = at_ns;
	rise(d, d->count++, t);
	if (t->place == 1 && d->sooner)
		d->sooner(d->ctx);
}

int64_t deadlines_next(const struct deadlines *d)
{
	return d->count ? d->heap[0]->at_ns : INT64_MAX;
}

struct deadline *deadlines_take(struct deadlines *d, int64_t now_ns)
{
	struct deadline *t = d->count ? d->heap[0] : NULL;

	if (!t || t->at_ns > now_ns)
		return NULL;
	deadline_clear(d, t);
	return t;
}
