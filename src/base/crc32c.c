/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three streams of the crc32 instruction run side by side, because one alone
 * waits three cycles for its own result; a table of x^n mod P joins them. Where
 * the processor lacks the instruction eight tables take eight bytes a step.
 * Choice is made once, by the dynamic linker (ifunc is avoided: it breaks under
 * sanitizers), so a relaxed atomic holds the function after the first call.
 */
#include "base/crc32c.h"

#include <stdatomic.h>

#define POLY 0x82f63b78u
#define LANE 256u /* bytes of one of three interleaved streams */

static uint32_t tables[8][256];
static uint32_t lane_shift[4][256]; /* multiplies a crc by x^(8*LANE) */
static _Atomic int ready;           /* 0 unknown, 1 portable, 2 instruction */

/* a * b mod P, bits reflected. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t mask = 0x80000000u; mask; mask >>= 1) {
		if (a & mask)
			product ^= b;
		b = b & 1 ? (b >> 1) ^ POLY : b >> 1;
	}
	return product;
}

static void fill_tables(void)
{
	uint32_t power = 0x00800000u; /* x^8 */

	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? (crc >> 1) ^ POLY : crc >> 1;
		tables[0][i] = crc;
	}
	for (int t = 1; t < 8; t++)
		for (uint32_t i = 0; i < 256; i++)
			tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xff];
	for (unsigned n = 1; n < LANE; n *= 2)
		power = multiply(power, power);
	for (uint32_t byte = 0; byte < 4; byte++)
		for (uint32_t i = 0; i < 256; i++)
			lane_shift[byte][i] = multiply(power, i << (8 * byte));
}

static uint32_t run_portable(uint32_t crc, const uint8_t *at, size_t n)
{
	for (; n >= 8; n -= 8, at += 8) {
		uint64_t v;
		memcpy(&v, at, sizeof(v));
		v ^= crc;
		crc = tables[7][v & 0xff] ^ tables[6][(v >> 8) & 0xff] ^ tables[5][(v >> 16) & 0xff] ^
		      tables[4][(v >> 24) & 0xff] ^ tables[3][(v >> 32) & 0xff] ^
		      tables[2][(v >> 40) & 0xff] ^ tables[1][(v >> 48) & 0xff] ^ tables[0][v >> 56];
	}
	for (; n; n--)
		crc = (crc >> 8) ^ tables[0][(crc ^ *at++) & 0xff];
	return crc;
}

#if defined(__x86_64__)
static uint32_t shift_lane(uint32_t crc)
{
	return lane_shift[0][crc & 0xff] ^ lane_shift[1][(crc >> 8) & 0xff] ^
	       lane_shift[2][(crc >> 16) & 0xff] ^ lane_shift[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t run_instruction(uint32_t crc, const uint8_t *at, size_t n)
{
	uint64_t a = crc;

	for (; n >= 3 * LANE; n -= 3 * LANE, at += 3 * LANE) {
		uint64_t b = 0, c = 0;
		for (size_t i = 0; i < LANE; i += 8) {
			uint64_t x, y, z;
			memcpy(&x, at + i, 8);
			memcpy(&y, at + LANE + i, 8);
			memcpy(&z, at + 2 * LANE + i, 8);
			a = __builtin_ia32_crc32di(a, x);
			b = __builtin_ia32_crc32di(b, y);
			c = __builtin_ia32_crc32di(c, z);
		}
		a = shift_lane((uint32_t)a) ^ b;
		a = shift_lane((uint32_t)a) ^ c;
	}
	for (; n >= 8; n -= 8, at += 8) {
		uint64_t x;
		memcpy(&x, at, 8);
		a = __builtin_ia32_crc32di(a, x);
	}
	for (; n; n--)
		a = __builtin_ia32_crc32qi((uint32_t)a, *at++);
	return (uint32_t)a;
}

static bool has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2");
}
#else
static uint32_t run_instruction(uint32_t crc, const uint8_t *at, size_t n)
{
	return run_portable(crc, at, n);
}

static bool has_instruction(void)
{
	return false;
}
#endif

/* Filling twice from two threads writes the same values; the flag is set after. */
static int choose(void)
{
	static _Atomic int filling;
	int now = atomic_load_explicit(&ready, memory_order_acquire);

	if (now)
		return now;
	if (atomic_exchange(&filling, 1) == 0) {
		fill_tables();
		atomic_store_explicit(&ready, has_instruction() ? 2 : 1, memory_order_release);
	}
	while (!(now = atomic_load_explicit(&ready, memory_order_acquire)))
		;
	return now;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t n)
{
	if (choose() == 2)
		return ~run_instruction(~crc, bytes, n);
	return ~run_portable(~crc, bytes, n);
}

uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t n)
{
	(void)choose();
	return ~run_portable(~crc, bytes, n);
}
