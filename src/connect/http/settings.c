/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/http/settings.h"

#include "connect/text/template.h"
#include "connect/text/when.h"
#include "json/pointer.h"

#define IN(member) SETTING_MEMBER(struct http_settings, member)
#define SECONDS(n) ((int64_t)(n)*1000)
#define DAYS(n) SECONDS((n)*86400)
#define KIB(n) ((int64_t)(n) << 10)
#define MIB(n) ((int64_t)(n) << 20)

static const char *const methods[] = {"get", "post", NULL};
static const struct setting_alias method_aliases[] = {{"GET", "get"}, {"POST", "post"}, {NULL, NULL}};
static const char *const formats[] = {"json", "ndjson", "whole", "csv", NULL};
static const char *const pagings[] = {"none", "next", "link", "cursor", "page", "offset", NULL};
static const char *const auths[] = {"none", "basic", "bearer", "header", "query", "oauth2", NULL};
static const char *const redirects[] = {"none", "same_origin", "any", NULL};

static bool is_url(struct slice s)
{
	return slice_starts(s, SLICE_LIT("http://")) || slice_starts(s, SLICE_LIT("https://"));
}

static bool is_when(struct slice s)
{
	int64_t ms;

	return when_parse(s, &ms);
}

static const char url_text[] = "http://… or https://…";
static const char pointer_text[] = "a JSON pointer, such as /data/items";
static const char moment_text[] = "a time such as 2026-01-31T00:00:00Z";

