/* SPDX-License-Identifier: Apache-2.0 */
#include "json/json_pointer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* The document and most of the pointers of RFC 6901, section 5. */
static const char document[] =
	"{\"foo\": [\"bar\", \"baz\"], \"\": 0, \"a/b\": 1, \"c%d\": 2, \"e^f\": 3, \"g|h\": 4,"
	"\"i\\\\j\": 5, \"k\\\"l\": 6, \" \": 7, \"m~n\": 8, \"o\": {\"p\": [[1], {\"q\": null}]}, "
	"\"foo\": 9}";

static void values_are_found(void **state)
{
	static const char *const rows[][2] = {
		{"", document},
		{"/foo", "[\"bar\", \"baz\"]"},
		{"/foo/0", "\"bar\""},
		{"/", "0"},
		{"/a~1b", "1"},
		{"/c%d", "2"},
		{"/e^f", "3"},
		{"/g|h", "4"},
		{"/i\\j", "5"},
		{"/k\"l", "6"},
		{"/ ", "7"},
		{"/m~0n", "8"},
		{"/o/p/0/0", "1"},
		{"/o/p/1/q", "null"},
		{"/o/p/1", "{\"q\": null}"},
		{"/foo/2", NULL},
		{"/foo/00", NULL},
		{"/foo/-", NULL},
		{"/foo/0/x", NULL},
		{"/o/p/1/r", NULL},
		{"/m~n", NULL},
		{"/x", NULL},
	};
	struct arena arena;

	(void)state;
	arena_init(&arena, 4096, 1u << 20);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_value value;
		int rc;
		if (json_pointer_check(slice_str(rows[i][0]), NULL))
			continue;
		rc = json_pointer_find(slice_str(document), slice_str(rows[i][0]), &arena, &value);
		if (rc != (rows[i][1] != NULL) || (rc && !slice_eq_str(value.raw, rows[i][1])))
			fail_msg("%s", rows[i][0]);
	}
	arena_fini(&arena);
}

static void what_is_wrong_is_told(void **state)
{
	struct json_value value;
	struct fault fault;
	struct arena arena;

	(void)state;
	arena_init(&arena, 4096, 1u << 20);
	assert_int_equal(json_pointer_check(SLICE_LIT("a"), &fault), ERR_BAD_PARAMETER);
	assert_int_equal(json_pointer_check(SLICE_LIT("/a~"), &fault), ERR_BAD_PARAMETER);
	assert_int_equal(json_pointer_check(SLICE_LIT("/a~2"), &fault), ERR_BAD_PARAMETER);
	assert_int_equal(json_pointer_check(SLICE_LIT("/a~01/~1"), &fault), 0);
	assert_int_equal(json_pointer_find(SLICE_LIT("{\"a\":"), SLICE_LIT("/a"), &arena, &value),
			 ERR_BAD_JSON);
	assert_int_equal(json_pointer_find(SLICE_LIT("[1,"), SLICE_LIT("/5"), &arena, &value), ERR_BAD_JSON);
	assert_int_equal(json_pointer_find(SLICE_LIT("{\"a\":1,"), SLICE_LIT("/a"), &arena, &value), 1);
	arena_fini(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_found),
		cmocka_unit_test(what_is_wrong_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
