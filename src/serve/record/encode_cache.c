/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding goes into the cache's own buffer, whose size is not known before, and
 * from there into a blob of just the size, with the table of marks behind:
 *
 *	blob: record record record … │ pad │ {at, delta} … {end, 0}
 *
 * A frame's or an event's head depends on what follows (its length; whether
 * there are line ends), so each record is written as in the usual case and moved
 * or written again where it was not.
 *
 * Of a batch that is large when it is plain (one of megabytes that was sent
 * compressed) a part at a time is encoded, from where the reader stands. Else a
 * subscriber that is slow would hold on to all of it, and each one to its own.
 *
 * Keyed by partition, base offset (of the batch or the part) and form. A per-record cache was rejected:
 * subscribers who are caught up all need the same run of records, and one slice
 * of one blob is one entry in a writev.
 */
#include "serve/record/encode_cache.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "proto/sse/sse_writer.h"
#include "proto/ws/ws_frame.h"
#include "serve/record/record_json.h"

#define BYTES_MAX_DEFAULT (32u << 20)
#define SCRATCH_MAX (RECORD_JSON_BYTES_MAX + (16u << 20))
#define SCRATCH_KEPT (4u << 20)
#define BUCKETS_FIRST 256u
#define WHOLE_BYTES_MAX (2u << 20) /* of records, plain, that are encoded at once whatever becomes of them */
#define PART_BYTES (2u << 20)      /* encoded bytes after which a part of more ends */

struct entry {
	struct entry *next_hash;
	struct entry *newer, *older;
	const struct partition *partition;
	struct encoded encoded; /* its blob is the cache's reference */
	struct {
		int64_t base;
		uint32_t bytes, crc;
	} of; /* the batch that it was made of: compaction and recompression write others at the same offset */
	size_t bytes;
};

struct encode_cache {
	size_t bytes_max;
	_Atomic int64_t *gauge;
	struct buf text; /* the records of one batch */
	struct buf body; /* one record, where it must be written twice */
	struct buf marks;
	struct unpacker unpacker;
	struct entry **buckets;
	uint32_t bucket_count, entry_count;
	struct entry *newest, *oldest;
	struct encode_stats stats;
};

/* What one batch is encoded with. */
struct encoding {
	struct encode_cache *cache;
	struct record_origin origin;
	struct cursor_stem stem;
	enum encode_form form;
};

/* ---- forms ---- */

static void put_cursor_text(struct encoding *e, int64_t offset, struct buf *to)
{
	if (buf_reserve(to, CURSOR_ONE_MAX) == 0)
		to->len += cursor_one(&e->stem, offset, (char *)to->ptr + to->len);
}

static int put_json(struct encoding *e, const struct batch_record *r, struct buf *to)
{
	int rc = record_json(to, &e->origin, r);

	return rc ? rc : buf_append_byte(to, ',');
}

static bool has_line_end(struct slice s)
{
	return memchr(s.ptr, '\n', s.len) || memchr(s.ptr, '\r', s.len);
}

/* Only blanks between tokens can be line ends in JSON: rare, so the one-line form is tried first. */
static int put_event(struct encoding *e, const struct batch_record *r, struct buf *to)
{
	size_t begin, data;
	struct slice json;
	int rc;

	if (e->form == ENCODE_SSE) {
		(void)buf_append(to, "id: ", 4);
		put_cursor_text(e, r->offset + 1, to);
		(void)buf_append_byte(to, '\n');
	}
	begin = to->len;
	(void)buf_append(to, "data: ", 6);
	data = to->len;
	rc = record_json(to, &e->origin, r);
	if (rc)
		return rc;
	json = slice_make(to->ptr + data, to->len - data);
	if (!has_line_end(json))
		return buf_append(to, "\n\n", 2);
	buf_clear(&e->cache->body);
	rc = buf_append_slice(&e->cache->body, json);
	to->len = begin;
	return rc ? rc : sse_write(to, &(struct sse_message){.data = buf_slice(&e->cache->body)});
}

/* Makes room for the header of a frame whose payload begins at `payload`, and puts it there. */
static int finish_frame(struct buf *to, size_t begin, size_t payload, uint32_t opcode)
{
	uint8_t head[WS_HEADER_MAX];
	size_t n = to->len - payload;
	size_t head_len = ws_frame_header(head, WS_FIN | opcode, n);
	size_t guess = payload - begin;
	int rc = head_len > guess ? buf_reserve(to, head_len - guess) : 0;

	if (rc)
		return rc;
	if (head_len != guess)
		memmove(to->ptr + begin + head_len, to->ptr + payload, n);
	memcpy(to->ptr + begin, head, head_len);
	to->len = begin + head_len + n;
	return 0;
}

