/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/wire.h"
#include "proto/kafka/kafka_api.h"
#include "proto/kafka/kafka_frame.h"
#include "proto/kafka/kafka_records.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define FRAME_MAX 100000u

/* ---- frames ---- */

/* A line an event: the length of a frame and its bytes, or why there is none. */
static void feed(struct kafka_framer *f, struct slice piece, struct buf *trace)
{
	uint8_t *copy = mem_alloc(piece.len);
	enum kafka_frame_event event;
	size_t at = 0, taken;
	struct slice frame;

	assert_non_null(copy);
	memcpy(copy, piece.ptr, piece.len);
	for (;;) {
		event = kafka_framer_next(f, slice_make(copy + at, piece.len - at), &taken, &frame);
		at += taken;
		if (event == KAFKA_FRAME_MORE)
			break;
		buf_appendf(trace, "%d %d %zu ", (int)event, f->error, frame.len);
		buf_append_slice(trace, frame);
		buf_append_byte(trace, '\n');
	}
	assert_int_equal(at, piece.len);
	mem_free(copy);
}

static void run_cut(struct slice bytes, size_t first, size_t step, struct buf *trace)
{
	struct kafka_framer f;

	kafka_framer_init(&f, FRAME_MAX);
	for (size_t at = 0, n = first; at < bytes.len; at += n, n = step) {
		if (n > bytes.len - at)
			n = bytes.len - at;
		feed(&f, slice_make(bytes.ptr + at, n), trace);
		assert_true(kafka_framer_held(&f) <= 2 * (size_t)FRAME_MAX);
	}
	kafka_framer_fini(&f);
}

static void assert_frames(struct slice bytes, const char *expected)
{
	struct buf whole, cut;

	buf_init(&whole, 1u << 22);
	buf_init(&cut, 1u << 22);
	run_cut(bytes, bytes.len, bytes.len, &whole);
	if (expected) {
		buf_append_byte(&whole, 0);
		assert_string_equal((const char *)whole.ptr, expected);
		whole.len--;
	}
	for (size_t first = 1; first < bytes.len && first < 300; first++)
		for (size_t step = 1; step < 12; step += first < 12 ? 1 : 11) {
			buf_clear(&cut);
			run_cut(bytes, first, step, &cut);
			assert_true(slice_eq(buf_slice(&whole), buf_slice(&cut)));
		}
	buf_fini(&whole);
	buf_fini(&cut);
}

/* Frames of these sizes, one behind the other. */
static void make_frames(struct buf *to, const uint32_t *sizes, size_t count)
{
	for (size_t k = 0; k < count; k++) {
		uint8_t head[4];
		wire_put_u32(head, sizes[k]);
		buf_append(to, head, 4);
		for (uint32_t i = 0; i < sizes[k]; i++)
			buf_append_byte(to, (uint8_t)(sizes[k] + i * 7 + i / 251));
	}
}

static void frames_are_the_same_however_they_are_cut(void **state)
{
	struct buf large;

	(void)state;
	assert_frames(SLICE_LIT("\0\0\0\1a\0\0\0\3bcd\0\0\0\2ef"), "1 0 1 a\n1 0 3 bcd\n1 0 2 ef\n");
	assert_frames(SLICE_LIT("\0\0\0\4abcd\0\0\0\4abc"), "1 0 4 abcd\n");
	buf_init(&large, 1u << 20);
	make_frames(&large, (const uint32_t[]){1, 4, 13, 40, 121, 364}, 6);
	assert_frames(buf_slice(&large), NULL);
	buf_fini(&large);
}

