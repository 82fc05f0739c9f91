/* SPDX-License-Identifier: Apache-2.0 */
/* Readers that keep a cursor outside the machine and go on from it in the next one. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "world.h"

static void on_ready(void *ctx, struct reader *reader)
{
	struct consumer *c = ctx;

	(void)reader;
	c->ready = true;
	c->parked = false;
}

static void forget_positions(int64_t positions[CONSUMER_TOPICS][MODEL_PARTS_MAX], int64_t value)
{
	for (uint32_t t = 0; t < CONSUMER_TOPICS; t++)
		for (uint32_t p = 0; p < MODEL_PARTS_MAX; p++)
			positions[t][p] = value;
}

/* That of some record, or a little before. */
static int64_t choose_time(struct world *w, const struct consumer *c)
{
	const struct model_part *p = &w->model.topics[c->topics[0]].part[below(w, 2)];
	int64_t offset = c->topic_count && p->end ? (int64_t)below(w, (uint32_t)p->end) : -1;

	if (offset < 0 || p->at[offset].time_ms < 1000)
		return 1700000000500;
	return p->at[offset].time_ms - (int64_t)below(w, 3);
}

static const char *const words[] = {"earliest", "latest"};

/* Somewhere else, from the beginning, the end or a time. */
static void choose_anew(struct world *w, struct consumer *c)
{
	uint32_t word = chance(w, 2) ? 0 : below(w, 3);

	c->topic_count = 0;
	for (uint32_t i = 0; i < 8 && c->topic_count < 1 + below(w, 2); i++) {
		uint32_t topic = below(w, w->model.topic_count);
		const struct model_topic *t = &w->model.topics[topic];
		if ((t->created || t->on_use) && !t->deleting &&
		    (c->topic_count == 0 || c->topics[0] != topic))
			c->topics[c->topic_count++] = (uint8_t)topic;
	}
	c->exact = word == 0;
	c->time_ms = word == 2 ? choose_time(w, c) : INT64_MIN;
	c->cursor_len = word < 2 ? strlen(words[word]) :
				   (size_t)snprintf(c->cursor, sizeof(c->cursor), "@%" PRId64, c->time_ms);
	if (word < 2)
		memcpy(c->cursor, words[word], c->cursor_len);
	forget_positions(c->saved, c->exact ? 0 : -1);
	memset(c->begun, 0, sizeof(c->begun));
}

void consumers_leave(struct world *w, uint32_t topic)
{
	for (uint32_t i = 0; i < CONSUMERS; i++)
		for (uint32_t k = 0; k < w->consumers[i].topic_count; k++)
			if (w->consumers[i].topics[k] == topic)
				w->consumers[i].topic_count = 0;
}

static int topic_index(const struct consumer *c, uint32_t topic)
{
	for (uint32_t i = 0; i < c->topic_count; i++)
		if (c->topics[i] == topic)
			return (int)i;
	return -1;
}

static bool any_deleting(const struct world *w, const struct consumer *c)
{
	for (uint32_t i = 0; i < c->topic_count; i++)
		if (w->model.topics[c->topics[i]].deleting)
			return true;
	return false;
}

/* All partitions, some, or one key; whatever it was before: the cursor holds the places of the others too. */
static void choose_selection(struct world *w, struct consumer *c)
{
	const struct model_topic *t = &w->model.topics[c->topics[0]];

	c->set.count = 0;
	c->key_len = 0;
	if (c->topic_count == 1 && t->created && t->parts > 1 && chance(w, 4)) {
		c->set.count = 1;
		c->set.ranges[0].first = below(w, t->parts);
		c->set.ranges[0].last = c->set.ranges[0].first + below(w, t->parts - c->set.ranges[0].first);
	} else if (chance(w, 8)) {
		c->key_len = (size_t)snprintf(c->key, sizeof(c->key), "p%u", below(w, 9));
	}
}

