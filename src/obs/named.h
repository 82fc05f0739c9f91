/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_OBS_NAMED_H
#define WEIR_OBS_NAMED_H

#include "base/buf.h"

/*
 * Numbers of things that have names: sources, which only the configuration or an operator makes. Nobody
 * counts in a shard for them: they are gathered at each scrape. Their label is bounded by a count: the first NAMED_MAX of those
 * that are put have series of their own, the others are folded into one whose name is NAMED_REST, so that sums stay right.
 */
enum named_metric {
#define NAMED(name, text, kind, fold, help) NAMED_##name,
#include "obs/named.def"
#undef NAMED
	NAMED_COUNT
};

#define NAMED_MAX 1000u
#define NAMED_REST "(other)" /* no source can be called so */
#define NAMED_UNKNOWN INT64_MIN

struct named;

/* Puts all that there are, in an order that stays. On the thread that scrapes. */
typedef void named_fn(void *ctx, struct named *n);

/*
 * One of them: `values` by enum named_metric, in the unit of the kind (ns), NAMED_UNKNOWN where there is none; that of
 * NAMED_STATE is not looked at. Copies the name; state is static.
 */
void named_put(struct named *n, struct slice name, const char *state, const int64_t values[NAMED_COUNT]);

/* Appends the exposition; fn NULL: of none. ERR_NOMEM. */
int named_write(named_fn *fn, void *ctx, struct buf *out);

/* Appends the rows of the reference page. */
void named_write_reference(struct buf *out);

#endif
