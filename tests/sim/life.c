/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One life of a machine: the core opens, everything is read and compared with
 * the model, then clients, steps of the core and faults come in an order that the
 * seed gives, until the power goes or the core is stopped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "world.h"

int64_t wall_ms(struct world *w)
{
	int64_t now = sys_wall_ms(sim_sys(w->sim));

	if (now > w->model.wall_max_ms)
		w->model.wall_max_ms = now;
	return now;
}

/* ---- the table of state ---- */

static int apply_row(void *ctx, struct slice key, struct slice value)
{
	struct world *w = ctx;

	if (key.len != 1 || key.ptr[0] >= MODEL_ROWS || value.len != 4)
		return ERR_CORRUPT;
	memcpy(&w->rows[key.ptr[0]], value.ptr, 4);
	return 0;
}

static int each_row(void *ctx, uint32_t part, uint32_t parts, state_row_fn *fn, void *fn_ctx)
{
	struct world *w = ctx;
	int rc = 0;

	for (uint8_t i = 0; i < MODEL_ROWS && rc == 0; i++)
		if (w->rows[i] && (i & (parts - 1)) == part)
			rc = fn(fn_ctx, slice_make(&i, 1), slice_make(&w->rows[i], 4));
	return rc;
}

/* ---- opening ---- */

static void on_say(void *ctx, int level, const char *event, const char *text)
{
	struct world *w = ctx;

	world_say(w, "log %d %s: %s", level, event, text);
	w->compactions += strcmp(event, "compacted") == 0;
	w->recompressions += strcmp(event, "recompressed") == 0;
	rot_hear(ctx, event);
	if (strcmp(event, "producers_broken") == 0 && !w->producers_hit)
		model_fail("a file of producers is broken, though nothing has turned a bit of it");
}

static void on_fatal(void *ctx, const char *text)
{
	struct world *w = ctx;

	(void)text;
	w->fatals++;
	machine_off();
}

static void on_wake(void *ctx)
{
	(void)ctx; /* ports are run all the time */
}

static int open_log(struct world *w, struct fault *fault)
{
	struct log_options o = {.sys = sim_sys(w->sim),
				.dir = "data",
				.journal_file_bytes = w->profile.journal_file_bytes,
				.segment_bytes = w->profile.segment_bytes,
				.tail_bytes_max = w->profile.tail_bytes,
				.direct_bytes_min = w->profile.direct_bytes,
				.files_max = w->profile.small_files ? 3 : 32,
				.index_interval_bytes = w->profile.small_files ? 100 : 4096,
				.rewrite_rate = w->profile.rewrite_rate,
				.steps = true,
				.compaction_bytes_max = w->profile.compaction_bytes,
				.say = on_say,
				.say_ctx = w,
				.on_fatal = on_fatal};

	return log_open(&o, &w->log, fault);
}

static int open_core(struct world *w, struct fault *fault)
{
	const struct topic_config defaults = {.partitions = 1,
					      .retention_ms = -1,
					      .retention_bytes = -1,
					      .dead_retention_ms = sources_are_on(w) ? -1 : 0,
					      .idempotency_ttl_ms = 30ll * 86400000};
	struct state_table rows = {.id = (enum state_table_id)WORLD_ROW_TABLE,
				   .name = "rows",
				   .apply = apply_row,
				   .each_part = each_row,
				   .ctx = w};
	int rc = open_log(w, fault);

	memset(w->rows, 0, sizeof(w->rows));
	if (rc && machine_blocks() != 0)
		model_fail("%llu blocks of memory are left after a start that was refused",
			   (unsigned long long)machine_blocks());
	if (rc == 0)
		rc = state_new(w->log, &w->state);
	if (rc == 0)
		rc = topics_new(w->log, w->state, &defaults, w->profile.auto_create, &w->topics);
	if (rc == 0)
		rc = state_register(w->state, &rows);
	if (rc == 0 && members_are_on(w))
		rc = members_open(w);
	if (rc == 0 && sources_are_on(w))
		rc = sources_open(w);
	if (rc == 0)
		state_set_slack(w->state, w->profile.slack);
	if (rc == 0 && w->profile.slack < 1000)
		state_set_piece(w->state, w->profile.slack * 8); /* a round has many pieces */
	if (rc == 0)
		rc = state_load(w->state, fault);
	if (rc == 0)
		rc = topics_ready(w->topics, fault);
	if (rc == 0 && producers_are_on(w))
		rc = producers_open(w);
	return rc ? rc : log_start(w->log, fault);
}

