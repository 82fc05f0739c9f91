/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table in ranges of its key's first column: whole numbers in equal widths between the least and the greatest, other kinds by
 * PostgreSQL's statistics. How many there are follows from how many rows the database thinks there are.
 */
#include "connect/sql/cut.h"

bool sql_is_bounded(const struct sql_source *s)
{
	const struct source_window *w = s->setup.window;

	return w && (w->from.ptr || w->to.ptr);
}

void sql_put_bounds(struct buf *b, const struct sql_source *s)
{
	const struct source_window *w = s->setup.window;
	const struct sql_table *t = &s->table;
	uint32_t columns[2 * SQL_KEY_MAX];

	(void)sql_order(t, columns);
	for (int i = 0; w && t->key_count && i < 2; i++) {
		struct sql_point at = {.count = 1,
				       .values = {i ? w->to : w->from},
				       .kinds = {t->columns[t->key[0]].kind}};
		if (!at.values[0].ptr)
			continue;
		(void)buf_append_str(b, " AND ");
		if (i)
			sql_put_before(b, s, columns, &at, 1, false);
		else
			sql_put_after(b, s, columns, &at, 1, true);
	}
}

/*
 * How many rows the table has, roughly: the catalogue knows at once. 0 where it does not. SQLite counts, and so does between the bounds
 * of a run.
 */
static int estimate(struct sql_source *s, struct sql_session *session, struct arena *arena, uint64_t *rows,
		    struct sql_failure *why)
{
	struct sql_row row;
	struct buf b;
	int64_t n = 0;
	int rc;

	*rows = 0;
	buf_init(&b, SQL_STATEMENT_MAX);
	switch (s->driver->dialect) {
	case SQL_POSTGRESQL:
		(void)buf_append_str(
			&b, "SELECT greatest(reltuples, 0)::bigint FROM pg_catalog.pg_class WHERE oid = ");
		s->driver->quote_text(&b, slice_str(s->table.from));
		(void)buf_append_str(&b, "::regclass");
		break;
	case SQL_MARIADB:
		(void)buf_appendf(&b, "EXPLAIN SELECT 1 FROM %s", s->table.from);
		break;
	case SQL_SQLITE:
		(void)buf_appendf(&b, "SELECT count(*) FROM %s WHERE 1 = 1", s->table.from);
		sql_put_bounds(&b, s);
		break;
	}
	rc = sql_ask_text(s, session, &b, arena, &row, why);
	buf_fini(&b);
	/* EXPLAIN's ninth column is its guess of the rows. */
	if (rc > 0 && s->driver->dialect == SQL_MARIADB && row.count > 8)
		(void)slice_to_i64(row.values[8], &n);
	else if (rc > 0)
		(void)slice_to_i64(row.values[0], &n);
	*rows = n > 0 ? (uint64_t)n : 0;
	return rc < 0 ? rc : 0;
}

static bool to_int128(struct slice text, __int128 *out)
{
	bool negative = text.len && text.ptr[0] == '-';
	uint64_t magnitude;

	if (!text.ptr || !slice_to_u64(slice_from(text, negative), &magnitude))
		return false;
	*out = negative ? -(__int128)magnitude : (__int128)magnitude;
	return true;
}

static struct slice from_int128(struct arena *arena, __int128 v)
{
	char text[48];
	bool negative = v < 0;
	size_t at = sizeof(text);
	unsigned __int128 u = negative ? -(unsigned __int128)v : (unsigned __int128)v;

	do {
		text[--at] = (char)('0' + (int)(u % 10));
		u /= 10;
	} while (u);
	if (negative)
		text[--at] = '-';
	return arena_copy(arena, slice_make(text + at, sizeof(text) - at));
}

/* Values of the key's first column, both of them in it. */
struct span {
	__int128 least, greatest;
};

/* What of it lies between the bounds of a run; the rows are thought to lie evenly. */
static void narrow(const struct sql_source *s, struct span *span, uint64_t *rows)
{
	const struct source_window *w = s->setup.window;
	const struct span all = *span;
	__int128 bound;

	if (w && to_int128(w->from, &bound) && bound > span->least)
		span->least = bound;
	if (w && to_int128(w->to, &bound) && bound - 1 < span->greatest)
		span->greatest = bound - 1;
	if (span->least > span->greatest)
		*rows = 0;
	else
		*rows = (uint64_t)((double)*rows * (double)(span->greatest - span->least + 1) /
				   (double)(all.greatest - all.least + 1));
}

/* 1; 0 where there are no rows, or no such values. */
static int ask_span(struct sql_source *s, struct sql_session *session, struct arena *arena, struct span *span,
		    struct sql_failure *why)
{
	struct sql_row row;
	struct buf b;
	int rc;

