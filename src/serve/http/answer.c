/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/answer.h"

#include "base/check.h"

/*
 * The answer to the first of the queue is written at once; one to a later is kept
 * in its exchange's arena (a shared body stays shared) until those before it have been given.
 */
#define INLINE_ANSWER_BYTES 2048u

void answer_retire(struct http_loop *ctx, struct exchange *x)
{
	x->stage = EXCHANGE_DONE;
	x->session = NULL;
	if (!x->in_handler)
		exchange_release(ctx, x); /* else who runs the handler does it */
}

static void retire_first(struct session *s)
{
	answer_retire(s->ctx, queue_take(&s->queue));
}

void answer_observe(const struct exchange *x, int status)
{
	const struct http_observer *o = &x->server->options.observer;

	if (o->answered)
		o->answered(o->ctx, loop_number(x->loop), x->route, x->request.method, status,
			    loop_now(x->loop) - x->started_ns);
}

static bool has_no_body(int status)
{
	return status < 200 || status == 204 || status == 304;
}

void answer_close_if_draining(struct exchange *x)
{
	if (http_server_draining(x->server) && !x->next && session_leave(x->session))
		x->close = true;
}

struct http_answer answer_head(struct exchange *x, int status, struct slice content_type)
{
	struct http_loop *ctx = http_loop_of(x->server, x->loop);
	struct http_answer head = {.status = status, .content_type = content_type};

	policy_cors(x);
	answer_close_if_draining(x);
	head.date = http_loop_date(ctx, x->loop);
	head.headers = x->added;
	head.header_count = x->added_count;
	head.close = x->close;
	head.keep_alive = !x->close && x->request.minor == 0;
	return head;
}

/* Head and body in one write where they are small. */
static int write_answer(struct session *s, struct exchange *x, const struct http_answer *head,
			const struct answer *answer, struct slice body)
{
	size_t max = http_answer_bytes_max(head);
	bool together = !answer->blob && max + body.len <= INLINE_ANSWER_BYTES;
	/* Not cleared, as other variables are for safety: what is sent of it has been written. */
	__attribute__((uninitialized)) uint8_t room[INLINE_ANSWER_BYTES];
	uint8_t *at = room;
	uint8_t *end;
	int r;

	if (max > sizeof(room))
		at = arena_alloc(x->arena, max);
	if (!at)
		return ERR_NOMEM;
	end = http_answer_put(at, head);
	if (together && body.len) {
		memcpy(end, body.ptr, body.len);
		end += body.len;
	}
	r = conn_write(s->conn, slice_make(at, (size_t)(end - at)));
	if (r < 0 || together || body.len == 0)
		return r;
	return answer->blob ? conn_write_blob(s->conn, answer->blob, body) : conn_write(s->conn, body);
}

int answer_write_head(struct exchange *x, const struct http_answer *head)
{
	struct answer none = {.status = head->status};

	return write_answer(x->session, x, head, &none, slice_null());
}

/* Keeps an answer whose turn has not come. */
static int store_answer(struct exchange *x, const struct http_answer *head, const struct answer *answer,
			struct slice body)
{
	size_t copied = answer->blob ? 0 : body.len;
	uint8_t *at = arena_alloc(x->arena, http_answer_bytes_max(head) + copied);
	uint8_t *end;

	if (!at)
		return ERR_NOMEM;
	end = http_answer_put(at, head);
	if (copied)
		memcpy(end, body.ptr, copied);
	x->stored = slice_make(at, (size_t)(end - at) + copied);
	if (answer->blob && body.len) {
		x->blob = blob_ref(answer->blob);
		x->blob_part = body;
	}
	return 0;
}

static int write_stored(struct session *s, const struct exchange *x)
{
	int r = conn_write(s->conn, x->stored);

	if (r == 0 && x->blob)
		r = conn_write_blob(s->conn, x->blob, x->blob_part);
	return r;
}

void answer_written(struct session *s, int result)
{
	bool close = s->queue.first->close;
	struct exchange *x;

	if (result < 0) {
		session_cut(s);
		return;
	}
	retire_first(s);
	while (!close && result == 0 && (x = s->queue.first) && x->stage == EXCHANGE_ANSWERED) {
		if (x->cut)
			break;
		close = x->close;
		result = write_stored(s, x);
		if (result == 0)
			retire_first(s);
	}
	if (result < 0)
		session_cut(s);
	else if (close || (s->queue.first && s->queue.first->cut))
		session_close(s, session_options(s)->linger_ns); /* what was written before it still leaves */
	else
		session_settle(s);
}

static void check_may_answer(const struct exchange *x)
{
	CHECK(x->stage == EXCHANGE_OPEN || x->stage == EXCHANGE_COMING);
}

/* RFC 9110 8.6: with HEAD the length may be left out where the body was not made. */
static bool length_is_unknown(const struct exchange *x, const struct answer *answer)
{
	return x->request.method == HTTP_HEAD && !answer->body.ptr;
}

void answer_give(struct exchange *x, const struct answer *answer)
{
	struct session *s = x->session;
	struct slice body = answer->body;
	struct http_answer head;

	check_may_answer(x);
	answer_observe(x, answer->status);
	if (!s) {
		answer_retire(http_loop_of(x->server, x->loop), x);
		return;
	}
	if (!session_conn(s)) {
		/* on_closed is to come and takes it out of the queue. */
		x->stage = EXCHANGE_ANSWERED;
		return;
	}
	head = answer_head(x, answer->status, answer->content_type);
	head.framing = has_no_body(answer->status) || length_is_unknown(x, answer) ? HTTP_FRAME_NONE :
										     HTTP_FRAME_LENGTH;
	head.length = body.len;
	if (x->request.method == HTTP_HEAD || has_no_body(answer->status))
		body = slice_null();
	x->stage = EXCHANGE_ANSWERED;
	if (x == s->queue.first)
		answer_written(s, write_answer(s, x, &head, answer, body));
	else
		x->cut = store_answer(x, &head, answer, body) < 0;
}

void answer_forget(struct exchange *x)
{
	check_may_answer(x);
	CHECK(!x->session);
	answer_retire(http_loop_of(x->server, x->loop), x);
}

void answer_abort(struct exchange *x)
{
	struct session *s = x->session;

	check_may_answer(x);
	if (!s) {
		answer_retire(http_loop_of(x->server, x->loop), x);
		return;
	}
	x->stage = EXCHANGE_ANSWERED;
	if (!session_conn(s))
		return;
	x->cut = true;
	if (x == s->queue.first)
		session_close(s, session_options(s)->linger_ns);
}
