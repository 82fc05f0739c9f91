/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DeleteRecords: the log start of partitions moves up. As in Kafka, an offset below the
 * log start is nothing to do, and a topic that is compacted and nothing else is left alone.
 */
#include "proto/kafka/kafka_error.h"
#include "serve/kafka/admin.h"

#define TO_THE_END (-1)

struct trim {
	struct kafka_delete_records_response_topic *results;
	struct topic **trimmed; /* by index, where a change has entered */
	size_t count;
};

static void refuse_all(struct kafka_delete_records_response_partition *list, size_t count, int16_t code)
{
	for (size_t i = 0; i < count; i++) {
		list[i].low_watermark = -1;
		list[i].error_code = code;
	}
}

/* Where the partition is to begin: noted in `before` where it may be. */
static int16_t take_offset(struct topic *topic, const struct kafka_delete_records_request_partition *asked,
			   int64_t *before)
{
	struct partition *p =
		asked->partition_index < 0 ? NULL : topic_partition(topic, (uint32_t)asked->partition_index);
	struct partition_range range;
	int64_t offset;

	if (!p)
		return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
	partition_range(p, &range);
	offset = asked->offset == TO_THE_END ? range.end : asked->offset;
	if (offset < 0 || offset > range.end)
		return KAFKA_OFFSET_OUT_OF_RANGE;
	if (offset > range.start && offset > before[asked->partition_index])
		before[asked->partition_index] = offset;
	return 0;
}

/* Under the entry lock. */
static int16_t trim_topic(struct kafka_call *call, struct admin_job *job, struct topic *topic,
			  const struct kafka_delete_records_request_topic *asked,
			  struct kafka_delete_records_response_partition *list, bool *entered)
{
	uint32_t count = atomic_load(&topic->partition_count);
	int64_t *before = arena_alloc(&call->arena, count * sizeof(*before));
	bool any = false;
	int rc = 0;

	if (!before)
		return kafka_code(ERR_NOMEM);
	memset(before, 0xff, count * sizeof(*before)); /* -1: leave it */
	for (size_t i = 0; i < asked->partitions_count; i++)
		list[i].error_code = take_offset(topic, &asked->partitions[i], before);
	for (uint32_t i = 0; i < count; i++)
		any |= before[i] >= 0;
	if (any) {
		rc = topics_trim(call->app->topics, topic, before, count, admin_job_enter(job));
		if (rc)
			admin_job_refused(job);
	}
	*entered = any && rc == 0;
	return admin_code(rc);
}

static void trim_one(struct kafka_call *call, struct trim *t, struct admin_job *job,
		     const struct kafka_delete_records_request_topic *asked)
{
	struct kafka_delete_records_response_partition *list =
		kafka_call_array(call, &kafka_delete_records_response_partition_layout,
				 asked->partitions_count);
	struct kafka_delete_records_response_topic *out = &t->results[t->count];
	struct topic_config config;
	struct slice message;
	bool entered = false;
	int16_t code = 0;
	struct topic *topic = admin_find(call, asked->name, &code, &message);

	out->name = asked->name;
	out->partitions = list;
	out->partitions_count = list ? asked->partitions_count : 0;
	for (size_t i = 0; i < out->partitions_count; i++)
		list[i].partition_index = asked->partitions[i].partition_index;
	if (topic && list) {
		topic_config(call->app->topics, topic, &config);
		code = config.cleanup == TOPIC_COMPACT ? KAFKA_POLICY_VIOLATION :
							 trim_topic(call, job, topic, asked, list, &entered);
	}
	if (code)
		refuse_all(list, out->partitions_count, code);
	t->trimmed[t->count++] = code == 0 ? topic : NULL;
}

/* The low watermark is that of the moment in which it is told. */
static void answer(struct kafka_call *call, bool late)
{
	struct kafka_delete_records_response *out = kafka_call_response(call);
	struct trim *t = call->state;

	for (size_t i = 0; i < t->count; i++) {
		struct kafka_delete_records_response_partition *list =
			(struct kafka_delete_records_response_partition *)t->results[i].partitions;
		for (size_t k = 0; t->trimmed[i] && k < t->results[i].partitions_count; k++) {
			struct partition_range range;
			list[k].low_watermark = -1;
			if (list[k].error_code == 0 && late)
				list[k].error_code = KAFKA_REQUEST_TIMED_OUT;
			if (list[k].error_code)
				continue;
			partition_range(topic_partition(t->trimmed[i], (uint32_t)list[k].partition_index),
					&range);
			list[k].low_watermark = range.start;
		}
	}
	out->topics = t->results;
	out->topics_count = t->count;
	kafka_call_answer(call, out);
}

static void run_delete_records(struct kafka_call *call)
{
	const struct kafka_delete_records_request *in = call->request;
	struct trim *t = kafka_call_new(call, sizeof(*t));
	struct admin_job *job;

	if (t) {
		t->results =
			kafka_call_array(call, &kafka_delete_records_response_topic_layout, in->topics_count);
		t->trimmed = kafka_call_new(call, (in->topics_count + 1) * sizeof(*t->trimmed));
	}
	if (!t || !t->results || !t->trimmed) {
		admin_no_memory(call);
		return;
	}
	call->state = t;
	job = admin_job_new(call, answer);
	if (!job)
		return;
	log_enter_begin(call->app->log);
	for (size_t i = 0; i < in->topics_count; i++) {
		admin_breathe(call, i);
		trim_one(call, t, job, &in->topics[i]);
	}
	log_enter_end(call->app->log);
	admin_job_wait(job, in->timeout_ms);
}

const struct kafka_handler kafka_handle_delete_records = {.run = run_delete_records};
