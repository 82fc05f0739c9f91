/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked: URL, headers and body from their templates and the position; credentials; and what
 * the answer's head says before its body is looked at (page.c).
 */
#include <stdio.h>

#include "connect/http/fields.h"
#include "connect/http/inner.h"
#include "connect/text/template.h"

#include "base/hash.h"
#include "base/mem.h"

#define FIELDS_MAX 100u

uint64_t http_hash(uint64_t before, struct slice bytes)
{
	struct hash_key key = {before, 0x68747470};

	return hash_sip13(&key, bytes) | 1; /* never 0, which means none */
}

/* ---- names in templates ---- */

static struct slice number_text(struct http_pull *p, int slot, uint64_t n)
{
	int len = snprintf(p->number[slot], sizeof(p->number[slot]), "%llu", (unsigned long long)n);

	return slice_make(p->number[slot], (size_t)len);
}

/* "from", "to:ms", "to:s": a moment in one of three forms. False for another name. */
static bool moment(struct http_pull *p, struct slice name, const char *word, int64_t ms, struct slice *value)
{
	size_t len = strlen(word);
	struct slice form;

	if (!slice_starts(name, slice_str(word)))
		return false;
	form = slice_from(name, len);
	if (form.len == 0)
		*value = slice_make(p->when, when_text(ms, p->when));
	else if (slice_eq_str(form, ":ms"))
		*value = number_text(p, 0, ms < 0 ? 0 : (uint64_t)ms);
	else if (slice_eq_str(form, ":s"))
		*value = number_text(p, 0, ms < 0 ? 0 : (uint64_t)ms / 1000);
	else
		return false;
	return true;
}

static int known(struct slice found, struct slice *value)
{
	*value = found;
	return found.ptr ? 1 : 0;
}

static int find_name(void *ctx, struct slice name, struct slice *value)
{
	struct http_pull *p = ctx;
	const struct http_settings *s = p->self->settings;

	if (slice_eq_str(name, "cursor"))
		return known(p->pos.cursor, value);
	if (slice_eq_str(name, "last"))
		return known(p->pos.last.ptr ? p->pos.last : p->self->last_initial, value);
	if (slice_eq_str(name, "value"))
		return known(p->value, value);
	if (slice_eq_str(name, "page"))
		return known(number_text(p, 0, p->pos.page), value);
	if (slice_eq_str(name, "offset"))
		return known(number_text(p, 1, p->pos.offset), value);
	if (slice_eq_str(name, "limit"))
		return known(number_text(p, 2, (uint64_t)s->paging_size), value);
	if (moment(p, name, "from", p->pos.from_ms - s->window_overlap_ms, value) ||
	    moment(p, name, "to", p->pos.to_ms, value))
		return 1;
	return -1;
}

/* ---- URL, headers, body ---- */

/* Behind the query, before a fragment, and not where a next URL has it already. */
static void add_to_query(struct buf *url, const char *name, const char *value)
{
	uint8_t *mark = memchr(url->ptr, '#', url->len);
	char pair[300];
	int n = snprintf(pair, sizeof(pair), "%s=", name);

	if (mark)
		url->len = (size_t)(mark - url->ptr);
	for (size_t i = 1; i + (size_t)n < url->len; i++)
		if ((url->ptr[i - 1] == '?' || url->ptr[i - 1] == '&') &&
		    memcmp(url->ptr + i, pair, (size_t)n) == 0)
			return;
	(void)buf_append_byte(url, memchr(url->ptr, '?', url->len) ? '&' : '?');
	(void)buf_append(url, pair, (size_t)n);
	(void)buf_append_str(url, value);
}

static int write_url(struct http_pull *p)
{
	const struct http_settings *s = p->self->settings;

	buf_clear(&p->url);
	if (p->pos.running && p->pos.next.ptr)
		(void)buf_append_slice(&p->url, p->pos.next);
	else
		(void)template_expand(p->base, TEMPLATE_URL, find_name, p, &p->url);
	if (s->auth == HTTP_AUTH_QUERY && buf_status(&p->url) == 0)
		add_to_query(&p->url, s->auth_name, s->auth_token);
	if (buf_append_byte(&p->url, 0) == 0)
		p->url.len--;
	return buf_status(&p->url);
}

