/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/http/http_chars.h"
#include "proto/http/http_head.h"

/*
 * Heads of requests. The lines are http_head.c's; here are the request line, the
 * four forms of its target, and what the fields mean together.
 */
#define METHOD_BYTES_MAX 24u

struct method_row {
	enum http_method method;
	struct slice text;
};

static const char *const method_texts[HTTP_METHODS] = {
	"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "?",
};

const char *http_method_text(enum http_method method)
{
	return method < HTTP_METHODS ? method_texts[method] : "?";
}

enum http_method http_method_of(struct slice token)
{
	for (unsigned m = 0; m < HTTP_OTHER; m++)
		if (slice_eq_str(token, method_texts[m]))
			return (enum http_method)m;
	return HTTP_OTHER;
}

/* The two that matter for speed first. */
static enum http_method method_of(struct slice token)
{
	if (token.len == 4 && memcmp(token.ptr, "POST", 4) == 0)
		return HTTP_POST;
	if (token.len == 3 && memcmp(token.ptr, "GET", 3) == 0)
		return HTTP_GET;
	return http_method_of(token);
}

static void split_query(struct http_request *req, struct slice rest)
{
	const uint8_t *mark = rest.len ? memchr(rest.ptr, '?', rest.len) : NULL;

	req->path = rest;
	req->query = slice_null();
	if (!mark)
		return;
	req->path.len = (size_t)(mark - rest.ptr);
	req->query = slice_from(rest, req->path.len + 1);
}

static int parse_absolute(struct http_request *req, const char **detail)
{
	struct slice t = req->target;
	size_t scheme =
		slice_eq_nocase(slice_make(t.ptr, t.len < 7 ? t.len : 7), SLICE_LIT("http://")) ? 7 : 0;
	size_t end;

	if (!scheme && slice_eq_nocase(slice_make(t.ptr, t.len < 8 ? t.len : 8), SLICE_LIT("https://")))
		scheme = 8;
	if (!scheme)
		return http_refuse(detail, ERR_MALFORMED,
				   "The request target must begin with / or be an http URI");
	end = scheme;
	while (end < t.len && t.ptr[end] != '/' && t.ptr[end] != '?')
		end++;
	req->form = HTTP_ABSOLUTE_FORM;
	/* Kept in host until the Host field is known, which must say the same. */
	req->host = slice_make(t.ptr + scheme, end - scheme);
	split_query(req, slice_from(t, end));
	if (req->path.len == 0)
		req->path = SLICE_LIT("/");
	return 0;
}

static int parse_target(struct http_request *req, const char **detail)
{
	struct slice t = req->target;

	req->host = slice_null();
	if (t.len > 0 && t.ptr[0] == '/') {
		req->form = HTTP_ORIGIN_FORM;
		split_query(req, t);
		return 0;
	}
	if (req->method == HTTP_CONNECT) {
		req->form = HTTP_AUTHORITY_FORM;
		req->path = t;
		req->query = slice_null();
		return 0;
	}
	if (slice_eq_str(t, "*")) {
		if (req->method != HTTP_OPTIONS)
			return http_refuse(detail, ERR_MALFORMED,
					   "The request target * is for OPTIONS alone");
		req->form = HTTP_ASTERISK_FORM;
		req->path = t;
		req->query = slice_null();
		return 0;
	}
	return parse_absolute(req, detail);
}

/*
 * All methods that there are. What is left of a body that was longer than its length, with the
 * next method behind it, seldom is: others refuse it, and answering 405 would hide it.
 */
static bool is_upper(struct slice method)
{
	for (size_t i = 0; i < method.len; i++)
		if ((method.ptr[i] < 'A' || method.ptr[i] > 'Z') && method.ptr[i] != '-')
			return false;
	return true;
}

/* method SP target SP version, with exactly one space each (RFC 9112 3). */
static int parse_request_line(struct http_request *req, struct slice line, uint32_t target_max,
			      const char **detail)
{
	size_t at = 0, start;
	int r;

	while (at < line.len && http_is(line.ptr[at], HTTP_TCHAR))
		at++;
	if (at == 0 || at > METHOD_BYTES_MAX || at == line.len || line.ptr[at] != ' ')
		return http_refuse(detail, ERR_MALFORMED,
				   "The request line does not begin with a method and one space");
	req->method_text = slice_make(line.ptr, at);
	start = ++at;
	while (at < line.len && http_is(line.ptr[at], HTTP_TARGET))
		at++;
	if (at - start > target_max)
		return http_refuse(detail, ERR_TARGET_TOO_LONG, "The request target is too long");
	if (at == start || at == line.len || line.ptr[at] != ' ')
		return http_refuse(
			detail, ERR_MALFORMED,
			"The request target is empty or has a character that must be percent-encoded");
	req->target = slice_make(line.ptr + start, at - start);
	r = http_version_parse(slice_from(line, at + 1), &req->minor, detail);
	if (r < 0)
		return r;
	req->method = method_of(req->method_text);
	if (req->method == HTTP_OTHER && !is_upper(req->method_text))
		return http_refuse(detail, ERR_MALFORMED,
				   "A method is written in capital letters (and hyphens)");
	return parse_target(req, detail);
}

