/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/inflate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zlib.h>
#include <zstd.h>

#include "base/mem.h"
#include "base/rand.h"

static struct inflater *z;
static struct arena arena;
static struct fault fault;

static int set_up(void **state)
{
	(void)state;
	arena_init(&arena, 4096, 256u << 20);
	return inflater_new(&z);
}

static int tear_down(void **state)
{
	(void)state;
	arena_fini(&arena);
	inflater_free(z);
	return 0;
}

static struct slice gzip_of(struct slice in)
{
	size_t cap = in.len + in.len / 100 + 128;
	uint8_t *out = arena_alloc(&arena, cap);
	z_stream s = {0};

	assert_int_equal(deflateInit2(&s, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	s.next_in = (Bytef *)(uintptr_t)in.ptr;
	s.avail_in = (uInt)in.len;
	s.next_out = out;
	s.avail_out = (uInt)cap;
	assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
	cap = s.total_out;
	(void)deflateEnd(&s);
	return slice_make(out, cap);
}

static struct slice zstd_of(struct slice in)
{
	size_t cap = ZSTD_compressBound(in.len);
	uint8_t *out = arena_alloc(&arena, cap);
	size_t n = ZSTD_compress(out, cap, in.ptr, in.len, 3);

	assert_false(ZSTD_isError(n));
	return slice_make(out, n);
}

static struct slice both_of(struct slice a, struct slice b)
{
	uint8_t *out = arena_alloc(&arena, a.len + b.len);

	memcpy(out, a.ptr, a.len);
	memcpy(out + a.len, b.ptr, b.len);
	return slice_make(out, a.len + b.len);
}

static int run(enum inflate_coding coding, struct slice body, size_t max, struct slice *out)
{
	return inflate_body(z, coding, body, max, 256, &arena, out, &fault);
}

static struct slice noise(size_t n)
{
	uint8_t *bytes = arena_alloc(&arena, n);
	struct rand r;

	rand_seed(&r, 5);
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)('a' + rand_below(&r, 16));
	return slice_make(bytes, n);
}

static void names_the_codings(void **state)
{
	enum inflate_coding coding;

	(void)state;
	assert_true(inflate_coding(slice_null(), &coding) && coding == INFLATE_IDENTITY);
	assert_true(inflate_coding(SLICE_LIT(" Identity"), &coding) && coding == INFLATE_IDENTITY);
	assert_true(inflate_coding(SLICE_LIT("GZIP"), &coding) && coding == INFLATE_GZIP);
	assert_true(inflate_coding(SLICE_LIT("x-gzip"), &coding) && coding == INFLATE_GZIP);
	assert_true(inflate_coding(SLICE_LIT("zstd"), &coding) && coding == INFLATE_ZSTD);
	assert_false(inflate_coding(SLICE_LIT("br"), &coding));
	assert_false(inflate_coding(SLICE_LIT("gzip, gzip"), &coding));
}

static void gives_back_what_was_packed(void **state)
{
	static const size_t sizes[] = {0, 1, 1000, 65535, 65536, 65537, 3000000};
	struct slice out;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct slice in = noise(sizes[i]);
		for (size_t k = 0; k < 2; k++) {
			/* Exactly at the limit, and one byte over it. */
			assert_int_equal(run(INFLATE_GZIP, gzip_of(in), in.len, &out), 0);
			assert_true(slice_eq(in, out));
			assert_int_equal(run(INFLATE_ZSTD, zstd_of(in), in.len, &out), 0);
			assert_true(slice_eq(in, out));
		}
		if (in.len == 0)
			continue;
		assert_int_equal(run(INFLATE_GZIP, gzip_of(in), in.len - 1, &out), ERR_BODY_TOO_LARGE);
		assert_int_equal(run(INFLATE_ZSTD, zstd_of(in), in.len - 1, &out), ERR_BODY_TOO_LARGE);
	}
}

static void takes_members_in_a_row(void **state)
{
	struct slice a = SLICE_LIT("one "), b = SLICE_LIT("two");
	struct slice out;

	(void)state;
	assert_int_equal(run(INFLATE_GZIP, both_of(gzip_of(a), gzip_of(b)), 100, &out), 0);
	assert_true(slice_eq_str(out, "one two"));
	assert_int_equal(run(INFLATE_ZSTD, both_of(zstd_of(a), zstd_of(b)), 100, &out), 0);
	assert_true(slice_eq_str(out, "one two"));
}

