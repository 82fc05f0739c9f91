/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/crowd.h"
#include "net/net_private.h"

/*
 * One address, one socket a loop (SO_REUSEPORT), so that the kernel deals
 * connections out and no thread hands any to another. SO_REUSEPORT would also
 * let a second daemon of the same user join in silence; therefore the address
 * is first bound without it, which fails where anybody listens. With one loop
 * there is no need for the option, and none of it.
 *
 * Options are set on the listening socket, accepted ones inherit them: no call
 * more a connection.
 *
 * Out of descriptors, accept fails and the socket stays readable: without care
 * that is a busy loop. Accepting pauses for 100 ms. If that did not help, the
 * one descriptor that is kept in reserve is spent on closing those who wait,
 * so that they learn of it.
 */

#define BACKLOG 4096
#define ACCEPTS_A_TURN 64
#define PAUSE_NS (100 * 1000000LL)
#define SAY_NS 1000000000LL
#define CONNECTIONS_MAX 65536u
#define REFUSED_MAX 64u /* who still gets an answer over the cap */
#define REFUSE_LINGER_NS (500 * 1000000LL)
#define KEEP_COUNT 4 /* questions, in the second half of the time */
#define PEER_TIMEOUT_MS 120000

/* Written by the acceptor's loop alone, on cache lines of its own. */
struct acceptor_tally {
	_Atomic uint64_t refused, received, sent, crowded;
};

struct acceptor {
	uv_poll_t poll; /* first */
	struct listener *listener;
	struct loop *loop;
	struct acceptor *next; /* of the loop */
	struct loop_msg open_msg, stop_msg;
	struct loop_timer pause;
	int fd;
	bool open_posted, stop_posted; /* the message is in the mailbox; the loop's while it runs */
	bool active;                   /* the handle is the loop's */
	bool paused_before;            /* the last try ended in a pause too */
	int64_t answers_since_ns;      /* a second of answers to those over their share of one address */
	uint32_t answers;
	_Atomic bool paused; /* accepts nothing at present; read by other threads */
	_Alignas(64) struct acceptor_tally tally;
};

struct listener {
	struct listener_options options;
	struct crowd *crowd; /* NULL: no cap of one address */
	_Atomic uint32_t connections;
	_Atomic int64_t said_at; /* monotonic, of the last word about exhaustion */
	int reserve; /* the descriptor to spare; main opens it, the loop that spends it renews it */
	_Atomic bool reserve_taken;
	bool stopped;
	uint32_t count;
	struct acceptor acceptors[];
};

static void listener_conn_gone(struct listener *l)
{
	atomic_fetch_sub_explicit(&l->connections, 1, memory_order_relaxed);
	if (l->options.limit)
		atomic_fetch_sub_explicit(&l->options.limit->open, 1, memory_order_relaxed);
}

/* Counts one more. By how many the caps are passed with it, or less than 1. */
static int64_t listener_conn_come(struct listener *l)
{
	struct listener_limit *limit = l->options.limit;
	int64_t over, both;

	over = (int64_t)atomic_fetch_add_explicit(&l->connections, 1, memory_order_relaxed) + 1 -
	       l->options.connections_max;
	if (!limit)
		return over;
	both = (int64_t)atomic_fetch_add_explicit(&limit->open, 1, memory_order_relaxed) + 1 - limit->max;
	return both > over ? both : over;
}

void acceptor_conn_gone(struct acceptor *a, const struct conn *c)
{
	if (c->flags & CONN_COUNTED)
		crowd_leave(a->listener->crowd, c->peer);
	listener_conn_gone(a->listener);
}

/* One writer: a load and a store, no locked instruction. */
static void count_more(_Atomic uint64_t *word, uint64_t n)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

void acceptor_count(struct acceptor *a, size_t received, size_t sent)
{
	if (!a)
		return;
	if (received)
		count_more(&a->tally.received, received);
	if (sent)
		count_more(&a->tally.sent, sent);
}

void listener_figures(const struct listener *l, struct listener_figures *out)
{
	*out = (struct listener_figures){.refused = 0};
	for (uint32_t i = 0; i < l->count; i++) {
		const struct acceptor_tally *t = &l->acceptors[i].tally;
		out->crowded += atomic_load_explicit(&t->crowded, memory_order_relaxed);
		out->refused += atomic_load_explicit(&t->refused, memory_order_relaxed);
		out->bytes_received += atomic_load_explicit(&t->received, memory_order_relaxed);
		out->bytes_sent += atomic_load_explicit(&t->sent, memory_order_relaxed);
	}
}

