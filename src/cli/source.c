/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/listing.h"
#include "cli/reply.h"
#include "cli/say.h"
#include "cli/source_run.h"
#include "json/json.h"

static int run_list(const struct args *args);
static int run_show(const struct args *args);
static int run_pause(const struct args *args);
static int run_resume(const struct args *args);
static int run_reset(const struct args *args);
static int run_test(const struct args *args);

static const struct cli_option json_options[] = {
	{.name = "json", .doc = "print the server's JSON"},
	{0},
};

static const struct cli_option reset_options[] = {
	{.name = "yes", .letter = 'y', .doc = "do not ask on a terminal"},
	{0},
};

static const struct cli_option test_options[] = {
	{.name = "records", .letter = 'n', .value = "N", .doc = "how many at most; else 10"},
	{.name = "json", .doc = "print the server's JSON"},
	{0},
};

static const struct command source_list = {
	.name = "list",
	.parent = &command_source,
	.synopsis = "",
	.summary = "Lists the sources that weir fetches from.",
	.options = json_options,
	.client = true,
	.run = run_list,
};
static const struct command source_show = {
	.name = "show",
	.parent = &command_source,
	.synopsis = "NAME",
	.summary = "Shows how far a source is, what it costs, and its last error.",
	.options = json_options,
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_show,
};
static const struct command source_pause = {
	.name = "pause",
	.parent = &command_source,
	.synopsis = "NAME",
	.summary = "Stops fetching, until it is resumed; a restart does not resume it.",
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_pause,
};
static const struct command source_resume = {
	.name = "resume",
	.parent = &command_source,
	.synopsis = "NAME",
	.summary = "Goes on where it was paused.",
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_resume,
};
static const struct command source_reset = {
	.name = "reset",
	.parent = &command_source,
	.synopsis = "NAME",
	.summary =
		"Forgets how far a source was read: it begins at the beginning, and what it has brought is stored again.",
	.options = reset_options,
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_reset,
};
static const struct command source_test = {
	.name = "test",
	.parent = &command_source,
	.synopsis = "NAME",
	.summary = "Fetches some rows, shows the records that they would become, and stores nothing.",
	.options = test_options,
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_test,
};
static const struct command *const children[] = {
	&source_list, &source_show, &source_pause, &source_resume, &source_reset,
	&source_test, &source_run,  &source_runs,  &source_cancel, NULL,
};

const struct command command_source = {
	.name = "source",
	.synopsis = "",
	.summary = "Lists, shows, pauses, resets, tests and runs the sources that weir fetches from.",
	.children = children,
};

/* ---- looking ---- */

static void print_row(struct json_cursor *c)
{
	static const char *const names[] = {"name", "type", "state", "records", "dead", "last_error", NULL};
	struct slice t[6];
	char room[2000];

	reply_members(c, names, t);
	t[5] = reply_plain(t[5], room, sizeof(room));
	printf("%-24.*s %-10.*s %-9.*s %12.*s %8.*s  %.*s\n", (int)t[0].len, (const char *)t[0].ptr,
	       (int)t[1].len, (const char *)t[1].ptr, (int)t[2].len, (const char *)t[2].ptr, (int)t[3].len,
	       (const char *)t[3].ptr, (int)t[4].len, (const char *)t[4].ptr,
	       slice_eq_str(t[5], "null") ? 0 : (int)t[5].len, (const char *)t[5].ptr);
}

static int run_list(const struct args *args)
{
	static const struct listing sources = {
		.target = "/v1/sources",
		.member = "sources",
		.head = "SOURCE                   TYPE       STATE          RECORDS     DEAD  LAST ERROR",
		.print_row = print_row,
	};

	return listing_run(args, &sources);
}

static int run_show(const struct args *args)
{
	return reply_ask(args, &(struct reply_question){.method = HTTP_GET,
							.before = "/v1/sources/",
							.behind = "",
							.print = reply_print});
}

/* ---- asking ---- */

static int ask(const struct args *args, const char *behind, const char *done)
{
	int code = reply_ask(args, &(struct reply_question){.method = HTTP_POST,
							    .before = "/v1/sources/",
							    .behind = behind});

	if (!code)
		cli_say("source %s %s", args->operands[0], done);
	return code;
}

static int run_pause(const struct args *args)
{
	return ask(args, "/pause", "is paused");
}

static int run_resume(const struct args *args)
{
	return ask(args, "/resume", "goes on");
}

static int run_reset(const struct args *args)
{
	if (!reply_is_sure(args, "source", "how far it was read"))
		return cli_fail("nothing was reset");
	return ask(args, "/reset", "begins at the beginning");
}

/* ---- testing ---- */

/* Each item of an array on a line of its own, as JSON. */
static void print_items(struct json_cursor *c)
{
	struct json_value item;

	json_array_begin(c);
	while (json_array_next(c) && json_take(c, &item) == 0)
		printf("%.*s\n", (int)item.raw.len, (const char *)item.raw.ptr);
}

static void say_plain(const char *before, struct json_value value)
{
	char room[2000];
	struct slice text = reply_plain(reply_bare(value), room, sizeof(room));

	cli_say("%s%.*s", before, (int)text.len, (const char *)text.ptr);
}

/* Records go to stdout; what is to be known besides to stderr. */
static int print_test(struct slice content)
{
	struct json_value value;
	struct json_cursor c;
	struct slice name;
	bool failed = false;

	json_cursor_init(&c, content);
	json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		if (json_name_is(name, "records") || json_name_is(name, "dead")) {
			print_items(&c);
		} else if (json_name_is(name, "warnings")) {
			json_array_begin(&c);
			while (json_array_next(&c) && json_take(&c, &value) == 0)
				say_plain("warning: ", value);
		} else if (json_name_is(name, "error") && json_take(&c, &value) == 0) {
			failed = true;
			say_plain("", value);
		} else if (!json_name_is(name, "error")) {
			json_skip(&c);
		}
	}
	if (json_end(&c) != 0)
		return cli_fail("the server's answer is not JSON");
	return cli_flush() && !failed ? CLI_DONE : CLI_FAILED;
}

static int run_test(const struct args *args)
{
	const char *records = args_value(args, "records");
	struct client_reply r;
	struct buf target;

	reply_target(&target, "/v1/sources/", args->operands[0], "/test");
	if (records)
		client_query(&target, "records", slice_str(records));
	int code = reply_call(args, HTTP_POST, buf_slice(&target), slice_null(), &r);
	if (!code)
		code = args_has(args, "json") ? reply_print(args, buf_slice(&r.content)) :
						print_test(buf_slice(&r.content));
	client_reply_fini(&r);
	buf_fini(&target);
	return code;
}
