/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "net/net_private.h"

/*
 * A connection over TCP. It stands on uv_poll and not on uv_tcp: libuv says
 * when, the reads and writes are ours. So a request costs one recv and one
 * send, closing can be told half from half, there is no request object for a
 * write, and an idle connection is a third smaller. The price is two more
 * epoll_ctl calls when a connection is made or has to wait for room to write.
 *
 * Input is read into the loop's one buffer and shown to the session there. Only
 * what it leaves is copied, into `kept`, which exists no longer than that.
 * One read a turn: who sends much does not keep the others waiting.
 *
 * Output is queued (output.c) and leaves at the end of the turn. The kernel
 * taking less than all is what blocked means; epoll then tells when to go on.
 *
 *   OPEN ──conn_close──► FLUSHING ──all has left──► LINGERING ──eof or time──► GONE
 *     └── reset, conn_abort, the loop's end ── from every state ──────────────► GONE
 *
 * Interest in reading is taken back late: stopping sets a flag, and only when
 * bytes come that nobody wants is epoll told. A session that stops reading for
 * the time of each request pays nothing for it.
 *
 * TLS will stand between: it takes the place of recv in read_some and of
 * out_send, and keeps its own bytes.
 */

#define INPUT_MAX (64u << 10)
#define OUTPUT_MAX (1u << 20)
#define KEPT_BYTES_MIN 256u
#define FLUSH_STALL_NS (30 * 1000000000LL)

static void on_close_deadline(void *ctx)
{
	struct conn *c = ctx;

	conn_terminate(c, (c->flags & CONN_EOF) ? CONN_CLOSED_BY_PEER : CONN_CLOSED_BY_US);
}

/* ---- the list of those with something to do ---- */

static void add_todo(struct conn *c)
{
	struct loop *loop = c->loop;

	if (c->todo_prev)
		return;
	c->todo_next = NULL;
	c->todo_prev = loop->todo_last;
	*loop->todo_last = c;
	loop->todo_last = &c->todo_next;
}

static void remove_todo(struct conn *c)
{
	if (!c->todo_prev)
		return;
	*c->todo_prev = c->todo_next;
	if (c->todo_next)
		c->todo_next->todo_prev = c->todo_prev;
	else if (c->loop->todo_last == &c->todo_next)
		c->loop->todo_last = c->todo_prev;
	c->todo_prev = NULL;
	c->todo_next = NULL;
}

/* ---- interest ---- */

static bool wants_input(const struct conn *c)
{
	if (c->flags & CONN_EOF)
		return false;
	if (c->state == CONN_OPEN)
		return !(c->flags & (CONN_READ_STOPPED | CONN_INPUT_FULL));
	return c->state == CONN_LINGERING || (c->state == CONN_FLUSHING && c->linger_ms > 0);
}

static void on_event(uv_poll_t *poll, int status, int events);

static void update_interest(struct conn *c)
{
	int want = (wants_input(c) ? UV_READABLE : 0) | ((c->flags & CONN_BLOCKED) ? UV_WRITABLE : 0);

	if (c->state == CONN_GONE || want == c->watching)
		return;
	c->watching = (uint8_t)want;
	if (want)
		CHECK(uv_poll_start(&c->poll, want, on_event) == 0);
	else
		CHECK(uv_poll_stop(&c->poll) == 0);
}

/* Only ever adds: taking away waits until an event shows that it is needed. */
static void want_input_again(struct conn *c)
{
	if (wants_input(c) && !(c->watching & UV_READABLE))
		update_interest(c);
}

/* ---- birth and death ---- */

static void on_handle_closed(uv_handle_t *handle)
{
	struct conn *c = (struct conn *)handle;

	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
	if (c->session && c->session->on_closed)
		c->session->on_closed(c->ctx, c->reason);
	mem_free(c->kept);
	mem_free(c);
}

