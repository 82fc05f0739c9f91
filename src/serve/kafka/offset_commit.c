/* SPDX-License-Identifier: Apache-2.0 */
/* OffsetCommit: answered when the offsets are durable. */
#include "serve/kafka/offset_list.h"

static void answer(struct offset_list *l, int err)
{
	struct kafka_offset_commit_response *out = kafka_call_response(l->call);

	if (err)
		offset_list_say(l, group_code(err));
	out->topics = l->topics;
	out->topics_count = l->topics_count;
	kafka_call_answer(l->call, out);
}

static void on_durable(void *ctx)
{
	answer(ctx, 0);
}

static bool take_topics(struct kafka_call *call, struct offset_list *l)
{
	const struct kafka_offset_commit_request *in = call->request;
	size_t sum = 0;

	for (size_t i = 0; i < in->topics_count; i++)
		sum += in->topics[i].partitions_count;
	if (!offset_list_init(l, call, in->topics_count, sum, in->retention_time_ms))
		return false;
	for (size_t i = 0; i < in->topics_count; i++) {
		const struct kafka_offset_commit_request_topic *topic = &in->topics[i];
		if (!offset_list_topic(l, topic->name, topic->partitions_count))
			return false;
		for (size_t k = 0; k < topic->partitions_count; k++)
			offset_list_partition(
				l,
				&(struct offset_asked){.partition = topic->partitions[k].partition_index,
						       .leader_epoch =
							       topic->partitions[k].committed_leader_epoch,
						       .offset = topic->partitions[k].committed_offset,
						       .metadata = topic->partitions[k].committed_metadata});
	}
	return true;
}

static void run_offset_commit(struct kafka_call *call)
{
	const struct kafka_offset_commit_request *in = call->request;
	struct group_who who = {.group = in->group_id,
				.member_id = in->member_id,
				.instance_id = in->group_instance_id,
				.generation = in->generation_id_or_member_epoch};
	struct state_done done = {.port = app_loop(call->app, call->loop)->port, .fn = on_durable};
	struct offset_list *l = kafka_call_new(call, sizeof(*l));
	int rc = 0;

	if (!l || !take_topics(call, l)) {
		group_call_no_memory(call);
		return;
	}
	done.ctx = l;
	if (l->count > 0)
		rc = groups_commit(call->app->groups, &who, l->items, l->count, &done, loop_now(call->loop));
	if (rc || l->count == 0)
		answer(l, rc);
}

const struct kafka_handler kafka_handle_offset_commit = {.run = run_offset_commit, .home = true};
