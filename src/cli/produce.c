/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record a line over one connection, many in flight.
 *
 *   records:  [ answered | sent, not answered | read, not sent ]
 *             0          answered             sent             count
 *
 * Every record has a key of its own, so a record may be sent as often as is
 * needed: what the server has already is answered as a duplicate. That makes
 * the rule for faults short. A connection that is lost: back off, connect, send
 * again from the first record without an answer. An answer that says "later"
 * (429, 503, 507): send nothing new, take the answers that are still to come,
 * back off, send those again that were told so, in their order.
 *
 * A record after one that was told "later" may have been taken before it:
 * pipelining makes that unavoidable, and --in-flight 1 avoids it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/lines.h"
#include "cli/say.h"
#include "json/json_write.h"

static int run_produce(const struct args *args);

static const struct cli_option options[] = {
	{.name = "key", .letter = 'k', .value = "KEY", .doc = "key of every record"},
	{.name = "partition",
	 .letter = 'p',
	 .value = "N",
	 .doc = "partition of every record; else by key, or spread"},
	{.name = "header",
	 .letter = 'H',
	 .value = "NAME=VALUE",
	 .doc = "a header of every record",
	 .repeats = true},
	{.name = "idempotency-key",
	 .value = "KEY",
	 .doc = "key that makes sending twice harmless; {line} stands for the line's number"},
	{.name = "no-idempotency-key", .doc = "send none: a lost connection may then store a record twice"},
	{.name = "in-flight", .value = "N", .doc = "records sent and not yet answered, 256"},
	{.name = "timeout", .value = "DURATION", .doc = "give up after that long without an answer, 5m"},
	{.name = "json", .doc = "print the summary to stdout as JSON"},
	{.name = "quiet", .letter = 'q', .doc = "no summary"},
	{0},
};

static const struct cli_example examples[] = {
	{"echo '{\"id\":1}' | weir produce orders", "one record"},
	{"weir produce orders --key eu --header source=import orders.ndjson", "a file, a record a line"},
	{"weir produce orders --idempotency-key import-7-{line} orders.ndjson",
	 "may be run again: nothing is stored twice"},
	{"tail -F access.log | weir produce access", "as lines come"},
	{0},
};

const struct command command_produce = {
	.name = "produce",
	.synopsis = "TOPIC [FILE]",
	.summary = "Sends a record a line, from a file or stdin.",
	.about =
		"A line's bytes are the record's value, whatever they are; an empty line is an empty value. Each record gets an "
		"idempotency key of its own. 429, 503, 507 and lost connections are waited out and what has no answer is sent again with "
		"the same keys, so restarting weir in the middle loses and repeats nothing.\n\n"
		"Exit code 1 where a record was refused or nothing could be sent: line, code and reason go to stderr.",
	.options = options,
	.examples = examples,
	.operands_min = 1,
	.operands_max = 2,
	.complete = CLI_COMPLETE_FILE,
	.client = true,
	.run = run_produce,
};

#define WINDOW_MAX 4096u
#define WINDOW_BYTES_MAX (64u << 20)
#define OUT_BYTES (256u << 10)
#define ANSWER_TIMEOUT_MS 60000 /* a sent record without an answer: the connection counts as lost */
#define FIRST_TIMEOUT_MS 10000  /* a server that was never there */
#define COMPLAINTS_MAX 20u

enum record_state { RECORD_WAITS, RECORD_DONE, RECORD_AGAIN };

struct record {
	uint64_t line;
	size_t len;
	uint8_t *value;
	enum record_state state;
};

struct producer {
	struct client_url url;
	struct client_conn conn;
	struct client_reply reply;
	struct client_backoff backoff;
	struct lines lines;
	struct buf target;
	struct buf body; /* of the request being written, with --header */
	const struct args *args;
	const char *key_template; /* NULL: run id and line; with {line} or without */
	char run_id[17];
	bool no_key;

	struct record *records;
	uint32_t window, count, sent, answered;
	size_t bytes; /* of values in records */
	bool again;   /* some answer said "later" */

	int64_t timeout_ms, progress_ms, retry_at_ms;
	int64_t wait_ms;  /* what Retry-After asks at least */
	int64_t heard_ms; /* of the last answer, or of the first request after all were answered */
	bool was_connected;
	bool complained; /* of this outage */

	uint64_t accepted, duplicates, refused, retries, reconnects;
	int exit;
};

/* ---- set-up ---- */

