/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a run is a row of state: written when it begins, and when it has ended. In between
 * its runner writes parts and checkpoints as it does for a source, under the name SOURCE/NUMBER. A crash leaves
 * the row as "running", and the next start goes on with it.
 *
 * A runner is always ended in one way (stop, then on_stopped); what was the reason is read from the run there.
 */
#include "connect/runs.h"

#include <pthread.h>
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "connect/row_commit.h"
#include "connect/window.h"
#include "obs/say.h"

#define ID_MAX 99999u /* with the longest name of a source it still fits the key of a row */
#define NAME_BYTES 264u

struct run {
	struct runs *runs;
	struct run *next;     /* by id */
	struct run_view view; /* under the lock; figures of the runner once that is gone */
	struct source_window window;
	struct runner_run as_run;
	struct runner *runner; /* under the lock */
	bool stopping, over, failed, cancelled;
	bool forgotten;              /* it goes when its rows have gone from the disk */
	struct runs_request *asking; /* waits for its end, or for its row */
	struct loop_msg stopped_msg;
	struct loop_msg over_msg;
	char name[NAME_BYTES];
	char error[SOURCE_ERROR_MAX];
	char bounds[]; /* from, then to */
};

struct runs {
	const struct runner_shared *shared;
	const struct runner_loop *home;
	const char *name;
	struct conf_source *conf; /* NULL: gone, or not yet known */
	pthread_mutex_t lock;
	struct run *first;
	_Atomic uint32_t busy;
};

const char *run_state_name(enum run_state state)
{
	static const char *const names[] = {"running", "done", "cancelled", "failed"};

	return names[state];
}

struct runs *runs_new(const struct runner_shared *shared, const struct runner_loop *home, const char *name)
{
	struct runs *rs = mem_zalloc(1, sizeof(*rs));

	if (!rs)
		return NULL;
	rs->shared = shared;
	rs->home = home;
	rs->name = name;
	(void)pthread_mutex_init(&rs->lock, NULL);
	return rs;
}

void runs_free(struct runs *rs)
{
	struct run *next;

	if (!rs)
		return;
	for (struct run *run = rs->first; run; run = next) {
		next = run->next;
		runner_free(run->runner);
		mem_free(run);
	}
	conf_source_unref(rs->conf);
	(void)pthread_mutex_destroy(&rs->lock);
	mem_free(rs);
}

bool runs_busy(const struct runs *rs)
{
	return atomic_load(&rs->busy) > 0;
}

static void lock(struct runs *rs)
{
	(void)pthread_mutex_lock(&rs->lock);
}

static void unlock(struct runs *rs)
{
	(void)pthread_mutex_unlock(&rs->lock);
}

/* ---- the list ---- */

static void begin(struct run *run);
static void on_over(void *ctx, const struct fault *fault);
static void on_over_msg(struct loop *loop, struct loop_msg *msg);
static void on_stopped_msg(struct loop *loop, struct loop_msg *msg);

static struct run *new_run(struct runs *rs, uint64_t id, struct slice from, struct slice to, int64_t rate)
{
	struct run *run = mem_zalloc(1, sizeof(*run) + from.len + to.len + 1);

	if (!run)
		return NULL;
	run->runs = rs;
	window_set(&run->window, from, to, run->bounds);
	run->view = (struct run_view){.id = id,
				      .from = run->window.from,
				      .to = run->window.to,
				      .rate = rate,
				      .error = run->error,
				      .begun_ms = sys_wall_ms(rs->shared->sys)};
	(void)snprintf(run->name, sizeof(run->name), "%s/%llu", rs->name, (unsigned long long)id);
	run->as_run = (struct runner_run){.name = run->name,
					  .window = &run->window,
					  .rate_per_second = rate,
					  .over = on_over,
					  .ctx = run};
	run->over_msg.run = on_over_msg;
	run->stopped_msg.run = on_stopped_msg;
	return run;
}

static void insert(struct runs *rs, struct run *run)
{
	struct run **at = &rs->first;

	lock(rs);
	while (*at && (*at)->view.id < run->view.id)
		at = &(*at)->next;
	run->next = *at;
	*at = run;
	unlock(rs);
}

static void take_out(struct run *run)
{
	struct runs *rs = run->runs;
	struct run **at = &rs->first;

	lock(rs);
	while (*at != run)
		at = &(*at)->next;
	*at = run->next;
	unlock(rs);
	mem_free(run);
}

static struct run *find(struct runs *rs, uint64_t id)
{
	struct run *run = rs->first;

	while (run && run->view.id != id)
		run = run->next;
	return run;
}

