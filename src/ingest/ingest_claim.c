/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_claim.h"

#include <stdlib.h>

static struct hash128 fingerprint(struct ingest_queue *q, const struct topic *topic, struct slice key)
{
	return seen_fingerprint(q->ingest->seen, slice_make(topic->id.bytes, sizeof(topic->id.bytes)), key);
}

static bool same_fingerprint(const struct seen_key *a, const struct seen_key *b)
{
	return a->fingerprint.lo == b->fingerprint.lo && a->fingerprint.hi == b->fingerprint.hi;
}

/* Finds keys that come several times in one body, by a table of drafts in the arena. */
static int find_repeats(struct ingest_request *r)
{
	uint32_t mask = 1;
	uint32_t *table;

	while (mask < r->own_key_count * 2)
		mask *= 2;
	table = arena_zalloc(r->arena, mask, sizeof(*table));
	if (!table)
		return ingest_refuse_plainly(r, ERR_NOMEM);
	mask--;
	for (uint32_t i = 0; i < r->draft_count; i++) {
		struct ingest_item *item = &r->items[i];
		uint32_t at = (uint32_t)item->seen.fingerprint.lo & mask;
		if (!item->key.ptr)
			continue;
		while (table[at] && !same_fingerprint(&r->items[table[at] - 1].seen, &item->seen))
			at = (at + 1) & mask;
		if (!table[at]) {
			table[at] = i + 1;
			continue;
		}
		item->repeats = table[at] - 1;
		item->conflict = r->items[item->repeats].seen.payload != item->seen.payload;
	}
	return 0;
}

int claim_prepare(struct ingest_queue *q, struct ingest_request *r)
{
	struct topic *topic = r->topic_found;

	if (r->keys_for == topic)
		return 0;
	r->keys_for = topic;
	if (r->unit_key.ptr)
		r->unit_seen.fingerprint = fingerprint(q, topic, r->unit_key);
	if (!r->own_key_count)
		return 0;
	for (uint32_t i = 0; i < r->draft_count; i++)
		if (r->items[i].key.ptr)
			r->items[i].seen.fingerprint = fingerprint(q, topic, r->items[i].key);
	return r->own_key_count > 1 ? find_repeats(r) : 0;
}

static void release_one(struct ingest_queue *q, struct seen_claim *claim, struct seen_waiter **woken)
{
	struct seen_waiter *list = seen_release(q->ingest->seen, claim);
	struct seen_waiter **end = &list;

	while (*end)
		end = &(*end)->next;
	*end = *woken;
	*woken = list;
}

void claim_release(struct ingest_queue *q, struct ingest_request *r, struct seen_waiter **woken)
{
	for (uint32_t i = 0; i < r->key_count; i++)
		release_one(q, &r->keys[i].claim, woken);
	r->key_count = 0;
	r->claims_held = false;
}

static int claim_unit(struct ingest_queue *q, struct ingest_request *r, int64_t now_ms, claim_ask_fn *ask,
		      struct seen_waiter *waiter)
{
	int verdict = ask(q->ingest->seen, &r->unit_seen, now_ms, &r->keys[0].claim, &r->unit_answer, waiter);

	r->unit_verdict = verdict;
	r->key_count = verdict == SEEN_NEW;
	return verdict == SEEN_DUPLICATE || verdict == SEEN_REUSED ? SEEN_NEW : verdict;
}

static int claim_items(struct ingest_queue *q, struct ingest_request *r, int64_t now_ms, claim_ask_fn *ask,
		       struct seen_waiter *waiter, struct seen_waiter **woken)
{
	static const uint8_t states[] = {
		[SEEN_NEW] = ITEM_NEW,
		[SEEN_DUPLICATE] = ITEM_DUPLICATE,
		[SEEN_REUSED] = ITEM_REUSED,
	};

	for (uint32_t i = 0; i < r->draft_count; i++) {
		struct ingest_item *item = &r->items[i];
		struct seen_answer answer = {.ranges = &item->range, .ranges_max = 1};
		int verdict;
		item->state = item->repeats == UINT32_MAX ? ITEM_NEW :
			      item->conflict              ? ITEM_REUSED :
							    ITEM_REPEAT;
		if (!item->key.ptr || item->repeats != UINT32_MAX)
			continue;
		verdict = ask(q->ingest->seen, &item->seen, now_ms, &r->keys[r->key_count].claim, &answer,
			      waiter);
		if (verdict < 0 || verdict == SEEN_IN_FLIGHT || verdict == SEEN_READ)
			return verdict;
		item->state = states[verdict];
		if (verdict == SEEN_NEW && r->needs_key && !r->drafts[i].key.ptr) {
			release_one(q, &r->keys[r->key_count].claim, woken);
			item->state = ITEM_KEYLESS;
		}
		r->key_count += item->state == ITEM_NEW;
	}
	return SEEN_NEW;
}

