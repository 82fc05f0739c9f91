/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What weir's HTTP codec makes of streams of bytes, for framing.py to compare.
 *
 * In: streams, each behind its length in four bytes. Out: for each a line of JSON,
 * {"requests":[[method, target, body as hexadecimal text],…],"used":bytes of them,"end":why it stopped}.
 * As a session does it: one request after the other, until one is refused or ends the connection ("close").
 * The path is gone through as routing does it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/wire.h"
#include "proto/http/http.h"

#define STREAM_MAX (1u << 20)

static void put_hex(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		(void)printf("%02x", s.ptr[i]);
}

/* Method and target are bytes that the codec let pass: hexadecimal too, so that no quoting is needed. */
static void put_request(const struct http_request *req, struct slice body, bool first)
{
	(void)printf("%s[\"", first ? "" : ",");
	put_hex(req->method_text);
	(void)printf("\",\"");
	put_hex(req->target);
	(void)printf("\",\"");
	put_hex(body);
	(void)printf("\"]");
}

/* 1, 0 where the stream ends first, or an error. */
static int read_body(const struct http_request *req, struct slice *stream, struct buf *to,
		     const char **detail)
{
	struct http_body body;
	struct slice data;
	int rc;

	buf_clear(to);
	http_body_init(&body, req->body, req->content_length);
	while ((rc = http_body_next(&body, stream, &data, detail)) == HTTP_BODY_DATA)
		(void)buf_append_slice(to, data);
	return rc == HTTP_BODY_END ? 1 : rc == HTTP_BODY_MORE ? 0 : rc;
}

static int check_path(const struct http_request *req, const char **detail)
{
	struct slice path = req->path, segment;
	struct arena a;
	int rc = 1;

	if (req->form == HTTP_ASTERISK_FORM || req->form == HTTP_AUTHORITY_FORM)
		return 1;
	arena_init(&a, 1024, STREAM_MAX);
	while (rc == 1)
		rc = http_path_next(&a, &path, &segment);
	arena_fini(&a);
	if (rc)
		*detail = "The path is refused";
	return rc ? rc : 1;
}

static const char *read_stream(struct slice stream, size_t *used)
{
	static struct http_header list[HTTP_HEADERS_MAX];
	const uint8_t *begin = stream.ptr;
	const char *end = "close";
	struct buf body;

	*used = 0;
	buf_init(&body, STREAM_MAX);
	for (bool first = true, again = true; again; first = false) {
		struct http_request req = {.headers = {.list = list, .max = HTTP_HEADERS_MAX}};
		struct http_scan scan = {0};
		int rc = http_request_parse(&req, &scan, NULL, stream, &end);
		if (rc == 1) {
			stream = slice_from(stream, req.head_bytes);
			rc = check_path(&req, &end);
		}
		if (rc == 1) {
			rc = read_body(&req, &stream, &body, &end);
		}
		if (rc != 1) {
			end = rc == 0 ? "more" : end;
			break;
		}
		put_request(&req, buf_slice(&body), first);
		*used = (size_t)(stream.ptr - begin);
		again = req.keep_alive;
	}
	buf_fini(&body);
	return end;
}

int main(void)
{
	static uint8_t bytes[STREAM_MAX];
	uint8_t head[4];

	while (fread(head, 1, 4, stdin) == 4) {
		size_t n = wire_load_u32(head);
		if (n > STREAM_MAX || fread(bytes, 1, n, stdin) != n)
			return 1;
		(void)printf("{\"requests\":[");
		size_t used;
		const char *end = read_stream(slice_make(bytes, n), &used);
		(void)printf("],\"used\":%zu,\"end\":\"%s\"}\n", used, end);
	}
	return 0;
}
