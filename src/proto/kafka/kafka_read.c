/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading by layout. One function a shape: a struct is its fields in line and
 * then, in flexible versions, its tags. The tables nest at most five deep, and
 * only they say what is inside what: no input can make this recurse further.
 *
 * Faults stick in the reader (`wire.bad`, `error`), so that each function goes on
 * harmlessly to its end and one place looks. What could be long, the items of an
 * array, looks before each.
 *
 * Rejected: reading arrays item by item on demand, without memory for them. It
 * saves the arena but makes every caller a part of the parser: half of a request
 * would be carried out before the fault in its other half is seen.
 */
#include "base/err.h"
#include "base/wire.h"
#include "proto/kafka/kafka_layout_inner.h"

struct reading {
	struct wire_reader wire;
	struct arena *arena;
	struct kafka_format format;
	int error; /* that is not the input's */
};

static void read_struct(struct reading *r, const struct kafka_layout *layout, uint8_t *to);

/* ---- values ---- */

/* A length or count: -1 for null. A negative one that is not -1 is a fault. */
static int64_t read_length(struct reading *r, bool is_short)
{
	int64_t n;

	if (r->format.flexible)
		n = (int64_t)wire_uvarint32(&r->wire) - 1;
	else
		n = is_short ? (int16_t)wire_u16(&r->wire) : (int32_t)wire_u32(&r->wire);
	if (n < -1)
		r->wire.bad = true;
	return n;
}

static struct slice read_bytes(struct reading *r, const struct kafka_field *f, uint8_t kind)
{
	int64_t n = read_length(r, kind == KAFKA_TEXT);

	/* Items of a list are never null, and the list's own rule is not theirs. */
	if (n == -1 && (f->kind == KAFKA_LIST || !kafka_field_nullable(f, r->format)))
		r->wire.bad = true;
	if (kind == KAFKA_TEXT && n > INT16_MAX)
		r->wire.bad = true;
	if (r->wire.bad || n == -1)
		return slice_null();
	return n ? wire_bytes(&r->wire, (size_t)n) : slice_make(kafka_nothing, 0);
}

static void read_value(struct reading *r, const struct kafka_field *f, uint8_t kind, uint8_t *to)
{
	struct slice bytes;

	switch (kind) {
	case KAFKA_BOOL:
		*(bool *)to = wire_u8(&r->wire) != 0;
		break;
	case KAFKA_INT8:
		*to = wire_u8(&r->wire);
		break;
	case KAFKA_INT16:
		*(uint16_t *)to = wire_u16(&r->wire);
		break;
	case KAFKA_INT32:
		*(uint32_t *)to = wire_u32(&r->wire);
		break;
	case KAFKA_INT64:
		*(uint64_t *)to = wire_u64(&r->wire);
		break;
	case KAFKA_FLOAT64:
		*(double *)to = wire_f64(&r->wire);
		break;
	case KAFKA_UUID:
		bytes = wire_bytes(&r->wire, sizeof(struct kafka_uuid));
		if (bytes.ptr)
			memcpy(to, bytes.ptr, bytes.len);
		break;
	case KAFKA_TEXT:
	case KAFKA_BYTES:
		*(struct slice *)to = read_bytes(r, f, kind);
		break;
	case KAFKA_RECORDS:
		bytes = read_bytes(r, f, kind);
		*(struct kafka_records *)to = (struct kafka_records){.ptr = bytes.ptr, .len = bytes.len};
		break;
	}
}

static void *take_memory(struct reading *r, size_t n)
{
	void *memory = r->error ? NULL : arena_alloc(r->arena, n);

	/* The arena gives multiples of 16, and does not say why it gives nothing. */
	if (!memory && !r->error)
		r->error = ((n + 15) & ~(size_t)15) > r->arena->bytes_max - r->arena->bytes ? ERR_LIMIT :
											      ERR_NOMEM;
	return memory;
}

