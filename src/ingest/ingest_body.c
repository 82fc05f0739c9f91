/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a body to drafts: the records of the request in order, each with value,
 * key and encoded headers in place, so that entering is a matter of offsets.
 *
 * A body of one record takes no memory beyond its copy: the record stands in
 * the request. NDJSON counts its newlines first and has its array at once.
 * Envelopes begin small, then take what as many records would need as the body
 * has braces: doubling left as much again behind in the arena. What a record has of
 * its own (key to be remembered by, partition) stands beside it in an item, which
 * plain bodies do not have.
 *
 * From these counts follows what a large body becomes before it is parsed, and where the
 * budget has no room for that it is refused then: half way would be too late.
 *
 * Every slice of a draft lies in the arena or, where body_stays, in the body.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/wire.h"
#include "ingest/envelope.h"
#include "ingest/ingest_dead.h"
#include "ingest/key.h"
#include "json/ndjson.h"
#include "proto/batch/batch.h"
#include "proto/cloudevents/cloudevents.h"

#define DRAFTS_FIRST 16u
#define DRAFTS_NEXT 1024u
#define ASK_BYTES 65536u /* less goes without asking: such requests are many and short */
#define ERRORS_FIRST 16u

int ingest_refuse(struct ingest_request *r, int err, const char *format, ...)
{
	char text[512];
	struct slice copy;
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	copy = arena_copy(r->arena, slice_make(text, strlen(text) + 1));
	r->result.err = err;
	r->result.detail = copy.ptr ? (const char *)copy.ptr : err_row(err)->sentence;
	return err;
}

int ingest_refuse_plainly(struct ingest_request *r, int err)
{
	r->result.err = err;
	r->result.detail = err_row(err)->sentence;
	return err;
}

/* For a callee's int: 0 stays 0, an error without text gets its sentence. */
static int pass_on(struct ingest_request *r, int rc)
{
	return rc && r->result.err == 0 ? ingest_refuse_plainly(r, rc) : rc;
}

static int refuse_with(struct ingest_request *r, const struct fault *fault)
{
	return ingest_refuse(r, fault->err, "%s", fault->text);
}

/* ---- growing ---- */

int ingest_check_memory(const struct ingest_queue *q, struct ingest_request *r, size_t bytes)
{
	if (bytes < ASK_BYTES || !q->share || budget_admits(q->share, bytes, r->arena->bytes + r->body.len))
		return 0;
	return ingest_refuse(r, ERR_OVERLOADED,
			     "The memory that is set aside for clients is in use; try again");
}

static uint32_t count_bytes(struct slice body, uint8_t byte, uint32_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < body.len; i++)
		n += body.ptr[i] == byte;
	return n < max ? (uint32_t)n : max;
}

/* A larger copy of an array in the arena; the old one is left there. */
static void *grow(struct arena *arena, const void *old, uint32_t count, uint32_t cap, size_t size)
{
	void *bigger = arena_alloc(arena, (size_t)cap * size);

	if (bigger && count)
		memcpy(bigger, old, count * size);
	return bigger;
}

int ingest_reject(struct ingest_request *r, const struct ingest_error *error)
{
	struct ingest_result *result = &r->result;

	if (result->error_count == r->error_cap) {
		uint32_t cap = r->error_cap ? r->error_cap * 2 : ERRORS_FIRST;
		struct ingest_error *bigger =
			grow(r->arena, result->errors, result->error_count, cap, sizeof(*bigger));
		if (!bigger)
			return ingest_refuse_plainly(r, ERR_NOMEM);
		result->errors = bigger;
		r->error_cap = cap;
	}
	result->errors[result->error_count++] = *error;
	return 0;
}

int ingest_check_errors(struct ingest_request *r, uint32_t good)
{
	uint32_t bad = r->result.error_count;

	if (bad == 0 || r->on_error == INGEST_DEAD || (r->on_error == INGEST_SKIP && good > 0))
		return 0;
	return ingest_refuse(r, ERR_BAD_BATCH,
			     "%u of %u records were refused and nothing was stored: see errors", bad,
			     r->index_count);
}

