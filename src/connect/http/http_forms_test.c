/* SPDX-License-Identifier: Apache-2.0 */
/* What a body may be: JSON, lines, CSV and others, and what is not there in it. */
#include "connect/http/http_world_test.h"

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
	else if (strstr(path, "/latin"))
		answer(out, 200, "",
		       "{\"rows\":[{\"id\":1,\"t\":\"\xc3\xa9\"},{\"id\":2,\"t\":\"\xe9\xff\"},{\"id\":3}],\"next\":null}");
	else if (strstr(path, "/cursor"))
		answer(out, 200, "", "{\"rows\":[{\"id\":1}],\"next\":\"\xe9\"}");
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

static void bytes_that_are_no_text_cost_their_record_alone(void **state)
{
	(void)state;
	open_source("url: $/latin\nrecords: /rows\nid: '{/id}'\n", forms);
	assert_int_equal(source_test_plan(&t), SOURCE_IDLE);
	while (source_test_pull(&t, t.parts[0]->name, 1) == SOURCE_MORE)
		; /* little of the page at a time */
	assert_int_equal(t.record_count, 2);
	assert_string_equal(source_test_value(&t, 0), "{\"id\":1,\"t\":\"\xc3\xa9\"}");
	assert_string_equal(source_test_value(&t, 1), "{\"id\":3}");
	assert_int_equal(t.dead_count, 1);
	assert_int_equal(t.deads[0].err, ERR_BAD_JSON);
	assert_true(slice_eq_str(t.deads[0].bytes, "{\"id\":2,\"t\":\"\xe9\xff\"}"));
	assert_non_null(strstr((const char *)t.deads[0].path.ptr, "/latin, /rows/1"));
	source_test_close(&t);
	/* Where they may say what is next nothing is guessed. */
	open_source("url: $/cursor?c={cursor}\nrecords: /rows\nid: '{/id}'\n"
		    "paging: {style: cursor, pointer: /next}\n",
		    forms);
	run_fails("the answer is no JSON, at byte 28: the bytes are not UTF-8");
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(lines_are_records_and_bad_ones_are_set_aside),
		CASE(rows_of_csv_are_objects_and_bad_ones_are_set_aside),
		CASE(a_page_of_csv_goes_on_where_it_was),
		CASE(other_forms),
		CASE(bytes_that_are_no_text_cost_their_record_alone),
		CASE(what_is_not_there_is_told),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
