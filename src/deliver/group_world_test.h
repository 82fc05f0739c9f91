/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DELIVER_GROUP_WORLD_TEST_H
#define WEIR_DELIVER_GROUP_WORLD_TEST_H

/*
 * For the tests of groups alone: the coordinator with scripted members, over a real log that is stepped by
 * hand; the clock is the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rand.h"
#include "deliver/group.h"
#include "state/topics_world_test.h"
#include "sys/test_dir.h"

#define MS 1000000ll
#define SESSION 10000
#define REBALANCE 60000
#define DAY 86400000ll

static const struct topic_config plain = {.partitions = 4,
					  .retention_ms = -1,
					  .retention_bytes = -1,
					  .idempotency_ttl_ms = 1000};

struct world {
	char dir[TEST_DIR_BYTES];
	struct sys_ops ops;
	struct sys sys;
	int64_t now, wall_ms;
	struct log *log;
	struct state *state;
	struct topics *topics;
	struct offsets *offsets;
	struct groups *groups;
	struct groups_settings settings;
	struct log_port *port;
	struct budget_share share;
	struct arena arena;
	int done;
	bool is_up;
	struct named { /* a topic, also after a restart */
		struct topic_id id;
	} named[4];
	int named_count;
	bool tidies; /* before the groups start */
};

/* What a member was told last. */
struct client {
	struct group_wait wait; /* first */
	bool parked;
	int answers;
	int err;
	int32_t generation;
	char id[80], leader[80], protocol[40], assignment[40];
	char members[64][80];
	char said[64][40];
	uint32_t member_count;
	bool skip;
};

static struct world *the_world;

static inline int64_t test_monotonic(void *self)
{
	(void)self;
	return the_world->now;
}

static inline int64_t test_wall(void *self)
{
	(void)self;
	return the_world->wall_ms * MS;
}

static inline void on_wake(void *ctx)
{
	(void)ctx;
}

static inline void tidy(struct world *w)
{
	state_set_slack(w->state, 0);
	log_enter_begin(w->log);
	state_tidy(w->state);
	log_enter_end(w->log);
	while (log_step(w->log, LOG_STEP_COMMIT) > 0)
		;
}

static inline void up(struct world *w)
{
	struct log_options options = {.sys = &w->sys,
				      .dir = w->dir,
				      .journal_file_bytes = 1u << 22,
				      .steps = true,
				      .clock_hold_ms = -1};
	struct groups_options groups = {.settings = &w->settings};
	struct fault fault = {0};

	topics_world_open(&options, &plain, true, &w->log, &w->state, &w->topics);
	assert_int_equal(offsets_new(w->log, w->state, &w->offsets), 0);
	groups.log = w->log;
	groups.state = w->state;
	groups.offsets = w->offsets;
	groups.topics = w->topics;
	assert_int_equal(groups_new(&groups, &w->groups), 0);
	topics_world_load(w->state, w->topics);
	assert_int_equal(log_port_new(w->log, on_wake, w, &w->port), 0);
	assert_int_equal(log_start(w->log, &fault), 0);
	if (w->tidies)
		tidy(w);
	budget_share_init(&w->share, NULL);
	groups_start(w->groups, w->port, &w->share, w->now);
	w->is_up = true;
}

/* What was entered becomes durable, and whoever waits for it hears. */
static inline void sync_disk(struct world *w)
{
	while (log_step(w->log, LOG_STEP_COMMIT) > 0)
		;
	log_port_run(w->port);
}

static inline void down(struct world *w)
{
	struct groups_stats stats;
	struct fault fault = {0};

	if (!w->is_up) /* an assertion of up() has failed */
		return;
	w->is_up = false;
	groups_stats(w->groups, &stats);
	assert_int_equal(w->share.used, stats.held);
	assert_true(stats.held >= stats.bytes);
	groups_stop(w->groups);
	sync_disk(w);
	if (log_stop(w->log, &fault))
		fail_msg("%s", fault.text);
	log_port_run(w->port);
	log_port_free(w->port);
	groups_free(w->groups);
	offsets_free(w->offsets);
	topics_free(w->topics);
	state_free(w->state);
	log_close(w->log);
}

