/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fetcher on a loop against a server of threads that answers by path, as badly
 * as it is told to; TLS against openssl's own server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/fetcher.h"

#define MIB (1u << 20)

/* ---- the server ---- */

static struct {
	int fd;
	uint16_t port;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic int sessions;    /* threads that live */
	_Atomic int connections; /* so far */
	_Atomic int64_t sent;    /* bytes of the endless body that the kernel took */
	char head[8192];         /* the last request that was whole */
	pthread_mutex_t lock;
} web = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool put(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n > 0) {
		ssize_t did = send(fd, at, n, MSG_NOSIGNAL);

		if (did <= 0)
			return false;
		at += did;
		n -= (size_t)did;
	}
	return true;
}

static bool say(int fd, const char *text)
{
	return put(fd, text, strlen(text));
}

static bool put_body(int fd, const char *fields, const void *body, size_t n)
{
	char head[300];

	(void)snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\n%sContent-Length: %zu\r\n\r\n", fields, n);
	return say(fd, head) && put(fd, body, n);
}

static int letter(size_t i)
{
	return 'a' + (int)((i * 2654435761u >> 13) % 26);
}

/* 16 MiB of lines, packed. */
static bool put_packed(int fd, bool zstd)
{
	size_t n = 16 * MIB, room = ZSTD_compressBound(n), len;
	uint8_t *plain = malloc(n), *packed = malloc(room);
	bool ok;

	for (size_t i = 0; i < n; i++)
		plain[i] = (uint8_t)(i % 61 == 60 ? '\n' : letter(i));
	if (zstd) {
		len = ZSTD_compress(packed, room, plain, n, 1);
	} else {
		z_stream z = {0};

		(void)deflateInit2(&z, 1, Z_DEFLATED, 16 + 15, 8, Z_DEFAULT_STRATEGY);
		z.next_in = plain;
		z.avail_in = (uInt)n;
		z.next_out = packed;
		z.avail_out = (uInt)room;
		(void)deflate(&z, Z_FINISH);
		len = z.total_out;
		(void)deflateEnd(&z);
	}
	ok = put_body(fd, zstd ? "Content-Encoding: zstd\r\n" : "Content-Encoding: gzip\r\n", packed, len);
	free(plain);
	free(packed);
	return ok;
}

static bool put_endless(int fd)
{
	static const char piece[65536];
	bool ok = say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");

	while (ok && !atomic_load(&web.stop)) {
		ssize_t did = send(fd, piece, sizeof(piece), MSG_NOSIGNAL);

		ok = did > 0;
		if (ok)
			atomic_fetch_add(&web.sent, did);
	}
	return false;
}

static bool put_slowly(int fd)
{
	bool ok = say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");

	while (ok && !atomic_load(&web.stop)) {
		ok = say(fd, "x");
		(void)usleep(200000);
	}
	return false;
}

static bool put_long_head(int fd)
{
	bool ok = say(fd, "HTTP/1.1 200 OK\r\n");

	for (int i = 0; i < 4000 && ok; i++)
		ok = say(fd, "X-Filler: 0123456789012345678901234567890123456789\r\n");
	return ok && say(fd, "Content-Length: 0\r\n\r\n");
}

static bool redirect(int fd, const char *status, const char *to)
{
	char head[800];

	(void)snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nLocation: %s\r\nContent-Length: 5\r\n\r\nmoved",
		       status, to);
	return say(fd, head);
}

