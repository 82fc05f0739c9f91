/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/http/http_head.h"

#include "proto/http/http_chars.h"

/*
 * Heads are read line by line. A line is searched for its first control
 * character in one vector pass; that must be the CR of a CRLF, so the pass finds
 * the end and refuses NUL, bare CR, bare LF and everything else at once. What is
 * inside the line is split afterwards, and only when the line is whole.
 *
 * A head that comes in pieces keeps three numbers (struct http_scan): where the
 * unfinished line starts, how far it was searched, how many lines came before.
 * Lines that were whole have been checked and are not looked at again until the
 * head is whole; then it is parsed once more from the start, which keeps no
 * field list per waiting connection and reads every byte at most three times.
 * For the result not to depend on the cuts, a line alone decides whether it is
 * well formed, and what concerns several (two Hosts) is decided at the end.
 *
 * A table-driven state machine that takes a byte a step needs no second pass,
 * but is several times slower on whole heads, which nearly all are.
 */
struct http_bounds http_bounds_of(const struct http_limits *limits)
{
	uint32_t head = limits && limits->head_bytes_max ? limits->head_bytes_max : HTTP_HEAD_BYTES_DEFAULT;
	uint32_t target =
		limits && limits->target_bytes_max ? limits->target_bytes_max : HTTP_TARGET_BYTES_DEFAULT;

	return (struct http_bounds){.head = head, .start_line = target + HTTP_START_LINE_REST};
}

static int refuse_control(uint8_t byte, const char **detail)
{
	if (byte == '\n')
		return http_refuse(detail, ERR_MALFORMED,
				   "A line of the head ends in LF alone; lines end in CRLF");
	if (byte == 0)
		return http_refuse(detail, ERR_MALFORMED, "The head has a NUL byte");
	return http_refuse(detail, ERR_MALFORMED, "The head has a control character");
}

/* The line has no end within the bytes there are: is it merely unfinished? */
static int refuse_long(const struct http_scan *scan, const struct http_bounds *bounds, size_t have,
		       uint32_t end, const char **detail)
{
	if (have < end)
		return 0;
	if (end < bounds->head && scan->line_at <= 2)
		return http_refuse(detail, ERR_TARGET_TOO_LONG, "The request target is too long");
	return http_refuse(detail, ERR_HEADER_TOO_LARGE, "The head is too long");
}

int http_head_line(struct http_scan *scan, const struct http_bounds *bounds, struct slice bytes,
		   struct slice *line, const char **detail)
{
	uint32_t end = bounds->head;
	size_t have = bytes.len;
	const uint8_t *start, *stop, *hit;

	/* An empty line may come before the start line, hence 2. */
	if (scan->line_at <= 2 && scan->lines < http_start_line(bytes) &&
	    scan->line_at + bounds->start_line < end)
		end = scan->line_at + bounds->start_line;
	if (have > end)
		have = end;
	start = bytes.ptr + scan->line_at;
	stop = bytes.ptr + have;
	hit = http_find_control(bytes.ptr + scan->seen, stop);
	scan->seen = (uint32_t)(hit - bytes.ptr);
	if (hit == stop || (*hit == '\r' && hit + 1 == stop))
		return refuse_long(scan, bounds, have, end, detail);
	if (*hit != '\r')
		return refuse_control(*hit, detail);
	if (hit[1] != '\n')
		return http_refuse(detail, ERR_MALFORMED, "The head has a CR that is not followed by LF");
	*line = slice_make(start, (size_t)(hit - start));
	scan->line_at = scan->seen + 2;
	scan->seen = scan->line_at;
	scan->lines++;
	return 1;
}

