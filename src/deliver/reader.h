/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DELIVER_READER_H
#define WEIR_DELIVER_READER_H

#include "base/hash.h"
#include "deliver/cursor.h"
#include "deliver/hub.h"

/*
 * A reader is a position in some partitions of one or more topics. It holds no
 * queue and no bytes: who can take more pulls the next batch, says how far it
 * got, and pulls again. When there is nothing more it is called when there is.
 *
 *	for (;;) {
 *		switch (reader_next(r, room, &view)) {
 *		case READER_BATCH:
 *			... write records with offset >= view.from ...
 *			reader_consumed(r, offset behind the last one written);
 *			reader_view_release(&view);
 *			break;
 *		case READER_GAP:  ... tell view.from, view.next_offset ...; break;
 *		case READER_END:  return;  (all there is; on_ready will come)
 *		case READER_WAIT: return;  (from disk; on_ready will come)
 *		default: ... an error: tell it and close ...
 *		}
 *	}
 *
 * It is read_committed: it ends where a transaction is open, and gives nothing of those that were aborted
 * and no markers; its offsets step over them as over what was compacted away.
 * Partitions with something to read take turns, a batch each. A reader belongs
 * to its hub's loop. Callbacks come from hub_run only, never from inside a call.
 */
struct reader;

typedef void reader_ready_fn(void *ctx, struct reader *r);

/* Which partitions: ranges, rising and apart. count 0: all. */
#define PARTITION_RANGES_MAX 32u
struct partition_set {
	uint32_t count;
	struct {
		uint32_t first, last;
	} ranges[PARTITION_RANGES_MAX];
};

/* Reads "0-99" or "0,3,5-7". 0, or ERR_BAD_PARAMETER with *fault (may be NULL). */
int partition_set_parse(struct slice text, struct partition_set *out, struct fault *fault);
bool partition_set_has(const struct partition_set *set, uint32_t partition);

struct reader_options {
	const struct slice *topics;             /* names; borrowed until reader_open returns */
	uint32_t topic_count;                   /* 1 .. CURSOR_TOPICS_MAX */
	const struct cursor *cursor;            /* where to begin; borrowed until reader_open returns */
	const struct partition_set *partitions; /* NULL: all; borrowed until reader_open returns */
	/*
	 * ptr NULL: none. Else only records with this key (reader_wants), and, without
	 * `partitions`, only the partition that such keys go to. Copied.
	 */
	struct slice key;
	uint32_t partitions_max; /* without a selection; 0: CURSOR_PLACES_MAX */
	bool wait_for_topics;    /* a topic that is not there is waited for */
	bool watch;              /* END parks from the start (see reader_watch) */
	reader_ready_fn *on_ready;
	void *ctx;
	uint8_t tag; /* below HUB_TAGS: which sum of hub_lag it counts in */
};

/*
 * Opens at the cursor. Returns owned. Errors, with what would be right in *fault:
 * ERR_BAD_TOPIC, ERR_UNKNOWN_TOPIC, ERR_BAD_PARAMETER (a topic twice),
 * ERR_PARTITION_RANGE, ERR_TOO_MANY_PARTITIONS,
 * ERR_CURSOR_MISMATCH (none of the cursor's topics is asked for),
 * ERR_CURSOR_AHEAD, ERR_CURSOR_GONE (of a topic that was deleted and made anew), ERR_NOMEM.
 * A cursor behind the retained log is no error here: reader_next tells the gap, or reader_skip_gone skips it.
 */
int reader_open(struct hub *hub, const struct reader_options *options, struct reader **out,
		struct fault *fault);

/* Takes; NULL is allowed. May be called from on_ready. A read under way is dropped when it comes. */
void reader_close(struct reader *r);

enum reader_result {
	READER_BATCH = 0, /* view has whole batches */
	READER_END = 1,   /* caught up on all partitions */
	READER_WAIT = 2,  /* a read from disk is under way: on_ready will be called */
	READER_GAP = 3,   /* [from, next_offset) of a partition is not there: the reader stands behind it */
};

