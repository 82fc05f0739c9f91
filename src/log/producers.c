/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the tables of producers meet the log. Two states of a producer matter at
 * once: that of its durable batches, which moves with the end of the partition
 * and goes into the storage checkpoint, and that with what has entered besides, by
 * which is decided at entry. The second exists only while something of the
 * producer is in flight: it begins as a copy of the first, and is dropped when the last
 * of it was published, for then both are the same.
 *
 * Both stand under the lock of the partition. The lock of entry keeps what was decided
 * true until it has entered: publishing meanwhile changes nothing about that.
 */
#include "log/core.h"

#include "base/check.h"
#include "base/mem.h"

#define LOOK_EVERY_MS (10 * 60000LL) /* Kafka's producer.id.expiration.check.interval.ms */
#define IDLE_MS_MIN 60000

/* ---- fences ---- */

static struct fence **fence_at(const struct log *l, int64_t id)
{
	uint32_t at = (uint32_t)hash_sip13(&l->table_key, slice_make(&id, sizeof(id)));

	return &l->fences.buckets[at & (l->fences.bucket_count - 1)];
}

static struct fence *find_fence(const struct log *l, int64_t id)
{
	struct fence *f;

	if (!l->fences.buckets)
		return NULL;
	for (f = *fence_at(l, id); f && f->id != id;)
		f = f->next;
	return f;
}

static int grow_fences(struct log *l)
{
	struct fence_table old = l->fences;
	uint32_t count = old.bucket_count ? old.bucket_count * 4 : 64;
	struct fence **fresh = mem_zalloc(count, sizeof(struct fence *));

	if (!fresh)
		return old.buckets ? 0 : ERR_NOMEM;
	l->fences.buckets = fresh;
	l->fences.bucket_count = count;
	for (uint32_t i = 0; i < old.bucket_count; i++) {
		while (old.buckets[i]) {
			struct fence *f = old.buckets[i], **at = fence_at(l, f->id);
			old.buckets[i] = f->next;
			f->next = *at;
			*at = f;
		}
	}
	mem_free(old.buckets);
	return 0;
}

int producer_fence(struct log *l, int64_t producer_id, int16_t epoch)
{
	struct fence *f = find_fence(l, producer_id), **at;

	if (f) {
		if (epoch > f->epoch)
			f->epoch = epoch;
		return 0;
	}
	if (l->fences.count >= l->fences.bucket_count && grow_fences(l))
		return ERR_NOMEM;
	f = mem_alloc(sizeof(*f));
	if (!f)
		return ERR_NOMEM;
	at = fence_at(l, producer_id);
	*f = (struct fence){.next = *at, .id = producer_id, .epoch = epoch};
	*at = f;
	l->fences.count++;
	return 0;
}

void producer_unfence(struct log *l, int64_t producer_id)
{
	struct fence *f = find_fence(l, producer_id), **at;

	if (!f)
		return;
	for (at = fence_at(l, producer_id); *at != f;)
		at = &(*at)->next;
	*at = f->next;
	l->fences.count--;
	mem_free(f);
}

void producers_free(struct log *l)
{
	for (uint32_t i = 0; i < l->fences.bucket_count; i++) {
		while (l->fences.buckets[i]) {
			struct fence *next = l->fences.buckets[i]->next;
			mem_free(l->fences.buckets[i]);
			l->fences.buckets[i] = next;
		}
	}
	mem_free(l->fences.buckets);
}

/* ---- asking ---- */

static void link_waiter(struct producer_flight *f, struct log_waiter *w)
{
	w->waiter.next = NULL;
	if (f->last)
		f->last->next = &w->waiter;
	else
		f->first = &w->waiter;
	f->last = &w->waiter;
}

static int answer_repeat(const struct producer_batch *b, struct producer_answer *answer)
{
	answer->offset = b->offset;
	answer->timestamp_ms = b->timestamp_ms;
	return PRODUCER_REPEATED;
}

