/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/session.h"

#include "base/mem.h"

/*
 * The life of a connection: what it is told by net, by its timer and by the
 * answers that are given, and how it ends.
 *
 * Streams and parked requests take the timer back: thousands of them would each
 * wake the loop once for nothing.
 */

#define SESSION_BYTES (sizeof(struct session) + 16u) /* with the allocator's own */

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

/* ---- deadlines ---- */

/* When the peer is given up, as things stand; 0: nothing is waited for. */
static int64_t find_deadline(struct session *s, int64_t now)
{
	int64_t at = intake_deadline(s);
	int64_t out = deadline_of_output(&s->deadline, s->conn, now, session_options(s)->write_timeout_ns);

	return out && (at == 0 || out < at) ? out : at;
}

static bool is_long_lived(const struct session *s)
{
	return s->queue.first && s->queue.first->long_lived;
}

/*
 * Between requests, and while they are answered, a deadline that begins now is
 * one of these two, and what began before has armed the timer then: the usual case, on
 * the hot path, without a look at which it is.
 */
static bool fires_soon_enough(const struct session *s, int64_t now)
{
	const struct http_options *o = session_options(s);
	int64_t at = s->deadline.timer_at_ns;

	return at && at <= now + o->idle_timeout_ns && at <= now + o->write_timeout_ns &&
	       intake_is_idle(&s->intake) && !is_long_lived(s);
}

void session_watch(struct session *s)
{
	struct loop *loop;
	int64_t now, at;

	if (s->inside || s->closing || !s->conn)
		return; /* on_bytes does it when it is through */
	loop = conn_loop(s->conn);
	now = loop_now(loop);
	if (fires_soon_enough(s, now))
		return;
	at = find_deadline(s, now);
	if (at)
		deadline_set(&s->deadline, loop, now, at);
	else if (is_long_lived(s))
		deadline_rest(&s->deadline, loop);
}

/* Output was waited for, and has left: for what is long-lived that may have been all. */
static void rest(struct session *s)
{
	struct loop *loop = conn_loop(s->conn);

	if (!s->closing && is_long_lived(s) && s->deadline.timer_at_ns && !find_deadline(s, loop_now(loop)))
		deadline_rest(&s->deadline, loop);
}

static void on_timer(void *ctx)
{
	struct session *s = ctx;
	int64_t now = loop_now(conn_loop(s->conn));
	int64_t at = find_deadline(s, now);

	deadline_expired(&s->deadline);
	if (at && at <= now) {
		if (conn_pending(s->conn) &&
		    now - s->deadline.out_at_ns >= session_options(s)->write_timeout_ns)
			session_cut(s);
		else
			intake_expire(s);
	}
	session_watch(s);
}

/* ---- closing ---- */

/* False where it was begun before. */
static bool begin_closing(struct session *s)
{
	s->intake.phase = INTAKE_ENDING;
	if (s->closing)
		return false;
	s->closing = true;
	loop_timer_stop(conn_loop(s->conn), &s->deadline.timer);
	return true;
}

void session_close(struct session *s, int64_t linger_ns)
{
	(void)begin_closing(s);
	if (s->leaving)
		conn_finish(s->conn, linger_ns);
	else
		conn_close(s->conn, linger_ns);
}

void session_cut(struct session *s)
{
	if (begin_closing(s))
		conn_abort(s->conn);
}

bool session_leave(struct session *s)
{
	if (s->intake.phase != INTAKE_HEAD)
		return false;
	s->leaving = s->intake.backlog == 0;
	intake_stop(&s->intake);
	return true;
}

static void unlink_session(struct session *s)
{
	*s->prev = s->next;
	if (s->next)
		s->next->prev = s->prev;
}

struct conn *session_hand_over(struct session *s, const struct conn_session *to, void *ctx)
{
	struct conn *c = s->conn;

	loop_timer_stop(conn_loop(c), &s->deadline.timer);
	intake_stop(&s->intake);
	s->conn = NULL;
	unlink_session(s);
	conn_set_session(c, to, ctx);
	conn_read_start(c);
	budget_sub(loop_share(conn_loop(c)), SESSION_BYTES);
	if (s->inside)
		s->dead = true;
	else
		mem_free(s);
	return c;
}

/* ---- callbacks of the connection ---- */

static size_t on_bytes(void *ctx, struct slice bytes)
{
	struct session *s = ctx;
	size_t taken;

	s->inside = true;
	taken = intake_take(s, bytes);
	s->inside = false;
	if (s->dead) {
		mem_free(s);
		return taken;
	}
	if (s->intake.ended)
		intake_end(s);
	session_watch(s);
	return taken;
}

void session_settle(struct session *s)
{
	intake_go_on(s);
	if (s->inside)
		return; /* on_bytes does the rest when it is through */
	if (!s->closing && s->intake.ended && !s->queue.first && s->intake.backlog == 0)
		session_close(s, 0);
	session_watch(s);
}

static void on_drained(void *ctx)
{
	struct session *s = ctx;
	struct exchange *x = s->queue.first;

	if (x && x->stage == EXCHANGE_STREAM && x->on_room)
		x->on_room(x);
	else
		intake_resume(s);
	rest(s);
}

/* Those whose turn it is and who asked are told; each may answer, then the next one's turn has come. */
static void tell_end(struct session *s)
{
	struct exchange *x;

	while ((x = s->queue.first) && x->stage == EXCHANGE_OPEN && x->on_end) {
		exchange_fn *told = x->on_end;
		x->on_end = NULL;
		told(x);
	}
}

static void on_end(void *ctx)
{
	struct session *s = ctx;

	s->intake.ended = true;
	tell_end(s);
	if (s->queue.first && s->queue.first->stage == EXCHANGE_STREAM)
		session_cut(s);
	else
		intake_end(s);
}

/* Those that nobody holds go; the owner of the others is told. */
static void cancel_all(struct session *s)
{
	struct http_loop *ctx = s->ctx;
	struct exchange *x;

	for (x = s->queue.first; x; x = x->next) {
		x->session = NULL;
		x->in_handler = true; /* an owner may end others from within on_cancel */
	}
	while (s->queue.first) {
		exchange_fn *told;
		bool held;

		x = queue_take(&s->queue);
		told = x->on_cancel;
		held = x->stage == EXCHANGE_OPEN || x->stage == EXCHANGE_STREAM;
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
	loop_timer_stop(conn_loop(s->conn), &s->deadline.timer);
	http_loop_count(s->ctx, -1);
	unlink_session(s);
	s->closing = true;
	cancel_all(s);
	budget_sub(loop_share(conn_loop(s->conn)), SESSION_BYTES);
	mem_free(s);
}

/* ---- birth ---- */

int session_start(struct http_loop *ctx, struct conn *c)
{
	const struct http_options *o = &ctx->server->options;
	struct session *s = mem_zalloc(1, sizeof(*s));
	int64_t now = loop_now(conn_loop(c));

	if (!s)
		return ERR_NOMEM;
	budget_add(loop_share(conn_loop(c)), SESSION_BYTES);
	s->ctx = ctx;
	s->conn = c;
	queue_init(&s->queue);
	intake_init(&s->intake, now);
	deadline_init(&s->deadline, on_timer, s, now);
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
	session_watch(s);
	return 0;
}

void session_close_idle(struct http_loop *ctx)
{
	struct session *s, *next;

	for (s = ctx->sessions; s; s = next) {
		next = s->next;
		if (!s->closing && !s->queue.first && intake_is_idle(&s->intake))
			session_close(s, 0);
	}
}
