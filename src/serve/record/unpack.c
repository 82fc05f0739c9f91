/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is kept is known by topic, partition and the head it has in the log,
 * base offset and checksum among it. Not by the partition's address, which another may
 * get: two batches with one checksum are easily made, and what one tenant
 * wrote would be read by another.
 */
#include "serve/record/unpack.h"

#define BYTES_KEPT (4u << 20)

void unpacker_init(struct unpacker *u)
{
	*u = (struct unpacker){0};
	buf_init(&u->bytes, BATCH_PLAIN_BYTES_MAX);
}

void unpacker_fini(struct unpacker *u)
{
	codec_free(u->codec);
	buf_fini(&u->bytes);
}

static bool keeps(const struct unpacker *u, const struct reader_view *view)
{
	return u->plain.ptr && u->partition == view->number && topic_id_eq(&u->topic, &view->topic->id) &&
	       memcmp(u->head, view->batches.ptr, sizeof(u->head)) == 0;
}

/* The front of view->batches is a whole batch. */
static int inflate(struct unpacker *u, const struct reader_view *view)
{
	int rc = 0;

	u->plain = slice_null();
	if (!u->codec)
		rc = codec_new(&u->codec);
	if (rc == 0)
		rc = batch_inflate(u->codec, view->batches, &u->bytes, &u->plain);
	u->inflated += u->bytes.len;
	if (rc) {
		u->plain = slice_null();
		return rc == ERR_NOMEM ? rc : ERR_CORRUPT;
	}
	u->topic = view->topic->id;
	u->partition = view->number;
	memcpy(u->head, view->batches.ptr, sizeof(u->head));
	return 0;
}

int unpacker_walk(struct unpacker *u, const struct reader_view *view, struct batch_walk *walk)
{
	struct batch_head head;
	int rc;

	if (batch_head_read(view->batches, &head) || head.bytes > view->batches.len)
		return ERR_CORRUPT;
	if (batch_codec(&head) == BATCH_PLAIN)
		return batch_walk_start(walk, view->batches) ? ERR_CORRUPT : 0;
	rc = keeps(u, view) ? 0 : inflate(u, view);
	if (rc == 0)
		rc = batch_walk_start(walk, u->plain) ? ERR_CORRUPT : 0;
	return rc;
}

void unpacker_trim(struct unpacker *u)
{
	if (u->bytes.cap <= BYTES_KEPT)
		return;
	buf_fini(&u->bytes);
	u->plain = slice_null();
}
