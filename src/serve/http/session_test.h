/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_SESSION_TEST_H
#define WEIR_SERVE_HTTP_SESSION_TEST_H

/*
 * For the tests of sessions alone: a server on a loop in a thread, with resources that do what can be done, and
 * a client of plain sockets. An expectation is the text of all that comes back, without the Date lines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/mem.h"
#include "serve/http/health.h"
#include "serve/http/server.h"

#define MS 1000000LL
#define HOST "Host: localhost\r\n"
#define LAST "Host: localhost\r\nConnection: close\r\n"

/* ---- the resources ---- */

static atomic_int cancelled, handled, refused_last, refusals, answers;

static inline int on_echo(struct exchange *x)
{
	handled++;
	return exchange_answer(x, 200, "text/plain", x->body);
}

static const struct route route_echo = {
	.methods = HTTP_BIT(HTTP_POST) | HTTP_BIT(HTTP_PUT),
	.pattern = "/echo",
	.body = ROUTE_BODY_SMALL,
	.handle = on_echo,
};

struct wait {
	struct loop_msg msg; /* first */
	struct loop_timer timer;
	struct exchange *x;
};

static inline void on_waited(void *ctx)
{
	struct wait *w = ctx;
	struct slice text;

	exchange_query(w->x, "text", &text);
	exchange_answer(w->x, 200, NULL, text);
}

/* Answers in a later turn, sooner than a timer would. */
static inline void on_next_turn(struct loop *l, struct loop_msg *msg)
{
	(void)l;
	on_waited(msg);
}

static inline void on_gone(struct exchange *x)
{
	struct wait *w = x->user;

	cancelled++;
	loop_timer_stop(x->loop, &w->timer);
	exchange_answer(x, 200, NULL, SLICE_LIT("to nobody"));
}

static inline int on_delay(struct exchange *x)
{
	struct wait *w = arena_zalloc(x->arena, 1, sizeof(*w));
	struct slice text;
	uint64_t ms;

	handled++;
	if (!w)
		return ERR_NOMEM;
	if (exchange_query(x, "ms", &text) != 1 || !slice_to_u64(text, &ms))
		return exchange_problem(x, ERR_BAD_PARAMETER, "ms must be a number, not '%.*s'",
					(int)text.len, (const char *)text.ptr);
	w->x = x;
	x->user = w;
	if (ms == 0) {
		w->msg.run = on_next_turn;
		loop_post(x->loop, &w->msg);
		return EXCHANGE_PENDING;
	}
	if (text.ptr[0] == '0') /* ms=01000: with the word that it may be long */
		exchange_park(x);
	x->on_cancel = on_gone;
	loop_timer_init(&w->timer, on_waited, w);
	loop_timer_set(x->loop, &w->timer, (int64_t)ms * MS);
	return EXCHANGE_PENDING;
}

static const char *const delay_query[] = {"ms", "text", NULL};
static const struct route route_delay = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/delay",
	.query = delay_query,
	.handle = on_delay,
};

static inline int on_item(struct exchange *x)
{
	char text[200];
	struct slice a = exchange_param(x, "a"), b = x->params > 1 ? exchange_param(x, "b") : SLICE_LIT("-");
	int n = snprintf(text, sizeof(text), "%.*s %.*s", (int)a.len, (const char *)a.ptr, (int)b.len,
			 (const char *)b.ptr);

	assert_int_equal(exchange_add_header(x, SLICE_LIT("ETag"), SLICE_LIT("\"1\"")), 0);
	assert_int_equal(exchange_add_header(x, SLICE_LIT("X"), SLICE_LIT("a\r\nb: c")), ERR_BAD_HEADER);
	return exchange_answer(x, 200, "text/plain", slice_make(text, (size_t)n));
}

static const struct route route_item = {.methods = HTTP_BIT(HTTP_GET),
					.pattern = "/items/{a}",
					.handle = on_item};
static const struct route route_sub = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/items/{a}/x/{b}",
	.handle = on_item,
};

/* "full" uses up all the memory that a request may have; "mute" is done and not answered. */
static inline int on_fail(struct exchange *x)
{
	if (slice_eq_str(exchange_param(x, "a"), "mute")) {
		exchange_abort(x);
		return 0;
	}
	if (!slice_eq_str(exchange_param(x, "a"), "full"))
		return ERR_UNKNOWN_TOPIC;
	for (size_t n = 1 << 20; n > 0; n /= 2)
		while (arena_alloc(x->arena, n))
			;
	return ERR_NOMEM;
}

static const struct route route_fail = {.methods = HTTP_BIT(HTTP_DELETE),
					.pattern = "/items/{a}",
					.handle = on_fail};

struct stream {
	struct blob *blob;
	uint64_t left;
};

static inline void on_stream_gone(struct exchange *x)
{
	struct stream *st = x->user;

	cancelled++;
	blob_unref(st->blob);
	exchange_stream_end(x);
}