static int reserve_drafts(struct ingest_request *r, uint32_t cap, bool with_items)
{
	r->drafts = grow(r->arena, r->drafts, r->draft_count, cap, sizeof(*r->drafts));
	if (r->drafts && with_items)
		r->items = grow(r->arena, r->items, r->draft_count, cap, sizeof(*r->items));
	if (!r->drafts || (with_items && !r->items))
		return ingest_refuse_plainly(r, ERR_NOMEM);
	r->draft_cap = cap;
	return 0;
}

static void set_draft(struct log_record *d, uint32_t index, struct slice key, struct slice value)
{
	/* All of it: the memory of a request is used again. */
	*d = (struct log_record){.timestamp_ms = -1, .key = key, .value = value, .tag = index, .offset = -1};
}

/* One more record of the body, good or bad. */
static int count_record(struct ingest_queue *q, struct ingest_request *r, uint32_t *index)
{
	uint32_t max = atomic_load_explicit(&q->ingest->records_max, memory_order_relaxed);

	if (r->index_count == max)
		return ingest_refuse(r, ERR_TOO_MANY_RECORDS, "The request has more than %u records", max);
	*index = r->index_count++;
	return 0;
}

/* ---- headers and sizes ---- */

/* Appends the idempotency key, so that consumers see it and runs of keys can be rebuilt from records. */
static int add_key_header(struct headers *h, struct slice key)
{
	return key.ptr ? headers_add(h, SLICE_LIT("idempotency-key"), key) : 0;
}

static int encode_headers(struct ingest_queue *q, struct ingest_request *r, struct log_record *d)
{
	d->header_count = q->headers.count;
	return pass_on(r, headers_encode(&q->headers, r->arena, &d->headers));
}

/* The caller's encoded headers with the key's behind them. */
static int encode_single(struct ingest_request *r, struct log_record *d)
{
	struct slice name = SLICE_LIT("idempotency-key");
	uint8_t *to;

	d->headers = r->record_headers;
	d->header_count = r->record_header_count;
	if (!r->unit_key.ptr)
		return 0;
	to = arena_alloc(r->arena, r->record_headers.len + batch_header_bytes(name, r->unit_key));
	if (!to)
		return ingest_refuse_plainly(r, ERR_NOMEM);
	d->headers.ptr = to;
	to = wire_put_bytes(to, r->record_headers);
	d->headers.len = (size_t)(batch_header_put(to, name, r->unit_key) - d->headers.ptr);
	d->header_count++;
	return 0;
}

static bool value_too_large(const struct ingest_queue *q, const struct log_record *d)
{
	return d->value.len > atomic_load_explicit(&q->ingest->record_bytes_max, memory_order_relaxed);
}

static bool head_too_large(const struct ingest_queue *q, const struct log_record *d)
{
	return d->key.len + d->headers.len >
	       atomic_load_explicit(&q->ingest->header_bytes_max, memory_order_relaxed);
}

/* NULL, or why the record is too large: in the arena. */
static const char *too_large(const struct ingest_queue *q, struct ingest_request *r,
			     const struct log_record *d)
{
	bool value = value_too_large(q, d);
	struct slice copy;
	char text[96];

	if (!value && !head_too_large(q, d))
		return NULL;
	(void)snprintf(text, sizeof(text), "%s %zu bytes: at most %zu are allowed",
		       value ? "the value has" : "key and headers have",
		       value ? d->value.len : d->key.len + d->headers.len,
		       value ? (size_t)q->ingest->record_bytes_max : (size_t)q->ingest->header_bytes_max);
	copy = arena_copy(r->arena, slice_make(text, strlen(text) + 1));
	return copy.ptr ? (const char *)copy.ptr : "the record is over the limit";
}

