/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading: the parser works in the bytes where they lie; each event is dealt
 * with before the next. Where the publisher is full, or answers wait that the
 * peer does not take, the rest is left with the connection and TCP stops the sender.
 *
 * Writing: records are pulled by the pump as credit allows; answers, pongs and
 * pings go past the credit, but are bounded by what is read.
 *
 * Closing waits for the answers to messages that were taken: a client that
 * publishes and closes knows by our close frame that all of it is durable. Who
 * has not sent a close frame yet has CLOSE_NS for it.
 */
#include "serve/ws/ws_session.h"

#include "base/mem.h"
#include "json/json_write.h"
#include "serve/ws/ws_publish.h"

#define SECOND 1000000000ll
#define PING_NS (30 * SECOND)
#define AGAIN_NS (SECOND / 5)
#define CLOSE_NS (2 * SECOND) /* for the peer's close frame, then its end */
#define MESSAGE_BYTES_MAX (1u << 20)
#define SESSION_BYTES (sizeof(struct ws) + 16u) /* with the allocator's own */
#define ANSWER_BYTES_MAX (256u << 10)           /* beyond the credit, past which nothing is read */

/* ---- life ---- */

static void give_back_loop(struct ws_loop *l)
{
	if (l->count > 0)
		return;
	l->al->ws = NULL;
	app_guest_remove(&l->guest);
	loop_timer_stop(l->al->loop, &l->again);
	silence_fini(&l->open);
	silence_fini(&l->awaiting);
	pump_bufs_fini(&l->bufs);
	ws_messages_free(l);
	mem_free(l);
}

static struct budget_share *share_of(const struct ws_loop *l)
{
	return loop_share(l->al->loop);
}

/* What the parser holds of a message under way. */
static void charge_parser(struct ws *s)
{
	size_t held = ws_parser_held(&s->parser);

	budget_sub(share_of(s->loop), s->charged);
	budget_add(share_of(s->loop), held);
	s->charged = held;
}

/* Once nobody refers to it any more: neither the connection nor the log. */
static void free_session(struct ws *s)
{
	struct ws_loop *l = s->loop;

	if (s->conn || ws_publisher_in_flight(s->publisher))
		return;
	ws_publisher_free(s->publisher);
	budget_sub(share_of(l), SESSION_BYTES);
	mem_free(s);
	l->count--;
	give_back_loop(l);
}

/* Nothing is pulled and no deadline runs in the new state. */
static void leave_state(struct ws *s, enum ws_state next)
{
	pump_stop(&s->pump);
	silence_stop(s->state == WS_AWAITING ? &s->loop->awaiting : &s->loop->open, &s->silence);
	s->state = (uint8_t)next;
}

static void on_closed(void *ctx, enum conn_close_reason reason)
{
	struct ws *s = ctx;

	(void)reason;
	leave_state(s, WS_CLOSED);
	s->conn = NULL;
	ws_parser_fini(&s->parser);
	charge_parser(s);
	http_server_upgraded_closed(s->server, s->loop->al->loop);
	free_session(s);
}

/* ---- closing ---- */

static void end_connection(struct ws *s, int64_t linger_ns)
{
	leave_state(s, WS_CLOSED);
	conn_close(s->conn, linger_ns);
}

/* Once all answers are given. */
static void finish_close(struct ws *s)
{
	uint8_t frame[WS_CONTROL_FRAME_MAX];

	if (s->state != WS_CLOSING || ws_publisher_in_flight(s->publisher))
		return;
	(void)!conn_write(s->conn,
			  slice_make(frame, ws_frame_close(frame, s->close_code, slice_str(s->reason))));
	if (s->parser.state == WS_PARSER_ENDED || s->ended) {
		end_connection(s, CLOSE_NS);
		return;
	}
	leave_state(s, WS_AWAITING);
	silence_start(&s->loop->awaiting, &s->silence);
	conn_read_start(s->conn);
}

void ws_close(struct ws *s, uint16_t code, const char *reason)
{
	if (s->state != WS_OPEN)
		return;
	leave_state(s, WS_CLOSING);
	s->close_code = code;
	s->reason = reason;
	conn_read_stop(s->conn);
	finish_close(s);
}