int claim_all(struct ingest_queue *q, struct ingest_request *r, int64_t now_ms, claim_ask_fn *ask,
	      struct seen_waiter *waiter, struct seen_waiter **woken)
{
	int verdict = SEEN_NEW;

	r->key_count = 0;
	if (r->unit_key.ptr && r->draft_count)
		verdict = claim_unit(q, r, now_ms, ask, waiter);
	else if (r->own_key_count)
		verdict = claim_items(q, r, now_ms, ask, waiter, woken);
	if (verdict == SEEN_NEW)
		r->claims_held = true;
	else
		claim_release(q, r, woken);
	return verdict;
}

bool claim_answer_was_cut(struct ingest_request *r)
{
	struct seen_answer *answer = &r->unit_answer;
	struct seen_range *ranges;

	if (!r->unit_key.ptr || r->unit_verdict != SEEN_DUPLICATE ||
	    answer->range_count <= answer->ranges_max)
		return false;
	ranges = arena_alloc(r->arena, answer->range_count * sizeof(*ranges));
	if (!ranges)
		return false;
	answer->ranges = ranges;
	answer->ranges_max = answer->range_count;
	r->claims_held = false;
	return true;
}

static int compare_errors(const void *a, const void *b)
{
	const struct ingest_error *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

/* A repeat of a record shares its fate where that was refused. */
static bool is_reused(const struct ingest_request *r, const struct ingest_item *item)
{
	return item->state == ITEM_REUSED ||
	       (item->state == ITEM_REPEAT && r->items[item->repeats].state == ITEM_REUSED);
}

/* New, without a key, and the topic is compacted. What is a duplicate by its idempotency key was taken before. */
static bool is_keyless(const struct ingest_request *r, uint32_t draft)
{
	const struct ingest_item *item = r->items ? &r->items[draft] : NULL;

	if (r->drafts[draft].key.ptr)
		return false;
	if (item && item->state == ITEM_REPEAT)
		return r->items[item->repeats].state == ITEM_KEYLESS;
	return !item || item->state == ITEM_NEW || item->state == ITEM_KEYLESS;
}

/* Compaction could never tell such a record's successor. */
static int reject_keyless(struct ingest_request *r, uint32_t *good)
{
	uint32_t keyless = 0;
	int rc = 0;

	if (!r->needs_key || (r->unit_key.ptr && r->unit_verdict == SEEN_DUPLICATE))
		return 0;
	for (uint32_t i = 0; i < r->draft_count; i++)
		keyless += is_keyless(r, i);
	if (keyless && (!r->items || (r->index_count == 1 && r->on_error != INGEST_DEAD)))
		return ingest_refuse(r, ERR_KEY_REQUIRED,
				     "Topic %s is compacted: each of its records needs a key, and %s none",
				     r->topic_found->name,
				     r->draft_count == 1 ? "this one has" : "these have");
	for (uint32_t i = 0; keyless && rc == 0 && i < r->draft_count; i++) {
		struct ingest_error error = {
			.index = r->drafts[i].tag,
			.err = ERR_KEY_REQUIRED,
			.what = "the topic is compacted: the record needs a key",
			.late = true,
		};
		if (!is_keyless(r, i))
			continue;
		r->items[i].state = ITEM_KEYLESS;
		error.raw = r->items[i].raw;
		(*good)--;
		rc = ingest_reject(r, &error);
	}
	return rc;
}

int claim_judge(struct ingest_request *r)
{
	uint32_t good = r->draft_count;
	int rc = 0;

	if (r->unit_key.ptr && r->draft_count && r->unit_verdict == SEEN_REUSED)
		return ingest_refuse(
			r, ERR_KEY_REUSED,
			"The idempotency key was used for another payload: send a new key with a new payload");
	r->result.error_count = r->body_error_count;
	for (uint32_t i = 0; r->own_key_count && rc == 0 && i < r->draft_count; i++) {
		struct ingest_error error = {
			.index = r->drafts[i].tag,
			.err = ERR_KEY_REUSED,
			.what = "the idempotency key was used for another payload",
			.late = true,
			.raw = r->items[i].raw,
		};
		if (!is_reused(r, &r->items[i]))
			continue;
		r->items[i].state = ITEM_REUSED;
		good--;
		rc = ingest_reject(r, &error);
	}
	if (rc == 0)
		rc = reject_keyless(r, &good);
	if (rc)
		return rc;
	if (r->result.error_count > 1)
		qsort(r->result.errors, r->result.error_count, sizeof(*r->result.errors), compare_errors);
	return ingest_check_errors(r, good);
}