static int take_options(struct producer *p, struct fault *fault)
{
	const char *header;
	uint64_t window = 256, partition = UINT64_MAX;
	uint32_t at = 0;

	p->timeout_ms = 300000;
	int err = args_number(p->args, "in-flight", 1, WINDOW_MAX, &window, fault);
	if (!err)
		err = args_number(p->args, "partition", 0, 9999, &partition, fault);
	if (!err)
		err = args_duration(p->args, "timeout", &p->timeout_ms, fault);
	while (!err && (header = args_next(p->args, "header", &at)))
		if (!strchr(header, '=') || header[0] == '=')
			err = fault_set(fault, ERR_BAD_PARAMETER, "--header \"%.80s\": expected NAME=VALUE",
					header);
	p->window = (uint32_t)window;
	p->key_template = args_value(p->args, "idempotency-key");
	p->no_key = args_has(p->args, "no-idempotency-key");
	if (!err && p->no_key && p->key_template)
		err = fault_set(fault, ERR_BAD_PARAMETER,
				"--idempotency-key and --no-idempotency-key exclude each other");
	return err;
}

static void write_target(struct producer *p)
{
	const char *key = args_value(p->args, "key");
	const char *partition = args_value(p->args, "partition");

	buf_append_str(&p->target, "/v1/topics/");
	http_percent_append(&p->target, slice_str(p->args->operands[0]));
	buf_append_str(&p->target, "/records");
	if (key)
		client_query(&p->target, "key", slice_str(key));
	if (partition)
		client_query(&p->target, "partition", slice_str(partition));
}

static int producer_init(struct producer *p, const struct args *args, struct fault *fault)
{
	uint8_t random[8];

	*p = (struct producer){.args = args};
	client_conn_init(&p->conn);
	client_reply_init(&p->reply, 1u << 20);
	client_backoff_init(&p->backoff);
	buf_init(&p->target, 64u << 10);
	buf_init(&p->body, CLIENT_OUT_MAX);
	p->lines.fd = -1;
	int err = take_options(p, fault);
	if (!err)
		err = client_url_of(args, &p->url, fault);
	if (!err)
		err = lines_open(&p->lines, args->operand_count > 1 ? args->operands[1] : NULL, fault);
	if (err)
		return err;
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return fault_set(fault, ERR_IO, "no random bytes: %s", strerrordesc_np(errno));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(p->run_id + 2 * i, 3, "%02x", random[i]);
	p->records = mem_zalloc(p->window, sizeof(*p->records));
	write_target(p);
	if (!p->records || buf_status(&p->target))
		return fault_set(fault, ERR_NOMEM, "no memory");
	return 0;
}

static void producer_fini(struct producer *p)
{
	for (uint32_t i = 0; i < p->count; i++)
		mem_free(p->records[i].value);
	mem_free(p->records);
	lines_close(&p->lines);
	client_conn_fini(&p->conn);
	client_reply_fini(&p->reply);
	buf_fini(&p->target);
	buf_fini(&p->body);
}

/* ---- reading lines ---- */

static bool has_room(const struct producer *p)
{
	return p->count < p->window && p->bytes < WINDOW_BYTES_MAX && !p->again;
}

/* One key for many records would make all but the first a duplicate or an error. */
static bool key_serves(const struct producer *p, uint64_t line)
{
	return line == 1 || !p->key_template || strstr(p->key_template, "{line}");
}

static int take_lines(struct producer *p, struct fault *fault)
{
	struct slice line;

	while (has_room(p) && lines_next(&p->lines, &line)) {
		if (!key_serves(p, p->lines.count))
			return fault_set(
				fault, ERR_BAD_PARAMETER,
				"--idempotency-key without {line} serves one record, and line %llu is another",
				(unsigned long long)p->lines.count);
		struct record *r = &p->records[p->count];
		*r = (struct record){.line = p->lines.count, .len = line.len, .value = mem_alloc(line.len)};
		if (!r->value)
			return fault_set(fault, ERR_NOMEM, "no memory for line %llu",
					 (unsigned long long)r->line);
		memcpy(r->value, line.ptr, line.len);
		p->bytes += line.len;
		p->count++;
	}
	return 0;
}

/* ---- sending ---- */

static void append_key(const struct producer *p, uint64_t line, struct buf *out)
{
	const char *rest = p->key_template, *mark;

	if (!rest) {
		buf_appendf(out, "%s-%llu", p->run_id, (unsigned long long)line);
		return;
	}
	while ((mark = strstr(rest, "{line}"))) {
		buf_append(out, rest, (size_t)(mark - rest));
		buf_append_u64(out, line);
		rest = mark + 6;
	}
	buf_append_str(out, rest);
}

