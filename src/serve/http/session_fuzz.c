/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "net/net_memory_fuzz.h"
#include "serve/http/health.h"
#include "serve/http/private.h"

/*
 * Whole sessions without a network: net is over memory. An input is what a client sends on one
 * connection; it is given whole and cut, while handlers answer at once, late,
 * in reverse order, as streams and by an upgrade. What comes back must be the
 * same, every exchange must end, and a connection whose peer has ended must close.
 */
#define HELD_MAX 64u

static struct loop the_loop;
static struct exchange *held[HELD_MAX];
static uint32_t held_count, exchanges;

/* ---- resources ---- */

static int on_echo(struct exchange *x)
{
	return exchange_answer(x, 200, "text/plain", x->body);
}

static int on_late(struct exchange *x)
{
	if (held_count == HELD_MAX)
		return ERR_OVERLOADED;
	held[held_count++] = x;
	exchanges++;
	return EXCHANGE_PENDING;
}

static int on_stream(struct exchange *x)
{
	if (exchange_stream_start(x, 200, NULL, NULL) == 0)
		exchange_stream_write(x, SLICE_LIT("begin"));
	return on_late(x) == EXCHANGE_PENDING ? EXCHANGE_PENDING : (exchange_stream_end(x), 0);
}

static size_t new_bytes(void *ctx, struct slice bytes)
{
	buf_append_slice(&((struct conn *)ctx)->written, bytes);
	return bytes.len;
}

static const struct conn_session new_session = {.on_bytes = new_bytes};
static struct conn *the_conn;

static int on_upgrade(struct exchange *x)
{
	struct conn *c;

	if (!x->request.upgrade)
		return ERR_UPGRADE_REQUIRED;
	CHECK(exchange_upgrade(x, "new", &new_session, the_conn, &c) == 0 && c == the_conn);
	http_server_upgraded_closed(x->server, c->loop);
	return 0;
}

static const char *const names[] = {"key", "limit", NULL};
static const struct route echo = {.methods = HTTP_BIT(HTTP_POST) | HTTP_BIT(HTTP_PUT),
				  .pattern = "/e",
				  .body = ROUTE_BODY_SMALL,
				  .handle = on_echo,
				  .query = names};
static const struct route late = {.methods = HTTP_BIT(HTTP_GET), .pattern = "/l/{x}", .handle = on_late};
static const struct route stream = {.methods = HTTP_BIT(HTTP_GET),
				    .pattern = "/s",
				    .flags = ROUTE_ALONE,
				    .handle = on_stream};
static const struct route upgrade = {.methods = HTTP_BIT(HTTP_GET),
				     .pattern = "/u",
				     .flags = ROUTE_ALONE,
				     .handle = on_upgrade};
static const struct route *const routes[] = {&route_healthz, &echo, &late, &stream, &upgrade};

/* ---- one connection ---- */

static void deliver(struct conn *c)
{
	do {
		size_t before = c->kept.len;

		c->present = false;
		if (before == 0 || c->closing)
			return;
		/* A copy, so that a slice which outlives the call is noticed. */
		uint8_t *copy = malloc(before);
		CHECK(copy);
		memcpy(copy, c->kept.ptr, before);
		const struct conn_session *session = c->session;
		size_t taken = session->on_bytes(c->ctx, slice_make(copy, before));
		free(copy);
		CHECK(taken <= before);
		buf_consume(&c->kept, taken);
		if (c->session != session)
			c->present = true;
	} while (c->present);
}

/* The newest first: answers must be put in order by the session. */
static void answer_one(void)
{
	struct exchange *x = held[--held_count];

	exchanges--;
	if (x->stage == EXCHANGE_STREAM)
		exchange_stream_end(x);
	else
		exchange_answer(x, 200, NULL, x->params ? x->param[0] : x->request.path);
}

static void run(struct http_server *server, struct slice bytes, size_t step, struct buf *out)
{
	struct conn c = {.loop = &the_loop};

	buf_init(&c.kept, 1 << 20);
	buf_init(&c.written, 1 << 22);
	the_conn = &c;
	CHECK(http_server_accept(server, &c) == 0);
	for (size_t at = 0; at < bytes.len && !c.closing; at += step) {
		buf_append(&c.kept, bytes.ptr + at, bytes.len - at < step ? bytes.len - at : step);
		deliver(&c);
		if (held_count && at % 3 == 0) {
			answer_one();
			deliver(&c);
		}
		if (c.session->on_drained)
			c.session->on_drained(c.ctx);
		the_loop.now += 1000;
	}
	/* The end cuts streams, so those that are open are ended first in every run. */
	while (held_count) {
		answer_one();
		deliver(&c);
	}
	if (c.session != &new_session) {
		if (!c.closing)
			c.session->on_end(c.ctx);
		while (held_count) {
			answer_one();
			deliver(&c);
		}
		CHECK(c.closing);
		c.session->on_closed(c.ctx, CONN_CLOSED_BY_US);
	}
	CHECK(exchanges == 0 && server->loops[0].connections == 0);
	CHECK(the_loop.share.used == 0);
	buf_fini(&c.kept);
	if (c.aborted)
		buf_append_str(&c.written, "[cut]");
	*out = c.written;
}

static void drop_all(struct buf *b, const char *text)
{
	size_t n = strlen(text);
	uint8_t *at;

	while (b->len && (at = memmem(b->ptr, b->len, text, n))) {
		memmove(at, at + n, b->len - (size_t)(at + n - b->ptr));
		b->len -= n;
	}
}

static int64_t wall(void *self)
{
	(void)self;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct sys_ops ops = {.wall_ns = wall};
	static const struct sys sys = {.ops = &ops};
	static const char *const origins[] = {"https://a", NULL};
	static struct http_server *server;
	struct http_options o = {.sys = &sys,
				 .routes = routes,
				 .route_count = sizeof(routes) / sizeof(routes[0]),
				 .small_body_max = 200,
				 .in_flight_max = 4,
				 .origins = origins,
				 .cors = true,
				 .head = {.head_bytes_max = 1024, .target_bytes_max = 128}};
	struct buf whole, cut;

	if (!server) {
		memory_loop_init(&the_loop, 0);
		CHECK(http_server_new(&o, &server, NULL) == 0);
	}
	if (size < 2)
		return 0;
	run(server, slice_make(data + 1, size - 1), size, &whole);
	run(server, slice_make(data + 1, size - 1), 1 + data[0] % 64, &cut);
	/* Whether a client is told to go on depends on whether it waited. */
	drop_all(&whole, "HTTP/1.1 100 Continue\r\n\r\n");
	drop_all(&cut, "HTTP/1.1 100 Continue\r\n\r\n");
	CHECK(whole.status == 0 && slice_eq(buf_slice(&whole), buf_slice(&cut)));
	buf_fini(&whole);
	buf_fini(&cut);
	return 0;
}
