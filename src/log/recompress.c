/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed segments that are old enough are rewritten with their batches in zstd, one
 * segment at a time. A batch that does not become smaller stays as it was; so one in
 * which nothing does costs a read, and that once: the segment is marked, which the
 * checkpoint keeps.
 *
 * Batches are not put together: one that many records share compresses well, one of a
 * single record hardly does. Rejected, since a batch is what a producer numbers and what readers
 * share encoded.
 */
#include "log/core.h"

#include "base/mem.h"
#include "log/rewrite.h"

#define LEVEL 0 /* the library's default */
#define RETRY_MS 10000

struct recompression {
	struct partition *partition;
	struct segment *segment; /* shared */
	struct codec *codec;
	struct buf plain;
	struct rewrite *rewrite;
};

void recompress_forget(struct log *l, const struct partition *p)
{
	struct recompression *r = l->recompression;

	if (!r || (p && r->partition != p))
		return;
	rewrite_free(r->rewrite);
	segment_unref(r->segment);
	codec_free(r->codec);
	buf_fini(&r->plain);
	mem_free(r);
	l->recompression = NULL;
}

/* ---- what is due ---- */

struct choice {
	int64_t now_ms, now_ns, due_ms;
	struct partition *partition;
	struct segment *segment; /* shared */
	bool wants_checkpoint;   /* one is old enough, and in no checkpoint yet */
};

static void look_at_segment(struct choice *c, struct partition *p, struct segment *s)
{
	int64_t at = atomic_load(&s->last_append_ms) + p->options.recompress_ms;

	if (s->packed || s->damaged)
		return;
	if (at > c->now_ms) {
		if (at < c->due_ms)
			c->due_ms = at;
	} else if (s->dirty) {
		c->wants_checkpoint = true;
	} else {
		c->partition = p;
		c->segment = segment_ref(s);
	}
}

/* The first that is old enough and sealed, and in the checkpoint. */
static int look_at_partition(void *ctx, struct partition *p)
{
	struct choice *c = ctx;

	if (atomic_load(&p->dropped) || p == p->log->internal)
		return 0;
	(void)pthread_mutex_lock(&p->lock);
	if (p->options.recompress_ms > 0 && p->retry_ns <= c->now_ns)
		for (uint32_t i = 0; i + 1 < p->segment_count && !c->segment; i++)
			look_at_segment(c, p, p->segments[i]);
	(void)pthread_mutex_unlock(&p->lock);
	return c->segment != NULL;
}

/* ---- the work ---- */

static int pack_batch(void *ctx, const struct batch_head *head, struct slice batch, struct buf *out,
		      struct rewrite_counts *counts)
{
	struct recompression *r = ctx;
	int rc;

	(void)counts;
	if (batch_is_empty(head) || batch_codec(head) == BATCH_ZSTD || (head->attributes & BATCH_IS_CONTROL))
		return REWRITE_KEEP;
	rc = batch_recode(r->codec, batch, BATCH_ZSTD, LEVEL, &r->plain, out);
	if (rc == ERR_NOMEM)
		return rc;
	return rc || out->len >= batch.len ? REWRITE_KEEP : REWRITE_REPLACE;
}

static int begin(struct log *l, struct partition *p, struct segment *s)
{
	struct recompression *r = mem_zalloc(1, sizeof(*r));
	int rc;

	if (!r) {
		segment_unref(s);
		return ERR_NOMEM;
	}
	r->partition = p;
	r->segment = s;
	buf_init(&r->plain, BATCH_PLAIN_BYTES_MAX);
	l->recompression = r;
	if (atomic_load(&l->room) < (int64_t)atomic_load(&s->bytes))
		return ERR_DISK_FULL;
	rc = codec_new(&r->codec);
	if (rc == 0)
		rc = rewrite_new(p, &r->segment, 1, 0, pack_batch, r, &r->rewrite);
	return rc;
}

static void finish(struct log *l, struct recompression *r)
{
	struct rewrite_result result;
	char id[37];

	rewrite_result(r->rewrite, &result);
	result.out->packed = true;
	atomic_fetch_add(&l->counts.rewrite_read_bytes, result.bytes_before);
	if (result.changed) {
		atomic_fetch_add(&l->counts.rewritten_segments, 1);
		atomic_fetch_add(&l->counts.rewrite_written_bytes, result.bytes_after);
		topic_id_text(&r->partition->topic, id);
		core_say(l, LOG_INFO, "recompressed", "topics/%s/%u from offset %lld: %llu bytes became %llu",
			 id, r->partition->number, (long long)r->segment->base,
			 (unsigned long long)result.bytes_before, (unsigned long long)result.bytes_after);
	}
	recompress_forget(l, NULL);
}

static int fail(struct log *l, struct partition *p, int rc)
{
	char id[37];

	recompress_forget(l, NULL);
	if (rc == ERR_CANCELLED || rc == ERR_CORRUPT) /* it is gone, or marked and left alone */
		return 1;
	p->retry_ns = sys_monotonic_ns(l->sys) + RETRY_MS * (int64_t)1000000;
	topic_id_text(&p->topic, id);
	core_say(l, LOG_WARN, "recompression_failed", "topics/%s/%u: %s; nothing is lost, it is tried again",
		 id, p->number, err_row(rc)->sentence);
	return rc;
}

int recompress_step(struct log *l, uint64_t *bytes, int64_t *due_ms)
{
	struct recompression *r = l->recompression;
	struct choice c = {.now_ms = log_now_ms(l), .now_ns = sys_monotonic_ns(l->sys), .due_ms = INT64_MAX};
	struct partition *p;
	int rc;

	if (!r) {
		rc = partitions_each(l, look_at_partition, &c);
		if (c.due_ms < *due_ms)
			*due_ms = c.due_ms;
		if (rc == 0 && c.wants_checkpoint)
			return maintain_ask_checkpoint(l, due_ms);
		if (rc <= 0)
			return rc;
		rc = begin(l, c.partition, c.segment);
		p = c.partition;
	} else {
		p = r->partition;
		rc = atomic_load(&p->dropped) ? ERR_CANCELLED : rewrite_step(r->rewrite, bytes);
		if (rc == 0)
			finish(l, r);
	}
	if (rc >= 0)
		return 1;
	if (c.now_ms + RETRY_MS < *due_ms)
		*due_ms = c.now_ms + RETRY_MS;
	return fail(l, p, rc);
}
