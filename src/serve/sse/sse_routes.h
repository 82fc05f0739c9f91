/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_SSE_SSE_ROUTES_H
#define WEIR_SERVE_SSE_SSE_ROUTES_H

#include "serve/http/route.h"

/* GET /v1/topics/{topic}/sse and /v1/sse?topics=a,b: for the list of the HTTP server, whose app is a struct app. */
extern const struct route *const sse_routes[];
extern const size_t sse_route_count;

#endif
