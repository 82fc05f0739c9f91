/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "deliver/inner.h"
#include "proto/ws/ws_frame.h"
#include "serve/record/encode_cache.h"
#include "serve/record/record_json.h"

/* The cache only compares partitions: any two places in memory will do. */
static int ground[2];
static struct topic topic = {.name = "t", .id = {{1, 2, 3}}};

static struct reader_view view_of(uint8_t *bytes, int64_t base, const char *const *values, uint32_t count,
				  int place)
{
	struct batch_build build;

	batch_build_start(&build, bytes, base);
	for (uint32_t i = 0; i < count; i++) {
		struct batch_record r = {.timestamp = 5,
					 .value = slice_str(values[i]),
					 .key = i % 2 ? SLICE_LIT("odd") : SLICE_LIT("even")};
		batch_build_put(&build, &r);
	}
	return (struct reader_view){.topic = &topic,
				    .partition = (struct partition *)(void *)&ground[place],
				    .number = 3,
				    .batches = batch_build_finish(&build),
				    .from = base,
				    .next_offset = base + count};
}

static const char *const values[] = {"{\"a\":1}", "text", "[1,\n2]", NULL, "\xff\xfe"};
#define COUNT 5u

static struct encoded get(struct encode_cache *c, const struct reader_view *view, enum encode_form form)
{
	struct encoded e;

	assert_int_equal(encode_cache_get(c, view, form, &e), 0);
	assert_int_equal(e.count, COUNT);
	assert_int_equal(e.batch_bytes, view->batches.len);
	assert_int_equal(e.next, view->next_offset);
	assert_false(e.broken);
	return e;
}

static struct slice expected_json(const struct reader_view *view, uint32_t i, struct buf *to)
{
	struct record_origin origin = {.topic = SLICE_LIT("t"), .partition = 3};
	struct batch_walk walk;
	struct batch_record r;

	buf_clear(to);
	assert_int_equal(batch_walk_start(&walk, view->batches), 0);
	do
		assert_int_equal(batch_walk_next(&walk, &r), 1);
	while (i-- > 0);
	assert_int_equal(record_json(to, &origin, &r), 0);
	return buf_slice(to);
}

static struct slice cursor_text(int64_t offset, char *text)
{
	struct cursor_stem stem;

	cursor_stem_init(&stem, &topic.id, cursor_name_hash(SLICE_LIT("t")), 3);
	return slice_make(text, cursor_one(&stem, offset, text));
}

static void a_run_of_json_is_the_inside_of_an_array(void **state)
{
	uint8_t bytes[4096];
	struct reader_view view = view_of(bytes, 100, values, COUNT, 0);
	struct encode_cache *c;
	struct encoded e;
	struct buf all, one;

	(void)state;
	buf_init(&all, 1 << 16);
	buf_init(&one, 1 << 16);
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	e = get(c, &view, ENCODE_JSON);
	for (uint32_t i = 0; i < COUNT; i++) {
		struct slice record = expected_json(&view, i, &one);
		assert_true(slice_eq(encoded_run(&e, i, 1), record));
		assert_true(slice_eq(encoded_open(&e, i), slice_make(record.ptr, record.len - 1)));
		(void)buf_append_slice(&all, record);
		(void)buf_append_byte(&all, ',');
		assert_int_equal(encoded_offset(&e, i), 100 + i);
		assert_int_equal(encoded_find(&e, 100 + i), i);
		assert_int_equal(encoded_after(&e, i + 1), 101 + i);
	}
	assert_true(slice_eq(encoded_run(&e, 0, COUNT), slice_make(all.ptr, all.len - 1)));
	assert_int_equal(encoded_find(&e, 0), 0);
	assert_int_equal(encoded_find(&e, 105), COUNT);
	assert_int_equal(encoded_after(&e, 0), 100);
	assert_int_equal(encoded_run(&e, 2, 0).len, 0);
	assert_int_equal(encoded_fit(&e, 0, 1), 1);
	assert_int_equal(encoded_fit(&e, 0, 1 << 20), COUNT);
	assert_int_equal(encoded_fit(&e, 1, e.marks[3].at - e.marks[1].at), 2);
	assert_int_equal(encoded_fit(&e, 1, e.marks[3].at - e.marks[1].at - 1), 1);
	assert_int_equal(encoded_fit(&e, COUNT, 10), 0);
	encoded_release(&e);
	encode_cache_free(c);
	buf_fini(&all);
	buf_fini(&one);
}

