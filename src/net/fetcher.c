/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl's multi interface over a libuv loop. libcurl says which sockets it
 * waits for and when it wants to be called again (on_socket, on_timer); the loop
 * tells it of both (on_poll, on_timeout). It never blocks: names are resolved on
 * threads of their own (Debian's libcurl is built so), and whoever leaves while one
 * still resolves does not wait for it (CURLOPT_QUICK_EXIT).
 *
 * libcurl must not be called from its own callbacks, and callers of weir must not be
 * called from inside their calls. So what is asked for (begin, resume, cancel)
 * is noted, and done at the end of the turn.
 */
#include "net/fetcher_inner.h"

#include <pthread.h>

#include "base/check.h"
#include "base/mem.h"

/*
 * Bounds a loop. A host that answers slowly holds 32 sockets and no more; the
 * rest of its requests wait for them until their deadline.
 */
#define SOCKETS_MAX 1024L
#define SOCKETS_HOST_MAX 32L
#define SOCKETS_KEPT_MAX 256L

struct fetcher_socket {
	uv_poll_t poll; /* first */
	struct fetcher *fetcher;
	curl_socket_t fd;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_ready;

static void start_libcurl(void)
{
	is_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

const char *fetcher_version(void)
{
	return curl_version();
}

/* ---- between libcurl and libuv ---- */

static void reap(struct fetcher *f)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(f->multi, &left))) {
		struct fetcher_call *c = NULL;
		CURLcode code = msg->data.result;

		if (msg->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&c);
		call_ended(c, code);
	}
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct fetcher_socket *s = (struct fetcher_socket *)poll;
	struct fetcher *f = s->fetcher;
	int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;

	loop_is_awake(f->loop);
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	(void)curl_multi_socket_action(f->multi, s->fd, flags, &running);
	reap(f);
}

static void on_timeout(uv_timer_t *timer)
{
	struct fetcher *f = timer->data;
	int running;

	loop_is_awake(f->loop);
	(void)curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(f);
}

static int on_timer(CURLM *multi, long timeout_ms, void *ctx)
{
	struct fetcher *f = ctx;

	(void)multi;
	if (f->stopped)
		return 0;
	if (timeout_ms < 0) {
		(void)uv_timer_stop(&f->timer);
		return 0;
	}
	uv_update_time(&f->loop->uv);
	(void)uv_timer_start(&f->timer, on_timeout, (uint64_t)timeout_ms, 0);
	return 0;
}

static void free_socket(uv_handle_t *handle)
{
	mem_free(handle);
}

/* NULL where it cannot be watched: its transfer then ends by its deadline, the others go on. */
static struct fetcher_socket *watch_socket(struct fetcher *f, curl_socket_t fd)
{
	struct fetcher_socket *s = mem_zalloc(1, sizeof(*s));

	if (!s || loop_watch(f->loop, fd) < 0 || uv_poll_init(&f->loop->uv, &s->poll, fd) != 0) {
		mem_free(s);
		return NULL;
	}
	s->fetcher = f;
	s->fd = fd;
	(void)curl_multi_assign(f->multi, fd, s);
	return s;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
	struct fetcher *f = ctx;
	struct fetcher_socket *s = socket_ctx;
	int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (s)
			uv_close((uv_handle_t *)&s->poll, free_socket);
		return 0;
	}
	if (!s && !f->stopped)
		s = watch_socket(f, fd);
	if (s)
		(void)uv_poll_start(&s->poll, events, on_poll);
	return 0;
}

/* ---- the end of a turn ---- */

void fetcher_queue(struct fetcher_call *c)
{
	struct fetcher *f = c->fetcher;

	if (c->queued)
		return;
	c->queued = true;
	c->todo_next = f->todo;
	f->todo = c;
	loop_at_turn_end(f->loop, &f->turn);
}

static void on_turn(void *ctx)
{
	struct fetcher *f = ctx;
	struct fetcher_call *c = f->todo, *first = NULL;

	f->todo = NULL;
	while (c) { /* in the order in which they asked */
		struct fetcher_call *next = c->todo_next;

		c->todo_next = first;
		first = c;
		c = next;
	}
	while (first) {
		c = first;
		first = c->todo_next;
		c->queued = false;
		call_turn(c);
	}
}

