/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PostgreSQL over libpq. What may be long is read by COPY (…) TO STDOUT: the server sends text rows without
 * a message of its own for each field, nothing is kept of those that were taken, and a
 * reader that pauses stops the server by its socket. Kinds come from describing the statement first; types that
 * are not built in (arrays of enums and the like) are looked up once a session.
 *
 * Nothing here blocks without end: statements are sent, and the socket is polled, so that a call that was
 * cancelled, or a server that has gone silent, is seen within the fifth of a second or the timeout.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "connect/sql/driver.h"
#include "connect/sql/resolve.h"

#define POLL_MS 200
#define FIRST_USER_OID 16384u

struct sql_session {
	PGconn *conn;
	PGcancel *cancel;
	const _Atomic bool *cancelled;
	int64_t timeout_ms;
	struct sql_column *columns;
	struct slice *values;
	uint32_t count;
	PGresult *pending; /* the first row, which came with the answer to the question, without COPY */
	PGresult *result;  /* the row that was given last, without COPY */
	char *line;        /* likewise with COPY: libpq's */
	bool copying, asked;
	struct known {
		uint32_t oid;
		enum sql_kind kind, element;
		char separator;
	} * known; /* types that are not built in */
	uint32_t known_count;
};

/* ---- failures ---- */

static bool is_class(const char *state, const char *class)
{
	return state[0] == class[0] && state[1] == class[1];
}

/* By SQLSTATE: what may be otherwise when it is tried again. */
static enum source_failure kind_of(const char *state)
{
	static const char *const may_go[] = {"08", "40", "53", "57", "58", "55", "XX", "25"};

	for (size_t i = 0; i < sizeof(may_go) / sizeof(may_go[0]); i++)
		if (is_class(state, may_go[i]))
			return SOURCE_TRANSIENT;
	return SOURCE_FINAL;
}

static int failed_result(struct sql_session *s, const PGresult *r, struct sql_failure *why)
{
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	bool lost = PQstatus(s->conn) != CONNECTION_OK;

	if (!state)
		return sql_failed(why, ERR_IO, SOURCE_TRANSIENT, true, "08006", PQerrorMessage(s->conn));
	if (strcmp(state, "57014") == 0) /* query_canceled: by interrupt, or by somebody there */
		return sql_failed(why, ERR_CANCELLED, SOURCE_TRANSIENT, lost, state, text);
	return sql_failed(why, ERR_IO, kind_of(state), lost, state, text);
}

static int failed_connection(struct sql_session *s, struct sql_failure *why)
{
	return sql_failed(why, ERR_IO, SOURCE_TRANSIENT, true, "08006", PQerrorMessage(s->conn));
}

/* Before there is a session libpq gives no SQLSTATE; the server's words tell what will not go by itself. */
static int failed_to_connect(PGconn *conn, struct sql_failure *why)
{
	static const char *const final[] = {"authentication failed", "does not exist", "no pg_hba.conf entry",
					    "no password supplied",  "certificate",    "invalid ",
					    "does not support SSL",  "role ",          "permission denied"};
	const char *text = PQerrorMessage(conn);
	enum source_failure kind = SOURCE_TRANSIENT;

	for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++)
		if (strstr(text, final[i]))
			kind = SOURCE_FINAL;
	return sql_failed(why, ERR_IO, kind, true, "08001", text);
}

/* ---- waiting ---- */

static int64_t now_ms(void)
{
	return sys_monotonic_ns(sys_kernel()) / 1000000;
}

/* Until the socket is ready or `until`; 0, ERR_CANCELLED, ERR_TIMEOUT. */
static int wait_for(int fd, short events, int64_t until, const _Atomic bool *cancelled)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = events};
		int n = poll(&p, 1, POLL_MS);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return ERR_IO;
		if (cancelled && atomic_load_explicit(cancelled, memory_order_relaxed))
			return ERR_CANCELLED;
		if (now_ms() >= until)
			return ERR_TIMEOUT;
	}
}

static int failed_waiting(struct sql_session *s, int err, struct sql_failure *why)
{
	char text[100];

	if (err == ERR_CANCELLED)
		return sql_failed(why, err, SOURCE_TRANSIENT, true, "57014", "cancelled");
	(void)snprintf(text, sizeof(text), "the server has been silent for %lld s",
		       (long long)s->timeout_ms / 1000);
	return sql_failed(why, ERR_IO, SOURCE_TRANSIENT, true, "08006", text);
}

