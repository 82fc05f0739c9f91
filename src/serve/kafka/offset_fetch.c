/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OffsetFetch: the offsets of a group, or from version 8 of several, for the partitions asked
 * for or for all. The table of offsets may be asked on any loop, so this need not go home. A partition without an
 * offset is answered -1. Versions 1 to 7 have structs of their own: they are filled in from those of 8.
 */
#include <stdlib.h>

#include "serve/kafka/group_call.h"

struct asked_topic {
	struct slice name;
	const int32_t *partitions;
	size_t count;
};

struct fetching {
	struct kafka_call *call;
	struct slice group;
	bool stable; /* what a transaction may still change is not told */
};

static void fill(const struct fetching *f, const struct topic_id *topic, const struct offset_item *item,
		 struct kafka_offset_fetch_response_group_partition *out)
{
	out->committed_offset = -1;
	out->committed_leader_epoch = -1;
	out->metadata = SLICE_LIT("");
	if (f->stable &&
	    offsets_pending(f->call->app->offsets, f->group, topic, (uint32_t)out->partition_index)) {
		out->error_code = KAFKA_UNSTABLE_OFFSET_COMMIT;
		return;
	}
	if (!item)
		return;
	out->committed_offset = item->offset;
	out->committed_leader_epoch = item->leader_epoch;
	out->metadata = item->metadata;
	return;
}

/* ---- those asked for ---- */

static bool fill_topic(const struct fetching *f, const struct asked_topic *asked,
		       struct kafka_offset_fetch_response_group_topic *out)
{
	struct kafka_call *call = f->call;
	struct topic *topic = topics_find(call->app->topics, asked->name);
	struct kafka_offset_fetch_response_group_partition *list =
		kafka_call_array(call, &kafka_offset_fetch_response_group_partition_layout, asked->count);

	if (!list && asked->count)
		return false;
	out->name = asked->name;
	out->partitions = list;
	out->partitions_count = asked->count;
	for (size_t i = 0; i < asked->count; i++) {
		static const struct topic_id nobody;
		struct offset_item item;
		int rc = 0;
		list[i].partition_index = asked->partitions[i];
		if (topic && asked->partitions[i] >= 0)
			rc = offsets_find(call->app->offsets, f->group, &topic->id,
					  (uint32_t)asked->partitions[i], &call->arena, &item);
		if (rc < 0)
			return false;
		fill(f, topic ? &topic->id : &nobody, rc ? &item : NULL, &list[i]);
	}
	return true;
}

/* ---- all ---- */

struct gathering {
	struct kafka_call *call;
	struct offset_item *items;
	uint32_t count, cap;
	bool no_memory;
};

static bool gather(void *ctx, const struct offset_item *item)
{
	struct gathering *g = ctx;

	if (g->count == g->cap)
		return false; /* committed since they were counted */
	g->items[g->count] = *item;
	if (!group_call_copy(g->call, item->metadata, &g->items[g->count].metadata))
		g->no_memory = true;
	g->count++;
	return !g->no_memory;
}

static int order_items(const void *a, const void *b)
{
	const struct offset_item *x = a, *y = b;
	int order = memcmp(x->topic.bytes, y->topic.bytes, sizeof(x->topic.bytes));

	return order ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

/* One topic's items become one topic of the answer; those of a topic that was deleted none. */
static bool put_topic(const struct fetching *f, const struct offset_item *items, uint32_t count,
		      struct kafka_offset_fetch_response_group *out,
		      struct kafka_offset_fetch_response_group_topic *list)
{
	const struct topic *topic = topics_find_id(f->call->app->topics, &items[0].topic);
	struct kafka_offset_fetch_response_group_partition *partitions;

	if (!topic)
		return true;
	partitions = kafka_call_array(f->call, &kafka_offset_fetch_response_group_partition_layout, count);
	if (!partitions)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		partitions[i].partition_index = (int32_t)items[i].partition;
		fill(f, &items[i].topic, &items[i], &partitions[i]);
	}
	list[out->topics_count].name = slice_str(topic->name);
	list[out->topics_count].partitions = partitions;
	list[out->topics_count].partitions_count = count;
	out->topics_count++;
	return true;
}

static bool fill_all(const struct fetching *f, struct kafka_offset_fetch_response_group *out)
{
	struct gathering g = {.call = f->call};
	struct kafka_offset_fetch_response_group_topic *list;

	g.cap = offsets_of(f->call->app->offsets, f->group).committed;
	g.items = kafka_call_new(f->call, (g.cap + 1) * sizeof(*g.items));
	list = kafka_call_array(f->call, &kafka_offset_fetch_response_group_topic_layout, g.cap + 1);
	if (!g.items || !list)
		return false;
	offsets_each(f->call->app->offsets, f->group, gather, &g);
	if (g.no_memory)
		return false;
	qsort(g.items, g.count, sizeof(*g.items), order_items);
	out->topics = list;
	for (uint32_t from = 0, to = 0; from < g.count; from = to) {
		while (to < g.count && topic_id_eq(&g.items[to].topic, &g.items[from].topic))
			to++;
		if (!put_topic(f, g.items + from, to - from, out, list))
			return false;
	}
	return true;
}

