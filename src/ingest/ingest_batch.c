/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Record batches on their way through the door:
 *
 *	start ──checked──► READY ──flush──► ENTERED ──synced──► decided
 *	  └► decided         │ ▲  └─► decided at once (refused, a repeat)
 *	     (refused)       ▼ │
 *	                   WAITING for the first of the same batch, in flight
 *
 * Checks cost the most and need nothing of the log: they run at the start, outside
 * the lock. Under it a batch costs a look at its topic, a question to the partition's producers and
 * its place in the commit.
 *
 * A request becomes one commit, as a rule. It becomes several where one would be too
 * large, where topics are acknowledged differently, and where a producer sends two
 * batches for one partition: the second can be asked for only when the first has entered.
 *
 * When the log has no room, or lags, a request waits at the head of its queue, and those behind it too:
 * a producer's batches keep their order, and the client is slowed down by answers
 * that come late, which every client understands. An error would make some of them
 * give up after a few tries (sarama 3, kafkajs 5). The wait has an end, and what waits is
 * bounded by what the connections may hold. HTTP is told 503 meanwhile: there a retry is the caller's to choose.
 */
#include "ingest/ingest_batch.h"

#include "base/check.h"
#include "ingest/batch_check.h"
#include "ingest/ingest_inner.h"
#include "log/producers.h"

#define COMMIT_BYTES ((size_t)8 << 20) /* a commit is closed when it has so many */
#define COMMIT_PRODUCERS 64u           /* or so many batches of producers: each is compared with them */
#define SCRATCH_KEPT ((size_t)4 << 20)
#define INFLATED_MAX ((size_t)64 << 20) /* of one request; what is beyond is asked for again by the client */

enum batch_state {
	BATCH_DECIDED, /* its result stands */
	BATCH_READY,   /* is to be entered */
	BATCH_WAITING, /* for the same batch, which is in flight */
	BATCH_ENTERED, /* a commit has it */
};

struct ingest_batch_wait {
	struct log_waiter waiter;
	struct ingest_batches *request;
	struct ingest_batch *item;
};

struct batch_commit {
	struct log_commit commit;
	struct ingest_batches *request;
	size_t bytes;
	uint32_t first;     /* of the request's records */
	uint32_t producers; /* batches in it that have a producer id */
};

/* ---- limits ---- */

/* A record inflates to no more than a batch may have, and a batch to no more than every reader takes. */
static struct batch_rules make_rules(const struct ingest *in, const struct topic_config *config)
{
	size_t batch = config->max_message_bytes;
	size_t plain = atomic_load(&in->body_bytes_max);

	if (plain < 2 * batch)
		plain = 2 * batch;
	if (plain > BATCH_PLAIN_BYTES_MAX)
		plain = BATCH_PLAIN_BYTES_MAX;
	return (struct batch_rules){.bytes_max = batch, .plain_bytes_max = plain, .record_bytes_max = batch};
}

void ingest_set_transactions(struct ingest *in, ingest_may_write_fn *fn, const void *ctx)
{
	in->may_write = fn;
	in->may_write_ctx = ctx;
}

/* ---- results ---- */

static void decide(struct ingest_batches *r, struct ingest_batch *item)
{
	item->state = BATCH_DECIDED;
	r->undecided--;
}

static int refuse(struct ingest_batch *item, int err, const char *detail)
{
	item->err = err;
	item->detail = detail ? detail : err_row(err)->sentence;
	return err;
}

static void refuse_entry(struct ingest_batches *r, struct ingest_batch *item, int err, const char *detail)
{
	(void)refuse(item, err, detail);
	decide(r, item);
}

static const char *keep_text(struct ingest_batches *r, const char *text)
{
	return (const char *)arena_copy(r->arena, slice_make(text, strlen(text) + 1)).ptr;
}

/* ---- checking, without the lock ---- */

/* What one request has used of a bound, and what its items have in common: the topic that was found last. */
struct checking {
	size_t inflated;
	struct slice name;
	struct topic *topic;
	struct batch_rules rules;
	bool compacted;
};

static void look_up(struct ingest_queue *q, struct checking *c, struct slice name)
{
	struct topic_config config;

	c->name = name;
	c->topic = topics_find(q->ingest->topics, name);
	if (!c->topic)
		return;
	topic_config(q->ingest->topics, c->topic, &config);
	c->rules = make_rules(q->ingest, &config);
	c->compacted = topic_is_compacted(&config);
}

