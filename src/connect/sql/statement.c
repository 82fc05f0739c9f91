/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statements as text. Values become literals here, quoted by the driver, as not every way to ask takes
 * parameters (COPY does not), and one way is easier to be sure of than two.
 */
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "connect/sql/sql.h"

static bool is_plain_number(struct slice v)
{
	size_t i = v.len && v.ptr[0] == '-';

	if (i == v.len || v.len > 60)
		return false;
	for (; i < v.len; i++)
		if (!isdigit(v.ptr[i]) && v.ptr[i] != '.')
			return false;
	return true;
}

/* Digits, as the driver has made them; infinities are greater than any that it reads. */
static void put_lite_double(struct buf *out, struct slice value)
{
	if (slice_eq_str(value, "Infinity"))
		(void)buf_append_str(out, "9e999");
	else if (slice_eq_str(value, "-Infinity"))
		(void)buf_append_str(out, "-9e999");
	else
		(void)buf_append_slice(out, value);
}

void sql_put_literal(struct buf *out, const struct sql_driver *d, enum sql_kind kind, struct slice value)
{
	if (!value.ptr)
		(void)buf_append_str(out, "NULL");
	else if (kind == SQL_BYTES)
		d->quote_bytes(out, value);
	else if ((kind == SQL_INTEGER || kind == SQL_DECIMAL || kind == SQL_DOUBLE) && is_plain_number(value))
		(void)buf_append_slice(out, value);
	else if (kind == SQL_DOUBLE && d->dialect == SQL_SQLITE)
		put_lite_double(out, value);
	else
		d->quote_text(out, value);
}

static void put_name(struct buf *out, const struct sql_source *s, uint32_t column)
{
	s->driver->quote_name(out, slice_str(s->table.columns[column].name));
}

static void put_compared(struct buf *out, const struct sql_source *s, uint32_t column, const char *sign,
			 const struct sql_point *point, uint32_t i)
{
	put_name(out, s, column);
	(void)buf_append_str(out, sign);
	sql_put_literal(out, s->driver, point->kinds[i], point->values[i]);
}

/* a > x OR (a = x AND (b > y OR …)) */
static void put_ordered(struct buf *out, const struct sql_source *s, const uint32_t *columns,
			const struct sql_point *point, uint32_t count, const char *strict, const char *last)
{
	for (uint32_t i = 0; i < count; i++) {
		if (i + 1 == count) {
			put_compared(out, s, columns[i], last, point, i);
			break;
		}
		put_compared(out, s, columns[i], strict, point, i);
		(void)buf_append_str(out, " OR (");
		put_compared(out, s, columns[i], " = ", point, i);
		(void)buf_append_str(out, " AND (");
	}
	for (uint32_t i = 1; i < count; i++)
		(void)buf_append_str(out, "))");
}

static void put_bound(struct buf *out, const struct sql_source *s, const uint32_t *columns,
		      const struct sql_point *point, uint32_t count, const char *strict, const char *loose,
		      bool equal)
{
	(void)buf_append_byte(out, '(');
	if (count > 1) {
		put_compared(out, s, columns[0], loose, point, 0);
		(void)buf_append_str(out, " AND (");
	}
	put_ordered(out, s, columns, point, count, strict, equal ? loose : strict);
	(void)buf_append_str(out, count > 1 ? "))" : ")");
}

void sql_put_after(struct buf *out, const struct sql_source *s, const uint32_t *columns,
		   const struct sql_point *point, uint32_t count, bool equal)
{
	put_bound(out, s, columns, point, count, " > ", " >= ", equal);
}

void sql_put_before(struct buf *out, const struct sql_source *s, const uint32_t *columns,
		    const struct sql_point *point, uint32_t count, bool equal)
{
	put_bound(out, s, columns, point, count, " < ", " <= ", equal);
}

void sql_put_names(struct buf *out, const struct sql_source *s, const uint32_t *columns, uint32_t count,
		   const char *suffix)
{
	for (uint32_t i = 0; i < count; i++) {
		if (i)
			(void)buf_append_str(out, ", ");
		put_name(out, s, columns[i]);
		(void)buf_append_str(out, suffix);
	}
}

