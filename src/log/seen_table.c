/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing with linear probing. The home of a key follows from its
 * fingerprint's upper bits, so that slots stand nearly in the order of the
 * fingerprints: a checkpoint has little to sort. A removal moves later slots of
 * the same cluster up instead of leaving a tombstone, since all keys leave
 * within minutes and tombstones would outnumber them.
 *
 * Growth is by half, not double: 1024 shards fill at the same pace, and
 * doubling would take all of the memory at one moment.
 */
#include "log/seen_table.h"

#include "base/check.h"
#include "base/mem.h"

#define CAP_FIRST 16u

static uint64_t slot_bytes(uint32_t cap)
{
	return (uint64_t)cap * sizeof(struct seen_slot);
}

int seen_table_init(struct seen_table *t, uint64_t bytes_max)
{
	*t = (struct seen_table){.bytes_max = bytes_max};
	t->shards = mem_aligned(64, SEEN_SHARDS * sizeof(*t->shards));
	if (!t->shards)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < SEEN_SHARDS; i++) {
		t->shards[i] = (struct seen_shard){.slots = NULL};
		pthread_mutex_init(&t->shards[i].lock, NULL);
	}
	return 0;
}

void seen_table_fini(struct seen_table *t)
{
	if (!t->shards)
		return;
	for (uint32_t i = 0; i < SEEN_SHARDS; i++) {
		struct seen_shard *s = &t->shards[i];

		for (uint32_t j = 0; j < s->cap; j++)
			seen_slot_clear(t, &s->slots[j]);
		mem_free(s->slots);
		pthread_mutex_destroy(&s->lock);
	}
	mem_free(t->shards);
	t->shards = NULL;
}

/* ---- lists ---- */

static uint64_t list_bytes(uint32_t count)
{
	return sizeof(struct seen_list) + (uint64_t)count * sizeof(struct seen_range);
}

struct seen_list *seen_list_new(struct seen_table *t, const struct seen_range *ranges, uint32_t count)
{
	struct seen_list *l = mem_alloc((size_t)list_bytes(count));

	if (!l)
		return NULL;
	atomic_init(&l->refs, 1);
	l->count = count;
	if (count)
		memcpy(l->ranges, ranges, count * sizeof(*ranges));
	atomic_fetch_add_explicit(&t->bytes, list_bytes(count), memory_order_relaxed);
	return l;
}

