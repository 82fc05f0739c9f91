/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/server.h"

#include "base/mem.h"
#include "serve/kafka/session.h"

#define MS 1000000ll

static void fill_in(struct kafka_server_options *o)
{
	if (o->request_bytes_max == 0)
		o->request_bytes_max = 100u << 20;
	if (o->in_flight_bytes_max == 0)
		o->in_flight_bytes_max = 8u << 20;
	if (o->in_flight_max == 0)
		o->in_flight_max = 256;
	if (o->idle_timeout_ns == 0)
		o->idle_timeout_ns = 600000 * MS;
	if (o->write_timeout_ns == 0)
		o->write_timeout_ns = 60000 * MS;
}

int kafka_server_new(const struct kafka_server_options *options, struct kafka_server **out,
		     struct fault *fault)
{
	struct kafka_server *s = mem_zalloc(1, sizeof(*s));
	int rc = 0;

	if (!s)
		return fault_set(fault, ERR_NOMEM, "no memory for the Kafka server");
	s->options = *options;
	fill_in(&s->options);
	s->loop_count = options->app->loop_count;
	s->loops = mem_zalloc(s->loop_count, sizeof(*s->loops));
	if (!s->loops)
		rc = fault_set(fault, ERR_NOMEM, "no memory for the Kafka server");
	else if (options->user_count)
		rc = login_new(options->app->sys, options->users, options->user_count, &s->login, fault);
	if (rc) {
		kafka_server_free(s);
		return rc;
	}
	for (uint32_t i = 0; i < s->loop_count; i++)
		s->loops[i] = (struct kafka_loop){.server = s, .number = i};
	*out = s;
	return 0;
}

void kafka_server_free(struct kafka_server *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; s->loops && i < s->loop_count; i++) {
		while (s->loops[i].pool) {
			struct kafka_call *call = s->loops[i].pool;
			s->loops[i].pool = call->next;
			arena_fini(&call->arena);
			mem_free(call);
		}
	}
	login_free(s->login);
	mem_free(s->loops);
	mem_free(s);
}

static struct kafka_loop *loop_of(struct kafka_server *s, struct loop *loop)
{
	struct kafka_loop *ctx = &s->loops[loop_number(loop)];

	ctx->loop = loop;
	return ctx;
}

int kafka_server_accept(void *server, struct conn *c)
{
	struct kafka_server *s = server;

	if (atomic_load_explicit(&s->draining, memory_order_relaxed))
		return ERR_SHUTTING_DOWN;
	return kafka_session_start(loop_of(s, conn_loop(c)), c);
}

void kafka_server_drain(struct kafka_server *s)
{
	atomic_store(&s->draining, true);
}

void kafka_server_close_idle(struct kafka_server *s, struct loop *loop)
{
	struct kafka_session *next;

	for (struct kafka_session *at = loop_of(s, loop)->sessions; at; at = next) {
		next = at->next;
		kafka_session_leave(at);
	}
}
