/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_VEIL_TEST_H
#define WEIR_NET_VEIL_TEST_H

/*
 * For the tests of net alone: a filter that does all that TLS will do to its
 * connection, and is none. Both sides send frames, type (1), length (2), bytes
 * with a mask over them:
 *
 *	H  hello: the client's first frame; the server's answer goes before all else
 *	D  data
 *	Q  a question: who asked may not send on before A has come (the server; the
 *	   client does not mind), who is asked may not read on before A has left
 *	A  the answer
 *	E  the end of one direction
 *	X  what the server says to who does not speak this
 *
 * So sending has to wait for reading, reading for sending, bytes lie decoded
 * where epoll does not see them, and a frame that has left in part must be
 * offered again from the same bytes. The client's side is a thread between the
 * socket and one end of a socketpair: to the test it is a plain socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "net/filter.h"

#define VEIL_HEAD 3u
#define VEIL_DATA 1000u /* of a frame */
#define VEIL_ASK 10000u /* data frames between questions: more than what sockets hold */
#define VEIL_ASK_FIRST 8u

/* How often each of the ways of TLS was met. */
static struct {
	_Atomic int64_t live, read_waited_to_write, send_waited_to_read, held, cut_frames;
	_Atomic int64_t cut_short; /* clients that got no E */
} veil_met;

/* ---- frames ---- */

static inline void veil_mask(uint8_t *to, const uint8_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = from[i] ^ (uint8_t)(0x5a + i * 7);
}

static inline size_t veil_put(uint8_t *to, char type, const uint8_t *bytes, size_t n)
{
	to[0] = (uint8_t)type;
	to[1] = (uint8_t)(n >> 8);
	to[2] = (uint8_t)n;
	veil_mask(to + VEIL_HEAD, bytes, n);
	return VEIL_HEAD + n;
}

/* The frame at the front: its whole size, or 0 where it is not whole yet; -1 where that is no frame. */
static inline int veil_frame(const uint8_t *at, size_t n, size_t *payload)
{
	if (n > 0 && !memchr("HDQAEX", at[0], 6))
		return -1;
	if (n < VEIL_HEAD)
		return 0;
	*payload = (size_t)at[1] << 8 | at[2];
	if (*payload > VEIL_DATA)
		return -1;
	return n < VEIL_HEAD + *payload ? 0 : (int)(VEIL_HEAD + *payload);
}

/* ---- the server's side: the filter ---- */

struct veil {
	struct conn_filter base; /* first */
	struct conn_filter *below;
	bool greeted, owes_hello, owes_answer, asked, ended, said_end;
	uint32_t frames; /* of data */
	size_t out_at, out_len, out_plain;
	bool out_control; /* what is in `out` is no data: reading waits for it too */
	const uint8_t *out_from;
	uint8_t out_first; /* of out_plain bytes at out_from: they must not change */
	size_t in_len, plain_at, plain_len, plain_cap;
	uint8_t *plain; /* grows: an answer may stand behind any number of data frames */
	uint8_t out[VEIL_HEAD + VEIL_DATA];
	uint8_t in[4 * (VEIL_HEAD + VEIL_DATA)];
};

static inline struct veil *veil_of(const struct conn_filter *f)
{
	return (struct veil *)(uintptr_t)f;
}

/* 0 where all that was made has left. */
static inline int64_t veil_flush(struct veil *v)
{
	while (v->out_at < v->out_len) {
		struct iovec part = {v->out + v->out_at, v->out_len - v->out_at};
		int64_t n = v->below->ops->send(v->below, &part, 1);

		if (n < 0)
			return n;
		if (n < (int64_t)part.iov_len)
			atomic_fetch_add(&veil_met.cut_frames, 1);
		v->out_at += (size_t)n;
	}
	v->out_control = false;
	return 0;
}

/* An answer is as long as data: a socket that is nearly full goes on taking small ones. */
static inline int64_t veil_say(struct veil *v, char type)
{
	static const uint8_t padding[VEIL_DATA];
	int64_t rc = veil_flush(v);

	if (rc < 0)
		return rc;
	v->out_at = 0;
	v->out_len = veil_put(v->out, type, padding, type == 'A' ? sizeof(padding) : 0);
	v->out_control = true;
	return 0;
}