static int find_topic(struct ingest_queue *q, struct checking *c, struct ingest_batch *item)
{
	if (!c->topic || c->name.ptr != item->topic.ptr || c->name.len != item->topic.len)
		look_up(q, c, item->topic);
	item->found = c->topic;
	if (!item->found)
		return refuse(item, ERR_UNKNOWN_TOPIC, NULL);
	if (item->found->internal)
		return refuse(item, ERR_BAD_TOPIC, "the topic is weir's own");
	if (item->partition < 0 || !topic_partition(item->found, (uint32_t)item->partition))
		return refuse(item, ERR_UNKNOWN_PARTITION, NULL);
	return 0;
}

static int refuse_keyless(struct ingest_batches *r, struct ingest_batch *item, const struct batch_verdict *v)
{
	uint32_t count = v->keyless < BATCH_KEYLESS_MAX ? v->keyless : BATCH_KEYLESS_MAX;

	item->errors = arena_zalloc(r->arena, count, sizeof(*item->errors));
	for (uint32_t i = 0; item->errors && i < count; i++) {
		item->errors[i].index = v->keyless_first[i];
		item->errors[i].what = "the topic is compacted: a record needs a key";
		item->error_count++;
	}
	return refuse(item, ERR_KEY_REQUIRED, NULL);
}

/* A buffer that served one large batch is not kept for small ones. */
static void settle_scratch(struct ingest_queue *q)
{
	if (q->plain.cap > SCRATCH_KEPT)
		buf_fini(&q->plain);
	if (!q->share || q->plain.cap == q->plain_charged)
		return;
	budget_sub(q->share, q->plain_charged);
	budget_add(q->share, q->plain.cap);
	q->plain_charged = q->plain.cap;
}

static bool is_compressed(struct slice batch)
{
	struct batch_head head;

	return batch_head_read(batch, &head) == 0 && batch_codec(&head) != BATCH_PLAIN;
}

static int verify(struct ingest_queue *q, struct ingest_batches *r, struct checking *c,
		  struct ingest_batch *item, struct batch_verdict *v)
{
	bool compressed = is_compressed(item->bytes);
	int rc;

	if (compressed && (c->inflated >= INFLATED_MAX || (q->share && budget_is_full(q->share))))
		return refuse(item, ERR_OVERLOADED, "the request inflates to more than is taken at once");
	rc = batch_verify(q->codec, item->bytes, &c->rules, &q->plain, v);
	if (compressed)
		c->inflated += q->plain.len;
	return rc ? refuse(item, rc, keep_text(r, v->detail)) : 0;
}

static int check_item(struct ingest_queue *q, struct ingest_batches *r, struct checking *c,
		      struct ingest_batch *item)
{
	struct batch_verdict v;
	int rc = find_topic(q, c, item);

	if (rc == 0)
		rc = verify(q, r, c, item, &v);
	if (rc)
		return rc;
	if (v.keyless && c->compacted)
		return refuse_keyless(r, item, &v);
	if (v.max_timestamp != v.head.max_timestamp)
		batch_put_max_timestamp((uint8_t *)(uintptr_t)item->bytes.ptr, &v.head, v.max_timestamp);
	item->producer_id = v.head.producer_id;
	item->count = v.head.count;
	item->payload_bytes = v.payload_bytes;
	item->keyless = v.keyless;
	item->state = BATCH_READY;
	return 0;
}

static void check_all(struct ingest_queue *q, struct ingest_batches *r)
{
	struct checking c = {.inflated = 0};

	for (uint32_t i = 0; i < r->count; i++) {
		struct ingest_batch *item = &r->items[i];
		if (item->err == 0 && check_item(q, r, &c, item) == 0)
			r->ready++;
	}
	settle_scratch(q);
}

/* ---- counting, on the loop ---- */

static void count(struct ingest_queue *q, enum metric metric, unsigned label, uint64_t n)
{
	if (q->shard && n)
		metric_add(q->shard, metric, label, n);
}

static void count_in_flight(struct ingest_queue *q, int by)
{
	q->in_flight += (uint32_t)by;
	if (q->shard)
		metric_move(q->shard, METRIC_INGEST_IN_FLIGHT, ENTRY_KAFKA, by);
}

static void count_waiting(struct ingest_queue *q, int by)
{
	if (q->shard)
		metric_move(q->shard, METRIC_INGEST_WAITING, 0, by);
}