/* Answers by path; false: the connection is to be closed. */
static bool answer(int fd, const char *path, const char *head)
{
	char text[600];

	if (strcmp(path, "/hello") == 0)
		return put_body(fd, "ETag: \"one\"\r\nX-Many: a\r\nX-Many: b\r\n", "hello", 5);
	if (strcmp(path, "/echo") == 0)
		return put_body(fd, "", head, strlen(head));
	if (strncmp(path, "/status/", 8) == 0) {
		(void)snprintf(
			text, sizeof(text),
			"HTTP/1.1 %s Told\r\nRetry-After: 7\r\nContent-Length: 12\r\n\r\nsay\nit \twell",
			path + 8);
		return say(fd, text);
	}
	if (strcmp(path, "/unchanged") == 0)
		return say(fd, "HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\n\r\n");
	if (strcmp(path, "/chunked") == 0)
		return say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
			       "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n");
	if (strcmp(path, "/gzip") == 0 || strcmp(path, "/zstd") == 0)
		return put_packed(fd, path[1] == 'z');
	if (strcmp(path, "/brotli") == 0)
		return put_body(fd, "Content-Encoding: br\r\n", "xyz", 3);
	if (strcmp(path, "/half-gzip") == 0)
		return put_body(fd, "Content-Encoding: gzip\r\n", "\x1f\x8b\x08\0\0\0\0\0\0\3", 10);
	if (strcmp(path, "/cut") == 0)
		return say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot a hundred") && false;
	if (strcmp(path, "/silent") == 0)
		return false;
	if (strcmp(path, "/noise") == 0)
		return say(fd, "this is no HTTP at all\r\n\r\n") && false;
	if (strcmp(path, "/huge") == 0)
		return say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n") && put_endless(fd);
	if (strcmp(path, "/endless") == 0)
		return put_endless(fd);
	if (strcmp(path, "/slow") == 0)
		return put_slowly(fd);
	if (strcmp(path, "/long-head") == 0)
		return put_long_head(fd);
	if (strcmp(path, "/endless-refusal") == 0)
		return say(fd, "HTTP/1.1 500 Oh\r\n\r\n") && put_endless(fd);
	if (strcmp(path, "/to-hello") == 0)
		return redirect(fd, "302 Found", "/hello");
	if (strcmp(path, "/to-echo") == 0)
		return redirect(fd, "301 Moved", "echo");
	if (strcmp(path, "/to-echo-307") == 0)
		return redirect(fd, "307 Same", "/echo");
	if (strcmp(path, "/to-other") == 0) {
		(void)snprintf(text, sizeof(text), "http://localhost:%u/echo", web.port);
		return redirect(fd, strstr(head, "POST") == head ? "308 Same" : "302 Found", text);
	}
	if (strcmp(path, "/to-inside") == 0)
		return redirect(fd, "302 Found", "http://169.254.169.254/latest/meta-data");
	if (strcmp(path, "/to-file") == 0)
		return redirect(fd, "302 Found", "file:///etc/passwd");
	if (strcmp(path, "/round") == 0)
		return redirect(fd, "302 Found", "/round");
	return say(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
}

/* The second word of the request line. */
static bool read_path(const char *head, char path[200])
{
	const char *from = strchr(head, ' '), *to = from ? strchr(from + 1, ' ') : NULL;

	if (!to || to - from > 199)
		return false;
	memcpy(path, from + 1, (size_t)(to - from - 1));
	path[to - from - 1] = '\0';
	return true;
}

/* One request with its body; false at the end. */
static bool read_request(int fd, char *head, size_t room, char path[200])
{
	size_t have = 0, length = 0;
	char *end = NULL, *field;

	while (!end && have + 1 < room) {
		ssize_t did = recv(fd, head + have, room - 1 - have, 0);

		if (did <= 0)
			return false;
		have += (size_t)did;
		head[have] = '\0';
		end = strstr(head, "\r\n\r\n");
	}
	field = strstr(head, "Content-Length: ");
	if (field && field < end)
		length = (size_t)atol(field + 16);
	while (end && have < (size_t)(end - head) + 4 + length && have + 1 < room) {
		ssize_t did = recv(fd, head + have, room - 1 - have, 0);

		if (did <= 0)
			return false;
		have += (size_t)did;
		head[have] = '\0';
	}
	return end && read_path(head, path);
}

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char head[8192], path[200];

	while (read_request(fd, head, sizeof(head), path)) {
		(void)pthread_mutex_lock(&web.lock);
		memcpy(web.head, head, sizeof(head));
		(void)pthread_mutex_unlock(&web.lock);
		if (!answer(fd, path, head))
			break;
	}
	(void)close(fd);
	atomic_fetch_sub(&web.sessions, 1);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct pollfd p = {.fd = web.fd, .events = POLLIN};

	(void)arg;
	while (!atomic_load(&web.stop)) {
		struct timeval patience = {.tv_sec = 20};
		pthread_t thread;
		int fd;

		if (poll(&p, 1, 20) < 1)
			continue;
		fd = accept(web.fd, NULL, NULL);
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		atomic_fetch_add(&web.connections, 1);
		atomic_fetch_add(&web.sessions, 1);
		assert_int_equal(pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd), 0);
		(void)pthread_detach(thread);
	}
	return NULL;
}

/* ---- the loop and its calls ---- */

static struct loop *loop;
static pthread_t loop_thread;

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

/* One call and what came of it. */
struct seen {
	struct loop_msg msg;
	struct fetcher_options options;
	struct fetcher_call *call;
	sem_t done;
	int start_rc, heads, status_at_head, pieces;
	size_t pause_at;            /* pauses once that many bytes have come */
	size_t cancel_at;           /* cancels then */
	_Atomic size_t paused_with; /* bytes when it paused; 0: not yet */
	struct buf body;
	size_t bytes;
	bool keep;
	char etag[32], many[32];
	int err, status;
	enum fetcher_class class;
	uint32_t redirects;
	int64_t retry_after_ms;
	uint64_t wire_bytes, plain_bytes;
	char text[1100], url[300];
	struct fault fault;
};

