/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_KAFKA_MARK_H
#define WEIR_CONNECT_KAFKA_MARK_H

#include "base/buf.h"
#include "base/slice.h"

/*
 * The checkpoint of a partition: the next offset, and what two records looked like, the last that was
 * read and the first. Offsets alone do not say that a topic was deleted and made anew: the new one has the
 * same numbers. What stood at an offset does not change while the topic lives, so a record that looks otherwise
 * belongs to another topic (judge.c).
 *
 *	next i64 | last i64, its print u64 | first i64, its print u64
 */
#define KAFKA_MARK_VERSION 1u
#define KAFKA_MARK_BYTES 40u
#define KAFKA_NOWHERE (-1)

struct kafka_sight {
	int64_t offset; /* KAFKA_NOWHERE: none was read yet */
	uint64_t print;
};

struct kafka_mark {
	int64_t next; /* KAFKA_NOWHERE: the beginning, whatever its offset is */
	struct kafka_sight last, first;
};

#define KAFKA_MARK_INIT ((struct kafka_mark){KAFKA_NOWHERE, {KAFKA_NOWHERE, 0}, {KAFKA_NOWHERE, 0}})

void kafka_mark_write(const struct kafka_mark *m, uint8_t out[KAFKA_MARK_BYTES]);

/* False where it is no checkpoint. */
bool kafka_mark_read(struct slice bytes, struct kafka_mark *out);

/* What a record looks like: key, value and time. A null and an empty value differ. */
uint64_t kafka_print(struct slice key, struct slice value, int64_t timestamp_ms);

/* Appends it as a JSON object. */
void kafka_mark_show(const struct kafka_mark *m, struct buf *json);

/* ---- the plan's ---- */

/*
 * What was planned before: for which settings, and which topics there were. So that a partition that is new
 * is read from its beginning, and `start` counts once; and that a topic which the cluster does not show for a while keeps its place.
 */
#define KAFKA_PLAN_VERSION 1u

struct kafka_past {
	bool is;
	uint64_t settings;  /* hash of them */
	struct slice names; /* each ended by a newline; borrowed */
};

bool kafka_past_read(struct slice bytes, struct kafka_past *out);
int kafka_past_write(uint64_t settings, struct slice names, struct buf *out);

/* The next name of *rest, or false at the end. */
bool kafka_past_next(struct slice *rest, struct slice *name);

bool kafka_past_has(const struct kafka_past *past, struct slice name);

#endif
