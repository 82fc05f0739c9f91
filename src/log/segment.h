/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_SEGMENT_H
#define WEIR_LOG_SEGMENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/blob.h"
#include "base/file_ref.h"
#include "log/direct.h"
#include "log/marks.h"
#include "log/topic_id.h"
#include "proto/batch/batch.h"

/*
 * One stretch of a partition on disk: a .log file of batches, laid out as
 * Kafka's, with sparse .index and .timeindex files. The mover appends to the
 * last segment of a partition; readers read any. Reference counted: a reader
 * may hold one that retention has unlinked.
 *
 * The index of the active segment is in memory and written when the segment is
 * sealed. An index is a hint: what it points at must be a batch that fits, or it
 * is made anew by reading the log. Without one nothing is lost but time.
 */
struct segment_place {
	const struct sys *sys;
	struct files *files;
	const char *topics_dir; /* data/topics; outlives the segment */
	struct topic_id topic;
	uint32_t number;
	uint32_t index_interval;
	_Atomic int64_t *gauge; /* of the blobs that are read; NULL: none */
};

struct index_entry {
	uint32_t offset; /* relative to the base: first offset of the batch */
	uint32_t position;
	int64_t max_timestamp; /* of all batches before this position */
};

struct segment_index {
	struct index_entry *entries;
	uint32_t count, cap;
	uint32_t last_position; /* where the last entry points */
	bool whole;             /* covers the log from its first byte */
};

#define SEGMENT_HINTS 8u

struct segment {
	struct segment_place place;
	_Atomic uint32_t refs;
	int64_t base;
	uint32_t revision; /* how often it was rewritten; part of its files' names. Set before anybody else sees it */
	_Atomic bool replaced;  /* another one holds its offsets now, its files may be gone */
	_Atomic uint64_t bytes; /* whole batches handed to the kernel */
	_Atomic int64_t next_offset;
	_Atomic int64_t max_timestamp;
	_Atomic int64_t last_append_ms;
	_Atomic int64_t first_append_ms; /* 0: none since the start */
	bool damaged;                    /* maintenance's: a rewrite met damage, it stays as it is */
	bool packed;                     /* maintenance's: recompression has been here */
	bool dirty;                      /* the mover's and maintenance's, under the partition's lock */
	bool created;                    /* its directory entry is not synced yet */
	bool uncut;                      /* recovery's: the file is longer than it says */
	struct file_slot file;
	struct file_slot direct; /* the mover's, past the page cache */
	uint64_t begun; /* the mover's: behind `bytes`, so many of the batch that comes next are in the file */
	pthread_mutex_t lock; /* index and hints */
	struct segment_index index;
	struct {
		int64_t offset;
		uint64_t position;
	} hints[SEGMENT_HINTS];
	uint32_t hint_next;
	struct marks marks; /* what is known to be right; under the lock */
	int64_t beyond; /* recovery's: offset behind what the file held more than the checkpoint says; 0: nothing */
	_Atomic int64_t told_gap; /* offset behind the damage that the log line told last; 0: none */
};

/* Returns owned (one reference). No file is touched. */
int segment_new(const struct segment_place *place, int64_t base, struct segment **out);
struct segment *segment_ref(struct segment *s);
void segment_unref(struct segment *s);

enum segment_file { SEGMENT_LOG, SEGMENT_INDEX, SEGMENT_TIMEINDEX, SEGMENT_FILES };
#define SEGMENT_PATH_BYTES 640u
#define SEGMENT_NAME_BYTES 64u

/* The name of one of its files within the partition's directory: "00000000000000000041.log", rewritten "….2.log". */
void segment_file_name(int64_t base, uint32_t revision, enum segment_file kind, char *out);
void segment_path(const struct segment *s, enum segment_file kind, char *out);

/* One contiguous piece of batches for an append. */
struct segment_piece {
	struct slice bytes;
	int64_t base_offset, last_offset, max_timestamp;
};

/* Pieces for an append, in order, and what became of them. */
struct segment_load {
	const struct segment_piece *pieces;
	uint32_t count;
	struct direct *direct; /* past the page cache, where the file system does that; NULL: through it */
	uint32_t whole;        /* gives: so many are in the file and count as appended */
	uint64_t written;      /* gives: bytes */
};

