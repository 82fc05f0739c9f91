/* SPDX-License-Identifier: Apache-2.0 */
#include "log/frame.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "base/wire.h"

static const uint8_t magic[8] = {'W', 'E', 'I', 'R', 'G', 'R', 'P', '1'};

#define AT_CRC 8u
#define CRC_FROM 12u

uint8_t *frame_put_batch_head(uint8_t *at, const struct topic_id *topic, uint32_t partition,
			      size_t batch_bytes)
{
	at = wire_put_u32(at, FRAME_BATCH);
	at = wire_put_u32(at, (uint32_t)(batch_bytes + sizeof(topic->bytes) + 4));
	at = wire_put_bytes(at, slice_make(topic->bytes, sizeof(topic->bytes)));
	return wire_put_u32(at, partition);
}

uint8_t *frame_put_keys_head(uint8_t *at, size_t keys_bytes)
{
	at = wire_put_u32(at, FRAME_KEYS);
	return wire_put_u32(at, (uint32_t)keys_bytes);
}

uint8_t *frame_put_key(uint8_t *at, const struct seen_key *key, const struct seen_range *ranges,
		       uint32_t count)
{
	CHECK(count <= SEEN_RANGES_MAX);
	at = wire_put_u64(at, key->fingerprint.lo);
	at = wire_put_u64(at, key->fingerprint.hi);
	at = wire_put_u64(at, key->payload);
	at = wire_put_u64(at, (uint64_t)key->expires_ms);
	at = wire_put_u16(at, (uint16_t)count);
	for (uint32_t i = 0; i < count; i++) {
		at = wire_put_u32(at, ranges[i].partition);
		at = wire_put_u64(at, (uint64_t)ranges[i].first);
		at = wire_put_u32(at, ranges[i].count);
	}
	return at;
}

uint64_t frame_tag(const struct hash_key *key, const struct frame_head *head)
{
	uint8_t bytes[44];
	uint8_t *at = bytes;

	at = wire_put_u64(at, head->generation);
	at = wire_put_u64(at, head->sequence);
	at = wire_put_u64(at, head->durable);
	at = wire_put_u64(at, (uint64_t)head->time_ms);
	at = wire_put_u32(at, head->bytes);
	at = wire_put_u32(at, head->sections);
	at = wire_put_u32(at, head->commits);
	CHECK(at == bytes + sizeof(bytes));
	return hash_sip24_128(key, slice_make(bytes, sizeof(bytes))).lo;
}

void frame_seal(uint8_t *frame, const struct frame_head *head)
{
	uint8_t *at = frame;

	at = wire_put_bytes(at, slice_make(magic, sizeof(magic)));
	at = wire_put_u32(at, 0);
	at = wire_put_u32(at, head->bytes);
	at = wire_put_u64(at, head->generation);
	at = wire_put_u64(at, head->sequence);
	at = wire_put_u64(at, head->durable);
	at = wire_put_u64(at, (uint64_t)head->time_ms);
	at = wire_put_u32(at, head->sections);
	at = wire_put_u32(at, head->commits);
	at = wire_put_u64(at, head->tag);
	CHECK(at == frame + FRAME_HEAD_BYTES);
	(void)wire_put_u32(frame + AT_CRC, crc32c(0, frame + CRC_FROM, head->bytes - CRC_FROM));
}

bool frame_head_guess(const uint8_t *bytes, struct frame_head *out)
{
	out->bytes = wire_load_u32(bytes + 12);
	out->generation = wire_load_u64(bytes + 16);
	out->sequence = wire_load_u64(bytes + 24);
	if (out->bytes < FRAME_HEAD_BYTES)
		out->bytes = FRAME_HEAD_BYTES;
	return memcmp(bytes, magic, sizeof(magic)) == 0;
}

int frame_head_read(struct slice s, struct frame_head *out)
{
	struct wire_reader r = wire_reader_make(s);

	if (s.len < FRAME_HEAD_BYTES)
		return 1;
	if (memcmp(wire_bytes(&r, sizeof(magic)).ptr, magic, sizeof(magic)) != 0)
		return ERR_MALFORMED;
	(void)wire_u32(&r);
	out->bytes = wire_u32(&r);
	out->generation = wire_u64(&r);
	out->sequence = wire_u64(&r);
	out->durable = wire_u64(&r);
	out->time_ms = (int64_t)wire_u64(&r);
	out->sections = wire_u32(&r);
	out->commits = wire_u32(&r);
	out->tag = wire_u64(&r);
	if (out->bytes < FRAME_HEAD_BYTES || out->bytes > FRAME_BYTES_MAX || out->durable >= out->sequence)
		return ERR_MALFORMED;
	return 0;
}

int frame_check(struct slice s, struct frame_head *out)
{
	int rc = frame_head_read(s, out);

	if (rc)
		return rc;
	if (s.len < out->bytes)
		return 1;
	if (crc32c(0, s.ptr + CRC_FROM, out->bytes - CRC_FROM) != wire_load_u32(s.ptr + AT_CRC))
		return ERR_CORRUPT;
	return 0;
}

bool frame_has_room(const struct frame_head *head)
{
	return head->sections <= (head->bytes - FRAME_HEAD_BYTES) / FRAME_KEYS_OVERHEAD;
}

int frame_next(struct slice *rest, struct frame_section *out)
{
	struct wire_reader r = wire_reader_make(*rest);
	struct wire_reader body;
	uint32_t kind, bytes;

	if (rest->len == 0)
		return 0;
	kind = wire_u32(&r);
	bytes = wire_u32(&r);
	body = wire_reader_make(wire_bytes(&r, bytes));
	if (r.bad || (kind != FRAME_BATCH && kind != FRAME_KEYS))
		return ERR_MALFORMED;
	out->kind = (enum frame_section_kind)kind;
	if (kind == FRAME_BATCH) {
		struct slice id = wire_bytes(&body, sizeof(out->topic.bytes));
		if (!id.ptr)
			return ERR_MALFORMED;
		memcpy(out->topic.bytes, id.ptr, id.len);
		out->partition = wire_u32(&body);
		if (body.bad)
			return ERR_MALFORMED;
	}
	out->body = slice_make(body.at, wire_left(&body));
	*rest = slice_make(r.at, wire_left(&r));
	return 1;
}

int frame_key_next(struct slice *keys, struct seen_key *key, struct seen_range *ranges, uint32_t *count)
{
	struct wire_reader r = wire_reader_make(*keys);

	if (keys->len == 0)
		return 0;
	key->fingerprint.lo = wire_u64(&r);
	key->fingerprint.hi = wire_u64(&r);
	key->payload = wire_u64(&r);
	key->expires_ms = (int64_t)wire_u64(&r);
	*count = wire_u16(&r);
	if (r.bad || *count > SEEN_RANGES_MAX || wire_left(&r) < (size_t)*count * FRAME_RANGE_BYTES)
		return ERR_MALFORMED;
	for (uint32_t i = 0; i < *count; i++) {
		ranges[i].partition = wire_u32(&r);
		ranges[i].first = (int64_t)wire_u64(&r);
		ranges[i].count = wire_u32(&r);
	}
	*keys = slice_make(r.at, wire_left(&r));
	return 1;
}
