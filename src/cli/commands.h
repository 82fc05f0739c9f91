/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_COMMANDS_H
#define WEIR_CLI_COMMANDS_H

#include "cli/command.h"

/* Each on top of the file of its name. */
extern const struct command command_serve;
extern const struct command command_check;
extern const struct command command_verify;
extern const struct command command_backup;
extern const struct command command_restore;
extern const struct command command_bench;
extern const struct command command_topic;
extern const struct command command_group;
extern const struct command command_source;
extern const struct command command_dead;
extern const struct command command_produce;
extern const struct command command_tail;
extern const struct command command_version;
extern const struct command command_help;
extern const struct command command_completion;
extern const struct command command_doc;

#endif