/*
 * The mover: appends what is given, with one write where it does not go past the page cache. With `direct` it goes up to
 * the last edge of a page of the file, so the last pieces may stay out, one of them in part: the segment has begun it then (`begun`), and the next append is of
 * this segment and gives that piece first, whole as before. 0 or -errno; on an error nothing counts as
 * appended (the file may have grown: it is written over when tried again).
 */
int segment_append(struct segment *s, struct segment_load *load, int64_t now_ms);

/* Syncs the log file. 0 or -errno. */
int segment_sync(struct segment *s);

/* No more appends: writes the index files (not synced; they are hints) and lets the index go. */
void segment_seal(struct segment *s);

/*
 * Recovery: takes the segment for `bytes` long, after noting in s->beyond which
 * records stand behind: the journal must have them. 0, ERR_IO, or ERR_CORRUPT where
 * it is shorter. s->next_offset is set before. The file itself is cut by
 * segment_cut_rest, once the journal was replayed: until then a start may still
 * refuse, and must have lost nothing; and writing over what is there is several
 * times as fast as making a file longer.
 */
int segment_cut(struct segment *s, uint64_t bytes, struct fault *fault);
int segment_cut_rest(struct segment *s, struct fault *fault);

/* Starts writing `bytes` from `at` on to the disk, without waiting. */
void segment_write_back(struct segment *s, uint64_t at, uint64_t bytes);

/* Syncs the directory of its files, and those above up to data/topics. 0 or -errno. */
int segment_sync_directories(struct segment *s);

/* Unlinks all three files; false where one of them may still be there. */
bool segment_unlink(struct segment *s);

/*
 * Whole batches in order from the beginning on, for who reads all of a sealed segment.
 * Holds its file open meanwhile.
 */
struct segment_scan;
int segment_scan_open(struct segment *s, struct segment_scan **out); /* ERR_NOMEM, ERR_IO */
void segment_scan_close(struct segment_scan *scan);                  /* NULL is allowed */

/* 0 and a checked batch (borrowed until the next call), 1 at the end, ERR_CORRUPT (there is damage), ERR_IO, ERR_NOMEM. */
int segment_scan_next(struct segment_scan *scan, struct batch_head *head, struct slice *batch);

struct segment_read {
	struct blob *blob; /* owned by the caller */
	struct slice batches;
	int64_t next_offset;
	int64_t gap_from, gap_to; /* equal: no damage */
	bool lost;                /* of a gap: it was told and set aside already (BATCH_LOST) */
};

/*
 * Whole batches from the one that holds `offset` on, at most bytes_max of them
 * but always the first; `how` is of enum segment_how. Every batch given was checked against its CRC. Damaged
 * bytes are stepped over and told as a gap, and so are batches that stand for lost records.
 * Others without records are given as they are. 0, 1 (nothing at or behind `offset`
 * in this segment), -EAGAIN (only without SEGMENT_WAIT), ERR_NOMEM, ERR_IO.
 */
enum segment_how {
	SEGMENT_WAIT = 1, /* for the disk */
	SEGMENT_FIT =
		2, /* 2 where the first batch is known to be larger than bytes_max: it is not read for nothing */
};
int segment_read(struct segment *s, int64_t offset, size_t bytes_max, uint32_t how, struct segment_read *out);

/* A range of its file: whole batches that are known to be right, and are in the page cache. */
struct segment_extent {
	struct file_ref *file; /* owned by the caller: file_ref_release */
	uint64_t at;
	size_t bytes;
	int64_t next_offset;
};

/*
 * As segment_read with wait false, without the bytes: exactly from `offset` on, before `limit`. 0; 1 where that cannot be
 * said, or is not worth it: out->next_offset is then the offset at which to ask again (INT64_MAX: never), and
 * out->file NULL. Holds the file open and the segment alive, whatever becomes of it.
 */
int segment_extent(struct segment *s, int64_t offset, int64_t limit, size_t bytes_max,
		   struct segment_extent *out);

/* First offset from `from` on with a timestamp >= time_ms: 0 and *offset, 1 where there is none, ERR_*. May wait. */
int segment_find_time(struct segment *s, int64_t from, int64_t time_ms, int64_t *offset);

#endif
