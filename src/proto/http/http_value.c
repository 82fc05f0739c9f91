/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/http/http_chars.h"
#include "proto/http/http_head.h"

/* Field lookup and the grammar of field values (RFC 9110 5.6). */
const struct http_header *http_header_find(const struct http_headers *h, struct slice name)
{
	for (uint32_t i = 0; i < h->count; i++)
		if (h->list[i].name.len == name.len && slice_eq_nocase(h->list[i].name, name))
			return &h->list[i];
	return NULL;
}

int http_header_one(const struct http_headers *h, struct slice name, struct slice *value)
{
	const struct http_header *first = http_header_find(h, name);
	struct http_headers rest;

	*value = slice_null();
	if (!first)
		return 0;
	rest = (struct http_headers){.list = h->list + (first - h->list) + 1};
	rest.count = h->count - (uint32_t)(first - h->list) - 1;
	if (http_header_find(&rest, name))
		return ERR_BAD_HEADER;
	*value = first->value;
	return 1;
}

bool http_header_has(const struct http_headers *h, struct slice name, struct slice token)
{
	for (uint32_t i = 0; i < h->count; i++) {
		struct slice list = h->list[i].value;
		struct slice item;

		if (!slice_eq_nocase(h->list[i].name, name))
			continue;
		while (http_list_next(&list, &item))
			if (slice_eq_nocase(item, token))
				return true;
	}
	return false;
}

bool http_token_valid(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!http_is(s.ptr[i], HTTP_TCHAR))
			return false;
	return s.len > 0;
}

bool http_value_valid(struct slice s)
{
	return s.len == 0 || http_find_control(s.ptr, s.ptr + s.len) == s.ptr + s.len;
}

/* The place behind the quoted string that starts at `at`; the end of s where it does not close. */
static size_t skip_quoted(struct slice s, size_t at)
{
	for (at++; at < s.len && s.ptr[at] != '"'; at++)
		if (s.ptr[at] == '\\')
			at++;
	return at < s.len ? at + 1 : s.len;
}

static size_t find_outside_quotes(struct slice s, uint8_t byte)
{
	size_t at = 0;

	while (at < s.len && s.ptr[at] != byte)
		at = s.ptr[at] == '"' ? skip_quoted(s, at) : at + 1;
	return at;
}

int http_list_next(struct slice *list, struct slice *item)
{
	while (list->len > 0) {
		size_t end = find_outside_quotes(*list, ',');

		*item = slice_trim(slice_make(list->ptr, end));
		*list = slice_from(*list, end + 1);
		if (item->len > 0)
			return 1;
	}
	return 0;
}

/* The inside of a quoted string that ends exactly at the end of `text`. */
static bool quoted_inside(struct slice text, struct slice *inside)
{
	if (text.len < 2 || text.ptr[0] != '"' || text.ptr[text.len - 1] != '"')
		return false;
	*inside = slice_make(text.ptr + 1, text.len - 2);
	for (size_t i = 0; i < inside->len; i++) {
		if (inside->ptr[i] == '"')
			return false;
		if (inside->ptr[i] == '\\' && ++i == inside->len)
			return false;
	}
	return true;
}

int http_unquote(struct arena *a, struct slice text, struct slice *out)
{
	struct slice inside;
	uint8_t *to;
	size_t n = 0;

	if (text.len == 0 || text.ptr[0] != '"') {
		*out = text;
		return http_token_valid(text) ? 0 : ERR_BAD_HEADER;
	}
	if (!quoted_inside(text, &inside))
		return ERR_BAD_HEADER;
	*out = inside;
	if (inside.len == 0 || !memchr(inside.ptr, '\\', inside.len))
		return 0;
	to = arena_alloc(a, inside.len);
	if (!to)
		return ERR_NOMEM;
	for (size_t i = 0; i < inside.len; i++) {
		if (inside.ptr[i] == '\\')
			i++;
		to[n++] = inside.ptr[i];
	}
	*out = slice_make(to, n);
	return 0;
}

/* The next `name=value` behind a ';'. 1, 0 at the end, ERR_BAD_HEADER. Empty parameters (";;") are allowed (RFC 9110 5.6.6). */
static int next_param(struct slice *params, struct slice *name, struct slice *value)
{
	while (params->len > 0) {
		struct slice piece = slice_from(*params, 1);
		struct slice inside;
		size_t equals;

		if (params->ptr[0] != ';')
			return ERR_BAD_HEADER;
		piece.len = find_outside_quotes(piece, ';');
		*params = slice_from(*params, piece.len + 1);
		piece = slice_trim(piece);
		if (piece.len == 0)
			continue;
		equals = find_outside_quotes(piece, '=');
		*name = slice_make(piece.ptr, equals);
		*value = slice_from(piece, equals + 1);
		if (equals == piece.len || !http_token_valid(*name))
			return ERR_BAD_HEADER;
		return http_token_valid(*value) || quoted_inside(*value, &inside) ? 1 : ERR_BAD_HEADER;
	}
	return 0;
}

int http_media_parse(struct slice value, struct http_media_type *out)
{
	size_t end = find_outside_quotes(value, ';');
	struct slice full = slice_trim(slice_make(value.ptr, end));
	const uint8_t *slash = full.len ? memchr(full.ptr, '/', full.len) : NULL;
	struct slice params, name, param;
	int r;

	if (!slash)
		return ERR_BAD_HEADER;
	out->full = full;
	out->type = slice_make(full.ptr, (size_t)(slash - full.ptr));
	out->subtype = slice_from(full, out->type.len + 1);
	out->params = slice_from(value, end);
	if (!http_token_valid(out->type) || !http_token_valid(out->subtype))
		return ERR_BAD_HEADER;
	params = out->params;
	while ((r = next_param(&params, &name, &param)) == 1)
		;
	return r;
}

bool http_media_is(const struct http_media_type *m, const char *full)
{
	return slice_eq_nocase(m->full, slice_str(full));
}

int http_media_param(const struct http_media_type *m, const char *name, struct slice *value)
{
	struct slice params = m->params;
	struct slice found;

	while (next_param(&params, &found, value) == 1)
		if (slice_eq_nocase(found, slice_str(name)))
			return 1;
	*value = slice_null();
	return 0;
}
