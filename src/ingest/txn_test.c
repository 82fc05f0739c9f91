/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "ingest/txn_world_test.h"

/* ---- InitProducerId ---- */

static void an_id_is_given_once(void **state)
{
	struct world *w = *state;
	int64_t last = -1;

	for (uint32_t round = 0; round < 4; round++) {
		for (uint32_t i = 0; i < 700; i++) {
			struct who p = {.id = NULL, .epoch = 9};
			assert_int_equal(init_as(w, &p, NULL, 0), 0);
			assert_true(p.producer_id > last);
			assert_int_equal(p.epoch, 0);
			last = p.producer_id;
		}
		if (round % 2)
			crash(w);
	}
}

static void an_id_is_told_when_its_block_is_durable(void **state)
{
	struct world *w = *state;
	struct txn_init ask = {.id = slice_null(), .producer_id = -1, .epoch = -1};
	struct asked a[3] = {{.call = {.on_done = on_done}}, {.call = {.on_done = on_done}}};

	assert_int_equal(txn_init(w->txns, &a[0].call, &ask, 0), TXN_LATER);
	assert_int_equal(txn_init(w->txns, &a[1].call, &ask, 0), TXN_LATER);
	log_port_run(w->port);
	assert_false(a[0].done);
	settle(w);
	assert_true(a[0].done && a[1].done);
	assert_int_equal(txn_init(w->txns, &a[2].call, &ask, 0), 0);
	assert_int_equal(a[2].call.producer_id, a[1].call.producer_id + 1);
}

static void a_transactional_id_keeps_its_producer(void **state)
{
	struct world *w = *state;
	struct who a = init(w, "a"), b = init(w, "b"), again;

	assert_int_equal(a.epoch, 0);
	assert_int_not_equal(a.producer_id, b.producer_id);
	crash(w);
	again = init(w, "a");
	assert_int_equal(again.producer_id, a.producer_id);
	assert_int_equal(again.epoch, 1);
	assert_int_equal(add(w, &a, 0), ERR_PRODUCER_FENCED);
	assert_int_equal(add(w, &again, 0), 0);
}

static void what_cannot_be_asked_is_refused(void **state)
{
	struct world *w = *state;
	struct who p = {.id = ""}, half = {.producer_id = 5, .epoch = -1}, nobody = {.id = "nobody"};

	assert_int_equal(init_as(w, &p, NULL, MINUTE), ERR_MALFORMED);
	p.id = "x";
	assert_int_equal(init_as(w, &p, NULL, 0), ERR_TXN_TIMEOUT);
	assert_int_equal(init_as(w, &p, NULL, 15 * MINUTE + 1), ERR_TXN_TIMEOUT);
	assert_int_equal(init_as(w, &p, &half, MINUTE), ERR_MALFORMED);
	assert_int_equal(init_as(w, &p, NULL, 15 * MINUTE), 0);
	assert_int_equal(add(w, &nobody, 0), ERR_PRODUCER_MAPPING);
	assert_int_equal(end(w, &nobody, true), ERR_PRODUCER_MAPPING);
	p.producer_id++;
	assert_int_equal(add_group(w, &p, "g"), ERR_PRODUCER_MAPPING);
	p.producer_id--;
	p.epoch++; /* a later epoch than there is */
	assert_int_equal(add_group(w, &p, "g"), ERR_PRODUCER_FENCED);
	p.id = "";
	assert_int_equal(end(w, &p, true), ERR_MALFORMED);
}

static void a_producer_that_goes_on_says_who_it_was(void **state)
{
	struct world *w = *state;
	struct who first = init(w, "a"), second = first, repeat = first, other;

	assert_int_equal(init_as(w, &second, &first, MINUTE), 0);
	assert_int_equal(second.epoch, first.epoch + 1);
	crash(w);
	assert_int_equal(init_as(w, &repeat, &first, MINUTE), 0); /* the answer was lost */
	assert_int_equal(repeat.epoch, second.epoch);
	other = init(w, "a");
	assert_int_equal(other.epoch, second.epoch + 1);
	assert_int_equal(init_as(w, &repeat, &second, MINUTE), ERR_PRODUCER_FENCED);
	second.producer_id += 77;
	second.epoch = other.epoch;
	assert_int_equal(init_as(w, &repeat, &second, MINUTE), ERR_PRODUCER_FENCED);
}

