/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ways in (headers and JSON members) end in add_attribute, which knows the
 * rules of each attribute from one table. The first fault sticks in the event;
 * reading a JSON event goes on behind it, so that the cursor ends where the
 * event ends and the next one of a batch can be read.
 *
 * Rejected: passing unknown forms through (control characters, names with
 * dashes, a ce-datacontenttype header). The specification forbids them, and a
 * consumer's SDK would refuse the record much later, where nobody can mend it.
 */
#include "proto/cloudevents/cloudevents.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/base64.h"
#include "base/utf8.h"

/* ---- modes ---- */

static bool starts_nocase(struct slice s, const char *prefix)
{
	struct slice p = slice_str(prefix);

	return s.len >= p.len && slice_eq_nocase(slice_make(s.ptr, p.len), p);
}

/* The media type without its parameters. */
static struct slice media_type(struct slice content_type)
{
	size_t n = 0;

	while (n < content_type.len && content_type.ptr[n] != ';')
		n++;
	return slice_trim(slice_make(content_type.ptr, n));
}

enum cloudevents_mode cloudevents_mode(struct slice content_type, bool has_ce_headers)
{
	struct slice type = media_type(content_type);

	if (starts_nocase(type, "application/cloudevents-batch"))
		return slice_eq_nocase(type, SLICE_LIT("application/cloudevents-batch+json")) ?
			       CLOUDEVENTS_BATCHED :
			       CLOUDEVENTS_UNSUPPORTED;
	if (starts_nocase(type, "application/cloudevents"))
		return slice_eq_nocase(type, SLICE_LIT("application/cloudevents+json")) ?
			       CLOUDEVENTS_STRUCTURED :
			       CLOUDEVENTS_UNSUPPORTED;
	return has_ce_headers ? CLOUDEVENTS_BINARY : CLOUDEVENTS_NONE;
}

bool cloudevent_is_header(struct slice name)
{
	return starts_nocase(name, "ce-");
}

/* application/json, or any subtype "json" or with the suffix "+json" (json-format 3.1.1). Absent counts as JSON. */
static bool is_json_type(struct slice content_type)
{
	struct slice type = media_type(content_type);

	if (!content_type.ptr)
		return true;
	if (type.len < 5)
		return false;
	type = slice_from(type, type.len - 5);
	return slice_eq_nocase(type, SLICE_LIT("/json")) || slice_eq_nocase(type, SLICE_LIT("+json"));
}

/* ---- values ---- */

/* Control characters are not allowed in a String (spec 2.2 "Type System"): C0, DEL and C1. */
static bool has_control(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
			return true;
		if (s.ptr[i] == 0xc2 && i + 1 < s.len && s.ptr[i + 1] < 0xa0)
			return true;
	}
	return false;
}

static bool has_blank(struct slice s)
{
	return s.len && memchr(s.ptr, ' ', s.len);
}

/* Reads exactly n digits; false else. */
static bool read_digits(struct slice *s, size_t n, uint64_t *out)
{
	if (s->len < n || !slice_to_u64(slice_make(s->ptr, n), out))
		return false;
	*s = slice_from(*s, n);
	return true;
}

static bool read_char(struct slice *s, const char *one_of)
{
	if (s->len == 0 || s->ptr[0] == 0 || !strchr(one_of, s->ptr[0]))
		return false;
	*s = slice_from(*s, 1);
	return true;
}

static bool is_date(struct slice *s)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	uint64_t year, month, day;

	if (!read_digits(s, 4, &year) || !read_char(s, "-") || !read_digits(s, 2, &month) ||
	    !read_char(s, "-") || !read_digits(s, 2, &day))
		return false;
	if (month < 1 || month > 12 || day < 1)
		return false;
	if (month == 2 && day == 29)
		return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	return day <= days[month - 1];
}

static bool is_offset(struct slice *s)
{
	uint64_t hour, minute;

	if (read_char(s, "Zz"))
		return true;
	return read_char(s, "+-") && read_digits(s, 2, &hour) && hour < 24 && read_char(s, ":") &&
	       read_digits(s, 2, &minute) && minute < 60;
}

