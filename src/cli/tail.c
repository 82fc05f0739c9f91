/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Without --follow: polls each topic until it has caught up. With it: one event
 * stream for all topics. Both hold a cursor that moves with what was printed,
 * so that a restart of weir in the middle loses and repeats nothing.
 *
 * `latest` is turned into a cursor before the stream is opened: a stream that is
 * lost before its first record would otherwise begin after what came meanwhile.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/say.h"
#include "json/json.h"
#include "proto/sse/sse_parser.h"

static int run_tail(const struct args *args);

static const struct cli_option options[] = {
	{.name = "from",
	 .value = "CURSOR",
	 .doc = "earliest, latest, a cursor, @TIME (RFC 3339 or milliseconds); else earliest, with --follow latest",
	 .complete = CLI_COMPLETE_WORDS,
	 .words = "earliest latest"},
	{.name = "count", .letter = 'n', .value = "N", .doc = "stop after N records"},
	{.name = "follow", .letter = 'f', .doc = "wait for more records"},
	{.name = "partitions", .value = "LIST", .doc = "of these partitions alone: 0,3,8-11"},
	{.name = "key", .letter = 'k', .value = "KEY", .doc = "records of this key alone"},
	{.name = "timeout", .value = "DURATION", .doc = "give up after that long without an answer, 5m"},
	{.name = "json", .doc = "as it is always: one JSON object a line"},
	{0},
};

static const struct cli_example examples[] = {
	{"weir tail orders", "all records that are there, oldest first"},
	{"weir tail orders audit --follow", "what comes from now on, of two topics"},
	{"weir tail orders --from @2026-01-31T12:00:00Z -n 10", "ten records from a time on"},
	{0},
};

const struct command command_tail = {
	.name = "tail",
	.synopsis = "TOPIC...",
	.summary = "Prints records, one JSON object a line.",
	.about =
		"Without --follow it prints what is there and ends. With --follow it goes on over one event stream, through restarts of weir, "
		"until it is stopped. Gaps (records that retention or damage took) are told on stderr.",
	.options = options,
	.examples = examples,
	.operands_min = 1,
	.operands_max = CLI_OPERANDS_ANY,
	.client = true,
	.run = run_tail,
};

#define ANSWER_BYTES_MAX (192u << 20)
#define POLL_RECORDS 1000u
#define FIRST_TIMEOUT_MS 10000
#define SILENCE_MS 60000 /* streams get a comment well before that */

struct tail {
	const struct args *args;
	struct client_url url;
	struct client_conn conn;
	struct client_reply reply;
	struct client_backoff backoff;
	struct sse_parser events;
	struct buf cursor;
	struct buf target;
	uint64_t left;
	int64_t timeout_ms, progress_ms;
	bool was_connected, complained;
	char why[600]; /* of the last fault */
};

/* ---- printing ---- */

/* A record is one line: the line ends of pretty-printed JSON, which can only be blanks, become spaces. */
static void print_record(struct tail *t, struct slice record)
{
	const uint8_t *from = record.ptr, *end = record.ptr + record.len;

	for (const uint8_t *at = from; at < end; at++) {
		if (*at != '\n' && *at != '\r')
			continue;
		fwrite(from, 1, (size_t)(at - from), stdout);
		fputc(' ', stdout);
		from = at + 1;
	}
	fwrite(from, 1, (size_t)(end - from), stdout);
	fputc('\n', stdout);
	t->left--;
}

static void set_cursor(struct tail *t, struct slice cursor)
{
	buf_clear(&t->cursor);
	buf_append_slice(&t->cursor, cursor);
}

/* ---- faults ---- */

static bool is_retryable_code(const char *code)
{
	for (int i = 0; i < ERR_COUNT; i++)
		if (strcmp(err_row(-1 - i)->code, code) == 0)
			return err_row(-1 - i)->retryable;
	return true;
}

static void note_progress(struct tail *t)
{
	t->progress_ms = client_now_ms();
	t->was_connected = true;
	t->complained = false;
	client_backoff_reset(&t->backoff);
}

