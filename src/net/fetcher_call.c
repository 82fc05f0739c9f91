/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request, from its options to its result, over as many hops as redirects make
 * of it. Redirects are followed here and not by libcurl: it would send
 * fields such as X-Api-Key to whatever origin an answer names, and POST bodies too.
 *
 * Addresses are shown to the guard twice: when a socket is made (which is after names were
 * resolved, so that a name that answers differently each time gains nothing), and before a
 * request is sent, since a reused connection makes no socket, and was perhaps made for a call with
 * another guard.
 *
 *	libcurl ── on_bytes ──┬─ unpacker ─ on_body      a pause stops here: what was taken and not
 *	                      └─ held                    unpacked is held (one read, 16 KiB), and
 *	                                                 libcurl is told to wait with the next piece
 */
#include "net/fetcher_inner.h"

#include <arpa/inet.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

#define MS_NS 1000000LL
#define URL_BYTES_MAX 16384u
#define FIELD_BYTES_MAX 32768u
#define DISCARD_BYTES_MAX 65536u
#define HELD_BYTES_MAX (1u << 20)

/* ---- what goes wrong ---- */

/* The first reason counts: what follows is its consequence. */
static void note(struct fetcher_call *c, int err, enum fetcher_class class, const char *why)
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

static int status_of(const struct fetcher_call *c)
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

/* ---- the head and the body of the answer ---- */

struct slice fetcher_header(struct fetcher_call *c, const char *name, size_t index)
{
	struct curl_header *header;

