/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sources API: what weir fetches by itself, how far it is, and what may be asked of it. Looking is done on the
 * spot; whatever changes a source is done on its loop, and the answer comes back from there.
 */
#include "conf/redact.h"
#include "connect/sources.h"
#include "json/json_write.h"
#include "serve/app.h"
#include "serve/http/exchange.h"
#include "serve/http/resources.h"
#include "serve/http/source_ask.h"
#include "serve/http/source_runs.h"

#define PARTS_SHOWN 1000u
#define TEST_RECORDS_MAX 1000u
#define ANSWER_BYTES_MAX ((size_t)32 << 20)

/* ---- as JSON ---- */

static void put_schedule(struct buf *out, const struct conf_source *source)
{
	const struct source_type *type = source_type_of(source->kind);

	if (source->cron) {
		json_put_member_string(out, "cron", slice_str(source->cron));
		json_put_member_string(out, "timezone", slice_str(source->timezone));
	} else if (source->every_max_ms) {
		json_put_member_i64(out, "every_min_ms", source->every_min_ms);
		json_put_member_i64(out, "every_max_ms", source->every_max_ms);
	} else if (source->every_ms || type->every_ms) {
		json_put_member_i64(out, "every_ms", source->every_ms ? source->every_ms : type->every_ms);
	}
}

static void put_progress(struct buf *out, const struct runner_figures *f)
{
	json_put_name(out, "progress");
	if (!f->total) {
		json_put_null(out);
		return;
	}
	json_put_open(out, '{');
	json_put_member_u64(out, "done", f->done);
	json_put_member_u64(out, "total", f->total);
	json_put_close(out, '}');
}

static void put_warning(void *ctx, const char *text)
{
	json_put_item(ctx);
	json_put_string_lossy(ctx, slice_str(text));
}

static void put_figures(struct buf *out, const struct runner_figures *f)
{
	json_put_member_string(out, "state", slice_str(runner_state_name(f->state)));
	json_put_member_u64(out, "records", f->records);
	json_put_member_u64(out, "dead", f->dead);
	json_put_member_u64(out, "duplicates", f->duplicates);
	json_put_member_u64(out, "pulls", f->pulls);
	json_put_member_u64(out, "requests", f->requests);
	json_put_member_u64(out, "bytes_read", f->bytes_read);
	json_put_member_u64(out, "errors", f->errors);
	json_put_member_u64(out, "failures", f->failures);
	json_put_member_u64(out, "parts", f->parts);
	json_put_member_u64(out, "parts_done", f->parts_done);
	put_progress(out, f);
	json_put_member_known(out, "lag_records", f->lag_records);
	json_put_member_known(out, "lag_ms", f->lag_ms);
	source_put_time(out, "last_success", f->success_ms);
	source_put_time(out, "next_run", f->next_ms);
	json_put_member_text(out, "last_error", f->error[0] ? slice_str(f->error) : slice_null());
	source_put_time(out, "last_error_at", f->error_ms);
	json_put_member_u64(out, "warning_count", f->warning_count);
}

static void put_source(struct buf *out, const struct sources_view *view)
{
	json_put_member_string(out, "name", slice_str(view->source->name));
	json_put_member_string(out, "type", slice_str(view->source->type));
	json_put_member_string(out, "topic", slice_str(view->source->topic));
	json_put_member_string(out, "managed_by", view->from_file ? SLICE_LIT("file") : SLICE_LIT("api"));
	put_schedule(out, view->source);
	put_figures(out, &view->figures);
}

/* ---- looking ---- */

static bool list_one(void *ctx, const struct sources_view *view)
{
	struct buf *out = ctx;

	json_put_item(out);
	json_put_open(out, '{');
	put_source(out, view);
	json_put_close(out, '}');
	return !buf_status(out);
}

static int answer_buf(struct exchange *x, int status, struct buf *out)
{
	int rc = exchange_answer_json(x, status, out);

	buf_fini(out);
	return rc;
}

