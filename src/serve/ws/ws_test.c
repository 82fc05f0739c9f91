/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/ws/ws_handshake.h"
#include "proto/ws/ws_parser.h"
#include "serve/stream/stream_world.h"
#include "serve/ws/ws_routes.h"

/* A client over the other half of the codec. */
struct client {
	struct peer peer;
	struct ws_parser parser;
	size_t taken; /* of peer.bytes, by the parser */
};

static const uint8_t mask[4] = {1, 2, 3, 4};

static void up(struct world *w, bool auto_create)
{
	world_up(w, ws_routes, ws_route_count, auto_create);
}

static void send_upgrade(struct client *c, const struct world *w, const char *target, const char *protocol)
{
	const struct ws_client_options options = {.host = SLICE_LIT("localhost"),
						  .target = slice_str(target),
						  .protocol = protocol};
	const struct ws_parser_options parser = {.client = true, .message_bytes_max = 1u << 24};
	const uint8_t nonce[16] = {1};
	struct ws_client hello;
	struct buf b;

	*c = (struct client){.taken = 0};
	buf_init(&b, 4096);
	assert_int_equal(ws_client_request(&hello, &options, nonce, slice_null(), &b), 0);
	peer_open(&c->peer, w);
	peer_send(&c->peer, b.ptr, b.len);
	buf_fini(&b);
	ws_parser_init(&c->parser, &parser);
}

static void open_ws(struct client *c, const struct world *w, const char *target, const char *protocol)
{
	char *head;

	send_upgrade(c, w, target, protocol);
	peer_expect(&c->peer, "HTTP/1.1 101 ");
	head = peer_until(&c->peer, "\r\n\r\n");
	assert_non_null(strstr(head, "Sec-WebSocket-Accept: "));
	assert_int_equal(protocol != NULL, strstr(head, "Sec-WebSocket-Protocol: weir.v1") != NULL);
	mem_free(head);
}

static void close_ws(struct client *c)
{
	ws_parser_fini(&c->parser);
	peer_close(&c->peer);
}

static void send_frame(struct client *c, uint32_t first, const char *bytes, size_t n)
{
	struct buf b;

	buf_init(&b, n + 64);
	assert_int_equal(ws_frame_append_masked(&b, first, slice_make(bytes, n), mask), 0);
	peer_send(&c->peer, b.ptr, b.len);
	buf_fini(&b);
}

static void say_text(struct client *c, const char *text)
{
	send_frame(c, WS_FIN | WS_TEXT, text, strlen(text));
}

/* The next event; its bytes live until the next call. */
static struct ws_event next_event(struct client *c)
{
	struct ws_event event;
	size_t n;

	for (;;) {
		(void)ws_parser_next(&c->parser, (uint8_t *)c->peer.bytes + c->taken, c->peer.len - c->taken,
				     &n, &event);
		c->taken += n;
		if (event.kind != WS_EVENT_MORE)
			return event;
		peer_pass(&c->peer, c->taken);
		c->taken = 0;
		if (!peer_more(&c->peer))
			return (struct ws_event){.kind = WS_EVENT_MORE};
	}
}

static void expect_message(struct client *c, enum ws_opcode opcode, const char *part)
{
	struct ws_event e = next_event(c);

	assert_int_equal(e.kind, WS_EVENT_MESSAGE);
	assert_int_equal(e.opcode, opcode);
	if (!memmem(e.bytes.ptr, e.bytes.len, part, strlen(part)))
		fail_msg("'%s' is not in '%.*s'", part, (int)e.bytes.len, (const char *)e.bytes.ptr);
}

static void expect_whole(struct client *c, enum ws_opcode opcode, const char *text)
{
	struct ws_event e = next_event(c);

	assert_int_equal(e.kind, WS_EVENT_MESSAGE);
	assert_int_equal(e.opcode, opcode);
	if (!slice_eq_str(e.bytes, text))
		fail_msg("expected '%s', got '%.*s'", text, (int)e.bytes.len, (const char *)e.bytes.ptr);
}

static void expect_close(struct client *c, uint16_t code)
{
	struct ws_event e = next_event(c);

	assert_int_equal(e.kind, WS_EVENT_CLOSE);
	assert_int_equal(e.code, code);
}

