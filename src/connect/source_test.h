/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SOURCE_TEST_H
#define WEIR_CONNECT_SOURCE_TEST_H

/*
 * For unit tests of types: a machinery in memory. It opens a type from YAML, plans and pulls, keeps
 * checkpoints, and remembers every record as a log would, so that a test says what it expects and no more:
 *
 *	struct source_test t;
 *
 *	source_test_open(&t, &source_files, "path: /tmp/x/a.ndjson\n");
 *	assert_int_equal(source_test_run(&t), SOURCE_IDLE);      plan, and every part until it has no more
 *	assert_int_equal(t.record_count, 3);
 *	assert_string_equal(source_test_value(&t, 0), "{\"a\":1}");
 *	source_test_crash(&t);                                   closed and opened: checkpoints stay, states go
 *	source_test_run(&t);
 *	assert_int_equal(t.record_count, 3);                     nothing twice
 *	source_test_close(&t);
 *
 * source_test_pull() does one pull, with a credit, and gives its end; t.fault says why one failed. Types that do not
 * block get a loop in a thread of its own; a test needs to know nothing of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "connect/inner.h"
#include "conf/redact.h"
#include "conf/world.h"

#define SOURCE_TEST_PARTS 256u
#define SOURCE_TEST_WARNINGS 16u

struct source_test_part {
	struct source_part part; /* the first member */
	struct source_test *test;
	char *name, *title;
	uint8_t *bytes; /* the checkpoint */
	bool done, waits;
	uint64_t total;
	_Atomic uint32_t woken;
};

struct source_test {
	struct source source; /* the first member */
	const struct source_type *type;
	struct source_window window; /* set from..to before source_test_open; see with_window */
	bool with_window, test, guarded;
	struct arena arena, kept; /* settings; what was entered */
	void *settings, *self;
	struct source_test_part *parts[SOURCE_TEST_PARTS];
	uint32_t part_count;
	struct source_checkpoint plan_checkpoint;
	/* Everything that was entered since the open, in order. */
	struct source_item *records;
	uint32_t record_count, record_cap;
	struct source_dead_item *deads;
	uint32_t dead_count, dead_cap;
	/* Of the last call. */
	struct source_batch batch;
	struct fault fault;
	enum source_failure failure;
	int64_t not_before_ms;
	/* Added up. */
	uint64_t requests, pulls, settles;
	_Atomic uint32_t plans_wanted;
	char warnings[SOURCE_TEST_WARNINGS][504];
	_Atomic uint32_t warning_count;
	/* Of types that do not block. */
	struct loop *loop;
	pthread_t thread;
	sem_t done;
	enum source_end end;
};

/* ---- what the type calls ---- */

static inline void source_test_on_wake(struct source_part *part)
{
	atomic_fetch_add(&((struct source_test_part *)part)->woken, 1);
}

static inline void source_test_on_plan(struct source *source)
{
	atomic_fetch_add(&((struct source_test *)source)->plans_wanted, 1);
}

static inline void source_test_on_warn(struct source *source, const char *text)
{
	struct source_test *t = (struct source_test *)source;
	uint32_t n = atomic_load(&t->warning_count);

	for (uint32_t i = 0; i < n; i++)
		if (strcmp(t->warnings[i], text) == 0)
			return;
	if (n == SOURCE_TEST_WARNINGS)
		return;
	memcpy(t->warnings[n], text, strlen(text) + 1);
	atomic_store(&t->warning_count, n + 1);
}

static inline void source_test_on_done(struct source_call *call, enum source_end end)
{
	struct source_test *t = (struct source_test *)call->source;

	t->end = end;
	sem_post(&t->done);
}

/* ---- running something where the type's calls run ---- */

struct source_test_job {
	struct loop_msg msg;
	struct source_test *test;
	void (*run)(struct source_test_job *job);
	struct source_test_part *part;
	struct source_plan_inner *plan;
	struct source_settle *settle;
};

static inline void source_test_job_run(struct loop *loop, struct loop_msg *msg)
{
	struct source_test_job *job = (struct source_test_job *)msg;

	(void)loop;
	job->test->end = SOURCE_IDLE;
	job->run(job);
	if (job->test->end != SOURCE_LATER)
		sem_post(&job->test->done);
}

