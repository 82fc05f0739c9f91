/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_FETCHER_TEST_H
#define WEIR_NET_FETCHER_TEST_H

/*
 * For the tests of the fetcher alone: a fetcher on a loop against a server of threads that answers by path, as
 * badly as it is told to.
 */
#include "net/web_test.h"

#include <semaphore.h>
#include <signal.h>
#include <stdio.h>

#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/fetcher.h"

#define MIB (1u << 20)

/* ---- the server ---- */

static inline bool answer(int fd, const char *path, const char *head);

static struct web_test web = {.answer = answer};
static _Atomic int64_t web_sent; /* bytes of the endless body that the kernel took */

static inline bool say(int fd, const char *text)
{
	return web_test_put(fd, text, strlen(text));
}

static inline bool put_body(int fd, const char *fields, const void *body, size_t n)
{
	char head[300];

	(void)snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\n%sContent-Length: %zu\r\n\r\n", fields, n);
	return say(fd, head) && web_test_put(fd, body, n);
}

static inline int letter(size_t i)
{
	return 'a' + (int)((i * 2654435761u >> 13) % 26);
}

/* 16 MiB of lines, packed. */
static inline bool put_packed(int fd, bool zstd)
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

static inline bool put_endless(int fd)
{
	static const char piece[65536];
	bool ok = say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");

	while (ok && !atomic_load(&web.stop)) {
		ssize_t did = send(fd, piece, sizeof(piece), MSG_NOSIGNAL);

		ok = did > 0;
		if (ok)
			atomic_fetch_add(&web_sent, did);
	}
	return false;
}

static inline bool put_slowly(int fd)
{
	bool ok = say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");

	while (ok && !atomic_load(&web.stop)) {
		ok = say(fd, "x");
		(void)usleep(200000);
	}
	return false;
}

static inline bool put_long_head(int fd)
{
	bool ok = say(fd, "HTTP/1.1 200 OK\r\n");

	for (int i = 0; i < 4000 && ok; i++)
		ok = say(fd, "X-Filler: 0123456789012345678901234567890123456789\r\n");
	return ok && say(fd, "Content-Length: 0\r\n\r\n");
}

static inline bool redirect(int fd, const char *status, const char *to)
{
	char head[800];

	(void)snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nLocation: %s\r\nContent-Length: 5\r\n\r\nmoved",
		       status, to);
	return say(fd, head);
}

/* Answers by path; false: the connection is to be closed. */
static inline bool answer(int fd, const char *path, const char *head)
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

/* ---- the loop and its calls ---- */

static struct loop *loop;
static pthread_t loop_thread;

static inline void *run_loop(void *arg)
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

static inline void on_head(void *ctx, int status)
{
	struct seen *s = ctx;
	struct slice etag = fetcher_header(s->call, "etag", 0), many = fetcher_header(s->call, "X-Many", 1);

	s->heads++;
	s->status_at_head = status;
	(void)snprintf(s->etag, sizeof(s->etag), "%.*s", (int)etag.len, (const char *)etag.ptr);
	(void)snprintf(s->many, sizeof(s->many), "%.*s", (int)many.len, (const char *)many.ptr);
}

static inline void on_body(void *ctx, struct slice piece)
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

static inline void on_done(void *ctx, const struct fetcher_result *r)
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

static inline void start_one(struct loop *on, struct loop_msg *msg)
{
	struct seen *s = (struct seen *)msg;

	s->start_rc = fetcher_start(on, &s->options, &s->call, &s->fault);
	if (s->start_rc < 0)
		(void)sem_post(&s->done);
}

static inline void init_seen(struct seen *s, const char *path, char url[300])
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

static inline void await(struct seen *s)
{
	while (sem_wait(&s->done) < 0)
		;
}

static inline void fetch(struct seen *s)
{
	loop_post(loop, &s->msg);
	await(s);
}

static struct seen fetched;
static char fetched_url[300];

/* The usual call, to be changed before fetch. */
static inline struct seen *make(const char *path)
{
	buf_fini(&fetched.body);
	init_seen(&fetched, path, fetched_url);
	return &fetched;
}

static inline bool body_is(const struct seen *s, const char *text)
{
	return slice_eq_str(buf_slice(&s->body), text);
}

static inline bool body_has(struct seen *s, const char *text)
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

static inline void read_figures(struct loop *on, struct loop_msg *msg)
{
	struct figures_msg *f = (struct figures_msg *)msg;

	fetcher_figures(on, &f->figures);
	(void)sem_post(&f->done);
}

static inline struct fetcher_figures figures(void)
{
	struct figures_msg f = {.msg.run = read_figures};

	(void)sem_init(&f.done, 0, 0);
	loop_post(loop, &f.msg);
	while (sem_wait(&f.done) < 0)
		;
	return f.figures;
}

static inline int setup(void **state)
{
	struct loop_options options = {.sys = sys_kernel()};

	(void)state;
	atomic_store(&web_sent, 0);
	web_test_start(&web);
	assert_int_equal(loop_new(&options, &loop), 0);
	assert_int_equal(pthread_create(&loop_thread, NULL, run_loop, loop), 0);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	loop_stop(loop);
	(void)pthread_join(loop_thread, NULL);
	loop_free(loop);
	web_test_stop(&web);
	buf_fini(&fetched.body);
	memset(&fetched, 0, sizeof(fetched));
	return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
