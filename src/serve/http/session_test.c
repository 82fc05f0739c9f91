/* SPDX-License-Identifier: Apache-2.0 */
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

/*
 * A real loop on a thread of its own, plain sockets on this one. An expectation
 * is the text of all that comes back, without the Date lines.
 */
#define MS 1000000LL
#define HOST "Host: localhost\r\n"
#define LAST "Host: localhost\r\nConnection: close\r\n"

/* ---- the resources ---- */

static atomic_int cancelled, handled, refused_last, refusals, answers;

static int on_echo(struct exchange *x)
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

static void on_waited(void *ctx)
{
	struct wait *w = ctx;
	struct slice text;

	exchange_query(w->x, "text", &text);
	exchange_answer(w->x, 200, NULL, text);
}

/* Answers in a later turn, sooner than a timer would. */
static void on_next_turn(struct loop *l, struct loop_msg *msg)
{
	(void)l;
	on_waited(msg);
}

static void on_gone(struct exchange *x)
{
	struct wait *w = x->user;

	cancelled++;
	loop_timer_stop(x->loop, &w->timer);
	exchange_answer(x, 200, NULL, SLICE_LIT("to nobody"));
}

static int on_delay(struct exchange *x)
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

static int on_item(struct exchange *x)
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
static int on_fail(struct exchange *x)
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

static void on_stream_gone(struct exchange *x)
{
	struct stream *st = x->user;

	cancelled++;
	blob_unref(st->blob);
	exchange_stream_end(x);
}

static void on_room(struct exchange *x)
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

static int on_stream(struct exchange *x)
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

static size_t upper_bytes(void *ctx, struct slice bytes)
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

static void upper_closed(void *ctx, enum conn_close_reason reason)
{
	struct upper *u = ctx;

	(void)reason;
	http_server_upgraded_closed(u->server, u->loop);
	mem_free(u);
}

static const struct conn_session upper_session = {.on_bytes = upper_bytes, .on_closed = upper_closed};

static int on_upgrade(struct exchange *x)
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

static int on_none(struct exchange *x)
{
	return exchange_answer(x, 204, NULL, slice_null());
}

static const struct route route_none = {
	.methods = HTTP_BIT(HTTP_POST) | HTTP_BIT(HTTP_GET),
	.pattern = "/none",
	.handle = on_none,
};

static int on_blob(struct exchange *x)
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

static int on_members(struct exchange *x)
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

static void count_answer(void *ctx, uint32_t number, const struct route *route, enum http_method method,
			 int status, int64_t latency_ns)
{
	(void)ctx, (void)number, (void)route, (void)method, (void)status;
	assert_true(latency_ns >= 0);
	answers++;
}

static void count_refusal(void *ctx, uint32_t number, int err)
{
	(void)ctx, (void)number;
	refusals++;
	refused_last = err;
}

static void count_connection(void *ctx, uint32_t number, int change)
{
	(void)ctx, (void)number;
	connections += change;
}

static int authorize(void *app, struct exchange *x, const char **detail)
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

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static struct budget budget;
static int64_t budget_max = 256 << 20;

static void start_server(const struct http_options *extra)
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

static void stop_server(void)
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

static void close_idle(struct loop *l, struct loop_msg *msg)
{
	(void)msg;
	http_server_close_idle(server, l);
}

static int set_up(void **state)
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

static int tear_down(void **state)
{
	(void)state;
	stop_server();
	return 0;
}

/* ---- the client ---- */

static int dial(void)
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

static void say(int fd, struct slice bytes)
{
	while (bytes.len) {
		ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);

		if (n < 0)
			return; /* the peer may have refused and gone */
		bytes = slice_from(bytes, (size_t)n);
	}
}

/* Reads until the peer ends (or `enough` is seen); Date lines are taken out. */
static char *hear(int fd, const char *enough)
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

static char *talk(const char *request)
{
	int fd = dial();
	char *answer;

	say(fd, slice_str(request));
	answer = hear(fd, NULL);
	close(fd);
	return answer;
}

static void expect(const char *request, const char *answer)
{
	char *got = talk(request);

	assert_string_equal(got, answer);
	free(got);
}

/* The answer begins with the status and holds the text. */
static void expect_part(const char *request, const char *status, const char *part)
{
	char *got = talk(request);

	if (strncmp(got + 9, status, 3) != 0 || !strstr(got, part))
		print_error("to %s\nwanted %s %s\ngot %s\n", request, status, part, got);
	assert_true(strncmp(got, "HTTP/1.1 ", 9) == 0 && strncmp(got + 9, status, 3) == 0);
	assert_non_null(strstr(got, part));
	free(got);
}

