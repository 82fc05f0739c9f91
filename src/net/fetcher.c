/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests over libcurl's multi interface (multi.h). It never blocks: names are resolved on
 * threads of their own (Debian's libcurl is built so), and whoever leaves while one
 * still resolves does not wait for it (CURLOPT_QUICK_EXIT).
 *
 * libcurl must not be called from its own callbacks, and callers of weir must not be
 * called from inside their calls. So what is asked for (begin, resume, cancel)
 * is noted, and done at the end of the turn.
 */
#include <sys/socket.h>

#include "net/fetcher_inner.h"

#include "base/check.h"
#include "base/mem.h"

/*
 * Bounds a loop. A host that answers slowly holds 32 sockets and no more; the
 * rest of its requests wait for them until their deadline.
 */
#define SOCKETS_MAX 1024L
#define SOCKETS_HOST_MAX ((long)FETCHER_HOST_CALLS_MAX)
#define SOCKETS_KEPT_MAX 256L

const char *fetcher_version(void)
{
	return curl_version();
}

static void on_ended(CURL *easy, CURLcode code)
{
	struct fetcher_call *c = NULL;

	(void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&c);
	call_ended(c, code);
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

	multi_stop(&f->multi);
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
	multi_fini(&f->multi);
}

static void free_fetcher(struct loop_guest *guest)
{
	struct fetcher *f = (struct fetcher *)guest;

	table_fini(&f->hosts);
	mem_free(f->scratch);
	mem_free(f);
}

static void set_bounds(CURLM *multi)
{
	(void)curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, SOCKETS_MAX);
	(void)curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, SOCKETS_HOST_MAX);
	(void)curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, SOCKETS_KEPT_MAX);
}

static int make_fetcher(struct loop *loop, struct fetcher **out)
{
	struct fetcher *f = mem_zalloc(1, sizeof(*f));

	if (!f)
		return ERR_NOMEM;
	f->scratch = mem_alloc(FETCHER_SCRATCH_BYTES);
	if (!f->scratch || table_init(&f->hosts) || multi_init(&f->multi, loop, on_ended)) {
		free_fetcher(&f->guest);
		return ERR_NOMEM;
	}
	f->loop = loop;
	f->guest = (struct loop_guest){.stop = stop_fetcher, .free = free_fetcher};
	f->turn = (struct loop_turn){.run = on_turn, .ctx = f};
	set_bounds(f->multi.curl);
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

/* A text with a NUL: false where the URL is too long to be anybody's. */
static bool origin_of(struct slice url, char origin[512])
{
	char text[FETCHER_URL_BYTES_MAX];

	if (url.len >= sizeof(text))
		return false;
	memcpy(text, url.ptr, url.len);
	text[url.len] = '\0';
	call_origin(text, origin);
	return origin[0] != '\0';
}

uint32_t fetcher_close_kept(struct loop *loop, struct slice url)
{
	struct fetcher *f = (struct fetcher *)loop->fetcher;
	char origin[512];
	uint32_t count = 0;

	if (!f || !origin_of(url, origin) || fetcher_find_host(f, origin))
		return 0;
	for (struct fetcher_socket *s = f->open; s; s = s->next) {
		if (s->shut || strcmp(s->origin, origin) != 0)
			continue;
		s->shut = true;
		(void)shutdown(s->fd, SHUT_RDWR);
		count++;
	}
	return count;
}

void fetcher_figures(struct loop *loop, struct fetcher_figures *out)
{
	const struct fetcher *f = (const struct fetcher *)loop->fetcher;

	*out = (struct fetcher_figures){.calls = f ? f->call_count : 0, .sockets = f ? f->sockets : 0};
}
