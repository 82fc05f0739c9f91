/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches as clients might send them. The first byte chooses the bounds and whether
 * length, checksum and magic are put right, so that the fuzzer gets behind them. What is
 * accepted can be inflated and walked by every reader, and is within the bounds.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/wire.h"
#include "ingest/batch_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define AT_LENGTH 8u
#define AT_MAGIC 16u
#define AT_MAX_TIMESTAMP 35u

static struct codec *codec;

static void mend(uint8_t *batch, size_t size)
{
	struct batch_head head;

	memset(batch, 0, AT_LENGTH);
	(void)wire_put_u32(batch + AT_LENGTH, (uint32_t)(size - BATCH_LOG_OVERHEAD));
	batch[AT_MAGIC] = 2;
	if (batch_head_read(slice_make(batch, size), &head) == 0)
		batch_put_max_timestamp(batch, &head, (int64_t)wire_load_u64(batch + AT_MAX_TIMESTAMP));
}

static void check_accepted(struct slice batch, const struct batch_rules *rules, const struct batch_verdict *v)
{
	struct batch_record r;
	struct batch_walk walk;
	struct batch_head head;
	struct slice plain;
	struct buf again;
	uint32_t count = 0;
	int found;

	CHECK(batch_check(batch, &head) == 0 && head.bytes == batch.len && head.count == v->head.count);
	CHECK(head.count > 0 && head.base_offset == 0 && v->keyless <= head.count);
	buf_init(&again, rules->plain_bytes_max + BATCH_HEAD_BYTES);
	CHECK(batch_inflate(codec, batch, &again, &plain) == 0);
	CHECK(batch_walk_start(&walk, plain) == 0);
	while ((found = batch_walk_next(&walk, &r)) == 1) {
		CHECK(r.offset == count++ && r.timestamp <= v->max_timestamp);
		CHECK(r.key.len + r.value.len + r.headers.len <= rules->record_bytes_max);
	}
	CHECK(found == 0 && count == head.count);
	buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t bounds[] = {100, 1000, 20000, 1u << 20};
	struct batch_rules rules;
	struct batch_verdict v;
	struct buf scratch;
	uint8_t *batch;
	int rc;

	if (size < 1)
		return 0;
	if (!codec)
		CHECK(codec_new(&codec) == 0);
	buf_init(&scratch, 0);
	rules = (struct batch_rules){.bytes_max = bounds[data[0] >> 6],
				     .plain_bytes_max = bounds[data[0] >> 4 & 3],
				     .record_bytes_max = bounds[data[0] >> 2 & 3]};
	batch = malloc(size);
	CHECK(batch);
	memcpy(batch, data + 1, size - 1);
	if (size - 1 >= BATCH_HEAD_BYTES && data[0] & 1)
		mend(batch, size - 1);
	rc = batch_verify(codec, slice_make(batch, size - 1), &rules, &scratch, &v);
	if (rc == 0)
		check_accepted(slice_make(batch, size - 1), &rules, &v);
	else
		CHECK(rc < 0 && v.detail[0]);
	free(batch);
	buf_fini(&scratch);
	return 0;
}
