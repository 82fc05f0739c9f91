/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_BENCH_LATENCY_H
#define WEIR_CLI_BENCH_LATENCY_H

#include <stdint.h>

/*
 * Counts of latencies in cells that grow with the value: exact below 128 ns,
 * then 64 cells to each power of two, so that a percentile is at most 1.6 % too
 * high. Adding is a shift and an increment; nothing is allocated.
 */
#define BENCH_LATENCY_CELLS (128u + 56u * 64u)

struct bench_latency {
	uint64_t cells[BENCH_LATENCY_CELLS];
	uint64_t count;
	int64_t max_ns;
};

/* Adds one; below 0 counts as 0. */
void bench_latency_add(struct bench_latency *l, int64_t ns);

/*
 * The latency in nanoseconds that so many of 100 000 are not above: 50000 is the
 * median, 99900 is p99.9. 0 where there are none.
 */
int64_t bench_latency_at(const struct bench_latency *l, uint32_t of_100000);

#endif
