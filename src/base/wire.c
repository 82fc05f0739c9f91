/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wire.h"

struct wire_reader wire_reader_make(struct slice s)
{
	return (struct wire_reader){.at = s.ptr, .end = s.len ? s.ptr + s.len : s.ptr, .bad = false};
}

uint16_t wire_load_u16(const uint8_t *at)
{
	uint16_t v;

	memcpy(&v, at, sizeof(v));
	return __builtin_bswap16(v);
}

uint32_t wire_load_u32(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return __builtin_bswap32(v);
}

uint64_t wire_load_u64(const uint8_t *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return __builtin_bswap64(v);
}

uint16_t wire_u16(struct wire_reader *r)
{
	const uint8_t *at = wire_take(r, 2);

	return at ? wire_load_u16(at) : 0;
}

uint32_t wire_u32(struct wire_reader *r)
{
	const uint8_t *at = wire_take(r, 4);

	return at ? wire_load_u32(at) : 0;
}

uint64_t wire_u64(struct wire_reader *r)
{
	const uint8_t *at = wire_take(r, 8);

	return at ? wire_load_u64(at) : 0;
}

uint64_t wire_uvarint_slowly(struct wire_reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		const uint8_t *at = wire_take(r, 1);
		if (!at)
			return 0;
		if (shift == 63 && *at > 1)
			break;
		v |= (uint64_t)(*at & 0x7f) << shift;
		if (!(*at & 0x80))
			return v;
	}
	r->bad = true;
	return 0;
}

uint32_t wire_uvarint32(struct wire_reader *r)
{
	uint32_t v = 0;

	for (unsigned shift = 0; shift < 32; shift += 7) {
		const uint8_t *at = wire_take(r, 1);
		if (!at)
			return 0;
		if (shift == 28 && *at > 0xf)
			break;
		v |= (uint32_t)(*at & 0x7f) << shift;
		if (!(*at & 0x80))
			return v;
	}
	r->bad = true;
	return 0;
}

double wire_f64(struct wire_reader *r)
{
	uint64_t bits = wire_u64(r);
	double v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

uint8_t *wire_put_u8(uint8_t *at, uint8_t v)
{
	*at = v;
	return at + 1;
}

uint8_t *wire_put_u16(uint8_t *at, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(at, &v, sizeof(v));
	return at + sizeof(v);
}

uint8_t *wire_put_u32(uint8_t *at, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(at, &v, sizeof(v));
	return at + sizeof(v);
}

uint8_t *wire_put_u64(uint8_t *at, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(at, &v, sizeof(v));
	return at + sizeof(v);
}

uint8_t *wire_put_f64(uint8_t *at, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	return wire_put_u64(at, bits);
}

uint8_t *wire_put_uvarint(uint8_t *at, uint64_t v)
{
	while (v >= 0x80) {
		*at++ = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	*at++ = (uint8_t)v;
	return at;
}

static uint64_t zigzag(int64_t v)
{
	return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

uint8_t *wire_put_varint(uint8_t *at, int64_t v)
{
	return wire_put_uvarint(at, zigzag(v));
}

uint8_t *wire_put_bytes(uint8_t *at, struct slice s)
{
	if (s.len)
		memcpy(at, s.ptr, s.len);
	return at + s.len;
}

size_t wire_uvarint_len(uint64_t v)
{
	unsigned bits = 64u - (unsigned)__builtin_clzll(v | 1);

	return (bits + 6) / 7;
}

size_t wire_varint_len(int64_t v)
{
	return wire_uvarint_len(zigzag(v));
}
