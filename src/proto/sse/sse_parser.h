/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_SSE_SSE_PARSER_H
#define WEIR_PROTO_SSE_SSE_PARSER_H

#include "base/buf.h"

/*
 * Reads an event stream (WHATWG HTML section 9.2.6) as a client, one event a
 * call, the same ones however the bytes are cut. It gives bytes as they come and
 * does not put U+FFFD for what is not UTF-8.
 */
enum sse_event_kind {
	SSE_EVENT_MORE,    /* all bytes are taken, no event: bring more */
	SSE_EVENT_MESSAGE, /* name, data, id */
	SSE_EVENT_RETRY,   /* retry_ms */
	SSE_EVENT_COMMENT, /* data: the line without its colon and one space */
	SSE_EVENT_FAIL,    /* err: ERR_LIMIT or ERR_NOMEM; last event, all else is ignored */
};

struct sse_event {
	enum sse_event_kind kind;
	int err;
	uint64_t retry_ms;
	struct slice name; /* "message" where the stream gave none */
	struct slice data;
	struct slice id; /* the last one the stream gave, also in an earlier event */
};                       /* slices are borrowed until the next call */

/* To be embedded; the fields are the parser's own. */
struct sse_parser {
	struct buf line; /* the line under way */
	struct buf data; /* the event's, each line with its LF */
	struct buf name;
	struct buf id;      /* the id buffer of the standard */
	struct buf last_id; /* set from `id` with each empty line */
	bool after_cr;      /* an LF belongs to the CR before it */
	bool begun;         /* past the first line, where a BOM may stand */
	bool given;         /* `data` and `name` were given with the last event */
	bool line_given;    /* `line` was */
	bool ended;
};

/* Allocates nothing. event_bytes_max bounds a line and an event's data. */
void sse_parser_init(struct sse_parser *p, size_t event_bytes_max);
void sse_parser_fini(struct sse_parser *p);

/* Before a new connection: drops the event under way, keeps the last id. */
void sse_parser_reset(struct sse_parser *p);

/* What to send as Last-Event-ID; empty: nothing. Borrowed until the next call. */
struct slice sse_parser_last_id(const struct sse_parser *p);

/*
 * Reads up to the next event, sets *taken, gives event->kind. To be called with
 * the rest until it gives SSE_EVENT_MORE. Borrows.
 */
enum sse_event_kind sse_parser_next(struct sse_parser *p, struct slice bytes, size_t *taken,
				    struct sse_event *event);

#endif
