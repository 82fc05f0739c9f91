/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AlterConfigs: what is named is set, and everything else that Kafka knows goes back to the default.
 * weir's own settings of the topic stay.
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/alteration.h"

/* Before any of them counts, whatever else is wrong, as in ConfigAdminManager. */
static int16_t check(struct kafka_call *call, const struct kafka_alter_configs_request_resource *asked,
		     struct slice *message)
{
	const struct kafka_alter_configs_request_config *configs = asked->configs;

	for (size_t i = 0; i < asked->configs_count; i++)
		if (!configs[i].value.ptr)
			return alteration_refuse_null(call, configs[i].name, message);
	return alteration_check_names(call, configs, asked->configs_count, sizeof(*configs),
				      offsetof(struct kafka_alter_configs_request_config, name), message);
}

static int16_t replace(void *ctx, struct conf_topic *settings, const struct conf_topic *defaults,
		       struct slice *message)
{
	const struct alteration_item *item = ctx;
	const struct kafka_alter_configs_request_resource *asked = item->asked;
	int16_t code = check(item->call, asked, message);
	struct fault fault = {0};

	if (code)
		return code;
	for (uint32_t i = 0; i < kafka_topic_count; i++)
		kafka_topic_reset(&kafka_topic_table[i], settings, defaults);
	for (size_t i = 0; i < asked->configs_count; i++) {
		const struct kafka_alter_configs_request_config *config = &asked->configs[i];
		const struct kafka_topic_row *row = kafka_topic_find(config->name);
		int rc = row ? kafka_topic_set(row, settings, config->value, &fault) :
			       kafka_topic_unknown(config->name, &fault);
		if (rc) {
			*message = admin_say(item->call, "%s", fault.text);
			return KAFKA_INVALID_CONFIG;
		}
	}
	return 0;
}

static void answer(struct kafka_call *call, const struct kafka_alter_configs_response_resource *results,
		   size_t count)
{
	struct kafka_alter_configs_response *out = kafka_call_response(call);

	out->responses = results;
	out->responses_count = count;
	kafka_call_answer(call, out);
}

static void run_alter_configs(struct kafka_call *call)
{
	const struct kafka_alter_configs_request *in = call->request;
	struct alteration_item *items;
	struct alteration *a = alteration_new(call, in->resources_count, &items);

	if (!a)
		return;
	for (size_t i = 0; i < in->resources_count; i++)
		items[i] = (struct alteration_item){.call = call,
						    .asked = &in->resources[i],
						    .type = in->resources[i].resource_type,
						    .name = in->resources[i].resource_name};
	alteration_run(a, in->validate_only, replace, answer);
}

const struct kafka_handler kafka_handle_alter_configs = {.run = run_alter_configs};
