/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The groups API. Groups live on the home loop, so a request makes a trip there: it is answered
 * from what it brings back. A group's position is a cursor like any other: what Kafka's consumers have
 * committed can be read on over HTTP, and the other way round.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "deliver/cursor.h"
#include "json/json.h"
#include "json/json_write.h"
#include "serve/app.h"
#include "serve/http/exchange.h"
#include "serve/http/resources.h"

#define LIST_DEFAULT 100u
#define LIST_MAX 1000u
#define ANSWER_BYTES_MAX ((size_t)64 << 20)
#define ARENA_BYTES_MAX ((size_t)64 << 20)

/* A request on its way. What it takes is its own: the exchange's memory is read there, but grows on its loop alone. */
struct trip {
	struct loop_msg msg;
	struct exchange *x;
	struct app *app;
	void (*run)(
		struct trip *t); /* at home; ends with trip_back, or has trip_done called when it is durable */
	struct slice group, query, after;
	uint64_t limit;
	struct arena arena;
	struct buf out;
	struct fault fault; /* err 0: answered with `out` */
	int status;
};

/* ---- there and back ---- */

static void answer(struct trip *t)
{
	if (t->fault.err)
		(void)exchange_refuse(t->x, &t->fault);
	else if (buf_status(&t->out))
		(void)exchange_problem(t->x, ERR_NOMEM, "there is no memory for the answer");
	else if (t->status == 204)
		(void)exchange_answer(t->x, 204, NULL, slice_null());
	else
		(void)exchange_answer(t->x, t->status, "application/json", buf_slice(&t->out));
	buf_fini(&t->out);
	arena_fini(&t->arena);
	mem_free(t);
}

static struct trip *trip_of(struct loop_msg *msg)
{
	return (struct trip *)((char *)msg - offsetof(struct trip, msg));
}

static void on_back(struct loop *loop, struct loop_msg *msg)
{
	(void)loop;
	answer(trip_of(msg));
}

static void on_there(struct loop *loop, struct loop_msg *msg)
{
	struct trip *t = trip_of(msg);

	(void)loop;
	t->run(t);
}

static void trip_back(struct trip *t)
{
	t->msg.run = on_back;
	loop_post(t->x->loop, &t->msg);
}

static int trip_begin(struct exchange *x, void (*run)(struct trip *t), struct trip **out)
{
	struct trip *t = mem_zalloc(1, sizeof(*t));

	if (!t)
		return ERR_NOMEM;
	t->x = x;
	t->app = x->app;
	t->run = run;
	t->status = 200;
	t->limit = LIST_DEFAULT;
	buf_init(&t->out, ANSWER_BYTES_MAX);
	arena_init(&t->arena, 4096, ARENA_BYTES_MAX);
	if (x->params)
		t->group = x->param[0];
	t->msg.run = on_there;
	*out = t;
	return 0;
}

static int trip_go(struct trip *t)
{
	loop_post(t->app->home, &t->msg);
	return EXCHANGE_PENDING;
}

static int begin_and_go(struct exchange *x, void (*run)(struct trip *t))
{
	struct trip *t;
	int rc = trip_begin(x, run, &t);

	return rc ? rc : trip_go(t);
}

/* False, with the fault, where there is no such group. */
static bool find(struct trip *t, struct group_view *view)
{
	if (t->group.len <= OFFSETS_GROUP_ID_MAX && groups_view(t->app->groups, t->group, view))
		return true;
	(void)fault_set(&t->fault, ERR_UNKNOWN_GROUP,
			"there is no group %.*s: nobody has joined it, and it has no offsets",
			(int)(t->group.len > 100 ? 100 : t->group.len), (const char *)t->group.ptr);
	return false;
}

static void end_text(struct trip *t)
{
	(void)buf_append_byte(&t->out, '\n');
}

/* ---- listing ---- */

struct listing {
	struct trip *t;
	struct group_view *list;
	uint32_t count, cap;
	bool no_memory;
};

