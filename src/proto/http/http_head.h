/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_HTTP_HTTP_HEAD_H
#define WEIR_PROTO_HTTP_HTTP_HEAD_H

#include "proto/http/http.h"

/*
 * What request and response heads have in common, for the files of this folder
 * alone: lines that end in CRLF and fields.
 */
#define HTTP_HEAD_BYTES_DEFAULT 32768u
#define HTTP_TARGET_BYTES_DEFAULT 8192u
/* What a start line has besides its target: method, version, spaces. */
#define HTTP_START_LINE_REST 64u

struct http_bounds {
	uint32_t head;
	uint32_t start_line;
};

struct http_bounds http_bounds_of(const struct http_limits *limits);

/* Sets the detail and gives err back. */
static inline int http_refuse(const char **detail, int err, const char *why)
{
	*detail = why;
	return err;
}

/*
 * The next whole line of the head, without its CRLF; *scan moves behind it.
 * 1, 0 where it has not ended yet, ERR_MALFORMED, ERR_HEADER_TOO_LARGE,
 * ERR_TARGET_TOO_LONG (start line).
 */
int http_head_line(struct http_scan *scan, const struct http_bounds *bounds, struct slice bytes,
		   struct slice *line, const char **detail);

/* The number of the start line: 1, or 2 behind an empty one. `bytes` is not empty. */
static inline uint32_t http_start_line(struct slice bytes)
{
	return bytes.ptr[0] == '\r' ? 2 : 1;
}

/* Splits a field line. 0 or ERR_MALFORMED. */
int http_field_parse(struct slice line, struct http_header *out, const char **detail);

/*
 * Reads all lines behind the start line into h, from where *scan is. 1 when the
 * empty line was there, 0 for more, or an error.
 */
int http_fields_parse(struct http_scan *scan, const struct http_bounds *bounds, struct slice bytes,
		      struct http_headers *h, const char **detail);

/*
 * Goes on with a head whose start line was seen whole in an earlier call:
 * checks lines, keeps nothing. As http_fields_parse.
 */
int http_fields_check(struct http_scan *scan, const struct http_bounds *bounds, struct slice bytes,
		      uint32_t headers_max, const char **detail);

/* What the fields say of the body and the connection. */
struct http_framing_fields {
	uint64_t length;
	struct slice connection; /* of the first such field */
	uint32_t connections;
	bool has_length;
	bool chunked;
};

/*
 * RFC 9112 6.1 to 6.3, strictly: at most one Content-Length of digits, at most one
 * Transfer-Encoding that is `chunked`, never both, no Transfer-Encoding in HTTP/1.0.
 * 0, ERR_MALFORMED, ERR_NOT_IMPLEMENTED.
 */
int http_framing_read(const struct http_headers *h, uint8_t minor, struct http_framing_fields *out,
		      const char **detail);

/*
 * A tab before or behind the value, as it stands in the head: HTTP allows it, nginx refuses it in
 * the fields that say where a request ends and where it goes, so they must not have it here either.
 * The field was parsed from a line that stands in the head with its CRLF.
 */
bool http_tab_around(const struct http_header *f);

/* By version and Connection (RFC 9112 9.3). */
bool http_keeps_alive(const struct http_headers *h, uint8_t minor, const struct http_framing_fields *f);

/* "HTTP/1.0" and "HTTP/1.1" give 0 and *minor; ERR_HTTP_VERSION for other versions, ERR_MALFORMED for other text. */
int http_version_parse(struct slice text, uint8_t *minor, const char **detail);

#endif
