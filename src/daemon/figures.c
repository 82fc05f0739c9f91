/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts count by themselves, carried to metrics and health. */
#include <stdio.h>

#include "connect/sources.h"
#include "daemon/parts.h"
#include "obs/say.h"
#include "proto/kafka/kafka_api.h"
#include "serve/http/resources.h"

/* ---- requests ---- */

static enum metric_ROUTE label_of(const struct route *route)
{
	static const struct {
		const char *pattern;
		enum metric_ROUTE label;
	} labels[] = {
		{"/v1/topics/{topic}/records", ROUTE_RECORDS_GET},
		{"/v1/topics/{topic}/records/{key}", ROUTE_RECORDS_PUT},
		{"/v1/topics/{topic}/partitions/{partition}/records", ROUTE_PARTITION_GET},
		{"/v1/topics/{topic}/sse", ROUTE_SSE},
		{"/v1/sse", ROUTE_SSE},
		{"/v1/topics/{topic}/ws", ROUTE_WS},
		{"/v1/ws", ROUTE_WS},
		{"/v1/topics", ROUTE_TOPICS},
		{"/v1/topics/{topic}", ROUTE_TOPIC},
		{"/v1/topics/{topic}/trim", ROUTE_TRIM},
		{"/v1/groups", ROUTE_GROUPS},
		{"/v1/groups/{group}", ROUTE_GROUPS},
		{"/v1/groups/{group}/offsets", ROUTE_GROUPS},
		{"/v1/sources", ROUTE_SOURCES},
		{"/v1/sources/{source}", ROUTE_SOURCES},
		{"/v1/sources/{source}/pause", ROUTE_SOURCES},
		{"/v1/sources/{source}/resume", ROUTE_SOURCES},
		{"/v1/sources/{source}/reset", ROUTE_SOURCES},
		{"/v1/sources/{source}/run", ROUTE_SOURCES},
		{"/v1/sources/{source}/test", ROUTE_SOURCES},
		{"/v1/dead", ROUTE_DEAD},
		{"/v1/topics/{topic}/dead", ROUTE_DEAD},
		{"/v1/topics/{topic}/dead/{id}", ROUTE_DEAD},
		{"/v1/topics/{topic}/dead/redrive", ROUTE_DEAD},
		{"/v1/topics/{topic}/dead/drop", ROUTE_DEAD},
		{"/v1/backup", ROUTE_BACKUP},
		{"/healthz", ROUTE_HEALTHZ},
		{"/readyz", ROUTE_READYZ},
		{"/metrics", ROUTE_METRICS},
		{"/", ROUTE_PAGE},
	};

	if (route == &route_produce)
		return ROUTE_RECORDS_POST;
	for (size_t i = 0; route && i < sizeof(labels) / sizeof(labels[0]); i++)
		if (route->pattern == labels[i].pattern ||
		    slice_eq_str(slice_str(route->pattern), labels[i].pattern))
			return labels[i].label;
	return ROUTE_OTHER;
}

static enum metric_METHOD method_of(enum http_method method)
{
	switch (method) {
	case HTTP_GET:
		return METHOD_GET;
	case HTTP_HEAD:
		return METHOD_HEAD;
	case HTTP_POST:
		return METHOD_POST;
	case HTTP_PUT:
		return METHOD_PUT;
	case HTTP_DELETE:
		return METHOD_DELETE;
	case HTTP_OPTIONS:
		return METHOD_OPTIONS;
	default:
		return METHOD_OTHER;
	}
}

static void on_answered(void *ctx, uint32_t loop, const struct route *route, enum http_method method,
			int status, int64_t latency_ns)
{
	struct parts *p = ctx;
	struct metrics_shard *shard = p->app.loops[loop].shard;
	enum metric_ROUTE label = label_of(route);

	metric_add(shard, METRIC_HTTP_REQUESTS, metric_labels(METRIC_HTTP_REQUESTS, label, method_of(method)),
		   1);
	metric_add(shard, METRIC_HTTP_ANSWERS,
		   metric_labels(METRIC_HTTP_ANSWERS, label, metric_class(status)), 1);
	metric_observe(shard, METRIC_HTTP_SECONDS, label, (uint64_t)latency_ns);
}

