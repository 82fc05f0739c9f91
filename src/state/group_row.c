/* SPDX-License-Identifier: Apache-2.0 */
#include "state/group_row.h"

#include "base/err.h"
#include "base/wire.h"

#define ROW_VERSION 1u

size_t group_row_bytes(const struct group_row *row)
{
	return 32 + row->group.len + row->protocol_type.len + row->protocol.len + row->leader.len;
}

size_t group_member_row_bytes(const struct group_member_row *row)
{
	return 64 + row->group.len + row->member.len + row->instance_id.len + row->client_id.len +
	       row->client_host.len + row->metadata.len + row->assignment.len;
}

static uint8_t *put_text(uint8_t *at, struct slice text)
{
	return wire_put_bytes(wire_put_u16(at, (uint16_t)text.len), text);
}

static uint8_t *put_long(uint8_t *at, struct slice bytes)
{
	return wire_put_bytes(wire_put_u32(at, (uint32_t)bytes.len), bytes);
}

/* State that is needed to go on, and little of it: taken on a full disk. */
static uint8_t *set_row(struct state_row *row, uint8_t *key, uint8_t *value, uint8_t *end, bool goes)
{
	*row = (struct state_row){.table = STATE_GROUPS,
				  .key = slice_make(key, (size_t)(value - key)),
				  .frees = true};
	if (goes)
		return value;
	row->value = slice_make(value, (size_t)(end - value));
	return end;
}

uint8_t *group_row_put(const struct group_row *from, bool goes, uint8_t *at, struct state_row *row)
{
	uint8_t *value = put_text(wire_put_u8(at, GROUP_ROW_GROUP), from->group);
	uint8_t *end = wire_put_u8(value, ROW_VERSION);

	if (!goes) {
		end = wire_put_u32(end, (uint32_t)from->generation);
		end = wire_put_u64(end, (uint64_t)from->since_ms);
		end = put_text(end, from->protocol_type);
		end = put_text(end, from->protocol);
		end = put_text(end, from->leader);
	}
	return set_row(row, at, value, end, goes);
}

uint8_t *group_member_row_put(const struct group_member_row *from, bool goes, uint8_t *at,
			      struct state_row *row)
{
	uint8_t *value = put_text(put_text(wire_put_u8(at, GROUP_ROW_MEMBER), from->group), from->member);
	uint8_t *end = wire_put_u8(value, ROW_VERSION);

	if (!goes) {
		end = wire_put_u64(end, (uint64_t)from->session_ms);
		end = wire_put_u64(end, (uint64_t)from->rebalance_ms);
		end = put_text(end, from->instance_id);
		end = put_text(end, from->client_id);
		end = put_text(end, from->client_host);
		end = put_long(end, from->metadata);
		end = put_long(end, from->assignment);
	}
	return set_row(row, at, value, end, goes);
}

static struct slice take_text(struct wire_reader *r)
{
	return wire_bytes(r, wire_u16(r));
}

static struct slice take_long(struct wire_reader *r)
{
	return wire_bytes(r, wire_u32(r));
}

static bool read_group(struct slice value, struct group_row *out)
{
	struct wire_reader r = wire_reader_make(value);

	if (!value.ptr)
		return true;
	if (wire_u8(&r) != ROW_VERSION)
		return false;
	out->generation = (int32_t)wire_u32(&r);
	out->since_ms = (int64_t)wire_u64(&r);
	out->protocol_type = take_text(&r);
	out->protocol = take_text(&r);
	out->leader = take_text(&r);
	return !r.bad && wire_left(&r) == 0 && out->generation >= 0;
}

static bool read_member(struct slice value, struct group_member_row *out)
{
	struct wire_reader r = wire_reader_make(value);

	if (!value.ptr)
		return true;
	if (wire_u8(&r) != ROW_VERSION)
		return false;
	out->session_ms = (int64_t)wire_u64(&r);
	out->rebalance_ms = (int64_t)wire_u64(&r);
	out->instance_id = take_text(&r);
	out->client_id = take_text(&r);
	out->client_host = take_text(&r);
	out->metadata = take_long(&r);
	out->assignment = take_long(&r);
	return !r.bad && wire_left(&r) == 0 && out->session_ms > 0 && out->session_ms <= INT32_MAX &&
	       out->rebalance_ms >= 0 && out->rebalance_ms <= INT32_MAX;
}

int group_row_read(struct slice key, struct slice value, struct group_row *group,
		   struct group_member_row *member)
{
	struct wire_reader r = wire_reader_make(key);
	uint8_t kind = wire_u8(&r);
	struct slice id = take_text(&r), member_id = kind == GROUP_ROW_MEMBER ? take_text(&r) : slice_null();

	*group = (struct group_row){.group = id};
	*member = (struct group_member_row){.group = id, .member = member_id};
	if (r.bad || wire_left(&r) || id.len == 0)
		return ERR_CORRUPT;
	if (kind == GROUP_ROW_GROUP)
		return read_group(value, group) ? GROUP_ROW_GROUP : ERR_CORRUPT;
	if (kind == GROUP_ROW_MEMBER && member_id.len > 0)
		return read_member(value, member) ? GROUP_ROW_MEMBER : ERR_CORRUPT;
	return ERR_CORRUPT;
}
