/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_TXN_H
#define WEIR_INGEST_TXN_H

#include "base/budget.h"
#include "ingest/producer_ids.h"
#include "log/log.h"
#include "state/offsets.h"
#include "state/topics.h"

/*
 * The coordinator of transactions: which producer has which transactional id, in
 * which epoch, what its transaction covers, and how it ends. The rules are those of
 * Kafka's TransactionCoordinator and TransactionMetadata, in the classic flow (without
 * transaction.version 2). Ending is one commit: the markers in every partition, the offsets of groups
 * and the coordinator's row become durable together. docs/internals/transactions.md.
 *
 * It knows no protocol, socket, clock or libuv. Time comes in as an argument, log_now_ms(). One thread,
 * but for txn_may_write. What it decides is in force as soon as its commit has entered; it is
 * told when that is durable.
 */
struct txns;

#define TXN_TIMEOUT_MAX_MS (15 * 60000)      /* Kafka's transaction.max.timeout.ms */
#define TXN_EXPIRY_MS (7LL * 24 * 3600000LL) /* transactional.id.expiration.ms */

enum txn_state {
	TXN_EMPTY,          /* the id is taken, nothing has been written under this epoch */
	TXN_ONGOING,        /* has partitions or groups */
	TXN_PREPARE_COMMIT, /* the commit that ends it has entered and is not durable; never in a row */
	TXN_PREPARE_ABORT,
	TXN_COMPLETE_COMMIT, /* the last one ended so */
	TXN_COMPLETE_ABORT,
	TXN_DEAD, /* expired: the id is not known any more */
	TXN_STATES
};

/* As Kafka writes it: "PrepareCommit". */
const char *txn_state_name(enum txn_state state);

struct txns_options {
	struct log *log;
	struct state *state;
	struct topics *topics;
	struct offsets *offsets;
	int32_t timeout_max_ms; /* 0: TXN_TIMEOUT_MAX_MS */
	int64_t expiry_ms;      /* of an id that is not used, 0: TXN_EXPIRY_MS */
	size_t bytes_max; /* memory for ids and what is in transactions, 0: 64 MiB; past it ERR_COORDINATOR */
};

/* Registers its tables. ERR_NOMEM, ERR_LIMIT. */
int txns_new(const struct txns_options *options, struct txns **out);
/* After state_load and topics_ready: fences what the rows say. ERR_NOMEM, with *fault. */
int txns_ready(struct txns *t, struct fault *fault);
/* After log_stop. Calls that wait are forgotten. */
void txns_free(struct txns *t);

/*
 * Ties it to the thread that it runs on from now on: the port on which commits come back, and the
 * share in which its memory counts (NULL: nowhere).
 */
void txns_start(struct txns *t, struct log_port *port, struct budget_share *share);

/*
 * Before any request: who is told, on the thread and inside a request, that txns_deadline_ms came nearer
 * than it was when last asked. He asks nothing then but that.
 */
void txns_watch(struct txns *t, void (*on_deadline)(void *ctx), void *ctx);

/* When txns_tick has something to do, INT64_MAX: never. Asked again after each tick, and when told. */
int64_t txns_deadline_ms(struct txns *t);

/* Aborts transactions whose time is over, forgets ids that were not used for long. */
void txns_tick(struct txns *t, int64_t now_ms);

/* ---- the door's question ---- */

/*
 * Under log_enter_begin, any thread: may this producer write a transactional batch to the partition now? 0;
 * ERR_PRODUCER_MAPPING (no transactional id has this producer id), ERR_PRODUCER_EPOCH (not the one in
 * force), ERR_TXN_STATE (no transaction, or the partition was not added to it).
 */
int txn_may_write(const struct txns *t, int64_t producer_id, int16_t epoch, const struct partition *p);

/* ---- requests ---- */

