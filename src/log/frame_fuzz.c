/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "log/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(struct slice rest)
{
	static struct seen_range ranges[SEEN_RANGES_MAX];
	struct frame_section s;
	struct seen_key key;
	uint32_t count;

	while (frame_next(&rest, &s) == 1)
		while (s.kind == FRAME_KEYS && frame_key_next(&s.body, &key, ranges, &count) == 1)
			;
}

/* The bytes as a frame; then as the sections of one whose checksum is right, so that the fuzzer gets past it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frame_head head = {.generation = 1, .sequence = 2, .durable = 1};
	uint8_t *frame = malloc(size + FRAME_HEAD_BYTES);

	if (!frame)
		return 0;
	if (frame_check(slice_make(data, size), &head) == 0)
		walk(slice_make(data + FRAME_HEAD_BYTES, head.bytes - FRAME_HEAD_BYTES));
	if (size)
		memcpy(frame + FRAME_HEAD_BYTES, data, size);
	head = (struct frame_head){.generation = 1,
				   .sequence = 2,
				   .durable = 1,
				   .bytes = (uint32_t)size + FRAME_HEAD_BYTES};
	frame_seal(frame, &head);
	if (frame_check(slice_make(frame, head.bytes), &head))
		abort();
	walk(slice_make(frame + FRAME_HEAD_BYTES, size));
	free(frame);
	return 0;
}
