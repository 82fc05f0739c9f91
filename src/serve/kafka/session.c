/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection: frames in, calls begun in order, answers out in order. Nothing
 * is refused for want of room: the client is not read from until there is some,
 * as it expects of a broker.
 */
#include "serve/kafka/session.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/wire.h"
#include "obs/say.h"
#include "serve/kafka/handlers.h"

#define OUTPUT_HIGH ((size_t)1 << 20) /* answers that wait: no further request is begun */
#define OUTPUT_MAX ((size_t)1 << 31)  /* of one connection; a Fetch says itself how much it takes */
/* Measured: bench/README.md. Fetches of a megabyte take two thirds of the time of what the kernel chooses. */
#define NEAR_SEND_BUFFER (256u << 10)
#define LINGER_NS 2000000000ll
#define ROOM_MIN ((size_t)32 << 10) /* less of a request comes with what is behind it: copied, in one read */
#define RETRY_NS \
	100000000ll /* until the budget is asked again, and what one that goes ahead has for its next bytes */

/* ---- ends ---- */

static void free_if_done(struct kafka_session *s)
{
	if (s->conn || s->first || s->turn.queued)
		return;
	kafka_framer_fini(&s->framer);
	login_state_fini(&s->login);
	budget_sub(loop_share(s->ctx->loop), sizeof(*s) + s->charged);
	mem_free(s);
}

/* The first reason is told, once a connection. */
static void say_why(struct kafka_session *s, const char *why)
{
	if (!s->said && why)
		say(SAY_INFO, "kafka_closed", "a connection of the Kafka port is closed: %s peer=%s", why,
		    s->peer);
	s->said = true;
}

static void close_session(struct kafka_session *s)
{
	if (s->closing || !s->conn)
		return;
	s->closing = true;
	loop_timer_stop(s->ctx->loop, &s->timer);
	if (s->leaving)
		conn_finish(s->conn, LINGER_NS);
	else
		conn_close(s->conn, LINGER_NS);
}

/* Begun, and waiting for something that nobody will be told of. */
static struct kafka_call *find_parked(const struct kafka_session *s)
{
	struct kafka_call *call = s->first;

	while (call && !(call->handler && !call->handler->home && call->parked))
		call = call->next;
	return call;
}

/* Each ends its call, and is then no longer in the list. */
static void end_parked(struct kafka_session *s)
{
	struct kafka_call *call;

	while ((call = find_parked(s))) {
		struct app_guest *guest = call->parked;
		call->parked = NULL;
		app_guest_remove(guest);
		guest->leave(guest->ctx);
	}
}

/*
 * Nothing comes any more; what was asked is answered first. A client that has ended waits for nothing, as Kafka
 * sees it: what is parked is answered now.
 */
static void end_session(struct kafka_session *s)
{
	s->ending = true;
	end_parked(s);
	if (!s->first)
		close_session(s);
}

void kafka_session_leave(struct kafka_session *s)
{
	s->leaving = true;
	end_session(s);
}

void kafka_session_refuse(struct kafka_session *s, const char *why)
{
	say_why(s, why);
	end_session(s);
}

/* ---- deadlines ---- */

static void arm(struct kafka_session *s, int64_t at_ns)
{
	struct loop *loop = s->ctx->loop;
	int64_t now = loop_now(loop);

	if (s->closing || (s->timer_at_ns && s->timer_at_ns <= at_ns))
		return;
	s->timer_at_ns = at_ns;
	loop_timer_set(loop, &s->timer, at_ns > now ? at_ns - now : 1);
}

static void watch_output(struct kafka_session *s)
{
	int64_t now = loop_now(s->ctx->loop);

	if (s->out_at_ns == 0) {
		s->out_at_ns = now;
		s->out_bytes = conn_bytes_out(s->conn);
	}
	arm(s, s->out_at_ns + s->ctx->server->options.write_timeout_ns);
}

static bool output_stands(struct kafka_session *s, int64_t now)
{
	if (s->out_at_ns == 0 || conn_pending(s->conn) == 0) {
		s->out_at_ns = 0;
		return false;
	}
	if (conn_bytes_out(s->conn) != s->out_bytes) {
		s->out_at_ns = now;
		s->out_bytes = conn_bytes_out(s->conn);
	}
	return now - s->out_at_ns >= s->ctx->server->options.write_timeout_ns;
}

static void on_timer(void *ctx)
{
	struct kafka_session *s = ctx;
	const struct kafka_server_options *o = &s->ctx->server->options;
	int64_t now = loop_now(s->ctx->loop);

	s->timer_at_ns = 0;
	if (s->closing)
		return;
	if (output_stands(s, now)) {
		say_why(s, "the client takes no answers");
		s->closing = true;
		conn_abort(s->conn);
		return;
	}
	if (s->stopped)
		loop_at_turn_end(s->ctx->loop, &s->turn);
	if (!s->first && now - s->last_ns >= o->idle_timeout_ns) {
		close_session(s);
		return;
	}
	if (s->out_at_ns)
		arm(s, s->out_at_ns + o->write_timeout_ns);
	arm(s, (s->first ? now : s->last_ns) + o->idle_timeout_ns);
}