/* Runs it to its end, and gives that. */
static inline enum source_end source_test_do(struct source_test *t, struct source_test_job *job)
{
	job->test = t;
	if (!t->loop) {
		t->end = SOURCE_IDLE;
		job->run(job);
		assert_int_not_equal(t->end, SOURCE_LATER);
		return t->end;
	}
	job->msg.run = source_test_job_run;
	loop_post(t->loop, &job->msg);
	while (sem_wait(&t->done) != 0)
		;
	return t->end;
}

static inline void source_test_do_open(struct source_test_job *job)
{
	struct source_test *t = job->test;
	struct source_setup setup = {.source = &t->source,
				     .name = "test",
				     .topic = "topic",
				     .settings = t->settings,
				     .sys = sys_kernel(),
				     .loop = t->loop,
				     .window = t->with_window ? &t->window : NULL,
				     .test = t->test,
				     .guarded = t->guarded};

	t->fault = (struct fault){0};
	if (t->type->open(&setup, &t->self, &t->fault)) {
		t->self = NULL;
		t->end = SOURCE_FAILED;
	}
}

static inline void source_test_do_close(struct source_test_job *job)
{
	job->test->type->close(job->test->self);
}

static inline void source_test_do_plan(struct source_test_job *job)
{
	job->test->end = job->test->type->plan(job->test->self, &job->plan->plan);
}

static inline void source_test_do_pull(struct source_test_job *job)
{
	struct source_test *t = job->test;

	t->end = t->type->pull(t->self, &job->part->part, &t->batch);
}

static inline void source_test_do_settle(struct source_test_job *job)
{
	struct source_test *t = job->test;

	t->end = t->type->settle(t->self, &job->part->part, job->settle);
}

static inline void source_test_do_drop(struct source_test_job *job)
{
	struct source_test *t = job->test;

	if (t->type->drop)
		t->type->drop(t->self, &job->part->part);
}

static inline void *source_test_loop(void *loop)
{
	loop_run(loop);
	return NULL;
}

/* ---- opening ---- */

/* Reads the settings; gives the problems as text, empty where there are none. Returns owned (free). */
static inline char *source_test_check(const struct source_type *type, const char *yaml)
{
	struct conf_problems problems;
	struct arena arena;
	struct buf text;
	void *settings;

	arena_init(&arena, 4096, 1u << 24);
	conf_problems_init(&problems);
	(void)conf_kind_load(&type->kind, slice_str(yaml), conf_world_process(), &arena, &settings,
			     &problems);
	buf_init(&text, 1u << 20);
	conf_problems_text(&problems, false, &text);
	buf_append_byte(&text, 0);
	conf_problems_fini(&problems);
	arena_fini(&arena);
	char *copy = strdup((char *)text.ptr);
	buf_fini(&text);
	return copy;
}

/* Opens; 0, or the error that open gave (t->fault). The test fails where the settings are not right. */
static inline int source_test_try(struct source_test *t, const struct source_type *type, const char *yaml)
{
	static const struct source_ops ops = {.wake = source_test_on_wake,
					      .plan_again = source_test_on_plan,
					      .warn = source_test_on_warn};
	struct source_test_job job = {.run = source_test_do_open};
	struct conf_problems problems;
	int rc;

	t->source.ops = &ops;
	t->type = type;
	arena_init(&t->arena, 4096, 1u << 24);
	arena_init(&t->kept, 65536, (size_t)4 << 30);
	conf_problems_init(&problems);
	rc = conf_kind_load(&type->kind, slice_str(yaml), conf_world_process(), &t->arena, &t->settings,
			    &problems);
	if (rc) {
		char *text = source_test_check(type, yaml);
		print_error("%s", text);
		free(text);
	}
	conf_problems_fini(&problems);
	assert_int_equal(rc, 0);
	assert_int_equal(redact_secrets(&type->kind, t->settings, &t->arena, &t->source.secrets,
					&t->source.secret_count),
			 0);
	assert_int_equal(source_batch_init(&t->batch), 0);
	sem_init(&t->done, 0, 0);
	if (!(type->flags & SOURCE_BLOCKS)) {
		struct loop_options options = {.sys = sys_kernel()};
		assert_int_equal(loop_new(&options, &t->loop), 0);
		assert_int_equal(pthread_create(&t->thread, NULL, source_test_loop, t->loop), 0);
	}
	return source_test_do(t, &job) == SOURCE_FAILED ? -1 : 0;
}