/* A key that begins with a quote, or has a blank at an end, would be read as another: it goes in quotes. */
static void quote_key(struct buf *key)
{
	struct slice bare = buf_slice(key);
	struct buf quoted;

	if (bare.len == 0 || buf_status(key) || (bare.ptr[0] != '"' && slice_trim(bare).len == bare.len))
		return;
	buf_init(&quoted, 8192);
	buf_append_byte(&quoted, '"');
	for (size_t i = 0; i < bare.len; i++) {
		if (bare.ptr[i] == '"' || bare.ptr[i] == '\\')
			buf_append_byte(&quoted, '\\');
		buf_append_byte(&quoted, bare.ptr[i]);
	}
	buf_append_byte(&quoted, '"');
	buf_fini(key);
	*key = quoted;
}

/* A batch of one: the only form that carries record headers. */
static void append_batch(struct producer *p, struct slice value)
{
	const char *header;
	uint32_t at = 0;

	json_put_open(&p->body, '{');
	json_put_name(&p->body, "records");
	json_put_open(&p->body, '[');
	json_put_item(&p->body);
	json_put_open(&p->body, '{');
	json_put_name(&p->body, "headers");
	json_put_open(&p->body, '{');
	while ((header = args_next(p->args, "header", &at))) {
		const char *equals = strchr(header, '=');
		json_put_name_slice(&p->body, slice_make(header, (size_t)(equals - header)));
		json_put_string_lossy(&p->body, slice_str(equals + 1));
	}
	json_put_close(&p->body, '}');
	if (utf8_valid(value)) {
		json_put_member_string(&p->body, "value_text", value);
	} else {
		json_put_name(&p->body, "value_base64");
		json_put_base64(&p->body, value);
	}
	json_put_close(&p->body, '}');
	json_put_close(&p->body, ']');
	json_put_close(&p->body, '}');
}

static int append_request(struct producer *p, const struct record *r, struct fault *fault)
{
	struct slice value = slice_make(r->value, r->len);
	struct http_header list[2] = {{SLICE_LIT("Content-Type"), SLICE_LIT("application/octet-stream")}};
	struct buf key;

	if (args_has(p->args, "header")) {
		buf_clear(&p->body);
		append_batch(p, value);
		list[0].value = SLICE_LIT("application/vnd.weir.batch+json");
		value = buf_slice(&p->body);
	}
	buf_init(&key, 4096);
	append_key(p, r->line, &key);
	quote_key(&key);
	list[1] = (struct http_header){SLICE_LIT("Idempotency-Key"), buf_slice(&key)};
	const struct http_ask head = {
		.method = SLICE_LIT("POST"),
		.target = buf_slice(&p->target),
		.host = slice_str(p->url.authority),
		.framing = HTTP_FRAME_LENGTH,
		.length = value.len,
		.headers = list,
		.header_count = p->no_key ? 1 : 2,
	};
	int err = buf_status(&p->body) ? buf_status(&p->body) : buf_status(&key);
	if (!err)
		err = http_ask_append(&p->conn.out, &head);
	if (!err)
		err = buf_append_slice(&p->conn.out, value);
	buf_fini(&key);
	if (err)
		return fault_set(fault, err, "line %llu cannot be sent: %s", (unsigned long long)r->line,
				 err_row(err)->sentence);
	return 0;
}

static int send_records(struct producer *p, struct fault *fault)
{
	while (p->conn.fd >= 0 && !p->again && p->sent < p->count && p->conn.out.len < OUT_BYTES) {
		int err = append_request(p, &p->records[p->sent], fault);
		if (err)
			return err;
		if (p->sent++ == p->answered)
			p->heard_ms = client_now_ms();
	}
	return 0;
}

/* ---- answers ---- */

/* Takes answered records out. Those that are to be sent again stay, in front. */
static void settle(struct producer *p)
{
	uint32_t kept = 0;

	if (p->again && p->answered < p->sent)
		return; /* some answers are still to come */
	for (uint32_t i = 0; i < p->count; i++) {
		struct record *r = &p->records[i];
		if (r->state == RECORD_DONE) {
			p->bytes -= r->len;
			mem_free(r->value);
			continue;
		}
		r->state = RECORD_WAITS;
		p->records[kept++] = *r;
	}
	if (p->again) {
		p->sent = 0;
		p->again = false;
		int64_t delay = client_backoff_next(&p->backoff);
		p->retry_at_ms = client_now_ms() + (delay > p->wait_ms ? delay : p->wait_ms);
		p->wait_ms = 0;
	} else {
		p->sent -= p->answered;
	}
	p->answered = 0;
	p->count = kept;
}

