/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked, with which credentials, and what is refused. */
#include "connect/http/http_world_test.h"

static void keep_head(const char *path, const char *head, struct buf *out)
{
	(void)snprintf(api.head, sizeof(api.head), "%s", head);
	if (strstr(path, "/token")) {
		api.count++;
		answer(out, 200, "",
		       "{\"access_token\":\"tok-\\u0031\",\"token_type\":\"bearer\",\"expires_in\":3600}");
	} else if (strstr(path, "/revoked") && api.count == 1) {
		answer(out, 401, "", "expired");
	} else {
		answer(out, 200, "RateLimit: \"a\";r=5;t=60, \"b\";r=2;t=10\r\n", "[{\"id\":\"x\"}]");
	}
}

static bool sent(const char *text)
{
	return strstr(api.head, text) != NULL;
}

static void urls_and_values_are_parts(void **state)
{
	(void)state;
	open_source(
		"url: $/of/{value}/list?v={value}\nvalues: [a, 'b c/d']\nkey: '{value}-{/id}'\nid: '{/id}'\n",
		keep_head);
	run();
	assert_int_equal(t.part_count, 2);
	assert_int_equal(t.record_count, 2);
	assert_true(key_is(0, "a-x") && key_is(1, "b c/d-x"));
	assert_true(sent("GET /of/b%20c%2Fd/list?v=b%20c%2Fd HTTP/1.1"));
	source_test_close(&t);
	open_source("urls: [$/a, $/b]\nid: '{/id}'\n", keep_head);
	run();
	assert_int_equal(t.part_count, 2);
	assert_int_equal(t.record_count, 2);
	assert_int_equal(t.batch.call.quota_left, 2);
	assert_int_equal(t.batch.call.quota_reset_ms, 10000);
	source_test_close(&t);
}

static void bodies_are_templates(void **state)
{
	(void)state;
	open_source(
		"url: $/search\nmethod: POST\nheaders: {X-Since: '{last}'}\nlast: /id\nlast_initial: 'a\"b'\n"
		"body: '{\"query\":{\"since\":\"{last}\",\"n\":{limit}}}'\npaging: {size: 5}\nid: '{/id}'\n",
		keep_head);
	run();
	assert_true(sent("POST /search HTTP/1.1"));
	assert_true(sent("\r\nX-Since: a\"b\r\n"));
	assert_true(sent("\r\nContent-Type: application/json\r\n"));
	assert_true(sent("\r\n\r\n{\"query\":{\"since\":\"a\\\"b\",\"n\":5}}"));
	run();
	assert_true(sent("\"since\":\"x\""));
	source_test_close(&t);
}

static void credentials_are_sent(void **state)
{
	(void)state;
	open_source("url: $/a\nid: '{/id}'\nauth: {type: basic, user: u, password: secret}\n", keep_head);
	run();
	assert_true(sent("\r\nAuthorization: Basic dTpzZWNyZXQ=\r\n"));
	source_test_close(&t);
	open_source("url: $/a\nid: '{/id}'\nauth: {type: bearer, token: secret}\n", keep_head);
	run();
	assert_true(sent("\r\nAuthorization: Bearer secret\r\n"));
	source_test_close(&t);
	open_source("url: $/a\nid: '{/id}'\nauth: {type: header, name: X-Api-Key, token: secret}\n",
		    keep_head);
	run();
	assert_true(sent("\r\nX-Api-Key: secret\r\n"));
	source_test_close(&t);
	open_source("url: $/a?b=c\nid: '{/id}'\nauth: {type: query, name: key, token: secret}\n", keep_head);
	run();
	assert_true(sent("GET /a?b=c&key=secret HTTP/1.1"));
	source_test_close(&t);
}

static void tokens_are_asked_for_once_and_again(void **state)
{
	(void)state;
	api.count = 0;
	open_source(
		"url: $/a/{value}\nvalues: [a, b, c]\nid: '{/id}'\n"
		"auth: {type: oauth2, token_url: $/token, client_id: me, client_secret: hush, scope: 'read all'}\n",
		keep_head);
	run();
	run();
	assert_int_equal(api.count, 1);
	assert_true(sent("\r\nAuthorization: Bearer tok-1\r\n"));
	source_test_close(&t);
	api.count = 0;
	open_source("url: $/revoked\nid: '{/id}'\n"
		    "auth: {type: oauth2, token_url: $/token, client_id: me, client_secret: hush}\n",
		    keep_head);
	run_fails("status 401");
	assert_int_equal(t.failure, SOURCE_TRANSIENT);
	run();
	assert_int_equal(api.count, 2);
	source_test_close(&t);
}

