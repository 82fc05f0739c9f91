/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/sse/sse_routes.h"

#include "serve/sse/sse_stream.h"

static const char *const topic_query[] = {"cursor", "partitions", "key", NULL};
static const char *const topics_query[] = {"topics", "cursor", "partitions", "key", NULL};

static int on_sse(struct exchange *x)
{
	struct stream_ask ask;
	struct slice last_id;
	struct fault fault = {0};
	int rc = exchange_header(x, SLICE_LIT("last-event-id"), &last_id);

	if (rc < 0)
		return exchange_problem(x, rc, "Last-Event-ID may be sent once");
	rc = stream_ask_read(&ask, x, last_id, &fault);
	if (rc)
		return stream_ask_refuse(x, rc, &fault);
	return sse_stream_start(x, &ask);
}

static const struct route route_topic_sse = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/v1/topics/{topic}/sse",
	.query = topic_query,
	.flags = ROUTE_ALONE | ROUTE_QUERY_TOKEN | ROUTE_BOUNDED,
	.handle = on_sse,
};

static const struct route route_sse = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/v1/sse",
	.query = topics_query,
	.flags = ROUTE_ALONE | ROUTE_QUERY_TOKEN | ROUTE_BOUNDED,
	.handle = on_sse,
};

const struct route *const sse_routes[] = {&route_topic_sse, &route_sse};
const size_t sse_route_count = sizeof(sse_routes) / sizeof(sse_routes[0]);
