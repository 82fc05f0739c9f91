/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of PostgreSQL. What may be long is read by COPY (…) TO STDOUT: the server sends text rows without
 * a message of its own for each field, nothing is kept of those that were taken, and a
 * reader that pauses stops the server by its socket. Kinds come from describing the statement first.
 */
#include <libpq-fe.h>

#include "connect/sql/pg.h"

static int describe(struct sql_session *s, const char *text, struct sql_failure *why)
{
	PGresult *r;
	int rc;

	if (!PQsendPrepare(s->conn, "", text, 0, NULL))
		return pg_failed_connection(s, why);
	rc = pg_finish(s, &r, why);
	PQclear(r);
	if (rc)
		return rc;
	if (!PQsendDescribePrepared(s->conn, ""))
		return pg_failed_connection(s, why);
	rc = pg_finish(s, &r, why);
	if (!rc)
		rc = pg_take_columns(s, r, why);
	PQclear(r);
	return rc;
}

static int ask_by_copy(struct sql_session *s, const char *text, struct sql_failure *why)
{
	struct buf copy;
	PGresult *r = NULL;
	int rc = describe(s, text, why);

	if (rc)
		return rc;
	buf_init(&copy, 1u << 20);
	(void)buf_append_str(&copy, "COPY (");
	(void)buf_append_str(&copy, text);
	(void)buf_append_str(&copy, ") TO STDOUT");
	(void)buf_append_byte(&copy, 0);
	rc = buf_status(&copy) ? sql_failed(why, buf_status(&copy), SOURCE_FINAL, false, "54000",
					    "the statement is too long") :
				 pg_send_and_finish(s, (const char *)copy.ptr, &r, why);
	buf_fini(&copy);
	PQclear(r);
	s->copying = s->asked = !rc;
	return rc;
}

/* Between describing and asking somebody may have changed the table: no transaction holds it. */
static bool is_as_described(const struct sql_session *s, const PGresult *r)
{
	if (PQnfields(r) != (int)s->count)
		return false;
	for (uint32_t i = 0; i < s->count; i++)
		if (PQftype(r, (int)i) != s->columns[i].type ||
		    strcmp(PQfname(r, (int)i), s->columns[i].name) != 0)
			return false;
	return true;
}

/* Row by row of an ordinary answer: the first result has the columns, and perhaps the first row. */
static int ask_by_row(struct sql_session *s, const char *text, struct sql_failure *why)
{
	PGresult *r;
	int rc;

	if (!PQsendQuery(s->conn, text))
		return pg_failed_connection(s, why);
	if (!PQsetSingleRowMode(s->conn))
		return pg_failed_connection(s, why);
	rc = pg_wait_result(s, why);
	if (rc)
		return rc;
	r = PQgetResult(s->conn);
	if (!r)
		return pg_failed_connection(s, why);
	if (PQresultStatus(r) == PGRES_FATAL_ERROR) {
		rc = pg_failed_result(s, r, why);
		PQclear(r);
		while ((r = PQgetResult(s->conn)))
			PQclear(r);
		return rc;
	}
	s->pending = r;
	s->asked = true;
	s->copying = false;
	if (!is_as_described(s, r))
		return sql_failed(why, ERR_IO, SOURCE_TRANSIENT, pg_stop(s) != 0, "",
				  "the columns were changed at this moment");
	return 0;
}

int pg_ask(struct sql_session *s, const char *text, bool large, struct sql_failure *why)
{
	int rc = pg_stop(s);

	if (rc)
		return sql_failed(why, rc, SOURCE_TRANSIENT, true, "08006",
				  "the connection is of no more use");
	if (large)
		return ask_by_copy(s, text, why);
	/* Kinds that are not built in want a question of their own, which does not go beside this one. */
	rc = describe(s, text, why);
	return rc ? rc : ask_by_row(s, text, why);
}

const struct sql_column *pg_columns(struct sql_session *s, uint32_t *count)
{
	*count = s->count;
	return s->columns;
}

