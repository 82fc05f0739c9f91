/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_BATCH_CODEC_H
#define WEIR_PROTO_BATCH_CODEC_H

#include "base/buf.h"
#include "base/err.h"

/*
 * The codecs of the records in a batch, as Kafka's clients write them: gzip
 * (RFC 1952), snappy (raw, or in the framing of the Java clients), lz4 (one
 * frame) and zstd (RFC 8878). Whole pieces of memory in, whole pieces out; it
 * does not know what a batch is (batch_inflate and batch_recode do).
 */
enum batch_codec { BATCH_PLAIN, BATCH_GZIP, BATCH_SNAPPY, BATCH_LZ4, BATCH_ZSTD };

/* The memory of the libraries, made when first used and kept. For one thread at a time. */
struct codec;

/* Returns owned; ERR_NOMEM. */
int codec_new(struct codec **out);

/* Takes; NULL is allowed. */
void codec_free(struct codec *c);

/*
 * Appends what `in` (borrowed) inflates to. What would pass out->bytes_max is
 * ERR_LIMIT: before anything is inflated where the stream says how long it
 * becomes, and there otherwise. No more memory is asked for than that and what the
 * library needs (at most 9 MiB, for lz4 of the largest blocks).
 * Errors besides: ERR_MALFORMED (broken, cut short, more behind it),
 * ERR_NOT_IMPLEMENTED (no such codec), ERR_NOMEM. On an error the content of `out` is as it was.
 */
int codec_inflate(struct codec *c, enum batch_codec kind, struct slice in, struct buf *out);

/*
 * Appends `in` (borrowed) compressed, in the form that every client reads. level: the
 * library's (gzip 1 to 9, lz4 1 to 12, zstd 1 to 19; snappy has none), 0 its default; one
 * above is taken as the highest. ERR_LIMIT where that does not fit out->bytes_max
 * (snappy and lz4: where the next block, 38 and 64 KiB, might not), ERR_NOT_IMPLEMENTED, ERR_NOMEM;
 * then the content is as it was. What does not compress becomes a little longer.
 */
int codec_deflate(struct codec *c, enum batch_codec kind, int level, struct slice in, struct buf *out);

/* "none", "gzip", "snappy", "lz4", "zstd"; NULL for a number that is no codec. */
const char *codec_name(enum batch_codec kind);

#endif
