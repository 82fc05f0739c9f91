/* SPDX-License-Identifier: Apache-2.0 */
/* The type against a server that each test tells what to answer. */
#include "net/web_test.h"

#include <signal.h>
#include <stdio.h>

#include "connect/source_test.h"

#include "connect/http/http.h"

/* ---- the server ---- */

typedef void respond_fn(const char *path, const char *head, struct buf *out);

static bool give(int fd, const char *path, const char *head);

static struct web_test web = {.answer = give};
static _Atomic int web_requests;
static _Atomic(respond_fn *) web_respond;
static pthread_mutex_t web_lock =
	PTHREAD_MUTEX_INITIALIZER; /* one request at a time, so that respond may count */

static void answer(struct buf *out, int status, const char *fields, const char *body)
{
	(void)buf_appendf(out, "HTTP/1.1 %d Told\r\n%sContent-Length: %zu\r\n\r\n%s", status, fields,
			  strlen(body), body);
}

/* Nothing to say closes the connection. */
static bool give(int fd, const char *path, const char *head)
{
	struct buf out;
	bool ok;

	buf_init(&out, 64u << 20);
	(void)pthread_mutex_lock(&web_lock);
	atomic_fetch_add(&web_requests, 1);
	atomic_load (&web_respond)(path, head, &out);
	(void)pthread_mutex_unlock(&web_lock);
	ok = out.len > 0 && web_test_put(fd, out.ptr, out.len);
	buf_fini(&out);
	return ok;
}

static int setup(void **state)
{
	(void)state;
	atomic_store(&web_requests, 0);
	web_test_start(&web);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	web_test_stop(&web);
	return 0;
}

/* ---- opening ---- */

static struct source_test t;

/* Replaces every URL of the settings: $ is http://127.0.0.1:PORT. */
static const char *settings(const char *yaml)
{
	static char text[8192];
	size_t n = 0;

	for (; *yaml; yaml++)
		if (*yaml == '$')
			n += (size_t)snprintf(text + n, sizeof(text) - n, "http://127.0.0.1:%u", web.port);
		else
			text[n++] = *yaml;
	text[n] = '\0';
	return text;
}

static void open_source(const char *yaml, respond_fn *respond)
{
	atomic_store(&web_respond, respond);
	source_test_open(&t, &source_http, settings(yaml));
}

static void run(void)
{
	if (source_test_run(&t) == SOURCE_FAILED)
		fail_msg("%s", t.fault.text);
}

static void run_fails(const char *text)
{
	assert_int_equal(source_test_run(&t), SOURCE_FAILED);
	if (!strstr(t.fault.text, text))
		fail_msg("'%s' has not '%s'", t.fault.text, text);
}

static bool key_is(uint32_t i, const char *text)
{
	return i < t.record_count && strcmp(source_test_key(&t, i), text) == 0;
}