static bool is_json(struct slice s)
{
	s = slice_trim(s);
	return s.len > 0 && (s.ptr[0] == '{' || s.ptr[0] == '[');
}

static bool is_form(const struct http_settings *s)
{
	for (uint32_t i = 0; i < s->headers.count; i++)
		if (slice_eq_nocase(slice_str(s->headers.names[i]), SLICE_LIT("content-type")))
			return strstr(s->headers.values[i], "x-www-form-urlencoded") != NULL;
	return false;
}

static struct slice in_arena(struct http_pull *p, struct slice text, enum template_form form)
{
	struct slice copy = slice_null();
	struct buf out;

	buf_init(&out, 1u << 20);
	if (template_expand(text, form, find_name, p, &out) == 0)
		copy = arena_copy(&p->arena, out.ptr ? buf_slice(&out) : SLICE_LIT(""));
	buf_fini(&out);
	return copy;
}

/* What a request is made of, beside the URL. False without memory. */
struct parts {
	struct fetcher_field fields[FIELDS_MAX + 8];
	uint32_t count;
	struct slice body;
};

static bool has_field(const struct http_settings *s, const char *name)
{
	for (uint32_t i = 0; i < s->headers.count; i++)
		if (slice_eq_nocase(slice_str(s->headers.names[i]), slice_str(name)))
			return true;
	return false;
}

static void add_field(struct parts *r, const char *name, struct slice value, bool secret)
{
	r->fields[r->count++] = (struct fetcher_field){slice_str(name), value, secret};
}

static bool fill_parts(struct http_pull *p, struct parts *r)
{
	const struct http_settings *s = p->self->settings;
	bool first = p->pos.pages == 0;

	for (uint32_t i = 0; i < s->headers.count && i < FIELDS_MAX; i++) {
		struct slice value = in_arena(p, slice_str(s->headers.values[i]), TEMPLATE_PLAIN);

		if (!value.ptr)
			return false;
		add_field(r, s->headers.names[i], value, true); /* who knows what stands in it */
	}
	if (s->body) {
		bool json = is_json(slice_str(s->body));

		r->body = in_arena(p, slice_str(s->body),
				   json       ? TEMPLATE_JSON :
				   is_form(s) ? TEMPLATE_URL :
						TEMPLATE_PLAIN);
		if (!r->body.ptr)
			return false;
		if (json && !has_field(s, "content-type"))
			add_field(r, "Content-Type", SLICE_LIT("application/json"), false);
	}
	if (s->format == HTTP_FORMAT_JSON && !has_field(s, "accept"))
		add_field(r, "Accept", SLICE_LIT("application/json"), false);
	if (s->auth == HTTP_AUTH_HEADER)
		add_field(r, s->auth_name, slice_str(s->auth_token), true);
	if (s->conditional && first && p->pos.etag.ptr)
		add_field(r, "If-None-Match", p->pos.etag, false);
	if (s->conditional && first && p->pos.modified.ptr)
		add_field(r, "If-Modified-Since", p->pos.modified, false);
	return true;
}

/* ---- the answer ---- */

static void on_body(void *ctx, struct slice piece)
{
	struct http_pull *p = ctx;

	if (!p->fault.err && buf_append_slice(&p->body, piece) < 0)
		(void)fault_set(&p->fault, buf_status(&p->body), "there is no memory for the answer");
}

/* What the head says of quotas, whatever the status. */
static void note_quota(struct http_pull *p, const struct fetcher_result *result)
{
	struct source_call *call = &p->batch->call;
	struct fields_quota quota = {-1, -1};
	struct slice left, reset;

	call->not_before_ms = result->retry_after_ms;
	if (!fields_rate_limit(fetcher_header(p->call, "ratelimit", 0), &quota)) {
		left = fetcher_header(p->call, "x-ratelimit-remaining", 0);
		reset = fetcher_header(p->call, "x-ratelimit-reset", 0);
		if (!left.ptr) {
			left = fetcher_header(p->call, "ratelimit-remaining", 0);
			reset = fetcher_header(p->call, "ratelimit-reset", 0);
		}
		fields_rate_habit(left, reset, sys_wall_ms(p->self->sys), &quota);
	}
	call->quota_left = quota.left;
	call->quota_reset_ms = quota.reset_ms;
	if (quota.left == 0 && quota.reset_ms > call->not_before_ms)
		call->not_before_ms =
			quota.reset_ms; /* what comes earlier is refused, whatever the schedule says */
}