static void on_refused(void *ctx, uint32_t loop, int err)
{
	struct parts *p = ctx;

	metric_add(p->app.loops[loop].shard, METRIC_REFUSALS, metric_code(err), 1);
}

static void on_connections(void *ctx, uint32_t loop, int change)
{
	struct parts *p = ctx;
	struct metrics_shard *shard = p->app.loops[loop].shard;

	metric_move(shard, METRIC_CONNECTIONS, LISTENER_HTTP, change);
	if (change > 0)
		metric_add(shard, METRIC_CONNECTIONS_ACCEPTED, LISTENER_HTTP, 1);
}

static void on_spared(void *ctx, uint32_t loop, uint32_t count)
{
	struct parts *p = ctx;

	metric_add(p->app.loops[loop].shard, METRIC_CONNECTIONS_SPARED, LISTENER_HTTP, count);
}

void figures_observe(struct parts *p, struct http_observer *out)
{
	*out = (struct http_observer){.ctx = p,
				      .answered = on_answered,
				      .refused = on_refused,
				      .connections = on_connections,
				      .spared = on_spared};
}

static void on_kafka_connections(void *ctx, uint32_t loop, int change)
{
	struct parts *p = ctx;
	struct metrics_shard *shard = p->app.loops[loop].shard;

	metric_move(shard, METRIC_CONNECTIONS, LISTENER_KAFKA, change);
	if (change > 0)
		metric_add(shard, METRIC_CONNECTIONS_ACCEPTED, LISTENER_KAFKA, 1);
}

static void on_kafka_answered(void *ctx, uint32_t loop, uint32_t api, int64_t latency_ns)
{
	struct parts *p = ctx;
	struct metrics_shard *shard = p->app.loops[loop].shard;

	metric_add(shard, METRIC_KAFKA_REQUESTS, api, 1);
	metric_observe(shard, METRIC_KAFKA_SECONDS, api, (uint64_t)latency_ns);
}

/* The label `api` has a value for each API, in the order of the table. */
_Static_assert((unsigned)METRIC_COUNT_API == (unsigned)KAFKA_APIS_COUNT, "a label for each API");

void figures_observe_kafka(struct parts *p, struct kafka_server_options *out)
{
	out->connections = on_kafka_connections;
	out->answered = on_kafka_answered;
	out->ctx = p;
}

/* ---- sources ---- */

_Static_assert(LOG_BUCKETS == METRIC_BUCKETS + 1, "the log's last bucket is the one without a bound");

