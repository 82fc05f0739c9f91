/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/session.h"

#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"

/*
 * An HTTP/1.1 connection on the server's side. It is driven by on_bytes, which
 * gets everything the peer has sent and that was not taken yet:
 *
 *	HEAD ──head──► BODY ──whole──► handler, back to HEAD
 *	  │              └──refused──► SKIP ──rest of the body──► HEAD
 *	  └──malformed, or nothing more is wanted──► ENDING (everything is discarded)
 *
 * Exchanges stand in a queue in the order of their requests. An answer for the
 * first is written at once; one for a later is kept in its exchange until those
 * before it have been given. A connection that has enough in flight, or enough
 * output that its peer does not take, takes no further request: the bytes stay with
 * the connection, which in turn stops reading, and the peer's TCP with it.
 *
 * Deadlines cost the hot path no more than a comparison: the timer stays armed while
 * requests come and go; when it fires the deadline that counts then is computed,
 * and the timer moves there. Streams and parked requests take it back: thousands
 * of them would each wake the loop once for nothing.
 *
 * Parsing ahead while the body of a request is streamed to its handler was
 * rejected: every body is bounded and the door wants it whole.
 */
enum phase {
	PHASE_HEAD,   /* between requests, or within a head */
	PHASE_BODY,   /* `coming` gets its body */
	PHASE_SKIP,   /* the rest of a refused body is dropped */
	PHASE_ENDING, /* no further request is taken; what comes is discarded */
};

struct session {
	struct http_loop *ctx;
	struct conn *conn; /* NULL: closing, closed, or handed over */
	struct session *next, **prev;
	struct exchange *first, **last; /* in the order of the requests */
	struct exchange *coming;        /* the last of the queue, in PHASE_BODY */
	struct loop_timer timer;
	int64_t timer_at_ns; /* 0: not armed */
	int64_t since_ns;    /* when what is waited for began */
	int64_t out_at_ns;   /* when output was last seen to move */
	uint64_t out_bytes;  /* what had left then */
	struct http_body body;
	struct http_scan scan;
	uint32_t in_flight;
	uint32_t unsafe_in_flight; /* of them, those that may change something */
	uint32_t backlog;          /* bytes left with the connection by the last on_bytes; UINT32_MAX: more */
	size_t in_flight_bytes;    /* of arenas and bodies, counted when a request is whole */
	uint8_t phase;
	bool fresh;   /* no request yet */
	bool blocked; /* something was left because of a bound */
	bool ended;   /* the peer will send no more */
	bool inside;  /* on_bytes is running: the session must not be freed */
	bool dead;    /* free it when on_bytes returns */
	bool closing; /* conn_close was called; on_closed is to come */
	bool leaving; /* weir stops, and the peer has nothing left to send */
};

#define INLINE_ANSWER_BYTES 2048u
#define SKIP_BYTES_MAX 65536u
#define FIRST_BODY_BYTES 8192u
/* Output past which no further request is taken. */
#define OUTPUT_HIGH_BYTES (256u << 10)

static size_t on_bytes(void *ctx, struct slice bytes);
static void on_drained(void *ctx);
static void on_end(void *ctx);
static void on_closed(void *ctx, enum conn_close_reason reason);
static void on_timer(void *ctx);

static const struct conn_session callbacks = {
	.on_bytes = on_bytes,
	.on_drained = on_drained,
	.on_end = on_end,
	.on_closed = on_closed,
};

static const struct http_options *options_of(const struct session *s)
{
	return &s->ctx->server->options;
}

struct conn *session_conn(const struct session *s)
{
	return s->closing ? NULL : s->conn;
}

/* ---- deadlines ---- */

/* Notes whether the peer takes output; true where some waits. */
static bool watch_output(struct session *s, int64_t now)
{
	uint64_t out;

	if (conn_pending(s->conn) == 0) {
		s->out_at_ns = now;
		return false;
	}
	out = conn_bytes_out(s->conn);
	if (out != s->out_bytes) {
		s->out_bytes = out;
		s->out_at_ns = now;
	}
	return true;
}

