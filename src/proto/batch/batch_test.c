/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/flip_test.h"
#include "proto/batch/batch.h"
#include "proto/batch/rebuild.h"

static struct slice build_three(uint8_t *memory)
{
	struct batch_build b;
	uint8_t headers[32];
	uint8_t *end = batch_header_put(headers, SLICE_LIT("h"), SLICE_LIT("v"));

	batch_build_start(&b, memory, 41);
	batch_build_put(&b, &(struct batch_record){.timestamp = 1000, .value = SLICE_LIT("one")});
	batch_build_put(&b, &(struct batch_record){.timestamp = 900, .key = SLICE_LIT("k")});
	batch_build_put(&b, &(struct batch_record){.timestamp = 5000,
						   .key = SLICE_LIT(""),
						   .value = SLICE_LIT("3"),
						   .headers = slice_make(headers, (size_t)(end - headers)),
						   .header_count = 1});
	return batch_build_finish(&b);
}

static void a_built_batch_reads_back(void **state)
{
	uint8_t memory[512];
	struct slice batch = build_three(memory);
	struct batch_head head;
	struct batch_walk walk;
	struct batch_record r;
	struct slice name, value;

	(void)state;
	assert_int_equal(batch_check(batch, &head), 0);
	assert_int_equal(head.base_offset, 41);
	assert_int_equal(head.count, 3);
	assert_int_equal(head.max_timestamp, 5000);
	assert_int_equal(batch_last_offset(&head), 43);
	assert_int_equal(batch_walk_start(&walk, batch), 0);
	assert_int_equal(batch_walk_next(&walk, &r), 1);
	assert_null(r.key.ptr);
	assert_true(slice_eq_str(r.value, "one"));
	assert_int_equal(batch_walk_next(&walk, &r), 1);
	assert_int_equal(r.timestamp, 900);
	assert_null(r.value.ptr);
	assert_int_equal(batch_walk_next(&walk, &r), 1);
	assert_int_equal(r.offset, 43);
	assert_non_null(r.key.ptr);
	assert_int_equal(r.header_count, 1);
	assert_int_equal(batch_header_next(&r.headers, &name, &value), 1);
	assert_true(slice_eq_str(name, "h") && slice_eq_str(value, "v"));
	assert_int_equal(batch_header_next(&r.headers, &name, &value), 0);
	assert_int_equal(batch_walk_next(&walk, &r), 0);
}

/* As Kafka writes it: 78 bytes, key (version 0, type), value (version 0, coordinator's epoch). */
static void a_marker_is_a_control_batch_of_one_record(void **state)
{
	static const uint8_t record[] = {0x20, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 7, 0};
	struct batch_marker m = {.producer_id = 4711,
				 .producer_epoch = 3,
				 .coordinator_epoch = 7,
				 .timestamp_ms = 1700000000000,
				 .commit = true};
	uint8_t memory[BATCH_MARKER_BYTES];
	struct batch_marker back;
	struct batch_head head;

	(void)state;
	assert_ptr_equal(batch_put_marker(memory, &m), memory + BATCH_MARKER_BYTES);
	assert_int_equal(batch_check(slice_make(memory, sizeof(memory)), &head), 0);
	assert_int_equal(head.attributes, BATCH_IS_TRANSACTIONAL | BATCH_IS_CONTROL);
	assert_int_equal(head.producer_id, 4711);
	assert_int_equal(head.producer_epoch, 3);
	assert_int_equal(head.base_sequence, -1);
	assert_int_equal(batch_last_sequence(&head), -1);
	assert_memory_equal(memory + BATCH_HEAD_BYTES, record, sizeof(record));
	assert_int_equal(batch_marker_read(slice_make(memory, sizeof(memory)), &back), 1);
	assert_true(back.commit && back.producer_id == 4711 && back.producer_epoch == 3 &&
		    back.coordinator_epoch == 7 && back.timestamp_ms == m.timestamp_ms);
	m.commit = false;
	(void)batch_put_marker(memory, &m);
	assert_int_equal(batch_marker_read(slice_make(memory, sizeof(memory)), &back), 1);
	assert_false(back.commit);
	memory[BATCH_HEAD_BYTES + 8] = 9; /* a kind that is not known */
	assert_int_equal(batch_marker_read(slice_make(memory, sizeof(memory)), &back), 0);
}

static void a_stored_batch_gets_place_and_time(void **state)
{
	uint8_t memory[512];
	struct slice batch = build_three(memory);
	struct batch_head head;
	struct batch_walk walk;
	struct batch_record r;

	(void)state;
	memory[15] = 9; /* leader epoch */
	batch_place(memory, 1000);
	assert_int_equal(memory[15], 0);
	assert_int_equal(batch_check(batch, &head), 0);
	assert_int_equal(head.base_offset, 1000);
	batch_put_append_time(memory, &head, 7777);
	assert_int_equal(batch_check(batch, &head), 0);
	assert_int_equal(head.max_timestamp, 7777);
	assert_int_equal(head.base_timestamp, 1000);
	assert_int_equal(batch_walk_start(&walk, batch), 0);
	while (batch_walk_next(&walk, &r) == 1)
		assert_int_equal(r.timestamp, 7777);
}

