/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OffsetCommit: answered when the offsets are durable. What is wrong with one partition (it is not
 * there, its metadata is too long) is said of it, and the others are committed.
 */
#include "serve/kafka/group_call.h"

struct committing {
	struct kafka_call *call;
	struct kafka_offset_commit_response_topic *topics;
	struct offset_item *items;
	uint32_t count;
};

static struct kafka_offset_commit_response_partition *results_of(
	const struct kafka_offset_commit_response_topic *topic)
{
	return (struct kafka_offset_commit_response_partition *)(uintptr_t)topic->partitions;
}

static void answer(struct committing *c, int err)
{
	const struct kafka_offset_commit_request *in = c->call->request;
	struct kafka_offset_commit_response *out = kafka_call_response(c->call);

	for (size_t i = 0; err && i < in->topics_count; i++)
		for (size_t k = 0; k < c->topics[i].partitions_count; k++)
			if (results_of(&c->topics[i])[k].error_code == 0)
				results_of(&c->topics[i])[k].error_code = group_code(err);
	out->topics = c->topics;
	out->topics_count = in->topics_count;
	kafka_call_answer(c->call, out);
}

static void on_durable(void *ctx)
{
	answer(ctx, 0);
}

static int16_t check_partition(struct topic *topic, const struct kafka_offset_commit_request_partition *p)
{
	if (!topic || p->partition_index < 0 || !topic_partition(topic, (uint32_t)p->partition_index))
		return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
	return p->committed_metadata.len > OFFSETS_METADATA_MAX ? KAFKA_OFFSET_METADATA_TOO_LARGE : 0;
}

static bool take_topic(struct committing *c, const struct kafka_offset_commit_request_topic *asked,
		       struct kafka_offset_commit_response_topic *out)
{
	const struct kafka_offset_commit_request *in = c->call->request;
	struct topic *topic = topics_find(c->call->app->topics, asked->name);
	int64_t now_ms = group_call_now_ms(c->call);
	struct kafka_offset_commit_response_partition *results =
		kafka_call_array(c->call, &kafka_offset_commit_response_partition_layout,
				 asked->partitions_count);

	if (asked->partitions_count && !results)
		return false;
	out->name = asked->name;
	out->partitions = results;
	out->partitions_count = asked->partitions_count;
	for (size_t i = 0; i < asked->partitions_count; i++) {
		const struct kafka_offset_commit_request_partition *p = &asked->partitions[i];
		results[i].partition_index = p->partition_index;
		results[i].error_code = check_partition(topic, p);
		if (results[i].error_code)
			continue;
		c->items[c->count++] =
			(struct offset_item){.topic = topic->id,
					     .partition = (uint32_t)p->partition_index,
					     .leader_epoch = p->committed_leader_epoch,
					     .offset = p->committed_offset,
					     .committed_ms = now_ms,
					     .expires_ms = in->retention_time_ms >= 0 ?
								   now_ms + in->retention_time_ms :
								   -1,
					     .metadata = p->committed_metadata};
	}
	return true;
}

static bool take_topics(struct committing *c)
{
	const struct kafka_offset_commit_request *in = c->call->request;
	size_t sum = 0;

	for (size_t i = 0; i < in->topics_count; i++)
		sum += in->topics[i].partitions_count;
	c->items = kafka_call_new(c->call, (sum + 1) * sizeof(*c->items));
	c->topics = kafka_call_array(c->call, &kafka_offset_commit_response_topic_layout, in->topics_count);
	if (!c->items || (in->topics_count && !c->topics))
		return false;
	for (size_t i = 0; i < in->topics_count; i++)
		if (!take_topic(c, &in->topics[i], &c->topics[i]))
			return false;
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
	struct committing *c = kafka_call_new(call, sizeof(*c));
	int rc;

	if (c)
		c->call = call;
	if (!c || !take_topics(c)) {
		group_call_no_memory(call);
		return;
	}
	done.ctx = c;
	if (c->count == 0)
		rc = 0;
	else
		rc = groups_commit(call->app->groups, &who, c->items, c->count, &done, loop_now(call->loop));
	if (rc || c->count == 0)
		answer(c, rc);
}

const struct kafka_handler kafka_handle_offset_commit = {.run = run_offset_commit, .home = true};
