/* SPDX-License-Identifier: Apache-2.0 */
/* The coordinator with scripted members, over a real log that is stepped by hand; the clock is the test's. */
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

static int64_t test_monotonic(void *self)
{
	(void)self;
	return the_world->now;
}

static int64_t test_wall(void *self)
{
	(void)self;
	return the_world->wall_ms * MS;
}

static void on_wake(void *ctx)
{
	(void)ctx;
}

static void tidy(struct world *w)
{
	state_set_slack(w->state, 0);
	log_enter_begin(w->log);
	state_tidy(w->state);
	log_enter_end(w->log);
	while (log_step(w->log, LOG_STEP_COMMIT) > 0)
		;
}

static void up(struct world *w)
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
static void sync_disk(struct world *w)
{
	while (log_step(w->log, LOG_STEP_COMMIT) > 0)
		;
	log_port_run(w->port);
}

static void down(struct world *w)
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

static int set_up(void **state)
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

static int tear_down(void **state)
{
	struct world *w = *state;

	down(w);
	arena_fini(&w->arena);
	(void)test_dir_remove(w->dir);
	mem_free(w);
	return 0;
}

static void restart(struct world *w)
{
	down(w);
	up(w);
}

static void pass(struct world *w, int64_t ms)
{
	w->now += ms * MS;
	w->wall_ms += ms;
	groups_run(w->groups, w->now);
	sync_disk(w);
}

/* ---- members ---- */

static void copy_text(char *to, size_t bytes, struct slice from)
{
	assert_true(from.len < bytes);
	if (from.len)
		memcpy(to, from.ptr, from.len);
	to[from.len] = 0;
}

static void on_answer(struct group_wait *wait, const struct group_answer *a)
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

static struct group_join ask_of(const struct client *c, struct group_named *protocols)
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

static void join_as(struct world *w, struct client *c, const struct group_join *ask)
{
	assert_false(c->parked);
	c->wait.answer = on_answer;
	c->parked = true;
	groups_join(w->groups, ask, &c->wait, w->now);
}

static void join(struct world *w, struct client *c)
{
	struct group_named protocols[1];
	struct group_join ask = ask_of(c, protocols);

	join_as(w, c, &ask);
}

static void join_static(struct world *w, struct client *c, const char *instance, bool skips)
{
	struct group_named protocols[1];
	struct group_join ask = ask_of(c, protocols);

	ask.instance_id = slice_str(instance);
	ask.skips = skips;
	join_as(w, c, &ask);
}

