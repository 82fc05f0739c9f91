/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking for the first record at or after a time. Records are looked at one by one only in batches whose
 * highest time reaches it.
 */
#include "log/segment_inner.h"

#include "base/mem.h"
#include "proto/batch/find.h"

/*
 * Batch by batch. One that does not follow is damage, as for readers: its base offset may be what is damaged.
 * Where it is the first one, that may be a wrong index's fault: then the log is read from its beginning.
 */
static int find_time_from(struct window *w, struct segment_spot place, int64_t from, int64_t time_ms,
			  int64_t *offset)
{
	uint64_t at = place.position;
	int64_t next = place.offset;
	struct batch_found found;
	struct batch_head head;
	struct slice batch;
	int rc;

	while ((rc = window_batch(w, at, &head, &batch)) <= 0) {
		if (rc == ERR_CORRUPT || (rc == 0 && head.base_offset != next)) {
			if (at > 0 && at == place.position) {
				at = place.position = 0;
				next = w->s->base;
				continue;
			}
			rc = window_resync(w, next, true, &at, &head);
			if (rc)
				break;
			if (head.base_offset > next)
				next = head.base_offset;
			continue;
		}
		if (rc)
			break;
		rc = head.max_timestamp < time_ms ? 1 : batch_find(batch, from, time_ms, &found);
		if (rc == 0)
			*offset = found.offset;
		if (rc <= 0)
			break;
		next = batch_last_offset(&head) + 1;
		at += head.bytes;
	}
	return rc;
}

/* Do the one before and the batches between show that entry `i` is right, and that no time before it is later than it says? */
static bool is_borne_out(struct window *w, const struct segment_index *x, uint32_t i)
{
	const struct index_entry *entry = &x->entries[i], *before = entry - 1;
	int64_t max = before->max_timestamp, next = w->s->base + before->offset;
	uint64_t at = before->position;

	while (at < entry->position) {
		struct batch_head head;
		struct slice batch;
		if (window_batch(w, at, &head, &batch) || head.base_offset != next)
			return false;
		if (!batch_is_empty(&head) && head.max_timestamp > max)
			max = head.max_timestamp;
		next = batch_last_offset(&head) + 1;
		at += head.bytes;
	}
	return at == entry->position && next == w->s->base + entry->offset && max <= entry->max_timestamp;
}

/*
 * The last place before which no timestamp reaches time_ms. An index is a hint: no batch shows
 * that a time in it is wrong, so an entry counts if the log bears it out; else an earlier one.
 */
static struct segment_spot find_time_place(struct window *w, const struct segment_index *x, int64_t time_ms)
{
	for (uint32_t n = segment_index_count_before(x, time_ms); n-- > 1;)
		if (x->entries[n].max_timestamp < time_ms && is_borne_out(w, x, n))
			return (struct segment_spot){.position = x->entries[n].position,
						     .offset = w->s->base + x->entries[n].offset};
	return (struct segment_spot){.offset = w->s->base};
}

static int find_time(struct segment *s, int64_t from, int64_t time_ms, int64_t *offset)
{
	struct segment_index x;
	struct window w;
	int rc = segment_get_index(s, &x);

	if (rc == 0)
		rc = window_open(&w, s);
	if (rc == 0) {
		rc = find_time_from(&w, find_time_place(&w, &x, time_ms), from, time_ms, offset);
		window_close(&w);
	}
	mem_free(x.entries);
	return rc;
}

int segment_find_time(struct segment *s, int64_t from, int64_t time_ms, int64_t *offset)
{
	int rc = find_time(s, from, time_ms, offset);

	return rc == ERR_IO && segment_is_gone(s) ? 1 : rc; /* as read_nothing has it */
}
