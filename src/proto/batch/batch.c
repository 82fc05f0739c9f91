/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/batch/batch.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "base/wire.h"

#define AT_LENGTH 8u
#define AT_EPOCH 12u
#define AT_CRC 17u
#define AT_ATTRIBUTES 21u
#define AT_MAX_TIMESTAMP 35u

int batch_head_read(struct slice s, struct batch_head *out)
{
	struct wire_reader r = wire_reader_make(s);
	uint32_t length;

	if (s.len < BATCH_HEAD_BYTES)
		return 1;
	out->base_offset = (int64_t)wire_u64(&r);
	length = wire_u32(&r);
	(void)wire_u32(&r); /* leader epoch */
	if (wire_u8(&r) != 2 || length < BATCH_HEAD_BYTES - BATCH_LOG_OVERHEAD || length > INT32_MAX)
		return ERR_MALFORMED;
	out->bytes = length + BATCH_LOG_OVERHEAD;
	out->crc = wire_u32(&r);
	out->attributes = wire_u16(&r);
	out->last_offset_delta = (int32_t)wire_u32(&r);
	out->base_timestamp = (int64_t)wire_u64(&r);
	out->max_timestamp = (int64_t)wire_u64(&r);
	out->producer_id = (int64_t)wire_u64(&r);
	out->producer_epoch = (int16_t)wire_u16(&r);
	out->base_sequence = (int32_t)wire_u32(&r);
	out->count = wire_u32(&r);
	if (out->base_offset < 0 || out->last_offset_delta < 0 ||
	    out->base_offset > INT64_MAX - 1 - out->last_offset_delta || out->count > INT32_MAX ||
	    out->count > (uint32_t)out->last_offset_delta + 1)
		return ERR_MALFORMED;
	return 0;
}

int batch_check(struct slice s, struct batch_head *out)
{
	int rc = batch_head_read(s, out);

	if (rc)
		return rc;
	if (s.len < out->bytes)
		return 1;
	if (crc32c(0, s.ptr + AT_ATTRIBUTES, out->bytes - AT_ATTRIBUTES) != out->crc)
		return ERR_CORRUPT;
	return 0;
}

/* What stands in the head and depends on the records' bytes, but for the checksum. */
static void put_form(uint8_t *batch, size_t bytes, const struct batch_head *head, enum batch_codec codec)
{
	uint16_t attributes = (uint16_t)((head->attributes & ~BATCH_CODEC_MASK) | codec);

	(void)wire_put_u32(batch + AT_LENGTH, (uint32_t)bytes - BATCH_LOG_OVERHEAD);
	(void)wire_put_u16(batch + AT_ATTRIBUTES, attributes);
}

static void put_crc(uint8_t *batch, size_t bytes)
{
	(void)wire_put_u32(batch + AT_CRC, crc32c(0, batch + AT_ATTRIBUTES, bytes - AT_ATTRIBUTES));
}

/* A batch that compaction has emptied may have no records' bytes at all, whatever its codec. */
static int inflate_records(struct codec *c, const struct batch_head *head, struct slice records,
			   struct buf *out)
{
	if (head->count == 0 && records.len == 0)
		return 0;
	return codec_inflate(c, batch_codec(head), records, out);
}

int batch_inflate(struct codec *c, struct slice batch, struct buf *out, struct slice *plain)
{
	struct batch_head head;
	int rc = batch_head_read(batch, &head);

	if (rc || batch.len < head.bytes)
		return ERR_MALFORMED;
	if (batch_codec(&head) == BATCH_PLAIN) {
		*plain = slice_make(batch.ptr, head.bytes);
		return 0;
	}
	buf_clear(out);
	if (out->bytes_max < BATCH_HEAD_BYTES)
		return ERR_LIMIT;
	rc = buf_append(out, batch.ptr, BATCH_HEAD_BYTES);
	if (rc == 0)
		rc = inflate_records(c, &head,
				     slice_make(batch.ptr + BATCH_HEAD_BYTES, head.bytes - BATCH_HEAD_BYTES),
				     out);
	if (rc == 0 && out->len > INT32_MAX)
		rc = ERR_LIMIT;
	if (rc)
		return rc;
	put_form(out->ptr, out->len, &head, BATCH_PLAIN);
	(void)wire_put_u32(out->ptr + AT_CRC, 0);
	*plain = buf_slice(out);
	return 0;
}

