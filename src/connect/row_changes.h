/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_ROW_CHANGES_H
#define WEIR_CONNECT_ROW_CHANGES_H

#include "base/buf.h"
#include "state/source_rows.h"

/*
 * Rows of state that change with records, in their commit. Everything is made before it enters, since nothing may fail
 * once it has: each row twice, as the one becomes the table's under the entry lock, where it may be replaced at once, and the
 * other is what the commit points to until it is durable.
 *
 *	row_changes_add      any number of times; records and count are what goes into the commit
 *	row_changes_apply    it has entered, still under the entry lock
 *	row_changes_clear    it is durable, or is made anew
 */
struct row_changes {
	struct log_record *records;
	uint32_t count;
	/* Its own. */
	uint32_t cap;
	struct row_change *rows;
};

/* Zeroed is right, and has room for none. */
void row_changes_fini(struct row_changes *c);

/* Room for so many in all. Not while a commit points to it. ERR_NOMEM. */
int row_changes_reserve(struct row_changes *c, uint32_t count);

/*
 * One more, for which there is room. row: its key, of key_bytes, then its value, copied; a row that ends with its key is to go. ERR_NOMEM,
 * also where the buffer has an error. Any thread.
 */
int row_changes_add(struct row_changes *c, const struct state *state, const struct buf *row,
		    size_t key_bytes);

/* Never fails. */
void row_changes_apply(struct row_changes *c, struct source_rows *rows);

/* Keeps the room. */
void row_changes_clear(struct row_changes *c);

#endif
