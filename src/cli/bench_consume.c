/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers that each read a topic from its start to where it ended when they
 * began, in one of the three ways. Records are counted, not looked into.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/bench.h"
#include "cli/bench_loop.h"
#include "cli/bench_ws.h"
#include "cli/commands.h"
#include "cli/say.h"
#include "json/json.h"
#include "proto/sse/sse_parser.h"

static int run_bench_consume(const struct args *args);

static const struct cli_option options[] = {
	{.name = "topic", .value = "TOPIC", .doc = "the topic to read, bench"},
	{.name = "way",
	 .value = "WORD",
	 .doc = "poll, sse or ws; poll",
	 .complete = CLI_COMPLETE_WORDS,
	 .words = "poll sse ws"},
	{.name = "connections", .letter = 'c', .value = "N", .doc = "readers, each of the whole topic, 1"},
	{.name = "limit", .value = "N", .doc = "records a poll, 1000"},
	{.name = "seconds", .value = "N", .doc = "at most how long, 10"},
	{.name = "raw", .doc = "with ws: ask for bare values, format=raw"},
	{.name = "json", .doc = "print the figures as JSON"},
	{0},
};

static const struct cli_example examples[] = {
	{"weir bench consume --connections 4", "four readers poll what bench produce wrote"},
	{"weir bench consume --way ws --raw", "the same by WebSocket, values alone"},
	{0},
};

const struct command bench_consume = {
	.name = "consume",
	.parent = &command_bench,
	.synopsis = "",
	.summary = "Reads a topic from its start and measures the rate.",
	.about =
		"Each reader ends where the topic ended when the run began. MB/s is of the bytes that came, records as JSON with all that stands "
		"around them. Latency is of a poll, request to whole answer; of a stream, request to first record.\n\n"
		"Exit code 1 where nothing was read.",
	.options = options,
	.examples = examples,
	.client = true,
	.run = run_bench_consume,
};

#define SECOND 1000000000
#define CONNECT_TIMEOUT_MS 10000
#define ROOM_BYTES (256u << 10)
#define ANSWER_BYTES_MAX (256u << 20)

enum way { WAY_POLL, WAY_SSE, WAY_WS };

struct reader {
	struct consume *all;
	struct bench_ws ws; /* its connection serves the other ways too */
	struct client_reply reply;
	struct sse_parser events;
	struct buf cursor;
	int64_t asked_ns;
	uint64_t records;
	bool made, done;
};

struct consume {
	const struct bench_options *options;
	struct bench_figures figures;
	struct bench_loop loop;
	struct reader *readers;
	struct buf target;
	uint8_t *room;
	enum way way;
	uint64_t goal; /* records a reader */
	uint32_t left; /* readers that are not done */
	int64_t now_ns;
};

/* ---- how much there is ---- */

/* [{"partition":0,"start":0,"end":1,..},..] */
static uint64_t sum_offsets(struct json_cursor *c)
{
	struct json_value value;
	struct slice name;
	uint64_t total = 0, start, end;

	json_array_begin(c);
	while (json_array_next(c)) {
		start = end = 0;
		json_object_begin(c);
		while (json_object_next(c, &name)) {
			bool is_start = json_name_is(name, "start"), is_end = json_name_is(name, "end");
			if (json_take(c, &value) == 0 && (is_start || is_end))
				(void)json_u64(value, is_start ? &start : &end);
		}
		total += end > start ? end - start : 0;
	}
	return total;
}

