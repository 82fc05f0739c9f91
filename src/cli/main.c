/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/args.h"
#include "cli/help.h"
#include "cli/say.h"

int main(int argc, char **argv)
{
	const char **words = (const char **)argv;
	struct args args;
	struct fault fault;

	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		words[1] = "version";
	int err = args_parse(commands, argc, words, &args, &fault);
	if (err)
		return cli_misuse("%s", fault.text);
	if (args.help)
		return help_show(args.command, false);
	if (!args.command)
		return help_show(NULL, true);
	return args.command->run(&args);
}
