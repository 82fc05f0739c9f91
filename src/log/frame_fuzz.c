/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "log/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read, written again: the same bytes, so nothing of a key was lost on the way. */
static void check_key(const struct seen_key *key, const struct seen_range *ranges, uint32_t count,
		      struct slice from)
{
	size_t n = FRAME_KEY_BYTES + (size_t)count * FRAME_RANGE_BYTES;
	uint8_t *bytes = malloc(FRAME_KEYS_OVERHEAD + n);
	struct slice rest = slice_make(bytes, FRAME_KEYS_OVERHEAD + n);
	struct frame_section s;

	CHECK(bytes);
	CHECK(frame_put_key(frame_put_keys_head(bytes, n), key, ranges, count) == rest.ptr + rest.len);
	CHECK(frame_next(&rest, &s) == 1 && s.kind == FRAME_KEYS);
	CHECK(slice_eq(s.body, slice_make(from.ptr, n)));
	free(bytes);
}

static void check_batch(const struct frame_section *s)
{
	uint8_t *bytes = malloc(FRAME_BATCH_OVERHEAD + s->body.len);
	struct slice rest = slice_make(bytes, FRAME_BATCH_OVERHEAD + s->body.len);
	struct frame_section again;
	uint8_t *at;

	CHECK(bytes);
	at = frame_put_batch_head(bytes, &s->topic, s->partition, s->body.len);
	CHECK(at == bytes + FRAME_BATCH_OVERHEAD);
	memcpy(at, s->body.ptr, s->body.len);
	CHECK(frame_next(&rest, &again) == 1 && again.kind == FRAME_BATCH && again.partition == s->partition);
	CHECK(memcmp(&again.topic, &s->topic, sizeof(s->topic)) == 0 && slice_eq(again.body, s->body));
	free(bytes);
}

static void walk(struct slice rest)
{
	static struct seen_range ranges[SEEN_RANGES_MAX];
	struct frame_section s;
	struct seen_key key;
	uint32_t count;

	while (frame_next(&rest, &s) == 1) {
		struct slice from = s.body;

		if (s.kind == FRAME_BATCH)
			check_batch(&s);
		for (; s.kind == FRAME_KEYS && frame_key_next(&s.body, &key, ranges, &count) == 1;
		     from = s.body)
			check_key(&key, ranges, count, from);
	}
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
