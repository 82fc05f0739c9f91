/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/sse/sse_parser.h"
#include "proto/sse/sse_writer.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void put_field(struct buf *to, struct slice s)
{
	buf_append_byte(to, '[');
	buf_append_slice(to, s);
	buf_append_byte(to, ']');
}

/* message [name] [data] [id], a line each. */
static void trace_event(struct buf *to, const struct sse_event *e)
{
	static const char *const names[] = {"more", "message", "retry", "comment", "fail"};

	buf_append_str(to, names[e->kind]);
	if (e->kind == SSE_EVENT_MESSAGE)
		put_field(to, e->name);
	if (e->kind == SSE_EVENT_MESSAGE || e->kind == SSE_EVENT_COMMENT)
		put_field(to, e->data);
	if (e->kind == SSE_EVENT_MESSAGE)
		put_field(to, e->id);
	if (e->kind == SSE_EVENT_RETRY)
		buf_append_u64(to, e->retry_ms);
	if (e->kind == SSE_EVENT_FAIL)
		buf_append_str(to, err_row(e->err)->name);
	buf_append_byte(to, '\n');
}

static void feed(struct sse_parser *p, struct slice bytes, struct buf *to)
{
	struct sse_event e;
	size_t taken;

	while (sse_parser_next(p, bytes, &taken, &e) != SSE_EVENT_MORE) {
		bytes = slice_from(bytes, taken);
		trace_event(to, &e);
	}
	assert_int_equal(taken, bytes.len);
}

static void run_cut(struct slice bytes, size_t max, size_t first, size_t step, struct buf *to)
{
	struct sse_parser p;

	sse_parser_init(&p, max);
	for (size_t at = 0, n = first; at < bytes.len; at += n, n = step) {
		uint8_t *piece;
		if (n > bytes.len - at)
			n = bytes.len - at;
		piece = mem_alloc(n);
		assert_non_null(piece);
		memcpy(piece, bytes.ptr + at, n);
		feed(&p, slice_make(piece, n), to);
		mem_free(piece);
	}
	put_field(to, sse_parser_last_id(&p));
	buf_append_byte(to, 0);
	sse_parser_fini(&p);
}

/* The events, and the id to come again with, at every cut. */
static void assert_trace(struct slice bytes, size_t max, const char *expected)
{
	struct buf trace;

	buf_init(&trace, 1u << 20);
	for (size_t first = 1; first <= bytes.len; first++) {
		buf_clear(&trace);
		run_cut(bytes, max, first, bytes.len, &trace);
		assert_string_equal((const char *)trace.ptr, expected);
	}
	for (size_t step = 1; step < 5; step++) {
		buf_clear(&trace);
		run_cut(bytes, max, step, step, &trace);
		assert_string_equal((const char *)trace.ptr, expected);
	}
	buf_fini(&trace);
}

struct sample {
	struct slice bytes;
	const char *events;
};

/* The first six are the examples of the standard. */
static const struct sample samples[] = {
	{SLICE_LIT("data: YHOO\ndata: +2\ndata: 10\n\n"), "message[message][YHOO\n+2\n10][]\n[]"},
	{SLICE_LIT(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
		   "data:  third event\n"),
	 "comment[test stream]\nmessage[message][first event][1]\n"
	 "message[message][second event][]\n[]"},
	{SLICE_LIT("data\n\ndata\ndata\n\ndata:"), "message[message][][]\nmessage[message][\n][]\n[]"},
	{SLICE_LIT("data:test\n\ndata: test\n\n"), "message[message][test][]\nmessage[message][test][]\n[]"},
	{SLICE_LIT("event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n"),
	 "message[add][73857293][]\nmessage[remove][2153][]\n[]"},
	{SLICE_LIT(":\n\n:x\n"), "comment[]\ncomment[x]\n[]"},
	/* Line ends of all kinds. */
	{SLICE_LIT("data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\rdata: e\n\r"),
	 "message[message][a\nb\nc][]\nmessage[message][d][]\nmessage[message][e][]\n[]"},
	{SLICE_LIT("\xef\xbb\xbf"
		   "data: x\n\n\xef\xbb\xbf"
		   "data: y\n\n"),
	 "message[message][x][]\n[]"},
	/* An id without data makes no event, but counts; one with NUL does not. */
	{SLICE_LIT("id: 7\n\n"), "[7]"},
	{SLICE_LIT("id: 7\n"), "[]"},
	{SLICE_LIT("id: 7\ndata: x\n\nid: a\0b\ndata: y\n\n"),
	 "message[message][x][7]\nmessage[message][y][7]\n[7]"},
	/* The name is of one event only, and without data goes with the empty line. */
	{SLICE_LIT("event: gap\n\ndata: x\n\n"), "message[message][x][]\n[]"},
	{SLICE_LIT("retry: 1500\nretry: 1s\nretry:\nretry: -1\nretry: 99999999999999999999\n"),
	 "retry1500\n[]"},
	{SLICE_LIT("unknown: x\nDATA: y\ndata : z\n data: q\n\n"), "[]"},
	{SLICE_LIT("data: a:b: c\n\n"), "message[message][a:b: c][]\n[]"},
};