/* Waits before the next try. False where it was tried for long enough. */
static bool wait_and_retry(struct tail *t, int64_t at_least_ms)
{
	bool follow = args_has(t->args, "follow");
	int64_t limit =
		t->was_connected || t->timeout_ms < FIRST_TIMEOUT_MS ? t->timeout_ms : FIRST_TIMEOUT_MS;

	/* Somebody who follows has said that they wait. */
	if (!(follow && t->was_connected && !args_has(t->args, "timeout")) &&
	    client_now_ms() - t->progress_ms >= limit) {
		cli_say("%s; gave up", t->why);
		return false;
	}
	if (!t->complained)
		cli_say("%s; trying again", t->why);
	t->complained = true;
	int64_t delay = client_backoff_next(&t->backoff);
	if (delay < at_least_ms)
		delay = at_least_ms;
	const struct timespec wait = {.tv_sec = delay / 1000, .tv_nsec = delay % 1000 * 1000000};
	nanosleep(&wait, NULL);
	return true;
}

static int refused(struct tail *t, const struct client_problem *problem)
{
	return cli_fail("%d %s: %s", t->reply.status, *problem->code ? problem->code : "refused",
			problem->detail);
}

/* ---- polling ---- */

/* One call, repeated while it may succeed later. CLI_DONE with any other answer in t->reply. */
static int call(struct tail *t)
{
	const struct client_call ask = {.method = HTTP_GET, .target = buf_slice(&t->target)};
	struct client_problem problem;
	struct fault fault;

	for (;;) {
		client_reply_fini(&t->reply);
		client_reply_init(&t->reply, ANSWER_BYTES_MAX);
		int err = client_call(&t->url, &ask, &t->reply, &fault);
		if (err && err != ERR_IO)
			return cli_fail("%s", fault.text);
		if (!err && !client_may_retry(t->reply.status)) {
			note_progress(t);
			return CLI_DONE;
		}
		if (err) {
			snprintf(t->why, sizeof(t->why), "%s", fault.text);
		} else {
			client_problem_of(buf_slice(&t->reply.content), &problem);
			snprintf(t->why, sizeof(t->why), "%d %s: %s", t->reply.status, problem.code,
				 problem.detail);
		}
		if (!wait_and_retry(t, err ? 0 : t->reply.retry_after_ms))
			return CLI_FAILED;
	}
}

static void select_records(struct tail *t)
{
	const char *partitions = args_value(t->args, "partitions"), *key = args_value(t->args, "key");

	if (partitions)
		client_query(&t->target, "partitions", slice_str(partitions));
	if (key)
		client_query(&t->target, "key", slice_str(key));
}

static void poll_target(struct tail *t, const char *topic, uint64_t limit)
{
	char number[24];

	buf_clear(&t->target);
	buf_append_str(&t->target, "/v1/topics/");
	http_percent_append(&t->target, slice_str(topic));
	buf_append_str(&t->target, "/records");
	client_query(&t->target, "cursor", buf_slice(&t->cursor));
	snprintf(number, sizeof(number), "%llu", (unsigned long long)limit);
	client_query(&t->target, "limit", slice_str(number));
	select_records(t);
}

static void print_records(struct tail *t, struct json_cursor *c)
{
	struct json_value value;

	json_array_begin(c);
	while (json_array_next(c))
		if (json_take(c, &value) == 0 && t->left > 0)
			print_record(t, value.raw);
}

static void print_gaps(struct json_cursor *c)
{
	struct json_value value;

	json_array_begin(c);
	while (json_array_next(c))
		if (json_take(c, &value) == 0)
			cli_say("gap: %.*s", (int)(value.raw.len < 400 ? value.raw.len : 400),
				(const char *)value.raw.ptr);
}

