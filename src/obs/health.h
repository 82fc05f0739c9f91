/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_OBS_HEALTH_H
#define WEIR_OBS_HEALTH_H

#include "base/buf.h"
#include "obs/metrics.h"

/*
 * Whether weir serves, by component, with the reason where one does not: what
 * /readyz answers. The components are the label `component` of labels.h. A
 * component is told about (health_set) or asked (health_probe) at each reading.
 *
 * Knows no HTTP: the session writes the status; the JSON is written here.
 */
struct health;

enum health_state {
	HEALTH_OK,
	HEALTH_WARNING,   /* all is served, but somebody should look */
	HEALTH_READ_ONLY, /* readers are served, ingest is refused */
	HEALTH_DOWN,
};

#define HEALTH_REASON_MAX 200u

/* Returns owned. START is down ("starting") until it is set, all else is fine. ERR_NOMEM. */
int health_new(struct health **out);
void health_free(struct health *h);

/* Sets a component; `reason` is a sentence that says what to do (copied, NULL where fine). Any thread. */
void health_set(struct health *h, enum metric_COMPONENT component, enum health_state state,
		const char *reason);

/*
 * Asks at each reading, on the reading thread and under the lock of h. `reason` holds
 * HEALTH_REASON_MAX bytes. What was set with health_set counts too: the worse of the two wins.
 */
typedef enum health_state health_probe_fn(void *ctx, char *reason);
void health_probe(struct health *h, enum metric_COMPONENT component, health_probe_fn *fn, void *ctx);

/* True where weir is ready: for all, or for reading alone. Any thread. */
bool health_ready(struct health *h, bool for_read);

/*
 * Appends {"status":"ready|warning|read_only|down","components":{"ingest":{"state":"ok"},…}} with
 * a "reason" where one is not fine. Gives the worst state in *worst. ERR_LIMIT, ERR_NOMEM.
 */
int health_write(struct health *h, struct buf *out, enum health_state *worst);

/* A source for metrics_source_add: weir_ready by component. ctx is the struct health. */
void health_metrics(void *ctx, struct metrics_scrape *scrape);

#endif
