/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST and PUT of records: an exchange becomes a request at the door in, and its
 * result the answer. All of it lives in the exchange's arena; only a request
 * with ack=none, which is answered before the log has let go of it, has one of
 * its own.
 */
#include "base/mem.h"
#include "serve/app.h"
#include "serve/http/exchange.h"
#include "serve/http/resources.h"

#define OWN_CHUNK 4096u

static const char *const options[] = {"key", "partition", "ack", "on_error", "results", NULL};

struct produce {
	struct ingest_request request;
	struct exchange *x;
	struct arena *own; /* of an ack=none request; NULL otherwise */
};

static bool next_header(void *ctx, uint32_t number, struct slice *name, struct slice *value)
{
	const struct exchange *x = ctx;

	if (number >= x->request.headers.count)
		return false;
	*name = x->request.headers.list[number].name;
	*value = x->request.headers.list[number].value;
	return true;
}

static bool wants_retry_after(int err)
{
	int status = err ? err_row(err)->http_status : 0;

	return status == 429 || status == 503 || status == 507;
}

static int answer(struct exchange *x, const struct ingest_result *result)
{
	struct buf *out = &app_loop(x->app, x->loop)->scratch;

	if (result->err)
		exchange_make_room(x);
	buf_clear(out);
	ingest_answer_json(result, out);
	(void)buf_append_byte(out, '\n'); /* a terminal's prompt begins its own line */
	if (buf_status(out) && result->err)
		return exchange_problem(x, ERR_NOMEM, "there is no memory for the answer");
	if (buf_status(out)) {
		exchange_abort(x); /* it is stored: to say that it was refused would be wrong */
		return 0;
	}
	if (result->replayed)
		(void)exchange_add_header(x, SLICE_LIT("Idempotent-Replayed"), SLICE_LIT("true"));
	if (wants_retry_after(result->err))
		(void)exchange_add_header(x, SLICE_LIT("Retry-After"), SLICE_LIT("1"));
	return exchange_answer(x, ingest_status_of(result),
			       result->err ? "application/problem+json" : "application/json", buf_slice(out));
}

static void on_done(struct ingest_request *r)
{
	struct produce *p = r->ctx;
	const struct app *app = p->x->app;

	if (r->result.dead_count)
		dead_watch_added(app->dead_watch, slice_str(r->result.topic));

	(void)answer(p->x, &r->result);
}

static void free_own(struct ingest_request *r)
{
	struct produce *p = r->ctx;
	struct arena *own = p->own;

	arena_fini(own);
	mem_free(own);
}

/* Answered on entering: the request must outlive its exchange. */
static struct produce *new_detached(struct exchange *x)
{
	const struct app *app = x->app;
	struct arena *own = mem_alloc(sizeof(*own));
	struct produce *p;

	if (!own)
		return NULL;
	arena_init(own, OWN_CHUNK, ingest_arena_bytes(app->ingest));
	arena_charge(own, loop_share(x->loop));
	p = arena_zalloc(own, 1, sizeof(*p));
	if (!p) {
		arena_fini(own);
		mem_free(own);
		return NULL;
	}
	p->own = own;
	p->x = x;
	ingest_request_init(&p->request, own, on_done, p);
	p->request.on_released = free_own;
	return p;
}

static struct produce *new_produce(struct exchange *x)
{
	const struct app *app = x->app;
	struct slice ack;
	struct produce *p;

	if (exchange_query(x, "ack", &ack) == 1 && slice_eq_str(ack, "none"))
		return new_detached(x);
	x->arena->bytes_max = ingest_arena_bytes(app->ingest);
	p = arena_zalloc(x->arena, 1, sizeof(*p));
	if (!p)
		return NULL;
	p->x = x;
	ingest_request_init(&p->request, x->arena, on_done, p);
	p->request.body_stays = true;
	return p;
}

static int set_options(struct produce *p, struct fault *fault)
{
	for (size_t i = 0; options[i]; i++) {
		struct slice value;
		int rc = 0;
		if (exchange_query(p->x, options[i], &value) == 1)
			rc = ingest_option(&p->request, slice_str(options[i]), value, fault);
		if (rc)
			return rc;
	}
	return 0;
}

static int set_fields(struct produce *p, struct fault *fault)
{
	struct ingest_request *r = &p->request;
	const struct exchange *x = p->x;
	int rc = exchange_header(x, SLICE_LIT("content-type"), &r->content_type);

	if (rc >= 0)
		rc = exchange_header(x, SLICE_LIT("content-encoding"), &r->content_encoding);
	if (rc >= 0)
		rc = exchange_header(x, SLICE_LIT("idempotency-key"), &r->idempotency_header);
	if (rc < 0)
		return fault_set(fault, rc,
				 "Content-Type, Content-Encoding and Idempotency-Key may be sent once each");
	r->topic = x->param[0];
	if (x->params > 1)
		r->idempotency_path = x->param[1];
	r->body = x->body;
	r->header = next_header;
	r->lane = x->session;
	r->header_ctx = (void *)(uintptr_t)x;
	return 0;
}

static void let_go(struct produce *p)
{
	if (p->own)
		free_own(&p->request);
}

static int on_produce(struct exchange *x)
{
	struct app_loop *al = app_loop(x->app, x->loop);
	struct produce *p = new_produce(x);
	struct fault fault = {0};
	int rc;

	if (!p)
		return ERR_NOMEM;
	rc = set_options(p, &fault);
	if (rc == 0)
		rc = set_fields(p, &fault);
	if (rc) {
		let_go(p);
		return exchange_problem(x, rc, "%s", fault.text);
	}
	if (ingest_start(al->queue, &p->request)) {
		rc = answer(x, &p->request.result);
		let_go(p);
		return rc;
	}
	app_flush_later(al);
	return EXCHANGE_PENDING;
}

const struct route route_produce = {
	.methods = HTTP_BIT(HTTP_POST),
	.pattern = "/v1/topics/{topic}/records",
	.query = options,
	.body = ROUTE_BODY_LARGE,
	.flags = ROUTE_BOUNDED,
	.handle = on_produce,
};

const struct route route_produce_once = {
	.methods = HTTP_BIT(HTTP_PUT),
	.pattern = "/v1/topics/{topic}/records/{key}",
	.query = options,
	.body = ROUTE_BODY_LARGE,
	.flags = ROUTE_BOUNDED,
	.handle = on_produce,
};
