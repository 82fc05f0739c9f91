/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fetch goes over its parts in order and gathers views until the limits are
 * reached. What the page cache does not hold is read by the log's pool, for
 * several parts at once; room is set aside for each such read, so that it does not matter
 * which of them comes first. Where that gives less than the minimum, everything is let go again
 * (a view keeps a whole group in memory), the fetch is hung on its watches and only
 * remembers how much there was. When a partition moves, what is new in it is counted, not read
 * again; once it is enough it is gathered a second time, for the answer.
 *
 * The watch is taken before the partition is looked at for the last time, so that
 * nothing falls between the two. One that is answered at once takes none.
 *
 * Rejected: a list of waiters a partition in the log (a lock for each, and a
 * commit would walk them); keeping what was gathered while it waits (a thousand
 * parked fetches would keep a thousand groups); asking at every wake for all partitions.
 */
#include "deliver/fetch.h"

#include "base/check.h"
#include "base/mem.h"
#include "deliver/inner.h"
#include "log/producers.h"
#include "log/segment.h"
#include "proto/batch/batch.h"

#define READS_MAX 4u              /* of one fetch at once */
#define READ_BYTES_MAX (1u << 20) /* of one read */

enum phase {
	GATHERING, /* reads, or waits for reads */
	PARKED,    /* hangs on the watches of its parts */
	DONE,
};

enum part_state {
	PART_OPEN,    /* may have more */
	PART_HELD,    /* likewise, but the room is set aside for reads that are under way */
	PART_READING, /* a read from disk is under way for it */
	PART_SHUT,    /* gave all that there is, or that there is room for */
};

/* ---- being called ---- */

static void wake(struct fetch *f)
{
	struct hub *hub = f->options.hub;

	if (f->prev_wake)
		return;
	f->next_wake = hub->fetch_wake_first;
	if (f->next_wake)
		f->next_wake->prev_wake = &f->next_wake;
	hub->fetch_wake_first = f;
	f->prev_wake = &hub->fetch_wake_first;
}

void fetch_unwake(struct fetch *f)
{
	if (!f->prev_wake)
		return;
	*f->prev_wake = f->next_wake;
	if (f->next_wake)
		f->next_wake->prev_wake = f->prev_wake;
	f->next_wake = NULL;
	f->prev_wake = NULL;
}

static void hang(struct fetch_part *part)
{
	struct hub_watch *w = part->watch;

	part->link = w->fetches;
	if (part->link)
		part->link->prev = &part->link;
	w->fetches = part;
	part->prev = &w->fetches;
}

static void unhang(struct fetch_part *part)
{
	if (!part->prev)
		return;
	*part->prev = part->link;
	if (part->link)
		part->link->prev = part->prev;
	part->link = NULL;
	part->prev = NULL;
}

void fetch_moved(struct fetch_part *part)
{
	struct fetch *f = part->fetch;

	unhang(part);
	part->link = f->moved;
	f->moved = part;
	wake(f);
}

/* ---- reads from disk ---- */

static void take_off(struct fetch_read *r)
{
	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
}

static void free_read(struct fetch_read *r)
{
	if (r->done)
		blob_unref(r->read.view.blob);
	mem_free(r);
}

static void on_read(struct log_read *read)
{
	struct fetch_read *r = (struct fetch_read *)(void *)read;

	r->done = true;
	take_off(r);
	if (r->fetch)
		wake(r->fetch);
	else
		free_read(r);
}

void fetch_forget_reads(struct hub *hub)
{
	while (hub->reads) {
		struct fetch_read *r = hub->reads;
		hub->reads = r->next;
		blob_unref(r->read.view.blob);
		mem_free(r);
	}
}

/* Those under way belong to nobody from now on: they cannot be called back. */
static void abandon_reads(struct fetch *f)
{
	while (f->reads) {
		struct fetch_read *r = f->reads;
		f->reads = r->of_fetch;
		r->fetch = NULL;
		if (r->done)
			free_read(r);
	}
	f->read_count = 0;
	f->reserved = 0;
}

