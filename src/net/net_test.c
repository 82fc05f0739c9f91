/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "net/net_private.h"
#include "net/veil.h"

/*
 * Loops in threads, real sockets over loopback. The test thread is the client;
 * what sessions saw is counted in atomics, and asserted by the test thread.
 */

#define MS 1000000LL

static void nap_ms(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

	(void)nanosleep(&ts, NULL);
}

/* Waits for a value that another thread sets; far too long is a failure. */
static void await(_Atomic int64_t *value, int64_t wanted)
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

static int push_veils(void *ctx, struct conn *c)
{
	int rc = refuse_filters ? ERR_NOMEM : 0;

	(void)ctx;
	for (int i = 0; i < veils && rc == 0; i++)
		rc = veil_push(c);
	return rc;
}

static int over_a_veil(void **state)
{
	(void)state;
	veils = 1;
	return 0;
}

static int over_two_veils(void **state)
{
	(void)state;
	veils = 2;
	return 0;
}

static int over_tcp(void **state)
{
	(void)state;
	veils = 0;
	return 0;
}

static void on_closed(void *ctx, enum conn_close_reason reason)
{
	(void)ctx;
	atomic_fetch_add(&seen.closed_for[reason], 1);
	atomic_fetch_add(&seen.closed, 1);
}

static int on_accept(void *ctx, struct conn *c)
{
	(void)ctx;
	seen.conn = c;
	conn_set_session(c, serve_with, c);
	conn_set_input_max(c, input_max);
	atomic_fetch_add(&seen.accepted_on[loop_number(conn_loop(c))], 1);
	atomic_fetch_add(&seen.accepted, 1);
	return 0;
}

static void on_refuse(void *ctx, struct conn *c)
{
	(void)ctx;
	(void)conn_write(c, SLICE_LIT("busy\n"));
	atomic_fetch_add(&seen.refused, 1);
}

static void on_exhausted(void *ctx, int err)
{
	(void)ctx;
	atomic_fetch_add(&seen.exhausted, err == -EMFILE);
}

static void *run_loop(void *loop)
{
	loop_run(loop);
	return NULL;
}

static void make_loops(struct server *s, uint32_t count)
{
	memset(s, 0, sizeof(*s));
	memset((void *)&seen, 0, sizeof(seen));
	s->count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct loop_options options = {.sys = sys_kernel(), .number = i};

		assert_int_equal(loop_new(&options, &s->loops[i]), 0);
	}
}

static void run_loops(struct server *s)
{
	for (uint32_t i = 0; i < s->count; i++)
		assert_int_equal(pthread_create(&s->threads[i], NULL, run_loop, s->loops[i]), 0);
}

static void start(struct server *s, uint32_t count, const struct conn_session *session, uint32_t max)
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

	make_loops(s, count);
	serve_with = session;
	input_max = 0;
	assert_int_equal(listener_open(&options, s->loops, count, &s->listener, s->bound, &fault), 0);
	s->port = (uint16_t)atoi(strrchr(s->bound, ':') + 1);
	assert_true(s->port > 0);
	run_loops(s);
}

static void stop(struct server *s)
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

static void run_call(struct loop *loop, struct loop_msg *msg)
{
	struct call *call = (struct call *)msg;

	call->fn(loop, call->arg);
	(void)sem_post(&call->done);
}

static void on_loop(struct loop *loop, void (*fn)(struct loop *loop, void *arg), void *arg)
{
	struct call call = {.msg.run = run_call, .fn = fn, .arg = arg};

	(void)sem_init(&call.done, 0, 0);
	loop_post(loop, &call.msg);
	while (sem_wait(&call.done) < 0)
		;
	(void)sem_destroy(&call.done);
}

static void read_turns(struct loop *loop, void *arg)
{
	*(uint64_t *)arg = loop_turns(loop);
}

/* Turns in `ms` milliseconds, the one of asking not counted. */
static uint64_t turns_during(struct loop *loop, long ms)
{
	uint64_t before, after;

	on_loop(loop, read_turns, &before);
	nap_ms(ms);
	on_loop(loop, read_turns, &after);
	return after - before - 1;
}

/* ---- the client ---- */

static int dial_socket(int fd, uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static int dial_bare(const struct server *s)
{
	struct timeval patience = {20, 0};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (veils) /* the socket is to be full before a filter waits for anything else */
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){32 << 10}, sizeof(int));
	return dial_socket(fd, s->port);
}

static int dial(const struct server *s)
{
	int fd = dial_bare(s);

	for (int i = 0; i < veils; i++)
		fd = veil_client(fd);
	return fd;
}

static void put(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n > 0) {
		ssize_t did = send(fd, at, n, MSG_NOSIGNAL);

		assert_true(did > 0);
		at += did;
		n -= (size_t)did;
	}
}

static void expect(int fd, const char *text)
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

static void expect_end(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

/* ---- echo of whole lines ---- */

static size_t echo_lines(void *ctx, struct slice bytes)
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

static void count_drained(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&seen.drained, 1);
}

static const struct conn_session echo = {
	.on_bytes = echo_lines,
	.on_drained = count_drained,
	.on_closed = on_closed,
};

