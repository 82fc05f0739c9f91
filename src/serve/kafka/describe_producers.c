/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeProducers: what partitions know of producers with an id, for who looks for a transaction that hangs. */
#include "log/producers.h"
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/call.h"

static const char no_memory[] = "no memory for an answer";

/* False: no memory. */
static bool show_producers(struct kafka_call *call, struct partition *p,
			   struct kafka_describe_producers_response_partition *out)
{
	uint32_t max = partition_producers(p, NULL, 0);
	struct producer_info *infos = kafka_call_new(call, (max + 1) * sizeof(*infos));
	struct kafka_describe_producers_response_active_producer *list =
		kafka_call_array(call, &kafka_describe_producers_response_active_producer_layout, max);
	uint32_t count;

	if (!infos || (max && !list))
		return false;
	count = partition_producers(p, infos, max);
	if (count > max)
		count = max; /* some have come since they were counted */
	for (uint32_t i = 0; i < count; i++) {
		list[i].producer_id = infos[i].producer_id;
		list[i].producer_epoch = infos[i].epoch;
		list[i].last_sequence = infos[i].last_sequence;
		list[i].last_timestamp = infos[i].last_ms;
		list[i].coordinator_epoch = infos[i].coordinator_epoch;
		list[i].current_txn_start_offset = infos[i].open_offset;
	}
	out->active_producers = list;
	out->active_producers_count = count;
	return true;
}

static bool show_topic(struct kafka_call *call, const struct kafka_describe_producers_request_topic *asked,
		       struct kafka_describe_producers_response_topic *out)
{
	struct topic *topic = topics_find(call->app->topics, asked->name);
	bool bad_name = !topic && topic_name_check(asked->name, NULL);
	struct kafka_describe_producers_response_partition *list =
		kafka_call_array(call, &kafka_describe_producers_response_partition_layout,
				 asked->partition_indexes_count);

	if (asked->partition_indexes_count && !list)
		return false;
	out->name = asked->name;
	out->partitions = list;
	out->partitions_count = asked->partition_indexes_count;
	for (size_t i = 0; i < asked->partition_indexes_count; i++) {
		int32_t number = asked->partition_indexes[i];
		struct partition *p = topic && number >= 0 ? topic_partition(topic, (uint32_t)number) : NULL;
		list[i].partition_index = number;
		list[i].error_message = slice_null();
		if (!p)
			list[i].error_code =
				bad_name ? KAFKA_INVALID_TOPIC_EXCEPTION : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
		else if (!show_producers(call, p, &list[i]))
			return false;
	}
	return true;
}

static void run_describe_producers(struct kafka_call *call)
{
	const struct kafka_describe_producers_request *in = call->request;
	struct kafka_describe_producers_response *out = kafka_call_response(call);
	struct kafka_describe_producers_response_topic *topics =
		kafka_call_array(call, &kafka_describe_producers_response_topic_layout, in->topics_count);

	if (in->topics_count && !topics) {
		kafka_call_fail(call, no_memory);
		return;
	}
	for (size_t i = 0; i < in->topics_count; i++)
		if (!show_topic(call, &in->topics[i], &topics[i])) {
			kafka_call_fail(call, no_memory);
			return;
		}
	out->topics = topics;
	out->topics_count = in->topics_count;
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_describe_producers = {.run = run_describe_producers};