/* Where the framer has room the bytes are put there, else they come from elsewhere. Gives how many were put. */
static size_t run_in_place(struct slice bytes, uint32_t seed, size_t least, size_t step, struct buf *trace)
{
	struct kafka_framer f;
	size_t put = 0;
	struct rand r;

	rand_seed(&r, seed);
	kafka_framer_init(&f, FRAME_MAX);
	while (bytes.len) {
		size_t n = 1 + (size_t)rand_below(&r, step), room;
		uint8_t *to = NULL;
		n = n < bytes.len ? n : bytes.len;
		room = kafka_framer_room(&f, least, &to);
		assert_true(room == 0 || room >= least);
		assert_true(room <= f.claimed - f.gathered.len || room == 0);
		assert_true(kafka_framer_held(&f) <= FRAME_MAX);
		if (room == 0 || rand_below(&r, 8) == 0) { /* nobody has to take the room */
			feed(&f, slice_make(bytes.ptr, n), trace);
		} else {
			enum kafka_frame_event event;
			struct slice frame;
			size_t taken;
			n = n < room ? n : room;
			memcpy(to, bytes.ptr, n);
			assert_true(kafka_framer_in_place(&f, slice_make(to, n)));
			assert_false(kafka_framer_in_place(&f, slice_make(bytes.ptr, n)));
			event = kafka_framer_next(&f, slice_make(to, n), &taken, &frame);
			assert_int_equal(taken, n);
			put += n;
			if (event == KAFKA_FRAME_GIVEN) {
				assert_ptr_equal(frame.ptr + frame.len,
						 to + n); /* it lies where it was put */
				assert_false(kafka_framer_in_place(&f, slice_make(to, n)));
				buf_appendf(trace, "%d %d %zu ", (int)event, f.error, frame.len);
				buf_append_slice(trace, frame);
				buf_append_byte(trace, '\n');
			}
		}
		bytes = slice_from(bytes, n);
	}
	kafka_framer_fini(&f);
	return put;
}

static void bytes_that_are_put_in_place_make_the_same_frames(void **state)
{
	static const uint32_t sizes[] = {100000, 1, 40000, 65536, 3, 65535, 32772, 700, 99999, 65540, 12};
	static const size_t leasts[] = {1, 100, 32768}, steps[] = {7, 900, 20000, 200000};
	struct buf bytes, whole, placed;

	(void)state;
	buf_init(&bytes, 1u << 20);
	buf_init(&whole, 1u << 20);
	buf_init(&placed, 1u << 20);
	make_frames(&bytes, sizes, COUNT(sizes));
	run_cut(buf_slice(&bytes), bytes.len, bytes.len, &whole);
	for (uint32_t i = 0; i < 60; i++) {
		size_t put;
		buf_clear(&placed);
		put = run_in_place(buf_slice(&bytes), i, leasts[i % 3], steps[i % 4], &placed);
		assert_true(steps[i % 4] == 200000 || put > 10000);
		assert_true(slice_eq(buf_slice(&whole), buf_slice(&placed)));
	}
	buf_fini(&bytes);
	buf_fini(&whole);
	buf_fini(&placed);
}

/* Room is asked for by who will read, who may be an attacker's: it follows the bytes, as all memory does. */
static void room_follows_the_bytes(void **state)
{
	static uint8_t bytes[1 << 16];
	struct kafka_framer f;
	struct slice frame;
	uint8_t *to;
	size_t taken;

	(void)state;
	kafka_framer_init(&f, 64u << 20);
	assert_int_equal(kafka_framer_room(&f, 1, &to), 0);
	assert_int_equal(kafka_framer_next(&f, SLICE_LIT("\3\0\0\0"), &taken, &frame), KAFKA_FRAME_MORE);
	assert_int_equal(kafka_framer_room(&f, 1, &to), 0);
	assert_int_equal(kafka_framer_held(&f), 0);
	assert_int_equal(kafka_framer_next(&f, slice_make(bytes, 1000), &taken, &frame), KAFKA_FRAME_MORE);
	assert_int_equal(kafka_framer_room(&f, 32768, &to), 0); /* and took no memory for it */
	assert_true(kafka_framer_held(&f) <= 2000);
	assert_int_equal(kafka_framer_next(&f, slice_make(bytes, sizeof(bytes)), &taken, &frame),
			 KAFKA_FRAME_MORE);
	for (size_t had = 1000 + sizeof(bytes); had < 16u << 20;) {
		size_t room = kafka_framer_room(&f, 32768, &to);
		assert_true(room >= 32768);
		assert_true(kafka_framer_held(&f) <= 4 * (had + 32768));
		memset(to, 'x', room);
		assert_int_equal(kafka_framer_next(&f, slice_make(to, room), &taken, &frame),
				 KAFKA_FRAME_MORE);
		had += room;
	}
	kafka_framer_fini(&f);
}

