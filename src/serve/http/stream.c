/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/stream.h"

#include "base/check.h"
#include "serve/http/answer.h"

int stream_start(struct exchange *x, int status, struct slice content_type)
{
	struct session *s = x->session;
	struct http_answer head;
	int r;

	CHECK(x->stage == EXCHANGE_OPEN && x->route->flags & ROUTE_ALONE);
	x->stage = EXCHANGE_STREAM;
	x->long_lived = true;
	if (!s || !session_conn(s))
		return ERR_CANCELLED;
	CHECK(s->queue.first == x);
	x->chunked = x->request.minor == 1;
	if (!x->chunked)
		x->close = true;
	answer_observe(x, status);
	head = answer_head(x, status, content_type);
	head.framing = x->chunked ? HTTP_FRAME_CHUNKED : HTTP_FRAME_NONE;
	r = answer_write_head(x, &head);
	if (r < 0)
		session_cut(s);
	else
		session_watch(s);
	return r < 0 ? ERR_CANCELLED : 0;
}

int stream_write(struct exchange *x, struct blob *blob, struct slice piece)
{
	struct conn *c = x->session ? session_conn(x->session) : NULL;
	uint8_t head[HTTP_CHUNK_HEAD_MAX];
	int r = 0;

	CHECK(x->stage == EXCHANGE_STREAM);
	if (!c)
		return ERR_CANCELLED;
	if (x->request.method == HTTP_HEAD || piece.len == 0)
		return 0;
	if (x->chunked)
		r = conn_write(c, slice_make(head, (size_t)(http_chunk_head_put(head, piece.len) - head)));
	if (r == 0)
		r = blob ? conn_write_blob(c, blob, piece) : conn_write(c, piece);
	if (r == 0 && x->chunked)
		r = conn_write(c, SLICE_LIT("\r\n"));
	/* A chunk that is half written cannot be ended: what follows would be read as its data. */
	x->cut = x->cut || r < 0;
	return r;
}

void stream_end(struct exchange *x, bool abort)
{
	struct session *s = x->session;
	int r = 0;

	CHECK(x->stage == EXCHANGE_STREAM);
	if (!s) {
		answer_retire(http_loop_of(x->server, x->loop), x);
		return;
	}
	x->stage = EXCHANGE_ANSWERED;
	if (!session_conn(s))
		return;
	answer_close_if_draining(x);
	if (abort)
		r = ERR_CANCELLED;
	else if (x->chunked && x->request.method != HTTP_HEAD)
		r = conn_write(s->conn, SLICE_LIT(HTTP_CHUNKS_END));
	answer_written(s, r);
}

int stream_upgrade(struct exchange *x, const char *protocol, const struct conn_session *session, void *ctx,
		   struct conn **conn)
{
	struct session *s = x->session;
	struct http_answer head;

	CHECK(x->stage == EXCHANGE_OPEN && x->route->flags & ROUTE_ALONE);
	if (!s || !session_conn(s))
		return ERR_CANCELLED;
	CHECK(s->queue.first == x && !x->next);
	(void)!exchange_add_header(x, SLICE_LIT("Upgrade"), slice_str(protocol));
	(void)!exchange_add_header(x, SLICE_LIT("Connection"), SLICE_LIT("Upgrade"));
	x->close = false;
	head = answer_head(x, 101, slice_null());
	head.close = false;
	if (answer_write_head(x, &head) < 0) {
		session_cut(s);
		return ERR_CANCELLED;
	}
	answer_observe(x, 101);
	(void)queue_take(&s->queue);
	answer_retire(s->ctx, x);
	*conn = session_hand_over(s, session, ctx);
	return 0;
}
