/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The type: settings, their checks, and which mode does what is asked. Everything blocks (SOURCE_BLOCKS);
 * `cancel` ends what waits on a part's connection.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "connect/sql/sql.h"

#define SECONDS(n) ((int64_t)(n)*1000)
#define HOURS(n) (SECONDS(n) * 3600)
#define IN(member) SETTING_MEMBER(struct sql_settings, member)

static const char *const modes[] = {"full", "incremental", "change_log", "query", NULL};
static const char *const afters[] = {"delete", "mark", NULL};
static const char *const decimals[] = {"string", "number", NULL};

static const struct setting table[] = {
	{"url", NULL,
	 "Where the database is: postgresql://USER@HOST:PORT/DATABASE, mysql:// and mariadb:// likewise, sqlite:///PATH.",
	 .type = SETTING_STRING, .min = 1, .max = 4096, .flags = SETTING_REQUIRED | SETTING_SECRET, IN(url)},
	{"password", NULL, "Password of the user, where the URL does not hold it.", .type = SETTING_STRING,
	 .min = 1, .max = 4096, .flags = SETTING_SECRET, IN(password)},
	{"tls_ca", NULL,
	 "File with the certificates (PEM) that the server's must come from; with MariaDB it also demands TLS.",
	 .type = SETTING_STRING, .min = 1, .max = 4096, IN(ca)},
	{"mode", NULL,
	 "What is read: `full` the whole table, `incremental` what is new or changed by the columns of `cursor`, `change_log` rows that are "
	 "deleted or marked once they are stored, `query` whatever a SELECT gives. Deletions are seen by none of them.",
	 .type = SETTING_ENUM, .names = modes, .flags = SETTING_REQUIRED, IN(mode)},
	{"table", NULL, "The table: NAME or SCHEMA.NAME.", .type = SETTING_STRING, .min = 1, .max = 700,
	 IN(table)},
	{"query", NULL,
	 "The SELECT of mode query. Its parameters are :cursor, :last_run, :now, :from and :to; what is not known yet is NULL.",
	 .type = SETTING_STRING, .min = 1, .max = 65536, IN(query)},
	{"where", NULL, "A condition that rows meet, as SQL.", .type = SETTING_STRING, .min = 1, .max = 65536,
	 IN(where)},
	{"columns", NULL, "Columns of the records; all of them where none is named.", .type = SETTING_LIST,
	 .min = 1, .max = 255, IN(columns)},
	{"cursor", NULL,
	 "Columns that grow with every change, such as updated_at or an id that is never given twice.",
	 .type = SETTING_LIST, .min = 1, .max = 255, IN(cursor)},
	{"key", NULL,
	 "Columns that make a row unique, and that the records' key is made of; the primary key where none is named.",
	 .type = SETTING_LIST, .min = 1, .max = 255, IN(key)},
	{"start", NULL,
	 "Value of the first cursor column to begin at; from the beginning where there is none.",
	 .type = SETTING_STRING, .min = 1, .max = 1000, IN(start)},
	{"late_commits", "auto",
	 "How long a transaction may take, where the database does not tell which are open: auto is 1m for views and tables of other "
	 "servers on PostgreSQL, what the server says on MariaDB, 0s on SQLite.",
	 .type = SETTING_DURATION, .word = "auto", .word_value = -1, .min = 0, .max = HOURS(24 * 7),
	 IN(late_commits_ms)},
	{"chunk_rows", "100000", "Rows of a range that a worker reads by itself, in mode full.",
	 .type = SETTING_INT, .min = 1000, .max = 1000000000, IN(chunk_rows)},
	{"repeat", "false",
	 "Whether mode full reads the table again each time that the schedule runs, or once.",
	 .type = SETTING_BOOL, IN(repeat)},
	{"after", "delete", "What becomes of rows that are stored, in mode change_log.", .type = SETTING_ENUM,
	 .names = afters, IN(after)},
	{"mark", NULL,
	 "With after: mark, what is set, as SQL: `done = true`. `where` must leave out what is marked.",
	 .type = SETTING_STRING, .min = 1, .max = 4096, IN(mark)},
	{"decimals", "string",
	 "How exact decimals stand in the JSON: most readers round numbers, and no reader strings.",
	 .type = SETTING_ENUM, .names = decimals, IN(decimals)},
	{"timeout", "1m", "How long connecting may take, and the server be silent.", .type = SETTING_DURATION,
	 .min = SECONDS(1), .max = HOURS(24), IN(timeout_ms)},
};