static void on_head(void *ctx, int status)
{
	struct seen *s = ctx;
	struct slice etag = fetcher_header(s->call, "etag", 0), many = fetcher_header(s->call, "X-Many", 1);

	s->heads++;
	s->status_at_head = status;
	(void)snprintf(s->etag, sizeof(s->etag), "%.*s", (int)etag.len, (const char *)etag.ptr);
	(void)snprintf(s->many, sizeof(s->many), "%.*s", (int)many.len, (const char *)many.ptr);
}

static void on_body(void *ctx, struct slice piece)
{
	struct seen *s = ctx;

	s->pieces++;
	s->bytes += piece.len;
	if (s->keep)
		assert_int_equal(buf_append_slice(&s->body, piece), 0);
	if (s->pause_at && s->bytes >= s->pause_at) {
		fetcher_pause(s->call);
		s->pause_at = 0;
		atomic_store(&s->paused_with, s->bytes);
	}
	if (s->cancel_at && s->bytes >= s->cancel_at) {
		fetcher_cancel(s->call);
		(void)sem_post(&s->done);
	}
}

static void on_done(void *ctx, const struct fetcher_result *r)
{
	struct seen *s = ctx;

	s->err = r->err;
	s->status = r->status;
	s->class = r->class;
	s->redirects = r->redirects;
	s->retry_after_ms = r->retry_after_ms;
	s->wire_bytes = r->wire_bytes;
	s->plain_bytes = r->plain_bytes;
	assert_true(r->err == 0 || r->text[0]);
	(void)snprintf(s->text, sizeof(s->text), "%s", r->text);
	(void)snprintf(s->url, sizeof(s->url), "%s", r->url);
	(void)sem_post(&s->done);
}

static const struct fetcher_handler handler = {on_head, on_body, on_done};

static void start_one(struct loop *on, struct loop_msg *msg)
{
	struct seen *s = (struct seen *)msg;

	s->start_rc = fetcher_start(on, &s->options, &s->call, &s->fault);
	if (s->start_rc < 0)
		(void)sem_post(&s->done);
}

static void init_seen(struct seen *s, const char *path, char url[300])
{
	memset(s, 0, sizeof(*s));
	(void)sem_init(&s->done, 0, 0);
	buf_init(&s->body, 64 * MIB);
	s->keep = true;
	(void)snprintf(url, 300, path[0] == '/' ? "http://127.0.0.1:%2$u%1$s" : "%s", path, web.port);
	s->options.url = slice_str(url);
	s->options.handler = &handler;
	s->options.ctx = s;
	s->msg.run = start_one;
}

static void await(struct seen *s)
{
	while (sem_wait(&s->done) < 0)
		;
}

static void fetch(struct seen *s)
{
	loop_post(loop, &s->msg);
	await(s);
}

static struct seen fetched;
static char fetched_url[300];

/* The usual call, to be changed before fetch. */
static struct seen *make(const char *path)
{
	buf_fini(&fetched.body);
	init_seen(&fetched, path, fetched_url);
	return &fetched;
}

static bool body_is(const struct seen *s, const char *text)
{
	return slice_eq_str(buf_slice(&s->body), text);
}

static bool body_has(struct seen *s, const char *text)
{
	assert_int_equal(buf_append_byte(&s->body, 0), 0);
	s->body.len--;
	return strstr((const char *)s->body.ptr, text) != NULL;
}

struct figures_msg {
	struct loop_msg msg;
	struct fetcher_figures figures;
	sem_t done;
};

static void read_figures(struct loop *on, struct loop_msg *msg)
{
	struct figures_msg *f = (struct figures_msg *)msg;

	fetcher_figures(on, &f->figures);
	(void)sem_post(&f->done);
}

static struct fetcher_figures figures(void)
{
	struct figures_msg f = {.msg.run = read_figures};

	(void)sem_init(&f.done, 0, 0);
	loop_post(loop, &f.msg);
	while (sem_wait(&f.done) < 0)
		;
	return f.figures;
}

