/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A redrive: each letter of a page becomes a request at the door in, as it came the first time: its form says how the
 * bytes are read, its idempotency key is asked for, its partition wanted. The mark rides in the same commit, so a
 * crash leaves record and mark or neither, and of two redrives at once one finds the letter not open any more. All requests of a
 * page enter in one flush, so a page costs one sync.
 *
 * A dry run goes the whole way but the last step: the rider refuses to board, which gives back whatever was claimed.
 */
#include "base/mem.h"
#include "json/json_write.h"
#include "serve/http/dead_ask.h"
#include "serve/http/resources.h"

struct redrive;

enum fate { FATE_NONE, FATE_REDRIVEN, FATE_DUPLICATE, FATE_FAILED, FATE_LATER, FATE_NOT_OPEN };

struct one {
	struct ingest_request request;
	struct ingest_rider rider;
	struct dead_change change;
	struct redrive *all;
	const struct dead_found *found;
	enum fate fate;
	bool tried; /* a dry run has come as far as it goes */
};

struct redrive {
	struct dead_ask ask; /* first */
	struct one *list;
	uint32_t open; /* requests without an answer; and one while they are being started */
};

/* ---- the rider ---- */

static struct one *of_rider(struct ingest_rider *rider)
{
	return (struct one *)((char *)rider - offsetof(struct one, rider));
}

static int board(struct ingest_rider *rider, struct log_record *record, struct fault *fault)
{
	struct one *o = of_rider(rider);
	struct dead_ask *a = &o->all->ask;
	int rc = dead_marks_change(a->app->dead, &a->dead->id, o->found->offset, DEAD_REDRIVEN, &o->change);

	if (rc == ERR_CONFLICT) {
		o->fate = FATE_NOT_OPEN;
		return fault_set(fault, rc, "The letter is not open any more");
	}
	if (rc)
		return rc;
	o->fate = o->request.new_count ? FATE_REDRIVEN : FATE_DUPLICATE;
	if (a->dry_run) {
		dead_marks_forget(&o->change);
		o->tried = true;
		return ERR_CANCELLED;
	}
	dead_marks_record(a->app->dead, &o->change, record);
	return 0;
}

static void landed(struct ingest_rider *rider, bool entered)
{
	struct one *o = of_rider(rider);
	struct dead_marks *marks = o->all->ask.app->dead;

	if (entered)
		dead_marks_apply(marks, &o->change);
	else
		dead_marks_forget(&o->change);
}

/* ---- the request ---- */

/* The headers that came, without the one that the door has put there and will put there again. */
static int set_headers(struct one *o, struct arena *arena)
{
	const struct dead_letter *d = &o->found->letter;
	struct slice rest = d->headers, name, value;
	uint8_t *at = arena_alloc(arena, d->headers.len + 1);
	const uint8_t *begin = at;

	if (!at)
		return ERR_NOMEM;
	while (batch_header_next(&rest, &name, &value) == 1) {
		if (slice_eq_str(name, "idempotency-key") && slice_eq(value, d->idempotency_key))
			continue;
		at = batch_header_put(at, name, value);
		o->request.record_header_count++;
	}
	o->request.record_headers = slice_make(begin, (size_t)(at - begin));
	return 0;
}

/* An item of a batch is the batch of one. */
static int set_body(struct one *o, struct arena *arena)
{
	static const char before[] = "{\"records\":[", behind[] = "]}";
	const struct dead_letter *d = &o->found->letter;
	struct ingest_request *r = &o->request;
	uint8_t *at;

	r->body = d->value.ptr ? d->value : SLICE_LIT("");
	r->body_stays = true;
	r->tombstone = !d->value.ptr;
	r->content_type = d->form;
	if (!slice_eq_str(d->form, "application/vnd.weir.batch+json"))
		return set_headers(o, arena);
	at = arena_alloc(arena, d->value.len + sizeof(before) + sizeof(behind));
	if (!at)
		return ERR_NOMEM;
	memcpy(at, before, sizeof(before) - 1);
	if (d->value.len)
		memcpy(at + sizeof(before) - 1, d->value.ptr, d->value.len);
	memcpy(at + sizeof(before) - 1 + d->value.len, behind, sizeof(behind) - 1);
	r->body = slice_make(at, sizeof(before) + sizeof(behind) - 2 + d->value.len);
	return 0;
}

static void one_is_done(struct one *o);

static void on_done(struct ingest_request *r)
{
	one_is_done(r->ctx);
}

/* A topic that is not there would be made: nothing more can be tried without making it. */
static bool would_make_topic(struct one *o)
{
	struct app *app = o->all->ask.app;
	struct topic_config defaults;
	bool auto_create;

	topics_defaults(app->topics, &defaults, &auto_create);
	return o->all->ask.dry_run && auto_create && !topics_find(app->topics, o->request.topic);
}

static void start_one(struct one *o)
{
	struct dead_ask *a = &o->all->ask;
	const struct dead_letter *d = &o->found->letter;
	struct ingest_request *r = &o->request;
	int rc;

	ingest_request_init(r, &a->scan.arena, on_done, o);
	r->topic = d->topic.len ? d->topic : a->parent;
	r->key = d->key;
	r->partition = d->partition;
	r->timestamp_ms = d->timestamp_ms;
	r->idempotency_path = d->idempotency_key;
	o->rider = (struct ingest_rider){.board = board, .landed = landed};
	r->rider = &o->rider;
	r->lane = o->all;
	if (dead_marks_get(a->app->dead, &a->dead->id, o->found->offset).state != DEAD_OPEN) {
		o->fate = FATE_NOT_OPEN; /* it may be so bad that the rider is never asked */
		return;
	}
	if (would_make_topic(o)) {
		o->fate = FATE_REDRIVEN;
		o->tried = true;
		return;
	}
	rc = set_body(o, &a->scan.arena);
	if (rc) {
		r->result.err = rc;
		r->result.detail = err_row(rc)->sentence;
		return;
	}
	o->all->open++;
	if (ingest_start(app_loop(a->app, a->x->loop)->queue, r))
		o->all->open--; /* refused at once */
}

