/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection sends, and the templates of it. */
#include "connect/websocket/inner.h"

#include "base/utf8.h"

/* ---- templates ---- */

int link_lookup(void *ctx, struct slice name, struct slice *value)
{
	const struct link *l = ctx;
	const struct websocket_settings *s = l->feed->settings;

	if (slice_eq_str(name, "token") && s->token) {
		*value = slice_str(s->token);
		return 1;
	}
	if (!slice_eq_str(name, "last") || !s->last)
		return -1;
	*value = l->place.last.ptr ? l->place.last : slice_str(s->last_initial);
	return 1;
}

static bool looks_like_json(const char *text)
{
	text += strspn(text, " \t\r\n");
	return *text == '{' || *text == '[';
}

/* ---- sending ---- */

void link_send_bytes(struct link *l, const struct buf *bytes)
{
	int rc = buf_status(bytes);

	if (rc == 0)
		rc = dial_write(l->dial, buf_slice(bytes));
	if (rc)
		link_lose(l, SOURCE_TRANSIENT, "%s",
			  rc == ERR_LIMIT ? "the server does not read what it is sent" :
					    "there is no memory for what is sent");
	else if (dial_pending(l->dial) == 0)
		l->blocked_ns = 0;
	else if (l->blocked_ns == 0)
		l->blocked_ns = link_now(l);
}

/* RFC 6455 section 5.3: each frame has a mask of its own that cannot be foretold. */
bool link_new_mask(struct link *l, void *bytes, size_t n)
{
	const struct sys *sys = l->feed->sys;

	if (sys->ops->random(sys->self, bytes, n) == 0)
		return true;
	link_lose(l, SOURCE_TRANSIENT, "the system gives no random bytes");
	return false;
}

void link_send_frame(struct link *l, enum ws_opcode opcode, struct slice payload)
{
	struct buf frame;
	uint8_t mask[4];

	if (!link_new_mask(l, mask, sizeof(mask)))
		return;
	buf_init(&frame, LINK_SENT_BYTES_MAX + WS_HEADER_MASKED_MAX);
	(void)ws_frame_append_masked(&frame, WS_FIN | (uint32_t)opcode, payload, mask);
	link_send_bytes(l, &frame);
	buf_fini(&frame);
}

void link_send_close(struct link *l, uint16_t code, struct slice reason)
{
	uint8_t frame[WS_CONTROL_FRAME_MAX];
	size_t n = ws_frame_close(frame, code, reason);

	link_send_frame(l, WS_CLOSE, slice_make(frame + 2, n - 2));
}

void link_send_text(struct link *l, const char *template)
{
	struct buf text;

	buf_init(&text, LINK_SENT_BYTES_MAX);
	if (template_expand(slice_str(template), looks_like_json(template) ? TEMPLATE_JSON : TEMPLATE_PLAIN,
			    link_lookup, l, &text))
		link_lose(l, SOURCE_FINAL,
			  "a message of subscribe is over 1 MiB, or there is no memory for it");
	else if (!utf8_valid(buf_slice(&text)))
		link_lose(l, SOURCE_FINAL, "a message of subscribe is not UTF-8");
	else
		link_send_frame(l, WS_TEXT, buf_slice(&text));
	buf_fini(&text);
}
