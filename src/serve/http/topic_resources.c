/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The topics API. A change enters the log as every other commit does and is
 * answered when it is durable. Keys, values and their checks are those of the
 * configuration file (conf_topic_set).
 */
#include <stdio.h>

#include "conf/conf.h"
#include "deliver/cursor.h"
#include "json/json.h"
#include "json/json_write.h"
#include "serve/app.h"
#include "serve/http/exchange.h"
#include "serve/http/resources.h"
#include "serve/topic_conf.h"

#define LIST_DEFAULT 100u
#define LIST_MAX 1000u

/* ---- showing ---- */

static void put_topic(struct app *app, struct topic *topic, struct buf *out, bool with_ranges)
{
	struct conf_topic keys;
	char id[37];

	topic_conf_of(app->topics, topic, &keys);
	topic_id_text(&topic->id, id);
	json_put_open(out, '{');
	json_put_member_string(out, "name", slice_str(topic->name));
	json_put_member_string(out, "id", slice_str(id));
	(void)buf_append_byte(out, ',');
	(void)conf_topic_json(&keys, out);
	json_put_member_string(out, "managed_by", topic->from_file ? SLICE_LIT("file") : SLICE_LIT("api"));
	if (with_ranges) {
		json_put_name(out, "offsets");
		json_put_open(out, '[');
		for (uint32_t i = 0; i < atomic_load(&topic->partition_count); i++) {
			struct partition_range range;
			partition_range(topic_partition(topic, i), &range);
			json_put_item(out);
			json_put_open(out, '{');
			json_put_member_u64(out, "partition", i);
			json_put_member_i64(out, "start", range.start);
			json_put_member_i64(out, "end", range.end);
			json_put_member_u64(out, "bytes", range.bytes);
			if (keys.cleanup != CONF_CLEANUP_DELETE)
				json_put_member_i64(out, "compacted_to", range.clean);
			json_put_close(out, '}');
		}
		json_put_close(out, ']');
	}
	json_put_close(out, '}');
}

static int answer_topic(struct exchange *x, int status, struct topic *topic)
{
	struct buf *out = &app_loop(x->app, x->loop)->scratch;

	buf_clear(out);
	put_topic(x->app, topic, out, true);
	if (buf_append_byte(out, '\n') == 0)
		return exchange_answer(x, status, "application/json", buf_slice(out));
	if (x->request.method == HTTP_GET || x->request.method == HTTP_HEAD)
		return exchange_problem(x, ERR_NOMEM, "there is no memory for the answer");
	exchange_abort(x); /* it was done */
	return 0;
}

struct listing {
	struct app *app;
	struct buf *out;
	uint64_t limit, count;
	const char *next; /* name of the last one shown, where there are more */
	const char *last;
};

static bool list_one(void *ctx, struct topic *topic)
{
	struct listing *l = ctx;

	if (topic->internal)
		return true;
	if (l->count == l->limit) {
		l->next = l->last;
		return false;
	}
	json_put_item(l->out);
	put_topic(l->app, topic, l->out, false);
	l->last = topic->name;
	l->count++;
	return true;
}

static int on_list(struct exchange *x)
{
	struct app *app = x->app;
	struct listing l = {.app = app, .out = &app_loop(app, x->loop)->scratch, .limit = LIST_DEFAULT};
	struct slice after, limit;

	(void)exchange_query(x, "after", &after);
	if (exchange_query(x, "limit", &limit) == 1 &&
	    (!slice_to_u64(limit, &l.limit) || l.limit == 0 || l.limit > LIST_MAX))
		return exchange_problem(x, ERR_BAD_PARAMETER, "limit is a number from 1 to %u", LIST_MAX);
	buf_clear(l.out);
	json_put_open(l.out, '{');
	json_put_name(l.out, "topics");
	json_put_open(l.out, '[');
	topics_each(app->topics, after, list_one, &l);
	json_put_close(l.out, ']');
	json_put_name(l.out, "next");
	if (l.next)
		json_put_cstr(l.out, l.next);
	else
		json_put_null(l.out);
	json_put_close(l.out, '}');
	return exchange_answer_json(x, 200, l.out);
}

/* The topic of the path, or an answered problem (NULL). */
static struct topic *topic_of(struct exchange *x)
{
	struct app *app = x->app;
	struct fault fault = {0};
	struct topic *topic;

	if (topic_name_check(x->param[0], &fault)) {
		(void)exchange_problem(x, ERR_BAD_TOPIC, "%s", fault.text);
		return NULL;
	}
	topic = topics_find(app->topics, x->param[0]);
	if (!topic || topic->internal) {
		(void)exchange_problem(x, ERR_UNKNOWN_TOPIC, "there is no topic %.*s", (int)x->param[0].len,
				       (const char *)x->param[0].ptr);
		return NULL;
	}
	return topic;
}

