/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/weir/parcel.h"

#include "json/json.h"
#include "json/json_write.h"

static void put_key(struct buf *out, struct slice key)
{
	if (!key.ptr)
		return;
	if (json_utf8_valid(key)) {
		json_put_member_string(out, "key", key);
	} else {
		json_put_name(out, "key_base64");
		json_put_base64(out, key);
	}
}

/* JSON goes as it is, but where blanks around it would be lost. */
static bool goes_plain(struct slice value)
{
	return value.len && value.ptr[0] > ' ' && value.ptr[value.len - 1] > ' ' &&
	       json_valid(value, NULL) == 0;
}

static void put_value(struct buf *out, struct slice value)
{
	if (!value.ptr) {
		json_put_member_bool(out, "tombstone", true);
	} else if (goes_plain(value)) {
		json_put_name(out, "value");
		json_put_raw(out, value);
	} else if (json_utf8_valid(value)) {
		json_put_member_string(out, "value_text", value);
	} else {
		json_put_name(out, "value_base64");
		json_put_base64(out, value);
	}
}

/* A name that comes several times is several members: the reader takes them one by one. */
static void put_headers(struct buf *out, struct slice headers)
{
	struct slice name, value;

	json_put_name(out, "headers");
	json_put_open(out, '{');
	while (batch_header_next(&headers, &name, &value) == 1) {
		json_put_name_slice(out, name);
		if (!value.ptr) {
			json_put_null(out);
		} else if (json_utf8_valid(value)) {
			json_put_string(out, value);
		} else {
			json_put_open(out, '{');
			json_put_name(out, "base64");
			json_put_base64(out, value);
			json_put_close(out, '}');
		}
	}
	json_put_close(out, '}');
}

void parcel_begin(struct buf *out)
{
	(void)buf_append_str(out, "{\"records\":[");
}

void parcel_add(struct buf *out, const struct batch_record *r, const char *prefix)
{
	json_put_item(out);
	json_put_open(out, '{');
	put_key(out, r->key);
	put_value(out, r->value);
	if (r->header_count)
		put_headers(out, r->headers);
	if (r->timestamp >= 0)
		json_put_member_i64(out, "timestamp", r->timestamp);
	json_put_name(out, "idempotency_key");
	(void)buf_appendf(out, "\"%s%lld\"", prefix, (long long)r->offset);
	json_put_close(out, '}');
}

void parcel_end(struct buf *out)
{
	(void)buf_append_str(out, "]}");
}
