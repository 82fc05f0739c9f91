/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_ws.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "proto/ws/ws_handshake.h"

#define HANDSHAKE_MS 10000
#define MESSAGE_BYTES_MAX (128u << 20)

static int refused(struct bench_ws *w, const struct http_response *res, struct fault *fault)
{
	struct client_problem problem;

	client_problem_of(slice_from(buf_slice(&w->conn.in), res->head_bytes), &problem);
	return fault_set(fault, ERR_PROTOCOL, "%d %s: %s", res->status, problem.code, problem.detail);
}

/* 1 when the answer is whole and good, 0 for more, or an error. */
static int take_answer(struct bench_ws *w, struct ws_client *client, struct fault *fault)
{
	const struct http_limits limits = {.head_bytes_max = 1u << 20};
	struct http_header list[HTTP_HEADERS_MAX];
	struct http_response res = {.headers = {.list = list, .max = HTTP_HEADERS_MAX}};
	struct http_scan scan = {0};
	const char *detail = "";

	int got = http_response_parse(&res, &scan, &limits, HTTP_GET, buf_slice(&w->conn.in), &detail);
	if (got == 0)
		return w->conn.ended ? fault_set(fault, ERR_IO, "the server closed the connection") : 0;
	if (got < 0)
		return fault_set(fault, ERR_PROTOCOL, "the server's answer is not HTTP: %s", detail);
	/* A refusal's document is small: what has come is enough to tell it. */
	if (res.status != 101)
		return refused(w, &res, fault);
	for (uint32_t i = 0; i < res.headers.count; i++)
		ws_client_header(client, list[i].name, list[i].value);
	if (ws_client_finish(client, res.status) != 0)
		return fault_set(fault, ERR_PROTOCOL, "the server's WebSocket handshake: %s", client->detail);
	buf_consume(&w->conn.in, res.head_bytes);
	return 1;
}

static int shake_hands(struct bench_ws *w, struct ws_client *client, struct fault *fault)
{
	int64_t deadline = client_now_ms() + HANDSHAKE_MS;
	int got = 0;

	while (got == 0) {
		int err = client_write(&w->conn);
		int ready = err ? err : client_wait(&w->conn, deadline);
		if (ready == 0)
			return fault_set(fault, ERR_IO, "no answer to the WebSocket handshake within %d s",
					 HANDSHAKE_MS / 1000);
		err = ready < 0 ? ready : client_read(&w->conn);
		if (err)
			return fault_set(fault, err, "the connection was lost");
		got = take_answer(w, client, fault);
	}
	return got < 0 ? got : 0;
}

int bench_ws_open(struct bench_ws *w, const struct client_url *url, struct slice target, struct fault *fault)
{
	const struct ws_parser_options parser = {.client = true, .message_bytes_max = MESSAGE_BYTES_MAX};
	const struct ws_client_options ask = {.host = slice_str(url->authority), .target = target};
	struct ws_client client;
	uint8_t nonce[16];

	client_conn_init(&w->conn);
	ws_parser_init(&w->parser, &parser);
	if (getrandom(nonce, sizeof(nonce), 0) != (ssize_t)sizeof(nonce))
		return fault_set(fault, ERR_IO, "no random bytes: %s", strerrordesc_np(errno));
	int err = client_open(&w->conn, url, HANDSHAKE_MS, fault);
	if (err)
		return err;
	err = ws_client_request(&client, &ask, nonce, SLICE_LIT(""), &w->conn.out);
	if (err)
		return fault_set(fault, err, "the request cannot be written: %s", err_row(err)->sentence);
	return shake_hands(w, &client, fault);
}

void bench_ws_close(struct bench_ws *w)
{
	client_conn_fini(&w->conn);
	ws_parser_fini(&w->parser);
}

static int answer_ping(struct bench_ws *w, struct slice payload)
{
	/* The mask guards proxies against pages; here nobody chose the payload but the server. */
	static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};

	int err = ws_frame_append_masked(&w->conn.out, WS_FIN | WS_PONG, payload, mask);
	return err ? err : client_write(&w->conn);
}

static int feed(struct bench_ws *w, uint8_t *bytes, size_t len, bench_ws_fn *on_message, void *ctx,
		struct fault *fault)
{
	struct ws_event event;
	size_t taken;

	for (;;) {
		enum ws_event_kind kind = ws_parser_next(&w->parser, bytes, len, &taken, &event);
		bytes += taken;
		len -= taken;
		if (kind == WS_EVENT_MORE)
			return 0;
		if (kind == WS_EVENT_MESSAGE)
			on_message(ctx, event.bytes);
		if (kind == WS_EVENT_PING && answer_ping(w, event.bytes) != 0)
			return fault_set(fault, ERR_IO, "the connection was lost");
		if (kind == WS_EVENT_CLOSE || kind == WS_EVENT_FAIL)
			return fault_set(fault, ERR_PROTOCOL, "the WebSocket was closed: %u %.*s", event.code,
					 (int)event.bytes.len, (const char *)event.bytes.ptr);
	}
}

int bench_ws_begin(struct bench_ws *w, bench_ws_fn *on_message, void *ctx, struct fault *fault)
{
	int err = feed(w, w->conn.in.ptr, w->conn.in.len, on_message, ctx, fault);

	buf_fini(&w->conn.in);
	return err;
}

int bench_ws_read(struct bench_ws *w, uint8_t *room, size_t room_bytes, bench_ws_fn *on_message, void *ctx,
		  struct fault *fault)
{
	ssize_t n;

	do {
		n = recv(w->conn.fd, room, room_bytes, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	if (n <= 0)
		return fault_set(fault, ERR_IO, "the server closed the connection");
	return feed(w, room, (size_t)n, on_message, ctx, fault);
}
