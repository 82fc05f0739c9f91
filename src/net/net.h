/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_NET_H
#define WEIR_NET_NET_H

#include "base/blob.h"
#include "base/budget.h"
#include "base/err.h"
#include "base/file_ref.h"
#include "sys/sys.h"

/*
 * Loops, listeners, connections, timers and mailboxes over libuv, one loop a
 * thread. A connection belongs to one loop and is only touched there. Net moves
 * bytes; it knows no protocol above TCP.
 *
 * A connection is a stack of filters (filter.h): tcp below, what the listener
 * pushes between, the session on top. A session is told of bytes and of credit; it never blocks and never
 * queues: it writes what it has, and is called again when that has left.
 */
struct loop;
struct listener;
struct conn;

/* ---- loops ---- */

struct loop_options {
	const struct sys *sys;
	uint32_t number;
	size_t read_bytes;     /* size of the one shared read buffer, 0: 64 KiB */
	struct budget *budget; /* what connections hold is counted in it; kept; NULL: nowhere */
};

/* Errors: ERR_NOMEM, ERR_IO. Borrows the options, keeps options->sys. */
int loop_new(const struct loop_options *options, struct loop **out);

/*
 * After loop_run has returned (or where it was never called), and after every
 * thread that posts or wakes has ended. Messages that came too late are run
 * here, on the caller's thread, so that they can free themselves.
 */
void loop_free(struct loop *loop);

/* Runs on the calling thread until loop_stop; once. Closes what is left then (CONN_STOPPED). */
void loop_run(struct loop *loop);

/*
 * From any thread, also before loop_run. What was written is offered to the
 * kernel once more, then connections and listeners of this loop are closed.
 * Messages go on being run until nothing is left.
 */
void loop_stop(struct loop *loop);

/*
 * Monotonic nanoseconds. loop_now reads the clock at most once a turn, and only
 * when asked; loop_now_fresh reads it, and moves loop_now on. On the loop.
 */
int64_t loop_now(const struct loop *loop);
int64_t loop_now_fresh(const struct loop *loop);

/* Turns so far: how often the loop woke up. On the loop, or after it ended. */
uint64_t loop_turns(const struct loop *loop);

uint32_t loop_number(const struct loop *loop);

/*
 * The loop's share of the budget: whatever grows with what the peers of its
 * connections do is counted there. Borrowed; on the loop.
 */
struct budget_share *loop_share(struct loop *loop);

/* Room for the owner of the loop: one pointer. */
void loop_set_owner(struct loop *loop, void *owner);
void *loop_owner(const struct loop *loop);

/* A message moves to another loop's thread. Intrusive; owned by the receiver from post to run. */
struct loop_msg;
typedef void loop_msg_fn(struct loop *loop, struct loop_msg *msg);
struct loop_msg {
	struct loop_msg *next;
	loop_msg_fn *run;
};
/* Any thread; lock-free. Messages of one thread run in the order they were posted. */
void loop_post(struct loop *loop, struct loop_msg *msg);

/* A level-free wake-up from any thread (many calls, one run): for ports of the log. */
struct loop_waker;
typedef void loop_wake_fn(void *ctx);
int loop_waker_new(struct loop *loop, loop_wake_fn *fn, void *ctx, struct loop_waker **out);
void loop_waker_wake(struct loop_waker *w); /* any thread, async-signal-safe */
void loop_waker_free(
	struct loop_waker
		*w); /* on the loop, or after it ended and before loop_free; nobody wakes it any more */

/*
 * Called once at the end of a turn in which it was asked for: to hand over what
 * a turn gathered, before output is flushed. Embedded in its owner, who fills
 * in run and ctx and zeroes the rest; kept until it has run.
 */
struct loop_turn {
	struct loop_turn *next;
	void (*run)(void *ctx);
	void *ctx;
	bool queued;
};
void loop_at_turn_end(struct loop *loop, struct loop_turn *turn);

/*
 * Timers: a wheel of 64 ms ticks a loop, so that ten thousand deadlines cost
 * nothing while they move on; with no timer armed there is no tick at all, and
 * with only far ones the loop sleeps until the first.
 * Embedded in its owner; never runs inside the call that armed it. Never early;
 * late by up to a tick and what the turn takes. One that is not armed may be
 * stopped. The owner stops it before it frees it.
 */
struct loop_timer {
	struct loop_timer *next, **prev;
	int64_t at_ns;
	void (*run)(void *ctx);
	void *ctx;
};
void loop_timer_init(struct loop_timer *t, void (*run)(void *ctx), void *ctx);
void loop_timer_set(struct loop *loop, struct loop_timer *t, int64_t after_ns); /* moves it where armed */
void loop_timer_stop(struct loop *loop, struct loop_timer *t);

