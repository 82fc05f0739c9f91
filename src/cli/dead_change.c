/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Redriving and dropping, a page a request. What was done in a page is marked by the server together with its records, so
 * a page whose answer was lost (weir was restarted in the middle) is simply asked for again.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/dead.h"
#include "cli/progress.h"
#include "cli/reply.h"
#include "cli/say.h"
#include "json/json.h"
#include "json/json_write.h"

#define PAGE "500"
#define IDS_A_PAGE 500u
#define ANSWER_BYTES_MAX (64u << 20)
#define PATIENCE_MS 30000
#define FAILURES_TOLD 20u

static int run_redrive(const struct args *args);
static int run_drop(const struct args *args);

static const struct cli_option redrive_options[] = {
	{.name = "all", .doc = "every open one"},
	DEAD_SELECT_OPTIONS,
	{.name = "dry-run", .doc = "tell what would become of each, and change nothing"},
	{.name = "json", .doc = "a JSON object a line: each letter, progress, the result"},
	{0},
};

static const struct cli_option drop_options[] = {
	{.name = "all", .doc = "every open one"},
	DEAD_SELECT_OPTIONS,
	{.name = "dry-run", .doc = "tell how many it would be, and change nothing"},
	{.name = "yes", .letter = 'y', .doc = "do not ask on a terminal"},
	{.name = "json", .doc = "a JSON object a line: each letter, progress, the result"},
	{0},
};

static const struct cli_example redrive_examples[] = {
	{"weir dead redrive orders 17 18", "these two"},
	{"weir dead redrive orders --code partition_out_of_range --dry-run", "would they be taken now?"},
	{"weir dead redrive orders --all", "every open one"},
	{0},
};

const struct command dead_redrive = {
	.name = "redrive",
	.parent = &command_dead,
	.synopsis = "TOPIC [ID...]",
	.summary = "Sends dead letters through the door again.",
	.about =
		"Each is read as it was the first time, with its key, headers and idempotency key. One that is taken is marked in the "
		"same commit, so it is stored once, whatever is restarted in the middle; one that is refused again stays open, and is "
		"told with its reason (then the exit code is 1).",
	.options = redrive_options,
	.examples = redrive_examples,
	.operands_min = 1,
	.operands_max = CLI_OPERANDS_ANY,
	.client = true,
	.run = run_redrive,
};

const struct command dead_drop = {
	.name = "drop",
	.parent = &command_dead,
	.synopsis = "TOPIC [ID...]",
	.summary = "Marks dead letters as dropped: nobody is to redrive them.",
	.about = "They stay in the topic of dead letters until its retention takes them.",
	.options = drop_options,
	.operands_min = 1,
	.operands_max = CLI_OPERANDS_ANY,
	.client = true,
	.run = run_drop,
};

/* What is being done, and how far. */
struct work {
	const struct args *args;
	const char *verb; /* "redrive" */
	const char *topic;
	struct progress progress;
	uint64_t total, seen;
	uint64_t done, duplicates, failed, not_open, unknown;
	int64_t after;
	uint32_t id; /* operand to be asked for next */
	bool more, later, json, quiet;
};

/* ---- one page ---- */

static void put_ids(struct work *w, struct buf *target)
{
	struct buf ids;
	uint32_t end = w->id + IDS_A_PAGE;

	buf_init(&ids, 64u << 10);
	if (end > w->args->operand_count)
		end = w->args->operand_count;
	for (; w->id < end; w->id++) {
		if (ids.len)
			(void)buf_append_byte(&ids, ',');
		(void)buf_append_str(&ids, w->args->operands[w->id]);
	}
	client_query(target, "ids", buf_slice(&ids));
	buf_fini(&ids);
}

static void put_target(struct work *w, struct buf *target)
{
	char after[24];

	reply_target(target, "/v1/topics/", w->topic, "/dead/");
	buf_append_str(target, w->verb);
	if (w->args->operand_count > 1) {
		put_ids(w, target);
	} else {
		dead_put_selection(w->args, target);
		if (args_has(w->args, "all"))
			client_query(target, "all", SLICE_LIT("true"));
		client_query(target, "limit", SLICE_LIT(PAGE));
		(void)snprintf(after, sizeof(after), "%lld", (long long)w->after);
		if (w->after >= 0)
			client_query(target, "after", slice_str(after));
	}
	if (args_has(w->args, "dry-run"))
		client_query(target, "dry_run", SLICE_LIT("true"));
}

static void pause_for(int64_t ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	(void)nanosleep(&t, NULL); /* banned-ok: a command waits for the daemon */
}