static int nibble(uint8_t c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* "\x0aff" in place. */
static struct slice unhex(char *text, size_t len)
{
	uint8_t *at = (uint8_t *)text;

	if (len < 2 || at[0] != '\\' || at[1] != 'x')
		return slice_make(text, len);
	for (size_t i = 2; i + 1 < len; i += 2)
		at[i / 2 - 1] = (uint8_t)(nibble(at[i]) << 4 | nibble(at[i + 1]));
	return slice_make(text, (len - 2) / 2);
}

/* One field of COPY's text, unescaped in place. */
static struct slice unescape(char *from, size_t len)
{
	char *to = memchr(from, '\\', len);
	const char *at = to, *end = from + len;

	if (!to)
		return slice_make(from, len);
	if (len == 2 && from[1] == 'N')
		return slice_null();
	while (at < end) {
		char c = *at++;
		if (c == '\\' && at < end) {
			c = *at++;
			switch (c) {
			case 'b':
				c = '\b';
				break;
			case 'f':
				c = '\f';
				break;
			case 'n':
				c = '\n';
				break;
			case 'r':
				c = '\r';
				break;
			case 't':
				c = '\t';
				break;
			case 'v':
				c = '\v';
				break;
			default:
				break;
			}
		}
		*to++ = c;
	}
	return slice_make(from, (size_t)(to - from));
}

static int split_line(struct sql_session *s, size_t len, struct sql_failure *why)
{
	char *at = s->line, *end = s->line + len;
	bool plain = !memchr(at, '\\', len);

	if (len && end[-1] == '\n')
		end--;
	for (uint32_t i = 0; i < s->count; i++) {
		char *tab = i + 1 < s->count ? memchr(at, '\t', (size_t)(end - at)) : end;
		size_t n;
		if (!tab)
			return sql_failed(why, ERR_PROTOCOL, SOURCE_TRANSIENT, true, "08P01",
					  "a row with too few columns");
		n = (size_t)(tab - at);
		s->values[i] = plain ? slice_make(at, n) : unescape(at, n);
		if (s->columns[i].kind == SQL_BYTES && s->values[i].ptr)
			s->values[i] = unhex(at, s->values[i].len);
		at = tab + 1;
	}
	return 0;
}

static int end_of_rows(struct sql_session *s, struct sql_failure *why)
{
	PGresult *r;
	int rc = pg_finish(s, &r, why);

	PQclear(r);
	s->asked = s->copying = false;
	return rc;
}

static int next_copied(struct sql_session *s, struct sql_row *row, struct sql_failure *why)
{
	int n, rc;

	PQfreemem(s->line);
	s->line = NULL;
	while ((n = PQgetCopyData(s->conn, &s->line, 1)) == 0) {
		rc = pg_wait(s, why);
		if (rc)
			return rc;
	}
	if (n == -1)
		return end_of_rows(s, why);
	if (n < 0)
		return pg_failed_connection(s, why);
	rc = split_line(s, (size_t)n, why);
	*row = (struct sql_row){.values = s->values, .count = s->count};
	return rc ? rc : 1;
}

/* The next result of a question without COPY: the caller's. */
static int take_result(struct sql_session *s, PGresult **out, struct sql_failure *why)
{
	int rc = 0;

	*out = s->pending;
	s->pending = NULL;
	if (*out)
		return 0;
	rc = pg_wait_result(s, why);
	if (!rc)
		*out = PQgetResult(s->conn);
	return rc;
}

/* The answer has ended with this result. */
static int end_single(struct sql_session *s, PGresult *r, struct sql_failure *why)
{
	int rc = PQresultStatus(r) == PGRES_FATAL_ERROR ? pg_failed_result(s, r, why) : 0;

	s->asked = false;
	do
		PQclear(r);
	while ((r = PQgetResult(s->conn)));
	return rc;
}

static int next_single(struct sql_session *s, struct sql_row *row, struct sql_failure *why)
{
	PGresult *r;
	int rc = take_result(s, &r, why);

	if (rc)
		return rc;
	PQclear(s->result);
	s->result = NULL;
	if (!r || PQntuples(r) == 0)
		return end_single(s, r, why);
	s->result = r;
	for (uint32_t i = 0; i < s->count; i++) {
		char *at = PQgetvalue(r, 0, (int)i);
		s->values[i] = PQgetisnull(r, 0, (int)i) ? slice_null() :
							   slice_make(at, (size_t)PQgetlength(r, 0, (int)i));
		if (s->columns[i].kind == SQL_BYTES && s->values[i].ptr)
			s->values[i] = unhex(at, s->values[i].len);
	}
	*row = (struct sql_row){.values = s->values, .count = s->count};
	return 1;
}

int pg_next(struct sql_session *s, struct sql_row *row, struct sql_failure *why)
{
	if (!s->asked)
		return 0;
	return s->copying ? next_copied(s, row, why) : next_single(s, row, why);
}

/* An answer of no rows came whole: its first result, which has the columns, is its last. */
static bool is_whole(const struct sql_session *s)
{
	return s->pending && PQresultStatus(s->pending) == PGRES_TUPLES_OK;
}

/* What is still on its way is read and thrown away, after the server was told to end it, which takes a connection of its own. */
int pg_stop(struct sql_session *s)
{
	struct sql_failure why;
	struct sql_row row;
	int rc;

	if (!s->asked)
		return 0;
	if (!is_whole(s))
		pg_interrupt(s);
	while ((rc = pg_next(s, &row, &why)) > 0)
		;
	s->asked = s->copying = false;
	return PQstatus(s->conn) == CONNECTION_OK && PQtransactionStatus(s->conn) != PQTRANS_ACTIVE ? 0 :
												      ERR_IO;
}