bool listener_has_room(const struct listener *l)
{
	bool paused = false;

	for (uint32_t i = 0; i < l->count; i++)
		paused |= atomic_load_explicit(&l->acceptors[i].paused, memory_order_relaxed);
	if (l->options.limit && atomic_load(&l->options.limit->open) >= l->options.limit->max)
		return false;
	return !paused && listener_connections(l) < l->options.connections_max;
}

uint32_t listener_connections(const struct listener *l)
{
	return atomic_load_explicit(&((struct listener *)(uintptr_t)l)->connections, memory_order_relaxed);
}

/* ---- accepting, on the loop ---- */

static void refuse(struct listener *l, struct conn *c)
{
	l->options.on_refuse(l->options.ctx, c);
	conn_close(c, REFUSE_LINGER_NS);
}

/* Each of them holds a descriptor for a moment, and the common limit may be the nearer one. */
static uint32_t refused_max(const struct listener *l)
{
	uint32_t max = l->options.connections_max;

	if (l->options.limit && l->options.limit->max < max)
		max = l->options.limit->max;
	return max / 4 < REFUSED_MAX ? max / 4 + 1 : REFUSED_MAX;
}

/* At the cap: room may be made by closing one that waits for nothing in particular. */
static bool is_over(struct acceptor *a, int64_t over)
{
	struct listener *l = a->listener;

	if (over <= 0)
		return false;
	return !l->options.on_full || l->options.on_full(l->options.ctx, a->loop) == 0;
}

/* An answer is a kindness to a mistake, not to a flood. */
static bool may_answer_crowd(struct acceptor *a)
{
	int64_t now = loop_now(a->loop);

	if (now - a->answers_since_ns > SAY_NS) {
		a->answers_since_ns = now;
		a->answers = 0;
	}
	return a->listener->options.on_refuse && a->answers++ < REFUSED_MAX;
}

/* Counts it with its address. False where that has its share; it is refused then. */
static bool joins_crowd(struct acceptor *a, struct conn *c)
{
	struct listener *l = a->listener;

	if (!l->crowd)
		return true;
	if (crowd_enter(l->crowd, c->peer) == 0) {
		c->flags |= CONN_COUNTED;
		return true;
	}
	count_more(&a->tally.refused, 1);
	count_more(&a->tally.crowded, 1);
	if (may_answer_crowd(a))
		refuse(l, c);
	else
		conn_abort(c);
	return false;
}

static void admit(struct acceptor *a, int fd, const struct sockaddr *peer)
{
	struct listener *l = a->listener;
	int64_t many = listener_conn_come(l);
	bool over = is_over(a, many);
	struct conn *c;

	if (over && (!l->options.on_refuse || many > refused_max(l))) {
		(void)close(fd);
		listener_conn_gone(l);
		count_more(&a->tally.refused, 1);
		return;
	}
	c = conn_new(a->loop, a, fd, peer);
	if (!c) {
		listener_conn_gone(l);
		count_more(&a->tally.refused, 1);
		return;
	}
	if (l->options.push_filters && l->options.push_filters(l->options.ctx, c) < 0) {
		conn_abort(c);
		count_more(&a->tally.refused, 1);
	} else if (over) {
		refuse(l, c);
		count_more(&a->tally.refused, 1);
	} else if (joins_crowd(a, c) && l->options.on_accept(l->options.ctx, c) < 0) {
		conn_abort(c);
		count_more(&a->tally.refused, 1);
	}
}

static void say_exhausted(struct acceptor *a, int err)
{
	struct listener *l = a->listener;
	int64_t now = loop_now(a->loop), before = atomic_load(&l->said_at);

	if (!l->options.on_exhausted || (before && now - before < SAY_NS))
		return;
	if (atomic_compare_exchange_strong(&l->said_at, &before, now))
		l->options.on_exhausted(l->options.ctx, -err);
}

static void shed_waiting(struct acceptor *a)
{
	struct listener *l = a->listener;

	if (atomic_exchange(&l->reserve_taken, true))
		return; /* another loop is at it */
	if (l->reserve >= 0)
		(void)close(l->reserve);
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			break;
		(void)close(fd);
		count_more(&a->tally.refused, 1);
	}
	l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	atomic_store(&l->reserve_taken, false);
}

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void pause_accepting(struct acceptor *a, int err)
{
	say_exhausted(a, err);
	if (a->paused_before)
		shed_waiting(a);
	a->paused_before = true;
	atomic_store_explicit(&a->paused, true, memory_order_relaxed);
	(void)uv_poll_stop(&a->poll);
	loop_timer_set(a->loop, &a->pause, PAUSE_NS);
}

