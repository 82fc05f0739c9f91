/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/cluster.h"

#include "base/base64.h"

struct slice kafka_cluster_id(struct kafka_call *call)
{
	struct topic_id id;
	char *text;

	log_identity(call->app->log, &id);
	text = kafka_call_new(call, base64_encoded_len(BASE64_URL, sizeof(id.bytes)) + 1);
	if (!text)
		return slice_str("");
	return slice_make(text, base64_encode(BASE64_URL, slice_make(id.bytes, sizeof(id.bytes)), text));
}
