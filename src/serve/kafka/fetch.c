/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetch, versions 4 to 12: deliver/fetch with Kafka's names. Every answer is that of a
 * full fetch: session 0 says that there is no session (KIP-227), and clients then send
 * all their partitions each time. A session that a client believes to have was another broker's.
 */
#include "deliver/fetch.h"

#include "proto/kafka/kafka_error.h"
#include "serve/kafka/cluster.h"
#include "serve/kafka/leader.h"

#define BYTES_MAX ((size_t)55 << 20) /* Kafka's fetch.max.bytes */
#define WAIT_MS_MAX 300000           /* a client that is gone is not noticed before */

struct fetch_call {
	struct fetch fetch;
	struct kafka_call *call;
	struct fetch_part *parts; /* of all topics, in order */
	int16_t *codes;           /* by part: an error that is not the log's */
	uint32_t count;
	struct loop_timer timer;
	struct app_guest guest;
};

/* ---- the answer ---- */

/* The references go along. */
static int put_records(struct kafka_call *call, const struct fetch_part *part, struct kafka_records *out)
{
	struct kafka_source *list, *at;
	size_t count = 0;

	out->ptr = (const uint8_t *)"";
	if (!part->first)
		return 0;
	for (const struct fetch_piece *piece = part->first; piece; piece = piece->next)
		count++;
	list = at = arena_alloc(&call->arena, count * sizeof(*list));
	if (!list)
		return ERR_NOMEM;
	for (const struct fetch_piece *piece = part->first; piece; piece = piece->next, at++)
		*at = (struct kafka_source){.blob = piece->blob,
					    .part = piece->part,
					    .file = piece->file,
					    .file_at = piece->file_at,
					    .next = at + 1};
	at[-1].next = NULL;
	out->len = part->bytes;
	out->source = list;
	return 0;
}

static int put_aborted(struct kafka_call *call, const struct fetch_part *part,
		       struct kafka_fetch_response_partition *out)
{
	struct kafka_fetch_response_aborted_transaction *list =
		kafka_call_array(call, &kafka_fetch_response_aborted_transaction_layout, part->aborted_count);

	if (!list)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < part->aborted_count; i++) {
		list[i].producer_id = part->aborted[i].producer_id;
		list[i].first_offset = part->aborted[i].first_offset;
	}
	out->aborted_transactions = list;
	out->aborted_transactions_count = part->aborted_count;
	return 0;
}

static int put_partition(struct fetch_call *f, uint32_t i, struct kafka_fetch_response_partition *out)
{
	const struct fetch_part *part = &f->parts[i];
	int rc;

	out->error_code = f->codes[i] ? f->codes[i] : kafka_code(part->error);
	out->high_watermark = part->end;
	out->last_stable_offset = part->stable;
	out->log_start_offset = part->start;
	rc = put_records(f->call, part, &out->records);
	if (rc == 0 && f->fetch.options.committed && out->error_code == 0)
		rc = put_aborted(f->call, part, out);
	return rc;
}

static int put_topics(struct fetch_call *f, struct kafka_fetch_response *out)
{
	const struct kafka_fetch_request *in = f->call->request;
	struct kafka_fetch_response_topic *topics =
		kafka_call_array(f->call, &kafka_fetch_response_topic_layout, in->topics_count);
	uint32_t at = 0;
	int rc = topics ? 0 : ERR_NOMEM;

	for (size_t t = 0; t < in->topics_count && rc == 0; t++) {
		const struct kafka_fetch_request_topic *asked = &in->topics[t];
		struct kafka_fetch_response_partition *list =
			kafka_call_array(f->call, &kafka_fetch_response_partition_layout,
					 asked->partitions_count);
		topics[t].topic = asked->topic;
		topics[t].partitions = list;
		topics[t].partitions_count = asked->partitions_count;
		rc = list ? 0 : ERR_NOMEM;
		for (size_t p = 0; p < asked->partitions_count && rc == 0; p++, at++) {
			list[p].partition_index = asked->partitions[p].partition;
			rc = put_partition(f, at, &list[p]);
		}
	}
	out->responses = topics;
	out->responses_count = in->topics_count;
	return rc;
}

static struct kafka_cuts *new_cuts(struct fetch_call *f)
{
	struct kafka_cuts *cuts = kafka_call_new(f->call, sizeof(*cuts));

	if (!cuts)
		return NULL;
	for (uint32_t i = 0; i < f->count; i++)
		cuts->count_max += f->parts[i].first != NULL;
	cuts->list = kafka_call_new(f->call, (cuts->count_max + 1) * sizeof(*cuts->list));
	return cuts->list ? cuts : NULL;
}

static void answer(struct fetch_call *f)
{
	struct kafka_fetch_response *out = kafka_call_response(f->call);
	struct kafka_cuts *cuts = new_cuts(f);

	loop_timer_stop(f->call->loop, &f->timer);
	app_guest_remove(&f->guest);
	f->call->parked = NULL;
	if (!cuts || put_topics(f, out)) {
		fetch_drop(&f->fetch);
		kafka_call_fail(f->call, "no memory for an answer");
		return;
	}
	kafka_call_answer_cuts(f->call, out, cuts);
}