static int check_single_size(const struct ingest_queue *q, struct ingest_request *r,
			     const struct log_record *d)
{
	const struct ingest *in = q->ingest;

	if (!value_too_large(q, d) && !head_too_large(q, d))
		return 0;
	if (value_too_large(q, d))
		return ingest_refuse(r, ERR_RECORD_TOO_LARGE,
				     "The record has %zu bytes: at most %zu are allowed", d->value.len,
				     (size_t)in->record_bytes_max);
	return ingest_refuse(r, ERR_RECORD_TOO_LARGE,
			     "Key and headers have %zu bytes: at most %zu are allowed",
			     d->key.len + d->headers.len, (size_t)in->header_bytes_max);
}

/* ---- fingerprints of payloads ---- */

/*
 * Lengths and presence first, so that bytes cannot move from one part to the
 * next unseen; then the parts.
 */
static uint64_t payload_of(struct seen *seen, int64_t partition, struct slice key, struct slice headers,
			   struct slice body)
{
	uint8_t head[32];
	uint8_t *at = head;
	uint64_t state;

	at = wire_put_u64(at, (uint64_t)partition);
	at = wire_put_u64(at, key.ptr ? key.len : UINT64_MAX);
	at = wire_put_u64(at, headers.len);
	at = wire_put_u64(at, body.ptr ? body.len : UINT64_MAX);
	state = seen_payload(seen, 0, slice_make(head, sizeof(head)));
	if (key.len)
		state = seen_payload(seen, state, key);
	if (headers.len)
		state = seen_payload(seen, state, headers);
	if (body.len)
		state = seen_payload(seen, state, body);
	return state;
}

/* ---- one record a body ---- */

/* How a dead letter of this body is to be read again. */
static void set_form(struct ingest_request *r, struct slice form, bool is_body)
{
	r->form = form;
	r->raw_is_body = is_body;
}

static int single_draft(struct ingest_queue *q, struct ingest_request *r, struct slice value)
{
	uint32_t index = 0;
	int rc = count_record(q, r, &index);

	if (rc)
		return rc;
	r->drafts = &r->one;
	r->draft_count = r->draft_cap = 1;
	set_draft(&r->one, index, r->key, r->tombstone ? slice_null() : value);
	r->one.timestamp_ms = r->timestamp_ms;
	return 0;
}

static int parse_bytes(struct ingest_queue *q, struct ingest_request *r, struct slice body)
{
	int rc = single_draft(q, r, body);

	if (rc == 0)
		rc = encode_single(r, &r->one);
	if (rc == 0)
		rc = check_single_size(q, r, &r->one);
	if (rc == 0 && r->unit_key.ptr)
		r->unit_seen.payload =
			payload_of(q->ingest->seen, r->partition, r->key, r->record_headers, body);
	return rc;
}

static int refuse_json(struct ingest_request *r, const struct json_error *error)
{
	char text[160];

	json_error_text(error, text, sizeof(text));
	return ingest_refuse(r, ERR_BAD_JSON, "The body is not well-formed JSON %s", text);
}

static int parse_json(struct ingest_queue *q, struct ingest_request *r, struct slice body)
{
	struct json_error error;

	set_form(r, SLICE_LIT("application/json"), true);
	if (body.len <= q->ingest->record_bytes_max && json_valid(body, &error))
		return refuse_json(r, &error);
	return parse_bytes(q, r, body);
}

/* ---- NDJSON ---- */

static int reject_line(struct ingest_request *r, uint32_t index, uint64_t line, const struct json_error *bad,
		       const char *large)
{
	struct ingest_error error = {
		.index = index,
		.line = (uint32_t)line,
		.err = bad ? ERR_BAD_JSON : ERR_RECORD_TOO_LARGE,
		.what = bad ? bad->what : large,
		.at = bad ? bad->at : 0,
		.has_place = bad,
		.raw = r->raw,
	};

	return ingest_reject(r, &error);
}

