/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "conf/value.h"
#include "serve/http/private.h"

/*
 * Query parameters. A route says which it knows; anything else is refused by
 * name, with the nearest one that it does know, because a misspelt parameter
 * that is ignored looks like one that works.
 */
static uint32_t names_count(const char *const *names)
{
	uint32_t n = 0;

	while (names && names[n])
		n++;
	return n;
}

static int refuse_unknown(const struct exchange *x, struct slice name, struct fault *f)
{
	uint32_t count = names_count(x->route->query);
	const char *near = conf_nearest(name, x->route->query, count);
	int n = name.len > 64 ? 64 : (int)name.len;

	if (near)
		return fault_set(f, ERR_UNKNOWN_PARAMETER,
				 "The query parameter '%.*s' is not known here; the nearest that is is '%s'",
				 n, (const char *)name.ptr, near);
	if (count == 0)
		return fault_set(f, ERR_UNKNOWN_PARAMETER,
				 "The query parameter '%.*s' is not known here; this resource takes none", n,
				 (const char *)name.ptr);
	return fault_set(f, ERR_UNKNOWN_PARAMETER,
			 "The query parameter '%.*s' is not known here; the first that is is '%s'", n,
			 (const char *)name.ptr, x->route->query[0]);
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

int query_parse(struct exchange *x, struct fault *f)
{
	uint32_t count = names_count(x->route->query);
	struct slice rest = x->request.query;
	struct slice name, value;
	int r;

	if (rest.len == 0)
		return 0;
	x->query = arena_zalloc(x->arena, count + 1, sizeof(*x->query));
	if (!x->query)
		return fault_set(f, ERR_NOMEM, "There is no memory for the query");
	while ((r = http_query_next(x->arena, &rest, &name, &value)) == 1) {
		int place = place_of(x->route, count, name);

		if (place < 0)
			return refuse_unknown(x, name, f);
		if (x->query[place].ptr)
			return fault_set(f, ERR_BAD_PARAMETER,
					 "The query parameter '%.*s' is given more than once", (int)name.len,
					 (const char *)name.ptr);
		x->query[place] = value;
	}
	if (r < 0)
		return fault_set(
			f, r,
			r == ERR_NOMEM ?
				"There is no memory for the query" :
				"The query has a '%%' that no two hexadecimal digits other than 00 follow");
	return 0;
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