/* When the peer is given up, as things stand; 0: nothing is waited for. */
static int64_t deadline(struct session *s, int64_t now)
{
	const struct http_options *o = options_of(s);
	int64_t at = 0;

	if (s->phase == PHASE_BODY || s->phase == PHASE_SKIP)
		at = s->since_ns + o->body_grace_ns +
		     (int64_t)((__int128)s->body.bytes * 1000000000 / (int64_t)o->body_rate);
	else if (s->phase == PHASE_HEAD && !s->blocked && s->backlog)
		at = s->since_ns + o->head_timeout_ns;
	else if (s->phase == PHASE_HEAD && !s->first)
		at = s->since_ns + (s->fresh ? o->head_timeout_ns : o->idle_timeout_ns);
	if (watch_output(s, now) && (at == 0 || s->out_at_ns + o->write_timeout_ns < at))
		at = s->out_at_ns + o->write_timeout_ns;
	return at;
}

/* Takes the timer back where nothing is waited for. Who is about to answer leaves it: the next request needs it. */
static void rest(struct session *s)
{
	struct loop *loop = conn_loop(s->conn);

	if (s->closing || s->timer_at_ns == 0 || deadline(s, loop_now(loop)))
		return;
	s->timer_at_ns = 0;
	loop_timer_stop(loop, &s->timer);
}

/* Arms the timer where it would fire too late. */
static void watch(struct session *s)
{
	struct loop *loop;
	int64_t now, at;

	if (s->closing || !s->conn)
		return;
	loop = conn_loop(s->conn);
	now = loop_now(loop);
	at = deadline(s, now);
	if (at == 0 && s->first && s->first->long_lived)
		rest(s);
	if (at == 0 || (s->timer_at_ns && s->timer_at_ns <= at))
		return;
	s->timer_at_ns = at;
	loop_timer_set(loop, &s->timer, at > now ? at - now : 1);
}

/* ---- closing ---- */

static void start_closing(struct session *s, int64_t linger_ns)
{
	s->phase = PHASE_ENDING;
	s->closing = true;
	loop_timer_stop(conn_loop(s->conn), &s->timer);
	if (s->leaving)
		conn_finish(s->conn, linger_ns);
	else
		conn_close(s->conn, linger_ns);
}

static void cut(struct session *s)
{
	s->phase = PHASE_ENDING;
	if (s->closing)
		return;
	s->closing = true;
	loop_timer_stop(conn_loop(s->conn), &s->timer);
	conn_abort(s->conn);
}

static void unlink_session(struct session *s)
{
	*s->prev = s->next;
	if (s->next)
		s->next->prev = s->prev;
}

static void free_session(struct session *s)
{
	if (s->inside)
		s->dead = true;
	else
		mem_free(s);
}

/* ---- the queue ---- */

/* RFC 9110 section 9.2.1. */
static bool is_safe(const struct exchange *x)
{
	enum http_method method = x->request.method;

	return method == HTTP_GET || method == HTTP_HEAD || method == HTTP_OPTIONS;
}

static void enqueue(struct session *s, struct exchange *x)
{
	x->session = s;
	x->next = NULL;
	*s->last = x;
	s->last = &x->next;
	s->in_flight++;
	s->unsafe_in_flight += !is_safe(x);
}

static size_t exchange_bytes(const struct exchange *x)
{
	return x->own_arena.bytes + x->collected.cap;
}

/* The memory goes back, unless the handler still runs: then dispatch does it. */
static void retire(struct http_loop *ctx, struct exchange *x)
{
	x->stage = EXCHANGE_DONE;
	x->session = NULL;
	if (!x->in_handler)
		exchange_release(ctx, x);
}

static void dequeue_first(struct session *s)
{
	struct exchange *x = s->first;

	s->first = x->next;
	if (!s->first)
		s->last = &s->first;
	s->in_flight--;
	s->unsafe_in_flight -= !is_safe(x);
	s->in_flight_bytes -= x->counted;
	if (s->coming == x)
		s->coming = NULL;
	retire(s->ctx, x);
}

/* Whether another request may be taken. */
static bool has_room(const struct session *s)
{
	const struct http_options *o = options_of(s);

	if (s->first && s->first->route && s->first->route->flags & ROUTE_ALONE)
		return false;
	return s->in_flight < o->in_flight_max && s->in_flight_bytes < o->in_flight_bytes_max &&
	       conn_pending(s->conn) < OUTPUT_HIGH_BYTES;
}

/* Asks for the bytes again that were left because of a bound, once there is room. */
static void resume(struct session *s)
{
	if (!s->blocked || s->closing || !has_room(s))
		return;
	s->blocked = false;
	s->since_ns = loop_now(conn_loop(s->conn));
	conn_read_start(s->conn);
}

