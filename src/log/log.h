/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_LOG_H
#define WEIR_LOG_LOG_H

#include "base/blob.h"
#include "base/err.h"
#include "log/seen.h"
#include "log/topic_id.h"
#include "sys/sys.h"

/*
 * The durable log: what the rest of weir may ask of it. A caller enters a
 * commit (records for any number of partitions, idempotency keys, state rows as
 * records of the internal partition); the committer gathers commits into a
 * group, writes and syncs it once, and then tells the caller through its port.
 * Readers ask a partition for batches from an offset on.
 *
 * The log does not know HTTP, JSON, topic names or settings by name: a topic is
 * a UUID here, and partitions are numbered.
 */

struct log;
struct partition;
struct log_port;
struct log_commit;

/* ---- opening ---- */

struct log_options {
	const struct sys *sys;
	const char *dir;
	uint64_t journal_file_bytes; /* 0: 64 MiB, less on small disks */
	uint64_t journal_bytes_max;  /* 0: 512 MiB; a storage checkpoint starts at half of it */
	uint64_t group_bytes_max;    /* 0: 8 MiB */
	/* Entered and not yet committed, 0: 64 MiB; past it, or with half of it in one partition, ERR_OVERLOADED. */
	uint64_t entered_bytes_max;
	uint64_t pinned_bytes_max; /* committed and not yet in segments, 0: 128 MiB; past it ERR_OVERLOADED */
	uint64_t tail_bytes_max;   /* recent groups kept for readers, 0: 16 MiB */
	uint64_t segment_bytes;    /* 0: 256 MiB */
	uint32_t direct_bytes_min; /* moved at once: so much and more goes past the page cache, 0: 64 KiB */
	uint32_t index_interval_bytes; /* 0: 4096 */
	uint32_t files_max;            /* open segment files, 0: from RLIMIT_NOFILE */
	uint32_t readers;              /* threads of the reader pool, 0: 2 */
	_Atomic int64_t *read_gauge;   /* bytes that reads from disk hold (blob.h); NULL: not counted */
	uint64_t rewrite_rate; /* bytes a second that rewriting segments may read and write, 0: no bound */
	uint64_t compaction_bytes_max; /* memory for the keys of one pass, 0: 64 MiB */
	/* Kafka's producers that are remembered, each in each partition that it wrote to, some 200 bytes; 0: 524288. */
	uint32_t producers_max;
	/*
	 * log_start starts no thread, and nothing waits for one: the caller runs
	 * log_step() instead. For what must be repeatable, such as the simulator.
	 */
	bool steps;
	int64_t clock_hold_ms; /* how long a clock that jumped is doubted; 0: a day, -1: not at all */
	/* Log lines of the log itself (recovery, checkpoints, damage). level: 0 error, 1 warning, 2 info, 3 debug. */
	void (*say)(void *ctx, int level, const char *event, const char *text);
	void *say_ctx;
	void (*on_fatal)(void *ctx, const char *text); /* NULL: print and _exit(1) */
};

/*
 * Locks the directory, recovers, starts nothing. Errors: ERR_IN_USE (the text
 * names the holder's pid), ERR_IO, ERR_CORRUPT, ERR_BAD_VERSION, ERR_NOMEM, with *fault.
 */
int log_open(const struct log_options *options, struct log **out, struct fault *fault);

/* After the topics were opened: drops partitions nobody opened, starts committer, mover, maintenance and readers. */
int log_start(struct log *l, struct fault *fault);

/* Stops taking commits (ERR_SHUTTING_DOWN), syncs what was entered, writes a checkpoint, ends the threads. */
int log_stop(struct log *l, struct fault *fault);

/*
 * With options.steps, what the threads do otherwise, a piece at a time: a group
 * committed, some of one partition moved, a piece of maintenance, a read from
 * disk. More than 0 where something was done, 0 where there was nothing to do,
 * negative where the disk refused. Steps of one kind must not run at once, nor a
 * move while maintenance is inside a step.
 */
enum log_step { LOG_STEP_COMMIT, LOG_STEP_MOVE, LOG_STEP_MAINTAIN, LOG_STEP_READ };
int64_t log_step(struct log *l, enum log_step step);

/* Frees; ports and partitions are gone with it. */
void log_close(struct log *l);

struct seen *log_seen(struct log *l);

/* Size at which a segment is closed where its partition says nothing else. */
uint64_t log_segment_bytes(const struct log *l);

/* How many segment files are kept open at most. */
uint32_t log_files_max(const struct log *l);

/*
 * The time by which is forgotten: retention, and whether a key is over. The wall
 * clock, or where that jumped ahead what it should be. Any thread.
 */
