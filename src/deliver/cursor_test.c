/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/rand.h"
#include "deliver/cursor.h"

static const struct topic_id id_a = {{0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};
static const struct topic_id id_b = {{0xb0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};

struct world {
	struct arena arena;
	struct buf scratch, text;
};

static int set_up(void **state)
{
	struct world *w = mem_zalloc(1, sizeof(*w));

	arena_init(&w->arena, 4096, 1 << 22);
	buf_init(&w->scratch, 1 << 20);
	buf_init(&w->text, 1 << 20);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	arena_fini(&w->arena);
	buf_fini(&w->scratch);
	buf_fini(&w->text);
	mem_free(w);
	return 0;
}

static void assert_same(const struct cursor *a, const struct cursor *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->topic_count, b->topic_count);
	assert_int_equal(a->place_count, b->place_count);
	for (uint32_t i = 0; i < a->topic_count; i++) {
		assert_true(topic_id_eq(&a->topics[i].id, &b->topics[i].id));
		assert_int_equal(a->topics[i].name_hash, b->topics[i].name_hash);
		assert_int_equal(a->topics[i].first, b->topics[i].first);
		assert_int_equal(a->topics[i].count, b->topics[i].count);
	}
	for (uint32_t i = 0; i < a->place_count; i++) {
		assert_int_equal(a->places[i].partition, b->places[i].partition);
		assert_int_equal(a->places[i].offset, b->places[i].offset);
	}
}

static void assert_goes_round(struct world *w, const struct cursor *c)
{
	struct cursor back;

	buf_clear(&w->text);
	assert_int_equal(cursor_put(c, &w->scratch, &w->text), 0);
	assert_int_equal(cursor_parse(buf_slice(&w->text), &w->arena, &back, NULL), 0);
	assert_same(c, &back);
}

static void words_and_times_are_read(void **state)
{
	struct world *w = *state;
	struct cursor c;
	static const struct {
		const char *text;
		int64_t ms;
	} times[] = {
		{"@0", 0},
		{"@1767225600000", 1767225600000},
		{"@2026-01-01T00:00:00Z", 1767225600000},
		{"@2026-01-01t00:00:00.5z", 1767225600500},
		{"@2026-01-01T00:00:00.1230001Z", 1767225600124},
		{"@2026-01-01T01:00:00+01:00", 1767225600000},
		{"@2026-01-01T01:00:00 01:00", 1767225600000},
		{"@2025-12-31T22:30:00-01:30", 1767225600000},
		{"@2024-02-29T23:59:60Z", 1709251200000},
		{"@1970-01-01T00:00:00Z", 0},
		{"@1969-12-31T23:59:59Z", 0},
	};

	assert_int_equal(cursor_parse(SLICE_LIT("earliest"), &w->arena, &c, NULL), 0);
	assert_int_equal(c.kind, CURSOR_EARLIEST);
	assert_int_equal(cursor_parse(SLICE_LIT("latest"), &w->arena, &c, NULL), 0);
	assert_int_equal(c.kind, CURSOR_LATEST);
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		assert_int_equal(cursor_parse(slice_str(times[i].text), &w->arena, &c, NULL), 0);
		assert_int_equal(c.kind, CURSOR_TIME);
		assert_int_equal(c.time_ms, times[i].ms);
	}
}

static void what_is_no_cursor_is_refused(void **state)
{
	struct world *w = *state;
	struct fault fault = {0};
	struct cursor c;
	static const char *const texts[] = {
		"",
		"Earliest",
		"latest ",
		"@",
		"@-1",
		"@2026-01-01",
		"@2026-13-01T00:00:00Z",
		"@2026-02-29T00:00:00Z",
		"@2026-01-01T24:00:00Z",
		"@2026-01-01T00:00:00",
		"@2026-01-01T00:00:00.Z",
		"@2026-01-01T00:00:00Z ",
		"@99999999999999999999",
		"12",
		"AQ",
		"////",
		"a b",
		"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		fault.text[0] = '\0';
		assert_int_equal(cursor_parse(slice_str(texts[i]), &w->arena, &c, &fault), ERR_BAD_CURSOR);
		assert_true(fault.text[0] != '\0');
	}
}

