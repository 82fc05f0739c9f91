/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_KAFKA_KAFKA_LAYOUT_INNER_H
#define WEIR_PROTO_KAFKA_KAFKA_LAYOUT_INNER_H

#include "proto/kafka/kafka_layout.h"

/* What reading and writing both ask of the tables. */

/* Where empty lists and texts point, so that they are not null. */
extern const uint8_t kafka_nothing[16];

/* Does this version have the field? */
static inline bool kafka_field_in(const struct kafka_field *f, struct kafka_format format)
{
	return format.version >= f->from && format.version <= f->to;
}

static inline bool kafka_field_nullable(const struct kafka_field *f, struct kafka_format format)
{
	return f->nullable && format.version >= f->nullable - 1;
}

/* Sets the field at `to` to its default. */
void kafka_field_default(const struct kafka_field *f, void *to);

/* Bytes that one value of a kind takes in C (not KAFKA_LIST and what is behind it). */
size_t kafka_kind_bytes(uint8_t kind);

/* The same for one item of a KAFKA_LIST or KAFKA_ARRAY. */
size_t kafka_item_bytes(const struct kafka_field *f);

/* The fewest bytes that one such item takes on the wire; at least 1. */
size_t kafka_item_wire_min(const struct kafka_field *f, struct kafka_format format);

#endif