int runs_load(struct runs *rs, struct slice id, struct slice row)
{
	struct source_run_row read;
	struct run *run;
	uint64_t number;
	int rc = source_row_read_run(row, &read);

	if (rc || !slice_to_u64(id, &number) || number == 0 || number > ID_MAX || read.state > RUN_FAILED)
		return rc ? rc : ERR_CORRUPT;
	if (find(rs, number))
		return 0;
	run = new_run(rs, number, read.from, read.to, read.rate ? (int64_t)read.rate : -1);
	if (!run)
		return ERR_NOMEM;
	run->view.state = (enum run_state)read.state;
	run->view.begun_ms = read.begun_ms;
	run->view.ended_ms = read.ended_ms;
	run->view.records = read.records;
	run->view.dead = read.dead;
	run->view.done = read.done;
	run->view.total = read.total;
	(void)snprintf(run->error, sizeof(run->error), "%.*s", (int)read.error.len,
		       (const char *)read.error.ptr);
	insert(rs, run);
	return 0;
}

/* ---- its row ---- */

static int put_row(struct run *run, const struct state_done *done)
{
	const struct run_view *v = &run->view;
	struct source_row_key name = {'r', slice_str(run->name), slice_null()};
	struct source_run_row row = {.state = (uint8_t)v->state,
				     .begun_ms = v->begun_ms,
				     .ended_ms = v->ended_ms,
				     .rate = v->rate > 0 ? (uint64_t)v->rate : 0,
				     .records = v->records,
				     .dead = v->dead,
				     .done = v->done,
				     .total = v->total,
				     .from = v->from,
				     .to = v->to,
				     .error = slice_str(run->error)};
	struct buf key, value;
	int rc;

	buf_init(&key, 1024);
	buf_init(&value, 8192);
	(void)source_row_put_key(&key, &name);
	(void)source_row_put_run(&value, &row);
	rc = buf_status(&key) ? buf_status(&key) : buf_status(&value);
	if (rc == 0)
		rc = row_commit(run->runs->shared, buf_slice(&key), buf_slice(&value),
				v->state != RUN_RUNNING, done);
	buf_fini(&key);
	buf_fini(&value);
	return rc;
}

static void answer(struct runs_request *r, int err)
{
	if (err && !r->fault->err)
		(void)fault_set(r->fault, err, "%s", err_row(err)->sentence);
	r->done(r);
}

static void on_row_durable(void *ctx)
{
	struct run *run = ctx;
	struct runs_request *r = run->asking;

	run->asking = NULL;
	(void)atomic_fetch_sub(&run->runs->busy, 1);
	if (run->forgotten)
		take_out(run);
	else
		begin(run);
	answer(r, 0);
}

static struct state_done when_durable(struct run *run)
{
	return (struct state_done){.port = run->runs->home->port, .fn = on_row_durable, .ctx = run};
}

/* Answers when the row is on disk: who was told of a run finds it again, whatever is killed. */
static void put_row_and_answer(struct run *run, struct runs_request *r)
{
	const struct state_done done = when_durable(run);
	int rc;

	run->asking = r;
	(void)atomic_fetch_add(&run->runs->busy, 1);
	rc = put_row(run, &done);
	if (rc == 0)
		return;
	(void)atomic_fetch_sub(&run->runs->busy, 1);
	run->asking = NULL;
	if (run->view.state == RUN_RUNNING) { /* it was to begin */
		lock(run->runs);
		run->view.state = RUN_CANCELLED;
		unlock(run->runs);
	}
	answer(r, rc);
}

/* One that is over: who asked is answered when it is gone from the disk. */
static void forget_and_answer(struct run *run, struct runs_request *r)
{
	const struct state_done done = when_durable(run);
	int rc;

	run->asking = r;
	run->forgotten = true;
	(void)atomic_fetch_add(&run->runs->busy, 1);
	rc = row_commit_forget(run->runs->shared, run->name, "rsp", &done);
	if (rc == 0)
		return;
	(void)atomic_fetch_sub(&run->runs->busy, 1);
	run->asking = NULL;
	run->forgotten = false;
	answer(r, rc);
}

/* ---- at work ---- */

static void begin(struct run *run)
{
	struct runs *rs = run->runs;
	struct runner *r;

	if (!rs->conf || run->runner || run->asking || run->view.state != RUN_RUNNING)
		return;
	if (runner_new(rs->shared, rs->home, rs->conf, &r)) {
		say(SAY_ERROR, "source_broken", "there is no memory for the run source=%s", run->name);
		return;
	}
	runner_set_run(r, &run->as_run);
	run->over = run->failed = false;
	lock(rs);
	run->runner = r;
	unlock(rs);
	(void)atomic_fetch_add(&rs->busy, 1);
	runner_start(r);
}

