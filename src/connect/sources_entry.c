/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is at work for an entry, on its loop: a runner at most, and the runs beside its schedule. Whatever is to change, a changed setting as much
 * as a reset, is done the same way: the runner stops, and when it has stopped what was asked for meanwhile is done and the next one begins. A
 * runner is made and freed here alone.
 */
#include "connect/row_commit.h"
#include "connect/sources_inner.h"
#include "obs/say.h"

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

/* As it counts now; NULL: it is to be no longer. Shares. */
static struct conf_source *conf_of(struct entry *e)
{
	struct sources *s = e->sources;
	struct conf_source *conf;

	sources_lock(s);
	conf = e->conf && !s->closing ? conf_source_ref(e->conf) : NULL;
	sources_unlock(s);
	return conf;
}

static void begin(struct entry *e)
{
	struct sources *s = e->sources;
	struct conf_source *conf = conf_of(e);
	struct runner *r = NULL;
	int rc = conf ? runner_new(&s->shared, e->home, conf, &r) : 0;

	conf_source_unref(conf);
	if (rc)
		say(SAY_ERROR, "source_broken", "there is no memory for the source source=%s", e->name);
	sources_lock(s);
	e->runner = r;
	e->closed = !r;
	sources_unlock(s);
	if (r)
		runner_start(r);
}

static void forget(struct entry *e, struct sources_request *r)
{
	struct state_done done = sources_answer_durable(r);
	int rc;

	if (r->ask == SOURCES_DELETE)
		runs_forget(e->runs);
	rc = row_commit_forget(&e->sources->shared, e->name, "sp", &done);
	begin(e);
	if (rc)
		sources_answer(r, rc);
}

static void on_runner_stopped(struct loop *loop, struct loop_msg *msg)
{
	struct entry *e = (struct entry *)(void *)((uint8_t *)msg - offsetof(struct entry, msg));
	struct sources_request *resetting = e->resetting;
	struct runner *r;

	(void)loop;
	sources_lock(e->sources);
	r = e->runner;
	e->runner = NULL;
	sources_unlock(e->sources);
	runner_free(r);
	e->stopping = false;
	e->resetting = NULL;
	if (resetting)
		forget(e, resetting);
	else
		begin(e);
}

void entry_reset(struct entry *e, struct sources_request *r)
{
	if (e->runner) {
		e->resetting = r;
		stop_runner(e);
		return;
	}
	forget(e, r);
}

static void on_apply(struct loop *loop, struct loop_msg *msg)
{
	struct entry *e = (struct entry *)(void *)((uint8_t *)msg - offsetof(struct entry, apply));
	struct conf_source *conf;

	(void)loop;
	atomic_store(&e->applying, false);
	conf = conf_of(e);
	runs_apply(e->runs, conf);
	conf_source_unref(conf);
	if (e->runner)
		stop_runner(e);
	else
		begin(e);
}

void entry_apply(struct entry *e)
{
	if (!atomic_exchange(&e->applying, true))
		loop_post(e->home->loop, &e->apply);
}

void entry_init(struct entry *e)
{
	e->apply.run = on_apply;
	e->msg.run = on_runner_stopped;
}
