/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request, from its options to its result, over as many hops as redirects make
 * of it. Redirects are followed here and not by libcurl: it would send
 * fields such as X-Api-Key to whatever origin an answer names, and POST bodies too.
 *
 * fetcher_request.c makes libcurl's request of it, fetcher_body.c takes the answer.
 */
#include "net/fetcher_inner.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

#define MS_NS 1000000LL
#define HELD_BYTES_MAX (1u << 20)

/* ---- what goes wrong ---- */

void call_note(struct fetcher_call *c, int err, enum fetcher_class class, const char *why)
{
	if (c->fault.err)
		return;
	(void)fault_set(&c->fault, err, "%s", why);
	c->class = class;
}

static enum fetcher_class class_of_status(int status)
{
	if ((status >= 200 && status < 300) || status == 304)
		return FETCHER_OK;
	if (status == 408 || status == 425 || status == 429 || status >= 500)
		return FETCHER_TRANSIENT;
	return FETCHER_FINAL;
}

void fetcher_classify(CURLcode code, int *err, enum fetcher_class *class)
{
	*class = FETCHER_FINAL;
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CLIENTCERT:
		*err = ERR_TLS;
		break;
	case CURLE_URL_MALFORMAT:
		*err = ERR_BAD_PARAMETER;
		break;
	case CURLE_UNSUPPORTED_PROTOCOL: /* what answers is no HTTP/1 */
	case CURLE_WEIRD_SERVER_REPLY:
		*err = ERR_PROTOCOL;
		*class = FETCHER_TRANSIENT;
		break;
	case CURLE_OUT_OF_MEMORY:
		*err = ERR_NOMEM;
		*class = FETCHER_TRANSIENT;
		break;
	default:
		*err = ERR_UNREACHABLE;
		*class = FETCHER_TRANSIENT;
	}
}

int call_status(const struct fetcher_call *c)
{
	long status = 0;

	(void)curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	return (int)status;
}

/* Method and URL without what may be secret: "GET https://host/path?…". */
static void say_place(const struct fetcher_call *c, struct buf *out)
{
	size_t len = strcspn(c->url, "?#");

	(void)buf_appendf(out, "%s %.*s%s", c->method, (int)(len > 200 ? 200 : len), c->url,
			  c->url[len] == '?' ? "?..." : "");
}

static void say_status(struct fetcher_call *c, int status, struct buf *out)
{
	struct slice location = fetcher_header(c, "location", 0);

	(void)buf_appendf(out, " was answered with status %d", status);
	if (status >= 300 && status < 400 && location.ptr)
		(void)buf_appendf(out, " to %.*s, which is not followed",
				  (int)(location.len > 120 ? 120 : location.len), (const char *)location.ptr);
	if (c->snippet_len > 0)
		(void)buf_appendf(out, ": %.*s", (int)c->snippet_len, c->snippet);
}

/* ---- hosts ---- */

static uint64_t hash_of(const char *origin)
{
	static const struct hash_key key = {.k0 = 0x66657463, .k1 = 0x686f7374};

	return hash_sip13(&key, slice_str(origin));
}

struct fetcher_host *fetcher_find_host(const struct fetcher *f, const char *origin)
{
	for (struct table_node *at = table_first(&f->hosts, hash_of(origin)); at; at = table_next(at))
		if (strcmp(((struct fetcher_host *)at)->origin, origin) == 0)
			return (struct fetcher_host *)at;
	return NULL;
}

/*
 * libcurl would let calls wait for a connection too, in a list that it walks for each call that ends, with a buffer of 16 KiB for
 * each: ten thousand sources that are due at once took it a second of processor time and 300 MiB.
 */
static int join_host(struct fetcher_call *c, const char *origin)
{
	size_t n = strlen(origin) + 1;
	struct fetcher_host *h;

	c->host = fetcher_find_host(c->fetcher, origin);
	if (!c->host) {
		h = mem_zalloc(1, sizeof(*h) + n);
		if (!h)
			return ERR_NOMEM;
		memcpy(h->origin, origin, n);
		h->waiting_end = &h->waiting;
		table_add(&c->fetcher->hosts, &h->node, hash_of(origin));
		c->host = h;
	}
	c->host->calls++;
	return 0;
}

