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
uint8_t wire_u8(struct wire_reader *r);
uint16_t wire_u16(struct wire_reader *r);
uint32_t wire_u32(struct wire_reader *r);
uint64_t wire_u64(struct wire_reader *r);
uint64_t wire_uvarint(struct wire_reader *r);
uint32_t wire_uvarint32(struct wire_reader *r); /* at most 5 bytes, and no more than fit */
int64_t wire_varint(struct wire_reader *r);     /* zigzag */
double wire_f64(struct wire_reader *r);         /* IEEE 754, every bit pattern */
struct slice wire_bytes(struct wire_reader *r, size_t n);

static inline size_t wire_left(const struct wire_reader *r)
{
	return (size_t)(r->end - r->at);
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
