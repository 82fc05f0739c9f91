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
#include "proto/ws/ws_handshake.h"
#include "proto/ws/ws_parser.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MESSAGE_MAX 70000u

/* ---- a trace of events: a line each, the payload with its length ---- */

static void trace_event(struct buf *to, const struct ws_event *e)
{
	static const char *const names[] = {"more", "message", "ping", "pong", "close", "fail"};

	buf_appendf(to, "%s %d %u %zu ", names[e->kind], (int)e->opcode, (unsigned)e->code, e->bytes.len);
	buf_append_slice(to, e->bytes);
	buf_append_byte(to, '\n');
}

static void feed(struct ws_parser *p, uint8_t *bytes, size_t len, struct buf *to)
{
	struct ws_event e;
	size_t taken;

	for (;;) {
		enum ws_event_kind kind = ws_parser_next(p, bytes, len, &taken, &e);
		bytes += taken;
		len -= taken;
		if (kind == WS_EVENT_MORE)
			break;
		trace_event(to, &e);
	}
	assert_int_equal(len, 0);
}

/* Feeds a copy of `bytes` cut at `first` and then every `step`, so that ASan sees each piece's end. */
static void run_cut(const struct ws_parser_options *o, struct slice bytes, size_t first, size_t step,
		    struct buf *to)
{
	struct ws_parser p;

	ws_parser_init(&p, o);
	for (size_t at = 0, n = first; at < bytes.len; at += n, n = step) {
		uint8_t *piece;
		if (n > bytes.len - at)
			n = bytes.len - at;
		piece = mem_alloc(n);
		assert_non_null(piece);
		memcpy(piece, bytes.ptr + at, n);
		feed(&p, piece, n, to);
		mem_free(piece);
	}
	ws_parser_fini(&p);
}

static void assert_same(const struct buf *a, const struct buf *b)
{
	assert_int_equal(a->len, b->len);
	if (a->len)
		assert_memory_equal(a->ptr, b->ptr, a->len);
}

static void assert_cuts_agree(const struct ws_parser_options *o, struct slice bytes, const struct buf *whole)
{
	struct buf cut;

	buf_init(&cut, 1u << 22);
	for (size_t first = 1; first <= bytes.len && first < 400; first++) {
		buf_clear(&cut);
		run_cut(o, bytes, first, bytes.len, &cut);
		assert_same(whole, &cut);
	}
	for (size_t step = 1; step <= 9; step++) {
		buf_clear(&cut);
		run_cut(o, bytes, step, step, &cut);
		assert_same(whole, &cut);
	}
	buf_fini(&cut);
}

static void assert_trace_with(const struct ws_parser_options *o, struct slice bytes, const char *expected)
{
	struct buf whole;

	buf_init(&whole, 1u << 22);
	run_cut(o, bytes, bytes.len, bytes.len, &whole);
	buf_append_byte(&whole, 0);
	assert_string_equal((const char *)whole.ptr, expected);
	whole.len--;
	assert_cuts_agree(o, bytes, &whole);
	buf_fini(&whole);
}

static const struct ws_parser_options server = {.message_bytes_max = MESSAGE_MAX};
static const struct ws_parser_options small = {.message_bytes_max = 5};
static const struct ws_parser_options client = {.client = true, .message_bytes_max = MESSAGE_MAX};
static const struct ws_parser_options deflate_server = {.inflate_bits = 15, .message_bytes_max = MESSAGE_MAX};
static const struct ws_parser_options deflate_client = {.client = true,
							.inflate_bits = 15,
							.message_bytes_max = 64};

/* An array of bytes and what the parser makes of it. */
struct sample {
	const struct ws_parser_options *options;
	struct slice bytes;
	const char *events;
};

#define BYTES(text) SLICE_LIT(text)
#define ZERO_MASK "\0\0\0\0"

