/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DELIVER_FETCH_H
#define WEIR_DELIVER_FETCH_H

#include "base/arena.h"
#include "base/file_ref.h"
#include "deliver/hub.h"

/*
 * One question to the log for many partitions at once, each at an offset of its
 * own: what is there from that offset on, within limits, and when there is less than
 * a minimum, as soon as there is more. It gives whole batches as they are stored,
 * shared with whoever else reads them, and knows no protocol, clock or socket:
 * the deadline is the caller's timer, which calls fetch_expire.
 *
 * The rules are Kafka's (ReplicaManager.readFromLog, DelayedFetch): partitions in
 * the order asked for; `bytes_max` of the whole and of each partition hold but for the first
 * batch of the first partition that has any, which always comes whole; answered
 * when so much is there, or time is up, or any partition has an error.
 *
 * A parked fetch is its caller's memory and a link in each partition's watch, which
 * readers of this loop share (hub.h). It costs nothing until one of them moves.
 *
 *	if (fetch_start(&f, &options) == FETCH_DONE)
 *		... answer ...
 *	else
 *		... arm a timer: fetch_expire; on_done comes from hub_run ...
 */
struct fetch;

/* Whole batches. The reference is the taker's: blob_unref, file_ref_release when they were sent. */
struct fetch_piece {
	struct blob *blob;     /* NULL: they are in a file */
	struct slice part;     /* without a blob len alone counts */
	struct file_ref *file; /* else NULL */
	uint64_t file_at;
	struct fetch_piece *next;
};

/* A transaction that was aborted, of which some records are among those given: the reader leaves them out. */
struct fetch_aborted {
	int64_t producer_id;
	int64_t first_offset;
};

struct fetch_part {
	/* Asked for. */
	struct partition *partition; /* NULL: not looked at; `error` is what the caller set */
	int64_t offset;
	uint32_t bytes_max;

	/* Answered. The edges are -1 where they are not known. */
	int error; /* 0, ERR_CURSOR_GONE, ERR_CURSOR_AHEAD, ERR_UNKNOWN_TOPIC, ERR_IO */
	int64_t start, stable, end;
	struct fetch_piece *first, *last;
	size_t bytes; /* of all pieces */
	const struct fetch_aborted
		*aborted; /* where committed was asked for; in the order in which they ended */
	uint32_t aborted_count;

	/* The fetch's own. */
	uint8_t state;
	bool cut;     /* had a batch that there was no room for */
	bool pressed; /* is being read with less room than it may get when other reads have come */
	bool again;   /* what is being read for it is of no use any more */
	int64_t next;
	int64_t memory;  /* from here on it is in memory */
	int64_t file_at; /* no file is asked for before */
	size_t counted;
	size_t held; /* the room of all when it was held */
	struct fetch *fetch;
	struct hub_watch *watch; /* counted; NULL: not watched */
	struct fetch_part *link;
	struct fetch_part **prev; /* where it hangs on its watch; NULL: nowhere */
};

typedef void fetch_done_fn(void *ctx, struct fetch *f);

struct fetch_options {
	struct hub *hub;
	struct fetch_part *parts; /* zeroed but for what is asked for; kept until done, and so is the arena */
	uint32_t part_count;
	bool committed; /* nothing that is not decided: ends at the last stable offset */
	bool files;     /* pieces may be ranges of files */
	bool wait;      /* for bytes_min; else what is there is the answer, even nothing */
	size_t bytes_min;
	size_t bytes_max;
	struct arena *arena; /* for pieces; where it has no more room there are fewer of them */
	fetch_done_fn *on_done;
	void *ctx;
};

struct fetch_read;

/* Embedded in its owner. */
struct fetch {
	struct fetch_options options;
	size_t bytes_max; /* by what memory allows */
	size_t bytes;     /* gathered */
	size_t reserved;  /* by reads from disk that are under way */
	size_t counted;   /* over all parts, as Kafka counts: a part that is full counts as its limit */
	struct fetch_part *moved;
	struct fetch_read *reads; /* under way or done */
	uint32_t read_count;
	uint32_t lead; /* before it no part has data */
	uint8_t phase;
	bool failed, full, expired, starved;
	struct fetch *next_wake, **prev_wake; /* NULL: not listed */
};

enum fetch_result {
	FETCH_DONE = 0,
	FETCH_LATER = 1, /* on_done will come, from hub_run, once */
};

/* On the hub's loop, as all of these. f needs no preparation. */
enum fetch_result fetch_start(struct fetch *f, const struct fetch_options *options);

/*
 * The deadline: what is there is the answer now. FETCH_DONE: on_done does not come any
 * more. FETCH_LATER: reads from disk are under way, it comes with them.
 */
enum fetch_result fetch_expire(struct fetch *f);

/* Ends it at once with what has been gathered; on_done does not come any more. Nothing happens to one that is done. */
void fetch_cut(struct fetch *f);

/* Lets go of all pieces, for who does not want them. After it was done. */
void fetch_drop(struct fetch *f);

#endif
