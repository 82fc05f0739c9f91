/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_SEEN_SET_H
#define WEIR_LOG_SEEN_SET_H

#include "log/seen_run.h"

/*
 * The runs that a lookup has to ask, newest first: immutable and shared. What
 * the filters need stands together, so that asking all of them follows no
 * pointer but into the filters themselves.
 */
struct seen_view {
	const uint8_t *bits;
	uint64_t blocks;
	int64_t end_ms;
};

struct seen_set {
	_Atomic uint32_t refs;
	uint32_t count;
	struct seen_run **runs; /* behind the views, each with a reference */
	struct seen_view views[];
};

/*
 * `old` (NULL: none) without the runs of `drop`, with those of `add` in front.
 * Adds a reference to each run it holds. Returns owned, or NULL.
 */
struct seen_set *seen_set_new(const struct seen_set *old, struct seen_run *const *drop, uint32_t drop_count,
			      struct seen_run *const *add, uint32_t add_count);
/* Shares. */
struct seen_set *seen_set_ref(struct seen_set *set);
/* Takes a reference. */
void seen_set_unref(struct seen_set *set);

/* Asks for the line of each filter that a test of this fingerprint will read. */
static inline void seen_set_fetch(const struct seen_set *set, struct hash128 fingerprint)
{
	for (uint32_t i = 0; i < set->count; i++)
		__builtin_prefetch(seen_filter_block(set->views[i].bits, set->views[i].blocks, fingerprint));
}

/* The first run from index `from` on that may hold the fingerprint and has not expired; count where none. */
static inline uint32_t seen_set_next(const struct seen_set *set, struct hash128 fingerprint, int64_t now_ms,
				     uint32_t from)
{
	uint32_t i;

	for (i = from; i < set->count; i++) {
		const struct seen_view *v = &set->views[i];

		if (seen_filter_test(seen_filter_block(v->bits, v->blocks, fingerprint), fingerprint) &&
		    v->end_ms > now_ms)
			break;
	}
	return i;
}

#endif
