/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A secret is known by its row of the settings, or by where it stands in another: people put tokens into URLs, headers and
 * messages. Both are looked for in every text that is shown, as servers and libraries say what they were given. URLs lose
 * their query besides, whatever is in it: what a source asks a server for may be of use to nobody else.
 *
 * Rejected: to show settings and errors of a URL without anything that may be secret, and trust the types with the rest
 * (each library has errors of its own).
 */
#include "conf/redact.h"

#include <string.h>

#include "base/base64.h"
#include "conf/setting.h"

#define SECRET_BYTES_MIN 4u
#define CUT_BYTES_MIN 6u

/* ---- what is secret ---- */

static void add(struct redact_found *s, struct slice text)
{
	char *copy;

	if (text.len < SECRET_BYTES_MIN || s->count == REDACT_SECRETS_MAX || s->err)
		return;
	copy = arena_alloc(s->arena, text.len + 1);
	if (!copy) {
		s->err = ERR_NOMEM;
		return;
	}
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = 0;
	s->list[s->count++] = copy;
}

static int hex_of(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* As it is, and as a server has it that has read %40. */
static void add_both(struct redact_found *s, struct slice text)
{
	uint8_t plain[1024];
	size_t n = 0;

	add(s, text);
	if (text.len > sizeof(plain) || !memchr(text.ptr, '%', text.len))
		return;
	for (size_t i = 0; i < text.len; i++) {
		bool code = text.ptr[i] == '%' && i + 2 < text.len && hex_of(text.ptr[i + 1]) >= 0 &&
			    hex_of(text.ptr[i + 2]) >= 0;
		plain[n++] = code ? (uint8_t)(hex_of(text.ptr[i + 1]) * 16 + hex_of(text.ptr[i + 2])) :
				    text.ptr[i];
		i += code ? 2 : 0;
	}
	add(s, slice_make(plain, n));
}

/* "user:password" as Basic has it. */
static void add_basic(struct redact_found *s, struct slice user, struct slice password)
{
	uint8_t pair[512];
	char text[1024];
	size_t n = user.len + 1 + password.len;

	if (n > sizeof(pair) || password.len == 0)
		return;
	if (user.len)
		memcpy(pair, user.ptr, user.len);
	pair[user.len] = ':';
	memcpy(pair + user.len + 1, password.ptr, password.len);
	n = base64_encode(BASE64_STANDARD, slice_make(pair, n), text);
	add(s, slice_make(text, n));
}

bool redact_is_name(struct slice name)
{
	static const char *const words[] = {"pass", "pwd",    "secret",  "token", "key",       "auth",
					    "sig",  "cookie", "session", "cred",  "x-amz-sec", "sas"};

	for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++)
		for (size_t i = 0, n = strlen(words[w]); i + n <= name.len; i++)
			if (strncasecmp((const char *)name.ptr + i, words[w], n) == 0)
				return true;
	return false;
}

static bool is_name_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
	       c == '-' || c == '.';
}

static bool ends_value(uint8_t c)
{
	return c < ' ' || c == '&' || c == '"' || c == '\'' || c == ',' || c == ';' || c == '}' || c == '#';
}

/* "Bearer x": both, and x alone. */
static void add_value(struct redact_found *s, struct slice value)
{
	const uint8_t *space = memchr(value.ptr, ' ', value.len);

	if (value.len == 0 ||
	    value.ptr[0] == '{') /* a name of a template: what it stands for is known by itself */
		return;
	add_both(s, value);
	if (space)
		add_both(s, slice_from(value, (size_t)(space + 1 - value.ptr)));
}

/* NAME=VALUE, NAME: VALUE and "NAME": "VALUE" with a name that says what it is. */
static void look_for_names(struct redact_found *s, struct slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		size_t from = i, at, end;
		while (i < text.len && is_name_byte(text.ptr[i]))
			i++;
		if (i == from || !redact_is_name(slice_make(text.ptr + from, i - from)))
			continue;
		at = i + (i < text.len && (text.ptr[i] == '"' || text.ptr[i] == '\''));
		while (at < text.len && text.ptr[at] == ' ')
			at++;
		if (at >= text.len || (text.ptr[at] != '=' && text.ptr[at] != ':'))
			continue;
		for (at++;
		     at < text.len && (text.ptr[at] == ' ' || text.ptr[at] == '"' || text.ptr[at] == '\'');)
			at++;
		for (end = at; end < text.len && !ends_value(text.ptr[end]);)
			end++;
		add_value(s, slice_make(text.ptr + at, end - at));
	}
}

/* The end of "user:password" in an authority that begins at `at`; `at` where nobody is named. */
size_t redact_end_of_user(struct slice text, size_t at)
{
	size_t end = at;

	for (size_t i = at; i < text.len && text.ptr[i] > ' ' && !strchr("/?#,]\"'", text.ptr[i]); i++)
		if (text.ptr[i] == '@')
			end = i;
	return end;
}

