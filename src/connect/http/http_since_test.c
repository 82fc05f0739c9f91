/* SPDX-License-Identifier: Apache-2.0 */
/* Where the next run begins: a page that changed, the greatest value, windows, what is unchanged. */
#include "connect/http/http_world_test.h"

static long first_id;

static void one_page(const char *path, const char *head, struct buf *out)
{
	struct buf body;

	(void)path;
	(void)head;
	buf_init(&body, 1u << 20);
	items(&body, first_id, 20);
	(void)buf_append_byte(&body, 0);
	answer(out, 200, "", (const char *)body.ptr);
	buf_fini(&body);
}

static void a_page_that_changed_is_read_from_its_beginning(void **state)
{
	(void)state;
	first_id = 0;
	open_source("url: $/list\nkey: '{/id}'\nid: '{/id}'\n", one_page);
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	assert_int_equal(source_test_pull(&t, "", 5), SOURCE_MORE);
	source_test_crash(&t);
	first_id = 3;
	assert_int_equal(source_test_pull(&t, "", 100), SOURCE_IDLE);
	assert_int_equal(t.record_count, 5 + 17); /* idempotency keys keep out the two that came before */
	assert_true(key_is(5, "3"));
	assert_int_equal(t.warning_count, 1);
	source_test_close(&t);
	first_id = 0;
	open_source("url: $/list\nkey: '{/id}'\nid: '{/id}'\n", one_page);
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	assert_int_equal(source_test_pull(&t, "", 15), SOURCE_MORE);
	source_test_crash(&t);
	first_id = 18; /* fewer than were stored */
	assert_int_equal(source_test_pull(&t, "", 100), SOURCE_IDLE);
	assert_int_equal(t.record_count, 15 + 2);
	source_test_close(&t);
}

static void since_last(const char *path, const char *head, struct buf *out)
{
	long since = number_of(path, "since=");
	struct buf body;

	(void)head;
	buf_init(&body, 1u << 20);
	items(&body, since < 0 ? 0 : since + 1, api.total);
	(void)buf_append_byte(&body, 0);
	answer(out, 200, "", (const char *)body.ptr);
	buf_fini(&body);
}

static void the_greatest_value_is_where_the_next_run_begins(void **state)
{
	(void)state;
	api.total = 9;
	open_source("url: $/list?since={last}\nkey: '{/id}'\nlast: /id\n", since_last);
	run();
	expect_ids(0, 9);
	api.total = 12; /* 9, 10, 11: numbers, not texts */
	source_test_crash(&t);
	run();
	expect_ids(0, 12);
	run();
	expect_ids(0, 12);
	source_test_close(&t);
}

static char window[2][64];

static void in_window(const char *path, const char *head, struct buf *out)
{
	const char *from = strstr(path, "from=") + 5, *to = strstr(path, "to=") + 3;

	(void)head;
	(void)snprintf(window[0], sizeof(window[0]), "%.*s", (int)strcspn(from, "&"), from);
	(void)snprintf(window[1], sizeof(window[1]), "%s", to);
	api.count++;
	answer(out, 200, "", "[{\"id\":1}]");
}

static void windows_follow_each_other(void **state)
{
	char before[64];

	(void)state;
	api.count = 0;
	open_source("url: $/list?from={from}&to={to:ms}\nid: '{/id}'\nskip_unchanged: false\n"
		    "window: {from: '2026-01-01T00:00:00Z', overlap: 1s}\n",
		    in_window);
	run();
	assert_string_equal(window[0], "2025-12-31T23%3A59%3A59.000Z");
	(void)snprintf(before, sizeof(before), "%s", window[1]);
	source_test_close(&t);
	open_source("url: $/list?from={from:ms}&to={to:ms}\nid: '{/id}'\nskip_unchanged: false\n"
		    "window: {from: '2026-01-01T00:00:00Z', lag: 1h}\n",
		    in_window);
	run();
	assert_string_equal(window[0], "1767225600000");
	assert_true(strcmp(window[1], before) < 0);
	(void)snprintf(before, sizeof(before), "%s", window[1]);
	source_test_crash(&t);
	run();
	assert_string_equal(window[0], before);
	source_test_close(&t);
}

static void a_run_over_a_window_ends(void **state)
{
	(void)state;
	api.count = 0;
	source_test_setup(&t);
	atomic_store(&web_respond, in_window);
	t.with_window = true;
	t.window = (struct source_window){.from = SLICE_LIT("x"),
					  .to = SLICE_LIT("y"),
					  .from_ms = 1000000,
					  .to_ms = 4500000};
	assert_int_equal(source_test_try(&t, &source_http,
					 settings("url: $/list?from={from:ms}&to={to:ms}\nid: '{/id}'\n"
						  "skip_unchanged: false\n"
						  "window: {from: '2026-01-01T00:00:00Z', max: 1000s}\n")),
			 0);
	run();
	assert_int_equal(api.count, 4);
	assert_string_equal(window[0], "4000000");
	assert_string_equal(window[1], "4500000");
	assert_true(t.parts[0]->done);
	source_test_close(&t);
}

static void with_etag(const char *path, const char *head, struct buf *out)
{
	if (strstr(path, "/plain"))
		answer(out, 200, "", "[{\"id\":1}]");
	else if (strstr(head, "If-None-Match: \"v1\"") &&
		 strstr(head, "If-Modified-Since: Sat, 21 Nov 2026 10:00:00 GMT"))
		answer(out, 304, "", "");
	else
		answer(out, 200, "ETag: \"v1\"\r\nLast-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n",
		       "[{\"id\":1}]");
}

static void what_is_unchanged_is_not_read_again(void **state)
{
	(void)state;
	for (int plain = 0; plain < 2; plain++) {
		open_source(plain ? "url: $/plain\nid: '{/id}'\n" : "url: $/etag\nid: '{/id}'\n", with_etag);
		run();
		assert_int_equal(t.record_count, 1);
		assert_false(t.batch.unchanged);
		source_test_crash(&t);
		run();
		assert_int_equal(t.record_count, 1);
		assert_true(t.batch.unchanged);
		source_test_close(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_page_that_changed_is_read_from_its_beginning),
		CASE(the_greatest_value_is_where_the_next_run_begins),
		CASE(windows_follow_each_other),
		CASE(a_run_over_a_window_ends),
		CASE(what_is_unchanged_is_not_read_again),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
