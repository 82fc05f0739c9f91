/* SPDX-License-Identifier: Apache-2.0 */
/* Producers and those who change topics. */
#include <stdio.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/check.h"
#include "world.h"

#define DAY_MS 86400000

static struct send *free_send(struct world *w)
{
	for (uint32_t i = 0; i < SENDS_MAX; i++)
		if (!w->sends[i].used)
			return &w->sends[i];
	return NULL;
}

static struct model_request *request_of(struct send *s)
{
	return &s->w->model.requests[s->request];
}

static void end_send(struct send *s)
{
	if (!s->direct)
		arena_fini(&s->arena);
	s->used = false;
}

/* ---- answers ---- */

/* What a request that is right may be refused with: nothing that blames it. */
static bool is_honest(const struct send *s, int err)
{
	const struct world *w = s->w;

	switch (err) {
	case ERR_DISK_FULL:
	case ERR_OVERLOADED:
	case ERR_UNKNOWN_TOPIC:
	case ERR_IO:
		return true;
	case ERR_KEY_REUSED:
	case ERR_BAD_BATCH: /* of a record's key */
		return s->conflict;
	case ERR_NOMEM:
		return w->life_failed_allocs != machine_failed_allocs();
	case ERR_CORRUPT:
		return w->rot.flips > 0;
	default:
		return false;
	}
}

static void take_refusal(struct send *s, int err)
{
	struct model_request *r = request_of(s);

	world_say(s->w, "request %u refused: %s", s->request, err_row(err)->code);
	if (!is_honest(s, err))
		model_fail("request %u is refused with %s", s->request, err_row(err)->code);
	if (!s->conflict) {
		r->in_flight--;
		model_refused(&s->w->model, r);
	}
}

static void take_ranges(struct send *s, const struct ingest_result *result)
{
	struct model_request *r = request_of(s);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < result->range_count; i++) {
		const struct ingest_range *range = &result->ranges[i];
		model_range(&s->w->model, r, r->topic, range->partition, range->first, range->last);
		sum += (uint64_t)(range->last - range->first + 1);
	}
	if (sum != r->count)
		model_fail("request %u of %u records was answered with %llu offsets", r->id, r->count,
			   (unsigned long long)sum);
}

static void on_done(struct ingest_request *request)
{
	struct send *s = request->ctx;
	const struct ingest_result *result = &request->result;
	struct model_request *r = request_of(s);
	int topic;

	s->answered = true;
	if (result->err) {
		take_refusal(s, result->err);
		return;
	}
	if (s->conflict)
		model_fail("request %u was sent with another body and taken", r->id);
	world_say(s->w, "request %u answered%s", r->id, result->replayed ? " as a duplicate" : "");
	r->in_flight--;
	if (result->ack_none) {
		model_answered(&s->w->model, r, true, false);
		return;
	}
	if ((result->accepted ? result->accepted : 0) + result->duplicates != r->count &&
	    !(result->accepted == 0 && result->duplicates == 0))
		model_fail("request %u of %u records: %u accepted and %u duplicates", r->id, r->count,
			   result->accepted, result->duplicates);
	topic = request->topic_found ? client_topic_of(s->w, request->topic_found) : -1;
	if (topic < 0)
		model_fail("request %u went to a topic that nobody made", r->id);
	model_moved(&s->w->model, r, (uint32_t)topic);
	model_answered(&s->w->model, r, result->duplicates == 0, true);
	take_ranges(s, result);
}

static void on_released(struct ingest_request *request)
{
	struct send *s = request->ctx;

	if (!s->answered)
		model_fail("request %u was let go without an answer", s->request);
	end_send(s);
}

static void on_committed(struct log_commit *commit)
{
	struct send *s = (struct send *)(void *)((char *)commit - offsetof(struct send, commit));
	struct model_request *r = request_of(s);

	world_say(s->w, "request %u committed", r->id);
	r->in_flight--;
	model_answered(&s->w->model, r, true, s->commit.ack == LOG_ACK_DURABLE);
	for (uint32_t i = 0; i < r->count && s->commit.ack == LOG_ACK_DURABLE; i++)
		model_range(&s->w->model, r, model_topic_at(r, i), s->parts[i], s->records[i].offset,
			    s->records[i].offset);
	end_send(s);
}

