/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/headers.h"

#include "proto/batch/batch.h"

int headers_add(struct headers *h, struct slice name, struct slice value)
{
	if (h->count == HEADERS_MAX)
		return ERR_LIMIT;
	h->items[h->count].name = name;
	h->items[h->count].value = value;
	h->count++;
	h->bytes += batch_header_bytes(name, value);
	return 0;
}

int headers_encode(const struct headers *h, struct arena *arena, struct slice *out)
{
	uint8_t *to, *at;

	*out = slice_null();
	if (h->count == 0)
		return 0;
	to = at = arena_alloc(arena, h->bytes);
	if (!to)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < h->count; i++)
		at = batch_header_put(at, h->items[i].name, h->items[i].value);
	*out = slice_make(to, (size_t)(at - to));
	return 0;
}
