/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	looking ──first change──► writing ──all sources read──► synced ──► in its place
 *	   └──────────nothing to change: done, nothing was written──────────►
 *
 * A source that will stay alone is looked through before anything is written, so that one in
 * which nothing is to be done costs a read and no write. Behind each source the next one is taken
 * along if it fits even where nothing of it goes.
 *
 * The new segment is an ordinary one that nobody knows yet: it is appended to, indexed and
 * sealed as the mover does. It is synced here and not in the checkpoint: a failure then costs
 * the rewrite and not the process, and ingest does not wait behind it.
 */
#include "log/rewrite.h"

#include <errno.h>

#include "base/check.h"
#include "base/mem.h"

#define REWRITE_PIECE_BYTES (256u << 10)
#define OUT_BYTES_MAX ((size_t)3 << 30)
#define PIECES_MAX 256u

/* A batch in `out` that is not written yet; where it is in memory changes while `out` grows. */
struct waiting {
	size_t at, bytes;
	int64_t base, last, max_timestamp;
};

struct rewrite {
	struct partition *partition;
	struct segment **sources; /* shared */
	uint32_t count, at;       /* the one that is being read */
	uint64_t bytes_max;
	rewrite_fn *fn;
	void *ctx;
	struct segment_scan *scan; /* of sources[at]; NULL: not begun */
	bool writing;
	struct segment *target; /* NULL: nothing was written yet */
	struct buf out;
	struct waiting waiting[PIECES_MAX];
	uint32_t waiting_count;
	int64_t empty_base, empty_last,
		empty_timestamp; /* offsets without records that wait for what follows; base -1: none */
	uint64_t bytes;          /* of this piece, read and written */
	struct rewrite_result result;
};

/* Whether the next source may go into the same file, behind `bytes`. */
static bool takes_next(const struct rewrite *rw, uint64_t bytes)
{
	return rw->at + 1 < rw->count &&
	       bytes + atomic_load(&rw->sources[rw->at + 1]->bytes) <= rw->bytes_max;
}

int rewrite_new(struct partition *p, struct segment *const *sources, uint32_t count, uint64_t bytes_max,
		rewrite_fn *fn, void *ctx, struct rewrite **out)
{
	struct rewrite *rw = mem_zalloc(1, sizeof(*rw));

	CHECK(count > 0);
	if (!rw)
		return ERR_NOMEM;
	rw->sources = mem_alloc(count * sizeof(struct segment *));
	if (!rw->sources) {
		mem_free(rw);
		return ERR_NOMEM;
	}
	rw->partition = p;
	rw->count = count;
	rw->fn = fn;
	rw->ctx = ctx;
	rw->bytes_max = bytes_max;
	rw->empty_base = -1;
	buf_init(&rw->out, OUT_BYTES_MAX);
	for (uint32_t i = 0; i < count; i++)
		rw->sources[i] = segment_ref(sources[i]);
	rw->writing = takes_next(rw, atomic_load(&sources[0]->bytes));
	*out = rw;
	return 0;
}

void rewrite_free(struct rewrite *rw)
{
	if (!rw)
		return;
	segment_scan_close(rw->scan);
	if (rw->target && !rw->result.changed)
		rw->partition->log->litter |= !segment_unlink(rw->target);
	segment_unref(rw->target);
	for (uint32_t i = 0; i < rw->count; i++)
		segment_unref(rw->sources[i]);
	buf_fini(&rw->out);
	mem_free(rw->sources);
	mem_free(rw);
}

void rewrite_result(const struct rewrite *rw, struct rewrite_result *out)
{
	*out = rw->result;
}

/* ---- writing ---- */

static int make_target(struct rewrite *rw)
{
	const struct segment *first = rw->sources[0];
	int rc = segment_new(&first->place, first->base, &rw->target);

	if (rc)
		return rc;
	rw->target->revision = first->revision + 1;
	atomic_store(&rw->target->first_append_ms, atomic_load(&first->first_append_ms));
	return 0;
}

static int error_of(int rc)
{
	return rc == -ENOSPC || rc == -EDQUOT ? ERR_DISK_FULL : rc == -ENOMEM ? ERR_NOMEM : ERR_IO;
}

static int flush(struct rewrite *rw)
{
	struct segment_piece pieces[PIECES_MAX];
	struct segment_load load = {.pieces = pieces, .count = rw->waiting_count};
	uint64_t before;
	int rc = 0;

	if (rw->waiting_count == 0)
		return 0;
	if (!rw->target)
		rc = make_target(rw);
	if (rc)
		return rc;
	before = atomic_load(&rw->target->bytes);
	for (uint32_t i = 0; i < rw->waiting_count; i++) {
		const struct waiting *w = &rw->waiting[i];
		pieces[i] = (struct segment_piece){.bytes = slice_make(rw->out.ptr + w->at, w->bytes),
						   .base_offset = w->base,
						   .last_offset = w->last,
						   .max_timestamp = w->max_timestamp};
	}
	rc = segment_append(rw->target, &load, atomic_load(&rw->target->last_append_ms));
	if (rc)
		return error_of(rc);
	segment_write_back(rw->target, before, rw->out.len);
	rw->bytes += rw->out.len;
	rw->waiting_count = 0;
	buf_clear(&rw->out);
	return 0;
}

