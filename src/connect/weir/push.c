/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other way round: this weir's own topic is sent to another weir, over connections that this one opens. A part is a
 * partition; a pull reads some of it, sends it, and when the other weir has it on its disk marks how far it
 * has come. It brings no records: its commit is the checkpoint alone.
 *
 *	pull ──► read from the checkpoint on ──► POST …/records, each record with a key of its own ──► 200 ──► mark, MORE
 *
 * Where the answer is lost, or this weir dies before the mark is durable, the same records are sent again, perhaps cut
 * into other requests; their keys are made of this weir's identity, topic, partition and offset, so the other one
 * knows them for as long as it remembers keys (idempotency.ttl of its topic, 7 days). While the link is down this weir goes on
 * collecting: nothing here waits for it but retention. What the other weir cannot take (too large for it) it sets aside as a dead letter.
 *
 * It blocks, since it reads from disk; the requests run on the loop, and the thread waits for them.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/wire.h"
#include "conf/value.h"
#include "connect/weir/parcel.h"
#include "connect/weir/settings.h"
#include "connect/weir/weir.h"
#include "log/producers.h"
#include "net/fetcher.h"
#include "state/topics.h"

#define CHECKPOINT_VERSION 1u
#define CHECKPOINT_BYTES 24u
#define READ_BYTES (1u << 20)
#define PARCEL_BYTES ((size_t)4 << 20) /* past it a parcel is sent; a record may make it larger */
#define PARCEL_BYTES_MAX ((size_t)448 << 20)
#define REFUSAL_BYTES_MAX 8192u

struct pusher {
	const struct weir_push_settings *settings;
	struct source *source;
	struct loop *loop;
	struct log *log;
	struct topics *topics;
	guard_fn *guard;
	char target[2400];
	pthread_mutex_t lock;
	struct parcel *under_way; /* under lock */
};

/* A request that a thread waits for. */
struct parcel {
	struct loop_msg msg;
	struct pusher *pusher;
	struct parcel *next; /* under lock */
	struct source_part *part;
	struct source_call *source_call;
	struct fetcher_call *call; /* of the loop */
	struct slice body;
	struct buf refusal;
	sem_t done;
	int status;
	enum fetcher_class class;
	int64_t retry_after_ms;
	char text[504];
};

static int push_open(const struct source_setup *setup, void **self, struct fault *fault)
{
	const struct weir_push_settings *s = setup->settings;
	struct slice base = slice_str(s->url);
	struct pusher *p;
	int rc = source_refuse_files(setup, s->ca, "ca names a file", fault);

	if (rc)
		return rc;
	if (!setup->topics)
		return fault_set(fault, ERR_NOT_IMPLEMENTED, "this weir does not show its topics to sources");
	p = mem_zalloc(1, sizeof(*p));
	if (!p || pthread_mutex_init(&p->lock, NULL)) {
		mem_free(p);
		return fault_set(fault, ERR_NOMEM, "there is no memory for the source");
	}
	p->settings = s;
	p->source = setup->source;
	p->loop = setup->loop;
	p->log = setup->log;
	p->topics = setup->topics;
	p->guard = setup->guarded ? guard_public : guard_operator;
	while (base.len && base.ptr[base.len - 1] == '/')
		base.len--;
	(void)snprintf(p->target, sizeof(p->target), "%.*s/v1/topics/%s/records?on_error=dead", (int)base.len,
		       (const char *)base.ptr, setup->topic);
	*self = p;
	return 0;
}

static void push_close(void *self)
{
	struct pusher *p = self;

	(void)pthread_mutex_destroy(&p->lock);
	mem_free(p);
}

static enum source_end push_plan(void *self, struct source_plan *plan)
{
	struct pusher *p = self;
	struct topic *topic = topics_find(p->topics, slice_str(p->settings->from));
	uint32_t count = topic ? atomic_load(&topic->partition_count) : 0;

