/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>

#include "serve/http/private.h"

/*
 * What keeps other people's web pages away. Loopback protects nobody whose
 * browser runs on the same machine: any page may send requests there, and a
 * name that is rebound to 127.0.0.1 makes them same-origin. Hence two checks on
 * every route: a foreign Origin must be allowed by name, and while there are no
 * credentials, Host must be a name that cannot be rebound or one that is listed.
 * Referer and X-Forwarded-Host are not looked at: they say what the sender likes.
 */

/* An Origin is foreign where its authority is not the Host's; default ports are left out of both. */
static struct slice without_default_port(struct slice authority, const char *port)
{
	struct slice tail = slice_str(port);

	if (authority.len > tail.len && slice_eq(slice_from(authority, authority.len - tail.len), tail))
		authority.len -= tail.len;
	return authority;
}

static bool same_origin(struct slice origin, struct slice host)
{
	const char *port = ":80";
	size_t scheme = 7;

	if (slice_starts(origin, SLICE_LIT("https://"))) {
		port = ":443";
		scheme = 8;
	} else if (!slice_starts(origin, SLICE_LIT("http://"))) {
		return false;
	}
	return slice_eq_nocase(without_default_port(slice_from(origin, scheme), port),
			       without_default_port(host, port));
}

static bool listed(const char *const *list, struct slice value)
{
	for (; list && *list; list++)
		if (slice_eq_nocase(slice_str(*list), value))
			return true;
	return false;
}

static bool origin_allowed(const struct http_options *options, struct slice origin)
{
	return listed(options->origins, origin) || listed(options->origins, SLICE_LIT("*"));
}

static bool loopback_address(struct slice host)
{
	struct in6_addr v6;
	struct in_addr v4;
	char text[48];

	if (host.len >= sizeof(text))
		return false;
	memcpy(text, host.ptr, host.len);
	text[host.len] = '\0';
	if (inet_pton(AF_INET, text, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127;
	return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* "localhost" and names below it never leave the machine (RFC 6761 6.3). */
static bool loopback_name(struct slice host)
{
	struct slice below = SLICE_LIT(".localhost");

	if (slice_eq_nocase(host, SLICE_LIT("localhost")))
		return true;
	return host.len > below.len && slice_eq_nocase(slice_from(host, host.len - below.len), below);
}

/* The usual Host: parsing is not free. The request's parser has found the authority well-formed. */
static bool is_127_0_0_1(struct slice authority)
{
	return slice_starts(authority, SLICE_LIT("127.0.0.1")) &&
	       (authority.len == 9 || authority.ptr[9] == ':');
}

/* The name alone ("[::1]" with its brackets or without) stands for every port; with a port it must be this one. */
static bool host_listed(const char *const *list, struct slice authority, struct slice host)
{
	struct slice name = host;

	if (authority.ptr[0] == '[')
		name = slice_make(authority.ptr, host.len + 2);
	return listed(list, authority) || listed(list, name) || listed(list, host);
}

static bool host_allowed(const struct http_options *options, struct slice authority)
{
	struct slice host;
	int port;

	if (options->credentials)
		return true;
	/* HTTP/1.0 without Host: no browser sends that. */
	if (!authority.ptr)
		return true;
	if (is_127_0_0_1(authority))
		return true;
	if (!http_authority_split(authority, &host, &port))
		return false;
	return loopback_name(host) || loopback_address(host) || host_listed(options->hosts, authority, host);
}

int policy_check(const struct http_options *options, struct exchange *x, const char **detail)
{
	const struct http_headers *h = &x->request.headers;
	struct slice origin;
	int r = http_header_one(h, SLICE_LIT("origin"), &origin);

	if (!host_allowed(options, x->request.host)) {
		*detail =
			"Without credentials in the configuration, Host must be a loopback name or address or one "
			"that is listed";
		return ERR_FORBIDDEN_HOST;
	}
	if (r == 0)
		return 0;
	if (r < 0) {
		*detail = "Origin is repeated; it must stand once";
		return ERR_BAD_HEADER;
	}
	if (same_origin(origin, x->request.host))
		return 0;
	if (!origin_allowed(options, origin)) {
		*detail =
			"The Origin is not this server's; the configuration must list it for a page of it to be served";
		return ERR_FORBIDDEN_ORIGIN;
	}
	x->cors = options->cors;
	return 0;
}

void policy_cors(struct exchange *x)
{
	struct slice origin;

	if (!x->cors || http_header_one(&x->request.headers, SLICE_LIT("origin"), &origin) != 1)
		return;
	x->cors = false;
	(void)!exchange_add_header(x, SLICE_LIT("Access-Control-Allow-Origin"), origin);
	(void)!exchange_add_header(x, SLICE_LIT("Access-Control-Expose-Headers"),
				   SLICE_LIT("ETag, Retry-After, Idempotent-Replayed"));
	(void)!exchange_add_header(x, SLICE_LIT("Vary"), SLICE_LIT("Origin"));
}

bool policy_is_preflight(const struct exchange *x)
{
	return x->cors && x->request.method == HTTP_OPTIONS &&
	       http_header_find(&x->request.headers, SLICE_LIT("access-control-request-method"));
}

void policy_preflight(struct exchange *x, uint32_t methods)
{
	struct slice wanted;
	char room[64];

	(void)!exchange_add_header(x, SLICE_LIT("Access-Control-Allow-Methods"), methods_text(methods, room));
	if (exchange_header(x, SLICE_LIT("access-control-request-headers"), &wanted) == 1)
		(void)!exchange_add_header(x, SLICE_LIT("Access-Control-Allow-Headers"), wanted);
	(void)!exchange_add_header(x, SLICE_LIT("Access-Control-Max-Age"), SLICE_LIT("600"));
	exchange_answer(x, 204, NULL, slice_null());
}