const struct setting http_setting_table[HTTP_SETTING_COUNT] = {
	{"url", NULL, "What is asked; {names} in it are replaced.", .type = SETTING_STRING, .min = 8,
	 .max = 8000, .shape = is_url, .shape_text = url_text, IN(url)},
	{"urls", NULL, "In place of url, several: each is read by itself.", .type = SETTING_LIST, .min = 8,
	 .max = 8000, .shape = is_url, .shape_text = url_text, IN(urls)},
	{"values", NULL, "What {value} in url stands for: a URL for each, read by itself.",
	 .type = SETTING_LIST, .min = 1, .max = 500, IN(values)},
	{"method", "get", "How it is asked.", .type = SETTING_ENUM, .names = methods,
	 .aliases = method_aliases, IN(method)},
	{"headers", NULL, "Headers of the request; {names} in their values are replaced.",
	 .type = SETTING_MAP, .min = 0, .max = 8000, IN(headers)},
	{"body", NULL, "Body of a POST; {names} in it are replaced, with JSON's escapes where it is JSON.",
	 .type = SETTING_STRING, .min = 0, .max = 100000, IN(body)},
	{"format", "json",
	 "What the answer is: one JSON document, JSON lines, one record whatever it is, or CSV, whose rows become JSON objects.",
	 .type = SETTING_ENUM, .names = formats, IN(format)},
	CSV_ROWS_SETTINGS(struct http_settings, csv),
	{"records", "", "Where in a JSON answer the records are; an array is many, anything else one.",
	 .type = SETTING_STRING, .min = 0, .max = 1000, .shape = json_pointer_valid,
	 .shape_text = pointer_text, IN(records)},
	{"key", NULL, "Key of a record, such as {/id}: pointers into it.", .type = SETTING_STRING, .min = 1,
	 .max = 1000, IN(key)},
	{"id", NULL,
	 "Idempotency key of a record, such as {/id}-{/version}: stored once, however often it is read.",
	 .type = SETTING_STRING, .min = 1, .max = 1000, IN(id)},
	{"last", NULL,
	 "Pointer to a value that grows: the greatest that was stored is {last} of the next run.",
	 .type = SETTING_STRING, .min = 1, .max = 1000, .shape = json_pointer_valid,
	 .shape_text = pointer_text, IN(last)},
	{"last_initial", NULL, "{last} of the first run; without it a parameter that needs it is left out.",
	 .type = SETTING_STRING, .min = 0, .max = 1000, IN(last_initial)},
	{"paging.style", "none",
	 "How the next page is found: a URL in the body or the Link header, a cursor, or a count of pages or records.",
	 .type = SETTING_ENUM, .names = pagings, IN(paging)},
	{"paging.pointer", NULL,
	 "Where in the answer the next URL or cursor is; absent, null and empty end the run.",
	 .type = SETTING_STRING, .min = 1, .max = 1000, .shape = json_pointer_valid,
	 .shape_text = pointer_text, IN(paging_pointer)},
	{"paging.more", NULL, "Pointer to true while there are more pages.", .type = SETTING_STRING, .min = 1,
	 .max = 1000, .shape = json_pointer_valid, .shape_text = pointer_text, IN(paging_more)},
	{"paging.first", "1", "{page} of the first page.", .type = SETTING_INT, .min = 0, .max = 1000000000,
	 IN(paging_first)},
	{"paging.size", "0", "{limit}; a page with fewer records ends the run. 0: an empty one does.",
	 .type = SETTING_INT, .min = 0, .max = 1000000, IN(paging_size)},
	{"paging.pages_max", "10000", "Pages of one run; the next run goes on behind them.",
	 .type = SETTING_INT, .min = 1, .max = 1000000000, IN(paging_pages_max)},
	{"paging.resume", "false",
	 "Whether the next run goes on at the last cursor, in place of the beginning.", .type = SETTING_BOOL,
	 IN(paging_resume)},
	{"window.from", NULL, "Each run asks for a window of time, {from} to {to}; the first begins here.",
	 .type = SETTING_STRING, .min = 1, .max = 40, .shape = is_when, .shape_text = moment_text,
	 IN(window_from)},
	{"window.lag", "0", "{to} is so long ago: for sources that show records late.",
	 .type = SETTING_DURATION, .min = 0, .max = DAYS(366), IN(window_lag_ms)},
	{"window.overlap", "0", "{from} is so much earlier than the end of the last window; needs id.",
	 .type = SETTING_DURATION, .min = 0, .max = DAYS(366), IN(window_overlap_ms)},
	{"window.max", "366d", "Longest window of a run; a run that is behind is followed by another.",
	 .type = SETTING_DURATION, .min = 1, .max = DAYS(3660), IN(window_max_ms)},
	{"conditional", "true",
	 "Whether ETag and Last-Modified are sent back, so that an answer may be \"unchanged\".",
	 .type = SETTING_BOOL, IN(conditional)},
	{"skip_unchanged", "true",
	 "Whether an answer that is the same, byte by byte, as the last is no news.", .type = SETTING_BOOL,
	 IN(skip_unchanged)},
	{"auth.type", "none", "How weir says who it is.", .type = SETTING_ENUM, .names = auths, IN(auth)},
	{"auth.user", NULL, "User of basic.", .type = SETTING_STRING, .min = 1, .max = 1000, IN(auth_user)},
	{"auth.password", NULL, "Password of basic.", .type = SETTING_STRING, .min = 0, .max = 4000,
	 .flags = SETTING_SECRET, IN(auth_password)},
	{"auth.token", NULL, "Token of bearer, value of header and query.", .type = SETTING_STRING, .min = 1,
	 .max = 8000, .flags = SETTING_SECRET, IN(auth_token)},
	{"auth.name", NULL, "Name of the header or of the query's parameter.", .type = SETTING_STRING,
	 .min = 1, .max = 200, IN(auth_name)},
	{"auth.token_url", NULL,
	 "Where oauth2 gets tokens for the client's credentials (RFC 6749 section 4.4).",
	 .type = SETTING_STRING, .min = 8, .max = 4000, .shape = is_url, .shape_text = url_text,
	 IN(auth_token_url)},
	{"auth.client_id", NULL, "Client of oauth2.", .type = SETTING_STRING, .min = 1, .max = 1000,
	 IN(auth_client_id)},
	{"auth.client_secret", NULL, "Its secret.", .type = SETTING_STRING, .min = 1, .max = 4000,
	 .flags = SETTING_SECRET, IN(auth_client_secret)},
	{"auth.scope", NULL, "Scope that oauth2 asks for.", .type = SETTING_STRING, .min = 1, .max = 2000,
	 IN(auth_scope)},
	{"tls.ca", NULL, "File with certificates of authorities, in place of the system's.",
	 .type = SETTING_STRING, .min = 1, .max = 4000, IN(tls_ca)},
	{"tls.cert", NULL, "File with weir's own certificate.", .type = SETTING_STRING, .min = 1, .max = 4000,
	 IN(tls_cert)},
	{"tls.key", NULL, "File with its key; without it the key is in tls.cert.", .type = SETTING_STRING,
	 .min = 1, .max = 4000, IN(tls_key)},
	{"tls.key_password", NULL, "Password of the key.", .type = SETTING_STRING, .min = 1, .max = 1000,
	 .flags = SETTING_SECRET, IN(tls_key_password)},
	{"tls.verify", "true", "Whether the server's certificate is looked at.", .type = SETTING_BOOL,
	 IN(tls_verify)},
	{"timeout", "60s", "Time for a request with its answer.", .type = SETTING_DURATION, .min = 100,
	 .max = DAYS(1), IN(timeout_ms)},
	{"connect_timeout", "10s", "Time to connect, TLS included.", .type = SETTING_DURATION, .min = 100,
	 .max = SECONDS(300), IN(connect_timeout_ms)},
	{"max_body", "64MiB", "Largest answer, unpacked.", .type = SETTING_SIZE, .min = KIB(1),
	 .max = MIB(1024), IN(body_bytes_max)},
	{"redirects", "same_origin", "Which redirects are followed; credentials never go to another origin.",
	 .type = SETTING_ENUM, .names = redirects, IN(redirects)},
};

/* ---- between settings ---- */

static bool in_request(const struct http_settings *s, const char *name)
{
	bool has = (s->url && template_has(slice_str(s->url), name)) ||
		   (s->body && template_has(slice_str(s->body), name));

	for (uint32_t i = 0; i < s->urls.count; i++)
		has = has || template_has(slice_str(s->urls.items[i]), name);
	for (uint32_t i = 0; i < s->headers.count; i++)
		has = has || template_has(slice_str(s->headers.values[i]), name);
	return has;
}

