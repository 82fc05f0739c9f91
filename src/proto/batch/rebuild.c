/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/batch/rebuild.h"

#include "base/check.h"
#include "base/wire.h"

int batch_rebuild_start(struct batch_rebuild *b, struct buf *to, const struct batch_head *of,
			int64_t horizon_ms)
{
	*b = (struct batch_rebuild){.to = to, .begin = to->len, .head = *of};
	b->head.count = 0;
	b->head.attributes = (uint16_t)(of->attributes & ~BATCH_CODEC_MASK);
	if (horizon_ms >= 0) {
		b->head.base_timestamp = horizon_ms;
		b->head.attributes |= BATCH_HAS_HORIZON;
	}
	if (buf_reserve(to, BATCH_HEAD_BYTES))
		return buf_status(to);
	to->len += BATCH_HEAD_BYTES;
	return 0;
}

static size_t nullable_bytes(struct slice s)
{
	return wire_varint_len(s.ptr ? (int64_t)s.len : -1) + s.len;
}

static uint8_t *put_nullable(uint8_t *at, struct slice s)
{
	at = wire_put_varint(at, s.ptr ? (int64_t)s.len : -1);
	return wire_put_bytes(at, s);
}

int batch_rebuild_put(struct batch_rebuild *b, const struct batch_record *r)
{
	int64_t time_delta = (int64_t)((uint64_t)r->timestamp - (uint64_t)b->head.base_timestamp);
	int64_t delta = r->offset - b->head.base_offset;
	size_t body = 1 + wire_varint_len(time_delta) + wire_varint_len(delta) + nullable_bytes(r->key) +
		      nullable_bytes(r->value) + wire_varint_len(r->header_count) + r->headers.len;
	uint8_t *at;

	CHECK(delta >= 0 && delta <= b->head.last_offset_delta);
	if (buf_reserve(b->to, body + 10))
		return buf_status(b->to);
	at = wire_put_varint(b->to->ptr + b->to->len, (int64_t)body);
	at = wire_put_u8(at, 0);
	at = wire_put_varint(at, time_delta);
	at = wire_put_varint(at, delta);
	at = put_nullable(at, r->key);
	at = put_nullable(at, r->value);
	at = wire_put_varint(at, r->header_count);
	at = wire_put_bytes(at, r->headers);
	b->to->len = (size_t)(at - b->to->ptr);
	if (b->head.count++ == 0 || r->timestamp > b->head.max_timestamp)
		b->head.max_timestamp = r->timestamp;
	return 0;
}

struct slice batch_rebuild_finish(struct batch_rebuild *b)
{
	size_t bytes = b->to->len - b->begin;

	CHECK(b->head.count > 0 && bytes <= INT32_MAX);
	b->head.bytes = (uint32_t)bytes;
	batch_head_put(b->to->ptr + b->begin, &b->head);
	return slice_make(b->to->ptr + b->begin, bytes);
}

void batch_rebuild_undo(struct batch_rebuild *b)
{
	b->to->len = b->begin;
}
