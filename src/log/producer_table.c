/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chained hash table of producers, a list of those with an open transaction in
 * the order of their first offsets, and an array of aborted transactions in the
 * order of their markers. Batches come in order of offsets, so the list and the array
 * only grow at their ends, and the last stable offset is the head of the list.
 *
 * Of the aborted ones, who reads at an offset wants those that began before it
 * and ended behind it. By `last` the first of them is found; where to end tells `least_first`,
 * the least `first` from there to the end of the array. A new entry lowers it for those before it only
 * as far as they overlap with it, so it is cheap to keep. An index of intervals would be no faster:
 * few transactions are open at once.
 */
#include "log/producer_table.h"

#include "base/check.h"
#include "base/mem.h"

#define BUCKETS_MIN 8u
#define SPARE_MAX 16u

void producer_table_init(struct producer_table *t, struct producer_counts *counts, const struct hash_key *key)
{
	*t = (struct producer_table){.counts = counts, .key = key};
}

static void free_flight(struct producer_flight *f)
{
	while (f) {
		struct producer_flight *next = f->next;
		mem_free(f);
		f = next;
	}
}

void producer_table_fini(struct producer_table *t)
{
	for (uint32_t i = 0; i < t->bucket_count; i++) {
		while (t->buckets[i]) {
			struct producer *next = t->buckets[i]->next_hash;
			mem_free(t->buckets[i]->flight);
			if (t->buckets[i]->state.open_offset >= 0)
				atomic_fetch_sub(&t->counts->open, 1);
			mem_free(t->buckets[i]);
			t->buckets[i] = next;
		}
	}
	atomic_fetch_sub(&t->counts->producers, t->count);
	atomic_fetch_sub(&t->counts->aborted, t->aborted_count);
	free_flight(t->spare);
	mem_free(t->buckets);
	mem_free(t->aborted);
	producer_table_init(t, t->counts, t->key);
}

/* ---- the table ---- */

static uint32_t bucket_of(const struct producer_table *t, int64_t id)
{
	return (uint32_t)hash_sip13(t->key, slice_make(&id, sizeof(id))) & (t->bucket_count - 1);
}

struct producer *producer_table_find(const struct producer_table *t, int64_t id)
{
	struct producer *p;

	if (!t->buckets)
		return NULL;
	for (p = t->buckets[bucket_of(t, id)]; p && p->id != id;)
		p = p->next_hash;
	return p;
}

static void link_hash(struct producer_table *t, struct producer *p)
{
	struct producer **at = &t->buckets[bucket_of(t, p->id)];

	p->next_hash = *at;
	*at = p;
}

static int grow(struct producer_table *t)
{
	struct producer **old = t->buckets;
	uint32_t old_count = t->bucket_count, count = old_count ? old_count * 4 : BUCKETS_MIN;
	struct producer **fresh = mem_zalloc(count, sizeof(struct producer *));

	if (!fresh)
		return old ? 0 : ERR_NOMEM; /* longer chains, nothing worse */
	t->buckets = fresh;
	t->bucket_count = count;
	for (uint32_t i = 0; i < old_count; i++) {
		while (old[i]) {
			struct producer *p = old[i];
			old[i] = p->next_hash;
			link_hash(t, p);
		}
	}
	mem_free(old);
	return 0;
}

int producer_table_make(struct producer_table *t, int64_t id, struct producer **out)
{
	struct producer *p = producer_table_find(t, id);

	*out = p;
	if (p)
		return 0;
	if (t->count >= t->bucket_count && grow(t))
		return ERR_NOMEM;
	p = mem_zalloc(1, sizeof(*p));
	if (!p)
		return ERR_NOMEM;
	p->id = id;
	p->state.epoch = -1;
	p->state.open_offset = -1;
	p->state.coordinator_epoch = -1;
	link_hash(t, p);
	t->count++;
	atomic_fetch_add(&t->counts->producers, 1);
	*out = p;
	return 0;
}

