/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_RAND_H
#define WEIR_BASE_RAND_H

#include <stdint.h>

/*
 * A small fast generator (xoshiro256**) for jitter, spreading and tests. Not
 * for secrets: those come from sys. One seed gives one sequence.
 */
struct rand {
	uint64_t s[4];
};

void rand_seed(struct rand *r, uint64_t seed);
uint64_t rand_next(struct rand *r);

/* Uniform in [0, n); n > 0. */
uint64_t rand_below(struct rand *r, uint64_t n);

#endif
