/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_INFLATE_H
#define WEIR_INGEST_INFLATE_H

#include "base/arena.h"
#include "base/err.h"

/*
 * Content-Encoding of bodies: gzip and zstd, bounded. One a loop: it keeps the
 * decompressors' memory and a scratch buffer, which is given back when it
 * has grown past 1 MiB.
 */
struct inflater;

enum inflate_coding { INFLATE_IDENTITY, INFLATE_GZIP, INFLATE_ZSTD };

/* Window that a zstd frame may ask for: 16 MiB. */
#define INFLATE_ZSTD_WINDOW_LOG_MAX 24

int inflater_new(struct inflater **out);
void inflater_free(struct inflater *z);

/* The coding of a Content-Encoding value (ptr NULL: identity). False for any other. */
bool inflate_coding(struct slice content_encoding, enum inflate_coding *out);

/*
 * Inflates a whole body into the arena. At most bytes_max, and past 1 MiB at most
 * ratio_max times the input. 0; ERR_BODY_TOO_LARGE; ERR_BAD_ENCODING (broken,
 * cut short, or more behind it); ERR_NOMEM; each with *fault.
 */
int inflate_body(struct inflater *z, enum inflate_coding coding, struct slice body, size_t bytes_max,
		 uint32_t ratio_max, struct arena *arena, struct slice *out, struct fault *fault);

#endif
