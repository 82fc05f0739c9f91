/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/slice.h"
#include "connect/sql/url.h"

static int nibble(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Without percent escapes, into a piece with room for the NUL; false where it does not fit or holds one. */
static bool decode(struct slice s, char *out, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		int c = s.ptr[i];
		if (c == '%') {
			int high = -1, low = -1;
			if (s.len - i > 2) {
				high = nibble(s.ptr[i + 1]);
				low = nibble(s.ptr[i + 2]);
			}
			if (high < 0 || low < 0)
				return false;
			c = high << 4 | low;
			i += 2;
		}
		if (c == 0 || n + 1 >= room)
			return false;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return true;
}

/* What stands before the mark, taken off; all of it where there is none. */
static struct slice take_until(struct slice *rest, char mark)
{
	const uint8_t *at = rest->len ? memchr(rest->ptr, mark, rest->len) : NULL;
	struct slice head = *rest;

	if (at)
		head.len = (size_t)(at - rest->ptr);
	*rest = at ? slice_from(*rest, head.len + 1) : slice_make("", 0);
	return head;
}

static bool parse_host(struct slice s, struct sql_url *out)
{
	uint64_t port = 0;

	if (s.len && s.ptr[0] == '[') { /* an IPv6 address */
		struct slice inner = slice_from(s, 1);
		if (!memchr(inner.ptr, ']', inner.len) ||
		    !decode(take_until(&inner, ']'), out->host, sizeof(out->host)))
			return false;
		if (inner.len && inner.ptr[0] != ':')
			return false;
		s = slice_from(inner, 1);
	} else if (!decode(take_until(&s, ':'), out->host, sizeof(out->host))) {
		return false;
	}
	if (s.len && (!slice_to_u64(s, &port) || port == 0 || port > 65535))
		return false;
	out->port = (uint16_t)port;
	return true;
}

static bool parse_params(struct slice s, struct sql_url *out)
{
	while (s.len) {
		struct slice value = take_until(&s, '&'), name = take_until(&value, '=');
		uint32_t i = out->param_count;
		if (i == sizeof(out->params) / sizeof(out->params[0]))
			return false;
		if (!decode(name, out->params[i].name, sizeof(out->params[i].name)) ||
		    !decode(value, out->params[i].value, sizeof(out->params[i].value)))
			return false;
		out->param_count++;
	}
	return true;
}

/* USER:PASSWORD up to the last @, so that a password may hold one. */
static bool parse_user(struct slice *authority, struct sql_url *out)
{
	struct slice user = slice_make(authority->ptr, authority->len);

	while (user.len && user.ptr[user.len - 1] != '@')
		user.len--;
	*authority = slice_from(*authority, user.len);
	if (user.len)
		user.len--;
	return decode(take_until(&user, ':'), out->user, sizeof(out->user)) &&
	       decode(user, out->password, sizeof(out->password));
}

bool sql_url_parse(const char *text, struct sql_url *out)
{
	const char *at = strstr(text, "://");
	struct slice rest, before, authority;

	*out = (struct sql_url){0};
	if (!at)
		return false;
	rest = slice_str(at + 3);
	before = take_until(&rest, '?'); /* what is left are the parameters */
	authority = take_until(&before, '/');
	return parse_params(rest, out) && parse_user(&authority, out) && parse_host(authority, out) &&
	       decode(before, out->database, sizeof(out->database));
}

const char *sql_url_param(const struct sql_url *url, const char *name)
{
	for (uint32_t i = 0; i < url->param_count; i++)
		if (strcmp(url->params[i].name, name) == 0)
			return url->params[i].value;
	return NULL;
}