/* The examples of RFC 6455 section 5.7. */
static const struct sample rfc_samples[] = {
	{&client, BYTES("\x81\x05Hello"), "message 1 0 5 Hello\n"},
	{&server, BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "message 1 0 5 Hello\n"},
	{&client, BYTES("\x01\x03Hel\x80\x02lo"), "message 1 0 5 Hello\n"},
	{&client, BYTES("\x89\x05Hello"), "ping 9 0 5 Hello\n"},
	{&server, BYTES("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "pong 10 0 5 Hello\n"},
	/* RFC 7692 section 7.2.3: one block, fragments, no compression, a final block, two blocks. */
	{&deflate_client, BYTES("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"), "message 1 0 5 Hello\n"},
	{&deflate_client, BYTES("\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00"), "message 1 0 5 Hello\n"},
	{&deflate_client, BYTES("\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"),
	 "message 1 0 5 Hello\n"},
	{&deflate_client, BYTES("\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), "message 1 0 5 Hello\n"},
	{&deflate_client, BYTES("\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"),
	 "message 1 0 5 Hello\n"},
	{&deflate_client, BYTES("\xc1\x01\x00"), "message 1 0 0 \n"},
	{&deflate_server, BYTES("\xc1\x87\1\2\3\4\xf3\x4a\xce\xcd\xc8\x05\x03"), "message 1 0 5 Hello\n"},
};

static const struct sample good_samples[] = {
	{&server, BYTES("\x81\x80" ZERO_MASK), "message 1 0 0 \n"},
	{&server, BYTES("\x82\x80" ZERO_MASK "\x82\x81" ZERO_MASK "x"), "message 2 0 0 \nmessage 2 0 1 x\n"},
	{&client, BYTES("\x01\x00\x00\x00\x80\x00"), "message 1 0 0 \n"},
	/* Control frames between fragments. */
	{&client, BYTES("\x01\x02\xc3\xbc\x89\x00\x00\x01\xc3\x8a\x01p\x80\x01\x9f"),
	 "ping 9 0 0 \npong 10 0 1 p\nmessage 1 0 4 \xc3\xbc\xc3\x9f\n"},
	{&server, BYTES("\x88\x80" ZERO_MASK), "close 8 1005 0 \n"},
	{&client, BYTES("\x88\x02\x03\xe8"), "close 8 1000 0 \n"},
	{&client,
	 BYTES("\x88\x05\x0f\xa0"
	       "bye"
	       "after it, nothing"),
	 "close 8 4000 3 bye\n"},
	{&client,
	 BYTES("\x01\x01"
	       "a\x88\x02\x03\xe9"),
	 "close 8 1001 0 \n"},
	{&small, BYTES("\x81\x85" ZERO_MASK "12345"), "message 1 0 5 12345\n"},
	/* Uncompressed messages stay allowed where compression was agreed. */
	{&deflate_client, BYTES("\x81\x02ok"), "message 1 0 2 ok\n"},
	/* Not compressed text after a compressed one, binary is not looked at as text. */
	{&deflate_client, BYTES("\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\x82\x01\xff"),
	 "message 1 0 5 Hello\nmessage 2 0 1 \xff\n"},
};

#define NOT_UTF8 "fail 0 1007 17 text is not UTF-8\n"
#define DAMAGED "fail 0 1007 26 compressed data is damaged\n"

static const struct sample bad_samples[] = {
	{&server, BYTES("\x81\x05Hello"), "fail 0 1002 20 frame without a mask\n"},
	{&client, BYTES("\x81\x80" ZERO_MASK), "fail 0 1002 26 masked frame from a server\n"},
	{&client, BYTES("\xc1\x01x"), "fail 0 1002 36 reserved bit that was not negotiated\n"},
	{&client, BYTES("\xa1\x01x"), "fail 0 1002 36 reserved bit that was not negotiated\n"},
	{&deflate_client, BYTES("\x91\x01x"), "fail 0 1002 36 reserved bit that was not negotiated\n"},
	{&deflate_client, BYTES("\x41\x01\xf2\xc0\x01x"),
	 "fail 0 1002 39 compression bit in a continuation frame\n"},
	{&deflate_client, BYTES("\xc9\x00"), "fail 0 1002 31 reserved bit in a control frame\n"},
	{&client, BYTES("\x83\x01x"), "fail 0 1002 15 reserved opcode\n"},
	{&client, BYTES("\x8b\x00"), "fail 0 1002 15 reserved opcode\n"},
	{&client, BYTES("\x09\x00"), "fail 0 1002 24 fragmented control frame\n"},
	{&client, BYTES("\x89\x7e\x00\x7e"), "fail 0 1002 36 control frame of more than 125 bytes\n"},
	{&client, BYTES("\x80\x00"), "fail 0 1002 26 continuation of no message\n"},
	{&client, BYTES("\x01\x00\x81\x00"), "fail 0 1002 35 new message inside a fragmented one\n"},
	{&client, BYTES("\x82\x7e\x00\x7d"), "fail 0 1002 31 length not in its shortest form\n"},
	{&client, BYTES("\x82\x7f\0\0\0\0\0\0\xff\xff"), "fail 0 1002 31 length not in its shortest form\n"},
	{&client, BYTES("\x82\x7f\x80\0\0\0\0\1\0\0"), "fail 0 1002 31 length not in its shortest form\n"},
	{&client, BYTES("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"),
	 "fail 0 1009 22 message over the limit\n"},
	{&small, BYTES("\x81\x86" ZERO_MASK), "fail 0 1009 22 message over the limit\n"},
	{&small, BYTES("\x01\x83" ZERO_MASK "123\x80\x83" ZERO_MASK),
	 "fail 0 1009 22 message over the limit\n"},
	{&client, BYTES("\x81\x01\xff"), NOT_UTF8},
	{&client, BYTES("\x81\x02\xe2\x82"), NOT_UTF8},
	{&client,
	 BYTES("\x01\x02\xe2\x82\x80\x01"
	       "A"),
	 NOT_UTF8},
	{&client, BYTES("\x88\x01\x03"), "fail 0 1002 28 close frame with half a code\n"},
	{&client, BYTES("\x88\x02\x03\xed"), "fail 0 1002 32 close code that must not be sent\n"},
	{&client, BYTES("\x88\x03\x03\xe8\xff"), "fail 0 1007 25 close reason is not UTF-8\n"},
	{&deflate_client, BYTES("\xc1\x00"), DAMAGED},
	{&deflate_client, BYTES("\xc1\x01\xff"), DAMAGED},
	{&deflate_client, BYTES("\xc1\x04\xf2\x48\xcd\xc9"), DAMAGED}, /* cut inside a block */
	{&deflate_client, BYTES("\xc1\x07\x00\x01\x00\xfe\xff\xff\x00"), NOT_UTF8},
};

static void assert_samples(const struct sample *samples, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_trace_with(samples[i].options, samples[i].bytes, samples[i].events);
}

static void the_examples_of_the_rfcs_are_read(void **state)
{
	(void)state;
	assert_samples(rfc_samples, COUNT(rfc_samples));
}

static void legal_frames_give_their_events(void **state)
{
	(void)state;
	assert_samples(good_samples, COUNT(good_samples));
}

static void each_fault_has_its_close_code(void **state)
{
	(void)state;
	assert_samples(bad_samples, COUNT(bad_samples));
}

static void close_codes_are_those_of_the_registry(void **state)
{
	const uint32_t good[] = {1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4999};
	const uint32_t bad[] = {0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535};

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++)
		assert_true(ws_code_valid(good[i]));
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(ws_code_valid(bad[i]));
}

/* ---- writer against parser ---- */

static void fill(uint8_t *bytes, size_t n, uint64_t seed)
{
	struct rand r;

	rand_seed(&r, seed);
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)rand_next(&r);
}

static void written_frames_are_read_at_every_edge_of_length(void **state)
{
	const size_t lengths[] = {0, 1, 125, 126, 127, 4095, 65535, 65536, MESSAGE_MAX};
	const uint8_t mask[4] = {0xa1, 0x02, 0xff, 0x7c};
	static uint8_t payload[MESSAGE_MAX];
	struct buf frame, events, expected;

	(void)state;
	fill(payload, sizeof(payload), 3);
	buf_init(&frame, 1u << 20);
	buf_init(&events, 1u << 20);
	buf_init(&expected, 1u << 20);
	for (size_t i = 0; i < COUNT(lengths); i++) {
		struct slice whole = slice_make(payload, lengths[i]);
		struct ws_event e = {.kind = WS_EVENT_MESSAGE, .opcode = WS_BINARY, .bytes = whole};
		buf_clear(&expected);
		trace_event(&expected, &e);
		for (int masked = 0; masked < 2; masked++) {
			const struct ws_parser_options *o = masked ? &server : &client;
			const size_t steps[] = {1u << 20, 4096, 1000, 7};
			buf_clear(&frame);
			if (masked)
				ws_frame_append_masked(&frame, WS_FIN | WS_BINARY, whole, mask);
			else
				ws_frame_append(&frame, WS_FIN | WS_BINARY, whole);
			assert_int_equal(frame.len,
					 ws_frame_header_len(whole.len) + whole.len + (masked ? 4 : 0));
			for (size_t s = 0; s < COUNT(steps); s++) {
				buf_clear(&events);
				run_cut(o, buf_slice(&frame), steps[s], steps[s], &events);
				assert_same(&expected, &events);
			}
		}
	}
	buf_fini(&frame);
	buf_fini(&events);
	buf_fini(&expected);
}

static void a_frame_past_the_buffers_limit_leaves_it_as_it_was(void **state)
{
	struct buf to;

	(void)state;
	buf_init(&to, 5);
	assert_int_equal(ws_frame_append(&to, WS_FIN | WS_TEXT, SLICE_LIT("abcd")), ERR_LIMIT);
	assert_int_equal(to.len, 0);
	buf_clear(&to);
	assert_int_equal(ws_frame_append(&to, WS_FIN | WS_TEXT, SLICE_LIT("abc")), 0);
	assert_true(slice_eq(buf_slice(&to), BYTES("\x81\x03"
						   "abc")));
	buf_fini(&to);
}

static void masking_agrees_with_its_definition(void **state)
{
	const uint8_t mask[4] = {1, 0x80, 0xff, 0x3c};
	uint8_t got[80], want[80];

	(void)state;
	for (size_t from = 0; from < 9; from++) {
		for (size_t n = 0; n + from <= sizeof(got); n++) {
			fill(got, sizeof(got), n);
			memcpy(want, got, sizeof(got));
			for (size_t i = 0; i < n; i++)
				want[from + i] ^= mask[(i + from) % 4];
			ws_mask(got + from, n, mask, from);
			assert_memory_equal(got, want, sizeof(got));
		}
	}
}

static void control_frames_are_written(void **state)
{
	uint8_t to[WS_CONTROL_FRAME_MAX];
	char longest[200];
	size_t n;

	(void)state;
	n = ws_frame_control(to, WS_PING, SLICE_LIT("hi"));
	assert_true(slice_eq(slice_make(to, n), BYTES("\x89\x02hi")));
	n = ws_frame_close(to, WS_CODE_NONE, slice_null());
	assert_true(slice_eq(slice_make(to, n), BYTES("\x88\x00")));
	n = ws_frame_close(to, WS_CODE_GOING_AWAY, SLICE_LIT("bye"));
	assert_true(slice_eq(slice_make(to, n), BYTES("\x88\x05\x03\xe9"
						      "bye")));
	/* 123 bytes are left for a reason; a character of two bytes at 122 does not fit whole. */
	memset(longest, 'x', sizeof(longest));
	memcpy(longest + 122, "\xc3\xbc", 2);
	n = ws_frame_close(to, WS_CODE_POLICY, slice_make(longest, sizeof(longest)));
	assert_int_equal(n, 2 + 2 + 122);
	assert_int_equal(to[1], 124);
}

/* ---- memory ---- */

static void a_message_whole_in_the_input_is_given_from_there(void **state)
{
	uint8_t bytes[] = "\x81\x85" ZERO_MASK "Hello\x81\x85" ZERO_MASK "He";
	struct ws_parser p;
	struct ws_event e;
	uint64_t calls;
	size_t taken;

	(void)state;
	ws_parser_init(&p, &server);
	calls = mem_calls();
	assert_int_equal(ws_parser_next(&p, bytes, sizeof(bytes) - 1, &taken, &e), WS_EVENT_MESSAGE);
	assert_int_equal(taken, 11);
	assert_ptr_equal(e.bytes.ptr, bytes + 6);
	assert_int_equal(mem_calls(), calls);
	assert_int_equal(ws_parser_next(&p, bytes + 11, sizeof(bytes) - 1 - 11, &taken, &e), WS_EVENT_MORE);
	assert_true(ws_parser_held(&p) > 0);
	memcpy(bytes, "llo", 3);
	assert_int_equal(ws_parser_next(&p, bytes, 3, &taken, &e), WS_EVENT_MESSAGE);
	assert_true(slice_eq_str(e.bytes, "Hello"));
	assert_int_equal(ws_parser_next(&p, bytes, 0, &taken, &e), WS_EVENT_MORE);
	assert_int_equal(ws_parser_held(&p), 0);
	assert_true(sizeof(p) <= 320);
	ws_parser_fini(&p);
}

/* A header that claims much costs nothing until the bytes come. */
static void a_claimed_length_allocates_nothing(void **state)
{
	const struct ws_parser_options o = {.client = true, .message_bytes_max = 1u << 30};
	uint8_t bytes[] = "\x82\x7f\0\0\0\0\x20\0\0\0xyz";
	struct ws_parser p;
	struct ws_event e;
	size_t taken;

	(void)state;
	ws_parser_init(&p, &o);
	assert_int_equal(ws_parser_next(&p, bytes, sizeof(bytes) - 1, &taken, &e), WS_EVENT_MORE);
	assert_true(ws_parser_held(&p) <= 256);
	ws_parser_fini(&p);
}

static void without_memory_the_message_fails_with_1013(void **state)
{
	const struct sample *s = &rfc_samples[5]; /* compressed */

	(void)state;
	for (uint64_t nth = 1; nth <= 3; nth++) {
		struct ws_parser p;
		struct ws_event e;
		uint8_t bytes[16];
		size_t taken;
		memcpy(bytes, s->bytes.ptr, s->bytes.len);
		ws_parser_init(&p, s->options);
		mem_fail_at(nth);
		assert_int_equal(ws_parser_next(&p, bytes, s->bytes.len, &taken, &e), WS_EVENT_FAIL);
		mem_fail_at(0);
		assert_int_equal(e.code, WS_CODE_TRY_LATER);
		ws_parser_fini(&p);
	}
}

/* ---- permessage-deflate ---- */

static void compress_frame(struct slice message, struct buf *frame)
{
	struct ws_deflater *d;
	struct buf payload;

	assert_int_equal(ws_deflater_new(6, &d), 0);
	buf_init(&payload, 1u << 24);
	assert_int_equal(ws_deflater_message(d, message, &payload), 0);
	/* The second message does not know of the first. */
	payload.len = 0;
	assert_int_equal(ws_deflater_message(d, message, &payload), 0);
	assert_int_equal(ws_frame_append(frame, WS_FIN | WS_DEFLATED | WS_TEXT, buf_slice(&payload)), 0);
	buf_fini(&payload);
	ws_deflater_free(d);
}

static void compressed_messages_go_both_ways(void **state)
{
	const size_t lengths[] = {0, 1, 5, 63, 64, 65, 1000, 65536, MESSAGE_MAX};
	static uint8_t text[MESSAGE_MAX];
	struct ws_parser_options o = {.client = true, .inflate_bits = WS_DEFLATE_BITS};
	struct buf frame, events, expected;

	(void)state;
	fill(text, sizeof(text), 9);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 1000 < 600 ? 'a' : text[i] & 0x7f;
	buf_init(&frame, 1u << 20);
	buf_init(&events, 1u << 20);
	buf_init(&expected, 1u << 20);
	for (size_t i = 0; i < COUNT(lengths); i++) {
		struct slice message = slice_make(text, lengths[i]);
		struct ws_event e = {.kind = WS_EVENT_MESSAGE, .opcode = WS_TEXT, .bytes = message};
		o.message_bytes_max = lengths[i] ? lengths[i] : 1; /* exactly as much as allowed */
		buf_clear(&frame);
		buf_clear(&expected);
		compress_frame(message, &frame);
		trace_event(&expected, &e);
		for (size_t step = 1; step < 100000; step *= 17) {
			buf_clear(&events);
			run_cut(&o, buf_slice(&frame), step, step, &events);
			assert_same(&expected, &events);
		}
	}
	buf_fini(&frame);
	buf_fini(&events);
	buf_fini(&expected);
}

static void one_byte_over_the_limit_after_inflating_is_1009(void **state)
{
	struct ws_parser_options o = {.client = true, .inflate_bits = 15};
	char text[3000];
	struct buf frame;

	(void)state;
	memset(text, 'x', sizeof(text));
	buf_init(&frame, 1u << 20);
	compress_frame(slice_make(text, sizeof(text)), &frame);
	o.message_bytes_max = sizeof(text) - 1;
	assert_trace_with(&o, buf_slice(&frame), "fail 0 1009 22 message over the limit\n");
	buf_fini(&frame);
}

static void a_bomb_is_stopped_at_the_limit(void **state)
{
	const size_t zeros = 16u << 20;
	const struct ws_parser_options o = {.client = true, .inflate_bits = 15, .message_bytes_max = 65536};
	uint8_t *text = mem_zalloc(zeros, 1);
	struct ws_parser p;
	struct ws_event e;
	struct buf frame;
	uint64_t calls;
	size_t taken;

	(void)state;
	assert_non_null(text);
	buf_init(&frame, 1u << 20);
	compress_frame(slice_make(text, zeros), &frame);
	assert_true(frame.len < 65536);
	ws_parser_init(&p, &o);
	calls = mem_calls();
	assert_int_equal(ws_parser_next(&p, frame.ptr, frame.len, &taken, &e), WS_EVENT_FAIL);
	assert_int_equal(e.code, WS_CODE_TOO_BIG);
	assert_true(mem_calls() - calls < 20);
	ws_parser_fini(&p);
	buf_fini(&frame);
	mem_free(text);
}

/* ---- handshake ---- */

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

struct field {
	const char *name, *value;
};

static const struct field usual[] = {
	{"Host", "localhost"},      {"Upgrade", "websocket"},        {"Connection", "keep-alive, Upgrade"},
	{"Sec-WebSocket-Key", KEY}, {"Sec-WebSocket-Version", "13"},
};

static const char *const spoken[] = {"weir.v1", NULL};

/* The usual fields, one left out (skip < COUNT) or none, and one more; gives what finish gives. */
static int shake(struct ws_handshake *h, size_t skip, struct field extra)
{
	const struct ws_handshake_options o = {.protocols = spoken, .deflate = true};

	ws_handshake_init(h, &o);
	for (size_t i = 0; i < COUNT(usual); i++)
		if (i != skip)
			ws_handshake_header(h, slice_str(usual[i].name), slice_str(usual[i].value));
	if (extra.name)
		ws_handshake_header(h, slice_str(extra.name), slice_str(extra.value));
	return ws_handshake_finish(h);
}

static void assert_answer(const struct ws_handshake *h, const char *rest)
{
	const char *begin = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
			    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
	struct buf to, want;

	buf_init(&to, 4096);
	buf_init(&want, 4096);
	assert_int_equal(ws_handshake_answer(h, &to), 0);
	buf_append_str(&want, begin);
	buf_append_str(&want, rest);
	assert_same(&want, &to);
	buf_fini(&to);
	buf_fini(&want);
}

static void the_rfcs_own_key_is_answered(void **state)
{
	struct ws_handshake h;

	(void)state;
	assert_int_equal(shake(&h, SIZE_MAX, (struct field){0}), 0);
	assert_false(h.deflate.on);
	assert_answer(&h, "");
}

static void bad_handshakes_are_refused(void **state)
{
	struct ws_handshake h;
	static const struct field bad_headers[] = {
		{"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ="},
		{"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZR=="},
		{"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQAA"},
		{"sec-websocket-key", ""},
	};

	(void)state;
	assert_int_equal(shake(&h, 1, (struct field){0}), ERR_UPGRADE_REQUIRED);
	assert_int_equal(shake(&h, 2, (struct field){0}), ERR_UPGRADE_REQUIRED);
	assert_int_equal(shake(&h, 3, (struct field){0}), ERR_BAD_HEADER);
	assert_int_equal(shake(&h, 4, (struct field){0}), ERR_UPGRADE_REQUIRED);
	assert_int_equal(shake(&h, 4, (struct field){"Sec-WebSocket-Version", "8"}), ERR_UPGRADE_REQUIRED);
	assert_int_equal(shake(&h, 1, (struct field){"Upgrade", "h2c"}), ERR_UPGRADE_REQUIRED);
	for (size_t i = 0; i < COUNT(bad_headers); i++)
		assert_int_equal(shake(&h, 3, bad_headers[i]), ERR_BAD_HEADER);
	assert_int_equal(shake(&h, SIZE_MAX, (struct field){"Sec-WebSocket-Key", KEY}), ERR_BAD_HEADER);
	assert_int_equal(shake(&h, SIZE_MAX, (struct field){"Sec-WebSocket-Version", "13"}), ERR_BAD_HEADER);
	assert_int_equal(shake(&h, SIZE_MAX, (struct field){"Sec-WebSocket-Protocol", "a b"}),
			 ERR_BAD_HEADER);
	assert_int_equal(shake(&h, SIZE_MAX, (struct field){"Sec-WebSocket-Extensions", "a; ="}),
			 ERR_BAD_HEADER);
	assert_non_null(h.detail);
}

static void a_spoken_subprotocol_is_chosen(void **state)
{
	struct ws_handshake h;

	(void)state;
	assert_int_equal(shake(&h, SIZE_MAX, (struct field){"Sec-WebSocket-Protocol", "x, weir.v1,y"}), 0);
	assert_string_equal(h.protocol, "weir.v1");
	assert_answer(&h, "Sec-WebSocket-Protocol: weir.v1\r\n");
	assert_int_equal(shake(&h, SIZE_MAX, (struct field){"Sec-WebSocket-Protocol", "Weir.v1"}), 0);
	assert_null(h.protocol);
}

#define TAKEN                                                                        \
	"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; " \
	"client_no_context_takeover"

struct offer {
	const char *value, *answer;
	int inflate_bits;
};

static const struct offer offers[] = {
	{"permessage-deflate", TAKEN "\r\n", 15},
	{"Permessage-Deflate ; client_max_window_bits", TAKEN "; client_max_window_bits=12\r\n", 12},
	{"permessage-deflate; client_max_window_bits=\"15\"", TAKEN "; client_max_window_bits=12\r\n", 12},
	{"permessage-deflate; client_max_window_bits=10", TAKEN "\r\n", 10},
	{"permessage-deflate; client_max_window_bits=8", TAKEN "\r\n", 9},
	{"permessage-deflate; server_max_window_bits=12", TAKEN "; server_max_window_bits=12\r\n", 15},
	{"permessage-deflate; server_no_context_takeover; client_no_context_takeover", TAKEN "\r\n", 15},
	{"x-webkit-deflate-frame, permessage-deflate", TAKEN "\r\n", 15},
	/* The first offer cannot be met, the second can. */
	{"permessage-deflate; server_max_window_bits=9, permessage-deflate", TAKEN "\r\n", 15},
	{"permessage-deflate; server_max_window_bits=11", "", 0},
	{"permessage-deflate; server_max_window_bits", "", 0},
	{"permessage-deflate; server_max_window_bits=16", "", 0},
	{"permessage-deflate; server_max_window_bits=012", "", 0},
	{"permessage-deflate; client_max_window_bits=7", "", 0},
	{"permessage-deflate; client_max_window_bits; client_max_window_bits", "", 0},
	{"permessage-deflate; server_no_context_takeover=1", "", 0},
	{"permessage-deflate; server_no_context_takeover; server_no_context_takeover", "", 0},
	{"permessage-deflate; unknown", "", 0},
	{"permessage-bzip2", "", 0},
	{"", "", 0},
};

static void compression_is_agreed_without_context_takeover(void **state)
{
	struct ws_handshake h;

	(void)state;
	for (size_t i = 0; i < COUNT(offers); i++) {
		struct field f = {"Sec-WebSocket-Extensions", offers[i].value};
		assert_int_equal(shake(&h, SIZE_MAX, f), 0);
		assert_int_equal(h.deflate.inflate_bits, offers[i].inflate_bits);
		assert_answer(&h, offers[i].answer);
	}
}

static int answer_client(struct ws_client *c, int status, const struct field *fields, size_t count)
{
	const struct ws_client_options o = {.host = SLICE_LIT("h:1"),
					    .target = SLICE_LIT("/x?y"),
					    .protocol = "weir.v1",
					    .deflate = true};
	struct buf to;

	buf_init(&to, 4096);
	assert_int_equal(ws_client_request(c, &o, (const uint8_t *)"the sample nonce",
					   SLICE_LIT("Origin: http://h\r\n"), &to),
			 0);
	buf_append_byte(&to, 0);
	assert_string_equal((const char *)to.ptr,
			    "GET /x?y HTTP/1.1\r\nHost: h:1\r\nUpgrade: websocket\r\n"
			    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
			    "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Protocol: weir.v1\r\n"
			    "Sec-WebSocket-Extensions: permessage-deflate; "
			    "server_no_context_takeover; client_no_context_takeover\r\n"
			    "Origin: http://h\r\n\r\n");
	buf_fini(&to);
	for (size_t i = 0; i < count; i++)
		ws_client_header(c, slice_str(fields[i].name), slice_str(fields[i].value));
	return ws_client_finish(c, status);
}

static void the_client_takes_only_what_it_asked_for(void **state)
{
	struct field f[] = {
		{"upgrade", "WebSocket"},
		{"connection", "upgrade"},
		{"sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		{"sec-websocket-protocol", "weir.v1"},
		{"sec-websocket-extensions", "permessage-deflate; server_no_context_takeover"},
	};
	const char *wrong[] = {"h2c", "close", "s3pPLMBiTxaQ9kYGzzhZRbK+xOx=", "other", "permessage-deflate"};
	struct ws_client c;

	(void)state;
	assert_int_equal(answer_client(&c, 101, f, COUNT(f)), 0);
	assert_true(c.deflate.on);
	assert_int_equal(answer_client(&c, 101, f, 3), 0);
	assert_int_equal(answer_client(&c, 101, f, 2), ERR_PROTOCOL);
	assert_int_equal(answer_client(&c, 200, f, COUNT(f)), ERR_PROTOCOL);
	for (size_t i = 0; i < COUNT(f); i++) {
		const char *right = f[i].value;
		f[i].value = wrong[i];
		assert_int_equal(answer_client(&c, 101, f, COUNT(f)), ERR_PROTOCOL);
		f[i].value = right;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_examples_of_the_rfcs_are_read),
		cmocka_unit_test(legal_frames_give_their_events),
		cmocka_unit_test(each_fault_has_its_close_code),
		cmocka_unit_test(close_codes_are_those_of_the_registry),
		cmocka_unit_test(written_frames_are_read_at_every_edge_of_length),
		cmocka_unit_test(a_frame_past_the_buffers_limit_leaves_it_as_it_was),
		cmocka_unit_test(masking_agrees_with_its_definition),
		cmocka_unit_test(control_frames_are_written),
		cmocka_unit_test(a_message_whole_in_the_input_is_given_from_there),
		cmocka_unit_test(a_claimed_length_allocates_nothing),
		cmocka_unit_test(without_memory_the_message_fails_with_1013),
		cmocka_unit_test(compressed_messages_go_both_ways),
		cmocka_unit_test(one_byte_over_the_limit_after_inflating_is_1009),
		cmocka_unit_test(a_bomb_is_stopped_at_the_limit),
		cmocka_unit_test(the_rfcs_own_key_is_answered),
		cmocka_unit_test(bad_handshakes_are_refused),
		cmocka_unit_test(a_spoken_subprotocol_is_chosen),
		cmocka_unit_test(compression_is_agreed_without_context_takeover),
		cmocka_unit_test(the_client_takes_only_what_it_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
