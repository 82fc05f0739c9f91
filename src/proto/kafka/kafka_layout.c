/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/kafka/kafka_layout_inner.h"

const _Alignas(16) uint8_t kafka_nothing[16];

/* What a kind takes in C and at the least on the wire, in plain and in flexible versions. */
static const struct {
	uint8_t bytes, plain, flexible;
} kinds[] = {
	[KAFKA_BOOL] = {sizeof(bool), 1, 1},
	[KAFKA_INT8] = {1, 1, 1},
	[KAFKA_INT16] = {2, 2, 2},
	[KAFKA_INT32] = {4, 4, 4},
	[KAFKA_INT64] = {8, 8, 8},
	[KAFKA_FLOAT64] = {8, 8, 8},
	[KAFKA_UUID] = {sizeof(struct kafka_uuid), 16, 16},
	[KAFKA_TEXT] = {sizeof(struct slice), 2, 1},
	[KAFKA_BYTES] = {sizeof(struct slice), 4, 1},
	[KAFKA_RECORDS] = {sizeof(struct kafka_records), 4, 1},
	[KAFKA_LIST] = {0, 4, 1},
	[KAFKA_ARRAY] = {0, 4, 1},
};

size_t kafka_kind_bytes(uint8_t kind)
{
	return kinds[kind].bytes;
}

size_t kafka_item_bytes(const struct kafka_field *f)
{
	return f->kind == KAFKA_ARRAY ? f->of->bytes : kinds[f->item].bytes;
}

static size_t kind_wire_min(uint8_t kind, bool flexible)
{
	return flexible ? kinds[kind].flexible : kinds[kind].plain;
}

size_t kafka_item_wire_min(const struct kafka_field *f, struct kafka_format format)
{
	size_t sum = format.flexible; /* the count of tags */

	if (f->kind == KAFKA_LIST)
		return kind_wire_min(f->item, format.flexible);
	for (size_t i = 0; i < f->of->fields_count; i++) {
		const struct kafka_field *inner = &f->of->fields[i];
		if (!inner->tag && kafka_field_in(inner, format))
			sum += kind_wire_min(inner->kind, format.flexible);
	}
	return sum ? sum : 1;
}

static void put_number(uint8_t kind, int64_t value, void *to)
{
	switch (kind) {
	case KAFKA_BOOL:
		*(bool *)to = value != 0;
		break;
	case KAFKA_INT8:
		*(int8_t *)to = (int8_t)value;
		break;
	case KAFKA_INT16:
		*(int16_t *)to = (int16_t)value;
		break;
	case KAFKA_INT32:
		*(int32_t *)to = (int32_t)value;
		break;
	case KAFKA_INT64:
		*(int64_t *)to = value;
		break;
	case KAFKA_FLOAT64:
		*(double *)to = (double)value;
		break;
	}
}

void kafka_field_default(const struct kafka_field *f, void *to)
{
	const void *empty = f->null ? NULL : kafka_nothing;

	switch (f->kind) {
	case KAFKA_UUID:
		*(struct kafka_uuid *)to = (struct kafka_uuid){0};
		break;
	case KAFKA_TEXT:
	case KAFKA_BYTES:
	case KAFKA_LIST:
	case KAFKA_ARRAY:
		*(struct slice *)to = slice_make(empty, 0); /* a list is a pointer and a count as well */
		break;
	case KAFKA_RECORDS:
		*(struct kafka_records *)to = (struct kafka_records){.ptr = empty};
		break;
	case KAFKA_PART:
		*(const void **)to = NULL;
		break;
	default:
		put_number(f->kind, f->value, to);
	}
}

void kafka_layout_default(const struct kafka_layout *layout, void *items, size_t count)
{
	uint8_t *at = items;

	for (size_t i = 0; i < count; i++, at += layout->bytes)
		for (size_t k = 0; k < layout->fields_count; k++)
			kafka_field_default(&layout->fields[k], at + layout->fields[k].offset);
}

void *kafka_layout_array(const struct kafka_layout *layout, struct arena *arena, size_t count)
{
	void *items = arena_zalloc(arena, count, layout->bytes);

	if (items)
		kafka_layout_default(layout, items, count);
	return items;
}
