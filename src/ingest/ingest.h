/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_INGEST_H
#define WEIR_INGEST_INGEST_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fifo.h"
#include "base/table.h"
#include "log/log.h"
#include "obs/metrics.h"
#include "state/topics.h"

/*
 * The door in: a body of some content type becomes a commit. Parses, checks,
 * inflates, asks for idempotency keys, chooses partitions, enters the log, and
 * tells what became of it. Every way of pushing comes through here; the door
 * knows no socket and no protocol.
 *
 *	ingest_start   parses and checks the body at once; refuses, or queues
 *	ingest_flush   enters what a loop turn has queued, under one lock
 *	on_done        the answer is known (result), on the loop of the queue
 *	on_released    the request's memory is no longer used
 *
 * A request is the caller's memory and must stay, with its arena, from a
 * start that gave 0 until on_released. It cannot be cancelled: a caller whose
 * client has gone ignores the answer.
 */
struct ingest;
struct ingest_queue;
struct ingest_request;

/* ---- the whole, one a process ---- */

struct ingest_limits {
	size_t record_bytes_max;    /* of a value, 0: 1 MiB */
	size_t body_bytes_max;      /* after inflating, 0: 16 MiB */
	size_t header_bytes_max;    /* key and headers of one record, 0: 32 KiB */
	uint32_t records_max;       /* of one request, 0: 100 000 */
	uint32_t inflate_ratio_max; /* past the first MiB of output, 0: 256 */
};

/*
 * Runs `run(arg)` on a thread that may wait for a disk, then `done(arg)` on the
 * loop of the queue whose ctx this is. 0, or ERR_OVERLOADED with neither called.
 */
typedef int ingest_blocking_fn(void *ctx, void (*run)(void *arg), void (*done)(void *arg), void *arg);

struct ingest_options {
	struct log *log;
	struct topics *topics;
	const struct sys *sys;
	struct ingest_limits limits;
};

int ingest_new(const struct ingest_options *options, struct ingest **out);
void ingest_free(struct ingest *in);

/* In force for requests that start later. Any thread. */
void ingest_set_limits(struct ingest *in, const struct ingest_limits *limits);
void ingest_get_limits(const struct ingest *in, struct ingest_limits *out);

/* Bytes that a request's arena must be able to grow to, for every request within the limits to be taken. */
size_t ingest_arena_bytes(const struct ingest *in);

/* ---- queues, one a loop ---- */

struct ingest_queue_options {
	struct ingest *ingest;
	struct log_port *port;
	ingest_blocking_fn *run_blocking; /* NULL: waits on the spot (tests, tools) */
	/* Something was queued outside a start (a wait ended): ingest_flush is wanted at the end of this turn. */
	void (*want_flush)(void *ctx);
	/* The log has no room for record batches at present: ingest_flush is wanted in some milliseconds. NULL: they are refused. */
	void (*want_flush_later)(void *ctx);
	int64_t (*now_ns)(void *ctx); /* the loop's clock, for the time that requests take; with a shard */
	void *ctx;
	struct metrics_shard *shard; /* of the loop: what comes in is counted there. NULL: nowhere */
	struct budget_share *share;  /* of the loop: asked before a large body is parsed. NULL: nobody */
};

int ingest_queue_new(const struct ingest_queue_options *options, struct ingest_queue **out);
/* Nothing may be in flight any more. */
void ingest_queue_free(struct ingest_queue *q);

/* ---- requests ---- */

enum ingest_ack { INGEST_ACK_DURABLE, INGEST_ACK_NONE };
enum ingest_on_error { INGEST_REJECT, INGEST_SKIP, INGEST_DEAD };
enum ingest_results { INGEST_RANGES, INGEST_RECORDS };
enum ingest_status { INGEST_ACCEPTED, INGEST_DUPLICATE, INGEST_REJECTED };

struct ingest_range {
	uint32_t partition;
	int64_t first, last;
};

