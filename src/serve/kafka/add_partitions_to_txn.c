/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AddPartitionsToTxn: partitions that the transaction will write to. All or none: where one does
 * not exist, it is told so, and the others OPERATION_NOT_ATTEMPTED (KafkaApis.handleAddPartitionsToTxnRequest).
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/txn_wait.h"

struct adding {
	struct txn_wait wait; /* first */
	struct kafka_add_partitions_to_txn_response_topic *topics;
	struct txn_partition *partitions;
	uint32_t count;
	bool unknown; /* one of them is not there */
};

static struct kafka_add_partitions_to_txn_response_partition *results_of(
	const struct kafka_add_partitions_to_txn_response_topic *topic)
{
	return (struct kafka_add_partitions_to_txn_response_partition *)(uintptr_t)topic->results_by_partition;
}

/* Where it has no code yet. */
static void give_code(struct adding *a, int16_t code)
{
	const struct kafka_add_partitions_to_txn_request *in = a->wait.call->request;

	for (size_t i = 0; i < in->v3_and_below_topics_count; i++)
		for (size_t k = 0; k < a->topics[i].results_by_partition_count; k++)
			if (results_of(&a->topics[i])[k].partition_error_code == 0)
				results_of(&a->topics[i])[k].partition_error_code = code;
}

static void answer(struct txn_wait *w, int err)
{
	struct adding *a = (struct adding *)w;
	const struct kafka_add_partitions_to_txn_request *in = w->call->request;
	struct kafka_add_partitions_to_txn_response *out = kafka_call_response(w->call);

	give_code(a, txn_code(w->call, err, 2));
	out->results_by_topic_v3_and_below = a->topics;
	out->results_by_topic_v3_and_below_count = in->v3_and_below_topics_count;
	kafka_call_answer(w->call, out);
}

/* One topic of the request; false: no memory. */
static bool take_topic(struct adding *a, const struct kafka_add_partitions_to_txn_request_topic *asked,
		       struct kafka_add_partitions_to_txn_response_topic *out)
{
	struct kafka_call *call = a->wait.call;
	struct topic *topic = topics_find(call->app->topics, asked->name);
	struct kafka_add_partitions_to_txn_response_partition *results =
		kafka_call_array(call, &kafka_add_partitions_to_txn_response_partition_layout,
				 asked->partitions_count);

	if (asked->partitions_count && !results)
		return false;
	out->name = asked->name;
	out->results_by_partition = results;
	out->results_by_partition_count = asked->partitions_count;
	for (size_t i = 0; i < asked->partitions_count; i++) {
		results[i].partition_index = asked->partitions[i];
		if (!topic || asked->partitions[i] < 0 ||
		    !topic_partition(topic, (uint32_t)asked->partitions[i])) {
			results[i].partition_error_code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
			a->unknown = true;
			continue;
		}
		a->partitions[a->count++] =
			(struct txn_partition){.topic = topic->id, .number = (uint32_t)asked->partitions[i]};
	}
	return true;
}

static bool take_topics(struct adding *a)
{
	const struct kafka_add_partitions_to_txn_request *in = a->wait.call->request;
	size_t sum = 0;

	for (size_t i = 0; i < in->v3_and_below_topics_count; i++)
		sum += in->v3_and_below_topics[i].partitions_count;
	a->partitions = kafka_call_new(a->wait.call, (sum + 1) * sizeof(*a->partitions));
	a->topics = kafka_call_array(a->wait.call, &kafka_add_partitions_to_txn_response_topic_layout,
				     in->v3_and_below_topics_count);
	if (!a->partitions || (in->v3_and_below_topics_count && !a->topics))
		return false;
	for (size_t i = 0; i < in->v3_and_below_topics_count; i++)
		if (!take_topic(a, &in->v3_and_below_topics[i], &a->topics[i]))
			return false;
	return true;
}

static void run_add_partitions_to_txn(struct kafka_call *call)
{
	const struct kafka_add_partitions_to_txn_request *in = call->request;
	struct txn_who who = {.id = in->v3_and_below_transactional_id,
			      .producer_id = in->v3_and_below_producer_id,
			      .epoch = in->v3_and_below_producer_epoch};
	struct txn_wait *w = txn_wait_new(call, sizeof(struct adding), answer);
	struct adding *a = (struct adding *)w;

	if (!w)
		return;
	if (!take_topics(a)) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	if (a->unknown) {
		give_code(a, KAFKA_OPERATION_NOT_ATTEMPTED);
		answer(w, 0);
		return;
	}
	txn_wait_result(w, txn_add_partitions(call->app->txns, &w->txn, &who, a->partitions, a->count,
					      log_now_ms(call->app->log)));
}

const struct kafka_handler kafka_handle_add_partitions_to_txn = {.run = run_add_partitions_to_txn,
								 .home = true};
