/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "connect/sql/driver.h"

#ifdef WEIR_WITH_LIBPQ
#define POSTGRESQL &sql_postgresql
#else
#define POSTGRESQL NULL
#endif
#ifdef WEIR_WITH_LIBMARIADB
#define MARIADB &sql_mariadb
#else
#define MARIADB NULL
#endif
#ifdef WEIR_WITH_SQLITE
#define SQLITE &sql_sqlite
#else
#define SQLITE NULL
#endif

/* The databases that there are. */
static const struct database {
	const char *schemes[2];
	const struct sql_driver *driver; /* NULL: built without its library */
	const char *absent;
} databases[] = {
	{{"postgresql", "postgres"},
	 POSTGRESQL,
	 "libpq, and reads no PostgreSQL; expected a build with it (libpq-dev on Debian)"},
	{{"mariadb", "mysql"},
	 MARIADB,
	 "libmariadb, and reads no MariaDB or MySQL; expected a build with it (libmariadb-dev on Debian)"},
	{{"sqlite", "sqlite3"},
	 SQLITE,
	 "SQLite, and reads none of its files; expected a build with it (libsqlite3-dev on Debian)"},
};

static const struct database *find_database(const char *url)
{
	size_t n = strcspn(url, ":");

	for (size_t i = 0; i < 2 * sizeof(databases) / sizeof(databases[0]); i++) {
		const char *scheme = databases[i / 2].schemes[i % 2];
		if (strlen(scheme) == n && strncasecmp(scheme, url, n) == 0)
			return &databases[i / 2];
	}
	return NULL;
}

const struct sql_driver *sql_driver_find(const char *url)
{
	const struct database *db = find_database(url);

	return db ? db->driver : NULL;
}

const char *sql_driver_absent(const char *url)
{
	const struct database *db = find_database(url);

	return db && !db->driver ? db->absent : NULL;
}

void sql_put_doubled(struct buf *out, struct slice text, uint8_t mark)
{
	(void)buf_append_byte(out, mark);
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == mark)
			(void)buf_append_byte(out, mark);
		(void)buf_append_byte(out, text.ptr[i]);
	}
	(void)buf_append_byte(out, mark);
}

void sql_put_hex(struct buf *out, struct slice bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		(void)buf_appendf(out, "%02x", bytes.ptr[i]);
}

int sql_failed(struct sql_failure *why, int err, enum source_failure kind, bool lost, const char *state,
	       const char *text)
{
	size_t n = 0;

	why->kind = kind;
	why->lost = lost;
	why->changed = false;
	(void)snprintf(why->state, sizeof(why->state), "%s", state);
	for (const char *at = text; *at && n + 1 < sizeof(why->text); at++) {
		bool blank = *at == '\n' || *at == '\t' || *at == '\r' || *at == ' ';
		if (!blank)
			why->text[n++] = *at;
		else if (n && why->text[n - 1] != ' ')
			why->text[n++] = ' ';
	}
	while (n && why->text[n - 1] == ' ')
		n--;
	why->text[n] = '\0';
	return err;
}

int sql_no_memory(struct sql_failure *why)
{
	return sql_failed(why, ERR_NOMEM, SOURCE_TRANSIENT, false, "", "out of memory");
}

bool sql_is_no_column(const struct sql_failure *why)
{
	return strcmp(why->state, "42703") == 0 || strcmp(why->state, "1054") == 0 ||
	       strncmp(why->text, "no such column", 14) == 0;
}

int sql_ask_one(const struct sql_driver *d, struct sql_session *s, const char *text, struct arena *arena,
		struct sql_row *row, struct sql_failure *why)
{
	struct sql_row found, more;
	int rc = d->ask(s, text, false, why);

	if (rc)
		return rc;
	rc = d->next(s, &found, why);
	if (rc <= 0)
		return rc;
	row->kinds = NULL;
	row->count = found.count;
	row->values = arena_zalloc(arena, found.count ? found.count : 1, sizeof(*row->values));
	for (uint32_t i = 0; row->values && i < found.count; i++) {
		row->values[i] = found.values[i].ptr ? arena_copy(arena, found.values[i]) : slice_null();
		if (found.values[i].ptr && !row->values[i].ptr)
			row->values = NULL;
	}
	if (!row->values)
		return sql_failed(why, ERR_NOMEM, SOURCE_TRANSIENT, false, "53200", "out of memory");
	rc = d->next(s, &more, why);
	if (rc > 0)
		rc = d->stop(s) ? sql_failed(why, ERR_IO, SOURCE_TRANSIENT, true, "08006",
					     "the connection is of no more use") :
				  0;
	return rc ? rc : 1;
}
