/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DescribeTransactions: transactions by their ids, with the partitions that they cover. In Kafka the offsets of a group are
 * records of __consumer_offsets, so that a transaction with offsets covers the group's partition of it. Here there is no
 * such topic; it is named all the same, since otherwise a transaction of offsets alone would seem to hold nothing.
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/call.h"

#define OFFSETS_PARTITIONS 50 /* offsets.topic.num.partitions */

static uint32_t run_of_topic(const struct txn_view *view, uint32_t from)
{
	uint32_t end = from;

	while (end < view->partition_count &&
	       topic_id_eq(&view->partitions[end].topic, &view->partitions[from].topic))
		end++;
	return end;
}

/* GroupMetadataManager.partitionFor: Java's String.hashCode, without its sign. The same for ASCII, which ids are. */
static uint32_t offsets_partition(struct slice group)
{
	uint32_t hash = 0;

	for (size_t i = 0; i < group.len; i++)
		hash = hash * 31 + group.ptr[i];
	if (hash >> 31)
		hash = 0 - hash;
	return (hash & INT32_MAX) % OFFSETS_PARTITIONS;
}

/* The partitions of __consumer_offsets where Kafka would keep the groups. False: no memory. */
static bool show_groups(struct kafka_call *call, struct txn_view *view,
			struct kafka_describe_transactions_response_topic *out)
{
	int32_t *numbers = kafka_call_new(call, OFFSETS_PARTITIONS * sizeof(*numbers));
	struct slice group;
	uint64_t there = 0;

	if (!numbers)
		return false;
	while (txn_view_group(view, &group))
		there |= 1ull << offsets_partition(group);
	out->topic = SLICE_LIT("__consumer_offsets");
	out->partitions = numbers;
	for (int32_t i = 0; i < OFFSETS_PARTITIONS; i++)
		if (there >> i & 1)
			numbers[out->partitions_count++] = i;
	return true;
}

/* They stand by topic. Those of a topic that was deleted are not shown. False: no memory. */
static bool show_partitions(struct kafka_call *call, struct txn_view *view,
			    struct kafka_describe_transactions_response_state *out)
{
	struct kafka_describe_transactions_response_topic *topics;
	uint32_t count = view->groups ? 1 : 0, end;

	for (uint32_t i = 0; i < view->partition_count; i = run_of_topic(view, i))
		count++;
	topics = kafka_call_array(call, &kafka_describe_transactions_response_topic_layout, count);
	if (count && !topics)
		return false;
	count = 0;
	for (uint32_t i = 0; i < view->partition_count; i = end) {
		struct topic *topic = topics_find_id(call->app->topics, &view->partitions[i].topic);
		int32_t *numbers;
		end = run_of_topic(view, i);
		if (!topic)
			continue;
		numbers = kafka_call_new(call, (end - i) * sizeof(*numbers));
		if (!numbers)
			return false;
		for (uint32_t k = i; k < end; k++)
			numbers[k - i] = (int32_t)view->partitions[k].number;
		topics[count].topic = slice_str(topic->name);
		topics[count].partitions = numbers;
		topics[count++].partitions_count = end - i;
	}
	if (view->groups && !show_groups(call, view, &topics[count++]))
		return false;
	out->topics = topics;
	out->topics_count = count;
	return true;
}

static bool show(struct kafka_call *call, struct slice id,
		 struct kafka_describe_transactions_response_state *out)
{
	struct txn_view view;

	out->transactional_id = id;
	if (id.len == 0 || !txn_look(call->app->txns, id, &view)) {
		out->error_code = id.len == 0 ? KAFKA_INVALID_REQUEST : KAFKA_TRANSACTIONAL_ID_NOT_FOUND;
		return true;
	}
	out->transaction_state = slice_str(txn_state_name(view.state));
	out->transaction_timeout_ms = view.timeout_ms;
	out->transaction_start_time_ms = view.start_ms;
	out->producer_id = view.producer_id;
	out->producer_epoch = view.epoch;
	return show_partitions(call, &view, out);
}

static void run_describe_transactions(struct kafka_call *call)
{
	const struct kafka_describe_transactions_request *in = call->request;
	struct kafka_describe_transactions_response *out = kafka_call_response(call);
	struct kafka_describe_transactions_response_state *states =
		kafka_call_array(call, &kafka_describe_transactions_response_state_layout,
				 in->transactional_ids_count);
	bool whole = states || in->transactional_ids_count == 0;

	for (size_t i = 0; whole && i < in->transactional_ids_count; i++)
		whole = show(call, in->transactional_ids[i], &states[i]);
	if (!whole) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	out->transaction_states = states;
	out->transaction_states_count = in->transactional_ids_count;
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_describe_transactions = {.run = run_describe_transactions,
								 .home = true};