static int start_read(struct fetch *f, struct fetch_part *part, size_t bytes, size_t room)
{
	struct hub *hub = f->options.hub;
	struct fetch_read *r = mem_zalloc(1, sizeof(*r));
	int rc;

	if (!r)
		return ERR_NOMEM;
	r->hub = hub;
	r->fetch = f;
	r->part = part;
	r->read = (struct log_read){.partition = part->partition,
				    .offset = part->next,
				    .bytes_max = bytes,
				    .port = hub->options.port,
				    .on_read = on_read};
	rc = log_read_start(hub->options.log, &r->read);
	if (rc) {
		mem_free(r);
		return rc;
	}
	r->next = hub->reads;
	if (r->next)
		r->next->prev = &r->next;
	hub->reads = r;
	r->prev = &hub->reads;
	r->of_fetch = f->reads;
	f->reads = r;
	f->read_count++;
	r->reserved = room;
	f->reserved += room;
	part->state = PART_READING;
	return 0;
}

/* ---- pieces ---- */

static void drop_pieces(struct fetch_part *part)
{
	for (struct fetch_piece *piece = part->first; piece; piece = piece->next) {
		blob_unref(piece->blob);
		file_ref_release(piece->file);
	}
	part->first = part->last = NULL;
	part->bytes = 0;
}

void fetch_drop(struct fetch *f)
{
	for (uint32_t i = 0; i < f->options.part_count; i++)
		drop_pieces(&f->options.parts[i]);
	f->bytes = 0;
}

/* Takes the references. */
static int add_piece(struct fetch *f, struct fetch_part *part, const struct fetch_piece *from)
{
	struct fetch_piece *piece = arena_alloc(f->options.arena, sizeof(*piece));

	if (!piece)
		return ERR_NOMEM;
	*piece = *from;
	if (part->last)
		part->last->next = piece;
	else
		part->first = piece;
	part->last = piece;
	part->bytes += from->part.len;
	f->bytes += from->part.len;
	return 0;
}

/* ---- gathering ---- */

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static void shut(struct fetch *f, struct fetch_part *part, bool full)
{
	part->state = PART_SHUT;
	part->counted = full ? part->bytes_max : min_size(part->bytes, part->bytes_max);
	f->counted += part->counted;
}

static void fail(struct fetch *f, struct fetch_part *part, int error)
{
	part->error = error;
	shut(f, part, false);
	f->failed = true;
}

/* The first with data: those before it have none. Its first batch comes whole. */
static struct fetch_part *find_lead(struct fetch *f)
{
	for (; f->lead < f->options.part_count; f->lead++) {
		struct fetch_part *part = &f->options.parts[f->lead];
		if (part->state != PART_SHUT || part->bytes > 0 || part->cut)
			return part;
	}
	return NULL;
}

static bool is_first(struct fetch *f, const struct fetch_part *part)
{
	return part->bytes == 0 && part == find_lead(f);
}

static size_t room_of_part(const struct fetch_part *part)
{
	return part->bytes < part->bytes_max ? part->bytes_max - part->bytes : 0;
}

static size_t room_of_all(const struct fetch *f)
{
	size_t used = f->bytes + f->reserved;

	return used < f->bytes_max ? f->bytes_max - used : 0;
}

static void shut_for_room(struct fetch *f, struct fetch_part *part)
{
	bool all = room_of_all(f) <= room_of_part(part);

	if (all && f->reserved > 0) {
		part->state = PART_HELD;
		part->held = room_of_all(f);
		return;
	}
	part->cut = part->bytes == 0;
	f->full |= all;
	shut(f, part, true);
}

/* Nothing from here on is to be taken out of a view: it is not decided, or there is a file. */
static int64_t limit_of(const struct fetch *f, const struct fetch_part *part)
{
	int64_t limit = f->options.committed ? part->stable : INT64_MAX;

	return part->file_at > part->next && part->file_at < limit ? part->file_at : limit;
}

