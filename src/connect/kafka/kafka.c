/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The type: a part is a partition, named "TOPIC/NUMBER". Calls may wait (asking the cluster, stopping a partition), so
 * they run on threads that may; a pull itself does not, and a partition without records keeps none.
 */
#include "connect/kafka/kafka.h"

#include <string.h>

#include "base/mem.h"
#include "connect/kafka/inner.h"

#define PLAN_EVERY_MS 60000

/* Of this machine, for somebody who may not see it. */
static bool names_files(const struct source_setup *setup)
{
	const struct kafka_settings *o = setup->settings;
	bool crl = false;

	for (uint32_t i = 0; i < o->properties.count; i++)
		crl = crl || strcmp(o->properties.names[i], "ssl.crl.location") == 0;
	return setup->guarded && (o->tls_ca || o->tls_cert || o->tls_key || crl);
}

static bool is_timed(const struct source_window *w)
{
	return !w || ((!w->from.ptr || w->from_ms != INT64_MIN) && (!w->to.ptr || w->to_ms != INT64_MAX));
}

static int kafka_open(const struct source_setup *setup, void **self, struct fault *fault)
{
	struct kafka_source *s = mem_zalloc(1, sizeof(*s));
	rd_kafka_conf_t *conf;

	if (!s)
		return fault_set(fault, ERR_NOMEM, "there is no memory for the source");
	if (names_files(setup)) {
		mem_free(s);
		return fault_set(fault, ERR_BAD_CONFIG,
				 "a source that was made over the API names no files of this machine");
	}
	if (!is_timed(setup->window)) {
		mem_free(s);
		return fault_set(
			fault, ERR_BAD_PARAMETER,
			"--from and --to of a source of type kafka are times, such as 2026-01-31T12:00:00Z or @1767225600000");
	}
	s->setup = *setup;
	s->settings = setup->settings;
	s->guard = setup->guarded ? guard_public : guard_operator;
	conf = kafka_client_conf(s, fault); /* to see whether it can be */
	if (conf)
		rd_kafka_conf_destroy(conf);
	s->has_pattern =
		conf && s->settings->pattern && regcomp(&s->pattern, s->settings->pattern, REG_EXTENDED) == 0;
	if (!conf || (s->settings->pattern && !s->has_pattern)) {
		mem_free(s);
		return conf ? fault_set(fault, ERR_BAD_CONFIG, "the pattern is no regular expression") :
			      fault->err;
	}
	if (table_init(&s->reading)) {
		if (s->has_pattern)
			regfree(&s->pattern);
		mem_free(s);
		return fault_set(fault, ERR_NOMEM, "there is no memory for the source");
	}
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_mutex_init(&s->intake, NULL);
	*self = s;
	return 0;
}

static void kafka_close(void *self)
{
	struct kafka_source *s = self;

	kafka_client_end(s, true);
	if (s->has_pattern)
		regfree(&s->pattern);
	table_fini(&s->reading);
	(void)pthread_mutex_destroy(&s->intake);
	(void)pthread_mutex_destroy(&s->lock);
	mem_free(s);
}

static enum source_end plan(void *self, struct source_plan *p)
{
	return kafka_plan(self, p);
}

/* ---- parts ---- */

static struct feed *feed_of(struct kafka_source *s, struct source_part *part, struct source_call *call)
{
	struct feed *f = part->state;

	if (f)
		return f;
	f = mem_zalloc(1, sizeof(*f));
	if (!f || !kafka_part_name(part->name, f->topic, &f->partition)) {
		(void)source_fail(call, f ? SOURCE_FINAL : SOURCE_TRANSIENT,
				  f ? "no plan has made a part of this name" :
				      "there is no memory for the part");
		mem_free(f);
		return NULL;
	}
	f->source = s;
	f->part = part;
	f->mark = KAFKA_MARK_INIT;
	(void)pthread_mutex_lock(&s->lock);
	f->next = s->feeds;
	s->feeds = f;
	(void)pthread_mutex_unlock(&s->lock);
	part->state = f;
	return f;
}

static enum source_end pull(void *self, struct source_part *part, struct source_batch *batch)
{
	struct feed *f;

	if (part->checkpoint.bytes.ptr && part->checkpoint.version != KAFKA_MARK_VERSION)
		return source_fail(&batch->call, SOURCE_FINAL,
				   "the checkpoint is of a later version of weir: %u",
				   part->checkpoint.version);
	f = feed_of(self, part, &batch->call);
	return f ? feed_pull(f, batch) : SOURCE_FAILED;
}

/* Paused or gone: with the last partition the connections are closed too. */
static void drop(void *self, struct source_part *part)
{
	struct kafka_source *s = self;
	struct feed *f = part->state, **at = &s->feeds;

	if (!f)
		return;
	feed_stop(f);
	(void)pthread_mutex_lock(&s->lock);
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	(void)pthread_mutex_unlock(&s->lock);
	mem_free(f->held);
	mem_free(f->come);
	mem_free(f);
	part->state = NULL;
	kafka_client_end(s, false);
}

/* A client that a plan has made, and no partition has used yet. */
static void rest(void *self)
{
	kafka_client_end(self, false);
}

/* ---- the group ---- */

/* Told without waiting for an answer: nothing depends on it. A failure is a warning (client.c). */
static enum source_end settle(void *self, struct source_part *part, struct source_settle *settle)
{
	struct kafka_source *s = self;
	rd_kafka_topic_partition_list_t *offsets;
	struct kafka_mark mark;
	char topic[256];
	int32_t partition;
	rd_kafka_t *client;

	if (!s->settings->group_commit || !settle->checkpoint.bytes.ptr ||
	    !kafka_mark_read(settle->checkpoint.bytes, &mark) || mark.next < 0 ||
	    !kafka_part_name(part->name, topic, &partition))
		return SOURCE_IDLE;
	/* A client stays as long as somebody has a feed. */
	client = feed_of(s, part, &settle->call) ? kafka_client(s, &settle->call) : NULL;
	if (!client)
		return SOURCE_FAILED;
	offsets = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(offsets, topic, partition)->offset = mark.next;
	(void)rd_kafka_commit(client, offsets, 1);
	rd_kafka_topic_partition_list_destroy(offsets);
	return SOURCE_IDLE;
}

static void show(uint8_t version, struct slice checkpoint, struct buf *json)
{
	struct kafka_mark mark;

	if (version == KAFKA_MARK_VERSION && kafka_mark_read(checkpoint, &mark))
		kafka_mark_show(&mark, json);
	else
		(void)buf_append_str(json, "null");
}

const struct source_type source_kafka = {
	.kind = KAFKA_KIND,
	.flags = SOURCE_BLOCKS | SOURCE_STREAMS | SOURCE_WINDOWS,
	.every_ms = PLAN_EVERY_MS,
	.open = kafka_open,
	.close = kafka_close,
	.plan = plan,
	.pull = pull,
	.settle = settle,
	.drop = drop,
	.rest = rest,
	.show = show,
};