/* What is remembered has a bound; who is known already, or has a transaction open, may go on. */
static int refuse_more(struct log *l, const struct producer *pr, bool opens)
{
	const struct producer_counts *c = &l->producers;

	if (!pr && atomic_load_explicit(&c->producers, memory_order_relaxed) >= c->producers_max) {
		maintain_wake(l);
		return ERR_OVERLOADED;
	}
	if (opens && atomic_load_explicit(&c->aborted, memory_order_relaxed) +
				     atomic_load_explicit(&c->open, memory_order_relaxed) >=
			     c->aborted_max)
		return ERR_OVERLOADED;
	return PRODUCER_NEXT;
}

/* Under p->lock. */
static int check_locked(struct partition *p, const struct batch_head *head, struct producer_answer *answer,
			struct log_waiter *waiter)
{
	static const struct producer_state unknown = {.epoch = -1, .open_offset = -1};
	struct producer *pr = producer_table_find(&p->producers, head->producer_id);
	const struct producer_state *s = pr ? &pr->state : &unknown;
	const struct producer_batch *found;
	int verdict;

	if (pr && pr->flight)
		s = &pr->flight->state;
	verdict = (int)producer_state_check(s, head, &found);
	if (verdict == PRODUCER_REPEATED)
		return answer_repeat(found, answer);
	if (verdict == PRODUCER_IN_FLIGHT) {
		found = producer_state_find(&pr->state, head);
		if (found) /* published meanwhile, and something behind it is in flight still */
			return answer_repeat(found, answer);
		if (waiter)
			link_waiter(pr->flight, waiter);
		return verdict;
	}
	if (verdict != PRODUCER_NEXT)
		return verdict;
	answer->opens = batch_is_transactional(head) && s->open_offset < 0;
	return refuse_more(p->log, pr, answer->opens);
}

int producer_check(struct partition *p, const struct batch_head *head, struct producer_answer *answer,
		   struct log_waiter *waiter)
{
	const struct fence *fence = find_fence(p->log, head->producer_id);
	int verdict;

	*answer = (struct producer_answer){.offset = -1, .timestamp_ms = -1};
	if (fence && head->producer_epoch < fence->epoch)
		return PRODUCER_OLD_EPOCH;
	(void)pthread_mutex_lock(&p->lock);
	verdict = check_locked(p, head, answer, waiter);
	(void)pthread_mutex_unlock(&p->lock);
	return verdict;
}

/* ---- entering ---- */

/* Under p->lock: what nothing is in flight of is known only where something of it is durable. */
static void drop_idle(struct partition *p, struct producer *pr)
{
	if (pr->flight && pr->flight->count == 0)
		producer_flight_end(&p->producers, pr);
	if (!pr->flight && pr->state.epoch < 0)
		producer_table_remove(&p->producers, pr);
}