static void streams_give_the_events_of_the_standard(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(samples); i++)
		assert_trace(samples[i].bytes, 1000, samples[i].events);
}

static void what_is_over_the_limit_fails(void **state)
{
	(void)state;
	assert_trace(SLICE_LIT("data:12\n\nx"), 7, "message[message][12][]\n[]");
	assert_trace(SLICE_LIT("data:123\n\n"), 7, "failLIMIT\n[]");
	assert_trace(SLICE_LIT("data:12\ndata:34\ndata:5\n\n"), 8, "message[message][12\n34\n5][]\n[]");
	assert_trace(SLICE_LIT("data:12\ndata:34\ndata:567\n\n"), 8, "failLIMIT\n[]");
}

static void a_new_connection_keeps_the_last_id_alone(void **state)
{
	struct sse_parser p;
	struct buf trace;

	(void)state;
	buf_init(&trace, 1000);
	sse_parser_init(&p, 100);
	feed(&p, SLICE_LIT("id: 3\ndata: x\n\nid: 4\ndata: half\nevent: e\nda"), &trace);
	sse_parser_reset(&p);
	feed(&p, SLICE_LIT("data: y\n\n"), &trace);
	buf_append_byte(&trace, 0);
	assert_string_equal((const char *)trace.ptr, "message[message][x][3]\nmessage[message][y][3]\n");
	assert_true(slice_eq_str(sse_parser_last_id(&p), "3"));
	sse_parser_fini(&p);
	buf_fini(&trace);
}

static void events_are_written_as_lines(void **state)
{
	const struct sse_message plain = {.id = SLICE_LIT("c1"), .data = SLICE_LIT("{\"a\":1}")};
	const struct sse_message gap = {.name = SLICE_LIT("gap"), .data = SLICE_LIT("1\n2\r\n3\r4\n")};
	const struct sse_message bare = {.data = SLICE_LIT("")};
	struct buf to;

	(void)state;
	buf_init(&to, 1000);
	assert_int_equal(sse_write(&to, &plain), 0);
	assert_int_equal(sse_write(&to, &gap), 0);
	assert_int_equal(sse_write(&to, &bare), 0);
	assert_int_equal(sse_write_retry(&to, 2000), 0);
	assert_int_equal(sse_write_comment(&to, slice_null()), 0);
	assert_int_equal(sse_write_comment(&to, SLICE_LIT("a\nb")), 0);
	buf_append_byte(&to, 0);
	assert_string_equal((const char *)to.ptr, "id: c1\ndata: {\"a\":1}\n\n"
						  "event: gap\ndata: 1\ndata: 2\ndata: 3\ndata: 4\ndata: \n\n"
						  "data: \n\nretry: 2000\n\n:\n\n: a\n: b\n\n");
	to.len--;
	assert_trace(buf_slice(&to), 1000,
		     "message[message][{\"a\":1}][c1]\nmessage[gap][1\n2\n3\n4\n][c1]\n"
		     "message[message][][c1]\nretry2000\ncomment[]\ncomment[a]\ncomment[b]\n[c1]");
	buf_fini(&to);
}

static void nothing_can_be_smuggled_into_an_event(void **state)
{
	const struct sse_message bad[] = {
		{.id = SLICE_LIT("1\ndata: x"), .data = SLICE_LIT("y")},
		{.id = SLICE_LIT("1\r"), .data = SLICE_LIT("y")},
		{.id = SLICE_LIT("1\0"), .data = SLICE_LIT("y")},
		{.name = SLICE_LIT("a\n"), .data = SLICE_LIT("y")},
	};
	struct buf to;

	(void)state;
	buf_init(&to, 1000);
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(sse_write(&to, &bad[i]), ERR_MALFORMED);
	assert_int_equal(to.len, 0);
	buf_fini(&to);
}

static void an_event_that_does_not_fit_is_not_begun(void **state)
{
	const struct sse_message m = {.id = SLICE_LIT("1"), .data = SLICE_LIT("abcd")};
	struct buf to;

	(void)state;
	buf_init(&to, 17);
	assert_int_equal(sse_write(&to, &m), ERR_LIMIT);
	assert_int_equal(to.len, 0);
	buf_fini(&to);
	buf_init(&to, 18);
	assert_int_equal(sse_write(&to, &m), 0);
	buf_fini(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_give_the_events_of_the_standard),
		cmocka_unit_test(what_is_over_the_limit_fails),
		cmocka_unit_test(a_new_connection_keeps_the_last_id_alone),
		cmocka_unit_test(events_are_written_as_lines),
		cmocka_unit_test(nothing_can_be_smuggled_into_an_event),
		cmocka_unit_test(an_event_that_does_not_fit_is_not_begun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
