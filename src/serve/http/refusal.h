/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_REFUSAL_H
#define WEIR_SERVE_HTTP_REFUSAL_H

#include "serve/http/session.h"

/* Answers to requests that reach no handler. Each ends its exchange. */

/* With the error and, where detail is not NULL, that sentence. */
void refusal_give(struct session *s, struct exchange *x, int err, const char *detail);

/*
 * After a broken head or body nothing on this connection can be understood any
 * more: it ends with the answer. x NULL: there is no exchange yet.
 */
void refusal_of_framing(struct session *s, struct exchange *x, int err, const char *detail);

/* The head passes a limit (ERR_HEADER_TOO_LARGE, ERR_TARGET_TOO_LONG), which is named. */
void refusal_of_head(struct session *s, int err, const char *detail);

/* The body is over x->body_max. */
void refusal_of_body(struct session *s, struct exchange *x);

/* No route; `methods` are those that the path takes. */
void refusal_of_route(struct session *s, struct exchange *x, int err, uint32_t methods);

#endif
