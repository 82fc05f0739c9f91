/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source by the machinery itself (connect/runner.h), of a type that is made up: a system with parts that begin and
 * end, whose rows are known by part and number. Some rows are bad, some the door refuses, some have idempotency
 * keys and are read again; plans, pulls and settlings fail, are cut in the middle, end at once, on a worker, or
 * later. What is in the log after a start is compared with the checkpoints that are found beside it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/wire.h"
#include "conf/conf.h"
#include "connect/runner.h"
#include "obs/say.h"
#include "world.h"

#define PARTS 40u
#define PARTS_OPEN 3u
#define AGAIN 6u
#define LATER_MAX 8u
#define ROW_BYTES 3100u

enum row_kind { ROW_PLAIN, ROW_BAD, ROW_REFUSED, ROW_KEYED };
enum { TOPIC_A, TOPIC_B, DEAD_A, DEAD_B, TOPICS };
/* What keeps its order: of the dead letters of a batch those that the type had come before those that the door had. */
enum { REFUSED_A = TOPICS, REFUSED_B, STREAMS };

static const char *const topics[TOPICS] = {"src-a", "src-b", "src-a.dead", "src-b.dead"};

/* The system at the other end, which outlives the machine. */
static struct origin {
	uint32_t begins, length; /* rows are numbered from begins on */
	uint32_t pulled;         /* all before was marked once */
	uint32_t settled;        /* all before was said to be durable */
} origins[PARTS];

/* A call that ends later. */
struct later {
	struct source_part *part; /* NULL: free */
	struct source_batch *batch;
};

/* Of this life. */
static struct {
	struct world *w;
	struct source_rows *rows;
	struct loop *loop;
	struct runner_shared shared;
	struct runner_loop home;
	struct runner *runner; /* NULL: none at work */
	struct source *source; /* as the type was opened for it */
	bool stopping, stopped, paused;
	struct later later[LATER_MAX];
	struct source_part *parts[PARTS]; /* that wait, with a state */
	_Atomic int64_t held;
} here;

bool sources_are_on(const struct world *w)
{
	uint64_t n = w->seed % 24;

	return (n == 11 || n == 17 || n == 21) && !w->profile.rot;
}

bool sources_own(const char *topic)
{
	return strncmp(topic, "src-", 4) == 0;
}

/* Lines of the log about sources are no news here. */
bool say(enum say_level level, const char *event, const char *format, ...)
{
	(void)level;
	(void)format;
	if (here.w)
		world_say(here.w, "source: %s", event);
	return true;
}

/* ---- rows ---- */

static uint32_t mixed(uint32_t part, uint32_t n)
{
	uint32_t x = (part * 7919 + n) * 2654435761u;

	return x >> 8;
}

static enum row_kind kind_of(uint32_t part, uint32_t n)
{
	uint32_t x = mixed(part, n) % 16;

	return x == 0 ? ROW_BAD : x == 1 ? ROW_REFUSED : x < 6 ? ROW_KEYED : ROW_PLAIN;
}

/* Where it is found in the end: a topic, or what was refused in one. */
static uint32_t stream_of(uint32_t part, uint32_t n)
{
	enum row_kind kind = kind_of(part, n);
	uint32_t first = kind == ROW_BAD ? DEAD_A : kind == ROW_REFUSED ? REFUSED_A : TOPIC_A;

	return first + (n % 5 == 4);
}

static struct slice row_value(uint32_t part, uint32_t n, char text[ROW_BYTES])
{
	size_t len = (size_t)snprintf(text, 64, "%u %u ", part, n);
	size_t more = mixed(n, part) % (n % 50 == 7 ? 3000 : 60);

	memset(text + len, 'a' + (char)(n % 26), more);
	return slice_make(text, len + more);
}

