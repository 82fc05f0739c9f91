/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <zstd.h>

#include "base/mem.h"
#include "proto/batch/batch.h"
#include "proto/batch/codec_vectors.h"
#include "proto/batch/find.h"

#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)
#define VECTORS (sizeof(codec_vectors) / sizeof(codec_vectors[0]))

static struct codec *codec;

static int make_codec(void **state)
{
	(void)state;
	return codec_new(&codec);
}

static int free_codec(void **state)
{
	(void)state;
	codec_free(codec);
	return 0;
}

static uint8_t digit(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static struct slice unhex(const char *hex, uint8_t *to)
{
	size_t n = strlen(hex) / 2;

	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
	return slice_make(to, n);
}

/* ---- batches of others ---- */

/* Record i of every vector. */
static void check_record(const struct batch_record *r, uint32_t i)
{
	struct slice headers = r->headers, name, value;
	char key[16], text[128];

	(void)snprintf(key, sizeof(key), "key-%u", i % 3);
	(void)snprintf(text, sizeof(text), "{\"number\":%u,\"text\":\"the same words over and over\"}", i);
	assert_int_equal(r->offset, i);
	assert_int_equal(r->timestamp, 1700000000000 + i * 10);
	assert_true(i % 4 ? slice_eq_str(r->key, key) : !r->key.ptr);
	assert_true(i != 5 ? slice_eq_str(r->value, text) : !r->value.ptr);
	assert_int_equal(r->header_count, i % 2 ? 2 : 0);
	if (i % 2 == 0)
		return;
	(void)snprintf(text, sizeof(text), "%04x", i);
	assert_int_equal(batch_header_next(&headers, &name, &value), 1);
	assert_true(slice_eq_str(name, "trace") && slice_eq_str(value, text));
	assert_int_equal(batch_header_next(&headers, &name, &value), 1);
	assert_true(slice_eq_str(name, "none") && !value.ptr);
}

static void check_twelve(struct slice batch)
{
	struct batch_walk walk;
	struct batch_record r;
	struct slice plain;
	struct buf bytes;

	buf_init(&bytes, BATCH_PLAIN_BYTES_MAX);
	assert_int_equal(batch_inflate(codec, batch, &bytes, &plain), 0);
	assert_int_equal(batch_walk_start(&walk, plain), 0);
	for (uint32_t i = 0; i < 12; i++) {
		assert_int_equal(batch_walk_next(&walk, &r), 1);
		check_record(&r, i);
	}
	assert_int_equal(batch_walk_next(&walk, &r), 0);
	buf_fini(&bytes);
}

static void batches_that_others_compressed_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < VECTORS; i++) {
		uint8_t memory[1024];
		struct slice batch = unhex(codec_vectors[i].hex, memory);
		struct batch_walk walk;
		struct batch_head head;

		assert_int_equal(batch_check(batch, &head), 0);
		assert_int_equal(batch_codec(&head), codec_vectors[i].codec);
		assert_int_equal(batch_walk_start(&walk, batch), ERR_NOT_IMPLEMENTED);
		check_twelve(batch);
	}
}

static void a_batch_keeps_all_but_its_form_when_it_is_recoded(void **state)
{
	struct buf scratch, out;

	(void)state;
	buf_init(&scratch, MIB(1));
	buf_init(&out, MIB(1));
	for (size_t i = 0; i < VECTORS * 5; i++) {
		enum batch_codec to = (enum batch_codec)(i % 5);
		uint8_t memory[1024];
		struct slice batch = unhex(codec_vectors[i / 5].hex, memory);
		struct batch_head was, is;

		assert_int_equal(batch_head_read(batch, &was), 0);
		buf_clear(&out);
		assert_int_equal(buf_append_str(&out, "before"), 0); /* it appends */
		assert_int_equal(batch_recode(codec, batch, to, 0, &scratch, &out), 0);
		batch = slice_from(buf_slice(&out), 6);
		assert_int_equal(batch_check(batch, &is), 0);
		assert_int_equal(is.bytes, batch.len);
		assert_int_equal(batch_codec(&is), to);
		is.bytes = was.bytes;
		is.crc = was.crc;
		is.attributes = was.attributes;
		assert_memory_equal(&is, &was, sizeof(was));
		check_twelve(batch);
	}
	buf_fini(&scratch);
	buf_fini(&out);
}

