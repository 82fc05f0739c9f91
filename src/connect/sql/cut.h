/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SQL_CUT_H
#define WEIR_CONNECT_SQL_CUT_H

#include "connect/sql/sql.h"

/* Ranges of the table's key that can be read beside one another. For the mode `full`. */
#define SQL_RANGES_MAX 256u

struct sql_ranges {
	uint64_t rows;  /* that there are thought to be, between the bounds of a run too; 0: not known */
	uint32_t count; /* one more than of bounds */
	struct sql_point bounds[SQL_RANGES_MAX - 1]; /* of the key's first column, ascending */
};

/* Is it a run beside the schedule that has bounds? */
bool sql_is_bounded(const struct sql_source *s);

/* These bounds, each as " AND ..."; nothing of a table without key. */
void sql_put_bounds(struct buf *b, const struct sql_source *s);

/* Of the table, which is learned. Values are the arena's. One range where there is nothing to cut by. 0, or ERR_* with *why. */
int sql_cut(struct sql_source *s, struct sql_session *session, struct arena *arena, struct sql_ranges *ranges,
	    struct sql_failure *why);

#endif
