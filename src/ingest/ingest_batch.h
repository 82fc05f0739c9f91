/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_INGEST_BATCH_H
#define WEIR_INGEST_INGEST_BATCH_H

#include "ingest/ingest.h"
#include "proto/batch/batch.h"

/*
 * The door for what comes as record batches already: a request is a list of
 * them, each for one partition, and each has its own result. A batch is checked, then
 * stored as it came. Where one is refused the others are stored.
 *
 *	ingest_batches_start  checks every batch
 *	ingest_flush          (ingest.h) enters what a loop turn has gathered, with all else
 *	on_done               every result is known
 *
 * A repeat of a producer's batch is answered with the offset of the first time; while
 * that one is in flight it waits. What the log has no room for at present waits too, in order, until
 * deadline_ns; the code that such a batch then gets is one on which clients try again.
 */

/* A record for which its batch was refused. */
struct ingest_batch_error {
	uint32_t index; /* in the batch */
	const char *what;
};

struct ingest_batch {
	/* The caller's. */
	struct slice topic;
	int32_t partition;
	/*
	 * A whole batch of magic 2, as long as it says. Kept until on_done; the highest timestamp in its
	 * head is put right in place where it is wrong, so it must be memory that may be written.
	 */
	struct slice bytes;
	/* The result. The caller may refuse one beforehand: by an err that is not 0, and detail. */
	int err;
	const char *detail; /* static or in the arena; never NULL with err */
	struct ingest_batch_error *errors;
	uint32_t error_count;
	bool repeated;        /* it had come before: nothing was stored now */
	int64_t base_offset;  /* of its first record; -1 with err */
	int64_t timestamp_ms; /* the time that the log gave all records; -1: they keep theirs */
	int64_t log_start;    /* of the partition; -1: not known */

	/* Ingest's from here on. */
	struct topic *found;
	struct ingest_batch_wait *wait; /* where it had to */
	int64_t producer_id;
	uint64_t payload_bytes;
	uint32_t count; /* records */
	uint32_t keyless;
	uint8_t state; /* enum batch_state */
};

struct ingest_batches;
typedef void ingest_batches_fn(struct ingest_batches *r);

struct batch_commit;

struct ingest_batches {
	struct fifo_node node; /* ingest's; first, for fifo.h */
	/* The caller's: set by ingest_batches_init and then field by field. */
	struct ingest_batch *items;
	uint32_t count;
	int64_t deadline_ns; /* by the queue's clock: how long it may wait for room; 0: not at all */
	struct arena *arena;
	ingest_batches_fn *on_done;
	void *ctx;

	/* Ingest's from here on. */
	struct ingest_queue *queue;
	struct log_record *records; /* one an item at most, in order of entering */
	struct batch_commit *open;  /* while it is filled */
	uint32_t record_count;
	uint32_t undecided; /* items without a result */
	uint32_t ready;     /* of them: to be entered */
	bool queued;
	int64_t came_ns;
};

void ingest_batches_init(struct ingest_batches *r, struct ingest_batch *items, uint32_t count,
			 struct arena *arena, ingest_batches_fn *on_done, void *ctx);

/*
 * Checks. 0: queued; on_done will come, after an ingest_flush, never inside this call. 1: every item
 * has been refused, and nothing will come. It cannot be cancelled: the request, its items, their
 * batches and the arena stay until on_done.
 */
int ingest_batches_start(struct ingest_queue *q, struct ingest_batches *r);

/*
 * Who knows of transactions (txn.h): may this producer write a transactional batch to the partition now? 0 or
 * ERR_*. Called under log_enter_begin, from any loop. Before the first request; NULL: nobody may.
 */
typedef int ingest_may_write_fn(const void *ctx, int64_t producer_id, int16_t epoch,
				const struct partition *p);
void ingest_set_transactions(struct ingest *in, ingest_may_write_fn *fn, const void *ctx);

#endif
