/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of a source beside its schedule: begun with a window, looked at, cancelled, resumed. A run is answered
 * once its row is durable, so that who was told of one finds it again.
 */
#include "serve/http/source_runs.h"

#include "json/json.h"
#include "json/json_write.h"
#include "serve/app.h"
#include "serve/http/exchange.h"
#include "serve/http/resources.h"
#include "serve/http/source_ask.h"

#define ANSWER_BYTES_MAX ((size_t)1 << 20)
#define RATE_MAX INT64_C(1000000000)

/* ---- as JSON ---- */

static void put_run(struct buf *out, const struct run_view *v)
{
	json_put_open(out, '{');
	json_put_member_u64(out, "run", v->id);
	json_put_member_string(out, "state", slice_str(run_state_name(v->state)));
	json_put_member_text(out, "from", v->from);
	json_put_member_text(out, "to", v->to);
	json_put_member_known(out, "rate", v->rate > 0 ? v->rate : -1);
	json_put_member_u64(out, "read", v->done);
	json_put_member_u64(out, "records", v->records);
	json_put_member_u64(out, "dead", v->dead);
	json_put_member_u64(out, "errors", v->errors);
	json_put_member_u64(out, "parts", v->parts);
	json_put_member_u64(out, "parts_done", v->parts_done);
	json_put_name(out, "progress");
	if (v->total) {
		json_put_open(out, '{');
		json_put_member_u64(out, "done", v->done);
		json_put_member_u64(out, "total", v->total);
		json_put_close(out, '}');
	} else {
		json_put_null(out);
	}
	source_put_time(out, "begun", v->begun_ms);
	source_put_time(out, "ended", v->ended_ms);
	json_put_member_text(out, "last_error", v->error[0] ? slice_str(v->error) : slice_null());
	json_put_close(out, '}');
}

static bool put_one(void *ctx, const struct run_view *view)
{
	struct buf *out = ctx;

	json_put_item(out);
	put_run(out, view);
	return !buf_status(out);
}

int source_put_runs(struct sources *sources, struct slice source, struct buf *out)
{
	int rc;

	json_put_open(out, '[');
	rc = sources_each_run(sources, source, put_one, out);
	json_put_close(out, ']');
	return rc;
}

struct finding {
	struct buf *out;
	uint64_t id;
	bool found;
};

static bool put_that(void *ctx, const struct run_view *view)
{
	struct finding *f = ctx;

	if (view->id != f->id)
		return true;
	f->found = true;
	put_run(f->out, view);
	return false;
}

/* ---- answers ---- */

static int answer_buf(struct exchange *x, int status, struct buf *out)
{
	int rc = exchange_answer_json(x, status, out);

	buf_fini(out);
	return rc;
}

static int unknown_run(struct exchange *x)
{
	struct slice id = x->param[1];

	return exchange_problem(x, ERR_NOT_FOUND, "the source has no run %.*s",
				(int)(id.len > 20 ? 20 : id.len), (const char *)id.ptr);
}

static int answer_run(struct exchange *x, int status, uint64_t id)
{
	struct app *app = x->app;
	struct finding f = {.id = id};
	struct buf out;

	buf_init(&out, ANSWER_BYTES_MAX);
	f.out = &out;
	if (sources_each_run(app->sources, x->param[0], put_that, &f) || !f.found) {
		buf_fini(&out);
		return unknown_run(x);
	}
	return answer_buf(x, status, &out);
}

/* ---- looking ---- */

static int on_list(struct exchange *x)
{
	struct app *app = x->app;
	struct buf out;
	int rc;

	buf_init(&out, ANSWER_BYTES_MAX);
	json_put_open(&out, '{');
	json_put_name(&out, "runs");
	rc = source_put_runs(app->sources, x->param[0], &out);
	json_put_name(&out, "next");
	json_put_null(&out);
	json_put_close(&out, '}');
	if (rc == 0)
		return answer_buf(x, 200, &out);
	buf_fini(&out);
	return source_unknown(x);
}

static int on_get(struct exchange *x)
{
	uint64_t id;

	return slice_to_u64(x->param[1], &id) ? answer_run(x, 200, id) : unknown_run(x);
}

/* ---- asking ---- */

static int answer_asked(struct exchange *x, struct source_ask *a)
{
	return answer_run(x, a->request.ask == SOURCES_RUN_BEGIN ? 201 : 200, a->request.run.id);
}

