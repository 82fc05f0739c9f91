/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch of a source on its way into the log:
 *
 *	enter ──► queued ──flush──► entered ──synced──► done
 *	            ▲      │  └───► refused: the caller enters it again
 *	            │      ├──────► waits for a key in flight ──┐
 *	            │      └──────► keys are read from disk ────┤
 *	            └───────────────────────────────────────────┘
 *
 * Differs from a request (ingest.c) in what is refused: a row that can never be taken was found before
 * (ingest_rows_check), so here the whole is entered or nothing, and nothing of it is lost by a refusal. Who meets a key
 * in flight gives back those that he has, as there.
 */
#include "ingest/ingest_rows.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "ingest/dead.h"
#include "ingest/ingest_inner.h"
#include "ingest/key.h"

void ingest_rows_init(struct ingest_rows *r, ingest_rows_fn *on_entered, ingest_rows_fn *on_done, void *ctx)
{
	memset(r, 0, sizeof(*r));
	r->on_entered = on_entered;
	r->on_done = on_done;
	r->ctx = ctx;
}

void ingest_rows_again(struct ingest_rows *r, ingest_rows_fn *on_entered, ingest_rows_fn *on_done, void *ctx)
{
	struct ingest_rows was = *r;

	CHECK(!was.busy);
	ingest_rows_init(r, on_entered, on_done, ctx);
	r->records = was.records;
	r->record_cap = was.record_cap;
	r->keys = was.keys;
	r->key_cap = was.key_cap;
	r->repeats = was.repeats;
	r->repeat_cap = was.repeat_cap;
}

void ingest_rows_fini(struct ingest_rows *r)
{
	CHECK(!r->busy);
	mem_free(r->records);
	mem_free(r->keys);
	mem_free(r->repeats);
	r->records = NULL;
	r->keys = NULL;
	r->repeats = NULL;
	r->record_cap = r->key_cap = r->repeat_cap = 0;
}

/* ---- what can never be taken ---- */

struct checking {
	struct ingest *in;
	struct ingest_limits limits;
	const struct ingest_row *last; /* whose topic was looked up last */
	struct topic *topic;
	uint32_t partitions;
	int err;
	const char *what;
};

static void look_up(struct checking *c, struct slice name)
{
	struct topic_config defaults;
	bool auto_create;

	c->err = 0;
	c->topic = topics_find(c->in->topics, name);
	if (topic_name_is_reserved(name)) {
		c->err = ERR_FORBIDDEN;
		c->what = "topics of this name are kept for weir itself";
	} else if (!c->topic && topic_name_check(name, NULL)) {
		c->err = ERR_BAD_TOPIC;
		c->what = "the name of the topic has bytes that a name may not have";
	}
	topics_defaults(c->in->topics, &defaults, &auto_create);
	c->partitions = c->topic ? atomic_load(&c->topic->partition_count) : defaults.partitions;
}

static int refuse(struct ingest_row *row, int err, const char *what)
{
	row->err = err;
	row->what = what;
	return 1;
}

static int check_row(struct checking *c, struct ingest_row *row)
{
	row->err = 0;
	if (!c->last || !slice_eq(c->last->topic, row->topic))
		look_up(c, row->topic);
	c->last = row;
	if (c->err)
		return refuse(row, c->err, c->what);
	if (row->value.len > c->limits.record_bytes_max)
		return refuse(row, ERR_RECORD_TOO_LARGE, "the value is over http.record_bytes_max");
	if (row->key.len + row->headers.len > c->limits.header_bytes_max)
		return refuse(row, ERR_RECORD_TOO_LARGE, "key and headers are over http.header_bytes_max");
	if (row->header_count > HEADERS_MAX)
		return refuse(row, ERR_RECORD_TOO_LARGE, "a record has at most 128 headers");
	if (row->partition >= 0 && (uint32_t)row->partition >= c->partitions)
		return refuse(row, ERR_PARTITION_RANGE, "the topic has fewer partitions");
	if (row->idempotency_key.ptr &&
	    (row->idempotency_key.len == 0 || row->idempotency_key.len > KEY_BYTES_MAX))
		return refuse(row, ERR_BAD_KEY, "an idempotency key has 1 to 256 bytes");
	if (!row->key.ptr && c->topic && topic_is_compacted(&c->topic->config))
		return refuse(row, ERR_KEY_REQUIRED, "the topic is compacted: the record needs a key");
	return 0;
}

