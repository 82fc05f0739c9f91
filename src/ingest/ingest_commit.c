/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_commit.h"

#include "base/hash.h"

int commit_reserve(struct ingest_request *r)
{
	uint32_t ranges = r->draft_count < r->partition_limit ? r->draft_count : r->partition_limit;
	/* Dead letters of keys take the place of their drafts, which are looked at until the end. */
	bool dead = r->on_error == INGEST_DEAD && (r->body_error_count || r->items);
	uint32_t more = (dead ? r->body_error_count : 0) + (r->rider != NULL);

	r->commit.records = r->drafts;
	r->keys = &r->one_key;
	r->unit_answer = (struct seen_answer){.ranges = &r->unit_range, .ranges_max = 1};
	if (r->own_key_count || more || dead)
		r->commit.records =
			arena_alloc(r->arena, (r->draft_count + more) * sizeof(*r->commit.records));
	if (r->own_key_count)
		r->keys = arena_alloc(r->arena, r->own_key_count * sizeof(*r->keys));
	if (r->unit_key.ptr && ranges > 1) {
		r->unit_answer.ranges = arena_alloc(r->arena, ranges * sizeof(*r->unit_answer.ranges));
		r->unit_answer.ranges_max = ranges;
	}
	if ((r->draft_count + more && !r->commit.records) || !r->keys || !r->unit_answer.ranges)
		return ingest_refuse_plainly(r, ERR_NOMEM);
	return 0;
}

int commit_refuse_partition(struct ingest_request *r)
{
	return ingest_refuse(r, ERR_PARTITION_RANGE,
			     "Partition %lld is out of range: the topic has %u, from 0 on",
			     (long long)r->partition, r->partition_limit);
}

/* Hands out partitions in order; remembers the last key, which a whole body may share. */
struct spreading {
	struct partition **partitions;
	uint32_t count;
	uint32_t next;
	struct slice last_key;
	uint32_t last;
};

static struct partition *choose_partition(struct spreading *s, struct slice key, int64_t wanted)
{
	if (wanted >= 0)
		return wanted < s->count ? s->partitions[wanted] : NULL;
	if (s->count == 1)
		return s->partitions[0];
	if (!key.ptr)
		return s->partitions[s->next++ % s->count];
	if (key.ptr != s->last_key.ptr || key.len != s->last_key.len) {
		s->last_key = key;
		s->last = hash_partition(key, s->count);
	}
	return s->partitions[s->last];
}

int commit_fill(struct ingest_request *r)
{
	struct topic *topic = r->topic_found;
	struct spreading s = {
		.count = atomic_load_explicit(&topic->partition_count, memory_order_acquire),
		.next = atomic_load_explicit(&topic->spread, memory_order_relaxed),
	};
	uint32_t n = 0, k = 0;

	s.partitions = atomic_load_explicit(&topic->partitions, memory_order_acquire);
	r->partition_limit = s.count;
	for (uint32_t i = 0; i < r->draft_count; i++) {
		struct ingest_item *item = r->items ? &r->items[i] : NULL;
		struct log_record *record = &r->commit.records[n];
		if (item && item->state != ITEM_NEW)
			continue;
		if (record != &r->drafts[i])
			*record = r->drafts[i];
		record->partition = choose_partition(&s, record->key, item ? item->partition : r->partition);
		if (!record->partition)
			return commit_refuse_partition(r);
		if (item)
			item->slot = n;
		if (item && item->key.ptr) {
			r->keys[k].first = n;
			r->keys[k++].count = 1;
		}
		n++;
	}
	atomic_store_explicit(&topic->spread, s.next, memory_order_relaxed);
	r->commit.record_count = r->new_count = n;
	if (r->unit_key.ptr) {
		r->keys[0].first = 0;
		r->keys[0].count = n;
	}
	return 0;
}

int commit_reserve_result(struct ingest_request *r)
{
	uint32_t records = r->new_count;
	uint32_t ranges = records < r->partition_limit ? records : r->partition_limit;

	r->range_slots = NULL;
	ranges += r->own_key_count + r->unit_answer.range_count;
	r->result.ranges = arena_alloc(r->arena, ranges * sizeof(*r->result.ranges));
	if (!r->result.ranges)
		return ingest_refuse_plainly(r, ERR_NOMEM);
	if (records > 8 && r->partition_limit > 8) {
		r->range_slots = arena_zalloc(r->arena, r->partition_limit, sizeof(*r->range_slots));
		if (!r->range_slots)
			return ingest_refuse_plainly(r, ERR_NOMEM);
	}
	if (r->results != INGEST_RECORDS)
		return 0;
	r->result.outcomes = arena_alloc(r->arena, r->index_count * sizeof(*r->result.outcomes));
	return r->result.outcomes ? 0 : ingest_refuse_plainly(r, ERR_NOMEM);
}
