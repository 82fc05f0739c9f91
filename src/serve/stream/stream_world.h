/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_STREAM_STREAM_WORLD_H
#define WEIR_SERVE_STREAM_STREAM_WORLD_H

/*
 * For the tests of streams alone: a log in a directory of its own, a loop on a
 * thread of its own, and plain sockets on this one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/mem.h"
#include "obs/metrics.h"
#include "serve/app.h"
#include "serve/http/resources.h"
#include "serve/http/server.h"
#include "state/topics_world_test.h"
#include "sys/test_dir.h"

#define WORLD_ROUTES_MAX 16u
#define MS 1000000ll

struct world {
	char dir[TEST_DIR_BYTES], address[64];
	struct state *state;
	struct budget budget;
	struct app app;
	struct app_loop al;
	struct loop *loop;
	struct http_server *http;
	struct listener *listener;
	pthread_t thread;
	const struct route *routes[WORLD_ROUTES_MAX];
	size_t route_count;
};

static inline void world_flush(void *ctx)
{
	ingest_flush(((struct app_loop *)ctx)->queue);
}

static inline void world_want_flush(void *ctx)
{
	app_flush_later(ctx);
}

static inline void *world_run(void *arg)
{
	loop_run(arg);
	return NULL;
}

static inline void world_log(struct world *w, bool auto_create)
{
	const struct topic_config plain = {.partitions = 1,
					   .retention_ms = -1,
					   .retention_bytes = -1,
					   .idempotency_ttl_ms = 600000};
	struct log_options options = {.sys = sys_kernel(), .dir = w->dir, .journal_file_bytes = 1u << 22};
	struct fault fault = {0};

	assert_true(test_dir_make(w->dir, "stream-test"));
	topics_world_open(&options, &plain, auto_create, &w->app.log, &w->state, &w->app.topics);
	topics_world_load(w->state, w->app.topics);
	assert_int_equal(log_start(w->app.log, &fault), 0);
}

static inline void world_loop(struct world *w)
{
	struct ingest_options in = {.log = w->app.log, .topics = w->app.topics, .sys = w->app.sys};
	struct ingest_queue_options queue = {.want_flush = world_want_flush, .ctx = &w->al};
	struct loop_options options = {.sys = w->app.sys, .budget = &w->budget};
	struct metrics_options metrics = {.sys = w->app.sys, .version = "test"};
	struct fault fault = {0};

	if (!w->budget.step) /* a test may have made a smaller one */
		budget_init(&w->budget, 512 << 20, 1);
	w->app.budget = &w->budget;
	assert_int_equal(metrics_new(&metrics, &w->app.metrics), 0);
	assert_int_equal(ingest_new(&in, &w->app.ingest), 0);
	assert_int_equal(loop_new(&options, &w->loop), 0);
	w->app.loops = &w->al;
	w->app.loop_count = 1;
	assert_int_equal(app_loop_init(&w->app, w->loop, &fault), 0);
	w->al.flush = (struct loop_turn){.run = world_flush, .ctx = &w->al};
	w->al.shard = metrics_shard_new(w->app.metrics);
	queue.ingest = w->app.ingest;
	queue.port = w->al.port;
	queue.shard = w->al.shard;
	queue.share = loop_share(w->loop);
	assert_int_equal(ingest_queue_new(&queue, &w->al.queue), 0);
}

/* Limits are set in w->app.limits before. */
static inline void world_up(struct world *w, const struct route *const *routes, size_t count,
			    bool auto_create)
{
	static const struct route *const plain[] = {&route_produce, &route_topic_put, &route_topic_delete,
						    &route_topic_trim};
	struct http_options http = {.loops = 1, .app = &w->app};
	struct listener_options listen = {.address = "127.0.0.1:0", .on_accept = http_server_accept};
	struct fault fault = {0};

	w->app.sys = sys_kernel();
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		w->routes[w->route_count++] = plain[i];
	for (size_t i = 0; i < count; i++)
		w->routes[w->route_count++] = routes[i];
	world_log(w, auto_create);
	world_loop(w);
	http.sys = w->app.sys;
	http.routes = w->routes;
	http.route_count = w->route_count;
	assert_int_equal(http_server_new(&http, &w->http, &fault), 0);
	listen.ctx = w->http;
	assert_int_equal(listener_open(&listen, &w->loop, 1, &w->listener, w->address, &fault), 0);
	assert_int_equal(pthread_create(&w->thread, NULL, world_run, w->loop), 0);
}

static inline void world_down(struct world *w)
{
	struct fault fault = {0};

	loop_stop(w->loop);
	(void)pthread_join(w->thread, NULL);
	listener_close(w->listener);
	assert_int_equal(metrics_read(w->app.metrics, METRIC_READERS, WAY_SSE), 0);
	assert_int_equal(metrics_read(w->app.metrics, METRIC_READERS, WAY_WS), 0);
	assert_int_equal(metrics_read(w->app.metrics, METRIC_READER_BLOCKED, WAY_WS), 0);
	assert_int_equal(log_stop(w->app.log, &fault), 0);
	app_loop_fini(&w->app, w->loop);
	assert_null(w->al.sse);
	assert_null(w->al.ws);
	ingest_queue_free(w->al.queue);
	assert_int_equal(loop_share(w->loop)->used, 0); /* whatever was held has come back */
	loop_free(w->loop);
	assert_int_equal(budget_used(&w->budget), 0);
	http_server_free(w->http);
	ingest_free(w->app.ingest);
	metrics_free(w->app.metrics);
	topics_free(w->app.topics);
	state_free(w->state);
	log_close(w->app.log);
	assert_true(test_dir_remove(w->dir));
}

