/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/refusal.h"

#include <stdio.h>

void refusal_give(struct session *s, struct exchange *x, int err, const char *detail)
{
	intake_drop_body(&s->intake, x);
	if (detail)
		exchange_problem(x, err, "%s", detail);
	else
		exchange_problem(x, err, NULL);
}

/* For a request that was not understood. */
static struct exchange *make_unknown(struct session *s)
{
	struct exchange *x = exchange_take(s->ctx, conn_loop(s->conn));

	if (!x)
		return NULL;
	x->session = s;
	x->started_ns = loop_now(x->loop);
	x->request.method = HTTP_OTHER; /* not known, or not to be trusted */
	x->request.minor = 1;
	queue_add(&s->queue, x);
	return x;
}

void refusal_of_framing(struct session *s, struct exchange *x, int err, const char *detail)
{
	if (!x)
		x = make_unknown(s);
	if (!x) {
		session_cut(s);
		return;
	}
	x->close = true;
	intake_stop(&s->intake);
	exchange_problem(x, err, "%s", detail);
}

void refusal_of_head(struct session *s, int err, const char *detail)
{
	const struct http_limits *limits = &session_options(s)->head;
	uint32_t bytes = err == ERR_TARGET_TOO_LONG ? limits->target_bytes_max : limits->head_bytes_max;
	char text[200];

	(void)snprintf(text, sizeof(text), "%s; the limit is %u bytes", detail, bytes);
	refusal_of_framing(s, NULL, err, text);
}

void refusal_of_body(struct session *s, struct exchange *x)
{
	intake_drop_body(&s->intake, x);
	if (x->body_max == 0)
		exchange_problem(x, ERR_BODY_TOO_LARGE,
				 "This resource takes no body with %s; the limit is 0 bytes",
				 http_method_text(x->request.method));
	else
		exchange_problem(x, ERR_BODY_TOO_LARGE,
				 "The body is over the limit of %llu bytes of this resource",
				 (unsigned long long)x->body_max);
}

static void refuse_method(struct exchange *x, uint32_t methods)
{
	char room[64];
	struct slice allow = methods_text(methods, room);

	(void)!exchange_add_header(x, SLICE_LIT("Allow"), allow);
	exchange_problem(x, ERR_METHOD, "%.*s is not allowed here; allowed are %.*s",
			 (int)x->request.method_text.len, (const char *)x->request.method_text.ptr,
			 (int)allow.len, (const char *)allow.ptr);
}

void refusal_of_route(struct session *s, struct exchange *x, int err, uint32_t methods)
{
	intake_drop_body(&s->intake, x);
	if (err == ERR_METHOD)
		refuse_method(x, methods);
	else if (err == ERR_MALFORMED)
		exchange_problem(x, err,
				 "The path has a '%%' that no two hexadecimal digits other than 00 follow, "
				 "or a '.' or '..' segment");
	else
		exchange_problem(x, err, "There is nothing at %.*s",
				 x->request.path.len > 200 ? 200 : (int)x->request.path.len,
				 (const char *)x->request.path.ptr);
}
