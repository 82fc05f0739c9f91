/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_HTTP_HTTP_H
#define WEIR_PROTO_HTTP_HTTP_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/*
 * HTTP/1.1 as bytes and events (RFC 9110, RFC 9112): heads, bodies, targets,
 * field values, and the writers of all that. It does no I/O, knows no clock and
 * no thread, and allocates nothing but what a caller's arena or buf gives.
 *
 * It is strict on purpose. What two implementations could read in two ways is
 * refused with an exact reason, and the connection must not be used again after
 * a refusal. Functions that refuse give a negative ERR_* and set `detail` to a
 * sentence that lives for ever and says what was wrong and what would be right.
 */

/* ---- methods and fields ---- */

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_DELETE,
	HTTP_PATCH,
	HTTP_OPTIONS,
	HTTP_CONNECT,
	HTTP_TRACE,
	HTTP_OTHER, /* a well-formed method that has no meaning here */
	HTTP_METHODS
};

/* A method as a bit of a mask. */
#define HTTP_BIT(method) (1u << (method))

/* "GET" and so on; "?" for HTTP_OTHER. Lives for ever. */
const char *http_method_text(enum http_method method);

/* The method of an exact token; HTTP_OTHER where it is none of the above. Methods are case-sensitive. */
enum http_method http_method_of(struct slice token);

/* The reason phrase of a status, "Unknown" where there is none. Lives for ever. */
const char *http_reason(int status);

/* One field line. The value is without the blanks around it. */
struct http_header {
	struct slice name;
	struct slice value;
};

/* The fields of a head in order. `list` belongs to the caller and has room for `max`. */
struct http_headers {
	struct http_header *list;
	uint32_t count;
	uint32_t max;
};

/* The first field of that name (any case), or NULL. */
const struct http_header *http_header_find(const struct http_headers *h, struct slice name);

/*
 * For fields that may stand once: 1 and *value, 0 and the null slice where
 * there is none, ERR_BAD_HEADER where the name is repeated.
 */
int http_header_one(const struct http_headers *h, struct slice name, struct slice *value);

/*
 * True where some field of that name, read as a comma-separated list, has the
 * token (any case): http_header_has(h, SLICE_LIT("connection"), SLICE_LIT("upgrade")).
 */
bool http_header_has(const struct http_headers *h, struct slice name, struct slice token);

/* Bounds of a head. Zero members stand for the defaults. */
struct http_limits {
	uint32_t head_bytes_max;   /* start line and fields with all line ends; 32 KiB */
	uint32_t target_bytes_max; /* 8 KiB */
};

#define HTTP_HEADERS_MAX 100u

/* ---- heads of requests (server side) ---- */

enum http_body_kind {
	HTTP_BODY_NONE,
	HTTP_BODY_LENGTH,
	HTTP_BODY_CHUNKED,
	HTTP_BODY_TO_END, /* responses only: until the peer closes */
};

enum http_target_form {
	HTTP_ORIGIN_FORM,    /* /path?query */
	HTTP_ABSOLUTE_FORM,  /* http://host/path?query; the authority equals Host */
	HTTP_AUTHORITY_FORM, /* CONNECT host:port */
	HTTP_ASTERISK_FORM,  /* OPTIONS * */
};

/*
 * A request head. All slices point into the bytes that were given; to keep the
 * request, copy the bytes and call http_request_rebase.
 */
struct http_request {
	struct http_headers headers; /* set list and max before parsing */
	struct slice method_text;
	struct slice target;     /* as sent */
	struct slice path;       /* begins with '/', still percent-encoded; "*" in asterisk form */
	struct slice query;      /* behind '?', still encoded; null where there is no '?' */
	struct slice host;       /* null where HTTP/1.0 sent none */
	uint64_t content_length; /* with HTTP_BODY_LENGTH, else 0 */
	uint32_t head_bytes;     /* all of the head with its empty line: what to consume */
	enum http_method method;
	enum http_target_form form;
	enum http_body_kind body; /* HTTP_BODY_NONE where neither length nor chunked was sent */
	uint8_t minor;            /* HTTP/1.minor, 0 or 1 */
	bool has_length;          /* Content-Length was sent, perhaps 0 */
	bool keep_alive;          /* by version and Connection */
	bool expect_continue;     /* Expect: 100-continue, never in HTTP/1.0 */
	bool upgrade;             /* Connection: upgrade with an Upgrade field, never in HTTP/1.0 */
};

/*
 * How far an unfinished head was looked at, so that bytes that come in drops
 * are not scanned again from the start. All zero for a new head; twelve bytes,
 * which is all that an idle connection keeps.
 */
