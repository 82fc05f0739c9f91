/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"
#include "proto/coding/unpacker.h"

static struct buf plain, packed;

/* A text that packs well and is longer than every buffer in between. */
static void make_plain(size_t lines)
{
	buf_init(&plain, SIZE_MAX / 2);
	for (size_t i = 0; i < lines; i++)
		assert_int_equal(buf_appendf(&plain, "{\"id\":%zu,\"name\":\"line\"}\n", i * 7919), 0);
}

static void pack_gzip(struct slice text)
{
	z_stream z = {0};

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + 15, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(buf_reserve(&packed, deflateBound(&z, text.len) + 64), 0);
	z.next_in = (Bytef *)(uintptr_t)text.ptr;
	z.avail_in = (uInt)text.len;
	z.next_out = packed.ptr + packed.len;
	z.avail_out = (uInt)(packed.cap - packed.len);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	packed.len += z.total_out;
	(void)deflateEnd(&z);
}

static void pack_zstd(struct slice text)
{
	size_t room = ZSTD_compressBound(text.len), n;

	assert_int_equal(buf_reserve(&packed, room), 0);
	n = ZSTD_compress(packed.ptr + packed.len, room, text.ptr, text.len, 3);
	assert_false(ZSTD_isError(n));
	packed.len += n;
}

static void pack(enum unpack_coding coding, struct slice text)
{
	if (coding == UNPACK_GZIP)
		pack_gzip(text);
	else
		pack_zstd(text);
}

/* Unpacks all of `packed` in pieces from a seed; 0 or the error. What came out is in *out. */
static int unpack_cut(enum unpack_coding coding, const struct unpack_limits *limits, uint64_t seed,
		      size_t piece_max, struct buf *out, struct fault *fault)
{
	struct slice all = buf_slice(&packed);
	struct rand r;
	struct unpacker *u;
	uint8_t to[4096];
	int64_t n = 0;

	rand_seed(&r, seed);
	assert_int_equal(unpacker_new(coding, limits, &u), 0);
	while (n >= 0 && all.len > 0) {
		size_t len = 1 + (size_t)(rand_next(&r) % piece_max);
		struct slice piece = slice_make(all.ptr, len < all.len ? len : all.len);
		size_t room = 1 + (size_t)(rand_next(&r) % sizeof(to));

		all = slice_from(all, piece.len);
		while ((n = unpacker_next(u, &piece, to, room, fault)) > 0)
			assert_int_equal(buf_append(out, to, (size_t)n), 0);
		if (n == 0)
			assert_int_equal(piece.len, 0);
	}
	if (n == 0)
		n = unpacker_end(u, fault);
	unpacker_free(u);
	return (int)n;
}

static int teardown(void **state)
{
	(void)state;
	buf_fini(&plain);
	buf_fini(&packed);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	make_plain(20000);
	buf_init(&packed, SIZE_MAX / 2);
	return 0;
}

static void is_the_same_however_it_is_cut(void **state)
{
	static const size_t pieces[] = {1, 7, 300, 70000};
	struct unpack_limits none = {0};
	struct fault fault;

	(void)state;
	for (int coding = UNPACK_GZIP; coding <= UNPACK_ZSTD; coding++) {
		buf_clear(&packed);
		pack((enum unpack_coding)coding, slice_make(plain.ptr, 1000));
		pack((enum unpack_coding)coding, slice_make(plain.ptr + 1000, 0));
		pack((enum unpack_coding)coding, slice_make(plain.ptr + 1000, plain.len - 1000));
		for (size_t i = 0; i < 4; i++) {
			struct buf out;

			buf_init(&out, SIZE_MAX / 2);
			assert_int_equal(unpack_cut((enum unpack_coding)coding, &none, i + 1, pieces[i], &out,
						    &fault),
					 0);
			assert_true(slice_eq(buf_slice(&out), buf_slice(&plain)));
			buf_fini(&out);
		}
	}
}

static void tells_what_is_cut_short(void **state)
{
	struct unpack_limits none = {0};
	struct fault fault;

	(void)state;
	for (int coding = UNPACK_GZIP; coding <= UNPACK_ZSTD; coding++) {
		struct buf out;

		buf_clear(&packed);
		pack((enum unpack_coding)coding, buf_slice(&plain));
		packed.len -= 3;
		buf_init(&out, SIZE_MAX / 2);
		assert_int_equal(unpack_cut((enum unpack_coding)coding, &none, 1, 500, &out, &fault),
				 ERR_BAD_ENCODING);
		assert_non_null(strstr(fault.text, "ends too early"));
		buf_fini(&out);
		packed.len = 0;
		assert_int_equal(unpack_cut((enum unpack_coding)coding, &none, 1, 500, &out, &fault),
				 ERR_BAD_ENCODING);
	}
}

static void tells_what_is_broken(void **state)
{
	struct unpack_limits none = {0};
	struct fault fault;

	(void)state;
	for (int coding = UNPACK_GZIP; coding <= UNPACK_ZSTD; coding++) {
		struct buf out;

		buf_clear(&packed);
		pack((enum unpack_coding)coding, slice_make(plain.ptr, 1000));
		assert_int_equal(buf_append(&packed, "garbage behind it", 17), 0);
		buf_init(&out, SIZE_MAX / 2);
		assert_int_equal(unpack_cut((enum unpack_coding)coding, &none, 1, 500, &out, &fault),
				 ERR_BAD_ENCODING);
		assert_non_null(strstr(fault.text, "broken at byte"));
		buf_fini(&out);
	}
}

static void stops_at_its_bounds(void **state)
{
	struct unpack_limits bytes = {.bytes_max = 100000}, ratio = {.ratio_max = 20};
	struct fault fault;

	(void)state;
	for (int coding = UNPACK_GZIP; coding <= UNPACK_ZSTD; coding++) {
		struct buf out;
		uint8_t *zeros = mem_zalloc(1, 16 << 20);

		assert_non_null(zeros);
		buf_clear(&packed);
		pack((enum unpack_coding)coding, buf_slice(&plain));
		buf_init(&out, 100000);
		assert_int_equal(unpack_cut((enum unpack_coding)coding, &bytes, 1, 500, &out, &fault),
				 ERR_BODY_TOO_LARGE);
		assert_true(out.len <= 100000);
		buf_fini(&out);
		buf_clear(&packed);
		pack((enum unpack_coding)coding, slice_make(zeros, 16 << 20));
		buf_init(&out, 2 << 20);
		assert_int_equal(unpack_cut((enum unpack_coding)coding, &ratio, 1, 500, &out, &fault),
				 ERR_BODY_TOO_LARGE);
		buf_fini(&out);
		mem_free(zeros);
	}
}

static void knows_the_codings(void **state)
{
	enum unpack_coding coding;

	(void)state;
	assert_true(unpack_coding_of(slice_null(), &coding) && coding == UNPACK_NONE);
	assert_true(unpack_coding_of(SLICE_LIT(" GZip "), &coding) && coding == UNPACK_GZIP);
	assert_true(unpack_coding_of(SLICE_LIT("zstd"), &coding) && coding == UNPACK_ZSTD);
	assert_false(unpack_coding_of(SLICE_LIT("br"), &coding));
	assert_false(unpack_coding_of(SLICE_LIT("gzip, gzip"), &coding));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_the_same_however_it_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(tells_what_is_cut_short, setup, teardown),
		cmocka_unit_test_setup_teardown(tells_what_is_broken, setup, teardown),
		cmocka_unit_test_setup_teardown(stops_at_its_bounds, setup, teardown),
		cmocka_unit_test(knows_the_codings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
