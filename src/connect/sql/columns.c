/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Columns come, go and change their type while a source reads. Statements ask for `*`, so that each answer tells what there is, at no
 * cost; it is compared with what was learned before a row of it is taken. Where it differs the answer is thrown away, the table is
 * learned anew by a plan, which runs alone, and parts go on from their checkpoints.
 *
 * Fingerprints that tell a row from a changed one are made of values in the order of columns, and must not change because a column
 * was added: who keeps fingerprints keeps the names of the columns that they are made of.
 *
 * Rejected: to look at the catalogue before each statement (one more question, and another moment than the rows').
 */
#include "base/hash.h"
#include "base/wire.h"
#include "connect/sql/sql.h"

#define ID_BYTES 4u

uint32_t sql_extra(const struct sql_table *t)
{
	return t->count + t->exact_count;
}

void sql_complete_row(const struct sql_table *t, struct sql_row *row)
{
	for (uint32_t i = 0; i < t->exact_count; i++)
		row->values[t->exact[i]] = row->values[t->count + i];
}

/* ---- as learned? ---- */

static bool has_names(const struct sql_table *t, const struct sql_column *columns, uint32_t count,
		      uint32_t extras)
{
	if (count != sql_extra(t) + extras)
		return false;
	for (uint32_t i = 0; i < t->count; i++)
		if (strcmp(columns[i].name, t->columns[i].name) != 0)
			return false;
	return true;
}

/* A list of names asks for a FLOAT of MariaDB as a DOUBLE; behind `*` stands one. */
static bool is_cast(const struct sql_source *s, uint32_t i)
{
	return s->driver->dialect == SQL_MARIADB && s->table.columns[i].kind == SQL_FLOAT;
}

bool sql_same_type(const struct sql_column *a, const struct sql_column *b)
{
	return a->kind == b->kind && a->element == b->element && a->separator == b->separator &&
	       a->type == b->type;
}

static bool has_kinds(const struct sql_source *s, const struct sql_column *columns)
{
	for (uint32_t i = 0; i < s->table.count; i++) {
		const struct sql_column *a = &columns[i], *b = &s->table.columns[i];
		if (!sql_same_type(a, b) && !(is_cast(s, i) && a->kind == SQL_DOUBLE))
			return false;
	}
	return true;
}

int sql_check_columns(struct sql_source *s, struct sql_session *session, uint32_t extras,
		      struct sql_failure *why)
{
	const struct sql_column *columns;
	uint32_t count;
	bool named;

	columns = s->driver->columns(session, &count);
	named = has_names(&s->table, columns, count, extras);
	if (named && (s->table.unsure || has_kinds(s, columns)))
		return 0;
	(void)sql_failed(why, ERR_IO, SOURCE_TRANSIENT, s->driver->stop(session) != 0, "",
			 "the answer has other columns than the table");
	why->changed = !s->table.unsure; /* else it was learned anew for this, and was as it had been */
	s->differed = true;
	s->stale = true;
	source_plan_again(s->setup.source);
	return ERR_IO;
}

/* ---- names that are kept ---- */

static uint32_t id_of(const struct sql_column *c)
{
	static const struct hash_key key = {.k0 = 0x7765697220636f6c, .k1 = 0};

	return (uint32_t)hash_sip24_128(&key, slice_str(c->name)).lo;
}

void sql_put_columns(struct buf *out, const struct sql_table *t)
{
	uint8_t bytes[ID_BYTES];

	for (uint32_t i = 0; i < t->count; i++) {
		wire_put_u32(bytes, id_of(&t->columns[i]));
		(void)buf_append(out, bytes, sizeof(bytes));
	}
}

static bool is_listed(struct slice list, uint32_t id)
{
	for (size_t at = 0; at + ID_BYTES <= list.len; at += ID_BYTES)
		if (wire_load_u32(list.ptr + at) == id)
			return true;
	return false;
}

/* By its name; else what stands where it stood, if that is no other of them: it was renamed. The count where it is gone. */
static uint32_t find_column(const struct sql_table *t, struct slice list, uint32_t id, uint32_t stood)
{
	uint32_t i = stood;

	for (uint32_t n = 0; n < t->count; n++, i++) { /* most are where they were */
		i = i < t->count ? i : 0;
		if (id_of(&t->columns[i]) == id)
			return i;
	}
	return stood < t->count && !is_listed(list, id_of(&t->columns[stood])) ? stood : t->count;
}

uint32_t sql_find_columns(const struct sql_table *t, struct slice list, uint32_t *out)
{
	uint32_t n = 0;

	for (uint32_t k = 0; (k + 1) * ID_BYTES <= list.len && n < t->count; k++) {
		uint32_t at = find_column(t, list, wire_load_u32(list.ptr + k * ID_BYTES), k);
		if (at < t->count)
			out[n++] = at;
	}
	return n;
}
