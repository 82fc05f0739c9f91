/* SPDX-License-Identifier: Apache-2.0 */
/* What another weir may say, and what may say it is one. */
#include "connect/weir/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fault fault;
	struct arena arena;
	struct page page;

	arena_init(&arena, 4096, 16u << 20);
	(void)page_read(slice_make(data, size), size & 1, &arena, NULL, &page, &fault);
	arena_fini(&arena);
	return 0;
}
