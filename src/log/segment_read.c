/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading goes: a hint (where the last reader of this offset stopped) or the
 * index gives a position at or before the batch; batches are read from there,
 * checked, and those before the offset are dropped.
 *
 * What damage costs (segment_window.c) is told as a gap, and so is a batch that says BATCH_LOST.
 */
#include "log/segment_inner.h"

#include <errno.h>

#include "base/mem.h"

static void give_hint(struct segment *s, int64_t offset, uint64_t position)
{
	uint32_t slot;

	(void)pthread_mutex_lock(&s->lock);
	for (slot = 0; slot < SEGMENT_HINTS; slot++)
		if (s->hints[slot].offset == offset)
			break;
	if (slot == SEGMENT_HINTS)
		slot = s->hint_next++ % SEGMENT_HINTS;
	s->hints[slot].offset = offset;
	s->hints[slot].position = position;
	(void)pthread_mutex_unlock(&s->lock);
}

/* Every batch of what was read has been checked. */
static void note_read(struct segment *s, struct slice batches, uint64_t position)
{
	struct batch_head head;

	(void)pthread_mutex_lock(&s->lock);
	while (batch_head_read(batches, &head) == 0) {
		segment_note_right(s, slice_make(batches.ptr, head.bytes), head.base_offset,
				   batch_last_offset(&head), position);
		position += head.bytes;
		batches = slice_from(batches, head.bytes);
	}
	(void)pthread_mutex_unlock(&s->lock);
}

/* A place at or before the batch of this offset, without waiting: 0 or -EAGAIN. */
static int find_quickly(struct segment *s, int64_t offset, struct segment_spot *place)
{
	struct mark known;
	int rc = -EAGAIN;

	(void)pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < SEGMENT_HINTS && rc; i++) {
		if (s->hints[i].offset == offset) {
			*place = (struct segment_spot){.position = s->hints[i].position, .offset = offset};
			rc = 0;
		}
	}
	if (rc && marks_before(&s->marks, (uint32_t)(offset - s->base), &known)) {
		*place = (struct segment_spot){.position = known.position, .offset = s->base + known.offset};
		rc = 0;
	}
	if (rc && s->index.count &&
	    (s->index.whole || offset - s->base >= (int64_t)s->index.entries[0].offset)) {
		*place = segment_index_find(s, &s->index, (uint32_t)(offset - s->base));
		rc = 0;
	}
	(void)pthread_mutex_unlock(&s->lock);
	if (rc && offset == s->base) {
		*place = (struct segment_spot){.offset = offset};
		rc = 0;
	}
	return rc;
}

static int find_place(struct segment *s, int64_t offset, bool wait, struct segment_spot *place)
{
	struct segment_index x;
	int rc = find_quickly(s, offset, place);

	if (rc == 0 || !wait)
		return rc;
	rc = segment_get_index(s, &x);
	if (rc == 0)
		*place = segment_index_find(s, &x, (uint32_t)(offset - s->base));
	mem_free(x.entries);
	return rc;
}

/* Fills a blob from `position` on. */
static int fill_blob(struct segment *s, int fd, uint64_t position, size_t n, bool wait, struct blob **out)
{
	uint64_t end = atomic_load(&s->bytes);
	struct blob *blob;
	int64_t got;

	if (n > end - position)
		n = (size_t)(end - position);
	blob = blob_new(n, s->place.gauge);
	if (!blob)
		return ERR_NOMEM;
	got = segment_read_at(s, fd, blob->bytes, n, position, wait);
	if (got < 0 || (!wait && (size_t)got < n)) {
		blob_unref(blob);
		return got >= 0 || got == -EAGAIN ? -EAGAIN : ERR_IO;
	}
	blob->len = (size_t)got;
	*out = blob;
	return 0;
}

/*
 * Whole, right batches in `bytes`: steps over those before `offset`, then takes
 * as many as there are. *used is where it stopped, *need what the batch there
 * wants. ERR_CORRUPT where that batch is damaged, or does not begin with
 * *expect: the base offset is the one field that no checksum covers. *lost is
 * the offset behind the batch there where it stands for lost records, else -1.
 */
static int take_batches(struct slice bytes, int64_t offset, int64_t *expect, size_t *from, size_t *used,
			size_t *need, int64_t *next, int64_t *lost)
{
	struct batch_head head;
	int rc = 0;

	*lost = *next = -1;
	*from = *used = 0;
	*need = BATCH_HEAD_BYTES;
	while (*used < bytes.len) {
		rc = batch_check(slice_from(bytes, *used), &head);
		if (rc == 1 && bytes.len - *used >= BATCH_HEAD_BYTES)
			*need = head.bytes;
		if (rc == 0 && head.base_offset != *expect)
			rc = ERR_CORRUPT;
		if (rc)
			break;
		if (batch_is_lost(&head) && batch_last_offset(&head) >= offset) {
			*lost = *next < 0 ? batch_last_offset(&head) + 1 : -1;
			return 0; /* what stands before it first */
		}
		*expect = batch_last_offset(&head) + 1;
		*used += head.bytes;
		if (batch_last_offset(&head) < offset)
			*from = *used;
		else
			*next = batch_last_offset(&head) + 1;
	}
	return rc < 0 ? ERR_CORRUPT : 0;
}

