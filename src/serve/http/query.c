/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "conf/value.h"
#include "serve/http/private.h"

/*
 * Query parameters. A route says which it knows; anything else is refused by
 * name, with the nearest one that it does know, because a misspelt parameter
 * that is ignored looks like one that works.
 */
#define DETAIL_BYTES 256u

static uint32_t names_count(const char *const *names)
{
	uint32_t n = 0;

	while (names && names[n])
		n++;
	return n;
}

static int refuse(struct exchange *x, const char **detail, int err, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int refuse(struct exchange *x, const char **detail, int err, const char *format, ...)
{
	char *text = arena_alloc(x->arena, DETAIL_BYTES);
	va_list args;

	*detail = text;
	if (!text)
		return err;
	va_start(args, format);
	(void)vsnprintf(text, DETAIL_BYTES, format, args);
	va_end(args);
	return err;
}

/* "key, partition and ack", cut where it is long. */
static const char *list_names(const char *const *names, uint32_t count, char room[160])
{
	size_t n = 0;

	room[0] = '\0';
	for (uint32_t i = 0; i < count && n < 160; i++)
		n += (size_t)snprintf(room + n, 160 - n, "%s%s",
				      i == 0        ? "" :
				      i + 1 < count ? ", " :
						      " and ",
				      names[i]);
	return room;
}

static int refuse_unknown(struct exchange *x, struct slice name, const char **detail)
{
	uint32_t count = names_count(x->route->query);
	const char *near = conf_nearest(name, x->route->query, count);
	const char *text = (const char *)name.ptr;
	char known[160];
	int n = name.len > 64 ? 64 : (int)name.len;

	if (near)
		return refuse(x, detail, ERR_UNKNOWN_PARAMETER,
			      "The query parameter '%.*s' is not known here; the nearest that is is '%s'", n,
			      text, near);
	if (count == 0)
		return refuse(x, detail, ERR_UNKNOWN_PARAMETER,
			      "The query parameter '%.*s' is not known here; this resource takes none", n,
			      text);
	return refuse(x, detail, ERR_UNKNOWN_PARAMETER,
		      "The query parameter '%.*s' is not known here; known are %s", n, text,
		      list_names(x->route->query, count, known));
}

/* The place of a parameter; access_token stands behind those of the route. -1 where it is unknown. */
static int place_of(const struct route *route, uint32_t count, struct slice name)
{
	for (uint32_t i = 0; i < count; i++)
		if (slice_eq_str(name, route->query[i]))
			return (int)i;
	if (route->flags & ROUTE_QUERY_TOKEN && slice_eq_str(name, "access_token"))
		return (int)count;
	return -1;
}

int query_parse(struct exchange *x, const char **detail)
{
	struct slice rest = x->request.query;
	struct slice name, value;
	uint32_t count;
	int r;

	if (rest.len == 0)
		return 0;
	count = names_count(x->route->query);
	x->query = arena_zalloc(x->arena, count + 1, sizeof(*x->query));
	if (!x->query)
		return ERR_NOMEM;
	while ((r = http_query_next(x->arena, &rest, &name, &value)) == 1) {
		int place = place_of(x->route, count, name);

		if (place < 0)
			return refuse_unknown(x, name, detail);
		if (x->query[place].ptr)
			return refuse(x, detail, ERR_BAD_PARAMETER,
				      "The query parameter '%.*s' is given more than once", (int)name.len,
				      (const char *)name.ptr);
		x->query[place] = value;
	}
	if (r == ERR_MALFORMED)
		*detail = "The query has a '%' that no two hexadecimal digits other than 00 follow";
	return r;
}

struct slice methods_text(uint32_t methods, char *room)
{
	size_t n = 0;

	for (unsigned m = 0; m < HTTP_OTHER; m++) {
		const char *text = http_method_text((enum http_method)m);

		if (!(methods & HTTP_BIT(m)))
			continue;
		n += (size_t)snprintf(room + n, 64 - n, "%s%s", n ? ", " : "", text);
	}
	return slice_make(room, n);
}
