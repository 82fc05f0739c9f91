/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_WEB_TEST_H
#define WEIR_NET_WEB_TEST_H

/*
 * A server for the tests of clients: a thread accepts on a free port of the loopback, each
 * connection has one of its own, which reads request after request and lets the test answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct web_test {
	/* The test's. On the connection's thread; false: the connection is closed. */
	bool (*answer)(int fd, const char *path, const char *head);

	int fd;
	uint16_t port;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic int sessions;    /* threads that live */
	_Atomic int connections; /* so far */
};

/* A listening socket and its port. */
static inline int web_test_listen(uint16_t *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 100), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

static inline bool web_test_put(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n > 0) {
		ssize_t did = send(fd, at, n, MSG_NOSIGNAL);

		if (did <= 0)
			return false;
		at += did;
		n -= (size_t)did;
	}
	return true;
}

/* One request with its body, as much as there is room for; false at the end. */
static inline bool web_test_read(int fd, char *head, size_t room)
{
	size_t have = 0, length = 0;
	char *end = NULL, *field;

	while (have + 1 < room && (!end || have < (size_t)(end - head) + 4 + length)) {
		ssize_t did = recv(fd, head + have, room - 1 - have, 0);

		if (did <= 0)
			return false;
		have += (size_t)did;
		head[have] = '\0';
		end = strstr(head, "\r\n\r\n");
		field = strstr(head, "Content-Length: ");
		length = end && field && field < end ? strtoul(field + 16, NULL, 10) : 0;
	}
	return end != NULL;
}

/* The second word of the request line. */
static inline bool web_test_path(const char *head, char *path, size_t room)
{
	const char *from = strchr(head, ' '), *to = from ? strchr(from + 1, ' ') : NULL;

	if (!to || (size_t)(to - from) > room)
		return false;
	memcpy(path, from + 1, (size_t)(to - from - 1));
	path[to - from - 1] = '\0';
	return true;
}

struct web_test_session {
	struct web_test *web;
	int fd;
};

static inline void *web_test_serve(void *arg)
{
	struct web_test_session session = *(struct web_test_session *)arg;
	char head[16384], path[4096];

	free(arg);
	while (web_test_read(session.fd, head, sizeof(head)) && web_test_path(head, path, sizeof(path)))
		if (!session.web->answer(session.fd, path, head))
			break;
	(void)close(session.fd);
	atomic_fetch_sub(&session.web->sessions, 1);
	return NULL;
}

static inline void *web_test_accept(void *arg)
{
	struct web_test *web = arg;
	struct pollfd p = {.fd = web->fd, .events = POLLIN};

	while (!atomic_load(&web->stop)) {
		struct timeval patience = {.tv_sec = 20};
		struct web_test_session *session;
		pthread_t thread;

		if (poll(&p, 1, 20) < 1)
			continue;
		session = malloc(sizeof(*session));
		*session = (struct web_test_session){web, accept(web->fd, NULL, NULL)};
		(void)setsockopt(session->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		atomic_fetch_add(&web->connections, 1);
		atomic_fetch_add(&web->sessions, 1);
		assert_int_equal(pthread_create(&thread, NULL, web_test_serve, session), 0);
		(void)pthread_detach(thread);
	}
	return NULL;
}

static inline void web_test_start(struct web_test *web)
{
	atomic_store(&web->stop, false);
	atomic_store(&web->connections, 0);
	web->fd = web_test_listen(&web->port);
	assert_int_equal(pthread_create(&web->thread, NULL, web_test_accept, web), 0);
}

/* The clients are gone, or their connections are closed by what answers. */
static inline void web_test_stop(struct web_test *web)
{
	atomic_store(&web->stop, true);
	(void)pthread_join(web->thread, NULL);
	(void)close(web->fd);
	for (int i = 0; i < 30000 && atomic_load(&web->sessions) > 0; i++)
		(void)usleep(1000);
	assert_int_equal(atomic_load(&web->sessions), 0);
}

#endif
