/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building and taking down. Each step says why it failed and leaves the rest to
 * parts_tear_down, which takes down exactly what is there.
 */
#include "daemon/parts.h"

#include <sched.h>
#include <string.h>
#include <time.h>

#include "base/file_limit.h"
#include "base/mem.h"
#include "connect/sources.h"
#include "ingest/ingest_batch.h"
#include "obs/say.h"
#include "serve/group_clock.h"
#include "serve/topic_conf.h"
#include "serve/txn_clock.h"

#define MS 1000000ll
#define DRAIN_STEP_MS 10
#define PEERS_MS 2000           /* contract: peers that do not answer are cut after 2 s */
#define FLUSH_AGAIN_NS (5 * MS) /* until the log is asked again whether it has room */

static int failed(const char *what, const struct fault *fault)
{
	say(SAY_ERROR, "start_failed", "%s: %s", what,
	    fault->text[0] ? fault->text : err_row(fault->err)->sentence);
	return 1;
}

static struct log_options log_settings(struct parts *p)
{
	const struct conf *c = p->conf;

	return (struct log_options){
		.sys = p->sys,
		.dir = c->data,
		.journal_file_bytes = (uint64_t)c->log.journal_file_bytes,
		.journal_bytes_max = (uint64_t)c->log.journal_bytes,
		.group_bytes_max = (uint64_t)c->log.group_bytes,
		.entered_bytes_max = (uint64_t)c->log.entered_bytes,
		.pinned_bytes_max = (uint64_t)c->log.pinned_bytes,
		.tail_bytes_max = (uint64_t)c->log.tail_bytes,
		.segment_bytes = (uint64_t)c->log.segment_bytes,
		.index_interval_bytes = (uint32_t)c->log.index_interval_bytes,
		.files_max = (uint32_t)c->log.files_max,
		.readers = (uint32_t)c->log.readers,
		.rewrite_rate = (uint64_t)c->log.rewrite_rate,
		.compaction_bytes_max = (uint64_t)c->log.compaction_memory,
		.read_gauge = &p->budget.used,
		.clock_hold_ms = c->log.clock_hold_ms ? c->log.clock_hold_ms : -1,
		.say = say_text,
	};
}

static struct groups_settings group_settings(const struct conf *c)
{
	return (struct groups_settings){.session_min_ms = c->kafka.session_timeout_min_ms,
					.session_max_ms = c->kafka.session_timeout_max_ms,
					.initial_delay_ms = c->kafka.group_initial_delay_ms,
					.offsets_retention_ms = c->kafka.offsets_retention_ms,
					.members_max = (uint32_t)c->kafka.group_members_max};
}

static int build_coordinators(struct parts *p)
{
	struct txns_options txns = {.log = p->app.log, .state = p->state, .topics = p->app.topics};
	struct groups_settings settings = group_settings(p->conf);
	struct groups_options groups = {.log = p->app.log,
					.state = p->state,
					.topics = p->app.topics,
					.settings = &settings};

	if (dead_marks_new(p->app.log, p->state, p->app.topics, &p->app.dead) ||
	    dead_watch_new(p->app.topics, p->app.dead, &p->app.dead_watch))
		return ERR_NOMEM;
	if (offsets_new(p->app.log, p->state, &p->app.offsets))
		return ERR_NOMEM;
	groups.offsets = p->app.offsets;
	if (groups_new(&groups, &p->app.groups))
		return ERR_NOMEM;
	txns.offsets = p->app.offsets;
	return txns_new(&txns, &p->app.txns);
}

static int build_log(struct parts *p)
{
	struct log_options options = log_settings(p);
	struct topic_config defaults;
	struct fault fault = {0};

	if (log_open(&options, &p->app.log, &fault))
		return failed("the log", &fault);
	topic_conf_to(&p->conf->topic_defaults, &defaults);
	if (state_new(p->app.log, &p->state) ||
	    topics_new(p->app.log, p->state, &defaults, p->conf->topic_defaults.auto_create,
		       &p->app.topics)) {
		fault.err = ERR_NOMEM;
		return failed("the state", &fault);
	}
	if (build_coordinators(p)) {
		fault.err = ERR_NOMEM;
		return failed("the state", &fault);
	}
	if (sources_new(p->state, &p->app.sources)) {
		fault.err = ERR_NOMEM;
		return failed("the state", &fault);
	}
	if (state_load(p->state, &fault) || topics_ready(p->app.topics, &fault) ||
	    txns_ready(p->app.txns, &fault) || log_start(p->app.log, &fault))
		return failed("the state", &fault);
	if (file_topics_apply(p, p->conf, &fault))
		return failed("the topics of the configuration file", &fault);
	return 0;
}

static int build_obs(struct parts *p)
{
	struct metrics_options options = {.sys = p->sys, .version = WEIR_VERSION};
	struct fault fault = {.err = ERR_NOMEM};

	if (metrics_new(&options, &p->app.metrics) || health_new(&p->app.health))
		return failed("metrics", &fault);
	return 0;
}