/* ---- connections ---- */

enum conn_close_reason {
	CONN_CLOSED_BY_PEER,
	CONN_CLOSED_BY_US,
	CONN_RESET,   /* or what the peer sent was not what a filter understands */
	CONN_STOPPED, /* the loop ends */
};

/*
 * What a session implements. on_bytes gets all bytes not consumed so far and
 * gives how many it took; the rest is kept (bounded by input_bytes_max, past
 * which the connection stops reading) and comes again with more.
 * The bytes lie in memory of the loop or the connection that may be written to:
 * a session may change in place what it takes, but not what it leaves.
 * Callbacks never run inside conn_write, conn_close or the other calls below;
 * after conn_close or conn_abort only on_closed comes. All but on_bytes may be
 * NULL; without on_end the connection closes when the peer ends.
 *
 * on_room is asked before a read where the next bytes should be put: memory of the
 * session for so many bytes, at *to, or 0 for anywhere. It is borrowed until on_bytes
 * has them, there, fewer or as many, or has been told of nothing at all; what on_bytes
 * leaves of them must lie there until it returns. While bytes are kept it is not asked.
 * It calls nothing of the connection.
 *
 * The peer's end may be half of it (it still reads) or all; nothing tells which
 * until something is written, so a stream should end on on_end, and only a
 * request in flight be answered still. While reading is stopped the peer's end
 * is not seen.
 */
struct conn_session {
	size_t (*on_bytes)(void *ctx, struct slice bytes);
	size_t (*on_room)(void *ctx, uint8_t **to);
	void (*on_drained)(void *ctx); /* everything written has left: credit is back */
	void (*on_end)(void *ctx);     /* the peer will send no more */
	void (*on_closed)(void *ctx, enum conn_close_reason reason); /* last call; conn is gone after it */
};

struct conn_peer {
	char text[64]; /* address:port */
	bool loopback;
};

/* Keeps both. May replace the session inside on_bytes (upgrades): what is left then goes to the new one. */
void conn_set_session(struct conn *c, const struct conn_session *session, void *ctx);
void *conn_session_ctx(const struct conn *c);
struct loop *conn_loop(const struct conn *c);
void conn_peer(const struct conn *c, struct conn_peer *out);

/* The address that the peer reached, "address:port" in 64 bytes; empty where the kernel does not tell. Asks it. */
void conn_local(const struct conn *c, char out[64]);

/*
 * Appends to what leaves at the end of this turn, in order. conn_write copies
 * into the connection's output buffer (borrowed from the loop's pool, given
 * back when drained); conn_write_blob shares the blob instead (for large or
 * common bytes; short parts are copied, as that is cheaper than counting).
 * What is copied counts in the loop's share of the budget, but is never refused for it.
 * Errors: ERR_LIMIT past the output bound, ERR_NOMEM, nothing of the call is
 * queued then and the caller should close; ERR_CANCELLED after conn_close.
 * conn_pending: bytes not yet taken by the kernel.
 */
int conn_write(struct conn *c, struct slice bytes);
int conn_write_blob(struct conn *c, struct blob *blob, struct slice part);
size_t conn_pending(const struct conn *c);

/*
 * The same for a range of a file, of at least one byte: the kernel sends it from its page cache where no filter has to see the
 * bytes, else it is read in pieces as it leaves. Takes the file's reference, also on failure. A
 * file that cannot be read so far cuts the connection. The loop waits for the disk where the range is not in memory.
 */
int conn_write_file(struct conn *c, struct file_ref *file, uint64_t at, size_t bytes);

/* Writes what is there now, without waiting for the end of the turn. on_drained still comes at its end. */
void conn_flush(struct conn *c);

/*
 * Stops and resumes reading from the socket. Resuming presents kept bytes again
 * (at the end of the turn), also where reading was not stopped. Stopping costs
 * nothing while the peer is silent: the loop stops watching the socket when
 * bytes come in that nobody wants.
 */
void conn_read_stop(struct conn *c);
void conn_read_start(struct conn *c);

/*
 * The most that is kept of unconsumed input (or one read, where that is more);
 * 0: 64 KiB. At the bound reading stops until on_bytes, called again through
 * conn_read_start, takes some.
 */
void conn_set_input_max(struct conn *c, size_t bytes);

/* A write is refused while more than this is pending; one call may bring any size over it. 0: 1 MiB. */
void conn_set_output_max(struct conn *c, size_t bytes);