int batch_recode(struct codec *c, struct slice batch, enum batch_codec to, int level, struct buf *scratch,
		 struct buf *out)
{
	size_t begin = out->len;
	struct batch_head head;
	struct slice plain;
	int rc = batch_inflate(c, batch, scratch, &plain);

	if (rc)
		return rc;
	(void)batch_head_read(plain, &head);
	if (batch_is_empty(&head))
		to = BATCH_PLAIN; /* there is nothing to compress */
	if (out->bytes_max - begin < BATCH_HEAD_BYTES)
		return ERR_LIMIT;
	rc = buf_append(out, plain.ptr, BATCH_HEAD_BYTES);
	if (rc == 0)
		rc = codec_deflate(c, to, level, slice_from(plain, BATCH_HEAD_BYTES), out);
	if (rc == 0 && out->len - begin > INT32_MAX)
		rc = ERR_LIMIT;
	if (rc) {
		out->len = begin;
		return rc;
	}
	put_form(out->ptr + begin, out->len - begin, &head, to);
	put_crc(out->ptr + begin, out->len - begin);
	return 0;
}

int batch_walk_start(struct batch_walk *w, struct slice batch)
{
	int rc = batch_head_read(batch, &w->head);

	if (rc || batch.len < w->head.bytes)
		return ERR_MALFORMED;
	if (batch_codec(&w->head) != BATCH_PLAIN)
		return ERR_NOT_IMPLEMENTED;
	w->at = batch.ptr + BATCH_HEAD_BYTES;
	w->end = batch.ptr + w->head.bytes;
	w->left = w->head.count;
	return 0;
}

/* A length of -1 is null; anything else negative, or past the end, is wrong. */
static struct slice take_nullable(struct wire_reader *r)
{
	int64_t len = wire_varint(r);

	if (len == -1)
		return slice_null();
	if (len < 0)
		r->bad = true;
	return wire_bytes(r, len < 0 ? 0 : (size_t)len);
}

static void skip_header(struct wire_reader *r)
{
	if (!take_nullable(r).ptr)
		r->bad = true;
	(void)take_nullable(r);
}

int batch_walk_next(struct batch_walk *w, struct batch_record *out)
{
	struct wire_reader r = wire_reader_make(slice_make(w->at, (size_t)(w->end - w->at)));
	struct wire_reader body;
	int64_t length, delta, headers;

	if (w->left == 0)
		return w->at == w->end ? 0 : ERR_MALFORMED;
	length = wire_varint(&r);
	if (r.bad || length < 0 || (uint64_t)length > wire_left(&r))
		return ERR_MALFORMED;
	body = wire_reader_make(wire_bytes(&r, (size_t)length));
	(void)wire_u8(&body); /* attributes, unused */
	if (__builtin_add_overflow(w->head.base_timestamp, wire_varint(&body), &out->timestamp))
		return ERR_MALFORMED;
	if (w->head.attributes & BATCH_TIME_IS_APPEND)
		out->timestamp = w->head.max_timestamp;
	delta = wire_varint(&body);
	if (delta < 0 || delta > w->head.last_offset_delta)
		return ERR_MALFORMED;
	out->offset = w->head.base_offset + delta;
	out->key = take_nullable(&body);
	out->value = take_nullable(&body);
	headers = wire_varint(&body);
	if (body.bad || headers < 0 || (uint64_t)headers > wire_left(&body) / 2)
		return ERR_MALFORMED;
	out->header_count = (uint32_t)headers;
	out->headers = slice_make(body.at, wire_left(&body));
	for (int64_t i = 0; i < headers; i++)
		skip_header(&body);
	if (body.bad || wire_left(&body) > 0)
		return ERR_MALFORMED;
	w->at = r.at;
	w->left--;
	return 1;
}

int batch_header_next(struct slice *headers, struct slice *name, struct slice *value)
{
	struct wire_reader r = wire_reader_make(*headers);

	if (headers->len == 0)
		return 0;
	*name = take_nullable(&r);
	*value = take_nullable(&r);
	if (r.bad || !name->ptr)
		return ERR_MALFORMED;
	*headers = slice_make(r.at, wire_left(&r));
	return 1;
}

