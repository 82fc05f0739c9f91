/* SPDX-License-Identifier: Apache-2.0 */
/* OffsetDelete: offsets of topics that the group does not read now. */
#include "serve/kafka/group_call.h"

struct deleting {
	struct kafka_call *call;
	struct kafka_offset_delete_response_topic *topics;
	struct offset_item *items;
	int *errors;
	struct kafka_offset_delete_response_partition **results; /* of each item */
	uint32_t count;
};

static void answer(struct kafka_call *call)
{
	kafka_call_answer(call, kafka_call_response(call));
}

static bool take_topic(struct deleting *d, const struct kafka_offset_delete_request_topic *asked,
		       struct kafka_offset_delete_response_topic *out)
{
	struct topic *topic = topics_find(d->call->app->topics, asked->name);
	struct kafka_offset_delete_response_partition *list =
		kafka_call_array(d->call, &kafka_offset_delete_response_partition_layout,
				 asked->partitions_count);

	if (!list && asked->partitions_count)
		return false;
	out->name = asked->name;
	out->partitions = list;
	out->partitions_count = asked->partitions_count;
	for (size_t i = 0; i < asked->partitions_count; i++) {
		int32_t number = asked->partitions[i].partition_index;
		list[i].partition_index = number;
		if (!topic || number < 0 || !topic_partition(topic, (uint32_t)number)) {
			list[i].error_code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
			continue;
		}
		d->results[d->count] = &list[i];
		d->items[d->count++] =
			(struct offset_item){.topic = topic->id, .partition = (uint32_t)number};
	}
	return true;
}

static bool take_topics(struct deleting *d)
{
	const struct kafka_offset_delete_request *in = d->call->request;
	size_t sum = 1;

	for (size_t i = 0; i < in->topics_count; i++)
		sum += in->topics[i].partitions_count;
	d->items = kafka_call_new(d->call, sum * sizeof(*d->items));
	d->errors = kafka_call_new(d->call, sum * sizeof(*d->errors));
	d->results = kafka_call_new(d->call, sum * sizeof(*d->results));
	d->topics = kafka_call_array(d->call, &kafka_offset_delete_response_topic_layout, in->topics_count);
	if (!d->items || !d->errors || !d->results || (in->topics_count && !d->topics))
		return false;
	for (size_t i = 0; i < in->topics_count; i++)
		if (!take_topic(d, &in->topics[i], &d->topics[i]))
			return false;
	return true;
}

static void run_offset_delete(struct kafka_call *call)
{
	const struct kafka_offset_delete_request *in = call->request;
	struct kafka_offset_delete_response *out = kafka_call_response(call);
	struct deleting d = {.call = call};
	struct group_changes *changes;
	bool entered;
	int rc;

	if (!take_topics(&d)) {
		group_call_no_memory(call);
		return;
	}
	changes = group_changes_new(call, answer);
	if (!changes)
		return;
	rc = groups_delete_offsets(call->app->groups, in->group_id, d.items, d.count, d.errors,
				   &changes->done, &entered);
	out->error_code = group_code(rc);
	if (rc == 0) {
		for (uint32_t i = 0; i < d.count; i++)
			d.results[i]->error_code = group_code(d.errors[i]);
		out->topics = d.topics;
		out->topics_count = in->topics_count;
	}
	if (entered)
		group_changes_entered(changes);
	group_changes_end(changes);
}

const struct kafka_handler kafka_handle_offset_delete = {.run = run_offset_delete, .home = true};