	buf_init(&b, SQL_STATEMENT_MAX);
	(void)buf_append_str(&b, "SELECT min(");
	sql_put_names(&b, s, s->table.key, 1, "), max(");
	sql_put_names(&b, s, s->table.key, 1, "");
	(void)buf_appendf(&b, ") FROM %s", s->table.from);
	sql_put_where(&b, s, " WHERE ");
	rc = sql_ask_text(s, session, &b, arena, &row, why);
	buf_fini(&b);
	if (rc < 0)
		return rc;
	return rc && to_int128(row.values[0], &span->least) && to_int128(row.values[1], &span->greatest);
}

/* Equal widths between the least and the greatest value; more ranges than workers, so that unequal fillings level out. */
static int cut_integers(const struct span *span, struct arena *arena, struct sql_ranges *ranges,
			uint32_t wanted, struct sql_failure *why)
{
	for (uint32_t i = 1; i < wanted; i++) {
		struct sql_point *bound = &ranges->bounds[ranges->count - 1];
		__int128 at =
			span->least + (span->greatest - span->least + 1) * (__int128)i / (__int128)wanted;
		struct slice text = from_int128(arena, at);
		if (!text.ptr)
			return sql_no_memory(why);
		if (ranges->count > 1 && slice_eq(ranges->bounds[ranges->count - 2].values[0], text))
			continue;
		*bound = (struct sql_point){.count = 1, .values = {text}, .kinds = {SQL_INTEGER}};
		ranges->count++;
	}
	return 0;
}

/* Other kinds by PostgreSQL's own statistics: bounds between which equally many rows lie. */
static int cut_by_histogram(struct sql_source *s, struct sql_session *session, struct arena *arena,
			    struct sql_ranges *ranges, uint32_t wanted, struct sql_failure *why)
{
	struct sql_row row;
	struct buf b;
	const char *text;
	uint32_t seen = 0, step;
	int rc;

	buf_init(&b, SQL_STATEMENT_MAX);
	(void)buf_append_str(
		&b,
		"SELECT b, count(*) OVER () FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
		"JOIN pg_catalog.pg_stats t ON t.schemaname = n.nspname AND t.tablename = c.relname, "
		"unnest(t.histogram_bounds::text::text[]) WITH ORDINALITY AS h(b, at) WHERE c.oid = ");
	s->driver->quote_text(&b, slice_str(s->table.from));
	(void)buf_append_str(&b, "::regclass AND t.attname = ");
	s->driver->quote_text(&b, slice_str(s->table.columns[s->table.key[0]].name));
	(void)buf_append_str(&b, " ORDER BY at");
	text = sql_text(&b);
	rc = text ? s->driver->ask(session, text, false, why) :
		    sql_failed(why, ERR_LIMIT, SOURCE_FINAL, false, "", "too long");
	buf_fini(&b);
	while (!rc && (rc = s->driver->next(session, &row, why)) > 0) {
		uint64_t all;
		rc = 0;
		if (!slice_to_u64(row.values[1], &all))
			continue;
		step = (uint32_t)(all / wanted ? all / wanted : 1);
		if (seen++ % step || seen == 1 || ranges->count == wanted)
			continue;
		ranges->bounds[ranges->count - 1] =
			(struct sql_point){.count = 1,
					   .values = {arena_copy(arena, row.values[0])},
					   .kinds = {s->table.columns[s->table.key[0]].kind}};
		ranges->count++;
	}
	return rc;
}

static uint32_t ranges_wanted(const struct sql_source *s, uint64_t rows)
{
	uint64_t wanted = rows / (uint64_t)s->settings->chunk_rows;

	return wanted >= SQL_RANGES_MAX ? SQL_RANGES_MAX : (uint32_t)wanted;
}

static int cut_by_key(struct sql_source *s, struct sql_session *session, struct arena *arena,
		      struct sql_ranges *ranges, struct sql_failure *why)
{
	bool bounded = sql_is_bounded(s) && s->driver->dialect != SQL_SQLITE;
	uint32_t wanted = ranges_wanted(s, ranges->rows);
	struct span span;
	int rc = 0;

	if (s->table.columns[s->table.key[0]].kind == SQL_INTEGER) {
		if (wanted < 2 && !bounded)
			return 0;
		rc = ask_span(s, session, arena, &span, why);
		if (rc <= 0)
			return rc;
		if (bounded)
			narrow(s, &span, &ranges->rows);
		wanted = ranges_wanted(s, ranges->rows);
		return wanted < 2 ? 0 : cut_integers(&span, arena, ranges, wanted, why);
	}
	if (wanted >= 2 && s->driver->dialect == SQL_POSTGRESQL)
		rc = cut_by_histogram(s, session, arena, ranges, wanted, why);
	if (bounded)
		ranges->rows = 0; /* how many lie between values of other kinds nobody knows */
	return rc;
}

int sql_cut(struct sql_source *s, struct sql_session *session, struct arena *arena, struct sql_ranges *ranges,
	    struct sql_failure *why)
{
	int rc = estimate(s, session, arena, &ranges->rows, why);

	ranges->count = 1;
	return rc || !s->table.key_count ? rc : cut_by_key(s, session, arena, ranges, why);
}
