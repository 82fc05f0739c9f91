/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What came: a message becomes records, an answer, or nothing. A message with more records than the credit
 * allows stays where it lies (the parser's memory, or the input), and the connection is not read meanwhile.
 */
#include <math.h>
#include <stdio.h>

#include "connect/text/when.h"
#include "connect/websocket/inner.h"
#include "connect/websocket/match.h"
#include "json/json_write.h"
#include "json/pointer.h"

#define MIXED_BYTES_MAX (8u << 20) /* a batch of more is one record */

/* What was not added is gone: so is the connection, and the next one begins with a gap, or behind last. */
static void no_memory(struct link *l)
{
	link_lose(l, SOURCE_TRANSIENT, "there is no memory for what came");
}

/* ---- dead letters ---- */

static void add_dead(struct link *l, struct slice bytes, int err, const char *text)
{
	char path[80];
	int n = l->index ? snprintf(path, sizeof(path), "message %llu of the connection, record %llu",
				    (unsigned long long)l->messages, (unsigned long long)l->index) :
			   snprintf(path, sizeof(path), "message %llu of the connection",
				    (unsigned long long)l->messages);

	if (bytes.len > l->batch->value_bytes_max)
		bytes.len = l->batch->value_bytes_max;
	if (source_add_dead(l->batch, &(struct source_dead){.bytes = bytes,
							    .err = err,
							    .path = slice_make(path, (size_t)n),
							    .text = text}))
		no_memory(l);
}

static void add_dead_pointer(struct link *l, struct slice row, int err, const char *setting,
			     struct slice pointer, const char *what)
{
	char text[400];

	(void)snprintf(text, sizeof(text), "%s: '%.*s' %s", setting,
		       (int)(pointer.len < 200 ? pointer.len : 200), (const char *)pointer.ptr, what);
	add_dead(l, row, err, text);
}

/* ---- a record ---- */

struct lookup {
	struct link *link;
	struct slice row;
	struct slice missing; /* a name that found nothing */
};

static int find_in_row(void *ctx, struct slice name, struct slice *value)
{
	struct lookup *u = ctx;
	struct json_value v;

	if (name.ptr[0] != '/')
		return -1;
	if (json_pointer_find(u->row, name, &v) != 1 || v.kind == JSON_NULL) {
		u->missing = name;
		return 0;
	}
	*value = v.raw;
	if (v.kind == JSON_STRING && json_text(v.raw, &u->link->arena, value) < 0)
		u->missing = name;
	return 1;
}

/* Null where the setting is not given. False: a dead letter was added in its place. */
static bool expand(struct link *l, const char *setting, const char *text, struct slice row, struct buf *out,
		   struct slice *value)
{
	struct lookup u = {.link = l, .row = row};

	*value = slice_null();
	if (!text)
		return true;
	if (template_expand(slice_str(text), TEMPLATE_PLAIN, find_in_row, &u, out)) {
		add_dead(l, row, ERR_BAD_RECORD,
			 "its key or id is over 32 KiB, or there is no memory for it");
		return false;
	}
	if (u.missing.ptr) {
		add_dead_pointer(l, row, ERR_BAD_RECORD, setting, u.missing, "finds nothing in the record");
		return false;
	}
	*value = buf_slice(out);
	return true;
}

/* Seconds, milli-, micro- or nanoseconds: each has a hundred years in which the others have none. */
static bool ms_of(double n, int64_t *ms)
{
	double scaled = n < 1e11 ? n * 1e3 : n < 1e14 ? n : n < 1e17 ? n / 1e3 : n / 1e6;

	if (!(n >= 0) || scaled > 4e15)
		return false;
	*ms = (int64_t)floor(scaled);
	return true;
}

static bool time_of(struct link *l, struct json_value v, int64_t *ms)
{
	struct slice text = v.raw;
	double number;
	uint64_t whole;

	if (v.kind == JSON_STRING && json_text(v.raw, &l->arena, &text))
		return false;
	if (slice_to_u64(text, &whole))
		return ms_of((double)whole, ms);
	if (v.kind == JSON_STRING)
		return when_parse(text, ms);
	return json_double(v, &number) == 0 && ms_of(number, ms);
}

/* What a new connection goes on behind; what is absent leaves it as it was. */
static void note_last(struct link *l, struct slice row)
{
	const struct websocket_settings *s = l->feed->settings;
	struct json_value v;
	struct slice text;

	if (!s->last || json_pointer_find(row, slice_str(s->last), &v) != 1 || v.kind == JSON_NULL)
		return;
	text = v.raw;
	if ((v.kind == JSON_STRING && json_text(v.raw, &l->arena, &text)) || text.len > PLACE_LAST_MAX)
		return;
	buf_clear(&l->last);
	if (buf_append_slice(&l->last, text) == 0)
		l->place.last = buf_slice(&l->last);
}

static bool passes(struct link *l, const struct conf_list *list, struct slice doc)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (!match_holds(slice_str(list->items[i]), doc, &l->arena))
			return false;
	return true;
}

