/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/dead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base64.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/lines.h"
#include "cli/listing.h"
#include "cli/progress.h"
#include "cli/reply.h"
#include "cli/say.h"
#include "json/json.h"
#include "json/json_write.h"

#define VALUE_BYTES_MAX (48u << 20)

static int run_list(const struct args *args);
static int run_show(const struct args *args);
static int run_edit(const struct args *args);

static const struct cli_option list_options[] = {
	{.name = "state",
	 .value = "STATE",
	 .doc = "what has become of them: open unless told",
	 .complete = CLI_COMPLETE_WORDS,
	 .words = "open redriven dropped edited all"},
	DEAD_SELECT_OPTIONS,
	{.name = "json", .doc = "print the server's JSON"},
	{0},
};

static const struct cli_option show_options[] = {
	{.name = "value", .doc = "print the bytes of the value and nothing else"},
	{.name = "json", .doc = "print the server's JSON"},
	{0},
};

static const struct cli_option edit_options[] = {
	{.name = "value", .value = "TEXT", .doc = "the value instead"},
	{.name = "file",
	 .value = "FILE",
	 .doc = "the value instead, from a file; - is stdin",
	 .complete = CLI_COMPLETE_FILE},
	{.name = "key", .value = "KEY", .doc = "the key instead"},
	{.name = "header", .value = "NAME=VALUE", .doc = "these headers instead", .repeats = true},
	{.name = "idempotency-key", .value = "KEY", .doc = "the idempotency key instead"},
	{.name = "partition", .value = "N", .doc = "the partition instead"},
	{.name = "form", .value = "TYPE", .doc = "media type by which the value is to be read; or bytes"},
	{.name = "redrive", .doc = "redrive it at once"},
	{.name = "json", .doc = "print the server's JSON"},
	{0},
};

static const struct cli_example list_examples[] = {
	{"weir dead list", "which topics have any"},
	{"weir dead list orders --code invalid_json --pointer /country --value de", "those of one kind"},
	{0},
};

static const struct cli_example edit_examples[] = {
	{"weir dead show orders 17 --value > letter.json", "take the bytes out"},
	{"weir dead edit orders 17 --file letter.json --redrive", "put them back mended, and redrive"},
	{0},
};

static const struct command dead_list = {
	.name = "list",
	.parent = &command_dead,
	.synopsis = "[TOPIC]",
	.summary = "Lists the dead letters of a topic, or the topics that have any.",
	.options = list_options,
	.examples = list_examples,
	.operands_max = 1,
	.client = true,
	.run = run_list,
};
static const struct command dead_show = {
	.name = "show",
	.parent = &command_dead,
	.synopsis = "TOPIC ID",
	.summary = "Shows one dead letter: what it is, where it came from, why, and what would undo it.",
	.options = show_options,
	.operands_min = 2,
	.operands_max = 2,
	.client = true,
	.run = run_show,
};
static const struct command dead_edit = {
	.name = "edit",
	.parent = &command_dead,
	.synopsis = "TOPIC ID",
	.summary = "Mends a dead letter: a new one with another value, key or headers takes its place.",
	.options = edit_options,
	.examples = edit_examples,
	.operands_min = 2,
	.operands_max = 2,
	.client = true,
	.run = run_edit,
};

static const struct command *const children[] = {
	&dead_list, &dead_show, &dead_redrive, &dead_edit, &dead_drop, NULL,
};

const struct command command_dead = {
	.name = "dead",
	.synopsis = "",
	.summary = "Lists, shows, redrives, edits and drops dead letters.",
	.children = children,
};

/* ---- list ---- */

static const char *const selectors[] = {"code", "from", "to", "pointer", "value", NULL};

void dead_put_selection(const struct args *args, struct buf *target)
{
	for (int i = 0; selectors[i]; i++)
		if (args_has(args, selectors[i]))
			client_query(target, selectors[i], slice_str(args_value(args, selectors[i])));
}

bool dead_is_selected(const struct args *args)
{
	for (int i = 0; selectors[i]; i++)
		if (args_has(args, selectors[i]))
			return true;
	return false;
}

/* "2026-11-21 16:46:13" where people live; "-": none. */
static void put_time(struct slice ms, char out[32])
{
	uint64_t number;
	struct tm tm;
	time_t s;

	(void)snprintf(out, 32, "-");
	if (!slice_to_u64(ms, &number))
		return;
	s = (time_t)(number / 1000);
	if (localtime_r(&s, &tm))
		(void)strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm);
}