static void open_consumer(struct world *w, struct consumer *c)
{
	struct slice names[CONSUMER_TOPICS];
	struct cursor cursor;
	struct arena arena;
	struct fault fault = {0};
	struct reader_options o = {.topics = names,
				   .cursor = &cursor,
				   .wait_for_topics = w->profile.auto_create,
				   .on_ready = on_ready,
				   .ctx = c};
	int rc;

	if (any_deleting(w, c))
		choose_anew(w, c); /* its name may be another topic's by now */
	if (c->topic_count == 0)
		return;
	for (uint32_t i = 0; i < c->topic_count; i++)
		names[i] = slice_str(w->model.topics[c->topics[i]].name);
	o.topic_count = c->topic_count;
	choose_selection(w, c);
	o.partitions = &c->set;
	o.key = c->key_len ? slice_make(c->key, c->key_len) : slice_null();
	o.watch = c->watching = chance(w, 2);
	arena_init(&arena, 4096, 1u << 20);
	rc = cursor_parse(slice_make(c->cursor, c->cursor_len), &arena, &cursor, &fault);
	if (rc && rc != ERR_NOMEM)
		model_fail("a cursor that weir gave cannot be read: %s", fault.text);
	if (rc == 0)
		rc = reader_open(w->hub, &o, &c->reader, &fault);
	arena_fini(&arena);
	world_say(w, "consumer %d opens: %d %s", (int)(c - w->consumers), rc, rc ? fault.text : "");
	memcpy(c->position, c->saved, sizeof(c->saved));
	c->parked = false;
	c->ready = true;
	if (rc == 0)
		return;
	c->reader = NULL;
	if (rc == ERR_CURSOR_AHEAD)
		model_fail("a cursor is past the end of the log: %s", fault.text);
	if (rc != ERR_NOMEM && rc != ERR_IO && !any_deleting(w, c))
		model_fail("a consumer cannot go on: %s", fault.text);
	choose_anew(w, c);
}

/* The present place, or, with `at`, as if the last view's partition stood at *at. */
static void save(struct world *w, struct consumer *c, int64_t *position, int64_t at)
{
	struct hash128 stamp, again;
	struct buf text;

	buf_init(&text, sizeof(c->cursor));
	if ((position ? reader_cursor_at(c->reader, at, &text) : reader_cursor(c->reader, &text)) == 0) {
		int64_t kept = position ? *position : 0;
		memcpy(c->cursor, text.ptr, text.len);
		c->cursor_len = text.len;
		if (position)
			*position = at;
		memcpy(c->saved, c->position, sizeof(c->saved));
		if (position)
			*position = kept;
		world_say(w, "consumer %d saves its cursor", (int)(c - w->consumers));
	}
	buf_fini(&text);
	if (reader_stamp(c->reader, &stamp) == 0 && reader_stamp(c->reader, &again) == 0 &&
	    memcmp(&stamp, &again, sizeof(stamp)) != 0)
		model_fail("a reader that did not move has another stamp");
}

static bool wants(const struct consumer *c, struct slice key)
{
	return c->key_len == 0 || (key.ptr && slice_eq(key, slice_make(c->key, c->key_len)));
}