/* One piece of a name: quoted as in any dialect, or bare up to the next point. */
static bool take_piece(const char **at, struct buf *piece)
{
	char quote = **at == '"' || **at == '`' ? **at : **at == '[' ? ']' : '\0';

	buf_clear(piece);
	if (!quote) {
		while (**at && **at != '.')
			(void)buf_append_byte(piece, (uint8_t) * (*at)++);
		return piece->len > 0;
	}
	for ((*at)++; **at; (*at)++) {
		if (**at == quote) {
			if ((*at)[1] != quote) {
				(*at)++;
				return piece->len > 0;
			}
			(*at)++;
		}
		(void)buf_append_byte(piece, (uint8_t) * *at);
	}
	return false;
}

bool sql_put_table(struct buf *out, const struct sql_driver *d, const char *name, struct slice parts[3],
		   uint32_t *count, struct arena *arena)
{
	struct buf piece;
	bool ok = true;

	buf_init(&piece, 1024);
	*count = 0;
	while (ok) {
		ok = *count < 3 && take_piece(&name, &piece) && buf_status(&piece) == 0;
		if (!ok)
			break;
		parts[*count] = arena_copy(arena, buf_slice(&piece));
		ok = parts[*count].ptr != NULL;
		if (!ok)
			break;
		if (*count)
			(void)buf_append_byte(out, '.');
		d->quote_name(out, parts[(*count)++]);
		if (!*name)
			break;
		ok = *name++ == '.';
	}
	buf_fini(&piece);
	return ok;
}

void sql_put_where(struct buf *out, const struct sql_source *s, const char *glue)
{
	if (s->settings->where)
		(void)buf_appendf(out, "%s(%s)", glue, s->settings->where);
}

const char *sql_text(struct buf *out)
{
	(void)buf_append_byte(out, 0);
	return buf_status(out) ? NULL : (const char *)out->ptr;
}

int sql_ask_text(const struct sql_source *s, struct sql_session *session, struct buf *text,
		 struct arena *arena, struct sql_row *row, struct sql_failure *why)
{
	const char *statement = sql_text(text);

	if (statement)
		return sql_ask_one(s->driver, session, statement, arena, row, why);
	return buf_status(text) == ERR_NOMEM ?
		       sql_no_memory(why) :
		       sql_failed(why, ERR_LIMIT, SOURCE_FINAL, false, "", "the statement is too long");
}

/* ---- queries of the user's ---- */

/* Behind blanks and comments. */
static const char *skip_blank(const char *at)
{
	for (;;) {
		at += strspn(at, " \t\r\n(");
		if (at[0] == '-' && at[1] == '-') {
			at += strcspn(at, "\n");
		} else if (at[0] == '/' && at[1] == '*') {
			const char *end = strstr(at + 2, "*/");
			at = end ? end + 2 : at + strlen(at);
		} else {
			return at;
		}
	}
}

bool sql_is_query(const char *text)
{
	static const char *const words[] = {"select", "with", "values", "table", NULL};
	const char *at = skip_blank(text);

	for (size_t i = 0; words[i]; i++) {
		size_t n = strlen(words[i]);
		if (strncasecmp(at, words[i], n) == 0 && !isalnum((unsigned char)at[n]) && at[n] != '_')
			return true;
	}
	return false;
}

/* Where a piece ends in which a colon is no parameter: strings, quoted names, comments, dollar quotes. NULL: none begins here. */
static const char *opaque_end(const char *at, enum sql_dialect dialect)
{
	char tag[66];
	const char *end;
	size_t n;

	if (*at == '\'' || *at == '"' || *at == '`') {
		for (end = at + 1; *end; end++) {
			if (*end == '\\' && dialect == SQL_MARIADB && end[1])
				end++;
			else if (*end == *at)
				return end + 1;
		}
		return end;
	}
	if (at[0] == '-' && at[1] == '-')
		return at + strcspn(at, "\n");
	if (at[0] == '/' && at[1] == '*') {
		end = strstr(at + 2, "*/");
		return end ? end + 2 : at + strlen(at);
	}
	if (at[0] == '$' && dialect == SQL_POSTGRESQL) {
		for (n = 1; isalnum((unsigned char)at[n]) || at[n] == '_'; n++)
			;
		if (at[n] != '$' || n + 2 > sizeof(tag))
			return NULL;
		memcpy(tag, at, n + 1);
		tag[n + 1] = '\0';
		end = strstr(at + n + 1, tag);
		return end ? end + n + 1 : at + strlen(at);
	}
	return NULL;
}

