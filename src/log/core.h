/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_CORE_H
#define WEIR_LOG_CORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/fifo.h"
#include "log/files.h"
#include "log/journal.h"
#include "log/log.h"
#include "log/producer_table.h"
#include "log/segment.h"
#include "log/steady.h"

/*
 * What the files of this folder share: the log, its partitions and groups. Only
 * they include it. Locks, in the order in which they may be taken together:
 *
 *   log.entry      what has entered and waits for the committer; decisions at entry
 *   log.table      the table of partitions
 *   partition.lock tail ring, segments, range, watches
 *   log.tail_lock  the list of groups in memory, the mover's queue
 *   log_port.lock  what a loop is to be told
 *   segment.lock   index and hints of one segment
 */

/* A batch in memory: part of a group's frame. */
struct tail_ref {
	int64_t base, last, max_timestamp;
	struct tail_group *group;
	uint32_t at, bytes;
};

/* A durable group kept for readers, and for the mover until its batches are in segments. */
struct tail_group {
	struct tail_group *next;
	struct blob *blob;
	uint64_t sequence;
	int64_t entered_ns; /* monotonic, of its first commit; 0: recovered */
	_Atomic uint32_t unmoved;
	uint32_t count;
	struct partition *partitions[]; /* of each batch, in order */
};

struct log_watch {
	struct log_watch *next; /* of the partition */
	struct log_watch *next_ready;
	struct partition *partition;
	struct log_port *port;
	log_ready_fn *fn;
	void *ctx;
	bool ready; /* under the port's lock: in its list */
};

struct partition {
	struct fifo_node turn; /* in a queue of the mover's; under log.tail_lock */
	struct log *log;
	struct partition *next_hash;
	struct topic_id topic;
	uint32_t number;
	bool opened;         /* somebody asked for it since start */
	_Atomic bool closed; /* nothing enters any more */
	_Atomic bool dropped;
	_Atomic bool append_time;       /* the option of that name */
	_Atomic uint64_t waiting_bytes; /* entered and not yet in a group */

	/* maintenance's alone */
	bool unlisted;        /* the last checkpoint does not name it */
	int64_t clean;        /* compacted up to here; changes under the lock */
	int64_t tombstone_ms; /* when the first tombstone below `clean` may go; INT64_MAX: there is none */
	int64_t retry_ns;     /* monotonic: no rewrite before, after one has failed */
	bool compact_more;    /* the last pass did not take all that was dirty */

	/* the committer's alone */
	int64_t next_offset;
	_Atomic int64_t last_time_ms; /* the highest timestamp that the log gave; the mover looks */
	struct log_record *chain_first, *chain_last;
	size_t chain_bytes;
	uint32_t chain_batches; /* records of it that are whole batches */
	struct partition *next_touched;
	uint64_t range_stamp;
	uint32_t range_index;

	pthread_mutex_t lock;
	struct partition_options options;
	int64_t start, end;
	struct tail_ref *ring; /* of the batches in memory, oldest first */
	uint32_t ring_cap, ring_head, ring_count;
	uint32_t moved;            /* so many from the oldest are in segments */
	struct segment **segments; /* oldest first; the last is appended to */
	uint32_t segment_count, segment_cap;
	bool last_sealed; /* the next batch opens a new segment */
	struct log_watch *watches;
	struct producer_table producers;
	_Atomic int64_t read_ns; /* monotonic: when somebody last read what is not in memory; 0: never */
	int64_t settled;         /* nothing before it is of an aborted transaction; 0 after a start */
	int64_t forgets; /* aborted transactions that end before it are forgotten with the next look */

	/* under log.tail_lock */
	bool queued; /* for the mover: in one of its queues */

	/* the mover's alone */
	uint64_t rested_turn; /* the turn that left a part of a batch for the next one; 0: none did */
};

struct log_port {
	struct log *log;
	struct log_port *next;
	pthread_mutex_t lock;
	struct log_commit *done_first, *done_last;
	struct log_watch *ready_first, *ready_last;
	struct log_read *read_first, *read_last;
	struct log_waiter *waiter_first, *waiter_last;
	bool woken;
	log_wake_fn *wake;
	void *ctx;
};

struct commit_list {
	struct log_commit *first, *last;
	size_t bytes;
};

struct log {
	struct log_options options;
	const struct sys *sys;
	char dir[400];
	char topics_dir[420];
	int lock_fd;
	struct steady steady;  /* what retention and keys go by */
	int64_t clock_kept_ns; /* maintenance's: when CLOCK was last written; 0: it is not there */
	struct seen *seen;
	struct journal *journal;
	struct files *files;
	struct blob_pool *blobs; /* of large groups */
	struct partition *internal;
	struct topic_id identity; /* of the data directory */

