/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_HEADERS_H
#define WEIR_INGEST_HEADERS_H

#include "base/arena.h"
#include "base/err.h"

/*
 * The headers of one record while they are gathered, in order; then encoded
 * into the arena as the record format has them. The list is reused from record
 * to record; names and values are borrowed until encoded.
 */
#define HEADERS_MAX 128u

struct headers {
	struct {
		struct slice name;
		struct slice value; /* ptr NULL: null */
	} items[HEADERS_MAX];
	uint32_t count;
	size_t bytes; /* encoded */
};

static inline void headers_clear(struct headers *h)
{
	h->count = 0;
	h->bytes = 0;
}

/* 0, or ERR_LIMIT where HEADERS_MAX are there already. */
int headers_add(struct headers *h, struct slice name, struct slice value);

/* Owned by the arena; empty and NULL where there are none. ERR_NOMEM. */
int headers_encode(const struct headers *h, struct arena *arena, struct slice *out);

#endif
