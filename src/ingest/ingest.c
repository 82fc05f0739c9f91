/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request's way through the door:
 *
 *	start ──parse──► queued ──flush──► entered ──synced──► done ──► released
 *	   │               ▲   │  └─► decided at once (refused, all duplicates) ─► done
 *	   └► refused      │   ├─► waits for a key in flight (log_waiter) ──┐
 *	                   │   └─► a run of keys is read on another thread ─┤
 *	                   └────────────────────────────────────────────────┘
 *
 * All decisions about state (topic, keys, partitions) fall in flush, under the
 * entry lock; parsing, fingerprints of payloads and answers stay outside it.
 *
 * A request that meets a key in flight gives back every key it has claimed
 * before it waits, and asks for all of them again when it is woken: nobody
 * waits while holding, so two batches that share keys in another order cannot
 * hold each other up for ever. Rejected: keeping the claims and waiting in
 * order of keys, which needs all fingerprints sorted and still meets the keys
 * of requests that came before the sort.
 */
#include "ingest/ingest.h"

#include "base/check.h"
#include "base/mem.h"
#include "ingest/ingest_claim.h"
#include "ingest/ingest_commit.h"
#include "ingest/ingest_dead.h"
#include "ingest/ingest_lane.h"

/* ---- the whole ---- */

static size_t or_default(size_t value, size_t fallback)
{
	return value ? value : fallback;
}

void ingest_set_limits(struct ingest *in, const struct ingest_limits *limits)
{
	atomic_store(&in->record_bytes_max, or_default(limits->record_bytes_max, 1u << 20));
	atomic_store(&in->body_bytes_max, or_default(limits->body_bytes_max, 16u << 20));
	atomic_store(&in->header_bytes_max, or_default(limits->header_bytes_max, 32u << 10));
	atomic_store(&in->records_max, (uint32_t)or_default(limits->records_max, 100000));
	atomic_store(&in->inflate_ratio_max, (uint32_t)or_default(limits->inflate_ratio_max, 256));
}

void ingest_get_limits(const struct ingest *in, struct ingest_limits *out)
{
	out->record_bytes_max = atomic_load(&in->record_bytes_max);
	out->body_bytes_max = atomic_load(&in->body_bytes_max);
	out->header_bytes_max = atomic_load(&in->header_bytes_max);
	out->records_max = atomic_load(&in->records_max);
	out->inflate_ratio_max = atomic_load(&in->inflate_ratio_max);
}

/*
 * Text that is read out (names, keys, decoded strings) takes up to a few times
 * its bytes, a record what its draft, item, key and copies of a growing array take.
 */
size_t ingest_arena_bytes(const struct ingest *in)
{
	return ((size_t)16 << 20) + 4 * atomic_load(&in->body_bytes_max) +
	       2048 * (size_t)atomic_load(&in->records_max);
}

int ingest_new(const struct ingest_options *options, struct ingest **out)
{
	struct ingest *in = mem_zalloc(1, sizeof(*in));

	if (!in)
		return ERR_NOMEM;
	in->log = options->log;
	in->seen = log_seen(options->log);
	in->topics = options->topics;
	in->sys = options->sys;
	ingest_set_limits(in, &options->limits);
	*out = in;
	return 0;
}

void ingest_free(struct ingest *in)
{
	if (!in)
		return;
	CHECK(atomic_load(&in->queue_count) == 0);
	mem_free(in);
}

/* ---- queues ---- */

int ingest_queue_new(const struct ingest_queue_options *options, struct ingest_queue **out)
{
	struct ingest_queue *q = mem_zalloc(1, sizeof(*q));
	struct ingest *in = options->ingest;

	if (!q)
		return ERR_NOMEM;
	if (inflater_new(&q->inflater) || codec_new(&q->codec) || table_init(&q->lanes)) {
		codec_free(q->codec);
		inflater_free(q->inflater);
		mem_free(q);
		return ERR_NOMEM;
	}
	q->ingest = in;
	q->port = options->port;
	q->run_blocking = options->run_blocking;
	q->want_flush = options->want_flush;
	q->want_flush_later = options->want_flush_later;
	q->now_ns = options->now_ns;
	q->ctx = options->ctx;
	q->shard = options->shard;
	q->share = options->share;
	fifo_init(&q->queued);
	fifo_init(&q->decided);
	fifo_init(&q->to_read);
	fifo_init(&q->batches);
	fifo_init(&q->batches_decided);
	fifo_init(&q->rows);
	fifo_init(&q->rows_decided);
	fifo_init(&q->rows_to_read);
	buf_init(&q->plain, 0);
	atomic_fetch_add(&in->queue_count, 1);
	*out = q;
	return 0;
}

