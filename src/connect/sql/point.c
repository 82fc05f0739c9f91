/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wire.h"
#include "connect/sql/sql.h"

void sql_point_add(struct sql_point *p, const struct sql_row *row, const struct sql_column *columns,
		   uint32_t at)
{
	p->values[p->count] = row->values[at];
	p->kinds[p->count] = row->kinds ? row->kinds[at] : columns[at].kind;
	p->count++;
}

void sql_point_put(struct buf *out, const struct sql_point *p)
{
	uint8_t head[12];

	(void)buf_append_byte(out, (uint8_t)p->count);
	for (uint32_t i = 0; i < p->count; i++) {
		uint64_t len = p->values[i].ptr ? p->values[i].len + 1 : 0;
		(void)buf_append_byte(out, (uint8_t)p->kinds[i]);
		(void)buf_append(out, head, (size_t)(wire_put_uvarint(head, len) - head));
		(void)buf_append_slice(out, p->values[i]);
	}
}

bool sql_point_read(struct wire_reader *r, struct sql_point *p)
{
	*p = (struct sql_point){.count = wire_u8(r)};
	if (p->count > 2 * SQL_KEY_MAX)
		return false;
	for (uint32_t i = 0; i < p->count; i++) {
		uint8_t kind = wire_u8(r);
		uint64_t len = wire_uvarint(r);
		if (kind > SQL_ARRAY)
			return false;
		p->kinds[i] = (enum sql_kind)kind;
		p->values[i] = len ? wire_bytes(r, len - 1) : slice_null();
		if (r->bad)
			return false;
	}
	return !r->bad;
}

bool sql_point_eq(const struct sql_point *a, const struct sql_point *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (!a->values[i].ptr != !b->values[i].ptr || !slice_eq(a->values[i], b->values[i]))
			return false;
	return true;
}

int sql_point_keep(struct sql_point *p, struct buf *memory)
{
	size_t bytes = 1, at = 0;

	buf_clear(memory);
	for (uint32_t i = 0; i < p->count; i++)
		bytes += p->values[i].len;
	if (buf_reserve(memory, bytes))
		return buf_status(memory);
	for (uint32_t i = 0; i < p->count; i++) {
		if (!p->values[i].ptr)
			continue;
		if (p->values[i].len)
			memcpy(memory->ptr + at, p->values[i].ptr, p->values[i].len);
		p->values[i].ptr = memory->ptr + at;
		at += p->values[i].len;
	}
	memory->len = at;
	return 0;
}
