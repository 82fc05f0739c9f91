/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_push.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define OUT_BYTES (256u << 10) /* more is not written ahead of the socket */
#define CONNECT_TIMEOUT_MS 10000
#define PAUSE_NS 100000000 /* after "later" without a time */
#define KEY_DIGITS "00000000000000000000"

/* ---- set-up ---- */

static int write_request(struct bench_push *p, struct fault *fault)
{
	const struct bench_push_options *o = &p->options;
	struct http_header list[2] = {{SLICE_LIT("Content-Type"), o->content_type}};
	char key[80];

	snprintf(key, sizeof(key), "%s-" KEY_DIGITS, o->key ? o->key : "");
	list[1] = (struct http_header){SLICE_LIT("Idempotency-Key"), slice_str(key)};
	const struct http_ask head = {
		.method = SLICE_LIT("POST"),
		.target = o->target,
		.host = slice_str(p->url->authority),
		.framing = HTTP_FRAME_LENGTH,
		.length = o->body.len,
		.headers = list,
		.header_count = o->key ? 2 : 1,
	};
	p->key_at = p->stamp_at = SIZE_MAX;
	int err = http_ask_append(&p->request, &head);
	if (!err && o->key) {
		const uint8_t *at = memmem(p->request.ptr, p->request.len, key, strlen(key));
		p->key_at = (size_t)(at - p->request.ptr) + strlen(key) - strlen(KEY_DIGITS);
	}
	if (!err && o->stamp_at != SIZE_MAX)
		p->stamp_at = p->request.len + o->stamp_at;
	if (!err)
		err = buf_append_slice(&p->request, o->body);
	return err ? fault_set(fault, err, "the request cannot be written: %s", err_row(err)->sentence) : 0;
}

static int connect_one(struct bench_push *p, uint32_t i, struct fault *fault)
{
	struct bench_push_conn *c = &p->conns[i];

	int err = client_open(&c->conn, p->url, CONNECT_TIMEOUT_MS, fault);
	if (!err && bench_loop_watch(p->loop, c->conn.fd, p->options.index + i, false, false) != 0)
		err = fault_set(fault, ERR_IO, "a connection cannot be watched");
	c->writing = false;
	return err;
}

int bench_push_open(struct bench_push *p, const struct bench_push_options *options,
		    const struct client_url *url, struct bench_loop *loop, struct bench_figures *figures,
		    struct fault *fault)
{
	uint32_t n = options->connections;

	*p = (struct bench_push){.options = *options, .url = url, .loop = loop, .figures = figures};
	buf_init(&p->request, 128u << 20);
	p->conns = mem_zalloc(n, sizeof(*p->conns));
	p->begun_ns = mem_zalloc((size_t)n * options->in_flight, sizeof(*p->begun_ns));
	if (!p->conns || !p->begun_ns)
		return fault_set(fault, ERR_NOMEM, "no memory for %u connections", n);
	for (uint32_t i = 0; i < n; i++) {
		client_conn_init(&p->conns[i].conn);
		client_reply_init(&p->conns[i].reply, 16u << 20);
		p->conns[i].begun_ns = p->begun_ns + (size_t)i * options->in_flight;
	}
	int err = write_request(p, fault);
	for (uint32_t i = 0; i < n && !err; i++)
		err = connect_one(p, i, fault);
	return err;
}

void bench_push_close(struct bench_push *p)
{
	for (uint32_t i = 0; p->conns && i < p->options.connections; i++) {
		client_conn_fini(&p->conns[i].conn);
		client_reply_fini(&p->conns[i].reply);
	}
	mem_free(p->conns);
	mem_free(p->begun_ns);
	buf_fini(&p->request);
}

/* ---- sending ---- */

static bool has_slot(const struct bench_push *p, const struct bench_push_conn *c)
{
	return c->count < p->options.in_flight && c->conn.out.len < OUT_BYTES && c->paused_until_ns == 0;
}

static int append_request(struct bench_push *p, struct bench_push_conn *c, int64_t begun_ns)
{
	size_t from = c->conn.out.len;

	int err = buf_append_slice(&c->conn.out, buf_slice(&p->request));
	if (err)
		return err;
	uint8_t *at = c->conn.out.ptr + from;
	if (p->key_at != SIZE_MAX)
		bench_put_digits(at + p->key_at, p->sent);
	if (p->stamp_at != SIZE_MAX)
		bench_put_digits(at + p->stamp_at, (uint64_t)begun_ns);
	c->begun_ns[(c->first + c->count++) % p->options.in_flight] = begun_ns;
	p->sent++;
	p->waiting++;
	return 0;
}

static int lose(struct bench_push *p, uint32_t i, const char *why, struct fault *fault)
{
	struct bench_push_conn *c = &p->conns[i];

	if (c->count > 0)
		bench_figures_error(p->figures, (uint64_t)c->count * p->options.records, "%s", why);
	p->waiting -= c->count;
	c->first = c->count = 0;
	p->paused -= c->paused_until_ns != 0;
	c->paused_until_ns = 0;
	client_reply_fini(&c->reply);
	client_reply_init(&c->reply, 16u << 20);
	if (p->stopping) {
		client_shut(&c->conn);
		return 0;
	}
	return connect_one(p, i, fault);
}

