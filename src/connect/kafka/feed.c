/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A partition that is being read. A pull takes what has come for the feed (intake.c) and does not wait; where there is nothing it
 * ends with WAIT, and the part is woken when there is.
 *
 * What has come and did not fit the credit stays in the feed. A feed
 * knows where it stands; where the part's checkpoint stands elsewhere (a batch that was thrown away, a reset) it is stopped and started
 * there. A feed starts one record before its place, to see whether that is still the record that was read: docs/internals/source-kafka.md.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "connect/kafka/bare.h"
#include "connect/kafka/inner.h"

#define TOO_LARGE ((size_t)32 << 20) /* of a batch's memory */
#define SHOWN_OF_TOO_LARGE ((size_t)64 << 10)
#define TEST_PATIENCE_MS 3000
#define PLAN_AGE_NS (60ll * 1000000000)
#define TELL_NS (5ll * 1000000000)

static struct slice bytes_of(const void *ptr, size_t len)
{
	return ptr ? slice_make(ptr, len) : slice_null();
}

static int64_t time_of(const rd_kafka_message_t *m)
{
	rd_kafka_timestamp_type_t type;
	int64_t at = rd_kafka_message_timestamp(m, &type);

	return type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || at < 0 ? -1 : at;
}

uint64_t feed_print(const rd_kafka_message_t *m)
{
	return kafka_print(bytes_of(m->key, m->key_len), bytes_of(m->payload, m->len), time_of(m));
}

/* ---- starting and stopping ---- */

static void forget_last(struct feed *f)
{
	if (f->last)
		rd_kafka_message_destroy(f->last);
	f->last = NULL;
}

void feed_stop(struct feed *f)
{
	for (; f->at < f->count; f->at++)
		rd_kafka_message_destroy(f->held[f->at]);
	f->at = f->count = 0;
	f->unmarked = false;
	forget_last(f);
	if (!f->topic_handle)
		return;
	(void)rd_kafka_consume_stop(f->topic_handle,
				    f->partition); /* the client passes over what is queued of it */
	kafka_intake_remove(f);
	rd_kafka_topic_destroy(f->topic_handle);
	f->topic_handle = NULL;
}

bool feed_start_at(struct feed *f, rd_kafka_t *client, struct source_call *call, int64_t offset,
		   rd_kafka_queue_t *queue)
{
	f->topic_handle = rd_kafka_topic_new(client, f->topic, NULL);
	if (!f->topic_handle) {
		(void)kafka_fail(f->source, call, rd_kafka_last_error(), f->topic);
		return false;
	}
	if (queue == f->source->queue)
		kafka_intake_add(f);
	if (rd_kafka_consume_start_queue(f->topic_handle, f->partition, offset, queue) == 0)
		return true;
	(void)kafka_fail(f->source, call, rd_kafka_last_error(), f->topic);
	kafka_intake_remove(f);
	rd_kafka_topic_destroy(f->topic_handle);
	f->topic_handle = NULL;
	return false;
}

static bool start(struct feed *f, rd_kafka_t *client, struct source_call *call)
{
	int64_t at = f->mark.next == KAFKA_NOWHERE ? RD_KAFKA_OFFSET_BEGINNING : f->mark.next;

	f->verify = f->mark.last.offset != KAFKA_NOWHERE;
	f->absent = f->at_end = false;
	return feed_start_at(f, client, call, f->verify ? f->mark.last.offset : at, f->source->queue);
}

/* ---- taking ---- */

/* More messages, if some have come. */
static bool refill(struct feed *f, int patience_ms)
{
	return f->at < f->count || kafka_intake_take(f, patience_ms);
}

/* The last message's print belongs to the mark, and costs too much to be made for each. */
static void put_mark(struct feed *f, struct source_batch *batch)
{
	uint8_t bytes[KAFKA_MARK_BYTES_MAX];

	if (f->last)
		f->mark.last.print = feed_print(f->last);
	f->unmarked = false;
	(void)source_mark(batch, KAFKA_MARK_VERSION, slice_make(bytes, kafka_mark_write(&f->mark, bytes)));
}