void ingest_queue_free(struct ingest_queue *q)
{
	if (!q)
		return;
	CHECK(q->in_flight == 0);
	atomic_fetch_sub(&q->ingest->queue_count, 1);
	inflater_free(q->inflater);
	codec_free(q->codec);
	table_fini(&q->lanes);
	if (q->share)
		budget_sub(q->share, q->plain_charged);
	buf_fini(&q->plain);
	mem_free(q);
}

uint32_t ingest_in_flight(const struct ingest_queue *q)
{
	return q->in_flight;
}

/* Somebody must flush: the caller's turn end, or nobody where tests flush by hand. */
static void queue_again(struct ingest_queue *q, struct ingest_request *r)
{
	fifo_put(&q->queued, &r->node);
	if (q->want_flush)
		q->want_flush(q->ctx);
}

/* ---- requests ---- */

void ingest_request_init(struct ingest_request *r, struct arena *arena, ingest_fn *on_done, void *ctx)
{
	memset(r, 0, sizeof(*r));
	r->partition = -1;
	r->timestamp_ms = -1;
	r->arena = arena;
	r->on_done = on_done;
	r->ctx = ctx;
}

static int set_choice(struct slice value, const char *zero, const char *one, int *out, const char *name,
		      struct fault *fault)
{
	if (!slice_eq_str(value, zero) && !slice_eq_str(value, one))
		return fault_set(fault, ERR_BAD_PARAMETER, "%s is %s or %s", name, zero, one);
	*out = slice_eq_str(value, one);
	return 0;
}

static int set_on_error(struct ingest_request *r, struct slice value, struct fault *fault)
{
	static const char *const words[] = {
		[INGEST_REJECT] = "reject", [INGEST_SKIP] = "skip", [INGEST_DEAD] = "dead"};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (slice_eq_str(value, words[i])) {
			r->on_error = (enum ingest_on_error)i;
			return 0;
		}
	}
	return fault_set(fault, ERR_BAD_PARAMETER, "on_error is reject, skip or dead");
}

int ingest_option(struct ingest_request *r, struct slice name, struct slice value, struct fault *fault)
{
	uint64_t partition;
	int choice = 0;
	int rc;

	if (slice_eq_str(name, "key")) {
		r->key = slice_make(value.ptr ? value.ptr : (const uint8_t *)"", value.len);
		return 0;
	}
	if (slice_eq_str(name, "partition")) {
		if (!slice_to_u64(value, &partition) || partition > INT32_MAX)
			return fault_set(fault, ERR_BAD_PARAMETER, "partition is a whole number from 0 on");
		r->partition = (int64_t)partition;
		return 0;
	}
	if (slice_eq_str(name, "ack")) {
		rc = set_choice(value, "durable", "none", &choice, "ack", fault);
		r->ack = choice ? INGEST_ACK_NONE : INGEST_ACK_DURABLE;
		return rc;
	}
	if (slice_eq_str(name, "on_error")) {
		return set_on_error(r, value, fault);
	}
	if (slice_eq_str(name, "results")) {
		rc = set_choice(value, "ranges", "records", &choice, "results", fault);
		r->results = choice ? INGEST_RECORDS : INGEST_RANGES;
		return rc;
	}
	return fault_set(fault, ERR_UNKNOWN_PARAMETER,
			 "Known parameters are key, partition, ack, on_error and results");
}

/* ---- counting, on the loop ---- */

static void count(struct ingest_queue *q, enum metric metric, unsigned label, uint64_t n)
{
	if (q->shard && n)
		metric_add(q->shard, metric, label, n);
}

static void count_in_flight(struct ingest_queue *q, enum metric_ENTRY entry, int by)
{
	q->in_flight += (uint32_t)by;
	if (q->shard)
		metric_move(q->shard, METRIC_INGEST_IN_FLIGHT, entry, by);
}

static void count_waiting(struct ingest_queue *q, int by)
{
	if (q->shard)
		metric_move(q->shard, METRIC_INGEST_WAITING, 0, by);
}

