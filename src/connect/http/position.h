/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_HTTP_POSITION_H
#define WEIR_CONNECT_HTTP_POSITION_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

/*
 * How far a part of an http source has been read: the checkpoint, as JSON of version 1. A *run* goes
 * through the pages of one poll; between runs `running` is false, and what is kept is where the next
 * begins. Absent texts are null.
 */
#define POSITION_VERSION 1u

struct position {
	bool running;
	uint64_t page;          /* number of the page to come, from paging.first on */
	uint64_t offset;        /* records before the page to come */
	uint64_t pages;         /* of this run so far */
	uint64_t skip;          /* records of the page to come that are stored already */
	uint64_t skip_hash;     /* of those */
	uint64_t body_hash;     /* of the last page; 0: there was none, or (in a run) it had no records */
	uint64_t loop_hash;     /* of the page to come, when it was read before in this run; 0: it was not */
	int64_t from_ms, to_ms; /* the window of this run; or (from_ms) of the run to come */
	struct slice cursor;
	struct slice next;     /* URL of the page to come */
	struct slice last;     /* the greatest value of the field `last` in runs that are over */
	struct slice last_now; /* ... and in this one */
	struct slice etag, modified;
};

/* Reads a checkpoint; texts are in the arena. ERR_CORRUPT with *fault, ERR_NOMEM. Empty bytes: the beginning. */
int position_read(struct slice bytes, struct arena *arena, struct position *out, struct fault *fault);

/* Appends it. 0, ERR_LIMIT, ERR_NOMEM. */
int position_write(const struct position *p, struct buf *out);

/* Greater, as numbers where both are such, else byte by byte. A null is less than everything. */
bool position_greater(struct slice a, struct slice b);

#endif
