/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IncrementalAlterConfigs: what is named is set, put back to its default, or a list grows or shrinks;
 * the rest stays.
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/admin.h"

struct edit {
	struct kafka_call *call;
	const struct kafka_incremental_alter_configs_request_resource *asked;
};

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

static int16_t change_named(void *ctx, struct conf_topic *settings, const struct conf_topic *defaults,
			    struct slice *message)
{
	const struct edit *e = ctx;
	const struct kafka_incremental_alter_configs_request_config *configs = e->asked->configs;
	uint8_t *marks = admin_marks(e->call, configs, e->asked->configs_count, sizeof(*configs),
				     offsetof(struct kafka_incremental_alter_configs_request_config, name));
	struct fault fault = {0};

	if (!marks)
		return kafka_code(ERR_NOMEM);
	for (size_t i = 0; i < e->asked->configs_count; i++) {
		int16_t code;
		if (marks[i] == ADMIN_FIRST) {
			*message = admin_say(e->call, "Error due to duplicate config keys: %.*s",
					     (int)(configs[i].name.len > 200 ? 200 : configs[i].name.len),
					     (const char *)configs[i].name.ptr);
			return KAFKA_INVALID_REQUEST;
		}
		code = edit_one(&configs[i], settings, defaults, &fault);
		if (code) {
			*message = admin_say(e->call, "%s", fault.text);
			return code;
		}
	}
	return 0;
}

struct alteration {
	struct kafka_incremental_alter_configs_response_resource *results;
	bool *entered; /* by index */
	size_t count;
};

static void alter(struct kafka_call *call, struct alteration *a, struct admin_job *job,
		  const struct kafka_incremental_alter_configs_request_resource *asked, bool twice)
{
	const struct kafka_incremental_alter_configs_request *in = call->request;
	struct kafka_incremental_alter_configs_response_resource *out = &a->results[a->count];
	struct edit edit = {.call = call, .asked = asked};

	out->resource_type = asked->resource_type;
	out->resource_name = asked->resource_name;
	out->error_message = slice_null();
	if (asked->resource_type != ADMIN_RESOURCE_TOPIC) {
		out->error_code = admin_refuse_resource(call, asked->resource_type, &out->error_message);
	} else if (twice) {
		out->error_code = KAFKA_INVALID_REQUEST;
		out->error_message = SLICE_LIT("Each resource must appear at most once.");
	} else {
		out->error_code = admin_change(call, job, asked->resource_name, in->validate_only,
					       change_named, &edit, &out->error_message);
	}
	a->entered[a->count++] = out->error_code == 0 && !in->validate_only;
}

static void answer(struct kafka_call *call, bool late)
{
	struct kafka_incremental_alter_configs_response *out = kafka_call_response(call);
	struct alteration *a = call->state;

	for (size_t i = 0; late && i < a->count; i++)
		if (a->entered[i])
			a->results[i].error_code = KAFKA_REQUEST_TIMED_OUT;
	out->responses = a->results;
	out->responses_count = a->count;
	kafka_call_answer(call, out);
}

static void run_incremental_alter_configs(struct kafka_call *call)
{
	const struct kafka_incremental_alter_configs_request *in = call->request;
	struct alteration *a = kafka_call_new(call, sizeof(*a));
	uint8_t *marks =
		admin_marks(call, in->resources, in->resources_count, sizeof(*in->resources),
			    offsetof(struct kafka_incremental_alter_configs_request_resource, resource_name));
	struct admin_job *job;

	if (a) {
		a->results = kafka_call_array(call, &kafka_incremental_alter_configs_response_resource_layout,
					      in->resources_count);
		a->entered = kafka_call_new(call, in->resources_count + 1);
	}
	if (!a || !marks || !a->results || !a->entered) {
		admin_no_memory(call);
		return;
	}
	call->state = a;
	job = admin_job_new(call, answer);
	if (!job)
		return;
	log_enter_begin(call->app->log);
	for (size_t i = 0; i < in->resources_count; i++) {
		admin_breathe(call, i);
		if (marks[i] != ADMIN_AGAIN)
			alter(call, a, job, &in->resources[i], marks[i] == ADMIN_FIRST);
	}
	log_enter_end(call->app->log);
	admin_job_wait(job, ADMIN_TIMEOUT_MS);
}

const struct kafka_handler kafka_handle_incremental_alter_configs = {.run = run_incremental_alter_configs};
