/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OffsetForLeaderEpoch: where the log of an epoch ended. weir has had one leader
 * and one epoch since the beginning, so that one ends at the end, and others
 * never were (LeaderEpochFileCache.endOffsetFor).
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/cluster.h"
#include "serve/kafka/leader.h"

static void look(struct topic *topic, const struct kafka_offset_for_leader_epoch_request_partition *asked,
		 struct kafka_offset_for_leader_epoch_response_partition *out)
{
	struct partition_edges edges;
	struct partition *p;

	out->partition = asked->partition;
	out->error_code = kafka_leader_find(topic, asked->partition, asked->current_leader_epoch, &p);
	if (out->error_code || asked->leader_epoch != KAFKA_LEADER_EPOCH)
		return;
	out->error_code = kafka_code(partition_edges(p, &edges));
	if (out->error_code)
		return;
	out->leader_epoch = KAFKA_LEADER_EPOCH;
	out->end_offset = edges.end;
}

static int look_at_topic(struct kafka_call *call,
			 const struct kafka_offset_for_leader_epoch_request_topic *asked,
			 struct kafka_offset_for_leader_epoch_response_topic *out)
{
	struct kafka_offset_for_leader_epoch_response_partition *list =
		kafka_call_array(call, &kafka_offset_for_leader_epoch_response_partition_layout,
				 asked->partitions_count);
	struct topic *topic = topics_find(call->app->topics, asked->topic);

	if (!list)
		return ERR_NOMEM;
	for (size_t i = 0; i < asked->partitions_count; i++)
		look(topic, &asked->partitions[i], &list[i]);
	out->topic = asked->topic;
	out->partitions = list;
	out->partitions_count = asked->partitions_count;
	return 0;
}

static void run_offset_for_leader_epoch(struct kafka_call *call)
{
	const struct kafka_offset_for_leader_epoch_request *in = call->request;
	struct kafka_offset_for_leader_epoch_response *out = kafka_call_response(call);
	struct kafka_offset_for_leader_epoch_response_topic *topics =
		kafka_call_array(call, &kafka_offset_for_leader_epoch_response_topic_layout,
				 in->topics_count);
	int rc = topics ? 0 : ERR_NOMEM;

	for (size_t i = 0; i < in->topics_count && rc == 0; i++)
		rc = look_at_topic(call, &in->topics[i], &topics[i]);
	if (rc) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	out->topics = topics;
	out->topics_count = in->topics_count;
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_offset_for_leader_epoch = {.run = run_offset_for_leader_epoch};