/* Writes what the socket takes, and asks to be told when it takes more. */
static int flush(struct bench_push *p, uint32_t i, struct fault *fault)
{
	struct bench_push_conn *c = &p->conns[i];

	/* An early refusal may stand there to be read, though nothing can be written any more. */
	if (client_write(&c->conn) != 0 && client_read(&c->conn) != 0)
		return lose(p, i, "the connection was lost", fault);
	bool writing = c->conn.out.len > 0;
	if (writing == c->writing)
		return 0;
	c->writing = writing;
	if (bench_loop_watch(p->loop, c->conn.fd, p->options.index + i, true, writing) != 0)
		return fault_set(fault, ERR_IO, "a connection cannot be watched");
	return 0;
}

/* As many requests as fit, where there is no rate. */
static int fill(struct bench_push *p, uint32_t i, struct fault *fault)
{
	struct bench_push_conn *c = &p->conns[i];
	int64_t now = bench_now_ns();

	while (!p->stopping && p->options.rate == 0 && has_slot(p, c)) {
		int err = append_request(p, c, now);
		if (err)
			return fault_set(fault, err, "a request cannot be sent: %s", err_row(err)->sentence);
	}
	return c->conn.fd >= 0 ? flush(p, i, fault) : 0;
}

static int64_t due_ns(const struct bench_push *p)
{
	double interval = 1e9 * p->options.records / (double)p->options.rate;

	return p->started_ns + (int64_t)((double)p->sent * interval);
}

bool bench_push_owes(const struct bench_push *p)
{
	return p->sent < p->options.requests_max;
}

static bool is_due(const struct bench_push *p, int64_t now)
{
	return p->options.rate > 0 && !p->stopping && (p->options.requests_max == 0 || bench_push_owes(p)) &&
	       due_ns(p) <= now;
}

/* The next connection with a free place, in turn; UINT32_MAX: none. */
static uint32_t next_conn(struct bench_push *p)
{
	for (uint32_t tried = 0; tried < p->options.connections; tried++) {
		uint32_t i = p->turn++ % p->options.connections;
		if (p->conns[i].conn.fd >= 0 && has_slot(p, &p->conns[i]))
			return i;
	}
	return UINT32_MAX;
}

static void end_pauses(struct bench_push *p, int64_t now)
{
	for (uint32_t i = 0; i < p->options.connections && p->paused > 0; i++) {
		if (p->conns[i].paused_until_ns == 0 || p->conns[i].paused_until_ns > now)
			continue;
		p->conns[i].paused_until_ns = 0;
		p->paused--;
	}
}

int bench_push_send(struct bench_push *p, struct fault *fault)
{
	int64_t now = bench_now_ns();
	bool all = p->paused > 0 || p->started_ns == 0;
	uint32_t i;
	int err = 0;

	if (p->started_ns == 0)
		p->started_ns = p->ended_ns = now;
	end_pauses(p, now);
	for (i = 0; p->options.rate == 0 && all && i < p->options.connections && !err; i++)
		err = fill(p, i, fault);
	p->stuck = false;
	while (is_due(p, now) && !err) {
		i = next_conn(p);
		p->stuck = i == UINT32_MAX;
		if (p->stuck)
			break;
		err = append_request(p, &p->conns[i], due_ns(p));
		err = err ? fault_set(fault, err, "a request cannot be sent: %s", err_row(err)->sentence) :
			    flush(p, i, fault);
	}
	return err;
}

void bench_push_stop(struct bench_push *p)
{
	if (!p->stopping)
		p->ended_ns = bench_now_ns();
	p->stopping = true;
}

int64_t bench_push_due(const struct bench_push *p, int64_t until_ns)
{
	int64_t at = until_ns, soon = bench_now_ns() + PAUSE_NS / 10;

	if (p->stopping)
		return until_ns;
	if (p->options.rate > 0 && !p->stuck && due_ns(p) < at)
		at = due_ns(p);
	return p->paused > 0 && soon < at ? soon : at;
}

/* ---- answers ---- */

static void on_refusal(struct bench_push *p, struct bench_push_conn *c, int64_t now)
{
	struct client_problem problem;
	int64_t wait_ns = c->reply.retry_after_ms > 0 ? c->reply.retry_after_ms * 1000000 : PAUSE_NS;

	client_problem_of(buf_slice(&c->reply.content), &problem);
	bench_figures_error(p->figures, p->options.records, "%d %s: %s", c->reply.status, problem.code,
			    problem.detail);
	if (!client_may_retry(c->reply.status))
		return;
	p->paused += c->paused_until_ns == 0;
	c->paused_until_ns = now + wait_ns;
}

static void on_answer(struct bench_push *p, struct bench_push_conn *c, int64_t now)
{
	int64_t begun_ns = c->begun_ns[c->first];

	c->first = (c->first + 1) % p->options.in_flight;
	c->count--;
	p->waiting--;
	p->ended_ns = now;
	if (c->reply.status < 200 || c->reply.status > 299) {
		on_refusal(p, c, now);
		return;
	}
	p->figures->records += p->options.records;
	p->figures->bytes += p->options.bytes;
	bench_latency_add(&p->figures->latency, now - begun_ns);
}

int bench_push_event(struct bench_push *p, uint32_t index, struct fault *fault)
{
	uint32_t i = index - p->options.index;
	struct bench_push_conn *c = &p->conns[i];
	int got = 0;

	if (c->conn.fd < 0)
		return 0;
	if (client_read(&c->conn) != 0)
		return lose(p, i, "the connection was lost", fault);
	int64_t now = bench_now_ns();
	while (c->count > 0 && (got = client_reply_whole(&c->reply, &c->conn, HTTP_POST, fault)) == 1)
		on_answer(p, c, now);
	if (got < 0 || c->conn.ended)
		return lose(p, i, got < 0 ? fault->text : "the server closed the connection", fault);
	return fill(p, i, fault);
}
