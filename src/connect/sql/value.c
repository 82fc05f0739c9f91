/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "connect/sql/value.h"
#include "json/json.h"
#include "json/json_write.h"

#define ARRAY_DEPTH_MAX 6u /* of PostgreSQL */

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* ASCII of which JSON escapes nothing: most texts. Without a way out in the middle, so that the compiler takes many bytes at once. */
static bool is_plain(struct slice v)
{
	uint8_t bad = 0;

	for (size_t i = 0; i < v.len; i++) {
		uint8_t c = v.ptr[i];
		bad |= (uint8_t)(((uint8_t)(c - 0x20) > 0x7e - 0x20) | (c == '"') | (c == '\\'));
	}
	return !bad;
}

static int put_text(struct buf *out, struct slice v)
{
	if (is_plain(v)) {
		if (buf_reserve(out, v.len + 2))
			return buf_status(out);
		out->ptr[out->len++] = '"';
		if (v.len)
			memcpy(out->ptr + out->len, v.ptr, v.len);
		out->len += v.len;
		out->ptr[out->len++] = '"';
		return 0;
	}
	if (!json_utf8_valid(v))
		return ERR_BAD_ENCODING;
	json_put_string(out, v);
	return buf_status(out);
}

/* -?digits[.digits][e[+-]digits] with no zero in front of other digits: what JSON takes as a number. */
static bool is_number(struct slice v)
{
	size_t i = v.len && v.ptr[0] == '-', start = i;

	while (i < v.len && is_digit(v.ptr[i]))
		i++;
	if (i == start || (i > start + 1 && v.ptr[start] == '0'))
		return false;
	if (i < v.len && v.ptr[i] == '.') {
		start = ++i;
		while (i < v.len && is_digit(v.ptr[i]))
			i++;
		if (i == start)
			return false;
	}
	if (i < v.len && (v.ptr[i] == 'e' || v.ptr[i] == 'E')) {
		i++;
		if (i < v.len && (v.ptr[i] == '+' || v.ptr[i] == '-'))
			i++;
		start = i;
		while (i < v.len && is_digit(v.ptr[i]))
			i++;
		if (i == start)
			return false;
	}
	return i == v.len && i > 0;
}

static int put_number(struct buf *out, struct slice v)
{
	return is_number(v) ? buf_append(out, v.ptr, v.len) : put_text(out, v);
}

/* A float that came as a double's digits: the shortest that reads back as the same float. */
static int put_float(struct buf *out, struct slice v)
{
	char text[64], shortest[32];
	float f;

	if (v.len >= sizeof(text) || !is_number(v))
		return put_text(out, v);
	memcpy(text, v.ptr, v.len);
	text[v.len] = '\0';
	f = strtof(text, NULL);
	for (int digits = 1; digits <= 9; digits++) {
		(void)snprintf(shortest, sizeof(shortest), "%.*g", digits, (double)f);
		if (memcmp(&(float){strtof(shortest, NULL)}, &f, sizeof(f)) == 0)
			break;
	}
	return put_number(out, slice_str(shortest));
}

/* "2026-01-31 12:00:00" with perhaps a fraction: where the seconds end, or 0 where it is anything else. */
static size_t date_time_len(struct slice v)
{
	static const char shape[] = "dddd-dd-dd dd:dd:dd";
	size_t i;

	if (v.len < sizeof(shape) - 1)
		return 0;
	for (i = 0; i < sizeof(shape) - 1; i++)
		if (shape[i] == 'd' ? !is_digit(v.ptr[i]) : v.ptr[i] != shape[i])
			return 0;
	if (memcmp(v.ptr, "0000", 4) == 0 || memcmp(v.ptr + 5, "00", 2) == 0 ||
	    memcmp(v.ptr + 8, "00", 2) == 0)
		return 0; /* zero dates are no dates */
	if (i < v.len && v.ptr[i] == '.') {
		i++;
		while (i < v.len && is_digit(v.ptr[i]))
			i++;
	}
	return i;
}

static int put_time(struct buf *out, struct slice v, bool zone)
{
	size_t n = date_time_len(v);
	struct slice rest = slice_from(v, n);

	if (n == 0 || (rest.len && !(zone && slice_eq_str(rest, "+00"))))
		return put_text(out, v);
	if (buf_reserve(out, n + 3))
		return buf_status(out);
	out->ptr[out->len++] = '"';
	memcpy(out->ptr + out->len, v.ptr, n);
	out->ptr[out->len + 10] = 'T';
	out->len += n;
	if (zone)
		out->ptr[out->len++] = 'Z';
	out->ptr[out->len++] = '"';
	return 0;
}

static int put_bool(struct buf *out, struct slice v)
{
	if (v.len == 1 && (v.ptr[0] == 't' || v.ptr[0] == '1'))
		json_put_bool(out, true);
	else if (v.len == 1 && (v.ptr[0] == 'f' || v.ptr[0] == '0'))
		json_put_bool(out, false);
	else
		return put_text(out, v);
	return buf_status(out);
}

/* ---- arrays ---- */

struct array {
	const uint8_t *at, *end;
	enum sql_kind element;
	uint8_t separator;
	bool numbers;
	struct buf text; /* an element without its escapes */
};

/* "[0:2][1:3]=" before the braces says where the indexes begin, which JSON cannot. */
static void skip_bounds(struct array *a)
{
	const uint8_t *sign =
		a->at < a->end && *a->at == '[' ? memchr(a->at, '=', (size_t)(a->end - a->at)) : NULL;

	if (sign)
		a->at = sign + 1;
}