/* Every prefix, and every byte changed: refused, or the same text. */
static void broken_bodies_are_refused(void **state)
{
	struct slice in = noise(300);
	struct slice packed[2] = {gzip_of(in), zstd_of(in)};
	struct slice out;

	(void)state;
	for (int k = 0; k < 2; k++) {
		enum inflate_coding coding = k ? INFLATE_ZSTD : INFLATE_GZIP;
		for (size_t n = 0; n < packed[k].len; n++) {
			assert_int_equal(run(coding, slice_make(packed[k].ptr, n), 1000, &out),
					 ERR_BAD_ENCODING);
			assert_true(fault.text[0] != 0);
		}
		for (size_t n = 0; n < packed[k].len; n++) {
			uint8_t *copy = (uint8_t *)arena_copy(&arena, packed[k]).ptr;
			copy[n] ^= 0x55;
			(void)run(coding, slice_make(copy, packed[k].len), 1000, &out);
		}
		assert_int_equal(run(coding, both_of(packed[k], SLICE_LIT("tail")), 1000, &out),
				 ERR_BAD_ENCODING);
		assert_int_equal(run(coding, packed[k], 1000, &out), 0);
		assert_true(slice_eq(in, out));
	}
}

static void bombs_stop_early(void **state)
{
	size_t n = 32u << 20;
	uint8_t *zeros = calloc(1, n);
	struct slice out, gzip, zstd;

	(void)state;
	assert_non_null(zeros);
	gzip = gzip_of(slice_make(zeros, n));
	zstd = zstd_of(slice_make(zeros, n));
	free(zeros);
	assert_int_equal(run(INFLATE_GZIP, gzip, 16u << 20, &out), ERR_BODY_TOO_LARGE);
	assert_string_equal(fault.text, "The body inflates to more than 256 times its size");
	assert_int_equal(run(INFLATE_ZSTD, zstd, 16u << 20, &out), ERR_BODY_TOO_LARGE);
	assert_int_equal(inflate_body(z, INFLATE_GZIP, gzip, 16u << 20, 5000, &arena, &out, &fault),
			 ERR_BODY_TOO_LARGE);
	assert_string_equal(fault.text, "The inflated body is over the limit of 16777216 bytes");
	assert_int_equal(inflate_body(z, INFLATE_GZIP, gzip, 32u << 20, 5000, &arena, &out, &fault), 0);
}

/* A frame may not ask for more memory than the cap, however small it is. */
static void a_wide_zstd_window_is_refused(void **state)
{
	struct slice in = noise(100000), out;
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t cap = ZSTD_compressBound(in.len);
	uint8_t *packed = arena_alloc(&arena, cap);
	ZSTD_inBuffer from = {.src = in.ptr, .size = in.len};
	ZSTD_outBuffer to = {.dst = packed, .size = cap};

	(void)state;
	assert_non_null(c);
	(void)ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, 27);
	(void)ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
	/* Streamed, so that the size is not known and the window stands in the frame as asked. */
	(void)ZSTD_compressStream2(c, &to, &from, ZSTD_e_flush);
	assert_int_equal(ZSTD_compressStream2(c, &to, &from, ZSTD_e_end), 0);
	ZSTD_freeCCtx(c);
	assert_int_equal(run(INFLATE_ZSTD, slice_make(packed, to.pos), 1u << 20, &out), ERR_BAD_ENCODING);
}

static void every_allocation_may_fail(void **state)
{
	struct slice in = noise(200000), packed = gzip_of(in), out;

	(void)state;
	for (uint64_t n = 1; n < 20; n++) {
		struct inflater *fresh = NULL;
		int rc;
		mem_fail_at(n);
		rc = inflater_new(&fresh);
		if (rc == 0)
			rc = inflate_body(fresh, INFLATE_GZIP, packed, 1u << 20, 256, &arena, &out, &fault);
		mem_fail_at(0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		if (rc == 0)
			assert_true(slice_eq(in, out));
		inflater_free(fresh);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(names_the_codings, set_up, tear_down),
		cmocka_unit_test_setup_teardown(gives_back_what_was_packed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(takes_members_in_a_row, set_up, tear_down),
		cmocka_unit_test_setup_teardown(broken_bodies_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bombs_stop_early, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_wide_zstd_window_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(every_allocation_may_fail, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