static void look_for_users(struct redact_found *s, struct slice text)
{
	for (size_t i = 0; i + 3 < text.len; i++) {
		size_t end, at = i + 3;
		const uint8_t *colon;
		if (memcmp(text.ptr + i, "://", 3) != 0)
			continue;
		end = redact_end_of_user(text, at);
		colon = end > at ? memchr(text.ptr + at, ':', end - at) : NULL;
		if (!colon)
			continue;
		add_both(s, slice_make(colon + 1, end - 1 - (size_t)(colon - text.ptr)));
		add_basic(s, slice_make(text.ptr + at, (size_t)(colon - text.ptr) - at),
			  slice_make(colon + 1, end - 1 - (size_t)(colon - text.ptr)));
	}
}

void redact_look_at(struct redact_found *s, bool secret, struct slice name, struct slice value)
{
	if (!value.ptr)
		return;
	if (secret || (name.ptr && redact_is_name(name)))
		add_value(s, value);
	look_for_users(s, value);
	look_for_names(s, value);
}

static void look_at(struct redact_found *s, bool secret, const char *name, const char *value)
{
	redact_look_at(s, secret, name ? slice_str(name) : slice_null(),
		       value ? slice_str(value) : slice_null());
}

static void look_at_row(struct redact_found *s, const struct setting *row, const void *settings)
{
	const void *member = (const char *)settings + row->offset;
	bool secret = row->flags & SETTING_SECRET;
	const struct conf_list *list = member;
	const struct conf_map *map = member;

	if (row->type == SETTING_STRING)
		look_at(s, secret, NULL, *(const char *const *)member);
	for (uint32_t i = 0; row->type == SETTING_LIST && i < list->count; i++)
		look_at(s, secret, NULL, list->items[i]);
	for (uint32_t i = 0; row->type == SETTING_MAP && i < map->count; i++)
		look_at(s, secret, map->names[i], map->values[i]);
}

static const char *text_of(const struct conf_kind *kind, const void *settings, const char *path)
{
	for (uint32_t i = 0; i < kind->setting_count; i++)
		if (kind->settings[i].type == SETTING_STRING && strcmp(kind->settings[i].path, path) == 0)
			return *(const char *const *)((const char *)settings + kind->settings[i].offset);
	return NULL;
}

int redact_secrets(const struct conf_kind *kind, const void *settings, struct arena *arena,
		   const char *const **secrets, uint32_t *count)
{
	struct redact_found s = {.arena = arena};
	const char *user = text_of(kind, settings, "auth.user"),
		   *password = text_of(kind, settings, "auth.password");

	for (uint32_t i = 0; i < kind->setting_count; i++)
		look_at_row(&s, &kind->settings[i], settings);
	if (user && password)
		add_basic(&s, slice_str(user), slice_str(password));
	*count = s.count;
	*secrets = NULL;
	if (s.count && !s.err) {
		const char **copy = arena_alloc(arena, s.count * sizeof(*copy));
		if (copy)
			memcpy(copy, s.list, s.count * sizeof(*copy));
		*secrets = copy;
		s.err = copy ? 0 : ERR_NOMEM;
	}
	return s.err;
}

/* ---- texts ---- */

static size_t replace(char *text, size_t n, size_t at, size_t bytes)
{
	size_t stars = bytes < 3 ? bytes : 3;

	memset(text + at, '*', stars);
	memmove(text + at + stars, text + at + bytes, n - at - bytes);
	return n - bytes + stars;
}

static size_t hide_secret(const char *secret, char *text, size_t n)
{
	size_t len = strlen(secret);
	char *at;

	if (len < SECRET_BYTES_MIN)
		return n;
	while ((at = memmem(text, n, secret, len)) != NULL)
		n = replace(text, n, (size_t)(at - text), len);
	for (size_t k = len - 1 < n ? len - 1 : n; k >= CUT_BYTES_MIN; k--) /* the text was cut in it */
		if (memcmp(text + n - k, secret, k) == 0)
			return replace(text, n, n - k, k);
	return n;
}

static bool ends_url(char c)
{
	return (c >= 0 && c <= ' ') || c == ',' || c == ']' || c == '"' || c == '\'';
}

static size_t hide_in_urls(char *text, size_t n)
{
	bool url = false;

	for (size_t i = 0; i < n; i++) {
		url = url && !ends_url(text[i]);
		if (i + 3 < n && memcmp(text + i, "://", 3) == 0) {
			size_t end = redact_end_of_user(slice_make(text, n), i + 3);
			url = true;
			if (end > i + 3)
				n = replace(text, n, i + 3, end - i - 3);
			i += 2;
		} else if (url && text[i] == '?' && (i + 3 >= n || memcmp(text + i, "?...", 4) != 0)) {
			size_t end = i + 1;
			while (end < n && !ends_url(text[end]))
				end++;
			if (end > i + 1)
				n = replace(text, n, i + 1, end - i - 1);
			url = false;
		}
	}
	return n;
}

size_t redact_secrets_in(const char *const *secrets, uint32_t count, char *text, size_t n)
{
	for (uint32_t i = 0; i < count; i++)
		n = hide_secret(secrets[i], text, n);
	return n;
}

size_t redact_text(const char *const *secrets, uint32_t count, char *text, size_t n)
{
	return hide_in_urls(text, redact_secrets_in(secrets, count, text, n));
}
