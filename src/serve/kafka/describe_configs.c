/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DescribeConfigs: what is in force for a topic, and for the broker what a topic gets where nobody says
 * otherwise. Where a value comes from: docs/internals/admin.md.
 */
#include <stdio.h>

#include "proto/kafka/kafka_error.h"
#include "serve/kafka/admin.h"
#include "serve/kafka/cluster.h"

struct described {
	struct kafka_call *call;
	const struct kafka_describe_configs_request *in;
	struct admin_settings settings;
	/* All settings of a topic, as they were told of the one before: mostly many have the same. */
	struct conf_topic shown;
	bool shown_from_file;
	const struct kafka_describe_configs_response_config *shown_configs;
};

static bool is_wanted(const struct kafka_describe_configs_request_resource *asked, const char *name)
{
	for (size_t i = 0; i < asked->configuration_keys_count; i++)
		if (slice_eq_str(asked->configuration_keys[i], name))
			return true;
	return asked->configuration_keys_count == 0; /* null or empty: all */
}

/* ---- topics ---- */

static void put_synonym(struct kafka_describe_configs_response_config *config,
			struct kafka_describe_configs_response_synonym *list, const char *name,
			struct slice value, enum admin_source source)
{
	list[config->synonyms_count++] =
		(struct kafka_describe_configs_response_synonym){.name = slice_str(name),
								 .value = value,
								 .source = (int8_t)source};
}

/* Where the value would come from, the one in force first. */
static void put_synonyms(struct described *d, const struct kafka_topic_row *row,
			 struct kafka_describe_configs_response_config *config)
{
	const struct admin_settings *s = &d->settings;
	struct kafka_describe_configs_response_synonym *list =
		kafka_call_array(d->call, &kafka_describe_configs_response_synonym_layout, 3);

	if (!list)
		return;
	config->synonyms = list;
	if (config->config_source == ADMIN_SOURCE_TOPIC)
		put_synonym(config, list, row->name, config->value, ADMIN_SOURCE_TOPIC);
	if (!row->server)
		return;
	if (!kafka_topic_same(row, &s->defaults, &s->built_in))
		put_synonym(config, list, row->server, admin_value(d->call, row, &s->defaults),
			    ADMIN_SOURCE_FILE);
	put_synonym(config, list, row->server, admin_value(d->call, row, &s->built_in), ADMIN_SOURCE_DEFAULT);
}

static void put_topic_config(struct described *d, const struct kafka_topic_row *row,
			     const struct conf_topic *topic, bool from_file,
			     struct kafka_describe_configs_response_config *config)
{
	config->name = slice_str(row->name);
	config->value = admin_value(d->call, row, topic);
	config->read_only = from_file;
	config->config_source = (int8_t)admin_source(&d->settings, row, topic);
	config->config_type = (int8_t)row->type;
	config->documentation = d->in->include_documentation ? slice_str(row->doc) : slice_null();
	if (d->in->include_synonyms)
		put_synonyms(d, row, config);
}

static void describe_topic(struct described *d, const struct kafka_describe_configs_request_resource *asked,
			   struct kafka_describe_configs_response_resource *out)
{
	struct kafka_describe_configs_response_config *list;
	struct conf_topic settings;
	struct topic *topic = NULL;

	out->error_code = admin_check_name(d->call, asked->resource_name, &out->error_message);
	if (out->error_code == 0)
		topic = admin_find(d->call, asked->resource_name, &out->error_code, &out->error_message);
	if (!topic)
		return;
	admin_settings_of(d->call, &d->settings, topic, &settings);
	if (asked->configuration_keys_count == 0 && d->shown_configs &&
	    d->shown_from_file == topic->from_file && memcmp(&d->shown, &settings, sizeof(settings)) == 0) {
		out->configs = d->shown_configs;
		out->configs_count = kafka_topic_count;
		return;
	}
	list = kafka_call_array(d->call, &kafka_describe_configs_response_config_layout, kafka_topic_count);
	if (!list) {
		out->error_code = kafka_code(ERR_NOMEM);
		return;
	}
	for (uint32_t i = 0; i < kafka_topic_count; i++)
		if (is_wanted(asked, kafka_topic_table[i].name))
			put_topic_config(d, &kafka_topic_table[i], &settings, topic->from_file,
					 &list[out->configs_count++]);
	out->configs = list;
	if (asked->configuration_keys_count == 0) {
		d->shown = settings;
		d->shown_from_file = topic->from_file;
		d->shown_configs = list;
	}
}

/* ---- the broker ---- */

struct broker_config {
	const char *name, *value;
	enum kafka_topic_type type;
	const char *doc;
};

/* What clients and tools look for, besides the defaults of topics. */
static const struct broker_config broker_table[] = {
	{"broker.id", "0", KAFKA_TOPIC_INT, "weir is one broker."},
	{"default.replication.factor", "1", KAFKA_TOPIC_INT, "There is one copy."},
	{"delete.topic.enable", "true", KAFKA_TOPIC_BOOLEAN, "Topics can be deleted."},
	{"log.cleaner.enable", "true", KAFKA_TOPIC_BOOLEAN, "Compacted topics are compacted."},
	{"node.id", "0", KAFKA_TOPIC_INT, "weir is one broker."},
	{"offsets.topic.replication.factor", "1", KAFKA_TOPIC_INT, "There is one copy."},
	{"transaction.state.log.min.isr", "1", KAFKA_TOPIC_INT, "There is one copy."},
	{"transaction.state.log.replication.factor", "1", KAFKA_TOPIC_INT, "There is one copy."},
};