static void wait_for_host(struct fetcher_call *c)
{
	c->waiting_next = NULL;
	c->waiting_prev = c->host->waiting_end;
	*c->waiting_prev = c;
	c->host->waiting_end = &c->waiting_next;
}

static void wait_no_more(struct fetcher_call *c)
{
	if (!c->waiting_prev)
		return;
	*c->waiting_prev = c->waiting_next;
	if (c->waiting_next)
		c->waiting_next->waiting_prev = c->waiting_prev;
	else
		c->host->waiting_end = c->waiting_prev;
	c->waiting_prev = NULL;
}

/* It runs no more, or never will: the next has its turn. */
static void release_host(struct fetcher_call *c)
{
	struct fetcher_host *h = c->host;
	struct fetcher_call *next;

	if (!h)
		return;
	wait_no_more(c);
	h->running -= c->holds;
	c->holds = false;
	next = h->running < FETCHER_HOST_CALLS_MAX ? h->waiting : NULL;
	if (next) {
		wait_no_more(next);
		fetcher_queue(next);
	}
}

static void leave_host(struct fetcher_call *c)
{
	struct fetcher_host *h = c->host;

	release_host(c);
	c->host = NULL;
	if (!h || --h->calls > 0)
		return;
	table_remove(&c->fetcher->hosts, &h->node);
	mem_free(h);
}

/* ---- beginning ---- */

static void set_limits(struct fetcher_limits *l, const struct fetcher_limits *given)
{
	*l = *given;
	l->bytes_max = l->bytes_max ? l->bytes_max : 64ull << 20;
	l->ratio_max = l->ratio_max ? l->ratio_max : 200;
	l->head_bytes_max = l->head_bytes_max ? l->head_bytes_max : 64u << 10;
	l->total_ms = l->total_ms > 0 ? l->total_ms : 60000;
	l->connect_ms = l->connect_ms > 0 ? l->connect_ms : 10000;
	l->slow_bytes = l->slow_bytes ? l->slow_bytes : 10;
	l->slow_seconds = l->slow_seconds ? l->slow_seconds : 30;
}

static void on_deadline(void *ctx)
{
	struct fetcher_call *c = ctx;
	char why[100];

	(void)snprintf(why, sizeof(why), "it was not done within %lld ms", (long long)c->limits.total_ms);
	call_fail(c, ERR_UNREACHABLE, FETCHER_TRANSIENT, why);
}

/* Everything that may fail. */
static int fill_call(struct fetcher_call *c, const struct fetcher_options *o, struct fault *fault)
{
	char origin[512];
	CURLcode code;

	c->method = mem_strndup(o->method ? o->method : "GET", o->method ? strlen(o->method) : 3);
	c->url = mem_strndup((const char *)o->url.ptr, o->url.len);
	if (!c->method || !c->url || call_copy_fields(c, o) < 0)
		return fault_set(fault, ERR_NOMEM, "there is no memory for the request");
	for (uint32_t i = 0; i < c->field_count; i++)
		if (!call_is_value(c->fields[i].value))
			return fault_set(fault, ERR_BAD_PARAMETER,
					 "the credentials have a control character");
	call_origin(c->url, origin);
	if (!origin[0])
		return fault_set(
			fault, ERR_BAD_PARAMETER,
			"'%.100s' is not a URL for this; expected http:// or https://, a host, and no "
			"user or password in it",
			c->url);
	code = join_host(c, origin) ? CURLE_OUT_OF_MEMORY : call_set_up(c, o);
	if (code == CURLE_OUT_OF_MEMORY)
		return fault_set(fault, ERR_NOMEM, "there is no memory for the request");
	if (code != CURLE_OK)
		return fault_set(fault, ERR_BAD_PARAMETER, "%s", curl_easy_strerror(code));
	return 0;
}