/* A daemon that is not there, or has no room, is waited for. CLI_DONE with a 2xx answer in *r. */
static int ask(struct slice target, const struct args *args, struct client_reply *r)
{
	const struct client_call call = {.method = HTTP_POST, .target = target};
	int64_t begun = client_now_ms();
	struct client_backoff backoff;
	struct client_problem problem;
	struct client_url url;
	struct fault fault;

	client_backoff_init(&backoff);
	client_reply_init(r, ANSWER_BYTES_MAX);
	if (client_url_of(args, &url, &fault))
		return cli_misuse("%s", fault.text);
	for (;;) {
		int rc = client_call(&url, &call, r, &fault);
		if (rc == 0 && r->status < 300)
			return CLI_DONE;
		if (client_now_ms() - begun > PATIENCE_MS || (rc == 0 && !client_may_retry(r->status)))
			break;
		pause_for(client_backoff_next(&backoff));
		client_reply_fini(r);
		client_reply_init(r, ANSWER_BYTES_MAX);
		fault.err = rc;
	}
	if (r->status == 0)
		return cli_fail("%s", fault.text);
	client_problem_of(buf_slice(&r->content), &problem);
	return cli_fail("%d %s: %s", r->status, *problem.code ? problem.code : http_reason(r->status),
			problem.detail);
}

/* ---- what it says ---- */

static void print_result(struct work *w, struct slice raw)
{
	static const char *const names[] = {"id", "status", "code", "detail", NULL};
	struct slice text[4];
	struct json_cursor c;

	json_cursor_init(&c, raw);
	reply_members(&c, names, text);
	w->seen++;
	if (slice_eq_str(text[1], "redriven") || slice_eq_str(text[1], "dropped"))
		w->done++;
	else if (slice_eq_str(text[1], "duplicate"))
		w->duplicates++;
	else if (slice_eq_str(text[1], "failed"))
		w->failed++;
	else if (slice_eq_str(text[1], "not_open"))
		w->not_open++;
	else if (slice_eq_str(text[1], "unknown"))
		w->unknown++;
	if (w->json) {
		printf("%.*s\n", (int)raw.len, (const char *)raw.ptr);
	} else if (slice_eq_str(text[1], "failed") && w->failed <= FAILURES_TOLD) {
		progress_clear(&w->progress);
		printf("%.*s: %.*s: %.*s\n", (int)text[0].len, (const char *)text[0].ptr, (int)text[2].len,
		       (const char *)text[2].ptr, (int)text[3].len, (const char *)text[3].ptr);
	}
}

/* It had no room: asked for again from there on. */
static bool is_later(struct work *w, struct slice raw)
{
	static const char *const names[] = {"status", "id", NULL};
	struct slice text[2];
	int64_t id;
	struct json_cursor c;

	json_cursor_init(&c, raw);
	reply_members(&c, names, text);
	if (!slice_eq_str(text[0], "later"))
		return false;
	if (!w->later && slice_to_i64(text[1], &id))
		w->after = id - 1;
	w->later = true;
	return true;
}

/* Up to the first that had no room: from there on it is asked for again. */
static int take_page(struct work *w, struct slice content)
{
	struct json_value value;
	struct json_cursor c;
	struct slice name;

	w->more = w->later = false;
	json_cursor_init(&c, content);
	json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		if (json_name_is(name, "results")) {
			json_array_begin(&c);
			while (json_array_next(&c)) {
				if (json_take(&c, &value))
					break;
				if (!is_later(w, value.raw) && !w->later)
					print_result(w, value.raw);
			}
		} else if (json_name_is(name, "next")) {
			if (json_take(&c, &value) == 0 && value.kind == JSON_NUMBER && !w->later)
				w->more = json_i64(value, &w->after) == 0;
		} else {
			json_skip(&c);
		}
	}
	return json_end(&c) == 0 ? CLI_DONE : cli_fail("the server's answer is not what a %s says", w->verb);
}

static int do_page(struct work *w)
{
	uint32_t id = w->id;
	struct client_reply r;
	struct buf target;

	put_target(w, &target);
	int code = ask(buf_slice(&target), w->args, &r);
	if (!code)
		code = take_page(w, buf_slice(&r.content));
	client_reply_fini(&r);
	buf_fini(&target);
	if (!code && w->later) { /* some had no room: ask for the same page again, in a moment */
		w->id = id;
		w->more = true;
		pause_for(500);
	} else if (w->id < w->args->operand_count && w->args->operand_count > 1) {
		w->more = true;
	}
	return code;
}