/* Gives the offset that it got to, which may be before the end of the view. */
static int64_t read_view(struct world *w, const struct consumer *c, const struct reader_view *view,
			 uint32_t topic, int64_t expect)
{
	struct slice rest = view->batches;
	int64_t stop = chance(w, 4) ? expect + 1 + (int64_t)below(w, 8) : INT64_MAX;

	while (rest.len) {
		struct batch_record record;
		struct model_walk walk;
		struct batch_head head;
		if (batch_check(rest, &head) || model_walk_start(&walk, rest))
			model_fail("a reader was given a batch that is not whole");
		while (batch_walk_next(&walk.walk, &record) == 1) {
			if (record.offset < expect)
				continue;
			if (record.offset >= stop) {
				model_walk_end(&walk);
				return expect;
			}
			if (record.offset != expect && !w->model.topics[topic].compacted)
				model_fail("a reader of %s/%u was given offset %" PRId64 " after %" PRId64,
					   w->model.topics[topic].name, view->number, record.offset,
					   expect - 1);
			model_read(&w->model, topic, view->number, &record);
			if (reader_wants(c->reader, record.key) != wants(c, record.key))
				model_fail("a reader of key %.*s errs in offset %" PRId64, (int)c->key_len,
					   c->key, record.offset);
			expect = record.offset + 1;
		}
		if (w->model.topics[topic].compacted && batch_last_offset(&head) >= expect)
			expect = batch_last_offset(&head) + 1;
		model_walk_end(&walk);
		rest = slice_from(rest, head.bytes);
	}
	return expect;
}

static bool may_miss(const struct world *w, uint32_t topic, uint32_t part, int64_t to)
{
	const struct model_topic *t = &w->model.topics[topic];

	return t->frees || t->deleting || t->part[part].trim_asked >= to;
}

/* Who begins at a time misses no record of that time or later. */
static void check_begin(struct world *w, struct consumer *c, const struct reader_view *view, uint32_t topic,
			int index)
{
	const struct model_part *p = &w->model.topics[topic].part[view->number];
	bool first = !c->begun[index][view->number];

	c->begun[index][view->number] = true;
	if (!first || c->time_ms == INT64_MIN || w->model.topics[topic].compacted || p->rotten ||
	    c->position[index][view->number] >= 0)
		return;
	for (int64_t offset = p->start; offset < view->from && offset < p->end; offset++)
		if (p->at[offset].time_ms >= c->time_ms && !p->at[offset].rotten &&
		    !may_miss(w, topic, view->number, offset + 1))
			model_fail("a consumer of %s/%u began at time %" PRId64 " with offset %" PRId64
				   " and misses %" PRId64,
				   w->model.topics[topic].name, view->number, c->time_ms, view->from, offset);
}

static void take_view(struct world *w, struct consumer *c, const struct reader_view *view, bool gap)
{
	int topic = client_topic_of(w, view->topic);
	int index = topic < 0 ? -1 : topic_index(c, (uint32_t)topic);
	int64_t *position;

	if (index < 0 || view->number >= MODEL_PARTS_MAX)
		model_fail("a consumer was given another topic");
	if (!partition_set_has(&c->set, view->number))
		model_fail("a consumer was given partition %u, which it does not read", view->number);
	check_begin(w, c, view, (uint32_t)topic, index);
	position = &c->position[index][view->number];
	world_say(w, "consumer %d: %s/%u from %" PRId64 " to %" PRId64 "%s", (int)(c - w->consumers),
		  w->model.topics[topic].name, view->number, view->from, view->next_offset,
		  gap ? view->damage ? ", damaged" : ", gone" : "");
	if (*position == 0 && may_miss(w, (uint32_t)topic, view->number, view->from))
		*position = view->from; /* the earliest that was left */
	if (*position >= 0 && *position != view->from)
		model_fail("a consumer of %s/%u stood at %" PRId64 " and was given %" PRId64,
			   w->model.topics[topic].name, view->number, *position, view->from);
	if (gap) {
		bool rotten = view->damage && model_is_rotten(&w->model, (uint32_t)topic, view->number,
							      view->from, view->next_offset);
		if (rotten && !w->rot.told_gap)
			model_fail("a consumer of %s/%u was told of damage and the log was not",
				   w->model.topics[topic].name, view->number);
		if (!rotten &&
		    (view->damage || !may_miss(w, (uint32_t)topic, view->number, view->next_offset)))
			model_fail("a consumer of %s/%u misses %" PRId64 " to %" PRId64 "%s",
				   w->model.topics[topic].name, view->number, view->from,
				   view->next_offset - 1, view->damage ? ": damage" : "");
		*position = view->next_offset;
		return;
	}
	*position = read_view(w, c, view, (uint32_t)topic, view->from);
	reader_consumed(c->reader, *position);
	if (*position > view->from && chance(w, 12))
		save(w, c, position, view->from + (int64_t)below(w, (uint32_t)(*position - view->from)));
}