static void add_row(struct source_batch *b, uint32_t part, uint32_t n)
{
	struct source_record record = SOURCE_RECORD_INIT;
	enum row_kind kind = kind_of(part, n);
	char text[ROW_BYTES], key[32];
	struct slice value = row_value(part, n, text);
	uint8_t *copy;

	if (kind == ROW_BAD) {
		struct source_dead dead = {.bytes = value, .err = ERR_BAD_JSON, .text = "it is bad"};
		if (n % 5 == 4)
			dead.topic = slice_str(topics[TOPIC_B]);
		(void)source_add_dead(b, &dead);
		return;
	}
	record.value = value;
	if (n % 5 == 4)
		record.topic = slice_str(topics[TOPIC_B]);
	if (kind == ROW_REFUSED)
		record.partition = 99;
	if (kind == ROW_KEYED) {
		(void)snprintf(key, sizeof(key), "%u/%u", part, n);
		record.idempotency_key = slice_str(key);
	} else if (n % 2 && (copy = source_alloc(b, value.len + 1)) != NULL) {
		memcpy(copy, value.ptr, value.len);
		record.value = slice_make(copy, value.len);
		record.stays = true;
	}
	(void)source_add(b, &record);
}

/* ---- the type ---- */

static uint32_t number_of(const struct source_part *part)
{
	unsigned number = PARTS;

	(void)sscanf((const char *)part->name.ptr, "p%u", &number);
	CHECK(number < PARTS);
	return number;
}

static uint32_t place_of(const struct source_checkpoint *c, uint32_t otherwise)
{
	CHECK(!c->bytes.ptr || c->bytes.len == 4);
	return c->bytes.ptr ? wire_load_u32(c->bytes.ptr) : otherwise;
}

static void mark(struct source_batch *b, uint32_t part, uint32_t n)
{
	uint8_t place[4];

	wire_put_u32(place, n);
	if (source_mark(b, 1, slice_make(place, 4)) == 0 && origins[part].pulled < n)
		origins[part].pulled = n;
}

/* As what overlaps: those with keys are stored already. */
static void add_again(struct source_batch *b, uint32_t part, uint32_t at)
{
	uint32_t n = at - origins[part].begins > AGAIN ? at - AGAIN : origins[part].begins;

	for (; n < at; n++)
		if (kind_of(part, n) == ROW_KEYED)
			add_row(b, part, n);
}

static enum source_end pull_rows(struct source_part *part, struct source_batch *b)
{
	struct world *w = here.w;
	uint32_t number = number_of(part), count = below(w, 25);
	const struct origin *o = &origins[number];
	uint32_t at = place_of(&part->checkpoint, o->begins);

	if (chance(w, 12))
		return source_fail(&b->call, chance(w, 4) ? SOURCE_FINAL : SOURCE_TRANSIENT,
				   "it does not answer");
	if (chance(w, 4))
		add_again(b, number, at);
	for (; count && at < o->length && !source_full(b); count--) {
		add_row(b, number, at++);
		if (chance(w, 5))
			mark(b, number, at);
	}
	if (chance(w, 10))
		return source_fail(&b->call, SOURCE_TRANSIENT, "it broke off");
	if (b->record_count + b->dead_count || at == o->length || chance(w, 2))
		mark(b, number, at);
	b->settle = chance(w, 4);
	if (at == o->length)
		return SOURCE_DONE;
	if (!part->state || chance(w, 2))
		return chance(w, 3) ? SOURCE_IDLE : SOURCE_MORE;
	here.parts[number] = part;
	return SOURCE_WAIT;
}

static enum source_end made_pull(void *self, struct source_part *part, struct source_batch *batch)
{
	(void)self;
	if (!part->state)
		part->state = mem_alloc(8);
	return pull_rows(part, batch);
}

static enum source_end made_pull_later(void *self, struct source_part *part, struct source_batch *batch)
{
	for (uint32_t i = 0; i < LATER_MAX && chance(here.w, 2); i++) {
		if (here.later[i].part)
			continue;
		if (!part->state)
			part->state = mem_alloc(8);
		here.later[i] = (struct later){.part = part, .batch = batch};
		return SOURCE_LATER;
	}
	return made_pull(self, part, batch);
}