bool sql_is_one(const char *text, enum sql_dialect dialect)
{
	bool ended = false;

	while (*text) {
		const char *end = opaque_end(text, dialect);
		bool comment = end && (*text == '-' || *text == '/');
		if (ended && !comment && !isspace((unsigned char)*text) && *text != ';')
			return false;
		ended = ended || *text == ';';
		text = end ? end : text + 1;
	}
	return true;
}

static int put_param(struct buf *out, const struct sql_driver *d, struct slice name,
		     const struct sql_param *params, uint32_t count, struct sql_failure *why)
{
	char text[300];

	for (uint32_t i = 0; i < count; i++)
		if (slice_eq_str(name, params[i].name)) {
			sql_put_literal(out, d, params[i].kind, params[i].value);
			return 0;
		}
	(void)snprintf(text, sizeof(text),
		       "the query has :%.*s; there are :cursor, :last_run, :now, :from and :to",
		       (int)(name.len > 64 ? 64 : name.len), (const char *)name.ptr);
	return sql_failed(why, ERR_BAD_CONFIG, SOURCE_FINAL, false, "query", text);
}

/*
 * Bytes of the parameter that begins there, with its colon; 0 where none does. Not the second colon of a cast, nor one within
 * a number or a word (array[1:2]). last: the text's beginning, or behind what was opaque.
 */
static size_t param_bytes(const char *at, const char *last)
{
	size_t n = 1;

	if (at[0] != ':' || !(isalpha((unsigned char)at[1]) || at[1] == '_') ||
	    (at != last && (at[-1] == ':' || isalnum((unsigned char)at[-1]))))
		return 0;
	while (isalnum((unsigned char)at[n]) || at[n] == '_')
		n++;
	return n;
}

/* A walk over the parameters of a query. */
struct params {
	const char *at, *last; /* last: as in param_bytes */
	enum sql_dialect dialect;
};

/* The next one's name, and the text before it. False: there is none, and that was the rest. */
static bool next_param(struct params *w, struct slice *before, struct slice *name)
{
	const char *from = w->at;
	size_t n = 0;

	while (*w->at && n == 0) {
		const char *end = opaque_end(w->at, w->dialect);
		if (end)
			w->last = w->at = end;
		else if ((n = param_bytes(w->at, w->last)) == 0)
			w->at++;
	}
	*before = slice_make(from, (size_t)(w->at - from));
	*name = n ? slice_make(w->at + 1, n - 1) : slice_null();
	w->at += n;
	return n > 0;
}

bool sql_query_has(const char *text, enum sql_dialect dialect, const char *name)
{
	struct params walk = {.at = text, .last = text, .dialect = dialect};
	struct slice before, found;

	while (next_param(&walk, &before, &found))
		if (slice_eq_str(found, name))
			return true;
	return false;
}

int sql_put_query(struct buf *out, const struct sql_driver *d, const char *text,
		  const struct sql_param *params, uint32_t count, struct sql_failure *why)
{
	struct params walk = {.at = text, .last = text, .dialect = d->dialect};
	struct slice before, name;
	bool more = true;
	int rc = 0;

	while (more && !rc) {
		more = next_param(&walk, &before, &name);
		(void)buf_append_slice(out, before);
		if (more)
			rc = put_param(out, d, name, params, count, why);
	}
	/* A trailing semicolon would stand in the middle of what is made of it. */
	while (out->len && (out->ptr[out->len - 1] == ';' || isspace(out->ptr[out->len - 1])))
		out->len--;
	return rc ? rc : buf_status(out);
}