static void print_letter(struct json_cursor *c)
{
	static const char *const names[] = {"id", "state", "at", "tries", "code", "place", "text", NULL};
	struct slice text[7];
	char at[32];

	reply_members(c, names, text);
	put_time(text[2], at);
	if (slice_eq_str(text[5], "?"))
		text[5] = SLICE_LIT("-");
	printf("%-8.*s %-9.*s %-19s %5.*s  %-24.*s %-26.*s %.*s\n", (int)text[0].len,
	       (const char *)text[0].ptr, (int)text[1].len, (const char *)text[1].ptr, at, (int)text[3].len,
	       (const char *)text[3].ptr, (int)text[4].len, (const char *)text[4].ptr, (int)text[5].len,
	       (const char *)text[5].ptr, (int)text[6].len, (const char *)text[6].ptr);
}

static void print_topic(struct json_cursor *c)
{
	static const char *const names[] = {"topic",  "open",       "letters", "bytes",
					    "oldest", "over_limit", NULL};
	struct slice text[6];
	char at[32], size[16] = "?";
	uint64_t bytes;

	reply_members(c, names, text);
	put_time(text[4], at);
	if (slice_to_u64(text[3], &bytes))
		progress_size(bytes, size);
	printf("%-32.*s %10.*s %10.*s %12s  %s%s\n", (int)text[0].len, (const char *)text[0].ptr,
	       (int)text[1].len, (const char *)text[1].ptr, (int)text[2].len, (const char *)text[2].ptr, size,
	       at, slice_eq_str(text[5], "true") ? "  over its limit" : "");
}

static int run_list(const struct args *args)
{
	struct listing what = {.member = "dead", .print_row = print_letter};
	struct buf target;
	char head[160];
	int code;

	if (args->operand_count == 0) {
		if (dead_is_selected(args) || args_has(args, "state"))
			return cli_misuse("say of which topic: weir dead list TOPIC …");
		(void)snprintf(head, sizeof(head), "%-32s %10s %10s %12s  %s", "TOPIC", "OPEN", "LETTERS",
			       "SIZE", "OLDEST OPEN");
		what = (struct listing){.target = "/v1/dead",
					.member = "topics",
					.head = head,
					.print_row = print_topic};
		return listing_run(args, &what);
	}
	(void)snprintf(head, sizeof(head), "%-8s %-9s %-19s %5s  %-24s %-26s %s", "ID", "STATE", "SET ASIDE",
		       "TRIES", "CODE", "PLACE", "WHY");
	reply_target(&target, "/v1/topics/", args->operands[0], "/dead");
	if (args_has(args, "state"))
		client_query(&target, "state", slice_str(args_value(args, "state")));
	dead_put_selection(args, &target);
	if (buf_append_byte(&target, 0))
		return cli_fail("the options are too long");
	what.target = (const char *)target.ptr;
	what.head = head;
	code = listing_run(args, &what);
	buf_fini(&target);
	return code;
}

/* ---- show ---- */

/* "/v1/topics/TOPIC/dead/ID" */
static void letter_target(struct buf *target, const struct args *args)
{
	reply_target(target, "/v1/topics/", args->operands[0], "/dead/");
	http_percent_append(target, slice_str(args->operands[1]));
}

/* The member "record" of a letter, and in that the value in whatever form it comes. */
static struct slice member_of(struct slice doc, const char *wanted)
{
	struct slice found = slice_null(), name;
	struct json_value value;
	struct json_cursor c;

	json_cursor_init(&c, doc);
	json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		if (json_take(&c, &value))
			break;
		if (json_name_is(name, wanted))
			found = value.raw;
	}
	return found;
}

static int print_value(struct slice letter)
{
	struct slice record = member_of(letter, "record");
	struct slice raw = member_of(record, "value"), text = member_of(record, "value_text"),
		     base64 = member_of(record, "value_base64");
	struct arena arena;
	struct slice bytes = raw;
	int rc = 0;

	arena_init(&arena, 4096, 2 * (size_t)VALUE_BYTES_MAX);
	if (text.ptr)
		rc = json_text(text, &arena, &bytes);
	if (base64.ptr) {
		uint8_t *to = arena_alloc(&arena, base64_decoded_max(base64.len));
		size_t len = 0;
		rc = to ? base64_decode(BASE64_STANDARD, slice_make(base64.ptr + 1, base64.len - 2), to,
					&len) :
			  ERR_NOMEM;
		bytes = slice_make(to, len);
	}
	if (rc == 0 && bytes.ptr)
		fwrite(bytes.ptr, 1, bytes.len, stdout);
	arena_fini(&arena);
	if (rc || !bytes.ptr)
		return cli_fail("the server's answer is not a dead letter");
	return cli_flush() ? CLI_DONE : CLI_FAILED;
}

