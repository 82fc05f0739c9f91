/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_NET_TEST_H
#define WEIR_NET_NET_TEST_H

/*
 * For the tests of net alone: loops in threads, real sockets over loopback. The
 * test thread is the client; what sessions saw is counted in atomics, and
 * asserted by the test thread. What runs over tcp alone runs over the filters of
 * veil_test.h too, with the groups of VEILED.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/net_private.h"
#include "net/veil_test.h"

#define MS 1000000LL

static inline void nap_ms(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

	(void)nanosleep(&ts, NULL);
}

/* Waits for a value that another thread sets; far too long is a failure. */
static inline void await(_Atomic int64_t *value, int64_t wanted)
{
	for (int i = 0; i < 20000 && atomic_load(value) < wanted; i++)
		nap_ms(1);
	assert_int_equal(atomic_load(value), wanted);
}

/* ---- the server under test ---- */

struct server {
	struct loop *loops[2];
	pthread_t threads[2];
	uint32_t count;
	struct listener *listener;
	char bound[64];
	uint16_t port;
};

/* What the sessions of a test saw. */
static struct {
	_Atomic int64_t accepted, ended, closed, drained, refused, exhausted, bytes, largest, errors;
	_Atomic int64_t accepted_on[2];
	_Atomic int64_t closed_for[4]; /* by reason */
	_Atomic(struct conn *) conn;   /* the last accepted; only for code on its loop */
} seen;

static const struct conn_session *serve_with;
static size_t input_max;
static int veils; /* how many filters lie over tcp */
static bool refuse_filters;
static struct budget *bounded; /* NULL: memory is not */

static inline int push_veils(void *ctx, struct conn *c)
{
	int rc = refuse_filters ? ERR_NOMEM : 0;

	(void)ctx;
	for (int i = 0; i < veils && rc == 0; i++)
		rc = veil_push(c);
	return rc;
}

static inline int over_a_veil(void **state)
{
	(void)state;
	veils = 1;
	return 0;
}

static inline int over_two_veils(void **state)
{
	(void)state;
	veils = 2;
	return 0;
}

static inline int over_tcp(void **state)
{
	(void)state;
	veils = 0;
	return 0;
}

static inline void on_closed(void *ctx, enum conn_close_reason reason)
{
	(void)ctx;
	atomic_fetch_add(&seen.closed_for[reason], 1);
	atomic_fetch_add(&seen.closed, 1);
}

static inline int on_accept(void *ctx, struct conn *c)
{
	(void)ctx;
	seen.conn = c;
	conn_set_session(c, serve_with, c);
	conn_set_input_max(c, input_max);
	atomic_fetch_add(&seen.accepted_on[loop_number(conn_loop(c))], 1);
	atomic_fetch_add(&seen.accepted, 1);
	return 0;
}

static inline void on_refuse(void *ctx, struct conn *c)
{
	(void)ctx;
	(void)conn_write(c, SLICE_LIT("busy\n"));
	atomic_fetch_add(&seen.refused, 1);
}

static inline void on_exhausted(void *ctx, int err)
{
	(void)ctx;
	atomic_fetch_add(&seen.exhausted, err == -EMFILE);
}

static inline void *run_loop(void *loop)
{
	loop_run(loop);
	return NULL;
}

static inline void make_loops(struct server *s, uint32_t count)
{
	memset(s, 0, sizeof(*s));
	memset((void *)&seen, 0, sizeof(seen));
	s->count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct loop_options options = {.sys = sys_kernel(), .number = i, .budget = bounded};

		assert_int_equal(loop_new(&options, &s->loops[i]), 0);
	}
}

static inline void run_loops(struct server *s)
{
	for (uint32_t i = 0; i < s->count; i++)
		assert_int_equal(pthread_create(&s->threads[i], NULL, run_loop, s->loops[i]), 0);
}

static inline void start(struct server *s, uint32_t count, const struct conn_session *session, uint32_t max)
{
	struct listener_options options = {
		.address = "127.0.0.1:0",
		.connections_max = max,
		.push_filters = veils || refuse_filters ? push_veils : NULL,
		.on_accept = on_accept,
		.on_refuse = on_refuse,
		.on_exhausted = on_exhausted,
	};
	struct fault fault = {0};
	uint64_t port;

	make_loops(s, count);
	serve_with = session;
	input_max = 0;
	assert_int_equal(listener_open(&options, s->loops, count, &s->listener, s->bound, &fault), 0);
	assert_true(slice_to_u64(slice_str(strrchr(s->bound, ':') + 1), &port) && port > 0);
	s->port = (uint16_t)port;
	run_loops(s);
}

static inline void stop(struct server *s)
{
	for (uint32_t i = 0; i < s->count; i++)
		loop_stop(s->loops[i]);
	for (uint32_t i = 0; i < s->count; i++)
		assert_int_equal(pthread_join(s->threads[i], NULL), 0);
	if (s->listener) {
		assert_int_equal(listener_connections(s->listener), 0);
		assert_int_equal(atomic_load(&seen.closed), atomic_load(&seen.accepted));
	}
	assert_int_equal(atomic_load(&veil_met.live), 0);
	for (uint32_t i = 0; i < s->count; i++)
		assert_int_equal(loop_share(s->loops[i])->used, 0);
	listener_close(s->listener);
	for (uint32_t i = 0; i < s->count; i++)
		loop_free(s->loops[i]);
}