static void end_later(struct later *l)
{
	struct later call = *l;

	l->part = NULL;
	source_done(&call.batch->call, pull_rows(call.part, call.batch));
}

/* Parts end in turn; the plan's checkpoint is the first that has not, and goes on with what it names. */
static enum source_end made_plan(void *self, struct source_plan *plan)
{
	uint32_t known = place_of(&plan->checkpoint, 0), first = known;
	struct source_checkpoint checkpoint;
	uint8_t place[4];
	char name[16];
	bool done;

	(void)self;
	if (chance(here.w, 15))
		return source_fail(&plan->call, SOURCE_TRANSIENT, "it has no time");
	for (; first < PARTS - 1; first++) {
		(void)snprintf(name, sizeof(name), "p%u ", first);
		if (!source_plan_find(plan, slice_str(name), &checkpoint, &done) || !done)
			break;
	}
	for (uint32_t i = first; i < PARTS && i < first + PARTS_OPEN; i++) {
		struct source_plan_part part = {.name = slice_str(name), .total = origins[i].length};
		(void)snprintf(name, sizeof(name), "p%u ", i);
		part.name = slice_str(name);
		wire_put_u32(place, origins[i].begins);
		if (origins[i].begins)
			part.checkpoint = (struct source_checkpoint){slice_make(place, 4), 1};
		(void)source_plan_add(plan, &part);
	}
	wire_put_u32(place, first);
	if (first != known)
		(void)source_plan_mark(plan, 1, slice_make(place, 4));
	return SOURCE_IDLE;
}

static enum source_end made_settle(void *self, struct source_part *part, struct source_settle *settle)
{
	struct origin *o = &origins[number_of(part)];
	uint32_t at = place_of(&settle->checkpoint, o->begins);

	(void)self;
	if (chance(here.w, 8))
		return source_fail(&settle->call, SOURCE_TRANSIENT, "it cannot be settled");
	if (at > o->settled)
		o->settled = at;
	return SOURCE_IDLE;
}

static void made_drop(void *self, struct source_part *part)
{
	(void)self;
	here.parts[number_of(part)] = NULL;
	mem_free(part->state);
}

static int made_open(const struct source_setup *setup, void **self, struct fault *fault)
{
	*self = mem_alloc(8);
	if (!*self)
		return fault_set(fault, ERR_NOMEM, "no memory");
	here.source = setup->source;
	return 0;
}

static void made_close(void *self)
{
	here.source = NULL;
	mem_free(self);
}

static void made_cancel(void *self, struct source_part *part)
{
	(void)self;
	(void)part; /* who is later ends soon by itself */
}

static const struct source_type types[] = {
	{.kind = {.name = "made_up", .summary = "Rows that are known"},
	 .flags = SOURCE_BLOCKS,
	 .every_ms = 50,
	 .open = made_open,
	 .close = made_close,
	 .plan = made_plan,
	 .pull = made_pull,
	 .settle = made_settle,
	 .drop = made_drop},
	{.kind = {.name = "made_up_later", .summary = "Rows that are known, some later"},
	 .every_ms = 50,
	 .open = made_open,
	 .close = made_close,
	 .plan = made_plan,
	 .pull = made_pull_later,
	 .settle = made_settle,
	 .drop = made_drop,
	 .cancel = made_cancel},
};

static struct conf_source conf;
static int paused_at_stop; /* -1: not known */

