/* SPDX-License-Identifier: Apache-2.0 */
/* From a URL to an open connection, and the request that is sent first (RFC 6455 section 4.1). */
#include <stdio.h>

#include "connect/websocket/inner.h"

#define URL_BYTES_MAX 20000u

/* The URL's authority and its path with the query, for the request. */
static void split_url(struct slice url, struct slice *host, struct buf *target)
{
	struct slice rest = slice_from(url, slice_starts(url, SLICE_LIT("wss")) ? 6 : 5);
	size_t n = 0, m;

	while (n < rest.len && !strchr("/?#", rest.ptr[n]))
		n++;
	*host = slice_make(rest.ptr, n);
	for (m = n; m < rest.len && rest.ptr[m] != '#';)
		m++;
	if (n == m || rest.ptr[n] != '/')
		(void)buf_append_byte(target, '/');
	(void)buf_append(target, rest.ptr + n, m - n);
}

static int put_headers(struct link *l, struct buf *extra)
{
	const struct conf_map *h = &l->feed->settings->headers;
	struct buf value;
	int rc = buf_append_str(extra, "User-Agent: weir/" WEIR_VERSION "\r\n");

	for (uint32_t i = 0; i < h->count && rc == 0; i++) {
		buf_init(&value, 32768);
		rc = template_expand(slice_str(h->values[i]), TEMPLATE_PLAIN, link_lookup, l, &value);
		if (rc == 0 &&
		    (!http_token_valid(slice_str(h->names[i])) || !http_value_valid(buf_slice(&value))))
			rc = ERR_BAD_HEADER;
		(void)buf_append_str(extra, h->names[i]);
		(void)buf_append_str(extra, ": ");
		(void)buf_append_slice(extra, buf_slice(&value));
		(void)buf_append_str(extra, "\r\n");
		buf_fini(&value);
		rc = rc ? rc : buf_status(extra);
		if (rc)
			link_lose(l, SOURCE_FINAL,
				  "the header %.60s has a line break, a control character, or is too long",
				  h->names[i]);
	}
	return rc;
}

static void on_open(void *ctx)
{
	struct link *l = ctx;
	struct ws_client_options options = {.protocol = l->feed->settings->protocol};
	struct buf request, extra, target;
	uint8_t nonce[16];

	buf_init(&request, 1u << 17);
	buf_init(&extra, 1u << 16);
	buf_init(&target, URL_BYTES_MAX);
	split_url(buf_slice(&l->id), &options.host, &target);
	options.target = buf_slice(&target);
	if (link_new_mask(l, nonce, sizeof(nonce)) && put_headers(l, &extra) == 0) {
		(void)ws_client_request(&l->client, &options, nonce, buf_slice(&extra), &request);
		link_send_bytes(l, &request);
	}
	buf_fini(&request);
	buf_fini(&extra);
	buf_fini(&target);
	l->state = LINK_UPGRADING;
	l->opened_ns = l->heard_ns = l->pinged_ns = link_now(l);
	link_stir(l);
}

static void on_failed(void *ctx, const struct dial_failure *failure)
{
	struct link *l = ctx;

	link_lose(l, failure->class == FETCHER_FINAL ? SOURCE_FINAL : SOURCE_TRANSIENT, "%s", failure->text);
	link_stir(l);
}

static void on_ready(void *ctx)
{
	link_stir(ctx);
}

static const struct dial_handler handler = {.on_open = on_open, .on_failed = on_failed, .on_ready = on_ready};

/* As bytes that may stand in a request, without credentials. */
static bool is_sound(struct slice url)
{
	for (size_t i = 0; i < url.len; i++)
		if (url.ptr[i] <= ' ' || url.ptr[i] >= 0x7f)
			return false;
	for (size_t i = 5; i < url.len && !(i > 6 && strchr("/?#", url.ptr[i])); i++)
		if (url.ptr[i] == '@')
			return false;
	return true;
}

int link_dial(struct link *l, struct fault *fault)
{
	const struct websocket_settings *s = l->feed->settings;
	struct dial_options options = {.tls = {.ca_file = s->tls_ca,
					       .cert_file = s->tls_cert,
					       .key_file = s->tls_key,
					       .insecure = !s->tls_verify},
				       .connect_ms = s->connect_timeout_ms,
				       .output_bytes_max = 2 * LINK_SENT_BYTES_MAX,
				       .guard = l->feed->guard,
				       .handler = &handler,
				       .ctx = l};
	struct slice url, host;
	struct buf plain, target;
	size_t cut;
	int rc = template_expand(slice_str(s->url), TEMPLATE_URL, link_lookup, l, &l->id);

	if (rc)
		return fault_set(fault, rc, "the URL is too long, or there is no memory for it");
	url = buf_slice(&l->id);
	for (cut = 0; cut < url.len && url.ptr[cut] != '?' && url.ptr[cut] != '#';)
		cut++;
	(void)snprintf(l->place_text, sizeof(l->place_text), "source %s: %.*s%s", l->feed->name,
		       (int)(cut < 200 ? cut : 200), (const char *)url.ptr, cut < url.len ? "?..." : "");
	if (!is_sound(url))
		return fault_set(
			fault, ERR_BAD_PARAMETER,
			"the URL has blanks, other than ASCII, or credentials; expected wss://HOST/PATH, and "
			"credentials in headers or as {token}");
	buf_init(&plain, URL_BYTES_MAX);
	buf_init(&target, URL_BYTES_MAX);
	split_url(url, &host, &target);
	(void)buf_append_str(&plain, slice_starts(url, SLICE_LIT("wss")) ? "https://" : "http://");
	(void)buf_append_slice(&plain, host);
	options.url = buf_slice(&plain);
	rc = buf_status(&plain) ? fault_set(fault, ERR_NOMEM, "there is no memory for the URL") :
				  dial_start(l->feed->loop, &options, &l->dial, fault);
	buf_fini(&plain);
	buf_fini(&target);
	return rc;
}
