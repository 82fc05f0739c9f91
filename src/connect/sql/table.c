/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a table: its columns with their kinds, from an answer without rows; its primary key
 * and whether the cursor has an index, from the catalogue. Learned once, and again where a statement's answer has other columns
 * (columns.c), or fails for one that vanished.
 */
#include <stdio.h>
#include <strings.h>

#include "base/mem.h"
#include "connect/sql/catalog.h"

static const char *keep_text(struct sql_source *s, struct buf *b)
{
	struct slice copy;

	(void)buf_append_byte(b, 0);
	copy = buf_status(b) ? slice_null() : arena_copy(&s->arena, buf_slice(b));
	return (const char *)copy.ptr;
}

static int find_column(const struct sql_table *t, struct slice name)
{
	for (uint32_t i = 0; i < t->count; i++)
		if (slice_eq_str(name, t->columns[i].name))
			return (int)i;
	/* Databases that fold case let users write it otherwise. */
	for (uint32_t i = 0; i < t->count; i++)
		if (slice_eq_nocase(name, slice_str(t->columns[i].name)))
			return (int)i;
	return -1;
}

/* ---- columns ---- */

static void put_listed(struct buf *out, const struct sql_source *s, const struct conf_list *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		if (i)
			(void)buf_append_str(out, ", ");
		s->driver->quote_name(out, slice_str(list->items[i]));
	}
}

/* Takes the columns of an answer as the table's; those after the first `shown` are only weir's. */
static int ask_columns(struct sql_source *s, struct sql_session *session, struct buf *statement,
		       struct sql_failure *why)
{
	const struct sql_column *columns;
	struct sql_table *t = &s->table;
	const char *text = sql_text(statement);
	int rc = text ? s->driver->ask(session, text, false, why) : sql_no_memory(why);

	if (rc)
		return rc;
	columns = s->driver->columns(session, &t->count);
	t->columns = arena_zalloc(&s->arena, t->count + 1, sizeof(*t->columns));
	if (t->columns)
		memcpy(t->columns, columns, t->count * sizeof(*columns));
	rc = s->driver->stop(session);
	if (!t->columns)
		return sql_no_memory(why);
	return rc ? sql_failed(why, ERR_IO, SOURCE_TRANSIENT, true, "", "the connection is of no more use") :
		    0;
}

static int learn_columns(struct sql_source *s, struct sql_session *session, struct sql_failure *why)
{
	const struct conf_list *shown = &s->settings->columns;
	struct buf b;
	int rc;

	buf_init(&b, SQL_STATEMENT_MAX);
	(void)buf_append_str(&b, "SELECT ");
	if (shown->count)
		put_listed(&b, s, shown);
	else
		(void)buf_append_byte(&b, '*');
	(void)buf_appendf(&b, " FROM %s WHERE 1 = 0", s->table.from);
	rc = ask_columns(s, session, &b, why);
	s->table.shown = s->table.count;
	buf_fini(&b);
	return rc;
}

/* Columns that a mode needs and the user did not list come behind those, hidden. */
static int add_hidden(struct sql_source *s, struct sql_session *session, const struct conf_list *more,
		      struct sql_failure *why)
{
	struct sql_table *t = &s->table;
	uint32_t shown = t->shown;
	bool missing = false;
	struct buf b;
	int rc;

	for (uint32_t i = 0; i < more->count; i++)
		missing = missing || find_column(t, slice_str(more->items[i])) < 0;
	if (!missing)
		return 0;
	buf_init(&b, SQL_STATEMENT_MAX);
	(void)buf_append_str(&b, "SELECT ");
	for (uint32_t i = 0; i < t->count; i++) {
		if (i)
			(void)buf_append_str(&b, ", ");
		s->driver->quote_name(&b, slice_str(t->columns[i].name));
	}
	for (uint32_t i = 0; i < more->count; i++) {
		if (find_column(t, slice_str(more->items[i])) >= 0)
			continue;
		(void)buf_append_str(&b, ", ");
		s->driver->quote_name(&b, slice_str(more->items[i]));
	}
	(void)buf_appendf(&b, " FROM %s WHERE 1 = 0", t->from);
	rc = ask_columns(s, session, &b, why);
	t->shown = shown;
	buf_fini(&b);
	return rc;
}

