/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in a row is read without passing its end, and what was read is written back as the same. */
#include "base/check.h"
#include "connect/source_row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct source_state_row state, state_again;
	struct source_part_row part, part_again;
	struct source_run_row run, run_again;
	struct source_row_key key, key_again;
	struct slice bytes = slice_make(data, size);
	struct buf b;

	buf_init(&b, 1u << 24);
	if (source_row_read_key(bytes, &key) == 0) {
		CHECK(source_row_put_key(&b, &key) == 0 &&
		      source_row_read_key(buf_slice(&b), &key_again) == 0);
		CHECK(slice_eq(buf_slice(&b), bytes) && slice_eq(key.part, key_again.part));
		buf_clear(&b);
	}
	if (source_row_read_state(bytes, &state) == 0) {
		CHECK(source_row_put_state(&b, &state) == 0 &&
		      source_row_read_state(buf_slice(&b), &state_again) == 0);
		CHECK(state.records == state_again.records && slice_eq(state.adaptive, state_again.adaptive));
		buf_clear(&b);
	}
	if (source_row_read_part(bytes, &part) == 0) {
		CHECK(source_row_put_part(&b, &part) == 0 &&
		      source_row_read_part(buf_slice(&b), &part_again) == 0);
		CHECK(part.total == part_again.total &&
		      slice_eq(part.checkpoint.bytes, part_again.checkpoint.bytes));
		buf_clear(&b);
	}
	if (source_row_read_run(bytes, &run) == 0) {
		CHECK(source_row_put_run(&b, &run) == 0 &&
		      source_row_read_run(buf_slice(&b), &run_again) == 0);
		CHECK(run.rate == run_again.rate && slice_eq(run.to, run_again.to) &&
		      slice_eq(run.error, run_again.error));
	}
	buf_fini(&b);
	return 0;
}
