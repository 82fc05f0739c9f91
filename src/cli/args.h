/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_ARGS_H
#define WEIR_CLI_ARGS_H

#include "base/err.h"
#include "cli/command.h"

/*
 * The words after `weir`, against the table of commands. --name value,
 * --name=value, -n value, -nvalue, -abc for switches; -- ends the options; a
 * lone - is an operand. Options may stand anywhere. A name is written whole:
 * prefixes would break scripts when an option is added.
 */
#define ARGS_OPTIONS_MAX 64u

struct args_given {
	const struct cli_option *option;
	const char *value; /* NULL for a switch */
};

struct args {
	const struct command *command; /* NULL: none was named */
	struct args_given given[ARGS_OPTIONS_MAX];
	uint32_t given_count;
	const char **operands; /* borrowed from argv */
	uint32_t operand_count;
	bool help; /* --help stands somewhere */
};

/*
 * Parses argv[1..]. `table` ends with NULL. argv is put in order (operands move
 * to its front) and borrowed by *args. 0, or ERR_BAD_PARAMETER with *fault: an
 * unknown command or option with the nearest one, a missing value, too few or
 * too many operands. With args->help set nothing is refused for lacking.
 */
int args_parse(const struct command *const *table, int argc, const char **argv, struct args *args,
	       struct fault *fault);

/* The last value of an option, NULL where it was not given. */
const char *args_value(const struct args *args, const char *name);

bool args_has(const struct args *args, const char *name);

/* The next value of an option that repeats: start with *at 0; NULL at the end. */
const char *args_next(const struct args *args, const char *name, uint32_t *at);

/* A whole number of an option: 0, or ERR_BAD_PARAMETER; *out untouched where it was not given. */
int args_number(const struct args *args, const char *name, uint64_t min, uint64_t max, uint64_t *out,
		struct fault *fault);

/* A duration ("30s") of an option, likewise, in milliseconds. */
int args_duration(const struct args *args, const char *name, int64_t *out, struct fault *fault);

#endif
