/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever stands in a checkpoint: it is refused with a text, or written and read again it is the same. */
#include "base/check.h"
#include "connect/http/position.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct position p, q;
	struct fault fault = {0};
	struct arena arena;
	struct buf one, two;

	arena_init(&arena, 1024, 1u << 20);
	buf_init(&one, 1u << 20);
	buf_init(&two, 1u << 20);
	if (position_read(slice_make(data, size), &arena, &p, &fault) < 0) {
		CHECK(fault.text[0]);
	} else if (position_write(&p, &one) == 0) {
		CHECK(position_read(buf_slice(&one), &arena, &q, &fault) == 0);
		CHECK(position_write(&q, &two) == 0);
		CHECK(slice_eq(buf_slice(&one), buf_slice(&two)));
		(void)position_greater(p.last, p.last_now);
	}
	buf_fini(&one);
	buf_fini(&two);
	arena_fini(&arena);
	return 0;
}