static void count_refusal(struct ingest_queue *q, const struct ingest_request *r)
{
	count(q, METRIC_REFUSALS, metric_code(r->result.err), 1);
}

/* What is stored: the same bytes whatever they came in. */
static uint64_t stored_bytes(const struct ingest_request *r)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < r->new_count; i++) {
		const struct log_record *record = &r->commit.records[i];
		sum += record->key.len + record->value.len + record->headers.len;
	}
	return sum;
}

static void count_result(struct ingest_queue *q, const struct ingest_request *r)
{
	const struct ingest_result *result = &r->result;

	if (!q->shard)
		return;
	if (result->err) {
		count_refusal(q, r);
		return;
	}
	count(q, METRIC_INGEST_REQUESTS, r->entry, 1);
	count(q, METRIC_INGEST_RECORDS, r->entry, result->accepted);
	count(q, METRIC_INGEST_BYTES, r->entry, stored_bytes(r));
	count(q, METRIC_INGEST_DUPLICATES, r->entry, result->duplicates);
	count(q, METRIC_INGEST_REJECTED, r->entry, result->rejected);
	for (uint32_t i = 0; i < result->error_count; i++) {
		unsigned code = metric_code(result->errors[i].err);
		count(q, METRIC_REFUSALS, code, 1);
		count(q, METRIC_DEAD_LETTERS, code, result->dead_count > 0);
	}
	metric_observe(q->shard, METRIC_INGEST_BODY_BYTES, 0, r->body.len);
	if (q->now_ns)
		metric_observe(q->shard, METRIC_INGEST_SECONDS, r->entry,
			       (uint64_t)(q->now_ns(q->ctx) - r->came_ns));
}

/* ---- the topic ---- */

static void set_topic(struct ingest_request *r, struct topic *topic)
{
	r->topic_found = topic;
	r->result.topic = topic->name;
	r->partition_limit = atomic_load_explicit(&topic->partition_count, memory_order_acquire);
}

/* At start: what can be known of the topic without the entry lock. */
static int look_up_topic(struct ingest_queue *q, struct ingest_request *r)
{
	struct topic *topic = topics_find(q->ingest->topics, r->topic);
	struct topic_config defaults;
	struct fault fault;
	bool auto_create;

	if (topic_name_is_reserved(r->topic))
		return ingest_refuse(r, ERR_FORBIDDEN, "Topics of this name are kept for weir itself");
	if (topic) {
		set_topic(r, topic);
	} else {
		if (topic_name_check(r->topic, &fault))
			return ingest_refuse(r, fault.err, "%s", fault.text);
		topics_defaults(q->ingest->topics, &defaults, &auto_create);
		if (!auto_create)
			return ingest_refuse(r, ERR_UNKNOWN_TOPIC,
					     "The topic does not exist and topics are not created on use");
		r->partition_limit = defaults.partitions;
		r->topic_name = arena_copy(r->arena, r->topic);
		if (!r->topic_name.ptr)
			return ingest_refuse_plainly(r, ERR_NOMEM);
	}
	return r->partition >= r->partition_limit ? commit_refuse_partition(r) : 0;
}

static int create_topic(struct ingest_queue *q, struct ingest_request *r, struct slice name)
{
	struct topics *topics = q->ingest->topics;
	struct topic *topic = topics_find(topics, name);
	struct topic_config defaults;
	struct fault fault = {.err = 0};
	bool auto_create;
	int rc = 0;

	if (!topic) {
		topics_defaults(topics, &defaults, &auto_create);
		if (!auto_create)
			return ingest_refuse(r, ERR_UNKNOWN_TOPIC,
					     "The topic does not exist and topics are not created on use");
		rc = topics_create(topics, name, &defaults, false, NULL, &topic, &fault);
	}
	if (rc && rc != ERR_TOPIC_EXISTS)
		return fault.err ? ingest_refuse(r, rc, "%s", fault.text) : ingest_refuse_plainly(r, rc);
	set_topic(r, topic);
	return 0;
}

/* ---- entering ---- */

static bool has_keys(const struct ingest_request *r)
{
	return r->unit_key.ptr || r->own_key_count;
}

static log_done_fn on_committed;

static int take_rider(struct ingest_request *r)
{
	struct fault fault = {0};
	int rc = r->rider->board(r->rider, &r->commit.records[r->commit.record_count], &fault);

	if (rc)
		return fault.text[0] ? ingest_refuse(r, rc, "%s", fault.text) : ingest_refuse_plainly(r, rc);
	r->commit.record_count++;
	return 0;
}