/* RFC 3339 section 5.6 date-time; second 60 is a leap second. */
static bool is_timestamp(struct slice s)
{
	uint64_t hour, minute, second, digit;

	if (!is_date(&s) || !read_char(&s, "Tt") || !read_digits(&s, 2, &hour) || hour > 23 ||
	    !read_char(&s, ":") || !read_digits(&s, 2, &minute) || minute > 59 || !read_char(&s, ":") ||
	    !read_digits(&s, 2, &second) || second > 60)
		return false;
	if (read_char(&s, ".")) {
		if (!read_digits(&s, 1, &digit))
			return false;
		while (read_digits(&s, 1, &digit))
			;
	}
	return is_offset(&s) && s.len == 0;
}

/* type/subtype with something on both sides. */
static bool is_media_type(struct slice s)
{
	struct slice type = media_type(s);
	const uint8_t *slash = type.len ? memchr(type.ptr, '/', type.len) : NULL;

	return slash && slash > type.ptr && slash + 1 < type.ptr + type.len && !has_blank(type);
}

/* ---- attributes ---- */

enum known {
	KNOWN_ID = 1,
	KNOWN_SOURCE = 2,
	KNOWN_SPECVERSION = 4,
	KNOWN_TYPE = 8,
	KNOWN_CONTENT_TYPE = 16,
	KNOWN_DATA = 32,
};

/* The first fault stays. */
__attribute__((format(printf, 2, 3))) static int refuse(struct cloudevent *e, const char *format, ...)
{
	va_list args;

	if (e->fault.err)
		return e->fault.err;
	va_start(args, format);
	(void)vsnprintf(e->fault.text, sizeof(e->fault.text), format, args);
	va_end(args);
	e->fault.err = ERR_BAD_EVENT;
	return ERR_BAD_EVENT;
}

/* Something that came from outside, fit to be shown; cut where it is long. */
struct shown {
	char text[64];
};

static struct shown show(struct slice s)
{
	struct shown shown;
	size_t n = s.len < sizeof(shown.text) - 1 ? s.len : sizeof(shown.text) - 1;

	for (size_t i = 0; i < n; i++)
		shown.text[i] = s.ptr[i] < 0x20 || s.ptr[i] > 0x7e ? '?' : (char)s.ptr[i];
	shown.text[n] = 0;
	return shown;
}

static int check_source(struct cloudevent *e, struct slice value)
{
	e->source = value;
	e->seen |= KNOWN_SOURCE;
	if (has_blank(value))
		return refuse(e, "The attribute '%s' holds a blank: expected a URI reference", "source");
	return 0;
}

static int check_id(struct cloudevent *e, struct slice value)
{
	e->id = value;
	e->seen |= KNOWN_ID;
	return 0;
}

static int check_type(struct cloudevent *e, struct slice value)
{
	e->type = value;
	e->seen |= KNOWN_TYPE;
	return 0;
}

static int check_specversion(struct cloudevent *e, struct slice value)
{
	e->seen |= KNOWN_SPECVERSION;
	if (!slice_eq_str(value, "1.0"))
		return refuse(e, "The attribute 'specversion' is '%s': expected 1.0", show(value).text);
	return 0;
}

static int check_time(struct cloudevent *e, struct slice value)
{
	if (!is_timestamp(value))
		return refuse(e, "The attribute 'time' is '%s': expected an RFC 3339 timestamp",
			      show(value).text);
	return 0;
}

static int check_partition_key(struct cloudevent *e, struct slice value)
{
	e->partition_key = value;
	return 0;
}

static int check_nothing(struct cloudevent *e, struct slice value)
{
	(void)e;
	(void)value;
	return 0;
}

/* Attributes with rules of their own; none may be empty. Every other name is an extension. */
struct attribute_rule {
	const char *name;
	int (*check)(struct cloudevent *e, struct slice value);
	bool text_only; /* must be a JSON string */
};

static const struct attribute_rule rules[] = {
	{"id", check_id, true},
	{"source", check_source, true},
	{"type", check_type, true},
	{"specversion", check_specversion, true},
	{"time", check_time, true},
	{"subject", check_nothing, true},
	{"dataschema", check_nothing, true},
	{"partitionkey", check_partition_key, true},
};

static const struct attribute_rule *find_rule(struct slice name)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (slice_eq_str(name, rules[i].name))
			return &rules[i];
	return NULL;
}