/* {"records":[...],"cursor":"...","caught_up":bool}. CLI_DONE, or CLI_FAILED with a message. */
static int take_page(struct tail *t, bool *caught_up)
{
	struct json_cursor c;
	struct slice name, cursor = slice_null();
	struct json_value value;
	struct arena arena;

	*caught_up = false;
	arena_init(&arena, 4096, 1u << 20);
	json_cursor_init(&c, buf_slice(&t->reply.content));
	json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		if (json_name_is(name, "records") && json_peek(&c) == JSON_ARRAY)
			print_records(t, &c);
		else if (json_name_is(name, "gaps") && json_peek(&c) == JSON_ARRAY)
			print_gaps(&c);
		else if (json_name_is(name, "cursor") && json_take(&c, &value) == 0)
			(void)json_text(value.raw, &arena, &cursor);
		else if (json_name_is(name, "caught_up") && json_take(&c, &value) == 0)
			(void)json_bool(value, caught_up);
		else
			json_skip(&c);
	}
	bool whole = json_end(&c) == 0 && cursor.len > 0;
	if (whole)
		set_cursor(t, cursor);
	arena_fini(&arena);
	if (!whole)
		return cli_fail("the server's answer is not a page of records");
	return cli_flush() ? CLI_DONE : CLI_FAILED;
}

/* 410 moves the cursor to what is still there. */
static bool take_moved(struct tail *t, const struct client_problem *problem)
{
	if (t->reply.status != 410 || !*problem->cursor ||
	    slice_eq_str(buf_slice(&t->cursor), problem->cursor))
		return false;
	cli_say("gap: %s", problem->detail);
	set_cursor(t, slice_str(problem->cursor));
	return true;
}

static int poll_topic(struct tail *t, const char *topic, const char *from)
{
	struct client_problem problem;
	bool caught_up = false;

	set_cursor(t, slice_str(from));
	while (!caught_up && t->left > 0) {
		poll_target(t, topic, t->left < POLL_RECORDS ? t->left : POLL_RECORDS);
		int code = call(t);
		if (code)
			return code;
		if (t->reply.status == 200) {
			code = take_page(t, &caught_up);
			if (code)
				return code;
			continue;
		}
		client_problem_of(buf_slice(&t->reply.content), &problem);
		if (!take_moved(t, &problem))
			return refused(t, &problem);
	}
	return CLI_DONE;
}

/* ---- following ---- */

/* The present end as a cursor. Where the topic does not exist yet its start will do. */
static int resolve_latest(struct tail *t)
{
	struct client_problem problem;
	uint64_t left = t->left;
	bool caught_up;

	poll_target(t, t->args->operands[0], 1);
	int code = call(t);
	if (code)
		return code;
	if (t->reply.status == 404) {
		set_cursor(t, SLICE_LIT("earliest"));
		return CLI_DONE;
	}
	if (t->reply.status != 200) {
		client_problem_of(buf_slice(&t->reply.content), &problem);
		return refused(t, &problem);
	}
	t->left = 0; /* a record that came in between is the stream's to print */
	buf_clear(&t->cursor);
	code = take_page(t, &caught_up);
	t->left = left;
	return code;
}

static void follow_target(struct tail *t)
{
	struct buf topics;

	buf_clear(&t->target);
	if (t->args->operand_count == 1) {
		buf_append_str(&t->target, "/v1/topics/");
		http_percent_append(&t->target, slice_str(t->args->operands[0]));
		buf_append_str(&t->target, "/sse");
	} else {
		buf_init(&topics, 1u << 20);
		for (uint32_t i = 0; i < t->args->operand_count; i++)
			buf_appendf(&topics, "%s%s", i ? "," : "", t->args->operands[i]);
		buf_append_str(&t->target, "/v1/sse");
		client_query(&t->target, "topics", buf_slice(&topics));
		buf_fini(&topics);
	}
	client_query(&t->target, "cursor", buf_slice(&t->cursor));
	select_records(t);
}

enum stream_end {
	STREAM_AGAIN, /* open another */
	STREAM_DONE,
	STREAM_FAILED, /* told */
};

static enum stream_end on_event(struct tail *t, const struct sse_event *event)
{
	struct client_problem problem;

