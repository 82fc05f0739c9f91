/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "connect/sql/url.h"

static void all_pieces(void **state)
{
	struct sql_url u;

	(void)state;
	assert_true(sql_url_parse(
		"mysql://us%40er:p%3aw@d@db.example:3307/my%20db?ssl-mode=required&socket=%2ftmp%2fs", &u));
	assert_string_equal(u.user, "us@er");
	assert_string_equal(u.password, "p:w@d");
	assert_string_equal(u.host, "db.example");
	assert_int_equal(u.port, 3307);
	assert_string_equal(u.database, "my db");
	assert_string_equal(sql_url_param(&u, "ssl-mode"), "required");
	assert_string_equal(sql_url_param(&u, "socket"), "/tmp/s");
	assert_null(sql_url_param(&u, "x"));
}

static void what_is_absent_is_empty(void **state)
{
	struct sql_url u;

	(void)state;
	assert_true(sql_url_parse("mariadb://", &u));
	assert_string_equal(u.host, "");
	assert_int_equal(u.port, 0);
	assert_true(sql_url_parse("mariadb://[::1]:1/x", &u));
	assert_string_equal(u.host, "::1");
	assert_int_equal(u.port, 1);
}

static void what_is_no_url_is_refused(void **state)
{
	static const char *const wrong[] = {"mysql:x",        "mysql://h:0/",  "mysql://h:99999/",
					    "mysql://h:x/",   "mysql://%zz/",  "mysql://a%0/",
					    "mysql://a%00b/", "mysql://[::1/", "mysql://[::1]x/"};
	struct sql_url u;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(sql_url_parse(wrong[i], &u));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_pieces),
		cmocka_unit_test(what_is_absent_is_empty),
		cmocka_unit_test(what_is_no_url_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
