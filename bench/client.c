/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void die(const char *what)
{
	(void)fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

void raise_file_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files))
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

int64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void sleep_until(int64_t at_ns)
{
	struct timespec t = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

int tcp_connect(int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		die("connect");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

void send_all(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
		if (n <= 0)
			die("send");
		at += n;
		len -= (size_t)n;
	}
}

static size_t read_head(int fd, char *room, size_t cap, char **end)
{
	size_t have = 0;

	for (;;) {
		ssize_t n = recv(fd, room + have, cap - 1 - have, 0);
		if (n <= 0)
			die("no answer");
		have += (size_t)n;
		room[have] = '\0';
		*end = strstr(room, "\r\n\r\n");
		if (*end)
			return have;
	}
}

int read_answer(int fd, char *room, size_t cap)
{
	char *end, *length;
	size_t have = read_head(fd, room, cap, &end), want;

	length = strcasestr(room, "content-length:");
	want = (size_t)(end + 4 - room) + (length && length < end ? strtoul(length + 15, NULL, 10) : 0);
	while (have < want) {
		ssize_t n = recv(fd, room + have, cap - have, 0);
		if (n <= 0)
			die("half an answer");
		have += (size_t)n;
	}
	return (int)strtol(room + 9, NULL, 10);
}

/* Bytes after the head are frames already: none come before the first publish. */
int ws_connect(int port, const char *path)
{
	int fd = tcp_connect(port);
	char text[2048], *end;
	int len =
		snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
			 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
			 path);

	send_all(fd, text, (size_t)len);
	(void)read_head(fd, text, sizeof(text), &end);
	if (strncmp(text + 9, "101", 3) != 0) {
		(void)fprintf(stderr, "%s\n", text);
		die("no WebSocket");
	}
	return fd;
}

int zeroed_file(const char *dir, size_t bytes)
{
	static const char zeros[1 << 16];
	char path[4096];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/bare", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	for (size_t at = 0; at < bytes; at += sizeof(zeros))
		if (pwrite(fd, zeros, sizeof(zeros), (off_t)at) != sizeof(zeros))
			die(path);
	if (fsync(fd) != 0)
		die(path);
	return fd;
}

int echo_start(size_t message_bytes)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd, one = 1;
	char *room = malloc(message_bytes);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (!room || bind(listener, (struct sockaddr *)&at, len) != 0 || listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&at, &len) != 0)
		die("listen");
	if (fork() == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		fd = accept(listener, NULL, NULL);
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		while (recv(fd, room, message_bytes, MSG_WAITALL) == (ssize_t)message_bytes)
			send_all(fd, room, message_bytes);
		_exit(0);
	}
	free(room);
	fd = tcp_connect(ntohs(at.sin_port));
	(void)close(listener);
	return fd;
}

void bare_init(struct bare *b, const char *dir, size_t bytes)
{
	*b = (struct bare){.bytes = bytes, .file_bytes = 16 << 20};
	b->file = zeroed_file(dir, b->file_bytes);
	b->echo = echo_start(bytes);
}

void bare_round(struct bare *b)
{
	if (pwrite(b->file, b->message, b->bytes, (off_t)b->at) != (ssize_t)b->bytes ||
	    fdatasync(b->file) != 0)
		die("the bare file");
	b->at = (b->at + b->bytes) % b->file_bytes;
	send_all(b->echo, b->message, b->bytes);
	if (recv(b->echo, b->message, b->bytes, MSG_WAITALL) != (ssize_t)b->bytes)
		die("echo");
}

void samples_add(struct samples *s, int64_t ns)
{
	if (s->count == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 4096;
		s->list = realloc(s->list, s->cap * sizeof(*s->list));
		if (!s->list)
			die("memory");
	}
	s->list[s->count++] = ns;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

double samples_us(struct samples *s, double share)
{
	if (s->count == 0)
		return 0;
	qsort(s->list, s->count, sizeof(*s->list), compare);
	return (double)s->list[(size_t)((double)(s->count - 1) * share)] / 1000;
}