/* What became of one record; offset -1: not known any more. */
struct ingest_outcome {
	uint32_t index; /* in the request, from 0 */
	enum ingest_status status;
	uint32_t partition;
	int64_t offset;
};

/* Why one record of several was refused. */
struct ingest_error {
	uint32_t index;
	uint32_t line; /* of NDJSON, from 1; 0: no lines */
	int err;
	const char *what; /* a phrase or sentence; static or in the arena */
	size_t at;        /* byte in the line from 0, where `has_place` */
	bool has_place;
	bool late;        /* of the state, not of the body */
	struct slice raw; /* the record as it came, where that is known */
};

/* Everything in it lives in the arena or is static. */
struct ingest_result {
	int err;            /* 0, or why the whole request was refused: ERR_*, HTTP status by err_row() */
	const char *detail; /* for err: what was wrong and what would be right; never NULL then */
	const char *topic;  /* its name, once found */
	bool ack_none;      /* answered on entering: 202 */
	bool replayed;      /* all of it had come before: Idempotent-Replayed: true */
	bool with_outcomes;
	uint32_t accepted; /* with ack_none: entered */
	uint32_t duplicates;
	uint32_t rejected;
	struct ingest_range *ranges; /* by partition, then offset */
	uint32_t range_count;
	struct ingest_outcome *outcomes; /* with_outcomes: by index */
	uint32_t outcome_count;
	struct ingest_error *errors; /* by index */
	uint32_t error_count;
	uint32_t dead_count; /* set aside in the topic's topic of dead letters, in a row … */
	int64_t dead_first;  /* … from this offset on */
};

typedef void ingest_fn(struct ingest_request *r);

/* Headers of the request by number, for ce-*. False past the last. */
typedef bool ingest_header_fn(void *ctx, uint32_t number, struct slice *name, struct slice *value);

struct ingest_item;

/*
 * One record more, of any partition, that enters in the commit of a request: with what is new of it, or alone
 * where nothing is (all were duplicates). Both are called under the entry lock.
 */
struct ingest_rider {
	/* The request is about to enter. Fills *record, whose bytes stay until on_released; or refuses, with *fault. */
	int (*board)(struct ingest_rider *rider, struct log_record *record, struct fault *fault);
	/* Behind each board that gave 0: has it entered? */
	void (*landed)(struct ingest_rider *rider, bool entered);
};

struct ingest_request {
	struct fifo_node node; /* ingest's; first, for fifo.h */
	/* The caller's: set by ingest_request_init and then field by field. Slices are
	 * borrowed until ingest_start returns, but for those that say more. */
	struct slice topic;
	struct slice content_type;       /* ptr NULL: absent */
	struct slice content_encoding;   /* ptr NULL: absent */
	struct slice idempotency_header; /* Idempotency-Key as it came, quoted or bare; ptr NULL: absent */
	struct slice idempotency_path;   /* percent-decoded; ptr NULL: absent */
	struct slice body;
	bool body_stays;   /* body lives until on_released: no copy is made */
	struct slice key;  /* query `key`; ptr NULL: none */
	int64_t partition; /* query `partition`; -1: none */
	enum ingest_ack ack;
	enum ingest_on_error on_error;
	enum ingest_results results;
	struct slice
		record_headers; /* encoded, for a body that is one record (WebSocket); kept until on_released */
	uint32_t record_header_count;
	int64_t timestamp_ms;       /* of a body that is one record; -1: given by the log */
	bool tombstone;             /* of a body that is one record and empty: its value is null */
	struct ingest_rider *rider; /* NULL: none; kept until on_released */
	ingest_header_fn *header;   /* NULL: none */
	void *header_ctx;
	struct arena *arena;
	ingest_fn *on_done;
	ingest_fn *on_released; /* after on_done; NULL where on_done is enough (never with ack=none) */
	void *ctx;
	/*
	 * Who sends, a connection: requests of one lane enter in the order of their starts, also where one must
	 * wait for its keys. NULL: order does not matter. An address, compared and never followed.
	 */
	const void *lane;
	enum metric_ENTRY entry; /* by which way it came: counted under it; ENTRY_HTTP */

