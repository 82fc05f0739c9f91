/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_SAY_H
#define WEIR_CLI_SAY_H

#include <stdbool.h>

#include "base/buf.h"

/* Messages to stderr and data to stdout. Main thread. */

/* "weir: text" on stderr, the name in bold on a terminal unless NO_COLOR is set. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, and gives CLI_FAILED or CLI_USAGE, so that `return cli_fail(...)` reads well. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int cli_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes all to stdout and flushes; frees the buffer. CLI_DONE, or CLI_FAILED with a message. */
int cli_print(struct buf *out);

/* Flushes what stdio holds for stdout. False where it cannot be written: told once. */
bool cli_flush(void);

#endif
