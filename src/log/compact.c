/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass over one partition at a time:
 *
 *	choose ──► mapping: the dirty part is read, the map knows each key's last offset there
 *	             │ all of it, or as much as the map takes
 *	             ▼
 *	           rewriting: group by group, oldest first; what the map knows a later offset for goes
 *	             │
 *	             ▼
 *	           done: the clean offset moves, a checkpoint lets go of what was replaced
 *
 * A pass that fails or is given up leaves what it has rewritten, which is right as it
 * is, and the clean offset where it was. Oldest first, so that nothing older of its key is left
 * when a tombstone's time begins.
 */
#include "log/core.h"

#include "base/check.h"
#include "base/mem.h"
#include "log/offset_map.h"
#include "log/rewrite.h"
#include "proto/batch/rebuild.h"

#define GROUP_SEGMENTS_MAX 1000u
#define MAP_PIECE_BYTES (256u << 10)
#define RETRY_MS 10000
#define RETENTION_PARTS 8 /* segments that become one were written within such a part of the retention */

struct compaction {
	struct partition *partition;
	struct partition_options options;
	struct segment **segments; /* shared: all that are sealed and in the checkpoint, oldest first */
	uint32_t count, at;        /* the one that is read, or the first of those that are rewritten */
	bool mapped;
	struct segment_scan *scan; /* while mapping */
	struct offset_map *map;
	int64_t from, to;     /* the dirty part that this pass takes */
	int64_t settled;      /* markers before this offset have nothing left that they decide */
	bool cut;             /* the map was full before the end */
	bool keep_tombstones; /* something of this partition cannot be read: an old value may be behind it */
	int64_t now_ms;
	int64_t tombstone_ms; /* when the first one that stays may go */
	struct rewrite *rewrite;
	struct codec *codec; /* NULL until a compressed batch is met */
	struct buf plain, rebuilt, packing;
	uint64_t removed, tombstones, bytes_before, bytes_after;
};

/* ---- what is due ---- */

/* Of one partition, as it is now. */
struct state {
	uint64_t clean_bytes, dirty_bytes; /* in segments that can be compacted now */
	uint64_t waiting_bytes;            /* dirty, sealed and not in a checkpoint yet */
	int64_t dirty_since_ms;            /* when the oldest dirty record came, INT64_MAX: there is none */
	int64_t safe_until_ms; /* when what min_lag keeps from a pass is no longer kept, INT64_MAX: nothing is */
	int64_t active_since_ms; /* likewise in the segment that is written to */
	bool active_clean;       /* which holds something that was compacted: so after a start */
	uint32_t count;          /* segments that can be compacted now */
};

static int64_t first_append_of(const struct segment *s)
{
	int64_t first = atomic_load(&s->first_append_ms);

	return first ? first : atomic_load(&s->last_append_ms);
}

static int64_t later(int64_t ms, int64_t by)
{
	return ms == INT64_MAX || by < 0 ? INT64_MAX : ms + by;
}

/* Sealed, and too young to be compacted: neither is what is behind it, which is younger. */
static bool is_safe(const struct partition *p, const struct segment *s, int64_t now_ms, struct state *st)
{
	int64_t until = later(atomic_load(&s->last_append_ms), p->options.min_lag_ms);

	if (st->safe_until_ms == INT64_MAX && p->options.min_lag_ms > 0 && until > now_ms)
		st->safe_until_ms = until;
	return st->safe_until_ms != INT64_MAX;
}

/*
 * Under p->lock. From the first segment with something undecided on (records of a transaction that is
 * open) nothing is looked at: it is neither dirty nor in need of a checkpoint yet.
 */
static void look_at(const struct partition *p, int64_t now_ms, struct state *st)
{
	int64_t stable = producers_stable(p);

	*st = (struct state){.dirty_since_ms = INT64_MAX,
			     .active_since_ms = INT64_MAX,
			     .safe_until_ms = INT64_MAX};
	for (uint32_t i = 0; i < p->segment_count; i++) {
		const struct segment *s = p->segments[i];
		uint64_t bytes = atomic_load(&s->bytes);
		bool dirty = atomic_load(&s->next_offset) > p->clean && bytes > 0;
		if (atomic_load(&s->next_offset) > stable)
			break;
		if (i + 1 < p->segment_count && dirty && is_safe(p, s, now_ms, st))
			continue;
		if (dirty && i + 1 == p->segment_count)
			st->active_since_ms = first_append_of(s);
		else if (dirty && first_append_of(s) < st->dirty_since_ms)
			st->dirty_since_ms = first_append_of(s);
		if (i + 1 == p->segment_count) {
			st->active_clean = bytes > 0 && s->base < p->clean;
			break;
		}
		if (!s->dirty && st->count == i)
			st->count++;
		if (st->count != i + 1)
			st->waiting_bytes += dirty ? bytes : 0;
		else if (dirty)
			st->dirty_bytes += bytes;
		else
			st->clean_bytes += bytes;
	}
}

