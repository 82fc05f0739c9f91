/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The type http: what the machinery calls. A pull is one page; a page that is larger than
 * the credit is several. Nothing is kept of a part between its runs.
 */
#include "connect/http/http.h"

#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "connect/http/inner.h"
#include "json/json_write.h"

/* ---- a source ---- */

static int check_window(const struct source_setup *setup, struct http_source *self, struct fault *fault)
{
	const struct http_settings *s = self->settings;
	const struct source_window *w = setup->window;

	self->from_ms = 0;
	self->to_ms = INT64_MAX;
	if (s->window_from)
		(void)when_parse(slice_str(s->window_from), &self->from_ms); /* the settings are checked */
	self->last_initial = s->last_initial ? slice_str(s->last_initial) : slice_null();
	if (!w)
		return 0;
	if (!s->window_from && !(s->last && !w->to.ptr))
		return fault_set(
			fault, ERR_BAD_PARAMETER,
			"--from and --to need window.from in the settings; with last there is --from alone");
	self->windowed = true;
	if (!s->window_from)
		self->last_initial = w->from.ptr ? w->from : self->last_initial;
	if (s->window_from && w->from.ptr && w->from_ms == INT64_MIN)
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "--from: expected a time such as 2026-01-31T00:00:00Z");
	if (s->window_from && w->to.ptr && w->to_ms == INT64_MAX)
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "--to: expected a time such as 2026-01-31T00:00:00Z");
	if (s->window_from && w->from.ptr)
		self->from_ms = w->from_ms;
	if (s->window_from)
		self->to_ms = w->to.ptr ? w->to_ms : sys_wall_ms(setup->sys) - s->window_lag_ms;
	return 0;
}

static int open_source(const struct source_setup *setup, void **out, struct fault *fault)
{
	const struct http_settings *s = setup->settings;
	struct http_source *self;
	int rc;

	rc = source_refuse_files(setup, s->tls_ca || s->tls_cert || s->tls_key,
				 "tls.ca, tls.cert and tls.key name files", fault);
	if (rc)
		return rc;
	self = mem_zalloc(1, sizeof(*self));
	if (!self)
		return fault_set(fault, ERR_NOMEM, "there is no memory for the source");
	self->settings = s;
	self->name = setup->name;
	self->source = setup->source;
	self->sys = setup->sys;
	self->loop = setup->loop;
	self->guard = setup->guarded ? guard_public : guard_operator;
	buf_init(&self->token.value, 16384);
	buf_init(&self->token.body, 65536);
	rc = check_window(setup, self, fault);
	if (rc < 0) {
		mem_free(self);
		return rc;
	}
	*out = self;
	return 0;
}

static void close_source(void *ctx)
{
	struct http_source *self = ctx;

	token_close(self);
	mem_free(self);
}

/* ---- parts ---- */

/* A name is the URL or the value; one that is too long ends in its hash. */
static struct slice part_name(struct slice text, char room[SOURCE_PART_NAME_MAX])
{
	int n;

	if (text.len <= SOURCE_PART_NAME_MAX)
		return text;
	n = snprintf(room, SOURCE_PART_NAME_MAX, "%.400s#%016llx", (const char *)text.ptr,
		     (unsigned long long)http_hash(3, text));
	return slice_make(room, (size_t)n);
}

static enum source_end plan(void *ctx, struct source_plan *plan)
{
	const struct http_source *self = ctx;
	const struct conf_list *list =
		self->settings->urls.count ? &self->settings->urls : &self->settings->values;
	char room[SOURCE_PART_NAME_MAX];
	int rc = 0;

	if (list->count == 0)
		rc = source_plan_add(plan, &(struct source_plan_part){.name = SLICE_LIT("")});
	for (uint32_t i = 0; i < list->count && rc == 0; i++)
		rc = source_plan_add(plan,
				     &(struct source_plan_part){.name = part_name(slice_str(list->items[i]),
										  room),
								.title = slice_str(list->items[i])});
	return rc ? source_fail(&plan->call, SOURCE_FINAL,
				"there are more parts than can be, or no memory for them") :
		    SOURCE_IDLE;
}