static void count_results(struct ingest_queue *q, const struct ingest_batches *r)
{
	uint64_t taken = 0, body = 0;

	for (uint32_t i = 0; i < r->count; i++) {
		const struct ingest_batch *item = &r->items[i];
		if (item->err) {
			count(q, METRIC_REFUSALS, metric_code(item->err), 1);
			continue;
		}
		count(q, METRIC_INGEST_RECORDS, ENTRY_KAFKA, item->repeated ? 0 : item->count);
		count(q, METRIC_INGEST_BYTES, ENTRY_KAFKA, item->repeated ? 0 : item->payload_bytes);
		count(q, METRIC_INGEST_DUPLICATES, ENTRY_KAFKA, item->repeated ? item->count : 0);
		body += item->bytes.len;
		taken++;
	}
	if (!taken || !q->shard)
		return;
	count(q, METRIC_INGEST_REQUESTS, ENTRY_KAFKA, 1);
	metric_observe(q->shard, METRIC_INGEST_BODY_BYTES, 0, body);
	if (q->now_ns)
		metric_observe(q->shard, METRIC_INGEST_SECONDS, ENTRY_KAFKA,
			       (uint64_t)(q->now_ns(q->ctx) - r->came_ns));
}

/* ---- the queue ---- */

static void enqueue(struct ingest_queue *q, struct ingest_batches *r)
{
	r->queued = true;
	fifo_put(&q->batches, &r->node);
}

void ingest_batches_init(struct ingest_batches *r, struct ingest_batch *items, uint32_t item_count,
			 struct arena *arena, ingest_batches_fn *on_done, void *ctx)
{
	*r = (struct ingest_batches){
		.items = items, .count = item_count, .arena = arena, .on_done = on_done, .ctx = ctx};
	memset(items, 0, item_count * sizeof(*items));
	for (uint32_t i = 0; i < item_count; i++)
		items[i].base_offset = items[i].timestamp_ms = items[i].log_start = -1;
}

int ingest_batches_start(struct ingest_queue *q, struct ingest_batches *r)
{
	r->queue = q;
	if (q->now_ns)
		r->came_ns = q->now_ns(q->ctx);
	check_all(q, r);
	if (r->ready)
		r->records = arena_alloc(r->arena, r->ready * sizeof(*r->records));
	r->undecided = r->ready;
	for (uint32_t i = 0; r->ready && !r->records && i < r->count; i++)
		if (r->items[i].state == BATCH_READY)
			refuse_entry(r, &r->items[i], ERR_NOMEM, NULL);
	if (r->undecided == 0) {
		count_results(q, r);
		return 1;
	}
	count_in_flight(q, 1);
	enqueue(q, r);
	return 0;
}

/* ---- commits, under the entry lock ---- */

static log_done_fn on_committed;

static struct batch_commit *open_commit(struct ingest_queue *q, struct ingest_batches *r, enum log_ack ack)
{
	struct batch_commit *c = arena_zalloc(r->arena, 1, sizeof(*c));

	if (!c)
		return NULL;
	c->request = r;
	c->first = r->record_count;
	c->commit.records = &r->records[c->first];
	c->commit.ack = ack;
	c->commit.port = q->port;
	c->commit.on_done = on_committed;
	r->open = c;
	return c;
}

static bool may_hold(const struct ingest_queue *q, const struct ingest_batches *r, int err)
{
	return err == ERR_OVERLOADED && q->want_flush_later && q->now_ns &&
	       q->now_ns(q->ctx) < r->deadline_ns;
}

/* 0, also where its batches were refused; 1: there is no room, and they are to be entered later. */
static int close_commit(struct ingest_queue *q, struct ingest_batches *r)
{
	struct batch_commit *c = r->open;
	bool hold;
	int rc;

	if (!c)
		return 0;
	r->open = NULL;
	rc = log_enter(q->ingest->log, &c->commit);
	if (rc == 0)
		return 0;
	hold = may_hold(q, r, rc);
	r->record_count = c->first;
	for (uint32_t i = 0; i < c->commit.record_count; i++) {
		struct ingest_batch *item = &r->items[c->commit.records[i].tag];
		item->state = BATCH_READY;
		if (hold)
			r->ready++;
		else
			refuse_entry(r, item, rc == ERR_LIMIT ? ERR_BATCH_TOO_LARGE : rc, NULL);
	}
	return hold;
}

