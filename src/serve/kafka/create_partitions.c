/* SPDX-License-Identifier: Apache-2.0 */
/* CreatePartitions: a topic gets more of them. */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/admin.h"
#include "serve/kafka/cluster.h"

struct growth {
	struct kafka_create_partitions_response_topic *results;
	bool *entered; /* by index */
	size_t count;
};

struct edit {
	struct kafka_call *call;
	const struct kafka_create_partitions_request_topic *asked;
};

static int16_t refuse(struct slice *message, int16_t code, struct slice why)
{
	*message = why;
	return code;
}

static int16_t check_assignments(struct kafka_call *call,
				 const struct kafka_create_partitions_request_topic *asked, int64_t added,
				 struct slice *message)
{
	if (!asked->assignments)
		return 0;
	if ((int64_t)asked->assignments_count != added)
		return refuse(
			message, KAFKA_INVALID_REPLICA_ASSIGNMENT,
			admin_say(
				call,
				"Attempted to add %lld additional partition(s), but %zu assignment(s) were specified.",
				(long long)added, asked->assignments_count));
	for (size_t i = 0; i < asked->assignments_count; i++) {
		const struct kafka_create_partitions_request_assignment *a = &asked->assignments[i];
		if (a->broker_ids_count != 1 || a->broker_ids[0] != KAFKA_BROKER_ID)
			return refuse(message, KAFKA_INVALID_REPLICA_ASSIGNMENT,
				      SLICE_LIT("Each partition has one replica, on broker 0."));
	}
	return 0;
}

static int16_t grow(void *ctx, struct conf_topic *settings, const struct conf_topic *defaults,
		    struct slice *message)
{
	const struct edit *e = ctx;
	int64_t had = settings->partitions;

	(void)defaults;
	if (e->asked->count == had)
		return refuse(message, KAFKA_INVALID_PARTITIONS,
			      admin_say(e->call, "Topic already has %lld partition(s).", (long long)had));
	if (e->asked->count < had)
		return refuse(
			message, KAFKA_INVALID_PARTITIONS,
			admin_say(
				e->call,
				"The topic %.*s currently has %lld partition(s); %d would not be an increase.",
				(int)e->asked->name.len, (const char *)e->asked->name.ptr, (long long)had,
				e->asked->count));
	if (e->asked->count > (int32_t)TOPIC_PARTITIONS_MAX)
		return refuse(message, KAFKA_INVALID_PARTITIONS,
			      admin_say(e->call, "A topic has at most %u partitions.", TOPIC_PARTITIONS_MAX));
	settings->partitions = e->asked->count;
	return check_assignments(e->call, e->asked, e->asked->count - had, message);
}

static void answer(struct kafka_call *call, bool late)
{
	struct kafka_create_partitions_response *out = kafka_call_response(call);
	struct growth *g = call->state;

	for (size_t i = 0; late && i < g->count; i++)
		if (g->entered[i]) {
			g->results[i].error_code = KAFKA_REQUEST_TIMED_OUT;
			g->results[i].error_message =
				SLICE_LIT("The partitions are not on the disk yet; they will be.");
		}
	out->results = g->results;
	out->results_count = g->count;
	kafka_call_answer(call, out);
}

static void grow_all(struct kafka_call *call, struct growth *g, struct admin_job *job, const uint8_t *marks)
{
	const struct kafka_create_partitions_request *in = call->request;

	for (size_t i = 0; i < in->topics_count; i++) {
		struct kafka_create_partitions_response_topic *out = &g->results[g->count];
		struct edit edit = {.call = call, .asked = &in->topics[i]};
		admin_breathe(call, i);
		if (marks[i] == ADMIN_AGAIN)
			continue;
		out->name = in->topics[i].name;
		out->error_message = slice_null();
		out->error_code = marks[i] == ADMIN_FIRST ?
					  refuse(&out->error_message, KAFKA_INVALID_REQUEST,
						 SLICE_LIT("Duplicate topic name.")) :
					  admin_change(call, job, out->name, in->validate_only, grow, &edit,
						       &out->error_message);
		g->entered[g->count++] = out->error_code == 0 && !in->validate_only;
	}
}

static void run_create_partitions(struct kafka_call *call)
{
	const struct kafka_create_partitions_request *in = call->request;
	struct growth *g = kafka_call_new(call, sizeof(*g));
	uint8_t *marks = admin_marks(call, in->topics, in->topics_count, sizeof(*in->topics),
				     offsetof(struct kafka_create_partitions_request_topic, name));
	struct admin_job *job;

	if (g) {
		g->results = kafka_call_array(call, &kafka_create_partitions_response_topic_layout,
					      in->topics_count);
		g->entered = kafka_call_new(call, in->topics_count + 1);
	}
	if (!g || !marks || !g->results || !g->entered) {
		admin_no_memory(call);
		return;
	}
	call->state = g;
	job = admin_job_new(call, answer);
	if (!job)
		return;
	log_enter_begin(call->app->log);
	grow_all(call, g, job, marks);
	log_enter_end(call->app->log);
	admin_job_wait(job, in->timeout_ms);
}

const struct kafka_handler kafka_handle_create_partitions = {.run = run_create_partitions};
