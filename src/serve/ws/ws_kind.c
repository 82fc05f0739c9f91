/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/ws/ws_kind.h"

#include "proto/ws/ws_frame.h"
#include "serve/ws/ws_session.h"

/*
 * A record without its closing brace, its cursor, and what closes them. A
 * cursor's characters need no escape.
 */
static int put_frame(struct buf *to, struct slice before, struct slice record, struct slice cursor,
		     struct slice after)
{
	const struct slice name = SLICE_LIT(",\"cursor\":\"");
	uint8_t head[WS_HEADER_MAX];
	size_t payload = before.len + record.len + name.len + cursor.len + after.len;

	buf_append(to, head, ws_frame_header(head, WS_FIN | WS_TEXT, payload));
	buf_append_slice(to, before);
	buf_append_slice(to, record);
	buf_append_slice(to, name);
	buf_append_slice(to, cursor);
	return buf_append_slice(to, after);
}

static int put_json(struct buf *to, struct slice record, struct slice cursor)
{
	return put_frame(to, slice_null(), record, cursor, SLICE_LIT("\"}"));
}

static int put_v1(struct buf *to, struct slice record, struct slice cursor)
{
	return put_frame(to, SLICE_LIT("{\"record\":"), record, cursor, SLICE_LIT("\"}}"));
}

static int put_gap(struct buf *to, struct slice json, struct slice cursor)
{
	(void)cursor;
	return ws_frame_append(to, WS_FIN | WS_TEXT, json);
}

static size_t room(const void *ctx)
{
	return ws_room(ctx);
}

static int write_bytes(void *ctx, struct slice bytes)
{
	const struct ws *s = ctx;

	return conn_write(s->conn, bytes);
}

static int write_blob(void *ctx, struct blob *blob, struct slice part)
{
	const struct ws *s = ctx;

	return conn_write_blob(s->conn, blob, part);
}

const struct pump_kind ws_kinds[WS_FORMS] = {
	[WS_FORM_JSON] = {WAY_WS, ENCODE_WS, ENCODE_JSON, put_json, put_gap, room, write_bytes, write_blob},
	[WS_FORM_V1] = {WAY_WS, ENCODE_WS_V1, ENCODE_JSON, put_v1, put_gap, room, write_bytes, write_blob},
	[WS_FORM_RAW] = {WAY_WS, ENCODE_WS_RAW, ENCODE_WS_RAW, NULL, put_gap, room, write_bytes, write_blob},
};
