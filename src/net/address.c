/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

#include "net/net_private.h"

/* Splits at the last colon; brackets round an IPv6 host are taken off. False where it has not that form. */
static bool split_address(const char *text, struct slice *host, struct slice *port)
{
	const char *colon = strrchr(text, ':');

	if (!colon)
		return false;
	*host = slice_make(text, (size_t)(colon - text));
	*port = slice_str(colon + 1);
	if (host->len >= 2 && host->ptr[0] == '[' && host->ptr[host->len - 1] == ']') {
		*host = slice_make(host->ptr + 1, host->len - 2);
		return host->len > 0;
	}
	return memchr(host->ptr, ':', host->len) == NULL; /* [] is needed where the host has colons */
}

static int resolve_host(const char *host, uint16_t port, union net_address *out)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL, *best;

	if (getaddrinfo(host, NULL, &hints, &list) != 0)
		return ERR_NOT_FOUND;
	for (best = list; best && best->ai_family != AF_INET; best = best->ai_next)
		;
	if (!best)
		best = list; /* IPv4 first: localhost then means what clients try first too */
	if (best->ai_addrlen > sizeof(*out)) {
		freeaddrinfo(list);
		return ERR_NOT_FOUND;
	}
	memcpy(out, best->ai_addr, best->ai_addrlen);
	freeaddrinfo(list);
	if (out->any.sa_family == AF_INET)
		out->v4.sin_port = htons(port);
	else
		out->v6.sin6_port = htons(port);
	return 0;
}

int address_parse(const char *text, union net_address *out, struct fault *fault)
{
	struct slice host, port;
	uint64_t number;
	char name[256];

	memset(out, 0, sizeof(*out));
	if (!split_address(text, &host, &port))
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "'%s' is not an address; expected HOST:PORT, [IPv6]:PORT or :PORT", text);
	if (!slice_to_u64(port, &number) || number > 65535)
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "'%s' has no port; expected a number from 0 to 65535", text);
	if (host.len == 0 || slice_eq_str(host, "*")) {
		out->v6.sin6_family = AF_INET6;
		out->v6.sin6_port = htons((uint16_t)number);
		return 0;
	}
	if (host.len >= sizeof(name))
		return fault_set(fault, ERR_BAD_PARAMETER, "the host name in the address is too long");
	memcpy(name, host.ptr, host.len);
	name[host.len] = '\0';
	if (resolve_host(name, (uint16_t)number, out) < 0)
		return fault_set(fault, ERR_BAD_PARAMETER, "'%s' names no address of this machine", name);
	return 0;
}

void address_text(const uint8_t ip[16], uint16_t port, char out[64])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char host[INET6_ADDRSTRLEN] = "";

	if (memcmp(ip, mapped, sizeof(mapped)) == 0) {
		(void)inet_ntop(AF_INET, ip + 12, host, sizeof(host));
		(void)snprintf(out, 64, "%s:%u", host, port);
	} else {
		(void)inet_ntop(AF_INET6, ip, host, sizeof(host));
		(void)snprintf(out, 64, "[%s]:%u", host, port);
	}
}

void address_unmap(const struct sockaddr *from, uint8_t ip[16], uint16_t *port)
{
	memset(ip, 0, 16);
	if (from->sa_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)from;

		ip[10] = 0xff;
		ip[11] = 0xff;
		memcpy(ip + 12, &v4->sin_addr, 4);
		*port = ntohs(v4->sin_port);
	} else if (from->sa_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)from;

		memcpy(ip, &v6->sin6_addr, 16);
		*port = ntohs(v6->sin6_port);
	} else {
		*port = 0;
	}
}

socklen_t address_bytes(const union net_address *a)
{
	return a->any.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}