	for (uint32_t i = 0; i < count; i++) {
		char name[16];
		struct source_plan_part part = {.name = slice_make(name, 0)};
		part.name.len = (size_t)snprintf(name, sizeof(name), "%u", i);
		if (source_plan_add(plan, &part))
			return source_fail(&plan->call, SOURCE_TRANSIENT,
					   "there is no memory for the partitions");
	}
	return SOURCE_IDLE;
}

/* ---- the request: on the loop ---- */

static void on_refusal(void *ctx, struct slice piece)
{
	struct parcel *q = ctx;

	if (q->refusal.len + piece.len <= REFUSAL_BYTES_MAX)
		(void)buf_append_slice(&q->refusal, piece);
}

static void on_done(void *ctx, const struct fetcher_result *r)
{
	struct parcel *q = ctx;

	q->call = NULL;
	q->status = r->status;
	q->class = r->class;
	q->retry_after_ms = r->retry_after_ms;
	(void)snprintf(q->text, sizeof(q->text), "%.400s", r->text);
	(void)sem_post(&q->done);
}

static const struct fetcher_handler handler = {.on_body = on_refusal, .on_done = on_done};

static void start(struct loop *loop, struct loop_msg *msg)
{
	struct parcel *q = (struct parcel *)msg;
	const struct pusher *p = q->pusher;
	const struct fetcher_field type = {SLICE_LIT("Content-Type"),
					   SLICE_LIT("application/vnd.weir.batch+json"), false};
	struct fetcher_options options = {.method = "POST",
					  .url = slice_str(p->target),
					  .fields = &type,
					  .field_count = 1,
					  .body = q->body,
					  .bodies = true,
					  .handler = &handler,
					  .ctx = q,
					  .guard = p->guard,
					  .auth = p->settings->token ? FETCHER_AUTH_BEARER :
								       FETCHER_AUTH_NONE,
					  .secret = slice_str(p->settings->token ? p->settings->token : ""),
					  .tls = {.ca_file = p->settings->ca}};
	struct fault fault = {0};
	int rc = source_cancelled(q->source_call) ? ERR_CANCELLED :
						    fetcher_start(loop, &options, &q->call, &fault);

	if (rc == 0)
		return;
	q->class = rc == ERR_BAD_PARAMETER ? FETCHER_FINAL : FETCHER_TRANSIENT;
	(void)snprintf(q->text, sizeof(q->text), "%.400s",
		       fault.text[0] ? fault.text : err_row(rc)->sentence);
	(void)sem_post(&q->done);
}

/* On the loop, beside the thread that waits. What was sent is sent again; its keys tell. */
static void push_cancel(void *self, struct source_part *part)
{
	struct pusher *p = self;

	(void)pthread_mutex_lock(&p->lock);
	for (struct parcel *q = p->under_way; q; q = q->next) {
		if (q->part != part || !q->call)
			continue;
		fetcher_cancel(q->call);
		q->call = NULL;
		q->class = FETCHER_TRANSIENT;
		(void)snprintf(q->text, sizeof(q->text), "it was given up");
		(void)sem_post(&q->done);
	}
	(void)pthread_mutex_unlock(&p->lock);
}

/* Sends and waits. The parcel stays in the list until the answer: cancel finds it there. */
static void send(struct pusher *p, struct parcel *q)
{
	struct parcel **at;

	(void)sem_init(&q->done, 0, 0);
	buf_init(&q->refusal, REFUSAL_BYTES_MAX);
	q->pusher = p;
	q->msg.run = start;
	(void)pthread_mutex_lock(&p->lock);
	q->next = p->under_way;
	p->under_way = q;
	(void)pthread_mutex_unlock(&p->lock);
	loop_post(p->loop, &q->msg);
	while (sem_wait(&q->done))
		;
	(void)pthread_mutex_lock(&p->lock);
	for (at = &p->under_way; *at != q;)
		at = &(*at)->next;
	*at = q->next;
	(void)pthread_mutex_unlock(&p->lock);
	(void)sem_destroy(&q->done);
}

/* ---- reading: on a thread that may wait ---- */

