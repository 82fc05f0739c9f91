/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_HTTP_INNER_H
#define WEIR_CONNECT_HTTP_INNER_H

#include "base/table.h"
#include "connect/http/position.h"
#include "connect/http/settings.h"
#include "connect/text/when.h"
#include "connect/source.h"
#include "json/json.h"
#include "json/ndjson.h"
#include "net/fetcher.h"

/* What http.c (the type), request.c (what is asked), token.c (OAuth2), page.c (what came) and items.c (what of it is a record) share. */

struct http_pull;

/* OAuth2: one token for all parts of a source, asked for when the first needs it. */
struct http_token {
	struct buf value; /* empty: none */
	int64_t until_ns; /* monotonic; no more used then */
	struct fetcher_call *call;
	struct buf body;
	struct http_pull *waiting;
};

struct http_source {
	const struct http_settings *settings;
	const char *name;
	struct source *source;
	const struct sys *sys;
	struct loop *loop;
	guard_fn *guard;
	bool windowed;          /* --from and --to */
	int64_t from_ms, to_ms; /* of the window: the settings', or those; to_ms INT64_MAX: now */
	struct slice last_initial;
	struct http_token token;
};

/* Where a page is being taken apart. */
struct http_items {
	struct json_cursor array;
	struct ndjson lines;
	struct slice single; /* one record and no more; null: given */
	struct csv csv;      /* fed up to fed of the body */
	struct csv_rows *rows;
	struct buf row; /* of CSV, as JSON */
	struct buf
		sent; /* the body as it came, where bytes of records were no UTF-8; in p->body they are mended */
	size_t fed;
	bool is_array, is_lines, is_csv;
	uint64_t index; /* records that were given */
	uint64_t line;
};

#define HTTP_SEEN_MAX 1024u

/* part->state while a pull runs, or a page waits for the next one; NULL between. */
struct http_pull {
	struct http_source *self;
	struct source_part *part;
	struct source_batch *batch;
	struct http_pull *next; /* of those that wait for a token */
	bool waiting;
	struct fetcher_call *call;
	struct arena arena; /* texts of the position, of this request */
	struct position pos;
	struct slice value;   /* {value} */
	struct slice base;    /* the URL of the configuration */
	struct buf url, body; /* asked; answered */
	struct fault fault;   /* out of a callback of the fetcher */
	bool has_page;
	struct http_items items;
	uint64_t hash;                       /* of the records of this page so far */
	struct slice page_cursor, page_next; /* found in this page; in the arena */
	struct slice etag, modified;
	bool page_more_known, page_more;
	struct {
		uint64_t request,
			page; /* hashes of requests whose pages were read in this run, and of those */
	} seen[HTTP_SEEN_MAX];
	uint64_t request_hash;
	uint32_t seen_count;
	uint64_t page_hash;
	char number[3][24]; /* texts of numbers for templates */
	char when[WHEN_BYTES];
};

/* Asks for the page that the position says. SOURCE_LATER, or SOURCE_FAILED. */
enum source_end request_begin(struct http_pull *p);

/* A token is there, or is asked for. 1: go on; 0: p waits and request_send follows; ERR_* with source_fail called. */
int token_need(struct http_pull *p);
void token_forget(struct http_source *self);
void token_close(struct http_source *self);
/* p waits no more. */
void token_leave(struct http_pull *p);

/* With a token, or without the need for one. */
enum source_end request_send(struct http_pull *p);

/* The body as its format says: items_next may begin. SOURCE_MORE, or SOURCE_FAILED. */
enum source_end items_open(struct http_pull *p);

/* 1 and *row, 0 at the end, ERR_BAD_JSON and ERR_BAD_RECORD: *row is no record, and `why` says it; ERR_NOMEM. */
#define HTTP_WHY_BYTES 300u
int items_next(struct http_pull *p, struct slice *row, char *why);

/* Frees what the page needed while it was taken apart. */
void items_close(struct http_pull *p);

/* Adds what fits of the page; SOURCE_MORE where some is left or another page follows. */
enum source_end page_take(struct http_pull *p);

/* The body has come: looks at it as a whole. SOURCE_MORE: page_take may begin. */
enum source_end page_open(struct http_pull *p);

/* The pull of a part is over or was given up: frees its state. */
void pull_free(struct http_pull *p);

/* Says where the run stands, for the next pull. 0, ERR_LIMIT, ERR_NOMEM. */
int page_mark(struct http_pull *p);

/* The pages go round: what to say of it. */
enum source_end page_round(struct http_pull *p);

/* The end, and the state with it where nothing is left. */
void pull_end(struct http_pull *p, enum source_end end);

/* Place for messages: "source: GET https://host/path". NUL terminated. */
const char *pull_place(struct http_pull *p, char out[400]);

uint64_t http_hash(uint64_t before, struct slice bytes);

#endif
