/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_HELP_H
#define WEIR_CLI_HELP_H

#include "base/buf.h"
#include "cli/command.h"

/* What is said of the commands, all of it from their table. */

/* Prints the help of a command (NULL: of weir) to stdout and gives CLI_DONE, or, as a complaint, to stderr and CLI_USAGE. */
int help_show(const struct command *c, bool complain);

int help_text(const struct command *c, struct buf *out); /* for a terminal */
int help_markdown(struct buf *out);                      /* docs/reference/commands.md */
int help_man(struct buf *out, const char *version);      /* weir.1 */

#endif
