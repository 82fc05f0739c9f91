/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A partition is a ring of references to recent batches, in memory, and a list
 * of segments, on disk, with an overlap: a batch leaves the ring only after it is
 * in a segment. A reader asks the ring first.
 */
#include "log/core.h"

#include <errno.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/batch/find.h"
#include "proto/batch/batch.h"

/* ---- the table ---- */

static uint32_t bucket_of(const struct log *l, const struct topic_id *topic, uint32_t number)
{
	uint8_t bytes[sizeof(topic->bytes) + sizeof(number)];

	memcpy(bytes, topic->bytes, sizeof(topic->bytes));
	memcpy(bytes + sizeof(topic->bytes), &number, sizeof(number));
	return (uint32_t)hash_sip13(&l->table_key, slice_make(bytes, sizeof(bytes))) & (l->bucket_count - 1);
}

static void grow_table(struct log *l)
{
	uint32_t old_count = l->bucket_count;
	struct partition **old = l->buckets;
	struct partition **fresh = mem_zalloc((size_t)old_count * 4, sizeof(struct partition *));

	if (!fresh)
		return; /* longer chains, nothing worse */
	l->buckets = fresh;
	l->bucket_count = old_count * 4;
	for (uint32_t i = 0; i < old_count; i++) {
		while (old[i]) {
			struct partition *p = old[i];
			uint32_t to = bucket_of(l, &p->topic, p->number);
			old[i] = p->next_hash;
			p->next_hash = fresh[to];
			fresh[to] = p;
		}
	}
	mem_free(old);
}

static struct partition *new_partition(struct log *l, const struct topic_id *topic, uint32_t number)
{
	struct partition *p = mem_zalloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->log = l;
	p->topic = *topic;
	p->number = number;
	p->options = (struct partition_options){.retention_ms = -1, .retention_bytes = -1};
	p->last_time_ms = -1;
	p->tombstone_ms = INT64_MAX;
	producer_table_init(&p->producers, &l->producers, &l->table_key);
	(void)pthread_mutex_init(&p->lock, NULL);
	return p;
}

int partition_get(struct log *l, const struct topic_id *topic, uint32_t number, bool make,
		  struct partition **out)
{
	struct partition *p;
	uint32_t at;

	(void)pthread_mutex_lock(&l->table);
	at = bucket_of(l, topic, number);
	for (p = l->buckets[at]; p; p = p->next_hash)
		if (p->number == number && topic_id_eq(&p->topic, topic))
			break;
	if (!p && make) {
		p = new_partition(l, topic, number);
		if (p) {
			if (l->partition_count++ > l->bucket_count * 2) {
				grow_table(l);
				at = bucket_of(l, topic, number);
			}
			p->next_hash = l->buckets[at];
			l->buckets[at] = p;
		}
	}
	(void)pthread_mutex_unlock(&l->table);
	*out = p;
	return p ? 0 : make ? ERR_NOMEM : ERR_UNKNOWN_PARTITION;
}

void partition_free(struct partition *p)
{
	for (uint32_t i = 0; i < p->segment_count; i++)
		segment_unref(p->segments[i]);
	mem_free(p->segments);
	mem_free(p->ring);
	producer_table_fini(&p->producers);
	(void)pthread_mutex_destroy(&p->lock);
	mem_free(p);
}

static void take_out_of_table(struct partition *p)
{
	struct log *l = p->log;
	struct partition **at;

	(void)pthread_mutex_lock(&l->table);
	for (at = &l->buckets[bucket_of(l, &p->topic, p->number)]; *at != p;)
		at = &(*at)->next_hash;
	*at = p->next_hash;
	p->next_hash = l->buried;
	l->buried = p;
	l->partition_count--;
	(void)pthread_mutex_unlock(&l->table);
}

