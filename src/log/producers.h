/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_PRODUCERS_H
#define WEIR_LOG_PRODUCERS_H

#include "log/log.h"
#include "proto/batch/batch.h"

/*
 * What a partition knows of producers with an id: epoch and last five batches,
 * so that a batch that was sent again is answered and not stored again, and one
 * that comes out of order is refused; and their transactions. The rules are those of Kafka's
 * ProducerStateManager, ProducerAppendInfo and UnifiedLog. docs/internals/producers.md.
 *
 * Nobody tells it of batches: log_enter() notes those of a commit as in
 * flight, the committer what became of them, recovery reads them from the journal.
 * It does not know of transactional ids or which producer may do what: the coordinator does.
 */

/* Batches of a producer that are remembered for a repeat, in each partition. */
#define PRODUCER_BATCHES 5u

/* How long an idle producer is remembered, by the log's time: Kafka's producer.id.expiration.ms. */
#define PRODUCER_EXPIRY_MS (24 * 3600000LL)

enum producer_verdict {
	PRODUCER_NEXT,     /* may enter, in the same log_enter_begin .. end */
	PRODUCER_REPEATED, /* is in the log: offset and timestamp_ms of the answer say where */
	PRODUCER_IN_FLIGHT, /* has entered and is not durable: the waiter was linked, ask again when it is given back */
	PRODUCER_OUT_OF_ORDER, /* OUT_OF_ORDER_SEQUENCE_NUMBER */
	PRODUCER_OLD_EPOCH,    /* INVALID_PRODUCER_EPOCH: a higher one has written here, or it was fenced */
	PRODUCER_BAD_STATE,    /* INVALID_TXN_STATE: not transactional, while its transaction is open here */
};

struct producer_answer {
	int64_t offset;       /* REPEATED: of the batch's first record */
	int64_t timestamp_ms; /* REPEATED: where the log gave the time: that; else -1 */
	/*
	 * NEXT, of a transactional batch: it would begin a transaction in this partition. Whether the
	 * coordinator knows of one is the caller's to ask.
	 */
	bool opens;
};

/*
 * Under log_enter_begin: what is to be done about a batch that a client sent
 * (head->producer_id >= 0, no control batch). Gives a producer_verdict, or
 * ERR_OVERLOADED (as many producers or aborted transactions are remembered as may be), ERR_NOMEM.
 * `waiter` (log_waiter_init; may be NULL: nothing is linked) stays the caller's memory until
 * on_waiter: only then may it be freed.
 * As in Kafka: a producer that is not known here may begin with any sequence; a new epoch begins at
 * 0; a repeat is one of the last five batches with exactly these first and last sequences.
 */
int producer_check(struct partition *p, const struct batch_head *head, struct producer_answer *answer,
		   struct log_waiter *waiter);

/*
 * Under log_enter_begin: from now on no batch of this producer with a lower epoch
 * enters in any partition. Not kept over a restart: who fences (the coordinator, from its rows) does so again.
 * ERR_NOMEM. producer_unfence lets go of it.
 */
int producer_fence(struct log *l, int64_t producer_id, int16_t epoch);
void producer_unfence(struct log *l, int64_t producer_id);

/* ---- transactions, of what is durable ---- */

/* Any thread. Of one partition, for DescribeProducers. */
struct producer_info {
	int64_t producer_id;
	int16_t epoch;
	int32_t coordinator_epoch; /* of the last marker; -1: there was none */
	int32_t last_sequence;     /* -1: none */
	int64_t last_ms;           /* by the log's time */
	int64_t open_offset;       /* first of its open transaction; -1: there is none */
};

/* Copies at most `max`, in no order; gives how many there are. */
uint32_t partition_producers(struct partition *p, struct producer_info *out, uint32_t max);

/* The same of those with an open transaction alone, by its first offset. */
uint32_t partition_open_transactions(struct partition *p, struct producer_info *out, uint32_t max);

/* A transaction that was aborted: what its producer wrote in [first, last]; last is the offset of the marker. */
struct aborted_txn {
	int64_t producer_id;
	int64_t first, last;
};

/*
 * Those that reach into [from, to), by `last`: copies at most `max`, gives how
 * many there are. For a Fetch that is read_committed; `to` is at most partition_range.stable.
 */
uint32_t partition_aborted(struct partition *p, int64_t from, int64_t to, struct aborted_txn *out,
			   uint32_t max);

/*
 * A reader that is read_committed does not show this batch: a control batch, or one of an aborted transaction.
 * `head` is of a batch of the log below partition_range.stable. Any thread; takes no lock where the
 * partition has no transactions.
 */
bool partition_hides(struct partition *p, const struct batch_head *head);

#endif
