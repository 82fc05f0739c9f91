/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three ways from a batch to the socket:
 *
 *   whole    one partition, no key: a run of records is one contiguous piece of
 *            the blob that all subscribers share, handed over as it is
 *   picked   a key: the wanted records are copied out of the shared blob
 *   put      several partitions: each record with this reader's own cursor
 *
 * A turn of the loop gives a stream at most its credit, so that one that catches
 * up does not keep the others of its loop waiting.
 *
 * Rejected: a queue of blobs per subscriber. The log is the queue; a second one
 * would have to be bounded, and a subscriber dropped, where this one just reads later.
 */
#include "serve/stream/pump.h"

#include "base/check.h"
#include "json/json_write.h"
#include "proto/batch/batch.h"
#include "serve/record/record_json.h"

#define VIEW_BYTES_MAX (256u << 10)
#define OUT_BYTES_KEPT (1u << 20)
#define SCAN_BYTES_TURN (256u << 10) /* looked through for a key */

void pump_bufs_init(struct pump_bufs *bufs)
{
	buf_init(&bufs->out, RECORD_JSON_BYTES_MAX + VIEW_BYTES_MAX);
	buf_init(&bufs->cursor, CURSOR_TEXT_MAX * 2);
	buf_init(&bufs->json, 16384);
}

void pump_bufs_fini(struct pump_bufs *bufs)
{
	buf_fini(&bufs->out);
	buf_fini(&bufs->cursor);
	buf_fini(&bufs->json);
}

static void reset_out(struct pump *p)
{
	if (p->bufs->out.cap > OUT_BYTES_KEPT)
		buf_fini(&p->bufs->out);
	buf_clear(&p->bufs->out);
}

void pump_start(struct pump *p, const struct pump *with)
{
	*p = *with;
	metric_move(p->al->shard, METRIC_READERS, p->kind->way, 1);
}

static void set_blocked(struct pump *p, bool blocked)
{
	if (p->blocked != blocked)
		metric_move(p->al->shard, METRIC_READER_BLOCKED, p->kind->way, blocked ? 1 : -1);
	p->blocked = blocked;
}

void pump_stop(struct pump *p)
{
	if (!p->reader)
		return;
	set_blocked(p, false);
	metric_move(p->al->shard, METRIC_READERS, p->kind->way, -1);
	reader_close(p->reader);
	p->reader = NULL;
}

/* ---- gaps ---- */

static int give_gap(struct pump *p, const struct reader_view *view, int64_t from, int64_t to)
{
	struct pump_bufs *b = p->bufs;
	int rc;

	buf_clear(&b->json);
	json_put_open(&b->json, '{');
	json_put_name(&b->json, "gap");
	json_put_open(&b->json, '{');
	if (p->names_topic)
		json_put_member_string(&b->json, "topic", slice_str(view->topic->name));
	json_put_member_u64(&b->json, "partition", view->number);
	json_put_member_i64(&b->json, "from", from);
	json_put_member_i64(&b->json, "to", to);
	json_put_close(&b->json, '}');
	json_put_close(&b->json, '}');
	buf_clear(&b->cursor);
	rc = reader_cursor(p->reader, &b->cursor);
	reset_out(p);
	if (rc == 0)
		rc = buf_status(&b->json);
	if (rc == 0)
		rc = p->kind->put_gap(&b->out, buf_slice(&b->json), buf_slice(&b->cursor));
	if (rc == 0)
		metric_add(p->al->shard, METRIC_READER_GAPS, p->kind->way, 1);
	/* The reader stands behind the gap: what cannot be told now would never be. */
	return rc || p->kind->write(p->ctx, buf_slice(&b->out)) ? ERR_CANCELLED : 0;
}

/* ---- records ---- */

static void count_given(struct pump *p, uint32_t records, size_t bytes)
{
	metric_add(p->al->shard, METRIC_DELIVERED_RECORDS, p->kind->way, records);
	metric_add(p->al->shard, METRIC_DELIVERED_BYTES, p->kind->way, bytes);
}

/*
 * Of what was not there when the reader was last at the end, each record counts
 * with the time since the oldest commit of its group entered: on one clock, so
 * never negative, and never too short by more than this turn has lasted.
 */
