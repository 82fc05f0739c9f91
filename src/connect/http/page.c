/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What came: an answer becomes records, and then the position of the next page.
 *
 * A page that is larger than the credit is stored in several commits. Each leaves a position that says how
 * many records of the page are stored, and a hash of them: after a crash the page is asked for
 * again, and so many are passed over if they are still the same. Where they are not, the page has changed
 * meanwhile and is read from its beginning; idempotency keys then keep out what is there already.
 */
#include <stdio.h>

#include "connect/http/inner.h"
#include "connect/text/template.h"
#include "json/pointer.h"

/* ---- a page as a whole ---- */

/* The text of a string, or what else stands there; null for null, false and nothing. In the arena. */
static int text_at(struct http_pull *p, struct slice doc, const char *pointer, struct slice *out)
{
	struct json_value v;
	int rc = json_pointer_find(doc, slice_str(pointer), &v);

	*out = slice_null();
	if (rc < 1 || v.kind == JSON_NULL || slice_eq_str(v.raw, "false"))
		return rc < 0 ? rc : 0;
	if (v.kind == JSON_STRING)
		rc = json_text(v.raw, &p->arena, &v.raw);
	if (rc < 0)
		return rc;
	*out = arena_copy(&p->arena, v.raw);
	return out->ptr ? 0 : ERR_NOMEM;
}

/* Where the next page is, as far as the body says it. */
static enum source_end find_next(struct http_pull *p)
{
	const struct http_settings *s = p->self->settings;
	struct slice doc = buf_slice(&p->body), found = slice_null();
	struct json_value more;

	p->page_more_known = s->paging_more != NULL;
	p->page_more = s->paging_more && json_pointer_find(doc, slice_str(s->paging_more), &more) == 1 &&
		       slice_eq_str(more.raw, "true");
	if (!s->paging_pointer)
		return SOURCE_MORE;
	if (text_at(p, doc, s->paging_pointer, &found) < 0)
		return source_fail(&p->batch->call, SOURCE_TRANSIENT,
				   "there is no memory for the place of the next page");
	if (found.ptr && found.len == 0)
		found = slice_null();
	if (s->paging == HTTP_PAGING_NEXT)
		p->page_next = found;
	else
		p->page_cursor = found;
	return SOURCE_MORE;
}

/* A byte order mark is no part of any record. */
static void drop_mark(struct buf *body)
{
	if (body->len >= 3 && memcmp(body->ptr, "\xef\xbb\xbf", 3) == 0)
		buf_consume(body, 3);
}

/* A feed whose last cursor is asked for again: it may answer with its last page for as long as nothing is new. */
static bool goes_on(const struct http_settings *s)
{
	return s->paging == HTTP_PAGING_CURSOR && s->paging_resume;
}

enum source_end page_round(struct http_pull *p)
{
	char place[400];

	return source_fail(
		&p->batch->call, SOURCE_FINAL,
		"%s: the pages go round: page %llu of this run leads to one that was read in it already; check "
		"`paging`, and where the server says what comes next",
		pull_place(p, place), (unsigned long long)p->pos.pages);
}

static bool is_unchanged(struct http_pull *p)
{
	const struct http_settings *s = p->self->settings;

	return s->skip_unchanged && p->pos.pages == 0 && p->pos.skip == 0 && p->page_hash == p->pos.body_hash;
}

static void end_run(struct http_pull *p);

enum source_end page_open(struct http_pull *p)
{
	const struct http_settings *s = p->self->settings;
	enum source_end end;
	char place[400];