/* Keys are held: into the log with it. 0 with r->entered, 0 without where nothing is new, or a refusal. */
static int enter_claimed(struct ingest_queue *q, struct ingest_request *r)
{
	bool unit_done = r->unit_key.ptr && r->draft_count && r->unit_verdict == SEEN_DUPLICATE;
	int rc = has_keys(r) || r->body_error_count || r->needs_key ? claim_judge(r) : 0;

	r->commit.record_count = r->new_count = 0;
	if (rc == 0 && !unit_done)
		rc = commit_fill(r);
	if (rc == 0)
		rc = commit_reserve_result(r);
	if (rc == 0 && !unit_done)
		rc = dead_fill(q, r);
	if (rc == 0 && r->rider)
		rc = take_rider(r);
	if (rc || r->commit.record_count == 0)
		return rc;
	r->commit.keys = r->keys;
	r->commit.key_count = r->key_count;
	r->commit.ack = r->ack == INGEST_ACK_NONE || r->topic_found->config.durability == TOPIC_OS ?
				LOG_ACK_WRITTEN :
				LOG_ACK_DURABLE;
	r->commit.port = q->port;
	r->commit.on_done = on_committed;
	rc = log_enter(q->ingest->log, &r->commit);
	if (r->rider)
		r->rider->landed(r->rider, rc == 0);
	if (rc == ERR_LIMIT)
		return ingest_refuse(r, ERR_BODY_TOO_LARGE,
				     "The records of the request take more than %u bytes as they are stored: "
				     "send them in several requests",
				     LOG_COMMIT_BYTES_MAX);
	if (rc)
		return ingest_refuse_plainly(r, rc);
	r->entered = true;
	return 0;
}

static log_waiter_fn on_waiter;

/* Topic and keys under the lock. Gives claim_all's verdict, or a refusal that stands in the result. */
static int claim_under_lock(struct ingest_queue *q, struct ingest_request *r)
{
	int64_t now_ms = sys_wall_ms(q->ingest->sys);
	int verdict;

	r->unit_seen.expires_ms = now_ms + r->topic_found->config.idempotency_ttl_ms;
	for (uint32_t i = 0; r->own_key_count && i < r->draft_count; i++)
		r->items[i].seen.expires_ms = r->unit_seen.expires_ms;
	log_waiter_init(&r->waiter, q->port, on_waiter, r);
	verdict = claim_all(q, r, log_now_ms(q->ingest->log), seen_claim, &r->waiter.waiter, &q->woken);
	return verdict < 0 ? ingest_refuse_plainly(r, verdict) : verdict;
}

/* One request under the entry lock: entered or decided; or true: it waits for keys, or they are to be read. */
static bool enter_one(struct ingest_queue *q, struct ingest_request *r)
{
	int rc = r->claim_result < 0 ? ingest_refuse_plainly(r, r->claim_result) : 0;

	if (rc == 0 && (!r->topic_found || atomic_load(&r->topic_found->deleted))) {
		struct slice name = r->topic_found ? slice_str(r->topic_found->name) : r->topic_name;
		claim_release(q, r, &q->woken);
		rc = create_topic(q, r, name);
	}
	if (rc == 0 && !r->claims_held)
		r->needs_key = topic_is_compacted(&r->topic_found->config);
	if (rc == 0 && has_keys(r)) {
		rc = claim_prepare(q, r);
		if (rc == 0 && !r->claims_held)
			rc = claim_under_lock(q, r);
		if (rc == SEEN_NEW && claim_answer_was_cut(r))
			rc = claim_under_lock(q, r);
		if (rc == SEEN_IN_FLIGHT) {
			count_waiting(q, 1);
			return true;
		}
		if (rc == SEEN_READ) {
			fifo_put(&q->to_read, &r->node);
			return true;
		}
	}
	if (rc == 0)
		rc = enter_claimed(q, r);
	if (rc)
		claim_release(q, r, &q->woken);
	if (!r->entered || r->ack == INGEST_ACK_NONE)
		fifo_put(&q->decided, &r->node);
	return false;
}

static void enter_all(struct ingest_queue *q, struct fifo *batch)
{
	struct ingest_request *r;

	while ((r = fifo_take(batch)) != NULL) {
		if (lane_wait(q, r))
			continue;
		if (enter_one(q, r))
			lane_hold(q, r);
		else
			lane_leave(q, r, batch);
	}
}

