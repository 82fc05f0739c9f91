/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "connect/text/template.h"
#include "connect/text/when.h"

static int find(void *ctx, struct slice name, struct slice *value)
{
	(void)ctx;
	if (slice_eq_str(name, "a"))
		*value = SLICE_LIT("x y/\"\n\xc3\xa9&=");
	else if (slice_eq_str(name, "n"))
		*value = SLICE_LIT("17");
	return value->ptr ? 1 : slice_eq_str(name, "none") ? 0 : -1;
}

static void expect(enum template_form form, const char *text, const char *wanted)
{
	struct buf out;

	buf_init(&out, 1000);
	assert_int_equal(buf_append_str(&out, "?"), 0); /* what stands there already stays */
	assert_int_equal(template_expand(slice_str(text), form, find, NULL, &out), 0);
	assert_int_equal(buf_append_byte(&out, 0), 0);
	assert_string_equal((const char *)out.ptr + 1, wanted);
	buf_fini(&out);
}

static void names_are_replaced_in_each_form(void **state)
{
	(void)state;
	expect(TEMPLATE_PLAIN, "-{a}-{n}", "-x y/\"\n\xc3\xa9&=-17");
	expect(TEMPLATE_URL, "http://h/{n}?a={a}", "http://h/17?a=x%20y%2F%22%0A%C3%A9%26%3D");
	expect(TEMPLATE_JSON, "{\"a\":\"{a}\",\"n\":{n}}", "{\"a\":\"x y/\\\"\\n\xc3\xa9&=\",\"n\":17}");
}

static void what_is_no_name_stays(void **state)
{
	(void)state;
	expect(TEMPLATE_PLAIN, "{\"a\":1} {} { a} {other} {a", "{\"a\":1} {} { a} {other} {a");
	expect(TEMPLATE_PLAIN, "{none}", "");
}

static void absent_parameters_are_left_out(void **state)
{
	(void)state;
	expect(TEMPLATE_URL, "h?c={none}", "h");
	expect(TEMPLATE_URL, "h?c={none}&d=1", "h?d=1");
	expect(TEMPLATE_URL, "h?d=1&c={none}", "h?d=1");
	expect(TEMPLATE_URL, "h?d=1&c={none}&e={none}&f=2#x", "h?d=1&f=2#x");
	expect(TEMPLATE_URL, "h?c={none}#x", "h#x");
	expect(TEMPLATE_URL, "h?c=a{none}", "h?c=a");
	expect(TEMPLATE_URL, "h/{none}/i", "h//i");
	expect(TEMPLATE_URL, "{none}", "");
}

static void names_are_found(void **state)
{
	(void)state;
	assert_true(template_has(SLICE_LIT("a {from:ms} b"), "from:ms"));
	assert_false(template_has(SLICE_LIT("a {from:ms} b"), "from"));
}

static void moments_are_read_and_written(void **state)
{
	static const struct {
		const char *text, *back;
		int64_t ms;
	} rows[] = {
		{"1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z", 0},
		{"2026-11-21T18:30:00.25+01:00", "2026-11-21T17:30:00.250Z", 1795282200250},
		{"1795282200250", "2026-11-21T17:30:00.250Z", 1795282200250},
	};
	char text[WHEN_BYTES];
	int64_t ms;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(when_parse(slice_str(rows[i].text), &ms));
		assert_int_equal(ms, rows[i].ms);
		assert_int_equal(when_text(ms, text), strlen(rows[i].back));
		assert_string_equal(text, rows[i].back);
	}
	assert_int_equal(when_text(-1, text), 24);
	assert_string_equal(text, "1969-12-31T23:59:59.999Z");
	assert_false(when_parse(SLICE_LIT("yesterday"), &ms));
	assert_false(when_parse(SLICE_LIT(""), &ms));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_replaced_in_each_form), cmocka_unit_test(what_is_no_name_stays),
		cmocka_unit_test(absent_parameters_are_left_out),  cmocka_unit_test(names_are_found),
		cmocka_unit_test(moments_are_read_and_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