/* Waits until a result can be taken without waiting. */
static int wait_result(struct sql_session *s, struct sql_failure *why)
{
	while (PQisBusy(s->conn)) {
		int rc = wait_for(PQsocket(s->conn), POLLIN, now_ms() + s->timeout_ms, s->cancelled);
		if (rc)
			return failed_waiting(s, rc, why);
		if (!PQconsumeInput(s->conn))
			return failed_connection(s, why);
	}
	return 0;
}

/* The last result of what was sent, or an error; *out is the caller's. COPY ends it early: copying goes on then. */
static int finish(struct sql_session *s, PGresult **out, struct sql_failure *why)
{
	PGresult *last = NULL, *r;
	int rc;

	*out = NULL;
	for (;;) {
		rc = wait_result(s, why);
		if (rc)
			break;
		r = PQgetResult(s->conn);
		if (!r)
			break;
		PQclear(last);
		last = r;
		if (PQresultStatus(r) == PGRES_COPY_OUT)
			break;
	}
	if (!rc && !last)
		rc = failed_connection(s, why);
	if (!rc && (PQresultStatus(last) == PGRES_FATAL_ERROR || PQresultStatus(last) == PGRES_BAD_RESPONSE))
		rc = failed_result(s, last, why);
	if (rc)
		PQclear(last);
	else
		*out = last;
	return rc;
}

static int send_and_finish(struct sql_session *s, const char *text, PGresult **out, struct sql_failure *why)
{
	*out = NULL;
	if (!PQsendQuery(s->conn, text))
		return failed_connection(s, why);
	return finish(s, out, why);
}

/* ---- connections ---- */

static void pg_close(struct sql_session *s)
{
	PQclear(s->pending);
	PQclear(s->result);
	PQfreemem(s->line);
	PQfreeCancel(s->cancel);
	PQfinish(s->conn);
	mem_free(s->columns);
	mem_free(s->values);
	mem_free(s->known);
	mem_free(s);
}

/* Runs on a thread beside the one that waits; PQcancel opens a connection of its own, which is short. */
static void pg_interrupt(struct sql_session *s)
{
	char text[256];

	(void)PQcancel(s->cancel, text, sizeof(text));
}

static void no_notice(void *ctx, const PGresult *r)
{
	(void)ctx, (void)r;
}

static int poll_connect(struct sql_session *s, struct sql_failure *why)
{
	int64_t until = now_ms() + s->timeout_ms;
	PostgresPollingStatusType want = PGRES_POLLING_WRITING;

	while (want != PGRES_POLLING_OK) {
		int rc;
		if (want == PGRES_POLLING_FAILED)
			return failed_to_connect(s->conn, why);
		rc = wait_for(PQsocket(s->conn), want == PGRES_POLLING_READING ? POLLIN : POLLOUT, until,
			      s->cancelled);
		if (rc == ERR_CANCELLED)
			return failed_waiting(s, rc, why);
		if (rc)
			return sql_failed(why, ERR_IO, SOURCE_TRANSIENT, true, "08001",
					  "no connection within the timeout");
		want = PQconnectPoll(s->conn);
	}
	return 0;
}

/* What a URL of somebody who may not see this machine may say: no files, no sockets, no options of the library. */
static int check_guarded(const char *url, struct sql_address *out, struct sql_failure *why)
{
	static const char *const allowed[] = {"host", "port", "user", "password", "dbname", "sslmode", NULL};
	PQconninfoOption *all = PQconninfoParse(url, NULL);
	const char *host = NULL, *port = "5432";
	int rc = 0;

	if (!all)
		return sql_failed(why, ERR_BAD_PARAMETER, SOURCE_FINAL, true, "08001",
				  "the URL is not well formed");
	for (const PQconninfoOption *o = all; o->keyword && !rc; o++) {
		bool ok = !o->val;
		for (size_t i = 0; allowed[i] && !ok; i++)
			ok = strcmp(o->keyword, allowed[i]) == 0;
		if (!ok)
			rc = sql_failed(
				why, ERR_FORBIDDEN, SOURCE_FINAL, true, "42501",
				"a source made over the API may say host, port, user, password, database and sslmode");
		if (o->val && strcmp(o->keyword, "host") == 0)
			host = o->val;
		if (o->val && strcmp(o->keyword, "port") == 0)
			port = o->val;
	}
	if (!rc)
		rc = sql_resolve_public(host, port, out, why);
	PQconninfoFree(all);
	return rc;
}

