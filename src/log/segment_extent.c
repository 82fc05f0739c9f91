/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of the log file that are given out as they are: known to be right, and in the page cache. */
#include "log/segment_inner.h"

#include <errno.h>

#include "base/mem.h"

#define EXTENT_BYTES_MIN (32u << 10) /* below it reading is as cheap */
#define PROBE_STRIDE (64u << 10)

struct open_extent {
	struct file_ref file; /* first: release gets its address */
	struct segment *segment;
};

static void release_extent(struct file_ref *file)
{
	struct open_extent *e = (struct open_extent *)(void *)file;

	segment_unpin(e->segment);
	segment_unref(e->segment);
	mem_free(e);
}

/* A page here and there: what was written or read together is let go of together. */
static bool is_resident(struct segment *s, int fd, uint64_t at, size_t bytes)
{
	uint8_t byte;

	for (uint64_t probe = at; probe < at + bytes; probe += PROBE_STRIDE)
		if (segment_read_at(s, fd, &byte, 1, probe, false) != 1)
			return false;
	return segment_read_at(s, fd, &byte, 1, at + bytes - 1, false) == 1;
}

static int open_extent(struct segment *s, uint64_t at, size_t bytes, struct file_ref **out)
{
	struct open_extent *e = mem_alloc(sizeof(*e));
	int fd;

	if (!e)
		return ERR_NOMEM;
	fd = segment_pin(s, false);
	if (fd >= 0 && !is_resident(s, fd, at, bytes)) {
		segment_unpin(s);
		fd = -EAGAIN;
	}
	if (fd < 0) {
		mem_free(e);
		return fd;
	}
	e->file = (struct file_ref){.fd = fd, .release = release_extent};
	e->segment = segment_ref(s);
	*out = &e->file;
	return 0;
}

int segment_extent(struct segment *s, int64_t offset, int64_t limit, size_t bytes_max,
		   struct segment_extent *out)
{
	int64_t far = limit - s->base;
	struct mark from, to;
	uint32_t next;
	bool found;

	*out = (struct segment_extent){.next_offset = INT64_MAX};
	if (offset < s->base || offset - s->base > UINT32_MAX)
		return 1;
	(void)pthread_mutex_lock(&s->lock);
	found = marks_find(&s->marks, (uint32_t)(offset - s->base),
			   far < UINT32_MAX ? (uint32_t)far : UINT32_MAX, bytes_max, &from, &to, &next);
	(void)pthread_mutex_unlock(&s->lock);
	if (!found && next != UINT32_MAX)
		out->next_offset = s->base + next;
	if (!found || to.position - from.position < EXTENT_BYTES_MIN ||
	    open_extent(s, from.position, to.position - from.position, &out->file))
		return 1;
	out->at = from.position;
	out->bytes = to.position - from.position;
	out->next_offset = s->base + to.offset;
	return 0;
}