/* `kept` stays until the handle is closed: on_bytes may be looking at it. */
void conn_terminate(struct conn *c, enum conn_close_reason reason)
{
	if (c->state == CONN_GONE)
		return;
	c->state = CONN_GONE;
	c->reason = (uint8_t)reason;
	remove_todo(c);
	loop_timer_stop(c->loop, &c->timer);
	out_drop(c);
	uv_close((uv_handle_t *)&c->poll, on_handle_closed); /* leaves epoll before the number is free */
	(void)close(c->fd);
	if (c->acceptor)
		acceptor_conn_gone(c->acceptor);
}

struct conn *conn_new(struct loop *loop, struct acceptor *acceptor, int fd, const struct sockaddr *peer)
{
	struct conn *c = mem_zalloc(1, sizeof(*c));

	if (!c || uv_poll_init_socket(&loop->uv, &c->poll, fd) != 0) {
		(void)close(fd);
		mem_free(c);
		return NULL;
	}
	c->loop = loop;
	c->acceptor = acceptor;
	c->fd = fd;
	c->input_max = INPUT_MAX;
	c->output_max = OUTPUT_MAX;
	loop_timer_init(&c->timer, on_close_deadline, c);
	address_unmap(peer, c->peer, &c->peer_port);
	c->next = loop->conns;
	c->prev = &loop->conns;
	if (c->next)
		c->next->prev = &c->next;
	loop->conns = c;
	update_interest(c);
	return c;
}

/* ---- input ---- */

static void drop_kept(struct conn *c)
{
	mem_free(c->kept);
	c->kept = NULL;
	c->kept_len = 0;
	c->kept_cap = 0;
}

static int keep(struct conn *c, struct slice bytes)
{
	size_t need = c->kept_len + bytes.len, cap = c->kept_cap ? c->kept_cap : KEPT_BYTES_MIN;

	while (cap < need)
		cap *= 2;
	if (cap != c->kept_cap) {
		uint8_t *grown = mem_realloc(c->kept, cap);

		if (!grown)
			return ERR_NOMEM;
		c->kept = grown;
		c->kept_cap = (uint32_t)cap;
	}
	memcpy(c->kept + c->kept_len, bytes.ptr, bytes.len);
	c->kept_len = (uint32_t)need;
	return 0;
}

/* Keeps what the session has left of `bytes`, which are the kept ones or the loop's buffer. */
static void keep_rest(struct conn *c, struct slice bytes, size_t took)
{
	struct slice rest = slice_from(bytes, took);

	if (rest.len == 0) {
		drop_kept(c);
	} else if (bytes.ptr == c->kept) {
		if (took)
			memmove(c->kept, rest.ptr, rest.len);
		c->kept_len = (uint32_t)rest.len;
	} else if (keep(c, rest) < 0) {
		conn_terminate(c, CONN_CLOSED_BY_US); /* no memory: this connection is refused, no other */
		return;
	}
	if (c->kept_len >= c->input_max)
		c->flags |= CONN_INPUT_FULL;
	else
		c->flags &= (uint8_t)~CONN_INPUT_FULL;
}

static void deliver(struct conn *c, struct slice bytes)
{
	const struct conn_session *session = c->session;
	size_t took = bytes.len;

	if (session) {
		c->flags |= CONN_INSIDE;
		took = session->on_bytes(c->ctx, bytes);
		c->flags &= (uint8_t)~CONN_INSIDE;
		CHECK(took <= bytes.len);
	}
	if (c->state != CONN_OPEN) {
		drop_kept(c); /* closed inside: the rest is nobody's */
		return;
	}
	keep_rest(c, bytes, took);
	if (c->state == CONN_OPEN && c->kept_len > 0 && c->session != session) {
		c->flags |= CONN_PRESENT; /* it belongs to the new session */
		add_todo(c);
	}
}

static void present_kept(struct conn *c)
{
	c->flags &= (uint8_t)~CONN_PRESENT;
	if (c->state != CONN_OPEN || c->kept_len == 0 || (c->flags & CONN_READ_STOPPED))
		return;
	deliver(c, slice_make(c->kept, c->kept_len));
	want_input_again(c);
}

static void take_end(struct conn *c)
{
	c->flags |= CONN_EOF;
	if (c->state == CONN_LINGERING) {
		conn_terminate(c, CONN_CLOSED_BY_US);
		return;
	}
	if (c->state != CONN_OPEN)
		return; /* an end stays readable: the next event takes the interest back */
	if (c->session && c->session->on_end)
		c->session->on_end(c->ctx);
	else
		conn_close(c, 0);
}

