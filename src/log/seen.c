/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims and answers. A claim looks into its shard of the table and into the
 * filters of all runs under the shard's lock, in one go, since both are a
 * matter of a cache miss each. Where a filter says yes the lock is left, the
 * run is read, and the table looked at once more: meanwhile somebody else may
 * have claimed the key, or a checkpoint may have moved it into a new run. The
 * second look costs only those that met a filter's yes.
 *
 * The alternative of searching runs before the table is locked would need a
 * version to notice a checkpoint in between, for every claim; here the set of
 * runs itself is the version.
 */
#include "log/seen.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "log/seen_inner.h"

/* ---- hashes ---- */

struct hash128 seen_fingerprint(const struct seen *s, struct slice scope, struct slice key)
{
	struct hash128 of_scope = hash_sip24_128(&s->fingerprint_key, scope);
	struct hash_key scoped = {of_scope.lo, of_scope.hi};

	return hash_sip24_128(&scoped, key);
}

uint64_t seen_payload(const struct seen *s, uint64_t state, struct slice part)
{
	struct hash_key chained = {s->payload_key.k0 ^ state, s->payload_key.k1};
	uint64_t hash = hash_sip13(&chained, part);

	return hash ? hash : 1;
}

/* ---- telling ---- */

static bool is_over(const struct seen_slot *slot, int64_t now_ms)
{
	return slot->state != SEEN_SLOT_IN_FLIGHT && slot->expires_ms <= now_ms;
}

static bool other_payload(uint64_t a, uint64_t b)
{
	return a != b && a != 0 && b != 0;
}

static void fill_answer(struct seen_answer *answer, const struct seen_range *ranges, uint32_t count)
{
	uint32_t copied;

	if (!answer)
		return;
	copied = count < answer->ranges_max ? count : answer->ranges_max;
	answer->range_count = count;
	if (copied)
		memcpy(answer->ranges, ranges, copied * sizeof(*ranges));
}

static void link_waiter(struct seen_slot *slot, struct seen_waiter *waiter)
{
	if (!waiter)
		return;
	waiter->next = NULL;
	if (slot->waiting.tail)
		slot->waiting.tail->next = waiter;
	else
		slot->waiting.head = waiter;
	slot->waiting.tail = waiter;
}

/* The verdict of a slot that is not over. */
static int tell(struct seen_slot *slot, const struct seen_key *key, struct seen_answer *answer,
		struct seen_waiter *waiter)
{
	if (slot->state == SEEN_SLOT_IN_FLIGHT) {
		/* With another payload too: the first may yet be refused. */
		link_waiter(slot, waiter);
		return SEEN_IN_FLIGHT;
	}
	if (other_payload(slot->payload, key->payload))
		return SEEN_REUSED;
	if (slot->state == SEEN_SLOT_MANY) {
		fill_answer(answer, slot->settled.list->ranges, slot->settled.list->count);
	} else {
		struct seen_range one = {slot->settled.first, slot->partition, slot->count};

		fill_answer(answer, &one, 1);
	}
	return SEEN_DUPLICATE;
}

static void put_key(struct seen_slot *slot, const struct seen_key *key)
{
	slot->fingerprint = key->fingerprint;
	slot->payload = key->payload;
	slot->expires_ms = key->expires_ms;
}

/* Enters a key in flight; `slot` is the one of its expired predecessor, or NULL. */
static int enter(struct seen *s, struct seen_shard *shard, struct seen_slot *slot, const struct seen_key *key,
		 struct seen_claim *claim)
{
	if (slot) {
		seen_slot_clear(&s->table, slot);
	} else {
		int err = seen_shard_add(&s->table, shard, key->fingerprint, false, &slot);

		if (err)
			return err;
	}
	put_key(slot, key);
	slot->state = SEEN_SLOT_IN_FLIGHT;
	slot->version = ++shard->version;
	slot->waiting.head = slot->waiting.tail = NULL;
	claim->key = *key;
	claim->slot = (uint32_t)(slot - shard->slots);
	claim->version = slot->version;
	return SEEN_NEW;
}

/* ---- asking ---- */

static void keep_fault(struct seen *s, const struct fault *fault)
{
	pthread_mutex_lock(&s->fault_lock);
	s->fault = *fault;
	pthread_mutex_unlock(&s->fault_lock);
}

void seen_fault(struct seen *s, struct fault *out)
{
	pthread_mutex_lock(&s->fault_lock);
	*out = s->fault;
	pthread_mutex_unlock(&s->fault_lock);
}

