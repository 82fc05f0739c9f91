/* SPDX-License-Identifier: Apache-2.0 */
/* DeleteTopics, by name, and from version 6 on by UUID too. */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/admin.h"

struct deletion {
	struct kafka_delete_topics_response_topic *results;
	bool *entered; /* by index */
	size_t count;
};

static void refuse(struct kafka_delete_topics_response_topic *out, int16_t code, struct slice why)
{
	out->error_code = code;
	out->error_message = why;
}

static bool is_zero(const struct kafka_uuid *id)
{
	static const struct kafka_uuid zero;

	return memcmp(id, &zero, sizeof(zero)) == 0;
}

/* The topic that is meant, or NULL with the refusal. */
static struct topic *find(struct kafka_call *call, const struct kafka_delete_topics_request_topic *asked,
			  struct kafka_delete_topics_response_topic *out)
{
	struct topic_id id;
	struct topic *topic;

	if (asked->name.ptr && !is_zero(&asked->topic_id)) {
		refuse(out, KAFKA_INVALID_REQUEST,
		       SLICE_LIT("You may not specify both topic name and topic id."));
		return NULL;
	}
	if (asked->name.ptr)
		return admin_find(call, asked->name, &out->error_code, &out->error_message);
	if (is_zero(&asked->topic_id)) {
		refuse(out, KAFKA_INVALID_REQUEST, SLICE_LIT("Neither topic name nor id were specified."));
		return NULL;
	}
	memcpy(id.bytes, asked->topic_id.bytes, sizeof(id.bytes));
	topic = topics_find_id(call->app->topics, &id);
	if (!topic || topic->internal) {
		refuse(out, KAFKA_UNKNOWN_TOPIC_ID, SLICE_LIT("This server does not host this topic ID."));
		return NULL;
	}
	return topic;
}

/* Under the entry lock. */
static void delete_one(struct kafka_call *call, struct deletion *d, struct admin_job *job,
		       const struct kafka_delete_topics_request_topic *asked)
{
	struct kafka_delete_topics_response_topic *out = &d->results[d->count];
	struct fault fault = {0};
	struct topic *topic;
	int rc;

	out->name = asked->name;
	out->topic_id = asked->topic_id;
	topic = find(call, asked, out);
	if (topic) {
		out->name = slice_str(topic->name);
		memcpy(out->topic_id.bytes, topic->id.bytes, sizeof(out->topic_id.bytes));
		rc = topic_conf_delete(call->app->topics, topic, admin_job_enter(job), &fault);
		d->entered[d->count] = rc == 0;
		if (rc) {
			admin_job_refused(job);
			refuse(out, admin_code(rc), admin_say(call, "%s", fault.text));
		}
	}
	d->count++;
}

static void answer(struct kafka_call *call, bool late)
{
	struct kafka_delete_topics_response *out = kafka_call_response(call);
	struct deletion *d = call->state;

	for (size_t i = 0; late && i < d->count; i++)
		if (d->entered[i])
			refuse(&d->results[i], KAFKA_REQUEST_TIMED_OUT,
			       SLICE_LIT("The deletion is not on the disk yet; it will be."));
	out->responses = d->results;
	out->responses_count = d->count;
	kafka_call_answer(call, out);
}

/* Before version 6 there are names alone. */
static const struct kafka_delete_topics_request_topic *all_asked(struct kafka_call *call,
								 const struct kafka_delete_topics_request *in,
								 size_t *count)
{
	struct kafka_delete_topics_request_topic *list;

	*count = in->topics_count;
	if (call->header.version >= 6)
		return in->topics;
	*count = in->topic_names_count;
	list = kafka_call_array(call, &kafka_delete_topics_request_topic_layout, *count);
	for (size_t i = 0; list && i < *count; i++)
		list[i].name = in->topic_names[i];
	return list;
}

static void run_delete_topics(struct kafka_call *call)
{
	const struct kafka_delete_topics_request *in = call->request;
	struct deletion *d = kafka_call_new(call, sizeof(*d));
	size_t count;
	const struct kafka_delete_topics_request_topic *asked = all_asked(call, in, &count);
	uint8_t *marks = asked ? admin_marks(call, asked, count, sizeof(*asked),
					     offsetof(struct kafka_delete_topics_request_topic, name)) :
				 NULL;
	struct admin_job *job;

	if (d) {
		d->results = kafka_call_array(call, &kafka_delete_topics_response_topic_layout, count);
		d->entered = kafka_call_new(call, count + 1);
	}
	if (!d || !marks || !d->results || !d->entered) {
		admin_no_memory(call);
		return;
	}
	call->state = d;
	job = admin_job_new(call, answer);
	if (!job)
		return;
	log_enter_begin(call->app->log);
	for (size_t i = 0; i < count; i++) {
		admin_breathe(call, i);
		if (marks[i] == ADMIN_ONCE) {
			delete_one(call, d, job, &asked[i]);
		} else if (marks[i] == ADMIN_FIRST) {
			d->results[d->count].name = asked[i].name;
			refuse(&d->results[d->count++], KAFKA_INVALID_REQUEST,
			       SLICE_LIT("Duplicate topic name."));
		}
	}
	log_enter_end(call->app->log);
	admin_job_wait(job, in->timeout_ms);
}

const struct kafka_handler kafka_handle_delete_topics = {.run = run_delete_topics};