static int setup(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct loop_options options = {.sys = sys_kernel()};
	socklen_t len = sizeof(at);

	(void)state;
	atomic_store(&web.stop, false);
	atomic_store(&web.connections, 0);
	atomic_store(&web.sent, 0);
	web.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(web.fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(web.fd, 100), 0);
	assert_int_equal(getsockname(web.fd, (struct sockaddr *)&at, &len), 0);
	web.port = ntohs(at.sin_port);
	assert_int_equal(pthread_create(&web.thread, NULL, accept_all, NULL), 0);
	assert_int_equal(loop_new(&options, &loop), 0);
	assert_int_equal(pthread_create(&loop_thread, NULL, run_loop, loop), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_stop(loop);
	(void)pthread_join(loop_thread, NULL);
	loop_free(loop);
	atomic_store(&web.stop, true);
	(void)pthread_join(web.thread, NULL);
	(void)close(web.fd);
	for (int i = 0; i < 30000 && atomic_load(&web.sessions) > 0; i++)
		(void)usleep(1000);
	assert_int_equal(atomic_load(&web.sessions), 0);
	buf_fini(&fetched.body);
	memset(&fetched, 0, sizeof(fetched));
	return 0;
}

/* ---- tests ---- */

static void gives_status_head_and_body(void **state)
{
	struct seen *s = make("/hello");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_int_equal(s->status, 200);
	assert_int_equal(s->class, FETCHER_OK);
	assert_int_equal(s->heads, 1);
	assert_int_equal(s->status_at_head, 200);
	assert_string_equal(s->etag, "\"one\"");
	assert_string_equal(s->many, "b");
	assert_true(body_is(s, "hello"));
	assert_int_equal(s->plain_bytes, 5);
	assert_string_equal(s->url, fetched_url);
}

static void connections_are_used_again(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		struct seen *s = make("/hello");

		fetch(s);
		assert_int_equal(s->err, 0);
	}
	assert_int_equal(atomic_load(&web.connections), 1);
	assert_int_equal(figures().sockets, 1);
	assert_int_equal(figures().calls, 0);
}

static void sends_what_it_was_told(void **state)
{
	const struct fetcher_field fields[] = {
		{SLICE_LIT("X-One"), SLICE_LIT("1"), false},
		{SLICE_LIT("X-Empty"), SLICE_LIT(""), false},
	};
	struct seen *s = make("/echo?a=b");

	(void)state;

	fetch(s);
	assert_int_equal(s->status, 404); /* the query is a part of the path of this server: it was sent */
	assert_non_null(strstr(s->text, "/echo?... was answered with status 404"));
	s = make("/echo");
	s->options.method = "PATCH";
	s->options.body = SLICE_LIT("{\"a\":1}");
	s->options.fields = fields;
	s->options.field_count = 2;
	s->options.auth = FETCHER_AUTH_BASIC;
	s->options.user = SLICE_LIT("Aladdin");
	s->options.secret = SLICE_LIT("open sesame");
	s->options.packed = true;
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_true(body_has(s, "PATCH /echo HTTP/1.1\r\n"));
	assert_true(body_has(s, "\r\nX-One: 1\r\n"));
	assert_true(body_has(s, "\r\nX-Empty:\r\n"));
	assert_true(body_has(s, "\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"));
	assert_true(body_has(s, "\r\nAccept-Encoding: gzip, zstd\r\n"));
	assert_true(body_has(s, "\r\nUser-Agent: weir/"));
	assert_true(body_has(s, "\r\n\r\n{\"a\":1}"));
	assert_false(body_has(s, "Content-Type"));
	assert_false(body_has(s, "Expect"));
	s = make("/echo");
	s->options.method = "POST";
	s->options.auth = FETCHER_AUTH_BEARER;
	s->options.secret = SLICE_LIT("t0ken");
	fetch(s);
	assert_true(body_has(s, "POST /echo"));
	assert_true(body_has(s, "\r\nContent-Length: 0\r\n"));
	assert_true(body_has(s, "\r\nAuthorization: Bearer t0ken\r\n"));
}

static void head_has_no_body(void **state)
{
	struct seen *s = make("/unchanged");

	(void)state;
	s->options.method = "HEAD";
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_int_equal(s->status, 304);
	assert_int_equal(s->heads, 0);
}

static void statuses_are_sorted(void **state)
{
	static const struct {
		int status;
		enum fetcher_class class;
	} rows[] = {{400, FETCHER_FINAL},     {401, FETCHER_FINAL},     {403, FETCHER_FINAL},
		    {404, FETCHER_FINAL},     {408, FETCHER_TRANSIENT}, {410, FETCHER_FINAL},
		    {425, FETCHER_TRANSIENT}, {429, FETCHER_TRANSIENT}, {500, FETCHER_TRANSIENT},
		    {502, FETCHER_TRANSIENT}, {503, FETCHER_TRANSIENT}, {302, FETCHER_FINAL}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char path[30], text[60];
		struct seen *s;

		(void)snprintf(path, sizeof(path), "/status/%d", rows[i].status);
		s = make(path);
		fetch(s);
		assert_int_equal(s->err, ERR_REMOTE_STATUS);
		assert_int_equal(s->status, rows[i].status);
		assert_int_equal(s->class, rows[i].class);
		assert_int_equal(s->retry_after_ms, 7000);
		assert_int_equal(s->heads + s->pieces, 0);
		(void)snprintf(text, sizeof(text), "was answered with status %d: say it well",
			       rows[i].status);
		assert_non_null(strstr(s->text, text));
	}
	assert_int_equal(atomic_load(&web.connections), 1); /* a refusal leaves the connection good */
}

static void chunks_and_trailers_are_a_body(void **state)
{
	struct seen *s = make("/chunked");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_true(body_is(s, "hello world"));
}