static struct slice keep_header(struct http_pull *p, const char *name)
{
	struct slice value = fetcher_header(p->call, name, 0);

	return value.ptr && value.len < 1000 ? arena_copy(&p->arena, value) : slice_null();
}

/* The URL of the next page that the head names. */
static void note_link(struct http_pull *p)
{
	struct slice link, target;

	if (p->self->settings->paging != HTTP_PAGING_LINK)
		return;
	for (size_t i = 0; (link = fetcher_header(p->call, "link", i)).ptr; i++) {
		if (!fields_link_next(link, &target))
			continue;
		p->page_next = arena_copy(&p->arena, target);
		return;
	}
}

/* Which setting would change it. */
static const char *advice(const struct http_pull *p, const struct fetcher_result *result)
{
	if (result->err == ERR_BODY_TOO_LARGE)
		return "; max_body is the limit";
	if (result->status == 401 || result->status == 403)
		return p->self->settings->auth == HTTP_AUTH_NONE ? "; it may want `auth`" :
								   "; check `auth`, and what it may do there";
	if (strstr(result->text, "another origin") && strstr(result->text, "is not followed"))
		return "; `redirects: any` follows it, without credentials";
	if (strstr(result->text, "was not done within"))
		return "; `timeout` says how long it may take";
	return "";
}

static enum source_end refuse(struct http_pull *p, const struct fetcher_result *result)
{
	bool expired = result->status == 401 && p->self->settings->auth == HTTP_AUTH_OAUTH2;

	if (expired) /* it was taken back before its time: the next try gets another */
		token_forget(p->self);
	return source_fail(&p->batch->call,
			   result->class == FETCHER_TRANSIENT || expired ? SOURCE_TRANSIENT : SOURCE_FINAL,
			   "source %s: %s%s", p->self->name, result->text, advice(p, result));
}

static void on_done(void *ctx, const struct fetcher_result *result)
{
	struct http_pull *p = ctx;
	enum source_end end;

	note_quota(p, result);
	p->batch->call.bytes_read += result->wire_bytes;
	p->etag = keep_header(p, "etag");
	p->modified = keep_header(p, "last-modified");
	note_link(p);
	p->call = NULL;
	if (result->err) {
		end = refuse(p, result);
	} else if (p->fault.err) {
		end = source_fail(&p->batch->call, SOURCE_TRANSIENT, "%s", p->fault.text);
	} else if (result->status == 304) {
		p->batch->unchanged = true;
		end = SOURCE_IDLE;
	} else {
		end = page_open(p);
		if (end == SOURCE_MORE)
			end = page_take(p);
	}
	pull_end(p, end);
}

static const struct fetcher_handler handler = {.on_body = on_body, .on_done = on_done};

/* ---- sending ---- */

static struct fetcher_tls tls_of(const struct http_settings *s)
{
	return (struct fetcher_tls){.ca_file = s->tls_ca,
				    .cert_file = s->tls_cert,
				    .key_file = s->tls_key,
				    .key_password = s->tls_key_password,
				    .insecure = !s->tls_verify};
}

static struct fetcher_options options_of(struct http_pull *p, const struct parts *r)
{
	const struct http_settings *s = p->self->settings;

	return (struct fetcher_options){
		.method = s->method == HTTP_SOURCE_POST ? "POST" : NULL,
		.url = buf_slice(&p->url),
		.fields = r->fields,
		.field_count = r->count,
		.body = r->body,
		.auth = s->auth == HTTP_AUTH_BASIC                                 ? FETCHER_AUTH_BASIC :
			s->auth == HTTP_AUTH_BEARER || s->auth == HTTP_AUTH_OAUTH2 ? FETCHER_AUTH_BEARER :
										     FETCHER_AUTH_NONE,
		.user = slice_str(s->auth_user),
		.secret = s->auth == HTTP_AUTH_BASIC  ? slice_str(s->auth_password) :
			  s->auth == HTTP_AUTH_BEARER ? slice_str(s->auth_token) :
							buf_slice(&p->self->token.value),
		.tls = tls_of(s),
		.limits = {.bytes_max = (uint64_t)s->body_bytes_max,
			   .total_ms = s->timeout_ms,
			   .connect_ms = s->connect_timeout_ms},
		.follow = s->redirects == HTTP_REDIRECTS_NONE ? FETCHER_FOLLOW_NONE :
			  s->redirects == HTTP_REDIRECTS_ANY  ? FETCHER_FOLLOW_ANY :
								FETCHER_FOLLOW_SAME_ORIGIN,
		.packed = true,
		.guard = p->self->guard,
		.handler = &handler,
		.ctx = p,
	};
}