void sources_reset(struct world *w)
{
	uint32_t most = 1 + below(w, 200);

	paused_at_stop = -1;
	memset(origins, 0, sizeof(origins));
	for (uint32_t i = 0; i < PARTS; i++) {
		origins[i].begins = i % 2 ? i * 3 : 0;
		origins[i].length = origins[i].begins + (i + PARTS_OPEN < PARTS ? below(w, most) : 1u << 30);
		origins[i].pulled = origins[i].settled = origins[i].begins;
	}
	conf = (struct conf_source){.name = "made",
				    .type = "made_up",
				    .topic = topics[TOPIC_A],
				    .every_ms = 1 + below(w, 2000),
				    .timezone = "UTC",
				    .jitter_ms = chance(w, 2) ? below(w, 100) : 0,
				    .overlap = chance(w, 2) ? CONF_OVERLAP_QUEUE : CONF_OVERLAP_SKIP,
				    .at_start = chance(w, 2),
				    .parallel = 1 + below(w, 4),
				    .retry_min_ms = 10,
				    .retry_max_ms = 1 + below(w, 500),
				    .rate_per_second = chance(w, 4) ? 1 + (int64_t)below(w, 500) : -1,
				    .batch_records = 1 + below(w, 40),
				    .batch_bytes = 100 + below(w, 20000),
				    .kind = &types[below(w, 2)].kind,
				    .refs = 1u << 30};
	if (conf.retry_max_ms < conf.retry_min_ms)
		conf.retry_max_ms = conf.retry_min_ms;
}

/* ---- the machine comes and goes ---- */

int sources_open(struct world *w)
{
	memset(&here, 0, sizeof(here));
	here.w = w;
	return source_rows_new(w->state, &here.rows);
}

static int run_blocking(void *ctx, struct loop *loop, void (*run)(void *arg), void (*done)(void *arg),
			void *arg)
{
	(void)loop;
	return client_queue_job(ctx, run, done, arg);
}

/* Whether it is paused is state, too: a clean stop keeps it, unless the log took nothing. */
static void look_at_pause(struct world *w)
{
	struct runner_figures f;

	runner_figures(here.runner, &f);
	here.paused = f.state == RUNNER_PAUSED;
	if (paused_at_stop >= 0 && f.state != RUNNER_BROKEN && here.paused != (paused_at_stop == 1) &&
	    !w->profile.allocs && !w->profile.space)
		model_fail("a source was stopped while it was %spaused, and begins %spaused",
			   paused_at_stop ? "" : "not ", here.paused ? "" : "not ");
	paused_at_stop = -1;
}

static void begin(struct world *w)
{
	here.stopping = here.stopped = false;
	if (runner_new(&here.shared, &here.home, &conf, &here.runner)) {
		here.runner = NULL;
		return;
	}
	runner_start(here.runner);
	look_at_pause(w);
}

void sources_start(struct world *w)
{
	here.loop = world_loop(sim_sys(w->sim));
	here.home = (struct runner_loop){.loop = here.loop,
					 .queue = w->queue,
					 .boxes = chance(w, 2) ? runner_boxes_new() : NULL};
	here.shared = (struct runner_shared){.sys = sim_sys(w->sim),
					     .log = w->log,
					     .state = w->state,
					     .topics = w->topics,
					     .ingest = w->ingest,
					     .rows = here.rows,
					     .run_blocking = run_blocking,
					     .ctx = w,
					     .held_bytes = &here.held};
	begin(w);
}

static void on_stopped(void *ctx)
{
	(void)ctx;
	here.stopped = true;
}

void sources_stop(struct world *w)
{
	(void)w;
	if (here.stopping || !here.runner)
		return;
	here.stopping = true;
	runner_stop(here.runner, on_stopped, NULL);
}

bool sources_stopped(struct world *w)
{
	(void)w;
	if (here.runner && !here.stopped)
		return false;
	if (here.runner)
		paused_at_stop = here.paused;
	runner_free(here.runner);
	here.runner = NULL;
	return true;
}

void sources_close(struct world *w)
{
	(void)w;
	if (here.held != 0)
		model_fail("%lld bytes of batches are still counted after a stop", (long long)here.held);
	source_rows_free(here.rows);
	runner_boxes_free(here.home.boxes);
	here.w = NULL;
}

void sources_forget(struct world *w)
{
	if (!w->down_cleanly)
		paused_at_stop = -1;
	memset(&here, 0, sizeof(here));
}

/* ---- what happens ---- */

