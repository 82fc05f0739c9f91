/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group is built in two passes over its commits: the first gives every record
 * its offset and chains the records of each partition; the second writes, for
 * each partition, one batch (or several of about 1 MiB) into one block of
 * memory, which is at once the journal's frame and what readers are served from.
 */
#include "log/core.h"

#include "base/blob_pool.h"
#include "base/check.h"
#include "base/mem.h"
#include "proto/batch/batch.h"

#define BATCH_CLOSE_BYTES (1u << 20)

/*
 * Never going back within the partition, whatever the clock does. The group's
 * time is not before any that was given in it: a recovery goes on from there.
 */
static int64_t give_time(struct group *g, struct partition *p, int64_t now_ms)
{
	int64_t last = atomic_load_explicit(&p->last_time_ms, memory_order_relaxed);

	if (now_ms > last) {
		last = now_ms;
		atomic_store_explicit(&p->last_time_ms, last, memory_order_relaxed);
	}
	if (last > g->head.time_ms)
		g->head.time_ms = last;
	return last;
}

size_t group_record_bytes(const struct log_record *r)
{
	if (r->batch_records)
		return r->value.len + FRAME_BATCH_OVERHEAD;
	return batch_record_bytes_max(r->key.len, r->value.len, r->headers.len);
}

static bool wants_time(const struct log_record *r)
{
	if (atomic_load_explicit(&r->partition->append_time, memory_order_relaxed))
		return true;
	return !r->batch_records && r->timestamp_ms < 0;
}

static void chain_record(struct group *g, struct log_record *r, int64_t now_ms)
{
	struct partition *p = r->partition;

	r->chain = NULL;
	if (!p->chain_first) {
		p->chain_first = r;
		p->chain_bytes = 0;
		p->chain_batches = 0;
		p->next_touched = g->touched;
		g->touched = p;
	} else {
		p->chain_last->chain = r;
	}
	p->chain_last = r;
	p->chain_bytes += group_record_bytes(r);
	p->chain_batches += r->batch_records > 0;
	r->offset = p->next_offset;
	p->next_offset += r->batch_records ? r->batch_records : 1;
	g->records += r->batch_records ? r->batch_records : 1;
	if (wants_time(r))
		r->timestamp_ms = give_time(g, p, now_ms);
	else if (r->batch_records)
		r->timestamp_ms = -1;
}

/*
 * The ranges of a key. All records of one commit in one partition have offsets
 * in a row, so there is one range a partition.
 */
static uint32_t collect_ranges(struct log *l, const struct log_commit *c, const struct log_key *k)
{
	uint32_t count = 0;

	l->range_stamp++;
	for (uint32_t i = k->first; i < k->first + k->count; i++) {
		struct partition *p = c->records[i].partition;
		if (p->range_stamp != l->range_stamp) {
			p->range_stamp = l->range_stamp;
			p->range_index = count;
			CHECK(count < SEEN_RANGES_MAX);
			l->ranges[count++] =
				(struct seen_range){.first = c->records[i].offset, .partition = p->number};
		}
		l->ranges[p->range_index].count +=
			c->records[i].batch_records ? c->records[i].batch_records : 1;
	}
	return count;
}

/* Batches that came whole stay apart, and so do the records before and behind each of them. */
static size_t batches_max(const struct partition *p)
{
	return p->chain_bytes / BATCH_CLOSE_BYTES + 1 + 2 * (size_t)p->chain_batches;
}

static size_t partition_bytes_max(const struct partition *p)
{
	return p->chain_bytes + batches_max(p) * (FRAME_BATCH_OVERHEAD + BATCH_HEAD_BYTES);
}

/* An upper bound that needs no offsets: a range a record, or a partition. */
static size_t keys_bytes_max(const struct log_commit *c)
{
	size_t sum = 0;

	for (uint32_t i = 0; i < c->key_count; i++) {
		uint32_t ranges = c->keys[i].count < SEEN_RANGES_MAX ? c->keys[i].count : SEEN_RANGES_MAX;
		sum += FRAME_KEY_BYTES + (size_t)ranges * FRAME_RANGE_BYTES;
	}
	return sum;
}

static void note_batch(struct group *g, struct partition *p, const struct batch_head *head,
		       const uint8_t *batch)
{
	CHECK(g->ref_count < g->ref_cap);
	g->owners[g->ref_count] = p;
	g->refs[g->ref_count++] = (struct tail_ref){.base = head->base_offset,
						    .last = batch_last_offset(head),
						    .max_timestamp = head->max_timestamp,
						    .at = (uint32_t)(batch - g->blob->bytes),
						    .bytes = head->bytes};
}

