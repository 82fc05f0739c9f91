/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/page/page.h"

#include <string.h>

#include "base/slice.h"
#include "serve/http/exchange.h"

/*
 * Scripts and styles come from this server alone and nothing is inline, so a value
 * that someone published can never become code in the page, whatever the page does.
 */
static const char policy[] =
	"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const struct page_asset *find_asset(struct slice path)
{
	for (unsigned i = 0; i < page_asset_count; i++) {
		const struct page_asset *a = &page_assets[i];

		if (slice_eq_str(path, a->path))
			return a;
	}
	return NULL;
}

/* RFC 9110 13.1.2: a list of tags, or *. Ours has no comma and no W/ of its own, so looking for it is enough. */
static bool has_tag(struct slice list, const char *tag)
{
	return (list.len == 1 && list.ptr[0] == '*') || memmem(list.ptr, list.len, tag, strlen(tag)) != NULL;
}

static void add(struct exchange *x, const char *name, const char *value)
{
	/* Constant text is a valid field, and a field that finds no memory is left out. */
	(void)exchange_add_header(x, slice_str(name), slice_str(value));
}

static int on_asset(struct exchange *x)
{
	const struct page_asset *a = find_asset(x->request.path);
	struct slice tags;

	if (!a)
		return ERR_NOT_FOUND;
	add(x, "ETag", a->etag);
	add(x, "Cache-Control", "no-cache");
	add(x, "Content-Security-Policy", policy);
	add(x, "X-Content-Type-Options", "nosniff");
	add(x, "Referrer-Policy", "no-referrer");
	if (exchange_header(x, slice_str("If-None-Match"), &tags) > 0 && has_tag(tags, a->etag))
		return exchange_answer(x, 304, NULL, slice_null());
	return exchange_answer(x, 200, a->type, slice_make(a->bytes, a->size));
}

const struct route route_page = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/",
	.flags = ROUTE_OPEN,
	.handle = on_asset,
};
const struct route route_page_script = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/app.js",
	.flags = ROUTE_OPEN,
	.handle = on_asset,
};
const struct route route_page_style = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/app.css",
	.flags = ROUTE_OPEN,
	.handle = on_asset,
};
const struct route route_page_icon = {
	.methods = HTTP_BIT(HTTP_GET),
	.pattern = "/favicon.svg",
	.flags = ROUTE_OPEN,
	.handle = on_asset,
};

const struct route *const page_routes[] = {&route_page, &route_page_script, &route_page_style,
					   &route_page_icon};
const size_t page_route_count = sizeof(page_routes) / sizeof(page_routes[0]);
