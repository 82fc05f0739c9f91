/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_BATCH_REBUILD_H
#define WEIR_PROTO_BATCH_REBUILD_H

#include "base/buf.h"
#include "proto/batch/batch.h"

/*
 * A batch again with some of its records, as compaction leaves it: first and last
 * offset, producer and attributes stay, length and checksum are new.
 */
struct batch_rebuild {
	struct buf *to;
	size_t begin; /* of the batch in `to` */
	struct batch_head head;
};

/*
 * Of a batch that holds tombstones which compaction has met: the base timestamp says
 * until when they are kept. Records' times are counted from it all the same.
 * Source: KIP-534.
 */
#define BATCH_HAS_HORIZON 0x40u

static inline bool batch_has_horizon(const struct batch_head *h)
{
	return h->count > 0 && (h->attributes & BATCH_HAS_HORIZON);
}

/*
 * Begins behind what `to` (kept until the end) holds. horizon_ms: from now on the base timestamp, with
 * BATCH_HAS_HORIZON; -1: as in `of`. ERR_NOMEM, ERR_LIMIT.
 */
int batch_rebuild_start(struct batch_rebuild *b, struct buf *to, const struct batch_head *of,
			int64_t horizon_ms);

/* Offsets rise, and lie within the batch. ERR_NOMEM, ERR_LIMIT. */
int batch_rebuild_put(struct batch_rebuild *b, const struct batch_record *r);

/* Gives the whole batch. At least one record was put. */
struct slice batch_rebuild_finish(struct batch_rebuild *b);

/* Instead: nothing of it stays in `to`. */
void batch_rebuild_undo(struct batch_rebuild *b);

#endif