/* A batch stands behind the head of its section: what is left to do when it is complete. Gives the place behind. */
static uint8_t *close_section(struct group *g, struct partition *p, uint8_t *section, int64_t append_ms)
{
	uint8_t *batch = section + FRAME_BATCH_OVERHEAD;
	struct batch_head head;

	CHECK(batch_head_read(slice_make(batch, BATCH_HEAD_BYTES), &head) == 0);
	if (append_ms >= 0) {
		head.max_timestamp = append_ms;
		batch_put_append_time(batch, &head, append_ms);
	}
	(void)frame_put_batch_head(section, &p->topic, p->number, head.bytes);
	note_batch(g, p, &head, batch);
	g->head.sections++;
	return batch + head.bytes;
}

/* A batch as it came: copied, and no record of it looked at. */
static uint8_t *put_ready(struct group *g, struct partition *p, const struct log_record *r, uint8_t *at)
{
	(void)memcpy(at + FRAME_BATCH_OVERHEAD, r->value.ptr, r->value.len);
	batch_place(at + FRAME_BATCH_OVERHEAD, r->offset);
	return close_section(g, p, at, r->timestamp_ms);
}

/* Records that came singly, as many as make one batch; *r is moved on behind them. */
static uint8_t *put_singles(struct group *g, struct partition *p, struct log_record **r, uint8_t *at)
{
	bool append_time = atomic_load_explicit(&p->append_time, memory_order_relaxed);
	int64_t time_ms = (*r)->timestamp_ms;
	struct batch_build b;

	batch_build_start(&b, at + FRAME_BATCH_OVERHEAD, (*r)->offset);
	do {
		batch_build_put(&b, &(struct batch_record){.timestamp = (*r)->timestamp_ms,
							   .key = (*r)->key,
							   .value = (*r)->value,
							   .headers = (*r)->headers,
							   .header_count = (*r)->header_count});
		*r = (*r)->chain;
	} while (*r && !(*r)->batch_records && (size_t)(b.at - b.begin) < BATCH_CLOSE_BYTES);
	(void)batch_build_finish(&b);
	return close_section(g, p, at, append_time ? time_ms : -1);
}

static uint8_t *put_partition(struct group *g, struct partition *p, uint8_t *at)
{
	struct log_record *r = p->chain_first;

	while (r) {
		if (r->batch_records) {
			at = put_ready(g, p, r, at);
			r = r->chain;
		} else {
			at = put_singles(g, p, &r, at);
		}
	}
	p->chain_first = p->chain_last = NULL;
	return at;
}

static uint8_t *put_keys(struct log *l, struct group *g, const struct log_commit *first, uint8_t *at)
{
	uint8_t *section = at;

	at += FRAME_KEYS_OVERHEAD;
	for (const struct log_commit *c = first; c; c = c->next) {
		for (uint32_t i = 0; i < c->key_count; i++) {
			uint32_t count = collect_ranges(l, c, &c->keys[i]);
			at = frame_put_key(at, &c->keys[i].claim.key, l->ranges, count);
		}
	}
	if (at == section + FRAME_KEYS_OVERHEAD)
		return section;
	(void)frame_put_keys_head(section, (size_t)(at - section) - FRAME_KEYS_OVERHEAD);
	g->head.sections++;
	return at;
}

static int reserve_refs(struct group *g, size_t count)
{
	g->refs = mem_alloc(count * sizeof(*g->refs));
	g->owners = mem_alloc(count * sizeof(*g->owners));
	g->ref_cap = (uint32_t)count;
	return g->refs && g->owners ? 0 : ERR_NOMEM;
}

static uint32_t count_touched(struct group *g, size_t *bytes)
{
	uint32_t count = 0;

	for (struct partition *p = g->touched; p; p = p->next_touched) {
		*bytes += partition_bytes_max(p);
		count += (uint32_t)batches_max(p);
	}
	return count;
}

/* Undoes the first pass, last record first. */
static void give_back_offsets(struct group *g)
{
	for (struct partition *p = g->touched; p; p = p->next_touched) {
		p->next_offset = p->chain_first->offset;
		p->chain_first = p->chain_last = NULL;
	}
}

