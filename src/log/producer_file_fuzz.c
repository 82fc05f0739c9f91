/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of producers as its rows: what can be read is written again, and read
 * again it is the same; and it bears questions and batches.
 */
#include <stdlib.h>

#include "base/check.h"
#include "log/producer_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct hash_key key = {1, 2};
static struct producer_counts counts;

static void check_again(const struct producer_table *table)
{
	struct producer_table again;
	struct buf first, second;
	struct wire_reader r;

	buf_init(&first, PRODUCER_FILE_BYTES_MAX);
	buf_init(&second, PRODUCER_FILE_BYTES_MAX);
	producer_table_init(&again, &counts, &key);
	producer_table_write(table, &first);
	r = wire_reader_make(buf_slice(&first));
	CHECK(producer_table_read(&again, &r) == 0 && wire_left(&r) == 0);
	CHECK(again.count == table->count && again.aborted_count == table->aborted_count);
	producer_table_write(&again, &second);
	CHECK(first.len == second.len);
	producer_table_fini(&again);
	buf_fini(&first);
	buf_fini(&second);
}

/* Offsets from zero on, across what was read. */
static void ask(struct producer_table *table)
{
	const struct producer_batch *found;
	struct aborted_txn txns[4];
	struct batch_head head = {.count = 1,
				  .attributes = BATCH_IS_TRANSACTIONAL,
				  .bytes = BATCH_HEAD_BYTES};

	for (int64_t at = 0; at < 64; at++) {
		uint32_t n = producer_table_aborted(table, at, at + 1, txns, 4);
		head.base_offset = at;
		head.producer_id = n ? txns[0].producer_id : at;
		CHECK(!producer_table_hides(table, &head) || n > 0);
		if (producer_table_find(table, head.producer_id))
			(void)producer_state_check(&producer_table_find(table, head.producer_id)->state,
						   &head, &found);
	}
	producer_table_trim(table, 32);
	producer_table_expire(table, 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_make(data, size);
	struct producer_file_row row;

	while (producer_file_next(&rest, &row) == 1) {
		struct producer_table table;
		producer_table_init(&table, &counts, &key);
		if (producer_table_read(&table, &row.table) == 0) {
			check_again(&table);
			ask(&table);
		}
		producer_table_fini(&table);
	}
	CHECK(atomic_load(&counts.producers) == 0 && atomic_load(&counts.aborted) == 0 &&
	      atomic_load(&counts.open) == 0);
	return 0;
}
