/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/source_ask.h"

#include "base/mem.h"
#include "json/json_write.h"
#include "serve/app.h"

#define OUT_BYTES_MAX ((size_t)32 << 20)

static void free_ask(struct source_ask *a)
{
	buf_fini(&a->out);
	mem_free(a);
}

static void on_back(struct loop *loop, struct loop_msg *msg)
{
	struct source_ask *a =
		(struct source_ask *)(void *)((uint8_t *)msg - offsetof(struct source_ask, back));

	struct fault *fault = &a->request.fault;

	(void)loop;
	if (!fault->err)
		fault->err = a->answer(a->x, a);
	if (fault->err)
		(void)exchange_refuse(a->x, fault);
	free_ask(a);
}

/* On the source's loop. */
static void on_done(struct sources_request *r)
{
	struct source_ask *a = r->ctx;

	a->back.run = on_back;
	loop_post(a->x->loop, &a->back);
}

struct source_ask *source_ask_new(struct exchange *x, enum sources_ask what, source_ask_fn *answer)
{
	struct source_ask *a = mem_zalloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->x = x;
	a->answer = answer;
	buf_init(&a->out, OUT_BYTES_MAX);
	a->request = (struct sources_request){.ask = what, .out = &a->out, .done = on_done, .ctx = a};
	return a;
}

int source_ask_go(struct source_ask *a)
{
	struct exchange *x = a->x;
	struct app *app = x->app;
	int rc = sources_ask(app->sources, x->param[0], &a->request);

	if (rc == 0)
		return EXCHANGE_PENDING;
	free_ask(a);
	return rc == ERR_UNKNOWN_SOURCE ? source_unknown(x) : rc;
}

int source_ask_put(struct source_ask *a)
{
	struct exchange *x = a->x;
	struct app *app = x->app;
	struct fault fault = {0};
	int rc = sources_put(app->sources, x->param[0], x->body, &a->request, &fault);

	if (rc == 0)
		return EXCHANGE_PENDING;
	free_ask(a);
	return fault.text[0] ? exchange_problem(x, rc, "%s", fault.text) : rc;
}

int source_ask_done(struct exchange *x, struct source_ask *a)
{
	(void)a;
	return exchange_answer(x, 204, NULL, slice_null());
}

int source_unknown(struct exchange *x)
{
	struct slice name = x->param[0];

	return exchange_problem(x, ERR_UNKNOWN_SOURCE, "there is no source %.*s",
				(int)(name.len > 100 ? 100 : name.len), (const char *)name.ptr);
}

void source_put_time(struct buf *out, const char *name, int64_t ms)
{
	json_put_member_known(out, name, ms > 0 ? ms : -1);
}
