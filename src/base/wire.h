/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_WIRE_H
#define WEIR_BASE_WIRE_H

#include "base/slice.h"

/*
 * Bounded reading of big-endian and varint fields. A reader never goes past its
 * end: a read that would sets `bad` and gives 0 or an empty slice, and every
 * later read does the same, so that a parser may check once at the end.
 * Varints are Kafka's (zigzag) and unsigned LEB128, at most 10 bytes.
 */
struct wire_reader {
	const uint8_t *at;
	const uint8_t *end;
	bool bad;
};

struct wire_reader wire_reader_make(struct slice s);
uint16_t wire_u16(struct wire_reader *r);
uint32_t wire_u32(struct wire_reader *r);
uint64_t wire_u64(struct wire_reader *r);
uint32_t wire_uvarint32(struct wire_reader *r); /* at most 5 bytes, and no more than fit */
double wire_f64(struct wire_reader *r);         /* IEEE 754, every bit pattern */

static inline size_t wire_left(const struct wire_reader *r)
{
	return (size_t)(r->end - r->at);
}

/* The place of the next n bytes, behind which the reader stands then; NULL where there are fewer, or it is bad. */
static inline const uint8_t *wire_take(struct wire_reader *r, size_t n)
{
	const uint8_t *at = r->at;

	if (r->bad || wire_left(r) < n) {
		r->bad = true;
		return NULL;
	}
	r->at += n;
	return at;
}

static inline uint8_t wire_u8(struct wire_reader *r)
{
	const uint8_t *at = wire_take(r, 1);

	return at ? *at : 0;
}

static inline struct slice wire_bytes(struct wire_reader *r, size_t n)
{
	const uint8_t *at = wire_take(r, n);

	return at ? slice_make(at, n) : slice_null();
}

/* What the other two do for more than two bytes, or at the end. */
uint64_t wire_uvarint_slowly(struct wire_reader *r);

/* Most are of one or two bytes: records are made of them, seven in each. */
static inline uint64_t wire_uvarint(struct wire_reader *r)
{
	if (wire_left(r) >= 2 && !r->bad) {
		uint32_t a = r->at[0], b = r->at[1];
		if (a < 0x80) {
			r->at += 1;
			return a;
		}
		if (b < 0x80) {
			r->at += 2;
			return (a & 0x7f) | b << 7;
		}
	}
	return wire_uvarint_slowly(r);
}

static inline int64_t wire_varint(struct wire_reader *r) /* zigzag */
{
	uint64_t v = wire_uvarint(r);

	return (int64_t)((v >> 1) ^ (0 - (v & 1)));
}

/* Writers into memory the caller has made large enough; each gives the place behind. */
uint8_t *wire_put_u8(uint8_t *at, uint8_t v);
uint8_t *wire_put_u16(uint8_t *at, uint16_t v);
uint8_t *wire_put_u32(uint8_t *at, uint32_t v);
uint8_t *wire_put_u64(uint8_t *at, uint64_t v);
uint8_t *wire_put_f64(uint8_t *at, double v);
uint8_t *wire_put_uvarint(uint8_t *at, uint64_t v); /* at most 10 bytes */
uint8_t *wire_put_varint(uint8_t *at, int64_t v);   /* at most 10 bytes */
uint8_t *wire_put_bytes(uint8_t *at, struct slice s);

/* Bytes that wire_put_uvarint and wire_put_varint will take. */
size_t wire_uvarint_len(uint64_t v);
size_t wire_varint_len(int64_t v);

/* Big-endian loads and stores at any alignment. */
uint16_t wire_load_u16(const uint8_t *at);
uint32_t wire_load_u32(const uint8_t *at);
uint64_t wire_load_u64(const uint8_t *at);

#endif
