/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session of PostgreSQL: connecting, asking, waiting. Nothing here blocks without end: statements are sent, and the socket is polled, so
 * that a call that was cancelled, or a server that has gone silent, is seen within the fifth of a second or the timeout.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>

#include "base/mem.h"
#include "connect/sql/pg.h"
#include "connect/sql/resolve.h"

#define POLL_MS 200

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

int pg_failed_result(struct sql_session *s, const PGresult *r, struct sql_failure *why)
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

int pg_failed_connection(struct sql_session *s, struct sql_failure *why)
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

int pg_wait(struct sql_session *s, struct sql_failure *why)
{
	int rc = wait_for(PQsocket(s->conn), POLLIN, now_ms() + s->timeout_ms, s->cancelled);

	if (rc)
		return failed_waiting(s, rc, why);
	return PQconsumeInput(s->conn) ? 0 : pg_failed_connection(s, why);
}

int pg_wait_result(struct sql_session *s, struct sql_failure *why)
{
	while (PQisBusy(s->conn)) {
		int rc = pg_wait(s, why);
		if (rc)
			return rc;
	}
	return 0;
}

int pg_finish(struct sql_session *s, PGresult **out, struct sql_failure *why)
{
	PGresult *last = NULL, *r;
	int rc;

	*out = NULL;
	for (;;) {
		rc = pg_wait_result(s, why);
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
		rc = pg_failed_connection(s, why);
	if (!rc && (PQresultStatus(last) == PGRES_FATAL_ERROR || PQresultStatus(last) == PGRES_BAD_RESPONSE))
		rc = pg_failed_result(s, last, why);
	if (rc)
		PQclear(last);
	else
		*out = last;
	return rc;
}

int pg_send_and_finish(struct sql_session *s, const char *text, PGresult **out, struct sql_failure *why)
{
	*out = NULL;
	if (!PQsendQuery(s->conn, text))
		return pg_failed_connection(s, why);
	return pg_finish(s, out, why);
}

/* ---- connections ---- */

void pg_close(struct sql_session *s)
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
void pg_interrupt(struct sql_session *s)
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
	int rc = pg_send_and_finish(
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
	rc = pg_send_and_finish(s, "SET client_encoding='SQL_ASCII'", &r, why);
	PQclear(r);
	return rc;
}

int pg_connect(const struct sql_target *target, bool writes, struct sql_session **out,
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
