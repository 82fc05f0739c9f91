/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SQL_MARK_H
#define WEIR_CONNECT_SQL_MARK_H

#include "connect/sql/sql.h"

/*
 * How far the mode `incremental` has read: the checkpoint, decoded. incremental.c says what the words mean.
 */
#define SQL_MARK_VERSION 1u
#define SQL_HISTORY_MAX 48u
#define SQL_OPEN_MAX \
	16384u /* bytes of names of open transactions; while there are more, no new pair is begun */

struct sql_past {
	uint64_t stood;    /* transactions at or past this had not begun: an id, or microseconds */
	struct buf memory; /* of the values */
	struct sql_point top;
};

/* Columns that there were, as rows up to `until` may have been stored. */
struct sql_former {
	struct buf columns;
	struct sql_point until;
	struct buf memory; /* of its values */
	uint64_t stood;    /* where transactions stood when that was seen */
};

#define SQL_FORMERS_MAX 8u

struct sql_mark {
	uint64_t horizon; /* rows of transactions below it have all been taken, from `low` up */
	/*
	 * One past the newest transaction that a row was seen of, or the number of the server's last checkpoint. What it wrote is on disk there; numbers past it may be given once
	 * more after a crash of the database, so the horizon never lies past it. 0: no row was seen.
	 */
	uint64_t ceiling;
	bool has_low;
	struct sql_point low; /* of the cursor's columns */
	struct buf low_memory;
	struct sql_past past[SQL_HISTORY_MAX]; /* oldest first */
	uint32_t past_count;
	bool has_top;
	struct sql_point
		top; /* the greatest value that the last question saw, or the one that began to wait for `open` */
	struct buf top_memory;
	struct buf
		open; /* transactions of then that have not ended since: "3/17 5/2", where the database names them */
	bool scanning;
	uint64_t scan_horizon; /* of the scan's first snapshot: the next `horizon` */
	/*
	 * Where rows do not tell who wrote them: the columns that fingerprints are made of (sql_put_columns). Rows that may have been stored
	 * when there were others keep the fingerprints that they had: the first of the formers that a row is in counts.
	 */
	struct buf columns;
	struct sql_former formers[SQL_FORMERS_MAX]; /* oldest first */
	uint32_t former_count;
};

void sql_mark_init(struct sql_mark *m);
void sql_mark_fini(struct sql_mark *m);

/* With the reader's place. ERR_LIMIT, ERR_NOMEM. */
int sql_mark_write(const struct sql_mark *m, const struct sql_reader *r, struct buf *out);
/* Into a mark and a reader that are fresh; false where it is no checkpoint. */
bool sql_mark_read(struct sql_mark *m, struct sql_reader *r, struct slice bytes);

/*
 * A pair for the history: where transactions stand now, and the greatest value that was seen by the question before this one. It is
 * that one, as a row gets its value a moment before its transaction gets a number, and as not every database tells
 * transactions and rows at one moment. `top` (NULL: the table is empty) is kept for the next. ERR_NOMEM.
 */
int sql_mark_remember(struct sql_mark *m, uint64_t stood, const struct sql_point *top);

/*
 * The same where the database names all transactions that are open, those too that have no number yet (`open`). However long
 * one of them takes from getting its value to getting its number: the greatest value becomes a pair once all that were
 * open at its question have ended, with where transactions stand at the question after that. ERR_NOMEM.
 */
int sql_mark_await(struct sql_mark *m, uint64_t stood, const struct sql_point *top, struct slice open);

/* A scan begins, of a table with these columns, whose greatest value is `top` and where transactions stand at `stood`. ERR_NOMEM. */
int sql_mark_columns(struct sql_mark *m, struct slice columns, const struct sql_point *top, uint64_t stood);

/* Every transaction below `closed` has ended, and what it wrote was taken: the lower bound rises to what that allows. ERR_NOMEM. */
int sql_mark_raise(struct sql_mark *m, uint64_t closed);

#endif
