/* SPDX-License-Identifier: Apache-2.0 */
/* Where a reader begins: cursors, times, a selection of partitions and keys, and what was trimmed. */
#include "deliver/reader_world_test.h"

static int open_fails(struct world *w, const struct reader_options *o, struct fault *fault)
{
	struct reader *r = NULL;

	*fault = (struct fault){0};
	return test_open(w->hub, o, &r, fault);
}

static void a_cursor_goes_on_where_it_stood(void **state)
{
	struct world *w = *state;
	struct slice names[2] = {SLICE_LIT("a"), SLICE_LIT("b")};
	struct topic *a = create(w, "a", 2), *b = create(w, "b", 1);
	struct reader_options o = options_for(w, names, 2, &earliest);
	struct reader *r;
	struct cursor c;
	int numbers[64], count, sum = 0;

	for (int i = 0; i < 4; i++) {
		produce_to(w, a, 0, 2, i, slice_null(), -1);
		produce(w, b, 0, i);
	}
	assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	assert_int_equal(count, 12);
	c = cursor_of(w, r);
	assert_int_equal(c.topic_count, 2);
	assert_int_equal(c.place_count, 3);
	test_close(r);
	for (int i = 10; i < 12; i++) {
		produce_to(w, a, 0, 2, i, slice_null(), -1);
		produce(w, b, 0, i);
	}
	down(w);
	up(w);
	o = options_for(w, names, 2, &c);
	assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	for (int i = 0; i < count; i++)
		sum += numbers[i];
	assert_int_equal(count, 6);
	assert_int_equal(sum, 3 * 10 + 3 * 11);
	test_close(r);
	/* One of the topics alone. */
	o = options_for(w, &names[1], 1, &c);
	assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
	assert_pulls(w, r, 10, 11);
	test_close(r);
}

static void a_selection_reads_what_it_names(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 8);
	struct slice name = SLICE_LIT("t");
	struct reader_options o = options_for(w, &name, 1, &earliest);
	struct partition_set set;
	struct fault fault;
	struct reader *r;
	int numbers[64], count;
	uint32_t home = hash_partition(SLICE_LIT("k"), 8);

	produce_to(w, t, 0, 8, 1, slice_null(), -1);
	assert_int_equal(partition_set_parse(SLICE_LIT("0,3,5-7"), &set, NULL), 0);
	o.partitions = &set;
	assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	assert_int_equal(count, 5);
	assert_false(reader_single(r));
	test_close(r);
	assert_int_equal(partition_set_parse(SLICE_LIT("4-8"), &set, NULL), 0);
	assert_int_equal(open_fails(w, &o, &fault), ERR_PARTITION_RANGE);
	assert_non_null(strstr(fault.text, "0 to 7"));
	o.partitions = NULL;
	o.partitions_max = 7;
	assert_int_equal(open_fails(w, &o, &fault), ERR_TOO_MANY_PARTITIONS);
	o.key = SLICE_LIT("k");
	produce_to(w, t, home, 1, 5, SLICE_LIT("k"), -1);
	produce_to(w, t, home, 1, 6, SLICE_LIT("other"), -1);
	assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
	assert_true(reader_single(r));
	assert_true(reader_filters(r));
	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	assert_int_equal(count, 1);
	assert_int_equal(numbers[0], 5);
	test_close(r);
}

/* Partition p of the cursor; -1 where it is not named. */
static int64_t place_in(const struct cursor *c, uint32_t p)
{
	for (uint32_t i = 0; i < c->place_count; i++)
		if (c->places[i].partition == p)
			return c->places[i].offset;
	return -1;
}

static void a_cursor_keeps_what_is_not_selected(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 4);
	struct slice name = SLICE_LIT("t");
	struct partition_set set;
	struct reader *r = open_at(w, "t", &earliest);
	struct reader_options o;
	struct cursor c;
	int numbers[64], count;

	produce_to(w, t, 0, 4, 0, slice_null(), -1);
	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	c = cursor_of(w, r);
	test_close(r);
	for (int i = 1; i < 4; i++)
		produce_to(w, t, 0, 4, i, slice_null(), -1);
	o = options_for(w, &name, 1, &c);
	o.partitions = &set;
	for (uint32_t p = 0; p < 3; p += 2) {
		assert_int_equal(partition_set_parse(p ? SLICE_LIT("2") : SLICE_LIT("0"), &set, NULL), 0);
		assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
		assert_false(reader_single(r));
		assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
		assert_int_equal(count, 3);
		assert_true(reader_caught_up(r));
		c = cursor_of(w, r);
		test_close(r);
	}
	assert_int_equal(c.place_count, 4);
	for (uint32_t p = 0; p < 4; p++)
		assert_int_equal(place_in(&c, p), p % 2 ? 1 : 4);
}