static void observe_waited(struct pump *p, const struct reader_view *view, uint32_t records)
{
	app_observe_delivery(p->al, p->kind->way, p->waited ? view->entered_ns : 0, records);
}

static int give_run(struct pump *p, const struct reader_view *view, const struct encoded *e, uint32_t first,
		    size_t room, uint32_t *count)
{
	struct slice run;

	*count = encoded_fit(e, first, room);
	if (*count == 0)
		return 0;
	run = encoded_run(e, first, *count);
	count_given(p, *count, run.len);
	observe_waited(p, view, *count);
	return p->kind->write_blob(p->ctx, e->blob, run) ? ERR_CANCELLED : 0;
}

static int put_one(struct pump *p, const struct encoded *e, uint32_t i, bool whole)
{
	struct pump_bufs *b = p->bufs;
	int rc;

	if (whole)
		return buf_append_slice(&b->out, encoded_run(e, i, 1));
	buf_clear(&b->cursor);
	rc = reader_cursor_at(p->reader, encoded_offset(e, i) + 1, &b->cursor);
	if (rc)
		return rc;
	return p->kind->put(&b->out, e->form == ENCODE_JSON ? encoded_open(e, i) : encoded_run(e, i, 1),
			    buf_slice(&b->cursor));
}

/* Picks and puts, record by record. *count: how many were looked at. */
static int give_each(struct pump *p, const struct reader_view *view, const struct encoded *e, uint32_t first,
		     size_t room, uint32_t *count)
{
	struct encode_filter filter;
	bool whole = e->form == p->kind->whole;
	bool filters = reader_filters(p->reader);
	uint32_t given = 0, i;
	int rc = filters ? encode_filter_start(&filter, p->al->cache, p->reader, view) : 0;

	reset_out(p);
	for (i = first; rc == 0 && i < e->count; i++) {
		if (filters && !encode_filter_wants(&filter, encoded_offset(e, i)))
			continue;
		if (p->bufs->out.len >= room)
			break;
		rc = put_one(p, e, i, whole);
		given += rc == 0;
	}
	*count = i - first;
	if (rc || given == 0)
		return rc;
	count_given(p, given, p->bufs->out.len);
	observe_waited(p, view, given);
	return p->kind->write(p->ctx, buf_slice(&p->bufs->out)) ? ERR_CANCELLED : 0;
}

/* The batch at the front. *all: it was given to its end. */
static int give_batch(struct pump *p, const struct reader_view *view, const struct encoded *e, bool *all)
{
	uint32_t first = encoded_find(e, view->from), count = 0;
	size_t room = p->kind->room(p->ctx);
	int rc = 0;

	*all = false;
	if (room == 0)
		return 0;
	if (first < e->count && e->form == p->kind->whole && !reader_filters(p->reader))
		rc = give_run(p, view, e, first, room, &count);
	else if (first < e->count)
		rc = give_each(p, view, e, first, room, &count);
	if (rc)
		return rc;
	*all = first + count >= e->count;
	reader_consumed(p->reader, *all ? e->next : encoded_offset(e, first + count - 1) + 1);
	if (*all && e->broken)
		rc = give_gap(p, view, view->from > e->base ? view->from : e->base, e->next);
	return rc;
}

static int encode_front(struct pump *p, const struct reader_view *view, struct encoded *e)
{
	bool whole = p->kind->part == p->kind->whole || reader_single(p->reader);
	int rc = encode_cache_get(p->al->cache, view, whole ? p->kind->whole : p->kind->part, e);

	if (rc == 0 && e->made)
		metric_add(p->al->shard, METRIC_ENCODED_RECORDS, p->kind->way, e->count);
	return rc;
}

/* As it is in the log, compressed or not. */
static uint32_t bytes_of_front(const struct reader_view *view)
{
	struct batch_head head;

	return batch_head_read(view->batches, &head) ? 0 : head.bytes;
}

