/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl was the alternative; it does not pipeline HTTP/1.1 any more, and the
 * client commands are to run wherever the daemon does, with the daemon's own
 * parser behind them.
 */
#include "cli/client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "json/json.h"

#define CALL_TIMEOUT_MS 60000
#define CONNECT_TIMEOUT_MS 10000
#define READ_BYTES (16u << 10)
#define IN_BYTES_MAX (256u << 20)

/* ---- where the daemon is ---- */

int client_url_parse(const char *text, struct client_url *out, struct fault *fault)
{
	struct slice rest = slice_str(text), host;
	int port;

	if (slice_starts(rest, SLICE_LIT("https://")))
		return fault_set(
			fault, ERR_BAD_PARAMETER,
			"\"%.200s\": https is not supported in this version: expected http://HOST:PORT",
			text);
	if (!slice_starts(rest, SLICE_LIT("http://")))
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "\"%.200s\": expected a URL such as http://127.0.0.1:8080", text);
	rest = slice_from(rest, 7);
	if (rest.len > 0 && rest.ptr[rest.len - 1] == '/')
		rest.len--;
	if (!http_authority_split(rest, &host, &port) || host.len == 0 || host.len >= sizeof(out->host))
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "\"%.200s\": expected http://HOST:PORT and nothing behind it", text);
	memcpy(out->host, host.ptr, host.len);
	out->host[host.len] = 0;
	snprintf(out->port, sizeof(out->port), "%u", port < 0 ? 80u : (unsigned)port & 0xffff);
	snprintf(out->authority, sizeof(out->authority), "%.*s", (int)rest.len, (const char *)rest.ptr);
	return 0;
}

int client_url_of(const struct args *args, struct client_url *out, struct fault *fault)
{
	const char *text = args_value(args, "server");

	if (!text)
		text = getenv("WEIR_SERVER");
	return client_url_parse(text && *text ? text : "http://127.0.0.1:8080", out, fault);
}

/* ---- time ---- */

int64_t client_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void client_backoff_init(struct client_backoff *b)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		seed = (uint64_t)client_now_ms() ^ (uint64_t)getpid() << 32;
	rand_seed(&b->rand, seed);
	b->tries = 0;
}

int64_t client_backoff_next(struct client_backoff *b)
{
	int64_t delay = b->tries >= 6 ? 5000 : (int64_t)100 << b->tries;

	b->tries++;
	return delay / 2 + (int64_t)rand_below(&b->rand, (uint64_t)delay / 2 + 1);
}

void client_backoff_reset(struct client_backoff *b)
{
	b->tries = 0;
}

/* ---- a connection ---- */

void client_conn_init(struct client_conn *c)
{
	*c = (struct client_conn){.fd = -1};
	buf_init(&c->in, IN_BYTES_MAX);
	buf_init(&c->out, CLIENT_OUT_MAX);
}

void client_shut(struct client_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->ended = false;
	buf_clear(&c->in);
	buf_clear(&c->out);
}

void client_conn_fini(struct client_conn *c)
{
	client_shut(c);
	buf_fini(&c->in);
	buf_fini(&c->out);
}

static int lost(struct fault *fault, const struct client_url *url, int number)
{
	return fault_set(fault, ERR_IO, "cannot connect to http://%s: %s", url->authority,
			 strerrordesc_np(number));
}

/* One address; a connected socket, or -errno. */
static int try_address(const struct addrinfo *a, int64_t deadline_ms)
{
	int error = 0, one = 1;
	socklen_t size = sizeof(error);

	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, a->ai_addr, a->ai_addrlen) != 0)
		error = errno;
	if (error == EINPROGRESS) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		int64_t left = deadline_ms - client_now_ms();
		error = poll(&p, 1, left > 0 ? (int)left : 0) == 1 ? 0 : ETIMEDOUT;
		if (!error && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
			error = errno;
	}
	if (error) {
		close(fd);
		return -error;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

int client_open(struct client_conn *c, const struct client_url *url, int64_t timeout_ms, struct fault *fault)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	int64_t deadline = client_now_ms() + timeout_ms;
	struct addrinfo *list;
	int fd = -EADDRNOTAVAIL;

	client_shut(c);
	int failed = getaddrinfo(url->host, url->port, &hints, &list);
	if (failed)
		return fault_set(fault, ERR_IO, "cannot find %s: %s", url->host, gai_strerror(failed));
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = try_address(a, deadline);
	freeaddrinfo(list);
	if (fd < 0)
		return lost(fault, url, -fd);
	c->fd = fd;
	return 0;
}