	if (curl_easy_header(c->easy, name, index, CURLH_HEADER, -1, &header) != CURLHE_OK)
		return slice_null();
	return slice_str(header->value);
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* The first byte of the body, or its absence: how it is taken. 0, or an error that was noted. */
static int begin_body(struct fetcher_call *c)
{
	struct unpack_limits limits = {.bytes_max = c->limits.bytes_max, .ratio_max = c->limits.ratio_max};
	int status = status_of(c);
	enum unpack_coding coding;
	curl_off_t length = -1;
	int rc = 0;

	c->begun = true;
	c->discard = (status < 200 || status >= 300) && (!c->bodies || is_redirect(status));
	if (c->discard)
		return 0;
	(void)curl_easy_getinfo(c->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	if (length > 0 && (uint64_t)length > c->limits.bytes_max && strcmp(c->method, "HEAD") != 0) {
		(void)fault_set(&c->fault, ERR_BODY_TOO_LARGE, "the body has %lld bytes, the limit is %llu",
				(long long)length, (unsigned long long)c->limits.bytes_max);
		c->class = FETCHER_FINAL;
		return ERR_BODY_TOO_LARGE;
	}
	if (!unpack_coding_of(fetcher_header(c, "content-encoding", 0), &coding)) {
		note(c, ERR_BAD_ENCODING, FETCHER_FINAL,
		     "the body has a Content-Encoding that was not asked for; expected gzip, zstd or none");
		return ERR_BAD_ENCODING;
	}
	if (coding != UNPACK_NONE)
		rc = unpacker_new(coding, &limits, &c->unpacker);
	if (rc < 0) {
		note(c, rc, FETCHER_TRANSIENT, "there is no memory to unpack the body");
		return rc;
	}
	if (c->handler->on_head)
		c->handler->on_head(c->ctx, status);
	return 0;
}

/* Printable bytes of a body that says why there is none. */
static void discard(struct fetcher_call *c, struct slice piece)
{
	for (size_t i = 0; i < piece.len && c->snippet_len < sizeof(c->snippet); i++) {
		bool blank = piece.ptr[i] <= ' ';

		if (blank && (c->snippet_len == 0 || c->snippet[c->snippet_len - 1] == ' '))
			continue;
		c->snippet[c->snippet_len++] = blank ? ' ' : piece.ptr[i] < 0x7f ? (char)piece.ptr[i] : '?';
	}
	c->discarded += piece.len;
}

/* True while the owner takes more. */
static bool is_open(const struct fetcher_call *c)
{
	return !c->paused && c->state != CALL_OVER;
}

/* Gives what can be given of *in (moves it on). 0, or an error that was noted. */
static int deliver(struct fetcher_call *c, struct slice *in)
{
	struct fault why = {0};
	int64_t n;

	if (!c->unpacker) {
		struct slice piece = *in;

		*in = slice_from(*in, in->len);
		c->plain_bytes += piece.len;
		if (piece.len > 0)
			c->handler->on_body(c->ctx, piece);
		return 0;
	}
	while (is_open(c)) {
		n = unpacker_next(c->unpacker, in, c->fetcher->scratch, FETCHER_SCRATCH_BYTES, &why);
		if (n < 0) {
			note(c, (int)n, n == ERR_BODY_TOO_LARGE ? FETCHER_FINAL : FETCHER_TRANSIENT,
			     why.text);
			return (int)n;
		}
		c->pending = n > 0;
		if (n == 0)
			return 0;
		c->plain_bytes += (uint64_t)n;
		c->handler->on_body(c->ctx, slice_make(c->fetcher->scratch, (size_t)n));
	}
	return 0;
}

/* Takes a piece that libcurl gives, all of it; 0 or an error that was noted. */
static int take(struct fetcher_call *c, struct slice piece)
{
	int rc;

	c->wire_bytes += piece.len;
	if (!c->discard && c->wire_bytes > c->limits.bytes_max) {
		(void)fault_set(&c->fault, ERR_BODY_TOO_LARGE, "the body is over the limit of %llu bytes",
				(unsigned long long)c->limits.bytes_max);
		c->class = FETCHER_FINAL;
		return ERR_BODY_TOO_LARGE;
	}
	if (c->discard) {
		discard(c, piece);
		return c->discarded > DISCARD_BYTES_MAX ? ERR_LIMIT : 0;
	}
	rc = deliver(c, &piece);
	if (rc == 0 && piece.len > 0 && c->state != CALL_OVER && buf_append_slice(&c->held, piece) < 0) {
		note(c, ERR_NOMEM, FETCHER_TRANSIENT, "there is no memory to hold the body");
		rc = ERR_NOMEM;
	}
	return rc;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *ctx)
{
	struct fetcher_call *c = ctx;
	size_t len = size * count;

	if (c->state == CALL_OVER || c->fault.err)
		return CURL_WRITEFUNC_ERROR;
	if (c->paused || c->held.len > 0 || c->pending) {
		c->stalled = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (!c->begun && begin_body(c) < 0)
		return CURL_WRITEFUNC_ERROR;
	if (c->paused) { /* in on_head */
		c->stalled = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (c->state == CALL_OVER || take(c, slice_make(bytes, len)) < 0 || c->state == CALL_OVER)
		return CURL_WRITEFUNC_ERROR;
	return len;
}

static size_t on_head_line(char *bytes, size_t size, size_t count, void *ctx)
{
	struct fetcher_call *c = ctx;
	size_t len = size * count;

	(void)bytes;
	if (len > c->limits.head_bytes_max - c->head_bytes) {
		note(c, ERR_HEADER_TOO_LARGE, FETCHER_FINAL, "the head of the answer is over the limit");
		return 0;
	}
	c->head_bytes += (uint32_t)len;
	return len;
}

/* ---- addresses ---- */

static bool is_allowed(struct fetcher_call *c, const uint8_t ip[16], uint16_t port)
{
	char text[64];

	if (!c->guard || c->guard(c->guard_ctx, ip, port))
		return true;
	c->denied = true;
	if (!c->fault.err) {
		address_text(ip, port, text);
		(void)fault_set(&c->fault, ERR_ADDRESS_FORBIDDEN, "the address %s may not be connected to",
				text);
		c->class = FETCHER_FINAL;
	}
	return false;
}

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct fetcher_call *c = ctx;
	uint8_t ip[16];
	uint16_t port;
	int fd;

	(void)purpose;
	if (address->family != AF_INET && address->family != AF_INET6)
		return CURL_SOCKET_BAD;
	address_unmap(&address->addr, ip, &port);
	if (c->denied || !is_allowed(c, ip, port)) /* one bad address is enough, whichever would answer */
		return CURL_SOCKET_BAD;
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	if (fd < 0)
		return CURL_SOCKET_BAD;
	c->fetcher->sockets++;
	return fd;
}

static int on_request(void *ctx, char *peer, char *local, int peer_port, int local_port)
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
	struct fetcher_call *c = ctx;
	uint8_t ip[16];

	(void)local;
	(void)local_port;
	if (!c->guard)
		return CURL_PREREQFUNC_OK;
	memcpy(ip, prefix, sizeof(prefix));
	if (inet_pton(AF_INET, peer, ip + 12) != 1 && inet_pton(AF_INET6, peer, ip) != 1) {
		note(c, ERR_ADDRESS_FORBIDDEN, FETCHER_FINAL,
		     "the peer has no address that could be looked at");
		return CURL_PREREQFUNC_ABORT;
	}
	return !c->denied && is_allowed(c, ip, (uint16_t)peer_port) ? CURL_PREREQFUNC_OK :
								      CURL_PREREQFUNC_ABORT;
}

/* ---- the request ---- */

/* Scheme, host and port of a URL, for comparison. "" for what is no http or https, or has credentials. */
static void origin_of(const char *url, char out[512])
{
	CURLU *u = curl_url();
	char *scheme = NULL, *host = NULL, *port = NULL, *user = NULL;

	out[0] = '\0';
	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER &&
	    (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) && strlen(host) < 300)
		(void)snprintf(out, 512, "%s://%s:%s", scheme, host, port);
	for (char *p = out; *p; p++)
		*p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(user);
	curl_url_cleanup(u);
}

int fetcher_resolve(const char *base, struct slice reference, struct buf *out, bool *same_origin)
{
	char *text = mem_strndup((const char *)reference.ptr, reference.len), *url = NULL, here[512],
	     there[512] = "";
	CURLU *u = curl_url();
	int rc = text && u ? 0 : ERR_NOMEM;

	if (rc == 0 && (reference.len > URL_BYTES_MAX || strlen(text) != reference.len))
		rc = ERR_BAD_PARAMETER;
	if (rc == 0 && (curl_url_set(u, CURLUPART_URL, base, 0) != CURLUE_OK ||
			curl_url_set(u, CURLUPART_URL, text, 0) != CURLUE_OK ||
			curl_url_get(u, CURLUPART_URL, &url, 0) != CURLUE_OK))
		rc = ERR_BAD_PARAMETER;
	if (rc == 0) {
		origin_of(base, here);
		origin_of(url, there);
		rc = there[0] ? buf_append(out, url, strlen(url) + 1) : ERR_BAD_PARAMETER;
	}
	if (rc == 0) {
		out->len--;
		*same_origin = strcmp(here, there) == 0;
	}
	curl_free(url);
	curl_url_cleanup(u);
	mem_free(text);
	return rc;
}

static bool append_line(struct curl_slist **list, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*list, line);