struct http_scan {
	uint32_t line_at; /* start of the first line that has not ended */
	uint32_t seen;    /* bytes known to hold no line end and nothing forbidden */
	uint32_t lines;   /* whole lines before line_at */
};

/*
 * Looks for a whole head at the start of `bytes`, which must hold everything
 * from the first byte of the head on at every call (the address may change).
 * One CRLF before the request line is skipped (RFC 9112 2.2).
 *
 *   1   *req is filled in, *scan is zero again; req->head_bytes are to be consumed
 *   0   more bytes are needed; *req is not to be used
 *  <0   ERR_MALFORMED, ERR_HEADER_TOO_LARGE, ERR_TARGET_TOO_LONG, ERR_HTTP_VERSION,
 *       ERR_NOT_IMPLEMENTED (a transfer coding other than chunked), ERR_EXPECTATION; *detail says why. Answer, then close.
 *
 * The result for given bytes does not depend on how they were cut.
 */
int http_request_parse(struct http_request *req, struct http_scan *scan, const struct http_limits *limits,
		       struct slice bytes, const char **detail);

/* Moves all slices of the request (and its header list, which has been copied to `list`) from one copy of the bytes to another. */
void http_request_rebase(struct http_request *req, struct http_header *list, const uint8_t *from,
			 const uint8_t *to);

/* ---- heads of responses (client side) ---- */

struct http_response {
	struct http_headers headers; /* set list and max before parsing */
	struct slice reason;
	uint64_t content_length; /* with HTTP_BODY_LENGTH, else 0 */
	uint32_t head_bytes;
	int status;
	enum http_body_kind body; /* with the request's method and the status taken into account */
	uint8_t minor;
	bool keep_alive; /* false with HTTP_BODY_TO_END */
};

/*
 * As http_request_parse, for the answer to a request with `method`. Interim
 * answers (1xx) are given like any other, with HTTP_BODY_NONE; parse again
 * behind them (101 ends HTTP on the connection).
 */
int http_response_parse(struct http_response *res, struct http_scan *scan, const struct http_limits *limits,
			enum http_method method, struct slice bytes, const char **detail);

/* ---- bodies (both sides) ---- */

/* Decoder of one body. Plain memory: nothing to free. */
struct http_body {
	uint64_t left;    /* of the content or of the chunk */
	uint64_t bytes;   /* of data given so far */
	uint32_t framing; /* bytes of extensions and trailers so far */
	uint8_t kind;     /* enum http_body_kind */
	uint8_t state;
	uint8_t digits;
	uint8_t trailers;
};

enum http_body_event {
	HTTP_BODY_MORE, /* all bytes were taken; more are needed */
	HTTP_BODY_DATA, /* `data` is the next piece of the body */
	HTTP_BODY_END,  /* the body is whole, trailers (checked, not given) included */
};

/* At most this many bytes of chunk extensions and of trailers in one body, else ERR_MALFORMED. */
#define HTTP_BODY_FRAMING_MAX 8192u
#define HTTP_BODY_TRAILERS_MAX 100u

void http_body_init(struct http_body *b, enum http_body_kind kind, uint64_t content_length);

/*
 * Takes bytes from the front of *bytes (moves it on) and gives one event, or
 * ERR_MALFORMED with *detail (the connection must not be used again). After
 * HTTP_BODY_END it gives HTTP_BODY_END for ever and takes nothing.
 */
int http_body_next(struct http_body *b, struct slice *bytes, struct slice *data, const char **detail);

/* The peer will send no more: HTTP_BODY_END, or ERR_MALFORMED where the body was cut short. */
int http_body_eof(struct http_body *b, const char **detail);

static inline bool http_body_ended(const struct http_body *b)
{
	return b->state == 0;
}

/* ---- targets ---- */

/*
 * Decodes %XX strictly into the arena; without an escape the slice itself is
 * given. ERR_MALFORMED for a bad escape and for %00, ERR_NOMEM.
 */
int http_percent_decode(struct arena *a, struct slice text, struct slice *out);

/* The same, and '+' means a space, as forms and URLSearchParams write it. */
int http_form_decode(struct arena *a, struct slice text, struct slice *out);

/*
 * The next segment of a path, decoded. *path begins with '/' and is moved on;
 * 1 and *segment, 0 at the end, ERR_MALFORMED (bad escape, NUL, "." or ".."),
 * ERR_NOMEM. "/a/" has the segments "a" and "". An encoded slash is part of its
 * segment and never separates.
 */
int http_path_next(struct arena *a, struct slice *path, struct slice *segment);

