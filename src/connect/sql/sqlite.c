/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite: a file of this machine, opened read-only unless a log of changes is worked off. It types values, not
 * columns: a value's own type says how it reads, the declared type only where it tells booleans and JSON.
 *
 * The URL is sqlite:///PATH (absolute) or sqlite:PATH.
 */
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <strings.h>

#include "base/mem.h"
#include "connect/sql/driver.h"
#include "json/json_write.h"

struct sql_session {
	sqlite3 *db;
	sqlite3_stmt *statement;
	struct sql_column *columns;
	struct slice *values;
	enum sql_kind *kinds;
	char (*numbers)[40];
	uint32_t count;
	int first;    /* what the first step gave, which was taken to know the columns */
	bool stepped; /* it is to be told yet */
};

static int failed_code(struct sql_session *s, int code, struct sql_failure *why)
{
	int err = ERR_IO;
	enum source_failure kind = SOURCE_FINAL;
	char state[8];

	if (code == SQLITE_INTERRUPT)
		err = ERR_CANCELLED;
	if (code == SQLITE_BUSY || code == SQLITE_LOCKED || code == SQLITE_INTERRUPT ||
	    code == SQLITE_NOMEM || code == SQLITE_IOERR || code == SQLITE_FULL || code == SQLITE_SCHEMA ||
	    code == SQLITE_PROTOCOL)
		kind = SOURCE_TRANSIENT;
	(void)snprintf(state, sizeof(state), "%d", code);
	return sql_failed(why, err, kind,
			  code == SQLITE_IOERR || code == SQLITE_CORRUPT || code == SQLITE_NOTADB, state,
			  s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(code));
}

static void lite_close(struct sql_session *s)
{
	sqlite3_finalize(s->statement);
	sqlite3_close(s->db);
	mem_free(s->columns);
	mem_free(s->values);
	mem_free(s->kinds);
	mem_free(s->numbers);
	mem_free(s);
}

static void lite_interrupt(struct sql_session *s)
{
	sqlite3_interrupt(s->db);
}

static int lite_run(struct sql_session *s, const char *text, uint64_t *affected, struct sql_failure *why)
{
	int code = sqlite3_exec(s->db, text, NULL, NULL, NULL);

	if (code != SQLITE_OK)
		return failed_code(s, code, why);
	if (affected)
		*affected = (uint64_t)sqlite3_changes64(s->db);
	return 0;
}

static int open_file(struct sql_session *s, const struct sql_target *t, bool writes, struct sql_failure *why)
{
	const char *path = t->url + strcspn(t->url, ":");
	int code;

	path += strncmp(path, "://", 3) == 0 ? 3 : 1;
	if (t->guarded)
		return sql_failed(
			why, ERR_FORBIDDEN, SOURCE_FINAL, true, "14",
			"a source made over the API reads no files of this machine: put it into the configuration file");
	code = sqlite3_open_v2(path, &s->db,
			       (writes ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) | SQLITE_OPEN_NOMUTEX,
			       NULL);
	if (code != SQLITE_OK)
		return failed_code(s, code, why);
	sqlite3_busy_timeout(s->db, 5000);
	/* A file that others made: nothing that its schema says is run but what the statement needs. */
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	/* A name in double quotes that no column has is a mistake, and no text. */
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	return lite_run(s, "SELECT count(*) FROM sqlite_master", NULL, why);
}

static int lite_connect(const struct sql_target *target, bool writes, struct sql_session **out,
			struct sql_failure *why)
{
	struct sql_session *s = mem_zalloc(1, sizeof(*s));
	int rc;

	*out = NULL;
	if (!s)
		return sql_failed(why, ERR_NOMEM, SOURCE_TRANSIENT, true, "7", "out of memory");
	s->columns = mem_zalloc(SQL_COLUMNS_MAX, sizeof(*s->columns));
	s->values = mem_zalloc(SQL_COLUMNS_MAX, sizeof(*s->values));
	s->kinds = mem_zalloc(SQL_COLUMNS_MAX, sizeof(*s->kinds));
	s->numbers = mem_zalloc(SQL_COLUMNS_MAX, sizeof(*s->numbers));
	rc = s->columns && s->values && s->kinds && s->numbers ?
		     open_file(s, target, writes, why) :
		     sql_failed(why, ERR_NOMEM, SOURCE_TRANSIENT, true, "7", "out of memory");
	if (rc) {
		lite_close(s);
		return rc;
	}
	*out = s;
	return 0;
}

/* ---- rows ---- */

static int lite_stop(struct sql_session *s)
{
	sqlite3_finalize(s->statement);
	s->statement = NULL;
	s->stepped = false;
	return 0;
}

/* Of the declared type only what the value itself does not tell. */
static enum sql_kind declared_kind(const char *type)
{
	if (!type)
		return SQL_TEXT;
	if (strncasecmp(type, "bool", 4) == 0)
		return SQL_BOOL;
	if (strcasecmp(type, "json") == 0)
		return SQL_MAYBE_JSON;
	return SQL_TEXT;
}

