/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of other clients, and batches with one thing wrong each. */
#include "ingest/batch_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/flip_test.h"
#include "base/wire.h"
#include "proto/batch/codec_vectors.h"

static struct codec *codec;
static struct buf scratch;
static uint8_t memory[1u << 21];

static const struct batch_rules rules = {.bytes_max = 100000,
					 .plain_bytes_max = 300000,
					 .record_bytes_max = 100000};

static int set_up(void **state)
{
	(void)state;
	buf_init(&scratch, 0);
	return codec_new(&codec);
}

static int tear_down(void **state)
{
	(void)state;
	buf_fini(&scratch);
	codec_free(codec);
	return 0;
}

static int verify(struct slice batch, struct batch_verdict *v)
{
	int rc = batch_verify(codec, batch, &rules, &scratch, v);

	if (rc)
		assert_true(strlen(v->detail) > 10);
	return rc;
}

/* ---- batches made here ---- */

static struct slice build(uint32_t count, size_t value_bytes, const char *key)
{
	static uint8_t value[300000];
	struct batch_build b;

	batch_build_start(&b, memory, 0);
	for (uint32_t i = 0; i < count; i++)
		batch_build_put(&b, &(struct batch_record){.timestamp = 1000 + i % 7,
							   .key = key ? slice_str(key) : slice_null(),
							   .value = slice_make(value, value_bytes),
							   .headers = slice_null()});
	return batch_build_finish(&b);
}

/* The head of the batch in `memory` as it should be wrong, with a checksum that fits. */
static struct slice with_head(void (*change)(struct batch_head *h))
{
	struct slice batch = build(3, 10, "k");
	struct batch_head h;

	assert_int_equal(batch_head_read(batch, &h), 0);
	change(&h);
	batch_head_put(memory, &h);
	return batch;
}

/* Bytes of the records changed, with a checksum that fits. */
static struct slice with_byte(struct slice batch, size_t at, uint8_t byte)
{
	struct batch_head h;

	memory[at] = byte;
	assert_int_equal(batch_head_read(batch, &h), 0);
	batch_head_put(memory, &h);
	return batch;
}

static struct slice compressed(struct slice batch, enum batch_codec to)
{
	static struct buf out;
	struct buf plain;

	buf_init(&plain, BATCH_PLAIN_BYTES_MAX);
	buf_fini(&out);
	buf_init(&out, BATCH_PLAIN_BYTES_MAX);
	assert_int_equal(batch_recode(codec, batch, to, 0, &plain, &out), 0);
	assert_true(out.len <= sizeof(memory));
	memcpy(memory, out.ptr, out.len);
	buf_fini(&plain);
	return slice_make(memory, out.len);
}

static uint8_t digit(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void what_other_clients_made_is_taken(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(codec_vectors) / sizeof(codec_vectors[0]); i++) {
		const char *hex = codec_vectors[i].hex;
		size_t n = strlen(hex) / 2;
		struct batch_verdict v;
		for (size_t j = 0; j < n; j++)
			memory[j] = (uint8_t)(digit(hex[2 * j]) << 4 | digit(hex[2 * j + 1]));
		assert_int_equal(verify(slice_make(memory, n), &v), 0);
		assert_int_equal(v.head.count, 12);
		assert_int_equal(v.max_timestamp, v.head.max_timestamp);
		assert_int_equal(v.keyless, 3);
		assert_int_equal(v.keyless_first[1], 4);
		assert_true(v.payload_bytes > 600 && v.payload_bytes < 1000);
	}
}

static void every_codec_is_walked(void **state)
{
	(void)state;
	for (unsigned to = 0; to <= BATCH_ZSTD; to++) {
		struct batch_verdict v;
		assert_int_equal(verify(compressed(build(500, 20, "key"), (enum batch_codec)to), &v), 0);
		assert_int_equal(v.head.count, 500);
		assert_int_equal(v.payload_bytes, 500 * 23);
		assert_int_equal(v.keyless, 0);
		assert_int_equal(v.max_timestamp, 1006);
	}
}

static void raise_count(struct batch_head *h)
{
	h->count++;
	h->last_offset_delta++;
}

static void lower_count(struct batch_head *h)
{
	h->count--;
	h->last_offset_delta--;
}

static void stretch_offsets(struct batch_head *h)
{
	h->last_offset_delta += 2;
}

static void claim_more_than_fit(struct batch_head *h)
{
	h->count = (uint32_t)INT32_MAX;
	h->last_offset_delta = INT32_MAX - 1;
}

static void move_base(struct batch_head *h)
{
	h->base_offset = 5;
}