/* Says what is owed. */
static inline int64_t veil_answer(struct veil *v)
{
	int64_t rc = 0;

	if (v->owes_hello && (rc = veil_say(v, 'H')) == 0)
		v->owes_hello = false;
	if (rc == 0 && v->owes_answer && (rc = veil_say(v, 'A')) == 0)
		v->owes_answer = false;
	return rc < 0 || !v->out_control ? rc : veil_flush(v);
}

static inline int64_t veil_break(struct veil *v)
{
	if (veil_say(v, 'X') == 0)
		(void)veil_flush(v);
	return FILTER_BROKEN;
}

static inline void veil_keep(struct veil *v, const uint8_t *bytes, size_t n)
{
	if (v->plain_len + n > v->plain_cap) {
		v->plain_cap = (v->plain_len + n) * 2;
		v->plain = mem_realloc(v->plain, v->plain_cap);
		CHECK(v->plain);
	}
	veil_mask(v->plain + v->plain_len, bytes, n);
	v->plain_len += n;
}

/* Takes one frame apart. Its size, 0 where there is none, FILTER_BROKEN. */
static inline int64_t veil_take(struct veil *v)
{
	size_t n = 0;
	int size = veil_frame(v->in, v->in_len, &n);

	if (size == 0)
		return 0;
	if (size < 0 || v->ended || (v->in[0] == 'H') == v->greeted || (v->in[0] == 'A' && !v->asked))
		return veil_break(v);
	switch (v->in[0]) {
	case 'H':
		v->greeted = v->owes_hello = true;
		break;
	case 'D':
		veil_keep(v, v->in + VEIL_HEAD, n);
		break;
	case 'Q':
		v->owes_answer = true;
		break;
	case 'A':
		v->asked = false;
		break;
	case 'E':
		v->ended = true;
		break;
	default:
		return veil_break(v);
	}
	v->in_len -= (size_t)size;
	memmove(v->in, v->in + size, v->in_len);
	return size;
}

/* One step of reading: a frame of those that are here, or more bytes. More than 0, or a filter_result. */
static inline int64_t veil_step(struct veil *v)
{
	int64_t n = veil_answer(v);

	if (n == 0)
		n = veil_take(v);
	if (n != 0)
		return n;
	CHECK(v->in_len < sizeof(v->in));
	n = v->below->ops->receive(v->below, v->in + v->in_len, sizeof(v->in) - v->in_len);
	if (n > 0)
		v->in_len += (size_t)n;
	return n == 0 ? FILTER_RESET : n; /* cut off: no E came before */
}

static inline int64_t veil_receive(struct conn_filter *f, uint8_t *to, size_t room)
{
	struct veil *v = veil_of(f);
	size_t n;

	while (v->plain_len == 0 && !v->ended) {
		int64_t rc = veil_step(v);

		if (rc == FILTER_WANTS_WRITE)
			atomic_fetch_add(&veil_met.read_waited_to_write, 1);
		if (rc < 0)
			return rc;
	}
	n = v->plain_len - v->plain_at < room ? v->plain_len - v->plain_at : room;
	if (n == 0)
		return 0;
	memcpy(to, v->plain + v->plain_at, n);
	v->plain_at += n;
	if (v->plain_at == v->plain_len)
		v->plain_at = v->plain_len = 0;
	return (int64_t)n;
}

/* Before data may leave: the hello, and the answer to a question. */
static inline int64_t veil_clear_way(struct veil *v)
{
	int64_t rc = veil_answer(v);

	while (rc >= 0 && (!v->greeted || v->asked))
		rc = veil_step(v);
	if (rc >= 0)
		rc = veil_answer(v);
	return rc;
}

static inline void veil_make_data(struct veil *v, const struct iovec *part)
{
	size_t n = part->iov_len < VEIL_DATA ? part->iov_len : VEIL_DATA;

	v->out_from = part->iov_base;
	v->out_first = *v->out_from;
	v->out_plain = n;
	v->out_at = 0;
	v->out_len = veil_put(v->out, 'D', v->out_from, n);
}