static void gather(void *ctx, const struct group_view *view)
{
	struct listing *l = ctx;

	if (slice_cmp(view->id, l->t->after) <= 0)
		return;
	if (l->list && l->count < l->cap) {
		struct group_view *to = &l->list[l->count];
		*to = *view;
		to->id = arena_copy(&l->t->arena, view->id);
		to->protocol_type = arena_copy(&l->t->arena, view->protocol_type);
		l->no_memory = l->no_memory || !to->id.ptr || !to->protocol_type.ptr;
	}
	l->count++;
}

static int order_views(const void *a, const void *b)
{
	const struct group_view *x = a, *y = b;

	return slice_cmp(x->id, y->id);
}

static void put_summary(struct buf *out, const struct group_view *v)
{
	json_put_name(out, "group");
	json_put_string_lossy(out, v->id);
	json_put_member_string(out, "state", slice_str(group_state_name(v->state)));
	json_put_member_i64(out, "generation", v->generation);
	json_put_name(out, "protocol_type");
	json_put_string_lossy(out, v->protocol_type);
	json_put_member_u64(out, "offsets", v->offset_count);
}

static void put_page(struct trip *t, const struct listing *l)
{
	uint32_t shown = l->count < t->limit ? l->count : (uint32_t)t->limit;

	json_put_open(&t->out, '{');
	json_put_name(&t->out, "groups");
	json_put_open(&t->out, '[');
	for (uint32_t i = 0; i < shown; i++) {
		json_put_item(&t->out);
		json_put_open(&t->out, '{');
		put_summary(&t->out, &l->list[i]);
		json_put_member_u64(&t->out, "members", l->list[i].member_count);
		json_put_close(&t->out, '}');
	}
	json_put_close(&t->out, ']');
	json_put_member_text(&t->out, "next", shown < l->count ? l->list[shown - 1].id : slice_null());
	json_put_close(&t->out, '}');
	end_text(t);
}

static void run_list(struct trip *t)
{
	struct listing l = {.t = t};

	groups_each(t->app->groups, gather, &l);
	l.cap = l.count;
	l.list = arena_zalloc(&t->arena, l.cap + 1, sizeof(*l.list));
	l.count = 0;
	if (l.list)
		groups_each(t->app->groups, gather, &l);
	if (!l.list || l.no_memory) {
		(void)fault_set(&t->fault, ERR_NOMEM, "there is no memory for the list");
	} else {
		l.count = l.count < l.cap ? l.count : l.cap;
		qsort(l.list, l.count, sizeof(*l.list), order_views);
		put_page(t, &l);
	}
	trip_back(t);
}

static int on_list(struct exchange *x)
{
	struct slice after, limit;
	struct trip *t;
	uint64_t most = LIST_DEFAULT;
	int rc;

	(void)exchange_query(x, "after", &after);
	if (exchange_query(x, "limit", &limit) == 1 &&
	    (!slice_to_u64(limit, &most) || most == 0 || most > LIST_MAX))
		return exchange_problem(x, ERR_BAD_PARAMETER, "limit is a number from 1 to %u", LIST_MAX);
	rc = trip_begin(x, run_list, &t);
	if (rc)
		return rc;
	t->after = after;
	t->limit = most;
	return trip_go(t);
}

/* ---- one group ---- */

static void put_member(void *ctx, const struct group_member_view *m)
{
	struct buf *out = ctx;

	json_put_item(out);
	json_put_open(out, '{');
	json_put_name(out, "id");
	json_put_string_lossy(out, m->id);
	json_put_member_text(out, "instance_id", m->instance_id);
	json_put_name(out, "client_id");
	json_put_string_lossy(out, m->client_id);
	json_put_name(out, "host");
	json_put_string_lossy(out, m->client_host.len && m->client_host.ptr[0] == '/' ?
					   slice_from(m->client_host, 1) :
					   m->client_host);
	json_put_close(out, '}');
}

