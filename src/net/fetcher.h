/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_NET_FETCHER_H
#define WEIR_NET_FETCHER_H

#include "base/buf.h"
#include "net/guard.h"
#include "net/net.h"

/*
 * Outbound HTTP on a loop: requests that weir makes. A loop has one fetcher, made with
 * the first call, which keeps connections for the next and ends with its loop. It
 * knows HTTP, TLS and addresses, and nothing of what the bodies mean. HTTP/1.1 alone.
 *
 * Everything here is on the loop's thread. Callbacks never run inside a function
 * of this page; they come from the loop. In the build only where libcurl is.
 */
struct fetcher_call;

struct fetcher_field {
	struct slice name, value;
	bool secret; /* not sent to another origin when a redirect leads there */
};

enum fetcher_auth {
	FETCHER_AUTH_NONE,
	FETCHER_AUTH_BASIC,  /* user and secret */
	FETCHER_AUTH_BEARER, /* secret */
};

struct fetcher_tls {
	const char *ca_file;   /* PEM; NULL: the system's */
	const char *cert_file; /* PEM of the client's certificate; NULL: none */
	const char *key_file;  /* NULL: in cert_file */
	const char *key_password;
	bool insecure; /* the peer's certificate is not looked at */
};

/* Zero members stand for the defaults. */
struct fetcher_limits {
	uint64_t bytes_max;      /* of the body, as it comes and unpacked; 64 MiB */
	uint32_t ratio_max;      /* unpacked to packed, past the first MiB; 200 */
	uint32_t head_bytes_max; /* 64 KiB */
	int64_t total_ms;        /* from fetcher_start to the end, redirects and pauses included; 60 s */
	int64_t connect_ms;      /* names, TCP and TLS; 10 s */
	uint32_t slow_bytes;     /* fewer than these a second ... ; 10 */
	uint32_t slow_seconds;   /* ... for so long is too slow, waiting for the answer included; 30 */
};

enum fetcher_follow {
	FETCHER_FOLLOW_NONE,
	FETCHER_FOLLOW_SAME_ORIGIN, /* same scheme, host and port */
	FETCHER_FOLLOW_ANY,         /* never from https to http; secret fields stay behind */
};

/* Whether to try again makes sense. */
enum fetcher_class {
	FETCHER_OK,        /* 2xx, or 304 */
	FETCHER_TRANSIENT, /* names, connecting, time, 408, 425, 429, 5xx */
	FETCHER_FINAL,     /* other statuses, certificates, addresses that are not allowed, bounds */
};

struct fetcher_result {
	int err; /* 0, ERR_UNREACHABLE, ERR_REMOTE_STATUS, ERR_ADDRESS_FORBIDDEN, ERR_TLS, ERR_BODY_TOO_LARGE,
		    ERR_HEADER_TOO_LARGE, ERR_BAD_ENCODING, ERR_PROTOCOL, ERR_NOMEM, ERR_CANCELLED (the loop ends) */
	enum fetcher_class class;
	int status;                       /* of the last answer, 0 where none came */
	uint32_t redirects;               /* that were followed */
	int64_t retry_after_ms;           /* what the server asks for; 0: nothing */
	uint64_t wire_bytes, plain_bytes; /* of the body, as it came and unpacked */
	/* Microseconds since the last hop began; 0 where it did not come so far. */
	int64_t resolved_us, connected_us, secured_us, answered_us, ended_us;
	const char *url;  /* the last one */
	const char *text; /* what went wrong, one sentence with method and URL (without its query); "" */
};

struct fetcher_handler {
	/* The head of a 2xx has come. Before on_body and on_done; not for other statuses. May be NULL. */
	void (*on_head)(void *ctx, int status);
	/* A piece of the body of a 2xx, unpacked. Borrowed. */
	void (*on_body)(void *ctx, struct slice piece);
	/* The last callback; the call is gone after it. Borrowed. */
	void (*on_done)(void *ctx, const struct fetcher_result *result);
};

struct fetcher_options {
	const char *method; /* NULL: GET */
	struct slice url;   /* http or https, without credentials */
	const struct fetcher_field *fields;
	uint32_t field_count;
	struct slice body; /* null: none */
	enum fetcher_auth auth;
	struct slice user, secret;
	struct fetcher_tls tls;
	struct fetcher_limits limits;
	enum fetcher_follow follow;
	uint32_t redirects_max; /* 0: 5 */
	bool bodies;            /* on_head and on_body come for every status, not only for 2xx */
	bool packed;            /* asks for gzip and zstd, and unpacks */
	guard_fn *guard; /* each address of each hop is shown to it, of reused connections too; NULL: all are good */
	void *guard_ctx;
	const struct fetcher_handler *handler;
	void *ctx;
};

/*
 * Begins a request. Copies what it needs; keeps guard_ctx, handler and ctx until on_done or
 * fetcher_cancel. ERR_BAD_PARAMETER with *fault (URL, method, a field), ERR_NOMEM,
 * ERR_CANCELLED where the loop ends: then no callback comes.
 */
int fetcher_start(struct loop *loop, const struct fetcher_options *options, struct fetcher_call **out,
		  struct fault *fault);

/* No callback comes any more; the call is gone. From any callback but its own on_done, or outside. */
void fetcher_cancel(struct fetcher_call *call);

/*
 * After a pause on_body comes no more (the peer is not read, TCP tells it to wait), until the
 * call is resumed. The total time goes on. Pausing twice is pausing once.
 */
void fetcher_pause(struct fetcher_call *call);
void fetcher_resume(struct fetcher_call *call);

/*
 * A field of the answer's head (any case), the index-th of that name; null where there is none. Valid in the
 * callback that it is asked in (on_head, on_body, on_done).
 */
struct slice fetcher_header(struct fetcher_call *call, const char *name, size_t index);

/*
 * Closes the connections that are kept to the origin of a URL, where no call to it is under way: those would be another's. Gives
 * how many.
 */
uint32_t fetcher_close_kept(struct loop *loop, struct slice url);

struct fetcher_figures {
	uint32_t calls;   /* under way */
	uint64_t sockets; /* opened so far: the rest were reused */
};
void fetcher_figures(struct loop *loop, struct fetcher_figures *out);

/*
 * Appends what a reference (a URL, or a part of one) means seen from `base`, with a NUL behind it that is not
 * counted; *same_origin: scheme, host and port are base's. ERR_BAD_PARAMETER where that is no http or
 * https URL, or has credentials; ERR_NOMEM. Any thread.
 */
int fetcher_resolve(const char *base, struct slice reference, struct buf *out, bool *same_origin);

/* "libcurl/7.88.1 OpenSSL/3.0.17". Lives for ever. Any thread. */
const char *fetcher_version(void);

#endif
