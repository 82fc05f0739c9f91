/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MariaDB and MySQL over libmariadb's text protocol: rows are streamed (mysql_use_result), so
 * memory does not follow the table. The library blocks; it has timeouts of its own, and interrupt
 * shuts the socket, which ends whatever waits for it.
 *
 * The URL is mysql://USER:PASSWORD@HOST:PORT/DATABASE, with ?ssl-mode=disabled|preferred|required|verify-full, ?socket=PATH.
 */
#include <errno.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <errmsg.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "connect/sql/driver.h"
#include "connect/sql/resolve.h"
#include "connect/sql/url.h"

#define BINARY_CHARSET 63u

struct sql_session {
	MYSQL *mysql;
	MYSQL_RES *result;
	struct sql_column *columns;
	struct slice *values;
	char (*bits)[24]; /* digits of BIT values of the present row */
	uint32_t count;
	bool large;
	pthread_mutex_t lock; /* of the socket, between interrupt and close */
};

/* ---- failures ---- */

/* What goes only when somebody changes something; everything else may go by itself. */
static bool is_final(unsigned int number)
{
	switch (number) {
	case ER_ACCESS_DENIED_ERROR:
	case ER_DBACCESS_DENIED_ERROR:
	case ER_TABLEACCESS_DENIED_ERROR:
	case ER_COLUMNACCESS_DENIED_ERROR:
	case ER_SPECIFIC_ACCESS_DENIED_ERROR:
	case ER_ACCESS_DENIED_NO_PASSWORD_ERROR:
	case ER_BAD_DB_ERROR:
	case ER_NO_SUCH_TABLE:
	case ER_BAD_TABLE_ERROR:
	case ER_BAD_FIELD_ERROR:
	case ER_PARSE_ERROR:
	case ER_WRONG_FIELD_WITH_GROUP:
	case ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION:
	case ER_OPTION_PREVENTS_STATEMENT:
	case ER_HOST_NOT_PRIVILEGED:
	case ER_HOST_IS_BLOCKED:
	case CR_SSL_CONNECTION_ERROR:
	case CR_AUTH_PLUGIN_CANNOT_LOAD:
	case CR_UNKNOWN_HOST:
		return true;
	default:
		/* Other mistakes of a statement: class 42, 22, 28. */
		return false;
	}
}

static int failed_library(struct sql_session *s, struct sql_failure *why)
{
	unsigned int number = mysql_errno(s->mysql);
	const char *state = mysql_sqlstate(s->mysql);
	bool statement =
		strncmp(state, "42", 2) == 0 || strncmp(state, "22", 2) == 0 || strncmp(state, "28", 2) == 0;
	bool lost = number >= CR_MIN_ERROR && number <= CR_MAX_ERROR;
	char code[8];

	(void)snprintf(code, sizeof(code), "%u", number);
	return sql_failed(why, ERR_IO,
			  is_final(number) || (statement && !lost) ? SOURCE_FINAL : SOURCE_TRANSIENT, lost,
			  code, mysql_error(s->mysql));
}

static int no_memory(struct sql_failure *why)
{
	return sql_failed(why, ERR_NOMEM, SOURCE_TRANSIENT, true, "1037", "out of memory");
}

/* ---- connections ---- */

static void my_close(struct sql_session *s)
{
	MYSQL *mysql;

	if (s->result && s->mysql)
		(void)shutdown(mysql_get_socket(s->mysql),
			       SHUT_RDWR); /* or freeing the result would read it to its end */
	mysql_free_result(s->result);
	pthread_mutex_lock(&s->lock);
	mysql = s->mysql;
	s->mysql = NULL;
	pthread_mutex_unlock(&s->lock);
	if (mysql)
		mysql_close(mysql);
	pthread_mutex_destroy(&s->lock);
	mem_free(s->columns);
	mem_free(s->values);
	mem_free(s->bits);
	mem_free(s);
}

static void my_interrupt(struct sql_session *s)
{
	pthread_mutex_lock(&s->lock);
	if (s->mysql)
		(void)shutdown(mysql_get_socket(s->mysql), SHUT_RDWR);
	pthread_mutex_unlock(&s->lock);
}

