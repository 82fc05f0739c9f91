/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/row_changes.h"

#include "base/check.h"
#include "base/mem.h"

struct row_change {
	struct source_row *fresh; /* becomes the table's */
	struct source_row *copy;  /* the commit points to it */
};

void row_changes_fini(struct row_changes *c)
{
	row_changes_clear(c);
	mem_free(c->rows);
	mem_free(c->records);
	*c = (struct row_changes){0};
}

int row_changes_reserve(struct row_changes *c, uint32_t count)
{
	struct row_change *rows;
	struct log_record *records;

	if (count <= c->cap)
		return 0;
	rows = mem_realloc(c->rows, count * sizeof(*rows));
	if (rows)
		c->rows = rows;
	records = mem_realloc(c->records, count * sizeof(*records));
	if (records)
		c->records = records;
	if (!rows || !records)
		return ERR_NOMEM;
	c->cap = count;
	return 0;
}

int row_changes_add(struct row_changes *c, const struct state *state, const struct buf *row, size_t key_bytes)
{
	struct slice key = slice_make(row->ptr, key_bytes), value = slice_from(buf_slice(row), key_bytes);
	struct source_row *fresh, *copy;

	CHECK(c->count < c->cap);
	if (buf_status(row))
		return ERR_NOMEM;
	fresh = source_row_new(key, value.len ? value : slice_null());
	copy = fresh ? source_row_copy(fresh) : NULL;
	if (!copy) {
		source_row_free(fresh);
		return ERR_NOMEM;
	}
	c->rows[c->count] = (struct row_change){.fresh = fresh, .copy = copy};
	source_row_record(state, copy, &c->records[c->count]);
	c->count++;
	return 0;
}

void row_changes_apply(struct row_changes *c, struct source_rows *rows)
{
	for (uint32_t i = 0; i < c->count; i++) {
		source_rows_set(rows, c->rows[i].fresh);
		c->rows[i].fresh = NULL;
	}
}

void row_changes_clear(struct row_changes *c)
{
	for (uint32_t i = 0; i < c->count; i++) {
		source_row_free(c->rows[i].fresh);
		source_row_free(c->rows[i].copy);
	}
	c->count = 0;
}