static void nap(void)
{
	usleep(300);
}

/* ---- tests ---- */

static void a_request_is_answered(void **state)
{
	(void)state;
	expect("GET /healthz HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\nConnection: close\r\n\r\n"
	       "{\"status\":\"ok\"}\n");
	expect("HEAD /healthz HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\nConnection: close\r\n\r\n");
	expect("POST /none HTTP/1.1\r\n" LAST "\r\n", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
	expect("GET /items/a%2Fb/x/c%20d HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7\r\nConnection: close\r\nETag: \"1\"\r\n\r\n"
	       "a/b c d");
	expect("GET /none HTTP/1.0\r\n\r\n", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
}

#define MIXED                                                                              \
	"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"                    \
	"GET /delay?ms=0&text=slow HTTP/1.1\r\n" HOST "\r\n"                               \
	"POST /echo HTTP/1.1\r\n" HOST                                                     \
	"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nT: u\r\n\r\n" \
	"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"                         \
	"POST /nowhere HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nlost"                  \
	"PUT /echo HTTP/1.1\r\n" LAST "Content-Length: 3\r\n\r\nend"

#define ECHOED(n, text) "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " n "\r\n\r\n" text

static const char mixed_answer[] = ECHOED(
	"5", "hello") "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow" ECHOED("7", "abcdefg")
	ECHOED("0",
	       "") "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: 110\r\n\r\n"
		   "{\"title\":\"There is no such resource\",\"status\":404,\"detail\":\"There is nothing at /nowhere\","
		   "\"code\":\"not_found\"}\n"
		   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nend";

static void answers_come_in_order_however_the_requests_are_cut(void **state)
{
	struct slice all = SLICE_LIT(MIXED);

	(void)state;
	expect(MIXED, mixed_answer);
	for (size_t cut = 1; cut < all.len; cut++) {
		int fd = dial();
		char *got;

		say(fd, slice_make(all.ptr, cut));
		nap();
		say(fd, slice_from(all, cut));
		got = hear(fd, NULL);
		assert_string_equal(got, mixed_answer);
		free(got);
		close(fd);
	}
}

static void a_request_may_come_byte_by_byte(void **state)
{
	struct slice all = SLICE_LIT(MIXED);
	int fd = dial();
	char *got;

	(void)state;
	for (size_t i = 0; i < all.len; i++) {
		say(fd, slice_make(all.ptr + i, 1));
		nap();
	}
	got = hear(fd, NULL);
	assert_string_equal(got, mixed_answer);
	free(got);
	close(fd);
}

static void delayed_answers_keep_their_order(void **state)
{
	(void)state;
	expect("GET /delay?ms=400&text=a HTTP/1.1\r\n" HOST "\r\nGET /delay?ms=200&text=b HTTP/1.1\r\n" HOST
	       "\r\n"
	       "GET /delay?ms=1&text=c HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
	       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"
	       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nc");
}

static void more_requests_than_may_be_in_flight_are_all_answered(void **state)
{
	struct buf b;
	char *got, *at;
	int fd = dial(), before = handled, seen = 0;

	(void)state;
	buf_init(&b, 1 << 20);
	for (int i = 0; i < 300; i++)
		buf_appendf(&b, "GET /delay?ms=100&text=n%d. HTTP/1.1\r\n" HOST "%s\r\n", i,
			    i == 299 ? "Connection: close\r\n" : "");
	say(fd, slice_make(b.ptr, b.len - 1));
	nap();
	assert_true(handled - before <= 64);
	say(fd, slice_from(buf_slice(&b), b.len - 1));
	got = hear(fd, NULL);
	at = got;
	for (int i = 0; i < 300; i++) {
		char want[20];

		snprintf(want, sizeof(want), "n%d.", i);
		at = strstr(at, want);
		assert_non_null(at);
		seen++;
	}
	assert_int_equal(seen, 300);
	free(got);
	buf_fini(&b);
	close(fd);
}

struct refusal {
	const char *request, *status, *part;
};

static const struct refusal refusal_table[] = {
	{"GET /x HTTP/1.1\r\n" LAST "\r\n", "404", "\"code\":\"not_found\""},
	{"DELETE /echo HTTP/1.1\r\n" LAST "\r\n", "405", "Allow: POST, PUT\r\n"},
	{"DELETE /healthz HTTP/1.1\r\n" LAST "\r\n", "405", "Allow: GET, HEAD\r\n"},
	{"BREW /healthz HTTP/1.1\r\n" LAST "\r\n", "405", "BREW is not allowed here"},
	{"CONNECT h:1 HTTP/1.1\r\n" LAST "\r\n", "404", "not_found"},
	{"DELETE /items/q HTTP/1.1\r\n" LAST "\r\n", "404", "\"code\":\"unknown_topic\""},
	{"DELETE /items/full HTTP/1.1\r\n" LAST "\r\n", "503", "Retry-After: 1\r\n"},
	{"DELETE /items/full HTTP/1.1\r\n" LAST "\r\n", "503",
	 "\"detail\":\"There is no memory for this request\""},
	{"GET /delay?sm=1 HTTP/1.1\r\n" LAST "\r\n", "400", "the nearest that is is 'ms'"},
	{"GET /delay?other=1 HTTP/1.1\r\n" LAST "\r\n", "400", "known are ms and text"},
	{"GET /items/%00 HTTP/1.1\r\n" LAST "\r\n", "400", "malformed_request"},
	{"GET /items/../x HTTP/1.1\r\n" LAST "\r\n", "400", "malformed_request"},
	{"GET /items/ HTTP/1.1\r\n" LAST "\r\n", "404", "not_found"},
	{"GET /delay?mss=1 HTTP/1.1\r\n" LAST "\r\n", "400", "the nearest that is is 'ms'"},
	{"GET /delay?ms=1&ms=2 HTTP/1.1\r\n" LAST "\r\n", "400", "given more than once"},
	{"GET /delay?ms=%zz HTTP/1.1\r\n" LAST "\r\n", "400", "malformed_request"},
	{"GET /delay?ms=%22%0a%ff HTTP/1.1\r\n" LAST "\r\n", "400",
	 "ms must be a number, not '\\\"\\n\xef\xbf\xbd'"},
	{"GET /delay?access_token=x HTTP/1.1\r\n" LAST "\r\n", "400", "unknown_parameter"},
	{"GET /healthz?a HTTP/1.1\r\n" LAST "\r\n", "400", "takes none"},
	{"POST /echo HTTP/1.1\r\n" LAST "\r\n", "411", "length_required"},
	{"POST /none HTTP/1.1\r\n" LAST "Content-Length: 1\r\n\r\nx", "413", "the limit is 0 bytes"},
	{"POST /echo HTTP/1.1\r\n" LAST "Content-Length: 1001\r\n\r\n", "413", "limit of 1000 bytes"},
	{"POST /echo HTTP/1.1\r\n" LAST "Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n", "413",
	 "limit of 1000 bytes"},
	{"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n", "400",
	 "does not begin with its size"},
	{"GET / HTTP/1.1\nHost: h\r\n\r\n", "400", "LF alone"},
	{"GET / HTTP/1.1\r\n\r\n", "400", "needs a Host"},
	{"GET / HTTP/2.0\r\n", "505", "http_version_not_supported"},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400",
	 "must not stand together"},
	{"POST /echo HTTP/1.1\r\n" HOST "Expect: x\r\nContent-Length: 1\r\n\r\n", "417",
	 "expectation_failed"},
	{"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "403", "forbidden_host"},
	{"GET /healthz HTTP/1.1\r\nHost: localhost.evil.example\r\nConnection: close\r\n\r\n", "403",
	 "forbidden_host"},
	{"GET /healthz HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n\r\n", "403", "forbidden_host"},
	{"GET /healthz HTTP/1.1\r\n" LAST "Origin: http://evil.example\r\n\r\n", "403", "forbidden_origin"},
	{"GET /healthz HTTP/1.1\r\n" LAST "Origin: null\r\n\r\n", "403", "forbidden_origin"},
	{"GET /x HTTP/1.1\r\n" LAST "Origin: http://localhost:81\r\n\r\n", "403", "forbidden_origin"},
	{"GET /none HTTP/1.1\r\n" LAST "Authorization: Bearer wrong\r\n\r\n", "401",
	 "WWW-Authenticate: Bearer"},
};

static void each_refusal_has_its_status_and_code(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusal_table) / sizeof(refusal_table[0]); i++) {
		const struct refusal *r = &refusal_table[i];
		int before = refusals;

		expect_part(r->request, r->status, r->part);
		expect_part(r->request, r->status, "Content-Type: application/problem+json\r\n");
		assert_int_equal(refusals - before, 2);
	}
}

static void hosts_and_origins_that_are_allowed(void **state)
{
	static const char *const good[] = {
		"Host: localhost:8080\r\n",
		"Host: LOCALHOST\r\n",
		"Host: a.localhost\r\n",
		"Host: 127.9.9.9:1\r\n",
		"Host: [::1]:1\r\n",
		"Host: Weir.example:80\r\n",
		"Host: localhost\r\nOrigin: http://localhost\r\n",
		"Host: localhost:80\r\nOrigin: http://LocalHost\r\n",
		"Host: localhost\r\nOrigin: https://localhost:443\r\n",
	};
	char request[300];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(request, sizeof(request), "GET /healthz HTTP/1.1\r\n%sConnection: close\r\n\r\n",
			 good[i]);
		expect_part(request, "200", "ok");
	}
	expect("OPTIONS /echo HTTP/1.1\r\n" LAST "Origin: https://app.example\r\n"
	       "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n",
	       "HTTP/1.1 204 No Content\r\nConnection: close\r\nAccess-Control-Allow-Methods: POST, PUT\r\n"
	       "Access-Control-Allow-Headers: content-type\r\nAccess-Control-Max-Age: 600\r\n"
	       "Access-Control-Allow-Origin: https://app.example\r\n"
	       "Access-Control-Expose-Headers: ETag, Retry-After, Idempotent-Replayed\r\nVary: Origin\r\n\r\n");
	expect_part("GET /none HTTP/1.1\r\n" LAST "Origin: https://app.example\r\n\r\n", "204",
		    "Access-Control-Allow-Origin: https://app.example\r\n");
	expect_part("OPTIONS /echo HTTP/1.1\r\n" LAST "\r\n", "405", "Allow: POST, PUT");
}