/* ---- checks ---- */

static void check_url(const struct sql_settings *o, struct conf_check *check)
{
	if (!sql_driver_find(o->url) && !sql_driver_absent(o->url))
		conf_check_fail(check, "url", "the scheme is none of these: " SQL_SCHEMES);
}

static void check_query(const struct sql_settings *o, struct conf_check *check)
{
	const struct sql_driver *driver = sql_driver_find(o->url);

	if (!o->query)
		conf_check_fail(check, "query", "mode query needs it");
	else if (!sql_is_query(o->query))
		conf_check_fail(check, "query",
				"it is not a SELECT (or WITH, VALUES, TABLE): a source only reads");
	else if (driver && !sql_is_one(o->query, driver->dialect))
		conf_check_fail(check, "query",
				"more stands behind the semicolon: a source runs one statement");
	if (o->table)
		conf_check_fail(check, "table", "mode query has its tables in the query");
	if (o->where)
		conf_check_fail(check, "where", "mode query has its conditions in the query");
}

static void check_table(const struct sql_settings *o, struct conf_check *check)
{
	if (!o->table)
		conf_check_fail(check, "table", "mode %s needs it", modes[o->mode]);
	if (o->query)
		conf_check_fail(check, "query", "only mode query has one");
	if (o->mode == SQL_INCREMENTAL && !o->cursor.count)
		conf_check_fail(check, "cursor",
				"mode incremental needs at least one column that grows, such as updated_at");
	if (o->mode != SQL_INCREMENTAL && o->cursor.count)
		conf_check_fail(check, "cursor", "mode %s has no cursor", modes[o->mode]);
}

static void check(const void *settings, struct conf_check *check)
{
	const struct sql_settings *o = settings;

	check_url(o, check);
	if (o->mode == SQL_QUERY)
		check_query(o, check);
	else
		check_table(o, check);
	if (o->mode == SQL_CHANGE_LOG && o->after == SQL_MARK && (!o->mark || !o->where))
		conf_check_fail(
			check, "after",
			"to mark rows say what is set (mark: \"done = true\") and which rows are not yet "
			"marked (where: \"NOT done\")");
	if (o->mark && (o->mode != SQL_CHANGE_LOG || o->after != SQL_MARK))
		conf_check_fail(check, "mark", "it goes with mode change_log and after: mark");
	if (o->repeat && o->mode != SQL_FULL)
		conf_check_fail(check, "repeat",
				"it goes with mode full; the others run by the schedule anyhow");
	if (o->start && o->mode != SQL_INCREMENTAL && o->mode != SQL_QUERY)
		conf_check_fail(check, "start", "it goes with modes incremental and query");
}

/* ---- the type ---- */

static const struct sql_mode_ops *const mode_ops[] = {
	[SQL_FULL] = &sql_full,
	[SQL_INCREMENTAL] = &sql_incremental,
	[SQL_CHANGE_LOG] = &sql_change_log,
	[SQL_QUERY] = &sql_query_mode,
};

static const struct sql_mode_ops *ops_of(const struct sql_source *s)
{
	return mode_ops[s->settings->mode];
}

/* A bound that nothing looks at would read everything once more. */
static int check_window(const struct sql_settings *o, const struct sql_driver *driver,
			const struct source_window *w, struct fault *fault)
{
	if (!w)
		return 0;
	if (o->mode == SQL_CHANGE_LOG)
		return fault_set(
			fault, ERR_BAD_PARAMETER,
			"mode change_log takes its rows away: there is nothing behind to be read once more");
	if (o->mode == SQL_QUERY && w->from.ptr && !sql_query_has(o->query, driver->dialect, "from"))
		return fault_set(fault, ERR_BAD_PARAMETER, "--from needs :from in `query`");
	if (o->mode == SQL_QUERY && w->to.ptr && !sql_query_has(o->query, driver->dialect, "to"))
		return fault_set(fault, ERR_BAD_PARAMETER, "--to needs :to in `query`");
	return 0;
}

static void tell_of_deletions(const struct source_setup *setup, enum sql_mode mode)
{
	if (mode == SQL_CHANGE_LOG)
		source_warn(
			setup->source,
			"that a row was deleted is seen where a trigger writes it to this table, and nowhere else");
	else
		source_warn(
			setup->source,
			"mode %s does not see that rows were deleted: keep a column that says so (deleted_at), or have a "
			"trigger write to a table for mode change_log",
			modes[mode]);
}

