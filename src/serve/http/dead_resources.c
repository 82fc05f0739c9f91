/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dead letters over HTTP: how many there are, which, one of them, its edit, and dropping. What is selected is told by
 * the same query parameters everywhere (dead_ask.h). A request looks at a page; who wants more goes on behind "next".
 */
#include "base/mem.h"
#include "ingest/envelope.h"
#include "json/json_write.h"
#include "serve/http/dead_ask.h"
#include "serve/http/resources.h"
#include "serve/record/record_json.h"

/* ---- showing ---- */

static void put_figures(struct buf *out, const struct dead_figures *f)
{
	json_put_member_u64(out, "open", f->open);
	json_put_member_u64(out, "letters", f->letters);
	json_put_member_u64(out, "bytes", f->bytes);
	json_put_member_known(out, "oldest", f->oldest_ms);
	json_put_member_known(out, "max_bytes", f->bytes_max);
	json_put_member_bool(out, "over_limit", f->over);
}

static void put_text(struct buf *out, const char *name, struct slice text)
{
	if (text.ptr)
		json_put_member_string(out, name, text);
}

static void put_number(struct buf *out, const char *name, int64_t number)
{
	if (number >= 0)
		json_put_member_i64(out, name, number);
}

static int put_letter(const struct dead_ask *a, const struct dead_found *f, struct buf *out)
{
	static const char *const states[] = {"open", "redriven", "dropped", "edited"};
	static const char *const origins[] = {"unknown", "door", "source", "delivery"};
	const struct dead_letter *d = &f->letter;
	struct record_origin origin = {.topic = slice_str(a->dead->name)};
	struct batch_record r = {.offset = f->offset,
				 .timestamp = f->timestamp_ms,
				 .key = d->key,
				 .value = d->value,
				 .headers = d->headers,
				 .header_count = d->header_count};

	json_put_open(out, '{');
	json_put_member_i64(out, "id", f->offset);
	json_put_member_string(out, "state", slice_str(states[f->mark.state]));
	put_text(out, "code", d->code);
	put_text(out, "text", d->text);
	put_text(out, "path", d->path);
	put_text(out, "place", d->place);
	json_put_member_string(out, "from", slice_str(origins[d->from]));
	put_text(out, "name", d->name);
	put_text(out, "topic", d->topic);
	json_put_member_i64(out, "at", d->at_ms);
	json_put_member_u64(out, "tries", (uint64_t)d->tries + f->mark.failed);
	put_text(out, "undo", d->undo);
	put_text(out, "form", d->form);
	put_text(out, "idempotency_key", d->idempotency_key);
	put_number(out, "partition", d->partition);
	put_number(out, "timestamp", d->timestamp_ms);
	put_number(out, "edit_of", d->edited);
	json_put_name(out, "record");
	if (record_json(out, &origin, &r))
		return ERR_MALFORMED;
	json_put_close(out, '}');
	return 0;
}

static void then_list(struct dead_ask *a)
{
	struct buf *out = &a->out;
	struct dead_figures figures = {.oldest_ms = -1, .bytes_max = -1};

	if (dead_ask_failed(a))
		return;
	if (a->dead)
		dead_watch_look(a->app->dead_watch, a->dead, &figures);
	json_put_open(out, '{');
	json_put_member_string(out, "topic", a->parent);
	put_figures(out, &figures);
	json_put_name(out, "dead");
	json_put_open(out, '[');
	for (uint32_t i = 0; i < a->scan.count; i++) {
		size_t len = out->len;
		json_put_item(out);
		if (put_letter(a, &a->scan.found[i], out) && !buf_status(out))
			out->len = len; /* a record with broken headers, which somebody has produced */
	}
	json_put_close(out, ']');
	dead_ask_put_next(a);
	json_put_close(out, '}');
	dead_ask_answer(a, 200);
}

static int on_list(struct exchange *x)
{
	struct dead_ask *a;
	int rc = dead_ask_new(x, sizeof(*a), &a);

	return a ? dead_ask_go(a, then_list) : rc;
}

/* Of one: true where it is there, else the problem is answered. */
static bool is_there(struct dead_ask *a)
{
	if (dead_ask_failed(a))
		return false;
	if (a->dead && a->scan.count == 1)
		return true;
	dead_ask_problem(a, ERR_NOT_FOUND, "the topic has no dead letter of this id (any more)");
	return false;
}

static void then_get(struct dead_ask *a)
{
	if (!is_there(a))
		return;
	if (put_letter(a, &a->scan.found[0], &a->out))
		dead_ask_problem(a, ERR_CORRUPT, "the record has headers that cannot be read");
	else
		dead_ask_answer(a, 200);
}

static int on_get(struct exchange *x)
{
	struct dead_ask *a;
	int rc = dead_ask_one(x, sizeof(*a), &a);

	return a ? dead_ask_go(a, then_get) : rc;
}

/* ---- all topics ---- */

struct overview {
	struct app *app;
	struct buf *out;
};

