/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SQL_PG_H
#define WEIR_CONNECT_SQL_PG_H

#include "connect/sql/driver.h"

/*
 * What the files of PostgreSQL's driver share:
 *
 *	postgresql.c        the driver, and how it quotes
 *	pg_session.c        connecting, asking, waiting, and why something failed
 *	pg_types.c          columns and their kinds
 *	pg_rows.c           an answer's rows, one by one
 *
 * libpq's types stand here by their own names, so that this compiles where its header is not found.
 */
struct sql_session {
	struct pg_conn *conn;
	struct pg_cancel *cancel;
	const _Atomic bool *cancelled;
	int64_t timeout_ms;
	struct sql_column *columns;
	struct slice *values;
	uint32_t count;
	struct pg_result *pending; /* the first row, which came with the answer to the question, without COPY */
	struct pg_result *result; /* the row that was given last, without COPY */
	char *line;               /* likewise with COPY: libpq's */
	bool copying, asked;
	struct known {
		uint32_t oid;
		enum sql_kind kind, element;
		char separator;
	} * known; /* types that are not built in */
	uint32_t known_count;
};

/* ---- pg_session.c ---- */

int pg_connect(const struct sql_target *target, bool writes, struct sql_session **out,
	       struct sql_failure *why);
void pg_close(struct sql_session *s);
void pg_interrupt(struct sql_session *s);

/* Waits until something came, as long as the server may be silent. 0, ERR_* with *why. */
int pg_wait(struct sql_session *s, struct sql_failure *why);
/* Waits until a result can be taken without waiting. 0, ERR_* with *why. */
int pg_wait_result(struct sql_session *s, struct sql_failure *why);
/* The last result of what was sent, or an error; *out is the caller's. COPY ends it early: copying goes on then. */
int pg_finish(struct sql_session *s, struct pg_result **out, struct sql_failure *why);
int pg_send_and_finish(struct sql_session *s, const char *text, struct pg_result **out,
		       struct sql_failure *why);

/* Fill *why in and give an error: with the server's words of a result, with the library's of the connection. */
int pg_failed_result(struct sql_session *s, const struct pg_result *r, struct sql_failure *why);
int pg_failed_connection(struct sql_session *s, struct sql_failure *why);

/* ---- pg_types.c ---- */

/* The columns of a result as the session's, with their kinds. 0, ERR_* with *why. */
int pg_take_columns(struct sql_session *s, const struct pg_result *r, struct sql_failure *why);

/* ---- pg_rows.c ---- */

/* As sql_driver has them. */
int pg_ask(struct sql_session *s, const char *text, bool large, struct sql_failure *why);
const struct sql_column *pg_columns(struct sql_session *s, uint32_t *count);
int pg_next(struct sql_session *s, struct sql_row *row, struct sql_failure *why);
int pg_stop(struct sql_session *s);

#endif