#define BROKER_COUNT (sizeof(broker_table) / sizeof(broker_table[0]))

static void put_broker_config(struct described *d, struct kafka_describe_configs_response_resource *out,
			      struct kafka_describe_configs_response_config *list,
			      const struct broker_config *row, struct slice value, enum admin_source source)
{
	struct kafka_describe_configs_response_config *config = &list[out->configs_count++];

	config->name = slice_str(row->name);
	config->value = value;
	config->read_only = true;
	config->config_source = (int8_t)source;
	config->config_type = (int8_t)row->type;
	config->documentation = d->in->include_documentation ? slice_str(row->doc) : slice_null();
	if (d->in->include_synonyms) {
		struct kafka_describe_configs_response_synonym *synonyms =
			kafka_call_array(d->call, &kafka_describe_configs_response_synonym_layout, 1);
		config->synonyms = synonyms;
		if (synonyms)
			put_synonym(config, synonyms, row->name, value, source);
	}
}

static void describe_own(struct described *d, const struct kafka_describe_configs_request_resource *asked,
			 struct kafka_describe_configs_response_resource *out,
			 struct kafka_describe_configs_response_config *list)
{
	const struct admin_settings *s = &d->settings;
	struct broker_config row = {
		"auto.create.topics.enable", NULL, KAFKA_TOPIC_BOOLEAN,
		"Whether a topic is made when it is first used: topic_defaults.auto_create."};
	struct topic_config config;
	bool auto_create;

	for (size_t i = 0; i < BROKER_COUNT; i++)
		if (is_wanted(asked, broker_table[i].name))
			put_broker_config(d, out, list, &broker_table[i], slice_str(broker_table[i].value),
					  ADMIN_SOURCE_DEFAULT);
	topics_defaults(d->call->app->topics, &config, &auto_create);
	if (is_wanted(asked, row.name))
		put_broker_config(d, out, list, &row, slice_str(auto_create ? "true" : "false"),
				  auto_create ? ADMIN_SOURCE_DEFAULT : ADMIN_SOURCE_FILE);
	row = (struct broker_config){"num.partitions", NULL, KAFKA_TOPIC_INT,
				     "Partitions of a new topic: topic_defaults.partitions."};
	if (is_wanted(asked, row.name))
		put_broker_config(d, out, list, &row, admin_say(d->call, "%u", config.partitions),
				  s->defaults.partitions == s->built_in.partitions ? ADMIN_SOURCE_DEFAULT :
										     ADMIN_SOURCE_FILE);
}

static void describe_broker(struct described *d, const struct kafka_describe_configs_request_resource *asked,
			    struct kafka_describe_configs_response_resource *out)
{
	struct kafka_describe_configs_response_config *list;
	uint64_t id;

	if (asked->resource_name.len == 0) /* what is set of all brokers while they run: nothing ever */
		return;
	if (!slice_to_u64(asked->resource_name, &id) || id != KAFKA_BROKER_ID) {
		out->error_code = KAFKA_INVALID_REQUEST;
		out->error_message =
			admin_say(d->call,
				  "Unexpected broker id, expected %d or empty string, but received %.*s",
				  KAFKA_BROKER_ID,
				  (int)(asked->resource_name.len > 100 ? 100 : asked->resource_name.len),
				  (const char *)asked->resource_name.ptr);
		return;
	}
	list = kafka_call_array(d->call, &kafka_describe_configs_response_config_layout,
				kafka_topic_count + BROKER_COUNT + 2);
	if (!list) {
		out->error_code = kafka_code(ERR_NOMEM);
		return;
	}
	out->configs = list;
	describe_own(d, asked, out, list);
	for (uint32_t i = 0; i < kafka_topic_count; i++) {
		const struct kafka_topic_row *row = &kafka_topic_table[i];
		struct broker_config server = {row->server, NULL, row->type, row->doc};
		if (row->server && is_wanted(asked, row->server))
			put_broker_config(d, out, list, &server,
					  admin_value(d->call, row, &d->settings.defaults),
					  admin_source(&d->settings, row, &d->settings.defaults));
	}
}

/* ---- the request ---- */

static void describe(struct described *d, const struct kafka_describe_configs_request_resource *asked,
		     struct kafka_describe_configs_response_resource *out)
{
	out->resource_type = asked->resource_type;
	out->resource_name = asked->resource_name;
	out->error_message = slice_null();
	if (asked->resource_type == ADMIN_RESOURCE_TOPIC)
		describe_topic(d, asked, out);
	else if (asked->resource_type == ADMIN_RESOURCE_BROKER)
		describe_broker(d, asked, out);
	else
		out->error_code = admin_refuse_resource(d->call, asked->resource_type, &out->error_message);
}

static void run_describe_configs(struct kafka_call *call)
{
	const struct kafka_describe_configs_request *in = call->request;
	struct kafka_describe_configs_response *out = kafka_call_response(call);
	struct described *d = kafka_call_new(call, sizeof(*d));
	struct kafka_describe_configs_response_resource *results =
		kafka_call_array(call, &kafka_describe_configs_response_resource_layout, in->resources_count);

	if (!d || !results) {
		admin_no_memory(call);
		return;
	}
	d->call = call;
	d->in = in;
	admin_settings(call, &d->settings);
	for (size_t i = 0; i < in->resources_count; i++)
		describe(d, &in->resources[i], &results[i]);
	out->results = results;
	out->results_count = in->resources_count;
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_describe_configs = {.run = run_describe_configs};
