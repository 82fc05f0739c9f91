/* SPDX-License-Identifier: Apache-2.0 */
#include "state/source_rows.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/table.h"

/*
 * One block: the node, the table's byte, the key, the value. Rows of one name are a list, whose first stands in a table of
 * its own: so nothing is allocated for a list, and a change of rows cannot fail.
 */
struct source_row {
	struct table_node node;
	struct table_node named;        /* of the first of a list */
	struct source_row *next, *prev; /* prev NULL: the first */
	uint32_t key_bytes, value_bytes;
	bool gone;
	uint8_t bytes[]; /* number of the table, key, value */
};

struct source_rows {
	struct table table, names;
};

/* Names come from the configuration and from sources: no peer of weir chooses them to collide. */
static const struct hash_key row_key = {.k0 = 0x726f7773, .k1 = 0x736f75726365};

static struct slice key_of(const struct source_row *row)
{
	return slice_make(row->bytes + 1, row->key_bytes);
}

static struct slice value_of(const struct source_row *row)
{
	return slice_make(row->gone ? NULL : row->bytes + 1 + row->key_bytes, row->value_bytes);
}

static struct source_row *find(struct source_rows *rows, struct slice key)
{
	struct table_node *node = table_first(&rows->table, hash_sip13(&row_key, key));

	for (; node; node = table_next(node)) {
		struct source_row *row = (struct source_row *)node;
		if (slice_eq(key_of(row), key))
			return row;
	}
	return NULL;
}

/* ---- rows of one name ---- */

/* What all of them begin with: byte, length, name. Not whole: ptr NULL. */
static struct slice name_of(struct slice key)
{
	if (key.len < 2 || key.len < 2u + key.ptr[1])
		return slice_null();
	return slice_make(key.ptr, 2u + key.ptr[1]);
}

static struct source_row *first_of(struct source_rows *rows, struct slice name)
{
	struct table_node *node = table_first(&rows->names, hash_sip13(&row_key, name));

	for (; node; node = table_next(node)) {
		struct source_row *row =
			(struct source_row *)(void *)((uint8_t *)node - offsetof(struct source_row, named));
		if (slice_eq(name_of(key_of(row)), name))
			return row;
	}
	return NULL;
}

static void join_name(struct source_rows *rows, struct source_row *row)
{
	struct slice name = name_of(key_of(row));
	struct source_row *first = first_of(rows, name);

	row->prev = first;
	row->next = first ? first->next : NULL;
	if (row->next)
		row->next->prev = row;
	if (first)
		first->next = row;
	else
		table_add(&rows->names, &row->named, hash_sip13(&row_key, name));
}

static void leave_name(struct source_rows *rows, struct source_row *row)
{
	if (row->next)
		row->next->prev = row->prev;
	if (row->prev) {
		row->prev->next = row->next;
		return;
	}
	table_remove(&rows->names, &row->named);
	if (row->next)
		table_add(&rows->names, &row->next->named, row->named.hash);
}

/* ---- rows ---- */

struct source_row *source_row_new(struct slice key, struct slice value)
{
	struct source_row *row = mem_zalloc(1, sizeof(*row) + 1 + key.len + value.len);

	if (!row)
		return NULL;
	row->key_bytes = (uint32_t)key.len;
	row->value_bytes = (uint32_t)value.len;
	row->gone = !value.ptr;
	row->bytes[0] = STATE_SOURCES;
	memcpy(row->bytes + 1, key.ptr, key.len);
	if (value.len)
		memcpy(row->bytes + 1 + key.len, value.ptr, value.len);
	return row;
}

void source_row_free(struct source_row *row)
{
	mem_free(row);
}

struct source_row *source_row_copy(const struct source_row *row)
{
	return source_row_new(key_of(row), value_of(row));
}

void source_row_record(const struct state *state, const struct source_row *copy, struct log_record *out)
{
	*out = (struct log_record){.partition = state_partition(state),
				   .timestamp_ms = -1,
				   .key = slice_make(copy->bytes, 1u + copy->key_bytes),
				   .value = value_of(copy)};
}

void source_rows_set(struct source_rows *rows, struct source_row *row)
{
	struct source_row *old = find(rows, key_of(row));

	if (old) {
		table_remove(&rows->table, &old->node);
		leave_name(rows, old);
		source_row_free(old);
	}
	if (row->gone) {
		source_row_free(row);
		return;
	}
	table_add(&rows->table, &row->node, hash_sip13(&row_key, key_of(row)));
	join_name(rows, row);
}

struct slice source_rows_find(struct source_rows *rows, struct slice key)
{
	struct source_row *row = find(rows, key);

	return row ? value_of(row) : slice_null();
}

int source_rows_each(struct source_rows *rows, struct slice prefix, state_row_fn *fn, void *ctx)
{
	int rc = 0;

	if (name_of(prefix).ptr) {
		for (struct source_row *row = first_of(rows, name_of(prefix)); row && rc == 0;
		     row = row->next)
			if (slice_starts(key_of(row), prefix))
				rc = fn(ctx, key_of(row), value_of(row));
		return rc;
	}
	for (struct table_node *n = table_walk(&rows->table, NULL); n && rc == 0;
	     n = table_walk(&rows->table, n)) {
		struct source_row *row = (struct source_row *)n;
		if (slice_starts(key_of(row), prefix))
			rc = fn(ctx, key_of(row), value_of(row));
	}
	return rc;
}

/* ---- the table of state ---- */

#define KEY_BYTES_MAX 1024u

int source_row_check(struct slice key, struct slice value)
{
	return key.len == 0 || key.len > KEY_BYTES_MAX || value.len > STATE_ROW_BYTES_MAX ? ERR_CORRUPT : 0;
}

static int apply(void *ctx, struct slice key, struct slice value)
{
	struct source_row *row;

	if (source_row_check(key, value))
		return ERR_CORRUPT;
	row = source_row_new(key, value);
	if (!row)
		return ERR_NOMEM;
	source_rows_set(ctx, row);
	return 0;
}

static int each_part(void *ctx, uint32_t part, uint32_t parts, state_row_fn *fn, void *fn_ctx)
{
	struct source_rows *rows = ctx;
	int rc = 0;

	for (struct table_node *n = table_walk_part(&rows->table, NULL, part, parts); n && rc == 0;
	     n = table_walk_part(&rows->table, n, part, parts)) {
		struct source_row *row = (struct source_row *)n;
		rc = fn(fn_ctx, slice_make(row->bytes + 1, row->key_bytes), value_of(row));
	}
	return rc;
}

int source_rows_new(struct state *state, struct source_rows **out)
{
	struct source_rows *rows = mem_zalloc(1, sizeof(*rows));
	struct state_table table = {
		.id = STATE_SOURCES, .name = "sources", .apply = apply, .each_part = each_part, .ctx = rows};
	int rc = rows ? table_init(&rows->table) : ERR_NOMEM;

	if (rc == 0)
		rc = table_init(&rows->names);
	if (rc == 0)
		rc = state_register(state, &table);
	if (rc) {
		source_rows_free(rows);
		return rc;
	}
	*out = rows;
	return 0;
}

void source_rows_free(struct source_rows *rows)
{
	struct table_node *node, *next;

	if (!rows)
		return;
	for (node = rows->table.buckets ? table_walk(&rows->table, NULL) : NULL; node; node = next) {
		next = table_walk(&rows->table, node);
		source_row_free((struct source_row *)node);
	}
	table_fini(&rows->table);
	table_fini(&rows->names);
	mem_free(rows);
}
