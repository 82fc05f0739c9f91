/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a call. Its frame, request and answer are its own memory, so it
 * may outlive its connection, and move to the home loop and back: whoever has it
 * is the only one who touches it.
 */
#include "serve/kafka/call.h"

#include "base/err.h"
#include "base/mem.h"
#include "serve/kafka/handlers.h"
#include "serve/kafka/session.h"

#define POOL_MAX 256u
#define CHUNK_BYTES 2000u
#define ARENA_BYTES_MAX ((size_t)256 << 20)

struct kafka_call *kafka_call_take(struct kafka_session *s, struct slice frame)
{
	struct kafka_loop *ctx = s->ctx;
	struct kafka_call *call = ctx->pool;
	struct arena arena;

	if (call) {
		ctx->pool = call->next;
		ctx->pool_count--;
		arena = call->arena;
	} else {
		call = mem_alloc(sizeof(*call));
		if (!call)
			return NULL;
		arena_init(&arena, CHUNK_BYTES, ARENA_BYTES_MAX);
	}
	*call = (struct kafka_call){.session = s, .app = ctx->server->options.app, .loop = ctx->loop};
	call->arena = arena;
	arena_charge(&call->arena, loop_share(ctx->loop));
	buf_init(&call->frame, frame.len);
	if (kafka_framer_take(&s->framer, frame, &call->frame)) {
		kafka_call_release(call);
		return NULL;
	}
	call->charged = sizeof(*call) + call->frame.cap;
	budget_add(loop_share(ctx->loop), call->charged);
	call->came_ns = loop_now(ctx->loop);
	return call;
}

static void drop_sources(struct kafka_call *call)
{
	for (size_t i = 0; call->cuts && i < call->cuts->count; i++) {
		const struct kafka_source *next, *at = call->cuts->list[i].records->source;
		for (; at; at = next) {
			next = at->next;
			blob_unref(at->blob);
			file_ref_release(at->file);
		}
	}
	call->cuts = NULL;
}

void kafka_call_release(struct kafka_call *call)
{
	struct kafka_loop *ctx = call->session->ctx;

	drop_sources(call);
	buf_fini(&call->frame);
	budget_sub(loop_share(ctx->loop), call->charged);
	arena_charge(&call->arena, NULL); /* what lies in the pool is nobody's */
	if (ctx->pool_count >= POOL_MAX || budget_is_full(loop_share(ctx->loop))) {
		arena_fini(&call->arena);
		mem_free(call);
		return;
	}
	arena_reset(&call->arena);
	call->next = ctx->pool;
	ctx->pool = call;
	ctx->pool_count++;
}

/* ---- running ---- */

static void move_to(struct kafka_call *call, struct loop *loop, loop_msg_fn *run)
{
	arena_charge(&call->arena, NULL);
	call->loop = loop;
	call->msg.run = run;
	loop_post(loop, &call->msg);
}

static struct kafka_call *arrived(struct loop *loop, struct loop_msg *msg)
{
	struct kafka_call *call = (struct kafka_call *)((uint8_t *)msg - offsetof(struct kafka_call, msg));

	arena_charge(&call->arena, loop_share(loop));
	return call;
}

static void run_at_home(struct loop *loop, struct loop_msg *msg)
{
	struct kafka_call *call = arrived(loop, msg);

	call->handler->run(call);
}

static int read_request(struct kafka_call *call)
{
	void *request = arena_alloc(&call->arena, call->header.api->request->bytes);

	call->request = request;
	call->response = kafka_call_array(call, call->header.api->response, 1);
	if (!request || !call->response)
		return ERR_NOMEM;
	return kafka_request_read(&call->header, call->body, &call->arena, request);
}

void kafka_call_begin(struct kafka_call *call)
{
	const struct kafka_server *server = call->session->ctx->server;
	int rc;

	if (server->login && !call->session->login.done && !call->handler->anybody) {
		kafka_call_fail(call, "a request came before the login that kafka.users asks for");
		return;
	}
	rc = read_request(call);
	if (rc)
		kafka_call_fail(call, rc == ERR_MALFORMED ? "a request that is not well formed" :
							    "a request for which there is no memory");
	else if (call->handler->home && call->loop != server->options.home)
		move_to(call, server->options.home, run_at_home);
	else
		call->handler->run(call);
}

/* ---- ending ---- */

static void on_returned(struct loop *loop, struct loop_msg *msg)
{
	struct kafka_call *call = arrived(loop, msg);

	call->end = call->outcome;
	kafka_session_ended(call->session);
}

static void end_call(struct kafka_call *call, enum kafka_call_end end)
{
	struct loop *loop = call->session->ctx->loop;

	call->outcome = (uint8_t)end;
	if (call->loop != loop) {
		move_to(call, loop, on_returned);
		return;
	}
	call->end = call->outcome;
	kafka_session_ended(call->session);
}

void kafka_call_answer(struct kafka_call *call, const void *response)
{
	call->answer = response;
	end_call(call, KAFKA_CALL_ANSWERED);
}

void kafka_call_answer_cuts(struct kafka_call *call, const void *response, struct kafka_cuts *cuts)
{
	call->cuts = cuts;
	kafka_call_answer(call, response);
}

void kafka_call_silent(struct kafka_call *call)
{
	end_call(call, KAFKA_CALL_SILENT);
}

void kafka_call_fail(struct kafka_call *call, const char *why)
{
	call->why = why;
	end_call(call, KAFKA_CALL_FAILED);
}

/* ---- what handlers need ---- */

void *kafka_call_new(struct kafka_call *call, size_t bytes)
{
	return arena_zalloc(&call->arena, 1, bytes);
}

void *kafka_call_array(struct kafka_call *call, const struct kafka_layout *layout, size_t count)
{
	return kafka_layout_array(layout, &call->arena, count);
}

void *kafka_call_response(struct kafka_call *call)
{
	return call->response;
}

struct slice kafka_call_user(const struct kafka_call *call)
{
	return slice_str(call->session->login.user);
}

/* "host:port" or "[v6]:port" in two. */
static void split_address(const char *text, struct slice *host, int32_t *port)
{
	const char *colon = strrchr(text, ':');

	*host = slice_null();
	*port = 0;
	if (!colon)
		return;
	*host = slice_make(text, (size_t)(colon - text));
	if (host->len > 2 && text[0] == '[')
		*host = slice_make(text + 1, host->len - 2);
	for (const char *at = colon + 1; *at >= '0' && *at <= '9'; at++)
		*port = *port * 10 + (*at - '0');
}

void kafka_call_address(const struct kafka_call *call, struct slice *host, int32_t *port)
{
	const struct kafka_server_options *o = &call->session->ctx->server->options;

	split_address(call->session->local, host, port);
	if (o->advertised_host)
		*host = slice_str(o->advertised_host);
	if (o->advertised_port)
		*port = o->advertised_port;
}

struct slice kafka_call_peer(const struct kafka_call *call)
{
	struct slice host;
	int32_t port;

	split_address(call->session->peer, &host, &port);
	return host;
}

int16_t kafka_code(int err)
{
	return err ? (int16_t)err_row(err)->kafka_code : 0;
}
