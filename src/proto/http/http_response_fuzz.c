/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "base/check.h"
#include "proto/http/http.h"

/* Response heads, whole and cut, and their bodies up to the end. */
static int parse(struct http_response *res, struct http_header *list, enum http_method method,
		 struct slice bytes, size_t step, const char **detail)
{
	static const struct http_limits limits = {.head_bytes_max = 1024};
	struct http_scan scan = {0};
	size_t n = 0;
	int r = 0;

	while (r == 0 && n < bytes.len) {
		n = bytes.len - n > step ? n + step : bytes.len;
		res->headers = (struct http_headers){.list = list, .max = HTTP_HEADERS_MAX};
		r = http_response_parse(res, &scan, &limits, method, slice_make(bytes.ptr, n), detail);
	}
	return r;
}

static void read_body(const struct http_response *res, struct slice rest)
{
	const char *detail;
	struct http_body b;
	struct slice data;
	int r;

	http_body_init(&b, res->body, res->content_length);
	while ((r = http_body_next(&b, &rest, &data, &detail)) == HTTP_BODY_DATA)
		CHECK(data.len > 0);
	if (r == HTTP_BODY_MORE)
		http_body_eof(&b, &detail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_header list[HTTP_HEADERS_MAX], cut_list[HTTP_HEADERS_MAX];
	struct http_response res, cut;
	const char *detail = "", *cut_detail = "";
	enum http_method method;
	struct slice bytes;
	int r;

	if (size < 2)
		return 0;
	method = data[0] & 1 ? HTTP_HEAD : HTTP_GET;
	bytes = slice_make(data + 1, size - 1);
	r = parse(&res, list, method, bytes, bytes.len, &detail);
	CHECK(parse(&cut, cut_list, method, bytes, 1 + (data[0] >> 1) % 32, &cut_detail) == r);
	CHECK(detail == cut_detail);
	if (r != 1)
		return 0;
	CHECK(res.head_bytes <= bytes.len && res.head_bytes == cut.head_bytes);
	CHECK(res.status == cut.status && res.body == cut.body);
	read_body(&res, slice_from(bytes, res.head_bytes));
	return 0;
}