static uint32_t percent(uint64_t dirty, uint64_t clean)
{
	return dirty ? (uint32_t)(dirty * 100 / (dirty + clean)) : 0;
}

struct choice {
	int64_t now_ms, due_ms;
	int64_t now_ns; /* monotonic */
	struct partition *best;
	uint32_t best_percent;
	uint64_t dirty_bytes;
	bool wants_checkpoint; /* something would be due, were it in a checkpoint */
};

static void note_due(struct choice *c, int64_t at)
{
	if (at > c->now_ms && at < c->due_ms)
		c->due_ms = at;
}

static bool is_due(const struct choice *c, const struct partition *p, const struct partition_options *o,
		   const struct state *st)
{
	uint32_t dirty = percent(st->dirty_bytes, st->clean_bytes);

	return (st->dirty_bytes && (dirty >= o->dirty_percent || p->compact_more)) ||
	       (st->dirty_bytes && later(st->dirty_since_ms, o->max_lag_ms) <= c->now_ms) ||
	       (st->count && p->tombstone_ms <= c->now_ms);
}

static bool would_be_due(const struct choice *c, const struct partition_options *o, const struct state *st)
{
	uint64_t dirty = st->dirty_bytes + st->waiting_bytes;

	return st->waiting_bytes && (percent(dirty, st->clean_bytes) >= o->dirty_percent ||
				     later(st->dirty_since_ms, o->max_lag_ms) <= c->now_ms);
}

/* The one with the largest dirty share comes first. */
static int look_at_partition(void *ctx, struct partition *p)
{
	struct choice *c = ctx;
	struct partition_options o;
	struct state st;

	(void)pthread_mutex_lock(&p->lock);
	o = p->options;
	if (o.compact)
		look_at(p, c->now_ms, &st);
	(void)pthread_mutex_unlock(&p->lock);
	if (!o.compact || atomic_load(&p->dropped))
		return 0;
	c->dirty_bytes += st.dirty_bytes + st.waiting_bytes;
	if (p->retry_ns > c->now_ns) {
		note_due(c, c->now_ms + (p->retry_ns - c->now_ns) / 1000000 + 1);
		return 0;
	}
	note_due(c, later(st.dirty_since_ms, o.max_lag_ms));
	note_due(c, later(st.active_since_ms, o.max_lag_ms));
	note_due(c, st.safe_until_ms);
	note_due(c, p->tombstone_ms);
	if (later(st.active_since_ms, o.max_lag_ms) <= c->now_ms ||
	    (st.active_clean && p->tombstone_ms <= c->now_ms)) {
		if (mover_roll(p) == 0)
			c->wants_checkpoint = true;
	} else if (would_be_due(c, &o, &st)) {
		c->wants_checkpoint = true;
	}
	if (is_due(c, p, &o, &st) &&
	    (!c->best || percent(st.dirty_bytes, st.clean_bytes) > c->best_percent)) {
		c->best = p;
		c->best_percent = percent(st.dirty_bytes, st.clean_bytes);
	}
	return 0;
}

/* ---- a pass ---- */

static void free_pass(struct compaction *c)
{
	rewrite_free(c->rewrite);
	segment_scan_close(c->scan);
	offset_map_free(c->map);
	codec_free(c->codec);
	buf_fini(&c->plain);
	buf_fini(&c->rebuilt);
	buf_fini(&c->packing);
	for (uint32_t i = 0; i < c->count; i++)
		segment_unref(c->segments[i]);
	mem_free(c->segments);
	mem_free(c);
}

void compact_forget(struct log *l, const struct partition *p)
{
	if (!l->compaction || (p && l->compaction->partition != p))
		return;
	free_pass(l->compaction);
	l->compaction = NULL;
}