static void on_stopped(void *ctx)
{
	struct run *run = ctx;

	loop_post(run->runs->home->loop, &run->stopped_msg);
}

static void stop(struct run *run)
{
	if (run->stopping)
		return;
	run->stopping = true;
	runner_stop(run->runner, on_stopped, run);
}

/* Inside a call of the runner: what follows is another turn's. */
static void on_over(void *ctx, const struct fault *fault)
{
	struct run *run = ctx;

	run->over = true;
	run->failed = fault != NULL;
	loop_post(run->runs->home->loop, &run->over_msg);
}

static void on_over_msg(struct loop *loop, struct loop_msg *msg)
{
	struct run *run = (struct run *)(void *)((uint8_t *)msg - offsetof(struct run, over_msg));

	(void)loop;
	if (run->runner)
		stop(run);
}

static void take_figures(struct run *run, const struct runner_figures *f)
{
	struct run_view *v = &run->view;

	v->records = f->records;
	v->dead = f->dead;
	v->errors = f->errors;
	v->parts = f->parts;
	v->parts_done = f->parts_done;
	v->done = f->done;
	v->total = f->total;
	v->runner = f->state;
	(void)snprintf(run->error, sizeof(run->error), "%s", f->error);
}

static enum run_state state_after(const struct run *run)
{
	if (run->over)
		return run->failed ? RUN_FAILED : RUN_DONE;
	return run->cancelled ? RUN_CANCELLED : RUN_RUNNING;
}

static void let_runner_go(struct run *run)
{
	struct runs *rs = run->runs;
	struct runner *r = run->runner;

	lock(rs);
	run->runner = NULL;
	run->view.state = state_after(run);
	if (run->view.state != RUN_RUNNING)
		run->view.ended_ms = sys_wall_ms(rs->shared->sys);
	if (run->view.state == RUN_DONE)
		run->error[0] = 0;
	unlock(rs);
	runner_free(r);
	run->stopping = run->cancelled = false;
}

static void say_end(const struct run *run)
{
	enum say_level level = run->view.state == RUN_FAILED ? SAY_WARNING : SAY_INFO;

	say(level, "source_run_ended", "%s source=%s state=%s records=%llu dead=%llu",
	    run->error[0] ? run->error : "the run is over", run->name, run_state_name(run->view.state),
	    (unsigned long long)run->view.records, (unsigned long long)run->view.dead);
}

static void on_stopped_msg(struct loop *loop, struct loop_msg *msg)
{
	struct run *run = (struct run *)(void *)((uint8_t *)msg - offsetof(struct run, stopped_msg));
	struct runs_request *r = run->asking;
	struct runner_figures *f = mem_zalloc(1, sizeof(*f));

	(void)loop;
	run->asking = NULL;
	if (f) {
		runner_figures(run->runner, f);
		lock(run->runs);
		take_figures(run, f);
		unlock(run->runs);
		mem_free(f);
	}
	let_runner_go(run);
	(void)atomic_fetch_sub(&run->runs->busy, 1);
	if (run->view.state == RUN_RUNNING) {
		if (r)
			answer(r, ERR_SHUTTING_DOWN);
		begin(run);
		return;
	}
	say_end(run);
	if (r) {
		put_row_and_answer(run, r);
	} else if (put_row(run, NULL)) {
		return; /* after a restart it looks once more, and finds nothing left */
	}
	if (run->view.state == RUN_DONE)
		(void)row_commit_forget(run->runs->shared, run->name, "sp", NULL);
}

void runs_apply(struct runs *rs, struct conf_source *conf)
{
	struct conf_source *before = rs->conf;

	rs->conf = conf ? conf_source_ref(conf) : NULL;
	conf_source_unref(before);
	for (struct run *run = rs->first; run; run = run->next) {
		if (run->runner)
			stop(run);
		else
			begin(run);
	}
}

void runs_forget(struct runs *rs)
{
	while (rs->first) {
		(void)row_commit_forget(rs->shared, rs->first->name, "spr", NULL);
		take_out(rs->first);
	}
}

/* ---- asking ---- */

static int too_many(struct runs *rs, struct fault *fault)
{
	uint32_t active = 0;

	for (struct run *run = rs->first; run; run = run->next)
		active += run->view.state == RUN_RUNNING;
	if (active < RUNS_ACTIVE)
		return 0;
	return fault_set(fault, ERR_CONFLICT, "%u runs of this source are under way: await or cancel one",
			 active);
}

