/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_JOURNAL_H
#define WEIR_LOG_JOURNAL_H

#include "log/frame.h"

/*
 * The journal: files of a fixed size, written from start to end, one group
 * behind the other on 4 KiB boundaries, synced once a group. A file is filled
 * with zeros and synced, with its directory, before its first use, so that
 * syncing a group touches no metadata; when a storage checkpoint has made its
 * groups unnecessary it is used again under the name of a new generation.
 *
 * One thread appends and syncs (the committer); one other prepares and recycles
 * (maintenance); the two meet under the journal's lock for pointers only.
 */
struct journal;

/* The generation in a file's name, "0000000000000001.wal"; 0 where it is no such name. */
uint64_t journal_generation_of(const char *name);

struct journal_options {
	const struct sys *sys;
	const char *dir; /* of the journal; made where missing */
	uint64_t file_bytes;
	uint64_t bytes_max;  /* of all files together */
	struct hash_key key; /* of the groups' tags */
	/*
	 * Files up to this generation were written without tags; UINT64_MAX: all that
	 * are found, and those of later generations alone bear them.
	 */
	uint64_t unmarked_to;
};

int journal_open(const struct journal_options *options, struct journal **out, struct fault *fault);
void journal_close(struct journal *j);

/* The highest generation that a file has had. For who has made no file yet, or makes none any more. */
uint64_t journal_newest(const struct journal *j);

/* The generation up to which files may be without tags, to be kept for the next start. */
uint64_t journal_unmarked_to(const struct journal *j);

/*
 * Recovery: calls fn for every whole group with a sequence above `after`, in
 * order; `frame` is borrowed. A group that was not written whole ends the scan
 * where nothing later proves it durable; otherwise ERR_CORRUPT names file and
 * position. Groups that follow without a break but begin above after + 1: ERR_CORRUPT.
 * `out` is zeroed but for `ended`. Where that is set and groups are found all the same, they count as ever.
 */
struct journal_scan {
	bool ended; /* in: a clean stop has told that nothing stands behind `after`; then nothing is looked for there */
	uint64_t groups;
	uint64_t bytes;
	uint64_t last_sequence; /* 0: none */
	uint64_t torn_bytes;    /* cut off behind the last whole group; 0: nothing was torn */
	char torn_file[64];
	uint64_t torn_at;
};
typedef int journal_group_fn(void *ctx, const struct frame_head *head, struct slice frame);
int journal_scan(struct journal *j, uint64_t after, journal_group_fn *fn, void *ctx, struct journal_scan *out,
		 struct fault *fault);

/*
 * Makes a new file the current one (on a full disk: the one written to last, and
 * the last group is written over itself); `last` (may be empty) is the last group
 * found by recovery, which is written again into it and synced, so that what
 * was shown before a crash is on disk now. `durable` is the sequence before it.
 */
int journal_begin(struct journal *j, struct slice last, struct fault *fault);

/*
 * Appends one group. Fills in generation and durable, seals, writes with
 * padding. `frame` has room for the head; head->bytes and the rest are set by
 * the caller. Rolls to the next file where it does not fit. A frame of more than JOURNAL_COPY_BYTES is
 * written past the page cache only where it begins at a FRAME_ALIGN of memory and `cap`, the bytes that
 * may be written to from there on, goes to the next one behind its end.
 */
#define JOURNAL_COPY_BYTES (64u << 10)
int journal_append(struct journal *j, uint8_t *frame, size_t cap, struct frame_head *head,
		   struct fault *fault);

/* One fdatasync of the current file. */
int journal_sync(struct journal *j, struct fault *fault);

/* Maintenance: makes the next file ready where it is missing. 1 where it did something, 0, or an error. */
int journal_prepare(struct journal *j, struct fault *fault);

/* Maintenance, on a disk that is nearly full: free files are unlinked rather than kept for use again. */
void journal_shrink(struct journal *j);

/* True where journal_prepare has work: cheap, any thread. */
bool journal_wants_file(struct journal *j);

/* Bytes that can be appended without making a file. Any thread. */
uint64_t journal_room(struct journal *j);

/* Everything up to `sequence` is in segments: older files become free for use again. */
void journal_recycle(struct journal *j, uint64_t sequence);

/* Bytes written and not yet recycled; and the bound. Any thread. */
uint64_t journal_live_bytes(struct journal *j);

#endif
