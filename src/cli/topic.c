/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/listing.h"
#include "cli/reply.h"
#include "cli/say.h"
#include "conf/conf.h"
#include "json/json.h"
#include "json/json_write.h"

static int run_list(const struct args *args);
static int run_show(const struct args *args);
static int run_create(const struct args *args);
static int run_delete(const struct args *args);
static int run_trim(const struct args *args);

static const struct cli_option json_option[] = {
	{.name = "json", .doc = "print the server's JSON"},
	{0},
};

static const struct cli_option create_options[] = {
	{.name = "partitions", .value = "N", .doc = "partitions, 1; may grow later"},
	{.name = "retention", .value = "DURATION", .doc = "how long records are kept, 7d; or forever"},
	{.name = "retention-bytes", .value = "SIZE", .doc = "most bytes of a partition; or unlimited"},
	{.name = "durability",
	 .value = "WORD",
	 .doc = "fsync or os",
	 .complete = CLI_COMPLETE_WORDS,
	 .words = "fsync os"},
	{.name = "cleanup",
	 .value = "WORD",
	 .doc = "delete, compact or compact_delete",
	 .complete = CLI_COMPLETE_WORDS,
	 .words = "delete compact compact_delete"},
	{.name = "idempotency-ttl",
	 .value = "DURATION",
	 .doc = "how long idempotency keys are remembered, 7d"},
	{.name = "dirty-percent", .value = "N", .doc = "share that must be new before it is compacted, 50"},
	{.name = "max-lag",
	 .value = "DURATION",
	 .doc = "age of a record at which it is compacted all the same, 1d; or forever"},
	{.name = "tombstone-retention",
	 .value = "DURATION",
	 .doc = "how long compaction leaves a tombstone, 1d"},
	{.name = "recompress-after",
	 .value = "DURATION",
	 .doc = "age at which segments are written again with zstd; or never"},
	{.name = "min-lag", .value = "DURATION", .doc = "how long a record is safe from compaction, 0"},
	{.name = "timestamps",
	 .value = "WORD",
	 .doc = "create (the producer's) or append (weir's)",
	 .complete = CLI_COMPLETE_WORDS,
	 .words = "create append"},
	{.name = "max-message-bytes", .value = "SIZE", .doc = "largest batch of a Kafka producer, 1048588"},
	{.name = "segment-bytes", .value = "SIZE", .doc = "size of a segment; or auto"},
	{.name = "dead-retention",
	 .value = "DURATION",
	 .doc = "retention of its dead letters, 30d; or forever"},
	{.name = "dead-max-bytes", .value = "SIZE", .doc = "of dead letters, to alert at, 1GiB"},
	{.name = "json", .doc = "print the server's JSON"},
	{0},
};

static const struct cli_option delete_options[] = {
	{.name = "yes", .letter = 'y', .doc = "do not ask on a terminal"},
	{0},
};

static const struct cli_option trim_options[] = {
	{.name = "before",
	 .value = "CURSOR",
	 .doc = "where the topic is to begin: a cursor, latest, @TIME",
	 .complete = CLI_COMPLETE_WORDS,
	 .words = "latest"},
	{.name = "json", .doc = "print the server's JSON"},
	{0},
};

static const struct cli_example create_examples[] = {
	{"weir topic create orders --partitions 4 --retention 30d", "a topic of four partitions"},
	{0},
};

static const struct cli_example trim_examples[] = {
	{"weir topic trim orders --before @2026-01-31T00:00:00Z", "drop what is older than that"},
	{0},
};

static const struct command topic_list = {
	.name = "list",
	.parent = &command_topic,
	.synopsis = "",
	.summary = "Lists the topics.",
	.options = json_option,
	.client = true,
	.run = run_list,
};
static const struct command topic_show = {
	.name = "show",
	.parent = &command_topic,
	.synopsis = "TOPIC",
	.summary = "Shows settings, partitions, offsets and sizes of a topic.",
	.options = json_option,
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_show,
};
static const struct command topic_create = {
	.name = "create",
	.parent = &command_topic,
	.synopsis = "TOPIC",
	.summary = "Makes a topic, or changes the given settings of one.",
	.options = create_options,
	.examples = create_examples,
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_create,
};
static const struct command topic_delete = {
	.name = "delete",
	.parent = &command_topic,
	.synopsis = "TOPIC",
	.summary = "Deletes a topic with all its records.",
	.options = delete_options,
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_delete,
};
static const struct command topic_trim = {
	.name = "trim",
	.parent = &command_topic,
	.synopsis = "TOPIC",
	.summary = "Drops the oldest records of a topic.",
	.options = trim_options,
	.examples = trim_examples,
	.operands_min = 1,
	.operands_max = 1,
	.client = true,
	.run = run_trim,
};

static const struct command *const children[] = {
	&topic_list, &topic_show, &topic_create, &topic_delete, &topic_trim, NULL,
};