static void expect_refusal(const struct world *w, const char *target, const char *protocol, const char *code)
{
	struct client c;
	char text[64];

	send_upgrade(&c, w, target, protocol);
	(void)snprintf(text, sizeof(text), "\"code\":\"%s\"", code);
	peer_expect(&c.peer, text);
	close_ws(&c);
}

/* ---- subscribing ---- */

static void records_come_in_each_form(void **state)
{
	struct world w = {0};
	struct client json, raw, v1;

	(void)state;
	up(&w, true);
	world_put(&w, "/v1/topics/t/records", "{ \"a\":1 }");
	assert_int_equal(world_request(&w, "POST", "/v1/topics/t/records", "application/octet-stream", "\xff",
				       1),
			 200);
	open_ws(&json, &w, "/v1/topics/t/ws?cursor=earliest", NULL);
	open_ws(&raw, &w, "/v1/topics/t/ws?cursor=earliest&format=raw", NULL);
	open_ws(&v1, &w, "/v1/topics/t/ws?mode=both&cursor=earliest", "weir.v1");
	expect_message(&json, WS_TEXT, "\"value\":{ \"a\":1 },\"cursor\":\"");
	expect_message(&json, WS_TEXT, "\"value_base64\":\"/w==\",\"cursor\":\"");
	expect_whole(&raw, WS_TEXT, "{ \"a\":1 }");
	expect_whole(&raw, WS_BINARY, "\xff");
	expect_message(&v1, WS_TEXT, "{\"record\":{\"topic\":\"t\",");
	world_put(&w, "/v1/topics/t/records", "2");
	expect_message(&json, WS_TEXT, "\"value\":2,");
	expect_whole(&raw, WS_TEXT, "2");
	close_ws(&json);
	close_ws(&raw);
	close_ws(&v1);
	world_down(&w);
}

static void several_partitions_and_a_key(void **state)
{
	struct world w = {0};
	struct client all, one, v1;
	char path[64];

	(void)state;
	up(&w, true);
	world_topic(&w, "/v1/topics/t", "{\"partitions\":3}");
	open_ws(&all, &w, "/v1/topics/t/ws?cursor=earliest&partitions=0-1", NULL);
	open_ws(&one, &w, "/v1/topics/t/ws?cursor=earliest&key=k&format=raw", NULL);
	open_ws(&v1, &w, "/v1/ws?topics=t,u&cursor=earliest", "weir.v1");
	for (int i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "/v1/topics/t/records?partition=%d", i);
		world_put(&w, path, i ? "\"one\"" : "\"zero\"");
		expect_message(&all, WS_TEXT,
			       i ? "\"value\":\"one\",\"cursor\":\"" : "\"value\":\"zero\",\"cursor\":\"");
		expect_message(&v1, WS_TEXT,
			       i ? "\"value\":\"one\",\"cursor\":\"" : "\"value\":\"zero\",\"cursor\":\"");
	}
	world_put(&w, "/v1/topics/t/records?key=other", "1");
	world_put(&w, "/v1/topics/t/records?key=k", "2");
	expect_whole(&one, WS_TEXT, "2");
	close_ws(&all);
	close_ws(&one);
	close_ws(&v1);
	world_down(&w);
}

static void a_deleted_topic_is_told_and_closed(void **state)
{
	struct world w = {0};
	struct client c;

	(void)state;
	up(&w, true);
	world_put(&w, "/v1/topics/t/records", "1");
	open_ws(&c, &w, "/v1/topics/t/ws", NULL);
	assert_in_range(world_request(&w, "DELETE", "/v1/topics/t", "text/plain", "", 0), 200, 204);
	expect_whole(&c, WS_TEXT,
		     "{\"error\":{\"code\":\"unknown_topic\",\"detail\":\"The topic was deleted\"}}");
	expect_close(&c, WS_CODE_POLICY);
	close_ws(&c);
	world_down(&w);
}

/* ---- publishing ---- */