static struct slice unhex(struct buf *b)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	if (b->len < 2 || b->ptr[0] != '\\' || b->ptr[1] != 'x')
		return buf_slice(b);
	for (size_t i = 2; i + 1 < b->len; i += 2) {
		const char *high = memchr(digits, b->ptr[i], 16), *low = memchr(digits, b->ptr[i + 1], 16);
		if (!high || !low)
			return buf_slice(b);
		b->ptr[n++] = (uint8_t)((high - digits) << 4 | (low - digits));
	}
	return slice_make(b->ptr, n);
}

/* One element, quoted or not, into a->text; *quoted tells "NULL" from NULL. */
static int read_element(struct array *a, bool *quoted)
{
	buf_clear(&a->text);
	*quoted = a->at < a->end && *a->at == '"';
	a->at += *quoted;
	for (;;) {
		uint8_t c;
		if (a->at == a->end)
			return ERR_MALFORMED;
		c = *a->at;
		if (*quoted ? c == '"' : (c == a->separator || c == '}'))
			break;
		if (c == '\\') {
			if (++a->at == a->end)
				return ERR_MALFORMED;
			c = *a->at;
		}
		a->at++;
		if (buf_append_byte(&a->text, c))
			return buf_status(&a->text);
	}
	a->at += *quoted;
	return 0;
}

static int put_element(struct buf *out, struct array *a)
{
	struct sql_column none = {.kind = a->element};
	bool quoted;
	int rc = read_element(a, &quoted);

	if (rc)
		return rc;
	if (!quoted && a->text.len == 4 && memcmp(a->text.ptr, "NULL", 4) == 0) {
		json_put_null(out);
		return buf_status(out);
	}
	return sql_put_value(out, a->element, &none,
			     a->element == SQL_BYTES ? unhex(&a->text) :
			     a->text.len             ? buf_slice(&a->text) :
						       slice_make("", 0),
			     a->numbers);
}

/* Nested as deep as PostgreSQL nests. */
static int put_braces(struct buf *out, struct array *a, uint32_t depth)
{
	int rc = 0;

	if (a->at == a->end || *a->at != '{' || depth == ARRAY_DEPTH_MAX)
		return ERR_MALFORMED;
	a->at++;
	json_put_open(out, '[');
	while (!rc && a->at < a->end && *a->at != '}') {
		json_put_item(out);
		rc = *a->at == '{' ? put_braces(out, a, depth + 1) : put_element(out, a);
		if (!rc && a->at < a->end && *a->at == a->separator)
			a->at++;
		else if (!rc && (a->at == a->end || *a->at != '}'))
			rc = ERR_MALFORMED;
	}
	if (rc || a->at == a->end)
		return rc ? rc : ERR_MALFORMED;
	a->at++;
	json_put_close(out, ']');
	return buf_status(out);
}

static int put_array(struct buf *out, const struct sql_column *column, struct slice v, bool numbers)
{
	struct array a = {.at = v.ptr,
			  .end = v.ptr + v.len,
			  .element = column->element,
			  .separator = (uint8_t)column->separator,
			  .numbers = numbers};
	int rc;

	buf_init(&a.text, v.len + 1);
	skip_bounds(&a);
	rc = put_braces(out, &a, 0);
	buf_fini(&a.text);
	return rc || a.at == a.end ? rc : ERR_MALFORMED;
}

/* ---- values ---- */

static int put_maybe_json(struct buf *out, struct slice v)
{
	if (json_valid(v, NULL))
		return put_text(out, v);
	json_put_raw(out, v);
	return buf_status(out);
}

int sql_put_value(struct buf *out, enum sql_kind kind, const struct sql_column *column, struct slice value,
		  bool numbers)
{
	if (!value.ptr) {
		json_put_null(out);
		return buf_status(out);
	}
	switch (kind) {
	case SQL_INTEGER:
	case SQL_DOUBLE:
		return put_number(out, value);
	case SQL_FLOAT:
		return put_float(out, value);
	case SQL_DECIMAL:
		return numbers ? put_number(out, value) : put_text(out, value);
	case SQL_BOOL:
		return put_bool(out, value);
	case SQL_BYTES:
		json_put_base64(out, value);
		return buf_status(out);
	case SQL_JSON:
		if (!json_utf8_valid(value))
			return ERR_BAD_ENCODING;
		json_put_raw(out, value);
		return buf_status(out);
	case SQL_MAYBE_JSON:
		return put_maybe_json(out, value);
	case SQL_TIMESTAMP:
		/* PostgreSQL says the zone, which is the session's; MariaDB does not. */
		return put_time(out, value, true);
	case SQL_DATETIME:
		return put_time(out, value, false);
	case SQL_ARRAY:
		return put_array(out, column, value, numbers);
	case SQL_DATE:
	case SQL_TIME:
	case SQL_TEXT:
		break;
	}
	return put_text(out, value);
}

int sql_put_key(struct buf *out, const struct sql_column *columns, const enum sql_kind *kinds,
		const struct slice *values, const uint32_t *which, uint32_t count)
{
	int rc = 0;

	if (count == 1) {
		(void)buf_append_slice(out, values[which[0]]);
		return buf_status(out);
	}
	json_put_open(out, '[');
	for (uint32_t i = 0; i < count && !rc; i++) {
		uint32_t at = which[i];
		json_put_item(out);
		rc = sql_put_value(out, kinds ? kinds[at] : columns[at].kind, &columns[at], values[at],
				   false);
	}
	json_put_close(out, ']');
	return rc ? rc : buf_status(out);
}