/* ---- through ingest ---- */

/* How its records come: only the number of the request decides, so that it is the same whenever it is sent. */
enum kind { KIND_JSON, KIND_LINES, KIND_BATCH, KIND_EVENT, KIND_EVENT_HEADERS, KIND_EVENTS };

static enum kind kind_of(const struct model_request *r)
{
	if (r->id % 7 == 3 && (r->count > 1 || r->id % 4 == 0))
		return KIND_EVENTS;
	if (r->id % 7 == 3)
		return r->id % 2 ? KIND_EVENT : KIND_EVENT_HEADERS;
	if (r->count == 1 && r->id % 3)
		return KIND_JSON;
	return r->id % 2 ? KIND_LINES : KIND_BATCH;
}

static bool is_event(const struct model_request *r)
{
	return kind_of(r) >= KIND_EVENT;
}

/* CloudEvents have a key of their own; some come under another one. */
static bool has_unit_key(const struct model_request *r)
{
	return r->keyed && (is_event(r) ? r->id % 5 == 1 : kind_of(r) != KIND_BATCH || r->id % 4 >= 2);
}

static const char *const types[] = {[KIND_JSON] = "application/json",
				    [KIND_LINES] = "application/x-ndjson",
				    [KIND_BATCH] = "application/vnd.weir.batch+json",
				    [KIND_EVENT] = "application/cloudevents+json",
				    [KIND_EVENT_HEADERS] = "application/json",
				    [KIND_EVENTS] = "application/cloudevents-batch+json"};

static size_t put_lines(const struct model_request *r, char *at)
{
	char *begin = at;

	for (uint32_t i = 0; i < r->count; i++) {
		at += model_value(r, i, at).len;
		*at++ = '\n';
	}
	return (size_t)(at - begin);
}

static size_t put_batch(const struct model_request *r, char *at)
{
	bool keys = r->keyed && !has_unit_key(r);
	char *begin = at, key[16];

	at += sprintf(at, "{\"records\":[");
	for (uint32_t i = 0; i < r->count; i++) {
		at += sprintf(at, "%s{", i ? "," : "");
		if (keys)
			at += sprintf(at, "\"idempotency_key\":\"b%u.%u\",", r->id, i);
		if (r->with_key)
			at += sprintf(at, "\"key\":\"%.*s\",", (int)model_key_at(r, i, key), key);
		if (model_is_tombstone(r, i)) {
			at += sprintf(
				at,
				"\"headers\":{\"what\":\"{\\\"r\\\":%u,\\\"i\\\":%u\"},\"tombstone\":true}",
				r->id, i);
			continue;
		}
		at += sprintf(at, "\"value\":");
		at += model_value(r, i, at).len;
		*at++ = '}';
	}
	at += sprintf(at, "]}");
	return (size_t)(at - begin);
}

static size_t put_event(const struct model_request *r, uint32_t i, char *at)
{
	char *begin = at, key[16];

	at += sprintf(at, "{\"specversion\":\"1.0\",\"id\":\"%u.%u\",\"source\":\"/sim\",\"type\":\"t\"",
		      r->id, i);
	if (r->with_key)
		at += sprintf(at, ",\"partitionkey\":\"%.*s\"", (int)model_key(r, key), key);
	at += sprintf(at, ",\"data\":");
	at += model_value(r, i, at).len;
	*at++ = '}';
	return (size_t)(at - begin);
}

static size_t put_events(const struct model_request *r, char *at)
{
	char *begin = at;

	for (uint32_t i = 0; i < r->count; i++) {
		*at++ = i ? ',' : '[';
		at += put_event(r, i, at);
	}
	*at++ = ']';
	return (size_t)(at - begin);
}

/* The attributes of an event whose data is the body. */
static bool event_header(void *ctx, uint32_t number, struct slice *name, struct slice *value)
{
	static const char *const names[] = {"ce-specversion", "ce-source", "ce-type", "ce-id",
					    "ce-partitionkey"};
	const struct send *s = ctx;
	const char *values[] = {"1.0", "/sim", "t", s->event_text[0], s->event_text[1]};

	if (number >= (s->event_text[1][0] ? 5 : 4))
		return false;
	*name = slice_str(names[number]);
	*value = slice_str(values[number]);
	return true;
}