/* What is set in *t before a call of source_test_setup counts: with_window and window, test, guarded. */
static inline void source_test_setup(struct source_test *t)
{
	memset(t, 0, sizeof(*t));
}

/* For settings that are right. t need not be initialised. */
static inline void source_test_open(struct source_test *t, const struct source_type *type, const char *yaml)
{
	source_test_setup(t);
	if (source_test_try(t, type, yaml))
		fail_msg("%s", t->fault.text);
}

static inline void source_test_drop_all(struct source_test *t)
{
	for (uint32_t i = 0; i < t->part_count; i++) {
		struct source_test_job job = {.run = source_test_do_drop, .part = t->parts[i]};
		if (t->self)
			source_test_do(t, &job);
		t->parts[i]->part.state = NULL;
		t->parts[i]->waits = false;
	}
}

static inline void source_test_free_part(struct source_test_part *part)
{
	free(part->name);
	free(part->title);
	free(part->bytes);
	free(part);
}

static inline void source_test_close(struct source_test *t)
{
	struct source_test_job job = {.run = source_test_do_close};

	source_test_drop_all(t);
	if (t->self)
		source_test_do(t, &job);
	if (t->loop) {
		loop_stop(t->loop);
		pthread_join(t->thread, NULL);
		loop_free(t->loop);
	}
	for (uint32_t i = 0; i < t->part_count; i++)
		source_test_free_part(t->parts[i]);
	source_batch_fini(&t->batch);
	arena_fini(&t->arena);
	arena_fini(&t->kept);
	mem_free(t->records);
	mem_free(t->deads);
	sem_destroy(&t->done);
}

/* Closed and opened again: what was entered and its checkpoints are there, what the type had in memory is not. */
static inline void source_test_crash(struct source_test *t)
{
	struct source_test_job close_it = {.run = source_test_do_close};
	struct source_test_job open_it = {.run = source_test_do_open};

	source_test_drop_all(t);
	source_test_do(t, &close_it);
	assert_int_not_equal(source_test_do(t, &open_it), SOURCE_FAILED);
}

/* ---- parts ---- */

/* The part of a name, or NULL. */
static inline struct source_test_part *source_test_part(struct source_test *t, struct slice name)
{
	for (uint32_t i = 0; i < t->part_count; i++)
		if (slice_eq(t->parts[i]->part.name, name))
			return t->parts[i];
	return NULL;
}

static inline void source_test_set_checkpoint(struct source_test_part *p, uint8_t version, struct slice bytes)
{
	uint8_t *copy = malloc(bytes.len + 1);

	if (bytes.len)
		memcpy(copy, bytes.ptr, bytes.len);
	free(p->bytes);
	p->bytes = copy;
	p->part.checkpoint = (struct source_checkpoint){slice_make(copy, bytes.len), version};
}

static inline struct source_test_part *source_test_add_part(struct source_test *t, struct slice name,
							    struct slice title)
{
	struct source_test_part *p = calloc(1, sizeof(*p));

	assert_true(t->part_count < SOURCE_TEST_PARTS);
	p->name = strndup((const char *)name.ptr, name.len);
	p->title = strndup((const char *)title.ptr, title.len);
	p->part.name = slice_make(p->name, name.len);
	p->part.title = slice_make(p->title, title.len);
	p->part.source = &t->source;
	t->parts[t->part_count++] = p;
	return p;
}

static inline void source_test_remove_part(struct source_test *t, uint32_t i)
{
	struct source_test_job job = {.run = source_test_do_drop, .part = t->parts[i]};

	source_test_do(t, &job);
	source_test_free_part(t->parts[i]);
	t->parts[i] = t->parts[--t->part_count];
}

/* ---- plan ---- */

static inline bool source_test_find(void *ctx, struct slice name, struct source_checkpoint *checkpoint,
				    bool *done)
{
	struct source_test_part *p = source_test_part(ctx, name);

	if (!p)
		return false;
	*checkpoint = p->part.checkpoint;
	*done = p->done;
	return true;
}

