/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/health.h"

#include "serve/http/exchange.h"

static exchange_handler_fn on_healthz;

const struct route route_healthz = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/healthz",
	.flags = ROUTE_OPEN,
	.handle = on_healthz,
};

static int on_healthz(struct exchange *x)
{
	return exchange_answer(x, 200, "application/json", SLICE_LIT("{\"status\":\"ok\"}\n"));
}