static void acks_come_in_order_and_before_the_close(void **state)
{
	struct world w = {0};
	struct client c;
	char text[64];

	(void)state;
	up(&w, true);
	open_ws(&c, &w, "/v1/topics/t/ws?mode=publish&ack=1", NULL);
	for (int i = 0; i < 1500; i++) /* more than may be in flight */
		say_text(&c, "{\"n\":1}");
	send_frame(&c, WS_FIN | WS_CLOSE, "\x03\xe8", 2);
	for (int i = 0; i < 1500; i++) {
		(void)snprintf(text, sizeof(text), "{\"ack\":{\"partition\":0,\"offset\":%d}}", i);
		expect_whole(&c, WS_TEXT, text);
	}
	expect_close(&c, WS_CODE_NORMAL);
	assert_int_equal(next_event(&c).kind, WS_EVENT_MORE);
	close_ws(&c);
	world_down(&w);
}

static void both_gives_and_takes_values(void **state)
{
	struct world w = {0};
	struct client c;

	(void)state;
	up(&w, true);
	open_ws(&c, &w, "/v1/topics/t/ws?mode=both", NULL);
	say_text(&c, "hello");
	expect_whole(&c, WS_TEXT, "hello");
	send_frame(&c, WS_FIN | WS_BINARY, "\xfe", 1);
	expect_whole(&c, WS_BINARY, "\xfe");
	close_ws(&c);
	world_down(&w);
}

static void the_subprotocol_answers_by_id(void **state)
{
	struct world w = {0};
	struct client c;

	(void)state;
	up(&w, true);
	open_ws(&c, &w, "/v1/topics/t/ws?mode=publish", "weir.v1");
	say_text(
		&c,
		"{\"publish\":{\"id\":\"a\",\"key\":\"k\",\"headers\":{\"h\":\"v\"},\"value\":{ },\"idempotency_key\":\"i\"}}");
	expect_whole(&c, WS_TEXT,
		     "{\"ack\":{\"id\":\"a\",\"partition\":0,\"offset\":0,\"duplicate\":false}}");
	say_text(
		&c,
		"{\"publish\":{\"id\":2,\"key\":\"k\",\"headers\":{\"h\":\"v\"},\"value\":{ },\"idempotency_key\":\"i\"}}");
	expect_whole(&c, WS_TEXT, "{\"ack\":{\"id\":2,\"partition\":0,\"offset\":0,\"duplicate\":true}}");
	say_text(&c, "{\"publish\":{\"id\":3,\"value\":5,\"idempotency_key\":\"i\"}}");
	expect_message(&c, WS_TEXT, "{\"error\":{\"id\":3,\"code\":\"idempotency_key_reused\",\"detail\":\"");
	say_text(&c, "{\"publish\":{\"id\":4}}");
	expect_message(&c, WS_TEXT, "{\"error\":{\"id\":4,\"code\":\"invalid_record\",\"detail\":\"");
	say_text(&c, "{\"publish\":");
	expect_message(&c, WS_TEXT, "{\"error\":{\"code\":\"invalid_json\",\"detail\":\"");
	say_text(&c, "[1]");
	expect_message(&c, WS_TEXT, "{\"error\":{\"code\":\"invalid_record\",\"detail\":\"A message is ");
	say_text(&c, "{\"publish\":{\"id\":5,\"value\":1},\"more\":2}");
	expect_message(&c, WS_TEXT, "{\"error\":{\"id\":5,\"code\":\"invalid_record\"");
	send_frame(&c, WS_FIN | WS_BINARY, "{}", 2);
	expect_message(&c, WS_TEXT, "not binary");
	say_text(&c, "{\"publish\":{\"value_base64\":\"/w==\"}}");
	expect_whole(&c, WS_TEXT, "{\"ack\":{\"partition\":0,\"offset\":1,\"duplicate\":false}}");
	say_text(&c, "{\"publish\":{\"key\":\"k\",\"tombstone\":true}}");
	expect_whole(&c, WS_TEXT, "{\"ack\":{\"partition\":0,\"offset\":2,\"duplicate\":false}}");
	close_ws(&c);
	open_ws(&c, &w, "/v1/topics/t/ws?cursor=earliest", NULL);
	expect_message(&c, WS_TEXT,
		       "\"key\":\"k\",\"headers\":{\"h\":\"v\",\"idempotency-key\":\"i\"},\"value\":{ },");
	expect_message(&c, WS_TEXT, "\"value_base64\":\"/w==\"");
	expect_message(&c, WS_TEXT, "\"value\":null,\"tombstone\":true");
	close_ws(&c);
	world_down(&w);
}