/* What a pull gathers. */
struct load {
	struct buf body;
	struct codec *codec;
	struct buf plain;
	char prefix[120];
	uint32_t count, count_max;
	int64_t next; /* to be read behind it */
};

static int add_batch(struct load *l, struct partition *partition, struct slice batch,
		     const struct batch_head *head)
{
	struct batch_record r;
	struct batch_walk walk;
	struct slice plain = batch;
	int rc = 0;

	if (batch_is_empty(head) || batch_is_control(head) || partition_hides(partition, head))
		return 0;
	if (batch_codec(head)) {
		if (!l->codec && codec_new(&l->codec))
			return ERR_NOMEM;
		rc = batch_inflate(l->codec, batch, &l->plain, &plain);
	}
	if (rc == 0)
		rc = batch_walk_start(&walk, plain);
	while (rc == 0 && (rc = batch_walk_next(&walk, &r)) == 1) {
		rc = 0;
		if (r.offset < l->next)
			continue;
		if (l->count == l->count_max || (l->count && l->body.len > PARCEL_BYTES))
			return 0;
		parcel_add(&l->body, &r, l->prefix);
		l->count++;
		l->next = r.offset + 1;
		if (buf_status(&l->body))
			return ERR_NOMEM;
	}
	return rc == ERR_NOMEM ? rc : 0; /* what cannot be read is passed over, as readers do */
}

static bool is_full(const struct load *l)
{
	return l->count == l->count_max || l->body.len > PARCEL_BYTES;
}

static int add_view(struct load *l, struct partition *partition, const struct log_view *view, int64_t stable)
{
	struct slice batches = view->batches;

	while (batches.len && !is_full(l)) {
		struct batch_head head;
		int rc = batch_head_read(batches, &head);
		if (rc || head.base_offset >= stable)
			return 0;
		rc = add_batch(l, partition, batches, &head);
		if (rc)
			return rc;
		if (!is_full(l) && l->next <= batch_last_offset(&head))
			l->next = batch_last_offset(&head) + 1;
		batches = slice_from(batches, head.bytes);
	}
	return 0;
}

static int gather(struct load *l, struct partition *partition)
{
	struct partition_range range;
	struct log_view view;
	int rc = 0;

	partition_range(partition, &range);
	while (rc == 0 && !is_full(l) && l->next < range.stable) {
		int64_t at = l->next;
		rc = log_read_wait(partition, at, READ_BYTES, &view);
		if (rc == LOG_READ_END)
			return 0;
		if (rc)
			return rc;
		rc = add_view(l, partition, &view, range.stable);
		if (l->next == at && !is_full(l)) /* nothing but what damage has cost */
			l->next = view.next_offset;
		blob_unref(view.blob);
	}
	return rc;
}

/* From the checkpoint, or the beginning: also where the topic was made anew. */
static int64_t begin_at(struct pusher *p, const struct source_part *part, const struct topic *topic,
			struct partition *partition)
{
	struct slice from = part->checkpoint.bytes;
	struct partition_edges edges = {0};
	int64_t next = -1;

	(void)partition_edges(partition, &edges);
	if (from.len == CHECKPOINT_BYTES && memcmp(from.ptr, topic->id.bytes, sizeof(topic->id.bytes)) == 0)
		next = (int64_t)wire_load_u64(from.ptr + sizeof(topic->id.bytes));
	if (next >= 0 && next < edges.start)
		source_warn(
			p->source,
			"records of %s were deleted here before they were sent: its retention is too short for "
			"how long the other weir was away",
			topic->name);
	return next > edges.start ? next : edges.start;
}

static enum source_end take_answer(struct source_batch *batch, const struct parcel *q)
{
	batch->call.requests++;
	batch->call.not_before_ms = q->retry_after_ms;
	if (q->class == FETCHER_OK)
		return SOURCE_MORE;
	return source_fail(&batch->call,
			   q->class == FETCHER_TRANSIENT || q->status == 404 ? SOURCE_TRANSIENT :
									       SOURCE_FINAL,
			   "%s%s%.*s", q->text, q->refusal.len ? ": " : "",
			   (int)(q->refusal.len < 300 ? q->refusal.len : 300), (const char *)q->refusal.ptr);
}

