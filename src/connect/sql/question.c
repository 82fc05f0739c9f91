/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/sql/question.h"

/* MariaDB tells when a transaction began in whole seconds, and its clock may be set. */
#define CLOCK_MARGIN 2000000u
/* How long a transaction is thought to take where the database does not say. */
#define BLIND_MS 60000

/* (SELECT a FROM … ORDER BY a DESC, b DESC LIMIT 1) for each of the cursor's columns: the index gives it at once. */
static void put_top(struct buf *b, const struct sql_source *s)
{
	const struct sql_table *t = &s->table;

	for (uint32_t i = 0; i < t->cursor_count; i++) {
		(void)buf_append_str(b, ", (SELECT ");
		sql_put_names(b, s, &t->cursor[i], 1, "");
		(void)buf_appendf(b, " FROM %s WHERE ", t->from);
		sql_put_names(b, s, &t->cursor[0], 1, " IS NOT NULL");
		sql_put_where(b, s, " AND ");
		(void)buf_append_str(b, " ORDER BY ");
		sql_put_names(b, s, t->cursor, t->cursor_count, " DESC");
		(void)buf_append_str(b, " LIMIT 1)");
	}
}

/* Rows of transactions at or past the horizon: row numbers are of 32 bits, so they are compared on a circle. */
static void put_unseen(struct buf *b, uint64_t horizon)
{
	(void)buf_appendf(b, "(xmin::text::bigint - %llu + 4294967296) %% 4294967296 < 2147483648",
			  (unsigned long long)(horizon & 0xffffffffu));
}

void sql_put_conditions(struct buf *b, const struct sql_source *s, const struct sql_mark *m)
{
	const struct sql_table *t = &s->table;
	const struct source_window *w = s->setup.window;
	struct slice start = w && w->from.ptr ? w->from : slice_str(s->settings->start);

	sql_put_names(b, s, &t->cursor[0], 1, " IS NOT NULL");
	sql_put_where(b, s, " AND ");
	if (w && w->to.ptr) {
		(void)buf_append_str(b, " AND ");
		sql_put_names(b, s, &t->cursor[0], 1, " < ");
		sql_put_literal(b, s->driver, t->columns[t->cursor[0]].kind, w->to);
	}
	if (start.ptr) {
		(void)buf_append_str(b, " AND ");
		sql_put_names(b, s, &t->cursor[0], 1, " >= ");
		sql_put_literal(b, s->driver, t->columns[t->cursor[0]].kind, start);
	}
	if (m->has_low) {
		(void)buf_append_str(b, " AND ");
		sql_put_after(b, s, t->cursor, &m->low, t->cursor_count, true);
	}
	if (t->has_xid && m->horizon) {
		(void)buf_append_str(b, " AND ");
		put_unseen(b, m->horizon);
	}
}

/* What the database's transactions say, as two numbers: horizon, and where they stand. */
static void put_transactions(struct buf *b, const struct sql_source *s)
{
	int64_t late = s->settings->late_commits_ms;

	if (s->table.has_xid)
		(void)buf_append_str(
			b,
			"txid_snapshot_xmin(txid_current_snapshot()), txid_snapshot_xmax(txid_current_snapshot())");
	else if (s->driver->dialect == SQL_MARIADB && late < 0 && !s->blind)
		(void)buf_appendf(
			b,
			"CAST(UNIX_TIMESTAMP(LEAST(NOW(6), coalesce((SELECT min(trx_started) FROM information_schema.innodb_trx "
			"WHERE trx_mysql_thread_id <> CONNECTION_ID()), NOW(6)))) * 1000000 AS UNSIGNED) - %u, "
			"CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)",
			CLOCK_MARGIN);
	else if (s->driver->dialect == SQL_MARIADB)
		(void)buf_appendf(
			b,
			"CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED) - %lld, CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)",
			(long long)(late < 0 ? BLIND_MS : late) * 1000);
	else if (s->driver->dialect == SQL_POSTGRESQL)
		(void)buf_appendf(
			b,
			"(extract(epoch FROM clock_timestamp()) * 1000000)::bigint - %lld, (extract(epoch FROM clock_timestamp()) * "
			"1000000)::bigint",
			(long long)(late < 0 ? BLIND_MS : late) * 1000);
	else /* SQLite has one writer at a time: nothing is committed late */
		(void)buf_appendf(
			b,
			"CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) - %lld, CAST((julianday('now') - 2440587.5) * "
			"86400000000 AS INTEGER)",
			(long long)(late < 0 ? 0 : late) * 1000);
}

/*
 * Is there anything to take, told without taking it. Where rows tell who wrote them that is a question after one row; else the
 * window's fingerprint: how many rows, and an order-free sum over their cursors and keys. SQLite counts the
 * changes that others made, as this session sees them.
 */