void producer_table_remove(struct producer_table *t, struct producer *p)
{
	struct producer **at = &t->buckets[bucket_of(t, p->id)];

	CHECK(!p->flight && p->state.open_offset < 0);
	while (*at != p)
		at = &(*at)->next_hash;
	*at = p->next_hash;
	t->count--;
	atomic_fetch_sub(&t->counts->producers, 1);
	mem_free(p);
}

/* ---- flights ---- */

int producer_flight_begin(struct producer_table *t, struct producer *p)
{
	struct producer_flight *f = t->spare;

	if (p->flight)
		return 0;
	if (f)
		t->spare = f->next;
	else
		f = mem_alloc(sizeof(*f));
	if (!f)
		return ERR_NOMEM;
	*f = (struct producer_flight){.state = p->state};
	p->flight = f;
	return 0;
}

/* A few are kept: a producer that writes has one again and again. */
void producer_flight_end(struct producer_table *t, struct producer *p)
{
	struct producer_flight *f = p->flight;
	uint32_t spare = 0;

	CHECK(f->count == 0 && !f->first);
	p->flight = NULL;
	for (const struct producer_flight *each = t->spare; each; each = each->next)
		spare++;
	if (spare >= SPARE_MAX) {
		mem_free(f);
		return;
	}
	f->next = t->spare;
	t->spare = f;
}

/* ---- sequences ---- */

const struct producer_batch *producer_state_find(const struct producer_state *s,
						 const struct batch_head *head)
{
	int32_t last = batch_last_sequence(head);

	if (s->epoch != head->producer_epoch)
		return NULL;
	for (uint32_t i = 0; i < s->batch_count; i++)
		if (s->batches[i].first == head->base_sequence && s->batches[i].last == last)
			return &s->batches[i];
	return NULL;
}

static bool is_next(const struct producer_state *s, const struct batch_head *head)
{
	if (s->epoch < 0)
		return true; /* nothing is known, so anything may be: ProducerAppendInfo.checkSequence */
	if (s->epoch != head->producer_epoch || s->batch_count == 0)
		return head->base_sequence == 0;
	return head->base_sequence == batch_sequence_after(s->batches[s->batch_count - 1].last, 1);
}

enum producer_verdict producer_state_check(const struct producer_state *s, const struct batch_head *head,
					   const struct producer_batch **found)
{
	*found = producer_state_find(s, head);
	if (*found)
		return (*found)->offset < 0 ? PRODUCER_IN_FLIGHT : PRODUCER_REPEATED;
	if (head->producer_epoch < s->epoch)
		return PRODUCER_OLD_EPOCH;
	if (!is_next(s, head))
		return PRODUCER_OUT_OF_ORDER;
	if (s->open_offset >= 0 && !batch_is_transactional(head))
		return PRODUCER_BAD_STATE;
	return PRODUCER_NEXT;
}

static void set_epoch(struct producer_state *s, int16_t epoch)
{
	if (epoch == s->epoch)
		return;
	s->epoch = epoch;
	s->batch_count = 0;
}

void producer_state_add(struct producer_state *s, const struct batch_head *head, int64_t offset)
{
	set_epoch(s, head->producer_epoch);
	if (s->batch_count == PRODUCER_BATCHES)
		memmove(s->batches, s->batches + 1, --s->batch_count * sizeof(s->batches[0]));
	s->batches[s->batch_count++] =
		(struct producer_batch){.first = head->base_sequence,
					.last = batch_last_sequence(head),
					.offset = offset,
					.timestamp_ms = head->attributes & BATCH_TIME_IS_APPEND ?
								head->max_timestamp :
								-1};
	if (s->open_offset < 0 && batch_is_transactional(head))
		s->open_offset = offset < 0 ? 0 : offset;
}