/*
 * Of a view what lies before the last stable offset (which is always between two
 * batches) and has room; where it is the first of all, one batch has room in any case.
 */
static void cut_view(const struct fetch *f, const struct fetch_part *part, struct log_view *view, size_t room,
		     bool first)
{
	int64_t limit = limit_of(f, part);
	struct slice rest = view->batches;
	struct batch_head head;
	size_t taken = 0;

	if (view->next_offset <= limit && rest.len <= room)
		return;
	view->next_offset = part->next;
	while (batch_head_read(rest, &head) == 0 && head.base_offset < limit &&
	       (taken + head.bytes <= room || (first && taken == 0))) {
		view->next_offset = batch_last_offset(&head) + 1;
		taken += head.bytes;
		rest = slice_from(rest, head.bytes);
	}
	view->batches.len = taken;
}

/*
 * The first batch of all is larger than the room that was set aside for it, and came from
 * disk after later parts had taken of the rest: those are gathered anew, with what is left. What is being
 * read for one of them may have been for the rest of its room only, and that is all it has set aside:
 * so none behind it is read before it.
 */
static void reopen_later(struct fetch *f, const struct fetch_part *lead)
{
	for (uint32_t i = f->lead; i < f->options.part_count; i++) {
		struct fetch_part *part = &f->options.parts[i];
		if (part == lead || part->error)
			continue;
		f->bytes -= part->bytes;
		f->counted -= part->counted;
		drop_pieces(part);
		part->counted = 0;
		part->cut = false;
		part->next = part->offset;
		part->again = part->pressed = part->state == PART_READING;
		if (!part->again)
			part->state = PART_OPEN;
	}
	f->full = false;
}

static bool is_decided(const struct fetch *f, const struct fetch_part *part, const struct log_view *view)
{
	struct batch_head head;

	return !f->options.committed ||
	       (batch_head_read(view->batches, &head) == 0 && head.base_offset < part->stable);
}

/* `aside` was set aside for it: no more, since parts before it may wait for the rest. */
static void take_view(struct fetch *f, struct fetch_part *part, struct log_view *view, size_t aside)
{
	size_t free_room = min_size(room_of_part(part), room_of_all(f));
	size_t room = min_size(free_room, aside);
	bool decided;

	if (view->gap.from < view->gap.to) { /* as if compacted away */
		blob_unref(view->blob);
		part->next = view->gap.to;
		return;
	}
	decided = is_decided(f, part, view);
	cut_view(f, part, view, room, is_first(f, part));
	if (view->batches.len > room && f->bytes + f->reserved > 0)
		reopen_later(f, part);
	if (view->batches.len == 0) {
		blob_unref(view->blob);
		if (!decided)
			shut(f, part, false);
		else if (room == free_room)
			shut_for_room(f, part);
	} else if (add_piece(f, part, &(struct fetch_piece){.blob = view->blob, .part = view->batches})) {
		blob_unref(view->blob);
		f->full = true;
		shut(f, part, false);
	} else {
		part->next = view->next_offset;
		if (part->end < part->next) /* more has come since it was asked */
			part->end = part->next;
	}
}

/* No read, for want of memory or of room in the queue of them: what there is must do. */
static void starve(struct fetch *f, struct fetch_part *part)
{
	if (f->bytes > 0)
		f->full = true;
	else
		f->starved = true;
	shut(f, part, false);
}

static void read_from_disk(struct fetch *f, struct fetch_part *part, size_t room)
{
	struct budget_share *share = f->options.hub->options.share;
	size_t bytes = min_size(room, READ_BYTES_MAX);

	part->pressed = f->reserved > 0 && room < room_of_part(part);
	if (share)
		bytes = min_size(bytes, budget_credit(share, READ_BYTES_MAX));
	if (start_read(f, part, bytes, room))
		starve(f, part);
}

