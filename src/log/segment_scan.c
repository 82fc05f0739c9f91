/* SPDX-License-Identifier: Apache-2.0 */
/* The log file from its first batch to its last: for who reads all of it, and for an index made anew. */
#include "log/segment_inner.h"

#include "base/mem.h"

struct segment_scan {
	struct window window;
	uint64_t at;
	int64_t expect; /* base offset of the next batch: the one field that no checksum covers */
};

int segment_scan_open(struct segment *s, struct segment_scan **out)
{
	struct segment_scan *scan = mem_zalloc(1, sizeof(*scan));
	int rc;

	if (!scan)
		return ERR_NOMEM;
	rc = window_open(&scan->window, s);
	if (rc) {
		mem_free(scan);
		return rc;
	}
	scan->expect = s->base;
	(void)segment_ref(s);
	*out = scan;
	return 0;
}

void segment_scan_close(struct segment_scan *scan)
{
	struct segment *s;

	if (!scan)
		return;
	s = scan->window.s;
	window_close(&scan->window);
	segment_unref(s);
	mem_free(scan);
}

int segment_scan_next(struct segment_scan *scan, struct batch_head *head, struct slice *batch)
{
	int rc = window_batch(&scan->window, scan->at, head, batch);

	if (rc == 1 && scan->expect != atomic_load(&scan->window.s->next_offset))
		return ERR_CORRUPT;
	if (rc)
		return rc;
	if (head->base_offset != scan->expect)
		return ERR_CORRUPT;
	scan->at += head->bytes;
	scan->expect = batch_last_offset(head) + 1;
	*batch = slice_make(batch->ptr, head->bytes);
	return 0;
}

/* ---- an index made anew ---- */

int segment_scan_index(struct segment *s, struct segment_index *x)
{
	struct batch_head head;
	struct slice batch;
	struct window w;
	int64_t max = -1, next = s->base;
	uint64_t at = 0;
	int rc = window_open(&w, s);

	if (rc)
		return rc;
	while ((rc = window_batch(&w, at, &head, &batch)) <= 0) {
		if (rc == ERR_CORRUPT || (rc == 0 && head.base_offset != next)) {
			rc = window_resync(&w, next, false, &at, &head);
			if (rc)
				break;
			if (head.base_offset > next)
				next = head.base_offset;
			continue; /* one that begins before `next` is passed over in the next round */
		}
		if (rc < 0)
			break;
		segment_index_note(s, x, head.base_offset, at, max);
		if (head.max_timestamp > max)
			max = head.max_timestamp;
		next = batch_last_offset(&head) + 1;
		at += head.bytes;
	}
	window_close(&w);
	x->whole = rc >= 0;
	return rc < 0 ? rc : 0;
}

/*
 * The files of a sealed segment are written again where they were not right; the active one
 * keeps its own index, which may not reach back to its beginning.
 */
int segment_get_index(struct segment *s, struct segment_index *x)
{
	bool active;
	int rc;

	*x = (struct segment_index){0};
	(void)pthread_mutex_lock(&s->lock);
	active = s->index.cap > 0 || s->index.whole;
	(void)pthread_mutex_unlock(&s->lock);
	if (segment_index_load(s, x))
		return 0;
	x->count = 0;
	rc = segment_scan_index(s, x);
	if (rc == 0 && !active)
		segment_index_write(s, x);
	return rc;
}