/* One frame. */
static inline int64_t veil_send_frame(struct veil *v, const struct iovec *part)
{
	int64_t rc = 0;

	CHECK(part->iov_len > 0);
	if (v->out_plain) { /* as OpenSSL: the same bytes, or more, at the same place */
		CHECK(v->out_from == part->iov_base && part->iov_len >= v->out_plain);
		CHECK(v->out_first == *v->out_from);
		rc = veil_flush(v);
	} else {
		rc = veil_clear_way(v);
		if (rc == FILTER_WANTS_READ)
			atomic_fetch_add(&veil_met.send_waited_to_read, 1);
		if (rc >= 0) {
			veil_make_data(v, part);
			rc = veil_flush(v);
		}
	}
	if (rc < 0)
		return rc;
	rc = (int64_t)v->out_plain;
	v->out_plain = 0;
	if (++v->frames % VEIL_ASK == VEIL_ASK_FIRST)
		v->asked = veil_say(v, 'Q') == 0; /* it leaves with what follows */
	return rc;
}

/* Goes on until the socket is full: only then will epoll tell of room. */
static inline int64_t veil_send(struct conn_filter *f, const struct iovec *parts, int count)
{
	int64_t rc = 0, sent = 0;

	CHECK(count > 0);
	for (int i = 0; i < count && rc >= 0; i++) {
		struct iovec part = parts[i];

		while (part.iov_len > 0 && (rc = veil_send_frame(veil_of(f), &part)) >= 0) {
			part.iov_base = (uint8_t *)part.iov_base + rc;
			part.iov_len -= (size_t)rc;
			sent += rc;
		}
	}
	return sent ? sent : rc;
}

static inline int veil_shut(struct conn_filter *f)
{
	struct veil *v = veil_of(f);
	int64_t rc = 0;

	if (v->greeted && !v->said_end)
		rc = veil_say(v, 'E');
	if (rc == 0) {
		v->said_end = true;
		rc = veil_flush(v);
	}
	return rc < 0 ? (int)rc : v->below->ops->shut(v->below);
}

static inline bool veil_holds(const struct conn_filter *f)
{
	const struct veil *v = veil_of(f);
	bool holds = v->plain_len > 0 || v->in_len > 0 || v->ended ||
		     (v->below->ops->holds && v->below->ops->holds(v->below));

	atomic_fetch_add(&veil_met.held, holds);
	return holds;
}

static inline struct conn_filter *veil_free(struct conn_filter *f)
{
	struct conn_filter *below = veil_of(f)->below;

	mem_free(veil_of(f)->plain);
	mem_free(f);
	atomic_fetch_sub(&veil_met.live, 1);
	return below;
}

static const struct filter_ops veil_ops = {
	.name = "veil",
	.receive = veil_receive,
	.send = veil_send,
	.shut = veil_shut,
	.holds = veil_holds,
	.free = veil_free,
};

static inline int veil_push(struct conn *c)
{
	struct veil *v = mem_zalloc(1, sizeof(*v));

	if (!v)
		return ERR_NOMEM;
	v->base.ops = &veil_ops;
	v->below = conn_push_filter(c, &v->base);
	atomic_fetch_add(&veil_met.live, 1);
	return 0;
}

/* ---- the client's side ---- */

struct veil_pipe {
	uint8_t bytes[64 << 10];
	size_t len;
};

struct veil_client {
	int wire, local;
	uint32_t frames;
	bool local_ended, wire_ended, ended, cut;
	struct veil_pipe in, to_wire, to_local;
};

static inline void veil_add(struct veil_pipe *p, char type, const uint8_t *bytes, size_t n)
{
	CHECK(p->len + VEIL_HEAD + n <= sizeof(p->bytes));
	p->len += veil_put(p->bytes + p->len, type, bytes, n);
}

