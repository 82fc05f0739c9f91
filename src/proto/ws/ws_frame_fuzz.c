/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First byte: 1 compression agreed, 2 client side, 4 a small limit, 8 a window
 * of 9 bits, and in the rest the seed of the cuts. What follows is the stream.
 * The events must be the same whole and cut, and a message that was given must
 * come back from the writers as it was.
 */
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/utf8.h"
#include "proto/ws/ws_parser.h"

#define USE_DEFLATE 1u
#define USE_CLIENT 2u
#define USE_SMALL 4u
#define USE_WINDOW_9 8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything that the events said, as one number. */
struct trace {
	struct hash_key key;
	uint64_t events;
};

static void add_event(struct trace *t, const struct ws_event *e)
{
	uint64_t head[3] = {(uint64_t)e->kind, (uint64_t)e->opcode, e->code};

	CHECK(e->bytes.ptr || e->bytes.len == 0);
	t->key.k0 = hash_sip13(&t->key, slice_make(head, sizeof(head)));
	t->key.k1 = hash_sip13(&t->key, e->bytes);
	t->events++;
}

static void check_event(const struct ws_parser_options *o, const struct ws_event *e)
{
	if (e->kind == WS_EVENT_MESSAGE) {
		CHECK(e->bytes.len <= o->message_bytes_max);
		CHECK(e->opcode != WS_TEXT || utf8_valid(e->bytes));
	}
	if (e->kind == WS_EVENT_PING || e->kind == WS_EVENT_PONG)
		CHECK(e->bytes.len <= WS_CONTROL_MAX);
	if (e->kind == WS_EVENT_FAIL)
		CHECK(ws_code_valid(e->code));
}

static void feed(struct ws_parser *p, struct slice piece, struct trace *t)
{
	uint8_t *copy = mem_alloc(piece.len);
	size_t at = 0, taken;
	struct ws_event e;

	CHECK(copy);
	memcpy(copy, piece.ptr, piece.len);
	while (ws_parser_next(p, copy + at, piece.len - at, &taken, &e) != WS_EVENT_MORE) {
		at += taken;
		check_event(&p->options, &e);
		add_event(t, &e);
	}
	CHECK(at + taken == piece.len);
	mem_free(copy);
}

static struct trace run(const struct ws_parser_options *o, struct slice stream, uint32_t seed)
{
	struct trace t = {0};
	struct ws_parser p;
	struct rand r;

	rand_seed(&r, seed);
	ws_parser_init(&p, o);
	while (stream.len) {
		size_t n = seed ? 1 + (size_t)rand_below(&r, rand_next(&r) & 1 ? 4 : 200) : stream.len;
		if (n > stream.len)
			n = stream.len;
		feed(&p, slice_make(stream.ptr, n), &t);
		stream = slice_from(stream, n);
	}
	ws_parser_fini(&p);
	return t;
}

/* The stream as a message of its own, written and read again. */
static void check_round_trip(struct ws_parser_options o, struct slice message)
{
	struct ws_deflater *d;
	struct buf payload, frame;
	struct ws_parser p;
	struct ws_event e;
	size_t taken;
	uint32_t flags = WS_FIN | WS_BINARY;

	buf_init(&payload, 1u << 24);
	buf_init(&frame, 1u << 24);
	if (o.inflate_bits) {
		o.inflate_bits = WS_DEFLATE_BITS;
		CHECK(ws_deflater_new(1, &d) == 0 && ws_deflater_message(d, message, &payload) == 0);
		ws_deflater_free(d);
		flags |= WS_DEFLATED;
	} else {
		buf_append_slice(&payload, message);
	}
	if (o.client)
		CHECK(ws_frame_append(&frame, flags, buf_slice(&payload)) == 0);
	else
		CHECK(ws_frame_append_masked(&frame, flags, buf_slice(&payload),
					     (const uint8_t *)"m\xaaSk") == 0);
	o.message_bytes_max = message.len + 1;
	ws_parser_init(&p, &o);
	CHECK(ws_parser_next(&p, frame.ptr, frame.len, &taken, &e) == WS_EVENT_MESSAGE);
	CHECK(taken == frame.len && slice_eq(e.bytes, message));
	ws_parser_fini(&p);
	buf_fini(&payload);
	buf_fini(&frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ws_parser_options o = {0};
	struct slice stream;
	struct trace whole, cut;

	if (size < 2)
		return 0;
	stream = slice_make(data + 1, size - 1);
	o.client = data[0] & USE_CLIENT;
	o.message_bytes_max = data[0] & USE_SMALL ? 20 : 100000;
	if (data[0] & USE_DEFLATE)
		o.inflate_bits = data[0] & USE_WINDOW_9 ? 9 : 15;
	whole = run(&o, stream, 0);
	cut = run(&o, stream, 1 + (data[0] >> 4));
	CHECK(whole.key.k0 == cut.key.k0 && whole.key.k1 == cut.key.k1);
	CHECK(whole.events == cut.events);
	check_round_trip(o, stream);
	return 0;
}