static void answers_are_the_same_however_the_bytes_are_cut(void **state)
{
	const char *text = "one\ntwo\n\nthe fourth line\n";
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial(&s);
	put(fd, text, strlen(text));
	expect(fd, text);
	await(&seen.drained, 1); /* four writes, one credit */
	for (size_t i = 0; i < strlen(text); i++) {
		put(fd, text + i, 1);
		nap_ms(1);
	}
	expect(fd, text);
	(void)close(fd);
	await(&seen.closed_for[CONN_CLOSED_BY_PEER], 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

static void stopping_closes_what_is_open(void **state)
{
	struct server s;
	int fds[5];

	(void)state;
	start(&s, 1, &echo, 0);
	for (int i = 0; i < 5; i++)
		fds[i] = dial(&s);
	await(&seen.accepted, 5);
	stop(&s);
	assert_int_equal(atomic_load(&seen.closed_for[CONN_STOPPED]), 5);
	for (int i = 0; i < 5; i++) {
		expect_end(fds[i]);
		(void)close(fds[i]);
	}
}

/* ---- large output ---- */

enum { BIG_PARTS = 200, BIG_BLOB = 256 << 10 };
static struct blob *big;

static size_t send_big(void *ctx, struct slice bytes)
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

static void make_big(void)
{
	big = blob_new(BIG_BLOB, NULL);
	assert_non_null(big);
	for (size_t i = 0; i < BIG_BLOB; i++)
		big->bytes[i] = (uint8_t)(i * 31 >> 3);
	big->len = BIG_BLOB;
}

static void expect_bytes(int fd, const uint8_t *bytes, size_t n)
{
	static uint8_t got[BIG_BLOB];

	for (size_t have = 0; have < n;) {
		ssize_t did = recv(fd, got + have, n - have, 0);

		assert_true(did > 0);
		have += (size_t)did;
	}
	assert_memory_equal(got, bytes, n);
}

static void a_slow_reader_gets_all_and_blobs_come_back(void **state)
{
	struct server s;
	int fd;

	(void)state;
	make_big();
	start(&s, 1, &sends_big, 0);
	fd = dial(&s);
	put(fd, "go", 2);
	nap_ms(20);
	assert_true(atomic_load(&big->refs) > 1);
	assert_int_equal(atomic_load(&seen.drained), 0);
	for (int i = 0; i < BIG_PARTS; i++) {
		size_t n = (size_t)(i * 97) * (size_t)(i % 14) % BIG_BLOB;

		if (i % 20 == 0)
			nap_ms(5);
		expect(fd, "[");
		expect_bytes(fd, big->bytes + BIG_BLOB - n, n);
		expect_bytes(fd, big->bytes, n);
		expect(fd, "]");
	}
	await(&seen.drained, 1);
	assert_true(turns_during(s.loops[0], 50) <= 1); /* room to write is no event any more */
	assert_int_equal(atomic_load(&seen.drained), 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	assert_int_equal(atomic_load(&big->refs), 1);
	put(fd, "go", 2); /* and cut in the middle */
	nap_ms(10);
	(void)close(fd);
	await(&seen.closed_for[CONN_RESET], 1);
	stop(&s);
	assert_int_equal(atomic_load(&big->refs), 1);
	blob_unref(big);
}

static size_t write_until_refused(void *ctx, struct slice bytes)
{
	static uint8_t piece[64 << 10];
	int rc = 0;

	while (rc == 0) {
		rc = conn_write(ctx, slice_make(piece, sizeof(piece)));
		if (rc == 0)
			atomic_fetch_add(&seen.bytes, (int64_t)sizeof(piece));
	}
	if (rc != ERR_LIMIT)
		atomic_fetch_add(&seen.errors, 1);
	atomic_store(&seen.largest, (int64_t)conn_pending(ctx));
	conn_abort(ctx);
	if (conn_write(ctx, slice_make(piece, 1)) != ERR_CANCELLED)
		atomic_fetch_add(&seen.errors, 1);
	return bytes.len;
}

static void output_is_bounded(void **state)
{
	const struct conn_session session = {.on_bytes = write_until_refused, .on_closed = on_closed};
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &session, 0);
	fd = dial(&s);
	put(fd, "go", 2);
	await(&seen.closed_for[CONN_CLOSED_BY_US], 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	assert_true(atomic_load(&seen.largest) > 1 << 20);
	assert_true(atomic_load(&seen.largest) <= (1 << 20) + (64 << 10));
	assert_true(atomic_load(&seen.bytes) >
		    atomic_load(&seen.largest)); /* the kernel was asked at the bound */
	(void)close(fd);
	stop(&s);
}

/* A session that writes again with each credit must not keep another from its turn. */
static void write_more(void *ctx)
{
	atomic_fetch_add(&seen.drained, 1);
	(void)conn_write(ctx, SLICE_LIT("more and more and more and more\n"));
}

static size_t write_once(void *ctx, struct slice bytes)
{
	write_more(ctx);
	return bytes.len;
}

static void *read_for_ever(void *arg)
{
	static char bytes[1 << 16];
	int fd = *(int *)arg;

	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
	return NULL;
}

static void a_reader_that_is_always_drained_does_not_starve_others(void **state)
{
	const struct conn_session session = {.on_bytes = write_once,
					     .on_drained = write_more,
					     .on_closed = on_closed};
	struct server s;
	pthread_t reader;
	uint64_t turns;
	int fd;

	(void)state;
	start(&s, 1, &session, 0);
	fd = dial(&s);
	assert_int_equal(pthread_create(&reader, NULL, read_for_ever, &fd), 0);
	put(fd, "go", 2);
	nap_ms(50);
	for (int i = 0; i < 10; i++)
		on_loop(s.loops[0], read_turns, &turns); /* returns only if turns go on */
	assert_true(atomic_load(&seen.drained) > 10);
	stop(&s);
	assert_int_equal(pthread_join(reader, NULL), 0);
	(void)close(fd);
}

/* ---- input bounds and stopping ---- */

static _Atomic bool take_input;

static size_t take_if_told(void *ctx, struct slice bytes)
{
	(void)ctx;
	if ((int64_t)bytes.len > atomic_load(&seen.largest))
		atomic_store(&seen.largest, (int64_t)bytes.len);
	if (!atomic_load(&take_input))
		return 0;
	atomic_fetch_add(&seen.bytes, (int64_t)bytes.len);
	return bytes.len;
}

static void resume(struct loop *loop, void *arg)
{
	(void)loop;
	(void)arg;
	atomic_store(&take_input, true);
	conn_read_start(seen.conn);
}

static void pause_reading(struct loop *loop, void *arg)
{
	(void)loop;
	(void)arg;
	conn_read_stop(seen.conn);
}

static const struct conn_session takes_if_told = {.on_bytes = take_if_told, .on_closed = on_closed};

static size_t send_until_full(int fd)
{
	static char bytes[64 << 10];
	size_t sent = 0;

	for (int idle = 0; idle < 20;) {
		ssize_t did = send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (did > 0) {
			sent += (size_t)did;
			idle = 0;
		} else {
			assert_int_equal(errno, EAGAIN);
			idle++;
			nap_ms(5);
		}
	}
	return sent;
}

static void input_nobody_takes_stops_the_sender(void **state)
{
	struct server s;
	size_t sent;
	int fd;

	(void)state;
	atomic_store(&take_input, false);
	start(&s, 1, &takes_if_told, 0);
	input_max = 100000;
	fd = dial(&s);
	sent = send_until_full(fd);
	assert_int_equal(atomic_load(&seen.largest), 100000);
	assert_true(turns_during(s.loops[0], 100) <= 1); /* full: epoll is silent */
	on_loop(s.loops[0], resume, NULL);
	await(&seen.bytes, (int64_t)sent);
	(void)close(fd);
	await(&seen.closed, 1);
	stop(&s);
}

static void stopped_reading_is_silent_and_resumes(void **state)
{
	struct server s;
	int fd;

	(void)state;
	atomic_store(&take_input, false);
	start(&s, 1, &takes_if_told, 0);
	fd = dial(&s);
	put(fd, "abc", 3);
	await(&seen.largest, 3);
	on_loop(s.loops[0], pause_reading, NULL);
	put(fd, "def", 3);
	nap_ms(20);
	assert_true(turns_during(s.loops[0], 100) <= 1);
	assert_int_equal(atomic_load(&seen.largest), 3);
	on_loop(s.loops[0], resume, NULL);
	await(&seen.bytes, 6);
	(void)close(fd);
	await(&seen.closed, 1);
	stop(&s);
}

/* ---- closing ---- */

static size_t answer_and_close(void *ctx, struct slice bytes)
{
	(void)bytes;
	if (conn_write(ctx, SLICE_LIT("413 too large\n")) < 0)
		atomic_fetch_add(&seen.errors, 1);
	conn_close(ctx, 2000 * MS);
	return 0;
}

static void lingering_lets_the_answer_through(void **state)
{
	const struct conn_session session = {.on_bytes = answer_and_close, .on_closed = on_closed};
	static char body[8 << 20];
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &session, 0);
	fd = dial(&s);
	put(fd, body, sizeof(body)); /* all of it before the answer is looked at */
	expect(fd, "413 too large\n");
	expect_end(fd);
	(void)close(fd);
	await(&seen.closed_for[CONN_CLOSED_BY_US], 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

static size_t close_shortly(void *ctx, struct slice bytes)
{
	conn_close(ctx, 100 * MS);
	return bytes.len;
}

static void lingering_ends_in_time(void **state)
{
	const struct conn_session session = {.on_bytes = close_shortly, .on_closed = on_closed};
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &session, 0);
	fd = dial(&s);
	put(fd, "x", 1);
	expect_end(fd);
	await(&seen.closed_for[CONN_CLOSED_BY_US], 1); /* though the peer never ends */
	(void)close(fd);
	stop(&s);
}

static char plenty[4 << 20];

static size_t finish(void *ctx, struct slice bytes)
{
	if (conn_write(ctx, slice_make(plenty, sizeof(plenty))) < 0)
		atomic_fetch_add(&seen.errors, 1);
	conn_finish(ctx, 3600 * 1000 * MS);
	return bytes.len;
}

/* The peer neither ends nor reads at first: what it has not got stays, and then there is no waiting for its end. */
static void finishing_waits_until_the_peer_has_everything(void **state)
{
	const struct conn_session session = {.on_bytes = finish, .on_closed = on_closed};
	static char got[sizeof(plenty)];
	struct server s;
	size_t n = 0;
	int fd;

	(void)state;
	start(&s, 1, &session, 0);
	fd = dial(&s);
	put(fd, "x", 1);
	nap_ms(300);
	assert_int_equal(atomic_load(&seen.closed), 0);
	while (n < sizeof(got)) {
		ssize_t more = recv(fd, got + n, sizeof(got) - n, 0);
		assert_true(more > 0);
		n += (size_t)more;
	}
	expect_end(fd);
	await(&seen.closed_for[CONN_CLOSED_BY_US], 1); /* await has less patience than the linger */
	assert_int_equal(atomic_load(&seen.errors), 0);
	(void)close(fd);
	stop(&s);
}

static void count_end(void *ctx)
{
	atomic_fetch_add(&seen.ended, 1);
	(void)conn_write(ctx, SLICE_LIT("after your end\n"));
	conn_close(ctx, 0);
}

static void half_a_close_still_gets_its_answer(void **state)
{
	const struct conn_session session = {.on_bytes = echo_lines,
					     .on_end = count_end,
					     .on_closed = on_closed};
	struct server s;
	int fd;

	(void)state;
	atomic_store(&veil_met.cut_short, 0);
	start(&s, 1, &session, 0);
	fd = dial(&s);
	put(fd, "x\n", 2);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect(fd, "x\nafter your end\n");
	expect_end(fd);
	assert_int_equal(atomic_load(&veil_met.cut_short), 0);
	await(&seen.closed_for[CONN_CLOSED_BY_PEER], 1);
	assert_int_equal(atomic_load(&seen.ended), 1);
	(void)close(fd);
	stop(&s);
}

static void only_count_end(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&seen.ended, 1);
}

static void an_end_that_is_not_answered_is_silent(void **state)
{
	const struct conn_session session = {.on_bytes = echo_lines,
					     .on_end = only_count_end,
					     .on_closed = on_closed};
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &session, 0);
	fd = dial(&s);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	await(&seen.ended, 1);
	assert_true(turns_during(s.loops[0], 100) <= 1); /* an end stays readable for ever */
	assert_int_equal(atomic_load(&seen.ended), 1);
	stop(&s);
	expect_end(fd);
	(void)close(fd);
}

static void present_again(struct loop *loop, void *arg)
{
	(void)loop;
	(void)arg;
	conn_read_start(seen.conn);
}

static void credit_is_told_once(void **state)
{
	uint64_t turns;
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial(&s);
	put(fd, "x\nhalf a line", 13);
	expect(fd, "x\n");
	await(&seen.drained, 1);
	for (int i = 0; i < 3; i++) /* work for the connection, and nothing written */
		on_loop(s.loops[0], present_again, NULL);
	on_loop(s.loops[0], read_turns, &turns);
	assert_int_equal(atomic_load(&seen.drained), 1);
	put(fd, "\n", 1);
	expect(fd, "half a line\n");
	await(&seen.drained, 2);
	(void)close(fd);
	stop(&s);
}

static void a_reset_is_told_from_an_end(void **state)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial(&s);
	put(fd, "x\n", 2);
	expect(fd, "x\n");
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
	(void)close(fd);
	await(&seen.closed_for[CONN_RESET], 1);
	stop(&s);
}

