/* SPDX-License-Identifier: Apache-2.0 */
#include "json/ndjson.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void gives_one_document_a_line(void **state)
{
	struct slice body = SLICE_LIT("{\"a\":1}\r\n\n  \t\r\n [2] \n\"x\"\n3");
	static const char *const docs[] = {"{\"a\":1}", "[2]", "\"x\"", "3"};
	static const uint64_t lines[] = {1, 4, 5, 6};
	struct json_error e;
	struct ndjson n;
	struct slice doc;

	(void)state;
	ndjson_init(&n, body);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(ndjson_next(&n, &doc, &e), 1);
		assert_true(slice_eq_str(doc, docs[i]));
		assert_int_equal(n.line, lines[i]);
	}
	assert_int_equal(ndjson_next(&n, &doc, &e), 0);
	assert_int_equal(ndjson_next(&n, &doc, &e), 0);
}

static void goes_on_behind_a_bad_line(void **state)
{
	struct slice body = SLICE_LIT("1\n{\"a\":\n}\n2 3\n4\n");
	struct json_error e;
	struct ndjson n;
	struct slice doc;

	(void)state;
	ndjson_init(&n, body);
	assert_int_equal(ndjson_next(&n, &doc, &e), 1);
	assert_int_equal(ndjson_next(&n, &doc, &e), ERR_BAD_JSON);
	assert_true(slice_eq_str(doc, "{\"a\":") && e.at == 5 && n.line == 2);
	assert_int_equal(ndjson_next(&n, &doc, &e), ERR_BAD_JSON);
	assert_true(slice_eq_str(doc, "}") && e.at == 0);
	assert_int_equal(ndjson_next(&n, &doc, &e), ERR_BAD_JSON);
	assert_true(e.at == 2 && n.line == 4);
	assert_int_equal(ndjson_next(&n, &doc, &e), 1);
	assert_true(slice_eq_str(doc, "4"));
	assert_int_equal(ndjson_next(&n, &doc, &e), 0);
}

/* One bad byte late in the body must cost its own line alone. */
static void one_line_of_bad_utf8_spoils_no_other(void **state)
{
	struct slice body = SLICE_LIT("\"caf\xc3\xa9\"\n\"\xff\"\n\"\xe2\x82\xac\"\n\"\xe2\x82\"\n\"ok\"\n");
	static const int want[] = {1, ERR_BAD_JSON, 1, ERR_BAD_JSON, 1};
	struct json_error e;
	struct ndjson n;
	struct slice doc;

	(void)state;
	ndjson_init(&n, body);
	for (int i = 0; i < 5; i++)
		assert_int_equal(ndjson_next(&n, &doc, &e), want[i]);
	assert_int_equal(ndjson_next(&n, &doc, &e), 0);
}

static void an_empty_body_has_no_documents(void **state)
{
	struct json_error e;
	struct ndjson n;
	struct slice doc;

	(void)state;
	ndjson_init(&n, slice_null());
	assert_int_equal(ndjson_next(&n, &doc, &e), 0);
	ndjson_init(&n, SLICE_LIT("\n\r\n \n"));
	assert_int_equal(ndjson_next(&n, &doc, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_one_document_a_line),
		cmocka_unit_test(goes_on_behind_a_bad_line),
		cmocka_unit_test(one_line_of_bad_utf8_spoils_no_other),
		cmocka_unit_test(an_empty_body_has_no_documents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
