/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_latency.h"

#define EXACT 128u
#define HALF 64u /* cells to a power of two */

static uint32_t cell_of(uint64_t ns)
{
	if (ns < EXACT)
		return (uint32_t)ns;
	uint32_t exponent = 63u - (uint32_t)__builtin_clzll(ns); /* 7 to 62 */
	return EXACT + (exponent - 7) * HALF + (uint32_t)(ns >> (exponent - 6)) - HALF;
}

/* The largest value of a cell. */
static int64_t cell_top(uint32_t cell)
{
	if (cell < EXACT)
		return cell;
	uint32_t exponent = 7 + (cell - EXACT) / HALF;
	uint64_t step = 1ull << (exponent - 6);
	uint64_t first = (HALF + (cell - EXACT) % HALF) * step;
	return (int64_t)(first + step - 1);
}

void bench_latency_add(struct bench_latency *l, int64_t ns)
{
	if (ns < 0)
		ns = 0;
	l->cells[cell_of((uint64_t)ns)]++;
	l->count++;
	if (ns > l->max_ns)
		l->max_ns = ns;
}

int64_t bench_latency_at(const struct bench_latency *l, uint32_t of_100000)
{
	/* Rounded up: p99 of ten values is the tenth. */
	uint64_t rank = (l->count / 100000) * of_100000 + ((l->count % 100000) * of_100000 + 99999) / 100000;
	uint64_t seen = 0;

	for (uint32_t i = 0; i < BENCH_LATENCY_CELLS && rank > 0; i++) {
		seen += l->cells[i];
		if (seen >= rank)
			return cell_top(i) < l->max_ns ? cell_top(i) : l->max_ns;
	}
	return l->max_ns;
}