/* Shares what can be compacted now. */
static int take_segments(struct compaction *c)
{
	struct partition *p = c->partition;
	struct state st;
	int rc = 0;

	(void)pthread_mutex_lock(&p->lock);
	c->options = p->options;
	look_at(p, c->now_ms, &st);
	c->segments = mem_alloc((st.count + 1) * sizeof(struct segment *));
	if (!c->segments)
		rc = ERR_NOMEM;
	for (uint32_t i = 0; rc == 0 && i < st.count; i++)
		c->segments[c->count++] = segment_ref(p->segments[i]);
	(void)pthread_mutex_unlock(&p->lock);
	return rc;
}

/* Records of the dirty part, at most: an offset each. */
static int make_map(struct log *l, struct compaction *c)
{
	uint64_t keys = c->to > c->from ? (uint64_t)(c->to - c->from) : 0;
	struct hash_key secret;

	if (l->sys->ops->random(l->sys->self, &secret, sizeof(secret)))
		return ERR_IO;
	return offset_map_new(&secret, keys, l->options.compaction_bytes_max, &c->map);
}

static int begin_pass(struct log *l, struct partition *p, int64_t now_ms)
{
	struct compaction *c = mem_zalloc(1, sizeof(*c));
	int rc;

	if (!c)
		return ERR_NOMEM;
	c->partition = p;
	c->now_ms = now_ms;
	c->tombstone_ms = INT64_MAX;
	buf_init(&c->plain, BATCH_PLAIN_BYTES_MAX);
	buf_init(&c->rebuilt, BATCH_PLAIN_BYTES_MAX * 2);
	buf_init(&c->packing, BATCH_PLAIN_BYTES_MAX * 2);
	rc = take_segments(c);
	if (rc == 0 && c->count == 0)
		rc = ERR_CANCELLED;
	if (rc == 0) {
		c->settled = p->settled;
		c->from = p->clean > c->segments[0]->base ? p->clean : c->segments[0]->base;
		c->to = atomic_load(&c->segments[c->count - 1]->next_offset);
		if (c->to < c->from)
			c->to = c->from;
		rc = make_map(l, c);
	}
	if (rc) {
		free_pass(c);
		return rc;
	}
	l->compaction = c;
	return 0;
}

/* ---- mapping ---- */

/*
 * Begins to walk a batch, compressed or not. 0, 1: it cannot be read, so it stays as it is and what it
 * holds is not known, ERR_NOMEM.
 */
static int start_walk(struct compaction *c, const struct batch_head *head, struct slice batch,
		      struct batch_walk *walk)
{
	struct slice plain = batch;
	int rc = 0;

	if (batch_codec(head) != BATCH_PLAIN) {
		rc = c->codec ? 0 : codec_new(&c->codec);
		if (rc == 0)
			rc = batch_inflate(c->codec, batch, &c->plain, &plain);
		if (rc && buf_status(&c->plain) == ERR_LIMIT)
			rc = ERR_LIMIT;
	}
	if (rc == ERR_NOMEM)
		return rc;
	if (rc || batch_walk_start(walk, plain)) {
		c->keep_tombstones = true;
		return 1;
	}
	return 0;
}

/* 0, 1: the map is full, ERR_*. */
static int map_batch(struct compaction *c, const struct batch_head *head, struct slice batch)
{
	struct batch_walk walk;
	struct batch_record r;
	int rc;

	if (batch_is_empty(head) || batch_last_offset(head) < c->from || partition_hides(c->partition, head))
		return 0;
	rc = start_walk(c, head, batch, &walk);
	if (rc)
		return rc < 0 ? rc : 0;
	while (rc == 0 && (rc = batch_walk_next(&walk, &r)) == 1) {
		rc = 0;
		if (!r.key.ptr || r.offset < c->from || offset_map_put(c->map, r.key, r.offset))
			continue;
		c->to = r.offset;
		c->cut = true;
		return 1;
	}
	return rc ? ERR_CORRUPT : 0;
}

/* What cannot be read stays as it is; the pass goes on behind it. */
static void leave_damaged(struct compaction *c, struct segment *s)
{
	s->damaged = true;
	c->keep_tombstones = true;
	segment_scan_close(c->scan);
	c->scan = NULL;
	c->at++;
}

