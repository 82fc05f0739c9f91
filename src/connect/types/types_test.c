/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conf/setting.h"
#include "connect/types/types.h"

/* A source's keys stand beside those of its type: one that is in both would be read as the source's alone. */
static void no_key_of_a_type_is_one_of_every_source(void **state)
{
	const struct conf_kinds *kinds = source_kinds();

	(void)state;
	assert_true(kinds->count > 0);
	for (uint32_t i = 0; i < kinds->count; i++)
		for (uint32_t k = 0; k < kinds->list[i]->setting_count; k++) {
			const char *path = kinds->list[i]->settings[k].path;
			if (setting_find(SETTING_SOURCE, slice_str(path)))
				fail_msg("type %s: key %s", kinds->list[i]->name, path);
		}
}

static void names_and_keys_are_unique(void **state)
{
	const struct conf_kinds *kinds = source_kinds();

	(void)state;
	for (uint32_t i = 0; i < kinds->count; i++) {
		const struct conf_kind *kind = kinds->list[i];
		for (uint32_t k = 0; k < i; k++)
			assert_string_not_equal(kind->name, kinds->list[k]->name);
		for (uint32_t k = 0; k < kind->setting_count; k++)
			for (uint32_t l = 0; l < k; l++)
				assert_string_not_equal(kind->settings[k].path, kind->settings[l].path);
	}
}

/* Whatever this weir was built without: each can be named, and is either whole or says what is missing. */
static void every_type_is_known_in_every_build(void **state)
{
	static const char *const names[] = {"files", "http",      "kafka",    "sql",
					    "weir",  "weir_push", "websocket"};
	const struct conf_kinds *kinds = source_kinds();

	(void)state;
	assert_int_equal(kinds->count, sizeof(names) / sizeof(names[0]));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct conf_kind *kind = conf_kinds_find(kinds, names[i]);
		const struct source_type *type = kind ? source_type_of(kind) : NULL;
		assert_non_null(type);
		assert_true(kind->setting_count > 0);
		if (type->absent)
			assert_non_null(strstr(type->absent, "; expected a build with it ("));
		else
			assert_true(type->open && type->close && type->pull);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_key_of_a_type_is_one_of_every_source),
		cmocka_unit_test(names_and_keys_are_unique),
		cmocka_unit_test(every_type_is_known_in_every_build),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
