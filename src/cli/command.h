/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_COMMAND_H
#define WEIR_CLI_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The commands: one file a subcommand with its `const struct command` on top.
 * Parsing, help, manual page, completion and the reference page come from it.
 */

enum cli_exit { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* What completion offers for a value or an operand. */
enum cli_complete { CLI_COMPLETE_NOTHING, CLI_COMPLETE_FILE, CLI_COMPLETE_DIR, CLI_COMPLETE_WORDS };

struct cli_option {
	const char *name;  /* "from", without the dashes; NULL ends a table */
	char letter;       /* 'n' for -n, or 0 */
	const char *value; /* "CURSOR"; NULL: a switch */
	const char *doc;   /* one phrase */
	bool repeats;
	enum cli_complete complete;
	const char *words; /* of CLI_COMPLETE_WORDS, with blanks between */
};

struct cli_example {
	const char *line; /* NULL ends a table */
	const char *doc;
};

struct args;

struct command {
	const char *name;                      /* "tail"; of a child "list" */
	const char *synopsis;                  /* operands alone: "TOPIC... [FILE]" */
	const char *summary;                   /* one line */
	const char *about;                     /* paragraphs with an empty line between, or NULL */
	const struct cli_option *options;      /* or NULL */
	const struct cli_example *examples;    /* or NULL */
	const struct command *const *children; /* ends with NULL; then it has no run */
	const struct command *parent;          /* of a child */
	int (*run)(const struct args *args);   /* gives a cli_exit */
	uint32_t operands_min, operands_max;   /* operands_max 0: none */
	enum cli_complete complete;            /* of operands */
	const char *words;
	bool client; /* talks to a daemon: takes --server */
	bool hidden;
};

#define CLI_OPERANDS_ANY UINT32_MAX

/* Ends with NULL; in the order of help. */
extern const struct command *const commands[];

/* Options of every command, and of every client command. End with a row without a name. */
extern const struct cli_option cli_options_common[];
extern const struct cli_option cli_options_client[];

#endif
