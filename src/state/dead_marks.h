/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STATE_DEAD_MARKS_H
#define WEIR_STATE_DEAD_MARKS_H

#include "state/topics.h"

/*
 * What has become of dead letters: a typed table over the topics of dead letters. The log is append-only, so a
 * letter stays where it is until retention takes it; that it was redriven, dropped or edited is a
 * mark here. A letter without a mark is open. A mark changes in the same commit as what it tells of:
 *
 *	dead_marks_change(m, id, offset, DEAD_REDRIVEN, &change)    looks, and makes the row
 *	dead_marks_record(m, &change, &record)                      into the commit, which enters
 *	dead_marks_apply(m, &change)                                entered: memory follows, cannot fail
 *
 * All three under one holding of the log's entry lock. Asking is allowed on any thread.
 * It knows nothing of what is in a letter.
 */
struct dead_marks;

enum dead_state { DEAD_OPEN, DEAD_REDRIVEN, DEAD_DROPPED, DEAD_EDITED };

struct dead_mark {
	enum dead_state state;
	uint32_t failed; /* times that it was redriven and failed again; counted up to DEAD_FAILED_MAX */
};
#define DEAD_FAILED_MAX 63u

#define DEAD_CHUNK 256u /* letters of one row */

/* A row that is to change. A plain value; the commit borrows from it, so it stays until that is done. */
struct dead_change {
	uint8_t key[1 + 16 + 8];
	uint8_t value[1 + DEAD_CHUNK];
	void *fresh; /* a chunk, where there is none yet */
};

/* Registers its table. Keeps all three. Returns owned. ERR_NOMEM. */
int dead_marks_new(struct log *l, struct state *state, struct topics *topics, struct dead_marks **out);
void dead_marks_free(struct dead_marks *m); /* NULL is allowed */

/*
 * The mark of an open letter becomes `to`; or, with DEAD_OPEN, it has failed once more. ERR_CONFLICT: it is
 * not open (any more); ERR_NOMEM. With 0, one of apply and forget follows.
 */
int dead_marks_change(struct dead_marks *m, const struct topic_id *topic, int64_t offset, enum dead_state to,
		      struct dead_change *out);
void dead_marks_record(struct dead_marks *m, const struct dead_change *c, struct log_record *out);
void dead_marks_apply(struct dead_marks *m, const struct dead_change *c);
void dead_marks_forget(const struct dead_change *c);

/* All of it for a mark that stands alone, under the entry lock. Errors of dead_marks_change and state_put. */
int dead_marks_put(struct dead_marks *m, const struct topic_id *topic, int64_t offset, enum dead_state to,
		   const struct state_done *done);

struct dead_mark dead_marks_get(struct dead_marks *m, const struct topic_id *topic, int64_t offset);

/* Open letters in [from, to), and the first of them; `to` where there is none. */
struct dead_open {
	uint64_t count;
	int64_t first;
};
struct dead_open dead_marks_open(struct dead_marks *m, const struct topic_id *topic, int64_t from,
				 int64_t to);

/* For verification: can the row be read? 0 or ERR_CORRUPT. */
int dead_marks_row_check(struct slice key, struct slice value);

#endif
