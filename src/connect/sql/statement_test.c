/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "connect/sql/sql.h"

/* The dialects differ in what they quote by; each driver that is built in is looked at. */
static const struct sql_driver *driver_of(const char *scheme)
{
	const struct sql_driver *d = sql_driver_find(scheme);

	if (!d)
		skip();
	return d;
}

static const char *filled(const struct sql_driver *d, const char *query)
{
	static char text[1000];
	struct sql_param params[] = {{"cursor", SQL_TEXT, slice_str("it's \\ x")},
				     {"n", SQL_INTEGER, slice_str("7")},
				     {"none", SQL_TEXT, slice_null()}};
	struct sql_failure why;
	struct buf b;

	buf_init(&b, sizeof(text));
	if (sql_put_query(&b, d, query, params, 3, &why))
		(void)snprintf(text, sizeof(text), "failed: %s", why.text);
	else
		(void)snprintf(text, sizeof(text), "%.*s", (int)b.len, (const char *)b.ptr);
	buf_fini(&b);
	return text;
}

static void parameters_are_filled_in_where_they_are_some(void **state)
{
	const struct sql_driver *d = driver_of("sqlite:x");

	(void)state;
	assert_string_equal(filled(d, "SELECT :n, :none;\n"), "SELECT 7, NULL");
	assert_string_equal(filled(d, "SELECT ':n' -- :n\n, \":n\", /* :n */ :n"),
			    "SELECT ':n' -- :n\n, \":n\", /* :n */ 7");
	assert_string_equal(filled(d, "SELECT a::text, b[1:n] FROM t WHERE x=:cursor"),
			    "SELECT a::text, b[1:n] FROM t WHERE x='it''s \\ x'");
	assert_string_equal(filled(d, "SELECT 'it''s :n'||:n"), "SELECT 'it''s :n'||7");
	assert_string_equal(filled(d, "SELECT :other"),
			    "failed: the query has :other; there are :cursor, :last_run, :now, :from and :to");
}

static void it_is_known_which_parameters_there_are(void **state)
{
	(void)state;
	assert_true(sql_query_has("SELECT :n", SQL_SQLITE, "n"));
	assert_true(sql_query_has("SELECT ':n':n", SQL_SQLITE, "n"));
	assert_false(sql_query_has("SELECT ':n' -- :n\n, a::n, b[1:n], :no, $n", SQL_SQLITE, "n"));
	assert_false(sql_query_has("", SQL_SQLITE, "n"));
}

static void each_dialect_quotes(void **state)
{
	(void)state;
	assert_string_equal(filled(driver_of("postgresql:x"), "SELECT :cursor, $a$ :n $a$"),
			    "SELECT E'it''s \\\\ x', $a$ :n $a$");
	assert_string_equal(filled(driver_of("mysql:x"), "SELECT 'a\\' :n', :cursor"),
			    "SELECT 'a\\' :n', CONVERT(X'69742773205c2078' USING utf8mb4)");
}

static void only_what_reads_is_a_query(void **state)
{
	static const char *const yes[] = {"SELECT 1", " -- x\n /* y */ (select 1)",
					  "WITH a AS (SELECT 1) SELECT * FROM a", "values (1)", "TABLE t"};
	static const char *const no[] = {"DELETE FROM t",          "selected", "", "-- SELECT",
					 "INSERT INTO t SELECT 1", "/* SELECT"};

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(sql_is_query(yes[i]));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(sql_is_query(no[i]));
}

static void names_of_tables(void **state)
{
	const struct sql_driver *d = driver_of("sqlite:x");
	static const struct {
		const char *name, *quoted;
	} cases[] = {{"t", "\"t\""},
		     {"public.t", "\"public\".\"t\""},
		     {"\"my.table\"", "\"my.table\""},
		     {"a.\"b\"\"c\"", "\"a\".\"b\"\"c\""},
		     {"`x y`", "\"x y\""},
		     {"t; DROP TABLE t", "\"t; DROP TABLE t\""},
		     {"", NULL},
		     {"a.", NULL},
		     {"\"a", NULL},
		     {"\"a\"b", NULL},
		     {"a.b.c.d", NULL}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct slice parts[3];
		struct arena arena;
		uint32_t count;
		struct buf b;
		bool ok;
		arena_init(&arena, 1024, 65536);
		buf_init(&b, 1000);
		ok = sql_put_table(&b, d, cases[i].name, parts, &count, &arena);
		assert_int_equal(ok, cases[i].quoted != NULL);
		if (ok)
			assert_string_equal(sql_text(&b), cases[i].quoted);
		buf_fini(&b);
		arena_fini(&arena);
	}
}

static void bounds_use_the_first_column_alone(void **state)
{
	struct sql_column columns[] = {{.name = "a", .kind = SQL_INTEGER}, {.name = "b", .kind = SQL_TEXT}};
	struct sql_source s = {.driver = driver_of("sqlite:x"), .table = {.columns = columns, .count = 2}};
	struct sql_point p = {.count = 2,
			      .values = {SLICE_LIT("5"), SLICE_LIT("x")},
			      .kinds = {SQL_INTEGER, SQL_TEXT}};
	uint32_t which[] = {0, 1};
	struct buf b;

	(void)state;
	buf_init(&b, 1000);
	sql_put_after(&b, &s, which, &p, 2, true);
	assert_string_equal(sql_text(&b), "(\"a\" >= 5 AND (\"a\" > 5 OR (\"a\" = 5 AND (\"b\" >= 'x'))))");
	buf_clear(&b);
	sql_put_before(&b, &s, which, &p, 1, false);
	assert_string_equal(sql_text(&b), "(\"a\" < 5)");
	buf_fini(&b);
}

/* There is a driver, or it is said what this weir was built without. */
static void every_scheme_is_known_in_every_build(void **state)
{
	static const char *const urls[] = {"postgresql://h/d", "postgres://h/d", "mariadb://h/d",
					   "mysql://h/d",      "MySQL://h/d",    "sqlite:f",
					   "sqlite3:f"};

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
		if (!sql_driver_find(urls[i]) == !sql_driver_absent(urls[i]))
			fail_msg("%s", urls[i]);
	assert_null(sql_driver_find("oracle://h"));
	assert_null(sql_driver_absent("oracle://h"));
	assert_null(sql_driver_absent("sql"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_scheme_is_known_in_every_build),
		cmocka_unit_test(parameters_are_filled_in_where_they_are_some),
		cmocka_unit_test(it_is_known_which_parameters_there_are),
		cmocka_unit_test(each_dialect_quotes),
		cmocka_unit_test(only_what_reads_is_a_query),
		cmocka_unit_test(names_of_tables),
		cmocka_unit_test(bounds_use_the_first_column_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