static void take_bytes(struct conn *c, struct slice bytes)
{
	c->bytes_in += bytes.len;
	acceptor_count(c->acceptor, bytes.len, 0);
	if (c->state != CONN_OPEN)
		return; /* discarded: it only has to be off the wire */
	if (c->kept_len == 0) {
		deliver(c, bytes);
	} else if (keep(c, bytes) == 0) {
		deliver(c, slice_make(c->kept, c->kept_len));
	} else {
		conn_terminate(c, CONN_CLOSED_BY_US);
	}
}

static void read_some(struct conn *c)
{
	size_t room = c->loop->read_bytes;
	ssize_t n;

	if (c->flags & CONN_PRESENT)
		return; /* what was kept comes first, at the end of this turn */
	if (c->state == CONN_OPEN && c->kept_len > 0 && room > c->input_max - c->kept_len)
		room = c->input_max - c->kept_len;
	n = recv(c->fd, c->loop->read_buf, room, 0);
	if (n > 0)
		take_bytes(c, slice_make(c->loop->read_buf, (size_t)n));
	else if (n == 0)
		take_end(c);
	else if (errno != EAGAIN && errno != EINTR)
		conn_terminate(c, CONN_RESET);
}

/* ---- output and closing ---- */

static void end_sending(struct conn *c)
{
	if (c->linger_ms == 0 || (c->flags & CONN_EOF)) {
		on_close_deadline(c);
		return;
	}
	(void)shutdown(c->fd, SHUT_WR);
	c->state = CONN_LINGERING;
	loop_timer_set(c->loop, &c->timer, (int64_t)c->linger_ms * 1000000);
	update_interest(c);
}

/* Offers output to the kernel once. False where the connection is gone. */
static bool send_output(struct conn *c)
{
	size_t before = c->out_bytes;

	if (!c->out_first || (c->flags & CONN_BLOCKED))
		return true;
	if (out_send(c) < 0) {
		conn_terminate(c, CONN_RESET);
		return false;
	}
	if (!c->out_first)
		return true;
	c->flags |= CONN_BLOCKED;
	update_interest(c);
	if (c->state == CONN_FLUSHING && c->out_bytes < before)
		loop_timer_set(c->loop, &c->timer, FLUSH_STALL_NS);
	return true;
}

/* Writes, and does what is due when all has left. */
static void settle(struct conn *c)
{
	if (!send_output(c) || c->out_first)
		return;
	if (c->state == CONN_FLUSHING) {
		end_sending(c);
	} else if (c->state == CONN_OPEN && (c->flags & CONN_WROTE)) {
		c->flags &= (uint8_t)~CONN_WROTE;
		if (c->session && c->session->on_drained)
			c->session->on_drained(c->ctx);
	}
}

void conn_turn(struct conn *c)
{
	remove_todo(c);
	if (c->flags & CONN_PRESENT)
		present_kept(c);
	if (c->state != CONN_GONE)
		settle(c);
}

static void on_writable(struct conn *c)
{
	c->flags &= (uint8_t)~CONN_BLOCKED;
	settle(c);
	update_interest(c);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct conn *c = (struct conn *)poll;

	loop_is_awake(c->loop);
	if (status < 0) { /* EPOLLERR: libuv has stopped watching, recv tells what it is */
		c->watching = 0;
		if (!wants_input(c)) {
			conn_terminate(c, CONN_RESET);
			return;
		}
		events = UV_READABLE;
	}
	if ((events & UV_WRITABLE) && (c->flags & CONN_BLOCKED))
		on_writable(c);
	if ((events & UV_READABLE) && wants_input(c))
		read_some(c);
	else if (c->watching & UV_READABLE & events)
		update_interest(c); /* nobody wants it: be silent until somebody does */
	if (status < 0)
		update_interest(c);
}

/* ---- what sessions call ---- */

void conn_set_session(struct conn *c, const struct conn_session *session, void *ctx)
{
	c->session = session;
	c->ctx = ctx;
}