static void put_log(struct metrics_scrape *s, struct log *l)
{
	struct log_stats st;

	log_stats(l, &st);
	metrics_put(s, METRIC_LOG_COMMITS, 0, (int64_t)st.commits);
	metrics_put(s, METRIC_LOG_GROUPS, 0, (int64_t)st.groups);
	metrics_put(s, METRIC_LOG_RECORDS, 0, (int64_t)st.records);
	metrics_put(s, METRIC_LOG_ENTERED_BYTES, 0, (int64_t)st.bytes_entered);
	metrics_put(s, METRIC_LOG_JOURNAL_BYTES, 0, (int64_t)st.bytes_journal);
	metrics_put_histogram(s, METRIC_LOG_SYNC_SECONDS, 0, st.sync_us_buckets, LOG_BUCKETS, st.sync_ns_sum);
	metrics_put_histogram(s, METRIC_LOG_GROUP_SECONDS, 0, st.group_us_buckets, LOG_BUCKETS,
			      st.group_ns_sum);
	metrics_put_histogram(s, METRIC_LOG_GROUP_COMMITS, 0, st.group_commits_buckets, LOG_BUCKETS,
			      st.commits);
	metrics_put(s, METRIC_LOG_QUEUE_BYTES, QUEUE_ENTERED, (int64_t)st.entered_bytes);
	metrics_put(s, METRIC_LOG_QUEUE_BYTES, QUEUE_PINNED, (int64_t)st.pinned_bytes);
	metrics_put(s, METRIC_LOG_TAIL_BYTES, 0, (int64_t)st.tail_bytes);
	metrics_put(s, METRIC_LOG_READS, ORIGIN_TAIL, (int64_t)st.reads_tail);
	metrics_put(s, METRIC_LOG_READS, ORIGIN_DISK, (int64_t)st.reads_disk);
	metrics_put(s, METRIC_LOG_CHECKPOINTS, 0, (int64_t)st.checkpoints);
	metrics_put(s, METRIC_LOG_CHECKPOINT_SECONDS, 0, (int64_t)st.last_checkpoint_ns);
	metrics_put(s, METRIC_LOG_COMPACTIONS, 0, (int64_t)st.compactions);
	metrics_put(s, METRIC_LOG_COMPACTED_RECORDS, REMOVAL_REPLACED, (int64_t)st.compacted_records);
	metrics_put(s, METRIC_LOG_COMPACTED_RECORDS, REMOVAL_TOMBSTONE, (int64_t)st.compacted_tombstones);
	metrics_put(s, METRIC_LOG_DIRTY_BYTES, 0, (int64_t)st.dirty_bytes);
	metrics_put(s, METRIC_LOG_PRODUCERS, 0, (int64_t)st.producers);
	metrics_put(s, METRIC_LOG_OPEN_TRANSACTIONS, 0, (int64_t)st.open_transactions);
	metrics_put(s, METRIC_LOG_ABORTED_TRANSACTIONS, 0, (int64_t)st.aborted_transactions);
	metrics_put(s, METRIC_LOG_REWRITTEN_SEGMENTS, 0, (int64_t)st.rewritten_segments);
	metrics_put(s, METRIC_LOG_REWRITE_READ, 0, (int64_t)st.rewrite_read_bytes);
	metrics_put(s, METRIC_LOG_REWRITE_WRITTEN, 0, (int64_t)st.rewrite_written_bytes);
	metrics_put(s, METRIC_LOG_FREE_BYTES, 0, (int64_t)st.free_bytes);
	metrics_put(s, METRIC_LOG_PARTITIONS, 0, (int64_t)st.partitions);
	metrics_put(s, METRIC_LOG_FILES, 0, (int64_t)st.files_open);
	metrics_put(s, METRIC_LOG_RECOVERED_GROUPS, 0, (int64_t)st.recovered_groups);
	metrics_put(s, METRIC_LOG_TRUNCATED_BYTES, 0, (int64_t)st.truncated_bytes);
	metrics_put(s, METRIC_LOG_DAMAGED_RANGES, 0, (int64_t)st.damaged_ranges);
	metrics_put(s, METRIC_LOG_DAMAGED_RECORDS, 0, (int64_t)st.damaged_offsets);
	metrics_put(s, METRIC_LOG_CLOCK_AHEAD, 0, st.clock_ahead_ms * 1000000);
}

static void put_seen(struct metrics_scrape *s, struct seen *seen)
{
	struct seen_stats st;

	seen_stats(seen, &st);
	metrics_put(s, METRIC_SEEN_KEYS, STORE_TABLE, (int64_t)st.keys_table);
	metrics_put(s, METRIC_SEEN_KEYS, STORE_RUNS, (int64_t)st.keys_runs);
	metrics_put(s, METRIC_SEEN_RUNS, 0, (int64_t)st.runs);
	metrics_put(s, METRIC_SEEN_BUCKETS, 0, (int64_t)st.buckets);
	metrics_put(s, METRIC_SEEN_MEMORY, 0, (int64_t)st.bytes_memory);
	metrics_put(s, METRIC_SEEN_DISK, 0, (int64_t)st.bytes_disk);
	metrics_put(s, METRIC_SEEN_FALSE_HITS, 0, (int64_t)st.filter_hits_false);
}

