/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL over libpq: pg.h says which file holds what. */
#include <libpq-fe.h>

#include "connect/sql/pg.h"

static int pg_run(struct sql_session *s, const char *text, uint64_t *affected, struct sql_failure *why)
{
	PGresult *r;
	int rc = pg_send_and_finish(s, text, &r, why);

	if (!rc && affected && !slice_to_u64(slice_str(PQcmdTuples(r)), affected))
		*affected = 0;
	PQclear(r);
	return rc;
}

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

const struct sql_driver sql_postgresql = {
	.name = "postgresql",
	.dialect = SQL_POSTGRESQL,
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
