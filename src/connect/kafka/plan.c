/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which partitions there are, and where new ones begin. Asked at the start, as often as the schedule says, and
 * by pulls that have gone on for a minute without a plan.
 *
 * `start` counts for what the first plan finds. What comes later (a partition that was added, a topic that was made)
 * is read from its beginning: its first records came before anybody could know of it, and `latest` would lose them.
 *
 * A part stays as long as the settings speak of its topic, whatever the cluster shows: a broker that has just started, or a
 * right that was taken for an hour, would otherwise forget how far everything is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "connect/kafka/inner.h"

#define NAMES_BYTES_MAX 60000u

struct planning {
	struct kafka_source *s;
	struct source_plan *plan;
	struct kafka_ask ask;
	rd_kafka_topic_partition_list_t *fresh; /* new parts; the offset is where they begin, -1001 none yet */
	struct kafka_past past;
	struct buf names; /* as past.names, and what is new */
	bool first;       /* nothing was planned for these settings */
	bool changed;
	uint32_t parts, missing;
	char missing_name[256];
};

/* ---- names ---- */

bool kafka_part_name(struct slice name, char topic[256], int32_t *partition)
{
	const uint8_t *at = name.len ? memrchr(name.ptr, '/', name.len) : NULL;
	size_t n = at ? (size_t)(at - name.ptr) : 0;
	int64_t number = 0;

	if (!at || n == 0 || n > 249 || name.len - n - 1 == 0 || name.len - n - 1 > 10)
		return false;
	for (size_t i = n + 1; i < name.len; i++) {
		if (name.ptr[i] < '0' || name.ptr[i] > '9')
			return false;
		number = number * 10 + (name.ptr[i] - '0');
	}
	if (number > INT32_MAX)
		return false;
	memcpy(topic, name.ptr, n);
	topic[n] = 0;
	*partition = (int32_t)number;
	return true;
}

/* The whole name fits, and not a piece of it. */
static bool name_fits(const struct kafka_source *s, const char *topic)
{
	regmatch_t m;

	return regexec(&s->pattern, topic, 1, &m, 0) == 0 && m.rm_so == 0 && topic[m.rm_eo] == 0;
}

static uint64_t settings_hash(const struct kafka_settings *o)
{
	static const struct hash_key seed = {.k0 = 0x6b61666b61, .k1 = 0x706c616e};
	uint64_t h = hash_sip13(&seed, slice_str(o->pattern ? o->pattern : ""));
	struct hash_key key;

	/* The order of names means nothing. */
	for (uint32_t i = 0; i < o->topics.count; i++) {
		key = (struct hash_key){.k0 = seed.k0, .k1 = 2};
		h += hash_sip13(&key, slice_str(o->topics.items[i]));
	}
	return h;
}

static void remember(struct planning *p, const char *topic)
{
	struct slice name = slice_str(topic);
	struct kafka_past now = {.names = buf_slice(&p->names)};

	if (kafka_past_has(&now, name) || p->names.len + name.len + 1 > NAMES_BYTES_MAX)
		return;
	(void)buf_append_slice(&p->names, name);
	(void)buf_append_byte(&p->names, '\n');
	p->changed = true;
}

/* ---- parts ---- */

/* `next` and `end`: -1001 (RD_KAFKA_OFFSET_INVALID) or less than 0: the beginning, and none. */
static bool add_part(struct planning *p, const char *topic, int32_t partition, int64_t next, int64_t end)
{
	char name[300];
	uint8_t bytes[KAFKA_MARK_BYTES_MAX];
	struct kafka_mark mark = KAFKA_MARK_INIT;
	struct source_plan_part part = {0};
	int n = snprintf(name, sizeof(name), "%s/%d", topic, partition);

	part.name = slice_make(name, (size_t)n);
	if (next >= 0) {
		mark.next = next;
		if (end >= 0) {
			mark.begin = next;
			mark.end = end > next ? end : next;
			part.total = (uint64_t)(mark.end - next);
		}
		part.checkpoint =
			(struct source_checkpoint){slice_make(bytes, kafka_mark_write(&mark, bytes)),
						   KAFKA_MARK_VERSION};
	}
	p->parts++;
	return source_plan_add(p->plan, &part) == 0;
}

