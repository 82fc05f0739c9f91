/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/group_call.h"

#define GROUP_OPERATIONS ((1 << 3) /* read */ | (1 << 6) /* delete */ | (1 << 8) /* describe */)

struct filling {
	struct kafka_call *call;
	struct kafka_describe_groups_response_member *members;
	uint32_t count;
	bool no_memory;
};

static void put_member(void *ctx, const struct group_member_view *view)
{
	struct filling *f = ctx;
	struct kafka_describe_groups_response_member *m = &f->members[f->count++];

	if (!group_call_copy(f->call, view->id, &m->member_id) ||
	    !group_call_copy(f->call, view->instance_id, &m->group_instance_id) ||
	    !group_call_copy(f->call, view->client_id, &m->client_id) ||
	    !group_call_copy(f->call, view->client_host, &m->client_host) ||
	    !group_call_copy(f->call, view->metadata, &m->member_metadata) ||
	    !group_call_copy(f->call, view->assignment, &m->member_assignment))
		f->no_memory = true;
}

static bool describe(struct kafka_call *call, struct slice id,
		     struct kafka_describe_groups_response_group *out)
{
	const struct kafka_describe_groups_request *in = call->request;
	struct filling f = {.call = call};
	struct group_view view;

	out->group_id = id;
	if (in->include_authorized_operations)
		out->authorized_operations = GROUP_OPERATIONS;
	if (id.len == 0) {
		out->error_code = KAFKA_INVALID_GROUP_ID;
		return true;
	}
	if (!groups_view(call->app->groups, id, &view)) {
		out->group_state = slice_str(group_state_name(GROUP_DEAD));
		return true;
	}
	f.members = kafka_call_array(call, &kafka_describe_groups_response_member_layout, view.member_count);
	if (!f.members && view.member_count)
		return false;
	groups_each_member(call->app->groups, id, put_member, &f);
	out->group_state = slice_str(group_state_name(view.state));
	out->members = f.members;
	out->members_count = f.count;
	return !f.no_memory && group_call_copy(call, view.protocol_type, &out->protocol_type) &&
	       group_call_copy(call, view.protocol, &out->protocol_data);
}

static void run_describe_groups(struct kafka_call *call)
{
	const struct kafka_describe_groups_request *in = call->request;
	struct kafka_describe_groups_response *out = kafka_call_response(call);
	struct kafka_describe_groups_response_group *list =
		kafka_call_array(call, &kafka_describe_groups_response_group_layout, in->groups_count);
	bool fine = list || in->groups_count == 0;

	for (size_t i = 0; fine && i < in->groups_count; i++)
		fine = describe(call, in->groups[i], &list[i]);
	out->groups = list;
	out->groups_count = in->groups_count;
	if (fine)
		kafka_call_answer(call, out);
	else
		group_call_no_memory(call);
}

const struct kafka_handler kafka_handle_describe_groups = {.run = run_describe_groups, .home = true};