int64_t log_now_ms(const struct log *l);

/* A name of this data directory that stays with it, random. Any thread. */
void log_identity(const struct log *l, struct topic_id *out);

/* As the option of that name. Any thread. */
void log_set_clock_hold(struct log *l, int64_t ms);

/* The files and clocks it runs over. */
const struct sys *log_sys(const struct log *l);

/* ---- partitions ---- */

struct partition_options {
	uint64_t segment_bytes;  /* 0: the log's */
	int64_t retention_ms;    /* by append time, -1: for ever */
	int64_t retention_bytes; /* -1: no bound */
	uint64_t cookie;         /* the caller's (the topic's object) */
	/* Compaction, where `compact`: docs/internals/compaction.md. */
	bool compact;
	uint32_t dirty_percent; /* a pass begins when so much of what is sealed is dirty */
	int64_t max_lag_ms;     /* or when something dirty is so old, -1: never for that */
	int64_t min_lag_ms;     /* what is not so old is safe from a pass */
	int64_t tombstone_ms;   /* how long a tombstone stays after the first pass over it */
	int64_t recompress_ms;  /* segments this old are written again with zstd, 0: never */
	bool append_time; /* every record has the time at which the log took it, whatever its producer says */
};

/* The partition of weir's own state. Open as soon as log_open returns. */
struct partition *log_internal(struct log *l);

/*
 * Finds or makes (topic, number). Making is in memory; files come with the
 * first batch. Call at start for each partition in state, and under log_enter
 * for new ones. Returns borrowed: lives until the log closes.
 */
int partition_open(struct log *l, const struct topic_id *topic, uint32_t number,
		   const struct partition_options *options, struct partition **out);
void partition_configure(struct partition *p, const struct partition_options *options);

/* Under log_enter: nothing enters any more (ERR_UNKNOWN_TOPIC), for a topic whose deletion has entered. */
void partition_close(struct partition *p);

/* The deletion is durable: readers get ERR_UNKNOWN_TOPIC, files go with the next storage checkpoint. */
void partition_drop(struct partition *p);

struct partition_range {
	int64_t start; /* first offset retained */
	int64_t end;   /* high watermark: one past the last durable record */
	/*
	 * The last stable offset: what is before it is decided. The first offset of the oldest open
	 * transaction (start, where that is gone already), else `end`. Never goes back.
	 */
	int64_t stable;
	uint64_t bytes;
	int64_t clean; /* compacted up to here, 0: never */
};
void partition_range(struct partition *p, struct partition_range *out);

/* The edges alone, without a walk for the size. ERR_UNKNOWN_TOPIC where it was dropped. */
struct partition_edges {
	int64_t start, stable, end;
	int64_t memory; /* from here on it is in memory */
};
int partition_edges(struct partition *p, struct partition_edges *out);
uint32_t partition_number(const struct partition *p);
const struct topic_id *partition_topic(const struct partition *p);

/* Moves the log start forward (never back, never past the end). The change itself is a row of state. */
void partition_trim(struct partition *p, int64_t before);

/* ---- entering ---- */

/*
 * A record, or, with batch_records, a whole record batch v2: `value` is the batch
 * as it came, key, headers and timestamp_ms do not count, and batch_records is its number of
 * records, last_offset_delta + 1 (1 for a control batch). The caller has checked it (batch_check, and that its
 * deltas are 0, 1, 2 …); the log looks at the head alone. Stored as it came but for base offset
 * and leader epoch, and, where the partition has append_time, timestamp type, highest timestamp and CRC.
 * A batch of a producer with an id was asked for with producer_check() (producers.h) under the same
 * log_enter_begin, and no commit has two of them of one producer in one partition. A transaction marker
 * (batch_put_marker) is not asked for, and may come behind such a batch.
 */
struct log_record {
	struct partition *partition;
	int64_t timestamp_ms; /* -1: given by the log, never going back within the partition. out: what it gave */
	struct slice key;     /* ptr NULL: null */
	struct slice value;   /* ptr NULL: null */
	struct slice headers; /* encoded as in the record format, without the count */
	uint32_t header_count;
	uint32_t batch_records;
	uint32_t tag;             /* the caller's */
	int64_t offset;           /* out; of a batch: of its first record */
	struct log_record *chain; /* the log's */
};

/* An idempotency key and the records it covers: records[first .. first+count). */
struct log_key {
	struct seen_claim claim;
	uint32_t first, count;
};

enum log_ack {
	LOG_ACK_DURABLE, /* on_done after the sync */
	LOG_ACK_WRITTEN, /* on_done once the bytes are handed to the kernel */
};

typedef void log_done_fn(struct log_commit *commit);