/* "...; there are a, b and others": as many as there is room for. */
static void add_names(struct sql_failure *why, const struct sql_column *columns, uint32_t count)
{
	size_t n = strlen(why->text);

	for (uint32_t i = 0; i < count; i++) {
		size_t room = sizeof(why->text) - n;
		if (strlen(columns[i].name) + 32 > room) {
			(void)snprintf(why->text + n, room, " and others");
			return;
		}
		n += (size_t)snprintf(why->text + n, room, "%s%s", i ? ", " : "; there are ",
				      columns[i].name);
	}
}

/* A column that the settings name is not there: what there is, so that the user finds the right one. */
static void name_columns(struct sql_source *s, struct sql_session *session, struct sql_failure *why)
{
	struct sql_failure ignored;
	const struct sql_column *columns;
	uint32_t count;
	struct buf b;

	if (!s->table.from || why->lost || !sql_is_no_column(why))
		return;
	buf_init(&b, 8192);
	(void)buf_appendf(&b, "SELECT * FROM %s WHERE 1 = 0", s->table.from);
	const char *text = sql_text(&b);
	if (text && s->driver->ask(session, text, false, &ignored) == 0) {
		columns = s->driver->columns(session, &count);
		add_names(why, columns, count);
		why->lost = s->driver->stop(session) != 0;
	}
	buf_fini(&b);
}

/* ---- all of it ---- */

static int place_all(struct sql_source *s, const struct conf_list *list, uint32_t *places, uint32_t *count,
		     const char *what, struct sql_failure *why)
{
	char text[400];

	*count = 0;
	for (uint32_t i = 0; i < list->count; i++) {
		int at = find_column(&s->table, slice_str(list->items[i]));
		if (at < 0 || *count == SQL_KEY_MAX) {
			(void)snprintf(text, sizeof(text), "`%s` names the column %.200s, which is not there",
				       what, list->items[i]);
			(void)sql_failed(why, ERR_BAD_CONFIG, SOURCE_FINAL, false, "", text);
			add_names(why, s->table.columns, s->table.count);
			return ERR_BAD_CONFIG;
		}
		places[(*count)++] = (uint32_t)at;
	}
	return 0;
}

/* MariaDB writes a FLOAT with six digits; asked for as a DOUBLE all of them come, and the value's writer knows better. */
static void put_column(struct buf *b, const struct sql_source *s, uint32_t i)
{
	const struct sql_column *c = &s->table.columns[i];

	if (s->driver->dialect == SQL_MARIADB && c->kind == SQL_FLOAT) {
		(void)buf_append_str(b, "CAST(");
		s->driver->quote_name(b, slice_str(c->name));
		(void)buf_append_str(b, " AS DOUBLE) AS ");
	}
	s->driver->quote_name(b, slice_str(c->name));
}

static int keep_list(struct sql_source *s, struct sql_failure *why)
{
	struct buf b;

	buf_init(&b, SQL_STATEMENT_MAX);
	for (uint32_t i = 0; i < s->table.count; i++) {
		if (i)
			(void)buf_append_str(&b, ", ");
		put_column(&b, s, i);
	}
	s->table.list = keep_text(s, &b);
	buf_fini(&b);
	return s->table.list ? 0 : sql_no_memory(why);
}

