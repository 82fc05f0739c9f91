/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_MARKS_H
#define WEIR_LOG_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Which stretch of a segment's file is known to be right: this process wrote it, or has read it and checked every
 * batch. It is one stretch, from the first mark to the last; marks stand between two batches, about
 * MARKS_STRIDE apart, so that a range of the file can be given out without looking into it.
 * Not thread-safe.
 */
#define MARKS_STRIDE (64u << 10)
#define MARKS_MAX 65536u /* of one segment: no more is noted after */

struct mark {
	uint32_t offset; /* relative to the segment's base: of the batch that begins here */
	uint32_t position;
};

struct marks {
	struct mark *list; /* rising */
	uint32_t count, cap;
};

void marks_fini(struct marks *m);

/* A batch in [from, to) is right. One that is apart from the stretch begins it anew. Without memory nothing is noted. */
void marks_note(struct marks *m, struct mark from, struct mark to);

/*
 * The most that can be given out from `offset` on: whole batches in at most bytes_max, none of which reaches
 * behind `limit` (both relative to the base). True, with where it begins and ends; else false, and
 * *next is the offset at which another try may do better, or UINT32_MAX.
 */
bool marks_find(const struct marks *m, uint32_t offset, uint32_t limit, size_t bytes_max, struct mark *from,
		struct mark *to, uint32_t *next);

/* The last mark at or before the offset, where that is in the stretch. */
bool marks_before(const struct marks *m, uint32_t offset, struct mark *out);

#endif