static void ask_for_something(struct world *w)
{
	struct source_part *part = here.parts[below(w, PARTS)];

	for (uint32_t i = 0; i < PARTS && !part; i++)
		part = here.parts[i];
	if (part && chance(w, 2))
		source_wake(part);
	if (here.stopping)
		return;
	if (here.source && chance(w, 40))
		source_plan_again(here.source);
	if (chance(w, 20))
		runner_run(here.runner);
	if (here.paused ? chance(w, 4) : chance(w, 60))
		here.paused = runner_pause(here.runner, !here.paused, NULL) ? here.paused : !here.paused;
	if (chance(w, 80))
		sources_stop(w);
}

void sources_turn(struct world *w)
{
	int64_t wait = world_loop_wait(here.loop);

	if (wait > 0 && chance(w, 2))
		sim_pass(w->sim, wait < 1000000000 ? wait : 1000000000);
	for (uint32_t i = 0; i < LATER_MAX; i++)
		if (here.later[i].part && chance(w, 2))
			end_later(&here.later[i]);
	if (!here.runner || here.stopped) {
		if (sources_stopped(w) && chance(w, 4))
			begin(w);
	} else {
		ask_for_something(w);
	}
	world_loop_turn(here.loop);
}

uint64_t sources_progress(struct world *w)
{
	struct runner_figures f;

	(void)w;
	if (!here.runner || here.stopping || here.paused)
		return UINT64_MAX;
	runner_figures(here.runner, &f);
	return f.state == RUNNER_BROKEN ? UINT64_MAX : f.records + f.dead + f.duplicates;
}

/* ---- the oracle ---- */

struct part_found {
	bool row;         /* it has one */
	uint32_t at;      /* its checkpoint: all before was read */
	uint64_t records; /* that it says are stored */
	uint32_t next[STREAMS];
	uint64_t stored;
};

static struct part_found found[PARTS];

/* The first row from n on that belongs there; or `end`. */
static uint32_t next_row(uint32_t part, uint32_t stream, uint32_t n, uint32_t end)
{
	while (n < end && stream_of(part, n) != stream)
		n++;
	return n;
}

static void find_record(struct world *w, uint32_t topic, const struct batch_record *r)
{
	unsigned part = PARTS, n = 0;
	char text[ROW_BYTES] = {0};
	struct part_found *f;
	uint32_t stream;

	memcpy(text, r->value.ptr, r->value.len < ROW_BYTES ? r->value.len : ROW_BYTES - 1);
	if (sscanf(text, "%u %u ", &part, &n) != 2 || part >= PARTS)
		model_fail("offset %" PRId64 " of %s is no row", r->offset, topics[topic]);
	f = &found[part];
	if (n >= f->at)
		model_fail("row %u of part %u is in %s, and the checkpoint is at %u", n, part, topics[topic],
			   f->at);
	stream = stream_of(part, n);
	if ((stream < TOPICS ? stream : stream - REFUSED_A + DEAD_A) != topic)
		model_fail("row %u of part %u does not belong in %s", n, part, topics[topic]);
	if (next_row(part, stream, f->next[stream], f->at) != n)
		model_fail("row %u of part %u is in %s at %" PRId64 " where %u was to come", n, part,
			   topics[topic], r->offset, next_row(part, stream, f->next[stream], f->at));
	if (!slice_eq(r->value, row_value(part, n, text)))
		model_fail("row %u of part %u is in %s with other bytes", n, part, topics[topic]);
	f->next[stream] = n + 1;
	f->stored += topic < DEAD_A;
	w->source_rows++;
}

static void find_batch(struct world *w, uint32_t topic, struct slice batch, int64_t *at)
{
	struct batch_record record;
	struct model_walk walk;

	if (model_walk_start(&walk, batch))
		model_fail("a batch of %s is not whole", topics[topic]);
	while (batch_walk_next(&walk.walk, &record) == 1) {
		if (record.offset < *at)
			continue;
		find_record(w, topic, &record);
		*at = record.offset + 1;
	}
	model_walk_end(&walk);
}

