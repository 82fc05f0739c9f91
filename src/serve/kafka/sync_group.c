/* SPDX-License-Identifier: Apache-2.0 */
/* SyncGroup: waits for the leader's assignment, and until that is on disk. */
#include "serve/kafka/group_call.h"

static void on_answer(struct group_wait *wait, const struct group_answer *a)
{
	struct kafka_call *call = ((struct group_call *)wait)->call;
	struct kafka_sync_group_response *out = kafka_call_response(call);

	out->error_code = group_code(a->err);
	if (!group_call_copy(call, a->protocol_type, &out->protocol_type) ||
	    !group_call_copy(call, a->protocol, &out->protocol_name) ||
	    !group_call_copy(call, a->assignment, &out->assignment))
		group_call_no_memory(call);
	else
		kafka_call_answer(call, out);
}

static struct group_named *assignments_of(struct kafka_call *call, const struct kafka_sync_group_request *in)
{
	struct group_named *list = kafka_call_new(call, (in->assignments_count + 1) * sizeof(*list));

	for (size_t i = 0; list && i < in->assignments_count; i++)
		list[i] = (struct group_named){in->assignments[i].member_id, in->assignments[i].assignment};
	return list;
}

static void run_sync_group(struct kafka_call *call)
{
	const struct kafka_sync_group_request *in = call->request;
	struct group_call *c = group_call_new(call, on_answer);
	struct group_sync ask = {
		.group = in->group_id,
		.member_id = in->member_id,
		.instance_id = in->group_instance_id,
		.protocol_type = in->protocol_type,
		.protocol = in->protocol_name,
		.generation = in->generation_id,
	};

	if (!c)
		return;
	ask.assignments = assignments_of(call, in);
	ask.assignment_count = (uint32_t)in->assignments_count;
	if (!ask.assignments)
		group_call_no_memory(call);
	else if (call->header.version >= 5 && (!in->protocol_type.ptr || !in->protocol_name.ptr))
		on_answer(&c->wait, &(struct group_answer){.err = ERR_GROUP_PROTOCOL});
	else
		groups_sync(call->app->groups, &ask, &c->wait, loop_now(call->loop));
}

const struct kafka_handler kafka_handle_sync_group = {.run = run_sync_group, .home = true};