static int map_segment(struct compaction *c, struct segment *s, uint64_t *bytes)
{
	struct batch_head head;
	struct slice batch;
	int rc = c->scan ? 0 : segment_scan_open(s, &c->scan);

	while (rc == 0 && *bytes < MAP_PIECE_BYTES) {
		rc = segment_scan_next(c->scan, &head, &batch);
		if (rc)
			break;
		*bytes += head.bytes;
		rc = map_batch(c, &head, batch);
	}
	return rc;
}

static void end_mapping(struct compaction *c)
{
	segment_scan_close(c->scan);
	c->scan = NULL;
	c->mapped = true;
	c->at = 0;
	while (c->count && c->segments[c->count - 1]->base >= c->to)
		segment_unref(c->segments[--c->count]);
}

static int map_some(struct compaction *c, uint64_t *bytes)
{
	struct segment *s;
	int rc;

	while (c->at < c->count && atomic_load(&c->segments[c->at]->next_offset) <= c->from)
		c->at++;
	if (c->at == c->count) {
		end_mapping(c);
		return 0;
	}
	s = c->segments[c->at];
	rc = map_segment(c, s, bytes);
	if (rc == ERR_CORRUPT) {
		leave_damaged(c, s);
		return 0;
	}
	if (rc < 0)
		return rc;
	if (c->cut) {
		end_mapping(c);
	} else if (rc == 1) {
		segment_scan_close(c->scan);
		c->scan = NULL;
		c->at++;
	}
	return 0;
}

/* ---- rewriting ---- */

/* What was replaced goes, and so does a tombstone whose time is over. *fresh: one whose time begins now. */
static bool is_kept(const struct compaction *c, const struct batch_head *head, const struct batch_record *r,
		    struct rewrite_counts *counts, bool *fresh)
{
	if (!r->key.ptr || r->offset >= c->to)
		return true;
	if (offset_map_find(c->map, r->key) > r->offset) {
		counts->records++;
		return false;
	}
	if (r->value.ptr)
		return true;
	if (!batch_has_horizon(head)) {
		*fresh = true;
	} else if (head->base_timestamp <= c->now_ms && !c->keep_tombstones) {
		counts->records++;
		counts->tombstones++;
		return false;
	}
	return true;
}

static void note_tombstone(struct compaction *c, int64_t until_ms)
{
	if (until_ms < c->tombstone_ms)
		c->tombstone_ms = until_ms;
}

/* What is kept, in the codec that it had. */
static int rebuild(struct compaction *c, const struct batch_head *head, struct slice batch,
		   int64_t horizon_ms, struct buf *out)
{
	bool packed = batch_codec(head) != BATCH_PLAIN;
	struct rewrite_counts counts = {0};
	struct batch_rebuild b;
	struct batch_walk walk;
	struct batch_record r;
	bool fresh;
	int rc = start_walk(c, head, batch, &walk);

	buf_clear(&c->rebuilt);
	if (rc == 0)
		rc = batch_rebuild_start(&b, packed ? &c->rebuilt : out, head, horizon_ms);
	if (rc)
		return rc < 0 ? rc : ERR_CORRUPT;
	while ((rc = batch_walk_next(&walk, &r)) == 1) {
		if (!is_kept(c, head, &r, &counts, &fresh))
			continue;
		rc = batch_rebuild_put(&b, &r);
		if (rc)
			return rc;
	}
	if (rc)
		return ERR_CORRUPT;
	batch = batch_rebuild_finish(&b);
	if (packed)
		rc = batch_recode(c->codec, batch, batch_codec(head), 0, &c->packing, out);
	return rc ? rc : REWRITE_REPLACE;
}

/*
 * What was aborted goes. A marker goes with a later pass, when nothing is left that it decides: while
 * readers are told of an aborted transaction its marker tells them where it ends.
 */
static int drop_undone(const struct compaction *c, const struct batch_head *head,
		       struct rewrite_counts *counts)
{
	if (batch_is_control(head) &&
	    (head->base_offset >= c->settled ||
	     partition_aborted(c->partition, head->base_offset, head->base_offset + 1, NULL, 0) > 0))
		return REWRITE_KEEP;
	counts->records += head->count;
	return REWRITE_DROP;
}

static int compact_batch(void *ctx, const struct batch_head *head, struct slice batch, struct buf *out,
			 struct rewrite_counts *counts)
{
	struct compaction *c = ctx;
	struct batch_walk walk;
	struct batch_record r;
	bool fresh = false, tombstones = false;
	uint32_t kept = 0;
	int64_t until_ms;
	int rc;