static void refuse(struct producer *p, const struct record *r, const struct client_problem *problem)
{
	p->refused++;
	p->exit = CLI_FAILED;
	if (p->refused <= COMPLAINTS_MAX)
		cli_say("line %llu: %d %s: %s", (unsigned long long)r->line, p->reply.status,
			*problem->code ? problem->code : "refused", problem->detail);
	if (p->refused == COMPLAINTS_MAX + 1)
		cli_say("more lines were refused; their number is in the summary");
}

/* What concerns one record alone; anything else would meet all that follow. */
static bool concerns_record(int status, const char *code)
{
	return status == 413 || status == 422 ||
	       (status == 400 && strcmp(code, "invalid_idempotency_key") == 0);
}

/* One answer to the first record that has none. False where it is no use to go on. */
static bool take_answer(struct producer *p, struct fault *fault)
{
	struct record *r = &p->records[p->answered++];
	struct client_problem problem;
	int status = p->reply.status;

	r->state = RECORD_DONE;
	p->heard_ms = client_now_ms();
	if (status >= 200 && status < 300) {
		if (p->reply.replayed)
			p->duplicates++;
		else
			p->accepted++;
		p->progress_ms = client_now_ms();
		client_backoff_reset(&p->backoff);
		p->complained = false;
		return true;
	}
	client_problem_of(buf_slice(&p->reply.content), &problem);
	if (client_may_retry(status)) {
		r->state = RECORD_AGAIN;
		p->again = true;
		p->retries++;
		p->wait_ms = p->reply.retry_after_ms > p->wait_ms ? p->reply.retry_after_ms : p->wait_ms;
		if (!p->complained)
			cli_say("%d %s: %s; trying again", status, problem.code, problem.detail);
		p->complained = true;
		return true;
	}
	p->progress_ms = client_now_ms();
	refuse(p, r, &problem);
	if (concerns_record(status, problem.code))
		return true;
	fault_set(fault, ERR_CANCELLED, "stopped: the lines that follow would be refused too");
	return false;
}

/* The connection is gone: everything without an answer is to be sent again. */
static void lose(struct producer *p, const char *why)
{
	bool nothing_was_there = p->sent == p->answered;

	client_shut(&p->conn);
	client_reply_fini(&p->reply);
	client_reply_init(&p->reply, 1u << 20);
	if (nothing_was_there && !p->again)
		return; /* an idle connection: the next record opens another */
	if (!p->complained && why)
		cli_say("%s; trying again", why);
	p->complained = true;
	p->reconnects++;
	p->again = true;
	p->sent = p->answered;
	settle(p);
}

static int take_answers(struct producer *p, struct fault *fault)
{
	while (p->conn.fd >= 0 && p->answered < p->sent) {
		int got = client_reply_whole(&p->reply, &p->conn, HTTP_POST, fault);
		if (got == 0)
			break;
		if (got == ERR_IO || got == ERR_PROTOCOL) {
			lose(p, fault->text);
			return got == ERR_IO ? 0 : got;
		}
		if (got < 0)
			return got;
		if (!take_answer(p, fault))
			return ERR_CANCELLED;
		if (!p->reply.keep_alive)
			lose(p, NULL);
	}
	settle(p);
	if (p->conn.fd >= 0 && p->conn.ended)
		lose(p, "the server closed the connection");
	return 0;
}

/* ---- turning ---- */

static int gave_up(struct producer *p, const char *why, struct fault *fault)
{
	return fault_set(fault, ERR_TIMEOUT, "%s; gave up: lines from %llu on have no answer", why,
			 (unsigned long long)p->records[0].line);
}

static int connect_server(struct producer *p, struct fault *fault)
{
	int64_t now = client_now_ms();

	if (p->conn.fd >= 0 || p->count == 0 || now < p->retry_at_ms)
		return 0;
	if (client_open(&p->conn, &p->url, 5000, fault) == 0) {
		if (!p->was_connected)
			p->progress_ms = now;
		p->was_connected = true;
		return 0;
	}
	int64_t limit =
		p->was_connected || p->timeout_ms < FIRST_TIMEOUT_MS ? p->timeout_ms : FIRST_TIMEOUT_MS;
	if (client_now_ms() - p->progress_ms >= limit) {
		char why[300];
		snprintf(why, sizeof(why), "%.299s", fault->text);
		return gave_up(p, why, fault);
	}
	if (!p->complained)
		cli_say("%s; trying again", fault->text);
	p->complained = true;
	p->retry_at_ms = client_now_ms() + client_backoff_next(&p->backoff);
	return 0;
}

