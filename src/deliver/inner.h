/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DELIVER_INNER_H
#define WEIR_DELIVER_INNER_H

#include "deliver/fetch.h"
#include "deliver/reader.h"
#include "log/producers.h"

/*
 * What hub.c, reader.c and fetch.c share: how readers and fetches hang on watches. Only files of this
 * folder include it. A place (one partition of one reader) stands in exactly one
 * of these, or in none while a read is under way for it:
 *
 *	reader.ready_first ..   has something to read, or has not been asked yet
 *	hub_watch.idle ..       is at the end of its partition (parked)
 *
 *	hub ── watches ─▶ hub_watch ── idle ─▶ place ─▶ place ─▶ …
 *	 │                 (partition)          │
 *	 └─ readers ─▶ reader ── places ────────┘
 *
 * A parked fetch hangs on its watches likewise, in hub_watch.fetches.
 */
enum place_state {
	PLACE_READY,    /* in its reader's queue */
	PLACE_IDLE,     /* at the end; linked where it is watched */
	PLACE_FETCHING, /* its reader's fetch is for it */
};

struct reader_place {
	struct reader *reader;
	struct partition *partition;
	struct hub_watch *watch; /* counted; NULL: not watched */
	int64_t offset;          /* to read next */
	struct reader_place *next;
	struct reader_place **prev; /* idle only */
	uint32_t topic;             /* index */
	uint8_t state;
	bool unresolved; /* its time has not been looked up */
};

struct reader_topic {
	struct topic *topic; /* NULL: waited for */
	uint32_t count;      /* partitions known of it */
};

/* A place of the cursor it began with that is not selected: goes into its cursors as it came. */
struct reader_kept {
	uint32_t topic; /* index */
	struct cursor_place place;
};

/* What most readers do without. */
struct reader_extra {
	bool has_key;
	bool has_set;
	size_t key_len;
	uint8_t *key;
	struct partition_set set;
	int64_t time_ms;
	char **names;             /* of topics waited for, by index; NULL where there is none */
	struct reader_kept *kept; /* rising by topic and partition */
	uint32_t kept_count;
};

/* A read from disk under way: outlives its reader, since it cannot be called back. */
struct reader_fetch {
	struct log_read read; /* first: on_read gets its address */
	struct hub *hub;
	struct reader *reader; /* NULL: closed meanwhile */
	struct reader_place *place;
	struct reader_fetch *next, **prev; /* of the hub's */
	bool done;
};

struct reader {
	struct hub *hub;
	struct reader *next, **prev;           /* of all */
	struct reader *next_wake, **prev_wake; /* to be called; prev_wake NULL: not listed */
	reader_ready_fn *on_ready;
	void *ctx;
	struct reader_extra *extra;
	struct reader_topic *topics; /* &one_topic where there is one */
	struct reader_place *places; /* &one where there is one */
	struct reader_place *ready_first, *ready_last;
	struct reader_place *current; /* of the last view */
	struct reader_fetch *fetch;
	uint32_t place_count;
	uint16_t unresolved;
	uint16_t partitions_max;
	uint8_t topic_count;
	uint8_t kind; /* enum cursor_kind it began with */
	bool watching;
	int8_t waiting; /* topics waited for */
	uint8_t tag;
	int status;       /* an error that stays */
	uint32_t charged; /* bytes, in the loop's share of the budget */
	struct reader_topic one_topic;
	struct reader_place one;
};

/* The same for a fetch, which may have several at once. */
struct fetch_read {
	struct log_read read; /* first: on_read gets its address */
	struct hub *hub;
	struct fetch *fetch; /* NULL: cut meanwhile */
	struct fetch_part *part;
	size_t reserved;                 /* room that was set aside for its part */
	struct fetch_read *of_fetch;     /* the next one of the same fetch */
	struct fetch_read *next, **prev; /* of the hub's */
	bool done;
};

/* One a partition and loop: the log's watch and who is parked behind it. */
struct hub_watch {
	struct hub_watch *next_hash;
	struct hub *hub;
	struct partition *partition;
	struct log_watch *watch;
	struct reader_place *idle;
	struct fetch_part *fetches;
	uint32_t refs; /* places, idle or not, and parts of fetches */
};

struct hub {
	struct hub_options options;
	struct reader *readers;
	struct reader *wake_first;
	struct fetch *fetch_wake_first;
	struct log_watch *state_watch; /* of the internal partition */
	bool state_moved;
	uint64_t generation; /* of the topics, as last looked at */
	struct hub_watch **buckets;
	uint32_t bucket_count;
	struct reader_fetch *fetches; /* in flight */
	struct fetch_read *reads;     /* likewise, of fetches */
	struct hub_stats stats;
	struct buf places; /* scratch for cursors */
	struct buf bytes;
	struct cursor_topic topics[CURSOR_TOPICS_MAX];
};

/* hub.c */
void hub_add(struct hub *hub, struct reader *r);
void hub_remove(struct hub *hub, struct reader *r);
/* on_ready will be called by the next hub_run. */
void hub_wake(struct reader *r);
/* The watch of a partition, counted. ERR_NOMEM. */
int hub_watch_take(struct hub *hub, struct partition *p, struct hub_watch **out);
void hub_watch_give(struct hub_watch *w);
void hub_park(struct reader_place *place);
void hub_unpark(struct reader_place *place);

/* fetch.c */
/* A partition that it waits for moved: taken off its watch, and looked at by the next hub_run. */
void fetch_moved(struct fetch_part *part);
/* From hub_run: goes on, and calls on_done where that was the end. */
void fetch_run(struct fetch *f);
/* Takes it off the list of those that hub_run calls. */
void fetch_unwake(struct fetch *f);
/* Reads that nobody can bring any more: the log has stopped. */
void fetch_forget_reads(struct hub *hub);

/* Counts what the reader holds now; called where that changes. */
void reader_charge(struct reader *r);

/* reader.c */
uint32_t reader_kept_count(const struct reader *r);
void reader_push(struct reader_place *place);
/* Topics were created, changed or deleted. */
void reader_look_at_topics(struct reader *r);

#endif
