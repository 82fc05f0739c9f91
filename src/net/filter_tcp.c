/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net_private.h"

/*
 * The filter at the bottom of every stack: the socket itself. It is a part of
 * its connection, so that plain TCP allocates nothing for it, and costs an
 * indirect call for each recv and send.
 */

static const struct conn *conn_of(const struct conn_filter *f)
{
	return (const struct conn *)(const void *)((const char *)f - offsetof(struct conn, tcp));
}

static int64_t receive(struct conn_filter *f, uint8_t *to, size_t room)
{
	ssize_t n = recv(conn_of(f)->fd, to, room, 0);

	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EINTR ? FILTER_WANTS_READ : FILTER_RESET;
}

static ssize_t send_parts(int fd, const struct iovec *parts, int count, int flags)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};

	if (count == 1) /* a cheaper call */
		return send(fd, parts->iov_base, parts->iov_len, flags);
	return sendmsg(fd, &msg, flags);
}

static int64_t send_some(struct conn_filter *f, const struct iovec *parts, int count)
{
	const struct conn *c = conn_of(f);
	int flags = c->flags & CONN_MORE ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL;
	ssize_t n;

	do
		n = send_parts(c->fd, parts, count, flags);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return n;
	return n == 0 || errno == EAGAIN ? FILTER_WANTS_WRITE : FILTER_RESET;
}

/* A socket that has failed tells so when it is read next. */
static int shut(struct conn_filter *f)
{
	(void)shutdown(conn_of(f)->fd, SHUT_WR);
	return 0;
}

static bool is_direct(const struct conn_filter *f)
{
	(void)f;
	return true;
}

static struct conn_filter *free_socket(struct conn_filter *f)
{
	(void)close(conn_of(f)->fd);
	return NULL;
}

const struct filter_ops filter_tcp = {
	.name = "tcp",
	.receive = receive,
	.send = send_some,
	.shut = shut,
	.is_direct = is_direct,
	.free = free_socket,
};
