/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_HTTP_SETTINGS_H
#define WEIR_CONNECT_HTTP_SETTINGS_H

#include "connect/text/csv_rows.h"

/* What a source of type http is told. docs/guide/sources-http.md has each with an example. */

enum http_method { HTTP_SOURCE_GET, HTTP_SOURCE_POST };
enum http_format { HTTP_FORMAT_JSON, HTTP_FORMAT_NDJSON, HTTP_FORMAT_WHOLE, HTTP_FORMAT_CSV };
enum http_paging {
	HTTP_PAGING_NONE,
	HTTP_PAGING_NEXT,   /* a URL in the body */
	HTTP_PAGING_LINK,   /* a URL in the Link field */
	HTTP_PAGING_CURSOR, /* a value in the body, to be sent as {cursor} */
	HTTP_PAGING_PAGE,   /* {page} counts up */
	HTTP_PAGING_OFFSET, /* {offset} counts records */
};
enum http_auth {
	HTTP_AUTH_NONE,
	HTTP_AUTH_BASIC,
	HTTP_AUTH_BEARER,
	HTTP_AUTH_HEADER,
	HTTP_AUTH_QUERY,
	HTTP_AUTH_OAUTH2,
};
enum http_redirects { HTTP_REDIRECTS_NONE, HTTP_REDIRECTS_SAME_ORIGIN, HTTP_REDIRECTS_ANY };

struct http_settings {
	const char *url;
	struct conf_list urls, values;
	int64_t method; /* enum http_method */
	struct conf_map headers;
	const char *body;
	int64_t format; /* enum http_format */
	struct csv_rows_settings csv;
	const char *records; /* JSON pointer */
	const char *key, *id;
	const char *last, *last_initial;
	int64_t paging; /* enum http_paging */
	const char *paging_pointer, *paging_more;
	int64_t paging_first, paging_size, paging_pages_max;
	bool paging_resume;
	const char *window_from;
	int64_t window_lag_ms, window_overlap_ms, window_max_ms;
	bool conditional, skip_unchanged;
	int64_t auth; /* enum http_auth */
	const char *auth_user, *auth_password, *auth_token, *auth_name;
	const char *auth_token_url, *auth_client_id, *auth_client_secret, *auth_scope;
	const char *tls_ca, *tls_cert, *tls_key, *tls_key_password;
	bool tls_verify;
	int64_t timeout_ms, connect_timeout_ms, body_bytes_max;
	int64_t redirects; /* enum http_redirects */
};

#define HTTP_SETTING_COUNT 47u
extern const struct setting http_setting_table[HTTP_SETTING_COUNT];

/* Between settings; see conf_kind.check. */
void http_settings_check(const void *settings, struct conf_check *check);

/* struct conf_kind of the type, whether its library is built in or not. */
#define HTTP_KIND                                                                            \
	{                                                                                    \
		.name = "http", .summary = "Records from HTTP APIs, page by page",           \
		.settings = http_setting_table, .setting_count = HTTP_SETTING_COUNT,         \
		.settings_bytes = sizeof(struct http_settings), .check = http_settings_check \
	}

#endif