/* What stands in `out` from `at` on is a batch that waits to be written. */
static int add_waiting(struct rewrite *rw, size_t at, const struct batch_head *head, int64_t max_timestamp)
{
	CHECK(rw->out.len - at == head->bytes);
	rw->waiting[rw->waiting_count++] = (struct waiting){.at = at,
							    .bytes = head->bytes,
							    .base = head->base_offset,
							    .last = batch_last_offset(head),
							    .max_timestamp = max_timestamp};
	return rw->waiting_count == PIECES_MAX ? flush(rw) : 0;
}

/* Offsets that lost their records since the last batch that kept some: one batch stands for all of them. */
static int put_empty(struct rewrite *rw)
{
	uint8_t bytes[BATCH_HEAD_BYTES];
	struct batch_head head;
	size_t at = rw->out.len;

	if (rw->empty_base < 0)
		return 0;
	(void)batch_put_empty(bytes, rw->empty_base, rw->empty_last, 0, rw->empty_timestamp);
	rw->empty_base = -1;
	if (buf_append(&rw->out, bytes, sizeof(bytes)))
		return buf_status(&rw->out);
	CHECK(batch_head_read(slice_make(bytes, sizeof(bytes)), &head) == 0);
	return add_waiting(rw, at, &head, -1);
}

static void note_empty(struct rewrite *rw, const struct batch_head *head)
{
	if (rw->empty_base < 0) {
		rw->empty_base = head->base_offset;
		rw->empty_timestamp = head->max_timestamp;
	}
	if (head->max_timestamp > rw->empty_timestamp)
		rw->empty_timestamp = head->max_timestamp;
	rw->empty_last = batch_last_offset(head);
}

static int put_kept(struct rewrite *rw, const struct batch_head *head, struct slice batch)
{
	size_t at;
	int rc = put_empty(rw);

	at = rw->out.len;
	if (rc || buf_append_slice(&rw->out, batch))
		return rc ? rc : buf_status(&rw->out);
	return add_waiting(rw, at, head, batch_is_empty(head) ? -1 : head->max_timestamp);
}

/*
 * The new batch stands in a buffer of its own, since what waits before it may
 * have to be written first.
 */
static int put_replaced(struct rewrite *rw, struct buf *fresh)
{
	struct batch_head head;

	CHECK(batch_check(buf_slice(fresh), &head) == 0 && head.bytes == fresh->len);
	return put_kept(rw, &head, buf_slice(fresh));
}

/* ---- a batch ---- */

/* 0, or 1: the first change, which is to be met again with writing on. */
static int take_batch(struct rewrite *rw, const struct batch_head *head, struct slice batch)
{
	struct rewrite_counts counts = {0};
	struct buf fresh;
	int verdict, rc = 0;

	buf_init(&fresh, OUT_BYTES_MAX);
	verdict = rw->fn(rw->ctx, head, batch, &fresh, &counts);
	if (verdict < 0) {
		rc = verdict;
	} else if (!rw->writing) {
		/* Alone in its file, offsets without records stay as they are. */
		rc = verdict != REWRITE_KEEP && !batch_is_empty(head);
	} else {
		rw->result.counts.records += counts.records;
		rw->result.counts.tombstones += counts.tombstones;
		if (verdict == REWRITE_DROP)
			note_empty(rw, head);
		else if (verdict == REWRITE_REPLACE)
			rc = put_replaced(rw, &fresh);
		else
			rc = put_kept(rw, head, batch);
	}
	buf_fini(&fresh);
	return rc;
}

static void begin_again(struct rewrite *rw)
{
	segment_scan_close(rw->scan);
	rw->scan = NULL;
	rw->at = 0;
	rw->writing = true;
}

/* Lets go of the sources behind the one that was read to its end, unless the next one goes into the same file. */
static bool ends_here(struct rewrite *rw)
{
	uint64_t written =
		(rw->target ? atomic_load(&rw->target->bytes) : 0) + rw->out.len + BATCH_HEAD_BYTES;

	segment_scan_close(rw->scan);
	rw->scan = NULL;
	/* What has shrunk to little takes another along even where nothing of that one may go. */
	if (rw->writing && rw->at + 1 < rw->count &&
	    (takes_next(rw, written) || written <= rw->bytes_max / 4)) {
		rw->at++;
		return false;
	}
	while (rw->count > rw->at + 1)
		segment_unref(rw->sources[--rw->count]);
	return true;
}