int group_build(struct log *l, struct group *g, struct log_commit *first)
{
	int64_t now_ms = sys_wall_ms(l->sys);
	size_t bytes = FRAME_HEAD_BYTES + FRAME_KEYS_OVERHEAD;
	uint32_t batches;
	uint8_t *at;

	*g = (struct group){.head = {.time_ms = now_ms}, .entered_ns = first->entered_ns};
	for (struct log_commit *c = first; c; c = c->next) {
		for (uint32_t i = 0; i < c->record_count; i++)
			chain_record(g, &c->records[i], now_ms);
		bytes += keys_bytes_max(c);
		g->head.commits++;
	}
	batches = count_touched(g, &bytes);
	g->blob = bytes > JOURNAL_COPY_BYTES ? blob_pool_take(l->blobs, bytes) : blob_new(bytes, NULL);
	if (!g->blob || reserve_refs(g, batches)) {
		give_back_offsets(g);
		group_free(g);
		return ERR_NOMEM;
	}
	at = g->blob->bytes + FRAME_HEAD_BYTES;
	for (struct partition *p = g->touched; p; p = p->next_touched) {
		atomic_fetch_sub_explicit(&p->waiting_bytes, p->chain_bytes, memory_order_relaxed);
		at = put_partition(g, p, at);
	}
	at = put_keys(l, g, first, at);
	CHECK(at <= g->blob->bytes + g->blob->cap);
	g->blob->len = (size_t)(at - g->blob->bytes);
	g->head.bytes = (uint32_t)g->blob->len;
	return 0;
}

void group_free(struct group *g)
{
	blob_unref(g->blob);
	mem_free(g->refs);
	mem_free(g->owners);
	g->blob = NULL;
	g->refs = NULL;
	g->owners = NULL;
}

/* ---- publishing ---- */

/* The state of producers moves with the end of the partition, so that both are always of the same batches. */
static void publish_batch(struct partition *p, const struct tail_ref *ref, int64_t time_ms)
{
	struct slice batch = slice_make(ref->group->blob->bytes + ref->at, ref->bytes);
	struct seen_waiter *waiters = NULL;

	(void)pthread_mutex_lock(&p->lock);
	if (partition_push(p, ref) ||
	    (batch_has_producer(batch.ptr) && producers_publish(p, batch, time_ms, &waiters)))
		core_fatal(p->log, "no memory to publish a durable batch");
	for (struct log_watch *w = p->watches; w; w = w->next)
		port_post_ready(w);
	(void)pthread_mutex_unlock(&p->lock);
	log_wake_waiters(waiters);
}

/* The group enters the list before its batches show, so that whoever sees one finds its memory held. */
int group_publish(struct log *l, struct group *g)
{
	size_t size = sizeof(struct tail_group) + g->ref_count * sizeof(struct partition *);
	struct tail_group *t = mem_alloc(size);
	int64_t lag;

	if (!t)
		return ERR_NOMEM;
	t->next = NULL;
	t->blob = g->blob;
	t->sequence = g->head.sequence;
	t->entered_ns = g->entered_ns;
	t->count = g->ref_count;
	atomic_init(&t->unmoved, g->ref_count);
	if (g->ref_count)
		atomic_fetch_add(&l->pinned_bytes, (int64_t)g->blob->len);
	atomic_fetch_add(&l->tail_bytes, (int64_t)g->blob->cap);
	memcpy(t->partitions, g->owners, g->ref_count * sizeof(struct partition *));
	g->blob = NULL;
	(void)pthread_mutex_lock(&l->tail_lock);
	if (l->tail_last)
		l->tail_last->next = t;
	else
		l->tail_first = t;
	l->tail_last = t;
	/* One without batches (a start finds them all in segments) is moved, and nobody would come by to see that. */
	if (!l->first_unmoved && g->ref_count)
		l->first_unmoved = t;
	(void)pthread_mutex_unlock(&l->tail_lock);
	for (uint32_t i = 0; i < g->ref_count; i++) {
		g->refs[i].group = t;
		publish_batch(g->owners[i], &g->refs[i], g->head.time_ms);
	}
	(void)pthread_mutex_lock(&l->tail_lock);
	for (uint32_t i = 0; i < g->ref_count; i++)
		mover_enqueue(l, g->owners[i]);
	lag = mover_lag_bytes(l);
	atomic_store(&l->lag_bytes, lag);
	if (l->mover_idle || atomic_load(&l->pinned_bytes) >= lag) {
		l->mover_idle = false;
		(void)pthread_cond_signal(&l->movable);
	}
	(void)pthread_mutex_unlock(&l->tail_lock);
	return 0;
}

