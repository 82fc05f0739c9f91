/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First byte 0: the rest is a text. Else the rest is the inside of a cursor, to
 * which base64 and a right checksum are added, so that the fuzzer gets past
 * them. What is read is written and must read as the same again.
 */
#include "base/base64.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "deliver/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void look_at(struct slice text)
{
	struct arena arena;
	struct buf scratch, out;
	struct cursor c, again;

	arena_init(&arena, 4096, 1 << 22);
	buf_init(&scratch, 1 << 20);
	buf_init(&out, 1 << 20);
	if (cursor_parse(text, &arena, &c, NULL) == 0) {
		CHECK(cursor_put(&c, &scratch, &out) == 0);
		CHECK(cursor_parse(buf_slice(&out), &arena, &again, NULL) == 0);
		CHECK(again.kind == c.kind && again.time_ms == c.time_ms);
		CHECK(again.topic_count == c.topic_count && again.place_count == c.place_count);
		for (uint32_t i = 0; i < c.place_count; i++)
			CHECK(again.places[i].partition == c.places[i].partition &&
			      again.places[i].offset == c.places[i].offset);
	}
	buf_fini(&out);
	buf_fini(&scratch);
	arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	uint8_t inside[4096];
	char text[8192];
	uint32_t crc;

	if (n == 0)
		return 0;
	if (bytes[0] == 0 || n > 4000) {
		look_at(slice_make(bytes + 1, n - 1));
		return 0;
	}
	inside[0] = 1;
	memcpy(inside + 1, bytes + 1, n - 1);
	crc = crc32c(0, inside, n);
	inside[n] = (uint8_t)(crc >> 16);
	inside[n + 1] = (uint8_t)(crc >> 8);
	inside[n + 2] = (uint8_t)crc;
	look_at(slice_make(text, base64_encode(BASE64_URL, slice_make(inside, n + 3), text)));
	return 0;
}