static void bad_partition_sets_are_refused(void **state)
{
	static const char *const bad[] = {"",    ",",       "1,", "-1", "3-1",     "1,1",
					  "5,2", "0-10000", "a",  "1 ", "0-4,4-5", "99999999999999999999"};
	struct partition_set set;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(partition_set_parse(slice_str(bad[i]), &set, NULL), ERR_BAD_PARAMETER);
	assert_int_equal(partition_set_parse(SLICE_LIT("0-9999"), &set, NULL), 0);
	assert_true(partition_set_has(&set, 9999));
}

static void count_gap(void *ctx, const struct reader_view *gap)
{
	assert_int_equal(gap->from, 0);
	assert_int_equal(gap->next_offset, 3);
	assert_false(gap->damage);
	(*(int *)ctx)++;
}

static void what_was_trimmed_is_told_as_a_gap(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct cursor begin;
	struct reader_view view;
	struct reader *r = open_at(w, "t", &earliest);
	int gaps = 0;

	begin = cursor_of(w, r);
	test_close(r);
	for (int i = 0; i < 5; i++)
		produce(w, t, 0, i);
	partition_trim(topic_partition(t, 0), 3);
	r = open_at(w, "t", &begin);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_GAP);
	assert_int_equal(view.from, 0);
	assert_int_equal(view.next_offset, 3);
	assert_false(view.damage);
	assert_pulls(w, r, 3, 4);
	test_close(r);
	r = open_at(w, "t", &begin);
	assert_int_equal(reader_skip_gone(r, count_gap, &gaps), 1);
	assert_int_equal(gaps, 1);
	assert_int_equal(cursor_of(w, r).places[0].offset, 3);
	assert_pulls(w, r, 3, 4);
	assert_int_equal(reader_skip_gone(r, NULL, NULL), 0);
	test_close(r);
	r = open_at(w, "t", &earliest);
	assert_pulls(w, r, 3, 4);
	test_close(r);
}

static void a_cursor_that_does_not_fit_is_refused(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1), *other = create(w, "other", 1);
	struct slice name = SLICE_LIT("t");
	struct cursor_place place = {.partition = 0, .offset = 2};
	struct cursor_topic named = {.id = t->id, .name_hash = cursor_name_hash(name), .count = 1};
	struct cursor c = {.kind = CURSOR_PLACES,
			   .topics = &named,
			   .places = &place,
			   .topic_count = 1,
			   .place_count = 1};
	struct reader_options o = options_for(w, &name, 1, &c);
	struct fault fault;
	struct slice twice[2] = {SLICE_LIT("t"), SLICE_LIT("t")};

	produce(w, t, 0, 0);
	assert_int_equal(open_fails(w, &o, &fault), ERR_CURSOR_AHEAD);
	assert_non_null(strstr(fault.text, "offset 2"));
	place.offset = 1;
	place.partition = 0;
	test_close(open_at(w, "t", &c));
	named.id = other->id;
	named.name_hash = cursor_name_hash(SLICE_LIT("other"));
	assert_int_equal(open_fails(w, &o, &fault), ERR_CURSOR_MISMATCH);
	named.id.bytes[3] ^= 1;
	named.name_hash = cursor_name_hash(name);
	assert_int_equal(open_fails(w, &o, &fault), ERR_CURSOR_GONE);
	o.cursor = &earliest;
	o.topics = twice;
	o.topic_count = 2;
	assert_int_equal(open_fails(w, &o, &fault), ERR_BAD_PARAMETER);
	name = SLICE_LIT("no/name");
	o.topics = &name;
	o.topic_count = 1;
	assert_int_equal(open_fails(w, &o, &fault), ERR_BAD_TOPIC);
	name = SLICE_LIT("missing");
	o.wait_for_topics = false;
	assert_int_equal(open_fails(w, &o, &fault), ERR_UNKNOWN_TOPIC);
	o.wait_for_topics = true;
	topics_set_defaults(w->topics, &plain, false);
	assert_int_equal(open_fails(w, &o, &fault), ERR_UNKNOWN_TOPIC);
}

static void a_time_is_looked_up_before_anything_is_read(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 2);
	struct cursor at = {.kind = CURSOR_TIME, .time_ms = 5000};
	struct reader_view view;
	struct reader *r;
	int numbers[64], count;

	for (int i = 0; i < 10; i++)
		produce_to(w, t, 0, 2, i, slice_null(), 1000 * (int64_t)i);
	for (int round = 0; round < 2; round++) {
		r = open_at(w, "t", &at);
		assert_int_equal(reader_next(r, 1 << 20, &view), READER_WAIT);
		assert_int_equal(cursor_of(w, r).kind, CURSOR_TIME);
		assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
		assert_int_equal(count, 10);
		for (int i = 0; i < count; i++)
			assert_true(numbers[i] >= 5);
		test_close(r);
		down(w);
		up(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_cursor_goes_on_where_it_stood),
		TEST(a_selection_reads_what_it_names),
		TEST(a_cursor_keeps_what_is_not_selected),
		cmocka_unit_test(bad_partition_sets_are_refused),
		TEST(what_was_trimmed_is_told_as_a_gap),
		TEST(a_cursor_that_does_not_fit_is_refused),
		TEST(a_time_is_looked_up_before_anything_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