	if (longer)
		*list = longer;
	return longer != NULL;
}

static bool append_field(struct curl_slist **list, const struct fetcher_field *field)
{
	struct buf line;
	bool ok;

	buf_init(&line, FIELD_BYTES_MAX + 4);
	(void)buf_append_slice(&line, field->name);
	(void)buf_append_str(&line,
			     field->value.len > 0 ? ": " : ";"); /* libcurl's way to send an empty one */
	(void)buf_append_slice(&line, field->value);
	ok = buf_append_byte(&line, 0) == 0 && append_line(list, (const char *)line.ptr);
	buf_fini(&line);
	return ok;
}

static bool has_field(const struct fetcher_call *c, struct slice name)
{
	for (uint32_t i = 0; i < c->field_count; i++)
		if (slice_eq_nocase(c->fields[i].name, name))
			return true;
	return false;
}

/* The fields of this hop. False without memory. */
static bool set_fields(struct fetcher_call *c)
{
	struct curl_slist *list = NULL;
	bool ok = append_line(&list, "Expect:"); /* no 100-continue: it costs a round trip or a second */

	if (c->has_body && !has_field(c, SLICE_LIT("content-type")))
		ok = ok && append_line(&list, "Content-Type:"); /* libcurl would call it a form */
	for (uint32_t i = 0; i < c->field_count && ok; i++)
		if (!c->drop_secrets || !c->fields[i].secret)
			ok = append_field(&list, &c->fields[i]);
	if (!ok) {
		curl_slist_free_all(list);
		return false;
	}
	(void)curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, list);
	curl_slist_free_all(c->list);
	c->list = list;
	return true;
}

