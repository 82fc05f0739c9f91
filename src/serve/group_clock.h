/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_GROUP_CLOCK_H
#define WEIR_SERVE_GROUP_CLOCK_H

#include "serve/app.h"

/*
 * The coordinator of groups (app.groups) on the home loop: its timer, and its end when
 * weir drains, with which everybody who waits for a group is answered.
 */
struct group_clock;

/* Starts the coordinator on that loop, before it runs. ERR_NOMEM. Kept until group_clock_free, after the loop has ended. */
int group_clock_new(struct app *app, struct loop *home, struct group_clock **out);
void group_clock_free(struct group_clock *c); /* NULL is allowed */

#endif
