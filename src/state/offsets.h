/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STATE_OFFSETS_H
#define WEIR_STATE_OFFSETS_H

#include "base/arena.h"
#include "state/state.h"

/*
 * The committed offsets of consumer groups: a typed table (group, topic's UUID,
 * partition), and beside it the pending ones, which a producer has sent in a
 * transaction that is still open. It knows no member, no generation and no rule of
 * expiry: whether an offset may be committed is the coordinator's to say
 * (deliver/group.h), when a transaction ends the transaction coordinator's.
 *
 * A change is made in three steps, so that one commit may hold it beside anything else:
 *
 *	offsets_put(o, ...)       what is to change, with all memory it will take
 *	offsets_change_rows       its rows: go into a commit, which enters
 *	offsets_change_apply      entered: the table in memory follows; cannot fail
 *	offsets_change_free       or not entered: nothing has happened
 *
 * All four between log_enter_begin and log_enter_end (offsets_put also before).
 * Looking up is allowed on any thread.
 */
#define OFFSETS_GROUP_ID_MAX 1024u
#define OFFSETS_METADATA_MAX 4096u
/* Of all rows together, for memory: an entry takes about as much again. Past it offsets_put gives ERR_OVERLOADED. */
#define OFFSETS_BYTES_MAX (128u << 20)

struct offsets;
struct offsets_change;

struct offset_item {
	struct topic_id topic;
	uint32_t partition;
	int32_t leader_epoch; /* -1: not known */
	int64_t offset;       /* to read next */
	int64_t committed_ms; /* wall clock */
	int64_t expires_ms;   /* -1: by the rule of its group (OffsetCommit 2 to 4 may say a time) */
	struct slice metadata;
};

#define OFFSETS_COMMITTED (-1) /* as producer id: of no transaction */

/* Registers its table. Keeps both. Returns owned. ERR_NOMEM. */
int offsets_new(struct log *l, struct state *state, struct offsets **out);
void offsets_free(struct offsets *o); /* NULL is allowed */

/* ---- changing ---- */

/*
 * Commits `count` (> 0) offsets of a group, or with a producer's id makes them pending
 * until offsets_end. Borrows everything until return. ERR_NOMEM, ERR_OVERLOADED, ERR_LIMIT (id or metadata too long).
 */
int offsets_put(struct offsets *o, struct slice group, int64_t producer_id, const struct offset_item *items,
		uint32_t count, struct offsets_change **out);

/*
 * The end of a producer's transaction: its pending offsets go, and with `commit` they
 * are committed, but for those of which a later commit is there. *out is NULL where it has none. ERR_NOMEM.
 */
int offsets_end(struct offsets *o, int64_t producer_id, bool commit, struct offsets_change **out);

/* Takes out offsets of a group, pending ones (producer_id >= 0) too, where `which` says so; NULL: all. *out NULL: none is there. ERR_NOMEM. */
typedef bool offsets_which_fn(void *ctx, const struct offset_item *item, int64_t producer_id);
int offsets_drop(struct offsets *o, struct slice group, offsets_which_fn *which, void *ctx,
		 struct offsets_change **out);

/* Borrowed until the change is applied or freed; their number in *count (> 0). */
const struct state_row *offsets_change_rows(const struct offsets_change *c, uint32_t *count);

/* Takes. */
void offsets_change_apply(struct offsets *o, struct offsets_change *c);
void offsets_change_free(struct offsets_change *c); /* takes; NULL is allowed */

/* Writes the state again where it has grown (state_tidy): when every table in memory holds all that has entered, so behind the last apply. */
void offsets_tidy(struct offsets *o);

/* All of it for a change that stands alone: enters, applies, tidies. Takes, also on error. Errors of state_put. */
int offsets_change_enter(struct offsets *o, struct offsets_change *c, const struct state_done *done);

/* ---- asking ---- */

/* 1 and *out, whose metadata is copied to the arena; 0: none; ERR_NOMEM. */
int offsets_find(struct offsets *o, struct slice group, const struct topic_id *topic, uint32_t partition,
		 struct arena *arena, struct offset_item *out);

/* Has a transaction that is still open sent one for this partition? */
bool offsets_pending(struct offsets *o, struct slice group, const struct topic_id *topic, uint32_t partition);

/* What a group holds. */
struct offsets_count {
	uint32_t committed, pending;
};
struct offsets_count offsets_of(struct offsets *o, struct slice group);

/* The committed ones of a group to fn, until it gives false; under the lock: fn is quick and calls nothing of this file. */
typedef bool offsets_item_fn(void *ctx, const struct offset_item *item);
void offsets_each(struct offsets *o, struct slice group, offsets_item_fn *fn, void *ctx);

/* Likewise every group that has offsets, committed or pending. */
typedef bool offsets_group_fn(void *ctx, struct slice group, struct offsets_count count);
void offsets_each_group(struct offsets *o, offsets_group_fn *fn, void *ctx);

struct offsets_stats {
	uint64_t groups, committed, pending, bytes; /* bytes of rows */
};
void offsets_stats(struct offsets *o, struct offsets_stats *out);

/* For verification: can the row be read? 0 or ERR_CORRUPT. */
int offsets_row_check(struct slice key, struct slice value);

#endif
