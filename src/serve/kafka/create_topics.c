/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CreateTopics. The checks are those of Kafka's ReplicationControlManager, in its order, for a
 * cluster of one broker. Names that differ in '.' and '_' alone are no collision: Kafka refuses them because its metrics
 * cannot tell them apart, and weir's can.
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/admin.h"
#include "serve/kafka/cluster.h"

struct creation {
	struct kafka_create_topics_response_topic *results;
	struct topic **made; /* by index, where a topic has entered */
	size_t count;
	struct admin_settings settings;
	/* Topics of one request mostly have the same settings: they share what is told of them. */
	struct conf_topic shown;
	const struct kafka_create_topics_response_config *shown_configs;
};

static int16_t refuse(struct slice *message, int16_t code, struct slice why)
{
	*message = why;
	return code;
}

/* ---- what is asked for ---- */

static int16_t check_assignment(struct kafka_call *call,
				const struct kafka_create_topics_request_assignment *a, struct slice *message)
{
	if (a->broker_ids_count == 0)
		return refuse(message, KAFKA_INVALID_REPLICA_ASSIGNMENT,
			      SLICE_LIT("The manual partition assignment includes an empty replica list."));
	for (size_t i = 0; i < a->broker_ids_count; i++)
		if (a->broker_ids[i] != KAFKA_BROKER_ID)
			return refuse(
				message, KAFKA_INVALID_REPLICA_ASSIGNMENT,
				admin_say(
					call,
					"The manual partition assignment includes broker %d, but no such broker is registered.",
					a->broker_ids[i]));
	if (a->broker_ids_count > 1)
		return refuse(
			message, KAFKA_INVALID_REPLICA_ASSIGNMENT,
			SLICE_LIT("The manual partition assignment includes the broker 0 more than once."));
	return 0;
}

/* Every partition from 0 on, once. */
static int16_t read_assignments(struct kafka_call *call,
				const struct kafka_create_topics_request_topic *asked, int64_t *partitions,
				struct slice *message)
{
	size_t count = asked->assignments_count;
	uint8_t *seen;
	int16_t code = 0;

	if (asked->replication_factor != -1)
		return refuse(
			message, KAFKA_INVALID_REQUEST,
			SLICE_LIT(
				"A manual partition assignment was specified, but replication factor was not set to -1."));
	if (asked->num_partitions != -1)
		return refuse(
			message, KAFKA_INVALID_REQUEST,
			SLICE_LIT(
				"A manual partition assignment was specified, but numPartitions was not set to -1."));
	seen = kafka_call_new(call, count);
	if (!seen)
		return refuse(message, kafka_code(ERR_NOMEM),
			      SLICE_LIT("There is no memory for this request"));
	for (size_t i = 0; i < count && code == 0; i++) {
		int32_t index = asked->assignments[i].partition_index;
		if (index < 0 || (size_t)index >= count || seen[index]++)
			return refuse(message, KAFKA_INVALID_REPLICA_ASSIGNMENT,
				      SLICE_LIT(
					      "partitions should be a consecutive 0-based integer sequence"));
		code = check_assignment(call, &asked->assignments[i], message);
	}
	*partitions = (int64_t)count;
	return code;
}

static int16_t read_counts(struct kafka_call *call, const struct kafka_create_topics_request_topic *asked,
			   int64_t *partitions, struct slice *message)
{
	if (asked->assignments_count)
		return read_assignments(call, asked, partitions, message);
	if (asked->replication_factor < -1 || asked->replication_factor == 0)
		return refuse(
			message, KAFKA_INVALID_REPLICATION_FACTOR,
			SLICE_LIT(
				"Replication factor must be larger than 0, or -1 to use the default value."));
	if (asked->num_partitions < -1 || asked->num_partitions == 0)
		return refuse(
			message, KAFKA_INVALID_PARTITIONS,
			SLICE_LIT(
				"Number of partitions must be larger than 0, or -1 to use the default value."));
	if (asked->replication_factor > 1)
		return refuse(
			message, KAFKA_INVALID_REPLICATION_FACTOR,
			admin_say(
				call,
				"Unable to replicate the partition %d time(s): The target replication factor of %d cannot be reached because only 1 broker(s) are registered.",
				asked->replication_factor, asked->replication_factor));
	if (asked->num_partitions != -1)
		*partitions = asked->num_partitions;
	return 0;
}

