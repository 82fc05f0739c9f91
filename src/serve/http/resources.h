/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_HTTP_RESOURCES_H
#define WEIR_SERVE_HTTP_RESOURCES_H

#include "serve/http/route.h"

/*
 * The plain resources of the HTTP interface, a row each; the daemon gathers
 * them with those of streams. Their handlers find everything through struct app.
 */
extern const struct route route_produce;      /* POST /v1/topics/{topic}/records */
extern const struct route route_produce_once; /* PUT  /v1/topics/{topic}/records/{key} */

extern const struct route route_topics;    /* GET /v1/topics */
extern const struct route route_topic_get; /* GET /v1/topics/{topic} */
extern const struct route route_topic_put;
extern const struct route route_topic_delete;
extern const struct route route_topic_trim; /* POST /v1/topics/{topic}/trim */

extern const struct route route_groups;    /* GET /v1/groups */
extern const struct route route_group_get; /* GET /v1/groups/{group} */
extern const struct route route_group_delete;
extern const struct route route_group_offsets_get; /* GET /v1/groups/{group}/offsets */
extern const struct route route_group_offsets_put;

extern const struct route route_sources;      /* GET /v1/sources */
extern const struct route route_source_get;   /* GET /v1/sources/{source} */
extern const struct route route_source_pause; /* POST /v1/sources/{source}/pause, … */
extern const struct route route_source_resume;
extern const struct route route_source_reset;
extern const struct route route_source_run;
extern const struct route route_source_test;
extern const struct route route_source_put;
extern const struct route route_source_delete;
extern const struct route route_source_runs; /* GET /v1/sources/{source}/runs */
extern const struct route route_source_run_begin;
extern const struct route route_source_run_get; /* GET /v1/sources/{source}/runs/{run} */
extern const struct route route_source_run_cancel;
extern const struct route route_source_run_resume;
extern const struct route route_dead_topics; /* GET /v1/dead */
extern const struct route route_dead_list;   /* GET /v1/topics/{topic}/dead */
extern const struct route route_dead_get;    /* GET /v1/topics/{topic}/dead/{id} */
extern const struct route route_dead_put;
extern const struct route route_dead_redrive; /* POST /v1/topics/{topic}/dead/redrive */
extern const struct route route_dead_drop;    /* POST /v1/topics/{topic}/dead/drop */

extern const struct route route_backup_start; /* POST /v1/backup */
extern const struct route route_backup_get;

extern const struct route route_readyz;
extern const struct route route_metrics;

#endif