static void epochs_that_are_used_up_give_a_new_producer(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a"), next = p, repeat = p;
	struct asked a = {.call = {.on_done = on_done}};
	struct txn_init ask = {.id = slice_str("a"), .timeout_ms = MINUTE, .producer_id = -1, .epoch = -1};

	for (uint32_t i = 1; i < INT16_MAX; i++) {
		assert_int_equal(txn_init(w->txns, &a.call, &ask, w->now_ms), TXN_LATER);
		assert_int_equal(a.call.producer_epoch, i);
		if (i % 500 == 0 || i == INT16_MAX - 1)
			settle(w);
	}
	p.epoch = a.call.producer_epoch;
	assert_int_equal(p.epoch, INT16_MAX - 1);
	assert_int_equal(add(w, &p, 0), 0);
	assert_int_equal(end(w, &p, true), 0);
	assert_int_equal(init_as(w, &next, &p, MINUTE), 0);
	assert_int_not_equal(next.producer_id, p.producer_id);
	assert_int_equal(next.epoch, 0);
	assert_int_equal(init_as(w, &repeat, &p, MINUTE), 0);
	assert_int_equal(repeat.producer_id, next.producer_id);
	assert_int_equal(repeat.epoch, 0);
	assert_int_equal(add(w, &p, 0), ERR_PRODUCER_MAPPING);
	assert_int_equal(add(w, &next, 0), 0);
}

/* ---- transactions ---- */

static void what_is_committed_is_seen_and_only_then(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a");
	int32_t sequence[2] = {0};

	assert_int_equal(write_value(w, &p, 0, 1, &sequence[0]), ERR_TXN_STATE);
	assert_int_equal(add(w, &p, 0), 0);
	assert_int_equal(add(w, &p, 1), 0);
	assert_int_equal(add(w, &p, 1), 0); /* again */
	assert_int_equal(state_of(w, "a"), TXN_ONGOING);
	assert_int_equal(write_value(w, &p, 2, 1, &sequence[0]), ERR_TXN_STATE);
	assert_int_equal(write_value(w, &p, 0, 1, &sequence[0]), 0);
	assert_int_equal(write_value(w, &p, 1, 2, &sequence[1]), 0);
	settle(w);
	assert_int_equal(visible(w, 0) + visible(w, 1), 0);
	assert_int_equal(end(w, &p, true), 0);
	assert_int_equal(visible(w, 0), 1);
	assert_int_equal(visible(w, 1), 1);
	assert_int_equal(end(w, &p, true), 0); /* again */
	assert_int_equal(end(w, &p, false), ERR_TXN_STATE);
	assert_int_equal(write_value(w, &p, 0, 3, &sequence[0]), ERR_TXN_STATE);
	assert_int_equal(add(w, &p, 0), 0);
	assert_int_equal(write_value(w, &p, 0, 3, &sequence[0]), 0);
	assert_int_equal(end(w, &p, false), 0);
	assert_int_equal(end(w, &p, false), 0);
	assert_int_equal(end(w, &p, true), ERR_TXN_STATE);
	assert_int_equal(visible(w, 0), 1);
	crash(w);
	assert_int_equal(state_of(w, "a"), TXN_COMPLETE_ABORT);
	assert_int_equal(visible(w, 0), 1);
}

static void an_end_is_told_when_it_is_durable_a_repeat_too(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a");
	struct txn_who who = as_who(&p);
	struct asked a = {.call = {.on_done = on_done}}, b = a;

	assert_int_equal(add(w, &p, 0), 0);
	assert_int_equal(txn_end(w->txns, &a.call, &who, true, w->now_ms), TXN_LATER);
	assert_int_equal(state_of(w, "a"), TXN_PREPARE_COMMIT);
	assert_int_equal(txn_end(w->txns, &b.call, &who, true, w->now_ms), TXN_LATER);
	log_port_run(w->port);
	assert_false(a.done || b.done);
	settle(w);
	assert_true(a.done && b.done);
	assert_int_equal(state_of(w, "a"), TXN_COMPLETE_COMMIT);
}

static void a_second_producer_aborts_and_fences_the_first(void **state)
{
	struct world *w = *state;
	struct who first = init(w, "a"), second;
	struct producer_info known;
	int32_t sequence = 0, fresh = 0;

	assert_int_equal(add(w, &first, 0), 0);
	assert_int_equal(write_value(w, &first, 0, 1, &sequence), 0);
	second = init(w, "a");
	assert_int_equal(second.producer_id, first.producer_id);
	assert_int_equal(second.epoch, first.epoch + 1);
	assert_int_equal(partition_producers(topic_partition(w->topic, 0), &known, 1), 1);
	assert_int_equal(known.epoch, second.epoch); /* the marker has fenced it there too */
	assert_int_equal(known.open_offset, -1);
	assert_int_equal(write_value(w, &first, 0, 2, &sequence), ERR_PRODUCER_EPOCH);
	assert_int_equal(add(w, &first, 1), ERR_PRODUCER_FENCED);
	assert_int_equal(end(w, &first, true), ERR_PRODUCER_FENCED);
	assert_int_equal(commit_offset(w, &first, "g", 1), ERR_PRODUCER_EPOCH);
	assert_int_equal(end(w, &second, true), ERR_TXN_STATE);
	assert_int_equal(add(w, &second, 0), 0);
	assert_int_equal(write_value(w, &second, 0, 3, &fresh), 0);
	assert_int_equal(end(w, &second, true), 0);
	assert_int_equal(visible(w, 0), 1);
}