/* Without memory there is no room, and the bytes that do fit are taken as ever. */
static void no_memory_is_no_room(void **state)
{
	static uint8_t bytes[1 << 16];
	struct kafka_framer f;
	struct slice frame;
	uint8_t *to;
	size_t taken;

	(void)state;
	kafka_framer_init(&f, FRAME_MAX);
	assert_int_equal(kafka_framer_next(&f, SLICE_LIT("\0\1\x86\xa0"), &taken, &frame), KAFKA_FRAME_MORE);
	assert_int_equal(kafka_framer_next(&f, slice_make(bytes, 60000), &taken, &frame), KAFKA_FRAME_MORE);
	mem_fail_at(1);
	assert_int_equal(kafka_framer_room(&f, 32768, &to), 0);
	mem_fail_at(0);
	assert_int_equal(kafka_framer_next(&f, slice_make(bytes, 10), &taken, &frame), KAFKA_FRAME_MORE);
	assert_int_equal(kafka_framer_room(&f, 32768, &to), FRAME_MAX - 60010);
	assert_int_equal(kafka_framer_room(&f, FRAME_MAX - 60009, &to), 0); /* so much is not missing */
	assert_int_equal(kafka_framer_next(&f, slice_make(bytes, 40000), &taken, &frame), KAFKA_FRAME_GIVEN);
	assert_int_equal(taken, FRAME_MAX - 60010);
	assert_int_equal(kafka_framer_room(&f, 1, &to), 0);
	kafka_framer_fini(&f);
}

static void a_wrong_length_ends_it(void **state)
{
	char expected[64];

	(void)state;
	(void)snprintf(expected, sizeof(expected), "1 0 1 a\n2 %d 0 \n", ERR_MALFORMED);
	assert_frames(SLICE_LIT("\0\0\0\1a\0\0\0\0abcdefg\0\0\0\1a"), expected);
	assert_frames(SLICE_LIT("\0\0\0\1a\x80\0\0\1abcdefg\0\0\0\1a"), expected);
	(void)snprintf(expected, sizeof(expected), "1 0 1 a\n2 %d 0 \n", ERR_LIMIT);
	assert_frames(SLICE_LIT("\0\0\0\1a\0\1\x86\xa1"), expected);
	assert_frames(SLICE_LIT("\0\0\0\1a\x7f\xff\xff\xff"), expected);
	assert_frames(SLICE_LIT("\0\0\0\1a\0\1\x86\xa0"), "1 0 1 a\n");
}