static void given(struct feed *f, rd_kafka_message_t *m)
{
	if (f->mark.first.offset == KAFKA_NOWHERE)
		f->mark.first = (struct kafka_sight){m->offset, feed_print(m)};
	f->mark.next = m->offset + 1;
	f->mark.last.offset = m->offset;
	forget_last(f);
	f->last = m;
	f->unmarked = true;
}

static void set_headers(struct source_batch *batch, rd_kafka_message_t *m, struct source_record *r)
{
	rd_kafka_headers_t *headers;
	struct source_header *out;
	const char *name;
	const void *value;
	size_t size, count, n = 0;

	if (rd_kafka_message_headers(m, &headers))
		return;
	count = rd_kafka_header_cnt(headers);
	out = count ? source_alloc(batch, count * sizeof(*out)) : NULL;
	while (out && n < count && rd_kafka_header_get_all(headers, n, &name, &value, &size) == 0)
		out[n++] = (struct source_header){slice_str(name), bytes_of(value, size)};
	r->headers = out;
	r->header_count = (uint32_t)n;
}

/* Told by the message behind it, where that has come; else the client has to be asked, which costs much. */
static bool has_no_headers(const struct feed *f, const rd_kafka_message_t *m)
{
	const rd_kafka_message_t *next = f->at + 1 < f->count ? f->held[f->at + 1] : NULL;

	return next && !next->err &&
	       kafka_is_bare(bytes_of(m->payload, m->len), bytes_of(next->key, next->key_len),
			     bytes_of(next->payload, next->len));
}

static int add_too_large(struct feed *f, struct source_batch *batch, const rd_kafka_message_t *m)
{
	char place[320], text[200];
	struct source_dead dead = {.bytes = slice_make(m->payload, SHOWN_OF_TOO_LARGE),
				   .err = ERR_RECORD_TOO_LARGE,
				   .text = text};
	int n = snprintf(place, sizeof(place), "%s/%d offset %lld", f->topic, f->partition,
			 (long long)m->offset);

	dead.path = slice_make(place, (size_t)n);
	(void)snprintf(text, sizeof(text),
		       "the value has %zu bytes, of which the first %zu are here; at most %zu are taken",
		       m->len, SHOWN_OF_TOO_LARGE, batch->value_bytes_max);
	return source_add_dead(batch, &dead);
}

/* For `weir source test`: where it stands. */
static struct slice row_of(const struct feed *f, struct source_batch *batch, const rd_kafka_message_t *m)
{
	char *row = source_alloc(batch, 320);
	int n = row ? snprintf(row, 320, "%s/%d offset %lld", f->topic, f->partition, (long long)m->offset) :
		      0;

	return n > 0 ? slice_make(row, (size_t)n) : slice_null();
}

static int add(struct feed *f, struct source_batch *batch, rd_kafka_message_t *m)
{
	struct source_record r = SOURCE_RECORD_INIT;
	const struct kafka_settings *o = f->source->settings;

	if (m->len > TOO_LARGE && m->len > batch->value_bytes_max)
		return add_too_large(f, batch, m);
	r.key = bytes_of(m->key, m->key_len);
	r.value = bytes_of(m->payload, m->len);
	if (!has_no_headers(f, m))
		set_headers(batch, m, &r);
	r.timestamp_ms = time_of(m);
	if (o->keep_topics)
		r.topic = slice_str(f->topic);
	if (o->keep_partitions)
		r.partition = f->partition;
	if (batch->test)
		r.row = row_of(f, batch, m);
	return source_add(batch, &r);
}

static bool has_room(const struct source_batch *batch, const rd_kafka_message_t *m)
{
	bool empty = batch->record_count + batch->dead_count == 0;

	return empty || (!source_full(batch) && batch->bytes + m->key_len + m->len <= batch->bytes_max);
}

/* ---- what is not a record ---- */

static enum source_end go_on_elsewhere(struct feed *f, struct source_batch *batch, bool other_record)
{
	rd_kafka_t *client = kafka_client(f->source, &batch->call);

