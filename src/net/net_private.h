/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_NET_PRIVATE_H
#define WEIR_NET_NET_PRIVATE_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <uv.h>

#include "net/filter.h"
#include "net/net.h"

/* What the files of this folder share. Nobody outside includes it. */

/* ---- timers (timer.c) ---- */

#define WHEEL_SLOTS 4096u /* 64 ms each: one round is 262 s */
#define WHEEL_TICK_NS (64 * 1000000LL)

struct wheel {
	struct loop_timer *slots[WHEEL_SLOTS];
	uint64_t used[WHEEL_SLOTS / 64]; /* a bit for each slot that is not empty */
	struct loop_timer *firing;       /* due, and not yet run */
	int64_t tick;                    /* all slots up to this one have been looked at */
	int64_t wake_tick;               /* the alarm is set for it; INT64_MAX: it is not set */
	uint32_t count;
	uv_timer_t alarm;
};

void wheel_init(struct loop *loop);

/* At the end of a turn: an alarm for which no timer is left moves on, or is taken back. */
void wheel_before_sleep(struct loop *loop);

/* ---- output parts (output.c) ---- */

enum part_size {
	PART_BLOB,  /* a header alone: the bytes are the blob's */
	PART_FILE,  /* the same: they are in a file */
	PART_TINY,  /* what stands between two blobs: the framing of a chunk */
	PART_SMALL, /* a usual answer */
	PART_LARGE,
	PART_SIZES
};

struct out_part {
	struct out_part *next;
	union {
		struct blob *blob;     /* one reference; NULL: bytes are here */
		struct file_ref *file; /* PART_FILE: likewise */
	};
	union { /* the first that has not left */
		const uint8_t *at;
		uint64_t file_at; /* PART_FILE */
	};
	size_t len;
	uint32_t cap;
	uint32_t size; /* enum part_size */
	uint8_t bytes[];
};

struct out_pool {
	struct out_part *free[PART_SIZES];
	uint32_t count[PART_SIZES];
};

void out_pool_fini(struct out_pool *pool);

/* Appends a copy, or a shared part of a blob. 0 or ERR_NOMEM; all or nothing. */
int out_append(struct conn *c, struct slice bytes);
int out_append_blob(struct conn *c, struct blob *blob, struct slice part);
/* Takes the reference, but for an error. */
int out_append_file(struct conn *c, struct file_ref *file, uint64_t at, size_t bytes);

/* Offers what is pending to the filters, once. Bytes taken, or an enum filter_result. */
int64_t out_send(struct conn *c);
void out_drop(struct conn *c);

/* ---- loop (loop.c) ---- */

struct acceptor;

/* Something that lives on a loop and ends with it: stop when its handles are to be closed, free with the loop. */
struct loop_guest {
	void (*stop)(struct loop_guest *guest);
	void (*free)(struct loop_guest *guest);
};

struct loop {
	uv_loop_t uv;
	uv_prepare_t turn_end;
	uv_idle_t again; /* active while the next turn must not sleep */
	uv_poll_t alert; /* of alert_fd, an eventfd */
	int alert_fd;
	const struct sys *sys;
	void *owner;
	uint8_t *read_buf;
	size_t read_bytes;
	int64_t now; /* 0: not read in this turn */
	uint64_t turns;
	uint32_t number;
	bool stopping; /* handles are being closed */
	bool ended;    /* loop_run has returned */
	struct loop_turn *turn_first, **turn_last;
	struct conn *todo_first, **todo_last;
	struct conn *conns;
	struct acceptor *acceptors;
	struct loop_guest *fetcher; /* outbound HTTP; NULL: never used */
	struct loop_guest *dialer;  /* outbound connections; NULL: never used */
	struct out_pool pool;
	struct budget_share share;
	/* Written by other threads: on a cache line of their own. */
	_Alignas(64) _Atomic(struct loop_msg *) mail; /* newest first */
	_Atomic int sleeping;                         /* whoever makes it 0 sends the alert */
	_Atomic bool stop;
	_Alignas(64) struct wheel wheel;
};

/* The loop runs callbacks: posts need no alert until it is about to sleep. */
static inline void loop_is_awake(struct loop *loop)
{
	atomic_store_explicit(&loop->sleeping, 0, memory_order_relaxed);
}

/* Wakes the loop where it sleeps. Any thread. */
/* Makes epoll know a descriptor before libuv does, which cannot stand a failure of that. ERR_NOMEM, ERR_IO. On the loop. */
int loop_watch(struct loop *loop, int fd);
void loop_alert(struct loop *loop);