void partition_bury(struct partition *p)
{
	take_out_of_table(p);
	(void)pthread_mutex_lock(&p->lock);
	CHECK(p->segment_count == 0 && p->moved == p->ring_count);
	mem_free(p->segments);
	p->segments = NULL;
	p->segment_cap = 0;
	(void)pthread_mutex_unlock(&p->lock);
}

/* Partitions are never freed while the log is open, so a snapshot of pointers is safe to walk. */
int partitions_each(struct log *l, int (*fn)(void *ctx, struct partition *p), void *ctx)
{
	struct partition **all;
	uint32_t count = 0;
	int rc = 0;

	(void)pthread_mutex_lock(&l->table);
	all = mem_alloc(((size_t)l->partition_count + 1) * sizeof(struct partition *));
	for (uint32_t i = 0; all && i < l->bucket_count; i++)
		for (struct partition *p = l->buckets[i]; p; p = p->next_hash)
			all[count++] = p;
	(void)pthread_mutex_unlock(&l->table);
	if (!all)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < count && rc == 0; i++)
		rc = fn(ctx, all[i]);
	mem_free(all);
	return rc;
}

/* ---- what the rest of weir asks ---- */

int partition_open(struct log *l, const struct topic_id *topic, uint32_t number,
		   const struct partition_options *options, struct partition **out)
{
	int rc = partition_get(l, topic, number, true, out);

	if (rc)
		return rc;
	if (!(*out)->opened) {
		/* A checkpoint may name a partition whose row was lost with the power: it was dropped, and is made now. */
		atomic_store(&(*out)->closed, false);
		atomic_store(&(*out)->dropped, false);
		(*out)->opened = true;
	}
	partition_configure(*out, options);
	return 0;
}

void partition_configure(struct partition *p, const struct partition_options *options)
{
	(void)pthread_mutex_lock(&p->lock);
	p->options = *options;
	atomic_store(&p->append_time, options->append_time);
	(void)pthread_mutex_unlock(&p->lock);
	if (p->log->started)
		maintain_wake(p->log);
}

void partition_close(struct partition *p)
{
	atomic_store(&p->closed, true);
}

void partition_drop(struct partition *p)
{
	atomic_store(&p->dropped, true);
	(void)pthread_mutex_lock(&p->lock);
	for (struct log_watch *w = p->watches; w; w = w->next)
		port_post_ready(w);
	(void)pthread_mutex_unlock(&p->lock);
	ports_wake(p->log);
	atomic_store(&p->log->let_go, true);
	maintain_wake(p->log);
}

void partition_range(struct partition *p, struct partition_range *out)
{
	(void)pthread_mutex_lock(&p->lock);
	out->start = p->start;
	out->end = p->end;
	out->stable = producers_stable(p);
	out->clean = p->clean;
	out->bytes = 0;
	for (uint32_t i = 0; i < p->segment_count; i++)
		out->bytes += atomic_load(&p->segments[i]->bytes);
	for (uint32_t i = p->moved; i < p->ring_count; i++)
		out->bytes += p->ring[(p->ring_head + i) & (p->ring_cap - 1)].bytes;
	(void)pthread_mutex_unlock(&p->lock);
}

int partition_edges(struct partition *p, struct partition_edges *out)
{
	if (atomic_load(&p->dropped))
		return ERR_UNKNOWN_TOPIC;
	(void)pthread_mutex_lock(&p->lock);
	out->start = p->start;
	out->stable = producers_stable(p);
	out->end = p->end;
	out->memory = p->ring_count ? p->ring[p->ring_head].base : p->end;
	if (out->memory < p->clean)
		out->memory = p->clean;
	(void)pthread_mutex_unlock(&p->lock);
	return 0;
}

uint32_t partition_number(const struct partition *p)
{
	return p->number;
}

const struct topic_id *partition_topic(const struct partition *p)
{
	return &p->topic;
}

