/* SPDX-License-Identifier: Apache-2.0 */
/* /readyz and /metrics: what watches weir asks. */
#include "serve/app.h"
#include "serve/http/exchange.h"
#include "serve/http/resources.h"

#define METRICS_BYTES_MAX (4u << 20)

static int on_readyz(struct exchange *x)
{
	struct app *app = x->app;
	struct buf *out = &app_loop(app, x->loop)->scratch;
	enum health_state worst;
	struct slice what;
	bool for_read = exchange_query(x, "for", &what) == 1;

	if (for_read && !slice_eq_str(what, "read"))
		return exchange_problem(x, ERR_BAD_PARAMETER, "for is \"read\" or is left out");
	buf_clear(out);
	if (health_write(app->health, out, &worst) || buf_append_byte(out, '\n'))
		return ERR_NOMEM;
	return exchange_answer(x, health_ready(app->health, for_read) ? 200 : 503, "application/json",
			       buf_slice(out));
}

static int on_metrics(struct exchange *x)
{
	struct app *app = x->app;
	struct buf out;
	int rc;

	buf_init(&out, METRICS_BYTES_MAX);
	rc = metrics_write(app->metrics, &out);
	if (rc == 0)
		rc = exchange_answer(x, 200, METRICS_CONTENT_TYPE, buf_slice(&out));
	buf_fini(&out);
	return rc;
}

static const char *const readyz_query[] = {"for", NULL};

const struct route route_readyz = {.methods = HTTP_BIT(HTTP_GET),
				   .pattern = "/readyz",
				   .query = readyz_query,
				   .flags = ROUTE_OPEN,
				   .handle = on_readyz};

const struct route route_metrics = {.methods = HTTP_BIT(HTTP_GET),
				    .pattern = "/metrics",
				    .flags = ROUTE_OPEN,
				    .handle = on_metrics};