/* Also the beginning. What fails for want of memory is tried again. */
static void on_pause_over(void *ctx)
{
	struct acceptor *a = ctx;

	if (!a->active)
		a->active = uv_poll_init_socket(&a->loop->uv, &a->poll, a->fd) == 0;
	if (!a->active || uv_poll_start(&a->poll, UV_READABLE, on_acceptable) != 0) {
		loop_timer_set(a->loop, &a->pause, PAUSE_NS);
	} else if (loop_watch(a->loop, a->fd) < 0) {
		(void)uv_poll_stop(&a->poll);
		loop_timer_set(a->loop, &a->pause, PAUSE_NS);
	} else {
		atomic_store_explicit(&a->paused, false, memory_order_relaxed);
	}
}

static bool is_exhaustion(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
	struct acceptor *a = (struct acceptor *)poll;

	(void)status;
	(void)events;
	loop_is_awake(a->loop);
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		union net_address peer;
		socklen_t n = sizeof(peer);
		int fd = accept4(a->fd, &peer.any, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			a->paused_before = false;
			admit(a, fd, &peer.any);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (is_exhaustion(errno)) {
			pause_accepting(a, errno);
			return;
		}
		/* Anything else is the end of a connection that nobody has seen yet (ECONNABORTED and the like). */
	}
}

/* The handle's memory is the listener's, which outlives the loop. */
void acceptor_shut(struct acceptor *a)
{
	loop_timer_stop(a->loop, &a->pause);
	if (a->active)
		uv_close((uv_handle_t *)&a->poll, NULL);
	a->active = false;
	if (a->fd >= 0)
		(void)close(a->fd);
	a->fd = -1;
}

struct acceptor *acceptor_next(const struct acceptor *a)
{
	return a->next;
}

static void open_on_loop(struct loop *loop, struct loop_msg *msg)
{
	struct acceptor *a = (struct acceptor *)((char *)msg - offsetof(struct acceptor, open_msg));

	a->open_posted = false;
	if (loop->ended || loop->stopping)
		return; /* listener_close will close the socket */
	a->next = loop->acceptors;
	loop->acceptors = a;
	on_pause_over(a);
}

static void stop_on_loop(struct loop *loop, struct loop_msg *msg)
{
	struct acceptor *a = (struct acceptor *)((char *)msg - offsetof(struct acceptor, stop_msg));

	a->stop_posted = false;
	for (struct acceptor **at = &loop->acceptors; *at; at = &(*at)->next) {
		if (*at == a) {
			*at = a->next;
			break;
		}
	}
	if (!loop->ended)
		acceptor_shut(a);
}

/* ---- opening and closing, on the main thread ---- */

static int set_flag(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int at_least_one(uint32_t seconds)
{
	return seconds ? (int)seconds : 1;
}

/*
 * A peer whose machine or link has gone says nothing more, and without these a
 * connection to it would stay for ever (idle), or for a quarter of an hour (written to).
 */
static void set_inherited(int fd, uint32_t timeout_ms)
{
	(void)set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	(void)set_flag(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	(void)set_flag(fd, IPPROTO_TCP, TCP_KEEPIDLE, at_least_one(timeout_ms / 2000));
	(void)set_flag(fd, IPPROTO_TCP, TCP_KEEPINTVL, at_least_one(timeout_ms / 2000 / KEEP_COUNT));
	(void)set_flag(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT);
	(void)set_flag(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)timeout_ms);
}

/* A bound socket, or -errno. :PORT means both IP versions, or IPv4 where there is no other. */
static int bind_socket(union net_address *address, bool any_host, bool share)
{
	int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return -errno;
	rc = set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (rc == 0 && share)
		rc = set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (rc == 0 && address->any.sa_family == AF_INET6)
		rc = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, any_host ? 0 : 1);
	if (rc == 0 && bind(fd, &address->any, address_bytes(address)) < 0)
		rc = -errno;
	if (rc < 0) {
		(void)close(fd);
		return rc;
	}
	return fd;
}

static void take_port(int fd, union net_address *address)
{
	union net_address bound;
	socklen_t n = sizeof(bound);

	if (getsockname(fd, &bound.any, &n) == 0)
		*address = bound;
}

/* Fails where anybody listens on the address: this socket shares with none. */
static int probe_address(union net_address *address, bool any_host)
{
	int fd = bind_socket(address, any_host, false);

	if ((fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) && any_host) { /* a machine without IPv6 */
		uint16_t port = address->v6.sin6_port;

		memset(address, 0, sizeof(*address));
		address->v4.sin_family = AF_INET;
		address->v4.sin_port = port;
		fd = bind_socket(address, any_host, false);
	}
	if (fd < 0)
		return fd;
	(void)close(fd);
	return 0;
}