static void bodies_are_unpacked(void **state)
{
	static const char *const paths[] = {"/gzip", "/zstd"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct seen *s = make(paths[i]);

		s->options.packed = true;
		fetch(s);
		assert_string_equal(s->text, "");
		assert_int_equal(s->plain_bytes, 16 * MIB);
		assert_int_equal(s->body.len, 16 * MIB);
		assert_true(s->wire_bytes < 8 * MIB);
		for (size_t k = 0; k < 16 * MIB; k += 4097)
			assert_int_equal(s->body.ptr[k], k % 61 == 60 ? '\n' : letter(k));
	}
}

static void bounds_hold_for_what_is_unpacked(void **state)
{
	struct seen *s = make("/gzip");

	(void)state;
	s->options.limits.bytes_max = 15 * MIB;
	fetch(s);
	assert_int_equal(s->err, ERR_BODY_TOO_LARGE);
	assert_int_equal(s->class, FETCHER_FINAL);
	assert_true(s->bytes <= 15 * MIB);
	s = make("/zstd");
	s->options.limits.ratio_max = 1;
	fetch(s);
	assert_int_equal(s->err, ERR_BODY_TOO_LARGE);
	assert_non_null(strstr(s->text, "more than 1 times"));
}

static void foreign_and_broken_codings_are_told(void **state)
{
	struct seen *s = make("/brotli");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, ERR_BAD_ENCODING);
	assert_int_equal(s->class, FETCHER_FINAL);
	s = make("/half-gzip");
	fetch(s);
	assert_int_equal(s->err, ERR_BAD_ENCODING);
	assert_int_equal(s->class, FETCHER_TRANSIENT);
	assert_non_null(strstr(s->text, "ends too early"));
}

static void a_body_that_is_cut_is_transient(void **state)
{
	static const char *const paths[] = {"/cut", "/silent", "/noise"};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct seen *s = make(paths[i]);

		fetch(s);
		assert_true(s->err == ERR_UNREACHABLE || s->err == ERR_PROTOCOL);
		assert_int_equal(s->class, FETCHER_TRANSIENT);
	}
}

static void nobody_listens(void **state)
{
	struct seen *s = make("http://127.0.0.1:1/");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, ERR_UNREACHABLE);
	assert_int_equal(s->class, FETCHER_TRANSIENT);
	assert_int_equal(s->status, 0);
	s = make("http://no-such-host.invalid/");
	fetch(s);
	assert_int_equal(s->err, ERR_UNREACHABLE);
	assert_non_null(strstr(s->text, "no-such-host.invalid"));
}

static void ten_gigabytes_are_not_read(void **state)
{
	struct seen *s = make("/huge");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, ERR_BODY_TOO_LARGE);
	assert_int_equal(s->class, FETCHER_FINAL);
	assert_non_null(strstr(s->text, "10737418240"));
	assert_int_equal(s->bytes, 0);
	s = make("/endless");
	s->options.limits.bytes_max = 3 * MIB;
	fetch(s);
	assert_int_equal(s->err, ERR_BODY_TOO_LARGE);
	assert_true(s->bytes <= 3 * MIB);
	assert_non_null(strstr(s->text, "the limit of 3145728 bytes"));
}

static void a_byte_now_and_then_is_too_slow(void **state)
{
	struct seen *s = make("/slow");

	(void)state;
	s->options.limits.slow_bytes = 1000;
	s->options.limits.slow_seconds = 1;
	fetch(s);
	assert_int_equal(s->err, ERR_UNREACHABLE);
	assert_int_equal(s->class, FETCHER_TRANSIENT);
	assert_non_null(strstr(s->text, "too slow"));
	s = make("/slow");
	s->options.limits.total_ms = 300;
	fetch(s);
	assert_int_equal(s->err, ERR_UNREACHABLE);
	assert_non_null(strstr(s->text, "not done within 300 ms"));
}

static void long_heads_and_long_refusals_are_cut(void **state)
{
	struct seen *s = make("/long-head");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, ERR_HEADER_TOO_LARGE);
	s = make("/endless-refusal");
	fetch(s);
	assert_int_equal(s->err, ERR_REMOTE_STATUS);
}

static void redirects_are_followed_where_they_may(void **state)
{
	struct seen *s = make("/to-hello");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, ERR_REMOTE_STATUS);
	assert_non_null(strstr(s->text, "to /hello, which is not followed"));
	s = make("/to-hello");
	s->options.follow = FETCHER_FOLLOW_SAME_ORIGIN;
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_int_equal(s->redirects, 1);
	assert_true(body_is(s, "hello"));
	s = make("/to-other");
	s->options.follow = FETCHER_FOLLOW_SAME_ORIGIN;
	fetch(s);
	assert_int_equal(s->err, ERR_REMOTE_STATUS);
	assert_non_null(strstr(s->text, "another origin"));
	s = make("/round");
	s->options.follow = FETCHER_FOLLOW_ANY;
	fetch(s);
	assert_int_equal(s->err, ERR_REMOTE_STATUS);
	assert_int_equal(s->redirects, 5);
	s = make("/to-file");
	s->options.follow = FETCHER_FOLLOW_ANY;
	fetch(s);
	assert_int_equal(s->err, ERR_REMOTE_STATUS);
	assert_non_null(strstr(s->text, "not http"));
}

