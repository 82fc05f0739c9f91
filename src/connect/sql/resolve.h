/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SQL_RESOLVE_H
#define WEIR_CONNECT_SQL_RESOLVE_H

#include "connect/sql/driver.h"

/* An address as text, which a client library connects to without asking for the name again. */
struct sql_address {
	char text[64];
};

/*
 * Resolves a name and gives an address of the public Internet; waits as the resolver does. ERR_FORBIDDEN where the
 * name leads to any other address, is a list or a path, or is missing; ERR_IO where it is not known.
 */
int sql_resolve_public(const char *host, const char *port, struct sql_address *out, struct sql_failure *why);

#endif
