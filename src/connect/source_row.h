/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SOURCE_ROW_H
#define WEIR_CONNECT_SOURCE_ROW_H

#include "base/buf.h"
#include "connect/source.h"

/*
 * The rows of the state table of sources (state/source_rows.h), as bytes:
 *
 *	key    kind (1 byte: 's' source, 'p' part, 'r' run, 'c' made over the API), length of the source's name (1 byte), name, part's name
 *	's'    1, flags, records, dead, last success ms (varints), plan's checkpoint, schedule, adaptive (length + bytes each)
 *	'p'    1, flags, records, done, total (varints), the checkpoint
 *	'r'    1, state (1 byte), begun ms, ended ms, rate, records, dead, done, total (varints), from and to (a byte: 0 open,
 *	       1 there; length + bytes each), error (length + bytes)
 *
 *	'c'    1, then the keys of the source as they were sent, JSON or YAML
 *
 * A run beside the schedule is named SOURCE/NUMBER: its rows of the kinds 's' and 'p' are as those of a source.
 *
 * A checkpoint is a byte (0: none, 1: there), its version (1 byte), and length + bytes. Integers are unsigned LEB128.
 * What is read may be damaged: it is refused whole, never read past its end.
 */
enum source_row_flags {
	SOURCE_ROW_PAUSED = 1, /* 's': by the user, until resumed */
	SOURCE_ROW_DONE = 2,   /* 'p' */
};

struct source_row_key {
	char kind;
	struct slice source, part;
};

/* Of 's'. Slices are borrowed from the row. */
struct source_state_row {
	uint8_t flags;
	uint64_t records, dead;
	int64_t success_ms; /* 0: never */
	struct source_checkpoint plan;
	struct slice schedule, adaptive; /* empty: none */
};

/* Of 'p'. */
struct source_part_row {
	uint8_t flags;
	uint64_t records, done, total;
	struct source_checkpoint checkpoint;
};

#define SOURCE_BOUND_MAX 1024u
#define SOURCE_ERROR_MAX 512u

/* Of 'r'. state: enum run_state (runs.h). */
struct source_run_row {
	uint8_t state;
	int64_t begun_ms, ended_ms; /* 0: it has not */
	uint64_t rate;              /* 0: as the source has it */
	uint64_t records, dead, done, total;
	struct slice from, to; /* ptr NULL: open */
	struct slice error;
};

/* Appends. Errors stick in the buffer. */
int source_row_put_key(struct buf *b, const struct source_row_key *key);
int source_row_put_state(struct buf *b, const struct source_state_row *row);
int source_row_put_part(struct buf *b, const struct source_part_row *row);
int source_row_put_run(struct buf *b, const struct source_run_row *row);

/* 0 or ERR_CORRUPT; ERR_BAD_VERSION where the row is of a later form. Borrow. */
int source_row_read_key(struct slice bytes, struct source_row_key *out);
int source_row_read_state(struct slice bytes, struct source_state_row *out);
int source_row_read_part(struct slice bytes, struct source_part_row *out);
int source_row_read_run(struct slice bytes, struct source_run_row *out);

#endif
