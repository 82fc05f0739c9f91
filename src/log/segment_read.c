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

/* What stands in bytes that were read: batches before the offset, those to be given, and why it ends there. */
struct taken {
	size_t from, used; /* what is given stands between the two */
	int64_t next;      /* offset behind it; -1: nothing */
	size_t need;       /* so many bytes the batch at `used` wants */
	bool damaged;      /* that batch is */
	int64_t lost;      /* offset behind that batch where it stands for lost records, else -1 */
};

/*
 * Steps over whole, right batches before `offset`, then takes as many as there are. One is damaged, too, that
 * does not begin with *expect: the base offset is the one field that no checksum covers.
 */
static void take_batches(struct slice bytes, int64_t offset, int64_t *expect, struct taken *t)
{
	struct batch_head head;

	*t = (struct taken){.next = -1, .lost = -1, .need = BATCH_HEAD_BYTES};
	while (t->used < bytes.len) {
		int rc = batch_check(slice_from(bytes, t->used), &head);
		if (rc == 1 && bytes.len - t->used >= BATCH_HEAD_BYTES)
			t->need = head.bytes;
		if (rc == 0 && head.base_offset != *expect)
			rc = ERR_CORRUPT;
		t->damaged = rc < 0;
		if (rc)
			return;
		if (batch_is_lost(&head) && batch_last_offset(&head) >= offset) {
			if (t->next < 0) /* else what stands before it first */
				t->lost = batch_last_offset(&head) + 1;
			return;
		}
		*expect = batch_last_offset(&head) + 1;
		t->used += head.bytes;
		if (batch_last_offset(&head) < offset)
			t->from = t->used;
		else
			t->next = batch_last_offset(&head) + 1;
	}
}

/* A read under way. `at` is where the next piece of the file begins. */
struct reading {
	struct segment *s;
	int fd;
	uint32_t how;
	struct segment_spot at;
	int64_t offset; /* that is asked for */
	size_t bytes_max, want;
	struct segment_read *out;
};

static int give_batches(struct reading *r, const struct taken *t)
{
	struct segment_read *out = r->out;

	out->batches = slice_make(out->blob->bytes + t->from, t->used - t->from);
	out->next_offset = t->next;
	give_hint(r->s, t->next, r->at.position + t->used);
	note_read(r->s, out->batches, r->at.position + t->from);
	return 0;
}

static int tell_gap(struct reading *r, int64_t to, bool lost, uint64_t position)
{
	r->out->gap_from = r->offset;
	r->out->gap_to = r->out->next_offset = to;
	r->out->lost = lost;
	give_hint(r->s, to, position);
	return 0;
}

/*
 * From damage at r->at on: 0 and a gap; or 1, and r->at is where to go on: where the next whole batch holds the
 * offset, or begins with it, nothing of what is asked for is lost.
 */
static int step_over_damage(struct reading *r)
{
	int64_t end = atomic_load(&r->s->next_offset); /* of what the window shows: it may grow meanwhile */
	struct batch_head head;
	struct window w;
	int rc;

	if (!(r->how & SEGMENT_WAIT))
		return -EAGAIN;
	rc = window_open(&w, r->s);
	if (rc)
		return rc;
	rc = window_resync(&w, r->offset, true, &r->at.position, &head);
	window_close(&w);
	if (rc < 0)
		return rc;
	if (rc == 1)
		return tell_gap(r, end, false, r->at.position);
	if (head.base_offset > r->offset)
		return tell_gap(r, head.base_offset, false, r->at.position);
	r->at.offset = head.base_offset;
	r->how = SEGMENT_WAIT;
	r->want = r->bytes_max;
	return 1;
}

/* One piece of the file: 0 and what is given, 1 where nothing is yet, 2 as segment_read, or an error. */
static int read_piece(struct reading *r)
{
	struct segment_read *out = r->out;
	struct taken t;
	uint64_t left;
	bool cut_off;
	int rc = fill_blob(r->s, r->fd, r->at.position, r->want, r->how & SEGMENT_WAIT, &out->blob);

	if (rc)
		return rc;
	take_batches(blob_slice(out->blob), r->offset, &r->at.offset, &t);
	if (t.next >= 0)
		return give_batches(r, &t);
	left = atomic_load(&r->s->bytes) - r->at.position;
	cut_off = out->blob->len < r->want && out->blob->len < left; /* nothing more will come */
	blob_unref(out->blob);
	out->blob = NULL;
	r->at.position += t.used;
	if (t.lost >= 0) /* the same gap as the damage was that this batch took the place of */
		return tell_gap(r, t.lost, true, r->at.position + BATCH_HEAD_BYTES);
	if (t.damaged || cut_off || (t.used == 0 && t.need > left))
		return step_over_damage(r);
	if (t.need > r->want && r->at.offset == r->offset && (r->how & SEGMENT_FIT))
		return 2;
	if (t.need > r->want)
		r->want = t.need;
	return 1;
}

static int read_from(struct segment *s, int fd, struct segment_spot place, int64_t offset, size_t bytes_max,
		     uint32_t how, struct segment_read *out)
{
	struct reading r = {.s = s, .fd = fd, .how = how, .at = place, .offset = offset, .out = out};
	int rc = 1;

	r.bytes_max = r.want = bytes_max < BATCH_HEAD_BYTES ? BATCH_HEAD_BYTES : bytes_max;
	while (rc == 1 && r.at.position < atomic_load(&s->bytes))
		rc = read_piece(&r);
	return rc;
}

#define LOOK_BYTES_MIN (8u << 10) /* reading so much costs no more than a look first */

/*
 * The batch at the place is the one that is asked for, and larger than asked for: its head shows that, and what
 * would be read for nothing may be nearly a megabyte. False also where it is not known; reading it tells then.
 */
static bool is_larger(struct segment *s, int fd, struct segment_spot place, int64_t offset, size_t bytes_max)
{
	uint8_t bytes[BATCH_HEAD_BYTES];
	struct batch_head head;

	if (bytes_max < LOOK_BYTES_MIN || place.offset != offset ||
	    segment_read_at(s, fd, bytes, sizeof(bytes), place.position, false) != sizeof(bytes) ||
	    batch_head_read(slice_make(bytes, sizeof(bytes)), &head) || head.base_offset != offset)
		return false;
	return head.bytes > bytes_max && head.bytes <= atomic_load(&s->bytes) - place.position;
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
	if ((how & SEGMENT_FIT) && is_larger(s, fd, place, offset, bytes_max))
		rc = 2;
	else
		rc = read_from(s, fd, place, offset, bytes_max, how, out);
	if (rc == 0 && out->gap_from != out->gap_to && !out->lost && place.position > 0)
		rc = read_again(s, fd, place, offset, bytes_max, out);
	segment_unpin(s);
	return rc;
}
