/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading runs. A run is opened once and then only read, by any number of
 * threads, each with a reference. Everything in the file is checked before it
 * is believed: the header at open (its numbers must fit each other and the size
 * of the file, so that no later arithmetic can leave it), filter and fences by
 * their checksums at open, pages by theirs whenever they are read.
 *
 * The file is not mapped: a page fault waits for the disk where nobody may, and
 * a read error would be a signal.
 */
#include "log/seen_run.h"

#include <errno.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/wire.h"
#include "log/seen_format.h"

#define READ_PIECE (1u << 20)
#define FREE_PIECE (64ull << 20)
#define CURSOR_PAGES 16u

/* ---- opening ---- */

struct header {
	uint32_t version, page_bytes;
	int64_t end_ms;
	uint64_t number, keys, ranges, ranges_page, filter_page, blocks, fence_page, file_bytes;
	uint32_t filter_crc, fence_crc;
};

static uint64_t div_up(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

static void parse_header(const uint8_t *page, struct header *h)
{
	struct wire_reader r = wire_reader_make(slice_make(page + 8, SEEN_RUN_CRC_AT - 8));

	h->version = wire_u32(&r);
	h->page_bytes = wire_u32(&r);
	h->end_ms = (int64_t)wire_u64(&r);
	h->number = wire_u64(&r);
	h->keys = wire_u64(&r);
	h->ranges = wire_u64(&r);
	h->ranges_page = wire_u64(&r);
	h->filter_page = wire_u64(&r);
	h->blocks = wire_u64(&r);
	h->fence_page = wire_u64(&r);
	h->file_bytes = wire_u64(&r);
	h->filter_crc = wire_u32(&r);
	h->fence_crc = wire_u32(&r);
}

/* NULL, or what does not fit. Every area lies within the file, one after the other. */
static const char *misfit(const struct header *h, uint64_t file_bytes)
{
	uint64_t pages_max = file_bytes / SEEN_PAGE_BYTES;

	if (h->file_bytes != file_bytes)
		return "its size is not the one in its header";
	if (h->keys == 0 || h->keys > pages_max * SEEN_ENTRIES_A_PAGE)
		return "its number of entries does not fit its size";
	if (h->ranges_page > pages_max || h->filter_page > pages_max || h->fence_page > pages_max)
		return "an area starts behind its end";
	if (h->ranges_page < 1 + div_up(h->keys, SEEN_ENTRIES_A_PAGE))
		return "its entries reach into the ranges";
	if (h->filter_page < h->ranges_page ||
	    div_up(h->ranges, SEEN_RANGES_A_PAGE) > h->filter_page - h->ranges_page)
		return "its ranges reach into the filter";
	if (h->blocks == 0 || h->fence_page < h->filter_page ||
	    div_up(h->blocks, SEEN_PAGE_BYTES / SEEN_FILTER_BLOCK) > h->fence_page - h->filter_page)
		return "its filter reaches into the fences";
	if (file_bytes - h->fence_page * SEEN_PAGE_BYTES != 4 * div_up(h->keys, SEEN_ENTRIES_A_PAGE))
		return "its fences do not fit its size";
	return NULL;
}

static int read_whole(const struct seen_run *r, void *into, uint64_t bytes, uint64_t at, struct fault *fault)
{
	int64_t got = r->sys->ops->pread(r->sys->self, r->fd, into, (size_t)bytes, at);

	if (got < 0)
		return fault_set(fault, ERR_IO, "%s: reading at %llu: %s", r->path, (unsigned long long)at,
				 sys_error_text((int)got));
	if ((uint64_t)got != bytes)
		return fault_set(fault, ERR_CORRUPT, "%s: ends at %llu, before its time", r->path,
				 (unsigned long long)(at + (uint64_t)got));
	return 0;
}

/* Reads an area piece by piece, so that the file system is never asked for 100 MiB at once. */
static int read_area(const struct seen_run *r, uint8_t *into, uint64_t bytes, uint64_t at, uint32_t crc,
		     const char *what, struct fault *fault)
{
	uint32_t sum = 0;

	for (uint64_t done = 0; done < bytes;) {
		uint64_t n = bytes - done < READ_PIECE ? bytes - done : READ_PIECE;
		int err = read_whole(r, into + done, n, at + done, fault);

		if (err)
			return err;
		sum = crc32c(sum, into + done, (size_t)n);
		done += n;
	}
	if (sum != crc)
		return fault_set(fault, ERR_CORRUPT, "%s: the %s at %llu is damaged", r->path, what,
				 (unsigned long long)at);
	return 0;
}

static int check_header(struct seen_run *r, const uint8_t *page, struct header *h, struct fault *fault)
{
	const char *wrong;

	if (memcmp(page, SEEN_RUN_MAGIC, 8) != 0)
		return fault_set(fault, ERR_CORRUPT, "%s: is not a run", r->path);
	if (crc32c(0, page, SEEN_RUN_CRC_AT) != wire_load_u32(page + SEEN_RUN_CRC_AT))
		return fault_set(fault, ERR_CORRUPT, "%s: the header is damaged", r->path);
	parse_header(page, h);
	if (h->version != SEEN_RUN_VERSION || h->page_bytes != SEEN_PAGE_BYTES)
		return fault_set(fault, ERR_BAD_VERSION, "%s: has version %u, this weir reads %u", r->path,
				 h->version, SEEN_RUN_VERSION);
	wrong = misfit(h, r->file_bytes);
	if (wrong)
		return fault_set(fault, ERR_CORRUPT, "%s: %s", r->path, wrong);
	return 0;
}

static int load_areas(struct seen_run *r, const struct header *h, struct fault *fault)
{
	int err;

	r->end_ms = h->end_ms;
	r->number = h->number;
	r->keys = h->keys;
	r->pages = div_up(h->keys, SEEN_ENTRIES_A_PAGE);
	r->ranges = h->ranges;
	r->ranges_page = h->ranges_page;
	r->fences = mem_alloc((size_t)r->pages * 4);
	if (!r->fences || seen_filter_init_blocks(&r->filter, h->blocks) != 0)
		return fault_set(fault, ERR_NOMEM, "%s: no memory for its filter", r->path);
	err = read_area(r, r->filter.bits, seen_filter_bytes(&r->filter), h->filter_page * SEEN_PAGE_BYTES,
			h->filter_crc, "filter", fault);
	if (err)
		return err;
	return read_area(r, r->fences, r->pages * 4, h->fence_page * SEEN_PAGE_BYTES, h->fence_crc,
			 "fence area", fault);
}

static int open_file(struct seen_run *r, struct fault *fault)
{
	struct sys_stat st;
	int got = r->sys->ops->stat(r->sys->self, r->path, &st);

	if (got == 0) {
		r->file_bytes = st.bytes;
		r->fd = got = r->sys->ops->open(r->sys->self, r->path, 0);
	}
	if (got < 0)
		return fault_set(fault, ERR_IO, "%s: opening: %s", r->path, sys_error_text(got));
	return 0;
}

static void free_run(struct seen_run *r)
{
	if (r->fd >= 0)
		r->sys->ops->close(r->sys->self, r->fd);
	seen_filter_fini(&r->filter);
	mem_free(r->fences);
	mem_free(r->path);
	mem_free(r);
}

int seen_run_open(const struct sys *sys, struct seen_yard *yard, const char *path, struct seen_run **out,
		  struct fault *fault)
{
	uint8_t page[SEEN_PAGE_BYTES];
	struct header h = {.keys = 0};
	struct seen_run *r = mem_zalloc(1, sizeof(*r));
	int err;

	if (!r)
		return fault_set(fault, ERR_NOMEM, "%s: no memory to open it", path);
	*r = (struct seen_run){.refs = 1, .sys = sys, .yard = yard, .fd = -1};
	r->path = mem_strndup(path, strlen(path));
	err = r->path ? open_file(r, fault) : fault_set(fault, ERR_NOMEM, "%s: no memory", path);
	if (!err)
		err = read_whole(r, page, sizeof(page), 0, fault);
	if (!err)
		err = check_header(r, page, &h, fault);
	if (!err)
		err = load_areas(r, &h, fault);
	if (err) {
		free_run(r);
		return err;
	}
	*out = r;
	return 0;
}

uint64_t seen_run_memory(const struct seen_run *r)
{
	return sizeof(*r) + seen_filter_bytes(&r->filter) + r->pages * 4;
}

/* ---- holding and letting go ---- */

struct seen_run *seen_run_ref(struct seen_run *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void seen_run_unref(struct seen_run *r)
{
	if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	pthread_mutex_lock(&r->yard->lock);
	r->next_dead = r->yard->dead;
	r->yard->dead = r;
	pthread_mutex_unlock(&r->yard->lock);
}

/* Cuts a piece off an unlinked file: freeing a gigabyte in one go holds up everybody's syncs. */
static bool shorten(struct seen_run *r)
{
	uint64_t left;

	if (!r->unlinked || r->file_bytes <= FREE_PIECE)
		return false;
	left = r->file_bytes - FREE_PIECE;
	if (r->sys->ops->truncate(r->sys->self, r->fd, left) < 0)
		return false;
	r->file_bytes = left;
	return true;
}

bool seen_yard_step(struct seen_yard *yard)
{
	struct seen_run *r;

	pthread_mutex_lock(&yard->lock);
	r = yard->dead;
	pthread_mutex_unlock(&yard->lock);
	if (!r)
		return false;
	if (shorten(r))
		return true;
	pthread_mutex_lock(&yard->lock);
	for (struct seen_run **at = &yard->dead; *at; at = &(*at)->next_dead) {
		if (*at == r) {
			*at = r->next_dead;
			break;
		}
	}
	pthread_mutex_unlock(&yard->lock);
	free_run(r);
	return true;
}

/* ---- pages ---- */

static int check_page(const struct seen_run *r, const uint8_t *page, uint64_t number,
		      enum seen_page_kind kind, uint32_t count, struct fault *fault)
{
	if (crc32c(0, page + 4, SEEN_PAGE_BYTES - 4) == wire_load_u32(page) &&
	    wire_load_u16(page + 4) == kind && wire_load_u16(page + 6) == count &&
	    wire_load_u64(page + 8) == number)
		return 0;
	return fault_set(fault, ERR_CORRUPT, "%s: the page at %llu is damaged", r->path,
			 (unsigned long long)(number * SEEN_PAGE_BYTES));
}

static int read_page(const struct seen_run *r, uint8_t *into, uint64_t number, enum seen_page_kind kind,
		     uint32_t count, bool may_wait, struct fault *fault)
{
	uint64_t at = number * SEEN_PAGE_BYTES;
	int64_t got = -EAGAIN;
	int err;

	if (r->sys->ops->pread_nowait)
		got = r->sys->ops->pread_nowait(r->sys->self, r->fd, into, SEEN_PAGE_BYTES, at);
	if (got != SEEN_PAGE_BYTES) {
		/* Errors too: who may wait meets them again and can tell them. */
		if (!may_wait)
			return SEEN_RUN_AGAIN;
		err = read_whole(r, into, SEEN_PAGE_BYTES, at, fault);
		if (err)
			return err;
	}
	return check_page(r, into, number, kind, count, fault);
}

static uint32_t entries_in(const struct seen_run *r, uint64_t page)
{
	if (page + 1 < r->pages)
		return SEEN_ENTRIES_A_PAGE;
	return (uint32_t)(r->keys - page * SEEN_ENTRIES_A_PAGE);
}

static uint32_t ranges_in(const struct seen_run *r, uint64_t page)
{
	uint64_t left = r->ranges - page * SEEN_RANGES_A_PAGE;

	return left < SEEN_RANGES_A_PAGE ? (uint32_t)left : SEEN_RANGES_A_PAGE;
}

static struct hash128 fingerprint_at(const uint8_t *entry)
{
	return (struct hash128){.hi = wire_load_u64(entry), .lo = wire_load_u64(entry + 8)};
}

static const uint8_t *entry_at(const uint8_t *page, uint32_t index)
{
	return page + SEEN_PAGE_HEAD + (size_t)index * SEEN_ENTRY_BYTES;
}

static int parse_entry(const struct seen_run *r, const uint8_t *at, struct seen_entry *out,
		       struct fault *fault)
{
	uint32_t partition = wire_load_u32(at + 40);
	uint32_t count = wire_load_u32(at + 44);
	uint64_t first = wire_load_u64(at + 32);

	out->key.fingerprint = fingerprint_at(at);
	out->key.payload = wire_load_u64(at + 16);
	out->key.expires_ms = (int64_t)wire_load_u64(at + 24);
	out->is_inline = partition != SEEN_PARTITION_ELSEWHERE;
	out->range = (struct seen_range){(int64_t)first, partition, count};
	out->range_count = out->is_inline ? 1 : count;
	out->ranges_at = first;
	if (out->is_inline || (count <= SEEN_RANGES_MAX && first <= r->ranges && count <= r->ranges - first))
		return 0;
	return fault_set(fault, ERR_CORRUPT, "%s: an entry names ranges that are not there", r->path);
}

/* ---- finding ---- */

static uint32_t fence(const struct seen_run *r, uint64_t page)
{
	return wire_load_u32(r->fences + page * 4);
}

/* The last page whose fence is not above the fingerprint; the first page where all are. */
static uint64_t page_of(const struct seen_run *r, struct hash128 fingerprint)
{
	uint32_t top = (uint32_t)(fingerprint.hi >> 32);
	uint64_t guess = (uint64_t)((unsigned __int128)fingerprint.hi * r->pages >> 64);
	uint64_t low = guess, high = guess + 1, step;

	/* Gallop from the guess until low is at or below and high is above, then halve. */
	for (step = 1; low > 0 && fence(r, low) > top; step *= 2) {
		high = low;
		low = low > step ? low - step : 0;
	}
	for (step = 1; high < r->pages && fence(r, high) <= top; step *= 2) {
		low = high;
		high = r->pages - high > step ? high + step : r->pages;
	}
	while (high - low > 1) {
		uint64_t mid = low + (high - low) / 2;

		if (fence(r, mid) <= top)
			low = mid;
		else
			high = mid;
	}
	return low;
}

static int find_in_page(const struct seen_run *r, const uint8_t *page, uint32_t count,
			struct hash128 fingerprint, struct seen_entry *out, struct fault *fault)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int order = seen_fingerprint_cmp(fingerprint_at(entry_at(page, mid)), fingerprint);

		if (order == 0) {
			int err = parse_entry(r, entry_at(page, mid), out, fault);

			return err ? err : 1;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return 0;
}

int seen_run_find(struct seen_run *r, struct hash128 fingerprint, bool may_wait, struct seen_entry *out,
		  struct fault *fault)
{
	uint8_t page[SEEN_PAGE_BYTES];
	uint64_t index = page_of(r, fingerprint);

	for (;;) {
		uint32_t count = entries_in(r, index);
		int got = read_page(r, page, index + 1, SEEN_PAGE_ENTRIES, count, may_wait, fault);

		if (got)
			return got;
		got = find_in_page(r, page, count, fingerprint, out, fault);
		if (got || index == 0)
			return got;
		/* The fence has only the upper half: where it is equal, the page before may have it. */
		if (seen_fingerprint_cmp(fingerprint, fingerprint_at(entry_at(page, 0))) > 0)
			return 0;
		if (fence(r, index) < (uint32_t)(fingerprint.hi >> 32))
			return 0;
		index--;
	}
}

int seen_run_ranges(struct seen_run *r, const struct seen_entry *e, bool may_wait, struct seen_range *ranges,
		    uint32_t max, struct fault *fault)
{
	uint32_t wanted = e->range_count < max ? e->range_count : max;
	uint8_t page[SEEN_PAGE_BYTES];
	uint64_t loaded = UINT64_MAX;

	if (e->is_inline) {
		if (wanted)
			ranges[0] = e->range;
		return 0;
	}
	for (uint32_t i = 0; i < wanted; i++) {
		uint64_t index = e->ranges_at + i;
		uint64_t number = index / SEEN_RANGES_A_PAGE;
		const uint8_t *at = page + SEEN_PAGE_HEAD + index % SEEN_RANGES_A_PAGE * SEEN_RANGE_BYTES;

		if (number != loaded) {
			int err = read_page(r, page, r->ranges_page + number, SEEN_PAGE_RANGES,
					    ranges_in(r, number), may_wait, fault);
			if (err)
				return err;
			loaded = number;
		}
		ranges[i] = (struct seen_range){(int64_t)wire_load_u64(at), wire_load_u32(at + 8),
						wire_load_u32(at + 12)};
	}
	return 0;
}

/* ---- walking ---- */

int seen_cursor_init(struct seen_cursor *c, struct seen_run *run)
{
	*c = (struct seen_cursor){.run = run};
	c->pages = mem_alloc((size_t)CURSOR_PAGES * SEEN_PAGE_BYTES);
	return c->pages ? 0 : ERR_NOMEM;
}

void seen_cursor_fini(struct seen_cursor *c)
{
	mem_free(c->pages);
	c->pages = NULL;
}

/* Fills the buffer from c->page on and checks what came. */
static int fill_cursor(struct seen_cursor *c, struct fault *fault)
{
	uint64_t left = c->run->pages - c->page;
	int err;

	c->page_first = c->page;
	c->page_count = left < CURSOR_PAGES ? (uint32_t)left : CURSOR_PAGES;
	err = read_whole(c->run, c->pages, (uint64_t)c->page_count * SEEN_PAGE_BYTES,
			 (1 + c->page) * SEEN_PAGE_BYTES, fault);
	for (uint32_t i = 0; !err && i < c->page_count; i++)
		err = check_page(c->run, c->pages + (size_t)i * SEEN_PAGE_BYTES, 1 + c->page + i,
				 SEEN_PAGE_ENTRIES, entries_in(c->run, c->page + i), fault);
	if (err)
		c->page_count = 0;
	return err;
}

int seen_cursor_next(struct seen_cursor *c, struct seen_entry *out, struct fault *fault)
{
	const uint8_t *page;
	int err;

	if (c->page < c->run->pages && c->at == entries_in(c->run, c->page)) {
		c->page++;
		c->at = 0;
	}
	if (c->page == c->run->pages)
		return 0;
	if (c->page >= c->page_first + c->page_count) {
		err = fill_cursor(c, fault);
		if (err)
			return err;
	}
	page = c->pages + (size_t)(c->page - c->page_first) * SEEN_PAGE_BYTES;
	err = parse_entry(c->run, entry_at(page, c->at), out, fault);
	if (err)
		return err;
	c->at++;
	return 1;
}