static int set_tls(MYSQL *mysql, const struct sql_target *t, const struct sql_url *url,
		   struct sql_failure *why)
{
	static const char *const names[] = {"disabled", "preferred", "required", "verify-full", NULL};
	const char *mode = sql_url_param(url, "ssl-mode");
	my_bool yes = 1;
	int at = t->ca ? 3 : 1;

	for (int i = 0; mode; i++) {
		if (!names[i])
			return sql_failed(why, ERR_BAD_PARAMETER, SOURCE_FINAL, true, "08001",
					  "ssl-mode is one of disabled, preferred, required, verify-full");
		if (strcmp(names[i], mode) == 0) {
			at = i;
			break;
		}
	}
	if (t->ca)
		mysql_optionsv(mysql, MYSQL_OPT_SSL_CA, t->ca);
	if (at >= 2)
		mysql_optionsv(mysql, MYSQL_OPT_SSL_ENFORCE, &yes);
	if (at == 3)
		mysql_optionsv(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
	return 0;
}

static int connect_url(struct sql_session *s, const struct sql_target *t, const struct sql_url *url,
		       struct sql_failure *why)
{
	unsigned int seconds = (unsigned int)((t->timeout_ms + 999) / 1000), off = 0;
	const char *host = url->host[0] ? url->host : "localhost",
		   *socket_path = sql_url_param(url, "socket");
	struct sql_address address;
	int rc = set_tls(s->mysql, t, url, why);

	if (rc)
		return rc;
	mysql_optionsv(s->mysql, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
	mysql_optionsv(s->mysql, MYSQL_OPT_READ_TIMEOUT, &seconds);
	mysql_optionsv(s->mysql, MYSQL_OPT_WRITE_TIMEOUT, &seconds);
	mysql_optionsv(s->mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	mysql_optionsv(s->mysql, MYSQL_OPT_LOCAL_INFILE,
		       &off); /* a server may not ask for files of this machine */
	if (t->guarded) {
		char port[8];
		(void)snprintf(port, sizeof(port), "%u", url->port ? url->port : 3306);
		rc = socket_path ?
			     sql_failed(why, ERR_FORBIDDEN, SOURCE_FINAL, true, "42501",
					"a source made over the API reaches no socket of this machine") :
			     sql_resolve_public(host, port, &address, why);
		if (rc)
			return rc;
		host = address.text;
	}
	if (!mysql_real_connect(s->mysql, host, url->user[0] ? url->user : NULL,
				t->password ? t->password : url->password,
				url->database[0] ? url->database : NULL, url->port, socket_path, 0))
		return failed_library(s, why);
	return 0;
}

static int run_text(struct sql_session *s, const char *text, struct sql_failure *why)
{
	if (mysql_real_query(s->mysql, text, strlen(text)))
		return failed_library(s, why);
	return 0;
}

static int prepare_session(struct sql_session *s, bool writes, struct sql_failure *why)
{
	static const char *const always[] = {
		"SET SESSION time_zone = '+00:00'",
		"SET SESSION net_write_timeout = 31536000", /* a reader that pauses is no dead one */
		"SET SESSION transaction_isolation = 'REPEATABLE-READ'",
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]) && !rc; i++)
		rc = run_text(s, always[i], why);
	if (rc && strcmp(why->state, "1193") == 0) /* the variable's name before MariaDB 11.1 */
		rc = run_text(s, "SET SESSION tx_isolation = 'REPEATABLE-READ'", why);
	return rc || writes ? rc : run_text(s, "SET SESSION TRANSACTION READ ONLY", why);
}

static int my_connect(const struct sql_target *target, bool writes, struct sql_session **out,
		      struct sql_failure *why)
{
	struct sql_session *s = mem_zalloc(1, sizeof(*s));
	struct sql_url url;
	int rc;

