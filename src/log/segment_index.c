/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sparse index: entries in memory, and the two files that a sealed segment has of them.
 * An index is a hint. Files that do not fit the log are not taken; who follows an entry checks the batch there.
 */
#include "log/segment_inner.h"

#include "base/mem.h"
#include "base/wire.h"

#define INDEX_ENTRY_BYTES 8u
#define TIME_ENTRY_BYTES 12u

static int index_add(struct segment_index *x, struct index_entry entry)
{
	if (x->count == x->cap) {
		uint32_t cap = x->cap ? x->cap * 2 : 16;
		struct index_entry *grown = mem_realloc(x->entries, cap * sizeof(*grown));
		if (!grown)
			return ERR_NOMEM;
		x->entries = grown;
		x->cap = cap;
	}
	x->entries[x->count++] = entry;
	x->last_position = entry.position;
	return 0;
}

/* A batch at `position` enters the index where the last entry is an interval behind. A full memory costs only speed. */
void segment_index_note(struct segment *s, struct segment_index *x, int64_t offset, uint64_t position,
			int64_t max_before)
{
	if (x->count && position - x->last_position < s->place.index_interval)
		return;
	(void)index_add(x, (struct index_entry){.offset = (uint32_t)(offset - s->base),
						.position = (uint32_t)position,
						.max_timestamp = max_before});
}

/* The last entry at or before the offset; the beginning where there is none. */
struct segment_spot segment_index_find(const struct segment *s, const struct segment_index *x,
				       uint32_t offset)
{
	uint32_t low = 0, high = x->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (x->entries[middle].offset <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return (struct segment_spot){.offset = s->base};
	return (struct segment_spot){.position = x->entries[low - 1].position,
				     .offset = s->base + x->entries[low - 1].offset};
}

/* So many entries say that no timestamp before them reaches time_ms. */
uint32_t segment_index_count_before(const struct segment_index *x, int64_t time_ms)
{
	uint32_t low = 0, high = x->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (x->entries[middle].max_timestamp < time_ms)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int write_file(struct segment *s, enum segment_file kind, const void *bytes, size_t n)
{
	const struct sys *sys = s->place.sys;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	char path[SEGMENT_PATH_BYTES];
	int fd, rc;

	segment_path(s, kind, path);
	fd = sys->ops->open(sys->self, path, SYS_CREATE | SYS_TRUNCATE);
	if (fd < 0)
		return fd;
	rc = n ? sys->ops->pwritev(sys->self, fd, &iov, 1, 0) : 0;
	sys->ops->close(sys->self, fd);
	return rc;
}

void segment_index_write(struct segment *s, const struct segment_index *x)
{
	uint8_t *bytes = mem_alloc((size_t)x->count * TIME_ENTRY_BYTES + 1);
	uint8_t *at = bytes;

	if (!bytes)
		return;
	for (uint32_t i = 0; i < x->count; i++) {
		at = wire_put_u32(at, x->entries[i].offset);
		at = wire_put_u32(at, x->entries[i].position);
	}
	if (write_file(s, SEGMENT_INDEX, bytes, (size_t)(at - bytes)) == 0) {
		at = bytes;
		for (uint32_t i = 0; i < x->count; i++) {
			at = wire_put_u64(at, (uint64_t)x->entries[i].max_timestamp);
			at = wire_put_u32(at, x->entries[i].offset);
		}
		(void)write_file(s, SEGMENT_TIMEINDEX, bytes, (size_t)(at - bytes));
	}
	mem_free(bytes);
}

static int64_t read_file(struct segment *s, enum segment_file kind, uint8_t **out)
{
	const struct sys *sys = s->place.sys;
	char path[SEGMENT_PATH_BYTES];
	struct sys_stat st;
	int64_t got;
	int fd;

	segment_path(s, kind, path);
	if (sys->ops->stat(sys->self, path, &st) || st.bytes > (64u << 20))
		return -1;
	fd = sys->ops->open(sys->self, path, SYS_READ);
	if (fd < 0)
		return -1;
	*out = mem_alloc(st.bytes + 1);
	got = *out ? sys->ops->pread(sys->self, fd, *out, st.bytes, 0) : -1;
	sys->ops->close(sys->self, fd);
	return got;
}

/* Reads both index files; false where they are missing or do not fit the log: then they are made anew. */
bool segment_index_load(struct segment *s, struct segment_index *x)
{
	uint8_t *places = NULL, *times = NULL;
	int64_t n = read_file(s, SEGMENT_INDEX, &places);
	int64_t m = read_file(s, SEGMENT_TIMEINDEX, &times);
	bool fits = n > 0 && n % INDEX_ENTRY_BYTES == 0 && m / TIME_ENTRY_BYTES == n / INDEX_ENTRY_BYTES &&
		    m % TIME_ENTRY_BYTES == 0;
	uint32_t count = fits ? (uint32_t)(n / INDEX_ENTRY_BYTES) : 0;
	struct index_entry last = {0};

	for (uint32_t i = 0; fits && i < count; i++) {
		struct index_entry e = {.offset = wire_load_u32(places + i * INDEX_ENTRY_BYTES),
					.position = wire_load_u32(places + i * INDEX_ENTRY_BYTES + 4),
					.max_timestamp =
						(int64_t)wire_load_u64(times + i * TIME_ENTRY_BYTES)};
		fits = wire_load_u32(times + i * TIME_ENTRY_BYTES + 8) == e.offset &&
		       e.position < atomic_load(&s->bytes) &&
		       (i == 0 ? e.position == 0 : e.position > last.position && e.offset > last.offset) &&
		       index_add(x, e) == 0;
		last = e;
	}
	mem_free(places);
	mem_free(times);
	x->whole = fits;
	if (!fits)
		x->count = 0;
	return fits;
}
