/* SPDX-License-Identifier: Apache-2.0 */
#include "base/check.h"
#include "base/mem.h"
#include "serve/http/session.h"
#include "serve/http/spare.h"
#include "serve/record/record_json.h"

/*
 * The shared part. Exchanges are pooled a loop: one that ends keeps the chunk of
 * its arena and waits for the next request of any connection, so that a request
 * allocates nothing and an idle connection holds nothing but its session. With the
 * budget full, none is kept.
 */
#define EXCHANGE_CHUNK_BYTES 2000u /* with the allocator's own, 2 KiB */
#define POOL_MAX 1024u
#define DATE_LIFE_NS 250000000LL
#define SPARE_PAUSE_NS 100000000LL

/* What an absent body points to: its padding may be read too. */
static const uint8_t no_body[EXCHANGE_BODY_PADDING];

static void set_defaults(struct http_options *o)
{
	if (!o->loops)
		o->loops = 1;
	if (!o->small_body_max)
		o->small_body_max = 64u << 10;
	if (!o->large_body_max)
		o->large_body_max = 16u << 20;
	if (!o->in_flight_max)
		o->in_flight_max = 64;
	if (!o->in_flight_bytes_max)
		o->in_flight_bytes_max = 4u << 20;
	if (!o->output_max)
		o->output_max = RECORD_JSON_BYTES_MAX; /* what follows a large record still has its place */
	if (!o->stream_bytes_max)
		o->stream_bytes_max = 1u << 20;
	if (!o->exchange_bytes_max)
		o->exchange_bytes_max = 64u << 20;
	if (!o->head.head_bytes_max)
		o->head.head_bytes_max = 32u << 10;
	if (!o->head.target_bytes_max)
		o->head.target_bytes_max = 8u << 10;
}

static void set_default_times(struct http_options *o)
{
	const int64_t second = 1000000000;

	if (!o->head_timeout_ns)
		o->head_timeout_ns = 10 * second;
	if (!o->body_grace_ns)
		o->body_grace_ns = 10 * second;
	if (!o->body_rate)
		o->body_rate = 1000;
	if (!o->idle_timeout_ns)
		o->idle_timeout_ns = 75 * second;
	if (!o->write_timeout_ns)
		o->write_timeout_ns = 60 * second;
	if (!o->linger_ns)
		o->linger_ns = 2 * second;
}

int http_server_new(const struct http_options *options, struct http_server **out, struct fault *fault)
{
	struct http_server *s = mem_aligned(64, sizeof(*s));
	int err;

	if (!s)
		return fault_set(fault, ERR_NOMEM, "no memory for the HTTP server");
	memset(s, 0, sizeof(*s));
	s->options = *options;
	set_defaults(&s->options);
	set_default_times(&s->options);
	err = route_table_new(options->routes, options->route_count, &s->routes, fault);
	if (err == 0) {
		s->loops = mem_aligned(64, s->options.loops * sizeof(*s->loops));
		if (!s->loops)
			err = fault_set(fault, ERR_NOMEM, "no memory for the HTTP server");
	}
	if (err < 0) {
		http_server_free(s);
		return err;
	}
	memset(s->loops, 0, s->options.loops * sizeof(*s->loops));
	for (uint32_t i = 0; i < s->options.loops; i++) {
		s->loops[i].server = s;
		s->loops[i].number = i;
	}
	*out = s;
	return 0;
}

static void free_pool(struct http_loop *ctx)
{
	while (ctx->pool) {
		struct exchange *x = ctx->pool;

		ctx->pool = x->next;
		arena_fini(&x->own_arena);
		mem_free(x);
	}
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; s->loops && i < s->options.loops; i++)
		free_pool(&s->loops[i]);
	mem_free(s->loops);
	route_table_free(s->routes);
	mem_free(s);
}

struct http_loop *http_loop_of(struct http_server *server, const struct loop *loop)
{
	uint32_t number = loop_number(loop);

	CHECK(number < server->options.loops);
	return &server->loops[number];
}

struct slice http_loop_date(struct http_loop *ctx, struct loop *loop)
{
	int64_t now = loop_now(loop);

	if (!ctx->dated || now - ctx->dated_at_ns >= DATE_LIFE_NS) {
		const struct sys *sys = ctx->server->options.sys;

		http_date_put(ctx->date, sys_wall_ms(sys) / 1000);
		ctx->dated_at_ns = now;
		ctx->dated = true;
	}
	return slice_make(ctx->date, sizeof(ctx->date));
}

struct exchange *exchange_take(struct http_loop *ctx, struct loop *loop)
{
	struct exchange *x = ctx->pool;
	struct arena arena;