static int on_list(struct exchange *x)
{
	struct app *app = x->app;
	struct buf out;

	buf_init(&out, ANSWER_BYTES_MAX);
	json_put_open(&out, '{');
	json_put_name(&out, "sources");
	json_put_open(&out, '[');
	sources_each(app->sources, list_one, &out);
	json_put_close(&out, ']');
	json_put_name(&out, "next");
	json_put_null(&out);
	json_put_close(&out, '}');
	return answer_buf(x, 200, &out);
}

struct showing {
	struct buf *out;
	const struct source_type *type;
};

static void put_checkpoint(const struct showing *s, const struct source_checkpoint *c)
{
	struct buf *out = s->out;

	json_put_name(out, "checkpoint");
	if (!c->bytes.ptr) {
		json_put_null(out);
	} else if (s->type->show) {
		size_t at = out->len; /* places may be URLs, too: links to the next page are often signed */
		s->type->show(c->version, c->bytes, out);
		if (out->len > at)
			out->len = at + redact_text(NULL, 0, (char *)out->ptr + at, out->len - at);
	} else {
		json_put_base64(out, c->bytes);
	}
}

/* Tokens stand in queries, and passwords before hosts, whatever the key is called: of a URL neither is shown. */
static void put_hidden(struct buf *out, struct slice text)
{
	if (buf_append_slice(out, text) == 0)
		out->len -= text.len - redact_text(NULL, 0, (char *)out->ptr + out->len - text.len, text.len);
}

static bool show_part(void *ctx, struct slice part, const struct source_part_row *row)
{
	const struct showing *s = ctx;
	struct buf name;

	json_put_item(s->out);
	json_put_open(s->out, '{');
	buf_init(&name, SOURCE_PART_NAME_MAX);
	put_hidden(&name, part);
	json_put_name(s->out, "part");
	json_put_string_lossy(s->out, buf_slice(&name));
	buf_fini(&name);
	json_put_member_bool(s->out, "done", row->flags & SOURCE_ROW_DONE);
	json_put_member_u64(s->out, "records", row->records);
	put_checkpoint(s, &row->checkpoint);
	json_put_close(s->out, '}');
	return !buf_status(s->out);
}

static void put_setting(void *ctx, const char *path, struct slice text)
{
	struct buf *out = ctx, shown;

	buf_init(&shown, 2u << 20);
	put_hidden(&shown, text);
	json_put_name(out, path);
	if (strcmp(path, "body") == 0 || strcmp(path, "headers") == 0 || buf_status(&shown))
		json_put_cstr(out, "***"); /* it may say who asks */
	else
		json_put_string_lossy(out, buf_slice(&shown));
	buf_fini(&shown);
}

static int answer_source(struct exchange *x, int status)
{
	struct app *app = x->app;
	struct showing showing;
	struct sources_view view;
	struct buf out;

	if (sources_find(app->sources, x->param[0], &view))
		return source_unknown(x);
	buf_init(&out, ANSWER_BYTES_MAX);
	showing = (struct showing){.out = &out, .type = source_type_of(view.source->kind)};
	json_put_open(&out, '{');
	put_source(&out, &view);
	json_put_name(&out, "warnings");
	json_put_open(&out, '[');
	sources_each_warning(app->sources, x->param[0], put_warning, &out);
	json_put_close(&out, ']');
	json_put_name(&out, "settings");
	json_put_open(&out, '{');
	(void)conf_source_each(view.source, put_setting, &out);
	json_put_close(&out, '}');
	json_put_name(&out, "part_list");
	json_put_open(&out, '[');
	sources_each_part(app->sources, x->param[0], PARTS_SHOWN, show_part, &showing);
	json_put_close(&out, ']');
	json_put_name(&out, "runs");
	(void)source_put_runs(app->sources, x->param[0], &out);
	json_put_close(&out, '}');
	conf_source_unref(view.source);
	return answer_buf(x, status, &out);
}

static int on_get(struct exchange *x)
{
	return answer_source(x, 200);
}

/* ---- asking ---- */

