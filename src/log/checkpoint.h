/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_CHECKPOINT_H
#define WEIR_LOG_CHECKPOINT_H

#include "base/buf.h"
#include "base/err.h"
#include "log/topic_id.h"
#include "sys/sys.h"

/* The storage checkpoint as bytes; docs/internals/storage.md draws them. */
struct checkpoint_partition {
	struct topic_id topic;
	uint32_t number;
	uint32_t segments;
	int64_t start;
	int64_t next_offset;
	int64_t clean;        /* compacted up to here; 0 where it never was */
	int64_t tombstone_ms; /* when the first tombstone may go; INT64_MAX: there is none */
	size_t behind;        /* bytes of the checkpoint from the field next_offset on: for who mends it */
};

#define CHECKPOINT_PACKED 1u /* recompression has been here */

struct checkpoint_segment {
	int64_t base;
	uint32_t flags;    /* CHECKPOINT_PACKED */
	uint32_t revision; /* its files are segment_file_name(base, revision, …) */
	uint64_t bytes;
	int64_t next_offset;
	int64_t max_timestamp;
	int64_t last_append_ms;
	bool last; /* of its partition: the one that is appended to */
	size_t behind; /* bytes of the checkpoint from the field bytes on; next_offset and max_timestamp follow it */
};

/* Called in order: a partition, then its segments. A non-zero result stops the walk. */
struct checkpoint_sink {
	int (*partition)(void *ctx, const struct checkpoint_partition *p);
	int (*segment)(void *ctx, const struct checkpoint_segment *s);
	void *ctx;
};

/* What became of the two copies. */
struct checkpoint_found {
	char older;  /* the copy to write first: a broken one, else the older one; 'a' or 'b' */
	char broken; /* one that is there and not whole, or 0 */
};

/*
 * Reads the newer whole copy into *out (initialised here, the caller's to free
 * in any case). 0; 1 where there is none, or only a broken first one, so that
 * the journal must begin at 1; ERR_CORRUPT where both are there and neither is
 * whole; ERR_IO, ERR_NOMEM; with *fault.
 */
int checkpoint_read(const struct sys *sys, const char *dir, struct buf *out, struct checkpoint_found *found,
		    struct fault *fault);

/*
 * For who mends: neither copy is whole, but of both together one may be made (checkpoint_merge.h). 0 and *out (initialised
 * here, the caller's to free in any case), 1 where it cannot, ERR_IO, ERR_NOMEM; with *fault.
 */
int checkpoint_read_merged(const struct sys *sys, const char *dir, struct buf *out, struct fault *fault);

/* Magic, length and CRC. */
bool checkpoint_is_whole(struct slice bytes);

/* Walks what checkpoint_read gave. 0, what the sink gave, or ERR_CORRUPT. */
int checkpoint_walk(struct slice checkpoint, uint64_t *number, uint64_t *sequence,
		    const struct checkpoint_sink *sink);

/* The number of the file of producers that belongs to it (producer_file.h); 0: there is none, and nothing to know. */
#define CHECKPOINT_PRODUCERS_UNKNOWN UINT32_MAX /* to be read from the segments */
uint32_t checkpoint_producers(struct slice checkpoint);

/*
 * For who mends one: gives it the next number and its CRC again; and writes one
 * of the copies, synced. 0 or -errno.
 */
void checkpoint_seal_again(struct buf *checkpoint);
int checkpoint_write_copy(const struct sys *sys, const char *dir, char which, struct slice checkpoint);

#endif
