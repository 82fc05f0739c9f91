/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/admission.h"

#include "serve/http/refusal.h"

static uint64_t body_limit(const struct http_options *o, const struct route *route)
{
	if (route->body == ROUTE_BODY_NONE)
		return 0;
	return route->body == ROUTE_BODY_SMALL ? o->small_body_max : o->large_body_max;
}

static bool wants_length(const struct exchange *x)
{
	enum http_method m = x->request.method;

	return x->request.body == HTTP_BODY_NONE && !x->request.has_length &&
	       x->route->body != ROUTE_BODY_NONE && !(x->route->flags & ROUTE_BODY_OPTIONAL) &&
	       (m == HTTP_POST || m == HTTP_PUT || m == HTTP_PATCH);
}

static bool body_is_too_large(const struct exchange *x)
{
	return x->request.content_length > x->body_max ||
	       (x->request.body == HTTP_BODY_CHUNKED && x->body_max == 0);
}

bool admission_check(struct session *s, struct exchange *x, int found, const struct route_match *match)
{
	const struct http_options *o = session_options(s);
	const char *detail = NULL;
	int r = policy_check(o, x, &detail);

	if (r == 0 && policy_is_preflight(x)) {
		intake_drop_body(&s->intake, x);
		policy_preflight(x, match->methods);
		return false;
	}
	if (r == 0 && found < 0) {
		refusal_of_route(s, x, found, match->methods);
		return false;
	}
	if (r == 0)
		r = query_parse(x, &detail);
	if (r == 0 && o->authorize && !(x->route->flags & ROUTE_OPEN))
		r = o->authorize(o->app, x, &detail);
	if (r == 0 && x->route->flags & ROUTE_BOUNDED && budget_is_full(x->own_arena.share)) {
		detail = "The memory that is set aside for clients is in use; try again";
		r = ERR_OVERLOADED;
	}
	if (r == 0 && wants_length(x)) {
		detail = "Send Content-Length (0 for an empty body) or Transfer-Encoding: chunked";
		r = ERR_LENGTH_REQUIRED;
	}
	if (r < 0) {
		refusal_give(s, x, r, detail);
		return false;
	}
	x->body_max = body_limit(o, x->route);
	if (body_is_too_large(x)) {
		refusal_of_body(s, x);
		return false;
	}
	return true;
}
