/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_RECORD_UNPACK_H
#define WEIR_SERVE_RECORD_UNPACK_H

#include "base/buf.h"
#include "deliver/reader.h"
#include "proto/batch/batch.h"

/*
 * Walks over batches of readers, compressed or not. What was inflated last is
 * kept, since the same batch is gone over several times: for its keys, to be
 * encoded, and by one page after the other. Part of a loop's encode cache.
 */
#define UNPACK_BYTES_TURN (2u << 20) /* inflated, after which others of the loop have their turn */

struct unpacker {
	struct codec *codec; /* made with the first compressed batch */
	struct buf bytes;
	struct slice plain; /* of what is kept, in bytes; ptr NULL: nothing */
	struct topic_id topic;
	uint32_t partition;
	uint8_t head[BATCH_HEAD_BYTES]; /* of what is kept, as it is in the log */
	uint64_t inflated;              /* bytes so far */
};

void unpacker_init(struct unpacker *u);
void unpacker_fini(struct unpacker *u);

/*
 * Starts a walk over the batch at the front of view->batches (not empty). The
 * walk borrows from the view and from the unpacker: until the next call with it.
 * 0; ERR_CORRUPT (its records cannot be read: broken, or larger than BATCH_PLAIN_BYTES_MAX: tell a gap of it);
 * ERR_NOMEM. What damage has cost (BATCH_LOST) is a gap of the view and never in it.
 */
int unpacker_walk(struct unpacker *u, const struct reader_view *view, struct batch_walk *walk);

/* Gives memory back where there is much of it. What was walked over is invalid. */
void unpacker_trim(struct unpacker *u);

#endif
