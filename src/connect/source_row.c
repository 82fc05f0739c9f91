/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/source_row.h"

#include "base/wire.h"

#define ROW_VERSION 1u

static void put_number(struct buf *b, uint64_t value)
{
	uint8_t bytes[10];

	(void)buf_append(b, bytes, (size_t)(wire_put_uvarint(bytes, value) - bytes));
}

static void put_bytes(struct buf *b, struct slice bytes)
{
	put_number(b, bytes.len);
	(void)buf_append_slice(b, bytes);
}

static void put_checkpoint(struct buf *b, const struct source_checkpoint *c)
{
	(void)buf_append_byte(b, c->bytes.ptr != NULL);
	(void)buf_append_byte(b, c->version);
	put_bytes(b, c->bytes);
}

int source_row_put_key(struct buf *b, const struct source_row_key *key)
{
	(void)buf_append_byte(b, (uint8_t)key->kind);
	(void)buf_append_byte(b, (uint8_t)key->source.len);
	(void)buf_append_slice(b, key->source);
	return buf_append_slice(b, key->part);
}

int source_row_put_state(struct buf *b, const struct source_state_row *row)
{
	(void)buf_append_byte(b, ROW_VERSION);
	(void)buf_append_byte(b, row->flags);
	put_number(b, row->records);
	put_number(b, row->dead);
	put_number(b, (uint64_t)row->success_ms);
	put_checkpoint(b, &row->plan);
	put_bytes(b, row->schedule);
	put_bytes(b, row->adaptive);
	return buf_status(b);
}

int source_row_put_part(struct buf *b, const struct source_part_row *row)
{
	(void)buf_append_byte(b, ROW_VERSION);
	(void)buf_append_byte(b, row->flags);
	put_number(b, row->records);
	put_number(b, row->done);
	put_number(b, row->total);
	put_checkpoint(b, &row->checkpoint);
	return buf_status(b);
}

static void put_bound(struct buf *b, struct slice bound)
{
	(void)buf_append_byte(b, bound.ptr != NULL);
	put_bytes(b, bound);
}

int source_row_put_run(struct buf *b, const struct source_run_row *row)
{
	(void)buf_append_byte(b, ROW_VERSION);
	(void)buf_append_byte(b, row->state);
	put_number(b, (uint64_t)row->begun_ms);
	put_number(b, (uint64_t)row->ended_ms);
	put_number(b, row->rate);
	put_number(b, row->records);
	put_number(b, row->dead);
	put_number(b, row->done);
	put_number(b, row->total);
	put_bound(b, row->from);
	put_bound(b, row->to);
	put_bytes(b, row->error);
	return buf_status(b);
}

/* ---- reading ---- */

static struct slice take_bytes(struct wire_reader *r)
{
	uint64_t n = wire_uvarint(r);

	if (n > wire_left(r)) {
		r->bad = true;
		return slice_null();
	}
	return wire_bytes(r, (size_t)n);
}

static void take_checkpoint(struct wire_reader *r, struct source_checkpoint *out)
{
	uint8_t there = wire_u8(r);

	out->version = wire_u8(r);
	out->bytes = take_bytes(r);
	if (there > 1 || out->bytes.len > SOURCE_CHECKPOINT_MAX || (!there && out->bytes.len))
		r->bad = true;
	if (!there)
		out->bytes = slice_null();
}

static int ended(const struct wire_reader *r)
{
	return r->bad || wire_left(r) ? ERR_CORRUPT : 0;
}

int source_row_read_key(struct slice bytes, struct source_row_key *out)
{
	struct wire_reader r = wire_reader_make(bytes);

	out->kind = (char)wire_u8(&r);
	out->source = wire_bytes(&r, wire_u8(&r));
	out->part = wire_bytes(&r, wire_left(&r));
	if ((out->kind != 's' && out->kind != 'p' && out->kind != 'r' && out->kind != 'c') ||
	    out->part.len > SOURCE_PART_NAME_MAX)
		r.bad = true;
	return ended(&r);
}

int source_row_read_state(struct slice bytes, struct source_state_row *out)
{
	struct wire_reader r = wire_reader_make(bytes);

	if (wire_u8(&r) > ROW_VERSION)
		return ERR_BAD_VERSION;
	out->flags = wire_u8(&r);
	out->records = wire_uvarint(&r);
	out->dead = wire_uvarint(&r);
	out->success_ms = (int64_t)wire_uvarint(&r);
	take_checkpoint(&r, &out->plan);
	out->schedule = take_bytes(&r);
	out->adaptive = take_bytes(&r);
	return ended(&r);
}

int source_row_read_part(struct slice bytes, struct source_part_row *out)
{
	struct wire_reader r = wire_reader_make(bytes);

	if (wire_u8(&r) > ROW_VERSION)
		return ERR_BAD_VERSION;
	out->flags = wire_u8(&r);
	out->records = wire_uvarint(&r);
	out->done = wire_uvarint(&r);
	out->total = wire_uvarint(&r);
	take_checkpoint(&r, &out->checkpoint);
	return ended(&r);
}

static struct slice take_bound(struct wire_reader *r)
{
	uint8_t there = wire_u8(r);
	struct slice bound = take_bytes(r);

	if (there > 1 || bound.len > SOURCE_BOUND_MAX || (!there && bound.len))
		r->bad = true;
	return there ? bound : slice_null();
}

int source_row_read_run(struct slice bytes, struct source_run_row *out)
{
	struct wire_reader r = wire_reader_make(bytes);

	if (wire_u8(&r) > ROW_VERSION)
		return ERR_BAD_VERSION;
	out->state = wire_u8(&r);
	out->begun_ms = (int64_t)wire_uvarint(&r);
	out->ended_ms = (int64_t)wire_uvarint(&r);
	out->rate = wire_uvarint(&r);
	out->records = wire_uvarint(&r);
	out->dead = wire_uvarint(&r);
	out->done = wire_uvarint(&r);
	out->total = wire_uvarint(&r);
	out->from = take_bound(&r);
	out->to = take_bound(&r);
	out->error = take_bytes(&r);
	if (out->error.len > SOURCE_ERROR_MAX)
		r.bad = true;
	return ended(&r);
}