uint32_t ingest_rows_check(struct ingest *in, struct ingest_row *rows, uint32_t count)
{
	struct checking c = {.in = in};
	uint32_t refused = 0;

	ingest_get_limits(in, &c.limits);
	for (uint32_t i = 0; i < count; i++)
		refused += (uint32_t)check_row(&c, &rows[i]);
	return refused;
}

/* ---- memory, before anything is decided ---- */

static int reserve(void **list, uint32_t *cap, uint32_t count, size_t size)
{
	uint32_t more = *cap ? *cap : 64;
	void *bigger;

	if (count <= *cap)
		return 0;
	while (more < count)
		more *= 2;
	bigger = mem_realloc(*list, more * size);
	if (!bigger)
		return ERR_NOMEM;
	*list = bigger;
	*cap = more;
	return 0;
}

static uint32_t count_keys(const struct ingest_rows *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->count; i++)
		n += r->rows[i].idempotency_key.ptr != NULL;
	return n;
}

static int reserve_all(struct ingest_rows *r)
{
	uint32_t keys = count_keys(r), mask = 16;
	int rc = reserve((void **)&r->records, &r->record_cap, r->count + r->dead_count + r->more_count,
			 sizeof(*r->records));

	while (mask < keys * 2)
		mask *= 2;
	if (rc == 0 && keys)
		rc = reserve((void **)&r->keys, &r->key_cap, keys, sizeof(*r->keys));
	if (rc == 0 && keys && r->repeat_cap < mask)
		rc = reserve((void **)&r->repeats, &r->repeat_cap, mask, sizeof(*r->repeats));
	return rc;
}

/* ---- topics, under the entry lock ---- */

static int find_topic(struct ingest_queue *q, struct slice name, struct topic **out)
{
	struct topics *topics = q->ingest->topics;
	struct topic_config defaults;
	bool auto_create;
	int rc = 0;

	*out = topics_find(topics, name);
	if (!*out) {
		topics_defaults(topics, &defaults, &auto_create);
		rc = auto_create ? topics_create(topics, name, &defaults, false, NULL, out, NULL) :
				   ERR_UNKNOWN_TOPIC;
	}
	return rc == ERR_TOPIC_EXISTS ? 0 : rc;
}

static int find_topics(struct ingest_queue *q, struct ingest_rows *r)
{
	const struct ingest_row *last = NULL;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < r->count; i++) {
		struct ingest_row *row = &r->rows[i];
		if (last && last->topic.ptr == row->topic.ptr && last->topic.len == row->topic.len)
			row->found = last->found;
		else
			rc = find_topic(q, row->topic, &row->found);
		if (rc == 0 && !row->key.ptr && topic_is_compacted(&row->found->config))
			rc = ERR_BAD_RECORD; /* since it was checked the topic has changed */
		last = row;
	}
	for (uint32_t i = 0; rc == 0 && i < r->dead_count; i++)
		rc = dead_partition(q->ingest->topics, r->deads[i].topic, &r->deads[i].record.partition,
				    NULL);
	return rc;
}

/* ---- keys ---- */

static bool same_key(const struct seen_key *a, const struct seen_key *b)
{
	return a->fingerprint.lo == b->fingerprint.lo && a->fingerprint.hi == b->fingerprint.hi;
}

/* Fingerprints, and which rows repeat an earlier one of the batch. */
static void prepare_keys(struct ingest_queue *q, struct ingest_rows *r, int64_t now_ms)
{
	uint32_t mask = r->repeat_cap ? r->repeat_cap - 1 : 0;

	if (mask)
		memset(r->repeats, 0, r->repeat_cap * sizeof(*r->repeats));
	for (uint32_t i = 0; i < r->count; i++) {
		struct ingest_row *row = &r->rows[i];
		struct topic_id *id = &row->found->id;
		uint32_t at;
		row->duplicate = row->claimed = false;
		if (!row->idempotency_key.ptr)
			continue;
		row->seen =
			(struct seen_key){.fingerprint =
						  seen_fingerprint(q->ingest->seen,
								   slice_make(id->bytes, sizeof(id->bytes)),
								   row->idempotency_key),
					  .expires_ms = now_ms + row->found->config.idempotency_ttl_ms};
		at = (uint32_t)row->seen.fingerprint.lo & mask;
		while (r->repeats[at] && !same_key(&r->rows[r->repeats[at] - 1].seen, &row->seen))
			at = (at + 1) & mask;
		row->duplicate = r->repeats[at] != 0;
		if (!row->duplicate)
			r->repeats[at] = i + 1;
	}
}