	if (x) {
		ctx->pool = x->next;
		ctx->pool_count--;
		arena = x->own_arena;
		arena.bytes_max = ctx->server->options.exchange_bytes_max; /* it may have been moved */
	} else {
		x = mem_alloc(sizeof(*x));
		if (!x)
			return NULL;
		arena_init(&arena, EXCHANGE_CHUNK_BYTES, ctx->server->options.exchange_bytes_max);
	}
	memset(x, 0, sizeof(*x));
	x->own_arena = arena;
	x->own_arena.share = loop_share(loop);
	budget_add(x->own_arena.share, sizeof(*x) + arena.bytes);
	x->arena = &x->own_arena;
	x->loop = loop;
	x->server = ctx->server;
	x->app = ctx->server->options.app;
	x->body = slice_make(no_body, 0);
	return x;
}

bool exchange_charge(struct exchange *x, size_t bytes)
{
	if (bytes <= x->charged)
		return true;
	if (!budget_charge(x->own_arena.share, bytes - x->charged))
		return false;
	x->charged = bytes;
	return true;
}

void exchange_release(struct http_loop *ctx, struct exchange *x)
{
	struct budget_share *share = x->own_arena.share;

	blob_unref(x->blob);
	buf_fini(&x->collected);
	budget_sub(share, sizeof(*x) + x->own_arena.bytes + x->charged);
	x->own_arena.share = NULL; /* what lies in the pool is nobody's */
	if (ctx->pool_count >= POOL_MAX || budget_is_full(share)) {
		arena_fini(&x->own_arena);
		mem_free(x);
		return;
	}
	arena_reset(&x->own_arena);
	x->next = ctx->pool;
	ctx->pool = x;
	ctx->pool_count++;
}

int http_server_accept(void *server, struct conn *c)
{
	struct http_server *s = server;

	return session_start(http_loop_of(s, conn_loop(c)), c);
}

void http_server_refuse(void *server, struct conn *c)
{
	struct slice body = SLICE_LIT(
		"{\"title\":\"The listener has no room for more connections\",\"status\":503,"
		"\"detail\":\"The limit of connections, or of the memory for them, is reached; try again\","
		"\"code\":\"too_many_connections\"}");
	struct http_answer a = {.status = 503,
				.framing = HTTP_FRAME_LENGTH,
				.length = body.len,
				.close = true,
				.content_type = SLICE_LIT("application/problem+json"),
				.lines = SLICE_LIT("Retry-After: 1\r\n")};
	struct http_server *s = server;
	struct http_loop *ctx = http_loop_of(s, conn_loop(c));
	uint8_t head[512];

	CHECK(http_answer_bytes_max(&a) <= sizeof(head));
	if (conn_write(c, slice_make(head, (size_t)(http_answer_put(head, &a) - head))) == 0)
		(void)!conn_write(c, body);
	if (s->options.observer.refused)
		s->options.observer.refused(s->options.observer.ctx, ctx->number, ERR_TOO_MANY_CONNECTIONS);
}

void http_server_drain(struct http_server *s)
{
	atomic_store(&s->draining, true);
}

bool http_server_draining(const struct http_server *s)
{
	return atomic_load_explicit(&s->draining, memory_order_relaxed);
}

void http_server_close_idle(struct http_server *s, struct loop *loop)
{
	session_close_idle(http_loop_of(s, loop));
}

uint32_t http_server_spare(void *server, struct loop *loop)
{
	struct http_server *s = server;
	struct http_loop *ctx = http_loop_of(s, loop);
	uint32_t count;

	if (loop_now(loop) < ctx->spare_again_ns)
		return 0; /* a moment ago there were none: a flood must not have them looked for each time */
	count = spare_connections(ctx, loop_now(loop));
	if (count == 0)
		ctx->spare_again_ns = loop_now(loop) + SPARE_PAUSE_NS;
	else if (s->options.observer.spared)
		s->options.observer.spared(s->options.observer.ctx, ctx->number, count);
	return count;
}

void http_loop_count(struct http_loop *ctx, int change)
{
	const struct http_observer *o = &ctx->server->options.observer;

	ctx->connections += (uint32_t)change;
	if (o->connections)
		o->connections(o->ctx, ctx->number, change);
}

uint32_t http_server_connections(const struct http_server *s, const struct loop *loop)
{
	return s->loops[loop_number(loop)].connections;
}

void http_server_upgraded_closed(struct http_server *s, struct loop *loop)
{
	http_loop_count(http_loop_of(s, loop), -1);
}

const struct http_options *http_server_options(const struct http_server *s)
{
	return &s->options;
}