static void read_topic(struct world *w, uint32_t topic)
{
	struct topic *t = topics_find(w->topics, slice_str(topics[topic]));
	struct partition_range range;
	struct batch_head head;
	struct log_view view;

	if (!t)
		return;
	partition_range(topic_partition(t, 0), &range);
	for (int64_t at = range.start; at < range.end;) {
		if (log_read_wait(topic_partition(t, 0), at, 1 + below(w, 20000), &view) != LOG_READ_OK ||
		    view.gap.from != view.gap.to)
			model_fail("offset %" PRId64 " of %s cannot be read", at, topics[topic]);
		for (struct slice rest = view.batches; rest.len; rest = slice_from(rest, head.bytes)) {
			if (batch_check(rest, &head))
				model_fail("a batch of %s is not whole", topics[topic]);
			find_batch(w, topic, rest, &at);
		}
		blob_unref(view.blob);
	}
}

static int find_part(void *ctx, struct slice key, struct slice value)
{
	struct source_row_key name;
	struct source_part_row row;
	struct source_part part;
	uint32_t number;

	(void)ctx;
	CHECK(source_row_read_key(key, &name) == 0 && source_row_read_part(value, &row) == 0);
	part.name = name.part;
	number = number_of(&part);
	found[number].row = true;
	found[number].at = place_of(&row.checkpoint, origins[number].begins);
	found[number].records = row.records;
	if ((row.flags & SOURCE_ROW_DONE) && found[number].at != origins[number].length)
		model_fail("part %u is called done at row %u of %u", number, found[number].at,
			   origins[number].length);
	return 0;
}

/* What the rows of state say: a part that the plan has left behind is read to its end. */
static void find_rows(void)
{
	struct source_row_key name = {'s', slice_str(conf.name), slice_null()};
	struct source_state_row row = {0};
	struct slice value;
	uint32_t first;
	struct buf key;

	buf_init(&key, 1024);
	(void)source_row_put_key(&key, &name);
	value = source_rows_find(here.rows, buf_slice(&key));
	CHECK(!value.ptr || source_row_read_state(value, &row) == 0);
	first = place_of(&row.plan, 0);
	for (uint32_t i = 0; i < PARTS; i++)
		found[i].at = i < first ? origins[i].length : origins[i].begins;
	buf_clear(&key);
	name.kind = 'p';
	(void)source_row_put_key(&key, &name);
	(void)source_rows_each(here.rows, buf_slice(&key), find_part, NULL);
	for (uint32_t i = 0; i < first; i++)
		if (found[i].row)
			model_fail("part %u was left behind and has a row", i);
	buf_fini(&key);
}

static void check_part(uint32_t number)
{
	const struct part_found *f = &found[number];
	const struct origin *o = &origins[number];

	if (f->at < o->settled)
		model_fail("rows of part %u before %u were settled as durable, and the checkpoint is at %u",
			   number, o->settled, f->at);
	if (f->at > o->pulled)
		model_fail("the checkpoint of part %u is at %u, and nothing was marked past %u", number,
			   f->at, o->pulled);
	if (f->row && f->records != f->stored)
		model_fail("part %u says that %" PRIu64 " records are stored, and %" PRIu64 " are", number,
			   f->records, f->stored);
	for (uint32_t i = 0; i < STREAMS; i++)
		if (next_row(number, i, f->next[i], f->at) != f->at)
			model_fail("row %u of part %u is lost, and the checkpoint is at %u",
				   next_row(number, i, f->next[i], f->at), number, f->at);
}

void sources_check(struct world *w)
{
	memset(found, 0, sizeof(found));
	for (uint32_t i = 0; i < PARTS; i++)
		for (uint32_t k = 0; k < STREAMS; k++)
			found[i].next[k] = origins[i].begins;
	log_enter_begin(w->log);
	find_rows();
	log_enter_end(w->log);
	for (uint32_t i = 0; i < TOPICS; i++)
		read_topic(w, i);
	for (uint32_t i = 0; i < PARTS; i++)
		check_part(i);
}
