/* SPDX-License-Identifier: Apache-2.0 */
/* What a group has committed: by whom, in transactions, for how long. */
#include "deliver/group_world_test.h"

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
	int err = offsets_end(w->offsets, 77, commit, &change);
	log_enter_end(w->log);
	assert_int_equal(err, 0);
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
	assert_int_equal(topics_world_delete(w->log, w->topics, topics_find_id(w->topics, &other->id)), 0);
	pass(w, 700000);
	assert_int_equal(committed(w, other), -1);
	assert_int_equal(committed(w, orders), 3);
	pass(w, 7 * DAY);
	assert_int_equal(committed(w, orders), -1);
	offsets_stats(w->offsets, &stats);
	assert_int_equal(stats.groups + stats.committed + stats.bytes, 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(only_the_present_generation_commits),
		TEST(offsets_of_a_transaction_wait_for_its_end),
		TEST(offsets_expire_when_the_group_has_been_empty_for_long),
		TEST(offsets_of_nobodys_group_and_of_deleted_topics_go),
		TEST(groups_and_offsets_are_deleted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
