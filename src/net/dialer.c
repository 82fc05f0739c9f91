/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dial is a transfer of libcurl that ends when it is connected (CURLOPT_CONNECT_ONLY): so names, the race of IPv6 and
 * IPv4, TLS with its certificates, deadlines and the guard are the fetcher's, with the same settings and the
 * same sentences. Then the socket is watched here, and curl_easy_send and curl_easy_recv are a write and a
 * read through TLS that never wait.
 *
 *	DIALING ──► OPEN ──► ENDED          the transfer stays in the multi handle for as long as the
 *	       └──► ENDED                   connection is used: removing it closes it
 *
 * The multi handle is not the fetcher's: that one bounds connections by host, and would let a feed that lasts for days
 * hold up requests; and it looks after idle connections, which these seem to be to it.
 *
 * Reading is asked of epoll only after a read has found nothing. So a reader that is held back costs no
 * wake-ups, and bytes that TLS holds already are found by whoever reads on.
 *
 * Rejected: a TLS filter for clients under net's connections (filter.h): it needs a resolver, happy eyeballs, and all of
 * certificate checking a second time, in the one place where a mistake is silent; and a connection pushes what it
 * read, where a source wants to pull it.
 */
#include "net/dialer.h"

#include <sys/socket.h>

#include "base/check.h"
#include "base/mem.h"
#include "net/fetcher_inner.h"

#define OUTPUT_BYTES_MAX (1u << 20)

struct dialer {
	struct loop_guest guest; /* first */
	struct multi multi;
	struct dial *dials;
};

enum dial_state {
	DIAL_DIALING, /* libcurl connects */
	DIAL_OPEN,
	DIAL_ENDED, /* there is no connection, or no more */
};

struct dial_poll {
	uv_poll_t poll;    /* first; outlives the dial by its closing */
	struct dial *dial; /* NULL: closed */
};

struct dial {
	struct dialer *dialer;
	struct dial *next, **prev;
	const struct dial_handler *handler;
	void *ctx;
	guard_fn *guard;
	void *guard_ctx;
	CURL *easy;
	struct dial_poll *poll;
	enum dial_state state;
	int err; /* of DIAL_ENDED */
	curl_socket_t fd;
	bool wants;         /* a read found nothing */
	bool broken;        /* a write failed; who reads is told */
	struct buf pending; /* to be sent */
	struct fault fault; /* from the guard */
	char error[CURL_ERROR_SIZE];
};

/* ---- the socket ---- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct dial *d)
{
	int events = (d->wants ? UV_READABLE : 0) | (d->pending.len && !d->broken ? UV_WRITABLE : 0);

	if (!d->poll)
		return;
	if (events)
		(void)uv_poll_start(&d->poll->poll, events, on_poll);
	else
		(void)uv_poll_stop(&d->poll->poll);
}

static void free_poll(uv_handle_t *handle)
{
	mem_free(handle);
}

static void unwatch(struct dial *d)
{
	if (!d->poll)
		return;
	d->poll->dial = NULL;
	uv_close((uv_handle_t *)&d->poll->poll, free_poll);
	d->poll = NULL;
}

/* The socket goes; what is known stays until dial_close. */
static void end(struct dial *d, int err)
{
	if (d->state == DIAL_ENDED)
		return;
	d->state = DIAL_ENDED;
	d->err = err;
	unwatch(d);
	(void)curl_multi_remove_handle(d->dialer->multi.curl, d->easy);
}

/* As much as the socket takes. That nothing can be sent any more is told by the next read, which finds the end. */
static void send_pending(struct dial *d)
{
	while (d->pending.len && !d->broken) {
		size_t did = 0;
		CURLcode code = curl_easy_send(d->easy, d->pending.ptr, d->pending.len, &did);

		if (code == CURLE_AGAIN || (code == CURLE_OK && did == 0))
			break;
		if (code != CURLE_OK) {
			d->broken = true;
			(void)shutdown(d->fd, SHUT_RDWR);
			return;
		}
		buf_consume(&d->pending, did);
	}
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct dial *d = ((struct dial_poll *)poll)->dial;

	if (!d)
		return;
	loop_is_awake(d->dialer->multi.loop);
	if (status < 0)
		end(d, ERR_UNREACHABLE);
	else if (events & UV_WRITABLE)
		send_pending(d);
	if (d->wants && (status < 0 || (events & UV_READABLE))) {
		d->wants = false;
		watch(d);
		d->handler->on_ready(d->ctx);
		return;
	}
	watch(d);
}

