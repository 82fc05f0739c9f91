/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/troff.h"

static void what_means_something_to_troff_is_escaped(void **state)
{
	static const struct {
		const char *text, *page;
	} cases[] = {
		{"", ""},
		{"a.b 'c'", "a.b 'c'"},
		{".TH", "\\&.TH"},
		{"'quoted'", "\\&'quoted'"},
		{"--json", "\\-\\-json"},
		{"a\\b", "a\\eb"},
		{"one\ntwo\n\nthree", "one\ntwo\n.PP\nthree"},
	};
	struct buf b;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		buf_init(&b, 200);
		troff_append(&b, cases[i].text);
		assert_true(slice_eq_str(buf_slice(&b), cases[i].page));
		buf_fini(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_means_something_to_troff_is_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
