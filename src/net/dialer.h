/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_DIALER_H
#define WEIR_NET_DIALER_H

#include "base/buf.h"
#include "net/fetcher.h"

/*
 * Outbound connections on a loop, plain or TLS: bytes out and in, of which it knows nothing. Who wants to read asks
 * (dial_read), as much as it can take and not more: what nobody asks for stays in the socket, so TCP tells
 * the peer to wait.
 *
 * Everything here is on the loop's thread. Callbacks never run inside a function of this page. In the build
 * only where libcurl is, which resolves names, tries addresses, and speaks TLS.
 */
struct dial;

struct dial_failure {
	int err; /* ERR_UNREACHABLE, ERR_TLS, ERR_ADDRESS_FORBIDDEN, ERR_NOMEM, ERR_CANCELLED (the loop ends) */
	enum fetcher_class class;
	const char *text; /* a sentence without the URL; borrowed */
};

struct dial_handler {
	void (*on_open)(void *ctx); /* connected, TLS included: reading and writing may begin */
	/* No connection was made, and will not be. */
	void (*on_failed)(void *ctx, const struct dial_failure *failure);
	/* dial_read gave 0 before and would give something else now. */
	void (*on_ready)(void *ctx);
};

struct dial_options {
	struct slice url; /* http://HOST[:PORT] for plain, https:// for TLS; what is behind it is ignored */
	struct fetcher_tls tls;
	int64_t connect_ms;      /* names, TCP and TLS; 0: 10 s */
	size_t output_bytes_max; /* 0: 1 MiB */
	guard_fn *guard;         /* each address is shown to it; NULL: all are good */
	void *guard_ctx;
	const struct dial_handler *handler;
	void *ctx;
};

/*
 * Begins to connect. Copies what it needs; keeps guard_ctx, handler and ctx until dial_close, which its owner
 * calls in every case, once. ERR_BAD_PARAMETER with *fault, ERR_NOMEM, ERR_CANCELLED where the loop ends.
 */
int dial_start(struct loop *loop, const struct dial_options *options, struct dial **out, struct fault *fault);

/*
 * After on_open: up to `room` (more than 0) bytes. Their number; 0: none now, and on_ready will come;
 * ERR_UNREACHABLE: the peer has ended it, or it broke; ERR_CANCELLED.
 */
int64_t dial_read(struct dial *d, uint8_t *to, size_t room);

/* After on_open: sends a copy, now or when the socket takes it. ERR_LIMIT past the bound (nothing of it is sent then), ERR_NOMEM. */
int dial_write(struct dial *d, struct slice bytes);

/* Bytes that the kernel has not taken yet. */
size_t dial_pending(const struct dial *d);

/* Offers what is pending once more, and closes. No callback comes any more. Takes; NULL is allowed. From any callback too. */
void dial_close(struct dial *d);

#endif
