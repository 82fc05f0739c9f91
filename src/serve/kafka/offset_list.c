/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/offset_list.h"

bool offset_list_init(struct offset_list *l, struct kafka_call *call, size_t topics, size_t partitions,
		      int64_t retention_ms)
{
	l->call = call;
	l->items = kafka_call_new(call, (partitions + 1) * sizeof(*l->items));
	l->topics = kafka_call_array(call, &kafka_offset_commit_response_topic_layout, topics);
	l->now_ms = group_call_now_ms(call);
	l->expires_ms = retention_ms >= 0 ? l->now_ms + retention_ms : -1;
	return l->items && (topics == 0 || l->topics);
}

bool offset_list_topic(struct offset_list *l, struct slice name, size_t partitions)
{
	struct kafka_offset_commit_response_topic *out = &l->topics[l->topics_count];

	out->name = name;
	out->partitions =
		kafka_call_array(l->call, &kafka_offset_commit_response_partition_layout, partitions);
	if (partitions && !out->partitions)
		return false;
	l->topic = topics_find(l->call->app->topics, name);
	l->topics_count++;
	return true;
}

/* 0, or the code for this one alone. */
static int16_t check(struct topic *topic, const struct offset_asked *asked)
{
	if (!topic || asked->partition < 0 || !topic_partition(topic, (uint32_t)asked->partition))
		return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
	return asked->metadata.len > OFFSETS_METADATA_MAX ? KAFKA_OFFSET_METADATA_TOO_LARGE : 0;
}

static struct kafka_offset_commit_response_partition *results_of(
	const struct kafka_offset_commit_response_topic *topic)
{
	return (struct kafka_offset_commit_response_partition *)(uintptr_t)topic->partitions;
}

void offset_list_partition(struct offset_list *l, const struct offset_asked *asked)
{
	struct kafka_offset_commit_response_topic *topic = &l->topics[l->topics_count - 1];
	struct kafka_offset_commit_response_partition *result = &results_of(topic)[topic->partitions_count++];

	result->partition_index = asked->partition;
	result->error_code = check(l->topic, asked);
	if (result->error_code == 0)
		l->items[l->count++] = (struct offset_item){.topic = l->topic->id,
							    .partition = (uint32_t)asked->partition,
							    .leader_epoch = asked->leader_epoch,
							    .offset = asked->offset,
							    .committed_ms = l->now_ms,
							    .expires_ms = l->expires_ms,
							    .metadata = asked->metadata};
}

void offset_list_say(struct offset_list *l, int16_t code)
{
	for (size_t i = 0; i < l->topics_count; i++)
		for (size_t k = 0; k < l->topics[i].partitions_count; k++)
			if (results_of(&l->topics[i])[k].error_code == 0)
				results_of(&l->topics[i])[k].error_code = code;
}