/* The number behind `name=` in a path; -1 where there is none. */
static long number_of(const char *path, const char *name)
{
	const char *at = strstr(path, name);

	return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

/* Items [from, to) as {"id":n,…}. */
static void items(struct buf *out, long from, long to)
{
	(void)buf_append_byte(out, '[');
	for (long i = from; i < to; i++)
		(void)buf_appendf(out, "%s{\"id\":%ld,\"name\":\"item \\u00e9 %ld\"}", i > from ? "," : "", i,
				  i);
	(void)buf_append_byte(out, ']');
}

static void expect_ids(long from, long to)
{
	char text[30];

	assert_int_equal(t.record_count, to - from);
	for (long i = from; i < to; i++) {
		(void)snprintf(text, sizeof(text), "%ld", i);
		if (!key_is((uint32_t)(i - from), text))
			fail_msg("record %ld has the key %s", i - from,
				 source_test_key(&t, (uint32_t)(i - from)));
	}
}

static struct {
	long total; /* items that the server has */
	long fails; /* every so many requests, one is refused */
	long count;
	char head[16384];
} api;

static bool refuses(struct buf *out)
{
	if (!api.fails || ++api.count % api.fails)
		return false;
	answer(out, 503, "Retry-After: 2\r\n", "later");
	return true;
}

/* ---- pages ---- */

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

/* ---- a page that is larger than the credit ---- */

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

/* ---- what is new ---- */

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

/* ---- forms of answers ---- */

static void forms(const char *path, const char *head, struct buf *out)
{
	(void)head;
	if (strstr(path, "/lines"))
		answer(out, 200, "",
		       "{\"id\":1}\r\n\n{\"id\":2}\n{\"id\":3,}\n{\"id\":4}\n{\"no\":5}\n{\"id\":6}");
	else if (strstr(path, "/rows"))
		answer(out, 200, "",
		       "\xef\xbb\xbfid,name,price\r\n1,\"a \"\"b\"\", c\",1.50\r\n2,plain,\r\n3,\"stray\" quote,2\r\n4,short\r\n5,last,1e3");
	else if (strstr(path, "/whole"))
		answer(out, 200, "", "any text\nat all");
	else if (strstr(path, "/one"))
		answer(out, 200, "", "\xef\xbb\xbf {\"id\":1,\"deep\":{\"x\":null}} ");
	else if (strstr(path, "/html"))
		answer(out, 200, "", "<html>\"Please log in\"</html>");
	else if (strstr(path, "/empty"))
		answer(out, 204, "", "");
	else if (strstr(path, "/null"))
		answer(out, 200, "", "{\"data\":null}");
	else
		answer(out, 200, "", "{\"data\":{\"rows\":[],\"next\":1}}");
}

static void lines_are_records_and_bad_ones_are_set_aside(void **state)
{
	(void)state;
	open_source("url: $/lines\nformat: ndjson\nkey: '{/id}'\nid: 'n-{/id}'\n", forms);
	run();
	assert_int_equal(t.record_count, 4);
	assert_true(key_is(0, "1") && key_is(1, "2") && key_is(2, "4") && key_is(3, "6"));
	assert_true(slice_eq_str(t.records[2].idempotency_key, "n-4"));
	assert_int_equal(t.dead_count, 2);
	assert_true(slice_eq_str(t.deads[0].bytes, "{\"id\":3,}"));
	assert_int_equal(t.deads[0].err, ERR_BAD_JSON);
	assert_non_null(strstr((const char *)t.deads[0].path.ptr, "/lines, line 4"));
	assert_int_equal(t.deads[1].err, ERR_BAD_RECORD);
	assert_string_equal(t.deads[1].text, "key: '/id' finds nothing in the record");
	source_test_close(&t);
}

static void rows_of_csv_are_objects_and_bad_ones_are_set_aside(void **state)
{
	(void)state;
	open_source("url: $/rows\nformat: csv\nkey: '{/id}'\nid: 'r-{/id}'\n", forms);
	run();
	assert_int_equal(t.record_count, 3);
	assert_true(key_is(0, "1") && key_is(1, "2") && key_is(2, "5"));
	assert_string_equal(source_test_value(&t, 0),
			    "{\"id\":1,\"name\":\"a \\\"b\\\", c\",\"price\":1.50}");
	assert_string_equal(source_test_value(&t, 1), "{\"id\":2,\"name\":\"plain\",\"price\":null}");
	assert_true(slice_eq_str(t.records[2].idempotency_key, "r-5"));
	assert_int_equal(t.dead_count, 2);
	assert_int_equal(t.deads[0].err, ERR_BAD_RECORD);
	assert_true(slice_eq_str(t.deads[0].bytes, "3,\"stray\" quote,2"));
	assert_non_null(strstr((const char *)t.deads[0].path.ptr, "/rows, line 4"));
	assert_non_null(strstr(t.deads[0].text, "quote"));
	assert_string_equal(t.deads[1].text, "the row has 2 fields, the header 3");
	source_test_close(&t);
}

static void a_page_of_csv_goes_on_where_it_was(void **state)
{
	enum source_end end = SOURCE_MORE;
	uint32_t pulls = 0;

	(void)state;
	open_source("url: $/rows\nformat: csv\nid: '{/id}'\ncsv: { types: text, columns: ['price:number'] }\n",
		    forms);
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	while (end == SOURCE_MORE) {
		end = source_test_pull(&t, "", 1);
		if (pulls++ == 1) /* it is asked for again, and two rows are passed over */
			source_test_crash(&t);
	}
	assert_int_equal(end, SOURCE_IDLE);
	assert_true(pulls >= 3);
	assert_int_equal(t.record_count, 3);
	assert_string_equal(source_test_value(&t, 2), "{\"id\":\"5\",\"name\":\"last\",\"price\":1e3}");
	source_test_close(&t);
	open_source(
		"url: $/rows\nformat: csv\nid: '{/a}'\ncsv: { header: false, columns: ['a:text', 'b:infer', 'c:infer'] }\n",
		forms);
	run();
	assert_int_equal(t.record_count, 4);
	assert_string_equal(source_test_value(&t, 0), "{\"a\":\"id\",\"b\":\"name\",\"c\":\"price\"}");
	source_test_close(&t);
}

static void other_forms(void **state)
{
	(void)state;
	open_source("url: $/whole\nformat: whole\n", forms);
	run();
	assert_int_equal(t.record_count, 1);
	assert_string_equal(source_test_value(&t, 0), "any text\nat all");
	source_test_close(&t);
	open_source("url: $/one\nkey: '{/id}'\nid: '{/id}'\n", forms);
	run();
	assert_int_equal(t.record_count, 1);
	assert_string_equal(source_test_value(&t, 0), "{\"id\":1,\"deep\":{\"x\":null}}");
	source_test_close(&t);
	open_source("url: $/empty\nid: '{/id}'\nrecords: /data\n", forms);
	run();
	assert_int_equal(t.record_count, 0);
	source_test_close(&t);
	open_source("url: $/null\nid: '{/id}'\nrecords: /data\n", forms);
	run();
	assert_int_equal(t.record_count, 0);
	source_test_close(&t);
}

static void what_is_not_there_is_told(void **state)
{
	(void)state;
	open_source("url: $/list?token=hidden\nid: '{/id}'\nrecords: /data/items\n", forms);
	run_fails(
		"/list?...: records: '/data/items' finds nothing: at '/data' is an object with rows, next; no 'items'");
	assert_non_null(strstr(t.fault.text, "source test: GET http://127.0.0.1:"));
	assert_null(strstr(t.fault.text, "hidden"));
	assert_int_equal(t.failure, SOURCE_FINAL);
	source_test_close(&t);
	open_source("url: $/html\nid: '{/id}'\n", forms);
	run_fails("the answer is no JSON, at byte 1: ");
	assert_non_null(strstr(t.fault.text, "it begins with \"<html>\\\"Please log in\\\"</html>\""));
	source_test_close(&t);
}

/* ---- several URLs, templates, who asks ---- */

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
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
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
		CASE(a_page_that_changed_is_read_from_its_beginning),
		CASE(the_greatest_value_is_where_the_next_run_begins),
		CASE(windows_follow_each_other),
		CASE(a_run_over_a_window_ends),
		CASE(what_is_unchanged_is_not_read_again),
		CASE(lines_are_records_and_bad_ones_are_set_aside),
		CASE(rows_of_csv_are_objects_and_bad_ones_are_set_aside),
		CASE(a_page_of_csv_goes_on_where_it_was),
		CASE(other_forms),
		CASE(what_is_not_there_is_told),
		CASE(urls_and_values_are_parts),
		CASE(bodies_are_templates),
		CASE(credentials_are_sent),
		CASE(tokens_are_asked_for_once_and_again),
		CASE(refusals_are_sorted),
		CASE(the_inside_is_not_for_sources_of_the_api),
		CASE(wrong_settings_are_told),
		CASE(a_pull_that_hangs_is_given_up),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