static inline void source_test_take_plan(struct source_test *t, const struct source_plan_inner *plan)
{
	for (uint32_t i = t->part_count; i-- > 0;)
		if (!plan->plan.keep_others && !source_plan_has(plan, t->parts[i]->part.name))
			source_test_remove_part(t, i);
	for (uint32_t i = 0; i < plan->count; i++) {
		const struct source_plan_item *item = plan->items[i];
		struct source_test_part *p = source_test_part(t, item->name);
		if (!p) {
			p = source_test_add_part(t, item->name, item->title);
			if (item->checkpoint.ptr)
				source_test_set_checkpoint(p, item->version, item->checkpoint);
		}
		p->total = item->total;
	}
	if (plan->marked) {
		t->plan_checkpoint.bytes = arena_copy(&t->kept, plan->checkpoint);
		t->plan_checkpoint.version = plan->version;
	}
}

static inline void source_test_take_call(struct source_test *t, const struct source_call *call)
{
	t->fault = call->fault;
	t->failure = call->failure;
	t->not_before_ms = call->not_before_ms;
	t->requests += call->requests;
}

static inline enum source_end source_test_plan(struct source_test *t)
{
	struct source_plan_inner plan;
	struct source_test_job job = {.run = source_test_do_plan, .plan = &plan};
	enum source_end end;

	if (!t->type->plan) {
		if (t->part_count == 0)
			source_test_add_part(t, SLICE_LIT(""), SLICE_LIT(""));
		return SOURCE_IDLE;
	}
	assert_int_equal(source_plan_init(&plan), 0);
	source_call_init(&plan.plan.call, &t->source, source_test_on_done);
	plan.plan.checkpoint = t->plan_checkpoint;
	plan.find = source_test_find;
	plan.find_ctx = t;
	end = source_plan_close(&plan, source_test_do(t, &job));
	source_test_take_call(t, &plan.plan.call);
	if (end != SOURCE_FAILED)
		source_test_take_plan(t, &plan);
	source_plan_fini(&plan);
	return end;
}

/* ---- pull ---- */

static inline void source_test_grow(void **list, uint32_t count, uint32_t *cap, size_t size)
{
	if (count < *cap)
		return;
	*cap = *cap ? *cap * 2 : 64;
	*list = mem_realloc(*list, *cap * size);
	assert_non_null(*list);
}

static inline struct slice source_test_keep(struct source_test *t, struct slice s)
{
	/* A NUL behind it, so that a test may compare it as text. */
	uint8_t *copy = s.ptr ? arena_alloc(&t->kept, s.len + 1) : NULL;

	if (!copy)
		return slice_null();
	memcpy(copy, s.ptr, s.len);
	copy[s.len] = 0;
	return slice_make(copy, s.len);
}

static inline void source_test_enter(struct source_test *t)
{
	struct source_batch_inner *in = t->batch.inner;

	for (uint32_t i = 0; i < t->batch.record_count; i++) {
		source_test_grow((void **)&t->records, t->record_count, &t->record_cap, sizeof(*t->records));
		struct source_item *item = &t->records[t->record_count++];
		*item = in->items[i];
		item->topic = source_test_keep(t, item->topic);
		item->key = source_test_keep(t, item->key);
		item->value = source_test_keep(t, item->value);
		item->headers = source_test_keep(t, item->headers);
		item->idempotency_key = source_test_keep(t, item->idempotency_key);
		item->row = source_test_keep(t, item->row);
	}
	for (uint32_t i = 0; i < t->batch.dead_count; i++) {
		source_test_grow((void **)&t->deads, t->dead_count, &t->dead_cap, sizeof(*t->deads));
		struct source_dead_item *dead = &t->deads[t->dead_count++];
		*dead = in->deads[i];
		dead->topic = source_test_keep(t, dead->topic);
		dead->bytes = source_test_keep(t, dead->bytes);
		dead->key = source_test_keep(t, dead->key);
		dead->path = source_test_keep(t, dead->path);
		dead->text = (const char *)source_test_keep(t, slice_str(dead->text)).ptr;
	}
}

/* Settles with the part's checkpoint; what it gives. */
static inline enum source_end source_test_settle(struct source_test *t, struct source_test_part *p,
						 bool again)
{
	struct source_settle settle = {.checkpoint = p->part.checkpoint, .again = again};
	struct source_test_job job = {.run = source_test_do_settle, .part = p, .settle = &settle};

	source_call_init(&settle.call, &t->source, source_test_on_done);
	t->settles++;
	enum source_end end = source_test_do(t, &job);
	source_test_take_call(t, &settle.call);
	return end;
}

