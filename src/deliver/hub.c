/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log tells a loop once that a partition moved; the hub goes through the
 * places that are parked there, puts each back into its reader's queue and the
 * reader into the list of those to be called. Nothing is called from inside the
 * log's callbacks: hub_run does it, and a reader called may close any other.
 *
 * A watch lives while a place refers to it, parked or not: it begins before the
 * read that finds the end, so that no record falls between the two.
 */
#include "deliver/inner.h"

#include "base/check.h"
#include "base/mem.h"

#define BUCKETS_FIRST 64u

/* ---- watches ---- */

static uint32_t bucket_of(const struct hub *hub, const struct partition *p)
{
	uint64_t h = (uint64_t)(uintptr_t)p * 0x9e3779b97f4a7c15u;

	return (uint32_t)(h >> 32) & (hub->bucket_count - 1);
}

/* Longer chains where there is no memory, nothing worse. */
static void grow_buckets(struct hub *hub)
{
	uint32_t old_count = hub->bucket_count;
	struct hub_watch **old = hub->buckets;
	struct hub_watch **fresh = mem_zalloc((size_t)old_count * 4, sizeof(struct hub_watch *));

	if (!fresh)
		return;
	hub->buckets = fresh;
	hub->bucket_count = old_count * 4;
	for (uint32_t i = 0; i < old_count; i++) {
		while (old[i]) {
			struct hub_watch *w = old[i];
			uint32_t to = bucket_of(hub, w->partition);
			old[i] = w->next_hash;
			w->next_hash = fresh[to];
			fresh[to] = w;
		}
	}
	mem_free(old);
}

static void on_moved(void *ctx, struct partition *p)
{
	struct hub_watch *w = ctx;

	(void)p;
	while (w->idle) {
		struct reader_place *place = w->idle;
		hub_unpark(place);
		reader_push(place);
		hub_wake(place->reader);
	}
	while (w->fetches)
		fetch_moved(w->fetches);
}

int hub_watch_take(struct hub *hub, struct partition *p, struct hub_watch **out)
{
	struct hub_watch *w;
	uint32_t at;
	int rc;

	for (w = hub->buckets[bucket_of(hub, p)]; w; w = w->next_hash) {
		if (w->partition == p) {
			w->refs++;
			*out = w;
			return 0;
		}
	}
	w = mem_zalloc(1, sizeof(*w));
	if (!w)
		return ERR_NOMEM;
	w->hub = hub;
	w->partition = p;
	w->refs = 1;
	rc = log_watch_start(hub->options.port, p, on_moved, w, &w->watch);
	if (rc) {
		mem_free(w);
		return rc;
	}
	if (hub->stats.watches++ >= hub->bucket_count)
		grow_buckets(hub);
	at = bucket_of(hub, p);
	w->next_hash = hub->buckets[at];
	hub->buckets[at] = w;
	*out = w;
	return 0;
}

void hub_watch_give(struct hub_watch *w)
{
	struct hub_watch **at;

	CHECK(w->refs > 0);
	if (--w->refs > 0)
		return;
	CHECK(!w->idle && !w->fetches);
	for (at = &w->hub->buckets[bucket_of(w->hub, w->partition)]; *at != w;)
		at = &(*at)->next_hash;
	*at = w->next_hash;
	w->hub->stats.watches--;
	log_watch_stop(w->watch);
	mem_free(w);
}

void hub_park(struct reader_place *place)
{
	struct hub_watch *w = place->watch;

	place->next = w->idle;
	if (w->idle)
		w->idle->prev = &place->next;
	w->idle = place;
	place->prev = &w->idle;
}

void hub_unpark(struct reader_place *place)
{
	*place->prev = place->next;
	if (place->next)
		place->next->prev = place->prev;
	place->next = NULL;
	place->prev = NULL;
}

/* ---- readers ---- */

void hub_add(struct hub *hub, struct reader *r)
{
	r->next = hub->readers;
	if (r->next)
		r->next->prev = &r->next;
	hub->readers = r;
	r->prev = &hub->readers;
	hub->stats.readers++;
}

static void take_off_wake(struct reader *r)
{
	if (!r->prev_wake)
		return;
	*r->prev_wake = r->next_wake;
	if (r->next_wake)
		r->next_wake->prev_wake = r->prev_wake;
	r->next_wake = NULL;
	r->prev_wake = NULL;
}

