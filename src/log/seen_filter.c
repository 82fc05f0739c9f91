/* SPDX-License-Identifier: Apache-2.0 */
#include "log/seen_filter.h"

#include "base/err.h"
#include "base/mem.h"

int seen_filter_init_blocks(struct seen_filter *f, uint64_t blocks)
{
	if (blocks > SIZE_MAX / SEEN_FILTER_BLOCK)
		return ERR_NOMEM;
	f->bits = mem_aligned(SEEN_FILTER_BLOCK, (size_t)blocks * SEEN_FILTER_BLOCK);
	if (!f->bits)
		return ERR_NOMEM;
	f->blocks = blocks;
	return 0;
}

int seen_filter_init(struct seen_filter *f, uint64_t keys)
{
	uint64_t block_bits = SEEN_FILTER_BLOCK * 8;
	int err;

	err = seen_filter_init_blocks(f, (keys * SEEN_FILTER_BITS_PER_KEY + block_bits) / block_bits);
	if (err)
		return err;
	memset(f->bits, 0, (size_t)seen_filter_bytes(f));
	return 0;
}

void seen_filter_fini(struct seen_filter *f)
{
	mem_free(f->bits);
	f->bits = NULL;
	f->blocks = 0;
}

void seen_filter_add(struct seen_filter *f, struct hash128 fingerprint)
{
	uint8_t *block = f->bits + (seen_filter_block(f->bits, f->blocks, fingerprint) - f->bits);
	uint64_t groups = fingerprint.lo;

	for (int i = 0; i < 7; i++, groups >>= 9)
		block[(groups >> 3) & 63] |= (uint8_t)(1u << (groups & 7));
}
