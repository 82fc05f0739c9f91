/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part between its pulls: by name in the table, in the list of those that are ready, or at rest until its timer, a wake of its type or
 * a run wants it. It lives until its plan leaves it out or the source stops, and then until nothing points to it any more: a
 * batch on its way to the disk, a wake on its way to the loop.
 */
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "conf/redact.h"
#include "connect/runner_inner.h"

#define DROP_AGAIN_NS (100 * RUNNER_MS)

static const struct hash_key name_key = {.k0 = 0x7061727473, .k1 = 0x72756e};

struct part *part_find(const struct runner *r, struct slice name)
{
	struct table_node *node = table_first(&r->table, hash_sip13(&name_key, name));

	for (; node; node = table_next(node)) {
		struct part *p = (struct part *)(void *)((uint8_t *)node - offsetof(struct part, node));
		if (slice_eq(p->source.name, name))
			return p;
	}
	return NULL;
}

static bool is_over(const struct part *p)
{
	return p->gone || (p->done && !p->opened_settle);
}

static void on_timer(void *ctx)
{
	struct part *p = ctx;

	if (p->phase == PART_HELD)
		part_try_again(p);
	else if (is_over(p))
		part_drop(p);
	else
		part_want(p);
}

static void on_wake(struct loop *loop, struct loop_msg *msg)
{
	struct part *p = (struct part *)(void *)((uint8_t *)msg - offsetof(struct part, wake));

	(void)loop;
	atomic_store(&p->woken, false);
	runner_kick_later(p->runner);
	if (p->gone)
		part_drop(p);
	else
		part_want(p);
}

/* ---- made and freed ---- */

static int name_part(struct part *p, struct slice name, struct slice title)
{
	p->names = mem_alloc(name.len + title.len + 1);
	if (!p->names)
		return ERR_NOMEM;
	if (name.len)
		memcpy(p->names, name.ptr, name.len);
	if (title.len)
		memcpy(p->names + name.len, title.ptr, title.len);
	p->source.name = slice_make(p->names, name.len);
	/* Titles are shown, and may be URLs. */
	p->source.title = slice_make(p->names + name.len,
				     redact_text(p->runner->source.secrets, p->runner->source.secret_count,
						 p->names + name.len, title.len));
	return 0;
}

struct part *part_new(struct runner *r, struct slice name, struct slice title,
		      const struct source_part_row *row)
{
	struct part *p = mem_zalloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->runner = r;
	p->source.source = &r->source;
	p->lag_records = p->lag_ms = -1;
	loop_timer_init(&p->timer, on_timer, p);
	p->wake.run = on_wake;
	if (name_part(p, name, title) ||
	    (row && source_checkpoint_copy(&p->source.checkpoint, row->checkpoint))) {
		mem_free(p->names);
		mem_free(p);
		return NULL;
	}
	if (row) {
		p->done = row->flags & SOURCE_ROW_DONE;
		p->records = row->records;
		p->done_units = row->done;
		p->total = row->total;
		p->opened_settle = r->type->settle && row->checkpoint.bytes.ptr;
	}
	table_add(&r->table, &p->node, hash_sip13(&name_key, p->source.name));
	p->sibling = r->parts;
	r->parts = p;
	return p;
}

void part_free(struct part *p)
{
	struct runner *r = p->runner;
	struct part **at = &r->parts;

	CHECK(!p->box && p->entered == 0);
	part_set_begun(p, false);
	while (*at != p)
		at = &(*at)->sibling;
	*at = p->sibling;
	loop_timer_stop(r->home->loop, &p->timer);
	table_remove(&r->table, &p->node);
	source_checkpoint_free(&p->source.checkpoint);
	mem_free(p->names);
	mem_free(p);
}

void part_row_key(const struct part *p, struct buf *out)
{
	struct source_row_key key = {'p', slice_str(p->runner->name), p->source.name};

	(void)source_row_put_key(out, &key);
}

/* ---- ready ---- */

void part_set_begun(struct part *p, bool begun)
{
	if (p->begun == begun)
		return;
	p->begun = begun;
	p->runner->begun += begun ? 1 : -1u;
}

/* Those that have begun stand in front, so that as few as may be hold something at the source. */
static void queue_ready(struct runner *r, struct part *p)
{
	if (p->begun && r->ready) {
		p->next = r->ready;
		r->ready = p;
		return;
	}
	p->next = NULL;
	*r->ready_end = p;
	r->ready_end = &p->next;
}

struct part *part_take_ready(struct runner *r)
{
	struct part *p = r->ready;

	r->ready = p->next;
	if (!r->ready)
		r->ready_end = &r->ready;
	return p;
}

void part_unready(struct runner *r)
{
	while (r->ready) {
		struct part *p = part_take_ready(r);
		p->phase = PART_RESTS;
		p->wanted = true;
	}
}

void part_want_again(struct runner *r)
{
	for (struct part *p = r->parts; p; p = p->sibling) {
		if (!p->wanted || p->phase != PART_RESTS)
			continue;
		p->wanted = false;
		part_want(p);
	}
}

void part_want(struct part *p)
{
	if (is_over(p))
		return;
	if (p->phase != PART_RESTS) {
		p->wanted = p->phase != PART_READY;
		return;
	}
	p->waits = false;
	p->phase = PART_READY;
	queue_ready(p->runner, p);
	runner_kick_later(p->runner);
}

/* ---- letting go ---- */

static void dropped(struct part *p)
{
	struct runner *r = p->runner;

	p->phase = PART_RESTS;
	p->source.state = NULL;
	part_set_begun(p, false);
	/* A wake may still be on its way: what it points to stays until it has come. */
	if (p->gone && p->entered == 0 && !atomic_load(&p->woken)) {
		part_free(p);
	} else if (p->wanted && !r->paused && !r->stopping) { /* it was asked for meanwhile */
		p->wanted = false;
		part_want(p);
	}
	runner_kick_later(r);
}

static void drop(void *arg)
{
	struct part *p = arg;

	p->runner->type->drop(p->runner->self, &p->source);
}

static void drop_done(void *arg)
{
	struct part *p = arg;

	p->runner->calls--;
	dropped(p);
}

void part_drop(struct part *p)
{
	struct runner *r = p->runner;

	if (p->phase != PART_RESTS)
		return;
	loop_timer_stop(r->home->loop, &p->timer);
	if (!r->type->drop || !p->source.state) {
		dropped(p);
		return;
	}
	p->phase = PART_DROPPING;
	r->calls++;
	if (!(r->type->flags & SOURCE_BLOCKS)) {
		drop(p);
		drop_done(p);
		return;
	}
	if (r->shared->run_blocking(r->shared->ctx, r->home->loop, drop, drop_done, p)) {
		r->calls--;
		p->phase = PART_RESTS;
		loop_timer_set(r->home->loop, &p->timer, DROP_AGAIN_NS);
	}
}
