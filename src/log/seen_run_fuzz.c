/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens a run of hostile bytes, searches and walks it. The checksums are
 * mended first where the input's first byte is odd, so that what lies behind
 * them is reached too; the bytes as they are must be refused or read alike.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/wire.h"
#include "log/seen_format.h"
#include "log/seen_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One file in memory. */
struct memory {
	uint8_t *bytes;
	size_t size;
};

static int open_memory(void *self, const char *path, int flags)
{
	(void)self;
	(void)path;
	(void)flags;
	return 3;
}

static void close_memory(void *self, int fd)
{
	(void)self;
	(void)fd;
}

static int64_t read_memory(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	struct memory *m = self;

	(void)fd;
	if (at >= m->size)
		return 0;
	if (n > m->size - at)
		n = m->size - (size_t)at;
	memcpy(bytes, m->bytes + at, n);
	return (int64_t)n;
}

static int stat_memory(void *self, const char *path, struct sys_stat *out)
{
	struct memory *m = self;

	(void)path;
	*out = (struct sys_stat){.bytes = m->size};
	return 0;
}

static const struct sys_ops ops = {
	.open = open_memory,
	.close = close_memory,
	.pread = read_memory,
	.pread_nowait = read_memory,
	.stat = stat_memory,
};

/* Whether an area that the header names lies in the file. */
static bool is_inside(const struct memory *m, uint64_t page, uint64_t bytes)
{
	return page <= m->size / SEEN_PAGE_BYTES && bytes <= m->size - page * SEEN_PAGE_BYTES;
}

static void mend_area(struct memory *m, uint64_t page, uint64_t bytes, uint32_t crc_at)
{
	if (is_inside(m, page, bytes))
		(void)wire_put_u32(m->bytes + crc_at,
				   crc32c(0, m->bytes + page * SEEN_PAGE_BYTES, (size_t)bytes));
}

static void mend(struct memory *m)
{
	uint64_t keys, blocks;

	if (m->size < SEEN_PAGE_BYTES)
		return;
	for (size_t at = SEEN_PAGE_BYTES; at + SEEN_PAGE_BYTES <= m->size; at += SEEN_PAGE_BYTES)
		(void)wire_put_u32(m->bytes + at, crc32c(0, m->bytes + at + 4, SEEN_PAGE_BYTES - 4));
	(void)wire_put_u64(m->bytes + 80, m->size);
	keys = wire_load_u64(m->bytes + 32);
	blocks = wire_load_u64(m->bytes + 64);
	if (blocks < m->size)
		mend_area(m, wire_load_u64(m->bytes + 56), blocks * SEEN_FILTER_BLOCK, 88);
	if (keys < m->size)
		mend_area(m, wire_load_u64(m->bytes + 72),
			  (keys + SEEN_ENTRIES_A_PAGE - 1) / SEEN_ENTRIES_A_PAGE * 4, 92);
	(void)wire_put_u32(m->bytes + SEEN_RUN_CRC_AT, crc32c(0, m->bytes, SEEN_RUN_CRC_AT));
}

/* Whether each fence is that of its page; they are as hostile as the rest. */
static bool fences_fit(struct seen_run *r)
{
	struct seen_cursor c;
	struct seen_entry e;
	bool fit = true;

	CHECK(seen_cursor_init(&c, r) == 0);
	for (uint64_t n = 0; seen_cursor_next(&c, &e, NULL) == 1; n++) {
		if (n % SEEN_ENTRIES_A_PAGE == 0)
			fit = fit && wire_load_u32(r->fences + n / SEEN_ENTRIES_A_PAGE * 4) ==
					     e.key.fingerprint.hi >> 32;
	}
	seen_cursor_fini(&c);
	return fit;
}

/* Every entry of the walk; what the walk gives, a search finds, where the file is sorted and its fences fit. */
static void walk(struct seen_run *r)
{
	static struct seen_range ranges[SEEN_RANGES_MAX];
	struct hash128 last = {0, 0};
	bool is_sorted = true, is_found = true;
	struct seen_cursor c;
	struct seen_entry e, again;
	struct fault fault;
	uint64_t n = 0;
	int got;

	CHECK(seen_cursor_init(&c, r) == 0);
	while ((got = seen_cursor_next(&c, &e, &fault)) == 1) {
		is_sorted = is_sorted && (n == 0 || seen_fingerprint_cmp(last, e.key.fingerprint) < 0);
		last = e.key.fingerprint;
		n++;
		(void)seen_run_ranges(r, &e, true, ranges, SEEN_RANGES_MAX, &fault);
		got = seen_run_find(r, e.key.fingerprint, true, &again, &fault);
		is_found = is_found && got == 1;
		(void)seen_filter_test(seen_filter_block(r->filter.bits, r->filter.blocks, e.key.fingerprint),
				       e.key.fingerprint);
	}
	CHECK(got <= 0);
	CHECK(got < 0 || n == r->keys);
	CHECK(got < 0 || !is_sorted || is_found || !fences_fit(r));
	seen_cursor_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen_yard yard = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct memory m = {.size = size ? size - 1 : 0};
	struct sys sys = {.ops = &ops, .self = &m};
	struct hash128 some = {0x8000000000000000u, 1};
	struct seen_entry e;
	struct seen_run *r;
	struct fault fault;

	if (size == 0)
		return 0;
	m.bytes = malloc(m.size + 1);
	CHECK(m.bytes);
	memcpy(m.bytes, data + 1, m.size);
	if (data[0] & 1)
		mend(&m);
	if (seen_run_open(&sys, &yard, "fuzz.run", &r, &fault) == 0) {
		walk(r);
		(void)seen_run_find(r, some, true, &e, &fault);
		seen_run_unref(r);
		while (seen_yard_step(&yard))
			;
	}
	free(m.bytes);
	return 0;
}