/* ---- memory ---- */

static bool has_half_a_frame(const struct kafka_session *s)
{
	return s->framer.gathered.len > 0;
}

/* The first that asks, until its request is answered; who stands still makes room for others. */
static bool goes_ahead(struct kafka_session *s)
{
	struct kafka_loop *ctx = s->ctx;
	int64_t now = loop_now(ctx->loop);

	if (ctx->ahead != s && ctx->ahead && now - ctx->ahead->last_ns < RETRY_NS)
		return false;
	ctx->ahead = s;
	s->last_ns = now;
	return true;
}

/*
 * With the budget full nobody begins anything, and of the requests of which half is
 * here one a loop goes on past it: if none did, none would ever end. Rejected: to count
 * a frame with the length that it claims, as Kafka does, so that who claims much and
 * sends nothing holds the memory of all.
 */
static bool budget_waits(struct kafka_session *s)
{
	if (!budget_is_full(loop_share(s->ctx->loop)) || (has_half_a_frame(s) && goes_ahead(s)))
		return false;
	arm(s, loop_now(s->ctx->loop) + RETRY_NS);
	return true;
}

/* Who went ahead has ended what it went for: the next one may, and the others as far as there is room again. */
static void pass_on(struct kafka_session *s)
{
	struct kafka_loop *ctx = s->ctx;
	struct kafka_session *next = s;

	if (ctx->ahead != s || (!s->closing && (s->first || has_half_a_frame(s))))
		return;
	ctx->ahead = NULL;
	while ((next = next->next ? next->next : ctx->sessions) != s) {
		if (!next->stopped || !has_half_a_frame(next))
			continue;
		loop_at_turn_end(ctx->loop, &next->turn);
		if (budget_is_full(loop_share(ctx->loop)))
			return;
	}
}

/* ---- answers ---- */

/* What is written holds references of its own; a file's goes with it. */
static int write_records(struct kafka_session *s, const struct kafka_records *records)
{
	for (struct kafka_source *at = (struct kafka_source *)(uintptr_t)records->source; at; at = at->next) {
		struct file_ref *file = at->file;
		int rc;
		at->file = NULL;
		rc = file ? conn_write_file(s->conn, file, at->file_at, at->part.len) :
			    conn_write_blob(s->conn, at->blob, at->part);
		if (rc)
			return rc;
	}
	return 0;
}

/* The answer to a token without a header has none either. */
static int put_token(struct buf *out, struct slice token)
{
	uint8_t head[4];

	wire_put_u32(head, (uint32_t)token.len);
	(void)buf_append(out, head, sizeof(head));
	return buf_append_slice(out, token);
}

static int write_answer(struct kafka_session *s, struct kafka_call *call)
{
	struct buf *out = &app_loop(call->app, s->ctx->loop)->scratch;
	size_t at = 0;
	int rc;

	buf_clear(out);
	if (call->header.api)
		rc = kafka_response_write(&call->header, call->answer, out, call->cuts);
	else
		rc = put_token(out, *(const struct slice *)call->answer);
	for (size_t i = 0; rc == 0 && call->cuts && i < call->cuts->count; i++) {
		const struct kafka_cut *cut = &call->cuts->list[i];
		rc = conn_write(s->conn, slice_make(out->ptr + at, cut->at - at));
		if (rc == 0)
			rc = write_records(s, cut->records);
		at = cut->at;
	}
	if (rc == 0)
		rc = conn_write(s->conn, slice_from(buf_slice(out), at));
	if (rc)
		say_why(s, rc == ERR_LIMIT ? "an answer over every limit" : "no memory for an answer");
	return rc;
}

static void count_answer(struct kafka_session *s, const struct kafka_call *call)
{
	const struct kafka_server_options *o = &s->ctx->server->options;

	if (o->answered && call->header.api)
		o->answered(o->ctx, s->ctx->number, (uint32_t)(call->header.api - kafka_apis),
			    loop_now(s->ctx->loop) - call->came_ns);
}

static void finish_call(struct kafka_session *s, struct kafka_call *call)
{
	bool fine = s->conn && !s->closing;

	if (fine && call->end == KAFKA_CALL_FAILED) {
		say_why(s, call->why);
		close_session(s);
	} else if (fine && call->end == KAFKA_CALL_ANSWERED) {
		count_answer(s, call);
		if (write_answer(s, call))
			close_session(s);
	}
	s->bytes -= call->frame.len;
	kafka_call_release(call);
}