static CURLcode set_method(struct fetcher_call *c, struct slice body)
{
	CURLcode rc = CURLE_OK;

	if (strcmp(c->method, "HEAD") == 0)
		return curl_easy_setopt(c->easy, CURLOPT_NOBODY, 1L);
	if (body.ptr || strcmp(c->method, "POST") == 0) {
		c->has_body = true;
		rc = curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
		if (rc == CURLE_OK)
			rc = curl_easy_setopt(c->easy, CURLOPT_COPYPOSTFIELDS,
					      body.ptr ? (const char *)body.ptr : "");
	} else {
		rc = curl_easy_setopt(c->easy, CURLOPT_HTTPGET, 1L);
	}
	return rc ? rc : curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, c->method);
}

CURLcode fetcher_set_tls(CURL *easy, const struct fetcher_tls *tls)
{
	CURLcode rc = curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);

	if (!rc && tls->ca_file)
		rc = curl_easy_setopt(easy, CURLOPT_CAINFO, tls->ca_file);
	if (!rc && tls->ca_file)
		rc = curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (!rc && tls->cert_file)
		rc = curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->cert_file);
	if (!rc && tls->cert_file && tls->key_file)
		rc = curl_easy_setopt(easy, CURLOPT_SSLKEY, tls->key_file);
	if (!rc && tls->key_password)
		rc = curl_easy_setopt(easy, CURLOPT_KEYPASSWD, tls->key_password);
	if (!rc && tls->insecure) {
		(void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
		(void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	return rc;
}

/* What does not depend on the options. Proxies of the environment would hide the address from the guard. */
static CURLcode set_always(struct fetcher_call *c)
{
	CURL *e = c->easy;

	(void)curl_easy_setopt(e, CURLOPT_PRIVATE, c);
	(void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->error);
	(void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	(void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_bytes);
	(void)curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
	(void)curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_head_line);
	(void)curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
	(void)curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
	(void)curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, c);
	(void)curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_request);
	(void)curl_easy_setopt(e, CURLOPT_PREREQDATA, c);
	(void)curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, 60L);
	(void)curl_easy_setopt(e, CURLOPT_USERAGENT, "weir/" WEIR_VERSION);
	(void)curl_easy_setopt(e, CURLOPT_PROXY, "");
	return curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
}

static CURLcode set_up(struct fetcher_call *c, const struct fetcher_options *options)
{
	CURLcode rc = set_always(c);

	if (!rc)
		rc = curl_easy_setopt(c->easy, CURLOPT_URL, c->url);
	if (!rc)
		rc = set_method(c, options->body);
	if (!rc)
		rc = fetcher_set_tls(c->easy, &options->tls);
	if (!rc)
		rc = curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)c->limits.connect_ms);
	if (!rc)
		rc = curl_easy_setopt(c->easy, CURLOPT_LOW_SPEED_LIMIT, (long)c->limits.slow_bytes);
	if (!rc)
		rc = curl_easy_setopt(c->easy, CURLOPT_LOW_SPEED_TIME, (long)c->limits.slow_seconds);
	if (!rc && !set_fields(c))
		rc = CURLE_OUT_OF_MEMORY;
	return rc;
}

/* ---- hosts ---- */

/*
 * libcurl would let calls wait for a connection too, in a list that it walks for each call that ends, with a buffer of 16 KiB for
 * each: ten thousand sources that are due at once took it a second of processor time and 300 MiB.
 */
