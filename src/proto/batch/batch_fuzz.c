/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "proto/batch/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read, written again: the same record comes back. */
static void check_again(const struct batch_record *r)
{
	uint8_t *bytes =
		malloc(BATCH_HEAD_BYTES + batch_record_bytes_max(r->key.len, r->value.len, r->headers.len));
	struct batch_build b;
	struct batch_head head;
	struct batch_walk walk;
	struct batch_record back;

	CHECK(bytes);
	batch_build_start(&b, bytes, r->offset);
	batch_build_put(&b, r);
	struct slice whole = batch_build_finish(&b);
	CHECK(batch_check(whole, &head) == 0 && head.bytes == whole.len && head.count == 1);
	CHECK(batch_last_offset(&head) == r->offset);
	CHECK(batch_walk_start(&walk, whole) == 0 && batch_walk_next(&walk, &back) == 1);
	CHECK(back.offset == r->offset && back.timestamp == r->timestamp);
	CHECK(slice_eq(back.key, r->key) && !back.key.ptr == !r->key.ptr);
	CHECK(slice_eq(back.value, r->value) && !back.value.ptr == !r->value.ptr);
	CHECK(slice_eq(back.headers, r->headers) && back.header_count == r->header_count);
	CHECK(batch_walk_next(&walk, &back) == 0);
	free(bytes);
}

static void walk_headers(struct slice headers)
{
	struct slice name, value;

	while (batch_header_next(&headers, &name, &value) == 1) {
		size_t n = batch_header_bytes(name, value);
		uint8_t *bytes = malloc(n);
		struct slice again = slice_make(bytes, n), name_again, value_again;

		CHECK(bytes && batch_header_put(bytes, name, value) == bytes + n);
		CHECK(batch_header_next(&again, &name_again, &value_again) == 1 && again.len == 0);
		CHECK(slice_eq(name, name_again) && slice_eq(value, value_again));
		free(bytes);
	}
}

/* Walks whatever the bytes claim to be; the CRC is not asked for, so that the fuzzer gets past it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct batch_head head;
	struct batch_walk walk;
	struct batch_record r;

	(void)batch_check(slice_make(data, size), &head);
	if (batch_walk_start(&walk, slice_make(data, size)))
		return 0;
	while (batch_walk_next(&walk, &r) == 1) {
		walk_headers(r.headers);
		check_again(&r);
	}
	return 0;
}