static inline void on_room(struct exchange *x)
{
	struct stream *st = x->user;

	if (st->left == 77)
		return; /* stays open */
	while (st->left && exchange_stream_room(x)) {
		if (exchange_stream_write_blob(x, st->blob, blob_slice(st->blob)) < 0)
			break;
		st->left--;
	}
	if (st->left)
		return;
	blob_unref(st->blob);
	exchange_stream_end(x);
}

static inline int on_stream(struct exchange *x)
{
	struct stream *st = arena_zalloc(x->arena, 1, sizeof(*st));
	struct slice text;

	if (!st || exchange_query(x, "n", &text) != 1 || !slice_to_u64(text, &st->left))
		return ERR_BAD_PARAMETER;
	st->blob = blob_new(1000, NULL);
	if (!st->blob)
		return ERR_NOMEM;
	memset(st->blob->bytes, 's', 1000);
	st->blob->len = 1000;
	x->user = st;
	x->on_cancel = on_stream_gone;
	if (exchange_stream_start(x, 200, "text/plain", on_room) == 0)
		exchange_stream_write(x, SLICE_LIT("begin"));
	on_room(x);
	return EXCHANGE_PENDING;
}

static const char *const stream_query[] = {"n", NULL};
static const struct route route_stream = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/stream",
	.query = stream_query,
	.flags = ROUTE_ALONE | ROUTE_QUERY_TOKEN,
	.handle = on_stream,
};

struct upper {
	struct conn *conn;
	struct http_server *server;
	struct loop *loop;
};

static inline size_t upper_bytes(void *ctx, struct slice bytes)
{
	struct upper *u = ctx;
	char text[256];
	size_t n = bytes.len < sizeof(text) ? bytes.len : sizeof(text);

	for (size_t i = 0; i < n; i++)
		text[i] =
			(char)(bytes.ptr[i] >= 'a' && bytes.ptr[i] <= 'z' ? bytes.ptr[i] - 32 : bytes.ptr[i]);
	(void)!conn_write(u->conn, slice_make(text, n));
	if (text[n - 1] == '.')
		conn_close(u->conn, 0);
	return n;
}

static inline void upper_closed(void *ctx, enum conn_close_reason reason)
{
	struct upper *u = ctx;

	(void)reason;
	http_server_upgraded_closed(u->server, u->loop);
	mem_free(u);
}

static const struct conn_session upper_session = {.on_bytes = upper_bytes, .on_closed = upper_closed};

static inline int on_upgrade(struct exchange *x)
{
	struct upper *u = mem_zalloc(1, sizeof(*u));

	if (!u)
		return ERR_NOMEM;
	u->server = x->server;
	u->loop = x->loop;
	return exchange_upgrade(x, "upper", &upper_session, u, &u->conn);
}

static const struct route route_upgrade = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/upper",
	.flags = ROUTE_ALONE,
	.handle = on_upgrade,
};

static inline int on_none(struct exchange *x)
{
	return exchange_answer(x, 204, NULL, slice_null());
}

static const struct route route_none = {
	.methods = HTTP_BIT(HTTP_POST) | HTTP_BIT(HTTP_GET),
	.pattern = "/none",
	.handle = on_none,
};

static inline int on_blob(struct exchange *x)
{
	struct blob *b = blob_new(5000, NULL);

	if (!b)
		return ERR_NOMEM;
	memset(b->bytes, 'b', 5000);
	b->len = 5000;
	exchange_answer_blob(x, 200, "text/plain", b, slice_make(b->bytes + 1, 4000));
	blob_unref(b);
	return 0;
}

static const struct route route_blob = {.methods = HTTP_BIT(HTTP_GET), .pattern = "/blob", .handle = on_blob};

static inline int on_members(struct exchange *x)
{
	return exchange_problem_with(x, ERR_BAD_BATCH, SLICE_LIT("\"errors\":[]"), "%d bad", 1);
}

static const struct route route_members = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/members",
	.handle = on_members,
};

static const struct route *const routes[] = {
	&route_blob, &route_members, &route_healthz, &route_echo,    &route_delay, &route_item,
	&route_sub,  &route_fail,    &route_stream,  &route_upgrade, &route_none,
};

/* ---- the server ---- */

static struct loop *loop;
static struct http_server *server;
static struct listener *listener;
static pthread_t thread;
static int port;
static atomic_int connections;
static uint32_t connections_max;

static inline void count_answer(void *ctx, uint32_t number, const struct route *route,
				enum http_method method, int status, int64_t latency_ns)
{
	(void)ctx, (void)number, (void)route, (void)method, (void)status;
	assert_true(latency_ns >= 0);
	answers++;
}

static inline void count_refusal(void *ctx, uint32_t number, int err)
{
	(void)ctx, (void)number;
	refusals++;
	refused_last = err;
}

