/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STATE_SOURCE_ROWS_H
#define WEIR_STATE_SOURCE_ROWS_H

#include "state/state.h"

/*
 * What sources have read so far and what was decided about them: rows of one typed
 * table, a key and some bytes each. It knows no source and no checkpoint: the keys are the source's name and
 * a part of it, the bytes are their owner's (connect/source_row.h).
 *
 * A row changes in the same commit as the records that it tells of. So the owner makes
 * the row beforehand (source_row_new), puts source_row_record into his commit, and under the same
 * log_enter_begin, once the commit has entered, gives the row to source_rows_set.
 */
struct source_rows;
struct source_row;

/* Registers the table with `state`. ERR_NOMEM, ERR_LIMIT. */
int source_rows_new(struct state *state, struct source_rows **out);
void source_rows_free(struct source_rows *rows);

/* A row to be; both copied. value.ptr NULL: it is to go. Returns owned, or NULL. Any thread. */
struct source_row *source_row_new(struct slice key, struct slice value);
void source_row_free(struct source_row *row);

/* Returns owned, or NULL. */
struct source_row *source_row_copy(const struct source_row *row);

/*
 * The record that makes the change durable. It points into the row, which must live until the commit is
 * done. The one that is given to source_rows_set may be replaced before, so this is to be its copy.
 */
void source_row_record(const struct state *state, const struct source_row *copy, struct log_record *out);

/* Under the entry lock, the commit having entered: takes. Never fails. */
void source_rows_set(struct source_rows *rows, struct source_row *row);

/* For verification: 0, or ERR_CORRUPT where a stored row cannot be one. */
int source_row_check(struct slice key, struct slice value);

/* Under the entry lock: the bytes of a row, borrowed until it changes; ptr NULL where there is none. */
struct slice source_rows_find(struct source_rows *rows, struct slice key);

/*
 * Keys begin with a byte, the length of a name and that name (connect/source_row.h): rows of which these are the same are
 * found without looking at others. Under the entry lock: every row whose key begins so, in no order, until fn gives
 * non-zero. fn may not change rows.
 */
int source_rows_each(struct source_rows *rows, struct slice prefix, state_row_fn *fn, void *ctx);

#endif