/* A poll whose cursor is behind the retained log. */
struct skipping {
	struct world *w;
	struct consumer *c;
};

static void on_skipped(void *ctx, const struct reader_view *gap)
{
	struct skipping *s = ctx;

	take_view(s->w, s->c, gap, true);
}

static void close_consumer(struct consumer *c)
{
	reader_close(c->reader);
	c->reader = NULL;
}

/* A poll at the end: it is answered, or it waits. */
static void end_poll(struct world *w, struct consumer *c)
{
	if (chance(w, 2)) {
		save(w, c, NULL, 0);
		close_consumer(c);
	} else if (reader_watch(c->reader) == 0) {
		c->watching = c->ready = true;
	}
}

static void pull(struct world *w, struct consumer *c)
{
	struct skipping skipping = {w, c};
	struct reader_view view;
	int rc;

	if (chance(w, 10))
		(void)reader_skip_gone(c->reader, on_skipped, &skipping);
	rc = reader_next(c->reader, 1 + below(w, 8000), &view);
	c->ready = rc == READER_BATCH || rc == READER_GAP;
	c->parked = rc == READER_END && c->watching;
	if (rc == READER_END && !c->watching) {
		end_poll(w, c);
		return;
	}
	if (rc == READER_BATCH || rc == READER_GAP) {
		take_view(w, c, &view, rc == READER_GAP);
		if (rc == READER_BATCH)
			reader_view_release(&view);
	}
	if (rc >= 0)
		return;
	world_say(w, "consumer %d: %s", (int)(c - w->consumers), err_row(rc)->code);
	close_consumer(c);
	if (rc == ERR_CURSOR_AHEAD)
		model_fail("a reader is past the end of the log");
	if (rc == ERR_UNKNOWN_TOPIC && !any_deleting(w, c))
		model_fail("the topic of a reader is gone");
	if (rc == ERR_UNKNOWN_TOPIC)
		choose_anew(w, c);
}

void consumer_turn(struct world *w)
{
	struct consumer *c = &w->consumers[below(w, CONSUMERS)];

	w->operations++;
	if (!c->reader) {
		open_consumer(w, c);
		return;
	}
	if (c->ready)
		pull(w, c);
	if (c->reader && chance(w, 8))
		save(w, c, NULL, 0);
	if (c->reader && chance(w, 30))
		reader_again(c->reader);
	if (c->reader && chance(w, 40))
		close_consumer(c);
	if (chance(w, 100)) {
		if (c->reader)
			close_consumer(c);
		choose_anew(w, c);
	}
}

/* Everything is still: whoever is parked stands at the end of all that it reads. */
void consumers_check_awake(struct world *w)
{
	for (uint32_t i = 0; i < CONSUMERS; i++) {
		struct consumer *c = &w->consumers[i];
		if (c->reader && c->parked && !c->ready && !reader_caught_up(c->reader) &&
		    !any_deleting(w, c))
			model_fail("consumer %u sleeps, and there is more to read", i);
	}
}

void consumers_close(struct world *w)
{
	for (uint32_t i = 0; i < CONSUMERS; i++)
		if (w->consumers[i].reader)
			close_consumer(&w->consumers[i]);
}

void consumers_forget(struct world *w)
{
	for (uint32_t i = 0; i < CONSUMERS; i++)
		w->consumers[i].reader = NULL;
}

void consumers_reset(struct world *w)
{
	memset(w->consumers, 0, sizeof(w->consumers));
	for (uint32_t i = 0; i < CONSUMERS; i++)
		if (w->model.topic_count)
			choose_anew(w, &w->consumers[i]);
}
