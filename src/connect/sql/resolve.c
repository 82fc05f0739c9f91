/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For sources made over the API: the name is resolved here, the address is judged, and the library is
 * given that address, so that it cannot resolve to another one between the look and the connection.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>

#include "connect/sql/resolve.h"
#include "net/guard.h"

static void mapped(const struct sockaddr *a, uint8_t ip[16])
{
	static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	if (a->sa_family == AF_INET6) {
		memcpy(ip, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, 16);
		return;
	}
	memcpy(ip, prefix, sizeof(prefix));
	memcpy(ip + 12, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
}

static int forbidden(struct sql_failure *why, const char *text)
{
	return sql_failed(why, ERR_FORBIDDEN, SOURCE_FINAL, true, "42501", text);
}

/* All that a name leads to must be public: which of them is taken is the library's choice otherwise. */
int sql_resolve_public(const char *host, const char *port, struct sql_address *out, struct sql_failure *why)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *all, *a;
	uint64_t number;
	int rc;

	if (!host || !*host || strpbrk(host, ",/"))
		return forbidden(why, "a source made over the API names one host");
	if (!slice_to_u64(slice_str(port), &number) || number == 0 || number > 65535)
		return forbidden(why, "the port is from 1 to 65535");
	rc = getaddrinfo(host, NULL, &hints, &all);
	if (rc)
		return sql_failed(why, ERR_IO, SOURCE_TRANSIENT, true, "08001", gai_strerror(rc));
	rc = 0;
	for (a = all; a && !rc; a = a->ai_next) {
		uint8_t ip[16];
		if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
			continue;
		mapped(a->ai_addr, ip);
		if (!guard_public(NULL, ip, (uint16_t)number))
			rc = forbidden(
				why,
				"the host is not on the public Internet: put the source into the configuration file");
	}
	if (!rc &&
	    getnameinfo(all->ai_addr, all->ai_addrlen, out->text, sizeof(out->text), NULL, 0, NI_NUMERICHOST))
		rc = forbidden(why, "the host has no usable address");
	freeaddrinfo(all);
	return rc;
}
