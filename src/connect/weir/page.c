/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/weir/page.h"

#include "ingest/envelope.h"
#include "json/json.h"

struct reading {
	struct page *page;
	struct arena *arena;
	struct source_batch *batch;
	struct headers headers;
	struct arena scratch; /* of one record */
	bool keep_partitions;
};

static int add_record(struct reading *r, const struct envelope *e)
{
	struct source_header headers[HEADERS_MAX];
	struct source_record record = SOURCE_RECORD_INIT;

	for (uint32_t i = 0; i < r->headers.count; i++)
		headers[i] = (struct source_header){.name = r->headers.items[i].name,
						    .value = r->headers.items[i].value};
	record.key = e->key;
	record.value = e->value;
	record.headers = headers;
	record.header_count = r->headers.count;
	record.timestamp_ms = e->timestamp_ms;
	if (r->keep_partitions)
		record.partition = (int32_t)e->partition;
	return r->batch ? source_add(r->batch, &record) : 0;
}

static int take_records(struct reading *r, struct json_cursor *c, struct fault *fault)
{
	struct envelope e = {.headers = &r->headers};

	json_array_begin(c);
	while (json_array_next(c)) {
		int rc;
		arena_reset(&r->scratch);
		rc = envelope_read(&e, ENVELOPE_GIVEN, c, &r->scratch);
		if (rc && e.fault.err)
			return fault_set(fault, ERR_MALFORMED, "a record of the answer cannot be read: %s",
					 e.fault.text);
		if (rc == 0)
			rc = add_record(r, &e);
		if (rc && !c->status)
			return rc;
		r->page->records++;
	}
	return 0;
}

static int take_text(struct reading *r, struct json_cursor *c, struct slice *out)
{
	struct json_value value;

	if (json_take(c, &value) || value.kind != JSON_STRING)
		return 0;
	return json_text(value.raw, r->arena, out) == ERR_NOMEM ? ERR_NOMEM : 0;
}

static int take_member(struct reading *r, struct json_cursor *c, struct slice name, struct fault *fault)
{
	struct json_value value;

	if (json_name_is(name, "records") && json_peek(c) == JSON_ARRAY)
		return take_records(r, c, fault);
	if (json_name_is(name, "cursor"))
		return take_text(r, c, &r->page->cursor);
	if (json_name_is(name, "code"))
		return take_text(r, c, &r->page->code);
	if (json_name_is(name, "detail"))
		return take_text(r, c, &r->page->detail);
	if (json_name_is(name, "gaps") && json_peek(c) == JSON_ARRAY) {
		json_array_begin(c);
		for (; json_array_next(c); r->page->gaps++)
			json_skip(c);
		return 0;
	}
	if (json_take(c, &value) == 0 && json_name_is(name, "caught_up"))
		(void)json_bool(value, &r->page->caught_up);
	return 0;
}

int page_read(struct slice text, bool keep_partitions, struct arena *arena, struct source_batch *batch,
	      struct page *out, struct fault *fault)
{
	struct reading r = {.page = out, .arena = arena, .batch = batch, .keep_partitions = keep_partitions};
	struct json_cursor c;
	struct slice name;
	int rc = 0;

	*out = (struct page){.records = 0};
	arena_init(&r.scratch, 4096, (size_t)128 << 20);
	json_cursor_init(&c, text);
	json_object_begin(&c);
	while (rc == 0 && json_object_next(&c, &name))
		rc = take_member(&r, &c, name, fault);
	arena_fini(&r.scratch);
	if (rc == 0 && json_end(&c))
		rc = fault_set(fault, ERR_MALFORMED,
			       "the answer is not JSON: is there a weir at this URL? It begins with '%.*s'",
			       (int)(text.len < 40 ? text.len : 40), (const char *)text.ptr);
	return rc;
}
