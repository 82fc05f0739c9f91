/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The age of the oldest open letter is read from the head of its batch (the topic bears the time of appending) and
 * kept, by topic and offset, since it is asked for at each scrape and changes seldom. Without waiting: a letter whose batch is
 * on a disk that has to be waited for has no age for now.
 */
#include "serve/dead_watch.h"

#include <pthread.h>
#include <stdio.h>

#include "base/mem.h"
#include "ingest/dead.h"
#include "obs/say.h"

#define KEPT 64u

struct kept {
	struct topic_id topic;
	int64_t offset, time_ms;
	bool used, over;
};

struct dead_watch {
	struct topics *topics;
	struct dead_marks *marks;
	pthread_mutex_t lock;
	struct kept kept[KEPT]; /* under lock */
	uint32_t next;
};

int dead_watch_new(struct topics *topics, struct dead_marks *marks, struct dead_watch **out)
{
	struct dead_watch *w = mem_zalloc(1, sizeof(*w));

	if (!w)
		return ERR_NOMEM;
	w->topics = topics;
	w->marks = marks;
	if (pthread_mutex_init(&w->lock, NULL)) {
		mem_free(w);
		return ERR_NOMEM;
	}
	*out = w;
	return 0;
}

void dead_watch_free(struct dead_watch *w)
{
	if (!w)
		return;
	(void)pthread_mutex_destroy(&w->lock);
	mem_free(w);
}

/* Under the lock. The one of the topic, or the next one is given away: it is a cache, and a line of the log may come twice. */
static struct kept *kept_of(struct dead_watch *w, const struct topic_id *topic)
{
	struct kept *k;

	for (uint32_t i = 0; i < KEPT; i++)
		if (w->kept[i].used && topic_id_eq(&w->kept[i].topic, topic))
			return &w->kept[i];
	k = &w->kept[w->next++ % KEPT];
	*k = (struct kept){.topic = *topic, .offset = -1, .time_ms = -1, .used = true};
	return k;
}

static int64_t read_time(struct partition *p, int64_t offset)
{
	struct batch_head head;
	struct log_view view;
	int64_t time_ms = -1;

	if (log_read(p, offset, 1, &view) != LOG_READ_OK)
		return -1;
	if (batch_head_read(view.batches, &head) == 0)
		time_ms = head.max_timestamp;
	blob_unref(view.blob);
	return time_ms;
}

static int64_t bytes_max_of(struct dead_watch *w, const struct topic *dead)
{
	struct topic *topic = topics_find(w->topics, dead_topic_parent(slice_str(dead->name)));
	struct topic_config config;
	bool auto_create;

	if (topic)
		topic_config(w->topics, topic, &config);
	else
		topics_defaults(w->topics, &config, &auto_create);
	return config.dead_max_bytes;
}

static void tell(const struct topic *dead, const struct dead_figures *f)
{
	say(SAY_WARNING, "dead_letters_over_limit",
	    "The dead letters of a topic take more than its dead_letters.max_bytes: redrive them, drop them and trim the topic, or raise it topic=%s bytes=%llu limit=%lld open=%llu",
	    dead->name, (unsigned long long)f->bytes, (long long)f->bytes_max, (unsigned long long)f->open);
}

void dead_watch_look(struct dead_watch *w, struct topic *dead, struct dead_figures *out)
{
	struct partition *p = topic_partition(dead, 0);
	struct partition_range range = {0};
	struct dead_open open;
	bool fresh = false;
	struct kept *k;

	partition_range(p, &range);
	open = dead_marks_open(w->marks, &dead->id, range.start, range.end);
	*out = (struct dead_figures){.open = open.count,
				     .letters = (uint64_t)(range.end - range.start),
				     .bytes = range.bytes,
				     .first_open = open.count ? open.first : -1,
				     .oldest_ms = -1,
				     .bytes_max = bytes_max_of(w, dead)};
	out->over = out->bytes_max >= 0 && range.bytes > (uint64_t)out->bytes_max;
	(void)pthread_mutex_lock(&w->lock);
	k = kept_of(w, &dead->id);
	if (open.count && (k->offset != open.first || k->time_ms < 0)) {
		k->offset = open.first;
		k->time_ms = read_time(p, open.first);
	}
	if (open.count)
		out->oldest_ms = k->time_ms;
	fresh = out->over && !k->over;
	k->over = out->over;
	(void)pthread_mutex_unlock(&w->lock);
	if (fresh)
		tell(dead, out);
}

void dead_watch_added(struct dead_watch *w, struct slice topic)
{
	char name[TOPIC_NAME_MAX + 1];
	struct dead_figures figures;
	struct topic *dead;

	if (topic.len + sizeof(DEAD_SUFFIX) > sizeof(name))
		return;
	(void)snprintf(name, sizeof(name), "%.*s" DEAD_SUFFIX, (int)topic.len, (const char *)topic.ptr);
	dead = topics_find(w->topics, slice_str(name));
	if (dead)
		dead_watch_look(w, dead, &figures);
}

struct summing {
	struct dead_watch *watch;
	struct dead_sum *sum;
};

static bool sum_one(void *ctx, struct topic *topic)
{
	struct summing *s = ctx;
	struct dead_figures f;

	if (!dead_topic_is(slice_str(topic->name)))
		return true;
	dead_watch_look(s->watch, topic, &f);
	s->sum->open += f.open;
	s->sum->bytes += f.bytes;
	if (f.oldest_ms >= 0 && (s->sum->oldest_ms < 0 || f.oldest_ms < s->sum->oldest_ms))
		s->sum->oldest_ms = f.oldest_ms;
	if (f.over && s->sum->over++ == 0)
		memcpy(s->sum->name, topic->name, sizeof(s->sum->name));
	return true;
}

void dead_watch_sum(struct dead_watch *w, struct dead_sum *out)
{
	struct summing s = {.watch = w, .sum = out};

	*out = (struct dead_sum){.oldest_ms = -1};
	topics_each(w->topics, slice_null(), sum_one, &s);
}

enum health_state dead_watch_health(void *ctx, char *reason)
{
	struct dead_sum sum;

	dead_watch_sum(ctx, &sum);
	if (sum.over == 0)
		return HEALTH_OK;
	(void)snprintf(reason, HEALTH_REASON_MAX,
		       "the dead letters in %.120s take more than dead_letters.max_bytes", sum.name);
	return HEALTH_WARNING;
}
