/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part from one pull to the next:
 *
 *	RESTS ──► READY ──► PULLING ──► ENTERING ──► RESTS or READY
 *	                                 │    ▲  └──► SETTLING (durable first) ──► …
 *	                                 ▼    │
 *	                                 HELD: the log refused
 *
 * The next pull begins when the batch has entered; the box with its memory stays until it is durable. Two at most are on
 * their way, so a slow disk holds the source back and not the memory.
 */
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "conf/redact.h"
#include "connect/runner_inner.h"

#define EMPTY_AGAIN_NS (10 * RUNNER_MS) /* a pull that brought nothing and says there is more */
#define HELD_NS (100 * RUNNER_MS)
#define SHOW_NS (250 * RUNNER_MS)

static const struct hash_key name_key = {.k0 = 0x7061727473, .k1 = 0x72756e};

/* ---- parts ---- */

struct part *part_find(struct runner *r, struct slice name)
{
	struct table_node *node = table_first(&r->table, hash_sip13(&name_key, name));

	for (; node; node = table_next(node)) {
		struct part *p = (struct part *)(void *)((uint8_t *)node - offsetof(struct part, node));
		if (slice_eq(p->source.name, name))
			return p;
	}
	return NULL;
}

int part_set_checkpoint(struct part *p, uint8_t version, struct slice bytes)
{
	uint8_t *copy = mem_alloc(bytes.len + 1);

	if (!copy)
		return ERR_NOMEM;
	if (bytes.len)
		memcpy(copy, bytes.ptr, bytes.len);
	mem_free(p->checkpoint);
	p->checkpoint = copy;
	p->source.checkpoint = (struct source_checkpoint){slice_make(copy, bytes.len), version};
	return 0;
}

static void on_timer(void *ctx)
{
	struct part *p = ctx;

	if (p->phase == PART_HELD)
		part_try_again(p);
	else if (p->gone || (p->done && !p->opened_settle))
		part_drop(p);
	else
		part_want(p);
}