void ws_cut(struct ws *s)
{
	if (!s->conn)
		return;
	leave_state(s, WS_CLOSED);
	conn_abort(s->conn);
}

/* ---- writing ---- */

size_t ws_room(const struct ws *s)
{
	size_t credit = budget_credit(share_of(s->loop), s->loop->credit);
	size_t pending = conn_pending(s->conn);

	return pending < credit ? credit - pending : 0;
}

static void write_bytes(struct ws *s, struct slice bytes)
{
	if (s->conn && s->state <= WS_CLOSING && conn_write(s->conn, bytes))
		ws_cut(s);
}

void ws_write_json(struct ws *s)
{
	struct slice json = buf_slice(&s->loop->bufs.json);
	uint8_t head[WS_HEADER_MAX];

	if (buf_status(&s->loop->bufs.json)) {
		ws_cut(s);
		return;
	}
	write_bytes(s, slice_make(head, ws_frame_header(head, WS_FIN | WS_TEXT, json.len)));
	write_bytes(s, json);
}

void ws_put_error(struct ws *s, struct slice id, int err, const char *detail)
{
	struct buf *b = &s->loop->bufs.json;

	buf_clear(b);
	json_put_open(b, '{');
	json_put_name(b, "error");
	json_put_open(b, '{');
	if (id.ptr) {
		json_put_name(b, "id");
		json_put_raw(b, id);
	}
	json_put_member_string(b, "code", slice_str(err_row(err)->code));
	json_put_name(b, "detail");
	json_put_string_lossy(b, slice_str(detail ? detail : err_row(err)->sentence));
	json_put_close(b, '}');
	json_put_close(b, '}');
}

static void write_control(struct ws *s, enum ws_opcode opcode, struct slice payload)
{
	uint8_t frame[WS_CONTROL_FRAME_MAX];

	write_bytes(s, slice_make(frame, ws_frame_control(frame, opcode, payload)));
}

/* ---- records ---- */

void ws_count_refusal(struct ws *s, int err)
{
	metric_add(s->loop->al->shard, METRIC_REFUSALS, metric_code(err), 1);
}

static void fail(struct ws *s, int err)
{
	if (err == ERR_CANCELLED) {
		ws_cut(s);
		return;
	}
	ws_count_refusal(s, err);
	ws_put_error(s, slice_null(), err, pump_error_text(err));
	ws_write_json(s);
	ws_close(s, err_row(err)->http_status >= 500 ? WS_CODE_INTERNAL : WS_CODE_POLICY,
		 err_row(err)->sentence);
}

static void run(struct ws *s)
{
	int rc;

	if (!s->pump.reader)
		return;
	rc = pump_run(&s->pump);
	s->again = rc == PUMP_AGAIN;
	if (s->again)
		loop_timer_set(s->loop->al->loop, &s->loop->again, AGAIN_NS);
	else if (rc < 0)
		fail(s, rc);
}

static void on_ready(void *ctx, struct reader *r)
{
	(void)r;
	run(ctx);
}

static void on_again(void *ctx)
{
	struct ws_loop *l = ctx;
	struct silence *at = silence_first(&l->open);

	while (at) {
		struct ws *s = (struct ws *)(void *)at;
		at = silence_after(&l->open, at);
		if (s->again)
			run(s);
	}
}

/* ---- reading ---- */

static bool may_read(const struct ws *s)
{
	if (s->state != WS_OPEN)
		return false;
	if (s->publisher && ws_publisher_full(s->publisher))
		return false;
	if (ws_publisher_in_flight(s->publisher) && budget_is_full(share_of(s->loop)))
		return false; /* one at a time */
	return conn_pending(s->conn) <= s->loop->credit + ANSWER_BYTES_MAX;
}

/* The error that a close code stands for. */
static int error_of(uint16_t code)
{
	switch (code) {
	case WS_CODE_TOO_BIG:
		return ERR_RECORD_TOO_LARGE;
	case WS_CODE_INTERNAL:
		return ERR_NOMEM;
	default:
		return ERR_PROTOCOL;
	}
}

static void on_message(struct ws *s, const struct ws_event *event)
{
	if (s->publisher) {
		ws_publish(s, event->opcode, event->bytes);
		return;
	}
	ws_count_refusal(s, ERR_FORBIDDEN);
	ws_close(s, WS_CODE_POLICY, "this connection subscribes: mode=publish or mode=both publishes");
}