	*out = NULL;
	if (!s)
		return no_memory(why);
	pthread_mutex_init(&s->lock, NULL);
	s->columns = mem_zalloc(SQL_COLUMNS_MAX, sizeof(*s->columns));
	s->values = mem_zalloc(SQL_COLUMNS_MAX, sizeof(*s->values));
	s->bits = mem_zalloc(SQL_COLUMNS_MAX, sizeof(*s->bits));
	s->mysql = mysql_init(NULL);
	if (!s->columns || !s->values || !s->bits || !s->mysql)
		rc = no_memory(why);
	else if (!sql_url_parse(target->url, &url))
		rc = sql_failed(why, ERR_BAD_PARAMETER, SOURCE_FINAL, true, "08001",
				"the URL is mysql://USER:PASSWORD@HOST:PORT/DATABASE");
	else
		rc = connect_url(s, target, &url, why);
	if (!rc)
		rc = prepare_session(s, writes, why);
	if (rc) {
		my_close(s);
		return rc;
	}
	*out = s;
	return 0;
}

static int my_run(struct sql_session *s, const char *text, uint64_t *affected, struct sql_failure *why)
{
	int rc = run_text(s, text, why);

	if (!rc && affected)
		*affected = mysql_affected_rows(s->mysql);
	return rc;
}

/* ---- kinds ---- */

static bool is_json(const MYSQL_FIELD *f)
{
	MARIADB_CONST_STRING format;

	return mariadb_field_attr(&format, f, MARIADB_FIELD_ATTR_FORMAT_NAME) == 0 && format.length == 4 &&
	       memcmp(format.str, "json", 4) == 0;
}

static enum sql_kind kind_of(const MYSQL_FIELD *f)
{
	switch (f->type) {
	case MYSQL_TYPE_TINY:
	case MYSQL_TYPE_SHORT:
	case MYSQL_TYPE_INT24:
	case MYSQL_TYPE_LONG:
	case MYSQL_TYPE_LONGLONG:
	case MYSQL_TYPE_YEAR:
	case MYSQL_TYPE_BIT:
		return SQL_INTEGER;
	case MYSQL_TYPE_DECIMAL:
	case MYSQL_TYPE_NEWDECIMAL:
		return SQL_DECIMAL;
	case MYSQL_TYPE_FLOAT:
		return SQL_FLOAT;
	case MYSQL_TYPE_DOUBLE:
		return SQL_DOUBLE;
	case MYSQL_TYPE_TIMESTAMP:
	case MYSQL_TYPE_TIMESTAMP2:
		return SQL_TIMESTAMP;
	case MYSQL_TYPE_DATETIME:
	case MYSQL_TYPE_DATETIME2:
		return SQL_DATETIME;
	case MYSQL_TYPE_DATE:
	case MYSQL_TYPE_NEWDATE:
		return SQL_DATE;
	case MYSQL_TYPE_TIME:
	case MYSQL_TYPE_TIME2:
		return SQL_TIME;
	case MYSQL_TYPE_JSON:
		return SQL_JSON;
	case MYSQL_TYPE_GEOMETRY:
		return SQL_BYTES;
	case MYSQL_TYPE_ENUM:
	case MYSQL_TYPE_SET:
		return SQL_TEXT;
	default:
		if (is_json(f))
			return SQL_MAYBE_JSON;
		return f->charsetnr == BINARY_CHARSET && f->type != MYSQL_TYPE_NULL ? SQL_BYTES : SQL_TEXT;
	}
}

static int take_columns(struct sql_session *s, struct sql_failure *why)
{
	unsigned int n = mysql_num_fields(s->result);
	const MYSQL_FIELD *fields = mysql_fetch_fields(s->result);

	if (n > SQL_COLUMNS_MAX)
		return sql_failed(why, ERR_LIMIT, SOURCE_FINAL, true, "1117", "more than 1600 columns");
	s->count = n;
	for (unsigned int i = 0; i < n; i++) {
		struct sql_column *c = &s->columns[i];
		*c = (struct sql_column){.type = (uint32_t)fields[i].type, .kind = kind_of(&fields[i])};
		(void)snprintf(c->name, sizeof(c->name), "%s", fields[i].name);
	}
	return 0;
}

/* ---- rows ---- */

static int my_stop(struct sql_session *s)
{
	if (!s->result)
		return 0;
	if (s->large) /* the rest of a table is not read for nothing; the session goes instead */
		return ERR_IO;
	mysql_free_result(s->result);
	s->result = NULL;
	return mysql_errno(s->mysql) ? ERR_IO : 0;
}

static int my_ask(struct sql_session *s, const char *text, bool large, struct sql_failure *why)
{
	int rc = my_stop(s);

	if (rc)
		return sql_failed(why, rc, SOURCE_TRANSIENT, true, "2013",
				  "the connection is of no more use");
	rc = run_text(s, text, why);
	if (rc)
		return rc;
	s->large = large;
	s->result = mysql_use_result(s->mysql);
	if (!s->result)
		return mysql_errno(s->mysql) ? failed_library(s, why) :
					       sql_failed(why, ERR_BAD_PARAMETER, SOURCE_FINAL, false, "0",
							  "the statement gives no rows");
	return take_columns(s, why);
}

static const struct sql_column *my_columns(struct sql_session *s, uint32_t *count)
{
	*count = s->count;
	return s->columns;
}

/* BIT comes as big-endian bytes. */
static struct slice bit_digits(struct slice bytes, char text[24])
{
	uint64_t v = 0;

