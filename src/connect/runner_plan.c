/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which parts there are. What a plan changes (first checkpoints, rows of parts that are gone, its own checkpoint) is
 * one commit, entered before the parts in memory change; a plan that changes nothing enters nothing.
 */
#include "base/mem.h"
#include "connect/runner_inner.h"

#define HELD_NS (250 * RUNNER_MS)

static void plan_ended(struct plan_box *b, enum source_end end);
static ingest_rows_fn on_entered, on_durable, under_lock;

void plan_box_free(struct plan_box *b)
{
	for (uint32_t i = 0; i < b->row_count; i++) {
		source_row_free(b->rows[i]);
		source_row_free(b->copies[i]);
	}
	mem_free(b->rows);
	mem_free(b->copies);
	mem_free(b->more);
	mem_free(b->mark_bytes);
	ingest_rows_fini(&b->entry);
	source_plan_fini(&b->plan);
	mem_free(b);
}

/* The plan is over, in whatever way; its memory goes once nothing of it is on its way. */
static void plan_is_over(struct plan_box *b)
{
	struct runner *r = b->runner;

	r->plan_running = false;
	if (!b->entry.busy) {
		r->plan = NULL;
		plan_box_free(b);
	}
	loop_at_turn_end(r->home->loop, &r->turn);
}

/* ---- parts as planned ---- */

static void drop_unnamed(struct runner *r, const struct source_plan_inner *plan)
{
	struct part *next;

	for (struct part *p = r->parts; p; p = next) {
		next = p->sibling;
		if (p->gone || source_plan_has(plan, p->source.name))
			continue;
		p->gone = true;
		part_drop(p);
	}
}

static void add_named(struct runner *r, const struct source_plan_item *item)
{
	struct source_part_row row = {.checkpoint = {item->checkpoint, item->version}};
	struct part *p = part_find(r, item->name);

	if (!p) {
		p = part_new(r, item->name, item->title, item->checkpoint.ptr ? &row : NULL);
		if (p)
			p->opened_settle = false;
	}
	if (p && item->total)
		p->total = item->total;
}

/* Taken before it enters: nothing may fail then. */
static int copy_mark(struct plan_box *b)
{
	const struct source_plan_inner *plan = &b->plan;

	if (!plan->marked)
		return 0;
	b->mark_bytes = mem_alloc(plan->checkpoint.len + 1);
	if (!b->mark_bytes)
		return ERR_NOMEM;
	memcpy(b->mark_bytes, plan->checkpoint.ptr, plan->checkpoint.len);
	b->mark = (struct source_checkpoint){slice_make(b->mark_bytes, plan->checkpoint.len), plan->version};
	return 0;
}

static void take_mark(struct plan_box *b)
{
	struct runner *r = b->runner;

	if (!b->mark_bytes)
		return;
	mem_free(r->plan_bytes);
	r->plan_bytes = b->mark_bytes;
	r->plan_checkpoint = b->mark;
	b->mark_bytes = NULL;
	runner_saved(r, b->paused);
}

static void take_plan(struct plan_box *b)
{
	struct runner *r = b->runner;

	take_mark(b);
	if (!b->plan.plan.keep_others)
		drop_unnamed(r, &b->plan);
	for (uint32_t i = 0; i < b->plan.count; i++)
		add_named(r, b->plan.items[i]);
	for (struct part *p = r->parts; p; p = p->sibling)
		if (!p->waits)
			part_want(p);
}

/* ---- rows ---- */

static int add_row(struct plan_box *b, struct slice key, struct slice value)
{
	uint32_t n = b->row_count;
	struct source_row *row = source_row_new(key, value);
	struct source_row *copy = row ? source_row_copy(row) : NULL;

	if (!copy) {
		source_row_free(row);
		return ERR_NOMEM;
	}
	b->rows[n] = row;
	b->copies[n] = copy;
	source_row_record(b->runner->shared->state, copy, &b->more[n]);
	b->row_count = n + 1;
	return 0;
}

