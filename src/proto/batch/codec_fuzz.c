/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One byte says what the rest is: a compressed stream of one of the codecs, plain
 * bytes to compress with one, or a whole batch. The bound on the output is small, so
 * that it is met often; what comes out may never be more, nor the memory held.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "proto/batch/batch.h"

#define OUT_MAX 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Inflates twice, the second time with just the room it needs and with one byte less. */
static void inflate(struct codec *c, enum batch_codec kind, struct slice in)
{
	struct buf out, again;

	buf_init(&out, OUT_MAX);
	if (codec_inflate(c, kind, in, &out) == 0) {
		CHECK(out.len <= OUT_MAX && out.cap <= OUT_MAX);
		buf_init(&again, out.len ? out.len : 1);
		CHECK(codec_inflate(c, kind, in, &again) == 0);
		CHECK(slice_eq(buf_slice(&out), buf_slice(&again)));
		buf_fini(&again);
		buf_init(&again, out.len ? out.len - 1 : 0);
		if (out.len)
			CHECK(codec_inflate(c, kind, in, &again) == ERR_LIMIT && again.len == 0);
		buf_fini(&again);
	} else {
		CHECK(out.len == 0);
	}
	buf_fini(&out);
}

static void there_and_back(struct codec *c, enum batch_codec kind, int level, struct slice in)
{
	struct buf packed, out;

	buf_init(&packed, in.len * 2 + 131072);
	buf_init(&out, in.len ? in.len : 1);
	CHECK(codec_deflate(c, kind, level, in, &packed) == 0);
	CHECK(codec_inflate(c, kind, buf_slice(&packed), &out) == 0);
	CHECK(slice_eq(in, buf_slice(&out)));
	buf_fini(&out);
	buf_fini(&packed);
}

static size_t walk(struct slice plain)
{
	struct batch_walk walk;
	struct batch_record r;
	size_t n = 0;

	if (batch_walk_start(&walk, plain))
		return 0;
	while (batch_walk_next(&walk, &r) == 1)
		n++;
	return n;
}

/* What a batch holds stays, in whatever codec it is written again. */
static void batch(struct codec *c, enum batch_codec to, struct slice in)
{
	struct buf plain_bytes, again_bytes, scratch, packed;
	struct slice plain, again;
	struct batch_head head, was;

	buf_init(&plain_bytes, OUT_MAX);
	buf_init(&again_bytes, OUT_MAX);
	buf_init(&scratch, OUT_MAX);
	buf_init(&packed, OUT_MAX * 4);
	if (batch_inflate(c, in, &plain_bytes, &plain) == 0 && plain.len <= OUT_MAX) {
		size_t n = walk(plain);
		CHECK(batch_head_read(in, &was) == 0);
		CHECK(batch_recode(c, in, to, 1, &scratch, &packed) == 0);
		CHECK(batch_check(buf_slice(&packed), &head) == 0 && head.bytes == packed.len);
		CHECK(batch_codec(&head) == (was.count ? to : BATCH_PLAIN) &&
		      head.base_offset == was.base_offset && head.count == was.count);
		CHECK(head.producer_id == was.producer_id && head.max_timestamp == was.max_timestamp);
		CHECK(batch_inflate(c, buf_slice(&packed), &again_bytes, &again) == 0);
		CHECK(slice_eq(slice_from(plain, BATCH_HEAD_BYTES), slice_from(again, BATCH_HEAD_BYTES)));
		CHECK(walk(again) == n);
	}
	buf_fini(&plain_bytes);
	buf_fini(&again_bytes);
	buf_fini(&scratch);
	buf_fini(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct codec *c; /* kept: that a run leaves nothing behind for the next is part of the test */
	struct slice rest = slice_make(data + 1, size ? size - 1 : 0);
	enum batch_codec kind;

	if (size == 0 || (!c && codec_new(&c)))
		return 0;
	kind = (enum batch_codec)((data[0] & 15) % 5);
	switch (data[0] >> 4) {
	case 0:
		inflate(c, kind, rest);
		break;
	case 1:
		there_and_back(c, kind, (data[0] & 15) / 5, rest);
		break;
	default:
		batch(c, kind, rest);
		break;
	}
	return 0;
}