/* Naming conventions of the specification: lower case letters and digits. */
static bool is_attribute_name(struct slice name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!(name.ptr[i] >= 'a' && name.ptr[i] <= 'z') &&
		    !(name.ptr[i] >= '0' && name.ptr[i] <= '9'))
			return false;
	return name.len > 0;
}

static bool is_there(const struct cloudevent *e, struct slice name)
{
	for (uint32_t i = 0; i < e->attribute_count; i++)
		if (slice_eq(slice_from(e->attributes[i].name, 3), name))
			return true;
	return false;
}

static int append_attribute(struct cloudevent *e, struct slice name, struct slice value)
{
	uint8_t *full = arena_alloc(e->arena, name.len + 3);

	if (!full)
		return ERR_NOMEM;
	memcpy(full, "ce_", 3);
	memcpy(full + 3, name.ptr, name.len);
	e->attributes[e->attribute_count++] = (struct cloudevent_attribute){
		.name = slice_make(full, name.len + 3),
		.value = value,
	};
	return 0;
}

/* name is in lower case; value is UTF-8. */
static int add_attribute(struct cloudevent *e, struct slice name, struct slice value)
{
	const struct attribute_rule *rule = find_rule(name);

	if (!is_attribute_name(name))
		return refuse(e,
			      "The attribute name '%s' is not valid: expected lower case letters and digits",
			      show(name).text);
	if (is_there(e, name))
		return refuse(e, "The attribute '%s' comes twice", show(name).text);
	if (e->attribute_count == CLOUDEVENT_ATTRIBUTES_MAX)
		return refuse(e, "The event has more than %s attributes", "64");
	if (rule && value.len == 0)
		return refuse(e, "The attribute '%s' is empty", show(name).text);
	if (has_control(value))
		return refuse(e, "The attribute '%s' holds a control character", show(name).text);
	if (rule && rule->check(e, value))
		return e->fault.err;
	return append_attribute(e, name, value);
}

static int set_content_type(struct cloudevent *e, struct slice value)
{
	if (e->seen & KNOWN_CONTENT_TYPE)
		return refuse(e, "The attribute '%s' comes twice", "datacontenttype");
	e->seen |= KNOWN_CONTENT_TYPE;
	e->content_type = value;
	if (!is_media_type(value) || has_control(value))
		return refuse(e, "The attribute '%s' is not a media type", "datacontenttype");
	return 0;
}

/* What must be there in the end, whichever mode. */
static int check_whole(struct cloudevent *e)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} required[] = {
		{KNOWN_SPECVERSION, "specversion"},
		{KNOWN_ID, "id"},
		{KNOWN_SOURCE, "source"},
		{KNOWN_TYPE, "type"},
	};

	for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++)
		if (!(e->seen & required[i].bit))
			refuse(e, "The required attribute '%s' is missing", required[i].name);
	if (e->source.len + 1 + e->id.len > CLOUDEVENT_KEY_BYTES_MAX)
		refuse(e, "source and id together are longer than %s bytes", "4095");
	return e->fault.err;
}

void cloudevent_begin(struct cloudevent *e, struct arena *arena)
{
	e->attribute_count = 0;
	e->id = e->source = e->type = slice_null();
	e->content_type = e->partition_key = e->data = slice_null();
	e->arena = arena;
	e->seen = 0;
	e->fault.err = 0;
	e->fault.text[0] = 0;
}

/* ---- binary mode ---- */

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* http-protocol-binding 3.1.3.2, step one: a quoted-string loses quotes and backslashes. False where it is not ended. */
static bool undo_quotes(struct slice in, uint8_t *out, size_t *len)
{
	size_t n = 0;

	for (size_t i = 1; i < in.len; i++) {
		if (in.ptr[i] == '"') {
			*len = n;
			return i + 1 == in.len;
		}
		if (in.ptr[i] == '\\' && ++i == in.len)
			return false;
		out[n++] = in.ptr[i];
	}
	return false;
}

