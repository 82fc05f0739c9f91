/* SPDX-License-Identifier: Apache-2.0 */
/* What is written is read: each message, tagged fields, kinds, what a version lacks. */
#include "proto/kafka/kafka_message_world_test.h"

static size_t bytes_of_kind(uint8_t kind)
{
	switch (kind) {
	case KAFKA_UUID:
	case KAFKA_TEXT:
	case KAFKA_BYTES:
	case KAFKA_LIST:
	case KAFKA_ARRAY:
		return 16;
	case KAFKA_RECORDS:
		return sizeof(struct kafka_records);
	case KAFKA_PART:
		return sizeof(void *);
	default:
		return (size_t[]){1, 1, 2, 4, 8, 8}[kind];
	}
}

/* No member without a row, no deeper nesting than the stack was thought for. */
static void check_layout(const struct kafka_layout *layout, int depth)
{
	size_t end = 0;
	int tag = 0;

	assert_true(depth < 6);
	for (size_t i = 0; i < layout->fields_count; i++) {
		const struct kafka_field *f = &layout->fields[i];
		assert_true(f->offset >= end && f->offset - end < 8);
		end = f->offset + bytes_of_kind(f->kind);
		assert_true(f->tag == 0 || f->tag > tag);
		tag = f->tag ? f->tag : tag;
		assert_true(f->from <= f->to);
		assert_true(f->kind != KAFKA_PART || f->tag);
		if (f->of)
			check_layout(f->of, depth + 1);
	}
	assert_true(layout->bytes >= end && layout->bytes - end < 8);
}

static void tables_cover_their_structs(void **state)
{
	(void)state;
	for (size_t i = 0; i < KAFKA_APIS_COUNT; i++) {
		check_layout(kafka_apis[i].request, 0);
		check_layout(kafka_apis[i].response, 0);
	}
}

static void check_round_trip(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
			     uint64_t seed)
{
	make(w, layout, format, RANDOM, seed);
	write_made(w, layout, format);
	assert_int_equal(read_exact(w, layout, format, buf_slice(&w->wire), true), 0);
}

static void check_prefixes(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
			   uint64_t seed)
{
	make(w, layout, format, seed & 1 ? FULL : RANDOM, seed);
	write_made(w, layout, format);
	for (size_t n = 0; n < w->wire.len; n++)
		assert_int_equal(read_exact(w, layout, format, slice_make(w->wire.ptr, n), false),
				 ERR_MALFORMED);
	/* what is left over is nobody's, as in Kafka */
	assert_int_equal(buf_append_byte(&w->wire, 0), 0);
	assert_int_equal(read_exact(w, layout, format, buf_slice(&w->wire), true), 0);
}

/* Whatever a damaged message is read as can be written and read again. */
static void check_damage(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
			 uint64_t seed)
{
	struct buf again;
	struct rand r;

	make(w, layout, format, FULL, seed);
	write_made(w, layout, format);
	buf_init(&again, 1u << 20);
	rand_seed(&r, seed);
	for (int i = 0; i < 40; i++) {
		size_t at = (size_t)rand_below(&r, w->wire.len);
		uint8_t before = w->wire.ptr[at];
		w->wire.ptr[at] = (uint8_t)(i & 1 ? rand_next(&r) : 0xff);
		arena_reset(&w->read);
		if (kafka_layout_read(layout, format, buf_slice(&w->wire), &w->read, w->got) == 0) {
			buf_clear(&again);
			assert_int_equal(kafka_layout_write(layout, format, w->got, &again, NULL), 0);
			memcpy(w->made, w->got, sizeof(w->made));
			arena_reset(&w->arena);
			assert_int_equal(kafka_layout_read(layout, format, buf_slice(&again), &w->arena,
							   w->got),
					 0);
			assert_true(same_struct(layout, w->made, w->got));
		}
		w->wire.ptr[at] = before;
	}
	buf_fini(&again);
}

static void what_is_written_is_read(void **state)
{
	for_each_message(*state, check_round_trip, 20);
}

static void prefixes_are_refused(void **state)
{
	for_each_message(*state, check_prefixes, 2);
}