static int16_t read_configs(struct kafka_call *call, const struct kafka_create_topics_request_topic *asked,
			    struct conf_topic *settings, struct slice *message)
{
	struct fault fault = {0};

	for (size_t i = 0; i < asked->configs_count; i++) {
		const struct kafka_create_topics_request_config *config = &asked->configs[i];
		const struct kafka_topic_row *row = kafka_topic_find(config->name);
		int rc = row ? kafka_topic_set(row, settings, config->value, &fault) :
			       kafka_topic_unknown(config->name, &fault);
		if (rc)
			return refuse(message, KAFKA_INVALID_CONFIG, admin_say(call, "%s", fault.text));
	}
	return 0;
}

static int16_t check_name(struct kafka_call *call, struct slice name, struct slice *message)
{
	struct fault fault = {0};
	int rc = topic_conf_check_name(name, &fault);

	if (rc)
		return refuse(message, admin_code(rc), admin_say(call, "%s", fault.text));
	if (topics_find(call->app->topics, name))
		return refuse(message, KAFKA_TOPIC_ALREADY_EXISTS,
			      admin_say(call, "Topic '%.*s' already exists.", (int)name.len,
					(const char *)name.ptr));
	return 0;
}

static int16_t read_asked(struct kafka_call *call, const struct kafka_create_topics_request_topic *asked,
			  struct conf_topic *settings, struct slice *message)
{
	int16_t code = check_name(call, asked->name, message);

	if (code == 0)
		code = read_counts(call, asked, &settings->partitions, message);
	if (code == 0 && settings->partitions > TOPIC_PARTITIONS_MAX)
		code = refuse(message, KAFKA_INVALID_PARTITIONS,
			      admin_say(call, "A topic has at most %u partitions.", TOPIC_PARTITIONS_MAX));
	return code ? code : read_configs(call, asked, settings, message);
}

/* ---- what is told of it ---- */

static const struct kafka_create_topics_response_config *show_configs(struct kafka_call *call,
								      struct creation *c,
								      const struct conf_topic *settings)
{
	struct kafka_create_topics_response_config *list;

	if (c->shown_configs && memcmp(&c->shown, settings, sizeof(*settings)) == 0)
		return c->shown_configs;
	list = kafka_call_array(call, &kafka_create_topics_response_config_layout, kafka_topic_count);
	if (!list)
		return NULL;
	for (uint32_t i = 0; i < kafka_topic_count; i++) {
		const struct kafka_topic_row *row = &kafka_topic_table[i];
		list[i].name = slice_str(row->name);
		list[i].value = admin_value(call, row, settings);
		list[i].config_source = (int8_t)admin_source(&c->settings, row, settings);
	}
	c->shown = *settings;
	c->shown_configs = list;
	return list;
}

static void show(struct kafka_call *call, struct creation *c, const struct conf_topic *settings,
		 struct kafka_create_topics_response_topic *out)
{
	struct conf_topic filled = *settings;

	out->num_partitions = (int32_t)settings->partitions;
	out->replication_factor = 1;
	if (call->header.version < 5)
		return;
	if (filled.segment_bytes == 0)
		filled.segment_bytes = c->settings.segment_bytes;
	out->configs = show_configs(call, c, &filled);
	out->configs_count = out->configs ? kafka_topic_count : 0;
}

/* ---- the request ---- */

/* Under the entry lock. */
static void create(struct kafka_call *call, struct creation *c, struct admin_job *job,
		   const struct kafka_create_topics_request_topic *asked, bool validate_only)
{
	struct kafka_create_topics_response_topic *out = &c->results[c->count];
	struct conf_topic settings;
	struct fault fault = {0};
	int rc = 0;

	out->name = asked->name;
	out->error_message = slice_null();
	topic_conf_defaults(call->app->topics, &settings);
	out->error_code = read_asked(call, asked, &settings, &out->error_message);
	if (out->error_code == 0 && !validate_only) {
		rc = topic_conf_create(call->app->topics, asked->name, &settings, admin_job_enter(job),
				       &c->made[c->count], &fault);
		if (rc)
			admin_job_refused(job);
	}
	if (rc) {
		c->made[c->count] = NULL;
		out->error_code = admin_code(rc);
		out->error_message = admin_say(call, "%s", fault.text);
	}
	if (out->error_code == 0)
		show(call, c, &settings, out);
	if (c->made[c->count])
		memcpy(out->topic_id.bytes, c->made[c->count]->id.bytes, sizeof(out->topic_id.bytes));
	c->count++;
}