/* ---- connecting ---- */

static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct dial *d = ctx;
	uint8_t ip[16];
	uint16_t port;
	char text[64];

	(void)purpose;
	if (d->fault.err || (address->family != AF_INET && address->family != AF_INET6))
		return CURL_SOCKET_BAD;
	address_unmap(&address->addr, ip, &port);
	if (d->guard && !d->guard(d->guard_ctx, ip, port)) { /* one bad address is enough */
		address_text(ip, port, text);
		(void)fault_set(&d->fault, ERR_ADDRESS_FORBIDDEN, "the address %s may not be connected to",
				text);
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static bool take_socket(struct dial *d)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	struct loop *loop = d->dialer->multi.loop;

	if (curl_easy_getinfo(d->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD)
		return false;
	d->poll = mem_zalloc(1, sizeof(*d->poll));
	if (!d->poll || loop_watch(loop, fd) < 0 || uv_poll_init(&loop->uv, &d->poll->poll, fd) != 0) {
		mem_free(d->poll);
		d->poll = NULL;
		return false;
	}
	d->poll->dial = d;
	d->fd = fd;
	return true;
}

static void fail(struct dial *d, const struct dial_failure *failure)
{
	end(d, failure->err);
	d->handler->on_failed(d->ctx, failure);
}

static void on_ended(CURL *easy, CURLcode code)
{
	struct dial_failure failure = {.class = FETCHER_FINAL};
	struct dial *d = NULL;

	(void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&d);
	if (d->state != DIAL_DIALING)
		return;
	if (code == CURLE_OK && take_socket(d)) {
		d->state = DIAL_OPEN;
		d->handler->on_open(d->ctx);
		return;
	}
	if (d->fault.err) {
		failure.err = d->fault.err;
		failure.text = d->fault.text;
	} else if (code == CURLE_OK) {
		failure = (struct dial_failure){ERR_NOMEM, FETCHER_TRANSIENT,
						"there is no memory for the connection"};
	} else {
		fetcher_classify(code, &failure.err, &failure.class);
		failure.text = d->error[0] ? d->error : curl_easy_strerror(code);
	}
	fail(d, &failure);
}

/* ---- its life ---- */

static struct dial *first_alive(const struct dialer *dialer)
{
	struct dial *d = dialer->dials;

	while (d && d->state == DIAL_ENDED)
		d = d->next;
	return d;
}

static void stop_dialer(struct loop_guest *guest)
{
	static const struct dial_failure stopping = {ERR_CANCELLED, FETCHER_TRANSIENT, "weir is stopping"};
	struct dialer *dialer = (struct dialer *)guest;
	struct dial *d;

	multi_stop(&dialer->multi);
	while ((d = first_alive(dialer))) { /* a callback may close any of them */
		enum dial_state was = d->state;

		end(d, ERR_CANCELLED);
		if (was == DIAL_DIALING)
			d->handler->on_failed(d->ctx, &stopping);
		else if (d->wants)
			d->handler->on_ready(d->ctx);
	}
	multi_fini(&dialer->multi);
}

static void free_dialer(struct loop_guest *guest)
{
	struct dialer *dialer = (struct dialer *)guest;

	CHECK(!dialer->dials);
	mem_free(dialer);
}

static int make_dialer(struct loop *loop)
{
	struct dialer *dialer = mem_zalloc(1, sizeof(*dialer));

	if (!dialer)
		return ERR_NOMEM;
	if (multi_init(&dialer->multi, loop, on_ended)) {
		mem_free(dialer);
		return ERR_NOMEM;
	}
	dialer->guest = (struct loop_guest){.stop = stop_dialer, .free = free_dialer};
	loop->dialer = &dialer->guest;
	return 0;
}

static CURLcode set_up(struct dial *d, const char *url, const struct dial_options *o)
{
	CURL *e = d->easy;
	CURLcode rc;

	(void)curl_easy_setopt(e, CURLOPT_PRIVATE, d);
	(void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, d->error);
	(void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	(void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1); /* for ALPN */
	(void)curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
	(void)curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
	(void)curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	(void)curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, d);
	(void)curl_easy_setopt(e, CURLOPT_PROXY, ""); /* one of the environment would hide the address */
	(void)curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
			       (long)(o->connect_ms > 0 ? o->connect_ms : 10000));
	rc = curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	if (!rc)
		rc = curl_easy_setopt(e, CURLOPT_URL, url);
	return rc ? rc : fetcher_set_tls(e, &o->tls);
}

