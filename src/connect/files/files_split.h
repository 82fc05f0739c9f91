/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_FILES_FILES_SPLIT_H
#define WEIR_CONNECT_FILES_FILES_SPLIT_H

#include "base/slice.h"

/*
 * Splits the content of a file into records: lines, or the values of JSON texts (the elements
 * of an array, or values one after the other). No I/O, no memory of its own: the bytes
 * from the beginning of a record on are given again with more behind them.
 */
enum files_form { FILES_LINES, FILES_VALUES };

enum files_cut {
	FILES_MORE, /* what is there is not whole: bytes more are needed */
	FILES_RECORD,
	FILES_TOO_LONG, /* *record is its beginning; its rest is left out */
	FILES_STRAY,    /* *record is what stands where none should: it is left out */
};

/* A place in a file, to go on from: all of it is kept in the checkpoint. */
struct files_place {
	uint64_t offset;         /* of the content */
	uint64_t line;           /* from 1 */
	uint32_t depth;          /* of what is left out (FILES_VALUES) */
	bool skipping;           /* the rest of a record that was too long is to be left out */
	bool in_string, escaped; /* of what is left out */
	/* FILES_VALUES: its first byte was seen; it begins with an array; within that, or one that follows it. */
	bool started, arrays, in_array;
};

/*
 * The next record of `bytes`, which begin at `place`. Moves place behind it (and *used, by the bytes that
 * this is), also over what is left out. at_end: no more will come, so what is there is whole. 0 bytes: FILES_MORE.
 * record_max: bytes of a record.
 */
enum files_cut files_split(enum files_form form, struct files_place *place, struct slice bytes, bool at_end,
			   size_t record_max, struct slice *record, uint64_t *line, size_t *used);

#endif
