/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "connect/websocket/match.h"

static bool holds(const char *text, const char *doc)
{
	struct arena arena;
	bool is;

	arena_init(&arena, 1024, 65536);
	is = match_holds(slice_str(text), slice_str(doc), &arena);
	arena_fini(&arena);
	return is;
}

static void values_are_compared_as_text(void **state)
{
	(void)state;
	assert_true(holds("/event=price", "{\"event\":\"price\"}"));
	assert_true(holds("/event=price", "{\"event\":\"pr\\u0069ce\"}"));
	assert_false(holds("/event=price", "{\"event\":\"prices\"}"));
	assert_false(holds("/event=price", "{\"e\":\"price\"}"));
	assert_true(holds("/id=1", "{\"id\":1}"));
	assert_false(holds("/id=1", "{\"id\":1.0}"));
	assert_true(holds("/ok=true", "{\"ok\":true}"));
	assert_true(holds("/a/0=x=y", "{\"a\":[\"x=y\"]}"));
	assert_true(holds("/a=", "{\"a\":\"\"}"));
}

static void a_pointer_alone_asks_whether_something_is_there(void **state)
{
	(void)state;
	assert_true(holds("/data", "{\"data\":{}}"));
	assert_false(holds("/data", "{\"data\":null}"));
	assert_false(holds("/data", "{}"));
	assert_false(holds("/data", "[1]"));
}

static void what_is_no_pointer_is_refused(void **state)
{
	(void)state;
	assert_true(match_valid(SLICE_LIT("/a=b")));
	assert_true(match_valid(SLICE_LIT("/a~1b")));
	assert_false(match_valid(SLICE_LIT("")));
	assert_false(match_valid(SLICE_LIT("a=b")));
	assert_false(match_valid(SLICE_LIT("/a~2=b")));
	assert_false(match_valid(SLICE_LIT("=b")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_compared_as_text),
		cmocka_unit_test(a_pointer_alone_asks_whether_something_is_there),
		cmocka_unit_test(what_is_no_pointer_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
