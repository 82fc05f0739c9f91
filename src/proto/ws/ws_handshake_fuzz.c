/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of `name: value`, shown to the server's and the client's side. Whatever
 * they are, an accepted handshake has an answer that our own client takes, and
 * terms that the parser can be given.
 */
#include "base/check.h"
#include "base/err.h"
#include "proto/ws/ws_handshake.h"
#include "proto/ws/ws_parser.h"
#include "proto/ws/ws_token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const spoken[] = {"weir.v1", NULL};

/* Cuts the next line off; without a colon it is all name. */
static bool next_field(struct slice *text, struct slice *name, struct slice *value)
{
	const uint8_t *end, *colon;
	size_t n;

	if (text->len == 0)
		return false;
	end = memchr(text->ptr, '\n', text->len);
	n = end ? (size_t)(end - text->ptr) : text->len;
	colon = memchr(text->ptr, ':', n);
	*name = slice_make(text->ptr, colon ? (size_t)(colon - text->ptr) : n);
	*value = slice_from(slice_make(text->ptr, n), name->len + 1);
	*text = slice_from(*text, n + 1);
	return true;
}

/* Pieces of a list lie inside it, and reading comes to an end. */
static void walk_list(struct slice value)
{
	struct ws_token_reader r = ws_token_reader_make(value);
	struct ws_token_param p;
	struct slice name;
	size_t bytes = 0;

	while (ws_token_extension(&r, &name)) {
		bytes += name.len;
		while (ws_token_param(&r, &p))
			bytes += p.name.len + p.value.len;
	}
	CHECK(bytes <= value.len && r.at == r.end);
}

/* Our answer, read by a client that has asked for all of it. */
static void check_answer(const struct ws_handshake *h)
{
	struct ws_client c = {.protocol = h->protocol, .deflate_offered = true};
	struct slice text, name, value;
	struct buf to;

	buf_init(&to, 4096);
	CHECK(ws_handshake_answer(h, &to) == 0);
	text = buf_slice(&to);
	while (next_field(&text, &name, &value)) {
		CHECK(value.len > 1 && value.ptr[value.len - 1] == '\r');
		value.len--;
		if (slice_eq_nocase(name, SLICE_LIT("sec-websocket-extensions")) &&
		    h->deflate.tell_client_bits)
			continue; /* our client does not offer that */
		if (!slice_eq_nocase(name, SLICE_LIT("sec-websocket-accept")))
			ws_client_header(&c, name, value);
	}
	CHECK(c.err == 0 && c.upgrade && c.connection);
	CHECK(c.deflate.on == (h->deflate.on && !h->deflate.tell_client_bits));
	buf_fini(&to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ws_handshake_options o = {.protocols = spoken, .deflate = true};
	struct slice text = slice_make(data, size), name, value;
	struct ws_handshake h;
	struct ws_client c = {.protocol = "weir.v1", .deflate_offered = true};

	ws_handshake_init(&h, &o);
	while (next_field(&text, &name, &value)) {
		walk_list(value);
		ws_handshake_header(&h, name, value);
		ws_client_header(&c, name, value);
	}
	if (ws_handshake_finish(&h) == 0)
		check_answer(&h);
	else
		CHECK(h.detail);
	CHECK(!h.deflate.on || (h.deflate.inflate_bits >= 9 && h.deflate.inflate_bits <= 15));
	if (ws_client_finish(&c, 101))
		CHECK(c.detail);
	return 0;
}