static int64_t nullable_len(struct slice s)
{
	return s.ptr ? (int64_t)s.len : -1;
}

static uint8_t *put_nullable(uint8_t *at, struct slice s)
{
	at = wire_put_varint(at, nullable_len(s));
	return wire_put_bytes(at, s);
}

static size_t nullable_bytes(struct slice s)
{
	return wire_varint_len(nullable_len(s)) + s.len;
}

size_t batch_header_bytes(struct slice name, struct slice value)
{
	return nullable_bytes(name) + nullable_bytes(value);
}

uint8_t *batch_header_put(uint8_t *at, struct slice name, struct slice value)
{
	return put_nullable(put_nullable(at, name), value);
}

void batch_build_start(struct batch_build *b, uint8_t *at, int64_t base_offset)
{
	*b = (struct batch_build){.begin = at, .at = at + BATCH_HEAD_BYTES, .base_offset = base_offset};
}

void batch_build_put(struct batch_build *b, const struct batch_record *r)
{
	uint8_t *at = b->at;
	int64_t time_delta;
	size_t body;

	if (b->count == 0)
		b->base_timestamp = b->max_timestamp = r->timestamp;
	if (r->timestamp > b->max_timestamp)
		b->max_timestamp = r->timestamp;
	time_delta = (int64_t)((uint64_t)r->timestamp - (uint64_t)b->base_timestamp);
	body = 1 + wire_varint_len(time_delta) + wire_varint_len(b->count) + nullable_bytes(r->key) +
	       nullable_bytes(r->value) + wire_varint_len(r->header_count) + r->headers.len;
	at = wire_put_varint(at, (int64_t)body);
	at = wire_put_u8(at, 0);
	at = wire_put_varint(at, time_delta);
	at = wire_put_varint(at, b->count);
	at = put_nullable(at, r->key);
	at = put_nullable(at, r->value);
	at = wire_put_varint(at, r->header_count);
	b->at = wire_put_bytes(at, r->headers);
	b->count++;
}

/* Everything before the records; the CRC is put when they are there. */
static void put_head(uint8_t *batch, const struct batch_head *h)
{
	uint8_t *at = batch;

	at = wire_put_u64(at, (uint64_t)h->base_offset);
	at = wire_put_u32(at, h->bytes - BATCH_LOG_OVERHEAD);
	at = wire_put_u32(at, 0); /* leader epoch */
	at = wire_put_u8(at, 2);
	at = wire_put_u32(at, 0); /* CRC */
	at = wire_put_u16(at, h->attributes);
	at = wire_put_u32(at, (uint32_t)h->last_offset_delta);
	at = wire_put_u64(at, (uint64_t)h->base_timestamp);
	at = wire_put_u64(at, (uint64_t)h->max_timestamp);
	at = wire_put_u64(at, (uint64_t)h->producer_id);
	at = wire_put_u16(at, (uint16_t)h->producer_epoch);
	at = wire_put_u32(at, (uint32_t)h->base_sequence);
	at = wire_put_u32(at, h->count);
	CHECK(at == batch + BATCH_HEAD_BYTES);
}

void batch_head_put(uint8_t *batch, const struct batch_head *h)
{
	put_head(batch, h);
	put_crc(batch, h->bytes);
}

struct slice batch_build_finish(struct batch_build *b)
{
	size_t bytes = (size_t)(b->at - b->begin);
	struct batch_head head = {.base_offset = b->base_offset,
				  .bytes = (uint32_t)bytes,
				  .attributes = BATCH_PLAIN,
				  .last_offset_delta = (int32_t)(b->count - 1),
				  .base_timestamp = b->base_timestamp,
				  .max_timestamp = b->max_timestamp,
				  .producer_id = -1,
				  .producer_epoch = -1,
				  .base_sequence = -1,
				  .count = b->count};

	CHECK(b->count > 0 && bytes <= INT32_MAX);
	batch_head_put(b->begin, &head);
	return slice_make(b->begin, bytes);
}

