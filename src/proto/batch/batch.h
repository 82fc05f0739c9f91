/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_BATCH_BATCH_H
#define WEIR_PROTO_BATCH_BATCH_H

#include <stdbool.h>

#include "base/err.h"
#include "base/slice.h"
#include "proto/batch/codec.h"

/*
 * Kafka's record batch v2 (magic 2): the one form of records in the journal, in
 * segments and on the wire. Base offset and leader epoch stand outside the CRC
 * and may be patched; everything else is as the producer made it.
 * Source: DefaultRecordBatch and DefaultRecord of Apache Kafka.
 */
#define BATCH_HEAD_BYTES 61u
#define BATCH_LOG_OVERHEAD 12u /* base offset and length, which the length does not count */

#define BATCH_CODEC_MASK 0x07u       /* of the attributes: an enum batch_codec */
#define BATCH_TIME_IS_APPEND 0x08u   /* each record has the batch's max timestamp */
#define BATCH_IS_TRANSACTIONAL 0x10u /* the producer's commit or abort decides */
#define BATCH_IS_CONTROL 0x20u       /* not records but such a decision */
/*
 * weir's own, on a batch without records only (Kafka has no meaning for the bit
 * and does not look at it): the offsets held records that damage has cost.
 */
#define BATCH_LOST 0x8000u

struct batch_head {
	int64_t base_offset;
	uint32_t bytes; /* of the whole batch, head included */
	uint32_t crc;
	uint16_t attributes;
	int32_t last_offset_delta;
	int64_t base_timestamp;
	int64_t max_timestamp;
	int64_t producer_id;
	int16_t producer_epoch;
	int32_t base_sequence;
	uint32_t count;
};

/*
 * Reads the head of the batch that begins at s. 0, ERR_MALFORMED where the
 * fields contradict each other (length, magic, counts), or 1 where s holds less
 * than a head. Does not need the whole batch and does not look at the CRC.
 */
int batch_head_read(struct slice s, struct batch_head *out);

/* Whole batch at the start of s? 0 and *out, ERR_MALFORMED, ERR_CORRUPT (CRC), or 1: more bytes are needed. */
int batch_check(struct slice s, struct batch_head *out);

static inline int64_t batch_last_offset(const struct batch_head *h)
{
	return h->base_offset + h->last_offset_delta;
}

static inline enum batch_codec batch_codec(const struct batch_head *h)
{
	return (enum batch_codec)(h->attributes & BATCH_CODEC_MASK);
}

/*
 * The most that a batch is inflated to: room for the largest record that may be configured, 64 MiB,
 * with its key and headers.
 */
#define BATCH_PLAIN_BYTES_MAX ((size_t)72 << 20)

/*
 * The same batch without compression, to be walked: *plain is the batch itself
 * where it is plain already, else what `out` holds then (cleared before; out->bytes_max is the
 * bound, BATCH_PLAIN_BYTES_MAX a good one), with no checksum. `batch` (borrowed) begins
 * with a whole batch that was checked. Errors: as codec_inflate.
 *
 *	rc = batch_inflate(codec, batch, &out, &plain);
 *	if (rc == 0)
 *		rc = batch_walk_start(&walk, plain);
 */
int batch_inflate(struct codec *c, struct slice batch, struct buf *out, struct slice *plain);

/*
 * Appends to `out` the same batch with its records in another codec (level: see
 * codec_deflate), or the same one anew: offsets, timestamps, producer and all other
 * attributes stay; length and checksum are made again. The records are not looked at; a
 * batch without any stays plain. `scratch`
 * holds them plain meanwhile. It may come out larger: the caller compares. Not for batches
 * with BATCH_IS_CONTROL, which stay plain. Errors: as codec_inflate and codec_deflate; `out` is then as it was.
 */
int batch_recode(struct codec *c, struct slice batch, enum batch_codec to, int level, struct buf *scratch,
		 struct buf *out);

/*
 * A batch without records stands in a segment for offsets whose records are no
 * more: compacted away, or, with BATCH_LOST, damaged and set aside. So batches
 * follow one another without a hole, and a hole is always damage. Kafka keeps
 * such batches too (for the last sequence of a producer); clients step over them.
 */
static inline bool batch_is_empty(const struct batch_head *h)
{
	return h->count == 0;
}

static inline bool batch_is_lost(const struct batch_head *h)
{
	return h->count == 0 && (h->attributes & BATCH_LOST);
}

/* The most offsets that one batch can stand for. */
#define BATCH_OFFSETS_MAX ((int64_t)INT32_MAX + 1)

/*
 * Writes one, BATCH_HEAD_BYTES long, for [base, last]: at most BATCH_OFFSETS_MAX
 * of them. attributes: 0 or BATCH_LOST. Returns behind it.
 */
