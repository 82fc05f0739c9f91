/* SPDX-License-Identifier: Apache-2.0 */
/* A page taken apart: what of it is a record, one by one, in each of the formats. */
#include <stdio.h>

#include "base/utf8.h"
#include "connect/http/inner.h"
#include "json/json_write.h"
#include "json/pointer.h"

#define CSV_PIECE ((size_t)256 << 10)
#define ROW_BYTES_MAX ((size_t)16 << 20)

static enum source_end not_json(struct http_pull *p, const struct json_error *error)
{
	char place[400], why[200];
	struct slice body = buf_slice(&p->body);
	struct buf begin;
	enum source_end end;

	json_error_text(error, why, sizeof(why));
	buf_init(&begin, 1000);
	json_put_string_lossy(&begin, slice_make(body.ptr, body.len < 60 ? body.len : 60));
	end = source_fail(&p->batch->call, SOURCE_TRANSIENT,
			  "%s: the answer is no JSON, %s; it begins with %.*s", pull_place(p, place), why,
			  (int)begin.len, (const char *)begin.ptr);
	buf_fini(&begin);
	return end;
}

static enum source_end nothing_at(struct http_pull *p, const char *setting, const char *pointer)
{
	char place[400];
	struct buf why;
	enum source_end end;

	buf_init(&why, 1000);
	json_pointer_explain(buf_slice(&p->body), slice_str(pointer), &why);
	end = source_fail(&p->batch->call, SOURCE_FINAL, "%s: %s: '%s' finds nothing: %.*s",
			  pull_place(p, place), setting, pointer, (int)why.len, (const char *)why.ptr);
	buf_fini(&why);
	return end;
}

/* Bytes of the character that begins there; 0 where none does. */
static size_t character_bytes(const uint8_t *at, size_t left)
{
	for (size_t n = 1; n <= 4 && n <= left; n++)
		if (utf8_valid(slice_make(at, n)))
			return n;
	return 0;
}

/* Each byte that is of no character becomes a question mark. *first and *end: between which these are. */
static void replace_bad_bytes(struct buf *text, size_t *first, size_t *end)
{
	size_t n;

	*first = *end = 0;
	for (size_t i = 0; i < text->len; i += n) {
		n = text->ptr[i] < 0x80 ? 1 : character_bytes(text->ptr + i, text->len - i);
		if (n)
			continue;
		text->ptr[i] = '?';
		*first = *end ? *first : i;
		n = 1;
		*end = i + 1;
	}
}

/*
 * A document in which nothing is wrong but bytes within its records: those are letters, the others go on. Bytes elsewhere, in a cursor
 * say, are not guessed at. The place of all else stays, so that a record is found in what was sent by where it stands in
 * what was mended. 1; 0 where it is wrong in other ways; ERR_NOMEM.
 */
static int mend_records(struct http_pull *p)
{
	struct buf mended;
	struct json_value v;
	size_t first, end;
	const uint8_t *records;

	if (json_utf8_valid(buf_slice(&p->body)))
		return 0;
	buf_init(&mended, p->body.bytes_max);
	if (buf_append_slice(&mended, buf_slice(&p->body)) < 0) {
		buf_fini(&mended);
		return ERR_NOMEM;
	}
	replace_bad_bytes(&mended, &first, &end);
	if (json_valid(buf_slice(&mended), NULL) < 0 ||
	    json_pointer_find(buf_slice(&mended), slice_str(p->self->settings->records), &v) != 1)
		goto refuse;
	records = v.raw.ptr;
	if (mended.ptr + first < records || mended.ptr + end > records + v.raw.len)
		goto refuse;
	p->items.sent = p->body;
	p->body = mended;
	return 1;
refuse:
	buf_fini(&mended);
	return 0;
}

/* The record as it was sent, where bytes of it were mended. */
static bool is_mended(const struct http_pull *p, struct slice *row)
{
	struct slice sent;

	if (!p->items.sent.len)
		return false;
	sent = slice_make(p->items.sent.ptr + (row->ptr - p->body.ptr), row->len);
	if (json_utf8_valid(sent))
		return false;
	*row = sent;
	return true;
}

static enum source_end open_json(struct http_pull *p)
{
	const struct http_settings *s = p->self->settings;
	struct json_error error;
	struct json_value v;
	struct slice doc;
	int rc = 1;

	if (json_valid(buf_slice(&p->body), &error) < 0)
		rc = mend_records(p);
	if (rc == 0)
		return not_json(p, &error);
	if (rc < 0)
		return source_fail(&p->batch->call, SOURCE_TRANSIENT, "there is no memory for the answer");
	doc = buf_slice(&p->body);
	if (json_pointer_find(doc, slice_str(s->records), &v) != 1)
		return nothing_at(p, "records", s->records);
	p->items.single = slice_null();
	if (v.kind == JSON_ARRAY) {
		p->items.is_array = true;
		json_cursor_init(&p->items.array, v.raw);
		(void)json_array_begin(&p->items.array);
	} else if (v.kind != JSON_NULL) {
		p->items.single = v.raw;
	}
	return SOURCE_MORE;
}

static enum source_end open_csv(struct http_pull *p)
{
	const struct http_settings *s = p->self->settings;
	struct http_items *items = &p->items;

