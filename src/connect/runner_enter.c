/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pull brought as one commit: records, dead letters, the part's row with its checkpoint and, with the last batch of a part in
 * a run, the source's own row. All of it is made before it enters, and made anew for each try, as topics and limits may
 * have changed. What the log refuses waits as it is (PART_HELD) and is entered again; meanwhile nothing is pulled for it.
 */
#include "base/mem.h"
#include "connect/runner_inner.h"

#define RATE_CREDIT_NS (250 * RUNNER_MS)
#define HELD_NS (100 * RUNNER_MS)

static ingest_rows_fn on_entered, on_durable;

/* ---- records ---- */

static int make_room(struct box *b, uint32_t count)
{
	struct ingest_row *rows;

	if (count <= b->row_cap)
		return 0;
	rows = mem_realloc(b->rows, count * sizeof(*rows));
	if (!rows)
		return ERR_NOMEM;
	b->rows = rows;
	b->row_cap = count;
	return 0;
}

static void fill_rows(struct box *b, const char *topic)
{
	const struct source_batch_inner *in = b->batch.inner;
	struct slice name = slice_str(topic);

	for (uint32_t i = 0; i < b->batch.record_count; i++) {
		const struct source_item *item = &in->items[i];
		b->rows[i] = (struct ingest_row){.topic = item->topic.ptr ? item->topic : name,
						 .key = item->key,
						 .value = item->value,
						 .headers = item->headers,
						 .idempotency_key = item->idempotency_key,
						 .timestamp_ms = item->timestamp_ms,
						 .header_count = item->header_count,
						 .partition = item->partition};
	}
}

/* ---- rows of state ---- */

static int add_row(struct box *b, size_t key_bytes)
{
	return row_changes_add(&b->changes, b->part->runner->shared->state, &b->scratch, key_bytes);
}

/* Where the schedule stands goes with the last batch of a part in a run: no commit is made for it alone. */
static int make_own_row(struct box *b)
{
	struct runner *r = b->part->runner;
	size_t key_bytes;
	int rc;

	b->own_row = b->end != SOURCE_MORE && b->batch.record_count > 0;
	if (!b->own_row)
		return 0;
	buf_clear(&b->scratch);
	rc = runner_own_row(r, &r->plan_checkpoint, &b->entry, &b->scratch, &key_bytes, &b->paused);
	return rc ? rc : add_row(b, key_bytes);
}

/* Where its type does not count: what it has read, stored or not, of a part whose size is known, or of a run beside the schedule. */
static uint64_t units_after(const struct box *b)
{
	const struct part *p = b->part;

	if (b->batch.done)
		return b->batch.done;
	return p->done_units + (p->runner->run || p->total ? b->batch.record_count + b->batch.dead_count : 0);
}

/* What was marked is copied now: nothing may fail once it has entered. */
static int copy_checkpoint(struct box *b)
{
	const struct source_batch_inner *in = b->batch.inner;
	struct slice bytes = in->checkpoint.len ? buf_slice(&in->checkpoint) : SLICE_LIT("");

	source_checkpoint_free(&b->checkpoint);
	return in->marked ? source_checkpoint_copy(&b->checkpoint,
						   (struct source_checkpoint){bytes, in->version}) :
			    0;
}

static int make_row(struct box *b)
{
	struct part *p = b->part;
	struct source_part_row row = {.flags = b->end == SOURCE_DONE ? SOURCE_ROW_DONE : 0,
				      .records = p->records + b->entry.accepted,
				      .done = units_after(b),
				      .total = b->batch.total ? b->batch.total : p->total,
				      .checkpoint = p->source.checkpoint};
	size_t key;

	if (copy_checkpoint(b))
		return ERR_NOMEM;
	if (b->batch.inner->marked)
		row.checkpoint = b->checkpoint;
	buf_clear(&b->scratch);
	part_row_key(p, &b->scratch);
	key = b->scratch.len;
	(void)source_row_put_part(&b->scratch, &row);
	return add_row(b, key);
}

/* The rows of state, which say how many records are stored: all of the batch, as far as is known. */
static int make_state(struct box *b)
{
	int rc;

	row_changes_clear(&b->changes);
	rc = make_row(b);
	if (rc == 0)
		rc = make_own_row(b);
	b->entry.more = b->changes.records;
	b->entry.more_count = b->changes.count;
	return rc;
}

/* ---- entering ---- */

/* Some were stored already, which is known only now. */
static int on_counted(struct ingest_rows *entry)
{
	return entry->duplicates ? make_state(entry->ctx) : 0;
}

static void under_lock(struct ingest_rows *entry)
{
	struct box *b = entry->ctx;
	const struct runner_shared *shared = b->part->runner->shared;

	row_changes_apply(&b->changes, shared->rows);
	state_tidy(shared->state);
}