	feed_stop(f);
	if (!client || !judge(f, client, &batch->call, other_record))
		return SOURCE_FAILED;
	put_mark(f, batch);
	return SOURCE_MORE;
}

/* Its place is kept. A plan that sees the topic again asks again. */
static enum source_end partition_is_absent(struct feed *f)
{
	source_warn(f->source->setup.source,
		    "the cluster does not know partition %d of %s any more: it waits until it is there again",
		    f->partition, f->topic);
	feed_stop(f);
	(void)pthread_mutex_lock(&f->source->lock);
	f->absent = true;
	(void)pthread_mutex_unlock(&f->source->lock);
	return SOURCE_WAIT;
}

static enum source_end take_error(struct feed *f, struct source_batch *batch, rd_kafka_resp_err_t err,
				  const char *text)
{
	char what[400];

	switch (err) {
	case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
	case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
		return go_on_elsewhere(f, batch, false);
	case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
	case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
	case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
		return partition_is_absent(f);
	default:
		break;
	}
	(void)snprintf(what, sizeof(what), "%s/%d: %s", f->topic, f->partition, text ? text : "reading");
	feed_stop(f);
	return kafka_fail(f->source, &batch->call, err, what);
}

/* The record before the place: true where it is the one that was read, or is no more. It is not given again. */
static bool is_as_it_was(struct feed *f, rd_kafka_message_t *m, bool *skip)
{
	f->verify = false;
	*skip = m->offset == f->mark.last.offset;
	return !*skip || feed_print(m) == f->mark.last.print;
}

/* ---- a pull ---- */

static bool is_windowed(const struct feed *f)
{
	return f->mark.end != KAFKA_NOWHERE;
}

/* Nothing of the window is left. Offsets that hold no record (markers of transactions, compaction) end it too. */
static bool is_over(const struct feed *f)
{
	return is_windowed(f) && (f->over || f->mark.next >= f->mark.end);
}

/* By offsets, as the window is. */
static void show_progress(const struct feed *f, struct source_batch *batch)
{
	if (!is_windowed(f))
		return;
	batch->total = (uint64_t)(f->mark.end - f->mark.begin);
	batch->done = is_over(f) ? batch->total : (uint64_t)(f->mark.next - f->mark.begin);
}

enum took { TOOK, TOOK_ALL, TOOK_ENOUGH, TOOK_END };

static enum took take_one(struct feed *f, struct source_batch *batch, enum source_end *end)
{
	rd_kafka_message_t *m = f->held[f->at];
	bool skip = false;

	if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
		f->at_end = true;
		f->over = is_windowed(f) && m->offset >= f->mark.end;
		f->at++;
		rd_kafka_message_destroy(m);
		return TOOK;
	}
	if (f->unmarked && (m->err || f->verify))
		put_mark(f, batch);
	if (m->err) {
		*end = take_error(f, batch, m->err, rd_kafka_message_errstr(m));
		return TOOK_END;
	}
	f->at_end = false;
	if (f->verify && !is_as_it_was(f, m, &skip)) {
		*end = go_on_elsewhere(f, batch, true);
		return TOOK_END;
	}
	if (skip || (f->mark.next != KAFKA_NOWHERE && m->offset < f->mark.next)) {
		f->at++;
		rd_kafka_message_destroy(m);
		return TOOK;
	}
	if (is_windowed(f) && m->offset >= f->mark.end) {
		f->over = true;
		return TOOK_ALL;
	}
	if (!has_room(batch, m))
		return TOOK_ENOUGH;
	if (add(f, batch, m)) {
		*end = source_fail(&batch->call, SOURCE_TRANSIENT, "there is no memory for the records of %s",
				   f->topic);
		feed_stop(f);
		return TOOK_END;
	}
	f->at++;
	given(f, m);
	return TOOK;
}

static enum source_end take(struct feed *f, struct source_batch *batch)
{
	int patience = batch->test ? TEST_PATIENCE_MS : 0;
	enum source_end end = SOURCE_MORE;
	enum took took = TOOK;