static void a_transaction_that_takes_too_long_is_aborted(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a"), again = p;
	struct txns_stats stats;
	int32_t sequence = 0;

	txns_tick(w->txns, w->now_ms);
	assert_int_equal(add(w, &p, 0), 0);
	assert_int_equal(write_value(w, &p, 0, 1, &sequence), 0);
	assert_int_equal(add_group(w, &p, "g"), 0);
	assert_int_equal(commit_offset(w, &p, "g", 5), 0);
	assert_int_equal(txns_deadline_ms(w->txns), w->now_ms + MINUTE + 1);
	w->now_ms += MINUTE / 2;
	assert_int_equal(add(w, &p, 1), 0); /* more of it gives it no more time */
	crash(w);                           /* the time goes on from when it began */
	assert_true(offsets_pending(w->offsets, SLICE_LIT("g"), &w->topic->id, 0));
	assert_int_equal(txns_deadline_ms(w->txns), w->now_ms + MINUTE / 2 + 1);
	w->now_ms += MINUTE / 2;
	txns_tick(w->txns, w->now_ms);
	settle(w);
	assert_int_equal(state_of(w, "a"), TXN_ONGOING);
	w->now_ms += 1;
	txns_tick(w->txns, w->now_ms);
	settle(w);
	assert_int_equal(state_of(w, "a"), TXN_COMPLETE_ABORT);
	assert_int_equal(visible(w, 0), 0);
	assert_false(offsets_pending(w->offsets, SLICE_LIT("g"), &w->topic->id, 0));
	assert_int_equal(committed(w, "g"), -1);
	assert_int_equal(end(w, &p, true), ERR_PRODUCER_FENCED);
	assert_int_equal(end(w, &p, false), ERR_PRODUCER_FENCED);
	assert_int_equal(write_value(w, &p, 0, 1, &sequence), ERR_PRODUCER_EPOCH);
	assert_int_equal(init_as(w, &again, &p, MINUTE), ERR_PRODUCER_FENCED);
	again = init(w, "a");
	assert_int_equal(again.epoch, p.epoch + 2); /* nobody was given the one between */
	txns_stats(w->txns, &stats);
	assert_int_equal(stats.timed_out, 1);
	assert_int_equal(stats.ongoing, 0);
}

static void offsets_go_with_the_transaction(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a");

	assert_int_equal(commit_offset(w, &p, "g", 7), ERR_TXN_STATE);
	assert_int_equal(add_group(w, &p, "g"), 0);
	assert_int_equal(add_group(w, &p, "g"), 0);
	assert_int_equal(commit_offset(w, &p, "h", 7), ERR_TXN_STATE);
	assert_int_equal(commit_offset(w, &p, "g", 7), 0);
	assert_int_equal(commit_offset(w, &p, "g", 8), 0);
	assert_int_equal(committed(w, "g"), -1);
	crash(w);
	assert_true(offsets_pending(w->offsets, SLICE_LIT("g"), &w->topic->id, 0));
	assert_int_equal(end(w, &p, true), 0);
	assert_int_equal(committed(w, "g"), 8);
	assert_false(offsets_pending(w->offsets, SLICE_LIT("g"), &w->topic->id, 0));
	assert_int_equal(add_group(w, &p, "g"), 0);
	assert_int_equal(commit_offset(w, &p, "g", 9), 0);
	assert_int_equal(end(w, &p, false), 0);
	crash(w);
	assert_int_equal(committed(w, "g"), 8);
}

static void a_topic_that_goes_does_not_hold_up_the_end(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a");
	struct topic *gone;

	assert_int_equal(add(w, &p, 0), 0);
	gone = topics_world_create(w->log, w->topics, "u", &txn_topic_config);
	w->topic = gone;
	assert_int_equal(add(w, &p, 3), 0);
	assert_int_equal(topics_world_delete(w->log, w->topics, gone), 0);
	assert_int_equal(end(w, &p, true), 0);
	assert_int_equal(state_of(w, "a"), TXN_COMPLETE_COMMIT);
}

