/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/http/http_chars.h"
#include "proto/http/http_head.h"

/*
 * Heads of responses, for the command line and outbound requests. As strict as
 * for requests; the one liberty is RFC 9112's own: a missing reason phrase.
 */

/* version SP 3DIGIT SP [ reason ] (RFC 9112 4). The last space is asked for, as the grammar does. */
static int parse_status_line(struct http_response *res, struct slice line, const char **detail)
{
	const uint8_t *p = line.ptr;
	int r;

	if (line.len < 13 || p[8] != ' ' || p[12] != ' ' || !http_is(p[9], HTTP_DIGIT) || p[9] == '0' ||
	    !http_is(p[10], HTTP_DIGIT) || !http_is(p[11], HTTP_DIGIT))
		return http_refuse(detail, ERR_MALFORMED,
				   "The status line is not HTTP/1.1, a status and a reason");
	r = http_version_parse(slice_make(p, 8), &res->minor, detail);
	if (r < 0)
		return r;
	res->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
	res->reason = slice_from(line, 13);
	return 0;
}

/* RFC 9112 6.3, in its order. */
static enum http_body_kind body_kind(const struct http_response *res, enum http_method method,
				     const struct http_framing_fields *framing)
{
	if (method == HTTP_HEAD || res->status < 200 || res->status == 204 || res->status == 304)
		return HTTP_BODY_NONE;
	if (framing->chunked)
		return HTTP_BODY_CHUNKED;
	if (framing->has_length)
		return framing->length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
	return HTTP_BODY_TO_END;
}

static int finish(struct http_response *res, enum http_method method, const char **detail)
{
	struct http_framing_fields framing;
	int r = http_framing_read(&res->headers, res->minor, &framing, detail);

	if (r < 0)
		return r;
	res->body = body_kind(res, method, &framing);
	res->content_length = res->body == HTTP_BODY_LENGTH ? framing.length : 0;
	res->keep_alive =
		http_keeps_alive(&res->headers, res->minor, &framing) && res->body != HTTP_BODY_TO_END;
	return 1;
}

static int parse_whole(struct http_response *res, struct http_scan *scan, const struct http_bounds *bounds,
		       struct slice bytes, const char **detail)
{
	struct slice line;
	int r = http_head_line(scan, bounds, bytes, &line, detail);

	if (r <= 0)
		return r;
	r = parse_status_line(res, line, detail);
	if (r < 0)
		return r;
	return http_fields_parse(scan, bounds, bytes, &res->headers, detail);
}

int http_response_parse(struct http_response *res, struct http_scan *scan, const struct http_limits *limits,
			enum http_method method, struct slice bytes, const char **detail)
{
	struct http_bounds bounds = http_bounds_of(limits);
	int r;

	bounds.start_line = bounds.head;
	if (bytes.len == 0)
		return 0;
	if (bytes.ptr[0] == '\r')
		return http_refuse(detail, ERR_MALFORMED, "The response begins with an empty line");
	if (scan->lines > 0) {
		r = http_fields_check(scan, &bounds, bytes, res->headers.max, detail);
		if (r <= 0)
			return r;
		*scan = (struct http_scan){.lines = 0};
	}
	r = parse_whole(res, scan, &bounds, bytes, detail);
	if (r <= 0)
		return r;
	res->head_bytes = scan->line_at;
	*scan = (struct http_scan){.lines = 0};
	return finish(res, method, detail);
}