uint8_t *batch_put_empty(uint8_t *at, int64_t base, int64_t last, uint16_t attributes, int64_t timestamp_ms);

/*
 * A transaction marker: a control batch of one record that ends a transaction of
 * a producer in its partition. Source: EndTransactionMarker, ControlRecordType,
 * MemoryRecords.writeEndTransactionalMarker of Apache Kafka.
 */
#define BATCH_MARKER_BYTES 78u

struct batch_marker {
	int64_t producer_id;
	int64_t timestamp_ms;
	int32_t coordinator_epoch;
	int16_t producer_epoch;
	bool commit; /* else it aborts */
};

/* BATCH_MARKER_BYTES, with base offset 0. Returns behind it. */
uint8_t *batch_put_marker(uint8_t *at, const struct batch_marker *m);

/* Reads one: `batch` begins with a whole control batch. 1; 0 for control batches of other kinds; ERR_MALFORMED. */
int batch_marker_read(struct slice batch, struct batch_marker *out);

static inline bool batch_is_control(const struct batch_head *h)
{
	return h->attributes & BATCH_IS_CONTROL;
}

static inline bool batch_is_transactional(const struct batch_head *h)
{
	return h->attributes & BATCH_IS_TRANSACTIONAL;
}

/* The same of the bytes of a batch: is it of a producer with an id? For who has no other use for the head. */
static inline bool batch_has_producer(const uint8_t *batch)
{
	return batch[43] < 0x80;
}

/* The sequence `by` behind this one: 0 follows on 2^31 - 1. (DefaultRecordBatch.incrementSequence) */
static inline int32_t batch_sequence_after(int32_t sequence, int32_t by)
{
	return (int32_t)(((uint32_t)sequence + (uint32_t)by) & INT32_MAX);
}

/* Of its last record; also where records of it were compacted away. */
static inline int32_t batch_last_sequence(const struct batch_head *h)
{
	return h->base_sequence < 0 ? -1 : batch_sequence_after(h->base_sequence, h->last_offset_delta);
}

/*
 * For who stores a batch: puts base offset and a leader epoch of 0, which no checksum covers. And, for a batch that
 * is to bear the time at which it was stored: timestamp type, highest timestamp, checksum.
 */
void batch_place(uint8_t *batch, int64_t base_offset);
void batch_put_append_time(uint8_t *batch, const struct batch_head *head, int64_t timestamp_ms);

/* Where the head of a client's batch says less or more than its records: the highest timestamp and the checksum. */
void batch_put_max_timestamp(uint8_t *batch, const struct batch_head *head, int64_t timestamp_ms);

/* Writes the head of a batch whose records stand behind it already, and its checksum. h->crc is ignored. */
void batch_head_put(uint8_t *batch, const struct batch_head *h);

/* Where a header of a record begins: names and values are borrowed from the batch. */
struct batch_record {
	int64_t offset;
	int64_t timestamp;
	struct slice key;     /* ptr NULL: null */
	struct slice value;   /* ptr NULL: null */
	struct slice headers; /* encoded */
	uint32_t header_count;
};

/* Walks the records of one whole, uncompressed batch. */
struct batch_walk {
	struct batch_head head;
	const uint8_t *at;
	const uint8_t *end;
	uint32_t left;
};

/* `batch` begins with a whole batch that was checked. ERR_MALFORMED, ERR_NOT_IMPLEMENTED for a compressed one (batch_inflate). */
int batch_walk_start(struct batch_walk *w, struct slice batch);

/* 1 and a record, 0 at the end, ERR_MALFORMED where a record does not fit. */
int batch_walk_next(struct batch_walk *w, struct batch_record *out);

/* Takes one header off the front of an encoded header array. 1, 0 at the end, ERR_MALFORMED. value.ptr NULL: null. */
int batch_header_next(struct slice *headers, struct slice *name, struct slice *value);

/* Bytes of one encoded header; and the encoding itself. */
size_t batch_header_bytes(struct slice name, struct slice value);
uint8_t *batch_header_put(uint8_t *at, struct slice name, struct slice value);

/*
 * Builds a batch in memory that the caller made large enough: start leaves room
 * for the head, each record is put behind, finish writes the head and its CRC.
 */
struct batch_build {
	uint8_t *begin;
	uint8_t *at;
	int64_t base_offset;
	int64_t base_timestamp;
	int64_t max_timestamp;
	uint32_t count;
};

/* The most bytes that one record may take in a batch. */
static inline size_t batch_record_bytes_max(size_t key, size_t value, size_t headers)
{
	return key + value + headers + 48;
}

void batch_build_start(struct batch_build *b, uint8_t *at, int64_t base_offset);
/* The next offset in a row. offset of r is ignored. */
void batch_build_put(struct batch_build *b, const struct batch_record *r);
/* Gives the whole batch. At least one record was put. */
struct slice batch_build_finish(struct batch_build *b);

#endif
