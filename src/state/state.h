/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STATE_STATE_H
#define WEIR_STATE_STATE_H

#include "log/log.h"

/*
 * weir's own state: typed tables in memory, each change of a row a record of the
 * internal partition (key: table and row key; value: the row, null for a row
 * that is gone), in the same commit as whatever changes with it. At start the
 * internal partition is read once and each record given to its table. When it
 * holds more than twice as many records as there are live rows, all live rows
 * are appended again, in pieces, and its start moves up.
 *
 * State knows no table's content. A table registers itself with two functions.
 */
struct state;

enum state_table_id {
	STATE_TOPICS = 1,
	STATE_TRIMS = 2,
	STATE_OFFSETS = 3,
	STATE_GROUPS = 4,
	STATE_TRANSACTIONS = 5,
	STATE_PRODUCER_IDS = 6,
	STATE_SOURCES = 7,
	STATE_DEAD = 8,
	/* Never given twice: a number stands in every row on disk. */
};

typedef int state_row_fn(void *ctx, struct slice key, struct slice value);

struct state_table {
	enum state_table_id id;
	const char *name;
	/* A row as it was stored; value.ptr NULL: gone. Borrows. Negative: the row cannot be read. */
	int (*apply)(void *ctx, struct slice key, struct slice value);
	/*
	 * Gives every live row to fn until that gives non-zero, which it gives too; also non-zero where it
	 * cannot give them all: then nothing is written. Under the entry lock, on any thread, also the committer's.
	 */
	int (*each)(void *ctx, state_row_fn *fn, void *fn_ctx);
	/*
	 * Instead, for a table that may come to more than some MiB: the rows of one part, of `parts` (a power of
	 * two). A row must be in exactly one, for as long as it lives; rows that are only understood in order, in one together.
	 */
	int (*each_part)(void *ctx, uint32_t part, uint32_t parts, state_row_fn *fn, void *fn_ctx);
	void *ctx;
};

#define STATE_TABLES_MAX 16u
#define STATE_ROW_BYTES_MAX (1u << 20)

/* Borrows the tables' memory for ever. Reads nothing yet. */
int state_new(struct log *l, struct state **out);
void state_free(struct state *s);
int state_register(struct state *s, const struct state_table *table);

/* Gives every stored row to its table, in order. Before log_start. Errors: ERR_CORRUPT, ERR_IO, ERR_NOMEM with *fault. */
int state_load(struct state *s, struct fault *fault);

/* Who is told when a change is durable; fn NULL: nobody. */
struct state_done {
	struct log_port *port; /* NULL: fn runs on the committer's thread */
	void (*fn)(void *ctx);
	void *ctx;
};

struct state_row {
	enum state_table_id table;
	struct slice key;
	struct slice value; /* ptr NULL: the row goes */
	bool frees;         /* lets data go: taken on a full disk too */
};

/*
 * Enters a commit of these rows, copied. Under log_enter; the tables in memory
 * are the caller's to change, after this has given 0. Errors as log_enter, and ERR_NOMEM.
 */
int state_put(struct state *s, const struct state_row *rows, uint32_t count, const struct state_done *done);

/*
 * The same, and in the same commit these records (or whole batches: log_record.batch_records) of other
 * partitions, copied: what they hold and the rows become durable together or not at all.
 */
int state_put_with(struct state *s, const struct state_row *rows, uint32_t count,
		   const struct log_record *records, uint32_t record_count, const struct state_done *done);

/*
 * For who makes a commit of his own of rows and more: where rows go, as records whose key is the
 * table's number (a byte) and the row's key. What he changes in memory is his matter, as with state_put.
 */
struct partition *state_partition(const struct state *s);

/*
 * Under log_enter, when all tables in memory hold what has entered: begins to write all live rows again where the internal
 * partition has grown too long. The first piece is entered here, each other one when the one before it is durable.
 */
void state_tidy(struct state *s);

/* For tests: how many records more than twice the live rows there may be (1000). */
void state_set_slack(struct state *s, uint32_t records);

/* For tests: about how many bytes of rows make a piece (4 MiB). */
void state_set_piece(struct state *s, size_t bytes);

#endif
