/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_LISTING_H
#define WEIR_CLI_LISTING_H

#include "cli/args.h"
#include "json/json.h"

/* A list that the server gives page by page: {"<member>":[…],"next":…}. */
struct listing {
	const char *target;                       /* "/v1/groups" */
	const char *member;                       /* "groups": also what messages call it */
	const char *head;                         /* printed above the rows on a terminal */
	void (*print_row)(struct json_cursor *c); /* takes the object that is next */
};

/*
 * Prints all of it: rows, or with --json one object with all items. The head is printed when there is an answer: a
 * failure leaves stdout empty. CLI_DONE, CLI_FAILED, CLI_MISUSE.
 */
int listing_run(const struct args *args, const struct listing *what);

#endif