	drop_mark(&p->body);
	items_close(p);
	p->hash = 0;
	p->page_hash = http_hash(2, buf_slice(&p->body));
	if (is_unchanged(p)) {
		p->batch->unchanged = true;
		return SOURCE_IDLE;
	}
	if (p->pos.loop_hash && p->page_hash == p->pos.loop_hash)
		return page_round(p);
	bool same = p->body.len > 0 && s->paging != HTTP_PAGING_NONE && p->pos.pages > 0 &&
		    p->page_hash == p->pos.body_hash;
	if (same && goes_on(s)) {
		end_run(p);
		return page_mark(p) < 0 ? source_fail(&p->batch->call, SOURCE_TRANSIENT,
						      "there is no memory for the checkpoint") :
					  SOURCE_IDLE;
	}
	if (same)
		return source_fail(
			&p->batch->call, SOURCE_FINAL,
			"%s: page %llu of this run is the same as the one before it: the server does not look at "
			"what names the page; check the parameter of the URL, and `paging`",
			pull_place(p, place), (unsigned long long)p->pos.pages + 1);
	p->pos.loop_hash = 0;
	p->has_page = true;
	end = items_open(p);
	return end == SOURCE_MORE && p->body.len && s->format == HTTP_FORMAT_JSON ? find_next(p) : end;
}

/* ---- records ---- */

struct lookup {
	struct http_pull *p;
	struct slice row;
	struct slice missing; /* a name that found nothing */
};

/* Pointers into the row, and {value}. */
static int find_in_row(void *ctx, struct slice name, struct slice *value)
{
	struct lookup *l = ctx;
	struct json_value v;

	if (slice_eq_str(name, "value")) {
		*value = l->p->value;
		return value->ptr ? 1 : 0;
	}
	if (name.ptr[0] != '/')
		return -1;
	if (json_pointer_find(l->row, name, &v) != 1 || v.kind == JSON_NULL) {
		l->missing = name;
		return 0;
	}
	*value = v.raw;
	if (v.kind == JSON_STRING && json_text(v.raw, &l->p->arena, value) < 0)
		l->missing = name;
	return 1;
}

/* In the batch's memory, null where the setting is not given. False: the row has not what it needs, or there is no memory. */
static bool expand(struct http_pull *p, const char *text, struct lookup *l, struct slice *out)
{
	struct buf buf;
	uint8_t *copy = NULL;

	*out = slice_null();
	if (!text)
		return true;
	buf_init(&buf, 32768);
	if (template_expand(slice_str(text), TEMPLATE_PLAIN, find_in_row, l, &buf) == 0 && !l->missing.ptr)
		copy = source_alloc(p->batch, buf.len + 1);
	if (copy) {
		if (buf.len)
			memcpy(copy, buf.ptr, buf.len);
		*out = slice_make(copy, buf.len);
	}
	buf_fini(&buf);
	return copy != NULL;
}

/* Where the row stands: "GET https://host/path, /data/17" or ", line 17". */
static void add_dead(struct http_pull *p, struct slice row, int err, const char *text)
{
	const struct http_settings *s = p->self->settings;
	char place[400], path[800];
	int n;

	(void)pull_place(p, place);
	n = p->items.is_lines || p->items.is_csv ?
		    snprintf(path, sizeof(path), "%s, line %llu", place, (unsigned long long)p->items.line) :
	    p->items.is_array ? snprintf(path, sizeof(path), "%s, %s/%llu", place, s->records,
					 (unsigned long long)p->items.index - 1) :
				snprintf(path, sizeof(path), "%s", place);
	(void)source_add_dead(p->batch,
			      &(struct source_dead){.bytes = row,
						    .err = err,
						    .json = s->format != HTTP_FORMAT_WHOLE,
						    .path = slice_make(path, (size_t)n < sizeof(path) ?
										     (size_t)n :
										     sizeof(path) - 1),
						    .text = text});
}

static void note_last(struct http_pull *p, struct slice row)
{
	const struct http_settings *s = p->self->settings;
	struct slice found;

	if (!s->last || text_at(p, row, s->last, &found) < 0 || !found.ptr || found.len > 4096)
		return;
	if (position_greater(found, p->pos.last_now))
		p->pos.last_now = found;
}