static void open_doors(struct world *w)
{
	struct ingest_options ingest = {.log = w->log, .topics = w->topics, .sys = sim_sys(w->sim)};
	struct ingest_queue_options queue = {.run_blocking = client_queue_job, .ctx = w};
	struct hub_options hub = {.log = w->log, .topics = w->topics};

	CHECK(log_port_new(w->log, on_wake, w, &w->port) == 0);
	CHECK(ingest_new(&ingest, &w->ingest) == 0);
	queue.ingest = w->ingest;
	queue.port = hub.port = w->port;
	CHECK(ingest_queue_new(&queue, &w->queue) == 0);
	CHECK(hub_new(&hub, &w->hub) == 0);
	if (members_are_on(w))
		members_start(w);
}

/* With faults about a start may be refused, and is tried again without them. */
static void open_or_fail(struct world *w)
{
	struct fault fault = {0};
	struct sim_stats before, after;
	int rc;

	sim_stats(w->sim, &before);
	allocs_set(w, chance(w, 2));
	rc = open_core(w, &fault);
	allocs_set(w, false);
	if (rc == 0) {
		w->rot.pending = false;
		return;
	}
	sim_stats(w->sim, &after);
	world_say(w, "the start is refused: %s", fault.text);
	if (after.failures == before.failures && w->life_failed_allocs == machine_failed_allocs() &&
	    !rot_explains(w, fault.text))
		model_fail("weir does not start: %s", fault.text);
	w->refused_starts++;
	faults_set(w, false);
	machine_off();
}

/* ---- the oracle ---- */

static void scan_batches(struct world *w, const struct log_view *view, uint32_t topic, uint32_t part,
			 int64_t *at)
{
	struct slice rest = view->batches;

	while (rest.len) {
		struct batch_record record;
		struct model_walk walk;
		struct batch_head head;
		if (batch_check(rest, &head) || model_walk_start(&walk, rest))
			model_fail("a batch of %s/%u is not whole", w->model.topics[topic].name, part);
		if (head.base_offset > *at)
			model_fail("a batch of %s/%u begins at %" PRId64 " instead of %" PRId64,
				   w->model.topics[topic].name, part, head.base_offset, *at);
		while (batch_walk_next(&walk.walk, &record) == 1) {
			if (record.offset < *at)
				continue;
			if (record.offset != *at && !w->model.topics[topic].compacted)
				model_fail("offset %" PRId64 " of %s/%u comes after %" PRId64, record.offset,
					   w->model.topics[topic].name, part, *at - 1);
			model_read(&w->model, topic, part, &record);
			*at = record.offset + 1;
		}
		if (w->model.topics[topic].compacted && batch_last_offset(&head) >= *at)
			*at = batch_last_offset(&head) + 1;
		model_walk_end(&walk);
		rest = slice_from(rest, head.bytes);
	}
}

