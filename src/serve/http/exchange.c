/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "json/json_write.h"
#include "serve/http/answer.h"
#include "serve/http/stream.h"

/* The handler's side of a request; what touches the connection is answer.c's and stream.c's. */
#define ADDED_MAX 16u
#define DETAIL_BYTES_MAX 500u
#define PROBLEM_BYTES 65536u /* fields and a copy of the document, where its turn has not come */

/* ---- asking ---- */

struct slice exchange_param(const struct exchange *x, const char *name)
{
	int index = route_param_index(x->route, name);

	CHECK(index >= 0 && (uint32_t)index < x->params);
	return x->param[index];
}

int exchange_query(const struct exchange *x, const char *name, struct slice *value)
{
	const char *const *names = x->route->query;
	uint32_t i = 0;

	*value = slice_null();
	if (!x->query)
		return 0; /* most requests have none */
	while (names && names[i] && strcmp(names[i], name) != 0)
		i++;
	CHECK((names && names[i]) ||
	      (x->route->flags & ROUTE_QUERY_TOKEN && strcmp(name, "access_token") == 0));
	*value = x->query[i];
	return value->ptr ? 1 : 0;
}

int exchange_header(const struct exchange *x, struct slice name, struct slice *value)
{
	return http_header_one(&x->request.headers, name, value);
}

void exchange_peer(const struct exchange *x, struct conn_peer *out)
{
	struct conn *c = x->session ? session_conn(x->session) : NULL;

	*out = (struct conn_peer){.loopback = false};
	if (c)
		conn_peer(c, out);
}

bool exchange_cancelled(const struct exchange *x)
{
	return !x->session || !session_conn(x->session);
}

/* on_bytes, which the handler runs in, looks at it when it is through. */
void exchange_park(struct exchange *x)
{
	x->long_lived = true;
}

bool exchange_ended(const struct exchange *x)
{
	return exchange_cancelled(x) || x->session->intake.ended;
}

/* ---- answering ---- */

int exchange_add_header(struct exchange *x, struct slice name, struct slice value)
{
	struct http_header f;

	if (!http_token_valid(name) || !http_value_valid(value))
		return ERR_BAD_HEADER;
	if (!x->added)
		x->added = arena_alloc(x->arena, ADDED_MAX * sizeof(*x->added));
	if (!x->added)
		return ERR_NOMEM;
	if (x->added_count == ADDED_MAX)
		return ERR_LIMIT;
	f.name = arena_copy(x->arena, name);
	f.value = arena_copy(x->arena, value);
	if (!f.name.ptr || !f.value.ptr)
		return ERR_NOMEM;
	x->added[x->added_count++] = f;
	return 0;
}

int exchange_answer(struct exchange *x, int status, const char *content_type, struct slice body)
{
	struct answer a = {.status = status, .content_type = slice_str(content_type), .body = body};

	answer_give(x, &a);
	return 0;
}

int exchange_answer_blob(struct exchange *x, int status, const char *content_type, struct blob *blob,
			 struct slice part)
{
	struct answer a = {.status = status,
			   .content_type = slice_str(content_type),
			   .body = part,
			   .blob = blob};

	answer_give(x, &a);
	return 0;
}

int exchange_answer_json(struct exchange *x, int status, struct buf *json)
{
	if (buf_append_byte(json, '\n'))
		return ERR_NOMEM;
	return exchange_answer(x, status, "application/json", buf_slice(json));
}

void exchange_waited(struct exchange *x)
{
	x->started_ns = loop_now(x->loop);
}

void exchange_forget(struct exchange *x)
{
	answer_forget(x);
}

void exchange_abort(struct exchange *x)
{
	answer_abort(x);
}

/* ---- problems (RFC 9457) ---- */

void exchange_make_room(struct exchange *x)
{
	size_t least = x->arena->bytes + PROBLEM_BYTES;

	if (x->arena->bytes_max < least)
		x->arena->bytes_max = least;
}

