/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_KAFKA_KAFKA_FRAME_H
#define WEIR_PROTO_KAFKA_KAFKA_FRAME_H

#include "base/buf.h"

/*
 * Cuts the bytes of a connection into frames, one a call, the same ones however
 * the bytes come: four bytes of length, then so many. The tokens of SaslHandshake
 * version 0 come in the same form, so that login needs nothing else.
 *
 * A frame that lies whole in the input is given from there. One that is cut is
 * gathered, in memory that grows with the bytes that have come, never with the
 * length that was claimed. An idle framer holds at most KAFKA_FRAME_KEEP bytes.
 */
#define KAFKA_FRAME_KEEP 65536u

enum kafka_frame_event {
	KAFKA_FRAME_MORE, /* all bytes are taken, no frame: bring more */
	KAFKA_FRAME_GIVEN,
	KAFKA_FRAME_FAIL, /* `error` of the framer says why; last event, whatever comes is taken and ignored */
};

/* To be embedded; but for `error` and `claimed` the fields are the framer's own. */
struct kafka_framer {
	size_t frame_bytes_max;
	struct buf gathered; /* of the frame under way, without its length */
	uint8_t head[4];
	uint8_t head_len;
	bool given; /* `gathered` was given with the last event */
	int error;
	uint32_t claimed; /* the length of the frame under way, or of the one that failed */
};

/* Allocates nothing. A frame is at least 1 and at most frame_bytes_max bytes long. */
void kafka_framer_init(struct kafka_framer *f, size_t frame_bytes_max);

void kafka_framer_fini(struct kafka_framer *f);

/*
 * Reads from `bytes` up to the end of a frame, or all of them, and sets *taken. A
 * frame is without its length and borrowed until the next call or until the
 * input is touched. Errors of KAFKA_FRAME_FAIL: ERR_LIMIT, a length over the
 * limit; ERR_MALFORMED, one of 0 or less; ERR_NOMEM.
 */
enum kafka_frame_event kafka_framer_next(struct kafka_framer *f, struct slice bytes, size_t *taken,
					 struct slice *frame);

/*
 * Where the next bytes of the frame under way belong: for so many of them there is memory, at *to. Bytes that are put
 * there are given to kafka_framer_next as they lie there, alone, which copies nothing then; in part, or never, is
 * as good. The memory becomes four times as large when it has been filled, but never larger than the frame. 0: less than `least`
 * (more than 0) is missing or there is room for, no frame is under way, or there is no memory: bytes may come from
 * anywhere. Until the next call.
 */
size_t kafka_framer_room(struct kafka_framer *f, size_t least, uint8_t **to);

/* True for bytes that lie where kafka_framer_room said. */
bool kafka_framer_in_place(const struct kafka_framer *f, struct slice bytes);

/*
 * The frame that was just given becomes the caller's: *out, initialised and empty, gets its bytes, those
 * that were gathered without a copy. 0, ERR_LIMIT (the bound of *out) or ERR_NOMEM.
 */
int kafka_framer_take(struct kafka_framer *f, struct slice frame, struct buf *out);

/* Bytes of memory that it holds beside itself: for budgets. */
size_t kafka_framer_held(const struct kafka_framer *f);

/*
 * After a failure: who seems to be speaking, for the line in the log. "HTTP" for
 * a request to this port, "TLS" for a handshake where none is expected, else NULL.
 */
const char *kafka_framer_stranger(const struct kafka_framer *f);

#endif