/* Lists and arrays. The count is a claim until the bytes left could hold so many. */
static void read_items(struct reading *r, const struct kafka_field *f, uint8_t *to)
{
	bool plain = f->kind == KAFKA_LIST;
	size_t bytes = kafka_item_bytes(f);
	int64_t count = read_length(r, false);
	uint8_t *items;

	*(struct slice *)to = slice_make(kafka_nothing, 0);
	if (count == -1 && kafka_field_nullable(f, r->format)) {
		*(struct slice *)to = slice_null();
		return;
	}
	if (count == -1 || (uint64_t)count > wire_left(&r->wire) / kafka_item_wire_min(f, r->format))
		r->wire.bad = true;
	if (r->wire.bad || count == 0)
		return;
	items = take_memory(r, (size_t)count * bytes);
	if (!items)
		return;
	*(struct slice *)to = slice_make(items, (size_t)count);
	for (int64_t i = 0; i < count && !r->wire.bad && !r->error; i++, items += bytes) {
		if (plain)
			read_value(r, f, f->item, items);
		else
			read_struct(r, f->of, items);
	}
}

static void read_part(struct reading *r, const struct kafka_field *f, uint8_t *to)
{
	uint8_t *part = take_memory(r, f->of->bytes);

	if (part)
		read_struct(r, f->of, part);
	*(const void **)to = part;
}

static void read_field(struct reading *r, const struct kafka_field *f, uint8_t *to)
{
	if (f->kind == KAFKA_LIST || f->kind == KAFKA_ARRAY)
		read_items(r, f, to);
	else if (f->kind == KAFKA_PART)
		read_part(r, f, to);
	else
		read_value(r, f, f->kind, to);
}

/* ---- structs ---- */

static const struct kafka_field *find_tag(const struct reading *r, const struct kafka_layout *layout,
					  uint32_t tag)
{
	for (size_t i = 0; i < layout->fields_count; i++) {
		const struct kafka_field *f = &layout->fields[i];
		if (f->tag && (uint32_t)f->tag - 1 == tag && kafka_field_in(f, r->format))
			return f;
	}
	return NULL;
}

/* Reads a field that must fill `bytes` exactly. */
static void read_tagged(struct reading *r, const struct kafka_field *f, struct slice bytes, uint8_t *to)
{
	struct wire_reader outer = r->wire;

	r->wire = wire_reader_make(bytes);
	read_field(r, f, to);
	outer.bad = r->wire.bad || wire_left(&r->wire) != 0;
	r->wire = outer;
}

/* KIP-482: a count, then for each, in order of tags and none twice: tag, size, bytes. */
static void read_tags(struct reading *r, const struct kafka_layout *layout, uint8_t *to)
{
	uint32_t count = wire_uvarint32(&r->wire);
	int64_t before = -1;

	for (uint32_t i = 0; i < count && !r->wire.bad; i++) {
		uint32_t tag = wire_uvarint32(&r->wire);
		struct slice bytes = wire_bytes(&r->wire, wire_uvarint32(&r->wire));
		const struct kafka_field *f = find_tag(r, layout, tag);
		if (tag <= before)
			r->wire.bad = true;
		else if (f && !r->wire.bad)
			read_tagged(r, f, bytes, to + f->offset);
		before = tag;
	}
}

static void read_struct(struct reading *r, const struct kafka_layout *layout, uint8_t *to)
{
	for (size_t i = 0; i < layout->fields_count; i++) {
		const struct kafka_field *f = &layout->fields[i];
		if (f->tag || !kafka_field_in(f, r->format))
			kafka_field_default(f, to + f->offset);
		else
			read_field(r, f, to + f->offset);
	}
	if (r->format.flexible)
		read_tags(r, layout, to);
}

int kafka_layout_read(const struct kafka_layout *layout, struct kafka_format format, struct slice bytes,
		      struct arena *arena, void *out)
{
	struct reading r = {.wire = wire_reader_make(bytes), .arena = arena, .format = format};

	read_struct(&r, layout, out);
	if (r.error) /* and where it stopped, what follows makes no sense */
		return r.error;
	return r.wire.bad ? ERR_MALFORMED : 0;
}
