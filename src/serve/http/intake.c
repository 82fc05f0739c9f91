/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/intake.h"

#include "base/check.h"
#include "serve/http/admission.h"
#include "serve/http/body.h"
#include "serve/http/refusal.h"

/*
 * A connection that has enough in flight, or enough output that its peer does not
 * take, takes no further request: the bytes stay with the connection, which in
 * turn stops reading, and the peer's TCP with it.
 *
 * Parsing ahead while the body of a request is streamed to its handler was
 * rejected: every body is bounded and the door wants it whole.
 */
#define SKIP_BYTES_MAX 65536u
/* Output past which no further request is taken. */
#define OUTPUT_HIGH_BYTES (256u << 10)

void intake_init(struct intake *in, int64_t now)
{
	*in = (struct intake){.fresh = true, .since_ns = now};
}

void intake_stop(struct intake *in)
{
	in->coming = NULL;
	in->phase = INTAKE_ENDING;
}

void intake_drop_body(struct intake *in, struct exchange *x)
{
	bool whole = http_body_ended(&in->body);

	in->coming = NULL;
	if (!whole && (x->request.body != HTTP_BODY_LENGTH || in->body.left > SKIP_BYTES_MAX ||
		       x->request.expect_continue))
		x->close = true;
	if (x->close)
		in->phase = INTAKE_ENDING;
	else
		in->phase = whole ? INTAKE_HEAD : INTAKE_SKIP;
}

/* ---- bounds ---- */

static bool has_room(const struct session *s)
{
	if (s->queue.first && budget_is_full(loop_share(conn_loop(s->conn))))
		return false;
	return queue_has_room(&s->queue, session_options(s)) && conn_pending(s->conn) < OUTPUT_HIGH_BYTES;
}

void intake_resume(struct session *s)
{
	struct intake *in = &s->intake;

	if (!in->blocked || !session_conn(s) || !has_room(s))
		return;
	in->blocked = false;
	in->since_ns = loop_now(conn_loop(s->conn));
	conn_read_start(s->conn);
}

static void send_continue(struct session *s)
{
	struct exchange *x = s->queue.first;

	if (x && x->continue_due && x == s->intake.coming && s->intake.body.bytes == 0) {
		x->continue_due = false;
		if (conn_write(s->conn, SLICE_LIT("HTTP/1.1 100 Continue\r\n\r\n")) < 0)
			session_cut(s);
	}
}

void intake_go_on(struct session *s)
{
	if (!s->queue.first)
		s->intake.since_ns = loop_now(conn_loop(s->conn));
	send_continue(s);
	intake_resume(s);
}

/* ---- time ---- */

int64_t intake_deadline(const struct session *s)
{
	const struct http_options *o = session_options(s);
	const struct intake *in = &s->intake;

	if (in->phase == INTAKE_BODY || in->phase == INTAKE_SKIP)
		return in->since_ns + o->body_grace_ns +
		       (int64_t)((__int128)in->body.bytes * 1000000000 / (int64_t)o->body_rate);
	if (in->phase == INTAKE_HEAD && !in->blocked && in->backlog)
		return in->since_ns + o->head_timeout_ns;
	if (in->phase == INTAKE_HEAD && !s->queue.first)
		return in->since_ns + (in->fresh ? o->head_timeout_ns : o->idle_timeout_ns);
	return 0;
}

void intake_expire(struct session *s)
{
	struct intake *in = &s->intake;

	if (in->phase == INTAKE_BODY)
		refusal_of_framing(s, in->coming, ERR_TIMEOUT, "The body comes more slowly than allowed");
	else if (in->phase == INTAKE_SKIP)
		session_close(s, 0);
	else if (in->backlog)
		refusal_of_framing(s, NULL, ERR_TIMEOUT, "The head of the request did not come in time");
	else
		session_close(s, 0);
}