static void ask_peer(struct loop *loop, void *arg)
{
	(void)loop;
	conn_peer(seen.conn, arg);
}

static void the_peer_is_named(void **state)
{
	struct conn_peer peer;
	struct sockaddr_in self;
	socklen_t n = sizeof(self);
	char text[64];
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial(&s);
	await(&seen.accepted, 1);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&self, &n), 0);
	(void)snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(self.sin_port));
	on_loop(s.loops[0], ask_peer, &peer);
	assert_string_equal(peer.text, text);
	assert_true(peer.loopback);
	(void)close(fd);
	await(&seen.closed, 1);
	stop(&s);
}

/* ---- timers ---- */

static _Atomic int64_t fired;
static char order[16];
static int64_t set_at, fired_after[4];

struct named_timer {
	struct loop_timer timer;
	struct loop *loop;
	int64_t after_ns;
	char name;
};
static struct named_timer timers[4];

static void note_timer(void *ctx)
{
	struct named_timer *t = ctx;
	int64_t n = atomic_load(&fired);

	order[n] = t->name;
	fired_after[n] = loop_now(t->loop) - set_at - t->after_ns;
	atomic_store(&fired, n + 1);
	if (t->name == 'a') { /* moves one, stops one, arms itself */
		t->name = 'z';
		timers[3].after_ns = loop_now(t->loop) - set_at + 100 * MS;
		loop_timer_set(t->loop, &timers[3].timer, 100 * MS);
		loop_timer_stop(t->loop, &timers[1].timer);
		loop_timer_stop(t->loop, &timers[1].timer);
		t->after_ns = loop_now(t->loop) - set_at + 400 * MS;
		loop_timer_set(t->loop, &t->timer, 400 * MS);
	}
}