static int on_get(struct exchange *x)
{
	struct topic *topic = topic_of(x);

	return topic ? answer_topic(x, 200, topic) : 0;
}

/* ---- changing ---- */

/* A change on its way to the disk, in the exchange's arena. */
struct change {
	struct exchange *x;
	struct topic *topic;
	int status; /* to answer; 204: without a body */
};

static void on_durable(void *ctx)
{
	struct change *c = ctx;

	if (c->status == 204)
		(void)exchange_answer(c->x, 204, NULL, slice_null());
	else
		(void)answer_topic(c->x, c->status, c->topic);
}

static struct change *new_change(struct exchange *x, struct state_done *done)
{
	struct change *c = arena_zalloc(x->arena, 1, sizeof(*c));

	if (c)
		c->x = x;
	*done = (struct state_done){.port = app_loop(x->app, x->loop)->port, .fn = on_durable, .ctx = c};
	return c;
}

/* The body of a topic on its way to its settings. */
struct reading {
	struct conf_topic *keys;
	struct json_cursor *c;
	struct exchange *x;
	struct fault *fault;
};

/* A member that was there before; the first wrong one ends reading, so there are never many. */
struct known {
	const struct known *next;
	struct slice name;
};

static int check_name(const struct reading *r, struct slice member, const struct known *before)
{
	for (; before; before = before->next)
		if (slice_eq(before->name, member))
			return fault_set(r->fault, ERR_BAD_TOPIC_CONFIG, "%.*s is given twice",
					 (int)member.len, (const char *)member.ptr);
	if (member.len && memchr(member.ptr, 0, member.len))
		return fault_set(r->fault, ERR_BAD_TOPIC_CONFIG, "a key of the topic holds a NUL character");
	return 0;
}

/* What GET shows may be sent back. The name must then be the one that is meant. */
static bool is_shown_only(struct slice member)
{
	return slice_eq_str(member, "name") || slice_eq_str(member, "id") ||
	       slice_eq_str(member, "offsets") || slice_eq_str(member, "managed_by");
}

static int check_shown(const struct reading *r, struct slice member, struct slice text)
{
	if (slice_eq_str(member, "name") && !slice_eq(text, r->x->param[0]))
		return fault_set(r->fault, ERR_BAD_TOPIC_CONFIG,
				 "name: the body names another topic than the path, which says %.*s",
				 (int)r->x->param[0].len, (const char *)r->x->param[0].ptr);
	return 0;
}

/* One member of the body: nested objects give dotted keys ("idempotency.ttl"). */
static int take_members(const struct reading *r, const char *prefix)
{
	const struct known *before = NULL;
	struct arena *arena = r->x->arena;
	struct json_cursor *c = r->c;
	struct fault *fault = r->fault;
	struct slice name;
	int rc = json_object_begin(c);

	while (rc == 0 && json_object_next(c, &name)) {
		struct json_value value;
		struct slice text, member;
		struct known *known;
		char key[96];
		if (json_text(name, arena, &member) || member.len > 64)
			return fault_set(fault, ERR_BAD_TOPIC_CONFIG, "a key of the topic cannot be read");
		rc = check_name(r, member, before);
		if (rc)
			return rc;
		known = arena_alloc(arena, sizeof(*known));
		if (!known)
			return fault_set(fault, ERR_NOMEM, "there is no memory for the settings");
		*known = (struct known){.next = before, .name = member};
		before = known;
		(void)snprintf(key, sizeof(key), "%s%.*s", prefix, (int)member.len, (const char *)member.ptr);
		if (json_peek(c) == JSON_OBJECT && prefix[0] == '\0') {
			char inner[98];
			(void)snprintf(inner, sizeof(inner), "%s.", key);
			rc = take_members(r, inner);
			continue;
		}
		if (json_take(c, &value))
			break;
		text = value.raw;
		if (value.kind == JSON_STRING && json_text(value.raw, arena, &text))
			return fault_set(fault, ERR_BAD_TOPIC_CONFIG, "the value of %s cannot be read", key);
		if (prefix[0] == '\0' && is_shown_only(member))
			rc = check_shown(r, member, text);
		else
			rc = conf_topic_set(r->keys, slice_str(key), text, fault);
	}
	return rc;
}

/* Bodies of settings are small and taken as they are. */
static int check_plain(const struct exchange *x, struct fault *fault)
{
	struct slice coding;

	if (exchange_header(x, SLICE_LIT("content-encoding"), &coding) == 0 ||
	    slice_eq_nocase(coding, SLICE_LIT("identity")))
		return 0;
	return fault_set(fault, ERR_MEDIA_TYPE,
			 "this resource takes no Content-Encoding: send the JSON plain");
}

