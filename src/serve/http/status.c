/* SPDX-License-Identifier: Apache-2.0 */
/* /readyz and /metrics: what watches weir asks. */
#include "serve/app.h"
#include "serve/http/exchange.h"
#include "serve/http/resources.h"

#define METRICS_BYTES_MAX (8u << 20) /* a thousand sources with names of the greatest length */

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

/*
 * A scrape first asks every loop how far its readers are behind: a message to
 * each, and one back from the last to have measured.
 */
struct scrape {
	struct exchange *x;
	_Atomic uint32_t open;
	struct loop_msg back;
	struct ask {
		struct loop_msg msg;
		struct scrape *scrape;
	} asks[];
};

static int answer_metrics(struct exchange *x)
{
	struct app *app = x->app;
	struct buf out;
	int rc;

	buf_init(&out, METRICS_BYTES_MAX);
	rc = metrics_write(app->metrics, &out);
	if (rc == 0)
		rc = exchange_answer(x, 200, METRICS_CONTENT_TYPE, buf_slice(&out));
	else
		rc = exchange_problem(x, rc, "there is no memory for the metrics");
	buf_fini(&out);
	return rc;
}

static void on_measured(struct loop *loop, struct loop_msg *msg)
{
	struct scrape *s = (struct scrape *)((char *)msg - offsetof(struct scrape, back));

	(void)loop;
	(void)answer_metrics(s->x);
}

static void measure(struct loop *loop, struct loop_msg *msg)
{
	struct scrape *s = ((struct ask *)msg)->scrape;

	app_loop_measure(app_loop(s->x->app, loop));
	if (atomic_fetch_sub(&s->open, 1) == 1)
		loop_post(s->x->loop, &s->back);
}

static int on_metrics(struct exchange *x)
{
	const struct app *app = x->app;
	struct scrape *s = arena_zalloc(x->arena, 1, sizeof(*s) + app->loop_count * sizeof(struct ask));

	if (!s)
		return ERR_NOMEM;
	s->x = x;
	s->back.run = on_measured;
	atomic_init(&s->open, app->loop_count);
	for (uint32_t i = 0; i < app->loop_count; i++) {
		s->asks[i].scrape = s;
		s->asks[i].msg.run = measure;
	}
	for (uint32_t i = 0; i < app->loop_count; i++)
		loop_post(app->loops[i].loop, &s->asks[i].msg);
	return EXCHANGE_PENDING;
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