static void on_event(struct ws *s, const struct ws_event *event)
{
	switch (event->kind) {
	case WS_EVENT_MESSAGE:
		on_message(s, event);
		break;
	case WS_EVENT_PING:
		write_control(s, WS_PONG, event->bytes);
		break;
	case WS_EVENT_CLOSE:
		ws_close(s, event->code, NULL);
		break;
	case WS_EVENT_FAIL:
		ws_count_refusal(s, error_of(event->code));
		ws_close(s, event->code, (const char *)event->bytes.ptr);
		break;
	case WS_EVENT_PONG:
	case WS_EVENT_MORE:
		break;
	}
}

/*
 * The slice is const as everything that net shows, but lies in memory that is
 * written to: the loop's read buffer, or what it kept of it. The parser unmasks
 * in place what it takes, and only that.
 */
static uint8_t *writable(struct slice bytes)
{
	return (uint8_t *)(uintptr_t)bytes.ptr;
}

/* Messages that were under way are dropped unread: we have closed. */
static size_t await_close(struct ws *s, struct slice bytes)
{
	struct ws_event event = {.kind = WS_EVENT_PONG};
	size_t taken = 0;

	while (event.kind != WS_EVENT_MORE && s->parser.state != WS_PARSER_ENDED) {
		size_t n;
		(void)ws_parser_next(&s->parser, writable(bytes) + taken, bytes.len - taken, &n, &event);
		taken += n;
	}
	if (s->parser.state == WS_PARSER_ENDED)
		end_connection(s, event.kind == WS_EVENT_CLOSE ? 0 : CLOSE_NS);
	return bytes.len;
}

/* A message that comes in pieces, with the budget full, is one that cannot be taken. */
static void charge_message(struct ws *s)
{
	size_t before = s->charged;

	if (before == 0 && ws_parser_held(&s->parser) == 0)
		return;
	charge_parser(s);
	if (s->charged <= before || !budget_is_full(share_of(s->loop)))
		return;
	ws_count_refusal(s, ERR_OVERLOADED);
	ws_close(s, WS_CODE_TRY_LATER, "the memory that is set aside for clients is in use");
}

static size_t on_bytes(void *ctx, struct slice bytes)
{
	struct ws *s = ctx;
	struct ws_event event = {.kind = WS_EVENT_PONG};
	size_t taken = 0;

	if (s->state == WS_AWAITING)
		return await_close(s, bytes);
	if (s->state != WS_OPEN)
		return 0;
	s->pinged = false;
	silence_break(&s->loop->open, &s->silence);
	while (event.kind != WS_EVENT_MORE && may_read(s)) {
		size_t n;
		(void)ws_parser_next(&s->parser, writable(bytes) + taken, bytes.len - taken, &n, &event);
		taken += n;
		on_event(s, &event);
	}
	charge_message(s);
	if (s->state != WS_OPEN)
		return taken;
	if (event.kind != WS_EVENT_MORE) {
		s->paused = true;
		conn_read_stop(s->conn);
	}
	return taken;
}

static void resume(struct ws *s)
{
	if (!s->paused || !may_read(s))
		return;
	s->paused = false;
	conn_read_start(s->conn);
}

void ws_settle(struct ws *s)
{
	if (!s->conn) {
		free_session(s);
		return;
	}
	finish_close(s);
	resume(s);
}

static void on_drained(void *ctx)
{
	struct ws *s = ctx;

	run(s);
	resume(s);
}

/* It may have ended its half only, but a WebSocket without a close frame is broken either way. */
static void on_end(void *ctx)
{
	struct ws *s = ctx;

	s->ended = true;
	if (s->state == WS_AWAITING)
		end_connection(s, 0);
	else
		ws_close(s, WS_CODE_NONE, NULL);
}

static const struct conn_session session = {
	.on_bytes = on_bytes,
	.on_drained = on_drained,
	.on_end = on_end,
	.on_closed = on_closed,
};

/* ---- silence ---- */

/* A peer that takes what waits for it lives, though it cannot have seen our ping yet. */
static bool makes_progress(const struct ws *s)
{
	return conn_pending(s->conn) > 0 && conn_bytes_out(s->conn) != s->out_at_ping;
}

