/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_TXN_TABLE_H
#define WEIR_INGEST_TXN_TABLE_H

#include "base/buf.h"
#include "base/hash.h"
#include "base/table.h"
#include "ingest/txn.h"
#include "state/state.h"

/*
 * The transactional ids in memory and their rows, found by id and by producer id. It changes what it is
 * told to and decides nothing: that is the coordinator's (txn.c). Changes are made under the entry
 * lock, by one thread; so that thread may look without it, and any other with it. Offsets that wait for the
 * end of a transaction are not here but in state/offsets.h.
 *
 * Row: key 1 (u8), transactional id; value in txn_table.c.
 */
struct txn_change;

/* A group whose offsets the transaction may commit. */
struct txn_group {
	struct txn_group *next;
	uint32_t name_len;
	uint8_t name[];
};

/* What changes in a transaction as a whole. */
struct txn_fields {
	int64_t producer_id, last_producer_id; /* last: the one before, -1: none */
	int64_t start_ms;                      /* of the transaction; -1: there is none */
	int64_t update_ms;
	int32_t timeout_ms;
	int16_t epoch, last_epoch;        /* last: with which the present one was asked for, -1: with none */
	enum txn_state state;             /* EMPTY, ONGOING, COMPLETE_* */
	struct txn_partition *partitions; /* sorted; owned by the transaction */
	uint32_t partition_count;
	struct txn_group *groups; /* owned by the transaction */
};

struct txn {
	struct table_node by_id, by_producer;
	struct txn *next, **prev; /* of the list that it is in */
	struct txn_fields now;
	struct txn_change *last; /* the last change that is not durable yet; NULL: all is */
	size_t bytes;            /* as counted */
	uint32_t id_len;
	uint8_t id[];
};

struct txn_list {
	struct txn *first, **end;
};

struct txn_table {
	struct table ids, producers;
	struct txn_list ongoing; /* ONGOING, and */
	struct txn_list idle;    /* all others: that which changed last comes last */
	struct hash_key key;
	struct budget_share *share;
	_Atomic size_t bytes; /* these three: the coordinator's thread writes, any reads */
	_Atomic uint64_t id_count, ongoing_count;
};

int txn_table_init(struct txn_table *t, const struct sys *sys); /* ERR_NOMEM */
void txn_table_fini(struct txn_table *t);

static inline struct slice txn_id(const struct txn *x)
{
	return slice_make(x->id, x->id_len);
}

static inline struct slice txn_group_name(const struct txn_group *g)
{
	return slice_make(g->name, g->name_len);
}

struct txn *txn_find(const struct txn_table *t, struct slice id);
struct txn *txn_find_producer(const struct txn_table *t, int64_t producer_id);
struct txn_group *txn_find_group(const struct txn *x, struct slice name);
bool txn_has_partition(const struct txn_fields *f, const struct txn_partition *at);

/* Memory for one, in no table yet; txn_free where it does not come so far. NULL: no memory. */
struct txn *txn_new(struct slice id);
void txn_free(struct txn *x);
struct txn_group *txn_group_new(struct slice name);

void txn_add(struct txn_table *t, struct txn *x);
/* Takes it out and frees it. */
void txn_drop(struct txn_table *t, struct txn *x);

/* After loading: the idle ones by when they changed last. ERR_NOMEM. */
int txn_table_sort(struct txn_table *t);

/* From now on it is so. Takes partitions and groups; frees those before, where they are others. */
void txn_set(struct txn_table *t, struct txn *x, const struct txn_fields *fields);

/* Returns owned: both lists, sorted, each partition once. NULL: no memory. */
struct txn_partition *txn_partitions_merge(const struct txn_fields *had, const struct txn_partition *more,
					   uint32_t count, uint32_t *out_count);

/* Appends a key and its row; the errors stick in the buffer. */
void txn_row_key(struct buf *out, struct slice id);
void txn_row_write(struct buf *out, const struct txn_fields *f);

/* Each, in no order, until fn gives non-zero, which is given. */
int txn_table_walk(const struct txn_table *t, int (*fn)(void *ctx, const struct txn *x), void *ctx);

/* As state_table's functions. */
int txn_table_apply(struct txn_table *t, struct slice key, struct slice value);
int txn_table_each(const struct txn_table *t, uint32_t part, uint32_t parts, state_row_fn *fn, void *fn_ctx);

#endif