	pthread_mutex_t entry;
	pthread_cond_t entered;  /* the committer waits here */
	struct commit_list open; /* under entry */
	int64_t entering_ns;     /* under entry: when whoever holds it began */
	bool stopping;           /* under entry */
	bool committer_idle;     /* under entry */
	_Atomic uint64_t entered_bytes;
	_Atomic int64_t room; /* bytes that may still be taken in before the disk is too full */
	_Atomic bool full;    /* refused for want of room; until the next look */

	pthread_mutex_t table;
	struct partition **buckets;
	uint32_t bucket_count;
	_Atomic uint32_t partition_count;
	struct partition *
		buried; /* of deleted topics, without a file, out of the table: who holds one may still look at it */
	struct hash_key table_key;

	pthread_mutex_t tail_lock;
	pthread_cond_t movable; /* the mover waits here */
	pthread_cond_t moved;   /* who waits for the mover waits here */
	struct tail_group *tail_first, *tail_last;
	struct tail_group *first_unmoved;
	struct fifo queue;     /* partitions that wait for the mover, for this turn */
	struct fifo resting;   /* for the next one: a whole page more may have come by then */
	uint32_t queued_count; /* in both */
	uint64_t move_turn;    /* of the mover's turns, the first is 1 */
	uint64_t move_wanted;  /* somebody waits for this sequence */
	uint64_t moved_sequence;
	bool mover_stop;
	bool mover_idle;      /* it sleeps until something is published */
	struct direct direct; /* the mover's */
	_Atomic int64_t tail_bytes;
	_Atomic int64_t pinned_bytes;
	_Atomic int64_t lag_bytes; /* as mover_lag_bytes was last */
	_Atomic bool held_back;    /* somebody was told that the log lags */
	_Atomic int move_failing;  /* the -errno of the last write to a segment, 0 where it worked */

	struct producer_counts producers; /* of all partitions */
	struct fence_table fences;        /* under entry */
	int64_t producers_due_ms;         /* maintenance's: when the idle ones are looked for */
	uint32_t producers_number;  /* maintenance's: of the file that both copies of the checkpoint name */
	uint32_t producers_highest; /* that a file may have */
	uint64_t producers_written; /* the changes that are in it */
	bool producers_litter;      /* there may be others */

	/* the committer's */
	uint64_t sequence; /* of the last group written */
	_Atomic uint64_t durable;
	uint64_t range_stamp;
	struct seen_range *ranges; /* scratch for SEEN_RANGES_MAX */

	pthread_mutex_t maintain_lock;
	pthread_cond_t maintain;
	bool maintain_stop;
	bool maintain_asked;
	uint64_t checkpoint_wanted, checkpoint_done; /* counts of asks */
	int checkpoint_result;
	struct fault checkpoint_fault;
	uint64_t checkpoint_number; /* written so far */
	char checkpoint_older;      /* the copy to write first, 'a' or 'b' */
	bool checkpoint_alone;      /* at the start the other copy could not be written */
	struct segment **
		expired; /* owned: taken off by retention or rewritten, still named by the checkpoint on disk */
	uint32_t expired_count, expired_cap;
	uint64_t replaced_bytes; /* of the rewritten ones among them */
	bool litter; /* maintenance's: a file in topics/ that nothing names could not be removed */
	uint64_t checkpoint_sequence;
	int64_t checkpoint_ended_ns;         /* monotonic, the last one that was written; 0: none */
	struct compaction *compaction;       /* the pass that is under way, or NULL */
	struct recompression *recompression; /* likewise */
	int64_t rewrite_ready_ns;            /* monotonic: the I/O budget allows the next piece then */
	int64_t expiry_ms;                   /* the first retention that is due */
	int64_t expiry_looked_ns;            /* monotonic: when that was looked for */
	_Atomic bool active;                 /* something was committed since the last look */
	_Atomic bool let_go;                 /* a drop or trim: the next checkpoint frees files */
	/*
	 * A backup is under way: what the last checkpoint before it names (segments, runs of keys)
	 * must be neither unlinked nor replaced until it ends.
	 */
	_Atomic bool held;
	struct maintain_call *call; /* under maintain_lock: something to be done between two pieces */

	pthread_mutex_t backup_lock;
	struct log_backup *backup; /* under backup_lock: the one under way, or the last */
	bool backup_stopped;       /* under backup_lock: no more of them */

	pthread_mutex_t read_lock;
	pthread_cond_t read_cond;
	struct log_read *read_first, *read_last;
	uint32_t read_count;
	bool read_stop;

	pthread_mutex_t ports_lock;
	struct log_port *ports;