static inline void count_connection(void *ctx, uint32_t number, int change)
{
	(void)ctx, (void)number;
	connections += change;
}

static inline int authorize(void *app, struct exchange *x, const char **detail)
{
	struct slice value;

	(void)app;
	if (exchange_header(x, SLICE_LIT("authorization"), &value) == 1 &&
	    slice_eq_str(value, "Bearer wrong")) {
		*detail = "The token is not known";
		return ERR_UNAUTHORIZED;
	}
	return 0;
}

static inline void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static struct budget budget;
static int64_t budget_max = 256 << 20;

static inline void start_server(const struct http_options *extra)
{
	struct http_options o = *extra;
	struct loop_options lo = {.sys = sys_kernel(), .budget = &budget};
	struct listener_options li = {.address = "127.0.0.1:0",
				      .on_accept = http_server_accept,
				      .on_refuse = http_server_refuse};
	struct fault fault;
	char bound[64];

	o.sys = sys_kernel();
	o.routes = routes;
	o.route_count = sizeof(routes) / sizeof(routes[0]);
	o.authorize = authorize;
	o.observer = (struct http_observer){.answered = count_answer,
					    .refused = count_refusal,
					    .connections = count_connection};
	assert_int_equal(http_server_new(&o, &server, &fault), 0);
	budget_init(&budget, budget_max, 1);
	assert_int_equal(loop_new(&lo, &loop), 0);
	li.ctx = server;
	li.connections_max = connections_max;
	assert_int_equal(listener_open(&li, &loop, 1, &listener, bound, &fault), 0);
	port = atoi(strrchr(bound, ':') + 1);
	assert_int_equal(pthread_create(&thread, NULL, run_loop, loop), 0);
}

static inline void stop_server(void)
{
	listener_stop(listener);
	loop_stop(loop);
	pthread_join(thread, NULL);
	assert_int_equal(loop_share(loop)->used, 0); /* whatever was held has come back */
	listener_close(listener);
	loop_free(loop);
	assert_int_equal(budget_used(&budget), 0);
	budget_max = 256 << 20;
	http_server_free(server);
	assert_int_equal(connections, 0);
}

static inline void close_idle(struct loop *l, struct loop_msg *msg)
{
	(void)msg;
	http_server_close_idle(server, l);
}

static inline int set_up(void **state)
{
	static const char *const origins[] = {"https://app.example", NULL};
	static const char *const hosts[] = {"weir.example", NULL};
	struct http_options o = {.small_body_max = 1000,
				 .origins = origins,
				 .hosts = hosts,
				 .cors = true,
				 .exchange_bytes_max = 4 << 20,
				 .stream_bytes_max = 50000};

	(void)state;
	start_server(&o);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	stop_server();
	return 0;
}

/* ---- the client ---- */

static inline int dial(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = 20};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int yes = 1;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static inline void say(int fd, struct slice bytes)
{
	while (bytes.len) {
		ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);

		if (n < 0)
			return; /* the peer may have refused and gone */
		bytes = slice_from(bytes, (size_t)n);
	}
}

/* Reads until the peer ends (or `enough` is seen); Date lines are taken out. */
static inline char *hear(int fd, const char *enough)
{
	size_t cap = 1 << 22, len = 0;
	char *text = malloc(cap);
	char *date, *end;
	ssize_t n;

	assert_non_null(text);
	text[0] = '\0';
	while (!(enough && strstr(text, enough)) && (n = recv(fd, text + len, cap - len - 1, 0)) > 0) {
		len += (size_t)n;
		text[len] = '\0';
	}
	while ((date = strstr(text, "Date: ")) && (end = strstr(date, "\r\n")))
		memmove(date, end + 2, strlen(end + 2) + 1);
	return text;
}

static inline char *talk(const char *request)
{
	int fd = dial();
	char *answer;

	say(fd, slice_str(request));
	answer = hear(fd, NULL);
	close(fd);
	return answer;
}

static inline void expect(const char *request, const char *answer)
{
	char *got = talk(request);

	assert_string_equal(got, answer);
	free(got);
}

/* The answer begins with the status and holds the text. */
static inline void expect_part(const char *request, const char *status, const char *part)
{
	char *got = talk(request);

	if (strncmp(got + 9, status, 3) != 0 || !strstr(got, part))
		print_error("to %s\nwanted %s %s\ngot %s\n", request, status, part, got);
	assert_true(strncmp(got, "HTTP/1.1 ", 9) == 0 && strncmp(got + 9, status, 3) == 0);
	assert_non_null(strstr(got, part));
	free(got);
}

static inline void nap(void)
{
	usleep(300);
}

#define ECHOED(n, text) "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " n "\r\n\r\n" text

static inline void wait_for(atomic_int *value, int want)
{
	for (int i = 0; i < 20000 && *value != want; i++)
		usleep(1000);
	assert_int_equal(*value, want);
}

#endif