static void make_control(struct batch_head *h)
{
	h->attributes |= BATCH_IS_CONTROL;
}

static void make_horizon(struct batch_head *h)
{
	h->attributes |= 0x40;
}

static void make_lost(struct batch_head *h)
{
	h->attributes |= BATCH_LOST;
}

static void make_append_time(struct batch_head *h)
{
	h->attributes |= BATCH_TIME_IS_APPEND;
}

static void choose_codec_five(struct batch_head *h)
{
	h->attributes |= 5;
}

static void claim_gzip(struct batch_head *h)
{
	h->attributes |= BATCH_GZIP;
}

static void make_transactional_without_producer(struct batch_head *h)
{
	h->attributes |= BATCH_IS_TRANSACTIONAL;
}

static void leave_out_sequence(struct batch_head *h)
{
	h->producer_id = 7;
	h->producer_epoch = 0;
}

static void leave_out_epoch(struct batch_head *h)
{
	h->producer_id = 7;
	h->base_sequence = 0;
}

static void what_head_and_records_disagree_about_is_refused(void **state)
{
	static const struct {
		void (*change)(struct batch_head *h);
		int err;
	} cases[] = {
		{raise_count, ERR_BAD_BATCH},
		{lower_count, ERR_BAD_BATCH},
		{stretch_offsets, ERR_BAD_BATCH},
		{claim_more_than_fit, ERR_BAD_BATCH},
		{move_base, ERR_BAD_BATCH},
		{make_control, ERR_BAD_BATCH},
		{make_horizon, ERR_BAD_BATCH},
		{make_lost, ERR_BAD_BATCH},
		{make_append_time, ERR_BAD_TIMESTAMP},
		{choose_codec_five, ERR_BAD_ENCODING},
		{claim_gzip, ERR_CORRUPT_BATCH},
		{make_transactional_without_producer, ERR_BAD_BATCH},
		{leave_out_sequence, ERR_BAD_BATCH},
		{leave_out_epoch, ERR_BAD_BATCH},
	};
	struct batch_verdict v;

	(void)state;
	assert_int_equal(verify(build(3, 10, "k"), &v), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (verify(with_head(cases[i].change), &v) != cases[i].err)
			fail_msg("case %zu: %s", i, v.detail);
	}
}

static void every_flipped_bit_is_refused_or_outside_the_checksum(void **state)
{
	struct batch_verdict v;

	(void)state;
	for (size_t bit = 0; bit < 8 * build(2, 20, "k").len; bit++) {
		struct slice batch = build(2, 20, "k");
		bool epoch = bit / 8 >= 12 && bit / 8 < 16; /* the leader's, which storing overwrites */
		flip_bit(memory, bit);
		assert_int_equal(verify(batch, &v) == 0, epoch);
	}
}

static void records_that_cannot_be_read_are_refused(void **state)
{
	struct batch_verdict v;
	struct slice batch = build(1, 10, "k");
	/* length, attributes, time, offset, key length, key, value length */
	size_t record = BATCH_HEAD_BYTES;

	(void)state;
	assert_int_equal(verify(with_byte(batch, record, 0x7e), &v),
			 ERR_BAD_BATCH); /* longer than there is */
	batch = build(1, 10, "k");
	assert_int_equal(verify(with_byte(batch, record, 0x01), &v), ERR_BAD_BATCH); /* negative */
	batch = build(1, 10, "k");
	assert_int_equal(verify(with_byte(batch, record + 3, 0x02), &v), ERR_BAD_BATCH); /* offset 1 */
	batch = build(1, 10, "k");
	assert_int_equal(verify(with_byte(batch, record + 4, 0x03), &v), ERR_BAD_BATCH); /* key length -2 */
	batch = build(1, 10, "k");
	assert_int_equal(verify(with_byte(batch, batch.len - 1, 0x02), &v),
			 ERR_BAD_BATCH); /* a header too many */
	for (size_t cut = 1; cut < 10; cut++) {
		struct batch_head h;
		batch = build(1, 10, "k");
		assert_int_equal(batch_head_read(batch, &h), 0);
		h.bytes -= (uint32_t)cut;
		batch_head_put(memory, &h);
		assert_int_equal(verify(slice_make(memory, h.bytes), &v), ERR_BAD_BATCH);
	}
}

static void offsets_of_plain_records_go_up_by_one(void **state)
{
	struct slice batch = build(2, 0, NULL);
	size_t second = BATCH_HEAD_BYTES + (batch.len - BATCH_HEAD_BYTES) / 2;
	struct batch_verdict v;

	(void)state;
	assert_int_equal(verify(batch, &v), 0);
	assert_int_equal(memory[second + 3], 2); /* its offset, 1 */
	assert_int_equal(verify(with_byte(batch, second + 3, 0), &v), ERR_BAD_BATCH);
}