static void on_done(void *ctx, struct fetch *fetch)
{
	(void)fetch;
	answer(ctx);
}

static void on_time(void *ctx)
{
	struct fetch_call *f = ctx;

	if (fetch_expire(&f->fetch) == FETCH_DONE)
		answer(f);
}

static void leave(void *ctx)
{
	struct fetch_call *f = ctx;

	fetch_cut(&f->fetch);
	answer(f);
}

/* ---- the question ---- */

/*
 * KIP-595: a client that knows the epoch of what it fetched last is told where
 * its log parts from this one. Here that is the end, and any other epoch is of another log.
 */
static int16_t check_history(const struct kafka_fetch_request_partition *asked)
{
	return asked->last_fetched_epoch > KAFKA_LEADER_EPOCH ? KAFKA_OFFSET_OUT_OF_RANGE : 0;
}

static void ask_part(struct fetch_call *f, uint32_t i, struct topic *topic,
		     const struct kafka_fetch_request_partition *asked)
{
	struct fetch_part *part = &f->parts[i];
	struct partition *partition;
	int16_t code = kafka_leader_find(topic, asked->partition, asked->current_leader_epoch, &partition);

	if (code == 0)
		code = check_history(asked);
	f->codes[i] = code;
	if (code) {
		part->error = ERR_NOT_FOUND;
		return;
	}
	part->partition = partition;
	part->offset = asked->fetch_offset;
	part->bytes_max = asked->partition_max_bytes > 0 ? (uint32_t)asked->partition_max_bytes : 0;
}

static struct fetch_call *new_call(struct kafka_call *call)
{
	const struct kafka_fetch_request *in = call->request;
	struct fetch_call *f = kafka_call_new(call, sizeof(*f));
	size_t count = 0, at = 0;

	for (size_t t = 0; t < in->topics_count; t++)
		count += in->topics[t].partitions_count;
	if (!f || count > UINT32_MAX)
		return NULL;
	f->call = call;
	f->count = (uint32_t)count;
	f->parts = kafka_call_new(call, (count + 1) * sizeof(*f->parts));
	f->codes = kafka_call_new(call, (count + 1) * sizeof(*f->codes));
	if (!f->parts || !f->codes)
		return NULL;
	for (size_t t = 0; t < in->topics_count; t++) {
		struct topic *topic = topics_find(call->app->topics, in->topics[t].topic);
		for (size_t p = 0; p < in->topics[t].partitions_count; p++)
			ask_part(f, (uint32_t)at++, topic, &in->topics[t].partitions[p]);
	}
	return f;
}

static size_t not_negative(int32_t n)
{
	return n > 0 ? (size_t)n : 0;
}

static void start(struct fetch_call *f)
{
	const struct kafka_fetch_request *in = f->call->request;
	struct app_loop *al = app_loop(f->call->app, f->call->loop);
	int64_t wait_ms = in->max_wait_ms < WAIT_MS_MAX ? in->max_wait_ms : WAIT_MS_MAX;
	size_t bytes_max = not_negative(in->max_bytes);
	struct fetch_options o = {
		.hub = al->hub,
		.parts = f->parts,
		.part_count = f->count,
		.committed = in->isolation_level == 1,
		.files = true,
		.wait = wait_ms > 0 && !al->draining,
		.bytes_min = not_negative(in->min_bytes),
		.bytes_max = bytes_max < BYTES_MAX ? bytes_max : BYTES_MAX,
		.arena = &f->call->arena,
		.on_done = on_done,
		.ctx = f,
	};

	loop_timer_init(&f->timer, on_time, f);
	if (fetch_start(&f->fetch, &o) == FETCH_DONE) {
		answer(f);
		return;
	}
	f->guest = (struct app_guest){.leave = leave, .ctx = f};
	app_guest_add(al, &f->guest);
	f->call->parked = &f->guest;
	if (o.wait)
		loop_timer_set(f->call->loop, &f->timer, wait_ms * 1000000);
}

/* Only what goes on with a session needs one; everything else is a full fetch. None is ever found, number 0 neither. */
static int16_t check_session(const struct kafka_fetch_request *in)
{
	return in->session_epoch <= 0 ? 0 : KAFKA_FETCH_SESSION_ID_NOT_FOUND;
}

static void run_fetch(struct kafka_call *call)
{
	struct kafka_fetch_response *out = kafka_call_response(call);
	struct fetch_call *f;

	out->error_code = check_session(call->request);
	if (out->error_code) {
		kafka_call_answer(call, out);
		return;
	}
	f = new_call(call);
	if (f)
		start(f);
	else
		kafka_call_fail(call, "no memory for an answer");
}

const struct kafka_handler kafka_handle_fetch = {.run = run_fetch};
