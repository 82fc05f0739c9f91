/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "net/net_private.h"

/*
 * A connection: what happens when. How bytes get in and out is its filters'
 * (filter.h), of which there is one, tcp, where nothing else is asked for. It
 * stands on uv_poll and not on uv_tcp: libuv says when, the reads and writes are
 * ours. So a request costs one recv and one send, closing can be told half from
 * half, there is no request object for a write, and an idle connection is a third
 * smaller. The price is two more epoll_ctl calls when a connection is made or has
 * to wait for room to write.
 *
 * Input is read into the loop's one buffer, or where the session wants it (on_room),
 * and shown to the session there. Only what it leaves is copied, into `kept`, which
 * exists no longer than that.
 * One read a turn: who sends much does not keep the others waiting.
 *
 * Output is queued (output.c) and leaves at the end of the turn. The kernel
 * taking less than all is what blocked means; epoll then tells when to go on.
 *
 *   OPEN ──conn_close──► FLUSHING ──all has left──► LINGERING ──eof or time──► GONE
 *        ──conn_finish─►                                      ──all acknowledged─►
 *     └── reset, conn_abort, the loop's end ── from every state ──────────────► GONE
 *
 * Interest in reading is taken back late: stopping sets a flag, and only when
 * bytes come that nobody wants is epoll told. A session that stops reading for
 * the time of each request pays nothing for it.
 *
 * A filter above tcp may have to write before it can read, and read before it can
 * write (a handshake, a change of keys). Each direction has a flag for that, which
 * turns round what epoll is asked for; while one is set, each event tries both. A
 * filter may also hold bytes that it has read and not given: they are no event, so
 * they are asked for (look_inside) where epoll would have told, and read at the
 * end of the turn. Plain TCP meets none of this.
 */

#define INPUT_MAX (64u << 10)
#define OUTPUT_MAX (1u << 20)
#define KEPT_BYTES_MIN 256u
#define KEPT_BYTES_ALWAYS 2048u
#define STRAIGHT_BYTES_MAX ((size_t)1 << 20) /* of one read into the session's room: a turn stays short */
#define FLUSH_STALL_NS (30 * 1000000000LL)
#define BROKEN_LINGER_MS 500
#define CONN_BYTES (sizeof(struct conn) + 16u) /* with the allocator's own */
#define ACKNOWLEDGED_MS 20u                    /* between two looks at whether the peer has everything */

static void end(struct conn *c)
{
	if (c->flags & CONN_BROKEN)
		conn_terminate(c, CONN_RESET);
	else
		conn_terminate(c, (c->flags & CONN_EOF) ? CONN_CLOSED_BY_PEER : CONN_CLOSED_BY_US);
}

/*
 * Has the peer's kernel what was sent, our end included? A socket that is closed
 * then loses nothing, even where it answers later bytes with a reset.
 */
static bool is_acknowledged(const struct conn *c)
{
	int left = 0;

	return ioctl(c->fd, SIOCOUTQ, &left) == 0 && left == 0;
}

static void linger_on(struct conn *c)
{
	uint32_t ms = c->linger_ms;

	if (c->flags & CONN_FINISH && ms > ACKNOWLEDGED_MS)
		ms = ACKNOWLEDGED_MS;
	c->linger_ms -= ms;
	loop_timer_set(c->loop, &c->timer, (int64_t)ms * 1000000);
}