void partition_trim(struct partition *p, int64_t before)
{
	(void)pthread_mutex_lock(&p->lock);
	if (before > p->end)
		before = p->end;
	if (before > p->start) {
		p->start = before;
		for (struct log_watch *w = p->watches; w; w = w->next)
			port_post_ready(w);
	}
	(void)pthread_mutex_unlock(&p->lock);
	ports_wake(p->log);
	atomic_store(&p->log->let_go, true);
	maintain_wake(p->log);
}

/* ---- the ring ---- */

int partition_push(struct partition *p, const struct tail_ref *ref)
{
	if (p->ring_count == p->ring_cap) {
		uint32_t cap = p->ring_cap ? p->ring_cap * 2 : 8;
		struct tail_ref *ring = mem_alloc(cap * sizeof(*ring));
		if (!ring)
			return ERR_NOMEM;
		for (uint32_t i = 0; i < p->ring_count; i++)
			ring[i] = p->ring[(p->ring_head + i) & (p->ring_cap - 1)];
		mem_free(p->ring);
		p->ring = ring;
		p->ring_cap = cap;
		p->ring_head = 0;
	}
	p->ring[(p->ring_head + p->ring_count++) & (p->ring_cap - 1)] = *ref;
	p->end = ref->last + 1;
	return 0;
}

static const struct tail_ref *ring_at(const struct partition *p, uint32_t i)
{
	return &p->ring[(p->ring_head + i) & (p->ring_cap - 1)];
}

/* The batch in memory that holds the offset, or NULL. */
static const struct tail_ref *ring_find(const struct partition *p, int64_t offset, uint32_t *index)
{
	uint32_t low = 0, high = p->ring_count;

	if (p->ring_count == 0 || offset < ring_at(p, 0)->base)
		return NULL;
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (ring_at(p, middle)->base <= offset)
			low = middle;
		else
			high = middle;
	}
	*index = low;
	return ring_at(p, low);
}

/* ---- reading ---- */

enum read_how { READ_WAIT = SEGMENT_WAIT, READ_FIT = SEGMENT_FIT, READ_STABLE = 4 };

/* What `weir verify --repair` has put into the journal for groups that were gone. */
static bool is_lost(const struct tail_ref *ref)
{
	struct batch_head head;

	return ref->bytes == BATCH_HEAD_BYTES &&
	       batch_head_read(slice_make(ref->group->blob->bytes + ref->at, ref->bytes), &head) == 0 &&
	       batch_is_lost(&head);
}

/*
 * The next batch of this partition in the same group often stands right behind
 * (a large commit makes several): they go together only where nothing stands
 * between, which section heads prevent; so a view of the tail is one batch.
 */
static bool read_tail(struct partition *p, int64_t offset, struct log_view *out)
{
	const struct tail_ref *ref;
	uint32_t index;

	if (offset < p->clean) /* in memory it is as it was before compaction */
		return false;
	ref = ring_find(p, offset, &index);
	if (!ref)
		return false;
	out->next_offset = ref->last + 1;
	if (is_lost(ref)) {
		out->gap.from = offset;
		out->gap.to = ref->last + 1;
		out->gap.set_aside = true;
		return true;
	}
	out->blob = blob_ref(ref->group->blob);
	out->batches = slice_make(ref->group->blob->bytes + ref->at, ref->bytes);
	out->entered_ns = ref->group->entered_ns;
	return true;
}

/* The last segment that begins at or before the offset; shares. */
static struct segment *segment_for(struct partition *p, int64_t offset)
{
	uint32_t low = 0, high = p->segment_count;

	if (p->segment_count == 0)
		return NULL;
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (p->segments[middle]->base <= offset)
			low = middle;
		else
			high = middle;
	}
	return segment_ref(p->segments[low]);
}

/* Where the segments end or the next one begins: how far a hole reaches. */
static int64_t end_of_hole(struct partition *p, int64_t offset)
{
	int64_t end = p->end;

	for (uint32_t i = p->segment_count; i-- > 0;)
		if (p->segments[i]->base > offset)
			end = p->segments[i]->base;
	if (p->ring_count && ring_at(p, 0)->base > offset && ring_at(p, 0)->base < end)
		end = ring_at(p, 0)->base;
	return end;
}

