/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/group_call.h"

struct group_call *group_call_new(struct kafka_call *call,
				  void (*answer)(struct group_wait *wait, const struct group_answer *a))
{
	struct group_call *c = kafka_call_new(call, sizeof(*c));

	if (!c) {
		group_call_no_memory(call);
		return NULL;
	}
	c->call = call;
	c->wait.answer = answer;
	return c;
}

bool group_call_copy(struct kafka_call *call, struct slice from, struct slice *to)
{
	*to = from.ptr ? arena_copy(&call->arena, from) : slice_null();
	return !from.ptr || to->ptr;
}

void group_call_no_memory(struct kafka_call *call)
{
	kafka_call_fail(call, "no memory for an answer");
}

int16_t group_code(int err)
{
	switch (err) {
	case 0:
	case ERR_BAD_GROUP:
	case ERR_UNKNOWN_GROUP:
	case ERR_GROUP_ACTIVE:
	case ERR_GROUP_SUBSCRIBED:
	case ERR_GROUP_FULL:
	case ERR_GROUP_PROTOCOL:
	case ERR_SESSION_TIMEOUT:
	case ERR_MEMBER_ID_REQUIRED:
	case ERR_UNKNOWN_MEMBER:
	case ERR_FENCED_INSTANCE:
	case ERR_ILLEGAL_GENERATION:
	case ERR_REBALANCING:
	case ERR_UNSTABLE_OFFSET:
	case ERR_METADATA_TOO_LARGE:
	case ERR_MALFORMED:
		return kafka_code(err);
	case ERR_LIMIT:
		return KAFKA_INVALID_COMMIT_OFFSET_SIZE;
	default:
		return KAFKA_COORDINATOR_NOT_AVAILABLE;
	}
}

int64_t group_call_now_ms(const struct kafka_call *call)
{
	return sys_wall_ms(call->app->sys);
}

/* ---- changes ---- */

static void on_durable(void *ctx)
{
	struct group_changes *c = ctx;

	if (--c->pending == 0)
		c->answer(c->call);
}

struct group_changes *group_changes_new(struct kafka_call *call, void (*answer)(struct kafka_call *call))
{
	struct group_changes *c = kafka_call_new(call, sizeof(*c));

	if (!c) {
		group_call_no_memory(call);
		return NULL;
	}
	c->call = call;
	c->answer = answer;
	c->pending = 1; /* who tries them */
	c->done = (struct state_done){.port = app_loop(call->app, call->loop)->port,
				      .fn = on_durable,
				      .ctx = c};
	return c;
}

void group_changes_entered(struct group_changes *c)
{
	c->pending++;
}

void group_changes_end(struct group_changes *c)
{
	on_durable(c);
}
