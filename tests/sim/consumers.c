/* SPDX-License-Identifier: Apache-2.0 */
/* Readers that keep a cursor outside the machine and go on from it in the next one. */
#include <inttypes.h>
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

/* Somewhere else, from the beginning, the end or a time. */
static void choose_anew(struct world *w, struct consumer *c)
{
	static const char *const words[] = {"earliest", "latest", "@1700000000500"};
	uint32_t word = chance(w, 2) ? 0 : below(w, 3);

	c->topic_count = 0;
	for (uint32_t i = 0; i < 8 && c->topic_count < 1 + below(w, 2); i++) {
		uint32_t topic = below(w, w->model.topic_count);
		const struct model_topic *t = &w->model.topics[topic];
		if (t->created && !t->deleting && (c->topic_count == 0 || c->topics[0] != topic))
			c->topics[c->topic_count++] = (uint8_t)topic;
	}
	c->exact = word == 0;
	c->cursor_len = strlen(words[word]);
	memcpy(c->cursor, words[word], c->cursor_len);
	forget_positions(c->saved, c->exact ? 0 : -1);
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

static void open_consumer(struct world *w, struct consumer *c)
{
	struct slice names[CONSUMER_TOPICS];
	struct cursor cursor;
	struct arena arena;
	struct fault fault = {0};
	struct reader_options o = {
		.topics = names, .cursor = &cursor, .watch = true, .on_ready = on_ready, .ctx = c};
	int rc;

	if (any_deleting(w, c))
		choose_anew(w, c); /* its name may be another topic's by now */
	if (c->topic_count == 0)
		return;
	for (uint32_t i = 0; i < c->topic_count; i++)
		names[i] = slice_str(w->model.topics[c->topics[i]].name);
	o.topic_count = c->topic_count;
	arena_init(&arena, 4096, 1u << 20);
	rc = cursor_parse(slice_make(c->cursor, c->cursor_len), &arena, &cursor, &fault);
	if (rc)
		model_fail("a cursor that weir gave cannot be read: %s", fault.text);
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

static void save(struct world *w, struct consumer *c)
{
	struct buf text;

	buf_init(&text, sizeof(c->cursor));
	if (reader_cursor(c->reader, &text) == 0) {
		memcpy(c->cursor, text.ptr, text.len);
		c->cursor_len = text.len;
		memcpy(c->saved, c->position, sizeof(c->saved));
		world_say(w, "consumer %d saves its cursor", (int)(c - w->consumers));
	}
	buf_fini(&text);
}

/* Gives the offset that it got to, which may be before the end of the view. */
static int64_t read_view(struct world *w, const struct reader_view *view, uint32_t topic, int64_t expect)
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

static void take_view(struct world *w, struct consumer *c, const struct reader_view *view, bool gap)
{
	int topic = model_topic_of(&w->model, &view->topic->id);
	int index = topic < 0 ? -1 : topic_index(c, (uint32_t)topic);
	int64_t *position;

	if (index < 0 || view->number >= MODEL_PARTS_MAX)
		model_fail("a consumer was given another topic");
	position = &c->position[index][view->number];
	if (*position == 0 && may_miss(w, (uint32_t)topic, view->number, view->from))
		*position = view->from; /* the earliest that was left */
	if (*position >= 0 && *position != view->from)
		model_fail("a consumer of %s/%u stood at %" PRId64 " and was given %" PRId64,
			   w->model.topics[topic].name, view->number, *position, view->from);
	if (gap) {
		if (view->damage || !may_miss(w, (uint32_t)topic, view->number, view->next_offset))
			model_fail("a consumer of %s/%u misses %" PRId64 " to %" PRId64 "%s",
				   w->model.topics[topic].name, view->number, view->from,
				   view->next_offset - 1, view->damage ? ": damage" : "");
		*position = view->next_offset;
		return;
	}
	*position = read_view(w, view, (uint32_t)topic, view->from);
	reader_consumed(c->reader, *position);
}

static void close_consumer(struct consumer *c)
{
	reader_close(c->reader);
	c->reader = NULL;
}

static void pull(struct world *w, struct consumer *c)
{
	struct reader_view view;
	int rc = reader_next(c->reader, 1 + below(w, 8000), &view);

	c->ready = rc == READER_BATCH || rc == READER_GAP;
	c->parked = rc == READER_END;
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
		save(w, c);
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