static void check_times(struct world *w, struct partition *p, uint32_t topic, uint32_t part,
			const struct partition_range *range)
{
	const struct model_part *m = &w->model.topics[topic].part[part];
	int64_t found, expect = range->end, time_ms;

	if (range->end == range->start || range->end > m->cap || m->at[range->end - 1].scan != w->model.scan)
		return; /* or nothing was ever seen there: compaction left no record */
	time_ms = m->at[range->start + (int64_t)below(w, (uint32_t)(range->end - range->start))].time_ms;
	if (time_ms == INT64_MIN)
		return; /* of one that cannot be read */
	time_ms -= below(w, 2);
	for (int64_t offset = range->end; offset-- > range->start;)
		if (m->at[offset].scan == w->model.scan && m->at[offset].time_ms >= time_ms)
			expect = offset;
	if (log_find_wait(p, time_ms, &found))
		model_fail("the time %" PRId64 " cannot be looked up in %s/%u", time_ms,
			   w->model.topics[topic].name, part);
	if (found != expect)
		model_fail("the time %" PRId64 " is at offset %" PRId64 " of %s/%u, and %" PRId64
			   " was given",
			   time_ms, expect, w->model.topics[topic].name, part, found);
}

static void scan_part(struct world *w, struct topic *t, uint32_t topic, uint32_t part)
{
	struct partition *p = topic_partition(t, part);
	struct partition_range range;
	struct log_view view;
	int64_t at;

	partition_range(p, &range);
	for (at = range.start; at < range.end;) {
		int rc = log_read_wait(p, at, 1 + below(w, 20000), &view);
		if (rc == LOG_READ_OK && view.gap.from < view.gap.to &&
		    model_is_rotten(&w->model, topic, part, view.gap.from, view.gap.to)) {
			if (!w->rot.told_gap)
				model_fail("offset %" PRId64 " of %s/%u is damaged, and nobody was told", at,
					   t->name, part);
			w->rot.gaps++;
			model_hide(&w->model, topic, part, view.gap.from, view.gap.to);
			blob_unref(view.blob);
			at = view.next_offset;
			continue;
		}
		if (rc != LOG_READ_OK || view.gap.from != view.gap.to)
			model_fail("offset %" PRId64 " of %s/%u cannot be read: %d", at, t->name, part, rc);
		scan_batches(w, &view, topic, part, &at);
		if (at != view.next_offset)
			model_fail("a read of %s/%u says that it ends at %" PRId64 ", and ended at %" PRId64,
				   t->name, part, view.next_offset, at);
		blob_unref(view.blob);
	}
	model_scan_part(&w->model, topic, part, range.start, range.end);
	if (chance(w, 4) && !w->model.topics[topic].part[part].rotten)
		check_times(w, p, topic, part, &range);
}

static void scan_topic(struct world *w, uint32_t number)
{
	struct model_topic *t = &w->model.topics[number];
	struct topic *topic = topics_find_id(w->topics, &t->id);
	uint32_t parts;

	if (!topic) {
		if (t->created && !t->deleting)
			model_fail("topic %s is lost", t->name);
		if (t->on_use && !t->created) {
			t->id = (struct topic_id){{0}};
			consumers_leave(w, number);
			return;
		}
		t->deleting = t->deleted = true;
		t->pure = false;
		return;
	}
	if (t->deleted)
		model_fail("topic %s was deleted and is there", t->name);
	t->created = true;
	t->deleting = false; /* it had not entered for good */
	parts = atomic_load(&topic->partition_count);
	if (parts < t->parts || parts > t->parts_asked)
		model_fail("topic %s has %u partitions; %u were answered and %u asked for", t->name, parts,
			   t->parts, t->parts_asked);
	t->parts = t->parts_asked = parts;
	for (uint32_t i = 0; i < parts; i++)
		scan_part(w, topic, number, i);
}

static bool is_known(void *ctx, struct topic *topic)
{
	struct world *w = ctx;

	if (client_topic_of(w, topic) < 0 && !(sources_are_on(w) && sources_own(topic->name)))
		model_fail("nobody made topic %s", topic->name);
	return true;
}

static void check_everything(struct world *w)
{
	topics_each(w->topics, slice_null(), is_known, w);
	model_scan_start(&w->model);
	for (uint32_t i = 0; i < w->model.topic_count; i++)
		scan_topic(w, i);
	model_scan_end(&w->model, w->rows);
	if (producers_are_on(w))
		producers_check(w);
	if (members_are_on(w))
		members_check(w);
	if (sources_are_on(w))
		sources_check(w);
	rot_settle(w, w->model.unlearnt_lost > 0);
	world_say(w, "everything was read and is as it should be");
}

