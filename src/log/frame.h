/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_FRAME_H
#define WEIR_LOG_FRAME_H

#include "base/hash.h"
#include "log/seen.h"
#include "log/topic_id.h"

/*
 * A group as the journal holds it: a head of 64 bytes, then sections. Codec
 * only: bytes in, fields out. docs/internals/storage.md draws every byte.
 */
#define FRAME_HEAD_BYTES 64u
#define FRAME_ALIGN 4096u
#define FRAME_BYTES_MAX (64u << 20) /* no honest frame is longer */

struct frame_head {
	uint64_t generation;
	uint64_t sequence;
	uint64_t durable; /* the highest sequence known durable when this was written */
	int64_t time_ms;
	uint32_t bytes; /* head and sections, without the padding behind */
	uint32_t sections;
	uint32_t commits;
	uint64_t tag; /* frame_tag() of all the others; 0 in files of version 1 */
};

enum frame_section_kind { FRAME_BATCH = 1, FRAME_KEYS = 2 };

struct frame_section {
	enum frame_section_kind kind;
	struct topic_id topic; /* FRAME_BATCH */
	uint32_t partition;    /* FRAME_BATCH */
	struct slice body;     /* the batch, or the keys */
};

/* Overheads, for whoever sizes the memory. */
#define FRAME_BATCH_OVERHEAD 28u
#define FRAME_KEYS_OVERHEAD 8u
#define FRAME_KEY_BYTES 34u
#define FRAME_RANGE_BYTES 16u

/* Writers; memory is large enough. Each gives the place behind. */
uint8_t *frame_put_batch_head(uint8_t *at, const struct topic_id *topic, uint32_t partition,
			      size_t batch_bytes);
uint8_t *frame_put_keys_head(uint8_t *at, size_t keys_bytes);
uint8_t *frame_put_key(uint8_t *at, const struct seen_key *key, const struct seen_range *ranges,
		       uint32_t count);

/*
 * What a head bears so that bytes of a record are never taken for a group: only
 * who has the key of the journal can make it.
 */
uint64_t frame_tag(const struct hash_key *key, const struct frame_head *head);

/* Writes the head with its CRC over frame[0..head->bytes). */
void frame_seal(uint8_t *frame, const struct frame_head *head);

/* What 64 bytes would say if they were a head: length, generation and sequence; true where the magic stands there. */
bool frame_head_guess(const uint8_t *bytes, struct frame_head *out);

/* Reads a head alone. 0, 1 (fewer than 64 bytes), ERR_MALFORMED (not a head: magic or length). */
int frame_head_read(struct slice s, struct frame_head *out);

/* The whole frame at the start of s: 0, 1 (more bytes needed), ERR_MALFORMED, ERR_CORRUPT. */
int frame_check(struct slice s, struct frame_head *out);

/* Whether the frame has room for as many sections as its head says, the shortest there are: to be asked before memory is made for them. */
bool frame_has_room(const struct frame_head *head);

/* Walks the sections of a checked frame: 1, 0 at the end, ERR_MALFORMED. Start with rest = frame[64..bytes). */
int frame_next(struct slice *rest, struct frame_section *out);

/* Takes one key off a FRAME_KEYS body; ranges are copied to at most SEEN_RANGES_MAX. 1, 0, ERR_MALFORMED. */
int frame_key_next(struct slice *keys, struct seen_key *key, struct seen_range *ranges, uint32_t *count);

#endif
