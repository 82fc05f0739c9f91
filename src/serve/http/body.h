/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_BODY_H
#define WEIR_SERVE_HTTP_BODY_H

#include "serve/http/server.h"

/* The bytes of one request's body, and what they may hold of memory. How they were framed is not known here. */

/*
 * The usual case: the body is at the front of `bytes`, where its head was.
 * Copied once, next to the head. False where it is not whole, or has to be collected.
 */
bool body_take_whole(struct exchange *x, struct slice bytes);

/* Appends a copy. 0; ERR_BODY_TOO_LARGE, ERR_OVERLOADED (the budget of all), ERR_NOMEM. */
int body_collect(struct exchange *x, struct slice piece);

/* What was collected is the body. */
void body_end(struct exchange *x);

#endif
