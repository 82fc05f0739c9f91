/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "json/pointer.h"

/* The document of RFC 6901 section 5, and more. */
static const char doc[] =
	"{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,\"g|h\":4,\"i\\\\j\":5,"
	"\"k\\\"l\":6,\" \":7,\"m~n\":8,\"deep\":{\"x\":[[1,{\"y\":null}]]},\"twice\":1,\"twice\":2}";

static void finds_as_the_rfc_says(void **state)
{
	static const char *const rows[][2] = {
		{"/foo", "[\"bar\",\"baz\"]"},
		{"/foo/0", "\"bar\""},
		{"/foo/1", "\"baz\""},
		{"/", "0"},
		{"/a~1b", "1"},
		{"/c%d", "2"},
		{"/e^f", "3"},
		{"/g|h", "4"},
		{"/i\\j", "5"},
		{"/k\"l", "6"},
		{"/ ", "7"},
		{"/m~0n", "8"},
		{"/deep/x/0/1/y", "null"},
		{"/twice", "1"},
	};
	struct json_value v;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(json_pointer_find(slice_str(doc), slice_str(rows[i][0]), &v), 1);
		assert_true(slice_eq_str(v.raw, rows[i][1]));
	}
	assert_int_equal(json_pointer_find(SLICE_LIT(" [1] "), SLICE_LIT(""), &v), 1);
	assert_true(slice_eq_str(v.raw, "[1]"));
}

static void finds_nothing_where_nothing_is(void **state)
{
	static const char *const rows[] = {
		"/bar",   "/foo/2",   "/foo/-",          "/foo/01",
		"/foo/x", "/foo/0/a", "/deep/x/0/1/y/z", "/foo/18446744073709551616",
		"//"};
	struct json_value v;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(json_pointer_find(slice_str(doc), slice_str(rows[i]), &v), 0);
	assert_int_equal(json_pointer_find(SLICE_LIT("{\"a\":tru}"), SLICE_LIT("/a"), &v), ERR_BAD_JSON);
	assert_int_equal(json_pointer_find(SLICE_LIT(""), SLICE_LIT("/a"), &v), ERR_BAD_JSON);
	assert_int_equal(json_pointer_find(SLICE_LIT("<html>"), SLICE_LIT("/a"), &v), ERR_BAD_JSON);
}

static void knows_pointers(void **state)
{
	(void)state;
	assert_true(json_pointer_valid(SLICE_LIT("")));
	assert_true(json_pointer_valid(SLICE_LIT("/a~0~1/")));
	assert_false(json_pointer_valid(SLICE_LIT("a")));
	assert_false(json_pointer_valid(SLICE_LIT("/a~2")));
	assert_false(json_pointer_valid(SLICE_LIT("/a~")));
}

static void explains_what_is_there(void **state)
{
	static const char *const rows[][2] = {
		{"/rows",
		 "the document is an object with foo, , a/b, c%d, e^f, g|h, i\\\\j, k\\\"l, ...; no 'rows'"},
		{"/deep/rows/0", "at '/deep' is an object with x; no 'rows'"},
		{"/foo/7", "at '/foo' is an array of 2; no '7'"},
		{"/foo/1/x", "at '/foo/1' is a string; no 'x'"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf out;

		buf_init(&out, 1000);
		json_pointer_explain(slice_str(doc), slice_str(rows[i][0]), &out);
		assert_int_equal(buf_append_byte(&out, 0), 0);
		assert_string_equal((const char *)out.ptr, rows[i][1]);
		buf_fini(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_as_the_rfc_says),
		cmocka_unit_test(finds_nothing_where_nothing_is),
		cmocka_unit_test(knows_pointers),
		cmocka_unit_test(explains_what_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