static void release(struct ingest_queue *q, struct ingest_rows *r, struct seen_waiter **woken)
{
	for (uint32_t i = 0; i < r->key_count; i++) {
		struct seen_waiter *list = seen_release(q->ingest->seen, &r->keys[i].claim), **end = &list;
		while (*end)
			end = &(*end)->next;
		*end = *woken;
		*woken = list;
	}
	r->key_count = 0;
	r->claims_held = false;
}

/* All keys of the batch or none. SEEN_NEW, SEEN_IN_FLIGHT, SEEN_READ, or an error. */
static int claim(struct ingest_queue *q, struct ingest_rows *r, bool may_wait, struct seen_waiter *waiter,
		 struct seen_waiter **woken)
{
	struct seen *seen = q->ingest->seen;
	int64_t now_ms = log_now_ms(q->ingest->log);
	int verdict = SEEN_NEW;

	r->key_count = 0;
	for (uint32_t i = 0; i < r->count; i++) {
		struct ingest_row *row = &r->rows[i];
		struct seen_claim *to;
		struct seen_range range;
		struct seen_answer answer = {.ranges = &range, .ranges_max = 1};
		if (!row->idempotency_key.ptr || row->duplicate)
			continue;
		to = &r->keys[r->key_count].claim;
		verdict = may_wait ? seen_read(seen, &row->seen, now_ms, to, &answer, waiter) :
				     seen_claim(seen, &row->seen, now_ms, to, &answer, waiter);
		if (verdict < 0 || verdict == SEEN_IN_FLIGHT || verdict == SEEN_READ) {
			release(q, r, woken);
			return verdict;
		}
		row->claimed = verdict == SEEN_NEW;
		row->duplicate = verdict != SEEN_NEW;
		r->key_count += row->claimed;
	}
	r->claims_held = true;
	return SEEN_NEW;
}

/* ---- the commit, under the entry lock ---- */

static struct partition *choose(const struct ingest_row *row, uint32_t *next)
{
	uint32_t count = atomic_load_explicit(&row->found->partition_count, memory_order_acquire);
	struct partition **partitions = atomic_load_explicit(&row->found->partitions, memory_order_acquire);

	if (row->partition >= 0)
		return (uint32_t)row->partition < count ? partitions[row->partition] : NULL;
	if (count == 1)
		return partitions[0];
	return partitions[row->key.ptr ? hash_partition(row->key, count) : (*next)++ % count];
}

static int fill(struct ingest_rows *r)
{
	uint32_t n = 0, k = 0;

	r->accepted = r->duplicates = 0;
	r->bytes = 0;
	for (uint32_t i = 0; i < r->count; i++) {
		const struct ingest_row *row = &r->rows[i];
		uint32_t next;
		struct partition *p;
		if (row->duplicate) {
			r->duplicates++;
			continue;
		}
		next = atomic_load_explicit(&row->found->spread, memory_order_relaxed);
		p = choose(row, &next);
		if (!p)
			return ERR_BAD_RECORD;
		atomic_store_explicit(&row->found->spread, next, memory_order_relaxed);
		if (row->claimed) {
			r->keys[k].first = n;
			r->keys[k++].count = 1;
		}
		r->records[n++] = (struct log_record){.partition = p,
						      .timestamp_ms = row->timestamp_ms,
						      .key = row->key,
						      .value = row->value,
						      .headers = row->headers,
						      .header_count = row->header_count,
						      .tag = i};
		r->bytes += row->key.len + row->value.len + row->headers.len;
	}
	r->accepted = n;
	if (r->counted) {
		int rc = r->counted(r);
		if (rc)
			return rc;
	}
	for (uint32_t i = 0; i < r->dead_count; i++)
		r->records[n++] = r->deads[i].record;
	if (r->more_count)
		memcpy(r->records + n, r->more, r->more_count * sizeof(*r->more));
	r->commit.record_count = n + r->more_count;
	return 0;
}

static log_done_fn on_committed;

static int enter_commit(struct ingest_queue *q, struct ingest_rows *r)
{
	int rc = fill(r);

	if (rc || r->commit.record_count == 0)
		return rc;
	r->commit.records = r->records;
	r->commit.keys = r->keys;
	r->commit.key_count = r->key_count;
	r->commit.ack = LOG_ACK_DURABLE;
	r->commit.port = q->port;
	r->commit.on_done = on_committed;
	return log_enter(q->ingest->log, &r->commit);
}

static log_waiter_fn on_waiter;