/* The next batch of the sources: 0, 1 at the end, ERR_*. */
static int next_batch(struct rewrite *rw, struct batch_head *head, struct slice *batch)
{
	int rc;

	do {
		rc = rw->scan ? 0 : segment_scan_open(rw->sources[rw->at], &rw->scan);
		if (rc)
			return rc;
		rc = segment_scan_next(rw->scan, head, batch);
		if (rc != 1)
			return rc;
	} while (!ends_here(rw));
	return 1;
}

/* ---- the end ---- */

static int sync_target(struct rewrite *rw)
{
	struct segment *t = rw->target;
	const struct segment *last = rw->sources[rw->count - 1];
	int64_t appended_ms = 0;
	int rc;

	for (uint32_t i = 0; i < rw->count; i++)
		if (atomic_load(&rw->sources[i]->last_append_ms) > appended_ms)
			appended_ms = atomic_load(&rw->sources[i]->last_append_ms);
	atomic_store(&t->last_append_ms, appended_ms);
	t->packed = true;
	for (uint32_t i = 0; i < rw->count; i++)
		t->packed = t->packed && rw->sources[i]->packed;
	CHECK(t->base == rw->sources[0]->base &&
	      atomic_load(&t->next_offset) == atomic_load(&last->next_offset));
	rc = segment_sync(t);
	if (rc == 0)
		rc = segment_sync_directories(t);
	if (rc)
		return error_of(rc);
	segment_seal(t);
	t->created = false; /* nothing is left for the checkpoint to sync */
	return 0;
}

/* Where the sources stand in the list, all of them and next to one another; UINT32_MAX: they do not. Under the lock. */
static uint32_t find_sources(const struct rewrite *rw)
{
	const struct partition *p = rw->partition;
	uint32_t first = 0;

	while (first < p->segment_count && p->segments[first] != rw->sources[0])
		first++;
	if (first + rw->count >= p->segment_count) /* the last one is never rewritten */
		return UINT32_MAX;
	for (uint32_t i = 0; i < rw->count; i++)
		if (p->segments[first + i] != rw->sources[i])
			return UINT32_MAX;
	return first;
}

/* The sources wait, as what retention took off does, for a checkpoint that does not name them. */
static int take_place(struct rewrite *rw)
{
	struct partition *p = rw->partition;
	struct log *l = p->log;
	uint32_t first, behind;

	if (checkpoint_reserve_expired(l, rw->count))
		return ERR_NOMEM;
	(void)pthread_mutex_lock(&p->lock);
	first = atomic_load(&p->dropped) ? UINT32_MAX : find_sources(rw);
	if (first != UINT32_MAX) {
		for (uint32_t i = 0; i < rw->count; i++) {
			l->expired[l->expired_count++] = p->segments[first + i];
			l->replaced_bytes += atomic_load(&p->segments[first + i]->bytes);
			atomic_store(&p->segments[first + i]->replaced, true);
		}
		p->segments[first] = segment_ref(rw->target);
		behind = p->segment_count - first - rw->count;
		memmove(p->segments + first + 1, p->segments + first + rw->count,
			behind * sizeof(struct segment *));
		p->segment_count -= rw->count - 1;
	}
	(void)pthread_mutex_unlock(&p->lock);
	if (first == UINT32_MAX)
		return ERR_CANCELLED;
	rw->result.changed = true;
	rw->result.out = rw->target;
	rw->result.bytes_after = atomic_load(&rw->target->bytes);
	return 0;
}

static int finish(struct rewrite *rw)
{
	int rc;

	rw->result.sources = rw->count;
	for (uint32_t i = 0; i < rw->count; i++)
		rw->result.bytes_before += atomic_load(&rw->sources[i]->bytes);
	if (!rw->writing) {
		rw->result.bytes_after = rw->result.bytes_before;
		rw->result.out = rw->sources[0];
		return 0;
	}
	rc = put_empty(rw);
	if (rc == 0)
		rc = flush(rw);
	if (rc == 0)
		rc = sync_target(rw);
	return rc ? rc : take_place(rw);
}

int rewrite_step(struct rewrite *rw, uint64_t *bytes)
{
	bool end;
	int rc = 0;

	rw->bytes = 0;
	while (rc == 0 && rw->bytes < REWRITE_PIECE_BYTES) {
		struct batch_head head;
		struct slice batch;
		rc = next_batch(rw, &head, &batch);
		if (rc)
			break;
		rw->bytes += head.bytes;
		rc = take_batch(rw, &head, batch);
		if (rc == 1) {
			begin_again(rw);
			rc = 0;
		}
	}
	end = rc == 1;
	if (rc == 0)
		rc = flush(rw);
	else if (end)
		rc = finish(rw);
	if (rc == ERR_CORRUPT)
		rw->sources[rw->at]->damaged = true;
	*bytes = rw->bytes;
	return rc < 0 ? rc : !end;
}