static void put_window(struct buf *b, const struct sql_source *s, const struct sql_mark *m)
{
	const struct sql_table *t = &s->table;

	if (t->has_xid) {
		(void)buf_appendf(b, ", EXISTS (SELECT 1 FROM %s WHERE ", t->from);
		sql_put_conditions(b, s, m);
		(void)buf_append_byte(b, ')');
		return;
	}
	if (s->driver->dialect == SQL_SQLITE) {
		(void)buf_append_str(b, ", (SELECT data_version FROM pragma_data_version)");
		return;
	}
	(void)buf_append_str(
		b, s->driver->dialect == SQL_MARIADB ?
			   ", (SELECT concat(count(*), '/', coalesce(sum(cast(crc32(concat_ws('|', " :
			   ", (SELECT concat(count(*), '/', coalesce(sum(hashtext(concat_ws('|', ");
	sql_put_names(b, s, t->cursor, t->cursor_count, "");
	(void)buf_append_str(b, ", ");
	sql_put_names(b, s, t->key, t->key_count, "");
	(void)buf_appendf(b, "%s), 0)) FROM %s WHERE ",
			  s->driver->dialect == SQL_MARIADB ? ")) AS UNSIGNED)" : "))", t->from);
	sql_put_conditions(b, s, m);
	(void)buf_append_byte(b, ')');
}

bool sql_read_number(struct slice text, uint64_t *out)
{
	const uint8_t *point = text.ptr ? memchr(text.ptr, '.', text.len) : NULL;

	if (point)
		text.len = (size_t)(point - text.ptr);
	return text.ptr && slice_to_u64(text, out);
}

/*
 * The transactions of this database that are open: each holds a lock on its own virtual number from its beginning, which all users
 * may see. It is read after the snapshot was taken, so whoever is not named has ended or begins after what the snapshot shows.
 */
static void put_open(struct buf *b)
{
	(void)buf_append_str(
		b,
		", (SELECT coalesce(string_agg(l.virtualxid, ' '), '') FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a "
		"USING (pid) JOIN pg_catalog.pg_database d ON d.oid = a.datid WHERE l.locktype = 'virtualxid' AND l.mode = "
		"'ExclusiveLock' AND d.datname = current_database() AND l.pid <> pg_backend_pid())");
}

static int ask_database(struct sql_source *s, struct sql_session *session, const struct sql_mark *m,
			struct arena *arena, struct sql_row *row, struct sql_failure *why)
{
	struct buf b;
	int rc;

	buf_init(&b, SQL_STATEMENT_MAX);
	(void)buf_append_str(&b, "SELECT ");
	put_transactions(&b, s);
	put_window(&b, s, m);
	put_top(&b, s);
	if (s->table.tells_durable) /* "EPOCH:NUMBER" of the last checkpoint: no crash takes numbers back past it */
		(void)buf_append_str(
			&b, ", (SELECT split_part(next_xid::text, ':', 1)::bigint * 4294967296 + "
			    "split_part(next_xid::text, ':', 2)::bigint FROM pg_control_checkpoint())");
	if (s->table.has_xid)
		put_open(&b);
	rc = sql_ask_text(s, session, &b, arena, row, why);
	buf_fini(&b);
	return rc;
}

/* MariaDB tells of others' transactions only to who has PROCESS. Without it their length is a guess. */
static bool is_refused(const struct sql_source *s, const struct sql_failure *why)
{
	return s->driver->dialect == SQL_MARIADB && !s->blind && strcmp(why->state, "1227") == 0;
}

int sql_question_ask(struct sql_source *s, struct sql_session *session, const struct sql_mark *m,
		     struct arena *arena, struct sql_question *q, struct sql_failure *why)
{
	const struct sql_table *t = &s->table;
	struct sql_row row;
	int rc = ask_database(s, session, m, arena, &row, why);

	if (rc < 0 && is_refused(s, why)) {
		s->blind = true;
		source_warn(
			s->setup.source,
			"the user may not see which transactions are open: rows of one that takes longer than a minute "
			"can be missed; grant PROCESS to it, or set `late_commits`");
		rc = ask_database(s, session, m, arena, &row, why);
	}
	if (rc < 0)
		return rc;
	*q = (struct sql_question){.has_top = true};
	if (rc == 0 || row.count != 3 + t->cursor_count + t->tells_durable + t->has_xid ||
	    !sql_read_number(row.values[0], &q->horizon) || !sql_read_number(row.values[1], &q->stood))
		return sql_failed(why, ERR_PROTOCOL, SOURCE_TRANSIENT, true, "",
				  "the answer about transactions cannot be read");
	q->print = row.values[2];
	q->some = slice_eq_str(row.values[2], "t");
	for (uint32_t i = 0; i < t->cursor_count; i++) {
		q->has_top = q->has_top && row.values[3 + i].ptr;
		q->top.values[i] = row.values[3 + i];
		q->top.kinds[i] = t->columns[t->cursor[i]].kind;
	}
	q->top.count = t->cursor_count;
	if (t->tells_durable && !sql_read_number(row.values[3 + t->cursor_count], &q->durable))
		q->durable = 0;
	if (t->has_xid)
		q->open = row.values[row.count - 1];
	return 0;
}