/* ---- loops ---- */

static uint32_t loops_wanted(const struct conf *conf)
{
	cpu_set_t set;
	uint32_t count = (uint32_t)conf->threads;

	if (count == 0)
		count = sched_getaffinity(0, sizeof(set), &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
	return count > DAEMON_LOOPS_MAX ? DAEMON_LOOPS_MAX : count;
}

static void run_flush(void *ctx)
{
	struct app_loop *al = ctx;

	ingest_flush(al->queue);
}

static void want_flush(void *ctx)
{
	app_flush_later(ctx);
}

static void want_flush_later(void *ctx)
{
	struct app_loop *al = ctx;

	loop_timer_set(al->loop, &al->again, FLUSH_AGAIN_NS);
}

static int may_write(const void *ctx, int64_t producer_id, int16_t epoch, const struct partition *p)
{
	return txn_may_write(ctx, producer_id, epoch, p);
}

static int64_t clock_of_loop(void *ctx)
{
	const struct app_loop *al = ctx;

	return loop_now(al->loop);
}

/* A door's job may come from any of its loop's requests; ctx tells which loop. */
static struct jobs *the_jobs;

static int run_blocking(void *ctx, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
	struct app_loop *al = ctx;

	return jobs_ask(the_jobs, al->loop, run, done, arg);
}

static int build_loop(struct parts *p, uint32_t number, struct fault *fault)
{
	struct loop_options options = {.sys = p->sys, .number = number, .budget = &p->budget};
	struct app_loop *al = &p->app.loops[number];
	struct ingest_queue_options queue = {.ingest = p->app.ingest,
					     .run_blocking = run_blocking,
					     .want_flush = want_flush,
					     .want_flush_later = want_flush_later,
					     .now_ns = clock_of_loop,
					     .ctx = al};
	int rc = loop_new(&options, &p->loops[number]);

	if (rc)
		return fault_set(fault, rc, "no memory for a loop");
	p->loop_count++;
	rc = app_loop_init(&p->app, p->loops[number], fault);
	if (rc)
		return rc;
	al->flush = (struct loop_turn){.run = run_flush, .ctx = al};
	loop_timer_init(&al->again, want_flush, al);
	al->shard = metrics_shard_new(p->app.metrics);
	queue.port = al->port;
	queue.shard = al->shard;
	queue.share = loop_share(p->loops[number]);
	rc = ingest_queue_new(&queue, &al->queue);
	return rc || !al->shard ? fault_set(fault, ERR_NOMEM, "no memory for a loop") : 0;
}

static int build_loops(struct parts *p)
{
	struct ingest_options ingest = {.log = p->app.log, .topics = p->app.topics, .sys = p->sys};
	uint32_t count = loops_wanted(p->conf);
	struct fault fault = {.err = ERR_NOMEM};

	p->app.loops = mem_zalloc(count, sizeof(*p->app.loops));
	p->app.loop_count = count;
	if (!p->app.loops || ingest_new(&ingest, &p->app.ingest) || jobs_new(2, &p->jobs))
		return failed("loops", &fault);
	ingest_set_transactions(p->app.ingest, may_write, p->app.txns);
	the_jobs = p->jobs;
	p->app.run_blocking = run_blocking;
	parts_apply_limits(p, p->conf);
	for (uint32_t i = 0; i < count; i++)
		if (build_loop(p, i, &fault))
			return failed("loops", &fault);
	p->app.home = p->loops[0];
	if (txn_clock_new(&p->app, p->app.home, &p->txn_clock) ||
	    group_clock_new(&p->app, p->app.home, &p->group_clock))
		return failed("loops", &fault);
	log_enter_begin(p->app.log); /* behind groups_start: until then it is not written again */
	state_tidy(p->state);
	log_enter_end(p->app.log);
	return 0;
}

/* ---- threads ---- */

static void *run_loop(void *arg)
{
	(void)pthread_setname_np(pthread_self(), "weir-net");
	loop_run(arg);
	return NULL;
}

static int start_threads(struct parts *p)
{
	struct fault fault = {.err = ERR_NOMEM};

	for (uint32_t i = 0; i < p->loop_count; i++) {
		int err = pthread_create(&p->threads[i], NULL, run_loop, p->loops[i]);
		if (err) {
			(void)fault_set(&fault, ERR_NOMEM, "a thread cannot be started: %s",
					sys_error_text(-err));
			return failed("threads", &fault);
		}
		p->thread_count++;
	}
	return 0;
}

int parts_build(struct parts *p)
{
	struct fault fault = {.err = ERR_NOMEM};
	int rc;

	file_limit_raise();
	mem_give_back();
	budget_init(&p->budget, p->conf->memory_bytes, loops_wanted(p->conf));
	p->app.budget = &p->budget;
	p->app.sys = p->sys;
	p->app.limits.sse_comment_ns = p->conf->stream.sse_comment_interval_ms * MS;
	p->app.limits.ws_ping_ns = p->conf->stream.ws_ping_interval_ms * MS;
	p->app.limits.ws_message_max = (size_t)p->conf->stream.ws_message_bytes;
	rc = build_obs(p);
	if (rc == 0)
		rc = build_log(p);
	if (rc == 0)
		rc = build_loops(p);
	if (rc == 0 && figures_start(p))
		rc = failed("metrics", &fault);
	if (rc == 0)
		rc = ports_open(p);
	if (rc == 0 && sources_build(p))
		rc = failed("sources", &fault);
	if (rc == 0)
		rc = start_threads(p);
	if (rc == 0)
		health_set(p->app.health, COMPONENT_START, HEALTH_OK, NULL);
	return rc;
}

/* ---- draining ---- */

static void on_drain(struct loop *loop, struct loop_msg *msg)
{
	struct parts *p = loop_owner(loop);

	mem_free(msg);
	app_loop_drain(&p->app, loop);
	http_server_close_idle(p->http, loop);
	if (p->kafka)
		kafka_server_close_idle(p->kafka, loop);
}

static void tell_loops(struct parts *p)
{
	for (uint32_t i = 0; i < p->loop_count; i++) {
		struct loop_msg *msg = mem_zalloc(1, sizeof(*msg));
		if (!msg)
			continue;
		loop_set_owner(p->loops[i], p);
		msg->run = on_drain;
		loop_post(p->loops[i], msg);
	}
}

static bool in_flight(const struct parts *p)
{
	for (uint32_t i = 0; i < p->loop_count; i++)
		if (ingest_in_flight(p->app.loops[i].queue))
			return true;
	return false;
}

static void nap(void)
{
	struct timespec t = {.tv_nsec = DRAIN_STEP_MS * 1000000};

	(void)nanosleep(&t, NULL); /* banned-ok: the main thread waits for loops, the core does not */
}

/* What is left is closed with the loops. */
static void say_who_is_cut(const struct parts *p)
{
	uint32_t left = ports_connections(p);

	if (left)
		say(SAY_INFO, "peers_cut", "they did not answer in time connections=%u", left);
}

void parts_drain(struct parts *p)
{
	int64_t limit = p->conf->drain_timeout_ms < PEERS_MS ? p->conf->drain_timeout_ms : PEERS_MS;
	int64_t begun = sys_monotonic_ns(p->sys);

	health_set(p->app.health, COMPONENT_DRAIN, HEALTH_DOWN, "weir is stopping");
	ports_drain(p);
	tell_loops(p);
	sources_drain(p, begun + p->conf->drain_timeout_ms * MS);
	while (ports_connections(p) > 0 && sys_monotonic_ns(p->sys) - begun < limit * MS)
		nap();
	while (in_flight(p) && sys_monotonic_ns(p->sys) - begun < p->conf->drain_timeout_ms * MS)
		nap();
	say_who_is_cut(p);
}

/* ---- taking down ---- */

static void end_loops(struct parts *p)
{
	for (uint32_t i = 0; i < p->thread_count; i++)
		loop_stop(p->loops[i]);
	for (uint32_t i = 0; i < p->thread_count; i++)
		(void)pthread_join(p->threads[i], NULL);
	ports_close(p);
}

static void free_loops(struct parts *p)
{
	for (uint32_t i = 0; i < p->loop_count; i++) {
		app_loop_fini(&p->app, p->loops[i]); /* takes the log's last words, which may end requests */
		if (p->app.loops[i].queue)
			ingest_queue_free(p->app.loops[i].queue);
		loop_free(p->loops[i]);
	}
	mem_free(p->app.loops);
}

int parts_tear_down(struct parts *p)
{
	struct fault fault = {0};
	int rc = 0;

	if (p->app.sources)
		sources_stop(p->app.sources); /* where it came not so far as to drain */
	end_loops(p);
	if (p->app.log && (rc = log_stop(p->app.log, &fault))) {
		say(rc == ERR_DISK_FULL ? SAY_WARNING : SAY_ERROR, "stopped_without_checkpoint",
		    "the last storage checkpoint failed; the journal has everything: %s", fault.text);
		rc = rc != ERR_DISK_FULL; /* to stop on a full disk is to stop well */
	}
	if (p->jobs)
		jobs_free(p->jobs);
	if (p->source_jobs)
		jobs_free(p->source_jobs);
	free_loops(p);
	ports_free(p);
	metrics_free(p->app.metrics);
	if (p->app.ingest)
		ingest_free(p->app.ingest);
	txn_clock_free(p->txn_clock);
	txns_free(p->app.txns);
	group_clock_free(p->group_clock);
	groups_free(p->app.groups);
	dead_watch_free(p->app.dead_watch);
	dead_marks_free(p->app.dead);
	sources_free(p->app.sources);
	offsets_free(p->app.offsets);
	if (p->app.topics)
		topics_free(p->app.topics);
	state_free(p->state);
	if (p->app.log)
		log_close(p->app.log);
	health_free(p->app.health);
	if (p->conf_owned)
		conf_free((struct conf *)(uintptr_t)p->conf);
	return rc;
}
