/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/kafka/mark.h"

#include <string.h>

#include "base/hash.h"
#include "base/wire.h"

void kafka_mark_write(const struct kafka_mark *m, uint8_t out[KAFKA_MARK_BYTES])
{
	uint8_t *at = wire_put_u64(out, (uint64_t)m->next);

	at = wire_put_u64(at, (uint64_t)m->last.offset);
	at = wire_put_u64(at, m->last.print);
	at = wire_put_u64(at, (uint64_t)m->first.offset);
	(void)wire_put_u64(at, m->first.print);
}

static bool is_before(const struct kafka_sight *s, int64_t next)
{
	return s->offset == KAFKA_NOWHERE || (s->offset >= 0 && s->offset < next);
}

bool kafka_mark_read(struct slice bytes, struct kafka_mark *out)
{
	if (bytes.len != KAFKA_MARK_BYTES)
		return false;
	out->next = (int64_t)wire_load_u64(bytes.ptr);
	out->last.offset = (int64_t)wire_load_u64(bytes.ptr + 8);
	out->last.print = wire_load_u64(bytes.ptr + 16);
	out->first.offset = (int64_t)wire_load_u64(bytes.ptr + 24);
	out->first.print = wire_load_u64(bytes.ptr + 32);
	return out->next >= KAFKA_NOWHERE && is_before(&out->last, out->next) &&
	       is_before(&out->first, out->next);
}

uint64_t kafka_print(struct slice key, struct slice value, int64_t timestamp_ms)
{
	/* Not a secret: it need not resist anybody, and has to be the same in every life. */
	static const struct hash_key seed = {.k0 = 0x6b61666b61, .k1 = 0x7072696e74};
	uint8_t parts[8 + 2 * 9], *at = wire_put_u64(parts, (uint64_t)timestamp_ms);

	at = wire_put_u8(at, key.ptr != NULL);
	at = wire_put_u64(at, key.ptr ? hash_sip13(&seed, key) : 0);
	at = wire_put_u8(at, value.ptr != NULL);
	(void)wire_put_u64(at, value.ptr ? hash_sip13(&seed, value) : 0);
	return hash_sip13(&seed, slice_make(parts, sizeof(parts)));
}

void kafka_mark_show(const struct kafka_mark *m, struct buf *json)
{
	if (m->next == KAFKA_NOWHERE)
		(void)buf_append_str(json, "{\"offset\":\"earliest\"}");
	else
		(void)buf_appendf(json, "{\"offset\":%lld}", (long long)m->next);
}

/* ---- the plan's ---- */

bool kafka_past_read(struct slice bytes, struct kafka_past *out)
{
	*out = (struct kafka_past){0};
	if (!bytes.ptr)
		return true;
	if (bytes.len < 8)
		return false;
	out->is = true;
	out->settings = wire_load_u64(bytes.ptr);
	out->names = slice_from(bytes, 8);
	return true;
}

int kafka_past_write(uint64_t settings, struct slice names, struct buf *out)
{
	uint8_t head[8];

	(void)wire_put_u64(head, settings);
	(void)buf_append_slice(out, slice_make(head, sizeof(head)));
	(void)buf_append_slice(out, names);
	return buf_status(out);
}

bool kafka_past_next(struct slice *rest, struct slice *name)
{
	const uint8_t *end = rest->len ? memchr(rest->ptr, '\n', rest->len) : NULL;

	if (!end)
		return false;
	*name = slice_make(rest->ptr, (size_t)(end - rest->ptr));
	*rest = slice_from(*rest, name->len + 1);
	return true;
}

bool kafka_past_has(const struct kafka_past *past, struct slice name)
{
	struct slice rest = past->names, one;

	while (kafka_past_next(&rest, &one))
		if (slice_eq(one, name))
			return true;
	return false;
}