	if (batch_is_empty(head))
		return batch_is_lost(head) ? REWRITE_KEEP : REWRITE_DROP;
	if (partition_hides(c->partition, head))
		return drop_undone(c, head, counts);
	rc = start_walk(c, head, batch, &walk);
	if (rc)
		return rc < 0 ? rc : REWRITE_KEEP;
	while (rc == 0 && (rc = batch_walk_next(&walk, &r)) == 1) {
		bool keeps = is_kept(c, head, &r, counts, &fresh);
		kept += keeps;
		tombstones |= keeps && r.key.ptr && !r.value.ptr;
		rc = 0;
	}
	if (rc)
		return ERR_CORRUPT;
	if (kept == 0)
		return REWRITE_DROP;
	until_ms = fresh ? c->now_ms + c->options.tombstone_ms : -1;
	if (fresh)
		note_tombstone(c, until_ms);
	else if (tombstones && batch_has_horizon(head))
		note_tombstone(c, head->base_timestamp);
	return kept == head->count && !fresh ? REWRITE_KEEP : rebuild(c, head, batch, until_ms, out);
}

static uint64_t bytes_limit(const struct log *l, const struct compaction *c)
{
	return c->options.segment_bytes ? c->options.segment_bytes : l->options.segment_bytes;
}

/* A segment goes by its youngest record: were old ones put with young ones, retention would not get at them. */
static bool is_too_young(const struct compaction *c, const struct segment *first, const struct segment *s)
{
	int64_t apart = atomic_load(&s->last_append_ms) - atomic_load(&first->last_append_ms);

	return c->options.retention_ms >= 0 && apart > c->options.retention_ms / RETENTION_PARTS;
}

/* How many segments from c->at on may become one; those that are damaged none. */
static uint32_t choose_group(const struct compaction *c)
{
	const struct segment *first = c->segments[c->at];
	uint32_t n = 0;

	while (c->at + n < c->count && n < GROUP_SEGMENTS_MAX) {
		const struct segment *s = c->segments[c->at + n];
		if (s->damaged || (n && (is_too_young(c, first, s) ||
					 atomic_load(&s->next_offset) - first->base > INT32_MAX)))
			break;
		n++;
	}
	return n;
}

static bool has_horizon_or_dirt(const struct compaction *c)
{
	return offset_map_count(c->map) > 0 || c->partition->tombstone_ms <= c->now_ms;
}

/* 0, 1: nothing is left to rewrite, ERR_*. */
static int begin_group(struct log *l, struct compaction *c)
{
	uint64_t limit = bytes_limit(l, c), room;
	uint32_t group = 0;

	if (!has_horizon_or_dirt(c)) {
		c->tombstone_ms = c->partition->tombstone_ms;
		return 1;
	}
	while (c->at < c->count && (group = choose_group(c)) == 0) {
		c->keep_tombstones = true;
		c->at++;
	}
	if (c->at == c->count)
		return 1;
	room = atomic_load(&c->segments[c->at]->bytes);
	for (uint32_t i = 1; i < group && room < limit; i++)
		room += atomic_load(&c->segments[c->at + i]->bytes);
	if (atomic_load(&l->room) < (int64_t)room)
		return ERR_DISK_FULL;
	return rewrite_new(c->partition, c->segments + c->at, group, limit, compact_batch, c, &c->rewrite);
}

static void end_group(struct log *l, struct compaction *c)
{
	struct rewrite_result r;

	rewrite_result(c->rewrite, &r);
	rewrite_free(c->rewrite);
	c->rewrite = NULL;
	c->at += r.sources;
	c->removed += r.counts.records;
	c->tombstones += r.counts.tombstones;
	c->bytes_before += r.bytes_before;
	c->bytes_after += r.bytes_after;
	atomic_fetch_add(&l->counts.rewrite_read_bytes, r.bytes_before);
	atomic_fetch_add(&l->counts.compacted_records, r.counts.records - r.counts.tombstones);
	atomic_fetch_add(&l->counts.compacted_tombstones, r.counts.tombstones);
	if (!r.changed)
		return;
	atomic_fetch_add(&l->counts.rewritten_segments, 1);
	atomic_fetch_add(&l->counts.rewrite_written_bytes, r.bytes_after);
}

