/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/listing.h"
#include "cli/reply.h"
#include "cli/say.h"
#include "json/json.h"
#include "json/json_write.h"

static int run_list(const struct args *args);
static int run_show(const struct args *args);
static int run_reset(const struct args *args);
static int run_delete(const struct args *args);

static const struct cli_option list_options[] = {
	{.name = "json", .doc = "print the server's JSON"},
	{0},
};

static const struct cli_option show_options[] = {
	{.name = "json", .doc = "print the server's JSON: the group, then its offsets, a line each"},
	{0},
};

static const struct cli_option reset_options[] = {
	{.name = "to",
	 .value = "CURSOR",
	 .doc = "where the group is to go on: a cursor, earliest, latest",
	 .complete = CLI_COMPLETE_WORDS,
	 .words = "earliest latest"},
	{.name = "topics",
	 .value = "A,B",
	 .doc = "of which topics; with earliest and latest they must be named"},
	{.name = "json", .doc = "print the server's JSON"},
	{0},
};

static const struct cli_option delete_options[] = {
	{.name = "yes", .letter = 'y', .doc = "do not ask on a terminal"},
	{0},
};

static const struct cli_example reset_examples[] = {
	{"weir group reset billing --to earliest --topics orders", "read orders again from the beginning"},
	{0},
};

static const struct command group_list = {
	.name = "list",
	.parent = &command_group,
	.synopsis = "",
	.summary = "Lists the consumer groups.",
	.options = list_options,
	.client = true,
	.run = run_list,
};
static const struct command group_show = {
	.name = "show",
	.parent = &command_group,
	.synopsis = "GROUP",
	.summary = "Shows members, offsets and lag of a consumer group.",
	.options = show_options,
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_show,
};
static const struct command group_reset = {
	.name = "reset",
	.parent = &command_group,
	.synopsis = "GROUP",
	.summary = "Sets the offsets of a consumer group that has no members.",
	.options = reset_options,
	.examples = reset_examples,
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_reset,
};
static const struct command group_delete = {
	.name = "delete",
	.parent = &command_group,
	.synopsis = "GROUP",
	.summary = "Deletes a consumer group that has no members, with its offsets.",
	.options = delete_options,
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_delete,
};

static const struct command *const children[] = {
	&group_list, &group_show, &group_reset, &group_delete, NULL,
};

const struct command command_group = {
	.name = "group",
	.synopsis = "",
	.summary = "Lists, shows, resets and deletes consumer groups.",
	.children = children,
};

/* ---- list ---- */

static void print_row(struct json_cursor *c)
{
	static const char *const names[] = {"group", "state", "members", "offsets", NULL};
	struct slice text[4];

	reply_members(c, names, text);
	printf("%-32.*s %-20.*s %8.*s %8.*s\n", (int)text[0].len, (const char *)text[0].ptr, (int)text[1].len,
	       (const char *)text[1].ptr, (int)text[2].len, (const char *)text[2].ptr, (int)text[3].len,
	       (const char *)text[3].ptr);
}

static int run_list(const struct args *args)
{
	static const struct listing groups = {
		.target = "/v1/groups",
		.member = "groups",
		.head = "GROUP                            STATE                 MEMBERS  OFFSETS",
		.print_row = print_row,
	};

	return listing_run(args, &groups);
}

/* ---- offsets ---- */

/* A line a partition: topic, partition, offset, end, lag. */
static void print_partition(struct json_cursor *c, struct slice topic)
{
	static const char *const names[] = {"partition", "offset", "end", "lag", NULL};
	struct slice text[4];

	reply_members(c, names, text);
	printf("%-32.*s %10.*s %14.*s %14.*s %10.*s\n", (int)topic.len, (const char *)topic.ptr,
	       (int)text[0].len, (const char *)text[0].ptr, (int)text[1].len, (const char *)text[1].ptr,
	       (int)text[2].len, (const char *)text[2].ptr, (int)text[3].len, (const char *)text[3].ptr);
}

static void print_topic(struct json_cursor *c)
{
	struct slice topic = SLICE_LIT("?"), member;
	struct json_value value;

	json_object_begin(c);
	while (json_object_next(c, &member)) {
		if (json_name_is(member, "topic") && json_take(c, &value) == 0) {
			topic = reply_bare(value);
		} else if (json_name_is(member, "partitions") && json_peek(c) == JSON_ARRAY) {
			json_array_begin(c);
			while (json_array_next(c))
				print_partition(c, topic);
		} else {
			json_skip(c);
		}
	}
}

static int print_offsets(const struct args *args, struct slice content)
{
	struct json_value value = {0};
	struct json_cursor c;
	struct slice name;

	if (args_has(args, "json"))
		return reply_print(args, content);
	if (isatty(STDOUT_FILENO))
		printf("%-32s %10s %14s %14s %10s\n", "TOPIC", "PARTITION", "OFFSET", "END", "LAG");
	json_cursor_init(&c, content);
	json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		if (json_name_is(name, "topics") && json_peek(&c) == JSON_ARRAY) {
			json_array_begin(&c);
			while (json_array_next(&c))
				print_topic(&c);
		} else if (json_name_is(name, "cursor")) {
			json_take(&c, &value);
		} else {
			json_skip(&c);
		}
	}
	if (json_end(&c) != 0)
		return cli_fail("the server's answer is not JSON");
	if (value.kind == JSON_STRING)
		printf("cursor: %.*s\n", (int)reply_bare(value).len, (const char *)reply_bare(value).ptr);
	return cli_flush() ? CLI_DONE : CLI_FAILED;
}

/* ---- the others ---- */

static int show_part(const struct args *args, const char *behind,
		     int (*print)(const struct args *args, struct slice content))
{
	return reply_ask(args, &(struct reply_question){.method = HTTP_GET,
							.before = "/v1/groups/",
							.behind = behind,
							.print = print});
}

static int run_show(const struct args *args)
{
	int code = show_part(args, "", reply_print);

	return code ? code : show_part(args, "/offsets", print_offsets);
}

static void put_topics(struct buf *body, const char *list)
{
	json_put_name(body, "topics");
	json_put_open(body, '[');
	while (*list) {
		size_t len = strcspn(list, ",");
		json_put_item(body);
		json_put_string_lossy(body, slice_make(list, len));
		list += len + (list[len] == ',');
	}
	json_put_close(body, ']');
}

static int run_reset(const struct args *args)
{
	const char *to = args_value(args, "to"), *topics = args_value(args, "topics");
	struct buf body;

	if (!to)
		return cli_misuse("reset needs --to CURSOR: where the group is to go on");
	if (!topics && (strcmp(to, "earliest") == 0 || strcmp(to, "latest") == 0))
		return cli_misuse("--to %s needs --topics A,B: of which topics", to);
	buf_init(&body, 1u << 20);
	json_put_open(&body, '{');
	json_put_name(&body, "cursor");
	json_put_string_lossy(&body, slice_str(to));
	if (topics)
		put_topics(&body, topics);
	json_put_close(&body, '}');
	int code = reply_ask(args, &(struct reply_question){.method = HTTP_PUT,
							    .before = "/v1/groups/",
							    .behind = "/offsets",
							    .body = buf_slice(&body),
							    .print = print_offsets});
	buf_fini(&body);
	return code;
}

static int run_delete(const struct args *args)
{
	if (!reply_is_sure(args, "group", "its offsets"))
		return cli_fail("nothing was deleted");
	int code = reply_ask(args, &(struct reply_question){.method = HTTP_DELETE,
							    .before = "/v1/groups/",
							    .behind = ""});
	if (!code)
		cli_say("group %s is deleted", args->operands[0]);
	return code;
}
