/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_INGEST_ROWS_H
#define WEIR_INGEST_INGEST_ROWS_H

#include "ingest/ingest.h"

/*
 * The door for what weir fetches itself: rows for any number of topics and, in the same
 * commit, whatever must change with them (the checkpoint of the source, as rows of state).
 *
 *	ingest_rows_check   tells which rows can never be taken: they are to be left out first
 *	ingest_rows_enter   queues
 *	ingest_flush        (ingest.h) enters it whole, or refuses it whole with nothing stored
 *	on_entered          with err 0: it becomes durable; else it may be entered again, as it is
 *	on_done             it is durable; only after an on_entered without err
 *
 * A row whose idempotency key was seen is a duplicate, whatever its payload: what a source reads again
 * may have other bytes than what was pushed. It is left out, and the rest enters; if all are duplicates, what must change
 * with them still enters.
 */
struct ingest_rows;
typedef void ingest_rows_fn(struct ingest_rows *r);

struct ingest_row {
	/* The caller's: kept until on_done. */
	struct slice topic;           /* its name */
	struct slice key;             /* ptr NULL: null */
	struct slice value;           /* ptr NULL: null */
	struct slice headers;         /* encoded */
	struct slice idempotency_key; /* ptr NULL: none */
	int64_t timestamp_ms;         /* -1: given by the log */
	uint32_t header_count;
	int32_t partition; /* -1: by the key */
	/* Results. */
	int err;          /* of ingest_rows_check: why it can never be taken; 0: it can */
	const char *what; /* for err, static */
	bool duplicate;
	/* Ingest's. */
	bool claimed;
	struct topic *found;
	struct seen_key seen;
};

/* A dead letter (dead.h): where it goes is found when it enters. */
struct ingest_row_dead {
	struct slice topic;       /* that it was meant for */
	struct log_record record; /* of dead_letter_record; kept until on_done */
};

struct ingest_rows {
	struct fifo_node node; /* ingest's; first, for fifo.h */
	/* The caller's. */
	struct ingest_row *rows;
	uint32_t count;
	struct ingest_row_dead *deads;
	uint32_t dead_count;
	const struct log_record *more; /* entered behind the rows, as they are; kept until on_done */
	uint32_t more_count;
	ingest_rows_fn *
		under_lock; /* it has entered; still under the entry lock: for tables in memory. May be NULL */
	ingest_rows_fn *on_entered;
	ingest_rows_fn *on_done;
	void *ctx;
	/* Results. */
	int err; /* ERR_*, why it did not enter */
	uint32_t accepted, duplicates;
	uint64_t bytes; /* of rows that were accepted */

	/* Ingest's from here on. */
	struct ingest_queue *queue;
	struct log_commit commit;
	struct log_waiter waiter;
	struct log_record *records;
	struct log_key *keys;
	uint32_t record_cap, key_cap, key_count;
	uint32_t *repeats; /* a table of rows with keys, to find those that come twice */
	uint32_t repeat_cap;
	int claim_result;
	bool claims_held, busy;
};

/* A zeroed one is right too. Borrows nothing. */
void ingest_rows_init(struct ingest_rows *r, ingest_rows_fn *on_entered, ingest_rows_fn *on_done, void *ctx);

/* The same for one that was used: keeps its memory. Nothing may be in flight. */
void ingest_rows_again(struct ingest_rows *r, ingest_rows_fn *on_entered, ingest_rows_fn *on_done, void *ctx);

/* Gives back what it keeps for the next time. Nothing may be in flight. */
void ingest_rows_fini(struct ingest_rows *r);

/*
 * Sets err and what of each row: size, name of the topic, its partition, a key where the topic is compacted. The number
 * of those that have one. Any thread.
 */
uint32_t ingest_rows_check(struct ingest *in, struct ingest_row *rows, uint32_t count);

/*
 * Queues; an ingest_flush is wanted. on_entered comes after it, never inside this call; on the loop. The rows
 * that ingest_rows_check has refused are not among them; where the topics have changed since, err is
 * ERR_BAD_RECORD: check again.
 */
void ingest_rows_enter(struct ingest_queue *q, struct ingest_rows *r);

#endif
