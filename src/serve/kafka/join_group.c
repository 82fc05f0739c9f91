/* SPDX-License-Identifier: Apache-2.0 */
/* JoinGroup: waits for the group to come together. */
#include "serve/kafka/group_call.h"

static bool put_members(struct kafka_call *call, const struct group_answer *a,
			struct kafka_join_group_response *out)
{
	struct kafka_join_group_response_member *list =
		kafka_call_array(call, &kafka_join_group_response_member_layout, a->member_count);

	if (!list && a->member_count)
		return false;
	for (uint32_t i = 0; i < a->member_count; i++)
		if (!group_call_copy(call, a->members[i].member_id, &list[i].member_id) ||
		    !group_call_copy(call, a->members[i].instance_id, &list[i].group_instance_id) ||
		    !group_call_copy(call, a->members[i].metadata, &list[i].metadata))
			return false;
	out->members = list;
	out->members_count = a->member_count;
	return true;
}

static void on_answer(struct group_wait *wait, const struct group_answer *a)
{
	struct kafka_call *call = ((struct group_call *)wait)->call;
	struct kafka_join_group_response *out = kafka_call_response(call);

	out->error_code = group_code(a->err);
	out->generation_id = a->generation;
	out->skip_assignment = a->skip_assignment;
	if (!group_call_copy(call, a->protocol_type, &out->protocol_type) ||
	    !group_call_copy(call, a->protocol, &out->protocol_name) ||
	    !group_call_copy(call, a->leader, &out->leader) ||
	    !group_call_copy(call, a->member_id, &out->member_id) || !put_members(call, a, out))
		group_call_no_memory(call);
	else
		kafka_call_answer(call, out);
}

static struct group_named *protocols_of(struct kafka_call *call, const struct kafka_join_group_request *in)
{
	struct group_named *list = kafka_call_new(call, (in->protocols_count + 1) * sizeof(*list));

	for (size_t i = 0; list && i < in->protocols_count; i++)
		list[i] = (struct group_named){in->protocols[i].name, in->protocols[i].metadata};
	return list;
}

/* "/127.0.0.1", as Java writes an address. */
static struct slice host_of(struct kafka_call *call)
{
	struct slice peer = kafka_call_peer(call);
	uint8_t *text = kafka_call_new(call, peer.len + 1);

	if (!text)
		return SLICE_LIT("");
	text[0] = '/';
	memcpy(text + 1, peer.ptr, peer.len);
	return slice_make(text, peer.len + 1);
}

static void run_join_group(struct kafka_call *call)
{
	const struct kafka_join_group_request *in = call->request;
	struct group_call *c = group_call_new(call, on_answer);
	struct group_join ask = {
		.group = in->group_id,
		.member_id = in->member_id,
		.instance_id = in->group_instance_id,
		.client_id = call->header.client_id,
		.protocol_type = in->protocol_type,
		.session_ms = in->session_timeout_ms,
		.rebalance_ms = in->rebalance_timeout_ms,
		.id_required = call->header.version >= 4 && !in->group_instance_id.ptr,
		.skips = call->header.version >= 9,
	};

	if (!c)
		return;
	if (ask.rebalance_ms < 0) /* version 0 has none of its own */
		ask.rebalance_ms = call->header.version == 0 ? in->session_timeout_ms : 0;
	ask.client_host = host_of(call);
	ask.protocols = protocols_of(call, in);
	ask.protocol_count = (uint32_t)in->protocols_count;
	if (!ask.protocols)
		group_call_no_memory(call);
	else
		groups_join(call->app->groups, &ask, &c->wait, loop_now(call->loop));
}

const struct kafka_handler kafka_handle_join_group = {.run = run_join_group, .home = true};
