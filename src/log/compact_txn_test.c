/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions: what was aborted, markers, what is undecided. */
#include "log/compact_world_test.h"

/* A batch of one record, or a marker, as it is; gives its offset. */
static int64_t append_batch(struct fixture *f, struct slice bytes)
{
	struct log_record r = {.partition = f->p, .value = bytes, .batch_records = 1};
	struct pending pending = {
		.commit = {.records = &r, .record_count = 1, .port = f->port, .on_done = on_done}};

	assert_int_equal(log_world_enter(f->log, &pending.commit), 0);
	settle(f);
	f->count++;
	return r.offset;
}

/* One record of this key and producer, in its transaction; gives its offset. */
static int64_t append_undecided(struct fixture *f, int64_t producer, int32_t sequence, const char *key)
{
	uint8_t bytes[200];
	struct batch_build b;
	struct batch_head head;

	batch_build_start(&b, bytes, 0);
	batch_build_put(&b, &(struct batch_record){.timestamp = clock_ns / 1000000,
						   .key = slice_str(key),
						   .value = SLICE_LIT("undecided")});
	assert_int_equal(batch_head_read(batch_build_finish(&b), &head), 0);
	head.producer_id = producer;
	head.producer_epoch = 0;
	head.base_sequence = sequence;
	head.attributes = BATCH_IS_TRANSACTIONAL;
	batch_head_put(bytes, &head);
	return append_batch(f, slice_make(bytes, head.bytes));
}

static int64_t append_marker(struct fixture *f, int64_t producer, bool commit)
{
	struct batch_marker m = {.producer_id = producer,
				 .commit = commit,
				 .timestamp_ms = clock_ns / 1000000};
	uint8_t bytes[BATCH_MARKER_BYTES];

	(void)batch_put_marker(bytes, &m);
	return append_batch(f, slice_make(bytes, sizeof(bytes)));
}

/* 'r' a record, 'm' a marker, 'h' a record of an aborted transaction, '.' nothing. */
static char what_is_at(struct fixture *f, int64_t offset)
{
	struct log_view view;
	struct batch_head head;
	char what;

	assert_int_equal(log_read_wait(f->p, offset, 1, &view), LOG_READ_OK);
	assert_int_equal(batch_check(view.batches, &head), 0);
	what = batch_is_empty(&head) ? '.' : batch_is_control(&head) ? 'm' : 'r';
	if (what == 'r' && partition_hides(f->p, &head))
		what = 'h';
	blob_unref(view.blob);
	return what;
}

static void pass(struct fixture *f)
{
	append_one(f, 1000 + (int32_t)f->count, false); /* so that there is something to do */
	roll(f);
	maintain(f);
}

static void hours_pass(struct fixture *f, int count)
{
	for (int i = 0; i < count; i++) {
		clock_ns += HOUR_MS * 1000000ll;
		maintain(f);
	}
}

static void what_was_aborted_goes_and_markers_go_when_they_decide_nothing(void **state)
{
	struct fixture *f = *state;
	int64_t aborted, kept, markers[2];

	kept = append_undecided(f, 1, 0, "a");
	aborted = append_undecided(f, 2, 0, "a"); /* later, but it never was */
	markers[0] = append_marker(f, 2, false);
	markers[1] = append_marker(f, 1, true);
	assert_int_equal(what_is_at(f, aborted), 'h');
	pass(f);
	assert_int_equal(what_is_at(f, kept), 'r');
	assert_int_equal(what_is_at(f, aborted), '.');
	assert_int_equal(what_is_at(f, markers[0]), 'm');
	assert_int_equal(what_is_at(f, markers[1]), 'm');
	assert_int_equal(partition_aborted(f->p, 0, 100, NULL, 0), 1);
	/* Forgotten at the second look behind the pass, so that who has read it before knows. */
	hours_pass(f, 2);
	assert_int_equal(partition_aborted(f->p, 0, 100, NULL, 0), 0);
	append_many(f, 40, 2);
	pass(f);
	assert_int_equal(what_is_at(f, markers[0]), '.');
	assert_int_equal(what_is_at(f, markers[1]), '.');
	assert_int_equal(what_is_at(f, kept), 'r');
}

static void nothing_is_compacted_from_an_open_transaction_on(void **state)
{
	struct fixture *f = *state;
	uint64_t passes;
	int64_t open;

	append_one(f, 1, false);
	append_one(f, 1, false);
	roll(f);
	open = append_undecided(f, 7, 0, "k1");
	append_one(f, 1, false);
	append_one(f, 1, false);
	roll(f);
	maintain(f);
	assert_int_equal(what_is_at(f, 0), '.');
	assert_int_equal(what_is_at(f, 1),
			 'r'); /* though a later one has its key: that is behind what is open */
	assert_int_equal(what_is_at(f, open), 'r');
	assert_int_equal(what_is_at(f, open + 1), 'r');
	passes = stats_of(f).compactions;
	hours_pass(f, 3);
	assert_int_equal(stats_of(f).compactions, passes); /* and it does not try for ever */
	(void)append_marker(f, 7, false);
	pass(f);
	assert_int_equal(what_is_at(f, 1), '.');
	assert_int_equal(what_is_at(f, open), '.');
	assert_int_equal(what_is_at(f, open + 1), '.');
	assert_int_equal(what_is_at(f, open + 2), 'r');
}

static void a_file_of_producers_that_is_gone_is_made_anew_from_what_was_compacted(void **state)
{
	struct fixture *f = *state;
	struct partition_range range;
	char command[160];
	int64_t later;

	(void)append_undecided(f, 1, 0, "a");
	(void)append_marker(f, 1, true);
	(void)append_undecided(f, 2, 0, "b");
	(void)append_marker(f, 2, false);
	pass(f);
	hours_pass(f, 2);
	pass(f);
	later = append_undecided(f, 3, 5, "c");
	close_log(f);
	(void)snprintf(command, sizeof(command), "rm %s/PRODUCERS.*", f->dir);
	assert_int_equal(system(command), 0);
	open_log(f);
	partition_range(f->p, &range);
	assert_int_equal(range.stable, later);
	assert_int_equal(what_is_at(f, 0), 'r');
	(void)append_undecided(f, 1, 77, "a"); /* what it had written is not known any more */
	(void)append_undecided(f, 3, 6, "c");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_aborted_goes_and_markers_go_when_they_decide_nothing),
		TEST(nothing_is_compacted_from_an_open_transaction_on),
		TEST(a_file_of_producers_that_is_gone_is_made_anew_from_what_was_compacted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