/* Step two: one round of percent-decoding, in place. False where '%' lacks its two digits. */
static bool undo_percent(uint8_t *text, size_t *len)
{
	size_t n = 0;

	for (size_t i = 0; i < *len; i++) {
		if (text[i] != '%') {
			text[n++] = text[i];
			continue;
		}
		if (*len - i < 3 || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0)
			return false;
		text[n++] = (uint8_t)(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
		i += 2;
	}
	*len = n;
	return true;
}

static int decode_header(struct cloudevent *e, struct slice name, struct slice raw, struct slice *value)
{
	uint8_t *text;
	size_t len = raw.len;

	*value = raw;
	if (!raw.len || (raw.ptr[0] != '"' && !memchr(raw.ptr, '%', raw.len))) {
		if (!utf8_valid(raw))
			return refuse(e, "The header 'ce-%s' is not UTF-8", show(name).text);
		return 0;
	}
	text = arena_alloc(e->arena, raw.len);
	if (!text)
		return ERR_NOMEM;
	if (raw.ptr[0] == '"' && !undo_quotes(raw, text, &len))
		return refuse(e, "The quoted string of the header 'ce-%s' is not ended", show(name).text);
	if (raw.ptr[0] != '"')
		memcpy(text, raw.ptr, raw.len);
	if (!undo_percent(text, &len))
		return refuse(e, "The header 'ce-%s' has a '%%' without two hexadecimal digits",
			      show(name).text);
	*value = slice_make(text, len);
	if (!utf8_valid(*value))
		return refuse(e, "The header 'ce-%s' is not UTF-8 after percent-decoding", show(name).text);
	return 0;
}

int cloudevent_header(struct cloudevent *e, struct slice name, struct slice value)
{
	struct slice lower, text;
	uint8_t *to;
	int rc;

	if (!cloudevent_is_header(name))
		return 0;
	if (e->fault.err)
		return e->fault.err;
	lower = arena_copy(e->arena, slice_from(name, 3));
	if (!lower.ptr)
		return ERR_NOMEM;
	to = (uint8_t *)lower.ptr;
	for (size_t i = 0; i < lower.len; i++)
		if (to[i] >= 'A' && to[i] <= 'Z')
			to[i] |= 0x20;
	if (slice_eq_str(lower, "datacontenttype"))
		return refuse(e, "The header '%s' is not allowed: Content-Type says it",
			      "ce-datacontenttype");
	if (slice_eq_str(lower, "data") || slice_eq_str(lower, "data_base64"))
		return refuse(e, "The header 'ce-%s' is not allowed: the body is the data", show(lower).text);
	rc = decode_header(e, lower, slice_trim(value), &text);
	return rc ? rc : add_attribute(e, lower, text);
}

int cloudevent_end(struct cloudevent *e, struct slice content_type, struct slice body)
{
	if (content_type.ptr && !e->fault.err)
		(void)set_content_type(e, content_type);
	if (body.len)
		e->data = body;
	return check_whole(e);
}

/* ---- structured and batched mode ---- */

/* Attributes are strings, booleans or 32 bit integers (json-format 2.2); null is as good as absent. */
static int value_text(struct cloudevent *e, struct slice name, struct json_value v, struct slice *text)
{
	int64_t number;
	int rc;

	*text = v.raw;
	switch (v.kind) {
	case JSON_STRING:
		rc = json_text(v.raw, e->arena, text);
		if (rc == ERR_BAD_JSON)
			return refuse(e, "The attribute '%s' has half a surrogate pair", show(name).text);
		return rc;
	case JSON_BOOL:
		return 0;
	case JSON_NUMBER:
		if (json_i64(v, &number) == 0 && number >= INT32_MIN && number <= INT32_MAX)
			return 0;
		return refuse(e, "The attribute '%s' is not an integer of 32 bits", show(name).text);
	default:
		return refuse(e, "The attribute '%s' is neither string, boolean nor integer",
			      show(name).text);
	}
}

static int read_attribute(struct cloudevent *e, struct slice name, struct json_value v)
{
	const struct attribute_rule *rule = find_rule(name);
	bool is_content_type = slice_eq_str(name, "datacontenttype");
	struct slice text;
	int rc;

	if (v.kind == JSON_NULL)
		return 0;
	if (((rule && rule->text_only) || is_content_type) && v.kind != JSON_STRING)
		return refuse(e, "The attribute '%s' is not a string", show(name).text);
	rc = value_text(e, name, v, &text);
	if (rc)
		return rc;
	return is_content_type ? set_content_type(e, text) : add_attribute(e, name, text);
}

/* What came as data, kept until the content type is known. */
struct data_members {
	struct json_value data, base64;
};

static int read_member(struct cloudevent *e, struct data_members *d, struct slice raw_name,
		       struct json_value v)
{
	bool is_data = json_name_is(raw_name, "data");
	struct json_value *place = is_data ? &d->data : &d->base64;
	struct slice name;
	int rc;

	if (is_data || json_name_is(raw_name, "data_base64")) {
		if (place->raw.ptr)
			return refuse(e, "The member '%s' comes twice", is_data ? "data" : "data_base64");
		*place = v;
		return 0;
	}
	rc = json_text(raw_name, e->arena, &name);
	if (rc == ERR_BAD_JSON)
		return refuse(e, "An attribute name has half a surrogate pair");
	return rc ? rc : read_attribute(e, name, v);
}

static int decode_base64(struct cloudevent *e, struct json_value v)
{
	struct slice text;
	uint8_t *bytes;
	size_t len;
	int rc;

	if (v.kind != JSON_STRING)
		return refuse(e, "The member '%s' is not a string", "data_base64");
	rc = json_text(v.raw, e->arena, &text);
	if (rc == ERR_BAD_JSON)
		return refuse(e, "The member '%s' is not base64", "data_base64");
	if (rc)
		return rc;
	bytes = arena_alloc(e->arena, base64_decoded_max(text.len));
	if (!bytes)
		return ERR_NOMEM;
	if (base64_decode(BASE64_STANDARD, text, bytes, &len))
		return refuse(e, "The member '%s' is not base64 (RFC 4648 section 4, padded)", "data_base64");
	e->data = slice_make(bytes, len);
	return 0;
}

/*
 * json-format 3.1: JSON data keeps the bytes it came in; for another content
 * type a string stands for its characters. Any other value under such a type
 * keeps its bytes, too.
 */
static int take_data(struct cloudevent *e, const struct data_members *d)
{
	int rc;

	if (d->data.raw.ptr && d->base64.raw.ptr && d->base64.kind != JSON_NULL)
		return refuse(e, "The event has both data and data_base64");
	if (d->base64.raw.ptr && d->base64.kind != JSON_NULL)
		return decode_base64(e, d->base64);
	e->data = d->data.raw;
	if (d->data.kind != JSON_STRING || !e->data.ptr || is_json_type(e->content_type))
		return 0;
	rc = json_text(d->data.raw, e->arena, &e->data);
	return rc == ERR_BAD_JSON ? refuse(e, "The data has half a surrogate pair") : rc;
}

/* Reads all members, also behind a fault. 0 or what is no fault of the event: ERR_BAD_JSON, ERR_NOMEM. */
static int read_members(struct cloudevent *e, struct data_members *d, struct json_cursor *c)
{
	struct json_value v;
	struct slice name;
	int nomem = 0;

	json_object_begin(c);
	while (json_object_next(c, &name)) {
		if (json_take(c, &v))
			break;
		if (!e->fault.err && !nomem && read_member(e, d, name, v) == ERR_NOMEM)
			nomem = ERR_NOMEM;
	}
	return c->status ? c->status : nomem;
}

int cloudevent_read(struct cloudevent *e, struct json_cursor *c, struct arena *arena)
{
	struct data_members d = {.data = {.kind = JSON_NULL}, .base64 = {.kind = JSON_NULL}};
	int rc;

	cloudevent_begin(e, arena);
	if (json_peek(c) != JSON_OBJECT) {
		rc = json_skip(c);
		return rc ? rc : refuse(e, "An event is not an object");
	}
	rc = read_members(e, &d, c);
	if (rc)
		return rc;
	if (!e->fault.err && take_data(e, &d) == ERR_NOMEM)
		return ERR_NOMEM;
	return check_whole(e);
}

int cloudevent_key(const struct cloudevent *e, struct slice *key)
{
	uint8_t *to = arena_alloc(e->arena, e->source.len + 1 + e->id.len);

	if (!to)
		return ERR_NOMEM;
	memcpy(to, e->source.ptr, e->source.len);
	to[e->source.len] = ' ';
	memcpy(to + e->source.len + 1, e->id.ptr, e->id.len);
	*key = slice_make(to, e->source.len + 1 + e->id.len);
	return 0;
}