static int ask(struct exchange *x, enum sources_ask what, const struct runs_request *run)
{
	struct source_ask *a =
		source_ask_new(x, what, what == SOURCES_RUN_CANCEL ? source_ask_done : answer_asked);

	if (!a)
		return ERR_NOMEM;
	a->request.run = *run;
	return source_ask_go(a);
}

/* ---- the body of a new run ---- */

static int take_bound(struct exchange *x, const char *name, struct json_value value, struct slice *out,
		      struct fault *fault)
{
	if (value.kind == JSON_NULL)
		return 0;
	*out = value.raw; /* a number stands for itself: it may be a key */
	if (value.kind == JSON_STRING && json_text(value.raw, x->arena, out))
		return fault_set(fault, ERR_BAD_PARAMETER, "%s cannot be read", name);
	if ((value.kind != JSON_STRING && value.kind != JSON_NUMBER) || out->len == 0 ||
	    out->len > SOURCE_BOUND_MAX)
		return fault_set(fault, ERR_BAD_PARAMETER, "%s is text or a number of up to %u bytes", name,
				 SOURCE_BOUND_MAX);
	return 0;
}

static int take_member(struct exchange *x, struct slice name, struct json_value value,
		       struct runs_request *run, struct fault *fault)
{
	if (json_name_is(name, "from"))
		return take_bound(x, "from", value, &run->from, fault);
	if (json_name_is(name, "to"))
		return take_bound(x, "to", value, &run->to, fault);
	if (!json_name_is(name, "rate"))
		return fault_set(fault, ERR_BAD_PARAMETER, "unknown key %.*s: from, to and rate are known",
				 (int)(name.len > 60 ? 60 : name.len), (const char *)name.ptr);
	if (value.kind == JSON_NULL)
		return 0;
	if (value.kind != JSON_NUMBER || json_i64(value, &run->rate) || run->rate < 1 || run->rate > RATE_MAX)
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "rate is a number of records a second, from 1 to %lld", (long long)RATE_MAX);
	return 0;
}

static int read_run(struct exchange *x, struct runs_request *run, struct fault *fault)
{
	struct json_value value;
	struct json_cursor c;
	struct slice name;
	char where[128];
	int rc = 0;

	if (x->body.len == 0)
		return 0;
	json_cursor_init(&c, x->body);
	(void)json_object_begin(&c);
	while (rc == 0 && json_object_next(&c, &name) && json_take(&c, &value) == 0)
		rc = take_member(x, name, value, run, fault);
	if (rc == 0 && json_end(&c)) {
		json_error_text(&c.error, where, sizeof(where));
		return fault_set(fault, ERR_BAD_JSON, "the body is not a JSON object: %s", where);
	}
	return rc;
}

static int on_begin(struct exchange *x)
{
	struct runs_request run = {.rate = -1};
	struct fault fault = {0};
	int rc = read_run(x, &run, &fault);

	return rc ? exchange_problem(x, rc, "%s", fault.text) : ask(x, SOURCES_RUN_BEGIN, &run);
}

static int change(struct exchange *x, enum sources_ask what)
{
	struct runs_request run = {0};

	return slice_to_u64(x->param[1], &run.id) ? ask(x, what, &run) : unknown_run(x);
}

static int on_cancel(struct exchange *x)
{
	return change(x, SOURCES_RUN_CANCEL);
}

static int on_resume(struct exchange *x)
{
	return change(x, SOURCES_RUN_RESUME);
}

const struct route route_source_runs = {
	HTTP_BIT(HTTP_GET), "/v1/sources/{source}/runs", NULL, ROUTE_BODY_NONE, 0, on_list};
const struct route route_source_run_begin = {HTTP_BIT(HTTP_POST), "/v1/sources/{source}/runs", NULL,
					     ROUTE_BODY_SMALL,    ROUTE_BODY_OPTIONAL,         on_begin};
const struct route route_source_run_get = {
	HTTP_BIT(HTTP_GET), "/v1/sources/{source}/runs/{run}", NULL, ROUTE_BODY_NONE, 0, on_get};
const struct route route_source_run_cancel = {
	HTTP_BIT(HTTP_DELETE), "/v1/sources/{source}/runs/{run}", NULL, ROUTE_BODY_NONE, 0, on_cancel};
const struct route route_source_run_resume = {HTTP_BIT(HTTP_POST),
					      "/v1/sources/{source}/runs/{run}/resume",
					      NULL,
					      ROUTE_BODY_NONE,
					      ROUTE_BODY_OPTIONAL,
					      on_resume};
