/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

#include <stddef.h>

const struct command *const commands[] = {
	&command_serve,
	&command_check,
	&command_topic,
	&command_group,
	&command_source,
	&command_dead,
	&command_produce,
	&command_tail,
	&command_verify,
	&command_backup,
	&command_restore,
	&command_bench,
	&command_version,
	&command_help,
	&command_completion,
	&command_doc,
	NULL,
};

const struct cli_option cli_options_common[] = {
	{.name = "help", .letter = 'h', .doc = "show this help"},
	{0},
};

const struct cli_option cli_options_client[] = {
	{.name = "server", .value = "URL", .doc = "the daemon; else WEIR_SERVER, else http://127.0.0.1:8080"},
	{0},
};