static int refuse_name(struct slice line, size_t at, const char **detail)
{
	if (at == 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t'))
		return http_refuse(detail, ERR_MALFORMED,
				   "A field line starts with a blank; folded lines are not taken");
	if (at == line.len)
		return http_refuse(detail, ERR_MALFORMED, "A field line has no colon");
	if (line.ptr[at] == ' ' || line.ptr[at] == '\t')
		return http_refuse(detail, ERR_MALFORMED,
				   "A field name is followed by a blank; the colon must come at once");
	if (line.ptr[at] == ':')
		return http_refuse(detail, ERR_MALFORMED, "A field line has no name");
	return http_refuse(detail, ERR_MALFORMED, "A field name has a character that is not allowed");
}

int http_field_parse(struct slice line, struct http_header *out, const char **detail)
{
	size_t at = 0;
	size_t end = line.len;
	size_t name;

	while (at < end && http_is(line.ptr[at], HTTP_TCHAR))
		at++;
	if (at == 0 || at == end || line.ptr[at] != ':')
		return refuse_name(line, at, detail);
	name = at++;
	while (at < end && (line.ptr[at] == ' ' || line.ptr[at] == '\t'))
		at++;
	while (end > at && (line.ptr[end - 1] == ' ' || line.ptr[end - 1] == '\t'))
		end--;
	out->name = slice_make(line.ptr, name);
	out->value = slice_make(line.ptr + at, end - at);
	return 0;
}

static int refuse_count(const char **detail)
{
	return http_refuse(detail, ERR_HEADER_TOO_LARGE, "The head has more than 100 fields or is too long");
}

int http_fields_parse(struct http_scan *scan, const struct http_bounds *bounds, struct slice bytes,
		      struct http_headers *h, const char **detail)
{
	struct slice line;
	int r;

	h->count = 0;
	while ((r = http_head_line(scan, bounds, bytes, &line, detail)) == 1) {
		if (line.len == 0)
			return 1;
		if (h->count == h->max)
			return refuse_count(detail);
		r = http_field_parse(line, &h->list[h->count], detail);
		if (r < 0)
			return r;
		h->count++;
	}
	return r;
}

int http_fields_check(struct http_scan *scan, const struct http_bounds *bounds, struct slice bytes,
		      uint32_t headers_max, const char **detail)
{
	uint32_t before = http_start_line(bytes);
	struct http_header ignored;
	struct slice line;
	int r;

	while ((r = http_head_line(scan, bounds, bytes, &line, detail)) == 1) {
		if (line.len == 0)
			return 1;
		if (scan->lines - before > headers_max)
			return refuse_count(detail);
		r = http_field_parse(line, &ignored, detail);
		if (r < 0)
			return r;
	}
	return r;
}

bool http_tab_around(const struct http_header *f)
{
	const uint8_t *at;

	for (at = f->value.ptr; at[-1] != ':'; at--)
		if (at[-1] == '\t')
			return true;
	for (at = f->value.ptr + f->value.len; *at != '\r'; at++)
		if (*at == '\t')
			return true;
	return false;
}

static int refuse_tab(const char **detail)
{
	return http_refuse(detail, ERR_MALFORMED,
			   "Content-Length or Transfer-Encoding has a tab around its value");
}

static int read_length(struct slice value, struct http_framing_fields *out, const char **detail)
{
	if (out->has_length)
		return http_refuse(detail, ERR_MALFORMED, "Content-Length is repeated; it must stand once");
	if (!slice_to_u64(value, &out->length) || out->length > INT64_MAX)
		return http_refuse(detail, ERR_MALFORMED, "Content-Length must be one decimal number");
	out->has_length = true;
	return 0;
}

/* `chunked` is the only coding; another one before it is known HTTP that we do not do, anything else is refused. */
static int read_coding(struct slice value, uint8_t minor, struct http_framing_fields *out,
		       const char **detail)
{
	struct slice list = value;
	struct slice item;
	uint32_t chunked = 0, items = 0;
	bool last = false;

	if (out->chunked)
		return http_refuse(detail, ERR_MALFORMED,
				   "Transfer-Encoding is repeated; it must stand once");
	if (minor == 0)
		return http_refuse(detail, ERR_MALFORMED, "HTTP/1.0 has no Transfer-Encoding");
	out->chunked = true;
	if (slice_eq_nocase(value, SLICE_LIT("chunked")))
		return 0;
	while (http_list_next(&list, &item)) {
		last = slice_eq_nocase(item, SLICE_LIT("chunked"));
		chunked += last;
		items++;
		if (!http_token_valid(item))
			last = false;
	}
	if (last && chunked == 1 && items > 1)
		return http_refuse(detail, ERR_NOT_IMPLEMENTED,
				   "Transfer-Encoding has a coding besides chunked; send chunked alone");
	return http_refuse(detail, ERR_MALFORMED, "Transfer-Encoding must be chunked, and nothing else");
}

int http_framing_read(const struct http_headers *h, uint8_t minor, struct http_framing_fields *out,
		      const char **detail)
{
	int r = 0;

	*out = (struct http_framing_fields){.connections = 0};
	for (uint32_t i = 0; i < h->count && r == 0; i++) {
		const struct http_header *f = &h->list[i];

		if (f->name.len == 10 && slice_eq_nocase(f->name, SLICE_LIT("connection"))) {
			if (out->connections++ == 0)
				out->connection = f->value;
		} else if (f->name.len == 14 && slice_eq_nocase(f->name, SLICE_LIT("content-length"))) {
			r = http_tab_around(f) ? refuse_tab(detail) : read_length(f->value, out, detail);
		} else if (f->name.len == 17 && slice_eq_nocase(f->name, SLICE_LIT("transfer-encoding"))) {
			r = http_tab_around(f) ? refuse_tab(detail) :
						 read_coding(f->value, minor, out, detail);
		}
	}
	if (r == 0 && out->chunked && out->has_length)
		return http_refuse(detail, ERR_MALFORMED,
				   "Content-Length and Transfer-Encoding must not stand together");
	return r;
}

bool http_keeps_alive(const struct http_headers *h, uint8_t minor, const struct http_framing_fields *f)
{
	if (f->connections == 0)
		return minor == 1;
	if (f->connections == 1 && slice_eq_nocase(f->connection, SLICE_LIT("keep-alive")))
		return true;
	if (http_header_has(h, SLICE_LIT("connection"), SLICE_LIT("close")))
		return false;
	return minor == 1 || http_header_has(h, SLICE_LIT("connection"), SLICE_LIT("keep-alive"));
}

int http_version_parse(struct slice text, uint8_t *minor, const char **detail)
{
	if (text.len == 8 && memcmp(text.ptr, "HTTP/1.", 7) == 0 &&
	    (text.ptr[7] == '1' || text.ptr[7] == '0')) {
		*minor = (uint8_t)(text.ptr[7] - '0');
		return 0;
	}
	if (text.len == 8 && memcmp(text.ptr, "HTTP/", 5) == 0 && http_is(text.ptr[5], HTTP_DIGIT) &&
	    text.ptr[6] == '.' && http_is(text.ptr[7], HTTP_DIGIT))
		return http_refuse(detail, ERR_HTTP_VERSION, "The version must be HTTP/1.1 or HTTP/1.0");
	return http_refuse(detail, ERR_MALFORMED,
			   "The start line has no version HTTP/1.1 or HTTP/1.0 in its place");
}
