/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/alteration.h"

#include "proto/kafka/kafka_error.h"

struct alteration {
	struct kafka_call *call;
	struct alteration_item *items;
	size_t items_count;
	struct kafka_alter_configs_response_resource *results;
	bool *entered; /* by index of the result */
	size_t count;
	bool validate_only;
	admin_edit_fn *edit;
	alteration_answer_fn *answer;
};

struct alteration *alteration_new(struct kafka_call *call, size_t count, struct alteration_item **items)
{
	struct alteration *a = kafka_call_new(call, sizeof(*a));

	if (a) {
		a->call = call;
		a->items_count = count;
		a->items = kafka_call_new(call, (count + 1) * sizeof(*a->items));
		a->results = kafka_call_array(call, &kafka_alter_configs_response_resource_layout, count);
		a->entered = kafka_call_new(call, count + 1);
	}
	if (!a || !a->items || !a->results || !a->entered) {
		admin_no_memory(call);
		return NULL;
	}
	*items = a->items;
	return a;
}

/* ---- what a resource names ---- */

#define SHOWN(name) (int)((name).len > 200 ? 200 : (name).len), (const char *)(name).ptr

int16_t alteration_check_names(struct kafka_call *call, const void *configs, size_t count, size_t stride,
			       size_t name_at, struct slice *message)
{
	uint8_t *marks = admin_marks(call, configs, count, stride, name_at);
	const uint8_t *at = configs;

	if (!marks)
		return kafka_code(ERR_NOMEM);
	for (size_t i = 0; i < count; i++, at += stride) {
		const struct slice *name = (const struct slice *)(at + name_at);
		if (marks[i] == ADMIN_ONCE)
			continue;
		*message = admin_say(call, "Error due to duplicate config keys: %.*s", SHOWN(*name));
		return KAFKA_INVALID_REQUEST;
	}
	return 0;
}

int16_t alteration_refuse_null(struct kafka_call *call, struct slice name, struct slice *message)
{
	*message = admin_say(call, "Null value not supported for: %.*s", SHOWN(name));
	return KAFKA_INVALID_REQUEST;
}

/* ---- the resources ---- */

static void alter(struct alteration *a, struct admin_job *job, struct alteration_item *item, bool twice)
{
	struct kafka_alter_configs_response_resource *out = &a->results[a->count];

	out->resource_type = item->type;
	out->resource_name = item->name;
	out->error_message = slice_null();
	if (item->type != ADMIN_RESOURCE_TOPIC) {
		out->error_code = admin_refuse_resource(a->call, item->type, &out->error_message);
	} else if (twice) {
		out->error_code = KAFKA_INVALID_REQUEST;
		out->error_message = SLICE_LIT("Each resource must appear at most once.");
	} else {
		out->error_code = admin_check_name(a->call, item->name, &out->error_message);
		if (out->error_code == 0)
			out->error_code = admin_change(a->call, job, item->name, a->validate_only, a->edit,
						       item, &out->error_message);
	}
	a->entered[a->count++] = out->error_code == 0 && !a->validate_only;
}

static void on_done(struct kafka_call *call, bool late)
{
	struct alteration *a = call->state;

	for (size_t i = 0; late && i < a->count; i++)
		if (a->entered[i])
			a->results[i].error_code = KAFKA_REQUEST_TIMED_OUT;
	a->answer(call, a->results, a->count);
}

void alteration_run(struct alteration *a, bool validate_only, admin_edit_fn *edit,
		    alteration_answer_fn *answer)
{
	struct kafka_call *call = a->call;
	struct admin_job *job;
	uint8_t *marks;

	for (size_t i = 0; i < a->items_count; i++)
		a->items[i].topic =
			a->items[i].type == ADMIN_RESOURCE_TOPIC ? a->items[i].name : slice_null();
	marks = admin_marks(call, a->items, a->items_count, sizeof(*a->items),
			    offsetof(struct alteration_item, topic));
	if (!marks) {
		admin_no_memory(call);
		return;
	}
	a->validate_only = validate_only;
	a->edit = edit;
	a->answer = answer;
	call->state = a;
	job = admin_job_new(call, on_done);
	if (!job)
		return;
	log_enter_begin(call->app->log);
	for (size_t i = 0; i < a->items_count; i++) {
		admin_breathe(call, i);
		if (marks[i] != ADMIN_AGAIN)
			alter(a, job, &a->items[i], marks[i] == ADMIN_FIRST);
	}
	log_enter_end(call->app->log);
	admin_job_wait(job, ADMIN_TIMEOUT_MS);
}
