/* SPDX-License-Identifier: Apache-2.0 */
/* Members: joining, rebalances, silence, static ones, restarts. */
#include "deliver/group_world_test.h"

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
		TEST(protocols_are_chosen_by_vote),
		TEST(what_cannot_be_is_refused),
		TEST(a_new_member_that_waits_for_ever_is_let_go),
		TEST(writing_the_state_again_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