static bool holds_partition(const struct batch_commit *c, const struct partition *p)
{
	for (uint32_t i = 0; i < c->commit.record_count; i++)
		if (c->commit.records[i].partition == p)
			return true;
	return false;
}

/* Whether the batch must not come into the commit that is being filled. */
static bool wants_new_commit(const struct ingest_batches *r, const struct ingest_batch *item,
			     const struct partition *p, enum log_ack ack)
{
	const struct batch_commit *c = r->open;

	if (!c)
		return false;
	if (c->commit.ack != ack || c->bytes + item->bytes.len > COMMIT_BYTES)
		return true;
	return item->producer_id >= 0 && (c->producers >= COMMIT_PRODUCERS || holds_partition(c, p));
}

static int add_to_commit(struct ingest_queue *q, struct ingest_batches *r, struct ingest_batch *item,
			 struct partition *p, enum log_ack ack)
{
	struct batch_commit *c = r->open ? r->open : open_commit(q, r, ack);

	if (!c)
		return ERR_NOMEM;
	r->records[r->record_count++] = (struct log_record){.partition = p,
							    .timestamp_ms = -1,
							    .value = item->bytes,
							    .batch_records = item->count,
							    .tag = (uint32_t)(item - r->items)};
	c->commit.record_count++;
	c->bytes += item->bytes.len;
	c->producers += item->producer_id >= 0;
	item->state = BATCH_ENTERED;
	return 0;
}

/* ---- producers, under the entry lock ---- */

static log_waiter_fn on_waiter;

/* The same batch is in flight: told when it is decided. */
static void wait_for_first(struct ingest_queue *q, struct ingest_batches *r, struct ingest_batch *item,
			   struct partition *p, const struct batch_head *head)
{
	struct producer_answer answer;
	int verdict;

	if (!item->wait)
		item->wait = arena_zalloc(r->arena, 1, sizeof(*item->wait));
	if (!item->wait) {
		refuse_entry(r, item, ERR_NOMEM, NULL);
		return;
	}
	item->wait->request = r;
	item->wait->item = item;
	log_waiter_init(&item->wait->waiter, q->port, on_waiter, item->wait);
	verdict = producer_check(p, head, &answer, &item->wait->waiter);
	CHECK(verdict == PRODUCER_IN_FLIGHT); /* the lock is held since it said so */
	item->state = BATCH_WAITING;
	count_waiting(q, 1);
}

static int may_write(const struct ingest *in, const struct batch_head *head, const struct producer_answer *a,
		     const struct partition *p)
{
	if (!a->opens)
		return 0;
	if (!in->may_write)
		return ERR_TXN_STATE;
	return in->may_write(in->may_write_ctx, head->producer_id, head->producer_epoch, p);
}

/* True where the batch may enter; else it is decided, or waits. */
static bool ask_producer(struct ingest_queue *q, struct ingest_batches *r, struct ingest_batch *item,
			 struct partition *p)
{
	struct producer_answer answer = {.offset = -1, .timestamp_ms = -1};
	struct batch_head head;
	int rc = batch_head_read(item->bytes, &head);

	CHECK(rc == 0);
	rc = producer_check(p, &head, &answer, NULL);
	if (rc == PRODUCER_NEXT)
		rc = may_write(q->ingest, &head, &answer, p);
	else if (rc == PRODUCER_OUT_OF_ORDER)
		rc = ERR_OUT_OF_ORDER;
	else if (rc == PRODUCER_OLD_EPOCH)
		rc = ERR_PRODUCER_EPOCH;
	else if (rc == PRODUCER_BAD_STATE)
		rc = ERR_TXN_STATE;
	if (rc == PRODUCER_IN_FLIGHT) {
		wait_for_first(q, r, item, p, &head);
		return false;
	}
	if (rc == PRODUCER_REPEATED) {
		item->repeated = true;
		item->base_offset = answer.offset;
		item->timestamp_ms = answer.timestamp_ms;
		decide(r, item);
		return false;
	}
	if (rc)
		refuse_entry(r, item, rc, NULL);
	return rc == 0;
}

/* ---- entering, under the entry lock ---- */

static int find_partition(struct ingest_queue *q, struct ingest_batch *item, struct partition **out)
{
	if (atomic_load(&item->found->deleted)) {
		item->found = topics_find(q->ingest->topics, item->topic);
		if (!item->found)
			return refuse(item, ERR_UNKNOWN_TOPIC, NULL);
	}
	*out = topic_partition(item->found, (uint32_t)item->partition);
	if (!*out)
		return refuse(item, ERR_UNKNOWN_PARTITION, NULL);
	if (item->keyless && topic_is_compacted(&item->found->config))
		return refuse(item, ERR_KEY_REQUIRED, NULL);
	return 0;
}

