/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever is given as gzip or zstd, the result is the same however it is cut, and within the bounds. */
#include "base/buf.h"
#include "base/check.h"
#include "proto/coding/unpacker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PLAIN_MAX 65536u

/* The first error, or 0; what came out is in *out. */
static int unpack(enum unpack_coding coding, struct slice all, size_t piece_len, size_t room, struct buf *out)
{
	struct unpack_limits limits = {.bytes_max = PLAIN_MAX, .ratio_max = 1000};
	struct unpacker *u;
	struct fault fault;
	uint8_t to[512];
	int64_t n = 0;

	if (unpacker_new(coding, &limits, &u) < 0)
		return ERR_NOMEM;
	while (n >= 0 && all.len > 0) {
		struct slice piece = slice_make(all.ptr, piece_len < all.len ? piece_len : all.len);

		all = slice_from(all, piece.len);
		while ((n = unpacker_next(u, &piece, to, room, &fault)) > 0)
			CHECK(buf_append(out, to, (size_t)n) == 0);
	}
	if (n == 0)
		n = unpacker_end(u, &fault);
	unpacker_free(u);
	return (int)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum unpack_coding coding;
	struct buf whole, cut;
	int first, second;

	if (size < 2)
		return 0;
	coding = data[0] % 2 ? UNPACK_GZIP : UNPACK_ZSTD;
	buf_init(&whole, PLAIN_MAX + 512);
	buf_init(&cut, PLAIN_MAX + 512);
	first = unpack(coding, slice_make(data + 2, size - 2), size, 512, &whole);
	second = unpack(coding, slice_make(data + 2, size - 2), 1 + data[1] % 40, 1 + data[0] % 200, &cut);
	CHECK((first == 0) == (second == 0));
	if (first == 0)
		CHECK(slice_eq(buf_slice(&whole), buf_slice(&cut)));
	buf_fini(&whole);
	buf_fini(&cut);
	return 0;
}
