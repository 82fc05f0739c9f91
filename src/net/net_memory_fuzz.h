/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_NET_MEMORY_FUZZ_H
#define WEIR_NET_NET_MEMORY_FUZZ_H

#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "net/loop_memory_test.h"

/*
 * The functions of net that sessions call, over memory, for fuzz targets: included by one file of a
 * program, which then links them in place of the real ones. One loop, no thread, no socket: the target puts
 * what the client sends into conn.kept and gives it to the session, and lets time pass.
 */
struct loop {
	struct loop_memory memory; /* first */
	struct budget_share share;
	int64_t now;
	struct loop_waker *waker;
};

struct loop_waker {
	loop_wake_fn *fn;
	void *ctx;
	bool woken;
};

struct conn {
	struct loop *loop;
	const struct conn_session *session;
	void *ctx;
	struct buf kept;    /* came, and was not taken yet */
	struct buf written; /* what the client is sent; the target inits it, as it does kept */
	uint64_t out;
	bool stopped, present, closing, aborted, gone;
};

static inline void memory_loop_init(struct loop *loop, int64_t now)
{
	*loop = (struct loop){.now = now};
	loop_memory_init(&loop->memory);
}

/* ---- loops ---- */

uint32_t loop_number(const struct loop *loop)
{
	return loop->now < 0;
}

struct budget_share *loop_share(struct loop *loop)
{
	return &loop->share;
}

int64_t loop_now(const struct loop *loop)
{
	return loop->now;
}

int64_t loop_now_fresh(const struct loop *loop)
{
	return loop->now;
}

int loop_waker_new(struct loop *loop, loop_wake_fn *fn, void *ctx, struct loop_waker **out)
{
	struct loop_waker *w = mem_alloc(sizeof(*w));

	if (!w)
		return ERR_NOMEM;
	*w = (struct loop_waker){.fn = fn, .ctx = ctx};
	loop->waker = w;
	*out = w;
	return 0;
}

void loop_waker_wake(struct loop_waker *w)
{
	w->woken = true;
}

void loop_waker_free(struct loop_waker *w)
{
	mem_free(w);
}

/* ---- connections ---- */

struct loop *conn_loop(const struct conn *c)
{
	return c->loop;
}

void conn_set_session(struct conn *c, const struct conn_session *session, void *ctx)
{
	c->session = session;
	c->ctx = ctx;
}

void conn_peer(const struct conn *c, struct conn_peer *out)
{
	(void)c;
	*out = (struct conn_peer){.text = "127.0.0.1:40000", .loopback = true};
}

void conn_local(const struct conn *c, char out[64])
{
	(void)c;
	memcpy(out, "127.0.0.1:9092", sizeof("127.0.0.1:9092"));
}

int conn_write(struct conn *c, struct slice bytes)
{
	if (c->closing)
		return ERR_CANCELLED;
	c->out += bytes.len;
	return buf_append_slice(&c->written, bytes);
}

int conn_write_blob(struct conn *c, struct blob *blob, struct slice part)
{
	CHECK(part.ptr >= blob->bytes && part.ptr + part.len <= blob->bytes + blob->len);
	return conn_write(c, part);
}

/* What is in the file is not looked at: zeros of its length are written. */
int conn_write_file(struct conn *c, struct file_ref *file, uint64_t at, size_t bytes)
{
	(void)at;
	CHECK(bytes);
	file_ref_release(file);
	if (c->closing)
		return ERR_CANCELLED;
	CHECK(buf_reserve(&c->written, bytes) == 0);
	memset(c->written.ptr + c->written.len, 0, bytes);
	c->written.len += bytes;
	c->out += bytes;
	return 0;
}

size_t conn_pending(const struct conn *c)
{
	(void)c;
	return 0;
}

uint64_t conn_bytes_out(const struct conn *c)
{
	return c->out;
}

void conn_read_stop(struct conn *c)
{
	CHECK(!c->closing);
	c->stopped = true;
}

void conn_read_start(struct conn *c)
{
	CHECK(!c->closing);
	c->stopped = false;
	c->present = true;
}

void conn_set_input_max(struct conn *c, size_t bytes)
{
	c->kept.bytes_max = bytes;
}

void conn_set_output_max(struct conn *c, size_t bytes)
{
	(void)c, (void)bytes;
}

void conn_set_send_buffer(struct conn *c, uint32_t bytes)
{
	(void)c;
	(void)bytes;
}

void conn_close(struct conn *c, int64_t linger_ns)
{
	CHECK(!c->closing && linger_ns >= 0);
	c->closing = true;
}

void conn_finish(struct conn *c, int64_t linger_ns)
{
	conn_close(c, linger_ns);
}

void conn_abort(struct conn *c)
{
	c->closing = c->aborted = true;
}

/* ---- turns ---- */

static inline bool memory_loop_run_waker(struct loop *loop)
{
	if (!loop->waker || !loop->waker->woken)
		return false;
	loop->waker->woken = false;
	loop->waker->fn(loop->waker->ctx);
	return true;
}

/* Moves the time to the first timer due until then, and rings it. False: there is none, and it is `until`. */
static inline bool memory_loop_ring(struct loop *loop, int64_t until)
{
	struct loop_timer *first = loop_memory_due(&loop->memory, until);

	if (!first) {
		loop->now = until;
		return false;
	}
	if (first->at_ns > loop->now)
		loop->now = first->at_ns;
	loop_timer_stop(loop, first);
	first->run(first->ctx);
	return true;
}

#endif