static void an_id_that_is_not_used_is_forgotten(void **state)
{
	struct world *w = *state;
	struct who a = init(w, "a"), c = init(w, "c"), b;

	assert_int_equal(add(w, &c, 0), 0);
	w->now_ms += 6 * DAY_MS;
	b = init(w, "b");
	crash(w);
	w->now_ms += DAY_MS;
	assert_true(txns_deadline_ms(w->txns) <= w->now_ms);
	txns_tick(w->txns, w->now_ms); /* this ends the transaction of c, for good */
	settle(w);
	assert_int_equal(state_of(w, "a"), TXN_DEAD);
	assert_int_equal(state_of(w, "b"), TXN_EMPTY);
	assert_int_equal(state_of(w, "c"), TXN_COMPLETE_ABORT);
	crash(w);
	assert_int_equal(state_of(w, "a"), TXN_DEAD);
	assert_int_equal(add(w, &a, 0), ERR_PRODUCER_MAPPING);
	assert_int_equal(add(w, &b, 0), 0);
	a = init(w, "a");
	assert_int_equal(a.epoch, 0);
	assert_true(a.producer_id > b.producer_id);
}

static void ids_are_bounded(void **state)
{
	struct world *w = *state;
	char id[8000];
	struct txn_init ask = {.timeout_ms = MINUTE, .producer_id = -1, .epoch = -1};
	struct asked a = {.call = {.on_done = on_done}};
	struct who p = {.id = id};
	struct txns_stats stats;
	int rc = TXN_LATER;

	memset(id, 'x', sizeof(id));
	id[sizeof(id) - 1] = 0;
	ask.id = slice_str(id);
	for (uint32_t i = 0; i < 10000 && rc == TXN_LATER; i++) {
		(void)snprintf(id, 12, "%011u", i);
		id[11] = 'x';
		rc = txn_init(w->txns, &a.call, &ask, w->now_ms);
		if (i % 500 == 0)
			settle(w);
	}
	settle(w);
	assert_int_equal(rc, ERR_COORDINATOR);
	txns_stats(w->txns, &stats);
	assert_in_range(stats.bytes, (64 << 20) - 9000, 64 << 20);
	w->now_ms += 8 * DAY_MS;
	while (txns_deadline_ms(w->txns) <= w->now_ms) {
		txns_tick(w->txns, w->now_ms);
		settle(w);
	}
	txns_stats(w->txns, &stats);
	assert_int_equal(stats.ids, 0);
	assert_int_equal(stats.bytes, 0);
	assert_int_equal(init_as(w, &p, NULL, MINUTE), 0);
}

static void a_long_state_is_written_again(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a"), q = init(w, "b");
	struct partition_range range;

	state_set_slack(w->state, 40);
	assert_int_equal(add(w, &q, 1), 0);
	assert_int_equal(add(w, &q, 3), 0);
	assert_int_equal(add_group(w, &q, "g"), 0);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(add(w, &p, i % PARTITIONS), 0);
		assert_int_equal(end(w, &p, i % 3), 0);
	}
	partition_range(log_internal(w->log), &range);
	assert_true(range.end - range.start < 100);
	crash(w);
	assert_int_equal(end(w, &p, 99 % 3), 0);
	assert_int_equal(commit_offset(w, &q, "g", 4), 0);
	assert_int_equal(txn_may_write(w->txns, q.producer_id, q.epoch, topic_partition(w->topic, 3)), 0);
	assert_int_equal(txn_may_write(w->txns, q.producer_id, q.epoch, topic_partition(w->topic, 2)),
			 ERR_TXN_STATE);
	assert_int_equal(init(w, "n").producer_id, 1000); /* behind the block that was begun */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(an_id_is_given_once),
		TEST(an_id_is_told_when_its_block_is_durable),
		TEST(a_transactional_id_keeps_its_producer),
		TEST(what_cannot_be_asked_is_refused),
		TEST(a_producer_that_goes_on_says_who_it_was),
		TEST(epochs_that_are_used_up_give_a_new_producer),
		TEST(what_is_committed_is_seen_and_only_then),
		TEST(an_end_is_told_when_it_is_durable_a_repeat_too),
		TEST(a_second_producer_aborts_and_fences_the_first),
		TEST(a_transaction_that_takes_too_long_is_aborted),
		TEST(offsets_go_with_the_transaction),
		TEST(a_topic_that_goes_does_not_hold_up_the_end),
		TEST(an_id_that_is_not_used_is_forgotten),
		TEST(ids_are_bounded),
		TEST(a_long_state_is_written_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