	if (event->id.len > 0)
		set_cursor(t, event->id);
	if (slice_eq_str(event->name, "message")) {
		print_record(t, event->data);
		return t->left > 0 ? STREAM_AGAIN : STREAM_DONE;
	}
	if (slice_eq_str(event->name, "gap"))
		cli_say("gap: %.*s", (int)(event->data.len < 400 ? event->data.len : 400),
			(const char *)event->data.ptr);
	if (!slice_eq_str(event->name, "error"))
		return STREAM_AGAIN;
	client_problem_of(event->data, &problem);
	if (!is_retryable_code(problem.code)) {
		cli_say("%s: %s", problem.code, problem.detail);
		return STREAM_FAILED;
	}
	snprintf(t->why, sizeof(t->why), "%s: %s", problem.code, problem.detail);
	return STREAM_AGAIN;
}

/* All events of one piece. */
static enum stream_end take_events(struct tail *t, struct slice piece)
{
	struct sse_event event;
	size_t taken;

	for (;;) {
		enum sse_event_kind kind = sse_parser_next(&t->events, piece, &taken, &event);
		piece = slice_from(piece, taken);
		if (kind == SSE_EVENT_MORE)
			break;
		if (kind == SSE_EVENT_FAIL) {
			cli_say("an event cannot be read: %s", err_row(event.err)->sentence);
			return STREAM_FAILED;
		}
		enum stream_end end = kind == SSE_EVENT_MESSAGE ? on_event(t, &event) : STREAM_AGAIN;
		if (end != STREAM_AGAIN)
			return cli_flush() ? end : STREAM_FAILED;
	}
	return cli_flush() ? STREAM_AGAIN : STREAM_FAILED;
}

/* Reads until something is there. False where the connection is lost, with t->why. */
static bool read_more(struct tail *t)
{
	if (client_write(&t->conn) != 0) {
		snprintf(t->why, sizeof(t->why), "the connection was lost");
		return false;
	}
	int ready = client_wait(&t->conn, client_now_ms() + SILENCE_MS);
	if (ready == 0)
		snprintf(t->why, sizeof(t->why), "the server was silent for a minute");
	else if (ready > 0 && client_read(&t->conn) == 0)
		return true;
	else
		snprintf(t->why, sizeof(t->why), "the connection was lost");
	return false;
}

/* A refusal, or a stream; its events until it ends. */
static enum stream_end read_stream(struct tail *t)
{
	struct slice piece = slice_null();
	struct fault fault = {.text = ""};

	for (;;) {
		int got = t->reply.in_body ? client_reply_piece(&t->reply, &t->conn, &piece, &fault) :
					     client_reply_head(&t->reply, &t->conn, HTTP_GET, &fault);
		if (got < 0 || got == 2) {
			if (got < 0)
				snprintf(t->why, sizeof(t->why), "%s", fault.text);
			return STREAM_AGAIN;
		}
		if (got == 0) {
			if (!read_more(t))
				return STREAM_AGAIN;
			continue;
		}
		if (t->reply.status != 200)
			return STREAM_AGAIN; /* the caller reads the refusal */
		note_progress(t);
		if (piece.ptr && t->reply.in_body) {
			enum stream_end end = take_events(t, piece);
			if (end != STREAM_AGAIN)
				return end;
		}
		piece = slice_null();
	}
}

/* The rest of an answer that is no stream. */
static enum stream_end read_refusal(struct tail *t)
{
	struct client_problem problem;
	struct fault fault;
	int got;

	while ((got = client_reply_whole(&t->reply, &t->conn, HTTP_GET, &fault)) == 0)
		if (!read_more(t))
			return STREAM_AGAIN;
	client_problem_of(got == 1 ? buf_slice(&t->reply.content) : slice_null(), &problem);
	snprintf(t->why, sizeof(t->why), "%d %s: %s", t->reply.status, problem.code, problem.detail);
	if (client_may_retry(t->reply.status) || take_moved(t, &problem))
		return STREAM_AGAIN;
	refused(t, &problem);
	return STREAM_FAILED;
}

