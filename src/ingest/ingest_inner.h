/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_INGEST_INNER_H
#define WEIR_INGEST_INGEST_INNER_H

#include "ingest/headers.h"
#include "ingest/inflate.h"
#include "ingest/ingest.h"
#include "ingest/ingest_batch.h"
#include "ingest/ingest_rows.h"
#include "proto/batch/codec.h"

/* What the files of this folder share; nobody else includes it. */

struct ingest {
	struct log *log;
	struct seen *seen;
	struct topics *topics;
	const struct sys *sys;
	_Atomic size_t record_bytes_max, body_bytes_max, header_bytes_max;
	_Atomic uint32_t records_max, inflate_ratio_max;
	_Atomic uint32_t queue_count;
	ingest_may_write_fn *may_write;
	const void *may_write_ctx;
};

struct ingest_queue {
	struct ingest *ingest;
	struct log_port *port;
	ingest_blocking_fn *run_blocking;
	void (*want_flush)(void *ctx);
	void (*want_flush_later)(void *ctx);
	int64_t (*now_ns)(void *ctx);
	void *ctx;
	struct metrics_shard *shard;
	struct budget_share *share;
	struct inflater *inflater;
	struct headers headers; /* scratch of the record being read */
	struct fifo queued;     /* of struct ingest_request */
	struct fifo decided;    /* by the flush that runs */
	struct fifo to_read;
	struct table lanes; /* requests that hold theirs (ingest_lane.h) */
	struct seen_waiter *woken;
	uint32_t in_flight;
	struct fifo batches; /* of struct ingest_batches (ingest_batch.c) */
	struct fifo batches_decided;
	bool batches_held; /* the first of them waits for room in the log */
	struct fifo rows;  /* of struct ingest_rows (ingest_rows.c) */
	struct fifo rows_decided;
	struct fifo rows_to_read;
	struct codec *codec;
	struct buf plain; /* scratch: the records of a batch, inflated */
	size_t plain_charged;
};

enum item_state {
	ITEM_NEW,       /* goes into the commit */
	ITEM_DUPLICATE, /* range says where it went the first time */
	ITEM_REPEAT,    /* the same as an earlier record of this body */
	ITEM_REUSED,    /* its key was used with another payload */
	ITEM_KEYLESS,   /* a record without a key, for a compacted topic */
};

/* What a record of a batch has of its own. */
struct ingest_item {
	struct slice key;  /* idempotency; ptr NULL: none */
	int32_t partition; /* -1: none */
	uint8_t state;     /* enum item_state */
	bool conflict;     /* within this body: the same key with another payload */
	uint32_t repeats;  /* draft that it repeats, UINT32_MAX: none */
	uint32_t slot;     /* record of the commit, where ITEM_NEW */
	struct slice raw;  /* as it came */
	struct seen_key seen;
	struct seen_range range;
};

/*
 * Parses r->body into drafts, items, keys and errors. 0, or the refusal of the
 * whole, with r->result filled in.
 */
int ingest_parse(struct ingest_queue *q, struct ingest_request *r);

/* Runs `run` on a thread that may wait, then `done` on the loop; where the queue has none, both on the spot. 0, or ERR_* with neither called. */
static inline int queue_run_blocking(struct ingest_queue *q, void (*run)(void *arg), void (*done)(void *arg),
				     void *arg)
{
	if (q->run_blocking)
		return q->run_blocking(q->ctx, run, done, arg);
	run(arg);
	done(arg);
	return 0;
}

/* Sets result.err and detail. Gives err. */
int ingest_refuse(struct ingest_request *r, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same with err_row's sentence. */
int ingest_refuse_plainly(struct ingest_request *r, int err);

/* Is there memory for what a body is about to become? What is held already is counted. 0 or a refusal. */
int ingest_check_memory(const struct ingest_queue *q, struct ingest_request *r, size_t bytes);

/* Adds to result.errors. 0 or ERR_NOMEM. */
int ingest_reject(struct ingest_request *r, const struct ingest_error *error);

/* "2 of 5 records were refused …" where errors forbid to go on; 0 where they do not. good: records that may be stored. */
int ingest_check_errors(struct ingest_request *r, uint32_t good);

/* Fills accepted, duplicates, ranges and outcomes once the offsets are known (or with ack none, never will be). */
int ingest_fill_result(struct ingest_request *r);

/* ---- record batches ---- */

/* Under the entry lock: enters what is queued, in order, until there is no room. */
void batches_enter(struct ingest_queue *q);

/* After it: tells what was decided by that. */
void batches_finish(struct ingest_queue *q);

/* ---- rows of sources ---- */

/* Under the entry lock: enters what is queued, or decides that it must wait or is refused. */
void rows_enter(struct ingest_queue *q);

/* After it: starts what must be read, tells what was decided. */
void rows_finish(struct ingest_queue *q);

#endif