static int take_lines(struct ingest_queue *q, struct ingest_request *r, struct ndjson *n,
		      const struct log_record *model)
{
	struct json_error error;
	struct slice doc;
	uint32_t index = 0;
	int found;

	while ((found = ndjson_next(n, &doc, &error)) != 0) {
		struct log_record *d = &r->drafts[r->draft_count];
		const char *large = NULL;
		int rc = count_record(q, r, &index);
		if (rc)
			return rc;
		r->raw = doc;
		if (found == 1) {
			*d = *model;
			d->value = doc;
			d->tag = index;
			large = too_large(q, r, d);
		}
		if (found == 1 && !large) {
			r->draft_count++;
			continue;
		}
		rc = reject_line(r, index, n->line, found == 1 ? NULL : &error, large);
		if (rc)
			return rc;
	}
	return 0;
}

static int parse_ndjson(struct ingest_queue *q, struct ingest_request *r, struct slice body)
{
	uint32_t max = atomic_load_explicit(&q->ingest->records_max, memory_order_relaxed);
	uint32_t lines = count_bytes(body, '\n', max - 1) + 1;
	struct log_record model;
	struct ndjson n;
	int rc;

	set_form(r, SLICE_LIT("application/json"), false);
	rc = ingest_check_memory(q, r, lines * sizeof(model));

	if (rc)
		return rc;
	set_draft(&model, 0, r->key, slice_null());
	rc = encode_single(r, &model);
	if (rc == 0)
		rc = reserve_drafts(r, lines, false);
	if (rc)
		return rc;
	ndjson_init(&n, body);
	rc = take_lines(q, r, &n, &model);
	if (rc == 0 && r->unit_key.ptr)
		r->unit_seen.payload =
			payload_of(q->ingest->seen, r->partition, r->key, r->record_headers, body);
	return rc;
}

/* ---- bodies of several records with settings of their own ---- */

/* Before a body of many objects: each record is one, and one more may be looked at. */
static int expect_items(struct ingest_queue *q, struct ingest_request *r, struct slice body)
{
	uint32_t max = atomic_load_explicit(&q->ingest->records_max, memory_order_relaxed);

	r->draft_max = count_bytes(body, '{', max) + 1;
	return ingest_check_memory(q, r,
				   body.len + r->draft_max * (sizeof(struct log_record) +
							      sizeof(struct ingest_item)));
}

static uint32_t next_cap(const struct ingest_request *r)
{
	uint32_t cap = r->draft_cap == 0          ? DRAFTS_FIRST :
		       r->draft_cap < DRAFTS_NEXT ? DRAFTS_NEXT :
						    r->draft_max;

	return cap < r->draft_max ? cap : r->draft_max;
}

/* The next draft with its item, not yet counted in. */
static int begin_item(struct ingest_queue *q, struct ingest_request *r, uint32_t *index)
{
	int rc = count_record(q, r, index);

	if (rc == 0 && r->draft_count == r->draft_cap)
		rc = reserve_drafts(r, next_cap(r), true);
	return rc;
}

static int reject_item(struct ingest_request *r, uint32_t index, int err, const char *text)
{
	struct slice copy = arena_copy(r->arena, slice_make(text, strlen(text) + 1));
	struct ingest_error error = {.index = index,
				     .err = err,
				     .what = (const char *)copy.ptr,
				     .raw = r->raw};

	return copy.ptr ? ingest_reject(r, &error) : ingest_refuse_plainly(r, ERR_NOMEM);
}

/*
 * Finishes the draft at draft_count: headers from the queue's scratch with the
 * key behind, size. key: the record's own; payload false: any payload is the same.
 */