/* ---- what became of it ---- */

static void set_fate(struct one *o)
{
	int err = o->tried ? 0 : o->request.result.err;

	if (err == 0 || o->fate == FATE_NOT_OPEN)
		return;
	o->fate = err_row(err)->retryable ? FATE_LATER : FATE_FAILED;
}

static void put_result(struct buf *out, const struct one *o)
{
	static const char *const words[] = {"later", "redriven", "duplicate", "failed", "later", "not_open"};
	const struct ingest_result *result = &o->request.result;

	json_put_item(out);
	json_put_open(out, '{');
	json_put_member_i64(out, "id", o->found->offset);
	json_put_member_string(out, "status", slice_str(words[o->fate]));
	if (o->fate >= FATE_FAILED && result->err) {
		const struct ingest_error *e = result->error_count ? &result->errors[0] : NULL;
		int err = e ? e->err : result->err;
		json_put_member_string(out, "code", slice_str(err_row(err)->code));
		json_put_name(out, "detail");
		json_put_string_lossy(out, slice_str(e && !e->has_place ? e->what : result->detail));
	} else if (result->range_count && result->err == 0) {
		json_put_member_u64(out, "partition", result->ranges[0].partition);
		json_put_member_i64(out, "offset", result->ranges[0].first);
	}
	json_put_close(out, '}');
}

static void put_unknown(struct buf *out, int64_t id)
{
	json_put_item(out);
	json_put_open(out, '{');
	json_put_member_i64(out, "id", id);
	json_put_member_string(out, "status", SLICE_LIT("unknown"));
	json_put_close(out, '}');
}

/* Those that failed for good are counted at the letter. Nobody waits for that. */
static void count_failures(struct redrive *all)
{
	struct dead_ask *a = &all->ask;

	log_enter_begin(a->app->log);
	for (uint32_t i = 0; i < a->scan.count; i++)
		if (all->list[i].fate == FATE_FAILED)
			(void)dead_marks_put(a->app->dead, &a->dead->id, all->list[i].found->offset,
					     DEAD_OPEN, NULL);
	log_enter_end(a->app->log);
}

static void finish(struct redrive *all)
{
	struct dead_ask *a = &all->ask;
	struct metrics_shard *shard = app_loop(a->app, a->x->loop)->shard;
	uint32_t counts[FATE_NOT_OPEN + 1] = {0};
	struct buf *out = &a->out;

	for (uint32_t i = 0; i < a->scan.count; i++) {
		set_fate(&all->list[i]);
		counts[all->list[i].fate]++;
	}
	if (!a->dry_run) {
		if (counts[FATE_FAILED])
			count_failures(all);
		metric_add(shard, METRIC_DEAD_REDRIVEN, 0, counts[FATE_REDRIVEN] + counts[FATE_DUPLICATE]);
		metric_add(shard, METRIC_DEAD_FAILED, 0, counts[FATE_FAILED]);
	}
	json_put_open(out, '{');
	json_put_member_string(out, "topic", a->parent);
	json_put_member_bool(out, "dry_run", a->dry_run);
	json_put_member_u64(out, "redriven", counts[FATE_REDRIVEN]);
	json_put_member_u64(out, "duplicates", counts[FATE_DUPLICATE]);
	json_put_member_u64(out, "failed", counts[FATE_FAILED]);
	json_put_member_u64(out, "later", counts[FATE_LATER] + counts[FATE_NONE]);
	json_put_name(out, "results");
	json_put_open(out, '[');
	for (uint32_t i = 0; i < a->scan.count; i++)
		put_result(out, &all->list[i]);
	dead_ask_each_unknown(a, put_unknown, out);
	json_put_close(out, ']');
	dead_ask_put_next(a);
	json_put_close(out, '}');
	dead_ask_answer(a, 200);
}

static void one_is_done(struct one *o)
{
	struct redrive *all = o->all;

	if (--all->open == 0)
		finish(all);
}

static void then_redrive(struct dead_ask *a)
{
	struct redrive *all = (struct redrive *)a;
	uint32_t count = a->scan.count;

	if (dead_ask_failed(a))
		return;
	all->list = arena_zalloc(&a->scan.arena, count + 1, sizeof(*all->list));
	if (!all->list) {
		dead_ask_problem(a, ERR_NOMEM, NULL);
		return;
	}
	all->open = 1;
	for (uint32_t i = 0; i < count; i++) {
		all->list[i].all = all;
		all->list[i].found = &a->scan.found[i];
		start_one(&all->list[i]);
	}
	if (count)
		app_flush_later(app_loop(a->app, a->x->loop));
	if (--all->open == 0)
		finish(all);
}

static int on_redrive(struct exchange *x)
{
	struct dead_ask *a;
	int rc = dead_ask_new(x, sizeof(struct redrive), &a);

	return a ? dead_ask_go(a, then_redrive) : rc;
}

static const char *const redrive_query[] = {DEAD_CHANGE_QUERY, NULL};

const struct route route_dead_redrive = {
	.methods = HTTP_BIT(HTTP_POST),
	.pattern = "/v1/topics/{topic}/dead/redrive",
	.query = redrive_query,
	.body = ROUTE_BODY_SMALL,
	.flags = ROUTE_BOUNDED | ROUTE_BODY_OPTIONAL,
	.handle = on_redrive,
};