/* `*`, the columns that are hidden, and once more, exact, those that `*` does not give as they are. */
static void put_asked(struct buf *b, struct sql_source *s)
{
	struct sql_table *t = &s->table;

	(void)buf_append_byte(b, '*');
	for (uint32_t i = t->shown; i < t->count; i++) {
		(void)buf_append_str(b, ", ");
		put_column(b, s, i);
	}
	for (uint32_t i = 0; i < t->shown && s->driver->dialect == SQL_MARIADB; i++) {
		if (t->columns[i].kind != SQL_FLOAT)
			continue;
		(void)buf_append_str(b, ", ");
		put_column(b, s, i);
		t->exact[t->exact_count++] = i;
	}
}

static int keep_asked(struct sql_source *s, struct sql_failure *why)
{
	struct sql_table *t = &s->table;
	struct buf b;

	if (s->settings->columns.count) {
		t->asked = t->list;
		return 0;
	}
	t->exact = arena_zalloc(&s->arena, t->count + 1, sizeof(*t->exact));
	if (!t->exact)
		return sql_no_memory(why);
	buf_init(&b, SQL_STATEMENT_MAX);
	put_asked(&b, s);
	t->asked = keep_text(s, &b);
	buf_fini(&b);
	return t->asked ? 0 : sql_no_memory(why);
}

static int keep_from(struct sql_source *s, struct sql_name *n, struct sql_failure *why)
{
	struct buf b;
	bool ok;

	buf_init(&b, 4096);
	ok = sql_put_table(&b, s->driver, s->settings->table, n->parts, &n->count, &s->arena);
	s->table.from = keep_text(s, &b);
	buf_fini(&b);
	if (!ok)
		return sql_failed(
			why, ERR_BAD_CONFIG, SOURCE_FINAL, false, "",
			"the table's name is TABLE or SCHEMA.TABLE, each in double quotes where it has other characters");
	return s->table.from ? 0 : sql_no_memory(why);
}

static int learn(struct sql_source *s, struct sql_session *session, const char *from, struct sql_failure *why)
{
	struct conf_list key = s->settings->key;
	struct sql_table *t = &s->table;
	struct sql_name n = {0};
	int rc = keep_from(s, &n, why);

	(void)from;
	if (!rc)
		rc = learn_columns(s, session, why);
	if (!rc && !key.count)
		rc = sql_catalog_key(s, session, &n, &key, why);
	if (!rc)
		rc = add_hidden(s, session, &key, why);
	if (!rc)
		rc = add_hidden(s, session, &s->settings->cursor, why);
	if (rc)
		name_columns(s, session, why);
	if (!rc)
		rc = place_all(s, &key, t->key, &t->key_count, "key", why);
	if (!rc)
		rc = place_all(s, &s->settings->cursor, t->cursor, &t->cursor_count, "cursor", why);
	if (!rc)
		rc = keep_list(s, why);
	if (!rc)
		rc = keep_asked(s, why);
	if (!rc)
		rc = sql_catalog_writers(s, session, why);
	if (!rc)
		rc = sql_catalog_index(s, session, &n, why);
	return rc;
}

/* ---- columns that changed ---- */

void sql_doubt_table(struct sql_source *s, const struct sql_failure *why)
{
	bool known;

	if (!sql_is_no_column(why))
		return;
	pthread_mutex_lock(&s->learning);
	known = s->table.known;
	pthread_mutex_unlock(&s->learning);
	if (!known || atomic_exchange(&s->doubted, true))
		return;
	s->stale = true;
	source_plan_again(s->setup.source);
}

void sql_forget_table(struct sql_source *s, bool always)
{
	if (!atomic_exchange(&s->stale, false) && !always)
		return;
	pthread_mutex_lock(&s->learning);
	s->table.known = false;
	s->generation++;
	pthread_mutex_unlock(&s->learning);
}

/* What was known, which the arena is about to lose. */
struct before {
	struct sql_column *columns;
	uint32_t shown, count;
};