static int finish_item(struct ingest_queue *q, struct ingest_request *r, struct slice key, int64_t partition,
		       bool with_payload)
{
	struct log_record *d = &r->drafts[r->draft_count];
	struct ingest_item *item = &r->items[r->draft_count];
	const char *large;
	int rc;

	*item = (struct ingest_item){.key = key,
				     .partition = (int32_t)partition,
				     .repeats = UINT32_MAX,
				     .raw = r->raw};
	if (add_key_header(&q->headers, r->unit_key.ptr ? r->unit_key : key))
		return reject_item(r, d->tag, ERR_BAD_RECORD, "a record has at most 128 headers");
	rc = encode_headers(q, r, d);
	if (rc)
		return rc;
	large = too_large(q, r, d);
	if (large)
		return reject_item(r, d->tag, ERR_RECORD_TOO_LARGE, large);
	if (key.ptr && with_payload)
		item->seen.payload = payload_of(q->ingest->seen, partition, d->key, d->headers, d->value);
	r->own_key_count += key.ptr != NULL;
	r->draft_count++;
	return 0;
}

static int reject_partition(struct ingest_request *r, uint32_t index, int64_t partition)
{
	char text[96];

	(void)snprintf(text, sizeof(text), "partition %lld is out of range: the topic has %u, from 0 on",
		       (long long)partition, r->partition_limit);
	return reject_item(r, index, ERR_PARTITION_RANGE, text);
}

static int take_envelope(struct ingest_queue *q, struct ingest_request *r, const struct envelope *e,
			 uint32_t index)
{
	struct log_record *d = &r->drafts[r->draft_count];

	if (e->idempotency_key.ptr && r->unit_key.ptr)
		return reject_item(
			r, index, ERR_BAD_KEY,
			"the record has an idempotency_key and the request has one, too: use one of both");
	if (e->partition >= r->partition_limit)
		return reject_partition(r, index, e->partition);
	set_draft(d, index, e->key.ptr ? e->key : r->key, e->value);
	d->timestamp_ms = e->timestamp_ms;
	return finish_item(q, r, e->idempotency_key, e->partition >= 0 ? e->partition : r->partition, true);
}

/* What the cursor has just gone over, without blanks. */
static struct slice passed_over(const struct json_cursor *c, const uint8_t *before)
{
	return slice_trim(slice_make(before, (size_t)(c->at - before)));
}

static int take_records(struct ingest_queue *q, struct ingest_request *r, struct json_cursor *c)
{
	struct envelope e = {.headers = &q->headers};
	uint32_t index = 0;
	int rc = 0;

	if (json_peek(c) != JSON_ARRAY && !c->status)
		return ingest_refuse(r, ERR_MALFORMED,
				     "The member records is not an array: expected {\"records\":[…]}");
	json_array_begin(c);
	while (rc == 0 && json_array_next(c)) {
		const uint8_t *before;
		int read;
		rc = begin_item(q, r, &index);
		if (rc)
			return rc;
		before = c->at;
		read = envelope_read(&e, ENVELOPE_BATCH, c, r->arena);
		r->raw = passed_over(c, before);
		if (read == 0)
			rc = take_envelope(q, r, &e, index);
		else if (e.fault.err)
			rc = reject_item(r, index, e.fault.err, e.fault.text);
		else if (read == ERR_NOMEM)
			rc = ingest_refuse_plainly(r, ERR_NOMEM);
	}
	return rc;
}

static int take_batch(struct ingest_queue *q, struct ingest_request *r, struct json_cursor *c)
{
	bool found = false;
	struct slice name;
	int rc = 0;

	if (json_peek(c) != JSON_OBJECT && !c->status)
		return ingest_refuse(r, ERR_MALFORMED,
				     "The batch is not an object: expected {\"records\":[…]}");
	if (json_object_begin(c))
		return 0;
	while (rc == 0 && json_object_next(c, &name)) {
		if (!json_name_is(name, "records"))
			return ingest_refuse(
				r, ERR_MALFORMED,
				"The batch has a member other than records: expected {\"records\":[…]}");
		if (found)
			return ingest_refuse(r, ERR_MALFORMED, "The batch has the member records twice");
		found = true;
		rc = take_records(q, r, c);
	}
	if (rc == 0 && !c->status && !found)
		return ingest_refuse(r, ERR_MALFORMED,
				     "The batch has no member records: expected {\"records\":[…]}");
	return rc;
}

