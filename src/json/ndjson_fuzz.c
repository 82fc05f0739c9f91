/* SPDX-License-Identifier: Apache-2.0 */
/* The splitter against the plain way: split at every newline, check each line by itself. */
#include <stdlib.h>

#include "base/check.h"
#include "json/ndjson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_blank(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!strchr(" \t\r", s.ptr[i]) || s.ptr[i] == 0)
			return false;
	return true;
}

static void check_line(struct ndjson *n, struct slice line, uint64_t number)
{
	struct json_error error = {0}, plain = {0};
	struct slice doc = slice_null();
	int rc = ndjson_next(n, &doc, &error);
	int want = json_valid(line, &plain);

	CHECK(n->line == number);
	CHECK(rc == (want ? want : 1));
	CHECK(doc.ptr >= line.ptr && doc.ptr + doc.len <= line.ptr + line.len);
	if (want)
		CHECK(doc.ptr + error.at == line.ptr + plain.at);
	else
		CHECK(json_valid(doc, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *body = malloc(size ? size : 1);
	const uint8_t *at = body;
	struct json_error error;
	struct ndjson n;
	struct slice doc;
	uint64_t number = 0;

	CHECK(body);
	if (size)
		memcpy(body, data, size);
	ndjson_init(&n, slice_make(body, size));
	while (at < body + size) {
		size_t left = (size_t)(body + size - at);
		const uint8_t *newline = memchr(at, '\n', left);
		struct slice line = slice_make(at, newline ? (size_t)(newline - at) : left);
		number++;
		if (!is_blank(line))
			check_line(&n, line, number);
		at += line.len + 1;
	}
	CHECK(ndjson_next(&n, &doc, &error) == 0);
	free(body);
	return 0;
}