static int put_frame(struct encoding *e, const struct batch_record *r, struct buf *to)
{
	size_t begin = to->len;
	size_t payload = begin + 4; /* fits payloads of 126 to 65535 bytes: the usual ones */
	bool wrapped = e->form == ENCODE_WS_V1;
	int rc = buf_append(to, "    ", 4);

	if (wrapped)
		rc = buf_append(to, "{\"record\":", 10);
	if (rc == 0)
		rc = record_json_open(to, &e->origin, r);
	if (rc)
		return rc;
	(void)buf_append(to, ",\"cursor\":\"", 11);
	put_cursor_text(e, r->offset + 1, to);
	rc = buf_append(to, "\"}}", wrapped ? 3 : 2);
	return rc ? rc : finish_frame(to, begin, payload, WS_TEXT);
}

static int put_raw(const struct batch_record *r, struct buf *to)
{
	return ws_frame_append(to, WS_FIN | (utf8_valid(r->value) ? WS_TEXT : WS_BINARY), r->value);
}

static int put_record(struct encoding *e, const struct batch_record *r, struct buf *to)
{
	switch (e->form) {
	case ENCODE_JSON:
		return put_json(e, r, to);
	case ENCODE_SSE:
	case ENCODE_SSE_DATA:
		return put_event(e, r, to);
	case ENCODE_WS:
	case ENCODE_WS_V1:
		return put_frame(e, r, to);
	case ENCODE_WS_RAW:
		return put_raw(r, to);
	case ENCODE_FORMS:
		break;
	}
	return ERR_INTERNAL;
}

/* ---- a batch ---- */

static int put_mark(struct encode_cache *c, uint32_t delta)
{
	struct encode_mark mark = {.at = (uint32_t)c->text.len, .delta = delta};

	return buf_append(&c->marks, &mark, sizeof(mark));
}

/* 0, 1 where it was left out, or want of memory or room. */
static int put_marked(struct encoding *e, const struct batch_record *r, struct encoded *out)
{
	struct encode_cache *c = e->cache;
	size_t begin = c->text.len;
	int rc = put_mark(c, (uint32_t)(r->offset - out->base));

	if (rc == 0)
		rc = put_record(e, r, &c->text);
	if (rc != ERR_MALFORMED)
		return rc;
	c->text.len = begin;
	c->marks.len -= sizeof(struct encode_mark);
	return 1;
}

/* Records at or behind out->base; broken ones are left out and told. Ends a part where it has enough. */
static int put_records(struct encoding *e, struct batch_walk *walk, bool in_parts, struct encoded *out)
{
	struct encode_cache *c = e->cache;
	struct batch_record r;
	int rc;

	while ((rc = batch_walk_next(walk, &r)) == 1) {
		if (r.offset < out->base)
			continue;
		if (in_parts && c->text.len >= PART_BYTES) {
			out->next = r.offset;
			out->batch_bytes = 0;
			break;
		}
		rc = put_marked(e, &r, out);
		if (rc < 0)
			return rc;
		out->count += rc == 0;
		out->broken |= rc == 1;
	}
	if (rc < 0)
		out->broken = true;
	return put_mark(c, 0);
}

/* out->base is the batch's; a part moves it to where the reader stands. */
static int fill_text(struct encoding *e, const struct reader_view *view, struct encoded *out)
{
	struct batch_walk walk;
	bool in_parts;
	int rc = unpacker_walk(&e->cache->unpacker, view, &walk);

	buf_clear(&e->cache->text);
	buf_clear(&e->cache->marks);
	if (rc == ERR_NOMEM)
		return rc;
	out->broken = rc != 0;
	if (rc || (walk.head.attributes & BATCH_IS_CONTROL))
		return put_mark(e->cache, 0);
	in_parts = (size_t)(walk.end - walk.at) > WHOLE_BYTES_MAX;
	if (in_parts && view->from > out->base)
		out->base = view->from;
	return put_records(e, &walk, in_parts, out);
}

