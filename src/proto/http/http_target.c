/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/http/http_chars.h"
#include "proto/http/http_head.h"

/*
 * Paths, queries and authorities. A path is split first and decoded afterwards,
 * so that an encoded slash never separates; dot segments are refused rather than
 * resolved, because a proxy in front may have resolved them differently.
 */
static bool needs_decoding(struct slice text, bool form)
{
	return text.len && (memchr(text.ptr, '%', text.len) || (form && memchr(text.ptr, '+', text.len)));
}

/* The byte of an escape at text.ptr[at], or -1. NUL is never what anybody means. */
static int escaped(struct slice text, size_t at)
{
	uint8_t high, low;

	if (text.len - at < 3)
		return -1;
	high = http_hex[text.ptr[at + 1]];
	low = http_hex[text.ptr[at + 2]];
	if (high == 0xff || low == 0xff || (high | low) == 0)
		return -1;
	return high << 4 | low;
}

static int decode(struct arena *a, struct slice text, bool form, struct slice *out)
{
	uint8_t *to;
	size_t n = 0;

	if (!needs_decoding(text, form)) {
		*out = text;
		return 0;
	}
	to = arena_alloc(a, text.len);
	if (!to)
		return ERR_NOMEM;
	for (size_t at = 0; at < text.len; at++) {
		int byte = text.ptr[at];

		if (byte == '%') {
			byte = escaped(text, at);
			at += 2;
		} else if (byte == '+' && form) {
			byte = ' ';
		}
		if (byte < 0)
			return ERR_MALFORMED;
		to[n++] = (uint8_t)byte;
	}
	*out = slice_make(to, n);
	return 0;
}

int http_percent_decode(struct arena *a, struct slice text, struct slice *out)
{
	return decode(a, text, false, out);
}

int http_form_decode(struct arena *a, struct slice text, struct slice *out)
{
	return decode(a, text, true, out);
}

int http_path_next(struct arena *a, struct slice *path, struct slice *segment)
{
	struct slice rest = *path;
	const uint8_t *slash;
	int r;

	if (rest.len == 0)
		return 0;
	if (rest.ptr[0] != '/')
		return ERR_MALFORMED;
	rest = slice_from(rest, 1);
	slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
	*segment = slice_make(rest.ptr, slash ? (size_t)(slash - rest.ptr) : rest.len);
	*path = slice_from(rest, segment->len);
	r = decode(a, *segment, false, segment);
	if (r < 0)
		return r;
	if (slice_eq_str(*segment, ".") || slice_eq_str(*segment, ".."))
		return ERR_MALFORMED;
	return 1;
}

int http_query_next(struct arena *a, struct slice *query, struct slice *name, struct slice *value)
{
	struct slice piece = slice_null();
	const uint8_t *mark;
	int r;

	while (piece.len == 0) {
		if (query->len == 0)
			return 0;
		mark = memchr(query->ptr, '&', query->len);
		piece = slice_make(query->ptr, mark ? (size_t)(mark - query->ptr) : query->len);
		*query = slice_from(*query, piece.len + (mark ? 1 : 0));
	}
	mark = memchr(piece.ptr, '=', piece.len);
	*name = slice_make(piece.ptr, mark ? (size_t)(mark - piece.ptr) : piece.len);
	*value = mark ? slice_from(piece, name->len + 1) : slice_make(piece.ptr + piece.len, 0);
	r = decode(a, *name, true, name);
	if (r == 0)
		r = decode(a, *value, true, value);
	return r < 0 ? r : 1;
}

static bool parse_port(struct slice text, int *port)
{
	uint64_t n;

	/* RFC 3986 3.2.3 lets a port be empty. */
	if (text.len == 0)
		return true;
	if (text.len > 5 || !slice_to_u64(text, &n) || n > 65535)
		return false;
	*port = (int)n;
	return true;
}

static bool all_of(struct slice s, enum http_char kind)
{
	for (size_t i = 0; i < s.len; i++)
		if (!http_is(s.ptr[i], kind))
			return false;
	return true;
}

static bool split_v6(struct slice authority, struct slice *host, int *port)
{
	const uint8_t *end = memchr(authority.ptr, ']', authority.len);
	struct slice rest;

	if (!end)
		return false;
	*host = slice_make(authority.ptr + 1, (size_t)(end - authority.ptr) - 1);
	if (host->len == 0)
		return false;
	for (size_t i = 0; i < host->len; i++)
		if (http_hex[host->ptr[i]] == 0xff && host->ptr[i] != ':' && host->ptr[i] != '.')
			return false;
	rest = slice_from(authority, host->len + 2);
	if (rest.len == 0)
		return true;
	return rest.ptr[0] == ':' && parse_port(slice_from(rest, 1), port);
}

bool http_authority_split(struct slice authority, struct slice *host, int *port)
{
	const uint8_t *colon;

	*port = -1;
	if (authority.len == 0)
		return false;
	if (authority.ptr[0] == '[')
		return split_v6(authority, host, port);
	colon = memchr(authority.ptr, ':', authority.len);
	*host = slice_make(authority.ptr, colon ? (size_t)(colon - authority.ptr) : authority.len);
	if (host->len == 0 || !all_of(*host, HTTP_HOST))
		return false;
	return !colon || parse_port(slice_from(authority, host->len + 1), port);
}