/* ---- after the lock ---- */

/* The request may be gone already where on_released is NULL. */
static void release(struct ingest_queue *q, struct ingest_request *r, enum metric_ENTRY entry,
		    ingest_fn *on_released)
{
	count_in_flight(q, entry, -1);
	if (on_released)
		on_released(r);
}

/* The answer is known. The request may be gone after on_done, where it is released by that. */
static void finish(struct ingest_queue *q, struct ingest_request *r)
{
	bool held = r->entered && r->ack == INGEST_ACK_NONE;
	ingest_fn *on_released = r->on_released;
	enum metric_ENTRY entry = r->entry;

	if (!r->result.err)
		ingest_fill_result(r);
	count_result(q, r);
	r->on_done(r);
	if (!held)
		release(q, r, entry, on_released);
}

static void on_committed(struct log_commit *commit)
{
	struct ingest_request *r = (struct ingest_request *)(void *)((uint8_t *)commit -
								     offsetof(struct ingest_request, commit));

	if (r->ack == INGEST_ACK_NONE)
		release(r->queue, r, r->entry, r->on_released);
	else
		finish(r->queue, r);
}

static void on_waiter(void *ctx, struct seen_waiter *waiter)
{
	struct ingest_request *r = ctx;

	(void)waiter;
	count_waiting(r->queue, -1);
	queue_again(r->queue, r);
}

/*
 * On a thread that may wait. No waiter is linked: it could be woken before
 * this job is done. Only the keys and items of the request are touched, never its arena.
 */
static void read_keys(void *arg)
{
	struct ingest_request *r = arg;
	struct ingest_queue *q = r->queue;
	struct seen_waiter *woken = NULL;

	r->claim_result = claim_all(q, r, log_now_ms(q->ingest->log), seen_read, NULL, &woken);
	log_wake_waiters(woken);
}

/* Back on the loop: with the keys, to ask again for one in flight, or to be refused. */
static void on_keys_read(void *arg)
{
	struct ingest_request *r = arg;

	queue_again(r->queue, r);
}

static void start_reads(struct ingest_queue *q)
{
	struct ingest_request *r;

	while ((r = fifo_take(&q->to_read)) != NULL) {
		int rc = queue_run_blocking(q, read_keys, on_keys_read, r);
		if (rc) {
			r->claim_result = rc;
			queue_again(q, r);
		}
	}
}

void ingest_flush(struct ingest_queue *q)
{
	struct fifo batch;
	struct ingest_request *r;
	struct seen_waiter *woken;

	if (!q->queued.first && !q->batches.first && !q->rows.first)
		return;
	fifo_move(&batch, &q->queued);
	log_enter_begin(q->ingest->log);
	enter_all(q, &batch);
	batches_enter(q);
	rows_enter(q);
	log_enter_end(q->ingest->log);
	woken = q->woken;
	q->woken = NULL;
	log_wake_waiters(woken);
	start_reads(q);
	/* Callbacks may start and flush again: each pass takes from the front. */
	while ((r = fifo_take(&q->decided)) != NULL)
		finish(q, r);
	batches_finish(q);
	rows_finish(q);
}

/* ---- starting ---- */

#define EARLY_CHECK_BYTES 65536u

/* A large body is not parsed for nothing; a small one is told by log_enter. */
static int check_open(struct ingest_queue *q, struct ingest_request *r)
{
	int err = 0;

	if (r->body.len < EARLY_CHECK_BYTES || log_accepts(q->ingest->log, &err))
		return 0;
	return ingest_refuse_plainly(r, err);
}

int ingest_start(struct ingest_queue *q, struct ingest_request *r)
{
	int rc;

	r->queue = q;
	if (q->now_ns)
		r->came_ns = q->now_ns(q->ctx);
	rc = look_up_topic(q, r);
	if (rc == 0)
		rc = check_open(q, r);
	if (rc == 0)
		rc = ingest_parse(q, r);
	if (rc == 0)
		rc = commit_reserve(r);
	if (rc == 0 && r->topic_found && has_keys(r))
		rc = claim_prepare(q, r);
	if (rc) {
		r->result.rejected = r->result.error_count;
		count_refusal(q, r);
		return rc;
	}
	count_in_flight(q, r->entry, 1);
	fifo_put(&q->queued, &r->node);
	return 0;
}
