/* SPDX-License-Identifier: Apache-2.0 */
/* The sources that the configuration names: their pool of threads, their start, their end. */
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "connect/sources.h"
#include "connect/types/types.h"
#include "daemon/parts.h"
#include "obs/say.h"

#define THREADS 8u
#define STEP_NS 10000000
#define STUCK_NS 10000000000ll

/* The pool, begun when the first source asks for it: one made over the API may do so on any loop. */
static struct jobs *source_jobs(struct parts *p)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	(void)pthread_mutex_lock(&lock);
	if (!p->source_jobs && jobs_new(THREADS, &p->source_jobs))
		p->source_jobs = NULL;
	(void)pthread_mutex_unlock(&lock);
	return p->source_jobs;
}

static int run_blocking(void *ctx, struct loop *loop, void (*run)(void *arg), void (*done)(void *arg),
			void *arg)
{
	struct parts *p = ctx;
	struct jobs *jobs = source_jobs(p);

	return jobs ? jobs_ask(jobs, loop, run, done, arg) : ERR_NOMEM;
}

static void on_dead(void *ctx, struct slice topic)
{
	struct parts *p = ctx;

	dead_watch_added(p->app.dead_watch, topic);
}

int sources_build(struct parts *p)
{
	struct runner_shared shared = {.sys = p->sys,
				       .log = p->app.log,
				       .topics = p->app.topics,
				       .ingest = p->app.ingest,
				       .kinds = source_kinds(),
				       .run_blocking = run_blocking,
				       .on_dead = on_dead,
				       .ctx = p,
				       .held_bytes = &p->budget.used,
				       .held_bytes_max = p->conf->memory_bytes / 4 * 3};
	struct runner_loop homes[DAEMON_LOOPS_MAX];
	int rc;

	for (uint32_t i = 0; i < p->loop_count; i++)
		homes[i] = (struct runner_loop){.loop = p->loops[i],
						.port = p->app.loops[i].port,
						.queue = p->app.loops[i].queue,
						.shard = p->app.loops[i].shard};
	rc = sources_begin(p->app.sources, &shared, homes, p->loop_count);
	return rc ? rc : sources_follow(p, p->conf);
}

int sources_follow(struct parts *p, const struct conf *conf)
{
	return sources_apply(p->app.sources, conf->sources, conf->source_count);
}

static void nap(void)
{
	struct timespec t = {.tv_nsec = STEP_NS};

	(void)nanosleep(&t, NULL); /* banned-ok: the main thread waits for loops, the core does not */
}

/* What a source has marked is entered; what it is at beyond that it reads again in another life. */
void sources_drain(struct parts *p, int64_t deadline_ns)
{
	sources_stop(p->app.sources);
	while (!sources_stopped(p->app.sources) && sys_monotonic_ns(p->sys) < deadline_ns)
		nap();
	if (sources_stopped(p->app.sources))
		return;
	say(SAY_WARNING, "source_stuck",
	    "a source does not end its call: weir waits for it, a second signal ends at once");
	deadline_ns = sys_monotonic_ns(p->sys) + STUCK_NS;
	while (!sources_stopped(p->app.sources) && sys_monotonic_ns(p->sys) < deadline_ns)
		nap();
	if (!sources_stopped(p->app.sources)) {
		say(SAY_ERROR, "stopped_at_once", "a source is stuck; what was answered is on disk");
		_exit(1);
	}
}