/* 1: there is no room. */
static int enter_item(struct ingest_queue *q, struct ingest_batches *r, struct ingest_batch *item)
{
	struct partition *p;
	enum log_ack ack;
	int rc = find_partition(q, item, &p);

	if (rc) {
		decide(r, item);
		return 0;
	}
	ack = item->found->config.durability == TOPIC_OS ? LOG_ACK_WRITTEN : LOG_ACK_DURABLE;
	if (wants_new_commit(r, item, p, ack) && close_commit(q, r)) {
		r->ready++; /* this one too */
		return 1;
	}
	if (item->producer_id >= 0 && !ask_producer(q, r, item, p))
		return 0;
	rc = add_to_commit(q, r, item, p, ack);
	if (rc)
		refuse_entry(r, item, rc, NULL);
	return 0;
}

/* 1: it has to wait for room, and keeps what has not entered. */
static int enter_request(struct ingest_queue *q, struct ingest_batches *r)
{
	for (uint32_t i = 0; r->ready && i < r->count; i++) {
		if (r->items[i].state != BATCH_READY)
			continue;
		r->ready--;
		if (enter_item(q, r, &r->items[i]))
			return 1;
	}
	return close_commit(q, r);
}

/*
 * Before the log refuses: what it has not put in segments yet is memory, and a client of Kafka waits
 * without minding.
 */
static bool holds_back(const struct ingest_queue *q)
{
	const struct ingest_batches *first = (const struct ingest_batches *)q->batches.first;

	return first && may_hold(q, first, ERR_OVERLOADED) && log_lags(q->ingest->log);
}

void batches_enter(struct ingest_queue *q)
{
	q->batches_held = holds_back(q);
	if (q->batches_held)
		return;
	while (q->batches.first) {
		struct ingest_batches *r = (struct ingest_batches *)q->batches.first;
		if (enter_request(q, r)) {
			q->batches_held = true;
			return;
		}
		(void)fifo_take(&q->batches);
		r->queued = false;
		if (r->undecided == 0)
			fifo_put(&q->batches_decided, &r->node);
	}
}

/* ---- after the lock ---- */

/* The request may be gone behind on_done. */
static void finish(struct ingest_queue *q, struct ingest_batches *r)
{
	for (uint32_t i = 0; i < r->count; i++) {
		struct ingest_batch *item = &r->items[i];
		struct partition_edges edges;
		if (item->err == 0 &&
		    partition_edges(topic_partition(item->found, (uint32_t)item->partition), &edges) == 0)
			item->log_start = edges.start;
	}
	count_results(q, r);
	count_in_flight(q, -1);
	r->on_done(r);
}

void batches_finish(struct ingest_queue *q)
{
	while (q->batches_decided.first)
		finish(q, fifo_take(&q->batches_decided));
	if (q->batches_held)
		q->want_flush_later(q->ctx);
}

static void on_committed(struct log_commit *commit)
{
	struct batch_commit *c =
		(struct batch_commit *)(void *)((uint8_t *)commit - offsetof(struct batch_commit, commit));
	struct ingest_batches *r = c->request;
	struct ingest_queue *q = r->queue;

	for (uint32_t i = 0; i < commit->record_count; i++) {
		struct ingest_batch *item = &r->items[commit->records[i].tag];
		item->base_offset = commit->records[i].offset;
		item->timestamp_ms = commit->records[i].timestamp_ms;
		decide(r, item);
	}
	if (q->batches_held && q->want_flush)
		q->want_flush(q->ctx);
	if (r->undecided == 0)
		finish(q, r);
}

void ingest_look(struct ingest_queue *q)
{
	if (q->batches_held && q->want_flush)
		q->want_flush(q->ctx);
}

static void on_waiter(void *ctx, struct seen_waiter *waiter)
{
	struct ingest_batch_wait *w = ctx;
	struct ingest_batches *r = w->request;
	struct ingest_queue *q = r->queue;

	(void)waiter;
	count_waiting(q, -1);
	w->item->state = BATCH_READY;
	r->ready++;
	if (!r->queued)
		enqueue(q, r);
	if (q->want_flush)
		q->want_flush(q->ctx);
}