/* Of a batch without records, or in which the key does not occur, its size; 0 where it may, or where it cannot be told. */
static uint32_t nothing_wanted(const struct pump *p, const struct reader_view *view)
{
	struct batch_walk walk;
	struct batch_record r;
	int rc;

	if (batch_head_read(view->batches, &walk.head) ||
	    (!reader_filters(p->reader) && !batch_is_empty(&walk.head)) ||
	    unpacker_walk(encode_cache_unpacker(p->al->cache), view, &walk))
		return 0;
	while ((rc = batch_walk_next(&walk, &r)) == 1)
		if (r.offset >= view->from && reader_wants(p->reader, r.key))
			return 0;
	if (rc)
		return 0;
	reader_consumed(p->reader, batch_last_offset(&walk.head) + 1);
	return bytes_of_front(view);
}

/* What is inflated uses no credit either where nothing of it is given; it is quicker than looking through. */
static int give_view(struct pump *p, struct reader_view *view, size_t *scanned)
{
	const struct unpacker *unpacker = encode_cache_unpacker(p->al->cache);
	uint64_t before = unpacker->inflated;
	bool all = true;
	int rc = 0;

	while (view->batches.len && rc == 0 && all && unpacker->inflated - before < UNPACK_BYTES_TURN) {
		struct encoded e;
		uint32_t passed = nothing_wanted(p, view);
		if (passed) {
			view->batches = slice_from(view->batches, passed);
			continue;
		}
		rc = encode_front(p, view, &e);
		if (rc)
			break;
		rc = give_batch(p, view, &e, &all);
		if (e.batch_bytes == 0)
			view->from = e.next; /* the batch goes on */
		view->batches = slice_from(view->batches, e.batch_bytes);
		encoded_release(&e);
	}
	*scanned += (size_t)(unpacker->inflated - before) / (UNPACK_BYTES_TURN / SCAN_BYTES_TURN);
	return rc;
}

static bool has_no_record(const struct reader_view *view)
{
	struct slice rest = view->batches;
	struct batch_head head;

	while (rest.len && batch_head_read(rest, &head) == 0 && batch_is_empty(&head))
		rest = slice_from(rest, head.bytes);
	return rest.len == 0;
}

static int step(struct pump *p, size_t room, size_t *scanned)
{
	struct reader_view view;
	bool empty;
	int rc = reader_next(p->reader, room < VIEW_BYTES_MAX ? room : VIEW_BYTES_MAX, &view);

	if (rc == READER_GAP)
		return give_gap(p, &view, view.from, view.next_offset);
	if (rc != READER_BATCH)
		return rc;
	empty = has_no_record(&view);
	*scanned += reader_filters(p->reader) || empty ? view.batches.len : 0;
	rc = give_view(p, &view, scanned);
	reader_view_release(&view);
	return rc;
}

static int run(struct pump *p)
{
	size_t scanned = 0;
	int rc = 0;

	while (rc == 0) {
		size_t room = p->kind->room(p->ctx);
		set_blocked(p, room == 0);
		if (room == 0) {
			p->waited = false;
			return PUMP_DONE;
		}
		/* Looking for a key, or past what compaction took, uses no credit: others of the loop have their turn all the same. */
		if (scanned >= SCAN_BYTES_TURN) {
			reader_again(p->reader);
			return PUMP_DONE;
		}
		rc = step(p, room, &scanned);
	}
	if (rc == READER_END)
		p->waited = true;
	if (rc > 0)
		return PUMP_DONE;
	return rc == ERR_OVERLOADED || rc == ERR_NOMEM ? PUMP_AGAIN : rc;
}

int pump_run(struct pump *p)
{
	int rc = run(p);

	unpacker_trim(encode_cache_unpacker(p->al->cache));
	return rc;
}

const char *pump_error_text(int err)
{
	switch (err) {
	case ERR_UNKNOWN_TOPIC:
		return "The topic was deleted";
	case ERR_TOO_MANY_PARTITIONS:
		return "The topic has grown past what a stream without a selection covers: choose partitions";
	case ERR_PARTITION_RANGE:
		return "The topic came to be with fewer partitions than were asked for";
	case ERR_CURSOR_AHEAD:
		return "The position is past the end of the log";
	default:
		return err_row(err)->sentence;
	}
}
