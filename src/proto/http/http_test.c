/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/rand.h"
#include "proto/http/http.h"
#include "proto/http/http_chars.h"

#define HOST "Host: h\r\n"

/* A copy of exactly n bytes, so that a sanitizer sees a read behind them. */
static struct slice exact(struct slice s, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);

	assert_non_null(copy);
	memcpy(copy, s.ptr, n);
	return slice_make(copy, n);
}

/* Parses after the bytes came in pieces of `step`, each at a new address. */
static int parse_cut(struct http_request *req, struct http_header *list, const struct http_limits *limits,
		     struct slice bytes, size_t step, const char **detail, struct slice *last)
{
	struct http_scan scan = {0};
	int r = 0;

	*last = slice_null();
	for (size_t n = step; r == 0; n += step) {
		if (n > bytes.len)
			n = bytes.len;
		free((void *)(uintptr_t)last->ptr);
		*last = exact(bytes, n);
		req->headers = (struct http_headers){.list = list, .max = HTTP_HEADERS_MAX};
		r = http_request_parse(req, &scan, limits, *last, detail);
		if (n == bytes.len)
			break;
	}
	if (r != 0)
		assert_int_equal(scan.line_at * (r == 1), 0);
	return r;
}

/* The result of parsing must be the same for each step; gives it for the whole. */
static int parse_all_ways(struct slice bytes, const struct http_limits *limits, const char **detail)
{
	struct http_header list[HTTP_HEADERS_MAX];
	struct http_request req;
	struct slice last;
	int whole = parse_cut(&req, list, limits, bytes, bytes.len, detail, &last);
	uint32_t head = req.head_bytes;
	const char *why = *detail;

	free((void *)(uintptr_t)last.ptr);
	for (size_t step = 1; step < bytes.len; step += 1 + step / 8) {
		int r = parse_cut(&req, list, limits, bytes, step, detail, &last);

		free((void *)(uintptr_t)last.ptr);
		assert_int_equal(r, whole);
		if (r < 0)
			assert_string_equal(*detail, why);
		if (r == 1)
			assert_int_equal(req.head_bytes, head);
	}
	return whole;
}

struct refusal {
	const char *text;
	size_t len;
	int err;
};

#define REFUSED(text, err)                  \
	{                                   \
		text, sizeof(text) - 1, err \
	}