static int open_sockets(struct listener *l, union net_address *address, bool any_host)
{
	int rc = probe_address(address, any_host);

	for (uint32_t i = 0; i < l->count && rc >= 0; i++) {
		int fd = bind_socket(address, any_host, l->count > 1);

		if (fd < 0)
			return fd;
		l->acceptors[i].fd = fd;
		set_inherited(fd, l->options.peer_timeout_ms);
		if (listen(fd, BACKLOG) < 0)
			return -errno;
		take_port(fd, address); /* port 0: the rest follows the first */
	}
	return rc;
}

static int explain(int err, const char *text, struct fault *fault)
{
	if (err == -EADDRINUSE)
		return fault_set(fault, ERR_IN_USE, "%s is in use: another process listens on it", text);
	if (err == -EACCES)
		return fault_set(fault, ERR_IO, "no permission to listen on %s", text);
	if (err == -EADDRNOTAVAIL)
		return fault_set(fault, ERR_IO, "%s is no address of this machine", text);
	return fault_set(fault, ERR_IO, "cannot listen on %s: %s", text, sys_error_text(err));
}

static struct listener *make_listener(const struct listener_options *options, struct loop **loops,
				      uint32_t loop_count)
{
	size_t bytes = sizeof(struct listener) + loop_count * sizeof(struct acceptor);
	struct listener *l = mem_aligned(_Alignof(struct listener), bytes);

	if (!l)
		return NULL;
	memset(l, 0, bytes);
	l->options = *options;
	l->options.address = NULL; /* borrowed until return */
	if (!l->options.connections_max)
		l->options.connections_max = CONNECTIONS_MAX;
	if (!l->options.peer_timeout_ms)
		l->options.peer_timeout_ms = PEER_TIMEOUT_MS;
	l->count = loop_count;
	if (options->per_address_max) {
		struct hash_key key;
		if (options->sys->ops->random(options->sys->self, &key, sizeof(key)) == 0)
			l->crowd = crowd_new(&key, options->per_address_max);
		if (!l->crowd) {
			mem_free(l);
			return NULL;
		}
	}
	l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (uint32_t i = 0; i < loop_count; i++) {
		struct acceptor *a = &l->acceptors[i];

		a->listener = l;
		a->loop = loops[i];
		a->fd = -1;
		a->open_msg.run = open_on_loop;
		a->stop_msg.run = stop_on_loop;
		loop_timer_init(&a->pause, on_pause_over, a);
	}
	return l;
}

static void start_accepting(struct listener *l)
{
	for (uint32_t i = 0; i < l->count; i++) {
		l->acceptors[i].open_posted = true;
		loop_post(l->acceptors[i].loop, &l->acceptors[i].open_msg);
	}
}

int listener_open(const struct listener_options *options, struct loop **loops, uint32_t loop_count,
		  struct listener **out, char *bound, struct fault *fault)
{
	union net_address address;
	bool any_host = options->address[0] == ':' || options->address[0] == '*';
	struct listener *l;
	uint8_t ip[16];
	uint16_t port;
	int rc = address_parse(options->address, &address, fault);

	if (rc < 0)
		return rc;
	l = make_listener(options, loops, loop_count);
	if (!l)
		return fault_set(fault, ERR_NOMEM, "no memory for a listener");
	rc = open_sockets(l, &address, any_host);
	if (rc < 0) {
		listener_close(l);
		return explain(rc, options->address, fault);
	}
	if (bound) {
		address_unmap(&address.any, ip, &port);
		address_text(ip, port, bound);
	}
	start_accepting(l);
	*out = l;
	return 0;
}

void listener_stop(struct listener *l)
{
	if (l->stopped)
		return;
	l->stopped = true;
	for (uint32_t i = 0; i < l->count; i++) {
		l->acceptors[i].stop_posted = true;
		loop_post(l->acceptors[i].loop, &l->acceptors[i].stop_msg);
	}
}

void listener_close(struct listener *l)
{
	if (!l)
		return;
	for (uint32_t i = 0; i < l->count; i++) {
		struct acceptor *a = &l->acceptors[i];

		if (a->open_posted)
			mailbox_remove(a->loop, &a->open_msg);
		if (a->stop_posted)
			mailbox_remove(a->loop, &a->stop_msg);
		if (a->fd >= 0)
			(void)close(a->fd);
	}
	if (l->reserve >= 0)
		(void)close(l->reserve);
	crowd_free(l->crowd);
	mem_free(l);
}
