/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a run front to back. Only the number of keys that may come is known
 * before: it sizes the filter and says where the range pages start, so that
 * entries and ranges can both be written as they come, each into its area.
 * Filter and fences are kept and become the new run's: nothing is read back.
 * The header is written last, and the name given after the sync.
 */
#include <stdio.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/wire.h"
#include "log/seen_format.h"
#include "log/seen_run.h"

#define WRITE_PAGES 64u
#define WRITE_PIECE (1u << 20)

/* Pages of one kind that fill up and go to their area. */
struct area {
	uint8_t *buffer;
	uint32_t pages;   /* room of the buffer */
	uint32_t full;    /* pages of the buffer that are full */
	uint32_t in_page; /* items in the page that is filling */
	uint32_t items_a_page;
	uint32_t item_bytes;
	enum seen_page_kind kind;
	uint64_t next_page; /* where the buffer goes */
};

struct seen_writer {
	struct seen_run *run; /* the one being made; path is the final one */
	char *folder;
	char *temp;
	uint64_t keys_max;
	struct hash128 last;
	struct area entries;
	struct area ranges;
};

static int write_at(struct seen_writer *w, const void *bytes, size_t n, uint64_t at, struct fault *fault)
{
	const struct sys *sys = w->run->sys;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	int got = sys->ops->pwritev(sys->self, w->run->fd, &iov, 1, at);

	if (got < 0)
		return fault_set(fault, ERR_IO, "%s: writing at %llu: %s", w->temp, (unsigned long long)at,
				 sys_error_text(got));
	/* Started now, so that the sync at the end finds little to do. A hint: its failure shows there. */
	if (n >= WRITE_PAGES * SEEN_PAGE_BYTES)
		(void)sys->ops->write_back(sys->self, w->run->fd, at, n);
	return 0;
}

/* ---- areas ---- */

static int init_area(struct area *a, enum seen_page_kind kind, uint32_t pages, uint64_t first_page)
{
	bool is_entries = kind == SEEN_PAGE_ENTRIES;

	*a = (struct area){
		.buffer = mem_zalloc(pages, SEEN_PAGE_BYTES),
		.pages = pages,
		.items_a_page = is_entries ? SEEN_ENTRIES_A_PAGE : SEEN_RANGES_A_PAGE,
		.item_bytes = is_entries ? SEEN_ENTRY_BYTES : SEEN_RANGE_BYTES,
		.kind = kind,
		.next_page = first_page,
	};
	return a->buffer ? 0 : ERR_NOMEM;
}

static void seal_page(struct area *a)
{
	uint8_t *page = a->buffer + (size_t)a->full * SEEN_PAGE_BYTES;
	uint8_t *at = page + 4;

	at = wire_put_u16(at, (uint16_t)a->kind);
	at = wire_put_u16(at, (uint16_t)a->in_page);
	(void)wire_put_u64(at, a->next_page + a->full);
	(void)wire_put_u32(page, crc32c(0, page + 4, SEEN_PAGE_BYTES - 4));
	a->full++;
	a->in_page = 0;
}

static int flush_area(struct seen_writer *w, struct area *a, struct fault *fault)
{
	int err;

	if (a->in_page)
		seal_page(a);
	if (!a->full)
		return 0;
	err = write_at(w, a->buffer, (size_t)a->full * SEEN_PAGE_BYTES, a->next_page * SEEN_PAGE_BYTES,
		       fault);
	a->next_page += a->full;
	memset(a->buffer, 0, (size_t)a->full * SEEN_PAGE_BYTES);
	a->full = 0;
	return err;
}

/* Room for the next item of an area, NULL where writing the full pages failed (*err). */
static uint8_t *next_item(struct seen_writer *w, struct area *a, int *err, struct fault *fault)
{
	uint8_t *item;

	*err = 0;
	if (a->in_page == a->items_a_page)
		seal_page(a);
	if (a->full == a->pages)
		*err = flush_area(w, a, fault);
	if (*err)
		return NULL;
	item = a->buffer + (size_t)a->full * SEEN_PAGE_BYTES + SEEN_PAGE_HEAD +
	       (size_t)a->in_page * a->item_bytes;
	a->in_page++;
	return item;
}

/* ---- opening ---- */

static void free_writer(struct seen_writer *w)
{
	mem_free(w->entries.buffer);
	mem_free(w->ranges.buffer);
	mem_free(w->folder);
	mem_free(w->temp);
	mem_free(w);
}

