/* SPDX-License-Identifier: Apache-2.0 */
/* Columns and their kinds. Types that are not built in (arrays of enums and the like) are looked up once a session. */
#include <libpq-fe.h>
#include <stdio.h>

#include "base/mem.h"
#include "connect/sql/pg.h"

struct builtin {
	uint32_t oid, array;
	enum sql_kind kind;
};

static const struct builtin builtins[] = {
	{16, 1000, SQL_BOOL},        {17, 1001, SQL_BYTES},   {18, 1002, SQL_TEXT},
	{19, 1003, SQL_TEXT},        {20, 1016, SQL_INTEGER}, {21, 1005, SQL_INTEGER},
	{23, 1007, SQL_INTEGER},     {25, 1009, SQL_TEXT},    {26, 1028, SQL_INTEGER},
	{114, 199, SQL_JSON},        {650, 651, SQL_TEXT},    {700, 1021, SQL_FLOAT},
	{701, 1022, SQL_DOUBLE},     {790, 791, SQL_TEXT},    {829, 1040, SQL_TEXT},
	{869, 1041, SQL_TEXT},       {1042, 1014, SQL_TEXT},  {1043, 1015, SQL_TEXT},
	{1082, 1182, SQL_DATE},      {1083, 1183, SQL_TIME},  {1114, 1115, SQL_DATETIME},
	{1184, 1185, SQL_TIMESTAMP}, {1186, 1187, SQL_TEXT},  {1266, 1270, SQL_TIME},
	{1560, 1561, SQL_TEXT},      {1562, 1563, SQL_TEXT},  {1700, 1231, SQL_DECIMAL},
	{2950, 2951, SQL_TEXT},      {3802, 3807, SQL_JSON},  {28, 1011, SQL_INTEGER},
	{5069, 271, SQL_INTEGER},    {3220, 3221, SQL_TEXT},
};

static bool builtin_kind(uint32_t oid, struct sql_column *c)
{
	for (size_t i = 0; i < sizeof(builtins) / sizeof(builtins[0]); i++) {
		if (builtins[i].oid == oid) {
			c->kind = builtins[i].kind;
			return true;
		}
		if (builtins[i].array == oid) {
			c->kind = SQL_ARRAY;
			c->element = builtins[i].kind;
			return true;
		}
	}
	return false;
}

static const struct known *known_type(const struct sql_session *s, uint32_t oid)
{
	for (uint32_t i = 0; i < s->known_count; i++)
		if (s->known[i].oid == oid)
			return &s->known[i];
	return NULL;
}

/* Arrays of types that are not built in, of domains and ranges; everything else reads as text. */
static int look_up(struct sql_session *s, uint32_t oid, struct sql_failure *why)
{
	struct known *more = mem_realloc(s->known, (s->known_count + 1) * sizeof(*more)), *k;
	struct sql_column element = {0};
	char text[400];
	uint64_t of;
	PGresult *r;
	int rc;

	if (!more)
		return sql_failed(why, ERR_NOMEM, SOURCE_TRANSIENT, false, "53200", "out of memory");
	s->known = more;
	k = &more[s->known_count];
	*k = (struct known){.oid = oid, .kind = SQL_TEXT, .separator = ','};
	(void)snprintf(
		text, sizeof(text),
		"SELECT t.typcategory, coalesce(nullif(e.typbasetype, 0), t.typelem), e.typdelim FROM pg_catalog.pg_type t "
		"LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem WHERE t.oid = %u AND t.typlen = -1 AND t.typelem <> 0",
		oid);
	rc = pg_send_and_finish(s, text, &r, why);
	if (rc)
		return rc;
	if (PQntuples(r) == 1 && PQgetvalue(r, 0, 0)[0] == 'A') {
		k->kind = SQL_ARRAY;
		k->element = SQL_TEXT;
		k->separator = PQgetvalue(r, 0, 2)[0];
		if (slice_to_u64(slice_str(PQgetvalue(r, 0, 1)), &of) &&
		    builtin_kind((uint32_t)of, &element) && element.kind != SQL_ARRAY)
			k->element = element.kind;
	}
	PQclear(r);
	s->known_count++;
	return 0;
}

static int learn_types(struct sql_session *s, struct sql_failure *why)
{
	int rc = 0;

	for (uint32_t i = 0; i < s->count && !rc; i++) {
		struct sql_column *c = &s->columns[i];
		const struct known *k;
		if (builtin_kind(c->type, c))
			continue;
		k = known_type(s, c->type);
		if (!k) {
			rc = look_up(s, c->type, why);
			k = rc ? NULL : known_type(s, c->type);
		}
		if (k) {
			c->kind = k->kind;
			c->element = k->element;
			c->separator = k->separator;
		}
	}
	return rc;
}

int pg_take_columns(struct sql_session *s, const PGresult *r, struct sql_failure *why)
{
	int n = PQnfields(r);

	if (n < 0 || (uint32_t)n > SQL_COLUMNS_MAX)
		return sql_failed(why, ERR_LIMIT, SOURCE_FINAL, false, "54011", "more than 1600 columns");
	s->count = (uint32_t)n;
	for (int i = 0; i < n; i++) {
		struct sql_column *c = &s->columns[i];
		*c = (struct sql_column){.type = PQftype(r, i), .separator = ','};
		(void)snprintf(c->name, sizeof(c->name), "%s", PQfname(r, i));
	}
	return learn_types(s, why);
}
