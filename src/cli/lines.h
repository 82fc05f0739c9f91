/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_LINES_H
#define WEIR_CLI_LINES_H

#include "base/buf.h"
#include "base/err.h"

/* The lines of a file or pipe, one at a time, each of at most LINE_BYTES_MAX. */
#define LINE_BYTES_MAX (64u << 20)

struct lines {
	int fd;
	struct buf bytes;
	size_t at;      /* where the next line begins */
	size_t seen;    /* from `at` on: known to hold no line end */
	uint64_t count; /* lines given so far */
	bool ended;     /* nothing more to read */
};

/* A NULL path or "-" is stdin. 0, or ERR_IO with *fault. */
int lines_open(struct lines *l, const char *path, struct fault *fault);
void lines_close(struct lines *l);

/* Reads some bytes (blocks where the file does). 0; ERR_IO, ERR_LIMIT (a line over the bound), ERR_NOMEM with *fault. */
int lines_read(struct lines *l, struct fault *fault);

/* The next line without its LF, borrowed until lines_read; the last one needs none. False where more must be read, or all was given. */
bool lines_next(struct lines *l, struct slice *line);

/* True where everything was read and given. */
bool lines_done(const struct lines *l);

#endif