	while (took == TOOK) {
		if (source_cancelled(&batch->call) || source_full(batch) || is_over(f))
			took = TOOK_ENOUGH;
		else if (!refill(f, patience))
			took = TOOK_ALL;
		else
			took = take_one(f, batch, &end);
		if (f->unmarked && f->at == f->count)
			put_mark(f, batch);
		patience = batch->record_count || f->at_end ? 0 : patience;
	}
	if (f->unmarked)
		put_mark(f, batch);
	if (took == TOOK_ALL)
		end = batch->test ? SOURCE_IDLE : SOURCE_WAIT;
	return end;
}

/* How far behind, by what the client knows anyhow. */
static void measure(struct feed *f, rd_kafka_t *client, struct source_batch *batch)
{
	int64_t low, high;
	int64_t now = sys_wall_ms(f->source->setup.sys);

	if (f->at_end && f->at == f->count) {
		batch->lag_records = batch->lag_ms = 0;
		return;
	}
	if (rd_kafka_get_watermark_offsets(client, f->topic, f->partition, &low, &high) || high < 0 ||
	    f->mark.next < 0)
		return;
	batch->lag_records = high > f->mark.next ? high - f->mark.next : 0;
	if (f->last && time_of(f->last) >= 0)
		batch->lag_ms = batch->lag_records && now > time_of(f->last) ? now - time_of(f->last) : 0;
}

/* The group is told of what is durable: when there is no more for now, and now and then. */
static void want_telling(struct feed *f, struct source_batch *batch, enum source_end end)
{
	int64_t now = sys_monotonic_ns(f->source->setup.sys);

	if (!f->source->settings->group_commit || batch->test || batch->record_count == 0 || is_windowed(f))
		return;
	if (end != SOURCE_WAIT && now - f->told_ns < TELL_NS)
		return;
	batch->settle = true;
	f->told_ns = now;
}

/* A trouble of the client: over, if the cluster answers. */
static bool is_well(struct feed *f, rd_kafka_t *client, struct source_batch *batch)
{
	struct trouble t;
	struct kafka_ask ask;
	int64_t low, high;

	kafka_client_serve(f->source, client);
	if (!kafka_trouble(f->source, &t))
		return true;
	kafka_ask_begin(&ask, f->source, &batch->call, client);
	if (!kafka_ends(&ask, f->topic, f->partition, &low, &high))
		return false;
	kafka_trouble_over(f->source);
	return true;
}

static bool stands_at(const struct feed *f, const struct kafka_mark *m)
{
	return f->mark.next == m->next && f->mark.last.offset == m->last.offset;
}

enum source_end feed_pull(struct feed *f, struct source_batch *batch)
{
	struct kafka_source *s = f->source;
	struct kafka_mark mark = KAFKA_MARK_INIT;
	rd_kafka_t *client = kafka_client(s, &batch->call);
	enum source_end end;

	if (!client)
		return SOURCE_FAILED;
	if (f->part->checkpoint.bytes.ptr && !kafka_mark_read(f->part->checkpoint.bytes, &mark))
		return source_fail(&batch->call, SOURCE_FINAL, "the checkpoint of %s/%d cannot be read",
				   f->topic, f->partition);
	if (!f->topic_handle || f->lost || !stands_at(f, &mark)) {
		feed_stop(f);
		f->mark = mark;
		f->over = false;
	}
	if (is_over(f))
		return SOURCE_DONE;
	if (!is_well(f, client, batch) || (!f->topic_handle && !start(f, client, &batch->call)))
		return SOURCE_FAILED;
	kafka_intake_pulled(f);
	end = take(f, batch);
	if (batch->record_count && !f->at_end)
		kafka_client_nudge(s, client);
	if (f->topic_handle)
		measure(f, client, batch);
	show_progress(f, batch);
	want_telling(f, batch, end);
	if (sys_monotonic_ns(s->setup.sys) - atomic_load(&s->planned_ns) > PLAN_AGE_NS)
		source_plan_again(s->setup.source);
	if (end == SOURCE_FAILED || !is_over(f))
		return end;
	feed_stop(f);
	return SOURCE_DONE;
}