struct world_msg {
	struct loop_msg msg;
	struct world *w;
};

static inline void world_on_drain(struct loop *loop, struct loop_msg *msg)
{
	struct world *w = ((struct world_msg *)msg)->w;

	mem_free(msg);
	app_loop_drain(&w->app, loop);
}

static inline void world_drain(struct world *w)
{
	struct world_msg *m = mem_zalloc(1, sizeof(*m));

	http_server_drain(w->http);
	m->msg.run = world_on_drain;
	m->w = w;
	loop_post(w->loop, &m->msg);
}

/* Waits until so many readers are blocked: a client that has all may be ahead of the loop that notes it. */
static inline void world_await_blocked(struct world *w, unsigned way, int64_t count)
{
	for (int i = 0; i < 10000 && metrics_read(w->app.metrics, METRIC_READER_BLOCKED, way) != count; i++)
		(void)poll(NULL, 0, 1);
	assert_int_equal(metrics_read(w->app.metrics, METRIC_READER_BLOCKED, way), count);
}

/* ---- sockets ---- */

struct peer {
	int fd;
	size_t len;  /* received and not yet passed over */
	char *bytes; /* NUL behind */
	bool ended;
};

static inline void peer_open(struct peer *p, const struct world *w)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval limit = {.tv_sec = 20};
	int bytes =
		512 << 10; /* said, or the kernel lets it grow: to 32 MiB where it may, and nobody blocks */
	uint64_t port = 0;

	*p = (struct peer){.bytes = mem_zalloc(1, 1)};
	assert_true(slice_to_u64(slice_str(strrchr(w->address, ':') + 1), &port));
	to.sin_port = htons((uint16_t)port);
	p->fd = socket(AF_INET, SOCK_STREAM, 0);
	(void)setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	assert_int_equal(connect(p->fd, (struct sockaddr *)&to, sizeof(to)), 0);
}

static inline void peer_close(struct peer *p)
{
	(void)close(p->fd);
	mem_free(p->bytes);
}

static inline void peer_send(struct peer *p, const void *bytes, size_t n)
{
	assert_int_equal(send(p->fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

static inline bool peer_more(struct peer *p)
{
	char chunk[65536];
	ssize_t n = recv(p->fd, chunk, sizeof(chunk), 0);

	if (n <= 0) {
		p->ended = true;
		return false;
	}
	p->bytes = mem_realloc(p->bytes, p->len + (size_t)n + 1);
	assert_non_null(p->bytes);
	memcpy(p->bytes + p->len, chunk, (size_t)n);
	p->len += (size_t)n;
	p->bytes[p->len] = 0;
	return true;
}

static inline void peer_pass(struct peer *p, size_t n)
{
	memmove(p->bytes, p->bytes + n, p->len - n + 1);
	p->len -= n;
}

/* Reads up to and with the text, passes over it, and gives what stood before it (to be freed). */
static inline char *peer_until(struct peer *p, const char *text)
{
	char *at, *before;

	while (!(at = memmem(p->bytes, p->len, text, strlen(text)))) {
		if (!peer_more(p))
			fail_msg("ended before '%s': %s", text, p->bytes);
	}
	before = mem_strndup(p->bytes, (size_t)(at - p->bytes));
	peer_pass(p, (size_t)(at - p->bytes) + strlen(text));
	return before;
}

static inline void peer_expect(struct peer *p, const char *text)
{
	mem_free(peer_until(p, text));
}

/* True where nothing comes for so long. */
static inline bool peer_is_quiet(struct peer *p, int ms)
{
	struct pollfd fd = {.fd = p->fd, .events = POLLIN};

	return p->len == 0 && poll(&fd, 1, ms) == 0;
}

static inline void peer_ends(struct peer *p)
{
	while (peer_more(p))
		;
}

/* ---- requests ---- */

static inline int world_request(const struct world *w, const char *method, const char *path, const char *type,
				const char *body, size_t len)
{
	struct peer p;
	char head[1024];
	uint64_t status = 0;

	peer_open(&p, w);
	(void)snprintf(
		head, sizeof(head),
		"%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n",
		method, path, type, len);
	peer_send(&p, head, strlen(head));
	peer_send(&p, body, len);
	peer_ends(&p);
	assert_true(p.len > 12 && slice_to_u64(slice_make(p.bytes + 9, 3), &status));
	if (status != 200 && status != 201 && status != 204)
		print_message("%s %s: %s\n", method, path, p.bytes);
	peer_close(&p);
	return (int)status;
}

static inline void world_put(const struct world *w, const char *path, const char *body)
{
	assert_in_range(world_request(w, "POST", path, "application/json", body, strlen(body)), 200, 204);
}

static inline void world_topic(const struct world *w, const char *path, const char *config)
{
	assert_in_range(world_request(w, "PUT", path, "application/json", config, strlen(config)), 200, 204);
}

/* A GET whose answer is left to be read. */
static inline void peer_get(struct peer *p, const struct world *w, const char *target, const char *fields)
{
	char head[2048];

	peer_open(p, w);
	(void)snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", target, fields);
	peer_send(p, head, strlen(head));
}

#endif