static bool is_known(const struct planning *p, const char *topic, int32_t partition)
{
	char name[300];
	struct source_checkpoint checkpoint;
	bool done;
	int n = snprintf(name, sizeof(name), "%s/%d", topic, partition);

	return source_plan_find(p->plan, slice_make(name, (size_t)n), &checkpoint, &done);
}

/* What was read before and is not shown now, from a number on. */
static void keep_known(struct planning *p, const char *topic, int32_t from)
{
	for (int32_t i = from; is_known(p, topic, i); i++)
		(void)add_part(p, topic, i, -1, -1);
}

static void wake_absent(struct kafka_source *s, const char *topic)
{
	(void)pthread_mutex_lock(&s->lock);
	for (struct feed *f = s->feeds; f; f = f->next)
		if (f->absent && strcmp(f->topic, topic) == 0)
			source_wake(f->part);
	(void)pthread_mutex_unlock(&s->lock);
}

static void add_topic(struct planning *p, const struct rd_kafka_metadata_topic *t)
{
	/* A run asks for the offsets of its window of all that it meets. */
	bool first = p->s->setup.window || (p->first && !kafka_past_has(&p->past, slice_str(t->topic)));

	for (int32_t i = 0; i < t->partition_cnt; i++) {
		int32_t id = t->partitions[i].id;
		if (is_known(p, t->topic, id))
			(void)add_part(p, t->topic, id, -1, -1);
		else if (first)
			(void)rd_kafka_topic_partition_list_add(p->fresh, t->topic, id);
		else
			(void)add_part(p, t->topic, id, -1, -1);
	}
	keep_known(p, t->topic, t->partition_cnt);
	remember(p, t->topic);
	wake_absent(p->s, t->topic);
}

static void miss_topic(struct planning *p, const char *topic)
{
	keep_known(p, topic, 0);
	(void)snprintf(p->missing_name, sizeof(p->missing_name), "%s", topic);
	p->missing++;
}

/* ---- asking ---- */

/* Of one topic, or of all (NULL). NULL: the call has failed. */
static const struct rd_kafka_metadata *ask_metadata(struct planning *p, const char *topic)
{
	const struct rd_kafka_metadata *got = NULL;
	rd_kafka_topic_t *handle = topic ? rd_kafka_topic_new(p->ask.client, topic, NULL) : NULL;
	rd_kafka_resp_err_t err;
	char what[320];

	(void)snprintf(what, sizeof(what), "asking %s%s which partitions %s%s",
		       p->s->settings->brokers.items[0],
		       p->s->settings->brokers.count > 1 ? " and others" : "", topic ? topic : "topics",
		       topic ? " has" : " have");
	do {
		err = rd_kafka_metadata(p->ask.client, !topic, handle, &got, kafka_ask_ms(&p->ask));
	} while (err && kafka_ask_again(&p->ask, err, what));
	if (handle)
		rd_kafka_topic_destroy(handle);
	return err ? NULL : got;
}

/* False: the call has failed. A topic without partitions is being made, or not there. */
static bool take_topic(struct planning *p, const struct rd_kafka_metadata_topic *t)
{
	char what[300];

	switch (t->err) {
	case RD_KAFKA_RESP_ERR_NO_ERROR:
	case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
		if (t->partition_cnt)
			add_topic(p, t);
		else
			miss_topic(p, t->topic);
		return true;
	case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		miss_topic(p, t->topic);
		return true;
	default:
		(void)snprintf(what, sizeof(what), "topic %s", t->topic);
		(void)kafka_fail(p->s, &p->plan->call, t->err, what);
		return false;
	}
}

static bool find_named(struct planning *p)
{
	const struct conf_list *topics = &p->s->settings->topics;
	bool good = true;

	for (uint32_t i = 0; good && i < topics->count; i++) {
		const struct rd_kafka_metadata *got = ask_metadata(p, topics->items[i]);
		if (!got)
			return false;
		good = got->topic_cnt == 1 && take_topic(p, &got->topics[0]);
		if (got->topic_cnt != 1) {
			miss_topic(p, topics->items[i]);
			good = true;
		}
		rd_kafka_metadata_destroy(got);
	}
	return good;
}