static int add_part_row(struct plan_box *b, const struct source_plan_item *item)
{
	struct source_row_key key = {'p', slice_str(b->runner->name), item->name};
	struct source_part_row row = {.total = item->total, .checkpoint = {item->checkpoint, item->version}};
	struct buf bytes;
	size_t n;
	int rc;

	buf_init(&bytes, STATE_ROW_BYTES_MAX);
	(void)source_row_put_key(&bytes, &key);
	n = bytes.len;
	(void)source_row_put_part(&bytes, &row);
	rc = buf_status(&bytes);
	if (rc == 0)
		rc = add_row(b, slice_make(bytes.ptr, n), slice_from(buf_slice(&bytes), n));
	buf_fini(&bytes);
	return rc;
}

static int remove_part_row(struct plan_box *b, const struct part *p)
{
	struct buf key;
	int rc;

	buf_init(&key, 2048);
	part_row_key(p, &key);
	rc = buf_status(&key);
	if (rc == 0)
		rc = add_row(b, buf_slice(&key), slice_null());
	buf_fini(&key);
	return rc;
}

static int add_state_row(struct plan_box *b)
{
	struct buf key, value;
	int rc;

	buf_init(&key, 2048);
	buf_init(&value, STATE_ROW_BYTES_MAX);
	rc = runner_state_row(b->runner, &b->mark, &key, &value);
	b->paused = b->runner->paused;
	if (rc == 0)
		rc = add_row(b, buf_slice(&key), buf_slice(&value));
	buf_fini(&key);
	buf_fini(&value);
	return rc;
}

static bool is_new(const struct runner *r, const struct source_plan_item *item)
{
	return item->checkpoint.ptr && !part_find((struct runner *)(uintptr_t)r, item->name);
}

static bool is_unnamed(const struct plan_box *b, const struct part *p)
{
	return !b->plan.plan.keep_others && !p->gone && !source_plan_has(&b->plan, p->source.name);
}

static int make_rows(struct plan_box *b)
{
	struct runner *r = b->runner;
	uint32_t most = b->plan.count + 1;
	int rc = 0;

	for (struct part *p = r->parts; p; p = p->sibling)
		most++;
	b->rows = mem_zalloc(most, sizeof(struct source_row *));
	b->copies = mem_zalloc(most, sizeof(struct source_row *));
	b->more = mem_zalloc(most, sizeof(struct log_record));
	if (!b->rows || !b->copies || !b->more)
		return ERR_NOMEM;
	for (uint32_t i = 0; rc == 0 && i < b->plan.count; i++)
		if (is_new(r, b->plan.items[i]))
			rc = add_part_row(b, b->plan.items[i]);
	for (struct part *p = r->parts; rc == 0 && p; p = p->sibling)
		if (is_unnamed(b, p) && (p->source.checkpoint.bytes.ptr || p->done || p->records))
			rc = remove_part_row(b, p);
	if (rc == 0 && b->plan.marked)
		rc = add_state_row(b);
	return rc;
}

/* ---- entering ---- */

static void under_lock(struct ingest_rows *entry)
{
	struct plan_box *b = entry->ctx;

	for (uint32_t i = 0; i < b->row_count; i++) {
		source_rows_set(b->runner->shared->rows, b->rows[i]);
		b->rows[i] = NULL;
	}
	state_tidy(b->runner->shared->state);
}

static void on_entered(struct ingest_rows *entry)
{
	struct plan_box *b = entry->ctx;
	struct runner *r = b->runner;

	if (entry->err) {
		if (r->stopping)
			plan_is_over(b);
		else
			loop_timer_set(r->home->loop, &r->hold, HELD_NS);
		return;
	}
	take_plan(b);
	plan_is_over(b);
}

void runner_plan_hold_over(struct runner *r)
{
	struct plan_box *b = r->plan;

	if (!b || !r->plan_running || b->entry.busy || !b->entry.more)
		return;
	if (r->stopping)
		plan_is_over(b);
	else
		ingest_rows_enter(r->home->queue, &b->entry);
}

