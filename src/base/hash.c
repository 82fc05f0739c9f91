/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

uint32_t hash_murmur2(struct slice s)
{
	const uint32_t m = 0x5bd1e995u;
	uint32_t h = 0x9747b28cu ^ (uint32_t)s.len;
	const uint8_t *at = s.ptr;
	size_t left = s.len;

	for (; left >= 4; left -= 4, at += 4) {
		uint32_t k;
		memcpy(&k, at, 4); /* little-endian, as Kafka's */
		k *= m;
		k ^= k >> 24;
		k *= m;
		h = h * m ^ k;
	}
	if (left > 2)
		h ^= (uint32_t)at[2] << 16;
	if (left > 1)
		h ^= (uint32_t)at[1] << 8;
	if (left > 0)
		h = (h ^ at[0]) * m;
	h ^= h >> 13;
	h *= m;
	return h ^ h >> 15;
}

uint32_t hash_partition(struct slice key, uint32_t partitions)
{
	return (hash_murmur2(key) & 0x7fffffffu) % partitions;
}

struct sip {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotl(uint64_t x, unsigned k)
{
	return (x << k) | (x >> (64 - k));
}

static void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

static uint64_t last_word(struct slice s)
{
	uint64_t word = (uint64_t)s.len << 56;
	const uint8_t *tail = s.ptr + (s.len & ~(size_t)7);

	for (size_t i = 0; i < (s.len & 7); i++)
		word |= (uint64_t)tail[i] << (8 * i);
	return word;
}

static void sip_mix(struct sip *s, uint64_t word, int rounds)
{
	s->v3 ^= word;
	for (int i = 0; i < rounds; i++)
		sip_round(s);
	s->v0 ^= word;
}

static void sip_absorb(struct sip *s, struct slice in, int rounds)
{
	for (size_t at = 0; at + 8 <= in.len; at += 8) {
		uint64_t word;
		memcpy(&word, in.ptr + at, 8);
		sip_mix(s, word, rounds);
	}
	sip_mix(s, in.len ? last_word(in) : 0, rounds);
}

static struct sip sip_start(const struct hash_key *key)
{
	return (struct sip){
		.v0 = key->k0 ^ 0x736f6d6570736575u,
		.v1 = key->k1 ^ 0x646f72616e646f6du,
		.v2 = key->k0 ^ 0x6c7967656e657261u,
		.v3 = key->k1 ^ 0x7465646279746573u,
	};
}

static uint64_t sip_squeeze(struct sip *s, int rounds)
{
	for (int i = 0; i < rounds; i++)
		sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

uint64_t hash_sip13(const struct hash_key *key, struct slice in)
{
	struct sip s = sip_start(key);

	sip_absorb(&s, in, 1);
	s.v2 ^= 0xff;
	return sip_squeeze(&s, 3);
}

struct hash128 hash_sip24_128(const struct hash_key *key, struct slice in)
{
	struct sip s = sip_start(key);
	struct hash128 out;

	s.v1 ^= 0xee;
	sip_absorb(&s, in, 2);
	s.v2 ^= 0xee;
	out.lo = sip_squeeze(&s, 4);
	s.v1 ^= 0xdd;
	out.hi = sip_squeeze(&s, 4);
	return out;
}