static void add_record(struct link *l, struct slice row)
{
	const struct websocket_settings *s = l->feed->settings;
	struct source_record record = SOURCE_RECORD_INIT;
	struct json_value v;

	arena_reset(&l->arena);
	if (!passes(l, &s->filter, row))
		return;
	buf_clear(&l->scratch);
	buf_clear(&l->id);
	if (!expand(l, "key", s->key, row, &l->scratch, &record.key) ||
	    !expand(l, "id", s->id, row, &l->id, &record.idempotency_key))
		return;
	if (s->timestamp && json_pointer_find(row, slice_str(s->timestamp), &v) == 1 && v.kind != JSON_NULL &&
	    !time_of(l, v, &record.timestamp_ms)) {
		add_dead_pointer(l, row, ERR_BAD_TIMESTAMP, "timestamp", slice_str(s->timestamp),
				 "is no time: expected RFC 3339, or a number since 1970");
		return;
	}
	if (l->gap_due)
		message_add_gap(l);
	record.value = row;
	if (l->batch->test)
		record.row = row;
	note_last(l, row);
	if (source_add(l->batch, &record))
		no_memory(l);
}

/* Adds it, or keeps it for the next pull: a large one has a batch of its own. */
static void take_row(struct link *l, struct slice row)
{
	const struct source_batch *b = l->batch;

	if (b->record_count + b->dead_count > 0 && b->bytes + row.len > MIXED_BYTES_MAX)
		l->row = row;
	else
		add_record(l, row);
}

void message_go_on(struct link *l)
{
	struct slice row = l->row;
	struct json_value v;

	l->row = slice_null();
	if (row.ptr)
		add_record(l, row);
	while (l->has_array && !l->row.ptr && !l->lost && !source_full(l->batch)) {
		if (!json_array_next(&l->array) || json_take(&l->array, &v)) {
			l->has_array = false;
			return;
		}
		l->index++;
		take_row(l, v.raw);
	}
}

/* ---- a message ---- */

static void take_json(struct link *l, struct slice bytes)
{
	const struct websocket_settings *s = l->feed->settings;
	struct json_value v;
	struct buf why;

	if (!passes(l, &s->messages, bytes))
		return;
	if (json_pointer_find(bytes, slice_str(s->records), &v) != 1) {
		buf_init(&why, 1000);
		json_pointer_explain(bytes, slice_str(s->records), &why);
		(void)buf_append_byte(&why, 0);
		add_dead_pointer(l, bytes, ERR_BAD_RECORD, "records", slice_str(s->records),
				 buf_status(&why) ? "finds nothing" : (const char *)why.ptr);
		buf_fini(&why);
		return;
	}
	if (v.kind != JSON_ARRAY) {
		take_row(l, v.raw);
		return;
	}
	json_cursor_init(&l->array, v.raw);
	(void)json_array_begin(&l->array);
	l->has_array = true;
	message_go_on(l);
}

/* True where it is part of the conversation and no news. */
static bool is_answer(struct link *l, struct slice bytes)
{
	const struct websocket_settings *s = l->feed->settings;

	if (s->refused && match_holds(slice_str(s->refused), bytes, &l->arena)) {
		link_lose(l, SOURCE_TRANSIENT, "the server refuses: %.*s",
			  (int)(bytes.len < 200 ? bytes.len : 200), (const char *)bytes.ptr);
		return true;
	}
	if (l->state != LINK_ASKING || l->asked > s->answers.count ||
	    !match_holds(slice_str(s->answers.items[l->asked - 1]), bytes, &l->arena))
		return false;
	link_answered(l);
	return true;
}

void message_take(struct link *l, struct slice bytes)
{
	struct json_error error;
	char why[200];

	arena_reset(&l->arena);
	l->messages++;
	l->index = 0;
	l->feed->heard_ms = sys_wall_ms(l->feed->sys);
	if (l->feed->settings->format == WEBSOCKET_FORMAT_WHOLE) {
		take_row(l, bytes);
	} else if (json_valid(bytes, &error)) {
		json_error_text(&error, why, sizeof(why));
		add_dead(l, bytes, ERR_BAD_JSON, why);
	} else if (!is_answer(l, bytes)) {
		take_json(l, bytes);
	}
}

/* ---- gaps ---- */

static void put_when(struct buf *out, const char *name, int64_t ms)
{
	char text[WHEN_BYTES];

	json_put_member_string(out, name, slice_make(text, when_text(ms, text)));
}

void message_add_gap(struct link *l)
{
	static const struct source_header header = {{(const uint8_t *)"gap", 3},
						    {(const uint8_t *)"true", 4}};
	const struct feed *f = l->feed;
	struct source_record record = SOURCE_RECORD_INIT;
	struct buf text;

	l->gap_due = false;
	l->gap_told = true;
	buf_init(&text, 4096);
	json_put_open(&text, '{');
	json_put_name(&text, "gap");
	json_put_open(&text, '{');
	json_put_member_string(&text, "source", slice_str(f->name));
	put_when(&text, "from", l->gap_from_ms);
	put_when(&text, "to", l->gap_to_ms);
	json_put_name(&text, "reason");
	json_put_string_lossy(&text,
			      slice_str(f->reason.text[0] ? f->reason.text : "weir was not connected"));
	json_put_close(&text, '}');
	json_put_close(&text, '}');
	record.topic = f->settings->gap_topic ? slice_str(f->settings->gap_topic) : slice_null();
	record.value = buf_slice(&text);
	record.headers = &header;
	record.header_count = 1;
	if (buf_status(&text) || source_add(l->batch, &record))
		no_memory(l);
	buf_fini(&text);
}
