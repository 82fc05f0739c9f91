/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source of the configuration is an entry, for as long as weir runs; what is at work for it, a runner, comes and goes on
 * the entry's loop. Whatever is to change, a changed setting as much as a reset, is done the same way: the runner
 * stops, and when it has stopped what was asked for meanwhile is done and the next one begins. So there is never more than one.
 *
 * The list and the pointer to the runner are under `lock`, so that anybody may look; a runner is made and freed on its loop.
 */
#include "connect/sources.h"

#include <pthread.h>
#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "conf/value.h"
#include "connect/made.h"
#include "connect/probe.h"
#include "connect/row_commit.h"
#include "connect/runs.h"
#include "obs/say.h"

#define LOOPS_MAX 64u
#define MADE_MAX 10000u

struct entry {
	struct sources *sources;
	struct entry *next; /* in order of name */
	struct table_node named;
	struct conf_source *listed; /* by the configuration that is being applied */
	const struct runner_loop *home;
	/* Under the lock. */
	struct conf_source *file; /* as the configuration names it; NULL: it does not */
	struct conf_source *made; /* as it was made over the API; NULL: it was not */
	struct conf_source
		*conf; /* the one of them that counts, the file's before the other; NULL: no longer */
	struct runner *runner;
	struct runs *runs; /* beside the schedule; has a lock of its own */
	/* On the loop. */
	bool stopping, reset, closed;
	struct sources_request *resetting;
	struct sources_request *asking; /* its row is on its way to the disk */
	struct loop_msg row_msg;
	struct loop_msg msg; /* what the runner has stopped */
	struct loop_msg apply;
	_Atomic bool applying;
	char name[];
};

struct sources {
	struct state *state;
	struct source_rows *rows;
	struct runner_shared shared;
	struct runner_loop homes[LOOPS_MAX];
	uint32_t home_count;
	pthread_mutex_t lock;
	struct entry *first;
	struct table names; /* entries */
	bool closing, loaded;
};

const char *runner_state_name(enum runner_state state)
{
	static const char *const names[] = {"starting", "running", "paused", "failing",
					    "broken",   "held",    "stopped"};

	return names[state];
}

