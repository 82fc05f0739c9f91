/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_SSE_SSE_WRITER_H
#define WEIR_PROTO_SSE_SSE_WRITER_H

#include "base/buf.h"

/*
 * Writes an event stream (text/event-stream, WHATWG HTML section 9.2) into a
 * buffer. The text must be UTF-8; that is the caller's to know. An event is the
 * lines that sse_write gives, so it can be written once and shared.
 */
struct sse_message {
	struct slice id;   /* null: no id line */
	struct slice name; /* of `event:`; null: none, the reader's onmessage gets it */
	struct slice data; /* null: no data line, then the reader sees no event, only the id */
};

/*
 * Appends a whole event with the empty line behind it. Data is split at LF, CR
 * and CRLF into lines of `data:`, so a reader gets LF for each of these.
 * Errors: ERR_MALFORMED where id or name hold CR or LF, or the id NUL;
 * ERR_LIMIT, ERR_NOMEM; then nothing is appended.
 */
int sse_write(struct buf *to, const struct sse_message *m);

/* Appends `retry:` alone: how long a reader waits before it comes again. */
int sse_write_retry(struct buf *to, uint64_t retry_ms);

/* Appends a comment, a line for each of the text's; an empty one is a keep-alive of three bytes. */
int sse_write_comment(struct buf *to, struct slice text);

#endif
