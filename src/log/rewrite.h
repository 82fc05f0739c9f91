/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_REWRITE_H
#define WEIR_LOG_REWRITE_H

#include "base/buf.h"
#include "log/core.h"

/*
 * Sealed segments that stand next to one another, written again as one, a piece
 * at a time; what becomes of each batch somebody else decides. Maintenance's
 * thread alone. docs/internals/compaction.md says why a crash at any point leaves the
 * old ones or the new one.
 */
struct rewrite;

/* What becomes of a batch. */
enum rewrite_verdict {
	REWRITE_KEEP,    /* it stays as it is */
	REWRITE_REPLACE, /* `out` got another one for the same offsets */
	REWRITE_DROP,    /* its offsets have no record any more */
};

struct rewrite_counts {
	uint64_t records;    /* that were left out, tombstones among them */
	uint64_t tombstones; /* of them: null values whose time was over */
};

/*
 * Asked of each batch in order: a rewrite_verdict, or ERR_CORRUPT, ERR_NOMEM, ERR_LIMIT. May be asked
 * twice, and has to say the same again. `out` is appended to with REWRITE_REPLACE only.
 */
typedef int rewrite_fn(void *ctx, const struct batch_head *head, struct slice batch, struct buf *out,
		       struct rewrite_counts *counts);

struct rewrite_result {
	struct rewrite_counts counts;
	uint64_t bytes_before, bytes_after;
	uint32_t sources;    /* how many were taken */
	struct segment *out; /* borrowed: the new one, or the only source where nothing was changed */
	bool changed;        /* the new one took the place of the old ones */
};

/*
 * Of the segments given as many are taken as fit bytes_max, one at least; the result may be a quarter larger. Shares them.
 * Returns owned; ERR_NOMEM.
 */
int rewrite_new(struct partition *p, struct segment *const *sources, uint32_t count, uint64_t bytes_max,
		rewrite_fn *fn, void *ctx, struct rewrite **out);

/*
 * A piece: 1 there is more, 0 it is done, and the new segment in its place. ERR_CORRUPT: a source is damaged
 * (and marked so); ERR_CANCELLED: the sources are not what they were; ERR_IO, ERR_DISK_FULL, ERR_NOMEM.
 * *bytes: read and written.
 */
int rewrite_step(struct rewrite *rw, uint64_t *bytes);

/* After rewrite_step gave 0. */
void rewrite_result(const struct rewrite *rw, struct rewrite_result *out);

/* Takes; NULL is allowed. What was not finished leaves nothing behind. */
void rewrite_free(struct rewrite *rw);

#endif
