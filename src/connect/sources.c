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

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "connect/forget.h"
#include "connect/probe.h"
#include "connect/runs.h"
#include "obs/say.h"

#define LOOPS_MAX 64u

struct entry {
	struct sources *sources;
	struct entry *next; /* in order of name */
	const struct runner_loop *home;
	/* Under the lock. */
	struct conf_source *conf; /* as named last; NULL: no longer */
	struct runner *runner;
	struct runs *runs; /* beside the schedule; has a lock of its own */
	/* On the loop. */
	bool stopping, reset, closed;
	struct sources_request *resetting;
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
	bool closing;
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
	int rc = s ? source_rows_new(state, &s->rows) : ERR_NOMEM;

	if (rc) {
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
		runner_free(e->runner);
		runs_free(e->runs);
		mem_free(e);
	}
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

static struct entry *find(struct sources *s, struct slice name)
{
	struct entry *e = s->first;

	while (e && !slice_eq_str(name, e->name))
		e = e->next;
	return e;
}

static void on_apply(struct loop *loop, struct loop_msg *msg);
static void on_runner_stopped(struct loop *loop, struct loop_msg *msg);

static struct entry *add(struct sources *s, const char *name)
{
	static const struct hash_key key = {.k0 = 0x736f75726365, .k1 = 0x6c6f6f70};
	size_t n = strlen(name) + 1;
	struct entry *e = mem_zalloc(1, sizeof(*e) + n);
	struct entry **at = &s->first;

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
	while (*at && strcmp((*at)->name, name) < 0)
		at = &(*at)->next;
	e->next = *at;
	*at = e;
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
		rc = source_forget(&e->sources->shared, e->name, "sp");
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

static struct conf_source *named(struct conf_source *const *list, uint32_t count, const char *name)
{
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(list[i]->name, name) == 0)
			return list[i];
	return NULL;
}

static void set_conf(struct entry *e, struct conf_source *source)
{
	struct conf_source *before = e->conf;

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

/* Of sources that are new here. */
static int load_runs(struct sources *s)
{
	struct loading l = {.sources = s};

	log_enter_begin(s->shared.log);
	(void)source_rows_each(s->rows, SLICE_LIT("r"), load_run, &l);
	log_enter_end(s->shared.log);
	return l.err;
}

int sources_apply(struct sources *s, struct conf_source *const *list, uint32_t count)
{
	bool added = false;
	int rc = 0;

	lock(s);
	for (struct entry *e = s->first; e; e = e->next)
		set_conf(e, named(list, count, e->name));
	for (uint32_t i = 0; i < count; i++) {
		if (find(s, slice_str(list[i]->name)))
			continue;
		if (!add(s, list[i]->name))
			rc = ERR_NOMEM;
		added = true;
	}
	unlock(s);
	/* Entries are added here alone, so none goes or comes meanwhile. */
	if (rc == 0 && added)
		rc = load_runs(s);
	lock(s);
	for (uint32_t i = 0; i < count; i++) {
		struct entry *e = find(s, slice_str(list[i]->name));
		if (e)
			set_conf(e, list[i]);
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

struct part_walk {
	struct slice name;
	uint32_t left;
	bool (*fn)(void *ctx, struct slice part, const struct source_part_row *row);
	void *ctx;
};

static int walk_row(void *ctx, struct slice key, struct slice value)
{
	struct part_walk *w = ctx;
	struct source_row_key name;
	struct source_part_row row;

	if (source_row_read_key(key, &name) || name.kind != 'p' || !slice_eq(name.source, w->name) ||
	    source_row_read_part(value, &row))
		return 0;
	if (w->left == 0 || !w->fn(w->ctx, name.part, &row))
		return 1;
	w->left--;
	return 0;
}

void sources_each_part(struct sources *s, struct slice name, uint32_t most,
		       bool (*fn)(void *ctx, struct slice part, const struct source_part_row *row), void *ctx)
{
	struct part_walk w = {.name = name, .left = most, .fn = fn, .ctx = ctx};

	log_enter_begin(s->shared.log);
	(void)source_rows_each(s->rows, slice_null(), walk_row, &w);
	log_enter_end(s->shared.log);
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
		int rc = source_forget(&e->sources->shared, e->name, "sp");
		begin(e);
		answer(r, rc);
		return;
	}
	e->resetting = r;
	stop_runner(e);
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