static void secrets_stay_with_their_origin(void **state)
{
	const struct fetcher_field fields[] = {
		{SLICE_LIT("X-Api-Key"), SLICE_LIT("hidden"), true},
		{SLICE_LIT("X-Open"), SLICE_LIT("seen"), false},
	};
	struct seen *s = make("/to-other");

	(void)state;
	s->options.follow = FETCHER_FOLLOW_ANY;
	s->options.fields = fields;
	s->options.field_count = 2;
	s->options.auth = FETCHER_AUTH_BEARER;
	s->options.secret = SLICE_LIT("t0ken");
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_true(body_has(s, "X-Open: seen"));
	assert_false(body_has(s, "hidden"));
	assert_false(body_has(s, "t0ken"));
	s = make("/to-echo");
	s->options.follow = FETCHER_FOLLOW_ANY;
	s->options.fields = fields;
	s->options.field_count = 2;
	fetch(s);
	assert_true(body_has(s, "X-Api-Key: hidden"));
	s = make("/to-other");
	s->options.method = "POST";
	s->options.body = SLICE_LIT("private");
	s->options.follow = FETCHER_FOLLOW_ANY;
	fetch(s);
	assert_int_equal(s->err, ERR_REMOTE_STATUS);
	assert_non_null(strstr(s->text, "with a body to another origin"));
}

static void a_post_becomes_a_get_or_stays_one(void **state)
{
	struct seen *s = make("/to-echo");

	(void)state;
	s->options.method = "POST";
	s->options.body = SLICE_LIT("once");
	s->options.follow = FETCHER_FOLLOW_ANY;
	fetch(s);
	assert_true(body_has(s, "GET /echo"));
	assert_false(body_has(s, "once"));
	s = make("/to-echo-307");
	s->options.method = "POST";
	s->options.body = SLICE_LIT("twice");
	s->options.follow = FETCHER_FOLLOW_ANY;
	fetch(s);
	assert_true(body_has(s, "POST /echo"));
	assert_true(body_has(s, "\r\n\r\ntwice"));
}

static bool only_v4_loopback(void *ctx, const uint8_t ip[16], uint16_t port)
{
	(void)port;
	atomic_fetch_add((_Atomic int *)ctx, 1);
	return ip[12] == 127;
}

static void addresses_are_guarded_on_each_hop(void **state)
{
	_Atomic int asked = 0;
	struct seen *s = make("/hello");

	(void)state;
	s->options.guard = guard_public;
	fetch(s);
	assert_int_equal(s->err, ERR_ADDRESS_FORBIDDEN);
	assert_int_equal(s->class, FETCHER_FINAL);
	assert_non_null(strstr(s->text, "127.0.0.1"));
	assert_int_equal(atomic_load(&web.connections), 0);
	s = make("/hello");
	(void)snprintf(fetched_url, sizeof(fetched_url), "http://2130706433:%u/hello", web.port);
	s->options.url = slice_str(fetched_url);
	s->options.guard = guard_public;
	fetch(s);
	assert_int_equal(s->err, ERR_ADDRESS_FORBIDDEN);
	s = make("/to-inside");
	s->options.follow = FETCHER_FOLLOW_ANY;
	s->options.guard = only_v4_loopback;
	s->options.guard_ctx = (void *)&asked;
	fetch(s);
	assert_int_equal(s->err, ERR_ADDRESS_FORBIDDEN);
	assert_int_equal(s->redirects, 1);
	assert_non_null(strstr(s->text, "169.254.169.254"));
	assert_int_equal(atomic_load(&asked), 3); /* the socket, the request, the socket that was not made */
}

/* A connection that was made for one who may is not open to one who may not. */
static void a_reused_connection_is_guarded_too(void **state)
{
	struct seen *s = make("/hello");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, 0);
	s = make("/hello");
	s->options.guard = guard_public;
	fetch(s);
	assert_int_equal(s->err, ERR_ADDRESS_FORBIDDEN);
	assert_int_equal(s->bytes, 0);
	assert_int_equal(atomic_load(&web.connections), 1);
}

static void resume_one(struct loop *on, struct loop_msg *msg)
{
	(void)on;
	fetcher_resume(((struct seen *)msg)->call);
}

