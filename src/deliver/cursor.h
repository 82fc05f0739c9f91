/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DELIVER_CURSOR_H
#define WEIR_DELIVER_CURSOR_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "log/topic_id.h"

/*
 * A cursor names a position in partitions of one or more topics: for each the
 * offset to read next. As text it is opaque and URL-safe, and stands by itself:
 * it holds topics by UUID, so it means the same after a restart, an upgrade, a
 * restore. A partition that it does not name starts at its beginning: it was
 * added later. It is no secret and no proof: a checksum guards against typing.
 *
 * This file knows the text only, not whether the topics are there (reader.h).
 * The bytes are described in docs/internals/cursor.md.
 */
#define CURSOR_TOPICS_MAX 64u
#define CURSOR_PLACES_MAX 4096u
#define CURSOR_TEXT_MAX 65536u /* longer text is refused unread */

enum cursor_kind {
	CURSOR_EARLIEST, /* the first record retained */
	CURSOR_LATEST,   /* what comes from now on */
	CURSOR_TIME,     /* the first record with a timestamp at or after time_ms */
	CURSOR_PLACES,   /* what an earlier answer gave */
};

struct cursor_place {
	uint32_t partition;
	int64_t offset;
};

struct cursor_topic {
	struct topic_id id;
	uint32_t name_hash;    /* cursor_name_hash: tells `made anew` from `another topic` */
	uint32_t first, count; /* places[first .. first + count), rising by partition */
};

struct cursor {
	enum cursor_kind kind;
	int64_t time_ms; /* CURSOR_TIME */
	const struct cursor_topic *topics;
	const struct cursor_place *places;
	uint32_t topic_count;
	uint32_t place_count;
};

uint32_t cursor_name_hash(struct slice topic_name);

/*
 * Reads `earliest`, `latest`, `@<RFC 3339>`, `@<ms>` (of the Unix epoch) or a
 * cursor's text; arrays are in the arena. 0; ERR_BAD_CURSOR with what would be
 * right in *fault (may be NULL); ERR_NOMEM.
 */
int cursor_parse(struct slice text, struct arena *arena, struct cursor *out, struct fault *fault);

/*
 * Appends the text of a CURSOR_PLACES cursor, or the word or time of the others.
 * `scratch` is used for the bytes behind the text (cleared first). Places must
 * rise by partition within their topic (CHECKed). Errors: ERR_LIMIT, ERR_NOMEM.
 */
int cursor_put(const struct cursor *c, struct buf *scratch, struct buf *to);

/*
 * The short way for one partition, for what is written per record. The stem is
 * made once; cursor_one writes the text for an offset, at most CURSOR_ONE_MAX
 * characters without a NUL, and gives their count: the same text as cursor_put's.
 */
#define CURSOR_ONE_MAX 56u
struct cursor_stem {
	uint8_t bytes[32];
	uint32_t len;
	uint32_t crc;
};
void cursor_stem_init(struct cursor_stem *stem, const struct topic_id *id, uint32_t name_hash,
		      uint32_t partition);
size_t cursor_one(const struct cursor_stem *stem, int64_t offset, char *text);

#endif
