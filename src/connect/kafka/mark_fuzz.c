/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever stands in a checkpoint: it is refused, or written again it is the same; names of parts and plans likewise. */
#include "base/check.h"
#include "connect/kafka/mark.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_make(data, size), rest, name;
	uint8_t again[KAFKA_MARK_BYTES];
	struct kafka_mark mark;
	struct kafka_past past;
	struct buf json;

	buf_init(&json, 1u << 16);
	if (kafka_mark_read(in, &mark)) {
		kafka_mark_write(&mark, again);
		CHECK(slice_eq(in, slice_make(again, sizeof(again))));
		kafka_mark_show(&mark, &json);
	}
	if (kafka_past_read(in, &past)) {
		rest = past.names;
		while (kafka_past_next(&rest, &name))
			CHECK(kafka_past_has(&past, name));
	}
	buf_fini(&json);
	return 0;
}