/* What is at the head of the list and has ended leaves it. */
static void flush_answers(struct kafka_session *s)
{
	struct kafka_call *call;

	while ((call = s->first) && call->end != KAFKA_CALL_OPEN) {
		s->first = call->next;
		if (!s->first)
			s->last = NULL;
		finish_call(s, call);
	}
}

void kafka_session_ended(struct kafka_session *s)
{
	s->running--;
	flush_answers(s);
	if (!s->conn) {
		loop_at_turn_end(s->ctx->loop, &s->turn); /* who ended the call may still be inside it */
		return;
	}
	s->last_ns = loop_now(s->ctx->loop);
	if (conn_pending(s->conn) && !s->closing)
		watch_output(s);
	if (s->ending && !s->first)
		close_session(s);
	else if (s->stopped)
		loop_at_turn_end(s->ctx->loop, &s->turn);
	pass_on(s);
}

/* ---- beginning ---- */

/* May another request be begun, or read at all? */
static bool has_room(const struct kafka_session *s)
{
	const struct kafka_server_options *o = &s->ctx->server->options;

	return conn_pending(s->conn) <= OUTPUT_HIGH && s->running < o->in_flight_max &&
	       (s->running == 0 || s->bytes < o->in_flight_bytes_max);
}

/* Others of the same API may run beside it; everything else waits until nothing runs. */
static bool may_begin(const struct kafka_session *s, const struct kafka_call *call)
{
	if (!has_room(s))
		return false;
	return s->running == 0 || (call->handler->together && s->first->handler == call->handler);
}

static void begin(struct kafka_session *s, struct kafka_call *call)
{
	s->running++;
	kafka_call_begin(call);
}

/* An ApiVersions of a version that nobody knows is answered all the same (KIP-511). */
static void answer_versions(struct kafka_call *call)
{
	struct kafka_api_versions_response *out =
		kafka_call_array(call, &kafka_api_versions_response_layout, 1);

	if (!out) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	kafka_versions_unsupported(&call->header, out);
	kafka_call_answer(call, out);
}

static void append(struct kafka_session *s, struct kafka_call *call)
{
	if (s->last)
		s->last->next = call;
	else
		s->first = call;
	s->last = call;
	s->bytes += call->frame.len;
}

/* A frame has come. 0, or -1: no further one is wanted now. */
static int take_frame(struct kafka_session *s, struct slice frame)
{
	struct kafka_call *call = kafka_call_take(s, frame);
	int rc;

	if (!call) {
		say_why(s, "no memory for a request");
		close_session(s);
		return -1;
	}
	append(s, call);
	if (s->login.raw) { /* a token of SaslHandshake 0: no header */
		s->running++;
		login_raw_token(call);
		return 0;
	}
	rc = kafka_header_read(buf_slice(&call->frame), &call->header, &call->body);
	if (rc) {
		s->running++;
		if (rc == ERR_UNSUPPORTED_API && call->header.key == KAFKA_API_VERSIONS)
			answer_versions(call);
		else
			kafka_call_fail(call, rc == ERR_MALFORMED ?
						      "a request whose header is not well formed" :
						      "a request of an API or version that is not served");
		return s->closing ? -1 : 0;
	}
	call->handler = kafka_handler_of(call->header.api);
	if (may_begin(s, call)) {
		begin(s, call);
		return s->closing ? -1 : 0;
	}
	s->waiting = call;
	return -1;
}

static void refuse_bytes(struct kafka_session *s)
{
	const char *stranger = kafka_framer_stranger(&s->framer);
	const struct kafka_server_options *o = &s->ctx->server->options;

	if (stranger && *stranger == 'H')
		say(SAY_WARNING, "kafka_http",
		    "HTTP came to the Kafka port; HTTP is served at http://%s peer=%s",
		    o->http_address ? o->http_address : "(off)", s->peer);
	else if (stranger)
		say(SAY_WARNING, "kafka_tls",
		    "a TLS handshake came to the Kafka port, which is plain peer=%s", s->peer);
	else if (s->framer.error == ERR_LIMIT)
		say(SAY_WARNING, "kafka_too_large",
		    "a request is over kafka.request_bytes_max; its connection is closed bytes=%u limit=%zu peer=%s",
		    s->framer.claimed, o->request_bytes_max, s->peer);
	else
		say_why(s, s->framer.error == ERR_NOMEM ? "no memory for a request" :
							  "what came is no request of Kafka's protocol");
	s->said = true;
	close_session(s);
}

static void charge_framer(struct kafka_session *s)
{
	struct budget_share *share = loop_share(s->ctx->loop);
	size_t held = kafka_framer_held(&s->framer);

	if (held > s->charged)
		budget_add(share, held - s->charged);
	else
		budget_sub(share, s->charged - held);
	s->charged = held;
}

static void stop_reading(struct kafka_session *s)
{
	s->stopped = true;
	conn_read_stop(s->conn);
}