static void make_place(struct runs *rs)
{
	uint32_t count = 0;
	struct run *oldest = NULL;

	for (struct run *run = rs->first; run; run = run->next) {
		count++;
		if (run->view.state != RUN_RUNNING && !run->runner && !run->asking &&
		    (!oldest || run->view.begun_ms < oldest->view.begun_ms))
			oldest = run;
	}
	if (count < RUNS_KEPT || !oldest || row_commit_forget(rs->shared, oldest->name, "spr", NULL))
		return;
	take_out(oldest);
}

static uint64_t next_id(struct runs *rs)
{
	uint64_t id = 0;

	for (struct run *run = rs->first; run; run = run->next)
		id = run->view.id; /* they stand in order */
	do
		id = id % ID_MAX + 1;
	while (find(rs, id));
	return id;
}

static void begin_run(struct runs *rs, struct runs_request *r)
{
	const struct source_type *type = rs->conf ? source_type_of(rs->conf->kind) : NULL;
	struct run *run;

	if (!type) {
		answer(r, ERR_UNKNOWN_SOURCE);
		return;
	}
	if (type->absent) {
		answer(r, source_refuse_absent(type, r->fault));
		return;
	}
	if (!(type->flags & SOURCE_WINDOWS) && (type->flags & SOURCE_STREAMS)) {
		answer(r,
		       fault_set(
			       r->fault, ERR_BAD_PARAMETER,
			       "a source of type %s brings what its server sends from now on: what was sent before cannot be "
			       "asked for, so there is no run with --from and --to",
			       type->kind.name));
		return;
	}
	if (!(type->flags & SOURCE_WINDOWS)) {
		answer(r,
		       fault_set(
			       r->fault, ERR_BAD_PARAMETER,
			       "a source of type %s has no order that --from and --to could mean, so it cannot be read beside "
			       "its schedule; `weir source reset %s` begins at the beginning",
			       type->kind.name, rs->name));
		return;
	}
	if (too_many(rs, r->fault)) {
		answer(r, ERR_CONFLICT);
		return;
	}
	make_place(rs);
	r->id = next_id(rs);
	run = new_run(rs, r->id, r->from, r->to, r->rate);
	if (!run) {
		answer(r, ERR_NOMEM);
		return;
	}
	insert(rs, run);
	put_row_and_answer(run, r);
}

static void cancel_run(struct run *run, struct runs_request *r)
{
	if (run->runner) {
		run->asking = r;
		run->cancelled = true;
		stop(run);
		return;
	}
	if (run->view.state == RUN_RUNNING) {
		answer(r, fault_set(r->fault, ERR_CONFLICT, "the source is being changed: try again"));
		return;
	}
	forget_and_answer(run, r);
}

static void resume_run(struct run *run, struct runs_request *r)
{
	if (run->view.state == RUN_RUNNING || run->view.state == RUN_DONE) {
		answer(r, fault_set(r->fault, ERR_CONFLICT, "the run is %s: there is nothing to resume",
				    run_state_name(run->view.state)));
		return;
	}
	if (too_many(run->runs, r->fault)) {
		answer(r, ERR_CONFLICT);
		return;
	}
	lock(run->runs);
	run->view.state = RUN_RUNNING;
	run->view.ended_ms = 0;
	run->error[0] = 0;
	unlock(run->runs);
	put_row_and_answer(run, r);
}

void runs_ask(struct runs *rs, enum runs_ask ask, struct runs_request *r)
{
	struct run *run;

	if (ask == RUNS_BEGIN) {
		begin_run(rs, r);
		return;
	}
	run = find(rs, r->id);
	if (!run)
		answer(r, fault_set(r->fault, ERR_NOT_FOUND, "the source has no run %llu",
				    (unsigned long long)r->id));
	else if (run->asking || run->stopping)
		answer(r, fault_set(r->fault, ERR_CONFLICT, "the run is being changed: try again"));
	else if (ask == RUNS_CANCEL)
		cancel_run(run, r);
	else
		resume_run(run, r);
}

/* ---- watching ---- */

void runs_each(struct runs *rs, bool (*fn)(void *ctx, const struct run_view *view), void *ctx)
{
	struct runner_figures *f = mem_zalloc(1, sizeof(*f));
	bool go_on = true;

	lock(rs);
	for (struct run *run = rs->first; run && go_on; run = run->next) {
		if (run->runner && f) {
			runner_figures(run->runner, f);
			take_figures(run, f);
		}
		go_on = fn(ctx, &run->view);
	}
	unlock(rs);
	mem_free(f);
}