void seen_writer_abort(struct seen_writer *w)
{
	struct seen_run *r;

	if (!w)
		return;
	r = w->run;
	if (r && r->fd >= 0) {
		r->sys->ops->close(r->sys->self, r->fd);
		(void)r->sys->ops->unlink(r->sys->self, w->temp);
	}
	if (r) {
		seen_filter_fini(&r->filter);
		mem_free(r->fences);
		mem_free(r->path);
		mem_free(r);
	}
	free_writer(w);
}

static char *temp_name(const char *path)
{
	size_t n = strlen(path);
	char *temp = mem_alloc(n + 5);

	if (temp)
		(void)snprintf(temp, n + 5, "%s.tmp", path);
	return temp;
}

static int make_run(struct seen_writer *w, const struct seen_writer_options *o)
{
	uint64_t pages = (o->keys_max + SEEN_ENTRIES_A_PAGE - 1) / SEEN_ENTRIES_A_PAGE;
	struct seen_run *r = mem_zalloc(1, sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	*r = (struct seen_run){.refs = 1,
			       .sys = o->sys,
			       .yard = o->yard,
			       .fd = -1,
			       .end_ms = o->end_ms,
			       .number = o->number};
	w->run = r;
	r->ranges_page = 1 + pages;
	r->path = mem_strndup(o->path, strlen(o->path));
	r->fences = mem_alloc((size_t)pages * 4);
	if (!r->path || !r->fences || seen_filter_init(&r->filter, o->keys_max) != 0)
		return ERR_NOMEM;
	return 0;
}

static int fill_writer(struct seen_writer *w, const struct seen_writer_options *o)
{
	int err = make_run(w, o);

	w->keys_max = o->keys_max;
	w->folder = mem_strndup(o->folder, strlen(o->folder));
	w->temp = temp_name(o->path);
	if (!err)
		err = init_area(&w->entries, SEEN_PAGE_ENTRIES, WRITE_PAGES, 1);
	if (!err)
		err = init_area(&w->ranges, SEEN_PAGE_RANGES, 4, w->run->ranges_page);
	return !err && w->folder && w->temp ? 0 : ERR_NOMEM;
}

int seen_writer_open(const struct seen_writer_options *options, struct seen_writer **out, struct fault *fault)
{
	const struct sys *sys = options->sys;
	struct seen_writer *w = mem_zalloc(1, sizeof(*w));
	int got;

	CHECK(options->keys_max > 0);
	if (!w || fill_writer(w, options) != 0) {
		seen_writer_abort(w);
		return fault_set(fault, ERR_NOMEM, "%s: no memory to write it", options->path);
	}
	got = sys->ops->open(sys->self, w->temp, SYS_CREATE | SYS_TRUNCATE);
	if (got < 0) {
		int err = fault_set(fault, ERR_IO, "%s: creating: %s", w->temp, sys_error_text(got));

		seen_writer_abort(w);
		return err;
	}
	w->run->fd = got;
	*out = w;
	return 0;
}

/* ---- adding ---- */

static int add_ranges(struct seen_writer *w, const struct seen_range *ranges, uint32_t count,
		      struct fault *fault)
{
	int err = 0;

	for (uint32_t i = 0; i < count && !err; i++) {
		uint8_t *at = next_item(w, &w->ranges, &err, fault);

		if (err)
			break;
		at = wire_put_u64(at, (uint64_t)ranges[i].first);
		at = wire_put_u32(at, ranges[i].partition);
		(void)wire_put_u32(at, ranges[i].count);
		w->run->ranges++;
	}
	return err;
}

static void index_entry(struct seen_writer *w, struct hash128 fingerprint)
{
	struct seen_run *r = w->run;

	CHECK(r->keys < w->keys_max);
	CHECK(r->keys == 0 || seen_fingerprint_cmp(w->last, fingerprint) < 0);
	if (r->keys % SEEN_ENTRIES_A_PAGE == 0)
		(void)wire_put_u32(r->fences + r->pages++ * 4, (uint32_t)(fingerprint.hi >> 32));
	seen_filter_add(&r->filter, fingerprint);
	w->last = fingerprint;
	r->keys++;
}

int seen_writer_add(struct seen_writer *w, const struct seen_key *key, const struct seen_range *ranges,
		    uint32_t count, struct fault *fault)
{
	bool is_inline = count == 1 && ranges[0].partition != SEEN_PARTITION_ELSEWHERE;
	struct seen_range where = {(int64_t)w->run->ranges, SEEN_PARTITION_ELSEWHERE, count};
	uint8_t *at;
	int err;

	if (is_inline)
		where = ranges[0];
	at = next_item(w, &w->entries, &err, fault);
	if (err)
		return err;
	at = wire_put_u64(at, key->fingerprint.hi);
	at = wire_put_u64(at, key->fingerprint.lo);
	at = wire_put_u64(at, key->payload);
	at = wire_put_u64(at, (uint64_t)key->expires_ms);
	at = wire_put_u64(at, (uint64_t)where.first);
	at = wire_put_u32(at, where.partition);
	(void)wire_put_u32(at, where.count);
	index_entry(w, key->fingerprint);
	return is_inline ? 0 : add_ranges(w, ranges, count, fault);
}

/* ---- finishing ---- */

static int write_area(struct seen_writer *w, const uint8_t *bytes, uint64_t n, uint64_t at,
		      struct fault *fault)
{
	int err = 0;

	for (uint64_t done = 0; done < n && !err; done += WRITE_PIECE) {
		uint64_t piece = n - done < WRITE_PIECE ? n - done : WRITE_PIECE;

		err = write_at(w, bytes + done, (size_t)piece, at + done, fault);
	}
	return err;
}

static uint32_t sum_of(const uint8_t *bytes, uint64_t n)
{
	return crc32c(0, bytes, (size_t)n);
}

static int write_header(struct seen_writer *w, uint64_t filter_page, uint64_t fence_page, struct fault *fault)
{
	uint8_t page[SEEN_PAGE_BYTES] = {0};
	struct seen_run *r = w->run;
	uint8_t *at = wire_put_bytes(page, SLICE_LIT(SEEN_RUN_MAGIC));

	r->file_bytes = fence_page * SEEN_PAGE_BYTES + r->pages * 4;
	at = wire_put_u32(at, SEEN_RUN_VERSION);
	at = wire_put_u32(at, SEEN_PAGE_BYTES);
	at = wire_put_u64(at, (uint64_t)r->end_ms);
	at = wire_put_u64(at, r->number);
	at = wire_put_u64(at, r->keys);
	at = wire_put_u64(at, r->ranges);
	at = wire_put_u64(at, r->ranges_page);
	at = wire_put_u64(at, filter_page);
	at = wire_put_u64(at, r->filter.blocks);
	at = wire_put_u64(at, fence_page);
	at = wire_put_u64(at, r->file_bytes);
	at = wire_put_u32(at, sum_of(r->filter.bits, seen_filter_bytes(&r->filter)));
	(void)wire_put_u32(at, sum_of(r->fences, r->pages * 4));
	(void)wire_put_u32(page + SEEN_RUN_CRC_AT, crc32c(0, page, SEEN_RUN_CRC_AT));
	return write_at(w, page, sizeof(page), 0, fault);
}

static int write_rest(struct seen_writer *w, struct fault *fault)
{
	struct seen_run *r = w->run;
	uint64_t filter_bytes = seen_filter_bytes(&r->filter);
	uint64_t filter_page, fence_page;
	int err = flush_area(w, &w->entries, fault);

	if (!err)
		err = flush_area(w, &w->ranges, fault);
	if (err)
		return err;
	filter_page = w->ranges.next_page;
	fence_page = filter_page + (filter_bytes + SEEN_PAGE_BYTES - 1) / SEEN_PAGE_BYTES;
	err = write_area(w, r->filter.bits, filter_bytes, filter_page * SEEN_PAGE_BYTES, fault);
	if (!err)
		err = write_area(w, r->fences, r->pages * 4, fence_page * SEEN_PAGE_BYTES, fault);
	return err ? err : write_header(w, filter_page, fence_page, fault);
}

static int name_it(struct seen_writer *w, struct fault *fault)
{
	const struct sys *sys = w->run->sys;
	int got = sys->ops->fsync(sys->self, w->run->fd);

	if (got == 0)
		got = sys->ops->rename(sys->self, w->temp, w->run->path);
	if (got == 0)
		got = sys->ops->sync_dir(sys->self, w->folder);
	if (got < 0)
		return fault_set(fault, ERR_IO, "%s: syncing: %s", w->run->path, sys_error_text(got));
	return 0;
}

int seen_writer_finish(struct seen_writer *w, struct seen_run **out, struct fault *fault)
{
	int err;

	CHECK(w->run->keys > 0);
	err = write_rest(w, fault);
	if (!err)
		err = name_it(w, fault);
	if (err) {
		seen_writer_abort(w);
		return err;
	}
	*out = w->run;
	w->run = NULL;
	free_writer(w);
	return 0;
}