static void other_attributes_stay_and_append_time_is_given(void **state)
{
	uint8_t memory[256];
	struct batch_build b;
	struct batch_head head;
	struct batch_walk walk;
	struct batch_record r;
	struct buf scratch, out;

	(void)state;
	buf_init(&scratch, KIB(4));
	buf_init(&out, KIB(4));
	batch_build_start(&b, memory, 7);
	batch_build_put(&b, &(struct batch_record){.timestamp = 1000, .value = SLICE_LIT("one")});
	batch_build_put(&b, &(struct batch_record){.timestamp = 3000, .value = SLICE_LIT("two")});
	struct slice batch = batch_build_finish(&b);
	memory[22] = BATCH_TIME_IS_APPEND | BATCH_IS_TRANSACTIONAL;
	assert_int_equal(batch_recode(codec, batch, BATCH_ZSTD, 0, &scratch, &out), 0);
	assert_int_equal(batch_check(buf_slice(&out), &head), 0);
	assert_int_equal(head.attributes, BATCH_TIME_IS_APPEND | BATCH_IS_TRANSACTIONAL | BATCH_ZSTD);
	assert_int_equal(batch_inflate(codec, buf_slice(&out), &scratch, &batch), 0);
	assert_int_equal(batch_walk_start(&walk, batch), 0);
	assert_int_equal(batch_walk_next(&walk, &r), 1);
	assert_int_equal(r.timestamp, 3000);
	buf_fini(&scratch);
	buf_fini(&out);
}

static void a_record_is_found_by_offset_and_time_in_any_form(void **state)
{
	uint8_t memory[256];
	struct batch_build b;
	struct batch_found found;
	struct slice plain;
	struct buf scratch, out;

	(void)state;
	buf_init(&scratch, KIB(4));
	buf_init(&out, KIB(4));
	batch_build_start(&b, memory, 7);
	for (int64_t i = 0; i < 3; i++)
		batch_build_put(&b, &(struct batch_record){.timestamp = 3000 - i * 1000});
	plain = batch_build_finish(&b);
	for (int codec_id = BATCH_PLAIN; codec_id <= BATCH_ZSTD; codec_id++) {
		struct slice batch;
		buf_clear(&out);
		assert_int_equal(batch_recode(codec, plain, (enum batch_codec)codec_id, 0, &scratch, &out),
				 0);
		batch = buf_slice(&out);
		assert_int_equal(batch_find(batch, 0, 2000, &found), 0);
		assert_int_equal(found.offset, 7);
		assert_int_equal(found.timestamp, 3000);
		assert_int_equal(batch_find(batch, 8, INT64_MIN, &found), 0);
		assert_int_equal(found.offset, 8);
		assert_int_equal(found.timestamp, 2000);
		assert_int_equal(batch_find(batch, 8, 2001, &found), 1);
		assert_int_equal(batch_find(batch, 10, INT64_MIN, &found), 1);
		assert_int_equal(batch_find(slice_make(batch.ptr, batch.len - 1), 0, 0, &found), 1);
	}
	out.ptr[BATCH_HEAD_BYTES] ^= 0xff; /* not zstd any more */
	assert_int_equal(batch_find(buf_slice(&out), 0, 0, &found), 1);
	buf_fini(&scratch);
	buf_fini(&out);
}

static void an_emptied_batch_inflates_to_nothing(void **state)
{
	uint8_t memory[1024];
	struct slice batch = unhex(codec_vectors[0].hex, memory), plain;
	struct batch_walk walk;
	struct batch_record r;
	struct buf bytes;

	(void)state;
	buf_init(&bytes, KIB(4));
	memory[11] = BATCH_HEAD_BYTES - BATCH_LOG_OVERHEAD;
	memory[10] = 0;
	assert_int_equal(batch_inflate(codec, batch, &bytes, &plain), ERR_MALFORMED); /* says twelve */
	memory[60] = 0;
	assert_int_equal(batch_inflate(codec, batch, &bytes, &plain), 0);
	assert_int_equal(batch_walk_start(&walk, plain), 0);
	assert_int_equal(batch_walk_next(&walk, &r), 0);
	buf_fini(&bytes);
}

/* ---- streams ---- */

/* Compressible and then not, larger than every codec's block. */
static struct slice sample(uint8_t *memory, size_t n)
{
	uint32_t x = 1;

	for (size_t i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		memory[i] =
			i % KIB(128) < KIB(90) ? (uint8_t)("the same words "[i % 15]) : (uint8_t)(x >> 24);
	}
	return slice_make(memory, n);
}

static void what_is_compressed_comes_back(void **state)
{
	static const size_t sizes[] = {0, 1, 1000, KIB(32) - 1, KIB(32), KIB(64) + 1, KIB(500)};
	uint8_t *memory = malloc(KIB(500));

	(void)state;
	assert_non_null(memory);
	for (size_t i = 0; i < 7 * 4 * 4; i++) {
		static const int levels[] = {0, 1, 9, 99};
		enum batch_codec kind = (enum batch_codec)(1 + i % 4);
		struct slice in = sample(memory, sizes[i / 16]);
		struct buf packed, out;

		buf_init(&packed, MIB(1));
		buf_init(&out, in.len ? in.len : 1);
		assert_int_equal(codec_deflate(codec, kind, levels[i / 4 % 4], in, &packed), 0);
		if (in.len == KIB(32))
			assert_true(packed.len < in.len / 4);
		assert_int_equal(codec_inflate(codec, kind, buf_slice(&packed), &out), 0);
		assert_true(slice_eq(buf_slice(&out), in));
		buf_fini(&packed);
		buf_fini(&out);
	}
	free(memory);
}