/*
 * One pull of a part, entered and settled as the machinery does it. The batch stays to be looked at until the
 * next. Credit: records, 0: 10 000; bytes 4 MiB.
 */
static inline enum source_end source_test_pull(struct source_test *t, const char *name, uint32_t records)
{
	struct source_test_part *p = source_test_part(t, slice_str(name));
	struct source_test_job job = {.run = source_test_do_pull, .part = p};
	enum source_end end;

	assert_non_null(p);
	source_batch_reset(&t->batch);
	source_call_init(&t->batch.call, &t->source, source_test_on_done);
	t->batch.records_max = records ? records : 10000;
	t->batch.bytes_max = 4u << 20;
	t->batch.value_bytes_max = 1u << 20;
	t->batch.test = t->test;
	t->pulls++;
	p->waits = false;
	end = source_batch_close(&t->batch, source_test_do(t, &job));
	source_test_take_call(t, &t->batch.call);
	source_test_enter(t);
	if (t->batch.inner->marked && !t->test)
		source_test_set_checkpoint(p, t->batch.inner->version,
					   buf_slice(&t->batch.inner->checkpoint));
	if (t->batch.settle && !t->test && end != SOURCE_FAILED && t->type->settle &&
	    source_test_settle(t, p, false) == SOURCE_FAILED)
		end = SOURCE_FAILED;
	p->done = end == SOURCE_DONE;
	p->waits = end == SOURCE_WAIT;
	return end;
}

/*
 * A run of the schedule: plan, then each part that is not done until it has no more. SOURCE_IDLE, or
 * SOURCE_FAILED with t->fault at the first that failed. Gives up after 100 000 pulls.
 */
static inline enum source_end source_test_run(struct source_test *t)
{
	enum source_end end = source_test_plan(t);

	for (uint32_t i = 0; end != SOURCE_FAILED && i < t->part_count; i++) {
		uint32_t pulls = 0;
		for (end = SOURCE_MORE; end == SOURCE_MORE && !t->parts[i]->done;) {
			assert_true(pulls++ < 100000);
			end = source_test_pull(t, t->parts[i]->name, 0);
		}
	}
	return end == SOURCE_FAILED ? end : SOURCE_IDLE;
}

/* Waits until source_wake() was called so often for a part, counted from its beginning. Fails after 20 s. */
static inline void source_test_await(struct source_test_part *p, uint32_t woken)
{
	struct timespec ms = {0, 1000000};

	for (int i = 0; i < 20000 && atomic_load(&p->woken) < woken; i++)
		(void)nanosleep(&ms, NULL);
	assert_true(atomic_load(&p->woken) >= woken);
}

struct source_test_cancelling {
	struct loop_msg msg;
	struct source_test *test;
	struct source_part *part;
	sem_t done;
};

static inline void source_test_cancel_on_loop(struct loop *loop, struct loop_msg *msg)
{
	struct source_test_cancelling *c = (struct source_test_cancelling *)msg;

	(void)loop;
	c->test->type->cancel(c->test->self, c->part);
	sem_post(&c->done);
}

/* Asks the pull that runs on a part to end. From another thread than the one that pulls. */
static inline void source_test_cancel(struct source_test *t, struct source_test_part *p)
{
	struct source_test_cancelling c = {.msg = {.run = source_test_cancel_on_loop},
					   .test = t,
					   .part = &p->part};

	atomic_store(&t->batch.call.cancelled, true);
	if (!t->type->cancel)
		return;
	sem_init(&c.done, 0, 0);
	if (t->loop)
		loop_post(t->loop, &c.msg);
	else
		source_test_cancel_on_loop(NULL, &c.msg);
	while (sem_wait(&c.done) != 0)
		;
	sem_destroy(&c.done);
}

/* ---- looking ---- */

/* As text; NULL for null. */
static inline const char *source_test_value(const struct source_test *t, uint32_t i)
{
	assert_true(i < t->record_count);
	return (const char *)t->records[i].value.ptr;
}

static inline const char *source_test_key(const struct source_test *t, uint32_t i)
{
	assert_true(i < t->record_count);
	return (const char *)t->records[i].key.ptr;
}

#endif
