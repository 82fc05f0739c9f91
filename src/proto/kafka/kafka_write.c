/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing by layout, the mirror of kafka_read.c: values are appended as the fields
 * come. A tagged field stands behind its size, which is not known before: it is
 * written first and moved up by the bytes of the size. Measuring ahead was the
 * alternative; tags are few and small, and this way there is one way through the
 * tables instead of two that must agree.
 */
#include "base/check.h"
#include "base/err.h"
#include "base/wire.h"
#include "proto/kafka/kafka_layout_inner.h"

struct writing {
	struct buf *to;
	struct kafka_cuts *cuts;
	struct kafka_format format;
	int error; /* that is not the buffer's */
};

static void write_struct(struct writing *w, const struct kafka_layout *layout, const uint8_t *from);

/* ---- values ---- */

static void write_uvarint(struct writing *w, uint64_t v)
{
	if (buf_reserve(w->to, wire_uvarint_len(v)) == 0)
		w->to->len = (size_t)(wire_put_uvarint(w->to->ptr + w->to->len, v) - w->to->ptr);
}

static void write_u16(struct writing *w, uint16_t v)
{
	if (buf_reserve(w->to, sizeof(v)) == 0)
		w->to->len = (size_t)(wire_put_u16(w->to->ptr + w->to->len, v) - w->to->ptr);
}

static void write_u32(struct writing *w, uint32_t v)
{
	if (buf_reserve(w->to, sizeof(v)) == 0)
		w->to->len = (size_t)(wire_put_u32(w->to->ptr + w->to->len, v) - w->to->ptr);
}

static void write_u64(struct writing *w, uint64_t v)
{
	if (buf_reserve(w->to, sizeof(v)) == 0)
		w->to->len = (size_t)(wire_put_u64(w->to->ptr + w->to->len, v) - w->to->ptr);
}

static void write_null(struct writing *w, bool is_short)
{
	if (w->format.flexible)
		write_uvarint(w, 0);
	else if (is_short)
		write_u16(w, UINT16_MAX);
	else
		write_u32(w, UINT32_MAX);
}

/* A length or count, where NULL may be null and the version may have it. False: nothing follows. */
static bool write_length(struct writing *w, const struct kafka_field *f, uint8_t kind, bool null, size_t n)
{
	bool is_short = kind == KAFKA_TEXT;

	if (null && kind == f->kind && kafka_field_nullable(f, w->format)) {
		write_null(w, is_short);
		return false;
	}
	if (n > (is_short ? INT16_MAX : INT32_MAX)) {
		w->error = ERR_LIMIT;
		return false;
	}
	if (w->format.flexible)
		write_uvarint(w, n + 1);
	else if (is_short)
		write_u16(w, (uint16_t)n);
	else
		write_u32(w, (uint32_t)n);
	return n != 0;
}

static void add_cut(struct writing *w, const struct kafka_records *records)
{
	struct kafka_cuts *cuts = w->cuts;

	if (cuts->count == cuts->count_max) {
		w->error = ERR_LIMIT;
		return;
	}
	cuts->list[cuts->count++] = (struct kafka_cut){.at = w->to->len, .records = records};
	cuts->bytes += records->len;
}

static void write_records(struct writing *w, const struct kafka_field *f, const struct kafka_records *records)
{
	if (!write_length(w, f, f->kind, !records->ptr && !records->source, records->len))
		return;
	if (w->cuts) {
		add_cut(w, records);
		return;
	}
	CHECK(!records->source);
	buf_append(w->to, records->ptr, records->len);
}

static void write_bytes(struct writing *w, const struct kafka_field *f, uint8_t kind, struct slice bytes)
{
	if (write_length(w, f, kind, !bytes.ptr, bytes.len))
		buf_append_slice(w->to, bytes);
}

