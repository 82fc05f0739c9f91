/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "base/check.h"
#include "proto/http/http.h"

/* Chunked bodies, whole and cut: the same data, the same end, the same refusal. */
struct outcome {
	uint64_t sum; /* of the data, in order */
	uint64_t bytes;
	size_t taken; /* where the body has ended */
	int result;
};

static struct outcome decode(struct slice bytes, size_t step)
{
	struct outcome out = {.result = HTTP_BODY_MORE};
	const char *detail;
	struct http_body b;

	http_body_init(&b, HTTP_BODY_CHUNKED, 0);
	for (size_t at = 0; at < bytes.len && out.result == HTTP_BODY_MORE; at += step) {
		size_t n = bytes.len - at < step ? bytes.len - at : step;
		struct slice rest = slice_make(bytes.ptr + at, n);
		struct slice data;

		while ((out.result = http_body_next(&b, &rest, &data, &detail)) == HTTP_BODY_DATA) {
			CHECK(data.len > 0);
			for (size_t i = 0; i < data.len; i++)
				out.sum = out.sum * 31 + data.ptr[i];
		}
		out.taken = out.result < 0 ? 0 : at + n - rest.len;
	}
	out.bytes = b.bytes;
	CHECK(b.framing <= HTTP_BODY_FRAMING_MAX + 1);
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, cut;
	struct slice bytes;

	if (size < 2)
		return 0;
	bytes = slice_make(data + 1, size - 1);
	whole = decode(bytes, bytes.len);
	cut = decode(bytes, 1 + data[0] % 64);
	CHECK(whole.result == cut.result && whole.sum == cut.sum && whole.bytes == cut.bytes);
	CHECK(whole.taken == cut.taken);
	return 0;
}