/* The rest of a long request goes straight to its place, where nothing has to wait. */
static size_t on_room(void *ctx, uint8_t **to)
{
	struct kafka_session *s = ctx;
	size_t room;

	if (s->closing || s->ending || s->waiting || !has_room(s) || budget_is_full(loop_share(s->ctx->loop)))
		return 0;
	room = kafka_framer_room(&s->framer, ROOM_MIN, to);
	charge_framer(s);
	return room;
}

static size_t on_bytes(void *ctx, struct slice bytes)
{
	struct kafka_session *s = ctx;
	bool wait = !kafka_framer_in_place(&s->framer, bytes); /* those have their memory already */
	size_t taken, all = 0;
	struct slice frame;

	s->last_ns = loop_now(s->ctx->loop);
	if (s->timer_at_ns == 0)
		arm(s, s->last_ns + s->ctx->server->options.idle_timeout_ns);
	while (!s->closing && !s->ending && all < bytes.len) {
		enum kafka_frame_event event;
		if (wait && (s->waiting || !has_room(s) || budget_waits(s))) {
			stop_reading(s);
			break;
		}
		wait = true;
		event = kafka_framer_next(&s->framer, slice_from(bytes, all), &taken, &frame);
		all += taken;
		if (event == KAFKA_FRAME_FAIL)
			refuse_bytes(s);
		if (event == KAFKA_FRAME_GIVEN && take_frame(s, frame) && !s->closing) {
			stop_reading(s);
			break;
		}
	}
	charge_framer(s);
	pass_on(s);
	return s->closing || s->ending ? bytes.len : all;
}

/* There is room again: what waits begins, and reading goes on. */
static void on_turn(void *ctx)
{
	struct kafka_session *s = ctx;
	struct kafka_call *call = s->waiting;

	if (!s->conn) {
		free_if_done(s);
		return;
	}
	if (s->closing || !s->stopped)
		return;
	if (call) {
		if (!may_begin(s, call))
			return;
		s->waiting = NULL;
		begin(s, call);
	}
	if (s->closing || !has_room(s) || budget_waits(s))
		return;
	s->stopped = false;
	conn_read_start(s->conn);
}

/* ---- the connection ---- */

static void on_drained(void *ctx)
{
	struct kafka_session *s = ctx;

	s->out_at_ns = 0;
	if (s->stopped)
		loop_at_turn_end(s->ctx->loop, &s->turn);
}

static void on_end(void *ctx)
{
	end_session(ctx);
}

static void on_closed(void *ctx, enum conn_close_reason reason)
{
	struct kafka_session *s = ctx;
	const struct kafka_server_options *o = &s->ctx->server->options;

	(void)reason;
	loop_timer_stop(s->ctx->loop, &s->timer);
	s->conn = NULL;
	s->closing = true;
	pass_on(s);
	*s->prev = s->next;
	if (s->next)
		s->next->prev = s->prev;
	if (s->waiting) { /* nobody will begin it */
		s->waiting->end = KAFKA_CALL_SILENT;
		s->waiting = NULL;
	}
	end_parked(s);
	flush_answers(s);
	if (o->connections)
		o->connections(o->ctx, s->ctx->number, -1);
	free_if_done(s);
}

static const struct conn_session callbacks = {
	.on_bytes = on_bytes,
	.on_room = on_room,
	.on_drained = on_drained,
	.on_end = on_end,
	.on_closed = on_closed,
};

int kafka_session_start(struct kafka_loop *ctx, struct conn *c)
{
	const struct kafka_server_options *o = &ctx->server->options;
	struct kafka_session *s = mem_zalloc(1, sizeof(*s));
	struct conn_peer peer;

	if (!s)
		return ERR_NOMEM;
	s->ctx = ctx;
	s->conn = c;
	kafka_framer_init(&s->framer, o->request_bytes_max);
	conn_peer(c, &peer);
	memcpy(s->peer, peer.text, sizeof(s->peer));
	conn_local(c, s->local);
	s->login.user = "";
	s->turn = (struct loop_turn){.run = on_turn, .ctx = s};
	loop_timer_init(&s->timer, on_timer, s);
	s->last_ns = loop_now(ctx->loop);
	s->next = ctx->sessions;
	if (s->next)
		s->next->prev = &s->next;
	s->prev = &ctx->sessions;
	ctx->sessions = s;
	budget_add(loop_share(ctx->loop), sizeof(*s));
	conn_set_session(c, &callbacks, s);
	conn_set_output_max(c, OUTPUT_MAX);
	if (peer.loopback)
		conn_set_send_buffer(c, NEAR_SEND_BUFFER);
	arm(s, s->last_ns + o->idle_timeout_ns);
	if (o->connections)
		o->connections(o->ctx, ctx->number, 1);
	return 0;
}