/*
 * True where this run has read a page that it asked for like this: it would go round for ever. What that page was is kept, so that the
 * next try knows whether it still is, and stores nothing twice.
 */
static bool asked_before(struct http_pull *p, const struct parts *r)
{
	uint64_t hash = http_hash(1, buf_slice(&p->url));

	hash = r->body.ptr ? http_hash(hash, r->body) : hash;
	for (uint32_t i = 0; i < p->seen_count && i < HTTP_SEEN_MAX; i++)
		if (p->seen[i].request == hash) {
			p->pos.loop_hash = p->seen[i].page;
			return true;
		}
	p->request_hash = hash;
	return false;
}

enum source_end request_send(struct http_pull *p)
{
	struct parts r = {.count = 0};
	struct fetcher_options options;
	struct fault fault = {0};
	char place[400];
	int rc;

	if (write_url(p) < 0 || !fill_parts(p, &r))
		return source_fail(&p->batch->call, SOURCE_TRANSIENT, "there is no memory for the request");
	if (asked_before(p, &r)) {
		(void)page_mark(p);
		return page_round(p);
	}
	options = options_of(p, &r);
	buf_clear(&p->body);
	p->batch->call.requests++;
	rc = fetcher_start(p->self->loop, &options, &p->call, &fault);
	if (rc < 0) {
		p->call = NULL;
		return source_fail(&p->batch->call, rc == ERR_BAD_PARAMETER ? SOURCE_FINAL : SOURCE_TRANSIENT,
				   "%s: %s", pull_place(p, place), fault.text);
	}
	return SOURCE_LATER;
}

/* A new run: its window, its first page. */
static void begin_run(struct http_pull *p)
{
	struct http_source *self = p->self;
	const struct http_settings *s = self->settings;
	int64_t now = sys_wall_ms(self->sys);

	p->pos.running = true;
	p->pos.pages = 0;
	p->pos.page = (uint64_t)s->paging_first;
	p->pos.offset = 0;
	p->pos.next = slice_null();
	p->pos.last_now = slice_null();
	if (!s->paging_resume)
		p->pos.cursor = slice_null();
	if (!s->window_from)
		return;
	if (p->pos.from_ms == 0)
		p->pos.from_ms = self->from_ms;
	p->pos.to_ms = self->to_ms == INT64_MAX ? now - s->window_lag_ms : self->to_ms;
	if (p->pos.to_ms - p->pos.from_ms > s->window_max_ms)
		p->pos.to_ms = p->pos.from_ms + s->window_max_ms;
	if (p->pos.to_ms < p->pos.from_ms)
		p->pos.to_ms = p->pos.from_ms;
}

enum source_end request_begin(struct http_pull *p)
{
	struct fault fault = {0};
	int rc;

	arena_reset(&p->arena);
	p->page_next = p->page_cursor = p->etag = p->modified = slice_null();
	p->fault = (struct fault){0};
	if (p->part->checkpoint.bytes.len > 0 && p->part->checkpoint.version != POSITION_VERSION)
		return source_fail(
			&p->batch->call, SOURCE_FINAL,
			"the checkpoint is of version %u, this weir knows version %u: use a newer one, or weir source "
			"reset",
			p->part->checkpoint.version, POSITION_VERSION);
	rc = position_read(p->part->checkpoint.bytes, &p->arena, &p->pos, &fault);
	if (rc < 0)
		return source_fail(&p->batch->call, rc == ERR_NOMEM ? SOURCE_TRANSIENT : SOURCE_FINAL, "%s",
				   fault.text);
	if (!p->pos.running) {
		begin_run(p);
		p->seen_count = 0;
	}
	rc = token_need(p);
	return rc < 0 ? SOURCE_FAILED : rc == 0 ? SOURCE_LATER : request_send(p);
}
