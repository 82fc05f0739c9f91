/* SPDX-License-Identifier: Apache-2.0 */
/*
 * permessage-deflate is agreed in one form only, which any conforming client
 * takes (RFC 7692 section 7.1): no context takeover in either direction, so that
 * no window outlives a message and compressed frames can be shared. A client
 * that lets us limit its window is held to ours. An offer that asks for what we
 * do not do (a smaller server window, an unknown parameter) is declined, which
 * leaves the connection uncompressed; only a field that is not of the form of
 * the RFC is refused with 400.
 */
#include "proto/ws/ws_handshake.h"

#include <openssl/evp.h>

#include "base/base64.h"
#include "base/err.h"
#include "proto/ws/ws_deflate.h"
#include "proto/ws/ws_token.h"

#define SHA1_LEN 20u
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

int ws_accept(struct slice key, char accept[WS_ACCEPT_LEN])
{
	uint8_t text[WS_KEY_LEN + sizeof(GUID) - 1], digest[SHA1_LEN];

	if (key.len != WS_KEY_LEN)
		return ERR_INTERNAL;
	memcpy(text, key.ptr, WS_KEY_LEN);
	memcpy(text + WS_KEY_LEN, GUID, sizeof(GUID) - 1);
	if (EVP_Digest(text, sizeof(text), digest, NULL, EVP_sha1(), NULL) != 1)
		return ERR_INTERNAL;
	(void)base64_encode(BASE64_STANDARD, slice_make(digest, sizeof(digest)), accept);
	return 0;
}

static bool list_has(struct slice value, const char *word)
{
	struct ws_token_reader r = ws_token_reader_make(value);
	struct slice token;

	while (ws_token_next(&r, &token))
		if (slice_eq_nocase(token, slice_str(word)))
			return true;
	return false;
}

/* "8" to "15" without leading zeros; 0 for anything else. */
static uint8_t window_bits(struct slice value)
{
	uint64_t bits;

	if (value.len == 0 || value.ptr[0] == '0' || !slice_to_u64(value, &bits))
		return 0;
	return bits >= 8 && bits <= 15 ? (uint8_t)bits : 0;
}

/* One extension's parameters as they stand (RFC 7692 section 7.1), in an offer or an answer. */
struct deflate_params {
	bool server_no_context, client_no_context, server_bits_seen, client_bits_seen;
	uint8_t server_bits, client_bits; /* 0: named without a value, or not named */
	bool valid;                       /* known ones only, none twice, values as they must be */
};

static bool take_flag(bool *seen, struct slice value)
{
	bool fresh = !*seen;

	*seen = true;
	return fresh && !value.ptr;
}

static bool take_bits(bool *seen, uint8_t *bits, struct slice value, bool may_be_bare)
{
	bool fresh = !*seen;

	*seen = true;
	*bits = window_bits(value);
	return fresh && (*bits || (!value.ptr && may_be_bare));
}

static bool take_param(struct deflate_params *d, const struct ws_token_param *p)
{
	if (slice_eq_nocase(p->name, SLICE_LIT("server_no_context_takeover")))
		return take_flag(&d->server_no_context, p->value);
	if (slice_eq_nocase(p->name, SLICE_LIT("client_no_context_takeover")))
		return take_flag(&d->client_no_context, p->value);
	if (slice_eq_nocase(p->name, SLICE_LIT("server_max_window_bits")))
		return take_bits(&d->server_bits_seen, &d->server_bits, p->value, false);
	if (slice_eq_nocase(p->name, SLICE_LIT("client_max_window_bits")))
		return take_bits(&d->client_bits_seen, &d->client_bits, p->value, true);
	return false;
}

static struct deflate_params read_params(struct ws_token_reader *r)
{
	struct deflate_params d = {.valid = true};
	struct ws_token_param p;

	while (ws_token_param(r, &p))
		d.valid = take_param(&d, &p) && d.valid;
	return d;
}

/* ---- server ---- */

void ws_handshake_init(struct ws_handshake *h, const struct ws_handshake_options *options)
{
	*h = (struct ws_handshake){.options = *options};
}

static void refuse(struct ws_handshake *h, int err, const char *detail)
{
	if (h->err)
		return;
	h->err = err;
	h->detail = detail;
}

/* Section 4.2.1: sixteen bytes in base64. */
static void on_key(struct ws_handshake *h, struct slice value)
{
	uint8_t nonce[WS_KEY_LEN];
	size_t len = 0;

	if (h->key_seen)
		return refuse(h, ERR_BAD_HEADER, "Sec-WebSocket-Key must stand once");
	h->key_seen = true;
	if (value.len != WS_KEY_LEN || base64_decode(BASE64_STANDARD, value, nonce, &len) || len != 16)
		return refuse(h, ERR_BAD_HEADER, "Sec-WebSocket-Key must be 16 bytes in base64");
	if (ws_accept(value, h->accept))
		refuse(h, ERR_INTERNAL, "SHA-1 is not to be had");
}

