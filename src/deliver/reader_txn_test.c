/* SPDX-License-Identifier: Apache-2.0 */
/* What readers see of the transactions of Kafka's producers. */
#include "base/hash.h"
#include "deliver/reader_world_test.h"

/* A batch of one record, the number, of this producer, in a transaction where it has an id. */
static void produce_batch(struct world *w, struct topic *topic, int64_t producer, int32_t sequence,
			  int number)
{
	struct production p = {.commit = {.record_count = 1}};
	int n = snprintf(p.values[0], sizeof(p.values[0]), "%d", number);
	uint8_t bytes[256];
	struct batch_build b;
	struct batch_head head;

	batch_build_start(&b, bytes, 0);
	batch_build_put(&b, &(struct batch_record){.timestamp = 1000 + number,
						   .value = slice_make(p.values[0], (size_t)n)});
	assert_int_equal(batch_head_read(batch_build_finish(&b), &head), 0);
	head.producer_id = producer;
	head.producer_epoch = 0;
	head.base_sequence = sequence;
	head.attributes = BATCH_IS_TRANSACTIONAL;
	batch_head_put(bytes, &head);
	p.records[0] = (struct log_record){.partition = topic_partition(topic, 0),
					   .value = slice_make(bytes, head.bytes),
					   .batch_records = 1};
	enter_and_wait(w, &p);
}

static void end_transaction(struct world *w, struct topic *topic, int64_t producer, bool commit)
{
	struct production p = {.commit = {.record_count = 1}};
	struct batch_marker m = {.producer_id = producer, .commit = commit};
	uint8_t bytes[BATCH_MARKER_BYTES];

	(void)batch_put_marker(bytes, &m);
	p.records[0] = (struct log_record){.partition = topic_partition(topic, 0),
					   .value = slice_make(bytes, sizeof(bytes)),
					   .batch_records = 1};
	enter_and_wait(w, &p);
}

static int64_t stands_at(const struct reader *r)
{
	struct reader_position at;

	assert_int_equal(reader_position(r, &at), 0);
	return at.offset;
}

static void a_reader_waits_for_what_is_undecided_and_never_sees_what_was_aborted(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct reader *old = open_at(w, "t", &earliest), *fresh, *timed;
	struct cursor at = {.kind = CURSOR_TIME, .time_ms = 1003};
	struct hash128 before, after;
	int calls;

	produce_batch(w, t, -1, -1, 0);
	produce_batch(w, t, 1, 0, 1);  /* to be committed */
	produce_batch(w, t, 2, 0, 99); /* to be aborted */
	produce_batch(w, t, -1, -1, 2);
	assert_pulls(w, old, 0, 0);
	assert_true(reader_caught_up(old));
	assert_int_equal(stands_at(old), 1);
	fresh = open_at(w, "t", &latest);
	assert_pulls(w, fresh, 0, -1);
	timed = open_at(w, "t", &at);
	assert_pulls(w, timed, 0, -1);
	assert_int_equal(stands_at(timed), 1);
	assert_int_equal(reader_stamp(old, &before), 0);
	calls = w->calls;
	end_transaction(w, t, 1, true);
	assert_int_equal(w->calls, calls + 3);
	assert_int_equal(reader_stamp(old, &after), 0);
	assert_true(before.lo != after.lo);
	assert_pulls(w, old, 1, 1); /* the other one is open still */
	assert_int_equal(stands_at(old), 2);
	end_transaction(w, t, 2, false);
	assert_false(reader_caught_up(old));
	assert_pulls(w, old, 2, 2);
	assert_pulls(w, fresh, 1, 2);
	assert_int_equal(stands_at(old), 6); /* behind the markers */
	assert_true(reader_caught_up(old));
	for (int round = 0; round < 2; round++) {
		struct reader *again = open_at(w, "t", &earliest);
		assert_pulls(w, again, 0, 2);
		test_close(again);
		if (round)
			break;
		test_close(old);
		test_close(fresh);
		test_close(timed);
		down(w); /* and from segments, several batches in a view */
		up(w);
	}
}

static void much_that_was_aborted_does_not_hold_up_the_loop(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct reader *r = open_at(w, "t", &earliest);
	struct reader_view view;
	int waits = 0, rc;

	for (int i = 0; i < 300; i++)
		produce_batch(w, t, 1, i, i);
	end_transaction(w, t, 1, false);
	produce_batch(w, t, -1, -1, 7);
	while ((rc = reader_next(r, 1 << 20, &view)) == READER_WAIT) {
		waits++;
		await_turn(w);
	}
	assert_int_equal(rc, READER_BATCH);
	assert_true(waits > 2);
	assert_int_equal(view.from, 301);
	reader_view_release(&view);
	test_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_reader_waits_for_what_is_undecided_and_never_sees_what_was_aborted, set_up,
			tear_down),
		TEST(much_that_was_aborted_does_not_hold_up_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
