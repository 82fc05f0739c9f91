/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inference looks at a field and at nothing else, so that a row means the same in every file: a number
 * as JSON writes it (007 and +1 are text, as they would come back changed), true, false, nothing is null,
 * all else is text; so is what stands in quotes. Rejected: to guess a column's type from its first
 * rows, since the row after those decides otherwise.
 */
#include "connect/text/csv_rows.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "json/json_write.h"

enum type { INFER, TEXT, INTEGER, NUMBER, BOOLEAN };

static const char *const type_names[] = {"infer", "text", "integer", "number", "boolean", NULL};

const char *const csv_rows_types[] = {"infer", "text", NULL};

bool csv_rows_is_delimiter(struct slice text)
{
	return text.len == 1 && text.ptr[0] != '"' && text.ptr[0] != '\n' && text.ptr[0] != '\r';
}

struct column {
	size_t name_at, name_len; /* in names: as JSON, with quotes and colon */
	enum type type;
};

struct csv_rows {
	enum csv_types types;
	const struct conf_list *given;
	struct column *columns;
	uint32_t count;
	struct buf names;
	bool broken; /* a carriage return stands in a name, without quotes */
};

int csv_rows_new(const struct csv_rows_settings *settings, struct csv_rows **out)
{
	struct csv_rows *r = mem_zalloc(1, sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	r->types = (enum csv_types)settings->types;
	r->given = &settings->columns;
	buf_init(&r->names, 4u << 20);
	*out = r;
	return 0;
}

void csv_rows_free(struct csv_rows *r)
{
	if (!r)
		return;
	buf_fini(&r->names);
	mem_free(r->columns);
	mem_free(r);
}

bool csv_rows_named(const struct csv_rows *r)
{
	return r->columns != NULL;
}

static struct slice split_column(struct slice text, int *type)
{
	size_t at = text.len;

	while (at > 0 && text.ptr[at - 1] != ':')
		at--;
	*type = -1;
	for (int i = 0; at > 1 && type_names[i]; i++)
		if (slice_eq_str(slice_from(text, at), type_names[i]))
			*type = i;
	return slice_make(text.ptr, at ? at - 1 : 0);
}

bool csv_rows_is_column(struct slice text)
{
	int type;

	return split_column(text, &type).len > 0 && type >= 0 && utf8_valid(text);
}

static enum type type_of(const struct csv_rows *r, struct slice name)
{
	int type;

	for (uint32_t i = 0; i < r->given->count; i++)
		if (slice_eq(split_column(slice_str(r->given->items[i]), &type), name))
			return (enum type)type;
	return r->types == CSV_TEXT ? TEXT : INFER;
}

static int alloc_columns(struct csv_rows *r, uint32_t count)
{
	buf_clear(&r->names);
	mem_free(r->columns);
	r->columns = mem_zalloc(count + 1, sizeof(r->columns[0]));
	r->count = r->columns ? count : 0;
	return r->columns ? 0 : ERR_NOMEM;
}

static bool is_taken(const struct csv_rows *r, uint32_t until, const struct column *c)
{
	struct slice name = slice_make(r->names.ptr + c->name_at, c->name_len);

	for (uint32_t i = 0; i < until; i++)
		if (slice_eq(slice_make(r->names.ptr + r->columns[i].name_at, r->columns[i].name_len), name))
			return true;
	return false;
}

static void put_name(struct csv_rows *r, uint32_t i, struct slice name)
{
	struct column *c = &r->columns[i];

	c->name_at = r->names.len;
	json_put_string_lossy(&r->names, name);
	(void)buf_append_byte(&r->names, ':');
	c->name_len = r->names.len - c->name_at;
}

/* The name of a column, or what stands for one that is empty or comes twice. */
static void name_column(struct csv_rows *r, uint32_t i, struct slice name)
{
	char other[300];

	r->columns[i].type = type_of(r, name);
	put_name(r, i, name);
	if (buf_status(&r->names) || (name.len && !is_taken(r, i, &r->columns[i])))
		return;
	int n = name.len ? snprintf(other, sizeof(other), "%.*s_%u", (int)(name.len > 256 ? 256 : name.len),
				    name.ptr, i + 1) :
			   snprintf(other, sizeof(other), "column%u", i + 1);
	put_name(r, i, slice_make(other, (size_t)n));
}

int csv_rows_name(struct csv_rows *r, const struct csv_record *header)
{
	int rc = alloc_columns(r, header->count);

	r->broken = false;
	for (uint32_t i = 0; !rc && i < header->count; i++) {
		struct slice name = header->fields[i];
		r->broken = r->broken || (!header->quoted[i] && name.len && memchr(name.ptr, '\r', name.len));
		name_column(r, i, name);
		rc = buf_status(&r->names);
	}
	return rc;
}

/* A column of the settings that a header row did not name: the first, null where there is none. */
static struct slice missing(const struct csv_rows *r)
{
	for (uint32_t i = 0; i < r->given->count; i++) {
		int type;
		struct slice name = split_column(slice_str(r->given->items[i]), &type);
		bool found = false;
		struct buf want;
		buf_init(&want, 2000);
		json_put_string_lossy(&want, name);
		(void)buf_append_byte(&want, ':');
		for (uint32_t k = 0; k < r->count && !found; k++)
			found = slice_eq(slice_make(r->names.ptr + r->columns[k].name_at,
						    r->columns[k].name_len),
					 buf_slice(&want));
		buf_fini(&want);
		if (!found)
			return name;
	}
	return slice_null();
}

const char *csv_rows_doubt(const struct csv_rows *r, char *out)
{
	struct slice name = missing(r);

	if (r->broken)
		return "has a carriage return within its header, which is taken for one row: lines end with LF or CRLF";
	if (!name.ptr)
		return NULL;
	(void)snprintf(
		out, CSV_ROWS_DOUBT_BYTES,
		"has no column %.*s, which csv.columns names: its rows are taken without. Look at its header, and at "
		"csv.delimiter",
		(int)name.len, (const char *)name.ptr);
	return out;
}

int csv_rows_number(struct csv_rows *r, uint32_t count)
{
	uint32_t n = r->given->count ? r->given->count : count;
	int rc = alloc_columns(r, n), type;

	for (uint32_t i = 0; !rc && i < n; i++) {
		name_column(r, i,
			    r->given->count ? split_column(slice_str(r->given->items[i]), &type) :
					      slice_null());
		rc = buf_status(&r->names);
	}
	return rc;
}

/* ---- values ---- */

static size_t digits(struct slice s, size_t at)
{
	while (at < s.len && s.ptr[at] >= '0' && s.ptr[at] <= '9')
		at++;
	return at;
}

/* A number as RFC 8259 section 6 writes it; *whole: without fraction and exponent. */
static bool is_number(struct slice s, bool *whole)
{
	size_t at = s.len && s.ptr[0] == '-', from = at;

	at = digits(s, at);
	*whole = at == s.len;
	if (at == from || (s.ptr[from] == '0' && at - from > 1))
		return false;
	if (at < s.len && s.ptr[at] == '.') {
		from = ++at;
		at = digits(s, at);
		if (at == from)
			return false;
	}
	if (at < s.len && (s.ptr[at] | 0x20) == 'e') {
		at++;
		at += at < s.len && (s.ptr[at] == '+' || s.ptr[at] == '-');
		from = at;
		at = digits(s, at);
		if (at == from)
			return false;
	}
	return at == s.len;
}

static bool is_boolean(struct slice s)
{
	return slice_eq_str(s, "true") || slice_eq_str(s, "false");
}

/* Appends a field; false where it is not of its type. */
static bool put_field(struct buf *out, enum type type, struct slice s, bool quoted)
{
	bool whole, number;

	if (type == TEXT || (type == INFER && quoted)) {
		json_put_string(out, s);
		return true;
	}
	if (!s.len) {
		json_put_null(out);
		return true;
	}
	number = is_number(s, &whole);
	if ((number && (type == INFER || type == NUMBER || (type == INTEGER && whole))) ||
	    (is_boolean(s) && (type == INFER || type == BOOLEAN)))
		(void)buf_append_slice(out, s);
	else if (type == INFER)
		json_put_string(out, s);
	else
		return false;
	return true;
}

int csv_rows_put(const struct csv_rows *r, const struct csv_record *row, struct buf *out, struct fault *fault)
{
	if (row->count != r->count)
		return fault_set(fault, ERR_BAD_RECORD, "the row has %u fields, the header %u", row->count,
				 r->count);
	if (!utf8_valid(row->raw))
		return fault_set(fault, ERR_BAD_RECORD, "the row is not UTF-8");
	(void)buf_append_byte(out, '{');
	for (uint32_t i = 0; i < r->count; i++) {
		const struct column *c = &r->columns[i];
		if (i)
			(void)buf_append_byte(out, ',');
		(void)buf_append(out, r->names.ptr + c->name_at, c->name_len);
		if (!put_field(out, c->type, row->fields[i], row->quoted[i]))
			return fault_set(fault, ERR_BAD_RECORD,
					 "column %.*s of the row is '%.*s', which is no %s",
					 (int)(c->name_len - 1 > 60 ? 60 : c->name_len - 1),
					 r->names.ptr + c->name_at,
					 (int)(row->fields[i].len > 60 ? 60 : row->fields[i].len),
					 row->fields[i].ptr, type_names[c->type]);
	}
	(void)buf_append_byte(out, '}');
	return buf_status(out);
}
