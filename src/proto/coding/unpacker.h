/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_CODING_UNPACKER_H
#define WEIR_PROTO_CODING_UNPACKER_H

#include "base/err.h"
#include "base/slice.h"

/*
 * gzip (RFC 1952) and zstd (RFC 8878) as a stream: packed bytes in, in pieces of
 * any size, plain bytes out, as many as there is room for. Several gzip members or
 * zstd frames in a row are one stream. Bounded in what comes out, in the ratio of
 * that to what went in, and in memory. No I/O. One thread at a time.
 */
struct unpacker;

enum unpack_coding { UNPACK_NONE, UNPACK_GZIP, UNPACK_ZSTD };

struct unpack_limits {
	uint64_t bytes_max; /* plain; 0: no bound */
	uint32_t ratio_max; /* plain to packed, past the first MiB; 0: no bound */
};

/* Window that a zstd frame may ask for: 16 MiB. */
#define UNPACK_ZSTD_WINDOW_LOG_MAX 24

/* The coding of a Content-Encoding value; the null slice, "" and "identity" are UNPACK_NONE. False for any other. */
bool unpack_coding_of(struct slice content_encoding, enum unpack_coding *out);

/* "gzip", "zstd", "identity". Lives for ever. */
const char *unpack_coding_text(enum unpack_coding coding);

/* Returns owned; not for UNPACK_NONE. ERR_NOMEM. Borrows the limits. */
int unpacker_new(enum unpack_coding coding, const struct unpack_limits *limits, struct unpacker **out);
void unpacker_free(struct unpacker *u); /* NULL is allowed */

/*
 * Takes packed bytes from the front of *in (moves it on) and writes plain ones to
 * `to`, which has room for `room` (more than 0). Gives their number; 0 where all of
 * *in was taken and more is needed; ERR_BAD_ENCODING, ERR_BODY_TOO_LARGE, ERR_NOMEM
 * with *fault (then only free may follow). What comes out in all does not depend on how the input was cut.
 */
int64_t unpacker_next(struct unpacker *u, struct slice *in, uint8_t *to, size_t room, struct fault *fault);

/* There is no more input: 0, or ERR_BAD_ENCODING with *fault where a frame was cut short, or there was none at all. */
int unpacker_end(const struct unpacker *u, struct fault *fault);

#endif