static size_t aligned(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

static void keep_scratch_small(struct buf *b)
{
	size_t most = b->bytes_max;

	if (b->cap <= SCRATCH_KEPT)
		return;
	buf_fini(b);
	buf_init(b, most);
}

static int make_blob(struct encode_cache *c, struct encoded *out)
{
	struct blob *blob = blob_new(aligned(c->text.len) + c->marks.len, c->gauge);

	if (!blob)
		return ERR_NOMEM;
	if (c->text.len)
		memcpy(blob->bytes, c->text.ptr, c->text.len);
	blob->len = c->text.len;
	memcpy(blob->bytes + aligned(c->text.len), c->marks.ptr, c->marks.len);
	out->marks = (const struct encode_mark *)(const void *)(blob->bytes + aligned(c->text.len));
	out->blob = blob;
	return 0;
}

static int encode(struct encode_cache *c, const struct reader_view *view, struct encoded *out)
{
	struct slice name = slice_str(view->topic->name);
	struct encoding e = {.cache = c,
			     .origin = {.topic = name, .partition = view->number},
			     .form = out->form};
	int rc;

	cursor_stem_init(&e.stem, &view->topic->id, cursor_name_hash(name), view->number);
	rc = fill_text(&e, view, out);
	if (rc == 0)
		rc = make_blob(c, out);
	keep_scratch_small(&c->text);
	keep_scratch_small(&c->body);
	keep_scratch_small(&c->marks);
	return rc;
}

/* ---- the table ---- */

static uint32_t bucket_of(const struct encode_cache *c, const struct partition *p, int64_t base,
			  enum encode_form form)
{
	uint64_t h = (uint64_t)(uintptr_t)p * 0x9e3779b97f4a7c15u;

	h = (h ^ (h >> 32) ^ (uint64_t)base * ENCODE_FORMS ^ (uint64_t)form) * 0xd6e8feb86659fd93u;
	return (uint32_t)(h >> 32) & (c->bucket_count - 1);
}

static uint32_t bucket_of_entry(const struct encode_cache *c, const struct entry *e)
{
	return bucket_of(c, e->partition, e->encoded.base, e->encoded.form);
}

static void take_off_order(struct encode_cache *c, struct entry *e)
{
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

static void make_newest(struct encode_cache *c, struct entry *e)
{
	e->newer = NULL;
	e->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = e;
	c->newest = e;
}

static void drop(struct encode_cache *c, struct entry *e)
{
	struct entry **at = &c->buckets[bucket_of_entry(c, e)];

	while (*at != e)
		at = &(*at)->next_hash;
	*at = e->next_hash;
	take_off_order(c, e);
	c->stats.bytes -= e->bytes;
	c->entry_count--;
	blob_unref(e->encoded.blob);
	mem_free(e);
}

/* Longer chains where there is no memory, nothing worse. */
static void grow_table(struct encode_cache *c)
{
	uint32_t count = c->bucket_count * 4;
	struct entry **fresh = mem_zalloc(count, sizeof(struct entry *));

	if (!fresh)
		return;
	mem_free(c->buckets);
	c->buckets = fresh;
	c->bucket_count = count;
	for (struct entry *e = c->newest; e; e = e->older) {
		uint32_t at = bucket_of_entry(c, e);
		e->next_hash = fresh[at];
		fresh[at] = e;
	}
}

static struct entry *find(struct encode_cache *c, const struct partition *p, int64_t base,
			  enum encode_form form)
{
	struct entry *e = c->buckets[bucket_of(c, p, base, form)];

	while (e && (e->partition != p || e->encoded.base != base || e->encoded.form != form))
		e = e->next_hash;
	return e;
}

static bool is_of(const struct entry *e, const struct batch_head *head)
{
	return e->of.base == head->base_offset && e->of.bytes == head->bytes && e->of.crc == head->crc;
}

/* What was made of another batch than the one that is there now is let go. */
static struct entry *find_of(struct encode_cache *c, const struct partition *p, int64_t base,
			     enum encode_form form, const struct batch_head *head)
{
	struct entry *e = find(c, p, base, form);

	if (!e || is_of(e, head))
		return e;
	drop(c, e);
	return NULL;
}

/* The whole batch, or a part that holds view->from. */
static struct entry *find_for(struct encode_cache *c, const struct reader_view *view,
			      const struct batch_head *head, enum encode_form form)
{
	struct entry *e = find_of(c, view->partition, head->base_offset, form, head);

	if (view->from <= head->base_offset ||
	    (e && (e->encoded.batch_bytes || view->from < e->encoded.next)))
		return e;
	return find_of(c, view->partition, view->from, form, head);
}

/* Keeps what was made, where there is memory for that; *made stays the caller's either way. */
static void keep(struct encode_cache *c, const struct partition *p, const struct batch_head *head,
		 const struct encoded *made)
{
	struct entry *e = mem_alloc(sizeof(*e));
	uint32_t at;

	if (!e)
		return;
	if (c->entry_count++ >= c->bucket_count)
		grow_table(c);
	*e = (struct entry){.partition = p,
			    .encoded = *made,
			    .of = {.base = head->base_offset, .bytes = head->bytes, .crc = head->crc},
			    .bytes = sizeof(*e) + sizeof(struct blob) + made->blob->cap};
	(void)blob_ref(made->blob);
	at = bucket_of_entry(c, e);
	e->next_hash = c->buckets[at];
	c->buckets[at] = e;
	make_newest(c, e);
	c->stats.bytes += e->bytes;
	while (c->stats.bytes > c->bytes_max && c->oldest) {
		c->stats.evicted++;
		drop(c, c->oldest);
	}
}

int encode_cache_get(struct encode_cache *cache, const struct reader_view *view, enum encode_form form,
		     struct encoded *out)
{
	struct batch_head head;
	struct entry *e;
	int rc;

	if (batch_head_read(view->batches, &head) || head.bytes > view->batches.len)
		return ERR_MALFORMED;
	e = find_for(cache, view, &head, form);
	if (e) {
		cache->stats.hits++;
		take_off_order(cache, e);
		make_newest(cache, e);
		*out = e->encoded;
		(void)blob_ref(out->blob);
		return 0;
	}
	cache->stats.misses++;
	*out = (struct encoded){.form = form,
				.base = head.base_offset,
				.next = batch_last_offset(&head) + 1,
				.batch_bytes = head.bytes};
	rc = encode(cache, view, out);
	if (rc)
		return rc;
	keep(cache, view->partition, &head, out);
	out->made = true; /* what is kept does not say so */
	return 0;
}

void encoded_release(struct encoded *e)
{
	blob_unref(e->blob);
	e->blob = NULL;
}

/* ---- taking records out ---- */

uint32_t encoded_find(const struct encoded *e, int64_t offset)
{
	uint32_t low = 0, high = e->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (encoded_offset(e, middle) < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint32_t encoded_fit(const struct encoded *e, uint32_t first, size_t bytes_max)
{
	uint32_t low = first + 1, high = e->count;

	if (first >= e->count)
		return 0;
	/* The last end that is within reach. */
	while (low < high) {
		uint32_t middle = high - (high - low) / 2;
		if (e->marks[middle].at - e->marks[first].at <= bytes_max)
			low = middle;
		else
			high = middle - 1;
	}
	return low - first;
}

struct slice encoded_run(const struct encoded *e, uint32_t first, uint32_t count)
{
	uint32_t at = e->marks[first].at;
	size_t n = e->marks[first + count].at - at;

	return slice_make(e->blob->bytes + at, e->form == ENCODE_JSON && n > 0 ? n - 1 : n);
}

struct slice encoded_open(const struct encoded *e, uint32_t i)
{
	struct slice s = encoded_run(e, i, 1);

	return slice_make(s.ptr, s.len - 1);
}

/* ---- keys ---- */

int encode_filter_start(struct encode_filter *f, struct encode_cache *cache, const struct reader *r,
			const struct reader_view *view)
{
	f->reader = r;
	return unpacker_walk(&cache->unpacker, view, &f->walk);
}

bool encode_filter_wants(struct encode_filter *f, int64_t offset)
{
	struct batch_record r;

	while (batch_walk_next(&f->walk, &r) == 1)
		if (r.offset == offset)
			return reader_wants(f->reader, r.key);
	return false;
}

/* ---- life ---- */

int encode_cache_new(size_t bytes_max, _Atomic int64_t *gauge, struct encode_cache **out)
{
	struct encode_cache *c = mem_zalloc(1, sizeof(*c));

	if (!c)
		return ERR_NOMEM;
	c->bytes_max = bytes_max ? bytes_max : BYTES_MAX_DEFAULT;
	c->gauge = gauge;
	c->bucket_count = BUCKETS_FIRST;
	c->buckets = mem_zalloc(BUCKETS_FIRST, sizeof(struct entry *));
	buf_init(&c->text, SCRATCH_MAX);
	buf_init(&c->body, SCRATCH_MAX);
	buf_init(&c->marks, SCRATCH_MAX);
	unpacker_init(&c->unpacker);
	if (!c->buckets) {
		mem_free(c);
		return ERR_NOMEM;
	}
	*out = c;
	return 0;
}

void encode_cache_free(struct encode_cache *cache)
{
	if (!cache)
		return;
	while (cache->oldest)
		drop(cache, cache->oldest);
	buf_fini(&cache->text);
	buf_fini(&cache->body);
	buf_fini(&cache->marks);
	unpacker_fini(&cache->unpacker);
	mem_free(cache->buckets);
	mem_free(cache);
}

struct unpacker *encode_cache_unpacker(struct encode_cache *cache)
{
	return &cache->unpacker;
}

void encode_cache_stats(const struct encode_cache *cache, struct encode_stats *out)
{
	*out = cache->stats;
}