void producer_state_mark(struct producer_state *s, const struct batch_marker *m)
{
	if (m->producer_epoch > s->epoch)
		set_epoch(s, m->producer_epoch);
	s->coordinator_epoch = m->coordinator_epoch;
	s->open_offset = -1;
}

/* ---- transactions ---- */

static void link_open(struct producer_table *t, struct producer *p)
{
	p->next_open = NULL;
	p->prev_open = t->open_last;
	if (t->open_last)
		t->open_last->next_open = p;
	else
		t->open_first = p;
	t->open_last = p;
	atomic_fetch_add(&t->counts->open, 1);
}

static void unlink_open(struct producer_table *t, struct producer *p)
{
	if (p->prev_open)
		p->prev_open->next_open = p->next_open;
	else
		t->open_first = p->next_open;
	if (p->next_open)
		p->next_open->prev_open = p->prev_open;
	else
		t->open_last = p->prev_open;
	p->next_open = p->prev_open = NULL;
	atomic_fetch_sub(&t->counts->open, 1);
}

static int reserve_aborted(struct producer_table *t)
{
	struct producer_aborted *grown;
	uint32_t cap;

	if (t->aborted_head > t->aborted_count) { /* more than half has been forgotten */
		memmove(t->aborted, t->aborted + t->aborted_head, t->aborted_count * sizeof(*t->aborted));
		t->aborted_head = 0;
	}
	if (t->aborted_head + t->aborted_count < t->aborted_cap)
		return 0;
	cap = t->aborted_cap ? t->aborted_cap * 2 : 8;
	grown = mem_realloc(t->aborted, cap * sizeof(*grown));
	if (!grown)
		return ERR_NOMEM;
	t->aborted = grown;
	t->aborted_cap = cap;
	return 0;
}

static int add_aborted(struct producer_table *t, const struct aborted_txn *txn)
{
	struct producer_aborted *all;

	if (reserve_aborted(t))
		return ERR_NOMEM;
	all = t->aborted + t->aborted_head;
	for (uint32_t i = t->aborted_count; i-- > 0 && all[i].least_first > txn->first;)
		all[i].least_first = txn->first;
	all[t->aborted_count++] = (struct producer_aborted){.txn = *txn, .least_first = txn->first};
	atomic_fetch_add(&t->counts->aborted, 1);
	return 0;
}

static int apply_marker(struct producer_table *t, struct producer *p, const struct batch_head *head,
			struct slice batch)
{
	struct batch_marker m;
	int rc = batch_marker_read(batch, &m);

	if (rc != 1)
		return rc ? ERR_CORRUPT : 0;
	if (p->state.open_offset >= 0) {
		struct aborted_txn txn = {p->id, p->state.open_offset, head->base_offset};
		if (!m.commit && add_aborted(t, &txn))
			return ERR_NOMEM;
		unlink_open(t, p);
	}
	producer_state_mark(&p->state, &m);
	return 0;
}

int producer_table_apply(struct producer_table *t, const struct batch_head *head, struct slice batch,
			 int64_t time_ms)
{
	struct producer *p;
	bool was_open;
	int rc;

	if (head->base_offset < t->from)
		return 0;
	rc = producer_table_make(t, head->producer_id, &p);
	if (rc)
		return rc;
	atomic_fetch_add_explicit(&t->counts->changes, 1, memory_order_relaxed);
	if (time_ms > p->state.last_ms)
		p->state.last_ms = time_ms;
	if (batch_is_control(head))
		return batch_is_empty(head) ? 0 : apply_marker(t, p, head, batch);
	was_open = p->state.open_offset >= 0;
	producer_state_add(&p->state, head, head->base_offset);
	if (!was_open && p->state.open_offset >= 0)
		link_open(t, p);
	return 0;
}

/* ---- aborted ones ---- */

/* Those that are known, oldest first; NULL where there is none. */
static const struct producer_aborted *aborted_of(const struct producer_table *t)
{
	return t->aborted ? t->aborted + t->aborted_head : NULL;
}