static inline int set_up(void **state)
{
	struct world *w = mem_zalloc(1, sizeof(*w));

	the_world = w;
	assert_true(test_dir_make(w->dir, "group-test"));
	w->ops = *sys_kernel()->ops;
	w->ops.monotonic_ns = test_monotonic;
	w->ops.elapsed_ns = NULL;
	w->ops.wall_ns = test_wall;
	w->sys = (struct sys){.ops = &w->ops, .self = sys_kernel()->self};
	w->now = 1000 * MS;
	w->wall_ms = 1800000000000;
	w->settings = groups_settings_default;
	w->settings.initial_delay_ms = 0;
	arena_init(&w->arena, 4096, 1 << 22);
	up(w);
	*state = w;
	return 0;
}

static inline int tear_down(void **state)
{
	struct world *w = *state;

	down(w);
	arena_fini(&w->arena);
	(void)test_dir_remove(w->dir);
	mem_free(w);
	return 0;
}

static inline void restart(struct world *w)
{
	down(w);
	up(w);
}

static inline void pass(struct world *w, int64_t ms)
{
	w->now += ms * MS;
	w->wall_ms += ms;
	groups_run(w->groups, w->now);
	sync_disk(w);
}

/* ---- members ---- */

static inline void copy_text(char *to, size_t bytes, struct slice from)
{
	assert_true(from.len < bytes);
	if (from.len)
		memcpy(to, from.ptr, from.len);
	to[from.len] = 0;
}

static inline void on_answer(struct group_wait *wait, const struct group_answer *a)
{
	struct client *c = (struct client *)wait;

	assert_true(c->parked);
	c->parked = false;
	c->answers++;
	c->err = a->err;
	c->generation = a->generation;
	c->skip = a->skip_assignment;
	if (a->member_id.len)
		copy_text(c->id, sizeof(c->id), a->member_id);
	if (a->leader.len) {
		copy_text(c->leader, sizeof(c->leader), a->leader);
		copy_text(c->protocol, sizeof(c->protocol), a->protocol);
	}
	copy_text(c->assignment, sizeof(c->assignment), a->assignment);
	c->member_count = a->member_count;
	for (uint32_t i = 0; i < a->member_count; i++) {
		copy_text(c->members[i], sizeof(c->members[i]), a->members[i].member_id);
		copy_text(c->said[i], sizeof(c->said[i]), a->members[i].metadata);
	}
}

static inline struct group_join ask_of(const struct client *c, struct group_named *protocols)
{
	protocols[0] = (struct group_named){SLICE_LIT("range"), SLICE_LIT("\0\1\0\0\0\1\0\6orders")};
	return (struct group_join){.group = SLICE_LIT("g"),
				   .member_id = slice_str(c->id),
				   .client_id = SLICE_LIT("c"),
				   .client_host = SLICE_LIT("/127.0.0.1"),
				   .protocol_type = SLICE_LIT("consumer"),
				   .protocols = protocols,
				   .protocol_count = 1,
				   .session_ms = SESSION,
				   .rebalance_ms = REBALANCE};
}

static inline void join_as(struct world *w, struct client *c, const struct group_join *ask)
{
	assert_false(c->parked);
	c->wait.answer = on_answer;
	c->parked = true;
	groups_join(w->groups, ask, &c->wait, w->now);
}

static inline void join(struct world *w, struct client *c)
{
	struct group_named protocols[1];
	struct group_join ask = ask_of(c, protocols);

	join_as(w, c, &ask);
}

static inline void join_static(struct world *w, struct client *c, const char *instance, bool skips)
{
	struct group_named protocols[1];
	struct group_join ask = ask_of(c, protocols);

	ask.instance_id = slice_str(instance);
	ask.skips = skips;
	join_as(w, c, &ask);
}