	struct ingest_result result;

	/* Ingest's from here on. */
	struct ingest_queue *queue;
	struct log_commit commit;
	struct log_waiter waiter;
	struct table_node lane_node; /* where it holds its lane … */
	struct fifo behind;          /* … requests of the lane that came later */
	struct topic *topic_found;   /* NULL: to be made when it enters */
	struct topic *keys_for;      /* the topic whose UUID is in the fingerprints */
	struct slice topic_name;
	struct log_record one;     /* a body of one record needs no array */
	struct log_record *drafts; /* the good records of the body, in order; tag is the index */
	struct ingest_item
		*items;       /* beside drafts where records have keys or partitions of their own; or NULL */
	struct log_key *keys; /* what is claimed */
	struct log_key one_key;
	uint32_t draft_count, draft_cap;
	uint32_t draft_max;     /* more than this body can have; set where items are used */
	uint32_t index_count;   /* records of the body, refused ones too */
	uint32_t own_key_count; /* items with an idempotency key */
	uint32_t key_count;     /* claimed at present */
	uint32_t error_cap;
	uint32_t body_error_count; /* errors found before any key was asked for */
	struct slice unit_key;     /* one idempotency key for the whole body; ptr NULL: none */
	struct seen_key unit_seen;
	struct seen_answer unit_answer;
	struct seen_range unit_range;
	int unit_verdict; /* enum seen_verdict */
	int claim_result;
	bool needs_key;           /* the topic is compacted */
	uint32_t partition_limit; /* partitions of the topic when it was looked at last */
	uint32_t *range_slots;    /* by partition: range + 1; NULL for few */
	uint32_t new_count; /* records of the commit that are the body's; behind them dead letters and the rider */
	struct log_record *letters; /* dead letters of the errors that the body has */
	struct slice raw;           /* the record that is being read, as it came */
	struct slice form;          /* by which a dead letter of this body is to be read */
	bool raw_is_body;           /* the body is one record */
	bool claims_held, holds_lane;
	bool entered;
	int64_t came_ns;
};

/* Everything absent or default. borrows nothing. */
void ingest_request_init(struct ingest_request *r, struct arena *arena, ingest_fn *on_done, void *ctx);

/*
 * One query parameter: key, partition, ack, on_error, results (value
 * percent-decoded). 0; ERR_UNKNOWN_PARAMETER; ERR_BAD_PARAMETER; *fault says what is known or allowed.
 */
int ingest_option(struct ingest_request *r, struct slice name, struct slice value, struct fault *fault);

/*
 * Parses and checks. ERR_OVERLOADED before that, where the body is large and there is no
 * memory for what it would become. 0: queued; on_done will come, after an ingest_flush, never
 * inside this call. Else the refusal, with r->result filled in; no callback will come.
 */
int ingest_start(struct ingest_queue *q, struct ingest_request *r);

/* Enters all that is queued, in order of arrival, under one lock; calls on_done of what is decided by that. */
void ingest_flush(struct ingest_queue *q);

/* On the loop, after log_port_run: what was held back for want of room may be entered now. */
void ingest_look(struct ingest_queue *q);

/* Requests between start and release. */
uint32_t ingest_in_flight(const struct ingest_queue *q);

/* ---- answers ---- */

/* HTTP status of a result: 200, 202, or the error's. */
int ingest_status_of(const struct ingest_result *result);

/*
 * The JSON body of a result exactly as the contract has it: the answer, or for
 * an error the problem document (then media type application/problem+json).
 * Errors stick in the buffer.
 */
void ingest_answer_json(const struct ingest_result *result, struct buf *out);

#endif