/* False where the other side does not take any more. */
static inline bool veil_drain(int fd, struct veil_pipe *p)
{
	ssize_t n = p->len ? send(fd, p->bytes, p->len, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

	if (n < 0)
		return errno == EAGAIN;
	p->len -= (size_t)n;
	memmove(p->bytes, p->bytes + n, p->len);
	return true;
}

static inline bool veil_room(const struct veil_pipe *p)
{
	return p->len < sizeof(p->bytes) / 2;
}

static inline void veil_from_local(struct veil_client *v)
{
	uint8_t bytes[VEIL_DATA];
	ssize_t n = recv(v->local, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n > 0) {
		if (++v->frames % 3 == 0)
			veil_add(&v->to_wire, 'Q', NULL, 0);
		veil_add(&v->to_wire, 'D', bytes, (size_t)n);
	} else if (n == 0) {
		veil_add(&v->to_wire, 'E', NULL, 0);
		v->local_ended = true;
	} else if (errno != EAGAIN) {
		v->cut = true; /* closed with something unread, as a reset is */
	}
}

static inline void veil_from_frames(struct veil_client *v)
{
	size_t n;
	int size;

	while (veil_room(&v->to_local) && (size = veil_frame(v->in.bytes, v->in.len, &n)) > 0) {
		CHECK(!v->ended);
		if (v->in.bytes[0] == 'D') {
			veil_mask(v->to_local.bytes + v->to_local.len, v->in.bytes + VEIL_HEAD, n);
			v->to_local.len += n;
		} else if (v->in.bytes[0] == 'Q') {
			veil_add(&v->to_wire, 'A', NULL, 0);
		} else if (v->in.bytes[0] == 'E') {
			v->ended = true;
		}
		v->in.len -= (size_t)size;
		memmove(v->in.bytes, v->in.bytes + size, v->in.len);
	}
}

static inline void veil_from_wire(struct veil_client *v)
{
	ssize_t n = recv(v->wire, v->in.bytes + v->in.len, sizeof(v->in.bytes) - v->in.len, MSG_DONTWAIT);

	if (n > 0)
		v->in.len += (size_t)n;
	else if (n == 0)
		v->wire_ended = true;
	else if (errno != EAGAIN)
		v->wire_ended = v->cut = true;
}

/* Nothing is left to be passed on. */
static inline bool veil_is_over(const struct veil_client *v)
{
	size_t n;
	bool given = v->to_local.len == 0 && veil_frame(v->in.bytes, v->in.len, &n) <= 0;

	if (v->cut || (v->wire_ended && !v->ended && given))
		return true;
	return v->local_ended && v->to_wire.len == 0 && (v->ended || v->wire_ended);
}

static inline void veil_wait(const struct veil_client *v, struct pollfd fds[2])
{
	fds[0] = (struct pollfd){.fd = v->wire};
	fds[1] = (struct pollfd){.fd = v->local};
	if (!v->wire_ended && v->in.len < sizeof(v->in.bytes) && veil_room(&v->to_local))
		fds[0].events |= POLLIN;
	if (v->to_wire.len)
		fds[0].events |= POLLOUT;
	if (!v->local_ended && veil_room(&v->to_wire))
		fds[1].events |= POLLIN;
	if (v->to_local.len)
		fds[1].events |= POLLOUT;
	(void)poll(fds, 2, 50);
}

static inline void veil_pass_on(struct veil_client *v)
{
	struct pollfd fds[2];

	veil_wait(v, fds);
	if (fds[0].events & POLLIN)
		veil_from_wire(v);
	if (fds[1].events & POLLIN)
		veil_from_local(v);
	veil_from_frames(v);
	if (!veil_drain(v->local, &v->to_local) || !veil_drain(v->wire, &v->to_wire))
		v->cut = true;
	if (v->ended && v->to_local.len == 0)
		(void)shutdown(v->local, SHUT_WR);
}

static inline void *veil_client_run(void *arg)
{
	struct linger hard = {.l_onoff = 1};
	struct veil_client *v = arg;

	veil_add(&v->to_wire, 'H', NULL, 0);
	while (!veil_is_over(v))
		veil_pass_on(v);
	if (v->wire_ended && !v->ended)
		atomic_fetch_add(&veil_met.cut_short, 1);
	if (v->cut)
		(void)setsockopt(v->wire, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	(void)close(v->wire);
	(void)close(v->local);
	mem_free(v);
	return NULL;
}

/* Takes a connected socket, gives the plain end. */
static inline int veil_client(int wire)
{
	struct veil_client *v = mem_zalloc(1, sizeof(*v));
	struct timeval patience = {20, 0};
	pthread_t thread;
	int ends[2];

	assert_non_null(v);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	(void)setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	v->wire = wire;
	v->local = ends[1];
	assert_int_equal(pthread_create(&thread, NULL, veil_client_run, v), 0);
	assert_int_equal(pthread_detach(thread), 0);
	return ends[0];
}

#endif