static int learn_goal(struct consume *a, struct fault *fault)
{
	struct client_call call = {.method = HTTP_GET};
	struct client_problem problem;
	struct client_reply reply;
	struct json_cursor c;
	struct slice name;

	bench_target(&a->target, a->options->topic, "");
	call.target = buf_slice(&a->target);
	client_reply_init(&reply, 64u << 20);
	int err = client_call(&a->options->url, &call, &reply, fault);
	if (!err && reply.status != 200) {
		client_problem_of(buf_slice(&reply.content), &problem);
		err = fault_set(fault, ERR_NOT_FOUND, "%d %s: %s", reply.status, problem.code,
				problem.detail);
	}
	json_cursor_init(&c, buf_slice(&reply.content));
	if (!err)
		json_object_begin(&c);
	while (!err && json_object_next(&c, &name)) {
		if (json_name_is(name, "offsets"))
			a->goal = sum_offsets(&c);
		else
			json_skip(&c);
	}
	client_reply_fini(&reply);
	if (!err && a->goal == 0)
		err = fault_set(fault, ERR_NOT_FOUND,
				"the topic %s has no records: weir bench produce writes some",
				a->options->topic);
	return err;
}

/* ---- one reader ---- */

static void end(struct reader *r)
{
	if (r->done)
		return;
	r->done = true;
	r->all->left--;
	client_shut(&r->ws.conn);
}

static void count(struct reader *r, uint64_t records)
{
	struct consume *a = r->all;

	if (a->way != WAY_POLL && r->records == 0 && records > 0)
		bench_latency_add(&a->figures.latency, a->now_ns - r->asked_ns);
	r->records += records;
	a->figures.records += records;
}

static void on_message(void *ctx, struct slice message)
{
	struct reader *r = ctx;

	if (r->done || slice_starts(message, SLICE_LIT("{\"gap\"")))
		return;
	r->all->figures.bytes += message.len;
	count(r, 1);
}

static void write_target(struct consume *a, const struct reader *r)
{
	static const char *const behind[] = {"/records", "/sse", "/ws"};

	buf_clear(&a->target);
	bench_target(&a->target, a->options->topic, behind[a->way]);
	client_query(&a->target, "cursor", r->cursor.len > 0 ? buf_slice(&r->cursor) : SLICE_LIT("earliest"));
	if (a->way == WAY_POLL)
		buf_appendf(&a->target, "&limit=%llu", (unsigned long long)a->options->limit);
	if (a->way == WAY_WS)
		buf_append_str(&a->target,
			       a->options->raw ? "&mode=subscribe&format=raw" : "&mode=subscribe");
}

static int ask(struct reader *r, struct fault *fault)
{
	struct consume *a = r->all;
	const struct http_header accept = {SLICE_LIT("Accept"), SLICE_LIT("text/event-stream")};

	write_target(a, r);
	const struct http_ask head = {
		.method = SLICE_LIT("GET"),
		.target = buf_slice(&a->target),
		.host = slice_str(a->options->url.authority),
		.framing = HTTP_FRAME_NONE,
		.headers = &accept,
		.header_count = a->way == WAY_SSE ? 1 : 0,
	};
	r->asked_ns = bench_now_ns();
	int err = http_ask_append(&r->ws.conn.out, &head);
	if (!err)
		err = client_write(&r->ws.conn);
	return err ? fault_set(fault, err, "the request cannot be sent: %s", err_row(err)->sentence) : 0;
}

static int reader_open(struct consume *a, uint32_t i, struct fault *fault)
{
	struct reader *r = &a->readers[i];

	r->all = a;
	r->made = true;
	buf_init(&r->cursor, 1u << 20);
	client_reply_init(&r->reply, ANSWER_BYTES_MAX);
	sse_parser_init(&r->events, ANSWER_BYTES_MAX);
	if (a->way == WAY_WS) {
		write_target(a, r);
		r->asked_ns = bench_now_ns();
		return bench_ws_open(&r->ws, &a->options->url, buf_slice(&a->target), fault);
	}
	client_conn_init(&r->ws.conn);
	int err = client_open(&r->ws.conn, &a->options->url, CONNECT_TIMEOUT_MS, fault);
	return err ? err : ask(r, fault);
}

static void reader_close(struct reader *r)
{
	if (!r->made)
		return;
	bench_ws_close(&r->ws);
	client_reply_fini(&r->reply);
	sse_parser_fini(&r->events);
	buf_fini(&r->cursor);
}