static void on_version(struct ws_handshake *h, struct slice value)
{
	if (h->version_seen)
		return refuse(h, ERR_BAD_HEADER, "Sec-WebSocket-Version must stand once");
	h->version_seen = true;
	if (!slice_eq_str(value, WS_VERSION_TEXT))
		refuse(h, ERR_UPGRADE_REQUIRED, "Sec-WebSocket-Version must be 13");
}

static const char *known_protocol(const struct ws_handshake *h, struct slice token)
{
	for (const char *const *p = h->options.protocols; p && *p; p++)
		if (slice_eq_str(token, *p))
			return *p;
	return NULL;
}

/* The client's order is its preference: the first that we speak. */
static void on_protocols(struct ws_handshake *h, struct slice value)
{
	struct ws_token_reader r = ws_token_reader_make(value);
	struct slice token;

	while (ws_token_next(&r, &token))
		if (!h->protocol)
			h->protocol = known_protocol(h, token);
	if (r.bad)
		refuse(h, ERR_BAD_HEADER, "Sec-WebSocket-Protocol must be a list of tokens");
}

static bool can_do(const struct deflate_params *offer)
{
	return offer->valid && (!offer->server_bits_seen || offer->server_bits >= WS_DEFLATE_BITS);
}

/*
 * Who says that it understands client_max_window_bits is told our window, unless
 * it has promised a smaller one by itself. zlib inflates 8 bits with 9.
 */
static struct ws_deflate_terms terms_for(const struct deflate_params *offer)
{
	struct ws_deflate_terms terms = {.on = true,
					 .inflate_bits = 15,
					 .tell_server_bits = offer->server_bits_seen};

	if (offer->client_bits && offer->client_bits < WS_DEFLATE_BITS) {
		terms.inflate_bits = offer->client_bits < 9 ? 9 : offer->client_bits;
	} else if (offer->client_bits_seen) {
		terms.inflate_bits = WS_DEFLATE_BITS;
		terms.tell_client_bits = true;
	}
	return terms;
}

static void on_extensions(struct ws_handshake *h, struct slice value)
{
	struct ws_token_reader r = ws_token_reader_make(value);
	struct slice name;

	while (ws_token_extension(&r, &name)) {
		struct deflate_params offer = read_params(&r);
		if (r.bad || !h->options.deflate || h->deflate.on)
			continue;
		if (slice_eq_nocase(name, SLICE_LIT("permessage-deflate")) && can_do(&offer))
			h->deflate = terms_for(&offer);
	}
	if (r.bad)
		refuse(h, ERR_BAD_HEADER, "Sec-WebSocket-Extensions must be a list of extensions");
}

void ws_handshake_header(struct ws_handshake *h, struct slice name, struct slice value)
{
	value = slice_trim(value);
	if (slice_eq_nocase(name, SLICE_LIT("upgrade")))
		h->upgrade = h->upgrade || list_has(value, "websocket");
	else if (slice_eq_nocase(name, SLICE_LIT("connection")))
		h->connection = h->connection || list_has(value, "upgrade");
	else if (slice_eq_nocase(name, SLICE_LIT("sec-websocket-key")))
		on_key(h, value);
	else if (slice_eq_nocase(name, SLICE_LIT("sec-websocket-version")))
		on_version(h, value);
	else if (slice_eq_nocase(name, SLICE_LIT("sec-websocket-protocol")))
		on_protocols(h, value);
	else if (slice_eq_nocase(name, SLICE_LIT("sec-websocket-extensions")))
		on_extensions(h, value);
}

/* What is missing is told before what is wrong: who asks for no upgrade gets to know that first. */
int ws_handshake_finish(struct ws_handshake *h)
{
	if (!h->upgrade || !h->connection) {
		h->err = ERR_UPGRADE_REQUIRED;
		h->detail = "the request needs Upgrade: websocket and Connection: Upgrade";
	} else if (!h->version_seen) {
		h->err = ERR_UPGRADE_REQUIRED;
		h->detail = "the request needs Sec-WebSocket-Version: 13";
	} else if (!h->key_seen) {
		refuse(h, ERR_BAD_HEADER, "the request needs Sec-WebSocket-Key");
	}
	return h->err;
}