static void await_pause(struct seen *s)
{
	for (int i = 0; i < 20000 && atomic_load(&s->paused_with) == 0; i++)
		(void)usleep(1000);
	assert_true(atomic_load(&s->paused_with) > 0);
}

static void a_pause_holds_the_peer_back(void **state)
{
	struct seen *s = make("/endless");
	int64_t sent = 0, before = -1;

	(void)state;
	s->keep = false;
	s->pause_at = 100000;
	s->options.limits.bytes_max = 64 * MIB;
	loop_post(loop, &s->msg);
	await_pause(s);
	while (sent != before) { /* until the buffers on the way are full */
		before = sent;
		(void)usleep(300000);
		sent = atomic_load(&web.sent);
	}
	assert_true(sent < 32 * (int64_t)MIB);
	assert_int_equal(s->bytes, atomic_load(&s->paused_with));
	s->msg.run = resume_one;
	loop_post(loop, &s->msg);
	await(s);
	assert_int_equal(s->err, ERR_BODY_TOO_LARGE);
	assert_true(s->bytes > 63 * MIB);
}

static void a_packed_body_is_paused_and_resumed(void **state)
{
	static const char *const paths[] = {"/gzip", "/zstd"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct seen *s = make(paths[i]);

		for (int k = 0; k < 10; k++) {
			s->pause_at = k == 0 ? 1 : s->bytes + MIB;
			atomic_store(&s->paused_with, 0);
			loop_post(loop, &s->msg);
			await_pause(s);
			s->msg.run = resume_one;
		}
		loop_post(loop, &s->msg);
		await(s);
		assert_string_equal(s->text, "");
		assert_int_equal(s->body.len, 16 * MIB);
	}
}

static void cancelled_calls_are_silent(void **state)
{
	struct seen *s = make("/endless");

	(void)state;
	s->keep = false;
	s->cancel_at = 100000;
	fetch(s);
	for (int i = 0; i < 20000 && figures().calls > 0; i++)
		(void)usleep(1000);
	assert_int_equal(figures().calls, 0);
	assert_int_equal(s->text[0], 0);
}

static void many_at_once(void **state)
{
	enum { COUNT = 200 };
	static struct seen all[COUNT];
	static char urls[COUNT][300];

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		init_seen(&all[i], i % 3 ? "/hello" : "/status/503", urls[i]);
		loop_post(loop, &all[i].msg);
	}
	for (int i = 0; i < COUNT; i++) {
		await(&all[i]);
		assert_int_equal(all[i].status, i % 3 ? 200 : 503);
		buf_fini(&all[i].body);
	}
	assert_true(atomic_load(&web.connections) <= 32);
}