static int read_from(struct segment *s, int fd, struct segment_spot place, int64_t offset, size_t bytes_max,
		     uint32_t how, struct segment_read *out);

/* Where the next whole batch holds `offset`, or begins with it, nothing of what is asked for is lost. */
static int read_over_damage(struct segment *s, int fd, uint64_t position, int64_t offset, size_t bytes_max,
			    struct segment_read *out)
{
	int64_t end = atomic_load(&s->next_offset); /* of what the window shows: it may grow meanwhile */
	struct batch_head head;
	struct window w;
	int rc = window_open(&w, s);

	if (rc)
		return rc;
	rc = window_resync(&w, offset, true, &position, &head);
	window_close(&w);
	if (rc < 0)
		return rc;
	if (rc == 0 && head.base_offset <= offset)
		return read_from(s, fd,
				 (struct segment_spot){.position = position, .offset = head.base_offset},
				 offset, bytes_max, SEGMENT_WAIT, out);
	out->gap_from = offset;
	out->gap_to = rc == 1 ? end : head.base_offset;
	out->next_offset = out->gap_to;
	give_hint(s, out->gap_to, position);
	return 0;
}

/* A batch that stands for lost records: the same gap as the damage was that it took the place of. */
static int tell_lost(struct segment *s, int64_t offset, int64_t next, uint64_t position,
		     struct segment_read *out)
{
	out->gap_from = offset;
	out->gap_to = out->next_offset = next;
	out->lost = true;
	give_hint(s, next, position);
	return 0;
}

static int read_from(struct segment *s, int fd, struct segment_spot place, int64_t offset, size_t bytes_max,
		     uint32_t how, struct segment_read *out)
{
	uint64_t position = place.position;
	int64_t expect = place.offset;
	size_t want = bytes_max < BATCH_HEAD_BYTES ? BATCH_HEAD_BYTES : bytes_max;
	bool wait = how & SEGMENT_WAIT;

	while (position < atomic_load(&s->bytes)) {
		size_t from, used, need;
		int64_t next, lost;
		bool cut_off;
		int rc = fill_blob(s, fd, position, want, wait, &out->blob);
		if (rc)
			return rc;
		rc = take_batches(blob_slice(out->blob), offset, &expect, &from, &used, &need, &next, &lost);
		if (next >= 0) {
			out->batches = slice_make(out->blob->bytes + from, used - from);
			out->next_offset = next;
			give_hint(s, next, position + used);
			note_read(s, out->batches, position + from);
			return 0;
		}
		cut_off = out->blob->len < want &&
			  out->blob->len < atomic_load(&s->bytes) - position; /* nothing more will come */
		blob_unref(out->blob);
		out->blob = NULL;
		if (lost >= 0)
			return tell_lost(s, offset, lost, position + used + BATCH_HEAD_BYTES, out);
		if (rc == ERR_CORRUPT || cut_off)
			return wait ? read_over_damage(s, fd, position + used, offset, bytes_max, out) :
				      -EAGAIN;
		if (used == 0 && need > atomic_load(&s->bytes) - position)
			return wait ? read_over_damage(s, fd, position, offset, bytes_max, out) : -EAGAIN;
		if (need > want && expect == offset && (how & SEGMENT_FIT))
			return 2;
		if (need > want)
			want = need;
		position += used;
	}
	return 1;
}

/*
 * Damage was met where an index pointed: perhaps it is the index. One made from
 * the log itself decides.
 */
static int read_again(struct segment *s, int fd, struct segment_spot place, int64_t offset, size_t bytes_max,
		      struct segment_read *out)
{
	struct segment_index x = {0};
	struct segment_spot right;
	int rc = segment_scan_index(s, &x);

	right = segment_index_find(s, &x, (uint32_t)(offset - s->base));
	mem_free(x.entries);
	if (rc || (right.position == place.position && right.offset == place.offset))
		return 0;
	*out = (struct segment_read){0};
	return read_from(s, fd, right, offset, bytes_max, SEGMENT_WAIT, out);
}

/* A file that somebody removed costs its records and nothing else. */
static int read_nothing(struct segment *s, int64_t offset, struct segment_read *out)
{
	if (!segment_is_gone(s))
		return ERR_IO;
	out->gap_from = offset;
	out->gap_to = out->next_offset = atomic_load(&s->next_offset);
	return 0;
}

int segment_read(struct segment *s, int64_t offset, size_t bytes_max, uint32_t how, struct segment_read *out)
{
	bool wait = how & SEGMENT_WAIT;
	struct segment_spot place;
	int fd, rc;

	*out = (struct segment_read){0};
	if (offset < s->base)
		offset = s->base;
	if (offset >= atomic_load(&s->next_offset))
		return 1;
	rc = find_place(s, offset, wait, &place);
	if (rc)
		return rc == ERR_IO ? read_nothing(s, offset, out) : rc;
	fd = segment_pin(s, wait);
	if (fd < 0)
		return fd == -EAGAIN ? fd : read_nothing(s, offset, out);
	rc = read_from(s, fd, place, offset, bytes_max, how, out);
	if (rc == 0 && out->gap_from != out->gap_to && !out->lost && place.position > 0)
		rc = read_again(s, fd, place, offset, bytes_max, out);
	segment_unpin(s);
	return rc;
}