static void sync_with(struct world *w, struct client *c, const struct group_named *assignments,
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
static void sync_as(struct world *w, struct client *c)
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

static int beat(struct world *w, const struct client *c)
{
	struct group_who who = {.group = SLICE_LIT("g"),
				.member_id = slice_str(c->id),
				.generation = c->generation};

	return groups_heartbeat(w->groups, &who, w->now);
}

static int leave(struct world *w, const struct client *c)
{
	struct group_who who = {.group = SLICE_LIT("g"), .member_id = slice_str(c->id)};

	return groups_leave(w->groups, &who, w->now);
}

static void on_done(void *ctx)
{
	((struct world *)ctx)->done++;
}

static int commit_as(struct world *w, struct slice id, int32_t generation, const struct named *topic,
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

static int64_t committed(struct world *w, const struct named *topic)
{
	struct offset_item item;
	int rc = offsets_find(w->offsets, SLICE_LIT("g"), &topic->id, 1, &w->arena, &item);

	assert_true(rc >= 0);
	return rc ? item.offset : -1;
}

static struct named *create(struct world *w, const char *name)
{
	struct named *named = &w->named[w->named_count++];

	named->id = topics_world_create(w->log, w->topics, name, &plain)->id;
	sync_disk(w);
	return named;
}

static struct group_view view(struct world *w)
{
	struct group_view v = {.state = GROUP_DEAD};

	(void)groups_view(w->groups, SLICE_LIT("g"), &v);
	return v;
}

/* Two members, stable: a leads. */
static void make_pair(struct world *w, struct client *a, struct client *b)
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

/* ---- tests ---- */

static void a_member_joins_gets_its_assignment_and_leaves(void **state)
{
	struct world *w = *state;
	struct client a = {0};
	struct group_named protocols[1];
	struct group_join ask = ask_of(&a, protocols);
	char expected[40];

	ask.id_required = true;
	join_as(w, &a, &ask);
	assert_int_equal(a.err, ERR_MEMBER_ID_REQUIRED);
	assert_true(strlen(a.id) == 1 + 37);
	assert_int_equal(view(w).member_count, 0);
	ask.member_id = slice_str(a.id);
	join_as(w, &a, &ask);
	assert_int_equal(a.err, 0);
	assert_int_equal(a.generation, 1);
	assert_string_equal(a.leader, a.id);
	assert_string_equal(a.protocol, "range");
	assert_int_equal(a.member_count, 1);
	assert_int_equal(beat(w, &a), 0);
	assert_int_equal(view(w).state, GROUP_COMPLETING);
	sync_as(w, &a);
	sync_disk(w);
	(void)snprintf(expected, sizeof(expected), "1:%.8s", a.id + strlen(a.id) - 8);
	assert_string_equal(a.assignment, expected);
	a.member_count = 0;
	sync_as(w, &a); /* again: the same */
	assert_string_equal(a.assignment, expected);
	assert_int_equal(leave(w, &a), 0);
	assert_int_equal(view(w).state, GROUP_EMPTY);
	assert_int_equal(view(w).generation, 2);
	assert_int_equal(leave(w, &a), ERR_UNKNOWN_MEMBER);
	assert_int_equal(beat(w, &a), ERR_UNKNOWN_MEMBER);
}

static void a_second_member_rebalances_and_both_get_the_generation(void **state)
{
	struct world *w = *state;
	struct client a = {0}, b = {0};

	make_pair(w, &a, &b);
	assert_int_equal(a.generation, 2);
	assert_int_equal(b.generation, 2);
	assert_string_equal(b.leader, a.id);
	assert_string_not_equal(a.assignment, b.assignment);
	assert_int_equal(beat(w, &a), 0);
	/* A follower that joins with the same is told what is; the leader makes a rebalance. */
	join(w, &b);
	assert_int_equal(b.err, 0);
	assert_int_equal(b.generation, 2);
	assert_int_equal(beat(w, &a), 0);
	join(w, &a);
	assert_true(a.parked);
	assert_int_equal(beat(w, &b), ERR_REBALANCING);
	join(w, &b);
	assert_int_equal(a.generation, 3);
	/* It missed its answer. */
	join(w, &b);
	assert_int_equal(b.generation, 3);
	assert_int_equal(b.member_count, 0);
	join(w, &a);
	assert_int_equal(a.member_count, 2);
}

static void who_is_silent_is_out_after_its_session(void **state)
{
	struct world *w = *state;
	struct client a = {0}, b = {0};

	make_pair(w, &a, &b);
	for (int i = 0; i < 4; i++) {
		pass(w, SESSION / 2 - 1000);
		(void)beat(w, &a);
	}
	assert_int_equal(beat(w, &b), ERR_UNKNOWN_MEMBER);
	assert_int_equal(beat(w, &a), ERR_REBALANCING);
	join(w, &a);
	assert_int_equal(a.err, 0);
	assert_int_equal(a.generation, 3);
	assert_int_equal(a.member_count, 1);
}

static void who_does_not_join_again_is_out_after_the_rebalance_timeout(void **state)
{
	struct world *w = *state;
	struct client a = {0}, b = {0};

	make_pair(w, &a, &b);
	join(w, &a);
	for (int i = 0; i < 12; i++) { /* b is alive and busy */
		assert_true(a.parked);
		assert_int_equal(beat(w, &b), ERR_REBALANCING);
		pass(w, REBALANCE / 12);
	}
	assert_false(a.parked);
	assert_int_equal(a.err, 0);
	assert_int_equal(a.member_count, 1);
	assert_int_equal(beat(w, &b), ERR_UNKNOWN_MEMBER);
}

static void who_joined_and_never_syncs_is_out(void **state)
{
	struct world *w = *state;
	struct client a = {0}, b = {0};

	join(w, &a);
	join(w, &b);
	join(w, &a);
	sync_as(w, &a);
	sync_disk(w);
	for (int i = 0; i < 13; i++) {
		(void)beat(w, &a);
		(void)beat(w, &b);
		pass(w, REBALANCE / 12);
	}
	assert_int_equal(beat(w, &b), ERR_UNKNOWN_MEMBER);
	assert_int_equal(beat(w, &a), ERR_REBALANCING);
}

static void the_first_members_wait_a_little_for_others(void **state)
{
	struct world *w = *state;
	struct client a = {0}, b = {0}, c = {0};

	w->settings.initial_delay_ms = 3000;
	groups_set(w->groups, &w->settings);
	join(w, &a);
	pass(w, 2000);
	join(w, &b);
	pass(w, 1500);
	assert_true(a.parked && b.parked);
	join(w, &c);
	pass(w, 3000);
	assert_true(a.parked);
	pass(w, 3000);
	assert_int_equal(a.generation, 1);
	assert_int_equal(c.generation, 1);
	assert_int_equal(a.member_count, 3);
}

static void a_static_member_comes_back_without_a_rebalance(void **state)
{
	struct world *w = *state;
	struct client a = {0}, b = {0}, again = {0}, last = {0};
	char assignment[40], old_leader[80];

	join_static(w, &a, "one", true);
	join_static(w, &b, "two", true);
	join_static(w, &a, "one", true);
	sync_as(w, &b);
	sync_as(w, &a);
	sync_disk(w);
	(void)snprintf(assignment, sizeof(assignment), "%s", b.assignment);
	join_static(w, &again, "two", true); /* it has forgotten its id */
	assert_true(again.parked);
	sync_disk(w);
	assert_int_equal(again.err, 0);
	assert_int_equal(again.generation, a.generation);
	assert_string_not_equal(again.id, b.id);
	assert_false(again.skip);
	sync_as(w, &again);
	assert_string_equal(again.assignment, assignment);
	assert_int_equal(beat(w, &a), 0);
	/* Who had the place is told so. */
	struct group_who who = {.group = SLICE_LIT("g"),
				.member_id = slice_str(b.id),
				.instance_id = SLICE_LIT("two"),
				.generation = b.generation};
	assert_int_equal(groups_heartbeat(w->groups, &who, w->now), ERR_FENCED_INSTANCE);
	/* The leader: before version 9 it must not know that it leads. */
	(void)snprintf(old_leader, sizeof(old_leader), "%s", a.id);
	join_static(w, &last, "one", false);
	sync_disk(w);
	assert_string_equal(last.leader, old_leader);
	assert_int_equal(last.member_count, 0);
	last = (struct client){0};
	join_static(w, &last, "one", true);
	sync_disk(w);
	assert_true(last.skip);
	assert_string_equal(last.leader, last.id);
	assert_int_equal(last.member_count, 2);
	/* The new ids are those that a restart finds. */
	restart(w);
	assert_int_equal(beat(w, &last), 0);
	assert_int_equal(beat(w, &again), 0);
	who = (struct group_who){.group = SLICE_LIT("g"), .instance_id = SLICE_LIT("two"), .generation = -1};
	assert_int_equal(groups_leave(w->groups, &who, w->now), 0);
	assert_int_equal(beat(w, &again), ERR_UNKNOWN_MEMBER);
}

static void a_restart_keeps_generation_members_and_assignments(void **state)
{
	struct world *w = *state;
	struct client a = {0}, b = {0};
	char assignment[40];

	make_pair(w, &a, &b);
	(void)snprintf(assignment, sizeof(assignment), "%s", b.assignment);
	pass(w, SESSION - 1000);
	restart(w);
	assert_int_equal(view(w).state, GROUP_STABLE);
	assert_int_equal(view(w).generation, 2);
	pass(w, SESSION - 1000); /* sessions have begun anew */
	assert_int_equal(beat(w, &a), 0);
	assert_int_equal(beat(w, &b), 0);
	sync_as(w, &b);
	assert_string_equal(b.assignment, assignment);
	join(w, &b);
	assert_string_equal(b.leader, a.id);
	assert_int_equal(b.generation, 2);
	pass(w, SESSION + 1000);
	assert_int_equal(beat(w, &a), ERR_UNKNOWN_MEMBER);
	assert_int_equal(view(w).state, GROUP_EMPTY);
	restart(w);
	assert_int_equal(view(w).state, GROUP_EMPTY);
	assert_int_equal(view(w).generation, 3);
}

static void a_rebalance_that_a_restart_cuts_leaves_the_generation_before(void **state)
{
	struct world *w = *state;
	struct client a = {0}, b = {0}, c = {0};

	make_pair(w, &a, &b);
	join(w, &c);
	join(w, &a);
	join(w, &b);
	assert_int_equal(a.generation, 3);
	restart(w); /* before the assignment of generation 3 */
	assert_int_equal(view(w).generation, 2);
	assert_int_equal(view(w).member_count, 2);
	assert_int_equal(beat(w, &a), ERR_ILLEGAL_GENERATION);
	assert_int_equal(beat(w, &c), ERR_UNKNOWN_MEMBER);
	join(w, &a);
	join(w, &b);
	assert_int_equal(a.err | b.err, 0);
	assert_int_equal(a.generation, 3);
}

static void a_state_that_is_written_again_holds_the_groups(void **state)
{
	struct world *w = *state;
	struct partition_range range;
	struct client a = {0}, b = {0};
	struct named *orders;

	orders = create(w, "orders");
	make_pair(w, &a, &b);
	for (int i = 0; i < 20; i++)
		assert_int_equal(commit_as(w, slice_str(a.id), 2, orders, i), 0);
	sync_disk(w);
	w->tidies = true;
	restart(w);
	partition_range(log_internal(w->log), &range);
	assert_int_equal(range.start, 0); /* what rows there are is known when the groups have started */
	restart(w);
	assert_int_equal(view(w).state, GROUP_STABLE);
	assert_int_equal(view(w).member_count, 2);
	assert_int_equal(beat(w, &a), 0);
	tidy(w);
	partition_range(log_internal(w->log), &range);
	assert_true(range.start > 0);
	restart(w);
	assert_int_equal(view(w).member_count, 2);
	assert_int_equal(beat(w, &b), 0);
}

static void only_the_present_generation_commits(void **state)
{
	struct world *w = *state;
	struct named *orders = create(w, "orders");
	struct client a = {0}, b = {0};

	assert_int_equal(commit_as(w, SLICE_LIT(""), -1, orders, 7), 0); /* nobody is there: anybody may */
	assert_int_equal(commit_as(w, SLICE_LIT("x"), 5, orders, 8), ERR_ILLEGAL_GENERATION);
	make_pair(w, &a, &b);
	assert_int_equal(commit_as(w, SLICE_LIT(""), -1, orders, 9), ERR_UNKNOWN_MEMBER);
	assert_int_equal(commit_as(w, slice_str(a.id), 1, orders, 10), ERR_ILLEGAL_GENERATION);
	assert_int_equal(commit_as(w, SLICE_LIT("x"), 2, orders, 11), ERR_UNKNOWN_MEMBER);
	assert_int_equal(commit_as(w, slice_str(a.id), 2, orders, 12), 0);
	assert_int_equal(committed(w, orders), 12);
	sync_disk(w);
	assert_int_equal(w->done, 2);
	join(w, &a);
	assert_int_equal(commit_as(w, slice_str(b.id), 2, orders, 13), 0); /* it has still to hear of it */
	join(w, &b);
	assert_int_equal(commit_as(w, slice_str(b.id), 3, orders, 14), ERR_REBALANCING);
	restart(w);
	assert_int_equal(committed(w, orders), 13);
	assert_int_equal(groups_check_commit(w->groups,
					     &(struct group_who){.group = SLICE_LIT("g"), .generation = -1},
					     true),
			 0); /* a transactional producer of old, that says no member */
}

static int enter(struct world *w, struct offsets_change *change)
{
	int rc;

	log_enter_begin(w->log);
	rc = offsets_change_enter(w->offsets, change, NULL);
	log_enter_end(w->log);
	sync_disk(w);
	return rc;
}

static void put_pending(struct world *w, const struct named *topic, int64_t offset)
{
	struct offset_item item = {.topic = topic->id,
				   .partition = 1,
				   .offset = offset,
				   .committed_ms = w->wall_ms,
				   .expires_ms = -1};
	struct offsets_change *change;

	assert_int_equal(offsets_put(w->offsets, SLICE_LIT("g"), 77, &item, 1, &change), 0);
	assert_int_equal(enter(w, change), 0);
}

static void end_transaction(struct world *w, bool commit)
{
	struct offsets_change *change;

	log_enter_begin(w->log);
	assert_int_equal(offsets_end(w->offsets, 77, commit, &change), 0);
	log_enter_end(w->log);
	assert_non_null(change);
	assert_int_equal(enter(w, change), 0);
}

static void offsets_of_a_transaction_wait_for_its_end(void **state)
{
	struct world *w = *state;
	struct named *orders = create(w, "orders");
	struct offsets_change *none;

	put_pending(w, orders, 5);
	assert_int_equal(committed(w, orders), -1);
	assert_true(offsets_pending(w->offsets, SLICE_LIT("g"), &orders->id, 1));
	assert_false(offsets_pending(w->offsets, SLICE_LIT("g"), &orders->id, 2));
	restart(w);
	assert_true(offsets_pending(w->offsets, SLICE_LIT("g"), &orders->id, 1));
	end_transaction(w, true);
	assert_int_equal(committed(w, orders), 5);
	assert_false(offsets_pending(w->offsets, SLICE_LIT("g"), &orders->id, 1));
	put_pending(w, orders, 6);
	end_transaction(w, false);
	assert_int_equal(committed(w, orders), 5);
	put_pending(w, orders, 7);
	w->wall_ms++;
	assert_int_equal(commit_as(w, SLICE_LIT(""), -1, orders, 9), 0);
	end_transaction(w, true); /* an older offset: the later commit stays */
	assert_int_equal(committed(w, orders), 9);
	assert_int_equal(offsets_end(w->offsets, 77, true, &none), 0);
	assert_null(none);
	restart(w);
	assert_int_equal(committed(w, orders), 9);
	assert_int_equal(offsets_of(w->offsets, SLICE_LIT("g")).pending, 0);
}

static void offsets_expire_when_the_group_has_been_empty_for_long(void **state)
{
	struct world *w = *state;
	struct named *orders = create(w, "orders"), *other = create(w, "other");
	struct client a = {0};

	join(w, &a);
	sync_as(w, &a);
	sync_disk(w);
	assert_int_equal(commit_as(w, slice_str(a.id), 1, orders, 3), 0);
	assert_int_equal(commit_as(w, slice_str(a.id), 1, other, 3), 0);
	for (int i = 0; i < 8 * 24 * 60 * 60; i += 9) { /* eight days of work, without commits */
		w->now += 9000 * MS;
		w->wall_ms += 9000;
		assert_int_equal(beat(w, &a), 0);
	}
	pass(w, 0);
	assert_int_equal(committed(w, orders), 3);
	assert_int_equal(committed(w, other), -1); /* not subscribed to it any more */
	assert_int_equal(leave(w, &a), 0);
	pass(w, 7 * DAY - 600000);
	assert_int_equal(committed(w, orders), 3);
	pass(w, 1200000);
	assert_int_equal(committed(w, orders), -1);
	assert_int_equal(view(w).state, GROUP_DEAD); /* and the group with them */
	restart(w);
	assert_int_equal(view(w).state, GROUP_DEAD);
}

static void offsets_of_nobodys_group_and_of_deleted_topics_go(void **state)
{
	struct world *w = *state;
	struct named *orders = create(w, "orders"), *other = create(w, "other");
	struct offsets_stats stats;

	assert_int_equal(commit_as(w, SLICE_LIT(""), -1, orders, 3), 0);
	assert_int_equal(commit_as(w, SLICE_LIT(""), -1, other, 3), 0);
	log_enter_begin(w->log);
	assert_int_equal(topics_delete(w->topics, topics_find_id(w->topics, &other->id), NULL), 0);
	log_enter_end(w->log);
	pass(w, 700000);
	assert_int_equal(committed(w, other), -1);
	assert_int_equal(committed(w, orders), 3);
	pass(w, 7 * DAY);
	assert_int_equal(committed(w, orders), -1);
	offsets_stats(w->offsets, &stats);
	assert_int_equal(stats.groups + stats.committed + stats.bytes, 0);
}

static void protocols_are_chosen_by_vote(void **state)
{
	struct world *w = *state;
	struct client a = {0}, b = {0}, c = {0}, d = {0};
	struct group_named one[3] = {{SLICE_LIT("x"), SLICE_LIT("x1")},
				     {SLICE_LIT("y"), SLICE_LIT("y1")},
				     {SLICE_LIT("z"), SLICE_LIT("z1")}};
	struct group_named two[2] = {{SLICE_LIT("y"), SLICE_LIT("y2")}, {SLICE_LIT("x"), SLICE_LIT("x2")}};
	struct group_named unknown[1] = {{SLICE_LIT("q"), SLICE_LIT("")}};
	struct group_join ask = ask_of(&a, one);

	one[0] = (struct group_named){SLICE_LIT("x"), SLICE_LIT("x1")};
	ask.protocol_count = 3;
	join_as(w, &a, &ask);
	assert_string_equal(a.protocol, "x");
	ask.member_id = slice_null();
	ask.protocols = two;
	ask.protocol_count = 2;
	join_as(w, &b, &ask);
	join_as(w, &c, &ask);
	ask.member_id = slice_str(a.id);
	ask.protocols = one;
	ask.protocol_count = 3;
	join_as(w, &a, &ask);
	assert_string_equal(a.protocol, "y"); /* two of three prefer it */
	assert_int_equal(a.member_count, 3);
	assert_string_equal(a.said[1], "y2");
	ask.member_id = slice_null();
	ask.protocols = unknown;
	ask.protocol_count = 1;
	join_as(w, &d, &ask);
	assert_int_equal(d.err, ERR_GROUP_PROTOCOL);
	ask.protocols = two;
	ask.protocol_type = SLICE_LIT("connect");
	join_as(w, &d, &ask);
	assert_int_equal(d.err, ERR_GROUP_PROTOCOL);
	/* SyncGroup 5 says what it believes. */
	struct group_sync wrong = {.group = SLICE_LIT("g"),
				   .member_id = slice_str(a.id),
				   .generation = a.generation,
				   .protocol = SLICE_LIT("x")};
	a.parked = true;
	groups_sync(w->groups, &wrong, &a.wait, w->now);
	assert_int_equal(a.err, ERR_GROUP_PROTOCOL);
}

static void what_cannot_be_is_refused(void **state)
{
	struct world *w = *state;
	struct client a = {0}, b = {0}, c = {0};
	struct group_named protocols[1];
	struct group_join ask = ask_of(&a, protocols);

	ask.session_ms = 5999;
	join_as(w, &a, &ask);
	assert_int_equal(a.err, ERR_SESSION_TIMEOUT);
	ask.session_ms = 1800001;
	join_as(w, &a, &ask);
	assert_int_equal(a.err, ERR_SESSION_TIMEOUT);
	ask.session_ms = SESSION;
	ask.group = SLICE_LIT("");
	join_as(w, &a, &ask);
	assert_int_equal(a.err, ERR_BAD_GROUP);
	ask.group = SLICE_LIT("g");
	ask.member_id = SLICE_LIT("nobody");
	join_as(w, &a, &ask);
	assert_int_equal(a.err, ERR_UNKNOWN_MEMBER);
	assert_int_equal(view(w).state, GROUP_DEAD); /* nothing was made by all that */
	memset(a.id, 0, sizeof(a.id));
	w->settings.members_max = 2;
	groups_set(w->groups, &w->settings);
	make_pair(w, &a, &b);
	join(w, &c);
	assert_int_equal(c.err, ERR_GROUP_FULL);
	assert_int_equal(beat(w, &a), 0);
	assert_int_equal(groups_delete(w->groups, SLICE_LIT("g"), NULL), ERR_GROUP_ACTIVE);
	assert_int_equal(groups_delete(w->groups, SLICE_LIT("h"), NULL), ERR_UNKNOWN_GROUP);
}

static void a_new_member_that_waits_for_ever_is_let_go(void **state)
{
	struct world *w = *state;
	struct client a = {0}, b = {0};
	struct group_named protocols[1];
	struct group_join ask = ask_of(&a, protocols);

	ask.rebalance_ms = 20 * 60000;
	join_as(w, &a, &ask);
	sync_as(w, &a);
	sync_disk(w);
	join(w, &b);
	for (int i = 0; i < 31; i++) {
		(void)beat(w, &a);
		pass(w, 9999);
	}
	assert_false(b.parked);
	assert_int_equal(b.err, ERR_UNKNOWN_MEMBER);
}

static void groups_and_offsets_are_deleted(void **state)
{
	struct world *w = *state;
	struct named *orders = create(w, "orders"), *other = create(w, "other");
	struct offset_item items[2] = {{.topic = orders->id, .partition = 1},
				       {.topic = other->id, .partition = 1}};
	struct state_done done = {.port = w->port, .fn = on_done, .ctx = w};
	struct client a = {0};
	int errors[2];
	bool entered;

	join(w, &a);
	sync_as(w, &a);
	sync_disk(w);
	assert_int_equal(commit_as(w, slice_str(a.id), 1, orders, 3), 0);
	assert_int_equal(commit_as(w, slice_str(a.id), 1, other, 3), 0);
	assert_int_equal(groups_delete_offsets(w->groups, SLICE_LIT("g"), items, 2, errors, &done, &entered),
			 0);
	assert_true(entered);
	assert_int_equal(errors[0], ERR_GROUP_SUBSCRIBED);
	assert_int_equal(errors[1], 0);
	assert_int_equal(committed(w, orders), 3);
	assert_int_equal(committed(w, other), -1);
	assert_int_equal(leave(w, &a), 0);
	assert_int_equal(groups_delete(w->groups, SLICE_LIT("g"), &done), 0);
	assert_int_equal(committed(w, orders), -1);
	assert_int_equal(view(w).state, GROUP_DEAD);
	restart(w);
	assert_int_equal(committed(w, orders), -1);
	assert_int_equal(view(w).state, GROUP_DEAD);
}

/* The state is written again while a rebalance is under way: what it says stays what was entered. */
static void writing_the_state_again_loses_nothing(void **state)
{
	struct world *w = *state;
	struct named *orders = create(w, "orders");
	struct client a = {0}, b = {0}, c = {0};
	struct partition_range range;

	make_pair(w, &a, &b);
	join(w, &c); /* in memory alone */
	state_set_slack(w->state, 10);
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(commit_as(w, slice_str(a.id), 2, orders, i), 0);
		if (i % 100 == 0)
			sync_disk(w);
	}
	sync_disk(w);
	partition_range(log_internal(w->log), &range);
	assert_true(range.end - range.start < 2000);
	restart(w);
	assert_int_equal(committed(w, orders), 2999);
	assert_int_equal(view(w).generation, 2);
	assert_int_equal(view(w).member_count, 2);
	assert_int_equal(beat(w, &a), 0);
	assert_int_equal(beat(w, &b), 0);
}

/* ---- the property ---- */

#define ACTORS 6

struct actor {
	struct client c;
	bool alive, stable;
	int32_t generation; /* of its assignment */
};

static void actor_step(struct world *w, struct actor *actor)
{
	struct client *c = &actor->c;
	int rc;

	if (c->parked)
		return;
	if (!actor->stable && c->answers && c->err == 0 && c->assignment[0]) {
		actor->stable = true;
		actor->generation = c->generation;
		return;
	}
	if (actor->stable) {
		rc = beat(w, c);
		if (rc == 0)
			return;
		actor->stable = false;
		c->assignment[0] = 0;
		if (rc != ERR_REBALANCING)
			c->err = rc;
		if (rc == ERR_UNKNOWN_MEMBER)
			c->id[0] = 0;
		join(w, c);
		return;
	}
	if (c->err == ERR_UNKNOWN_MEMBER)
		c->id[0] = 0;
	if (c->answers && c->err == 0 && c->generation > 0 && c->protocol[0] && !c->assignment[0] &&
	    c->leader[0])
		sync_as(w, c);
	else
		join(w, c);
	if (!c->parked && c->err)
		c->generation = -1;
}

/* Who is stable in the group's generation has an assignment of that generation, and nobody else may commit. */
static void check_world(struct world *w, struct actor *actors, const struct named *topic)
{
	struct group_view v = view(w);

	for (int i = 0; i < ACTORS; i++) {
		struct client *c = &actors[i].c;
		int32_t of = 0;
		if (!actors[i].stable)
			continue;
		of = (int32_t)strtol(c->assignment, NULL, 10);
		assert_int_equal(of, actors[i].generation);
		assert_string_equal(strchr(c->assignment, ':') + 1, c->id + strlen(c->id) - 8);
		if (actors[i].generation != v.generation)
			assert_int_not_equal(commit_as(w, slice_str(c->id), actors[i].generation, topic, 1),
					     0);
	}
}

static void settle(struct world *w, struct actor *actors)
{
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < ACTORS; i++)
			if (actors[i].alive)
				actor_step(w, &actors[i]);
		pass(w, 500);
	}
}

