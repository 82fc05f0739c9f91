/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches of the log file, one checked after the other, and on over damage.
 *
 * After damage the next index entry whose batch holds is where reading goes on
 * in any case; before it, batches are looked for byte by byte, and one counts only
 * if whole batches lead from it to the entry. So a range costs what it hits and
 * at most an index interval, and a value that looks like a batch is not taken for
 * one.
 */
#include "log/segment_inner.h"

#include "base/mem.h"

#define SCAN_BYTES (1u << 20)

/* Makes n bytes at `position` visible, where the log has them: gives how many there are. */
static int64_t window_see(struct window *w, uint64_t position, size_t n, struct slice *out)
{
	const struct sys *sys = w->s->place.sys;
	int64_t got;

	if (n > w->end - position)
		n = (size_t)(w->end - position);
	if (position < w->at || position + n > w->at + w->len) {
		if (n > w->cap) {
			uint8_t *grown = mem_realloc(w->bytes, n);
			if (!grown)
				return ERR_NOMEM;
			w->bytes = grown;
			w->cap = n;
		}
		got = sys->ops->pread(sys->self, w->fd, w->bytes,
				      w->cap < w->end - position ? w->cap : (size_t)(w->end - position),
				      position);
		if (got < 0)
			return ERR_IO;
		w->at = position;
		w->len = (size_t)got;
		if (n > w->len)
			n = w->len;
	}
	*out = slice_make(w->bytes + (position - w->at), n);
	return (int64_t)n;
}

int window_open(struct window *w, struct segment *s)
{
	*w = (struct window){.s = s, .cap = SCAN_BYTES, .end = atomic_load(&s->bytes)};
	w->bytes = mem_alloc(w->cap);
	if (!w->bytes)
		return ERR_NOMEM;
	w->fd = segment_pin(s, true);
	if (w->fd < 0) {
		mem_free(w->bytes);
		return ERR_IO;
	}
	return 0;
}

void window_close(struct window *w)
{
	segment_unpin(w->s);
	mem_free(w->bytes);
}

/* The batch at `position`, checked: 0, 1 at the end, ERR_CORRUPT where it is none, ERR_IO, ERR_NOMEM. */
int window_batch(struct window *w, uint64_t position, struct batch_head *head, struct slice *batch)
{
	int64_t got;
	int rc;

	if (position >= w->end)
		return 1;
	got = window_see(w, position, BATCH_HEAD_BYTES, batch);
	if (got < 0)
		return (int)got;
	if (batch_head_read(*batch, head) || head->bytes > w->end - position)
		return ERR_CORRUPT;
	got = window_see(w, position, head->bytes, batch);
	if (got < 0)
		return (int)got;
	rc = batch_check(*batch, head);
	return rc ? ERR_CORRUPT : 0;
}

/* ---- over damage ---- */

/* A place that an index names, behind damage: where its batch holds, reading goes on there. */
struct goal {
	uint64_t position;
	int64_t offset;
};
#define GOALS 16u

/* The next entries behind a position; how many. From the index in memory, else from the files. */
static uint32_t goals_behind(struct segment *s, uint64_t position, struct goal *out)
{
	struct segment_index loaded = {0};
	const struct segment_index *x = &s->index;
	uint32_t count = 0;

	(void)pthread_mutex_lock(&s->lock);
	if (x->count == 0) {
		(void)pthread_mutex_unlock(&s->lock);
		(void)segment_index_load(s, &loaded);
		x = &loaded;
		(void)pthread_mutex_lock(&s->lock);
	}
	for (uint32_t i = 0; i < x->count && count < GOALS; i++)
		if (x->entries[i].position > position)
			out[count++] = (struct goal){.position = x->entries[i].position,
						     .offset = s->base + x->entries[i].offset};
	(void)pthread_mutex_unlock(&s->lock);
	mem_free(loaded.entries);
	return count;
}

/* The first of them whose batch is whole and begins with its offset; false where none does. */
static bool find_goal(struct window *w, uint64_t position, struct goal *goal)
{
	struct goal goals[GOALS];
	struct batch_head head;
	struct slice bytes;
	uint32_t count;

	while ((count = goals_behind(w->s, position, goals)) > 0) {
		for (uint32_t i = 0; i < count; i++) {
			if (goals[i].position < w->end &&
			    window_batch(w, goals[i].position, &head, &bytes) == 0 &&
			    head.base_offset == goals[i].offset) {
				*goal = goals[i];
				return true;
			}
		}
		position = goals[count - 1].position;
	}
	return false;
}

/* Whole batches, one behind the other, from `at` to the goal. */
static bool leads_to(struct window *w, uint64_t at, const struct goal *goal)
{
	struct batch_head head;
	struct slice bytes;
	int64_t expect = -1;

	while (at < goal->position) {
		if (window_batch(w, at, &head, &bytes) || (expect >= 0 && head.base_offset != expect))
			return false;
		expect = batch_last_offset(&head) + 1;
		at += head.bytes;
	}
	return at == goal->position && expect == goal->offset;
}

/* The next place from `at` on, before `end`, where a head may stand: that of its magic byte is looked for. */
static int64_t find_head(struct window *w, uint64_t at, uint64_t end, uint64_t *found)
{
	while (at + BATCH_HEAD_BYTES <= end) {
		struct slice bytes;
		const uint8_t *hit;
		size_t want = end - at < SCAN_BYTES / 4 ? (size_t)(end - at) : SCAN_BYTES / 4;
		int64_t got = window_see(w, at, want, &bytes);
		if (got < 0)
			return got;
		if (bytes.len < BATCH_HEAD_BYTES)
			break; /* the file is shorter than it was */
		hit = memchr(bytes.ptr + 16, 2, bytes.len - BATCH_HEAD_BYTES + 1);
		if (hit) {
			*found = at + (uint64_t)(hit - bytes.ptr) - 16;
			return 0;
		}
		at += bytes.len - BATCH_HEAD_BYTES + 1;
	}
	return 1;
}

/*
 * The next whole batch behind damage that has `offset_from` or later ones: 0, *position and its head;
 * 1 where there is none. indexed: the index says where to go on; not for who makes it.
 */
int window_resync(struct window *w, int64_t offset_from, bool indexed, uint64_t *position,
		  struct batch_head *found)
{
	struct goal goal = {.position = w->end, .offset = atomic_load(&w->s->next_offset)};
	struct batch_head head;
	struct slice bytes;
	uint64_t at = *position + 1;
	int64_t got;

	indexed = indexed && find_goal(w, *position, &goal);
	for (; (got = find_head(w, at, goal.position, &at)) == 0; at++) {
		got = window_see(w, at, BATCH_HEAD_BYTES, &bytes);
		if (got < 0)
			break;
		if (batch_head_read(bytes, &head) || head.base_offset < w->s->base ||
		    batch_last_offset(&head) < offset_from || batch_last_offset(&head) >= goal.offset ||
		    (indexed && !leads_to(w, at, &goal)))
			continue;
		if (window_batch(w, at, &head, &bytes) == 0) {
			*position = at;
			*found = head;
			return 0;
		}
	}
	if (got < 0)
		return (int)got;
	*position = goal.position;
	return indexed ? (window_batch(w, goal.position, found, &bytes) ? ERR_IO : 0) : 1;
}
