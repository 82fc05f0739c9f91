/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which parts there are. What a plan changes (first checkpoints, rows of parts that are gone, its own checkpoint) is
 * one commit, entered before the parts in memory change; a plan that changes nothing enters nothing.
 */
#include "base/mem.h"
#include "connect/runner_inner.h"

#define HELD_NS (250 * RUNNER_MS)

/* A plan in work. */
struct plan_box {
	struct source_plan_inner plan; /* the first member */
	struct runner_call call;
	struct ingest_rows entry;
	struct row_changes changes;
	struct source_checkpoint mark; /* the source's own once the plan has entered */
	bool paused;                   /* as its row of the source says */
};

static struct runner *runner_of(const struct plan_box *b)
{
	return b->call.runner;
}

static void free_box(struct plan_box *b)
{
	row_changes_fini(&b->changes);
	source_checkpoint_free(&b->mark);
	ingest_rows_fini(&b->entry);
	source_plan_fini(&b->plan);
	mem_free(b);
}

/* The plan is over, in whatever way; its memory goes once nothing of it is on its way. */
static void plan_is_over(struct plan_box *b)
{
	struct runner *r = runner_of(b);

	r->plan_running = false;
	if (!b->entry.busy) {
		r->plan = NULL;
		free_box(b);
	}
	runner_kick_later(r);
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
	const struct source_checkpoint marked = {plan->checkpoint, plan->version};

	return plan->marked ? source_checkpoint_copy(&b->mark, marked) : 0;
}

static void take_mark(struct plan_box *b)
{
	struct runner *r = runner_of(b);

	if (!b->plan.marked)
		return;
	source_checkpoint_move(&r->plan_checkpoint, &b->mark);
	runner_saved(r, b->paused);
}

static void take_plan(struct plan_box *b)
{
	struct runner *r = runner_of(b);

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

static int add_row(struct plan_box *b, const struct buf *row, size_t key_bytes)
{
	return row_changes_add(&b->changes, runner_of(b)->shared->state, row, key_bytes);
}

static int add_part_row(struct plan_box *b, const struct source_plan_item *item)
{
	struct source_row_key key = {'p', slice_str(runner_of(b)->name), item->name};
	struct source_part_row row = {.total = item->total, .checkpoint = {item->checkpoint, item->version}};
	struct buf bytes;
	size_t key_bytes;
	int rc;

	buf_init(&bytes, STATE_ROW_BYTES_MAX);
	(void)source_row_put_key(&bytes, &key);
	key_bytes = bytes.len;
	(void)source_row_put_part(&bytes, &row);
	rc = add_row(b, &bytes, key_bytes);
	buf_fini(&bytes);
	return rc;
}

static int remove_part_row(struct plan_box *b, const struct part *p)
{
	struct buf key;
	int rc;

	buf_init(&key, 2048);
	part_row_key(p, &key);
	rc = add_row(b, &key, key.len);
	buf_fini(&key);
	return rc;
}

static int add_own_row(struct plan_box *b)
{
	struct buf row;
	size_t key_bytes;
	int rc;

	buf_init(&row, STATE_ROW_BYTES_MAX);
	rc = runner_own_row(runner_of(b), &b->mark, NULL, &row, &key_bytes, &b->paused);
	if (rc == 0)
		rc = add_row(b, &row, key_bytes);
	buf_fini(&row);
	return rc;
}

static bool is_new(const struct runner *r, const struct source_plan_item *item)
{
	return item->checkpoint.ptr && !part_find(r, item->name);
}

static bool is_unnamed(const struct plan_box *b, const struct part *p)
{
	return !b->plan.plan.keep_others && !p->gone && !source_plan_has(&b->plan, p->source.name);
}

static int make_rows(struct plan_box *b)
{
	struct runner *r = runner_of(b);
	uint32_t most = b->plan.count + 1;
	int rc;

	for (struct part *p = r->parts; p; p = p->sibling)
		most++;
	rc = row_changes_reserve(&b->changes, most);
	for (uint32_t i = 0; rc == 0 && i < b->plan.count; i++)
		if (is_new(r, b->plan.items[i]))
			rc = add_part_row(b, b->plan.items[i]);
	for (struct part *p = r->parts; rc == 0 && p; p = p->sibling)
		if (is_unnamed(b, p) && (p->source.checkpoint.bytes.ptr || p->done || p->records))
			rc = remove_part_row(b, p);
	if (rc == 0 && b->plan.marked)
		rc = add_own_row(b);
	return rc;
}

/* ---- entering ---- */

static void under_lock(struct ingest_rows *entry)
{
	struct plan_box *b = entry->ctx;
	const struct runner_shared *shared = runner_of(b)->shared;

	row_changes_apply(&b->changes, shared->rows);
	state_tidy(shared->state);
}

static void on_entered(struct ingest_rows *entry)
{
	struct plan_box *b = entry->ctx;
	struct runner *r = runner_of(b);

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
	struct runner *r = runner_of(b);

	r->plan = NULL;
	free_box(b);
	runner_kick_later(r);
}

static void plan_failed(struct plan_box *b)
{
	struct runner *r = runner_of(b);
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

static void on_ended(void *ctx, enum source_end end)
{
	struct plan_box *b = ctx;
	struct runner *r = runner_of(b);

	end = source_plan_close(&b->plan, end);
	if (end != SOURCE_FAILED && (copy_mark(b) || make_rows(b)))
		end = source_fail(&b->plan.plan.call, SOURCE_TRANSIENT, "no memory for the plan");
	if (end == SOURCE_FAILED) {
		plan_failed(b);
		return;
	}
	r->plan_retry_at = 0;
	/* Most plans ask the source nothing: while a part fails its next pull tells whether it recovered. */
	if (!has_failing_part(r))
		runner_succeeded(r, &b->plan.plan.call);
	if (b->changes.count == 0) {
		take_plan(b);
		plan_is_over(b);
		return;
	}
	ingest_rows_init(&b->entry, on_entered, on_durable, b);
	b->entry.under_lock = under_lock;
	b->entry.more = b->changes.records;
	b->entry.more_count = b->changes.count;
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

static void on_done(struct source_call *call, enum source_end end)
{
	runner_call_end(&((struct plan_box *)(void *)call)->call, end);
}

static enum source_end make_plan(void *ctx)
{
	struct plan_box *b = ctx;
	struct runner *r = runner_of(b);

	return r->type->plan(r->self, &b->plan.plan);
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
	b->call = (struct runner_call){
		.runner = r, .call = &b->plan.plan.call, .make = make_plan, .ended = on_ended, .ctx = b};
	b->plan.plan.checkpoint = r->plan_checkpoint;
	b->plan.find = find_known;
	b->plan.find_ctx = r;
	source_call_init(&b->plan.plan.call, &r->source, on_done);
	r->plan = b;
	r->plan_running = true;
	runner_call_begin(&b->call);
}

void runner_plan_cancel(struct runner *r)
{
	if (!r->plan_running || !r->plan)
		return;
	atomic_store(&r->plan->plan.plan.call.cancelled, true);
	if (r->type->cancel && r->calls)
		r->type->cancel(r->self, NULL);
}