/* What the part stands for: its URL, and {value}. False where no plan has named it. */
static bool find_part(struct http_pull *p)
{
	const struct http_settings *s = p->self->settings;
	const struct conf_list *list = s->urls.count ? &s->urls : &s->values;
	char room[SOURCE_PART_NAME_MAX];

	p->base = slice_str(s->url);
	for (uint32_t i = 0; i < list->count; i++) {
		struct slice item = slice_str(list->items[i]);

		if (!slice_eq(part_name(item, room), p->part->name))
			continue;
		if (s->urls.count)
			p->base = item;
		else
			p->value = item;
		return true;
	}
	return list->count == 0;
}

/* ---- pulls ---- */

const char *pull_place(struct http_pull *p, char out[400])
{
	const char *url = p->url.len > 0 ? (const char *)p->url.ptr : "";
	size_t len = strcspn(url, "?#");

	(void)snprintf(out, 400, "source %s: %s %.*s%s", p->self->name,
		       p->self->settings->method == HTTP_SOURCE_POST ? "POST" : "GET",
		       (int)(len < 250 ? len : 250), url, url[len] == '?' ? "?..." : "");
	return out;
}

static struct http_pull *pull_new(struct http_source *self, struct source_part *part)
{
	struct http_pull *p = mem_zalloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->self = self;
	p->part = part;
	arena_init(&p->arena, 4096, 256u << 20);
	buf_init(&p->url, 20000);
	buf_init(&p->body, (size_t)self->settings->body_bytes_max + 1);
	if (find_part(p))
		return p;
	pull_free(p);
	return NULL;
}

void pull_free(struct http_pull *p)
{
	if (p->waiting)
		token_leave(p);
	if (p->call)
		fetcher_cancel(p->call);
	items_close(p);
	arena_fini(&p->arena);
	buf_fini(&p->url);
	buf_fini(&p->body);
	mem_free(p);
}

void pull_end(struct http_pull *p, enum source_end end)
{
	struct source_call *call = &p->batch->call;

	if (end != SOURCE_MORE) {
		p->part->state = NULL;
		pull_free(p);
	}
	source_done(call, end);
}

static enum source_end pull(void *ctx, struct source_part *part, struct source_batch *batch)
{
	struct http_pull *p = part->state;
	enum source_end end;

	if (!p)
		p = part->state = pull_new(ctx, part);
	if (!p)
		return source_fail(&batch->call, SOURCE_TRANSIENT, "there is no memory for the request");
	p->batch = batch;
	batch->call.quota_left = batch->call.quota_reset_ms = -1;
	end = p->has_page ? page_take(p) : request_begin(p);
	if (end != SOURCE_LATER && end != SOURCE_MORE) {
		part->state = NULL;
		pull_free(p);
	}
	return end;
}

static void drop(void *ctx, struct source_part *part)
{
	(void)ctx;
	if (part->state)
		pull_free(part->state);
	part->state = NULL;
}

/* Whoever wants it back gets what was marked; the page is asked for again. */
static void cancel(void *ctx, struct source_part *part)
{
	struct http_pull *p = part ? part->state : NULL;

	(void)ctx;
	if (p && (p->call || p->waiting))
		pull_end(p, source_fail(&p->batch->call, SOURCE_TRANSIENT, "it was given up"));
}

static void show(uint8_t version, struct slice checkpoint, struct buf *json)
{
	if (version == POSITION_VERSION && json_valid(checkpoint, NULL) == 0)
		json_put_raw(json, checkpoint);
	else
		json_put_null(json);
}

const struct source_type source_http = {
	.kind = HTTP_KIND,
	.flags = SOURCE_WINDOWS,
	.every_ms = 60000,
	.open = open_source,
	.close = close_source,
	.plan = plan,
	.pull = pull,
	.drop = drop,
	.cancel = cancel,
	.show = show,
};