static int answer_from(struct seen_run *r, const struct seen_entry *e, bool may_wait,
		       struct seen_answer *answer, struct fault *fault)
{
	if (!answer)
		return SEEN_DUPLICATE;
	answer->range_count = e->range_count;
	switch (seen_run_ranges(r, e, may_wait, answer->ranges, answer->ranges_max, fault)) {
	case 0:
		return SEEN_DUPLICATE;
	case SEEN_RUN_AGAIN:
		return SEEN_READ;
	default:
		return fault->err;
	}
}

/* Reads the runs whose filters said yes, from `first` on. SEEN_NEW: none has the key. No lock is held. */
static int search_runs(struct seen *s, struct seen_set *set, uint32_t first, const struct seen_key *key,
		       int64_t now_ms, bool may_wait, struct seen_answer *answer)
{
	struct fault fault = {.err = 0};
	struct seen_entry e;
	int got = 0;

	for (uint32_t i = first; i < set->count; i = seen_set_next(set, key->fingerprint, now_ms, i + 1)) {
		got = seen_run_find(set->runs[i], key->fingerprint, may_wait, &e, &fault);
		if (got == SEEN_RUN_AGAIN)
			return SEEN_READ;
		if (got == 0)
			atomic_fetch_add_explicit(&s->false_hits, 1, memory_order_relaxed);
		if (got == 1 && e.key.expires_ms > now_ms) {
			if (other_payload(e.key.payload, key->payload))
				return SEEN_REUSED;
			got = answer_from(set->runs[i], &e, may_wait, answer, &fault);
			if (got >= 0)
				return got;
		}
		if (got < 0) {
			keep_fault(s, &fault);
			return got;
		}
	}
	return SEEN_NEW;
}

static int ask(struct seen *s, const struct seen_key *key, int64_t now_ms, bool may_wait,
	       struct seen_claim *claim, struct seen_answer *answer, struct seen_waiter *waiter)
{
	struct seen_shard *shard = seen_table_shard(&s->table, key->fingerprint);
	struct seen_set *set, *searched = NULL;
	struct seen_slot *slot;
	uint32_t hit;
	int verdict;

	for (;;) {
		pthread_mutex_lock(&shard->lock);
		set = atomic_load_explicit(&s->set, memory_order_acquire);
		if (set != searched)
			seen_set_fetch(set, key->fingerprint);
		slot = seen_shard_find(shard, key->fingerprint);
		if (slot && !is_over(slot, now_ms)) {
			verdict = tell(slot, key, answer, waiter);
			break;
		}
		hit = set == searched ? set->count : seen_set_next(set, key->fingerprint, now_ms, 0);
		if (hit == set->count) {
			verdict = enter(s, shard, slot, key, claim);
			break;
		}
		(void)seen_set_ref(set);
		pthread_mutex_unlock(&shard->lock);
		if (searched)
			seen_set_unref(searched);
		searched = set; /* held, so that its address stays its own */
		verdict = search_runs(s, set, hit, key, now_ms, may_wait, answer);
		if (verdict != SEEN_NEW) {
			seen_set_unref(searched);
			return verdict;
		}
	}
	pthread_mutex_unlock(&shard->lock);
	if (searched)
		seen_set_unref(searched);
	return verdict;
}

int seen_claim(struct seen *s, const struct seen_key *key, int64_t now_ms, struct seen_claim *claim,
	       struct seen_answer *answer, struct seen_waiter *waiter)
{
	int verdict = ask(s, key, now_ms, false, claim, answer, waiter);

	/* A page that is damaged is told by who may wait. */
	return verdict == ERR_CORRUPT || verdict == ERR_IO ? SEEN_READ : verdict;
}

int seen_read(struct seen *s, const struct seen_key *key, int64_t now_ms, struct seen_claim *claim,
	      struct seen_answer *answer, struct seen_waiter *waiter)
{
	return ask(s, key, now_ms, true, claim, answer, waiter);
}

/* ---- settling ---- */

static struct seen_slot *claimed_slot(struct seen_shard *shard, const struct seen_claim *claim)
{
	struct seen_slot *slot = seen_shard_find(shard, claim->key.fingerprint);

	CHECK(slot && slot->state == SEEN_SLOT_IN_FLIGHT && slot->version == claim->version);
	return slot;
}

struct seen_waiter *seen_release(struct seen *s, struct seen_claim *claim)
{
	struct seen_shard *shard = seen_table_shard(&s->table, claim->key.fingerprint);
	struct seen_waiter *waiters;
	struct seen_slot *slot;

	pthread_mutex_lock(&shard->lock);
	slot = claimed_slot(shard, claim);
	waiters = slot->waiting.head;
	seen_shard_remove(&s->table, shard, slot);
	pthread_mutex_unlock(&shard->lock);
	return waiters;
}