int ws_handshake_answer(const struct ws_handshake *h, struct buf *to)
{
	buf_append_str(to, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
	buf_append(to, h->accept, WS_ACCEPT_LEN);
	if (h->protocol) {
		buf_append_str(to, "\r\nSec-WebSocket-Protocol: ");
		buf_append_str(to, h->protocol);
	}
	if (h->deflate.on)
		buf_append_str(to, "\r\nSec-WebSocket-Extensions: permessage-deflate"
				   "; server_no_context_takeover; client_no_context_takeover");
	if (h->deflate.tell_server_bits) {
		buf_append_str(to, "; server_max_window_bits=");
		buf_append_u64(to, WS_DEFLATE_BITS);
	}
	if (h->deflate.tell_client_bits) {
		buf_append_str(to, "; client_max_window_bits=");
		buf_append_u64(to, h->deflate.inflate_bits);
	}
	return buf_append_str(to, "\r\n");
}

/* ---- client ---- */

static void put_field(struct buf *to, const char *name, struct slice value)
{
	buf_append_str(to, name);
	buf_append_slice(to, value);
	buf_append_str(to, "\r\n");
}

int ws_client_request(struct ws_client *c, const struct ws_client_options *options, const uint8_t nonce[16],
		      struct slice extra, struct buf *to)
{
	*c = (struct ws_client){.protocol = options->protocol, .deflate_offered = options->deflate};
	(void)base64_encode(BASE64_STANDARD, slice_make(nonce, 16), c->key);
	buf_append_str(to, "GET ");
	buf_append_slice(to, options->target);
	buf_append_str(to, " HTTP/1.1\r\n");
	put_field(to, "Host: ", options->host);
	buf_append_str(to, "Upgrade: websocket\r\nConnection: Upgrade\r\n");
	put_field(to, "Sec-WebSocket-Version: ", SLICE_LIT(WS_VERSION_TEXT));
	put_field(to, "Sec-WebSocket-Key: ", slice_make(c->key, WS_KEY_LEN));
	if (options->protocol)
		put_field(to, "Sec-WebSocket-Protocol: ", slice_str(options->protocol));
	if (options->deflate)
		put_field(to, "Sec-WebSocket-Extensions: ",
			  SLICE_LIT("permessage-deflate; server_no_context_takeover"
				    "; client_no_context_takeover"));
	buf_append_slice(to, extra);
	return buf_append_str(to, "\r\n");
}

static void reject(struct ws_client *c, const char *detail)
{
	if (c->err)
		return;
	c->err = ERR_PROTOCOL;
	c->detail = detail;
}

static void on_accept(struct ws_client *c, struct slice value)
{
	char accept[WS_ACCEPT_LEN];

	if (c->accepted || ws_accept(slice_make(c->key, WS_KEY_LEN), accept) ||
	    !slice_eq(value, slice_make(accept, WS_ACCEPT_LEN)))
		return reject(c, "Sec-WebSocket-Accept does not answer the key");
	c->accepted = true;
}

static void on_agreed_protocol(struct ws_client *c, struct slice value)
{
	if (c->protocol_seen || !c->protocol || !slice_eq_str(value, c->protocol))
		return reject(c, "the server chose a subprotocol that was not asked for");
	c->protocol_seen = true;
}

/* The server must take on what we asked for, and may not limit us where we did not offer it. */
static bool answer_fits(struct slice name, const struct deflate_params *answer)
{
	return slice_eq_nocase(name, SLICE_LIT("permessage-deflate")) && answer->valid &&
	       answer->server_no_context && !answer->client_bits_seen;
}

static void on_agreed_extensions(struct ws_client *c, struct slice value)
{
	struct ws_token_reader r = ws_token_reader_make(value);
	struct slice name;

	while (ws_token_extension(&r, &name)) {
		struct deflate_params answer = read_params(&r);
		if (!c->deflate_offered || c->deflate.on || !answer_fits(name, &answer))
			return reject(c, "the server chose an extension that was not offered");
		c->deflate = (struct ws_deflate_terms){.on = true, .inflate_bits = 15};
	}
	if (r.bad)
		reject(c, "Sec-WebSocket-Extensions is not a list of extensions");
}

void ws_client_header(struct ws_client *c, struct slice name, struct slice value)
{
	value = slice_trim(value);
	if (slice_eq_nocase(name, SLICE_LIT("upgrade")))
		c->upgrade = slice_eq_nocase(value, SLICE_LIT("websocket"));
	else if (slice_eq_nocase(name, SLICE_LIT("connection")))
		c->connection = c->connection || list_has(value, "upgrade");
	else if (slice_eq_nocase(name, SLICE_LIT("sec-websocket-accept")))
		on_accept(c, value);
	else if (slice_eq_nocase(name, SLICE_LIT("sec-websocket-protocol")))
		on_agreed_protocol(c, value);
	else if (slice_eq_nocase(name, SLICE_LIT("sec-websocket-extensions")))
		on_agreed_extensions(c, value);
}

int ws_client_finish(struct ws_client *c, int http_status)
{
	if (http_status != 101)
		c->err = ERR_PROTOCOL, c->detail = "the server did not switch protocols";
	else if (!c->upgrade || !c->connection)
		reject(c, "the answer lacks Upgrade: websocket or Connection: Upgrade");
	else if (!c->accepted)
		reject(c, "the answer lacks Sec-WebSocket-Accept");
	return c->err;
}