/*
 * Memory of the commit, its records and all slices stays the caller's and must
 * not change until on_done, which is called on the port's thread by
 * log_port_run(). Also with ack=none the memory is held until on_done.
 */
struct log_commit {
	struct log_record *records;
	struct log_key *keys;
	uint32_t record_count;
	uint32_t key_count;
	enum log_ack ack;
	bool frees; /* deletes, trims, acknowledgements: may use the room that is kept for them on a full disk */
	struct log_port *port;
	log_done_fn *on_done;
	/* the log's: */
	struct log_commit *next;
	uint64_t sequence;
	size_t bytes;
	int64_t entered_ns;
};

/*
 * Entering: between begin and end the caller holds the log's entry lock; all
 * decisions about state are made inside. A loop turn begins once for all that
 * it gathered. Keep it short: no allocation of note, no waiting.
 */
void log_enter_begin(struct log *l);

#define LOG_COMMIT_BYTES_MAX (40u << 20)

/*
 * Enters a commit whole. 0, or a refusal with nothing changed: ERR_OVERLOADED,
 * ERR_DISK_FULL, ERR_SHUTTING_DOWN, ERR_UNKNOWN_TOPIC (a partition was closed),
 * ERR_LIMIT (more than LOG_COMMIT_BYTES_MAX in one commit), ERR_CONFLICT (a batch whose
 * producer_check is not PRODUCER_NEXT), ERR_NOMEM.
 * After 0 it becomes durable or the process dies.
 */
int log_enter(struct log *l, struct log_commit *commit);
void log_enter_end(struct log *l);

/* What a commit with these records will take of the bounds; for reserving. */
size_t log_commit_bytes(const struct log_commit *commit);

/* NULL where ingest is open, else why it is not (ERR_DISK_FULL, ERR_OVERLOADED, ERR_SHUTTING_DOWN as *err). */
bool log_accepts(struct log *l, int *err);

/*
 * More is waiting to be written to segments than should, though less than is refused: who can let its
 * senders wait without an error does so, and asks again when its port was woken, which
 * the log does once there is room. Any thread.
 */
bool log_lags(struct log *l);

/* ---- ports: how a loop hears of the log ---- */

/*
 * One a loop. `wake` is called from any thread, at most once until the port has
 * run; it must only make the loop call log_port_run() soon.
 */
typedef void log_wake_fn(void *ctx);
int log_port_new(struct log *l, log_wake_fn *wake, void *ctx, struct log_port **out);
void log_port_free(struct log_port *port);

/* On the loop's thread: runs on_done of commits, then on_ready of watches and on_read of reads. */
void log_port_run(struct log_port *port);

/* Any thread: calls the port's wake, as news would. */
void log_port_wake(struct log_port *port);

/* Posts seen waiters (and those of producer_check) back to their loops: on_waiter gets each, on the port's thread. */
typedef void log_waiter_fn(void *ctx, struct seen_waiter *waiter);
struct log_waiter {
	struct seen_waiter waiter; /* give &waiter to seen_claim; owner is set by log_waiter_init */
	struct log_port *port;
	log_waiter_fn *on_waiter;
	void *ctx;
	struct log_waiter *next;
};
void log_waiter_init(struct log_waiter *w, struct log_port *port, log_waiter_fn *fn, void *ctx);
/* Gives released waiters (seen_release) to their ports. */
void log_wake_waiters(struct seen_waiter *list);

/*
 * A loop's interest in one partition: on_ready runs on the loop once after the
 * high watermark (or the log start) moved, however many readers stand behind it.
 */
struct log_watch;
typedef void log_ready_fn(void *ctx, struct partition *p);
int log_watch_start(struct log_port *port, struct partition *p, log_ready_fn *fn, void *ctx,
		    struct log_watch **out);
void log_watch_stop(struct log_watch *w);

/* ---- reading ---- */

/* A view of whole batches, contiguous, the first of which holds the offset asked for. */
struct log_view {
	struct blob *blob; /* owned by the reader: blob_unref when done */
	struct slice batches;
	int64_t next_offset; /* where to go on */
	int64_t stable;      /* the last stable offset when it was read (partition_range) */
	int64_t entered_ns;  /* monotonic, of the oldest commit in it; 0: not known any more */
	struct {
		int64_t from, to;
		bool set_aside; /* known: a repair has put it here in place of what was damaged */
	} gap;                  /* damaged range skipped, from == to: none */
};

enum log_read_result {
	LOG_READ_OK = 0,
	LOG_READ_END = 1,   /* offset is the high watermark: nothing yet */
	LOG_READ_WAIT = 2,  /* must come from disk: use log_read_start */
	LOG_READ_LARGE = 3, /* only where it is asked for (log_read_fit) */
};