static void settle(struct fetch *f, struct fetch_part *part, int rc, struct log_view *view, size_t room,
		   size_t aside)
{
	switch (rc) {
	case LOG_READ_OK:
		take_view(f, part, view, aside);
		break;
	case LOG_READ_END:
		shut(f, part, false);
		break;
	case LOG_READ_LARGE:
		shut_for_room(f, part);
		break;
	case LOG_READ_WAIT:
		read_from_disk(f, part, room);
		break;
	case ERR_NOMEM:
	case ERR_OVERLOADED:
		starve(f, part);
		break;
	default:
		if (part->bytes > 0)
			shut(f, part, false); /* it comes with the next one */
		else
			fail(f, part, rc);
	}
}

static bool at_limit(const struct fetch *f, const struct fetch_part *part)
{
	return part->next >= (f->options.committed ? part->stable : part->end);
}

/*
 * A range of a segment's file, sent as it is, in place of bytes read out of it: without the copy, and without another
 * look at every batch. True where there was one.
 */
static bool take_file(struct fetch *f, struct fetch_part *part, size_t room)
{
	struct segment_extent e;

	if (!f->options.files || part->next >= part->memory || part->next < part->file_at ||
	    room < BATCH_HEAD_BYTES)
		return false;
	if (log_read_file(part->partition, part->next, f->options.committed ? part->stable : part->end, room,
			  &e)) {
		part->file_at = e.next_offset;
		return false;
	}
	if (add_piece(f, part,
		      &(struct fetch_piece){.part = {.len = e.bytes}, .file = e.file, .file_at = e.at})) {
		file_ref_release(e.file);
		return false;
	}
	part->next = e.next_offset;
	return true;
}

static void read_part(struct fetch *f, struct fetch_part *part)
{
	while (part->state == PART_OPEN) {
		size_t room = min_size(room_of_part(part), room_of_all(f));
		struct log_view view;
		if (at_limit(f, part)) {
			shut(f, part, false);
			return;
		}
		if (room < BATCH_HEAD_BYTES && !is_first(f, part)) {
			shut_for_room(f, part);
			return;
		}
		if (take_file(f, part, room))
			continue;
		settle(f, part,
		       (is_first(f, part) ? log_read : log_read_fit)(part->partition, part->next, room,
								     &view),
		       &view, room, SIZE_MAX);
	}
}

/* Nothing has changed for one that is held: it would be read again, and be too large again. */
static bool is_still_held(const struct fetch *f, const struct fetch_part *part)
{
	return part->state == PART_HELD && f->reserved > 0 && room_of_all(f) <= part->held;
}

/* In order, until all are shut, or one must wait: for room that it comes before others for, or for other reads. */
static void read_parts(struct fetch *f)
{
	for (uint32_t i = 0; i < f->options.part_count && f->read_count < READS_MAX; i++) {
		struct fetch_part *part = &f->options.parts[i];
		if (is_still_held(f, part))
			return;
		if (part->state == PART_HELD)
			part->state = PART_OPEN;
		read_part(f, part);
		if (part->state == PART_HELD || (part->state == PART_READING && part->pressed))
			return;
	}
}

/* Where it stands before anything is read. */
static void open_part(struct fetch *f, struct fetch_part *part)
{
	struct partition_edges edges;
	int rc;

	drop_pieces(part);
	part->cut = part->again = false;
	part->counted = 0;
	part->next = part->offset;
	part->start = part->stable = part->end = -1;
	part->state = PART_OPEN;
	if (!part->partition) {
		fail(f, part, part->error);
		return;
	}
	part->error = 0;
	rc = partition_edges(part->partition, &edges);
	if (rc) {
		fail(f, part, rc);
		return;
	}
	part->start = edges.start;
	part->stable = edges.stable;
	part->end = edges.end;
	part->memory = edges.memory;
	part->file_at = 0;
	if (part->offset < edges.start)
		fail(f, part, ERR_CURSOR_GONE);
	else if (part->offset > edges.end)
		fail(f, part, ERR_CURSOR_AHEAD);
}