int sources_new(struct state *state, struct sources **out)
{
	struct sources *s = mem_zalloc(1, sizeof(*s));
	int rc = s ? table_init(&s->names) : ERR_NOMEM;

	if (rc == 0)
		rc = source_rows_new(state, &s->rows);
	if (rc) {
		if (s)
			table_fini(&s->names);
		mem_free(s);
		return rc;
	}
	s->state = state;
	(void)pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

void sources_free(struct sources *s)
{
	struct entry *next;

	if (!s)
		return;
	for (struct entry *e = s->first; e; e = next) {
		next = e->next;
		conf_source_unref(e->conf);
		conf_source_unref(e->file);
		conf_source_unref(e->made);
		runner_free(e->runner);
		runs_free(e->runs);
		mem_free(e);
	}
	for (uint32_t i = 0; i < s->home_count; i++)
		runner_boxes_free(s->homes[i].boxes);
	table_fini(&s->names);
	source_rows_free(s->rows);
	(void)pthread_mutex_destroy(&s->lock);
	mem_free(s);
}

int sources_begin(struct sources *s, const struct runner_shared *shared, const struct runner_loop *home,
		  uint32_t loops)
{
	CHECK(loops > 0 && loops <= LOOPS_MAX);
	s->shared = *shared;
	s->shared.state = s->state;
	s->shared.rows = s->rows;
	memcpy(s->homes, home, loops * sizeof(*home));
	s->home_count = loops;
	for (uint32_t i = 0; i < loops; i++) {
		s->homes[i].boxes = runner_boxes_new();
		if (!s->homes[i].boxes)
			return ERR_NOMEM;
	}
	return 0;
}

/* ---- entries ---- */

static void lock(struct sources *s)
{
	(void)pthread_mutex_lock(&s->lock);
}

static void unlock(struct sources *s)
{
	(void)pthread_mutex_unlock(&s->lock);
}

/* Names come from the configuration and from users who may make sources. */
static uint64_t hash_of(struct slice name)
{
	static const struct hash_key key = {.k0 = 0x736f75726365, .k1 = 0x6e616d65};

	return hash_sip13(&key, name);
}

static struct entry *find(struct sources *s, struct slice name)
{
	struct table_node *node = table_first(&s->names, hash_of(name));

	for (; node; node = table_next(node)) {
		struct entry *e = (struct entry *)(void *)((uint8_t *)node - offsetof(struct entry, named));
		if (slice_eq_str(name, e->name))
			return e;
	}
	return NULL;
}

/* Merges two lists that are in order of their names. */
static struct entry *merge(struct entry *a, struct entry *b)
{
	struct entry *first = NULL, **end = &first;

	while (a && b) {
		struct entry **from = strcmp(a->name, b->name) <= 0 ? &a : &b;
		*end = *from;
		end = &(*from)->next;
		*from = *end;
	}
	*end = a ? a : b;
	return first;
}

/* In runs of 1, 2, 4 …: one list is there for each bit of the number that was taken. */
static struct entry *in_order(struct entry *list)
{
	struct entry *runs[32] = {NULL}, *next, *sorted = NULL;
	uint32_t i;

	for (; list; list = next) {
		struct entry *run = list;
		next = list->next;
		run->next = NULL;
		for (i = 0; runs[i]; i++) {
			run = merge(runs[i], run);
			runs[i] = NULL;
		}
		runs[i] = run;
	}
	for (i = 0; i < 32; i++)
		sorted = merge(runs[i], sorted);
	return sorted;
}

static void on_apply(struct loop *loop, struct loop_msg *msg);
static void on_runner_stopped(struct loop *loop, struct loop_msg *msg);
static void on_row_durable(struct loop *loop, struct loop_msg *msg);

/* At the front: who has added all puts them in_order. */
static struct entry *add(struct sources *s, const char *name)
{
	static const struct hash_key key = {.k0 = 0x736f75726365, .k1 = 0x6c6f6f70};
	size_t n = strlen(name) + 1;
	struct entry *e = mem_zalloc(1, sizeof(*e) + n);

	if (!e)
		return NULL;
	memcpy(e->name, name, n);
	e->sources = s;
	e->home = &s->homes[hash_sip13(&key, slice_str(name)) % s->home_count];
	e->runs = runs_new(&s->shared, e->home, e->name);
	if (!e->runs) {
		mem_free(e);
		return NULL;
	}
	e->apply.run = on_apply;
	e->msg.run = on_runner_stopped;
	e->row_msg.run = on_row_durable;
	table_add(&s->names, &e->named, hash_of(slice_str(name)));
	e->next = s->first;
	s->first = e;
	return e;
}

/* ---- on the entry's loop ---- */

/* On the thread of the runner's last callback: what follows is another turn's. */
static void on_stopped(void *ctx)
{
	struct entry *e = ctx;

	loop_post(e->home->loop, &e->msg);
}

static void stop_runner(struct entry *e)
{
	if (e->stopping)
		return;
	e->stopping = true;
	runner_stop(e->runner, on_stopped, e);
}

static void begin(struct entry *e)
{
	struct sources *s = e->sources;
	struct conf_source *conf;
	struct runner *r = NULL;
	int rc = 0;

	lock(s);
	conf = e->conf && !s->closing ? conf_source_ref(e->conf) : NULL;
	unlock(s);
	if (conf)
		rc = runner_new(&s->shared, e->home, conf, &r);
	conf_source_unref(conf);
	if (rc)
		say(SAY_ERROR, "source_broken", "there is no memory for the source source=%s", e->name);
	lock(s);
	e->runner = r;
	e->closed = !r;
	unlock(s);
	if (r)
		runner_start(r);
}

static void answer(struct sources_request *r, int err)
{
	if (err && !r->fault.err)
		fault_set(&r->fault, err, "%s", err_row(err)->sentence);
	r->done(r);
}

static int forget_all(struct entry *e, enum sources_ask ask)
{
	if (ask == SOURCES_DELETE)
		runs_forget(e->runs);
	return row_commit_forget(&e->sources->shared, e->name, "sp");
}

static void on_runner_stopped(struct loop *loop, struct loop_msg *msg)
{
	struct entry *e = (struct entry *)(void *)((uint8_t *)msg - offsetof(struct entry, msg));
	struct sources_request *resetting = e->resetting;
	struct runner *r;
	int rc = 0;

	(void)loop;
	lock(e->sources);
	r = e->runner;
	e->runner = NULL;
	unlock(e->sources);
	runner_free(r);
	e->stopping = false;
	e->resetting = NULL;
	if (resetting)
		rc = forget_all(e, resetting->ask);
	begin(e);
	if (resetting)
		answer(resetting, rc);
}

/* What the configuration says of it has changed. */
static void on_apply(struct loop *loop, struct loop_msg *msg)
{
	struct entry *e = (struct entry *)(void *)((uint8_t *)msg - offsetof(struct entry, apply));

	struct conf_source *conf;

	(void)loop;
	atomic_store(&e->applying, false);
	lock(e->sources);
	conf = e->conf && !e->sources->closing ? conf_source_ref(e->conf) : NULL;
	unlock(e->sources);
	runs_apply(e->runs, conf);
	conf_source_unref(conf);
	if (e->runner)
		stop_runner(e);
	else
		begin(e);
}

static void apply(struct entry *e)
{
	if (!atomic_exchange(&e->applying, true))
		loop_post(e->home->loop, &e->apply);
}

/* ---- the configuration ---- */

/* Under the lock. What the file names belongs to the file; what was made over the API waits behind it. */
static void set_conf(struct entry *e)
{
	struct conf_source *before = e->conf, *source = e->file ? e->file : e->made;

	if (before == source || (before && source && conf_source_same(before, source)))
		return;
	e->conf = source ? conf_source_ref(source) : NULL;
	conf_source_unref(before);
	apply(e);
}

struct loading {
	struct sources *sources;
	int err;
};

/* A run's row has the name SOURCE/NUMBER. */
static int load_run(void *ctx, struct slice key, struct slice value)
{
	struct loading *l = ctx;
	struct source_row_key name;
	struct entry *e;
	size_t n;

	if (source_row_read_key(key, &name))
		return 0;
	for (n = name.source.len; n > 0 && name.source.ptr[n - 1] != '/';)
		n--;
	e = n ? find(l->sources, slice_make(name.source.ptr, n - 1)) : NULL;
	if (e)
		l->err = runs_load(e->runs, slice_from(name.source, n), value);
	return l->err;
}

/* Of sources that are new here. Under the lock. */
static int load_runs(struct sources *s)
{
	struct loading l = {.sources = s};

	log_enter_begin(s->shared.log);
	(void)source_rows_each(s->rows, SLICE_LIT("r"), load_run, &l);
	log_enter_end(s->shared.log);
	return l.err;
}

static void swap(struct conf_source **at, struct conf_source *source)
{
	struct conf_source *before = *at;

	*at = source ? conf_source_ref(source) : NULL;
	conf_source_unref(before);
}

/* What was made over the API in an earlier life. What this weir cannot read stays as a row, and is told. */
static int load_made(void *ctx, struct slice name, struct slice text)
{
	struct loading *l = ctx;
	struct conf_source *conf = NULL;
	struct entry *e;
	struct buf why;
	char key[256];

	snprintf(key, sizeof(key), "%.*s", (int)name.len, (const char *)name.ptr);
	buf_init(&why, 65536);
	l->err = l->sources->shared.kinds ? made_read(l->sources->shared.kinds, key, text, &conf, &why) :
					    ERR_BAD_CONFIG;
	if (l->err == ERR_BAD_CONFIG) {
		say(SAY_ERROR, "source_unreadable", "%.*s source=%s", (int)why.len, (const char *)why.ptr,
		    key);
		l->err = 0;
	}
	buf_fini(&why);
	if (!conf)
		return l->err;
	e = find(l->sources, name);
	if (!e)
		e = add(l->sources, key);
	if (!e)
		l->err = ERR_NOMEM;
	else
		swap(&e->made, conf);
	conf_source_unref(conf);
	return l->err;
}

static int add_all(struct sources *s, struct conf_source *const *list, uint32_t count)
{
	struct loading l = {.sources = s};
	bool added = false;

	if (!s->loaded) {
		(void)made_each(&s->shared, load_made, &l);
		added = s->loaded = true;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct entry *e = find(s, slice_str(list[i]->name));
		added = added || !e;
		if (!e)
			e = add(s, list[i]->name);
		if (e)
			e->listed = list[i];
		else
			l.err = ERR_NOMEM;
	}
	s->first = in_order(s->first);
	return l.err == 0 && added ? load_runs(s) : l.err;
}

int sources_apply(struct sources *s, struct conf_source *const *list, uint32_t count)
{
	int rc;

	lock(s);
	rc = add_all(s, list, count);
	for (struct entry *e = s->first; e; e = e->next) {
		struct conf_source *file = e->listed;
		e->listed = NULL;
		if (file && !e->file && e->made)
			say(SAY_WARNING, "source_shadowed",
			    "the configuration file names a source that was made over the API: the file's counts source=%s",
			    e->name);
		swap(&e->file, file);
		set_conf(e);
	}
	unlock(s);
	return rc;
}

void sources_stop(struct sources *s)
{
	lock(s);
	s->closing = true;
	for (struct entry *e = s->first; e; e = e->next)
		apply(e);
	unlock(s);
}

bool sources_stopped(struct sources *s)
{
	bool all = true;

	lock(s);
	for (struct entry *e = s->first; e; e = e->next)
		all = all && e->closed && !atomic_load(&e->applying) && !runs_busy(e->runs);
	unlock(s);
	return all;
}

/* ---- watching ---- */

static bool view_of(struct entry *e, struct sources_view *view)
{
	if (!e->conf)
		return false;
	memset(view, 0, sizeof(*view));
	view->source = e->conf;
	view->from_file = e->file != NULL;
	view->figures.lag_records = view->figures.lag_ms = -1;
	if (e->runner)
		runner_figures(e->runner, &view->figures);
	return true;
}

void sources_each(struct sources *s, bool (*fn)(void *ctx, const struct sources_view *view), void *ctx)
{
	struct sources_view view;
	bool go_on = true;

	lock(s);
	for (struct entry *e = s->first; e && go_on; e = e->next)
		if (view_of(e, &view))
			go_on = fn(ctx, &view);
	unlock(s);
}

int sources_find(struct sources *s, struct slice name, struct sources_view *out)
{
	struct entry *e;
	int rc = ERR_UNKNOWN_SOURCE;

	lock(s);
	e = find(s, name);
	if (e && view_of(e, out)) {
		(void)conf_source_ref(out->source);
		rc = 0;
	}
	unlock(s);
	return rc;
}

void sources_each_warning(struct sources *s, struct slice name, void (*fn)(void *ctx, const char *text),
			  void *ctx)
{
	struct entry *e;

	lock(s);
	e = find(s, name);
	if (e && e->runner)
		runner_warnings(e->runner, fn, ctx);
	unlock(s);
}

struct part_walk {
	uint32_t left;
	bool (*fn)(void *ctx, struct slice part, const struct source_part_row *row);
	void *ctx;
};

static int walk_row(void *ctx, struct slice key, struct slice value)
{
	struct part_walk *w = ctx;
	struct source_row_key name;
	struct source_part_row row;

	if (source_row_read_key(key, &name) || source_row_read_part(value, &row))
		return 0;
	if (w->left == 0 || !w->fn(w->ctx, name.part, &row))
		return 1;
	w->left--;
	return 0;
}

void sources_each_part(struct sources *s, struct slice name, uint32_t most,
		       bool (*fn)(void *ctx, struct slice part, const struct source_part_row *row), void *ctx)
{
	struct part_walk w = {.left = most, .fn = fn, .ctx = ctx};
	struct source_row_key key = {'p', name, slice_null()};
	struct buf prefix;

	buf_init(&prefix, 1024);
	if (source_row_put_key(&prefix, &key) == 0) {
		log_enter_begin(s->shared.log);
		(void)source_rows_each(s->rows, buf_slice(&prefix), walk_row, &w);
		log_enter_end(s->shared.log);
	}
	buf_fini(&prefix);
}

int sources_each_run(struct sources *s, struct slice name, bool (*fn)(void *ctx, const struct run_view *view),
		     void *ctx)
{
	struct entry *e;

	lock(s);
	e = find(s, name);
	if (e && !e->conf)
		e = NULL;
	unlock(s);
	if (!e)
		return ERR_UNKNOWN_SOURCE;
	runs_each(e->runs, fn, ctx);
	return 0;
}

/* ---- asking ---- */

static void on_run_asked(struct runs_request *run)
{
	struct sources_request *r =
		(struct sources_request *)(void *)((uint8_t *)run - offsetof(struct sources_request, run));

	r->done(r);
}

static void ask_runs(struct entry *e, struct sources_request *r)
{
	enum runs_ask ask = r->ask == SOURCES_RUN_BEGIN  ? RUNS_BEGIN :
			    r->ask == SOURCES_RUN_CANCEL ? RUNS_CANCEL :
							   RUNS_RESUME;

	r->run.fault = &r->fault;
	r->run.done = on_run_asked;
	runs_ask(e->runs, ask, &r->run);
}

static void on_tested(void *ctx)
{
	answer(ctx, 0);
}

static void test(struct entry *e, struct sources_request *r)
{
	struct conf_source *conf;
	int rc;

	lock(e->sources);
	conf = e->conf ? conf_source_ref(e->conf) : NULL;
	unlock(e->sources);
	rc = conf ? probe_start(&e->sources->shared, e->home, conf, r->records, r->out, on_tested, r) :
		    ERR_UNKNOWN_SOURCE;
	conf_source_unref(conf);
	if (rc)
		answer(r, rc);
}

static void reset(struct entry *e, struct sources_request *r)
{
	if (e->resetting) {
		answer(r, fault_set(&r->fault, ERR_CONFLICT, "the source is being reset already"));
		return;
	}
	if (!e->runner) {
		int rc = row_commit_forget(&e->sources->shared, e->name, "sp");
		begin(e);
		answer(r, rc);
		return;
	}
	e->resetting = r;
	stop_runner(e);
}

/* ---- made over the API ---- */

static void row_is_durable(void *ctx)
{
	struct entry *e = ctx;

	loop_post(e->home->loop, &e->row_msg); /* from the committer's thread */
}

static void on_row_durable(struct loop *loop, struct loop_msg *msg)
{
	struct entry *e = (struct entry *)(void *)((uint8_t *)msg - offsetof(struct entry, row_msg));
	struct sources_request *r = e->asking;
	bool gone = r->ask == SOURCES_DELETE;

	(void)loop;
	e->asking = NULL;
	lock(e->sources);
	swap(&e->made, gone ? NULL : r->conf);
	set_conf(e);
	unlock(e->sources);
	conf_source_unref(r->conf);
	r->conf = NULL;
	if (!gone || e->resetting) {
		answer(r, 0);
	} else if (e->runner) {
		e->resetting = r;
		stop_runner(e);
	} else {
		answer(r, forget_all(e, r->ask));
	}
}

static void put_row(struct entry *e, struct sources_request *r, struct slice text)
{
	const struct state_done done = {.fn = row_is_durable, .ctx = e};
	int rc;

	e->asking = r;
	rc = made_put(&e->sources->shared, e->name, text, &done);
	if (rc == 0)
		return;
	e->asking = NULL;
	conf_source_unref(r->conf);
	r->conf = NULL;
	answer(r, rc);
}

/* 0 where it may be changed over the API. */
static int may_change(struct entry *e, struct sources_request *r)
{
	bool file, made;

	lock(e->sources);
	file = e->file;
	made = e->made;
	unlock(e->sources);
	if (file)
		return fault_set(&r->fault, ERR_MANAGED_BY_FILE,
				 "the configuration file names the source %s: change it there", e->name);
	if (!made && r->ask == SOURCES_DELETE)
		return fault_set(&r->fault, ERR_UNKNOWN_SOURCE, "there is no source %s", e->name);
	if (e->asking || e->resetting)
		return fault_set(&r->fault, ERR_CONFLICT, "the source is being changed: try again");
	if (r->ask == SOURCES_DELETE && runs_busy(e->runs))
		return fault_set(&r->fault, ERR_CONFLICT,
				 "a run of the source is under way: cancel it first");
	return 0;
}

static void change(struct entry *e, struct sources_request *r)
{
	int rc = may_change(e, r);

	if (rc == 0) {
		put_row(e, r, r->ask == SOURCES_DELETE ? slice_null() : buf_slice(r->out));
		return;
	}
	conf_source_unref(r->conf);
	r->conf = NULL;
	answer(r, rc);
}

static void on_request(struct loop *loop, struct loop_msg *msg)
{
	struct sources_request *r =
		(struct sources_request *)(void *)((uint8_t *)msg - offsetof(struct sources_request, msg));
	struct entry *e = r->entry;

	(void)loop;
	if (r->ask == SOURCES_TEST) {
		test(e, r);
	} else if (r->ask == SOURCES_RESET) {
		reset(e, r);
	} else if (r->ask >= SOURCES_RUN_BEGIN) {
		ask_runs(e, r);
	} else if (r->ask >= SOURCES_MAKE) {
		change(e, r);
	} else if (!e->runner || e->stopping) {
		answer(r, fault_set(&r->fault, ERR_CONFLICT, "the source is being changed: try again"));
	} else if (r->ask == SOURCES_RUN) {
		runner_run(e->runner);
		answer(r, 0);
	} else {
		answer(r, runner_pause(e->runner, r->ask == SOURCES_PAUSE));
	}
}

int sources_ask(struct sources *s, struct slice name, struct sources_request *r)
{
	struct entry *e;
	int rc = 0;

	lock(s);
	e = find(s, name);
	if (!e || !e->conf)
		rc = ERR_UNKNOWN_SOURCE;
	else if (s->closing)
		rc = ERR_SHUTTING_DOWN;
	unlock(s);
	if (rc)
		return rc;
	r->fault = (struct fault){0};
	r->entry = e;
	r->msg.run = on_request;
	loop_post(e->home->loop, &r->msg);
	return 0;
}

static uint32_t count_made(struct sources *s)
{
	uint32_t n = 0;

	for (struct entry *e = s->first; e; e = e->next)
		n += e->made != NULL;
	return n;
}

/* The entry of a name, made where there is none. */
static int entry_for(struct sources *s, const char *name, struct sources_request *r, struct fault *fault)
{
	int rc = 0;

	lock(s);
	r->entry = find(s, slice_str(name));
	r->created = !r->entry || !r->entry->conf;
	if (s->closing)
		rc = ERR_SHUTTING_DOWN;
	else if (r->created && count_made(s) >= MADE_MAX)
		rc = fault_set(fault, ERR_LIMIT, "there are %u sources made over the API: no more are taken",
			       MADE_MAX);
	else if (!r->entry)
		r->entry = add(s, name);
	s->first = in_order(s->first);
	if (rc == 0 && !r->entry)
		rc = ERR_NOMEM;
	unlock(s);
	return rc;
}

int sources_put(struct sources *s, struct slice name, struct slice text, struct sources_request *r,
		struct fault *fault)
{
	struct buf why;
	char key[256];
	int rc;

	if (!s->shared.kinds || !conf_is_topic_name(name))
		return fault_set(fault, ERR_BAD_CONFIG,
				 "the name of a source is of 1 to 249 letters, digits, '.', '_' and '-'");
	if (text.len > MADE_BYTES_MAX)
		return fault_set(fault, ERR_BAD_CONFIG, "the keys of a source are %u bytes at most",
				 MADE_BYTES_MAX);
	snprintf(key, sizeof(key), "%.*s", (int)name.len, (const char *)name.ptr);
	buf_init(&why, 65536);
	rc = made_read(s->shared.kinds, key, text, &r->conf, &why);
	if (rc == ERR_BAD_CONFIG)
		(void)fault_set(fault, rc, "%.*s", (int)why.len, (const char *)why.ptr);
	buf_fini(&why);
	if (rc == 0)
		rc = buf_append_slice(r->out, text);
	if (rc == 0)
		rc = entry_for(s, key, r, fault);
	if (rc) {
		conf_source_unref(r->conf);
		return rc;
	}
	r->ask = SOURCES_MAKE;
	r->fault = (struct fault){0};
	r->msg.run = on_request;
	loop_post(r->entry->home->loop, &r->msg);
	return 0;
}