/*
 * The kernel's buffer of what was sent and not acknowledged: so many bytes (it counts twice as much) in place of what it
 * thinks right for the way. For a peer on this machine alone, whose way is short: with less in flight each page is
 * copied while it is still near the processor, and no side works for long while the other waits.
 */
void conn_set_send_buffer(struct conn *c, uint32_t bytes);

/*
 * Closes once what was written has left, then shuts the sending side and
 * discards what the peer still sends for up to linger_ns (0: not at all). A
 * peer that takes nothing for 30 s is cut. conn_abort closes at once. on_closed
 * follows in both cases, at the earliest at the end of the turn; the reason is
 * CONN_CLOSED_BY_PEER where the peer had ended first.
 */
void conn_close(struct conn *c, int64_t linger_ns);

/*
 * The same for a peer that owes nothing: all that it was to send has come. So
 * there is no waiting for its end, only until its kernel has acknowledged all
 * output and our end, which is looked at every tick, for up to linger_ns.
 */
void conn_finish(struct conn *c, int64_t linger_ns);
void conn_abort(struct conn *c);

/* Bytes of received data so far: for minimum rates. */
uint64_t conn_bytes_in(const struct conn *c);
uint64_t conn_bytes_out(const struct conn *c);

/* ---- listeners ---- */

/* A bound on the connections of several listeners together. */
struct listener_limit {
	uint32_t max;
	_Atomic uint32_t open;
};

struct listener_options {
	const char *address;          /* HOST:PORT, [v6]:PORT, :PORT; port 0 picks a free one */
	uint32_t connections_max;     /* shared by all loops, 0: 65 536 */
	struct listener_limit *limit; /* in which its connections count too; kept; NULL: in none */
	uint32_t per_address_max;     /* of one address (crowd.h); 0: no cap */
	const struct sys *sys;        /* with per_address_max: for a secret */
	/*
	 * A peer that has not been heard of for so long, though the kernel asked for it or
	 * has sent it something, is gone. 0: two minutes; at least 2 s.
	 */
	uint32_t peer_timeout_ms;
	/*
	 * With which filters connections are built, refused ones too (filter.h): on the loop, before
	 * on_accept. A negative error: closed at once, unseen by on_accept. NULL: plain TCP.
	 */
	int (*push_filters)(void *ctx, struct conn *c);
	/* On the loop of the connection. Must set a session, or refuse with a negative error (then it is closed). */
	int (*on_accept)(void *ctx, struct conn *c);
	/*
	 * At the cap, before anybody is refused: closes connections of this loop that can be spared
	 * (conn_abort) and gives how many. May be NULL.
	 */
	uint32_t (*on_full)(void *ctx, struct loop *loop);
	/* Past a cap: may write one answer; the connection is closed after it. NULL: closed at once. */
	void (*on_refuse)(void *ctx, struct conn *c);
	/* Accepting has paused for want of descriptors or memory; on a loop, at most once a second. May be NULL. */
	void (*on_exhausted)(void *ctx, int negative_errno);
	void *ctx;
};

/*
 * Binds one socket a loop with SO_REUSEPORT, after a probe without it, so that
 * an address somebody listens on already is an error. Errors: ERR_IN_USE,
 * ERR_IO, ERR_BAD_PARAMETER with *fault. `bound` gets HOST:PORT as text (64 bytes).
 * Out of descriptors: accepting pauses for 100 ms at a time, and says so once a
 * second; when that did not help, those that wait are closed.
 * Main thread, before or while the loops run; accepting begins when they do.
 * Borrows the options, keeps ctx.
 *
 * The kernel spreads connections over the sockets by a hash of the addresses:
 * many are spread evenly, a handful may all land on one loop.
 */
int listener_open(const struct listener_options *options, struct loop **loops, uint32_t loop_count,
		  struct listener **out, char *bound, struct fault *fault);
/* Stops accepting; connections live on. From the main thread while loops run. */
void listener_stop(struct listener *l);
void listener_close(
	struct listener *l); /* after the loops ended, before or after loop_free; NULL is allowed */
/* Since the start. `refused`: at the bound, or for want of memory or descriptors; closed at once or after one answer. */
struct listener_figures {
	uint64_t refused, bytes_received, bytes_sent;
	uint64_t crowded; /* of those refused: for their address had its share */
};
/* Any thread. */
void listener_figures(const struct listener *l, struct listener_figures *out);

/* False while the bound of connections is reached or descriptors are short: who comes now is refused. Any thread. */
bool listener_has_room(const struct listener *l);

/* Open connections, refused ones that are not yet gone included. Any thread. */
uint32_t listener_connections(const struct listener *l);

#endif