/* Waits for the socket, the input, or the next try. */
static int wait_turn(struct producer *p, struct fault *fault)
{
	struct pollfd fds[2] = {{.fd = -1}, {.fd = -1}};
	int64_t now = client_now_ms(), wait = 1000;

	if (p->conn.fd >= 0 && (p->answered < p->sent || p->conn.out.len > 0))
		fds[0] = (struct pollfd){.fd = p->conn.fd,
					 .events = (short)(POLLIN | (p->conn.out.len > 0 ? POLLOUT : 0))};
	if (has_room(p) && !p->lines.ended)
		fds[1] = (struct pollfd){.fd = p->lines.fd, .events = POLLIN};
	if (p->conn.fd < 0 && p->count > 0)
		wait = p->retry_at_ms > now ? p->retry_at_ms - now : 0;
	else if (p->retry_at_ms > now && p->retry_at_ms - now < wait)
		wait = p->retry_at_ms - now;
	if (fds[0].fd < 0 && fds[1].fd >= 0 && p->count == 0)
		wait = -1; /* nothing on the way: for as long as it takes */
	if (poll(fds, 2, (int)wait) < 0 && errno != EINTR)
		return fault_set(fault, ERR_IO, "poll: %s", strerrordesc_np(errno));
	if (fds[1].revents) {
		int err = lines_read(&p->lines, fault);
		if (err)
			return err;
	}
	if (fds[0].revents && client_read(&p->conn) != 0)
		lose(p, "the connection was lost");
	return 0;
}

static int check_time(struct producer *p, struct fault *fault)
{
	int64_t now = client_now_ms();

	if (p->count == 0) {
		p->progress_ms = now;
		return 0;
	}
	if (p->conn.fd >= 0 && p->answered < p->sent && now - p->heard_ms >= ANSWER_TIMEOUT_MS)
		lose(p, "no answer for a minute");
	/* Without a connection connect_server knows better what to say. */
	if (p->conn.fd >= 0 && now - p->progress_ms >= p->timeout_ms)
		return gave_up(p, "no answer", fault);
	return 0;
}

static int turn(struct producer *p, struct fault *fault)
{
	int err = take_lines(p, fault);

	if (!err)
		err = connect_server(p, fault);
	if (!err && client_now_ms() >= p->retry_at_ms)
		err = send_records(p, fault);
	if (!err && p->conn.fd >= 0 && client_write(&p->conn) != 0 && client_read(&p->conn) != 0)
		lose(p, "the connection was lost");
	if (!err && (p->count > 0 || !p->lines.ended))
		err = wait_turn(p, fault);
	if (!err)
		err = take_answers(p, fault);
	return err ? err : check_time(p, fault);
}

static int summary(const struct producer *p)
{
	unsigned long long accepted = p->accepted, duplicates = p->duplicates, refused = p->refused;
	unsigned long long retries = p->retries, reconnects = p->reconnects, unanswered = p->count;

	if (args_has(p->args, "json")) {
		printf("{\"accepted\":%llu,\"duplicates\":%llu,\"refused\":%llu,\"unanswered\":%llu,\"retries\":%llu,\"reconnects\":%llu}\n",
		       accepted, duplicates, refused, unanswered, retries, reconnects);
		return cli_flush() ? p->exit : CLI_FAILED;
	}
	if (args_has(p->args, "quiet"))
		return p->exit;
	cli_say("%llu accepted, %llu already there, %llu refused, %llu without answer; %llu retries, %llu reconnects",
		accepted, duplicates, refused, unanswered, retries, reconnects);
	return p->exit;
}

static int run_produce(const struct args *args)
{
	struct producer p;
	struct fault fault;

	int err = producer_init(&p, args, &fault);
	if (err) {
		producer_fini(&p);
		cli_say("%s", fault.text);
		return err == ERR_BAD_PARAMETER ? CLI_USAGE : CLI_FAILED;
	}
	p.progress_ms = client_now_ms();
	while (!err && !(lines_done(&p.lines) && p.count == 0))
		err = turn(&p, &fault);
	if (err) {
		settle(&p);
		cli_say("%s", fault.text);
		p.exit = CLI_FAILED;
	}
	int code = summary(&p);
	producer_fini(&p);
	return code;
}