static int sql_open(const struct source_setup *setup, void **self, struct fault *fault)
{
	const struct sql_settings *o = setup->settings;
	const struct sql_driver *driver = sql_driver_find(o->url);
	struct sql_source *s;
	int rc;

	if (!driver && sql_driver_absent(o->url))
		return fault_set(fault, ERR_NOT_IMPLEMENTED, "this weir was built without %s",
				 sql_driver_absent(o->url));
	if (!driver)
		return fault_set(fault, ERR_BAD_CONFIG,
				 "the scheme of the URL is none of these: " SQL_SCHEMES);
	rc = check_window(o, driver, setup->window, fault);
	if (rc)
		return rc;
	s = mem_zalloc(1, sizeof(*s));
	if (!s)
		return fault_set(fault, ERR_NOMEM, "out of memory");
	s->setup = *setup;
	s->settings = o;
	s->driver = driver;
	arena_init(&s->arena, 16384, 16u << 20);
	pthread_mutex_init(&s->learning, NULL);
	pthread_mutex_init(&s->lock, NULL);
	*self = s;
	if (setup->test)
		tell_of_deletions(setup, (enum sql_mode)o->mode);
	return 0;
}

static void sql_close(void *self)
{
	struct sql_source *s = self;

	if (ops_of(s)->close)
		ops_of(s)->close(s);
	sql_end_idle(s);
	arena_fini(&s->arena);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->learning);
	mem_free(s);
}

/* Modes but full have one part. */
static enum source_end sql_plan(void *self, struct source_plan *plan)
{
	struct sql_source *s = self;
	struct source_plan_part whole = {.name = slice_make("", 0)};

	sql_forget_table(s, false);
	if (ops_of(s)->plan)
		return ops_of(s)->plan(s, plan);
	return source_plan_add(plan, &whole) ? source_fail(&plan->call, SOURCE_TRANSIENT, "out of memory") :
					       SOURCE_IDLE;
}

static enum source_end sql_pull(void *self, struct source_part *part, struct source_batch *batch)
{
	struct sql_source *s = self;
	const struct sql_reader *r = part->state && ops_of(s)->reader ? ops_of(s)->reader(part) : NULL;
	enum source_end end;

	if (r && r->writer_ready && r->generation != s->generation)
		ops_of(s)->drop(s, part); /* its columns are those of before: it begins at its checkpoint */
	end = ops_of(s)->pull(s, part, batch);
	if (end != SOURCE_FAILED)
		s->doubted = false;
	return end;
}

static enum source_end sql_settle(void *self, struct source_part *part, struct source_settle *settle)
{
	struct sql_source *s = self;

	return ops_of(s)->settle ? ops_of(s)->settle(s, part, settle) : SOURCE_IDLE;
}

static void sql_drop(void *self, struct source_part *part)
{
	struct sql_source *s = self;

	ops_of(s)->drop(s, part);
}

static void sql_cancel(void *self, struct source_part *part)
{
	sql_interrupt(self, part);
}

/* A version is of one mode alone, so that the checkpoint of another is never read as one's own. */
static void sql_show(uint8_t version, struct slice checkpoint, struct buf *json)
{
	static const enum sql_mode by_version[] = {SQL_INCREMENTAL, SQL_INCREMENTAL, SQL_FULL,
						   SQL_CHANGE_LOG,  SQL_QUERY,       SQL_CHANGE_LOG};

	mode_ops[version < 6 ? by_version[version] : SQL_QUERY]->show(version, checkpoint, json);
}

const struct source_type source_sql = {
	.kind = {.name = "sql",
		 .summary = "Rows of a table or a query of PostgreSQL, MariaDB, MySQL or SQLite",
		 .settings = table,
		 .setting_count = sizeof(table) / sizeof(table[0]),
		 .settings_bytes = sizeof(struct sql_settings),
		 .check = check},
	.flags = SOURCE_BLOCKS | SOURCE_WINDOWS | SOURCE_HOLDS,
	.every_ms = SECONDS(10),
	.open = sql_open,
	.close = sql_close,
	.plan = sql_plan,
	.pull = sql_pull,
	.settle = sql_settle,
	.drop = sql_drop,
	.cancel = sql_cancel,
	.show = sql_show,
};