static void frames_hold_the_record_and_its_cursor(void **state)
{
	static const struct {
		enum encode_form form;
		const char *before, *after;
	} forms[] = {{ENCODE_WS, "", "\"}"}, {ENCODE_WS_V1, "{\"record\":", "\"}}"}};
	uint8_t bytes[300000];
	char *large = mem_alloc(70001), *middle = mem_alloc(2001), cursor[CURSOR_ONE_MAX];
	const char *sized[COUNT] = {"1", middle, large, "2", ""};
	struct reader_view view;
	struct encode_cache *c;
	struct buf json, want;

	(void)state;
	memset(large, 'x', 70000);
	memset(middle, 'y', 2000);
	large[70000] = middle[2000] = '\0';
	view = view_of(bytes, 7, sized, COUNT, 0);
	buf_init(&json, 1 << 20);
	buf_init(&want, 1 << 20);
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	for (size_t f = 0; f < 2; f++) {
		struct encoded e = get(c, &view, forms[f].form);
		for (uint32_t i = 0; i < COUNT; i++) {
			struct slice record = expected_json(&view, i, &json);
			struct buf text;
			buf_init(&text, 1 << 20);
			(void)buf_append_str(&text, forms[f].before);
			(void)buf_append(&text, record.ptr, record.len - 1);
			(void)buf_append_str(&text, ",\"cursor\":\"");
			(void)buf_append_slice(&text, cursor_text(8 + i, cursor));
			(void)buf_append_str(&text, forms[f].after);
			buf_clear(&want);
			assert_int_equal(ws_frame_append(&want, WS_FIN | WS_TEXT, buf_slice(&text)), 0);
			assert_true(slice_eq(encoded_run(&e, i, 1), buf_slice(&want)));
			buf_fini(&text);
		}
		encoded_release(&e);
	}
	encode_cache_free(c);
	buf_fini(&json);
	buf_fini(&want);
	mem_free(large);
	mem_free(middle);
}

static void raw_frames_are_the_values(void **state)
{
	uint8_t bytes[4096];
	struct reader_view view = view_of(bytes, 0, values, COUNT, 0);
	struct encode_cache *c;
	struct encoded e;

	(void)state;
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	e = get(c, &view, ENCODE_WS_RAW);
	assert_true(slice_eq(encoded_run(&e, 0, 1), SLICE_LIT("\x81\x07{\"a\":1}")));
	assert_true(slice_eq(encoded_run(&e, 3, 1), slice_make("\x81\x00", 2)));
	assert_true(slice_eq(encoded_run(&e, 4, 1), SLICE_LIT("\x82\x02\xff\xfe")));
	encoded_release(&e);
	encode_cache_free(c);
}

static void events_carry_the_record_over_line_ends(void **state)
{
	uint8_t bytes[4096];
	struct reader_view view = view_of(bytes, 0, values, COUNT, 0);
	struct encode_cache *c;
	struct encoded e, data;
	char cursor[CURSOR_ONE_MAX];
	struct buf want;

	(void)state;
	buf_init(&want, 4096);
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	e = get(c, &view, ENCODE_SSE);
	data = get(c, &view, ENCODE_SSE_DATA);
	for (uint32_t i = 0; i < COUNT; i++) {
		struct slice d = encoded_run(&data, i, 1);
		buf_clear(&want);
		(void)buf_append_str(&want, "id: ");
		(void)buf_append_slice(&want, cursor_text(1 + i, cursor));
		(void)buf_append_byte(&want, '\n');
		(void)buf_append_slice(&want, d);
		assert_true(slice_eq(encoded_run(&e, i, 1), buf_slice(&want)));
		assert_true(slice_starts(d, SLICE_LIT("data: {\"topic\":\"t\",")));
		assert_true(d.ptr[d.len - 1] == '\n' && d.ptr[d.len - 2] == '\n');
	}
	assert_non_null(
		memmem(encoded_run(&data, 2, 1).ptr, encoded_run(&data, 2, 1).len, "[1,\ndata: 2]}\n\n", 15));
	encoded_release(&e);
	encoded_release(&data);
	encode_cache_free(c);
	buf_fini(&want);
}

static void a_batch_is_encoded_once_and_the_oldest_goes(void **state)
{
	static uint8_t bytes[64][1024];
	struct reader_view views[64], other;
	struct encode_cache *c;
	struct encoded held, e;
	struct encode_stats stats;
	uint64_t each;

	(void)state;
	for (int i = 0; i < 64; i++)
		views[i] = view_of(bytes[i], i * 10, values, COUNT, 0);
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	for (int i = 0; i < 1000; i++) {
		e = get(c, &views[0], ENCODE_WS);
		encoded_release(&e);
	}
	encode_cache_stats(c, &stats);
	assert_int_equal(stats.misses, 1);
	assert_int_equal(stats.hits, 999);
	each = stats.bytes;
	other = views[0];
	other.partition = (struct partition *)(void *)&ground[1];
	e = get(c, &other, ENCODE_WS);
	encoded_release(&e);
	e = get(c, &views[0], ENCODE_JSON);
	encoded_release(&e);
	encode_cache_stats(c, &stats);
	assert_int_equal(stats.misses, 3);
	encode_cache_free(c);

	assert_int_equal(encode_cache_new((size_t)each * 8 + each / 2, NULL, &c), 0);
	held = get(c, &views[0], ENCODE_WS);
	for (int i = 1; i < 64; i++) {
		e = get(c, &views[i], ENCODE_WS);
		encoded_release(&e);
		e = get(c, &views[1], ENCODE_WS); /* stays: it is used */
		encoded_release(&e);
	}
	encode_cache_stats(c, &stats);
	assert_true(stats.bytes <= each * 8 + each / 2);
	assert_true(stats.evicted >= 55);
	assert_int_equal(stats.misses, 64);
	/* Evicted, but held: still whole. */
	assert_int_equal(held.blob->refs, 1);
	assert_true(slice_starts(slice_from(encoded_run(&held, 0, 1), 4), SLICE_LIT("{\"topic\":\"t\"")));
	encoded_release(&held);
	encode_cache_free(c);
}

