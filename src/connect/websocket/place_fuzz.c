/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint that is read is written and read again as the same. */
#include "base/check.h"
#include "connect/websocket/place.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fault fault = {0};
	struct place a, b;
	struct arena arena;
	struct buf out;

	arena_init(&arena, 4096, 1u << 24);
	buf_init(&out, 1u << 24);
	if (place_read(slice_make(data, size), &arena, &a, &fault) == 0) {
		CHECK(place_write(&a, &out) == 0);
		CHECK(place_read(buf_slice(&out), &arena, &b, &fault) == 0);
		CHECK(a.at_ms == b.at_ms && !a.last.ptr == !b.last.ptr && slice_eq(a.last, b.last));
	}
	buf_fini(&out);
	arena_fini(&arena);
	return 0;
}
