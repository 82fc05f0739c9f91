/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run beside the schedule is the daemon's: this command begins one and then only looks. So it may be stopped, and the
 * daemon may be restarted in the middle; the run goes on, and is found again by its number.
 */
#include "cli/source_run.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/listing.h"
#include "cli/progress.h"
#include "cli/reply.h"
#include "cli/say.h"
#include "json/json_write.h"

#define LOOK_MS 250
#define PATIENCE_MS 60000
#define ANSWER_BYTES_MAX (1u << 20)
#define RATE_MAX 1000000000u

static int run_run(const struct args *args);
static int run_runs(const struct args *args);
static int run_cancel(const struct args *args);

static const struct cli_option run_options[] = {
	{.name = "from",
	 .value = "FROM",
	 .doc = "read from there on: a time, or a value of the cursor or key"},
	{.name = "to", .value = "TO", .doc = "read up to there, and not that itself"},
	{.name = "rate", .value = "N", .doc = "records a second at most"},
	{.name = "resume", .value = "RUN", .doc = "go on with a run that failed or was cancelled"},
	{.name = "watch", .value = "RUN", .doc = "look at a run that is under way"},
	{.name = "detach", .doc = "begin it, print its number, and do not wait"},
	{.name = "json", .doc = "a JSON object a line: progress, then the run; so too without a terminal"},
	{0},
};

static const struct cli_option list_options[] = {
	{.name = "json", .doc = "print the server's JSON"},
	{0},
};

static const struct cli_example run_examples[] = {
	{"weir source run orders", "now, whatever its schedule says"},
	{"weir source run orders --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z",
	 "January once more, beside the schedule"},
	{"weir source run orders --from 1000000 --rate 5000", "from a key on, slowly"},
	{0},
};

const struct command source_run = {
	.name = "run",
	.parent = &command_source,
	.synopsis = "NAME",
	.summary = "Asks a source now; with --from, --to or --rate, reads a part of it beside its schedule.",
	.about =
		"Without options the next run of the schedule begins at once. With --from, --to or --rate a run of its own reads that "
		"part of the source from its beginning, with checkpoints of its own, while the schedule goes on. It is the daemon's: "
		"it goes on when this command is stopped and after a restart. What both bring is stored once where the source "
		"gives idempotency keys.",
	.options = run_options,
	.examples = run_examples,
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_run,
};

const struct command source_runs = {
	.name = "runs",
	.parent = &command_source,
	.synopsis = "NAME",
	.summary = "Lists the runs of a source beside its schedule.",
	.options = list_options,
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_runs,
};

const struct command source_cancel = {
	.name = "cancel",
	.parent = &command_source,
	.synopsis = "NAME RUN",
	.summary =
		"Ends a run beside the schedule; what it has stored stays. One that has ended is forgotten.",
	.operands_min = 2,
	.operands_max = 2,
	.client = true,
	.run = run_cancel,
};

/* ---- what the server says of a run ---- */

struct run_shown {
	uint64_t id, records, dead, done, total;
	char state[16];
	char error[600];
};

static const char *const members[] = {"run", "state", "records", "dead", "last_error", "read", NULL};

static void take_progress(struct slice content, struct run_shown *run)
{
	static const char *const names[] = {"total", NULL};
	struct slice name, text[1];
	struct json_cursor c;

	json_cursor_init(&c, content);
	(void)json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		if (!json_name_is(name, "progress") || json_peek(&c) != JSON_OBJECT) {
			json_skip(&c);
			continue;
		}
		reply_members(&c, names, text);
		(void)slice_to_u64(text[0], &run->total);
	}
}

static bool take_run(struct slice content, struct run_shown *run)
{
	struct slice text[6];
	struct json_cursor c;

	memset(run, 0, sizeof(*run));
	json_cursor_init(&c, content);
	reply_members(&c, members, text);
	if (!slice_to_u64(text[0], &run->id))
		return false;
	(void)slice_to_u64(text[2], &run->records);
	(void)slice_to_u64(text[3], &run->dead);
	(void)slice_to_u64(text[5], &run->done);
	(void)snprintf(run->state, sizeof(run->state), "%.*s", (int)text[1].len, (const char *)text[1].ptr);
	if (!slice_eq_str(text[4], "null"))
		(void)snprintf(run->error, sizeof(run->error), "%.*s", (int)text[4].len,
			       (const char *)text[4].ptr);
	take_progress(content, run);
	return true;
}

/* ---- beginning ---- */

static void put_bound(struct buf *body, const struct args *args, const char *name)
{
	const char *value = args_value(args, name);

	if (!value)
		return;
	json_put_name(body, name);
	json_put_string_lossy(body, slice_str(value));
}