/* As Kafka: one request makes 10 000 partitions at most (ReplicationControlManager.validateTotalNumberOfPartitions). */
static bool is_excessive(struct kafka_call *call, const uint8_t *marks)
{
	const struct kafka_create_topics_request *in = call->request;
	struct conf_topic defaults;
	int64_t sum = 0;

	topic_conf_defaults(call->app->topics, &defaults);
	for (size_t i = 0; i < in->topics_count; i++) {
		const struct kafka_create_topics_request_topic *asked = &in->topics[i];
		if (marks[i] != ADMIN_ONCE)
			continue;
		if (asked->assignments_count)
			sum += (int64_t)asked->assignments_count;
		else if (asked->num_partitions > 0)
			sum += asked->num_partitions;
		else if (asked->num_partitions == -1)
			sum += defaults.partitions;
	}
	return sum > TOPIC_PARTITIONS_MAX && in->topics_count > 1; /* one topic alone is told its own limit */
}

static void refuse_excess(struct creation *c, struct slice name)
{
	struct kafka_create_topics_response_topic *out = &c->results[c->count++];

	out->name = name;
	out->error_code = KAFKA_POLICY_VIOLATION;
	out->error_message = SLICE_LIT("Excessively large number of partitions per request.");
}

static void refuse_twice(struct creation *c, struct slice name)
{
	struct kafka_create_topics_response_topic *out = &c->results[c->count++];

	out->name = name;
	out->error_code = KAFKA_INVALID_REQUEST;
	out->error_message = SLICE_LIT("Duplicate topic name.");
}

static void answer(struct kafka_call *call, bool late)
{
	struct kafka_create_topics_response *out = kafka_call_response(call);
	struct creation *c = call->state;

	for (size_t i = 0; late && i < c->count; i++)
		if (c->made[i]) {
			c->results[i].error_code = KAFKA_REQUEST_TIMED_OUT;
			c->results[i].error_message =
				SLICE_LIT("The topic is not on the disk yet; it will be.");
		}
	out->topics = c->results;
	out->topics_count = c->count;
	kafka_call_answer(call, out);
}

static void run_create_topics(struct kafka_call *call)
{
	const struct kafka_create_topics_request *in = call->request;
	struct creation *c = kafka_call_new(call, sizeof(*c));
	uint8_t *marks = admin_marks(call, in->topics, in->topics_count, sizeof(*in->topics),
				     offsetof(struct kafka_create_topics_request_topic, name));
	struct admin_job *job;
	bool excessive;

	if (c) {
		c->results =
			kafka_call_array(call, &kafka_create_topics_response_topic_layout, in->topics_count);
		c->made = kafka_call_new(call, (in->topics_count + 1) * sizeof(*c->made));
	}
	if (!c || !marks || !c->results || !c->made) {
		admin_no_memory(call);
		return;
	}
	call->state = c;
	job = admin_job_new(call, answer);
	if (!job)
		return;
	admin_settings(call, &c->settings);
	excessive = is_excessive(call, marks);
	log_enter_begin(call->app->log);
	for (size_t i = 0; i < in->topics_count; i++) {
		admin_breathe(call, i);
		if (marks[i] == ADMIN_ONCE && excessive)
			refuse_excess(c, in->topics[i].name);
		else if (marks[i] == ADMIN_ONCE)
			create(call, c, job, &in->topics[i], in->validate_only);
		else if (marks[i] == ADMIN_FIRST)
			refuse_twice(c, in->topics[i].name);
	}
	log_enter_end(call->app->log);
	admin_job_wait(job, in->timeout_ms);
}

const struct kafka_handler kafka_handle_create_topics = {.run = run_create_topics};
