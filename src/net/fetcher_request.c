/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libcurl is told of a request, and what it asks back before it connects.
 *
 * Addresses are shown to the guard twice: when a socket is made (which is after names were
 * resolved, so that a name that answers differently each time gains nothing), and before a
 * request is sent, since a reused connection makes no socket, and was perhaps made for a call with
 * another guard.
 */
#include <arpa/inet.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/mem.h"
#include "net/fetcher_inner.h"

#define FIELD_BYTES_MAX 32768u

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

static void note_socket(struct fetcher_call *c, int fd)
{
	struct fetcher_socket *s;
	char origin[512];
	size_t n;

	call_origin(c->url, origin);
	n = strlen(origin) + 1;
	s = mem_alloc(sizeof(*s) + n);
	if (!s)
		return;
	*s = (struct fetcher_socket){.next = c->fetcher->open, .fd = fd};
	memcpy(s->origin, origin, n);
	c->fetcher->open = s;
}

/* The call that asked for it may be long gone. */
static int on_close(void *ctx, curl_socket_t fd)
{
	struct fetcher *f = ctx;
	struct fetcher_socket **at = &f->open, *s;

	while (*at && (*at)->fd != fd)
		at = &(*at)->next;
	s = *at;
	if (s)
		*at = s->next;
	mem_free(s);
	return close(fd);
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
	note_socket(c, fd);
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
		call_note(c, ERR_ADDRESS_FORBIDDEN, FETCHER_FINAL,
			  "the peer has no address that could be looked at");
		return CURL_PREREQFUNC_ABORT;
	}
	return !c->denied && is_allowed(c, ip, (uint16_t)peer_port) ? CURL_PREREQFUNC_OK :
								      CURL_PREREQFUNC_ABORT;
}

/* ---- the request ---- */

void call_origin(const char *url, char out[512])
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

	if (rc == 0 && (reference.len > FETCHER_URL_BYTES_MAX || strlen(text) != reference.len))
		rc = ERR_BAD_PARAMETER;
	if (rc == 0 && (curl_url_set(u, CURLUPART_URL, base, 0) != CURLUE_OK ||
			curl_url_set(u, CURLUPART_URL, text, 0) != CURLUE_OK ||
			curl_url_get(u, CURLUPART_URL, &url, 0) != CURLUE_OK))
		rc = ERR_BAD_PARAMETER;
	if (rc == 0) {
		call_origin(base, here);
		call_origin(url, there);
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

bool call_set_fields(struct fetcher_call *c)
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
	(void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, call_on_bytes);
	(void)curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
	(void)curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, call_on_head_line);
	(void)curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
	(void)curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
	(void)curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, c);
	(void)curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	(void)curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, c->fetcher);
	(void)curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_request);
	(void)curl_easy_setopt(e, CURLOPT_PREREQDATA, c);
	(void)curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, 60L);
	(void)curl_easy_setopt(e, CURLOPT_USERAGENT, "weir/" WEIR_VERSION);
	(void)curl_easy_setopt(e, CURLOPT_PROXY, "");
	return curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
}

CURLcode call_set_up(struct fetcher_call *c, const struct fetcher_options *options)
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
	if (!rc && !call_set_fields(c))
		rc = CURLE_OUT_OF_MEMORY;
	return rc;
}

/* ---- options ---- */

static bool is_token(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", s.ptr[i]))
			return false;
	return s.len > 0;
}

bool call_is_value(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((s.ptr[i] < ' ' && s.ptr[i] != '\t') || s.ptr[i] == 0x7f)
			return false;
	return true;
}

int call_check_options(const struct fetcher_options *o, struct fault *fault)
{
	if (o->url.len > FETCHER_URL_BYTES_MAX || o->url.len == 0 || memchr(o->url.ptr, 0, o->url.len))
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "the URL has %zu bytes; expected 1 to %u, none of them NUL", o->url.len,
				 FETCHER_URL_BYTES_MAX);
	for (size_t i = 0; i < o->url.len; i++)
		if (o->url.ptr[i] <= ' ' || o->url.ptr[i] >= 0x7f)
			return fault_set(
				fault, ERR_BAD_PARAMETER,
				"the URL has the byte 0x%02x at %zu, which is to be written as %%%02X",
				o->url.ptr[i], i, o->url.ptr[i]);
	if (o->method && !is_token(slice_str(o->method)))
		return fault_set(fault, ERR_BAD_PARAMETER, "the method is not a token, such as GET or POST");
	for (uint32_t i = 0; i < o->field_count; i++)
		if (!is_token(o->fields[i].name) || !call_is_value(o->fields[i].value) ||
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

int call_copy_fields(struct fetcher_call *c, const struct fetcher_options *o)
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
