/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "connect/sql/value.h"
#include "json/json.h"
#include "json/json_write.h"

static struct buf out;

static const char *json_of(enum sql_kind kind, enum sql_kind element, const char *text, bool numbers)
{
	struct sql_column c = {.kind = kind, .element = element, .separator = ','};

	buf_clear(&out);
	assert_int_equal(sql_put_value(&out, kind, &c, slice_str(text), numbers), 0);
	assert_int_equal(json_valid(buf_slice(&out), NULL), 0);
	(void)buf_append_byte(&out, 0);
	return (const char *)out.ptr;
}

static void each_kind_as_json(void **state)
{
	static const struct {
		enum sql_kind kind;
		const char *text, *json;
	} cases[] = {
		{SQL_INTEGER, "-9223372036854775808", "-9223372036854775808"},
		{SQL_INTEGER, "18446744073709551615", "18446744073709551615"},
		{SQL_DECIMAL, "12345678901234567890.1234567890", "\"12345678901234567890.1234567890\""},
		{SQL_DECIMAL, "NaN", "\"NaN\""},
		{SQL_DOUBLE, "1e-07", "1e-07"},
		{SQL_DOUBLE, "Infinity", "\"Infinity\""},
		{SQL_DOUBLE, "-NaN", "\"-NaN\""},
		{SQL_FLOAT, "0.10000000149011612", "0.1"},
		{SQL_FLOAT, "16777216", "16777216"},
		{SQL_BOOL, "t", "true"},
		{SQL_BOOL, "0", "false"},
		{SQL_BYTES, "\x01\xff", "\"Af8=\""},
		{SQL_JSON, "{\"a\": 1}", "{\"a\": 1}"},
		{SQL_MAYBE_JSON, "[1,2]", "[1,2]"},
		{SQL_MAYBE_JSON, "[1,", "\"[1,\""},
		{SQL_TIMESTAMP, "2026-01-31 12:00:00.25+00", "\"2026-01-31T12:00:00.25Z\""},
		{SQL_TIMESTAMP, "2026-01-31 12:00:00", "\"2026-01-31T12:00:00Z\""},
		{SQL_TIMESTAMP, "infinity", "\"infinity\""},
		{SQL_TIMESTAMP, "0044-03-15 00:00:00+00 BC", "\"0044-03-15 00:00:00+00 BC\""},
		{SQL_TIMESTAMP, "0000-00-00 00:00:00", "\"0000-00-00 00:00:00\""},
		{SQL_DATETIME, "2026-01-31 12:00:00.000001", "\"2026-01-31T12:00:00.000001\""},
		{SQL_DATETIME, "2026-00-10 12:00:00", "\"2026-00-10 12:00:00\""},
		{SQL_DATE, "2026-01-31", "\"2026-01-31\""},
		{SQL_TIME, "-838:59:59", "\"-838:59:59\""},
		{SQL_TEXT, "a\"b\n\xc3\xa9", "\"a\\\"b\\n\xc3\xa9\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(json_of(cases[i].kind, SQL_TEXT, cases[i].text, false), cases[i].json);
	assert_string_equal(json_of(SQL_DECIMAL, SQL_TEXT, "-0.50", true), "-0.50");
	assert_string_equal(json_of(SQL_DECIMAL, SQL_TEXT, "Infinity", true), "\"Infinity\"");
}

static void arrays(void **state)
{
	(void)state;
	assert_string_equal(json_of(SQL_ARRAY, SQL_INTEGER, "{1,NULL,-3}", false), "[1,null,-3]");
	assert_string_equal(json_of(SQL_ARRAY, SQL_INTEGER, "{}", false), "[]");
	assert_string_equal(json_of(SQL_ARRAY, SQL_INTEGER, "{{1,2},{3,4}}", false), "[[1,2],[3,4]]");
	assert_string_equal(json_of(SQL_ARRAY, SQL_INTEGER, "[0:1]={1,2}", false), "[1,2]");
	assert_string_equal(json_of(SQL_ARRAY, SQL_TEXT, "{\"a,b\",\"NULL\",NULL,\"q\\\"\\\\\",\"\"}", false),
			    "[\"a,b\",\"NULL\",null,\"q\\\"\\\\\",\"\"]");
	assert_string_equal(json_of(SQL_ARRAY, SQL_BYTES, "{\"\\\\x01ff\"}", false), "[\"Af8=\"]");
	assert_string_equal(json_of(SQL_ARRAY, SQL_TIMESTAMP, "{\"2026-01-31 12:00:00+00\"}", false),
			    "[\"2026-01-31T12:00:00Z\"]");
}

static void what_is_no_value_is_refused(void **state)
{
	struct sql_column c = {.kind = SQL_ARRAY, .element = SQL_INTEGER, .separator = ','};
	static const char *const wrong[] = {"", "{", "{1", "1", "{1}}", "{\"a", "{{{{{{{1}}}}}}}", "{1\\"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		buf_clear(&out);
		assert_int_equal(sql_put_value(&out, SQL_ARRAY, &c, slice_str(wrong[i]), false),
				 ERR_MALFORMED);
	}
	buf_clear(&out);
	assert_int_equal(sql_put_value(&out, SQL_TEXT, &c, slice_str("\xff"), false), ERR_BAD_ENCODING);
	buf_clear(&out);
	assert_int_equal(sql_put_value(&out, SQL_TEXT, &c, slice_null(), false), 0);
	assert_memory_equal(out.ptr, "null", 4);
}

static int set_up(void **state)
{
	(void)state;
	buf_init(&out, 65536);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	buf_fini(&out);
	return 0;
}

/* Whatever byte a text has and wherever it stands, it is written as JSON writes strings. */
static void texts_are_json_whatever_stands_in_them(void **state)
{
	struct sql_column c = {.kind = SQL_TEXT};
	uint8_t text[80];

	(void)state;
	for (uint32_t byte = 0; byte < 0x80; byte++) {
		for (size_t at = 0; at < sizeof(text); at++) {
			struct buf got, want;
			buf_init(&got, 1000);
			buf_init(&want, 1000);
			memset(text, 'a', sizeof(text));
			text[at] = (uint8_t)byte;
			json_put_string(&want, slice_make(text, sizeof(text)));
			assert_int_equal(sql_put_value(&got, SQL_TEXT, &c, slice_make(text, sizeof(text)),
						       false),
					 0);
			assert_true(slice_eq(buf_slice(&got), buf_slice(&want)));
			buf_fini(&got);
			buf_fini(&want);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_as_json),
		cmocka_unit_test(texts_are_json_whatever_stands_in_them),
		cmocka_unit_test(arrays),
		cmocka_unit_test(what_is_no_value_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
