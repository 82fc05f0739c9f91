/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both copies say the same whenever the journal has let go of something (storage.md), so where they
 * differ one of them is damaged. The places where they differ are few: a bit, a sector, an end that was cut
 * off. Each is taken from the one or the other, in every way, and the checksum says which is right.
 * What is damaged in both cannot be had back, and then nothing is.
 *
 * A wrong choice is taken for the right one in one of 2^32 tries; so there are few places at
 * most, one choice alone may be right, and who uses it walks it besides.
 */
#include "log/checkpoint_merge.h"

#include "log/checkpoint.h"

#define PLACES_MAX 8u

/*
 * Differences with fewer equal bytes between them are one place: random bytes are equal now and then, and zeros often.
 * Coarse first; finer where that put damage of the one and of the other into one place.
 */
static const size_t apart[] = {64, 8, 1};

struct place {
	size_t from, to;
};

struct merge {
	struct slice a, b;
	size_t both; /* bytes that both have */
	struct place places[PLACES_MAX];
	uint32_t count;
};

/* False: there are too many. */
static bool find_places(struct merge *m, size_t apart_bytes)
{
	m->count = 0;
	for (size_t i = 0; i < m->both; i++) {
		struct place *last = m->count ? &m->places[m->count - 1] : NULL;
		if (m->a.ptr[i] == m->b.ptr[i])
			continue;
		if (last && i - last->to < apart_bytes) {
			last->to = i + 1;
			continue;
		}
		if (m->count == PLACES_MAX)
			return false;
		m->places[m->count++] = (struct place){.from = i, .to = i + 1};
	}
	return true;
}

/* Bit i of the choice: place i is b's. */
static void choose(const struct merge *m, uint32_t choice, struct buf *out)
{
	for (uint32_t i = 0; i < m->count; i++) {
		const struct place *p = &m->places[i];
		const uint8_t *from = choice >> i & 1 ? m->b.ptr : m->a.ptr;
		memcpy(out->ptr + p->from, from + p->from, p->to - p->from);
	}
}

/* How many choices are whole; the last of them is in `out`. */
static uint32_t try_all(const struct merge *m, struct buf *out)
{
	uint32_t found = 0, right = 0;

	for (uint32_t choice = 0; choice < 1u << m->count; choice++) {
		choose(m, choice, out);
		if (!checkpoint_is_whole(buf_slice(out)))
			continue;
		right = choice;
		found++;
	}
	choose(m, right, out);
	return found;
}

int checkpoint_merge(struct slice a, struct slice b, struct buf *out)
{
	struct merge m = {.a = a, .b = b, .both = a.len < b.len ? a.len : b.len};
	struct slice longer = a.len < b.len ? b : a;
	uint32_t found = 0;

	buf_init(out, longer.len);
	if (buf_append_slice(out, longer)) /* what only one has is its */
		return ERR_NOMEM;
	for (size_t i = 0; i < sizeof(apart) / sizeof(apart[0]) && found == 0; i++)
		if (find_places(&m, apart[i]))
			found = try_all(&m, out);
	return found == 1 ? 0 : 1;
}