static void set_timers(struct loop *loop, void *arg)
{
	static const int64_t after_ms[4] = {10, 600, 300, 90000000};

	(void)arg;
	set_at = loop_now(loop);
	for (int i = 0; i < 4; i++) {
		timers[i] = (struct named_timer){.loop = loop,
						 .after_ns = after_ms[i] * MS,
						 .name = (char)('a' + i)};
		loop_timer_init(&timers[i].timer, note_timer, &timers[i]);
		loop_timer_set(loop, &timers[i].timer, timers[i].after_ns);
	}
	if (atomic_load(&fired))
		atomic_fetch_add(&seen.errors, 1);
}

static void timers_fire_in_order_move_and_stop(void **state)
{
	struct server s;

	(void)state;
	atomic_store(&fired, 0);
	make_loops(&s, 1);
	run_loops(&s);
	on_loop(s.loops[0], set_timers, NULL);
	await(&fired, 4);
	nap_ms(300);
	assert_int_equal(atomic_load(&fired), 4);
	assert_memory_equal(order, "adcz", 4);
	for (int i = 0; i < 4; i++)
		assert_true(fired_after[i] >= 0); /* never early */
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

enum { FAR_TIMERS = 10000 };
static struct loop_timer far_timers[FAR_TIMERS];

static void never(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&seen.errors, 1);
}

static void set_far_timers(struct loop *loop, void *arg)
{
	(void)arg;
	for (int i = 0; i < FAR_TIMERS; i++) {
		loop_timer_init(&far_timers[i], never, NULL);
		loop_timer_set(loop, &far_timers[i], (60000 + i * 50) * MS); /* past a round too */
	}
}

static void stop_far_timers(struct loop *loop, void *arg)
{
	(void)arg;
	for (int i = 0; i < FAR_TIMERS; i++)
		loop_timer_stop(loop, &far_timers[i]);
}

static void an_idle_loop_does_not_tick(void **state)
{
	struct server s;

	(void)state;
	make_loops(&s, 1);
	run_loops(&s);
	assert_int_equal(turns_during(s.loops[0], 300), 0);
	on_loop(s.loops[0], set_far_timers, NULL);
	assert_int_equal(turns_during(s.loops[0], 500), 0);
	on_loop(s.loops[0], stop_far_timers, NULL);
	assert_int_equal(turns_during(s.loops[0], 300), 0);
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

static void count_fired(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&fired, 1);
}

static void set_timer(struct loop *loop, void *arg)
{
	(void)arg;
	loop_timer_init(&far_timers[0], never, NULL);
	loop_timer_set(loop, &far_timers[0], 300 * MS);
}

static void stop_timer(struct loop *loop, void *arg)
{
	(void)arg;
	loop_timer_stop(loop, &far_timers[0]);
}

static void set_another_timer(struct loop *loop, void *arg)
{
	(void)arg;
	loop_timer_init(&far_timers[1], count_fired, NULL);
	loop_timer_set(loop, &far_timers[1], 1000 * MS);
}

