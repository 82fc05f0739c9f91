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

/* A batch in another codec; the memory is the test's. */
struct packed {
	struct codec *codec;
	struct buf scratch, bytes;
};

static struct reader_view pack(struct packed *p, const struct reader_view *view, enum batch_codec codec)
{
	struct reader_view out = *view;

	if (!p->codec) {
		assert_int_equal(codec_new(&p->codec), 0);
		buf_init(&p->scratch, BATCH_PLAIN_BYTES_MAX);
		buf_init(&p->bytes, BATCH_PLAIN_BYTES_MAX);
	}
	buf_clear(&p->bytes);
	assert_int_equal(batch_recode(p->codec, view->batches, codec, 0, &p->scratch, &p->bytes), 0);
	out.batches = buf_slice(&p->bytes);
	return out;
}

static void packed_fini(struct packed *p)
{
	codec_free(p->codec);
	buf_fini(&p->scratch);
	buf_fini(&p->bytes);
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
	struct encode_cache *c;
	struct encode_filter f;
	struct packed packed = {0};

	(void)state;
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(encode_filter_start(&f, c, &reader, &view), 0);
		assert_false(encode_filter_wants(&f, 20));
		assert_true(encode_filter_wants(&f, 21));
		assert_true(encode_filter_wants(&f, 23));
		assert_false(encode_filter_wants(&f, 24));
		assert_false(encode_filter_wants(&f, 25));
		view = pack(&packed, &view, BATCH_LZ4);
	}
	packed_fini(&packed);
	encode_cache_free(c);
}

/* ---- compressed batches ---- */

static void compressed_batches_are_encoded_as_plain_ones(void **state)
{
	uint8_t bytes[4096];
	struct reader_view view = view_of(bytes, 7, values, COUNT, 0), other;
	struct packed packed = {0};

	(void)state;
	for (int i = 0; i < 4 * ENCODE_FORMS; i++) {
		enum encode_form form = (enum encode_form)(i % ENCODE_FORMS);
		struct encode_cache *c;
		struct encoded plain, e;
		assert_int_equal(encode_cache_new(0, NULL, &c), 0);
		plain = get(c, &view, form);
		other = pack(&packed, &view, (enum batch_codec)(1 + i / ENCODE_FORMS));
		other.partition = (struct partition *)(void *)&ground[1];
		e = get(c, &other, form);
		assert_true(slice_eq(blob_slice(plain.blob), blob_slice(e.blob)));
		for (uint32_t k = 0; k < COUNT; k++)
			assert_int_equal(encoded_offset(&e, k), encoded_offset(&plain, k));
		encoded_release(&plain);
		encoded_release(&e);
		encode_cache_free(c);
	}
	packed_fini(&packed);
}

static void what_cannot_be_inflated_is_told(void **state)
{
	uint8_t bytes[4096];
	struct reader_view plain = view_of(bytes, 7, values, COUNT, 0), view;
	struct packed packed = {0};
	struct encode_cache *c;
	struct encoded e;

	(void)state;
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	for (enum batch_codec codec = BATCH_GZIP; codec <= BATCH_ZSTD; codec++) {
		view = pack(&packed, &plain, codec);
		packed.bytes.ptr[BATCH_HEAD_BYTES + 1] ^= 0xff;
		view.from = 9;
		assert_int_equal(encode_cache_get(c, &view, ENCODE_JSON, &e), 0);
		assert_true(e.broken);
		assert_int_equal(e.count, 0);
		assert_int_equal(e.next, 7 + COUNT);
		assert_int_equal(e.batch_bytes, view.batches.len);
		encoded_release(&e);
	}
	packed_fini(&packed);
	encode_cache_free(c);
}

static void a_batch_written_anew_is_not_taken_for_the_old_one(void **state)
{
	uint8_t bytes[4096], fewer_bytes[4096];
	struct reader_view view = view_of(bytes, 7, values, COUNT, 0);
	struct reader_view fewer = view_of(fewer_bytes, 7, values, 3, 0), other;
	struct packed packed = {0};
	struct encode_cache *c;
	struct encoded e;

	(void)state;
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	e = get(c, &view, ENCODE_JSON);
	encoded_release(&e);
	other = pack(&packed, &view, BATCH_GZIP);
	e = get(c, &other, ENCODE_JSON); /* batch_bytes are of this one */
	encoded_release(&e);
	assert_int_equal(encode_cache_get(c, &fewer, ENCODE_JSON, &e), 0);
	assert_int_equal(e.count, 3);
	assert_int_equal(e.batch_bytes, fewer.batches.len);
	encoded_release(&e);
	packed_fini(&packed);
	encode_cache_free(c);
}