static int begin_connect(struct sql_session *s, const struct sql_target *t, struct sql_failure *why)
{
	const char *names[12] = {"client_encoding", "fallback_application_name", "keepalives_idle",
				 "keepalives_interval"};
	const char *values[12] = {"UTF8", "weir", "30", "10"};
	struct sql_address address;
	char timeout[24];
	uint32_t n = 4;
	int rc;

	(void)snprintf(timeout, sizeof(timeout), "%lld", (long long)t->timeout_ms);
	names[n] = "tcp_user_timeout", values[n++] = timeout;
	names[n] = "dbname", values[n++] = t->url;
	if (t->password)
		names[n] = "password", values[n++] = t->password;
	if (t->ca)
		names[n] = "sslrootcert", values[n++] = t->ca;
	if (t->guarded) {
		rc = check_guarded(t->url, &address, why);
		if (rc)
			return rc;
		names[n] = "hostaddr", values[n++] = address.text;
	}
	s->conn = PQconnectStartParams(names, values, 1);
	if (!s->conn)
		return sql_failed(why, ERR_NOMEM, SOURCE_TRANSIENT, true, "53200", "out of memory");
	if (PQstatus(s->conn) == CONNECTION_BAD)
		return failed_to_connect(s->conn, why);
	PQsetNoticeReceiver(s->conn, no_notice, NULL);
	return poll_connect(s, why);
}

static int prepare_session(struct sql_session *s, bool writes, struct sql_failure *why)
{
	/* A database of no encoding gives bytes as they are; asked for UTF-8 it would end the answer at the first that is none. */
	const char *encoding = PQparameterStatus(s->conn, "server_encoding");
	bool unsure = encoding && strcmp(encoding, "SQL_ASCII") == 0;
	PGresult *r;
	int rc = send_and_finish(
		s,
		writes ?
			"SET TimeZone='UTC'; SET DateStyle='ISO'; SET IntervalStyle='iso_8601'; SET bytea_output='hex'; "
			"SET extra_float_digits=1; SET client_encoding='UTF8'; SET statement_timeout=0; "
			"SET idle_in_transaction_session_timeout=0" :
			"SET TimeZone='UTC'; SET DateStyle='ISO'; SET IntervalStyle='iso_8601'; SET bytea_output='hex'; "
			"SET extra_float_digits=1; SET client_encoding='UTF8'; SET statement_timeout=0; "
			"SET idle_in_transaction_session_timeout=0; SET default_transaction_read_only=on",
		&r, why);

	PQclear(r);
	if (rc || !unsure)
		return rc;
	rc = send_and_finish(s, "SET client_encoding='SQL_ASCII'", &r, why);
	PQclear(r);
	return rc;
}

static int pg_connect(const struct sql_target *target, bool writes, struct sql_session **out,
		      struct sql_failure *why)
{
	struct sql_session *s = mem_zalloc(1, sizeof(*s));
	int rc;

	*out = NULL;
	if (!s)
		return sql_failed(why, ERR_NOMEM, SOURCE_TRANSIENT, true, "53200", "out of memory");
	s->cancelled = target->cancelled;
	s->timeout_ms = target->timeout_ms;
	s->columns = mem_zalloc(SQL_COLUMNS_MAX, sizeof(*s->columns));
	s->values = mem_zalloc(SQL_COLUMNS_MAX, sizeof(*s->values));
	rc = s->columns && s->values ?
		     begin_connect(s, target, why) :
		     sql_failed(why, ERR_NOMEM, SOURCE_TRANSIENT, true, "53200", "out of memory");
	if (!rc)
		rc = prepare_session(s, writes, why);
	if (!rc) {
		s->cancel = PQgetCancel(s->conn);
		if (!s->cancel)
			rc = sql_failed(why, ERR_NOMEM, SOURCE_TRANSIENT, true, "53200", "out of memory");
	}
	if (rc) {
		pg_close(s);
		return rc;
	}
	*out = s;
	return 0;
}

static int pg_run(struct sql_session *s, const char *text, uint64_t *affected, struct sql_failure *why)
{
	PGresult *r;
	int rc = send_and_finish(s, text, &r, why);

	if (!rc && affected && !slice_to_u64(slice_str(PQcmdTuples(r)), affected))
		*affected = 0;
	PQclear(r);
	return rc;
}

/* ---- kinds ---- */

struct builtin {
	uint32_t oid, array;
	enum sql_kind kind;
};