/* The detail may quote what the client sent, which may be anything, cut anywhere. */
static void write_problem(struct buf *b, int err, struct slice detail, struct slice members)
{
	const struct err_row *row = err_row(err);

	json_put_open(b, '{');
	json_put_member_string(b, "title", slice_str(row->sentence));
	json_put_member_i64(b, "status", row->http_status);
	json_put_name(b, "detail");
	json_put_string_lossy(b, detail.ptr ? detail : slice_str(row->sentence));
	json_put_member_string(b, "code", slice_str(row->code));
	if (members.len) {
		buf_append_byte(b, ',');
		json_put_raw(b, members);
	}
	json_put_close(b, '}');
	buf_append_byte(b, '\n');
}

static bool was_added(const struct exchange *x, struct slice name)
{
	for (uint32_t i = 0; i < x->added_count; i++)
		if (slice_eq_nocase(x->added[i].name, name))
			return true;
	return false;
}

/* Fields without which the status would break RFC 9110 or the contract. */
static void add_problem_fields(struct exchange *x, int status)
{
	if ((status == 429 || status == 503 || status == 507) && !was_added(x, SLICE_LIT("Retry-After")))
		(void)!exchange_add_header(x, SLICE_LIT("Retry-After"), SLICE_LIT("1"));
	if (status == 401 && !was_added(x, SLICE_LIT("WWW-Authenticate")))
		(void)!exchange_add_header(x, SLICE_LIT("WWW-Authenticate"),
					   SLICE_LIT("Bearer realm=\"weir\""));
}

static int answer_problem(struct exchange *x, int err, struct slice members, const char *format, va_list args)
	__attribute__((format(printf, 4, 0)));

static int answer_problem(struct exchange *x, int err, struct slice members, const char *format, va_list args)
{
	const struct http_observer *o = &x->server->options.observer;
	char text[DETAIL_BYTES_MAX + 1];
	struct slice detail = slice_str(err_row(err)->sentence);
	struct buf b;
	int n;

	if (format) {
		n = vsnprintf(text, sizeof(text), format, args);
		if (n > 0)
			detail = slice_make(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
	}
	exchange_make_room(x);
	if (o->refused)
		o->refused(o->ctx, loop_number(x->loop), err);
	add_problem_fields(x, err_row(err)->http_status);
	buf_init(&b, 8192 + members.len);
	write_problem(&b, err, detail, members);
	exchange_answer(x, err_row(err)->http_status, "application/problem+json", buf_slice(&b));
	buf_fini(&b);
	return 0;
}

int exchange_problem(struct exchange *x, int err, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = answer_problem(x, err, slice_null(), format, args);
	va_end(args);
	return r;
}

int exchange_problem_with(struct exchange *x, int err, struct slice members, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = answer_problem(x, err, members, format, args);
	va_end(args);
	return r;
}

/* ---- streams and upgrades ---- */

int exchange_stream_start(struct exchange *x, int status, const char *content_type, exchange_fn *on_room)
{
	x->on_room = on_room;
	return stream_start(x, status, slice_str(content_type));
}

int exchange_stream_write(struct exchange *x, struct slice bytes)
{
	return stream_write(x, NULL, bytes);
}

int exchange_stream_write_blob(struct exchange *x, struct blob *blob, struct slice part)
{
	return stream_write(x, blob, part);
}

size_t exchange_stream_room(const struct exchange *x)
{
	struct conn *c = x->session ? session_conn(x->session) : NULL;
	size_t max = budget_credit(loop_share(x->loop), x->server->options.stream_bytes_max);
	size_t pending = c ? conn_pending(c) : max;

	return pending < max ? max - pending : 0;
}

void exchange_stream_end(struct exchange *x)
{
	stream_end(x, x->cut);
}

void exchange_stream_abort(struct exchange *x)
{
	stream_end(x, true);
}

int exchange_upgrade(struct exchange *x, const char *protocol, const struct conn_session *session, void *ctx,
		     struct conn **conn)
{
	return stream_upgrade(x, protocol, session, ctx, conn);
}

int exchange_refuse(struct exchange *x, const struct fault *fault)
{
	return exchange_problem(x, fault->err, "%s",
				fault->text[0] ? fault->text : err_row(fault->err)->sentence);
}