static bool is_shown(const struct rd_kafka_metadata *m, struct slice name)
{
	for (int i = 0; i < m->topic_cnt; i++)
		if (slice_eq_str(name, m->topics[i].topic))
			return true;
	return false;
}

static void keep_remembered(struct planning *p, const struct rd_kafka_metadata *m)
{
	struct slice rest = p->past.names, name;
	char topic[256];

	while (kafka_past_next(&rest, &name)) {
		if (name.len > 249 || is_shown(m, name))
			continue;
		memcpy(topic, name.ptr, name.len);
		topic[name.len] = 0;
		if (name_fits(p->s, topic))
			keep_known(p, topic, 0);
	}
}

static bool find_fitting(struct planning *p)
{
	const struct rd_kafka_metadata *got = ask_metadata(p, NULL);
	bool good = true;

	if (!got)
		return false;
	for (int i = 0; good && i < got->topic_cnt; i++)
		if (name_fits(p->s, got->topics[i].topic))
			good = take_topic(p, &got->topics[i]);
	keep_remembered(p, got);
	rd_kafka_metadata_destroy(got);
	return good;
}

/* ---- where new parts begin ---- */

static bool ask_group(struct planning *p)
{
	rd_kafka_resp_err_t err;
	char what[320];

	(void)snprintf(what, sizeof(what), "asking for the offsets of group %s", p->s->settings->group);
	do {
		err = rd_kafka_committed(p->ask.client, p->fresh, kafka_ask_ms(&p->ask));
		if (!err)
			return true;
	} while (kafka_ask_again(&p->ask, err, what));
	return false;
}

/* The first offset of a record at or after a time, or the end, of those that have none yet. */
static bool ask_times(struct planning *p, rd_kafka_topic_partition_list_t *of, int64_t at_ms)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(of->cnt);
	bool good;

	for (int i = 0; i < of->cnt; i++)
		if (of->elems[i].offset < 0)
			rd_kafka_topic_partition_list_add(list, of->elems[i].topic, of->elems[i].partition)
				->offset = at_ms;
	good = list->cnt == 0 || kafka_offsets(&p->ask, list, "asking for the offsets to begin at");
	for (int i = 0; good && i < list->cnt; i++)
		rd_kafka_topic_partition_list_find(of, list->elems[i].topic, list->elems[i].partition)
			->offset = list->elems[i].offset;
	rd_kafka_topic_partition_list_destroy(list);
	return good;
}

/* One side of a window: by its time where it has one, and where no record is so late, by `other`. */
static bool ask_side(struct planning *p, rd_kafka_topic_partition_list_t *of, bool timed, int64_t at_ms,
		     int64_t other)
{
	for (int i = 0; i < of->cnt; i++)
		of->elems[i].offset = RD_KAFKA_OFFSET_INVALID;
	return (!timed || ask_times(p, of, at_ms)) && ask_times(p, of, timed ? RD_KAFKA_OFFSET_END : other);
}

/*
 * A run's partitions: from the first record at or after its one time to the first at or after the other, or where the
 * partition ends now. What is between them is read, as offsets have it, whatever the records' times are.
 */
static bool place_window(struct planning *p, const struct source_window *w)
{
	rd_kafka_topic_partition_list_t *ends;
	bool good;

	if (p->fresh->cnt == 0)
		return true;
	ends = rd_kafka_topic_partition_list_copy(p->fresh);
	good = ask_side(p, p->fresh, w->from.ptr != NULL, w->from_ms, RD_KAFKA_OFFSET_BEGINNING) &&
	       ask_side(p, ends, w->to.ptr != NULL, w->to_ms, RD_KAFKA_OFFSET_END);
	for (int i = 0; good && i < p->fresh->cnt; i++)
		(void)add_part(p, p->fresh->elems[i].topic, p->fresh->elems[i].partition,
			       p->fresh->elems[i].offset, ends->elems[i].offset);
	rd_kafka_topic_partition_list_destroy(ends);
	return good;
}