static int run_show(const struct args *args)
{
	struct client_reply r;
	struct buf target;

	letter_target(&target, args);
	int code = reply_call(args, HTTP_GET, buf_slice(&target), slice_null(), &r);
	if (!code)
		code = args_has(args, "value") ? print_value(buf_slice(&r.content)) :
						 reply_print(args, buf_slice(&r.content));
	client_reply_fini(&r);
	buf_fini(&target);
	return code;
}

/* ---- edit ---- */

static int read_file(const char *path, struct buf *out)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
	char piece[65536];
	size_t n;
	bool bad;

	if (!f)
		return cli_fail("%s: cannot be read", path);
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0 && buf_append(out, piece, n) == 0)
		;
	bad = ferror(f);
	if (f != stdin)
		(void)fclose(f);
	if (bad)
		return cli_fail("%s: cannot be read", path);
	return buf_status(out) ? cli_fail("%s has more than %u MiB", path, VALUE_BYTES_MAX >> 20) : 0;
}

/* As base64, so that the bytes stay what they are. */
static int put_value(struct buf *body, struct slice value)
{
	json_put_name(body, "value_base64");
	json_put_base64(body, value);
	return buf_status(body) ? cli_fail("there is no memory for the value") : 0;
}

static int put_headers(const struct args *args, struct buf *body)
{
	const char *header;
	uint32_t at = 0;

	json_put_name(body, "headers");
	json_put_open(body, '{');
	while ((header = args_next(args, "header", &at))) {
		const char *equals = strchr(header, '=');
		if (!equals || equals == header)
			return cli_misuse("--header \"%.80s\": expected NAME=VALUE", header);
		json_put_name_slice(body, slice_make(header, (size_t)(equals - header)));
		json_put_string_lossy(body, slice_str(equals + 1));
	}
	json_put_close(body, '}');
	return 0;
}

static int put_edit(const struct args *args, struct buf *body)
{
	const char *value = args_value(args, "value"), *file = args_value(args, "file");
	uint64_t partition = 0;
	struct fault fault;
	struct buf bytes;
	int code = 0;

	if (value && file)
		return cli_misuse("--value and --file are two values: give one");
	if (args_number(args, "partition", 0, INT32_MAX, &partition, &fault))
		return cli_misuse("%s", fault.text);
	buf_init(&bytes, VALUE_BYTES_MAX);
	json_put_open(body, '{');
	if (file)
		code = read_file(file, &bytes);
	if (!code && (value || file))
		code = put_value(body, file ? slice_make(bytes.ptr ? bytes.ptr : (uint8_t *)"", bytes.len) :
					      slice_str(value));
	if (!code && args_has(args, "header"))
		code = put_headers(args, body);
	if (args_has(args, "key"))
		json_put_member_string(body, "key", slice_str(args_value(args, "key")));
	if (args_has(args, "idempotency-key"))
		json_put_member_string(body, "idempotency_key",
				       slice_str(args_value(args, "idempotency-key")));
	if (args_has(args, "partition"))
		json_put_member_u64(body, "partition", partition);
	if (!code && body->len == 1 && !args_has(args, "form"))
		code = cli_misuse(
			"say what is to change: --value, --file, --key, --header, --idempotency-key, "
			"--partition or --form");
	json_put_close(body, '}');
	buf_fini(&bytes);
	return code;
}

static int tell_edit(const struct args *args, struct slice content)
{
	struct slice id = member_of(content, "id");
	char text[32];

	(void)snprintf(text, sizeof(text), "%.*s", (int)id.len, (const char *)id.ptr);
	if (args_has(args, "redrive"))
		return dead_redrive_one(args, args->operands[0], text);
	if (args_has(args, "json"))
		return reply_print(args, content);
	printf("%s takes the place of %s: weir dead redrive %s %s\n", text, args->operands[1],
	       args->operands[0], text);
	return cli_flush() ? CLI_DONE : CLI_FAILED;
}

static int run_edit(const struct args *args)
{
	struct client_reply r;
	struct buf target, body;

	buf_init(&body, 2 * VALUE_BYTES_MAX);
	int code = put_edit(args, &body);
	if (code) {
		buf_fini(&body);
		return code;
	}
	letter_target(&target, args);
	if (args_has(args, "form"))
		client_query(&target, "form", slice_str(args_value(args, "form")));
	code = reply_call(args, HTTP_PUT, buf_slice(&target), buf_slice(&body), &r);
	if (!code)
		code = tell_edit(args, buf_slice(&r.content));
	client_reply_fini(&r);
	buf_fini(&target);
	buf_fini(&body);
	return code;
}
