/* SPDX-License-Identifier: Apache-2.0 */
/* FindCoordinator: the one broker, for groups and for transactions. */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/cluster.h"

static bool is_known(int8_t key_type)
{
	return key_type == 0 /* a group */ || key_type == 1 /* a transactional id */;
}

static void find_one(struct kafka_call *call, struct kafka_find_coordinator_response *out)
{
	const struct kafka_find_coordinator_request *in = call->request;

	out->node_id = -1;
	out->port = -1;
	if (!is_known(in->key_type)) {
		out->error_code = KAFKA_INVALID_REQUEST;
		return;
	}
	out->node_id = KAFKA_BROKER_ID;
	kafka_call_address(call, &out->host, &out->port);
}

static bool find_many(struct kafka_call *call, struct kafka_find_coordinator_response *out)
{
	const struct kafka_find_coordinator_request *in = call->request;
	struct kafka_find_coordinator_response_coordinator *list =
		kafka_call_array(call, &kafka_find_coordinator_response_coordinator_layout,
				 in->coordinator_keys_count);

	if (!list && in->coordinator_keys_count)
		return false;
	for (size_t i = 0; i < in->coordinator_keys_count; i++) {
		list[i].key = in->coordinator_keys[i];
		list[i].node_id = -1;
		list[i].port = -1;
		if (!is_known(in->key_type)) {
			list[i].error_code = KAFKA_INVALID_REQUEST;
			continue;
		}
		list[i].node_id = KAFKA_BROKER_ID;
		kafka_call_address(call, &list[i].host, &list[i].port);
	}
	out->coordinators = list;
	out->coordinators_count = in->coordinator_keys_count;
	return true;
}

static void run_find_coordinator(struct kafka_call *call)
{
	struct kafka_find_coordinator_response *out = kafka_call_response(call);

	if (call->header.version < 4) {
		find_one(call, out);
	} else if (!find_many(call, out)) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_find_coordinator = {.run = run_find_coordinator};
