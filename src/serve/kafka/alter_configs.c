/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AlterConfigs: what is named is set, and everything else that Kafka knows goes back to the default.
 * weir's own settings of the topic stay.
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/admin.h"

struct edit {
	struct kafka_call *call;
	const struct kafka_alter_configs_request_resource *asked;
};

static int16_t replace(void *ctx, struct conf_topic *settings, const struct conf_topic *defaults,
		       struct slice *message)
{
	const struct edit *e = ctx;
	struct fault fault = {0};

	for (uint32_t i = 0; i < kafka_topic_count; i++)
		kafka_topic_reset(&kafka_topic_table[i], settings, defaults);
	for (size_t i = 0; i < e->asked->configs_count; i++) {
		const struct kafka_alter_configs_request_config *config = &e->asked->configs[i];
		const struct kafka_topic_row *row = kafka_topic_find(config->name);
		int rc = row ? kafka_topic_set(row, settings, config->value, &fault) :
			       kafka_topic_unknown(config->name, &fault);
		if (rc) {
			*message = admin_say(e->call, "%s", fault.text);
			return KAFKA_INVALID_CONFIG;
		}
	}
	return 0;
}

struct alteration {
	struct kafka_alter_configs_response_resource *results;
	bool *entered; /* by index */
	size_t count;
};

static void alter(struct kafka_call *call, struct alteration *a, struct admin_job *job,
		  const struct kafka_alter_configs_request_resource *asked, bool twice)
{
	const struct kafka_alter_configs_request *in = call->request;
	struct kafka_alter_configs_response_resource *out = &a->results[a->count];
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
		out->error_code = admin_change(call, job, asked->resource_name, in->validate_only, replace,
					       &edit, &out->error_message);
	}
	a->entered[a->count++] = out->error_code == 0 && !in->validate_only;
}

static void answer(struct kafka_call *call, bool late)
{
	struct kafka_alter_configs_response *out = kafka_call_response(call);
	struct alteration *a = call->state;

	for (size_t i = 0; late && i < a->count; i++)
		if (a->entered[i])
			a->results[i].error_code = KAFKA_REQUEST_TIMED_OUT;
	out->responses = a->results;
	out->responses_count = a->count;
	kafka_call_answer(call, out);
}

static void run_alter_configs(struct kafka_call *call)
{
	const struct kafka_alter_configs_request *in = call->request;
	struct alteration *a = kafka_call_new(call, sizeof(*a));
	uint8_t *marks = admin_marks(call, in->resources, in->resources_count, sizeof(*in->resources),
				     offsetof(struct kafka_alter_configs_request_resource, resource_name));
	struct admin_job *job;

	if (a) {
		a->results = kafka_call_array(call, &kafka_alter_configs_response_resource_layout,
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

const struct kafka_handler kafka_handle_alter_configs = {.run = run_alter_configs};
