/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/sql/catalog.h"

/* ---- the key ---- */

static struct slice name_schema(const struct sql_name *n)
{
	return n->count > 1 ? n->parts[n->count - 2] : slice_null();
}

static struct slice name_table(const struct sql_name *n)
{
	return n->parts[n->count - 1];
}

static void put_schema(struct buf *b, const struct sql_source *s, const struct sql_name *n,
		       const char *otherwise)
{
	if (name_schema(n).ptr)
		s->driver->quote_text(b, name_schema(n));
	else
		(void)buf_append_str(b, otherwise);
}

static void put_key_question(struct buf *b, const struct sql_source *s, const struct sql_name *n)
{
	switch (s->driver->dialect) {
	case SQL_POSTGRESQL:
		(void)buf_append_str(
			b,
			"SELECT a.attname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = "
			"i.indrelid AND a.attnum = ANY(i.indkey) WHERE i.indisprimary AND i.indrelid = ");
		s->driver->quote_text(b, slice_str(s->table.from));
		(void)buf_append_str(b, "::regclass ORDER BY array_position(i.indkey::int2[], a.attnum)");
		break;
	case SQL_MARIADB:
		(void)buf_append_str(
			b,
			"SELECT column_name FROM information_schema.key_column_usage WHERE constraint_name = 'PRIMARY' "
			"AND table_schema = ");
		put_schema(b, s, n, "DATABASE()");
		(void)buf_append_str(b, " AND table_name = ");
		s->driver->quote_text(b, name_table(n));
		(void)buf_append_str(b, " ORDER BY ordinal_position");
		break;
	case SQL_SQLITE:
		(void)buf_append_str(b, "SELECT name FROM pragma_table_info(");
		s->driver->quote_text(b, name_table(n));
		(void)buf_append_str(b, ") WHERE pk > 0 ORDER BY pk");
		break;
	}
}