/* 0, 1: the pass is done, ERR_*. */
static int rewrite_more(struct log *l, struct compaction *c, uint64_t *bytes)
{
	int rc;

	if (!c->rewrite) {
		rc = begin_group(l, c);
		if (rc)
			return rc;
	}
	rc = rewrite_step(c->rewrite, bytes);
	if (rc == ERR_CORRUPT) { /* its source is marked, and left out when the group is chosen again */
		c->keep_tombstones = true;
		rewrite_free(c->rewrite);
		c->rewrite = NULL;
		return 0;
	}
	if (rc == 0)
		end_group(l, c);
	return rc < 0 ? rc : 0;
}

static void end_pass(struct log *l, struct compaction *c)
{
	struct partition *p = c->partition;
	char id[37];

	(void)pthread_mutex_lock(&p->lock);
	if (c->to > p->clean)
		p->clean = c->to;
	/* Where a segment is damaged and stays as it is, what was aborted is still in it. */
	if (!c->keep_tombstones)
		p->settled = p->clean;
	(void)pthread_mutex_unlock(&p->lock);
	/* Where something cannot be read none will ever be due. */
	p->tombstone_ms = c->keep_tombstones ? INT64_MAX : c->tombstone_ms;
	p->compact_more = c->cut;
	atomic_fetch_add(&l->counts.compactions, 1);
	topic_id_text(&p->topic, id);
	core_say(
		l, c->removed ? LOG_INFO : LOG_DEBUG, "compacted",
		"topics/%s/%u up to offset %lld: %llu records went, %llu tombstones among them; %llu bytes became %llu",
		id, p->number, (long long)c->to, (unsigned long long)c->removed,
		(unsigned long long)c->tombstones, (unsigned long long)c->bytes_before,
		(unsigned long long)c->bytes_after);
	compact_forget(l, p);
}

/* ---- a step ---- */

static bool is_wanted(struct partition *p)
{
	bool wanted;

	(void)pthread_mutex_lock(&p->lock);
	wanted = p->options.compact && !atomic_load(&p->dropped);
	(void)pthread_mutex_unlock(&p->lock);
	return wanted;
}

static int fail(struct log *l, struct partition *p, int rc)
{
	char id[37];

	compact_forget(l, p);
	if (rc == ERR_CANCELLED) /* its segments are not what they were: anew with what they are now */
		return rc;
	p->retry_ns = sys_monotonic_ns(l->sys) + RETRY_MS * (int64_t)1000000;
	topic_id_text(&p->topic, id);
	core_say(l, LOG_WARN, "compaction_failed", "topics/%s/%u: %s; nothing is lost, it is tried again", id,
		 p->number, err_row(rc)->sentence);
	return rc;
}

/* Where nothing can be compacted now perhaps something can after a checkpoint. */
static int look_for_work(struct log *l, int64_t now_ms, int64_t *due_ms)
{
	struct choice c = {.now_ms = now_ms, .due_ms = INT64_MAX, .now_ns = sys_monotonic_ns(l->sys)};
	int rc = partitions_each(l, look_at_partition, &c);

	atomic_store(&l->counts.dirty_bytes, c.dirty_bytes);
	*due_ms = c.due_ms;
	if (rc)
		return rc;
	if (c.best) {
		rc = begin_pass(l, c.best, now_ms);
		if (rc == 0)
			return 1;
		*due_ms = now_ms + RETRY_MS;
		return fail(l, c.best, rc);
	}
	if (!c.wants_checkpoint)
		return 0;
	return maintain_ask_checkpoint(l, due_ms);
}

int compact_step(struct log *l, uint64_t *bytes, int64_t *due_ms)
{
	int64_t now_ms = log_now_ms(l);
	struct compaction *c = l->compaction;
	int rc;

	*bytes = 0;
	*due_ms = INT64_MAX;
	if (!c)
		return look_for_work(l, now_ms, due_ms);
	if (!is_wanted(c->partition)) {
		compact_forget(l, NULL);
		return 1;
	}
	rc = c->mapped ? rewrite_more(l, c, bytes) : map_some(c, bytes);
	if (rc == 1)
		end_pass(l, c);
	if (rc >= 0)
		return 1;
	*due_ms = rc == ERR_CANCELLED ? now_ms : now_ms + RETRY_MS;
	return fail(l, c->partition, rc);
}