static void open_parts(struct fetch *f)
{
	struct budget_share *share = f->options.hub->options.share;

	f->phase = GATHERING;
	f->bytes = f->counted = 0;
	f->failed = f->full = f->starved = false;
	f->lead = 0;
	f->bytes_max = f->options.bytes_max;
	if (share)
		f->bytes_max = budget_credit(share, f->bytes_max);
	for (uint32_t i = 0; i < f->options.part_count; i++)
		open_part(f, &f->options.parts[i]);
}

/* All are shut, and what had no room turns out to be the first that has anything. */
static bool reopen_cut(struct fetch *f)
{
	struct fetch_part *part = find_lead(f);

	if (!part || !part->cut)
		return false;
	f->counted -= part->counted;
	part->counted = 0;
	part->cut = false;
	part->state = PART_OPEN;
	return true;
}

/* ---- deciding, parking ---- */

static size_t wanted(const struct fetch *f)
{
	return min_size(f->options.bytes_min, f->bytes_max);
}

static bool is_enough(const struct fetch *f)
{
	return f->failed || f->full || f->expired || !f->options.wait || f->options.part_count == 0 ||
	       f->counted >= wanted(f) || f->bytes >= wanted(f);
}

static void unpark(struct fetch *f)
{
	for (uint32_t i = 0; i < f->options.part_count; i++) {
		struct fetch_part *part = &f->options.parts[i];
		unhang(part);
		part->link = NULL;
		if (part->watch)
			hub_watch_give(part->watch);
		part->watch = NULL;
	}
	f->moved = NULL;
	fetch_unwake(f);
	f->options.hub->stats.parked--;
}

static void count(struct fetch *f, struct fetch_part *part, size_t bytes)
{
	size_t room = part->counted < part->bytes_max ? part->bytes_max - part->counted : 0;

	bytes = min_size(bytes, room);
	part->counted += bytes;
	f->counted += bytes;
}

/* One view further. False: there is no more to count. */
static bool count_view(struct fetch *f, struct fetch_part *part)
{
	struct log_view view;
	int rc = log_read(part->partition, part->next, READ_BYTES_MAX, &view);

	if (rc == LOG_READ_END)
		return false;
	if (rc != LOG_READ_OK) { /* on disk, or failed: to be gathered in any case */
		f->full = true;
		return false;
	}
	if (view.gap.from < view.gap.to) {
		part->next = view.gap.to;
	} else {
		cut_view(f, part, &view, SIZE_MAX, false);
		if (view.batches.len == 0) {
			blob_unref(view.blob);
			return false;
		}
		count(f, part, view.batches.len);
		part->next = view.next_offset;
	}
	blob_unref(view.blob);
	return true;
}

/*
 * What is new in it since it was counted last. Where any batch would do nothing
 * is looked at: that there is one is enough.
 */
static void count_part(struct fetch *f, struct fetch_part *part)
{
	struct partition_edges edges;

	if (partition_edges(part->partition, &edges) || part->offset < edges.start) {
		f->failed = true;
		return;
	}
	part->stable = edges.stable;
	part->end = edges.end;
	while (!at_limit(f, part) && part->counted < part->bytes_max && !is_enough(f)) {
		if (f->counted + BATCH_HEAD_BYTES >= wanted(f))
			f->full = true;
		else if (!count_view(f, part))
			return;
	}
}

/* True where it is parked; false where there is enough after all, or no memory for a watch. */
static bool park(struct fetch *f)
{
	fetch_drop(f);
	f->phase = PARKED;
	f->options.hub->stats.parked++;
	for (uint32_t i = 0; i < f->options.part_count && !is_enough(f); i++) {
		struct fetch_part *part = &f->options.parts[i];
		if (hub_watch_take(f->options.hub, part->partition, &part->watch)) {
			f->expired = true;
			break;
		}
		hang(part);
		if (!f->starved) /* then there is something, and nothing to read it with: later */
			count_part(f, part);
	}
	if (!is_enough(f))
		return true;
	unpark(f);
	return false;
}

/*
 * Kafka's list is of the whole range that was read, to the end of the last batch. One
 * that is cut short would show what was aborted: without memory for it the part is empty.
 */