static void send_continue(struct session *s)
{
	if (s->first && s->first->continue_due && s->first == s->coming && s->body.bytes == 0) {
		s->first->continue_due = false;
		if (conn_write(s->conn, SLICE_LIT("HTTP/1.1 100 Continue\r\n\r\n")) < 0)
			cut(s);
	}
}

/* What follows when the first of the queue has been answered. */
static void settle(struct session *s)
{
	if (!s->first)
		s->since_ns = loop_now(conn_loop(s->conn));
	send_continue(s);
	resume(s);
	if (s->inside)
		return; /* on_bytes does the rest when it is through */
	if (!s->closing && s->ended && !s->first && s->backlog == 0)
		start_closing(s, 0);
	watch(s);
}

/* ---- answers ---- */

static void observe(const struct exchange *x, int status)
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

/* The last answer of a connection is the one to close it with. */
static void close_if_draining(struct exchange *x)
{
	struct session *s = x->session;

	if (!http_server_draining(x->server) || x->next || s->phase != PHASE_HEAD)
		return;
	x->close = true;
	s->phase = PHASE_ENDING;
	s->leaving = s->backlog == 0;
}

static struct http_answer make_head(struct exchange *x, int status, struct slice content_type)
{
	struct http_loop *ctx = http_loop_of(x->server, x->loop);
	struct http_answer head = {.status = status, .content_type = content_type};