/* How many there are to do, for the bar; and whether there is a daemon and a topic at all. */
static int count_open(struct work *w)
{
	static const char *const names[] = {"open", NULL};
	struct slice text[1];
	struct client_reply r;
	struct json_cursor c;
	struct buf target;
	int code;

	reply_target(&target, "/v1/topics/", w->topic, "/dead?limit=1");
	code = reply_call(w->args, HTTP_GET, buf_slice(&target), slice_null(), &r);
	if (code == CLI_DONE) {
		json_cursor_init(&c, buf_slice(&r.content));
		reply_members(&c, names, text);
		(void)slice_to_u64(text[0], &w->total);
	}
	if (w->args->operand_count > 1)
		w->total = w->args->operand_count - 1;
	client_reply_fini(&r);
	buf_fini(&target);
	return code;
}

static void print_end(const struct work *w, const char *past)
{
	bool dry = args_has(w->args, "dry-run");

	if (w->json) {
		printf("{\"type\":\"result\",\"dry_run\":%s,\"%s\":%llu,\"duplicates\":%llu,\"failed\":%llu,"
		       "\"not_open\":%llu,\"unknown\":%llu}\n",
		       dry ? "true" : "false", past, (unsigned long long)w->done,
		       (unsigned long long)w->duplicates, (unsigned long long)w->failed,
		       (unsigned long long)w->not_open, (unsigned long long)w->unknown);
		return;
	}
	if (w->failed > FAILURES_TOLD)
		printf("… and %llu more (--json tells them all)\n",
		       (unsigned long long)(w->failed - FAILURES_TOLD));
	printf(dry ? "%llu would be %s" : "%llu %s", (unsigned long long)w->done, past);
	if (w->duplicates)
		printf(dry ? ", %llu are stored already" : ", %llu were stored already",
		       (unsigned long long)w->duplicates);
	if (w->failed)
		printf(dry ? ", %llu would fail again" : ", %llu failed again and stay open",
		       (unsigned long long)w->failed);
	if (w->not_open)
		printf(", %llu are not open any more", (unsigned long long)w->not_open);
	if (w->unknown)
		printf(", %llu do not exist", (unsigned long long)w->unknown);
	printf("\n");
}

static int work_through(const struct args *args, const char *verb, const char *past)
{
	struct work w = {.args = args,
			 .verb = verb,
			 .topic = args->operands[0],
			 .after = -1,
			 .id = 1,
			 .json = args_has(args, "json")};
	int code = count_open(&w);

	if (code)
		return code;
	progress_init(&w.progress, strcmp(verb, "drop") ? "redriving" : "dropping", w.json);
	w.progress.unit = "letters";
	do {
		code = do_page(&w);
		progress_show(&w.progress, w.seen, w.total);
	} while (code == CLI_DONE && w.more);
	progress_clear(&w.progress);
	if (code)
		return code;
	print_end(&w, past);
	if (!cli_flush())
		return CLI_FAILED;
	return w.failed || w.unknown ? CLI_FAILED : CLI_DONE;
}

static bool is_told_which(const struct args *args)
{
	return args->operand_count > 1 || args_has(args, "all") || dead_is_selected(args);
}

static int run_redrive(const struct args *args)
{
	if (!is_told_which(args))
		return cli_misuse("say which: IDs, --code, --from, --to, --pointer, --value, or --all");
	if (args->operand_count > 1 && (args_has(args, "all") || dead_is_selected(args)))
		return cli_misuse("IDs and a selection do not go together: give one of both");
	return work_through(args, "redrive", "redriven");
}

/* On a terminal only: a script has said what it wants. */
static bool is_sure(const struct args *args)
{
	char answer[16] = "";

	if (args_has(args, "yes") || args_has(args, "dry-run") || args->operand_count > 1 ||
	    !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return true;
	fprintf(stderr, "This drops %s dead letters of %s. Go on? [y/N] ",
		args_has(args, "all") ? "all open" : "the selected", args->operands[0]);
	if (!fgets(answer, sizeof(answer), stdin))
		return false;
	return answer[0] == 'y' || answer[0] == 'Y';
}

static int run_drop(const struct args *args)
{
	if (!is_told_which(args))
		return cli_misuse("say which: IDs, --code, --from, --to, --pointer, --value, or --all");
	if (args->operand_count > 1 && (args_has(args, "all") || dead_is_selected(args)))
		return cli_misuse("IDs and a selection do not go together: give one of both");
	if (!is_sure(args))
		return cli_fail("nothing was dropped");
	return work_through(args, "drop", "dropped");
}

/* ---- for an edit ---- */

int dead_redrive_one(const struct args *args, const char *topic, const char *id)
{
	const char *operands[2] = {topic, id};
	struct args one = *args;

	one.operands = operands;
	one.operand_count = 2;
	one.given_count = 0;
	for (uint32_t i = 0; i < args->given_count; i++)
		if (strcmp(args->given[i].option->name, "server") == 0 ||
		    strcmp(args->given[i].option->name, "json") == 0)
			one.given[one.given_count++] = args->given[i];
	return work_through(&one, "redrive", "redriven");
}