static void check_settled(struct world *w, struct actor *actors)
{
	struct group_view v = view(w);
	uint32_t alive = 0, leaders = 0;

	for (int i = 0; i < ACTORS; i++) {
		if (!actors[i].alive)
			continue;
		alive++;
		assert_true(actors[i].stable);
		assert_int_equal(actors[i].generation, v.generation);
		assert_int_equal(beat(w, &actors[i].c), 0);
		leaders += actors[i].c.leader[0] && strcmp(actors[i].c.leader, actors[i].c.id) == 0;
	}
	assert_int_equal(v.member_count, alive);
	if (alive)
		assert_int_equal(v.state, GROUP_STABLE);
	assert_true(leaders <= 1);
}

static void disturb(struct world *w, struct actor *actors, struct rand *r)
{
	struct actor *actor = &actors[rand_below(r, ACTORS)];

	switch (rand_below(r, 8)) {
	case 0: /* dies */
		actor->alive = false;
		actor->stable = false;
		break;
	case 1: /* a new process */
		if (actor->c.parked)
			break;
		*actor = (struct actor){.alive = true};
		break;
	case 2:
		if (actor->alive && !actor->c.parked && actor->c.id[0]) {
			(void)leave(w, &actor->c);
			*actor = (struct actor){0};
		}
		break;
	case 3:
		restart(w); /* ends every wait */
		break;
	case 4:
		pass(w, (int64_t)rand_below(r, SESSION));
		break;
	case 5:
		if (actor->alive && !actor->c.parked && actor->c.id[0]) { /* its metadata changed, say */
			actor->stable = false;
			actor->c.assignment[0] = 0;
			join(w, &actor->c);
		}
		break;
	default:
		if (actor->alive)
			actor_step(w, actor);
		break;
	}
}

