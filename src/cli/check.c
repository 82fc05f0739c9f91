/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/say.h"
#include "conf/conf.h"
#include "connect/types/types.h"

static int run_check(const struct args *args);

static const struct cli_option options[] = {
	{.name = "json", .doc = "print the problems to stdout as JSON"},
	{.name = "quiet", .letter = 'q', .doc = "say nothing of files without a problem"},
	{0},
};

static const struct cli_example examples[] = {
	{"weir check weir.yaml", "every problem of the file, with its line and column"},
	{"weir check --json /etc/weir/*.yaml", "the same for a program"},
	{0},
};

const struct command command_check = {
	.name = "check",
	.synopsis = "FILE...",
	.summary = "Tells every problem in configuration files.",
	.about =
		"The same code as weir serve uses, so a file that passes is one that serve takes. Problems go to stderr as "
		"FILE:LINE:COLUMN: what was found, what was expected and the nearest valid name. Exit code 2 where a file has an error; "
		"warnings alone do not count.",
	.options = options,
	.examples = examples,
	.operands_min = 1,
	.operands_max = CLI_OPERANDS_ANY,
	.complete = CLI_COMPLETE_FILE,
	.run = run_check,
};

/* Tells of one file on stderr; its problems stay in the list for JSON. */
static int check_file(const char *path, bool json, bool quiet, struct buf *list, bool first)
{
	struct conf_problems problems;
	struct conf *conf;
	struct buf out;

	conf_problems_init(&problems);
	int err = conf_load(path, source_kinds(), &conf, &problems);
	conf_free(conf);
	buf_init(&out, 4u << 20);
	if (json) {
		buf_append_str(list, first ? "" : ",");
		conf_problems_json(&problems, &out);
		/* The brackets of each list are taken off: one list for all files. */
		if (!buf_status(&out) && out.len > 2)
			buf_append(list, out.ptr + 1, out.len - 2);
	} else {
		conf_problems_text(&problems, true, &out);
		if (out.len > 0)
			fwrite(out.ptr, 1, out.len, stderr);
		if (!err && !quiet)
			printf("%s: ok\n", path);
	}
	if (err == ERR_NOMEM)
		cli_say("%s: no memory", path);
	buf_fini(&out);
	conf_problems_fini(&problems);
	return err ? CLI_USAGE : CLI_DONE;
}

static int run_check(const struct args *args)
{
	bool json = args_has(args, "json");
	int worst = CLI_DONE;
	struct buf list;

	buf_init(&list, 64u << 20);
	buf_append_byte(&list, '[');
	for (uint32_t i = 0; i < args->operand_count; i++) {
		/* A file without problems adds nothing, not even a comma. */
		size_t before = list.len;
		int code = check_file(args->operands[i], json, args_has(args, "quiet"), &list, before == 1);
		if (list.len == before + 1 && before > 1)
			list.len = before;
		worst = code > worst ? code : worst;
	}
	buf_append_str(&list, "]\n");
	if (!json) {
		buf_fini(&list);
		return cli_flush() ? worst : CLI_FAILED;
	}
	int printed = cli_print(&list);
	return printed ? printed : worst;
}