/* Once for a place that is met again and again. */
static void say_damage(struct partition *p, struct segment *s, const struct segment_read *r)
{
	char path[SEGMENT_PATH_BYTES];

	if (atomic_exchange(&s->told_gap, r->gap_to) == r->gap_to)
		return;
	atomic_fetch_add(&p->log->counts.damaged_ranges, 1);
	atomic_fetch_add(&p->log->counts.damaged_offsets, (uint64_t)(r->gap_to - r->gap_from));
	segment_path(s, SEGMENT_LOG, path);
	core_say(
		p->log, LOG_ERROR, "segment_damaged",
		"%s is damaged: offsets %lld to %lld of partition %u cannot be read; readers are told of the gap",
		path, (long long)r->gap_from, (long long)r->gap_to - 1, p->number);
}

static int read_segment(struct partition *p, struct segment *s, int64_t offset, size_t bytes_max,
			uint32_t how, struct log_view *out)
{
	struct segment_read r;
	int rc = segment_read(s, offset, bytes_max, how, &r);

	if (rc == -EAGAIN)
		return LOG_READ_WAIT;
	if (rc < 0)
		return rc;
	if (rc == 2)
		return LOG_READ_LARGE;
	if (rc == 1) { /* nothing here although it should be: told as damage */
		(void)pthread_mutex_lock(&p->lock);
		out->gap.from = offset;
		out->gap.to = out->next_offset = end_of_hole(p, offset);
		(void)pthread_mutex_unlock(&p->lock);
		return LOG_READ_OK;
	}
	out->blob = r.blob;
	out->batches = r.batches;
	out->next_offset = r.next_offset;
	out->gap.from = r.gap_from;
	out->gap.to = r.gap_to;
	out->gap.set_aside = r.lost;
	if (r.gap_from != r.gap_to && !r.lost && !atomic_load(&s->replaced))
		say_damage(p, s, &r);
	return LOG_READ_OK;
}

/*
 * A segment that a rewrite has replaced may be gone from the disk by the time
 * that its reader opens it: then what looks like damage or failure is none.
 */
static bool is_out_of_date(const struct segment *s, int rc, const struct log_view *out)
{
	return atomic_load(&s->replaced) && (rc < 0 || out->gap.from != out->gap.to);
}

/* What stands at the last stable offset or behind it goes; at least one batch stands before it. */
static void cut_at_stable(struct log_view *view)
{
	struct slice rest = view->batches;
	struct batch_head head;

	if (view->next_offset <= view->stable)
		return;
	while (rest.len && batch_head_read(rest, &head) == 0 && batch_last_offset(&head) < view->stable)
		rest = slice_from(rest, head.bytes);
	view->batches.len -= rest.len;
	view->next_offset = view->stable;
}

/* For the mover: what it writes now will be read out of the page cache soon. */
static void note_reader(struct partition *p)
{
	atomic_store_explicit(&p->read_ns, sys_monotonic_ns(p->log->sys), memory_order_relaxed);
}

static int read_once(struct partition *p, int64_t offset, size_t bytes_max, enum read_how how,
		     struct log_view *out, bool *again)
{
	struct segment *s = NULL;
	int rc = LOG_READ_OK;
	bool hit = false;

