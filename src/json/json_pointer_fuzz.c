/* SPDX-License-Identifier: Apache-2.0 */
/* A pointer, a NUL, a document: what is found is a whole value within the document. */
#include "base/check.h"
#include "json/json_pointer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
	struct slice pointer, doc;
	struct json_value value;
	struct arena arena;

	if (!nul)
		return 0;
	pointer = slice_make(data, (size_t)(nul - data));
	doc = slice_make(nul + 1, size - pointer.len - 1);
	if (json_pointer_check(pointer, NULL))
		return 0;
	arena_init(&arena, 4096, 16u << 20);
	if (json_pointer_find(doc, pointer, &arena, &value) == 1) {
		CHECK(value.raw.ptr >= doc.ptr && value.raw.ptr + value.raw.len <= doc.ptr + doc.len);
		CHECK(json_valid(value.raw, NULL) == 0);
	}
	arena_fini(&arena);
	return 0;
}