static void run_get(struct trip *t)
{
	struct group_view view;

	if (find(t, &view)) {
		json_put_open(&t->out, '{');
		put_summary(&t->out, &view);
		json_put_name(&t->out, "protocol");
		json_put_string_lossy(&t->out, view.protocol);
		json_put_name(&t->out, "members");
		json_put_open(&t->out, '[');
		groups_each_member(t->app->groups, t->group, put_member, &t->out);
		json_put_close(&t->out, ']');
		json_put_close(&t->out, '}');
		end_text(t);
	}
	trip_back(t);
}

static int on_get(struct exchange *x)
{
	return begin_and_go(x, run_get);
}

static void on_deleted(void *ctx)
{
	trip_back(ctx);
}

static int refuse_active(struct trip *t, const struct group_view *view)
{
	return fault_set(&t->fault, ERR_GROUP_ACTIVE,
			 "the group is %s and has %u members: stop its consumers first",
			 group_state_name(view->state), view->member_count);
}

static void run_delete(struct trip *t)
{
	struct state_done done = {.port = app_loop(t->app, t->app->home)->port, .fn = on_deleted, .ctx = t};
	struct group_view view;
	int rc;

	t->status = 204;
	if (!find(t, &view)) {
		trip_back(t);
		return;
	}
	rc = view.state == GROUP_EMPTY ? groups_delete(t->app->groups, t->group, &done) :
					 refuse_active(t, &view);
	if (rc) {
		t->fault.err = rc;
		trip_back(t);
	}
}

static int on_delete(struct exchange *x)
{
	return begin_and_go(x, run_delete);
}

/* ---- offsets ---- */

struct position {
	struct trip *t;
	struct offset_item *items;
	uint32_t count, cap;
	const struct topic *only[CURSOR_TOPICS_MAX]; /* asked for */
	uint32_t only_count;
};

static bool is_asked(const struct position *p, const struct topic_id *id)
{
	for (uint32_t i = 0; i < p->only_count; i++)
		if (topic_id_eq(&p->only[i]->id, id))
			return true;
	return p->only_count == 0;
}

static bool take_item(void *ctx, const struct offset_item *item)
{
	struct position *p = ctx;

	if (p->count == p->cap)
		return false;
	if (is_asked(p, &item->topic) && item->offset >= 0)
		p->items[p->count++] = *item;
	return true;
}

