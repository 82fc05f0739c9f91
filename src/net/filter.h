/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_FILTER_H
#define WEIR_NET_FILTER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "net/net.h"

/*
 * A connection is a stack of filters. The one at the bottom is tcp; each other
 * changes bytes on their way and calls the one below:
 *
 *	session
 *	conn          what is kept, what is queued, when to try (conn.c)
 *	─ tls ─       plain bytes above, records below
 *	─ tcp ─       recv, sendmsg, shutdown (filter_tcp.c)
 *
 * A filter does not block, has no timer, and calls nothing but the one below. It
 * is never asked for two things at once; on the loop of its connection.
 */

/*
 * What a call gives in place of a number of bytes. The two wants are not errors:
 * nothing can be done before the socket can be read, or written, whatever was
 * asked for: who reads may have to write first, and the other way round. A filter
 * that gives one must have heard it from the one below in this call, or the loop
 * would spin.
 */
enum filter_result {
	FILTER_WANTS_READ = INT_MIN,
	FILTER_WANTS_WRITE,
	FILTER_RESET, /* the socket failed */
	FILTER_BROKEN, /* the peer does not speak this filter's protocol; what is to be said of that lies in the socket */
};

static inline bool filter_waits(int64_t result)
{
	return result == FILTER_WANTS_READ || result == FILTER_WANTS_WRITE;
}

struct conn_filter {
	const struct filter_ops *ops;
};

struct filter_ops {
	const char *name; /* "tcp" */

	/*
	 * Up to `room` bytes (more than 0) for the session, at `to`: the loop's buffer, or memory of the session,
	 * which is another one in each call. Their number; 0 where the peer has said that
	 * it will send no more; an enum filter_result. A handshake goes on here and in send, whichever is
	 * called. A peer that is cut off where the protocol has an end of its own is FILTER_RESET.
	 */
	int64_t (*receive)(struct conn_filter *f, uint8_t *to, size_t room);

	/*
	 * Sends of `count` (1 to 64) non-empty parts as many bytes as the socket takes. Their number,
	 * more than 0; or an enum filter_result. Less than all means that the socket is full: it has
	 * refused some, or epoll may not tell of room.
	 * A byte counts when all that was made of it is the kernel's, not before. What was offered and
	 * not counted is offered again until it is: the same bytes at the same place, perhaps with more
	 * behind them. So a record that was made and has left in part needs no copy of what it was made of.
	 */
	int64_t (*send)(struct conn_filter *f, const struct iovec *parts, int count);

	/*
	 * Tells the peer that no more will come, in this filter's words, then below it; all that was
	 * offered has been counted. 0 or an enum filter_result; after a want it is called again. Nothing
	 * follows a 0 but free.
	 */
	int (*shut)(struct conn_filter *f);

	/* True where receive would give something without a look at the socket, of which epoll tells nothing. NULL: never. */
	bool (*holds)(const struct conn_filter *f);

	/*
	 * True where bytes may be written to the socket past send (sendfile): nothing is added to them, or
	 * the kernel adds it (kTLS), here and below. Asked when nothing is half sent. NULL: no.
	 */
	bool (*is_direct)(const struct conn_filter *f);

	/* Frees the filter, not what is below, and says nothing to the peer. Gives the one below it; NULL for the last. */
	struct conn_filter *(*free)(struct conn_filter *f);
};

/*
 * Puts a filter on top of the stack and gives the one that is below it from now on.
 * Takes f: it is freed with the connection, or before. Only inside listener_options.push_filters.
 */
struct conn_filter *conn_push_filter(struct conn *c, struct conn_filter *f);

/* True where what the session sends may be written to the socket itself, now: see is_direct; nothing is queued. */
bool conn_is_direct(const struct conn *c);

#endif
