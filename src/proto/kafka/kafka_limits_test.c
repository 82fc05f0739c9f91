/* SPDX-License-Identifier: Apache-2.0 */
/* Lengths, null, memory and bounds; and responses whose records stay where they are. */
#include "proto/kafka/kafka_message_world_test.h"

struct malformed {
	const struct kafka_layout *layout;
	struct kafka_format format;
	struct slice bytes;
	int error;
};

static const struct malformed lengths[] = {
	/* Metadata: a list of topics that is null where that is not allowed, and where it is */
	{&kafka_metadata_request_layout, {0, false}, SLICE_LIT("\xff\xff\xff\xff"), ERR_MALFORMED},
	{&kafka_metadata_request_layout, {1, false}, SLICE_LIT("\xff\xff\xff\xff"), 0},
	{&kafka_metadata_request_layout, {1, false}, SLICE_LIT("\xff\xff\xff\xfe"), ERR_MALFORMED},
	{&kafka_metadata_request_layout, {9, true}, SLICE_LIT("\0\1\1\1\0"), 0},
	/* a count that the bytes cannot hold, by one and by far */
	{&kafka_metadata_request_layout, {1, false}, SLICE_LIT("\0\0\0\2\0\1a\0"), ERR_MALFORMED},
	{&kafka_metadata_request_layout, {1, false}, SLICE_LIT("\x7f\xff\xff\xff\0\1a"), ERR_MALFORMED},
	{&kafka_metadata_request_layout, {9, true}, SLICE_LIT("\xff\xff\xff\xff\x0f\1\1\1\0"), ERR_MALFORMED},
	/* a name that is null where names are not */
	{&kafka_metadata_request_layout, {1, false}, SLICE_LIT("\0\0\0\1\xff\xff"), ERR_MALFORMED},
	{&kafka_metadata_request_layout, {1, false}, SLICE_LIT("\0\0\0\1\xff\xfe"), ERR_MALFORMED},
	{&kafka_metadata_request_layout, {9, true}, SLICE_LIT("\2\0\0\1\1\1\0"), ERR_MALFORMED},
	{&kafka_metadata_request_layout,
	 {12, true},
	 SLICE_LIT("\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\1\0"),
	 0},
	/* names in a list are never null, also where the list may be */
	{&kafka_describe_configs_request_layout,
	 {1, false},
	 SLICE_LIT("\0\0\0\1\2\0\1a\xff\xff\xff\xff\0"),
	 0},
	{&kafka_describe_configs_request_layout,
	 {1, false},
	 SLICE_LIT("\0\0\0\1\2\0\1a\0\0\0\1\xff\xff\0"),
	 ERR_MALFORMED},
	{&kafka_delete_groups_request_layout, {0, false}, SLICE_LIT("\0\0\0\1\xff\xff"), ERR_MALFORMED},
	/* bytes longer than what is left, and negative */
	{&kafka_sasl_authenticate_request_layout, {0, false}, SLICE_LIT("\0\0\0\3ab"), ERR_MALFORMED},
	{&kafka_sasl_authenticate_request_layout, {0, false}, SLICE_LIT("\x80\0\0\0ab"), ERR_MALFORMED},
	{&kafka_sasl_authenticate_request_layout, {2, true}, SLICE_LIT("\3ab\0"), 0},
	{&kafka_sasl_authenticate_request_layout, {2, true}, SLICE_LIT("\0\0"), ERR_MALFORMED},
	/* a compact length in more bytes than it needs is one that Kafka reads too */
	{&kafka_sasl_authenticate_request_layout, {2, true}, SLICE_LIT("\x83\x80\0ab\0"), 0},
};

static void lengths_are_checked(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < COUNT(lengths); i++) {
		const struct malformed *m = &lengths[i];
		int rc = read_exact(w, m->layout, m->format, m->bytes, false);
		if (rc != m->error)
			fail_msg("row %zu: %d, not %d", i, rc, m->error);
	}
}

static void a_text_is_at_most_32767_bytes(void **state)
{
	struct kafka_format format = {.version = 3, .flexible = true};
	struct kafka_find_coordinator_request q = {0};
	struct world *w = *state;
	uint8_t *bytes = mem_zalloc(40000, 1);

	assert_non_null(bytes);
	q.key = slice_make(bytes, 32767);
	buf_clear(&w->wire);
	assert_int_equal(kafka_layout_write(&kafka_find_coordinator_request_layout, format, &q, &w->wire,
					    NULL),
			 0);
	assert_int_equal(read_exact(w, &kafka_find_coordinator_request_layout, format, buf_slice(&w->wire),
				    false),
			 0);
	q.key.len = 32768;
	buf_clear(&w->wire);
	assert_int_equal(kafka_layout_write(&kafka_find_coordinator_request_layout, format, &q, &w->wire,
					    NULL),
			 ERR_LIMIT);
	/* the same by hand: length 32768 */
	buf_clear(&w->wire);
	buf_append(&w->wire, "\x81\x80\x02", 3);
	buf_append(&w->wire, bytes, 32768);
	buf_append(&w->wire, "\0\0", 2);
	assert_int_equal(read_exact(w, &kafka_find_coordinator_request_layout, format, buf_slice(&w->wire),
				    false),
			 ERR_MALFORMED);
	mem_free(bytes);
}

