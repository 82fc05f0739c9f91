/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of one loop. What the log tells comes through one waker: answers
 * first, then each reader that has something, once.
 */
#include "serve/app.h"

#include "serve/record/record_json.h"

#define CACHE_BYTES_MAX ((size_t)32 << 20)

static void on_wake(void *ctx)
{
	struct app_loop *al = ctx;

	log_port_run(al->port);
	if (al->hub)
		hub_run(al->hub);
	if (al->queue)
		ingest_look(al->queue);
}

static void wake_loop(void *ctx)
{
	struct app_loop *al = ctx;

	loop_waker_wake(al->waker);
}

/* A loop's part of an eighth of the budget: what is kept because it may be asked for again. */
static int make_cache(const struct app *app, struct app_loop *al)
{
	int64_t part;

	if (!app->budget)
		return encode_cache_new(0, NULL, &al->cache);
	part = atomic_load(&app->budget->bytes_max) / 8 / app->loop_count;
	return encode_cache_new(part < (int64_t)CACHE_BYTES_MAX ? (size_t)part : CACHE_BYTES_MAX,
				&app->budget->used, &al->cache);
}

int app_loop_init(struct app *app, struct loop *loop, struct fault *fault)
{
	struct app_loop *al = app_loop(app, loop);
	struct hub_options hub = {.log = app->log, .topics = app->topics, .share = loop_share(loop)};
	int rc;

	al->loop = loop;
	buf_init(&al->scratch, RECORD_JSON_BYTES_MAX + APP_SCRATCH_KEPT);
	rc = loop_waker_new(loop, on_wake, al, &al->waker);
	if (rc == 0)
		rc = log_port_new(app->log, wake_loop, al, &al->port);
	hub.port = al->port;
	if (rc == 0)
		rc = hub_new(&hub, &al->hub);
	if (rc == 0)
		rc = make_cache(app, al);
	return rc ? fault_set(fault, rc, "the parts of a loop could not be made") : 0;
}

void app_guest_add(struct app_loop *al, struct app_guest *guest)
{
	guest->next = al->guests;
	if (guest->next)
		guest->next->prev = &guest->next;
	al->guests = guest;
	guest->prev = &al->guests;
}

void app_guest_remove(struct app_guest *guest)
{
	if (!guest->prev)
		return;
	*guest->prev = guest->next;
	if (guest->next)
		guest->next->prev = guest->prev;
	guest->next = NULL;
	guest->prev = NULL;
}

void app_loop_drain(struct app *app, struct loop *loop)
{
	struct app_loop *al = app_loop(app, loop);

	al->draining = true;
	while (al->guests) {
		struct app_guest *guest = al->guests;
		app_guest_remove(guest);
		guest->leave(guest->ctx);
	}
}

void app_observe_delivery(struct app_loop *al, enum metric_WAY way, int64_t entered_ns, uint32_t records)
{
	int64_t now = loop_now(al->loop);

	if (entered_ns == 0 || records == 0 || !al->shard)
		return;
	if (now < entered_ns) /* the turn began before it entered */
		now = loop_now_fresh(al->loop);
	metric_observe_many(al->shard, METRIC_DELIVERY_SECONDS, way,
			    now > entered_ns ? (uint64_t)(now - entered_ns) : 0, records);
}

void app_loop_measure(struct app_loop *al)
{
	struct hub_lag lag[HUB_TAGS];

	_Static_assert((unsigned)METRIC_COUNT_WAY <= HUB_TAGS, "a tag for each way");
	if (!al->hub)
		return; /* the loop has ended */
	hub_lag(al->hub, lag);
	for (unsigned way = 0; way < METRIC_COUNT_WAY; way++) {
		atomic_store(&al->lag_sum[way], lag[way].sum);
		atomic_store(&al->lag_max[way], lag[way].max);
	}
}

void app_loop_fini(struct app *app, struct loop *loop)
{
	struct app_loop *al = app_loop(app, loop);

	hub_free(al->hub);
	al->hub = NULL;
	encode_cache_free(al->cache);
	if (al->port)
		log_port_free(al->port);
	if (al->waker)
		loop_waker_free(al->waker);
	buf_fini(&al->scratch);
}
