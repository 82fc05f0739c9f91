/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/poll.h"

/*
 * The same as a poll of the topic with one partition and a cursor made of the
 * offset: a plain number for those who keep their own.
 */
static const char *const query[] = {"offset", "limit", "wait", "key", NULL};

/* Where the reader stands, and the end of its only partition. */
static int put_offsets(struct poll *p, struct buf *out)
{
	struct reader_position at;

	if (reader_position(p->reader, &at))
		return 0;
	(void)buf_appendf(out, ",\"next_offset\":%lld,\"high_watermark\":%lld", (long long)at.offset,
			  (long long)at.end);
	return buf_status(out);
}

static int put_moved(struct poll *p, struct buf *out)
{
	(void)buf_append_str(out, ",\"cursor\":\"");
	(void)reader_cursor(p->reader, out);
	(void)buf_append_byte(out, '"');
	return put_offsets(p, out);
}

static int read_partition(struct exchange *x, struct topic *topic, struct poll_options *o,
			  struct fault *fault)
{
	struct slice text = exchange_param(x, "partition");
	uint32_t count = atomic_load(&topic->partition_count);
	uint64_t number;

	if (!slice_to_u64(text, &number))
		return fault_set(fault, ERR_UNKNOWN_PARTITION, "A partition is a number, not '%.*s'",
				 (int)text.len, (const char *)text.ptr);
	if (number >= count)
		return fault_set(fault, ERR_UNKNOWN_PARTITION, "Topic '%s' has %u partitions, 0 to %u",
				 topic->name, count, count - 1);
	o->partitions.count = 1;
	o->partitions.ranges[0].first = o->partitions.ranges[0].last = (uint32_t)number;
	return 0;
}

static int read_offset(struct exchange *x, const struct topic *topic, struct poll_options *o,
		       struct fault *fault)
{
	struct cursor_topic *named;
	struct cursor_place *place;
	struct slice text;
	uint64_t offset;

	if (exchange_query(x, "offset", &text) != 1)
		return 0;
	if (!slice_to_u64(text, &offset) || offset > INT64_MAX)
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "offset is a number of a record, from 0 on, not '%.*s'", (int)text.len,
				 (const char *)text.ptr);
	named = arena_zalloc(x->arena, 1, sizeof(*named));
	place = arena_zalloc(x->arena, 1, sizeof(*place));
	if (!named || !place)
		return ERR_NOMEM;
	*place = (struct cursor_place){.partition = o->partitions.ranges[0].first, .offset = (int64_t)offset};
	*named = (struct cursor_topic){.id = topic->id,
				       .name_hash = cursor_name_hash(slice_str(topic->name)),
				       .count = 1};
	o->cursor = (struct cursor){
		.kind = CURSOR_PLACES, .topics = named, .places = place, .topic_count = 1, .place_count = 1};
	return 0;
}

static int on_partition_get(struct exchange *x)
{
	const struct app *app = x->app;
	struct poll_options o = {.topic = exchange_param(x, "topic"),
				 .put_end = put_offsets,
				 .put_moved = put_moved};
	struct topic *topic;
	struct fault fault = {0};
	int rc = topic_name_check(o.topic, &fault);

	topic = rc ? NULL : topics_find(app->topics, o.topic);
	if (rc == 0 && !topic)
		rc = fault_set(&fault, ERR_UNKNOWN_TOPIC, "There is no topic '%.*s'", (int)o.topic.len,
			       (const char *)o.topic.ptr);
	if (rc == 0)
		rc = poll_read_options(x, &o, &fault);
	if (rc == 0)
		rc = read_partition(x, topic, &o, &fault);
	if (rc == 0)
		rc = read_offset(x, topic, &o, &fault);
	if (rc)
		return fault.text[0] ? exchange_problem(x, rc, "%s", fault.text) :
				       exchange_problem(x, rc, NULL);
	return poll_start(x, &o);
}

const struct route route_partition_get = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/v1/topics/{topic}/partitions/{partition}/records",
	.query = query,
	.flags = ROUTE_BOUNDED,
	.handle = on_partition_get,
};
