/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_ADMISSION_H
#define WEIR_SERVE_HTTP_ADMISSION_H

#include "serve/http/session.h"

/*
 * Everything that can be said of a request before its body is there: Host and
 * Origin, path and method, query, credentials, length. `found` and `match` are
 * what route_find gave. False where it was refused (and answered).
 */
bool admission_check(struct session *s, struct exchange *x, int found, const struct route_match *match);

#endif