static void add_row(struct http_pull *p, struct slice row)
{
	const struct http_settings *s = p->self->settings;
	struct source_record record = SOURCE_RECORD_INIT;
	struct lookup l = {.p = p, .row = row};
	char text[300];

	record.value = row;
	if (p->batch->test)
		record.row = row;
	if (!expand(p, s->key, &l, &record.key) || !expand(p, s->id, &l, &record.idempotency_key)) {
		if (!l.missing.ptr)
			return; /* no memory, or no room: the batch remembers */
		(void)snprintf(text, sizeof(text), "%s: '%.*s' finds nothing in the record",
			       record.key.ptr ? "id" :
			       s->key         ? "key" :
						"id",
			       (int)(l.missing.len < 200 ? l.missing.len : 200), (const char *)l.missing.ptr);
		add_dead(p, row, ERR_BAD_RECORD, text);
		return;
	}
	note_last(p, row);
	(void)source_add(p->batch, &record);
}

/* ---- the end of a page ---- */

int page_mark(struct http_pull *p)
{
	struct buf out;
	int rc;

	buf_init(&out, SOURCE_CHECKPOINT_MAX);
	rc = position_write(&p->pos, &out);
	if (rc == 0 && !slice_eq(buf_slice(&out), p->part->checkpoint.bytes))
		rc = source_mark(p->batch, POSITION_VERSION, buf_slice(&out));
	buf_fini(&out);
	return rc;
}

/* The position of the next page, from what was found. False: this was the last. */
static bool step_to_next(struct http_pull *p, uint64_t count)
{
	const struct http_settings *s = p->self->settings;
	bool short_page = count == 0 || (s->paging_size > 0 && count < (uint64_t)s->paging_size);

	switch (s->paging) {
	case HTTP_PAGING_NEXT:
	case HTTP_PAGING_LINK:
		return p->page_next.ptr && (!p->page_more_known || p->page_more);
	case HTTP_PAGING_CURSOR:
		if (!p->page_cursor.ptr || slice_eq(p->page_cursor, p->pos.cursor))
			return false;
		p->pos.cursor = p->page_cursor;
		return p->page_more_known ? p->page_more : !s->paging_resume || !short_page;
	case HTTP_PAGING_PAGE:
		p->pos.page++;
		return p->page_more_known ? p->page_more : !short_page;
	case HTTP_PAGING_OFFSET:
		p->pos.offset += count;
		return count > 0 && (p->page_more_known ? p->page_more : !short_page);
	default:
		return false;
	}
}

/* p->page_next as a whole URL, of the same origin, in the position. */
static enum source_end follow_next(struct http_pull *p)
{
	struct buf url;
	bool same;
	char place[400];
	int rc;

	buf_init(&url, 20000);
	rc = fetcher_resolve((const char *)p->url.ptr, p->page_next, &url, &same);
	if (rc == 0)
		p->pos.next = arena_copy(&p->arena, buf_slice(&url));
	buf_fini(&url);
	if (rc == 0 && same && p->pos.next.ptr)
		return SOURCE_MORE;
	return source_fail(&p->batch->call,
			   rc == ERR_NOMEM || (rc == 0 && !p->pos.next.ptr) ? SOURCE_TRANSIENT : SOURCE_FINAL,
			   "%s: the next page is said to be at '%.*s', %s", pull_place(p, place),
			   (int)(p->page_next.len < 200 ? p->page_next.len : 200),
			   (const char *)p->page_next.ptr,
			   rc < 0 ? "which is no URL of http or https" :
				    "which is of another origin; credentials are not sent there");
}

static void end_run(struct http_pull *p)
{
	const struct http_settings *s = p->self->settings;
	struct position *pos = &p->pos;

	if (position_greater(pos->last_now, pos->last))
		pos->last = pos->last_now;
	/* Only of a run of one page they say something of the whole. */
	pos->etag = pos->pages == 1 && s->conditional ? p->etag : slice_null();
	pos->modified = pos->pages == 1 && s->conditional ? p->modified : slice_null();
	pos->body_hash = (pos->pages == 1 || goes_on(s)) && s->skip_unchanged ? p->page_hash : 0;
	pos->running = false;
	pos->pages = pos->page = pos->offset = 0;
	pos->next = pos->last_now = slice_null();
	if (s->window_from)
		pos->from_ms = pos->to_ms;
	pos->to_ms = 0;
	if (!s->paging_resume)
		pos->cursor = slice_null();
}