static bool put_one_topic(void *ctx, struct topic *topic)
{
	struct overview *o = ctx;
	struct slice name = slice_str(topic->name);
	struct dead_figures f;

	if (!dead_topic_is(name))
		return true;
	dead_watch_look(o->app->dead_watch, topic, &f);
	json_put_item(o->out);
	json_put_open(o->out, '{');
	json_put_member_string(o->out, "topic", dead_topic_parent(name));
	put_figures(o->out, &f);
	json_put_close(o->out, '}');
	return true;
}

static int on_topics(struct exchange *x)
{
	struct overview o = {.app = x->app, .out = &app_loop(x->app, x->loop)->scratch};

	buf_clear(o.out);
	json_put_open(o.out, '{');
	json_put_name(o.out, "topics");
	json_put_open(o.out, '[');
	topics_each(o.app->topics, slice_null(), put_one_topic, &o);
	json_put_close(o.out, ']');
	json_put_close(o.out, '}');
	return exchange_answer_json(x, 200, o.out);
}

/* ---- editing ---- */

/* An edit on its way: the letter anew and the mark of the old one, in one commit. */
struct edit {
	struct dead_ask ask; /* first */
	struct log_commit commit;
	struct log_record records[2];
	struct dead_change change;
	struct dead_letter letter;
	struct headers headers;
};

static int read_edit(struct edit *e, struct fault *fault)
{
	struct exchange *x = e->ask.x;
	struct envelope envelope = {.headers = &e->headers, .partition = -1, .timestamp_ms = -1};
	struct dead_letter *d = &e->letter;
	struct json_cursor c;
	struct slice form;
	int rc = 0;

	if (x->body.len) {
		json_cursor_init(&c, x->body);
		rc = envelope_read(&envelope, ENVELOPE_EDIT, &c, x->arena);
		if (rc == 0 && json_end(&c))
			rc = ERR_BAD_JSON;
		if (rc)
			return envelope.fault.err ?
				       fault_set(fault, envelope.fault.err, "%s", envelope.fault.text) :
				       fault_set(fault, rc,
						 "the body is an object as in a batch of records, "
						 "with what is to change: {\"value\":…}");
	}
	if (envelope.key.ptr)
		d->key = envelope.key;
	if (envelope.value.ptr || envelope.tombstone)
		d->value = envelope.value;
	if (envelope.idempotency_key.ptr)
		d->idempotency_key = envelope.idempotency_key;
	if (envelope.partition >= 0)
		d->partition = envelope.partition;
	if (envelope.timestamp_ms >= 0)
		d->timestamp_ms = envelope.timestamp_ms;
	if (e->headers.count) {
		d->header_count = e->headers.count;
		if (headers_encode(&e->headers, x->arena, &d->headers))
			return fault_set(fault, ERR_NOMEM, "there is no memory for the headers");
	}
	if (exchange_query(x, "form", &form) == 1)
		d->form = slice_eq_str(form, "bytes") ? slice_null() : form;
	return 0;
}

static void on_edited(struct log_commit *commit)
{
	struct edit *e = (struct edit *)((char *)commit - offsetof(struct edit, commit));
	struct buf *out = &e->ask.out;

	json_put_open(out, '{');
	json_put_member_i64(out, "id", e->records[0].offset);
	json_put_member_i64(out, "edit_of", e->letter.edited);
	json_put_close(out, '}');
	dead_ask_answer(&e->ask, 200);
}

/* Under the entry lock. */
static int enter_edit(struct edit *e)
{
	struct app *app = e->ask.app;
	struct topic *dead = e->ask.dead;
	int rc = dead_marks_change(app->dead, &dead->id, e->letter.edited, DEAD_EDITED, &e->change);

	if (rc)
		return rc;
	e->records[0].partition = topic_partition(dead, 0);
	dead_marks_record(app->dead, &e->change, &e->records[1]);
	e->commit = (struct log_commit){.records = e->records,
					.record_count = 2,
					.port = app_loop(app, e->ask.x->loop)->port,
					.on_done = on_edited};
	rc = log_enter(app->log, &e->commit);
	if (rc)
		dead_marks_forget(&e->change);
	else
		dead_marks_apply(app->dead, &e->change);
	return rc;
}

static void then_edit(struct dead_ask *a)
{
	struct edit *e = (struct edit *)a;
	struct fault fault = {0};
	int rc;

	if (!is_there(a))
		return;
	e->letter = a->scan.found[0].letter;
	e->letter.tries += a->scan.found[0].mark.failed;
	e->letter.edited = a->scan.found[0].offset;
	if (e->letter.from == DEAD_FROM_UNKNOWN)
		e->letter.from = DEAD_FROM_DOOR;
	rc = read_edit(e, &fault);
	if (rc == 0)
		rc = dead_letter_record(&e->letter, &a->scan.arena, &e->records[0]);
	if (rc == 0) {
		log_enter_begin(a->app->log);
		rc = enter_edit(e);
		log_enter_end(a->app->log);
		if (rc == ERR_CONFLICT)
			(void)fault_set(&fault, rc,
					"the letter is not open any more: only an open one can be edited");
	}
	if (rc)
		dead_ask_problem(a, rc, fault.text[0] ? fault.text : NULL);
}

