/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration file's topics: what it names is made or changed, and belongs
 * to it; what it no longer names goes back to the API and is not deleted.
 */
#include <pthread.h>

#include "daemon/parts.h"
#include "ingest/dead.h"
#include "serve/topic_conf.h"

struct waiting {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint32_t open;
};

static void on_durable(void *ctx)
{
	struct waiting *w = ctx;

	(void)pthread_mutex_lock(&w->lock);
	w->open--;
	(void)pthread_cond_signal(&w->cond);
	(void)pthread_mutex_unlock(&w->lock);
}

static void begin_one(struct waiting *w)
{
	(void)pthread_mutex_lock(&w->lock);
	w->open++;
	(void)pthread_mutex_unlock(&w->lock);
}

static bool same(const struct topic_config *a, const struct topic_config *b)
{
	return a->partitions == b->partitions && a->retention_ms == b->retention_ms &&
	       a->retention_bytes == b->retention_bytes && a->durability == b->durability &&
	       a->cleanup == b->cleanup && a->idempotency_ttl_ms == b->idempotency_ttl_ms &&
	       a->compaction_dirty_percent == b->compaction_dirty_percent &&
	       a->compaction_max_lag_ms == b->compaction_max_lag_ms &&
	       a->compaction_tombstone_ms == b->compaction_tombstone_ms &&
	       a->recompress_after_ms == b->recompress_after_ms &&
	       a->compaction_min_lag_ms == b->compaction_min_lag_ms && a->timestamps == b->timestamps &&
	       a->max_message_bytes == b->max_message_bytes && a->segment_bytes == b->segment_bytes &&
	       a->dead_retention_ms == b->dead_retention_ms && a->dead_max_bytes == b->dead_max_bytes;
}

/* Whether the topic may become what the file says. Asked of all before one is changed, as a file is applied whole or not at all. */
static int check_one(struct parts *p, const struct conf_topic *wanted, struct fault *fault)
{
	struct topic *topic = topics_find(p->app.topics, slice_str(wanted->name));
	struct topic_config config, now;

	if (!topic)
		return 0;
	topic_conf_to(wanted, &config);
	topic_config(p->app.topics, topic, &now);
	if (config.partitions >= now.partitions)
		return 0;
	return fault_set(fault, ERR_BAD_TOPIC_CONFIG,
			 "topics[%s].partitions: \"%u\": the topic has %u; partitions can only become more",
			 wanted->name, config.partitions, now.partitions);
}

/* Under the entry lock. */
static int apply_one(struct parts *p, const struct conf_topic *wanted, const struct state_done *done,
		     struct waiting *w, struct fault *fault)
{
	struct topic *topic = topics_find(p->app.topics, slice_str(wanted->name));
	struct topic_config config, now = {.dead_retention_ms = INT64_MIN};
	int rc;

	topic_conf_to(wanted, &config);
	if (topic) {
		topic_config(p->app.topics, topic, &now);
		if (topic->from_file && same(&now, &config))
			return 0;
	}
	begin_one(w);
	rc = topic ? topics_change(p->app.topics, topic, &config, true, done, fault) :
		     topics_create(p->app.topics, slice_str(wanted->name), &config, true, done, &topic,
				   fault);
	if (rc)
		on_durable(w);
	else if (config.dead_retention_ms != now.dead_retention_ms)
		dead_follow(p->app.topics, slice_str(wanted->name));
	return rc;
}

struct release {
	struct parts *p;
	const struct conf *conf;
	const struct state_done *done;
	struct waiting *waiting;
};

static bool is_named(const struct conf *conf, const char *name)
{
	for (uint32_t i = 0; i < conf->topic_count; i++)
		if (slice_eq_str(slice_str(conf->topics[i].name), name))
			return true;
	return false;
}

static bool release_one(void *ctx, struct topic *topic)
{
	struct release *r = ctx;
	struct topic_config config;

	if (!topic->from_file || is_named(r->conf, topic->name))
		return true;
	topic_config(r->p->app.topics, topic, &config);
	begin_one(r->waiting);
	if (topics_change(r->p->app.topics, topic, &config, false, r->done, NULL))
		on_durable(r->waiting);
	return true;
}

int file_topics_apply(struct parts *p, const struct conf *conf, struct fault *fault)
{
	struct waiting w = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
	struct state_done done = {.fn = on_durable, .ctx = &w};
	struct release release = {.p = p, .conf = conf, .done = &done, .waiting = &w};
	int rc = 0;

	log_enter_begin(p->app.log);
	for (uint32_t i = 0; i < conf->topic_count && rc == 0; i++)
		rc = check_one(p, &conf->topics[i], fault);
	for (uint32_t i = 0; i < conf->topic_count && rc == 0; i++)
		rc = apply_one(p, &conf->topics[i], &done, &w, fault);
	if (rc == 0)
		topics_each(p->app.topics, slice_null(), release_one, &release);
	log_enter_end(p->app.log);
	(void)pthread_mutex_lock(&w.lock);
	while (w.open > 0)
		(void)pthread_cond_wait(&w.cond, &w.lock);
	(void)pthread_mutex_unlock(&w.lock);
	return rc;
}
