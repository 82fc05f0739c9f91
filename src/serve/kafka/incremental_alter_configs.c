/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IncrementalAlterConfigs: what is named is set, put back to its default, or a list grows or shrinks;
 * the rest stays.
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/alteration.h"

enum operation { SET = 0, DELETE = 1, APPEND = 2, SUBTRACT = 3 };

/* As in Kafka, a name that is not known may be put back to its default: it has none. */
static int16_t edit_one(const struct kafka_incremental_alter_configs_request_config *config,
			struct conf_topic *settings, const struct conf_topic *defaults, struct fault *fault)
{
	const struct kafka_topic_row *row = kafka_topic_find(config->name);
	int rc = 0;

	switch (config->config_operation) {
	case SET:
		rc = row ? kafka_topic_set(row, settings, config->value, fault) :
			   kafka_topic_unknown(config->name, fault);
		break;
	case DELETE:
		if (row)
			kafka_topic_reset(row, settings, defaults);
		break;
	case APPEND:
		rc = row ? kafka_topic_append(row, settings, config->value, fault) :
			   kafka_topic_unknown(config->name, fault);
		break;
	case SUBTRACT:
		rc = row ? kafka_topic_subtract(row, settings, config->value, fault) :
			   kafka_topic_unknown(config->name, fault);
		break;
	default:
		(void)fault_set(fault, ERR_BAD_PARAMETER, "Unknown operation type %d",
				config->config_operation);
		return KAFKA_INVALID_REQUEST;
	}
	return rc ? KAFKA_INVALID_CONFIG : 0;
}

/* Before any of them counts, whatever else is wrong, as in ConfigAdminManager. */
static int16_t check(struct kafka_call *call,
		     const struct kafka_incremental_alter_configs_request_resource *asked,
		     struct slice *message)
{
	const struct kafka_incremental_alter_configs_request_config *configs = asked->configs;

	for (size_t i = 0; i < asked->configs_count; i++)
		if (configs[i].config_operation != DELETE && !configs[i].value.ptr)
			return alteration_refuse_null(call, configs[i].name, message);
	return alteration_check_names(call, configs, asked->configs_count, sizeof(*configs),
				      offsetof(struct kafka_incremental_alter_configs_request_config, name),
				      message);
}

static int16_t change_named(void *ctx, struct conf_topic *settings, const struct conf_topic *defaults,
			    struct slice *message)
{
	const struct alteration_item *item = ctx;
	const struct kafka_incremental_alter_configs_request_resource *asked = item->asked;
	const struct kafka_incremental_alter_configs_request_config *configs = asked->configs;
	int16_t code = check(item->call, asked, message);
	struct fault fault = {0};

	for (size_t i = 0; code == 0 && i < asked->configs_count; i++) {
		code = edit_one(&configs[i], settings, defaults, &fault);
		if (code)
			*message = admin_say(item->call, "%s", fault.text);
	}
	return code;
}

static void answer(struct kafka_call *call, const struct kafka_alter_configs_response_resource *results,
		   size_t count)
{
	struct kafka_incremental_alter_configs_response *out = kafka_call_response(call);

	out->responses = results;
	out->responses_count = count;
	kafka_call_answer(call, out);
}

static void run_incremental_alter_configs(struct kafka_call *call)
{
	const struct kafka_incremental_alter_configs_request *in = call->request;
	struct alteration_item *items;
	struct alteration *a = alteration_new(call, in->resources_count, &items);

	if (!a)
		return;
	for (size_t i = 0; i < in->resources_count; i++)
		items[i] = (struct alteration_item){.call = call,
						    .asked = &in->resources[i],
						    .type = in->resources[i].resource_type,
						    .name = in->resources[i].resource_name};
	alteration_run(a, in->validate_only, change_named, answer);
}

const struct kafka_handler kafka_handle_incremental_alter_configs = {.run = run_incremental_alter_configs};
