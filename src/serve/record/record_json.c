/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values are checked here, once for each record and form, and not marked when
 * they come in: a record may have come over Kafka, which checks nothing.
 *
 * Repeated headers: up to a dozen are compared pairwise in place. With more, a
 * hostile record could make that quadratic over a mebibyte of headers, so their
 * positions are sorted by name first.
 */
#include "serve/record/record_json.h"

#include <stdlib.h>

#include "base/mem.h"
#include "json/json.h"
#include "json/json_write.h"

#define PAIRWISE_MAX 12u

struct header {
	struct slice name, value;
	uint32_t place;
};

static void put_key(struct buf *to, struct slice key)
{
	if (!key.ptr) {
		(void)buf_append(to, ",\"key\":null", 11);
	} else if (json_utf8_valid(key)) {
		(void)buf_append(to, ",\"key\":", 7);
		json_put_string(to, key);
	} else {
		(void)buf_append(to, ",\"key_base64\":", 14);
		json_put_base64(to, key);
	}
}

static void put_value(struct buf *to, struct slice value)
{
	if (!value.ptr) {
		(void)buf_append_str(to, ",\"value\":null,\"tombstone\":true");
	} else if (json_valid(value, NULL) == 0) {
		(void)buf_append(to, ",\"value\":", 9);
		(void)buf_append_slice(to, value);
	} else if (json_utf8_valid(value)) {
		(void)buf_append(to, ",\"value_text\":", 14);
		json_put_string(to, value);
	} else {
		(void)buf_append(to, ",\"value_base64\":", 16);
		json_put_base64(to, value);
	}
}

/* ---- headers ---- */

static void put_header_value(struct buf *to, struct slice value)
{
	if (!value.ptr) {
		json_put_null(to);
	} else if (json_utf8_valid(value)) {
		json_put_string(to, value);
	} else {
		(void)buf_append(to, "{\"base64\":", 10);
		json_put_base64(to, value);
		(void)buf_append_byte(to, '}');
	}
}

static void put_header_name(struct buf *to, struct slice name, bool first)
{
	if (!first)
		(void)buf_append_byte(to, ',');
	json_put_string_lossy(to, name);
	(void)buf_append_byte(to, ':');
}

/* The values of all in the list that bear the name of the first. */
static void put_values(struct buf *to, const struct header *list, uint32_t count, bool repeated)
{
	bool first = true;

	if (!repeated) {
		put_header_value(to, list[0].value);
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		if (!slice_eq(list[i].name, list[0].name))
			continue;
		(void)buf_append_byte(to, first ? '[' : ',');
		put_header_value(to, list[i].value);
		first = false;
	}
	(void)buf_append_byte(to, ']');
}

static bool has_name(const struct header *list, uint32_t count, struct slice name)
{
	for (uint32_t i = 0; i < count; i++)
		if (slice_eq(list[i].name, name))
			return true;
	return false;
}

static void put_pairwise(struct buf *to, const struct header *list, uint32_t count)
{
	bool first = true;

	for (uint32_t i = 0; i < count; i++) {
		if (has_name(list, i, list[i].name))
			continue;
		put_header_name(to, list[i].name, first);
		put_values(to, list + i, count - i, has_name(list + i + 1, count - i - 1, list[i].name));
		first = false;
	}
}

static int by_name(const void *a, const void *b)
{
	const struct header *x = a, *y = b;
	int order = slice_cmp(x->name, y->name);

	if (order)
		return order;
	return x->place < y->place ? -1 : 1;
}

static void put_sorted(struct buf *to, struct header *list, uint32_t count)
{
	qsort(list, count, sizeof(*list), by_name);
	for (uint32_t i = 0; i < count;) {
		uint32_t n = 1;
		while (i + n < count && slice_eq(list[i + n].name, list[i].name))
			n++;
		put_header_name(to, list[i].name, i == 0);
		put_values(to, list + i, n, n > 1);
		i += n;
	}
}

static int read_headers(const struct batch_record *r, struct header *list)
{
	struct slice left = r->headers;

	for (uint32_t i = 0; i < r->header_count; i++) {
		if (batch_header_next(&left, &list[i].name, &list[i].value) != 1)
			return ERR_MALFORMED;
		list[i].place = i;
	}
	return left.len ? ERR_MALFORMED : 0;
}

static int put_many_headers(struct buf *to, const struct batch_record *r)
{
	struct header *list;
	int rc;

	/* Each takes two bytes at least: the count is bounded by the record. */
	if (r->header_count > r->headers.len / 2)
		return ERR_MALFORMED;
	list = mem_alloc(r->header_count * sizeof(*list));
	if (!list)
		return ERR_NOMEM;
	rc = read_headers(r, list);
	if (rc == 0)
		put_sorted(to, list, r->header_count);
	mem_free(list);
	return rc;
}

static int put_headers(struct buf *to, const struct batch_record *r)
{
	struct header list[PAIRWISE_MAX];
	int rc = 0;

	(void)buf_append(to, ",\"headers\":{", 12);
	if (r->header_count > PAIRWISE_MAX) {
		rc = put_many_headers(to, r);
	} else if (r->header_count > 0) {
		rc = read_headers(r, list);
		if (rc == 0)
			put_pairwise(to, list, r->header_count);
	}
	(void)buf_append_byte(to, '}');
	return rc;
}

/* ---- the whole ---- */

int record_json_open(struct buf *to, const struct record_origin *origin, const struct batch_record *r)
{
	int rc;

	(void)buf_append(to, "{\"topic\":\"", 10);
	(void)buf_append_slice(to, origin->topic); /* a topic's name needs no escapes */
	(void)buf_append(to, "\",\"partition\":", 14);
	(void)buf_append_u64(to, origin->partition);
	(void)buf_append(to, ",\"offset\":", 10);
	(void)buf_append_i64(to, r->offset);
	(void)buf_append(to, ",\"timestamp\":", 13);
	(void)buf_append_i64(to, r->timestamp);
	put_key(to, r->key);
	rc = put_headers(to, r);
	put_value(to, r->value);
	return rc ? rc : buf_status(to);
}

int record_json(struct buf *to, const struct record_origin *origin, const struct batch_record *r)
{
	int rc = record_json_open(to, origin, r);

	return rc ? rc : buf_append_byte(to, '}');
}
