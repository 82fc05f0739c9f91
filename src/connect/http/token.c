/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OAuth2, the client's own credentials (RFC 6749 section 4.4): one token a source, got when the first
 * request needs it and again when a tenth of its life, or a minute, is left. All parts that need it
 * meanwhile wait for the one request.
 */
#include "connect/http/inner.h"
#include "connect/text/template.h"

#include "base/mem.h"
#include "json/pointer.h"

#define SECOND_NS 1000000000LL
#define LIFE_DEFAULT_S 300
#define LIFE_MAX_S (366LL * 86400)

void token_forget(struct http_source *self)
{
	buf_clear(&self->token.value);
}

void token_close(struct http_source *self)
{
	if (self->token.call)
		fetcher_cancel(self->token.call);
	self->token.call = NULL;
	buf_fini(&self->token.value);
	buf_fini(&self->token.body);
}

void token_leave(struct http_pull *p)
{
	struct http_pull **at = &p->self->token.waiting;

	while (*at && *at != p)
		at = &(*at)->next;
	if (*at)
		*at = p->next;
	p->waiting = false;
}

static void on_body(void *ctx, struct slice piece)
{
	struct http_source *self = ctx;

	(void)buf_append_slice(&self->token.body, piece);
}

/* Takes the token out of the answer. 0, or an error with *fault. */
static int read_token(struct http_source *self, struct fault *fault)
{
	struct slice doc = buf_slice(&self->token.body), text;
	struct json_value v;
	struct arena arena;
	int64_t life = LIFE_DEFAULT_S, margin;
	int rc;

	if (buf_status(&self->token.body) || json_valid(doc, NULL) < 0 ||
	    json_pointer_find(doc, SLICE_LIT("/access_token"), &v) != 1 || v.kind != JSON_STRING)
		return fault_set(fault, ERR_PROTOCOL, "auth.token_url: the answer has no access_token");
	arena_init(&arena, 4096, 1u << 20);
	buf_clear(&self->token.value);
	rc = json_text(v.raw, &arena, &text);
	if (rc == 0)
		rc = buf_append_slice(&self->token.value, text);
	arena_fini(&arena);
	if (rc < 0)
		return fault_set(fault, rc, "auth.token_url: the access_token is no text that can be kept");
	if (json_pointer_find(doc, SLICE_LIT("/expires_in"), &v) == 1)
		(void)json_i64(v, &life);
	if (life < 1 || life > LIFE_MAX_S)
		life = LIFE_DEFAULT_S;
	margin = life / 10 < 60 ? life / 10 : 60;
	self->token.until_ns = sys_monotonic_ns(self->sys) + (life - margin) * SECOND_NS;
	return 0;
}

static void on_done(void *ctx, const struct fetcher_result *result)
{
	struct http_source *self = ctx;
	struct http_pull *p = self->token.waiting, *next;
	enum source_failure failure = SOURCE_TRANSIENT;
	struct fault fault = {0};

	self->token.call = NULL;
	self->token.waiting = NULL;
	if (result->err) {
		(void)fault_set(&fault, result->err, "auth.token_url: %.480s", result->text);
		failure = result->class == FETCHER_FINAL ? SOURCE_FINAL : SOURCE_TRANSIENT;
	} else {
		(void)read_token(self, &fault);
	}
	buf_fini(&self->token.body);
	buf_init(&self->token.body, 65536);
	for (; p; p = next) {
		enum source_end end;

		next = p->next;
		p->waiting = false;
		p->batch->call.not_before_ms = result->retry_after_ms;
		end = fault.err ? source_fail(&p->batch->call, failure, "%s", fault.text) : request_send(p);
		if (end != SOURCE_LATER)
			pull_end(p, end);
	}
}

static int find_value(void *ctx, struct slice name, struct slice *value)
{
	(void)name;
	*value = *(const struct slice *)ctx;
	return 1;
}

/* grant_type=client_credentials&scope=…, the client as Basic, both form-encoded first (section 2.3.1). */
static int start(struct http_source *self, struct fault *fault)
{
	static const struct fetcher_handler handler = {.on_body = on_body, .on_done = on_done};
	static const struct fetcher_field fields[] = {{SLICE_LIT("Content-Type"),
						       SLICE_LIT("application/x-www-form-urlencoded"), false},
						      {SLICE_LIT("Accept"), SLICE_LIT("application/json"),
						       false}};
	const struct http_settings *s = self->settings;
	struct slice id = slice_str(s->auth_client_id), secret = slice_str(s->auth_client_secret),
		     scope = slice_str(s->auth_scope);
	struct fetcher_options options = {.method = "POST",
					  .url = slice_str(s->auth_token_url),
					  .fields = fields,
					  .field_count = 2,
					  .auth = FETCHER_AUTH_BASIC,
					  .guard = self->guard,
					  .packed = true,
					  .handler = &handler,
					  .ctx = self,
					  .limits = {.bytes_max = 65536,
						     .total_ms = s->timeout_ms,
						     .connect_ms = s->connect_timeout_ms},
					  .tls = {.ca_file = s->tls_ca,
						  .cert_file = s->tls_cert,
						  .key_file = s->tls_key,
						  .key_password = s->tls_key_password,
						  .insecure = !s->tls_verify}};
	struct buf text[3];
	int rc;

	for (int i = 0; i < 3; i++)
		buf_init(&text[i], 32768);
	(void)buf_append_str(&text[0], "grant_type=client_credentials");
	if (scope.ptr)
		(void)template_expand(SLICE_LIT("&scope={v}"), TEMPLATE_URL, find_value, &scope, &text[0]);
	(void)template_expand(SLICE_LIT("{v}"), TEMPLATE_URL, find_value, &id, &text[1]);
	(void)template_expand(SLICE_LIT("{v}"), TEMPLATE_URL, find_value, &secret, &text[2]);
	options.body = buf_slice(&text[0]);
	options.user = buf_slice(&text[1]);
	options.secret = buf_slice(&text[2]);
	rc = fetcher_start(self->loop, &options, &self->token.call, fault);
	for (int i = 0; i < 3; i++)
		buf_fini(&text[i]);
	if (rc < 0)
		self->token.call = NULL;
	return rc;
}

int token_need(struct http_pull *p)
{
	struct http_source *self = p->self;
	struct fault fault = {0};

	if (self->settings->auth != HTTP_AUTH_OAUTH2 ||
	    (self->token.value.len > 0 && sys_monotonic_ns(self->sys) < self->token.until_ns))
		return 1;
	if (!self->token.call && start(self, &fault) < 0) {
		(void)source_fail(&p->batch->call, SOURCE_FINAL, "auth.token_url: %s", fault.text);
		return fault.err;
	}
	p->batch->call.requests++;
	p->next = self->token.waiting;
	self->token.waiting = p;
	p->waiting = true;
	return 0;
}