static int join_host(struct fetcher_call *c, const char *origin)
{
	static const struct hash_key key = {.k0 = 0x66657463, .k1 = 0x686f7374};
	uint64_t hash = hash_sip13(&key, slice_str(origin));
	size_t n = strlen(origin) + 1;
	struct fetcher_host *h;

	for (struct table_node *at = table_first(&c->fetcher->hosts, hash); at && !c->host;
	     at = table_next(at))
		if (strcmp(((struct fetcher_host *)at)->origin, origin) == 0)
			c->host = (struct fetcher_host *)at;
	if (!c->host) {
		h = mem_zalloc(1, sizeof(*h) + n);
		if (!h)
			return ERR_NOMEM;
		memcpy(h->origin, origin, n);
		h->waiting_end = &h->waiting;
		table_add(&c->fetcher->hosts, &h->node, hash);
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

/* ---- options ---- */

static bool is_token(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", s.ptr[i]))
			return false;
	return s.len > 0;
}

static bool is_value(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((s.ptr[i] < ' ' && s.ptr[i] != '\t') || s.ptr[i] == 0x7f)
			return false;
	return true;
}

static int check_options(const struct fetcher_options *o, struct fault *fault)
{
	if (o->url.len > URL_BYTES_MAX || o->url.len == 0 || memchr(o->url.ptr, 0, o->url.len))
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "the URL has %zu bytes; expected 1 to %u, none of them NUL", o->url.len,
				 URL_BYTES_MAX);
	for (size_t i = 0; i < o->url.len; i++)
		if (o->url.ptr[i] <= ' ' || o->url.ptr[i] >= 0x7f)
			return fault_set(
				fault, ERR_BAD_PARAMETER,
				"the URL has the byte 0x%02x at %zu, which is to be written as %%%02X",
				o->url.ptr[i], i, o->url.ptr[i]);
	if (o->method && !is_token(slice_str(o->method)))
		return fault_set(fault, ERR_BAD_PARAMETER, "the method is not a token, such as GET or POST");
	for (uint32_t i = 0; i < o->field_count; i++)
		if (!is_token(o->fields[i].name) || !is_value(o->fields[i].value) ||
		    o->fields[i].name.len + o->fields[i].value.len > FIELD_BYTES_MAX)
			return fault_set(
				fault, ERR_BAD_PARAMETER,
				"the header '%.*s' has a line break, a control character, or is too long",
				(int)(o->fields[i].name.len > 60 ? 60 : o->fields[i].name.len),
				(const char *)o->fields[i].name.ptr);
	return 0;
}

/* The value of Authorization; appended to the block of fields. */
static int say_auth(const struct fetcher_options *o, struct buf *out)
{
	struct buf pair;
	size_t len;
	int rc;

	if (o->auth == FETCHER_AUTH_BEARER) {
		(void)buf_append_str(out, "Bearer ");
		return buf_append_slice(out, o->secret);
	}
	buf_init(&pair, FIELD_BYTES_MAX);
	(void)buf_append_slice(&pair, o->user);
	(void)buf_append_byte(&pair, ':');
	(void)buf_append_slice(&pair, o->secret);
	(void)buf_append_str(out, "Basic ");
	len = base64_encoded_len(BASE64_STANDARD, pair.len);
	rc = buf_status(&pair) ? buf_status(&pair) : buf_reserve(out, len);
	if (rc == 0)
		out->len += base64_encode(BASE64_STANDARD, buf_slice(&pair), (char *)out->ptr + out->len);
	buf_fini(&pair);
	return rc;
}

/* Copies the fields, with what the options add to them, into c->fields and the bytes behind them. */
static int copy_fields(struct fetcher_call *c, const struct fetcher_options *o)
{
	uint32_t count = o->field_count + (o->auth ? 1u : 0u) + (o->packed ? 1u : 0u), n = 0;
	size_t bytes = 0;
	struct buf auth;
	uint8_t *at;
	int rc = 0;

	buf_init(&auth, FIELD_BYTES_MAX);
	if (o->auth)
		rc = say_auth(o, &auth);
	for (uint32_t i = 0; i < o->field_count; i++)
		bytes += o->fields[i].name.len + o->fields[i].value.len;
	c->fields = rc ? NULL : mem_alloc(count * sizeof(*c->fields) + bytes + auth.len + 1);
	if (!c->fields) {
		buf_fini(&auth);
		return rc ? rc : ERR_NOMEM;
	}
	at = (uint8_t *)&c->fields[count];
	for (; n < o->field_count; n++) {
		const struct fetcher_field *f = &o->fields[n];
		struct slice name = slice_make(at, f->name.len),
			     value = slice_make(at + f->name.len, f->value.len);

		if (f->name.len)
			memcpy(at, f->name.ptr, f->name.len);
		if (f->value.len)
			memcpy(at + f->name.len, f->value.ptr, f->value.len);
		at += f->name.len + f->value.len;
		c->fields[n] = (struct fetcher_field){name, value, f->secret};
	}
	if (o->packed)
		c->fields[n++] =
			(struct fetcher_field){SLICE_LIT("Accept-Encoding"), SLICE_LIT("gzip, zstd"), false};
	if (o->auth) {
		memcpy(at, auth.ptr, auth.len);
		c->fields[n++] =
			(struct fetcher_field){SLICE_LIT("Authorization"), slice_make(at, auth.len), true};
	}
	c->field_count = n;
	buf_fini(&auth);
	return 0;
}

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
	if (!c->method || !c->url || copy_fields(c, o) < 0)
		return fault_set(fault, ERR_NOMEM, "there is no memory for the request");
	for (uint32_t i = 0; i < c->field_count; i++)
		if (!is_value(c->fields[i].value))
			return fault_set(fault, ERR_BAD_PARAMETER,
					 "the credentials have a control character");
	origin_of(c->url, origin);
	if (!origin[0])
		return fault_set(
			fault, ERR_BAD_PARAMETER,
			"'%.100s' is not a URL for this; expected http:// or https://, a host, and no "
			"user or password in it",
			c->url);
	code = join_host(c, origin) ? CURLE_OUT_OF_MEMORY : set_up(c, o);
	if (code == CURLE_OUT_OF_MEMORY)
		return fault_set(fault, ERR_NOMEM, "there is no memory for the request");
	if (code != CURLE_OK)
		return fault_set(fault, ERR_BAD_PARAMETER, "%s", curl_easy_strerror(code));
	return 0;
}

