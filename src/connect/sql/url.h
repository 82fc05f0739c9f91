/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SQL_URL_H
#define WEIR_CONNECT_SQL_URL_H

#include <stdbool.h>
#include <stdint.h>

/* SCHEME://USER:PASSWORD@HOST:PORT/DATABASE?NAME=VALUE&…, percent escapes decoded. What is absent is empty or 0. */
struct sql_url {
	char user[256], password[512], host[256], database[256];
	uint16_t port;
	struct {
		char name[32], value[512];
	} params[8];
	uint32_t param_count;
};

/* False where it is not well formed, or a piece is too long. */
bool sql_url_parse(const char *text, struct sql_url *out);

/* The value of a parameter, or NULL. */
const char *sql_url_param(const struct sql_url *url, const char *name);

#endif