/* ---- its life ---- */

CURL *fetcher_take_handle(struct fetcher *f)
{
	return f->spare_count > 0 ? f->spare[--f->spare_count] : curl_easy_init();
}

void fetcher_give_handle(struct fetcher *f, CURL *easy)
{
	if (f->spare_count == sizeof(f->spare) / sizeof(f->spare[0])) {
		curl_easy_cleanup(easy);
		return;
	}
	curl_easy_reset(easy);
	f->spare[f->spare_count++] = easy;
}

/* The loop ends: whoever waits is told, sockets are closed. */
static void stop_fetcher(struct loop_guest *guest)
{
	struct fetcher *f = (struct fetcher *)guest;
	struct fetcher_call *next;

	f->stopped = true;
	for (struct fetcher_call *c = f->calls; c; c = next) {
		next = c->next;
		c->queued = false; /* nobody comes for it any more */
		if (c->state == CALL_OVER)
			call_free(c);
		else
			call_fail(c, ERR_CANCELLED, FETCHER_TRANSIENT, "weir is stopping");
	}
	f->todo = NULL;
	while (f->spare_count > 0)
		curl_easy_cleanup(f->spare[--f->spare_count]);
	(void)curl_multi_cleanup(f->multi);
	f->multi = NULL;
	uv_close((uv_handle_t *)&f->timer, NULL);
}

static void free_fetcher(struct loop_guest *guest)
{
	struct fetcher *f = (struct fetcher *)guest;

	mem_free(f->scratch);
	mem_free(f);
}

static void set_up_multi(struct fetcher *f)
{
	(void)curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	(void)curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
	(void)curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	(void)curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
	(void)curl_multi_setopt(f->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, SOCKETS_MAX);
	(void)curl_multi_setopt(f->multi, CURLMOPT_MAX_HOST_CONNECTIONS, SOCKETS_HOST_MAX);
	(void)curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, SOCKETS_KEPT_MAX);
	(void)curl_multi_setopt(f->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
}

static int make_fetcher(struct loop *loop, struct fetcher **out)
{
	struct fetcher *f;

	(void)pthread_once(&once, start_libcurl);
	f = is_ready ? mem_zalloc(1, sizeof(*f)) : NULL;
	if (!f)
		return ERR_NOMEM;
	f->scratch = mem_alloc(FETCHER_SCRATCH_BYTES);
	f->multi = f->scratch ? curl_multi_init() : NULL;
	if (!f->multi) {
		free_fetcher(&f->guest);
		return ERR_NOMEM;
	}
	f->loop = loop;
	f->guest = (struct loop_guest){.stop = stop_fetcher, .free = free_fetcher};
	f->turn = (struct loop_turn){.run = on_turn, .ctx = f};
	CHECK(uv_timer_init(&loop->uv, &f->timer) == 0);
	f->timer.data = f;
	set_up_multi(f);
	loop->fetcher = &f->guest;
	*out = f;
	return 0;
}

int fetcher_start(struct loop *loop, const struct fetcher_options *options, struct fetcher_call **out,
		  struct fault *fault)
{
	struct fetcher *f = (struct fetcher *)loop->fetcher;
	int rc;

	if (loop->stopping || loop->ended)
		return fault_set(fault, ERR_CANCELLED, "weir is stopping");
	rc = f ? 0 : make_fetcher(loop, &f);
	if (rc < 0)
		return fault_set(fault, rc, "There is no memory for the request");
	rc = call_new(f, options, out, fault);
	if (rc == 0)
		fetcher_queue(*out);
	return rc;
}

void fetcher_figures(struct loop *loop, struct fetcher_figures *out)
{
	const struct fetcher *f = (const struct fetcher *)loop->fetcher;

	*out = (struct fetcher_figures){.calls = f ? f->call_count : 0, .sockets = f ? f->sockets : 0};
}