void *conn_session_ctx(const struct conn *c)
{
	return c->ctx;
}

struct loop *conn_loop(const struct conn *c)
{
	return c->loop;
}

void conn_peer(const struct conn *c, struct conn_peer *out)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	static const uint8_t one[16] = {[15] = 1};

	address_text(c->peer, c->peer_port, out->text);
	if (memcmp(c->peer, mapped, sizeof(mapped)) == 0)
		out->loopback = c->peer[12] == 127;
	else
		out->loopback = memcmp(c->peer, one, sizeof(one)) == 0;
}

/* 0 where more may be queued. At the bound the kernel is asked first: it may have taken all by now. */
static int check_output(struct conn *c)
{
	if (c->state != CONN_OPEN)
		return ERR_CANCELLED;
	if (c->out_bytes <= c->output_max)
		return 0;
	conn_flush(c);
	if (c->state != CONN_OPEN)
		return ERR_CANCELLED;
	return c->out_bytes > c->output_max ? ERR_LIMIT : 0;
}

/* A queue that is blocked is written when the kernel has room, not at the end of the turn. */
static int queued(struct conn *c, int rc)
{
	if (rc == 0) {
		c->flags |= CONN_WROTE;
		if (!(c->flags & CONN_BLOCKED))
			add_todo(c);
	}
	return rc;
}

int conn_write(struct conn *c, struct slice bytes)
{
	int rc = check_output(c);

	return rc < 0 ? rc : queued(c, out_append(c, bytes));
}

int conn_write_blob(struct conn *c, struct blob *blob, struct slice part)
{
	int rc = check_output(c);

	return rc < 0 ? rc : queued(c, out_append_blob(c, blob, part));
}

size_t conn_pending(const struct conn *c)
{
	return c->out_bytes;
}

void conn_flush(struct conn *c)
{
	if (c->state == CONN_OPEN || c->state == CONN_FLUSHING)
		(void)send_output(c);
}

void conn_read_stop(struct conn *c)
{
	c->flags |= CONN_READ_STOPPED;
}

void conn_read_start(struct conn *c)
{
	if (c->state != CONN_OPEN)
		return;
	c->flags &= (uint8_t)~CONN_READ_STOPPED;
	if (c->kept_len > 0 || (c->flags & CONN_INSIDE)) {
		c->flags |= CONN_PRESENT;
		add_todo(c);
	}
	want_input_again(c);
}

static uint32_t bound(size_t bytes, uint32_t usual)
{
	if (bytes == 0)
		return usual;
	return bytes > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)bytes;
}

void conn_set_input_max(struct conn *c, size_t bytes)
{
	c->input_max = bound(bytes, INPUT_MAX);
	if (c->kept_len >= c->input_max)
		c->flags |= CONN_INPUT_FULL;
	else
		c->flags &= (uint8_t)~CONN_INPUT_FULL;
	want_input_again(c);
}

void conn_set_output_max(struct conn *c, size_t bytes)
{
	c->output_max = bound(bytes, OUTPUT_MAX);
}

void conn_close(struct conn *c, int64_t linger_ns)
{
	int64_t ms = (linger_ns + 999999) / 1000000;

	if (c->state != CONN_OPEN)
		return;
	c->state = CONN_FLUSHING;
	c->linger_ms = ms > INT32_MAX ? INT32_MAX : (uint32_t)(ms > 0 ? ms : 0);
	c->flags &= (uint8_t) ~(CONN_PRESENT | CONN_INPUT_FULL);
	if (!(c->flags & CONN_INSIDE))
		drop_kept(c);
	loop_timer_set(c->loop, &c->timer, FLUSH_STALL_NS);
	want_input_again(c);
	if (!(c->flags & CONN_BLOCKED))
		add_todo(c);
}

void conn_abort(struct conn *c)
{
	conn_terminate(c, CONN_CLOSED_BY_US);
}

uint64_t conn_bytes_in(const struct conn *c)
{
	return c->bytes_in;
}

uint64_t conn_bytes_out(const struct conn *c)
{
	return c->bytes_out;
}
