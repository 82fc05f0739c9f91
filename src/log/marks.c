/* SPDX-License-Identifier: Apache-2.0 */
#include "log/marks.h"

#include "base/mem.h"

void marks_fini(struct marks *m)
{
	mem_free(m->list);
	*m = (struct marks){0};
}

static void add(struct marks *m, struct mark at)
{
	if (m->count == m->cap) {
		uint32_t cap = m->cap ? m->cap * 2 : 4;
		struct mark *grown = cap <= MARKS_MAX ? mem_realloc(m->list, cap * sizeof(*grown)) : NULL;
		if (!grown)
			return;
		m->list = grown;
		m->cap = cap;
	}
	m->list[m->count++] = at;
}

void marks_note(struct marks *m, struct mark from, struct mark to)
{
	struct mark *last = m->count ? &m->list[m->count - 1] : NULL;

	if (last && from.position >= m->list[0].position && to.position <= last->position)
		return; /* known */
	if (!last || from.position != last->position) {
		m->count = 0;
		add(m, from);
		if (m->count)
			add(m, to);
		if (m->count == 1)
			m->count = 0;
		return;
	}
	if (last[0].position - last[-1].position < MARKS_STRIDE)
		*last = to; /* the last one may be nearer, and moves on */
	else
		add(m, to);
}

/* The last one at or before the offset. */
static uint32_t find_mark(const struct marks *m, uint32_t offset)
{
	uint32_t low = 0, high = m->count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (m->list[middle].offset <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

bool marks_before(const struct marks *m, uint32_t offset, struct mark *out)
{
	if (m->count == 0 || offset < m->list[0].offset || offset > m->list[m->count - 1].offset)
		return false;
	*out = m->list[offset == m->list[m->count - 1].offset ? m->count - 1 : find_mark(m, offset)];
	return true;
}

bool marks_find(const struct marks *m, uint32_t offset, uint32_t limit, size_t bytes_max, struct mark *from,
		struct mark *to, uint32_t *next)
{
	uint32_t first, last;

	*next = UINT32_MAX;
	if (m->count == 0 || offset >= m->list[m->count - 1].offset)
		return false;
	if (offset < m->list[0].offset) {
		*next = m->list[0].offset;
		return false;
	}
	first = last = find_mark(m, offset);
	if (m->list[first].offset != offset) {
		*next = m->list[first + 1].offset;
		return false;
	}
	while (last + 1 < m->count && m->list[last + 1].offset <= limit &&
	       m->list[last + 1].position - m->list[first].position <= bytes_max)
		last++;
	*from = m->list[first];
	*to = m->list[last];
	return last > first;
}