static int check_host(struct http_request *req, struct slice value, uint32_t count, const char **detail)
{
	struct slice name;
	int port;

	if (count > 1)
		return http_refuse(detail, ERR_MALFORMED, "Host is repeated; it must stand once");
	if (count == 0 && req->minor == 1)
		return http_refuse(detail, ERR_MALFORMED, "HTTP/1.1 needs a Host field");
	if (count && !http_authority_split(value, &name, &port))
		return http_refuse(detail, ERR_MALFORMED,
				   "Host must be a name or address with an optional port");
	if (req->form != HTTP_ABSOLUTE_FORM) {
		req->host = value;
		return 0;
	}
	if (!http_authority_split(req->host, &name, &port) || (count && !slice_eq_nocase(req->host, value)))
		return http_refuse(detail, ERR_MALFORMED,
				   "The authority of the request target must be the same as Host");
	return 0;
}

static int read_expect(struct http_request *req, struct slice value, const char **detail)
{
	if (!slice_eq_nocase(value, SLICE_LIT("100-continue")))
		return http_refuse(detail, ERR_EXPECTATION, "Expect may only be 100-continue");
	req->expect_continue = req->minor == 1;
	return 0;
}

/* What the fields say together, once all are there. */
static int finish(struct http_request *req, const char **detail)
{
	const struct http_headers *h = &req->headers;
	struct http_framing_fields framing;
	struct slice host = slice_null();
	uint32_t hosts = 0;
	bool upgrade = false;
	int r = http_framing_read(h, req->minor, &framing, detail);

	req->expect_continue = false;
	for (uint32_t i = 0; i < h->count && r == 0; i++) {
		const struct http_header *f = &h->list[i];

		if (f->name.len == 4 && slice_eq_nocase(f->name, SLICE_LIT("host"))) {
			host = f->value;
			hosts++;
			if (http_tab_around(f))
				return http_refuse(detail, ERR_MALFORMED, "Host has a tab around its value");
		} else if (f->name.len == 6 && slice_eq_nocase(f->name, SLICE_LIT("expect"))) {
			r = read_expect(req, f->value, detail);
		} else if (f->name.len == 7 && slice_eq_nocase(f->name, SLICE_LIT("upgrade"))) {
			upgrade = true;
		}
	}
	if (r == 0)
		r = check_host(req, host, hosts, detail);
	if (r < 0)
		return r;
	req->body = framing.chunked                      ? HTTP_BODY_CHUNKED :
		    framing.has_length && framing.length ? HTTP_BODY_LENGTH :
							   HTTP_BODY_NONE;
	req->has_length = framing.has_length;
	req->content_length = framing.length;
	req->keep_alive = http_keeps_alive(h, req->minor, &framing);
	req->upgrade = upgrade && req->minor == 1 &&
		       http_header_has(h, SLICE_LIT("connection"), SLICE_LIT("upgrade"));
	return 1;
}

static int parse_whole(struct http_request *req, struct http_scan *scan, const struct http_bounds *bounds,
		       struct slice bytes, const char **detail)
{
	struct slice line;
	int r;

	/* Once more where the first line was the empty one that is allowed. */
	do {
		r = http_head_line(scan, bounds, bytes, &line, detail);
		if (r <= 0)
			return r;
	} while (scan->lines < http_start_line(bytes));
	r = parse_request_line(req, line, bounds->start_line - HTTP_START_LINE_REST, detail);
	if (r < 0)
		return r;
	return http_fields_parse(scan, bounds, bytes, &req->headers, detail);
}

int http_request_parse(struct http_request *req, struct http_scan *scan, const struct http_limits *limits,
		       struct slice bytes, const char **detail)
{
	struct http_bounds bounds = http_bounds_of(limits);
	int r;

	if (bytes.len == 0)
		return 0;
	if (scan->lines >= http_start_line(bytes)) {
		r = http_fields_check(scan, &bounds, bytes, req->headers.max, detail);
		if (r <= 0)
			return r;
		*scan = (struct http_scan){.lines = 0};
	}
	r = parse_whole(req, scan, &bounds, bytes, detail);
	if (r <= 0)
		return r;
	req->head_bytes = scan->line_at;
	*scan = (struct http_scan){.lines = 0};
	return finish(req, detail);
}

static struct slice moved(struct slice s, const uint8_t *from, const uint8_t *to, size_t bytes)
{
	/* Not all slices point into the head: a path may be the "/" that was left out. */
	if (!s.ptr || (uintptr_t)s.ptr < (uintptr_t)from || (uintptr_t)s.ptr > (uintptr_t)from + bytes)
		return s;
	return slice_make(to + (s.ptr - from), s.len);
}

void http_request_rebase(struct http_request *req, struct http_header *list, const uint8_t *from,
			 const uint8_t *to)
{
	size_t n = req->head_bytes;

	for (uint32_t i = 0; i < req->headers.count; i++) {
		const struct http_header *f = &req->headers.list[i];
		list[i] = (struct http_header){.name = moved(f->name, from, to, n),
					       .value = moved(f->value, from, to, n)};
	}
	req->headers.list = list;
	req->headers.max = req->headers.count;
	req->method_text = moved(req->method_text, from, to, n);
	req->target = moved(req->target, from, to, n);
	req->path = moved(req->path, from, to, n);
	req->query = moved(req->query, from, to, n);
	req->host = moved(req->host, from, to, n);
}