/* Runs a function on a loop and waits for it. */
struct call {
	struct loop_msg msg;
	void (*fn)(struct loop *loop, void *arg);
	void *arg;
	sem_t done;
};

static inline void run_call(struct loop *loop, struct loop_msg *msg)
{
	struct call *call = (struct call *)msg;

	call->fn(loop, call->arg);
	(void)sem_post(&call->done);
}

static inline void on_loop(struct loop *loop, void (*fn)(struct loop *loop, void *arg), void *arg)
{
	struct call call = {.msg.run = run_call, .fn = fn, .arg = arg};

	(void)sem_init(&call.done, 0, 0);
	loop_post(loop, &call.msg);
	while (sem_wait(&call.done) < 0)
		;
	(void)sem_destroy(&call.done);
}

static inline void read_turns(struct loop *loop, void *arg)
{
	*(uint64_t *)arg = loop_turns(loop);
}

/* Turns in `ms` milliseconds, the one of asking not counted. */
static inline uint64_t turns_during(struct loop *loop, long ms)
{
	uint64_t before, after;

	on_loop(loop, read_turns, &before);
	nap_ms(ms);
	on_loop(loop, read_turns, &after);
	return after - before - 1;
}

/* ---- the client ---- */

static inline int dial_socket(int fd, uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static inline int dial_bare(const struct server *s)
{
	struct timeval patience = {20, 0};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (veils) /* the socket is to be full before a filter waits for anything else */
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){32 << 10}, sizeof(int));
	return dial_socket(fd, s->port);
}

static inline int dial(const struct server *s)
{
	int fd = dial_bare(s);

	for (int i = 0; i < veils; i++)
		fd = veil_client(fd);
	return fd;
}

static inline void put(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n > 0) {
		ssize_t did = send(fd, at, n, MSG_NOSIGNAL);

		assert_true(did > 0);
		at += did;
		n -= (size_t)did;
	}
}

static inline void expect(int fd, const char *text)
{
	char got[256];
	size_t n = strlen(text);

	assert_true(n <= sizeof(got));
	for (size_t have = 0; have < n;) {
		ssize_t did = recv(fd, got + have, n - have, 0);

		assert_true(did > 0);
		have += (size_t)did;
	}
	assert_memory_equal(got, text, n);
}

static inline void expect_end(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

/* ---- echo of whole lines ---- */

static inline size_t echo_lines(void *ctx, struct slice bytes)
{
	size_t took = 0;

	for (size_t i = 0; i < bytes.len; i++) {
		if (bytes.ptr[i] != '\n')
			continue;
		if (conn_write(ctx, slice_make(bytes.ptr + took, i + 1 - took)) < 0)
			atomic_fetch_add(&seen.errors, 1);
		took = i + 1;
	}
	return took;
}

static inline void count_drained(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&seen.drained, 1);
}

static const struct conn_session echo = {
	.on_bytes = echo_lines,
	.on_drained = count_drained,
	.on_closed = on_closed,
};

/* ---- large output ---- */

enum { BIG_PARTS = 200, BIG_BLOB = 256 << 10 };
static struct blob *big;

static inline size_t send_big(void *ctx, struct slice bytes)
{
	conn_set_output_max(ctx, 1u << 30);
	for (int i = 0; i < BIG_PARTS; i++) {
		size_t n = (size_t)(i * 97) * (size_t)(i % 14) %
			   BIG_BLOB; /* short parts are copied, long ones shared */
		struct slice part = slice_make(big->bytes + BIG_BLOB - n, n);

		if (conn_write(ctx, SLICE_LIT("[")) < 0 || conn_write_blob(ctx, big, part) < 0 ||
		    conn_write(ctx, slice_make(big->bytes, n / 2)) < 0 ||
		    conn_write(ctx, slice_make(big->bytes + n / 2, n - n / 2)) < 0 ||
		    conn_write(ctx, SLICE_LIT("]")) < 0)
			atomic_fetch_add(&seen.errors, 1);
	}
	return bytes.len;
}

static const struct conn_session sends_big = {
	.on_bytes = send_big,
	.on_drained = count_drained,
	.on_closed = on_closed,
};

static inline void make_big(void)
{
	big = blob_new(BIG_BLOB, NULL);
	assert_non_null(big);
	for (size_t i = 0; i < BIG_BLOB; i++)
		big->bytes[i] = (uint8_t)(i * 31 >> 3);
	big->len = BIG_BLOB;
}

static inline void expect_bytes(int fd, const uint8_t *bytes, size_t n)
{
	static uint8_t got[BIG_BLOB];

	for (size_t have = 0; have < n;) {
		ssize_t did = recv(fd, got + have, n - have, 0);

		assert_true(did > 0);
		have += (size_t)did;
	}
	assert_memory_equal(got, bytes, n);
}

/* A test over that many filters. */
#define VEILED(test) cmocka_unit_test_setup_teardown(test, over_a_veil, over_tcp)
#define TWICE_VEILED(test) cmocka_unit_test_setup_teardown(test, over_two_veils, over_tcp)

#endif