static const char *keep_slice(struct sql_source *s, struct slice text)
{
	char *copy = arena_alloc(&s->arena, text.len + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	return copy;
}

int sql_catalog_key(struct sql_source *s, struct sql_session *session, const struct sql_name *n,
		    struct conf_list *key, struct sql_failure *why)
{
	struct sql_row row;
	struct buf b;
	const char *text, **names;
	int rc;

	buf_init(&b, SQL_STATEMENT_MAX);
	put_key_question(&b, s, n);
	text = sql_text(&b);
	names = arena_zalloc(&s->arena, SQL_KEY_MAX, sizeof(*names));
	key->items = names;
	key->count = 0;
	rc = text && names ? s->driver->ask(session, text, false, why) : sql_no_memory(why);
	while (!rc && (rc = s->driver->next(session, &row, why)) > 0) {
		const char *name = keep_slice(s, row.values[0]);
		if (!name)
			rc = sql_no_memory(why);
		else if (key->count == SQL_KEY_MAX)
			rc = sql_failed(why, ERR_LIMIT, SOURCE_FINAL, false, "",
					"the key has more than 16 columns");
		else
			rc = 0, names[key->count++] = name;
	}
	buf_fini(&b);
	return rc;
}

/* ---- transactions ---- */

/*
 * Rows of ordinary tables tell who wrote them; views, foreign tables and those of other databases do not. A standby does not
 * tell which transactions are open on its primary.
 */
int sql_catalog_writers(struct sql_source *s, struct sql_session *session, struct sql_failure *why)
{
	struct sql_row row;
	struct buf b;
	int rc;

	if (s->driver->dialect != SQL_POSTGRESQL)
		return 0;
	buf_init(&b, SQL_STATEMENT_MAX);
	(void)buf_append_str(
		&b,
		"SELECT CASE WHEN pg_is_in_recovery() THEN '-' ELSE relkind::text END, has_function_privilege(to_regprocedure('pg_catalog.pg_control_checkpoint()'), 'execute'), has_table_privilege(oid, 'SELECT') "
		"FROM pg_catalog.pg_class WHERE oid = ");
	s->driver->quote_text(&b, slice_str(s->table.from));
	(void)buf_append_str(&b, "::regclass");
	rc = sql_ask_text(s, session, &b, &s->arena, &row, why);
	buf_fini(&b);
	if (rc > 0)
		s->table.has_xid = row.values[0].len == 1 &&
				   (row.values[0].ptr[0] == 'r' || row.values[0].ptr[0] == 'p');
	s->table.tells_durable = s->table.has_xid && slice_eq_str(row.values[1], "t");
	s->table.lockable = s->table.has_xid && slice_eq_str(row.values[2], "t");
	return rc < 0 ? rc : 0;
}

/* ---- the index ---- */

/* A cursor without an index has every poll read the whole table. */
static void put_index_question(struct buf *b, const struct sql_source *s, const struct sql_name *n)
{
	struct slice column = slice_str(s->table.columns[s->table.cursor[0]].name);

	switch (s->driver->dialect) {
	case SQL_POSTGRESQL:
		(void)buf_append_str(
			b,
			"SELECT count(*) FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid "
			"AND a.attnum = i.indkey[0] WHERE i.indisvalid AND i.indrelid = ");
		s->driver->quote_text(b, slice_str(s->table.from));
		(void)buf_append_str(b, "::regclass AND a.attname = ");
		break;
	case SQL_MARIADB:
		(void)buf_append_str(
			b,
			"SELECT count(*) FROM information_schema.statistics WHERE seq_in_index = 1 AND table_schema = ");
		put_schema(b, s, n, "DATABASE()");
		(void)buf_append_str(b, " AND table_name = ");
		s->driver->quote_text(b, name_table(n));
		(void)buf_append_str(b, " AND column_name = ");
		break;
	case SQL_SQLITE:
		(void)buf_append_str(b, "SELECT (SELECT count(*) FROM pragma_table_info(");
		s->driver->quote_text(b, name_table(n));
		(void)buf_append_str(b, ") WHERE pk = 1 AND name = ");
		s->driver->quote_text(b, column);
		(void)buf_append_str(b, ") + count(*) FROM pragma_index_list(");
		s->driver->quote_text(b, name_table(n));
		(void)buf_append_str(b, ") l, pragma_index_info(l.name) i WHERE i.seqno = 0 AND i.name = ");
		break;
	}
	s->driver->quote_text(b, column);
}

static void put_plan_question(struct buf *b, const struct sql_source *s)
{
	(void)buf_append_str(b, s->driver->dialect == SQL_SQLITE ? "EXPLAIN QUERY PLAN " : "EXPLAIN ");
	(void)buf_appendf(b, "SELECT * FROM %s ORDER BY ", s->table.from);
	sql_put_names(b, s, s->table.cursor, s->table.cursor_count, "");
}

/* What a row of a plan says, in the database's words: the line that tells how the table is read. */
static bool put_plan(struct buf *out, const struct sql_source *s, const struct sql_row *row)
{
	static const uint32_t mariadb[] = {3, 8, 9}; /* type, rows, Extra */
	struct slice v = row->count ? row->values[row->count - 1] : slice_null();

	buf_clear(out);
	switch (s->driver->dialect) {
	case SQL_POSTGRESQL:
		while (v.len && (v.ptr[0] == ' ' || v.ptr[0] == '-' || v.ptr[0] == '>'))
			v = slice_from(v, 1);
		(void)buf_append_slice(out, v);
		return v.len && memmem(v.ptr, v.len, "Scan", 4) != NULL;
	case SQL_MARIADB:
		for (uint32_t i = 0; i < 3 && mariadb[i] < row->count; i++) {
			v = row->values[mariadb[i]];
			(void)buf_append_str(out, i == 0 ? "type " : ", ");
			(void)buf_append_slice(out, v.ptr ? v : SLICE_LIT("-"));
			(void)buf_append_str(out, i == 1 ? " rows" : "");
		}
		return true;
	case SQL_SQLITE:
		(void)buf_append_slice(out, v);
		return true;
	}
	return true;
}

static int ask_plan(struct sql_source *s, struct sql_session *session, struct buf *plan,
		    struct sql_failure *why)
{
	struct sql_row row;
	struct buf b;
	bool found = false;
	int rc;

	buf_init(&b, SQL_STATEMENT_MAX);
	put_plan_question(&b, s);
	const char *text = sql_text(&b);
	rc = text ? s->driver->ask(session, text, false, why) : sql_no_memory(why);
	while (!rc && !found && (rc = s->driver->next(session, &row, why)) > 0) {
		found = put_plan(plan, s, &row);
		rc = 0;
	}
	if (!rc && s->driver->stop(session))
		rc = sql_failed(why, ERR_IO, SOURCE_TRANSIENT, true, "", "the connection is of no more use");
	buf_fini(&b);
	return rc;
}

/* The statement that would help, to be copied. */
static void put_create_index(struct buf *b, const struct sql_source *s)
{
	const struct sql_table *t = &s->table;
	uint32_t columns[2 * SQL_KEY_MAX], count = 0;

	for (uint32_t i = 0; i < t->cursor_count + t->key_count; i++) {
		uint32_t column = i < t->cursor_count ? t->cursor[i] : t->key[i - t->cursor_count];
		bool twice = false;
		for (uint32_t k = 0; k < count; k++)
			twice = twice || columns[k] == column;
		if (!twice)
			columns[count++] = column;
	}
	(void)buf_append_str(b, "CREATE INDEX ");
	if (s->driver->dialect != SQL_POSTGRESQL) {
		s->driver->quote_name(b, slice_str(t->columns[t->cursor[0]].name));
		(void)buf_append_byte(b, ' ');
	}
	(void)buf_appendf(b, "ON %s (", t->from);
	sql_put_names(b, s, columns, count, "");
	(void)buf_append_byte(b, ')');
}

int sql_catalog_index(struct sql_source *s, struct sql_session *session, const struct sql_name *n,
		      struct sql_failure *why)
{
	const char *column;
	struct sql_row row;
	struct buf plan;
	struct buf b;
	int rc;

	if (!s->table.cursor_count)
		return 0;
	column = s->table.columns[s->table.cursor[0]].name;
	buf_init(&b, SQL_STATEMENT_MAX);
	put_index_question(&b, s, n);
	rc = sql_ask_text(s, session, &b, &s->arena, &row, why);
	if (rc <= 0 || !slice_eq_str(row.values[0], "0")) {
		buf_fini(&b);
		return rc < 0 ? rc : 0;
	}
	buf_init(&plan, SQL_STATEMENT_MAX);
	rc = ask_plan(s, session, &plan, why);
	buf_clear(&b);
	put_create_index(&b, s);
	if (!rc)
		source_warn(
			s->setup.source,
			"the cursor %s of %s is the first column of no index, so that each poll reads the whole table (%.*s); %.*s would help",
			column, s->settings->table, (int)(plan.len > 100 ? 100 : plan.len),
			plan.ptr ? (const char *)plan.ptr : "", (int)(b.len > 250 ? 250 : b.len),
			b.ptr ? (const char *)b.ptr : "");
	buf_fini(&plan);
	buf_fini(&b);
	return rc;
}
