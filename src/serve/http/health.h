/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_HEALTH_H
#define WEIR_SERVE_HTTP_HEALTH_H

#include "serve/http/route.h"

/* GET /healthz: the process lives and its loops turn. For the server's list of routes. */
extern const struct route route_healthz;

#endif