/* A body the client insists on sending must not hide the answer, nor be taken for a request. */
static void an_early_refusal_is_seen_although_the_body_goes_on(void **state)
{
	struct buf b;
	char *got;
	int fd = dial();

	(void)state;
	buf_init(&b, 1 << 23);
	buf_append_str(&b, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4000000\r\n\r\n");
	while (b.len < 4000000)
		buf_append_str(&b, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
	say(fd, buf_slice(&b));
	got = hear(fd, NULL);
	assert_non_null(strstr(got, "HTTP/1.1 413 "));
	assert_non_null(strstr(got, "Connection: close\r\n"));
	assert_null(strstr(got, "\"ok\""));
	free(got);
	buf_fini(&b);
	close(fd);
}

static void chunks_over_the_limit_are_refused_on_the_way(void **state)
{
	struct buf b;
	char *got;
	int fd = dial();

	(void)state;
	buf_init(&b, 1 << 20);
	buf_append_str(&b, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 101; i++)
		buf_append_str(&b, "a\r\n0123456789\r\n");
	say(fd, buf_slice(&b));
	got = hear(fd, NULL);
	assert_non_null(strstr(got, "HTTP/1.1 413 "));
	assert_non_null(strstr(got, "body_too_large"));
	free(got);
	buf_fini(&b);
	close(fd);
}

static void continue_is_sent_when_it_is_wanted(void **state)
{
	int fd = dial();
	char *got;

	(void)state;
	say(fd,
	    SLICE_LIT("POST /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
	got = hear(fd, "\r\n\r\n");
	assert_string_equal(got, "HTTP/1.1 100 Continue\r\n\r\n");
	free(got);
	say(fd, SLICE_LIT("abc"));
	got = hear(fd, "abc");
	assert_string_equal(got, ECHOED("3", "abc"));
	free(got);
	/* Behind a request in flight it waits for that one's answer. */
	say(fd,
	    SLICE_LIT("GET /delay?ms=100&text=x HTTP/1.1\r\n" HOST "\r\n"
		      "POST /echo HTTP/1.1\r\n" LAST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
	got = hear(fd, "100 Continue\r\n\r\n");
	assert_string_equal(got,
			    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 100 Continue\r\n\r\n");
	free(got);
	say(fd, SLICE_LIT("abc"));
	got = hear(fd, NULL);
	assert_non_null(strstr(got, "\r\n\r\nabc"));
	free(got);
	close(fd);
}

static void streams_keep_to_their_credit_and_end(void **state)
{
	char *got = talk("GET /stream?n=2 HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n" LAST "\r\n");
	char *at;

	(void)state;
	at = strstr(got, "Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n3e8\r\nsss");
	assert_non_null(at);
	at = strstr(at, "s\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\n");
	assert_non_null(at);
	free(got);
	got = talk("GET /stream?n=2000 HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n" LAST "\r\n");
	assert_true(strlen(got) > 2000 * 1007);
	assert_non_null(strstr(got, "\r\n0\r\n\r\nHTTP/1.1 204"));
	free(got);
	got = talk("GET /stream?n=1&access_token=a HTTP/1.0\r\n\r\n");
	assert_null(strstr(got, "chunked"));
	assert_non_null(strstr(got, "\r\n\r\nbeginsss"));
	free(got);
	expect("HEAD /stream?n=3 HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
	/* Behind a request in flight it waits. */
	got = talk("GET /delay?ms=100&text=x HTTP/1.1\r\n" HOST "\r\nGET /stream?n=0 HTTP/1.1\r\n" LAST
		   "\r\n");
	assert_true(strncmp(got, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK", 54) == 0);
	free(got);
}

static void wait_for(atomic_int *value, int want)
{
	for (int i = 0; i < 20000 && *value != want; i++)
		usleep(1000);
	assert_int_equal(*value, want);
}

static void owners_are_told_of_peers_that_went_away(void **state)
{
	struct linger reset = {.l_onoff = 1};
	int before = cancelled, started = handled;
	int fd = dial();

	(void)state;
	say(fd, SLICE_LIT("GET /delay?ms=60000 HTTP/1.1\r\n" HOST "\r\nGET /delay?ms=60000 HTTP/1.1\r\n" HOST
			  "\r\n"));
	wait_for(&handled, started + 2);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	close(fd);
	wait_for(&cancelled, before + 2);
	fd = dial();
	say(fd, SLICE_LIT("GET /stream?n=77 HTTP/1.1\r\n" HOST "\r\n"));
	free(hear(fd, "begin"));
	close(fd);
	wait_for(&cancelled, before + 3);
}

static void a_client_that_has_ended_still_gets_its_answers(void **state)
{
	char *got;
	int fd = dial();

	(void)state;
	say(fd,
	    SLICE_LIT("GET /delay?ms=150&text=x HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n" HOST "\r\n"));
	shutdown(fd, SHUT_WR);
	got = hear(fd, NULL);
	assert_string_equal(got,
			    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 204 No Content\r\n\r\n");
	free(got);
	close(fd);
	fd = dial();
	say(fd, SLICE_LIT("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nab"));
	shutdown(fd, SHUT_WR);
	got = hear(fd, NULL);
	assert_non_null(strstr(got, "400 Bad Request"));
	assert_non_null(strstr(got, "ended before the body did"));
	free(got);
	close(fd);
	fd = dial();
	say(fd, SLICE_LIT("GET / HT"));
	shutdown(fd, SHUT_WR);
	got = hear(fd, NULL);
	assert_non_null(strstr(got, "ended within the head"));
	free(got);
	close(fd);
	fd = dial();
	shutdown(fd, SHUT_WR);
	got = hear(fd, NULL);
	assert_string_equal(got, "");
	free(got);
	close(fd);
}

static void an_upgrade_hands_over_what_follows(void **state)
{
	static const char head[] =
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: upper\r\nConnection: Upgrade\r\n\r\n";
	char *got = talk("GET /upper HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: upper\r\n\r\nabc.");
	char want[200];

	(void)state;
	snprintf(want, sizeof(want), "%sABC.", head);
	assert_string_equal(got, want);
	free(got);
	got = talk("GET /delay?ms=100&text=x HTTP/1.1\r\n" HOST "\r\nGET /upper HTTP/1.1\r\n" HOST
		   "\r\nabc.");
	assert_non_null(strstr(got, "\r\n\r\nxHTTP/1.1 101"));
	assert_non_null(strstr(got, "\r\n\r\nABC."));
	free(got);
	wait_for(&connections, 0);
}

static void deadlines_cut_the_silent_and_the_slow(void **state)
{
	struct http_options o = {.head_timeout_ns = 600 * MS,
				 .body_grace_ns = 300 * MS,
				 .body_rate = 1000000,
				 .idle_timeout_ns = 300 * MS,
				 .small_body_max = 1000,
				 .in_flight_max = 2};
	char *got;
	int fd;

	(void)state;
	start_server(&o);
	expect("", "");
	expect("GET /none HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 204 No Content\r\n\r\n");
	expect_part("GET /none HTTP/1.1\r\n", "408", "head of the request did not come in time");
	expect_part("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nab", "408",
		    "more slowly than allowed");
	expect_part("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\na", "408",
		    "request_timeout");
	/* A request in flight has no deadline, and bytes behind it have theirs from when they came. */
	fd = dial();
	say(fd, SLICE_LIT("GET /delay?ms=1500&text=x HTTP/1.1\r\n" HOST "\r\n"));
	usleep(900000);
	say(fd, SLICE_LIT("GET /none HTTP/1.1\r\n"));
	usleep(200000);
	say(fd, SLICE_LIT(LAST "\r\n"));
	got = hear(fd, NULL);
	assert_string_equal(got, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 204 No Content\r\n"
				 "Connection: close\r\n\r\n");
	free(got);
	close(fd);
	/* So do bytes that had to wait until there was room for another request. */
	fd = dial();
	say(fd, SLICE_LIT("GET /delay?ms=1000&text=x HTTP/1.1\r\n" HOST
			  "\r\nGET /delay?ms=2000&text=y HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n"));
	free(hear(fd, "\r\n\r\nx"));
	usleep(200000);
	say(fd, SLICE_LIT(LAST "\r\n"));
	got = hear(fd, NULL);
	assert_string_equal(got, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nyHTTP/1.1 204 No Content\r\n"
				 "Connection: close\r\n\r\n");
	free(got);
	close(fd);
	stop_server();
}

struct ask_turns {
	struct loop_msg msg; /* first */
	atomic_int done;
	uint64_t turns;
};

static void tell_turns(struct loop *l, struct loop_msg *msg)
{
	struct ask_turns *ask = (struct ask_turns *)msg;

	ask->turns = loop_turns(l);
	ask->done = 1;
}

static uint64_t count_turns(void)
{
	struct ask_turns ask = {.msg.run = tell_turns};

	loop_post(loop, &ask.msg);
	wait_for(&ask.done, 1);
	return ask.turns;
}

static void who_waits_long_wakes_nobody(void **state)
{
	struct http_options o = {.head_timeout_ns = 500 * MS, .idle_timeout_ns = 500 * MS};
	int fds[6], before = handled;
	uint64_t turns;
	char *got;

	(void)state;
	start_server(&o);
	for (int i = 0; i < 6; i++) {
		fds[i] = dial();
		if (i % 2 == 0) {
			say(fds[i], SLICE_LIT("GET /stream?n=77 HTTP/1.1\r\n" HOST "\r\n"));
			free(hear(fds[i], "begin"));
		} else { /* behind the answer of another, and its head in two pieces */
			say(fds[i], SLICE_LIT("GET /none HTTP/1.1\r\n" HOST "\r\nGET /delay?ms=060000 HT"));
			free(hear(fds[i], "\r\n\r\n"));
			say(fds[i], SLICE_LIT("TP/1.1\r\n" HOST "\r\n"));
		}
	}
	wait_for(&handled, before + 3);
	turns = count_turns();
	usleep(800000);
	assert_int_equal(count_turns() - turns, 1); /* that of asking: no deadline of before rings */
	for (int i = 0; i < 6; i++)
		close(fds[i]);
	fds[0] = dial(); /* afterwards deadlines count again */
	say(fds[0], SLICE_LIT("GET /delay?ms=0800&text=x HTTP/1.1\r\n" HOST "\r\n"));
	got = hear(fds[0], NULL);
	assert_string_equal(got, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
	free(got);
	close(fds[0]);
	stop_server();
}

static void memory_in_flight_is_bounded_and_comes_back(void **state)
{
	struct http_options o = {.small_body_max = 1000, .in_flight_bytes_max = 10000};
	int before = handled;
	struct buf b;
	char *got;
	int fd;

	(void)state;
	start_server(&o);
	fd = dial();
	buf_init(&b, 1 << 20);
	for (int i = 0; i < 40; i++)
		buf_append_str(&b, "GET /delay?ms=100&text=x HTTP/1.1\r\n" HOST "\r\n");
	buf_append_str(&b, "GET /none HTTP/1.1\r\n" LAST "\r\n");
	say(fd, buf_slice(&b));
	got = hear(fd, "\r\n\r\nx");
	assert_true(handled - before <= 10);
	free(got);
	got = hear(fd, NULL);
	assert_non_null(strstr(got, "204 No Content"));
	free(got);
	buf_fini(&b);
	close(fd);
	stop_server();
}

static void bodies_on_their_way_have_a_budget(void **state)
{
	struct http_options o = {.small_body_max = 100000};
	int one, other;
	char *got;

	(void)state;
	budget_max = 16000; /* two connections, their requests and one body */
	start_server(&o);
	one = dial();
	say(one, SLICE_LIT("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 8000\r\n\r\na"));
	usleep(50000);
	other = dial();
	say(other, SLICE_LIT("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 8000\r\n\r\na"));
	got = hear(other, "}\n");
	assert_non_null(strstr(got, "HTTP/1.1 503 "));
	assert_non_null(strstr(got, "Retry-After: 1\r\n"));
	assert_non_null(strstr(got, "\"overloaded\""));
	free(got);
	close(one);
	close(other);
	wait_for(&connections, 0);
	/* What was charged has come back. */
	one = dial();
	say(one, SLICE_LIT("POST /echo HTTP/1.1\r\n" LAST "Content-Length: 7500\r\n\r\n"));
	usleep(50000);
	for (int i = 0; i < 75; i++)
		say(one, SLICE_LIT("0123456789012345678901234567890123456789012345678901234567890123456789"
				   "012345678901234567890123456789"));
	got = hear(one, NULL);
	assert_int_equal(strncmp(got, "HTTP/1.1 200", 12), 0);
	free(got);
	close(one);
	stop_server();
}

static void a_draining_server_closes_with_its_answers(void **state)
{
	struct http_options o = {.small_body_max = 1000};
	struct loop_msg msg = {.run = close_idle};
	char *got;
	int fd, idle;

	(void)state;
	start_server(&o);
	idle = dial();
	fd = dial();
	say(fd, SLICE_LIT("GET /none HTTP/1.1\r\n" HOST "\r\n"));
	got = hear(fd, "\r\n\r\n");
	assert_null(strstr(got, "close"));
	free(got);
	http_server_drain(server);
	say(fd, SLICE_LIT("GET /no"));
	usleep(50000);
	loop_post(loop, &msg);
	got = hear(idle, NULL);
	assert_string_equal(got, "");
	free(got);
	close(idle);
	say(fd, SLICE_LIT("ne HTTP/1.1\r\n" HOST "\r\n"));
	got = hear(fd, NULL);
	assert_string_equal(got, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
	free(got);
	close(fd);
	stop_server();
}

static void a_request_allocates_nothing(void **state)
{
	int fd = dial();
	uint64_t before;

	(void)state;
	for (int i = 0; i < 3; i++) {
		before = mem_calls();
		for (int k = 0; k < 50; k++) {
			say(fd, SLICE_LIT("POST /echo HTTP/1.1\r\n" HOST
					  "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"));
			free(hear(fd, "hello"));
		}
	}
	assert_int_equal(mem_calls() - before, 0);
	close(fd);
}

static void bodies_of_answers_may_be_shared(void **state)
{
	char *got = talk("GET /blob HTTP/1.1\r\n" HOST "\r\nGET /delay?ms=0&text=x HTTP/1.1\r\n" HOST
			 "\r\nGET /blob HTTP/1.1\r\n" LAST "\r\n");
	size_t count = 0;

	(void)state;
	for (const char *at = got; *at; at++)
		count += *at == 'b' && (at[1] == 'b' || at[-1] == 'b');
	assert_int_equal(count, 8000);
	free(got);
	expect("HEAD /blob HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4000\r\nConnection: close\r\n\r\n");
	expect_part("GET /members HTTP/1.1\r\n" LAST "\r\n", "422",
		    "\"detail\":\"1 bad\",\"code\":\"invalid_batch\",\"errors\":[]}\n");
}

static void limits_of_the_head_are_named(void **state)
{
	char *request = malloc(40000);

	(void)state;
	assert_non_null(request);
	memset(request, 'a', 39999);
	memcpy(request, "GET /", 5);
	request[9000] = '\0';
	expect_part(request, "414", "the limit is 8192 bytes");
	request[9000] = 'a';
	memcpy(request, "GET / HTTP/1.1\r\nA: ", 19);
	request[39999] = '\0';
	expect_part(request, "431", "the limit is 32768 bytes");
	free(request);
}

static void a_connection_too_many_is_told(void **state)
{
	struct http_options o = {.small_body_max = 1000};
	char *got;
	int one, other;

	(void)state;
	connections_max = 1;
	start_server(&o);
	connections_max = 0;
	one = dial();
	say(one, SLICE_LIT("GET /none HTTP/1.1\r\n" HOST "\r\n"));
	free(hear(one, "\r\n\r\n"));
	other = dial();
	got = hear(other, "}");
	assert_non_null(strstr(got, "HTTP/1.1 503 "));
	assert_non_null(strstr(got, "too_many_connections"));
	free(got);
	close(one);
	close(other);
	stop_server();
}

static void what_cannot_be_told_ends_the_connection(void **state)
{
	(void)state;
	expect("DELETE /items/mute HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n" LAST "\r\n", "");
	expect("GET /delay?ms=100&text=a HTTP/1.1\r\n" HOST "\r\nDELETE /items/mute HTTP/1.1\r\n" HOST
	       "\r\nGET /none HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
}

/* Whichever allocation fails, it costs that request or connection, and nothing else. */
static void an_allocation_that_fails_costs_one_request(void **state)
{
	(void)state;
	for (uint64_t nth = 1; nth < 40; nth++) {
		int fd = dial();

		mem_fail_at(nth);
		say(fd, SLICE_LIT("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 900\r\n\r\nabc"));
		nap();
		say(fd, SLICE_LIT("GET /delay?ms=0&text=%20 HTTP/1.1\r\n" HOST
				  "\r\nGET /none HTTP/1.1\r\n" LAST "\r\n"));
		shutdown(fd, SHUT_WR);
		free(hear(fd, NULL));
		close(fd);
		mem_fail_at(0);
		expect_part("GET /healthz HTTP/1.1\r\n" LAST "\r\n", "200", "ok");
	}
}

static void routes_that_clash_are_refused(void **state)
{
	static const struct route other = {.methods = HTTP_BIT(HTTP_HEAD),
					   .pattern = "/healthz",
					   .handle = on_none};
	static const struct route *const clash[] = {&route_healthz, &other};
	struct route_table *t;
	struct fault fault;

	(void)state;
	assert_int_equal(route_table_new(clash, 2, &t, &fault), ERR_BAD_PARAMETER);
	assert_non_null(strstr(fault.text, "/healthz"));
}

int main(void)
{
	const struct CMUnitTest shared[] = {
		cmocka_unit_test(a_request_is_answered),
		cmocka_unit_test(a_request_allocates_nothing),
		cmocka_unit_test(answers_come_in_order_however_the_requests_are_cut),
		cmocka_unit_test(a_request_may_come_byte_by_byte),
		cmocka_unit_test(delayed_answers_keep_their_order),
		cmocka_unit_test(more_requests_than_may_be_in_flight_are_all_answered),
		cmocka_unit_test(each_refusal_has_its_status_and_code),
		cmocka_unit_test(hosts_and_origins_that_are_allowed),
		cmocka_unit_test(an_early_refusal_is_seen_although_the_body_goes_on),
		cmocka_unit_test(chunks_over_the_limit_are_refused_on_the_way),
		cmocka_unit_test(continue_is_sent_when_it_is_wanted),
		cmocka_unit_test(streams_keep_to_their_credit_and_end),
		cmocka_unit_test(owners_are_told_of_peers_that_went_away),
		cmocka_unit_test(a_client_that_has_ended_still_gets_its_answers),
		cmocka_unit_test(an_upgrade_hands_over_what_follows),
		cmocka_unit_test(bodies_of_answers_may_be_shared),
		cmocka_unit_test(limits_of_the_head_are_named),
		cmocka_unit_test(what_cannot_be_told_ends_the_connection),
		cmocka_unit_test(an_allocation_that_fails_costs_one_request),
		cmocka_unit_test(routes_that_clash_are_refused),
	};
	const struct CMUnitTest own[] = {
		cmocka_unit_test(deadlines_cut_the_silent_and_the_slow),
		cmocka_unit_test(who_waits_long_wakes_nobody),
		cmocka_unit_test(a_connection_too_many_is_told),
		cmocka_unit_test(memory_in_flight_is_bounded_and_comes_back),
		cmocka_unit_test(bodies_on_their_way_have_a_budget),
		cmocka_unit_test(a_draining_server_closes_with_its_answers),
	};
	int failed = cmocka_run_group_tests(shared, set_up, tear_down);

	return failed + cmocka_run_group_tests(own, NULL, NULL);
}