static bool on_silent(void *ctx, struct silence *at)
{
	struct ws *s = (struct ws *)(void *)at;

	(void)ctx;
	if (s->pinged && !makes_progress(s)) {
		ws_cut(s);
		return true;
	}
	if (!s->pinged)
		write_control(s, WS_PING, slice_make("", 0));
	s->pinged = true;
	if (s->conn)
		s->out_at_ping = conn_bytes_out(s->conn);
	return true;
}

static bool on_no_close(void *ctx, struct silence *at)
{
	(void)ctx;
	ws_cut((struct ws *)(void *)at);
	return true;
}

static void leave(void *ctx)
{
	struct ws_loop *l = ctx;
	struct silence *at = silence_first(&l->open);

	while (at) {
		struct ws *s = (struct ws *)(void *)at;
		at = silence_after(&l->open, at);
		ws_close(s, WS_CODE_GOING_AWAY, "weir is stopping");
	}
}

/* ---- beginning ---- */

static struct ws_loop *take_loop(const struct app *app, struct app_loop *al, size_t credit)
{
	struct ws_loop *l = al->ws;

	if (l)
		return l;
	l = mem_zalloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->app = app;
	l->al = al;
	l->credit = credit;
	l->guest.leave = leave;
	l->guest.ctx = l;
	app_guest_add(al, &l->guest);
	silence_init(&l->open, al->loop, app->limits.ws_ping_ns ? app->limits.ws_ping_ns : PING_NS, on_silent,
		     l);
	silence_init(&l->awaiting, al->loop, CLOSE_NS, on_no_close, l);
	loop_timer_init(&l->again, on_again, l);
	pump_bufs_init(&l->bufs);
	al->ws = l;
	return l;
}

/* Without a connection yet. NULL without memory. */
static struct ws *new_session(struct exchange *x, const struct ws_ask *ask,
			      const struct ws_handshake *handshake)
{
	const struct app *app = x->app;
	struct ws_parser_options options = {
		.inflate_bits = handshake->deflate.on ? handshake->deflate.inflate_bits : 0,
		.message_bytes_max =
			app->limits.ws_message_max ? app->limits.ws_message_max : MESSAGE_BYTES_MAX,
	};
	struct ws *s = mem_zalloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->loop = take_loop(app, app_loop(app, x->loop), http_server_options(x->server)->stream_bytes_max);
	if (s->loop && ask->publishes)
		s->publisher = ws_publisher_new(ask->stream.topics[0], ask);
	if (s->loop) {
		s->loop->count++;
		budget_add(share_of(s->loop), SESSION_BYTES);
	}
	if (!s->loop || (ask->publishes && !s->publisher)) {
		if (s->loop)
			free_session(s);
		else
			mem_free(s);
		return NULL;
	}
	s->server = x->server;
	ws_parser_init(&s->parser, &options);
	return s;
}

static void start_pump(struct ws *s, const struct ws_ask *ask, struct reader *reader)
{
	const struct pump pump = {
		.kind = &ws_kinds[ask->form],
		.ctx = s,
		.sys = s->loop->app->sys,
		.al = s->loop->al,
		.bufs = &s->loop->bufs,
		.reader = reader,
		.names_topic = ask->stream.topic_count > 1,
	};

	pump_start(&s->pump, &pump);
}

int ws_start(struct exchange *x, const struct ws_ask *ask, const struct ws_handshake *handshake)
{
	struct reader *reader = NULL;
	struct fault fault = {0};
	struct ws *s = new_session(x, ask, handshake);
	int rc = 0;

	if (!s)
		return ERR_NOMEM;
	if (ask->subscribes)
		rc = stream_ask_open(&ask->stream, x, WAY_WS, on_ready, s, &reader, &fault);
	if (rc == 0)
		rc = exchange_upgrade(x, "websocket", &session, s, &s->conn);
	if (rc) {
		s->conn = NULL;
		reader_close(reader);
		free_session(s);
		return stream_ask_refuse(x, rc, &fault);
	}
	silence_start(&s->loop->open, &s->silence);
	if (reader)
		start_pump(s, ask, reader);
	run(s);
	return 0;
}