	policy_cors(x);
	close_if_draining(x);
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

/* The first of the queue has been written: what comes next may follow. */
static void first_written(struct session *s, int result)
{
	bool close = s->first->close;

	if (result < 0) {
		cut(s);
		return;
	}
	dequeue_first(s);
	while (!close && result == 0 && s->first && s->first->stage == EXCHANGE_ANSWERED) {
		if (s->first->cut) {
			start_closing(s,
				      options_of(s)->linger_ns); /* what was written before it still leaves */
			return;
		}
		close = s->first->close;
		result = write_stored(s, s->first);
		if (result == 0)
			dequeue_first(s);
	}
	if (result < 0)
		cut(s);
	else if (close)
		start_closing(s, options_of(s)->linger_ns);
	else
		settle(s);
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

void session_answer(struct exchange *x, const struct answer *answer)
{
	struct session *s = x->session;
	struct slice body = answer->body;
	struct http_answer head;

	check_may_answer(x);
	observe(x, answer->status);
	if (!s) {
		retire(http_loop_of(x->server, x->loop), x);
		return;
	}
	if (s->closing) {
		/* on_closed is to come and takes it out of the queue. */
		x->stage = EXCHANGE_ANSWERED;
		return;
	}
	head = make_head(x, answer->status, answer->content_type);
	head.framing = has_no_body(answer->status) || length_is_unknown(x, answer) ? HTTP_FRAME_NONE :
										     HTTP_FRAME_LENGTH;
	head.length = body.len;
	if (x->request.method == HTTP_HEAD || has_no_body(answer->status))
		body = slice_null();
	x->stage = EXCHANGE_ANSWERED;
	if (x == s->first)
		first_written(s, write_answer(s, x, &head, answer, body));
	else
		x->cut = store_answer(x, &head, answer, body) < 0;
}

void session_forget(struct exchange *x)
{
	check_may_answer(x);
	CHECK(!x->session);
	retire(http_loop_of(x->server, x->loop), x);
}

void session_abort(struct exchange *x)
{
	struct session *s = x->session;

	check_may_answer(x);
	if (!s) {
		retire(http_loop_of(x->server, x->loop), x);
		return;
	}
	x->stage = EXCHANGE_ANSWERED;
	if (s->closing)
		return;
	x->cut = true;
	if (x == s->first)
		start_closing(s, options_of(s)->linger_ns);
}

int session_stream_start(struct exchange *x, int status, struct slice content_type)
{
	struct session *s = x->session;
	struct answer none = {.status = status};
	struct http_answer head;
	int r;

	CHECK(x->stage == EXCHANGE_OPEN && x->route->flags & ROUTE_ALONE);
	x->stage = EXCHANGE_STREAM;
	x->long_lived = true;
	if (!s || s->closing)
		return ERR_CANCELLED;
	CHECK(s->first == x);
	x->chunked = x->request.minor == 1;
	if (!x->chunked)
		x->close = true;
	observe(x, status);
	head = make_head(x, status, content_type);
	head.framing = x->chunked ? HTTP_FRAME_CHUNKED : HTTP_FRAME_NONE;
	r = write_answer(s, x, &head, &none, slice_null());
	if (r < 0)
		cut(s);
	else if (!s->inside)
		watch(s);
	return r < 0 ? ERR_CANCELLED : 0;
}

void session_stream_end(struct exchange *x, bool abort)
{
	struct session *s = x->session;
	int r = 0;

	CHECK(x->stage == EXCHANGE_STREAM);
	if (!s) {
		retire(http_loop_of(x->server, x->loop), x);
		return;
	}
	x->stage = EXCHANGE_ANSWERED;
	if (s->closing)
		return;
	close_if_draining(x);
	if (abort)
		r = ERR_CANCELLED;
	else if (x->chunked && x->request.method != HTTP_HEAD)
		r = conn_write(s->conn, SLICE_LIT(HTTP_CHUNKS_END));
	first_written(s, r);
}

int session_upgrade(struct exchange *x, const char *protocol, const struct conn_session *session, void *ctx,
		    struct conn **conn)
{
	struct session *s = x->session;
	struct answer none = {.status = 101};
	struct http_answer head;
	struct conn *c;

	CHECK(x->stage == EXCHANGE_OPEN && x->route->flags & ROUTE_ALONE);
	if (!s || s->closing)
		return ERR_CANCELLED;
	CHECK(s->first == x && !x->next);
	(void)!exchange_add_header(x, SLICE_LIT("Upgrade"), slice_str(protocol));
	(void)!exchange_add_header(x, SLICE_LIT("Connection"), SLICE_LIT("Upgrade"));
	x->close = false;
	head = make_head(x, 101, slice_null());
	head.close = false;
	if (write_answer(s, x, &head, &none, slice_null()) < 0) {
		cut(s);
		return ERR_CANCELLED;
	}
	observe(x, 101);
	c = s->conn;
	loop_timer_stop(conn_loop(c), &s->timer);
	s->first = NULL;
	s->conn = NULL;
	s->phase = PHASE_ENDING;
	retire(s->ctx, x);
	unlink_session(s);
	conn_set_session(c, session, ctx);
	conn_read_start(c);
	free_session(s);
	*conn = c;
	return 0;
}

/* ---- requests ---- */

/* Runs the handler of a whole request. x may be gone afterwards. */
static void dispatch(struct session *s, struct exchange *x)
{
	int r;

	x->stage = EXCHANGE_OPEN;
	x->started_ns = loop_now(x->loop);
	x->counted = exchange_bytes(x);
	s->in_flight_bytes += x->counted;
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

/*
 * Before a request is refused: what is still to come of its body is dropped
 * where that is little, else the connection ends with the answer.
 */
static void prepare_refusal(struct session *s, struct exchange *x)
{
	s->coming = NULL;
	if (!http_body_ended(&s->body) && (x->request.body != HTTP_BODY_LENGTH ||
					   s->body.left > SKIP_BYTES_MAX || x->request.expect_continue))
		x->close = true;
	if (x->close)
		s->phase = PHASE_ENDING;
	else
		s->phase = http_body_ended(&s->body) ? PHASE_HEAD : PHASE_SKIP;
}

static void refuse(struct session *s, struct exchange *x, int err, const char *detail)
{
	prepare_refusal(s, x);
	if (detail)
		exchange_problem(x, err, "%s", detail);
	else
		exchange_problem(x, err, NULL);
}

/* After a broken head or body nothing on this connection can be understood any more. */
static void refuse_framing(struct session *s, struct exchange *x, int err, const char *detail)
{
	if (!x) {
		x = exchange_take(s->ctx);
		if (!x) {
			cut(s);
			return;
		}
		x->loop = conn_loop(s->conn);
		x->started_ns = loop_now(x->loop);
		x->request.method = HTTP_OTHER; /* not known, or not to be trusted */
		x->request.minor = 1;
		enqueue(s, x);
	}
	s->coming = NULL;
	x->close = true;
	s->phase = PHASE_ENDING;
	exchange_problem(x, err, "%s", detail);
}

static uint64_t body_limit(const struct session *s, const struct route *route)
{
	const struct http_options *o = options_of(s);

	if (route->body == ROUTE_BODY_NONE)
		return 0;
	return route->body == ROUTE_BODY_SMALL ? o->small_body_max : o->large_body_max;
}

static void refuse_body_size(struct session *s, struct exchange *x)
{
	prepare_refusal(s, x);
	if (x->body_max == 0)
		exchange_problem(x, ERR_BODY_TOO_LARGE,
				 "This resource takes no body with %s; the limit is 0 bytes",
				 http_method_text(x->request.method));
	else
		exchange_problem(x, ERR_BODY_TOO_LARGE,
				 "The body is over the limit of %llu bytes of this resource",
				 (unsigned long long)x->body_max);
}

static bool wants_length(const struct exchange *x)
{
	enum http_method m = x->request.method;

	return x->request.body == HTTP_BODY_NONE && !x->request.has_length &&
	       x->route->body != ROUTE_BODY_NONE && !(x->route->flags & ROUTE_BODY_OPTIONAL) &&
	       (m == HTTP_POST || m == HTTP_PUT || m == HTTP_PATCH);
}

static void refuse_route(struct session *s, struct exchange *x, int err, uint32_t methods)
{
	char room[64];
	struct slice allow = methods_text(methods, room);

	prepare_refusal(s, x);
	if (err == ERR_METHOD) {
		(void)!exchange_add_header(x, SLICE_LIT("Allow"), allow);
		exchange_problem(x, err, "%.*s is not allowed here; allowed are %.*s",
				 (int)x->request.method_text.len, (const char *)x->request.method_text.ptr,
				 (int)allow.len, (const char *)allow.ptr);
	} else if (err == ERR_MALFORMED) {
		exchange_problem(x, err,
				 "The path has a '%%' that no two hexadecimal digits other than 00 follow, "
				 "or a '.' or '..' segment");
	} else {
		exchange_problem(x, err, "There is nothing at %.*s",
				 x->request.path.len > 200 ? 200 : (int)x->request.path.len,
				 (const char *)x->request.path.ptr);
	}
}

/* Everything that can be said of a request before its body is there. False where it was refused (and answered). */
static bool admit(struct session *s, struct exchange *x, int found, const struct route_match *match)
{
	const struct http_options *o = options_of(s);
	const char *detail = NULL;
	int r = policy_check(o, x, &detail);

	if (r == 0 && policy_is_preflight(x)) {
		prepare_refusal(s, x);
		policy_preflight(x, match->methods);
		return false;
	}
	if (r == 0 && found < 0) {
		refuse_route(s, x, found, match->methods);
		return false;
	}
	if (r == 0)
		r = query_parse(x, &detail);
	if (r == 0 && o->authorize && !(x->route->flags & ROUTE_OPEN))
		r = o->authorize(o->app, x, &detail);
	if (r == 0 && wants_length(x)) {
		detail = "Send Content-Length (0 for an empty body) or Transfer-Encoding: chunked";
		r = ERR_LENGTH_REQUIRED;
	}
	if (r < 0) {
		refuse(s, x, r, detail);
		return false;
	}
	x->body_max = body_limit(s, x->route);
	if (x->request.content_length > x->body_max ||
	    (x->request.body == HTTP_BODY_CHUNKED && x->body_max == 0)) {
		refuse_body_size(s, x);
		return false;
	}
	return true;
}

/* ---- bodies ---- */

static void body_is_whole(struct session *s)
{
	struct exchange *x = s->coming;

	/* Room for the padding was reserved with every piece. */
	if (x->collected.len)
		x->body = buf_slice(&x->collected);
	s->coming = NULL;
	s->phase = x->close ? PHASE_ENDING : PHASE_HEAD;
	s->since_ns = loop_now(x->loop);
	dispatch(s, x);
}

/*
 * Makes room for `more` bytes and the padding. A declared length is believed
 * only as far as bytes have come, so that announcing much costs much to send.
 */
static int reserve_body(struct exchange *x, size_t more)
{
	size_t have = x->collected.len;
	size_t want = 4 * (have + more);
	int r;

	if (want < FIRST_BODY_BYTES)
		want = FIRST_BODY_BYTES;
	if (want > x->body_max)
		want = (size_t)x->body_max;
	if (x->request.body == HTTP_BODY_LENGTH && want > x->request.content_length)
		want = (size_t)x->request.content_length;
	if (want < have + more)
		want = have + more;
	if (more + EXCHANGE_BODY_PADDING <= x->collected.cap - have)
		return 0;
	x->collected.bytes_max = want + EXCHANGE_BODY_PADDING;
	if (!exchange_charge(x, want + EXCHANGE_BODY_PADDING))
		return ERR_OVERLOADED;
	r = buf_reserve(&x->collected, want + EXCHANGE_BODY_PADDING - have);
	return r < 0 ? ERR_NOMEM : 0;
}

static bool keep_piece(struct session *s, struct exchange *x, struct slice piece)
{
	int r;

	if (s->body.bytes > x->body_max) {
		refuse_body_size(s, x);
		return false;
	}
	r = reserve_body(x, piece.len);
	if (r == 0)
		r = buf_append_slice(&x->collected, piece);
	if (r < 0)
		refuse(s, x, r,
		       r == ERR_OVERLOADED ? "Bodies on their way hold all the memory set aside for them" :
					     NULL);
	return r == 0;
}

/* Takes of the body what is there. Gives the number of bytes. */
static size_t take_body(struct session *s, struct slice bytes)
{
	struct exchange *x = s->coming;
	struct slice rest = bytes;
	struct slice piece;
	const char *detail;
	int r;

	while ((r = http_body_next(&s->body, &rest, &piece, &detail)) == HTTP_BODY_DATA)
		if (!keep_piece(s, x, piece))
			return bytes.len - rest.len;
	if (r < 0) {
		refuse_framing(s, x, r, detail);
		return bytes.len;
	}
	if (r == HTTP_BODY_END)
		body_is_whole(s);
	return bytes.len - rest.len;
}

static size_t skip_body(struct session *s, struct slice bytes)
{
	struct slice rest = bytes;
	struct slice piece;
	const char *detail;
	int r;

	while ((r = http_body_next(&s->body, &rest, &piece, &detail)) == HTTP_BODY_DATA)
		;
	if (r == HTTP_BODY_END)
		s->phase = PHASE_HEAD;
	return bytes.len - rest.len;
}

/* The usual case: the body is here with its head. Copied once, next to the head. */
static bool take_whole_body(struct exchange *x, struct slice bytes)
{
	size_t n = (size_t)x->request.content_length;
	uint8_t *copy;

	if (x->request.body != HTTP_BODY_LENGTH || bytes.len < n)
		return false;
	copy = arena_alloc(x->arena, n + EXCHANGE_BODY_PADDING);
	if (!copy)
		return false;
	memcpy(copy, bytes.ptr, n);
	x->body = slice_make(copy, n);
	return true;
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
	struct exchange *x = exchange_take(s->ctx);

	if (!x)
		return NULL;
	if (!keep_head(x, req, bytes)) {
		exchange_release(s->ctx, x);
		return NULL;
	}
	x->loop = conn_loop(s->conn);
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

/*
 * Requests of one connection are worked on side by side, with two exceptions: a
 * stream waits for all before it, and a read waits for the writes before it, so
 * that it sees them (RFC 9112 section 9.3.2 allows side by side for safe methods alone).
 */
static bool must_wait(const struct session *s, const struct exchange *x, const struct route *route)
{
	return (route->flags & ROUTE_ALONE && s->first) || (s->unsafe_in_flight > 0 && is_safe(x));
}

/* Takes the head, and the body where it is there whole. Gives the number of bytes, 0 where it must wait. */
static size_t take_request(struct session *s, const struct http_request *req, struct slice bytes)
{
	struct slice rest = slice_from(bytes, req->head_bytes);
	struct route_match match;
	struct exchange *x;
	int found;

	x = make_exchange(s, req, bytes, &match, &found);
	if (!x) {
		refuse_framing(s, NULL, ERR_NOMEM, "There is no memory for this request; try again");
		return bytes.len;
	}
	if (found == 0 && must_wait(s, x, match.route)) {
		exchange_release(s->ctx, x);
		s->blocked = true;
		return 0;
	}
	s->fresh = false;
	s->coming = x;
	s->since_ns = x->started_ns;
	http_body_init(&s->body, req->body, req->content_length);
	if (x->close)
		s->phase = PHASE_ENDING;
	enqueue(s, x);
	if (!admit(s, x, found, &match))
		return req->head_bytes;
	if (http_body_ended(&s->body)) {
		s->coming = NULL;
		dispatch(s, x);
		return req->head_bytes;
	}
	if (take_whole_body(x, rest)) {
		s->coming = NULL;
		dispatch(s, x);
		return req->head_bytes + (size_t)req->content_length;
	}
	s->phase = PHASE_BODY;
	x->continue_due = req->expect_continue && rest.len == 0;
	send_continue(s);
	return req->head_bytes;
}

/* A limit that was passed is named. */
static void refuse_head_size(struct session *s, int err, const char *detail)
{
	const struct http_limits *limits = &options_of(s)->head;
	uint32_t bytes = err == ERR_TARGET_TOO_LONG ? limits->target_bytes_max : limits->head_bytes_max;
	char text[200];

	(void)snprintf(text, sizeof(text), "%s; the limit is %u bytes", detail, bytes);
	refuse_framing(s, NULL, err, text);
}

static size_t take_head(struct session *s, struct slice bytes)
{
	struct http_request req;
	const char *detail;
	int r;

	if (!has_room(s)) {
		s->blocked = true;
		return 0;
	}
	req.headers = (struct http_headers){.list = s->ctx->scratch, .max = HTTP_HEADERS_MAX};
	r = http_request_parse(&req, &s->scan, &options_of(s)->head, bytes, &detail);
	if (r == 0)
		return 0;
	if (r == 1)
		return take_request(s, &req, bytes);
	if (r == ERR_HEADER_TOO_LARGE || r == ERR_TARGET_TOO_LONG)
		refuse_head_size(s, r, detail);
	else
		refuse_framing(s, NULL, r, detail);
	return bytes.len;
}

/* ---- callbacks of the connection ---- */

/* One step; the number of bytes taken, 0 where more are needed or something must be waited for. */
static size_t step(struct session *s, struct slice bytes)
{
	switch ((enum phase)s->phase) {
	case PHASE_HEAD:
		return take_head(s, bytes);
	case PHASE_BODY:
		return take_body(s, bytes);
	case PHASE_SKIP:
		return skip_body(s, bytes);
	case PHASE_ENDING:
		break;
	}
	/* After an upgrade the rest is the new session's. */
	return s->conn ? bytes.len : 0;
}

/* The peer has ended: a request that is not whole never will be. What is whole is still answered. */
static void finish_ended(struct session *s)
{
	if (s->closing || s->blocked)
		return;
	if (s->phase == PHASE_BODY)
		refuse_framing(s, s->coming, ERR_MALFORMED, "The connection ended before the body did");
	else if (s->phase == PHASE_HEAD && s->backlog)
		refuse_framing(s, NULL, ERR_MALFORMED, "The connection ended within the head of a request");
	else if (!s->first)
		start_closing(s, 0);
}

static size_t on_bytes(void *ctx, struct slice bytes)
{
	struct session *s = ctx;
	size_t taken = 0;
	size_t n;

	if (s->backlog == 0 && s->phase == PHASE_HEAD)
		s->since_ns = loop_now(conn_loop(s->conn));
	s->inside = true;
	while (taken < bytes.len && (n = step(s, slice_from(bytes, taken))) > 0)
		taken += n;
	s->inside = false;
	if (s->dead) {
		mem_free(s);
		return taken;
	}
	s->backlog = bytes.len - taken > UINT32_MAX ? UINT32_MAX : (uint32_t)(bytes.len - taken);
	if (s->ended)
		finish_ended(s);
	watch(s);
	return taken;
}

static void on_drained(void *ctx)
{
	struct session *s = ctx;
	struct exchange *x = s->first;

	if (x && x->stage == EXCHANGE_STREAM && x->on_room)
		x->on_room(x);
	else
		resume(s);
	if (s->first && s->first->long_lived)
		rest(s);
}

/* Those whose turn it is and who asked are told; each may answer, then the next one's turn has come. */
static void tell_end(struct session *s)
{
	struct exchange *x;

	while ((x = s->first) && x->stage == EXCHANGE_OPEN && x->on_end) {
		exchange_fn *told = x->on_end;
		x->on_end = NULL;
		told(x);
	}
}

bool session_ended(const struct session *s)
{
	return s->ended;
}

static void on_end(void *ctx)
{
	struct session *s = ctx;

	s->ended = true;
	tell_end(s);
	if (s->first && s->first->stage == EXCHANGE_STREAM)
		cut(s);
	else
		finish_ended(s);
}

/* Those that nobody holds go; the owner of the others is told. */
static void cancel_all(struct session *s)
{
	struct http_loop *ctx = s->ctx;
	struct exchange *x;

	for (x = s->first; x; x = x->next) {
		x->session = NULL;
		x->in_handler = true; /* an owner may end others from within on_cancel */
	}
	while ((x = s->first)) {
		exchange_fn *told = x->on_cancel;
		bool held = x->stage == EXCHANGE_OPEN || x->stage == EXCHANGE_STREAM;

		s->first = x->next;
		if (!held) {
			exchange_release(ctx, x);
			continue;
		}
		x->on_cancel = NULL;
		if (told)
			told(x);
		x->in_handler = false;
		if (x->stage == EXCHANGE_DONE)
			exchange_release(ctx, x);
	}
}

static void on_closed(void *ctx, enum conn_close_reason reason)
{
	struct session *s = ctx;

	(void)reason;
	loop_timer_stop(conn_loop(s->conn), &s->timer);
	http_loop_count(s->ctx, -1);
	unlink_session(s);
	s->closing = true;
	cancel_all(s);
	mem_free(s);
}

static void give_up(struct session *s)
{
	struct exchange *x = s->coming;

	if (conn_pending(s->conn) &&
	    loop_now(conn_loop(s->conn)) - s->out_at_ns >= options_of(s)->write_timeout_ns)
		cut(s);
	else if (s->phase == PHASE_BODY)
		refuse_framing(s, x, ERR_TIMEOUT, "The body comes more slowly than allowed");
	else if (s->phase == PHASE_SKIP)
		start_closing(s, 0);
	else if (s->backlog)
		refuse_framing(s, NULL, ERR_TIMEOUT, "The head of the request did not come in time");
	else
		start_closing(s, 0);
}

static void on_timer(void *ctx)
{
	struct session *s = ctx;
	int64_t now = loop_now(conn_loop(s->conn));
	int64_t at = deadline(s, now);

	s->timer_at_ns = 0;
	if (at && at <= now)
		give_up(s);
	if (!s->closing)
		watch(s);
}

/* ---- life ---- */

int session_start(struct http_loop *ctx, struct conn *c)
{
	const struct http_options *o = &ctx->server->options;
	struct session *s = mem_zalloc(1, sizeof(*s));

	if (!s)
		return ERR_NOMEM;
	s->ctx = ctx;
	s->conn = c;
	s->last = &s->first;
	s->fresh = true;
	s->since_ns = loop_now(conn_loop(c));
	s->out_at_ns = s->since_ns;
	loop_timer_init(&s->timer, on_timer, s);
	s->next = ctx->sessions;
	s->prev = &ctx->sessions;
	if (s->next)
		s->next->prev = &s->next;
	ctx->sessions = s;
	http_loop_count(ctx, 1);
	conn_set_session(c, &callbacks, s);
	conn_set_output_max(c, o->output_max);
	if (o->head.head_bytes_max >= 65536)
		conn_set_input_max(c, (size_t)o->head.head_bytes_max + 4096);
	watch(s);
	return 0;
}

void session_close_idle(struct http_loop *ctx)
{
	struct session *s, *next;

	for (s = ctx->sessions; s; s = next) {
		next = s->next;
		if (!s->closing && !s->first && s->phase == PHASE_HEAD && s->backlog == 0)
			start_closing(s, 0);
	}
}

/* ---- at the cap of connections ---- */

#define SPARED_MAX 16u
#define SPARE_FRESH_NS 1000000000LL /* time to send what one came for */
#define SPARE_IDLE_NS 10000000000LL /* a client between two requests comes back sooner, mostly */

static bool waits_for_request(const struct session *s)
{
	return !s->closing && !s->first && s->phase == PHASE_HEAD && s->backlog == 0;
}

/* Those that never asked anything are let go before those that did. */
static bool is_sooner(const struct session *a, const struct session *b)
{
	return a->fresh != b->fresh ? a->fresh : a->since_ns < b->since_ns;
}

static void keep_place(struct session **chosen, uint32_t *count, struct session *s)
{
	uint32_t at = *count < SPARED_MAX ? (*count)++ : SPARED_MAX;

	for (; at > 0 && is_sooner(s, chosen[at - 1]); at--)
		if (at < SPARED_MAX)
			chosen[at] = chosen[at - 1];
	if (at < SPARED_MAX)
		chosen[at] = s;
}

uint32_t session_spare(struct http_loop *ctx, int64_t now_ns)
{
	struct session *chosen[SPARED_MAX];
	uint32_t count = 0;

	for (struct session *s = ctx->sessions; s; s = s->next)
		if (waits_for_request(s) &&
		    now_ns - s->since_ns >= (s->fresh ? SPARE_FRESH_NS : SPARE_IDLE_NS))
			keep_place(chosen, &count, s);
	for (uint32_t i = 0; i < count; i++)
		cut(chosen[i]);
	return count;
}