static void put_answer(struct seen_slot *slot, uint64_t sequence, struct seen_list *list,
		       const struct seen_range *ranges)
{
	slot->version = 0;
	slot->settled.sequence = sequence;
	slot->state = list ? SEEN_SLOT_MANY : SEEN_SLOT_SETTLED;
	if (list) {
		slot->settled.list = list;
		return;
	}
	slot->settled.first = ranges[0].first;
	slot->partition = ranges[0].partition;
	slot->count = ranges[0].count;
}

struct seen_waiter *seen_settle(struct seen *s, struct seen_claim *claim, uint64_t sequence,
				const struct seen_range *ranges, uint32_t count)
{
	struct seen_shard *shard = seen_table_shard(&s->table, claim->key.fingerprint);
	struct seen_list *list = NULL;
	struct seen_waiter *waiters;
	struct seen_slot *slot;

	CHECK(count <= SEEN_RANGES_MAX);
	if (count != 1) {
		list = seen_list_new(&s->table, ranges, count);
		CHECK(list); /* the records are durable: an answer must not be lost */
	}
	pthread_mutex_lock(&shard->lock);
	slot = claimed_slot(shard, claim);
	waiters = slot->waiting.head;
	put_answer(slot, sequence, list, ranges);
	pthread_mutex_unlock(&shard->lock);
	return waiters;
}

static int restore_slot(struct seen *s, struct seen_shard *shard, const struct seen_key *key,
			uint64_t sequence, struct seen_list *list, const struct seen_range *ranges)
{
	struct seen_slot *slot = seen_shard_find(shard, key->fingerprint);
	int err = 0;

	if (slot && slot->state == SEEN_SLOT_IN_FLIGHT)
		return ERR_CONFLICT;
	if (slot && slot->expires_ms >= key->expires_ms) {
		if (list)
			seen_list_unref(&s->table, list);
		return 0;
	}
	if (slot)
		seen_slot_clear(&s->table, slot);
	else
		err = seen_shard_add(&s->table, shard, key->fingerprint, true, &slot);
	if (err)
		return err;
	put_key(slot, key);
	put_answer(slot, sequence, list, ranges);
	return 0;
}

int seen_restore(struct seen *s, const struct seen_key *key, uint64_t sequence,
		 const struct seen_range *ranges, uint32_t count)
{
	struct seen_shard *shard = seen_table_shard(&s->table, key->fingerprint);
	struct seen_list *list = NULL;
	int err;

	if (count > SEEN_RANGES_MAX)
		return ERR_LIMIT;
	if (count != 1) {
		list = seen_list_new(&s->table, ranges, count);
		if (!list)
			return ERR_NOMEM;
	}
	pthread_mutex_lock(&shard->lock);
	err = restore_slot(s, shard, key, sequence, list, ranges);
	pthread_mutex_unlock(&shard->lock);
	if (err && list)
		seen_list_unref(&s->table, list);
	return err;
}

/* ---- the set of runs, and watching ---- */

void seen_publish(struct seen *s, struct seen_set *set)
{
	struct seen_set *old = atomic_exchange_explicit(&s->set, set, memory_order_acq_rel);

	/* Whoever found the old one did so under a lock: after this nobody else can. */
	for (uint32_t i = 0; i < SEEN_SHARDS; i++) {
		pthread_mutex_lock(&s->table.shards[i].lock);
		pthread_mutex_unlock(&s->table.shards[i].lock);
	}
	seen_set_unref(old);
}

bool seen_wants_checkpoint(const struct seen *s)
{
	return atomic_load_explicit(&s->table.bytes, memory_order_relaxed) > s->table.bytes_max / 2;
}

static bool is_new_bucket(const struct seen_set *set, uint32_t index)
{
	for (uint32_t i = 0; i < index; i++) {
		if (set->runs[i]->end_ms == set->runs[index]->end_ms)
			return false;
	}
	return true;
}

void seen_stats(struct seen *s, struct seen_stats *out)
{
	struct seen_set *set;

	pthread_mutex_lock(&s->table.shards[0].lock);
	set = seen_set_ref(atomic_load_explicit(&s->set, memory_order_acquire));
	pthread_mutex_unlock(&s->table.shards[0].lock);
	*out = (struct seen_stats){
		.keys_table = atomic_load_explicit(&s->table.keys, memory_order_relaxed),
		.runs = set->count,
		.bytes_memory = sizeof(*s) + SEEN_SHARDS * sizeof(struct seen_shard) +
				atomic_load_explicit(&s->table.bytes, memory_order_relaxed),
		.filter_hits_false = atomic_load_explicit(&s->false_hits, memory_order_relaxed),
	};
	for (uint32_t i = 0; i < set->count; i++) {
		out->keys_runs += set->runs[i]->keys;
		out->bytes_memory += seen_run_memory(set->runs[i]);
		out->bytes_disk += set->runs[i]->file_bytes;
		out->buckets += is_new_bucket(set, i);
	}
	seen_set_unref(set);
}