/* A question and its answer: the caller's memory until it is answered. */
struct txn_call {
	void (*on_done)(struct txn_call *call); /* on the port's thread, where the function gave TXN_LATER */
	void *ctx;
	/* the answer of txn_init: */
	int64_t producer_id;
	int16_t producer_epoch;
	/* the coordinator's: */
	struct txn_call *next;
	struct producer_ids_waiter waiter;
};

/*
 * Each gives 0 (done and durable), TXN_LATER (on_done will come, and all is well then: what
 * has entered is not refused), or a refusal with nothing changed. Slices are borrowed until return.
 * ERR_COORDINATOR: the log or memory is at a bound; the same may succeed later.
 */
#define TXN_LATER 1

struct txn_init {
	struct slice id; /* transactional; ptr NULL: none, the producer is idempotent alone */
	int32_t timeout_ms;
	int64_t producer_id; /* expected (KIP-360); -1: none */
	int16_t epoch;
};

/*
 * InitProducerId. Aborts a transaction that is under way, in the same commit. ERR_MALFORMED (empty id, or an
 * expected id without epoch), ERR_TXN_TIMEOUT, ERR_PRODUCER_FENCED.
 */
int txn_init(struct txns *t, struct txn_call *call, const struct txn_init *ask, int64_t now_ms);

/* Who asks. */
struct txn_who {
	struct slice id;
	int64_t producer_id;
	int16_t epoch;
};

struct txn_partition {
	struct topic_id topic;
	uint32_t number;
};

/*
 * AddPartitionsToTxn; the partitions exist. Begins a transaction where there is none. ERR_MALFORMED (empty id),
 * ERR_PRODUCER_MAPPING, ERR_PRODUCER_FENCED, ERR_LIMIT (more partitions than a row can hold).
 */
int txn_add_partitions(struct txns *t, struct txn_call *call, const struct txn_who *who,
		       const struct txn_partition *partitions, uint32_t count, int64_t now_ms);

/* AddOffsetsToTxn. Likewise. */
int txn_add_group(struct txns *t, struct txn_call *call, const struct txn_who *who, struct slice group,
		  int64_t now_ms);

/*
 * TxnOffsetCommit, after the group has said that its member may (deliver/group.h). The offsets count when the
 * transaction ends in a commit; until then they are pending (state/offsets.h). ERR_MALFORMED, ERR_PRODUCER_MAPPING,
 * ERR_PRODUCER_EPOCH, ERR_TXN_STATE (the group was not added), ERR_LIMIT.
 */
int txn_commit_offsets(struct txns *t, struct txn_call *call, const struct txn_who *who, struct slice group,
		       const struct offset_item *items, uint32_t count, int64_t now_ms);

/* EndTxn. ERR_MALFORMED, ERR_PRODUCER_MAPPING, ERR_PRODUCER_FENCED, ERR_TXN_STATE. */
int txn_end(struct txns *t, struct txn_call *call, const struct txn_who *who, bool commit, int64_t now_ms);

/* ---- looking ---- */

/* Of one transactional id; borrowed until the next request. */
struct txn_view {
	struct slice id;
	int64_t producer_id;
	int16_t epoch;
	enum txn_state state;
	int32_t timeout_ms;
	int64_t start_ms; /* -1: no transaction */
	const struct txn_partition *partitions;
	uint32_t partition_count;
	const struct txn_group *groups; /* whose offsets it may commit */
};

/* Takes one off the front; false: there are no more. */
bool txn_view_group(struct txn_view *view, struct slice *group);

bool txn_look(const struct txns *t, struct slice id, struct txn_view *out);

/* Each, in no order, until fn gives false. */
void txns_each(const struct txns *t, bool (*fn)(void *ctx, const struct txn_view *view), void *ctx);

struct txns_stats {
	uint64_t ids, ongoing, bytes;
	uint64_t begun, committed, aborted, timed_out, fenced,
		expired; /* since the start; those timed out are aborted too */
};
/* On any thread. */
void txns_stats(const struct txns *t, struct txns_stats *out);

#endif