/* A topic of Metadata 12 is at least 18 bytes: 1000 of them do not lie in 2000, and take no memory. */
static void memory_is_taken_for_what_the_bytes_can_hold(void **state)
{
	static const uint8_t zeros[2000];
	struct kafka_format format = {.version = 12, .flexible = true};
	struct world *w = *state;
	struct arena arena;

	buf_clear(&w->wire);
	buf_append(&w->wire, "\xe9\x07", 2);
	buf_append(&w->wire, zeros, sizeof(zeros));
	arena_init(&arena, 64, ARENA_BYTES_MAX);
	assert_int_equal(kafka_layout_read(&kafka_metadata_request_layout, format, buf_slice(&w->wire),
					   &arena, w->got),
			 ERR_MALFORMED);
	assert_int_equal(arena.bytes, 0);
	arena_fini(&arena);
}

/* That the list may be null says nothing of its items. */
static void items_are_never_written_as_null(void **state)
{
	struct slice keys[] = {{0}, SLICE_LIT("a")};
	struct kafka_describe_configs_request_resource resource = {.configuration_keys = keys,
								   .configuration_keys_count = 2};
	struct kafka_describe_configs_request q = {.resources = &resource, .resources_count = 1};
	struct world *w = *state;

	buf_clear(&w->wire);
	assert_int_equal(kafka_layout_write(&kafka_describe_configs_request_layout,
					    (struct kafka_format){1, false}, &q, &w->wire, NULL),
			 0);
	assert_true(slice_eq(buf_slice(&w->wire), SLICE_LIT("\0\0\0\1\0\0\0\0\0\0\2\0\0\0\1a\0")));
}

static void null_is_written_where_there_is_null(void **state)
{
	struct kafka_metadata_request q = {0};
	struct world *w = *state;

	buf_clear(&w->wire);
	assert_int_equal(kafka_layout_write(&kafka_metadata_request_layout, (struct kafka_format){0, false},
					    &q, &w->wire, NULL),
			 0);
	assert_true(slice_eq(buf_slice(&w->wire), SLICE_LIT("\0\0\0\0")));
	buf_clear(&w->wire);
	assert_int_equal(kafka_layout_write(&kafka_metadata_request_layout, (struct kafka_format){1, false},
					    &q, &w->wire, NULL),
			 0);
	assert_true(slice_eq(buf_slice(&w->wire), SLICE_LIT("\xff\xff\xff\xff")));
}

static void memory_is_bounded_by_the_arena(void **state)
{
	struct kafka_format format = {.version = 12, .flexible = true};
	struct world *w = *state;
	struct arena small;
	int rc = ERR_LIMIT;

	make(w, &kafka_fetch_request_layout, format, FULL, 0);
	write_made(w, &kafka_fetch_request_layout, format);
	for (size_t bound = 0; bound < 1024; bound++) {
		int before = rc;
		arena_init(&small, 64, bound);
		rc = kafka_layout_read(&kafka_fetch_request_layout, format, buf_slice(&w->wire), &small,
				       w->got);
		assert_true(rc == ERR_LIMIT || (rc == 0 && bound > 200));
		assert_true(before == ERR_LIMIT || rc == 0);
		arena_fini(&small);
	}
	assert_int_equal(rc, 0);
	for (uint64_t n = 1; n < 20; n++) {
		arena_init(&small, 64, ARENA_BYTES_MAX);
		mem_fail_at(n);
		rc = kafka_layout_read(&kafka_fetch_request_layout, format, buf_slice(&w->wire), &small,
				       w->got);
		mem_fail_at(0);
		arena_fini(&small);
		assert_true(rc == ERR_NOMEM || rc == 0);
		if (rc == 0)
			break;
	}
	assert_int_equal(rc, 0);
}

static void check_write_limits(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
			       uint64_t seed)
{
	struct buf small;
	size_t whole;

	make(w, layout, format, FULL, seed);
	write_made(w, layout, format);
	whole = w->wire.len;
	for (size_t bound = 0; bound <= whole; bound += bound + 7 < whole ? 7 : 1) {
		int rc;
		buf_init(&small, bound);
		rc = kafka_layout_write(layout, format, w->made, &small, NULL);
		assert_int_equal(rc, bound < whole ? ERR_LIMIT : 0);
		buf_fini(&small);
	}
}