/* Runs a reader of the whole body and tells a broken document from a refusal. */
static int parse_document(struct ingest_queue *q, struct ingest_request *r, struct slice body,
			  int (*take)(struct ingest_queue *q, struct ingest_request *r,
				      struct json_cursor *c))
{
	struct json_cursor c;
	int rc;

	json_cursor_init(&c, body);
	rc = take(q, r, &c);
	if (rc == 0 && json_end(&c))
		rc = refuse_json(r, &c.error);
	if (rc == 0 && r->unit_key.ptr && r->unit_seen.payload == 0)
		r->unit_seen.payload =
			payload_of(q->ingest->seen, r->partition, r->key, r->record_headers, body);
	return rc;
}

static int parse_batch(struct ingest_queue *q, struct ingest_request *r, struct slice body)
{
	int rc = expect_items(q, r, body);

	set_form(r, SLICE_LIT("application/vnd.weir.batch+json"), false);
	return rc ? rc : parse_document(q, r, body, take_batch);
}

/* ---- CloudEvents ---- */

/* Attributes and content type into the scratch; ERR_LIMIT cannot happen: 64 and two are less than 128. */
static void event_headers(struct ingest_queue *q, const struct cloudevent *e)
{
	headers_clear(&q->headers);
	for (uint32_t i = 0; i < e->attribute_count; i++)
		(void)headers_add(&q->headers, e->attributes[i].name, e->attributes[i].value);
	if (e->content_type.ptr)
		(void)headers_add(&q->headers, SLICE_LIT("content-type"), e->content_type);
}

/* The request's key, else the extension's. Copied: in binary mode the latter lies in a request header. */
static int event_key(struct ingest_request *r, const struct cloudevent *e, struct slice *key)
{
	*key = r->key;
	if (r->key.ptr || !e->partition_key.ptr)
		return 0;
	*key = arena_copy(r->arena, e->partition_key);
	return key->ptr ? 0 : ingest_refuse_plainly(r, ERR_NOMEM);
}

/* Binary or structured: the event is the body, its key the body's, whatever the payload. */
static int take_single_event(struct ingest_queue *q, struct ingest_request *r, const struct cloudevent *e)
{
	bool own_key = !r->unit_key.ptr;
	struct slice key;
	int rc = event_key(r, e, &key);

	if (rc == 0)
		rc = single_draft(q, r, e->data);
	if (rc)
		return rc;
	r->one.key = key;
	event_headers(q, e);
	if (own_key) {
		rc = pass_on(r, cloudevent_key(e, &r->unit_key));
	} else {
		rc = encode_headers(q, r, &r->one);
		r->unit_seen.payload =
			payload_of(q->ingest->seen, r->partition, key, r->one.headers, e->data);
	}
	if (rc)
		return rc;
	(void)add_key_header(&q->headers, r->unit_key);
	rc = encode_headers(q, r, &r->one);
	return rc ? rc : check_single_size(q, r, &r->one);
}

static int parse_structured(struct ingest_queue *q, struct ingest_request *r, struct slice body)
{
	struct cloudevent e;
	struct json_cursor c;
	int rc;

	set_form(r, SLICE_LIT("application/cloudevents+json"), true);
	json_cursor_init(&c, body);
	rc = cloudevent_read(&e, &c, r->arena);
	if (rc == ERR_NOMEM)
		return ingest_refuse_plainly(r, rc);
	if (json_end(&c))
		return refuse_json(r, &c.error);
	return rc ? refuse_with(r, &e.fault) : take_single_event(q, r, &e);
}