int call_new(struct fetcher *f, const struct fetcher_options *o, struct fetcher_call **out,
	     struct fault *fault)
{
	int rc = call_check_options(o, fault);
	struct fetcher_call *c;

	if (rc < 0)
		return rc;
	c = mem_zalloc(1, sizeof(*c));
	if (!c)
		return fault_set(fault, ERR_NOMEM, "there is no memory for the request");
	c->fetcher = f;
	c->handler = o->handler;
	c->bodies = o->bodies;
	c->ctx = o->ctx;
	c->guard = o->guard;
	c->guard_ctx = o->guard_ctx;
	c->follow = o->follow;
	c->redirects_max = o->redirects_max ? o->redirects_max : 5;
	set_limits(&c->limits, &o->limits);
	buf_init(&c->held, HELD_BYTES_MAX);
	loop_timer_init(&c->deadline, on_deadline, c);
	c->next = f->calls;
	c->prev = &f->calls;
	if (c->next)
		c->next->prev = &c->next;
	f->calls = c;
	f->call_count++;
	c->easy = fetcher_take_handle(f);
	rc = c->easy ? fill_call(c, o, fault) :
		       fault_set(fault, ERR_NOMEM, "there is no memory for the request");
	if (rc < 0) {
		call_free(c);
		return rc;
	}
	loop_timer_set(f->loop, &c->deadline, c->limits.total_ms * MS_NS);
	*out = c;
	return 0;
}

/* ---- ending ---- */

static void detach(struct fetcher_call *c)
{
	if (c->added)
		(void)curl_multi_remove_handle(c->fetcher->multi.curl, c->easy);
	c->added = false;
}

void call_free(struct fetcher_call *c)
{
	struct fetcher *f = c->fetcher;

	loop_timer_stop(f->loop, &c->deadline);
	detach(c);
	leave_host(c);
	if (c->easy)
		fetcher_give_handle(f, c->easy);
	curl_slist_free_all(c->list);
	unpacker_free(c->unpacker);
	buf_fini(&c->held);
	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
	f->call_count--;
	mem_free(c->fields);
	mem_free(c->url);
	mem_free(c->method);
	mem_free(c);
}

static int64_t time_of(const struct fetcher_call *c, CURLINFO what)
{
	curl_off_t us = 0;

	(void)curl_easy_getinfo(c->easy, what, &us);
	return us;
}

static void fill_times(const struct fetcher_call *c, struct fetcher_result *r)
{
	curl_off_t seconds = 0;

	r->resolved_us = time_of(c, CURLINFO_NAMELOOKUP_TIME_T);
	r->connected_us = time_of(c, CURLINFO_CONNECT_TIME_T);
	r->secured_us = time_of(c, CURLINFO_APPCONNECT_TIME_T);
	r->answered_us = time_of(c, CURLINFO_STARTTRANSFER_TIME_T);
	r->ended_us = time_of(c, CURLINFO_TOTAL_TIME_T);
	(void)curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &seconds);
	r->retry_after_ms = seconds > 0 && seconds < 366LL * 86400 ? (int64_t)seconds * 1000 : 0;
}

/* Tells the owner, once, and goes. */
static void tell(struct fetcher_call *c, struct fetcher_result *r)
{
	c->state = CALL_OVER;
	loop_timer_stop(c->fetcher->loop, &c->deadline);
	detach(c);
	r->url = c->url;
	r->redirects = c->redirects;
	r->wire_bytes = c->wire_bytes;
	r->plain_bytes = c->plain_bytes;
	c->handler->on_done(c->ctx, r);
	if (!c->queued)
		call_free(c);
}