/* One tenant's batch may have the checksum of another's: it is still another. */
static void what_was_inflated_is_known_by_its_topic(void **state)
{
	struct topic other_topic = {.name = "o", .id = {{9}}};
	uint8_t bytes[4096], others_bytes[4096];
	static const char *const others[] = {"secret"};
	struct reader_view view = view_of(bytes, 7, values, 1, 0),
			   other = view_of(others_bytes, 7, others, 1, 1);
	struct packed packed = {0}, other_packed = {0};
	struct encode_cache *c;
	struct batch_walk walk;
	struct batch_record r;

	(void)state;
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	view = pack(&packed, &view, BATCH_GZIP);
	other = pack(&other_packed, &other, BATCH_GZIP);
	other.topic = &other_topic;
	memcpy(other_packed.bytes.ptr + 17, packed.bytes.ptr + 17, 4);
	memcpy(other_packed.bytes.ptr, packed.bytes.ptr, 8);
	assert_int_equal(unpacker_walk(encode_cache_unpacker(c), &other, &walk), 0);
	assert_int_equal(unpacker_walk(encode_cache_unpacker(c), &view, &walk), 0);
	assert_int_equal(batch_walk_next(&walk, &r), 1);
	assert_true(slice_eq_str(r.value, values[0]));
	packed_fini(&packed);
	packed_fini(&other_packed);
	encode_cache_free(c);
}

#define MANY 6000

/* Six megabytes that compress to nearly nothing: in parts, from wherever a reader stands. */
static void a_large_batch_is_encoded_in_parts(void **state)
{
	static char text[1000];
	static const char *many[MANY];
	uint8_t *bytes = mem_alloc((size_t)MANY * 1100);
	struct packed packed = {0};
	struct reader_view view;
	struct encode_cache *c;
	struct encoded e;

	(void)state;
	assert_non_null(bytes);
	memset(text, 'x', sizeof(text) - 1);
	for (int i = 0; i < MANY; i++)
		many[i] = text;
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	view = view_of(bytes, 100, many, MANY, 0);
	view = pack(&packed, &view, BATCH_ZSTD);
	assert_true(view.batches.len < 100000);
	for (int from = 100; from <= 100 + 3333; from += 3333) {
		int parts = 0;
		view.from = from;
		do {
			assert_int_equal(encode_cache_get(c, &view, ENCODE_JSON, &e), 0);
			assert_int_equal(encoded_offset(&e, 0), view.from);
			assert_int_equal(encoded_find(&e, view.from), 0);
			assert_true(e.blob->len < (3u << 20));
			assert_int_equal(encoded_offset(&e, e.count - 1), e.next - 1);
			view.from = e.next;
			encoded_release(&e);
			parts++;
		} while (e.batch_bytes == 0);
		assert_int_equal(e.batch_bytes, view.batches.len);
		assert_int_equal(e.next, 100 + MANY);
		assert_true(parts >= 2);
	}
	view.from = 100;
	assert_int_equal(encode_cache_get(c, &view, ENCODE_JSON, &e), 0);
	assert_false(e.made);
	encoded_release(&e);
	unpacker_trim(encode_cache_unpacker(c));
	assert_int_equal(encode_cache_unpacker(c)->bytes.cap, 0);
	packed_fini(&packed);
	encode_cache_free(c);
	mem_free(bytes);
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

/* As compaction leaves a batch: the same base, fewer records, and another length. */
static void a_batch_that_was_rewritten_is_encoded_anew(void **state)
{
	uint8_t before[4096], after[4096];
	struct reader_view old = view_of(before, 40, values, COUNT, 0);
	struct reader_view fresh = view_of(after, 40, values, 2, 0);
	struct encode_cache *c;
	struct encoded e;

	(void)state;
	assert_int_equal(encode_cache_new(0, NULL, &c), 0);
	e = get(c, &old, ENCODE_JSON);
	encoded_release(&e);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(encode_cache_get(c, &fresh, ENCODE_JSON, &e), 0);
		assert_int_equal(e.count, 2);
		assert_int_equal(e.batch_bytes, fresh.batches.len);
		assert_int_equal(e.made, i == 0);
		encoded_release(&e);
	}
	e = get(c, &old, ENCODE_JSON);
	encoded_release(&e);
	encode_cache_free(c);
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
		cmocka_unit_test(a_batch_that_was_rewritten_is_encoded_anew),
		cmocka_unit_test(compressed_batches_are_encoded_as_plain_ones),
		cmocka_unit_test(what_cannot_be_inflated_is_told),
		cmocka_unit_test(a_batch_written_anew_is_not_taken_for_the_old_one),
		cmocka_unit_test(what_was_inflated_is_known_by_its_topic),
		cmocka_unit_test(a_large_batch_is_encoded_in_parts),
		cmocka_unit_test(without_memory_nothing_is_kept_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
