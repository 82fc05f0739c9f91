/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_PRODUCER_TABLE_H
#define WEIR_LOG_PRODUCER_TABLE_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/wire.h"
#include "log/producers.h"

/*
 * The producers of one partition as a value: batches in, in order, and what is
 * known after them out; and the same as bytes. It knows no lock, file or clock. What has
 * entered and is not durable yet stands beside what is (producer_flight), so that what is
 * written down is of durable batches alone.
 */

struct producer_batch {
	int32_t first, last;  /* sequences */
	int64_t offset;       /* of its first record; -1: not durable yet */
	int64_t timestamp_ms; /* that the log gave it; -1: it gave none */
};

struct producer_state {
	int64_t last_ms;     /* when it wrote last, by the log's time */
	int64_t open_offset; /* of its open transaction, -1: there is none. In flight: 0 */
	int32_t coordinator_epoch;
	int16_t epoch; /* -1: none yet */
	uint8_t batch_count;
	struct producer_batch batches[PRODUCER_BATCHES]; /* oldest first */
};

/* A producer with batches on their way to the disk: its state as if they had arrived. */
struct producer_flight {
	struct producer_state state;
	uint32_t count;
	struct seen_waiter *first, *last; /* who asked for one of them */
	struct producer_flight *next;     /* of those not in use */
};

struct producer {
	int64_t id;
	struct producer_state state; /* of what is durable */
	struct producer_flight *flight;
	struct producer *next_hash;
	struct producer *next_open, *prev_open; /* by open_offset */
};

struct producer_aborted {
	struct aborted_txn txn;
	int64_t least_first; /* of this one and all behind it */
};

/* Of many tables together. */
struct producer_counts {
	_Atomic uint64_t producers, open, aborted;
	_Atomic uint64_t
		changes; /* durable batches that came; what was written down is of the same number or old */
	uint64_t producers_max, aborted_max;
};

struct producer_table {
	struct producer_counts *counts;
	const struct hash_key *key;
	struct producer **buckets; /* NULL: there is no producer */
	uint32_t bucket_count, count;
	struct producer *open_first, *open_last;
	struct producer_flight *spare;
	struct producer_aborted *aborted; /* by last, from aborted_head on */
	uint32_t aborted_head, aborted_count, aborted_cap;
	int64_t from; /* read from a file: batches before this offset are in it already */
};

/* Lowest epochs of producers, by their ids. */
struct fence {
	struct fence *next;
	int64_t id;
	int16_t epoch;
};

struct fence_table {
	struct fence **buckets;
	uint32_t bucket_count, count;
};

void producer_table_init(struct producer_table *t, struct producer_counts *counts,
			 const struct hash_key *key);
void producer_table_fini(struct producer_table *t);

/* NULL where it is not known. */
struct producer *producer_table_find(const struct producer_table *t, int64_t id);

/* Finds or makes one. ERR_NOMEM. */
int producer_table_make(struct producer_table *t, int64_t id, struct producer **out);

/* A producer that has nothing in flight and no open transaction. */
void producer_table_remove(struct producer_table *t, struct producer *p);

/* Gives it a flight, where it has none. ERR_NOMEM. And takes it back, where it has come to nothing. */
int producer_flight_begin(struct producer_table *t, struct producer *p);
void producer_flight_end(struct producer_table *t, struct producer *p);

/*
 * What Kafka says to such a batch of a client; PRODUCER_IN_FLIGHT where it is in `s` and its offset is not
 * known there. *found: the batch that it repeats.
 */
enum producer_verdict producer_state_check(const struct producer_state *s, const struct batch_head *head,
					   const struct producer_batch **found);

/* The batch with exactly these sequences in this epoch, or NULL. */
const struct producer_batch *producer_state_find(const struct producer_state *s,
						 const struct batch_head *head);

/* A batch with records, or one that compaction has emptied; offset: of its first record, -1: not durable yet. */
void producer_state_add(struct producer_state *s, const struct batch_head *head, int64_t offset);

/* What a marker changes, but for the transaction itself. */
void producer_state_mark(struct producer_state *s, const struct batch_marker *m);

/*
 * The next durable batch of the partition, with a producer's id, whole where it is a control batch: head enough
 * otherwise. ERR_NOMEM; ERR_CORRUPT (a control batch that cannot be read).
 */
int producer_table_apply(struct producer_table *t, const struct batch_head *head, struct slice batch,
			 int64_t time_ms);

/* As partition_aborted and partition_hides. */
uint32_t producer_table_aborted(const struct producer_table *t, int64_t from, int64_t to,
				struct aborted_txn *out, uint32_t max);
bool producer_table_hides(const struct producer_table *t, const struct batch_head *head);

/* Forgets aborted transactions that end before this offset. */
void producer_table_trim(struct producer_table *t, int64_t before);

/* Forgets producers that last wrote before this time. */
void producer_table_expire(struct producer_table *t, int64_t before_ms);

/* Appends all of it. Errors: buf_status. Then the same back into an empty table, from bytes that have a checksum; ERR_CORRUPT, ERR_NOMEM. */
void producer_table_write(const struct producer_table *t, struct buf *to);
int producer_table_read(struct producer_table *t, struct wire_reader *r);

/* True where there is nothing to write down. */
bool producer_table_is_empty(const struct producer_table *t);

#endif