static void on_durable(struct ingest_rows *entry)
{
	struct plan_box *b = entry->ctx;
	struct runner *r = b->runner;

	r->plan = NULL;
	plan_box_free(b);
	loop_at_turn_end(r->home->loop, &r->turn);
}

static void plan_failed(struct plan_box *b)
{
	struct runner *r = b->runner;
	int64_t wait = runner_failed(r, NULL, &b->plan.plan.call);

	r->plan_wanted = true;
	r->plan_retry_at = loop_now(r->home->loop) + wait;
	plan_is_over(b);
}

static bool has_failing_part(const struct runner *r)
{
	for (const struct part *p = r->parts; p; p = p->sibling)
		if (p->failures && !p->done && !p->gone)
			return true;
	return false;
}

static void plan_ended(struct plan_box *b, enum source_end end)
{
	struct runner *r = b->runner;

	r->calls--;
	b->end = source_plan_close(&b->plan, end);
	if (b->end != SOURCE_FAILED && (copy_mark(b) || make_rows(b)))
		b->end = source_fail(&b->plan.plan.call, SOURCE_TRANSIENT, "no memory for the plan");
	if (b->end == SOURCE_FAILED) {
		plan_failed(b);
		return;
	}
	r->plan_retry_at = 0;
	/* Most plans ask the source nothing: while a part fails its next pull tells whether it recovered. */
	if (!has_failing_part(r))
		runner_succeeded(r, &b->plan.plan.call);
	if (b->row_count == 0) {
		take_plan(b);
		plan_is_over(b);
		return;
	}
	ingest_rows_init(&b->entry, on_entered, on_durable, b);
	b->entry.under_lock = under_lock;
	b->entry.more = b->more;
	b->entry.more_count = b->row_count;
	ingest_rows_enter(r->home->queue, &b->entry);
}

/* ---- asking ---- */

static bool find_known(void *ctx, struct slice name, struct source_checkpoint *checkpoint, bool *done)
{
	const struct part *p = part_find(ctx, name);

	if (!p || p->gone)
		return false;
	*checkpoint = p->source.checkpoint;
	*done = p->done;
	return true;
}

static void on_plan_done(struct source_call *call, enum source_end end)
{
	plan_ended((struct plan_box *)(void *)call, end);
}

static void plan_blocking(void *arg)
{
	struct plan_box *b = arg;

	b->end = b->runner->type->plan(b->runner->self, &b->plan.plan);
}

static void plan_blocking_done(void *arg)
{
	struct plan_box *b = arg;

	plan_ended(b, b->end);
}

/* A type without plan has one part. */
static void plan_one(struct runner *r)
{
	struct part *p = part_find(r, SLICE_LIT(""));

	if (!p)
		p = part_new(r, SLICE_LIT(""), SLICE_LIT(""), NULL);
	if (p && !p->waits)
		part_want(p);
}

void runner_plan(struct runner *r)
{
	struct plan_box *b;

	r->plan_wanted = false;
	if (!r->type->plan) {
		plan_one(r);
		return;
	}
	b = mem_zalloc(1, sizeof(*b));
	if (!b || source_plan_init(&b->plan)) {
		mem_free(b);
		r->plan_wanted = true;
		r->plan_retry_at = loop_now(r->home->loop) + RUNNER_NS;
		return;
	}
	b->runner = r;
	b->plan.plan.checkpoint = r->plan_checkpoint;
	b->plan.find = find_known;
	b->plan.find_ctx = r;
	source_call_init(&b->plan.plan.call, &r->source, on_plan_done);
	r->plan = b;
	r->plan_running = true;
	r->calls++;
	if (!(r->type->flags & SOURCE_BLOCKS)) {
		b->end = r->type->plan(r->self, &b->plan.plan);
		if (b->end != SOURCE_LATER)
			plan_ended(b, b->end);
	} else if (r->shared->run_blocking(r->shared->ctx, r->home->loop, plan_blocking, plan_blocking_done,
					   b)) {
		source_fail(&b->plan.plan.call, SOURCE_TRANSIENT, "no worker is free for the source");
		plan_ended(b, SOURCE_FAILED);
	}
}