/* A claim alone takes no memory, and a large frame's is given back. */
static void memory_follows_the_bytes(void **state)
{
	static uint8_t bytes[FRAME_MAX];
	struct kafka_framer f;
	struct slice frame;
	size_t taken;

	(void)state;
	kafka_framer_init(&f, FRAME_MAX);
	assert_int_equal(kafka_framer_next(&f, SLICE_LIT("\0\1\x86\xa0x"), &taken, &frame), KAFKA_FRAME_MORE);
	assert_true(kafka_framer_held(&f) < 1024);
	assert_int_equal(kafka_framer_next(&f, slice_make(bytes, FRAME_MAX - 1), &taken, &frame),
			 KAFKA_FRAME_GIVEN);
	assert_int_equal(frame.len, FRAME_MAX);
	assert_int_equal(taken, FRAME_MAX - 1);
	assert_true(kafka_framer_held(&f) >= FRAME_MAX);
	assert_int_equal(kafka_framer_next(&f, SLICE_LIT("\0\0\0\2x"), &taken, &frame), KAFKA_FRAME_MORE);
	assert_true(kafka_framer_held(&f) < 1024);
	mem_fail_at(1);
	kafka_framer_fini(&f);
	assert_int_equal(kafka_framer_next(&f, slice_make(bytes, 1), &taken, &frame), KAFKA_FRAME_FAIL);
	mem_fail_at(0);
	assert_int_equal(f.error, ERR_NOMEM);
	kafka_framer_fini(&f);
}

static void strangers_are_recognised(void **state)
{
	static const struct {
		struct slice bytes;
		const char *who;
	} rows[] = {
		{SLICE_LIT("GET / HTTP/1.1\r\n"), "HTTP"}, {SLICE_LIT("POST /v1/topics"), "HTTP"},
		{SLICE_LIT("PRI * HTTP/2.0"), "HTTP"},     {SLICE_LIT("\x16\x03\x01\x02\0\1"), "TLS"},
		{SLICE_LIT("SSH-2.0-Open"), NULL},
	};
	struct kafka_framer f;
	struct slice frame;
	size_t taken;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *who;
		kafka_framer_init(&f, FRAME_MAX);
		assert_int_equal(kafka_framer_next(&f, rows[i].bytes, &taken, &frame), KAFKA_FRAME_FAIL);
		who = kafka_framer_stranger(&f);
		assert_true(!who == !rows[i].who);
		if (who)
			assert_string_equal(who, rows[i].who);
		assert_true(f.claimed > FRAME_MAX);
		kafka_framer_fini(&f);
	}
}

/* ---- headers ---- */

struct header_row {
	struct slice frame;
	int error;
	int16_t key, version;
	struct slice client_id, body;
};

static const struct header_row headers[] = {
	/* version 1 of the header, 2 (flexible), and no client id */
	{SLICE_LIT("\0\3\0\1\0\0\0\7\0\2meBODY"), 0, 3, 1, SLICE_LIT("me"), SLICE_LIT("BODY")},
	{SLICE_LIT("\0\3\0\x09\0\0\0\7\0\2me\0BODY"), 0, 3, 9, SLICE_LIT("me"), SLICE_LIT("BODY")},
	{SLICE_LIT("\0\3\0\x09\0\0\0\7\xff\xff\0"), 0, 3, 9, {0}, {0}},
	{SLICE_LIT("\0\3\0\x09\0\0\0\7\xff\xff\1\x05\2xyBODY"), 0, 3, 9, {0}, SLICE_LIT("BODY")},
	/* ApiVersions asks with a flexible header too */
	{SLICE_LIT("\0\x12\0\3\0\0\0\7\0\1c\0BODY"), 0, 18, 3, SLICE_LIT("c"), SLICE_LIT("BODY")},
	/* told and not served, not told, not known: what is behind is not looked at */
	{SLICE_LIT("\0\0\0\0\0\0\0\7"), ERR_UNSUPPORTED_API, 0, 0, {0}, {0}},
	{SLICE_LIT("\0\0\0\2\0\0\0\7"), ERR_UNSUPPORTED_API, 0, 2, {0}, {0}},
	{SLICE_LIT("\0\0\0\x0d\0\0\0\7\xff\xfe"), ERR_UNSUPPORTED_API, 0, 13, {0}, {0}},
	{SLICE_LIT("\0\3\xff\xff\0\0\0\7"), ERR_UNSUPPORTED_API, 3, -1, {0}, {0}},
	{SLICE_LIT("\0\4\0\0\0\0\0\7"), ERR_UNSUPPORTED_API, 4, 0, {0}, {0}},
	{SLICE_LIT("\x7f\xff\0\0\0\0\0\7"), ERR_UNSUPPORTED_API, 32767, 0, {0}, {0}},
	{SLICE_LIT("\0\x12\0\x63\0\0\0\7"), ERR_UNSUPPORTED_API, 18, 99, {0}, {0}},
	/* cut short, and lengths that cannot be */
	{SLICE_LIT("\0\3\0\1\0\0\0"), ERR_MALFORMED, 0, 0, {0}, {0}},
	{SLICE_LIT("\0\3\0\1\0\0\0\7\0"), ERR_MALFORMED, 3, 1, {0}, {0}},
	{SLICE_LIT("\0\3\0\1\0\0\0\7\0\3me"), ERR_MALFORMED, 3, 1, {0}, {0}},
	{SLICE_LIT("\0\3\0\1\0\0\0\7\xff\xfe"), ERR_MALFORMED, 3, 1, {0}, {0}},
	{SLICE_LIT("\0\3\0\x09\0\0\0\7\0\2me"), ERR_MALFORMED, 3, 9, {0}, {0}},
	{SLICE_LIT("\0\3\0\x09\0\0\0\7\0\2me\1\5\3xy"), ERR_MALFORMED, 3, 9, {0}, {0}},
};