static void on_wake(struct loop *loop, struct loop_msg *msg)
{
	struct part *p = (struct part *)(void *)((uint8_t *)msg - offsetof(struct part, wake));

	(void)loop;
	atomic_store(&p->woken, false);
	loop_at_turn_end(p->runner->home->loop, &p->runner->turn);
	if (p->gone)
		part_drop(p);
	else
		part_want(p);
}

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
	    (row && row->checkpoint.bytes.ptr &&
	     part_set_checkpoint(p, row->checkpoint.version, row->checkpoint.bytes))) {
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

static void set_begun(struct part *p, bool begun)
{
	if (p->begun == begun)
		return;
	p->begun = begun;
	p->runner->begun += begun ? 1 : -1u;
}

/* Off every list but that of siblings. */
void part_free(struct part *p)
{
	struct runner *r = p->runner;
	struct part **at = &r->parts;

	CHECK(!p->box && p->entered == 0);
	set_begun(p, false);
	while (*at != p)
		at = &(*at)->sibling;
	*at = p->sibling;
	loop_timer_stop(r->home->loop, &p->timer);
	table_remove(&r->table, &p->node);
	mem_free(p->checkpoint);
	mem_free(p->names);
	mem_free(p);
}

void part_row_key(const struct part *p, struct buf *out)
{
	struct source_row_key key = {'p', slice_str(p->runner->name), p->source.name};

	(void)source_row_put_key(out, &key);
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

void part_want(struct part *p)
{
	struct runner *r = p->runner;

	if (p->gone || (p->done && !p->opened_settle))
		return;
	if (p->phase != PART_RESTS) {
		p->wanted = p->phase != PART_READY;
		return;
	}
	p->waits = false;
	p->phase = PART_READY;
	queue_ready(r, p);
	loop_at_turn_end(r->home->loop, &r->turn);
}

/* ---- boxes ---- */

static void on_call_done(struct source_call *call, enum source_end end);
static ingest_rows_fn on_entered, on_durable, under_lock;

/* Few, as only those are taken out that are being filled or are on their way to the disk; large ones are not kept. */
#define BOXES_MAX 4u
#define BOX_KEPT_BYTES ((size_t)1 << 20)

/*
 * Thousands of sources may be due at once: at a start, after an outage. So many calls may have begun within a second and not
 * ended; others wait a little. Those that take longer count no more, so that a host that hangs holds up nobody.
 */
#define CROWD_MAX 256u
#define CROWD_NS RUNNER_NS

struct runner_boxes {
	struct box *first;
	uint32_t count;
	uint32_t begun; /* since then, and not ended */
	int64_t since_ns;
};

bool runner_is_crowded(struct runner *r)
{
	struct runner_boxes *boxes = r->home->boxes;
	int64_t now = loop_now(r->home->loop);

	if (boxes && now - boxes->since_ns >= CROWD_NS) {
		boxes->since_ns = now;
		boxes->begun = 0;
	}
	return boxes && boxes->begun >= CROWD_MAX;
}

static void count_begun(struct runner *r)
{
	if (r->home->boxes)
		r->home->boxes->begun++;
}

static void count_ended(struct runner *r, const struct box *b)
{
	struct runner_boxes *boxes = r->home->boxes;

	if (boxes && boxes->begun && b->began_ns >= boxes->since_ns)
		boxes->begun--;
}

struct runner_boxes *runner_boxes_new(void)
{
	return mem_zalloc(1, sizeof(struct runner_boxes));
}

void runner_boxes_free(struct runner_boxes *boxes)
{
	while (boxes && boxes->first) {
		struct box *b = boxes->first;
		boxes->first = b->next;
		box_free(b);
	}
	mem_free(boxes);
}

void box_keep(struct runner *r, struct box *b)
{
	struct runner_boxes *boxes = r->home->boxes;

	if (!boxes || boxes->count == BOXES_MAX || source_batch_held(&b->batch) > BOX_KEPT_BYTES) {
		box_free(b);
		return;
	}
	b->next = boxes->first;
	boxes->first = b;
	boxes->count++;
}

static struct box *take_kept(struct runner *r)
{
	struct runner_boxes *boxes = r->home->boxes;
	struct box *b = r->spare;

	if (b) {
		r->spare = b->next;
		r->spare_count--;
	} else if (boxes && boxes->first) {
		b = boxes->first;
		boxes->first = b->next;
		boxes->count--;
	}
	return b;
}

static struct box *box_new(struct runner *r)
{
	struct box *b = take_kept(r);

	if (b)
		return b;
	b = mem_zalloc(1, sizeof(*b));
	if (!b)
		return NULL;
	if (source_batch_init(&b->batch)) {
		mem_free(b);
		return NULL;
	}
	buf_init(&b->scratch, STATE_ROW_BYTES_MAX);
	return b;
}

static void count_held(struct runner *r, struct box *b, size_t now)
{
	if (r->shared->held_bytes)
		atomic_fetch_add(r->shared->held_bytes, (int64_t)now - (int64_t)b->held);
	b->held = now;
}

static void forget_rows(struct box *b)
{
	for (uint32_t i = 0; i < 2; i++) {
		source_row_free(b->row[i]);
		source_row_free(b->copy[i]);
		b->row[i] = b->copy[i] = NULL;
	}
	b->row_count = 0;
}

void box_free(struct box *b)
{
	forget_rows(b);
	mem_free(b->checkpoint);
	ingest_rows_fini(&b->entry);
	source_batch_fini(&b->batch);
	buf_fini(&b->scratch);
	mem_free(b->rows);
	mem_free(b);
}

/* As many are kept for the next pulls of the run as parts may be at it. */
static void box_give_back(struct runner *r, struct box *b)
{
	forget_rows(b);
	mem_free(b->checkpoint);
	b->checkpoint = NULL;
	b->part = NULL;
	source_batch_reset(&b->batch);
	count_held(r, b, 0);
	if (r->spare_count >= (uint32_t)r->conf->parallel || !r->run_active) {
		box_keep(r, b);
		return;
	}
	b->next = r->spare;
	r->spare = b;
	r->spare_count++;
}

/* ---- pulling ---- */

static void pull_ended(struct box *b, enum source_end end);

static void pull_blocking(void *arg)
{
	struct box *b = arg;
	struct runner *r = b->part->runner;

	b->end = r->type->pull(r->self, &b->part->source, &b->batch);
}

static void pull_blocking_done(void *arg)
{
	struct box *b = arg;

	pull_ended(b, b->end);
}

static void on_call_done(struct source_call *call, enum source_end end)
{
	pull_ended((struct box *)(void *)call, end);
}

static void give_credit(const struct runner *r, struct source_batch *b)
{
	struct ingest_limits limits;
	int64_t records = r->conf->batch_records;

	/* A rate below a batch a second: a second's worth at most, of all parts that are read at once, so that it is even. */
	if (r->rate > 0 && records > r->rate / r->conf->parallel)
		records = r->rate >= r->conf->parallel ? r->rate / r->conf->parallel : 1;
	ingest_get_limits(r->shared->ingest, &limits);
	b->records_max = (uint32_t)records;
	b->bytes_max = (size_t)r->conf->batch_bytes;
	b->value_bytes_max = limits.record_bytes_max;
	b->test = false;
}

static void begin_settle(struct part *p, bool again);

void part_pull(struct part *p)
{
	struct runner *r = p->runner;
	struct box *b;

	if (p->opened_settle) {
		begin_settle(p, true);
		return;
	}
	b = box_new(r);
	if (!b) {
		p->phase = PART_RESTS;
		loop_timer_set(r->home->loop, &p->timer, HELD_NS);
		return;
	}
	p->phase = PART_PULLING;
	p->wanted = false;
	p->box = b;
	set_begun(p, r->type->flags & SOURCE_HOLDS);
	b->part = p;
	b->began_ns = loop_now(r->home->loop);
	count_begun(r);
	source_call_init(&b->batch.call, &r->source, on_call_done);
	give_credit(r, &b->batch);
	r->busy++;
	r->calls++;
	if (r->type->flags & SOURCE_BLOCKS) {
		if (r->shared->run_blocking(r->shared->ctx, r->home->loop, pull_blocking, pull_blocking_done,
					    b)) {
			source_fail(&b->batch.call, SOURCE_TRANSIENT, "no worker is free for the source");
			pull_ended(b, SOURCE_FAILED);
		}
		return;
	}
	b->end = r->type->pull(r->self, &p->source, &b->batch);
	if (b->end != SOURCE_LATER)
		pull_ended(b, b->end);
}

void runner_cancel_pulls(struct runner *r)
{
	for (struct part *p = r->parts; p; p = p->sibling) {
		if (p->phase != PART_PULLING && p->phase != PART_SETTLING)
			continue;
		if (!p->box)
			continue;
		atomic_store(&p->box->batch.call.cancelled, true);
		atomic_store(&p->box->settle.call.cancelled, true);
		if (r->type->cancel && r->calls)
			r->type->cancel(r->self, &p->source);
	}
}

/* ---- what a pull brought, as a commit ---- */

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

/* What stands in the scratch, its key first, becomes one more row of the commit. */
static int add_row(struct box *b, size_t key)
{
	uint32_t i = b->row_count;

	if (buf_status(&b->scratch))
		return ERR_NOMEM;
	b->row[i] = source_row_new(slice_make(b->scratch.ptr, key), slice_from(buf_slice(&b->scratch), key));
	b->copy[i] = b->row[i] ? source_row_copy(b->row[i]) : NULL;
	if (!b->copy[i])
		return ERR_NOMEM;
	source_row_record(b->part->runner->shared->state, b->copy[i], &b->more[i]);
	b->row_count++;
	return 0;
}

/* Where the schedule stands goes with the last batch of a part in a run: no commit is made for it alone. */
static int make_state_row(struct box *b)
{
	struct runner *r = b->part->runner;
	struct buf key;
	size_t n;
	int rc;

	if (b->end == SOURCE_MORE || b->batch.record_count == 0)
		return 0;
	buf_init(&key, STATE_ROW_BYTES_MAX);
	buf_clear(&b->scratch);
	rc = runner_state_row(r, &r->plan_checkpoint, &b->entry, &key, &b->scratch);
	b->paused = r->paused;
	n = key.len;
	/* Value first, then the key: turned round. */
	if (rc == 0)
		rc = buf_append_slice(&key, buf_slice(&b->scratch));
	buf_clear(&b->scratch);
	if (rc == 0)
		rc = buf_append_slice(&b->scratch, buf_slice(&key));
	buf_fini(&key);
	return rc ? rc : add_row(b, n);
}

/* A run beside the schedule counts what it has read, stored or not, where its type does not. */
static uint64_t units_after(const struct box *b)
{
	const struct part *p = b->part;

	if (b->batch.done)
		return b->batch.done;
	return p->done_units + (p->runner->run ? b->batch.record_count + b->batch.dead_count : 0);
}

static int make_row(struct box *b)
{
	struct part *p = b->part;
	struct source_batch_inner *in = b->batch.inner;
	struct source_part_row row = {.flags = b->end == SOURCE_DONE ? SOURCE_ROW_DONE : 0,
				      .records = p->records + b->entry.accepted,
				      .done = units_after(b),
				      .total = b->batch.total ? b->batch.total : p->total,
				      .checkpoint = p->source.checkpoint};
	size_t key;

	mem_free(b->checkpoint);
	b->checkpoint =
		mem_alloc(in->checkpoint.len + 1); /* taken now: nothing may fail once it has entered */
	if (!b->checkpoint)
		return ERR_NOMEM;
	if (in->checkpoint.len)
		memcpy(b->checkpoint, in->checkpoint.ptr, in->checkpoint.len);
	if (in->marked)
		row.checkpoint = (struct source_checkpoint){slice_make(b->checkpoint, in->checkpoint.len),
							    in->version};
	buf_clear(&b->scratch);
	part_row_key(p, &b->scratch);
	key = b->scratch.len;
	(void)source_row_put_part(&b->scratch, &row);
	return add_row(b, key);
}

/* ---- entering ---- */

static void box_finished(struct box *b);

/* The rows of state, which say how many records are stored: all of the batch, as far as is known. */
static int make_state(struct box *b)
{
	int rc;

	forget_rows(b);
	rc = make_row(b);
	if (rc == 0)
		rc = make_state_row(b);
	b->entry.more = b->more;
	b->entry.more_count = b->row_count;
	return rc;
}

/* Some were stored already, which is known only now. */
static int on_counted(struct ingest_rows *entry)
{
	return entry->duplicates ? make_state(entry->ctx) : 0;
}

/* Everything that the commit needs; again before each try, as topics and limits may have changed. */
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

static void enter(struct box *b)
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
		enter(p->box);
}

static void under_lock(struct ingest_rows *entry)
{
	struct box *b = entry->ctx;
	struct runner *r = b->part->runner;

	for (uint32_t i = 0; i < b->row_count; i++) {
		source_rows_set(r->shared->rows, b->row[i]);
		b->row[i] = NULL;
	}
	state_tidy(r->shared->state);
}

static bool has_something(const struct box *b)
{
	return b->batch.record_count || b->batch.dead_count || b->batch.inner->marked ||
	       b->end == SOURCE_DONE;
}

static void count_pull(struct runner *r, const struct box *b)
{
	(void)pthread_mutex_lock(&r->lock);
	r->shown.pulls++;
	r->shown.requests += b->batch.call.requests;
	r->shown.bytes_read += b->batch.call.bytes_read;
	(void)pthread_mutex_unlock(&r->lock);
}

static void pull_ended(struct box *b, enum source_end end)
{
	struct part *p = b->part;
	struct runner *r = p->runner;

	b->end = source_batch_close(&b->batch, end);
	r->calls--;
	count_ended(r, b);
	count_held(r, b, source_batch_held(&b->batch));
	count_pull(r, b);
	p->lag_records = b->batch.lag_records;
	p->lag_ms = b->batch.lag_ms;
	if (b->end != SOURCE_FAILED)
		runner_succeeded(r, &b->batch.call);
	if (has_something(b))
		enter(b);
	else
		box_finished(b);
}

/* ---- after it ---- */

static void count_entered(struct runner *r, const struct box *b)
{
	(void)pthread_mutex_lock(&r->lock);
	r->shown.records += b->entry.accepted;
	r->shown.duplicates += b->entry.duplicates;
	r->shown.dead += b->entry.dead_count;
	(void)pthread_mutex_unlock(&r->lock);
}

/* Each topic once, as far as letters of one stand together. */
static void tell_dead(const struct runner *r, const struct ingest_rows *entry)
{
	for (uint32_t i = 0; r->shared->on_dead && i < entry->dead_count; i++)
		if (i == 0 || !slice_eq(entry->deads[i].topic, entry->deads[i - 1].topic))
			r->shared->on_dead(r->shared->ctx, entry->deads[i].topic);
}

static void take_results(struct box *b)
{
	struct part *p = b->part;
	struct source_batch_inner *in = b->batch.inner;

	if (in->marked) {
		mem_free(p->checkpoint);
		p->checkpoint = b->checkpoint;
		b->checkpoint = NULL;
		p->source.checkpoint =
			(struct source_checkpoint){slice_make(p->checkpoint, in->checkpoint.len),
						   in->version};
	}
	p->records += b->entry.accepted;
	p->done_units = units_after(b);
	p->total = b->batch.total ? b->batch.total : p->total;
	/* What was known already is no arrival: a poll that only confirms what was pushed may come seldom. */
	p->runner->run_records += b->entry.accepted;
	count_entered(p->runner, b);
	if (b->row_count > 1)
		runner_saved(p->runner, b->paused);
}

static void charge_rate(struct runner *r, uint32_t records)
{
	int64_t now = loop_now(r->home->loop);

	if (r->rate <= 0)
		return;
	if (r->rate_free_ns < now)
		r->rate_free_ns = now;
	r->rate_free_ns += (int64_t)records * RUNNER_NS / r->rate;
}

static void on_entered(struct ingest_rows *entry)
{
	struct box *b = entry->ctx;
	struct part *p = b->part;

	if (entry->err == ERR_BAD_RECORD && !p->runner->stopping) {
		enter(b);
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
	p->entered++;
	if (b->batch.settle && p->runner->type->settle && b->end != SOURCE_FAILED) {
		p->phase = PART_SETTLING;
		return;
	}
	box_finished(b);
}

static void on_durable(struct ingest_rows *entry)
{
	struct box *b = entry->ctx;
	struct part *p = b->part;
	struct runner *r = p->runner;

	p->entered--;
	tell_dead(r, entry);
	if (p->box == b && p->phase == PART_SETTLING) {
		begin_settle(p, false);
		return;
	}
	box_give_back(r, b);
	if (loop_now(r->home->loop) - r->shown_ns > SHOW_NS) {
		r->shown_ns = loop_now(r->home->loop);
		runner_show_state(r);
	}
	loop_at_turn_end(r->home->loop, &r->turn);
	if (p->gone)
		part_drop(p);
}

/* Where the part goes on, once its batch has entered and was settled. */
static void part_goes_on(struct part *p, enum source_end end, const struct box *b)
{
	struct runner *r = p->runner;
	bool empty = !has_something(b);

	p->phase = PART_RESTS;
	if (end != SOURCE_MORE)
		set_begun(p, false);
	if (end == SOURCE_FAILED) {
		int64_t wait = runner_failed(r, p, &b->batch.call);
		if (!r->stopping)
			loop_timer_set(r->home->loop, &p->timer, wait);
		return;
	}
	p->failures = 0;
	p->done = end == SOURCE_DONE;
	p->waits = end == SOURCE_WAIT;
	r->some_done = r->some_done || p->done;
	if (p->done && !p->gone)
		part_drop(p);
	else if (end == SOURCE_MORE && empty)
		loop_timer_set(r->home->loop, &p->timer, EMPTY_AGAIN_NS);
	else if (end == SOURCE_MORE || p->wanted)
		part_want(p);
	else if (end == SOURCE_IDLE && (r->type->flags & SOURCE_STREAMS))
		loop_timer_set(r->home->loop, &p->timer, RUNNER_NS);
	p->wanted = false;
}

/* The part has nothing more to do with this box; it may still be on its way to the disk. */
static void box_finished(struct box *b)
{
	struct part *p = b->part;
	struct runner *r = p->runner;
	bool durable = !b->entry.busy;

	p->box = NULL;
	r->busy--;
	part_goes_on(p, b->end, b);
	if (durable)
		box_give_back(r, b);
	loop_at_turn_end(r->home->loop, &r->turn);
}

/* ---- settling ---- */

static void settle_ended(struct box *b, enum source_end end)
{
	struct part *p = b->part;
	struct runner *r = p->runner;

	r->calls--;
	if (end != SOURCE_FAILED) {
		p->opened_settle = false;
		if (b->settle.again)
			b->end = p->done ? SOURCE_DONE : SOURCE_MORE;
		runner_succeeded(r, &b->settle.call);
		box_finished(b);
		return;
	}
	/* What is to be done at the source comes before anything else is pulled. */
	p->opened_settle = true;
	p->done = p->done || b->end == SOURCE_DONE;
	b->batch.call.fault = b->settle.call.fault;
	b->batch.call.failure = b->settle.call.failure;
	b->batch.call.not_before_ms = b->settle.call.not_before_ms;
	b->end = SOURCE_FAILED;
	box_finished(b);
}

static void on_settle_done(struct source_call *call, enum source_end end)
{
	settle_ended((struct box *)(void *)((uint8_t *)call - offsetof(struct box, settle)), end);
}

static void settle_blocking(void *arg)
{
	struct box *b = arg;
	struct runner *r = b->part->runner;

	b->settle_end = r->type->settle(r->self, &b->part->source, &b->settle);
}

static void settle_blocking_done(void *arg)
{
	struct box *b = arg;

	settle_ended(b, b->settle_end);
}

static void run_settle(struct box *b)
{
	struct part *p = b->part;
	struct runner *r = p->runner;
	int rc = 0;

	p->phase = PART_SETTLING;
	r->calls++;
	source_call_init(&b->settle.call, &r->source, on_settle_done);
	b->settle.checkpoint = p->source.checkpoint;
	if (r->type->flags & SOURCE_BLOCKS) {
		rc = r->shared->run_blocking(r->shared->ctx, r->home->loop, settle_blocking,
					     settle_blocking_done, b);
		if (rc) {
			source_fail(&b->settle.call, SOURCE_TRANSIENT, "no worker is free for the source");
			settle_ended(b, SOURCE_FAILED);
		}
		return;
	}
	b->settle_end = r->type->settle(r->self, &p->source, &b->settle);
	if (b->settle_end != SOURCE_LATER)
		settle_ended(b, b->settle_end);
}

static void begin_settle(struct part *p, bool again)
{
	struct runner *r = p->runner;
	struct box *b = p->box;

	if (!b) {
		b = box_new(r);
		if (!b) {
			p->phase = PART_RESTS;
			loop_timer_set(r->home->loop, &p->timer, HELD_NS);
			return;
		}
		ingest_rows_again(&b->entry, on_entered, on_durable, b);
		b->part = p;
		b->end = SOURCE_IDLE;
		p->box = b;
		p->wanted = false;
		r->busy++;
	}
	b->settle.again = again;
	run_settle(b);
}

/* ---- letting go ---- */

static void dropped(struct part *p)
{
	struct runner *r = p->runner;

	p->phase = PART_RESTS;
	p->source.state = NULL;
	set_begun(p, false);
	/* A wake may still be on its way: what it points to stays until it has come. */
	if (p->gone && p->entered == 0 && !atomic_load(&p->woken))
		part_free(p);
	loop_at_turn_end(r->home->loop, &r->turn);
}

static void drop_blocking(void *arg)
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
		drop_blocking(p);
		drop_done(p);
		return;
	}
	if (r->shared->run_blocking(r->shared->ctx, r->home->loop, drop_blocking, drop_done, p)) {
		r->calls--;
		p->phase = PART_RESTS;
		loop_timer_set(r->home->loop, &p->timer, HELD_NS);
	}
}
