/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "proto/http/http.h"

/*
 * Request heads, whole and cut: the result, the reason and the place must be
 * the same. What is accepted is also walked: path, query, fields.
 */
static int parse(struct http_request *req, struct http_header *list, struct slice bytes, size_t step,
		 const char **detail)
{
	static const struct http_limits limits = {.head_bytes_max = 1024, .target_bytes_max = 256};
	struct http_scan scan = {0};
	size_t n = 0;
	int r = 0;

	while (r == 0 && n < bytes.len) {
		n = bytes.len - n > step ? n + step : bytes.len;
		req->headers = (struct http_headers){.list = list, .max = HTTP_HEADERS_MAX};
		r = http_request_parse(req, &scan, &limits, slice_make(bytes.ptr, n), detail);
	}
	return r;
}

static void walk(const struct http_request *req)
{
	struct slice path = req->path, query = req->query, name, value, item;
	struct http_media_type media;
	struct arena a;

	arena_init(&a, 1024, 8192);
	while (http_path_next(&a, &path, &name) == 1)
		;
	while (http_query_next(&a, &query, &name, &value) == 1)
		;
	for (uint32_t i = 0; i < req->headers.count; i++) {
		struct slice list = req->headers.list[i].value;

		CHECK(http_token_valid(req->headers.list[i].name));
		CHECK(http_value_valid(list));
		if (http_media_parse(list, &media) == 0)
			http_media_param(&media, "charset", &value);
		while (http_list_next(&list, &item))
			(void)!http_unquote(&a, item, &item);
	}
	arena_fini(&a);
}

/* Every field is found by its name, and a copy of the head says the same as the head. */
static void look_up(struct http_request *req, struct slice bytes)
{
	struct http_header list[HTTP_HEADERS_MAX];
	struct slice path = req->path, value;
	uint8_t copy[1024];

	for (uint32_t i = 0; i < req->headers.count; i++) {
		struct slice name = req->headers.list[i].name;

		CHECK(http_header_find(&req->headers, name));
		CHECK(http_header_one(&req->headers, name, &value) != 0);
	}
	CHECK(req->method == http_method_of(req->method_text));
	CHECK(req->method == HTTP_OTHER || slice_eq_str(req->method_text, http_method_text(req->method)));
	memcpy(copy, bytes.ptr, req->head_bytes);
	http_request_rebase(req, list, bytes.ptr, copy);
	CHECK(slice_eq(req->path, path) && req->method_text.ptr >= copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_header list[HTTP_HEADERS_MAX], cut_list[HTTP_HEADERS_MAX];
	struct http_request req, cut;
	const char *detail = "", *cut_detail = "";
	struct slice bytes;
	size_t step;
	int r;

	if (size < 2)
		return 0;
	step = 1 + data[0] % 64;
	bytes = slice_make(data + 1, size - 1);
	r = parse(&req, list, bytes, bytes.len, &detail);
	CHECK(parse(&cut, cut_list, bytes, step, &cut_detail) == r);
	CHECK(detail == cut_detail);
	if (r != 1)
		return 0;
	CHECK(req.head_bytes <= bytes.len && req.head_bytes == cut.head_bytes);
	CHECK(req.headers.count == cut.headers.count && req.body == cut.body);
	CHECK(req.minor == 0 || req.host.len > 0);
	walk(&req);
	look_up(&req, bytes);
	return 0;
}
