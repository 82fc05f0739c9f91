/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TxnOffsetCommit: offsets of a group that count when the transaction is committed. The group says whether its
 * member may, the transaction whether it is one of this group.
 */
#include "serve/kafka/offset_list.h"
#include "serve/kafka/txn_wait.h"

struct committing {
	struct txn_wait wait; /* first */
	struct offset_list offsets;
};

static void answer(struct txn_wait *w, int err)
{
	struct committing *c = (struct committing *)w;
	struct kafka_txn_offset_commit_response *out = kafka_call_response(w->call);

	offset_list_say(&c->offsets, kafka_code(err));
	out->topics = c->offsets.topics;
	out->topics_count = c->offsets.topics_count;
	kafka_call_answer(w->call, out);
}

static bool take_topics(struct kafka_call *call, struct offset_list *l)
{
	const struct kafka_txn_offset_commit_request *in = call->request;
	size_t sum = 0;

	for (size_t i = 0; i < in->topics_count; i++)
		sum += in->topics[i].partitions_count;
	if (!offset_list_init(l, call, in->topics_count, sum, -1))
		return false;
	for (size_t i = 0; i < in->topics_count; i++) {
		const struct kafka_txn_offset_commit_request_topic *topic = &in->topics[i];
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
	if (!take_topics(call, &c->offsets)) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	rc = groups_check_commit(call->app->groups, &member, true);
	if (rc == 0)
		rc = txn_commit_offsets(call->app->txns, &w->txn, &who, in->group_id, c->offsets.items,
					c->offsets.count, log_now_ms(call->app->log));
	txn_wait_result(w, rc);
}

const struct kafka_handler kafka_handle_txn_offset_commit = {.run = run_txn_offset_commit, .home = true};