static void keep_before(const struct sql_table *t, struct before *out)
{
	*out = (struct before){.columns =
				       t->columns ? mem_alloc((t->count + 1) * sizeof(*t->columns)) : NULL};
	if (!out->columns)
		return;
	memcpy(out->columns, t->columns, t->count * sizeof(*t->columns));
	out->shown = t->shown;
	out->count = t->count;
}

static void tell_vanished(struct sql_source *s, const struct before *before)
{
	for (uint32_t i = 0; i < before->shown; i++) {
		const char *name = before->columns[i].name;
		if (find_column(&s->table, slice_str(name)) < 0)
			source_warn(s->setup.source,
				    "the column %s of %s is gone: records have no %s from now on", name,
				    s->settings->table ? s->settings->table : "the query", name);
	}
}

static bool is_as_before(const struct sql_table *t, const struct before *before)
{
	bool same = before->columns && t->count == before->count && t->shown == before->shown;

	for (uint32_t i = 0; same && i < t->count; i++) {
		const struct sql_column *a = &t->columns[i], *b = &before->columns[i];
		same = strcmp(a->name, b->name) == 0 && sql_same_type(a, b);
	}
	return same;
}

/* Runs `how` unless everything is known already. Parts that begin at once wait for the first of them, whose waits have ends. */
static int learn_once(struct sql_source *s, struct sql_session *session, const char *from,
		      int (*how)(struct sql_source *s, struct sql_session *session, const char *from,
				 struct sql_failure *why),
		      struct sql_failure *why)
{
	struct before before;
	int rc = 0;

	pthread_mutex_lock(&s->learning);
	if (!s->table.known) {
		keep_before(&s->table, &before);
		arena_reset(&s->arena);
		s->table = (struct sql_table){0};
		rc = how(s, session, from, why);
		s->table.known = !rc;
		if (!rc) {
			tell_vanished(s, &before);
			s->table.unsure =
				atomic_exchange(&s->differed, false) && is_as_before(&s->table, &before);
		}
		mem_free(before.columns);
	}
	pthread_mutex_unlock(&s->learning);
	return rc;
}

static int learn_from_query(struct sql_source *s, struct sql_session *session, const char *from,
			    struct sql_failure *why)
{
	struct sql_table *t = &s->table;
	int rc;

	t->from = from; /* for this question alone: the next has other parameters */
	rc = learn_columns(s, session, why);
	for (uint32_t i = 0; i < t->count && !rc; i++)
		for (uint32_t k = 0; k < i && !rc; k++)
			if (strcmp(t->columns[i].name, t->columns[k].name) == 0)
				rc = sql_failed(
					why, ERR_BAD_CONFIG, SOURCE_FINAL, false, "",
					"two columns of the query have one name: give one another with AS");
	if (!rc)
		rc = place_all(s, &s->settings->key, t->key, &t->key_count, "key", why);
	if (!rc)
		rc = place_all(s, &s->settings->cursor, t->cursor, &t->cursor_count, "cursor", why);
	t->from = NULL;
	if (!rc)
		rc = keep_list(s, why);
	return rc ? rc : keep_asked(s, why);
}

int sql_learn_table(struct sql_source *s, struct sql_session *session, struct sql_failure *why)
{
	return learn_once(s, session, NULL, learn, why);
}

int sql_learn_query(struct sql_source *s, struct sql_session *session, const char *from,
		    struct sql_failure *why)
{
	return learn_once(s, session, from, learn_from_query, why);
}

uint32_t sql_order(const struct sql_table *t, uint32_t *out)
{
	memcpy(out, t->cursor, t->cursor_count * sizeof(*out));
	memcpy(out + t->cursor_count, t->key, t->key_count * sizeof(*out));
	return t->cursor_count + t->key_count;
}

void sql_put_order(struct buf *out, const struct sql_source *s)
{
	uint32_t columns[2 * SQL_KEY_MAX], n = sql_order(&s->table, columns);

	if (!n)
		return;
	(void)buf_append_str(out, " ORDER BY ");
	sql_put_names(out, s, columns, n, "");
}
