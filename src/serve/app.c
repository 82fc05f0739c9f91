/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of one loop. What the log tells comes through one waker: answers
 * first, then the readers that have something.
 */
#include "serve/app.h"

#define SCRATCH_BYTES_MAX (64u << 20)

static void run_port(void *ctx)
{
	struct app_loop *al = ctx;

	log_port_run(al->port);
	hub_run(al->hub);
}

static void wake_loop(void *ctx)
{
	struct app_loop *al = ctx;

	loop_waker_wake(al->waker);
}

int app_loop_init(struct app *app, struct loop *loop, struct fault *fault)
{
	struct app_loop *al = app_loop(app, loop);
	struct hub_options hub = {.log = app->log, .topics = app->topics};
	int rc;

	al->loop = loop;
	buf_init(&al->scratch, SCRATCH_BYTES_MAX);
	rc = loop_waker_new(loop, run_port, al, &al->waker);
	if (rc == 0)
		rc = log_port_new(app->log, wake_loop, al, &al->port);
	hub.port = al->port;
	if (rc == 0)
		rc = hub_new(&hub, &al->hub);
	if (rc == 0)
		rc = encode_cache_new(0, &al->cache);
	return rc ? fault_set(fault, rc, "no memory for a loop") : 0;
}

void app_loop_drain(struct app *app, struct loop *loop)
{
	(void)app;
	(void)loop;
}

void app_loop_fini(struct app *app, struct loop *loop)
{
	struct app_loop *al = app_loop(app, loop);

	encode_cache_free(al->cache);
	if (al->hub)
		hub_free(al->hub);
	if (al->waker)
		loop_waker_free(al->waker);
	if (al->port)
		log_port_free(al->port);
	buf_fini(&al->scratch);
}