/* Publishes, and is gone before the answer. */
static void who_leaves_at_once_publishes_all_the_same(void **state)
{
	struct world w = {0};
	struct client c;

	(void)state;
	up(&w, true);
	for (int i = 0; i < 50; i++) {
		struct linger hard = {.l_onoff = 1};
		open_ws(&c, &w, "/v1/topics/t/ws?mode=publish&ack=1", NULL);
		say_text(&c, "1");
		(void)setsockopt(c.peer.fd, SOL_SOCKET, SO_LINGER, &hard, i % 2 ? sizeof(hard) : 0);
		close_ws(&c);
	}
	open_ws(&c, &w, "/v1/topics/t/ws?mode=both", NULL);
	say_text(&c, "last");
	for (;;) { /* what those left may come before it */
		struct ws_event e = next_event(&c);
		assert_int_equal(e.kind, WS_EVENT_MESSAGE);
		if (slice_eq_str(e.bytes, "last"))
			break;
	}
	close_ws(&c);
	world_down(&w);
}

/* ---- the protocol ---- */

static void faults_are_closed_with_their_code(void **state)
{
	struct world w = {0};
	struct client c;
	char *big = mem_zalloc(1, 70000);

	(void)state;
	assert_non_null(big);
	w.app.limits.ws_message_max = 65536;
	up(&w, true);
	open_ws(&c, &w, "/v1/topics/t/ws?mode=publish", NULL);
	peer_send(&c.peer,
		  "\x81\x01"
		  "1",
		  3); /* no mask */
	expect_close(&c, WS_CODE_PROTOCOL);
	close_ws(&c);
	open_ws(&c, &w, "/v1/topics/t/ws?mode=publish", NULL);
	say_text(&c, "\xc0\xaf");
	expect_close(&c, WS_CODE_BAD_DATA);
	close_ws(&c);
	open_ws(&c, &w, "/v1/topics/t/ws?mode=publish", NULL);
	send_frame(&c, WS_FIN | WS_BINARY, big, 65537);
	expect_close(&c, WS_CODE_TOO_BIG);
	close_ws(&c);
	open_ws(&c, &w, "/v1/topics/t/ws", NULL);
	say_text(&c, "1");
	expect_close(&c, WS_CODE_POLICY);
	close_ws(&c);
	assert_null(topics_find(w.app.topics, SLICE_LIT("t")));
	mem_free(big);
	world_down(&w);
}

static void silence_is_asked_and_then_cut(void **state)
{
	struct world w = {0};
	struct client mute, alive;

	(void)state;
	w.app.limits.ws_ping_ns = 200 * MS;
	up(&w, true);
	open_ws(&mute, &w, "/v1/topics/t/ws", NULL);
	open_ws(&alive, &w, "/v1/topics/t/ws", NULL);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(next_event(&alive).kind, WS_EVENT_PING);
		send_frame(&alive, WS_FIN | WS_PONG, "", 0);
	}
	assert_int_equal(next_event(&mute).kind, WS_EVENT_PING);
	assert_int_equal(next_event(&mute).kind, WS_EVENT_MORE); /* cut, after one ping */
	world_put(&w, "/v1/topics/t/records", "1");
	for (;;) {
		struct ws_event e = next_event(&alive);
		if (e.kind == WS_EVENT_MESSAGE)
			break;
		assert_int_equal(e.kind, WS_EVENT_PING);
		send_frame(&alive, WS_FIN | WS_PONG, "", 0);
	}
	close_ws(&mute);
	close_ws(&alive);
	world_down(&w);
}

static void draining_closes_with_1001(void **state)
{
	struct world w = {0};
	struct client c, mute;

	(void)state;
	up(&w, true);
	open_ws(&c, &w, "/v1/topics/t/ws?mode=both", NULL);
	open_ws(&mute, &w, "/v1/topics/u/ws", NULL);
	say_text(&c, "1");
	expect_whole(&c, WS_TEXT, "1");
	world_drain(&w);
	expect_close(&c, WS_CODE_GOING_AWAY);
	say_text(&c, "too late");
	send_frame(&c, WS_FIN | WS_CLOSE, "\x03\xe9", 2);
	assert_int_equal(next_event(&c).kind, WS_EVENT_MORE);
	expect_close(&mute, WS_CODE_GOING_AWAY);
	assert_int_equal(next_event(&mute).kind, WS_EVENT_MORE); /* cut in the end */
	close_ws(&c);
	close_ws(&mute);
	world_down(&w);
}

