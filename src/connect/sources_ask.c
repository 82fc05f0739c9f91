/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked of a source: a message to its loop, where it is done, and answered from there, when what it has changed is durable. A source
 * that is made over the API, changed or deleted is a row first (made.h).
 */
#include <stdio.h>

#include "conf/value.h"
#include "connect/made.h"
#include "connect/probe.h"
#include "connect/sources_inner.h"

#define MADE_MAX 10000u

void sources_answer(struct sources_request *r, int err)
{
	if (err && !r->fault.err)
		fault_set(&r->fault, err, "%s", err_row(err)->sentence);
	r->done(r);
}

static void on_durable(void *ctx)
{
	sources_answer(ctx, 0);
}

struct state_done sources_answer_durable(struct sources_request *r)
{
	return (struct state_done){.port = r->entry->home->port, .fn = on_durable, .ctx = r};
}

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

	if (e->asking || e->resetting) { /* the source may be on its way out, and its runs with it */
		sources_answer(r,
			       fault_set(&r->fault, ERR_CONFLICT, "the source is being changed: try again"));
		return;
	}
	r->run.fault = &r->fault;
	r->run.done = on_run_asked;
	runs_ask(e->runs, ask, &r->run);
}

static void on_tested(void *ctx)
{
	sources_answer(ctx, 0);
}

static void test(struct entry *e, struct sources_request *r)
{
	struct conf_source *conf;
	int rc;

	sources_lock(e->sources);
	conf = e->conf ? conf_source_ref(e->conf) : NULL;
	sources_unlock(e->sources);
	rc = conf ? probe_start(&e->sources->shared, e->home, conf, r->records, r->out, on_tested, r) :
		    ERR_UNKNOWN_SOURCE;
	conf_source_unref(conf);
	if (rc)
		sources_answer(r, rc);
}

static void reset(struct entry *e, struct sources_request *r)
{
	if (e->resetting) {
		sources_answer(r, fault_set(&r->fault, ERR_CONFLICT, "the source is being reset already"));
		return;
	}
	entry_reset(e, r);
}

/* ---- made over the API ---- */

static void on_row_durable(void *ctx)
{
	struct sources_request *r = ctx;
	struct entry *e = r->entry;
	bool gone = r->ask == SOURCES_DELETE;

	e->asking = NULL;
	entry_set_made(e, gone ? NULL : r->conf);
	conf_source_unref(r->conf);
	r->conf = NULL;
	if (gone && !e->resetting)
		entry_reset(e, r);
	else
		sources_answer(r, 0);
}

static void refuse_change(struct sources_request *r, int err)
{
	conf_source_unref(r->conf);
	r->conf = NULL;
	sources_answer(r, err);
}

static void put_row(struct entry *e, struct sources_request *r, struct slice text)
{
	const struct state_done done = {.port = e->home->port, .fn = on_row_durable, .ctx = r};
	int rc;

	e->asking = r;
	rc = made_put(&e->sources->shared, e->name, text, &done);
	if (rc == 0)
		return;
	e->asking = NULL;
	refuse_change(r, rc);
}

/* 0 where it may be changed over the API. */
static int may_change(struct entry *e, struct sources_request *r)
{
	bool file, made;

	sources_lock(e->sources);
	file = e->file;
	made = e->made;
	sources_unlock(e->sources);
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

	if (rc)
		refuse_change(r, rc);
	else
		put_row(e, r, r->ask == SOURCES_DELETE ? slice_null() : buf_slice(r->out));
}

static void pause_or_resume(struct entry *e, struct sources_request *r)
{
	struct state_done done = sources_answer_durable(r);
	int rc = runner_pause(e->runner, r->ask == SOURCES_PAUSE, &done);

	if (rc == ERR_CONFLICT)
		fault_set(&r->fault, rc, "the source is broken: `weir source show %s` tells why", e->name);
	if (rc)
		sources_answer(r, rc);
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
		sources_answer(r,
			       fault_set(&r->fault, ERR_CONFLICT, "the source is being changed: try again"));
	} else if (r->ask == SOURCES_RUN) {
		runner_run(e->runner);
		sources_answer(r, 0);
	} else {
		pause_or_resume(e, r);
	}
}

int sources_ask(struct sources *s, struct slice name, struct sources_request *r)
{
	struct entry *e;
	int rc = 0;

	sources_lock(s);
	e = entry_find(s, name);
	if (!e || !e->conf)
		rc = ERR_UNKNOWN_SOURCE;
	else if (s->closing)
		rc = ERR_SHUTTING_DOWN;
	sources_unlock(s);
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

	sources_lock(s);
	r->entry = entry_find(s, slice_str(name));
	r->created = !r->entry || !r->entry->conf;
	if (s->closing)
		rc = ERR_SHUTTING_DOWN;
	else if (r->created && count_made(s) >= MADE_MAX)
		rc = fault_set(fault, ERR_LIMIT, "there are %u sources made over the API: no more are taken",
			       MADE_MAX);
	else if (!r->entry)
		r->entry = entry_add(s, name);
	if (rc == 0 && !r->entry)
		rc = ERR_NOMEM;
	sources_unlock(s);
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
