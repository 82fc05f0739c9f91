/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First byte: which API; second: 1 response, and in the rest the version, counted
 * from the lowest. What follows is the body. What can be read must be written, and
 * what was written must be read and written the same once more, with records
 * copied and with records left out.
 */
#include "base/check.h"
#include "base/mem.h"
#include "proto/kafka/kafka_api.h"

#define STRUCT_BYTES_MAX 256u
#define CUTS_MAX 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	const struct kafka_layout *layout;
	struct kafka_format format;
	struct arena arena;
	_Alignas(16) uint8_t body[STRUCT_BYTES_MAX];
};

/* Reads from memory that ends where the bytes do. */
static bool read_copy(struct run *r, struct slice bytes, uint8_t *copy)
{
	if (bytes.len)
		memcpy(copy, bytes.ptr, bytes.len);
	return kafka_layout_read(r->layout, r->format, slice_make(copy, bytes.len), &r->arena, r->body) == 0;
}

/* The frame is what was written with the records put in at the cuts. */
static void check_cuts(struct run *r, struct slice whole)
{
	struct kafka_cut list[CUTS_MAX];
	struct kafka_cuts cuts = {.list = list, .count_max = CUTS_MAX};
	struct buf to;
	size_t at = 0;

	buf_init(&to, 1u << 24);
	if (kafka_layout_write(r->layout, r->format, r->body, &to, &cuts) == 0) {
		CHECK(to.len + cuts.bytes == whole.len);
		for (size_t i = 0; i < cuts.count; i++) {
			struct slice records = slice_make(list[i].records->ptr, list[i].records->len);
			struct slice before = slice_make(slice_from(buf_slice(&to), at).ptr, list[i].at - at);
			CHECK(slice_eq(before, slice_make(whole.ptr, before.len)));
			whole = slice_from(whole, before.len);
			CHECK(slice_eq(records, slice_make(whole.ptr, records.len)));
			whole = slice_from(whole, records.len);
			at = list[i].at;
		}
		CHECK(slice_eq(slice_from(buf_slice(&to), at), whole));
	} else {
		CHECK(cuts.count == CUTS_MAX);
	}
	buf_fini(&to);
}

static void check_again(struct run *r)
{
	struct buf first, second;
	uint8_t *copy;

	buf_init(&first, 1u << 24);
	buf_init(&second, 1u << 24);
	CHECK(kafka_layout_write(r->layout, r->format, r->body, &first, NULL) == 0);
	copy = mem_alloc(first.len);
	CHECK(copy && read_copy(r, buf_slice(&first), copy));
	CHECK(kafka_layout_write(r->layout, r->format, r->body, &second, NULL) == 0);
	CHECK(slice_eq(buf_slice(&first), buf_slice(&second)));
	check_cuts(r, buf_slice(&second));
	mem_free(copy);
	buf_fini(&first);
	buf_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct kafka_api *api;
	struct run r = {0};
	uint8_t *copy;

	if (size < 2)
		return 0;
	api = &kafka_apis[data[0] % KAFKA_APIS_COUNT];
	r.format.version = (int16_t)(api->served + (data[1] >> 1) % (api->to - api->served + 1));
	r.format.flexible = r.format.version >= api->flexible;
	r.layout = data[1] & 1 ? api->response : api->request;
	CHECK(r.layout->bytes <= STRUCT_BYTES_MAX);
	arena_init(&r.arena, 4096, 1u << 22);
	copy = mem_alloc(size);
	CHECK(copy);
	if (read_copy(&r, slice_make(data + 2, size - 2), copy))
		check_again(&r);
	mem_free(copy);
	arena_fini(&r.arena);
	return 0;
}
