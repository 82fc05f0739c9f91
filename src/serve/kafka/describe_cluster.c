/* SPDX-License-Identifier: Apache-2.0 */
/* DescribeCluster: one broker, which is the controller too. */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/cluster.h"

#define ENDPOINT_BROKERS 1
#define ENDPOINT_CONTROLLERS 2
#define ENDPOINT_MISMATCHED 114  /* MISMATCHED_ENDPOINT_TYPE */
#define ENDPOINT_UNSUPPORTED 115 /* UNSUPPORTED_ENDPOINT_TYPE */

static void run_describe_cluster(struct kafka_call *call)
{
	const struct kafka_describe_cluster_request *in = call->request;
	struct kafka_describe_cluster_response *out = kafka_call_response(call);
	struct kafka_describe_cluster_response_broker *broker =
		kafka_call_array(call, &kafka_describe_cluster_response_broker_layout, 1);

	if (!broker) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	if (in->endpoint_type != ENDPOINT_BROKERS) {
		out->error_code = in->endpoint_type == ENDPOINT_CONTROLLERS ? ENDPOINT_MISMATCHED :
									      ENDPOINT_UNSUPPORTED;
		out->error_message =
			SLICE_LIT("weir has brokers to tell of, type 1, and no controllers apart");
		kafka_call_answer(call, out);
		return;
	}
	broker->broker_id = KAFKA_BROKER_ID;
	kafka_call_address(call, &broker->host, &broker->port);
	out->brokers = broker;
	out->brokers_count = 1;
	out->controller_id = KAFKA_BROKER_ID;
	out->cluster_id = kafka_cluster_id(call);
	if (in->include_cluster_authorized_operations)
		out->cluster_authorized_operations = KAFKA_CLUSTER_OPERATIONS;
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_describe_cluster = {.run = run_describe_cluster};
