/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_CSV_CSV_H
#define WEIR_PROTO_CSV_CSV_H

#include "base/buf.h"
#include "base/err.h"

/*
 * CSV as RFC 4180 has it, bytes in, records out: fields between delimiters, in
 * quotes where they hold delimiters, quotes (doubled) or line ends; lines end with
 * LF or CRLF. A quote within a field that does not begin with one is a byte like
 * others. It knows neither header nor types, nor character sets.
 *
 * What is no record costs its own line and no other: a quote that is not closed
 * gives the line that it opened on as bad, and reading goes on behind that line.
 *
 *	csv_init(&c, ',', 1 << 20)
 *	csv_feed(&c, bytes); while ((e = csv_next(&c, &record)) != CSV_MORE) ...
 *	csv_finish(&c);      while ((e = csv_next(&c, &record)) != CSV_END) ...
 */
enum csv_event {
	CSV_MORE, /* feed more, or finish */
	CSV_RECORD,
	CSV_BAD,   /* no record: record->raw and record->what */
	CSV_END,   /* after csv_finish: that was all */
	CSV_NOMEM, /* the same call may be made again */
};

#define CSV_FIELDS_MAX 4096u

struct csv_record {
	const struct slice *fields; /* without quotes. Borrowed until the next call, as all here */
	const bool *quoted;         /* of each: it stood in quotes */
	uint32_t count;
	struct slice
		raw; /* as it stands in the input, without the line end; of one that is too long its beginning */
	uint64_t line;    /* that it begins on, from 1 */
	const char *what; /* CSV_BAD: what is wrong, a phrase */
};

struct csv_mark {
	size_t from, to; /* of the record's bytes */
	bool quoted, doubled;
};

struct csv {
	/* Where the next record begins: what a reader keeps to go on from. Valid between calls. */
	uint64_t offset, line;
	bool skipping; /* the rest of a line that was too long is to be left out */

	/* csv.c's. */
	struct buf raw, text;
	size_t at, scan, first_line; /* of raw; first_line: behind the first line end in quotes, 0: none */
	size_t record_bytes_max;
	struct csv_mark *marks;
	struct slice *fields;
	bool *quoted;
	uint32_t count, room;
	uint8_t delimiter;
	uint8_t state;
	bool finished;
};

/* Allocates nothing. record_bytes_max: bytes of a record without its line end. */
void csv_init(struct csv *c, char delimiter, size_t record_bytes_max);
void csv_fini(struct csv *c);

/* Goes on where another stood at offset, line and skipping. Before the first byte is fed. */
void csv_resume(struct csv *c, uint64_t offset, uint64_t line, bool skipping);

/* Copies bytes; after CSV_MORE. ERR_NOMEM. Holds at most a record and what was fed last. */
int csv_feed(struct csv *c, struct slice bytes);

/* No more will come: what is there is the last record. */
void csv_finish(struct csv *c);

enum csv_event csv_next(struct csv *c, struct csv_record *out);

#endif