static const struct builtin builtins[] = {
	{16, 1000, SQL_BOOL},        {17, 1001, SQL_BYTES},   {18, 1002, SQL_TEXT},
	{19, 1003, SQL_TEXT},        {20, 1016, SQL_INTEGER}, {21, 1005, SQL_INTEGER},
	{23, 1007, SQL_INTEGER},     {25, 1009, SQL_TEXT},    {26, 1028, SQL_INTEGER},
	{114, 199, SQL_JSON},        {650, 651, SQL_TEXT},    {700, 1021, SQL_FLOAT},
	{701, 1022, SQL_DOUBLE},     {790, 791, SQL_TEXT},    {829, 1040, SQL_TEXT},
	{869, 1041, SQL_TEXT},       {1042, 1014, SQL_TEXT},  {1043, 1015, SQL_TEXT},
	{1082, 1182, SQL_DATE},      {1083, 1183, SQL_TIME},  {1114, 1115, SQL_DATETIME},
	{1184, 1185, SQL_TIMESTAMP}, {1186, 1187, SQL_TEXT},  {1266, 1270, SQL_TIME},
	{1560, 1561, SQL_TEXT},      {1562, 1563, SQL_TEXT},  {1700, 1231, SQL_DECIMAL},
	{2950, 2951, SQL_TEXT},      {3802, 3807, SQL_JSON},  {28, 1011, SQL_INTEGER},
	{5069, 271, SQL_INTEGER},    {3220, 3221, SQL_TEXT},
};

static bool builtin_kind(uint32_t oid, struct sql_column *c)
{
	for (size_t i = 0; i < sizeof(builtins) / sizeof(builtins[0]); i++) {
		if (builtins[i].oid == oid) {
			c->kind = builtins[i].kind;
			return true;
		}
		if (builtins[i].array == oid) {
			c->kind = SQL_ARRAY;
			c->element = builtins[i].kind;
			return true;
		}
	}
	return false;
}

static const struct known *known_type(const struct sql_session *s, uint32_t oid)
{
	for (uint32_t i = 0; i < s->known_count; i++)
		if (s->known[i].oid == oid)
			return &s->known[i];
	return NULL;
}

/* Arrays of types that are not built in, of domains and ranges; everything else reads as text. */
static int look_up(struct sql_session *s, uint32_t oid, struct sql_failure *why)
{
	struct known *more = mem_realloc(s->known, (s->known_count + 1) * sizeof(*more)), *k;
	struct sql_column element = {0};
	char text[400];
	uint64_t of;
	PGresult *r;
	int rc;

	if (!more)
		return sql_failed(why, ERR_NOMEM, SOURCE_TRANSIENT, false, "53200", "out of memory");
	s->known = more;
	k = &more[s->known_count];
	*k = (struct known){.oid = oid, .kind = SQL_TEXT, .separator = ','};
	(void)snprintf(
		text, sizeof(text),
		"SELECT t.typcategory, coalesce(nullif(e.typbasetype, 0), t.typelem), e.typdelim FROM pg_catalog.pg_type t "
		"LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem WHERE t.oid = %u AND t.typlen = -1 AND t.typelem <> 0",
		oid);
	rc = send_and_finish(s, text, &r, why);
	if (rc)
		return rc;
	if (PQntuples(r) == 1 && PQgetvalue(r, 0, 0)[0] == 'A') {
		k->kind = SQL_ARRAY;
		k->element = SQL_TEXT;
		k->separator = PQgetvalue(r, 0, 2)[0];
		if (slice_to_u64(slice_str(PQgetvalue(r, 0, 1)), &of) &&
		    builtin_kind((uint32_t)of, &element) && element.kind != SQL_ARRAY)
			k->element = element.kind;
	}
	PQclear(r);
	s->known_count++;
	return 0;
}

static int learn_types(struct sql_session *s, struct sql_failure *why)
{
	int rc = 0;

	for (uint32_t i = 0; i < s->count && !rc; i++) {
		struct sql_column *c = &s->columns[i];
		const struct known *k;
		if (builtin_kind(c->type, c))
			continue;
		k = known_type(s, c->type);
		if (!k) {
			rc = look_up(s, c->type, why);
			k = rc ? NULL : known_type(s, c->type);
		}
		if (k) {
			c->kind = k->kind;
			c->element = k->element;
			c->separator = k->separator;
		}
	}
	return rc;
}

static int take_columns(struct sql_session *s, const PGresult *r, struct sql_failure *why)
{
	int n = PQnfields(r);

	if (n < 0 || (uint32_t)n > SQL_COLUMNS_MAX)
		return sql_failed(why, ERR_LIMIT, SOURCE_FINAL, false, "54011", "more than 1600 columns");
	s->count = (uint32_t)n;
	for (int i = 0; i < n; i++) {
		struct sql_column *c = &s->columns[i];
		*c = (struct sql_column){.type = PQftype(r, i), .separator = ','};
		(void)snprintf(c->name, sizeof(c->name), "%s", PQfname(r, i));
	}
	return learn_types(s, why);
}

