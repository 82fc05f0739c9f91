/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members are a table: name and the function that takes its value. The first
 * fault sticks; the rest of the record is still passed over, so that a batch
 * can go on with the next one.
 */
#include "ingest/envelope.h"

#include <stdio.h>

#include "base/base64.h"
#include "ingest/key.h"

/* What a record may hold at most once of. */
enum member {
	MEMBER_ID = 1,
	MEMBER_KEY = 2,
	MEMBER_VALUE = 4,
	MEMBER_HEADERS = 8,
	MEMBER_PARTITION = 16,
	MEMBER_IDEMPOTENCY_KEY = 32,
	MEMBER_TIMESTAMP = 64,
	MEMBER_TOMBSTONE = 128,
};

struct reading {
	struct envelope *e;
	struct arena *arena;
	bool tombstone;
	bool value_is_null; /* "value":null */
};

static int refuse(struct reading *r, const char *sentence)
{
	return fault_set(&r->e->fault, ERR_BAD_RECORD, "%s", sentence);
}

/* A string's characters. */
static int take_text(struct reading *r, struct json_value v, const char *sentence, struct slice *out)
{
	int rc;

	if (v.kind != JSON_STRING)
		return refuse(r, sentence);
	rc = json_text(v.raw, r->arena, out);
	return rc == ERR_BAD_JSON ? refuse(r, sentence) : rc;
}

static int take_base64(struct reading *r, struct json_value v, const char *sentence, struct slice *out)
{
	struct slice text;
	uint8_t *bytes;
	size_t len;
	int rc = take_text(r, v, sentence, &text);

	if (rc)
		return rc;
	bytes = arena_alloc(r->arena, base64_decoded_max(text.len));
	if (!bytes)
		return ERR_NOMEM;
	if (base64_decode(BASE64_STANDARD, text, bytes, &len))
		return refuse(r, sentence);
	*out = slice_make(bytes, len);
	return 0;
}

static int on_id(struct reading *r, struct json_value v)
{
	if (v.kind != JSON_STRING && v.kind != JSON_NUMBER)
		return refuse(r, "id is neither a string nor a number");
	r->e->id = v.raw;
	return 0;
}

static int on_key(struct reading *r, struct json_value v)
{
	if (v.kind == JSON_NULL)
		return 0;
	return take_text(r, v, "key is not a string (key_base64 takes bytes)", &r->e->key);
}

static int on_key_base64(struct reading *r, struct json_value v)
{
	return take_base64(r, v, "key_base64 is not a string of base64 (RFC 4648 section 4, padded)",
			   &r->e->key);
}

static int on_value(struct reading *r, struct json_value v)
{
	r->e->value = v.raw;
	r->value_is_null = v.kind == JSON_NULL;
	return 0;
}

static int on_value_text(struct reading *r, struct json_value v)
{
	return take_text(r, v, "value_text is not a string of whole characters", &r->e->value);
}

static int on_value_base64(struct reading *r, struct json_value v)
{
	return take_base64(r, v, "value_base64 is not a string of base64 (RFC 4648 section 4, padded)",
			   &r->e->value);
}

static int on_tombstone(struct reading *r, struct json_value v)
{
	return json_bool(v, &r->tombstone) ? refuse(r, "tombstone is neither true nor false") : 0;
}

static int on_partition(struct reading *r, struct json_value v)
{
	if (json_i64(v, &r->e->partition) || r->e->partition < 0 || r->e->partition > INT32_MAX)
		return refuse(r, "partition is not a whole number from 0 on");
	return 0;
}

static int on_timestamp(struct reading *r, struct json_value v)
{
	/* Up to the year 9999, as RFC 3339 can write it. */
	if (json_i64(v, &r->e->timestamp_ms) || r->e->timestamp_ms < 0 ||
	    r->e->timestamp_ms > 253402300799999)
		return refuse(r, "timestamp is not a number of milliseconds since 1970");
	return 0;
}

static int on_idempotency_key(struct reading *r, struct json_value v)
{
	int rc = take_text(r, v, "idempotency_key is not a string of whole characters",
			   &r->e->idempotency_key);

	return rc ? rc : key_check(r->e->idempotency_key, &r->e->fault);
}

/* {"base64":"…"} */
static int take_bytes_object(struct reading *r, struct json_value v, struct slice *out)
{
	struct json_cursor c;
	struct json_value inner = {.kind = JSON_NULL};
	struct slice name;
	uint32_t members = 0;

	json_cursor_init(&c, v.raw);
	json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		members += json_name_is(name, "base64") ? 1 : 2;
		json_take(&c, &inner);
	}
	if (json_end(&c) || members != 1)
		return refuse(r, "a header that is an object is {\"base64\":\"…\"}");
	return take_base64(r, inner,
			   "a header's base64 is not a string of base64 (RFC 4648 section 4, padded)", out);
}

static int add_header(struct reading *r, struct slice name, struct json_value v)
{
	struct slice value = slice_null();
	int rc = 0;

	if (v.kind == JSON_OBJECT)
		rc = take_bytes_object(r, v, &value);
	else if (v.kind != JSON_NULL)
		rc = take_text(r, v,
			       "a header is neither a string, null, {\"base64\":\"…\"} nor an array of these",
			       &value);
	if (rc)
		return rc;
	return headers_add(r->e->headers, name, value) ? refuse(r, "a record has at most 128 headers") : 0;
}

