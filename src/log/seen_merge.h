/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_SEEN_MERGE_H
#define WEIR_LOG_SEEN_MERGE_H

#include "log/seen_set.h"

/*
 * Choosing runs to merge, and merging them piece by piece. Knows nothing of the
 * table or of publishing the result.
 */
#define SEEN_MERGE_RUNS_MAX 8u

struct seen_choice {
	struct seen_run *runs[SEEN_MERGE_RUNS_MAX]; /* borrowed */
	uint32_t count;
	int64_t end_ms; /* bucket of the result */
};

/*
 * What should be merged next. `checkpoint` is the number of the newest one, a
 * bucket it and the 15 before it did not write to is merged further. False: nothing.
 */
bool seen_merge_choose(const struct seen_set *set, uint32_t files_max, uint32_t checkpoint,
		       struct seen_choice *out);

struct seen_merge;

/* Starts writing the merged run. `options->keys_max` is set here. Shares the runs. */
int seen_merge_start(const struct seen_choice *choice, struct seen_writer_options *options,
		     struct seen_merge **out, struct fault *fault);

/* Merges up to `entries` more: 1 where there is more, 0 at the end, or an error, after which only abort may follow. */
int seen_merge_step(struct seen_merge *m, uint32_t entries, struct fault *fault);

/* Names the result. Takes m, also on error. */
int seen_merge_finish(struct seen_merge *m, struct seen_run **out, struct fault *fault);
/* Takes m; NULL is allowed. */
void seen_merge_abort(struct seen_merge *m);

const struct seen_choice *seen_merge_choice(const struct seen_merge *m);

#endif