void hub_remove(struct hub *hub, struct reader *r)
{
	take_off_wake(r);
	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
	hub->stats.readers--;
}

void hub_wake(struct reader *r)
{
	struct hub *hub = r->hub;

	if (r->prev_wake || !r->on_ready)
		return;
	r->next_wake = hub->wake_first;
	if (r->next_wake)
		r->next_wake->prev_wake = &r->next_wake;
	hub->wake_first = r;
	r->prev_wake = &hub->wake_first;
}

static void on_state(void *ctx, struct partition *p)
{
	struct hub *hub = ctx;

	(void)p;
	hub->state_moved = true;
}

static void look_at_topics(struct hub *hub)
{
	uint64_t generation = topics_generation(hub->options.topics);

	hub->state_moved = false;
	if (generation == hub->generation)
		return;
	hub->generation = generation;
	for (struct reader *r = hub->readers; r; r = r->next)
		reader_look_at_topics(r);
}

static void run_fetches(struct hub *hub)
{
	struct fetch *list = hub->fetch_wake_first;

	hub->fetch_wake_first = NULL;
	if (list)
		list->prev_wake = &list;
	while (list) {
		struct fetch *f = list;
		fetch_unwake(f);
		hub->stats.wakes++;
		fetch_run(f);
	}
}

void hub_run(struct hub *hub)
{
	struct reader *list;

	if (hub->state_moved)
		look_at_topics(hub);
	/* Those woken from now on, by those that are called, come with the next run. */
	list = hub->wake_first;
	hub->wake_first = NULL;
	if (list)
		list->prev_wake = &list;
	while (list) {
		struct reader *r = list;
		take_off_wake(r);
		hub->stats.wakes++;
		r->on_ready(r->ctx, r);
	}
	run_fetches(hub);
}

/* ---- life ---- */

int hub_new(const struct hub_options *options, struct hub **out)
{
	struct hub *hub = mem_zalloc(1, sizeof(*hub));

	if (!hub)
		return ERR_NOMEM;
	hub->options = *options;
	hub->bucket_count = BUCKETS_FIRST;
	hub->buckets = mem_zalloc(BUCKETS_FIRST, sizeof(struct hub_watch *));
	buf_init(&hub->places, (CURSOR_PLACES_MAX + 1) * sizeof(struct cursor_place));
	buf_init(&hub->bytes, 1 << 20);
	if (!hub->buckets ||
	    log_watch_start(options->port, log_internal(options->log), on_state, hub, &hub->state_watch)) {
		mem_free(hub->buckets);
		mem_free(hub);
		return ERR_NOMEM;
	}
	hub->generation = topics_generation(options->topics);
	*out = hub;
	return 0;
}

void hub_free(struct hub *hub)
{
	if (!hub)
		return;
	CHECK(!hub->readers && hub->stats.watches == 0);
	fetch_forget_reads(hub);
	while (hub->fetches) {
		struct reader_fetch *f = hub->fetches;
		hub->fetches = f->next;
		blob_unref(f->read.view.blob);
		mem_free(f);
	}
	log_watch_stop(hub->state_watch);
	buf_fini(&hub->places);
	buf_fini(&hub->bytes);
	mem_free(hub->buckets);
	mem_free(hub);
}

void hub_stats(const struct hub *hub, struct hub_stats *out)
{
	*out = hub->stats;
}

/* ---- lag ---- */

/* A parked place is at the end; one whose time is not looked up yet has no place. */
static int64_t lag_of(const struct reader *r)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i < r->place_count; i++) {
		const struct reader_place *place = &r->places[i];
		struct partition_range range;
		if (place->state == PLACE_IDLE || place->unresolved)
			continue;
		partition_range(place->partition, &range);
		if (range.stable > place->offset)
			sum += range.stable - place->offset;
	}
	return sum;
}

void hub_lag(const struct hub *hub, struct hub_lag lag[HUB_TAGS])
{
	memset(lag, 0, HUB_TAGS * sizeof(*lag));
	for (const struct reader *r = hub->readers; r; r = r->next) {
		int64_t behind = lag_of(r);
		lag[r->tag].sum += behind;
		if (behind > lag[r->tag].max)
			lag[r->tag].max = behind;
	}
}