	for (size_t i = 0; i < bytes.len && i < 8; i++)
		v = v << 8 | bytes.ptr[i];
	return slice_make(text, (size_t)snprintf(text, 24, "%llu", (unsigned long long)v));
}

/* ZEROFILL's zeros are no part of the number. */
static struct slice without_zeros(struct slice digits)
{
	while (digits.len > 1 && digits.ptr[0] == '0' && digits.ptr[1] >= '0' && digits.ptr[1] <= '9')
		digits = slice_from(digits, 1);
	return digits;
}

static struct slice value_of(struct sql_session *s, uint32_t i, struct slice v)
{
	const struct sql_column *c = &s->columns[i];

	if (!v.ptr || (c->kind != SQL_INTEGER && c->kind != SQL_DECIMAL))
		return v;
	return c->type == MYSQL_TYPE_BIT ? bit_digits(v, s->bits[i]) : without_zeros(v);
}

static int my_next(struct sql_session *s, struct sql_row *row, struct sql_failure *why)
{
	unsigned long *lengths;
	MYSQL_ROW r;

	if (!s->result)
		return 0;
	r = mysql_fetch_row(s->result);
	if (!r) {
		int rc = mysql_errno(s->mysql) ? failed_library(s, why) : 0;
		mysql_free_result(s->result);
		s->result = NULL;
		return rc;
	}
	lengths = mysql_fetch_lengths(s->result);
	for (uint32_t i = 0; i < s->count; i++)
		s->values[i] = value_of(s, i, r[i] ? slice_make(r[i], lengths[i]) : slice_null());
	*row = (struct sql_row){.values = s->values, .count = s->count};
	return 1;
}

/* ---- quoting ---- */

static void my_quote_name(struct buf *out, struct slice name)
{
	sql_put_doubled(out, name, '`');
}

/* As hexadecimal digits where a backslash is in it: what that means depends on the session's sql_mode. */
static void my_quote_text(struct buf *out, struct slice text)
{
	if (text.len && (memchr(text.ptr, '\\', text.len) || memchr(text.ptr, 0, text.len))) {
		(void)buf_append_str(out, "CONVERT(X'");
		sql_put_hex(out, text);
		(void)buf_append_str(out, "' USING utf8mb4)");
		return;
	}
	(void)buf_append_byte(out, '\'');
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == '\'')
			(void)buf_append_byte(out, '\'');
		(void)buf_append_byte(out, text.ptr[i]);
	}
	(void)buf_append_byte(out, '\'');
}

static void my_quote_bytes(struct buf *out, struct slice bytes)
{
	(void)buf_append_str(out, "X'");
	sql_put_hex(out, bytes);
	(void)buf_append_byte(out, '\'');
}

const struct sql_driver sql_mariadb = {
	.name = "mariadb",
	.dialect = SQL_MARIADB,
	.connect = my_connect,
	.close = my_close,
	.interrupt = my_interrupt,
	.run = my_run,
	.ask = my_ask,
	.columns = my_columns,
	.next = my_next,
	.stop = my_stop,
	.quote_name = my_quote_name,
	.quote_text = my_quote_text,
	.quote_bytes = my_quote_bytes,
};
