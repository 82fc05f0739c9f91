/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/ws/ws_token.h"

struct ws_token_reader ws_token_reader_make(struct slice value)
{
	if (!value.ptr)
		value = SLICE_LIT("");
	return (struct ws_token_reader){.at = value.ptr, .end = value.ptr + value.len};
}

/* RFC 9110 section 5.6.2. */
static bool is_token_char(uint8_t c)
{
	if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return true;
	return c && strchr("!#$%&'*+-.^_`|~", c);
}

static void skip_blanks(struct ws_token_reader *r)
{
	while (r->at < r->end && (*r->at == ' ' || *r->at == '\t'))
		r->at++;
}

static bool at_char(struct ws_token_reader *r, uint8_t c)
{
	skip_blanks(r);
	return r->at < r->end && *r->at == c;
}

static bool take_char(struct ws_token_reader *r, uint8_t c)
{
	if (!at_char(r, c))
		return false;
	r->at++;
	return true;
}

static bool set_bad(struct ws_token_reader *r)
{
	r->bad = true;
	r->at = r->end;
	return false;
}

static bool take_token(struct ws_token_reader *r, struct slice *token)
{
	const uint8_t *from;

	skip_blanks(r);
	from = r->at;
	while (r->at < r->end && is_token_char(*r->at))
		r->at++;
	*token = slice_make(from, (size_t)(r->at - from));
	return token->len > 0 || set_bad(r);
}

/* The opening quote is taken. Nothing that we know needs an escape, so none is undone. */
static bool take_quoted(struct ws_token_reader *r, struct slice *value)
{
	const uint8_t *from = r->at;

	while (r->at < r->end && *r->at != '"')
		r->at += *r->at == '\\' && r->end - r->at > 1 ? 2 : 1;
	if (r->at >= r->end)
		return set_bad(r);
	*value = slice_make(from, (size_t)(r->at - from));
	r->at++;
	return true;
}

/* Passes over commas and blanks; false at the end of the value. */
static bool to_element(struct ws_token_reader *r)
{
	while (take_char(r, ','))
		;
	return r->at < r->end;
}

/* An element must be followed by a comma, the end, or `also`. */
static bool check_behind(struct ws_token_reader *r, uint8_t also)
{
	skip_blanks(r);
	return r->at == r->end || *r->at == ',' || *r->at == also || set_bad(r);
}

bool ws_token_next(struct ws_token_reader *r, struct slice *token)
{
	return to_element(r) && take_token(r, token) && check_behind(r, ',');
}

bool ws_token_extension(struct ws_token_reader *r, struct slice *name)
{
	return to_element(r) && take_token(r, name) && check_behind(r, ';');
}

bool ws_token_param(struct ws_token_reader *r, struct ws_token_param *param)
{
	param->value = slice_null();
	if (!take_char(r, ';') || !take_token(r, &param->name))
		return false;
	if (take_char(r, '=')) {
		bool quoted = take_char(r, '"');
		if (!(quoted ? take_quoted(r, &param->value) : take_token(r, &param->value)))
			return false;
	}
	return check_behind(r, ';');
}