struct reader_view {
	struct topic *topic; /* borrowed: lives as long as the topics */
	struct partition *partition;
	uint32_t number;      /* of the partition */
	struct blob *blob;    /* the caller's: reader_view_release */
	struct slice batches; /* whole, one behind the other */
	int64_t from;         /* records before it are not wanted (the first batch may begin earlier) */
	int64_t next_offset;  /* behind the last batch; for a gap: where it ends */
	int64_t entered_ns;   /* monotonic, of the oldest commit in it; 0: not known any more */
	bool damage;          /* of a gap: damaged bytes, else retention or trim */
};

/*
 * The next batches of the partition whose turn it is, about bytes_max at most,
 * but one batch at least, without waiting. A reader_result, or: ERR_UNKNOWN_TOPIC
 * (deleted), ERR_CURSOR_AHEAD, ERR_PARTITION_RANGE, ERR_TOO_MANY_PARTITIONS (it
 * grew), ERR_OVERLOADED, ERR_NOMEM, ERR_IO. After ERR_OVERLOADED and ERR_NOMEM it may be tried again.
 */
int reader_next(struct reader *r, size_t bytes_max, struct reader_view *view);

/*
 * on_ready is called in the next turn of the loop, so that who has much to look
 * through lets the others of the loop have theirs.
 */
void reader_again(struct reader *r);

/*
 * How far the caller got with the view that reader_next gave last: the offset
 * behind the last record done with, at most view.next_offset; one before
 * view.from changes nothing. What is left comes again. To be called before
 * anything else is asked of the reader, its cursor at an offset apart.
 */
void reader_consumed(struct reader *r, int64_t offset);

void reader_view_release(struct reader_view *view);

/*
 * From now on on_ready is called when there is more after END: call reader_next
 * again for what came meanwhile. Watching begins here so that a poll that is
 * answered at once costs the log nothing. 0, ERR_NOMEM.
 */
int reader_watch(struct reader *r);

/* Does the record's key pass the selection? Always true without a key. */
bool reader_wants(const struct reader *r, struct slice key);
bool reader_filters(const struct reader *r);

/*
 * The one partition this reader is on and will name in its cursors, so that what was encoded with a
 * cursor for that partition fits: true for one topic and one partition. May turn false when partitions are added.
 */
bool reader_single(const struct reader *r);

/* True where every partition is read to its end now. */
bool reader_caught_up(const struct reader *r);

/* True while a topic is waited for. */
bool reader_waits(const struct reader *r);

/*
 * Appends the cursor of the present position; partitions that are not selected
 * stand in it as in the cursor that the reader began with. Where nothing is known yet
 * (topics waited for, a time not looked up) the word it began with, or
 * `earliest`. ERR_LIMIT, ERR_NOMEM.
 */
int reader_cursor(struct reader *r, struct buf *to);

/* The same as if the partition of the last view stood at `offset`: the cursor behind a record is its offset + 1. */
int reader_cursor_at(struct reader *r, int64_t offset, struct buf *to);

/* Where a reader of one partition stands, and what that partition holds now. ERR_NOT_FOUND for one of none or several. */
struct reader_position {
	uint32_t partition;
	int64_t offset;     /* to read next */
	int64_t start, end; /* retained */
};
int reader_position(const struct reader *r, struct reader_position *out);

/*
 * A stamp of the position and of the ends of all partitions: the same as long
 * as a reader opened in the same way would find the same. For validators such as ETag.
 * Costs no read. ERR_NOMEM.
 */
int reader_stamp(struct reader *r, struct hash128 *out);

/*
 * Moves every partition that is behind the retained log to its start; calls fn
 * (may be NULL) for each and gives their number. None while a time is looked up.
 */
uint32_t reader_skip_gone(struct reader *r, void (*fn)(void *ctx, const struct reader_view *gap), void *ctx);

#endif