/* The first that ends at this offset or behind it. */
static uint32_t first_reaching(const struct producer_table *t, int64_t offset)
{
	const struct producer_aborted *all = aborted_of(t);
	uint32_t low = 0, high = t->aborted_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (all[middle].txn.last < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint32_t producer_table_aborted(const struct producer_table *t, int64_t from, int64_t to,
				struct aborted_txn *out, uint32_t max)
{
	const struct producer_aborted *all = aborted_of(t);
	uint32_t count = 0;

	for (uint32_t i = first_reaching(t, from); i < t->aborted_count && all[i].least_first < to; i++) {
		if (all[i].txn.first >= to)
			continue;
		if (count < max)
			out[count] = all[i].txn;
		count++;
	}
	return count;
}

/* A producer has one transaction at a time: the first of its own that reaches so far decides. */
bool producer_table_hides(const struct producer_table *t, const struct batch_head *head)
{
	const struct producer_aborted *all = aborted_of(t);
	int64_t at = head->base_offset;

	for (uint32_t i = first_reaching(t, at); i < t->aborted_count && all[i].least_first <= at; i++)
		if (all[i].txn.producer_id == head->producer_id)
			return all[i].txn.first <= at;
	return false;
}

void producer_table_trim(struct producer_table *t, int64_t before)
{
	uint32_t gone = first_reaching(t, before);

	t->aborted_head += gone;
	t->aborted_count -= gone;
	atomic_fetch_sub(&t->counts->aborted, gone);
	if (t->aborted_count > 0)
		return;
	mem_free(t->aborted);
	t->aborted = NULL;
	t->aborted_head = t->aborted_cap = 0;
}

void producer_table_expire(struct producer_table *t, int64_t before_ms)
{
	for (uint32_t i = 0; i < t->bucket_count; i++) {
		struct producer *next;
		for (struct producer *p = t->buckets[i]; p; p = next) {
			next = p->next_hash;
			if (p->state.last_ms < before_ms && p->state.open_offset < 0 && !p->flight)
				producer_table_remove(t, p);
		}
	}
	if (t->count == 0) {
		free_flight(t->spare);
		mem_free(t->buckets);
		t->spare = NULL;
		t->buckets = NULL;
		t->bucket_count = 0;
	}
}

bool producer_table_is_empty(const struct producer_table *t)
{
	return t->count == 0 && t->aborted_count == 0;
}

/* ---- as bytes ---- */

#define PRODUCER_BYTES 31u
#define PRODUCER_BATCH_BYTES 24u
#define ABORTED_BYTES 24u

static void write_producer(const struct producer *p, struct buf *to)
{
	uint8_t bytes[PRODUCER_BYTES + PRODUCER_BATCHES * PRODUCER_BATCH_BYTES], *at = bytes;
	const struct producer_state *s = &p->state;

	at = wire_put_u64(at, (uint64_t)p->id);
	at = wire_put_u64(at, (uint64_t)s->last_ms);
	at = wire_put_u64(at, (uint64_t)s->open_offset);
	at = wire_put_u32(at, (uint32_t)s->coordinator_epoch);
	at = wire_put_u16(at, (uint16_t)s->epoch);
	at = wire_put_u8(at, s->batch_count);
	for (uint32_t i = 0; i < s->batch_count; i++) {
		at = wire_put_u32(at, (uint32_t)s->batches[i].first);
		at = wire_put_u32(at, (uint32_t)s->batches[i].last);
		at = wire_put_u64(at, (uint64_t)s->batches[i].offset);
		at = wire_put_u64(at, (uint64_t)s->batches[i].timestamp_ms);
	}
	(void)buf_append(to, bytes, (size_t)(at - bytes));
}

static void write_aborted(const struct aborted_txn *txn, struct buf *to)
{
	uint8_t bytes[ABORTED_BYTES];

	(void)wire_put_u64(wire_put_u64(wire_put_u64(bytes, (uint64_t)txn->producer_id),
					(uint64_t)txn->first),
			   (uint64_t)txn->last);
	(void)buf_append(to, bytes, sizeof(bytes));
}

static bool is_written(const struct producer *p)
{
	return p->state.epoch >= 0; /* else nothing of it is durable yet */
}

/* Those with an open transaction come first, in their order. */
void producer_table_write(const struct producer_table *t, struct buf *to)
{
	uint8_t head[8];
	size_t head_at = to->len;
	uint32_t count = 0;

	(void)wire_put_u32(wire_put_u32(head, 0), t->aborted_count);
	(void)buf_append(to, head, sizeof(head));
	for (const struct producer *p = t->open_first; p; p = p->next_open, count++)
		write_producer(p, to);
	for (uint32_t i = 0; i < t->bucket_count; i++) {
		for (const struct producer *p = t->buckets[i]; p; p = p->next_hash) {
			if (p->state.open_offset >= 0 || !is_written(p))
				continue;
			write_producer(p, to);
			count++;
		}
	}
	for (uint32_t i = 0; i < t->aborted_count; i++)
		write_aborted(&t->aborted[t->aborted_head + i].txn, to);
	if (buf_status(to) == 0)
		(void)wire_put_u32(to->ptr + head_at, count);
}

static int read_producer(struct producer_table *t, struct wire_reader *r)
{
	int64_t id = (int64_t)wire_u64(r);
	struct producer_state s = {.last_ms = (int64_t)wire_u64(r)};
	struct producer *p;

	s.open_offset = (int64_t)wire_u64(r);
	s.coordinator_epoch = (int32_t)wire_u32(r);
	s.epoch = (int16_t)wire_u16(r);
	s.batch_count = wire_u8(r);
	if (r->bad || id < 0 || s.epoch < 0 || s.batch_count > PRODUCER_BATCHES || s.open_offset < -1 ||
	    producer_table_find(t, id))
		return ERR_CORRUPT;
	for (uint32_t i = 0; i < s.batch_count; i++) {
		s.batches[i].first = (int32_t)wire_u32(r);
		s.batches[i].last = (int32_t)wire_u32(r);
		s.batches[i].offset = (int64_t)wire_u64(r);
		s.batches[i].timestamp_ms = (int64_t)wire_u64(r);
		if (r->bad || s.batches[i].offset < 0)
			return ERR_CORRUPT;
	}
	if (s.open_offset >= 0 && t->open_last && t->open_last->state.open_offset >= s.open_offset)
		return ERR_CORRUPT;
	if (producer_table_make(t, id, &p))
		return ERR_NOMEM;
	p->state = s;
	if (s.open_offset >= 0)
		link_open(t, p);
	return 0;
}

static int read_aborted(struct producer_table *t, struct wire_reader *r)
{
	struct aborted_txn txn = {.producer_id = (int64_t)wire_u64(r)};
	const struct producer_aborted *before =
		t->aborted_count ? &t->aborted[t->aborted_head + t->aborted_count - 1] : NULL;

	txn.first = (int64_t)wire_u64(r);
	txn.last = (int64_t)wire_u64(r);
	if (r->bad || txn.first < 0 || txn.last <= txn.first || (before && before->txn.last >= txn.last))
		return ERR_CORRUPT;
	return add_aborted(t, &txn);
}

int producer_table_read(struct producer_table *t, struct wire_reader *r)
{
	uint32_t producers = wire_u32(r), aborted = wire_u32(r);
	int rc = r->bad ? ERR_CORRUPT : 0;

	for (uint32_t i = 0; i < producers && rc == 0; i++)
		rc = read_producer(t, r);
	for (uint32_t i = 0; i < aborted && rc == 0; i++)
		rc = read_aborted(t, r);
	return rc;
}
