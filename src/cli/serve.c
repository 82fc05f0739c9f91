/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/say.h"
#include "connect/types/types.h"
#include "daemon/daemon.h"

static int run_serve(const struct args *args);

static const struct cli_option options[] = {
	{.name = "config",
	 .letter = 'c',
	 .value = "FILE",
	 .doc = "configuration; without it the defaults hold",
	 .complete = CLI_COMPLETE_FILE},
	{.name = "data",
	 .value = "DIR",
	 .doc = "data directory, in place of the file's",
	 .complete = CLI_COMPLETE_DIR},
	{.name = "http",
	 .value = "ADDR",
	 .doc = "HTTP address HOST:PORT, in place of the file's; port 0 picks a free one"},
	{.name = "kafka",
	 .value = "ADDR",
	 .doc = "Kafka address HOST:PORT, or off",
	 .complete = CLI_COMPLETE_WORDS,
	 .words = "off"},
	{0},
};

static const struct cli_example examples[] = {
	{"weir serve", "data in ./weir-data, HTTP on 127.0.0.1:8080"},
	{"weir serve -c weir.yaml --http 127.0.0.1:0", "a file, and a free port"},
	{0},
};

const struct command command_serve = {
	.name = "serve",
	.synopsis = "",
	.summary = "Runs the daemon.",
	.about =
		"When ready it prints one line to stdout: weir ready http=HOST:PORT kafka=HOST:PORT data=DIR, of what is enabled. "
		"Logs go to stderr.\n\n"
		"SIGTERM and SIGINT drain and exit 0, a second one ends at once. SIGHUP reads the file again: it is checked, then put to "
		"use, and the log says what changed and what needs a restart; a file with an error changes nothing.",
	.options = options,
	.examples = examples,
	.run = run_serve,
};

/* An option that stands for a setting of the file. */
static const struct {
	const char *option, *setting;
} overrides[] = {{"data", "data"}, {"http", "http.listen"}, {"kafka", "kafka.listen"}};

static int load(void *ctx, struct conf **out, struct conf_problems *problems)
{
	const struct args *args = ctx;
	struct fault fault;

	int err = conf_load(args_value(args, "config"), source_kinds(), out, problems);
	for (size_t i = 0; !err && i < sizeof(overrides) / sizeof(overrides[0]); i++) {
		const char *value = args_value(args, overrides[i].option);
		if (value)
			err = conf_set(*out, overrides[i].setting, slice_str(value), &fault);
		if (!err)
			continue;
		char text[600];
		snprintf(text, sizeof(text), "--%s: %s", overrides[i].option, fault.text);
		conf_problems_add(problems, &(struct conf_problem){.text = text});
		conf_free(*out);
		*out = NULL;
	}
	return err;
}

static int run_serve(const struct args *args)
{
	struct daemon_options daemon = {.reload = load,
					.ctx = (void *)(uintptr_t)args,
					.terminal = isatty(STDOUT_FILENO)};
	struct conf_problems problems;
	struct conf *conf;
	struct buf text;

	conf_problems_init(&problems);
	int err = load(daemon.ctx, &conf, &problems);
	buf_init(&text, 4u << 20);
	conf_problems_text(&problems, true, &text);
	if (text.len > 0)
		fwrite(text.ptr, 1, text.len, stderr);
	size_t text_len = text.len;
	buf_fini(&text);
	conf_problems_fini(&problems);
	if (err && text_len == 0)
		return cli_fail("serve: %s", err_row(err)->sentence);
	if (err)
		return CLI_USAGE;
	int code = daemon_run(conf, &daemon);
	conf_free(conf);
	return code;
}