static int read_config(struct exchange *x, struct conf_topic *keys, struct fault *fault)
{
	struct reading r = {.keys = keys, .x = x, .fault = fault};
	struct json_cursor c;
	char where[128];
	int rc = check_plain(x, fault);

	if (rc || x->body.len == 0)
		return rc;
	json_cursor_init(&c, x->body);
	r.c = &c;
	rc = take_members(&r, "");
	if (c.status == 0 && rc == 0)
		(void)json_end(&c);
	if (c.status) {
		json_error_text(&c.error, where, sizeof(where));
		return fault_set(fault, ERR_BAD_JSON, "the body is not a JSON object: %s", where);
	}
	return rc;
}

static int put_existing(struct exchange *x, struct topic *topic, const struct conf_topic *keys,
			const struct state_done *done, struct fault *fault)
{
	struct app *app = x->app;
	int rc;

	log_enter_begin(app->log);
	rc = topic_conf_change(app->topics, topic, keys, done, fault);
	log_enter_end(app->log);
	return rc;
}

static int on_put(struct exchange *x)
{
	struct app *app = x->app;
	struct fault fault = {0};
	struct conf_topic keys;
	struct state_done done;
	struct change *c = new_change(x, &done);
	struct topic *topic = topics_find(app->topics, x->param[0]);
	int rc;

	if (!c)
		return ERR_NOMEM;
	if (topic)
		topic_conf_of(app->topics, topic, &keys);
	else
		topic_conf_defaults(app->topics, &keys);
	rc = topic_conf_check_name(x->param[0], &fault);
	if (rc == 0)
		rc = read_config(x, &keys, &fault);
	if (rc)
		return exchange_problem(x, rc, "%s", fault.text);
	c->topic = topic;
	c->status = topic ? 200 : 201;
	if (topic) {
		rc = put_existing(x, topic, &keys, &done, &fault);
	} else {
		log_enter_begin(app->log);
		rc = topic_conf_create(app->topics, x->param[0], &keys, &done, &c->topic, &fault);
		log_enter_end(app->log);
		if (rc == ERR_TOPIC_EXISTS) { /* another request was faster */
			c->status = 200;
			rc = put_existing(x, c->topic, &keys, &done, &fault);
		}
	}
	return rc ? exchange_problem(x, rc, "%s", fault.text) : EXCHANGE_PENDING;
}

static int on_delete(struct exchange *x)
{
	struct app *app = x->app;
	struct topic *topic = topic_of(x);
	struct fault fault = {0};
	struct state_done done;
	struct change *c;
	int rc;

	if (!topic)
		return 0;
	c = new_change(x, &done);
	if (!c)
		return ERR_NOMEM;
	c->status = 204;
	log_enter_begin(app->log);
	rc = topic_conf_delete(app->topics, topic, &done, &fault);
	log_enter_end(app->log);
	return rc ? exchange_problem(x, rc, "%s", fault.text) : EXCHANGE_PENDING;
}

/* ---- trimming ---- */

/* A trim by time asks every partition in turn, on the reader pool. */
struct trim {
	struct exchange *x;
	struct topic *topic;
	int64_t *before;
	uint32_t count, at;
	struct log_read find;
	int64_t time_ms;
};

static int enter_trim(struct trim *t)
{
	struct app *app = t->x->app;
	struct state_done done;
	struct change *c = new_change(t->x, &done);
	int rc;

	if (!c)
		return ERR_NOMEM;
	c->topic = t->topic;
	c->status = 200;
	log_enter_begin(app->log);
	rc = topics_trim(app->topics, t->topic, t->before, t->count, &done);
	log_enter_end(app->log);
	return rc;
}

static int find_next(struct trim *t);

static void on_found(struct log_read *r)
{
	struct trim *t = (struct trim *)((char *)r - offsetof(struct trim, find));
	int rc = r->result;

	t->before[t->at++] = r->offset;
	if (rc == 0)
		rc = t->at < t->count ? find_next(t) : enter_trim(t);
	if (rc)
		(void)exchange_problem(t->x, rc, "the topic cannot be trimmed now");
}

static int find_next(struct trim *t)
{
	struct app *app = t->x->app;

	t->find = (struct log_read){.partition = topic_partition(t->topic, t->at),
				    .time_ms = t->time_ms,
				    .port = app_loop(app, t->x->loop)->port,
				    .on_read = on_found};
	return log_find_start(app->log, &t->find);
}