/* ---- a group ---- */

/* `asked` NULL: all. */
static bool fill_group(const struct fetching *f, const struct asked_topic *asked, size_t count,
		       struct kafka_offset_fetch_response_group *out)
{
	struct kafka_offset_fetch_response_group_topic *list;

	out->group_id = f->group;
	if (!asked)
		return fill_all(f, out);
	list = kafka_call_array(f->call, &kafka_offset_fetch_response_group_topic_layout, count);
	if (!list && count)
		return false;
	for (size_t i = 0; i < count; i++)
		if (!fill_topic(f, &asked[i], &list[i]))
			return false;
	out->topics = list;
	out->topics_count = count;
	return true;
}

static bool run_groups(struct kafka_call *call, struct kafka_offset_fetch_response *out)
{
	const struct kafka_offset_fetch_request *in = call->request;
	struct kafka_offset_fetch_response_group *groups =
		kafka_call_array(call, &kafka_offset_fetch_response_group_layout, in->groups_count);

	if (!groups && in->groups_count)
		return false;
	for (size_t i = 0; i < in->groups_count; i++) {
		const struct kafka_offset_fetch_request_group *g = &in->groups[i];
		struct fetching f = {.call = call, .group = g->group_id, .stable = in->require_stable};
		struct asked_topic *asked = NULL;
		if (g->topics) {
			asked = kafka_call_new(call, (g->topics_count + 1) * sizeof(*asked));
			if (!asked)
				return false;
		}
		for (size_t k = 0; asked && k < g->topics_count; k++)
			asked[k] = (struct asked_topic){g->topics[k].name, g->topics[k].partition_indexes,
							g->topics[k].partition_indexes_count};
		if (!fill_group(&f, asked, g->topics_count, &groups[i]))
			return false;
	}
	out->groups = groups;
	out->groups_count = in->groups_count;
	return true;
}

static bool lower_partitions(struct kafka_call *call,
			     const struct kafka_offset_fetch_response_group_topic *from,
			     struct kafka_offset_fetch_response_topic *to)
{
	struct kafka_offset_fetch_response_partition *list =
		kafka_call_array(call, &kafka_offset_fetch_response_partition_layout, from->partitions_count);

	if (!list && from->partitions_count)
		return false;
	for (size_t i = 0; i < from->partitions_count; i++) {
		list[i].partition_index = from->partitions[i].partition_index;
		list[i].committed_offset = from->partitions[i].committed_offset;
		list[i].committed_leader_epoch = from->partitions[i].committed_leader_epoch;
		list[i].metadata = from->partitions[i].metadata;
		list[i].error_code = from->partitions[i].error_code;
	}
	to->name = from->name;
	to->partitions = list;
	to->partitions_count = from->partitions_count;
	return true;
}

static bool run_one(struct kafka_call *call, struct kafka_offset_fetch_response *out)
{
	const struct kafka_offset_fetch_request *in = call->request;
	struct fetching f = {.call = call, .group = in->group_id, .stable = in->require_stable};
	struct kafka_offset_fetch_response_group group = {0};
	struct kafka_offset_fetch_response_topic *list;
	struct asked_topic *asked = NULL;

	if (in->topics) {
		asked = kafka_call_new(call, (in->topics_count + 1) * sizeof(*asked));
		if (!asked)
			return false;
	}
	for (size_t i = 0; asked && i < in->topics_count; i++)
		asked[i] = (struct asked_topic){in->topics[i].name, in->topics[i].partition_indexes,
						in->topics[i].partition_indexes_count};
	if (!fill_group(&f, asked, in->topics_count, &group))
		return false;
	list = kafka_call_array(call, &kafka_offset_fetch_response_topic_layout, group.topics_count);
	if (!list && group.topics_count)
		return false;
	for (size_t i = 0; i < group.topics_count; i++)
		if (!lower_partitions(call, &group.topics[i], &list[i]))
			return false;
	out->topics = list;
	out->topics_count = group.topics_count;
	return true;
}

static void run_offset_fetch(struct kafka_call *call)
{
	struct kafka_offset_fetch_response *out = kafka_call_response(call);

	if (call->header.version >= 8 ? run_groups(call, out) : run_one(call, out))
		kafka_call_answer(call, out);
	else
		group_call_no_memory(call);
}

const struct kafka_handler kafka_handle_offset_fetch = {.run = run_offset_fetch};