/* {"records":[..],"cursor":"..","caught_up":..}: the cursor is plain text. */
static int take_page(struct reader *r, bool *caught_up, struct fault *fault)
{
	struct json_value value;
	struct json_cursor c;
	struct slice name;
	uint64_t records = 0;

	json_cursor_init(&c, buf_slice(&r->reply.content));
	json_object_begin(&c);
	buf_clear(&r->cursor);
	while (json_object_next(&c, &name)) {
		if (json_name_is(name, "records")) {
			json_array_begin(&c);
			while (json_array_next(&c))
				records += json_skip(&c) == 0;
		} else if (json_take(&c, &value) == 0 && json_name_is(name, "cursor") && value.raw.len > 2) {
			buf_append(&r->cursor, value.raw.ptr + 1, value.raw.len - 2);
		} else if (json_name_is(name, "caught_up")) {
			(void)json_bool(value, caught_up);
		}
	}
	if (json_end(&c) != 0 || r->cursor.len == 0)
		return fault_set(fault, ERR_PROTOCOL, "the server's answer is not a page of records");
	count(r, records);
	return 0;
}

static int refused(const struct reader *r, struct fault *fault)
{
	struct client_problem problem;

	client_problem_of(buf_slice(&r->reply.content), &problem);
	return fault_set(fault, ERR_PROTOCOL, "%d %s: %s", r->reply.status, problem.code, problem.detail);
}

static int read_page(struct reader *r, struct fault *fault)
{
	bool caught_up = false;

	int err = client_read(&r->ws.conn);
	if (err)
		return fault_set(fault, err, "the connection was lost");
	int got = client_reply_whole(&r->reply, &r->ws.conn, HTTP_GET, fault);
	if (got != 1)
		return got;
	if (r->reply.status != 200)
		return refused(r, fault);
	r->all->figures.bytes += r->reply.content.len;
	bench_latency_add(&r->all->figures.latency, bench_now_ns() - r->asked_ns);
	err = take_page(r, &caught_up, fault);
	if (err || caught_up || r->records >= r->all->goal) {
		end(r);
		return err;
	}
	return ask(r, fault);
}

static int take_events(struct reader *r, struct slice piece, struct fault *fault)
{
	struct sse_event event;
	size_t taken;

	for (;;) {
		enum sse_event_kind kind = sse_parser_next(&r->events, piece, &taken, &event);
		piece = slice_from(piece, taken);
		if (kind == SSE_EVENT_MORE)
			return 0;
		if (kind == SSE_EVENT_FAIL)
			return fault_set(fault, event.err, "an event cannot be read: %s",
					 err_row(event.err)->sentence);
		if (kind != SSE_EVENT_MESSAGE)
			continue;
		if (slice_eq_str(event.name, "error"))
			return fault_set(fault, ERR_PROTOCOL, "%.*s",
					 (int)(event.data.len < 400 ? event.data.len : 400),
					 (const char *)event.data.ptr);
		if (slice_eq_str(event.name, "message"))
			on_message(r, event.data);
	}
}

static int read_events(struct reader *r, struct fault *fault)
{
	struct slice piece;
	int got;

	int err = client_read(&r->ws.conn);
	if (err)
		return fault_set(fault, err, "the connection was lost");
	if (!r->reply.in_body) {
		got = client_reply_head(&r->reply, &r->ws.conn, HTTP_GET, fault);
		if (got != 1)
			return got;
	}
	if (r->reply.status != 200) {
		got = client_reply_whole(&r->reply, &r->ws.conn, HTTP_GET, fault);
		return got == 1 ? refused(r, fault) : got;
	}
	while ((got = client_reply_piece(&r->reply, &r->ws.conn, &piece, fault)) == 1) {
		err = take_events(r, piece, fault);
		if (err)
			return err;
	}
	return got == 2 ? fault_set(fault, ERR_IO, "the stream ended") : got;
}