/* What came of it: an error that was noted, libcurl's, or the status. */
static void say_result(struct fetcher_call *c, CURLcode code, struct fetcher_result *r, struct buf *text)
{
	r->class = class_of_status(r->status);
	if (!c->fault.err && (code == CURLE_OK || (c->discard && r->class != FETCHER_OK))) {
		if (r->class == FETCHER_OK)
			return;
		r->err = ERR_REMOTE_STATUS;
		say_place(c, text);
		say_status(c, r->status, text);
	} else if (c->fault.err) {
		r->err = c->fault.err;
		r->class = c->class;
		say_place(c, text);
		(void)buf_appendf(text, ": %s", c->fault.text);
	} else {
		fetcher_classify(code, &r->err, &r->class);
		say_place(c, text);
		(void)buf_appendf(text, ": %s", c->error[0] ? c->error : curl_easy_strerror(code));
	}
	(void)buf_append_byte(text, 0);
}

static void finish(struct fetcher_call *c, CURLcode code)
{
	struct fetcher_result r = {.status = call_status(c), .text = ""};
	struct buf text;

	detach(c);
	release_host(c);
	buf_init(&text, 1024);
	if (code == CURLE_OK && !c->fault.err && !c->begun && call_begin_body(c) < 0)
		code = CURLE_WRITE_ERROR;
	if (c->state == CALL_OVER) /* cancelled in on_head */
		return;
	if (code == CURLE_OK && !c->fault.err && c->unpacker && c->wire_bytes > 0 &&
	    unpacker_end(c->unpacker, &c->fault) < 0)
		c->class = FETCHER_TRANSIENT;
	fill_times(c, &r);
	say_result(c, code, &r, &text);
	if (text.len > 0)
		r.text = buf_status(&text) == 0 ? (const char *)text.ptr : err_row(r.err)->sentence;
	tell(c, &r);
	buf_fini(&text);
}

void call_fail(struct fetcher_call *c, int err, enum fetcher_class class, const char *why)
{
	call_note(c, err, class, why);
	c->begun = true;
	finish(c, CURLE_WRITE_ERROR);
}

/* ---- redirects ---- */

static void note_away(struct fetcher_call *c, const char *origin)
{
	char why[300];

	(void)snprintf(why, sizeof(why), "it redirects to another origin, %.200s, which is not followed",
		       origin);
	call_note(c, ERR_REMOTE_STATUS, FETCHER_FINAL, why);
}

/* Where this answer leads, or NULL: it is the last. What speaks against going there is noted. */
static const char *next_hop(struct fetcher_call *c, int status)
{
	char *url = NULL, here[512], there[512];
	bool same;

	if (c->follow == FETCHER_FOLLOW_NONE || c->fault.err || !call_is_redirect(status))
		return NULL;
	(void)curl_easy_getinfo(c->easy, CURLINFO_REDIRECT_URL, &url);
	if (!url || strlen(url) > FETCHER_URL_BYTES_MAX)
		return NULL;
	call_origin(c->url, here);
	call_origin(url, there);
	same = strcmp(here, there) == 0;
	if (!there[0])
		call_note(c, ERR_REMOTE_STATUS, FETCHER_FINAL,
			  "it redirects to what is not http or https, or has credentials in it");
	else if (c->redirects >= c->redirects_max)
		call_note(c, ERR_REMOTE_STATUS, FETCHER_FINAL, "it redirects more often than is followed");
	else if (!same && c->follow == FETCHER_FOLLOW_SAME_ORIGIN)
		note_away(c, there);
	else if (strncmp(here, "https:", 6) == 0 && strncmp(there, "http:", 5) == 0)
		call_note(c, ERR_REMOTE_STATUS, FETCHER_FINAL, "it redirects from https to http");
	else if (!same && c->has_body && (status == 307 || status == 308))
		call_note(c, ERR_REMOTE_STATUS, FETCHER_FINAL,
			  "it redirects a request with a body to another origin");
	if (c->fault.err)
		return NULL;
	c->drop_secrets = c->drop_secrets || !same;
	return url;
}

/* 301 to 303 make a GET of a POST, as all clients have it (RFC 9110 15.4). */
static bool go_on_as_get(struct fetcher_call *c, int status)
{
	char *method;

	if (status == 307 || status == 308 || strcmp(c->method, "HEAD") == 0)
		return true;
	if (status != 303 && strcmp(c->method, "POST") != 0)
		return true;
	method = mem_strndup("GET", 3);
	if (!method)
		return false;
	mem_free(c->method);
	c->method = method;
	c->has_body = false;
	return curl_easy_setopt(c->easy, CURLOPT_HTTPGET, 1L) == CURLE_OK &&
	       curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, "GET") == CURLE_OK;
}