static inline void sync_with(struct world *w, struct client *c, const struct group_named *assignments,
			     uint32_t count)
{
	struct group_sync ask = {.group = SLICE_LIT("g"),
				 .member_id = slice_str(c->id),
				 .generation = c->generation,
				 .assignments = assignments,
				 .assignment_count = count};

	assert_false(c->parked);
	c->parked = true;
	groups_sync(w->groups, &ask, &c->wait, w->now);
}

/* The leader gives everybody "for <id's last characters>". */
static inline void sync_as(struct world *w, struct client *c)
{
	struct group_named list[64];
	char texts[64][40];
	int32_t generation = c->generation;

	for (uint32_t i = 0; i < c->member_count; i++) {
		(void)snprintf(texts[i], sizeof(texts[i]), "%d:%.8s", c->generation,
			       c->members[i] + strlen(c->members[i]) - 8);
		list[i] = (struct group_named){slice_str(c->members[i]), slice_str(texts[i])};
	}
	sync_with(w, c, list, c->member_count);
	if (!c->parked && c->err == 0)
		assert_int_equal(c->generation, generation);
	c->generation = generation;
}

static inline int beat(struct world *w, const struct client *c)
{
	struct group_who who = {.group = SLICE_LIT("g"),
				.member_id = slice_str(c->id),
				.generation = c->generation};

	return groups_heartbeat(w->groups, &who, w->now);
}

static inline int leave(struct world *w, const struct client *c)
{
	struct group_who who = {.group = SLICE_LIT("g"), .member_id = slice_str(c->id)};

	return groups_leave(w->groups, &who, w->now);
}

static inline void on_done(void *ctx)
{
	((struct world *)ctx)->done++;
}

static inline int commit_as(struct world *w, struct slice id, int32_t generation, const struct named *topic,
			    int64_t offset)
{
	struct group_who who = {.group = SLICE_LIT("g"), .member_id = id, .generation = generation};
	struct offset_item item = {.topic = topic->id,
				   .partition = 1,
				   .leader_epoch = -1,
				   .offset = offset,
				   .committed_ms = w->wall_ms,
				   .expires_ms = -1,
				   .metadata = SLICE_LIT("note")};
	struct state_done done = {.port = w->port, .fn = on_done, .ctx = w};

	return groups_commit(w->groups, &who, &item, 1, &done, w->now);
}

static inline int64_t committed(struct world *w, const struct named *topic)
{
	struct offset_item item;
	int rc = offsets_find(w->offsets, SLICE_LIT("g"), &topic->id, 1, &w->arena, &item);

	assert_true(rc >= 0);
	return rc ? item.offset : -1;
}

static inline struct named *create(struct world *w, const char *name)
{
	struct named *named = &w->named[w->named_count++];

	named->id = topics_world_create(w->log, w->topics, name, &plain)->id;
	sync_disk(w);
	return named;
}

static inline struct group_view view(struct world *w)
{
	struct group_view v = {.state = GROUP_DEAD};

	(void)groups_view(w->groups, SLICE_LIT("g"), &v);
	return v;
}

/* Two members, stable: a leads. */
static inline void make_pair(struct world *w, struct client *a, struct client *b)
{
	join(w, a);
	assert_int_equal(a->err, 0);
	join(w, b);
	assert_true(b->parked);
	assert_int_equal(beat(w, a), ERR_REBALANCING);
	join(w, a);
	assert_false(a->parked || b->parked);
	sync_as(w, b);
	assert_true(b->parked);
	sync_as(w, a);
	assert_true(a->parked && b->parked); /* nobody is told before it is on disk */
	sync_disk(w);
	assert_false(a->parked || b->parked);
	assert_int_equal(a->err | b->err, 0);
	assert_int_equal(view(w).state, GROUP_STABLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