static void bounds_are_held(void **state)
{
	struct batch_rules small = rules;
	struct slice batch = build(1, 99000, NULL);
	struct batch_verdict v;

	(void)state;
	assert_int_equal(verify(batch, &v), 0);
	assert_int_equal(verify(build(1, 100000, NULL), &v), ERR_BATCH_TOO_LARGE);
	assert_non_null(strstr(v.detail, "100000"));
	/* Compressed it is small enough, but nobody could read it plain. */
	batch = compressed(build(1, 100001, NULL), BATCH_ZSTD);
	assert_true(batch.len < 1000);
	assert_int_equal(verify(batch, &v), ERR_BATCH_TOO_LARGE);
	batch = compressed(build(40, 10000, NULL), BATCH_ZSTD);
	assert_int_equal(verify(batch, &v), ERR_BATCH_TOO_LARGE);
	small.plain_bytes_max = 500000;
	assert_int_equal(batch_verify(codec, batch, &small, &scratch, &v), 0);
}

/* A frame of zstd that repeats one byte: four bytes for 128 KiB, a gigabyte in 32 KiB. */
static size_t put_bomb(uint8_t *at, uint32_t blocks)
{
	static const uint8_t start[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58};
	uint8_t *begin = at;

	memcpy(at, start, sizeof(start));
	at += sizeof(start);
	for (uint32_t i = 0; i < blocks; i++) {
		uint32_t head = (128u << 10) << 3 | 1 << 1 | (i + 1 == blocks);
		*at++ = (uint8_t)head;
		*at++ = (uint8_t)(head >> 8);
		*at++ = (uint8_t)(head >> 16);
		*at++ = 0;
	}
	return (size_t)(at - begin);
}

static void what_inflates_to_gigabytes_is_refused_in_little_memory(void **state)
{
	size_t n = put_bomb(memory + BATCH_HEAD_BYTES, 16384); /* 2 GiB */
	struct batch_head h = {.bytes = (uint32_t)(BATCH_HEAD_BYTES + n),
			       .attributes = BATCH_ZSTD,
			       .producer_id = -1,
			       .producer_epoch = -1,
			       .base_sequence = -1,
			       .count = 1};
	struct batch_verdict v;

	(void)state;
	assert_true(h.bytes < rules.bytes_max);
	batch_head_put(memory, &h);
	assert_int_equal(verify(slice_make(memory, h.bytes), &v), ERR_BATCH_TOO_LARGE);
	assert_true(scratch.cap <= 2 * rules.plain_bytes_max);
}

static void records_without_a_key_are_named(void **state)
{
	struct batch_verdict v;

	(void)state;
	assert_int_equal(verify(build(100, 1, NULL), &v), 0);
	assert_int_equal(v.keyless, 100);
	for (uint32_t i = 0; i < BATCH_KEYLESS_MAX; i++)
		assert_int_equal(v.keyless_first[i], i);
	assert_int_equal(verify(build(100, 1, ""), &v), 0);
	assert_int_equal(v.keyless, 0); /* an empty key is one */
}

static void the_highest_timestamp_is_that_of_the_records(void **state)
{
	struct slice batch = build(3, 1, NULL);
	struct batch_verdict v;

	(void)state;
	assert_int_equal(batch_head_read(batch, &v.head), 0);
	batch_put_max_timestamp(memory, &v.head, 5);
	assert_int_equal(verify(batch, &v), 0);
	assert_int_equal(v.head.max_timestamp, 5);
	assert_int_equal(v.max_timestamp, 1002);
	batch_put_max_timestamp(memory, &v.head, v.max_timestamp);
	assert_int_equal(verify(batch, &v), 0);
	assert_int_equal(v.head.max_timestamp, 1002);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_other_clients_made_is_taken),
		cmocka_unit_test(every_codec_is_walked),
		cmocka_unit_test(what_head_and_records_disagree_about_is_refused),
		cmocka_unit_test(every_flipped_bit_is_refused_or_outside_the_checksum),
		cmocka_unit_test(records_that_cannot_be_read_are_refused),
		cmocka_unit_test(offsets_of_plain_records_go_up_by_one),
		cmocka_unit_test(bounds_are_held),
		cmocka_unit_test(what_inflates_to_gigabytes_is_refused_in_little_memory),
		cmocka_unit_test(records_without_a_key_are_named),
		cmocka_unit_test(the_highest_timestamp_is_that_of_the_records),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