static enum stream_end one_stream(struct tail *t)
{
	const struct http_header accept = {SLICE_LIT("Accept"), SLICE_LIT("text/event-stream")};
	struct fault fault;

	client_reply_fini(&t->reply);
	client_reply_init(&t->reply, ANSWER_BYTES_MAX);
	sse_parser_reset(&t->events);
	snprintf(t->why, sizeof(t->why), "the stream ended");
	if (client_open(&t->conn, &t->url, FIRST_TIMEOUT_MS, &fault) != 0) {
		snprintf(t->why, sizeof(t->why), "%s", fault.text);
		return STREAM_AGAIN;
	}
	follow_target(t);
	const struct http_ask head = {
		.method = SLICE_LIT("GET"),
		.target = buf_slice(&t->target),
		.host = slice_str(t->url.authority),
		.framing = HTTP_FRAME_NONE,
		.headers = &accept,
		.header_count = 1,
	};
	int err = http_ask_append(&t->conn.out, &head);
	if (err) {
		cli_say("the request cannot be written: %s", err_row(err)->sentence);
		return STREAM_FAILED;
	}
	enum stream_end end = read_stream(t);
	if (end == STREAM_AGAIN && t->reply.in_body && t->reply.status != 200)
		end = read_refusal(t);
	return end;
}

static int follow(struct tail *t, const char *from)
{
	bool latest = strcmp(from, "latest") == 0;
	struct timespec now;
	char start[40];

	set_cursor(t, slice_str(from));
	if (latest && t->args->operand_count == 1) {
		int code = resolve_latest(t);
		if (code)
			return code;
		latest = false;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(start, sizeof(start), "@%lld", (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	for (;;) {
		enum stream_end end = one_stream(t);
		if (end != STREAM_AGAIN)
			return end == STREAM_DONE ? CLI_DONE : CLI_FAILED;
		/* Several topics have no common cursor before the first record: then the time of the start is one. */
		if (latest && t->was_connected && slice_eq_str(buf_slice(&t->cursor), "latest"))
			set_cursor(t, slice_str(start));
		int64_t at_least =
			t->reply.status != 200 && t->reply.status != 0 ? t->reply.retry_after_ms : 0;
		if (!wait_and_retry(t, at_least))
			return CLI_FAILED;
	}
}

/* ---- the command ---- */

static int tail_init(struct tail *t, const struct args *args, struct fault *fault)
{
	*t = (struct tail){.args = args, .left = UINT64_MAX, .timeout_ms = 300000};
	client_conn_init(&t->conn);
	client_reply_init(&t->reply, ANSWER_BYTES_MAX);
	client_backoff_init(&t->backoff);
	sse_parser_init(&t->events, ANSWER_BYTES_MAX);
	buf_init(&t->cursor, 1u << 20);
	buf_init(&t->target, 4u << 20);
	t->progress_ms = client_now_ms();
	int err = args_number(args, "count", 1, UINT64_MAX - 1, &t->left, fault);
	if (!err)
		err = args_duration(args, "timeout", &t->timeout_ms, fault);
	return err ? err : client_url_of(args, &t->url, fault);
}

static void tail_fini(struct tail *t)
{
	client_conn_fini(&t->conn);
	client_reply_fini(&t->reply);
	sse_parser_fini(&t->events);
	buf_fini(&t->cursor);
	buf_fini(&t->target);
}

static int run_tail(const struct args *args)
{
	const char *from = args_value(args, "from");
	struct fault fault;
	struct tail t;
	int code = CLI_DONE;

	if (tail_init(&t, args, &fault) != 0)
		code = cli_misuse("%s", fault.text);
	else if (args_has(args, "follow"))
		code = follow(&t, from ? from : "latest");
	else
		for (uint32_t i = 0; i < args->operand_count && code == CLI_DONE; i++)
			code = poll_topic(&t, args->operands[i], from ? from : "earliest");
	tail_fini(&t);
	return code;
}