static void what_is_asked_wrongly_is_refused_over_http(void **state)
{
	struct world w = {0}, strict = {0};
	struct peer p;

	(void)state;
	up(&w, true);
	expect_refusal(&w, "/v1/topics/t/ws?mode=listen", NULL, "invalid_parameter");
	expect_refusal(&w, "/v1/topics/t/ws?format=xml", NULL, "invalid_parameter");
	expect_refusal(&w, "/v1/topics/t/ws?mode=publish&ack=2", NULL, "invalid_parameter");
	expect_refusal(&w, "/v1/topics/t/ws?ack=1", NULL, "invalid_parameter");
	expect_refusal(&w, "/v1/topics/t/ws?format=raw", "weir.v1", "invalid_parameter");
	expect_refusal(&w, "/v1/topics/t/ws?mode=publish&key=k", NULL, "invalid_parameter");
	expect_refusal(&w, "/v1/ws?topics=a,b&mode=publish", NULL, "invalid_parameter");
	expect_refusal(&w, "/v1/ws", NULL, "invalid_parameter");
	expect_refusal(&w, "/v1/topics/t/ws?cursor=x", NULL, "invalid_cursor");
	expect_refusal(&w, "/v1/topics/a%2Fb/ws?mode=publish", NULL, "invalid_topic");
	expect_refusal(&w, "/v1/topics/__weir/ws?mode=publish", NULL, "forbidden");
	peer_get(&p, &w, "/v1/topics/t/ws", "");
	peer_expect(&p, "HTTP/1.1 426 ");
	peer_expect(&p, "Upgrade: websocket\r\n");
	peer_close(&p);
	world_down(&w);
	up(&strict, false);
	expect_refusal(&strict, "/v1/topics/none/ws", NULL, "unknown_topic");
	expect_refusal(&strict, "/v1/topics/none/ws?mode=publish", NULL, "unknown_topic");
	world_down(&strict);
}

static void who_stands_still_misses_nothing(void **state)
{
	struct world w = {0};
	struct client slow, fast, publisher;
	size_t n = 60000;
	char *body = mem_alloc(n + 1), text[32];

	(void)state;
	assert_non_null(body);
	memset(body, 'x', n);
	body[n] = 0;
	up(&w, true);
	open_ws(&slow, &w, "/v1/topics/t/ws", NULL);
	open_ws(&fast, &w, "/v1/topics/t/ws", NULL);
	open_ws(&publisher, &w, "/v1/topics/t/ws?mode=publish", NULL);
	for (int i = 0; i < 600; i++) {
		say_text(&publisher, body);
		(void)snprintf(text, sizeof(text), "\"offset\":%d,", i);
		expect_message(&fast, WS_TEXT, text);
	}
	world_await_blocked(&w, WAY_WS, 1);
	/* The fast one has all; the slow one its credit and what the sockets hold. */
	assert_true(metrics_read(w.app.metrics, METRIC_DELIVERED_RECORDS, WAY_WS) < 600 + 300);
	for (int i = 0; i < 600; i++) {
		(void)snprintf(text, sizeof(text), "\"offset\":%d,", i);
		expect_message(&slow, WS_TEXT, text);
	}
	close_ws(&slow);
	close_ws(&fast);
	close_ws(&publisher);
	mem_free(body);
	world_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_come_in_each_form),
		cmocka_unit_test(several_partitions_and_a_key),
		cmocka_unit_test(a_deleted_topic_is_told_and_closed),
		cmocka_unit_test(acks_come_in_order_and_before_the_close),
		cmocka_unit_test(both_gives_and_takes_values),
		cmocka_unit_test(the_subprotocol_answers_by_id),
		cmocka_unit_test(who_leaves_at_once_publishes_all_the_same),
		cmocka_unit_test(faults_are_closed_with_their_code),
		cmocka_unit_test(silence_is_asked_and_then_cut),
		cmocka_unit_test(draining_closes_with_1001),
		cmocka_unit_test(what_is_asked_wrongly_is_refused_over_http),
		cmocka_unit_test(who_stands_still_misses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
