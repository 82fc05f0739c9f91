/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl tells (on_socket, on_timer) what it waits for; the loop tells it what came (on_poll,
 * on_timeout). libcurl must not be called from its own callbacks: these two only take notes in libuv.
 */
#include "net/multi.h"

#include <pthread.h>

#include "base/check.h"
#include "base/mem.h"

struct multi_socket {
	uv_poll_t poll; /* first */
	struct multi *multi;
	curl_socket_t fd;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_ready;

static void start_libcurl(void)
{
	is_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

static void reap(struct multi *m)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(m->curl, &left)))
		if (msg->msg == CURLMSG_DONE)
			m->on_ended(msg->easy_handle, msg->data.result);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct multi_socket *s = (struct multi_socket *)poll;
	struct multi *m = s->multi;
	int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;

	loop_is_awake(m->loop);
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	(void)curl_multi_socket_action(m->curl, s->fd, flags, &running);
	reap(m);
}

static void on_timeout(uv_timer_t *timer)
{
	struct multi *m = timer->data;
	int running;

	loop_is_awake(m->loop);
	(void)curl_multi_socket_action(m->curl, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(m);
}

static int on_timer(CURLM *curl, long timeout_ms, void *ctx)
{
	struct multi *m = ctx;

	(void)curl;
	if (m->stopped)
		return 0;
	if (timeout_ms < 0) {
		(void)uv_timer_stop(&m->timer);
		return 0;
	}
	uv_update_time(&m->loop->uv);
	(void)uv_timer_start(&m->timer, on_timeout, (uint64_t)timeout_ms, 0);
	return 0;
}

static void free_socket(uv_handle_t *handle)
{
	mem_free(handle);
}

/* NULL where it cannot be watched: its transfer then ends by its deadline, the others go on. */
static struct multi_socket *watch_socket(struct multi *m, curl_socket_t fd)
{
	struct multi_socket *s = mem_zalloc(1, sizeof(*s));

	if (!s || loop_watch(m->loop, fd) < 0 || uv_poll_init(&m->loop->uv, &s->poll, fd) != 0) {
		mem_free(s);
		return NULL;
	}
	s->multi = m;
	s->fd = fd;
	(void)curl_multi_assign(m->curl, fd, s);
	return s;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
	struct multi *m = ctx;
	struct multi_socket *s = socket_ctx;
	int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (s)
			uv_close((uv_handle_t *)&s->poll, free_socket);
		return 0;
	}
	if (!s && !m->stopped)
		s = watch_socket(m, fd);
	if (s)
		(void)uv_poll_start(&s->poll, events, on_poll);
	return 0;
}

int multi_init(struct multi *m, struct loop *loop, void (*on_ended)(CURL *easy, CURLcode code))
{
	(void)pthread_once(&once, start_libcurl);
	m->curl = is_ready ? curl_multi_init() : NULL;
	if (!m->curl)
		return ERR_NOMEM;
	m->loop = loop;
	m->on_ended = on_ended;
	CHECK(uv_timer_init(&loop->uv, &m->timer) == 0);
	m->timer.data = m;
	(void)curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, on_socket);
	(void)curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
	(void)curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, on_timer);
	(void)curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
	(void)curl_multi_setopt(m->curl, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
	return 0;
}

void multi_stop(struct multi *m)
{
	m->stopped = true;
}

void multi_fini(struct multi *m)
{
	(void)curl_multi_cleanup(m->curl);
	m->curl = NULL;
	uv_close((uv_handle_t *)&m->timer, NULL);
}