/* A window that ends in the past is followed by the next at once. */
static bool is_behind(const struct http_pull *p, int64_t to_ms)
{
	const struct http_source *self = p->self;

	if (!self->settings->window_from)
		return false;
	if (self->windowed)
		return to_ms < self->to_ms;
	return sys_wall_ms(self->sys) - self->settings->window_lag_ms - to_ms >=
	       self->settings->window_max_ms;
}

static bool is_over(const struct http_pull *p, int64_t to_ms)
{
	return p->self->windowed && (!p->self->settings->window_from || to_ms >= p->self->to_ms);
}

static enum source_end close_page(struct http_pull *p)
{
	int64_t to_ms = p->pos.to_ms;
	uint64_t count = p->items.index;
	enum source_end end = SOURCE_MORE;
	bool more, pause = false;

	p->has_page = false;
	p->pos.skip = p->pos.skip_hash = 0;
	p->pos.pages++;
	p->seen[p->seen_count % HTTP_SEEN_MAX].request = p->request_hash;
	p->seen[p->seen_count++ % HTTP_SEEN_MAX].page = p->page_hash;
	p->pos.body_hash = count > 0 ? p->page_hash : 0;
	more = step_to_next(p, count);
	if (more && p->page_next.ptr)
		end = follow_next(p);
	if (end == SOURCE_FAILED)
		return end;
	if (!more) {
		end_run(p);
		end = is_over(p, to_ms) ? SOURCE_DONE : is_behind(p, to_ms) ? SOURCE_MORE : SOURCE_IDLE;
	} else if (p->pos.pages >= (uint64_t)p->self->settings->paging_pages_max) {
		source_warn(p->self->source,
			    "a run ended at paging.pages_max, %lld pages; the next one goes on there",
			    (long long)p->self->settings->paging_pages_max);
		pause = true;
		p->pos.pages = 1; /* counted anew; not the first page */
	}
	if (page_mark(p) < 0)
		return source_fail(&p->batch->call, SOURCE_FINAL,
				   "the place of the next page does not fit into a checkpoint of 64 KiB");
	return pause ? SOURCE_IDLE : end;
}

/* The records that were stored before a crash are passed over. False: they are others now, begin anew. */
static bool pass_over(struct http_pull *p, struct slice row)
{
	p->hash = http_hash(p->hash, row);
	return p->items.index < p->pos.skip || p->hash == p->pos.skip_hash;
}

/* What was stored of this page is no longer the same: it is read from its beginning. */
static enum source_end read_again(struct http_pull *p)
{
	source_warn(p->self->source,
		    "a page changed while it was being read; it was read again from its beginning");
	p->pos.skip = p->pos.skip_hash = 0;
	return page_open(p);
}

static void take_row(struct http_pull *p, struct slice row, int rc, const char *why)
{
	p->hash = http_hash(p->hash, row);
	if (rc > 0) {
		add_row(p, row);
		return;
	}
	add_dead(p, row, rc, why);
}

enum source_end page_take(struct http_pull *p)
{
	char why[HTTP_WHY_BYTES];
	enum source_end end;
	struct slice row;
	int rc;

	while (!source_full(p->batch)) {
		rc = items_next(p, &row, why);
		if (rc == ERR_NOMEM)
			return source_fail(&p->batch->call, SOURCE_TRANSIENT, "there is no memory for a row");
		if (rc == 0 && p->items.index >= p->pos.skip)
			return close_page(p);
		if (rc != 0 && p->items.index > p->pos.skip) {
			take_row(p, row, rc, why);
		} else if (rc == 0 || !pass_over(p, row)) {
			end = read_again(p);
			if (end != SOURCE_MORE)
				return end;
		}
	}
	p->pos.skip = p->items.index;
	p->pos.skip_hash = p->hash;
	if (page_mark(p) < 0)
		return source_fail(&p->batch->call, SOURCE_FINAL,
				   "the place in the page does not fit into a checkpoint of 64 KiB");
	return SOURCE_MORE;
}