static enum source_end push_some(struct pusher *p, struct source_part *part, struct source_batch *batch,
				 const struct topic *topic, struct load *l)
{
	struct parcel q = {.part = part, .source_call = &batch->call, .body = buf_slice(&l->body)};
	enum source_end end = SOURCE_MORE;
	uint8_t place[CHECKPOINT_BYTES];

	if (l->count) {
		send(p, &q);
		end = take_answer(batch, &q);
		buf_fini(&q.refusal);
	}
	if (end == SOURCE_FAILED)
		return end;
	(void)wire_put_u64(wire_put_bytes(place, slice_make(topic->id.bytes, sizeof(topic->id.bytes))),
			   (uint64_t)l->next);
	return source_mark(batch, CHECKPOINT_VERSION, slice_make(place, sizeof(place))) ?
		       source_fail(&batch->call, SOURCE_TRANSIENT, "there is no memory for the checkpoint") :
		       end;
}

/* How many wait here; what is no record among them (ends of transactions) counts too. */
static int64_t left_behind(struct partition *partition, int64_t next)
{
	struct partition_range range;

	partition_range(partition, &range);
	return range.stable > next ? range.stable - next : 0;
}

static enum source_end push_pull(void *self, struct source_part *part, struct source_batch *batch)
{
	struct pusher *p = self;
	struct topic *topic = topics_find(p->topics, slice_str(p->settings->from));
	struct load l = {.count_max = (uint32_t)p->settings->limit};
	struct partition *partition;
	struct topic_id identity;
	enum source_end end = SOURCE_IDLE;
	char here[37], id[37];
	int64_t from;
	uint64_t number = 0;
	int rc;

	if (part->checkpoint.bytes.ptr && part->checkpoint.version != CHECKPOINT_VERSION)
		return source_fail(&batch->call, SOURCE_FINAL,
				   "the checkpoint is of a later version of weir: %u",
				   part->checkpoint.version);
	partition =
		topic && slice_to_u64(part->name, &number) ? topic_partition(topic, (uint32_t)number) : NULL;
	if (!partition || batch->test)
		return SOURCE_IDLE; /* gone: the next plan does not name it. A test sends nothing */
	log_identity(p->log, &identity);
	topic_id_text(&identity, here);
	topic_id_text(&topic->id, id);
	(void)snprintf(l.prefix, sizeof(l.prefix), "%s/%s/%u/", here, id, (uint32_t)number);
	buf_init(&l.body, PARCEL_BYTES_MAX);
	buf_init(&l.plain, BATCH_PLAIN_BYTES_MAX);
	from = l.next = begin_at(p, part, topic, partition);
	parcel_begin(&l.body);
	rc = gather(&l, partition);
	parcel_end(&l.body);
	if (rc || buf_status(&l.body))
		end = source_fail(&batch->call, SOURCE_TRANSIENT, "%s cannot be read now: %s", topic->name,
				  err_row(rc ? rc : ERR_NOMEM)->sentence);
	else if (l.next > from)
		end = push_some(p, part, batch, topic, &l);
	batch->lag_records = left_behind(partition, end == SOURCE_FAILED ? from : l.next);
	buf_fini(&l.body);
	buf_fini(&l.plain);
	codec_free(l.codec);
	return end;
}

static void push_show(uint8_t version, struct slice checkpoint, struct buf *json)
{
	(void)version;
	if (checkpoint.len == CHECKPOINT_BYTES)
		(void)buf_appendf(json, "{\"offset\":%llu}",
				  (unsigned long long)wire_load_u64(checkpoint.ptr + 16));
	else
		(void)buf_append_str(json, "null");
}

const struct source_type source_weir_push = {
	.kind = WEIR_PUSH_KIND,
	.flags = SOURCE_BLOCKS,
	.every_ms = 1000,
	.open = push_open,
	.close = push_close,
	.plan = push_plan,
	.pull = push_pull,
	.cancel = push_cancel,
	.show = push_show,
};