static void what_is_no_request_is_refused_at_once(void **state)
{
	static const struct {
		const char *url, *method;
		struct fetcher_field field;
	} rows[] = {
		{"ftp://host/", NULL, {{0}, {0}, false}},
		{"http://user:secret@host/", NULL, {{0}, {0}, false}},
		{"http://host/a b", NULL, {{0}, {0}, false}},
		{"http://host/\xc3\xa4", NULL, {{0}, {0}, false}},
		{"http://", NULL, {{0}, {0}, false}},
		{"", NULL, {{0}, {0}, false}},
		{"host", NULL, {{0}, {0}, false}},
		{"http://host/", "GET /", {{0}, {0}, false}},
		{"http://host/", NULL, {SLICE_LIT("X"), SLICE_LIT("a\r\nY: b"), false}},
		{"http://host/", NULL, {SLICE_LIT("X:"), SLICE_LIT("a"), false}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct seen *s = make("x");

		s->options.url = slice_str(rows[i].url);
		s->options.method = rows[i].method;
		s->options.fields = &rows[i].field;
		s->options.field_count = rows[i].field.name.ptr ? 1 : 0;
		fetch(s);
		assert_int_equal(s->start_rc, ERR_BAD_PARAMETER);
		assert_true(s->fault.text[0]);
	}
	assert_int_equal(figures().calls, 0);
}

/* The loop ends with calls in every state: each is told once. */
static void stopping_tells_everyone(void **state)
{
	static const char *const paths[] = {"/endless", "/slow", "/gzip", "http://no-such-host.invalid/",
					    "/endless"};
	static struct seen all[5];
	static char urls[5][300];

	(void)state;
	for (int i = 0; i < 5; i++) {
		init_seen(&all[i], paths[i], urls[i]);
		all[i].keep = false;
		all[i].pause_at = i == 0 || i == 2 ? 1 : 0;
		all[i].options.limits.bytes_max = 1ull << 50;
		loop_post(loop, &all[i].msg);
	}
	await_pause(&all[0]);
	await_pause(&all[2]);
	loop_stop(loop);
	for (int i = 0; i < 5; i++) {
		await(&all[i]);
		if (i != 3)
			assert_int_equal(all[i].err, ERR_CANCELLED);
		buf_fini(&all[i].body);
	}
}

/* ---- TLS ---- */

static struct {
	char dir[64], cert[100], key[100];
	pid_t pid;
	unsigned port;
} tls;

static void run_openssl(char *const argv[])
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (!freopen("/dev/null", "w", stderr))
			_exit(126);
		(void)execvp(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* openssl's own server, on a port that it tells, with a certificate for localhost. */
static int start_tls(void **state)
{
	int pipes[2];
	char line[400];
	FILE *out;

	(void)setup(state);
	(void)snprintf(tls.dir, sizeof(tls.dir), "/tmp/weir-fetcher-XXXXXX");
	assert_non_null(mkdtemp(tls.dir));
	(void)snprintf(tls.cert, sizeof(tls.cert), "%s/cert", tls.dir);
	(void)snprintf(tls.key, sizeof(tls.key), "%s/key", tls.dir);
	run_openssl((char *[]){"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
			       "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
			       "-addext", "subjectAltName=DNS:localhost", "-keyout", tls.key, "-out",
			       tls.cert, NULL});
	assert_int_equal(pipe(pipes), 0);
	tls.pid = fork();
	if (tls.pid == 0) {
		(void)dup2(pipes[1], 1);
		if (!freopen("/dev/null", "w", stderr))
			_exit(126);
		if (!freopen("/dev/null", "r", stdin))
			_exit(126);
		(void)execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-www", "-cert",
			     tls.cert, "-key", tls.key, NULL);
		_exit(127);
	}
	(void)close(pipes[1]);
	out = fdopen(pipes[0], "r");
	tls.port = 0;
	while (tls.port == 0 && fgets(line, sizeof(line), out))
		if (strncmp(line, "ACCEPT 127.0.0.1:", 17) == 0)
			tls.port = (unsigned)strtoul(line + 17, NULL, 10);
	(void)fclose(out);
	assert_true(tls.port > 0);
	return 0;
}

static int stop_tls(void **state)
{
	(void)kill(tls.pid, SIGKILL);
	(void)waitpid(tls.pid, NULL, 0);
	(void)unlink(tls.cert);
	(void)unlink(tls.key);
	(void)rmdir(tls.dir);
	return teardown(state);
}

static struct seen *make_tls(const char *host)
{
	struct seen *s = make("x");

	(void)snprintf(fetched_url, sizeof(fetched_url), "https://%s:%u/", host, tls.port);
	s->options.url = slice_str(fetched_url);
	return s;
}

static void certificates_are_looked_at(void **state)
{
	struct seen *s = make_tls("localhost");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, ERR_TLS); /* nobody has signed it */
	assert_int_equal(s->class, FETCHER_FINAL);
	s = make_tls("localhost");
	s->options.tls.ca_file = tls.cert;
	fetch(s);
	assert_string_equal(s->text, "");
	assert_int_equal(s->status, 200);
	s = make_tls("127.0.0.1"); /* the certificate names another */
	s->options.tls.ca_file = tls.cert;
	fetch(s);
	assert_int_equal(s->err, ERR_TLS);
	assert_int_equal(s->class, FETCHER_FINAL);
	s = make_tls("127.0.0.1");
	s->options.tls.insecure = true;
	fetch(s);
	assert_int_equal(s->status, 200);
	s = make_tls("localhost");
	s->options.tls.ca_file = "/no/such/file";
	fetch(s);
	assert_int_equal(s->err, ERR_TLS);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(gives_status_head_and_body),
		CASE(connections_are_used_again),
		CASE(sends_what_it_was_told),
		CASE(head_has_no_body),
		CASE(statuses_are_sorted),
		CASE(chunks_and_trailers_are_a_body),
		CASE(bodies_are_unpacked),
		CASE(bounds_hold_for_what_is_unpacked),
		CASE(foreign_and_broken_codings_are_told),
		CASE(a_body_that_is_cut_is_transient),
		CASE(nobody_listens),
		CASE(ten_gigabytes_are_not_read),
		CASE(a_byte_now_and_then_is_too_slow),
		CASE(long_heads_and_long_refusals_are_cut),
		CASE(redirects_are_followed_where_they_may),
		CASE(secrets_stay_with_their_origin),
		CASE(a_post_becomes_a_get_or_stays_one),
		CASE(addresses_are_guarded_on_each_hop),
		CASE(a_reused_connection_is_guarded_too),
		CASE(a_pause_holds_the_peer_back),
		CASE(a_packed_body_is_paused_and_resumed),
		CASE(cancelled_calls_are_silent),
		CASE(many_at_once),
		CASE(what_is_no_request_is_refused_at_once),
		CASE(stopping_tells_everyone),
		cmocka_unit_test_setup_teardown(certificates_are_looked_at, start_tls, stop_tls),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