static void a_timer_that_was_stopped_wakes_nobody(void **state)
{
	struct server s;

	(void)state;
	make_loops(&s, 1);
	run_loops(&s);
	atomic_store(&fired, 0);
	on_loop(s.loops[0], set_timer, NULL);
	on_loop(s.loops[0], stop_timer, NULL);
	assert_int_equal(turns_during(s.loops[0], 500), 0); /* none is left */
	on_loop(s.loops[0], set_timer, NULL);
	on_loop(s.loops[0], set_another_timer, NULL);
	on_loop(s.loops[0], stop_timer, NULL);
	assert_int_equal(turns_during(s.loops[0], 500), 0); /* a later one is */
	await(&fired, 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

/* A clock that the test moves: rounds of the wheel without waiting for them. */
static int64_t false_now;

static int64_t false_clock(void *self)
{
	(void)self;
	return false_now;
}

/* Whatever the jump, an earlier tick comes before a later one. */
static void count_in_order(void *ctx)
{
	static int64_t last;
	int64_t tick = (((struct loop_timer *)ctx)->at_ns + 64 * MS - 1) / (64 * MS);

	if (tick < last)
		atomic_fetch_add(&seen.errors, 1);
	last = tick;
	atomic_fetch_add(&seen.drained, 1);
}

static void jump_and_ring(struct loop *loop, void *arg)
{
	static struct loop_timer kick;

	false_now += *(int64_t *)arg;
	(void)loop_now_fresh(loop);
	loop->wheel.wake_tick = INT64_MAX; /* the alarm goes by the real clock: set it anew */
	loop_timer_init(&kick, count_drained, NULL);
	loop_timer_set(loop, &kick, 0); /* due in the next tick at the latest */
	false_now += 70 * MS;
}

static void many_timers_over_many_rounds_fire_each_at_its_time(void **state)
{
	static struct named_timer many[500];
	static struct sys_ops ops;
	struct sys sys = {.ops = &ops};
	struct loop_options options = {.sys = &sys};
	struct server s;
	int64_t step = 40000 * MS;

	(void)state;
	ops = *sys_kernel()->ops;
	ops.monotonic_ns = false_clock;
	false_now = 1000000 * MS;
	make_loops(&s, 0);
	s.count = 1;
	assert_int_equal(loop_new(&options, &s.loops[0]), 0);
	atomic_store(&fired, 0);
	for (int i = 0; i < 500; i++) { /* up to 1 000 s: four rounds */
		loop_timer_init(&many[i].timer, count_in_order, &many[i].timer);
		loop_timer_set(s.loops[0], &many[i].timer, (i * 7919 % 500) * 2000 * MS + MS);
	}
	run_loops(&s);
	for (int64_t jumps = 1; jumps <= 26; jumps++) {
		int64_t passed, due;

		on_loop(s.loops[0], jump_and_ring, &step);
		passed = false_now - 1000000 * MS;
		due = (passed - MS) / (2000 * MS) + 1;
		await(&seen.drained, (due > 500 ? 500 : due) + jumps); /* and one kick each */
	}
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

/* ---- messages and wakers ---- */

enum { POSTS = 20000 };
struct numbered {
	struct loop_msg msg;
	int64_t sender, number;
};
static struct numbered posts[2][POSTS];
static int64_t next_number[2];

static void take_numbered(struct loop *loop, struct loop_msg *msg)
{
	struct numbered *n = (struct numbered *)msg;

	(void)loop;
	if (next_number[n->sender]++ != n->number)
		atomic_fetch_add(&seen.errors, 1);
	atomic_fetch_add(&seen.bytes, 1);
}

struct sender {
	struct loop *loop;
	int64_t number;
};

static void *post_all(void *arg)
{
	struct sender *sender = arg;

	for (int64_t i = 0; i < POSTS; i++) {
		struct numbered *n = &posts[sender->number][i];

		*n = (struct numbered){.msg.run = take_numbered, .sender = sender->number, .number = i};
		loop_post(sender->loop, &n->msg);
		if (i % 1000 == 0)
			nap_ms(1); /* lets the loop fall asleep now and then */
	}
	return NULL;
}

static void messages_arrive_once_and_in_order(void **state)
{
	struct sender senders[2];
	pthread_t threads[2];
	struct server s;

	(void)state;
	make_loops(&s, 1);
	next_number[0] = 0;
	next_number[1] = 0;
	run_loops(&s);
	for (int i = 0; i < 2; i++) {
		senders[i] = (struct sender){s.loops[0], i};
		assert_int_equal(pthread_create(&threads[i], NULL, post_all, &senders[i]), 0);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	await(&seen.bytes, 2 * POSTS);
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

static void pass_on(struct loop *loop, struct loop_msg *msg)
{
	struct loop **other = loop_owner(loop);

	if (atomic_fetch_add(&seen.bytes, 1) < 1000)
		loop_post(*other, msg); /* owned by whoever gets it */
}

static void a_message_goes_back_and_forth_between_loops(void **state)
{
	struct loop_msg msg = {.run = pass_on};
	struct server s;

	(void)state;
	make_loops(&s, 2);
	loop_set_owner(s.loops[0], &s.loops[1]);
	loop_set_owner(s.loops[1], &s.loops[0]);
	loop_post(s.loops[0], &msg); /* before they run */
	run_loops(&s);
	await(&seen.bytes, 1001);
	stop(&s);
}

static void count_wake(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&seen.drained, 1);
}

static void be_busy(struct loop *loop, void *arg)
{
	(void)loop;
	for (int i = 0; i < 1000; i++)
		loop_waker_wake(arg);
}

static void many_wakes_are_one_run(void **state)
{
	struct loop_waker *w;
	struct server s;

	(void)state;
	make_loops(&s, 1);
	assert_int_equal(loop_waker_new(s.loops[0], count_wake, NULL, &w), 0);
	run_loops(&s);
	loop_waker_wake(w);
	await(&seen.drained, 1);
	on_loop(s.loops[0], be_busy, w);
	await(&seen.drained, 2);
	assert_int_equal(turns_during(s.loops[0], 50), 0);
	assert_int_equal(atomic_load(&seen.drained), 2);
	for (int i = 0; i < POSTS; i++) { /* a race with falling asleep: the last wake is never lost */
		int64_t before = atomic_load(&seen.drained);

		loop_waker_wake(w);
		for (int tries = 0; tries < 20000000 && atomic_load(&seen.drained) == before; tries++)
			(void)sched_yield();
		assert_true(atomic_load(&seen.drained) > before);
	}
	loop_stop(s.loops[0]);
	assert_int_equal(pthread_join(s.threads[0], NULL), 0);
	loop_waker_wake(w); /* after the end: nothing, and nothing lost */
	loop_waker_free(w);
	loop_free(s.loops[0]);
}

struct hook {
	struct loop_turn turn;
	struct loop *loop;
	_Atomic int64_t runs;
};

static void run_hook(void *ctx)
{
	struct hook *h = ctx;

	atomic_fetch_add(&h->runs, 1);
}

static void ask_for_turn_end(struct loop *loop, void *arg)
{
	struct hook *h = arg;

	h->turn.run = run_hook;
	h->turn.ctx = h;
	for (int i = 0; i < 10; i++)
		loop_at_turn_end(loop, &h->turn);
	if (atomic_load(&h->runs))
		atomic_fetch_add(&seen.errors, 1);
}

static void the_end_of_a_turn_is_told_once(void **state)
{
	struct hook h = {0};
	struct server s;

	(void)state;
	make_loops(&s, 1);
	run_loops(&s);
	on_loop(s.loops[0], ask_for_turn_end, &h);
	await(&h.runs, 1);
	assert_int_equal(turns_during(s.loops[0], 50), 0);
	assert_int_equal(atomic_load(&h.runs), 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

/* ---- listeners ---- */

/* Bytes are the session's; but while a connection lingers its filters are gone, and what still comes counts as it is. */
static void expect_traffic(const struct listener_figures *f, uint64_t received, uint64_t sent)
{
	if (veils) {
		assert_true(f->bytes_received >= received && f->bytes_sent == sent);
	} else {
		assert_int_equal(f->bytes_received, received);
		assert_int_equal(f->bytes_sent, sent);
	}
}

static void past_the_cap_one_answer_and_the_end(void **state)
{
	struct listener_figures figures;
	struct server s;
	int a, b, c;

	(void)state;
	start(&s, 1, &echo, 2);
	a = dial(&s);
	b = dial(&s);
	await(&seen.accepted, 2);
	c = dial(&s);
	expect(c, "busy\n");
	expect_end(c);
	(void)close(c);
	assert_int_equal(atomic_load(&seen.refused), 1);
	listener_figures(s.listener, &figures);
	assert_int_equal(figures.refused, 1);
	expect_traffic(&figures, 0, 5);
	assert_false(listener_has_room(s.listener));
	(void)close(a);
	await(&seen.closed, 1);
	for (int i = 0; i < 5000 && listener_connections(s.listener) > 1; i++)
		nap_ms(1);
	a = dial(&s);
	put(a, "x\n", 2);
	expect(a, "x\n");
	(void)close(a);
	(void)close(b);
	await(&seen.closed, 3);
	listener_figures(s.listener, &figures);
	expect_traffic(&figures, 2, 7);
	assert_true(listener_has_room(s.listener));
	stop(&s);
}

static void two_loops_share_a_port(void **state)
{
	struct server s;
	int fds[64];

	(void)state;
	start(&s, 2, &echo, 0);
	for (int i = 0; i < 64; i++)
		fds[i] = dial(&s);
	await(&seen.accepted, 64);
	assert_true(atomic_load(&seen.accepted_on[0]) > 0);
	assert_true(atomic_load(&seen.accepted_on[1]) > 0);
	for (int i = 0; i < 64; i++)
		(void)close(fds[i]);
	await(&seen.closed, 64);
	stop(&s);
}

static void try_address(struct server *s, const char *address, uint32_t loops, int wanted)
{
	struct listener_options options = {.address = address, .on_accept = on_accept};
	struct listener *l = NULL;
	struct fault fault = {0};
	char bound[64];
	int rc = listener_open(&options, s->loops, loops, &l, bound, &fault);

	assert_int_equal(rc, wanted);
	if (rc < 0)
		assert_true(fault.text[0] != '\0');
	else
		listener_close(l); /* its loops have not run yet: the messages are taken back */
}

static void an_address_in_use_is_refused(void **state)
{
	struct server s, second;

	(void)state;
	start(&s, 2, &echo, 0);
	for (uint32_t i = 0; i < 2; i++) {
		struct loop_options options = {.sys = sys_kernel(), .number = i};

		assert_int_equal(loop_new(&options, &second.loops[i]), 0);
	}
	try_address(&second, s.bound, 1, ERR_IN_USE);
	try_address(&second, s.bound, 2, ERR_IN_USE);
	stop(&s);
	try_address(&second, s.bound, 2, 0);
	for (uint32_t i = 0; i < 2; i++)
		loop_free(second.loops[i]);
}

static void addresses_come_in_three_forms(void **state)
{
	static const char *const bad[] = {"",
					  "8080",
					  "127.0.0.1",
					  "127.0.0.1:",
					  "127.0.0.1:65536",
					  "127.0.0.1:x",
					  "::1:80",
					  "[]:80",
					  "no.such.host.invalid:80"};
	struct server s;

	(void)state;
	make_loops(&s, 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		try_address(&s, bad[i], 1, ERR_BAD_PARAMETER);
	try_address(&s, ":0", 1, 0);
	try_address(&s, "localhost:0", 1, 0);
	try_address(&s, "192.0.2.1:0", 1, ERR_IO); /* a documentation address: nobody's */
	if (access("/proc/net/if_inet6", F_OK) == 0)
		try_address(&s, "[::]:0", 1, 0);
	loop_free(s.loops[0]);
}

static void a_stopped_listener_takes_no_more(void **state)
{
	struct server s;
	uint64_t turns;
	int fd, late;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial(&s);
	await(&seen.accepted, 1);
	listener_stop(s.listener);
	listener_stop(s.listener);
	on_loop(s.loops[0], read_turns, &turns);
	late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	{
		struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(s.port)};

		to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		assert_int_equal(connect(late, (struct sockaddr *)&to, sizeof(to)), -1);
		assert_int_equal(errno, ECONNREFUSED);
	}
	put(fd, "x\n", 2);
	expect(fd, "x\n");
	(void)close(fd);
	(void)close(late);
	stop(&s);
}

static int lowest_free_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)close(fd);
	return fd;
}

static void out_of_descriptors_is_no_busy_loop(void **state)
{
	struct rlimit old, low;
	struct server s;
	int64_t began;
	uint64_t turns, after;
	int first, second, third;

	(void)state;
	start(&s, 1, &echo, 0);
	first = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	second = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)lowest_free_fd();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	on_loop(s.loops[0], read_turns, &turns);
	began = sys_monotonic_ns(sys_kernel());
	(void)dial_socket(first, s.port);
	expect_end(first);
	assert_true(sys_monotonic_ns(sys_kernel()) - began >=
		    100 * MS); /* one pause, then told by the reserve */
	on_loop(s.loops[0], read_turns, &after);
	assert_true(after - turns <= 12);
	assert_int_equal(atomic_load(&seen.exhausted), 1); /* once a second */
	assert_int_equal(atomic_load(&seen.accepted), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	(void)dial_socket(second, s.port);
	put(second, "x\n", 2);
	expect(second, "x\n");
	third = dial(&s);
	put(third, "y\n", 2);
	expect(third, "y\n");
	(void)close(first);
	(void)close(second);
	(void)close(third);
	stop(&s);
}

static void no_memory_refuses_one_connection_only(void **state)
{
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	mem_fail_at(1);
	fd = dial(&s);
	expect_end(fd); /* there was none for the connection */
	(void)close(fd);
	fd = dial(&s);
	await(&seen.accepted, 1);
	mem_fail_at(1);
	put(fd, "x\n", 2);
	await(&seen.errors, 1); /* none for its output: conn_write said so */
	mem_fail_at(0);
	put(fd, "y\n", 2);
	expect(fd, "y\n");
	mem_fail_at(1);
	put(fd, "half a line", 11);
	expect_end(fd); /* none to keep its input */
	mem_fail_at(0);
	(void)close(fd);
	fd = dial(&s);
	put(fd, "x\n", 2);
	expect(fd, "x\n");
	(void)close(fd);
	stop(&s);
}

/* ---- filters ---- */

static void expect_big(int fd)
{
	for (int i = 0; i < BIG_PARTS; i++) {
		size_t n = (size_t)(i * 97) * (size_t)(i % 14) % BIG_BLOB;

		expect(fd, "[");
		expect_bytes(fd, big->bytes + BIG_BLOB - n, n);
		expect_bytes(fd, big->bytes, n);
		expect(fd, "]");
	}
}

/* Until a filter could not read because it could not write. */
static void *put_without_reading(void *arg)
{
	static const char line[1000];
	int64_t *sent = arg;
	int fd = (int)*sent;

	for (*sent = 0; *sent < 1 << 30 && !atomic_load(&veil_met.read_waited_to_write);
	     *sent += (int64_t)sizeof(line))
		put(fd, line, sizeof(line));
	return NULL;
}

static size_t send_big_once(void *ctx, struct slice bytes)
{
	if (atomic_fetch_add(&seen.bytes, (int64_t)bytes.len) == 0)
		(void)send_big(ctx, bytes);
	return bytes.len;
}

/* A sender that does not look at what it gets: reading and sending wait for each other, and both get there. */
static void each_direction_may_wait_for_the_other(void **state)
{
	const struct conn_session session = {.on_bytes = send_big_once,
					     .on_drained = count_drained,
					     .on_closed = on_closed};
	struct server s;
	pthread_t writer;
	int64_t sent;
	int fd;

	(void)state;
	make_big();
	memset((void *)&veil_met, 0, sizeof(veil_met));
	start(&s, 1, &session, 0);
	fd = dial(&s);
	sent = fd;
	assert_int_equal(pthread_create(&writer, NULL, put_without_reading, &sent), 0);
	for (int i = 0; i < 20000 && !atomic_load(&veil_met.read_waited_to_write); i++)
		nap_ms(1);
	expect_big(fd);
	assert_int_equal(pthread_join(writer, NULL), 0);
	await(&seen.bytes, sent);
	await(&seen.drained, 1);
	assert_true(turns_during(s.loops[0], 50) <= 1);
	assert_true(atomic_load(&veil_met.read_waited_to_write) > 0);
	assert_true(atomic_load(&veil_met.send_waited_to_read) > 0);
	assert_true(atomic_load(&veil_met.held) > 0);
	assert_true(atomic_load(&veil_met.cut_frames) > 0);
	(void)close(fd);
	await(&seen.closed_for[CONN_CLOSED_BY_PEER], 1);
	stop(&s);
	blob_unref(big);
}

static void filters_that_are_refused_close_the_connection(void **state)
{
	struct server s;
	int fd;

	(void)state;
	refuse_filters = true;
	start(&s, 1, &echo, 0);
	fd = dial_bare(&s);
	expect_end(fd);
	assert_int_equal(atomic_load(&seen.accepted), 0);
	(void)close(fd);
	stop(&s);
	refuse_filters = false;
}

static void expect_frame(int fd, char type)
{
	uint8_t head[VEIL_HEAD];

	assert_int_equal(recv(fd, head, sizeof(head), MSG_WAITALL), sizeof(head));
	assert_int_equal(head[0], type);
}

static void who_speaks_another_protocol_is_told(void **state)
{
	static char more[1 << 20];
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial_bare(&s);
	put(fd, "GET / HTTP/1.1\r\n", 16);
	put(fd, more, sizeof(more)); /* unread, it would turn the end into a reset */
	expect_frame(fd, 'X');
	expect_end(fd);
	(void)close(fd);
	await(&seen.closed_for[CONN_RESET], 1);
	stop(&s);
}

static void ask_direct(struct loop *loop, void *arg)
{
	(void)loop;
	*(bool *)arg = conn_is_direct(seen.conn);
	(void)conn_write(seen.conn, SLICE_LIT("x"));
	if (conn_is_direct(seen.conn)) /* not past what is queued */
		atomic_fetch_add(&seen.errors, 1);
}

static void output_that_waits_for_the_peer_is_silent(void **state)
{
	struct server s;
	bool direct;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial_bare(&s);
	await(&seen.accepted, 1);
	on_loop(s.loops[0], ask_direct, &direct);        /* writes before there was a hello */
	assert_true(turns_during(s.loops[0], 100) <= 1); /* room to write is no reason to try */
	put(fd, "H\0\0", 3);
	expect_frame(fd, 'H');
	expect_frame(fd, 'D');
	(void)close(fd);
	await(&seen.closed, 1);
	stop(&s);
}

static void an_end_that_the_filter_was_not_told_of_is_a_reset(void **state)
{
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial_bare(&s);
	put(fd, "H\0\0", 3);
	expect_frame(fd, 'H');
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	await(&seen.closed_for[CONN_RESET], 1);
	(void)close(fd);
	stop(&s);
}

static void a_filter_says_whether_the_socket_may_be_written(void **state)
{
	struct server s;
	bool direct;
	int fd;

	(void)state;
	for (veils = 0; veils < 2; veils++) {
		start(&s, 1, &echo, 0);
		fd = dial(&s);
		await(&seen.accepted, 1);
		on_loop(s.loops[0], ask_direct, &direct);
		assert_int_equal(direct, veils == 0);
		expect(fd, "x");
		(void)close(fd);
		await(&seen.closed, 1);
		assert_int_equal(atomic_load(&seen.errors), 0);
		stop(&s);
	}
	veils = 0;
}

#define VEILED(test) cmocka_unit_test_setup_teardown(test, over_a_veil, over_tcp)
#define TWICE_VEILED(test) cmocka_unit_test_setup_teardown(test, over_two_veils, over_tcp)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_the_same_however_the_bytes_are_cut),
		cmocka_unit_test(stopping_closes_what_is_open),
		cmocka_unit_test(a_slow_reader_gets_all_and_blobs_come_back),
		cmocka_unit_test(output_is_bounded),
		cmocka_unit_test(a_reader_that_is_always_drained_does_not_starve_others),
		cmocka_unit_test(input_nobody_takes_stops_the_sender),
		cmocka_unit_test(stopped_reading_is_silent_and_resumes),
		cmocka_unit_test(lingering_lets_the_answer_through),
		cmocka_unit_test(lingering_ends_in_time),
		cmocka_unit_test(finishing_waits_until_the_peer_has_everything),
		cmocka_unit_test(half_a_close_still_gets_its_answer),
		cmocka_unit_test(an_end_that_is_not_answered_is_silent),
		cmocka_unit_test(credit_is_told_once),
		cmocka_unit_test(a_reset_is_told_from_an_end),
		cmocka_unit_test(the_peer_is_named),
		cmocka_unit_test(timers_fire_in_order_move_and_stop),
		cmocka_unit_test(an_idle_loop_does_not_tick),
		cmocka_unit_test(a_timer_that_was_stopped_wakes_nobody),
		cmocka_unit_test(many_timers_over_many_rounds_fire_each_at_its_time),
		cmocka_unit_test(messages_arrive_once_and_in_order),
		cmocka_unit_test(a_message_goes_back_and_forth_between_loops),
		cmocka_unit_test(many_wakes_are_one_run),
		cmocka_unit_test(the_end_of_a_turn_is_told_once),
		cmocka_unit_test(past_the_cap_one_answer_and_the_end),
		cmocka_unit_test(two_loops_share_a_port),
		cmocka_unit_test(an_address_in_use_is_refused),
		cmocka_unit_test(addresses_come_in_three_forms),
		cmocka_unit_test(a_stopped_listener_takes_no_more),
		cmocka_unit_test(out_of_descriptors_is_no_busy_loop),
		cmocka_unit_test(no_memory_refuses_one_connection_only),
		cmocka_unit_test(filters_that_are_refused_close_the_connection),
		cmocka_unit_test(a_filter_says_whether_the_socket_may_be_written),
		VEILED(answers_are_the_same_however_the_bytes_are_cut),
		VEILED(stopping_closes_what_is_open),
		VEILED(a_slow_reader_gets_all_and_blobs_come_back),
		VEILED(output_is_bounded),
		VEILED(a_reader_that_is_always_drained_does_not_starve_others),
		VEILED(input_nobody_takes_stops_the_sender),
		VEILED(stopped_reading_is_silent_and_resumes),
		VEILED(lingering_lets_the_answer_through),
		VEILED(lingering_ends_in_time),
		VEILED(half_a_close_still_gets_its_answer),
		VEILED(an_end_that_is_not_answered_is_silent),
		VEILED(credit_is_told_once),
		VEILED(past_the_cap_one_answer_and_the_end),
		VEILED(two_loops_share_a_port),
		VEILED(each_direction_may_wait_for_the_other),
		VEILED(output_that_waits_for_the_peer_is_silent),
		VEILED(who_speaks_another_protocol_is_told),
		VEILED(an_end_that_the_filter_was_not_told_of_is_a_reset),
		TWICE_VEILED(answers_are_the_same_however_the_bytes_are_cut),
		TWICE_VEILED(a_slow_reader_gets_all_and_blobs_come_back),
		TWICE_VEILED(each_direction_may_wait_for_the_other),
		TWICE_VEILED(half_a_close_still_gets_its_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
