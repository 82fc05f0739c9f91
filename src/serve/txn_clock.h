/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_TXN_CLOCK_H
#define WEIR_SERVE_TXN_CLOCK_H

#include "serve/app.h"

/*
 * The home loop's timer for the coordinator of transactions (app.txns): with nothing
 * under way and no id to forget it is not armed.
 */
struct txn_clock;

/* Starts the coordinator on that loop, before it runs. ERR_NOMEM. Kept until txn_clock_free, after the loop has ended. */
int txn_clock_new(struct app *app, struct loop *home, struct txn_clock **out);
void txn_clock_free(struct txn_clock *c);

#endif
