/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Produce: each partition's batch goes to the door (ingest_batch.h), as views of the frame. As in
 * Kafka's handleProduceRequest: a partition that is refused leaves the others alone; acks=0 has no answer, and
 * where something was refused the connection closes, since there is no other way to tell.
 *
 * acks=1 and acks=all are the same here: the answer leaves when the records are as durable as the topic
 * asks. acks says how many replicas are waited for, and there is one.
 *
 * What may be tried again gets a code on which every client does so: NOT_ENOUGH_REPLICAS, which says
 * that nothing was stored. librdkafka, the Java client, franz-go and every sarama try again on it, none
 * of them asks for metadata first. THROTTLING_QUOTA_EXCEEDED, which would say it better, ends the message
 * with librdkafka and sarama. A full disk is KAFKA_STORAGE_ERROR, as Kafka itself says it; older sarama gives up on it.
 */
#include "ingest/ingest_batch.h"
#include "proto/kafka/kafka_error.h"
#include "proto/kafka/kafka_message.h"
#include "proto/kafka/kafka_records.h"
#include "serve/kafka/call.h"

#define NS_PER_MS 1000000LL
#define HOLD_MS_MAX \
	15000 /* how long a request waits for room in the log; half of what it allows itself, at most */

struct produce {
	struct ingest_batches request;
	struct kafka_call *call;
};

static int16_t produce_code(int err)
{
	if (err == ERR_OVERLOADED || err == ERR_SHUTTING_DOWN || err == ERR_NOMEM)
		return KAFKA_NOT_ENOUGH_REPLICAS;
	return kafka_code(err);
}

/* ---- the answer ---- */

static int put_record_errors(struct kafka_call *call, const struct ingest_batch *item,
			     struct kafka_produce_response_partition *out)
{
	struct kafka_produce_response_record_error *errors;

	if (item->error_count == 0)
		return 0;
	errors = kafka_call_array(call, &kafka_produce_response_record_error_layout, item->error_count);
	if (!errors)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < item->error_count; i++) {
		errors[i].batch_index = (int32_t)item->errors[i].index;
		errors[i].batch_index_error_message = slice_str(item->errors[i].what);
	}
	out->record_errors = errors;
	out->record_errors_count = item->error_count;
	return 0;
}

static int put_partition(struct kafka_call *call, const struct ingest_batch *item,
			 struct kafka_produce_response_partition *out)
{
	out->index = item->partition;
	out->error_code = produce_code(item->err);
	out->base_offset = item->base_offset;
	out->log_append_time_ms = item->timestamp_ms;
	out->log_start_offset = item->log_start;
	if (item->err)
		out->error_message = slice_str(item->detail);
	return put_record_errors(call, item, out);
}

/* The topics and partitions of the request, in its order. */
static int put_topics(struct produce *p, struct kafka_produce_response *out)
{
	const struct kafka_produce_request *request = p->call->request;
	const struct ingest_batch *item = p->request.items;
	struct kafka_produce_response_topic *topics =
		kafka_call_array(p->call, &kafka_produce_response_topic_layout, request->topic_data_count);
	int rc = topics ? 0 : ERR_NOMEM;

	for (size_t t = 0; rc == 0 && t < request->topic_data_count; t++) {
		size_t count = request->topic_data[t].partition_data_count;
		struct kafka_produce_response_partition *partitions =
			kafka_call_array(p->call, &kafka_produce_response_partition_layout, count);
		rc = partitions ? 0 : ERR_NOMEM;
		for (size_t i = 0; rc == 0 && i < count; i++)
			rc = put_partition(p->call, item++, &partitions[i]);
		topics[t].name = request->topic_data[t].name;
		topics[t].partition_responses = partitions;
		topics[t].partition_responses_count = count;
	}
	out->responses = topics;
	out->responses_count = request->topic_data_count;
	return rc;
}

static void answer(struct produce *p)
{
	struct kafka_produce_response *out = kafka_call_response(p->call);

	if (put_topics(p, out))
		kafka_call_fail(p->call, "no memory for the answer to a Produce");
	else
		kafka_call_answer(p->call, out);
}