static void find_aborted(struct fetch *f, struct fetch_part *part)
{
	struct aborted_txn few[16], *list = few;
	struct fetch_aborted *out;
	uint32_t count, room = 16;

	part->aborted_count = 0;
	while ((count = partition_aborted(part->partition, part->offset, part->next, list, room)) > room) {
		room = count;
		list = arena_alloc(f->options.arena, room * sizeof(*list));
		if (!list)
			break;
	}
	out = list ? arena_alloc(f->options.arena, (count + 1) * sizeof(*out)) : NULL;
	if (!out) {
		f->bytes -= part->bytes;
		drop_pieces(part);
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		out[i] = (struct fetch_aborted){.producer_id = list[i].producer_id,
						.first_offset = list[i].first};
	part->aborted = out;
	part->aborted_count = count;
}

static void finish(struct fetch *f)
{
	f->phase = DONE;
	for (uint32_t i = 0; f->options.committed && i < f->options.part_count; i++)
		if (f->options.parts[i].bytes > 0)
			find_aborted(f, &f->options.parts[i]);
}

/* Gathers, and parks where that is not enough. FETCH_DONE or FETCH_LATER. */
static enum fetch_result go_on(struct fetch *f)
{
	for (;;) {
		read_parts(f);
		if (f->read_count > 0)
			return FETCH_LATER;
		if (reopen_cut(f))
			continue;
		if (is_enough(f))
			break;
		if (park(f))
			return FETCH_LATER;
		open_parts(f);
	}
	finish(f);
	return FETCH_DONE;
}

/* ---- what others call ---- */

enum fetch_result fetch_start(struct fetch *f, const struct fetch_options *options)
{
	*f = (struct fetch){.options = *options};
	for (uint32_t i = 0; i < options->part_count; i++) {
		options->parts[i].fetch = f;
		if (options->parts[i].bytes_max == 0)
			options->parts[i].bytes_max = 1; /* so that there is something to count */
	}
	open_parts(f);
	return go_on(f);
}

static void settle_reads(struct fetch *f)
{
	struct fetch_read **at = &f->reads;

	while (*at) {
		struct fetch_read *r = *at;
		struct log_view view;
		if (!r->done) { /* the log's still: nothing of it is looked at */
			at = &r->of_fetch;
			continue;
		}
		view = r->read.view;
		*at = r->of_fetch;
		f->read_count--;
		f->reserved -= r->reserved;
		r->part->state = PART_OPEN;
		r->read.view.blob = NULL; /* taken below, where there is one */
		if (r->part->again) {
			r->part->again = false;
			blob_unref(view.blob);
		} else if (r->read.result !=
			   LOG_READ_END) { /* an end that it saw is old news: read_part looks again */
			settle(f, r->part, r->read.result, &view, 0, r->reserved);
		}
		free_read(r);
	}
}

static bool has_enough_now(struct fetch *f)
{
	while (f->moved && !is_enough(f)) {
		struct fetch_part *part = f->moved;
		f->moved = part->link;
		hang(part);
		count_part(f, part);
	}
	return is_enough(f);
}

void fetch_run(struct fetch *f)
{
	if (f->phase == PARKED) {
		if (!has_enough_now(f))
			return;
		unpark(f);
		open_parts(f);
	} else {
		settle_reads(f);
	}
	if (go_on(f) == FETCH_DONE)
		f->options.on_done(f->options.ctx, f);
}

enum fetch_result fetch_expire(struct fetch *f)
{
	f->expired = true;
	if (f->phase == DONE)
		return FETCH_DONE;
	if (f->phase != PARKED)
		return FETCH_LATER;
	unpark(f);
	open_parts(f);
	return go_on(f);
}

void fetch_cut(struct fetch *f)
{
	if (f->phase == DONE)
		return;
	if (f->phase == PARKED)
		unpark(f);
	fetch_unwake(f);
	abandon_reads(f);
	finish(f);
}
