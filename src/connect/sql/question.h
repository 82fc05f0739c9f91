/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SQL_QUESTION_H
#define WEIR_CONNECT_SQL_QUESTION_H

#include "connect/sql/mark.h"

/*
 * What the mode `incremental` asks a database before it scans: where transactions stand, what is greatest, and whether there is anything to take.
 * incremental.c says what that is for.
 */

/* What the database says before a scan. */
struct sql_question {
	uint64_t horizon, stood, durable;
	bool has_top, some;
	struct sql_point top;
	struct slice open;  /* names of transactions, where the database tells them */
	struct slice print; /* of the window, where rows do not tell who wrote them */
};

/* Of the window behind the mark. Slices are the arena's. 0, or ERR_* with *why. */
int sql_question_ask(struct sql_source *s, struct sql_session *session, const struct sql_mark *m,
		     struct arena *arena, struct sql_question *q, struct sql_failure *why);

/* Which rows the window has, as a condition. */
void sql_put_conditions(struct buf *b, const struct sql_source *s, const struct sql_mark *m);

/* A whole number, perhaps with digits behind a point, which do not count. */
bool sql_read_number(struct slice text, uint64_t *out);

#endif