/* Counts already: what was in flight before may be published between now and noting this one. */
static int reserve(struct partition *p, const struct batch_head *head)
{
	struct producer *pr;
	int rc;

	(void)pthread_mutex_lock(&p->lock);
	rc = producer_table_make(&p->producers, head->producer_id, &pr);
	if (rc == 0) {
		rc = producer_flight_begin(&p->producers, pr);
		if (rc == 0)
			pr->flight->count++;
		else
			drop_idle(p, pr);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return rc;
}

static void give_back(struct partition *p, int64_t producer_id)
{
	struct producer *pr;

	(void)pthread_mutex_lock(&p->lock);
	pr = producer_table_find(&p->producers, producer_id);
	pr->flight->count--;
	drop_idle(p, pr);
	(void)pthread_mutex_unlock(&p->lock);
}

/* 1 where it is of a producer with an id, 0 where it is not, ERR_*. */
static int read_head(const struct log_record *r, struct batch_head *head)
{
	if (batch_head_read(r->value, head) || head->bytes != r->value.len ||
	    (uint32_t)head->last_offset_delta + 1 != r->batch_records)
		return ERR_MALFORMED;
	return head->producer_id >= 0;
}

/* 1 where room was made, 0 where none is needed, ERR_*. */
static int reserve_record(const struct log_record *r)
{
	struct producer_answer answer;
	struct batch_marker marker;
	struct batch_head head;
	int rc = read_head(r, &head);

	if (rc <= 0)
		return rc;
	if (batch_is_control(&head))
		rc = batch_marker_read(r->value, &marker) < 0 ? ERR_MALFORMED : 0;
	else
		rc = producer_check(r->partition, &head, &answer, NULL);
	if (rc != 0)
		return rc < 0 ? rc : ERR_CONFLICT;
	rc = reserve(r->partition, &head);
	return rc ? rc : 1;
}

static void give_back_first(const struct log_commit *c, uint32_t count)
{
	struct batch_head head;

	for (uint32_t i = 0; i < count; i++)
		if (c->records[i].batch_records && read_head(&c->records[i], &head) == 1)
			give_back(c->records[i].partition, head.producer_id);
}

int producers_reserve(const struct log_commit *c)
{
	for (uint32_t i = 0; i < c->record_count; i++) {
		int rc = c->records[i].batch_records ? reserve_record(&c->records[i]) : 0;
		if (rc < 0) {
			give_back_first(c, i);
			return rc;
		}
	}
	return 0;
}

static void note(struct partition *p, const struct batch_head *head, struct slice batch)
{
	struct producer_flight *f;
	struct batch_marker marker;

	(void)pthread_mutex_lock(&p->lock);
	f = producer_table_find(&p->producers, head->producer_id)->flight;
	if (!batch_is_control(head))
		producer_state_add(&f->state, head, -1);
	else if (batch_marker_read(batch, &marker) == 1)
		producer_state_mark(&f->state, &marker);
	(void)pthread_mutex_unlock(&p->lock);
}

void producers_note(const struct log_commit *c)
{
	struct batch_head head;

	for (uint32_t i = 0; i < c->record_count; i++)
		if (c->records[i].batch_records && read_head(&c->records[i], &head) == 1)
			note(c->records[i].partition, &head, c->records[i].value);
}

/* ---- publishing ---- */

int producers_publish(struct partition *p, struct slice batch, int64_t time_ms, struct seen_waiter **waiters)
{
	struct producer *pr;
	struct batch_head head;
	int rc;

	CHECK(batch_head_read(batch, &head) == 0);
	rc = producer_table_apply(&p->producers, &head, batch, time_ms);
	if (rc == ERR_CORRUPT) /* its checksum is right, so it came like that: it ends no transaction */
		rc = 0;
	pr = producer_table_find(&p->producers, head.producer_id);
	if (rc || !pr || !pr->flight)
		return rc;
	*waiters = pr->flight->first;
	pr->flight->first = pr->flight->last = NULL;
	if (--pr->flight->count == 0)
		producer_flight_end(&p->producers, pr);
	return 0;
}

int64_t producers_stable(const struct partition *p)
{
	const struct producer *oldest = p->producers.open_first;

	if (!oldest || oldest->state.open_offset > p->end)
		return p->end;
	return oldest->state.open_offset > p->start ? oldest->state.open_offset : p->start;
}

/* ---- forgetting ---- */

/*
 * Who has read a batch asks afterwards whether it was aborted. So what is gone from
 * the partition, or from its compacted part, is forgotten a look later.
 */
static int forget_aborted(void *ctx, struct partition *p)
{
	(void)ctx;
	(void)pthread_mutex_lock(&p->lock);
	producer_table_trim(&p->producers, p->forgets);
	p->forgets = p->settled > p->start ? p->settled : p->start;
	(void)pthread_mutex_unlock(&p->lock);
	return 0;
}

struct expiry {
	int64_t now_ms, idle_ms;
};

void producers_drop(struct partition *p)
{
	bool in_flight = false;

	(void)pthread_mutex_lock(&p->lock);
	for (uint32_t i = 0; i < p->producers.bucket_count && !in_flight; i++)
		for (const struct producer *pr = p->producers.buckets[i]; pr; pr = pr->next_hash)
			in_flight |= pr->flight != NULL;
	if (!in_flight)
		producer_table_fini(&p->producers);
	(void)pthread_mutex_unlock(&p->lock);
}

static int expire_one(void *ctx, struct partition *p)
{
	const struct expiry *e = ctx;

	(void)pthread_mutex_lock(&p->lock);
	producer_table_expire(&p->producers, e->now_ms - e->idle_ms);
	(void)pthread_mutex_unlock(&p->lock);
	return 0;
}

static bool is_crowded(const struct log *l)
{
	return atomic_load(&l->producers.producers) >= l->producers.producers_max / 4 * 3;
}

/* Where there are too many, those that have been idle for a shorter time go as well. */
void producers_look(struct log *l, int64_t now_ms, int64_t *due_ms)
{
	struct expiry e = {.now_ms = now_ms, .idle_ms = PRODUCER_EXPIRY_MS};

	if (atomic_load(&l->producers.producers) + atomic_load(&l->producers.aborted) == 0)
		return;
	if (now_ms < l->producers_due_ms - (is_crowded(l) ? LOOK_EVERY_MS - IDLE_MS_MIN : 0)) {
		if (l->producers_due_ms < *due_ms)
			*due_ms = l->producers_due_ms;
		return;
	}
	(void)partitions_each(l, forget_aborted, NULL);
	(void)partitions_each(l, expire_one, &e);
	for (; is_crowded(l) && e.idle_ms > IDLE_MS_MIN; (void)partitions_each(l, expire_one, &e))
		e.idle_ms /= 2;
	if (e.idle_ms < PRODUCER_EXPIRY_MS)
		core_say(
			l, LOG_WARN, "producers_crowded",
			"more than %llu producers of Kafka in their partitions: those that were idle for %lld s are forgotten already",
			(unsigned long long)(l->producers.producers_max / 4 * 3),
			(long long)e.idle_ms / 1000);
	l->producers_due_ms = now_ms + LOOK_EVERY_MS;
	if (l->producers_due_ms < *due_ms)
		*due_ms = l->producers_due_ms;
}

/* ---- what is known of them ---- */

static void describe(const struct producer *pr, struct producer_info *out)
{
	const struct producer_state *s = &pr->state;

	*out = (struct producer_info){
		.producer_id = pr->id,
		.epoch = s->epoch,
		.coordinator_epoch = s->coordinator_epoch,
		.last_sequence = s->batch_count ? s->batches[s->batch_count - 1].last : -1,
		.last_ms = s->last_ms,
		.open_offset = s->open_offset,
	};
}

uint32_t partition_producers(struct partition *p, struct producer_info *out, uint32_t max)
{
	const struct producer_table *t = &p->producers;
	uint32_t count = 0;

	(void)pthread_mutex_lock(&p->lock);
	for (uint32_t i = 0; i < t->bucket_count; i++) {
		for (const struct producer *pr = t->buckets[i]; pr; pr = pr->next_hash) {
			if (pr->state.epoch < 0)
				continue;
			if (count < max)
				describe(pr, &out[count]);
			count++;
		}
	}
	(void)pthread_mutex_unlock(&p->lock);
	return count;
}

uint32_t partition_open_transactions(struct partition *p, struct producer_info *out, uint32_t max)
{
	uint32_t count = 0;

	(void)pthread_mutex_lock(&p->lock);
	for (const struct producer *pr = p->producers.open_first; pr; pr = pr->next_open, count++)
		if (count < max)
			describe(pr, &out[count]);
	(void)pthread_mutex_unlock(&p->lock);
	return count;
}

uint32_t partition_aborted(struct partition *p, int64_t from, int64_t to, struct aborted_txn *out,
			   uint32_t max)
{
	uint32_t count;

	(void)pthread_mutex_lock(&p->lock);
	count = producer_table_aborted(&p->producers, from, to, out, max);
	(void)pthread_mutex_unlock(&p->lock);
	return count;
}

bool partition_hides(struct partition *p, const struct batch_head *head)
{
	bool hides;

	if (batch_is_control(head))
		return true;
	if (!batch_is_transactional(head) || head->producer_id < 0)
		return false;
	(void)pthread_mutex_lock(&p->lock);
	hides = producer_table_hides(&p->producers, head);
	(void)pthread_mutex_unlock(&p->lock);
	return hides;
}