int call_new(struct fetcher *f, const struct fetcher_options *o, struct fetcher_call **out,
	     struct fault *fault)
{
	int rc = check_options(o, fault);
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
	struct fetcher_result r = {.status = status_of(c), .text = ""};
	struct buf text;

	detach(c);
	release_host(c);
	buf_init(&text, 1024);
	if (code == CURLE_OK && !c->fault.err && !c->begun && begin_body(c) < 0)
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
	note(c, err, class, why);
	c->begun = true;
	finish(c, CURLE_WRITE_ERROR);
}

/* ---- redirects ---- */

static void note_away(struct fetcher_call *c, const char *origin)
{
	char why[300];

	(void)snprintf(why, sizeof(why), "it redirects to another origin, %.200s, which is not followed",
		       origin);
	note(c, ERR_REMOTE_STATUS, FETCHER_FINAL, why);
}

/* Where this answer leads, or NULL: it is the last. What speaks against going there is noted. */
static const char *next_hop(struct fetcher_call *c, int status)
{
	char *url = NULL, here[512], there[512];
	bool same;

	if (c->follow == FETCHER_FOLLOW_NONE || c->fault.err || !is_redirect(status))
		return NULL;
	(void)curl_easy_getinfo(c->easy, CURLINFO_REDIRECT_URL, &url);
	if (!url || strlen(url) > URL_BYTES_MAX)
		return NULL;
	origin_of(c->url, here);
	origin_of(url, there);
	same = strcmp(here, there) == 0;
	if (!there[0])
		note(c, ERR_REMOTE_STATUS, FETCHER_FINAL,
		     "it redirects to what is not http or https, or has credentials in it");
	else if (c->redirects >= c->redirects_max)
		note(c, ERR_REMOTE_STATUS, FETCHER_FINAL, "it redirects more often than is followed");
	else if (!same && c->follow == FETCHER_FOLLOW_SAME_ORIGIN)
		note_away(c, there);
	else if (strncmp(here, "https:", 6) == 0 && strncmp(there, "http:", 5) == 0)
		note(c, ERR_REMOTE_STATUS, FETCHER_FINAL, "it redirects from https to http");
	else if (!same && c->has_body && (status == 307 || status == 308))
		note(c, ERR_REMOTE_STATUS, FETCHER_FINAL,
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
	    !set_fields(c))
		return false;
	c->added = curl_multi_add_handle(c->fetcher->multi.curl, c->easy) == CURLM_OK;
	return c->added;
}

/* ---- what the loop calls ---- */

void call_ended(struct fetcher_call *c, CURLcode code)
{
	int status = status_of(c);
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
	int rc = c->held.len > 0 || c->pending ? deliver(c, &held) : 0;

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