static void refusals(const char *path, const char *head, struct buf *out)
{
	(void)head;
	answer(out, (int)number_of(path, "s="), "X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 30\r\n",
	       "no");
}

static void used_up(const char *path, const char *head, struct buf *out)
{
	(void)path;
	(void)head;
	answer(out, 200, "RateLimit: limit=10, remaining=0, reset=7\r\n", "[{\"id\":\"x\"}]");
}

/* The next request would be refused, however often the schedule asks. */
static void who_has_used_up_a_quota_waits(void **state)
{
	(void)state;
	open_source("url: $/\nid: '{/id}'\n", used_up);
	run();
	assert_int_equal(t.record_count, 1);
	assert_int_equal(t.batch.call.not_before_ms, 7000);
	source_test_close(&t);
}

static void refusals_are_sorted(void **state)
{
	(void)state;
	open_source("url: $/?s=401\nid: '{/id}'\n", refusals);
	run_fails("was answered with status 401: no");
	assert_int_equal(t.failure, SOURCE_FINAL);
	source_test_close(&t);
	open_source("url: $/?s=429\nid: '{/id}'\n", refusals);
	run_fails("429");
	assert_int_equal(t.failure, SOURCE_TRANSIENT);
	assert_int_equal(t.not_before_ms, 30000);
	source_test_close(&t);
}

static void the_inside_is_not_for_sources_of_the_api(void **state)
{
	(void)state;
	source_test_setup(&t);
	atomic_store(&web_respond, keep_head);
	t.guarded = true;
	assert_int_equal(source_test_try(&t, &source_http, settings("url: $/a\nid: '{/id}'\n")), 0);
	run_fails("may not be connected to");
	assert_int_equal(t.failure, SOURCE_FINAL);
	assert_int_equal(atomic_load(&web_requests), 0);
	source_test_close(&t);
	source_test_setup(&t);
	t.guarded = true;
	assert_int_equal(source_test_try(&t, &source_http,
					 settings("url: $/a\nid: '{/id}'\ntls: {ca: /etc/passwd}\n")),
			 -1);
	source_test_close(&t);
}

static void wrong_settings_are_told(void **state)
{
	static const char *const rows[][2] = {
		{"id: '{/id}'\n", "expected url or urls"},
		{"url: ftp://x/\n", "http://"},
		{"url: $/\nurls: [$/]\n", "one of them"},
		{"url: $/\nvalues: [a]\n", "{value}"},
		{"url: $/\nbody: x\n", "needs method: post"},
		{"url: $/\nrecords: items\n", "JSON pointer"},
		{"url: $/\npaging: {style: cursor}\n", "needs paging.pointer"},
		{"url: $/\npaging: {style: page}\n", "needs {page}"},
		{"url: $/\nlast: /id\n", "needs {last}"},
		{"url: $/?a={from}\n", "need window.from"},
		{"url: $/\nauth: {type: basic}\n", "auth.user and auth.password"},
		{"url: $/\nauth: {type: oauth2}\n", "auth.token_url"},
		{"url: $/\nwindow: {from: yesterday}\n", "2026-01-31T00:00:00Z"},
		{"url: $/\nid: x\nurll: x\n", "url"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = source_test_check(&source_http, settings(rows[i][0]));

		if (!strstr(text, rows[i][1]))
			fail_msg("'%s' of '%s' has not '%s'", text, rows[i][0], rows[i][1]);
		free(text);
	}
}

static void stuck(const char *path, const char *head, struct buf *out)
{
	(void)path;
	(void)head;
	while (!atomic_load(&web.stop) && atomic_load(&web_requests) < 100)
		(void)usleep(1000);
	answer(out, 200, "", "[]");
}

static void *cancel_later(void *arg)
{
	while (atomic_load(&web_requests) == 0)
		(void)usleep(1000);
	source_test_cancel(&t, arg);
	return NULL;
}

static void a_pull_that_hangs_is_given_up(void **state)
{
	pthread_t thread;

	(void)state;
	open_source("url: $/a\nid: '{/id}'\n", stuck);
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	assert_int_equal(pthread_create(&thread, NULL, cancel_later, t.parts[0]), 0);
	assert_int_equal(source_test_pull(&t, "", 0), SOURCE_FAILED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	atomic_store(&web.stop, true);
	source_test_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(urls_and_values_are_parts),     CASE(bodies_are_templates),
		CASE(credentials_are_sent),          CASE(tokens_are_asked_for_once_and_again),
		CASE(who_has_used_up_a_quota_waits), CASE(the_inside_is_not_for_sources_of_the_api),
		CASE(refusals_are_sorted),           CASE(the_inside_is_not_for_sources_of_the_api),
		CASE(wrong_settings_are_told),       CASE(a_pull_that_hangs_is_given_up),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