static void a_stream_cut_short_or_with_more_behind_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < VECTORS; i++) {
		uint8_t memory[1024] = {0};
		struct slice in = slice_from(unhex(codec_vectors[i].hex, memory), BATCH_HEAD_BYTES);
		enum batch_codec kind = (enum batch_codec)codec_vectors[i].codec;
		bool xerial = in.ptr[0] == 0x82;
		struct buf out;

		buf_init(&out, MIB(1));
		for (size_t n = 0; n < in.len; n++) {
			int rc = codec_inflate(codec, kind, slice_make(in.ptr, n), &out);
			if (rc == 0)
				assert_true(xerial && n == 16); /* a head and no block: nothing */
			else
				assert_true(rc == ERR_MALFORMED || rc == ERR_LIMIT);
			assert_int_equal(out.len, 0);
		}
		assert_int_equal(codec_inflate(codec, kind, slice_make(in.ptr, in.len + 1), &out),
				 ERR_MALFORMED);
		assert_int_equal(codec_inflate(codec, kind, in, &out), 0); /* nothing is left of it */
		buf_fini(&out);
	}
}

/* Each vector cut short or refused, then each other read with the same memory. */
static void what_was_refused_leaves_nothing_behind(void **state)
{
	(void)state;
	for (size_t i = 0; i < VECTORS * VECTORS; i++) {
		uint8_t memory[1024];
		struct slice in = slice_from(unhex(codec_vectors[i / VECTORS].hex, memory), BATCH_HEAD_BYTES);
		enum batch_codec kind = (enum batch_codec)codec_vectors[i / VECTORS].codec;
		struct buf out;

		buf_init(&out, 100);
		assert_int_equal(codec_inflate(codec, kind, in, &out), ERR_LIMIT);
		buf_fini(&out);
		buf_init(&out, KIB(4));
		assert_int_not_equal(codec_inflate(codec, kind, slice_make(in.ptr, in.len - 5), &out), 0);
		buf_fini(&out);
		check_twelve(unhex(codec_vectors[i % VECTORS].hex, memory));
	}
}

static void members_and_frames_in_a_row_are_one_stream(void **state)
{
	static const enum batch_codec kinds[] = {BATCH_GZIP, BATCH_ZSTD};
	struct buf packed, out;

	(void)state;
	buf_init(&packed, KIB(4));
	buf_init(&out, 6);
	for (int i = 0; i < 2; i++) {
		buf_clear(&packed);
		buf_clear(&out);
		assert_int_equal(codec_deflate(codec, kinds[i], 0, SLICE_LIT("one"), &packed), 0);
		assert_int_equal(codec_deflate(codec, kinds[i], 0, SLICE_LIT("two"), &packed), 0);
		assert_int_equal(codec_inflate(codec, kinds[i], buf_slice(&packed), &out), 0);
		assert_true(slice_eq_str(buf_slice(&out), "onetwo"));
	}
	buf_fini(&packed);
	buf_fini(&out);
}

static void a_bomb_costs_the_limit_at_most(void **state)
{
	uint8_t *zeros = calloc(1, MIB(8));

	(void)state;
	for (enum batch_codec kind = BATCH_GZIP; kind <= BATCH_ZSTD; kind++) {
		struct buf packed, out;

		buf_init(&packed, MIB(1));
		buf_init(&out, KIB(100));
		assert_int_equal(codec_deflate(codec, kind, 0, slice_make(zeros, MIB(8)), &packed), 0);
		assert_int_equal(codec_inflate(codec, kind, buf_slice(&packed), &out), ERR_LIMIT);
		assert_int_equal(out.len, 0);
		assert_true(out.cap <= KIB(100));
		if (kind == BATCH_GZIP || kind == BATCH_ZSTD) /* these tell how long they become */
			assert_int_equal(out.cap, 0);
		buf_fini(&packed);
		buf_init(&packed, 200);
		assert_int_equal(codec_deflate(codec, kind, 0, slice_make(zeros, MIB(8)), &packed),
				 ERR_LIMIT);
		assert_int_equal(packed.len, 0);
		buf_fini(&packed);
		buf_fini(&out);
	}
	free(zeros);
}

