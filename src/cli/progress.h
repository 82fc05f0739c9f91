/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_PROGRESS_H
#define WEIR_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/*
 * How far a long operation is, on stderr: a bar on a terminal; otherwise a line
 * each ten seconds; with json a line on stdout, {"type":"progress",…}, each second. A total of 0 is not known.
 * Nothing in the first second: what is short says nothing.
 */
struct progress {
	const char *what; /* "verifying" */
	const char *
		unit; /* "letters": what is counted, told with rate and time left; NULL: bytes. Set after progress_init */
	bool json, terminal, shown;
	int64_t begun_ms, told_ms;
	uint64_t first; /* what was done before: a rate counts what was seen. Set after progress_init */
};

void progress_init(struct progress *p, const char *what, bool json);
void progress_show(struct progress *p, uint64_t done, uint64_t total);
/* Takes the bar away, so that something else can be printed. */
void progress_clear(struct progress *p);

/* A string as JSON, for lines; control characters as \u00XX. */
void progress_put_text(struct buf *out, const char *text);

/* "1.5 GiB"; 16 bytes. */
void progress_size(uint64_t bytes, char *out);

#endif
