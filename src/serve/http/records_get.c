/* SPDX-License-Identifier: Apache-2.0 */
#include "json/json_write.h"
#include "serve/http/poll.h"

static const char *const query[] = {"cursor", "limit", "wait", "partitions", "key", NULL};

static int put_cursor(struct poll *p, struct buf *out)
{
	(void)buf_append_str(out, ",\"cursor\":\"");
	(void)reader_cursor(p->reader, out);
	return buf_append_byte(out, '"');
}

static int put_end(struct poll *p, struct buf *out)
{
	(void)put_cursor(p, out);
	return buf_append_str(out,
			      reader_caught_up(p->reader) ? ",\"caught_up\":true" : ",\"caught_up\":false");
}

static int on_records_get(struct exchange *x)
{
	struct poll_options o = {.topic = exchange_param(x, "topic"),
				 .put_end = put_end,
				 .put_moved = put_cursor};
	struct fault fault = {0};
	struct slice text;
	int rc = poll_read_options(x, &o, &fault);

	if (rc == 0 && exchange_query(x, "partitions", &text) == 1)
		rc = partition_set_parse(text, &o.partitions, &fault);
	if (rc == 0 && exchange_query(x, "cursor", &text) == 1)
		rc = cursor_parse(text, x->arena, &o.cursor, &fault);
	if (rc)
		return fault.text[0] ? exchange_problem(x, rc, "%s", fault.text) :
				       exchange_problem(x, rc, NULL);
	return poll_start(x, &o);
}

const struct route route_records_get = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/v1/topics/{topic}/records",
	.query = query,
	.flags = ROUTE_BOUNDED,
	.handle = on_records_get,
};
