/* SPDX-License-Identifier: Apache-2.0 */
/* ApiVersions: what is served. What a client says of itself (KIP-511) is not needed for anything. */
#include "serve/kafka/call.h"

static void run_api_versions(struct kafka_call *call)
{
	struct kafka_api_versions_response *out = kafka_call_response(call);

	kafka_versions_answer(out);
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_api_versions = {.run = run_api_versions, .anybody = true};