static void damage_is_refused_or_read(void **state)
{
	for_each_message(*state, check_damage, 3);
}

/* Replaces the empty tags at the end of a bare message. */
static int read_with_tags(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
			  struct slice tags, bool compare)
{
	make(w, layout, format, BARE, 0);
	write_made(w, layout, format);
	assert_int_equal(w->wire.ptr[w->wire.len - 1], 0);
	w->wire.len--;
	buf_append_slice(&w->wire, tags);
	return read_exact(w, layout, format, buf_slice(&w->wire), compare);
}

static void check_tags(struct world *w, const struct kafka_layout *layout, struct kafka_format format,
		       uint64_t seed)
{
	static const struct slice refused[] = {
		SLICE_LIT("\x02\x64\x00\x64\x00"),             /* twice */
		SLICE_LIT("\x02\x65\x00\x64\x00"),             /* out of order */
		SLICE_LIT("\x01\x64\x04"                       /* longer than */
			  "abc"),                              /* what is there */
		SLICE_LIT("\x02\x64\x00"),                     /* one too few */
		SLICE_LIT("\xff\xff\xff\xff\x0f\x64\x00"),     /* far too few */
		SLICE_LIT("\xff\xff\xff\xff\x10"),             /* a count over 32 bits */
		SLICE_LIT("\x01\x64\xff\xff\xff\xff\xff\x01"), /* a size of six bytes */
	};
	struct slice unknown = SLICE_LIT("\x02\x64\x03"
					 "abc\xff\xff\xff\xff\x0f\x00");

	(void)seed;
	if (!format.flexible)
		return;
	assert_int_equal(read_with_tags(w, layout, format, unknown, true), 0);
	for (size_t i = 0; i < COUNT(refused); i++)
		assert_int_equal(read_with_tags(w, layout, format, refused[i], false), ERR_MALFORMED);
}

static void unknown_tags_are_stepped_over_in_order(void **state)
{
	for_each_message(*state, check_tags, 1);
}

static void a_known_tag_fills_its_size(void **state)
{
	struct kafka_format format = {.version = 12, .flexible = true};
	const struct kafka_layout *layout = &kafka_fetch_request_layout;
	struct world *w = *state;
	struct kafka_fetch_request *q = (struct kafka_fetch_request *)w->got;

	assert_int_equal(read_with_tags(w, layout, format, SLICE_LIT("\x01\x00\x04\x04nme"), false), 0);
	assert_int_equal(kafka_layout_read(layout, format, buf_slice(&w->wire), &w->read, q), 0);
	assert_true(slice_eq_str(q->cluster_id, "nme"));
	assert_int_equal(read_with_tags(w, layout, format, SLICE_LIT("\x01\x00\x05\x04nmex"), false),
			 ERR_MALFORMED);
	assert_int_equal(read_with_tags(w, layout, format, SLICE_LIT("\x01\x00\x03\x04nm"), false),
			 ERR_MALFORMED);
}

struct odd {
	double real;
	bool flag;
	const double *reals;
	size_t reals_count;
	double tagged;
	struct kafka_uuid uuid;
	struct slice note;
	const int16_t *shorts;
	size_t shorts_count;
};

static const struct kafka_field odd_fields[] = {
	{.name = "real", .kind = KAFKA_FLOAT64, .offset = offsetof(struct odd, real), .to = 9},
	{.name = "flag", .kind = KAFKA_BOOL, .offset = offsetof(struct odd, flag), .to = 9},
	{.name = "reals",
	 .kind = KAFKA_LIST,
	 .item = KAFKA_FLOAT64,
	 .offset = offsetof(struct odd, reals),
	 .to = 9},
	{.name = "tagged",
	 .kind = KAFKA_FLOAT64,
	 .offset = offsetof(struct odd, tagged),
	 .to = 9,
	 .tag = 1,
	 .value = 2},
	{.name = "uuid", .kind = KAFKA_UUID, .offset = offsetof(struct odd, uuid), .to = 9, .tag = 2},
	{.name = "note", .kind = KAFKA_TEXT, .offset = offsetof(struct odd, note), .to = 9, .tag = 3},
	{.name = "shorts",
	 .kind = KAFKA_LIST,
	 .item = KAFKA_INT16,
	 .offset = offsetof(struct odd, shorts),
	 .to = 9,
	 .tag = 4},
};
static const struct kafka_layout odd_layout = {.name = "odd",
					       .fields = odd_fields,
					       .fields_count = COUNT(odd_fields),
					       .bytes = sizeof(struct odd)};