/* False without memory. */
static bool follow(struct fetcher_call *c, const char *to, int status)
{
	char *url = mem_strndup(to, strlen(to));

	detach(c);
	if (!url)
		return false;
	mem_free(c->url);
	c->url = url;
	c->redirects++;
	c->begun = false;
	c->discard = false;
	c->wire_bytes = 0;
	c->discarded = 0;
	c->head_bytes = 0;
	c->snippet_len = 0;
	c->error[0] = '\0';
	if (!go_on_as_get(c, status) || curl_easy_setopt(c->easy, CURLOPT_URL, url) != CURLE_OK ||
	    !call_set_fields(c))
		return false;
	c->added = curl_multi_add_handle(c->fetcher->multi.curl, c->easy) == CURLM_OK;
	return c->added;
}

/* ---- what the loop calls ---- */

void call_ended(struct fetcher_call *c, CURLcode code)
{
	int status = call_status(c);
	const char *to;

	if (c->state == CALL_OVER)
		return;
	/* A body that is thrown away may be cut off: what counts is where the answer leads. */
	to = code == CURLE_OK || c->discard ? next_hop(c, status) : NULL;
	if (to) {
		if (!follow(c, to, status))
			call_fail(c, ERR_NOMEM, FETCHER_TRANSIENT,
				  "there is no memory to follow the redirect");
		return;
	}
	if (code == CURLE_OK && !c->fault.err && (c->held.len > 0 || c->pending)) {
		detach(c);
		release_host(c);
		c->code = code;
		c->state = CALL_DRAINING;
		return;
	}
	finish(c, code);
}

static void begin(struct fetcher_call *c)
{
	if (c->waiting_prev) /* asked for something meanwhile: it goes on waiting */
		return;
	if (c->host->running >= FETCHER_HOST_CALLS_MAX) {
		wait_for_host(c);
		return;
	}
	c->host->running++;
	c->holds = true;
	c->state = CALL_RUNNING;
	c->added = curl_multi_add_handle(c->fetcher->multi.curl, c->easy) == CURLM_OK;
	if (!c->added)
		call_fail(c, ERR_NOMEM, FETCHER_TRANSIENT, "there is no memory for the request");
}

/* Gives what is held, then lets libcurl go on. */
static void go_on(struct fetcher_call *c)
{
	struct slice held = buf_slice(&c->held);
	int rc = c->held.len > 0 || c->pending ? call_deliver(c, &held) : 0;

	if (c->state == CALL_OVER) /* cancelled meanwhile: its turn comes again */
		return;
	buf_consume(&c->held, c->held.len - held.len);
	if (rc < 0) {
		finish(c, CURLE_WRITE_ERROR);
	} else if (c->paused) {
		return;
	} else if (c->state == CALL_DRAINING) {
		finish(c, c->code);
	} else if (c->stalled) {
		c->stalled = false;
		if (curl_easy_pause(c->easy, CURLPAUSE_CONT) != CURLE_OK && c->state != CALL_OVER)
			finish(c, CURLE_WRITE_ERROR);
	}
}

void call_turn(struct fetcher_call *c)
{
	if (c->state == CALL_OVER)
		call_free(c);
	else if (c->state == CALL_WAITING)
		begin(c);
	else if (!c->paused)
		go_on(c);
}

void fetcher_cancel(struct fetcher_call *c)
{
	c->state = CALL_OVER;
	loop_timer_stop(c->fetcher->loop, &c->deadline);
	fetcher_queue(c);
}

void fetcher_pause(struct fetcher_call *c)
{
	c->paused = true;
}

void fetcher_resume(struct fetcher_call *c)
{
	if (!c->paused)
		return;
	c->paused = false;
	fetcher_queue(c);
}