static void many_batches_stay_findable(void **state)
{
	uint8_t bytes[1024];
	struct encode_cache *c;
	struct encode_stats stats;

	(void)state;
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3000; i++) {
			struct reader_view view = view_of(bytes, i, values, COUNT, 0);
			for (int form = 0; form < ENCODE_FORMS; form++) {
				struct encoded e = get(c, &view, (enum encode_form)form);
				assert_int_equal(e.base, i);
				assert_int_equal(e.form, form);
				encoded_release(&e);
			}
		}
	}
	encode_cache_stats(c, &stats);
	assert_int_equal(stats.misses, 3000 * ENCODE_FORMS);
	assert_int_equal(stats.hits, 3000 * ENCODE_FORMS);
	encode_cache_free(c);
}

static void what_cannot_be_read_is_left_out_and_told(void **state)
{
	uint8_t bytes[4096];
	struct reader_view view = view_of(bytes, 0, values, COUNT, 0);
	struct encode_cache *c;
	struct encoded e;

	(void)state;
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	bytes[BATCH_HEAD_BYTES] = 0x7e; /* a length past the others */
	assert_int_equal(encode_cache_get(c, &view, ENCODE_JSON, &e), 0);
	assert_true(e.broken);
	assert_true(e.count < COUNT);
	assert_int_equal(e.next, COUNT);
	encoded_release(&e);
	view.batches.len = 20;
	assert_int_equal(encode_cache_get(c, &view, ENCODE_JSON, &e), ERR_MALFORMED);
	view = view_of(bytes, 50, values, COUNT, 0);
	bytes[22] |= 0x20; /* a control batch */
	assert_int_equal(encode_cache_get(c, &view, ENCODE_JSON, &e), 0);
	assert_false(e.broken);
	assert_int_equal(e.count, 0);
	assert_int_equal(encoded_after(&e, 0), 55); /* a reader moves on */
	assert_int_equal(e.next, 55);
	encoded_release(&e);
	encode_cache_free(c);
}

static void a_filter_asks_for_the_key(void **state)
{
	uint8_t bytes[4096];
	struct reader_view view = view_of(bytes, 20, values, COUNT, 0);
	struct reader_extra extra = {.has_key = true, .key = (uint8_t *)(uintptr_t) "odd", .key_len = 3};
	struct reader reader = {.extra = &extra};
	struct encode_filter f;

	(void)state;
	assert_int_equal(encode_filter_start(&f, &reader, view.batches), 0);
	assert_false(encode_filter_wants(&f, 20));
	assert_true(encode_filter_wants(&f, 21));
	assert_true(encode_filter_wants(&f, 23));
	assert_false(encode_filter_wants(&f, 24));
	assert_false(encode_filter_wants(&f, 25));
}

static void without_memory_nothing_is_kept_wrong(void **state)
{
	uint8_t bytes[4096];
	struct reader_view view = view_of(bytes, 0, values, COUNT, 0);
	int rc = ERR_NOMEM;

	(void)state;
	for (uint64_t nth = 1; nth < 40; nth++) {
		struct encode_cache *c;
		struct encoded e;
		assert_int_equal(encode_cache_new(0, NULL, &c), 0);
		mem_fail_at(nth);
		rc = encode_cache_get(c, &view, ENCODE_SSE, &e);
		mem_fail_at(0);
		if (rc == 0)
			encoded_release(&e);
		else
			assert_int_equal(rc, ERR_NOMEM);
		e = get(c, &view, ENCODE_SSE);
		encoded_release(&e);
		encode_cache_free(c);
	}
	assert_int_equal(rc, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_of_json_is_the_inside_of_an_array),
		cmocka_unit_test(frames_hold_the_record_and_its_cursor),
		cmocka_unit_test(raw_frames_are_the_values),
		cmocka_unit_test(events_carry_the_record_over_line_ends),
		cmocka_unit_test(a_batch_is_encoded_once_and_the_oldest_goes),
		cmocka_unit_test(many_batches_stay_findable),
		cmocka_unit_test(what_cannot_be_read_is_left_out_and_told),
		cmocka_unit_test(a_filter_asks_for_the_key),
		cmocka_unit_test(without_memory_nothing_is_kept_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