static void every_kind_can_stand_anywhere(void **state)
{
	static const struct slice plain = SLICE_LIT("\x3f\xf8\0\0\0\0\0\0\1\2\x7f\xf0\0\0\0\0\0\0\0");
	struct kafka_format format = {.version = 1, .flexible = true};
	struct world *w = *state;
	struct odd *made = (struct odd *)w->made, *got = (struct odd *)w->got;
	double infinity = __builtin_inf();
	int16_t shorts[] = {-1, 2};

	kafka_layout_default(&odd_layout, made, 1);
	assert_true(made->tagged == 2 && made->note.ptr && made->note.len == 0);
	made->real = 1.5;
	made->flag = true;
	made->reals = &infinity;
	made->reals_count = 1;
	write_made(w, &odd_layout, format);
	assert_true(slice_eq(buf_slice(&w->wire), plain));
	assert_int_equal(read_exact(w, &odd_layout, format, plain, true), 0);
	assert_true(got->real == 1.5 && got->tagged == 2);
	made->tagged = -0.25;
	made->uuid.bytes[15] = 7;
	made->note = SLICE_LIT("x");
	made->shorts = shorts;
	made->shorts_count = 2;
	write_made(w, &odd_layout, format);
	assert_int_equal(w->wire.len, plain.len + 10 + 18 + 4 + 7);
	assert_int_equal(read_exact(w, &odd_layout, format, buf_slice(&w->wire), true), 0);
	w->wire.ptr[8] = 0x80; /* any byte but 0 is true */
	assert_int_equal(read_exact(w, &odd_layout, format, buf_slice(&w->wire), true), 0);
}

static void what_a_version_lacks_has_its_default(void **state)
{
	struct world *w = *state;
	struct kafka_fetch_request *q = (struct kafka_fetch_request *)w->got;
	struct kafka_metadata_request *m = (struct kafka_metadata_request *)w->got;
	struct kafka_fetch_response_partition *p;

	make(w, &kafka_fetch_request_layout, (struct kafka_format){4, false}, BARE, 0);
	write_made(w, &kafka_fetch_request_layout, (struct kafka_format){4, false});
	assert_int_equal(read_exact(w, &kafka_fetch_request_layout, (struct kafka_format){4, false},
				    buf_slice(&w->wire), false),
			 0);
	assert_int_equal(q->session_epoch, -1);
	assert_true(!q->cluster_id.ptr && q->rack_id.ptr && q->forgotten_topics_data &&
		    !q->forgotten_topics_data_count);
	assert_int_equal(read_exact(w, &kafka_metadata_request_layout, (struct kafka_format){0, false},
				    SLICE_LIT("\0\0\0\0"), false),
			 0);
	assert_true(m->allow_auto_topic_creation);
	p = kafka_layout_array(&kafka_fetch_response_partition_layout, &w->arena, 2);
	assert_non_null(p);
	assert_true(p[1].log_start_offset == -1 && p[1].preferred_read_replica == -1 && !p[1].current_leader);
	assert_non_null(kafka_layout_array(&kafka_fetch_response_partition_layout, &w->arena, 0));
	assert_null(kafka_layout_array(&kafka_fetch_response_partition_layout, &w->arena, SIZE_MAX / 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_cover_their_structs),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(prefixes_are_refused),
		cmocka_unit_test(damage_is_refused_or_read),
		cmocka_unit_test(unknown_tags_are_stepped_over_in_order),
		cmocka_unit_test(a_known_tag_fills_its_size),
		cmocka_unit_test(every_kind_can_stand_anywhere),
		cmocka_unit_test(what_a_version_lacks_has_its_default),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