static void headers_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(headers); i++) {
		const struct header_row *row = &headers[i];
		struct kafka_header h;
		struct slice body;
		int rc = kafka_header_read(row->frame, &h, &body);
		if (rc != row->error)
			fail_msg("row %zu: %d, not %d", i, rc, row->error);
		if (rc == 0 || rc == ERR_UNSUPPORTED_API) {
			assert_int_equal(h.key, row->key);
			assert_int_equal(h.version, row->version);
			assert_int_equal(h.correlation, 7);
		}
		if (rc == 0) {
			assert_true(!h.client_id.ptr == !row->client_id.ptr &&
				    slice_eq(h.client_id, row->client_id));
			assert_true(slice_eq(body, row->body));
			assert_ptr_equal(h.api, kafka_api_find(h.key));
		}
	}
}

static void a_response_answers_its_request(void **state)
{
	struct kafka_header h = {.api = kafka_api_find(KAFKA_HEARTBEAT),
				 .key = KAFKA_HEARTBEAT,
				 .version = 4};
	struct kafka_heartbeat_response out, r = {.throttle_time_ms = 5, .error_code = 27};
	struct arena arena;
	struct buf wire;

	(void)state;
	h.correlation = -3;
	arena_init(&arena, 1024, 1024);
	buf_init(&wire, 100);
	assert_int_equal(kafka_response_write(&h, &r, &wire, NULL), 0);
	assert_true(slice_eq(buf_slice(&wire), SLICE_LIT("\0\0\0\x0c\xff\xff\xff\xfd\0\0\0\0\5\0\x1b\0")));
	assert_int_equal(kafka_response_read(&h, slice_from(buf_slice(&wire), 4), &arena, &out), 0);
	assert_true(out.error_code == 27 && out.throttle_time_ms == 5);
	assert_int_equal(kafka_response_read(&h, SLICE_LIT("\xff\xff\xff"), &arena, &out), ERR_MALFORMED);
	assert_int_equal(kafka_response_read(&h, SLICE_LIT("\xff\xff\xff\xfd\1\1"), &arena, &out),
			 ERR_MALFORMED);
	h.correlation = 3;
	assert_int_equal(kafka_response_read(&h, slice_from(buf_slice(&wire), 4), &arena, &out),
			 ERR_PROTOCOL);
	buf_fini(&wire);
	arena_fini(&arena);
}