	pthread_t committer_thread, mover_thread, maintain_thread, read_threads[16];
	uint32_t read_thread_count;
	bool started;
	bool recovering; /* files of the life before are written over, and cut afterwards */
	struct {
		_Atomic uint64_t commits, groups, records, bytes_entered, bytes_journal, syncs, sync_ns_sum,
			checkpoints, reads_disk, reads_tail, checkpoint_ns, damaged_ranges, damaged_offsets;
		_Atomic uint64_t compactions, compacted_records, compacted_tombstones, rewritten_segments,
			rewrite_read_bytes, rewrite_written_bytes, dirty_bytes;
		_Atomic uint64_t group_ns_sum, sync_us[LOG_BUCKETS], group_us[LOG_BUCKETS],
			group_commits[LOG_BUCKETS];
	} counts;
	uint64_t recovered_groups, truncated_bytes;
};

#define LOG_DEBUG 3
#define LOG_INFO 2
#define LOG_WARN 1
#define LOG_ERROR 0
void core_say(struct log *l, int level, const char *event, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Says it, then ends the process: what was entered cannot be made durable. */
_Noreturn void core_fatal(struct log *l, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Waits for the condition, at most so long; on the monotonic clock. For the threads around the steps. */
void core_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ms);

/* partition.c */
int partition_get(struct log *l, const struct topic_id *topic, uint32_t number, bool make,
		  struct partition **out);
void partition_free(struct partition *p);
/*
 * Of a deleted topic, when its last file has gone: nobody finds it any more, and nothing walks over it. What it holds is given back but
 * for the partition itself, which readers may still ask: it stays until the log closes.
 */
void partition_bury(struct partition *p);
/* Adds a durable batch to the ring. ERR_NOMEM. Under p->lock. */
int partition_push(struct partition *p, const struct tail_ref *ref);
/* Moves the log start to the first segment that is kept; under p->lock. Gives segments taken off, owned by the caller. */
uint32_t partition_expire(struct partition *p, int64_t now_ms, struct segment **out, uint32_t out_max);
/* Earliest wall time at which retention has something to do, INT64_MAX for never. */
int64_t partition_expiry(struct partition *p);
/* Calls fn for every partition, without the table's lock held, until it gives non-zero. */
int partitions_each(struct log *l, int (*fn)(void *ctx, struct partition *p), void *ctx);

/* As log_read_wait, of what a thread that may wait was asked for. */
int partition_read(const struct log_read *r, struct log_view *out);

/* group.c */
struct group {
	struct blob *blob;
	struct frame_head head;
	struct partition *touched;
	struct tail_ref *refs; /* one a batch */
	struct partition **owners;
	uint32_t ref_count, ref_cap;
	uint64_t records;
	int64_t entered_ns;
};
/* Gives offsets and encodes. ERR_NOMEM only before any offset was given. */
int group_build(struct log *l, struct group *g, struct log_commit *first);
/* Makes a durable group readable and hands it to the mover; takes the blob. */
int group_publish(struct log *l, struct group *g);
void group_free(struct group *g);
/* Recovery: a group out of its frame (the blob holds it). Batches already in segments are left out. */
int group_from_frame(struct log *l, struct group *g, struct slice frame, struct fault *fault);
/* What a record takes of the bounds: never less than in the frame, but for the heads of batches. */
size_t group_record_bytes(const struct log_record *r);
/* Settles the keys of a list of commits. */
void group_settle_keys(struct log *l, struct log_commit *first, uint64_t sequence);

/* producers.c */
/*
 * Of a commit that is about to enter: looks at its batches and makes room for what they change, which stays though
 * all that was in flight before be published meanwhile. Errors as log_enter's, with nothing changed. Then it enters, and they are noted.
 */
int producers_reserve(const struct log_commit *c);
void producers_note(const struct log_commit *c);
/*
 * A durable batch of a producer, under p->lock, in order of offsets; time_ms: of its group. Gives who waited
 * for it. Also at recovery. ERR_NOMEM.
 */
int producers_publish(struct partition *p, struct slice batch, int64_t time_ms, struct seen_waiter **waiters);
/* Under p->lock. */
int64_t producers_stable(const struct partition *p);
/* Of a partition that is gone. */
void producers_drop(struct partition *p);
void producers_free(struct log *l);
/* Of the maintenance: forgets the idle, of all partitions, when it is time. *due_ms as compact_step's. */
void producers_look(struct log *l, int64_t now_ms, int64_t *due_ms);

/* producer_checkpoint.c */
/* What a storage checkpoint takes along of producers. */
struct producer_note {
	struct buf file;
	uint32_t partitions;
	uint32_t number;  /* of the file that it names; 0: there is nothing to know */
	bool fresh;       /* it is to be written, or was */
	uint64_t changes; /* as they were when it began */
};
void producer_note_begin(struct log *l, struct producer_note *n);
/* Under p->lock, with what else is noted of it. Errors: producer_note_write. */
void producer_note_add(struct producer_note *n, const struct partition *p);
/* Synced, before the checkpoint is written. 0 or -errno. */
int producer_note_write(struct log *l, struct producer_note *n);
/* The checkpoint is in force, or failed. */
void producer_note_end(struct log *l, struct producer_note *n, bool ok);
/* Of a start, before the journal is read: out of the file, or, where that is not to be had, out of the segments. ERR_*. */
int producers_load(struct log *l, uint32_t number, struct fault *fault);
/* And behind it. */
int producers_loaded(struct log *l, struct fault *fault);

/* committer.c */
/* One group: 1 where there was one, 0 where nothing had entered. */
int committer_step(struct log *l);
void *committer_main(void *arg);

/* mover.c */
/* The next batch opens a new segment; where nothing waits to be moved it is made at once. ERR_NOMEM. */
int mover_roll(struct partition *p);
/* So many bytes may wait before it is hurried: more where many partitions share them. Under tail_lock. */
int64_t mover_lag_bytes(const struct log *l);
/* Puts the partition at the end of the queue, where it is in none. Under tail_lock. */
void mover_enqueue(struct log *l, struct partition *p);
/* A step of the mover, and what is told and let go behind it: for who runs steps without the thread. */
int64_t mover_turn(struct log *l);
void *mover_main(void *arg);
/* Waits until everything up to `sequence` is in segments. ERR_DISK_FULL, ERR_IO where the disk refuses. */
int mover_reach(struct log *l, uint64_t sequence);
/* Drops groups from the tail that are over the bound (all moved ones where `all`). */
void tail_evict(struct log *l, bool all);

/* checkpoint.c */
int checkpoint_write(struct log *l, struct fault *fault);
/* Room for so many more segments in l->expired. ERR_NOMEM. */
int checkpoint_reserve_expired(struct log *l, uint32_t count);
/* The newer whole copy becomes partitions and *sequence; 0, 1 (there is none), ERR_*. */
int checkpoint_load(struct log *l, uint64_t *sequence, struct fault *fault);

/* compact.c */
/*
 * A piece of compaction, or the choice of what to compact next: 1 something was done, 0 nothing is due,
 * ERR_* (it was said). *bytes: read and written. *due_ms: the wall time at which something will be due, INT64_MAX for never.
 */
int compact_step(struct log *l, uint64_t *bytes, int64_t *due_ms);
/* Lets go of the pass, where it is one of this partition (NULL: of any). */
void compact_forget(struct log *l, const struct partition *p);

/* recompress.c */
/* As compact_step. */
int recompress_step(struct log *l, uint64_t *bytes, int64_t *due_ms);
void recompress_forget(struct log *l, const struct partition *p);

/* recover.c */
int recover(struct log *l, struct fault *fault);
/*
 * The file CLEAN, the last thing that a stop writes: all there is has its place in the checkpoint of that number, no file
 * of the journal is newer than it says, and no file is there that the checkpoint does not know. The start that finds it takes it
 * away, durably, before it does anything else.
 */
void recover_note_clean(struct log *l);

/* maintain.c */
/* Rewrites of this partition (NULL: all) are given up. */
void rewrites_forget(struct log *l, const struct partition *p);
/* One piece: 1 where something was done, 0 idle. *wait_ms: how long nothing will be due. */
int maintain_step(struct log *l, int64_t *wait_ms);
void *maintain_main(void *arg);
void maintain_wake(struct log *l);
void maintain_look_at_space(struct log *l);
/*
 * What rewrites segments asks for a storage checkpoint: before, to have sealed
 * ones in it, and behind, to let go of what was replaced. 1: it comes next; 0: the last
 * one is too near, and *due_ms is moved to when to ask again.
 */
int maintain_ask_checkpoint(struct log *l, int64_t *due_ms);
/* Runs fn on the maintenance thread, between two pieces of its work, and waits. What fn gives; ERR_SHUTTING_DOWN. */
int maintain_call(struct log *l, int (*fn)(void *ctx, struct log *l), void *ctx);

/* backup_run.c */
/* Ends a backup that is under way, as failed, and lets none begin. */
void backup_stop(struct log *l);

/* port.c */
void port_post_commits(struct log *l, struct log_commit *first);
void port_post_ready(struct log_watch *w);
void port_post_read(struct log_read *r);
void ports_wake(struct log *l);

/* find.c */
/* What log_find_start asks, and waits. */
int find_run(struct log_read *r);

/* reads.c */
/* One read that waits: 1, 0 where none does. */
int reads_step(struct log *l);
void *reads_main(void *arg);

#endif