uint8_t *batch_put_empty(uint8_t *at, int64_t base, int64_t last, uint16_t attributes, int64_t timestamp_ms)
{
	struct batch_head head = {.base_offset = base,
				  .bytes = BATCH_HEAD_BYTES,
				  .attributes = attributes,
				  .last_offset_delta = (int32_t)(last - base),
				  .base_timestamp = timestamp_ms,
				  .max_timestamp = timestamp_ms,
				  .producer_id = -1,
				  .producer_epoch = -1,
				  .base_sequence = -1};

	CHECK(base >= 0 && last >= base && last - base < BATCH_OFFSETS_MAX);
	CHECK((attributes & ~BATCH_LOST) == 0);
	batch_head_put(at, &head);
	return at + BATCH_HEAD_BYTES;
}

/* ---- transaction markers ---- */

#define MARKER_ABORT 0u
#define MARKER_COMMIT 1u
#define MARKER_KEY_BYTES 4u
#define MARKER_VALUE_BYTES 6u

uint8_t *batch_put_marker(uint8_t *at, const struct batch_marker *m)
{
	uint8_t key[MARKER_KEY_BYTES], value[MARKER_VALUE_BYTES];
	struct batch_build b;
	struct batch_head head;

	(void)wire_put_u16(wire_put_u16(key, 0), m->commit ? MARKER_COMMIT : MARKER_ABORT);
	(void)wire_put_u32(wire_put_u16(value, 0), (uint32_t)m->coordinator_epoch);
	batch_build_start(&b, at, 0);
	batch_build_put(&b, &(struct batch_record){.timestamp = m->timestamp_ms,
						   .key = slice_make(key, sizeof(key)),
						   .value = slice_make(value, sizeof(value)),
						   .headers = slice_null()});
	head = (struct batch_head){.bytes = (uint32_t)(b.at - b.begin),
				   .attributes = BATCH_IS_TRANSACTIONAL | BATCH_IS_CONTROL,
				   .base_timestamp = m->timestamp_ms,
				   .max_timestamp = m->timestamp_ms,
				   .producer_id = m->producer_id,
				   .producer_epoch = m->producer_epoch,
				   .base_sequence = -1,
				   .count = 1};
	CHECK(head.bytes == BATCH_MARKER_BYTES);
	batch_head_put(at, &head);
	return at + BATCH_MARKER_BYTES;
}

/* Of the value only version 0 is known, but a later one begins with the same fields. */
int batch_marker_read(struct slice batch, struct batch_marker *out)
{
	struct batch_record record;
	struct wire_reader key, value;
	struct batch_walk w;
	uint16_t type;

	if (batch_walk_start(&w, batch) || batch_walk_next(&w, &record) != 1 || !record.key.ptr)
		return ERR_MALFORMED;
	key = wire_reader_make(record.key);
	(void)wire_u16(&key);
	type = wire_u16(&key);
	if (key.bad)
		return ERR_MALFORMED;
	if (type != MARKER_ABORT && type != MARKER_COMMIT)
		return 0;
	value = wire_reader_make(record.value.ptr ? record.value : slice_make("", 0));
	(void)wire_u16(&value);
	*out = (struct batch_marker){.producer_id = w.head.producer_id,
				     .producer_epoch = w.head.producer_epoch,
				     .timestamp_ms = record.timestamp,
				     .commit = type == MARKER_COMMIT,
				     .coordinator_epoch = (int32_t)wire_u32(&value)};
	return value.bad ? ERR_MALFORMED : 1;
}

/* ---- what storing changes ---- */

void batch_place(uint8_t *batch, int64_t base_offset)
{
	(void)wire_put_u64(batch, (uint64_t)base_offset);
	(void)wire_put_u32(batch + AT_EPOCH, 0);
}

void batch_put_append_time(uint8_t *batch, const struct batch_head *head, int64_t timestamp_ms)
{
	(void)wire_put_u16(batch + AT_ATTRIBUTES, head->attributes | BATCH_TIME_IS_APPEND);
	(void)wire_put_u64(batch + AT_MAX_TIMESTAMP, (uint64_t)timestamp_ms);
	put_crc(batch, head->bytes);
}

void batch_put_max_timestamp(uint8_t *batch, const struct batch_head *head, int64_t timestamp_ms)
{
	(void)wire_put_u64(batch + AT_MAX_TIMESTAMP, (uint64_t)timestamp_ms);
	put_crc(batch, head->bytes);
}
