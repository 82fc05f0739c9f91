/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fanout weir|redis PORT SUBSCRIBERS SECONDS
 *
 * One publisher, many subscribers of one topic, 128 bytes; deliveries a second.
 * One thread and one epoll for all of it, the same for both peers: a message has
 * the same length every time, so bytes tell how many came. The publisher keeps
 * AHEAD messages in flight that the average subscriber has not had yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "client.h"

#define BODY 128
#define AHEAD 256
#define SUBSCRIBERS_MAX 20000

static int subscribe_weir(int port)
{
	return ws_connect(port, "/v1/topics/fan/ws?mode=subscribe&format=raw");
}

static int subscribe_redis(int port)
{
	int fd = tcp_connect(port);
	char text[256];
	static const char ask[] = "*2\r\n$9\r\nSUBSCRIBE\r\n$3\r\nfan\r\n";

	send_all(fd, ask, sizeof(ask) - 1);
	if (recv(fd, text, sizeof("*3\r\n$9\r\nsubscribe\r\n$3\r\nfan\r\n:1\r\n") - 1, MSG_WAITALL) <= 0)
		die("subscribe");
	return fd;
}

static size_t weir_message(char *out)
{
	int n = sprintf(out,
			"POST /v1/topics/fan/records HTTP/1.1\r\nHost: 127.0.0.1\r\n"
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n\"",
			BODY);

	memset(out + n, 'x', BODY - 2);
	out[n + BODY - 2] = '"';
	return (size_t)n + BODY - 1;
}

static size_t redis_message(char *out)
{
	int n = sprintf(out, "*3\r\n$7\r\nPUBLISH\r\n$3\r\nfan\r\n$%d\r\n", BODY);

	memset(out + n, 'x', BODY);
	memcpy(out + n + BODY, "\r\n", 2);
	return (size_t)n + BODY + 2;
}

static const struct peer {
	const char *name;
	int (*subscribe)(int port);
	size_t (*message)(char *out);
	size_t delivered_bytes; /* of one message on a subscriber's wire */
} peers[] = {
	{"weir", subscribe_weir, weir_message, 4 + BODY},
	{"redis", subscribe_redis, redis_message,
	 sizeof("*3\r\n$7\r\nmessage\r\n$3\r\nfan\r\n$128\r\n\r\n") - 1 + BODY},
};

struct run {
	const struct peer *peer;
	int epoll, publisher;
	uint64_t subscribers, published, bytes;
	char message[1024], junk[1 << 18];
	size_t message_bytes;
};

static void watch(struct run *r, int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &e) != 0)
		die("epoll");
}

static void publish_more(struct run *r)
{
	static char room[64 * sizeof(r->message)];
	uint64_t had = r->bytes / r->peer->delivered_bytes / r->subscribers;
	size_t len = 0;

	for (int i = 0; i < 64 && r->published < had + AHEAD; i++, r->published++) {
		memcpy(room + len, r->message, r->message_bytes);
		len += r->message_bytes;
	}
	if (len)
		send_all(r->publisher, room, len);
}

static void turn(struct run *r)
{
	struct epoll_event events[256];
	int count = epoll_wait(r->epoll, events, 256, 100);

	for (int i = 0; i < count; i++) {
		ssize_t n = recv(events[i].data.fd, r->junk, sizeof(r->junk), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			die("a connection was closed");
		if (n > 0 && events[i].data.fd != r->publisher)
			r->bytes += (uint64_t)n;
	}
	publish_more(r);
}

int main(int argc, char **argv)
{
	static struct run r;
	int64_t begun, end;
	uint64_t before;
	int port;

	if (argc != 5)
		die("fanout weir|redis PORT SUBSCRIBERS SECONDS");
	raise_file_limit();
	r.peer = strcmp(argv[1], "redis") == 0 ? &peers[1] : &peers[0];
	port = atoi(argv[2]);
	r.subscribers = strtoul(argv[3], NULL, 10);
	r.epoll = epoll_create1(EPOLL_CLOEXEC);
	r.message_bytes = r.peer->message(r.message);
	r.publisher = tcp_connect(port);
	watch(&r, r.publisher);
	for (uint64_t i = 0; i < r.subscribers; i++)
		watch(&r, r.peer->subscribe(port));
	begun = now_ns();
	while (now_ns() - begun < 500000000) /* warm */
		turn(&r);
	before = r.bytes;
	begun = now_ns();
	end = begun + atoi(argv[4]) * 1000000000ll;
	while (now_ns() < end)
		turn(&r);
	(void)printf("{\"deliveries\": %.0f, \"rate\": %.0f}\n",
		     (double)(r.bytes - before) / (double)r.peer->delivered_bytes,
		     (double)(r.bytes - before) / (double)r.peer->delivered_bytes /
			     ((double)(now_ns() - begun) / 1e9));
	return 0;
}
