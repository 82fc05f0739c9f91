/* SPDX-License-Identifier: Apache-2.0 */
/* What of a batch is no record, as dead letters of the same commit. */
#include "connect/runner_inner.h"
#include "ingest/dead.h"

static void common_letter(const struct box *b, struct dead_letter *d)
{
	const struct runner *r = b->part->runner;

	dead_letter_init(d);
	d->from = DEAD_FROM_SOURCE;
	d->name = slice_str(r->conf->name);
	d->at_ms = sys_wall_ms(r->shared->sys);
	d->tries = 1;
}

static int put_letter(struct box *b, struct slice topic, const struct dead_letter *d)
{
	struct ingest_row_dead *dead = &b->entry.deads[b->entry.dead_count];

	dead->topic = topic;
	if (dead_letter_record(d, &b->batch.inner->arena, &dead->record))
		return ERR_NOMEM;
	b->entry.dead_count++;
	return 0;
}

static int letter_of_dead(struct box *b, const struct source_dead_item *item, const char *topic)
{
	struct dead_letter d;

	common_letter(b, &d);
	d.key = item->key;
	d.value = item->bytes;
	d.headers = item->headers;
	d.header_count = item->header_count;
	d.topic = item->topic.ptr ? item->topic : slice_str(topic);
	d.place = item->path;
	d.code = slice_str(err_row(item->err)->code);
	d.text = slice_str(item->text);
	if (item->json)
		d.form = SLICE_LIT("application/json");
	return put_letter(b, d.topic, &d);
}

/* A record that the door does not take. Where its topic is the reason, it goes with the source's own. */
static int letter_of_row(struct box *b, const struct ingest_row *row, const char *topic)
{
	bool bad_topic = row->err == ERR_BAD_TOPIC || row->err == ERR_FORBIDDEN;
	struct dead_letter d;

	common_letter(b, &d);
	d.key = row->key;
	d.value = row->value;
	d.headers = row->headers;
	d.header_count = row->header_count;
	d.idempotency_key = row->idempotency_key;
	d.partition = row->partition;
	d.timestamp_ms = row->timestamp_ms;
	d.topic = row->topic;
	d.place = b->part->source.title;
	d.code = slice_str(err_row(row->err)->code);
	d.text = slice_str(row->what);
	return put_letter(b, bad_topic ? slice_str(topic) : row->topic, &d);
}

int box_set_aside(struct box *b)
{
	const char *topic = b->part->runner->conf->topic;
	uint32_t refused = ingest_rows_check(b->part->runner->shared->ingest, b->rows, b->entry.count);
	uint32_t dead = b->batch.dead_count, kept = 0;
	int rc = 0;

	b->entry.dead_count = 0;
	if (dead + refused == 0)
		return 0;
	b->entry.deads = arena_alloc(&b->batch.inner->arena, (dead + refused) * sizeof(*b->entry.deads));
	if (!b->entry.deads)
		return ERR_NOMEM;
	for (uint32_t i = 0; rc == 0 && i < dead; i++)
		rc = letter_of_dead(b, &b->batch.inner->deads[i], topic);
	for (uint32_t i = 0; rc == 0 && i < b->entry.count; i++) {
		if (b->rows[i].err)
			rc = letter_of_row(b, &b->rows[i], topic);
		else
			b->rows[kept++] = b->rows[i];
	}
	b->entry.count = kept;
	return rc;
}