struct seen_list *seen_list_ref(struct seen_list *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void seen_list_unref(struct seen_table *t, struct seen_list *l)
{
	if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
		return;
	atomic_fetch_sub_explicit(&t->bytes, list_bytes(l->count), memory_order_relaxed);
	mem_free(l);
}

void seen_slot_clear(struct seen_table *t, struct seen_slot *slot)
{
	if (slot->state == SEEN_SLOT_MANY)
		seen_list_unref(t, slot->settled.list);
	slot->state = SEEN_SLOT_EMPTY;
}

/* ---- slots ---- */

static uint32_t after(const struct seen_shard *s, uint32_t i)
{
	return i + 1 == s->cap ? 0 : i + 1;
}

static bool same(struct hash128 a, struct hash128 b)
{
	return a.hi == b.hi && a.lo == b.lo;
}

struct seen_slot *seen_shard_find(struct seen_shard *s, struct hash128 fingerprint)
{
	if (s->used == 0)
		return NULL;
	for (uint32_t i = seen_shard_home(s, fingerprint); s->slots[i].state; i = after(s, i)) {
		if (same(s->slots[i].fingerprint, fingerprint))
			return &s->slots[i];
	}
	return NULL;
}

static struct seen_slot *free_slot(struct seen_shard *s, struct hash128 fingerprint)
{
	uint32_t i = seen_shard_home(s, fingerprint);

	while (s->slots[i].state)
		i = after(s, i);
	return &s->slots[i];
}

static int resize(struct seen_table *t, struct seen_shard *s, uint32_t cap)
{
	struct seen_shard old = {.slots = s->slots, .cap = s->cap};
	struct seen_slot *slots = mem_aligned(64, (size_t)slot_bytes(cap));

	if (!slots)
		return ERR_NOMEM;
	memset(slots, 0, (size_t)slot_bytes(cap));
	s->slots = slots;
	s->cap = cap;
	for (uint32_t i = 0; i < old.cap; i++) {
		if (old.slots[i].state)
			*free_slot(s, old.slots[i].fingerprint) = old.slots[i];
	}
	mem_free(old.slots);
	atomic_fetch_add_explicit(&t->bytes, slot_bytes(cap) - slot_bytes(old.cap), memory_order_relaxed);
	return 0;
}

/* Room for one more: above three quarters grow; where the bound forbids it, fill up to fifteen sixteenths. */
static int make_room(struct seen_table *t, struct seen_shard *s, bool unbounded)
{
	uint32_t cap = s->cap ? s->cap + s->cap / 2 : CAP_FIRST;
	uint64_t more = slot_bytes(cap) - slot_bytes(s->cap);
	int err = ERR_OVERLOADED;

	if ((uint64_t)s->used + 1 <= (uint64_t)s->cap * 3 / 4)
		return 0;
	if (unbounded || atomic_load_explicit(&t->bytes, memory_order_relaxed) + more <= t->bytes_max)
		err = resize(t, s, cap);
	if (err && (uint64_t)s->used + 1 <= (uint64_t)s->cap * 15 / 16)
		return 0;
	return err;
}

int seen_shard_add(struct seen_table *t, struct seen_shard *s, struct hash128 fingerprint, bool unbounded,
		   struct seen_slot **out)
{
	int err = make_room(t, s, unbounded);

	if (err)
		return err;
	*out = free_slot(s, fingerprint);
	**out = (struct seen_slot){.fingerprint = fingerprint, .state = SEEN_SLOT_IN_FLIGHT};
	s->used++;
	atomic_fetch_add_explicit(&t->keys, 1, memory_order_relaxed);
	return 0;
}

/* Whether a slot at i whose home is `home` may move to the gap: the gap lies on its way. */
static bool may_move(const struct seen_shard *s, uint32_t home, uint32_t gap, uint32_t i)
{
	uint32_t to_slot = i >= home ? i - home : i + s->cap - home;
	uint32_t to_gap = gap >= home ? gap - home : gap + s->cap - home;

	return to_gap < to_slot;
}

void seen_shard_remove(struct seen_table *t, struct seen_shard *s, struct seen_slot *slot)
{
	uint32_t gap = (uint32_t)(slot - s->slots);

	seen_slot_clear(t, slot);
	for (uint32_t i = after(s, gap); s->slots[i].state; i = after(s, i)) {
		if (!may_move(s, seen_shard_home(s, s->slots[i].fingerprint), gap, i))
			continue;
		s->slots[gap] = s->slots[i];
		s->slots[i].state = SEEN_SLOT_EMPTY;
		gap = i;
	}
	s->used--;
	atomic_fetch_sub_explicit(&t->keys, 1, memory_order_relaxed);
}

static bool was_taken(const struct seen_slot *slot, uint32_t version)
{
	return slot->state >= SEEN_SLOT_SETTLED && slot->version == version;
}

void seen_shard_sweep(struct seen_table *t, struct seen_shard *s, uint32_t version)
{
	bool is_roomy = s->cap > 4 * CAP_FIRST && s->used < s->cap / 4;

	for (uint32_t i = 0; i < s->cap; i++) {
		/* A removal may bring another key to this place. */
		while (was_taken(&s->slots[i], version))
			seen_shard_remove(t, s, &s->slots[i]);
	}
	if (is_roomy)
		(void)resize(t, s, s->cap / 2); /* without memory it stays roomy */
}