int client_write(struct client_conn *c)
{
	size_t done = 0;

	while (done < c->out.len) {
		ssize_t n = send(c->fd, c->out.ptr + done, c->out.len - done, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (n < 0)
			return ERR_IO;
		done += (size_t)n;
	}
	if (done > 0)
		buf_consume(&c->out, done);
	return 0;
}

int client_read(struct client_conn *c)
{
	ssize_t n;

	int err = buf_reserve(&c->in, READ_BYTES);
	if (err)
		return err;
	do {
		n = recv(c->fd, c->in.ptr + c->in.len, READ_BYTES, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : ERR_IO;
	if (n == 0)
		c->ended = true;
	c->in.len += (size_t)n;
	return 0;
}

int client_wait(struct client_conn *c, int64_t deadline_ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	if (c->out.len > 0)
		p.events |= POLLOUT;
	for (;;) {
		int64_t left = deadline_ms - client_now_ms();
		int n = poll(&p, 1, left <= 0 ? 0 : left > 3600000 ? 3600000 : (int)left);
		if (n >= 0)
			return n;
		if (errno != EINTR)
			return ERR_IO;
	}
}

/* ---- answers ---- */

void client_reply_init(struct client_reply *r, size_t content_bytes_max)
{
	memset(r, 0, sizeof(*r));
	buf_init(&r->content, content_bytes_max);
}

void client_reply_fini(struct client_reply *r)
{
	buf_fini(&r->content);
}

static void note_head(struct client_reply *r, const struct http_response *res)
{
	const struct http_header *h;
	uint64_t seconds;

	r->status = res->status;
	r->keep_alive = res->keep_alive;
	r->retry_after_ms = -1;
	h = http_header_find(&res->headers, SLICE_LIT("retry-after"));
	if (h && slice_to_u64(h->value, &seconds))
		r->retry_after_ms = seconds > 60 ? 60000 : (int64_t)seconds * 1000;
	h = http_header_find(&res->headers, SLICE_LIT("idempotent-replayed"));
	r->replayed = h && slice_eq_nocase(h->value, SLICE_LIT("true"));
	http_body_init(&r->body, res->body, res->content_length);
	r->in_body = true;
	buf_clear(&r->content);
}

int client_reply_head(struct client_reply *r, struct client_conn *c, enum http_method method,
		      struct fault *fault)
{
	const struct http_limits limits = {.head_bytes_max = 1u << 20};
	const char *detail = "";

	for (;;) {
		struct http_response res = {.headers = {.list = r->list, .max = HTTP_HEADERS_MAX}};
		int got = http_response_parse(&res, &r->scan, &limits, method, buf_slice(&c->in), &detail);
		if (got < 0)
			return fault_set(fault, ERR_PROTOCOL, "the server's answer is not HTTP: %s", detail);
		if (got == 0)
			return c->ended ? fault_set(fault, ERR_IO, "the server closed the connection") : 0;
		if (res.status >= 200 || res.status == 101)
			note_head(r, &res);
		buf_consume(&c->in, res.head_bytes);
		if (r->in_body)
			return 1;
	}
}

int client_reply_piece(struct client_reply *r, struct client_conn *c, struct slice *piece,
		       struct fault *fault)
{
	const char *detail = "";

	struct slice rest = buf_slice(&c->in);
	int event = http_body_next(&r->body, &rest, piece, &detail);
	if (event == HTTP_BODY_MORE && c->ended)
		event = http_body_eof(&r->body, &detail);
	if (event < 0)
		return fault_set(fault, c->ended ? ERR_IO : ERR_PROTOCOL,
				 "the server's answer was cut short: %s", detail);
	size_t taken = c->in.len - rest.len;
	if (event == HTTP_BODY_DATA) {
		/* The bytes move to `content`, so that `in` can be consumed at once. */
		buf_clear(&r->content);
		int err = buf_append_slice(&r->content, *piece);
		if (err)
			return fault_set(fault, err, "the server's answer is too long");
		*piece = buf_slice(&r->content);
	}
	buf_consume(&c->in, taken);
	if (event == HTTP_BODY_END)
		r->in_body = false;
	return event == HTTP_BODY_DATA ? 1 : event == HTTP_BODY_END ? 2 : 0;
}

int client_reply_whole(struct client_reply *r, struct client_conn *c, enum http_method method,
		       struct fault *fault)
{
	const char *detail = "";
	struct slice piece;

	if (!r->in_body) {
		int got = client_reply_head(r, c, method, fault);
		if (got != 1)
			return got;
	}
	struct slice rest = buf_slice(&c->in);
	int event;
	while ((event = http_body_next(&r->body, &rest, &piece, &detail)) == HTTP_BODY_DATA)
		buf_append_slice(&r->content, piece);
	if (event == HTTP_BODY_MORE && c->ended)
		event = http_body_eof(&r->body, &detail);
	buf_consume(&c->in, c->in.len - rest.len);
	if (event < 0)
		return fault_set(fault, c->ended ? ERR_IO : ERR_PROTOCOL,
				 "the server's answer was cut short: %s", detail);
	if (buf_status(&r->content))
		return fault_set(fault, buf_status(&r->content), "the server's answer is too long");
	r->in_body = event != HTTP_BODY_END;
	return event == HTTP_BODY_END;
}

/* ---- problem documents ---- */

static void copy_member(struct json_cursor *c, struct arena *arena, char *out, size_t room)
{
	struct json_value value;
	struct slice text;

	if (json_peek(c) != JSON_STRING || json_take(c, &value) != 0 ||
	    json_text(value.raw, arena, &text) != 0) {
		json_skip(c);
		return;
	}
	size_t n = text.len < room ? text.len : room - 1;
	memcpy(out, text.ptr, n);
	out[n] = 0;
	for (size_t i = 0; i < n; i++)
		if ((uint8_t)out[i] < 0x20 || out[i] == 0x7f)
			out[i] = ' ';
}

static void read_problem(struct json_cursor *c, struct arena *arena, struct client_problem *out);

/* The first of `errors` says more than the document around it. */
static void read_errors(struct json_cursor *c, struct arena *arena, struct client_problem *out)
{
	bool first = true;

	if (json_peek(c) != JSON_ARRAY) {
		json_skip(c);
		return;
	}
	json_array_begin(c);
	while (json_array_next(c)) {
		if (first && json_peek(c) == JSON_OBJECT)
			read_problem(c, arena, out);
		else
			json_skip(c);
		first = false;
	}
}

static void read_problem(struct json_cursor *c, struct arena *arena, struct client_problem *out)
{
	struct client_problem inner = {0};
	struct slice name;

	json_object_begin(c);
	while (json_object_next(c, &name)) {
		if (json_name_is(name, "code"))
			copy_member(c, arena, out->code, sizeof(out->code));
		else if (json_name_is(name, "detail"))
			copy_member(c, arena, out->detail, sizeof(out->detail));
		else if (json_name_is(name, "title") && !*out->detail)
			copy_member(c, arena, out->detail, sizeof(out->detail));
		else if (json_name_is(name, "cursor"))
			copy_member(c, arena, out->cursor, sizeof(out->cursor));
		else if (json_name_is(name, "errors"))
			read_errors(c, arena, &inner);
		else
			json_skip(c);
	}
	if (*inner.code)
		memcpy(out->code, inner.code, sizeof(out->code));
	if (*inner.detail)
		memcpy(out->detail, inner.detail, sizeof(out->detail));
}

void client_problem_of(struct slice content, struct client_problem *out)
{
	struct json_cursor cursor;
	struct arena arena;

	*out = (struct client_problem){0};
	if (json_valid(content, NULL) != 0)
		return;
	arena_init(&arena, 4096, 1u << 20);
	json_cursor_init(&cursor, content);
	if (json_peek(&cursor) == JSON_OBJECT)
		read_problem(&cursor, &arena, out);
	arena_fini(&arena);
}

bool client_may_retry(int status)
{
	return status == 429 || status == 503 || status == 507;
}

/* ---- one request ---- */

static int ask(struct client_conn *conn, const struct client_url *url, const struct client_call *call)
{
	struct http_header type = {.name = SLICE_LIT("Content-Type"), .value = call->content_type};
	const struct http_ask head = {
		.method = slice_str(http_method_text(call->method)),
		.target = call->target,
		.host = slice_str(url->authority),
		.framing = call->content_type.ptr ? HTTP_FRAME_LENGTH : HTTP_FRAME_NONE,
		.length = call->body.len,
		.headers = &type,
		.header_count = call->content_type.ptr ? 1 : 0,
	};

	int err = http_ask_append(&conn->out, &head);
	return err ? err : buf_append_slice(&conn->out, call->body);
}

static int exchange(struct client_conn *conn, enum http_method method, struct client_reply *r,
		    struct fault *fault)
{
	int64_t deadline = client_now_ms() + CALL_TIMEOUT_MS;

	for (;;) {
		int err = client_write(conn);
		/* An early refusal closes while the body is on its way: its answer may be there all the same. */
		if (err && client_read(conn) == 0 && client_reply_whole(r, conn, method, fault) == 1)
			return 0;
		if (err)
			return fault_set(fault, err, "the connection was lost");
		int ready = client_wait(conn, deadline);
		if (ready == 0)
			return fault_set(fault, ERR_IO, "no answer within %d s", CALL_TIMEOUT_MS / 1000);
		err = ready < 0 ? ready : client_read(conn);
		if (err)
			return fault_set(fault, err, "the connection was lost");
		int got = client_reply_whole(r, conn, method, fault);
		if (got)
			return got < 0 ? got : 0;
	}
}

int client_call(const struct client_url *url, const struct client_call *call, struct client_reply *r,
		struct fault *fault)
{
	struct client_conn conn;

	client_conn_init(&conn);
	int err = client_open(&conn, url, CONNECT_TIMEOUT_MS, fault);
	if (!err) {
		err = ask(&conn, url, call);
		if (err)
			fault_set(fault, err, "the request cannot be written: %s", err_row(err)->sentence);
	}
	if (!err)
		err = exchange(&conn, call->method, r, fault);
	client_conn_fini(&conn);
	return err;
}

void client_query(struct buf *target, const char *name, struct slice value)
{
	bool first = !target->ptr || !memchr(target->ptr, '?', target->len);

	buf_appendf(target, "%c%s=", first ? '?' : '&', name);
	http_percent_append(target, value);
}
