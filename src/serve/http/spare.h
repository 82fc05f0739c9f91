/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_SPARE_H
#define WEIR_SERVE_HTTP_SPARE_H

#include "serve/http/private.h"

/*
 * At the cap of connections: cuts some of this loop's that wait for a request,
 * those that never sent one before those that are idle between two, the longest
 * waiting first. How many. On the loop.
 */
uint32_t spare_connections(struct http_loop *ctx, int64_t now_ns);

#endif