static void members_agree_whatever_happens(void **state)
{
	struct world *w = *state;
	struct named *orders = create(w, "orders");
	struct actor actors[ACTORS];
	const char *seeds = getenv("GROUP_SEEDS");
	uint64_t last = seeds ? strtoull(seeds, NULL, 10) : 12;

	memset(actors, 0, sizeof(actors));
	for (uint64_t seed = 1; seed <= last; seed++) {
		struct rand r;
		rand_seed(&r, seed);
		for (int i = 0; i < 300; i++) {
			disturb(w, actors, &r);
			if (rand_below(&r, 3) == 0)
				sync_disk(w);
			check_world(w, actors, orders);
			for (int a = 0; a < ACTORS && rand_below(&r, 2) == 0; a++)
				if (actors[a].alive)
					actor_step(w, &actors[a]);
		}
		settle(w, actors);
		check_settled(w, actors);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_member_joins_gets_its_assignment_and_leaves),
		TEST(a_second_member_rebalances_and_both_get_the_generation),
		TEST(who_is_silent_is_out_after_its_session),
		TEST(who_does_not_join_again_is_out_after_the_rebalance_timeout),
		TEST(who_joined_and_never_syncs_is_out),
		TEST(the_first_members_wait_a_little_for_others),
		TEST(a_static_member_comes_back_without_a_rebalance),
		TEST(a_restart_keeps_generation_members_and_assignments),
		TEST(a_rebalance_that_a_restart_cuts_leaves_the_generation_before),
		TEST(a_state_that_is_written_again_holds_the_groups),
		TEST(only_the_present_generation_commits),
		TEST(offsets_of_a_transaction_wait_for_its_end),
		TEST(offsets_expire_when_the_group_has_been_empty_for_long),
		TEST(offsets_of_nobodys_group_and_of_deleted_topics_go),
		TEST(protocols_are_chosen_by_vote),
		TEST(what_cannot_be_is_refused),
		TEST(a_new_member_that_waits_for_ever_is_let_go),
		TEST(groups_and_offsets_are_deleted),
		TEST(writing_the_state_again_loses_nothing),
		TEST(members_agree_whatever_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