static void a_cursor_of_one_partition_is_short(void **state)
{
	struct world *w = *state;
	struct cursor_stem stem;
	char text[CURSOR_ONE_MAX];
	static const int64_t offsets[] = {0, 1, 127, 128, 123456, 30000000000, INT64_MAX};
	static const uint32_t partitions[] = {0, 1, 127, 128, 9999};

	for (size_t i = 0; i < 7; i++) {
		for (size_t j = 0; j < 5; j++) {
			struct cursor_place place = {partitions[j], offsets[i]};
			struct cursor_topic topic = {.id = id_a,
						     .name_hash = 0xdeadbeef,
						     .first = 0,
						     .count = 1};
			struct cursor c = {.kind = CURSOR_PLACES,
					   .topics = &topic,
					   .places = &place,
					   .topic_count = 1,
					   .place_count = 1};
			size_t n;
			assert_goes_round(w, &c);
			cursor_stem_init(&stem, &id_a, 0xdeadbeef, partitions[j]);
			n = cursor_one(&stem, offsets[i], text);
			assert_true(n <= CURSOR_ONE_MAX);
			assert_true(slice_eq(slice_make(text, n), buf_slice(&w->text)));
			if (offsets[i] <= 30000000000 && partitions[j] < 128)
				assert_true(n < 48);
		}
	}
}

static void many_partitions_and_topics_go_round(void **state)
{
	struct world *w = *state;
	static struct cursor_place places[CURSOR_PLACES_MAX];
	struct cursor_topic topics[2] = {{.id = id_a, .name_hash = 1}, {.id = id_b, .name_hash = 2}};
	struct cursor c = {.kind = CURSOR_PLACES, .topics = topics, .places = places, .topic_count = 1};
	struct rand rand;

	rand_seed(&rand, 7);
	for (uint32_t i = 0; i < 256; i++)
		places[i] = (struct cursor_place){i, 1000000 + (int64_t)rand_below(&rand, 1000)};
	topics[0].count = c.place_count = 256;
	assert_goes_round(w, &c);
	assert_true(w->text.len < 1000);
	for (uint32_t round = 0; round < 200; round++) {
		uint32_t partition = 0, at = 0;
		for (uint32_t t = 0; t < 2; t++) {
			topics[t].first = at;
			topics[t].count = (uint32_t)rand_below(&rand, 40);
			partition = (uint32_t)rand_below(&rand, 3);
			for (uint32_t i = 0; i < topics[t].count; i++) {
				places[at++] = (struct cursor_place){partition,
								     (int64_t)(rand_next(&rand) >>
									       (1 + rand_below(&rand, 62)))};
				partition +=
					1 + (uint32_t)rand_below(&rand, 2) * (uint32_t)rand_below(&rand, 300);
			}
		}
		c.topic_count = 2;
		c.place_count = at;
		assert_goes_round(w, &c);
	}
	for (uint32_t i = 0; i < CURSOR_PLACES_MAX; i++)
		places[i] = (struct cursor_place){i * 2, INT64_MAX - i};
	topics[0].first = 0;
	topics[0].count = c.place_count = CURSOR_PLACES_MAX;
	c.topic_count = 1;
	buf_clear(&w->text);
	assert_int_equal(cursor_put(&c, &w->scratch, &w->text), 0);
}

static void one_wrong_character_is_noticed(void **state)
{
	struct world *w = *state;
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	struct cursor_stem stem;
	struct cursor c;
	char text[CURSOR_ONE_MAX];
	size_t n;

	cursor_stem_init(&stem, &id_a, 77, 3);
	n = cursor_one(&stem, 4711, text);
	for (size_t i = 0; i < n; i++) {
		char right = text[i];
		for (const char *at = alphabet; *at; at++) {
			text[i] = *at;
			assert_int_equal(cursor_parse(slice_make(text, n), &w->arena, &c, NULL) == 0,
					 *at == right);
		}
		text[i] = right;
		assert_int_equal(cursor_parse(slice_make(text, i), &w->arena, &c, NULL), ERR_BAD_CURSOR);
		arena_reset(&w->arena);
	}
}

/* Version 1 stays readable for ever. */
static void an_old_cursor_is_still_read(void **state)
{
	struct world *w = *state;
	struct cursor c;
	struct cursor_stem stem;
	char text[CURSOR_ONE_MAX];
	size_t n;
	static const char golden[] = "AaABAgMEBQYHCAkKCwwNDg8AAABNAQMB5yS0R84";

	cursor_stem_init(&stem, &id_a, 77, 3);
	n = cursor_one(&stem, 4711, text);
	assert_int_equal(n, strlen(golden));
	assert_memory_equal(text, golden, n);
	assert_int_equal(cursor_parse(slice_str(golden), &w->arena, &c, NULL), 0);
	assert_int_equal(c.places[0].offset, 4711);
	assert_int_equal(c.places[0].partition, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(words_and_times_are_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_no_cursor_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_cursor_of_one_partition_is_short, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_partitions_and_topics_go_round, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_wrong_character_is_noticed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_old_cursor_is_still_read, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
