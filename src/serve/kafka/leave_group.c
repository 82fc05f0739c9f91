/* SPDX-License-Identifier: Apache-2.0 */
/* LeaveGroup: one member, or from version 3 several, each with an answer of its own. */
#include "serve/kafka/group_call.h"

static int leave(struct kafka_call *call, struct slice member_id, struct slice instance_id)
{
	const struct kafka_leave_group_request *in = call->request;
	struct group_who who = {.group = in->group_id,
				.member_id = member_id,
				.instance_id = instance_id,
				.generation = -1};

	return groups_leave(call->app->groups, &who, loop_now(call->loop));
}

/* What is wrong with the group is said once. */
static bool leave_all(struct kafka_call *call, struct kafka_leave_group_response *out)
{
	const struct kafka_leave_group_request *in = call->request;
	struct kafka_leave_group_response_member *list =
		kafka_call_array(call, &kafka_leave_group_response_member_layout, in->members_count);

	if (!list && in->members_count)
		return false;
	for (size_t i = 0; i < in->members_count; i++) {
		int err = leave(call, in->members[i].member_id, in->members[i].group_instance_id);
		if (err == ERR_BAD_GROUP || err == ERR_COORDINATOR) {
			out->error_code = group_code(err);
			return true;
		}
		list[i].member_id = in->members[i].member_id;
		list[i].group_instance_id = in->members[i].group_instance_id;
		list[i].error_code = group_code(err);
	}
	out->members = list;
	out->members_count = in->members_count;
	return true;
}

static void run_leave_group(struct kafka_call *call)
{
	const struct kafka_leave_group_request *in = call->request;
	struct kafka_leave_group_response *out = kafka_call_response(call);

	if (call->header.version < 3) {
		out->error_code = group_code(leave(call, in->member_id, slice_null()));
	} else if (!leave_all(call, out)) {
		group_call_no_memory(call);
		return;
	}
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_leave_group = {.run = run_leave_group, .home = true};
