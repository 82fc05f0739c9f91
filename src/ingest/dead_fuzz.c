/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of a record as anybody may have produced them, read as a dead letter; what was read can be written, and reads the same. */
#include "base/check.h"
#include "ingest/dead.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct batch_record r = {.value = SLICE_LIT("v"),
				 .headers = slice_make(data, size),
				 .header_count = 1};
	struct dead_letter d, again;
	struct log_record record;
	struct arena arena;

	dead_letter_read(&r, &d);
	if (d.from == DEAD_FROM_UNKNOWN)
		return 0;
	arena_init(&arena, 4096, 16u << 20);
	CHECK(dead_letter_record(&d, &arena, &record) == 0);
	r.headers = record.headers;
	r.header_count = record.header_count;
	dead_letter_read(&r, &again);
	CHECK(again.from == d.from && again.partition == d.partition && again.at_ms == d.at_ms);
	CHECK(slice_eq(again.headers, d.headers) && slice_eq(again.topic, d.topic));
	CHECK(slice_eq(again.idempotency_key, d.idempotency_key));
	arena_fini(&arena);
	return 0;
}
