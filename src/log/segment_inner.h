/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_SEGMENT_INNER_H
#define WEIR_LOG_SEGMENT_INNER_H

#include "log/segment.h"

/*
 * What the files of a segment share; nobody else includes this. In the order of who calls whom: each file
 * uses those above it.
 */

/* ---- segment.c ---- */

/*
 * The descriptor of its log file, held open until unpinned. Where it has to be opened first:
 * -EAGAIN without `wait`. -errno.
 */
int segment_pin(struct segment *s, bool wait);
void segment_unpin(struct segment *s);

/* pread, without `wait` only from memory: how many bytes, -EAGAIN, -errno. */
int64_t segment_read_at(struct segment *s, int fd, void *bytes, size_t n, uint64_t at, bool wait);

/* The log file was removed. */
bool segment_is_gone(const struct segment *s);

/* The batch at `position` was written by this process, or checked. Under s->lock. */
void segment_note_right(struct segment *s, struct slice batch, int64_t base, int64_t last, uint64_t position);

/* ---- segment_index.c ---- */

/* Where a read begins: a batch at `position` whose base offset must be `offset`. */
struct segment_spot {
	uint64_t position;
	int64_t offset;
};

/* A batch at `position` enters x where the last entry is an interval behind. A full memory costs only speed. */
void segment_index_note(struct segment *s, struct segment_index *x, int64_t offset, uint64_t position,
			int64_t max_before);

/* The last entry at or before the offset (relative to the base); the beginning where there is none. */
struct segment_spot segment_index_find(const struct segment *s, const struct segment_index *x,
				       uint32_t offset);

/* So many entries say that no timestamp before them reaches time_ms. */
uint32_t segment_index_count_before(const struct segment_index *x, int64_t time_ms);

/* Writes both files, not synced. Where that fails they are made anew later. */
void segment_index_write(struct segment *s, const struct segment_index *x);

/* Reads both files; false where they are missing or do not fit the log. x->entries is the caller's to free in any case. */
bool segment_index_load(struct segment *s, struct segment_index *x);

/* ---- segment_window.c ---- */

/* A window over the log file that moves forward. Its bytes are borrowed until the next call. */
struct window {
	struct segment *s;
	int fd;
	uint8_t *bytes;
	size_t cap;
	uint64_t at; /* position of bytes[0] */
	size_t len;
	uint64_t end; /* of the log when it was opened */
};

/* Borrows the segment and holds its file open until closed. 0, ERR_IO, ERR_NOMEM (nothing to close then). */
int window_open(struct window *w, struct segment *s);
void window_close(struct window *w);

/* The batch at `position`, checked: 0, 1 at the end, ERR_CORRUPT where it is none, ERR_IO, ERR_NOMEM. */
int window_batch(struct window *w, uint64_t position, struct batch_head *head, struct slice *batch);

/*
 * The next whole batch behind damage at *position that has `offset_from` or later ones: 0, *position and its
 * head; 1 where there is none. indexed: the index says where to go on; not for who makes it. ERR_IO, ERR_NOMEM.
 */
int window_resync(struct window *w, int64_t offset_from, bool indexed, uint64_t *position,
		  struct batch_head *found);

/* ---- segment_scan.c ---- */

/* An index made by reading the log, over damage. 0, ERR_IO, ERR_NOMEM; x->entries is the caller's to free in any case. */
int segment_scan_index(struct segment *s, struct segment_index *x);

/* An index for a lookup that may wait: the files', else one made by reading the log. As segment_scan_index. */
int segment_get_index(struct segment *s, struct segment_index *x);

#endif