void intake_end(struct session *s)
{
	struct intake *in = &s->intake;

	in->ended = true;
	if (!session_conn(s) || in->blocked)
		return;
	if (in->phase == INTAKE_BODY)
		refusal_of_framing(s, in->coming, ERR_MALFORMED, "The connection ended before the body did");
	else if (in->phase == INTAKE_HEAD && in->backlog)
		refusal_of_framing(s, NULL, ERR_MALFORMED,
				   "The connection ended within the head of a request");
	else if (!s->queue.first)
		session_close(s, 0); /* what is whole is still answered */
}

/* ---- requests ---- */

/* Runs the handler of a whole request. x may be gone afterwards. */
static void dispatch(struct session *s, struct exchange *x)
{
	int r;

	x->stage = EXCHANGE_OPEN;
	x->started_ns = loop_now(x->loop);
	queue_count_bytes(&s->queue, x);
	x->in_handler = true;
	r = x->route->handle(x);
	if (r < 0) {
		CHECK(x->stage == EXCHANGE_OPEN);
		exchange_problem(x, r, NULL);
	}
	x->in_handler = false;
	CHECK(r == EXCHANGE_PENDING || x->stage != EXCHANGE_OPEN);
	if (x->stage == EXCHANGE_DONE)
		exchange_release(s->ctx, x);
}

/* ---- bodies ---- */

static void body_is_whole(struct session *s)
{
	struct intake *in = &s->intake;
	struct exchange *x = in->coming;

	body_end(x);
	in->coming = NULL;
	in->phase = x->close ? INTAKE_ENDING : INTAKE_HEAD;
	in->since_ns = loop_now(x->loop);
	dispatch(s, x);
}

static bool keep_piece(struct session *s, struct exchange *x, struct slice piece)
{
	int r = body_collect(x, piece);

	if (r == ERR_BODY_TOO_LARGE)
		refusal_of_body(s, x);
	else if (r < 0)
		refusal_give(s, x, r,
			     r == ERR_OVERLOADED ?
				     "The memory that is set aside for clients is in use; try again" :
				     NULL);
	return r == 0;
}

/* Takes of the body what is there. Gives the number of bytes. */
static size_t take_body(struct session *s, struct slice bytes)
{
	struct exchange *x = s->intake.coming;
	struct slice rest = bytes;
	struct slice piece;
	const char *detail;
	int r;

	while ((r = http_body_next(&s->intake.body, &rest, &piece, &detail)) == HTTP_BODY_DATA)
		if (!keep_piece(s, x, piece))
			return bytes.len - rest.len;
	if (r < 0) {
		refusal_of_framing(s, x, r, detail);
		return bytes.len;
	}
	if (r == HTTP_BODY_END)
		body_is_whole(s);
	return bytes.len - rest.len;
}

static size_t skip_body(struct intake *in, struct slice bytes)
{
	struct slice rest = bytes;
	struct slice piece;
	const char *detail;
	int r;

	while ((r = http_body_next(&in->body, &rest, &piece, &detail)) == HTTP_BODY_DATA)
		;
	if (r == HTTP_BODY_END)
		in->phase = INTAKE_HEAD;
	return bytes.len - rest.len;
}

/* ---- heads ---- */

/* Copies head and fields into the exchange. */
static bool keep_head(struct exchange *x, const struct http_request *req, struct slice bytes)
{
	struct slice head = arena_copy(x->arena, slice_make(bytes.ptr, req->head_bytes));
	struct http_header *list = arena_alloc(x->arena, req->headers.count * sizeof(*list));

	if (!head.ptr || !list)
		return false;
	x->request = *req;
	http_request_rebase(&x->request, list, bytes.ptr, head.ptr);
	return true;
}

/* An exchange for the head, matched with its route; NULL without memory. */
static struct exchange *make_exchange(struct session *s, const struct http_request *req, struct slice bytes,
				      struct route_match *match, int *found)
{
	struct exchange *x = exchange_take(s->ctx, conn_loop(s->conn));