static void forget(struct dial *d)
{
	*d->prev = d->next;
	if (d->next)
		d->next->prev = d->prev;
	if (d->easy)
		curl_easy_cleanup(d->easy);
	buf_fini(&d->pending);
	mem_free(d);
}

static struct dial *dial_new(struct dialer *dialer, const struct dial_options *o)
{
	struct dial *d = mem_zalloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->dialer = dialer;
	d->handler = o->handler;
	d->ctx = o->ctx;
	d->guard = o->guard;
	d->guard_ctx = o->guard_ctx;
	buf_init(&d->pending, o->output_bytes_max ? o->output_bytes_max : OUTPUT_BYTES_MAX);
	d->next = dialer->dials;
	d->prev = &dialer->dials;
	if (d->next)
		d->next->prev = &d->next;
	dialer->dials = d;
	d->easy = curl_easy_init();
	return d;
}

int dial_start(struct loop *loop, const struct dial_options *o, struct dial **out, struct fault *fault)
{
	char *url = mem_strndup((const char *)o->url.ptr, o->url.len);
	CURLcode code = CURLE_OUT_OF_MEMORY;
	struct dial *d = NULL;
	int rc = url ? 0 : ERR_NOMEM;

	if (loop->stopping || loop->ended)
		rc = ERR_CANCELLED;
	if (rc == 0 && !loop->dialer)
		rc = make_dialer(loop);
	if (rc == 0)
		d = dial_new((struct dialer *)loop->dialer, o);
	if (d && d->easy)
		code = set_up(d, url, o);
	if (code == CURLE_OK &&
	    curl_multi_add_handle(((struct dialer *)loop->dialer)->multi.curl, d->easy) != CURLM_OK)
		code = CURLE_OUT_OF_MEMORY;
	mem_free(url);
	if (code == CURLE_OK) {
		*out = d;
		return 0;
	}
	if (d)
		forget(d);
	if (rc == ERR_CANCELLED)
		return fault_set(fault, rc, "weir is stopping");
	if (code == CURLE_OUT_OF_MEMORY)
		return fault_set(fault, ERR_NOMEM, "there is no memory for the connection");
	return fault_set(fault, ERR_BAD_PARAMETER, "%s", curl_easy_strerror(code));
}

int64_t dial_read(struct dial *d, uint8_t *to, size_t room)
{
	size_t did = 0;
	CURLcode code;

	CHECK(room > 0 && d->state != DIAL_DIALING);
	if (d->state == DIAL_ENDED)
		return d->err;
	code = curl_easy_recv(d->easy, to, room, &did);
	if (code == CURLE_OK && did > 0)
		return (int64_t)did;
	if (code == CURLE_AGAIN) {
		d->wants = true;
		watch(d);
		return 0;
	}
	end(d, ERR_UNREACHABLE);
	return d->err;
}

int dial_write(struct dial *d, struct slice bytes)
{
	bool idle = d->pending.len == 0;

	CHECK(d->state != DIAL_DIALING);
	if (d->state == DIAL_ENDED || d->broken)
		return 0; /* who reads is told */
	if (bytes.len > d->pending.bytes_max - d->pending.len)
		return ERR_LIMIT;
	if (buf_append_slice(&d->pending, bytes))
		return ERR_NOMEM;
	if (idle)
		send_pending(d);
	watch(d);
	return 0;
}

size_t dial_pending(const struct dial *d)
{
	return d->state == DIAL_OPEN ? d->pending.len : 0;
}

void dial_close(struct dial *d)
{
	if (!d)
		return;
	if (d->state == DIAL_OPEN)
		send_pending(d);
	end(d, ERR_CANCELLED);
	forget(d);
}
