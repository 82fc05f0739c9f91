/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First byte: the seed of the cuts. What follows is what a connection sends. The
 * frames must be the same whole, cut, and put in place; each is read as a request, and one that
 * can be read is written again and read as the same.
 */
#include "base/check.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "proto/kafka/kafka_api.h"
#include "proto/kafka/kafka_frame.h"
#include "proto/kafka/kafka_records.h"

#define FRAME_MAX 5000u
#define STRUCT_BYTES_MAX 256u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything that the events said, as one number. */
struct trace {
	struct hash_key key;
	uint64_t events;
};

/* A response of defaults to a request that could be read, written and read. */
static void check_answer(const struct kafka_header *h, const void *response, struct arena *arena)
{
	_Alignas(16) uint8_t body[STRUCT_BYTES_MAX];
	struct buf to;

	buf_init(&to, 1u << 20);
	CHECK(kafka_response_write(h, response, &to, NULL) == 0);
	CHECK(kafka_response_read(h, slice_from(buf_slice(&to), 4), arena, body) == 0);
	buf_fini(&to);
}

static void check_request(const struct kafka_header *h, struct slice bytes, struct arena *arena)
{
	_Alignas(16) uint8_t body[STRUCT_BYTES_MAX];
	struct kafka_header again;
	struct buf to;

	if (kafka_request_read(h, bytes, arena, body))
		return;
	buf_init(&to, 1u << 20);
	CHECK(kafka_request_write(h, body, &to) == 0);
	CHECK(kafka_header_read(slice_from(buf_slice(&to), 4), &again, &bytes) == 0);
	CHECK(again.key == h->key && again.version == h->version && again.correlation == h->correlation);
	CHECK(slice_eq(again.client_id, h->client_id) && !again.client_id.ptr == !h->client_id.ptr);
	CHECK(kafka_request_read(&again, bytes, arena, body) == 0);
	check_answer(h, kafka_layout_array(h->api->response, arena, 1), arena);
	buf_fini(&to);
}

static void check_frame(struct slice frame)
{
	struct kafka_api_versions_response versions;
	struct kafka_header h;
	struct arena arena;
	struct slice bytes;
	int rc = kafka_header_read(frame, &h, &bytes);

	for (int16_t version = 3; version < 9; version += 5)
		(void)kafka_records_check(frame, version);
	arena_init(&arena, 4096, 1u << 20);
	if (rc == 0)
		check_request(&h, bytes, &arena);
	if (rc == ERR_UNSUPPORTED_API && h.key == KAFKA_API_VERSIONS) {
		kafka_versions_unsupported(&h, &versions);
		check_answer(&h, &versions, &arena);
	}
	arena_fini(&arena);
}

static void note(struct trace *t, const struct kafka_framer *f, enum kafka_frame_event event,
		 struct slice frame)
{
	t->key.k0 = hash_sip13(&t->key, frame) + (uint64_t)event + (uint64_t)f->error;
	t->events++;
}

static void feed(struct kafka_framer *f, struct slice piece, struct trace *t)
{
	uint8_t *copy = mem_alloc(piece.len);
	enum kafka_frame_event event;
	size_t at = 0, taken;
	struct slice frame;

	CHECK(copy);
	memcpy(copy, piece.ptr, piece.len);
	while ((event = kafka_framer_next(f, slice_make(copy + at, piece.len - at), &taken, &frame)) !=
	       KAFKA_FRAME_MORE) {
		at += taken;
		note(t, f, event, frame);
		if (event == KAFKA_FRAME_GIVEN)
			check_frame(frame);
		else
			(void)kafka_framer_stranger(f);
	}
	CHECK(at + taken == piece.len);
	mem_free(copy);
}

/* Puts as many bytes as there is room for in their place; 0: there is none. */
static size_t put(struct kafka_framer *f, struct slice piece, size_t least, struct trace *t)
{
	enum kafka_frame_event event;
	size_t taken, room;
	struct slice frame;
	uint8_t *to;

	room = kafka_framer_room(f, least, &to);
	if (room == 0)
		return 0;
	CHECK(room >= least && room <= f->claimed);
	if (room > piece.len)
		room = piece.len;
	memcpy(to, piece.ptr, room);
	CHECK(kafka_framer_in_place(f, slice_make(to, room)));
	event = kafka_framer_next(f, slice_make(to, room), &taken, &frame);
	CHECK(taken == room && event != KAFKA_FRAME_FAIL);
	if (event == KAFKA_FRAME_GIVEN) {
		note(t, f, event, frame);
		check_frame(frame);
	}
	return room;
}

static struct trace run(struct slice stream, uint32_t seed)
{
	struct kafka_framer f;
	struct trace t = {0};
	struct rand r;

	rand_seed(&r, seed);
	kafka_framer_init(&f, FRAME_MAX);
	while (stream.len) {
		size_t n = seed ? 1 + (size_t)rand_below(&r, rand_next(&r) & 1 ? 4 : 200) : stream.len;
		if (n > stream.len)
			n = stream.len;
		if (seed && rand_next(&r) & 1) {
			size_t did = put(&f, slice_make(stream.ptr, n), 1 + (size_t)rand_below(&r, 300), &t);
			if (did) {
				stream = slice_from(stream, did);
				continue;
			}
		}
		feed(&f, slice_make(stream.ptr, n), &t);
		CHECK(kafka_framer_held(&f) <= 2 * FRAME_MAX);
		stream = slice_from(stream, n);
	}
	kafka_framer_fini(&f);
	return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct trace whole, cut;

	if (size < 2)
		return 0;
	whole = run(slice_make(data + 1, size - 1), 0);
	cut = run(slice_make(data + 1, size - 1), 1u + data[0]);
	CHECK(whole.key.k0 == cut.key.k0 && whole.events == cut.events);
	return 0;
}