static void on_close_deadline(void *ctx)
{
	struct conn *c = ctx;

	if (c->state == CONN_LINGERING && c->linger_ms > 0 && !is_acknowledged(c))
		linger_on(c);
	else
		end(c);
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

static int wanted_events(const struct conn *c)
{
	int want = 0;

	if (wants_input(c))
		want |= (c->flags & CONN_READ_ON_WRITE) ? UV_WRITABLE : UV_READABLE;
	if (c->flags & CONN_BLOCKED)
		want |= (c->flags & CONN_SEND_ON_READ) ? UV_READABLE : UV_WRITABLE;
	return want;
}

static void on_event(uv_poll_t *poll, int status, int events);

static void update_interest(struct conn *c)
{
	int want = wanted_events(c);

	if (c->state == CONN_GONE || want == c->watching)
		return;
	c->watching = (uint8_t)want;
	if (!want) {
		CHECK(uv_poll_stop(&c->poll) == 0);
		return;
	}
	CHECK(uv_poll_start(&c->poll, want, on_event) == 0);
	if (loop_watch(c->loop, c->fd) < 0) {
		CHECK(uv_poll_stop(&c->poll) == 0);
		conn_terminate(c, CONN_CLOSED_BY_US); /* nothing would ever wake it */
	}
}

/* What a filter holds is no event: it is taken at the end of a turn. */
static void look_inside(struct conn *c)
{
	const struct conn_filter *f = c->filter;

	if (!(c->flags & CONN_STACKED) || !wants_input(c) || !f->ops->holds || !f->ops->holds(f))
		return;
	c->flags |= CONN_HELD;
	add_todo(c);
}

/* Only ever adds: taking away waits until an event shows that it is needed. */
static void want_input_again(struct conn *c)
{
	if (wanted_events(c) & ~c->watching)
		update_interest(c);
	look_inside(c);
}

/* ---- the stack ---- */

struct conn_filter *conn_push_filter(struct conn *c, struct conn_filter *f)
{
	struct conn_filter *below = c->filter;

	CHECK(!c->session && c->bytes_in == 0 && !c->out_first);
	c->filter = f;
	c->flags |= CONN_STACKED;
	return below;
}

bool conn_is_direct(const struct conn *c)
{
	const struct conn_filter *f = c->filter;

	return c->state == CONN_OPEN && !c->out_first && f->ops->is_direct && f->ops->is_direct(f);
}

/* All but tcp. */
static void drop_filters(struct conn *c)
{
	while (c->filter != &c->tcp)
		c->filter = c->filter->ops->free(c->filter);
	c->flags &= (uint16_t) ~(CONN_STACKED | CONN_HELD | CONN_READ_ON_WRITE | CONN_SEND_ON_READ);
}

/* ---- birth and death ---- */

static void drop_kept(struct conn *c)
{
	budget_sub(&c->loop->share, c->kept_cap);
	mem_free(c->kept);
	c->kept = NULL;
	c->kept_len = 0;
	c->kept_cap = 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct conn *c = (struct conn *)handle;

	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
	if (c->session && c->session->on_closed)
		c->session->on_closed(c->ctx, c->reason);
	drop_kept(c);
	budget_sub(&c->loop->share, CONN_BYTES);
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
	drop_filters(c);
	(void)c->tcp.ops->free(&c->tcp);
	if (c->acceptor)
		acceptor_conn_gone(c->acceptor, c);
}

struct conn *conn_new(struct loop *loop, struct acceptor *acceptor, int fd, const struct sockaddr *peer)
{
	struct conn *c = mem_zalloc(1, sizeof(*c));

	if (!c || uv_poll_init_socket(&loop->uv, &c->poll, fd) != 0) {
		(void)close(fd);
		mem_free(c);
		return NULL;
	}
	budget_add(&loop->share, CONN_BYTES);
	c->loop = loop;
	c->acceptor = acceptor;
	c->fd = fd;
	c->tcp.ops = &filter_tcp;
	c->filter = &c->tcp;
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

static size_t kept_room(const struct conn *c, size_t need)
{
	size_t cap = c->kept_cap ? c->kept_cap : KEPT_BYTES_MIN;

	while (cap < need)
		cap *= 2;
	return cap;
}

static int keep(struct conn *c, struct slice bytes)
{
	size_t need = c->kept_len + bytes.len, cap = kept_room(c, need);

	if (cap != c->kept_cap) {
		uint8_t *grown = mem_realloc(c->kept, cap);

		if (!grown)
			return ERR_NOMEM;
		budget_add(&c->loop->share, cap - c->kept_cap);
		c->kept = grown;
		c->kept_cap = (uint32_t)cap;
	}
	memcpy(c->kept + c->kept_len, bytes.ptr, bytes.len);
	c->kept_len = (uint32_t)need;
	return 0;
}

/* Keeps what the session has left of `bytes`, which are the kept ones, the loop's buffer or the session's room. */
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
		c->flags &= (uint16_t)~CONN_INPUT_FULL;
}

static void deliver(struct conn *c, struct slice bytes)
{
	const struct conn_session *session = c->session;
	size_t took = bytes.len;

	if (session) {
		c->flags |= CONN_INSIDE;
		took = session->on_bytes(c->ctx, bytes);
		c->flags &= (uint16_t)~CONN_INSIDE;
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
	c->flags &= (uint16_t)~CONN_PRESENT;
	if (c->state != CONN_OPEN || c->kept_len == 0 || (c->flags & CONN_READ_STOPPED))
		return;
	deliver(c, slice_make(c->kept, c->kept_len));
	want_input_again(c);
}

static void take_end(struct conn *c)
{
	c->flags |= CONN_EOF;
	if (c->state == CONN_LINGERING) {
		c->flags &= (uint16_t)~CONN_EOF; /* we ended first */
		end(c);
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

/* ---- closing ---- */

static void linger(struct conn *c, uint32_t ms)
{
	drop_filters(c); /* what comes is discarded as it is */
	c->flags &= (uint16_t)~CONN_BLOCKED;
	c->state = CONN_LINGERING;
	c->linger_ms = ms;
	linger_on(c);
	update_interest(c);
}

/* A filter has given up, and the peer may be told why: closing at once could overtake that. */
static void break_off(struct conn *c)
{
	out_drop(c);
	c->flags &= (uint16_t) ~(CONN_PRESENT | CONN_INPUT_FULL);
	c->flags |= CONN_BROKEN;
	if (!(c->flags & CONN_INSIDE))
		drop_kept(c);
	if (c->flags & CONN_EOF) {
		end(c);
		return;
	}
	(void)c->tcp.ops->shut(&c->tcp);
	linger(c, BROKEN_LINGER_MS);
}

static void fail(struct conn *c, int64_t result)
{
	if (result == FILTER_BROKEN && c->filter != &c->tcp)
		break_off(c);
	else
		conn_terminate(c, CONN_RESET);
}

/* Sending waits for what `result` says, or for room where some was taken. */
static void block(struct conn *c, int64_t result)
{
	c->flags |= CONN_BLOCKED;
	if (result == FILTER_WANTS_READ)
		c->flags |= CONN_SEND_ON_READ;
	update_interest(c);
}

static void unblock(struct conn *c)
{
	c->flags &= (uint16_t) ~(CONN_BLOCKED | CONN_SEND_ON_READ);
}

static void end_sending(struct conn *c)
{
	bool lingers = c->linger_ms > 0 && !(c->flags & CONN_EOF);
	int rc;

	if (!lingers && !(c->flags & CONN_STACKED)) {
		end(c); /* closing says the same */
		return;
	}
	rc = c->filter->ops->shut(c->filter);
	if (filter_waits(rc))
		block(c, rc);
	else if (rc < 0)
		fail(c, rc);
	else if (lingers)
		linger(c, c->linger_ms);
	else
		end(c);
}

/* ---- input, from the filters ---- */

static void not_read(struct conn *c, int64_t result)
{
	if (result == FILTER_WANTS_WRITE) {
		c->flags |= CONN_READ_ON_WRITE;
		update_interest(c);
	} else if (result != FILTER_WANTS_READ) {
		fail(c, result);
	}
}

/*
 * How much may be read, where the session may take none of it: what was read is kept,
 * past the budget if need be, so a connection reads no more than it could keep. A head
 * of usual size always; 0: what came holds more than that already, and there is no
 * memory for it.
 */
static size_t room_to_read(const struct conn *c)
{
	size_t room = c->loop->read_bytes;

	if (c->state != CONN_OPEN)
		return room; /* discarded */
	if (c->kept_len > 0 && room > c->input_max - c->kept_len)
		room = c->input_max - c->kept_len;
	if (budget_left(&c->loop->share) >= (int64_t)(kept_room(c, c->kept_len + room) - c->kept_cap))
		return room;
	if (c->kept_len >= KEPT_BYTES_ALWAYS)
		return 0;
	return room < KEPT_BYTES_ALWAYS - c->kept_len ? room : KEPT_BYTES_ALWAYS - c->kept_len;
}

/* Where the session wants the next bytes, or the loop's buffer, and how many. 0: there is no memory for any. */
static size_t place_to_read(const struct conn *c, uint8_t **to)
{
	size_t room = 0;

	if (c->state == CONN_OPEN && c->kept_len == 0 && c->session && c->session->on_room)
		room = c->session->on_room(c->ctx, to);
	if (room > 0)
		return room < STRAIGHT_BYTES_MAX ? room : STRAIGHT_BYTES_MAX;
	*to = c->loop->read_buf;
	return room_to_read(c);
}

static void read_some(struct conn *c)
{
	uint8_t *to;
	size_t room;
	int64_t n;

	if (c->flags & CONN_PRESENT)
		return; /* what was kept comes first, at the end of this turn */
	room = place_to_read(c, &to);
	if (room == 0) {
		conn_terminate(c, CONN_CLOSED_BY_US);
		return;
	}
	c->flags &= (uint16_t) ~(CONN_READ_ON_WRITE | CONN_HELD);
	n = c->filter->ops->receive(c->filter, to, room);
	if (n > 0) {
		take_bytes(c, slice_make(to, (size_t)n));
		look_inside(c);
	} else if (n == 0) {
		take_end(c);
	} else {
		not_read(c, n);
	}
}

/* ---- output ---- */

/* Offers output to the filters once. False where the connection is gone, or as good as gone. */
static bool send_output(struct conn *c)
{
	size_t before = c->out_bytes;
	int64_t n;

	if (!c->out_first || (c->flags & CONN_BLOCKED))
		return true;
	n = out_send(c);
	if (n < 0 && !filter_waits(n)) {
		fail(c, n);
		return false;
	}
	look_inside(c); /* a filter may have read, in order to write */
	if (!c->out_first)
		return true;
	block(c, n);
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
		c->flags &= (uint16_t)~CONN_WROTE;
		if (c->session && c->session->on_drained)
			c->session->on_drained(c->ctx);
	}
}

/* Once: more of it waits for the next round, as bytes on the socket would for the next event. */
static void read_held(struct conn *c)
{
	if (!wants_input(c)) {
		c->flags &= (uint16_t)~CONN_HELD;
		return;
	}
	read_some(c);
	if (c->flags & CONN_SEND_ON_READ)
		unblock(c); /* it may have been waiting for what was held */
	update_interest(c);
}

void conn_turn(struct conn *c)
{
	remove_todo(c);
	if (c->flags & CONN_PRESENT)
		present_kept(c);
	if (c->flags & CONN_HELD)
		read_held(c);
	if (c->state != CONN_GONE)
		settle(c);
}

static void on_writable(struct conn *c)
{
	unblock(c);
	settle(c);
	update_interest(c);
}

/* One direction waits for the other: both are tried, whatever came. */
static void try_both(struct conn *c)
{
	if (wants_input(c))
		read_some(c);
	if (c->flags & CONN_BLOCKED)
		on_writable(c);
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
	if (c->flags & (CONN_READ_ON_WRITE | CONN_SEND_ON_READ)) {
		try_both(c);
		return;
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

void conn_local(const struct conn *c, char out[64])
{
	union net_address local;
	socklen_t n = sizeof(local);
	uint8_t ip[16];
	uint16_t port;

	out[0] = '\0';
	if (getsockname(c->fd, &local.any, &n))
		return;
	address_unmap(&local.any, ip, &port);
	address_text(ip, port, out);
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

int conn_write_file(struct conn *c, struct file_ref *file, uint64_t at, size_t bytes)
{
	int rc = check_output(c);

	if (rc == 0)
		rc = out_append_file(c, file, at, bytes);
	if (rc)
		file_ref_release(file);
	return rc < 0 ? rc : queued(c, rc);
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
	c->flags &= (uint16_t)~CONN_READ_STOPPED;
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
		c->flags &= (uint16_t)~CONN_INPUT_FULL;
	want_input_again(c);
}

void conn_set_output_max(struct conn *c, size_t bytes)
{
	c->output_max = bound(bytes, OUTPUT_MAX);
}

void conn_set_send_buffer(struct conn *c, uint32_t bytes)
{
	int value = bytes < INT32_MAX ? (int)bytes : INT32_MAX;

	(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &value, sizeof(value));
}

void conn_close(struct conn *c, int64_t linger_ns)
{
	int64_t ms = (linger_ns + 999999) / 1000000;

	if (c->state != CONN_OPEN)
		return;
	c->state = CONN_FLUSHING;
	c->linger_ms = ms > INT32_MAX ? INT32_MAX : (uint32_t)(ms > 0 ? ms : 0);
	c->flags &= (uint16_t) ~(CONN_PRESENT | CONN_INPUT_FULL);
	if (!(c->flags & CONN_INSIDE))
		drop_kept(c);
	loop_timer_set(c->loop, &c->timer, FLUSH_STALL_NS);
	want_input_again(c);
	if (!(c->flags & CONN_BLOCKED))
		add_todo(c);
}

void conn_finish(struct conn *c, int64_t linger_ns)
{
	if (c->state == CONN_OPEN)
		c->flags |= CONN_FINISH;
	conn_close(c, linger_ns);
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