static void on_ready(struct consume *a, uint32_t i)
{
	struct reader *r = &a->readers[i];
	struct fault fault;
	int err;

	if (r->done)
		return;
	a->now_ns = bench_now_ns();
	if (a->way == WAY_POLL)
		err = read_page(r, &fault);
	else if (a->way == WAY_SSE)
		err = read_events(r, &fault);
	else
		err = bench_ws_read(&r->ws, a->room, ROOM_BYTES, on_message, r, &fault);
	if (err)
		bench_figures_error(&a->figures, 1, "%s", fault.text);
	if (err || r->records >= a->goal)
		end(r);
}

/* ---- all of them ---- */

static int open_readers(struct consume *a, struct fault *fault)
{
	uint32_t n = (uint32_t)a->options->connections;
	int err = 0;

	a->readers = mem_zalloc(n, sizeof(*a->readers));
	a->room = mem_alloc(ROOM_BYTES);
	if (!a->readers || !a->room)
		return fault_set(fault, ERR_NOMEM, "no memory for %u readers", n);
	for (uint32_t i = 0; i < n && !err; i++) {
		struct reader *r = &a->readers[i];
		err = reader_open(a, i, fault);
		a->left++;
		if (!err && bench_loop_watch(&a->loop, r->ws.conn.fd, i, false, false) != 0)
			err = fault_set(fault, ERR_IO, "a connection cannot be watched");
		a->now_ns = bench_now_ns();
		if (!err && a->way == WAY_WS)
			err = bench_ws_begin(&r->ws, on_message, r, fault);
		if (!err && r->records >= a->goal)
			end(r);
	}
	return err;
}

static int consume(struct consume *a)
{
	static const char *const names[] = {"poll", "SSE", "WebSocket"};
	int64_t begun_ns = 0, end_ns = 0;
	struct fault fault;
	char what[300];

	int err = bench_loop_open(&a->loop, &fault);
	if (!err)
		err = learn_goal(a, &fault);
	if (!err) {
		begun_ns = bench_now_ns();
		end_ns = begun_ns + (int64_t)a->options->seconds * SECOND;
		err = open_readers(a, &fault);
	}
	while (!err && a->left > 0 && !a->loop.stopped && bench_now_ns() < end_ns) {
		int n = bench_loop_wait(&a->loop, end_ns);
		if (n < 0)
			err = fault_set(&fault, n, "cannot wait for sockets");
		for (int i = 0; i < n; i++)
			on_ready(a, (uint32_t)a->loop.events[i].data.u64);
	}
	if (err)
		return cli_fail("%s", fault.text);
	a->figures.elapsed_ns = bench_now_ns() - begun_ns;
	snprintf(what, sizeof(what), "%llu readers by %s, %llu records in the topic",
		 (unsigned long long)a->options->connections, names[a->way], (unsigned long long)a->goal);
	return bench_report(a->options, &a->figures, "consume", what,
			    a->way == WAY_POLL ? "a poll" : "to the first record");
}

static int take_way(const struct args *args, enum way *out, struct fault *fault)
{
	static const char *const ways[] = {"poll", "sse", "ws"};
	const char *text = args_value(args, "way");

	for (uint32_t i = 0; i < 3; i++) {
		if (text && strcmp(text, ways[i]) != 0)
			continue;
		*out = (enum way)i;
		return 0;
	}
	return fault_set(fault, ERR_BAD_PARAMETER, "--way \"%.80s\": expected poll, sse or ws", text);
}

static int run_bench_consume(const struct args *args)
{
	struct bench_options o = {.connections = 1, .batch = 1, .seconds = 10, .limit = 1000};
	struct consume a = {.options = &o};
	struct fault fault;

	if (bench_options_take(args, &o, &fault) != 0 || take_way(args, &a.way, &fault) != 0)
		return cli_misuse("%s", fault.text);
	buf_init(&a.target, 2u << 20);
	int code = consume(&a);
	for (uint32_t i = 0; a.readers && i < o.connections; i++)
		reader_close(&a.readers[i]);
	mem_free(a.readers);
	mem_free(a.room);
	bench_loop_close(&a.loop);
	buf_fini(&a.target);
	return code;
}