static int parse_binary(struct ingest_queue *q, struct ingest_request *r, struct slice body)
{
	struct slice name, value;
	struct cloudevent e;
	int rc = 0;

	cloudevent_begin(&e, r->arena);
	for (uint32_t i = 0; rc == 0 && r->header(r->header_ctx, i, &name, &value); i++)
		rc = cloudevent_header(&e, name, value);
	if (rc == 0)
		rc = cloudevent_end(&e, r->content_type, body);
	if (rc)
		return e.fault.err ? refuse_with(r, &e.fault) : ingest_refuse_plainly(r, rc);
	return take_single_event(q, r, &e);
}

static int take_event(struct ingest_queue *q, struct ingest_request *r, const struct cloudevent *e,
		      uint32_t index)
{
	struct slice event = slice_null();
	struct slice key;
	int rc = event_key(r, e, &key);

	if (rc == 0 && !r->unit_key.ptr)
		rc = pass_on(r, cloudevent_key(e, &event));
	if (rc)
		return rc;
	set_draft(&r->drafts[r->draft_count], index, key, e->data);
	event_headers(q, e);
	return finish_item(q, r, event, r->partition, false);
}

static int take_events(struct ingest_queue *q, struct ingest_request *r, struct json_cursor *c)
{
	struct cloudevent e;
	uint32_t index = 0;
	int rc = 0;

	if (json_peek(c) != JSON_ARRAY && !c->status)
		return ingest_refuse(r, ERR_BAD_EVENT,
				     "A batch of events is an array; one event by itself is sent as "
				     "application/cloudevents+json");
	if (json_array_begin(c))
		return 0;
	while (rc == 0 && json_array_next(c)) {
		const uint8_t *before;
		int read;
		rc = begin_item(q, r, &index);
		if (rc)
			return rc;
		before = c->at;
		read = cloudevent_read(&e, c, r->arena);
		r->raw = passed_over(c, before);
		if (read == 0)
			rc = take_event(q, r, &e, index);
		else if (read == ERR_BAD_EVENT)
			rc = reject_item(r, index, ERR_BAD_EVENT, e.fault.text);
		else if (read == ERR_NOMEM)
			rc = ingest_refuse_plainly(r, ERR_NOMEM);
	}
	return rc;
}

static int parse_events(struct ingest_queue *q, struct ingest_request *r, struct slice body)
{
	int rc = expect_items(q, r, body);

	set_form(r, SLICE_LIT("application/cloudevents+json"), false);
	return rc ? rc : parse_document(q, r, body, take_events);
}

/* ---- the body ---- */

typedef int parse_fn(struct ingest_queue *q, struct ingest_request *r, struct slice body);

static struct slice media_type(struct slice content_type)
{
	size_t n = 0;

	while (n < content_type.len && content_type.ptr[n] != ';')
		n++;
	return slice_trim(slice_make(content_type.ptr, n));
}

static bool has_event_headers(const struct ingest_request *r)
{
	struct slice name, value;

	if (!r->header)
		return false;
	for (uint32_t i = 0; r->header(r->header_ctx, i, &name, &value); i++)
		if (cloudevent_is_header(name))
			return true;
	return false;
}

/* The table of the contract. NULL with a refusal. */
static parse_fn *choose_parser(struct ingest_request *r)
{
	struct slice type = media_type(r->content_type);

	switch (cloudevents_mode(r->content_type, has_event_headers(r))) {
	case CLOUDEVENTS_BINARY:
		return parse_binary;
	case CLOUDEVENTS_STRUCTURED:
		return parse_structured;
	case CLOUDEVENTS_BATCHED:
		return parse_events;
	case CLOUDEVENTS_UNSUPPORTED:
		ingest_refuse(r, ERR_MEDIA_TYPE,
			      "CloudEvents are taken as application/cloudevents+json, "
			      "application/cloudevents-batch+json or with ce-* headers");
		return NULL;
	case CLOUDEVENTS_NONE:
		break;
	}
	if (slice_eq_nocase(type, SLICE_LIT("application/json")))
		return parse_json;
	if (slice_eq_nocase(type, SLICE_LIT("application/x-ndjson")))
		return parse_ndjson;
	if (slice_eq_nocase(type, SLICE_LIT("application/vnd.weir.batch+json")))
		return parse_batch;
	return parse_bytes;
}