	csv_init(&items->csv, s->csv.delimiter[0], (size_t)s->body_bytes_max);
	buf_init(&items->row, ROW_BYTES_MAX);
	items->is_csv = true;
	if (csv_rows_new(&s->csv, &items->rows))
		return source_fail(&p->batch->call, SOURCE_TRANSIENT, "there is no memory for the rows");
	return SOURCE_MORE;
}

enum source_end items_open(struct http_pull *p)
{
	struct http_items *items = &p->items;

	if (p->body.len == 0) {
		items->single = slice_null(); /* 204, or nothing to say */
		return SOURCE_MORE;
	}
	switch ((enum http_format)p->self->settings->format) {
	case HTTP_FORMAT_JSON:
		return open_json(p);
	case HTTP_FORMAT_CSV:
		return open_csv(p);
	case HTTP_FORMAT_NDJSON:
		items->is_lines = true;
		ndjson_init(&items->lines, buf_slice(&p->body));
		return SOURCE_MORE;
	case HTTP_FORMAT_WHOLE:
		items->single = buf_slice(&p->body);
		return SOURCE_MORE;
	}
	return SOURCE_MORE;
}

void items_close(struct http_pull *p)
{
	if (p->items.is_csv) {
		csv_fini(&p->items.csv);
		csv_rows_free(p->items.rows);
		buf_fini(&p->items.row);
	}
	buf_fini(&p->items.sent);
	memset(&p->items, 0, sizeof(p->items));
}

/* More of the body, or its end. */
static int feed_rows(struct http_pull *p)
{
	struct http_items *items = &p->items;
	struct slice rest = slice_from(buf_slice(&p->body), items->fed);

	if (rest.len > CSV_PIECE)
		rest.len = CSV_PIECE;
	items->fed += rest.len;
	if (rest.len)
		return csv_feed(&items->csv, rest);
	csv_finish(&items->csv);
	return 0;
}

static void warn_of_header(struct http_pull *p)
{
	char place[400], room[CSV_ROWS_DOUBT_BYTES];
	const char *doubt = csv_rows_doubt(p->items.rows, room);

	if (doubt)
		source_warn(p->self->source, "%s: the answer %s", pull_place(p, place), doubt);
}

/* A row that names columns: 0; one that is a record: 1 and *row; ERR_BAD_RECORD with `why`; ERR_NOMEM. */
static int take_csv(struct http_pull *p, const struct csv_record *record, struct slice *row, char *why)
{
	struct http_items *items = &p->items;
	bool header = p->self->settings->csv.header;
	struct fault fault = {0};
	int rc = 0;

	if (!csv_rows_named(items->rows)) {
		rc = header ? csv_rows_name(items->rows, record) :
			      csv_rows_number(items->rows, record->count);
		if (header && !rc)
			warn_of_header(p);
		if (header || rc)
			return rc;
	}
	buf_clear(&items->row);
	rc = csv_rows_put(items->rows, record, &items->row, &fault);
	*row = rc ? record->raw : buf_slice(&items->row);
	if (rc == ERR_BAD_RECORD)
		(void)snprintf(why, HTTP_WHY_BYTES, "%.*s", (int)HTTP_WHY_BYTES - 1, fault.text);
	else if (rc == ERR_LIMIT)
		(void)snprintf(why, HTTP_WHY_BYTES, "the row is over 16 MiB as JSON");
	return rc == ERR_LIMIT ? ERR_BAD_RECORD : rc ? rc : 1;
}

static int next_csv(struct http_pull *p, struct slice *row, char *why)
{
	struct http_items *items = &p->items;
	struct csv_record record;
	int rc = 0;

	while (rc == 0) {
		switch (csv_next(&items->csv, &record)) {
		case CSV_MORE:
			rc = feed_rows(p);
			break;
		case CSV_RECORD:
			items->line = record.line;
			rc = take_csv(p, &record, row, why);
			break;
		case CSV_BAD:
			items->line = record.line;
			*row = record.raw;
			(void)snprintf(why, HTTP_WHY_BYTES, "%s%s", record.what,
				       strstr(record.what, "quote") ?
					       "; a quote within quotes is written twice" :
					       "");
			return ERR_BAD_RECORD;
		case CSV_NOMEM:
			return ERR_NOMEM;
		case CSV_END:
			return 0;
		}
	}
	return rc;
}

static int next_line(struct http_items *items, struct slice *row, char *why)
{
	struct json_error error;
	int rc = ndjson_next(&items->lines, row, &error);

	items->line = items->lines.line;
	if (rc < 0)
		json_error_text(&error, why, HTTP_WHY_BYTES);
	return rc;
}

int items_next(struct http_pull *p, struct slice *row, char *why)
{
	struct http_items *items = &p->items;
	struct json_value v;
	int rc;

	if (items->is_lines) {
		rc = next_line(items, row, why);
	} else if (items->is_csv) {
		rc = next_csv(p, row, why);
	} else if (items->is_array) {
		rc = json_array_next(&items->array) && json_take(&items->array, &v) == 0;
		*row = rc ? v.raw : slice_null();
	} else {
		rc = items->single.ptr != NULL;
		*row = items->single;
		items->single = slice_null();
	}
	if (rc != 0 && rc != ERR_NOMEM)
		items->index++;
	if (rc == 1 && is_mended(p, row)) {
		(void)snprintf(why, HTTP_WHY_BYTES, "the bytes are not UTF-8");
		rc = ERR_BAD_JSON;
	}
	return rc;
}