static void a_claim_that_the_codec_cannot_keep_gets_no_memory(void **state)
{
	static const struct {
		enum batch_codec kind;
		struct slice in;
	} lies[] = {
		{BATCH_GZIP, SLICE_LIT("\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\x10")}, /* 256 MiB */
		{BATCH_SNAPPY, SLICE_LIT("\x80\x80\x80\x80\x01\0x")},                            /* 256 MiB */
		{BATCH_LZ4, SLICE_LIT("\x04\x22\x4d\x18\x68\x40\0\0\0\x10\0\0\0\0\x6f\0\0\0\0")},
	};
	struct buf out;

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		buf_init(&out, MIB(512));
		assert_int_equal(codec_inflate(codec, lies[i].kind, lies[i].in, &out), ERR_MALFORMED);
		assert_true(out.cap <= KIB(16));
		buf_fini(&out);
	}
}

/* As a Java client at level 22 sends: no length, a window of 128 MiB. */
static void a_zstd_frame_gets_no_window_beside_the_output(void **state)
{
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	uint8_t *memory = malloc(KIB(300)), *packed = malloc(KIB(400));
	struct slice in = sample(memory, KIB(300));
	ZSTD_inBuffer from = {.src = in.ptr, .size = in.len};
	ZSTD_outBuffer to = {.dst = packed, .size = KIB(400)};
	struct buf out;

	(void)state;
	(void)ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, 27);
	(void)ZSTD_compressStream2(zstd, &to, &from, ZSTD_e_flush);
	(void)ZSTD_compressStream2(zstd, &to, &from, ZSTD_e_end);
	assert_int_equal(ZSTD_getFrameContentSize(packed, to.pos), ZSTD_CONTENTSIZE_UNKNOWN);
	buf_init(&out, in.len);
	assert_int_equal(codec_inflate(codec, BATCH_ZSTD, slice_make(packed, to.pos), &out), 0);
	assert_true(slice_eq(buf_slice(&out), in));
	buf_fini(&out);
	buf_init(&out, in.len - 1);
	assert_int_equal(codec_inflate(codec, BATCH_ZSTD, slice_make(packed, to.pos), &out), ERR_LIMIT);
	buf_fini(&out);
	(void)ZSTD_freeCCtx(zstd);
	free(packed);
	free(memory);
}

static void no_memory_is_told_as_such(void **state)
{
	(void)state;
	for (size_t i = 0; i < 4; i++) {
		uint8_t memory[1024];
		struct slice batch = unhex(codec_vectors[i].hex, memory), plain;
		struct codec *fresh;
		struct buf out;
		int rc = ERR_NOMEM;

		for (uint64_t nth = 1; rc == ERR_NOMEM; nth++) {
			assert_int_equal(codec_new(&fresh), 0);
			buf_init(&out, KIB(4));
			mem_fail_at(nth);
			rc = batch_inflate(fresh, batch, &out, &plain);
			mem_fail_at(0);
			assert_true(rc == 0 ? nth > 1 : rc == ERR_NOMEM);
			buf_fini(&out);
			codec_free(fresh);
		}
	}
}

static void a_number_that_is_no_codec_is_told(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 100);
	assert_int_equal(codec_inflate(codec, (enum batch_codec)5, SLICE_LIT("x"), &out),
			 ERR_NOT_IMPLEMENTED);
	assert_int_equal(codec_deflate(codec, (enum batch_codec)7, 0, SLICE_LIT("x"), &out),
			 ERR_NOT_IMPLEMENTED);
	assert_null(codec_name((enum batch_codec)5));
	assert_string_equal(codec_name(BATCH_LZ4), "lz4");
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batches_that_others_compressed_are_read),
		cmocka_unit_test(a_batch_keeps_all_but_its_form_when_it_is_recoded),
		cmocka_unit_test(other_attributes_stay_and_append_time_is_given),
		cmocka_unit_test(a_record_is_found_by_offset_and_time_in_any_form),
		cmocka_unit_test(an_emptied_batch_inflates_to_nothing),
		cmocka_unit_test(what_is_compressed_comes_back),
		cmocka_unit_test(a_stream_cut_short_or_with_more_behind_is_refused),
		cmocka_unit_test(what_was_refused_leaves_nothing_behind),
		cmocka_unit_test(members_and_frames_in_a_row_are_one_stream),
		cmocka_unit_test(a_bomb_costs_the_limit_at_most),
		cmocka_unit_test(a_claim_that_the_codec_cannot_keep_gets_no_memory),
		cmocka_unit_test(a_zstd_frame_gets_no_window_beside_the_output),
		cmocka_unit_test(no_memory_is_told_as_such),
		cmocka_unit_test(a_number_that_is_no_codec_is_told),
	};

	return cmocka_run_group_tests(tests, make_codec, free_codec);
}
