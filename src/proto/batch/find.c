/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/batch/find.h"

#include "proto/batch/batch.h"

static int walk_to(struct slice plain, int64_t from, int64_t time_ms, struct batch_found *out)
{
	struct batch_record r;
	struct batch_walk walk;

	if (batch_walk_start(&walk, plain))
		return 1;
	while (batch_walk_next(&walk, &r) == 1) {
		if (r.offset >= from && r.timestamp >= time_ms) {
			*out = (struct batch_found){.offset = r.offset, .timestamp = r.timestamp};
			return 0;
		}
	}
	return 1;
}

/* Memory for the one call: such a search is rare, and meets one such batch as a rule. */
static int inflate_and_walk(struct slice batch, int64_t from, int64_t time_ms, struct batch_found *out)
{
	struct codec *codec;
	struct slice plain;
	struct buf bytes;
	int rc = codec_new(&codec);

	if (rc)
		return rc;
	buf_init(&bytes, BATCH_PLAIN_BYTES_MAX);
	rc = batch_inflate(codec, batch, &bytes, &plain);
	if (rc == 0)
		rc = walk_to(plain, from, time_ms, out);
	else if (rc != ERR_NOMEM)
		rc = 1;
	buf_fini(&bytes);
	codec_free(codec);
	return rc;
}

int batch_find(struct slice batch, int64_t from, int64_t time_ms, struct batch_found *out)
{
	struct batch_head head;

	if (batch_head_read(batch, &head) || batch.len < head.bytes)
		return 1;
	batch = slice_make(batch.ptr, head.bytes);
	if (batch_codec(&head) == BATCH_PLAIN)
		return walk_to(batch, from, time_ms, out);
	return inflate_and_walk(batch, from, time_ms, out);
}