/* ---- mailbox (mailbox.c) ---- */

void mailbox_run(struct loop *loop);

static inline bool mailbox_empty(struct loop *loop)
{
	return atomic_load(&loop->mail) == NULL;
}

/* Takes a message back from a loop that does not run. */
void mailbox_remove(struct loop *loop, struct loop_msg *msg);

/* ---- connections (conn.c) ---- */

enum conn_state {
	CONN_OPEN,      /* the session reads and writes */
	CONN_FLUSHING,  /* conn_close was called, output is still to leave */
	CONN_LINGERING, /* our end is told; the peer's is waited for, its bytes are discarded */
	CONN_GONE,      /* the socket is closed, on_closed is to come */
};

enum conn_flag {
	CONN_EOF = 1,          /* the peer has ended */
	CONN_READ_STOPPED = 2, /* by the session */
	CONN_INPUT_FULL = 4,
	CONN_BLOCKED = 8,  /* the kernel took less than all: waiting for it to take more */
	CONN_WROTE = 16,   /* on_drained is owed */
	CONN_PRESENT = 32, /* kept bytes are to be presented at the end of the turn */
	CONN_INSIDE = 64,  /* on_bytes is running */
	/* Of a stack with more than tcp in it: */
	CONN_STACKED = 128,
	CONN_HELD = 256,          /* a filter holds input: read at the end of the turn, without an event */
	CONN_READ_ON_WRITE = 512, /* reading waits for the socket to be writable */
	CONN_SEND_ON_READ = 1024, /* with CONN_BLOCKED: sending waits for the socket to be readable */
	CONN_BROKEN = 2048,       /* a filter gave up */
	CONN_FINISH = 4096,       /* gone as soon as the peer's kernel has everything */
	CONN_COUNTED = 8192,      /* its address has one more for it (crowd.h) */
	CONN_MORE = 16384,        /* what is sent now goes on with a file */
};

struct conn {
	uv_poll_t poll; /* first: a handle's address is its connection's */
	struct loop *loop;
	struct acceptor *acceptor; /* NULL: of no listener */
	const struct conn_session *session;
	void *ctx;
	struct conn *next, **prev;           /* all of the loop */
	struct conn *todo_next, **todo_prev; /* those with something to do at the end of the turn */
	struct conn_filter *filter;          /* the top of the stack */
	struct conn_filter tcp;              /* its bottom */
	struct out_part *out_first, *out_last;
	size_t out_bytes;
	uint8_t *kept; /* unconsumed input, only while there is some */
	uint32_t kept_len, kept_cap;
	uint32_t input_max, output_max;
	uint64_t bytes_in, bytes_out;
	struct loop_timer timer; /* of closing */
	uint32_t linger_ms;
	int fd;
	uint8_t peer[16]; /* IPv6, or IPv4 mapped into it */
	uint16_t peer_port;
	uint16_t flags;   /* enum conn_flag */
	uint8_t state;    /* enum conn_state */
	uint8_t watching; /* UV_READABLE, UV_WRITABLE: what epoll is told */
	uint8_t reason;   /* enum conn_close_reason */
};

_Static_assert(sizeof(struct conn) - sizeof(uv_poll_t) <= 216, "an idle connection stays small");

extern const struct filter_ops filter_tcp;

/* Takes fd, also on failure. NULL without memory. */
struct conn *conn_new(struct loop *loop, struct acceptor *acceptor, int fd, const struct sockaddr *peer);

/* The connection's work at the end of a turn: present, write, tell of credit, go on closing. */
void conn_turn(struct conn *c);

/* Closes the socket now; on_closed follows from the loop. */
void conn_terminate(struct conn *c, enum conn_close_reason reason);

/* ---- listeners (listener.c) ---- */

void acceptor_shut(struct acceptor *a);
struct acceptor *acceptor_next(const struct acceptor *a);
void acceptor_conn_gone(struct acceptor *a, const struct conn *c);
/* On the loop of a: bytes of its connections. NULL: counted nowhere. */
void acceptor_count(struct acceptor *a, size_t received, size_t sent);

/* ---- addresses (address.c) ---- */

union net_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Parses HOST:PORT, [v6]:PORT or :PORT. ERR_BAD_PARAMETER with *fault. May ask the resolver (start-up only). */
int address_parse(const char *text, union net_address *out, struct fault *fault);
void address_text(const uint8_t ip[16], uint16_t port, char out[64]);
void address_unmap(const struct sockaddr *from, uint8_t ip[16], uint16_t *port);
socklen_t address_bytes(const union net_address *a);

#endif