static void sequences_begin_again_behind_the_highest(void **state)
{
	struct batch_head head = {.base_sequence = INT32_MAX - 1, .last_offset_delta = 3};

	(void)state;
	assert_int_equal(batch_last_sequence(&head), 1);
	head.last_offset_delta = 1;
	assert_int_equal(batch_last_sequence(&head), INT32_MAX);
	assert_int_equal(batch_sequence_after(INT32_MAX, 1), 0);
}

static void a_rebuilt_batch_keeps_place_and_times(void **state)
{
	uint8_t memory[512];
	struct slice batch = build_three(memory);
	struct batch_head was, head;
	struct batch_rebuild b;
	struct batch_walk walk;
	struct batch_record r;
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	assert_int_equal(batch_head_read(batch, &was), 0);
	assert_int_equal(batch_walk_start(&walk, batch), 0);
	assert_int_equal(batch_rebuild_start(&b, &out, &was, 99999), 0);
	while (batch_walk_next(&walk, &r) == 1)
		if (r.offset == 42)
			assert_int_equal(batch_rebuild_put(&b, &r), 0);
	batch = batch_rebuild_finish(&b);
	assert_int_equal(batch_check(batch, &head), 0);
	assert_int_equal(head.bytes, batch.len);
	assert_int_equal(head.base_offset, was.base_offset);
	assert_int_equal(batch_last_offset(&head), batch_last_offset(&was));
	assert_int_equal(head.count, 1);
	assert_int_equal(head.max_timestamp, 900);
	assert_true(batch_has_horizon(&head));
	assert_int_equal(head.base_timestamp, 99999);
	assert_int_equal(batch_walk_start(&walk, batch), 0);
	assert_int_equal(batch_walk_next(&walk, &r), 1);
	assert_int_equal(r.offset, 42);
	assert_int_equal(r.timestamp, 900);
	assert_true(slice_eq_str(r.key, "k") && !r.value.ptr);
	assert_int_equal(batch_walk_next(&walk, &r), 0);
	assert_int_equal(batch_rebuild_start(&b, &out, &was, -1), 0);
	batch_rebuild_undo(&b);
	assert_int_equal(out.len, batch.len);
	buf_fini(&out);
}

static void every_flipped_bit_is_seen_or_outside_the_crc(void **state)
{
	uint8_t memory[512];
	struct slice batch = build_three(memory);
	struct batch_head head;

	(void)state;
	for (size_t bit = 16 * 8; bit < batch.len * 8; bit++) {
		flip_bit(memory, bit);
		assert_int_not_equal(batch_check(batch, &head), 0);
		flip_bit(memory, bit);
	}
	assert_int_equal(batch_check(batch, &head), 0);
}

static void an_empty_batch_stands_for_offsets_and_has_no_records(void **state)
{
	uint8_t memory[BATCH_HEAD_BYTES];
	int64_t base = (int64_t)1 << 40;
	struct slice batch = slice_make(memory, sizeof(memory));
	struct batch_head head;
	struct batch_walk walk;
	struct batch_record r;

	(void)state;
	assert_ptr_equal(batch_put_empty(memory, base, base + BATCH_OFFSETS_MAX - 1, BATCH_LOST, 77),
			 memory + sizeof(memory));
	assert_int_equal(batch_check(batch, &head), 0);
	assert_int_equal(head.bytes, BATCH_HEAD_BYTES);
	assert_true(batch_is_empty(&head) && batch_is_lost(&head));
	assert_true(batch_last_offset(&head) == base + BATCH_OFFSETS_MAX - 1);
	assert_int_equal(head.max_timestamp, 77);
	assert_int_equal(batch_walk_start(&walk, batch), 0);
	assert_int_equal(batch_walk_next(&walk, &r), 0);

	(void)batch_put_empty(memory, 7, 7, 0, -1);
	assert_int_equal(batch_check(batch, &head), 0);
	assert_true(batch_is_empty(&head) && !batch_is_lost(&head));
	assert_int_equal(batch_last_offset(&head), 7);
}

static void a_cut_batch_asks_for_more(void **state)
{
	uint8_t memory[512];
	struct slice batch = build_three(memory);
	struct batch_head head;

	(void)state;
	for (size_t n = 0; n < batch.len; n++)
		assert_int_equal(batch_check(slice_make(memory, n), &head), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_built_batch_reads_back),
		cmocka_unit_test(a_marker_is_a_control_batch_of_one_record),
		cmocka_unit_test(a_stored_batch_gets_place_and_time),
		cmocka_unit_test(sequences_begin_again_behind_the_highest),
		cmocka_unit_test(a_rebuilt_batch_keeps_place_and_times),
		cmocka_unit_test(every_flipped_bit_is_seen_or_outside_the_crc),
		cmocka_unit_test(an_empty_batch_stands_for_offsets_and_has_no_records),
		cmocka_unit_test(a_cut_batch_asks_for_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
