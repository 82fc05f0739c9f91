/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata: the one broker, and topics with their partitions, which it leads all.
 * A topic that is asked for by name and is not there is made, where both the
 * client and the configuration want that, and the answer waits until it is durable: Kafka
 * answers LEADER_NOT_AVAILABLE meanwhile, and the client asks again.
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/cluster.h"
#include "serve/topic_conf.h"

struct metadata {
	struct kafka_call *call;
	struct kafka_metadata_response_topic *topics;
	struct topic **created; /* by index, where it was made here: shown once it is durable */
	size_t count, cap;
	uint32_t pending;
};

static void show_partitions(struct kafka_call *call, struct topic *topic,
			    struct kafka_metadata_response_topic *out)
{
	static const int32_t replicas[] = {KAFKA_BROKER_ID};
	uint32_t count = atomic_load(&topic->partition_count);
	struct kafka_metadata_response_partition *list =
		kafka_call_array(call, &kafka_metadata_response_partition_layout, count);

	if (!list) {
		out->error_code = KAFKA_LEADER_NOT_AVAILABLE; /* no memory: to be asked again */
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		list[i].partition_index = (int32_t)i;
		list[i].leader_id = KAFKA_BROKER_ID;
		list[i].leader_epoch = KAFKA_LEADER_EPOCH;
		list[i].replica_nodes = list[i].isr_nodes = replicas;
		list[i].replica_nodes_count = list[i].isr_nodes_count = 1;
	}
	out->partitions = list;
	out->partitions_count = count;
}

static void show_topic(struct kafka_call *call, struct topic *topic,
		       struct kafka_metadata_response_topic *out)
{
	const struct kafka_metadata_request *in = call->request;

	out->name = slice_str(topic->name);
	memcpy(out->topic_id.bytes, topic->id.bytes, sizeof(out->topic_id.bytes));
	out->is_internal = topic->internal;
	if (in->include_topic_authorized_operations)
		out->topic_authorized_operations = KAFKA_TOPIC_OPERATIONS;
	show_partitions(call, topic, out);
}

static void answer(struct metadata *m)
{
	struct kafka_call *call = m->call;
	const struct kafka_metadata_request *in = call->request;
	struct kafka_metadata_response *out = kafka_call_response(call);
	struct kafka_metadata_response_broker *broker =
		kafka_call_array(call, &kafka_metadata_response_broker_layout, 1);

	if (!broker) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	broker->node_id = KAFKA_BROKER_ID;
	kafka_call_address(call, &broker->host, &broker->port);
	out->brokers = broker;
	out->brokers_count = 1;
	out->cluster_id = kafka_cluster_id(call);
	out->controller_id = KAFKA_BROKER_ID;
	out->topics = m->topics;
	out->topics_count = m->count;
	if (in->include_cluster_authorized_operations)
		out->cluster_authorized_operations = KAFKA_CLUSTER_OPERATIONS;
	kafka_call_answer(call, out);
}

/* ---- topics that were asked for ---- */

static void on_created(void *ctx)
{
	struct metadata *m = ctx;

	if (--m->pending)
		return;
	for (size_t i = 0; i < m->count; i++)
		if (m->created[i])
			show_topic(m->call, m->created[i], &m->topics[i]);
	answer(m);
}

/* Under the entry lock. */
static void create(struct metadata *m, size_t i, struct slice name)
{
	struct state_done done = {.port = app_loop(m->call->app, m->call->loop)->port,
				  .fn = on_created,
				  .ctx = m};
	struct fault fault = {0};
	int rc = topic_conf_auto_create(m->call->app->topics, name, &done, &m->created[i], &fault);

	if (rc == 0) {
		m->pending++;
		return;
	}
	if (rc == ERR_TOPIC_EXISTS) { /* a moment ago it did not */
		show_topic(m->call, m->created[i], &m->topics[i]);
	} else {
		m->topics[i].error_code = rc == ERR_BAD_TOPIC || rc == ERR_FORBIDDEN ?
						  KAFKA_INVALID_TOPIC_EXCEPTION :
					  rc == ERR_PARTITIONS_FULL ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION :
								      KAFKA_LEADER_NOT_AVAILABLE;
	}
	m->created[i] = NULL;
}