	if (!x)
		return NULL;
	if (!keep_head(x, req, bytes)) {
		exchange_release(s->ctx, x);
		return NULL;
	}
	x->session = s;
	x->started_ns = loop_now(x->loop);
	x->close = !req->keep_alive;
	buf_init(&x->collected, 0);
	*found = route_find(s->ctx->server->routes, req->method, x->request.path, x->arena, match);
	if (req->form == HTTP_AUTHORITY_FORM || req->form == HTTP_ASTERISK_FORM) {
		*found = ERR_NOT_FOUND;
		match->route = NULL;
	}
	x->route = match->route;
	x->params = match->params;
	memcpy(x->param, match->param, match->params * sizeof(x->param[0]));
	return x;
}

/* Takes the head, and the body where it is there whole. Gives the number of bytes, 0 where it must wait. */
static size_t take_request(struct session *s, const struct http_request *req, struct slice bytes)
{
	struct slice rest = slice_from(bytes, req->head_bytes);
	struct intake *in = &s->intake;
	struct route_match match;
	struct exchange *x;
	int found;

	x = make_exchange(s, req, bytes, &match, &found);
	if (!x) {
		refusal_of_framing(s, NULL, ERR_NOMEM, "There is no memory for this request; try again");
		return bytes.len;
	}
	if (found == 0 && queue_must_wait(&s->queue, x, match.route)) {
		exchange_release(s->ctx, x);
		in->blocked = true;
		return 0;
	}
	in->fresh = false;
	in->coming = x;
	in->since_ns = x->started_ns;
	http_body_init(&in->body, req->body, req->content_length);
	if (x->close)
		in->phase = INTAKE_ENDING;
	queue_add(&s->queue, x);
	if (!admission_check(s, x, found, &match))
		return req->head_bytes;
	if (http_body_ended(&in->body)) {
		in->coming = NULL;
		dispatch(s, x);
		return req->head_bytes;
	}
	if (body_take_whole(x, rest)) {
		in->coming = NULL;
		dispatch(s, x);
		return req->head_bytes + (size_t)req->content_length;
	}
	in->phase = INTAKE_BODY;
	x->continue_due = req->expect_continue && rest.len == 0;
	send_continue(s);
	return req->head_bytes;
}

static size_t take_head(struct session *s, struct slice bytes)
{
	struct http_request req;
	const char *detail;
	int r;

	if (!has_room(s)) {
		s->intake.blocked = true;
		return 0;
	}
	req.headers = (struct http_headers){.list = s->ctx->scratch, .max = HTTP_HEADERS_MAX};
	r = http_request_parse(&req, &s->intake.scan, &session_options(s)->head, bytes, &detail);
	if (r == 0)
		return 0;
	if (r == 1)
		return take_request(s, &req, bytes);
	if (r == ERR_HEADER_TOO_LARGE || r == ERR_TARGET_TOO_LONG)
		refusal_of_head(s, r, detail);
	else
		refusal_of_framing(s, NULL, r, detail);
	return bytes.len;
}

/* ---- steps ---- */

/* The number of bytes taken, 0 where more are needed or something must be waited for. */
static size_t step(struct session *s, struct slice bytes)
{
	switch ((enum intake_phase)s->intake.phase) {
	case INTAKE_HEAD:
		return take_head(s, bytes);
	case INTAKE_BODY:
		return take_body(s, bytes);
	case INTAKE_SKIP:
		return skip_body(&s->intake, bytes);
	case INTAKE_ENDING:
		break;
	}
	/* After an upgrade the rest is the new session's. */
	return s->conn ? bytes.len : 0;
}

size_t intake_take(struct session *s, struct slice bytes)
{
	struct intake *in = &s->intake;
	size_t taken = 0;
	size_t n;

	if (intake_is_idle(in))
		in->since_ns = loop_now(conn_loop(s->conn));
	while (taken < bytes.len && (n = step(s, slice_from(bytes, taken))) > 0)
		taken += n;
	in->backlog = bytes.len - taken > UINT32_MAX ? UINT32_MAX : (uint32_t)(bytes.len - taken);
	return taken;
}