static int lite_ask(struct sql_session *s, const char *text, bool large, struct sql_failure *why)
{
	const char *rest;
	int code;

	(void)large;
	(void)lite_stop(s);
	code = sqlite3_prepare_v2(s->db, text, -1, &s->statement, &rest);
	if (code != SQLITE_OK)
		return failed_code(s, code, why);
	if (!s->statement || rest[strspn(rest, " \t\r\n;")])
		return sql_failed(why, ERR_BAD_PARAMETER, SOURCE_FINAL, false, "1",
				  "one statement is wanted");
	/* Where the schema has changed since it was read last, the first step finds that out, and the statement has other columns. */
	s->first = sqlite3_step(s->statement);
	s->stepped = s->first == SQLITE_ROW || s->first == SQLITE_DONE;
	if (!s->stepped)
		return failed_code(s, s->first, why);
	s->count = (uint32_t)sqlite3_column_count(s->statement);
	if (s->count == 0)
		return sql_failed(why, ERR_BAD_PARAMETER, SOURCE_FINAL, false, "1",
				  "the statement gives no rows");
	if (s->count > SQL_COLUMNS_MAX)
		return sql_failed(why, ERR_LIMIT, SOURCE_FINAL, false, "1", "more than 1600 columns");
	for (uint32_t i = 0; i < s->count; i++) {
		struct sql_column *c = &s->columns[i];
		*c = (struct sql_column){
			.kind = declared_kind(sqlite3_column_decltype(s->statement, (int)i))};
		(void)snprintf(c->name, sizeof(c->name), "%s", sqlite3_column_name(s->statement, (int)i));
	}
	return 0;
}

static const struct sql_column *lite_columns(struct sql_session *s, uint32_t *count)
{
	*count = s->count;
	return s->columns;
}

/* An infinity by its word, as PostgreSQL has it: JSON has no number for it. Of NaN SQLite makes NULL. */
static struct slice real_text(char *room, size_t bytes, double value)
{
	struct buf number = {.ptr = (uint8_t *)room, .cap = bytes, .bytes_max = bytes};

	if (isinf(value))
		return value < 0 ? SLICE_LIT("-Infinity") : SLICE_LIT("Infinity");
	json_put_double(&number, value);
	return slice_make(room, number.len);
}

static void take_value(struct sql_session *s, uint32_t i)
{
	sqlite3_stmt *st = s->statement;
	int at = (int)i;

	switch (sqlite3_column_type(st, at)) {
	case SQLITE_NULL:
		s->values[i] = slice_null();
		return;
	case SQLITE_INTEGER:
		s->kinds[i] = s->columns[i].kind == SQL_BOOL && (uint64_t)sqlite3_column_int64(st, at) <= 1 ?
				      SQL_BOOL :
				      SQL_INTEGER;
		s->values[i] = slice_make(s->numbers[i],
					  (size_t)snprintf(s->numbers[i], sizeof(s->numbers[i]), "%lld",
							   (long long)sqlite3_column_int64(st, at)));
		return;
	case SQLITE_FLOAT:
		s->kinds[i] = SQL_DOUBLE;
		s->values[i] = real_text(s->numbers[i], sizeof(s->numbers[i]), sqlite3_column_double(st, at));
		return;
	case SQLITE_BLOB:
		s->kinds[i] = SQL_BYTES;
		s->values[i] = slice_make(sqlite3_column_blob(st, at), (size_t)sqlite3_column_bytes(st, at));
		break;
	default:
		s->kinds[i] = s->columns[i].kind == SQL_BOOL ? SQL_TEXT : s->columns[i].kind;
		s->values[i] = slice_make(sqlite3_column_text(st, at), (size_t)sqlite3_column_bytes(st, at));
		break;
	}
	if (!s->values[i].ptr)
		s->values[i] = slice_make("", 0);
}

static int lite_next(struct sql_session *s, struct sql_row *row, struct sql_failure *why)
{
	int code;

	if (!s->statement)
		return 0;
	code = s->stepped ? s->first : sqlite3_step(s->statement);
	s->stepped = false;
	if (code != SQLITE_ROW) {
		int rc = code == SQLITE_DONE ? 0 : failed_code(s, code, why);
		(void)lite_stop(s);
		return rc;
	}
	for (uint32_t i = 0; i < s->count; i++)
		take_value(s, i);
	*row = (struct sql_row){.values = s->values, .kinds = s->kinds, .count = s->count};
	return 1;
}

/* ---- quoting ---- */

static void lite_quote_name(struct buf *out, struct slice name)
{
	sql_put_doubled(out, name, '"');
}

static void lite_quote_text(struct buf *out, struct slice text)
{
	sql_put_doubled(out, text, '\'');
}

static void lite_quote_bytes(struct buf *out, struct slice bytes)
{
	(void)buf_append_str(out, "X'");
	sql_put_hex(out, bytes);
	(void)buf_append_byte(out, '\'');
}

const struct sql_driver sql_sqlite = {
	.name = "sqlite",
	.dialect = SQL_SQLITE,
	.connect = lite_connect,
	.close = lite_close,
	.interrupt = lite_interrupt,
	.run = lite_run,
	.ask = lite_ask,
	.columns = lite_columns,
	.next = lite_next,
	.stop = lite_stop,
	.quote_name = lite_quote_name,
	.quote_text = lite_quote_text,
	.quote_bytes = lite_quote_bytes,
};
