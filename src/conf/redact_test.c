/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "conf/setting.h"
#include "conf/redact.h"

struct things {
	const char *url, *body, *user, *password, *secret;
	struct conf_list urls;
	struct conf_map headers;
};

static const struct setting table[] = {
	{"url", NULL, "", .type = SETTING_STRING, SETTING_MEMBER(struct things, url)},
	{"body", NULL, "", .type = SETTING_STRING, SETTING_MEMBER(struct things, body)},
	{"auth.user", NULL, "", .type = SETTING_STRING, SETTING_MEMBER(struct things, user)},
	{"auth.password", NULL, "", .type = SETTING_STRING, .flags = SETTING_SECRET,
	 SETTING_MEMBER(struct things, password)},
	{"secret", NULL, "", .type = SETTING_STRING, .flags = SETTING_SECRET,
	 SETTING_MEMBER(struct things, secret)},
	{"urls", NULL, "", .type = SETTING_LIST, SETTING_MEMBER(struct things, urls)},
	{"headers", NULL, "", .type = SETTING_MAP, SETTING_MEMBER(struct things, headers)},
};

static const struct conf_kind kind = {.name = "k",
				      .settings = table,
				      .setting_count = sizeof(table) / sizeof(table[0]),
				      .settings_bytes = sizeof(struct things)};

static const char *shown(const struct things *things, const char *text)
{
	static char copy[1000];
	const char *const *secrets;
	struct arena arena;
	uint32_t count;

	arena_init(&arena, 256, 1u << 20);
	assert_int_equal(redact_secrets(&kind, things, &arena, &secrets, &count), 0);
	(void)snprintf(copy, sizeof(copy), "%s", text);
	copy[redact_text(secrets, count, copy, strlen(copy))] = 0;
	arena_fini(&arena);
	return copy;
}

static void says(const struct things *things, const char *text, const char *expected)
{
	assert_string_equal(shown(things, text), expected);
}

static void secrets_of_settings_are_hidden_in_every_form(void **state)
{
	const char *urls[] = {"https://me:p%40ssword@host/x"};
	const char *names[] = {"X-Api-Key", "Accept"}, *values[] = {"keykeykey", "application/json"};
	struct things t = {.url = "wss://host/feed?apikey=tok12345&format=json",
			   .body = "{\"client_secret\": \"inthebody\", \"page\": \"{page}\"}",
			   .user = "me",
			   .password = "hunter22",
			   .secret = "Bearer abcdefgh",
			   .urls = {urls, 1},
			   .headers = {names, values, 2}};

	(void)state;
	says(&t, "tok12345 is not known", "*** is not known");
	says(&t, "no user with p%40ssword or p@ssword", "no user with *** or ***");
	says(&t, "you sent inthebody", "you sent ***");
	says(&t, "Authorization: Basic bWU6aHVudGVyMjI=", "Authorization: Basic ***");
	says(&t, "Bearer abcdefgh, or abcdefgh", "***, or ***");
	says(&t, "keykeykey, application/json, json", "***, application/json, json");
	says(&t, "it was cut in hunter2", "it was cut in ***");
	says(&t, "{page}", "{page}");
}

static void of_urls_neither_user_nor_query_is_shown(void **state)
{
	const struct things none = {0};

	(void)state;
	says(&none, "GET http://a:b@host:80/x?y=z: it is down", "GET http://***@host:80/x?*** it is down");
	says(&none, "\"postgresql://u@h/d\", really?", "\"postgresql://*@h/d\", really?");
	says(&none, "http://host/a?... was answered, why?", "http://host/a?... was answered, why?");
	says(&none, "http://host/a@b", "http://host/a@b");
	says(&none, "http://", "http://");
	says(&none, "http://h?", "http://h?");
	says(&none, "", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(secrets_of_settings_are_hidden_in_every_form),
		cmocka_unit_test(of_urls_neither_user_nor_query_is_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