static int order_items(const void *a, const void *b)
{
	const struct offset_item *x = a, *y = b;
	int order = memcmp(x->topic.bytes, y->topic.bytes, sizeof(x->topic.bytes));

	return order ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

static void put_partition(struct buf *out, const struct topic *topic, const struct offset_item *item)
{
	struct partition *partition = topic_partition((struct topic *)(uintptr_t)topic, item->partition);
	struct partition_range range = {0};

	if (partition)
		partition_range(partition, &range);
	json_put_item(out);
	json_put_open(out, '{');
	json_put_member_u64(out, "partition", item->partition);
	json_put_member_i64(out, "offset", item->offset);
	json_put_member_i64(out, "end", range.end);
	json_put_member_i64(out, "lag", range.end > item->offset ? range.end - item->offset : 0);
	json_put_close(out, '}');
}

static void put_topics(struct position *p, struct cursor_topic *topics, struct cursor_place *places,
		       struct cursor *cursor)
{
	struct buf *out = &p->t->out;
	uint32_t to;

	for (uint32_t from = 0; from < p->count; from = to) {
		const struct topic *topic = topics_find_id(p->t->app->topics, &p->items[from].topic);
		for (to = from; to < p->count && topic_id_eq(&p->items[to].topic, &p->items[from].topic);
		     to++)
			;
		if (!topic)
			continue;
		json_put_item(out);
		json_put_open(out, '{');
		json_put_member_string(out, "topic", slice_str(topic->name));
		json_put_name(out, "partitions");
		json_put_open(out, '[');
		for (uint32_t i = from; i < to; i++) {
			put_partition(out, topic, &p->items[i]);
			places[cursor->place_count + i - from] =
				(struct cursor_place){p->items[i].partition, p->items[i].offset};
		}
		json_put_close(out, ']');
		json_put_close(out, '}');
		topics[cursor->topic_count++] =
			(struct cursor_topic){.id = topic->id,
					      .name_hash = cursor_name_hash(slice_str(topic->name)),
					      .first = cursor->place_count,
					      .count = to - from};
		cursor->place_count += to - from;
	}
}

/* Topics that were asked for and have no offset: the cursor begins them at their beginning, as a group would. */
static void add_untouched(const struct position *p, struct cursor_topic *topics, struct cursor *cursor)
{
	for (uint32_t i = 0; i < p->only_count; i++) {
		bool there = false;
		for (uint32_t k = 0; k < cursor->topic_count && !there; k++)
			there = topic_id_eq(&topics[k].id, &p->only[i]->id);
		if (!there)
			topics[cursor->topic_count++] =
				(struct cursor_topic){.id = p->only[i]->id,
						      .name_hash =
							      cursor_name_hash(slice_str(p->only[i]->name)),
						      .first = cursor->place_count};
	}
}

/* Null where it would be over the limits of a cursor: ask for fewer topics. */
static void put_cursor(struct trip *t, const struct cursor *cursor)
{
	struct buf scratch, text;

	buf_init(&scratch, CURSOR_TEXT_MAX);
	buf_init(&text, CURSOR_TEXT_MAX);
	json_put_name(&t->out, "cursor");
	if (cursor->topic_count == 0 || cursor->topic_count > CURSOR_TOPICS_MAX ||
	    cursor->place_count > CURSOR_PLACES_MAX || cursor_put(cursor, &scratch, &text))
		json_put_null(&t->out);
	else
		json_put_string(&t->out, buf_slice(&text));
	buf_fini(&scratch);
	buf_fini(&text);
}

static void put_position(struct position *p)
{
	struct trip *t = p->t;
	struct cursor cursor = {.kind = CURSOR_PLACES};
	struct cursor_topic *topics;
	struct cursor_place *places;

	p->cap = offsets_of(t->app->offsets, t->group).committed;
	p->items = arena_zalloc(&t->arena, p->cap + 1, sizeof(*p->items));
	topics = arena_zalloc(&t->arena, p->cap + CURSOR_TOPICS_MAX, sizeof(*topics));
	places = arena_zalloc(&t->arena, p->cap + 1, sizeof(*places));
	if (!p->items || !topics || !places) {
		(void)fault_set(&t->fault, ERR_NOMEM, "there is no memory for the offsets");
		return;
	}
	offsets_each(t->app->offsets, t->group, take_item, p);
	qsort(p->items, p->count, sizeof(*p->items), order_items);
	cursor.topics = topics;
	cursor.places = places;
	json_put_open(&t->out, '{');
	json_put_name(&t->out, "group");
	json_put_string_lossy(&t->out, t->group);
	json_put_name(&t->out, "topics");
	json_put_open(&t->out, '[');
	put_topics(p, topics, places, &cursor);
	json_put_close(&t->out, ']');
	add_untouched(p, topics, &cursor);
	put_cursor(t, &cursor);
	json_put_close(&t->out, '}');
	end_text(t);
}

static bool ask_for(struct position *p, struct slice name)
{
	struct trip *t = p->t;
	struct topic *topic = topics_find(t->app->topics, name);

	if (!topic || topic->internal) {
		(void)fault_set(&t->fault, ERR_UNKNOWN_TOPIC, "there is no topic %.*s",
				(int)(name.len > 100 ? 100 : name.len), (const char *)name.ptr);
		return false;
	}
	if (p->only_count == CURSOR_TOPICS_MAX) {
		(void)fault_set(&t->fault, ERR_BAD_PARAMETER, "at most %u topics", CURSOR_TOPICS_MAX);
		return false;
	}
	if (!is_asked(p, &topic->id) || p->only_count == 0)
		p->only[p->only_count++] = topic;
	return true;
}

/* "a,b" */
static bool ask_for_list(struct position *p, struct slice list)
{
	while (list.len) {
		const uint8_t *comma = memchr(list.ptr, ',', list.len);
		size_t len = comma ? (size_t)(comma - list.ptr) : list.len;
		if (!ask_for(p, slice_make(list.ptr, len)))
			return false;
		list = slice_from(list, comma ? len + 1 : len);
	}
	return true;
}

static void run_offsets(struct trip *t)
{
	struct position p = {.t = t};
	struct group_view view;

	if (find(t, &view) && ask_for_list(&p, t->query))
		put_position(&p);
	trip_back(t);
}

static int on_offsets(struct exchange *x)
{
	struct trip *t;
	int rc = trip_begin(x, run_offsets, &t);

	if (rc)
		return rc;
	(void)exchange_query(x, "topics", &t->query);
	return trip_go(t);
}

/* ---- setting offsets ---- */

/* What the body asks for: offsets by topic and partition, or a cursor (with topics, where that is a word). */
struct setting {
	struct position p; /* topics named */
	struct offset_item *items;
	uint32_t count, cap;
	struct slice cursor;
	bool by_offset;
};

static int add_item(struct setting *s, struct topic *topic, int64_t partition, int64_t offset)
{
	struct trip *t = s->p.t;
	struct partition_range range;
	struct partition *p =
		partition < 0 || partition > UINT32_MAX ? NULL : topic_partition(topic, (uint32_t)partition);

	if (!p)
		return fault_set(&t->fault, ERR_PARTITION_RANGE, "topic %s has no partition %lld",
				 topic->name, (long long)partition);
	partition_range(p, &range);
	if (offset < 0 || offset > range.end)
		return fault_set(&t->fault, offset < 0 ? ERR_BAD_PARAMETER : ERR_CURSOR_AHEAD,
				 "partition %lld of %s ends at offset %lld, the offset is %lld",
				 (long long)partition, topic->name, (long long)range.end, (long long)offset);
	if (s->count == s->cap) {
		uint32_t cap = s->cap ? s->cap * 2 : 64;
		struct offset_item *grown = arena_zalloc(&t->arena, cap, sizeof(*grown));
		if (!grown)
			return fault_set(&t->fault, ERR_NOMEM, "there is no memory for the offsets");
		if (s->count)
			memcpy(grown, s->items, s->count * sizeof(*grown));
		s->items = grown;
		s->cap = cap;
	}
	s->items[s->count++] = (struct offset_item){.topic = topic->id,
						    .partition = (uint32_t)partition,
						    .leader_epoch = -1,
						    .offset = offset,
						    .committed_ms = sys_wall_ms(t->app->sys),
						    .expires_ms = -1,
						    .metadata = SLICE_LIT("")};
	return 0;
}

static int read_partition(struct setting *s, struct json_cursor *c, struct topic *topic)
{
	struct json_value value;
	struct slice name;
	int64_t partition = -1, offset = -1;

	(void)json_object_begin(c);
	while (json_object_next(c, &name)) {
		bool is_partition = json_name_is(name, "partition"), is_offset = json_name_is(name, "offset");
		if (json_take(c, &value))
			break;
		if ((is_partition && json_i64(value, &partition)) || (is_offset && json_i64(value, &offset)))
			return fault_set(&s->p.t->fault, ERR_BAD_PARAMETER,
					 "partition and offset are whole numbers");
	}
	return c->status ? c->status : add_item(s, topic, partition, offset);
}

static struct topic *topic_named(struct setting *s, struct json_value value)
{
	struct slice name;

	if (value.kind != JSON_STRING || json_text(value.raw, &s->p.t->arena, &name)) {
		(void)fault_set(&s->p.t->fault, ERR_BAD_PARAMETER, "a topic is named by a string");
		return NULL;
	}
	return ask_for(&s->p, name) ? topics_find(s->p.t->app->topics, name) : NULL;
}

/* {"topic":"t","partitions":[…]}: the name must come first, as it is written. */
static int read_topic(struct setting *s, struct json_cursor *c)
{
	struct topic *topic = NULL;
	struct json_value value;
	struct slice name;
	int rc = json_object_begin(c);

	while (rc == 0 && json_object_next(c, &name)) {
		if (json_name_is(name, "topic")) {
			rc = json_take(c, &value);
			topic = rc ? NULL : topic_named(s, value);
			if (!topic)
				return s->p.t->fault.err ? s->p.t->fault.err : rc;
		} else if (json_name_is(name, "partitions")) {
			if (!topic)
				return fault_set(&s->p.t->fault, ERR_BAD_PARAMETER,
						 "\"topic\" stands before its \"partitions\"");
			s->by_offset = true;
			rc = json_array_begin(c);
			while (rc == 0 && json_array_next(c))
				rc = read_partition(s, c, topic);
		} else {
			rc = json_skip(c);
		}
	}
	return rc ? rc : c->status;
}

static int read_topics(struct setting *s, struct json_cursor *c)
{
	struct json_value value;
	int rc = json_array_begin(c);

	while (rc == 0 && json_array_next(c)) {
		if (json_peek(c) == JSON_OBJECT) {
			rc = read_topic(s, c);
		} else {
			rc = json_take(c, &value);
			if (rc == 0 && !topic_named(s, value))
				rc = s->p.t->fault.err;
		}
	}
	return rc ? rc : c->status;
}

static int read_body(struct setting *s)
{
	struct trip *t = s->p.t;
	struct json_value value;
	struct json_cursor c;
	struct slice name;
	char where[128];
	int rc;

	json_cursor_init(&c, t->x->body);
	rc = json_object_begin(&c);
	while (rc == 0 && json_object_next(&c, &name)) {
		if (json_name_is(name, "topics")) {
			rc = read_topics(s, &c);
		} else if (json_name_is(name, "cursor")) {
			rc = json_take(&c, &value);
			if (rc == 0 && value.kind == JSON_STRING)
				rc = json_text(value.raw, &t->arena, &s->cursor);
		} else {
			rc = json_skip(&c); /* what GET shows may be sent back */
		}
	}
	if (t->fault.err)
		return t->fault.err;
	if (rc == 0)
		rc = json_end(&c);
	if (c.status) {
		json_error_text(&c.error, where, sizeof(where));
		return fault_set(&t->fault, ERR_BAD_JSON, "the body is not as it should be: %s", where);
	}
	return rc;
}

/* Of a cursor that names places. */
static int take_places(struct setting *s, const struct cursor *cursor)
{
	struct trip *t = s->p.t;
	int rc = 0;

	for (uint32_t i = 0; i < cursor->topic_count && rc == 0; i++) {
		const struct cursor_topic *ct = &cursor->topics[i];
		struct topic *topic = topics_find_id(t->app->topics, &ct->id);
		if (!topic)
			return fault_set(&t->fault, ERR_CURSOR_GONE,
					 "the cursor is of a topic that was deleted");
		if (!is_asked(&s->p, &ct->id))
			continue;
		for (uint32_t k = ct->first; k < ct->first + ct->count && rc == 0; k++)
			rc = add_item(s, topic, cursor->places[k].partition, cursor->places[k].offset);
	}
	return rc;
}

static int take_ends(struct setting *s, bool earliest)
{
	int rc = 0;

	if (s->p.only_count == 0)
		return fault_set(&s->p.t->fault, ERR_BAD_PARAMETER,
				 "earliest and latest are of topics: name them in \"topics\"");
	for (uint32_t i = 0; i < s->p.only_count && rc == 0; i++) {
		struct topic *topic = (struct topic *)(uintptr_t)s->p.only[i];
		for (uint32_t k = 0; k < atomic_load(&topic->partition_count) && rc == 0; k++) {
			struct partition_range range;
			partition_range(topic_partition(topic, k), &range);
			rc = add_item(s, topic, k, earliest ? range.start : range.end);
		}
	}
	return rc;
}

static int take_cursor(struct setting *s)
{
	struct trip *t = s->p.t;
	struct cursor cursor;
	int rc = cursor_parse(s->cursor, &t->arena, &cursor, &t->fault);

	if (rc)
		return rc;
	if (cursor.kind == CURSOR_PLACES)
		return take_places(s, &cursor);
	if (cursor.kind == CURSOR_TIME)
		return fault_set(&t->fault, ERR_BAD_CURSOR,
				 "a time is no position yet: ask ListOffsets over Kafka, or use a cursor");
	return take_ends(s, cursor.kind == CURSOR_EARLIEST);
}

static int read_setting(struct setting *s)
{
	int rc = read_body(s);

	if (rc == 0 && s->by_offset && s->cursor.ptr)
		s->cursor = slice_null(); /* both are what GET shows: the offsets say more */
	if (rc == 0 && s->cursor.ptr)
		rc = take_cursor(s);
	if (rc == 0 && s->count == 0)
		rc = fault_set(
			&s->p.t->fault, ERR_BAD_PARAMETER,
			"the body is {\"cursor\":\"CURSOR\"} or {\"topics\":[{\"topic\":\"t\",\"partitions\":[{\"partition\":0,\"offset\":5}]}]}");
	return rc;
}

static void on_set(void *ctx)
{
	struct trip *t = ctx;
	struct position p = {.t = t};

	put_position(&p);
	trip_back(t);
}

static void run_set(struct trip *t)
{
	struct state_done done = {.port = app_loop(t->app, t->app->home)->port, .fn = on_set, .ctx = t};
	struct group_who who = {.group = t->group, .generation = -1};
	struct setting s = {.p = {.t = t}};
	struct group_view view;
	int rc = 0;

	if (t->group.len > OFFSETS_GROUP_ID_MAX)
		rc = fault_set(&t->fault, ERR_BAD_GROUP, "the id of a group has at most %u bytes",
			       OFFSETS_GROUP_ID_MAX);
	else if (groups_view(t->app->groups, t->group, &view) && view.state != GROUP_EMPTY)
		rc = refuse_active(t, &view);
	if (rc == 0)
		rc = read_setting(&s);
	if (rc == 0)
		rc = groups_commit(t->app->groups, &who, s.items, s.count, &done, loop_now(t->app->home));
	if (rc) {
		t->fault.err = rc;
		trip_back(t);
	}
}

static int on_put(struct exchange *x)
{
	struct slice coding;

	if (exchange_header(x, SLICE_LIT("content-encoding"), &coding) != 0 &&
	    !slice_eq_nocase(coding, SLICE_LIT("identity")))
		return exchange_problem(x, ERR_MEDIA_TYPE,
					"this resource takes no Content-Encoding: send the JSON plain");
	return begin_and_go(x, run_set);
}

/* ---- rows ---- */

static const char *const list_query[] = {"after", "limit", NULL};
static const char *const offsets_query[] = {"topics", NULL};

const struct route route_groups = {.methods = HTTP_BIT(HTTP_GET),
				   .pattern = "/v1/groups",
				   .query = list_query,
				   .handle = on_list};
const struct route route_group_get = {.methods = HTTP_BIT(HTTP_GET),
				      .pattern = "/v1/groups/{group}",
				      .handle = on_get};
const struct route route_group_delete = {.methods = HTTP_BIT(HTTP_DELETE),
					 .pattern = "/v1/groups/{group}",
					 .handle = on_delete};
const struct route route_group_offsets_get = {.methods = HTTP_BIT(HTTP_GET),
					      .pattern = "/v1/groups/{group}/offsets",
					      .query = offsets_query,
					      .handle = on_offsets};
const struct route route_group_offsets_put = {.methods = HTTP_BIT(HTTP_PUT),
					      .pattern = "/v1/groups/{group}/offsets",
					      .body = ROUTE_BODY_LARGE,
					      .handle = on_put};
