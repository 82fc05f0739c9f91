/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions: where readers may go, and what is hidden from them. */
#include "log/producers_world_test.h"

static bool hides(struct fixture *f, int64_t offset)
{
	struct log_view view;
	struct batch_head head;
	bool result;

	assert_int_equal(log_read_wait(f->p, offset, 1, &view), LOG_READ_OK);
	assert_int_equal(batch_check(view.batches, &head), 0);
	assert_int_equal(head.base_offset, offset);
	result = partition_hides(f->p, &head);
	blob_unref(view.blob);
	return result;
}

static void the_last_stable_offset_waits_for_the_oldest_open_transaction(void **state)
{
	struct fixture *f = *state;
	struct producer_answer answer;
	struct producer_info open[4];
	struct wanted next = in_txn(1, 0);

	assert_int_equal(put(f, (struct wanted){.id = -1, .epoch = -1, .sequence = -1}), 0);
	assert_int_equal(stable(f), 1);
	assert_int_equal(ask(f, &next, &answer, NULL), PRODUCER_NEXT);
	assert_true(answer.opens);
	assert_int_equal(put(f, next), 1);
	next.sequence = 1;
	assert_int_equal(ask(f, &next, &answer, NULL), PRODUCER_NEXT);
	assert_false(answer.opens);
	assert_int_equal(put(f, in_txn(2, 0)), 2);
	assert_int_equal(put(f, next), 3);
	assert_int_equal(stable(f), 1);
	assert_int_equal(verdict_of(f, (struct wanted){.id = 1, .sequence = 2}), PRODUCER_BAD_STATE);
	assert_int_equal(partition_open_transactions(f->p, open, 4), 2);
	assert_int_equal(open[0].producer_id, 1);
	assert_int_equal(open[0].open_offset, 1);
	assert_int_equal(open[0].last_sequence, 1);
	assert_int_equal(open[1].open_offset, 2);
	for (int round = 0; round < 2; round++) {
		if (round == 0)
			crash(f);
		else
			restart(f);
		assert_int_equal(stable(f), 1);
		assert_int_equal(partition_open_transactions(f->p, open, 4), 2);
		assert_int_equal(open[1].open_offset, 2);
	}
	assert_int_equal(mark(f, 1, 0, true), 4);
	assert_int_equal(stable(f), 2);
	assert_int_equal(mark(f, 2, 0, false), 5);
	assert_int_equal(stable(f), 6);
	assert_int_equal(partition_open_transactions(f->p, open, 4), 0);
	assert_int_equal(partition_producers(f->p, open, 4), 2);
	assert_int_equal(open[0].coordinator_epoch, 3);
}

static void what_was_aborted_and_all_markers_are_hidden(void **state)
{
	struct fixture *f = *state;
	struct aborted_txn txns[4];

	assert_int_equal(put(f, in_txn(1, 0)), 0);
	assert_int_equal(put(f, in_txn(2, 0)), 1);
	assert_int_equal(put(f, (struct wanted){.id = 3}), 2);
	assert_int_equal(put(f, in_txn(1, 1)), 3);
	assert_int_equal(mark(f, 1, 0, false), 4);
	assert_int_equal(mark(f, 2, 0, true), 5);
	assert_int_equal(put(f, in_txn(1, 2)), 6);
	assert_int_equal(mark(f, 1, 0, true), 7);
	assert_int_equal(put(f, in_txn(2, 1)), 8);
	assert_int_equal(mark(f, 2, 1, false), 9);  /* with the next epoch, as a coordinator that gives up */
	assert_int_equal(mark(f, 2, 1, false), 10); /* ends nothing */
	for (int round = 0; round < 4; round++) {
		static const bool hidden[] = {true,  false, false, true, true, true,
					      false, true,  true,  true, true};
		for (int64_t at = 0; at < 11; at++)
			assert_int_equal(hides(f, at), hidden[at]);
		assert_int_equal(partition_aborted(f->p, 0, 11, txns, 4), 2);
		assert_true(txns[0].producer_id == 1 && txns[0].first == 0 && txns[0].last == 4);
		assert_true(txns[1].producer_id == 2 && txns[1].first == 8 && txns[1].last == 9);
		assert_int_equal(partition_aborted(f->p, 5, 11, txns, 4), 1);
		assert_int_equal(txns[0].first, 8);
		assert_int_equal(partition_aborted(f->p, 0, 8, txns, 4), 1);
		assert_int_equal(partition_aborted(f->p, 5, 8, txns, 4), 0);
		assert_int_equal(partition_aborted(f->p, 0, 11, txns, 0), 2);
		assert_int_equal(verdict_of(f, in_txn(2, 2)), PRODUCER_OLD_EPOCH);
		assert_int_equal(verdict_of(f, (struct wanted){.id = 2, .epoch = 1, .sequence = 2}),
				 PRODUCER_OUT_OF_ORDER);
		assert_int_equal(verdict_of(f, (struct wanted){.id = 2, .epoch = 1}), PRODUCER_NEXT);
		if (round == 0)
			crash(f);
		else
			restart(f);
	}
}