static bool place_fresh(struct planning *p)
{
	const struct kafka_settings *o = p->s->settings;
	int64_t at_ms = 0;
	enum kafka_start start = kafka_start_of(o->start, &at_ms);

	if (p->s->setup.window)
		return place_window(p, p->s->setup.window);
	for (int i = 0; i < p->fresh->cnt; i++)
		p->fresh->elems[i].offset = RD_KAFKA_OFFSET_INVALID;
	if (p->fresh->cnt == 0)
		return true;
	if (o->group && !ask_group(p))
		return false;
	if (start == KAFKA_TIME && !ask_times(p, p->fresh, at_ms))
		return false;
	if (start != KAFKA_EARLIEST && !ask_times(p, p->fresh, RD_KAFKA_OFFSET_END))
		return false;
	for (int i = 0; i < p->fresh->cnt; i++)
		(void)add_part(p, p->fresh->elems[i].topic, p->fresh->elems[i].partition,
			       p->fresh->elems[i].offset, -1);
	return true;
}

/* ---- the plan ---- */

static enum source_end finish(struct planning *p)
{
	struct source_call *call = &p->plan->call;
	const struct kafka_settings *o = p->s->settings;
	uint64_t hash = settings_hash(o);
	struct buf bytes;

	if (p->parts == 0 && o->pattern)
		return source_fail(call, SOURCE_TRANSIENT, "no topic of the cluster fits the pattern %s",
				   o->pattern);
	if (p->parts == 0)
		return source_fail(call, SOURCE_TRANSIENT, "there is no topic %s at %s", p->missing_name,
				   o->brokers.items[0]);
	if (p->missing && !o->pattern)
		source_warn(p->s->setup.source,
			    "there is no topic %s in the cluster; it is read once it is there",
			    p->missing_name);
	if (!p->changed && p->past.is && p->past.settings == hash)
		return SOURCE_IDLE;
	buf_init(&bytes, SOURCE_CHECKPOINT_MAX);
	if (kafka_past_write(hash, buf_slice(&p->names), &bytes) == 0)
		(void)source_plan_mark(p->plan, KAFKA_PLAN_VERSION, buf_slice(&bytes));
	buf_fini(&bytes);
	return SOURCE_IDLE;
}

static enum source_end make_plan(struct planning *p)
{
	struct kafka_source *s = p->s;

	p->first = !p->past.is || p->past.settings != settings_hash(s->settings);
	if (buf_append_slice(&p->names, p->past.names))
		return source_fail(&p->plan->call, SOURCE_TRANSIENT, "there is no memory for the plan");
	if (!(s->has_pattern ? find_fitting(p) : find_named(p)) || !place_fresh(p))
		return SOURCE_FAILED;
	kafka_trouble_over(s);
	return finish(p);
}

enum source_end kafka_plan(struct kafka_source *s, struct source_plan *plan)
{
	struct planning p = {.s = s, .plan = plan};
	rd_kafka_t *client = kafka_client(s, &plan->call);
	enum source_end end;

	if (!client)
		return SOURCE_FAILED;
	if ((plan->checkpoint.bytes.ptr && plan->checkpoint.version != KAFKA_PLAN_VERSION) ||
	    !kafka_past_read(plan->checkpoint.bytes, &p.past))
		return source_fail(&plan->call, SOURCE_FINAL,
				   "the checkpoint is of a later version of weir: %u",
				   plan->checkpoint.version);
	kafka_ask_begin(&p.ask, s, &plan->call, client);
	buf_init(&p.names, SOURCE_CHECKPOINT_MAX);
	p.fresh = rd_kafka_topic_partition_list_new(16);
	end = make_plan(&p);
	rd_kafka_topic_partition_list_destroy(p.fresh);
	buf_fini(&p.names);
	atomic_store(&s->planned_ns, sys_monotonic_ns(s->setup.sys));
	return end;
}
