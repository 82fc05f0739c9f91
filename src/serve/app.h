/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_APP_H
#define WEIR_SERVE_APP_H

#include "base/buf.h"
#include "base/check.h"
#include "deliver/group.h"
#include "deliver/hub.h"
#include "ingest/ingest.h"
#include "ingest/txn.h"
#include "net/net.h"
#include "obs/health.h"
#include "serve/dead_watch.h"
#include "serve/record/encode_cache.h"
#include "state/dead_marks.h"

/*
 * What the handlers of all sessions share (exchange.app points here): the parts
 * of weir and, for each loop, what belongs to that loop. Made by the daemon,
 * which owns everything in it; handlers borrow.
 */
/*
 * Who stays longer than an answer takes (a parked poll, a stream) and wants to
 * be told when weir stops: embedded in its owner, in its loop's list.
 */
struct app_guest {
	struct app_guest *next, **prev; /* prev NULL: not in the list */
	void (*leave)(void *ctx);       /* end properly, now; taken off the list before the call */
	void *ctx;
};

/* A page and one record more; beyond it the scratch is given back before it is used again. */
#define APP_SCRATCH_KEPT ((size_t)32 << 20)

struct app_loop {
	struct loop *loop;
	struct log_port *port;
	struct loop_waker *waker;
	struct hub *hub;
	struct encode_cache *cache;
	struct buf scratch; /* for one call at a time: cleared by who uses it */
	struct ingest_queue *queue;
	struct loop_turn flush;      /* ingest_flush at the end of the turn: app_flush_later */
	struct loop_timer again;     /* app_flush_later in some milliseconds: the log has no room */
	struct metrics_shard *shard; /* written by this loop alone */
	_Atomic int64_t lag_sum[METRIC_COUNT_WAY],
		lag_max[METRIC_COUNT_WAY]; /* as of the last app_loop_measure */
	struct app_guest *guests;
	bool draining;        /* who would stay now is to leave at once */
	struct sse_loop *sse; /* of serve/sse and serve/ws: there while one of their streams is */
	struct ws_loop *ws;
};

struct sources;

struct app_limits {
	uint32_t poll_records_default;  /* 0: 100 */
	uint32_t poll_records_max;      /* 0: 10 000 */
	int64_t poll_wait_max_ns;       /* 0: 5 minutes */
	size_t poll_bytes_max;          /* of the records of one answer, 0: 16 MiB; one record always goes */
	uint32_t stream_partitions_max; /* without a selection, 0: 256 */
	int64_t sse_comment_ns;         /* of silence, 0: 15 s; read when the first stream of a loop begins */
	int64_t ws_ping_ns;             /* of silence, 0: 30 s; likewise */
	size_t ws_message_max;          /* bytes, inflated, 0: 1 MiB */
};

struct app {
	const struct sys *sys;
	struct log *log;
	struct topics *topics;
	struct offsets *offsets;
	struct dead_marks *dead;
	struct dead_watch *dead_watch;
	struct txns *txns;     /* the home loop's */
	struct groups *groups; /* likewise */
	struct loop *home;
	struct ingest *ingest;
	struct sources *sources;
	struct metrics *metrics;
	struct health *health;
	struct budget *budget;  /* what grows with what clients do; NULL: not bounded */
	struct app_loop *loops; /* by loop_number */
	uint32_t loop_count;
	struct app_limits limits;
	ingest_blocking_fn *run_blocking; /* its ctx is the app_loop to come back to */
};

/* The part of the app that belongs to a loop. */
static inline struct app_loop *app_loop(const struct app *app, const struct loop *loop)
{
	uint32_t number = loop_number(loop);

	CHECK(number < app->loop_count);
	return &app->loops[number];
}

/* What was queued at the door in enters at the end of this turn, together. */
static inline void app_flush_later(struct app_loop *al)
{
	loop_at_turn_end(al->loop, &al->flush);
}

/*
 * Makes the parts of one loop (port, hub, cache) and ties the port to the loop:
 * what the log tells runs there. After topics_open, before the loop runs.
 * ERR_NOMEM, ERR_IO: then app_loop_fini is still to be called.
 */
int app_loop_init(struct app *app, struct loop *loop, struct fault *fault);

/*
 * On the loop: so many records were handed to a reader who had waited for them.
 * entered_ns is the view's; 0 (not known, or he was behind) counts nothing.
 */
void app_observe_delivery(struct app_loop *al, enum metric_WAY way, int64_t entered_ns, uint32_t records);

/* On the loop, before a scrape: how far its readers are behind. */
void app_loop_measure(struct app_loop *al);

/* On the loop. remove does nothing where it is in no list. */
void app_guest_add(struct app_loop *al, struct app_guest *guest);
void app_guest_remove(struct app_guest *guest);

/* On the loop: every guest leaves (streams with a proper last word, parked polls with an answer). */
void app_loop_drain(struct app *app, struct loop *loop);

/* After the loop has ended with all its connections, and after log_stop. */
void app_loop_fini(struct app *app, struct loop *loop);

#endif
