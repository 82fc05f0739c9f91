/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_RUNNER_BOX_H
#define WEIR_CONNECT_RUNNER_BOX_H

#include "connect/row_changes.h"
#include "connect/runner_call.h"

/*
 * A box holds a pull and what it brought, until that is durable. Boxes are used again, and here is where they wait for it:
 * with the source that has used them, while its run goes on (as many as its parts may use at once, with their memory), then with
 * the loop, for whichever source is pulled next. This knows no runner, no part and no type.
 */
struct box {
	struct source_batch batch; /* the first member */
	struct part *part;
	struct runner_call call;     /* the pull, then the settling */
	struct source_settle settle; /* of that */
	enum source_end end;         /* of the pull, as source_batch_close has it */
	int64_t began_ns;
	/* What it brought as a commit: runner_enter.c. */
	struct ingest_rows entry;
	struct ingest_row *rows;
	uint32_t row_cap;
	struct row_changes
		changes; /* the part's row and, with the last batch of a part in a run, the source's own */
	bool own_row, paused; /* the latter is among them; as it says */
	struct source_checkpoint
		checkpoint; /* the part's from now on, if it enters; none: nothing was marked */
	struct buf scratch;
	/* Boxes' own. */
	size_t held; /* as it was counted */
	struct box *next;
};

/* Those that wait, used last first. */
struct box_list {
	struct box *first;
	uint32_t count;
};

/* An empty one: of `spare`, else of the loop (NULL: it keeps none), else made. NULL: no memory. Returns owned. */
struct box *box_take(struct box_list *spare, struct runner_boxes *boxes);

/* Takes. Empties it, and keeps it in `spare` where fewer than `most` are there, else for the loop, or frees it. */
void box_give_back(struct box *b, struct box_list *spare, uint32_t most, struct runner_boxes *boxes);

/* Gives all of `spare` to the loop, or frees them. */
void box_list_empty(struct box_list *spare, struct runner_boxes *boxes);

/* All that it holds, bytes: its batch, and what that is made a commit of. */
size_t box_bytes(const struct box *b);

/* Counts so much memory of it in *sum; NULL: nowhere. box_give_back does not. */
void box_count_held(struct box *b, size_t held, _Atomic int64_t *sum);

/* ---- the crowd ---- */

/*
 * Thousands of sources may be due at once: at a start, after an outage. So many pulls of a loop may have begun within a second and not
 * ended; others wait a little. Those that take longer count no more, so that a host that hangs holds up nobody.
 */
#define BOXES_CROWD 256u
#define BOXES_CROWD_NS 1000000000ll

/* boxes NULL: never. Times are the loop's. */
bool runner_boxes_crowded(struct runner_boxes *boxes, int64_t now_ns);
void runner_boxes_began(struct runner_boxes *boxes);
void runner_boxes_ended(struct runner_boxes *boxes, int64_t began_ns);

#endif