static int read_before(struct exchange *x, struct slice *text, struct fault *fault)
{
	struct json_cursor c;
	struct json_value value;
	struct slice name;
	bool found = false;

	if (check_plain(x, fault))
		return fault->err;
	json_cursor_init(&c, x->body);
	(void)json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		bool is_before = json_name_is(name, "before");
		if (json_take(&c, &value))
			break;
		if (!is_before || value.kind != JSON_STRING || json_text(value.raw, x->arena, text))
			return fault_set(fault, ERR_BAD_PARAMETER, "the body is {\"before\":\"CURSOR\"}");
		found = true;
	}
	if (json_end(&c))
		return fault_set(fault, ERR_BAD_JSON,
				 "the body is not a JSON object: {\"before\":\"CURSOR\"}");
	return found ? 0 : fault_set(fault, ERR_BAD_PARAMETER, "the body lacks \"before\", a cursor");
}

static int places_to_offsets(struct trim *t, const struct cursor *cursor, struct fault *fault)
{
	const struct cursor_topic *ct = NULL;

	for (uint32_t i = 0; i < cursor->topic_count && !ct; i++)
		if (topic_id_eq(&cursor->topics[i].id, &t->topic->id))
			ct = &cursor->topics[i];
	if (!ct)
		return fault_set(fault, ERR_CURSOR_MISMATCH, "the cursor is of another topic than %s",
				 t->topic->name);
	for (uint32_t i = ct->first; i < ct->first + ct->count; i++) {
		const struct cursor_place *place = &cursor->places[i];
		struct partition_range range;
		if (place->partition >= t->count)
			return fault_set(fault, ERR_PARTITION_RANGE, "the topic has no partition %u",
					 place->partition);
		partition_range(topic_partition(t->topic, place->partition), &range);
		if (place->offset > range.end)
			return fault_set(fault, ERR_CURSOR_AHEAD,
					 "partition %u ends at offset %lld, the cursor says %lld",
					 place->partition, (long long)range.end, (long long)place->offset);
		t->before[place->partition] = place->offset;
	}
	return 0;
}

static void ends_to_offsets(struct trim *t)
{
	for (uint32_t i = 0; i < t->count; i++) {
		struct partition_range range;
		partition_range(topic_partition(t->topic, i), &range);
		t->before[i] = range.end;
	}
}

static int start_trim(struct trim *t, struct slice text, struct fault *fault)
{
	struct cursor cursor;
	int rc = cursor_parse(text, t->x->arena, &cursor, fault);

	if (rc)
		return rc;
	t->time_ms = cursor.time_ms;
	if (cursor.kind == CURSOR_TIME)
		return find_next(t);
	if (cursor.kind == CURSOR_LATEST)
		ends_to_offsets(t);
	else if (cursor.kind == CURSOR_PLACES)
		rc = places_to_offsets(t, &cursor, fault);
	return rc ? rc : enter_trim(t);
}

static int on_trim(struct exchange *x)
{
	struct topic *topic = topic_of(x);
	struct fault fault = {.text = "the topic cannot be trimmed now"};
	struct slice text;
	struct trim *t;
	int rc;

	if (!topic)
		return 0;
	rc = read_before(x, &text, &fault);
	if (rc)
		return exchange_problem(x, rc, "%s", fault.text);
	t = arena_zalloc(x->arena, 1, sizeof(*t));
	if (!t)
		return ERR_NOMEM;
	t->x = x;
	t->topic = topic;
	t->count = atomic_load(&topic->partition_count);
	t->before = arena_alloc(x->arena, t->count * sizeof(*t->before));
	if (!t->before)
		return ERR_NOMEM;
	memset(t->before, 0xff, t->count * sizeof(*t->before)); /* -1: leave it */
	rc = start_trim(t, text, &fault);
	return rc ? exchange_problem(x, rc, "%s", fault.text) : EXCHANGE_PENDING;
}

/* ---- rows ---- */

static const char *const list_query[] = {"after", "limit", NULL};

const struct route route_topics = {.methods = HTTP_BIT(HTTP_GET),
				   .pattern = "/v1/topics",
				   .query = list_query,
				   .handle = on_list};
const struct route route_topic_get = {.methods = HTTP_BIT(HTTP_GET),
				      .pattern = "/v1/topics/{topic}",
				      .handle = on_get};
const struct route route_topic_put = {.methods = HTTP_BIT(HTTP_PUT),
				      .pattern = "/v1/topics/{topic}",
				      .body = ROUTE_BODY_SMALL,
				      .flags = ROUTE_BODY_OPTIONAL,
				      .handle = on_put};
const struct route route_topic_delete = {.methods = HTTP_BIT(HTTP_DELETE),
					 .pattern = "/v1/topics/{topic}",
					 .handle = on_delete};
const struct route route_topic_trim = {.methods = HTTP_BIT(HTTP_POST),
				       .pattern = "/v1/topics/{topic}/trim",
				       .body = ROUTE_BODY_SMALL,
				       .handle = on_trim};