/*
 * The next `name=value` of a query, both decoded as form fields. *query is
 * moved on. 1, 0 at the end, ERR_MALFORMED, ERR_NOMEM. A name without '=' has
 * an empty value; empty pieces ("a&&b") are skipped.
 */
int http_query_next(struct arena *a, struct slice *query, struct slice *name, struct slice *value);

/*
 * Splits "host", "host:port", "[v6]" or "[v6]:port" (RFC 3986 authority without
 * user). *port is -1 where there is none. False where it is malformed. The host
 * keeps its brackets off.
 */
bool http_authority_split(struct slice authority, struct slice *host, int *port);

/* ---- field values ---- */

/* True for a token of RFC 9110 5.6.2: at least one character, all tchar. */
bool http_token_valid(struct slice s);

/* True where the bytes may stand in a field value: no CTL but tab, no CR, LF, NUL. */
bool http_value_valid(struct slice s);

/*
 * The next element of a comma-separated list (RFC 9110 5.6.1), trimmed; empty
 * elements are skipped; commas in quoted strings do not separate. 1 or 0.
 */
int http_list_next(struct slice *list, struct slice *item);

/*
 * The text of a quoted string with its escapes undone, in the arena where that
 * changes something. A bare token is given as it is. ERR_BAD_HEADER, ERR_NOMEM.
 */
int http_unquote(struct arena *a, struct slice text, struct slice *out);

/* type "/" subtype *( ";" name "=" value ). Slices point into the value that was given. */
struct http_media_type {
	struct slice type;
	struct slice subtype;
	struct slice full;   /* "type/subtype" */
	struct slice params; /* from the first ';' on, checked */
};

/* 0 or ERR_BAD_HEADER. Compare with slice_eq_nocase or http_media_is. */
int http_media_parse(struct slice value, struct http_media_type *out);

/* True where "type/subtype" is `full`, in any case. */
bool http_media_is(const struct http_media_type *m, const char *full);

/* 1 and the raw value of a parameter (unquote it), 0 where there is none. */
int http_media_param(const struct http_media_type *m, const char *name, struct slice *value);

/* ---- writing ---- */

enum http_framing {
	HTTP_FRAME_NONE,    /* no body and no length: 1xx, 204, 304, or until close */
	HTTP_FRAME_LENGTH,  /* Content-Length: length */
	HTTP_FRAME_CHUNKED, /* Transfer-Encoding: chunked */
};

/* What a response head is written from; borrows everything until the call returns. */
struct http_answer {
	int status;
	enum http_framing framing;
	uint64_t length;
	struct slice date;         /* 29 characters of http_date_put, or null: no Date */
	struct slice content_type; /* null: none */
	const struct http_header
		*headers; /* more fields; names and values are valid (http_token_valid, http_value_valid) */
	uint32_t header_count;
	struct slice lines; /* more whole field lines, each with its CRLF, or null */
	bool close;         /* Connection: close */
	bool keep_alive;    /* Connection: keep-alive, for HTTP/1.0 */
};

/* An upper bound of what http_answer_put writes. */
size_t http_answer_bytes_max(const struct http_answer *a);

/* Writes the head with its empty line; gives the place behind. The room is the caller's, of http_answer_bytes_max. */
uint8_t *http_answer_put(uint8_t *at, const struct http_answer *a);

/* The same into a buf: 0, ERR_LIMIT, ERR_NOMEM. */
int http_answer_append(struct buf *b, const struct http_answer *a);

/* Chunks: the size line (at most HTTP_CHUNK_HEAD_MAX), the data, CRLF; at the end HTTP_CHUNKS_END. n > 0. */
#define HTTP_CHUNK_HEAD_MAX 18u
#define HTTP_CHUNKS_END "0\r\n\r\n"
uint8_t *http_chunk_head_put(uint8_t *at, uint64_t n);

/* Writes 29 characters, "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7), from seconds since 1970 (below year 10000). */
#define HTTP_DATE_BYTES 29u
void http_date_put(uint8_t *at, int64_t unix_seconds);

/*
 * A request head (client side) with Host and the fields given, its empty line
 * included: 0, ERR_LIMIT, ERR_NOMEM, ERR_BAD_HEADER where method, target, host,
 * a name or a value would break the framing.
 */
struct http_ask {
	struct slice method;
	struct slice target;
	struct slice host;
	enum http_framing framing;
	uint64_t length;
	const struct http_header *headers;
	uint32_t header_count;
};
int http_ask_append(struct buf *b, const struct http_ask *ask);

/* Appends text percent-encoded for one path segment or query value: all but unreserved characters. 0, ERR_LIMIT, ERR_NOMEM. */
int http_percent_append(struct buf *b, struct slice text);

#endif
