/* SPDX-License-Identifier: Apache-2.0 */
/* ApiVersions: what is served. What a client says of itself (KIP-511) is not needed for anything. */
#include "serve/kafka/handlers.h"

static void run_api_versions(struct kafka_call *call)
{
	struct kafka_api_versions_response *out = kafka_call_response(call);
	struct kafka_api_versions_response_api_key *keys =
		kafka_call_array(call, &kafka_api_versions_response_api_key_layout, KAFKA_APIS_COUNT);
	size_t count = 0;

	if (!keys) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	kafka_versions_answer(out);
	for (size_t i = 0; i < KAFKA_APIS_COUNT; i++)
		if (kafka_handler_find(&kafka_apis[i]))
			keys[count++] = out->api_keys[i];
	out->api_keys = keys;
	out->api_keys_count = count;
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_api_versions = {.run = run_api_versions, .anybody = true};