static void write_value(struct writing *w, const struct kafka_field *f, uint8_t kind, const uint8_t *from)
{
	switch (kind) {
	case KAFKA_BOOL:
		buf_append_byte(w->to, *(const bool *)from);
		break;
	case KAFKA_INT8:
		buf_append_byte(w->to, *from);
		break;
	case KAFKA_INT16:
		write_u16(w, *(const uint16_t *)from);
		break;
	case KAFKA_INT32:
		write_u32(w, *(const uint32_t *)from);
		break;
	case KAFKA_INT64:
	case KAFKA_FLOAT64: /* the bits as they are */
		write_u64(w, *(const uint64_t *)from);
		break;
	case KAFKA_UUID:
		buf_append(w->to, from, sizeof(struct kafka_uuid));
		break;
	case KAFKA_TEXT:
	case KAFKA_BYTES:
		write_bytes(w, f, kind, *(const struct slice *)from);
		break;
	case KAFKA_RECORDS:
		write_records(w, f, (const struct kafka_records *)from);
		break;
	}
}

static void write_items(struct writing *w, const struct kafka_field *f, struct slice items)
{
	size_t bytes = kafka_item_bytes(f);
	const uint8_t *at = items.ptr;

	if (!write_length(w, f, f->kind, !items.ptr, items.len))
		return;
	for (size_t i = 0; i < items.len && !w->error && !buf_status(w->to); i++, at += bytes) {
		if (f->kind == KAFKA_ARRAY)
			write_struct(w, f->of, at);
		else
			write_value(w, f, f->item, at);
	}
}

static void write_field(struct writing *w, const struct kafka_field *f, const uint8_t *from)
{
	if (f->kind == KAFKA_LIST || f->kind == KAFKA_ARRAY)
		write_items(w, f, *(const struct slice *)from);
	else if (f->kind == KAFKA_PART)
		write_struct(w, f->of, *(const void *const *)from);
	else
		write_value(w, f, f->kind, from);
}

/* ---- tags ---- */

static bool is_default(const struct kafka_field *f, const uint8_t *from)
{
	const struct slice *s = (const struct slice *)from; /* a list is a pointer and a count as well */
	_Alignas(16) uint8_t usual[sizeof(struct kafka_records)];

	if (f->kind == KAFKA_PART)
		return *(const void *const *)from == NULL;
	if (f->kind >= KAFKA_TEXT)
		return s->len == 0 && (!f->null || !s->ptr);
	kafka_field_default(f, usual);
	return memcmp(usual, from, kafka_kind_bytes(f->kind)) == 0;
}

static bool is_written_tag(const struct writing *w, const struct kafka_field *f, const uint8_t *from)
{
	return f->tag && kafka_field_in(f, w->format) && !is_default(f, from + f->offset);
}

static void write_tagged(struct writing *w, const struct kafka_field *f, const uint8_t *from)
{
	uint8_t size[10];
	size_t start, bytes, size_bytes;

	write_uvarint(w, (uint64_t)f->tag - 1);
	start = w->to->len;
	write_field(w, f, from);
	bytes = w->to->len - start;
	size_bytes = (size_t)(wire_put_uvarint(size, bytes) - size);
	if (buf_append(w->to, size, size_bytes))
		return;
	memmove(w->to->ptr + start + size_bytes, w->to->ptr + start, bytes);
	memcpy(w->to->ptr + start, size, size_bytes);
}

static void write_tags(struct writing *w, const struct kafka_layout *layout, const uint8_t *from)
{
	uint64_t count = 0;

	for (size_t i = 0; i < layout->fields_count; i++)
		count += is_written_tag(w, &layout->fields[i], from);
	write_uvarint(w, count);
	for (size_t i = 0; count && i < layout->fields_count; i++)
		if (is_written_tag(w, &layout->fields[i], from))
			write_tagged(w, &layout->fields[i], from + layout->fields[i].offset);
}

static void write_struct(struct writing *w, const struct kafka_layout *layout, const uint8_t *from)
{
	for (size_t i = 0; i < layout->fields_count; i++) {
		const struct kafka_field *f = &layout->fields[i];
		if (!f->tag && kafka_field_in(f, w->format))
			write_field(w, f, from + f->offset);
	}
	if (w->format.flexible)
		write_tags(w, layout, from);
}

int kafka_layout_write(const struct kafka_layout *layout, struct kafka_format format, const void *from,
		       struct buf *to, struct kafka_cuts *cuts)
{
	struct writing w = {.to = to, .cuts = cuts, .format = format};

	write_struct(&w, layout, from);
	return w.error ? w.error : buf_status(to);
}
