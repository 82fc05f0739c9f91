/* SPDX-License-Identifier: Apache-2.0 */
/* How pages lead on: numbers, offsets, cursors, URLs; and pages that go round. */
#include "connect/http/http_world_test.h"

static void by_page(const char *path, const char *head, struct buf *out)
{
	long page = number_of(path, "page="), size = number_of(path, "size="), from = (page - 1) * size;
	struct buf body;

	(void)head;
	if (refuses(out))
		return;
	buf_init(&body, 1u << 20);
	(void)buf_append_str(&body, "{\"data\":{\"items\":");
	items(&body, from, from + size < api.total ? from + size : from > api.total ? from : api.total);
	(void)buf_append(&body, "}}", 3);
	answer(out, 200, "", (const char *)body.ptr);
	buf_fini(&body);
}

static const char page_yaml[] = "url: $/list?page={page}&size={limit}\nrecords: /data/items\nkey: '{/id}'\n"
				"id: '{/id}'\npaging: {style: page, size: 10}\n";

static void pages_are_counted(void **state)
{
	(void)state;
	api.total = 25;
	api.fails = 0;
	open_source(page_yaml, by_page);
	run();
	expect_ids(0, 25);
	assert_int_equal(t.requests, 3);
	assert_string_equal(source_test_value(&t, 0), "{\"id\":0,\"name\":\"item \\u00e9 0\"}");
	assert_true(slice_eq_str(t.records[7].idempotency_key, "7"));
	source_test_close(&t);
}

static void offsets_are_counted(void **state)
{
	(void)state;
	api.total = 30;
	open_source(
		"url: $/list?page=1&offset={offset}&size={limit}\nrecords: /data/items\nkey: '{/id}'\nid: '{/id}'\n"
		"paging: {style: offset, size: 50}\n",
		by_page);
	run();
	expect_ids(0, 30);
	source_test_close(&t);
}

/* A refusal in the middle, then a crash, at every request: nothing is lost and nothing twice. */
static void a_run_goes_on_where_it_was(void **state)
{
	(void)state;
	api.total = 95;
	api.fails = 3;
	api.count = 0;
	open_source(page_yaml, by_page);
	for (int i = 0; i < 100 && source_test_run(&t) == SOURCE_FAILED; i++) {
		assert_int_equal(t.failure, SOURCE_TRANSIENT);
		assert_int_equal(t.not_before_ms, 2000);
		assert_non_null(strstr(t.fault.text, "was answered with status 503: later"));
		source_test_crash(&t);
	}
	expect_ids(0, 95);
	api.fails = 0;
	source_test_close(&t);
}

static void by_cursor(const char *path, const char *head, struct buf *out)
{
	long after = number_of(path, "after=");
	long from = after < 0 ? 0 : after, to = from + 10 < api.total ? from + 10 : api.total;
	struct buf body;

	(void)head;
	assert_null(strstr(path, "after=&"));
	assert_true(strlen(path) > 0 && path[strlen(path) - 1] != '=');
	buf_init(&body, 1u << 20);
	(void)buf_append_str(&body, "{\"items\":");
	items(&body, from, to);
	if (to < api.total || strstr(path, "feed"))
		(void)buf_appendf(&body, ",\"next\":\"%ld\"", to);
	(void)buf_append(&body, "}", 2);
	answer(out, 200, "", (const char *)body.ptr);
	buf_fini(&body);
}

static void cursors_lead_on(void **state)
{
	(void)state;
	api.total = 35;
	open_source("url: $/list?a=1&after={cursor}\nrecords: /items\nkey: '{/id}'\nid: '{/id}'\n"
		    "paging: {style: cursor, pointer: /next}\n",
		    by_cursor);
	run();
	expect_ids(0, 35);
	assert_int_equal(t.requests, 4);
	source_test_close(&t);
}

static void a_feed_goes_on_in_the_next_run(void **state)
{
	(void)state;
	api.total = 35;
	open_source("url: $/feed?after={cursor}&a=1\nrecords: /items\nkey: '{/id}'\n"
		    "paging: {style: cursor, pointer: /next, resume: true}\n",
		    by_cursor);
	run();
	expect_ids(0, 35);
	run();
	expect_ids(0, 35);
	api.total = 58;
	source_test_crash(&t);
	run();
	expect_ids(0, 58);
	source_test_close(&t);
}

static void by_url(const char *path, const char *head, struct buf *out)
{
	long from = number_of(path, "from="), to = from + 10 < api.total ? from + 10 : api.total;
	struct buf body;
	char link[200] = "";

	(void)head;
	buf_init(&body, 1u << 20);
	if (strstr(path, "/link"))
		(void)snprintf(
			link, sizeof(link),
			"Link: </first>; rel=\"first prev\", <link?from=%ld&x=a,b>; title=\"a, b\"; rel=next\r\n",
			to);
	if (to >= api.total)
		link[0] = '\0';
	(void)buf_append_str(&body, "{\"items\":");
	items(&body, from, to);
	(void)buf_appendf(&body, ",\"next\":");
	if (to < api.total)
		(void)buf_appendf(&body, "\"%s?from=%ld\"}",
				  strstr(path, "/away") ? "http://localhost:1/" : "", to);
	else
		(void)buf_append_str(&body, "null}");
	(void)buf_append_byte(&body, 0);
	answer(out, 200, link, (const char *)body.ptr);
	buf_fini(&body);
}

