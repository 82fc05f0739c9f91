/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_DEAD_H
#define WEIR_CLI_DEAD_H

#include "cli/args.h"

/* What the parts of `weir dead` share. */

extern const struct command dead_redrive;
extern const struct command dead_drop;

/* The options that select letters, for the tables of commands. */
#define DEAD_SELECT_OPTIONS                                                                                  \
	{.name = "code", .value = "CODE", .doc = "those that failed this rule, such as invalid_json"},       \
		{.name = "from", .value = "TIME", .doc = "set aside at or after: RFC 3339, or ms"},          \
		{.name = "to", .value = "TIME", .doc = "set aside before"},                                  \
		{.name = "pointer",                                                                          \
		 .value = "POINTER",                                                                         \
		 .doc = "whose value has something there: /order/country"},                                  \
	{                                                                                                    \
		.name = "value", .value = "TEXT", .doc = "and this is it; without --pointer the whole value" \
	}

struct buf;

/* Appends the selection to a target, as query parameters. */
void dead_put_selection(const struct args *args, struct buf *target);

/* Is any of them given? */
bool dead_is_selected(const struct args *args);

/* Redrives one letter and tells of it: for an edit. */
int dead_redrive_one(const struct args *args, const char *topic, const char *id);

#endif
