/* SPDX-License-Identifier: Apache-2.0 */
/* DeleteGroups: each in a commit of its own; answered when all are durable. */
#include "serve/kafka/group_call.h"

static void answer(struct kafka_call *call)
{
	kafka_call_answer(call, kafka_call_response(call));
}

static void run_delete_groups(struct kafka_call *call)
{
	const struct kafka_delete_groups_request *in = call->request;
	struct kafka_delete_groups_response *out = kafka_call_response(call);
	struct kafka_delete_groups_response_group *list =
		kafka_call_array(call, &kafka_delete_groups_response_group_layout, in->groups_names_count);
	struct group_changes *changes;

	if (!list && in->groups_names_count) {
		group_call_no_memory(call);
		return;
	}
	changes = group_changes_new(call, answer);
	if (!changes)
		return;
	out->results = list;
	out->results_count = in->groups_names_count;
	for (size_t i = 0; i < in->groups_names_count; i++) {
		int rc = groups_delete(call->app->groups, in->groups_names[i], &changes->done);
		list[i].group_id = in->groups_names[i];
		list[i].error_code = group_code(rc);
		if (rc == 0)
			group_changes_entered(changes);
	}
	group_changes_end(changes);
}

const struct kafka_handler kafka_handle_delete_groups = {.run = run_delete_groups, .home = true};