static void urls_lead_on(void **state)
{
	(void)state;
	api.total = 35;
	open_source("url: $/next?from=0\nrecords: /items\nkey: '{/id}'\nid: '{/id}'\n"
		    "paging: {style: next, pointer: /next}\n",
		    by_url);
	run();
	expect_ids(0, 35);
	source_test_close(&t);
	open_source("url: $/link?from=0\nrecords: /items\nkey: '{/id}'\nid: '{/id}'\npaging: {style: link}\n",
		    by_url);
	run();
	expect_ids(0, 35);
	source_test_close(&t);
	open_source("url: $/away?from=0\nrecords: /items\nkey: '{/id}'\nid: '{/id}'\n"
		    "paging: {style: next, pointer: /next}\n",
		    by_url);
	run_fails("which is of another origin");
	assert_int_equal(t.failure, SOURCE_FINAL);
	source_test_close(&t);
}

static void round_and_round(const char *path, const char *head, struct buf *out)
{
	(void)head;
	if (strstr(path, "/same"))
		answer(out, 200, "", "[{\"id\":1},{\"id\":2}]");
	else if (strstr(path, "at=b"))
		answer(out, 200, "", "{\"items\":[1],\"next\":\"?at=a\"}");
	else
		answer(out, 200, "", "{\"items\":[2],\"next\":\"?at=b\"}");
}

static void pages_that_repeat_are_told(void **state)
{
	(void)state;
	open_source("url: $/same?page={page}\nid: '{/id}'\npaging: {style: page}\n", round_and_round);
	/* Whatever happens in between, and without keys: nothing is stored again. */
	for (int i = 0; i < 4; i++) {
		run_fails("page 2 of this run is the same as the one before it");
		assert_int_equal(t.failure, SOURCE_FINAL);
		assert_int_equal(t.record_count, 2);
		if (i % 2)
			source_test_crash(&t);
	}
	source_test_close(&t);
	open_source("url: $/list?at=a\nrecords: /items\nid: '{}'\npaging: {style: next, pointer: /next}\n",
		    round_and_round);
	for (int i = 0; i < 4; i++) {
		run_fails("the pages go round");
		assert_int_equal(t.record_count, 2);
		if (i % 2)
			source_test_crash(&t);
	}
	source_test_close(&t);
}

static const char *feed_items;

static void repeats_its_last_page(const char *path, const char *head, struct buf *out)
{
	char text[100];

	(void)path;
	(void)head;
	(void)snprintf(text, sizeof(text), "{\"items\":%s,\"cursor\":\"abc\"}", feed_items);
	answer(out, 200, "", text);
}

/* The feed has no more: it says its last page again, and goes on one day. */
static void a_feed_may_repeat_its_last_page(void **state)
{
	(void)state;
	feed_items = "[1,2]";
	open_source(
		"url: $/feed?at={cursor}\nrecords: /items\npaging: {style: cursor, pointer: /cursor, resume: true}\n",
		repeats_its_last_page);
	for (int i = 0; i < 4; i++) {
		run();
		assert_int_equal(t.record_count, 2);
		if (i % 2)
			source_test_crash(&t);
	}
	feed_items = "[3]";
	run();
	run();
	assert_int_equal(t.record_count, 3);
	source_test_close(&t);
}

static void a_long_page_is_stored_in_pieces(void **state)
{
	enum source_end end = SOURCE_MORE;

	(void)state;
	api.total = 100;
	open_source("url: $/list?page={page}&size={limit}\nrecords: /data/items\nkey: '{/id}'\nid: '{/id}'\n"
		    "paging: {style: page, size: 60}\n",
		    by_page);
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	for (int i = 0; i < 100 && end == SOURCE_MORE; i++) {
		end = source_test_pull(&t, "", 7);
		if (i % 3 == 1)
			source_test_crash(&t);
	}
	assert_int_equal(end, SOURCE_IDLE);
	expect_ids(0, 100);
	source_test_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(pages_are_counted),
		CASE(offsets_are_counted),
		CASE(a_run_goes_on_where_it_was),
		CASE(cursors_lead_on),
		CASE(a_feed_goes_on_in_the_next_run),
		CASE(urls_lead_on),
		CASE(pages_that_repeat_are_told),
		CASE(a_feed_may_repeat_its_last_page),
		CASE(a_long_page_is_stored_in_pieces),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