/* acks=0: silence, or the end. */
static void end_silently(struct produce *p)
{
	for (uint32_t i = 0; i < p->request.count; i++) {
		int err = p->request.items[i].err;
		if (err) {
			kafka_call_fail(p->call, err_row(err)->sentence);
			return;
		}
	}
	kafka_call_silent(p->call);
}

static void end(struct produce *p)
{
	const struct kafka_produce_request *request = p->call->request;

	if (request->acks == 0)
		end_silently(p);
	else
		answer(p);
}

static void on_done(struct ingest_batches *r)
{
	end(r->ctx);
}

/* ---- the request ---- */

static void refuse(struct ingest_batch *item, int err, const char *detail)
{
	item->err = err;
	item->detail = detail;
}

/* What its version may carry (kafka_records.h); the door looks at what is in it. */
static void check_form(struct ingest_batch *item, const struct kafka_call *call)
{
	int rc = kafka_records_check(item->bytes, call->header.version);

	if (rc == ERR_BAD_ENCODING)
		refuse(item, rc, "zstd needs version 7 of Produce");
	else if (rc == ERR_CORRUPT)
		refuse(item, ERR_CORRUPT_BATCH, "the batch is cut short, or its length cannot be");
	else if (rc)
		refuse(item, ERR_BAD_BATCH, "a partition takes exactly one batch, of magic 2");
}

static bool is_transactional(const struct ingest_batch *item)
{
	struct batch_head head;

	return item->err == 0 && batch_head_read(item->bytes, &head) == 0 && batch_is_transactional(&head);
}

/* Kafka refuses the whole request for either, and so do we. */
static int check_whole(const struct ingest_batches *r, const struct kafka_produce_request *request)
{
	if (request->acks < -1 || request->acks > 1)
		return ERR_BAD_ACKS;
	for (uint32_t i = 0; !request->transactional_id.ptr && i < r->count; i++)
		if (is_transactional(&r->items[i]))
			return ERR_TXN_FORBIDDEN;
	return 0;
}

static void take_items(struct produce *p)
{
	const struct kafka_produce_request *request = p->call->request;
	struct ingest_batch *item = p->request.items;
	int rc;

	for (size_t t = 0; t < request->topic_data_count; t++) {
		const struct kafka_produce_request_topic *topic = &request->topic_data[t];
		for (size_t i = 0; i < topic->partition_data_count; i++, item++) {
			const struct kafka_records *records = &topic->partition_data[i].records;
			item->topic = topic->name;
			item->partition = topic->partition_data[i].index;
			item->bytes = slice_make(records->ptr, records->len);
			check_form(item, p->call);
		}
	}
	rc = check_whole(&p->request, request);
	for (uint32_t i = 0; rc && i < p->request.count; i++)
		refuse(&p->request.items[i], rc, err_row(rc)->sentence);
}

static size_t count_items(const struct kafka_produce_request *request)
{
	size_t count = 0;

	for (size_t t = 0; t < request->topic_data_count; t++)
		count += request->topic_data[t].partition_data_count;
	return count;
}

static int64_t hold_until(const struct kafka_call *call, int32_t timeout_ms)
{
	int64_t ms = timeout_ms / 2 < HOLD_MS_MAX ? timeout_ms / 2 : HOLD_MS_MAX;

	return ms > 0 ? loop_now(call->loop) + ms * NS_PER_MS : 0;
}

static void run_produce(struct kafka_call *call)
{
	const struct kafka_produce_request *request = call->request;
	struct app_loop *al = app_loop(call->app, call->loop);
	size_t count = count_items(request);
	struct produce *p = kafka_call_new(call, sizeof(*p));
	struct ingest_batch *items = kafka_call_new(call, count * sizeof(*items));

	if (!p || !items) {
		kafka_call_fail(call, "no memory for a Produce");
		return;
	}
	p->call = call;
	ingest_batches_init(&p->request, items, (uint32_t)count, &call->arena, on_done, p);
	p->request.deadline_ns = hold_until(call, request->timeout_ms);
	take_items(p);
	if (ingest_batches_start(al->queue, &p->request))
		end(p);
	else
		app_flush_later(al);
}

const struct kafka_handler kafka_handle_produce = {.run = run_produce, .together = true};