static int add_headers(struct reading *r, struct slice name, struct json_value v)
{
	struct json_cursor c;
	struct json_value item;
	int rc = 0;

	if (v.kind != JSON_ARRAY)
		return add_header(r, name, v);
	json_cursor_init(&c, v.raw);
	json_array_begin(&c);
	while (rc == 0 && json_array_next(&c))
		if (json_take(&c, &item) == 0)
			rc = add_header(r, name, item);
	return rc;
}

static int on_headers(struct reading *r, struct json_value v)
{
	struct json_cursor c;
	struct json_value value;
	struct slice raw, name;
	int rc = 0;

	if (v.kind != JSON_OBJECT)
		return refuse(r, "headers is not an object");
	json_cursor_init(&c, v.raw);
	json_object_begin(&c);
	while (rc == 0 && json_object_next(&c, &raw)) {
		rc = json_text(raw, r->arena, &name);
		if (rc == ERR_BAD_JSON)
			return refuse(r, "a header name has half a surrogate pair");
		if (rc == 0 && json_take(&c, &value) == 0)
			rc = add_headers(r, name, value);
	}
	return rc;
}

static const struct member_rule {
	const char *name;
	enum member bit;
	bool batch, publish;
	int (*take)(struct reading *r, struct json_value v);
} rules[] = {
	{"value", MEMBER_VALUE, true, true, on_value},
	{"key", MEMBER_KEY, true, true, on_key},
	{"headers", MEMBER_HEADERS, true, true, on_headers},
	{"id", MEMBER_ID, false, true, on_id},
	{"partition", MEMBER_PARTITION, true, false, on_partition},
	{"idempotency_key", MEMBER_IDEMPOTENCY_KEY, true, true, on_idempotency_key},
	{"timestamp", MEMBER_TIMESTAMP, true, false, on_timestamp},
	{"value_base64", MEMBER_VALUE, true, true, on_value_base64},
	{"value_text", MEMBER_VALUE, true, true, on_value_text},
	{"tombstone", MEMBER_TOMBSTONE, true, true, on_tombstone},
	{"key_base64", MEMBER_KEY, true, true, on_key_base64},
};

static const struct member_rule *find_rule(struct slice name, enum envelope_form form)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if ((form == ENVELOPE_PUBLISH ? rules[i].publish : rules[i].batch) &&
		    json_name_is(name, rules[i].name))
			return &rules[i];
	return NULL;
}

static int refuse_name(struct reading *r, struct slice name)
{
	char text[48];
	size_t n = 0;

	for (size_t i = 0; i < name.len && n < sizeof(text) - 1; i++)
		text[n++] = name.ptr[i] < 0x20 || name.ptr[i] > 0x7e ? '?' : (char)name.ptr[i];
	text[n] = 0;
	return fault_set(
		&r->e->fault, ERR_BAD_RECORD,
		"%s is not a member of a record: key, value, headers, partition, idempotency_key, timestamp "
		"are, and key_base64, value_text, value_base64, tombstone",
		text);
}

static int take_member(struct reading *r, enum envelope_form form, uint32_t *seen, struct slice name,
		       struct json_value v)
{
	const struct member_rule *rule = find_rule(name, form);

	if (!rule)
		return refuse_name(r, name);
	if (*seen & rule->bit)
		return fault_set(&r->e->fault, ERR_BAD_RECORD, "%s comes twice, in one form or another",
				 rule->bit == MEMBER_VALUE ? "the value" : rule->name);
	*seen |= rule->bit;
	return rule->take(r, v);
}

/* What says where a record stands. */
static bool is_place(struct slice name)
{
	return json_name_is(name, "topic") || json_name_is(name, "offset");
}

static int check_value(struct reading *r, enum envelope_form form, uint32_t seen)
{
	bool has_value = seen & MEMBER_VALUE;

	if (r->tombstone && has_value && !r->value_is_null)
		return refuse(r, "a tombstone has no value");
	r->e->tombstone = r->tombstone;
	if (r->tombstone)
		r->e->value = slice_null();
	else if (!has_value && form != ENVELOPE_EDIT)
		return refuse(r, "the record needs value, value_text, value_base64 or \"tombstone\":true");
	return 0;
}

static void begin(struct envelope *e)
{
	e->id = e->key = e->value = e->idempotency_key = slice_null();
	e->timestamp_ms = e->partition = -1;
	e->tombstone = false;
	e->fault.err = 0;
	e->fault.text[0] = 0;
	headers_clear(e->headers);
}

int envelope_read(struct envelope *e, enum envelope_form form, struct json_cursor *c, struct arena *arena)
{
	struct reading r = {.e = e, .arena = arena};
	struct json_value v;
	struct slice name;
	uint32_t seen = 0;
	int rc = 0;

	begin(e);
	if (json_peek(c) != JSON_OBJECT) {
		rc = json_skip(c);
		return rc ? rc : refuse(&r, "the record is not an object");
	}
	json_object_begin(c);
	while (json_object_next(c, &name)) {
		if (json_take(c, &v))
			break;
		if (rc == 0 && !(form == ENVELOPE_GIVEN && is_place(name)))
			rc = take_member(&r, form, &seen, name, v);
	}
	if (c->status)
		return c->status;
	return rc ? rc : check_value(&r, form, seen);
}