/* ---- steps of the core ---- */

static void run_commit(void *ctx)
{
	struct world *w = ctx;

	w->commit_idle = log_step(w->log, LOG_STEP_COMMIT) == 0;
}

static void run_move(void *ctx)
{
	(void)log_step(((struct world *)ctx)->log, LOG_STEP_MOVE);
}

static void run_maintain(void *ctx)
{
	(void)log_step(((struct world *)ctx)->log, LOG_STEP_MAINTAIN);
}

static void run_checkpoint(void *ctx)
{
	struct fault fault = {0};

	(void)log_checkpoint(((struct world *)ctx)->log, &fault);
}

static void run_read(void *ctx)
{
	(void)log_step(((struct world *)ctx)->log, LOG_STEP_READ);
}

static void step(struct world *w, enum task task, void (*fn)(void *ctx))
{
	if (task_busy(task))
		task_resume(task);
	else
		task_start(task, fn, w);
}

static void run_port(struct world *w)
{
	log_port_run(w->port);
	hub_run(w->hub);
}

static void finish_tasks(struct world *w)
{
	bool busy = true;

	(void)w;
	while (busy) {
		busy = false;
		for (enum task task = TASK_COMMIT; task < TASK_COUNT; task++) {
			if (task_busy(task)) {
				task_resume(task);
				busy = true;
			}
		}
	}
}

/* Until nothing is under way; then whoever sleeps must have a reason to. */
static void come_to_rest(struct world *w)
{
	finish_tasks(w);
	for (uint32_t i = 0; i < 1000; i++) {
		client_flush(w);
		while (log_step(w->log, LOG_STEP_COMMIT) > 0)
			;
		while (log_step(w->log, LOG_STEP_READ) > 0)
			;
		client_run_jobs(w);
		run_port(w);
		if (!clients_waiting(w))
			break;
	}
	if (clients_waiting(w) || members_waiting(w))
		model_fail("somebody waits for an answer and nothing is under way");
	run_port(w);
	consumers_check_awake(w);
}

static void change_space(struct world *w)
{
	struct sim_stats stats;

	sim_stats(w->sim, &stats);
	if (chance(w, 2))
		sim_set_space(w->sim, 1u << 30);
	else if (chance(w, 2))
		sim_set_space(w->sim, stats.bytes_used + (16u << 20) + below(w, 1u << 20));
	else
		sim_set_space(w->sim, stats.bytes_used + below(w, 1u << 19));
	world_say(w, "the disk changes its size");
}

static void change_clock(struct world *w)
{
	int64_t ns;

	if (chance(w, 3)) {
		ns = ((int64_t)below(w, 7200) - 3600) * 1000000000;
		sim_jump(w->sim, ns);
		world_say(w, "the clock jumps by %" PRId64 " s", ns / 1000000000);
	} else {
		sim_pass(w->sim, (int64_t)below(w, 2000) * 1000000);
	}
	(void)wall_ms(w);
}

static void count_tidying(struct world *w)
{
	struct partition_range range;

	partition_range(log_internal(w->log), &range);
	w->tidied += range.start > w->state_start;
	w->state_start = range.start;
}