static bool has_time(const struct http_settings *s)
{
	static const char *const names[] = {"from", "from:ms", "from:s", "to", "to:ms", "to:s"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (in_request(s, names[i]))
			return true;
	return false;
}

static void check_urls(const struct http_settings *s, struct conf_check *check)
{
	if (!s->url == !s->urls.count)
		conf_check_fail(check, s->url ? "urls" : "", "expected url or urls, one of them");
	if (s->values.count && !(s->url && template_has(slice_str(s->url), "value")))
		conf_check_fail(check, "values", "expected a url with {value} in it");
	if (!s->values.count && in_request(s, "value"))
		conf_check_fail(check, "url", "{value} needs a list of values");
	if (s->body && s->method == HTTP_SOURCE_GET)
		conf_check_fail(check, "body", "a body needs method: post");
}

static void check_paging(const struct http_settings *s, struct conf_check *check)
{
	static const char *const needed[] = {NULL, NULL, NULL, "cursor", "page", "offset"};
	bool in_body = s->paging == HTTP_PAGING_NEXT || s->paging == HTTP_PAGING_CURSOR;

	if (in_body && !s->paging_pointer)
		conf_check_fail(check, "paging.style",
				"it needs paging.pointer: where in the answer the next one is");
	if (!in_body && s->paging_pointer)
		conf_check_fail(check, "paging.pointer",
				"only the styles next and cursor look into the answer for it");
	if (in_body && s->format != HTTP_FORMAT_JSON)
		conf_check_fail(check, "paging.style", "next and cursor need format: json");
	if (s->paging_more && s->format != HTTP_FORMAT_JSON)
		conf_check_fail(check, "paging.more", "it needs format: json");
	if (needed[s->paging] && !in_request(s, needed[s->paging]))
		conf_check_fail(check, "paging.style", "it needs {%s} in url, headers or body",
				needed[s->paging]);
	if (s->paging_resume && s->paging != HTTP_PAGING_CURSOR)
		conf_check_fail(check, "paging.resume", "only the style cursor can go on in the next run");
	if (s->paging != HTTP_PAGING_NONE && s->format == HTTP_FORMAT_WHOLE)
		conf_check_fail(check, "paging.style", "a whole answer has no pages");
}

static void check_place(const struct http_settings *s, struct conf_check *check)
{
	if (s->last && !in_request(s, "last"))
		conf_check_fail(check, "last", "it needs {last} in url, headers or body");
	if (!s->last && in_request(s, "last"))
		conf_check_fail(check, "url", "{last} needs last: where in a record it is");
	if (s->window_from && !has_time(s))
		conf_check_fail(check, "window.from", "it needs {from} or {to} in url, headers or body");
	if (!s->window_from && has_time(s))
		conf_check_fail(check, "url",
				"{from} and {to} need window.from: where the first window begins");
	if (s->window_overlap_ms && !s->id)
		conf_check_fail(check, "window.overlap",
				"it needs id, or what lies in the overlap is stored twice");
	if (s->format == HTTP_FORMAT_WHOLE && (s->key || s->id || s->last))
		conf_check_warn(check,
				s->key ? "key" :
				s->id  ? "id" :
					 "last",
				"pointers find something in JSON alone");
	if (s->format != HTTP_FORMAT_WHOLE && !s->id && !s->last && !s->window_from && !s->paging_resume)
		conf_check_warn(
			check, "",
			"each answer that has changed is stored whole: without id, last, window or a cursor that "
			"goes on, weir cannot tell which records are new");
}

static void check_auth(const struct http_settings *s, struct conf_check *check)
{
	bool named = s->auth == HTTP_AUTH_HEADER || s->auth == HTTP_AUTH_QUERY;

	if (s->auth == HTTP_AUTH_BASIC && (!s->auth_user || !s->auth_password))
		conf_check_fail(check, "auth.type", "basic needs auth.user and auth.password");
	if ((s->auth == HTTP_AUTH_BEARER || named) && !s->auth_token)
		conf_check_fail(check, "auth.type", "it needs auth.token");
	if (named && !s->auth_name)
		conf_check_fail(check, "auth.type",
				"it needs auth.name: the name of the header or parameter");
	if (s->auth == HTTP_AUTH_OAUTH2 &&
	    (!s->auth_token_url || !s->auth_client_id || !s->auth_client_secret))
		conf_check_fail(check, "auth.type",
				"oauth2 needs auth.token_url, auth.client_id and auth.client_secret");
	if (s->tls_key && !s->tls_cert)
		conf_check_fail(check, "tls.key", "it needs tls.cert");
	if (!s->tls_verify)
		conf_check_warn(check, "tls.verify",
				"whoever stands in between may read and change everything");
}

void http_settings_check(const void *settings, struct conf_check *check)
{
	const struct http_settings *s = settings;

	check_urls(s, check);
	check_paging(s, check);
	check_place(s, check);
	check_auth(s, check);
}
