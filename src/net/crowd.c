/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of chains under one lock, taken once when a connection comes and once
 * when it goes, and only where there is a cap at all. The hash is keyed: who
 * has a /48 could choose addresses that meet.
 */
#include "net/crowd.h"

#include <pthread.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"

#define BUCKETS_MIN 64u

struct face {
	struct face *next;
	uint8_t ip[16];
	uint32_t count;
};

struct crowd {
	pthread_mutex_t lock;
	struct hash_key key;
	uint32_t per_address_max;
	struct face **buckets;
	uint32_t bucket_count, faces;
};

struct crowd *crowd_new(const struct hash_key *key, uint32_t per_address_max)
{
	struct crowd *c = mem_zalloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->key = *key;
	c->per_address_max = per_address_max;
	c->bucket_count = BUCKETS_MIN;
	c->buckets = mem_zalloc(c->bucket_count, sizeof(struct face *));
	if (!c->buckets) {
		mem_free(c);
		return NULL;
	}
	(void)pthread_mutex_init(&c->lock, NULL);
	return c;
}

void crowd_free(struct crowd *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < c->bucket_count; i++) {
		while (c->buckets[i]) {
			struct face *next = c->buckets[i]->next;
			mem_free(c->buckets[i]);
			c->buckets[i] = next;
		}
	}
	(void)pthread_mutex_destroy(&c->lock);
	mem_free(c->buckets);
	mem_free(c);
}

static bool is_v4(const uint8_t ip[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(ip, mapped, sizeof(mapped)) == 0;
}

/* False for loopback. */
static bool face_of(const uint8_t ip[16], uint8_t face[16])
{
	static const uint8_t one[16] = {[15] = 1};

	if (is_v4(ip) ? ip[12] == 127 : memcmp(ip, one, sizeof(one)) == 0)
		return false;
	memcpy(face, ip, 16);
	if (!is_v4(ip))
		memset(face + 8, 0, 8);
	return true;
}

static struct face **place_of(struct crowd *c, const uint8_t face[16])
{
	struct face **at = &c->buckets[hash_sip13(&c->key, slice_make(face, 16)) & (c->bucket_count - 1)];

	while (*at && memcmp((*at)->ip, face, 16) != 0)
		at = &(*at)->next;
	return at;
}

/* Without memory the chains only get longer. */
static void grow(struct crowd *c)
{
	uint32_t count = c->bucket_count * 2;
	struct face **fresh = mem_zalloc(count, sizeof(struct face *));

	if (!fresh)
		return;
	for (uint32_t i = 0; i < c->bucket_count; i++) {
		while (c->buckets[i]) {
			struct face *f = c->buckets[i];
			struct face **at = &fresh[hash_sip13(&c->key, slice_make(f->ip, 16)) & (count - 1)];
			c->buckets[i] = f->next;
			f->next = *at;
			*at = f;
		}
	}
	mem_free(c->buckets);
	c->buckets = fresh;
	c->bucket_count = count;
}

static int count_one(struct crowd *c, const uint8_t face[16])
{
	struct face **at = place_of(c, face);

	if (*at && (*at)->count >= c->per_address_max)
		return ERR_LIMIT;
	if (!*at) {
		*at = mem_zalloc(1, sizeof(struct face));
		if (!*at)
			return ERR_NOMEM;
		memcpy((*at)->ip, face, 16);
		c->faces++;
	}
	(*at)->count++;
	if (c->faces > c->bucket_count)
		grow(c);
	return 0;
}

int crowd_enter(struct crowd *c, const uint8_t ip[16])
{
	uint8_t face[16];
	int rc;

	if (!face_of(ip, face))
		return 0;
	(void)pthread_mutex_lock(&c->lock);
	rc = count_one(c, face);
	(void)pthread_mutex_unlock(&c->lock);
	return rc;
}

void crowd_leave(struct crowd *c, const uint8_t ip[16])
{
	struct face **at, *f;
	uint8_t face[16];

	if (!face_of(ip, face))
		return;
	(void)pthread_mutex_lock(&c->lock);
	at = place_of(c, face);
	f = *at;
	CHECK(f && f->count > 0);
	if (--f->count == 0) {
		*at = f->next;
		c->faces--;
		mem_free(f);
	}
	(void)pthread_mutex_unlock(&c->lock);
}

uint32_t crowd_addresses(struct crowd *c)
{
	uint32_t faces;

	(void)pthread_mutex_lock(&c->lock);
	faces = c->faces;
	(void)pthread_mutex_unlock(&c->lock);
	return faces;
}