const struct command command_topic = {
	.name = "topic",
	.synopsis = "",
	.summary = "Lists, shows, makes, deletes and trims topics.",
	.children = children,
};

/* ---- list ---- */

static void print_row(struct json_cursor *c)
{
	static const char *const names[] = {"name", "partitions", "retention", NULL};
	struct slice text[3];

	reply_members(c, names, text);
	printf("%-32.*s %10.*s %10.*s\n", (int)text[0].len, (const char *)text[0].ptr, (int)text[1].len,
	       (const char *)text[1].ptr, (int)text[2].len, (const char *)text[2].ptr);
}

static int run_list(const struct args *args)
{
	static const struct listing topics = {
		.target = "/v1/topics",
		.member = "topics",
		.head = "NAME                             PARTITIONS  RETENTION",
		.print_row = print_row,
	};

	return listing_run(args, &topics);
}

/* ---- the others ---- */

static int run_show(const struct args *args)
{
	return reply_ask(args, &(struct reply_question){.method = HTTP_GET,
							.before = "/v1/topics/",
							.behind = "",
							.print = reply_print});
}

/* Options that are keys of a topic. Checked here with the file's own code, so that the message names the option. */
static const struct {
	const char *option, *key;
} keys[] = {
	{"partitions", "partitions"},
	{"retention", "retention"},
	{"retention-bytes", "retention_bytes"},
	{"durability", "durability"},
	{"cleanup", "cleanup"},
	{"idempotency-ttl", "idempotency.ttl"},
	{"dirty-percent", "compaction.dirty_percent"},
	{"max-lag", "compaction.max_lag"},
	{"tombstone-retention", "compaction.tombstone_retention"},
	{"min-lag", "compaction.min_lag"},
	{"recompress-after", "recompress_after"},
	{"timestamps", "timestamps"},
	{"max-message-bytes", "max_message_bytes"},
	{"segment-bytes", "segment_bytes"},
	{"dead-retention", "dead_letters.retention"},
	{"dead-max-bytes", "dead_letters.max_bytes"},
};

/* "compaction.max_lag" goes into the object of its section, which is left open for the next one of it. */
static void put_in_section(struct buf *body, const char *key, const char *value, struct slice *section)
{
	const char *dot = strchr(key, '.');
	struct slice in = dot ? slice_make(key, (size_t)(dot - key)) : slice_null();

	if (section->len && !slice_eq(in, *section))
		json_put_close(body, '}');
	if (in.len && !slice_eq(in, *section)) {
		json_put_name_slice(body, in);
		json_put_open(body, '{');
	}
	*section = in;
	json_put_member_string(body, dot ? dot + 1 : key, slice_str(value));
}

static int topic_body(const struct args *args, struct buf *body, struct fault *fault)
{
	struct slice section = slice_null();
	struct conf_topic topic;

	conf_topic_init(&topic);
	json_put_open(body, '{');
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *value = args_value(args, keys[i].option);
		if (!value)
			continue;
		int err = conf_topic_set(&topic, slice_str(keys[i].key), slice_str(value), fault);
		if (err)
			return err;
		if (strcmp(keys[i].key, "partitions") == 0) { /* the first of all */
			json_put_name(body, keys[i].key);
			json_put_raw(body, slice_str(value));
		} else {
			put_in_section(body, keys[i].key, value, &section);
		}
	}
	if (section.len)
		json_put_close(body, '}');
	json_put_close(body, '}');
	return buf_status(body);
}

static int run_create(const struct args *args)
{
	struct buf body;
	struct fault fault;

	buf_init(&body, 64u << 10);
	if (topic_body(args, &body, &fault) != 0) {
		buf_fini(&body);
		return cli_misuse("%s", fault.text);
	}
	int code = reply_ask(args, &(struct reply_question){.method = HTTP_PUT,
							    .before = "/v1/topics/",
							    .behind = "",
							    .body = buf_slice(&body),
							    .print = reply_print});
	buf_fini(&body);
	return code;
}

static int run_delete(const struct args *args)
{
	if (!reply_is_sure(args, "topic", "all its records and cursors"))
		return cli_fail("nothing was deleted");
	int code = reply_ask(args, &(struct reply_question){.method = HTTP_DELETE,
							    .before = "/v1/topics/",
							    .behind = ""});
	if (!code)
		cli_say("topic %s is deleted", args->operands[0]);
	return code;
}

static int run_trim(const struct args *args)
{
	const char *before = args_value(args, "before");
	struct buf body;

	if (!before)
		return cli_misuse("trim needs --before CURSOR: where the topic is to begin");
	buf_init(&body, 64u << 10);
	json_put_open(&body, '{');
	json_put_name(&body, "before");
	json_put_string_lossy(&body, slice_str(before));
	json_put_close(&body, '}');
	int code = reply_ask(args, &(struct reply_question){.method = HTTP_POST,
							    .before = "/v1/topics/",
							    .behind = "/trim",
							    .body = buf_slice(&body),
							    .print = reply_print});
	buf_fini(&body);
	return code;
}
