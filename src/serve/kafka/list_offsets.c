/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ListOffsets: the beginning, the end, and the first record at or after a time.
 * The first two are in memory; a time is looked up by the log's pool, a few at
 * once however many partitions are asked for (Partition.fetchOffsetForTimestamp).
 */
#include "base/err.h"
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/cluster.h"
#include "serve/kafka/leader.h"

#define LATEST (-1)
#define EARLIEST (-2)
#define MAX_TIMESTAMP (-3) /* from version 7 on */
#define FINDS_MAX 8u       /* at once */

struct lookup {
	struct log_read read; /* first: on_found gets its address */
	struct listing *listing;
	struct lookup *next;
	struct kafka_list_offsets_response_partition *out;
	int64_t limit; /* records from here on are not there for this client */
};

struct listing {
	struct kafka_call *call;
	struct lookup *first, **last; /* not begun */
	uint32_t running;
};

static void put(struct kafka_list_offsets_response_partition *out, int64_t offset, int64_t timestamp)
{
	out->offset = offset;
	out->timestamp = timestamp;
	out->leader_epoch = KAFKA_LEADER_EPOCH;
}

/* Codes that every client asks again after. */
static int16_t code_of(int rc)
{
	return rc == ERR_UNKNOWN_TOPIC ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION :
	       rc == ERR_IO            ? KAFKA_STORAGE_ERROR :
					 KAFKA_LEADER_NOT_AVAILABLE;
}

/* ---- times ---- */

static void answer(struct listing *l)
{
	kafka_call_answer(l->call, kafka_call_response(l->call));
}

static void begin_some(struct listing *l);

static void on_found(struct log_read *read)
{
	struct lookup *u = (struct lookup *)(void *)read;
	struct listing *l = u->listing;

	if (read->result)
		u->out->error_code = code_of(read->result);
	else if (read->found_ms >= 0 && read->offset < u->limit)
		put(u->out, read->offset, read->found_ms);
	l->running--;
	begin_some(l);
	if (l->running == 0)
		answer(l);
}

static void begin_some(struct listing *l)
{
	while (l->first && l->running < FINDS_MAX) {
		struct lookup *u = l->first;
		int rc = log_find_start(l->call->app->log, &u->read);
		l->first = u->next;
		if (rc)
			u->out->error_code = code_of(rc);
		else
			l->running++;
	}
}

static int look_up(struct listing *l, struct partition *p, int64_t time_ms, int64_t limit,
		   struct kafka_list_offsets_response_partition *out)
{
	struct lookup *u = kafka_call_new(l->call, sizeof(*u));

	if (!u)
		return ERR_NOMEM;
	u->read = (struct log_read){.partition = p,
				    .time_ms = time_ms,
				    .stamp = true,
				    .port = app_loop(l->call->app, l->call->loop)->port,
				    .on_read = on_found};
	u->listing = l;
	u->out = out;
	u->limit = limit;
	*l->last = u;
	l->last = &u->next;
	return 0;
}

/* ---- partitions ---- */

static int list_partition(struct listing *l, struct partition *p, int64_t timestamp,
			  struct kafka_list_offsets_response_partition *out)
{
	const struct kafka_list_offsets_request *in = l->call->request;
	struct partition_edges edges;
	int rc = partition_edges(p, &edges);
	int64_t limit;

	if (rc) {
		out->error_code = code_of(rc);
		return 0;
	}
	limit = in->isolation_level == 1 ? edges.stable : edges.end;
	if (timestamp == LATEST)
		put(out, limit, -1);
	else if (timestamp == EARLIEST)
		put(out, edges.start, -1);
	else if (timestamp == MAX_TIMESTAMP && l->call->header.version >= 7)
		return look_up(l, p, LOG_TIME_MAX, limit, out);
	else if (timestamp < 0)
		out->error_code = KAFKA_UNSUPPORTED_VERSION;
	else
		return look_up(l, p, timestamp, limit, out);
	return 0;
}

static int list_topic(struct listing *l, const struct kafka_list_offsets_request_topic *asked,
		      struct kafka_list_offsets_response_topic *out)
{
	struct kafka_list_offsets_response_partition *list =
		kafka_call_array(l->call, &kafka_list_offsets_response_partition_layout,
				 asked->partitions_count);
	struct topic *topic = topics_find(l->call->app->topics, asked->name);
	int rc = list ? 0 : ERR_NOMEM;

	out->name = asked->name;
	out->partitions = list;
	out->partitions_count = asked->partitions_count;
	for (size_t i = 0; i < asked->partitions_count && rc == 0; i++) {
		const struct kafka_list_offsets_request_partition *one = &asked->partitions[i];
		struct partition *p;
		list[i].partition_index = one->partition_index;
		list[i].error_code =
			kafka_leader_find(topic, one->partition_index, one->current_leader_epoch, &p);
		if (list[i].error_code == 0)
			rc = list_partition(l, p, one->timestamp, &list[i]);
	}
	return rc;
}

static void run_list_offsets(struct kafka_call *call)
{
	const struct kafka_list_offsets_request *in = call->request;
	struct kafka_list_offsets_response *out = kafka_call_response(call);
	struct kafka_list_offsets_response_topic *topics =
		kafka_call_array(call, &kafka_list_offsets_response_topic_layout, in->topics_count);
	struct listing *l = kafka_call_new(call, sizeof(*l));
	int rc = topics && l ? 0 : ERR_NOMEM;

	if (l) {
		l->call = call;
		l->last = &l->first;
	}
	for (size_t i = 0; i < in->topics_count && rc == 0; i++)
		rc = list_topic(l, &in->topics[i], &topics[i]);
	if (rc) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	out->topics = topics;
	out->topics_count = in->topics_count;
	begin_some(l);
	if (l->running == 0)
		answer(l);
}

const struct kafka_handler kafka_handle_list_offsets = {.run = run_list_offsets};
