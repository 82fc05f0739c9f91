/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_WS_WS_HANDSHAKE_H
#define WEIR_PROTO_WS_WS_HANDSHAKE_H

#include "base/buf.h"

/*
 * The opening handshake (RFC 6455 section 4, RFC 7692 section 5) over header
 * fields that somebody else has parsed: each side is shown all fields of the
 * message, in order, and then asked what becomes of it. It does not look at
 * method, path, Host or Origin: those are the HTTP session's.
 */
#define WS_ACCEPT_LEN 28u /* characters of Sec-WebSocket-Accept */
#define WS_KEY_LEN 24u    /* characters of Sec-WebSocket-Key */
#define WS_VERSION_TEXT "13"

/* The value of Sec-WebSocket-Accept for a key, without a NUL. ERR_INTERNAL where SHA-1 is not to be had. */
int ws_accept(struct slice key, char accept[WS_ACCEPT_LEN]);

/* What was agreed about permessage-deflate; never with context takeover. */
struct ws_deflate_terms {
	bool on;
	uint8_t inflate_bits;  /* window of the peer's compressor: for ws_parser_options */
	bool tell_server_bits; /* the answer names server_max_window_bits */
	bool tell_client_bits; /* the answer names client_max_window_bits */
};

/* ---- server ---- */

struct ws_handshake_options {
	const char *const *protocols; /* subprotocols we speak, NULL at the end; kept; NULL: none */
	bool deflate;                 /* accept permessage-deflate */
};

struct ws_handshake {
	struct ws_handshake_options options;
	bool upgrade;    /* Upgrade: websocket */
	bool connection; /* Connection: upgrade */
	bool version_seen;
	bool key_seen;
	int err;              /* the first fault */
	const char *detail;   /* what was wrong and what would be right; static */
	const char *protocol; /* chosen of options.protocols, or NULL */
	struct ws_deflate_terms deflate;
	char accept[WS_ACCEPT_LEN];
};

/* Copies the options. Allocates nothing. */
void ws_handshake_init(struct ws_handshake *h, const struct ws_handshake_options *options);

/* Shows one header field, in order of arrival; others than its own are ignored. Borrows. */
void ws_handshake_header(struct ws_handshake *h, struct slice name, struct slice value);

/*
 * After the last field. 0: send 101 with the fields of ws_handshake_answer.
 * ERR_UPGRADE_REQUIRED (426: no upgrade was asked for, or another version; the
 * answer names `Upgrade: websocket` and `Sec-WebSocket-Version: 13`),
 * ERR_BAD_HEADER (400), ERR_INTERNAL; h->detail then says why.
 */
int ws_handshake_finish(struct ws_handshake *h);

/*
 * Appends the header lines of the 101, from Upgrade on, each with CRLF, without
 * the status line and the empty line at the end. ERR_LIMIT, ERR_NOMEM.
 */
int ws_handshake_answer(const struct ws_handshake *h, struct buf *to);

/* ---- client ---- */

struct ws_client_options {
	struct slice host;    /* of the Host field */
	struct slice target;  /* path and query */
	const char *protocol; /* the one to ask for, or NULL */
	bool deflate;         /* offer permessage-deflate */
};

struct ws_client {
	bool upgrade, connection, accepted;
	bool protocol_seen, deflate_offered;
	int err;
	const char *detail;   /* static */
	const char *protocol; /* that was asked for; kept */
	struct ws_deflate_terms deflate;
	char key[WS_KEY_LEN];
};

/*
 * Appends a whole request, with the 16 random bytes of `nonce` as key. Header
 * fields of the caller's own (credentials, Origin) come as `extra`, whole lines
 * with CRLF, may be empty. Borrows the options but for `protocol`, which it keeps.
 * Errors: ERR_LIMIT, ERR_NOMEM.
 */
int ws_client_request(struct ws_client *c, const struct ws_client_options *options, const uint8_t nonce[16],
		      struct slice extra, struct buf *to);

/* Shows one header field of the answer. Borrows. */
void ws_client_header(struct ws_client *c, struct slice name, struct slice value);

/* After the last field: 0 where the connection is a WebSocket now, ERR_PROTOCOL with c->detail. */
int ws_client_finish(struct ws_client *c, int http_status);

#endif
