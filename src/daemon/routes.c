/* SPDX-License-Identifier: Apache-2.0 */
#include "base/check.h"
#include "daemon/parts.h"
#include "serve/http/health.h"
#include "serve/http/poll.h"
#include "serve/http/resources.h"
#include "serve/page/page.h"
#include "serve/sse/sse_routes.h"
#include "serve/ws/ws_routes.h"

#define ROUTES_MAX 64u

static const struct route *const plain[] = {
	&route_produce,           &route_produce_once, &route_topics,
	&route_topic_get,         &route_topic_put,    &route_topic_delete,
	&route_topic_trim,        &route_records_get,  &route_partition_get,
	&route_healthz,           &route_readyz,       &route_metrics,
	&route_backup_start,      &route_backup_get,   &route_groups,
	&route_group_get,         &route_group_delete, &route_group_offsets_get,
	&route_group_offsets_put, &route_dead_topics,  &route_dead_list,
	&route_dead_get,          &route_dead_put,     &route_dead_redrive,
	&route_dead_drop,
};

static const struct route *const sources[] = {
	&route_sources,          &route_source_get,     &route_source_pause,      &route_source_resume,
	&route_source_reset,     &route_source_run,     &route_source_test,       &route_source_runs,
	&route_source_run_begin, &route_source_run_get, &route_source_run_cancel, &route_source_run_resume,
	&route_source_put,       &route_source_delete,
};

static size_t add(const struct route **all, size_t count, const struct route *const *more, size_t more_count)
{
	CHECK(count + more_count <= ROUTES_MAX);
	for (size_t i = 0; i < more_count; i++)
		all[count + i] = more[i];
	return count + more_count;
}

const struct route *const *routes_all(size_t *count)
{
	static const struct route *all[ROUTES_MAX];

	*count = add(all, 0, plain, sizeof(plain) / sizeof(plain[0]));
	*count = add(all, *count, sources, sizeof(sources) / sizeof(sources[0]));
	*count = add(all, *count, page_routes, page_route_count);
	*count = add(all, *count, sse_routes, sse_route_count);
	*count = add(all, *count, ws_routes, ws_route_count);
	return all;
}
