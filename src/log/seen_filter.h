/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_SEEN_FILTER_H
#define WEIR_LOG_SEEN_FILTER_H

#include "base/hash.h"

/*
 * A Bloom filter cut into blocks of one cache line: a key touches one line.
 * The block comes from the upper word of the fingerprint, the bits in it from
 * the lower one. It cannot be emptied or grown. See docs/internals/seen.md.
 */
#define SEEN_FILTER_BLOCK 64u
#define SEEN_FILTER_BITS_PER_KEY 14u

struct seen_filter {
	uint8_t *bits; /* owned, aligned to a block */
	uint64_t blocks;
};

/* Empty, of a size for `keys` keys (at least one block). ERR_NOMEM. */
int seen_filter_init(struct seen_filter *f, uint64_t keys);

/* Of a given number of blocks, content undefined: to be read from a file. ERR_NOMEM. */
int seen_filter_init_blocks(struct seen_filter *f, uint64_t blocks);
void seen_filter_fini(struct seen_filter *f);

void seen_filter_add(struct seen_filter *f, struct hash128 fingerprint);

/* Where the block of a fingerprint starts; for fetching it ahead. */
static inline const uint8_t *seen_filter_block(const uint8_t *bits, uint64_t blocks,
					       struct hash128 fingerprint)
{
	return bits + (size_t)((unsigned __int128)fingerprint.hi * blocks >> 64) * SEEN_FILTER_BLOCK;
}

/* False: certainly not added. True: probably added. */
static inline bool seen_filter_test(const uint8_t *block, struct hash128 fingerprint)
{
	uint64_t groups = fingerprint.lo;
	uint32_t all = 1;

	/* Without branches: which bit is missing cannot be foretold. */
	for (int i = 0; i < 7; i++, groups >>= 9)
		all &= (uint32_t)block[(groups >> 3) & 63] >> (groups & 7);
	return all & 1;
}

static inline uint64_t seen_filter_bytes(const struct seen_filter *f)
{
	return f->blocks * SEEN_FILTER_BLOCK;
}

#endif