/* Entered and not yet durable: what comes behind is decided by it already. */
static void a_marker_in_flight_ends_the_transaction_for_who_comes_behind(void **state)
{
	struct fixture *f = *state;
	struct entered *e = new_entered(f);
	struct batch_marker m = {.producer_id = 1, .commit = true};
	struct producer_answer answer;
	struct wanted next = in_txn(1, 1);

	(void)enter(f, in_txn(1, 0));
	(void)batch_put_marker(e->batch, &m);
	e->record = (struct log_record){.partition = f->p,
					.value = slice_make(e->batch, BATCH_MARKER_BYTES),
					.batch_records = 1};
	assert_int_equal(log_world_enter(f->log, &e->commit), 0);
	assert_int_equal(ask(f, &next, &answer, NULL), PRODUCER_NEXT);
	assert_true(answer.opens);
	(void)enter(f, next);
	settle(f);
	assert_int_equal(stable(f), 2);
	assert_int_equal(end(f), 3);
}

static void what_is_before_the_log_start_is_forgotten_and_sequences_are_not(void **state)
{
	struct fixture *f = *state;
	struct log_stats stats;

	(void)put(f, in_txn(1, 0));
	(void)mark(f, 1, 0, false);
	(void)put(f, in_txn(2, 0));
	(void)put(f, (struct wanted){.id = 3});
	partition_trim(f->p, 3);
	restart(f);
	log_stats(f->log, &stats);
	assert_int_equal(stats.aborted_transactions, 0);
	assert_int_equal(stats.open_transactions, 1);
	assert_int_equal(stable(f), 3); /* of a transaction that began before it */
	assert_int_equal(offset_of(f, (struct wanted){.id = 3}), 3);
	assert_int_equal(mark(f, 2, 0, true), 4);
	assert_int_equal(stable(f), 5);
}

/* Against one that looks at everything. */
static void many_transactions_are_found_again(void **state)
{
	enum { PRODUCERS = 7, STEPS = 900 };
	struct fixture *f = *state;
	struct aborted_txn all[STEPS], found[STEPS];
	int64_t open[PRODUCERS];
	int32_t sequences[PRODUCERS] = {0};
	uint32_t count = 0, seed = 12345;

	for (int i = 0; i < PRODUCERS; i++)
		open[i] = -1;
	for (int step = 0; step < STEPS; step++) {
		uint32_t who = (seed = seed * 1664525 + 1013904223) >> 16;
		uint32_t id = who % PRODUCERS;
		if (open[id] >= 0 && who % 3 == 0) {
			int64_t at = mark(f, id, 0, who % 2);
			if (who % 2 == 0)
				all[count++] = (struct aborted_txn){id, open[id], at};
			open[id] = -1;
		} else {
			int64_t at = put(f, in_txn(id, sequences[id]++));
			if (open[id] < 0)
				open[id] = at;
		}
	}
	restart(f);
	for (int64_t from = 0; from < STEPS; from += 13) {
		for (int64_t to = from + 1; to < STEPS; to += 97) {
			uint32_t n = 0, got = partition_aborted(f->p, from, to, found, STEPS);
			for (uint32_t i = 0; i < count; i++) {
				if (all[i].last < from || all[i].first >= to)
					continue;
				assert_true(n < got);
				assert_memory_equal(&all[i], &found[n], sizeof(all[i]));
				n++;
			}
			assert_int_equal(n, got);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_last_stable_offset_waits_for_the_oldest_open_transaction),
		TEST(what_was_aborted_and_all_markers_are_hidden),
		TEST(a_marker_in_flight_ends_the_transaction_for_who_comes_behind),
		TEST(what_is_before_the_log_start_is_forgotten_and_sequences_are_not),
		TEST(many_transactions_are_found_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
