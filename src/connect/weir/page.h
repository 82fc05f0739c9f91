/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_WEIR_PAGE_H
#define WEIR_CONNECT_WEIR_PAGE_H

#include "connect/source.h"
#include "ingest/headers.h"

/*
 * The answer of a weir to a poll, read: records into a batch, and the cursor behind them. Also the problem
 * with which it tells that a cursor is behind what it keeps (410), which has a cursor that can be gone on with.
 */
struct page {
	struct slice cursor; /* ptr NULL: none; in the arena, or borrowed from the text */
	bool caught_up;
	uint32_t records, gaps;
	struct slice code, detail; /* of a problem; ptr NULL: none */
};

/*
 * Walks it once. `batch` NULL: records are counted and passed over. keep_partitions: each record goes to the
 * partition of its number. 0; ERR_MALFORMED with *fault where it is not what a weir says; ERR_NOMEM; ERR_LIMIT of source_add.
 */
int page_read(struct slice text, bool keep_partitions, struct arena *arena, struct source_batch *batch,
	      struct page *out, struct fault *fault);

#endif
