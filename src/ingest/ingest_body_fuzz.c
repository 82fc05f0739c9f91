/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies of every kind. First byte: content type, keys and how much memory there is;
 * second: coding, on_error, header. The body's memory is freed after parsing, so that a sanitizer sees a
 * record that still borrows from it. What is good can be encoded and decoded,
 * what is bad is told in order, and the answer is JSON.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/utf8.h"
#include "ingest/ingest_inner.h"
#include "json/json.h"
#include "proto/batch/batch.h"
#include "sys/test_dir.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ingest door;
static struct ingest_queue queue;

static char dir[TEST_DIR_BYTES];

static void clean_up(void)
{
	(void)test_dir_remove(dir);
}

static void set_up(void)
{
	struct seen_options options = {.sys = sys_kernel(), .dir = dir};
	struct ingest_limits limits = {
		.record_bytes_max = 3000,
		.header_bytes_max = 500,
		.records_max = 60,
		.body_bytes_max = 20000,
	};
	struct fault fault;

	if (door.seen)
		return;
	CHECK(test_dir_make(dir, "ingest-fuzz"));
	(void)atexit(clean_up);
	CHECK(seen_open(&options, &door.seen, &fault) == 0);
	ingest_set_limits(&door, &limits);
	queue.ingest = &door;
	CHECK(inflater_new(&queue.inflater) == 0);
}

static void check_draft(const struct ingest_request *r, uint32_t i)
{
	const struct log_record *d = &r->drafts[i];
	struct slice headers = d->headers, name, value;
	uint32_t count = 0;
	int found;

	CHECK(d->tag < r->index_count && (i == 0 || d->tag > r->drafts[i - 1].tag));
	CHECK(d->value.len <= 3000 && d->key.len + d->headers.len <= 500);
	while ((found = batch_header_next(&headers, &name, &value)) == 1)
		count++;
	CHECK(found == 0 && count == d->header_count);
	if (d->value.len)
		CHECK(utf8_valid(d->value) >= 0); /* reads every byte */
	if (r->items && r->items[i].key.ptr)
		CHECK(r->items[i].key.len > 0 && utf8_valid(r->items[i].key));
}

static void check_request(struct ingest_request *r, int rc)
{
	struct buf out;

	CHECK(rc == r->result.err);
	CHECK((rc == 0) == (r->result.detail == NULL));
	for (uint32_t i = 0; rc == 0 && i < r->draft_count; i++)
		check_draft(r, i);
	for (uint32_t i = 0; i < r->result.error_count; i++) {
		CHECK(r->result.errors[i].index < r->index_count && r->result.errors[i].what);
		CHECK(i == 0 || r->result.errors[i].index > r->result.errors[i - 1].index);
	}
	if (rc == 0)
		CHECK(r->draft_count + r->result.error_count == r->index_count);
	r->result.topic = "t";
	buf_init(&out, 1u << 20);
	ingest_answer_json(&r->result, &out);
	CHECK(buf_status(&out) == 0 && json_valid(buf_slice(&out), NULL) == 0);
	buf_fini(&out);
}

/* Headers are lines of the body's first part in binary mode. */
static bool header_at(void *ctx, uint32_t number, struct slice *name, struct slice *value)
{
	static const char *const headers[] = {"ce-specversion", "1.0", "ce-id",   "1",
					      "ce-source",      "s",   "ce-type", "t"};
	const struct slice *more = ctx;

	*name = slice_str(number < 4 ? headers[2 * number] : "ce-more");
	*value = number < 4 ? slice_str(headers[2 * number + 1]) : *more;
	return number < 5;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = {
		"application/json",
		"application/x-ndjson",
		"application/vnd.weir.batch+json",
		"application/cloudevents+json",
		"application/cloudevents-batch+json",
		"text/plain",
		NULL,
	};
	static const char *const codings[] = {NULL, "gzip", "zstd", "identity"};
	static const size_t size_of_arena[] = {4u << 20, 20000, 4000, 500};
	struct ingest_request r;
	struct arena arena;
	struct slice more;
	uint8_t *body;
	int rc;

	if (size < 2)
		return 0;
	set_up();
	body = malloc(size);
	CHECK(body);
	memcpy(body, data, size);
	arena_init(&arena, 64, size_of_arena[data[1] >> 6]);
	ingest_request_init(&r, &arena, NULL, NULL);
	r.partition_limit = 4;
	r.content_type = slice_str(types[data[0] % 7]);
	r.content_encoding = slice_str(codings[data[1] & 3]);
	r.on_error = data[1] & 4 ? INGEST_SKIP : INGEST_REJECT;
	if (data[1] & 8)
		r.idempotency_header = slice_make(body + 2, size - 2 < 20 ? size - 2 : 20);
	if (data[0] / 7 & 1)
		r.idempotency_path =
			r.idempotency_header.ptr && size > 8 ? slice_make(body + 3, 4) : SLICE_LIT("path");
	if (data[0] / 7 & 2)
		r.key = SLICE_LIT("key");
	r.body = slice_make(body + 2, size - 2);
	more = slice_make(body + 2, size - 2 < 40 ? size - 2 : 40);
	r.header = data[1] & 16 ? header_at : NULL;
	r.header_ctx = &more;
	rc = ingest_parse(&queue, &r);
	free(body);
	check_request(&r, rc);
	arena_fini(&arena);
	return 0;
}
