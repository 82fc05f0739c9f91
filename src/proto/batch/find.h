/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_BATCH_FIND_H
#define WEIR_PROTO_BATCH_FIND_H

#include "base/slice.h"

struct batch_found {
	int64_t offset;
	int64_t timestamp;
};

/*
 * The first record with an offset from `from` on and a timestamp of at least time_ms (INT64_MIN: any) in the
 * whole batch that `batch` (borrowed) begins with, compressed or not. 0 and *out; 1 where there is none: one that is not
 * whole, or cannot be inflated, has none, as damage has none. ERR_NOMEM.
 */
int batch_find(struct slice batch, int64_t from, int64_t time_ms, struct batch_found *out);

#endif
