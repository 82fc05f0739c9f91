/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_ROUNDS_H
#define WEIR_BENCH_ROUNDS_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* What the benches of one codec share: so many rounds of the same, of which the middle one counts. */
#define ROUNDS 9

/* Processor time: other work on the machine does not count. */
static inline double now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline int rounds_order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Sorts them: the fastest is the first then. Gives the median. */
static inline double rounds_median(double rounds[ROUNDS])
{
	qsort(rounds, ROUNDS, sizeof(rounds[0]), rounds_order);
	return rounds[ROUNDS / 2];
}

/* Ends the program with the sentence where it did not work. */
static inline void check_that(int ok, const char *sentence)
{
	if (ok)
		return;
	(void)fprintf(stderr, "bench: %s\n", sentence);
	exit(1);
}

#endif
