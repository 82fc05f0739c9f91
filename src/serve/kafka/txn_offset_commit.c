/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TxnOffsetCommit: offsets of a group that count when the transaction is committed. The group says whether its
 * member may, the transaction whether it is one of this group.
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/txn_wait.h"

struct committing {
	struct txn_wait wait; /* first */
	struct kafka_txn_offset_commit_response_topic *topics;
	struct offset_item *items;
	uint32_t count;
};

static struct kafka_txn_offset_commit_response_partition *results_of(
	const struct kafka_txn_offset_commit_response_topic *topic)
{
	return (struct kafka_txn_offset_commit_response_partition *)(uintptr_t)topic->partitions;
}

static void answer(struct txn_wait *w, int err)
{
	struct committing *c = (struct committing *)w;
	const struct kafka_txn_offset_commit_request *in = w->call->request;
	struct kafka_txn_offset_commit_response *out = kafka_call_response(w->call);

	for (size_t i = 0; i < in->topics_count; i++)
		for (size_t k = 0; k < c->topics[i].partitions_count; k++)
			if (results_of(&c->topics[i])[k].error_code == 0)
				results_of(&c->topics[i])[k].error_code = kafka_code(err);
	out->topics = c->topics;
	out->topics_count = in->topics_count;
	kafka_call_answer(w->call, out);
}

/* 0, or the code for this one alone. */
static int16_t check_partition(struct topic *topic, const struct kafka_txn_offset_commit_request_partition *p)
{
	if (!topic || p->partition_index < 0 || !topic_partition(topic, (uint32_t)p->partition_index))
		return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
	return p->committed_metadata.len > OFFSETS_METADATA_MAX ? KAFKA_OFFSET_METADATA_TOO_LARGE : 0;
}

/* One topic of the request; false: no memory. */
static bool take_topic(struct committing *c, const struct kafka_txn_offset_commit_request_topic *asked,
		       struct kafka_txn_offset_commit_response_topic *out)
{
	struct kafka_call *call = c->wait.call;
	struct topic *topic = topics_find(call->app->topics, asked->name);
	struct kafka_txn_offset_commit_response_partition *results =
		kafka_call_array(call, &kafka_txn_offset_commit_response_partition_layout,
				 asked->partitions_count);

	if (asked->partitions_count && !results)
		return false;
	out->name = asked->name;
	out->partitions = results;
	out->partitions_count = asked->partitions_count;
	for (size_t i = 0; i < asked->partitions_count; i++) {
		const struct kafka_txn_offset_commit_request_partition *p = &asked->partitions[i];
		results[i].partition_index = p->partition_index;
		results[i].error_code = check_partition(topic, p);
		if (results[i].error_code == 0)
			c->items[c->count++] =
				(struct offset_item){.topic = topic->id,
						     .partition = (uint32_t)p->partition_index,
						     .leader_epoch = p->committed_leader_epoch,
						     .offset = p->committed_offset,
						     .committed_ms = sys_wall_ms(call->app->sys),
						     .expires_ms = -1,
						     .metadata = p->committed_metadata};
	}
	return true;
}

static bool take_topics(struct committing *c)
{
	const struct kafka_txn_offset_commit_request *in = c->wait.call->request;
	size_t sum = 0;

	for (size_t i = 0; i < in->topics_count; i++)
		sum += in->topics[i].partitions_count;
	c->items = kafka_call_new(c->wait.call, (sum + 1) * sizeof(*c->items));
	c->topics = kafka_call_array(c->wait.call, &kafka_txn_offset_commit_response_topic_layout,
				     in->topics_count);
	if (!c->items || (in->topics_count && !c->topics))
		return false;
	for (size_t i = 0; i < in->topics_count; i++)
		if (!take_topic(c, &in->topics[i], &c->topics[i]))
			return false;
	return true;
}

static void run_txn_offset_commit(struct kafka_call *call)
{
	const struct kafka_txn_offset_commit_request *in = call->request;
	struct txn_who who = {.id = in->transactional_id,
			      .producer_id = in->producer_id,
			      .epoch = in->producer_epoch};
	struct txn_wait *w = txn_wait_new(call, sizeof(struct committing), answer);
	struct committing *c = (struct committing *)w;
	struct group_who member = {.group = in->group_id,
				   .member_id = in->member_id,
				   .instance_id = in->group_instance_id,
				   .generation = in->generation_id};
	int rc;

	if (!w)
		return;
	if (!take_topics(c)) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	rc = groups_check_commit(call->app->groups, &member, true);
	if (rc == 0)
		rc = txn_commit_offsets(call->app->txns, &w->txn, &who, in->group_id, c->items, c->count,
					log_now_ms(call->app->log));
	txn_wait_result(w, rc);
}

const struct kafka_handler kafka_handle_txn_offset_commit = {.run = run_txn_offset_commit, .home = true};