static int on_put(struct exchange *x)
{
	struct dead_ask *a;
	int rc = dead_ask_one(x, sizeof(struct edit), &a);

	return a ? dead_ask_go(a, then_edit) : rc;
}

/* ---- dropping ---- */

static void put_dropped(struct buf *out, int64_t id, const char *status)
{
	json_put_item(out);
	json_put_open(out, '{');
	json_put_member_i64(out, "id", id);
	json_put_member_string(out, "status", slice_str(status));
	json_put_close(out, '}');
}

static void put_unknown(struct buf *out, int64_t id)
{
	put_dropped(out, id, "unknown");
}

static void on_dropped(void *ctx)
{
	dead_ask_answer(ctx, 200);
}

/* Marks them, the last one with a word when it is durable. Gives how many; *err: why it ended before. */
static uint32_t drop_all(struct dead_ask *a, const uint8_t *open, int *err)
{
	uint32_t last = a->scan.count, count = 0;

	*err = 0;
	for (uint32_t i = 0; i < a->scan.count; i++)
		if (open[i])
			last = i;
	log_enter_begin(a->app->log);
	for (uint32_t i = 0; i < a->scan.count && *err == 0; i++) {
		struct state_done done = {.port = app_loop(a->app, a->x->loop)->port,
					  .fn = on_dropped,
					  .ctx = a};
		if (!open[i])
			continue;
		*err = dead_marks_put(a->app->dead, &a->dead->id, a->scan.found[i].offset, DEAD_DROPPED,
				      i == last ? &done : NULL);
		count += *err == 0;
	}
	log_enter_end(a->app->log);
	return count;
}

static void then_drop(struct dead_ask *a)
{
	uint8_t *open = arena_zalloc(&a->scan.arena, a->scan.count + 1, 1);
	uint32_t count = 0;
	struct buf *out = &a->out;
	int err = open ? 0 : ERR_NOMEM;

	if (dead_ask_failed(a))
		return;
	json_put_open(out, '{');
	json_put_member_string(out, "topic", a->parent);
	json_put_member_bool(out, "dry_run", a->dry_run);
	json_put_name(out, "results");
	json_put_open(out, '[');
	for (uint32_t i = 0; open && i < a->scan.count; i++) {
		int64_t id = a->scan.found[i].offset;
		/* On this loop and under no lock: what another loop marks meanwhile is a conflict below. */
		open[i] = dead_marks_get(a->app->dead, &a->dead->id, id).state == DEAD_OPEN;
		put_dropped(out, id, open[i] ? "dropped" : "not_open");
		count += open[i];
	}
	dead_ask_each_unknown(a, put_unknown, out);
	json_put_close(out, ']');
	json_put_member_u64(out, "dropped", count);
	dead_ask_put_next(a);
	json_put_close(out, '}');
	if (err == 0 && count && !a->dry_run) {
		uint32_t dropped = drop_all(a, open, &err);
		metric_add(app_loop(a->app, a->x->loop)->shard, METRIC_DEAD_DROPPED, 0, dropped);
		if (err == 0)
			return; /* answered when it is durable */
	}
	if (err)
		dead_ask_problem(a, err,
				 err == ERR_CONFLICT ?
					 "some letters were redriven or dropped at the same time: ask again" :
					 NULL);
	else
		dead_ask_answer(a, 200);
}

static int on_drop(struct exchange *x)
{
	struct dead_ask *a;
	int rc = dead_ask_new(x, sizeof(*a), &a);

	return a ? dead_ask_go(a, then_drop) : rc;
}

static const char *const list_query[] = {DEAD_LIST_QUERY, NULL};
static const char *const drop_query[] = {DEAD_CHANGE_QUERY, NULL};
static const char *const put_query[] = {"form", NULL};

const struct route route_dead_topics = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/v1/dead",
	.handle = on_topics,
};

const struct route route_dead_list = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/v1/topics/{topic}/dead",
	.query = list_query,
	.flags = ROUTE_BOUNDED,
	.handle = on_list,
};

const struct route route_dead_get = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/v1/topics/{topic}/dead/{id}",
	.flags = ROUTE_BOUNDED,
	.handle = on_get,
};

const struct route route_dead_put = {
	.methods = HTTP_BIT(HTTP_PUT),
	.pattern = "/v1/topics/{topic}/dead/{id}",
	.query = put_query,
	.body = ROUTE_BODY_LARGE,
	.flags = ROUTE_BOUNDED | ROUTE_BODY_OPTIONAL,
	.handle = on_put,
};

const struct route route_dead_drop = {
	.methods = HTTP_BIT(HTTP_POST),
	.pattern = "/v1/topics/{topic}/dead/drop",
	.query = drop_query,
	.body = ROUTE_BODY_SMALL,
	.flags = ROUTE_BOUNDED | ROUTE_BODY_OPTIONAL,
	.handle = on_drop,
};
