/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing, at most three quarters full; memory that is never touched costs nothing. */
#include "log/offset_map.h"

#include "base/check.h"
#include "base/mem.h"

struct entry {
	struct hash128 key;
	int64_t next; /* the offset + 1; 0: free */
};

struct offset_map {
	struct hash_key secret;
	uint64_t cap, count, count_max;
	struct entry *entries;
};

_Static_assert(sizeof(struct entry) == OFFSET_MAP_ENTRY_BYTES, "the header says so");

#define CAP_MIN 2048u

int offset_map_new(const struct hash_key *secret, uint64_t keys, size_t bytes_max, struct offset_map **out)
{
	struct offset_map *m = mem_zalloc(1, sizeof(*m));

	if (!m)
		return ERR_NOMEM;
	m->secret = *secret;
	m->cap = CAP_MIN;
	while (m->cap / 4 * 3 < keys && m->cap * 2 * sizeof(struct entry) <= bytes_max)
		m->cap *= 2;
	m->count_max = m->cap / 4 * 3;
	m->entries = mem_zalloc(m->cap, sizeof(struct entry));
	if (!m->entries) {
		mem_free(m);
		return ERR_NOMEM;
	}
	*out = m;
	return 0;
}

void offset_map_free(struct offset_map *m)
{
	if (!m)
		return;
	mem_free(m->entries);
	mem_free(m);
}

/* The entry of the key, or the free one where it would go. */
static struct entry *find(const struct offset_map *m, const struct hash128 *key)
{
	uint64_t at = key->lo & (m->cap - 1);

	while (m->entries[at].next && (m->entries[at].key.lo != key->lo || m->entries[at].key.hi != key->hi))
		at = (at + 1) & (m->cap - 1);
	return &m->entries[at];
}

bool offset_map_put(struct offset_map *m, struct slice key, int64_t offset)
{
	struct hash128 fingerprint = hash_sip24_128(&m->secret, key);
	struct entry *e = find(m, &fingerprint);

	CHECK(offset >= 0);
	if (!e->next) {
		if (m->count == m->count_max)
			return false;
		m->count++;
		e->key = fingerprint;
	}
	e->next = offset + 1;
	return true;
}

int64_t offset_map_find(const struct offset_map *m, struct slice key)
{
	struct hash128 fingerprint = hash_sip24_128(&m->secret, key);

	return find(m, &fingerprint)->next - 1;
}

uint64_t offset_map_count(const struct offset_map *m)
{
	return m->count;
}