static void live_a_little(struct world *w)
{
	const struct profile *p = &w->profile;
	uint32_t all = p->sends + p->commits + p->moves + p->maintains + p->consumers + p->changes +
		       p->clock + p->space;
	uint32_t n = below(w, all + 1);

	if (producers_are_on(w) && chance(w, 3))
		producers_turn(w);
	if (members_are_on(w) && chance(w, 3))
		members_turn(w);
	if (sources_are_on(w) && chance(w, 2))
		sources_turn(w);
	if (n < p->sends)
		client_send(w);
	else if ((n -= p->sends) < p->commits)
		step(w, TASK_COMMIT, run_commit);
	else if ((n -= p->commits) < p->moves)
		step(w, TASK_BACK, run_move);
	else if ((n -= p->moves) < p->maintains)
		step(w, TASK_BACK, chance(w, 20) ? run_checkpoint : run_maintain);
	else if ((n -= p->maintains) < p->consumers)
		consumer_turn(w);
	else if ((n -= p->consumers) < p->changes)
		client_change_topics(w);
	else if ((n -= p->changes) < p->clock)
		change_clock(w);
	else if ((n -= p->clock) < p->space)
		change_space(w);
	else if (chance(w, 10))
		come_to_rest(w);
	count_tidying(w);
	if (w->profile.allocs && chance(w, 16))
		allocs_set(w, true);
	if (w->profile.rot && chance(w, 150))
		rot_strike_live(w);
	if (chance(w, 3))
		client_flush(w);
	if (chance(w, 3))
		run_port(w);
	if (chance(w, 6))
		step(w, TASK_READ, run_read);
	if (chance(w, 6))
		client_run_jobs(w);
}

/* With nothing in its way a source goes on by itself, whatever has happened to it. */
static void await_rows(struct world *w)
{
	uint64_t before = sources_progress(w);

	for (uint32_t i = 0; sources_progress(w) != UINT64_MAX && sources_progress(w) <= before; i++) {
		if (i == 3000)
			model_fail("a source stands still");
		sources_turn(w);
		come_to_rest(w);
		if (i % 16 == 0)
			run_maintain(w);
	}
}

/* What is on its way becomes durable meanwhile. */
static void stop_sources(struct world *w)
{
	if (chance(w, 2))
		await_rows(w);
	sources_stop(w);
	for (uint32_t i = 0; !sources_stopped(w); i++) {
		if (i == 10000)
			model_fail("a source does not stop");
		sources_turn(w);
		come_to_rest(w);
	}
}

static void stop(struct world *w)
{
	struct fault fault = {0};

	world_say(w, "a clean stop");
	allocs_set(w, false);
	sim_set_space(w->sim, 1u << 30);
	if (members_are_on(w))
		members_stop(w);
	if (sources_are_on(w))
		stop_sources(w);
	come_to_rest(w);
	consumers_close(w);
	if (log_stop(w->log, &fault) && !w->faults_on)
		model_fail("a clean stop fails: %s", fault.text);
	hub_free(w->hub);
	ingest_queue_free(w->queue);
	ingest_free(w->ingest);
	log_port_free(w->port);
	if (members_are_on(w))
		members_close(w);
	topics_free(w->topics);
	state_free(w->state);
	if (sources_are_on(w))
		sources_close(w);
	log_close(w->log);
	if (machine_blocks() != 0)
		model_fail("%llu blocks of memory are left after a clean stop",
			   (unsigned long long)machine_blocks());
	w->down_cleanly = true;
}

static void make_topics(struct world *w)
{
	client_create(w, "t0", 1);
	client_create(w, "t1", 3);
	client_create(w, "x0", 2);
	client_create(w, "r0", 1);
	client_create(w, "c0", 2);
	come_to_rest(w);
	consumers_reset(w);
}

void life_run(void *ctx)
{
	struct world *w = ctx;
	uint32_t steps = 1 + below(w, w->profile.steps);

	w->state_start = INT64_MAX;
	open_or_fail(w);
	open_doors(w);
	faults_set(w, false);
	check_everything(w);
	faults_set(w, true);
	if (!w->first_boot_done) {
		faults_set(w, false);
		make_topics(w);
		w->first_boot_done = true;
		faults_set(w, true);
	}
	if (sources_are_on(w))
		sources_start(w);
	for (uint32_t i = 0; i < steps; i++)
		live_a_little(w);
	if (chance(w, 4)) {
		faults_set(w, false);
		stop(w);
		return;
	}
	machine_off();
}
