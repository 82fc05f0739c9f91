/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_HASH_H
#define WEIR_BASE_HASH_H

#include "base/slice.h"

/* Murmur2 as Kafka's default partitioner uses it (seed 0x9747b28c), 32 bits. */
uint32_t hash_murmur2(struct slice s);

/* The partition that Kafka's default partitioner gives a key: (murmur2 & 0x7fffffff) % partitions. */
uint32_t hash_partition(struct slice key, uint32_t partitions);

/*
 * Keyed hashes for everything that a peer chooses: without the key nobody can
 * make colliding inputs. SipHash-1-3 (64 bits) for tables in memory,
 * SipHash-2-4 with 128 bits where a collision would mean a wrong answer.
 */
struct hash_key {
	uint64_t k0, k1;
};

struct hash128 {
	uint64_t lo, hi;
};

uint64_t hash_sip13(const struct hash_key *key, struct slice s);
struct hash128 hash_sip24_128(const struct hash_key *key, struct slice s);

#endif