void group_settle_keys(struct log *l, struct log_commit *first, uint64_t sequence)
{
	for (struct log_commit *c = first; c; c = c->next) {
		for (uint32_t i = 0; i < c->key_count; i++) {
			uint32_t count = collect_ranges(l, c, &c->keys[i]);
			log_wake_waiters(seen_settle(l->seen, &c->keys[i].claim, sequence, l->ranges, count));
		}
	}
}

/* ---- recovery ---- */

static int take_section(struct log *l, struct group *g, const struct frame_section *s, struct fault *fault)
{
	struct batch_head head;
	struct partition *p;
	int rc = batch_check(s->body, &head);

	if (rc || head.bytes != s->body.len)
		return fault_set(fault, ERR_CORRUPT,
				 "group %llu of the journal holds a batch that is not whole",
				 (unsigned long long)g->head.sequence);
	rc = partition_get(l, &s->topic, s->partition, head.base_offset == 0, &p);
	if (rc == ERR_UNKNOWN_PARTITION || (rc == 0 && batch_last_offset(&head) < p->next_offset))
		return 0; /* deleted later, or in a segment already */
	if (rc)
		return fault_set(fault, rc, "no memory for a partition");
	if (head.base_offset != p->next_offset)
		return fault_set(
			fault, ERR_CORRUPT,
			"group %llu of the journal continues a partition at offset %lld, which ends at %lld",
			(unsigned long long)g->head.sequence, (long long)head.base_offset,
			(long long)p->next_offset);
	p->next_offset = batch_last_offset(&head) + 1;
	if (g->head.time_ms > p->last_time_ms)
		p->last_time_ms = g->head.time_ms;
	g->owners[g->ref_count] = p;
	g->refs[g->ref_count++] = (struct tail_ref){.base = head.base_offset,
						    .last = batch_last_offset(&head),
						    .max_timestamp = head.max_timestamp,
						    .at = (uint32_t)(s->body.ptr - g->blob->bytes),
						    .bytes = head.bytes};
	return 0;
}

static int take_keys(struct log *l, struct slice keys, uint64_t sequence, struct fault *fault)
{
	struct seen_key key;
	uint32_t count;
	int rc;

	while ((rc = frame_key_next(&keys, &key, l->ranges, &count)) == 1) {
		rc = seen_restore(l->seen, &key, sequence, l->ranges, count);
		if (rc)
			return fault_set(fault, rc, "cannot restore an idempotency key");
	}
	return rc ? fault_set(fault, ERR_CORRUPT, "a group of the journal holds keys that cannot be read") :
		    0;
}

static int say_sections(const struct group *g, const char *what, struct fault *fault)
{
	return fault_set(fault, ERR_CORRUPT, "the head of group %llu of the journal says sections %u: it %s",
			 (unsigned long long)g->head.sequence, g->head.sections, what);
}

int group_from_frame(struct log *l, struct group *g, struct slice frame, struct fault *fault)
{
	struct frame_section s;
	struct slice rest;
	uint32_t count = 0;
	int rc;

	*g = (struct group){0};
	rc = frame_head_read(frame, &g->head);
	CHECK(rc == 0);
	if (!frame_has_room(&g->head))
		return say_sections(g, "has no room for them", fault);
	g->blob = blob_new(frame.len, NULL);
	if (!g->blob || reserve_refs(g, (size_t)g->head.sections + 1)) {
		group_free(g);
		return fault_set(fault, ERR_NOMEM, "no memory to recover a group");
	}
	memcpy(g->blob->bytes, frame.ptr, frame.len);
	g->blob->len = frame.len;
	rest = slice_make(g->blob->bytes + FRAME_HEAD_BYTES, frame.len - FRAME_HEAD_BYTES);
	while ((rc = frame_next(&rest, &s)) == 1) {
		if (count++ == g->head.sections)
			rc = say_sections(g, "has more", fault);
		else if (s.kind == FRAME_BATCH)
			rc = take_section(l, g, &s, fault);
		else
			rc = take_keys(l, s.body, g->head.sequence, fault);
		if (rc)
			break;
	}
	if (rc == 0 && count < g->head.sections)
		rc = say_sections(g, "has fewer", fault);
	if (rc) {
		group_free(g);
		return fault->err ? fault->err :
				    fault_set(fault, ERR_CORRUPT, "a group of the journal cannot be read");
	}
	return 0;
}