	*again = false;
	*out = (struct log_view){0};
	(void)pthread_mutex_lock(&p->lock);
	out->stable = producers_stable(p);
	if (atomic_load(&p->dropped))
		rc = ERR_UNKNOWN_TOPIC;
	else if (offset < p->start)
		rc = ERR_CURSOR_GONE;
	else if (offset > p->end)
		rc = ERR_CURSOR_AHEAD;
	else if (offset >= (how & READ_STABLE ? out->stable : p->end))
		rc = LOG_READ_END;
	else if (!(hit = read_tail(p, offset, out)))
		s = segment_for(p, offset);
	(void)pthread_mutex_unlock(&p->lock);
	if (hit)
		atomic_fetch_add_explicit(&p->log->counts.reads_tail, 1, memory_order_relaxed);
	if (rc != LOG_READ_OK || hit)
		return rc;
	if (!s) {
		out->gap.from = offset;
		out->gap.to = out->next_offset = end_of_hole(p, offset);
		return LOG_READ_OK;
	}
	atomic_fetch_add_explicit(&p->log->counts.reads_disk, 1, memory_order_relaxed);
	note_reader(p);
	rc = read_segment(p, s, offset, bytes_max, how & (READ_WAIT | READ_FIT), out);
	if (rc == LOG_READ_OK && how & READ_STABLE && out->blob)
		cut_at_stable(out);
	*again = is_out_of_date(s, rc, out);
	segment_unref(s);
	return rc;
}

static int read_partition(struct partition *p, int64_t offset, size_t bytes_max, enum read_how how,
			  struct log_view *out)
{
	bool again;
	int rc;

	do {
		rc = read_once(p, offset, bytes_max, how, out, &again);
		if (again)
			blob_unref(out->blob);
	} while (again);
	return rc;
}

int log_read(struct partition *p, int64_t offset, size_t bytes_max, struct log_view *out)
{
	return read_partition(p, offset, bytes_max, 0, out);
}

int log_read_fit(struct partition *p, int64_t offset, size_t bytes_max, struct log_view *out)
{
	return read_partition(p, offset, bytes_max, READ_FIT, out);
}

int log_read_stable(struct partition *p, int64_t offset, size_t bytes_max, struct log_view *out)
{
	return read_partition(p, offset, bytes_max, READ_STABLE, out);
}

int log_read_file(struct partition *p, int64_t offset, int64_t limit, size_t bytes_max,
		  struct segment_extent *out)
{
	struct segment *s;
	int rc;

	*out = (struct segment_extent){.next_offset = INT64_MAX};
	(void)pthread_mutex_lock(&p->lock);
	s = offset >= p->start && offset < p->end ? segment_for(p, offset) : NULL;
	(void)pthread_mutex_unlock(&p->lock);
	if (!s)
		return LOG_READ_WAIT;
	note_reader(p);
	rc = segment_extent(s, offset, limit, bytes_max, out);
	segment_unref(s);
	return rc ? LOG_READ_WAIT : LOG_READ_OK;
}

int log_read_wait(struct partition *p, int64_t offset, size_t bytes_max, struct log_view *out)
{
	return read_partition(p, offset, bytes_max, READ_WAIT, out);
}

int partition_read(const struct log_read *r, struct log_view *out)
{
	enum read_how how = r->stable ? READ_WAIT | READ_STABLE : READ_WAIT;

	return read_partition(r->partition, r->offset, r->bytes_max, how, out);
}

/* ---- times ---- */

/* Segments that may hold such a timestamp, tried in order; each is shared while it is read. */
static int find_in_segments(struct partition *p, int64_t time_ms, int64_t *offset)
{
	int64_t after = INT64_MIN, start;

	for (;;) {
		struct segment *s = NULL;
		int rc;
		(void)pthread_mutex_lock(&p->lock);
		start = p->start;
		for (uint32_t i = 0; i < p->segment_count && !s; i++)
			if (p->segments[i]->base > after &&
			    atomic_load(&p->segments[i]->max_timestamp) >= time_ms &&
			    atomic_load(&p->segments[i]->next_offset) > p->start)
				s = segment_ref(p->segments[i]);
		(void)pthread_mutex_unlock(&p->lock);
		if (!s)
			return 1;
		after = s->base;
		rc = segment_find_time(s, start, time_ms, offset);
		if (rc != 0 && atomic_load(&s->replaced)) {
			after--; /* what took its place: its file may have gone meanwhile, as if it had been trimmed */
			rc = 1;
		}
		segment_unref(s);
		if (rc <= 0)
			return rc;
	}
}