/* The decoded body, where it stays until the end. */
static int settle_body(struct ingest_queue *q, struct ingest_request *r, struct slice *body)
{
	size_t max = atomic_load_explicit(&q->ingest->body_bytes_max, memory_order_relaxed);
	enum inflate_coding coding;
	struct fault fault;

	if (r->body.len > max)
		return ingest_refuse(r, ERR_BODY_TOO_LARGE, "The body has %zu bytes: at most %zu are allowed",
				     r->body.len, max);
	if (!inflate_coding(r->content_encoding, &coding))
		return ingest_refuse(r, ERR_MEDIA_TYPE,
				     "The Content-Encoding is not supported: gzip and zstd are");
	if (coding != INFLATE_IDENTITY) {
		int rc = inflate_body(q->inflater, coding, r->body, max, q->ingest->inflate_ratio_max,
				      r->arena, body, &fault);
		return rc ? refuse_with(r, &fault) : 0;
	}
	*body = r->body_stays && r->body.ptr ? r->body : arena_copy(r->arena, r->body);
	return body->ptr ? 0 : ingest_refuse_plainly(r, ERR_NOMEM);
}

/* Idempotency-Key or the path's; both must say the same. */
static int find_unit_key(struct ingest_request *r)
{
	struct slice key = slice_null();
	struct fault fault;
	int rc = 0;

	if (r->idempotency_header.ptr)
		rc = key_from_header(r->idempotency_header, r->arena, &key, &fault);
	if (rc == 0 && r->idempotency_path.ptr) {
		rc = key_check(r->idempotency_path, &fault);
		if (rc == 0 && key.ptr && !slice_eq(key, r->idempotency_path))
			rc = fault_set(&fault, ERR_BAD_KEY, "Idempotency-Key and the key in the path differ");
		key = r->idempotency_path;
	}
	if (rc)
		return refuse_with(r, &fault);
	r->unit_key = key;
	return 0;
}

/* The query's key is used until the end. */
static int settle_key(struct ingest_request *r)
{
	if (!r->key.ptr)
		return 0;
	r->key = arena_copy(r->arena, r->key);
	return r->key.ptr ? 0 : ingest_refuse_plainly(r, ERR_NOMEM);
}

/* The unit key is asked for again after waiting, when the header is gone. */
static int settle_unit_key(struct ingest_request *r)
{
	if (!r->unit_key.ptr)
		return 0;
	r->unit_key = arena_copy(r->arena, r->unit_key);
	return r->unit_key.ptr ? 0 : ingest_refuse_plainly(r, ERR_NOMEM);
}

int ingest_parse(struct ingest_queue *q, struct ingest_request *r)
{
	parse_fn *parse = choose_parser(r);
	struct slice body;
	int rc;

	if (!parse)
		return r->result.err;
	rc = find_unit_key(r);
	if (rc == 0)
		rc = settle_unit_key(r);
	if (rc == 0)
		rc = settle_key(r);
	if (rc == 0)
		rc = settle_body(q, r, &body);
	if (rc)
		return rc;
	set_form(r, slice_null(), parse == parse_bytes);
	r->raw = body;
	rc = parse(q, r, body);
	if (rc)
		rc = dead_take_refusal(r, rc);
	if (rc)
		return rc;
	r->body_error_count = r->result.error_count;
	rc = dead_prepare(q, r);
	return rc ? rc : ingest_check_errors(r, r->draft_count);
}
