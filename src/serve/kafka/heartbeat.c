/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/group_call.h"

static void run_heartbeat(struct kafka_call *call)
{
	const struct kafka_heartbeat_request *in = call->request;
	struct kafka_heartbeat_response *out = kafka_call_response(call);
	struct group_who who = {.group = in->group_id,
				.member_id = in->member_id,
				.instance_id = in->group_instance_id,
				.generation = in->generation_id};

	out->error_code = group_code(groups_heartbeat(call->app->groups, &who, loop_now(call->loop)));
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_heartbeat = {.run = run_heartbeat, .home = true};