static void writing_stops_at_the_bound(void **state)
{
	for_each_message(*state, check_write_limits, 1);
}

struct fetch {
	struct kafka_fetch_response_partition partitions[3];
	struct kafka_fetch_response_topic topic;
	struct kafka_fetch_response response;
	struct kafka_header header;
};

static void make_fetch(struct fetch *f, int16_t version)
{
	*f = (struct fetch){
		.header = {.api = kafka_api_find(KAFKA_FETCH), .key = KAFKA_FETCH, .version = version}};
	kafka_layout_default(&kafka_fetch_response_partition_layout, f->partitions, 3);
	kafka_layout_default(&kafka_fetch_response_layout, &f->response, 1);
	f->partitions[0].records = (struct kafka_records){.ptr = (const uint8_t *)"first", .len = 5};
	f->partitions[1].records = (struct kafka_records){0};
	f->partitions[2].records = (struct kafka_records){.ptr = (const uint8_t *)"third", .len = 5};
	f->topic = (struct kafka_fetch_response_topic){.topic = SLICE_LIT("t"),
						       .partitions = f->partitions,
						       .partitions_count = 3};
	f->response.responses = &f->topic;
	f->response.responses_count = 1;
	f->header.correlation = 9;
}

static void check_cuts(struct world *w, struct fetch *f)
{
	struct kafka_cut list[2];
	struct kafka_cuts cuts = {.list = list, .count_max = 2};
	struct buf copied, joined;
	size_t at = 0;

	buf_init(&copied, 4096);
	buf_init(&joined, 4096);
	buf_clear(&w->wire);
	assert_int_equal(kafka_response_write(&f->header, &f->response, &copied, NULL), 0);
	f->partitions[0].records.source = f;
	assert_int_equal(kafka_response_write(&f->header, &f->response, &w->wire, &cuts), 0);
	assert_int_equal(cuts.count, 2);
	assert_int_equal(cuts.bytes, 10);
	assert_int_equal(w->wire.len + 10, copied.len);
	assert_ptr_equal(list[0].records->source, f);
	for (size_t i = 0; i < cuts.count; i++) {
		buf_append(&joined, w->wire.ptr + at, list[i].at - at);
		buf_append(&joined, list[i].records->ptr, list[i].records->len);
		at = list[i].at;
	}
	buf_append(&joined, w->wire.ptr + at, w->wire.len - at);
	assert_true(slice_eq(buf_slice(&joined), buf_slice(&copied)));
	buf_fini(&joined);
	buf_fini(&copied);
}

static void records_may_stay_where_they_are(void **state)
{
	struct world *w = *state;
	struct fetch f;

	for (int16_t version = 4; version <= 12; version++) {
		make_fetch(&f, version);
		check_cuts(w, &f);
	}
}

/* What did not fit leaves buffer and cuts as they were, with what they held before. */
static void a_response_that_does_not_fit_is_taken_back(void **state)
{
	struct world *w = *state;
	struct kafka_cut list[3];
	struct kafka_cuts cuts = {.list = list, .count_max = 3};
	struct fetch f;

	make_fetch(&f, 12);
	buf_clear(&w->wire);
	assert_int_equal(kafka_response_write(&f.header, &f.response, &w->wire, &cuts), 0);
	assert_int_equal(cuts.count, 2);
	size_t before = w->wire.len;
	assert_int_equal(kafka_response_write(&f.header, &f.response, &w->wire, &cuts), ERR_LIMIT);
	assert_int_equal(w->wire.len, before);
	assert_int_equal(cuts.count, 2);
	assert_int_equal(cuts.bytes, 10);
	/* two references whose sum no frame can have, and one that is too long by itself */
	cuts.count = 0;
	f.partitions[0].records = (struct kafka_records){.source = &f, .len = INT32_MAX};
	assert_int_equal(kafka_response_write(&f.header, &f.response, &w->wire, &cuts), ERR_LIMIT);
	f.partitions[0].records.len = (size_t)INT32_MAX + 1;
	assert_int_equal(kafka_response_write(&f.header, &f.response, &w->wire, &cuts), ERR_LIMIT);
	assert_int_equal(w->wire.len, before);
	assert_int_equal(buf_status(&w->wire), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths_are_checked),
		cmocka_unit_test(a_text_is_at_most_32767_bytes),
		cmocka_unit_test(memory_is_taken_for_what_the_bytes_can_hold),
		cmocka_unit_test(items_are_never_written_as_null),
		cmocka_unit_test(null_is_written_where_there_is_null),
		cmocka_unit_test(memory_is_bounded_by_the_arena),
		cmocka_unit_test(writing_stops_at_the_bound),
		cmocka_unit_test(records_may_stay_where_they_are),
		cmocka_unit_test(a_response_that_does_not_fit_is_taken_back),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