/* ---- rows ---- */

static int pg_stop(struct sql_session *s);

static int describe(struct sql_session *s, const char *text, struct sql_failure *why)
{
	PGresult *r;
	int rc;

	if (!PQsendPrepare(s->conn, "", text, 0, NULL))
		return failed_connection(s, why);
	rc = finish(s, &r, why);
	PQclear(r);
	if (rc)
		return rc;
	if (!PQsendDescribePrepared(s->conn, ""))
		return failed_connection(s, why);
	rc = finish(s, &r, why);
	if (!rc)
		rc = take_columns(s, r, why);
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
				 send_and_finish(s, (const char *)copy.ptr, &r, why);
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
		return failed_connection(s, why);
	if (!PQsetSingleRowMode(s->conn))
		return failed_connection(s, why);
	rc = wait_result(s, why);
	if (rc)
		return rc;
	r = PQgetResult(s->conn);
	if (!r)
		return failed_connection(s, why);
	if (PQresultStatus(r) == PGRES_FATAL_ERROR) {
		rc = failed_result(s, r, why);
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

static int pg_ask(struct sql_session *s, const char *text, bool large, struct sql_failure *why)
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

static const struct sql_column *pg_columns(struct sql_session *s, uint32_t *count)
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
	int rc = finish(s, &r, why);

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
		rc = wait_for(PQsocket(s->conn), POLLIN, now_ms() + s->timeout_ms, s->cancelled);
		if (rc)
			return failed_waiting(s, rc, why);
		if (!PQconsumeInput(s->conn))
			return failed_connection(s, why);
	}
	if (n == -1)
		return end_of_rows(s, why);
	if (n < 0)
		return failed_connection(s, why);
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
	rc = wait_result(s, why);
	if (!rc)
		*out = PQgetResult(s->conn);
	return rc;
}

/* The answer has ended with this result. */
static int end_single(struct sql_session *s, PGresult *r, struct sql_failure *why)
{
	int rc = PQresultStatus(r) == PGRES_FATAL_ERROR ? failed_result(s, r, why) : 0;

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

static int pg_next(struct sql_session *s, struct sql_row *row, struct sql_failure *why)
{
	if (!s->asked)
		return 0;
	return s->copying ? next_copied(s, row, why) : next_single(s, row, why);
}

/* What is still on its way is read and thrown away, after the server was told to end it. */
static int pg_stop(struct sql_session *s)
{
	struct sql_failure why;
	struct sql_row row;
	int rc;

	if (!s->asked)
		return 0;
	pg_interrupt(s);
	while ((rc = pg_next(s, &row, &why)) > 0)
		;
	s->asked = s->copying = false;
	return PQstatus(s->conn) == CONNECTION_OK && PQtransactionStatus(s->conn) != PQTRANS_ACTIVE ? 0 :
												      ERR_IO;
}

/* ---- quoting ---- */

static void pg_quote_name(struct buf *out, struct slice name)
{
	sql_put_doubled(out, name, '"');
}

/* E'' where there is a backslash: what it means in '' is a setting of the server. */
static void pg_quote_text(struct buf *out, struct slice text)
{
	if (!memchr(text.ptr, '\\', text.len)) {
		sql_put_doubled(out, text, '\'');
		return;
	}
	(void)buf_append_str(out, "E'");
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == '\'' || text.ptr[i] == '\\')
			(void)buf_append_byte(out, text.ptr[i]);
		(void)buf_append_byte(out, text.ptr[i]);
	}
	(void)buf_append_byte(out, '\'');
}

static void pg_quote_bytes(struct buf *out, struct slice bytes)
{
	(void)buf_append_str(out, "decode('");
	sql_put_hex(out, bytes);
	(void)buf_append_str(out, "', 'hex')");
}

static const char *const schemes[] = {"postgresql", "postgres", NULL};

const struct sql_driver sql_postgresql = {
	.name = "postgresql",
	.dialect = SQL_POSTGRESQL,
	.schemes = schemes,
	.connect = pg_connect,
	.close = pg_close,
	.interrupt = pg_interrupt,
	.run = pg_run,
	.ask = pg_ask,
	.columns = pg_columns,
	.next = pg_next,
	.stop = pg_stop,
	.quote_name = pg_quote_name,
	.quote_text = pg_quote_text,
	.quote_bytes = pg_quote_bytes,
};