/*
 * Without waiting: from the tail cache, or from the page cache. Gives a
 * log_read_result, or ERR_CURSOR_GONE (before the log start), ERR_CURSOR_AHEAD
 * (past the high watermark), ERR_UNKNOWN_TOPIC, ERR_NOMEM, ERR_IO.
 * bytes_max bounds the view, but the first batch always comes whole.
 */
int log_read(struct partition *p, int64_t offset, size_t bytes_max, struct log_view *out);

/*
 * The same for who reads committed records only: ends at the last stable offset, so that nothing in the
 * view is undecided. What was decided against is in it: partition_hides (producers.h) tells of each batch.
 */
int log_read_stable(struct partition *p, int64_t offset, size_t bytes_max, struct log_view *out);

/*
 * The same for who can send a file: a range of one in place of bytes, where what begins at `offset` is not in memory but
 * in the page cache, and is known to be right; nothing at or behind `limit` is in it. LOG_READ_OK; else LOG_READ_WAIT,
 * and log_read is to be asked; where out->next_offset is not INT64_MAX, ask here again from there on.
 */
struct segment_extent;
int log_read_file(struct partition *p, int64_t offset, int64_t limit, size_t bytes_max,
		  struct segment_extent *out);

/* The same, but LOG_READ_LARGE where the first batch is known to be larger: it is not read for nothing. */
int log_read_fit(struct partition *p, int64_t offset, size_t bytes_max, struct log_view *out);

struct log_read {
	struct partition *partition;
	int64_t offset;
	size_t bytes_max;
	bool stable; /* as log_read_stable */
	struct log_port *port;
	void (*on_read)(struct log_read *r);
	/* out: */
	int result; /* as log_read's, never LOG_READ_WAIT */
	struct log_view view;
	struct log_read *next; /* the log's */
	int64_t time_ms;       /* with log_find_start: what to look for */
	bool stamp;            /* with log_find_start: found_ms is wanted, at the price of another read */
	int64_t found_ms;      /* out: the timestamp of the record at `offset`; -1: there is none */
	int kind;
};

/* On the reader pool; on_read comes on the port's thread. r stays valid until then (there is no cancel). ERR_OVERLOADED past the bound of waiting reads. */
int log_read_start(struct log *l, struct log_read *r);

/* The first offset whose timestamp is at or after r->time_ms; the high watermark where there is none. Result in r->offset. */
#define LOG_TIME_MAX INT64_MAX /* as time_ms: the first record with the highest timestamp of all */
int log_find_start(struct log *l, struct log_read *r);

/* Blocking forms of both for the command line and for start. */
int log_read_wait(struct partition *p, int64_t offset, size_t bytes_max, struct log_view *out);
int log_find_wait(struct partition *p, int64_t time_ms, int64_t *offset);

/* ---- watching it ---- */

/* Bucket i counts values <= 2^i, in the name's unit; the last has no bound. */
#define LOG_BUCKETS 25u

struct log_stats {
	uint64_t commits, groups, records, bytes_entered, bytes_journal;
	uint64_t syncs, sync_ns_sum, group_ns_sum, checkpoints;
	uint64_t entered_bytes, pinned_bytes, tail_bytes, free_bytes;
	uint64_t partitions, files_open, reads_disk, reads_tail, recovered_groups, truncated_bytes;
	uint64_t damaged_ranges, damaged_offsets; /* that readers met since the start */
	uint64_t sync_us_buckets[LOG_BUCKETS];    /* fdatasync alone */
	uint64_t group_us_buckets[LOG_BUCKETS];   /* write and fdatasync */
	uint64_t group_commits_buckets[LOG_BUCKETS];
	uint64_t last_checkpoint_ns;
	int64_t clock_ahead_ms; /* the wall clock is doubted, and so much ahead of what is believed; else 0 */
	uint64_t compactions;   /* passes over a partition that came to their end */
	uint64_t compacted_records;    /* left out, because a later one has their key */
	uint64_t compacted_tombstones; /* left out, because their time was over */
	uint64_t rewritten_segments, rewrite_read_bytes, rewrite_written_bytes;
	uint64_t dirty_bytes; /* of compacted partitions: sealed and not compacted, when last looked at */
	uint64_t producers;   /* remembered: a producer counts in each partition that it wrote to */
	uint64_t open_transactions; /* a transaction counts in each partition */
	uint64_t aborted_transactions;
};
void log_stats(struct log *l, struct log_stats *out);

/* Runs a storage checkpoint now and waits for it (tests, backup, clean stop). */
int log_checkpoint(struct log *l, struct fault *fault);

#endif
