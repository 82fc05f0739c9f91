/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot of PostgreSQL that several sessions read in: one exports it and stays in its transaction for as long as it is wanted. A table
 * that was written anew since is empty for it, which its files tell: they are asked for before and behind, and by each
 * session that enters.
 */
#include <stdio.h>

#include "connect/sql/sql.h"

void sql_snapshot_end(struct sql_source *s)
{
	struct sql_held *held;

	pthread_mutex_lock(&s->lock);
	held = s->snapshot;
	s->snapshot = NULL;
	s->snapshot_name[0] = '\0';
	pthread_mutex_unlock(&s->lock);
	sql_give(s, held, false);
}

/*
 * Which files the table is in, as the catalogue says at this moment, whatever the transaction sees. "" where the server does not tell
 * (before version 12).
 */
static int ask_nodes(struct sql_source *s, struct sql_session *session, char out[40], struct sql_failure *why)
{
	struct arena arena;
	struct sql_row row;
	struct buf b;
	int rc;

	out[0] = 0;
	if (!s->table.lockable)
		return 0;
	arena_init(&arena, 1024, 1u << 20);
	buf_init(&b, SQL_STATEMENT_MAX);
	(void)buf_append_str(
		&b,
		"SELECT md5(coalesce((SELECT string_agg(pg_relation_filenode(relid)::text, ',' ORDER BY relid::oid) "
		"FROM pg_partition_tree(t)), pg_relation_filenode(t)::text, '')) FROM (SELECT ");
	s->driver->quote_text(&b, slice_str(s->table.from));
	(void)buf_append_str(&b, "::regclass AS t) AS x");
	rc = sql_ask_text(s, session, &b, &arena, &row, why);
	if (rc > 0 && row.values[0].len < 40)
		(void)snprintf(out, 40, "%.*s", (int)row.values[0].len, (const char *)row.values[0].ptr);
	buf_fini(&b);
	arena_fini(&arena);
	return rc < 0 ? rc : 0;
}

/* 1 where the snapshot is exported and the table is as it was before; 0 where there is none to share. */
static int export_snapshot(struct sql_source *s, struct sql_session *session, struct arena *arena,
			   struct sql_row *row, char nodes[40], struct sql_failure *why)
{
	char now[40];
	int rc = ask_nodes(s, session, nodes, why);

	if (rc < 0 && why->lost)
		return rc;
	rc = s->driver->run(session, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, why);
	if (!rc)
		rc = sql_ask_one(s->driver, session, "SELECT pg_export_snapshot()", arena, row, why);
	if (rc <= 0 || !nodes[0])
		return rc;
	rc = ask_nodes(s, session, now, why);
	return rc ? rc : strcmp(nodes, now) == 0;
}

int sql_snapshot_keep(struct sql_source *s, struct arena *arena, struct sql_failure *why)
{
	struct sql_held *held;
	struct sql_row row;
	char nodes[40];
	int rc;

	if (s->driver->dialect != SQL_POSTGRESQL)
		return 0;
	sql_snapshot_end(s);
	held = sql_take(s, NULL, why);
	if (!held)
		return ERR_IO;
	rc = export_snapshot(s, held->session, arena, &row, nodes, why);
	if (rc <= 0 || row.values[0].len >= sizeof(s->snapshot_name)) {
		sql_give(s, held, false);
		return rc < 0 ? rc : 0; /* a server that exports none: each range has its own */
	}
	pthread_mutex_lock(&s->lock);
	memcpy(s->snapshot_name, row.values[0].ptr, row.values[0].len);
	s->snapshot_name[row.values[0].len] = '\0';
	memcpy(s->snapshot_nodes, nodes, sizeof(nodes));
	s->snapshot = held;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

int sql_snapshot_enter(struct sql_source *s, struct sql_session *session, struct sql_failure *why)
{
	char text[128] = "", nodes[40] = "", now[40];
	int rc;

	pthread_mutex_lock(&s->lock);
	if (s->snapshot_name[0])
		(void)snprintf(text, sizeof(text), "SET TRANSACTION SNAPSHOT '%s'", s->snapshot_name);
	memcpy(nodes, s->snapshot_nodes, sizeof(nodes));
	pthread_mutex_unlock(&s->lock);
	if (!text[0])
		return 0;
	if (s->driver->run(session, text, NULL, why)) /* the session that kept it was lost */
		return why->lost ? ERR_IO : 1;
	if (!nodes[0])
		return 0;
	rc = ask_nodes(s, session, now, why);
	return rc ? rc : strcmp(nodes, now) != 0;
}