static size_t put_body(const struct model_request *r, char *at)
{
	switch (kind_of(r)) {
	case KIND_LINES:
		return put_lines(r, at);
	case KIND_BATCH:
		return put_batch(r, at);
	case KIND_EVENT:
		return put_event(r, 0, at);
	case KIND_EVENTS:
		return put_events(r, at);
	default:
		return model_value(r, 0, at).len;
	}
}

static size_t gzip(const char *from, size_t n, char *to, size_t room)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)from,
		      .avail_in = (uInt)n,
		      .next_out = (Bytef *)to,
		      .avail_out = (uInt)room};

	CHECK(deflateInit2(&z, 1, Z_DEFLATED, 16 + 15, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
	(void)deflateEnd(&z);
	return z.total_out;
}

/* One in nine comes as gzip, one as zstd. */
static void pack(struct send *s, const struct model_request *r)
{
	size_t n = s->r.body.len;

	if (r->id % 9 == 1) {
		s->r.content_encoding = SLICE_LIT("gzip");
		n = gzip(s->body, n, s->packed, sizeof(s->packed));
	} else if (r->id % 9 == 2) {
		s->r.content_encoding = SLICE_LIT("zstd");
		n = ZSTD_compress(s->packed, sizeof(s->packed), s->body, n, 1);
		CHECK(!ZSTD_isError(n));
	} else {
		return;
	}
	s->r.body = slice_make(s->packed, n);
}

static void set_keys(struct send *s, const struct model_request *r)
{
	int len = snprintf(s->idempotency_key, sizeof(s->idempotency_key), "k%u", r->id);
	size_t key_len = model_key(r, s->partition_key);

	s->r.key = slice_null();
	s->partition_key[key_len] = '\0';
	(void)snprintf(s->event_text[0], sizeof(s->event_text[0]), "%u.0", r->id);
	(void)snprintf(s->event_text[1], sizeof(s->event_text[1]), "%s", r->with_key ? s->partition_key : "");
	if (kind_of(r) == KIND_EVENT_HEADERS) {
		s->r.header = event_header;
		s->r.header_ctx = s;
	}
	if (r->with_key && kind_of(r) <= KIND_LINES)
		s->r.key = slice_make(s->partition_key, key_len);
	if (!has_unit_key(r))
		return;
	if (r->id % 3)
		s->r.idempotency_header = slice_make(s->idempotency_key, (size_t)len);
	else
		s->r.idempotency_path = slice_make(s->idempotency_key, (size_t)len);
}

static void make_body(struct send *s, struct model_request *r)
{
	bool compacted = s->w->model.topics[r->topic].compacted;

	r->with_key = compacted || (kind_of(r) >= KIND_BATCH ? r->id % 5 == 0 : r->id % 5 < 2);
	r->own_keys = compacted && kind_of(r) == KIND_BATCH && r->id % 8 < 4;
	r->tombstones = compacted && kind_of(r) == KIND_BATCH && r->id % 7 < 4;
	s->r.content_type = slice_str(types[kind_of(r)]);
	s->r.body = slice_make(s->body, put_body(r, s->body));
	s->r.body_stays = r->id % 2;
	set_keys(s, r);
	if (r->own_time)
		s->r.timestamp_ms = 1700000000000 + (int64_t)(r->id % 100) * 1000;
}

static void start_ingest(struct world *w, struct send *s, struct model_request *r)
{
	int rc;

	arena_init(&s->arena, 4096, 8u << 20);
	ingest_request_init(&s->r, &s->arena, on_done, s);
	s->r.on_released = on_released;
	s->r.topic = slice_str(w->model.topics[r->topic].name);
	s->r.ack = s->none ? INGEST_ACK_NONE : INGEST_ACK_DURABLE;
	s->r.results = r->id % 2 ? INGEST_RANGES : INGEST_RECORDS;
	make_body(s, r);
	if (s->conflict) {
		char *digit = strstr(s->body, "\"i\":0");
		CHECK(digit);
		digit[4] = '7';
	}
	pack(s, r);
	rc = ingest_start(w->queue, &s->r);
	if (rc) {
		s->answered = true;
		take_refusal(s, rc);
		end_send(s);
	}
}

/* ---- straight into the log: several topics, a row of state, a key ---- */

static void fill_direct(struct world *w, struct send *s, struct model_request *r)
{
	char *at = s->body;

	for (uint32_t i = 0; i < r->count; i++) {
		uint32_t topic = model_topic_at(r, i);
		struct topic *t = topics_find_id(w->topics, &w->model.topics[topic].id);
		CHECK(t);
		s->parts[i] = (uint8_t)((r->id + i / 2) % w->model.topics[topic].parts);
		s->records[i] = (struct log_record){.partition = topic_partition(t, s->parts[i]),
						    .timestamp_ms = -1,
						    .value = model_value(r, i, at)};
		at += s->records[i].value.len;
		if (!s->records[i].partition)
			model_fail("partition %u of %s is gone", s->parts[i], w->model.topics[topic].name);
	}
	s->row_key[0] = WORLD_ROW_TABLE;
	s->row_key[1] = (char)r->row;
	memcpy(s->row_value, &r->id, 4);
	s->records[r->count] = (struct log_record){.partition = log_internal(w->log),
						   .timestamp_ms = -1,
						   .key = slice_make(s->row_key, 2),
						   .value = slice_make(s->row_value, 4)};
}

/* SEEN_NEW, or the send is over. */
static int claim(struct world *w, struct send *s, struct model_request *r)
{
	static const uint8_t scope[16] = {9};
	int len = snprintf(s->idempotency_key, sizeof(s->idempotency_key), "d%u", r->id);
	struct seen_range ranges[MODEL_RECORDS_MAX];
	struct seen_answer answer = {.ranges = ranges, .ranges_max = MODEL_RECORDS_MAX};
	struct seen_key key = {.payload = r->id, .expires_ms = wall_ms(w) + 30ll * DAY_MS};
	struct seen *seen = log_seen(w->log);
	uint32_t sum = 0;
	int verdict;

	key.fingerprint = seen_fingerprint(seen, slice_make(scope, sizeof(scope)),
					   slice_make(s->idempotency_key, (size_t)len));
	verdict = seen_claim(seen, &key, wall_ms(w), &s->key.claim, &answer, NULL);
	if (verdict == SEEN_READ)
		verdict = seen_read(seen, &key, wall_ms(w), &s->key.claim, &answer, NULL);
	if (verdict == SEEN_REUSED)
		model_fail("the key of request %u is said to have another payload", r->id);
	if (verdict == SEEN_DUPLICATE) {
		for (uint32_t i = 0; i < answer.range_count; i++)
			sum += ranges[i].count;
		if (sum != r->count)
			model_fail("the key of request %u remembers %u of %u records", r->id, sum, r->count);
		r->in_flight--;
		world_say(w, "request %u answered as a duplicate", r->id);
		model_answered(&w->model, r, false, true);
	} else if (verdict != SEEN_NEW) {
		r->in_flight--;
		model_refused(&w->model, r);
	}
	return verdict;
}

static void start_direct(struct world *w, struct send *s, struct model_request *r)
{
	int rc;

	log_enter_begin(w->log);
	if (r->keyed && claim(w, s, r) != SEEN_NEW) {
		log_enter_end(w->log);
		end_send(s);
		return;
	}
	fill_direct(w, s, r);
	s->key.first = 0;
	s->key.count = r->count;
	s->commit = (struct log_commit){.records = s->records,
					.record_count = r->count + 1u,
					.keys = &s->key,
					.key_count = r->keyed,
					.ack = s->none ? LOG_ACK_WRITTEN : LOG_ACK_DURABLE,
					.port = w->port,
					.on_done = on_committed};
	rc = log_enter(w->log, &s->commit);
	if (rc == 0) {
		w->rows[r->row] = r->id;
		r->entered = ++w->model.entered;
	}
	log_enter_end(w->log);
	if (rc == 0)
		return;
	if (r->keyed)
		log_wake_waiters(seen_release(log_seen(w->log), &s->key.claim));
	take_refusal(s, rc);
	end_send(s);
}

/* ---- choosing ---- */

static struct model_request *choose_old(struct world *w)
{
	uint32_t count = w->model.request_count;
	uint32_t first = count > 200 && below(w, 4) ? count - 200 : 1;

	for (uint32_t i = 0; i < 8 && count > 1; i++) {
		struct model_request *r = &w->model.requests[first + below(w, count - first)];
		const struct model_topic *t = &w->model.topics[r->topic];
		if (r->keyed && t->pure && r->tries && r->sure_until_ms > w->model.wall_max_ms + 2 * DAY_MS)
			return r;
	}
	return NULL;
}

static int choose_topic(struct world *w, bool pure)
{
	for (uint32_t i = 0; i < 16; i++) {
		uint32_t topic = below(w, w->model.topic_count);
		const struct model_topic *t = &w->model.topics[topic];
		if (t->created && !t->deleting && (!pure || t->pure))
			return (int)topic;
	}
	return -1;
}

/* ---- topics that come into being when they are named ---- */

static int topic_on_use(struct world *w)
{
	static const char *const names[] = {"a0", "a1", "a2"};
	const char *name = names[below(w, 3)];
	uint32_t number;

	for (uint32_t i = 0; i < w->model.topic_count; i++)
		if (strcmp(w->model.topics[i].name, name) == 0)
			return (int)i;
	number = model_topic_new(&w->model, name, 1);
	w->model.topics[number].on_use = w->model.topics[number].pure = true;
	w->model.topics[number].ttl_ms = 30ll * DAY_MS;
	return (int)number;
}

/* One that was lost with the power before it was durable, or never made, gets another id. */
int client_topic_of(struct world *w, const struct topic *topic)
{
	int number = model_topic_of(&w->model, &topic->id), named = -1;
	uint32_t parts = atomic_load(&((struct topic *)(uintptr_t)topic)->partition_count);

	if (number >= 0 || !w->profile.auto_create)
		return number;
	for (uint32_t i = 0; i < w->model.topic_count; i++)
		if (strcmp(w->model.topics[i].name, topic->name) == 0)
			named = (int)i;
	if (named < 0)
		return -1;
	if (!w->model.topics[named].on_use || w->model.topics[named].created)
		named = (int)model_topic_new(&w->model, topic->name, parts); /* of one that was deleted */
	/* It has the defaults, until it is changed as its name has it. */
	w->model.topics[named].frees = topic->name[0] == 'r' || topic->name[0] == 'h';
	w->model.topics[named].compacted = topic->name[0] == 'c';
	w->model.topics[named].id = topic->id;
	w->model.topics[named].parts = w->model.topics[named].parts_asked = parts;
	return named;
}

static int choose_compacted(const struct world *w)
{
	for (uint32_t i = 0; i < w->model.topic_count; i++) {
		const struct model_topic *t = &w->model.topics[i];
		if (t->compacted && t->created && !t->deleting)
			return (int)i;
	}
	return -1;
}

static struct model_request *new_request(struct world *w)
{
	bool direct = chance(w, 4);
	bool compacted = !direct && w->profile.compacting && chance(w, 2);
	bool on_use = !direct && !compacted && w->profile.auto_create && chance(w, 6);
	int topic = compacted ? choose_compacted(w) : on_use ? topic_on_use(w) : choose_topic(w, direct);
	int other = direct ? choose_topic(w, true) : topic;
	struct model_request *r;

	if (topic < 0 || other < 0)
		return NULL;
	r = model_request_new(&w->model, (uint32_t)topic, (uint32_t)other,
			      chance(w, 2) ? 1 : 1 + below(w, MODEL_RECORDS_MAX));
	if (direct)
		r->row = (int8_t)below(w, MODEL_ROWS);
	r->keyed = chance(w, 2) && w->model.topics[topic].pure;
	r->loose = !direct && (r->keyed || is_event(r));
	r->own_time = !direct && kind_of(r) == KIND_JSON && chance(w, 8);
	r->sure_until_ms = wall_ms(w) + 30ll * DAY_MS;
	return r;
}

void client_send(struct world *w)
{
	struct model_request *r = chance(w, 4) ? choose_old(w) : NULL;
	struct send *s = free_send(w);
	bool again = r != NULL;

	if (!s)
		return;
	if (!r)
		r = new_request(w);
	if (!r)
		return;
	s->w = w;
	s->request = r->id;
	s->direct = r->row >= 0;
	s->answered = false;
	s->none = !r->keyed && chance(w, 8);
	s->conflict = again && !s->direct && r->acked && r->fate == FATE_PRESENT &&
		      (!is_event(r) || has_unit_key(r)) && chance(w, 4);
	if (s->direct && w->model.topics[r->topic].parts == 0)
		return;
	s->used = true;
	w->operations++;
	world_say(w, "request %u: %u records to %s%s%s%s%s", r->id, r->count, w->model.topics[r->topic].name,
		  s->direct ? " and more" : "", r->keyed ? ", with a key" : "", again ? ", again" : "",
		  s->conflict ? " with another body" : "");
	if (!s->conflict) {
		if (r->in_flight++ == 0)
			r->was_present = r->fate == FATE_PRESENT;
		r->tries++;
		r->loose |= again;
		if (r->fate == FATE_ABSENT)
			r->fate = FATE_UNKNOWN;
	}
	if (s->direct) {
		client_flush(w); /* what was sent before enters before */
		start_direct(w, s, &w->model.requests[s->request]);
	} else {
		start_ingest(w, s, r);
	}
}

void client_flush(struct world *w)
{
	ingest_flush(w->queue);
}

bool clients_waiting(const struct world *w)
{
	for (uint32_t i = 0; i < SENDS_MAX; i++)
		if (w->sends[i].used)
			return true;
	for (uint32_t i = 0; i < 8; i++)
		if (w->changes[i].used)
			return true;
	return w->job_count > 0;
}

void clients_forget(struct world *w)
{
	for (uint32_t i = 0; i < SENDS_MAX; i++)
		w->sends[i].used = false;
	for (uint32_t i = 0; i < 8; i++)
		w->changes[i].used = false;
	w->job_count = 0;
}

/* ---- lookups that wait for the disk ---- */

int client_queue_job(void *ctx, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
	struct world *w = ctx;

	if (w->job_count == JOBS_MAX)
		return ERR_OVERLOADED;
	w->jobs[w->job_count++] = (struct job){.run = run, .done = done, .arg = arg};
	return 0;
}

void client_run_jobs(struct world *w)
{
	struct job job;

	if (w->job_count == 0)
		return;
	job = w->jobs[0];
	w->job_count--;
	memmove(w->jobs, w->jobs + 1, w->job_count * sizeof(job));
	job.run(job.arg);
	job.done(job.arg);
}

/* ---- topics ---- */

static struct change *free_change(struct world *w)
{
	for (uint32_t i = 0; i < 8; i++)
		if (!w->changes[i].used)
			return &w->changes[i];
	return NULL;
}

static void on_changed(void *ctx)
{
	struct change *c = ctx;
	struct model_topic *t = &c->w->model.topics[c->topic];

	world_say(c->w, "topic %s: the change is answered", t->name);
	if (c->kind == CHANGE_CREATE)
		t->created = true;
	if (c->kind == CHANGE_PARTS)
		t->parts = c->parts > t->parts ? c->parts : t->parts;
	if (c->kind == CHANGE_DELETE)
		t->deleted = true;
	for (uint32_t i = 0; i < MODEL_PARTS_MAX && c->kind == CHANGE_TRIM; i++)
		if (c->before[i] > t->part[i].trim_sure)
			t->part[i].trim_sure = c->before[i];
	c->used = false;
}

static struct state_done told(struct world *w, struct change *c)
{
	c->used = true;
	c->w = w;
	return (struct state_done){.port = w->port, .fn = on_changed, .ctx = c};
}

static void config_of(const struct world *w, const char *name, uint32_t parts, struct topic_config *config)
{
	*config = (struct topic_config){.partitions = parts,
					.retention_ms = -1,
					.retention_bytes = -1,
					.idempotency_ttl_ms = 30ll * DAY_MS};
	if (name[0] == 'r')
		config->retention_bytes = 20000;
	if (name[0] == 'h')
		config->retention_ms = 3600000;
	config->recompress_after_ms = w->profile.recompress_ms;
	if (name[0] != 'c')
		return;
	config->cleanup = TOPIC_COMPACT;
	config->compaction_dirty_percent = w->profile.dirty_percent;
	config->compaction_max_lag_ms = w->profile.max_lag_ms;
	config->compaction_tombstone_ms = w->profile.tombstone_ms;
}

void client_create(struct world *w, const char *name, uint32_t parts)
{
	struct change *c = free_change(w);
	struct topic_config config;
	struct state_done done;
	struct topic *topic;
	uint32_t number;
	int rc;

	if (!c || w->model.topic_count > MODEL_TOPICS_MAX - 32)
		return;
	config_of(w, name, parts, &config);
	done = told(w, c);
	c->kind = CHANGE_CREATE;
	log_enter_begin(w->log);
	rc = topics_create(w->topics, slice_str(name), &config, false, &done, &topic, NULL);
	if (rc == 0) {
		c->topic = number = model_topic_new(&w->model, name, parts);
		w->model.topics[number].id = topic->id;
		w->model.topics[number].frees = name[0] == 'r' || name[0] == 'h';
		w->model.topics[number].compacted = name[0] == 'c';
		w->model.topics[number].pure = name[0] == 't';
		w->model.topics[number].ttl_ms = 30ll * DAY_MS;
		world_say(w, "topic %s is made, with %u partitions", name, parts);
	}
	log_enter_end(w->log);
	if (rc)
		c->used = false;
}

static void add_parts(struct world *w, struct topic *topic, uint32_t number)
{
	struct model_topic *t = &w->model.topics[number];
	uint32_t parts = atomic_load(&topic->partition_count) + 1;
	struct change *c = free_change(w);
	struct topic_config config;
	struct state_done done;
	int rc;

	if (!c || parts > MODEL_PARTS_MAX)
		return;
	done = told(w, c);
	c->kind = CHANGE_PARTS;
	c->topic = number;
	c->parts = parts;
	config_of(w, t->name, parts, &config);
	log_enter_begin(w->log);
	rc = topics_change(w->topics, topic, &config, false, &done, NULL);
	log_enter_end(w->log);
	if (rc == 0)
		t->parts_asked = parts;
	else
		c->used = false;
	world_say(w, "topic %s gets a partition: %d", t->name, rc);
}

static void delete_topic(struct world *w, struct topic *topic, uint32_t number)
{
	struct change *c = free_change(w);
	struct state_done done;
	int rc;

	if (!c)
		return;
	done = told(w, c);
	c->kind = CHANGE_DELETE;
	c->topic = number;
	log_enter_begin(w->log);
	rc = topics_delete(w->topics, topic, &done);
	log_enter_end(w->log);
	if (rc == 0)
		w->model.topics[number].deleting = true;
	else
		c->used = false;
	world_say(w, "topic %s is deleted: %d", w->model.topics[number].name, rc);
}

static void trim_topic(struct world *w, struct topic *topic, uint32_t number)
{
	struct model_topic *t = &w->model.topics[number];
	struct change *c = free_change(w);
	struct state_done done;
	int rc;

	if (!c)
		return;
	done = told(w, c);
	c->kind = CHANGE_TRIM;
	c->topic = number;
	for (uint32_t i = 0; i < MODEL_PARTS_MAX; i++)
		c->before[i] =
			t->part[i].end && chance(w, 2) ? (int64_t)below(w, (uint32_t)t->part[i].end) : -1;
	log_enter_begin(w->log);
	rc = topics_trim(w->topics, topic, c->before, atomic_load(&topic->partition_count), &done);
	log_enter_end(w->log);
	for (uint32_t i = 0; i < MODEL_PARTS_MAX && rc == 0; i++)
		if (c->before[i] > t->part[i].trim_asked)
			t->part[i].trim_asked = c->before[i];
	if (rc)
		c->used = false;
	world_say(w, "topic %s is trimmed: %d", t->name, rc);
}

void client_change_topics(struct world *w)
{
	static const char *const names[] = {"x0", "x1", "x2", "r1", "h1", "c1"};
	int number = choose_topic(w, false);
	struct topic *topic = number < 0 ? NULL : topics_find_id(w->topics, &w->model.topics[number].id);

	w->operations++;
	if (chance(w, 3) || !topic)
		client_create(w, names[below(w, 6)], 1 + below(w, 3));
	else if (chance(w, 3))
		add_parts(w, topic, (uint32_t)number);
	else if (!w->model.topics[number].pure && w->model.topic_count < MODEL_TOPICS_MAX - 8 && chance(w, 2))
		delete_topic(w, topic, (uint32_t)number);
	else if (!w->model.topics[number].pure)
		trim_topic(w, topic, (uint32_t)number);
}