static void a_request_without_room_is_taken_back(void **state)
{
	static uint8_t name[40000];
	struct kafka_header h = {.api = kafka_api_find(KAFKA_HEARTBEAT),
				 .key = KAFKA_HEARTBEAT,
				 .version = 4};
	struct kafka_heartbeat_request q = {.group_id = SLICE_LIT("group")};
	struct buf wire;

	(void)state;
	buf_init(&wire, 20);
	assert_int_equal(kafka_request_write(&h, &q, &wire), ERR_LIMIT);
	assert_int_equal(wire.len, 0);
	assert_int_equal(buf_status(&wire), 0);
	buf_append_byte(&wire, 'x');
	h.client_id = slice_make(name, sizeof(name));
	assert_int_equal(kafka_request_write(&h, &q, &wire), ERR_LIMIT);
	assert_int_equal(wire.len, 1);
	buf_append(&wire, name, 40); /* an error of before is given again */
	assert_int_equal(kafka_request_write(&h, &q, &wire), ERR_LIMIT);
	assert_int_equal(kafka_response_write(&h, &q, &wire, NULL), ERR_LIMIT);
	assert_int_equal(wire.len, 1);
	buf_fini(&wire);
}

/* ---- ApiVersions ---- */

static const struct kafka_api_versions_response_api_key *told_of(const struct kafka_api_versions_response *r,
								 int key)
{
	for (size_t i = 0; i < r->api_keys_count; i++)
		if (r->api_keys[i].api_key == key)
			return &r->api_keys[i];
	fail();
	return NULL;
}

/* What librdkafka up to 2.11 asks for by exact version, silently doing less where it is not told. */
static void versions_are_those_that_clients_look_for(void **state)
{
	static const struct {
		int16_t key, version;
	} wanted[] = {{KAFKA_PRODUCE, 0},
		      {KAFKA_PRODUCE, 3},
		      {KAFKA_PRODUCE, 7},
		      {KAFKA_FETCH, 4},
		      {KAFKA_FETCH, 10},
		      {KAFKA_FIND_COORDINATOR, 0},
		      {KAFKA_OFFSET_COMMIT, 2},
		      {KAFKA_OFFSET_FETCH, 1},
		      {KAFKA_JOIN_GROUP, 0},
		      {KAFKA_SYNC_GROUP, 0},
		      {KAFKA_HEARTBEAT, 0},
		      {KAFKA_LEAVE_GROUP, 0},
		      {KAFKA_LIST_OFFSETS, 1},
		      {KAFKA_INIT_PRODUCER_ID, 0},
		      {KAFKA_SASL_HANDSHAKE, 0},
		      {KAFKA_SASL_HANDSHAKE, 1},
		      {KAFKA_SASL_AUTHENTICATE, 0},
		      {KAFKA_METADATA, 0}};
	struct kafka_api_versions_response r;

	(void)state;
	kafka_versions_answer(&r);
	assert_int_equal(r.error_code, 0);
	assert_int_equal(r.api_keys_count, KAFKA_APIS_COUNT);
	assert_int_equal(r.finalized_features_epoch, -1);
	for (size_t i = 0; i < COUNT(wanted); i++) {
		const struct kafka_api_versions_response_api_key *k = told_of(&r, wanted[i].key);
		assert_in_range(wanted[i].version, k->min_version, k->max_version);
	}
	assert_int_equal(kafka_api_find(KAFKA_PRODUCE)->served, 3);
}

static void the_table_is_in_order(void **state)
{
	(void)state;
	for (size_t i = 0; i < KAFKA_APIS_COUNT; i++) {
		const struct kafka_api *api = &kafka_apis[i];
		assert_true(i == 0 || kafka_apis[i - 1].key < api->key);
		assert_ptr_equal(kafka_api_find(api->key), api);
		assert_true(api->from <= api->served && api->served <= api->to);
	}
	assert_null(kafka_api_find(-1));
	assert_null(kafka_api_find(4));
	assert_null(kafka_api_find(1000));
}