/* At most as many partitions as one CreateTopics makes; the client asks again for the others. */
static void create_missing(struct metadata *m)
{
	struct app *app = m->call->app;
	struct topic_config config;
	uint32_t left = TOPIC_PARTITIONS_MAX;
	bool wanted;

	topics_defaults(app->topics, &config, &wanted);
	if (!wanted)
		return;
	log_enter_begin(app->log);
	for (size_t i = 0; i < m->count && config.partitions <= left; i++)
		if (m->topics[i].error_code == KAFKA_UNKNOWN_TOPIC_OR_PARTITION && m->topics[i].name.ptr) {
			left -= config.partitions;
			m->topics[i].error_code = 0;
			create(m, i, m->topics[i].name);
		}
	log_enter_end(app->log);
}

static bool is_zero(const struct kafka_uuid *id)
{
	static const struct kafka_uuid zero;

	return memcmp(id, &zero, sizeof(zero)) == 0;
}

static struct topic *find_by_id(struct kafka_call *call, const struct kafka_uuid *id)
{
	struct topic_id wanted;

	memcpy(wanted.bytes, id->bytes, sizeof(wanted.bytes));
	return topics_find_id(call->app->topics, &wanted);
}

/* By name, or (version 12) by UUID. */
static void show_asked(struct kafka_call *call, const struct kafka_metadata_request_topic *asked,
		       struct kafka_metadata_response_topic *out)
{
	struct topic *topic;
	struct fault fault;

	/* Who asks by UUID leaves the name null, or empty (Java): the UUID counts, as in KafkaApis.scala. */
	if (asked->name.ptr && is_zero(&asked->topic_id)) {
		out->name = asked->name;
		topic = topics_find(call->app->topics, asked->name);
		if (!topic && topic_name_check(asked->name, &fault))
			out->error_code = KAFKA_INVALID_TOPIC_EXCEPTION;
		else if (!topic)
			out->error_code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
	} else {
		out->name = slice_null();
		out->topic_id = asked->topic_id;
		topic = find_by_id(call, &asked->topic_id);
		if (!topic)
			out->error_code = KAFKA_UNKNOWN_TOPIC_ID;
	}
	if (topic)
		show_topic(call, topic, out);
}

static void show_all_asked(struct metadata *m)
{
	const struct kafka_metadata_request *in = m->call->request;
	bool create = m->call->header.version < 4 || in->allow_auto_topic_creation;

	m->topics = kafka_call_array(m->call, &kafka_metadata_response_topic_layout, in->topics_count);
	m->created = kafka_call_new(m->call, (in->topics_count + 1) * sizeof(*m->created));
	if ((in->topics_count && !m->topics) || !m->created) {
		kafka_call_fail(m->call, "no memory for an answer");
		return;
	}
	m->count = in->topics_count;
	for (size_t i = 0; i < m->count; i++)
		show_asked(m->call, &in->topics[i], &m->topics[i]);
	if (create)
		create_missing(m);
	if (!m->pending) /* the callbacks come on this loop, later */
		answer(m);
}

/* ---- every topic ---- */

static bool show_one(void *ctx, struct topic *topic)
{
	struct metadata *m = ctx;

	if (m->count == m->cap)
		return false; /* made since they were counted */
	show_topic(m->call, topic, &m->topics[m->count++]);
	return true;
}

static void show_every(struct metadata *m)
{
	struct topics *topics = m->call->app->topics;

	m->cap = topics_count(topics);
	m->topics = kafka_call_array(m->call, &kafka_metadata_response_topic_layout, m->cap);
	if (m->cap && !m->topics) {
		kafka_call_fail(m->call, "no memory for an answer");
		return;
	}
	topics_each(topics, slice_str(""), show_one, m);
	answer(m);
}

static void run_metadata(struct kafka_call *call)
{
	const struct kafka_metadata_request *in = call->request;
	struct metadata *m = kafka_call_new(call, sizeof(*m));

	if (!m) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	m->call = call;
	/* Version 0 says with an empty list what later ones say with none. */
	if (!in->topics || (call->header.version == 0 && in->topics_count == 0))
		show_every(m);
	else
		show_all_asked(m);
}

const struct kafka_handler kafka_handle_metadata = {.run = run_metadata};
