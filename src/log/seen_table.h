/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_SEEN_TABLE_H
#define WEIR_LOG_SEEN_TABLE_H

#include <pthread.h>
#include <stdatomic.h>

#include "log/seen.h"

/*
 * The newest keys: 1024 shards in the order of the fingerprints, each an open
 * addressing table behind its own lock. This knows slots, growth and the bound
 * on memory; what a slot's state means to a request is seen.c's.
 * All functions on a shard are called with its lock held.
 */
#define SEEN_SHARD_BITS 10u
#define SEEN_SHARDS (1u << SEEN_SHARD_BITS)

enum seen_slot_state {
	SEEN_SLOT_EMPTY,     /* no key */
	SEEN_SLOT_IN_FLIGHT, /* claimed, not settled: `waiting` holds who asked meanwhile */
	SEEN_SLOT_SETTLED,   /* `settled` holds the group and the answer: one range */
	SEEN_SLOT_MANY,      /* the same, but the ranges are in `list` */
};

/* Ranges of a settled key that has not exactly one. Shared with a checkpoint that writes them. */
struct seen_list {
	_Atomic uint32_t refs;
	uint32_t count;
	struct seen_range ranges[];
};

struct seen_slot {
	struct hash128 fingerprint;
	uint64_t payload;
	int64_t expires_ms;
	union {
		struct {
			struct seen_waiter *head, *tail;
		} waiting;
		struct {
			uint64_t sequence;
			union {
				int64_t first;
				struct seen_list *list;
			};
		} settled;
	};
	uint32_t partition;
	uint32_t count;
	uint32_t version; /* in flight: of the claim; settled: number of the checkpoint that took it */
	uint32_t state;
};
_Static_assert(sizeof(struct seen_slot) == 64, "a slot is one cache line");

struct seen_shard {
	_Alignas(64) pthread_mutex_t lock;
	struct seen_slot *slots; /* owned, aligned to a line */
	uint32_t cap;
	uint32_t used;
	uint32_t version; /* of the newest claim */
};

struct seen_table {
	struct seen_shard *shards;
	uint64_t bytes_max;
	_Atomic uint64_t bytes; /* slots and lists */
	_Atomic uint64_t keys;
};

/* ERR_NOMEM. */
int seen_table_init(struct seen_table *t, uint64_t bytes_max);
/* Frees everything. Waiters of keys in flight are forgotten. */
void seen_table_fini(struct seen_table *t);

static inline struct seen_shard *seen_table_shard(const struct seen_table *t, struct hash128 fingerprint)
{
	return &t->shards[fingerprint.hi >> (64 - SEEN_SHARD_BITS)];
}

/* Where a fingerprint would best stand; the shard has room. */
static inline uint32_t seen_shard_home(const struct seen_shard *s, struct hash128 fingerprint)
{
	uint64_t next = fingerprint.hi << SEEN_SHARD_BITS >> 32;

	return (uint32_t)(next * s->cap >> 32);
}

/* The slot of a key, or NULL. */
struct seen_slot *seen_shard_find(struct seen_shard *s, struct hash128 fingerprint);

/*
 * A slot for a key that is not there, its fingerprint and state
 * (SEEN_SLOT_IN_FLIGHT) set, or NULL and ERR_NOMEM or ERR_OVERLOADED. Slots
 * move. `unbounded`: past bytes_max too.
 */
int seen_shard_add(struct seen_table *t, struct seen_shard *s, struct hash128 fingerprint, bool unbounded,
		   struct seen_slot **out);

/* Takes a slot out; others move up, so that the same place may hold another key now. */
void seen_shard_remove(struct seen_table *t, struct seen_shard *s, struct seen_slot *slot);

/* Drops what a slot owns (its list). */
void seen_slot_clear(struct seen_table *t, struct seen_slot *slot);

/* Removes all settled slots of checkpoint `version`, and gives memory back where the shard stood nearly empty. */
void seen_shard_sweep(struct seen_table *t, struct seen_shard *s, uint32_t version);

/* A list with one reference, or NULL. Counts its bytes. */
struct seen_list *seen_list_new(struct seen_table *t, const struct seen_range *ranges, uint32_t count);
struct seen_list *seen_list_ref(struct seen_list *l);
void seen_list_unref(struct seen_table *t, struct seen_list *l);

#endif
