/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_WS_WS_ROUTES_H
#define WEIR_SERVE_WS_WS_ROUTES_H

#include "serve/http/route.h"

/* GET /v1/topics/{topic}/ws and /v1/ws?topics=a,b: for the list of the HTTP server, whose app is a struct app. */
extern const struct route *const ws_routes[];
extern const size_t ws_route_count;

#endif