static int ask(struct exchange *x, enum sources_ask what)
{
	struct source_ask *a = source_ask_new(x, what, source_ask_done);

	return a ? source_ask_go(a) : ERR_NOMEM;
}

static int on_pause(struct exchange *x)
{
	return ask(x, SOURCES_PAUSE);
}

static int on_resume(struct exchange *x)
{
	return ask(x, SOURCES_RESUME);
}

static int on_reset(struct exchange *x)
{
	return ask(x, SOURCES_RESET);
}

static int on_run(struct exchange *x)
{
	return ask(x, SOURCES_RUN);
}

static int answer_test(struct exchange *x, struct source_ask *a)
{
	return exchange_answer_json(x, 200, &a->out);
}

static int on_test(struct exchange *x)
{
	struct source_ask *a;
	struct slice records;
	uint64_t most = 0;

	if (exchange_query(x, "records", &records) == 1 &&
	    (!slice_to_u64(records, &most) || most == 0 || most > TEST_RECORDS_MAX))
		return exchange_problem(x, ERR_BAD_PARAMETER, "records is a number from 1 to %u",
					TEST_RECORDS_MAX);
	a = source_ask_new(x, SOURCES_TEST, answer_test);
	if (!a)
		return ERR_NOMEM;
	a->request.records = (uint32_t)most;
	return source_ask_go(a);
}

/* ---- making ---- */

static int answer_put(struct exchange *x, struct source_ask *a)
{
	return answer_source(x, a->request.created ? 201 : 200);
}

/* The keys are small and taken as they are; YAML is read as JSON is. */
static int on_put(struct exchange *x)
{
	struct source_ask *a;
	struct slice coding;

	if (exchange_header(x, SLICE_LIT("content-encoding"), &coding) != 0 &&
	    !slice_eq_nocase(coding, SLICE_LIT("identity")))
		return exchange_problem(x, ERR_MEDIA_TYPE,
					"this resource takes no Content-Encoding: send the keys plain");
	a = source_ask_new(x, SOURCES_MAKE, answer_put);
	return a ? source_ask_put(a) : ERR_NOMEM;
}

static int on_delete(struct exchange *x)
{
	return ask(x, SOURCES_DELETE);
}

static const char *const test_query[] = {"records", NULL};

const struct route route_sources = {HTTP_BIT(HTTP_GET), "/v1/sources", NULL, ROUTE_BODY_NONE, 0, on_list};
const struct route route_source_get = {
	HTTP_BIT(HTTP_GET), "/v1/sources/{source}", NULL, ROUTE_BODY_NONE, 0, on_get};
const struct route route_source_pause = {HTTP_BIT(HTTP_POST), "/v1/sources/{source}/pause", NULL,
					 ROUTE_BODY_NONE,     ROUTE_BODY_OPTIONAL,          on_pause};
const struct route route_source_resume = {HTTP_BIT(HTTP_POST), "/v1/sources/{source}/resume", NULL,
					  ROUTE_BODY_NONE,     ROUTE_BODY_OPTIONAL,           on_resume};
const struct route route_source_reset = {HTTP_BIT(HTTP_POST), "/v1/sources/{source}/reset", NULL,
					 ROUTE_BODY_NONE,     ROUTE_BODY_OPTIONAL,          on_reset};
const struct route route_source_run = {HTTP_BIT(HTTP_POST), "/v1/sources/{source}/run", NULL,
				       ROUTE_BODY_NONE,     ROUTE_BODY_OPTIONAL,        on_run};
const struct route route_source_test = {HTTP_BIT(HTTP_POST), "/v1/sources/{source}/test", test_query,
					ROUTE_BODY_NONE,     ROUTE_BODY_OPTIONAL,         on_test};
const struct route route_source_put = {
	HTTP_BIT(HTTP_PUT), "/v1/sources/{source}", NULL, ROUTE_BODY_SMALL, 0, on_put};
const struct route route_source_delete = {
	HTTP_BIT(HTTP_DELETE), "/v1/sources/{source}", NULL, ROUTE_BODY_NONE, 0, on_delete};