static int post_run(const struct args *args, struct client_reply *r)
{
	const char *resume = args_value(args, "resume");
	struct buf target, body, behind;
	struct fault fault = {0};
	uint64_t rate = 0;
	int code;

	if (args_number(args, "rate", 1, RATE_MAX, &rate, &fault))
		return cli_misuse("%s", fault.text);
	buf_init(&body, 65536);
	buf_init(&behind, 4096);
	json_put_open(&body, '{');
	put_bound(&body, args, "from");
	put_bound(&body, args, "to");
	if (rate)
		json_put_member_u64(&body, "rate", rate);
	json_put_close(&body, '}');
	(void)buf_append_str(&behind, "/runs");
	if (resume) {
		(void)buf_append_byte(&behind, '/');
		(void)http_percent_append(&behind, slice_str(resume));
		(void)buf_append_str(&behind, "/resume");
	}
	(void)buf_append_byte(&behind, 0);
	reply_target(&target, "/v1/sources/", args->operands[0], (const char *)behind.ptr);
	code = reply_call(args, HTTP_POST, buf_slice(&target), resume ? slice_null() : buf_slice(&body), r);
	buf_fini(&target);
	buf_fini(&behind);
	buf_fini(&body);
	return code;
}

/* ---- looking ---- */

struct watch {
	const struct args *args;
	struct client_url url;
	struct buf target;
	struct progress progress;
	struct run_shown run;
	struct client_reply reply; /* the last */
	char told[600];            /* the error that was told last */
	bool json;
};

static void pause_for(int64_t ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	(void)nanosleep(&t, NULL); /* banned-ok: a command waits for the daemon */
}

/* A daemon that is not there, or just begins, is waited for. */
static int look(struct watch *w)
{
	const struct client_call call = {.method = HTTP_GET, .target = buf_slice(&w->target)};
	int64_t begun = client_now_ms();
	struct client_backoff backoff;
	struct client_problem problem;
	struct fault fault;

	client_backoff_init(&backoff);
	for (;;) {
		client_reply_fini(&w->reply);
		client_reply_init(&w->reply, ANSWER_BYTES_MAX);
		int rc = client_call(&w->url, &call, &w->reply, &fault);
		if (rc == 0 && w->reply.status == 200)
			return take_run(buf_slice(&w->reply.content), &w->run) ?
				       CLI_DONE :
				       cli_fail("the server's answer is not a run");
		if (client_now_ms() - begun > PATIENCE_MS || (rc == 0 && !client_may_retry(w->reply.status)))
			break;
		pause_for(client_backoff_next(&backoff));
	}
	progress_clear(&w->progress);
	if (w->reply.status == 0)
		return cli_fail("%s", fault.text);
	client_problem_of(buf_slice(&w->reply.content), &problem);
	return cli_fail("%d %s: %s", w->reply.status,
			*problem.code ? problem.code : http_reason(w->reply.status), problem.detail);
}

static void show(struct watch *w)
{
	const struct run_shown *r = &w->run;

	if (r->error[0] && strcmp(r->error, w->told) != 0) {
		memcpy(w->told, r->error, sizeof(w->told));
		progress_clear(&w->progress);
		cli_say("%s", r->error);
	}
	progress_show(&w->progress, r->done, r->total);
}

static int finish(struct watch *w)
{
	const struct run_shown *r = &w->run;
	bool done = strcmp(r->state, "done") == 0;
	struct slice content = buf_slice(&w->reply.content);

	progress_clear(&w->progress);
	if (w->json)
		printf("%.*s", (int)content.len, (const char *)content.ptr);
	else
		printf("run %llu is %s: %llu read, %llu stored, %llu dead letters\n",
		       (unsigned long long)r->id, r->state, (unsigned long long)r->done,
		       (unsigned long long)r->records, (unsigned long long)r->dead);
	if (!done && r->error[0] && strcmp(r->error, w->told) != 0)
		cli_say("%s", r->error);
	if (strcmp(r->state, "failed") == 0)
		cli_say("when that is mended: weir source run %s --resume %llu", w->args->operands[0],
			(unsigned long long)r->id);
	return cli_flush() && done ? CLI_DONE : CLI_FAILED;
}