/* The first batch in memory alone, behind `after`, that may hold such a timestamp; shares its blob. False: none. */
static bool next_in_tail(struct partition *p, int64_t after, int64_t time_ms, struct blob **blob,
			 struct tail_ref *out, int64_t *start)
{
	bool found = false;

	(void)pthread_mutex_lock(&p->lock);
	*start = p->start;
	for (uint32_t i = p->moved; i < p->ring_count && !found; i++) {
		const struct tail_ref *ref = ring_at(p, i);
		found = ref->base > after && ref->max_timestamp >= time_ms;
		if (found) {
			*out = *ref;
			*blob = blob_ref(ref->group->blob);
		}
	}
	(void)pthread_mutex_unlock(&p->lock);
	return found;
}

/* A batch that must be inflated takes its time: not with the lock held, which appends wait for. */
static int find_in_tail(struct partition *p, int64_t time_ms, int64_t *offset)
{
	struct tail_ref ref = {.base = -1};
	struct batch_found found;
	struct blob *blob;
	int64_t start;
	int rc = 1;

	while (rc == 1 && next_in_tail(p, ref.base, time_ms, &blob, &ref, &start)) {
		rc = batch_find(slice_make(blob->bytes + ref.at, ref.bytes), start, time_ms, &found);
		blob_unref(blob);
	}
	if (rc == 0)
		*offset = found.offset;
	return rc;
}

int log_find_wait(struct partition *p, int64_t time_ms, int64_t *offset)
{
	struct partition_range range;
	int rc;

	if (atomic_load(&p->dropped))
		return ERR_UNKNOWN_TOPIC;
	rc = find_in_segments(p, time_ms, offset);
	if (rc == 1)
		rc = find_in_tail(p, time_ms, offset);
	if (rc < 0)
		return rc;
	partition_range(p, &range);
	if (rc == 1)
		*offset = range.end;
	if (*offset < range.start)
		*offset = range.start;
	return 0;
}

/* ---- retention ---- */

static bool is_over(const struct partition *p, const struct segment *s, uint64_t bytes_sum, int64_t now_ms)
{
	if (atomic_load(&s->next_offset) <= p->start)
		return true;
	if (p->options.retention_ms >= 0 &&
	    atomic_load(&s->last_append_ms) + p->options.retention_ms <= now_ms)
		return true;
	return p->options.retention_bytes >= 0 &&
	       bytes_sum - atomic_load(&s->bytes) >= (uint64_t)p->options.retention_bytes;
}

uint32_t partition_expire(struct partition *p, int64_t now_ms, struct segment **out, uint32_t out_max)
{
	uint64_t sum = 0;
	uint32_t count = 0;
	bool busy = p->ring_count > p->moved; /* the mover may be appending to the last segment */

	for (uint32_t i = 0; i < p->segment_count; i++)
		sum += atomic_load(&p->segments[i]->bytes);
	while (count < out_max && count < p->segment_count) {
		struct segment *s = p->segments[count];
		if (count == p->segment_count - 1 && busy)
			break;
		if (!is_over(p, s, sum, now_ms))
			break;
		sum -= atomic_load(&s->bytes);
		if (atomic_load(&s->next_offset) > p->start)
			p->start = atomic_load(&s->next_offset);
		out[count++] = s;
	}
	if (count) {
		p->segment_count -= count;
		memmove(p->segments, p->segments + count, p->segment_count * sizeof(struct segment *));
		for (struct log_watch *w = p->watches; w; w = w->next)
			port_post_ready(w);
	}
	return count;
}

int64_t partition_expiry(struct partition *p)
{
	int64_t at = INT64_MAX;

	(void)pthread_mutex_lock(&p->lock);
	if (p->segment_count && p->options.retention_ms >= 0)
		at = atomic_load(&p->segments[0]->last_append_ms) + p->options.retention_ms;
	(void)pthread_mutex_unlock(&p->lock);
	return at;
}