/* KIP-511: version 0, error 35, its own range. */
static void an_unknown_version_of_api_versions_is_answered(void **state)
{
	struct kafka_api_versions_response r;
	struct kafka_header h;
	struct slice body;
	struct buf wire;

	(void)state;
	buf_init(&wire, 100);
	assert_int_equal(kafka_header_read(SLICE_LIT("\0\x12\0\x63\0\0\0\7\0\1c\0\1\2"), &h, &body),
			 ERR_UNSUPPORTED_API);
	assert_int_equal(h.key, KAFKA_API_VERSIONS);
	kafka_versions_unsupported(&h, &r);
	assert_int_equal(kafka_response_write(&h, &r, &wire, NULL), 0);
	assert_true(slice_eq(buf_slice(&wire), SLICE_LIT("\0\0\0\x10\0\0\0\7\0\x23\0\0\0\1\0\x12\0\0\0\4")));
	buf_fini(&wire);
}

/* ---- records ---- */

/* A head of a batch: its length, magic and attributes; the rest is not looked at. */
static struct slice batch(uint8_t *to, uint32_t length, uint8_t magic, uint8_t codec, size_t bytes)
{
	memset(to, 0, 200);
	wire_put_u32(to + 8, length);
	to[16] = magic;
	to[22] = codec;
	return slice_make(to, bytes);
}

static void only_one_batch_of_magic_2_is_taken(void **state)
{
	uint8_t b[200];

	(void)state;
	assert_int_equal(kafka_records_check(batch(b, 60, 2, 0, 72), 3), 0);
	assert_int_equal(kafka_records_check(batch(b, 49, 2, 0, 61), 3), 0);
	assert_int_equal(kafka_records_check(slice_null(), 3), ERR_BAD_RECORD);
	assert_int_equal(kafka_records_check(batch(b, 60, 0, 0, 72), 3), ERR_BAD_RECORD);
	assert_int_equal(kafka_records_check(batch(b, 60, 1, 0, 72), 3), ERR_BAD_RECORD);
	assert_int_equal(kafka_records_check(batch(b, 60, 3, 0, 72), 3), ERR_BAD_RECORD);
	assert_int_equal(kafka_records_check(batch(b, 60, 2, 0, 73), 3), ERR_BAD_RECORD);
	assert_int_equal(kafka_records_check(batch(b, 60, 2, 0, 71), 3), ERR_CORRUPT);
	assert_int_equal(kafka_records_check(batch(b, 60, 2, 0, 16), 3), ERR_CORRUPT);
	assert_int_equal(kafka_records_check(batch(b, 48, 2, 0, 60), 3), ERR_CORRUPT);
	assert_int_equal(kafka_records_check(batch(b, 0xffffffff, 2, 0, 72), 3), ERR_CORRUPT);
	assert_int_equal(kafka_records_check(batch(b, 60, 2, 4, 72), 6), ERR_BAD_ENCODING);
	assert_int_equal(kafka_records_check(batch(b, 60, 2, 4, 72), 7), 0);
	assert_int_equal(kafka_records_check(batch(b, 60, 2, 3, 72), 3), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_are_the_same_however_they_are_cut),
		cmocka_unit_test(bytes_that_are_put_in_place_make_the_same_frames),
		cmocka_unit_test(room_follows_the_bytes),
		cmocka_unit_test(no_memory_is_no_room),
		cmocka_unit_test(a_wrong_length_ends_it),
		cmocka_unit_test(memory_follows_the_bytes),
		cmocka_unit_test(strangers_are_recognised),
		cmocka_unit_test(headers_are_read),
		cmocka_unit_test(a_response_answers_its_request),
		cmocka_unit_test(a_request_without_room_is_taken_back),
		cmocka_unit_test(versions_are_those_that_clients_look_for),
		cmocka_unit_test(the_table_is_in_order),
		cmocka_unit_test(an_unknown_version_of_api_versions_is_answered),
		cmocka_unit_test(only_one_batch_of_magic_2_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