static int watch_run(const struct args *args, uint64_t id)
{
	struct watch w = {.args = args, .json = args_has(args, "json") || !isatty(STDERR_FILENO)};
	char behind[40];
	struct fault fault;
	int code = CLI_DONE;

	if (client_url_of(args, &w.url, &fault))
		return cli_misuse("%s", fault.text);
	(void)snprintf(behind, sizeof(behind), "/runs/%llu", (unsigned long long)id);
	reply_target(&w.target, "/v1/sources/", args->operands[0], behind);
	client_reply_init(&w.reply, ANSWER_BYTES_MAX);
	progress_init(&w.progress, "reading", w.json);
	w.progress.unit = "rows";
	code = look(&w);
	w.progress.first = w.run.done;
	while (code == CLI_DONE && strcmp(w.run.state, "running") == 0) {
		show(&w);
		pause_for(LOOK_MS);
		code = look(&w);
	}
	if (code == CLI_DONE)
		code = finish(&w);
	client_reply_fini(&w.reply);
	buf_fini(&w.target);
	return code;
}

/* ---- commands ---- */

static int run_now(const struct args *args)
{
	int code = reply_ask(args, &(struct reply_question){.method = HTTP_POST,
							    .before = "/v1/sources/",
							    .behind = "/run"});

	if (!code)
		cli_say("source %s is asked now", args->operands[0]);
	return code;
}

static int begin(const struct args *args)
{
	struct run_shown run;
	struct client_reply r;
	int code;

	client_reply_init(&r, ANSWER_BYTES_MAX);
	code = post_run(args, &r);
	if (!code && !take_run(buf_slice(&r.content), &run))
		code = cli_fail("the server's answer is not a run");
	client_reply_fini(&r);
	if (code)
		return code;
	if (args_has(args, "detach")) {
		printf("%llu\n", (unsigned long long)run.id);
		return cli_flush() ? CLI_DONE : CLI_FAILED;
	}
	cli_say("run %llu has begun; it goes on when this command is stopped; weir source cancel %s %llu ends it",
		(unsigned long long)run.id, args->operands[0], (unsigned long long)run.id);
	return watch_run(args, run.id);
}

static int run_run(const struct args *args)
{
	bool window = args_has(args, "from") || args_has(args, "to") || args_has(args, "rate");
	struct fault fault = {0};
	uint64_t id = 0;

	if (window + args_has(args, "resume") + args_has(args, "watch") > 1)
		return cli_misuse(
			"--resume and --watch name a run that is there: it has its --from, --to and --rate");
	if (args_number(args, "watch", 1, UINT32_MAX, &id, &fault))
		return cli_misuse("%s", fault.text);
	if (id)
		return watch_run(args, id);
	return window || args_has(args, "resume") ? begin(args) : run_now(args);
}

static void print_row(struct json_cursor *c)
{
	static const char *const names[] = {"run",  "state", "read",       "records",
					    "from", "to",    "last_error", NULL};
	struct slice t[7];

	reply_members(c, names, t);
	for (int i = 4; i < 7; i++)
		if (slice_eq_str(t[i], "null"))
			t[i] = i == 6 ? SLICE_LIT("") : SLICE_LIT("-");
	printf("%6.*s %-10.*s %12.*s %8.*s  %-24.*s %-24.*s %.*s\n", (int)t[0].len, (const char *)t[0].ptr,
	       (int)t[1].len, (const char *)t[1].ptr, (int)t[2].len, (const char *)t[2].ptr, (int)t[3].len,
	       (const char *)t[3].ptr, (int)t[4].len, (const char *)t[4].ptr, (int)t[5].len,
	       (const char *)t[5].ptr, (int)t[6].len, (const char *)t[6].ptr);
}

static int run_runs(const struct args *args)
{
	struct listing runs = {
		.member = "runs",
		.head = "   RUN STATE              READ   STORED  FROM                     TO                       LAST ERROR",
		.print_row = print_row,
	};
	struct buf target;
	int code;

	reply_target(&target, "/v1/sources/", args->operands[0], "/runs");
	(void)buf_append_byte(&target, 0);
	runs.target = (const char *)target.ptr;
	code = listing_run(args, &runs);
	buf_fini(&target);
	return code;
}

static int run_cancel(const struct args *args)
{
	struct client_reply r;
	struct buf target, behind;
	int code;

	buf_init(&behind, 4096);
	(void)buf_append_str(&behind, "/runs/");
	(void)http_percent_append(&behind, slice_str(args->operands[1]));
	(void)buf_append_byte(&behind, 0);
	reply_target(&target, "/v1/sources/", args->operands[0], (const char *)behind.ptr);
	code = reply_call(args, HTTP_DELETE, buf_slice(&target), slice_null(), &r);
	if (!code)
		cli_say("run %s of %s is ended", args->operands[1], args->operands[0]);
	client_reply_fini(&r);
	buf_fini(&behind);
	buf_fini(&target);
	return code;
}