static void put_listener(struct metrics_scrape *s, enum metric_LISTENER label, const struct listener *l)
{
	struct listener_figures f;

	listener_figures(l, &f);
	metrics_put(s, METRIC_CONNECTIONS_REFUSED, label, (int64_t)f.refused);
	metrics_put(s, METRIC_CONNECTIONS_CROWDED, label, (int64_t)f.crowded);
	metrics_put(s, METRIC_RECEIVED_BYTES, label, (int64_t)f.bytes_received);
	metrics_put(s, METRIC_SENT_BYTES, label, (int64_t)f.bytes_sent);
}

static void put_memory(struct metrics_scrape *s, const struct budget *b)
{
	metrics_put(s, METRIC_MEMORY_USED, 0, budget_used(b));
	metrics_put(s, METRIC_MEMORY_LIMIT, 0, atomic_load(&b->bytes_max));
}

_Static_assert((unsigned)METRIC_COUNT_STATE == (unsigned)GROUP_DEAD, "a label for each state of a group");

static void put_coordinators(struct metrics_scrape *s, const struct app *app)
{
	struct offsets_stats offsets;
	struct groups_stats groups;
	struct txns_stats txns;

	groups_stats(app->groups, &groups);
	for (unsigned state = 0; state < METRIC_COUNT_STATE; state++)
		metrics_put(s, METRIC_GROUPS, state, (int64_t)groups.by_state[state]);
	metrics_put(s, METRIC_GROUP_MEMBERS, 0, (int64_t)groups.members);
	metrics_put(s, METRIC_GROUP_REBALANCES, 0, (int64_t)groups.rebalances);
	metrics_put(s, METRIC_GROUP_EXPIRED, 0, (int64_t)groups.expired_members);
	txns_stats(app->txns, &txns);
	metrics_put(s, METRIC_TXN_IDS, 0, (int64_t)txns.ids);
	metrics_put(s, METRIC_TXN_OPEN, 0, (int64_t)txns.ongoing);
	metrics_put(s, METRIC_TXN_BEGUN, 0, (int64_t)txns.begun);
	metrics_put(s, METRIC_TXN_COMMITTED, 0, (int64_t)txns.committed);
	metrics_put(s, METRIC_TXN_ABORTED, 0, (int64_t)txns.aborted);
	metrics_put(s, METRIC_TXN_TIMED_OUT, 0, (int64_t)txns.timed_out);
	offsets_stats(app->offsets, &offsets);
	metrics_put(s, METRIC_GROUP_OFFSETS, 0, (int64_t)offsets.committed);
	metrics_put(s, METRIC_GROUP_OFFSETS_BYTES, 0, (int64_t)offsets.bytes);
}

static void put_dead(struct metrics_scrape *s, const struct parts *p)
{
	struct dead_sum sum;

	dead_watch_sum(p->app.dead_watch, &sum);
	metrics_put(s, METRIC_DEAD_OPEN, 0, (int64_t)sum.open);
	metrics_put(s, METRIC_DEAD_BYTES, 0, (int64_t)sum.bytes);
	metrics_put(s, METRIC_DEAD_OVER, 0, (int64_t)sum.over);
	if (sum.oldest_ms >= 0)
		metrics_put(s, METRIC_DEAD_OLDEST, 0, (sys_wall_ms(p->sys) - sum.oldest_ms) * 1000000);
}

static void put_all(void *ctx, struct metrics_scrape *s)
{
	struct parts *p = ctx;

	put_log(s, p->app.log);
	put_seen(s, log_seen(p->app.log));
	put_listener(s, LISTENER_HTTP, p->listener); /* there before the first loop runs, as p->http is */
	if (p->kafka_listener)
		put_listener(s, LISTENER_KAFKA, p->kafka_listener);
	put_memory(s, &p->budget);
	for (uint32_t i = 0; i < p->loop_count; i++) {
		struct app_loop *al = &p->app.loops[i];
		for (unsigned way = 0; way < METRIC_COUNT_WAY; way++) {
			metrics_put(s, METRIC_READER_LAG, way, atomic_load(&al->lag_sum[way]));
			metrics_put_max(s, METRIC_READER_LAG_MAX, way, atomic_load(&al->lag_max[way]));
		}
	}
	metrics_put(s, METRIC_TOPICS, 0, topics_count(p->app.topics));
	put_coordinators(s, &p->app);
	put_dead(s, p);
	metrics_put(s, METRIC_RELOAD_OK, 0, atomic_load(&p->reload_ok));
	metrics_put(s, METRIC_RELOAD_TIME, 0, atomic_load(&p->reload_ns));
}