/* 0: entered. 1: waits, for a key or for the disk. Else refused. */
static int enter_one(struct ingest_queue *q, struct ingest_rows *r)
{
	int rc = 0, verdict = SEEN_NEW;

	if (!r->claims_held) {
		rc = reserve_all(r);
		if (rc == 0)
			rc = find_topics(q, r);
		if (rc)
			return rc;
		prepare_keys(q, r, sys_wall_ms(q->ingest->sys));
		log_waiter_init(&r->waiter, q->port, on_waiter, r);
		verdict = claim(q, r, false, &r->waiter.waiter, &q->woken);
	}
	if (verdict < 0)
		return verdict;
	if (verdict == SEEN_IN_FLIGHT)
		return 1;
	if (verdict == SEEN_READ) {
		fifo_put(&q->rows_to_read, &r->node);
		return 1;
	}
	rc = enter_commit(q, r);
	if (rc)
		release(q, r, &q->woken);
	else if (r->under_lock)
		r->under_lock(r);
	return rc;
}

void rows_enter(struct ingest_queue *q)
{
	struct ingest_rows *r;

	while ((r = fifo_take(&q->rows)) != NULL) {
		int rc = enter_one(q, r);
		if (rc == 1)
			continue;
		r->err = rc;
		fifo_put(&q->rows_decided, &r->node);
	}
}

/* ---- after the lock ---- */

static void move_in_flight(struct ingest_queue *q, struct ingest_rows *r, int by)
{
	r->busy = by > 0;
	q->in_flight += (uint32_t)by;
	if (q->shard)
		metric_move(q->shard, METRIC_INGEST_IN_FLIGHT, ENTRY_SOURCE, by);
}

static void count_result(struct ingest_queue *q, const struct ingest_rows *r)
{
	if (!q->shard || r->err)
		return;
	metric_add(q->shard, METRIC_INGEST_REQUESTS, ENTRY_SOURCE, 1);
	metric_add(q->shard, METRIC_INGEST_RECORDS, ENTRY_SOURCE, r->accepted);
	metric_add(q->shard, METRIC_INGEST_BYTES, ENTRY_SOURCE, r->bytes);
	metric_add(q->shard, METRIC_INGEST_DUPLICATES, ENTRY_SOURCE, r->duplicates);
}

/* The batch may be gone behind on_entered where it was refused, and behind on_done. */
static void tell(struct ingest_queue *q, struct ingest_rows *r)
{
	bool nothing = r->err == 0 && r->commit.record_count == 0;
	bool refused = r->err != 0;

	count_result(q, r);
	r->key_count = 0;
	r->claims_held = false;
	if (refused)
		move_in_flight(q, r, -1);
	r->on_entered(r);
	if (!nothing)
		return;
	move_in_flight(q, r, -1);
	r->on_done(r);
}

static void on_committed(struct log_commit *commit)
{
	struct ingest_rows *r =
		(struct ingest_rows *)(void *)((uint8_t *)commit - offsetof(struct ingest_rows, commit));

	move_in_flight(r->queue, r, -1);
	r->on_done(r);
}

static void queue_again(struct ingest_queue *q, struct ingest_rows *r)
{
	fifo_put(&q->rows, &r->node);
	if (q->want_flush)
		q->want_flush(q->ctx);
}

static void on_waiter(void *ctx, struct seen_waiter *waiter)
{
	struct ingest_rows *r = ctx;

	(void)waiter;
	queue_again(r->queue, r);
}

/* On a thread that may wait. No waiter is linked: it could be woken before this job is done. */
static void read_keys(void *arg)
{
	struct ingest_rows *r = arg;
	struct seen_waiter *woken = NULL;

	r->claim_result = claim(r->queue, r, true, NULL, &woken);
	log_wake_waiters(woken);
}

/* Back on the loop: with the keys, or to ask again for one in flight. */
static void on_keys_read(void *arg)
{
	struct ingest_rows *r = arg;

	if (r->claim_result >= 0) {
		queue_again(r->queue, r);
		return;
	}
	r->err = r->claim_result;
	tell(r->queue, r);
}

static void start_reads(struct ingest_queue *q)
{
	struct ingest_rows *r;

	while ((r = fifo_take(&q->rows_to_read)) != NULL) {
		int rc = queue_run_blocking(q, read_keys, on_keys_read, r);
		if (rc) {
			r->err = rc;
			tell(q, r);
		}
	}
}

void rows_finish(struct ingest_queue *q)
{
	struct ingest_rows *r;

	start_reads(q);
	while ((r = fifo_take(&q->rows_decided)) != NULL)
		tell(q, r);
}

void ingest_rows_enter(struct ingest_queue *q, struct ingest_rows *r)
{
	CHECK(!r->busy);
	r->queue = q;
	r->err = 0;
	r->claims_held = false;
	r->key_count = 0;
	move_in_flight(q, r, 1);
	queue_again(q, r);
}
