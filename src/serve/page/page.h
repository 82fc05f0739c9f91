/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_PAGE_PAGE_H
#define WEIR_SERVE_PAGE_PAGE_H

#include <stddef.h>

#include "serve/http/route.h"

/*
 * The page at `/` and what it loads, as they stand in web/: the build writes them
 * into the binary (tools/embed). It knows nothing of the API that the page calls.
 */
struct page_asset {
	const char *path; /* "/", "/app.js" … */
	const char *type;
	const char *etag; /* in quotes */
	const unsigned char *bytes;
	size_t size;
};

extern const struct page_asset page_assets[];
extern const unsigned page_asset_count;

/* Rows for the server's list. GET and HEAD, open to anybody whom Origin and Host let in. */
extern const struct route route_page, route_page_script, route_page_style, route_page_icon;
extern const struct route *const page_routes[];
extern const size_t page_route_count;

#endif