/* ---- sources ---- */

static int64_t ns_or_unknown(int64_t ms)
{
	return ms > 0 ? ms * 1000000 : NAMED_UNKNOWN;
}

static int64_t interval_of(const struct sources_view *view)
{
	const struct conf_source *source = view->source;

	if (source->cron)
		return 0;
	if (source->every_max_ms)
		return view->figures.interval_ms;
	return source->every_ms ? source->every_ms : source_type_of(source->kind)->every_ms;
}

static bool put_source(void *ctx, const struct sources_view *view)
{
	const struct runner_figures *f = &view->figures;
	const int64_t values[NAMED_COUNT] = {
		[NAMED_PULLS] = (int64_t)f->pulls,
		[NAMED_REQUESTS] = (int64_t)f->requests,
		[NAMED_BYTES] = (int64_t)f->bytes_read,
		[NAMED_RECORDS] = (int64_t)f->records,
		[NAMED_DUPLICATES] = (int64_t)f->duplicates,
		[NAMED_DEAD] = (int64_t)f->dead,
		[NAMED_ERRORS] = (int64_t)f->errors,
		[NAMED_LAG_RECORDS] = f->lag_records >= 0 ? f->lag_records : NAMED_UNKNOWN,
		[NAMED_LAG] = f->lag_ms >= 0 ? f->lag_ms * 1000000 : NAMED_UNKNOWN,
		[NAMED_SUCCESS] = ns_or_unknown(f->success_ms),
		[NAMED_INTERVAL] = ns_or_unknown(interval_of(view)),
	};

	named_put(ctx, slice_str(view->source->name), runner_state_name(f->state), values);
	return true;
}

static void put_sources(void *ctx, struct named *n)
{
	struct parts *p = ctx;

	sources_each(p->app.sources, put_source, n);
}

static enum health_state ask_ingest(void *ctx, char *reason)
{
	struct parts *p = ctx;
	int err;

	if (log_accepts(p->app.log, &err))
		return HEALTH_OK;
	(void)snprintf(reason, HEALTH_REASON_MAX, "%s", err_row(err)->sentence);
	return HEALTH_READ_ONLY;
}

static enum health_state ask_listeners(void *ctx, char *reason)
{
	struct parts *p = ctx;

	if ((!p->listener || listener_has_room(p->listener)) &&
	    (!p->kafka_listener || listener_has_room(p->kafka_listener)))
		return HEALTH_OK;
	(void)snprintf(reason, HEALTH_REASON_MAX, "%s", err_row(ERR_TOO_MANY_CONNECTIONS)->sentence);
	return HEALTH_DOWN;
}

int figures_start(struct parts *p)
{
	atomic_store(&p->reload_ok, 1);
	atomic_store(&p->reload_ns, p->sys->ops->wall_ns(p->sys->self));
	health_probe(p->app.health, COMPONENT_INGEST, ask_ingest, p);
	health_probe(p->app.health, COMPONENT_LISTENERS, ask_listeners, p);
	health_probe(p->app.health, COMPONENT_DEAD_LETTERS, dead_watch_health, p->app.dead_watch);
	if (metrics_source_add(p->app.metrics, put_all, p) ||
	    metrics_source_add(p->app.metrics, health_metrics, p->app.health))
		return ERR_LIMIT;
	metrics_name(p->app.metrics, put_sources, p);
	return metrics_source_add(p->app.metrics, say_metrics, NULL);
}