/* Everything that the commit needs. */
static int make_commit(struct box *b)
{
	struct runner *r = b->part->runner;
	int rc = make_room(b, b->batch.record_count);

	if (rc)
		return rc;
	ingest_rows_again(&b->entry, on_entered, on_durable, b);
	b->entry.under_lock = under_lock;
	fill_rows(b, r->conf->topic);
	b->entry.rows = b->rows;
	b->entry.count = b->batch.record_count;
	b->entry.counted = on_counted;
	rc = box_set_aside(b);
	b->entry.accepted = b->entry.count;
	return rc ? rc : make_state(b);
}

static void hold(struct box *b, int err)
{
	struct runner *r = b->part->runner;

	b->part->phase = PART_HELD;
	runner_show_state(r);
	/* So that many sources do not come back as one. */
	loop_timer_set(r->home->loop, &b->part->timer,
		       HELD_NS +
			       (int64_t)rand_below(&r->rand, err == ERR_DISK_FULL ? 2 * RUNNER_NS : HELD_NS));
}

void box_enter(struct box *b)
{
	struct runner *r = b->part->runner;
	int rc = make_commit(b);

	if (rc) {
		hold(b, rc);
		return;
	}
	b->part->phase = PART_ENTERING;
	ingest_rows_enter(r->home->queue, &b->entry);
}

void part_try_again(struct part *p)
{
	/* What is thrown away has not entered, and neither has its checkpoint: it is pulled again in another life. */
	if (p->runner->stopping)
		box_finished(p->box);
	else
		box_enter(p->box);
}

/* ---- entered ---- */

static void take_results(struct box *b)
{
	struct part *p = b->part;

	if (b->batch.inner->marked)
		source_checkpoint_move(&p->source.checkpoint, &b->checkpoint);
	p->records += b->entry.accepted;
	p->done_units = units_after(b);
	p->total = b->batch.total ? b->batch.total : p->total;
	/* What was known already is no arrival: a poll that only confirms what was pushed may come seldom. */
	p->runner->run_records += b->entry.accepted;
	runner_count_entered(p->runner, &b->entry);
	if (b->own_row)
		runner_saved(p->runner, b->paused);
}

/* by: 1 it has entered, -1 it is durable. */
static void count_entered(const struct box *b, int by)
{
	struct part *p = b->part;
	size_t bytes = by > 0 ? b->held : -b->held;

	p->entered += (uint32_t)by;
	p->entered_bytes += bytes;
	p->runner->entered += (uint32_t)by;
	p->runner->entered_bytes += bytes;
}

static void charge_rate(struct runner *r, uint32_t records)
{
	int64_t now = loop_now(r->home->loop);

	if (r->rate <= 0)
		return;
	/* What a late turn has left unused the next one may use. */
	if (r->rate_free_ns == 0)
		r->rate_free_ns = now;
	else if (r->rate_free_ns < now - RATE_CREDIT_NS)
		r->rate_free_ns = now - RATE_CREDIT_NS;
	r->rate_free_ns += (int64_t)records * RUNNER_NS / r->rate;
}

static void on_entered(struct ingest_rows *entry)
{
	struct box *b = entry->ctx;
	struct part *p = b->part;

	if (entry->err == ERR_BAD_RECORD && !p->runner->stopping) {
		box_enter(b);
		return;
	}
	if (entry->err) {
		hold(b, entry->err);
		if (p->runner->stopping)
			part_try_again(p);
		return;
	}
	take_results(b);
	charge_rate(p->runner, b->batch.record_count);
	count_entered(b, 1);
	if (b->batch.settle && p->runner->type->settle && b->end != SOURCE_FAILED) {
		p->phase = PART_SETTLING;
		return;
	}
	box_finished(b);
}

/* ---- durable ---- */

/* Each topic once, as far as letters of one stand together. */
static void tell_dead(const struct runner *r, const struct ingest_rows *entry)
{
	for (uint32_t i = 0; r->shared->on_dead && i < entry->dead_count; i++)
		if (i == 0 || !slice_eq(entry->deads[i].topic, entry->deads[i - 1].topic))
			r->shared->on_dead(r->shared->ctx, entry->deads[i].topic);
}

static void on_durable(struct ingest_rows *entry)
{
	struct box *b = entry->ctx;
	struct part *p = b->part;
	struct runner *r = p->runner;

	count_entered(b, -1);
	runner_show_durable(r, entry);
	tell_dead(r, entry);
	if (p->box == b && p->phase == PART_SETTLING) {
		part_settle(p, false);
		return;
	}
	box_put_away(r, b);
	runner_show_state_at_times(r);
	runner_kick_later(r);
	if (p->gone)
		part_drop(p);
}
