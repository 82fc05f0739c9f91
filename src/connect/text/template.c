/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/text/template.h"

#include "json/json_write.h"

static bool is_name_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
	       c == '/' || c == '~' || c == '.' || c == '-' || c == ':' || c == '$' || c == '@';
}

/* The name between the brace at `at` and its end; its length, 0 where that is no name. */
static size_t name_at(struct slice text, size_t at)
{
	size_t n = 0;

	while (at + 1 + n < text.len && is_name_byte(text.ptr[at + 1 + n]))
		n++;
	return at + 1 + n < text.len && text.ptr[at + 1 + n] == '}' ? n : 0;
}

/* RFC 3986 section 2.3: what needs no escape anywhere. */
static bool is_unreserved(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '.' || c == '_' || c == '~';
}

static void put_url(struct slice value, struct buf *out)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < value.len; i++) {
		uint8_t c = value.ptr[i];

		if (is_unreserved(c)) {
			(void)buf_append_byte(out, c);
			continue;
		}
		(void)buf_append_byte(out, '%');
		(void)buf_append_byte(out, (uint8_t)digits[c >> 4]);
		(void)buf_append_byte(out, (uint8_t)digits[c & 15]);
	}
}

static void put_json(struct slice value, struct buf *out)
{
	struct buf quoted;

	buf_init(&quoted, value.len * 6 + 64);
	json_put_string_lossy(&quoted, value);
	if (buf_status(&quoted) == 0)
		(void)buf_append(out, quoted.ptr + 1, quoted.len - 2);
	else
		out->status = out->status ? out->status : buf_status(&quoted);
	buf_fini(&quoted);
}

static void put_value(enum template_form form, struct slice value, struct buf *out)
{
	if (form == TEMPLATE_URL)
		put_url(value, out);
	else if (form == TEMPLATE_JSON)
		put_json(value, out);
	else
		(void)buf_append_slice(out, value);
}

/*
 * Where all of a parameter's value is absent, `&name=` goes too: many servers refuse an empty
 * one. Gives the place in the text to go on from; `end` is behind the placeholder.
 */
static size_t drop_parameter(struct slice text, size_t end, size_t begun, struct buf *out)
{
	size_t from = out->len;
	bool last = end == text.len || text.ptr[end] == '&' || text.ptr[end] == '#';

	if (!last || out->len == begun || out->ptr[out->len - 1] != '=')
		return end;
	while (from > begun && out->ptr[from - 1] != '&' && out->ptr[from - 1] != '?')
		from--;
	if (from == begun)
		return end;
	if (end < text.len && text.ptr[end] == '&') { /* another follows: it takes the place */
		out->len = from;
		return end + 1;
	}
	out->len = from - 1;
	return end;
}

int template_expand(struct slice text, enum template_form form, template_lookup_fn *lookup, void *ctx,
		    struct buf *out)
{
	size_t begun = out->len;

	for (size_t i = 0; i < text.len;) {
		size_t n = text.ptr[i] == '{' ? name_at(text, i) : 0;
		struct slice value = slice_null();
		int known = n ? lookup(ctx, slice_make(text.ptr + i + 1, n), &value) : -1;

		if (known < 0) {
			(void)buf_append_byte(out, text.ptr[i++]);
			continue;
		}
		i += n + 2;
		if (known == 1)
			put_value(form, value, out);
		else if (form == TEMPLATE_URL && buf_status(out) == 0)
			i = drop_parameter(text, i, begun, out);
	}
	return buf_status(out);
}

bool template_has(struct slice text, const char *name)
{
	for (size_t i = 0; i < text.len; i++) {
		size_t n = text.ptr[i] == '{' ? name_at(text, i) : 0;

		if (n && slice_eq_str(slice_make(text.ptr + i + 1, n), name))
			return true;
	}
	return false;
}