static const struct refusal refusals[] = {
	/* framing: RFC 9112 6 */
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n",
		ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;q=1\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", ERR_NOT_IMPLEMENTED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\tchunked\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked \t\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length: \t5\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\t\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\nHost:\ta\r\n\r\n", ERR_MALFORMED),
	REFUSED("get / HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("loGET / HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("G_T / HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		ERR_MALFORMED),
	REFUSED("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length: 1 1\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551616\r\n\r\n", ERR_MALFORMED),
	REFUSED("POST / HTTP/1.1\r\n" HOST "Content-Length: 9223372036854775808\r\n\r\n", ERR_MALFORMED),
	/* lines: RFC 9112 2.2, 5 */
	REFUSED("GET / HTTP/1.1\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\nHost: h\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\nHost: h\r\n\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "A: b\rc\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "A: b\r\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "\rA: b\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "A: b\0c\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "A\0: b\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "A: b\x01\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "A: b\x7f\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "A : b\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "A\t: b\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "A B: b\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "Ab\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "A: b\r\n\tc\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n Host: h\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "A\xc3\xa4: b\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST "(A): b\r\n\r\n", ERR_MALFORMED),
	/* Host: RFC 9112 3.2 */
	REFUSED("GET / HTTP/1.1\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\nHost:\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\n" HOST HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\nHost: a,b\r\nhost: c\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\nHost: h:x\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\nHost: h:65536\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\nHost: h/\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET http://other/ HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET http:///x HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET http://u@h/x HTTP/1.1\r\nHost: u@h\r\n\r\n", ERR_MALFORMED),
	/* request line: RFC 9112 3 */
	REFUSED("\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED(" GET / HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET  / HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET /  HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET\t/ HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1 \r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET /\r\n\r\n", ERR_MALFORMED),
	REFUSED("GET / \r\n\r\n", ERR_MALFORMED),
	REFUSED("GET HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET x HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET * HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET /a b HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET /a#b HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET /a\\b HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET / http/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/1.1x\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/01.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("GET / HTTP/2.0\r\n", ERR_HTTP_VERSION),
	REFUSED("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ERR_HTTP_VERSION),
	REFUSED("GET / HTTP/1.2\r\n" HOST "\r\n", ERR_HTTP_VERSION),
	REFUSED("GET / HTTP/0.9\r\n" HOST "\r\n", ERR_HTTP_VERSION),
	REFUSED("G@T / HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("AAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n" HOST "\r\n", ERR_MALFORMED),
	REFUSED("\x16\x03\x01\x02", ERR_MALFORMED), /* TLS on a plain port */
	/* Expect */
	REFUSED("POST / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n", ERR_EXPECTATION),
};

static void each_malformed_head_is_refused_the_same_way_however_it_is_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const char *detail = NULL;
		int r = parse_all_ways(slice_make(refusals[i].text, refusals[i].len), NULL, &detail);

		if (r != refusals[i].err)
			print_error("case %zu: %s\n", i, refusals[i].text);
		assert_int_equal(r, refusals[i].err);
		assert_non_null(detail);
	}
}

static int parse_one(struct http_request *req, const char *text)
{
	static struct http_header list[HTTP_HEADERS_MAX];
	struct http_scan scan = {0};
	const char *detail;

	req->headers = (struct http_headers){.list = list, .max = HTTP_HEADERS_MAX};
	assert_int_equal(parse_all_ways(slice_str(text), NULL, &detail), 1);
	return http_request_parse(req, &scan, NULL, slice_str(text), &detail);
}

#define assert_slice(s, text) assert_true(slice_eq_str(s, text))

static void a_head_is_taken_apart(void **state)
{
	struct http_request req;
	struct slice value;

	(void)state;
	assert_int_equal(
		parse_one(&req,
			  "POST /v1/topics/t/records?key=a%20b&x HTTP/1.1\r\nhost: h:80\r\n"
			  "Content-Type: \t application/json \t\r\nA:\r\ncontent-length: 0012\r\n\r\nbody"),
		1);
	assert_int_equal(req.method, HTTP_POST);
	assert_slice(req.path, "/v1/topics/t/records");
	assert_slice(req.query, "key=a%20b&x");
	assert_slice(req.host, "h:80");
	assert_int_equal(req.headers.count, 4);
	assert_int_equal(http_header_one(&req.headers, SLICE_LIT("CONTENT-TYPE"), &value), 1);
	assert_slice(value, "application/json");
	assert_int_equal(http_header_one(&req.headers, SLICE_LIT("a"), &value), 1);
	assert_int_equal(value.len, 0);
	assert_int_equal(http_header_one(&req.headers, SLICE_LIT("b"), &value), 0);
	assert_int_equal(req.body, HTTP_BODY_LENGTH);
	assert_int_equal(req.content_length, 12);
	assert_true(req.keep_alive);
	assert_false(req.expect_continue);
	assert_false(req.upgrade);
}

static void forms_of_targets(void **state)
{
	struct http_request req;

	(void)state;
	assert_int_equal(parse_one(&req, "\r\nGET http://H?a=b HTTP/1.1\r\n" HOST "\r\n"), 1);
	assert_int_equal(req.form, HTTP_ABSOLUTE_FORM);
	assert_slice(req.path, "/");
	assert_slice(req.query, "a=b");
	assert_slice(req.host, "H");
	assert_int_equal(parse_one(&req, "GET HTTPS://h/x HTTP/1.1\r\n" HOST "\r\n"), 1);
	assert_slice(req.path, "/x");
	assert_null(req.query.ptr);
	assert_int_equal(parse_one(&req, "OPTIONS * HTTP/1.1\r\n" HOST "\r\n"), 1);
	assert_int_equal(req.form, HTTP_ASTERISK_FORM);
	assert_int_equal(parse_one(&req, "CONNECT h:1 HTTP/1.1\r\n" HOST "\r\n"), 1);
	assert_int_equal(req.form, HTTP_AUTHORITY_FORM);
	assert_int_equal(parse_one(&req, "BREW /? HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), 1);
	assert_int_equal(req.method, HTTP_OTHER);
	assert_slice(req.method_text, "BREW");
	assert_non_null(req.query.ptr);
	assert_int_equal(req.query.len, 0);
}

static void what_fields_say_of_the_connection(void **state)
{
	struct http_request req;

	(void)state;
	assert_int_equal(parse_one(&req, "GET / HTTP/1.0\r\n\r\n"), 1);
	assert_false(req.keep_alive);
	assert_null(req.host.ptr);
	assert_int_equal(
		parse_one(&req, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nExpect: 100-continue\r\n\r\n"),
		1);
	assert_true(req.keep_alive);
	assert_false(req.expect_continue);
	assert_int_equal(parse_one(&req, "GET / HTTP/1.1\r\n" HOST "Connection: x, Close\r\n\r\n"), 1);
	assert_false(req.keep_alive);
	assert_int_equal(parse_one(&req, "GET / HTTP/1.1\r\n" HOST "Connection: keep-alive, close\r\n\r\n"),
			 1);
	assert_false(req.keep_alive);
	assert_int_equal(parse_one(&req, "GET / HTTP/1.1\r\n" HOST
					 "Connection: keep-alive\r\nConnection: close\r\n\r\n"),
			 1);
	assert_false(req.keep_alive);
	assert_int_equal(parse_one(&req, "GET / HTTP/1.1\r\n" HOST
					 "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"),
			 1);
	assert_true(req.upgrade);
	assert_int_equal(parse_one(&req, "GET / HTTP/1.1\r\n" HOST "Upgrade: websocket\r\n\r\n"), 1);
	assert_false(req.upgrade);
	assert_int_equal(parse_one(&req, "PUT / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\n"
					 "Transfer-Encoding: Chunked\r\n\r\n"),
			 1);
	assert_true(req.expect_continue);
	assert_int_equal(req.body, HTTP_BODY_CHUNKED);
	assert_false(req.has_length);
	assert_int_equal(parse_one(&req, "PUT / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"), 1);
	assert_int_equal(req.body, HTTP_BODY_NONE);
	assert_true(req.has_length);
}

/* "GET /aaaa HTTP/1.1" with a target of n bytes and a field that makes the head `total` bytes; 0: no field. */
static struct slice long_head(size_t target, size_t total, uint32_t fields)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	buf_append_str(&b, "GET /");
	for (size_t i = 1; i < target; i++)
		buf_append_byte(&b, 'a');
	buf_append_str(&b, " HTTP/1.1\r\n" HOST);
	for (uint32_t i = 1; i < fields; i++)
		buf_append_str(&b, "a: b\r\n");
	if (total) {
		buf_append_str(&b, "B: ");
		while (b.len < total - 4 && buf_status(&b) == 0)
			buf_append_byte(&b, 'b');
		buf_append_str(&b, "\r\n");
	}
	buf_append_str(&b, "\r\n");
	assert_int_equal(buf_status(&b), 0);
	return buf_slice(&b);
}

static int parse_long(size_t target, size_t total, uint32_t fields, size_t cut)
{
	static const struct http_limits limits = {.head_bytes_max = 2000, .target_bytes_max = 500};
	struct slice head = long_head(target, total, fields);
	const char *detail;
	int r = parse_all_ways(slice_make(head.ptr, head.len - cut), &limits, &detail);

	free((void *)(uintptr_t)head.ptr);
	return r;
}

static void limits_hold_to_the_byte(void **state)
{
	(void)state;
	assert_int_equal(parse_long(500, 0, 1, 0), 1);
	assert_int_equal(parse_long(501, 0, 1, 0), ERR_TARGET_TOO_LONG);
	assert_int_equal(parse_long(1500, 0, 1, 0), ERR_TARGET_TOO_LONG);
	assert_int_equal(parse_long(3000, 0, 1, 0), ERR_TARGET_TOO_LONG);
	assert_int_equal(parse_long(5, 2000, 1, 0), 1);
	assert_int_equal(parse_long(5, 2001, 1, 0), ERR_HEADER_TOO_LARGE);
	assert_int_equal(parse_long(5, 2001, 1, 1), ERR_HEADER_TOO_LARGE);
	assert_int_equal(parse_long(5, 2000, 1, 1), 0);
	assert_int_equal(parse_long(5, 5000, 1, 0), ERR_HEADER_TOO_LARGE);
	assert_int_equal(parse_long(5, 0, 100, 0), 1);
	assert_int_equal(parse_long(5, 0, 101, 0), ERR_HEADER_TOO_LARGE);
	assert_int_equal(parse_long(5, 0, 101, 2), ERR_HEADER_TOO_LARGE);
}

static void a_copied_head_can_be_moved(void **state)
{
	static const char text[] = "GET /p?q HTTP/1.1\r\n" HOST "A: bc\r\n\r\n";
	struct http_header first[HTTP_HEADERS_MAX], second[2];
	struct http_request req = {.headers = {.list = first, .max = HTTP_HEADERS_MAX}};
	struct http_scan scan = {0};
	struct slice old = exact(slice_str(text), sizeof(text) - 1);
	const char *detail;

	(void)state;
	assert_int_equal(http_request_parse(&req, &scan, NULL, old, &detail), 1);
	http_request_rebase(&req, second, old.ptr, (const uint8_t *)text);
	free((void *)(uintptr_t)old.ptr);
	memset(first, 0, sizeof(first));
	assert_slice(req.path, "/p");
	assert_slice(req.query, "q");
	assert_slice(req.host, "h");
	assert_slice(req.headers.list[1].name, "A");
	assert_slice(req.headers.list[1].value, "bc");
}

/* Work grows with the bytes, not with their square: the scan position never goes back. */
static void a_head_in_drops_is_not_scanned_again(void **state)
{
	struct http_header list[HTTP_HEADERS_MAX];
	struct slice head = long_head(5, 30000, 50);
	struct http_scan scan = {0};
	uint32_t line_at = 0, seen = 0;
	const char *detail;

	(void)state;
	for (size_t n = 1; n < head.len; n++) {
		struct http_request req = {.headers = {.list = list, .max = HTTP_HEADERS_MAX}};

		assert_int_equal(http_request_parse(&req, &scan, NULL, slice_make(head.ptr, n), &detail), 0);
		assert_true(scan.line_at >= line_at && scan.seen >= seen && n - scan.seen <= 1);
		line_at = scan.line_at;
		seen = scan.seen;
	}
	free((void *)(uintptr_t)head.ptr);
}

/* ---- bodies ---- */

static int decode_cut(enum http_body_kind kind, uint64_t length, struct slice bytes, size_t step,
		      struct buf *out, size_t *left)
{
	const char *detail = NULL;
	struct http_body b;
	int r = HTTP_BODY_MORE;

	buf_clear(out);
	http_body_init(&b, kind, length);
	*left = bytes.len;
	for (size_t at = 0; at < bytes.len && r == HTTP_BODY_MORE; at += step) {
		size_t n = bytes.len - at < step ? bytes.len - at : step;
		struct slice piece = exact(slice_from(bytes, at), n);
		struct slice rest = piece;
		struct slice data;

		while ((r = http_body_next(&b, &rest, &data, &detail)) == HTTP_BODY_DATA)
			buf_append_slice(out, data);
		*left = bytes.len - at - n + rest.len;
		free((void *)(uintptr_t)piece.ptr);
	}
	assert_int_equal(http_body_ended(&b), r == HTTP_BODY_END);
	if (r < 0)
		assert_non_null(detail);
	return r;
}

static int decode_all_ways(enum http_body_kind kind, uint64_t length, struct slice bytes, struct buf *out,
			   size_t *left)
{
	struct buf other;
	size_t other_left;
	int whole = decode_cut(kind, length, bytes, bytes.len, out, left);

	buf_init(&other, 1 << 20);
	for (size_t step = 1; step < bytes.len; step++) {
		assert_int_equal(decode_cut(kind, length, bytes, step, &other, &other_left), whole);
		assert_true(slice_eq(buf_slice(&other), buf_slice(out)));
		if (whole >= 0)
			assert_int_equal(other_left, *left);
	}
	buf_fini(&other);
	return whole;
}

struct body_case {
	const char *text;
	size_t len;
	int result;
	const char *data;
	size_t left;
};

#define CHUNKED(text, result, data, left)                  \
	{                                                  \
		text, sizeof(text) - 1, result, data, left \
	}

static const struct body_case chunked[] = {
	CHUNKED("0\r\n\r\n", HTTP_BODY_END, "", 0),
	CHUNKED("5\r\nhello\r\n0\r\n\r\nGET", HTTP_BODY_END, "hello", 3),
	CHUNKED("A\r\n0123456789\r\n0a;x=\"y z\"\r\n0123456789\r\n000\r\n\r\n", HTTP_BODY_END,
		"01234567890123456789", 0),
	CHUNKED("1;a\r\nx\r\n0;b=c\r\n\r\n", HTTP_BODY_END, "x", 0),
	CHUNKED("1;a;b=c;d=\"e;\\\"f\";g\r\nx\r\n0\r\n\r\n", HTTP_BODY_END, "x", 0),
	CHUNKED("1\r\nx\r\n0\r\nContent-Lengths: 5\r\nHost: x\r\n\r\n", HTTP_BODY_END, "x", 0),
	CHUNKED("1\r\nx\r\n0\r\nCONTENT-length: 5\r\n\r\n", ERR_MALFORMED, "x", 0),
	CHUNKED("1\r\nx\r\n0\r\nA: b\r\ntransfer-Encoding: chunked\r\n\r\n", ERR_MALFORMED, "x", 0),
	CHUNKED("1 ;a\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1; a\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1;\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1;;a\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1;a=\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1;a=b=c\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1;a=\"b\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1;a=\"b\"c\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1;a=\"\xff\"\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n", HTTP_BODY_END, "x", 0),
	CHUNKED("0000000000000001\r\nx\r\n0\r\n\r\n", HTTP_BODY_END, "x", 0),
	CHUNKED("5\r\nhel", HTTP_BODY_MORE, "hel", 0),
	CHUNKED("5\r\nhello\r\n0\r\n", HTTP_BODY_MORE, "hello", 0),
	CHUNKED("\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("x\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("0x1\r\na\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("+1\r\na\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("-1\r\na\r\n", ERR_MALFORMED, "", 0),
	CHUNKED(" 1\r\na\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1 \r\na\r\n", ERR_MALFORMED, "", 0),
	CHUNKED(";a\r\na\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1_0\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1\na\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1\r\na\n", ERR_MALFORMED, "a", 0),
	CHUNKED("1\r\nab", ERR_MALFORMED, "a", 0),
	CHUNKED("1\r\na\rb", ERR_MALFORMED, "a", 0),
	CHUNKED("1\rX", ERR_MALFORMED, "", 0),
	CHUNKED("1;a\nb\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1;a\rb\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("1;\0\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("00000000000000001\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("8000000000000000\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("ffffffffffffffff\r\nx\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("0\r\n\n", ERR_MALFORMED, "", 0),
	CHUNKED("0\r\nA b: c\r\n\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("0\r\n A: c\r\n\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("0\r\nA: c\n\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("0\r\nA: c\r\n d\r\n\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("0\r\nA\r\n\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("0\r\n: c\r\n\r\n", ERR_MALFORMED, "", 0),
	CHUNKED("0\r\nA: \0\r\n\r\n", ERR_MALFORMED, "", 0),
};

static void chunked_bodies_decode_the_same_however_they_are_cut(void **state)
{
	struct buf out;
	size_t left;

	(void)state;
	buf_init(&out, 1 << 20);
	for (size_t i = 0; i < sizeof(chunked) / sizeof(chunked[0]); i++) {
		const struct body_case *c = &chunked[i];
		int r = decode_all_ways(HTTP_BODY_CHUNKED, 0, slice_make(c->text, c->len), &out, &left);

		if (r != c->result)
			print_error("case %zu: %s\n", i, c->text);
		assert_int_equal(r, c->result);
		assert_true(slice_eq_str(buf_slice(&out), c->data));
		if (r >= 0)
			assert_int_equal(left, c->left);
	}
	buf_fini(&out);
}

static void bodies_by_length_and_until_the_end(void **state)
{
	const char *detail;
	struct http_body b;
	struct buf out;
	size_t left;

	(void)state;
	buf_init(&out, 1 << 20);
	assert_int_equal(decode_all_ways(HTTP_BODY_LENGTH, 5, SLICE_LIT("helloGET"), &out, &left),
			 HTTP_BODY_END);
	assert_true(slice_eq_str(buf_slice(&out), "hello"));
	assert_int_equal(left, 3);
	assert_int_equal(decode_all_ways(HTTP_BODY_LENGTH, 9, SLICE_LIT("hello"), &out, &left),
			 HTTP_BODY_MORE);
	assert_int_equal(decode_all_ways(HTTP_BODY_TO_END, 0, SLICE_LIT("hello"), &out, &left),
			 HTTP_BODY_MORE);
	assert_true(slice_eq_str(buf_slice(&out), "hello"));
	buf_fini(&out);
	http_body_init(&b, HTTP_BODY_TO_END, 0);
	assert_int_equal(http_body_eof(&b, &detail), HTTP_BODY_END);
	http_body_init(&b, HTTP_BODY_LENGTH, 1);
	assert_int_equal(http_body_eof(&b, &detail), ERR_MALFORMED);
	http_body_init(&b, HTTP_BODY_CHUNKED, 0);
	assert_int_equal(http_body_eof(&b, &detail), ERR_MALFORMED);
	http_body_init(&b, HTTP_BODY_NONE, 0);
	assert_true(http_body_ended(&b));
}

static int decode_repeated(const char *piece, size_t count)
{
	struct slice rest, data;
	const char *detail;
	struct http_body b;
	int r = HTTP_BODY_MORE;

	http_body_init(&b, HTTP_BODY_CHUNKED, 0);
	for (size_t i = 0; i < count && r >= 0; i++) {
		rest = slice_str(piece);
		while ((r = http_body_next(&b, &rest, &data, &detail)) == HTTP_BODY_DATA)
			;
	}
	return r;
}

static void extensions_and_trailers_are_bounded(void **state)
{
	(void)state;
	/* ";abcdefg" is eight bytes a chunk. */
	assert_int_equal(decode_repeated("1;abcdefg\r\nx\r\n", HTTP_BODY_FRAMING_MAX / 8), HTTP_BODY_MORE);
	assert_int_equal(decode_repeated("1;abcdefg\r\nx\r\n", HTTP_BODY_FRAMING_MAX / 8 + 1), ERR_MALFORMED);
	assert_int_equal(decode_repeated("1\r\nx\r\n", 100000), HTTP_BODY_MORE);
}

/* ---- targets and values ---- */

static void paths_split_before_they_decode(void **state)
{
	static const char *const bad[] = {"/%",      "/%4",     "/%zz", "/a%00", "/.",
					  "/a/../b", "/%2e%2E", "/%2e", "a"};
	struct slice path = SLICE_LIT("/v1/a%2Fb%25/c+d//");
	struct slice segment;
	struct arena a;

	(void)state;
	arena_init(&a, 256, 4096);
	assert_int_equal(http_path_next(&a, &path, &segment), 1);
	assert_slice(segment, "v1");
	assert_int_equal(http_path_next(&a, &path, &segment), 1);
	assert_slice(segment, "a/b%");
	assert_int_equal(http_path_next(&a, &path, &segment), 1);
	assert_slice(segment, "c+d");
	assert_int_equal(http_path_next(&a, &path, &segment), 1);
	assert_int_equal(segment.len, 0);
	assert_int_equal(http_path_next(&a, &path, &segment), 1);
	assert_int_equal(segment.len, 0);
	assert_int_equal(http_path_next(&a, &path, &segment), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int r = 1;

		path = slice_str(bad[i]);
		while (r == 1)
			r = http_path_next(&a, &path, &segment);
		assert_int_equal(r, ERR_MALFORMED);
	}
	arena_fini(&a);
}

static void queries_decode_as_forms(void **state)
{
	struct slice query = SLICE_LIT("&a=b+c%2B&&d&=e&f=g=h&%41=");
	struct slice name, value;
	struct arena a;

	(void)state;
	arena_init(&a, 256, 4096);
	assert_int_equal(http_query_next(&a, &query, &name, &value), 1);
	assert_slice(name, "a");
	assert_slice(value, "b c+");
	assert_int_equal(http_query_next(&a, &query, &name, &value), 1);
	assert_slice(name, "d");
	assert_int_equal(value.len, 0);
	assert_non_null(value.ptr);
	assert_int_equal(http_query_next(&a, &query, &name, &value), 1);
	assert_int_equal(name.len, 0);
	assert_slice(value, "e");
	assert_int_equal(http_query_next(&a, &query, &name, &value), 1);
	assert_slice(value, "g=h");
	assert_int_equal(http_query_next(&a, &query, &name, &value), 1);
	assert_slice(name, "A");
	assert_int_equal(http_query_next(&a, &query, &name, &value), 0);
	query = SLICE_LIT("a=%0");
	assert_int_equal(http_query_next(&a, &query, &name, &value), ERR_MALFORMED);
	query = slice_null();
	assert_int_equal(http_query_next(&a, &query, &name, &value), 0);
	arena_fini(&a);
	arena_init(&a, 256, 0);
	query = SLICE_LIT("a=%20");
	assert_int_equal(http_query_next(&a, &query, &name, &value), ERR_NOMEM);
	arena_fini(&a);
}

static void authorities_split(void **state)
{
	static const char *const bad[] = {"",    ":1",       "[]",      "[::1", "[::1]x", "[::1]1",
					  "a:b", "a:123456", "a:99999", "a b",  "[g::]"};
	struct slice host;
	int port;

	(void)state;
	assert_true(http_authority_split(SLICE_LIT("a.b-c:8080"), &host, &port));
	assert_slice(host, "a.b-c");
	assert_int_equal(port, 8080);
	assert_true(http_authority_split(SLICE_LIT("[::1]:1"), &host, &port));
	assert_slice(host, "::1");
	assert_int_equal(port, 1);
	assert_true(http_authority_split(SLICE_LIT("[::ffff:1.2.3.4]"), &host, &port));
	assert_int_equal(port, -1);
	assert_true(http_authority_split(SLICE_LIT("a:"), &host, &port));
	assert_int_equal(port, -1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(http_authority_split(slice_str(bad[i]), &host, &port));
}

static void lists_and_quoted_strings(void **state)
{
	struct slice list = SLICE_LIT(" , a,\t\"b,\\\"c\" , ,d\"");
	struct slice item;
	struct arena a;

	(void)state;
	assert_int_equal(http_list_next(&list, &item), 1);
	assert_slice(item, "a");
	assert_int_equal(http_list_next(&list, &item), 1);
	assert_slice(item, "\"b,\\\"c\"");
	arena_init(&a, 256, 4096);
	assert_int_equal(http_unquote(&a, item, &item), 0);
	assert_slice(item, "b,\"c");
	assert_int_equal(http_list_next(&list, &item), 1);
	assert_slice(item, "d\"");
	assert_int_equal(http_list_next(&list, &item), 0);
	assert_int_equal(http_unquote(&a, SLICE_LIT("ab"), &item), 0);
	assert_int_equal(http_unquote(&a, SLICE_LIT("\"\""), &item), 0);
	assert_int_equal(item.len, 0);
	assert_int_equal(http_unquote(&a, SLICE_LIT("\"a"), &item), ERR_BAD_HEADER);
	assert_int_equal(http_unquote(&a, SLICE_LIT("\"a\\\""), &item), ERR_BAD_HEADER);
	assert_int_equal(http_unquote(&a, SLICE_LIT("\"a\"b\""), &item), ERR_BAD_HEADER);
	assert_int_equal(http_unquote(&a, SLICE_LIT("a b"), &item), ERR_BAD_HEADER);
	assert_int_equal(http_unquote(&a, SLICE_LIT(""), &item), ERR_BAD_HEADER);
	arena_fini(&a);
}

static void media_types(void **state)
{
	static const char *const bad[] = {"",      "a",      "/b",        "a/",        "a/b c",
					  "a/b;c", "a/b;c=", "a/b;c d=e", "a/b;c=\"d", "a/b/c"};
	struct http_media_type m;
	struct slice value;

	(void)state;
	assert_int_equal(http_media_parse(SLICE_LIT("Application/JSON ; charset=\"utf;8\";; a=b"), &m), 0);
	assert_true(http_media_is(&m, "application/json"));
	assert_int_equal(http_media_param(&m, "CHARSET", &value), 1);
	assert_slice(value, "\"utf;8\"");
	assert_int_equal(http_media_param(&m, "a", &value), 1);
	assert_slice(value, "b");
	assert_int_equal(http_media_param(&m, "c", &value), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(http_media_parse(slice_str(bad[i]), &m), ERR_BAD_HEADER);
}

/* ---- writing and responses ---- */

static void answers_are_written_and_read_back(void **state)
{
	struct http_header more[] = {{SLICE_LIT("X-A"), SLICE_LIT("b")}};
	struct http_answer a = {.status = 404,
				.framing = HTTP_FRAME_LENGTH,
				.length = 18446744073709551615u,
				.date = SLICE_LIT("Sun, 06 Nov 1994 08:49:37 GMT"),
				.content_type = SLICE_LIT("text/plain"),
				.headers = more,
				.header_count = 1,
				.lines = SLICE_LIT("Y: z\r\n"),
				.close = true};
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	assert_int_equal(http_answer_append(&b, &a), 0);
	assert_true(b.len <= http_answer_bytes_max(&a));
	assert_true(slice_eq_str(buf_slice(&b),
				 "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
				 "Content-Type: text/plain\r\nContent-Length: 18446744073709551615\r\n"
				 "Connection: close\r\nY: z\r\nX-A: b\r\n\r\n"));
	buf_clear(&b);
	a = (struct http_answer){.status = 200, .framing = HTTP_FRAME_CHUNKED, .keep_alive = true};
	assert_int_equal(http_answer_append(&b, &a), 0);
	assert_true(slice_eq_str(buf_slice(&b), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
						"Connection: keep-alive\r\n\r\n"));
	buf_fini(&b);
}

static void chunk_heads(void **state)
{
	static const struct {
		uint64_t n;
		const char *text;
	} cases[] = {{1, "1\r\n"},    {15, "f\r\n"},      {16, "10\r\n"},
		     {255, "ff\r\n"}, {4096, "1000\r\n"}, {UINT64_MAX, "ffffffffffffffff\r\n"}};
	uint8_t room[HTTP_CHUNK_HEAD_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t n = (size_t)(http_chunk_head_put(room, cases[i].n) - room);
		assert_true(slice_eq_str(slice_make(room, n), cases[i].text));
	}
}

static void dates(void **state)
{
	static const struct {
		int64_t at;
		const char *text;
	} cases[] = {
		{0, "Thu, 01 Jan 1970 00:00:00 GMT"},         {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},
		{951782399, "Mon, 28 Feb 2000 23:59:59 GMT"}, {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
		{-1, "Wed, 31 Dec 1969 23:59:59 GMT"},        {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT"},
	};
	uint8_t text[HTTP_DATE_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		http_date_put(text, cases[i].at);
		assert_true(slice_eq_str(slice_make(text, sizeof(text)), cases[i].text));
	}
}

static int parse_response(struct http_response *res, enum http_method method, const char *text)
{
	static struct http_header list[HTTP_HEADERS_MAX];
	struct slice bytes = slice_str(text);
	struct http_scan scan = {0};
	const char *detail;
	int whole, r = 0;

	res->headers = (struct http_headers){.list = list, .max = HTTP_HEADERS_MAX};
	for (size_t n = 1; n <= bytes.len && r == 0; n++)
		r = http_response_parse(res, &scan, NULL, method, slice_make(bytes.ptr, n), &detail);
	scan = (struct http_scan){0};
	whole = http_response_parse(res, &scan, NULL, method, bytes, &detail);
	assert_int_equal(r, whole);
	return whole;
}

static void responses_parse(void **state)
{
	static const char *const bad[] = {
		"HTTP/1.1 20 OK\r\n",
		"HTTP/1.1 2000 OK\r\n",
		"HTTP/1.1  200 OK\r\n",
		"HTTP/1.1 200\r\n",
		"HTTP/1.1 099 x\r\n",
		"\r\nHTTP/1.1 200 OK\r\n",
		"HTTP/1.1 200 OK\n",
		"x",
		"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
	};
	struct http_response res;

	(void)state;
	assert_int_equal(parse_response(&res, HTTP_GET,
					"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc"),
			 1);
	assert_int_equal(res.status, 404);
	assert_slice(res.reason, "Not Found");
	assert_int_equal(res.body, HTTP_BODY_LENGTH);
	assert_int_equal(res.content_length, 3);
	assert_true(res.keep_alive);
	assert_int_equal(parse_response(&res, HTTP_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), 1);
	assert_int_equal(res.body, HTTP_BODY_NONE);
	assert_int_equal(parse_response(&res, HTTP_GET, "HTTP/1.1 200 \r\n\r\n"), 1);
	assert_int_equal(res.body, HTTP_BODY_TO_END);
	assert_false(res.keep_alive);
	assert_int_equal(parse_response(&res, HTTP_GET, "HTTP/1.1 204 x\r\n\r\n"), 1);
	assert_int_equal(res.body, HTTP_BODY_NONE);
	assert_int_equal(parse_response(&res, HTTP_GET,
					"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
			 1);
	assert_int_equal(res.head_bytes, 25);
	assert_int_equal(parse_response(&res, HTTP_GET,
					"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"
					"Content-Length: 0\r\n\r\n"),
			 1);
	assert_true(res.keep_alive);
	assert_int_equal(parse_response(&res, HTTP_GET,
					"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
			 1);
	assert_int_equal(res.body, HTTP_BODY_CHUNKED);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (bad[i][0] == 'x')
			assert_int_equal(parse_response(&res, HTTP_GET, bad[i]), 0);
		else
			assert_int_equal(parse_response(&res, HTTP_GET, bad[i]), ERR_MALFORMED);
	}
}

static void asks_are_written_and_read_back(void **state)
{
	struct http_header more[] = {{SLICE_LIT("X-A"), SLICE_LIT("b")}};
	struct http_ask ask = {.method = SLICE_LIT("POST"),
			       .target = SLICE_LIT("/x?y"),
			       .host = SLICE_LIT("h:1"),
			       .framing = HTTP_FRAME_LENGTH,
			       .length = 7,
			       .headers = more,
			       .header_count = 1};
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	assert_int_equal(http_ask_append(&b, &ask), 0);
	assert_true(slice_eq_str(buf_slice(&b),
				 "POST /x?y HTTP/1.1\r\nHost: h:1\r\nContent-Length: 7\r\nX-A: b\r\n\r\n"));
	buf_clear(&b);
	more[0].value = SLICE_LIT("b\r\nc: d");
	assert_int_equal(http_ask_append(&b, &ask), ERR_BAD_HEADER);
	more[0].value = SLICE_LIT("b");
	ask.target = SLICE_LIT("/x HTTP/1.1");
	assert_int_equal(http_ask_append(&b, &ask), ERR_BAD_HEADER);
	assert_int_equal(http_percent_append(&b, SLICE_LIT("a/b c~\xff")), 0);
	assert_true(slice_eq_str(buf_slice(&b), "a%2Fb%20c~%FF"));
	buf_fini(&b);
}

static void character_classes_are_those_of_the_rfcs(void **state)
{
	static const char tchar[] = "!#$%&'*+-.^_`|~";

	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		bool control = (c < 32 && c != '\t') || c == 127;
		uint8_t byte = (uint8_t)c;

		assert_int_equal(http_is(byte, HTTP_TCHAR), alnum || (c && strchr(tchar, (int)c)));
		assert_int_equal(http_is(byte, HTTP_FORBIDDEN), control);
		assert_int_equal(http_is(byte, HTTP_DIGIT), c >= '0' && c <= '9');
		assert_int_equal(http_is(byte, HTTP_TARGET),
				 c > 32 && c < 127 && !strchr("#\"<>\\^`", (int)c));
		assert_int_equal(http_is(byte, HTTP_UNRESERVED), alnum || (c && strchr("-._~", (int)c)));
		assert_int_equal(http_is(byte, HTTP_HOST),
				 alnum || (c && strchr("-._~!$&'()*+,;=%", (int)c)));
	}
}

static void controls_are_found_at_every_place(void **state)
{
	struct rand r;

	(void)state;
	rand_seed(&r, 7);
	for (size_t n = 0; n < 80; n++)
		for (size_t at = 0; at <= n; at++) {
			uint8_t *bytes = malloc(n ? n : 1);

			assert_non_null(bytes);
			for (size_t i = 0; i < n; i++)
				do
					bytes[i] = (uint8_t)rand_next(&r);
				while (http_is(bytes[i], HTTP_FORBIDDEN));
			if (at < n)
				bytes[at] = rand_below(&r, 2) ? 127 : 13;
			assert_ptr_equal(http_find_control(bytes, bytes + n), bytes + at);
			free(bytes);
		}
}

int main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(character_classes_are_those_of_the_rfcs),
		cmocka_unit_test(controls_are_found_at_every_place),
		cmocka_unit_test(each_malformed_head_is_refused_the_same_way_however_it_is_cut),
		cmocka_unit_test(a_head_is_taken_apart),
		cmocka_unit_test(forms_of_targets),
		cmocka_unit_test(what_fields_say_of_the_connection),
		cmocka_unit_test(limits_hold_to_the_byte),
		cmocka_unit_test(a_copied_head_can_be_moved),
		cmocka_unit_test(a_head_in_drops_is_not_scanned_again),
		cmocka_unit_test(chunked_bodies_decode_the_same_however_they_are_cut),
		cmocka_unit_test(bodies_by_length_and_until_the_end),
		cmocka_unit_test(extensions_and_trailers_are_bounded),
		cmocka_unit_test(paths_split_before_they_decode),
		cmocka_unit_test(queries_decode_as_forms),
		cmocka_unit_test(authorities_split),
		cmocka_unit_test(lists_and_quoted_strings),
		cmocka_unit_test(media_types),
		cmocka_unit_test(answers_are_written_and_read_back),
		cmocka_unit_test(chunk_heads),
		cmocka_unit_test(dates),
		cmocka_unit_test(responses_parse),
		cmocka_unit_test(asks_are_written_and_read_back),
	};

	return cmocka_run_group_tests(all, NULL, NULL);
}
